"""The figures of one-shot search (notebook 08)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from companion.figures import StoredFigure
from latentnas.plots.search import legend_above
from latentnas.plots.style import (
    BLUE,
    DOUBLE,
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
)  # fmt: skip

TICKS = (0, 0.5, 1, 2, 5, 10, 20, 50)  # points
GROUP_COLOURS = (VERMILLION, BLUE, GREEN)  # in order of appearance


@styled
def one_shot_curves(curves: pd.DataFrame) -> Figure:
    """Left: what the cell that a search stands at is worth. Right: how many cells it has visited.

    Columns: method, epoch, mean, low, high (true test accuracy, percent), visited (different cells so far).
    """
    curves = rows_of(curves, "method", "epoch", "mean", "low", "high", "visited")
    figure, axes = new_figure(2.6, columns=2)
    [[accuracy, visits]] = axes
    colours = colours_of(curves.method)
    for method, line in curves.groupby("method", sort=False):
        _band(accuracy, line, colours[method], method)
        visits.plot(line.epoch, line.visited, color=colours[method], label=method)
    accuracy.set_ylabel("true test accuracy (%)")
    visits.set_yscale("log")
    visits.yaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    visits.yaxis.set_minor_formatter(NullFormatter())
    visits.set_ylabel("different cells visited")
    for ax in axes[0]:
        ax.set_xlabel("epoch of the supernet")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    letter(axes, ["The cell that the search is at", "How far it has looked around"])
    legend_above(figure, axes)
    return figure


@styled
def one_shot_found(found: pd.DataFrame) -> Figure:
    """How far the cells found lie below the best of the table: a dot a run, mean and 95 % interval.

    Columns: group, method, handed_in (up to four ways to choose at the end: drawn full, hollow, pale and half),
    gap (points of test accuracy, a row a run), mean, low, high (of its method and way).
    """
    found = rows_of(found, "group", "method", "handed_in", "gap", "mean", "low", "high")
    names = found.drop_duplicates("method").reset_index()
    ways = list(found.handed_in.unique())
    figure = plt.figure(figsize=(0.85 * DOUBLE, 0.7 + 0.42 * len(names)), layout="constrained")
    ax = figure.subplots()
    colours = dict(zip(names.group.unique(), GROUP_COLOURS))
    for place, name in enumerate(names.itertuples()):
        for way, runs in found[found.method == name.method].groupby("handed_in", sort=False):
            rank, colour = ways.index(way), colours[name.group]
            height, fill = place + 0.2 * rank, {"color": colour, **_filling(rank, colour)}
            ax.plot(runs.gap, np.full(len(runs), height), "o", alpha=0.45, markersize=3, **fill)
            mean, low, high = runs[["mean", "low", "high"]].iloc[0]
            ax.plot([low, high], [height] * 2, color=colour, linewidth=1)
            ax.plot(mean, height, "D", markersize=4.5, **fill)
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    ax.minorticks_off()
    ax.set_xlim(-0.05, 1.15 * found.gap.max())
    ax.grid(axis="x", color=PALE, linewidth=0.4, linestyle=":")
    ax.set_yticks(range(len(names)), names.method)
    for label, group in zip(ax.get_yticklabels(), names.group):
        label.set_color(colours[group])
    ax.invert_yaxis()
    ax.set_xlabel("points of test accuracy below the best cell (less is better)")
    for rank, way in enumerate(ways):  # the groups have the colours of their labels
        ax.plot([], [], "D", color=GREY, **_filling(rank, GREY), label=way)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _filling(rank: int, colour: str) -> dict:
    if rank == 3:
        return {"fillstyle": "bottom", "markerfacecoloralt": "white"}
    return {"markerfacecolor": (colour, "white", (colour, 0.35))[rank]}


@styled
def one_shot_lists(lists: pd.DataFrame) -> Figure:
    """How far the best of a list lies below the best of the table when its cells are trained on their own, by the
    length of the list, one panel a group; the band is the 95 % interval of E2NAS.

    Columns: group (searches, what E2NAS is changed to, or random for the dotted line of both panels), method,
    length (cells), mean, low, high (test accuracy, percent).
    """
    lists = rows_of(lists, "group", "method", "length", "mean", "low", "high")
    groups, lengths = [group for group in lists.group.unique() if group != "random"], lists.length.unique()
    figure, axes = new_figure(2.8, columns=len(groups), sharey=True)
    for ax, group in zip(axes[0], groups):
        colours = colours_of(lists.method[lists.group == group])
        panel = lists[lists.group.isin([group, "random"]) | (lists.method == "E2NAS")]
        for method, line in panel.groupby("method", sort=False):
            chance = line.group.iloc[0] == "random"
            ax.plot(
                line.length, line["mean"], ":" if chance else "o-", color=colours[method], markersize=3, label=method
            )
            if method == "E2NAS":
                ax.fill_between(line.length, line.low, line.high, color=colours[method], alpha=0.15, linewidth=0)
        ax.set_xscale("log")
        ax.set_xticks(lengths, [f"{length}" for length in lengths])
        ax.set_xlabel("cells that are trained on their own")
        ax.set_yscale("symlog", linthresh=1)
        ax.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        ax.minorticks_off()
        ax.set_ylim(0, 3 * lists["mean"].max())  # room for the legend
        ax.legend(loc="upper right", ncols=2)
    axes[0, 0].set_ylabel("points below the best cell")
    letter(axes, groups)
    return figure


@styled
def one_shot_again(cells: pd.DataFrame) -> Figure:
    """What cells reach when they are trained again, against the accuracy that the table has.

    A mark a cell, and the 95 % interval of the mean over the new seeds; a cell on the dotted line has had neither
    good nor bad luck in the table. Cells more than three points below the highest are not drawn.

    Columns: group (of up to four), in_table, again, low, high (test accuracy, percent).
    """
    cells = rows_of(cells, "group", "in_table", "again", "low", "high")
    cells = cells[cells.in_table > cells.in_table.max() - 3]
    figure = plt.figure(figsize=(0.6 * DOUBLE, 3.4), layout="constrained")
    ax = figure.subplots()
    styles = zip(cells.group.unique(), (GREY, VERMILLION, BLUE, INK), "osD*")
    for group, colour, marker in styles:
        part = cells[cells.group == group][["in_table", "again", "low", "high"]]
        ax.vlines(part.in_table, part.low, part.high, color=colour, alpha=0.35, linewidth=0.7)
        ax.plot(part.in_table, part.again, marker, color=colour, markersize=8 if marker == "*" else 4, label=group)
    ends = np.array([cells[["in_table", "low"]].min(axis=None), cells[["in_table", "high"]].max(axis=None)])
    ax.plot(ends, ends, ":", color=GREY, linewidth=0.8)
    ax.set_xlabel("test accuracy in the table (%)")
    ax.set_ylabel("test accuracy when trained again (%)")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


@styled
def shared_weights(ranking: pd.DataFrame, forgetting: pd.DataFrame) -> Figure:
    """Left: how well shared weights rank cells, over training. Right: what cells lose after the visit.

    Columns of `ranking`: method, epoch, mean, low, high (Kendall's tau). Of `forgetting`: method, epoch (of
    the visit), mean, low, high (points of shared accuracy, relative to cells that nobody visited).
    """
    ranking = rows_of(ranking, "method", "epoch", "mean", "low", "high")
    forgetting = rows_of(forgetting, "method", "epoch", "mean", "low", "high")
    figure, axes = new_figure(2.6, columns=2)
    [[order, lost]] = axes
    colours = colours_of([*ranking.method, *forgetting.method])
    for ax, table in ((order, ranking), (lost, forgetting)):
        for method, line in table.groupby("method", sort=False):
            _band(ax, line, colours[method], method)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    order.set_xlabel("epoch of the supernet")
    order.set_ylabel("Kendall's tau, shared and true")
    lost.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    lost.set_xlabel("epoch of the visit")
    lost.set_ylabel("change from the visit to the end\n(points of shared accuracy)")
    letter(axes, ["Ranking of random cells", "Forgetting of visited cells"])
    legend_above(figure, axes)
    return figure


def _band(ax: Axes, line: pd.DataFrame, colour: str, label: str) -> None:
    """A mean and its interval over the column `epoch`."""
    ax.plot(line.epoch, line["mean"], color=colour, label=label, marker="o", markersize=2)
    ax.fill_between(line.epoch, line.low, line.high, color=colour, alpha=0.15, linewidth=0)


NOTEBOOK = "08_e2nas"
FIGURES: dict[str, StoredFigure] = {
    "cells_found": (("found",), one_shot_found),
    "short_lists": (("lists",), one_shot_lists),
    "trained_again": (("again",), one_shot_again),
    "search_curves": (("curves",), one_shot_curves),
    "shared_weights": (("ranking", "forgetting"), shared_weights),
}
