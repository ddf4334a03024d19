"""Every figure of the companion in one style, drawn from plain tables.

A figure function takes DataFrames and returns a matplotlib figure; `save` writes it for reading (PNG) and for papers
(PDF). `FIGURES` names the stored tables behind each one, so that `redraw` makes all figures of a profile anew
without any training. Accuracies come as fractions and are shown in percent; FLOPs are shown in millions.
"""

from functools import wraps

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Affine2D

from latentnas import paths
from latentnas.claims import load_results
from latentnas.spaces.enas import ENAS

# ---------------------------------------------------------------- style

COLUMN, DOUBLE = 3.5, 7.16  # inches: the width of one and of two columns of a two-column paper
INK, GREY, PALE = "#222222", "#6B6B6B", "#B0B0B0"

# The palette of Okabe and Ito (2008), told apart by readers with any common colour blindness.
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"

METHOD_COLOURS = {
    "NGAE": BLUE,
    "NGAE without complexity predictor": VERMILLION,
    "D-VAE": GREEN,
    "D-VAE + BO": GREEN,
    "D-VAE, sparse GP": GREEN,
}
OTHER_COLOURS = (ORANGE, PURPLE, SKY, INK, YELLOW)  # methods not named above, in order of appearance
MARKERS = "osD^vPX*"

OPERATIONS = {  # name without separators: colour of the box, its two lines of text
    "input": (GREY, "in"),
    "output": (GREY, "out"),
    "conv1x1": (YELLOW, "conv\n1×1"),
    "conv3x3": (BLUE, "conv\n3×3"),
    "conv5x5": (VERMILLION, "conv\n5×5"),
    "sepconv3x3": (SKY, "sep\n3×3"),
    "sepconv5x5": (ORANGE, "sep\n5×5"),
    "avgpool3x3": (GREEN, "avg\n3×3"),
    "maxpool3x3": (PURPLE, "max\n3×3"),
    "skipconnect": (PALE, "skip"),
    "none": (PALE, "none"),
}

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same letters
    "font.size": 8,
    "axes.titlesize": 8,
    "figure.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 120,
    "pdf.fonttype": 42,  # TrueType: text in the PDF can be searched and edited
}


def styled(function):
    """Runs a figure function under the one style, whatever the caller's matplotlib settings are."""

    @wraps(function)
    def drawn(*arguments, **options):
        with plt.rc_context({**plt.rcParamsDefault, **STYLE, "backend": plt.rcParams["backend"]}):
            return function(*arguments, **options)

    return drawn


def new_figure(height, columns=1, rows=1, width=DOUBLE, **options):
    """(figure, axes [rows, columns]) of `width` x `height` inches."""
    return plt.subplots(
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options
    )


def colours_of(methods):
    """A colour for every method: fixed for those named above, in order of appearance for the rest."""
    methods = list(dict.fromkeys(methods))
    others = [method for method in methods if method not in METHOD_COLOURS]
    if len(others) > len(OTHER_COLOURS):
        raise ValueError(
            f"A figure tells at most {len(OTHER_COLOURS)} methods without a colour of their own apart, but got "
            f"{len(others)}: {', '.join(others)}. Draw fewer, or give some a colour in plots.METHOD_COLOURS."
        )
    return {**METHOD_COLOURS, **dict(zip(others, OTHER_COLOURS))}


