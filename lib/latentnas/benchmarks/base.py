"""A table of measured architectures: graphs in, percent out.

All tables are alike: one row per architecture, in the order of the space's rows; columns of accuracies in percent,
the signals, beside others such as costs; and a source that says whose measurements these are. Tables of different
sources average other runs, so a table has one source, and no function joins two. B graphs, R runs.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pooch
from torch import Tensor

from latentnas import paths
from latentnas.benchmarks import download
from latentnas.benchmarks.download import DataError
from latentnas.graphs import DagBatch
from latentnas.interfaces import Space


@dataclass(frozen=True)
class Source:
    """Where a table comes from."""

    name: str  # "public", "bundled" or "official"; or a name of one's own
    files: dict[str, str]  # name -> SHA-256; of public files, their names in `download.FILES`
    paths: tuple[Path, ...] = ()  # of the files, in the same order


class Task(NamedTuple):
    """One data set of a table: the signal to select by, the one to report, and its name in claims."""

    valid: str
    test: str
    id: str


@dataclass(frozen=True, eq=False)
class Table:
    """One row per architecture in the order of `batch`; keeps the contract `interfaces.Benchmark`."""

    space: Space
    table: pd.DataFrame  # index 0, 1, ...; NaN in the signals of a row that was not measured
    signals: tuple[str, ...]  # columns with accuracies in percent; searches select by the first
    source: Source
    run_values: dict[str, np.ndarray] = field(default_factory=dict)  # signal -> single runs, float64 [rows, R]
    tasks: dict[str, Task] = field(default_factory=dict)  # title of a data set -> its signals
    advice: str = ""  # where to get a signal that this source lacks
    graphs: DagBatch | None = None  # of all rows, where the space is too large to be listed

    def __post_init__(self) -> None:
        if not self.signals or not {*self.signals} <= {*self.table}:
            found = f"{', '.join(self.signals) or 'none'}, but its columns are {', '.join(map(str, self.table))}"
            raise ValueError(f"A table of {self.space.name} names the signals {found}. Name some of its columns.")
        size = (self.graphs is None and getattr(self.space, "size", None)) or len(self.batch)
        if not self.table.index.equals(pd.RangeIndex(size)):
            rows = f"numbered from 0 to {size - 1:,} in the order of the space's rows"
            found = f"but its index is another one, of {len(self.table):,} rows. Sort them, NaN for what is not known"
            raise ValueError(f"A table of {self.space.name} has one row per architecture, {rows}, {found}.")
        for signal in self.signals:
            values = self.table[signal].to_numpy(np.float64)
            wrong = np.flatnonzero((values < 0) | (values > 100))
            if len(wrong):
                found = f"The accuracies {signal} of a table of {self.space.name} are not all percentages: that of row"
                number = f"{wrong[0]} is {values[wrong[0]]} ({len(wrong):,} such rows)"
                raise ValueError(f"{found} {number}. Give 0 to 100, NaN where not known.")

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def batch(self) -> DagBatch:
        """The graphs of all rows."""
        return self.space.enumerate() if self.graphs is None else self.graphs

    @cached_property
    def known(self) -> np.ndarray:
        """Which rows were measured, bool `[rows]`; all of them but in a table of one's own with NaN."""
        return self.table[self.signals[0]].notna().to_numpy()

    def index(self, batch: DagBatch) -> np.ndarray:
        """The row of each graph, int64 `[B]`; -1 for one that is not in the space or was not measured; TypeError for
        anything but a `DagBatch`."""
        if not isinstance(batch, DagBatch):
            asked = "Make one by `table.space.to_batch(texts)` or `table.batch[rows]`"
            raise TypeError(f"A table is asked for graphs in a DagBatch, not for {type(batch).__name__}. {asked}.")
        rows = self._rows_of(batch)
        return np.where((rows >= 0) & self.known[rows], rows, -1)

    def _rows_of(self, batch: DagBatch) -> np.ndarray:
        return self.space.index(batch)

    def query(self, batch: DagBatch) -> pd.DataFrame:
        """What is known about graphs, one line each in the order asked: `row` (-1 where not known), `known`, and all
        columns of the table, NaN where not known; errors are those of `index`."""
        rows = self.index(batch)
        frame = self.table.reindex(rows).reset_index(drop=True)
        frame.insert(0, "row", rows)
        frame.insert(1, "known", rows >= 0)
        return frame

    def labels(self, signal: str) -> np.ndarray:
        """Accuracies of all rows in percent, float64 `[rows]`, NaN where not known; ValueError for another signal."""
        if signal not in self.signals:
            known = f"it has {', '.join(self.signals)}. {self.advice}".strip()
            raise ValueError(f"The {self.source.name} table of {self.space.name} has no signal {signal!r}; {known}")
        return self.table[signal].to_numpy(np.float64)

    def optimum(self, signal: str) -> int:
        """The row with the highest accuracy, the first of several."""
        return int(np.nanargmax(self.labels(signal)))

    def runs(self, signal: str) -> np.ndarray:
        """Accuracies of the single runs in percent, float64 `[rows, R]`, NaN past the last run of a row; ValueError for
        a signal without any."""
        if signal not in self.run_values:
            found = f"has no single runs of {signal!r}; it has those of {', '.join(self.run_values) or 'no signal'}"
            raise ValueError(f"The {self.source.name} table of {self.space.name} {found}.")
        return self.run_values[signal]

    def noise(self, signal: str) -> np.ndarray:
        """Standard deviation (n - 1) of the runs of each row in points, float64 `[rows]`; NaN for one run."""
        return pd.DataFrame(self.runs(signal)).std(axis=1).to_numpy()

    def files(self) -> list[Path]:
        """The files that the table was read from."""
        return list(self.source.paths)


