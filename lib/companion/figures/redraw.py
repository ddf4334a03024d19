"""All figures of a profile drawn anew from stored tables, without any training. No notebook imports this module."""

import importlib
import pkgutil
import sys

import pandas as pd

import companion.figures
from companion import paths
from companion.claims import load_results
from companion.figures import StoredFigure, save
from companion.notebooks import number_of
from latentnas.plots.style import OlderTable


def stored_figures() -> dict[tuple[str, str], StoredFigure]:
    """The figures of every module beside this one, by (notebook, figure)."""
    found = {}
    for module in pkgutil.iter_modules(companion.figures.__path__, "companion.figures."):
        content = vars(importlib.import_module(module.name))
        found |= {(content["NOTEBOOK"], figure): stored for figure, stored in content.get("FIGURES", {}).items()}
    return found


def redraw(profile: str) -> list[str]:
    """Draw every figure of the notebooks that have run under this profile.

    A notebook stores the tables that its data source gave; figures of others are left out. So are those of tables of an
    older form, which are named on stderr and keep their files.

    Returns:
        Names of the files written, without suffix.

    Raises:
        FileNotFoundError: Nothing has run, or a stored table is gone.
    """
    results = load_results(profile)
    if not results:
        raise FileNotFoundError(
            f"There are no results of the profile '{profile}' in {paths.RESULTS / profile}, so there is nothing "
            f"to draw. Make them with ./run_all.sh --profile {profile}."
        )
    names = []
    for (notebook, figure), (frames, function) in stored_figures().items():
        if notebook not in results or not set(frames) <= set(results[notebook]["frames"]):
            continue
        tables = [_stored_table(profile, notebook, frame) for frame in frames]
        name = f"{notebook}_{figure}"
        try:
            drawn = function(*tables)
        except OlderTable as error:
            what = f"figures/{profile}/{name} stays as it is: its stored table is of an older form"
            print(f"{what}. {error}".replace("\n", " "), file=sys.stderr)
            continue
        names.append(name)
        save(drawn, name, profile, results[notebook]["data_source"] if frames else "schematic")
    return names


def _stored_table(profile: str, notebook: str, frame: str) -> pd.DataFrame:
    file = paths.RESULTS / profile / notebook / f"{frame}.csv"
    if not file.is_file():
        raise FileNotFoundError(
            f"The table {file} is missing, although notebook {notebook} has run. "
            f"Run it again: ./run_all.sh --only {number_of(notebook)}, with the same profile and parameters."
        )
    try:
        return pd.read_csv(file)
    except ValueError as error:
        remedy = (
            f"Run its notebook again: ./run_all.sh --only {number_of(notebook)}, with the same profile and parameters."
        )
        raise FileNotFoundError(f"The table {file} is damaged ({error}). {remedy}") from error
