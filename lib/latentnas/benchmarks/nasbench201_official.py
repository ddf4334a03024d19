"""The official NAS-Bench-201 records, for whoever has them: the same kind of table as the public one.

Two forms hold the same kind of record, and `LATENTNAS_NASBENCH201` names either. The file of the NAS-Bench-201 paper,
`NAS-Bench-201-v1_1-096897.pth`, is one pickle that must be in memory as a whole, which takes about 6.6 times its size
on disk. The archive `NATS-tss-v1_0-3ffb9-simple` of NATS-Bench (Dong et al., TPAMI 2021), unpacked, has one small file
per architecture and is read one by one; it averages more runs. Both are read without running code from them, and the
converted table is kept in `data/cache`, so the long way is gone once.

The table has all signals of the records: also `cifar10-valid/ori-test`, and `ori-test` after 12 epochs. Single runs
are validation accuracies.
"""

from __future__ import annotations

import bz2
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pooch
import psutil
import torch

from latentnas.benchmarks.base import Source, Table, official_path
from latentnas.benchmarks.download import DataError
from latentnas.benchmarks.nasbench201 import CITATION, DATASETS, MAX_RUNS, Values, assemble, kept, valid_column
from latentnas.benchmarks.pickles import load_arrays
from latentnas.spaces.nasbench201 import NASBENCH201

EVALUATIONS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
VARIABLE = "LATENTNAS_NASBENCH201"
SCHEDULES = ("12", "200")
MEMORY_PER_BYTE = 6.6  # of the .pth file, measured on one of 283 MB
WORTH_A_LINE = 2**30  # bytes of an official source from which a reader should know that it takes long

NATS_CITATION = (
    "Dong, Liu, Musial, Gabrys. NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and "
    "Size. IEEE TPAMI 2021."
)
# What a file with NumPy scalars needs beyond torch's own list; NumPy 1 wrote another module name.
_SAFE = [
    np._core.multiarray.scalar,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
]

# What reading a wrong file ends in: torch refuses it, or the package does not find what it looks for.
_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, AssertionError, LookupError, TypeError,
    AttributeError,
)  # fmt: skip

Record = dict[str, dict]  # schedule -> the state of an `ArchResults` of the nas-bench-201 package


def load(data_source: str = "official") -> Table:
    """The table of the file or folder that `LATENTNAS_NASBENCH201` names.

    Raises:
        DataError: the path is not set or wrong, or as `load_pth` and `load_archive`.
    """
    path = official_path(VARIABLE, "NAS-Bench-201-v1_1-096897.pth or the unpacked folder NATS-tss-v1_0-3ffb9-simple")
    return load_archive(path) if path.is_dir() else load_pth(path)


def load_pth(path: Path, allow_missing: bool = False) -> Table:
    """The table of an official `.pth` file, read through the nas-bench-201 package.

    Args:
        allow_missing: take a file that lacks architectures: their values are NaN. Without it such a file is refused.

    Raises:
        DataError: the file is cut off or another one, needs more memory than there is, or lacks architectures or
            accuracies.
    """
    files = {path.name: pooch.file_hash(str(path))}
    source = Source("official", files, ("NAS-Bench-201: MIT",), (CITATION,), path.parent)
    return _load("official", source, lambda: _pth_records(path), allow_missing)


def load_archive(folder: Path, allow_missing: bool = False) -> Table:
    """The table of an unpacked NATS-Bench archive of the topology search space, read record by record; see
    `load_pth`."""
    files = sorted(folder.glob("[0-9]*.pickle.pbz2"))
    if not files:
        raise DataError(
            f"The folder {folder} has no records such as 000000.pickle.pbz2. Give the unpacked folder "
            "NATS-tss-v1_0-3ffb9-simple."
        )
    if sum(file.stat().st_size for file in files) > WORTH_A_LINE:
        print(f"{folder.name}: {len(files):,} records take about two minutes, unless they were read before.")
    checksums = {file.name: pooch.file_hash(str(file)) for file in files}
    source = Source("official", checksums, ("NATS-Bench: MIT",), (CITATION, NATS_CITATION), folder)
    return _load("nats", source, lambda: _archive_records(files), allow_missing)


def _load(
    name: str, source: Source, records: Callable[[], Iterable[tuple[str, int, Record]]], allow_missing: bool
) -> Table:
    """The table from its records, or from the kept one that was converted from the same records."""
    values = kept(name, source.files, lambda: _values(records()))
    return assemble(values, {dataset: valid_column(dataset) for dataset in DATASETS}, source, allow_missing)


