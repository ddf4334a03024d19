"""Figures drawn by one notebook each, one module for the figures of one notebook.

A figure function takes DataFrames and returns a matplotlib figure; `save` writes it for reading (PNG) and for papers
(PDF). Accuracies come as fractions and are shown in percent; FLOPs are shown in millions. A module with a `NOTEBOOK`
and `FIGURES` is found by `companion.figures.redraw`, which draws everything anew from stored tables.
"""

from collections.abc import Callable

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from companion import paths
from latentnas.plots.style import styled

StoredFigure = tuple[tuple[str, ...], Callable[..., Figure]]  # names of stored tables, function of these tables


@styled
def save(figure: Figure, name: str, profile: str, data_source: str) -> Figure:
    """Write figures/<profile>/<name>.png (200 dpi) and .pdf with the profile and data source in the foot.

    The same figure gives the same bytes: no dates, no versions. Its label, if it has one, is its alt text in both.

    Returns:
        The figure, which shows it in a notebook when this is the last line of a cell.
    """
    foot = 0.17 / figure.get_figheight()  # a strip of 0.17 inches
    figure.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
    figure.text(
        1 - 0.04 / figure.get_figwidth(), 0.3 * foot, f"profile {profile} · {data_source}", ha="right", va="bottom",
        fontsize=5.5, color="#8A8A8A",
    )  # fmt: skip
    folder, alt = paths.FIGURES / profile, figure.get_label() or None
    with paths.atomic_write(folder / f"{name}.png") as file:
        figure.savefig(file, dpi=200, metadata={"Software": None, "Description": alt})
    with paths.atomic_write(folder / f"{name}.pdf") as file:
        nothing = dict.fromkeys(["CreationDate", "Creator", "Producer"])
        figure.savefig(file, dpi=200, metadata=nothing | {"Subject": alt})
    plt.close(figure)
    return figure
