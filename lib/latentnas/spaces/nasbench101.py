"""The cell search space of NAS-Bench-101 (Ying et al., ICML 2019).

A cell is a DAG of 2 to 7 vertices with at most 9 edges: the input (first), the output (last), and between
them operations, each on some path from the input to the output. Isomorphic graphs are the same cell; there
are 423,624. As text a cell is one line of JSON, the adjacency matrix row by row and the operation of each
vertex:

    {"matrix": [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
     "ops": ["input", "conv3x3-bn-relu", "maxpool3x3", "output"]}

`matrix[u][v]` is the edge u -> v, u < v. Both keys and all names are those of the benchmark's own
`ModelSpec`, so `ModelSpec(**json.loads(text))` takes the same text. A row is a cell's place in the
benchmark's table: the rank of its MD5 graph hash (`nasbench101_cells`). The network a cell is trained in
stands in `nasbench101_network`.

The benchmark prunes what is handed to it: vertices on no path from input to output are dropped. Here nothing
is dropped unasked: `prune` does it, and everything else refuses such graphs.
"""

import json

import numpy as np
import torch
from numpy.typing import ArrayLike

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.spaces import nasbench101_network as network
from latentnas.spaces.nasbench101_cells import (
    FIRST_OPERATION,
    MAX_EDGES,
    MAX_VERTICES,
    NUM_CELLS,
    NUM_OPERATIONS,
    Cells,
    enumerate_cells,
)
from latentnas.spaces.nasbench101_hash import hexadecimal, official_digests
from latentnas.spaces.nasbench201 import whole_numbers


