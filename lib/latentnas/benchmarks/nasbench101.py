"""NAS-Bench-101 (Ying et al., ICML 2019): every cell of the space, trained on CIFAR-10.

Each cell was trained three times for each of 4, 12, 36 and 108 epochs on 40,000 of CIFAR-10's training
images; the other 10,000 are the validation images. A column of accuracies is named `<training
set>/<evaluation set>@<epochs>` and is in percent.

The public table has one such column, `cifar10/test@108`: the mean of the three runs after 108 epochs on the
test images. It has no validation accuracy and no single runs; the benchmark's own file has both, and
`nasbench101_official` reads it. A search on the public table therefore sees test labels: say so wherever its
results are shown.

The public files (see `download.FILES`) give values by position, without graphs. The position is the rank of
the cell's graph hash, that is, a row of `NASBENCH101.enumerate()`. This is checked on every loading: the
parameters counted from each graph must be those on file. All accuracies on file are whole multiples of
1/29,952 (three times 9,984 images, so it seems that 16 of the 10,000 test images were left out), but for
single-precision noise that would break ties; it is removed.
"""

import gzip
import pickletools
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from latentnas.benchmarks.download import FILES, DataError, Source, fetch
from latentnas.graphs import DagBatch
from latentnas.spaces._checks import whole_numbers
from latentnas.spaces.nasbench101 import NASBENCH101, NasBench101Space
from latentnas.spaces.nasbench101_cells import Cells

TEST_IMAGES = 29_952  # of three runs, by which every accuracy on file is a whole number
TEST_COLUMN = "cifar10/test@108"  # the signal to report
VALID_COLUMN = "cifar10/valid@108"  # the signal to select by; only in the official file
CITATION = (
    "Ying, Klein, Christiansen, Real, Murphy, Hutter. NAS-Bench-101: Towards Reproducible Neural "
    "Architecture Search. ICML 2019."
)


@dataclass(frozen=True)
class NasBench101Benchmark:
    """The table, one row per cell in the order of `NASBENCH101.enumerate()`.

    Columns of `table`: `hash` (MD5 graph hash), `params` and `flops` (of the network stated in
    `spaces.nasbench101_network`), and what was measured: accuracies in percent.
    """

    space: NasBench101Space
    cells: Cells
    table: pd.DataFrame
    source: Source

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def batch(self) -> DagBatch:
        """The graphs of all rows, 48 MB; `cells.batch(rows)` gives some of them."""
        return self.cells.batch()

    def rows(self, architectures: list[str] | ArrayLike | DagBatch) -> np.ndarray:
        """Rows of cells given as texts, rows or graphs, int64 [B]; -1 for a graph that is no cell of the
        space. Isomorphic graphs have the same row. Raises ValueError for a text that is no cell, and for a
        row outside the table."""
        if isinstance(architectures, DagBatch):
            return self.space.index(architectures)
        given = [architectures] if isinstance(architectures, str) else architectures
        if len(np.atleast_1d(given)) and np.asarray(given).dtype.kind in "UO":
            return self.space.index(self.space.to_batch(list(given)))
        return whole_numbers(np.atleast_1d(given), "A row of the NAS-Bench-101 table", self.space.size)

    def query(
        self, architectures: list[str] | ArrayLike | DagBatch, columns: str | list[str] | None = None
    ) -> pd.DataFrame:
        """What is known about texts, rows or graphs, one line each in the order asked.

        The first two columns are `row` (-1 where not known) and `known` (it is in the table); then those
        asked for, all by default, NaN where not known. Raises ValueError like `rows`, and for a column that
        this source does not have.
        """
        columns = [columns] if isinstance(columns, str) else list(self.table if columns is None else columns)
        for column in columns:
            self._require(column)
        rows = self.rows(architectures)
        frame = self.table[columns].reindex(rows).reset_index(drop=True)
        frame.insert(0, "row", rows)
        frame.insert(1, "known", rows >= 0)
        return frame

    def labels(self, column: str = TEST_COLUMN) -> np.ndarray:
        """One column for all rows, [423624]. Raises ValueError for a column that this source does not
        have."""
        self._require(column)
        return self.table[column].to_numpy()

    def optimum(self, column: str = TEST_COLUMN) -> pd.Series:
        """The row of the table with the highest value in a column; its name is the row number."""
        return self.table.loc[int(np.argmax(self.labels(column)))]

    def _require(self, column: str) -> None:
        """Raise ValueError unless the table has a column of this name."""
        if column in self.table:
            return
        hint = ""
        if self.source.name == "public" and "valid" in str(column):
            hint = (
                " The public files have test accuracy only. For validation accuracy get the official "
                "nasbench_only108.tfrecord and open it with nasbench101_official.load_official(path)."
            )
        raise ValueError(
            f"The NAS-Bench-101 table from source {self.source.name!r} has no column {column!r}; it has "
            f"{', '.join(self.table)}.{hint}"
        )


