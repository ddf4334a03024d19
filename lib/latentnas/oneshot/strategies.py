"""One-shot search of NAS-Bench-201 cells: the baselines of E2NAS, on the same shared weights and in one loop.

* Random search with parameter sharing (Li and Talwalkar, UAI 2019) and SPOS (Guo et al., ECCV 2020) train
  with cells drawn uniformly; then they search for the best shared accuracy, at random or by evolution.
* DARTS (Liu et al., ICLR 2019), first order, and GDAS (Dong and Yang, CVPR 2019) learn logits of the
  operations on each edge during the training; the cell found is the largest on each.

What a cell found is worth is read from a benchmark afterwards. The defaults are for the digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from latentnas.interfaces import Searcher
from latentnas.measure.digits import ImageSets
from latentnas.oneshot.shared_cells import SharedCells
from latentnas.oneshot.training import (
    Observer,
    Strategy,
    SupernetSchedule,
    cross_entropy,
    shared_accuracy,
    train_supernet,
)  # fmt: skip
from latentnas.search.base import run
from latentnas.search.domains import Domain
from latentnas.spaces.nasbench201 import CELL_EDGES, NASBENCH201, NUM_OPERATIONS

CELLS_OF_A_QUERY = 50  # asked for at a time in the search after the training


@dataclass(frozen=True)
class Found:
    """The end of a one-shot search."""

    row: int  # the cell found, in the order of NASBENCH201.enumerate()
    training: pd.DataFrame  # one row an epoch, see train_supernet
    visited: np.ndarray  # rows of the cells that steps of the training visited, the latest first
    selection: pd.DataFrame | None = None  # cells scored after the training: at least their row and value


@dataclass(frozen=True)
class UniformConfig:
    """How many cells a step trains, each with its own part of the batch."""

    at_once: int = 1


class UniformCells(Strategy):
    """Cells drawn uniformly. Its current cell is one of those of the last step."""

    def __init__(self, config: UniformConfig = UniformConfig()) -> None:
        super().__init__(config.at_once)
        self.config = config

    def loss(self, network, images, labels, done, generator) -> Tensor:
        if len(images) % len(self.last):
            raise ValueError(
                f"A batch of {len(images)} images cannot be split equally among at_once={len(self.last)} "
                "cells. Choose a batch_size that is a multiple of it."
            )
        self.last = torch.randint(NUM_OPERATIONS, self.last.shape, generator=generator)
        logits = network(images.unflatten(0, (-1, len(self.last))), self.last)
        return F.cross_entropy(logits.transpose(0, 1).flatten(0, 1), labels)

    def current(self) -> Tensor:
        return self.last[0]


@dataclass(frozen=True)
class LearningConfig:
    """How architecture parameters learn: by Adam.

    The published learning rate is 3e-4, with tens of thousands of steps; here there are some two thousand.
    """

    learning_rate: float = 3e-3
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3


class LearnedCells(Strategy):
    """Architecture parameters that descend the validation loss in turns with the weights (first order)."""

    def __init__(self, start: Tensor, config: LearningConfig) -> None:
        super().__init__()
        self.config = config
        self.variable = nn.Parameter(start)
        self.optimizer = torch.optim.Adam(
            [self.variable], lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )

    def factors(self, done: float, generator: Generator) -> Tensor:
        """Differentiable factors of the operations, `[6, 5]`."""
        raise NotImplementedError

    def gradient(self, loss: Tensor, done: float) -> Tensor:
        """What the optimizer follows, given the validation loss."""
        return torch.autograd.grad(loss, [self.variable], materialize_grads=True)[0]

    def loss(self, network, images, labels, done, generator) -> Tensor:
        factors = self.factors(done, generator).detach()
        self.last = factors.argmax(dim=1)[None]
        return cross_entropy(network(images[:, None], factors[None]), labels)

    def learn(self, network, images, labels, done, generator) -> float:
        loss = cross_entropy(network(images[:, None], self.factors(done, generator)[None]), labels)
        self.variable.grad = self.gradient(loss, done)
        self.optimizer.step()
        return loss.item() if self.variable.isfinite().all() else math.nan


class Darts(LearnedCells):
    """Every edge computes the sum of all operations, weighted by the softmax of their logits `[6, 5]`."""

    def __init__(self, seed: int, config: LearningConfig = LearningConfig()) -> None:
        generator = Generator().manual_seed(seed)
        super().__init__(1e-3 * torch.randn(len(CELL_EDGES), NUM_OPERATIONS, generator=generator), config)

    def factors(self, done, generator) -> Tensor:
        return self.variable.softmax(dim=1)

    def current(self) -> Tensor:
        return self.variable.detach().argmax(dim=1)


@dataclass(frozen=True)
class GdasConfig(LearningConfig):
    """The temperature of the Gumbel softmax falls linearly, as in NAS-Bench-201."""

    first_temperature: float = 10.0
    last_temperature: float = 0.1


class Gdas(Darts):
    """Every edge computes one operation, drawn with Gumbel noise. The gradient is that of the softmax at the
    operation that was drawn."""

    def __init__(self, seed: int, config: GdasConfig = GdasConfig()) -> None:
        super().__init__(seed, config)

    def factors(self, done, generator) -> Tensor:
        temperature = (1 - done) * self.config.first_temperature + done * self.config.last_temperature
        gumbel = -torch.empty_like(self.variable).exponential_(generator=generator).log()
        return straight_through((self.variable.log_softmax(dim=1) + gumbel) / temperature)


def straight_through(logits: Tensor) -> Tensor:
    """The largest of each row as one-hot, with the gradient of the softmax; the zeros are exact."""
    soft = logits.softmax(dim=-1)
    hard = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(soft.dtype)
    return (hard - soft).detach() + soft


@dataclass(frozen=True)
class TopKConfig:
    """Sizes of SPOS."""

    population: int = 50
    parents: int = 10  # the best cells so far
    mutation: float = 0.1  # probability of each edge to change


class TopKEvolution:
    """SPOS's search: half of each generation are crossovers, half mutations of the best cells so far.

    Raises:
        ValueError: sizes or a probability that leave no evolution.
    """

    def __init__(self, domain: Domain, seed: int, config: TopKConfig = TopKConfig()) -> None:
        if not 1 <= config.parents <= config.population or not 0 < config.mutation <= 1:
            raise ValueError(
                f"parents={config.parents} must lie between 1 and population={config.population}, and "
                f"mutation={config.mutation} in (0, 1]."
            )
        self.domain, self.seed, self.config = domain, seed, config
        self._random = np.random.default_rng(seed)
        self._known: dict[int, float] = {}

    def ask(self, n: int) -> np.ndarray:
        missing = self.config.population - len(self._known)
        if missing > 0:
            return self._random.integers(self.domain.size, size=min(n, missing))
        best = sorted(self._known, key=self._known.get, reverse=True)[: self.config.parents]
        parents = self.domain.choices(self._random.choice(best, size=(2, n)))  # [2, n, edges]
        chosen = np.where(self._random.random(parents[0].shape) < 0.5, *parents)
        drawn = self._random.integers(0, self.domain.options, size=parents[0].shape)
        mutated = np.where(self._random.random(drawn.shape) < self.config.mutation, drawn, parents[0])
        children = np.where((np.arange(n) % 2 == 0)[:, None], chosen, mutated)
        return self.domain.from_choices(children)

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        self._known |= zip(rows.tolist(), values.tolist())


def scored(
    network: SharedCells,
    searcher: Searcher,
    data: ImageSets,
    schedule: SupernetSchedule,
    seed: int,
    path: Path,
    cells: int = 1000,
    observe: Observer | None = None,
) -> Found:
    """A training with cells drawn uniformly, then the best by shared accuracy of `cells` that a searcher asks
    for: with `RandomSearch` random search with parameter sharing, with `TopKEvolution` SPOS.

    The training does not depend on the searcher: a second one finds it in the file.

    Args:
        searcher: of the rows of `NASBENCH201.enumerate()`. The other arguments are those of `train_supernet`.
    """
    strategy = UniformCells()
    training = train_supernet(network, strategy, data, schedule, seed, path, observe)
    selection = run(searcher, _objective(network, data), cells, batch=CELLS_OF_A_QUERY)
    return Found(int(selection["incumbent_row"].iloc[-1]), training, _latest_first(strategy), selection)


def learned(
    network: SharedCells,
    strategy: LearnedCells,
    data: ImageSets,
    schedule: SupernetSchedule,
    seed: int,
    path: Path,
    cells: int = 0,
    observe: Observer | None = None,
) -> Found:
    """What a strategy learns, and what is handed in at the end: DARTS, GDAS and E2NAS.

    Args:
        cells: 0 hands in the cell that the strategy stands for at the end, as the authors of all three do; one
            more step, and it could be another. With more, so many of the cells that were visited last are
            scored with the shared weights, and the best is handed in.
    """
    training = train_supernet(network, strategy, data, schedule, seed, path, observe)
    visited = _latest_first(strategy)
    if not cells:
        return Found(int(training["row"].iloc[-1]), training, visited)
    rows = visited[:cells]
    values = _objective(network, data)(rows)
    selection = pd.DataFrame({"row": rows, "value": values})
    return Found(int(rows[values.argmax()]), training, visited, selection)


def _latest_first(strategy: Strategy) -> np.ndarray:
    epochs = strategy.visited.numpy()
    return np.argsort(-epochs, kind="stable")[: np.count_nonzero(epochs)]


def _objective(network: SharedCells, data: ImageSets) -> Callable[[np.ndarray], np.ndarray]:
    """The shared accuracy of cells, given by rows."""
    numbers = torch.from_numpy(NASBENCH201.choices(NASBENCH201.enumerate()))
    return lambda rows: shared_accuracy(network, numbers[rows], data.valid).numpy()