class NasBench101Space:
    """The space of 423,624 cells. Use the instance `NASBENCH101`.

    `rows` stands for anything array-like of whole numbers 0 to 423,623. Methods that need all cells
    (`sample`, `index`, `neighbors`, `enumerate`) enumerate them when called for the first time, which takes a
    minute once and 0.1 s in later sessions.
    """

    name = "nasbench101"
    num_vertices = MAX_VERTICES  # at most
    max_edges = MAX_EDGES
    num_types = 5
    type_names = ("input", "output", "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
    input_type = 0
    output_type = 1
    size = NUM_CELLS

    # text

    def parse(self, text: str) -> str:
        """A cell's text in standard form, as written. Raises ValueError saying what is wrong with a text that
        is malformed, belongs to another space, or is a graph outside this one."""
        return self.to_strings(self.to_batch([text]))[0]

    def to_batch(self, texts: list[str]) -> DagBatch:
        """Graphs of a list of texts, with seven positions each and NO_VERTEX past their ends. Raises
        ValueError naming the text in the list and what is wrong with it."""
        if isinstance(texts, str):
            raise TypeError("to_batch takes a list of NAS-Bench-101 cells, not one text: write [text].")
        types = torch.full((len(texts), MAX_VERTICES), NO_VERTEX)
        adjacency = torch.zeros(len(texts), MAX_VERTICES, MAX_VERTICES, dtype=torch.bool)
        counts = torch.zeros(len(texts), dtype=torch.int64)
        for index, text in enumerate(texts):
            try:
                matrix, operations = _read(text)
            except ValueError as error:
                raise ValueError(f"Text {index + 1} of {len(texts)}: {error}") from None
            counts[index] = count = len(operations)
            types[index, :count] = torch.tensor([self.type_names.index(name) for name in operations])
            adjacency[index, :count, :count] = torch.tensor(matrix) == 1
        batch = DagBatch(types, adjacency, counts)
        foreign = (~self.contains(batch)).nonzero().flatten().tolist()
        if foreign:
            problem = self._problem(batch[foreign[:1]])
            raise ValueError(
                f"Text {foreign[0] + 1} of {len(texts)}: Not a NAS-Bench-101 cell: {problem} in "
                f"{_shorten(texts[foreign[0]])}."
            )
        return batch

    def to_strings(self, batch: DagBatch) -> list[str]:
        """Texts of graphs. Raises ValueError when a graph is not in the space: filter with `contains`
        first."""
        self._require(batch)
        matrices, types = batch.adjacency.int().tolist(), batch.types.tolist()
        texts = []
        for count, matrix, kinds in zip(batch.num_vertices.tolist(), matrices, types, strict=True):
            operations = [self.type_names[kind] for kind in kinds[:count]]
            texts.append(json.dumps({"matrix": [row[:count] for row in matrix[:count]], "ops": operations}))
        return texts

    # graphs

    def is_valid(self, batch: DagBatch) -> torch.Tensor:
        """The rules without the limits on size, bool [B]: the first vertex is the input and the last the
        output, every other one has an operation and lies on a path between them, and edges lead to later
        positions."""
        types, adjacency = batch.types, batch.adjacency
        position = torch.arange(batch.max_vertices, device=types.device)
        last = batch.num_vertices[:, None] - 1
        present = position <= last
        operation = (types >= FIRST_OPERATION) & (types < self.num_types)
        right_type = operation.where(position < last, types == self.output_type)
        right_type = right_type.where(position > 0, types == self.input_type)
        typed = (right_type | ~present).all(1)
        forward = ~adjacency.tril().flatten(1).any(1)
        inside = ~((adjacency.any(1) | adjacency.any(2)) & ~present).any(1)
        connected = (_on_path(batch) == present).all(1)
        return (batch.num_vertices >= 2) & typed & forward & inside & connected

    def contains(self, batch: DagBatch) -> torch.Tensor:
        """Which graphs are cells of this space, bool [B]: valid, with at most 7 vertices and 9 edges."""
        small = (batch.num_vertices <= MAX_VERTICES) & (batch.adjacency.sum((1, 2)) <= MAX_EDGES)
        return self.is_valid(batch) & small

    def prune(self, batch: DagBatch) -> DagBatch:
        """The graphs without the vertices that are on no path from the first to the last vertex, as
        NAS-Bench-101 prunes them; the others keep their order. Nothing is left of a graph that has no such
        path."""
        keep = _on_path(batch)
        order = (~keep).long().argsort(dim=1, stable=True)  # [B, N]: where each kept vertex comes from
        kept = keep.gather(1, order)
        graphs = torch.arange(len(batch), device=order.device)[:, None, None]
        adjacency = batch.adjacency[graphs, order[:, :, None], order[:, None, :]]
        return DagBatch(
            batch.types.gather(1, order).where(kept, torch.tensor(NO_VERTEX, device=order.device)),
            adjacency & kept[:, :, None] & kept[:, None, :],
            keep.sum(1),
        )

    def official_hash(self, batch: DagBatch) -> list[str]:
        """The MD5 graph hash of each graph, by which NAS-Bench-101's files know it. Raises ValueError when a
        graph is not valid; it may be larger than the cells of the space."""
        invalid = (~self.is_valid(batch)).nonzero().flatten().tolist()
        if invalid:
            raise ValueError(
                f"{len(invalid)} of {len(batch)} graphs have no NAS-Bench-101 hash, the first at index "
                f"{invalid[0]}: {self._problem(batch[invalid[:1]])}."
            )
        return hexadecimal(official_digests(batch.to("cpu")))

    # the whole space

    def enumerate(self) -> Cells:
        """All cells in the order of their rows; `enumerate().batch(rows)` gives graphs."""
        return enumerate_cells()

    def sample(self, n: int, seed: int) -> DagBatch:
        """`n` cells drawn uniformly from all 423,624, with replacement."""
        return enumerate_cells().batch(np.random.default_rng(seed).integers(0, self.size, n))

    def index(self, batch: DagBatch) -> np.ndarray:
        """The row of each graph, int64 [B], however its vertices are numbered; -1 for one that is not a cell
        of this space."""
        batch = batch.to("cpu")
        rows = np.full(len(batch), -1)
        cells = self.contains(batch)
        rows[cells.numpy()] = enumerate_cells().find(_seven(batch[cells]))
        return rows

    def neighbors(self, rows: ArrayLike) -> list[np.ndarray]:
        """For each row, the rows of the cells that one change and pruning make of it, ascending.

        A change gives one vertex another operation, takes one edge away, or adds one that closes no cycle,
        whatever the numbering. Taking an edge away can leave vertices on no path, which are pruned; so a
        neighbour may be smaller, and then the cell is not among its neighbours. Raises ValueError for a row
        outside the table.
        """
        rows = self.check_rows(rows)
        batch = enumerate_cells().batch(rows)
        sources, changed = _changes(batch)
        found = enumerate_cells().find(self.prune(changed))
        known = found >= 0
        owners, found = sources.numpy()[known], found[known]
        return [np.unique(found[owners == place]) for place in range(len(rows))]

    def check_rows(self, rows: ArrayLike) -> np.ndarray:
        """One row or a list of them as int64 [B]. Raises ValueError for anything but whole numbers 0 to
        423,623."""
        return whole_numbers(np.atleast_1d(rows), "A row of the NAS-Bench-101 table", self.size)

    # what a cell computes and costs

    def path_features(self, batch: DagBatch) -> torch.Tensor:
        """Path encoding, bool [B, 364], as in BANANAS (White et al., AAAI 2021): one feature for each
        sequence of up to five operations that is met on some path from input to output.

        Shorter sequences come first, those of a length in lexicographic order of types: the first 40 features
        are all sequences of at most three operations. Raises ValueError when a graph is not in the space.
        """
        self._require(batch)
        graphs, positions = len(batch), batch.max_vertices
        graph = torch.arange(graphs, device=batch.types.device)
        into_output = batch.adjacency[graph, :, batch.num_vertices - 1].float()
        operations = [(batch.types == FIRST_OPERATION + number).float() for number in range(NUM_OPERATIONS)]
        # ends[b, s, v]: sequence s is met on a path from the input that ends in vertex v, v included
        ends = torch.zeros(graphs, 1, positions, device=batch.types.device)
        ends[:, 0, 0] = 1
        features = []
        for _ in range(MAX_VERTICES - 1):
            features.append((ends * into_output[:, None]).any(2))
            reached = (ends @ batch.adjacency.float()).clamp(max=1)
            ends = torch.stack([reached * kind[:, None] for kind in operations], dim=2).flatten(1, 2)
        return torch.cat(features, dim=1)

    def params(self, batch: DagBatch) -> torch.Tensor:
        """Trainable parameters, int64 [B], of the network that NAS-Bench-101 builds around a cell. Raises
        ValueError when a graph is not in the space."""
        self._require(batch)
        return network.params(batch)

    def flops(self, batch: DagBatch) -> torch.Tensor:
        """Multiply-adds for one 32 x 32 image, int64 [B], of the same network. Raises ValueError when a graph
        is not in the space."""
        self._require(batch)
        return network.flops(batch)

    # checks

    def _require(self, batch: DagBatch) -> None:
        """Raise ValueError unless all graphs are cells of this space."""
        foreign = (~self.contains(batch)).nonzero().flatten().tolist()
        if foreign:
            raise ValueError(
                f"{len(foreign)} of {len(batch)} graphs are not cells of the NAS-Bench-101 space, the first "
                f"at index {foreign[0]}: {self._problem(batch[foreign[:1]])}. Keep only those that "
                "NASBENCH101.contains(batch) accepts."
            )

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

_EXPECTED = (
    'Expected one line such as {"matrix": [[0, 1, 1], [0, 0, 1], [0, 0, 0]], "ops": ["input", "maxpool3x3", '
    '"output"]}: matrix[u][v] is 1 for an edge from vertex u to a later vertex v.'
)


def _read(text: str) -> tuple[list[list[int]], list[str]]:
    """Matrix and operations of a well-formed text; whether the graph is a cell is not checked."""
    try:
        cell = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        cell = None
    if not isinstance(cell, dict) or set(cell) != {"matrix", "ops"}:
        raise _malformed(text, "it is no JSON object with the keys matrix and ops")
    matrix, operations = cell["matrix"], cell["ops"]
    if not isinstance(operations, list) or not 2 <= len(operations) <= MAX_VERTICES:
        raise _malformed(text, f"ops is not a list of 2 to {MAX_VERTICES} operations")
    count = len(operations)
    square = isinstance(matrix, list) and len(matrix) == count
    if not square or not all(isinstance(row, list) and len(row) == count for row in matrix):
        raise _malformed(text, f"matrix is not {count} rows of {count} numbers, as there are {count} ops")
    for u, row in enumerate(matrix):
        for v, number in enumerate(row):
            # bool is a subclass of int, but `true` is no number of this format
            if type(number) is not int or number not in (0, 1):
                raise _malformed(text, f"matrix[{u}][{v}] is {number!r} instead of 0 or 1")
    names = NasBench101Space.type_names
    for vertex, name in enumerate(operations):
        if name not in names:
            raise _malformed(text, f"ops[{vertex}] is {name!r}, not one of {', '.join(names)}")
    return matrix, operations


def _malformed(text: object, problem: str) -> ValueError:
    return ValueError(f"Not a NAS-Bench-101 cell: {problem} in {_shorten(text)}. {_EXPECTED}")


def _shorten(text: object) -> str:
    """The text in quotes, cut to what fits in an error."""
    quoted = repr(text)
    return quoted if len(quoted) <= 120 else quoted[:117] + "..."


def _on_path(batch: DagBatch) -> torch.Tensor:
    """Which vertices are on a path from the first to the last vertex of their graph, bool [B, N]."""
    position = torch.arange(batch.max_vertices, device=batch.types.device)
    last = batch.num_vertices[:, None] - 1
    present = position <= last
    edges = batch.adjacency & present[:, :, None] & present[:, None, :]
    from_first, to_last = (position == 0) & present, position == last
    for _ in range(batch.max_vertices - 1):
        from_first = from_first | (edges & from_first[:, :, None]).any(1)
        to_last = to_last | (edges & to_last[:, None, :]).any(2)
    return from_first & to_last


def _seven(batch: DagBatch) -> DagBatch:
    """The same cells with exactly seven positions, the form that rows are looked up in."""
    missing = MAX_VERTICES - batch.max_vertices
    pad = torch.nn.functional.pad  # a negative number cuts
    return DagBatch(
        pad(batch.types, (0, missing), value=NO_VERTEX),
        pad(batch.adjacency, (0, missing, 0, missing)),
        batch.num_vertices,
    )


def _changes(batch: DagBatch) -> tuple[torch.Tensor, DagBatch]:
    """All graphs that one change makes of cells with seven positions, and which cell each comes from, int64.

    An added edge may lead to an earlier position. Such a graph is acyclic all the same, and pruning and
    looking up do not depend on the order of positions.
    """
    position = torch.arange(MAX_VERTICES)
    last = batch.num_vertices[:, None] - 1
    inner = (position > 0) & (position < last)

    graph, vertex = inner.nonzero().repeat_interleave(NUM_OPERATIONS - 1, dim=0).T
    shift = torch.arange(len(graph)) % (NUM_OPERATIONS - 1) + 1
    relabelled = batch[graph]
    types = relabelled.types.clone()
    at = torch.arange(len(graph)), vertex
    types[at] = FIRST_OPERATION + (types[at] - FIRST_OPERATION + shift) % NUM_OPERATIONS
    relabelled = DagBatch(types, relabelled.adjacency, relabelled.num_vertices)

    reaches = batch.adjacency | torch.eye(MAX_VERTICES, dtype=torch.bool)
    for _ in range(3):  # paths of up to 2, 4, 8 edges
        reaches = (reaches.float() @ reaches.float()) > 0
    starts, ends = (position == 0) | inner, inner | (position == last)
    addable = starts[:, :, None] & ends[:, None, :] & ~reaches.transpose(1, 2)
    graph_of_edge, u, v = (batch.adjacency | addable).nonzero().T
    rewired = batch[graph_of_edge]
    adjacency = rewired.adjacency.clone()
    adjacency[torch.arange(len(u)), u, v] ^= True
    rewired = DagBatch(rewired.types, adjacency, rewired.num_vertices)
    return torch.cat([graph, graph_of_edge]), DagBatch.cat([relabelled, rewired])
