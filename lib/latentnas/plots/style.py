"""One style for all figures: sizes, palette, fonts."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import chain, cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

COLUMN, DOUBLE = 3.5, 7.16  # inches: the width of one and of two columns of a two-column paper
INK, GREY, PALE = "#222222", "#6B6B6B", "#B0B0B0"

# The palette of Okabe and Ito (2008), told apart by readers with any common colour blindness.
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"

METHOD_COLOURS = {
    "NGAE": BLUE,
    "NGAE without complexity predictor": VERMILLION,
    "D-VAE": GREEN,
    "D-VAE + BO": GREEN,
    "D-VAE, sparse GP": GREEN,
    "random search": GREY,
    "regularised evolution": ORANGE,
    "local search": GREEN,
    "REINFORCE": PURPLE,
    "Gaussian process": SKY,
    "path-feature ensemble": BLUE,
    "SVGe": VERMILLION,
    "DGMG": PURPLE,
    "GCN": YELLOW,
    "arch2vec": INK,
    "CR-LSO": VERMILLION,
    "CR-LSO, fewer labels": SKY,
    "CR-LSO as released": PURPLE,
    "CR-LSO, ensemble": GREEN,
    "uniform cells": GREY,
    "random cells": GREY,
    "random sharing": SKY,
    "SPOS": PURPLE,
    "DARTS": ORANGE,
    "GDAS": GREEN,
    "E2NAS": VERMILLION,
    "E2NAS as released": PURPLE,
    "no complementation": BLUE,
}
OTHER_COLOURS = (ORANGE, PURPLE, SKY, INK, YELLOW)  # methods not named above, in order of appearance
MARKERS = "osD^vPX*"

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same letters
    "font.size": 8,
    "axes.titlesize": 8,
    "figure.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 120,
    "pdf.fonttype": 42,  # TrueType: text in the PDF can be searched and edited
}


def styled(function: Callable) -> Callable:
    """Run a figure function under the one style, whatever the caller's matplotlib settings are."""

    @wraps(function)
    def drawn(*arguments, **options):
        with plt.rc_context({**plt.rcParamsDefault, **STYLE, "backend": plt.rcParams["backend"]}):
            return function(*arguments, **options)

    return drawn


def new_figure(
    height: float, columns: int = 1, rows: int = 1, width: float = DOUBLE, **options
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes `[rows, columns]` of `width` x `height` inches."""
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)


def colours_of(methods: Iterable[str]) -> dict[str, str]:
    """A colour for every method: fixed for those named above, in order of appearance for the rest. The first five of
    these are easy to tell apart."""
    others = [method for method in dict.fromkeys(methods) if method not in METHOD_COLOURS]
    more = chain(OTHER_COLOURS, cycle(to_hex(colour) for colour in plt.colormaps["tab20"].colors))
    return {**METHOD_COLOURS, **dict(zip(others, more))}


def rows_of(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame itself.

    Raises:
        ValueError: a column is missing, or there is no row.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"This figure needs the columns {', '.join(columns)}, but {', '.join(missing)} is missing: the table has "
            f"{', '.join(map(str, frame.columns))}. Run the notebook again to store the table anew."
        )
    if frame.empty:
        raise ValueError(f"This figure needs a table of {', '.join(columns)}, but the table has no rows.")
    return frame


def letter(axes: Sequence[Axes] | np.ndarray, titles: Iterable[str]) -> None:
    """Panel titles (a), (b), ... in reading order."""
    for number, (ax, title) in enumerate(zip(np.ravel(axes), titles)):
        ax.set_title(f"({'abcdefghijkl'[number]})  {title}")


def signed(value: float) -> str:
    """A number with two digits and its sign, with the long minus that axes have."""
    return f"{value:+.2f}".replace("-", "−")


def pareto_front(cost: ArrayLike, value: ArrayLike) -> np.ndarray:
    """The points `[k, 2]` that no other point beats in both: least cost first, value rising."""
    points = np.column_stack([cost, value])
    points = points[np.lexsort((-points[:, 1], points[:, 0]))]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(points[:, 1])[:-1]])
    return points[points[:, 1] > best_before]
