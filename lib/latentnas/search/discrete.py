"""Searches that need no model: random search, a given order, regularised evolution, local search, REINFORCE.

* regularised evolution: Real et al., AAAI 2019, https://arxiv.org/abs/1802.01548;
* local search: White et al., UAI 2021, https://arxiv.org/abs/2005.02960;
* REINFORCE: Williams, Machine Learning 8, 1992; as a baseline of NAS-Bench-201, Dong and Yang, ICLR 2020,
  https://arxiv.org/abs/2001.00326.
"""

import random
from collections import deque
from itertools import islice
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import softmax

from latentnas.search.domains import Domain, TableDomain
from latentnas.settings import whole

DRAWS = 100  # of REINFORCE, until enough combinations of decisions are architectures


class RandomSearch:
    """Architectures drawn uniformly without replacement; each class of equal rows is drawn once."""

    def __init__(self, domain: Domain, seed: int) -> None:
        self.domain, self.seed = domain, seed
        self._order = domain.shuffled(np.random.default_rng(seed))

    def ask(self, n: int) -> np.ndarray:
        return np.fromiter(islice(self._order, n), dtype=np.int64)

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        pass


class OrderedSearch(RandomSearch):
    """The architectures of a table in the order of a score that needs no search, such as their number of parameters:
    highest first, equal ones in random order. `score`: one number for each row, `[size]`."""

    def __init__(self, domain: TableDomain, seed: int, score: ArrayLike) -> None:
        super().__init__(domain, seed)
        rows = np.fromiter(self._order, dtype=np.int64)
        order = (-domain.lookup(score)(rows).astype(np.float64)).argsort(kind="stable")
        self._order = iter(rows[order])


class RegularisedEvolution:
    """Aging evolution (Real et al., Algorithm 1): each step draws a tournament from the population, mutates its best
    member to one of the neighbours (without any: to a random row), adds the child and removes the oldest member. The
    sizes are those of the example notebook of NAS-Bench-101; Real et al. used 100 and 25 for 20,000 models."""

    def __init__(self, domain: Domain, seed: int, population: int = 50, tournament: int = 10) -> None:
        if whole("tournament", tournament) > whole("population", population):
            raise ValueError(f"{tournament=} must lie between 1 and {population=}.")
        self.domain, self.seed, self.tournament = domain, seed, tournament
        self._random = random.Random(seed)  # for single draws much faster than NumPy
        self._population: deque[tuple[float, int]] = deque(maxlen=population)  # the oldest leaves by itself

    def ask(self, n: int) -> np.ndarray:
        missing = self._population.maxlen - len(self._population)
        if missing:
            return np.array([self.domain.sample(self._random.randrange) for _ in range(min(n, missing))])
        return np.array([self._child() for _ in range(n)])

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        self._population.extend(zip(values.tolist(), rows.tolist()))

    def _child(self) -> int:
        _, parent = max(self._random.sample(self._population, self.tournament), key=itemgetter(0))
        neighbors = self.domain.neighbors(parent)
        return self._random.choice(neighbors) if len(neighbors) else self.domain.sample(self._random.randrange)


class LocalSearch:
    """Steepest ascent with restarts (White et al.): from a random row, evaluate all neighbours and move to the best of
    them if it is better, until none is; then start again from another random row."""

    def __init__(self, domain: Domain, seed: int) -> None:
        self.domain, self.seed = domain, seed
        self._random = np.random.default_rng(seed)
        self._pending: list[int] = []
        self._restart()

    def ask(self, n: int) -> np.ndarray:
        while not self._pending:  # also after a move to a row without neighbours
            self._move()
        rows, self._pending = self._pending[:n], self._pending[n:]
        return np.array(rows)

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        best = int(np.argmax(values))
        if values[best] > self._best[0]:
            self._best = (float(values[best]), int(rows[best]))

    def _move(self) -> None:
        """All neighbours of where we stand are known: go to the best one, or start again."""
        if self._best[1] == self._here:
            self._restart()
        else:
            self._here = self._best[1]
            self._pending = self._random.permutation(self.domain.neighbors(self._here)).tolist()

    def _restart(self) -> None:
        self._here, self._best = -1, (-np.inf, -1)
        self._pending = [self.domain.sample(self._random.integers)]


class Reinforce:
    """Policy gradient (Williams) as in NAS-Bench-201: the policy is an independent categorical distribution for each
    decision, uniform at the start. Every value moves the logits by one step of Adam along (value - baseline) x gradient
    of the log-probability; the baseline is the moving average. Draws again where its decisions are no architecture, or
    not those by which the space writes it. The rate is chosen for a few hundred queries."""

    def __init__(self, domain: Domain, seed: int, learning_rate: float = 0.01, momentum: float = 0.9) -> None:
        if not learning_rate > 0 or not 0 <= momentum < 1:
            raise ValueError(f"{learning_rate=} must be positive and {momentum=} lie in [0, 1).")
        self.domain, self.seed, self.momentum = domain, seed, momentum
        options = domain.options
        drawn = np.random.default_rng(seed).integers(0, options, (DRAWS, len(options)))
        if (domain.from_choices(drawn) < 0).all():
            none = f"but none of {DRAWS} random combinations is in the domain"
            raise ValueError(f"REINFORCE makes every decision by itself, {none}. Another searcher is needed.")
        self._random = np.random.default_rng(seed)
        possible = torch.arange(int(options.max())) < torch.from_numpy(options)[:, None]
        self._logits = torch.where(possible, 0.0, -torch.inf).double()  # [P, options]
        self._optimizer = torch.optim.Adam([self._logits], lr=learning_rate, maximize=True)
        self._average, self._told = 0.0, 0

    def ask(self, n: int) -> np.ndarray:
        policy, found = self._policy(), np.empty(0, dtype=np.int64)
        for _ in range(DRAWS):
            threshold = self._random.random((n - len(found), len(policy), 1))
            drawn = (policy.cumsum(axis=1)[:, :-1] < threshold).sum(axis=2)
            rows = self.domain.from_choices(drawn)
            drawn, rows = drawn[rows >= 0], rows[rows >= 0]
            if len(rows):
                found = np.append(found, rows[(self.domain.choices(rows) == drawn).all(axis=1)])
            if len(found) == n:
                break
        return found

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        for choices, value in zip(self.domain.choices(rows), values.tolist(), strict=True):
            self._told += 1
            self._average += (1 - self.momentum) * (value - self._average)
            baseline = self._average / (1 - self.momentum**self._told)
            policy = self._policy()
            taken = choices[:, None] == np.arange(policy.shape[1])
            self._logits.grad = torch.from_numpy((value - baseline) * (taken - policy))
            self._optimizer.step()

    def _policy(self) -> np.ndarray:
        """Probability of each option of each decision, `[P, options]`."""
        return softmax(self._logits.numpy(), axis=1)
