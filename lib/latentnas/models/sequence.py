"""S-VAE and GraphRNN: a graph read and written as a sequence of rows, a vertex's type and the edges into it.

The baselines of D-VAE (Zhang et al., 2019) that pass no messages: one GRU reads the rows, another writes
them from z. S-VAE decides all edges of a row at once, given its type. GraphRNN (You et al., 2018) has one
more GRU, which decides them one after the other, from the nearest vertex back, knowing the earlier decisions.
It is no autoencoder by itself; reader and starting state are S-VAE's.

    loss = types + edges + beta * KL

Letters: B graphs, M branches, N vertices, T node types, H hidden, D latent, F = T + N - 1 numbers in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.models.base import (
    AutoregressiveVAE,
    fitted,
    full_precision,
    kl_divergence,
    reparameterize,
    require_some,
    two_layers,
)
from latentnas.models.dagnn import gru, type_gates
from latentnas.models.generate import Decodes, in_parts, parted, split_in_two, split_over_edges, split_over_types

NOT_YET = -1  # stands for the decision before the first one


@dataclass(frozen=True)
class SVAEConfig:
    """Sizes and weights of S-VAE and of GraphRNN; the defaults are D-VAE's, on the ENAS space."""

    num_types: int = 8  # T, input and output included
    num_vertices: int = 8  # N, the largest graph
    input_type: int = 0  # type of vertex 0
    output_type: int = 1  # generating it ends a graph
    hidden: int = 501  # H
    latent: int = 56  # D
    beta: float = 0.005  # weight of the KL term
    noise_scale: float = 0.01  # factor on the sampling noise in training

    def __post_init__(self) -> None:
        if min(self.hidden, self.latent) < 1 or self.num_vertices < 2:
            raise ValueError(
                f"hidden={self.hidden} and latent={self.latent} must be at least 1, and "
                f"num_vertices={self.num_vertices} at least 2: an input and an output."
            )


class EdgesAtOnce(nn.Module):
    """The edges into a vertex, all from the writer's state and the vertex's type, each for itself."""

    def __init__(self, config: SVAEConfig) -> None:
        super().__init__()
        self.head = two_layers(config.hidden + config.num_types, 2 * config.hidden, config.num_vertices - 1)

    def logits(self, states: Tensor, types: Tensor, edges: Tensor) -> Tensor:
        """``[B, N-1, N-1]``, source u of target v in row v - 1; those with u >= v mean nothing.

        Args:
            states: ``[B, N-1, H]`` before each vertex. types: one-hot ``[B, N-1, T]``. edges: the true ones,
                ``[B, N-1, N-1]``; not needed here.
        """
        return self.head(torch.cat([states, types], dim=2))

    def split(self, count: Tensor, state: Tensor, types: Tensor, v: int, generator) -> tuple[Tensor, Tensor, Tensor]:
        """Branches split over the edges into vertex v; see :func:`split_over_edges`."""
        probability = self.head(torch.cat([state, types], dim=1))[:, :v].sigmoid()
        return split_over_edges(count, probability, generator)


class EdgesInTurn(nn.Module):
    """The edges into a vertex, from the nearest vertex back, by a GRU that reads the decision before.

    It starts from the writer's state and the vertex's type, and reads no, yes, or, at first, nothing.
    """

    def __init__(self, config: SVAEConfig) -> None:
        super().__init__()
        self.initial = nn.Linear(config.hidden + config.num_types, config.hidden)
        self.cell = nn.GRUCell(2, config.hidden)
        self.head = nn.Linear(config.hidden, 1)

    def logits(self, states: Tensor, types: Tensor, edges: Tensor) -> Tensor:
        """As of :class:`EdgesAtOnce`, each given the true edges from nearer vertices."""
        width = edges.shape[2]
        step = torch.arange(width, device=edges.device)
        # which source of vertex v is decided at a step, and at which step a source is
        turn = (step[:, None] - step).clamp(min=0).expand_as(edges)
        before = F.pad(edges.gather(2, turn)[..., :-1].long(), (1, 0), value=NOT_YET)
        hidden = self.initial(torch.cat([states, types], dim=2)).tanh()
        steps = []
        for gates in type_gates(self.cell, before).unbind(dim=2):
            hidden = gru(self.cell, gates, hidden)
            steps.append(hidden)
        return self.head(torch.stack(steps, dim=2)).squeeze(3).gather(2, turn)

    def split(self, count: Tensor, state: Tensor, types: Tensor, v: int, generator) -> tuple[Tensor, Tensor, Tensor]:
        """As of :class:`EdgesAtOnce`, one decision after the other."""
        row = torch.arange(len(count), device=count.device)
        edges = torch.zeros(len(count), v, dtype=torch.bool, device=count.device)
        hidden, before = self.initial(torch.cat([state, types], dim=1)).tanh(), torch.full_like(row, NOT_YET)
        for u in range(v - 1, -1, -1):
            hidden = gru(self.cell, type_gates(self.cell, before), hidden)
            probability = self.head(hidden).squeeze(1).sigmoid()
            index, taken, count = parted(count, split_in_two(count, probability, generator))
            row, edges, hidden, before = row[index], edges[index], hidden[index], taken.long()
            edges[:, u] = taken
        return row, edges, count


