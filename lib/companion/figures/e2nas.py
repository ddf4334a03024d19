"""The figures of one-shot search (notebook 08)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from companion.figures import StoredFigure
from latentnas.plots.search import legend_above
from latentnas.plots.style import (
    BLUE,
    DOUBLE,
    GREEN,
    GREY,
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
def cells_handed_in(found: pd.DataFrame) -> Figure:
    """How far the cells handed in lie below the best expected accuracy: a dot a run, a diamond and a line the mean and
    its 95 % interval; rows without runs have the diamond alone. The row E2NAS is bold.

    Columns: group (up to three, by colour), method, gap (points, a row a run), mean, low, high (of its method).
    """
    found = rows_of(found, "group", "method", "gap", "mean", "low", "high")
    names = found.drop_duplicates("method")
    figure = plt.figure(figsize=(0.85 * DOUBLE, 0.8 + 0.26 * len(names)), layout="constrained")
    ax = figure.subplots()
    colours = dict(zip(names.group.unique(), GROUP_COLOURS))
    for place, name in enumerate(names.itertuples()):
        gaps, colour = found.gap[found.method == name.method], colours[name.group]
        ax.plot(gaps, np.full(len(gaps), place), "o", color=colour, alpha=0.35, markersize=3)
        ax.plot([name.low, name.high], [place] * 2, color=colour, linewidth=1)
        ax.plot(name.mean, place, "D", color=colour, markersize=4.5)
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    ax.minorticks_off()
    ax.set_xlim(min(0, found.gap.min()) - 0.1, 1.15 * found.gap.max())
    ax.grid(axis="x", color=PALE, linewidth=0.4, linestyle=":")
    ax.set_yticks(range(len(names)), names.method)
    for label, group in zip(ax.get_yticklabels(), names.group):
        label.set(color=colours[group], weight="bold" if label.get_text() == "E2NAS" else "normal")
    ax.invert_yaxis()
    ax.set_xlabel("points of test accuracy below the best that can be expected\n(less is better; logarithmic beyond 1)")
    for group, colour in colours.items():
        ax.plot([], [], "D", color=colour, label=group)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


@styled
def shared_weights(ranking: pd.DataFrame, forgetting: pd.DataFrame) -> Figure:
    """Left: how well shared weights rank cells, over training. Right: what cells lose or gain later.

    Columns of `ranking`: method, epoch (of E2NAS that takes as long), mean, low, high (Kendall's tau). Of `forgetting`:
    the same, the epoch that of the visit, in points of shared accuracy relative to cells that nobody visited.
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
    order.set_xlabel("processor time (epochs of E2NAS)")
    order.set_ylabel("Kendall's tau, shared and true")
    lost.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    lost.set_xlabel("time of the visit (epochs of E2NAS)")
    lost.set_ylabel("change from the visit to the end\n(points of shared accuracy)")
    letter(axes, ["Ranking of random cells", "Change after the visit"])
    legend_above(figure, axes)
    return figure


def _band(ax: Axes, line: pd.DataFrame, colour: str, label: str) -> None:
    """A mean and its interval over the column `epoch`."""
    ax.plot(line.epoch, line["mean"], color=colour, label=label, marker="o", markersize=2)
    ax.fill_between(line.epoch, line.low, line.high, color=colour, alpha=0.15, linewidth=0)


NOTEBOOK = "08_e2nas"
FIGURES: dict[str, StoredFigure] = {
    "cells_handed_in": (("handed_in",), cells_handed_in),
    "shared_weights": (("kendall_by_time", "change_by_time"), shared_weights),
}
