"""Every figure of the companion in one style, drawn from plain tables.

A figure function takes DataFrames and returns a matplotlib figure; `save` writes it for reading (PNG) and for
papers (PDF). `FIGURES` names the stored tables behind each one, so that `redraw` makes all figures of a
profile anew without any training. Accuracies come as fractions and are shown in percent; FLOPs are shown in
millions.
"""

from functools import partial

import matplotlib.pyplot as plt
import pandas as pd

from companion import paths
from companion.claims import load_results
from companion.figures.crlso import crlso_ablations, crlso_convexity, crlso_latent_map
from companion.figures.digits import bundled_tables
from companion.figures.e2nas import one_shot_again, one_shot_curves, one_shot_found, one_shot_lists, shared_weights
from companion.figures.extrapolation import deeper_architectures, larger_cells, unseen_operation
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
from companion.figures.ngae import (
    accuracy_flops_front,
    ngae_ascent,
    ngae_latent_map,
    ngae_predictor_scatter,
    ngae_rmse_curve,
    ngae_top_cells,
    ngae_training_curves,
    shared_and_from_scratch,
)
from companion.figures.spaces import space_accuracy, space_cells, space_costs
from companion.figures.svge import svge_prediction, svge_quality, svge_smoothness
from latentnas.plots.search import incumbent_curves, optimum_found
from latentnas.plots.style import styled
from latentnas.spaces.nasbench101 import NASBENCH101

FIGURES = {  # figure: (notebook, names of its stored tables, function of those tables)
    "walk": ("00_start_here", ("walk",), space_cells),
    "improve": ("00_start_here", ("improve",), space_cells),
    "enas_accuracy": ("01_search_spaces", ("enas_histogram", "enas_skips", "enas_effects"), space_accuracy),
    "enas_costs": ("01_search_spaces", ("enas_density", "enas_correlations"), space_costs),
    "enas_cells": ("01_search_spaces", ("enas_cells",), space_cells),
    "nb201_views": ("01_search_spaces", ("nb201_views",), nb201_views),
    "nb201_accuracy": ("01_search_spaces", ("nb201_histogram", "nb201_optima"), nb201_accuracy),
    "nb201_noise": ("01_search_spaces", ("nb201_runs", "nb201_agreement", "nb201_spread"), nb201_noise),
    "nb201_correlations": ("01_search_spaces", ("nb201_correlations", "nb201_best"), nb201_correlations),
    "nb201_effects": ("01_search_spaces", ("nb201_effects",), nb201_effects),
    "nb201_costs": ("01_search_spaces", ("nb201_costs",), nb201_costs),
    "nb201_cells": ("01_search_spaces", ("nb201_cells",), nb201_cells),
    "nb101_numberings": ("01_search_spaces", ("nb101_numberings",), nb101_numberings),
    "nb101_sizes": ("01_search_spaces", ("nb101_sizes", "nb101_params"), nb101_sizes),
    "nb101_accuracy": ("01_search_spaces", ("nb101_histogram", "nb101_density", "nb101_vertices"), nb101_accuracy),
    "nb101_cells": ("01_search_spaces", ("nb101_cells",), partial(space_cells, space=NASBENCH101)),
    "bundled": (
        "01_search_spaces",
        tuple(f"digits_{name}" for name in ("histogram", "noise", "agreement", "levels", "effects", "shared")),
        bundled_tables,
    ),
    "training_curves": ("02_ngae_latent_space", ("history",), ngae_training_curves),
    "latent_map": ("02_ngae_latent_space", ("points",), ngae_latent_map),
    "predictor_scatter": ("03_ngae_predictor", ("predictions",), ngae_predictor_scatter),
    "rmse_curve": ("03_ngae_predictor", ("curve",), ngae_rmse_curve),
    "ascent": ("03_ngae_predictor", ("trajectories",), ngae_ascent),
    "top_cells": ("04_ngae_architectures", ("cells",), ngae_top_cells),
    "truth": ("04_ngae_architectures", ("truth",), shared_and_from_scratch),
    "front": ("04_ngae_architectures", ("points",), accuracy_flops_front),
    "quality": ("05_svge", ("quality",), svge_quality),
    "smoothness": ("05_svge", ("lines",), svge_smoothness),
    "prediction": ("05_svge", ("prediction",), svge_prediction),
    "latent_searches": ("06_extrapolation", ("curves",), incumbent_curves),
    "larger_cells": ("06_extrapolation", ("density", "first_k"), larger_cells),
    "unseen_operation": ("06_extrapolation", ("held_out",), unseen_operation),
    "deeper": ("06_extrapolation", ("deeper",), deeper_architectures),
    "convexity": ("07_crlso", ("gaps", "ends"), crlso_convexity),
    "level_sets": ("07_crlso", ("points", "levels"), crlso_latent_map),
    "against_baselines": ("07_crlso", ("curves",), incumbent_curves),
    "optimum_met": ("07_crlso", ("found",), optimum_found),
    "ablations": ("07_crlso", ("ablations",), crlso_ablations),
    "cells_found": ("08_e2nas", ("found",), one_shot_found),
    "short_lists": ("08_e2nas", ("lists",), one_shot_lists),
    "trained_again": ("08_e2nas", ("again",), one_shot_again),
    "search_curves": ("08_e2nas", ("curves",), one_shot_curves),
    "shared_weights": ("08_e2nas", ("ranking", "forgetting"), shared_weights),
    "incumbents": ("09_benchmark", ("curves",), incumbent_curves),
    "optimum": ("09_benchmark", ("found",), optimum_found),
}