def _pth_records(path: Path) -> Iterator[tuple[str, int, Record]]:
    """(where it is, official index, record) of every architecture in the file."""
    from nas_201_api import NASBench201API  # only needed here

    size, available = path.stat().st_size, psutil.virtual_memory().available
    needed = f"{path} ({size / 1e9:.1f} GB) needs about {size * MEMORY_PER_BYTE / 1e9:.0f} GB of memory"
    if size * MEMORY_PER_BYTE > available:
        raise DataError(
            f"Reading {needed}, and {available / 1e9:.0f} GB are free. Read it on a larger machine, whose "
            f"data/cache will then hold a small converted table, or set {VARIABLE} to the unpacked NATS-Bench archive: "
            "it needs little memory."
        )
    if size > WORTH_A_LINE:
        print(f"Reading {needed} and takes minutes. The converted table is kept.")
    try:
        with torch.serialization.safe_globals(_SAFE):
            api = NASBench201API(str(path), verbose=False)
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"The file {path} is cut off or no official NAS-Bench-201 file: it may hold nothing but "
            f"numbers, text, lists and dictionaries, with the keys of that file ({type(error).__name__}: "
            f"{reason}). Get it again."
        ) from error
    if not api.evaluated_indexes:
        raise DataError(f"The file {path} has no records.")
    for index in api.evaluated_indexes:
        try:
            schedules = api.arch2infos_dict[index]
        except KeyError:
            raise DataError(f"The file {path} lists architecture {index} but has no record of it.") from None
        yield f"Record {index} of {path}", index, {name: schedules[name].state_dict() for name in SCHEDULES}


def _archive_records(files: Iterable[Path]) -> Iterator[tuple[str, int, Record]]:
    """(where it is, official index, record) of every file of an archive."""
    for path in files:
        with bz2.open(path) as file:
            yield str(path), int(path.name.partition(".")[0]), load_arrays(file, path)


def _values(records: Iterable[tuple[str, int, Record]]) -> Values:
    """The values of all records, in their order."""
    texts, indices, rows, runs = [], [], [], []
    for where, index, record in records:
        try:
            text, values, valid = _read(record)
            NASBENCH201.to_batch([text])
            if record["200"]["arch_index"] != index:
                raise ValueError(f"its index is {record['200']['arch_index']}, not {index}")
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where} is no whole NAS-Bench-201 record: {error}.") from error
        texts.append(text)
        indices.append(index)
        rows.append(values)
        runs.append(valid)
    columns = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    by_dataset = {dataset: np.array([valid[dataset] for valid in runs]) for dataset in DATASETS}
    return Values(
        NASBENCH201.choices(NASBENCH201.to_batch(texts)), columns | {"official_index": np.array(indices)}, by_dataset
    )


def _read(record: Record) -> tuple[str, dict[str, float], dict[str, list[float]]]:
    """The text of an architecture, its columns, and the single runs of each data set."""
    columns: dict[str, float] = {}
    accuracies: dict[str, list[float]] = {}
    for schedule in SCHEDULES:
        results = record[schedule]["all_results"]
        for training_set, evaluations in EVALUATIONS.items():
            trained = [results[key] for key in sorted(results) if key[0] == training_set]
            if not trained or len(trained) > MAX_RUNS:
                raise ValueError(f"it has {len(trained)} runs of {schedule} epochs on {training_set}")
            for evaluation in evaluations:
                name = f"{training_set}/{evaluation}@{schedule}"
                last = f"{evaluation}@{int(schedule) - 1}"  # epochs count from 0
                if any(last not in run["eval_acc1es"] for run in trained):
                    raise ValueError(f"a run on {training_set} lacks the accuracy {last}")
                accuracies[name] = [round(float(run["eval_acc1es"][last]), 5) for run in trained]
                columns[name] = round(float(np.mean([run["eval_acc1es"][last] for run in trained])), 5)
            if schedule == "200":
                columns[f"{training_set}/train-seconds@200"] = _mean(_seconds(run) for run in trained)
    runs = {dataset: (accuracies[valid_column(dataset)] + [np.nan] * MAX_RUNS)[:MAX_RUNS] for dataset in DATASETS}
    return record["200"]["arch_str"], columns, runs


def _seconds(run: dict) -> float:
    """Seconds of the whole training; NaN where they were not recorded."""
    times = run["train_times"]
    return float(sum(times.values())) if times else np.nan


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
