"""NAS-Bench-101 (Ying et al., ICML 2019): every cell of the space, trained on CIFAR-10.

Each cell was trained three times for each of 4, 12, 36 and 108 epochs on 40,000 of CIFAR-10's training images; the
other 10,000 are the validation images. A column of accuracies (percent) is named `cifar10/<evaluation set>@<epochs>`.

The public table has one such column, `cifar10/test@108`, a mean of three runs. Validation accuracy and single runs are
in the benchmark's own file, which `nasbench101_official` reads. A search on the public table therefore sees test
labels: say so wherever its results are shown.

The public file gives accuracies by position, without graphs. The position is the rank of the cell's graph hash, that
is, a row of `NASBENCH101.enumerate()`: a test compares the parameters that the same repository gives by position with
those counted from each graph. All accuracies on file are whole multiples of 1/29,952 (three times 9,984 images, so it
seems that 16 of the 10,000 test images were left out), but for single-precision noise that would break ties; it is
removed.
"""

import numpy as np
import pandas as pd

from latentnas.benchmarks.base import Source, Table, Task, public_source
from latentnas.spaces.nasbench101 import NASBENCH101

TEST_IMAGES = 29_952  # of three runs, by which every accuracy on file is a whole number
TEST = "cifar10/test@108"  # the signal to report
VALID = "cifar10/valid@108"  # the signal to select by; only in the official file
ADVICE = (
    "The public files have test accuracy only. For validation accuracy get the official nasbench_only108.tfrecord, "
    'set LATENTNAS_NASBENCH101 to its path and data_source to "official".'
)


def load(data_source: str = "public") -> Table:
    """The public table, downloaded when it is not here. The first call on a machine also enumerates all cells, which
    takes half a minute. Raises DataError."""
    source = public_source("nasbench101_accuracies")
    accuracy = pd.read_pickle(source.paths[0])["accuracy"].to_numpy()
    return assemble({TEST: 100 * np.rint(accuracy * TEST_IMAGES) / TEST_IMAGES}, source, {})


def assemble(columns: dict[str, np.ndarray], source: Source, runs: dict[str, np.ndarray]) -> Table:
    """A table with the columns `hash` (MD5 graph hash), `params` and `flops` (of the network stated in
    `spaces.nasbench101_network`) and measured values `[423624]`, in the order of rows."""
    cells = NASBENCH101.cells()
    table = pd.DataFrame({"hash": cells.hashes(), "params": cells.params, "flops": cells.flops} | columns)
    accuracies = (name for name in columns if "seconds" not in name)
    signals = tuple(sorted(accuracies, key=lambda name: (name != VALID, name != TEST)))
    tasks = {"CIFAR-10": Task(VALID if VALID in signals else TEST, TEST, "nb101")}
    return Table(NASBENCH101, table, signals, source, runs, tasks, ADVICE * (source.name == "public"))
