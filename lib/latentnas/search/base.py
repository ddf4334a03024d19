"""Searching a table or a space: one loop for every method.

A searcher asks for rows of a domain (`latentnas.search.domains`) and is told their values; `run` counts the queries
and writes the history. One query is the first use of the label of an architecture, for whatever purpose (an initial
design counts); asking again costs nothing. Where rows are grouped into classes of the same function, a class is one
architecture with the label of its first row. Test labels come in afterwards, with `latentnas.search.history`.
"""

import gzip
import json
import math
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentnas.interfaces import Searcher
from latentnas.parallel import in_processes
from latentnas.paths import atomic_write, put_aside
from latentnas.progress import Progress
from latentnas.search.domains import Domain, Objective
from latentnas.settings import whole

REPEATS = 1000  # answers in a row without a new architecture after which a searcher counts as stuck


class ModelBasedSearch:
    """A searcher that learns from all values it was told; it begins with random architectures."""

    def __init__(self, domain: Domain, seed: int, initial: int) -> None:
        self.domain, self.seed, self._initial = domain, seed, initial
        self._random = np.random.default_rng(seed)
        self._values: dict[int, float] = {}  # by representative, in the order of tell
        self._pending: list[int] = []  # what is left of a round

    def ask(self, n: int) -> np.ndarray:
        missing = self._initial - len(self._values)
        if missing > 0:
            return self._first(min(n, missing))
        return self._propose(n, np.array(list(self._values)), np.array(list(self._values.values())))

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        if not np.isfinite(values).all():
            raise ValueError("A searcher was told a value that is no finite number. Leave failed architectures out.")
        self._values.update(zip(self.domain.representative(rows).tolist(), values.tolist(), strict=True))

    def _first(self, n: int) -> np.ndarray:
        return self.domain.fresh(self._random, n, self._values)

    def _propose(self, n: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """At most `n` unknown rows, given all that are known and their values."""


class RoundSearch(ModelBasedSearch):
    """A searcher that works in rounds: all that one round proposed is asked for before the next."""

    def _propose(self, n: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        self._pending = [row for row in self._pending if row not in self._values]
        if not self._pending:
            self._pending = self._round(rows, values)
        return np.array(self._pending[:n], dtype=np.int64)

    def _round(self, rows: np.ndarray, values: np.ndarray) -> list[int]:
        """The unknown rows of one round, given all that are known and their values; none ends the search."""


def run(
    searcher: Searcher,
    objective: Objective,
    budget: int,
    batch: int = 1,
    initial: Sequence[int] | None = None,
    goal: float = math.inf,
) -> pd.DataFrame:
    """Search until `budget` architectures are known.

    Args:
        objective: the only source of labels; called with the new rows `[n]` of each answer, once for each.
        batch: rows asked for at a time.
        initial: rows whose labels are bought and told before the first question.
        goal: a value that ends the search, such as the highest of a table, of which more queries would tell nothing.

    Returns:
        One row for each query: `seed`, `query` (from 1), `row` (the representative), `value`, `incumbent` (the best
        value so far), `incumbent_row` (where it was first found), and for the run as a whole `counted_by` (see
        `Domain`) and `stopped` ("budget spent", "goal reached", "space exhausted" or "nothing new proposed": no answer,
        or 1,000 in a row that were all known).
    """
    budget, batch = whole("budget", budget), whole("batch", batch)
    labels = _Labels(searcher.domain, objective, budget)
    if initial is not None and len(initial):
        rows = _checked_rows(searcher.domain, initial, "The initial design")
        searcher.tell(rows, labels.query(rows))
    progress = Progress(f"search, seed {searcher.seed}", len(labels.known) + labels.left, len(labels.known))
    repeats = 0
    while (left := labels.left) and not labels.best >= goal and repeats < REPEATS:
        asked = min(batch, left)
        rows = _checked_rows(searcher.domain, searcher.ask(asked), type(searcher).__name__)
        if len(rows) > asked:
            found = f"{type(searcher).__name__} was asked for {asked} rows but returned {len(rows)}"
            raise ValueError(f"{found}. ask(n) may return at most n.")
        if not len(rows):
            break
        searcher.tell(rows, labels.query(rows))
        repeats = 0 if labels.left < left else repeats + 1
        progress.update(len(labels.known))
    return labels.history(searcher.seed, goal)


def run_many(
    make_searcher: Callable[[int], Searcher],
    objective: Objective,
    budget: int,
    seeds: Iterable[int],
    jobs: int = 1,
    batch: int = 1,
    initial: Sequence[int] | None = None,
    folder: Path | None = None,
    goal: float = math.inf,
) -> pd.DataFrame:
    """The histories of `run` for many seeds, one below the other in the order of `seeds`.

    Args:
        make_searcher: seed -> a fresh searcher, such as `partial(RandomSearch, domain)`.
        jobs: processes. Every run computes on one thread, so its history does not depend on them.
        folder: where each history is stored, and loaded from if it is there. Its name must say all that decides them.
        batch, initial, goal: as of `run`.
    """
    seeds = list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"Many runs need at least one seed and each only once, but the seeds are {seeds}.")
    calls = [(make_searcher, seed, folder, objective, budget, batch, initial, goal) for seed in seeds]
    return pd.concat(in_processes(_stored_run, calls, jobs, "search, seeds"), ignore_index=True)


class _Labels:
    """The labels bought so far, in the order of purchase."""

    def __init__(self, domain: Domain, objective: Objective, budget: int) -> None:
        self.domain, self.objective, self.budget = domain, objective, budget
        self.known: dict[int, float] = {}  # by representative
        self.best = -math.inf

    @property
    def left(self) -> int:
        return min(self.budget, self.domain.count) - len(self.known)

    def query(self, rows: np.ndarray) -> np.ndarray:
        """Values `[n]` of rows `[n]`; the unknown ones are bought."""
        stands_for = self.domain.representative(rows).tolist()
        unknown = np.array(list(dict.fromkeys(row for row in stands_for if row not in self.known)), dtype=np.int64)
        if len(self.known) + len(unknown) > self.budget:
            found = f"The budget is {self.budget} queries and {len(self.known)} are spent"
            raise ValueError(f"{found}, so {len(unknown)} more are too many. Raise the budget, or start from fewer.")
        if len(unknown):
            values = np.asarray(self.objective(unknown), dtype=np.float64)
            if values.shape != unknown.shape:
                raise ValueError(f"The objective got {len(unknown)} rows but returned shape {list(values.shape)}.")
            for row, value in zip(unknown.tolist(), values.tolist()):
                if not math.isfinite(value):
                    found = f"The objective gives {value} for row {row}; a search needs a finite label of every row"
                    raise ValueError(f"{found}. Leave architectures without a label out of the domain.")
                self.known[row] = value
                self.best = max(self.best, value)
        return np.array([self.known[row] for row in stands_for], dtype=np.float64)

    def history(self, seed: int, goal: float) -> pd.DataFrame:
        rows = np.array(list(self.known), dtype=np.int64)
        values = np.array(list(self.known.values()), dtype=np.float64)
        incumbent = np.maximum.accumulate(values)
        ended = "goal reached" if self.best >= goal else "nothing new proposed" if self.left else "space exhausted"
        history = pd.DataFrame({"seed": seed, "query": np.arange(1, len(rows) + 1), "row": rows, "value": values})
        history["incumbent"] = incumbent
        history["incumbent_row"] = rows[np.searchsorted(incumbent, incumbent)]  # where it first was as high
        history["counted_by"] = self.domain.counted_by
        history["stopped"] = "budget spent" if len(rows) == self.budget else ended
        names = self.domain.names(rows)
        return history if names is None else history.assign(arch=names)


def _stored_run(
    make_searcher: Callable[[int], Searcher], seed: int, folder: Path | None, *arguments: Any
) -> pd.DataFrame:
    file = folder and folder / f"{seed}.json.gz"
    if file and file.exists():
        try:
            return pd.DataFrame(json.loads(gzip.decompress(file.read_bytes())))
        except (OSError, EOFError, ValueError, zlib.error) as error:
            print(f"{file} is damaged ({error}): set aside as {put_aside(file)}; searching anew", file=sys.stderr)
    history = run(make_searcher(seed), *arguments)
    if file:
        with atomic_write(file) as temporary:
            temporary.write_bytes(gzip.compress(json.dumps(history.to_dict("list")).encode(), mtime=0))
    return history


def _checked_rows(domain: Domain, rows: Sequence[int], source: str) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise ValueError(f"{source} must be rows as whole numbers [n], not {rows.dtype} of shape {list(rows.shape)}.")
    outside = rows[~domain.contains(rows)]
    if len(outside):
        raise ValueError(f"{source} has row {outside[0]}, but the rows of this domain are {domain.row_range}.")
    return rows.astype(np.int64)
