"""Intervals, errors, correlations and tests: one small function each, on plain arrays.

Intervals are over independent values, such as one per training; where there are too few for one, both ends are NaN.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats


def estimate(
    values: ArrayLike,
    statistic: Literal["mean", "share", "median", "correlation"] = "mean",
    clusters: ArrayLike | None = None,
    trials: int | None = None,
    family: int = 1,
) -> tuple[float, float, float, str | None]:
    """A mean, share (in percent, of values that are true), median or mean correlation (of Fisher's z, so that neither
    it nor its interval leaves -1 to 1), the ends of its 95 % interval and how that was computed; NaN and None where
    there are too few values for one, or where a mean's are all alike (to rounding): such a sample says nothing of the
    spread. An infinite value, which only a median takes, is a run that never came there.

    Args:
        clusters: Which training, say, each value belongs to. Values of one cluster are averaged first.
        trials: The values are percentages of so many independent trials each, such as decoded graphs; the interval is
            `clustered_share_interval`'s, so that 100 % from every training has one too.
        family: Of how many comparisons this is one; the intervals hold for all of them together (Bonferroni).
    """
    if statistic not in ("mean", "share", "median", "correlation"):
        raise ValueError(f"{statistic!r} is no statistic: choose mean, share, median or correlation.")
    if not np.size(values) or family < 1 or (clusters is not None and np.size(clusters) != np.size(values)):
        found = f"{np.size(values)} values, the clusters {clusters} and a family of {family}"
        raise ValueError(
            f"An estimate needs a value, a cluster for each or none, and a family, at least 1, not {found}."
        )
    if statistic == "share" and not np.isin(values, (0, 1)).all():
        raise ValueError("A share is of values that are true or false, or 1 or 0. For percentages choose the mean.")
    if statistic == "correlation" and (np.abs(values) > 1 + 1e-9).any():
        raise ValueError("A correlation lies from -1 to 1, but a value does not. Give correlations, not percentages.")
    if statistic != "mean" and trials is not None:
        raise ValueError(f"`trials` goes with a mean of percentages, not with a {statistic}. Leave it out.")
    confidence, corrected = 1 - 0.05 / family, f", Bonferroni over {family}" if family > 1 else ""
    values = np.asarray(values, dtype=np.float64).ravel() * (100 if statistic == "share" else 1)
    if statistic == "correlation":
        values = np.arctanh(values.clip(-1 + 1e-12, 1 - 1e-12))
    if clusters is not None:
        _, cluster, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
        values = np.bincount(cluster, values) / sizes
        trials = int(sizes.min()) if statistic == "share" else trials
    value = float(np.median(values) if statistic == "median" else values.mean())
    if statistic == "share" and clusters is None:
        (low, high), method = share_interval(round(value / 100 * len(values)), len(values), confidence), "exact"
    elif statistic == "median":
        (low, high), method = median_interval(values, confidence), "order statistics"
    elif trials is not None:
        (low, high), method = clustered_share_interval(values, trials, confidence), "Korn-Graubard"
    else:
        (low, high), method = mean_interval(values, confidence), "t"
    there = len(values) > 1 and not np.isnan(low) and not (method == "t" and _alike(values))
    if statistic == "correlation":
        value, low, high, method = *np.tanh((value, low, high)).tolist(), "t of Fisher's z"
    return (value, low, high, method + corrected) if there else (value, np.nan, np.nan, None)


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Low and high end of Student's t interval of the mean; of paired runs give the differences. (A bootstrap's,
    percentile or BCa, holds the mean of ten normal values in 89 % of all cases, of three in 71 %.)"""
    values = _finite("values", values)
    if len(values) < 2:
        return np.nan, np.nan
    half = special.stdtrit(len(values) - 1, (1 + confidence) / 2) * (values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean() - half), float(values.mean() + half)


