"""All 423,624 cells of NAS-Bench-101, enumerated once and kept.

There are 1,293,208 ways to write a cell down: 2 to 7 vertices in topological order, at most 9 edges, every vertex on a
path from the input (first) to the output (last), and one of three operations on each vertex between them. Isomorphic
ones are the same cell. The cells are ordered by their MD5 graph hash, which is the order of the benchmark's table; a
row is a place in this order. Of all ways to write a cell, the one kept comes first when counting up the number of
vertices, then the number whose bit v (v - 1) / 2 + u is the edge u -> v, then the operations: this is the numbering
that the benchmark trained, on which its parameter counts depend slightly.

The MD5 graph hash is that of the benchmark's own code, on hexadecimal text that must agree to the last character.
`graphs.canonical_hash` tells cells apart as well and much faster; this one is needed because published tables are
keyed, and ordered, by it.
"""

import functools
import hashlib
import itertools
import sys
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from latentnas import paths
from latentnas.graphs import NO_VERTEX, DagBatch, canonical_hash
from latentnas.progress import Progress
from latentnas.spaces._shared import FIRST_OPERATION, INPUT, OUTPUT
from latentnas.spaces.nasbench101_network import costs

MAX_VERTICES = 7
MAX_EDGES = 9
NUM_OPERATIONS = 3
NUM_LABELLED = 1_293_208

# The edge u -> v of each of the 21 bits.
BIT_SOURCES = np.array([u for v in range(MAX_VERTICES) for u in range(v)])
BIT_TARGETS = np.array([v for v in range(MAX_VERTICES) for _ in range(v)])

LABELS = (-1, -2, 0, 1, 2)  # in the official hash, of the types input, output, conv3x3, conv1x1, maxpool3x3

CACHE_FILE = "nasbench101-cells.npz"
CACHE_SHA256 = "60a6a6c2fcd4313ce03fd8bc3a1e2af8d9bef6531bffae9d3039000df6f79218"  # of its columns
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

    def batch(self, rows: np.ndarray | slice = slice(None)) -> DagBatch:
        """The graphs of some rows, or of all, with seven positions each."""
        return _graphs(self.num_vertices[rows], self.edges[rows], self.operations[rows])

    def hashes(self, rows: np.ndarray | slice = slice(None)) -> list[str]:
        """MD5 graph hashes as text."""
        return [digest.tobytes().hex() for digest in self.digests[rows]]

    def find(self, batch: DagBatch) -> np.ndarray:
        """The row of each graph, int64 `[B]`; -1 for one that is isomorphic to no cell."""
        return self._rows.get_indexer(canonical_hash(batch).numpy())

    @functools.cached_property
    def _rows(self) -> pd.Index:
        return pd.Index(self.canonical)


@functools.cache
def all_cells() -> Cells:
    """All cells. The first call ever takes half a minute and leaves 12 MB in the cache; later ones read that."""
    path = paths.CACHE / CACHE_FILE
    cells = read_cells(path)
    if cells is None:
        cells = compute_cells()
        try:
            with paths.atomic_write(path) as temporary:
                np.savez_compressed(temporary, **vars(cells))
        except OSError as error:
            print(f"nasbench101: the cells could not be kept for next time: {error}", file=sys.stderr)
    return cells


