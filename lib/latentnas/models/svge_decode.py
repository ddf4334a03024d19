"""Decoding of SVGe: graphs written from both ends, and the union of the two.

As in :mod:`latentnas.models.generate`, decodes of one latent point that agree so far are one *branch* with a
count. Letters: B latent points, M branches, N vertices, H hidden, D latent, K distinct graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.models.generate import Decodes, in_parts, split_over_edges, split_over_types


@dataclass
class _Branches:
    """M partial graphs of v vertices each."""

    source: Tensor  # [M] row of z
    count: Tensor  # [M] how many decodes have come this way (floating, for torch.binomial)
    types: Tensor  # [M, N]
    adjacency: Tensor  # bool [M, N, N]
    states: Tensor  # [M, v, H]
    z: Tensor  # [M, D]

    def take(self, index: Tensor) -> _Branches:
        return _Branches(*(getattr(self, field.name)[index] for field in fields(self)))

    def graphs(self, num_vertices: int) -> DagBatch:
        return DagBatch(self.types, self.adjacency, torch.full_like(self.source, num_vertices))


def sample_sequences(
    model, z: Tensor, trials: int, first_type: int, last_type: int, num_vertices: int, generator: torch.Generator | None
) -> Decodes:
    """``trials`` random decodes of every z ``[B, D]`` from one end; without a generator the most likely one.

    Args:
        model: a ``GraphGenerator``. first_type: of vertex 0. last_type: generating it ends a graph; a graph
            that never has it ends with ``num_vertices`` vertices.

    Returns:
        The distinct graphs of each z, in the order of z, as the generator wrote them; the row of z each came
        from; how often it came.
    """

    def write(rows: Tensor) -> Decodes:
        return _sample_part(model, rows, trials, first_type, last_type, num_vertices, generator)

    return in_parts(write, z, trials)


def _sample_part(model, z, trials, first_type, last_type, num_vertices, generator) -> Decodes:
    points, device = len(z), z.device
    types = torch.full((points, num_vertices), NO_VERTEX, device=device)
    types[:, 0] = first_type
    branches = _Branches(
        source=torch.arange(points, device=device),
        count=torch.full((points,), float(trials), device=device),
        types=types,
        adjacency=torch.zeros(points, num_vertices, num_vertices, dtype=torch.bool, device=device),
        states=model.first_states(types[:, 0], z),
        z=z,
    )
    finished = []
    for v in range(1, num_vertices):
        branches = _with_vertex(model, branches, v, generator)
        ends = (branches.types[:, v] == last_type) | (v == num_vertices - 1)
        finished.append((branches.take(ends), v + 1))
        branches = branches.take(~ends)
    graphs = DagBatch.cat(branch.graphs(size) for branch, size in finished)
    source = torch.cat([branch.source for branch, _ in finished])
    count = torch.cat([branch.count for branch, _ in finished]).long()
    order = source.argsort(stable=True)
    return graphs[order], source[order], count[order]


def _with_vertex(model, branches: _Branches, v: int, generator: torch.Generator | None) -> _Branches:
    """Every branch with its vertex v and the edges into it, split where its decodes part."""
    branches.states = model.propagate(branches.states, branches.adjacency[:, :v, :v])
    summary = model.summary(branches.states)
    probability = model.type_head(torch.cat([summary, branches.z], dim=1)).softmax(dim=1)
    counts = split_over_types(branches.count, probability, generator)
    row, types = counts.nonzero(as_tuple=True)
    branches, summary = branches.take(row), summary[row]
    branches.count, branches.types[:, v] = counts[row, types], types

    new = model.new_states(types, model.summary_for_vertex(branches.states), branches.z)
    step = torch.zeros(v, dtype=torch.long, device=row.device)
    logits = model.edge_logits(branches.states, new[:, None], summary[:, None], branches.z, step)
    row, edges, count = split_over_edges(branches.count, logits.sigmoid(), generator)
    branches = branches.take(row)
    branches.count, branches.adjacency[:, :v, v] = count, edges
    branches.states = torch.cat([branches.states, new[row, None]], dim=1)
    return branches


def turned(batch: DagBatch) -> DagBatch:
    """The graphs from their last vertex to their first, with all edges turned round; its own inverse."""
    place = batch.num_vertices[:, None] - 1 - torch.arange(batch.max_vertices, device=batch.types.device)
    types = batch.types.gather(1, place.clamp(min=0)).where(place >= 0, NO_VERTEX)
    return DagBatch(types, turned_edges(batch.adjacency, batch.num_vertices), batch.num_vertices)


def turned_edges(adjacency: Tensor, num_vertices: Tensor) -> Tensor:
    """Edge u -> v becomes n-1-v -> n-1-u with the given n ``[B]``; one that would leave the graph is dropped."""
    place = num_vertices[:, None] - 1 - torch.arange(adjacency.shape[1], device=adjacency.device)
    inside = place >= 0
    rows, place = torch.arange(len(place), device=place.device), place.clamp(min=0)
    edges = adjacency[rows[:, None, None], place[:, None, :], place[:, :, None]]
    return edges & inside[:, None, :] & inside[:, :, None]


def merged_samples(forward: Decodes, backward: Decodes, trials: int, generator: torch.Generator | None) -> Decodes:
    """Each forward graph with the edges of a backward graph of the same z added; arguments as from `sample_sequences`.

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
    edges = graphs.adjacency | turned_edges(behind.adjacency[second], graphs.num_vertices)
    return _distinct(DagBatch(graphs.types, edges, graphs.num_vertices), source[first], count)


def _distinct(graphs: DagBatch, source: Tensor, count: Tensor) -> Decodes:
    """Equal graphs of one z counted together."""
    rows = torch.cat([source[:, None], graphs.types, graphs.adjacency.flatten(1).long()], dim=1)
    rows, group = rows.unique(dim=0, return_inverse=True)
    total = torch.zeros(len(rows), dtype=count.dtype, device=count.device).index_add_(0, group, count)
    types = rows[:, 1 : 1 + graphs.max_vertices]
    adjacency = rows[:, 1 + graphs.max_vertices :].bool().view(-1, graphs.max_vertices, graphs.max_vertices)
    return DagBatch(types, adjacency, (types != NO_VERTEX).sum(dim=1)), rows[:, 0], total
