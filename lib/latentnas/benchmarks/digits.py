"""Benchmarks that this project measured itself, on images that come with scikit-learn: nothing to download.

`digits-nb201`: each of the 6,466 classes of NAS-Bench-201 cells, trained from scratch with three seeds in a network
of two stages on 897 noisy 8 x 8 images of handwritten digits. Cells of one class compute the same function and share
one measurement. `python -m latentnas.measure.tables` made the table and trains any row again. Its columns: `arch`,
`class`, `params` and `flops` of the network that was trained, the means over seeds `VALID` and `TEST`, and
`train-seconds` of one training, as its share of a group trained side by side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pooch

from latentnas import paths
from latentnas.benchmarks.base import Source, Table, Task, require_percent
from latentnas.benchmarks.download import DataError
from latentnas.spaces.nasbench201 import CONV1X1, CONV3X3, NASBENCH201

CELL_FILE = "digits-nb201.csv.gz"  # this and the following in data/bundled
SHARED_FILE, ALONE_FILE = "digits-enas.csv.gz", "digits-enas-alone.csv"
SEEDS = (0, 1, 2)
EPOCHS = 15  # of every training from scratch
ENAS_ROWS = 19_020  # of `digits-enas`, as many as D-VAE's table has

VALID, TEST = f"digits/valid@{EPOCHS}", f"digits/test@{EPOCHS}"
# Costs of the network: without its cells, and for each 1x1 and each 3x3 convolution in a cell.
PARAMS, FLOPS = (450, 368, 2_928), (6_816, 8_192, 73_728)

LICENCE = "MIT (this project); the images: CC BY 4.0"
CITATION = "Measured by this project. Images: Alpaydin, Kaynak. Optical Recognition of Handwritten Digits. UCI, 1998."


def bundled_source(path: Path) -> Source:
    """The source of a table that comes with the project."""
    return Source("bundled", {path.name: pooch.file_hash(str(path))}, (LICENCE,), (CITATION,), path.parent)


def read_bundled(name: str) -> pd.DataFrame:
    """A file of data/bundled. Raises DataError."""
    path = paths.BUNDLED / name
    try:
        return pd.read_csv(path)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"The bundled table {path} is missing or cannot be read: {error}. Check it out of the repository again."
        ) from error


def load(data_source: str = "bundled") -> Table:
    """The table `digits-nb201`.

    Raises:
        DataError: it is damaged: a class without its three measurements, or with more, or a value that is no
            percentage.
    """
    measured, path = read_bundled(CELL_FILE), paths.BUNDLED / CELL_FILE
    classes = NASBENCH201.representatives()
    columns = {VALID: [f"valid_{seed}" for seed in SEEDS], TEST: [f"test_{seed}" for seed in SEEDS]}
    absent = {"row", "seconds", *columns[VALID], *columns[TEST]} - set(measured)
    if absent:
        raise DataError(f"The bundled table {path} has no column {min(absent)}. Check the file out again.")
    for rows, problem in (
        (measured["row"][measured["row"].duplicated()], "more than once"),
        (np.setdiff1d(classes, measured["row"]), "not at all"),
        (np.setdiff1d(measured["row"], classes), "although it begins no class"),
    ):
        if len(rows):
            raise DataError(
                f"The bundled table {path} has row {np.asarray(rows)[0]} {problem} ({len(rows)} such rows). Check the "
                "file out again, or measure it anew with `python -m latentnas.measure.tables digits-nb201`."
            )
    by_class = measured.set_index("row").loc[classes]
    for names in columns.values():
        require_percent(by_class[names], "row " + by_class.index.astype(str), f"The bundled table {path}")
    every = NASBENCH201.enumerate()
    own, operations = NASBENCH201.canonical(every), NASBENCH201.choices(every)
    runs = {column: by_class[names].to_numpy()[own] for column, names in columns.items()}
    convolutions = np.stack([np.ones(len(own)), *((operations == c).sum(1) for c in (CONV1X1, CONV3X3))], axis=1)
    table = pd.DataFrame(
        {
            "arch": NASBENCH201.to_strings(every),
            "class": own,
            "params": (convolutions @ PARAMS).astype(np.int64),
            "flops": (convolutions @ FLOPS).astype(np.int64),
            **{column: values.mean(axis=1) for column, values in runs.items()},
            "train-seconds": by_class["seconds"].to_numpy()[own],
        }
    )
    tasks = {"digits": Task(VALID, TEST, "digits-nb201")}
    return Table(NASBENCH201, table, (VALID, TEST), bundled_source(path), runs, tasks)


def load_from_scratch() -> pd.DataFrame:
    """The first architectures of `digits-enas` (see `benchmarks.enas`), which were also trained from scratch: columns
    `arch`, `shared` (validation accuracy with shared weights), `valid` and `test` (from scratch, mean over seeds), in
    percent. Raises DataError."""
    alone = read_bundled(ALONE_FILE).set_index("row")
    shared = read_bundled(SHARED_FILE).loc[alone.index]
    means = {part: alone.filter(like=f"{part}_").mean(axis=1) for part in ("valid", "test")}
    return pd.DataFrame({"arch": shared["arch"], "shared": shared["valid"], **means})
