"""The figures of CR-LSO (notebook 07), the tables and the page that show nothing else, and its findings in words."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from companion import paths
from companion.figures import StoredFigure
from companion.figures.pages import embedded
from companion.figures.verdicts import SAME, by_holm
from companion.figures.words import listed
from latentnas.benchmarks.base import Table
from latentnas.models.convex import InputConvexNetwork, RefitConfig, refit
from latentnas.plots.explorer import explorer
from latentnas.plots.search import incumbent_curves, optimum_found
from latentnas.plots.style import (
    BLUE,
    GREEN,
    GREY,
    PALE,
    VERMILLION,
    OlderTable,
    colours_of,
    letter,
    new_figure,
    rows_of,
    styled,
)
from latentnas.search.latent.crlso import LatentSpace

if TYPE_CHECKING:
    from companion.claims import Claim, Results

NETWORK_COLOURS = {"convex (paper)": VERMILLION, "ordinary network": BLUE}
ONCE = "seen once"
AGAINST = {"behind": "behind", "ahead": "ahead of"}
BANDED = ("CR-LSO", "CR-LSO, ensemble")  # more bands on each other cannot be told apart
IN_COLOUR = (*BANDED, "most parameters", "plain features, boosting")  # more colours hide what the figure says
DASHES = ("--", "-.", (0, (11, 1.5)), (0, (6, 1, 1, 1, 1, 1)), (0, (2, 4)))  # of the lines without a colour
FEW = 5  # runs; of fewer an interval is wider than anything that can happen
NOT_ASKED = "**Does one summit lead to better cells?** Not asked in this run: that needs `study_seeds` above 0."
RIVALS = {
    "most parameters": "*most parameters*",
    "plain features, boosting": "boosting on plain features",
    "path-feature ensemble": "the path-feature ensemble",
    "regularised evolution": "evolution",
    "CR-LSO as released": "the released version",
    "largest": "*most parameters*",
    "paths": "the path-feature ensemble",
    "boosting": "boosting on plain features",
    "random": "random search",
}
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
    for (network, colour), width in zip(NETWORK_COLOURS.items(), (2.2, 1)):  # seen where they lie on each other
        of_network = gaps[gaps.network == network]
        inequality.plot(of_network["quantile"], of_network.gap, color=colour, linewidth=width, label=network)
        of_network = ends[ends.network == network]
        heights.plot(of_network.share, -of_network.below, color=colour, linewidth=width, label=network)
    inequality.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    inequality.set_yscale("symlog", linthresh=1e-2)
    inequality.set_xlabel("pairs of points, from the smallest gap (share)")
    inequality.set_ylabel("Jensen gap (st. dev.;\nlinear to 0.01, then log)")
    heights.set_xlabel("starts, from the highest end (share)")
    heights.set_ylabel("end of the ascent, from\nthe highest (st. dev.)")
    for ax in axes[0]:
        ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    letter(axes, ["Convex where nothing is negative", "One maximum where the line is flat"])
    legend = figure.legend(*inequality.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    legend.set_title("st. dev.: standard deviations of the predictions", {"size": 7})
    legend.set_alignment("left")
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
        colour, marker = VERDICTS.get(row.verdict, VERDICTS["undecided"])  # seen once
        ax.plot([row.low, row.high], [place, place], color=colour, linewidth=1.2)
        ax.plot(row.difference, place, marker, color=colour, markersize=4)
    ax.set_yticks(range(len(rows)), rows.variant)
    ax.invert_yaxis()
    ax.set_xlabel(f"regret beyond the full method's (points, interval by Holm's rule; band: {margin:g}, no difference)")
    handles = [ax.plot([], [], marker, color=colour, markersize=4)[0] for colour, marker in VERDICTS.values()]
    figure.legend(handles, list(VERDICTS), loc="outside upper left", ncols=len(VERDICTS))
    return figure


@styled
def incumbents(curves: pd.DataFrame) -> Figure:
    """The figure `incumbent_curves` with four lines in colour, their names at the ends of those on the right, and bands
    of two, which end at the highest accuracy that there is, in the column `most`. There are no bands of few `runs`
    (older tables have neither column). The other lines are told apart by their dashes."""
    curves = curves.assign(high=curves["high"].clip(upper=curves["most"])) if "most" in curves else curves.copy()
    banded = () if "runs" in curves and curves["runs"].max() < FEW else BANDED
    bare = ~curves["method"].isin(banded)
    curves.loc[bare, "low"] = curves.loc[bare, "high"] = curves.loc[bare, "mean"]
    figure = incumbent_curves(curves)
    for ax in filter(Axes.get_xlabel, figure.axes):
        ax.set_xlabel("strings (log)")
    dashes = dict(zip((name for name in curves["method"].unique() if name not in IN_COLOUR), cycle(DASHES)))
    for line in (line for ax in figure.axes for line in ax.lines if line.get_label() in dashes):
        line.set(color=GREY, linewidth=0.9, linestyle=dashes[line.get_label()], zorder=1)
    for ax in figure.axes:
        if ax.get_subplotspec().is_last_col():
            _named_at_the_ends(ax)
    rows = {name: Line2D([], [], color=GREY, linewidth=0.9, linestyle=dash) for name, dash in dashes.items()}
    rows["the best cell"] = Line2D([], [], color=GREY, linewidth=0.8, linestyle=":")
    figure.legends[0].remove()
    legend = figure.legend(rows.values(), rows.keys(), loc="outside upper left", ncols=4, handlelength=3)
    words = "; bands, of CR-LSO and its ensemble only: 95 % intervals" if banded else ""
    legend.set_title(f"means over runs{words}", {"size": 7})
    legend.set_alignment("left")
    return figure


def _named_at_the_ends(ax: Axes) -> None:
    """The names of the lines in colour to the right of a panel, as high as the lines end, but one above the other."""
    ends = [(line.get_ydata()[-1], line) for line in ax.lines if line.get_label() in IN_COLOUR]
    bottom, top = ax.get_ylim()
    room, place = 0.1 * (top - bottom), top
    for end, line in sorted(ends, key=lambda pair: -pair[0]):
        place = min(end, place - room)
        ax.annotate(
            line.get_label(), (line.get_xdata()[-1], end), (1.02, place), textcoords=ax.get_yaxis_transform(),
            color=line.get_color(), fontsize=7, va="center",
            arrowprops={"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.5, "relpos": (0, 0.5)},
        )  # fmt: skip


@styled
def met_shares(found: pd.DataFrame) -> Figure:
    """The figure `optimum_found`, and to the right of each panel the share of each search at its last query, with its
    interval, in the columns `low` and `high` (older tables have none), in groups of equally many queries."""
    figure = optimum_found(found)
    for line in [*figure.legends[0].legend_handles, *(line for ax in figure.axes for line in ax.lines)]:
        line.set_marker("")
    for ax in filter(Axes.get_xlabel, figure.axes):
        ax.set_xlabel("strings (log)")
    if "low" not in found:
        return figure
    colours = colours_of(found["method"])
    for ax, (_, panel) in zip([*figure.axes], found.groupby("dataset", sort=False)):
        ends = panel.groupby("method", sort=False).tail(1).sort_values("query", kind="stable")
        budgets = ends["query"].rank(method="dense")
        places = pd.Series(np.arange(len(ends)) + 1.5 * budgets.to_numpy(), ends.index)
        side = ax.inset_axes((1.06, 0, 0.26, 1), sharey=ax)
        for place, row in zip(places, ends.itertuples()):
            side.plot([place, place], [100 * row.low, 100 * row.high], color=colours[row.method], linewidth=1.2)
            side.plot(place, 100 * row.share, "o", color=colours[row.method], markersize=3.5, clip_on=False)
        middles = places.groupby(ends["query"]).mean()
        side.set_xticks(middles, [f"{count:g}" for count in middles.index])
        side.tick_params(axis="y", left=False, labelleft=False)
        side.set_xlim(places.min() - 1, places.max() + 1)
        side.spines["left"].set_visible(False)
        side.set_xlabel("last string")
    figure.set_figheight(figure.get_figheight() + 0.3)
    words = "to the right of the lines: the share at the last string of each search, with its 95 % interval over runs"
    figure.legends[0].set_title(words, {"size": 7})
    figure.legends[0].set_alignment("left")
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


def judged(row: Mapping, form: str, most: float = np.inf) -> str:
    """ "+0.02 (-0.01 to +0.05, undecided)"; without the interval where there is none, or one of few runs. No end of it
    lies beyond `most`, which no run can exceed."""
    if row["verdict"] == SAME:
        return SAME
    low, high = (min(max(row[end], -most), most) for end in ("low", "high"))
    alike = "in every run, " if np.isnan(row["low"]) and row["verdict"] in ("ahead", "behind") else ""
    ends = "" if np.isnan(row["low"]) or row["runs"] < FEW else f"{low:{form}} to {high:{form}}, "
    return f"{row['difference']:{form}} ({alike}{ends}{row['verdict']})"


def contests_in_words(compare: pd.DataFrame) -> pd.DataFrame:
    """The table of comparisons as it is shown: a difference, its interval and its verdict in one column."""

    def told(quantity: str, form: str, of_budget: bool) -> list[str]:
        names = {f"{quantity}: {name}": name for name in ("difference", "low", "high", "verdict")}
        rows = compare.rename(columns=names).to_dict("records")
        return [judged(row, form, row["strings"] if of_budget else np.inf) for row in rows]

    told_of = {"strings saved": told("sooner", "+.0f", True), "points gained": told("lead", "+.2g", False)}
    shown = compare[["data set", "first", "second", "strings"]].assign(**told_of)
    return shown.assign(**{"p (log-rank test)": compare["p, log-rank"].round(3)})


def accuracies_and_meetings(summary: pd.DataFrame) -> list[pd.DataFrame]:
    """The table of all searches as it is shown, in two."""
    shown = summary.set_index(["data set", "method"]).round(2)
    meetings = shown.columns.str.startswith(("met", "median"))
    return [shown.loc[:, ~meetings], shown.loc[:, meetings]]


def told(results: "Results", said: Iterable[str], study: tuple[int, float] | None, on_nb101: bool) -> str:
    """The findings under a line that names sizes, figures and what the verdicts mean. `study`: its queries and margin,
    where it was run."""
    of, figures = results.parameters, ["_against_baselines", "_optimum_met", "_convexity"]
    sizes = f"{of['seeds']} runs of each search, of at most {of['queries']} strings"
    verdicts = "*Ahead* or *behind*: the whole 95 % interval lies on one side of 0."
    if of["seeds"] < FEW:
        verdicts += " So few runs hardly ever decide anything."
    if study:
        sizes += f"; {of['study_seeds']} in the study, of {study[0]}"
        verdicts += f" *Equivalent*: it lies within {study[1]:g} points."
        figures.append("_equivalence")
    if on_nb101:
        sizes += f"; {of['nb101_seeds']} on NAS-Bench-101, of {of['nb101_queries']}"
    head = f"**This run found** (profile `{results.profile}`; {sizes}; figures `07_crlso{'`, `'.join(figures)}`)."
    return "\n".join([f"{head} {verdicts}\n", *(f"* {line}" for line in said if line)])


def leads(gaps: Iterable[float], unit: str) -> str:
    """ "leads from -0.15 to +0.58 points": the ends of differences."""
    ends = sorted(pd.Series(gaps).dropna().round(2) + 0.0)  # no -0
    words = dict.fromkeys(f"{gap:+.0f}" if abs(gap) >= 10 else f"{gap:+.2g}" for gap in (ends[0], ends[-1]))
    return f"{'leads from' if len(words) > 1 else 'lead'} {' to '.join(words)} {unit}"


def against(
    rivals: Iterable[str], verdicts: Iterable[str], sets: Iterable[str], gaps: Iterable[float], unit: str = "points"
) -> str:
    """ "behind a; ahead of b (x) and c; neither for the rest (lead -0.1 points)": whom a search is behind and ahead of.
    Data sets stand in brackets where a verdict is not that on all. Of the rest come the ends of the differences."""
    rows = pd.DataFrame(zip(rivals, verdicts, sets, gaps), columns=["rival", "verdict", "set", "gap"])
    said = []
    for verdict, side in AGAINST.items():
        names = []
        for rival, part in rows[rows["verdict"] == verdict].groupby("rival", sort=False):
            where = "" if len(part) == (rows["rival"] == rival).sum() else f" ({listed(part['set'])})"
            names.append(RIVALS.get(rival, rival) + where)
        said += [f"{side} {listed(names)}"] * bool(names)
    rest = rows[~rows["verdict"].isin(AGAINST)]
    if len(rest):
        neither = "neither for the rest" if said else "not shown to be behind or ahead of any search compared"
        said.append(f"{neither} ({leads(rest['gap'], unit)})")
    return "; ".join(said)


def contested(part: pd.DataFrame, kind: str, unit: str) -> str:
    """`against` of one kind of difference in the table of comparisons."""
    return against(part["second"], part[f"{kind}: verdict"], part["data set"], part[f"{kind}: difference"], unit)


def study_in_words(study: pd.DataFrame, order: pd.DataFrame) -> str:
    """Whether a space with one maximum leads to better cells: regrets of two variants without it, and orders."""
    places = {"not regularised": "without the regulariser", "ordinary network": "with an ordinary network"}
    rows = study.set_index("variant").loc[[*places]]
    verdicts = set(rows["verdict"])
    if ONCE in verdicts or rows["runs"].min() < 3:
        return "**Does one summit lead to better cells? Undecided:** fewer than three runs decide nothing."
    answer = "In part" if "worse" in verdicts else "No"
    answer = "Undecided" if "undecided" in verdicts else "Yes" if verdicts == {"worse"} else answer

    def told(table: pd.DataFrame) -> str:
        found = table.set_index("variant").loc[[*places]].join(pd.Series(places, name="place"))
        return listed(
            f"{row.difference:+.3f} ({'' if np.isnan(row.low) else f'{row.low:+.3f} to {row.high:+.3f}, '}"
            f"*{row.verdict}*) {row.place}"
            for row in found.itertuples()
        )

    head = f"**Does one summit lead to better cells? {answer}:** the regret, in points below the best cell, changes by"
    return f"{head} {told(study)}. Kendall's tau of full CR-LSO's prediction, minus the variant's, is {told(order)}."


def accuracy_in_words(claims: Sequence["Claim"], compare: pd.DataFrame) -> str:
    """Whether CR-LSO reaches what the paper prints, and against whom it leads in accuracy; on one data set without
    print, where it and the best of the others end."""
    part = compare[compare["first"] == "CR-LSO"]
    once = ONCE in set(part["lead: verdict"])
    place = "Fewer than three runs do not decide which search finds better cells."
    place = place if once else f"In validation accuracy, CR-LSO is {contested(part, 'lead', 'points')}."
    reached: dict[str, list[str]] = {"short on": [], "undecided on": [], "level or above on": []}
    short, undecided, level = reached.values()
    for claim, title in zip(claims, dict.fromkeys(part["data set"])):
        if claim.paper is not None:
            alike = claim.low is None and claim.high is None and claim.verdict == "undecided"
            met = round(claim.ours, 2) >= claim.paper if alike else claim.verdict == "met"
            (level if met else short if alike or claim.verdict == "short" else undecided).append(title)
    printed = "; ".join(f"{side} {listed(titles)}" for side, titles in reached.items() if titles)
    if printed:
        return f"Beside the paper's validation accuracy, CR-LSO is {printed}. {place}"
    if len(claims) > 1:
        return place
    worst, ours = part.iloc[part["lead: difference"].argmin()], claims[0].ours
    best = RIVALS.get(worst["second"], worst["second"])
    own, rest = f"{ours:.2f}", f"{ours - worst['lead: difference']:.2f}"
    return f"{place} {'CR-LSO' if once else 'It'} ends at {own} %, {best} at {rest} %."


def strings_in_words(needed: Mapping[tuple, pd.DataFrame], compare: pd.DataFrame, queries: int) -> str:
    """Against whom the ensemble meets the best cell sooner; and how often it does so within so many strings, and
    whether the best of its rivals does so more often."""
    name = "CR-LSO, ensemble"
    part = compare[compare["first"] == name]
    if ONCE in set(part["sooner: verdict"]):
        return ""  # said of the accuracy
    met, runs = dict.fromkeys([name, *part["second"]], 0), 0
    for (_, method), own in needed.items():
        met[method] = met.get(method, 0) + (own["strings"] <= queries).sum()
        runs += len(own) * (method == name)
    most = max(met[other] for other in part["second"])
    rivals = listed(RIVALS.get(other, other) for other in dict.fromkeys(part["second"]) if met[other] == most)
    share = {runs: "all runs", 0: "no run"}.get(met[name], f"{met[name]} of {runs} runs")
    beside = f"{rivals} in {'fewer' if most < met[name] else 'more' if most > met[name] else 'as many'}"
    return (
        f"In strings to the best cell, CR-LSO's ensemble is {contested(part, 'sooner', 'strings')}. "
        f"Within {queries}, it meets that cell in {share}, {beside}."
    )


def nb101_in_words(leads: pd.DataFrame, unplaced: float, possible: float) -> str:
    """Against whom CR-LSO leads on NAS-Bench-101, and what its codes give back as released."""
    back = (
        f"gives back {unplaced:.1f} % of unseen cells; no decoder of such codes could give back over {possible:.1f} %."
    )
    if ONCE in set(leads["verdict"]):
        return f"On NAS-Bench-101, CR-LSO as released {back}"
    lead = against(leads.index, leads["verdict"], [""] * len(leads), leads["difference"])
    return f"In test accuracy on NAS-Bench-101, CR-LSO is {lead}. As released, it {back}"


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
        return f"{head} An ordinary network passes them too, so here they tell nothing apart."
    if failed < count:
        return f"{head} An ordinary network fails in {failed} of {count} trainings."
    ends = [dict.fromkeys(f"{ordinary[kind].agg(end):.1f}" for end in ("min", "max")) for kind in ("pairs", "ascents")]
    pairs, ascents = map(" to ".join, ends)
    return (
        f"{head} An ordinary network fails{'' if count == 1 else ' in each training'}: {pairs} % of the pairs "
        f"refute it, and {ascents} % of its ascents are stranded."
    )


def certificates_shown(certificates: pd.DataFrame) -> pd.DataFrame:
    """The table of both tests as it is shown."""
    gap = [f"{value:.2g}" if abs(value) > 1e-9 else "0 (rounding)" for value in certificates["smallest gap"]]
    names = {"jensen_violations": "negative gaps (%)", "smallest gap": "smallest gap (st. dev.)"}
    names["stranded_ascents"] = "stranded ascents (%)"
    shown = certificates.assign(**{"smallest gap": gap}).round({"jensen_violations": 1, "stranded_ascents": 1})
    return shown.rename(columns=names).set_index(["network", "seed"])


NOTEBOOK = "07_crlso"
FIGURES: dict[str, StoredFigure] = {
    "convexity": (("gaps", "ends"), crlso_convexity),
    "against_baselines": (("curves",), incumbents),
    "optimum_met": (("found",), met_shares),
    "equivalence": (("equivalence",), crlso_equivalence),
}
