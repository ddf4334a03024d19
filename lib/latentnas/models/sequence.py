"""S-VAE: a graph read and written as a sequence, one row a vertex: its type and the edges into it.

The baseline of D-VAE (Zhang et al., 2019) that knows no graph structure: one GRU reads the rows, another writes
them from z. All edges of a row are decided at once, given its type.

    loss = types + edges + beta * KL

Letters: B graphs, M branches, N vertices, T node types, H hidden, D latent, F = T + N - 1 numbers in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.models.generate import BRANCHES_AT_ONCE, POINTS_AT_ONCE, _split_over_types
from latentnas.models.svge_decode import _split_over_edges
from latentnas.models.variational import fitted, full_precision, kl_divergence, reparameterize, require_some


@dataclass(frozen=True)
class SVAEConfig:
    """Sizes and weights of S-VAE; the defaults are D-VAE's, on the ENAS space."""

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


class SVAE(nn.Module):
    """The variational autoencoder; see the module's docstring.

    Shapes: B graphs of up to N vertices; ``mu``, ``logvar`` and ``z`` are ``[B, D]``.
    """

    def __init__(self, config: SVAEConfig) -> None:
        super().__init__()
        self.config = config
        row, hidden = config.num_types + config.num_vertices - 1, config.hidden
        self.reader = nn.GRU(row, hidden, batch_first=True)
        self.mu = nn.Linear(hidden, config.latent)
        self.logvar = nn.Linear(hidden, config.latent)
        self.initial = nn.Linear(config.latent, hidden)
        self.writer = nn.GRU(row, hidden, batch_first=True)
        self.type_head = nn.Sequential(
            nn.Linear(hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, config.num_types)
        )
        self.edge_head = nn.Sequential(
            nn.Linear(hidden + config.num_types, 2 * hidden),
            nn.ReLU(),
            nn.Linear(2 * hidden, config.num_vertices - 1),
        )

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

    @torch.no_grad()
    def decode(self, z: Tensor) -> DagBatch:
        """The graph of each z, every decision the most likely one.

        A graph that has N vertices and no output among them ends there; it is in no space, so counted invalid.
        """
        return self._decoded(z, 1, None)[0]

    @torch.no_grad()
    def sample_decodes(
        self, z: Tensor, trials: int, generator: torch.Generator
    ) -> tuple[DagBatch, Tensor, Tensor]:
        """``trials`` independent random decodes of every z, equal ones counted together.

        Returns:
            The distinct graphs of each z, in the order of z; the row of z each came from; how often it came.
        """
        return self._decoded(z, trials, generator)

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
        edges = full_precision(
            self.edge_head(torch.cat([states, rows[:, 1:, : self.config.num_types]], dim=2))
        )
        wanted = batch.adjacency[:, :-1, 1:].transpose(1, 2).to(edges.dtype)  # [B, v - 1, u]
        edges = F.binary_cross_entropy_with_logits(edges, wanted, reduction="none")
        decided = torch.ones_like(wanted[0]).tril() * (targets != NO_VERTEX)[:, :, None]
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

    def _decoded(
        self, z: Tensor, trials: int, generator: torch.Generator | None
    ) -> tuple[DagBatch, Tensor, Tensor]:
        together = min(POINTS_AT_ONCE, max(1, BRANCHES_AT_ONCE // trials))
        parts = [self._decoded_part(rows, trials, generator) for rows in z.split(together)]
        return (
            DagBatch.cat(graphs for graphs, _, _ in parts),
            torch.cat([source + part * together for part, (_, source, _) in enumerate(parts)]),
            torch.cat([count for _, _, count in parts]),
        )

    def _decoded_part(self, z, trials, generator) -> tuple[DagBatch, Tensor, Tensor]:
        """Branches as in :mod:`latentnas.models.generate`; those that end leave the loop."""
        config, device = self.config, z.device
        source, count = (
            torch.arange(len(z), device=device),
            torch.full((len(z),), float(trials), device=device),
        )
        types = torch.full((len(z), config.num_vertices), NO_VERTEX, device=device)
        types[:, 0] = config.input_type
        adjacency = torch.zeros(
            len(z), config.num_vertices, config.num_vertices, dtype=torch.bool, device=device
        )
        state = self.initial(z).tanh()
        finished = []
        for v in range(1, config.num_vertices):
            if len(state):  # the GRU refuses a batch of none
                row = self._rows(types, adjacency)[:, v - 1 : v]
                state = self.writer(row, state[None].contiguous())[1][0]
            counts = _split_over_types(count, self.type_head(state).softmax(dim=1), generator)
            branch, chosen = counts.nonzero(as_tuple=True)
            one_hot = F.one_hot(chosen, config.num_types).to(state.dtype)
            probability = self.edge_head(torch.cat([state[branch], one_hot], dim=1))[:, :v].sigmoid()
            part, edges, count = _split_over_edges(counts[branch, chosen], probability, generator)
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
