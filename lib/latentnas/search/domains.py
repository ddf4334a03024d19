"""What a search moves over: the rows of a table, or graphs that it meets on its way.

A searcher speaks of *rows*, numbers of architectures. Two kinds of domain say what is behind them, with the same
methods. A `TableDomain` knows all its rows beforehand, 0 to size - 1, and everything about them is an array. A
`SampledDomain` knows a space that cannot be listed: it draws architectures, finds their neighbours, and takes what a
model decodes; the row of an architecture is then its canonical hash, the same number in every run and process.
Letters: n rows, P decisions, F features.
"""

from __future__ import annotations

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
Draw = Callable[[int], int]  # a random whole number below its argument


class Domain:
    """What both kinds have in common; the methods without a body are what each has of its own."""

    space: Space | None
    size: int | None  # rows, where they are known beforehand
    count: float  # architectures in all
    extent: str  # which rows there are, in words
    counted_by: str  # what is one architecture: "string", every row; "class", some rows together
    background: np.ndarray  # rows that stand for the domain where a scale is needed
    _near: dict[int, np.ndarray]  # the neighbours of the rows that were asked for

    def contains(self, rows: np.ndarray) -> np.ndarray:
        """Which whole numbers are rows of this domain, bool `[n]`."""

    def graphs(self, rows: np.ndarray) -> DagBatch:
        """The architectures themselves."""

    def rows_of(self, graphs: DagBatch) -> np.ndarray:
        """The rows of graphs such as a model decodes, int64 `[B]`; -1 for what is no architecture. What has no
        function is pruned first, where the space has a `prune`."""
        return self._find(self._pruned(graphs).to("cpu"))

    def accepts(self, graphs: DagBatch) -> torch.Tensor:
        """Which graphs `rows_of` finds, bool `[B]`."""
        return torch.as_tensor(self.space.contains(self._pruned(graphs)))

    def representative(self, rows: np.ndarray) -> np.ndarray:
        """The row that stands for the same architecture, int64 `[n]`."""

    def neighbors(self, row: int) -> np.ndarray:
        """Rows one change away, int64; there may be none."""
        if row not in self._near:
            self._near[row] = self._neighbors(row)
        return self._near[row]

    def choices(self, rows: np.ndarray) -> np.ndarray:
        """The decisions that make each architecture, numbered from 0, int64 `[n, P]`."""

    def from_choices(self, choices: np.ndarray) -> np.ndarray:
        """The rows of decisions `[n, P]`, for searchers that make each of them by itself.

        Raises:
            ValueError: not every combination of decisions is an architecture.
        """

    def one_hot(self, rows: np.ndarray) -> np.ndarray:
        """The choices as indicators, bool `[n, P * options]`."""
        return (self.choices(rows)[:, :, None] == np.arange(self.options.max())).reshape(-1, self._width)

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        """What a predictor sees: the features, where the domain has any, and the one-hot choices, float32."""

    def sample(self, draw: Draw) -> int:
        """A row drawn uniformly."""

    def shuffled(self, random: np.random.Generator) -> Iterator[int]:
        """All architectures, each once, in random order; one row for each."""

    def fresh(self, random: np.random.Generator, n: int, known: Collection[int]) -> np.ndarray:
        """At most `n` architectures that are not known, drawn uniformly without replacement."""

    def nearby(self, parents: Sequence[int], known: Collection[int]) -> np.ndarray:
        """The neighbours of some rows that are not known, in ascending order, none twice."""
        rows = np.concatenate([self.neighbors(parent) for parent in parents])
        rows = np.unique(self.representative(rows))
        return rows[[row not in known for row in rows.tolist()]]

    def candidates(self, random: np.random.Generator, known: Collection[int], best: Sequence[int]) -> np.ndarray:
        """What a model-based searcher ranks, in ascending order: of a table all unknown architectures, of a sampled
        domain unknown ones from anywhere and the neighbours of the best."""

    def names(self, rows: np.ndarray) -> list[str] | None:
        """Texts of the rows, where the rows mean nothing by themselves."""

    def objective(self, evaluate: Callable[[DagBatch], ArrayLike]) -> Objective:
        """The objective that evaluates graphs, such as `lambda graphs: benchmark.query(graphs)["valid"]`."""
        return lambda rows: np.asarray(evaluate(self.graphs(rows)), dtype=np.float64)

    @cached_property
    def options(self) -> np.ndarray:
        """How many options each decision has, int64 `[P]`."""
        return self.choices(self.background).max(axis=0) + 1

    @property
    def _width(self) -> int:
        return len(self.options) * int(self.options.max())

    def _pruned(self, graphs: DagBatch) -> DagBatch:
        prune = getattr(self.space, "prune", None)
        return prune(graphs) if prune else graphs

    def _find(self, graphs: DagBatch) -> np.ndarray:
        """`rows_of` after pruning."""

    def _neighbors(self, row: int) -> np.ndarray:
        """`neighbors` of a row that was not asked for before."""


