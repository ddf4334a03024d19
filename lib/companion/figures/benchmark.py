"""The figures of notebook 09: every search at equal numbers of queries."""

from companion.figures import StoredFigure
from latentnas.plots.search import incumbent_curves, optimum_found

NOTEBOOK = "09_benchmark"
FIGURES: dict[str, StoredFigure] = {
    "incumbents": (("curves",), incumbent_curves),
    "optimum": (("found",), optimum_found),
}
