"""The figures of searches on codes and on plain inputs, and their findings in words (notebook 13)."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from companion.figures import StoredFigure
from companion.figures.words import in_words, listed
from latentnas.plots.search import SHOWN_FROM, legend_above
from latentnas.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    PALE,
    VERMILLION,
    colours_of,
    letter,
    new_figure,
    rows_of,
    styled,
)

PANELS = 3  # in a row
VERDICTS = {"sooner": (GREEN, "o"), "level": (BLUE, "s"), "later": (VERMILLION, "D"), "undecided": (GREY, "o")}
LEARNT_NOTHING = (  # and what is untrained: dashed
    *("path features", "graph features", "random projection"),  # in notebook 13
    *("ensemble, choices alone", "Gaussian process"),  # in notebook 16
)
NO_PROCESS = (  # dotted
    *("random search", "regularised evolution", "local search", "path-feature ensemble"),
    *("REINFORCE", "boosting"),
)
RUN = {"color": BLUE, "markersize": 3.2, "alpha": 0.45, "markeredgewidth": 0}
MEDIAN = {"color": INK, "markersize": 6.5, "markeredgewidth": 1.2}


@styled
def queries_against_one_hot(
    rows: pd.DataFrame, label: str = "queries more than on one-hot", one_axis: bool = False, columns: int = PANELS
) -> Figure:
    """How many queries more than the process on one-hot decisions each row needs, with 95 % intervals; the band is what
    counts as no difference. Another search to be compared with has another `label`. `one_axis` is for panels with one
    budget, `columns` how many stand in a row. Columns of the table: table, method, extra, low, high, verdict, margin
    (queries), and perhaps budget (queries), where intervals were cut at it."""
    rows = rows_of(rows, "table", "method", "extra", "low", "high", "verdict", "margin")
    methods = list(dict.fromkeys(rows.method))
    figure, panels = _panels(rows, 0.75 + 0.15 * len(methods), columns, sharex=one_axis, sharey=True)
    margin = rows.margin.iloc[0]
    for ax, part in panels:
        ax.axvspan(-margin, margin, color=PALE, alpha=0.35, linewidth=0)
        ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
        for row in part.itertuples():
            colour, marker = VERDICTS[row.verdict]
            place = methods.index(row.method)
            ax.plot([row.low, row.high], [place, place], color=colour, linewidth=1.2)
            ax.plot(row.extra, place, marker, color=colour, markersize=3.2)
        for place in {*range(len(methods))} - {methods.index(method) for method in part.method}:
            across = ax.get_yaxis_transform()
            ax.text(0.98, place, "not compared", transform=across, ha="right", va="center", fontsize=6, color=GREY)
        ax.tick_params(axis="x", labelbottom=True)
        ax.set_yticks(range(len(methods)), methods)
        ax.set_ylim(len(methods) - 0.5, -0.5)
        ax.set_xlabel(label)
    first = figure.axes[0]
    drawn = {word: look for word, look in VERDICTS.items() if word in rows.verdict.unique()}
    handles = {word: first.plot([], [], at, color=hue, markersize=3.2)[0] for word, (hue, at) in drawn.items()}
    cut = f", cut at ±{rows.budget.iloc[0]:g}, the budget" if "budget" in rows else ""
    handles[f"bar: 95 % interval{cut}"] = first.plot([], [], color=GREY, linewidth=1.2)[0]
    handles[f"band: within {margin:g} queries"] = Patch(color=PALE, alpha=0.35, linewidth=0)
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=len(handles), columnspacing=1.4)
    listed = "; ".join(f"{row.table}, {row.method} {row.extra:.1f}, {row.verdict}" for row in rows.itertuples())
    figure.set_label(f"Dots with intervals: {label}. {listed}.")
    return figure


@styled
def still_searching(curves: pd.DataFrame, bold: str = "one-hot", named: Collection[str] = ()) -> Figure:
    """Survival curves: the runs that have not met their goal, a good architecture, yet; `bold` is what the others are
    compared with, those that are not `named` are grey, if any is. Columns: table, method, query, share."""
    curves = rows_of(curves, "table", "method", "query", "share")
    figure = _lines(curves, "share", "goal not met yet\n(% of runs)", bold, named, drawstyle="steps-post")
    for ax in figure.axes:
        ax.set(ylim=(-3, 103), xlim=(min(SHOWN_FROM, curves["query"].max() / 2), None))
    last = curves.loc[curves.groupby(["table", "method"])["query"].transform("max") == curves["query"]]
    listed = "; ".join(f"{row.table}, {row.method} {row.share:.0f} %" for row in last.itertuples())
    figure.set_label(f"Falling steps against queries. Runs still searching at the end: {listed}.")
    return figure


@styled
def queries_of_runs(runs: pd.DataFrame) -> Figure:
    """A dot for each run at the query that met its goal, a row a method; beside it how many runs met it. Columns:
    table, method, queries (empty where the run never met it)."""
    runs = rows_of(runs, "table", "method", "queries")
    methods = list(dict.fromkeys(runs.method))
    figure, panels = _panels(runs, 0.75 + 0.15 * len(methods), sharex=True, sharey=True)
    for ax, part in panels:
        count = part.groupby("method")["queries"].agg(["count", "size"])
        ax.plot(part.queries, part.method.map(methods.index), "o", **RUN)
        medians = part.assign(queries=part.queries.fillna(np.inf)).groupby("method")["queries"].median()
        ax.plot(medians.replace(np.inf, np.nan), medians.index.map(methods.index), "|", **MEDIAN)
        for method, (met, of) in count.iterrows():
            beside = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 6, "color": GREY}
            ax.text(1.01, methods.index(method), f"{met} of {of}", **beside)
        ax.tick_params(axis="x", labelbottom=True)
        ax.grid(axis="y", color=PALE, linewidth=0.3)
        ax.set(xlabel="queries until met", xlim=(0, None), ylim=(len(methods) - 0.5, -0.5))
        ax.set_yticks(range(len(methods)), methods)
    handles = [Line2D([], [], marker=mark, linestyle="none", **look) for mark, look in (("o", RUN), ("|", MEDIAN))]
    words = ["a run that met its goal (right of each row: how many did)", "median of all runs (where over half met it)"]
    figure.legend(handles, words, loc="outside upper left", ncols=2)
    shares = runs.groupby(["table", "method"], sort=False)["queries"].agg(["count", "size"])
    listed_shares = "; ".join(f"{table}, {method} {met} of {of}" for (table, method), met, of in shares.itertuples())
    figure.set_label(f"A dot for each run. Runs that met the goal: {listed_shares}.")
    return figure


@styled
def expected_regret(curves: pd.DataFrame) -> Figure:
    """The mean regret over runs. One-hot, path and graph features, the first trained model, the same untrained, random
    search and what ends lowest in a panel, which says so, have colours, other rows are grey. Columns: table, method,
    query, regret (points)."""
    curves = rows_of(curves, "table", "method", "query", "regret")
    curves = curves[curves["query"] >= min(SHOWN_FROM, curves["query"].max() / 2)]
    plain = {"one-hot", *LEARNT_NOTHING, *NO_PROCESS}
    trained = [name for name in curves.method.unique() if name not in plain and not name.endswith(", untrained")][:1]
    ends = curves.groupby(["table", "method"], sort=False).tail(1)
    lowest = ends.loc[ends.groupby("table", sort=False)["regret"].idxmin(), "method"]
    named = {"one-hot", "path features", "graph features", "random search", *trained, *lowest}
    named |= {f"{name}, untrained" for name in trained}
    title = "lines: means over runs\n0: the table's highest test accuracy"
    figure = _lines(curves, "regret", "expected regret\n(points)", named=named, title=title)
    for ax, best in zip(figure.axes, lowest):
        ax.set_ylim(bottom=0)
        ax.text(0.02, 0.04, f"ends lowest: {best}", transform=ax.transAxes, fontsize=6.5)
    listed = "; ".join(f"{row.table}, {row.method} {row.regret:.2f}" for row in ends.itertuples())
    figure.set_label(f"Falling curves against queries. Regret at the end, in points: {listed}.")
    return figure


def _lines(
    curves: pd.DataFrame,
    column: str,
    label: str,
    bold: str = "one-hot",
    named: Collection[str] = (),
    title: str | None = None,
    **options: str,
) -> Figure:
    """A line for each method; those that are not `named` are thin and grey, if any is. The legend, with this title,
    stands above, or in the place of a panel that the last row lacks."""
    colours = colours_of(curves.method.str.removesuffix(", untrained"))  # one hue, trained or not
    others = [method for method in curves.method.unique() if named and method not in named]
    rest = f"others: {listed(others)}" if len(others) < 3 else f"{len(others)} others"
    figure, panels = _panels(curves, 2, above=0.15 * -(-(len(named) or curves.method.nunique()) // 5))
    for ax, part in panels:
        for method, line in part.groupby("method", sort=False):
            learnt_nothing = method in LEARNT_NOTHING or method.endswith("untrained")
            style = "-" if method == bold else "--" if learnt_nothing else ":" if method in NO_PROCESS else "-"
            width, above = (2.2, 1.9) if method == bold else (1.1, 2)  # below the thin ones, which would be hidden
            look = {"color": colours[method.removesuffix(", untrained")], "linewidth": width, "zorder": above}
            look |= {"label": method, "linestyle": style}
            if named and method not in named:
                look = {"color": PALE, "linewidth": 0.8, "zorder": 1, "label": rest}
            ax.plot(line["query"], line[column], **look, **options)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50, 100, 200, 500]))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("queries (log)")
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel(label)
    if free := [ax for ax in figure.axes if not ax.axison]:
        handles = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels())))
        legend = free[0].legend(handles.values(), handles.keys(), loc="center left")
    else:
        legend_above(figure, np.array(figure.axes))
        [legend] = figure.legends
    legend.set(title=title, alignment="left")
    return figure


def _panels(
    table: pd.DataFrame, height: float, most: int = PANELS, above: float = 0.0, **options: bool
) -> tuple[Figure, Iterator[tuple[Axes, pd.DataFrame]]]:
    """A figure with a panel for each `table` of a frame, at most so many in a row, and each panel with its rows.
    Heights in inches: of a row of panels, and of a legend above them that is taller than usual."""
    names = list(dict.fromkeys(table.table))
    columns = min(most, len(names))
    lines = -(-len(names) // columns)
    figure, axes = new_figure(height * lines + 0.35 + above, columns=columns, rows=lines, **options)
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    letter(axes, names)
    return figure, zip(axes.flat, (table[table.table == name] for name in names))


def queries_in_words(rows: pd.DataFrame) -> str:
    """Which rows need more queries than what they are compared with, and which fewer. Bad news first, at most two
    sentences. Index: the rows' names; columns: extra (queries), verdict."""
    parts = later, sooner, level, undecided = [
        rows[rows.verdict == word] for word in ("later", "sooner", "level", "undecided")
    ]
    many, alike = len(rows) > 1, sum(map(bool, map(len, parts))) == 1
    every = "both" if len(rows) == 2 else f"all {len(rows)}"
    rest = [f"{in_words(level.index)} {'is' if len(level) == 1 else 'are'} level"] * bool(len(level))
    if 0 < len(undecided) < len(rows):
        named = in_words(undecided.index) if len(undecided) < 4 else "the others"
        size = f"needed {at_most(undecided.extra, 'fewer')}" if undecided.extra.notna().any() else "never arrived"
        rest.append(f"{named} {size} (undecided)")
    if many and alike and not len(undecided):
        ways = {
            "later": f"needed {_amount(rows.extra)} queries more",
            "sooner": f"needed {_amount(rows.extra)} queries fewer",
        }
        return f"{every} {ways.get(rows.verdict.iloc[0], 'are level')}."
    if len(later):
        saved = (
            f"Only {in_words(sooner.index)} needed {_at_least(sooner)} fewer" if len(sooner) else "None needed fewer"
        )
        others = "; ".join([saved, *rest])
        return f"{_needed(later)} queries more.{f' {others}.' * many}"
    if len(sooner):
        others = "; ".join(rest)
        others = f" {others[0].upper()}{others[1:]}." if rest else ""
        return f"{'only ' * (not alike)}{_needed(sooner)} queries fewer.{others}"
    if not len(undecided):
        return f"{'; '.join(rest)}."
    if len(level):
        return f"{'; '.join(reversed(rest))}."
    if undecided.extra.isna().all():
        return "no run arrived (undecided)."
    if not many:
        return f"{in_words(rows.index)} needed {span(undecided.extra, 'queries fewer', 'queries more')} (undecided)."
    return f"{named_span(undecided.extra, 'queries fewer', 'queries more')} ({every} undecided)."


