"""The figures and findings of notebook 03: accuracy read off the latent code, and ascent along it. What notebook 04
says in the same words is here too."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

from companion.figures import StoredFigure
from companion.figures.shared import band
from latentnas import evaluate, stats
from latentnas.graphs import DagBatch
from latentnas.plots.style import (
    BLUE,
    COLUMN,
    DOUBLE,
    GREY,
    INK,
    ORANGE,
    SKY,
    colours_of,
    letter,
    new_figure,
    rows_of,
    styled,
)
from latentnas.spaces.enas import ENAS, FIRST_OPERATION, FLAG_COLUMNS, OPERATION_COLUMNS

if TYPE_CHECKING:
    from companion.claims import Claim

MATCHED = 99  # percent of held-out architectures that come back, from which on two models are compared


def every_set_of_flags(operation: str = "avgpool3x3") -> DagBatch:
    """The 2^15 architectures with this operation, the cheapest, in every layer."""
    numbers = np.zeros((2**15, 21), dtype=np.int64)
    numbers[:, FLAG_COLUMNS] = (np.arange(2**15)[:, None] >> np.arange(15)) & 1
    numbers[:, OPERATION_COLUMNS] = ENAS.type_names.index(operation) - FIRST_OPERATION
    return ENAS.from_choices(numbers)


def given_back(trained: Mapping, graphs: DagBatch) -> pd.DataFrame:
    """Share of graphs that come back when each is encoded and decoded by the likeliest decisions: model, seed,
    reconstruction (percent), for trainings by (model, seed)."""
    rows = [(*key, evaluate.reconstruction(run.model, graphs, 1)["clean"]) for key, run in trained.items()]
    return pd.DataFrame(rows, columns=["model", "seed", "reconstruction"])


def matched_in_words(back: pd.DataFrame) -> str:
    """Whether both models give enough back for a comparison. The columns of `given_back`."""
    least = back.groupby("model", sort=False)["reconstruction"].min()
    if least.min() >= MATCHED:
        return f"fair to compare: both models give at least {MATCHED} % of held-out architectures back"
    shares = ", ".join(f"{name} {share:.3g} %" for name, share in least.items())
    return f"**not fair to compare**: held-out architectures that come back, {shares}"


def spread(values: "pd.Series[float]", digits: int = 2) -> str:
    """The mean over runs, and half of Student's 95 % interval where there are several."""
    low, high = stats.mean_interval(values.dropna()) if values.notna().any() else (np.nan, np.nan)
    return f"{values.mean():.{digits}f}" + (f" ± {(high - low) / 2:.{digits}f}" if low < high else "")


def claim_in_words(own: "Claim", digits: int = 2) -> str:
    """Our value with its interval, without the unit."""
    if own.ours is None:
        return "not known"
    ours, *ends = (f"{round(end, digits) + 0.0:.{digits}f}" for end in (own.ours, own.low, own.high) if end is not None)
    return f"{ours} ({' to '.join(ends)})" if ends else ours


def lead_in_words(own: "Claim", more: str, less: str) -> str:
    """A difference, which must be known, with the word for its direction, its interval, and whether it is undecided."""
    size = f"{abs(own.ours):.2f} {own.unit} {less if own.ours < 0 else more}"
    around = [] if own.low is None else [f"{own.low:.2f} to {own.high:.2f}"]
    around += ["undecided"] * (own.verdict not in ("met", "short"))
    return size + f" ({', '.join(around)})" * bool(around)


def found_in_words(claims: "Mapping[str, Claim]", table: str, variants: Mapping[str, str]) -> list[str]:
    """The findings of notebook 03, what speaks against NGAE first.

    Args:
        variants: What was trained once with other settings, by the condition of its claim.
    """
    said, ngae = [], f"ngae.{table}"  # sentences after their order: against NGAE 0, undecided 1, for it 2, others 3
    order = {"short": 0, "met": 2}

    def told(id: str, digits: int = 3) -> str:
        return claim_in_words(claims[id], digits)

    parts = {"": "On all test architectures", ".unseen": "On unseen skip flags"}
    parts = {suffix: where for suffix, where in parts.items() if f"{ngae}.rmse_std{suffix}" in claims}
    verdicts = [claims[f"{ngae}.rmse_std_over_boosting{suffix}"].verdict for suffix in parts]
    stands = {"short": "NGAE is behind", "met": "NGAE is ahead", "undecided": "neither is shown to be ahead"}
    lines = [
        f"{where} NGAE's error is {told(f'{ngae}.rmse_std{suffix}')}, that of boosted trees "
        f"{told(f'boosting.{table}.rmse_std{suffix}')}: {stands.get(verdict, 'too few trainings to decide')}."
        for (suffix, where), verdict in zip(parts.items(), verdicts)
    ]
    said.append((min(order.get(verdict, 1) for verdict in verdicts), " ".join(lines)))

    own = claims[f"{ngae}.rmse_std"]
    if own.paper:
        below = own.ours < own.paper
        ends = f"Fig. 4 of the paper ends at an error of {own.paper}, after 300 epochs"
        said.append((2 * below, f"{ends}; ours is {'below' if below else 'not below'} that."))

    plain, whole = (claims[f"{ngae}.ascent_gain_over_ranked{end}"] for end in ("@without_complexity", ""))
    if None in (plain.ours, whole.ours):
        line = "Climbs and ranked samples cannot be compared: on one side nothing valid was found."
    else:
        alone, less = (lead_in_words(own, "higher", "lower") for own in (plain, whole))
        line = f"Climbing predicted accuracy ends {alone} than ranking samples by it, in evaluated accuracy."
        line += f" Minus predicted complexity it ends {less}."
    said.append((order.get(plain.verdict, 1), line))

    codes = claims[f"{ngae}.gp_rmse_std_over_dvae"].verdict
    said.append((
        order.get(codes, 1),
        f"A Gaussian process errs by {told(f'{ngae}.gp_rmse_std')} on NGAE's codes and by "
        f"{told(f'dvae.{table}.gp_rmse_std')} on D-VAE's{'' if codes in order else ' (undecided)'}.",
    ))  # fmt: skip

    errors = {name: claims[f"{ngae}.rmse_std@{condition}"].ours for condition, name in variants.items()}
    if errors:
        lines = [f"Trained once, {name} errs by {error:.3f}." for name, error in errors.items()]
        said.append((3, " ".join(lines)))
    return [line for _, line in sorted(said, key=lambda pair: pair[0])]


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
            f"RMSE {error:.3f}\nof the mean (dotted) {mean_line:.3f}",
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
CURVES = {  # label in the table: words, colour, marker
    "NGAE": ("all test architectures", BLUE, "o"),
    "NGAE, unseen flags": ("those with unseen flags", SKY, "s"),
    "NGAE, training error": ("training architectures, mean of the epoch", ORANGE, "^"),
}


@styled
def ngae_rmse_curve(curve: pd.DataFrame) -> Figure:
    """NGAE Fig. 4, right: error of the accuracy predictor by epoch, beside NGAE's own on its test set.

    Columns: epoch, rmse (standardised), model (of `CURVES`, or `PUBLISHED` in the rows of the paper, if any), seed,
    mean_line (what predicting the train mean reaches, constant).
    """
    curve = rows_of(curve, "epoch", "rmse", "model", "seed", "mean_line")
    figure, axes = new_figure(3.5, width=COLUMN)
    ax, mean_line, published = axes[0, 0], curve.mean_line.iloc[0], curve[curve.model == PUBLISHED]
    ax.axhline(mean_line, color=GREY, linestyle=":", linewidth=1, label=f"predicting the mean: {mean_line:.3f}")
    for model, runs in curve.drop(published.index).groupby("model", sort=False):
        words, colour, marker = CURVES[model]
        band(ax, runs, "epoch", "rmse", colour)
        measured = runs.groupby("epoch").rmse.median()
        ax.plot(measured.index, measured, marker=marker, color=colour, markersize=3.5, label=words)
    if len(published):
        ax.plot(
            published.epoch, published.rmse, "D", color=INK, markersize=4, label="published, all test architectures"
        )
    for point in published.itertuples():
        ax.annotate(
            f"{point.rmse}", (point.epoch, point.rmse), xytext=(-5, -2), textcoords="offset points", ha="right",
            fontsize=7,
        )  # fmt: skip
    ax.set_xscale("log")
    epochs = curve.epoch.unique()
    ax.xaxis.set_major_locator(FixedLocator(epochs) if epochs.max() <= 10 else LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("epoch (log)")
    ax.set_ylabel("error (RMSE in standard deviations)")
    highest, top = curve.rmse.max(), 1.6 * mean_line
    ax.set_ylim(0, min(1.08 * max(highest, mean_line), top))
    if highest > top:
        ax.set_title(f"above the panel: errors up to {highest:.3g}", loc="right", fontsize=7)
    if curve.seed.nunique() > 1:
        ax.fill_between(
            [], [], color=GREY, alpha=0.25, linewidth=0, label="line: median of trainings; band: all of them"
        )
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", fontsize=7)
    return figure


@styled
def ngae_ascent(trajectories: pd.DataFrame) -> Figure:
    """What ascent in the latent space does: median and middle half of all starts, by step.

    Columns: start, step, performance, complexity (predicted, standardised), evaluated (accuracy of the decoded
    architecture by the independent evaluator, percent, NaN where nothing valid was decoded), variant.
    """
    trajectories = rows_of(trajectories, "start", "step", "performance", "complexity", "evaluated", "variant")
    figure, axes = new_figure(2.7, columns=3)
    colours = colours_of(trajectories.variant)
    for variant, walks in trajectories.groupby("variant", sort=False):
        for ax, quantity in zip(axes[0], ("performance", "complexity", "evaluated")):
            band(ax, walks, "step", quantity, colours[variant], variant, low=0.25, high=0.75)
    letter(axes, ["Predicted accuracy", "Predicted complexity", "Evaluated accuracy"])
    for ax, quantity in zip(
        axes[0], ("predicted accuracy\n(st. dev.)", "predicted complexity\n(st. dev.)", "evaluated accuracy (%)")
    ):
        ax.lines[0].set_linewidth(2.6)  # seen where another lies on it
        ax.set_ylabel(quantity)
        ax.set_xlabel("step of the ascent")
    axes[0, 0].fill_between(
        [], [], color=GREY, alpha=0.25, linewidth=0, label="line: median of all starts; band: middle half"
    )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))
    return figure


NOTEBOOK = "03_ngae_predictor"
FIGURES: dict[str, StoredFigure] = {
    "predictor_scatter": (("predictions",), ngae_predictor_scatter),
    "rmse_curve": (("curve",), ngae_rmse_curve),
    "ascent": (("trajectories",), ngae_ascent),
}
