"""Cells drawn as graphs: operations are boxes of one colour each in every space and figure."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike

from latentnas.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, SKY, VERMILLION, YELLOW, styled

Arc = tuple[int, int]  # a skip connection u -> v

OPERATIONS = {  # name without separators: colour of the box, its two lines of text
    "input": (GREY, "in"),
    "output": (GREY, "out"),
    "conv1x1": (YELLOW, "conv\n1×1"),
    "conv3x3": (BLUE, "conv\n3×3"),
    "conv5x5": (VERMILLION, "conv\n5×5"),
    "sepconv3x3": (SKY, "sep\n3×3"),
    "sepconv5x5": (ORANGE, "sep\n5×5"),
    "avgpool3x3": (GREEN, "avg\n3×3"),
    "maxpool3x3": (PURPLE, "max\n3×3"),
    "skipconnect": (PALE, "skip"),
    "none": (PALE, "none"),
    "skip": (PALE, "skip"),
    "gat": (ORANGE, "GAT"),
    "gcn": (BLUE, "GCN"),
    "gin": (VERMILLION, "GIN"),
    "cheb": (SKY, "Cheb"),
    "sage": (GREEN, "SAGE"),
    "arma": (PURPLE, "ARMA"),
    "graph": (YELLOW, "k-GNN"),
    "fc": (GREY, "dense"),
}

BOX_WIDTH, BOX_HEIGHT = 0.76, 0.72  # in the unit of draw_cell: the distance between two vertices
SMALLEST_CELL = 6  # cells of fewer vertices are drawn with boxes as small as if they had so many
ARC_BASE, ARC_RISE = 0.24, 0.18  # how far an arc rises above the boxes: at all, and for each vertex it passes

ARROW = dict(arrowstyle="-|>,head_length=2.2,head_width=1.2", shrinkA=0, shrinkB=0, mutation_scale=1, linewidth=0.8)


def operation_look(name: str) -> tuple[str, str]:
    """Colour and text of an operation, the same in every space whatever its separators."""
    key = name.lower().replace("-bn-relu", "").replace("nor_", "").replace("_", "").replace("-", "")
    return OPERATIONS.get(key, (PALE, name))


def arc_sides(arcs: Sequence[Arc]) -> dict[Arc, int]:
    """+1 (above) or -1 (below) for every arc (u, v) so that few arcs cross; longer arcs choose first."""
    arcs = sorted(arcs, key=lambda arc: (arc[0] - arc[1], arc))
    sides: dict[Arc, int] = {}

    def cost(arc: Arc, side: int) -> tuple[int, int]:
        beside = [other for other, chosen in sides.items() if chosen == side and other != arc]
        return sum(a < arc[0] < b < arc[1] or arc[0] < a < arc[1] < b for a, b in beside), len(beside)

    for _ in range(3):  # the later rounds let early arcs move away from late ones
        for arc in arcs:
            sides[arc] = min((1, -1), key=lambda side: cost(arc, side))
    return sides


def arc_ports(sides: dict[Arc, int]) -> dict[tuple[Arc, int], float]:
    """Where every arc leaves and enters its boxes: {(arc, vertex): offset from the middle of the box}. Arcs that arrive
    stand left of arcs that leave, and longer ones outside shorter ones, so that arcs at one box never cross."""
    ports = {}
    for vertex, side in itertools.product({vertex for arc in sides for vertex in arc}, (1, -1)):
        here = [arc for arc, chosen in sides.items() if chosen == side and vertex in arc]
        row = sorted(here, key=lambda arc: (arc[0] == vertex, -arc[0] - arc[1]))  # one end is the vertex
        gap = min(0.16, 0.56 / max(len(row), 1))
        for position, arc in enumerate(row):
            ports[arc, vertex] = (position - (len(row) - 1) / 2) * gap
    return ports


def arc_curve(start: float, end: float, side: int, span: int) -> Curve:
    """A curve from the top (or bottom) of one box to that of another that passes outside the boxes between."""
    edge = side * (BOX_HEIGHT / 2 + 0.02)
    height = edge + side * (ARC_BASE + ARC_RISE * span) * 4 / 3  # a cubic reaches three quarters of its handles
    codes = [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
    return Curve([(start, edge), (start, height), (end, height), (end, edge)], codes)


@styled
def draw_cell(ax: Axes, types: ArrayLike, adjacency: ArrayLike, type_names: Sequence[str]) -> None:
    """Draw one architecture, types `[N]` and adjacency `[N, N]` of a `DagBatch`, from left to right: boxes are
    operations, arrows the flow, arcs the skip connections. Colours depend on the name of a type alone."""
    types = [int(t) for t in types if int(t) >= 0]
    adjacency = np.asarray(adjacency, dtype=bool)
    edges = [(int(u), int(v)) for u, v in np.argwhere(adjacency[: len(types), : len(types)])]
    sides = arc_sides([(u, v) for u, v in edges if v > u + 1])
    ports = arc_ports(sides)
    for u, v in edges:
        if v == u + 1:
            path, colour = Curve([(u + BOX_WIDTH / 2, 0), (v - BOX_WIDTH / 2, 0)]), INK
        else:
            path, colour = arc_curve(u + ports[(u, v), u], v + ports[(u, v), v], sides[u, v], v - u), GREY
        ax.add_patch(FancyArrowPatch(path=path, color=colour, gid=f"edge {u} {v}", **ARROW))
    for vertex, vertex_type in enumerate(types):
        draw_box(ax, vertex, type_names[vertex_type])
    reach = max((ARC_BASE + ARC_RISE * (v - u) for u, v in sides), default=0)
    middle, half = (len(types) - 1) / 2, max(len(types), SMALLEST_CELL) / 2
    height = BOX_HEIGHT / 2 + reach + 0.1
    ax.set(xlim=(middle - half, middle + half), ylim=(-height, height), aspect="equal")
    ax.axis("off")


def draw_box(ax: Axes, x: float, name: str, y: float = 0.0) -> None:
    """The box of an operation around (x, y)."""
    colour, text = operation_look(name)
    fill = tuple(0.62 + 0.38 * channel for channel in to_rgb(colour))
    look = dict(boxstyle="round,pad=0,rounding_size=0.12", facecolor=fill, edgecolor=colour, linewidth=0.9)
    corner = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    ax.add_patch(FancyBboxPatch(corner, BOX_WIDTH, BOX_HEIGHT, gid=f"vertex {name}", **look))
    # Letters as outlines in the unit of the boxes: they fit at any size of the figure.
    lines = text.split("\n")
    for number, line in enumerate(lines):
        draw_letters(ax, x, y + (len(lines) - 1) / 2 * 0.29 - number * 0.29, line, 0.9 * BOX_WIDTH)


def draw_letters(ax: Axes, x: float, y: float, text: str, width: float) -> None:
    """One line of text around (x, y), no wider than `width`."""
    outline = TextPath((0, 0), text, size=0.28)
    extent = outline.get_extents()
    scale = min(1.0, width / extent.width)
    placed = Affine2D().scale(scale).translate(x - scale * (extent.x0 + extent.width / 2), y - 0.1)
    ax.add_patch(PathPatch(outline.transformed(placed), facecolor=INK, linewidth=0))
