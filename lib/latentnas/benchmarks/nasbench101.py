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

from __future__ import annotations

import gzip
import pickletools
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from latentnas.benchmarks.base import Source, Table, Task, public_source, require_percent
from latentnas.benchmarks.download import DataError, fetch
from latentnas.spaces.nasbench101 import NASBENCH101

TEST_IMAGES = 29_952  # of three runs, by which every accuracy on file is a whole number
TEST = "cifar10/test@108"  # the signal to report
VALID = "cifar10/valid@108"  # the signal to select by; only in the official file
CITATION = (
    "Ying, Klein, Christiansen, Real, Murphy, Hutter. NAS-Bench-101: Towards Reproducible Neural "
    "Architecture Search. ICML 2019."
)
ADVICE = (
    "The public files have test accuracy only. For validation accuracy get the official nasbench_only108.tfrecord, "
    'set LATENTNAS_NASBENCH101 to its path and data_source to "official".'
)


def load(data_source: str = "public") -> Table:
    """The public table, downloaded when it is not here. The first call on a machine also enumerates all cells, which
    takes a minute. Raises DataError."""
    names = ("nasbench101_accuracies", "nasbench101_params")
    rows, (accuracy,) = read_table(fetch(names[0]), ("accuracy",))
    rows_of_params, (millions, *_) = read_table(fetch(names[1]), ("params", "time=[s]", "time_pure=[s]"))
    accuracy = 100 * np.rint(accuracy * TEST_IMAGES) / TEST_IMAGES
    table = assemble(rows, {TEST: accuracy}, public_source(names, CITATION))
    check_params(rows_of_params, np.rint(1e6 * millions), "The public table")
    return table


def assemble(rows: np.ndarray, columns: dict[str, np.ndarray], source: Source) -> Table:
    """A table with the columns `hash` (MD5 graph hash), `params` and `flops` (of the network stated in
    `spaces.nasbench101_network`) and measured values `[423624]`, given in any order of rows.

    Raises:
        DataError: rows are missing, given twice or outside the space, or accuracies missing or no percentages.
    """
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
    ordered = {name: values[np.argsort(rows)] for name, values in columns.items()}
    accuracies = {name: values for name, values in ordered.items() if "seconds" not in name}
    hashes = cells.hashes()
    require_percent(accuracies, hashes, f"The {source.name} table")
    table = pd.DataFrame({"hash": hashes, "params": cells.params, "flops": cells.flops} | ordered)
    signals = tuple(sorted(accuracies, key=lambda name: (name != VALID, name != TEST)))
    tasks = {"CIFAR-10": Task(VALID if VALID in accuracies else TEST, TEST, "nb101")}
    return Table(NASBENCH101, table, signals, source, {}, tasks, ADVICE * (source.name == "public"))


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
