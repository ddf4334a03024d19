"""A graph convolutional encoder in front of D-VAE's decoder: what the asynchronous encoder is worth.

The GCN baseline of D-VAE (Zhang et al., 2019): a few levels of graph convolution (Kipf and Welling, 2017)
along the edges, all vertices at once, and the sum over the vertices. A state has seen no further back than so
many edges. Decoder, loss and predictors are NGAE's. Letters: B graphs, N vertices, T node types, H hidden, D
latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.models.dagnn import GatedMessage
from latentnas.models.ngae import NGAE, NGAEConfig


@dataclass(frozen=True)
class GCNConfig(NGAEConfig):
    """Sizes and weights of the GCN baseline; the defaults are D-VAE's on the ENAS space."""

    predictors: str = "none"  # as D-VAE; the others of NGAE work too
    levels: int = 3  # graph convolutions

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels < 1:
            raise ValueError(f"levels={self.levels} must be at least 1.")


class GCNEncoder(nn.Module):
    """mu and logvar ``[B, D]`` from the sum of the vertices' states, with at each level

    ``h_v <- ReLU(W sum over u of h_u / sqrt(d_u d_v) + b)``, u: v and its predecessors, d: in-degree + 1.
    """

    def __init__(self, config: GCNConfig) -> None:
        super().__init__()
        self.num_types = config.num_types
        widths = [config.num_types] + [config.hidden] * config.levels
        self.levels = nn.ModuleList(GCNConv(inputs, config.hidden) for inputs in widths[:-1])
        self.mu = nn.Linear(config.hidden, config.latent)
        self.logvar = nn.Linear(config.hidden, config.latent)

    def forward(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        graphs, vertices = batch.types.shape
        present = batch.types != NO_VERTEX
        one_hot = F.one_hot(batch.types + 1, self.num_types + 1)[..., 1:]
        graph, u, v = batch.adjacency.nonzero(as_tuple=True)
        edges = torch.stack([vertices * graph + u, vertices * graph + v])
        states = one_hot.flatten(0, 1).to(self.mu.weight.dtype)  # [B * N, T]; absent vertices have no edges
        for level in self.levels:
            states = level(states, edges).relu()
        total = (states.view(graphs, vertices, states.shape[1]) * present[..., None]).sum(dim=1)
        return self.mu(total), self.logvar(total)


class GCN(NGAE):
    """The variational graph autoencoder; see the module's docstring. Its decoder has a message of its own."""

    def make_encoder(self) -> tuple[nn.Module, GatedMessage]:
        return GCNEncoder(self.config), GatedMessage(self.config.hidden, self.config.num_vertices)
