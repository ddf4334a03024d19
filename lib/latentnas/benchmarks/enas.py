"""Tables of 19,020 six-layer ENAS architectures with weight-sharing accuracy.

*Public*: the one that D-VAE, NGAE and SVGe train on, measured on CIFAR-10 by the authors of D-VAE. *Bundled*:
`digits-enas`, drawn uniformly and measured by this project on images of handwritten digits
(`latentnas.measure.tables`), 300 of its architectures also trained from scratch.
"""

import random
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import torch

from latentnas import paths
from latentnas.benchmarks.digits import CITATION as DIGITS_CITATION
from latentnas.benchmarks.digits import LICENCE as DIGITS_LICENCE
from latentnas.benchmarks.download import FILES, DataError, Source, fetch
from latentnas.graphs import DagBatch, canonical_hash
from latentnas.measure.tables import ARCHITECTURES, SHARED_FILE
from latentnas.spaces.enas import ENAS, EnasSpace

BURN_IN = 1000  # D-VAE drops the first architectures: the ENAS controller was still warming up
TRAIN_SHARE = 0.9

_LINE = re.compile(r"\s*(\[.*\])\s*,\s*(\d*\.\d+)\s*")


@dataclass(frozen=True)
class EnasBenchmark:
    """The table, one row per architecture in the order of the file.

    Accuracy is a fraction of the validation images, measured with the shared weights of one supernet; it is not the
    accuracy after training the architecture by itself. In the public file (5,000 images) it depends on the skip
    connections alone: architectures with the same 15 flags have the same accuracy, to the last digit, whatever
    their six operations are. That file has 8,477 different sets of flags.
    """

    space: EnasSpace
    batch: DagBatch
    accuracy: torch.Tensor  # float64 [19020], a fraction
    flops: torch.Tensor  # int64 [19020], multiply-adds of the network stated in spaces/enas.py
    params: torch.Tensor  # int64 [19020], of the same network
    complexity: torch.Tensor  # float64 [19020]: NGAE's measure divided by its maximum over the whole table
    complexity_scale: float  # that maximum
    source: Source
    path: Path  # the file it was read from

    def __len__(self) -> int:
        return len(self.batch)

    def split(self, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of the 17,118 training and 1,902 test architectures, int64. Seed 0 is D-VAE's own split."""
        order = list(range(len(self)))
        random.Random(seed).shuffle(order)
        cut = int(len(order) * TRAIN_SHARE)
        return torch.tensor(order[:cut]), torch.tensor(order[cut:])

    def query(self, batch: DagBatch) -> pd.DataFrame:
        """What is known about any graphs, one row each.

        Columns: `known` (it is in the table), `accuracy` (NaN where not known), `accuracy_by_skips` (of the
        architectures in the table with the same skip connections, where these all have the same, as in the public
        table; NaN where there is none), `valid` (an architecture of the space), `flops`, `params` and `complexity` (NaN where not valid).
        """
        batch = batch.to("cpu")
        valid = self.space.contains(batch)
        accuracy = self._accuracy_by_hash.reindex(canonical_hash(batch).numpy()).to_numpy()
        by_skips = self._accuracy_by_skips.reindex(self._skip_numbers(batch)).where(valid.numpy()).to_numpy()
        frame = pd.DataFrame(
            {"known": ~np.isnan(accuracy), "accuracy": accuracy, "accuracy_by_skips": by_skips, "valid": valid.numpy()}
        )
        costs = {"flops": self.space.flops, "params": self.space.params, "complexity": self._complexity}
        for column, cost in costs.items():
            values = torch.full((len(batch),), float("nan"), dtype=torch.float64)
            values[valid] = cost(batch[valid]).double()
            frame[column] = values.numpy()
        return frame

    @cached_property
    def _accuracy_by_hash(self) -> pd.Series:
        return self._accuracy_by(canonical_hash(self.batch).numpy())

    @cached_property
    def _accuracy_by_skips(self) -> pd.Series:
        by_skips = self._accuracy_by(self._skip_numbers(self.batch))
        return by_skips if self.skips_decide else by_skips[:0]

    @cached_property
    def skips_decide(self) -> bool:
        """Whether architectures with the same skip connections all have the same accuracy, as in the public table."""
        by_skips = pd.Series(self.accuracy.numpy(), index=self._skip_numbers(self.batch)).groupby(level=0)
        return bool((by_skips.nunique() == 1).all())

    def _accuracy_by(self, keys: np.ndarray) -> pd.Series:
        return pd.Series(self.accuracy.numpy(), index=keys).groupby(level=0).first()

    def _skip_numbers(self, batch: DagBatch) -> np.ndarray:
        """The 15 flags of each graph as one whole number."""
        return self.space.skips(batch).numpy() @ (1 << np.arange(15))

    def _complexity(self, batch: DagBatch) -> torch.Tensor:
        return self.space.complexity(batch) / self.complexity_scale


def load_enas(data_source: str = "public") -> EnasBenchmark:
    """The table of a data source, "public" (downloaded when it is not here) or "bundled". Raises DataError."""
    if data_source == "public":
        file, path = FILES["enas"], fetch("enas")
        batch, accuracy = read_structures(path)
        batch, accuracy = batch[BURN_IN:], accuracy[BURN_IN:]
        source = Source("public", {file.name: file.sha256}, (file.licence,), (file.citation,))
    elif data_source == "bundled":
        path = paths.BUNDLED / SHARED_FILE
        batch, accuracy = read_shared(path)
        source = Source("bundled", {path.name: pooch.file_hash(str(path))}, (DIGITS_LICENCE,), (DIGITS_CITATION,))
    else:
        raise DataError(f"The ENAS table has no data source {data_source!r}. Set data_source to 'public' or 'bundled'.")
    complexity = ENAS.complexity(batch)
    scale = float(complexity.max())
    return EnasBenchmark(
        ENAS, batch, accuracy, ENAS.flops(batch), ENAS.params(batch), complexity / scale, scale, source, path
    )


def read_shared(path: Path) -> tuple[DagBatch, torch.Tensor]:
    """All architectures of the bundled table, and their accuracies as float64 fractions. Raises DataError."""
    try:
        table = pd.read_csv(path)
        batch, percent = ENAS.to_batch(table["arch"].tolist()), torch.from_numpy(table["valid"].to_numpy(copy=True))
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise DataError(
            f"The bundled table {path} cannot be read: {error}. Check it out of the repository again."
        ) from error
    if len(batch) != ARCHITECTURES or not ((percent >= 0) & (percent <= 100)).all():  # NaN is wrong too
        raise DataError(
            f"The bundled table {path} has {len(batch):,} rows instead of {ARCHITECTURES:,}, or an accuracy that is no "
            "percentage. Check it out of the repository again."
        )
    return batch, percent / 100


def read_structures(path: Path) -> tuple[DagBatch, torch.Tensor]:
    """All architectures of a file in D-VAE's format, and their accuracies as float64.
    Raises DataError naming the line, the row and the position of what is wrong."""
    lines = Path(path).read_text().splitlines()
    texts, accuracy = [], np.empty(len(lines))
    for index, line in enumerate(lines):
        match = _LINE.fullmatch(line)
        if not match:
            raise DataError(
                f"Line {index + 1} of {path} is not an architecture and an accuracy: {line[:100]!r}. Expected six "
                "lists in brackets, a comma and a number such as 0.7302."
            )
        texts.append(match[1])
        accuracy[index] = float(match[2])
    try:
        batch = ENAS.to_batch(texts)
    except ValueError as error:
        raise DataError(f"{path}: Line{str(error).removeprefix('Text')}") from None
    return batch, torch.from_numpy(accuracy)
