"""The official NAS-Bench-101 files, for whoever has them: validation accuracy and every single run.

`nasbench_only108.tfrecord` has the runs of 108 epochs, `nasbench_full.tfrecord` also those of 4, 12 and 36.
They are read without TensorFlow. Such a file is a row of records, each framed by its length and two
checksums:

    length (8 bytes) | masked CRC-32C of these (4) | data | masked CRC-32C of the data (4), little-endian

The data is a JSON list: graph hash, epochs, the rows of the adjacency matrix as one string of 0 and 1, the
operations with commas between, and a protocol buffer in base64. Of its message `ModelMetrics` three fields
are used, of each repeated `EvaluationData` five; their numbers stand below. The last evaluation is the one
after training.

The environment variable `LATENTNAS_NASBENCH101` names the file. What is read is kept in `data/cache` under the file's
checksum, so the minutes it takes are spent once.
"""

from __future__ import annotations

import base64
import functools
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pooch

from latentnas.benchmarks.base import Source, Table, converted, official_path
from latentnas.benchmarks.download import DataError
from latentnas.benchmarks.nasbench101 import CITATION, assemble, check_params
from latentnas.progress import Progress
from latentnas.spaces.nasbench101 import NASBENCH101

VARIABLE = "LATENTNAS_NASBENCH101"
LICENCE = "google-research/nasbench: Apache-2.0"
CHUNK = 4096  # records whose checksums and graphs are looked at together
MAX_RECORD = 65_536  # bytes: ample for one small graph and a few numbers

# Fields of the messages, by number.
EVALUATIONS, TRAINABLE_PARAMETERS = 1, 2
TRAINING_TIME, TRAIN, VALID, TEST = 2, 3, 4, 5

COLUMNS = ("row", "epochs", "train", "valid", "test", "seconds", "params")  # of one run, as read


def load(data_source: str = "official") -> Table:
    """A table like the public one with, for each number of epochs E in the file, the means over runs
    `cifar10/train@E`, `cifar10/valid@E`, `cifar10/test@E` (percent) and `cifar10/train-seconds@E`, and the single runs
    of validation and test accuracy.

    Raises:
        DataError: the path is not set or wrong, the file is damaged, or a cell is missing.
    """
    runs, source = read_runs(official_path(VARIABLE, "nasbench_only108.tfrecord or nasbench_full.tfrecord"))
    columns, single, rows = {}, {}, np.unique(runs["row"])
    for epochs, group in runs.groupby("epochs"):
        means = group.groupby("row")[["train", "valid", "test", "seconds"]].mean().reindex(rows)
        for name, values in means.items():
            columns[f"cifar10/{'train-seconds' if name == 'seconds' else name}@{epochs}"] = values.to_numpy()
        for name in ("valid", "test"):
            wide = group.pivot(index="row", columns="run", values=name).reindex(rows)
            single[f"cifar10/{name}@{epochs}"] = wide.to_numpy()
    return replace(assemble(rows, columns, source), run_values=single)  # of all rows, in ascending order


def read_runs(path: Path) -> tuple[pd.DataFrame, Source]:
    """All runs in the order of the file, and where they come from.

    Columns: `row` (of `NASBENCH101.enumerate()`), `epochs`, `run` (0, 1, ... for the same cell and epochs),
    the accuracies `train`, `valid` and `test` after training in percent, and `seconds` of training. Raises
    DataError naming the record that is cut off, damaged or of another kind.
    """
    if not path.is_file():
        raise DataError(f"{path} is no file. Give the path of nasbench_only108.tfrecord.")
    digest = pooch.file_hash(str(path))

    def read() -> dict[str, np.ndarray]:
        values = np.concatenate([np.empty((0, len(COLUMNS))), *_read_chunks(path)])
        if not len(values):
            raise DataError(f"{path} has no records. Give the path of nasbench_only108.tfrecord.")
        check_params(values[:, 0].astype(int), values[:, COLUMNS.index("params")], str(path))
        return {"values": values}

    values = converted("nasbench101-official", digest, read)["values"]
    runs = pd.DataFrame(values, columns=COLUMNS).drop(columns="params")
    runs = runs.astype({"row": int, "epochs": int})
    runs.insert(2, "run", runs.groupby(["row", "epochs"]).cumcount())
    return runs, Source("official", {path.name: digest}, (LICENCE,), (CITATION,), path.parent)


def _read_chunks(path: Path) -> Iterator[np.ndarray]:
    """The values [R, 7] in COLUMNS of some records after others."""
    progress = Progress(f"reading {path.name}, once", path.stat().st_size)
    chunk, first, end = [], 1, 0
    for record in _frames(path):
        chunk.append(record)
        end += len(record[1]) + 16
        if len(chunk) == CHUNK:
            yield _chunk_values(chunk, first, path)
            chunk, first = [], first + CHUNK
            progress.update(end)
    if chunk:
        yield _chunk_values(chunk, first, path)