def hold_out(rows: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Training rows to learn from, and the last `share` of them to choose settings by. The splits here put rows in a
    random order of a fixed seed, so the same rows are held out wherever the share is the same."""
    end = len(rows) - int(share * len(rows))
    return rows[:end], rows[end:]


def public_source(*names: str) -> Source:
    """The source of a table made from these files of `download.FILES`, which are fetched."""
    checksums = {name: download.FILES[name].sha256 for name in names}
    return Source("public", checksums, tuple(map(download.fetch, names)))


def bundled_source(name: str) -> Source:
    """The source of a table of `data/bundled`."""
    return Source("bundled", {name: download.BUNDLED[name]}, (download.bundled(name),))


def official_path(variable: str, what: str) -> Path:
    """The path that an environment variable gives. Raises DataError: it is not set, or nothing is there."""
    path = Path(os.environ.get(variable, "")).expanduser()
    if not os.environ.get(variable):
        asked = f'Set {variable} to its path, or set data_source to "public"'
        raise DataError(f'data_source "official" needs {what}, which this project may not hand on. {asked}.')
    if not path.exists():
        raise DataError(f"There is no file {path}, which {variable} names. Set {variable} to the path of {what}.")
    return path


def converted(name: str, key: str, convert: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that `convert` makes, from `data/cache` where it made them before. The SHA-256 of what is kept lies
    beside it; what does not have it any more is made again. `key`: of what they are made from."""
    kept = paths.CACHE / "converted" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    note = kept.with_suffix(".sha256")
    if kept.is_file() and note.is_file() and note.read_bytes() == pooch.file_hash(str(kept)).encode():
        with np.load(kept, allow_pickle=False) as stored:
            return dict(stored)
    if kept.exists():
        print(f"The converted file {kept} is damaged or was changed: it is made again.", file=sys.stderr)
    arrays = convert()
    with paths.atomic_write(kept) as temporary:
        np.savez_compressed(temporary, **arrays)
    with paths.atomic_write(note) as temporary:
        temporary.write_text(pooch.file_hash(str(kept)))
    return arrays
