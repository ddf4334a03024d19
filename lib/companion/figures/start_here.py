"""The figures of notebook 00: a walk through the latent space, and one architecture improved."""

import pandas as pd
from matplotlib.figure import Figure

from companion.figures import StoredFigure
from companion.figures.shared import space_cells


def where_it_changes(path: pd.DataFrame) -> Figure:
    """The figure `space_cells` of the architectures that differ from the one before them on a path."""
    return space_cells(path[path["arch"] != path["arch"].shift()])


NOTEBOOK = "00_start_here"
FIGURES: dict[str, StoredFigure] = {"walk": (("walk",), space_cells), "improve": (("improve",), where_it_changes)}
