"""The official NAS-Bench-201 records, for whoever has them: the same kind of table as the public one.

Two forms hold the same kind of record, and `LATENTNAS_NASBENCH201` names either. The file of the NAS-Bench-201 paper,
`NAS-Bench-201-v1_1-096897.pth`, is one pickle that must be in memory as a whole, which takes about 6.6 times its size
on disk. The archive `NATS-tss-v1_0-3ffb9-simple` of NATS-Bench (Dong et al., TPAMI 2021), unpacked, has one small file
per architecture and is read one by one; it averages more runs. A pickle is a program. Both are read without running
it: what names anything but numbers, text, arrays and plain containers is refused. The converted table is kept in
`data/cache`, so the long way is gone once.

The table has all signals of the records: also `cifar10-valid/ori-test`, and `ori-test` after 12 epochs. Single runs
are validation accuracies.
"""

import bz2
import collections
import pickle
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pooch
import psutil
import torch

from latentnas.benchmarks.base import Source, Table, converted, official_path
from latentnas.benchmarks.download import DataError
from latentnas.benchmarks.nasbench201 import DATASETS, MAX_RUNS, assemble, valid_column
from latentnas.progress import Progress
from latentnas.spaces.nasbench201 import NASBENCH201

EVALUATIONS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
VARIABLE = "LATENTNAS_NASBENCH201"
SCHEDULES = {"12": "less", "200": "full"}  # epochs -> their key in the .pth file
MEMORY_PER_BYTE = 6.6  # of the .pth file, measured on one of 283 MB

# What pickles of NumPy arrays and scalars name: the modules of NumPy 1 and of NumPy 2.
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_SCALARS = {f"{module}.scalar": np._core.multiarray.scalar for module in _MODULES}
_ARRAYS = {f"{module}._reconstruct": np._core.multiarray._reconstruct for module in _MODULES}
_PLAIN = {"collections.OrderedDict": collections.OrderedDict, "numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype}
_ALLOWED = _PLAIN | _ARRAYS | _SCALARS
_SAFE = [(function, name) for name, function in _SCALARS.items()] + [np.dtype, np.dtypes.Float64DType]

_WRONG = LookupError, TypeError, ValueError, AttributeError  # what a record that is no record ends in
_UNREADABLE = pickle.UnpicklingError, RuntimeError, EOFError, OSError, *_WRONG  # and a file that is none

Record = dict[str, dict]  # schedule -> the state of an `ArchResults` of the nas-bench-201 package


def load(data_source: str = "official") -> Table:
    """The table of the file or folder that `LATENTNAS_NASBENCH201` names. Raises DataError."""
    path = official_path(VARIABLE, "NAS-Bench-201-v1_1-096897.pth or the unpacked folder NATS-tss-v1_0-3ffb9-simple")
    archive = path.is_dir()
    files = sorted(path.glob("[0-9]*.pickle.pbz2")) if archive else [path]
    if not files:
        asked = "Give the unpacked folder NATS-tss-v1_0-3ffb9-simple"
        raise DataError(f"The folder {path} has no records such as 000000.pickle.pbz2. {asked}.")
    checksums = {file.name: pooch.file_hash(str(file)) for file in files}
    source = Source("official", checksums, tuple(files))
    records = archive_records(files) if archive else pth_records(path)
    return assemble(converted("nasbench201-official", str(checksums), lambda: read_records(records)), source)


def pth_records(path: Path) -> Iterator[tuple[str, int, Record]]:
    """(where it is, official index, record) of every architecture in the `.pth` file. Raises DataError."""
    size, available = path.stat().st_size, psutil.virtual_memory().available
    needed = f"{path} ({size / 1e9:.1f} GB) needs about {size * MEMORY_PER_BYTE / 1e9:.0f} GB of memory"
    if size * MEMORY_PER_BYTE > available:
        asked = (
            f"Read it on a larger machine and copy its data/cache, or set {VARIABLE} to the unpacked NATS-Bench archive"
        )
        raise DataError(f"Reading {needed}, and {available / 1e9:.0f} GB are free. {asked}: it needs little memory.")
    print(f"Reading {needed} and takes minutes. The converted table is kept.", file=sys.stderr)
    try:
        with torch.serialization.safe_globals(_SAFE):
            records = torch.load(path, map_location="cpu", weights_only=True)["arch2infos"]
        for index in sorted(records):
            yield f"Record {index} of {path}", index, {name: records[index][key] for name, key in SCHEDULES.items()}
    except _UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        wanted = "it may hold nothing but numbers, text, lists and dictionaries, with the keys of that file"
        found = f"The file {path} is cut off or no official NAS-Bench-201 file"
        raise DataError(f"{found}: {wanted} ({reason}). Get it again.") from error


def archive_records(files: list[Path]) -> Iterator[tuple[str, int, Record]]:
    """(where it is, official index, record) of every file of an archive. Raises DataError."""
    progress = Progress("reading the NATS-Bench archive, once", len(files))
    for number, path in enumerate(files, start=1):
        with bz2.open(path) as file:
            yield str(path), int(path.name.partition(".")[0]), load_arrays(file, path)
        progress.update(number)


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _ALLOWED:
            trust = "anything else could run code, so do not open it in another way unless you trust whoever made it"
            read = "but only numbers, text and NumPy arrays are read"
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, {read}: {trust}")
        return _ALLOWED[f"{module}.{name}"]


def load_arrays(file: BinaryIO, path: Path) -> Any:
    """What is pickled in an open file, if that is only NumPy arrays, scalars and dtypes, ordered dictionaries and
    Python's plain types; `path` is its name in errors. Raises DataError."""
    try:
        return _ArrayUnpickler(file).load()
    except _UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"The file {path} is cut off or no pickle of records ({reason}). Get it again.") from error


