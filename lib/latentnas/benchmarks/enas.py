"""Tables of 19,020 six-layer ENAS architectures with weight-sharing accuracy.

*Public*: the one that D-VAE, NGAE and SVGe train on, measured on CIFAR-10 by the authors of D-VAE. *Bundled*:
`digits-enas`, drawn uniformly and measured by this project on images of handwritten digits
(`latentnas.measure.tables`), 300 of its architectures also trained from scratch.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from latentnas import paths
from latentnas.benchmarks.base import Source, Table, public_source, require_percent
from latentnas.benchmarks.digits import ENAS_ROWS, SHARED_FILE, bundled_source, read_bundled
from latentnas.benchmarks.download import DataError, fetch
from latentnas.graphs import DagBatch, canonical_hash
from latentnas.spaces.enas import ENAS

ACCURACY = "accuracy"  # the one signal
BURN_IN = 1000  # D-VAE drops the first architectures: the ENAS controller was still warming up
TRAIN_SHARE = 0.9

_LINE = re.compile(r"\s*(\[.*\])\s*,\s*(\d*\.\d+)\s*")


@dataclass(frozen=True, eq=False)
class EnasTable(Table):
    """One row per architecture in the order of the file; the space is too large to be listed.

    Columns of `table`: `accuracy`, `flops` and `params` of the network stated in `spaces.enas`, and `complexity`,
    NGAE's measure divided by its maximum over the table. The accuracy is that of the validation images with the
    shared weights of one supernet, not that after training the architecture by itself. In the public file (5,000
    images) it depends on the skip connections alone: architectures with the same 15 flags have the same accuracy, to
    the last digit, whatever their six operations are. That file has 8,477 different sets of flags.
    """

    graphs: DagBatch | None = None  # of all rows

    @property
    def batch(self) -> DagBatch:
        return self.graphs

    @property
    def accuracy(self) -> Tensor:
        """Labels of all rows in percent, float64 `[rows]`."""
        return torch.tensor(self.labels(ACCURACY))

    @property
    def complexity(self) -> Tensor:
        """That of all rows, float64 `[rows]`, 1 for the most complex."""
        return torch.tensor(self.table["complexity"].to_numpy())

    @cached_property
    def complexity_scale(self) -> float:
        """NGAE's complexity of the most complex architecture."""
        return float(self.space.complexity(self.batch).max())

    def split(self, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Rows of the 17,118 training and 1,902 test architectures, int64. Seed 0 is D-VAE's own split."""
        order = list(range(len(self)))
        random.Random(seed).shuffle(order)
        cut = int(len(order) * TRAIN_SHARE)
        return torch.tensor(order[:cut]), torch.tensor(order[cut:])

    def index(self, batch: DagBatch) -> np.ndarray:
        """The first row of each graph, however its vertices are numbered, int64 `[B]`; -1 where there is none."""
        return self._row_by_hash.reindex(canonical_hash(batch).cpu().numpy(), fill_value=-1).to_numpy()

    def query_any(self, batch: DagBatch) -> pd.DataFrame:
        """`query`, with what can be said of architectures that are not in the table: `valid` (it is an architecture
        of the space), `flops`, `params` and `complexity` of all valid ones, and `accuracy_by_skips` (of the rows with
        the same skip connections, where these decide the accuracy; NaN where there is none)."""
        batch = batch.to("cpu")
        valid = self.space.contains(batch)
        by_skips = self._accuracy_by_skips.reindex(self._skip_numbers(batch)).where(valid.numpy()).to_numpy()
        frame = self.query(batch).assign(valid=valid.numpy(), accuracy_by_skips=by_skips)
        for column in ("flops", "params", "complexity"):
            values = torch.full((len(batch),), float("nan"), dtype=torch.float64)
            values[valid] = getattr(self.space, column)(batch[valid]).double()
            frame[column] = values.numpy()
        return frame.assign(complexity=frame["complexity"] / self.complexity_scale)

    @cached_property
    def skips_decide(self) -> bool:
        """Whether architectures with the same skip connections all have the same accuracy, as in the public table."""
        by_skips = pd.Series(self.labels(ACCURACY), index=self._skip_numbers(self.batch)).groupby(level=0)
        return bool((by_skips.nunique() == 1).all())

    @cached_property
    def _row_by_hash(self) -> pd.Series:
        rows = pd.Series(np.arange(len(self)), index=canonical_hash(self.batch).numpy())
        return rows[~rows.index.duplicated()]

    @cached_property
    def _accuracy_by_skips(self) -> pd.Series:
        by_skips = pd.Series(self.labels(ACCURACY), index=self._skip_numbers(self.batch)).groupby(level=0).first()
        return by_skips if self.skips_decide else by_skips[:0]

    def _skip_numbers(self, batch: DagBatch) -> np.ndarray:
        """The 15 flags of each graph as one whole number."""
        return self.space.skips(batch).numpy() @ (1 << np.arange(15))


def load(data_source: str = "public") -> EnasTable:
    """The table of a data source, "public" (downloaded when it is not here) or "bundled". Raises DataError."""
    if data_source == "public":
        batch, accuracy = read_structures(fetch("enas"))
        return assemble(batch[BURN_IN:], accuracy[BURN_IN:], public_source(["enas"]))
    path = paths.BUNDLED / SHARED_FILE
    batch, accuracy = read_shared(path)
    return assemble(batch, accuracy, bundled_source(path))


def assemble(batch: DagBatch, accuracy: np.ndarray, source: Source) -> EnasTable:
    """The table of architectures and their accuracies in percent."""
    complexity = ENAS.complexity(batch)
    columns = {
        ACCURACY: accuracy,
        "flops": ENAS.flops(batch).numpy(),
        "params": ENAS.params(batch).numpy(),
        "complexity": (complexity / float(complexity.max())).numpy(),
    }
    return EnasTable(ENAS, pd.DataFrame(columns), (ACCURACY,), source, graphs=batch)


def read_shared(path: Path) -> tuple[DagBatch, np.ndarray]:
    """All architectures of the bundled table, and their accuracies in percent, float64. Raises DataError."""
    table = read_bundled(path.name)
    try:
        batch, accuracy = ENAS.to_batch(table["arch"].tolist()), table["valid"].to_numpy(np.float64)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"The bundled table {path} cannot be read: {error}. Check it out of the repository again."
        ) from error
    if len(batch) != ENAS_ROWS:
        raise DataError(
            f"The bundled table {path} has {len(batch):,} rows instead of {ENAS_ROWS:,}. Check it out of the "
            "repository again."
        )
    require_percent({"valid": accuracy}, table["arch"], f"The bundled table {path}")
    return batch, accuracy


def read_structures(path: Path) -> tuple[DagBatch, np.ndarray]:
    """All architectures of a file in D-VAE's format, and their accuracies in percent, float64.

    Raises:
        DataError: it names the line, the row and the position of what is wrong.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()  # binary is told like any other line
    texts, accuracy = [], np.empty(len(lines))
    for index, line in enumerate(lines):
        match = _LINE.fullmatch(line)
        if not match or float(match[2]) > 1:
            raise DataError(
                f"Line {index + 1} of {path} is not an architecture and an accuracy: {line[:100]!r}. Expected six "
                "lists in brackets, a comma and a fraction such as 0.7302."
            )
        texts.append(match[1])
        accuracy[index] = float(match[2])
    try:
        batch = ENAS.to_batch(texts)
    except ValueError as error:
        raise DataError(f"{path}: Line{str(error).removeprefix('Text')}") from None
    return batch, (100 * accuracy).round(8)  # what the product adds to the digits on file
