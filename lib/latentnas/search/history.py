"""What is read from the histories of `latentnas.search.base`, and random search without simulation."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from latentnas.stats import mean_interval


def attach(history: pd.DataFrame, test_values: Sequence[float]) -> pd.DataFrame:
    """The history with the column `test`: the incumbent's in `test_values`, one for each row of the domain."""
    test_values = np.asarray(test_values, dtype=np.float64)
    last = history["incumbent_row"].max()
    if test_values.ndim != 1 or len(test_values) <= last:
        found = f"Row {last} is an incumbent of this history, but test_values has shape {list(test_values.shape)}"
        raise ValueError(f"{found}. Give one value for each row of the domain that was searched.")
    return history.assign(test=test_values[history["incumbent_row"]])


def queries_to_optimum(history: pd.DataFrame, optimum: Iterable[int]) -> pd.Series:
    """The query at which each seed first evaluated one of the rows `optimum`; NaN where it never did."""
    found = history[history["row"].isin(list(optimum))].groupby("seed")["query"].min()
    return found.reindex(history["seed"].unique()).astype(np.float64)


def curve(history: pd.DataFrame, at: Sequence[int], column: str = "incumbent") -> pd.DataFrame:
    """A column of the history after the numbers of queries `at`, over seeds: `query`, `mean`, `low` and `high` (see
    `stats.mean_interval`), `std` (divisor n - 1) and `seeds`. A run that ended earlier keeps its last value."""
    if min(at) < 1:
        raise ValueError(f"The first query has the number 1, but the curve is asked for at {min(at)}.")
    by_seed = history.pivot(index="seed", columns="query", values=column).ffill(axis=1)
    reached = [(query, by_seed[min(query, by_seed.columns[-1])]) for query in at]
    rows = [(query, values.mean(), *mean_interval(values), values.std(), len(values)) for query, values in reached]
    return pd.DataFrame(rows, columns=["query", "mean", "low", "high", "std", "seeds"])


def expected_random_search(
    valid: Sequence[float], test: Sequence[float], counts: Iterable[int], replacement: bool = False
) -> pd.DataFrame:
    """What random search reaches, exactly: of n architectures drawn uniformly, the one with the best `valid` is
    reported by its `test`. Equal validation values are equally likely to be first. n = 1 is the mean of the space.
    One row for each n of `counts`: `query`, `mean` and `std` (over draws) of the reported test value.

    Args:
        valid, test: one value for each distinct architecture, `[m]`: `column[domain.distinct]`.
        replacement: draw with replacement, as most published simulations do.
    """
    valid, test = np.asarray(valid, dtype=np.float64), np.asarray(test, dtype=np.float64)
    if valid.shape != test.shape or valid.ndim != 1 or not np.isfinite([valid, test]).all():
        found = f"shapes {list(valid.shape)} and {list(test.shape)}, or values that are NaN or infinite"
        raise ValueError(f"Random search needs a finite validation and test value of each architecture, not {found}.")
    size = len(valid)
    _, group, members = np.unique(-valid, return_inverse=True, return_counts=True)  # best first
    moments = [np.bincount(group, test**power) / members for power in (1, 2)]
    better = np.concatenate([[0], np.cumsum(members)])  # architectures above each group, and all of them
    rows = []
    for count in counts:
        if count < 1 or (count > size and not replacement):
            raise ValueError(f"{count} architectures cannot be drawn from {size}; counts lie between 1 and {size}.")
        # the chance that none of the best k is drawn, for k = 0 to size: binomial or hypergeometric
        left = np.arange(size, 0, -1.0)
        missed = ((left - 1) / size) ** count if replacement else np.cumprod(np.maximum(left - count, 0) / left)
        chance = -np.diff(np.concatenate([[1.0], missed])[better])
        mean, square = (chance @ moment for moment in moments)
        rows.append((count, mean, np.sqrt(max(square - mean**2, 0.0))))
    return pd.DataFrame(rows, columns=["query", "mean", "std"])