def rows_of(frame, *columns):
    """The frame, once it is sure to have these columns and at least one row."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"This figure needs the columns {', '.join(columns)}, but {', '.join(missing)} is missing: the table has "
            f"{', '.join(map(str, frame.columns))}. Run the notebook again to store the table anew."
        )
    if frame.empty:
        raise ValueError(f"This figure needs a table of {', '.join(columns)}, but the table has no rows.")
    return frame


def letter(axes, titles):
    """Panel titles (a), (b), ... in reading order."""
    for number, (ax, title) in enumerate(zip(np.ravel(axes), titles)):
        ax.set_title(f"({'abcdefghijkl'[number]})  {title}")


@styled
def save(figure, name, profile, data_source):
    """Writes figures/<profile>/<name>.png (200 dpi) and .pdf with the profile and data source in the foot.

    The same figure gives the same bytes: no dates, no versions. Returns the figure, which shows it in a notebook
    when this is the last line of a cell.
    """
    foot = 0.17 / figure.get_figheight()  # a strip of 0.17 inches
    figure.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
    figure.text(
        1 - 0.04 / figure.get_figwidth(), 0.3 * foot, f"profile {profile} · {data_source}", ha="right", va="bottom",
        fontsize=5.5, color="#8A8A8A",
    )  # fmt: skip
    folder = paths.FIGURES / profile
    with paths.atomic_write(folder / f"{name}.png") as file:
        figure.savefig(file, dpi=200, metadata={"Software": None})
    with paths.atomic_write(folder / f"{name}.pdf") as file:
        figure.savefig(file, dpi=200, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    plt.close(figure)
    return figure


# ---------------------------------------------------------------- cells

BOX_WIDTH, BOX_HEIGHT = 0.76, 0.72  # in the unit of draw_cell: the distance between two vertices
SMALLEST_CELL = 6  # cells of fewer vertices are drawn with boxes as small as if they had so many
ARC_BASE, ARC_RISE = 0.24, 0.18  # how far an arc rises above the boxes: at all, and more for each vertex it passes


def operation_look(name):
    """(colour, text) of an operation, the same in every space whatever its separators."""
    key = name.lower().replace("-bn-relu", "").replace("nor_", "").replace("_", "").replace("-", "")
    return OPERATIONS.get(key, (PALE, name))


def arc_sides(arcs):
    """+1 (above) or -1 (below) for every arc (u, v) so that few arcs cross; longer arcs choose first."""
    arcs = sorted(arcs, key=lambda arc: (arc[0] - arc[1], arc))
    sides = {}

    def cost(arc, side):
        beside = [other for other, chosen in sides.items() if chosen == side and other != arc]
        crossings = sum(a < arc[0] < b < arc[1] or arc[0] < a < arc[1] < b for a, b in beside)
        return crossings, len(beside)

    for _ in range(3):  # the later rounds let early arcs move away from late ones
        for arc in arcs:
            sides[arc] = min((1, -1), key=lambda side: cost(arc, side))
    return sides


def arc_ports(sides):
    """Where every arc leaves and enters its boxes: {(arc, vertex): offset from the middle of the box}.

    Along an edge of a box, arcs that arrive stand left of arcs that leave, and longer arcs stand outside shorter
    ones, so that arcs at one box never cross.
    """
    ports = {}
    for vertex in {vertex for arc in sides for vertex in arc}:
        for side in (1, -1):
            here = [arc for arc, chosen in sides.items() if chosen == side]
            arriving = sorted((arc for arc in here if arc[1] == vertex), key=lambda arc: -arc[0])
            leaving = sorted((arc for arc in here if arc[0] == vertex), key=lambda arc: -arc[1])
            row = arriving + leaving
            gap = min(0.16, 0.56 / max(len(row), 1))
            for position, arc in enumerate(row):
                ports[arc, vertex] = (position - (len(row) - 1) / 2) * gap
    return ports


def arc_curve(start, end, side, span):
    """A curve from the top (or bottom) of one box to that of another that passes outside the boxes between."""
    edge = side * (BOX_HEIGHT / 2 + 0.02)
    height = edge + side * (ARC_BASE + ARC_RISE * span) * 4 / 3  # a cubic reaches three quarters of its handles
    return Curve(
        [(start, edge), (start, height), (end, height), (end, edge)],
        [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
    )


@styled
def draw_cell(ax, types, adjacency, type_names, title=None):
    """Draws one architecture from left to right: boxes are operations, arrows the flow, arcs the skip connections.

    Args:
        types: node types [N], -1 where there is no vertex. adjacency: [N, N], adjacency[u, v] the edge u -> v, u < v.
        type_names: name of every type; colours depend on the name alone and so agree between spaces and figures.
    """
    types = [int(t) for t in types if int(t) >= 0]
    adjacency = np.asarray(adjacency, dtype=bool)
    edges = [(int(u), int(v)) for u, v in np.argwhere(adjacency[: len(types), : len(types)])]
    sides = arc_sides([(u, v) for u, v in edges if v > u + 1])
    ports = arc_ports(sides)
    arrow = dict(arrowstyle="-|>,head_length=2.2,head_width=1.2", shrinkA=0, shrinkB=0, mutation_scale=1, linewidth=0.8)
    for u, v in edges:
        if v == u + 1:
            line = Curve([(u + BOX_WIDTH / 2, 0), (v - BOX_WIDTH / 2, 0)])
            ax.add_patch(FancyArrowPatch(path=line, color=INK, gid=f"edge {u} {v}", **arrow))
        else:
            curve = arc_curve(u + ports[(u, v), u], v + ports[(u, v), v], sides[u, v], v - u)
            ax.add_patch(FancyArrowPatch(path=curve, color=GREY, gid=f"edge {u} {v}", **arrow))
    for vertex, vertex_type in enumerate(types):
        draw_box(ax, vertex, type_names[vertex_type])
    reach = max((ARC_BASE + ARC_RISE * (v - u) for u, v in sides), default=0)
    middle, half = (len(types) - 1) / 2, max(len(types), SMALLEST_CELL) / 2
    ax.set_xlim(middle - half, middle + half)
    ax.set_ylim(-BOX_HEIGHT / 2 - reach - 0.1, BOX_HEIGHT / 2 + reach + 0.1)
    ax.set_aspect("equal")
    ax.axis("off")
    if title:
        ax.set_title(title, loc="center")


def draw_box(ax, x, name):
    colour, text = operation_look(name)
    fill = tuple(0.62 + 0.38 * channel for channel in to_rgb(colour))
    ax.add_patch(
        FancyBboxPatch(
            (x - BOX_WIDTH / 2, -BOX_HEIGHT / 2), BOX_WIDTH, BOX_HEIGHT, boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=fill, edgecolor=colour, linewidth=0.9, gid=f"vertex {name}",
        )
    )  # fmt: skip
    # Letters as outlines in the unit of the boxes: they fit at any size of the figure.
    lines = text.split("\n")
    for number, line in enumerate(lines):
        outline = TextPath((0, 0), line, size=0.28)
        width = outline.get_extents().width
        scale = min(1.0, 0.9 * BOX_WIDTH / width)
        y = (len(lines) - 1) / 2 * 0.29 - number * 0.29 - 0.1
        placed = Affine2D().scale(scale).translate(x - scale * width / 2 - scale * outline.get_extents().x0, y)
        ax.add_patch(PathPatch(outline.transformed(placed), facecolor=INK, linewidth=0))


# ---------------------------------------------------------------- search spaces


@styled
def space_cells(cells):
    """A few architectures, drawn. Columns: label, arch (ENAS text), accuracy (fraction), flops, params."""
    cells = rows_of(cells, "label", "arch", "accuracy", "flops", "params")
    figure, axes = new_figure(1, columns=2, rows=-(-len(cells) // 2))
    for ax, cell in zip(axes.flat, cells.itertuples()):
        batch = ENAS.to_batch([cell.arch])
        draw_cell(ax, batch.types[0], batch.adjacency[0], ENAS.type_names)
        ax.set_title(
            f"{cell.label}: {100 * cell.accuracy:.2f} %, {cell.flops / 1e6:,.0f} M FLOPs, "
            f"{cell.params / 1e6:.2f} M parameters", loc="center", fontsize=7,
        )  # fmt: skip
    for ax in axes.flat[len(cells) :]:
        ax.axis("off")
    # Both cells of a row reach as high as the higher one, so that all boxes have one size and no room is lost.
    reaches = [max(ax.get_ylim()[1] for ax in row) for row in axes]
    for row, reach in zip(axes, reaches):
        for ax in row:
            ax.set_ylim(-reach, reach)
    axes[0, 0].get_gridspec().set_height_ratios([2 * reach + 0.8 for reach in reaches])
    figure.set_figheight(DOUBLE / 2 / len(ENAS.type_names) * sum(2 * reach + 0.8 for reach in reaches) + 0.17)
    return figure


@styled
def space_accuracy(histogram, skips, effects):
    """What accuracies a table holds and how the skip connections move them.

    Columns of `histogram`: accuracy (lower end of the bin, fraction; equal widths), count. Of `skips`: skips (their
    number), count, low, median, high (5, 50 and 95 % quantiles, fractions). Of `effects`: source, target, difference
    (mean accuracy with the skip connection less that without, fraction).
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

    numbers.plot(skips.skips, 100 * skips["median"], "o-", color=BLUE, markersize=3, label="median")
    numbers.fill_between(
        skips.skips, 100 * skips.low, 100 * skips.high, color=BLUE, alpha=0.18, linewidth=0, label="5 to 95 %",
    )  # fmt: skip
    numbers.legend(loc="lower left")
    numbers.set_xlabel("number of skip connections")
    numbers.set_ylabel("accuracy (%)")
    numbers.xaxis.set_major_locator(MaxNLocator(integer=True))

    grid = 100 * effects.pivot(index="source", columns="target", values="difference")
    limit = np.nanmax(np.abs(grid))
    image = single.imshow(grid, cmap="PuOr", vmin=-limit, vmax=limit)
    for row, source in enumerate(grid.index):
        for column, target in enumerate(grid.columns):
            value = grid.loc[source, target]
            if np.isfinite(value):
                dark = abs(value) > 0.7 * limit
                single.text(
                    column, row, signed(value), ha="center", va="center", fontsize=5.5,
                    color="white" if dark else INK,
                )  # fmt: skip
    single.set_xticks(range(len(grid.columns)), grid.columns)
    single.set_yticks(range(len(grid.index)), grid.index)
    single.tick_params(length=0)
    single.set_xlabel("into vertex")
    single.set_ylabel("from vertex")
    for spine in single.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=single, shrink=0.8)
    bar.set_label("accuracy (points)")
    bar.outline.set_visible(False)
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
    top = density["count"].max()
    for ax, measure in zip(axes[0], correlations.itertuples()):
        cells = density[density.measure == measure.measure]
        grid = cells.pivot(index="accuracy", columns="cost", values="count").sort_index()
        image = ax.pcolormesh(
            grid.columns, 100 * grid.index, grid.where(grid > 0), cmap="viridis", norm=LogNorm(1, top), shading="nearest",
            rasterized=True,
        )  # fmt: skip
        ax.set_xlabel(measure.label)
        ax.text(
            0.98, 0.03, f"Spearman {signed(measure.spearman)}", transform=ax.transAxes, ha="right", fontsize=7
        )
    axes[0, 0].set_ylabel("accuracy (%)")
    letter(axes, correlations.measure)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=25)
    bar.set_label("architectures")
    bar.outline.set_visible(False)
    return figure


