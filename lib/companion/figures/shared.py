"""What several notebooks draw: cells in rows, tables as colours, medians with their range."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from latentnas.graphs import DagBatch
from latentnas.interfaces import Space
from latentnas.plots.cells import draw_cell
from latentnas.plots.style import DOUBLE, new_figure, rows_of, styled
from latentnas.spaces.enas import ENAS


def cost_words(cell: NamedTuple) -> str:
    return f"{cell.flops / 1e6:,.0f} MFLOPs, {cell.params / 1e6:.2f} M parameters"


@styled
def space_cells(cells: pd.DataFrame, space: Space = ENAS) -> Figure:
    """A few architectures, drawn. Columns: label, arch (text of the space), accuracy (percent), flops, params."""
    cells = rows_of(cells, "label", "arch", "accuracy", "flops", "params")
    titles = [f"{cell.label}: accuracy {cell.accuracy:.2f} %\n{cost_words(cell)}" for cell in cells.itertuples()]
    return cells_in_rows(space.to_batch(cells.arch.tolist()), space, titles)


def cells_in_rows(batch: DagBatch, space: Space, titles: Sequence[str]) -> Figure:
    """Graphs in two columns, in three where they are short, with boxes of one size."""
    most = 2 if space.num_vertices > 6 else 3
    columns = min(most, len(batch))
    figure, axes = new_figure(1, columns=columns, rows=-(-len(batch) // most), width=DOUBLE / most * columns)
    for ax, types, adjacency, title in zip(axes.flat, batch.types, batch.adjacency, titles):
        draw_cell(ax, types, adjacency, space.type_names)
        ax.set_title(title, loc="center", fontsize=7)
    for ax in axes.flat[len(batch) :]:
        ax.axis("off")
    # All cells of a row reach as far up and down as any of them: all boxes have one size, and no room is lost.
    heights = []
    for row in axes:
        extents = [patch.get_path().get_extents() for ax in row for patch in ax.patches]
        low, high = min(extent.y0 for extent in extents) - 0.1, max(extent.y1 for extent in extents) + 0.1
        heights.append(high - low + 0.9)
        for ax in row:
            ax.set_ylim(low, high)
            ax.set_xlim(*np.mean(ax.get_xlim()) + np.array([-0.5, 0.5]) * space.num_vertices)
    axes[0, 0].get_gridspec().set_height_ratios(heights)
    figure.set_figheight(DOUBLE / most / space.num_vertices * sum(heights) + 0.17)
    return figure


def distribution(
    ax: Axes, ends: "pd.Series[float]", counts: "pd.Series[int]", filled: bool = True, **look: object
) -> None:
    """A histogram of values that are counted already: lower ends of bins of equal widths, and how many lie in each."""
    edges = np.append(ends, 2 * ends.iloc[-1] - ends.iloc[-2])
    sns.histplot(
        x=ends + np.diff(edges) / 2, weights=counts, bins=edges.tolist(), element="step", fill=filled, ax=ax, **look
    )
    ax.set(xlabel="", ylabel="")


def heat(ax: Axes, grid: pd.DataFrame, low: float, high: float, cmap: str, words: Callable[[float], str]) -> QuadMesh:
    """A table of numbers as coloured cells with the numbers in them; NaN stays empty."""
    sns.heatmap(
        grid.astype(float), vmin=low, vmax=high, cmap=cmap, annot=grid.map(words, na_action="ignore"), fmt="",
        annot_kws={"fontsize": 5.5}, cbar=False, xticklabels=False, yticklabels=False, rasterized=True, ax=ax,
    )  # fmt: skip
    ax.set_xticks(np.arange(len(grid.columns)) + 0.5, grid.columns)
    ax.set_yticks(np.arange(len(grid.index)) + 0.5, grid.index)
    ax.tick_params(length=0)
    ax.set(xlabel="", ylabel="")
    return ax.collections[0]


def colour_bar(figure: Figure, image: ScalarMappable, axes: Axes | np.ndarray, label: str, **options: object) -> None:
    bar = figure.colorbar(image, ax=axes, **options)
    bar.set_label(label)
    bar.outline.set_visible(False)


def counts_on_grid(ax: Axes, cells: pd.DataFrame, top: float) -> QuadMesh:
    """How many architectures lie where, as colours. Columns: cost, accuracy (middles of a regular grid), count."""
    grid = cells.pivot(index="accuracy", columns="cost", values="count").sort_index()
    return ax.pcolormesh(
        grid.columns, grid.index, grid.where(grid > 0), cmap="viridis", norm=LogNorm(1, top), shading="nearest",
        rasterized=True,
    )  # fmt: skip


def range_by(ax: Axes, groups: pd.DataFrame, x: str, colour: str, label: str = "median") -> None:
    """Medians as a line with the range from 5 to 95 %. Columns: `x`, low, median, high (percent)."""
    ax.plot(groups[x], groups["median"], "o-", color=colour, markersize=3, label=label)
    ax.fill_between(groups[x], groups.low, groups.high, color=colour, alpha=0.18, linewidth=0, label="5 to 95 %")


def band(
    ax: Axes,
    frame: pd.DataFrame,
    x: str,
    y: str,
    colour: str,
    label: str | None = None,
    style: str = "-",
    low: float = 0.0,
    high: float = 1.0,
) -> None:
    """The median of y over equal x as a line, and the range between two quantiles as a band."""
    groups = frame.dropna(subset=[y]).groupby(x)[y]
    middle = groups.median()
    marker = "." if len(middle) == 1 else None  # a single epoch makes no line
    ax.plot(middle.index, middle, color=colour, linestyle=style, marker=marker, label=label)
    ax.fill_between(middle.index, groups.quantile(low), groups.quantile(high), color=colour, alpha=0.18, linewidth=0)
