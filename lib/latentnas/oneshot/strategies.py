"""One-shot search of NAS-Bench-201 cells: the baselines of E2NAS, on the same shared weights and in one loop.

* Random search with parameter sharing (Li and Talwalkar, UAI 2019, https://arxiv.org/abs/1902.07638) and SPOS (Guo et
  al., ECCV 2020, https://arxiv.org/abs/1904.00420) train with cells drawn uniformly; then they search for the best
  shared accuracy, at random or by evolution.
* DARTS (Liu et al., ICLR 2019, https://arxiv.org/abs/1806.09055), first order, and GDAS (Dong and Yang, CVPR 2019,
  https://arxiv.org/abs/1910.04465) learn logits a_o of the operations o on each edge during the training; the cell
  found is the largest on each.

An edge computes sum_o f_o o(x). DARTS has f = softmax(a). GDAS draws Gumbel noise g and has f = one-hot of the largest
a_o + g_o, with the gradient of softmax((log softmax(a) + g) / t), where t falls from 10 to 0.1.

What a cell found is worth is read from a benchmark afterwards. The defaults are for the digits.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from latentnas.interfaces import Searcher
from latentnas.measure.digits import ImageSets
from latentnas.oneshot.shared_cells import SharedCells, cross_entropy
from latentnas.oneshot.training import Observer, Strategy, SupernetSchedule, shared_accuracy, train_supernet
from latentnas.search.base import ModelBasedSearch, run
from latentnas.search.domains import Domain
from latentnas.settings import check_settings, whole
from latentnas.spaces.nasbench201 import CELL_EDGES, NASBENCH201, NUM_OPERATIONS

CELLS_OF_A_QUERY = 50  # asked for at a time in the search after the training
PARENTS, MUTATION = 10, 0.1  # of SPOS's evolution: the best cells that it varies; chance of each edge to change


@dataclass(frozen=True)
class Found:
    """The end of a one-shot search."""

    row: int  # the cell found, in the order of NASBENCH201.enumerate()
    training: pd.DataFrame  # one row an epoch, see train_supernet
    visited: np.ndarray  # rows of the cells that steps of the training visited, the latest first
    selection: pd.DataFrame | None = None  # cells scored after the training: at least their row and value


class UniformCells(Strategy):
    """Cells drawn uniformly. Its current cell is that of the last step."""

    def loss(self, network: SharedCells, images: Tensor, labels: Tensor, done: float, generator: Generator) -> Tensor:
        self.last = torch.randint(NUM_OPERATIONS, self.last.shape, generator=generator)
        return cross_entropy(network(images[:, None], self.last), labels)

    def current(self) -> Tensor:
        return self.last[0]


@dataclass(frozen=True)
class LearningConfig:
    """How architecture parameters learn: by Adam."""

    learning_rate: float = 3e-3  # published: 3e-4, for tens of thousands of steps; here there are some two thousand
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        check_settings(self, above_zero=("learning_rate",))


class LearnedCells(Strategy):
    """Architecture parameters that descend the validation loss in turns with the weights (first order)."""

    def __init__(self, start: Tensor, config: LearningConfig) -> None:
        super().__init__()
        self.config = config
        self.variable = nn.Parameter(start)
        adam = dict(lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay)
        self.optimizer = torch.optim.Adam([self.variable], **adam)

    def description(self) -> dict:
        return super().description() | asdict(self.config)

    def factors(self, done: float, generator: Generator) -> Tensor:
        """Differentiable factors of the operations, `[6, 5]`."""

    def gradient(self, loss: Tensor, done: float) -> Tensor:
        """What the optimizer follows, given the validation loss."""
        return torch.autograd.grad(loss, [self.variable], materialize_grads=True)[0]

    def loss(self, network: SharedCells, images: Tensor, labels: Tensor, done: float, generator: Generator) -> Tensor:
        factors = self.factors(done, generator).detach()
        self.last = factors.argmax(dim=1)[None]
        return cross_entropy(network(images[:, None], factors[None]), labels)

    def learn(self, network: SharedCells, images: Tensor, labels: Tensor, done: float, generator: Generator) -> Tensor:
        loss = cross_entropy(network(images[:, None], self.factors(done, generator)[None]), labels)
        self.variable.grad = self.gradient(loss, done)  # a wait: what is computed next depends on it
        self.optimizer.step()
        return loss.detach() if self.variable.isfinite().all() else torch.full_like(loss, math.nan)


class Darts(LearnedCells):
    """Every edge computes the sum of all operations, weighted by the softmax of their logits `[6, 5]`."""

    def __init__(self, seed: int, config: LearningConfig = LearningConfig()) -> None:
        generator = Generator().manual_seed(seed)
        super().__init__(1e-3 * torch.randn(len(CELL_EDGES), NUM_OPERATIONS, generator=generator), config)

    def factors(self, done: float, generator: Generator) -> Tensor:
        return self.variable.softmax(dim=1)

    def current(self) -> Tensor:
        return self.variable.detach().argmax(dim=1)


class Gdas(Darts):
    """Every edge computes one operation, drawn with Gumbel noise. The gradient is that of the softmax at the
    operation that was drawn. The temperature falls linearly from 10 to 0.1, as in NAS-Bench-201."""

    def factors(self, done: float, generator: Generator) -> Tensor:
        gumbel = -torch.empty_like(self.variable).exponential_(generator=generator).log()
        return straight_through((self.variable.log_softmax(dim=1) + gumbel) / ((1 - done) * 10.0 + done * 0.1))


def straight_through(logits: Tensor) -> Tensor:
    """The largest of each row as one-hot, with the gradient of the softmax; the zeros are exact."""
    soft = logits.softmax(dim=-1)
    hard = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(soft.dtype)
    return (hard - soft).detach() + soft


class TopKEvolution(ModelBasedSearch):
    """SPOS's search: after a uniform first `population`, half of each generation are crossovers, half mutations of the
    best so far."""

    def __init__(self, domain: Domain, seed: int, population: int = 50) -> None:
        super().__init__(domain, seed, whole("population", population))

    def _first(self, n: int) -> np.ndarray:
        return self._random.integers(self.domain.size, size=n)

    def _propose(self, n: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        best = rows[np.argsort(-values, kind="stable")[:PARENTS]]
        parents = self.domain.choices(self._random.choice(best, size=(2, n)))  # [2, n, edges]
        chosen = np.where(self._random.random(parents[0].shape) < 0.5, *parents)
        drawn = self._random.integers(0, self.domain.options, size=parents[0].shape)
        mutated = np.where(self._random.random(drawn.shape) < MUTATION, drawn, parents[0])
        return self.domain.from_choices(np.where((np.arange(n) % 2 == 0)[:, None], chosen, mutated))


def one_shot_search(
    network: SharedCells,
    strategy: Strategy,
    data: ImageSets,
    schedule: SupernetSchedule,
    seed: int,
    path: Path,
    cells: int = 0,
    searcher: Searcher | None = None,
    observe: Observer | None = None,
) -> Found:
    """A training of shared weights (see `train_supernet`), then the choice of a cell by shared accuracy.

    Args:
        cells: so many are scored, the best is handed in. 0: the one that the strategy stands for at the end, as the
            authors of DARTS, GDAS and E2NAS do.
        searcher: asks for the cells, of the rows of `NASBENCH201.enumerate()`: with uniform cells, `RandomSearch` is
            random search with parameter sharing, `TopKEvolution` SPOS. None: those that were visited last.
    """
    cells = whole("cells", cells, 0)
    training = train_supernet(network, strategy, data, schedule, seed, path, observe)
    steps = strategy.visited.numpy()
    visited = np.argsort(-steps, kind="stable")[: np.count_nonzero(steps)]
    if not cells:
        return Found(int(training["row"].iloc[-1]), training, visited)
    numbers = torch.from_numpy(NASBENCH201.choices(NASBENCH201.enumerate()))

    def score(rows: np.ndarray) -> np.ndarray:
        return shared_accuracy(network, numbers[rows], data.valid).numpy()

    if searcher is not None:
        selection = run(searcher, score, cells, batch=CELLS_OF_A_QUERY)
    else:
        selection = pd.DataFrame({"row": visited[:cells], "value": score(visited[:cells])})
    return Found(int(selection["row"][selection["value"].idxmax()]), training, visited, selection)
