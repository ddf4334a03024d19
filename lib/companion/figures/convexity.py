"""The figures of notebook 07b, on what convexity buys: both tests, the study, the page to climb, findings in words."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from companion import paths
from companion.figures import StoredFigure, compared
from companion.figures.compared import ONCE, judged
from companion.figures.pages import embedded
from companion.figures.verdicts import SAME, by_holm
from companion.figures.words import listed
from latentnas.benchmarks.base import Table
from latentnas.models.convex import InputConvexNetwork, RefitConfig, refit
from latentnas.plots.explorer import explorer
from latentnas.plots.style import BLUE, GREEN, GREY, PALE, VERMILLION, OlderTable, letter, new_figure, rows_of, styled
from latentnas.search.latent.crlso import LatentSpace

if TYPE_CHECKING:
    from companion.claims import Results

NETWORK_COLOURS = {"convex (paper)": VERMILLION, "ordinary network": BLUE}
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
    if not {*gaps.network, *ends.network} <= {*NETWORK_COLOURS}:
        raise OlderTable(f"This figure is of {listed(NETWORK_COLOURS)}; the table has {listed(gaps.network.unique())}.")
    figure, axes = new_figure(2.7, columns=2)
    inequality, heights = axes[0]
    inequality.set_yscale("symlog", linthresh=1e-2)  # before the lines, so that the margins are of this scale
    for (network, colour), width in zip(NETWORK_COLOURS.items(), (2.2, 1)):  # seen where they lie on each other
        of_network = gaps[gaps.network == network]
        inequality.plot(of_network["quantile"], of_network.gap, color=colour, linewidth=width, label=network)
        of_network = ends[ends.network == network]
        heights.plot(of_network.share, -of_network.below, color=colour, linewidth=width, label=network)
    inequality.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    inequality.set_xlabel("pairs of points, from the smallest gap (share)")
    inequality.set_ylabel("Jensen gap (st. dev.;\nlinear to 0.01, then log)")
    heights.set_xlabel("starts, from the highest end (share)")
    heights.set_ylabel("end of the ascent, from\nthe highest (st. dev.)")
    for ax in axes[0]:
        ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    letter(axes, ["No gap below 0: convex", "Flat: all ascents end equally high"])
    legend = figure.legend(*inequality.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    legend.set_title("st. dev.: standard deviations of the predictions", {"size": 7})
    legend.set_alignment("left")
    return figure


@styled
def crlso_equivalence(rows: pd.DataFrame) -> Figure:
    """The regret of each variant less that of the full method, with the interval by Holm's rule, on which the verdict
    rests; the band is what counts as no difference. Columns: variant, difference, low, high, margin (points), and
    verdict."""
    rows = rows_of(rows, "variant", "difference", "low", "high", "margin", "verdict")
    figure, axes = new_figure(0.9 + 0.2 * len(rows))
    ax, margin = axes[0, 0], rows.margin.iloc[0]
    ax.axvspan(-margin, margin, color=PALE, alpha=0.35, linewidth=0)
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    for place, row in enumerate(rows.itertuples()):
        colour, marker = VERDICTS.get(row.verdict, VERDICTS["undecided"])  # seen once
        ax.plot([row.low, row.high], [place, place], color=colour, linewidth=1.2)
        ax.plot(row.difference, place, marker, color=colour, markersize=4)
    ax.set_yticks(range(len(rows)), rows.variant)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(f"regret less the full method's (points; left: better; band of ±{margin:g}: no difference)")
    handles = [ax.plot([], [], marker, color=colour, markersize=4)[0] for colour, marker in VERDICTS.values()]
    figure.legend(handles, list(VERDICTS), loc="outside upper left", ncols=len(VERDICTS))
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
        paths.FIGURES / results.profile / "07b_explorer.html",
        space.model,
        benchmark.space,
        space.codes * space.deviation,
        climbs["accuracy, convex network"],
        lambda cells: benchmark.query(cells).rename(columns=columns),
        climbs,
        title=f"The latent space of CR-LSO: {title}",
        note=f"Notebook 07b, profile {results.profile}, {results.data_source} table, seed {seed}. "
        "Predicted: by the convex network, also where the ordinary one is climbed. Measured: validation accuracy.",
    )
    return embedded(page, "Explorer of the latent space of CR-LSO")


def study_in_words(study: pd.DataFrame, queries: int) -> str:
    """Whether convexity leads to better cells: from the regrets of the two variants without it, or without its part in
    the training of the encoder."""
    places = {"not regularised": "Without the regulariser", "ordinary network": "With an ordinary network"}
    rows = study.set_index("variant").loc[[*places]]
    verdicts = set(rows["verdict"])
    if ONCE in verdicts or rows["runs"].min() < 3:
        return "**Does convexity lead to better cells? Undecided:** fewer than three runs decide nothing."
    answer = "In part" if "worse" in verdicts else "No, to worse" if "better" in verdicts else "No"
    answer = "Yes" if verdicts == {"worse"} else "Mixed" if {"worse", "better"} <= verdicts else answer
    answer = "Undecided" if "undecided" in verdicts else answer
    changes = " ".join(f"{places[name]} it changes by {judged(row, '+.2g')}." for name, row in rows.iterrows())
    head = f"**Does convexity lead to better cells? {answer}.** The regret is how far below the best cell a search ends"
    return f"{head} ({queries} strings; in points; less is better). {changes}"


def direction_in_words(study: pd.DataFrame) -> str:
    """Whether it helps to go up along the gradient; nothing of too few runs."""
    row = study.set_index("variant").loc["descent"]
    if row["verdict"] == ONCE:
        return ""
    return f"**Does the gradient help?** Walking down it, in place of up, changes the regret by {judged(row, '+.2g')}."


def order_in_words(order: pd.DataFrame) -> str:
    """Whether convexity helps the prediction to order cells; nothing of too few runs."""
    rows = order.set_index("variant")
    if ONCE in set(rows["verdict"]):
        return ""
    runs = f", over {rows['runs'].max()} runs,"
    lead = listed(f"{judged(row, '+.3f')} for *{name}*" for name, row in rows.iterrows())
    lead = lead.replace(SAME, f"0 ({SAME})")
    return f"**Does it help to order cells?** Full CR-LSO's tau minus the variant's{runs} is {lead}."


def beside_in_words(beside: pd.DataFrame) -> str:
    """Where full CR-LSO, the first row, ends beside other searches, in the mean."""
    regret = beside.set_index("search")["regret"].round(3)
    own, others = regret.iloc[0], regret.iloc[1:]
    sides = {"Closer": others < own, "As close": others == own, "Farther": others > own}
    rest = ". ".join(f"{side}: {listed(others.index[which])}" for side, which in sides.items() if which.any())
    end = "The other searches are not tuned, and no test stands behind this order."
    return f"In the mean, full CR-LSO ends {own:.2f} points below the best cell. {rest}. {end}"


def told(results: "Results", said: Iterable[str], queries: int, margin: float) -> str:
    """The findings under a line that names sizes, figures and what the verdicts mean."""
    runs = results.parameters["study_seeds"]
    sizes = f"{runs} runs of each variant, of {queries} strings"
    verdicts = (
        f"*Equivalent*: the whole 95 % interval lies within {margin:g} points; *better* or *worse*: beyond. "
        "*Ahead* or *behind*: it lies on one side of 0."
    )
    return compared.told(results, runs, sizes, tuple(FIGURES), verdicts, said)


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


def certificates_in_words(certificates: pd.DataFrame) -> str:
    """Both tests of convexity, of the convex and of the ordinary network, over trainings."""
    rows = certificates.rename(columns={"jensen_violations": "pairs", "stranded_ascents": "ascents"})
    convex, ordinary = (rows[rows["network"] == network] for network in dict.fromkeys(rows["network"]))
    refuted, stranded = convex["pairs"].max(), convex["ascents"].max()
    head = "The convex network passes both tests of convexity, as its construction guarantees."
    if refuted:
        head = f"The convex network is not convex: up to {refuted:.3g} % of the pairs refute it."
    elif stranded:
        head = f"No pair refutes the convex network, but up to {stranded:.3g} % of its ascents are stranded."
    failed, count = ((ordinary["pairs"] > 0) | (ordinary["ascents"] > 0)).sum(), len(ordinary)
    if not failed:
        passes = "passes them" if refuted or stranded else "passes them too, so here they tell nothing apart"
        return f"{head} An ordinary network {passes}."
    if failed < count:
        return f"{head} An ordinary network fails in {failed} of {count} trainings."
    ends = [dict.fromkeys(f"{ordinary[kind].agg(end):.1f}" for end in ("min", "max")) for kind in ("pairs", "ascents")]
    pairs, ascents = map(" to ".join, ends)
    return (
        f"{head} An ordinary network fails{'' if count == 1 else ' in each training'}: {pairs} % of the pairs refute "
        f"it, and {ascents} % of its ascents are stranded."
    )


def certificates_shown(certificates: pd.DataFrame) -> pd.DataFrame:
    """The table of both tests as it is shown."""
    gap = [f"{value:.2g}" if abs(value) > 1e-9 else "0 (rounding)" for value in certificates["smallest gap"]]
    names = {"jensen_violations": "negative gaps (%)", "smallest gap": "smallest gap (st. dev.)"}
    names["stranded_ascents"] = "stranded ascents (%)"
    shown = certificates.assign(**{"smallest gap": gap}).round({"jensen_violations": 1, "stranded_ascents": 1})
    return shown.rename(columns=names).set_index(["network", "seed"])


NOTEBOOK = "07b_convexity"
FIGURES: dict[str, StoredFigure] = {
    "convexity": (("gaps", "ends"), crlso_convexity),
    "equivalence": (("equivalence",), crlso_equivalence),
}
