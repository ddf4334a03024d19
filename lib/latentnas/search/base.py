"""Searching a table: one loop for every method.

A table search works on rows. A ``Domain`` says which rows there are, which of them are the same architecture,
and which are one change apart; a ``Searcher`` asks for rows and is told their values; :func:`run` stands
between the two, counts, and writes the history. Validation labels go through the loop; test labels come in
afterwards, with :mod:`latentnas.search.history`, and are never seen by a searcher.

What counts as one query: the first use of the label of an architecture, for whatever purpose (an initial
design and training data for a predictor count). Where rows are grouped into classes of the same function, a
class is one architecture with one label, that of its first row, whichever of its rows is asked for. Asking
again for a known architecture costs nothing and tells nothing new.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import joblib
import numpy as np
import pandas as pd
import torch

from latentnas.spaces.features import nasbench201_path_encoding
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201

REPEATS = 1000  # answers in a row without a new architecture after which a searcher counts as stuck
SECONDS_BETWEEN_LINES = 10.0

Objective = Callable[[np.ndarray], np.ndarray]  # rows [n] -> values [n], more is better


@dataclass(frozen=True)
class Domain:
    """The architectures of a table, known by their rows 0 to size - 1.

    Args:
        choices: int64 ``[size, P]``, the P decisions that make each architecture, numbered from 0.
        identity: int64 ``[size]``; rows with the same number are the same architecture.
        neighbors: rows ``[B]`` -> rows ``[B, K]`` one change away; a list of B arrays where their numbers differ.
        features: ``[size, F]``, what a predictor sees of each row; None where no searcher needs it.
    """

    choices: np.ndarray
    identity: np.ndarray
    neighbors: Callable[[np.ndarray], np.ndarray]
    features: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("choices", "features"):
            values = getattr(self, name)
            if values is not None and (values.ndim != 2 or len(values) != self.size):
                raise ValueError(
                    f"A domain of {self.size} rows needs {name} of shape [{self.size}, ...], but they have "
                    f"shape {list(values.shape)}. Give one entry for each row, in the order of the table."
                )

    @property
    def size(self) -> int:
        return len(self.identity)

    @cached_property
    def representative(self) -> np.ndarray:
        """The first row of the same architecture, int64 ``[size]``."""
        _, first, inverse = np.unique(self.identity, return_index=True, return_inverse=True)
        return first[inverse]

    @cached_property
    def distinct(self) -> np.ndarray:
        """The representatives in ascending order: one row for each architecture."""
        return np.unique(self.representative)

    @cached_property
    def one_hot(self) -> np.ndarray:
        """The choices as indicators, bool ``[size, P * options]``."""
        options = np.arange(self.choices.max() + 1)
        return (self.choices[:, :, None] == options).reshape(self.size, -1)

    @property
    def counted_by(self) -> str:
        """What is one architecture: "string", every row; "class", some rows together."""
        return "string" if len(self.distinct) == self.size else "class"

    def lookup(self, values: Sequence[float]) -> Objective:
        """The objective that reads a column of the table, one value for each row.

        Raises:
            ValueError: not one value for each row.
        """
        return _one_value_a_row(values, self.size).__getitem__

    def optimum(self, values: Sequence[float]) -> np.ndarray:
        """The rows of ``distinct`` with the largest value."""
        values = _one_value_a_row(values, self.size)[self.distinct]
        return self.distinct[values == np.nanmax(values)]


def nasbench201_domain(identity: str) -> Domain:
    """NAS-Bench-201 in the order of ``NASBENCH201.enumerate()``; the features are the path encoding.

    Args:
        identity: "class": the 6,466 classes of cells with the same function; "string": all 15,625 cells.
    """
    cells = NASBENCH201.enumerate()
    if identity not in ("class", "string"):
        raise ValueError(f'identity={identity!r} must be "class" or "string".')
    return Domain(
        choices=NASBENCH201.choices(cells),
        identity=NASBENCH201.canonical(cells) if identity == "class" else np.arange(len(cells)),
        neighbors=NASBENCH201.neighbor_rows(np.arange(len(cells))).__getitem__,
        features=nasbench201_path_encoding(cells).numpy(),
    )


def nasbench101_domain() -> Domain:
    """NAS-Bench-101 in the order of ``NASBENCH101.enumerate()``: each of the 423,624 cells is one architecture. No
    features."""
    return Domain(
        choices=NASBENCH101.choices(NASBENCH101.enumerate()),
        identity=np.arange(NASBENCH101.size),
        neighbors=NASBENCH101.neighbor_rows,
    )


class Searcher(Protocol):
    """A search method; it is constructed from a domain, a seed and its own configuration."""

    domain: Domain
    seed: int

    def ask(self, n: int) -> np.ndarray:
        """At most ``n`` rows, int64, to evaluate next; none when there is nothing left to propose."""

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Values ``[n]`` of the rows ``[n]`` just asked for, known ones included, or of an initial design."""


