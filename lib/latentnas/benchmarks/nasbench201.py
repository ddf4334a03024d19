"""NAS-Bench-201 (Dong and Yang, ICLR 2020): every cell of the space, trained on three data sets.

Two training schedules, each with its own annealing, so the shorter one is no prefix of the longer: 12 epochs
(a cheap signal) and 200 epochs. Four training sets: `cifar10-valid` is half of CIFAR-10's training images,
`cifar10` all of them, `cifar100` and `ImageNet16-120` their training images. Evaluation sets: `x-valid` and
`x-test` are validation and test images; `ori-test` is the whole official test set, which for CIFAR-100 and
ImageNet16-120 is `x-valid` and `x-test` together. One signal of the table is named
`<training set>/<evaluation set>@<epochs>`; the usual protocol selects by `valid_column` and reports
`test_column`.

The public table is put together from small files of four repositories (see `download.FILES`). All are indexed
as the official file is, and agree with the three official records that are public:

* 200 epochs, test: means over the runs;
* 200 epochs, single runs, two or three a cell: `cifar10-valid/x-valid`, and `ori-test` of CIFAR-100 and
  ImageNet16-120. As validation and test images are equally many there, mean validation accuracy is twice the
  mean of `ori-test` minus the mean of `x-test`;
* 12 epochs: one run, except `cifar10-valid/x-valid`, a mean over two;
* seconds of training: those of the other data sets are 2 and 6.068 times those of `cifar10-valid`, for every
  cell, so they say nothing new.

Parameters and FLOPs are computed from the cell (`NASBENCH201.params`): the recorded parameter counts in the
file of single runs are wrong by one convolution for 150 cells.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from latentnas.benchmarks.base import Source, Table, Task, converted, public_source, require_percent
from latentnas.benchmarks.download import DataError, fetch
from latentnas.benchmarks.pickles import load_arrays
from latentnas.spaces.nasbench201 import NASBENCH201

DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
TITLES = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "ImageNet16-120": "ImageNet16-120"}
MAX_RUNS = 3
CITATION = "Dong, Yang. NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search. ICLR 2020."

# What the public file of single runs has for each data set.
PUBLIC_RUNS = {
    "cifar10": "cifar10-valid/x-valid@200",
    "cifar100": "cifar100/ori-test@200",
    "ImageNet16-120": "ImageNet16-120/ori-test@200",
}
_RUNS_KEYS = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "imagenet"}
# The six rows of the file of 12-epoch accuracies, in its order.
_12_EPOCH_COLUMNS = (
    "cifar10/ori-test@12", "cifar10-valid/x-valid@12", "cifar100/x-test@12", "cifar100/x-valid@12",
    "ImageNet16-120/x-test@12", "ImageNet16-120/x-valid@12",
)  # fmt: skip

_FORMAT = 3  # of the converted table; raise it when its content changes
_PUBLIC_FILES = (
    *(f"nasbench201_test_{dataset}" for dataset in DATASETS),
    "nasbench201_runs",
    "nasbench201_12_epochs",
    "nasbench201_index",
)


def valid_column(dataset: str, epochs: int = 200) -> str:
    """The signal to select by: validation accuracy of networks that never saw the validation images."""
    return f"{'cifar10-valid' if dataset == 'cifar10' else dataset}/x-valid@{epochs}"


def test_column(dataset: str, epochs: int = 200) -> str:
    """The signal to report: test accuracy."""
    return f"{dataset}/{'ori-test' if dataset == 'cifar10' else 'x-test'}@{epochs}"


@dataclass(frozen=True)
class Values:
    """What a source holds on A architectures, before it is put in the order of rows."""

    numbers: np.ndarray  # operations of the six edges, int64 [A, 6]
    columns: dict[str, np.ndarray]  # `official_index` and the measured columns of the table, [A] each
    runs: dict[str, np.ndarray]  # data set -> single runs, float64 [A, 3], NaN for none


def load(data_source: str = "public") -> Table:
    """The public table, downloaded and converted when it is not here yet. The converted table is kept in
    `data/cache`, named by the checksums of its files. Raises DataError."""
    source = public_source(_PUBLIC_FILES, CITATION)
    return assemble(kept("public", source.files, _convert), PUBLIC_RUNS, source)


def kept(name: str, files: dict[str, str], convert: Callable[[], Values]) -> Values:
    """What `convert` returns, from `data/cache` when files with the same checksums were converted before. Raises
    DataError when the kept copy is damaged."""

    def arrays() -> dict[str, np.ndarray]:
        values = convert()
        columns = {f"column {name}": column for name, column in values.columns.items()}
        return {"numbers": values.numbers} | columns | {f"runs {name}": runs for name, runs in values.runs.items()}

    stored = converted(f"nasbench201-{name}", str([_FORMAT, *files.values()]), arrays)
    columns, runs = (
        {name.removeprefix(kind): values for name, values in stored.items() if name.startswith(kind)}
        for kind in ("column ", "runs ")
    )
    return Values(stored["numbers"], columns, runs)


def assemble(values: Values, run_signals: dict[str, str], source: Source, allow_missing: bool = False) -> Table:
    """A table from values in any order of architectures.

    Columns: `arch`, `class` (`NASBENCH201.canonical`), `official_index` (-1 where the source has none), `<data
    set>/params`, `<data set>/flops`, `<training set>/<evaluation set>@<epochs>` (accuracy in percent, mean over runs)
    and `<training set>/train-seconds@200` (of the whole training). Single runs are in the order of the source.

    Args:
        run_signals: data set -> the signal that `values.runs` are runs of.
        allow_missing: take values that lack architectures: their signals are NaN.

    Raises:
        DataError: an architecture is given twice or, unless `allow_missing`, not at all; an accuracy is missing or no
            percentage.
    """
    rows = NASBENCH201.index(NASBENCH201.from_choices(values.numbers))
    times = np.bincount(rows, minlength=NASBENCH201.size)
    every = NASBENCH201.enumerate()
    table = pd.DataFrame({"arch": NASBENCH201.to_strings(every)})
    if times.max() > 1:
        raise DataError(f"{source.name} has the architecture {table['arch'][times.argmax()]} more than once.")
    if times.min() == 0 and not allow_missing:
        raise DataError(
            f"{source.name} has {len(rows):,} of the {NASBENCH201.size:,} architectures; the first that is "
            f"missing is {table['arch'][times.argmin()]}. Get the whole file."
        )
    accuracies = {name: column for name, column in values.columns.items() if "@" in name and "seconds" not in name}
    require_percent(accuracies, table["arch"].to_numpy()[rows], source.name)
    table["class"] = NASBENCH201.canonical(every)
    table["official_index"] = _spread(values.columns["official_index"], rows, -1).astype(np.int64)
    for dataset in DATASETS:
        table[f"{dataset}/params"] = NASBENCH201.params(every, dataset).numpy()
        table[f"{dataset}/flops"] = NASBENCH201.flops(every, dataset).numpy()
    measured = {name: _spread(v, rows, np.nan) for name, v in values.columns.items() if name not in table}
    table = pd.concat([table, pd.DataFrame(measured)], axis=1)
    runs = {run_signals[dataset]: _spread(runs, rows, np.nan) for dataset, runs in values.runs.items()}
    tasks = {
        title: Task(valid_column(name), test_column(name), f"nb201.{name.lower().partition('-')[0]}")
        for title, name in TITLES.items()
    }
    pairs = [signal for task in tasks.values() for signal in (task.valid, task.test) if signal in accuracies]
    signals = tuple(dict.fromkeys([*pairs, *accuracies]))
    return Table(NASBENCH201, table, signals, source, runs, tasks)


def _spread(values: np.ndarray, rows: np.ndarray, missing: float) -> np.ndarray:
    """Values at their rows of the whole table, `missing` everywhere else."""
    whole = np.full((NASBENCH201.size, *values.shape[1:]), missing, dtype=np.float64)
    whole[rows] = values
    return whole


def _convert() -> Values:
    """What the public files hold, in the official order. Accuracies are rounded to five decimals: they are
    counts of images, and what lies beyond is single-precision noise that breaks ties."""
    texts = read_index(fetch("nasbench201_index"))
    columns = read_12_epochs(fetch("nasbench201_12_epochs"), texts)
    runs, seconds = read_runs(fetch("nasbench201_runs"))
    for dataset in DATASETS:
        test = read_test(fetch(f"nasbench201_test_{dataset}"))
        mean = np.nanmean(runs[dataset], axis=1)
        columns[PUBLIC_RUNS[dataset]] = mean
        if dataset != "cifar10":
            columns[valid_column(dataset)] = 2 * mean - test
        columns[test_column(dataset)] = test
    columns = {name: values.round(5) for name, values in columns.items()}
    columns["official_index"] = np.arange(len(texts))
    for dataset in DATASETS:
        trained_on = valid_column(dataset).partition("/")[0]
        columns[f"{trained_on}/train-seconds@200"] = seconds[dataset]
    runs = {dataset: values.round(5) for dataset, values in runs.items()}
    return Values(NASBENCH201.choices(NASBENCH201.to_batch(texts)), columns, runs)


def read_index(path: Path) -> list[str]:
    """All texts in the official order. Raises DataError."""
    index = torch.load(path, weights_only=True)
    if sorted(index.values()) != list(range(NASBENCH201.size)):
        raise DataError(f"{path} does not number the {NASBENCH201.size:,} architectures from 0 on.")
    return sorted(index, key=index.get)


def read_test(path: Path) -> np.ndarray:
    """Mean test accuracies in percent, float64 [15625], in the official order. Raises DataError."""
    frame = pd.read_csv(path)
    if list(frame) != ["index", "accuracy"] or not np.array_equal(frame["index"], range(NASBENCH201.size)):
        raise DataError(f"{path} has no line index,accuracy for each of the {NASBENCH201.size:,} architectures.")
    return frame["accuracy"].to_numpy()


def read_runs(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Single runs after 200 epochs in percent, [15625, 3] with NaN, and seconds of training, [15625], by data
    set in the official order. A new cell begins where the time or the parameters change. Raises DataError."""
    with open(path, "rb") as file:
        stored = load_arrays(file, path)
    runs, seconds = {}, {}
    for dataset, key in _RUNS_KEYS.items():
        loss, time, size = (stored[key][name] for name in ("loss", "runtime", "size_in_mb"))
        first = np.concatenate([[True], (np.diff(time) != 0) | (np.diff(size) != 0)])
        cell = np.cumsum(first) - 1
        run = np.arange(len(loss)) - np.flatnonzero(first)[cell]  # 0, 1, 2 within each cell
        if cell[-1] + 1 != NASBENCH201.size or run.max() >= MAX_RUNS:
            raise DataError(
                f"{path} has {cell[-1] + 1:,} cells of at most {run.max() + 1} runs on {dataset} instead of "
                f"{NASBENCH201.size:,} of at most {MAX_RUNS}."
            )
        runs[dataset] = np.full((NASBENCH201.size, MAX_RUNS), np.nan)
        runs[dataset][cell, run] = 100 - loss
        seconds[dataset] = time[first]
    return runs, seconds


def read_12_epochs(path: Path, texts: Iterable[str]) -> dict[str, np.ndarray]:
    """Accuracies after 12 epochs in percent, float64 [15625] each, in the order of `texts`. The file is a
    pickled DataFrame; it is looked through without unpickling: the six columns lie in one block of bytes, the
    texts are the strings that begin with a bar. Raises DataError."""
    arguments = [argument for _, argument, _ in pickletools.genops(Path(path).read_bytes())]
    blocks = [a for a in arguments if isinstance(a, bytearray) and len(a) == 6 * 8 * NASBENCH201.size]
    found = [a for a in arguments if isinstance(a, str) and a.startswith("|") and len(a) > 1]
    if len(blocks) != 1 or found != list(texts):
        raise DataError(f"{path} does not hold six accuracies for each architecture in the official order.")
    values = np.frombuffer(blocks[0], dtype="<f8").reshape(6, NASBENCH201.size)
    return dict(zip(_12_EPOCH_COLUMNS, values, strict=True))
