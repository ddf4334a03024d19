"""Searches that need no model: random search, regularised evolution, local search, REINFORCE.

All of them move over the rows of a ``Domain`` and know nothing of what is behind them. Random sampling, the
mean of the space, needs no search: it is n = 1 of ``latentnas.search.history.expected_random_search``.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from latentnas.search.base import Domain


class RandomSearch:
    """Architectures drawn uniformly without replacement; each class of equal rows is drawn once."""

    def __init__(self, domain: Domain, seed: int) -> None:
        self.domain, self.seed = domain, seed
        self._order = np.random.default_rng(seed).permutation(domain.distinct)
        self._asked = 0

    def ask(self, n: int) -> np.ndarray:
        self._asked += n
        return self._order[self._asked - n : self._asked]

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        pass


@dataclass(frozen=True)
class EvolutionConfig:
    """Sizes of the example notebook of NAS-Bench-101; Real et al. used 100 and 25 for 20,000 models."""

    population: int = 50
    tournament: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.tournament <= self.population:
            raise ValueError(
                f"tournament={self.tournament} must lie between 1 and population={self.population}: the "
                "parent is the best of that many members of the population."
            )


class RegularisedEvolution:
    """Aging evolution (Real et al., AAAI 2019, Algorithm 1).

    A population of random rows; each step draws a tournament from it, mutates its best member to one of the
    neighbors, adds the child and removes the oldest member. Known children join like any other.
    """

    def __init__(self, domain: Domain, seed: int, config: EvolutionConfig = EvolutionConfig()) -> None:
        self.domain, self.seed, self.config = domain, seed, config
        self._random = random.Random(seed)  # for single draws much faster than NumPy
        self._population: deque[tuple[float, int]] = deque(maxlen=config.population)  # the oldest leaves by itself

    def ask(self, n: int) -> np.ndarray:
        missing = self.config.population - len(self._population)
        if missing:
            return np.array([self._random.randrange(self.domain.size) for _ in range(min(n, missing))])
        return np.array([self._child() for _ in range(n)])

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        self._population.extend(zip(values.tolist(), rows.tolist()))

    def _child(self) -> int:
        _, parent = max(self._random.sample(self._population, self.config.tournament), key=itemgetter(0))
        return self._random.choice(self.domain.neighbors(np.array([parent]))[0])


class LocalSearch:
    """Steepest ascent with restarts (White et al., UAI 2021).

    From a random row: evaluate all neighbors, move to the best of them if it is better, until none is; then
    start again from another random row. Neighbors that are known cost nothing.
    """

    def __init__(self, domain: Domain, seed: int) -> None:
        self.domain, self.seed = domain, seed
        self._random = np.random.default_rng(seed)
        self._pending: list[int] = []
        self._restart()

    def ask(self, n: int) -> np.ndarray:
        if not self._pending:
            self._move()
        rows, self._pending = self._pending[:n], self._pending[n:]
        return np.array(rows)

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        best = int(np.argmax(values))
        if values[best] > self._best[0]:
            self._best = (float(values[best]), int(rows[best]))

    def _move(self) -> None:
        """All neighbors of where we stand are known: go to the best one, or start again."""
        if self._best[1] == self._here:
            self._restart()
        else:
            self._here = self._best[1]
            self._pending = self._random.permutation(self.domain.neighbors(np.array([self._here]))[0]).tolist()

    def _restart(self) -> None:
        self._here, self._best = -1, (-np.inf, -1)
        self._pending = [int(self._random.integers(self.domain.size))]


@dataclass(frozen=True)
class ReinforceConfig:
    """The method is that of NAS-Bench-201; the rate is chosen here for a few hundred queries."""

    learning_rate: float = 0.01  # of Adam
    momentum: float = 0.9  # of the moving average of the values, the baseline

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"learning_rate={self.learning_rate} must be positive and momentum={self.momentum} lie in [0, 1)."
            )


class Reinforce:
    """Policy gradient (Williams, 1992) as in NAS-Bench-101 and NAS-Bench-201: no controller network.

    The policy is an independent categorical distribution for each decision, uniform at the start. Every value
    told moves the logits by one step of Adam along (value - baseline) x gradient of the log-probability.

    Raises:
        ValueError: not every combination of decisions is a row of the domain.
    """

    def __init__(self, domain: Domain, seed: int, config: ReinforceConfig = ReinforceConfig()) -> None:
        self.domain, self.seed, self.config = domain, seed, config
        self._options = domain.choices.max(axis=0) + 1
        self._place_values = np.cumprod(np.append(1, self._options[:0:-1]))[::-1]
        codes = domain.choices @ self._place_values
        if not np.array_equal(np.sort(codes), np.arange(self._options.prod())):
            raise ValueError(
                f"REINFORCE draws every decision by itself, so all {self._options.prod()} combinations must "
                f"be rows of the domain, each once, but it has {domain.size} rows. Use another searcher for "
                "such a space."
            )
        self._row_of = np.argsort(codes)
        self._random = np.random.default_rng(seed)
        shape = (domain.choices.shape[1], self._options.max())
        self._logits = np.where(np.arange(shape[1]) < self._options[:, None], 0.0, -np.inf)
        self._first, self._second, self._steps = np.zeros(shape), np.zeros(shape), 0
        self._average = 0.0

    def ask(self, n: int) -> np.ndarray:
        threshold = self._random.random((n, len(self._options), 1))
        chosen = (self._policy().cumsum(axis=1)[:, :-1] < threshold).sum(axis=2)
        return self._row_of[chosen @ self._place_values]

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        for row, value in zip(rows, values.tolist()):
            self._steps += 1
            self._average += (1 - self.config.momentum) * (value - self._average)
            baseline = self._average / (1 - self.config.momentum**self._steps)
            taken = self.domain.choices[row][:, None] == np.arange(self._logits.shape[1])
            self._ascend((value - baseline) * (taken - self._policy()))

    def _policy(self) -> np.ndarray:
        """Probability of each option of each decision, ``[P, options]``."""
        weights = np.exp(self._logits - self._logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def _ascend(self, gradient: np.ndarray) -> None:
        """One step of Adam (Kingma and Ba, 2015) with its usual decay rates."""
        self._first += 0.1 * (gradient - self._first)
        self._second += 0.001 * (gradient**2 - self._second)
        first, second = self._first / (1 - 0.9**self._steps), self._second / (1 - 0.999**self._steps)
        self._logits += self.config.learning_rate * first / (np.sqrt(second) + 1e-8)
