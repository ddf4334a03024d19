"""Decoding of SVGe: graphs written from both ends, and the union of the two.

See `latentnas.models.branches` for how decodes share branches. Letters: B latent points, M branches, N vertices,
H hidden, D latent, K distinct graphs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.interfaces import Decodes
from latentnas.models.branches import Decoding

if TYPE_CHECKING:
    from latentnas.models.svge import GraphGenerator


class SequenceDecoding(Decoding):
    """One run of a `GraphGenerator` from one end. Branches keep the states of their vertices, `states [M, v, H]`,
    their point, `z [M, D]`, and the summary of their graph, `summary [M, G]`.

    Args:
        config: has the types of both ends as this run sees them: `input_type` of vertex 0, `output_type` that ends
            a graph.
    """

    def __init__(
        self, model: GraphGenerator, config: Any, z: Tensor, trials: int, generator: torch.Generator | None
    ) -> None:
        super().__init__(config, z, trials, generator)
        self.model = model
        self.branches.state = {"states": model.first_states(self.branches.types[:, 0], z), "z": z}

    def type_probability(self, v: int) -> Tensor:
        state = self.branches.state
        state["states"] = self.model.propagate(state["states"], self.branches.adjacency[:, :v, :v])
        state["summary"] = self.model.summary(state["states"])
        return self.model.type_head(torch.cat([state["summary"], state["z"]], dim=1)).softmax(dim=1)

    def choose_edges(self, v: int) -> None:
        state, types = self.branches.state, self.branches.types[:, v]
        new = self.model.new_states(types, self.model.summary_for_vertex(state["states"]), state["z"])
        step = torch.zeros(v, dtype=torch.long, device=types.device)
        logits = self.model.edge_logits(state["states"], new[:, None], state["summary"][:, None], state["z"], step)
        row = self.split_over_edges(v, logits.sigmoid())
        state = self.branches.state
        state["states"] = torch.cat([state["states"], new[row, None]], dim=1)


def reverse(batch: DagBatch) -> DagBatch:
    """The graphs from their last vertex to their first, with all edges reversed; its own inverse."""
    place = batch.num_vertices[:, None] - 1 - torch.arange(batch.max_vertices, device=batch.types.device)
    types = batch.types.gather(1, place.clamp(min=0)).where(place >= 0, NO_VERTEX)
    return DagBatch(types, reverse_edges(batch.adjacency, batch.num_vertices), batch.num_vertices)


def reverse_edges(adjacency: Tensor, num_vertices: Tensor) -> Tensor:
    """Edge u -> v becomes n-1-v -> n-1-u with the given n `[B]`; one that would leave the graph is dropped."""
    place = num_vertices[:, None] - 1 - torch.arange(adjacency.shape[1], device=adjacency.device)
    inside = place >= 0
    rows, place = torch.arange(len(place), device=place.device), place.clamp(min=0)
    edges = adjacency[rows[:, None, None], place[:, None, :], place[:, :, None]]
    return edges & inside[:, None, :] & inside[:, :, None]


def merge(forward: Decodes, backward: Decodes, trials: int, generator: torch.Generator | None) -> Decodes:
    """Each forward graph with the edges of a backward graph of the same z added; arguments as from `Decoding.run`.

    The two are drawn independently, so which decode meets which is drawn here. A backward graph is laid with
    its output on the forward graph's last vertex; types and size are the forward graph's.
    """
    ahead, source, _ = forward
    behind = backward[0]
    if not len(source):
        return forward
    first = torch.repeat_interleave(forward[2])  # [B * trials] rows of the forward graphs, grouped by z
    second = torch.repeat_interleave(backward[2]).view(-1, trials)
    if generator is not None:
        order = torch.rand(second.shape, generator=generator, device=second.device).argsort(dim=1)
        second = second.gather(1, order)
    pairs, count = (first * len(behind) + second.flatten()).unique(return_counts=True)
    first, second = pairs // len(behind), pairs % len(behind)
    graphs = ahead[first]
    edges = graphs.adjacency | reverse_edges(behind.adjacency[second], graphs.num_vertices)
    return _distinct(DagBatch(graphs.types, edges, graphs.num_vertices), source[first], count)


def _distinct(graphs: DagBatch, source: Tensor, count: Tensor) -> Decodes:
    """Equal graphs of one z counted together."""
    rows = torch.cat([source[:, None], graphs.types, graphs.adjacency.flatten(1).long()], dim=1)
    rows, group = rows.unique(dim=0, return_inverse=True)
    total = torch.zeros(len(rows), dtype=count.dtype, device=count.device).index_add_(0, group, count)
    types = rows[:, 1 : 1 + graphs.max_vertices]
    adjacency = rows[:, 1 + graphs.max_vertices :].bool().view(-1, graphs.max_vertices, graphs.max_vertices)
    return DagBatch(types, adjacency, (types != NO_VERTEX).sum(dim=1)), rows[:, 0], total
