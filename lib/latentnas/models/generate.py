"""Decoding with the autoregressive DAG decoder, batched over every graph that is still being written.

Many decodes of one latent point (100 in the reconstruction test, 500 in Bayesian optimisation) agree for most
of their decisions. They share one *branch* here: a partial graph with the number of decodes that have come
this way. A decision splits the number binomially. The distribution is that of decoding one by one; the cost
is that of the distinct graphs. Letters: M branches, N vertices, T node types, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.models.dagnn import DagDecoder, gru, message, type_gates

POINTS_AT_ONCE = 2048  # latent points decoded together
BRANCHES_AT_ONCE = 20_480  # decodes together, each at worst a branch of its own; bounds memory to about 2 GB at H = 501

Decodes = tuple[DagBatch, Tensor, Tensor]  # distinct graphs, the row of z each came from, how often it came


@torch.no_grad()
def decode(decoder: DagDecoder, z: Tensor) -> DagBatch:
    """The graph of each z ``[B, D]``, every decision the most likely one."""
    return in_parts(lambda rows: _Generation(decoder, rows, 1, None).run(), z, 1)[0]


@torch.no_grad()
def sample(decoder: DagDecoder, z: Tensor, trials: int, generator: torch.Generator) -> Decodes:
    """``trials`` independent random decodes of every z ``[B, D]``, equal ones counted together.

    Returns:
        The distinct graphs of each z, in the order of z; the row of z each came from; how often it came.
        Both are int64, one entry a graph, and the counts of one z sum to ``trials``.
    """
    return in_parts(lambda rows: _Generation(decoder, rows, trials, generator).run(), z, trials)


def in_parts(write: Callable[[Tensor], Decodes], z: Tensor, trials: int) -> Decodes:
    """What ``write`` decodes from z ``[B, D]``, given as many rows at once as ``trials`` decodes of each allow."""
    together = min(POINTS_AT_ONCE, max(1, BRANCHES_AT_ONCE // trials))
    parts = [write(rows) for rows in z.split(together)]
    return (
        DagBatch.cat(graphs for graphs, _, _ in parts),
        torch.cat([source + part * together for part, (_, source, _) in enumerate(parts)]),
        torch.cat([count for _, _, count in parts]),
    )


@dataclass
class _Branches:
    """M partial graphs. ``rows`` says where the messages of their vertices lie in the shared lists."""

    source: Tensor  # [M] row of z
    count: Tensor  # [M] how many decodes have come this way (floating, for torch.binomial)
    types: Tensor  # [M, N]
    adjacency: Tensor  # bool [M, N, N]
    rows: Tensor  # [M, N]
    state: Tensor  # [M, H] state of the last vertex

    def take(self, index: Tensor) -> _Branches:
        return _Branches(*(getattr(self, field.name)[index] for field in fields(self)))


class _Generation:
    """One run of the decoder over all of z, vertex by vertex."""

    def __init__(self, decoder: DagDecoder, z: Tensor, trials: int, generator: torch.Generator | None) -> None:
        self.decoder, self.generator = decoder, generator
        self.weight, self.bias = decoder.message.weights()
        points, vertices, device = len(z), decoder.num_vertices, z.device
        types = torch.full((points, vertices), NO_VERTEX, device=device)
        types[:, 0] = decoder.input_type
        self.branches = _Branches(
            source=torch.arange(points, device=device),
            count=torch.full((points,), float(trials), device=device),
            types=types,
            adjacency=torch.zeros(points, vertices, vertices, dtype=torch.bool, device=device),
            rows=torch.zeros(points, vertices, dtype=torch.long, device=device),
            state=gru(decoder.cell, type_gates(decoder.cell, types[:, 0]), decoder.initial(z).tanh()),
        )
        every_type = torch.arange(decoder.num_types, device=device)
        hidden = decoder.cell.hidden_size
        self.target_weight = decoder.edge_head[0].weight[:, hidden:]
        # A new vertex has no predecessors yet: one state per type, and one half of the edge head's first layer.
        self.new_state = gru(decoder.cell, type_gates(decoder.cell, every_type), z.new_zeros(1, hidden))  # [T, H]
        self.new_target = F.linear(self.new_state, self.target_weight)  # [T, 4H]
        self.messages = z.new_zeros(0, hidden)  # of every vertex written so far, [rows, H]
        self.from_source = z.new_zeros(0, 4 * hidden)  # and their half of that layer

    def run(self) -> Decodes:
        finished = []
        for v in range(1, self.decoder.num_vertices):
            self._publish(v - 1)
            self._choose_type(v)
            ends = self.branches.types[:, v] == self.decoder.output_type
            finished.append((self.branches.take(ends), v))
            self.branches = self.branches.take(~ends)
            self._choose_edges(v)
        graphs = DagBatch.cat(_with_output(branches, v) for branches, v in finished)
        source = torch.cat([branches.source for branches, _ in finished])
        count = torch.cat([branches.count for branches, _ in finished]).long()
        order = source.argsort(stable=True)
        return graphs[order], source[order], count[order]

    def _publish(self, v: int) -> None:
        """Add the finished vertex v to the lists that later vertices read."""
        state, head = self.branches.state, self.decoder.edge_head[0]
        self.branches.rows[:, v] = torch.arange(len(state), device=state.device) + len(self.messages)
        self.messages = torch.cat([self.messages, message(state, self.weight, self.bias[v])])
        from_source = F.linear(state, head.weight[:, : state.shape[1]], head.bias)
        self.from_source = torch.cat([self.from_source, from_source])

    def _choose_type(self, v: int) -> None:
        """Split every branch over the types of vertex v; the last vertex is always the output."""
        if v == self.decoder.num_vertices - 1:
            self.branches.types[:, v] = self.decoder.output_type
            return
        probability = self.decoder.vertex_head(self.branches.state).softmax(dim=1)  # [M, T]
        counts = split_over_types(self.branches.count, probability, self.generator)
        branch, types = counts.nonzero(as_tuple=True)
        self.branches = self.branches.take(branch)
        self.branches.count = counts[branch, types]
        self.branches.types[:, v] = types

    def _choose_edges(self, v: int) -> None:
        """Decide the edges into vertex v, from the nearest vertex back; its state follows every "yes"."""
        if not len(self.branches.count):
            return
        types = self.branches.types[:, v]
        gates = type_gates(self.decoder.cell, types)
        received = torch.zeros_like(self.branches.state)
        self.branches.state, from_target = self.new_state[types], self.new_target[types]
        for u in range(v - 1, -1, -1):
            hidden = from_target + self.from_source[self.branches.rows[:, u]]
            probability = self.decoder.edge_head[1:](hidden).squeeze(1).sigmoid()
            yes = split_in_two(self.branches.count, probability, self.generator)
            both = ((yes > 0) & (yes < self.branches.count)).nonzero().squeeze(1)
            if len(both):  # the "no" part of a split branch goes on as a branch of its own, at the end
                index = torch.cat([torch.arange(len(yes), device=yes.device), both])
                no = self.branches.count[both] - yes[both]
                self.branches = self.branches.take(index)
                self.branches.count[both] = yes[both]
                self.branches.count[len(yes) :] = no
                gates, received, from_target = gates[index], received[index], from_target[index]
            changed = (yes > 0).nonzero().squeeze(1)
            self.branches.adjacency[changed, u, v] = True
            received[changed] += self.messages[self.branches.rows[changed, u]]
            state = gru(self.decoder.cell, gates[changed], received[changed])
            self.branches.state[changed] = state
            from_target[changed] = F.linear(state, self.target_weight)


def _with_output(branches: _Branches, v: int) -> DagBatch:
    """Graphs that end with the output at position v: every vertex without a successor is connected to it."""
    adjacency = branches.adjacency
    adjacency[:, :v, v] = ~adjacency[:, :v].any(dim=2)
    return DagBatch(branches.types, adjacency, torch.full_like(branches.source, v + 1))


def split_in_two(count: Tensor, probability: Tensor, generator: torch.Generator | None) -> Tensor:
    """How many of each count ``[M]`` say yes; without a generator all or none."""
    if generator is None:
        return count * (probability > 0.5)
    return torch.binomial(count, probability.clamp(0, 1), generator=generator)


def split_over_types(count: Tensor, probability: Tensor, generator: torch.Generator | None) -> Tensor:
    """Multinomial counts ``[M, T]`` of ``count [M]`` over ``probability [M, T]``; without a generator all to the largest."""
    if generator is None:
        return F.one_hot(probability.argmax(dim=1), probability.shape[1]) * count[:, None]
    split = torch.zeros_like(probability)
    left, mass = count.clone(), torch.ones_like(count)
    for t in range(probability.shape[1] - 1):
        split[:, t] = split_in_two(left, probability[:, t] / mass.clamp(min=1e-12), generator)
        left = left - split[:, t]
        mass = mass - probability[:, t]
    split[:, -1] = left
    return split


def split_over_edges(
    count: Tensor, probability: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Counts ``[M]`` split over independent edges of ``probability [M, v]``.

    Returns:
        For each of R branches: the row it was split from, its edges (bool ``[R, v]``), its count.
    """
    row = torch.arange(len(count), device=count.device)
    edges = torch.zeros_like(probability, dtype=torch.bool)
    for u in range(probability.shape[1]):
        index, taken, count = parted(count, split_in_two(count, probability[row, u], generator))
        row, edges = row[index], edges[index]
        edges[:, u] = taken
    return row, edges, count


def parted(count: Tensor, yes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The branches of counts ``[M]`` after a decision that ``yes [M]`` of each count take.

    Returns:
        For each of R branches: the row it was split from, whether it said yes (bool ``[R]``), its count.
    """
    index = torch.cat([(yes > 0).nonzero().squeeze(1), (yes < count).nonzero().squeeze(1)])
    taken = torch.arange(len(index), device=index.device) < (yes > 0).sum()
    return index, taken, torch.where(taken, yes[index], (count - yes)[index])
