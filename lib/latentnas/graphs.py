"""A batch of node-labelled directed acyclic graphs (DAGs) as dense tensors.

The one data type that flows through the package: spaces make it, models encode and decode it, benchmarks
look labels up by its canonical hash, plots draw it. Letters: B graphs, N vertices, T node types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    import networkx
    from torch_geometric.data import Batch

NO_VERTEX = -1  # the type of the positions past the end of a graph that is smaller than N


@dataclass(frozen=True)
class DagBatch:
    """B graphs of at most N vertices, numbered in a topological order.

    Args:
        types: node types, int64 `[B, N]`; `NO_VERTEX` past the end of a graph.
        adjacency: bool `[B, N, N]`; `adjacency[b, u, v]` is the edge u -> v, and only u < v may be set.
        num_vertices: int64 `[B]`.
        checked_for: what these graphs were found to fit, a model's configuration, so that no step checks them again.
    """

    types: Tensor
    adjacency: Tensor
    num_vertices: Tensor
    checked_for: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = self.types, self.adjacency, self.num_vertices
        for part in parts:
            if not isinstance(part, Tensor):
                raise TypeError(f"A DagBatch holds tensors, not {type(part).__name__}. Convert with torch.as_tensor.")
        b, n = self.types.shape
        wanted = ((b, n), torch.int64), ((b, n, n), torch.bool), ((b,), torch.int64)
        for tensor, expected in zip(parts, wanted, strict=True):
            if (tuple(tensor.shape), tensor.dtype) != expected:  # hashes and comparisons would go wrong silently
                asked = "A DagBatch has types in int64, adjacency in bool and num_vertices in int64, of the shapes"
                found = f"one is {tensor.dtype} of shape {tuple(tensor.shape)}. Convert them with .long() and .bool()"
                raise ValueError(f"{asked} {', '.join(str(shape) for shape, _ in wanted)}, but {found}.")

    def __len__(self) -> int:
        return self.types.shape[0]

    def __getitem__(self, index: slice | Tensor | Sequence[int]) -> DagBatch:
        """The graphs chosen by a slice, a boolean mask or a list of positions, as a batch."""
        if isinstance(index, Integral) or getattr(index, "ndim", 1) == 0:
            raise TypeError("A DagBatch is indexed by a slice, a mask or a list; for one graph use batch[i : i + 1].")
        return DagBatch(self.types[index], self.adjacency[index], self.num_vertices[index], self.checked_for)

    @property
    def max_vertices(self) -> int:
        return self.types.shape[1]

    @property
    def present(self) -> Tensor:
        """Which positions hold a vertex, bool `[B, N]`."""
        return torch.arange(self.max_vertices, device=self.types.device) < self.num_vertices[:, None]

    def one_hot(self, num_types: int) -> Tensor:
        """Node types as indicators, int64 `[B, N, T]`; all zero where there is no vertex."""
        return F.one_hot(self.types + 1, num_types + 1)[..., 1:]

    def pad_to(self, num_vertices: int) -> DagBatch:
        """The same graphs in tensors of `num_vertices` positions; ValueError where a graph has more vertices."""
        more = num_vertices - self.max_vertices
        if more == 0:
            return self
        largest = int(self.num_vertices.max()) if more < 0 and len(self) else 0
        if largest > num_vertices:
            asked = f"Pad them to {largest}, or leave some out: batch[batch.num_vertices <= {num_vertices}]"
            raise ValueError(f"Graphs of up to {largest} vertices do not fit into {num_vertices} positions. {asked}.")
        types = F.pad(self.types, (0, more), value=NO_VERTEX)
        return DagBatch(types, F.pad(self.adjacency, (0, more, 0, more)), self.num_vertices)

    def to(self, device: torch.device | str) -> DagBatch:
        tensors = (tensor.to(device) for tensor in (self.types, self.adjacency, self.num_vertices))
        return DagBatch(*tensors, self.checked_for)

    @staticmethod
    def cat(batches: Iterable[DagBatch]) -> DagBatch:
        """All graphs of the batches in one, as wide as the widest of them."""
        batches = list(batches)
        if not batches:
            raise ValueError("There is no batch to join. Give at least one, which may be empty.")
        batches = [batch.pad_to(max(batch.max_vertices for batch in batches)) for batch in batches]
        parts = ((batch.types, batch.adjacency, batch.num_vertices) for batch in batches)
        return DagBatch(*map(torch.cat, zip(*parts, strict=True)))

    def keys(self) -> list[bytes]:
        """One byte string a graph, whatever the padding; two are the same exactly when types and edges agree."""
        vertices = torch.arange(self.max_vertices)
        starts = vertices * (vertices + 1) // 2  # of each vertex's own block: its type, then its incoming edges
        target, source = torch.tril_indices(self.max_vertices, self.max_vertices, -1)
        rows = torch.zeros(len(self), self.max_vertices * (self.max_vertices + 1) // 2, dtype=torch.int8)
        rows[:, starts] = (self.types + 1).to("cpu", torch.int8)
        rows[:, starts[target] + 1 + source] = self.adjacency[:, source, target].to("cpu", torch.int8)
        return [row.tobytes().rstrip(b"\0") for row in rows.numpy()]  # what padding adds is zeros at the end


def equal(first: DagBatch, second: DagBatch) -> Tensor:
    """Whether graph b of both batches agrees position by position, bool `[B]`; padding does not count."""
    return edit_distance(first, second) == 0


def edit_distance(first: DagBatch, second: DagBatch) -> Tensor:
    """Types and edges in which graph b of both batches differ, position by position, int64 `[B]`; a vertex that only
    one of them has counts as one type. It is never less than the graph edit distance, which may renumber vertices."""
    width = max(first.max_vertices, second.max_vertices)
    first, second = first.pad_to(width), second.pad_to(width)
    types = (first.types != second.types).sum(dim=1)
    return types + (first.adjacency != second.adjacency).flatten(1).sum(dim=1)


def canonical_hash(batch: DagBatch) -> Tensor:
    """A hash that depends neither on how vertices are numbered nor on padding, int64 `[B]`.

    Weisfeiler-Lehman refinement, the idea of the graph hash of NAS-Bench-101 (Ying et al., 2019,
    https://arxiv.org/abs/1902.09635): in as many rounds as the graph has vertices, each vertex's label is mixed with
    the sums of its predecessors' and successors' labels; the hash is the mixed sum over vertices. Different graphs may
    collide: all 5,984 unlabelled DAGs of 6 vertices have 5,983 hashes. In the spaces of this library none do.
    """
    present = batch.present
    edges = batch.adjacency.long()
    label = _mix(batch.types + 1)
    for done in range(batch.max_vertices):
        incoming = (edges * _mix(label + 1).unsqueeze(2)).sum(dim=1)  # [B, N]: sum over predecessors
        outgoing = (edges * _mix(label + 2).unsqueeze(1)).sum(dim=2)  # [B, N]: sum over successors
        mixed = _mix(label + 3 * _mix(incoming) + 5 * _mix(outgoing + 7))
        label = torch.where(batch.num_vertices[:, None] > done, mixed, label)
    return _mix((label * present).sum(dim=1))


def _mix(value: Tensor) -> Tensor:
    """The finaliser of splitmix64: a bijection of 64-bit integers that scatters nearby values."""
    value = value + -7046029254386353131  # the golden ratio as a signed 64-bit integer
    for bits, factor in ((30, -4658895280553007687), (27, -7723592293110705685), (31, 1)):
        value = (value ^ (value >> bits & (1 << 64 - bits) - 1)) * factor  # a logical shift: zeros come in
    return value


def to_networkx(batch: DagBatch, index: int) -> networkx.DiGraph:
    """Graph `index` with its types as the node attribute `type`."""
    import networkx  # slow to import, and few need it

    count = int(batch.num_vertices[index])
    graph = networkx.DiGraph()
    graph.add_nodes_from((vertex, {"type": int(batch.types[index, vertex])}) for vertex in range(count))
    graph.add_edges_from(batch.adjacency[index].nonzero().tolist())
    return graph


def from_networkx(graphs: Sequence[networkx.DiGraph], max_vertices: int) -> DagBatch:
    """Graphs with the node attribute `type`, renumbered in topological order (ties by the old number); ValueError for
    one with a cycle, a vertex whose type is missing or no whole number from 0 on, or too many vertices."""
    import networkx

    types = torch.full((len(graphs), max_vertices), NO_VERTEX)
    adjacency = torch.zeros(len(graphs), max_vertices, max_vertices, dtype=torch.bool)
    for index, graph in enumerate(graphs):
        if graph.number_of_nodes() > max_vertices or not networkx.is_directed_acyclic_graph(graph):
            found = f"it has {graph.number_of_nodes()} vertices and {graph.number_of_edges()} edges"
            asked = f"it needs to be acyclic with at most {max_vertices} vertices"
            raise ValueError(f"Graph {index} cannot be batched: {asked}, but {found}.")
        order, size = list(networkx.lexicographical_topological_sort(graph)), len(graph)
        own = [graph.nodes[vertex].get("type") for vertex in order]
        for vertex, kind in zip(order, own):
            if not isinstance(kind, Integral) or kind < 0:
                found = f"its vertex {vertex} has no attribute `type` that is a whole number from 0 on"
                raise ValueError(f"Graph {index} cannot be batched: {found}.")
        types[index, :size] = torch.tensor(own)
        edges = networkx.to_numpy_array(graph, order, dtype=bool, weight=None)  # an edge of weight 0 is one, too
        adjacency[index, :size, :size] = torch.from_numpy(edges)
    return DagBatch(types, adjacency, torch.tensor([len(graph) for graph in graphs], dtype=torch.int64))


def to_pyg(batch: DagBatch) -> Batch:
    """The graphs as one `torch_geometric.data.Batch` with node types in `x` (int64 `[vertices]`)."""
    from torch_geometric.data import Batch, Data  # slow to import

    graphs = [
        Data(x=batch.types[i, :count], edge_index=batch.adjacency[i].nonzero().t().contiguous(), num_nodes=count)
        for i, count in enumerate(batch.num_vertices.tolist())
    ]
    if graphs:
        return Batch.from_data_list(graphs)
    none = batch.types.new_zeros(2, 0)
    return Batch(x=none[0], edge_index=none, batch=none[0], ptr=none.new_zeros(1))


def from_pyg(graphs: Batch, max_vertices: int) -> DagBatch:
    """The inverse of `to_pyg`; ValueError for what is no such batch, whose vertices are sorted by graph, an edge that
    leads to no later vertex of its graph, or more than `max_vertices` vertices."""
    from torch_geometric.utils import to_dense_adj, to_dense_batch

    wanted = "types in `x` and the graph of each in `batch`, int64 [vertices], and int64 [2, edges] in `edge_index`"
    for name, ndim in (("x", 1), ("batch", 1), ("edge_index", 2)):
        part = getattr(graphs, name, None)
        kind = (part.dtype, part.ndim, *part.shape[: ndim - 1]) if isinstance(part, Tensor) else None
        if kind != (torch.int64, ndim, 2)[: ndim + 1]:
            found = f"{part.dtype} of shape {list(part.shape)}" if kind else "no tensor"
            raise ValueError(f"A batch of PyG cannot be read: it has {wanted}, but `{name}` is {found}.")
    owner, (source, target) = graphs.batch, graphs.edge_index
    count = len(graphs.ptr) - 1 if "ptr" in graphs else int(owner.max()) + 1 if len(owner) else 0
    outside = (graphs.edge_index < 0) | (graphs.edge_index >= len(owner))
    faults = (
        (len(owner) != len(graphs.x), f"`x` has {len(graphs.x)} types, but `batch` {len(owner)} vertices"),
        ((graphs.x < 0).any(), "`x` has a negative type"),
        (((owner < 0) | (owner >= count)).any(), f"`batch` numbers the {count} graphs from 0, but goes outside"),
        (
            (owner.diff() < 0).any(),
            "`batch` does not ascend: the vertices of a graph stand together, graph after graph",
        ),
        (outside.any(), f"`edge_index` numbers the {len(owner)} vertices from 0, but goes outside"),
    )
    for fault, found in faults:
        if fault:
            raise ValueError(
                f"A batch of PyG cannot be read: {found}. Number types from 0 and use Batch.from_data_list."
            )
    astray = (source >= target) | (owner[source] != owner[target])
    sizes, wrong = (graph.bincount(minlength=count) for graph in (owner, owner[source[astray]]))
    for index in ((sizes > max_vertices) | (wrong > 0)).nonzero().flatten().tolist()[:1]:
        found = f"it has {sizes[index]} vertices, and {wrong[index]} of its edges do not lead to a later one of its own"
        raise ValueError(f"Graph {index} cannot be batched: at most {max_vertices} vertices fit, but {found}.")
    types, present = to_dense_batch(graphs.x, owner, NO_VERTEX, max_vertices, count)
    adjacency = to_dense_adj(graphs.edge_index, owner, None, max_vertices, count)
    return DagBatch(types, adjacency.bool(), present.sum(dim=1))
