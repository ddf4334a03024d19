"""Figures drawn by one notebook each, one module for the figures of one notebook.

A figure function takes DataFrames and returns a matplotlib figure; `save` writes it for reading (PNG) and for papers
(PDF). Accuracies come as fractions and are shown in percent; FLOPs are shown in millions. A module with a `NOTEBOOK`
and `FIGURES` is found by `companion.figures.redraw`, which draws everything anew from stored tables.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from companion import paths
from latentnas.plots.style import OlderTable, styled

if TYPE_CHECKING:
    from companion.claims import Results

logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns that the fonts of a PDF have no date

StoredFigure = tuple[tuple[str, ...], Callable[..., Figure]]  # names of stored tables, function of these tables


@styled
def save(figure: Figure, name: str, profile: str, data_source: str) -> Figure:
    """Write figures/<profile>/<name>.png (200 dpi) and .pdf with the profile and data source in the foot. The source is
    the gid of the figure, where it has one: that of a function which always draws the same table.

    The same figure gives the same bytes: no dates, no versions. Its label, if it has one, is its alt text in both.

    Returns:
        The figure, which shows it in a notebook when this is the last line of a cell.
    """
    _stamp(figure, f"profile {profile} · {figure.get_gid() or data_source}")
    folder, alt = paths.FIGURES / profile, figure.get_label() or None
    with paths.atomic_write(folder / f"{name}.png") as file:
        figure.savefig(file, dpi=200, metadata={"Software": None, "Description": alt})
    with paths.atomic_write(folder / f"{name}.pdf") as file:
        nothing = dict.fromkeys(["CreationDate", "Creator", "Producer"])
        figure.savefig(file, dpi=200, metadata=nothing | {"Subject": alt})
    plt.close(figure)
    return figure


def show(results: "Results", figures: Mapping[str, StoredFigure], name: str, *tables: pd.DataFrame, alt: str) -> None:
    """Store the tables of a figure, draw it from what was stored, and show it in a notebook.

    Without tables it is drawn from the stored results of the profile `recommended`, and says so; where these are of an
    older form, a sentence stands in its place.

    Args:
        alt: What the figure shows, for readers who do not see it.
    """
    frames, draw = figures[name]
    if tables:
        files = [results.frame(frame, table) for frame, table in zip(frames, tables, strict=True)]
        figure = draw(*map(pd.read_csv, files))
        save(figure, f"{results.notebook}_{name}", results.profile, results.data_source)
    else:
        kept = [stored(results.notebook, frame) for frame in frames]
        if any(table.empty for table in kept):
            print(f"The figure {name} needs the public table: give data_source=public.")
            return
        try:
            figure = draw(*kept)
        except OlderTable:
            print(
                f"The figure {name} is left out: the stored run of recommended is of an older version of this notebook."
            )
            return
        _stamp(figure, f"stored run: profile recommended · {figure.get_gid() or 'public'}")
        plt.close(figure)
    display(figure, metadata={"image/png": {"alt": alt}})


def stored(notebook: str, frame: str) -> pd.DataFrame:
    """A table that this project has stored of a notebook under `recommended`; empty where it has not."""
    file = paths.ROOT / "data/results/recommended" / notebook / f"{frame}.csv"
    return pd.read_csv(file) if file.is_file() else pd.DataFrame({"table": []})


def show_stored(table: pd.DataFrame) -> None:
    """Show a table made of the stored run of `recommended`, and say so."""
    if not table.empty:
        print("stored run of the profile recommended:")
        display(table)


@styled
def _stamp(figure: Figure, text: str) -> None:
    """A line in the foot, on a strip of 0.17 inches."""
    foot = 0.17 / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
    place = (1 - 0.04 / figure.get_figwidth(), 0.3 * foot)
    figure.text(*place, text, ha="right", va="bottom", fontsize=5.5, color="#8A8A8A")
