"""What searches have found after so many queries, against one another."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from latentnas.plots.style import GREY, MARKERS, colours_of, letter, new_figure, rows_of, styled

SHOWN_FROM = 10  # queries; what comes before is the luck of the first draws
CUT = 1.2  # times how far below the best cell the median method begins; what lies lower is cut off
STEPS_FROM = 5  # queries; where the axis of `optimum_found` begins
SHORTER = "dot: ends early"


@styled
def incumbent_curves(curves: pd.DataFrame) -> Figure:
    """The best architecture so far against queries: means over runs with 95 % intervals.

    One row of panels for each signal, one column for each data set. A search that ends before the others is a thin line
    above them, with a dot at its end. Columns: dataset, signal (which accuracy of the incumbent, such as "validation"),
    method, query, mean, low, high, best (percent; the dotted line: the best cell's).
    """
    curves = rows_of(curves, "dataset", "signal", "method", "query", "mean", "low", "high", "best")
    datasets, signals = curves.dataset.unique(), curves.signal.unique()
    figure, axes = new_figure(0.9 + 1.9 * len(signals), columns=len(datasets), rows=len(signals), sharex=True)
    colours = colours_of(curves.method)
    for row, signal in zip(axes, signals):
        for ax, dataset in zip(row, datasets):
            panel = curves[(curves.signal == signal) & (curves.dataset == dataset)]
            if panel.empty:
                ax.set_axis_off()
                continue
            shown = panel[panel["query"] >= min(SHOWN_FROM, panel["query"].max() / 2)]
            for method, line in shown.groupby("method", sort=False):
                look = {"color": colours[method], "label": method}
                if line["query"].max() < shown["query"].max():
                    look |= {"marker": "o", "markersize": 3.5, "markevery": [-1], "linewidth": 1, "zorder": 2.5}
                ax.plot(line["query"], line["mean"], **look)
                ax.fill_between(line["query"], line.low, line.high, color=colours[method], alpha=0.15, linewidth=0)
            ax.axhline(panel.best.iloc[0], color=GREY, linewidth=0.8, linestyle=":", label="the best cell")
            best, begins = panel.best.iloc[0], shown.groupby("method")["mean"].first().median()
            if best > begins and (floor := best - CUT * (best - begins)) > shown.low.min():
                ax.set_ylim(floor, max(best, shown["mean"].max()) + 0.2 * (best - begins))
                ax.text(0.99, 0.03, "cut below", transform=ax.transAxes, ha="right", fontsize="small", color=GREY)
            ax.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
        row[0].set_ylabel(f"{signal} accuracy (%)")
    for column in axes.T:
        *_, lowest = (ax for ax in column if ax.axison)
        queries_axis(lowest)
        lowest.tick_params(labelbottom=True)
    letter(axes, [f"{dataset}, {signal}" for signal in signals for dataset in datasets])
    if any(line.get_marker() == "o" for ax in axes.flat for line in ax.lines):
        axes[0, 0].plot([], [], "o", color=GREY, markersize=3.5, label=SHORTER)
    legend_above(figure, axes)
    last = curves.loc[curves.groupby(["dataset", "method"])["query"].transform("max") == curves["query"]]
    figure.set_label(f"Rising curves against queries. At the end: {_values(last, 'signal', 'mean', '{:.2f}')}.")
    return figure


def arrivals(counts: Iterable[float], last: int) -> pd.DataFrame:
    """The share of the runs that had arrived after so many queries, a row for each number at which one did and for both
    ends of the line; `counts`: at which query each run arrived, or infinity. Columns: query, share."""
    counts = np.array([*counts], dtype=float)
    at = np.union1d(counts[counts <= last], [min(STEPS_FROM, last), last]).astype(int)
    return pd.DataFrame({"query": at, "share": [(counts <= query).mean() for query in at]})


@styled
def optimum_found(found: pd.DataFrame) -> Figure:
    """In how many runs one of the wanted cells had been met after so many queries: see `arrivals` for the steps.

    One column of panels for each data set; where there are several goals, one row for each. Columns: dataset, method,
    query, share (of the runs), and `goal` (words for the axis) or none.
    """
    found = rows_of(found, "dataset", "method", "query", "share")
    found = found if "goal" in found else found.assign(goal="runs that met it")
    datasets, goals = found.dataset.unique(), found.goal.unique()
    figure, axes = new_figure(0.4 + 1.9 * len(goals), len(datasets), len(goals), sharex=True, sharey=True)
    colours = colours_of(found.method)
    for (goal, dataset), ax in zip(((goal, dataset) for goal in goals for dataset in datasets), axes.flat):
        panel = found[(found.dataset == dataset) & (found.goal == goal)]
        for number, (method, line) in enumerate(panel.groupby("method", sort=False)):
            ax.plot(
                line["query"], 100 * line.share, color=colours[method], label=method, drawstyle="steps-post",
                marker=MARKERS[number % len(MARKERS)], markersize=3, markevery=0.2,
            )  # fmt: skip
        ax.set_ylim(-3, 103)
    for row, goal in zip(axes, goals):
        row[0].set_ylabel(f"{goal} (%)")
    for ax in axes[-1]:
        queries_axis(ax)
        ax.set_xlim(left=min(STEPS_FROM, found["query"].max() / 2))
    letter(axes, [*datasets] * len(goals))
    legend_above(figure, axes)
    last = found.loc[found.groupby(["dataset", "method"])["query"].transform("max") == found["query"]]
    figure.set_label(f"Rising steps against queries. At the end: {_values(last, 'goal', 'share', '{:.0%}')}.")
    return figure


def _values(rows: pd.DataFrame, kind: str, column: str, form: str) -> str:
    """The numbers of a figure in words, for its alt text."""
    parts = rows.groupby(["dataset", kind], sort=False)
    listed = (part.method + " " + part[column].map(form.format) for _, part in parts)
    return "; ".join(f"{', '.join(names)}: {', '.join(words)}" for (names, _), words in zip(parts, listed))


def queries_axis(ax: Axes) -> None:
    """A logarithmic axis with plain numbers, and no ticks between them."""
    ax.set(xscale="log", xlabel="queries (log)")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())


def legend_above(figure: Figure, axes: np.ndarray) -> None:
    """One legend for all panels, with each method once, in lines of equal length."""
    handles: dict = {}
    for ax in axes.flat:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels())))
    lines = -(-len(handles) // 5)
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=-(-len(handles) // lines))
