"""The figures of CR-LSO (notebook 07), the tables and the page that show nothing else, and a table in words."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from companion import paths
from companion.figures import StoredFigure, embedded
from latentnas.benchmarks.base import Table
from latentnas.graphs import DagBatch
from latentnas.models.convex import InputConvexNetwork, RefitConfig, refit
from latentnas.models.crlso import CRLSOConfig
from latentnas.plots.explorer import explorer
from latentnas.plots.search import incumbent_curves, optimum_found
from latentnas.plots.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    VERMILLION,
    colours_of,
    letter,
    new_figure,
    rows_of,
    styled,
)
from latentnas.search.latent.crlso import LatentSpace

if TYPE_CHECKING:
    from companion.claims import Claim, Results

NETWORK_COLOURS = (VERMILLION, BLUE, GREEN, ORANGE, PURPLE)  # in order of appearance
SAID = {"met": "ahead", "short": "behind"}  # of a difference that is to be above 0
VERDICTS = {"equivalent": (BLUE, "s"), "better": (GREEN, "o"), "worse": (VERMILLION, "D"), "undecided": (GREY, "o")}


def convexity_lines(
    networks: Iterable[str], gaps: Iterable[Tensor], heights: Iterable[Tensor]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `crlso_convexity` draws, from the Jensen gaps and the heights of the ends of ascents of each network."""
    lines, ends, share = [], [], np.linspace(0, 1, 201)
    for network, gap, height in zip(networks, gaps, heights):
        below = (height.max() - height).sort().values.numpy()
        lines.append(pd.DataFrame({"network": network, "quantile": share, "gap": np.quantile(gap.numpy(), share)}))
        ends.append(pd.DataFrame({"network": network, "share": np.linspace(0, 1, len(below)), "below": below}))
    return pd.concat(lines), pd.concat(ends)


