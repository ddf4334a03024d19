"""What searches have found after so many queries, against one another."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from latentnas.plots.style import GREY, MARKERS, colours_of, letter, new_figure, rows_of, styled

SHOWN_FROM = 20  # queries; what comes before is the luck of the first draws


@styled
def incumbent_curves(curves: pd.DataFrame) -> Figure:
    """The best architecture so far against queries: means over runs with 95 % intervals.

    One row of panels for each signal, one column for each data set. Columns: dataset, signal ("validation" or "test"
    accuracy of the incumbent), method, query, mean, low, high, best (percent; the dotted line: the best cell's).
    """
    curves = rows_of(curves, "dataset", "signal", "method", "query", "mean", "low", "high", "best")
    datasets, signals = curves.dataset.unique(), curves.signal.unique()
    figure, axes = new_figure(2.2 * len(signals), columns=len(datasets), rows=len(signals), sharex=True)
    colours = colours_of(curves.method)
    for row, signal in zip(axes, signals):
        for ax, dataset in zip(row, datasets):
            panel = curves[(curves.signal == signal) & (curves.dataset == dataset)]
            shown = panel[panel["query"] >= SHOWN_FROM]
            for method, line in shown.groupby("method", sort=False):
                ax.plot(line["query"], line["mean"], color=colours[method], label=method)
                ax.fill_between(line["query"], line.low, line.high, color=colours[method], alpha=0.15, linewidth=0)
            ax.axhline(panel.best.iloc[0], color=GREY, linewidth=0.8, linestyle=":")
            ax.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
        row[0].set_ylabel(f"{signal} accuracy (%)")
    for ax in axes[-1]:
        ax.set_xlabel("queries")
    letter(axes, [f"{dataset}, {signal}" for signal in signals for dataset in datasets])
    legend_above(figure, axes)
    return figure


@styled
def optimum_found(found: pd.DataFrame) -> Figure:
    """In how many runs the best cell had been met after so many queries, one panel a data set. Columns: dataset,
    method, query, share (of the runs)."""
    found = rows_of(found, "dataset", "method", "query", "share")
    datasets = found.dataset.unique()
    figure, axes = new_figure(2.3, columns=len(datasets), sharey=True)
    colours = colours_of(found.method)
    for ax, dataset in zip(axes[0], datasets):
        panel = found[found.dataset == dataset]
        for number, (method, line) in enumerate(panel.groupby("method", sort=False)):
            ax.plot(
                line["query"], 100 * line.share, color=colours[method], label=method, drawstyle="steps-post",
                marker=MARKERS[number % len(MARKERS)], markersize=3, markevery=0.2,
            )  # fmt: skip
        ax.set(xlabel="queries", ylim=(-3, 103))
    axes[0, 0].set_ylabel("runs that met it (%)")
    letter(axes, datasets)
    legend_above(figure, axes)
    return figure


def legend_above(figure: Figure, axes: np.ndarray) -> None:
    """One legend for all panels, with each method once."""
    handles: dict = {}
    for ax in axes.flat:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels())))
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=min(len(handles), 4))
