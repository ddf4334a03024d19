"""The figures of CR-LSO (notebook 07)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from companion.figures import StoredFigure
from latentnas.plots.search import incumbent_curves, optimum_found
from latentnas.plots.style import (
    BLUE,
    DOUBLE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    VERMILLION,
    letter,
    new_figure,
    rows_of,
    styled,
)

NETWORK_COLOURS = (VERMILLION, BLUE, GREEN, ORANGE, PURPLE)  # in order of appearance
LEVELS = 9  # contours


@styled
def crlso_convexity(gaps: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    """Left: how far Jensen's inequality holds, pair by pair. Right: at what height gradient ascents end.

    Columns of `gaps`: network, quantile (of the pairs, 0 to 1), gap (standard deviations of the predictions;
    none may be negative for a convex network). Of `ends`: network, share (of the starts, 0 to 1, the highest
    first), below (the highest end that was found, same unit).
    """
    gaps, ends = rows_of(gaps, "network", "quantile", "gap"), rows_of(ends, "network", "share", "below")
    figure, axes = new_figure(2.6, columns=2)
    inequality, heights = axes[0]
    colours = dict(zip(dict.fromkeys([*gaps.network, *ends.network]), NETWORK_COLOURS))
    for number, (network, colour) in enumerate(colours.items()):
        width = 1 + 1.2 * (len(colours) - 1 - number)  # lines that lie on each other can all be seen
        of_network = gaps[gaps.network == network]
        inequality.plot(of_network["quantile"], of_network.gap, color=colour, linewidth=width, label=network)
        of_network = ends[ends.network == network]
        heights.plot(of_network.share, -of_network.below, color=colour, linewidth=width, label=network)
    inequality.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    inequality.set_yscale("symlog", linthresh=1e-2)
    inequality.set_xlabel("share of the pairs of points")
    inequality.set_ylabel("Jensen gap (st. dev.)")
    heights.set_xlabel("share of the starts")
    heights.set_ylabel("end of the ascent, from\nthe highest (st. dev.)")
    for ax in axes[0]:
        ax.xaxis.set_major_formatter(PercentFormatter(1))
    letter(axes, ["Convex where nothing is negative", "One maximum where the line is flat"])
    figure.legend(*inequality.get_legend_handles_labels(), loc="outside upper left", ncols=len(colours))
    return figure


@styled
def crlso_latent_map(points: pd.DataFrame, levels: pd.DataFrame) -> Figure:
    """A plane through each latent space: cells coloured by accuracy, lines of equal predicted accuracy.

    Columns of `points`: space, x, y, accuracy (percent). Of `levels`: space, x, y (a grid), predicted
    (percent, on the plane).
    """
    points = rows_of(points, "space", "x", "y", "accuracy")
    levels = rows_of(levels, "space", "x", "y", "predicted")
    spaces = list(points.groupby("space", sort=False))
    figure, axes = new_figure(3.0, columns=len(spaces))
    low, high = points.accuracy.quantile([0.1, 0.99])
    for ax, (space, cloud) in zip(axes[0], spaces):
        cloud = cloud.sort_values("accuracy", kind="stable")  # good cells on top
        dots = ax.scatter(
            cloud.x, cloud.y, c=cloud.accuracy, s=2, cmap="viridis", vmin=low, vmax=high, linewidths=0,
            rasterized=True,
        )  # fmt: skip
        grid = levels[levels.space == space].pivot(index="y", columns="x", values="predicted")
        heights = np.quantile(grid.to_numpy(), np.linspace(0.05, 0.98, LEVELS))
        if grid.to_numpy().std() > 0:
            look = {"colors": INK, "linewidths": 0.6, "linestyles": "solid"}
            lines = ax.contour(grid.columns, grid.index, grid, np.unique(heights), **look)
            ax.clabel(lines, lines.levels[1::3], fmt="%.3g", fontsize=5.5)
        ax.set(xlim=cloud.x.quantile([0.001, 0.999]), ylim=cloud.y.quantile([0.001, 0.999]))
        ax.set_xlabel("direction of accuracy (st. dev.)")
    axes[0, 0].set_ylabel("direction of most spread\n(st. dev.)")
    letter(axes, [space for space, _ in spaces])
    bar = figure.colorbar(dots, ax=axes, extend="both", pad=0.01, aspect=30)
    bar.set_label("accuracy (%)")
    bar.outline.set_visible(False)
    return figure


@styled
def crlso_ablations(ablations: pd.DataFrame) -> Figure:
    """What a search loses against the optimum, and how good its proposals are, when one thing is changed; a dot
    a run and the mean as a line.

    Columns: group, variant, regret (points: best validation accuracy of the table less that found),
    proposals (percent: mean accuracy of what the search chose). The first variant is the reference, drawn as a
    vertical line.
    """
    ablations = rows_of(ablations, "group", "variant", "regret", "proposals")
    names = ablations.drop_duplicates("variant").reset_index()
    figure = plt.figure(figsize=(DOUBLE, 0.7 + 0.17 * len(names)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    colours = dict(zip(names.group.unique(), NETWORK_COLOURS))
    for ax, column in zip(axes, ("regret", "proposals")):
        for place, name in enumerate(names.itertuples()):
            values = ablations[column][ablations.variant == name.variant]
            look = {"color": colours[name.group]}
            places = np.full(len(values), place)
            ax.plot(values, places, "o", **look, alpha=0.4, markersize=3, markeredgewidth=0)
            ax.plot([values.mean()] * 2, [place - 0.35, place + 0.35], **look, linewidth=2)
            if place == 0:
                ax.axvline(values.mean(), color=PALE, linewidth=0.8, linestyle=":", zorder=0)
    axes[0].set_yticks(range(len(names)), names.variant)
    for label, group in zip(axes[0].get_yticklabels(), names.group):
        label.set_color(colours[group])
    axes[0].invert_yaxis()
    axes[0].set_xlabel("points below the best cell\n(less is better)")
    axes[1].set_xlabel("mean accuracy of the proposals, %\n(more is better)")
    letter(axes[None], ["what was found", "what was asked for"])
    for group, colour in colours.items():
        axes[0].plot([], [], color=colour, linewidth=2, label=group)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(colours))
    return figure


NOTEBOOK = "07_crlso"
FIGURES: dict[str, StoredFigure] = {
    "convexity": (("gaps", "ends"), crlso_convexity),
    "level_sets": (("points", "levels"), crlso_latent_map),
    "against_baselines": (("curves",), incumbent_curves),
    "optimum_met": (("found",), optimum_found),
    "ablations": (("ablations",), crlso_ablations),
}
