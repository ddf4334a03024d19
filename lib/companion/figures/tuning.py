"""The figures of notebook 12: losses by learning rate, and when graphs come back."""

from itertools import product

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from companion.figures import StoredFigure
from latentnas.plots.style import BLUE, GREY, VERMILLION, letter, new_figure, rows_of, styled

NOTEBOOK = "12_tuning"
OPTIMIZERS = {"adamw": ("AdamW", BLUE, "o"), "muon": ("Muon", VERMILLION, "D")}
SPACES = {
    "enas": "ENAS",
    "enas, large": "ENAS, full size",
    "nasbench201": "NAS-Bench-201",
    "nasbench101": "NAS-Bench-101",
}


def panels_of(frame: pd.DataFrame, height: float) -> tuple[Figure, list]:
    """A row of panels for each model, a column for each space; each panel with the rows of its table."""
    models, spaces = frame["model"].unique(), frame["space"].unique()
    figure, axes = new_figure(height * len(models) + 0.4, columns=len(spaces), rows=len(models))
    groups, panels, titles = dict([*frame.groupby(["model", "space"])]), [], []
    for ax, (model, space) in zip(axes.flat, product(models, spaces)):
        if (model, space) in groups:
            panels.append((ax, groups[model, space]))
            titles.append(f"{model}, {SPACES.get(space, space)}")
        else:
            ax.axis("off")
    letter([ax for ax, _ in panels], titles)
    return figure, panels


def at_an_end(trials: pd.DataFrame) -> "pd.Series[bool]":
    """Whether the rate that an optimiser keeps, its last, is the lowest or highest that was tried on its space, where a
    better one may lie outside; by space, model and optimizer. The columns of `validation_loss_by_rate`."""
    kept = trials.groupby(["space", "model", "optimizer"], sort=False)["rate"].last()
    tried = trials.groupby("space")["rate"].agg(["min", "max"]).loc[kept.index.get_level_values("space")]
    return tried.eq(kept.to_numpy(), axis=0).any(axis=1).set_axis(kept.index)


@styled
def validation_loss_by_rate(trials: pd.DataFrame) -> Figure:
    """Loss on held-out graphs against the learning rate, a line for each optimiser and length of training. Losses above
    twice the median of a panel are outside it.

    Columns, one row a training: space, model, optimizer, epochs, rate, loss. The last of an optimiser is chosen.
    """
    figure, panels = panels_of(rows_of(trials, "space", "model", "optimizer", "epochs", "rate", "loss"), 1.45)
    for ax, table in panels:
        for optimizer, (label, colour, marker) in OPTIMIZERS.items():
            own = table[table["optimizer"] == optimizer]
            for length, line in own.sort_values("rate").groupby("epochs"):
                share = length / own["epochs"].max()
                style = {"color": colour, "marker": marker, "markersize": 3, "alpha": 0.35 + 0.65 * share}
                ax.plot(line["rate"], line["loss"], label=label if share == 1 else None, **style)
            ring = {"color": colour, "markersize": 9, "fillstyle": "none", "clip_on": False}
            ax.plot(own["rate"].iloc[-1:], own["loss"].iloc[-1:], "o", **ring)
        known = table["loss"][table["loss"] < float("inf")]  # what diverged is left out
        ax.set_xscale("log")
        if len(known):
            ax.set(yscale="log", ylim=(0.6 * known.min(), 1.1 * min(known.max(), 2 * known.median())))
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ax.get_ylim()[1] < 30 * ax.get_ylim()[0] else (1,)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xticks(rates := sorted(table["rate"].unique()), [f"{1000 * rate:g}" for rate in rates])
        ax.xaxis.set_minor_locator(NullLocator())
    figure.supxlabel("learning rate × 1,000 (log)", fontsize=8)
    figure.supylabel("loss on held-out graphs (nats, log; what is higher lies outside)", fontsize=8)
    handles, labels = panels[0][0].get_legend_handles_labels()
    handles.append(Line2D([], [], color=GREY, marker="o", markersize=9, fillstyle="none", linestyle="none"))
    labels.append("ring: kept; stronger colour: more epochs")
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    return figure


@styled
def reconstruction_by_step(curves: pd.DataFrame) -> Figure:
    """The share of held-out graphs that come back, decoded greedily, against the steps of training.

    Columns, one row an epoch: space, model, optimizer, steps, reconstruction (percent).
    """
    figure, panels = panels_of(rows_of(curves, "space", "model", "optimizer", "steps", "reconstruction"), 1.3)
    for ax, table in panels:
        for optimizer, (label, colour, marker) in OPTIMIZERS.items():
            own = table[table["optimizer"] == optimizer]
            ax.plot(own["steps"], own["reconstruction"], marker=marker, color=colour, markersize=3, label=label)
        ax.axhline(99, color=GREY, linewidth=0.6, linestyle=":", label="99 %")
        ax.set_ylim(-4, 104)
    figure.supxlabel("steps", fontsize=8)
    figure.supylabel("reconstruction (%)", fontsize=8)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


FIGURES: dict[str, StoredFigure] = {
    "rates": (("trials",), validation_loss_by_rate),
    "reconstruction": (("curves",), reconstruction_by_step),
}
