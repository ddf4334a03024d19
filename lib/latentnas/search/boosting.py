"""Gradient boosting on the plain decisions: a search whose model needs no knowledge of graphs and no neural network.

It always has its row beside searches that learn more. Candidates are those of `ensemble`; the highest predictions are
asked for. Each fit is one of scikit-learn's `HistGradientBoostingRegressor` (after LightGBM: Ke et al., NeurIPS 2017,
https://papers.nips.cc/paper/6907-lightgbm-a-highly-efficient-gradient-boosting-decision-tree), a sum of trees:
f(x) = sum_k rate * t_k(x), where t_k is fitted to the errors of the k - 1 before it.
"""

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from latentnas.search.base import ModelBasedSearch
from latentnas.search.domains import Domain
from latentnas.search.ensemble import targets
from latentnas.settings import whole

PARENTS, FROM_ANYWHERE = 10, 200  # as in `ensemble.EnsembleConfig`
TREES, LEAF = 50, 3  # of each fit; labels in a leaf at least


class BoostingSearch(ModelBasedSearch):
    """The highest predictions; each call of `ask` fits once.

    Args:
        leaf: labels in a leaf, at least.
        explore: share of what is asked for that is drawn from the other candidates.
        inputs: features of rows, `[n, F]`; their plain decisions by default.
    """

    def __init__(
        self,
        domain: Domain,
        seed: int,
        initial: int = 10,
        leaf: int = LEAF,
        explore: float = 0.0,
        inputs: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        super().__init__(domain, seed, whole("initial", initial))
        if not 0 <= explore <= 1:
            raise ValueError(f"{explore=} must be a share, from 0 to 1.")
        self._leaf, self._explore, self._inputs = whole("leaf", leaf), explore, inputs or domain.one_hot

    def _propose(self, n: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        best = rows[np.argsort(-values, kind="stable")[:PARENTS]].tolist()
        candidates = self.domain.candidates(self._random, FROM_ANYWHERE, self._values, best)
        candidates = self._random.permutation(candidates)  # trees often predict the same for several
        if not len(candidates):
            return candidates
        trees = HistGradientBoostingRegressor(max_iter=TREES, min_samples_leaf=self._leaf, early_stopping=False)
        predicted = trees.fit(self._inputs(rows), targets(values)).predict(self._inputs(candidates))
        order = np.argsort(-predicted, kind="stable")
        if self._explore:
            chance = np.flatnonzero(self._random.random(min(n, len(order))) < self._explore)
            others = self._random.permutation(order[n:])[: len(chance)]
            order[chance[: len(others)]] = others
        return candidates[order[:n]]
