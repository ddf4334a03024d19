"""The figures of search spaces and tables of accuracies (notebooks 00 and 01)."""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from latentnas.plots.cells import draw_cell
from latentnas.plots.style import BLUE, DOUBLE, INK, letter, new_figure, rows_of, signed, styled
from latentnas.spaces.enas import ENAS

# ---------------------------------------------------------------- any space


def cost_words(cell):
    return f"{cell.flops / 1e6:,.0f} M FLOPs, {cell.params / 1e6:.2f} M parameters"


@styled
def space_cells(cells, space=ENAS):
    """A few architectures, drawn. Columns: label, arch (text of the space), accuracy (fraction), flops, params."""
    cells = rows_of(cells, "label", "arch", "accuracy", "flops", "params")
    titles = [f"{cell.label}: {100 * cell.accuracy:.2f} %, {cost_words(cell)}" for cell in cells.itertuples()]
    return cells_in_rows(space.to_batch(cells.arch.tolist()), space, titles)


def cells_in_rows(batch, space, titles):
    """Graphs in two columns, with boxes of one size."""
    figure, axes = new_figure(1, columns=2, rows=-(-len(batch) // 2))
    for ax, types, adjacency, title in zip(axes.flat, batch.types, batch.adjacency, titles):
        draw_cell(ax, types, adjacency, space.type_names)
        ax.set_title(title, loc="center", fontsize=7)
    for ax in axes.flat[len(batch) :]:
        ax.axis("off")
    # Both cells of a row reach as high as the higher one: all boxes have one size, and no room is lost.
    reaches = [max(ax.get_ylim()[1] for ax in row) for row in axes]
    for row, reach in zip(axes, reaches):
        for ax in row:
            ax.set_ylim(-reach, reach)
            ax.set_xlim(*np.mean(ax.get_xlim()) + np.array([-0.5, 0.5]) * space.num_vertices)
    axes[0, 0].get_gridspec().set_height_ratios([2 * reach + 0.8 for reach in reaches])
    figure.set_figheight(DOUBLE / 2 / space.num_vertices * sum(2 * reach + 0.8 for reach in reaches) + 0.17)
    return figure


def heat(ax, grid, low, high, cmap, words):
    """A table of numbers as coloured cells with the numbers in them; NaN stays empty."""
    image = ax.imshow(grid, cmap=cmap, vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(grid.to_numpy(dtype=float)):
        if np.isfinite(value):
            brightness = np.dot(image.to_rgba(value)[:3], (0.3, 0.59, 0.11))
            colour = "white" if brightness < 0.5 else INK
            ax.text(column, row, words(value), ha="center", va="center", fontsize=5.5, color=colour)
    ax.set_xticks(range(len(grid.columns)), grid.columns)
    ax.set_yticks(range(len(grid.index)), grid.index)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def colour_bar(figure, image, axes, label, **options):
    bar = figure.colorbar(image, ax=axes, **options)
    bar.set_label(label)
    bar.outline.set_visible(False)


def counts_on_grid(ax, cells, top):
    """How many architectures lie where, as colours. Columns: cost, accuracy (middles of a regular grid), count."""
    grid = cells.pivot(index="accuracy", columns="cost", values="count").sort_index()
    return ax.pcolormesh(
        grid.columns, 100 * grid.index, grid.where(grid > 0), cmap="viridis", norm=LogNorm(1, top), shading="nearest",
        rasterized=True,
    )  # fmt: skip


def range_by(ax, groups, x, colour, label="median"):
    """Medians as a line with the range from 5 to 95 %. Columns: `x`, low, median, high (fractions)."""
    ax.plot(groups[x], 100 * groups["median"], "o-", color=colour, markersize=3, label=label)
    ax.fill_between(
        groups[x], 100 * groups.low, 100 * groups.high, color=colour, alpha=0.18, linewidth=0, label="5 to 95 %"
    )


# ---------------------------------------------------------------- ENAS


@styled
def space_accuracy(histogram, skips, effects):
    """What accuracies a table holds and how the skip connections move them.

    Columns of `histogram`: accuracy (lower end of the bin, fraction; equal widths), count. Of `skips`: skips
    (their number), count, low, median, high (5, 50 and 95 % quantiles, fractions). Of `effects`: source,
    target, difference (mean accuracy with the skip connection less that without, fraction).
    """
    histogram = rows_of(histogram, "accuracy", "count")
    skips = rows_of(skips, "skips", "count", "low", "median", "high")
    effects = rows_of(effects, "source", "target", "difference")
    figure, axes = new_figure(2.3, columns=3)
    counts, numbers, single = axes[0]

    width = 100 * histogram.accuracy.diff().min()
    counts.bar(100 * histogram.accuracy, histogram["count"], width, align="edge", color=BLUE, linewidth=0)
    counts.set_xlabel("accuracy (%)")
    counts.set_ylabel("architectures")

    range_by(numbers, skips, "skips", BLUE)
    numbers.legend(loc="lower left")
    numbers.set_xlabel("number of skip connections")
    numbers.set_ylabel("accuracy (%)")
    numbers.xaxis.set_major_locator(MaxNLocator(integer=True))

    grid = 100 * effects.pivot(index="source", columns="target", values="difference")
    limit = np.nanmax(np.abs(grid))
    image = heat(single, grid, -limit, limit, "PuOr", signed)
    single.set_aspect("equal")
    single.set_xlabel("into vertex")
    single.set_ylabel("from vertex")
    colour_bar(figure, image, single, "accuracy (points)", shrink=0.8)
    letter(axes, ["Accuracy", "By number of skips", "What one skip changes"])
    return figure


@styled
def space_costs(density, correlations):
    """Accuracy against three measures of cost, as counts of architectures on a grid.

    Columns of `density`: measure, cost and accuracy (middles of the cells of a regular grid; cost in the unit
    that is shown, accuracy a fraction), count. Of `correlations`: measure, label (of the axis), spearman.
    """
    density = rows_of(density, "measure", "cost", "accuracy", "count")
    correlations = rows_of(correlations, "measure", "label", "spearman")
    figure, axes = new_figure(2.3, columns=len(correlations), sharey=True)
    for ax, measure in zip(axes[0], correlations.itertuples()):
        image = counts_on_grid(ax, density[density.measure == measure.measure], density["count"].max())
        ax.set_xlabel(measure.label)
        ax.text(0.98, 0.03, f"Spearman {signed(measure.spearman)}", transform=ax.transAxes, ha="right", fontsize=7)
    axes[0, 0].set_ylabel("accuracy (%)")
    letter(axes, correlations.measure)
    colour_bar(figure, image, axes, "architectures", pad=0.01, aspect=25)
    return figure