def _frames(path: Path) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Of each record its length as written, its data, and the checksums of both. Raises DataError."""
    with open(path, "rb") as file:
        number = 1
        while header := file.read(12):
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else 0
            if length > MAX_RECORD:
                raise DataError(
                    f"Record {number} of {path} claims {length:,} bytes, so this is no NAS-Bench-101 "
                    "tfrecord, or it is damaged. Give the path of nasbench_only108.tfrecord, or get it "
                    "again."
                )
            data, footer = file.read(length), file.read(4)
            if len(header) < 12 or len(data) < length or len(footer) < 4:
                raise DataError(f"{path} is cut off inside record {number}. Get it again.")
            yield header[:8], data, *struct.unpack("<II", header[8:] + footer)
            number += 1


def _chunk_values(chunk: list[tuple[bytes, bytes, int, int]], first: int, path: Path) -> np.ndarray:
    """The values [R, 7] in COLUMNS of the records whose first is number `first`. Raises DataError."""
    lengths, data, length_sums, data_sums = zip(*chunk, strict=True)
    right = (_masked_crc32c(lengths) == length_sums) & (_masked_crc32c(data) == data_sums)
    if not right.all():
        number = first + int(np.argmin(right))
        raise DataError(f"Record {number} of {path} is damaged: its checksum does not match. Get it again.")
    hashes, graphs, values = [], [], np.empty((len(chunk), len(COLUMNS)))
    for place, record in enumerate(data):
        try:
            graph_hash, epochs, matrix, operations, metrics = json.loads(record)
            if type(epochs) is not int:
                raise ValueError(f"its epochs are {epochs!r}")
            values[place, 1] = epochs
            values[place, 2:] = _metrics(base64.b64decode(metrics, validate=True))
            hashes.append(graph_hash)
            graphs.append((str(matrix), str(operations)))
        except (ValueError, TypeError, IndexError, struct.error) as error:
            raise DataError(
                f"Record {first + place} of {path} is not one of NAS-Bench-101, a list of hash, epochs, "
                f"adjacency, operations and metrics: {error}. Give the path of nasbench_only108.tfrecord."
            ) from None
    distinct = sorted(set(graphs))
    try:
        rows = NASBENCH101.index(NASBENCH101.to_batch([_text(*graph) for graph in distinct]))
    except ValueError as error:
        raise DataError(f"In records {first} to {first + len(chunk) - 1} of {path}: {error}") from None
    values[:, 0] = rows[np.searchsorted(np.array([" ".join(g) for g in distinct]), [" ".join(g) for g in graphs])]
    expected = NASBENCH101.cells().hashes(values[:, 0].astype(int))
    for place, (found, graph_hash) in enumerate(zip(hashes, expected, strict=True)):
        if found != graph_hash:
            raise DataError(
                f"Record {first + place} of {path} has the graph hash {found!r}, but its graph has "
                f"{graph_hash}. The file is damaged or from another version of NAS-Bench-101."
            )
    return values


def _text(matrix: str, operations: str) -> str:
    """The text of a cell as `NASBENCH101.to_batch` reads it."""
    names = operations.split(",")
    rows = [[int(flag) for flag in matrix[start : start + len(names)]] for start in range(0, len(matrix), len(names))]
    return json.dumps({"matrix": rows, "ops": names})


# protocol buffers


def _metrics(message: bytes) -> tuple[float, ...]:
    """Train, validation and test accuracy in percent, seconds of training, and parameters, of a
    ModelMetrics."""
    last, params = None, 0
    for number, value in _fields(message):
        if number == EVALUATIONS:
            last = value
        elif number == TRAINABLE_PARAMETERS:
            params = value
    if last is None:
        raise ValueError("its metrics have no evaluation")
    final = dict(_fields(last))
    missing = {TRAINING_TIME, TRAIN, VALID, TEST} - set(final)
    if missing:
        raise ValueError(f"its last evaluation has no field {min(missing)}")
    seconds, train, valid, test = (
        struct.unpack("<d", final[number])[0] for number in (TRAINING_TIME, TRAIN, VALID, TEST)
    )
    return 100 * train, 100 * valid, 100 * test, seconds, params


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: their numbers and values, a whole number or bytes. Raises ValueError."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(message, place)
        elif kind in (1, 2, 5):
            length, place = {1: (8, place), 5: (4, place)}.get(kind) or _varint(message, place)
            value, place = message[place : place + length], place + length
        else:
            raise ValueError(f"its metrics have a field of unknown kind {kind}")
        if place > len(message):
            raise ValueError("its metrics are cut off")
        yield number, value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The whole number at a place, seven bits a byte with the lowest first, and the place after it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


# checksums


def _masked_crc32c(messages: tuple[bytes, ...]) -> np.ndarray:
    """The CRC-32C (Castagnoli) of each message as a TFRecord stores it, uint32 [M]: all messages at once, one
    byte position after another."""
    lengths = np.array([len(message) for message in messages])
    width = int(lengths.max())
    padded = b"".join(message.ljust(width, b"\0") for message in messages)
    columns = np.frombuffer(padded, dtype=np.uint8).reshape(len(messages), width).T
    table, crc = _crc_table(), np.full(len(messages), 0xFFFFFFFF, dtype=np.uint32)
    for place, column in enumerate(columns):
        crc = np.where(place < lengths, table[(crc ^ column) & 255] ^ (crc >> 8), crc)
    crc = ~crc
    return (crc >> 15 | crc << 17) + np.uint32(0xA282EAD8)


@functools.cache
def _crc_table() -> np.ndarray:
    """What each value of a byte does to the checksum, uint32 [256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    return table
