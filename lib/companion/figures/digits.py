"""The figure of notebook 01c: the tables that come with the project."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from companion.figures import StoredFigure
from companion.figures.nasbench import only_the_best
from companion.figures.shared import distribution, heat
from latentnas.plots.style import BLUE, GREY, INK, ORANGE, letter, new_figure, rows_of, styled


@styled
def bundled_tables(
    histogram: pd.DataFrame,
    noise: pd.DataFrame,
    agreement: pd.DataFrame,
    levels: pd.DataFrame,
    effects: pd.DataFrame,
    shared: pd.DataFrame,
) -> Figure:
    """digits-nb201 in five panels: what accuracies there are, how noisy they are, whether two trainings agree, what
    FLOPs buy and what each operation does; and how far the shared weights of digits-enas can be trusted.

    Columns of `histogram`: signal ("validation" or "test"), accuracy (lower end of the bin; equal widths), count.
    Of `noise`: rank (per cent, 100 the best), low, median, high (quartiles of the standard deviation between
    seeds). Of `agreement`: share (the best so many per cent), spearman of two seeds, low, high. Of `levels`:
    flops (multiply-adds), low, median, high (5, 50 and 95 % quantiles of test accuracy), best. Of `effects`: edge,
    operation, places (mean rank in per cent of the cells that have it, minus 50). Of `shared`: shared, from_scratch.
    Accuracies are percent.
    """
    histogram, noise = (
        rows_of(histogram, "signal", "accuracy", "count"),
        rows_of(noise, "rank", "low", "median", "high"),
    )
    agreement = rows_of(agreement, "share", "spearman", "low", "high")
    levels = rows_of(levels, "flops", "low", "median", "high", "best")
    effects, shared = rows_of(effects, "edge", "operation", "places"), rows_of(shared, "shared", "from_scratch")
    figure, axes = new_figure(4.6, columns=3, rows=2, gid="bundled")
    counts, deviation, correlation, costs, table, trust = axes.flat

    for (signal, bins), colour in zip(histogram.groupby("signal", sort=False), (ORANGE, BLUE)):
        look = {"filled": signal == "validation", "color": colour, "label": signal, "alpha": 0.7}
        distribution(counts, bins.accuracy, bins["count"], **look)
    counts.set_xlim(left=histogram.accuracy[histogram["count"] > 0].min())
    counts.set_xlabel("accuracy (%)")
    counts.set_ylabel("classes per 2 points")
    counts.legend(loc="upper left")

    deviation.plot(noise["rank"], noise["median"], color=BLUE, label="median")
    deviation.fill_between(
        noise["rank"], noise.low, noise.high, color=BLUE, alpha=0.18, linewidth=0, label="middle half"
    )
    deviation.set_ylim(bottom=0)
    deviation.legend()
    deviation.set_xlabel("classes by rank (%), best right")
    deviation.set_ylabel("st. dev. of seeds (points)")

    errors = [agreement.spearman - agreement.low, agreement.high - agreement.spearman]
    correlation.errorbar(
        agreement.share, agreement.spearman, errors, color=BLUE, marker="o", markersize=3, elinewidth=0.6,
        label="bar: 95 % interval",
    )  # fmt: skip
    correlation.legend()
    correlation.axhline(0, color=GREY, linewidth=0.6)
    correlation.set_ylim(-0.25, 1.03)
    correlation.set_ylabel("Spearman of two seeds")
    only_the_best(correlation)
    correlation.set_xlabel("only the best … % (log)")

    levels = levels.sort_values("flops")
    millions = levels.flops / 1e6
    costs.vlines(millions, levels.low, levels.high, color=BLUE, alpha=0.35, linewidth=2.2, label="5 to 95 %")
    costs.plot(millions, levels["median"], "o", color=BLUE, markersize=2.5, label="median")
    costs.plot(
        millions, levels.best.cummax(), color=INK, linewidth=1, drawstyle="steps-post", label="best up to this cost"
    )
    costs.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    costs.set_xlabel("MFLOPs")
    costs.set_ylabel("test accuracy (%)")
    costs.legend(loc="lower right")

    grid = effects.pivot(index="edge", columns="operation", values="places")
    grid = grid.loc[effects.edge.unique(), effects.operation.unique()]
    limit = effects.places.abs().max()
    heat(table, grid, -limit, limit, "PuOr", lambda value: f"{round(value):+d}".replace("-", "−"))
    table.set_ylabel("edge")
    table.set_xlabel("mean rank minus 50 (percent)")

    trust.plot(shared.shared, shared.from_scratch, ".", color=BLUE, markersize=3, alpha=0.7)
    trust.set_xlabel("accuracy, shared weights (%)")
    trust.set_ylabel("accuracy, from scratch (%)")
    last_row = ("What FLOPs buy", "What operations do", "digits-enas, trained")
    letter(axes, ["Accuracy", "Noise of a class", "Do two seeds agree?", *last_row])
    return figure


NOTEBOOK = "01c_bundled_tables"
PARTS = ("histogram", "noise", "agreement", "levels", "effects", "shared")
FIGURES: dict[str, StoredFigure] = {"bundled": (tuple(f"digits_{part}" for part in PARTS), bundled_tables)}
