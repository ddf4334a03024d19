"""Cells as the undirected graphs that CR-LSO passes messages on, and back from its decoder's logits.

As in the authors' code (Rao, Zhao, Liu, 2022, https://arxiv.org/abs/2211.05950), whose decoder gives a graph by the
largest logit of each decision: operation = argmax_o logit_o. Two layouts: `EdgeCells` for
NAS-Bench-201, with operations on the edges, and `NodeCells` for NAS-Bench-101, with operations on the vertices. Both
start from and end in a `DagBatch` of their space. Letters: B cells, V vertices of a cell.
"""

from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.interfaces import Decodes
from latentnas.models.branches import count_together, distinct
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench101_cells import MAX_EDGES
from latentnas.spaces.nasbench201 import CELL_EDGES, FIRST_OPERATION, NASBENCH201, NUM_OPERATIONS


class CellGraphs(NamedTuple):
    """What message passing reads. Vertices come first, so that one product serves all cells."""

    vertices: Tensor  # [V, B, features], or [V x B + 1, features] where every cell has edges of its own
    edge_index: Tensor  # int64 [2, edges], source and target, both directions of every edge
    edge_features: Tensor | None  # [edges, B, features]


class Layout:
    """How the cells of a space are graphs with features, and what the decoder says about them."""

    space: Any  # a latentnas.interfaces.Space that can be listed
    num_vertices: int  # V
    vertex_features: int
    edge_features: int  # 0: none
    decisions: tuple[int, int]  # what the decoder chooses: so many times one of so many types
    pairs: int  # and of so many pairs of vertices, whether there is an edge

    @property
    def num_logits(self) -> int:
        return self.decisions[0] * self.decisions[1] + self.pairs

    def validated(self, batch: DagBatch) -> DagBatch:
        """The cells, as wide as the largest, once checked as by `base.validated`. Raises ValueError for graphs of
        another space."""
        if batch.checked_for is self:
            return batch
        foreign = (~self.space.contains(batch)).nonzero()
        if len(foreign):
            first = int(foreign[0, 0])
            found = f"the first at index {first} with vertex types {batch.types[first].tolist()}"
            wanted = f"This model was built for cells of {self.space.name}"
            asked = f"Build it with the `space` of the graphs, one of {', '.join(LAYOUTS)}"
            raise ValueError(f"{wanted}, but {len(foreign)} of {len(batch)} graphs are none, {found}. {asked}.")
        return replace(batch.pad_to(self.space.num_vertices), checked_for=self)

    def decode(self, logits: Tensor) -> DagBatch:
        """The most likely graphs."""
        types, edges = self._split(logits)
        return self._graphs(types.argmax(dim=2), edges > 0)

    def sample(self, logits: Tensor, trials: int, generator: torch.Generator) -> Decodes:
        """`trials` random graphs of each row, those of the same decisions counted together."""
        types, edges = self._split(logits)
        likely = types.flatten(0, 1).softmax(dim=1)
        kinds = torch.multinomial(likely, trials, replacement=True, generator=generator).unflatten(0, types.shape[:2])
        chance = torch.rand(*edges.shape, trials, generator=generator, device=edges.device)
        rows = torch.arange(len(kinds), device=kinds.device)[:, None, None].expand(-1, -1, trials)
        drawn = torch.cat([rows, kinds, chance < edges.sigmoid()[:, :, None]], dim=1).transpose(0, 1).flatten(1)
        first, group = distinct(drawn)
        source, types, edges = drawn[:, first].tensor_split([1, 1 + self.decisions[0]])
        return self._graphs(types.t(), edges.t() > 0), source[0], group.bincount()

    def _split(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the types, `[B, *decisions]`, and of the edges, `[B, pairs]`."""
        types, edges = logits.tensor_split([self.num_logits - self.pairs], dim=1)
        return types.unflatten(1, self.decisions), edges


class EdgeCells(Layout):
    """A NAS-Bench-201 cell: four vertices known by their place, six edges known by their operation.

    The decoder names the operation of each of the six edges; the authors' also both ends, which all cells share.
    """

    space = NASBENCH201
    num_vertices = 4
    vertex_features = 4
    edge_features = NUM_OPERATIONS
    decisions, pairs = (len(CELL_EDGES), NUM_OPERATIONS), 0

    def graphs(self, batch: DagBatch, dtype: torch.dtype = torch.float32) -> CellGraphs:
        """What message passing reads of validated cells."""
        operations = F.one_hot(self._operations(batch), NUM_OPERATIONS).to(dtype).transpose(0, 1)  # [6, B, 5]
        places = torch.eye(self.num_vertices, dtype=dtype, device=operations.device)[:, None].expand(-1, len(batch), -1)
        _, edges = _wiring(batch.types.device)
        return CellGraphs(places, edges, operations.repeat(2, 1, 1))

    def loss(self, logits: Tensor, batch: DagBatch) -> dict[str, Tensor]:
        """Terms of the reconstruction of validated cells from `logits [B, num_logits]`: mean cross-entropies (nats)."""
        return {"operations": F.cross_entropy(logits.view(-1, NUM_OPERATIONS), self._operations(batch).flatten())}

    def _graphs(self, types: Tensor, edges: Tensor) -> DagBatch:
        """Graphs of decided types `[B, K]` and edges, bool `[B, pairs]`."""
        one, _ = _wiring(types.device)  # the cells are all wired alike
        every = one.types.repeat(len(types), 1)
        every[:, 1:-1] = types + FIRST_OPERATION
        return DagBatch(every, one.adjacency.repeat(len(types), 1, 1), one.num_vertices.repeat(len(types)))

    def _operations(self, batch: DagBatch) -> Tensor:
        """Of each of the six edges, int64 `[B, 6]`."""
        return batch.types[:, 1 : NASBENCH201.num_vertices - 1] - FIRST_OPERATION


@cache
def _wiring(device: torch.device) -> tuple[DagBatch, Tensor]:
    """One cell of NAS-Bench-201, and source and target of its six edges and of their opposites, int64 [2, 12]."""
    forward = torch.tensor(CELL_EDGES, device=device).t()
    return NASBENCH201.from_choices([[0] * len(CELL_EDGES)]).to(device), torch.cat([forward, forward.flip(0)], dim=1)


class NodeCells(Layout):
    """A NAS-Bench-101 cell: seven vertices known by their type, `none` past the end of a smaller cell.

    The decoder names the type of each vertex and says of each pair of vertices whether there is an edge. Vertices of
    type `none` are left out wherever they stand; not every graph is a cell of the space.
    """

    space = NASBENCH101
    num_vertices = NASBENCH101.num_vertices
    vertex_features = NASBENCH101.num_types + 1
    edge_features = 0
    none = NASBENCH101.num_types  # the type of no vertex
    decisions, pairs = (num_vertices, vertex_features), num_vertices * (num_vertices - 1) // 2

    def graphs(self, batch: DagBatch, dtype: torch.dtype = torch.float32) -> CellGraphs:
        """Each cell has room for MAX_EDGES edges, so that their number need not be known; what is left of it are loops
        at one more vertex, the last."""
        vertices = F.pad(self._features(batch).to(dtype).transpose(0, 1).flatten(0, 1), (0, 0, 0, 1))
        edges = batch.adjacency.nonzero_static(size=MAX_EDGES * len(batch))
        forward = (edges[:, 1:] * len(batch) + edges[:, :1]).t()
        forward = forward.where(edges[:, 0] >= 0, len(vertices) - 1)
        return CellGraphs(vertices, torch.cat([forward, forward.flip(0)], dim=1), None)

    def loss(self, logits: Tensor, batch: DagBatch) -> dict[str, Tensor]:
        types, edges = self._split(logits)
        u, v = self._pairs(edges.device)
        return {
            "types": F.cross_entropy(types.flatten(0, 1), self._types(batch).flatten()),
            "edges": F.binary_cross_entropy_with_logits(edges, batch.adjacency[:, u, v].to(edges.dtype)),
        }

    def sample(self, logits: Tensor, trials: int, generator: torch.Generator) -> Decodes:
        return count_together(*super().sample(logits, trials, generator))  # edges of no vertex make no other graph

    def _pairs(self, device: torch.device) -> Tensor:
        """The 21 pairs u < v, int64 `[2, 21]`."""
        return torch.triu_indices(self.num_vertices, self.num_vertices, offset=1, device=device)

    def _graphs(self, types: Tensor, edges: Tensor) -> DagBatch:
        present = types != self.none
        u, v = self._pairs(types.device)
        adjacency = types.new_zeros(len(types), self.num_vertices, self.num_vertices, dtype=torch.bool)
        adjacency[:, u, v] = edges
        adjacency &= present[:, :, None] & present[:, None, :]
        order = (~present).long().argsort(dim=1, stable=True)  # the vertices that stay, in their order
        rows = torch.arange(len(types), device=types.device)[:, None, None]
        types = types.masked_fill(~present, NO_VERTEX).gather(1, order)
        return DagBatch(types, adjacency[rows, order[:, :, None], order[:, None, :]], present.sum(dim=1))

    def _types(self, batch: DagBatch) -> Tensor:
        return batch.types.where(batch.types != NO_VERTEX, self.none)

    def _features(self, batch: DagBatch) -> Tensor:
        """What is known of each vertex at first, `[B, V, vertex_features]`."""
        return F.one_hot(self._types(batch), self.none + 1)


class PlacedCells(NodeCells):
    """The same with vertices that know their place as well, which the authors' do not. Without it an undirected graph
    says nothing of which way an edge leads, and cells of one code cannot all be given back."""

    vertex_features = NodeCells.vertex_features + NodeCells.num_vertices

    def _features(self, batch: DagBatch) -> Tensor:
        types = super()._features(batch)
        places = torch.eye(self.num_vertices, dtype=types.dtype, device=types.device)
        return torch.cat([types, places.expand(len(batch), -1, -1)], dim=2)


LAYOUTS: dict[str, EdgeCells | NodeCells] = {
    "nasbench201": EdgeCells(), "nasbench101": NodeCells(), "nasbench101-placed": PlacedCells()
}  # fmt: skip
