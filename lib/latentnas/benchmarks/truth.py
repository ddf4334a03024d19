"""What single runs say of the truth behind a table: which cell is the best, and what its accuracy owes to luck.

A cell's *true* accuracy is the mean over all trainings it could have had. Its table entry is the mean of two or three
of them, and the highest of thousands of entries is likely to be one that was lucky. Two views of it:

* tests: which cells cannot be told from the best one; with `corrected`, the set has the truly best cell in it with at
  least 95 % chance where all cells, hundreds of them, have equally many runs (Gupta, Technometrics 7, 1965). In
  NAS-Bench-201, where 8,169 of 15,625 cells have three and the others two, it is 94.1 % if all cells are equally good
  and the best has three, 96.3 % if it has two;
* shrinkage: the posterior of each true accuracy, and with it the fewest cells that are likely to have the best one. Its
  prior is the distribution of the true accuracies themselves, estimated from the table by the EM algorithm with a
  little smoothing (Silverman et al., JRSS B 52, 1990). As in every posterior, how a cell was chosen makes no difference
  to it. In simulations it takes away about four fifths of the luck of the highest cell, so it rather says too little
  of that luck.

Both take the deviation of a run for equal among the best cells, and estimate it from them. Letters: n cells, R runs.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats
from scipy.ndimage import gaussian_filter1d

NOISE_FROM = 500  # best cells whose runs say how far runs of one cell differ
SHRUNK = 2000  # best cells that get a posterior; those below keep their mean
STEPS = 10  # of the grid of true accuracies in one deviation of a run
ROUNDS = 50  # of EM
SMOOTHING = 0.05  # of the prior in each of them, in deviations of a run


class Posterior(NamedTuple):
    """What is known of the true accuracies, in percent."""

    mean: np.ndarray  # of each cell, [n]
    chance: np.ndarray  # that it is the best of all, [n]
    best: float  # expected true accuracy of the best cell, whichever it is


def summary(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean `[n]` and number `[n]` of the runs of each cell, and the deviation of a run in points.

    Args:
        runs: `[n, R]`, NaN past the last run of a cell; one line for each cell that was trained on its own.

    Raises:
        ValueError: Runs are no table, a cell has no run, a run is infinite, or no two of one of the best cells differ.
    """
    runs = np.asarray(runs, dtype=np.float64)
    if runs.ndim != 2:
        raise ValueError("Runs come as a table: a line for each cell, a column for each run.")
    if np.isinf(runs).any():
        raise ValueError(f"Cell {int(np.isinf(runs).any(axis=1).argmax())} has an infinite run; one not made is NaN.")
    count = (~np.isnan(runs)).sum(axis=1)
    if not len(runs) or not count.min():
        raise ValueError(f"Each cell needs a run, but cell {int(count.argmin()) if len(runs) else 0} has none.")
    mean = np.nanmean(runs, axis=1)
    best = np.argsort(-mean, kind="stable")[:NOISE_FROM]
    freedom, squares = (count[best] - 1).sum(), np.nansum((runs[best] - mean[best, None]) ** 2)
    if not squares:
        raise ValueError("How far runs of one cell differ is not known: among the best cells no two runs do.")
    return mean, count, float(np.sqrt(squares / freedom))


def indistinguishable(runs: np.ndarray, corrected: bool = True) -> np.ndarray:
    """Which cells are not significantly worse than the one with the highest mean, bool `[n]`: one-sided tests at 5 %,
    each by itself or corrected for the choice of the best among all cells. `runs` as in `summary`."""
    mean, count, deviation = summary(runs)
    errors = deviation * np.sqrt(1 / count + 1 / count[mean.argmax()])
    return mean >= mean.max() - (best_quantile(len(runs)) if corrected else stats.norm.ppf(0.95)) * errors


def best_quantile(cells: int) -> float:
    """By how many standard errors of a difference the truly best cell is, with 95 % chance, at most behind the highest
    of so many that are all as good and have equally many runs."""
    points, weights = np.polynomial.hermite_e.hermegauss(100)  # for the mean over a normal variable

    def missed(quantile: float) -> float:
        highest = stats.norm.logcdf(np.sqrt(2) * quantile + points) * (cells - 1)
        return weights @ np.exp(highest) / weights.sum() - 0.95

    return float(optimize.brentq(missed, 0, 10)) if cells > 1 else 0.0


def likely_best(found: Posterior, share: float = 0.95) -> np.ndarray:
    """The fewest cells that have the truly best one among them with this chance, most likely first, int64 `[k]`. (In
    simulations they had it in 88 to 100 % of the tables where 95 % was asked for, with a flat prior in 50 to 97 %.)"""
    order = np.argsort(-found.chance, kind="stable")
    return order[: int(np.searchsorted(found.chance[order].cumsum(), share)) + 1]


def posterior(runs: np.ndarray, flat: bool = False) -> Posterior:
    """The true accuracies, given the runs (as in `summary`). `flat`: nothing is known beforehand, so nothing is
    shrunk and the mean is that of the runs."""
    mean, count, deviation = summary(runs)
    order = np.argsort(-mean, kind="stable")[:SHRUNK]
    ends = mean[order].min() - 4 * deviation, mean[order].max() + 4 * deviation
    grid = np.arange(*ends, deviation / STEPS)
    likelihood = stats.norm.pdf(mean[order, None], grid, deviation / np.sqrt(count[order, None]))
    prior = np.ones(len(grid))
    for _ in range(ROUNDS):
        weights = likelihood * prior
        weights /= weights.sum(axis=1, keepdims=True)
        if flat:
            break
        prior = gaussian_filter1d(weights.mean(axis=0), SMOOTHING * STEPS, mode="constant")
    below = np.log(weights.cumsum(axis=1) - weights / 2 + 1e-300)  # half of a step's own weight
    chance = (weights * np.exp(below.sum(axis=0) - below)).sum(axis=1)
    highest = np.diff(weights.cumsum(axis=1).prod(axis=0), prepend=0)
    found = Posterior(mean.copy(), np.zeros(len(mean)), float(highest @ grid))
    found.mean[order] = weights @ grid
    found.chance[order] = chance / chance.sum()
    return found