def load_nasbench101(data_source: str = "public") -> NasBench101Benchmark:
    """The public table, downloaded when it is not here. The first call on a machine also enumerates all
    cells, which takes a minute. Raises DataError; "public" is its only data source, and the official file has
    a door of its own, `nasbench101_official.load_official`."""
    if data_source != "public":
        raise DataError(
            f"The NAS-Bench-101 table has no data source {data_source!r}: it is made from public files and "
            "not shipped with this project. Set data_source to 'public'."
        )
    names = ("nasbench101_accuracies", "nasbench101_params")
    rows, (accuracy,) = read_table(fetch(names[0]), ("accuracy",))
    rows_of_params, (millions, *_) = read_table(fetch(names[1]), ("params", "time=[s]", "time_pure=[s]"))
    accuracy = 100 * np.rint(accuracy * TEST_IMAGES) / TEST_IMAGES
    benchmark = assemble(rows, {TEST_COLUMN: accuracy}, _public_source(names))
    check_params(rows_of_params, np.rint(1e6 * millions), "The public table")
    return benchmark


def assemble(rows: np.ndarray, columns: dict[str, np.ndarray], source: Source) -> NasBench101Benchmark:
    """A benchmark from values [423624] given in any order of rows. Raises DataError for rows that are
    missing, given twice or outside the space, and for accuracies that are missing or no percentages."""
    cells = NASBENCH101.cells()
    outside = rows[(rows < 0) | (rows >= len(cells))]
    if len(outside):
        raise DataError(
            f"The {source.name} table has a row {outside[0]}, but the cells have rows 0 to {len(cells) - 1}."
        )
    times = np.bincount(rows, minlength=len(cells))
    if (times != 1).any():
        missing, repeated = np.flatnonzero(times == 0), np.flatnonzero(times > 1)
        first = np.argmax(times != 1)
        raise DataError(
            f"The {source.name} table must have each of the {len(cells):,} cells once, but {len(missing):,} "
            f"are missing and {len(repeated):,} given more than once; the first is row {first}, hash "
            f"{cells.hashes([first])[0]}. Get the whole file again."
        )
    table = {"hash": cells.hashes(), "params": cells.params, "flops": cells.flops}
    for name, values in columns.items():
        table[name] = ordered = np.empty(len(cells))
        ordered[rows] = values
        wrong = np.flatnonzero(~((ordered >= 0) & (ordered <= 100))) if "seconds" not in name else []
        if len(wrong):
            raise DataError(
                f"The {source.name} table has no accuracy {name} for {len(wrong):,} of {len(cells):,} "
                f"cells: that of row {wrong[0]} is {ordered[wrong[0]]}. Get the whole file again."
            )
    return NasBench101Benchmark(NASBENCH101, cells, pd.DataFrame(table), source)


def check_params(rows: np.ndarray, params: np.ndarray, source: str) -> None:
    """Raise DataError unless these are the parameters that the graphs of these rows have."""
    expected = NASBENCH101.cells().params[rows]
    wrong = np.flatnonzero(params != expected)
    if len(wrong):
        raise DataError(
            f"{source} does not belong to the cells as they are enumerated here: {len(wrong):,} of "
            f"{len(rows):,} have other parameters, the first row {rows[wrong[0]]} with "
            f"{params[wrong[0]]:.0f} on file and {expected[wrong[0]]} counted from its graph."
        )


def read_table(path: Path, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows, int64 [R], and columns, float64 [len(columns), R], of a compressed pickled table.

    A pickle is a program, and this one is looked through without being run: the table lies in it as two
    blocks of bytes, the column `index` and then the others together. Raises DataError.
    """
    try:
        content = gzip.decompress(Path(path).read_bytes())
        arguments = [argument for _, argument, _ in pickletools.genops(content)]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} is damaged or no compressed pickle: {error}. Get it again.") from None
    texts = [argument for argument in arguments if isinstance(argument, str)]
    blocks = [argument for argument in arguments if isinstance(argument, bytes) and len(argument) > 1]
    start = texts.index("index") if "index" in texts else len(texts)
    named = texts[start : start + 1 + len(columns)] == ["index", *columns]
    sized = len(blocks) == 2 and len(blocks[0]) % 8 == 0 and len(blocks[1]) == len(columns) * len(blocks[0])
    if not (named and sized and {"<", "i8", "f8"} <= set(texts)):
        raise DataError(
            f"{path} is not a pickled table of whole numbers `index` and numbers {', '.join(columns)}. "
            "Nothing in it was run. Get it again."
        )
    rows, values = np.frombuffer(blocks[0], dtype="<i8"), np.frombuffer(blocks[1], dtype="<f8")
    return rows, values.reshape(len(columns), len(rows))


def _public_source(names: tuple[str, ...]) -> Source:
    used = [FILES[name] for name in names]
    return Source(
        "public",
        {file.name: file.sha256 for file in used},
        tuple(dict.fromkeys(f"{file.repository}: {file.licence}" for file in used)),
        tuple(dict.fromkeys([CITATION, *(file.citation for file in used)])),
    )
