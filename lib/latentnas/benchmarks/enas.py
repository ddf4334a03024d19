"""Tables of 19,020 six-layer ENAS architectures with weight-sharing accuracy.

*Public*: the one that D-VAE, NGAE and SVGe train on, measured on CIFAR-10 by the authors of D-VAE. *Bundled*:
`digits-enas`, drawn uniformly and measured by this project on images of handwritten digits
(`latentnas.measure.tables`), 300 of its architectures also trained from scratch.
"""

import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pandas.api.typing import SeriesGroupBy
from torch import Tensor

from latentnas.benchmarks.base import Source, Table, bundled_source, public_source
from latentnas.benchmarks.digits import SHARED_FILE
from latentnas.benchmarks.download import DataError
from latentnas.graphs import DagBatch, canonical_hash
from latentnas.spaces.enas import ENAS

ACCURACY = "accuracy"  # the one signal
BURN_IN = 1000  # D-VAE drops the first architectures: the ENAS controller was still warming up
TRAIN_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class EnasTable(Table):
    """One row per architecture in the order of the file; the space is too large to be listed.

    Columns of `table`: `accuracy`, `flops` and `params` of the network stated in `spaces.enas`, and `complexity`,
    NGAE's measure divided by its maximum over the table. The accuracy is that of the validation images with the
    shared weights of one supernet, not that after training the architecture by itself. In the public file (5,000
    images) it depends, to the last digit, on the 15 skip flags alone, of which there are 8,477 different sets.
    """

    @property
    def accuracy(self) -> Tensor:
        return torch.tensor(self.labels(ACCURACY))

    @property
    def complexity(self) -> Tensor:
        """That of all rows, float64 `[rows]`, 1 for the most complex."""
        return torch.tensor(self.table["complexity"].to_numpy())

    def split(self, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Rows of the training and test architectures (17,118 and 1,902 of all), int64. Seed 0: D-VAE's own split."""
        order = list(range(len(self)))
        random.Random(seed).shuffle(order)
        cut = int(len(order) * TRAIN_SHARE)
        return torch.tensor(order[:cut]), torch.tensor(order[cut:])

    def _rows_of(self, batch: DagBatch) -> np.ndarray:
        """The first row of each graph, however its vertices are numbered."""
        return self._row_by_hash.reindex(canonical_hash(batch).cpu().numpy(), fill_value=-1).to_numpy()

    def query_any(self, batch: DagBatch) -> pd.DataFrame:
        """`query`, with what can be said of architectures that are not in the table: `valid` (it is an architecture
        of the space), `flops`, `params` and `complexity` of all valid ones, and `accuracy_by_skips` (of the rows with
        the same skip connections, where these decide the accuracy; NaN where there is none)."""
        batch = batch.to("cpu")
        valid = self.space.contains(batch)
        known = self._by_skips.first() if self.skips_decide else pd.Series(dtype=np.float64)
        by_skips = known.reindex(self._skip_numbers(batch)).where(valid.numpy()).to_numpy()
        frame = self.query(batch).assign(valid=valid.numpy(), accuracy_by_skips=by_skips)
        for column in ("flops", "params", "complexity"):
            values = torch.full((len(batch),), float("nan"), dtype=torch.float64)
            values[valid] = getattr(self.space, column)(batch[valid]).double()
            frame[column] = values.numpy()
        return frame.assign(complexity=frame["complexity"] / float(self.space.complexity(self.batch).max()))

    @cached_property
    def skips_decide(self) -> bool:
        """Whether architectures with the same skip connections all have the same accuracy, as in the public table."""
        return bool((self._by_skips.nunique() == 1).all())

    @cached_property
    def _row_by_hash(self) -> pd.Series:
        rows = pd.Series(np.arange(len(self)), index=canonical_hash(self.batch).numpy())
        return rows[~rows.index.duplicated()]

    @cached_property
    def _by_skips(self) -> SeriesGroupBy:
        return pd.Series(self.labels(ACCURACY), index=self._skip_numbers(self.batch)).groupby(level=0)

    def _skip_numbers(self, batch: DagBatch) -> np.ndarray:
        """The 15 flags of each graph as one whole number."""
        return self.space.skips(batch).numpy() @ (1 << np.arange(15))


def load(data_source: str = "public") -> EnasTable:
    """The table of a data source, "public" (downloaded when it is not here) or "bundled". Raises DataError."""
    if data_source == "public":
        source = public_source("enas")
        batch, accuracy = read_structures(source.paths[0])
        return assemble(batch[BURN_IN:], accuracy[BURN_IN:], source)
    source = bundled_source(SHARED_FILE)
    measured = pd.read_csv(source.paths[0])
    return assemble(ENAS.to_batch(measured["arch"].tolist()), measured["valid"].to_numpy(np.float64), source)


def assemble(batch: DagBatch, accuracy: np.ndarray, source: Source) -> EnasTable:
    """The table of architectures and their accuracies in percent `[B]`, NaN where not known. With labels of one's own:
    `assemble(ENAS.to_batch(texts), percent, Source("mine", {}))`, with `Source` from `benchmarks.base`."""
    complexity = ENAS.complexity(batch)
    columns = {
        ACCURACY: accuracy,
        "flops": ENAS.flops(batch).numpy(),
        "params": ENAS.params(batch).numpy(),
        "complexity": (complexity / float(complexity.max())).numpy(),
    }
    return EnasTable(ENAS, pd.DataFrame(columns), (ACCURACY,), source, graphs=batch)


def read_structures(path: Path) -> tuple[DagBatch, np.ndarray]:
    """All architectures of a file in D-VAE's format, a line of six lists, a comma and a fraction for each, and their
    accuracies in percent, float64. Raises DataError for a file of another format."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        texts, fractions = zip(*(line.rsplit(",", 1) for line in lines), strict=True)
        return ENAS.to_batch(list(texts)), (100 * np.array(fractions, np.float64)).round(8)  # as many digits as on file
    except ValueError as error:
        asked = "a line for each architecture of six lists, a comma and an accuracy between 0 and 1"
        raise DataError(f"The file {path} is not in D-VAE's format, {asked}: {error}") from error