def read_records(records: Iterable[tuple[str, int, Record]]) -> dict[str, np.ndarray]:
    """What the records hold, for `nasbench201.assemble`, in their order. Raises DataError."""
    texts, rows = [], []
    for where, index, record in records:
        try:
            texts.append(record["200"]["arch_str"])
            NASBENCH201.to_batch(texts[-1:])
            if record["200"]["arch_index"] != index:
                raise ValueError(f"its index is {record['200']['arch_index']}, not {index}")
            rows.append({"official_index": index} | _read(record))
        except _WRONG as error:
            raise DataError(f"{where} is no whole NAS-Bench-201 record: {error}.") from error
    arrays = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ["official_index"])}
    return {"choices": NASBENCH201.choices(NASBENCH201.to_batch(texts)), **arrays}


def _read(record: Record) -> dict[str, float | list[float]]:
    """The columns of an architecture, and the single runs of each data set."""
    columns, runs = {}, {}
    for schedule in SCHEDULES:
        results = record[schedule]["all_results"]
        for training_set, evaluations in EVALUATIONS.items():
            trained = [results[key] for key in sorted(results) if key[0] == training_set]
            if not 0 < len(trained) <= MAX_RUNS:
                raise ValueError(f"it has {len(trained)} runs of {schedule} epochs on {training_set}")
            for evaluation in evaluations:
                name = f"{training_set}/{evaluation}@{schedule}"
                last = f"{evaluation}@{int(schedule) - 1}"  # epochs count from 0
                if any(not 0 <= run["eval_acc1es"].get(last, -1) <= 100 for run in trained):
                    found = f"lacks the accuracy {last}, or has one that is no percentage"
                    raise ValueError(f"a run on {training_set} {found}")
                accuracies = [float(run["eval_acc1es"][last]) for run in trained]
                columns[name] = round(float(np.mean(accuracies)), 5)
                if name in map(valid_column, DATASETS):
                    runs[f"runs {name}"] = [*(round(value, 5) for value in accuracies), np.nan, np.nan][:MAX_RUNS]
            if schedule == "200":
                seconds = [sum(run["train_times"].values()) if run["train_times"] else np.nan for run in trained]
                columns[f"{training_set}/train-seconds@200"] = float(np.mean(seconds))
    return columns | runs
