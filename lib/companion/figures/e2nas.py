"""The figures of one-shot search (notebook 08)."""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from companion.figures import StoredFigure
from companion.figures.words import in_words, span
from latentnas.plots.search import legend_above
from latentnas.plots.style import (
    BLUE,
    DOUBLE,
    GREY,
    INK,
    MARKERS,
    PALE,
    VERMILLION,
    colours_of,
    letter,
    new_figure,
    rows_of,
    styled,
)
from latentnas.stats import mean_interval

LEVEL = "level"  # within the noise of judging
LINKS = {"behind": "behind", "undecided": "not told apart from", LEVEL: "within the noise of", "ahead": "ahead of"}
TICKS = (0, 0.5, 1, 1.5, 2, 5, 10, 20, 50)  # points
AIM = 0.5  # points below the best that can be expected, at most


@styled
def cells_handed_in(found: pd.DataFrame) -> Figure:
    """How far the cells handed in lie below the best expected accuracy: a dot a run, a diamond and a line the mean and
    its 95 % interval; rows of one run, or without any, have the diamond alone. E2NAS is bold and in its colour.

    Columns: group (above its rows), method, gap (points, a row a run), mean, low, high (of its method).
    """
    found = rows_of(found, "group", "method", "gap", "mean", "low", "high")
    names = found.drop_duplicates("method")
    lines = [line for group, rows in names.groupby("group", sort=False) for line in (group, *rows.itertuples())]
    figure, [[ax]] = new_figure(0.7 + 0.22 * len(lines), width=0.85 * DOUBLE)
    labels = [line if isinstance(line, str) else line.method for line in lines]
    ax.set_yticks(range(len(lines)), labels)
    for place, (line, label) in enumerate(zip(lines, ax.get_yticklabels())):
        if isinstance(line, str):
            label.set(color=GREY, style="italic")
            continue
        label.set_weight("bold" if line.method == "E2NAS" else "normal")
        gaps, colour = found.gap[found.method == line.method], VERMILLION if line.method == "E2NAS" else INK
        ax.plot(gaps, np.full(len(gaps), place), "o", color=colour, alpha=0.35, markersize=3)
        ax.plot([line.low, line.high], [place] * 2, color=colour, linewidth=1)
        ax.plot(line.mean, place, "D", color=colour, markersize=4.5)
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":", label="0: the best that can be expected")
    ax.axvline(AIM, color=BLUE, linewidth=1.2, linestyle="--", zorder=1, label=f"aim: at most {AIM:g}")
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    ax.minorticks_off()
    ax.set_xlim(min(0, found.gap.min()) - 0.1, 1.15 * found.gap.max())
    ax.grid(axis="x", color=PALE, linewidth=0.3)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.set_xlabel("points of test accuracy below the best that can be expected\n(less is better; logarithmic beyond 1)")
    marks = {"a run": ("o", 3), "mean": ("D", 4.5), "95 % interval of several runs, cut by the frame": ("-", 1)}
    marks = marks if found.low.notna().any() else {"a run, or the exact mean of all draws": ("D", 4.5)}
    for label, (mark, size) in marks.items():
        ax.plot([], [], mark, color=GREY, markersize=size, linewidth=1, label=label)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