def run(
    searcher: Searcher, objective: Objective, budget: int, batch: int = 1, initial: Iterable[int] | None = None
) -> pd.DataFrame:
    """Search until ``budget`` architectures are known.

    Args:
        objective: the only source of labels; called once for each new architecture.
        batch: rows asked for at a time.
        initial: rows whose labels are bought and told before the first question.

    Returns:
        One row for each query: ``seed``, ``query`` (from 1), ``row`` (the representative), ``value``,
        ``incumbent`` (the best value so far), ``incumbent_row`` (where it was first found), and two columns
        that hold for the run as a whole: ``counted_by`` (what is one architecture: "class" or "string") and
        ``stopped`` ("budget spent", "space exhausted" or "nothing new proposed": no answer or 1,000 in a row
        that were all known).

    Raises:
        ValueError: a budget or batch below 1, queries beyond the budget, rows outside the domain, more rows
            than asked for, or a value that is NaN or infinite.
    """
    if budget < 1 or batch < 1:
        raise ValueError(f"A search needs a budget and a batch of at least 1, but got {budget} and {batch}.")
    labels = _Labels(searcher.domain, objective, budget)
    if initial is not None:
        rows = _checked_rows(searcher.domain, initial, "The initial design")
        searcher.tell(rows, labels.query(rows))
    started = printed = time.monotonic()
    repeats = 0
    while labels.left and repeats < REPEATS:
        before = labels.left
        asked = min(batch, before)
        rows = _checked_rows(searcher.domain, searcher.ask(asked), type(searcher).__name__)
        if len(rows) > asked:
            raise ValueError(
                f"{type(searcher).__name__} was asked for {asked} rows but returned {len(rows)}. ask(n) may "
                "return at most n."
            )
        if not len(rows):
            break
        searcher.tell(rows, labels.query(rows))
        repeats = 0 if labels.left < before else repeats + 1
        if time.monotonic() - printed > SECONDS_BETWEEN_LINES:
            printed = time.monotonic()
            known = len(labels.rows)
            left = (printed - started) / known * labels.left
            line = f"search, seed {searcher.seed}: query {known}/{known + labels.left}  {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)
    return labels.history(searcher.seed)


def run_many(
    make_searcher: Callable[[int], Searcher],
    objective: Objective,
    budget: int,
    seeds: Iterable[int],
    jobs: int = 1,
    batch: int = 1,
    initial: Iterable[int] | None = None,
) -> pd.DataFrame:
    """The histories of :func:`run` for many seeds, one below the other in the order of ``seeds``.

    Args:
        make_searcher: seed -> a fresh searcher, such as ``partial(RandomSearch, domain)``.
        jobs: processes. They pay for methods that take seconds a run. Every run computes on one thread, so
            its history does not depend on ``jobs``.
    """
    seeds = list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"Many runs need at least one seed and each only once, but the seeds are {seeds}.")
    initial = None if initial is None else list(initial)
    tasks = (joblib.delayed(_run_seed)(make_searcher, seed, objective, budget, batch, initial) for seed in seeds)
    started = printed = time.monotonic()
    histories = []
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        for history in joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks):
            histories.append(history)
            if time.monotonic() - printed > SECONDS_BETWEEN_LINES:
                printed = time.monotonic()
                left = (printed - started) / len(histories) * (len(seeds) - len(histories))
                print(f"search: {len(histories)}/{len(seeds)} seeds  {left:.0f} s left", file=sys.stderr, flush=True)
    return pd.concat(histories, ignore_index=True)


