"""The figures of notebook 10: where the time of a training step goes, and how times grow."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from companion.figures import StoredFigure
from latentnas.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MARKERS,
    METHOD_COLOURS,
    ORANGE,
    PALE,
    SKY,
    VERMILLION,
    letter,
    new_figure,
    rows_of,
    styled,
)  # fmt: skip

NOTEBOOK = "10_speed"
PARTS = {"products": BLUE, "copies and casts": SKY, "element-wise": ORANGE, "optimiser": GREEN, "the rest": PALE}
SETTINGS = {"authors": ("authors' code", GREY, "o"), "equal": ("ours, batch 32, fp32", SKY, "s")}
TIMED = {  # what growth is measured of
    "training step of D-VAE": METHOD_COLOURS["D-VAE"],
    "encode": BLUE,
    "encode, 64 states": BLUE,
    "hash": VERMILLION,
    "random search": METHOD_COLOURS["random search"],
    "evolution": METHOD_COLOURS["regularised evolution"],
}
SETTINGS |= {"default": ("ours, defaults", VERMILLION, "D")}


def first_times(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    """Steps and minutes of each training, by model and seed, until so many (%) of the held-out graphs came back."""
    reached = rows[rows["returned"] >= share].groupby(["model", "seed"])[["steps", "minutes"]].first()
    return reached.add_suffix(f" to {share} %")


@styled
def step_parts(step: pd.DataFrame, training: pd.DataFrame) -> Figure:
    """Where an epoch's time goes, and what it was with other settings.

    Columns of `step`, one row a model: model, the names of PARTS, alone (all in s an epoch; `alone` may be empty),
    share (percent of the peak). Columns of `training`: model, settings (equal or default), epoch and authors (s; the
    second may be empty).
    """
    step = rows_of(step, "model", *PARTS, "alone", "share").iloc[::-1].set_index("model")
    training = rows_of(training, "model", "settings", "epoch", "authors")
    epochs = training.pivot(index="model", columns="settings", values="epoch").reindex(step.index)
    epochs["authors"] = training.groupby("model")["authors"].median()
    figure, axes = new_figure(0.27 * len(step) + 0.9, columns=2, sharey=True, gridspec_kw={"width_ratios": [1.4, 1]})
    left, right = axes[0]
    total = step[[*PARTS]].sum(axis=1)
    start = 0 * total
    for part, colour in PARTS.items():
        left.barh(step.index, step[part], left=start, color=colour, height=0.7, label=part)
        start = start + step[part]
    if step["alone"].notna().any():
        alone = {"markersize": 10, "markeredgewidth": 1.6, "label": "its products alone"}
        left.plot(step["alone"], step.index, "|", color=INK, **alone)
    for place, (end, share) in enumerate(zip(total, step["share"])):
        left.text(end + 0.015 * total.max(), place, f"{share:.0f} %", va="center", fontsize=6.5, color=INK)
    left.set(xlabel="seconds per epoch; %: share of the machine's peak", xlim=(0, 1.12 * total.max()))
    left.tick_params(axis="y", length=0)
    for settings, (label, colour, marker) in SETTINGS.items():
        if epochs[settings].notna().any():
            right.plot(epochs[settings], epochs.index, marker, color=colour, markersize=4.5, label=label)
    right.set(xscale="log", xlabel="seconds per epoch (log)")
    right.xaxis.set_major_formatter("{x:g}")
    right.grid(axis="y", color=PALE, linewidth=0.4)
    right.tick_params(axis="y", length=0)
    letter([left, right], ["Where the time goes, our defaults", "The same epoch, other settings"])
    handles = [*left.containers, *left.lines, *right.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside upper left", ncols=5, columnspacing=1.2)
    return figure


@styled
def growth_lines(growth: pd.DataFrame) -> Figure:
    """Times against sizes, both logarithmic, one panel a kind of size, with the fitted power in the legend.

    Columns: by (what grows), quantity, size, seconds, power.
    """
    growth = rows_of(growth, "by", "quantity", "size", "seconds", "power")
    panels = list(growth.groupby("by", sort=False))
    figure, axes = new_figure(2.6, columns=len(panels))
    for ax, (by, rows) in zip(axes[0], panels):
        for (quantity, line), marker in zip(rows.groupby("quantity", sort=False), MARKERS):
            label = f"{quantity}: power {line['power'].iloc[0]:.1f}"
            ax.plot(
                line["size"], line["seconds"], marker=marker, color=TIMED.get(quantity, GREY), markersize=4, label=label
            )
        ax.set(xscale="log", yscale="log", xlabel=f"{by} (log)", ylabel="seconds (log)" if ax is axes[0, 0] else None)
        ticks = sorted(rows["size"].unique())
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.minorticks_off()
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend
        ax.legend(loc="upper left")
    letter(axes, [f"More {by}" for by, _ in panels])
    return figure


FIGURES: dict[str, StoredFigure] = {"step": (("step", "training"), step_parts), "growth": (("growth",), growth_lines)}
