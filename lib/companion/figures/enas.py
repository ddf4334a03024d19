"""The figures of notebook 01a: the ENAS table."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from companion.figures import StoredFigure
from companion.figures.shared import colour_bar, counts_on_grid, distribution, heat, range_by, space_cells
from latentnas.plots.style import BLUE, letter, new_figure, rows_of, signed, styled


@styled
def space_accuracy(histogram: pd.DataFrame, skips: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """What accuracies a table holds and how the skip connections move them.

    Columns of `histogram`: accuracy (lower end of the bin, percent; equal widths), count. Of `skips`: skips
    (their number), count, low, median, high (5, 50 and 95 % quantiles, percent). Of `effects`: source,
    target, difference (mean accuracy with the skip connection less that without, points).
    """
    histogram = rows_of(histogram, "accuracy", "count")
    skips = rows_of(skips, "skips", "count", "low", "median", "high")
    effects = rows_of(effects, "source", "target", "difference")
    figure, axes = new_figure(2.3, columns=3)
    counts, numbers, single = axes[0]

    distribution(counts, histogram.accuracy, histogram["count"], color=BLUE, linewidth=0, alpha=1)
    counts.set_xlabel("accuracy (%)")
    counts.set_ylabel("architectures")

    range_by(numbers, skips, "skips", BLUE)
    numbers.legend(loc="lower left")
    numbers.set_xlabel("number of skip connections")
    numbers.set_ylabel("accuracy (%)")
    numbers.xaxis.set_major_locator(MaxNLocator(integer=True))

    grid = effects.pivot(index="source", columns="target", values="difference")
    limit = np.nanmax(np.abs(grid))
    image = heat(single, grid, -limit, limit, "PuOr", signed)
    single.set_aspect("equal")
    single.set_xlabel("into vertex")
    single.set_ylabel("from vertex")
    colour_bar(figure, image, single, "accuracy (points)", shrink=0.8)
    letter(axes, ["Accuracy", "By number of skips", "What one skip changes"])
    return figure


@styled
def space_costs(density: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """Accuracy against three measures of cost, as counts of architectures on a grid.

    Columns of `density`: measure, cost and accuracy (middles of the cells of a regular grid; cost in the unit
    that is shown, accuracy in percent), count. Of `correlations`: measure, label (of the axis), spearman.
    """
    density = rows_of(density, "measure", "cost", "accuracy", "count")
    correlations = rows_of(correlations, "measure", "label", "spearman")
    figure, axes = new_figure(2.3, columns=len(correlations), sharey=True)
    for ax, measure in zip(axes[0], correlations.itertuples()):
        image = counts_on_grid(ax, density[density.measure == measure.measure], density["count"].max())
        ax.set_xlabel(measure.label)
    axes[0, 0].set_ylabel("accuracy (%)")
    letter(axes, [f"{row.measure}: Spearman {signed(row.spearman)}" for row in correlations.itertuples()])
    colour_bar(figure, image, axes, "architectures (log)", pad=0.01, aspect=25)
    return figure


NOTEBOOK = "01a_enas"
FIGURES: dict[str, StoredFigure] = {
    "enas_accuracy": (("enas_histogram", "enas_skips", "enas_effects"), space_accuracy),
    "enas_costs": (("enas_density", "enas_correlations"), space_costs),
    "enas_cells": (("enas_cells",), space_cells),
}
