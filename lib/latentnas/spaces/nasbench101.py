"""The cell search space of NAS-Bench-101 (Ying et al., ICML 2019).

A cell is a DAG of 2 to 7 vertices with at most 9 edges: the input (first), the output (last), and between them
operations, each on some path from the input to the output. Isomorphic graphs are the same cell; there are 423,624. As
text a cell is one line of JSON, the adjacency matrix row by row and the operation of each vertex:

    {"matrix": [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
     "ops": ["input", "conv3x3-bn-relu", "maxpool3x3", "output"]}

`matrix[u][v]` is the edge u -> v, u < v. Both keys and all names are those of the benchmark's own `ModelSpec`, so
`ModelSpec(**json.loads(text))` takes the same text. A row is a cell's place in the benchmark's table: the rank of its
MD5 graph hash (`nasbench101_cells`). The network a cell is trained in stands in `nasbench101_network`.

The benchmark prunes what is handed to it: vertices on no path from input to output are dropped. Here nothing is dropped
unasked: `prune` does it, and everything else refuses such graphs.
"""

import json

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.spaces import _shared as shared
from latentnas.spaces._shared import FIRST_OPERATION
from latentnas.spaces.nasbench101_cells import MAX_EDGES, MAX_VERTICES, NUM_OPERATIONS, all_cells, official_hashes
from latentnas.spaces.nasbench101_network import costs

EDGE_SOURCES, EDGE_TARGETS = np.triu_indices(MAX_VERTICES, k=1)  # of the choices that are edges, row by row
INNER = np.arange(1, MAX_VERTICES - 1)  # the positions that may hold an operation