def span(values: "pd.Series[float]", less: str, more: str = "more") -> str:
    """The ends of some differences, in words: "3 fewer to 12 more"; without sign twice, "3 to 12 more"."""
    known = values.dropna()
    if known.empty:
        return "no run arrived"
    low, high = known.min(), known.max()
    return (
        f"{_amount(known)} {less if low < 0 else more}"
        if low * high >= 0
        else f"{_size(low)} {less} to {_size(high)} {more}"
    )


def named_span(values: "pd.Series[float]", less: str, more: str) -> str:
    """The ends of some differences and whose they are: "from 3 fewer (a) to 12 more (b)"."""
    known = values.dropna()
    if len(known) < 2:
        return span(known, less, more)
    low, high = (f"{_size(known[end])} {less if known[end] < 0 else more} ({in_words([end])})"
                 for end in (known.idxmin(), known.idxmax()))  # fmt: skip
    return f"from {low} to {high}"


def _size(value: float) -> str:
    """A difference without its sign, in two digits; whole from 10 on."""
    return f"{abs(value):.2g}" if abs(value) < 10 else f"{abs(value):.0f}"


def at_most(values: "pd.Series[float]", less: str, more: str = "more") -> str:
    """The largest of some differences, and on which side they lie: "up to 12 more", "up to 12 fewer or more"."""
    known = values.dropna()
    if len(known) < 2:
        return span(known, less, more)
    side = more if known.min() >= 0 else less if known.max() <= 0 else f"{less} or {more.removeprefix('points ')}"
    return f"up to {_size(known.abs().max())} {side}"