def mean_difference(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """The first mean less the second, and low and high end of Welch's t interval of it: neither pairs nor equal
    variances are assumed. NaN ends where a side has one value, or where neither varies (but for rounding)."""
    first, second = _finite("the first array", first), _finite("the second array", second)
    low = high = np.nan
    if min(len(first), len(second)) > 1 and not (_alike(first) and _alike(second)):
        low, high = stats.ttest_ind(first, second, equal_var=False).confidence_interval(confidence)
    return float(first.mean() - second.mean()), float(low), float(high)


def share_interval(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Low and high end, in percent, of the exact (Clopper-Pearson) interval of a share."""
    if not 0 <= hits <= total or total < 1:
        raise ValueError(f"A share needs at least one trial and none to all of them as hits, not {hits} of {total}.")
    return _exact(hits, total, confidence)


def clustered_share_interval(percent: ArrayLike, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Low and high end, in percent, of the interval of a share from clusters, such as trainings, of so many trials each
    (Korn and Graubard, 1998): the exact one of an effective number of trials, p (1 - p) over the squared standard error
    of the clusters' percentages `[n]`, less what few clusters cost. It is at most the trials of one cluster: a few that
    are alike do not show that all are. That is conservative where clusters do not differ: all of five times ten trials
    give 69 to 100 %, as ten do, where the exact interval of fifty independent trials begins at 93. NaN for one cluster.

    In 216 simulated cases (3, 5 or 10 clusters, shares of 50 to 99 %) it holds the truth in fewer than 90 % of draws in
    19. Student's t, widened to the exact interval of one cluster, does so in 35, and is 0.86 times as wide. Neither
    helps where the share is near 100 % but for rare clusters that are far below, which the few drawn seldom show: with
    99 % and a standard deviation of 3 points between clusters this one holds it in two draws of three.

    Raises:
        ValueError: A value is no percentage, or there is no trial.
    """
    percent = _finite("the percentages", percent)
    if percent.min() < -1e-9 or percent.max() > 100 + 1e-9 or trials < 1:
        found = f"{percent.min():g} to {percent.max():g} of {trials} trials"
        raise ValueError(f"Percentages lie from 0 to 100, of one trial or more each, but these are {found}.")
    if len(percent) < 2:
        return np.nan, np.nan
    share, effective = min(max(percent.mean() / 100, 0.0), 1.0), float(trials)
    if not _alike(percent):
        freedoms, end = (len(percent) * trials - 1, len(percent) - 1), (1 + confidence) / 2
        fewer = (special.stdtrit(freedoms[0], end) / special.stdtrit(freedoms[1], end)) ** 2
        effective = min(effective, 1e4 * share * (1 - share) * len(percent) / percent.var(ddof=1) * fewer)
    return _exact(share * effective, effective, confidence)


def median_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Low and high end of the median's interval: two order statistics, whatever the distribution. Infinite values, such
    as the time to something that never happened, count by their order. At 95 % it takes six."""
    values = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if np.isnan(values).any():
        censored = "A run that never came there is infinite, not NaN, and is not left out"
        raise ValueError(f"A median needs numbers, but there is a NaN. {censored}.")
    rank = int(stats.binom.ppf((1 - confidence) / 2, len(values), 0.5))  # of the ends, counted from outside
    return (float(values[rank - 1]), float(values[-rank])) if rank else (np.nan, np.nan)


def normal_scores(values: ArrayLike) -> np.ndarray:
    """The normal quantile of each value's rank, `[n]`. Accuracies pile up near the best and trail far down; a
    regression on their scores minds the order everywhere."""
    values = _finite("values", values)
    return stats.norm.ppf(stats.rankdata(values) / (len(values) + 1))


def rmse(true: ArrayLike, predicted: ArrayLike) -> float:
    """Root of the mean squared error, in the unit of the values."""
    true, predicted = _pair(true, predicted)
    return float(np.sqrt(np.mean((true - predicted) ** 2)))


def pearson(true: ArrayLike, predicted: ArrayLike) -> float:
    """Linear correlation in [-1, 1]; NaN when one side is constant."""
    return _correlation(stats.pearsonr, true, predicted)


def spearman(true: ArrayLike, predicted: ArrayLike) -> float:
    """Rank correlation in [-1, 1]; NaN when one side is constant."""
    return _correlation(stats.spearmanr, true, predicted)


def kendall(true: ArrayLike, predicted: ArrayLike) -> float:
    """Kendall's tau-b in [-1, 1]; NaN when one side is constant."""
    return _correlation(stats.kendalltau, true, predicted)


def regression_report(true: ArrayLike, predicted: ArrayLike, train_mean: float, train_std: float) -> dict[str, float]:
    """What a predictor is worth on a test set, from values in their raw unit. `rmse_std` counts in train standard
    deviations, as the papers do; `rmse_std_of_mean_line` is what predicting the train mean reaches on that scale."""
    true, predicted = _pair(true, predicted)
    mean_line = rmse(true, np.full_like(true, train_mean)) / train_std
    errors = {"rmse": rmse(true, predicted), "rmse_std": rmse(true, predicted) / train_std}
    correlations = {function.__name__: function(true, predicted) for function in (pearson, spearman, kendall)}
    return errors | {"rmse_std_of_mean_line": mean_line} | correlations


def equivalence(differences: ArrayLike, margin: float) -> tuple[float, float, float, float]:
    """Two one-sided t tests (Schuirmann, 1987) that the mean of paired differences lies within the margin on both
    sides: the mean, low and high end of its 90 % interval, which lies within the margin where p < 0.05, and p. Without
    any spread (but for rounding) p is 1: there is nothing to test against.

    Raises:
        ValueError: The margin is not above 0, or a difference is not finite.
    """
    differences = _finite("the differences", differences)
    if not margin > 0:
        raise ValueError(f"The margin of an equivalence must be above 0, not {margin}.")
    low, high = mean_interval(differences, 0.9)
    if len(differences) < 2 or _alike(differences):
        return float(differences.mean()), low, high, 1.0
    sides = ((-margin, "greater"), (margin, "less"))
    p = max(stats.ttest_1samp(differences, end, alternative=side).pvalue for end, side in sides)
    return float(differences.mean()), low, high, float(p)


def unpaired_test(first: ArrayLike, second: ArrayLike) -> float:
    """p-value (two-sided) of Mann and Whitney's test that two independent methods do equally well."""
    p = stats.mannwhitneyu(_finite("the first array", first), _finite("the second array", second)).pvalue
    return float(np.nan_to_num(p, nan=1.0))  # NaN where all values are alike


def logrank_test(first: ArrayLike, second: ArrayLike, budget: float) -> float:
    """p-value (two-sided) of the log-rank test that two methods need equally many queries. A run with a NaN, or more
    queries than `budget`, is one that had not arrived by then."""
    needed = [np.nan_to_num(np.asarray(values, dtype=np.float64), nan=np.inf) for values in (first, second)]
    if not min(map(len, needed)):
        raise ValueError("A log-rank test compares two lists of runs, but one has none.")
    runs = [stats.CensoredData.right_censored(np.minimum(values, budget), values > budget) for values in needed]
    if min(map(np.min, needed)) > budget or np.ptp(np.concatenate(needed)) == 0:
        return 1.0  # none arrived, or all at the same query: no variance to test against
    return float(stats.logrank(*runs).pvalue)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's adjusted p-values of one family of tests, in the order given. A NaN, of a test that was planned but has
    too few runs or no spread, stays NaN and counts as 1: the family is as large as it was planned."""
    p_values = np.asarray(p_values, dtype=np.float64)
    if p_values.ndim != 1 or ((p_values < 0) | (p_values > 1)).any():
        raise ValueError(f"Holm takes a list of p-values from 0 to 1, one for each test, not {p_values.tolist()}.")
    order = np.argsort(p_values)  # NaN last
    stepped = np.fmax.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    return np.where(np.isnan(p_values), np.nan, np.minimum(stepped, 1)[np.argsort(order)])


def _exact(hits: float, total: float, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's interval in percent; by the beta distribution it takes fractions of a trial too."""
    tail, misses = (1 - confidence) / 2, total - hits
    low = special.betaincinv(hits, misses + 1, tail) if hits > 0 else 0.0
    high = special.betaincinv(hits + 1, misses, 1 - tail) if misses > 0 else 1.0
    return 100 * float(low), 100 * float(high)


def _alike(values: np.ndarray) -> bool:
    """Whether values differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-9 * np.abs(values).max() + 1e-12)


def _correlation(function: Callable, true: ArrayLike, predicted: ArrayLike) -> float:
    true, predicted = _pair(true, predicted)
    constant = len(true) < 2 or np.ptp(true) == 0 or np.ptp(predicted) == 0
    return np.nan if constant else float(function(true, predicted).statistic)


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = _finite("the first array", first), _finite("the second array", second)
    if len(first) != len(second):
        found = f"they need equal lengths, but have {len(first)} and {len(second)}"
        raise ValueError(f"Compared entry by entry, {found}. Pass values of the same graphs or seeds in one order.")
    return first, second


def _finite(name: str, values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64).ravel()
    if len(values) == 0 or not np.isfinite(values).all():
        position = int(np.argmin(np.isfinite(values))) if len(values) else 0
        bad = f"entry {position} is NaN or infinite" if len(values) else "there is none: it is empty"
        remedy = "Drop unknown labels first"
        if np.isinf(values).any():
            remedy = "A run that never came there is not left out: a median counts it as infinite"
        raise ValueError(f"Statistics need finite numbers; in {name} {bad}. {remedy}.")
    return values