class NasBench101Space(shared.OperationSpace):
    """The space of 423,624 cells. Use the instance `NASBENCH101`.

    Methods that need all cells (`sample`, `index`, `neighbors`, `enumerate`, `cells`) list them when called for the
    first time, which takes half a minute once and 0.1 s later. Valid is what keeps the rules without the limits
    on size.
    """

    name = "nasbench101"
    num_vertices = MAX_VERTICES  # at most
    num_types = 5
    type_names = ("input", "output", "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
    size = 423_624
    cells = staticmethod(all_cells)  # in compact form; `cells().batch(rows)` gives graphs

    architecture = "a NAS-Bench-101 cell"
    sizes = f"2 to {MAX_VERTICES} vertices and at most {MAX_EDGES} edges"
    expected = (
        'Expected one line such as {"matrix": [[0, 1, 1], [0, 0, 1], [0, 0, 0]], "ops": ["input", "maxpool3x3", '
        '"output"]}: matrix[u][v] is 1 for an edge u -> v, u < v.'
    )

    def _read(self, text: str) -> tuple[list[list[int]], list[int]]:
        """Matrix and types."""
        cell, names = shared.read_json(text), self.type_names
        if not isinstance(cell, dict) or set(cell) != {"matrix", "ops"}:
            raise ValueError("there is no JSON object with the keys matrix and ops")
        matrix, operations = cell["matrix"], cell["ops"]
        if not isinstance(operations, list) or not 2 <= len(operations) <= MAX_VERTICES:
            raise ValueError(f"ops is not a list of 2 to {MAX_VERTICES} operations")
        shared.require_rows(matrix, [[2] * len(operations)] * len(operations), "in matrix, ")
        for vertex, name in enumerate(operations):
            if name not in names:
                raise ValueError(f"ops[{vertex}] is {shared.shorten(name)}, not one of {', '.join(names)}")
        return matrix, [names.index(name) for name in operations]

    def _graphs(self, read: list[tuple[list[list[int]], list[int]]]) -> DagBatch:
        types = torch.full((len(read), MAX_VERTICES), NO_VERTEX)
        adjacency = torch.zeros(len(read), MAX_VERTICES, MAX_VERTICES, dtype=torch.bool)
        for index, (matrix, kinds) in enumerate(read):
            types[index, : len(kinds)] = torch.tensor(kinds)
            adjacency[index, : len(kinds), : len(kinds)] = torch.tensor(matrix) == 1
        return DagBatch(types, adjacency, (types != NO_VERTEX).sum(1))

    def to_strings(self, batch: DagBatch) -> list[str]:
        self._require(batch)
        matrices, types = batch.adjacency.int().tolist(), batch.types.tolist()
        texts = []
        for count, matrix, kinds in zip(batch.num_vertices.tolist(), matrices, types, strict=True):
            operations = [self.type_names[kind] for kind in kinds[:count]]
            texts.append(json.dumps({"matrix": [row[:count] for row in matrix[:count]], "ops": operations}))
        return texts

    def choices(self, batch: DagBatch) -> np.ndarray:
        """The 21 possible edges (0 or 1) and the operations of the five inner vertices (0: no such vertex), int64
        `[B, 26]`."""
        self._require(batch)
        batch = batch.to("cpu").pad_to(MAX_VERTICES)
        operations = (batch.types[:, INNER].numpy() - FIRST_OPERATION + 1).clip(min=0)  # no vertex, and the output: 0
        return np.hstack([batch.adjacency[:, EDGE_SOURCES, EDGE_TARGETS].numpy(), operations]).astype(np.int64)

    def contains(self, batch: DagBatch) -> Tensor:
        small = (batch.num_vertices <= MAX_VERTICES) & (batch.adjacency.sum((1, 2)) <= MAX_EDGES)
        return self.is_valid(batch) & small

    def _faults(self, batch: DagBatch) -> dict[str, Tensor]:
        pruned = "is on no path from the input to the output (NASBENCH101.prune drops such vertices)"
        return {**super()._faults(batch), pruned: ~_on_path(batch) & batch.present}

    def prune(self, batch: DagBatch) -> DagBatch:
        """The graphs without the vertices that are on no path from the first to the last vertex, as NAS-Bench-101
        prunes them; the others keep their order. Nothing is left of a graph that has no such path."""
        keep = _on_path(batch)
        order = (~keep).long().argsort(dim=1, stable=True)  # [B, N]: where each kept vertex comes from
        kept = keep.gather(1, order)
        graphs = torch.arange(len(batch), device=order.device)[:, None, None]
        adjacency = batch.adjacency[graphs, order[:, :, None], order[:, None, :]]
        types = batch.types.gather(1, order).where(kept, NO_VERTEX)
        return DagBatch(types, adjacency & kept[:, :, None] & kept[:, None, :], keep.sum(1))

    def official_hash(self, batch: DagBatch) -> list[str]:
        """The MD5 graph hash of each valid graph, by which NAS-Bench-101's files know it; ValueError for others."""
        self._require(batch, "is_valid")
        return official_hashes(batch)

    def sample(self, n: int, seed: int) -> DagBatch:
        return all_cells().batch(np.random.default_rng(seed).integers(0, self.size, n))

    def neighbors(self, batch: DagBatch) -> list[DagBatch]:
        """For each graph the cells of `neighbor_rows`."""
        self._require(batch)
        return [all_cells().batch(rows) for rows in self.neighbor_rows(self.index(batch))]

    def enumerate(self) -> DagBatch:
        """All cells in the order of their rows, 48 MB."""
        return all_cells().batch()

    def index(self, batch: DagBatch) -> np.ndarray:
        """However the vertices are numbered."""
        batch = batch.to("cpu")
        return np.where(self.contains(batch).numpy(), all_cells().find(batch), -1)

    def neighbor_rows(self, rows: ArrayLike) -> list[np.ndarray]:
        """For each row, the rows of the cells that one change and pruning make of it, ascending; ValueError for others.

        A change gives one vertex another operation, takes one edge away, or adds one that closes no cycle, whatever the
        numbering. A neighbour may be smaller, by pruning, and then the cell is not among its neighbours.
        """
        rows = shared.whole_numbers(np.atleast_1d(rows), "A row of the NAS-Bench-101 space", self.size)
        sources, changed = _changes(all_cells().batch(rows))
        found = all_cells().find(self.prune(changed))
        known = found >= 0
        owners, found = sources.numpy()[known], found[known]
        return [np.unique(found[owners == place]) for place in range(len(rows))]

    def params(self, batch: DagBatch) -> Tensor:
        self._require(batch)
        return costs(batch)[0]

    def flops(self, batch: DagBatch) -> Tensor:
        self._require(batch)
        return costs(batch)[1]


NASBENCH101 = NasBench101Space()


def _on_path(batch: DagBatch) -> Tensor:
    """Which vertices are on a path from the first to the last vertex of their graph, bool `[B, N]`."""
    position, present = torch.arange(batch.max_vertices, device=batch.types.device), batch.present
    edges = batch.adjacency & present[:, :, None] & present[:, None, :]
    from_first, to_last = (position == 0) & present, position == batch.num_vertices[:, None] - 1
    for _ in range(batch.max_vertices - 1):
        from_first = from_first | (edges & from_first[:, :, None]).any(1)
        to_last = to_last | (edges & to_last[:, None, :]).any(2)
    return from_first & to_last


def _changes(batch: DagBatch) -> tuple[Tensor, DagBatch]:
    """All graphs that one change makes of cells with seven positions, and which cell each comes from, int64. An added
    edge may lead to an earlier position: neither pruning nor looking up depends on the order of positions."""
    position, last = torch.arange(MAX_VERTICES), batch.num_vertices[:, None] - 1
    inner = (position > 0) & (position < last)
    graph, vertex = inner.nonzero().repeat_interleave(NUM_OPERATIONS - 1, dim=0).T
    types, other = batch.types[graph], torch.arange(len(graph)) % (NUM_OPERATIONS - 1) + 1
    at = torch.arange(len(graph)), vertex
    types[at] = FIRST_OPERATION + (types[at] - FIRST_OPERATION + other) % NUM_OPERATIONS
    relabelled = DagBatch(types, batch.adjacency[graph], batch.num_vertices[graph])

    reaches = torch.linalg.matrix_power(batch.adjacency.float() + torch.eye(MAX_VERTICES), MAX_VERTICES - 1) > 0
    starts, ends = (position == 0) | inner, inner | (position == last)
    addable = starts[:, :, None] & ends[:, None, :] & ~reaches.transpose(1, 2)
    owner, u, v = (batch.adjacency | addable).nonzero().T
    adjacency = batch.adjacency[owner]
    adjacency[torch.arange(len(owner)), u, v] ^= True
    rewired = DagBatch(batch.types[owner], adjacency, batch.num_vertices[owner])
    return torch.cat([graph, owner]), DagBatch.cat([relabelled, rewired])
