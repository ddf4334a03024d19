"""What more than one notebook draws: the style, cells and search curves. Tables in, matplotlib figures out."""

from latentnas.plots.cells import draw_cell
from latentnas.plots.search import incumbent_curves, optimum_found
from latentnas.plots.style import new_figure, pareto_front

__all__ = ["draw_cell", "incumbent_curves", "new_figure", "optimum_found", "pareto_front"]
