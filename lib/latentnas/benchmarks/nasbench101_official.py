"""The official NAS-Bench-101 files, for whoever has them: validation accuracy and every single run.

`nasbench_only108.tfrecord` has the runs of 108 epochs, `nasbench_full.tfrecord` also those of 4, 12 and 36. The
environment variable `LATENTNAS_NASBENCH101` names the file. It must have the SHA-256 that the authors publish, so its
form needs no further check, and it is read without TensorFlow. It is a row of records:

    length (8 bytes, little-endian) | checksum (4) | data | checksum (4)

The data is a JSON list: graph hash, epochs, adjacency matrix, operations, and a protocol buffer in base64. Of its
message `ModelMetrics` two fields are used, of its last `EvaluationData`, the one after training, four; their numbers
stand below. What is read is kept in `data/cache`, so the minutes it takes are spent once.
"""

import base64
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from latentnas.benchmarks.base import Source, Table, converted, official_path
from latentnas.benchmarks.download import DataError, check
from latentnas.benchmarks.nasbench101 import assemble
from latentnas.progress import Progress
from latentnas.spaces.nasbench101 import NASBENCH101

VARIABLE = "LATENTNAS_NASBENCH101"
SHA256 = {  # https://github.com/google-research/nasbench
    "4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1": "nasbench_only108.tfrecord",
    "3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c": "nasbench_full.tfrecord",
}

# Fields of the messages, by number.
LAST_EVALUATION, TRAINABLE_PARAMETERS = 1, 2
FINAL = {"seconds": 2, "train": 3, "valid": 4, "test": 5}

RUN = np.dtype([("hash", "S32"), ("epochs", int), ("params", int), *((name, float) for name in FINAL)])


def load(data_source: str = "official") -> Table:
    """A table like the public one with, for each number of epochs E in the file, the means over runs
    `cifar10/train@E`, `cifar10/valid@E`, `cifar10/test@E` (percent) and `cifar10/train-seconds@E`, and the single runs
    of validation and test accuracy. Raises DataError.
    """
    path = official_path(VARIABLE, " or ".join(SHA256.values()))
    digest = check(path, SHA256, f"Set {VARIABLE} to {' or '.join(SHA256.values())}, or get it again.")
    runs = pd.DataFrame(converted("nasbench101-official", digest, lambda: read_runs(path)))
    runs["run"] = runs.groupby(["row", "epochs"]).cumcount()
    columns, single, rows = {}, {}, range(NASBENCH101.size)
    for epochs, group in runs.groupby("epochs"):
        means = group.groupby("row")[["train", "valid", "test", "seconds"]].mean().reindex(rows)
        means.columns = [f"cifar10/{name}@{epochs}" for name in ("train", "valid", "test", "train-seconds")]
        columns |= {name: values.to_numpy() for name, values in means.items()}
        for name in ("valid", "test"):
            wide = group.pivot(index="row", columns="run", values=name).reindex(rows)
            single[f"cifar10/{name}@{epochs}"] = wide.to_numpy()
    return assemble(columns, Source("official", {path.name: digest}, (path,)), single)


def read_runs(path: Path) -> dict[str, np.ndarray]:
    """All runs in the order of the file, `[R]` each: `row`, `epochs`, the accuracies `train`, `valid` and `test` after
    training in percent, and `seconds` of training. Raises DataError where a record is not that of a cell."""
    runs, cells = np.fromiter(_records(path), dtype=RUN), NASBENCH101.cells()
    hashes = np.array(cells.hashes(), dtype="S32")  # ascending: a row is a place in it
    rows = np.searchsorted(hashes, runs["hash"]).clip(max=len(hashes) - 1)
    foreign = np.flatnonzero((hashes[rows] != runs["hash"]) | (cells.params[rows] != runs["params"]))
    if len(foreign):
        graph_hash, params = runs["hash"][foreign[0]].decode(), runs["params"][foreign[0]]
        found = f"record {foreign[0] + 1} has the hash {graph_hash} and {params:,} parameters, which no cell has"
        raise DataError(f"{path} does not belong to the cells as they are enumerated here: {found}.")
    percent = {name: 100 * runs[name] for name in ("train", "valid", "test")}
    return {"row": rows, "epochs": runs["epochs"], **percent, "seconds": runs["seconds"]}


def _records(path: Path) -> Iterator[tuple]:
    """The values in `RUN` of each record."""
    progress = Progress(f"reading {path.name}, once", path.stat().st_size)
    with open(path, "rb") as file:
        while header := file.read(12):
            graph_hash, epochs, _, _, metrics = json.loads(file.read(struct.unpack_from("<Q", header)[0]))
            file.seek(4, 1)
            fields = _fields(base64.b64decode(metrics))
            final = _fields(fields[LAST_EVALUATION])
            values = (struct.unpack("<d", final[number])[0] for number in FINAL.values())
            yield graph_hash.encode(), epochs, fields[TRAINABLE_PARAMETERS], *values
            progress.update(file.tell())


def _fields(message: bytes) -> dict[int, int | bytes]:
    """The last value of each field of a protocol buffer: a whole number, or bytes."""
    fields, stream = {}, io.BytesIO(message)
    while stream.tell() < len(message):
        key = _varint(stream)
        value = 8 if key & 7 == 1 else _varint(stream)  # eight bytes, a number or a length
        fields[key >> 3] = stream.read(value) if key & 7 else value
    return fields


def _varint(stream: BinaryIO) -> int:
    """The whole number that comes next, seven bits a byte with the lowest first."""
    [byte] = stream.read(1)
    return byte if byte < 128 else byte - 128 + (_varint(stream) << 7)
