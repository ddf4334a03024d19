"""What more than one notebook draws: the style, cells and search curves. Tables in, matplotlib figures out."""

from latentnas.plots.cells import draw_cell, draw_edge_labelled  # noqa: F401
from latentnas.plots.search import incumbent_curves, optimum_found  # noqa: F401
from latentnas.plots.style import new_figure, pareto_front  # noqa: F401
