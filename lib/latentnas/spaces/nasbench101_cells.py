"""All 423,624 cells of NAS-Bench-101, enumerated once and kept.

There are 1,293,208 ways to write a cell down: 2 to 7 vertices in topological order, at most 9 edges, every vertex on a
path from the input (first) to the output (last), and one of three operations on each vertex between them. Isomorphic
ones are the same cell. The cells are ordered by their MD5 graph hash, which is the order of the benchmark's table; a
row is a place in this order. Of all ways to write a cell, the one kept comes first when counting up the number of
vertices, then the number whose bit v (v - 1) / 2 + u is the edge u -> v, then the operations: this is the numbering
that the benchmark trained, on which its parameter counts depend slightly.
"""

from __future__ import annotations

import functools
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from latentnas import paths
from latentnas.graphs import NO_VERTEX, DagBatch, canonical_hash
from latentnas.progress import Progress
from latentnas.spaces import nasbench101_network as network
from latentnas.spaces.nasbench101_hash import hexadecimal, official_digests

MAX_VERTICES = 7
MAX_EDGES = 9
NUM_OPERATIONS = 3
FIRST_OPERATION = 2  # type of operation 0; types 0 and 1 are the input and the output
NUM_LABELLED = 1_293_208
NUM_CELLS = 423_624

# The edge u -> v of each of the 21 bits.
BIT_SOURCES = np.array([u for v in range(MAX_VERTICES) for u in range(v)])
BIT_TARGETS = np.array([v for v in range(MAX_VERTICES) for _ in range(v)])

CACHE_FILE = "nasbench101-cells.npz"
CELLS_AT_ONCE = 4096  # so few that what is worked on stays in the processor's cache


@dataclass(frozen=True)
class Cells:
    """Cells in compact form, one row each."""

    num_vertices: np.ndarray  # uint8 [C]
    edges: np.ndarray  # uint32 [C]; bit v (v - 1) / 2 + u is the edge u -> v
    operations: np.ndarray  # uint8 [C]; one digit in base 3 for each vertex between input and output
    digests: np.ndarray  # uint8 [C, 16], the MD5 graph hashes, ascending
    canonical: np.ndarray  # int64 [C], graphs.canonical_hash of batches with seven positions
    params: np.ndarray  # int64 [C], trainable parameters of the network in nasbench101_network
    flops: np.ndarray  # int64 [C], multiply-adds of the same network

    def __len__(self) -> int:
        return len(self.edges)

    def columns(self) -> dict[str, np.ndarray]:
        """The arrays above by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def batch(self, rows: np.ndarray | slice = slice(None)) -> DagBatch:
        """The graphs of some rows, or of all, with seven positions each."""
        return _graphs(self.num_vertices[rows], self.edges[rows], self.operations[rows])

    def hashes(self, rows: np.ndarray | slice = slice(None)) -> list[str]:
        """MD5 graph hashes as text."""
        return hexadecimal(self.digests[rows])

    def find(self, batch: DagBatch) -> np.ndarray:
        """The row of each graph, int64 `[B]`; -1 for one that is isomorphic to no cell. That there is no edge at an
        absent vertex is not checked."""
        hashes = canonical_hash(batch).numpy()
        places = np.searchsorted(self._sorted, hashes).clip(max=len(self) - 1)
        return np.where(self._sorted[places] == hashes, self._order[places], -1)

    @functools.cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.canonical)

    @functools.cached_property
    def _sorted(self) -> np.ndarray:
        return self.canonical[self._order]


@functools.cache
def all_cells() -> Cells:
    """All cells. The first call ever takes a minute and leaves a file of 12 MB in the cache; later ones read it."""
    path = paths.CACHE / CACHE_FILE
    cells = read_cells(path)
    if cells is None:
        cells = compute_cells()
        try:
            with paths.atomic_write(path) as temporary:
                np.savez_compressed(temporary, **cells.columns())
        except OSError as error:
            print(f"nasbench101: the cells could not be kept for next time: {error}", file=sys.stderr)
    return cells


def read_cells(path: Path) -> Cells | None:
    """The cells in a file; None when there is no such file, or it is damaged or of another version of this code."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            cells = Cells(**{field.name: arrays[field.name] for field in fields(Cells)})
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
    if any(len(column) != NUM_CELLS for column in cells.columns().values()):
        return None
    some = np.linspace(0, NUM_CELLS - 1, 50).astype(int)
    again = _described(cells.num_vertices[some], cells.edges[some], cells.operations[some])
    same = all(np.array_equal(cells.columns()[name][some], column) for name, column in again.columns().items())
    return cells if same else None


