"""The cell search space of NAS-Bench-101 (Ying et al., ICML 2019).

A cell is a DAG of 2 to 7 vertices with at most 9 edges: the input (first), the output (last), and between
them operations, each on some path from the input to the output. Isomorphic graphs are the same cell; there
are 423,624. As text a cell is one line of JSON, the adjacency matrix row by row and the operation of each
vertex:

    {"matrix": [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
     "ops": ["input", "conv3x3-bn-relu", "maxpool3x3", "output"]}

`matrix[u][v]` is the edge u -> v, u < v. Both keys and all names are those of the benchmark's own `ModelSpec`, so
`ModelSpec(**json.loads(text))` takes the same text. A row is a cell's place in the benchmark's table: the rank of its
MD5 graph hash (`nasbench101_cells`). The network a cell is trained in stands in `nasbench101_network`.

The benchmark prunes what is handed to it: vertices on no path from input to output are dropped. Here nothing is dropped
unasked: `prune` does it, and everything else refuses such graphs.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.spaces import nasbench101_network as network
from latentnas.spaces._checks import read_texts, require_contained, text_error, whole_choices, whole_numbers
from latentnas.spaces.nasbench101_cells import (
    FIRST_OPERATION,
    MAX_EDGES,
    MAX_VERTICES,
    NUM_CELLS,
    NUM_OPERATIONS,
    Cells,
    all_cells,
)
from latentnas.spaces.nasbench101_hash import hexadecimal, official_digests

EDGE_SOURCES, EDGE_TARGETS = np.triu_indices(MAX_VERTICES, k=1)  # of the choices that are edges, row by row
INNER = np.arange(1, MAX_VERTICES - 1)  # the positions that may hold an operation
CHOICE_LIMITS = [2] * len(EDGE_SOURCES) + [NUM_OPERATIONS + 1] * len(INNER)


class NasBench101Space:
    """The space of 423,624 cells. Use the instance `NASBENCH101`.

    Methods that need all cells (`sample`, `index`, `neighbors`, `enumerate`, `cells`) list them when called for the
    first time, which takes a minute once and 0.1 s in later sessions.

    Raises:
        ValueError: by `to_batch` for a text that is no cell, naming its place in the list and what is wrong; by all
            methods but `is_valid`, `contains`, `prune` and `index` for graphs that are not in the space.
    """

    name = "nasbench101"
    num_vertices = MAX_VERTICES  # at most
    num_types = 5
    type_names = ("input", "output", "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
    input_type = 0
    output_type = 1
    size = NUM_CELLS

    # text and choices

    def to_batch(self, texts: list[str]) -> DagBatch:
        """Graphs of a list of texts, with seven positions each."""
        cells = read_texts(texts, _read, _WHAT, _EXPECTED)
        types = torch.full((len(cells), MAX_VERTICES), NO_VERTEX)
        adjacency = torch.zeros(len(cells), MAX_VERTICES, MAX_VERTICES, dtype=torch.bool)
        for index, (matrix, operations) in enumerate(cells):
            count = len(operations)
            types[index, :count] = torch.tensor([self.type_names.index(name) for name in operations])
            adjacency[index, :count, :count] = torch.tensor(matrix) == 1
        batch = DagBatch(types, adjacency, (types != NO_VERTEX).sum(1))
        for index in (~self.contains(batch)).nonzero().flatten().tolist()[:1]:
            raise text_error(texts, index, _WHAT, self._problem(batch[[index]]))
        return batch

    def to_strings(self, batch: DagBatch) -> list[str]:
        """Texts of graphs, vertices in the order of the graph."""
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

    def from_choices(self, choices: ArrayLike) -> DagBatch:
        """The inverse of `choices`.

        Raises:
            ValueError: the choices are others, of another shape, or make no cell.
        """
        choices = torch.from_numpy(whole_choices(choices, CHOICE_LIMITS, self.name))
        edges, operations = choices.split([len(EDGE_SOURCES), len(INNER)], dim=1)
        last = ((operations > 0) * torch.from_numpy(INNER)).amax(1, keepdim=True) + 1
        types = torch.nn.functional.pad(operations - 1 + FIRST_OPERATION, (1, 1), value=self.input_type)
        types[:, INNER] = types[:, INNER].where(operations > 0, NO_VERTEX)
        types = types.scatter(1, last, self.output_type).where(torch.arange(MAX_VERTICES) <= last, NO_VERTEX)
        adjacency = torch.zeros(len(choices), MAX_VERTICES, MAX_VERTICES, dtype=torch.bool)
        adjacency[:, EDGE_SOURCES, EDGE_TARGETS] = edges == 1
        batch = DagBatch(types, adjacency, last[:, 0] + 1)
        self._require(batch)
        return batch

    # graphs

    def is_valid(self, batch: DagBatch) -> Tensor:
        """The rules without the limits on size, bool `[B]`: the first vertex is the input and the last the output,
        every other one has an operation and lies on a path between them, and edges lead to later positions."""
        types, adjacency, present = batch.types, batch.adjacency, batch.present
        position = torch.arange(batch.max_vertices, device=types.device)
        operation = (types >= FIRST_OPERATION) & (types < self.num_types)
        right_type = operation.where(position < batch.num_vertices[:, None] - 1, types == self.output_type)
        right_type = right_type.where(position > 0, types == self.input_type)
        typed = (right_type | ~present).all(1)
        forward = ~adjacency.tril().flatten(1).any(1)
        inside = ~((adjacency.any(1) | adjacency.any(2)) & ~present).any(1)
        connected = (_on_path(batch) == present).all(1)
        return (batch.num_vertices >= 2) & typed & forward & inside & connected

    def contains(self, batch: DagBatch) -> Tensor:
        """Which graphs are cells of this space, bool `[B]`: valid, with at most 7 vertices and 9 edges."""
        small = (batch.num_vertices <= MAX_VERTICES) & (batch.adjacency.sum((1, 2)) <= MAX_EDGES)
        return self.is_valid(batch) & small

    def prune(self, batch: DagBatch) -> DagBatch:
        """The graphs without the vertices that are on no path from the first to the last vertex, as NAS-Bench-101
        prunes them; the others keep their order. Nothing is left of a graph that has no such path."""
        keep = _on_path(batch)
        order = (~keep).long().argsort(dim=1, stable=True)  # [B, N]: where each kept vertex comes from
        kept = keep.gather(1, order)
        graphs = torch.arange(len(batch), device=order.device)[:, None, None]
        adjacency = batch.adjacency[graphs, order[:, :, None], order[:, None, :]]
        return DagBatch(
            batch.types.gather(1, order).where(kept, NO_VERTEX),
            adjacency & kept[:, :, None] & kept[:, None, :],
            keep.sum(1),
        )

    def official_hash(self, batch: DagBatch) -> list[str]:
        """The MD5 graph hash of each graph, by which NAS-Bench-101's files know it; graphs may be larger than the cells
        of the space.

        Raises:
            ValueError: a graph is not valid.
        """
        invalid = (~self.is_valid(batch)).nonzero().flatten().tolist()
        if invalid:
            raise ValueError(
                f"{len(invalid)} of {len(batch)} graphs have no NAS-Bench-101 hash, the first at index "
                f"{invalid[0]}: {self._problem(batch[invalid[:1]])}."
            )
        return hexadecimal(official_digests(batch.to("cpu")))

    def sample(self, n: int, seed: int) -> DagBatch:
        """`n` cells drawn uniformly from all 423,624, with replacement."""
        return all_cells().batch(np.random.default_rng(seed).integers(0, self.size, n))

    def neighbors(self, batch: DagBatch) -> list[DagBatch]:
        """For each graph the cells of `neighbor_rows`."""
        self._require(batch)
        return [all_cells().batch(rows) for rows in self.neighbor_rows(self.index(batch))]

    # rows

    def cells(self) -> Cells:
        """All cells in the order of their rows, in compact form; `cells().batch(rows)` gives graphs."""
        return all_cells()

    def enumerate(self) -> DagBatch:
        """All cells in the order of their rows, 48 MB."""
        return all_cells().batch()

    def index(self, batch: DagBatch) -> np.ndarray:
        """The row of each graph, int64 `[B]`, however its vertices are numbered; -1 for one that is not a cell of this
        space."""
        batch = batch.to("cpu")
        return np.where(self.contains(batch).numpy(), all_cells().find(batch), -1)

    def neighbor_rows(self, rows: ArrayLike) -> list[np.ndarray]:
        """For each row, the rows of the cells that one change and pruning make of it, ascending.

        A change gives one vertex another operation, takes one edge away, or adds one that closes no cycle, whatever the
        numbering. Taking an edge away can leave vertices on no path, which are pruned; so a neighbour may be smaller,
        and then the cell is not among its neighbours.

        Raises:
            ValueError: rows other than whole numbers 0 to 423,623.
        """
        rows = whole_numbers(np.atleast_1d(rows), "A row of the NAS-Bench-101 space", self.size)
        sources, changed = _changes(all_cells().batch(rows))
        found = all_cells().find(self.prune(changed))
        known = found >= 0
        owners, found = sources.numpy()[known], found[known]
        return [np.unique(found[owners == place]) for place in range(len(rows))]

    # cost

    def params(self, batch: DagBatch) -> Tensor:
        """Trainable parameters, int64 `[B]`, of the network that NAS-Bench-101 builds around a cell."""
        self._require(batch)
        return network.params(batch)

    def flops(self, batch: DagBatch) -> Tensor:
        """Multiply-adds for one 32 x 32 image, int64 `[B]`, of the same network."""
        self._require(batch)
        return network.flops(batch)

    # checks

    def _require(self, batch: DagBatch) -> None:
        """Raises ValueError unless all graphs are cells of this space."""
        require_contained(self, batch, self._problem)

    def _problem(self, batch: DagBatch) -> str:
        """Why the one graph of a batch is not a cell of this space, in a few words."""
        count, edges = int(batch.num_vertices[0]), int(batch.adjacency.sum())
        types, on_path = batch.types[0, :count].tolist(), _on_path(batch)[0, :count]
        if count < 2:
            return f"it has {count} vertices instead of 2 to {MAX_VERTICES}"
        names = self.type_names
        for vertex, kind in enumerate(types):
            allowed = {0: names[:1], count - 1: names[1:2]}.get(vertex, names[FIRST_OPERATION:])
            name = names[kind] if 0 <= kind < self.num_types else f"of type {kind}"
            if name not in allowed:
                return f"vertex {vertex} (counting from 0) is {name} instead of {' or '.join(allowed)}"
        for u, v in batch.adjacency[0].nonzero().tolist():
            if not u < v < count:
                return f"the edge {u} -> {v} does not lead to a later vertex"
        if not on_path.any():
            return "no path leads from the input to the output"
        if not on_path.all():
            stray = int(on_path.int().argmin())
            return (
                f"vertex {stray} (counting from 0) is on no path from the input to the output "
                "(NASBENCH101.prune drops such vertices)"
            )
        return f"it has {count} vertices and {edges} edges, more than {MAX_VERTICES} or {MAX_EDGES}"


NASBENCH101 = NasBench101Space()

_WHAT = "a NAS-Bench-101 cell"
_EXPECTED = (
    'Expected one line such as {"matrix": [[0, 1, 1], [0, 0, 1], [0, 0, 0]], "ops": ["input", "maxpool3x3", '
    '"output"]}: matrix[u][v] is 1 for an edge from vertex u to a later vertex v.'
)


def _read(text: str) -> tuple[list[list[int]], list[str]]:
    """Matrix and operations of a well-formed text; whether the graph is a cell is not checked. Raises ValueError."""
    try:
        cell = json.loads(text)
    except (ValueError, RecursionError):
        cell = None
    if not isinstance(cell, dict) or set(cell) != {"matrix", "ops"}:
        raise ValueError("it is no JSON object with the keys matrix and ops")
    matrix, operations = cell["matrix"], cell["ops"]
    if not isinstance(operations, list) or not 2 <= len(operations) <= MAX_VERTICES:
        raise ValueError(f"ops is not a list of 2 to {MAX_VERTICES} operations")
    count = len(operations)
    square = isinstance(matrix, list) and len(matrix) == count
    if not square or not all(isinstance(row, list) and len(row) == count for row in matrix):
        raise ValueError(f"matrix is not {count} rows of {count} numbers, as there are {count} ops")
    for u, row in enumerate(matrix):
        for v, number in enumerate(row):
            if type(number) is not int or number not in (0, 1):  # bool is a subclass of int
                raise ValueError(f"matrix[{u}][{v}] is {number!r} instead of 0 or 1")
    names = NasBench101Space.type_names
    for vertex, name in enumerate(operations):
        if name not in names:
            raise ValueError(f"ops[{vertex}] is {name!r}, not one of {', '.join(names)}")
    return matrix, operations


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
    """All graphs that one change makes of cells with seven positions, and which cell each comes from, int64.

    An added edge may lead to an earlier position. Such a graph is acyclic all the same, and pruning and looking up do
    not depend on the order of positions.
    """
    position, last = torch.arange(MAX_VERTICES), batch.num_vertices[:, None] - 1
    inner = (position > 0) & (position < last)
    graph, vertex = inner.nonzero().repeat_interleave(NUM_OPERATIONS - 1, dim=0).T
    types, other = batch.types[graph], torch.arange(len(graph)) % (NUM_OPERATIONS - 1) + 1
    at = torch.arange(len(graph)), vertex
    types[at] = FIRST_OPERATION + (types[at] - FIRST_OPERATION + other) % NUM_OPERATIONS
    relabelled = DagBatch(types, batch.adjacency[graph], batch.num_vertices[graph])

    reaches = batch.adjacency | torch.eye(MAX_VERTICES, dtype=torch.bool)
    for _ in range(3):  # paths of up to 2, 4, 8 edges
        reaches = (reaches.float() @ reaches.float()) > 0
    starts, ends = (position == 0) | inner, inner | (position == last)
    addable = starts[:, :, None] & ends[:, None, :] & ~reaches.transpose(1, 2)
    owner, u, v = (batch.adjacency | addable).nonzero().T
    adjacency = batch.adjacency[owner]
    adjacency[torch.arange(len(owner)), u, v] ^= True
    rewired = DagBatch(batch.types[owner], adjacency, batch.num_vertices[owner])
    return torch.cat([graph, owner]), DagBatch.cat([relabelled, rewired])
