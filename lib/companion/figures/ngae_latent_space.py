"""Notebook 02: its figures, its pages to touch, its numbers and findings in words."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from companion import paths
from companion.figures import StoredFigure
from companion.figures.pages import embedded
from companion.figures.shared import band, colour_bar
from latentnas import stats
from latentnas.evaluate import encode_all
from latentnas.graphs import DagBatch
from latentnas.models.gaussian_process import SparseGP, SparseGPConfig
from latentnas.models.ngae import NGAE
from latentnas.plots.explorer import explorer
from latentnas.plots.style import GREY, INK, colours_of, letter, new_figure, rows_of, styled
from latentnas.spaces.enas import ENAS

if TYPE_CHECKING:
    from companion.claims import Claim, Results
    from latentnas.benchmarks.enas import EnasTable


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
        band(reconstruction, runs, "epoch", "vertices", colour)
        band(reconstruction, runs, "epoch", "edges", colour, style="--")
        band(divergence, runs, "epoch", "kl", colour, model)
        if runs.performance.notna().any():
            band(predictors, runs, "epoch", "performance", colour)
        if runs.complexity.notna().any():
            band(predictors, runs, "epoch", "complexity", colour, style="--")
    letter(axes, ["Reconstruction", "KL divergence", "Predictors"])
    reconstruction.set_ylabel("negative log-likelihood\n(nats per graph, log)")
    divergence.set_ylabel("KL to the prior\n(nats per graph)")
    predictors.set_ylabel("squared error\n(train variances, log)")
    for ax in axes[0]:
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in (reconstruction, predictors):
        ax.set_yscale("log")
    handles, words = divergence.get_legend_handles_labels()
    handles += [Line2D([], [], color=GREY, linestyle=style) for style in ("-", "--")]
    words += ["(a) vertices, (c) accuracy", "(a) edges, (c) complexity"]
    trainings = history.seed.nunique()
    title = f"lines: medians of {trainings} trainings; bands: their range" if trainings > 1 else None
    figure.legend(handles, words, loc="outside upper left", ncols=4, title=title, alignment="left")
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
    figure, axes = new_figure(3.05, columns=len(panels), sharey=True)
    low, high = first[["predicted", "evaluated"]].stack().quantile([0.02, 0.98])
    for ax, (_, plane, kind) in zip(axes[0], panels):
        grid = plane.pivot(index="y", columns="x", values=kind)
        image = ax.pcolormesh(
            grid.columns, grid.index, grid, cmap="viridis", vmin=low, vmax=high, shading="nearest", rasterized=True
        )
        ax.plot(
            0, 0, "+", color="white", markeredgecolor=INK, markersize=7, label="the point that the plane goes through"
        )
        ax.set_aspect("equal")
        ax.set_xlabel("first direction (st. dev. of codes)")
    axes[0, 0].set_ylabel("second direction (st. dev. of codes)")
    letter(axes, [f"{name}, {kind}" for name, _, kind in panels])
    colour_bar(figure, image, axes, "accuracy (%)", extend="both", pad=0.01, aspect=30)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left")
    return figure


def page_to_touch(
    results: "Results",
    benchmark: "EnasTable",
    rows: Tensor,
    judge: Callable[[DagBatch], pd.DataFrame],
    name: str,
    model: NGAE,
) -> HTML:
    """The page of a model trained on these rows of the table. Without a predictor of its own, a Gaussian process on its
    codes predicts."""
    seed, codes, labels = results.parameters["seed"], encode_all(model, benchmark.batch[rows]), benchmark.accuracy[rows]
    if model.config.predictors == "none":
        process = SparseGP(SparseGPConfig(inducing=200, steps=20)).fit(codes, labels.to(codes), seed)
        climbs = {"accuracy": lambda z: process.predict(z)[0]}
        predict, how = climbs["accuracy"], "by a sparse Gaussian process on the codes, as D-VAE has no predictor"
    else:
        predict, how = lambda z: model.performance.unstandardise(model.performance(z)), "by NGAE itself"
        climbs = {
            words: lambda z, w=w: model.performance(z) - w * model.complexity(z)
            for words, w in {"accuracy alone": 0.0, "accuracy − ½ complexity": 0.5}.items()
        }
    others = "looked up or predicted by skip connections" if benchmark.skips_decide else "measured with shared weights"
    page = explorer(
        paths.FIGURES / results.profile / f"02_{name.lower().replace('-', '').replace(' ', '_')}_explorer.html",
        model, ENAS, codes, predict, judge, climbs, size=results.parameters["map_size"],
        title=f"The latent space of {name}",
        note=f"Notebook 02, profile {results.profile}, {results.data_source} table, seed {seed}. Predicted: {how}. "
        f"Evaluated: what is not in the table is {others}.",
    )  # fmt: skip
    return embedded(page, f"Explorer of the latent space of {name}")


def tidy(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """A table for reading: so many digits, nothing where there is no value."""
    return table.map(lambda x: "" if pd.isna(x) else f"{x:.{digits}f}" if isinstance(x, float) else x)


def spread(values: pd.Series, digits: int = 2) -> str:
    """The mean over trainings, and half of Student's 95 % interval where there are several."""
    values = values.dropna()
    if values.empty:
        return ""
    low, high = stats.mean_interval(values)
    return f"{values.mean():.{digits}f}" + (f" ± {(high - low) / 2:.{digits}f}" if low < high else "")


