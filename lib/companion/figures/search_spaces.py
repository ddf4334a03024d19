"""The figures of notebook 01: search spaces and tables of accuracies."""

from functools import partial

from companion.figures import StoredFigure
from companion.figures.digits import bundled_tables
from companion.figures.enas import space_accuracy, space_costs
from companion.figures.nasbench import (
    nb101_accuracy,
    nb101_numberings,
    nb101_sizes,
    nb201_accuracy,
    nb201_cells,
    nb201_correlations,
    nb201_costs,
    nb201_effects,
    nb201_noise,
    nb201_views,
)
from companion.figures.shared import space_cells
from latentnas.spaces.nasbench101 import NASBENCH101

NOTEBOOK = "01_search_spaces"
FIGURES: dict[str, StoredFigure] = {
    "enas_accuracy": (("enas_histogram", "enas_skips", "enas_effects"), space_accuracy),
    "enas_costs": (("enas_density", "enas_correlations"), space_costs),
    "enas_cells": (("enas_cells",), space_cells),
    "nb201_views": (("nb201_views",), nb201_views),
    "nb201_accuracy": (("nb201_histogram", "nb201_optima"), nb201_accuracy),
    "nb201_noise": (("nb201_runs", "nb201_agreement", "nb201_spread"), nb201_noise),
    "nb201_correlations": (("nb201_correlations", "nb201_best"), nb201_correlations),
    "nb201_effects": (("nb201_effects",), nb201_effects),
    "nb201_costs": (("nb201_costs",), nb201_costs),
    "nb201_cells": (("nb201_cells",), nb201_cells),
    "nb101_numberings": (("nb101_numberings",), nb101_numberings),
    "nb101_sizes": (("nb101_sizes", "nb101_params"), nb101_sizes),
    "nb101_accuracy": (("nb101_histogram", "nb101_density", "nb101_vertices"), nb101_accuracy),
    "nb101_cells": (("nb101_cells",), partial(space_cells, space=NASBENCH101)),
    "bundled": (
        tuple(f"digits_{name}" for name in ("histogram", "noise", "agreement", "levels", "effects", "shared")),
        bundled_tables,
    ),
}