class TableDomain(Domain):
    """The architectures of a table, known by their rows 0 to size - 1; see also `table_domain`.

    Args:
        choices: int64 `[size, P]`.
        identity: int64 `[size]`; rows with the same number are the same architecture.
        neighbor_rows: rows `[B]` -> for each of them the rows that are one change away.
        features: `[size, F]`, what a predictor sees beside the choices.
        space: whose `enumerate` and `index` follow the same rows; only searchers that need graphs ask for it.

    Raises:
        ValueError: choices or features are not one for each row.
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
        for name, values in (("choices", choices), ("features", features)):
            if values is not None and (values.ndim != 2 or len(values) != self.size):
                raise ValueError(
                    f"A domain of {self.size} rows needs {name} of shape [{self.size}, ...], but they have "
                    f"shape {list(values.shape)}. Give one entry for each row, in the order of the table."
                )
        self.space, self._neighbor_rows, self._near = space, neighbor_rows, {}
        self._choices, self._features = choices, features
        _, first, inverse = np.unique(identity, return_index=True, return_inverse=True)
        self._first = first[inverse]
        self.distinct = np.sort(first)  # one row for each architecture, in ascending order
        self.background, self.count = np.arange(self.size), len(first)
        self.extent = f"0 to {self.size - 1}"
        self.counted_by = "string" if self.count == self.size else "class"

    def lookup(self, values: ArrayLike) -> Callable[[np.ndarray], np.ndarray]:
        """What reads a column of the table: as an objective, or a matrix as the inputs of a model.

        Raises:
            ValueError: not one value for each row.
        """
        return self._column(values).__getitem__

    def optimum(self, values: ArrayLike) -> np.ndarray:
        """The rows of `distinct` with the largest value."""
        values = self._column(values)[self.distinct]
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
        return self._row_of_code[choices @ self._place_values]

    def inputs(self, rows: np.ndarray | slice = ALL) -> np.ndarray:
        return self._inputs[rows]

    def sample(self, draw: Draw) -> int:
        return int(draw(self.size))

    def shuffled(self, random: np.random.Generator) -> Iterator[int]:
        return iter(random.permutation(self.distinct))

    def fresh(self, random: np.random.Generator, n: int, known: Collection[int]) -> np.ndarray:
        return random.permutation(self._unknown(known))[:n]

    def candidates(self, random: np.random.Generator, known: Collection[int], best: Sequence[int]) -> np.ndarray:
        return self._unknown(known)

    def names(self, rows: np.ndarray) -> None:
        return None

    def _unknown(self, known: Collection[int]) -> np.ndarray:
        left = np.zeros(self.size, dtype=bool)
        left[self.distinct] = True
        left[list(known)] = False
        return np.flatnonzero(left)

    def _column(self, values: ArrayLike) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        if values.shape[:1] != (self.size,):
            raise ValueError(
                f"The domain has {self.size} rows, so it needs {self.size} values, but got shape "
                f"{list(values.shape)}. Pass the whole column of the table that the domain was made from."
            )
        return values

    def _find(self, graphs: DagBatch) -> np.ndarray:
        return np.asarray(self.space.index(graphs))

    def _neighbors(self, row: int) -> np.ndarray:
        return self._neighbor_rows(np.array([row]))[0]

    @cached_property
    def _graphs(self) -> DagBatch:
        return self.space.enumerate()

    @cached_property
    def _inputs(self) -> np.ndarray:
        """float32 `[size, F + P * options]`."""
        parts = [self.one_hot(ALL)] if self._features is None else [self._features, self.one_hot(ALL)]
        return np.hstack(parts).astype(np.float32)

    @cached_property
    def _place_values(self) -> np.ndarray:
        """Choices times these are one whole number, int64 `[P]`."""
        return np.cumprod(np.append(1, self.options[:0:-1]))[::-1]

    @cached_property
    def _row_of_code(self) -> np.ndarray:
        """The row of each number that choices make."""
        codes = self._choices @ self._place_values
        if not np.array_equal(np.sort(codes), np.arange(math.prod(self.options.tolist()))):
            raise ValueError(
                f"This searcher makes every decision by itself, so all {math.prod(self.options.tolist())} combinations "
                f"must be rows of the domain, each once, but it has {self.size} rows. Use another searcher for such a "
                "space."
            )
        return np.argsort(codes)


class SampledDomain(Domain):
    """The architectures of a space that is too large to be listed, met one by one.

    Args:
        space: draws, finds neighbours and tells choices.
        seed: of `typical` architectures that stand for the whole space where a scale is needed.
        typical: also how many architectures from anywhere model-based searchers rank.
        features: graphs -> `[B, F]`, what a predictor sees beside the choices.
    """

    size, count, counted_by = None, math.inf, "graph"
    extent = "the hashes of the graphs that it has met"

    def __init__(
        self, space: Space, seed: int = 0, features: Callable[[DagBatch], ArrayLike] | None = None, typical: int = 500
    ) -> None:
        self.space, self._features = space, features
        self._met: dict[int, DagBatch] = {}  # one graph for each row
        self._near = {}
        self.background = np.unique(self._meet(space.sample(typical, seed)))

    def contains(self, rows: np.ndarray) -> np.ndarray:
        return np.array([row in self._met for row in rows.tolist()], dtype=bool)

    def graphs(self, rows: np.ndarray) -> DagBatch:
        return DagBatch.cat([self._met[row] for row in rows.tolist()])

    def representative(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows)

    def choices(self, rows: np.ndarray) -> np.ndarray:
        return self.space.choices(self.graphs(rows))

    def from_choices(self, choices: np.ndarray) -> np.ndarray:
        try:
            graphs = self.space.from_choices(choices)
        except (AttributeError, ValueError) as error:
            raise ValueError(
                "This searcher makes every decision by itself, so every combination must be an architecture: the "
                f"space needs from_choices(choices [n, P]) -> DagBatch. In {self.space.name} that fails ({error}). "
                "Use another searcher for such a space."
            ) from None
        return self._meet(graphs)

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        parts = [self.one_hot(rows)]
        if self._features is not None:
            parts.insert(0, np.asarray(self._features(self.graphs(rows))))
        return np.hstack(parts).astype(np.float32)

    def sample(self, draw: Draw) -> int:
        return int(self._meet(self.space.sample(1, int(draw(2**63))))[0])

    def shuffled(self, random: np.random.Generator) -> Iterator[int]:
        seen: set[int] = set()
        while len(rows := self.fresh(random, 100, seen)):
            seen.update(rows.tolist())
            yield from rows

    def fresh(self, random: np.random.Generator, n: int, known: Collection[int]) -> np.ndarray:
        found: dict[int, None] = {}  # keeps the order
        for _ in range(REDRAWS):
            if len(found) < n:
                rows = self._meet(self.space.sample(n, int(random.integers(2**63))))
                found |= dict.fromkeys(row for row in rows.tolist() if row not in known)
        return np.array(list(found)[:n], dtype=np.int64)

    def candidates(self, random: np.random.Generator, known: Collection[int], best: Sequence[int]) -> np.ndarray:
        return np.union1d(self.nearby(best, known), self.fresh(random, len(self.background), known))

    def names(self, rows: np.ndarray) -> list[str]:
        return self.space.to_strings(self.graphs(rows)) if len(rows) else []

    def _find(self, graphs: DagBatch) -> np.ndarray:
        inside = torch.as_tensor(self.space.contains(graphs))
        rows = np.full(len(graphs), -1)
        rows[inside.numpy()] = self._meet(graphs[inside])
        return rows

    def _neighbors(self, row: int) -> np.ndarray:
        return self._meet(self.space.neighbors(self._met[row])[0])

    def _meet(self, graphs: DagBatch) -> np.ndarray:
        """The rows of architectures; those that are new are kept."""
        rows = canonical_hash(graphs).numpy() & np.int64(2**63 - 1)
        for place, row in enumerate(rows.tolist()):
            if row not in self._met:
                self._met[row] = graphs[place : place + 1]
        return rows


def table_domain(
    space: Space, identity: str = "string", features: Callable[[DagBatch], ArrayLike] | None = None
) -> TableDomain:
    """A space that can be listed, in the order of its `enumerate()`.

    Args:
        identity: "string": every architecture counts; "class": those of the same function, which `space.canonical`
            numbers alike, count as one.
        features: graphs -> `[B, F]`, what a predictor sees beside the choices.

    Raises:
        ValueError: another identity, a space that knows no classes, or one that cannot be listed.
    """
    missing = [name for name in ("enumerate", "index", "neighbor_rows") if not hasattr(space, name)]
    if missing:
        raise ValueError(
            f"The space {space.name} cannot be searched as a table: it lacks {', '.join(missing)}. Add what "
            "latentnas.spaces.nasbench201 has under these names, or search it with SampledDomain."
        )
    canonical = getattr(space, "canonical", None)
    if identity not in ("class", "string") or (identity == "class" and canonical is None):
        known = '"class" or "string"' if canonical else f'"string": {space.name} has no canonical(batch) -> classes'
        raise ValueError(f"identity={identity!r} must be {known}.")
    graphs = space.enumerate()
    return TableDomain(
        space.choices(graphs),
        canonical(graphs) if identity == "class" else np.arange(len(graphs)),
        space.neighbor_rows,
        None if features is None else np.asarray(features(graphs)),
        space,
    )
