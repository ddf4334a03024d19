"""Benchmarks that this project measured itself, on images that come with scikit-learn: nothing to download.

`digits-nb201`: each of the 6,466 classes of NAS-Bench-201 cells, trained from scratch with three seeds in a network
of two stages on 897 noisy 8 x 8 images of handwritten digits. `python -m latentnas.measure.tables` made the table and trains any
row again; the settings are `CELL_SKELETON` and `CELL_SCHEDULE` there, the images `supernet/digits.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from latentnas import paths
from latentnas.benchmarks.download import DataError
from latentnas.measure import cells
from latentnas.measure.tables import ALONE_FILE, CELL_FILE, CELL_SCHEDULE, CELL_SKELETON, SEEDS, SHARED_FILE
from latentnas.spaces._checks import whole_numbers
from latentnas.spaces.nasbench201 import NASBENCH201, NasBench201Space

VALID = f"digits/valid@{CELL_SCHEDULE.epochs}"
TEST = f"digits/test@{CELL_SCHEDULE.epochs}"
LICENCE = "MIT (this project); the images: CC BY 4.0"
CITATION = "Measured by this project. Images: Alpaydin, Kaynak. Optical Recognition of Handwritten Digits. UCI, 1998."


@dataclass(frozen=True)
class DigitsCells:
    """The table `digits-nb201`, one row per cell in the order of `NASBENCH201.enumerate()`.

    Columns of `table`: `arch`, `class`, `params`, `flops` (of the network that was trained), the means over three seeds
    `VALID` and `TEST` in percent, and `train-seconds` (of one training, as its share of a group trained side by side).
    Cells of one class compute the same function and share one measurement.
    """

    space: NasBench201Space
    table: pd.DataFrame
    run_values: dict[str, np.ndarray]  # column -> single runs in percent, float64 [15625, 3], seeds 0, 1, 2

    def __len__(self) -> int:
        return len(self.table)

    @property
    def path(self) -> Path:
        """The file of the table."""
        return paths.BUNDLED / CELL_FILE

    def rows(self, architectures: ArrayLike) -> np.ndarray:
        """Rows of architectures, given as texts or as rows, int64 [B]. Raises ValueError for a malformed one."""
        given = np.atleast_1d(np.asarray(architectures))
        if given.dtype.kind in "UO":
            return self.space.index(self.space.to_batch(given.tolist()))
        return whole_numbers(given, "A row of the digits-nb201 table", len(self))

    def query(self, architectures: ArrayLike) -> pd.DataFrame:
        """All columns of architectures, one line each in the order asked, indexed by row."""
        return self.table.loc[self.rows(architectures)]

    def runs(self, column: str) -> np.ndarray:
        """Accuracies of the three seeds in percent, float64 [15625, 3], of `VALID` or `TEST`."""
        return self.run_values[column]

    def noise(self, column: str) -> np.ndarray:
        """Standard deviation (n - 1) over the seeds in points, float64 [15625]."""
        return self.run_values[column].std(axis=1, ddof=1)

    def optimum(self) -> pd.DataFrame:
        """The best cells by validation and by test accuracy: lines `valid` and `test`, columns `row`, `arch`, `valid` and
        `test` (percent)."""
        best = self.table[[VALID, TEST]].idxmax()
        frame = self.table.loc[best, ["arch", VALID, TEST]].reset_index(names="row")
        return frame.set_axis(["row", "arch", "valid", "test"], axis=1).set_axis(["valid", "test"], axis=0)


def load_digits_cells() -> DigitsCells:
    """The table that comes with the project. Raises DataError where it is damaged: a class without its three
    measurements, or with more, or a value that is no percentage."""
    path = paths.BUNDLED / CELL_FILE
    if not path.is_file():
        raise DataError(f"The bundled table {path} is missing. It is part of the repository: check it out again.")
    measured = pd.read_csv(path)
    classes = NASBENCH201.representatives()
    columns = {VALID: [f"valid_{seed}" for seed in SEEDS], TEST: [f"test_{seed}" for seed in SEEDS]}
    _check(measured, classes, [name for names in columns.values() for name in names], path)
    by_class = measured.set_index("row").loc[classes]
    every = NASBENCH201.enumerate()
    own = NASBENCH201.canonical(every)
    runs = {column: by_class[names].to_numpy()[own] for column, names in columns.items()}
    operations = torch.from_numpy(NASBENCH201.choices(every))
    table = pd.DataFrame(
        {
            "arch": NASBENCH201.to_strings(every),
            "class": own,
            "params": cells.params(operations, CELL_SKELETON).numpy(),
            "flops": cells.flops(operations, CELL_SKELETON).numpy(),
            **{column: values.mean(axis=1) for column, values in runs.items()},
            "train-seconds": by_class["seconds"].to_numpy()[own],
        }
    ).rename_axis("row")
    return DigitsCells(NASBENCH201, table, runs)


def load_from_scratch() -> pd.DataFrame:
    """The first architectures of `digits-enas` (see `benchmarks/enas.py`), which were also trained from scratch: columns
    `arch`, `shared` (validation accuracy with shared weights), `valid` and `test` (from scratch, mean over seeds), in percent."""
    alone = pd.read_csv(paths.BUNDLED / ALONE_FILE, index_col="row")
    shared = pd.read_csv(paths.BUNDLED / SHARED_FILE).loc[alone.index]
    means = {part: alone.filter(like=f"{part}_").mean(axis=1) for part in ("valid", "test")}
    return pd.DataFrame({"arch": shared["arch"], "shared": shared["valid"], **means})


def _check(measured: pd.DataFrame, classes: np.ndarray, accuracies: list[str], path) -> None:
    repeated = measured["row"][measured["row"].duplicated()]
    missing = np.setdiff1d(classes, measured["row"])
    foreign = np.setdiff1d(measured["row"], classes)
    for rows, problem in (
        (repeated, "more than once"),
        (missing, "not at all"),
        (foreign, "although it begins no class"),
    ):
        if len(rows):
            raise DataError(
                f"The bundled table {path} has row {np.asarray(rows)[0]} {problem} ({len(rows)} such rows). Check the file out "
                "again, or measure it anew with `python -m latentnas.measure.tables digits-nb201`."
            )
    values = measured[accuracies].to_numpy()
    if not ((values >= 0) & (values <= 100)).all():  # NaN is wrong too
        row = measured["row"].to_numpy()[np.argmin(((values >= 0) & (values <= 100)).all(axis=1))]
        raise DataError(
            f"The bundled table {path} has an accuracy in row {row} that is no percentage. Check the file out again."
        )