@styled
def crlso_convexity(gaps: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    """Left: how far Jensen's inequality holds, pair by pair. Right: at what height gradient ascents end.

    Columns of `gaps`: network, quantile (of the pairs, 0 to 1), gap (standard deviations of the predictions;
    none may be negative for a convex network). Of `ends`: network, share (of the starts, 0 to 1, the highest
    first), below (the highest end that was found, same unit).
    """
    gaps, ends = rows_of(gaps, "network", "quantile", "gap"), rows_of(ends, "network", "share", "below")
    figure, axes = new_figure(2.6, columns=2)
    inequality, heights = axes[0]
    colours = dict(zip(dict.fromkeys([*gaps.network, *ends.network]), NETWORK_COLOURS))
    for number, (network, colour) in enumerate(colours.items()):
        width = 1 + 1.2 * (len(colours) - 1 - number)  # lines that lie on each other can all be seen
        of_network = gaps[gaps.network == network]
        inequality.plot(of_network["quantile"], of_network.gap, color=colour, linewidth=width, label=network)
        of_network = ends[ends.network == network]
        heights.plot(of_network.share, -of_network.below, color=colour, linewidth=width, label=network)
    inequality.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    inequality.set_yscale("symlog", linthresh=1e-2)
    inequality.set_xlabel("share of the pairs of points")
    inequality.set_ylabel("Jensen gap (st. dev.; axis is\nlinear to 0.01, then logarithmic)")
    heights.set_xlabel("share of the starts")
    heights.set_ylabel("end of the ascent, from\nthe highest (st. dev.)")
    for ax in axes[0]:
        ax.xaxis.set_major_formatter(PercentFormatter(1))
    letter(axes, ["Convex where nothing is negative", "One maximum where the line is flat"])
    figure.legend(*inequality.get_legend_handles_labels(), loc="outside upper left", ncols=len(colours))
    return figure


@styled
def crlso_equivalence(rows: pd.DataFrame) -> Figure:
    """The regret of each variant less that of the full method, with the interval by which the verdict is reached; the
    band is what counts as no difference. Columns: variant, difference, low, high, margin (points), verdict."""
    rows = rows_of(rows, "variant", "difference", "low", "high", "margin", "verdict")
    figure, axes = new_figure(0.9 + 0.2 * len(rows))
    ax, margin = axes[0, 0], rows.margin.iloc[0]
    ax.axvspan(-margin, margin, color=PALE, alpha=0.35, linewidth=0)
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    for place, row in enumerate(rows.itertuples()):
        colour, marker = VERDICTS[row.verdict]
        ax.plot([row.low, row.high], [place, place], color=colour, linewidth=1.2)
        ax.plot(row.difference, place, marker, color=colour, markersize=4)
    ax.set_yticks(range(len(rows)), rows.variant)
    ax.invert_yaxis()
    ax.set_xlabel(f"regret beyond the full method's (points, interval by Holm's rule; band: {margin:g}, no difference)")
    handles = [ax.plot([], [], marker, color=colour, markersize=4)[0] for colour, marker in VERDICTS.values()]
    figure.legend(handles, list(VERDICTS), loc="outside upper left", ncols=len(VERDICTS))
    return figure


def incumbents(curves: pd.DataFrame) -> Figure:
    """The figure `incumbent_curves` whose bands end at the highest accuracy that there is, in the column `most` (older
    tables have none), and whose dotted line has a name."""
    highest = curves["high"].clip(upper=curves["most"]) if "most" in curves else curves["high"]
    figure = incumbent_curves(curves.assign(high=highest))
    for ax in figure.axes:
        [best] = (line for line in ax.lines if line.get_linestyle() == ":")
        place = (0.01, best.get_ydata()[0])
        ax.text(*place, "best cell", transform=ax.get_yaxis_transform(), va="bottom", fontsize="small", color=GREY)
    return figure


def met_shares(found: pd.DataFrame) -> Figure:
    """The figure `optimum_found` with the interval of each share at its last query, in the columns `low` and `high`
    (older tables have none). Those of one query stand side by side."""
    figure = optimum_found(found)
    if "low" in found:
        colours, methods = colours_of(found["method"]), list(dict.fromkeys(found["method"]))
        for ax, (_, panel) in zip(figure.axes, found.groupby("dataset", sort=False)):
            for row in panel.groupby("method").tail(1).itertuples():
                place = row.query * 1.05 ** (1 + methods.index(row.method))
                ax.plot([place, place], [100 * row.low, 100 * row.high], color=colours[row.method], linewidth=1.2)
        for ax in filter(Axes.get_xlabel, figure.axes):
            ax.set_xlabel(f"{ax.get_xlabel()}\nbars: 95 % intervals at the end")
    return figure


def climbing_page(results: "Results", space: LatentSpace, benchmark: Table, title: str) -> HTML:
    """A page with a plane through a space, on which one climbs its convex network, or an ordinary network that learned
    the same pseudo-labels at the same codes. Measured accuracies are those of the data set with this title."""
    seed, head, convex = results.parameters["seed"], space.model.performance, space.network()
    generator = torch.Generator().manual_seed(seed)
    ordinary = InputConvexNetwork(space.codes.shape[1], constraint="none", generator=generator)
    refit(ordinary, space.codes, head.standardise(space.pseudo_labels), RefitConfig(10, 256, 0.001), generator)
    climbs = {
        f"accuracy, {kind} network": lambda z, g=g: head.unstandardise(1 - g(z / space.deviation)[0])
        for kind, g in {"convex": convex, "ordinary": ordinary}.items()
    }
    flops = next(name for name in benchmark.table if name.endswith("flops"))
    columns = {benchmark.tasks[title].valid: "judged", flops: "flops"}
    page = explorer(
        paths.FIGURES / results.profile / "07_explorer.html",
        space.model,
        benchmark.space,
        space.codes * space.deviation,
        climbs["accuracy, convex network"],
        lambda cells: benchmark.query(cells).rename(columns=columns),
        climbs,
        title=f"The latent space of CR-LSO: {title}",
        note=f"Notebook 07, profile {results.profile}, {results.data_source} table, seed {seed}. "
        "Predicted: by the convex network, also where the ordinary one is climbed. Measured: validation accuracy.",
    )
    return embedded(page, "Explorer of the latent space of CR-LSO")


def standing(runs: pd.DataFrame, query: int) -> pd.DataFrame:
    """Validation and test accuracy of each run's best cell after so many queries, by seed."""
    return runs[runs["query"] <= query].groupby("seed")[["incumbent", "test"]].last()


def by_holm(results: "Results", gaps: Mapping[str, pd.Series], unit: str, **goal: object) -> pd.DataFrame:
    """The claims of one family, by Holm's rule: {id: differences of runs, paired by seed}, which are to be above 0
    unless `goal` says otherwise. One row for each: difference, low, high (the interval that decides), runs, verdict."""
    goal = {"target": 0.0, "over": "searches"} | goal

    def claim(id: str, family: int) -> object:
        return results.estimate(id, gaps[id], unit, seeds=gaps[id].index, family=family, **goal)

    results.holm({id: partial(claim, id) for id in gaps})
    made = [results.claims[id] for id in gaps]
    rows = [(claim.ours, claim.low, claim.high, len(claim.seeds), claim.verdict) for claim in made]
    table = pd.DataFrame(rows, columns=["difference", "low", "high", "runs", "verdict"])
    return table.astype(dict.fromkeys(["difference", "low", "high"], float))


def most_given_back(cells: DagBatch) -> float:
    """How many percent of the cells can come back from codes of undirected graphs whose vertices have no place: as many
    as have different codes. Three rounds of colour refinement, which no message passing of three rounds can better;
    the sums are of random 64-bit numbers, so that different ones agree only by a freak."""

    def scattered(x: np.ndarray) -> np.ndarray:
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        return x ^ (x >> np.uint64(31))

    adjacency = cells.adjacency.cpu().numpy()
    both_ways = (adjacency | adjacency.transpose(0, 2, 1)).astype(np.uint64)
    colours = scattered(cells.types.cpu().numpy().astype(np.uint64) + np.uint64(100))
    for _ in range(CRLSOConfig.layers):
        around = (both_ways @ scattered(colours)[:, :, None])[:, :, 0]
        colours = scattered(np.uint64(3) * colours + around)
    return 100 * len(np.unique(colours.sum(axis=1))) / len(cells)


def judged(row: Mapping, form: str) -> str:
    """ "+0.02 (-0.01 to +0.05, undecided)", or without the interval where there is none."""
    ends = "" if np.isnan(row["low"]) else f"{row['low']:{form}} to {row['high']:{form}}, "
    return f"{row['difference']:{form}} ({ends}{SAID.get(row['verdict'], row['verdict'])})"


def study_in_words(study: pd.DataFrame, order: pd.DataFrame, queries: int) -> str:
    """What convexity buys: regrets of the variants that the question is about, and orders."""
    words, taus = (
        [f"{row['variant']} {judged(row, '+.3f')}" for _, row in table.iterrows()] for table in (study, order)
    )
    return (
        f"Regret at {queries} strings beyond full CR-LSO's (below {study['margin'].iloc[0]:g} points counts as none): "
        f"{'; '.join(words)}. Kendall's tau that 1 − g of full CR-LSO gains: over {', over '.join(taus)}."
    )


def of_contests(compare: pd.DataFrame, quantity: str, form: str, first: str, second: str) -> str:
    """Lead of one search over another, on all data sets: "+0.1 (0.0 to +0.2, ahead) / ..."."""
    part = compare[(compare["first"] == first) & (compare["second"] == second)]
    columns = {f"{quantity}: {name}": name for name in ("difference", "low", "high", "verdict")}
    rows = part[[*columns]].rename(columns=columns).to_dict("records")
    return " / ".join(judged(row, form) for row in rows)


def accuracy_in_words(claims: Iterable["Claim"], compare: pd.DataFrame, queries: int) -> str:
    """What CR-LSO reaches, beside print where there is any, and its lead over evolution."""
    ours, sets = " / ".join(f"{claim.ours:.2f}" for claim in claims), ", ".join(dict.fromkeys(compare["data set"]))
    said = ["all runs alike" if claim.low is None else claim.verdict for claim in claims]
    printed = [f"{claim.paper:.2f}, {word}" for claim, word in zip(claims, said) if claim.paper is not None]
    beside = f" (the paper: {' / '.join(printed)})" if printed else ""
    lead = of_contests(compare, "lead", "+.2f", "CR-LSO", "regularised evolution")
    head = f"Validation accuracy of CR-LSO after {queries} strings ({sets}): {ours} %{beside}."
    return f"{head} Points more than evolution: {lead}."


def strings_in_words(needed: Mapping[tuple, pd.DataFrame], compare: pd.DataFrame, queries: int) -> str:
    """How often the ensemble and a search by size meet the best cell, and how many strings it saves."""
    name, size = "CR-LSO, ensemble", "most parameters"
    met = {key: f"{100 * (own['strings'] <= queries).mean():.0f}" for key, own in needed.items()}
    ours, largest = (" / ".join(met[key] for key in met if key[1] == one) for one in (name, size))
    saved = [of_contests(compare, "sooner", "+.0f", name, other) for other in (size, "path-feature ensemble")]
    return (
        f"Within {queries} strings CR-LSO's ensemble meets the best cell in {ours} % of the runs, the largest "
        f"cells first in {largest} %. Strings it saves: {saved[0]} against size, {saved[1]} against the path ensemble."
    )


def nb101_in_words(leads: pd.DataFrame, queries: int, placed: float, unplaced: float, possible: float) -> str:
    """What CR-LSO gains on NAS-Bench-101, by rival, and what its codes give back."""
    gained = "; ".join(f"{name} {judged(row, '+.2f')}" for name, row in leads.iterrows())
    return (
        f"NAS-Bench-101, test accuracy after {queries} strings, lead of CR-LSO in points: {gained}. As released, "
        f"{unplaced:.1f} % of unseen cells come back (at most {possible:.1f} % of all can), with places {placed:.1f} %."
    )


def gains_in_order(results: "Results", answers: Mapping[tuple[str, str, int], float], place: str) -> pd.DataFrame:
    """How much better the first variant's concave prediction orders cells than that of the others, paired by seed and
    averaged over data sets; also stored and claimed. `answers`: Kendall's tau by variant, data set and seed."""
    taus = pd.Series(answers, name="tau").rename_axis(["variant", "dataset", "seed"]).reset_index()
    results.frame("study_order", taus)
    wide = taus.groupby(["seed", "variant"])["tau"].mean().unstack("variant")
    full, *others = dict.fromkeys(taus["variant"])
    gaps = {f"crlso.{place}.kendall_concave_over@{name.replace(' ', '_')}": wide[full] - wide[name] for name in others}
    table = by_holm(results, gaps, "correlation", over="trainings")
    means = {"tau of the variant": wide[others].mean().to_numpy(), f"tau of {full}": wide[full].mean()}
    return table.assign(variant=others, **means)


def certificates_in_words(certificates: pd.DataFrame, pairs: int) -> str:
    """Both tests of convexity, as means over trainings."""
    means = certificates.groupby("network", sort=False)[["jensen_violations", "stranded_ascents"]].mean()
    (convex, lost), (ordinary, more) = means.itertuples(index=False)
    return (
        f"Of {pairs:,} random pairs {convex:.3g} % refute that g is convex, {ordinary:.3g} % that an ordinary network "
        f"is. {lost:.3g} % of the ascents of 1 − g end over 0.05 st. dev. below the highest, {more:.3g} % on the "
        f"ordinary network."
    )


NOTEBOOK = "07_crlso"
FIGURES: dict[str, StoredFigure] = {
    "convexity": (("gaps", "ends"), crlso_convexity),
    "against_baselines": (("curves",), incumbents),
    "optimum_met": (("found",), met_shares),
    "equivalence": (("equivalence",), crlso_equivalence),
}
