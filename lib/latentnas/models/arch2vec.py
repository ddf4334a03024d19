"""arch2vec: a variational graph isomorphism autoencoder (Yan et al., NeurIPS 2020, https://arxiv.org/abs/2006.06936).

Encoder: GIN layers on the undirected graph, and a mean and a log-deviation for every vertex.
Decoder: types from each vertex's code, edges from the inner products of two codes.

    loss = BCE(one-hot types) + BCE(adjacency) + beta * KL / (B N),   all three averaged, KL over the vertices

As in the authors' code, KL counts for less with more graphs in a batch. `mu`, `logvar` and `z` hold the codes
of a graph's vertices side by side, `[B, N * C]`. The authors search on their mean over the vertices, C numbers, which
says less: in a short trial on digits-enas ridge regression had an error of 0.82 standard deviations, side by side 0.74.
Every graph is padded to N, and absent vertices are part of what the model learns. Vertices of one type with the same
neighbours have the same code, so they are always decoded as joined.
Letters: B graphs, N vertices, T node types, H hidden, C size of a vertex's code, D = N C latent.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.interfaces import Decodes
from latentnas.models.base import BaseVAE, full_precision, require_nonempty, require_points, sample_posterior
from latentnas.settings import check_settings


@dataclass(frozen=True)
class Arch2VecConfig:
    """Sizes and weights of arch2vec; the defaults are the authors', with the cells of NAS-Bench-201."""

    num_types: int = 7  # T, input and output included
    num_vertices: int = 8  # N, the largest graph
    output_type: int = 1  # the first vertex of this type ends a decoded graph
    hidden: int = 128  # H
    code: int = 16  # C, of each vertex
    layers: int = 4  # GIN layers
    dropout: float = 0.3  # on the codes, before the decoder
    beta: float = 1.0  # weight of the KL term
    noise_scale: float = 1.0  # factor on the sampling noise in training

    def __post_init__(self) -> None:
        check_settings(self, least={"output_type": 0}, shares=("dropout",))

    @property
    def latent(self) -> int:
        return self.num_vertices * self.code


class GINLayer(nn.Module):
    """`h_v <- ReLU(BatchNorm(MLP((1 + eps) h_v + sum over neighbours u of h_u)))`, eps is learnt (Xu et al., 2019,
    https://arxiv.org/abs/1810.00826)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(()))
        self.layers = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs))
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, states: Tensor, neighbours: Tensor) -> Tensor:
        """States `[B, N, H]` from states and the undirected edges `[B, N, N]`, both floating."""
        arrived = torch.bmm(neighbours.to(states.dtype), states)
        mixed = self.layers(((1 + self.eps) * states + arrived).flatten(0, 1))
        return self.norm(full_precision(mixed)).relu().view(*states.shape[:2], mixed.shape[1])


class Arch2Vec(BaseVAE):
    """The variational autoencoder; the loss is the module's. In training, batch normalisation sees the whole batch."""

    def __init__(self, config: Arch2VecConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.num_types] + [config.hidden] * config.layers
        self.gin = nn.ModuleList(GINLayer(inputs, config.hidden) for inputs in widths[:-1])
        self.mu = nn.Linear(config.hidden, config.code)
        self.log_deviation = nn.Linear(config.hidden, config.code)
        self.types = nn.Linear(config.code, config.num_types)

    def encode(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        return self._encode(*self._inputs(batch))

    def _encode(self, states: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.gin:
            states = layer(states, neighbours)
        return self.mu(states).flatten(1), 2 * self.log_deviation(states).flatten(1)

    @torch.no_grad()
    def decode(self, z: Tensor) -> DagBatch:
        """The most likely type of every vertex up to the first output, or of all N; edges above 0.5."""
        require_points(z, self.config.latent)
        types, edges = self._logits(z)
        types = types.argmax(dim=2)
        position = torch.arange(self.config.num_vertices, device=z.device)
        last = torch.where(types == self.config.output_type, position, self.config.num_vertices - 1).amin(dim=1)
        present = position <= last[:, None]
        adjacency = (edges > 0).triu(1) & present[:, :, None] & present[:, None, :]
        return DagBatch(types.where(present, NO_VERTEX), adjacency, last + 1)

    def sample_decodes(self, z: Tensor, trials: int, generator: torch.Generator) -> Decodes:
        """All decodes of a z are the same, as this decoder draws nothing."""
        trials = require_points(z, self.config.latent, trials)
        rows = torch.arange(len(z), device=z.device)
        return self.decode(z), rows, torch.full_like(rows, trials)

    def loss(self, batch: DagBatch, generator: torch.Generator | None = None, **labels: Tensor) -> dict[str, Tensor]:
        """The terms are means over all B N T types, B N N edges and B N vertices (nats). In the total, KL is divided by
        N and by B again, so a held-out loss depends on how many graphs come at once."""
        require_nonempty(batch)
        config, (one_hot, neighbours) = self.config, self._inputs(batch)
        _, z, kl = sample_posterior(self._encode(one_hot, neighbours), config.noise_scale, generator)
        types, edges = (full_precision(logits) for logits in self._logits(z))
        types = F.binary_cross_entropy_with_logits(types, one_hot.to(types.dtype))
        edges = F.binary_cross_entropy_with_logits(edges, neighbours.to(edges.dtype))
        kl = kl / config.num_vertices
        total = types + edges + config.beta * (kl / (config.num_vertices * len(batch)))
        return {"total": total, "vertices": types, "edges": edges, "kl": kl}

    def _inputs(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        """One-hot types `[B, N, T]`, zeros for absent vertices, and the undirected edges `[B, N, N]`."""
        batch, dtype = self._validated(batch), self.mu.weight.dtype
        neighbours = batch.adjacency | batch.adjacency.transpose(1, 2)
        return batch.one_hot(self.config.num_types).to(dtype), neighbours.to(dtype)

    def _logits(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Of types `[B, N, T]` and edges `[B, N, N]`."""
        codes = F.dropout(z.unflatten(1, (self.config.num_vertices, -1)), self.config.dropout, self.training)
        return self.types(codes), torch.bmm(codes, codes.transpose(1, 2))