def signed(value):
    """A number with two digits and its sign, with the long minus that axes have."""
    return f"{value:+.2f}".replace("-", "−")


# ---------------------------------------------------------------- NGAE


def band(ax, frame, x, y, colour, label=None, style="-", low=0.0, high=1.0):
    """The median of y over equal x as a line, and the range between two quantiles as a band."""
    groups = frame.dropna(subset=[y]).groupby(x)[y]
    middle = groups.median()
    marker = "." if len(middle) == 1 else None  # a single epoch makes no line
    ax.plot(middle.index, middle, color=colour, linestyle=style, marker=marker, label=label)
    ax.fill_between(middle.index, groups.quantile(low), groups.quantile(high), color=colour, alpha=0.18, linewidth=0)


@styled
def ngae_training_curves(history):
    """NGAE Fig. 3, left: what the loss consists of, by epoch; lines are medians over seeds, bands their range.

    Columns: epoch, vertices, edges (nats a graph), kl (nats a graph, unweighted), performance, complexity
    (mean squared standardised error, NaN without the predictor), model, seed.
    """
    history = rows_of(history, "epoch", "vertices", "edges", "kl", "performance", "complexity", "model", "seed")
    figure, axes = new_figure(2.3, columns=3)
    reconstruction, divergence, predictors = axes[0]
    colours = colours_of(history.model)
    for model, runs in history.groupby("model", sort=False):
        colour = colours[model]
        band(reconstruction, runs, "epoch", "vertices", colour, f"{model}, vertices")
        band(reconstruction, runs, "epoch", "edges", colour, f"{model}, edges", "--")
        band(divergence, runs, "epoch", "kl", colour, model)
        if runs.performance.notna().any():
            band(predictors, runs, "epoch", "performance", colour, f"{model}, performance")
        if runs.complexity.notna().any():
            band(predictors, runs, "epoch", "complexity", colour, f"{model}, complexity", "--")
    letter(axes, ["Reconstruction", "KL divergence", "Predictors"])
    reconstruction.set_ylabel("negative log-likelihood\n(nats a graph)")
    divergence.set_ylabel("KL to the prior\n(nats a graph)")
    predictors.set_ylabel("squared error\n(train variances)")
    for ax in axes[0]:
        ax.set_xlabel("epoch")
    for ax in (reconstruction, predictors):
        ax.set_yscale("log")
    for ax in axes[0]:
        ax.legend()
    return figure


