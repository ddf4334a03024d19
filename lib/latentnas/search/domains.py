"""What a search moves over: the rows of a table, or graphs of a space that is sampled.

A searcher speaks of *rows*, numbers of architectures. A `TableDomain` knows all its rows beforehand, 0 to size - 1. A
`SampledDomain` has a space that cannot be listed: the row of an architecture is its canonical hash without the sign
bit, the same number in every run and process. Letters: n rows, P decisions, F features.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike

from latentnas.graphs import DagBatch, canonical_hash
from latentnas.interfaces import Space

ALL = slice(None)
REDRAWS = 20  # times that a sampled domain draws again for architectures that are not known yet

Objective = Callable[[np.ndarray], np.ndarray]  # rows [n] -> values [n], more is better


class Domain:
    """What both kinds share. Each has its own methods where there is no body here, its own `_find` (rows of pruned
    graphs) and `_find_neighbors` (of one row)."""

    size: int | None  # rows, where they are known beforehand
    count: float  # architectures in all
    row_range: str  # which rows there are, in words
    counted_by: str  # what is one architecture: "string", every row; "class", some rows together; "graph"
    reference: np.ndarray  # rows that stand for the domain where a scale is needed

    def __init__(self, space: Space | None, features: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self.space, self._features = space, features  # rows -> [n, F]
        self._neighbors: dict[int, np.ndarray] = {}

    def contains(self, rows: np.ndarray) -> np.ndarray:
        """Which whole numbers are rows of this domain, bool `[n]`."""

    def graphs(self, rows: np.ndarray) -> DagBatch:
        """The architectures themselves."""

    def rows_of(self, graphs: DagBatch) -> np.ndarray:
        """The rows of decoded graphs, pruned where the space has a `prune`, int64 `[B]`; -1: no architecture."""
        return self._find(self._pruned(graphs).to("cpu"))

    def accepts(self, graphs: DagBatch) -> torch.Tensor:
        """Which graphs `rows_of` finds, bool `[B]`."""
        return torch.as_tensor(self.space.contains(self._pruned(graphs)))

    def representative(self, rows: np.ndarray) -> np.ndarray:
        """The row that stands for the same architecture, int64 `[n]`."""
        return np.asarray(rows)

    def neighbors(self, row: int) -> np.ndarray:
        """Rows one change away, int64; there may be none."""
        if row not in self._neighbors:
            self._neighbors[row] = self._find_neighbors(row)
        return self._neighbors[row]

    def choices(self, rows: np.ndarray) -> np.ndarray:
        """The decisions that make each architecture, numbered from 0, int64 `[n, P]`."""

    def from_choices(self, choices: np.ndarray) -> np.ndarray:
        """The rows of decisions `[n, P]`, -1 where they make no architecture of the domain. Of rows with the same
        decisions the first; ValueError where a space cannot make graphs of decisions."""

    @cached_property
    def options(self) -> np.ndarray:
        """How many options each decision has among the `reference` rows, int64 `[P]`."""
        return self.choices(self.reference).max(axis=0) + 1

    def one_hot(self, rows: np.ndarray | slice) -> np.ndarray:
        """The choices as indicators, bool `[n, P * options]`."""
        options = int(self.options.max())
        return (self.choices(rows)[:, :, None] == np.arange(options)).reshape(-1, len(self.options) * options)

    def inputs(self, rows: np.ndarray | slice = ALL) -> np.ndarray:
        """What a predictor sees: the features, where the domain has any, and the one-hot choices, float32."""
        features = [self._features(rows)] if self._features else []
        return np.hstack([*features, self.one_hot(rows)]).astype(np.float32)

    def sample(self, draw: Callable[[int], int]) -> int:
        """A row drawn uniformly; `draw` gives a random whole number below its argument."""

    def shuffled(self, random: np.random.Generator) -> Iterator[int]:
        """All architectures, each once, in random order; one row for each."""

    def fresh(self, random: np.random.Generator, n: int, known: Collection[int]) -> np.ndarray:
        """At most `n` architectures that are not `known` (representatives), drawn uniformly without replacement."""

    def candidates(
        self, random: np.random.Generator, n: int, known: Collection[int], best: Sequence[int]
    ) -> np.ndarray:
        """Architectures that are not known, in ascending order: all neighbours of the best, and `n` from anywhere."""
        near = self.representative(np.concatenate([self.neighbors(row) for row in best]))
        near = np.array([row for row in near.tolist() if row not in known], dtype=np.int64)
        return np.union1d(near, self.fresh(random, n, known))

    def names(self, rows: np.ndarray) -> list[str] | None:
        """Texts of the rows, where the rows mean nothing by themselves."""

    def objective(self, evaluate: Callable[[DagBatch], ArrayLike]) -> Objective:
        """The objective that evaluates graphs, such as `lambda graphs: benchmark.query(graphs)["valid"]`."""
        return lambda rows: np.asarray(evaluate(self.graphs(rows)), dtype=np.float64)

    def _pruned(self, graphs: DagBatch) -> DagBatch:
        prune = getattr(self.space, "prune", None)
        return prune(graphs) if prune else graphs


class TableDomain(Domain):
    """The architectures of a table, known by their rows 0 to size - 1; see also `table_domain`.

    Args:
        choices: int64 `[size, P]`.
        identity: int64 `[size]`; rows with the same number are the same architecture.
        neighbor_rows: rows `[B]` -> for each of them the rows that are one change away.
        features: `[size, F]`, what a predictor sees beside the choices.
        space: whose `enumerate` and `index` follow the same rows; only searchers that need graphs ask for it.
    """

    def __init__(
        self,
        choices: np.ndarray,
        identity: np.ndarray,
        neighbor_rows: Callable[[np.ndarray], Sequence[np.ndarray]],
        features: np.ndarray | None = None,
        space: Space | None = None,
    ) -> None:
        self.size = len(identity)
        super().__init__(space, None if features is None else self.lookup(features))
        self._choices, self._neighbor_rows = choices, neighbor_rows
        _, first, inverse = np.unique(identity, return_index=True, return_inverse=True)
        self._first = first[inverse]
        self.distinct = np.sort(first)  # one row for each architecture, in ascending order
        self.reference, self.count = np.arange(self.size), len(first)
        self.row_range = f"0 to {self.size - 1}"
        self.counted_by = "string" if self.count == self.size else "class"

    def lookup(self, values: ArrayLike) -> Callable[[np.ndarray], np.ndarray]:
        """What reads a column of the table: as an objective, or a matrix as the inputs of a model."""
        values = np.asarray(values)
        if values.shape[:1] != (self.size,):
            asked = f"pass a whole column of its table, {self.size} values, not shape {list(values.shape)}"
            raise ValueError(f"The domain has {self.size} rows, so {asked}.")
        return values.__getitem__

    def optimum(self, values: ArrayLike) -> np.ndarray:
        """The rows of `distinct` with the largest value."""
        values = self.lookup(values)(self.distinct)
        return self.distinct[values == np.nanmax(values)]

    def contains(self, rows: np.ndarray) -> np.ndarray:
        return (rows >= 0) & (rows < self.size)

    def graphs(self, rows: np.ndarray) -> DagBatch:
        return self._graphs[torch.from_numpy(np.asarray(rows))]

    def representative(self, rows: np.ndarray) -> np.ndarray:
        return self._first[rows]

    def choices(self, rows: np.ndarray | slice = ALL) -> np.ndarray:
        return self._choices[rows]

    def from_choices(self, choices: np.ndarray) -> np.ndarray:
        codes, rows = self._by_code
        code = np.ravel_multi_index(choices.T, self.options)
        place = np.searchsorted(codes, code).clip(max=len(codes) - 1)
        return np.where(codes[place] == code, rows[place], -1)

    def sample(self, draw: Callable[[int], int]) -> int:
        """Uniform over rows, so a class of many rows comes more often; `shuffled` and `fresh` are uniform over classes.
        So by class evolution and local search start from rows; started from classes they would do a little better."""
        return int(draw(self.size))

    def shuffled(self, random: np.random.Generator) -> Iterator[int]:
        return iter(random.permutation(self.distinct))

    def fresh(self, random: np.random.Generator, n: int, known: Collection[int]) -> np.ndarray:
        return random.permutation(np.setdiff1d(self.distinct, list(known), assume_unique=True))[:n]

    def _find(self, graphs: DagBatch) -> np.ndarray:
        return np.asarray(self.space.index(graphs))

    def _find_neighbors(self, row: int) -> np.ndarray:
        return self._neighbor_rows(np.array([row]))[0]

    @cached_property
    def _graphs(self) -> DagBatch:
        return self.space.enumerate()

    @cached_property
    def _by_code(self) -> tuple[np.ndarray, np.ndarray]:
        """The combinations of decisions that the table has, numbered as by `np.ravel_multi_index`, and their rows."""
        return np.unique(np.ravel_multi_index(self._choices.T, self.options), return_index=True)


class SampledDomain(Domain):
    """The architectures of a space that is too large to be listed; each is kept once it was drawn, decoded or found.
    So many `typical` ones, drawn from `seed`, stand for the whole space where a scale is needed; the Gaussian process
    ranks as many from anywhere."""

    size, count, counted_by = None, math.inf, "graph"
    row_range = "the hashes of the graphs that it has seen"

    def __init__(self, space: Space, seed: int = 0, typical: int = 500) -> None:
        super().__init__(space)
        self._seen: dict[int, DagBatch] = {}  # one graph for each row
        self.reference = np.unique(self._keep(space.sample(typical, seed)))

    def contains(self, rows: np.ndarray) -> np.ndarray:
        return np.array([row in self._seen for row in rows.tolist()], dtype=bool)

    def graphs(self, rows: np.ndarray) -> DagBatch:
        return DagBatch.cat([self._seen[row] for row in rows.tolist()])

    def choices(self, rows: np.ndarray) -> np.ndarray:
        return self.space.choices(self.graphs(rows))

    def from_choices(self, choices: np.ndarray) -> np.ndarray:
        try:
            return self._find(self.space.from_choices(choices))
        except (AttributeError, ValueError) as error:
            found = f"from_choices(choices [n, P]) -> DagBatch. In {self.space.name} that fails ({error})"
            raise ValueError(f"This searcher makes every decision by itself: the space needs {found}.") from None

    def sample(self, draw: Callable[[int], int]) -> int:
        return int(self._keep(self.space.sample(1, int(draw(2**63))))[0])

    def shuffled(self, random: np.random.Generator) -> Iterator[int]:
        given: set[int] = set()
        while len(rows := self.fresh(random, 100, given)):
            given.update(rows.tolist())
            yield from rows

    def fresh(self, random: np.random.Generator, n: int, known: Collection[int]) -> np.ndarray:
        found: dict[int, None] = {}  # keeps the order
        for _ in range(REDRAWS):
            if len(found) < n:
                rows = self._keep(self.space.sample(n, int(random.integers(2**63))))
                found |= dict.fromkeys(row for row in rows.tolist() if row not in known)
        return np.array(list(found)[:n], dtype=np.int64)

    def names(self, rows: np.ndarray) -> list[str]:
        return self.space.to_strings(self.graphs(rows)) if len(rows) else []

    def _find(self, graphs: DagBatch) -> np.ndarray:
        inside = torch.as_tensor(self.space.contains(graphs))
        rows = np.full(len(graphs), -1)
        rows[inside.numpy()] = self._keep(graphs[inside])
        return rows

    def _find_neighbors(self, row: int) -> np.ndarray:
        return self._keep(self.space.neighbors(self._seen[row])[0])

    def _keep(self, graphs: DagBatch) -> np.ndarray:
        """The rows of architectures; those that are new are kept."""
        rows = canonical_hash(graphs).numpy() & np.int64(2**63 - 1)
        for place, row in enumerate(rows.tolist()):
            if row not in self._seen:
                self._seen[row] = graphs[place : place + 1]
        return rows


def table_domain(
    space: Space, identity: str = "string", features: Callable[[DagBatch], ArrayLike] | None = None
) -> TableDomain:
    """A space that can be listed, such as `table.space`, in the order of its `enumerate()`. `features`: see
    `TableDomain`, here of graphs.

    Args:
        identity: "string": every architecture counts; "class": those of the same function, which `space.canonical`
            numbers alike, count as one.
    """
    needed = ["enumerate", "index", "neighbor_rows"] + ["canonical"] * (identity == "class")
    missing = [name for name in needed if not hasattr(space, name)]
    if missing or identity not in ("string", "class"):
        found = f"it lacks {', '.join(missing)}. Use SampledDomain" if missing else 'that must be "string" or "class"'
        raise ValueError(f"The space {space.name} cannot be searched as a table with identity={identity!r}: {found}.")
    graphs = space.enumerate()
    return TableDomain(
        space.choices(graphs),
        space.canonical(graphs) if identity == "class" else np.arange(len(graphs)),
        space.neighbor_rows,
        None if features is None else np.asarray(features(graphs)),
        space,
    )
