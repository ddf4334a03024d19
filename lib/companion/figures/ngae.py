"""The figures of NGAE's experiments (notebooks 02 to 04)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from latentnas.plots.cells import draw_cell
from latentnas.plots.style import (
    COLUMN,
    DOUBLE,
    GREY,
    INK,
    MARKERS,
    PALE,
    colours_of,
    letter,
    new_figure,
    pareto_front,
    rows_of,
    styled,
)
from latentnas.spaces.enas import ENAS


def band(ax, frame, x, y, colour, label=None, style="-", low=0.0, high=1.0):
    """The median of y over equal x as a line, and the range between two quantiles as a band."""
    groups = frame.dropna(subset=[y]).groupby(x)[y]
    middle = groups.median()
    marker = "." if len(middle) == 1 else None  # a single epoch makes no line
    ax.plot(middle.index, middle, color=colour, linestyle=style, marker=marker, label=label)
    ax.fill_between(middle.index, groups.quantile(low), groups.quantile(high), color=colour, alpha=0.18, linewidth=0)


@styled
def ngae_training_curves(history):
    """NGAE Fig. 3, left: what the loss consists of, by epoch; lines are medians over seeds, bands their
    range.

    Columns: epoch, vertices, edges (nats a graph), kl (nats a graph, unweighted), performance, complexity
    (mean squared standardised error, NaN without the predictor), model, seed.
    """
    history = rows_of(history, "epoch", "vertices", "edges", "kl", "performance", "complexity", "model", "seed")
    figure, axes = new_figure(2.6, columns=3)
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
    for ax in axes[0]:  # below: inside, there is no place that curves of every run leave free
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2, columnspacing=1)
    return figure


@styled
def ngae_latent_map(points):
    """NGAE Fig. 3, right: the latent space in two dimensions, coloured by accuracy, one panel a model.

    Columns: x, y (first two principal components of mu), accuracy (fraction), split ("train" or "test"),
    model.
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
    figure, axes = new_figure(0.3 + 2.4 * rows, columns, rows, width=COLUMN if columns == 1 else DOUBLE * columns / 3)
    colours = colours_of(predictions.model)
    low, high = predictions[["true", "predicted"]].stack().quantile([0.0005, 0.9995]) + np.array([-0.3, 0.3])
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
            0.97, 0.03, f"n = {len(pairs):,}\nPearson r {pairs.true.corr(pairs.predicted):.3f}\n"
            f"RMSE {error:.3f}\npredicting the mean {mean_line:.3f}",
            transform=ax.transAxes, ha="right", va="bottom", fontsize=7,
        )  # fmt: skip
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.set_xlabel("true accuracy (standardised)")
        ax.set_ylabel("predicted accuracy (standardised)")
    letter(axes, [f"{model}, {split}" for (model, split), _ in panels])
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    return figure


PUBLISHED = "NGAE, published"  # the model of the rows that hold the paper's numbers


