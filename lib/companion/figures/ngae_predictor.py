"""The figures of notebook 03: accuracy read off the latent code, and ascent along it."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from companion.figures import StoredFigure
from companion.figures.shared import band
from latentnas.plots.style import COLUMN, DOUBLE, GREY, INK, colours_of, letter, new_figure, rows_of, styled


@styled
def ngae_predictor_scatter(predictions: pd.DataFrame) -> Figure:
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
def ngae_rmse_curve(curve: pd.DataFrame) -> Figure:
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
def ngae_ascent(trajectories: pd.DataFrame) -> Figure:
    """What ascent in the latent space does: median and middle half of all starts, by step.

    Columns: start, step, performance, complexity (predicted, standardised), evaluated (accuracy of the decoded
    architecture by the independent evaluator, percent, NaN where nothing valid was decoded), variant.
    """
    trajectories = rows_of(trajectories, "start", "step", "performance", "complexity", "evaluated", "variant")
    figure, axes = new_figure(2.4, columns=3)
    colours = colours_of(trajectories.variant)
    for variant, walks in trajectories.groupby("variant", sort=False):
        for ax, quantity in zip(axes[0], ("performance", "complexity", "evaluated")):
            band(ax, walks, "step", quantity, colours[variant], variant, low=0.25, high=0.75)
    letter(axes, ["Predicted accuracy", "Predicted complexity", "Evaluated accuracy"])
    for ax, unit in zip(axes[0], ("train st. dev.", "train st. dev.", "%")):
        ax.set_ylabel(unit)
        ax.set_xlabel("step")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))
    return figure


NOTEBOOK = "03_ngae_predictor"
FIGURES: dict[str, StoredFigure] = {
    "predictor_scatter": (("predictions",), ngae_predictor_scatter),
    "rmse_curve": (("curve",), ngae_rmse_curve),
    "ascent": (("trajectories",), ngae_ascent),
}