@styled
def ngae_latent_map(points):
    """NGAE Fig. 3, right: the latent space in two dimensions, coloured by accuracy, one panel a model.

    Columns: x, y (first two principal components of mu), accuracy (fraction), split ("train" or "test"), model.
    """
    points = rows_of(points, "x", "y", "accuracy", "split", "model")
    models = list(points.groupby("model", sort=False))
    figure, axes = new_figure(3.1, columns=len(models))
    low, high = 100 * points.accuracy.quantile([0.02, 0.98])
    for ax, (_, cloud) in zip(axes[0], models):
        for split, size, alpha in (("train", 1.5, 0.6), ("test", 4, 1.0)):
            part = cloud[cloud.split == split]
            dots = ax.scatter(
                part.x, part.y, c=100 * part.accuracy, s=size, alpha=alpha, cmap="viridis", vmin=low, vmax=high,
                linewidths=0, rasterized=True,
            )  # fmt: skip
            ax.plot([], [], "o", color=GREY, markersize=1.5 * size**0.5, markeredgewidth=0, label=split)
        ax.set_xlabel("first principal component")
        ax.set_ylabel("second principal component")
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, handletextpad=0, borderaxespad=0)
    letter(axes, [model for model, _ in models])
    dots.set_alpha(1.0)
    bar = figure.colorbar(dots, ax=axes, extend="both", pad=0.01, aspect=30)
    bar.set_label("accuracy (%)")
    bar.outline.set_visible(False)
    return figure