def read_cells(path: Path) -> Cells | None:
    """The cells in a file; None when there is no such file, or it is damaged or of another version of this code."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in Cells.__annotations__}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
    content = b"".join(column.tobytes() for column in columns.values())
    return Cells(**columns) if hashlib.sha256(content).hexdigest() == CACHE_SHA256 else None


def compute_cells() -> Cells:
    """Enumerate all cells."""
    written = _labelled_cells()
    hashes, described = [], []
    for rows in _chunks(np.arange(len(written[0])), "step 1 of 2: telling all ways to write a cell apart"):
        hashes.append(canonical_hash(_graphs(*(column[rows] for column in written))).numpy())
    canonical, first = np.unique(np.concatenate(hashes), return_index=True)
    canonical, first = canonical[np.argsort(first)], np.sort(first)  # cells of one wiring side by side
    for rows in _chunks(first, "step 2 of 2: hashing each cell as the benchmark does"):
        batch = _graphs(*(column[rows] for column in written))
        digests = np.array([list(bytes.fromhex(text)) for text in official_hashes(batch)], dtype=np.uint8)
        described.append((digests, *(cost.numpy() for cost in costs(batch))))
    digests, params, flops = map(np.concatenate, zip(*described, strict=True))
    order = np.argsort(digests.view("S16")[:, 0])
    columns = (*(column[first] for column in written), digests, canonical, params, flops)
    return Cells(*(column[order] for column in columns))


def official_hashes(batch: DagBatch) -> list[str]:
    """The MD5 hash of each graph; types must be 0 to 4, which is not checked."""
    found, alike = [""] * len(batch), defaultdict(list)
    wirings = torch.cat([batch.num_vertices[:, None], batch.adjacency.flatten(1)], dim=1).cpu().numpy()
    for row, wiring in enumerate(wirings):
        alike[wiring.tobytes()].append(row)
    for rows in alike.values():
        count = int(batch.num_vertices[rows[0]])
        types, edges = batch.types[rows, :count], batch.adjacency[rows[0], :count, :count]
        for row, text in zip(rows, _official_hashes(types.T.tolist(), edges.tolist())):
            found[row] = text
    return found


def _official_hashes(types: list[list[int]], adjacency: list[list[bool]]) -> list[str]:
    """The hashes of graphs that differ in `types` only, of each vertex those in all graphs.

    Each vertex starts with the MD5 of its degrees and label; as many times as there are vertices, it takes the MD5 of
    the sorted hashes of its predecessors, those of its successors, and its own. The graph has that of all hashes."""
    vertices = range(len(types))
    before = [list(itertools.compress(vertices, column)) for column in zip(*adjacency, strict=True)]
    after = [list(itertools.compress(vertices, row)) for row in adjacency]
    starts = [[_md5(str((len(after[v]), len(before[v]), label))) for label in LABELS] for v in vertices]
    hashes = [[starts[v][kind] for kind in types[v]] for v in vertices]
    for _ in vertices:
        texts = (zip(_joined(hashes, before[v]), _joined(hashes, after[v]), hashes[v]) for v in vertices)
        hashes = [[_md5(f"{sources}|{targets}|{own}") for sources, targets, own in vertex] for vertex in texts]
    return [_md5(str(sorted(graph))) for graph in zip(*hashes)]


def _joined(hashes: list[list[str]], vertices: list[int]) -> Iterable[str]:
    """The sorted hashes of some vertices in one text, graph by graph."""
    if len(vertices) == 1:
        return hashes[vertices[0]]
    return map("".join, map(sorted, zip(*(hashes[v] for v in vertices)))) if vertices else itertools.repeat("")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _labelled_cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of vertices, edge bits and operations of all ways to write a cell, in the order stated above."""
    parts = []
    for count in range(2, MAX_VERTICES + 1):
        patterns, labellings = _edge_patterns(count), np.arange(NUM_OPERATIONS ** (count - 2), dtype=np.uint8)
        edges, operations = np.repeat(patterns, len(labellings)), np.tile(labellings, len(patterns))
        parts.append((np.full(len(edges), count, dtype=np.uint8), edges, operations))
    return tuple(map(np.concatenate, zip(*parts)))


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
    types[position == last] = OUTPUT
    types[:, 0] = INPUT
    adjacency = np.zeros((len(edges), MAX_VERTICES, MAX_VERTICES), dtype=bool)
    adjacency[:, BIT_SOURCES, BIT_TARGETS] = edges[:, None] >> np.arange(len(BIT_SOURCES), dtype=np.uint32) & 1
    return DagBatch(torch.from_numpy(types), torch.from_numpy(adjacency), torch.from_numpy(last[:, 0] + 1))


def _chunks(rows: np.ndarray, step: str) -> Iterator[np.ndarray]:
    """The rows in parts, saying on stderr how far they are."""
    progress = Progress(f"nasbench101: enumerating the cells, once; {step}", len(rows))
    for begin in range(0, len(rows), CELLS_AT_ONCE):
        yield rows[begin : begin + CELLS_AT_ONCE]
        progress.update(min(begin + CELLS_AT_ONCE, len(rows)))
