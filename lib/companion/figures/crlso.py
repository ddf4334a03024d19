"""The figures of CR-LSO (notebook 07)."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from companion.figures import StoredFigure
from latentnas.plots.search import incumbent_curves, optimum_found
from latentnas.plots.style import (
    BLUE,
    GREEN,
    GREY,
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
VERDICTS = {"equivalent": (BLUE, "s"), "better": (GREEN, "o"), "worse": (VERMILLION, "D"), "undecided": (GREY, "o")}


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
    inequality.set_ylabel("Jensen gap (st. dev.; axis is\nlinear to 0.01, then logarithmic)")
    heights.set_xlabel("share of the starts")
    heights.set_ylabel("end of the ascent, from\nthe highest (st. dev.)")
    for ax in axes[0]:
        ax.xaxis.set_major_formatter(PercentFormatter(1))
    letter(axes, ["Convex where nothing is negative", "One maximum where the line is flat"])
    figure.legend(*inequality.get_legend_handles_labels(), loc="outside upper left", ncols=len(colours))
    return figure


@styled
def crlso_equivalence(rows: pd.DataFrame) -> Figure:
    """The regret of each variant less that of the full method, with the 90 % interval that two one-sided tests at 5 %
    go by; the band is what counts as no difference. Columns: variant, difference, low, high, margin (points), verdict.
    """
    rows = rows_of(rows, "variant", "difference", "low", "high", "margin", "verdict")
    figure, axes = new_figure(0.9 + 0.2 * len(rows))
    ax, margin = axes[0, 0], rows.margin.iloc[0]
    ax.axvspan(-margin, margin, color=PALE, alpha=0.35, linewidth=0)
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    for place, row in enumerate(rows.itertuples()):
        colour, marker = VERDICTS[row.verdict]
        ax.plot([row.low, row.high], [place, place], color=colour, linewidth=1.2)
        ax.plot(row.difference, place, marker, color=colour, markersize=4)
    ax.set_yticks(range(len(rows)), rows.variant)
    ax.invert_yaxis()
    ax.set_xlabel(f"regret beyond the full method's (points, 90 % interval; band: {margin:g} points, no difference)")
    handles = [ax.plot([], [], marker, color=colour, markersize=4)[0] for colour, marker in VERDICTS.values()]
    figure.legend(handles, list(VERDICTS), loc="outside upper left", ncols=len(VERDICTS))
    return figure


NOTEBOOK = "07_crlso"
FIGURES: dict[str, StoredFigure] = {
    "convexity": (("gaps", "ends"), crlso_convexity),
    "against_baselines": (("curves",), incumbent_curves),
    "optimum_met": (("found",), optimum_found),
    "equivalence": (("equivalence",), crlso_equivalence),
}