def _at_least(rows: pd.DataFrame) -> str:
    return f"{'at least ' * (len(rows) > 1)}{_size(rows.extra.abs().min())}"


def _needed(rows: pd.DataFrame) -> str:
    return f"{in_words(rows.index)} needed {_amount(rows.extra)}"


def _amount(values: "pd.Series[float]") -> str:
    return " to ".join(dict.fromkeys(map(_size, (values.abs().min(), values.abs().max()))))


def decoding_in_words(gains: pd.DataFrame, lost: "pd.Series[float]") -> str:
    """Where Bayesian optimisation with decoding ends behind its controls, where ahead, and what it loses.

    Args:
        gains: Columns model, space, control, gain (points), verdict (met: ahead; short: behind), a row a comparison.
        lost: The share of its proposals that was lost (percent), by "model on space".
    """
    most = (
        f"Most proposals were lost by {lost.idxmax()}: {lost.max():.0f} %"
        if lost.max() >= 0.5
        else "Hardly a proposal was lost"
    )
    behind, ahead = (_controls(gains, verdict) for verdict in ("short", "met"))
    undecided = gains.gain[~gains.verdict.isin(["short", "met"])]
    others = "the others lie" if len(undecided) > 1 else "the other lies"
    rest = f"; {others} {at_most(undecided, 'points behind', 'points ahead')} (undecided)" * bool(len(undecided))
    if behind:
        said = f"Bayesian optimisation ended behind {behind}, and ahead of {ahead or 'none'}{rest}"
    elif ahead:
        said = f"Bayesian optimisation ended ahead of {ahead}{rest}"
    else:
        said = f"Bayesian optimisation ended {at_most(undecided, 'points below', 'above')} its controls (undecided)"
    return f"{said}. {most}."


