"""The figure of notebook 11: how well each method predicts the labels of two ENAS tables."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from companion.figures import StoredFigure
from latentnas.plots.style import GREY, PALE, colours_of, letter, new_figure, rows_of, styled

NOTEBOOK = "11_enas_labels"
KINDS = {  # of methods: words for the legend, marker
    "plain": ("plain inputs", "s"),
    "codes": ("encoders, a colour each (hollow: untrained)", "o"),
    "published": ("published", "D"),
}
LINES = {"boosting, flags": "-", "boosting, flags + operations": "--"}  # the baselines to pass


@styled
def method_errors(errors: pd.DataFrame) -> Figure:
    """The test error of every method, a panel a test set, with two plain methods as lines to pass. One axis for all.
    Encoders and boosting have their colours, other methods are grey.

    Columns, one row a method and test set: panel (words), method, kind (of `KINDS`), rmse_std, low, high (the ends of
    its 95 % interval, empty where there is none).
    """
    errors = rows_of(errors, "panel", "method", "kind", "rmse_std", "low", "high")
    kinds = [kind for kind in KINDS if kind in errors.kind.unique()]
    names = list(dict.fromkeys(name for kind in kinds for name in errors.method[errors.kind == kind]))
    panels = list(errors.groupby("panel", sort=False))
    colours = colours_of(name.split(",")[0] for name in errors.method[errors.kind == "codes"])
    figure, axes = new_figure(0.9 + 0.16 * len(names), columns=len(panels), sharex=True, sharey=True)
    for ax, (_, rows) in zip(axes[0], panels):
        known = rows.set_index("method")["rmse_std"]
        for method, style in LINES.items():
            ax.axvline(known[method], color=colours["boosting"], linestyle=style, linewidth=0.9, label=method, zorder=1)
        for row in rows.itertuples():
            place, name, untrained = names.index(row.method), row.method.split(",")[0], row.method.endswith("untrained")
            look = {"color": colours.get(name, GREY), "zorder": 3}
            ax.hlines(place, row.low, row.high, linewidth=1.3, **look)
            ax.plot(row.rmse_std, place, KINDS[row.kind][1], markersize=3.4, mfc="w" if untrained else None, **look)
        ax.set(xscale="log", xlabel="RMSE (train st. dev., log)" if len(panels) < 4 else "RMSE (log)")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 5, 7) if len(panels) == 1 else (1, 2, 5)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(axis="y", color=PALE, linewidth=0.3)
        ax.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    letter(axes, [panel.replace(" (", "\n(") if len(panels) > 3 else panel for panel, _ in panels])
    handles, words = axes[0, 0].get_legend_handles_labels()
    handles += [Line2D([], [], color=GREY, marker=KINDS[kind][1], markersize=3.4, ls="none") for kind in kinds]
    handles.append(Line2D([], [], color=GREY, linewidth=1.3))
    words += [*(KINDS[kind][0] for kind in kinds), "bar: 95 % interval"]
    figure.legend(handles, words, loc="outside upper left", ncols=3)
    return figure


FIGURES: dict[str, StoredFigure] = {"errors": (("errors",), method_errors)}
