"""Intervals, errors, correlations and tests: one small function each, on plain arrays."""

import numpy as np
from scipy import stats


def bootstrap_interval(values, confidence=0.95, seed=0):
    """(low, high): percentile bootstrap interval of the mean of independent values (such as one per seed).

    One value, or equal values, give an interval of width zero: there is no spread to resample.
    """
    values = _finite("values", values)
    if len(values) == 1 or np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,), np.mean, confidence_level=confidence, method="percentile", rng=np.random.default_rng(seed)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def normal_scores(values):
    """The normal quantile of each value's rank, [n]: a scale on which every order of labels looks alike.

    Accuracies pile up near the best and trail far down; a regression on their scores minds the order everywhere.
    """
    values = _finite("values", values)
    return stats.norm.ppf(stats.rankdata(values) / (len(values) + 1))


def rmse(true, predicted):
    """Root of the mean squared error, in the unit of the values."""
    true, predicted = _pair(true, predicted)
    return float(np.sqrt(np.mean((true - predicted) ** 2)))


def pearson(true, predicted):
    """Linear correlation in [-1, 1]; NaN when one side is constant."""
    return _correlation(stats.pearsonr, true, predicted)


def spearman(true, predicted):
    """Rank correlation in [-1, 1]; NaN when one side is constant."""
    return _correlation(stats.spearmanr, true, predicted)


def kendall(true, predicted):
    """Kendall's tau-b in [-1, 1]; NaN when one side is constant."""
    return _correlation(stats.kendalltau, true, predicted)


def regression_report(true, predicted, train_mean, train_std):
    """What a predictor is worth on a test set, from values in their raw unit.

    `rmse` is raw; `rmse_std` counts in train standard deviations, the scale on which the papers report
    it; `rmse_std_of_mean_line` is what predicting the train mean for everything reaches on that scale.
    """
    true, predicted = _pair(true, predicted)
    return {
        "rmse": rmse(true, predicted),
        "rmse_std": rmse(true, predicted) / train_std,
        "rmse_std_of_mean_line": rmse(true, np.full_like(true, train_mean)) / train_std,
        "pearson": pearson(true, predicted),
        "spearman": spearman(true, predicted),
        "kendall": kendall(true, predicted),
    }


def paired_test(first, second):
    """p-value (two-sided) of Wilcoxon's signed-rank test that two methods, paired by seed, do equally well.

    All pairs equal gives 1.0: no evidence of a difference.
    """
    first, second = _pair(first, second)
    if np.array_equal(first, second):
        return 1.0
    return float(stats.wilcoxon(first, second).pvalue)


def _correlation(function, true, predicted):
    true, predicted = _pair(true, predicted)
    if len(true) < 2 or np.ptp(true) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    return float(function(true, predicted).statistic)


def _pair(first, second):
    first, second = _finite("the first array", first), _finite("the second array", second)
    if len(first) != len(second):
        raise ValueError(
            f"These two arrays are compared entry by entry, so they need equal lengths, but have "
            f"{len(first)} and {len(second)}. Pass values of the same graphs (or seeds) in one order."
        )
    return first, second


def _finite(name, values):
    values = np.asarray(values, dtype=np.float64).ravel()
    if len(values) == 0 or not np.isfinite(values).all():
        position = int(np.argmin(np.isfinite(values))) if len(values) else 0
        bad = f"entry {position} is NaN or infinite" if len(values) else "there is none: it is empty"
        raise ValueError(f"Statistics need finite numbers; in {name} {bad}. Drop unknown labels first.")
    return values
