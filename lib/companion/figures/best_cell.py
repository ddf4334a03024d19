"""The figure of the luck of the best cell (notebook 15)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from companion.figures import StoredFigure
from latentnas import stats
from latentnas.plots.style import DOUBLE, GREY, METHOD_COLOURS, VERMILLION, SteadyLayout, rows_of, styled

STYLES = {"the highest of the table": (VERMILLION, "s"), "most parameters": (METHOD_COLOURS["most parameters"], "D")}


@styled
def one_shot_again(cells: pd.DataFrame) -> Figure:
    """What cells reach when they are trained again, against the accuracy that the table has.

    A mark a cell, and the 95 % interval of the mean over the new seeds; a cell on the dotted line has had neither
    good nor bad luck in the table. Cells more than three points below the highest are not drawn.

    Columns: group (the others, the highest, most parameters), in_table, again, low, high (test accuracy, percent).
    """
    cells = rows_of(cells, "group", "in_table", "again", "low", "high")
    cells = cells[cells.in_table > cells.in_table.max() - 3]
    figure = plt.figure(figsize=(0.6 * DOUBLE, 3.4), layout=SteadyLayout())
    ax = figure.subplots()
    for group in cells.group.unique():
        colour, marker = STYLES.get(group, (GREY, "o"))
        part = cells[cells.group == group][["in_table", "again", "low", "high"]]
        size = 3 if marker == "o" else 5
        ax.vlines(part.in_table, part.low, part.high, color=colour, alpha=0.5, linewidth=0.7)
        ax.plot(part.in_table, part.again, marker, color=colour, markersize=size, label=group)
    ends = np.array([cells.in_table.min(), cells.in_table.max()])
    ax.plot(ends, ends, ":", color=GREY, linewidth=0.8, label="as in the table")
    ax.set_xlabel("test accuracy in the table (%)")
    ax.set_ylabel("accuracy, trained again (%)")
    ax.plot([], [], color=GREY, alpha=0.5, linewidth=0.7, label="bars: 95 % intervals")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def change_in_words(changes: ArrayLike) -> str:
    """How far accuracy is from the table's when trained again, from the changes with several seeds (points): "falls by
    0.50 points (0.20 to 0.80)", with "undecided" where the 95 % interval holds 0, or there is none."""
    changes = np.asarray(changes, dtype=float)
    side = 1 if changes.mean() > 0 else -1
    low, high = stats.mean_interval(side * changes)
    around = [f"{low:.2f} to {high:.2f}"] * (low <= high) + ["undecided"] * (not low > 0)
    brackets = f" ({', '.join(around)})" * bool(around)
    return f"{'rises' if side > 0 else 'falls'} by {abs(changes.mean()):.2f} points{brackets}"


NOTEBOOK = "15_best_cell"
FIGURES: dict[str, StoredFigure] = {"trained_again": (("again",), one_shot_again)}
