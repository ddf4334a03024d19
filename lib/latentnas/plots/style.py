"""One style for all figures: sizes, palette, fonts."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import chain, cycle
from string import ascii_lowercase
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike

COLUMN, DOUBLE = 3.5, 7.16  # inches: the width of one and of two columns of a two-column paper
INK, GREY, PALE = "#222222", "#6B6B6B", "#B0B0B0"

# The palette of Okabe and Ito (2008), told apart by readers with any common colour blindness.
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
# Five more, found by search: each differs from all above, INK and GREY, and from one another by at least 25 (CIE 1976)
# in normal vision and, simulated, without red, green or blue cones.
INDIGO, MAROON, VIOLET, PLUM, MOSS = "#4400DD", "#880000", "#AA55FF", "#662266", "#99BB66"

METHOD_COLOURS = {  # one colour for a method in all figures; methods with the same one never stand in one figure
    method: colour
    for colour, methods in {
        BLUE: ("NGAE", "path-feature ensemble", "no complementation"),
        VERMILLION: (
            *("NGAE without complexity predictor", "CR-LSO", "E2NAS"),
            *("SVGe", "SVGe, fine-tuned", "ensemble on SVGe"),
        ),
        GREEN: (*("D-VAE", "D-VAE + BO", "D-VAE, sparse GP", "local search", "CR-LSO, ensemble", "GDAS"), "complexity"),
        GREY: (
            *("random search", "uniform cells", "random cells", "random", "drawn at random", "drawn uniformly"),
            "random rows of the table",
        ),
        ORANGE: ("regularised evolution", "DARTS", "NAO", "NGAE, training error"),
        PURPLE: ("REINFORCE", "DGMG", "CR-LSO as released", "SPOS", "SVGe, codes", "NGAE, unseen flags"),
        SKY: ("Gaussian process", "CR-LSO, fewer labels", "random sharing", "path features", "best known"),
        YELLOW: ("GCN", "unbalanced"),
        INK: (
            *("boosting", "plain features, boosting", "boosting on path features"),
            *("one-hot", "NASWOT", "NGAE, published"),
        ),
        INDIGO: ("arch2vec", "ensemble on NGAE, numbered", "no exploration", "best trade-offs", "all flags, cheapest"),
        MAROON: ("graph features", "gradient norm"),
        VIOLET: ("GraphRNN", "ensemble on NGAE", "neither", "D-VAE + GP ascent"),
        PLUM: ("S-VAE", "ensemble on NGAE, convex", "as released"),
        MOSS: ("most parameters", "random projection", "ensemble, choices alone", "D-VAE, random in the box"),
    }.items()
    for method in methods
}
OTHER_COLOURS = (ORANGE, PURPLE, SKY, INK, YELLOW)  # methods not named above, in order of appearance
MARKERS = "osD^vPX*"

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same letters
    **dict.fromkeys(["font.size", "axes.titlesize", "figure.titlesize", "axes.labelsize"], 8),
    **dict.fromkeys(["xtick.labelsize", "ytick.labelsize", "legend.fontsize"], 7),
    **dict.fromkeys(["text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"], INK),
    **dict.fromkeys(["axes.edgecolor", "xtick.color", "ytick.color"], GREY),
    **dict.fromkeys(["axes.linewidth", "xtick.major.width", "ytick.major.width"], 0.6),
    **dict.fromkeys(["xtick.minor.width", "ytick.minor.width"], 0.4),
    **dict.fromkeys(["axes.spines.top", "axes.spines.right", "legend.frameon"], False),
    **dict.fromkeys(["figure.facecolor", "savefig.facecolor"], "white"),
    "axes.titlelocation": "left",
    "lines.linewidth": 1.4,
    "legend.handlelength": 1.6,
    "figure.dpi": 120,
    "pdf.fonttype": 42,  # TrueType: text in the PDF can be searched and edited
}


def styled(function: Callable) -> Callable:
    """Run a figure function under the one style, whatever the caller's matplotlib settings are."""

    @wraps(function)
    def drawn(*arguments: Any, **options: Any) -> Any:
        with plt.rc_context({**plt.rcParamsDefault, **STYLE, "backend": plt.rcParams["backend"]}):
            return function(*arguments, **options)

    return drawn


class SteadyLayout(ConstrainedLayoutEngine):
    """Constrained layout without its last digits, which a PDF shows and which differ from one run to the next."""

    def execute(self, fig: Figure) -> None:
        super().execute(fig)
        for part in fig.subfigs:
            part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), 9))
        for axes in [axes for axes in fig.axes if axes.get_in_layout()]:
            axes.set_position(np.round(axes.get_position(original=True).bounds, 9), which="original")
            axes.set_in_layout(True)  # setting a position takes it out


def new_figure(
    height: float, columns: int = 1, rows: int = 1, width: float = DOUBLE, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes `[rows, columns]` of `width` x `height` inches."""
    return plt.subplots(rows, columns, figsize=(width, height), layout=SteadyLayout(), squeeze=False, **options)


def colours_of(methods: Iterable[str]) -> dict[str, str]:
    """A colour for every method: fixed for those named above, in order of appearance for the rest."""
    methods = list(dict.fromkeys(methods))
    others = [method for method in methods if method not in METHOD_COLOURS]
    taken = {METHOD_COLOURS[method] for method in methods if method in METHOD_COLOURS}
    more = chain(
        (colour for colour in OTHER_COLOURS if colour not in taken),
        cycle(to_hex(colour) for colour in plt.colormaps["tab20"].colors),
    )
    return {**METHOD_COLOURS, **dict(zip(others, more))}


class OlderTable(ValueError):
    """A table that an older version of its notebook stored, and that its figure can no longer show."""


def rows_of(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame itself; OlderTable where a column is missing, or there is no row."""
    missing = [column for column in columns if column not in frame.columns]
    if missing or frame.empty:
        fault = f"{', '.join(missing)} is missing" if missing else "the table has no rows"
        found = f"but {fault}: the table has {', '.join(map(str, frame.columns))}"
        raise OlderTable(f"This figure needs the columns {', '.join(columns)}, {found}. Run the notebook again.")
    return frame


def letter(axes: Sequence[Axes] | np.ndarray, titles: Iterable[str]) -> None:
    """Panel titles in reading order, after (a), (b), ... where there are several panels."""
    axes = np.ravel(axes)
    for number, (ax, title) in enumerate(zip(axes, titles)):
        ax.set_title(f"({ascii_lowercase[number]})  {title}" if len(axes) > 1 else title)


def signed(value: float) -> str:
    """A number with two digits and its sign, with the long minus that axes have."""
    return f"{value:+.2f}".replace("-", "−")


def pareto_front(cost: ArrayLike, value: ArrayLike) -> np.ndarray:
    """The points `[k, 2]` with a higher value than all that cost as much or less: least cost first, value rising."""
    points = np.column_stack([cost, value])
    points = points[~np.isnan(points).any(axis=1)]
    points = points[np.lexsort((-points[:, 1], points[:, 0]))]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(points[:, 1])[:-1]])
    return points[points[:, 1] > best_before]
