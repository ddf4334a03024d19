"""The figures of notebook 02: how NGAE trains, and its latent space."""

import pandas as pd
from matplotlib.figure import Figure

from companion.figures import StoredFigure
from companion.figures.shared import band, colour_bar
from latentnas.plots.style import INK, colours_of, letter, new_figure, rows_of, styled


@styled
def ngae_training_curves(history: pd.DataFrame) -> Figure:
    """NGAE Fig. 3, left: what the loss consists of, by epoch; lines are medians over seeds, bands their
    range.

    Columns: epoch, vertices, edges (nats per graph), kl (nats per graph, unweighted), performance, complexity
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
    reconstruction.set_ylabel("negative log-likelihood\n(nats per graph)")
    divergence.set_ylabel("KL to the prior\n(nats per graph)")
    predictors.set_ylabel("squared error\n(train variances)")
    for ax in axes[0]:
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in (reconstruction, predictors):
        ax.set_yscale("log")
    for ax in axes[0]:  # below: inside, there is no place that curves of every run leave free
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2, columnspacing=1)
    return figure


@styled
def ngae_planes(planes: pd.DataFrame) -> Figure:
    """NGAE Fig. 3, right: the plane through a prior point along two principal directions of the codes, coloured by
    predicted accuracy; and by that of what is decoded. The first seed's.

    Columns: model, seed, x, y (standard deviations of the codes), predicted, evaluated (percent; NaN where there is
    none).
    """
    planes = rows_of(planes, "model", "seed", "x", "y", "predicted", "evaluated")
    first = planes[planes.seed == planes.seed.min()]
    models = first.groupby("model", sort=False)
    panels = [(name, plane, kind) for name, plane in models for kind in ("predicted", "evaluated")]
    panels = [(name, plane, kind) for name, plane, kind in panels if plane[kind].notna().any()]
    figure, axes = new_figure(2.75, columns=len(panels), sharey=True)
    low, high = first[["predicted", "evaluated"]].stack().quantile([0.02, 0.98])
    for ax, (_, plane, kind) in zip(axes[0], panels):
        grid = plane.pivot(index="y", columns="x", values=kind)
        image = ax.pcolormesh(
            grid.columns, grid.index, grid, cmap="viridis", vmin=low, vmax=high, shading="nearest", rasterized=True
        )
        ax.plot(0, 0, "+", color="white", markeredgecolor=INK, markersize=7)
        ax.set_aspect("equal")
        ax.set_xlabel("first direction (st. dev. of codes)")
    axes[0, 0].set_ylabel("second direction (st. dev. of codes)")
    letter(axes, [f"{name}, {kind}" for name, _, kind in panels])
    colour_bar(figure, image, axes, "accuracy (%)", extend="both", pad=0.01, aspect=30)
    return figure


NOTEBOOK = "02_ngae_latent_space"
FIGURES: dict[str, StoredFigure] = {
    "training_curves": (("history",), ngae_training_curves),
    "planes": (("planes",), ngae_planes),
}