@styled
def save(figure, name, profile, data_source):
    """Writes figures/<profile>/<name>.png (200 dpi) and .pdf with the profile and data source in the foot.

    The same figure gives the same bytes: no dates, no versions. Returns the figure, which shows it in a
    notebook when this is the last line of a cell.
    """
    foot = 0.17 / figure.get_figheight()  # a strip of 0.17 inches
    figure.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
    figure.text(
        1 - 0.04 / figure.get_figwidth(), 0.3 * foot, f"profile {profile} · {data_source}", ha="right", va="bottom",
        fontsize=5.5, color="#8A8A8A",
    )  # fmt: skip
    folder = paths.FIGURES / profile
    with paths.atomic_write(folder / f"{name}.png") as file:
        figure.savefig(file, dpi=200, metadata={"Software": None})
    with paths.atomic_write(folder / f"{name}.pdf") as file:
        figure.savefig(file, dpi=200, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    plt.close(figure)
    return figure


def redraw(profile):
    """Draws every figure of the notebooks that have run under this profile from their stored tables, without
    training.

    A notebook stores the tables that its data source gave; figures of others are left out. Returns the names
    of the files written, without suffix. Raises FileNotFoundError where nothing has run or a stored table is
    gone.
    """
    results = load_results(profile)
    if not results:
        raise FileNotFoundError(
            f"There are no results of the profile '{profile}' in {paths.RESULTS / profile}, so there is nothing "
            f"to draw. Make them with ./run_all.sh --profile {profile}."
        )
    names = []
    for figure, (notebook, frames, function) in FIGURES.items():
        if notebook not in results or not set(frames) <= set(results[notebook]["frames"]):
            continue
        tables = [read_frame(profile, notebook, frame) for frame in frames]
        name = f"{notebook}_{figure}"
        save(function(*tables), name, profile, results[notebook]["data_source"])
        names.append(name)
    return names


def read_frame(profile, notebook, frame):
    """A table that a notebook stored."""
    file = paths.RESULTS / profile / notebook / f"{frame}.csv"
    if not file.is_file():
        raise FileNotFoundError(
            f"The table {file} is missing, although notebook {notebook} has run. "
            f"Run it again: ./run_all.sh --only {notebook[:2]}, with the same profile and parameters."
        )
    return pd.read_csv(file)