@styled
def shared_weights(ranking: pd.DataFrame, forgetting: pd.DataFrame) -> Figure:
    """Left: how well shared weights rank cells, over training. Right: what cells lose or gain later.

    Columns of `ranking`: method, epoch (of E2NAS that takes as long), mean, low, high (Kendall's tau). Of `forgetting`:
    the same, the epoch that of the visit, in points of shared accuracy relative to cells that nobody visited.
    """
    ranking = rows_of(ranking, "method", "epoch", "mean", "low", "high")
    forgetting = rows_of(forgetting, "method", "epoch", "mean", "low", "high")
    figure, axes = new_figure(2.6, columns=2)
    [[order, lost]] = axes
    methods = dict.fromkeys([*ranking.method, *forgetting.method])
    colours, markers = colours_of(methods), dict(zip(methods, cycle(MARKERS)))
    for ax, table in ((order, ranking), (lost, forgetting)):
        for method, line in table.groupby("method", sort=False):
            look = {"color": colours[method], "marker": markers[method], "markersize": 3, "label": method}
            ax.plot(line.epoch, line["mean"], **look)
            ax.fill_between(line.epoch, line.low, line.high, color=colours[method], alpha=0.15, linewidth=0)
        ax.set_xticks(sorted(table.epoch.unique()))
    order.set_xlabel("processor time (epochs of E2NAS)")
    order.set_ylabel("Kendall's tau,\nshared and true")
    lost.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    lost.set_xlabel("time of the visit (epochs of E2NAS)")
    lost.set_ylabel("change since the visit\n(points)")
    letter(axes, ["Ranking of random cells", "Change after the visit"])
    legend_above(figure, axes)
    words = "lines: means over runs; bands, from several runs: 95 % intervals"
    words = words if ranking.low.notna().any() else "a line: one run"
    figure.legends[0].set(title=words, alignment="left")
    return figure


def findings(gaps: "pd.Series[float]", leads: pd.DataFrame) -> list[str]:
    """What a run found, a point each, five at most, bad news for E2NAS first.

    Args:
        gaps: How far each run of E2NAS ends below the best that can be expected, in points.
        leads: A row for each other method: index its name; columns group (words for the group), points (E2NAS's lead)
            verdict (ahead, behind or undecided; used where there are several runs) and noise (a lead of one run below
            so many points may be the noise of judging the cells).
    """
    mean, (low, high) = gaps.mean(), mean_interval(gaps)
    between = f" ({low:.2f} to {high:.2f})" if len(gaps) > 1 else ""
    side = "above" if mean < 0 else "below"
    goal = f"E2NAS ends {abs(mean):.2f} points{between} {side} the best test accuracy that can be expected"
    judged = "reached" if high <= AIM else "missed" if low > AIM else "undecided"
    aim = f": {judged}" if len(gaps) > 2 else ""  # fewer runs decide nothing
    said = [(high <= AIM, f"{goal}; the aim was at most {AIM:g} below{aim}.")]
    for group, rows in leads.groupby("group", sort=False):
        word = rows.verdict if len(gaps) > 1 else within_noise(rows.points, rows.noise)
        rivals = group.removeprefix("E2NAS and ")
        said.append(((word == "ahead").all(), f"Against {rivals}, E2NAS is {sides_in_words(rows.points, word)}."))
    return [words for _, words in sorted(said, key=lambda one: bool(one[0]))]


def within_noise(points: "pd.Series[float]", noise: "pd.Series[float]") -> "pd.Series[str]":
    """What one run says of leads: ahead, behind, or level, within the noise."""
    words = np.select([points >= noise, points <= -noise], ["ahead", "behind"], LEVEL)
    return pd.Series(words, points.index)


def sides_in_words(points: "pd.Series[float]", verdict: "pd.Series[str]") -> str:
    """Whom E2NAS is behind, by how much also where that is undecided, and whom it is ahead of."""
    said = []
    for word in filter({*verdict}.__contains__, LINKS):
        part = points[verdict == word]
        lags = (part.round(2) < 0) & (word == "undecided")
        names = [f"*{name}*" + f" ({-lead:.2f} behind)" * lag for (name, lead), lag in zip(part.items(), lags)]
        every = "any of them" if word in ("undecided", LEVEL) else "all of them"
        whole = 1 < len(names) == len(points) and not lags.any()
        amount = f" by {span(-part, 2)} points" * (word == "behind")
        said.append(f"{LINKS[word]} {every if whole else in_words(names)}{amount}")
    return "; ".join(said)


NOTEBOOK = "08_e2nas"
FIGURES: dict[str, StoredFigure] = {
    "cells_handed_in": (("handed_in",), cells_handed_in),
    "shared_weights": (("kendall_by_time", "change_by_time"), shared_weights),
}