def compute_cells() -> Cells:
    """Enumerate all cells. Raises RuntimeError should their number not be the published one."""
    written = _labelled_cells()
    hashes = np.empty(len(written[0]), dtype=np.int64)
    for part in _chunks(len(hashes), "step 1 of 2: telling all ways to write a cell apart"):
        hashes[part] = canonical_hash(_graphs(*(array[part] for array in written))).numpy()
    _, first = np.unique(hashes, return_index=True)
    first.sort()  # neighbours in this order share structure, which makes hashing them faster

    described = [
        _described(*(array[first[part]] for array in written))
        for part in _chunks(len(first), "step 2 of 2: hashing each cell as the benchmark does")
    ]
    cells = Cells(*(np.concatenate(c) for c in zip(*(part.columns().values() for part in described), strict=True)))
    high, low = cells.digests.view(">u8").T
    order = np.lexsort((low, high))
    distinct = 1 + np.count_nonzero((np.diff(high[order]) != 0) | (np.diff(low[order]) != 0))
    if (len(hashes), len(cells), distinct) != (NUM_LABELLED, NUM_CELLS, NUM_CELLS):
        raise RuntimeError(
            f"Enumerating NAS-Bench-101 gave {len(cells):,} cells and {distinct:,} hashes from "
            f"{len(hashes):,} labelled graphs instead of {NUM_CELLS:,} from {NUM_LABELLED:,}: the code that "
            "enumerates or hashes them is wrong."
        )
    return Cells(**{name: column[order] for name, column in cells.columns().items()})


def _labelled_cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of vertices, edge bits and operations of all ways to write a cell, in the order stated above."""
    counts, edges, operations = [], [], []
    for count in range(2, MAX_VERTICES + 1):
        patterns = _edge_patterns(count)
        labellings = NUM_OPERATIONS ** (count - 2)
        counts.append(np.full(len(patterns) * labellings, count, dtype=np.uint8))
        edges.append(np.repeat(patterns, labellings))
        operations.append(np.tile(np.arange(labellings, dtype=np.uint8), len(patterns)))
    return np.concatenate(counts), np.concatenate(edges), np.concatenate(operations)


def _edge_patterns(count: int) -> np.ndarray:
    """All sets of edges on `count` vertices with which each vertex lies on a path from the first to the last, as
    numbers, uint32. For that it is enough that all but the first are entered and all but the last are left."""
    sources, targets = (ends[: count * (count - 1) // 2] for ends in (BIT_SOURCES, BIT_TARGETS))
    patterns = np.arange(2 ** len(sources), dtype=np.uint32)
    few = np.bitwise_count(patterns) <= MAX_EDGES
    into = [(1 << np.flatnonzero(targets == vertex)).sum() for vertex in range(1, count)]
    out_of = [(1 << np.flatnonzero(sources == vertex)).sum() for vertex in range(count - 1)]
    return patterns[np.logical_and.reduce([few, *(patterns & np.uint32(bits) != 0 for bits in (*into, *out_of))])]


def _graphs(num_vertices: np.ndarray, edges: np.ndarray, operations: np.ndarray) -> DagBatch:
    """Graphs, with seven positions each, of cells in compact form."""
    last = num_vertices.astype(np.int64)[:, None] - 1
    position = np.arange(MAX_VERTICES)
    digit = operations.astype(np.int64)[:, None] // NUM_OPERATIONS ** (last - 1 - position).clip(min=0)
    types = digit % NUM_OPERATIONS + FIRST_OPERATION
    types[position > last] = NO_VERTEX
    types[position == last] = 1
    types[:, 0] = 0
    adjacency = np.zeros((len(edges), MAX_VERTICES, MAX_VERTICES), dtype=bool)
    adjacency[:, BIT_SOURCES, BIT_TARGETS] = edges[:, None] >> np.arange(len(BIT_SOURCES), dtype=np.uint32) & 1
    return DagBatch(torch.from_numpy(types), torch.from_numpy(adjacency), torch.from_numpy(last[:, 0] + 1))


def _described(num_vertices: np.ndarray, edges: np.ndarray, operations: np.ndarray) -> Cells:
    """Cells with everything that follows from their graphs."""
    batch = _graphs(num_vertices, edges, operations)
    return Cells(
        num_vertices,
        edges,
        operations,
        official_digests(batch),
        canonical_hash(batch).numpy(),
        network.params(batch).numpy(),
        network.flops(batch).numpy(),
    )


def _chunks(length: int, step: str) -> Iterator[slice]:
    """Slices that cover `length` rows, saying on stderr how far they are."""
    progress = Progress(f"nasbench101: enumerating the cells, once; {step}", length)
    for begin in range(0, length, CELLS_AT_ONCE):
        yield slice(begin, begin + CELLS_AT_ONCE)
        progress.update(min(begin + CELLS_AT_ONCE, length))
