"""The figures of notebook 00: a walk through the latent space, and one cell improved."""

from companion.figures import StoredFigure
from companion.figures.shared import space_cells

NOTEBOOK = "00_start_here"
FIGURES: dict[str, StoredFigure] = {"walk": (("walk",), space_cells), "improve": (("improve",), space_cells)}
