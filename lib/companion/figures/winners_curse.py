"""The figures of notebook 14: how lucky the best cell of a table is."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from companion.figures import StoredFigure
from companion.figures.words import in_words, span
from latentnas.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PALE, VERMILLION, letter, new_figure, rows_of, styled
from latentnas.stats import share_interval

NOTEBOOK = "14_winners_curse"
LINES = {  # column of `again` -> words, colour, line
    "chosen_by": ("the two runs that chose them", VERMILLION, "--"),
    "expected": ("expected from these two", BLUE, "-"),
    "third": ("their third run", INK, "-"),
}
COLOURS = (BLUE, VERMILLION, GREEN, ORANGE)  # of data sets, in order of appearance


@styled
def third_runs(again: pd.DataFrame) -> Figure:
    """What the best cells by two runs reach in the third, a panel a data set. Columns: dataset, best (number of cells),
    chosen_by, expected, third (mean accuracies, percent), low, high (95 % interval of `third`)."""
    again = rows_of(again, "dataset", "best", "chosen_by", "expected", "third", "low", "high")
    datasets = again.dataset.unique()
    figure, axes = new_figure(2.4, columns=len(datasets))
    for ax, dataset in zip(axes[0], datasets):
        rows = again[again.dataset == dataset]
        ax.fill_between(rows.best, rows.low, rows.high, color=PALE, alpha=0.5, linewidth=0, label="its 95 % interval")
        for column, (label, colour, line) in LINES.items():
            ax.plot(rows.best, rows[column], line, color=colour, label=label)
        _cells_axis(ax, rows.best.max())
        ax.set_ylabel("mean validation accuracy (%)")
    letter(axes, datasets)
    band, *lines = zip(*axes[0, 0].get_legend_handles_labels())
    figure.legend(*zip(*lines, band), loc="outside upper left", ncols=4)
    first = again[again.best == again.best.min()]
    words = [
        f"{row.dataset}: {row.chosen_by:.2f} by the two, {row.expected:.2f} expected, {row.third:.2f} in the third"
        for row in first.itertuples()
    ]
    figure.set_label(f"Mean accuracies against the number of best cells. The best: {'; '.join(words)}.")
    return figure


@styled
def chances_of_the_best(chances: pd.DataFrame) -> Figure:
    """How many cells share the chance of being truly the best. Columns: dataset, cells (the most likely so many),
    chance (that the best is among them)."""
    chances = rows_of(chances, "dataset", "cells", "chance")
    figure, axes = new_figure(2.6, width=5)
    ax, words = axes[0, 0], []
    for colour, (dataset, rows) in zip(COLOURS, chances.groupby("dataset", sort=False)):
        ax.plot(rows.cells, 100 * rows.chance, color=colour, label=dataset)
        needed = rows.cells[rows.chance >= 0.95].min()
        words.append(f"{dataset}: {100 * rows.chance.iloc[0]:.0f} % for one cell, 95 % for {needed:.0f}")
    ax.axhline(95, color=GREY, linewidth=0.8, linestyle=":")
    ax.annotate(
        "95 %", (1, 95), ha="left", va="top", xytext=(0, -2), textcoords="offset points", fontsize=7, color=GREY
    )
    _cells_axis(ax, chances.cells.max())
    ax.set(xlabel="number of likeliest cells (log)", ylabel="chance that the best\nis among them (%)", ylim=(0, 103))
    if chances.dataset.nunique() > 1:
        ax.legend(loc="lower right")
    figure.set_label(
        f"Rising curves of the chance that the truly best cell is among the likeliest. {'; '.join(words)}."
    )
    return figure


@styled
def published_differences(published: pd.DataFrame) -> Figure:
    """Published test accuracies beside what chance does to a cell, a panel a data set. Columns: dataset, method,
    accuracy (percent), noise (points: the least significant difference of two cells with three runs each) and, in newer
    tables, corrected (the same, such that it holds for all pairs together)."""
    published = rows_of(published, "dataset", "method", "accuracy", "noise")
    datasets, methods = published.dataset.unique(), list(published.method.unique())
    figure, axes = new_figure(0.8 + 0.15 * len(methods), columns=len(datasets), sharey=True)
    bands = {
        "corrected": ("corrected for the number of pairs", 0.3),
        "noise": ("not significantly less than the highest, as a single pair", 0.5),
    }
    bands = {column: look for column, look in bands.items() if column in published}
    for ax, dataset in zip(axes[0], datasets):
        rows = published[published.dataset == dataset]
        for column, (label, alpha) in bands.items():
            ends = rows.accuracy.max() - rows[column].iloc[0], rows.accuracy.max()
            ax.axvspan(*ends, color=PALE, alpha=alpha, linewidth=0, label=label)
        ax.plot(rows.accuracy, rows.method.map(methods.index), "o", color=BLUE, markersize=4)
        ax.grid(axis="y", color=PALE, linewidth=0.3)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("test accuracy (%)")
    axes[0, 0].set_yticks(range(len(methods)), methods)
    axes[0, 0].set_ylim(len(methods) - 0.5, -0.5)
    letter(axes, datasets)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper left", ncols=2)
    close = published.groupby("dataset", sort=False)[["accuracy", "noise"]].apply(
        lambda rows: (rows.accuracy >= rows.accuracy.max() - rows.noise).sum()
    )
    words = [f"{count} of {(published.dataset == dataset).sum()} on {dataset}" for dataset, count in close.items()]
    figure.set_label(f"Published accuracies as dots. Within noise of the highest: {', '.join(words)}.")
    return figure


def _cells_axis(ax: Axes, most: int) -> None:
    """A logarithmic number of cells, in plain numbers."""
    ax.set(xscale="log", xlabel="number of best cells (log)")
    ax.xaxis.set_major_locator(FixedLocator(10.0 ** np.arange(np.log10(most) + 1)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())


def findings(
    winners: pd.DataFrame,
    again: pd.DataFrame,
    sets: pd.DataFrame,
    trials: pd.DataFrame,
    simulated: int,
    pairs: pd.DataFrame,
) -> list[str]:
    """What a run found, a point each, five at most; numbers are spans over the data sets.

    Args:
        winners: Columns chance, flat, chance, shrunk, in the table, expected.
        again: As `third_runs` takes it.
        sets: Column likely best (number of cells).
        trials: Columns data set, winner is best (share of the simulated tables), chance said.
        simulated: How many tables of each data set these were.
        pairs: Column differ by more, corrected (%); no row without published differences.
    """
    one = again[again.best == 1]
    ends = [share_interval(round(simulated * share), simulated)[1] for share in trials["winner is best"]]
    too_high = trials["data set"][ends < 100 * trials["chance said"]]
    on = f"shows these chances to be too high on {in_words(too_high)}"
    judged = on if len(too_high) else "does not refute these chances"
    flat, shrunk = (span(100 * winners[f"chance, {kind}"]) for kind in ("flat", "shrunk"))
    luck, fall = span(winners["in the table"] - winners["expected"], 2), span(one.chosen_by - one.third, 2)
    unsure = one.dataset[one.chosen_by <= one.high]
    fall += f" points in the third; on {in_words(unsure)} that may be chance" if len(unsure) else " points in the third"
    said = [
        f"The best cell of the table is truly the best with an estimated chance of {shrunk} %; "
        f"without the correction for luck {flat} % (figure `chances`).",
        f"A trial on {simulated} simulated tables {judged}.",
        f"The table puts its best cell too high by an estimated {luck} points. "
        f"The best by two runs falls by {fall} (figure `third_runs`).",
        f"By these chances {span(sets['likely best'])} cells are to hold the best one with a chance of 95 %. "
        "The simulated tables test this, below.",
    ]
    if len(pairs):
        apart = span(pairs["differ by more, corrected (%)"])
        said.append(
            f"{apart} % of the pairs of published rows differ by more than luck (corrected; figure `published`)."
        )
    return said


FIGURES: dict[str, StoredFigure] = {
    "third_runs": (("again",), third_runs),
    "chances": (("chances",), chances_of_the_best),
    "published": (("published",), published_differences),
}