@styled
def ngae_predictor_scatter(predictions):
    """NGAE Fig. 4, left and middle: predicted against true accuracy, one panel for every model and split.

    Columns: true, predicted (standardised with the train set, so that 0 is its mean), model, split.
    """
    predictions = rows_of(predictions, "true", "predicted", "model", "split")
    panels = list(predictions.groupby(["model", "split"], sort=False))
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(0.3 + 2.4 * rows, columns, rows, width=COLUMN if columns == 1 else DOUBLE)
    colours = colours_of(predictions.model)
    low, high = predictions[["true", "predicted"]].stack().quantile([0.0005, 0.9995]) + [-0.3, 0.3]
    for ax, ((model, _), pairs) in zip(axes.flat, panels):
        ax.axline((0, 0), slope=1, color=INK, linewidth=0.8)
        ax.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
        ax.scatter(
            pairs.true, pairs.predicted, s=3, color=colours[model], linewidths=0, rasterized=True,
            alpha=0.5 if len(pairs) < 5000 else 0.15,
        )  # fmt: skip
        error = np.sqrt(((pairs.true - pairs.predicted) ** 2).mean())
        mean_line = np.sqrt((pairs.true**2).mean())
        ax.text(
            0.04, 0.97, f"RMSE {error:.3f}\npredicting the mean {mean_line:.3f}\n"
            f"Pearson r {pairs.true.corr(pairs.predicted):.3f}\nn = {len(pairs):,}",
            transform=ax.transAxes, va="top", fontsize=7,
        )  # fmt: skip
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.set_xlabel("true accuracy (standardised)")
        ax.set_ylabel("predicted accuracy (standardised)")
    letter(axes, [f"{model}, {split}" for (model, split), _ in panels])
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    return figure


NGAE_PUBLISHED_RMSE = {100: 0.605, 200: 0.427, 300: 0.357}  # its raw RMSE over the train standard deviation


