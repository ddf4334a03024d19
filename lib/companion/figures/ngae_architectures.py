"""The figures of notebook 04: the architectures found, how good and how cheap."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from companion.figures import StoredFigure
from latentnas.plots.cells import draw_cell
from latentnas.plots.style import (
    DOUBLE,
    GREY,
    INK,
    MARKERS,
    METHOD_COLOURS,
    PALE,
    colours_of,
    new_figure,
    pareto_front,
    rows_of,
    styled,
)
from latentnas.spaces.enas import ENAS
from latentnas.stats import mean_interval


@styled
def ngae_top_cells(cells: pd.DataFrame) -> Figure:
    """NGAE Fig. 5: the best three architectures of every method, drawn.

    Columns: method, rank (1 to 3), arch (ENAS text), evaluated, table_accuracy (percent; NaN where the
    architecture is not in the table), flops (multiply-adds), params, complexity (share of the highest in the table).
    With the column from_scratch (percent, NaN where not trained), `evaluated` is an accuracy with shared weights, and
    the figure says so.
    """
    cells = rows_of(cells, "method", "rank", "arch", "evaluated", "table_accuracy", "flops", "params", "complexity")
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
            draw_cell(ax, batch.types[0], batch.adjacency[0], ENAS.type_names)
            ax.set_title(
                f"{scores_in_words(cell)}\n"
                f"{cell.flops / 1e6:,.0f} M FLOPs, {cell.params / 1e6:.2f} M params, "
                f"complexity {cell.complexity:.2f}",
                loc="center", fontsize=7,
            )  # fmt: skip
            drawn.append(ax)
    reach = max(ax.get_ylim()[1] for ax in drawn)
    for ax in drawn:
        ax.set_ylim(-reach, reach)  # all boxes of one size, all in line
    return figure


def scores_in_words(cell: NamedTuple) -> str:
    """The accuracies of a row of `ngae_top_cells`, each by its name."""
    if not hasattr(cell, "from_scratch"):
        labelled = pd.notna(cell.table_accuracy)
        known = f"table {cell.table_accuracy:.2f} %" if labelled else "not in the table"
        return f"evaluated {cell.evaluated:.2f} %, {known}"
    trained = f", from scratch {cell.from_scratch:.2f} %" if pd.notna(cell.from_scratch) else ""
    return f"shared weights {cell.evaluated:.2f} %{trained}"


@styled
def shared_and_from_scratch(truth: pd.DataFrame) -> Figure:
    """What an accuracy with shared weights is worth: beside it, that of the same network trained from scratch.

    Columns: method, shared, from_scratch (percent). The method with most architectures is the background.
    """
    truth = rows_of(truth, "method", "shared", "from_scratch")
    figure, axes = new_figure(3.1, width=4.6)
    ax = axes[0, 0]
    background = truth.method.mode()[0]
    methods = [method for method in dict.fromkeys(truth.method) if method != background]
    colours = colours_of(methods)
    rest = truth[truth.method == background]
    ax.scatter(rest.shared, rest.from_scratch, s=5, color=PALE, linewidths=0, label=background)
    for number, method in enumerate(methods):
        found = truth[truth.method == method]
        ax.scatter(
            found.shared, found.from_scratch, s=24, marker=MARKERS[number % len(MARKERS)],
            color=colours[method], edgecolors="white", linewidths=0.4, label=method, zorder=3,
        )  # fmt: skip
    ax.axhline(rest.from_scratch.median(), color=GREY, linestyle=":", linewidth=0.8, zorder=0)
    ax.annotate(
        "median of the grey", (0, rest.from_scratch.median()), xycoords=("axes fraction", "data"),
        xytext=(2, 2), textcoords="offset points", fontsize=7, color=GREY,
    )  # fmt: skip
    ax.set_xlabel("accuracy with shared weights (%)")
    ax.set_ylabel("accuracy from scratch (%)")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


@styled
def top_three(runs: pd.DataFrame) -> Figure:
    """Mean accuracy of the three architectures that each method ranks first: one mark a run, and the mean of the runs
    with its 95 % interval.

    Columns: method, seed, top3, best_label (the best accuracy in the table, constant), in percent.
    """
    runs = rows_of(runs, "method", "seed", "top3", "best_label")
    methods = list(dict.fromkeys(runs.method))
    figure, axes = new_figure(0.6 + 0.24 * len(methods), width=5)
    ax = axes[0, 0]
    for place, method in enumerate(methods):
        values = runs.top3[runs.method == method].dropna()
        colour = METHOD_COLOURS.get(method, GREY)
        ax.scatter(values, [place] * len(values), s=9, color=colour, alpha=0.5, linewidths=0)
        if len(values):
            ends = mean_interval(values)
            ax.plot(ends, [place] * 2, color=colour, linewidth=1.2)
            ax.plot(values.mean(), place, "o", color=colour, markersize=4.5, markeredgecolor="white")
    ax.axvline(runs.best_label.iloc[0], color=GREY, linestyle=":", linewidth=1, label="best label of the table")
    ax.set_yticks(range(len(methods)), methods)
    ax.invert_yaxis()
    ax.plot([], [], "o-", color=GREY, markersize=4.5, linewidth=1.2, label="mean of the runs, 95 % interval")
    ax.set_xlabel("accuracy of the top three (%)")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


BACKGROUND = 1000  # more architectures than any search finds: a whole table


@styled
def accuracy_flops_front(points: pd.DataFrame) -> Figure:
    """Accuracy against cost of the architectures every method found, and the front no other point beats.

    Columns: method, evaluated (accuracy, percent), flops (multiply-adds), source (where the accuracy comes
    from, as "surrogate" or "table"). Accuracies of different sources do not compare, so the front is that of the
    source of most found architectures, named at the axis; its marks are filled, others open. A method with more
    than BACKGROUND points is background.
    """
    points = rows_of(points, "method", "evaluated", "flops", "source").dropna(subset=["evaluated", "flops"])
    figure, axes = new_figure(3.7, width=4.6)
    ax = axes[0, 0]
    sizes = points.method.value_counts()
    foreground = [method for method in dict.fromkeys(points.method) if sizes[method] <= BACKGROUND]
    colours = colours_of(foreground)
    main_source = rows_of(points[points.method.isin(foreground)], "source").source.mode()[0]
    for (method, source), found in points.groupby(["method", "source"], sort=False):
        flops, accuracy = found.flops / 1e6, found.evaluated
        filled = source == main_source
        label = method if filled else f"{method} ({source})"
        if method not in foreground:
            ax.scatter(flops, accuracy, s=2, color="#BDBDBD", linewidths=0, rasterized=True, label=label, zorder=1)
            continue
        colour = colours[method]
        ax.scatter(
            flops, accuracy, s=15, marker=MARKERS[foreground.index(method) % len(MARKERS)],
            linewidths=0.4 if filled else 0.9,
            facecolors=colour if filled else "none", edgecolors="white" if filled else colour,
            label=label, zorder=3,
        )  # fmt: skip
    alike = points[points.source == main_source]
    joined = "Pareto front of filled and grey marks"
    front = pareto_front(alike.flops / 1e6, alike.evaluated)
    ax.plot(*front.T, color=INK, linewidth=1, drawstyle="steps-post", zorder=4, label=joined)
    lowest = alike.groupby("method").evaluated.agg(lambda a: a.min() if len(a) <= BACKGROUND else a.quantile(0.25))
    ax.set_ylim(bottom=lowest.min() - 0.05)  # leaves out the lower part of the background and of open marks
    ax.set_xlabel("FLOPs (millions of multiply-adds)")
    ax.set_ylabel(f"accuracy (%; {main_source}; cut below)")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


NOTEBOOK = "04_ngae_architectures"
FIGURES: dict[str, StoredFigure] = {
    "top_cells": (("cells",), ngae_top_cells),
    "top_three": (("runs",), top_three),
    "truth": (("truth",), shared_and_from_scratch),
    "front": (("points",), accuracy_flops_front),
}
