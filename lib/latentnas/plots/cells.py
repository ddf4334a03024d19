"""Cells drawn as graphs: operations are boxes of one colour each in every space and figure."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch
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
    "gat": (ORANGE, "gat"),
    "gcn": (BLUE, "gcn"),
    "gin": (VERMILLION, "gin"),
    "cheb": (SKY, "cheb"),
    "sage": (GREEN, "sage"),
    "arma": (PURPLE, "arma"),
    "graph": (YELLOW, "graph"),
    "fc": (GREY, "fc"),
}

BOX_WIDTH, BOX_HEIGHT = 0.76, 0.72  # in the unit of draw_cell: the distance between two vertices
SMALLEST_CELL = 6  # cells of fewer vertices are drawn with boxes as small as if they had so many
ARC_BASE, ARC_RISE = 0.24, 0.18  # how far an arc rises above the boxes: at all, and for each vertex it passes

NODE_STEP, NODE_RADIUS = 1.75, 0.26  # of draw_edge_labelled, in the same unit
# How far the box of an edge stands above the row of nodes, by the length of the edge and its first node.
EDGE_HEIGHTS = {(1, 0): 0.0, (1, 1): 0.0, (1, 2): 0.0, (2, 0): 0.9, (2, 1): -0.9, (3, 0): 1.8}

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


@styled
def draw_edge_labelled(ax: Axes, cell: ArrayLike, operation_names: Sequence[str]) -> None:
    """Draw a NAS-Bench-201 cell as it is defined: four nodes in a row, on each edge u -> v the box of its operation
    `cell[u, v]`, int `[4, 4]` with -1 for no edge; edges of `none` are dashed."""
    for u, v in np.argwhere(np.asarray(cell) >= 0).tolist():
        name = operation_names[cell[u, v]]
        colour, style = (PALE, (0, (2, 2))) if name == "none" else (INK, "solid")
        height, middle = EDGE_HEIGHTS[v - u, u], NODE_STEP * (u + v) / 2
        into_box, out_of_box = edge_curves(NODE_STEP * u, NODE_STEP * v, middle, height)
        ax.add_patch(PathPatch(into_box, facecolor="none", edgecolor=colour, linestyle=style, linewidth=0.8))
        ax.add_patch(FancyArrowPatch(path=out_of_box, gid=f"edge {u} {v}", color=colour, linestyle=style, **ARROW))
        draw_box(ax, middle, name, height)
    for node, text in enumerate(("in", "1", "2", "out")):
        ax.add_patch(Circle((NODE_STEP * node, 0), NODE_RADIUS, facecolor="white", edgecolor=GREY, linewidth=0.9))
        draw_letters(ax, NODE_STEP * node, 0, text, 1.5 * NODE_RADIUS)
    ylim = EDGE_HEIGHTS[2, 1] - 0.5, EDGE_HEIGHTS[3, 0] + 0.5
    ax.set(xlim=(-0.5, 3 * NODE_STEP + 0.5), ylim=ylim, aspect="equal")
    ax.axis("off")


def edge_curves(start: float, end: float, middle: float, height: float) -> tuple[Curve, Curve]:
    """From the node at `start` to the box at (`middle`, `height`), and from there to the node at `end`."""
    left, right = middle - BOX_WIDTH / 2, middle + BOX_WIDTH / 2
    if height == 0:
        return Curve([(start + NODE_RADIUS, 0), (left, 0)]), Curve([(right, 0), (end - NODE_RADIUS, 0)])
    rim = NODE_RADIUS if height > 0 else -NODE_RADIUS
    codes = [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3]
    into_box, out_of_box = [(start, rim), (start, height), (left, height)], [(right, height), (end, height), (end, rim)]
    return Curve(into_box, codes), Curve(out_of_box, codes)