@styled
def ngae_rmse_curve(curve):
    """NGAE Fig. 4, right: error of the performance predictor by epoch, beside NGAE's own on its test set.

    Columns: epoch, rmse (standardised), model, seed, mean_line (what predicting the train mean reaches, constant).
    """
    curve = rows_of(curve, "epoch", "rmse", "model", "seed", "mean_line")
    figure, axes = new_figure(3.1, width=COLUMN)
    ax = axes[0, 0]
    colours = colours_of(curve.model)
    mean_line = curve.mean_line.iloc[0]
    ax.axhline(mean_line, color=GREY, linestyle=":", linewidth=1)
    ax.annotate(
        f"predicting the mean, {mean_line:.3f}", (1, mean_line), xycoords=("axes fraction", "data"),
        xytext=(0, 2), textcoords="offset points", ha="right", va="bottom", fontsize=7, color=GREY,
    )  # fmt: skip
    for model, runs in curve.groupby("model", sort=False):
        band(ax, runs, "epoch", "rmse", colours[model], f"{model}, ours")
    ax.plot(*zip(*NGAE_PUBLISHED_RMSE.items()), "D", color=INK, markersize=4, label="NGAE, published")
    for epoch, value in NGAE_PUBLISHED_RMSE.items():
        ax.annotate(f"{value}", (epoch, value), xytext=(-5, -2), textcoords="offset points", ha="right", fontsize=7)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("epoch")
    ax.set_ylabel("RMSE (train st. dev.)")
    ax.set_ylim(0, 1.12 * max(mean_line, curve.rmse.quantile(0.98)))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=7)
    return figure


@styled
def ngae_ascent(trajectories):
    """What ascent in the latent space does: median and middle half of all starts, by step.

    Columns: start, step, performance, complexity (predicted, standardised), judged (accuracy of the decoded
    architecture by the independent judge, fraction, NaN where nothing valid was decoded), variant.
    """
    trajectories = rows_of(trajectories, "start", "step", "performance", "complexity", "judged", "variant")
    trajectories = trajectories.assign(judged=100 * trajectories.judged)
    figure, axes = new_figure(2.4, columns=3)
    colours = colours_of(trajectories.variant)
    for variant, walks in trajectories.groupby("variant", sort=False):
        for ax, quantity in zip(axes[0], ("performance", "complexity", "judged")):
            band(ax, walks, "step", quantity, colours[variant], variant, low=0.25, high=0.75)
    letter(axes, ["Predicted accuracy", "Predicted complexity", "Judged accuracy"])
    for ax, unit in zip(axes[0], ("train st. dev.", "train st. dev.", "%")):
        ax.set_ylabel(unit)
        ax.set_xlabel("step")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))
    return figure


@styled
def ngae_top_cells(cells):
    """NGAE Fig. 5: the best three architectures of every method, drawn.

    Columns: method, rank (1 to 3), arch (ENAS text), judged, table_accuracy (fractions; NaN where the architecture
    is not in the table), flops (multiply-adds), params.
    """
    cells = rows_of(cells, "method", "rank", "arch", "judged", "table_accuracy", "flops", "params")
    methods = list(cells.groupby("method", sort=False))
    figure = plt.figure(figsize=(DOUBLE, 1.62 * len(methods)), layout="constrained")
    drawn = []
    for strip, (method, found) in zip(figure.subfigures(len(methods), 1, squeeze=False)[:, 0], methods):
        strip.suptitle(method, x=0.005, ha="left", fontweight="bold")
        axes = strip.subplots(1, 3)
        for ax in axes:
            ax.axis("off")
        for ax, cell in zip(axes, found.sort_values("rank").itertuples()):
            batch = ENAS.to_batch([cell.arch])
            known = "not in the table" if pd.isna(cell.table_accuracy) else f"table {100 * cell.table_accuracy:.2f} %"
            draw_cell(ax, batch.types[0], batch.adjacency[0], ENAS.type_names)
            ax.set_title(
                f"judged {100 * cell.judged:.2f} %, {known}\n"
                f"{cell.flops / 1e6:,.0f} M FLOPs, {cell.params / 1e6:.2f} M parameters",
                loc="center", fontsize=7,
            )  # fmt: skip
            drawn.append(ax)
    reach = max(ax.get_ylim()[1] for ax in drawn)
    for ax in drawn:
        ax.set_ylim(-reach, reach)  # all boxes of one size, all in line
    return figure


BACKGROUND = 1000  # more architectures than any search finds: a whole table


