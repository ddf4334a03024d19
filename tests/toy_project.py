"""A project folder with tiny notebooks, for tests of the runner and the command line; and how to start the
command line on it.
"""

import json
import os
import shutil
import subprocess
import sys

from companion import notebooks, paths

REPOSITORY = paths.ROOT
MODULES = {  # that the command line and the toy notebooks need
    "latentnas": ("__init__", "code", "paths", "progress"),
    "companion": sorted(path.stem for path in (REPOSITORY / "lib/companion").glob("*.py")),
}
OWN_MODULES = {
    "companion/figures/__init__.py": "",
    "companion/figures/first.py": '"""Drawn by the first."""\n\ncolour = "blue"\n',
    "companion/figures/second.py": "from latentnas import toy\n",
    "latentnas/toy.py": 'def number():\n    """A number."""\n    return 1\n',
}
PARAMETERS = """profile: str = "quick"      # name of the run
data_source: str = "public"
seed: int = 0               # for everything random
"""
WORK = """import random, sys, time
from companion import paths
random.seed(seed)
for step in range(5):
    print("step", step, file=sys.stderr, flush=True)
    time.sleep(0.1)"""
FINISH = """from companion.claims import Results
import pandas
results = Results("{name}", globals())
results.claim("toy.space.number", random.random(), "points", seeds=[seed])
results.frame("table", pandas.DataFrame({{"x": [random.random()]}}))
results.write().relative_to(paths.OUTPUT)"""


def code_cell(source, number, tags=()):
    return {
        "cell_type": "code",
        "id": f"c{number}",
        "metadata": {"tags": list(tags)},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def write_notebook(path, cells, parameters=PARAMETERS, tags=None):
    """A notebook file of code cells, the parameters cell first; none if `parameters` is None. `tags` by cell number."""
    first = [] if parameters is None else [code_cell(parameters, 0, ["parameters"])]
    content = {
        "cells": first + [code_cell(source, n, (tags or {}).get(n, ())) for n, source in enumerate(cells, 1)],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_project(folder):
    """Two notebooks, the second after the first, beside a copy of what this repository runs notebooks with.

    Each imports a module of its own; that of the second imports another one.
    """
    for name in ("00_first", "01_second"):
        own = f"from companion.figures import {name[3:]}"
        write_notebook(folder / "notebooks" / f"{name}.ipynb", [own, WORK, FINISH.format(name=name)])
    (folder / "notebooks/profiles.toml").write_text(
        '[depends]\n"01_second" = ["00_first"]\n[smoke]\n[quick.common]\nseed = 3\n[quick.00_first]\n'
    )
    for name in ("Snakefile", "run_all.sh", "pyproject.toml", "requirements.lock"):
        shutil.copy(REPOSITORY / name, folder / name)
    for package, names in MODULES.items():
        (folder / "lib" / package).mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(REPOSITORY / "lib" / package / f"{name}.py", folder / "lib" / package)
    (folder / "lib/companion/figures").mkdir()
    for name, text in OWN_MODULES.items():
        (folder / "lib" / name).write_text(text)
    return folder


def parameter_values(notebook):
    """What a notebook's `globals()` hold after its parameters cell."""
    return {name: parameter.default for name, parameter in notebooks.parameters_of(notebook).items()}


def project_environment(folder):
    """The environment in which that project's own run_all.sh runs with this interpreter."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LATENTNAS_", "PYTHONPATH", "PYTHONSAFEPATH", "SNAKEMAKE"))
        or name == "LATENTNAS_COMMAND"  # what a test starts ends with the tests
    }
    return environment | {"LATENTNAS_PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "HOME": str(folder)}


def run_all(folder, *arguments, cwd=None, **variables):
    """Run `run_all.sh` of the project in `folder` to its end."""
    return subprocess.run(
        [str(folder / "run_all.sh"), *arguments],
        cwd=cwd or folder,
        env=project_environment(folder) | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def snakemake(project, *arguments, **variables):
    """Run Snakemake by itself."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    environment = project_environment(project) | {"PYTHONPATH": str(project / "lib")} | variables
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def start_all(folder, *arguments):
    """Start `run_all.sh` in the background."""
    return subprocess.Popen(
        [str(folder / "run_all.sh"), *arguments],
        cwd=folder,
        env=project_environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def results_of(folder, label="quick"):
    """The comparable part of the results files, and the tables; not what a killed write left under a hidden name."""
    files = sorted((folder / "data/results" / label).rglob("[!.]*.*"))
    return {
        file.name if file.parent.name == label else f"{file.parent.name}/{file.name}": file.read_text().partition(
            '"manifest"'
        )[0]
        for file in files
    }


def would_run(project, *arguments):
    run = run_all(project, "--dry-run", *arguments)
    assert run.returncode == 0, run.stderr
    return [line.split()[0] for line in run.stdout.splitlines() if " -> data/results/" in line]