def _controls(gains: pd.DataFrame, verdict: str) -> str:
    """The controls with this verdict, with models and spaces where the others have another."""
    found = []
    for control, rows in gains.groupby("control", sort=False):
        part = rows[rows.verdict == verdict]
        cases = ", ".join(f"{name} on {in_words(of.space)}" for name, of in part.groupby("model", sort=False))
        found += [control + f" ({cases})" * (len(part) < len(rows))] * bool(len(part))
    return in_words(found)


def found_in_words(
    rows: pd.DataFrame, learned: pd.DataFrame, trained: Sequence[str], gains: pd.DataFrame, lost: "pd.Series[float]",
    trainings: int, decoded: int,
) -> list[str]:  # fmt: skip
    """What a run found, a point each, five at most.

    Args:
        rows: All rows but one-hot against it: index method, columns extra, verdict.
        learned: Trained models against what was not learned: columns method, control, extra, verdict.
        trained: The rows of trained models.
        gains, lost: As `decoding_in_words` takes them.
        trainings: How many of each model the searches had; under three decide nothing.
        decoded: The same of the searches with decoding.
    """
    few = {1: "one training of each model", 2: "two trainings of each model"}
    said, whole = [], rows.index.isin(trained)
    own = learned.control != "random projection"
    tried = f"the untrained encoder ({in_words(learned.method[own])})" if own.any() else ""
    controls = [(learned[own], tried), (learned[~own], "a random projection")]
    if trainings in few:
        of = in_words(rows.index[whole])
        amount = span(rows.extra[whole], "queries fewer", "queries more")
        said.append(f"**Learned codes against one-hot:** {amount} ({of}; {few[trainings]}: undecided).")
        said += [
            f"**Learned codes against {control}:** {span(part.extra, 'queries fewer', 'queries more')} (undecided)."
            for part, control in controls
            if len(part)
        ]
    else:
        said.append(f"**Learned codes against one-hot:** {queries_in_words(rows[whole])}")
        for part, control in controls:
            if len(part):
                said.append(f"**Learned codes against {control}:** {queries_in_words(part.set_index('method'))}")
    said.append(f"**Without a trained model, against one-hot:** {queries_in_words(rows[~whole])}")
    if decoded not in few:
        said.append(f"**With decoding:** {decoding_in_words(gains, lost)}")
    else:
        ended = [
            f"{span(part.gain, 'points behind', 'points ahead of') if part.gain.any() else 'level with'} {control}"
            for control, part in sorted(gains.groupby("control"), key=lambda of: of[1].gain.min())
        ]
        others = f" It ended {listed(ended[1:])}" * (len(ended) > 1)
        start = f"**With decoding:** Bayesian optimisation ended {ended[0]}"
        said.append(f"{start}{others and f'.{others}'} ({few[decoded]}: undecided).")
    return said


NOTEBOOK = "13_latent_search"
FIGURES: dict[str, StoredFigure] = {
    "against_one_hot": (
        ("against_one_hot",),
        partial(queries_against_one_hot, label="queries more\nthan on one-hot", one_axis=True, columns=4),
    ),
    "queries_of_runs": (("queries_of_runs",), queries_of_runs),
    "expected_regret": (("expected_regret",), expected_regret),
}
