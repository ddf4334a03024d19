"""The figures of notebook 01b: the spaces and tables of NAS-Bench-201 and NAS-Bench-101."""

from collections.abc import Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, PathPatch
from matplotlib.path import Path as Curve
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import ArrayLike

from companion.figures import StoredFigure
from companion.figures.shared import (
    cells_in_rows,
    colour_bar,
    cost_words,
    counts_on_grid,
    distribution,
    heat,
    range_by,
    space_cells,
)
from latentnas.plots.cells import ARROW, BOX_WIDTH, draw_box, draw_cell, draw_letters
from latentnas.plots.style import (
    BLUE,
    DOUBLE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    VERMILLION,
    SteadyLayout,
    letter,
    new_figure,
    rows_of,
    styled,
)
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201

DATASET_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE)  # in order of appearance
SHARES = (100, 50, 20, 10, 5, 2, 1)  # per cent, the ticks of "only the best …"
MILLIONS = (0.3, 1, 3, 10, 30)  # of parameters, the ticks of NAS-Bench-101

NODE_STEP, NODE_RADIUS = 1.75, 0.26  # of draw_edge_labelled, in the same unit
# How far the box of an edge stands above the row of nodes, by the length of the edge and its first node.
EDGE_HEIGHTS = {(1, 0): 0.0, (1, 1): 0.0, (1, 2): 0.0, (2, 0): 0.9, (2, 1): -0.9, (3, 0): 1.8}