class _Labels:
    """The labels bought so far, in the order of purchase."""

    def __init__(self, domain: Domain, objective: Objective, budget: int) -> None:
        self.domain, self.objective, self.budget = domain, objective, budget
        self.known = np.full(domain.size, np.nan)  # by representative
        self.rows: list[int] = []

    @property
    def left(self) -> int:
        """How many architectures can still be bought."""
        return min(self.budget, len(self.domain.distinct)) - len(self.rows)

    def query(self, rows: np.ndarray) -> np.ndarray:
        """Values ``[n]`` of rows ``[n]``; the unknown ones are bought."""
        stands_for = self.domain.representative[rows]
        unknown = stands_for[np.isnan(self.known[stands_for])]
        if len(unknown):
            self._buy(np.array(list(dict.fromkeys(unknown.tolist()))))
        return self.known[stands_for]

    def _buy(self, rows: np.ndarray) -> None:
        if len(self.rows) + len(rows) > self.budget:
            raise ValueError(
                f"The budget is {self.budget} queries and {len(self.rows)} are spent, so the labels of "
                f"{len(rows)} more architectures cannot be used. Raise the budget, or start from fewer."
            )
        values = np.asarray(self.objective(rows), dtype=np.float64)
        if values.shape != rows.shape:
            raise ValueError(f"The objective was given {len(rows)} rows but returned shape {list(values.shape)}.")
        if not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values)))
            raise ValueError(
                f"The objective gives {values[bad]} for row {rows[bad]}; a search needs a finite label for "
                "every row of its domain. Leave architectures without a label out of the domain."
            )
        self.known[rows] = values
        self.rows += rows.tolist()

    def history(self, seed: int) -> pd.DataFrame:
        rows = np.array(self.rows, dtype=np.int64)
        values = self.known[rows]
        incumbent = np.maximum.accumulate(values)
        improved = np.append(True, values[1:] > incumbent[:-1])[: len(rows)]
        if len(rows) == self.budget:
            stopped = "budget spent"
        else:
            stopped = "nothing new proposed" if self.left else "space exhausted"
        return pd.DataFrame(
            {
                "seed": seed,
                "query": np.arange(1, len(rows) + 1),
                "row": rows,
                "value": values,
                "incumbent": incumbent,
                "incumbent_row": rows[np.maximum.accumulate(np.where(improved, np.arange(len(rows)), 0))],
                "counted_by": self.domain.counted_by,
                "stopped": stopped,
            }
        )


def _run_seed(
    make_searcher: Callable[[int], Searcher],
    seed: int,
    objective: Objective,
    budget: int,
    batch: int,
    initial: list[int] | None,
) -> pd.DataFrame:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on the number of threads in their last bits
    try:
        return run(make_searcher(seed), objective, budget, batch, initial)
    finally:
        torch.set_num_threads(threads)


def _checked_rows(domain: Domain, rows: Iterable[int], source: str) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise ValueError(f"{source} must be rows as whole numbers [n], not {rows.dtype} of shape {list(rows.shape)}.")
    if len(rows) and not 0 <= rows.min() <= rows.max() < domain.size:
        raise ValueError(
            f"{source} has row {rows.min() if rows.min() < 0 else rows.max()}, but the rows of this domain "
            f"are 0 to {domain.size - 1}."
        )
    return rows.astype(np.int64)


def _one_value_a_row(values: Sequence[float], size: int) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (size,):
        raise ValueError(
            f"The domain has {size} rows, so it needs {size} values, but got shape {list(values.shape)}. "
            "Pass the whole column of the table that the domain was made from."
        )
    return values
