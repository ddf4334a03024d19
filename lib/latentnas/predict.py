"""Accuracy read off rows of numbers by plain regression: what every learned code has to beat.

Boosted trees, a random forest and kernel ridge regression, as scikit-learn has them. Each tries as many settings and
keeps the one whose error is least on rows held out of the training set. Letters: n rows, F features.
"""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import ParameterGrid

from latentnas.stats import rmse

# Without early stopping: scikit-learn's own, on by itself above 10,000 rows, ends long before the trees are done.
METHODS = {
    "boosting": (
        HistGradientBoostingRegressor(max_iter=1500, early_stopping=False, random_state=0),
        {"learning_rate": [0.05, 0.1, 0.2], "max_leaf_nodes": [15, 63]},
    ),
    "random forest": (
        RandomForestRegressor(200, random_state=0),
        {"max_features": [1 / 3, 2 / 3, 1.0], "min_samples_leaf": [1, 3]},
    ),
    "kernel ridge": (KernelRidge(kernel="rbf"), {"gamma": [0.01, 0.03, 0.1], "alpha": [0.003, 0.03]}),
}


class Tuned:
    """A method of `METHODS` with the settings that predict held-out rows best, then fitted to these rows as well.

    Args:
        x: features `[n, F]` of the training rows; labels: theirs `[n]`, in any unit.
        held_x, held_labels: the same of the rows that choose the settings.
    """

    def __init__(self, method: str, x: ArrayLike, labels: ArrayLike, held_x: ArrayLike, held_labels: ArrayLike) -> None:
        (model, grid), labels, held_labels = METHODS[method], np.asarray(labels), np.asarray(held_labels)
        self._mean, self._unit = np.mean(labels), np.std(labels) or 1.0
        self.errors: list[tuple[float, dict]] = []  # of held-out rows, in the unit of the labels, and the settings
        for settings in ParameterGrid(grid):
            self._model = clone(model).set_params(**settings).fit(x, self._scaled(labels))
            self.errors.append((rmse(held_labels, self(held_x)), settings))
        self.settings = min(self.errors, key=lambda tried: tried[0])[1]
        everything = np.concatenate([x, held_x]), self._scaled(np.concatenate([labels, held_labels]))
        self._model = clone(model).set_params(**self.settings).fit(*everything)

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Predicted labels of rows `[n, F]`, float64 `[n]`."""
        return self._mean + self._unit * self._model.predict(x)

    def _scaled(self, labels: np.ndarray) -> np.ndarray:
        return (labels - self._mean) / self._unit
