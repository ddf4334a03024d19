"""The figures of notebook 02: how NGAE trains, and its latent space."""

import pandas as pd
from matplotlib.figure import Figure

from companion.figures import StoredFigure
from companion.figures.shared import band
from latentnas.plots.style import GREY, colours_of, letter, new_figure, rows_of, styled


@styled
def ngae_training_curves(history: pd.DataFrame) -> Figure:
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
def ngae_latent_map(points: pd.DataFrame) -> Figure:
    """NGAE Fig. 3, right: the latent space in two dimensions, coloured by accuracy, one panel a model.

    Columns: x, y (first two principal components of mu), accuracy (percent), split ("train" or "test"),
    model.
    """
    points = rows_of(points, "x", "y", "accuracy", "split", "model")
    models = list(points.groupby("model", sort=False))
    figure, axes = new_figure(3.1, columns=len(models))
    low, high = points.accuracy.quantile([0.02, 0.98])
    for ax, (_, cloud) in zip(axes[0], models):
        for split, size, alpha in (("train", 1.5, 0.6), ("test", 4, 1.0)):
            part = cloud[cloud.split == split]
            dots = ax.scatter(
                part.x, part.y, c=part.accuracy, s=size, alpha=alpha, cmap="viridis", vmin=low, vmax=high,
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


NOTEBOOK = "02_ngae_latent_space"
FIGURES: dict[str, StoredFigure] = {
    "training_curves": (("history",), ngae_training_curves),
    "latent_map": (("points",), ngae_latent_map),
}