def plain_log_axis(axis: Axis, ticks: Sequence[float]) -> None:
    """Plain numbers at these places of a logarithmic axis, instead of powers of ten."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


# ---------------------------------------------------------------- NAS-Bench-201


@styled
def nb201_views(cells: pd.DataFrame) -> Figure:
    """Cells of NAS-Bench-201 in three ways: text, operations on edges, operations on vertices. Column: arch."""
    cells = rows_of(cells, "arch")
    figure = plt.figure(figsize=(DOUBLE, 1.95 * len(cells)), layout=SteadyLayout())
    for strip, text in zip(figure.subfigures(len(cells), 1, squeeze=False)[:, 0], cells.arch):
        strip.suptitle(text, fontsize=7, fontfamily="DejaVu Sans Mono")
        edges, vertices = strip.subplots(1, 2, width_ratios=[1, 1.35])
        draw_edge_labelled(edges, *edge_labelled(text))
        batch = NASBENCH201.to_batch([text])
        draw_cell(vertices, batch.types[0], batch.adjacency[0], NASBENCH201.type_names)
        letter([edges, vertices], ["operations on edges, as published", "operations on vertices"])
    return figure


@styled
def nb201_cells(cells: pd.DataFrame) -> Figure:
    """A few cells of NAS-Bench-201, drawn. Columns: label, arch, accuracy (percent), flops, params."""
    cells = rows_of(cells, "label", "arch", "accuracy", "flops", "params")
    rows = -(-len(cells) // 3)
    figure, axes = new_figure(1.75 * rows, columns=3, rows=rows)
    for ax, cell in zip(axes.flat, cells.itertuples()):
        draw_edge_labelled(ax, *edge_labelled(cell.arch))
        ax.set_title(f"{cell.label}: {cell.accuracy:.2f} %\n{cost_words(cell)}", loc="center", fontsize=7)
    for ax in axes.flat[len(cells) :]:
        ax.axis("off")
    return figure


def edge_labelled(text: str) -> tuple[np.ndarray, Sequence[str]]:
    return NASBENCH201.edge_labelled(NASBENCH201.to_batch([text]))[0], NASBENCH201.operation_names


@styled
def draw_edge_labelled(ax: Axes, cell: ArrayLike, operation_names: Sequence[str]) -> None:
    """Draw a NAS-Bench-201 cell as it is defined: four nodes in a row, on each edge u -> v the box of its operation
    `cell[u, v]`, int `[4, 4]` with -1 for no edge; edges of `none` are dashed."""
    for u, v in np.argwhere(np.asarray(cell) >= 0).tolist():
        name = operation_names[cell[u, v]]
        colour, style = (PALE, (0, (2, 2))) if name == "none" else (INK, "solid")
        height, middle = EDGE_HEIGHTS[v - u, u], NODE_STEP * (u + v) / 2
        into_box, out_of_box = edge_curves(NODE_STEP * u, NODE_STEP * v, middle, height)
        ax.add_patch(PathPatch(into_box, facecolor="none", edgecolor=colour, linestyle=style, linewidth=0.8))
        ax.add_patch(FancyArrowPatch(path=out_of_box, gid=f"edge {u} {v}", color=colour, linestyle=style, **ARROW))
        draw_box(ax, middle, name, height)
    for node, text in enumerate(("in", "1", "2", "out")):
        ax.add_patch(Circle((NODE_STEP * node, 0), NODE_RADIUS, facecolor="white", edgecolor=GREY, linewidth=0.9))
        draw_letters(ax, NODE_STEP * node, 0, text, 1.5 * NODE_RADIUS)
    ylim = EDGE_HEIGHTS[2, 1] - 0.5, EDGE_HEIGHTS[3, 0] + 0.5
    ax.set(xlim=(-0.5, 3 * NODE_STEP + 0.5), ylim=ylim, aspect="equal")
    ax.axis("off")


def edge_curves(start: float, end: float, middle: float, height: float) -> tuple[Curve, Curve]:
    """From the node at `start` to the box at (`middle`, `height`), and from there to the node at `end`."""
    left, right = middle - BOX_WIDTH / 2, middle + BOX_WIDTH / 2
    if height == 0:
        return Curve([(start + NODE_RADIUS, 0), (left, 0)]), Curve([(right, 0), (end - NODE_RADIUS, 0)])
    rim = NODE_RADIUS if height > 0 else -NODE_RADIUS
    codes = [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3]
    into_box, out_of_box = [(start, rim), (start, height), (left, height)], [(right, height), (end, height), (end, rim)]
    return Curve(into_box, codes), Curve(out_of_box, codes)


@styled
def nb201_accuracy(histogram: pd.DataFrame, optima: pd.DataFrame) -> Figure:
    """What accuracies the table holds, one panel a data set.

    Columns of `histogram`: dataset, signal (such as "test"), accuracy (lower end of the bin, percent; equal
    widths), count. Of `optima`: dataset, best (highest test accuracy, percent).
    """
    histogram = rows_of(histogram, "dataset", "signal", "accuracy", "count")
    optima = rows_of(optima, "dataset", "best")
    figure, axes = new_figure(2.2, columns=len(optima), sharey=True)
    for ax, optimum in zip(axes[0], optima.itertuples()):
        panel = histogram[histogram.dataset == optimum.dataset]
        for (signal, bins), colour in zip(panel.groupby("signal", sort=False), (ORANGE, BLUE)):
            look = {"filled": signal == "validation", "color": colour, "linewidth": 1, "label": signal, "alpha": 0.7}
            distribution(ax, bins.accuracy, bins["count"], **look)
        ax.axvline(optimum.best, color=GREY, linewidth=0.8, linestyle=":")
        ax.annotate(
            f"best test {optimum.best:.2f}", (optimum.best, 1), xycoords=("data", "axes fraction"),
            xytext=(-3, 0), textcoords="offset points", ha="right", va="top", fontsize=7,
        )  # fmt: skip
        ax.set_yscale("log")
        ax.set_ylim(top=5 * histogram["count"].max())  # room for the words
        ax.set_xlabel("accuracy (%)")
    axes[0, 0].set_ylabel("cells per point of accuracy (log)")
    axes[0, 0].legend(loc="upper left", bbox_to_anchor=(0.06, 0.92))
    letter(axes, optima.dataset)
    return figure


def only_the_best(ax: Axes) -> None:
    """An axis that narrows from all cells to the best per cent of them."""
    ax.set_xscale("log")
    ax.invert_xaxis()
    plain_log_axis(ax.xaxis, SHARES)
    ax.set_xlabel("only the best … % of the cells (log)")


@styled
def nb201_noise(runs: pd.DataFrame, agreement: pd.DataFrame, spread: pd.DataFrame) -> Figure:
    """How far the accuracies of one cell differ between trainings.

    Columns of `runs`: dataset, rank (per cent, 100 the best; middles of equal groups), low, median, high
    (quartiles of the standard deviation between runs, points). Of `agreement`: dataset, share (the best so
    many per cent), spearman of two runs, low, high (95 % interval). Of `spread`: dataset, kind, deviation
    (points).
    """
    runs = rows_of(runs, "dataset", "rank", "low", "median", "high")
    agreement = rows_of(agreement, "dataset", "share", "spearman", "low", "high")
    spread = rows_of(spread, "dataset", "kind", "deviation")
    figure, axes = new_figure(2.5, columns=3)
    deviation, correlation, compared = axes[0]
    colours = dict(zip(runs.dataset.unique(), DATASET_COLOURS))
    kinds = list(spread.kind.unique())
    for number, (dataset, colour) in enumerate(colours.items()):
        groups = runs[runs.dataset == dataset]
        deviation.plot(groups["rank"], groups["median"], color=colour, label=dataset)
        deviation.fill_between(groups["rank"], groups.low, groups.high, color=colour, alpha=0.15, linewidth=0)
        groups = agreement[agreement.dataset == dataset]
        errors = [groups.spearman - groups.low, groups.high - groups.spearman]
        correlation.errorbar(
            groups.share, groups.spearman, errors, color=colour, marker="o", markersize=3, elinewidth=0.6,
            linewidth=1,
        )  # fmt: skip
        groups = spread[spread.dataset == dataset].set_index("kind").loc[kinds]
        heights = np.arange(len(kinds)) + 0.16 * (number - (len(colours) - 1) / 2)
        compared.plot(groups.deviation, heights, "o", color=colour, markersize=4)
    deviation.set_yscale("log")
    plain_log_axis(deviation.yaxis, [0.05, 0.1, 0.2, 0.5, 1])
    deviation.set_ylim(0.05, 1.2)
    deviation.set_xlabel("cells by rank (%), best right")
    deviation.set_ylabel("st. dev. of runs (points, log)")
    only_the_best(correlation)
    correlation.set_ylabel("Spearman of two runs")
    correlation.set_ylim(0, 1.03)
    compared.set_yticks(range(len(kinds)), kinds)
    compared.margins(x=0.1)
    compared.invert_yaxis()
    compared.set_xscale("log")
    plain_log_axis(compared.xaxis, [0.1, 0.3, 1, 3, 10])
    compared.grid(axis="x", color="#E5E5E5", linewidth=0.6)
    compared.set_axisbelow(True)
    compared.set_xlabel("st. dev. (points, log)")
    letter(axes, ["Noise of a cell", "Do two runs agree?", "Spreads compared"])
    title = "(a) medians, bands: middle half of the cells; (b) bars: 95 % intervals"
    handles = deviation.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=len(colours), title=title, alignment="left")
    return figure


@styled
def nb201_correlations(correlations: pd.DataFrame, best: pd.DataFrame) -> Figure:
    """Rank correlations between the signals of the table, and how they fade among good cells.

    Columns of `correlations`: first, second (names of signals), spearman. Of `best`: dataset, share (the best
    so many per cent by test accuracy), epochs (of the validation signal), spearman with test accuracy.
    """
    correlations = rows_of(correlations, "first", "second", "spearman")
    best = rows_of(best, "dataset", "share", "epochs", "spearman")
    figure, axes = new_figure(2.9, columns=2, width_ratios=[1.25, 1])
    matrix, lines = axes[0]
    names = list(correlations["first"].unique())
    grid = correlations.pivot(index="first", columns="second", values="spearman").loc[names, names]
    grid = grid.where(np.tri(len(grid), dtype=bool))
    heat(matrix, grid, grid.min().min(), 1, "cividis", lambda value: f"{value:.2f}")
    matrix.set_xticklabels(range(1, len(names) + 1))
    matrix.set_yticklabels(
        [f"{name.replace('@', ', ')} epochs  {number}" for number, name in enumerate(names, start=1)]
    )
    colours = dict(zip(best.dataset.unique(), DATASET_COLOURS))
    for (dataset, epochs), part in best.groupby(["dataset", "epochs"], sort=False):
        style = "-" if epochs == best.epochs.max() else "--"
        lines.plot(part.share, part.spearman, f"o{style}", color=colours[dataset], markersize=3, linewidth=1)
    only_the_best(lines)
    lines.set_ylim(0, 1.03)
    lines.set_ylabel("Spearman with test accuracy")
    named = [Line2D([], [], color=colour, label=dataset) for dataset, colour in colours.items()]
    named += [
        Line2D([], [], color=GREY, linestyle=style, label=f"{epochs} epochs")
        for style, epochs in zip(("-", "--"), sorted(best.epochs.unique(), reverse=True))
    ]
    figure.legend(handles=named, loc="outside upper right", ncols=len(named), handlelength=2.2)
    letter(axes, ["Spearman of all signals, all cells", "Validation with test, good cells"])
    return figure


@styled
def nb201_effects(effects: pd.DataFrame) -> Figure:
    """What an operation on an edge does to the rank, one panel a data set.

    Columns: dataset, edge (text), operation, places (mean rank, in per cent, of the cells that have
    it, minus 50).
    """
    effects = rows_of(effects, "dataset", "edge", "operation", "places")
    datasets = effects.dataset.unique()
    figure, axes = new_figure(2.2, columns=len(datasets), sharey=True)
    limit = effects.places.abs().max()
    for ax, dataset in zip(axes[0], datasets):
        part = effects[effects.dataset == dataset]
        grid = part.pivot(index="edge", columns="operation", values="places")
        grid = grid.loc[part.edge.unique(), part.operation.unique()]
        image = heat(ax, grid, -limit, limit, "PuOr", lambda value: f"{round(value):+d}".replace("-", "−"))
    axes[0, 0].set_ylabel("edge")
    letter(axes, datasets)
    colour_bar(figure, image, axes, "mean rank minus 50 (percent)", pad=0.01, aspect=25)
    return figure


@styled
def nb201_costs(levels: pd.DataFrame) -> Figure:
    """What accuracy a number of FLOPs buys, one panel a data set.

    Columns: dataset, flops (multiply-adds), count (of cells with exactly so many), low, median, high (5, 50
    and 95 % quantiles of test accuracy), best (percent).
    """
    levels = rows_of(levels, "dataset", "flops", "count", "low", "median", "high", "best")
    datasets = levels.dataset.unique()
    figure, axes = new_figure(2.4, columns=len(datasets))
    for ax, dataset in zip(axes[0], datasets):
        part = levels[levels.dataset == dataset].sort_values("flops")
        flops = part.flops / 1e6
        ax.vlines(flops, part.low, part.high, color=BLUE, alpha=0.35, linewidth=2.2, label="5 to 95 %")
        ax.plot(flops, part["median"], "o", color=BLUE, markersize=2.5, label="median")
        best = part.best.cummax()
        ax.plot(flops, best, color=INK, linewidth=1, drawstyle="steps-post", label="best up to this cost")
        ax.set_ylim(part["median"].quantile(0.05), part.best.max() + 0.5)
        ax.set_xlabel("MFLOPs")
    axes[0, 0].set_ylabel("test accuracy (%), cut below")
    axes[0, 0].legend(loc="lower right")
    letter(axes, datasets)
    return figure


# ---------------------------------------------------------------- NAS-Bench-101


@styled
def nb101_numberings(cells: pd.DataFrame) -> Figure:
    """Cells of NAS-Bench-101 as they are numbered. Columns: label, arch."""
    cells = rows_of(cells, "label", "arch")
    return cells_in_rows(NASBENCH101.to_batch(cells.arch.tolist()), NASBENCH101, cells.label)


@styled
def nb101_sizes(sizes: pd.DataFrame, params: pd.DataFrame) -> Figure:
    """How large the cells of NAS-Bench-101 are.

    Columns of `sizes`: kind ("vertices" or "edges"), number, count. Of `params`: params (lower end of the
    bin, in millions; bins grow by a constant factor), count.
    """
    sizes, params = rows_of(sizes, "kind", "number", "count"), rows_of(params, "params", "count")
    figure, axes = new_figure(2.2, columns=3, gid="no table needed")
    for ax, (kind, part) in zip(axes[0], sizes.groupby("kind", sort=False)):
        bars = ax.bar(part.number, part["count"], color=BLUE, width=0.75)
        words = [f"{count:,}" if count < 10_000 else f"{count / 1000:.0f} k" for count in part["count"]]
        ax.bar_label(bars, words, fontsize=5.5)
        ax.set_yscale("log")
        ax.set_xlabel(f"number of {kind}")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_ylim(top=4 * part["count"].max())
    weights = axes[0, 2]
    edges = np.append(params.params, params.params.iloc[-1] ** 2 / params.params.iloc[-2])
    weights.stairs(params["count"], edges, color=BLUE, fill=True)
    weights.set_xscale("log")
    plain_log_axis(weights.xaxis, MILLIONS)
    weights.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    weights.set(xlabel="parameters (millions, log)", ylabel="cells in a bin")
    axes[0, 0].set_ylabel("cells (log)")
    letter(axes, ["Vertices", "Edges", "Parameters"])
    return figure


@styled
def nb101_accuracy(histogram: pd.DataFrame, density: pd.DataFrame, vertices: pd.DataFrame) -> Figure:
    """What accuracies the table of NAS-Bench-101 holds.

    Columns of `histogram`: accuracy (lower end of the bin, percent; equal widths), count. Of `density`: cost
    (parameters, millions) and accuracy (percent), middles of the cells of a grid, count. Of `vertices`:
    vertices, count, low, median, high (5, 50 and 95 % quantiles), best (percent).
    """
    histogram = rows_of(histogram, "accuracy", "count")
    density = rows_of(density, "cost", "accuracy", "count")
    vertices = rows_of(vertices, "vertices", "count", "low", "median", "high", "best")
    figure, axes = new_figure(2.4, columns=3, width_ratios=[1, 1.25, 1])
    counts, costs, sizes = axes[0]
    distribution(counts, histogram.accuracy, histogram["count"], color=BLUE, linewidth=0, alpha=1)
    counts.set_yscale("log")
    counts.set_xlabel("test accuracy (%)")
    counts.set_ylabel("cells per point of accuracy (log)")
    image = counts_on_grid(costs, density, density["count"].max())
    costs.set_xscale("log")
    plain_log_axis(costs.xaxis, MILLIONS)
    costs.set_xlabel("parameters (millions, log)")
    costs.set_ylabel("test accuracy (%), cut below")
    colour_bar(figure, image, costs, "cells (log)", pad=0.01, aspect=25)
    range_by(sizes, vertices, "vertices", BLUE)
    sizes.plot(vertices.vertices, vertices.best, "^--", color=INK, markersize=3, linewidth=1, label="best")
    sizes.set_ylim(bottom=sizes.get_ylim()[0] - 6)  # room for the legend
    sizes.legend(loc="lower right", ncols=2)
    sizes.xaxis.set_major_locator(MaxNLocator(integer=True))
    sizes.set_xlabel("number of vertices")
    sizes.set_ylabel("test accuracy (%)")
    letter(axes, ["Accuracy", "By cost", "By size"])
    return figure


NOTEBOOK = "01b_nas_bench"
FIGURES: dict[str, StoredFigure] = {
    "nb201_views": (("nb201_views",), nb201_views),
    "nb201_accuracy": (("nb201_histogram", "nb201_optima"), nb201_accuracy),
    "nb201_noise": (("nb201_runs", "nb201_agreement", "nb201_spread"), nb201_noise),
    "nb201_correlations": (("nb201_correlations", "nb201_best"), nb201_correlations),
    "nb201_effects": (("nb201_effects",), nb201_effects),
    "nb201_costs": (("nb201_costs",), nb201_costs),
    "nb201_cells": (("nb201_cells",), nb201_cells),
    "nb101_numberings": (("nb101_numberings",), nb101_numberings),
    "nb101_sizes": (("nb101_sizes", "nb101_params"), nb101_sizes),
    "nb101_accuracy": (("nb101_histogram", "nb101_density", "nb101_vertices"), nb101_accuracy),
    "nb101_cells": (("nb101_cells",), partial(space_cells, space=NASBENCH101)),
}