@styled
def accuracy_flops_front(points):
    """Accuracy against cost of the architectures every method found, and the front no other point beats.

    Columns: method, judged (accuracy, fraction), flops (multiply-adds), source (where the accuracy comes from, as
    "judge" or "table"). Accuracies of different sources do not compare, so the front is that of the source of most
    found architectures; its marks are filled, others open. A method with more than BACKGROUND points is background.
    """
    points = rows_of(points, "method", "judged", "flops", "source").dropna(subset=["judged", "flops"])
    figure, axes = new_figure(3.7, width=4.6)
    ax = axes[0, 0]
    sizes = points.method.value_counts()
    foreground = [method for method in dict.fromkeys(points.method) if sizes[method] <= BACKGROUND]
    colours = colours_of(foreground)
    main_source = rows_of(points[points.method.isin(foreground)], "source").source.mode()[0]
    for (method, source), found in points.groupby(["method", "source"], sort=False):
        flops, accuracy = found.flops / 1e6, 100 * found.judged
        if method not in foreground:
            ax.scatter(
                flops, accuracy, s=2, color="#BDBDBD", linewidths=0, rasterized=True, label=f"{method} ({source})",
                zorder=1,
            )  # fmt: skip
            continue
        colour = colours[method]
        filled = source == main_source
        ax.scatter(
            flops, accuracy, s=15, marker=MARKERS[foreground.index(method) % len(MARKERS)],
            linewidths=0.4 if filled else 0.9,
            facecolors=colour if filled else "none", edgecolors="white" if filled else colour,
            label=f"{method} ({source})", zorder=3,
        )  # fmt: skip
    judged_alike = points[points.source == main_source]
    front = pareto_front(judged_alike.flops / 1e6, 100 * judged_alike.judged)
    label = f"Pareto front ({main_source})"
    ax.plot(*front.T, color=INK, linewidth=1, drawstyle="steps-post", zorder=4, label=label)
    lowest = points.groupby("method").judged.agg(lambda a: a.min() if len(a) <= BACKGROUND else a.quantile(0.25))
    ax.set_ylim(bottom=100 * lowest.min() - 0.05)  # leaves out the lower part of the background
    ax.set_xlabel("FLOPs (millions of multiply-adds)")
    ax.set_ylabel("accuracy (%)")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def pareto_front(cost, value):
    """The points [k, 2] that no other point beats in both: least cost first, value rising."""
    points = np.column_stack([cost, value])
    points = points[np.lexsort((-points[:, 1], points[:, 0]))]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(points[:, 1])[:-1]])
    return points[points[:, 1] > best_before]


# ---------------------------------------------------------------- all of them, from stored tables

FIGURES = {  # figure: (notebook, names of its stored tables, function of those tables)
    "walk": ("00_start_here", ("walk",), space_cells),
    "improve": ("00_start_here", ("improve",), space_cells),
    "accuracy": ("01_search_spaces", ("histogram", "skips", "effects"), space_accuracy),
    "costs": ("01_search_spaces", ("density", "correlations"), space_costs),
    "cells": ("01_search_spaces", ("cells",), space_cells),
    "training_curves": ("02_ngae_latent_space", ("history",), ngae_training_curves),
    "latent_map": ("02_ngae_latent_space", ("points",), ngae_latent_map),
    "predictor_scatter": ("03_ngae_predictor", ("predictions",), ngae_predictor_scatter),
    "rmse_curve": ("03_ngae_predictor", ("curve",), ngae_rmse_curve),
    "ascent": ("03_ngae_predictor", ("trajectories",), ngae_ascent),
    "top_cells": ("04_ngae_architectures", ("cells",), ngae_top_cells),
    "front": ("04_ngae_architectures", ("points",), accuracy_flops_front),
}


def redraw(profile):
    """Draws every figure of the notebooks that have run under this profile from their stored tables, without training.

    Returns the names of the files written, without suffix. Raises FileNotFoundError where nothing has run or a
    table is gone.
    """
    results = load_results(profile)
    if not results:
        raise FileNotFoundError(
            f"There are no results of the profile '{profile}' in {paths.RESULTS / profile}, so there is nothing "
            f"to draw. Make them with ./run_all.sh --profile {profile}."
        )
    names = []
    for figure, (notebook, frames, function) in FIGURES.items():
        if notebook not in results:
            continue
        tables = [read_frame(profile, notebook, frame) for frame in frames]
        name = f"{notebook}_{figure}"
        save(function(*tables), name, profile, results[notebook]["data_source"])
        names.append(name)
    return names


def read_frame(profile, notebook, frame):
    """A table that a notebook stored."""
    file = paths.RESULTS / profile / notebook / f"{frame}.csv"
    if not file.is_file():
        raise FileNotFoundError(
            f"The table {file} is missing, although notebook {notebook} has run. "
            f"Run it again: ./run_all.sh --only {notebook[:2]}, with the same profile and parameters."
        )
    return pd.read_csv(file)
