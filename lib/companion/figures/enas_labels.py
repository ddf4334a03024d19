"""The figure of notebook 11: how well each method predicts the labels of two ENAS tables."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from companion.figures import StoredFigure
from latentnas.plots.style import BLUE, GREY, INK, ORANGE, PALE, VERMILLION, letter, new_figure, rows_of, styled

NOTEBOOK = "11_enas_labels"
KINDS = {  # of methods: words for the legend, colour, marker
    "plain": ("plain inputs (bars: 95 % interval)", BLUE, "s"),
    "codes": ("encoders", VERMILLION, "o"),
    "published": ("published", INK, "D"),
}
LINES = {"boosting, flags": (ORANGE, "-"), "boosting, flags + operations": (GREY, "--")}  # the marks to pass


@styled
def method_errors(errors: pd.DataFrame) -> Figure:
    """The test error of every method, a panel a test set, with two plain methods as lines to pass. One axis for all.

    Columns, one row a method and test set: panel (words), method, kind (of `KINDS`), rmse_std, low, high (the ends of
    its 95 % interval, empty where there is none).
    """
    errors = rows_of(errors, "panel", "method", "kind", "rmse_std", "low", "high")
    names = list(dict.fromkeys(name for kind in KINDS for name in errors.method[errors.kind == kind]))
    panels = list(errors.groupby("panel", sort=False))
    figure, axes = new_figure(0.9 + 0.16 * len(names), columns=len(panels), sharex=True, sharey=True)
    for ax, (_, rows) in zip(axes[0], panels):
        known = rows.set_index("method")["rmse_std"]
        for method, (colour, style) in LINES.items():
            ax.axvline(known[method], color=colour, linestyle=style, linewidth=1, label=method, zorder=1)
        for kind in errors.kind.unique():
            words, colour, marker = KINDS[kind]
            part = rows[rows.kind == kind]
            places = part.method.map(names.index)
            ax.hlines(places, part.low, part.high, color=colour, linewidth=1.5, zorder=2)
            ax.plot(part.rmse_std, places, marker, color=colour, markersize=3, label=words, linestyle="none", zorder=3)
        ax.set(xscale="log", xlabel="RMSE (train st. dev., log)" if len(panels) < 4 else "RMSE (log)")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 5, 7) if len(panels) == 1 else (1, 2, 5)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(axis="y", color=PALE, linewidth=0.3)
        ax.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    letter(axes, [panel.replace(" (", "\n(") if len(panels) > 3 else panel for panel, _ in panels])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


FIGURES: dict[str, StoredFigure] = {"errors": (("errors",), method_errors)}
