"""Gradient boosting on the plain decisions: a search whose model needs no knowledge of graphs and no neural network.

It always has its row beside searches that learn more. Candidates are those of `ensemble`; the highest predictions are
asked for. Each fit is one of scikit-learn's `HistGradientBoostingRegressor` (after LightGBM: Ke et al., NeurIPS 2017).
"""

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from latentnas.search.base import ModelBasedSearch
from latentnas.search.domains import Domain
from latentnas.search.ensemble import targets

PARENTS, FROM_ANYWHERE = 10, 200  # as in `ensemble.EnsembleConfig`
TREES, LEAF = 50, 3  # of each fit; labels in a leaf at least


class BoostingSearch(ModelBasedSearch):
    """The highest predictions; each call of `ask` fits once."""

    def __init__(self, domain: Domain, seed: int, initial: int = 10) -> None:
        super().__init__(domain, seed, initial)

    def _propose(self, n: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        best = rows[np.argsort(-values, kind="stable")[:PARENTS]].tolist()
        candidates = self.domain.candidates(self._random, FROM_ANYWHERE, self._values, best)
        if not len(candidates):
            return candidates
        trees = HistGradientBoostingRegressor(max_iter=TREES, min_samples_leaf=LEAF, early_stopping=False)
        predicted = trees.fit(self.domain.one_hot(rows), targets(values)).predict(self.domain.one_hot(candidates))
        return candidates[np.argsort(-predicted, kind="stable")[:n]]