def interval(value: float, low: float | None, high: float | None, form: str = ".3g") -> str:
    """A number and, where it has one that shows, its interval."""
    ends = () if low is None else (f"{low:{form}}", f"{high:{form}}")
    return f"{value:{form}}" + (" ({} to {})".format(*ends) if len(set(ends)) == 2 else "")


def correlated(values: pd.Series) -> str:
    """The mean correlation over trainings, and its interval where there are several."""
    values = values.dropna()
    if values.empty:
        return ""
    value, low, high, method = stats.estimate(values, "correlation")
    return interval(value, *((low, high) if method else (None, None)), ".2f")


def reconstruction_in_words(ngae: "Claim", dvae: "Claim") -> str:
    """How many test architectures come back, and the verdict where there is a published number."""
    said = f"NGAE gives {ngae.ours:.4g} % of the test architectures back, D-VAE {dvae.ours:.4g} %."
    if ngae.paper is None:
        return said
    verdicts = {"met": "NGAE reaches", "short": "NGAE misses", "seen once": "Too few trainings decide about"}
    return f"{said} {verdicts.get(ngae.verdict, 'It is undecided whether NGAE reaches')} the paper's {ngae.paper:g} %."


def uniqueness_gap_in_words(ngae: pd.Series, dvae: pd.Series, share: float) -> str:
    """Whose prior points give more different architectures, where both models give back so many of the validation
    architectures (percent); uniqueness in percent, one value for each training that does."""
    count, different = min(len(ngae), len(dvae)), "different architectures"
    if not count:
        return f"Not both models gave {share} % of the validation architectures back, so uniqueness is not compared."
    difference, low, high = stats.mean_difference(ngae, dvae)
    if np.isnan(low) and count < 3:
        shares = f"{ngae.mean():.4g} % of NGAE's prior points and {dvae.mean():.4g} % of D-VAE's give {different}"
        return f"At equal reconstruction, {shares} (too few trainings to decide whose are more)."
    side = {-1: "fewer {} than", 0: "as many {} as", 1: "more {} than"}[np.sign(round(difference, 9))]
    start = f"At equal reconstruction, NGAE's prior points give {side.format(different)} D-VAE's:"
    open_end = ", undecided" * bool(low <= 0 <= high)  # False of NaN: decided, or without any spread
    ends = (None, None) if np.isnan(low) else (low, high)
    return f"{start} {interval(difference, *ends, '+.2f')} points{open_end}."


def uniqueness_in_words(published: float, clean: float) -> str:
    """What uniqueness as published is, and what becomes of different points."""
    of_points = f"Of different points, each decoded once, {clean:.4g} % give different architectures."
    return f"Uniqueness as published is {published:.3g} % for NGAE: it measures how unsure the decoder is. {of_points}"


def plane_in_words(agreement: "Claim", validity: "Claim") -> str:
    """How predicted and evaluated accuracy go together on NGAE's planes, and how many points on lines are valid."""
    found = "not known"
    if agreement.ours is not None:
        found = interval(agreement.ours, agreement.low, agreement.high, ".2f")
    return (
        f"On planes through NGAE's space, the correlation of predicted and evaluated accuracy is {found}. "
        f"Of the points on straight lines between test architectures, {validity.ours:.3g} % are valid."
    )


def findings_in_words(
    claims: Mapping[str, "Claim"], ngae: str, dvae: str, matched: pd.DataFrame, share: float, text_epochs: int
) -> str:
    """The findings as a list, what does not hold first; last what the paper's text alone leads to.

    Args:
        ngae, dvae: how the ids of their claims begin.
        matched: rows of Table 1 of trainings that give back `share` percent of the validation architectures.
        text_epochs: of the training with the settings of the paper's text; 0: there is none.
    """
    own = {id.removeprefix(f"{ngae}."): claim for id, claim in claims.items()}
    back, unique = own["reconstruction"], matched.set_index("model")["uniqueness_clean"]
    gap = uniqueness_gap_in_words(*(unique[unique.index == name] for name in ("NGAE", "D-VAE")), share)
    said = [(back.verdict == "short", reconstruction_in_words(back, claims[f"{dvae}.reconstruction"]))]
    said += [((" give fewer " in gap and "undecided" not in gap) or gap.startswith("Not both"), gap)]
    said += [(False, uniqueness_in_words(own["uniqueness"].ours, own["uniqueness.clean"].ours))]
    said += [(False, plane_in_words(own["plane_agreement"], own["line_validity"]))]
    lines = [line for _, line in sorted(said, key=lambda pair: not pair[0])]
    if text_epochs:
        text, epochs = own["reconstruction@text_settings"].ours, f"{text_epochs} epoch{'s' * (text_epochs > 1)}"
        line = f"With the KL weight and noise of the paper's text, {text:.3g} % of the test architectures come back"
        lines.append(f"{line} after {epochs} of one training.")
    return "\n".join(f"* {line}" for line in lines)


NOTEBOOK = "02_ngae_latent_space"
FIGURES: dict[str, StoredFigure] = {
    "training_curves": (("history",), ngae_training_curves),
    "planes": (("planes",), ngae_planes),
}
