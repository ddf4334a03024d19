"""A graph convolutional encoder in front of D-VAE's decoder: what the asynchronous encoder is worth.

The GCN baseline of D-VAE (Zhang et al., 2019, https://arxiv.org/abs/1904.11088): a few levels of graph convolution
(Kipf and Welling, 2017, https://arxiv.org/abs/1609.02907) along the edges, all vertices at once, and a sum over the
vertices. Decoder, loss and predictors are NGAE's.

    h_v <- ReLU(W (h_v / a_v + sum over u -> v of h_u / sqrt(b_u a_v)) + b),    a: in-degree + 1

By default b_u is the in-degree of u + 1, as in a graph convolution of PyG, and all vertices are summed. In D-VAE's
code, `released=True`, b_u is the out-degree of u + 1, the number of vertices that h_u is passed on to, and neither the
input nor the output vertex is summed. Letters: B graphs, N vertices, T node types, H hidden, D latent.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from latentnas.graphs import DagBatch
from latentnas.models.base import require
from latentnas.models.dagnn import GatedMessage
from latentnas.models.ngae import NGAE, NGAEConfig


@dataclass(frozen=True)
class GCNConfig(NGAEConfig):
    """Sizes and weights of the GCN baseline; the defaults are D-VAE's on the ENAS space."""

    predictors: str = "none"  # as D-VAE; the others of NGAE work too
    levels: int = 3  # graph convolutions
    released: bool = False  # True: degrees and sum of D-VAE's code, see the module's docstring

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, ("levels",))


class GCNEncoder(nn.Module):
    """mu and logvar `[B, D]` from the sum of the vertices' states."""

    def __init__(self, config: GCNConfig) -> None:
        super().__init__()
        self.num_types, self.released = config.num_types, config.released
        widths = [config.num_types] + [config.hidden] * config.levels
        self.levels = nn.ModuleList(GCNConv(inputs, config.hidden, normalize=False) for inputs in widths[:-1])
        self.mu = nn.Linear(config.hidden, config.latent)
        self.logvar = nn.Linear(config.hidden, config.latent)

    def forward(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        graphs, vertices = batch.types.shape
        graph, u, v = batch.adjacency.nonzero(as_tuple=True)
        loops = torch.arange(graphs * vertices, device=graph.device)
        source, target = (torch.cat([vertices * graph + end, loops]) for end in (u, v))
        states = batch.one_hot(self.num_types).flatten(0, 1).to(self.mu.weight.dtype)  # [B * N, T]
        degrees = ((batch.adjacency.sum(dim) + 1).flatten().to(states.dtype) for dim in (1, 2))
        by_indegree, by_outdegree = (degree**-0.5 for degree in degrees)
        summed, weight = batch.present, by_indegree[source]
        if self.released:
            position = torch.arange(vertices, device=graph.device)
            summed = (position > 0) & (position < batch.num_vertices[:, None] - 1)
            weight = torch.cat([by_outdegree[source[: len(graph)]], by_indegree])  # but not of the vertex itself
        weight = weight * by_indegree[target]
        for level in self.levels:
            states = level(states, torch.stack([source, target]), weight).relu()
        total = (states.view(graphs, vertices, states.shape[1]) * summed[..., None]).sum(dim=1)
        return self.mu(total), self.logvar(total)


class GCN(NGAE):
    """The variational graph autoencoder with `GCNEncoder`. Its decoder has a message of its own."""

    def make_encoder(self) -> tuple[nn.Module, GatedMessage]:
        return GCNEncoder(self.config), GatedMessage(self.config)