class SVAE(AutoregressiveVAE):
    """The variational autoencoder; see the module's docstring.

    Shapes: B graphs of up to N vertices; ``mu``, ``logvar`` and ``z`` are ``[B, D]``.
    """

    edges_class: type[EdgesAtOnce | EdgesInTurn] = EdgesAtOnce

    def __init__(self, config: SVAEConfig) -> None:
        super().__init__()
        self.config = config
        row, hidden = config.num_types + config.num_vertices - 1, config.hidden
        self.reader = nn.GRU(row, hidden, batch_first=True)
        self.mu = nn.Linear(hidden, config.latent)
        self.logvar = nn.Linear(hidden, config.latent)
        self.initial = nn.Linear(config.latent, hidden)
        self.writer = nn.GRU(row, hidden, batch_first=True)
        self.type_head = two_layers(hidden, 2 * hidden, config.num_types)
        self.edges = self.edges_class(config)

    def calibrate(self) -> None:
        """Learns without labels: there is nothing to fix."""

    def encode(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        """mu and logvar. Raises ValueError for graphs that are too large and for unknown types."""
        batch = fitted(batch, self.config.num_vertices, self.config.num_types)
        if not len(batch):
            nothing = self.mu.weight.new_zeros(0, self.config.latent)
            return nothing, nothing
        states, _ = self.reader(self._rows(batch.types, batch.adjacency))
        last = states[torch.arange(len(batch), device=states.device), batch.num_vertices - 1]
        return self.mu(last), self.logvar(last)

    def loss(self, batch: DagBatch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The terms of the loss, unweighted and averaged over the batch (nats)."""
        require_some(batch)
        batch = fitted(batch, self.config.num_vertices, self.config.num_types)
        mu, logvar = (full_precision(values) for values in self.encode(batch))
        z = reparameterize(mu, logvar, self.config.noise_scale, generator)
        rows = self._rows(batch.types, batch.adjacency)
        states, _ = self.writer(rows[:, :-1], self.initial(z).tanh()[None].to(rows.dtype))
        targets = batch.types[:, 1:]
        types = full_precision(self.type_head(states)).flatten(0, 1)
        types = F.cross_entropy(types, targets.flatten(), ignore_index=NO_VERTEX, reduction="sum")
        wanted = batch.adjacency[:, :-1, 1:].transpose(1, 2)  # [B, v - 1, u]
        edges = full_precision(self.edges.logits(states, rows[:, 1:, : self.config.num_types], wanted))
        edges = F.binary_cross_entropy_with_logits(edges, wanted.to(edges.dtype), reduction="none")
        decided = torch.ones_like(edges[0]).tril() * (targets != NO_VERTEX)[:, :, None]
        terms = {
            "vertices": types / len(batch),
            "edges": (edges * decided).sum() / len(batch),
            "kl": kl_divergence(mu, logvar).mean(),
        }
        return {"total": terms["vertices"] + terms["edges"] + self.config.beta * terms["kl"]} | terms

    def _rows(self, types: Tensor, adjacency: Tensor) -> Tensor:
        """One-hot type and edges from the vertices before, ``[M, V, F]``; zeros for absent vertices."""
        one_hot = F.one_hot(types + 1, self.config.num_types + 1)[..., 1:]
        return torch.cat([one_hot, adjacency[:, :-1].transpose(1, 2)], dim=2).to(self.mu.weight.dtype)

    def _decoded(self, z: Tensor, trials: int, generator: torch.Generator | None) -> Decodes:
        return in_parts(lambda rows: self._decoded_part(rows, trials, generator), z, trials)

    def _decoded_part(self, z: Tensor, trials: int, generator: torch.Generator | None) -> Decodes:
        """Branches as in :mod:`latentnas.models.generate`; those that end leave the loop."""
        config, device = self.config, z.device
        source = torch.arange(len(z), device=device)
        count = torch.full((len(z),), float(trials), device=device)
        types = torch.full((len(z), config.num_vertices), NO_VERTEX, device=device)
        types[:, 0] = config.input_type
        adjacency = torch.zeros(len(z), config.num_vertices, config.num_vertices, dtype=torch.bool, device=device)
        state = self.initial(z).tanh()
        finished = []
        for v in range(1, config.num_vertices):
            if len(state):  # the GRU refuses a batch of none
                row = self._rows(types, adjacency)[:, v - 1 : v]
                state = self.writer(row, state[None].contiguous())[1][0]
            counts = split_over_types(count, self.type_head(state).softmax(dim=1), generator)
            branch, chosen = counts.nonzero(as_tuple=True)
            one_hot = F.one_hot(chosen, config.num_types).to(state.dtype)
            part, edges, count = self.edges.split(counts[branch, chosen], state[branch], one_hot, v, generator)
            branch, chosen = branch[part], chosen[part]
            source, types, adjacency, state = source[branch], types[branch], adjacency[branch], state[branch]
            types[:, v], adjacency[:, :v, v] = chosen, edges
            ends = (chosen == config.output_type) | (v == config.num_vertices - 1)
            size = torch.full_like(source, v + 1)
            finished.append((DagBatch(types, adjacency, size)[ends], source[ends], count[ends]))
            source, count, state = source[~ends], count[~ends], state[~ends]
            types, adjacency = types[~ends], adjacency[~ends]
        graphs = DagBatch.cat(graphs for graphs, _, _ in finished)
        source, count = (torch.cat([part[i] for part in finished]) for i in (1, 2))
        order = source.argsort(stable=True)
        return graphs[order], source[order], count[order].long()


class GraphRNN(SVAE):
    """S-VAE with the edges of a vertex decided in turn; see the module's docstring."""

    edges_class = EdgesInTurn
