"""NAS-Bench-201 (Dong and Yang, ICLR 2020): every cell of the space, trained on three data sets.

Two training schedules, each with its own annealing, so the shorter one is no prefix of the longer: 12 epochs (a cheap
signal) and 200 epochs. Four training sets: `cifar10-valid` is half of CIFAR-10's training images, `cifar10` all of
them, `cifar100` and `ImageNet16-120` their training images. Evaluation sets: `x-valid` and `x-test` are validation and
test images; `ori-test` is the whole official test set, which for CIFAR-100 and ImageNet16-120 is both together. A
signal is named `<training set>/<evaluation set>@<epochs>`; one selects by `valid_column` and reports `test_column`.

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

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from latentnas.benchmarks.base import Source, Table, Task, public_source
from latentnas.benchmarks.download import DataError
from latentnas.spaces.nasbench201 import NASBENCH201

DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
TITLES = dict(zip(("CIFAR-10", "CIFAR-100", "ImageNet16-120"), DATASETS, strict=True))
MAX_RUNS = 3

# What the public file of single runs has for each data set.
PUBLIC_RUNS = {
    "cifar10": "cifar10-valid/x-valid@200",
    "cifar100": "cifar100/ori-test@200",
    "ImageNet16-120": "ImageNet16-120/ori-test@200",
}
_KEYS = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "imagenet"}


def valid_column(dataset: str, epochs: int = 200) -> str:
    """The signal to select by: validation accuracy of networks that never saw the validation images."""
    return f"{'cifar10-valid' if dataset == 'cifar10' else dataset}/x-valid@{epochs}"


def test_column(dataset: str, epochs: int = 200) -> str:
    """The signal to report: test accuracy."""
    return f"{dataset}/{'ori-test' if dataset == 'cifar10' else 'x-test'}@{epochs}"


def load(data_source: str = "public") -> Table:
    """The public table, downloaded when it is not here. Raises DataError."""
    tests = (f"nasbench201_test_{dataset}" for dataset in DATASETS)
    source = public_source(*tests, "nasbench201_runs", "nasbench201_12_epochs", "nasbench201_index")
    return assemble(_read_public(source.paths), source)


def assemble(arrays: dict[str, np.ndarray], source: Source) -> Table:
    """A table from arrays with one entry for each architecture, in any order. DataError where not each is there once.

    Columns: `arch`, `class` (`NASBENCH201.canonical`), `official_index`, `<data set>/params`, `<data set>/flops`,
    `<training set>/<evaluation set>@<epochs>` (percent, mean over runs), `<training set>/train-seconds@200`.

    Args:
        arrays: the operations of the six edges, `choices` `[A, 6]`; `official_index` and the measured columns `[A]`;
            and single runs, `runs <column>` `[A, 3]`, NaN for none.
    """
    rows = NASBENCH201.index(NASBENCH201.from_choices(arrays["choices"]))
    every = NASBENCH201.enumerate()
    table = pd.DataFrame({"arch": NASBENCH201.to_strings(every), "class": NASBENCH201.canonical(every)})
    times = np.bincount(rows, minlength=len(table))
    if (times != 1).any():
        first = int(np.argmax(times != 1))
        found = f"{(times == 0).sum():,} are missing and {(times > 1).sum():,} given more than once"
        wanted, which = f"must have each of the {len(table):,} architectures once", table["arch"][first]
        raise DataError(f"The {source.name} table {wanted}, but {found}; the first is {which}. Get the whole file.")
    ordered = {name: values[np.argsort(rows)] for name, values in arrays.items() if name != "choices"}
    table["official_index"] = ordered.pop("official_index")
    for dataset in DATASETS:
        table[f"{dataset}/params"] = NASBENCH201.params(every, dataset).numpy()
        table[f"{dataset}/flops"] = NASBENCH201.flops(every, dataset).numpy()
    runs = {name.removeprefix("runs "): ordered.pop(name) for name in arrays if name.startswith("runs ")}
    accuracies = [name for name in ordered if "seconds" not in name]
    tasks = {
        title: Task(valid_column(name), test_column(name), f"nb201.{name.lower().partition('-')[0]}")
        for title, name in TITLES.items()
    }
    pairs = [signal for task in tasks.values() for signal in (task.valid, task.test) if signal in accuracies]
    signals = tuple(dict.fromkeys([*pairs, *accuracies]))
    return Table(NASBENCH201, pd.concat([table, pd.DataFrame(ordered)], axis=1), signals, source, runs, tasks)


def _read_public(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """What the public files hold, for `assemble`, in the official order. Accuracies are rounded to five decimals: they
    are counts of images, and what lies beyond is single-precision noise that breaks ties."""
    *test_files, runs_file, epochs_12_file, index_file = files
    index = torch.load(index_file, weights_only=False)  # text -> number; its SHA-256 was checked, as that of the others
    short, stored = pd.read_pickle(epochs_12_file), pd.read_pickle(runs_file)
    columns = {}
    for dataset, key in _KEYS.items():
        columns[test_column(dataset, 12)] = short[f"{key}-test"].to_numpy()
        columns[valid_column(dataset, 12)] = short[f"{key}-val"].to_numpy()
    runs, seconds = {}, {}
    for dataset, file in zip(DATASETS, test_files, strict=True):
        test, valid = pd.read_csv(file)["accuracy"].to_numpy(), valid_column(dataset)
        single, time = _single_runs(**stored[_KEYS[dataset]])
        columns[PUBLIC_RUNS[dataset]] = mean = np.nanmean(single, axis=1)
        if dataset != "cifar10":
            columns[valid] = 2 * mean - test
        columns[test_column(dataset)] = test
        runs[f"runs {PUBLIC_RUNS[dataset]}"] = single
        seconds[f"{valid.partition('/')[0]}/train-seconds@200"] = time
    rounded = {name: values.round(5) for name, values in (columns | runs).items()}
    every = NASBENCH201.enumerate()
    order = np.argsort([index[text] for text in NASBENCH201.to_strings(every)])
    return {"choices": NASBENCH201.choices(every)[order], "official_index": np.arange(len(order)), **rounded, **seconds}


def _single_runs(loss: np.ndarray, runtime: np.ndarray, size_in_mb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Single runs in percent, `[15625, 3]` with NaN for none, and seconds of training, `[15625]`. A new cell begins
    where the time or the parameters change."""
    first = np.concatenate([[True], (np.diff(runtime) != 0) | (np.diff(size_in_mb) != 0)])
    cell = np.cumsum(first) - 1
    runs = np.full((NASBENCH201.size, MAX_RUNS), np.nan)
    runs[cell, np.arange(len(loss)) - np.flatnonzero(first)[cell]] = 100 - loss
    return runs, runtime[first]