@styled
def ngae_rmse_curve(curve):
    """NGAE Fig. 4, right: error of the performance predictor by epoch, beside NGAE's own on its test set.

    Columns: epoch, rmse (standardised), model (`PUBLISHED` in the rows of the paper, if any), seed, mean_line
    (what predicting the train mean reaches, constant).
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
    published = curve[curve.model == PUBLISHED]
    for model, runs in curve.drop(published.index).groupby("model", sort=False):
        band(ax, runs, "epoch", "rmse", colours[model], f"{model}, ours")
    if len(published):
        ax.plot(published.epoch, published.rmse, "D", color=INK, markersize=4, label=PUBLISHED)
    for point in published.itertuples():
        ax.annotate(
            f"{point.rmse}", (point.epoch, point.rmse), xytext=(-5, -2), textcoords="offset points", ha="right",
            fontsize=7,
        )  # fmt: skip
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

    Columns: method, rank (1 to 3), arch (ENAS text), judged, table_accuracy (fractions; NaN where the
    architecture is not in the table), flops (multiply-adds), params. With the column from_scratch (fraction, NaN
    where not trained), `judged` is an accuracy with shared weights, and the figure says so.
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
            draw_cell(ax, batch.types[0], batch.adjacency[0], ENAS.type_names)
            ax.set_title(
                f"{scores_in_words(cell)}\n"
                f"{cell.flops / 1e6:,.0f} M FLOPs, {cell.params / 1e6:.2f} M parameters",
                loc="center", fontsize=7,
            )  # fmt: skip
            drawn.append(ax)
    reach = max(ax.get_ylim()[1] for ax in drawn)
    for ax in drawn:
        ax.set_ylim(-reach, reach)  # all boxes of one size, all in line
    return figure


def scores_in_words(cell):
    """The accuracies of a row of `ngae_top_cells`, each by its name."""
    if not hasattr(cell, "from_scratch"):
        labelled = pd.notna(cell.table_accuracy)
        known = f"table {100 * cell.table_accuracy:.2f} %" if labelled else "not in the table"
        return f"judged {100 * cell.judged:.2f} %, {known}"
    trained = f", from scratch {100 * cell.from_scratch:.2f} %" if pd.notna(cell.from_scratch) else ""
    return f"shared weights {100 * cell.judged:.2f} %{trained}"


@styled
def shared_and_from_scratch(truth):
    """What an accuracy with shared weights is worth: beside it, that of the same network trained from scratch.

    Columns: method, shared, from_scratch (fractions). The method with most architectures is the background.
    """
    truth = rows_of(truth, "method", "shared", "from_scratch")
    figure, axes = new_figure(3.1, width=4.6)
    ax = axes[0, 0]
    background = truth.method.mode()[0]
    methods = [method for method in dict.fromkeys(truth.method) if method != background]
    colours = colours_of(methods)
    rest = truth[truth.method == background]
    ax.scatter(100 * rest.shared, 100 * rest.from_scratch, s=5, color=PALE, linewidths=0, label=background)
    for number, method in enumerate(methods):
        found = truth[truth.method == method]
        ax.scatter(
            100 * found.shared, 100 * found.from_scratch, s=24, marker=MARKERS[number % len(MARKERS)],
            color=colours[method], edgecolors="white", linewidths=0.4, label=method, zorder=3,
        )  # fmt: skip
    ax.axhline(100 * rest.from_scratch.median(), color=GREY, linestyle=":", linewidth=0.8, zorder=0)
    ax.annotate(
        "median of the grey", (0, 100 * rest.from_scratch.median()), xycoords=("axes fraction", "data"),
        xytext=(2, 2), textcoords="offset points", fontsize=7, color=GREY,
    )  # fmt: skip
    ax.set_xlabel("accuracy with shared weights (%)")
    ax.set_ylabel("accuracy from scratch (%)")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


BACKGROUND = 1000  # more architectures than any search finds: a whole table


@styled
def accuracy_flops_front(points):
    """Accuracy against cost of the architectures every method found, and the front no other point beats.

    Columns: method, judged (accuracy, fraction), flops (multiply-adds), source (where the accuracy comes
    from, as "judge" or "table"). Accuracies of different sources do not compare, so the front is that of the
    source of most found architectures, named at the axis; its marks are filled, others open. A method with more
    than BACKGROUND points is background.
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
    judged_alike = points[points.source == main_source]
    front = pareto_front(judged_alike.flops / 1e6, 100 * judged_alike.judged)
    ax.plot(*front.T, color=INK, linewidth=1, drawstyle="steps-post", zorder=4, label="Pareto front of these")
    lowest = judged_alike.groupby("method").judged.agg(lambda a: a.min() if len(a) <= BACKGROUND else a.quantile(0.25))
    ax.set_ylim(bottom=100 * lowest.min() - 0.05)  # leaves out the lower part of the background and of open marks
    ax.set_xlabel("FLOPs (millions of multiply-adds)")
    ax.set_ylabel(f"accuracy (%; {main_source})")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure
