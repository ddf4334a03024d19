"""The figures of the generative models side by side, and the tables that are shown beside them (notebook 05)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from companion.figures import StoredFigure
from latentnas import stats
from latentnas.graphs import DagBatch, equal
from latentnas.interfaces import Space
from latentnas.plots.style import BLUE, GREY, PALE, VERMILLION, letter, new_figure, rows_of, styled

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

    from latentnas.train import TrainConfig

QUANTITIES = ("reconstruction", "validity", "uniqueness", "novelty")
PROTOCOLS = {"published": ("o", BLUE), "clean": ("D", VERMILLION)}
SMOOTHNESS = {
    "valid": "valid graphs on a line (%)",
    "way": "changes made / needed",
    "rank_correlation": "rank correlation of distances",
}
LABEL_COLOURS = (VERMILLION, BLUE, GREY)
SPACE_NAMES = {"enas": "ENAS", "nasbench201": "NAS-Bench-201", "nasbench101": "NAS-Bench-101"}
LINE_NAMES = {"valid": "valid (%)", "way": "way / ends", "largest": "largest", "rank_correlation": "rank correlation"}
DECODER_NAMES = {
    "edges": "all edges right",
    "types": "all types right",
    "random": "random decodes",
    "greedy": "greedy decodes",
}


@styled
def svge_quality(table: pd.DataFrame) -> Figure:
    """What each model writes, a row of panels for each space: a dot a training, both protocols.

    Columns: space, model, seed, and <quantity>_<protocol> for reconstruction, validity, uniqueness and novelty, as
    published and clean (percent).
    """
    names = [f"{quantity}_{protocol}" for quantity in QUANTITIES for protocol in PROTOCOLS]
    table = rows_of(table, "space", "model", "seed", *names)
    figure, axes, panels = grid_of(table, len(QUANTITIES))
    names = list(dict.fromkeys(table.model))
    for row, (_, rows) in zip(axes, panels):
        for ax, quantity in zip(row, QUANTITIES):
            for place, protocol in zip((-0.17, 0.17), PROTOCOLS):
                marker, colour = PROTOCOLS[protocol]
                dots(ax, rows, f"{quantity}_{protocol}", place, colour, marker, protocol_words(protocol), names)
            ax.set_xlim(-4, 104)
    for ax, quantity in zip(axes[-1], QUANTITIES):
        ax.set_xlabel(f"{quantity} (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


@styled
def svge_smoothness(table: pd.DataFrame) -> Figure:
    """What happens on straight lines through each latent space: a dot a training.

    Columns: space, model, seed, valid (percent of the points), way (changes of the graph on the way by those between
    the ends), rank_correlation (of latent and edit distance), matched (whether the model reconstructs well enough to be
    compared; the others are grey).
    """
    table = rows_of(table, "space", "model", "seed", "matched", *SMOOTHNESS)
    figure, axes, panels = grid_of(table, len(SMOOTHNESS))
    names = list(dict.fromkeys(table.model))
    for row, (_, rows) in zip(axes, panels):
        for ax, column in zip(row, SMOOTHNESS):
            if column == "way":
                ax.axvline(1, color=PALE, linewidth=0.8, linestyle=":")  # the best there can be
            for colour, some in ((BLUE, rows[rows.matched]), (GREY, rows[~rows.matched])):
                dots(ax, some, column, 0, colour, "o", names=names)
            ax.margins(x=0.08)
    for ax, words in zip(axes[-1], SMOOTHNESS.values()):
        ax.set_xlabel(words)
    return figure


@styled
def svge_prediction(reports: pd.DataFrame) -> Figure:
    """How well accuracies are ordered from a few labels, a panel for each space: a dot a training.

    Columns: space, model (what the accuracy is read from), seed, labels (how many), kendall (with the true accuracy).
    """
    reports = rows_of(reports, "space", "model", "seed", "labels", "kendall")
    spaces = list(reports.groupby("space", sort=False))
    names = list(dict.fromkeys(reports.model))
    figure, axes = new_figure(0.8 + 0.19 * len(names), columns=len(spaces), sharey=True)
    for ax, (_, rows) in zip(axes[0], spaces):
        counts = list(rows.groupby("labels"))
        for place, (number, part) in enumerate(counts):
            offset = 0.3 * (place - (len(counts) - 1) / 2)
            dots(ax, part, "kendall", offset, LABEL_COLOURS[place], "oD^"[place], f"{number:,} labels", names)
        ax.set_xlabel("Kendall's tau")
        say_what_is_missing(ax, rows, names)
    rows_named(axes[0, 0], names)
    letter(axes, [SPACE_NAMES.get(space, space) for space, _ in spaces])
    handles = {text: handle for ax in axes.flat for handle, text in zip(*ax.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=4)
    return figure


def grid_of(table: pd.DataFrame, columns: int) -> tuple:
    """A row of panels for each space with the models as rows in each; (figure, axes, [(space, its rows)])."""
    panels = list(table.groupby("space", sort=False))
    names = list(dict.fromkeys(table.model))
    height = 0.6 + len(panels) * (0.35 + 0.14 * len(names))
    figure, axes = new_figure(height, columns=columns, rows=len(panels), sharex="col", sharey=True)
    rows_named(axes[0, 0], names)
    for ax in axes.flat:
        ax.tick_params(axis="y", length=0)
    for ax, (_, rows) in zip(axes[:, 0], panels):
        say_what_is_missing(ax, rows, names)
    letter(axes[:, 0], [SPACE_NAMES.get(space, space) for space, _ in panels])
    return figure, axes, panels


def dots(
    ax: Axes,
    rows: pd.DataFrame,
    column: str,
    place: float,
    colour: str,
    marker: str,
    label: str | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """The values of every model in its row, shifted by `place`, and a line through their range."""
    names = names or list(dict.fromkeys(rows.model))
    for number, name in enumerate(names):
        values = rows.loc[rows.model == name, column].dropna()
        if len(values):
            height = np.full(len(values), number + place)
            ax.plot([values.min(), values.max()], height[:1].repeat(2), color=colour, linewidth=0.8, alpha=0.5)
            ax.plot(
                values, height, marker, color=colour, markersize=3, markeredgewidth=0, alpha=0.8, linestyle="none",
                label=label,
            )  # fmt: skip
            label = None  # one entry in a legend is enough


def say_what_is_missing(ax: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    """A word in each row whose model has no values on this space, lest it look like a value that is not seen."""
    where = ax.get_yaxis_transform()
    for number, name in enumerate(names):
        if name not in set(rows.model):
            ax.text(0.03, number, "not trained here", transform=where, va="center", fontsize=6, color=GREY)


def rows_named(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


def protocol_words(protocol: str) -> str:
    return {"published": "as published", "clean": "clean"}[protocol]


def sizes_of(domain: Any) -> dict[str, object]:
    """What a space's graphs are like, a row of a table: `domain` has space, train, validation, test and train_labels,
    and `table`, where the labels come from."""
    vertices, edges, labels = domain.train.num_vertices, domain.train.adjacency.sum(dim=(1, 2)), domain.train_labels
    return {
        "train": len(domain.train),
        "validation": len(domain.validation),
        "test": len(domain.test),
        "types": domain.space.num_types,
        "vertices": f"{vertices.min()} to {vertices.max()}",
        "edges": f"{edges.min()} to {edges.max()}",
        "labels": "none" if labels is None else domain.table,
        "their st. dev. (points)": "" if labels is None else f"{labels.std():.2f}",
    }


def with_interval(values: pd.Series, digits: int = 1) -> str:
    """Mean over the seeds, and half the width of its 95 % interval where there are several; "" without any."""
    values = values.dropna()
    low, high = stats.mean_interval(values) if len(values) else (0, 0)
    spread = f" ± {(high - low) / 2:.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}" if len(values) else ""


def means(
    table: pd.DataFrame, by: Sequence[str], columns: Mapping[str, str] | Sequence[str], digits: int = 1
) -> pd.DataFrame:
    """Columns of a table as means with intervals, one row a group, under new names where these are given."""
    groups = table.groupby(list(by), sort=False)[list(columns)]
    shown = groups.agg(lambda values: with_interval(values, digits))
    return shown.rename(columns=columns) if isinstance(columns, Mapping) else shown


def training_table(soon: pd.DataFrame, schedules: Mapping[tuple[str, str], "TrainConfig"]) -> pd.DataFrame:
    """How soon each model gave the held-out graphs back, for readers; `schedules` by space and model.

    Columns, one row a training: space, model, epoch (the last), reconstruction (percent, then), steps and minutes
    (until 99 % came back, NaN where that never happened).
    """
    models = soon.groupby(["space", "model"], sort=False)
    shown = pd.DataFrame(
        {
            "epochs": models["epoch"].max(),
            "validation (%)": models["reconstruction"].agg(with_interval),
            "steps to 99 %": models["steps"].agg(lambda values: with_interval(values, 0)),
            "minutes to 99 %": models["minutes"].agg(with_interval),
            "trainings that came to 99 %": models["steps"].count(),
        }
    )
    used = [schedules[key] for key in shown.index]
    shown["rate"] = [f"{schedule.optimizer}, {schedule.learning_rate:g}" for schedule in used]
    return shown


def quality_table(rows: pd.DataFrame, caption: str) -> "Styler":
    """What each model writes on one space, both protocols. Columns as of `svge_quality`, and weights (how many)."""
    models = rows.groupby("model", sort=False)
    columns = [f"{quantity}_{protocol}" for protocol in PROTOCOLS for quantity in QUANTITIES]
    shown = models[columns].agg(with_interval)
    shown.columns = pd.MultiIndex.from_tuples([column.split("_")[::-1] for column in columns])
    shown["", "weights (M)"] = (models["weights"].first() / 1e6).map("{:.2f}".format)
    return shown.style.set_caption(caption)


def agreement(space: Space, forward: DagBatch, backward: DagBatch, united: DagBatch) -> dict[str, float]:
    """How often both ends wrote the same graph, and what is valid of theirs and of the united one, in percent."""
    found = {"both wrote the same graph (%)": equal(forward, backward)}
    for end, graphs in {"forward": forward, "backward": backward, "united": united}.items():
        found[f"{end} valid (%)"] = space.is_valid(graphs)
    return {words: 100 * float(torch.as_tensor(true).double().mean()) for words, true in found.items()}


NOTEBOOK = "05_svge"
FIGURES: dict[str, StoredFigure] = {
    "quality": (("quality",), svge_quality),
    "smoothness": (("lines",), svge_smoothness),
    "prediction": (("prediction",), svge_prediction),
}
