"""The figures of CR-LSO (notebook 07), its tables as they are shown, and its findings in words."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from companion.figures import StoredFigure, compared
from companion.figures.compared import FEW, ONCE, RIVALS, against, judged
from companion.figures.words import listed
from latentnas.plots.search import incumbent_curves, optimum_found
from latentnas.plots.style import GREY, colours_of, styled

if TYPE_CHECKING:
    from companion.claims import Claim, Results

BANDED = ("CR-LSO", "CR-LSO, ensemble")  # more bands on each other cannot be told apart
IN_COLOUR = (*BANDED, "most parameters", "plain features, boosting")  # more colours hide what the figure says
DASHES = ("--", "-.", (0, (11, 1.5)), (0, (6, 1, 1, 1, 1, 1)), (0, (2, 4)))  # of the lines without a colour


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
    rows["the best cell by validation"] = Line2D([], [], color=GREY, linewidth=0.8, linestyle=":")
    figure.legends[0].remove()
    legend = figure.legend(rows.values(), rows.keys(), loc="outside upper left", ncols=3, handlelength=3)
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


def standing(runs: pd.DataFrame, query: int) -> pd.DataFrame:
    """Validation and test accuracy of each run's best cell after so many queries, by seed."""
    return runs[runs["query"] <= query].groupby("seed")[["incumbent", "test"]].last()


def contests_in_words(compare: pd.DataFrame) -> pd.DataFrame:
    """The table of comparisons as it is shown: a difference, its interval and its verdict in one column."""

    def told(quantity: str, form: str, of_budget: bool) -> list[str]:
        names = {f"{quantity}: {name}": name for name in ("difference", "low", "high", "verdict")}
        rows = compare.rename(columns=names).to_dict("records")
        return [judged(row, form, row["strings"] if of_budget else np.inf) for row in rows]

    told_of = {"strings saved": told("sooner", "+z.0f", True), "points gained": told("lead", "+.2g", False)}
    shown = compare[["data set", "first", "second", "strings"]].assign(**told_of)
    chances = compare["p, log-rank"].map(lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}")
    return shown.assign(**{"p (log-rank test)": chances})


def accuracies_and_meetings(summary: pd.DataFrame) -> list[pd.DataFrame]:
    """The table of all searches as it is shown, in two."""
    shown = summary.set_index(["data set", "method"]).round(2)
    meetings = shown.columns.str.startswith(("met", "median"))
    return [shown.loc[:, ~meetings], shown.loc[:, meetings]]


def told(results: "Results", said: Iterable[str]) -> str:
    """The findings under a line that names sizes, figures and what the verdicts mean."""
    of, verdicts = results.parameters, "*Ahead* or *behind*: the whole 95 % interval lies on one side of 0."
    sizes = f"{of['seeds']} runs of each search, of at most {of['queries']} strings"
    return compared.told(results, of["seeds"], sizes, ("against_baselines", "optimum_met"), verdicts, said)


def contested(part: pd.DataFrame, kind: str, unit: str) -> str:
    """`against` of one kind of difference in the table of comparisons."""
    return against(part["second"], part[f"{kind}: verdict"], part["data set"], part[f"{kind}: difference"], unit)


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
    return f"{place} CR-LSO ends at {own} %, {best} at {rest} %."


def strings_in_words(needed: Mapping[tuple, pd.DataFrame], compare: pd.DataFrame, queries: int) -> str:
    """Against whom CR-LSO and its ensemble meet the best cell sooner; and how often the ensemble does so within so many
    strings, and whether the best of its rivals does so more often."""
    name = "CR-LSO, ensemble"
    own, part = (compare[compare["first"] == first] for first in ("CR-LSO", name))
    if ONCE in set(part["sooner: verdict"]):
        return ""  # said of the accuracy
    met, runs = dict.fromkeys([name, *part["second"]], 0), 0
    for (_, method), counts in needed.items():
        met[method] = met.get(method, 0) + (counts["strings"] <= queries).sum()
        runs += len(counts) * (method == name)
    most = max(met[other] for other in part["second"])
    rivals = listed(RIVALS.get(other, other) for other in dict.fromkeys(part["second"]) if met[other] == most)
    share = {runs: "all runs", 0: "no run"}.get(met[name], f"{met[name]} of {runs} runs")
    beside = f"{rivals} in {'as many' if most == met[name] else 'all' if most == runs else most}"
    plain = f"In strings to the best cell, CR-LSO is {contested(own, 'sooner', 'strings')}. "
    return (
        f"{plain}CR-LSO's ensemble is {contested(part, 'sooner', 'strings')}. "
        f"Within {queries}, the ensemble meets that cell in {share}, {beside}."
    )


NOTEBOOK = "07_crlso"
FIGURES: dict[str, StoredFigure] = {
    "against_baselines": (("curves",), incumbents),
    "optimum_met": (("found",), met_shares),
}
