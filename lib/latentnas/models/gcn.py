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

from latentnas.graphs import DagBatch
from latentnas.models.dagnn import GatedMessage
from latentnas.models.ngae import NGAE, NGAEConfig


@dataclass(frozen=True)
class GCNConfig(NGAEConfig):
    """Sizes and weights of the GCN baseline; the defaults are D-VAE's on the ENAS space."""

    predictors: str = "none"  # as D-VAE; the others of NGAE work too
    levels: int = 3  # graph convolutions
    released: bool = False  # True: degrees and sum of D-VAE's code, see the module's docstring


class GCNEncoder(nn.Module):
    """mu and logvar `[B, D]` from the sum of the vertices' states."""

    def __init__(self, config: GCNConfig) -> None:
        from torch_geometric.nn import GCNConv  # slow to import, and `family` imports this module for all its models

        super().__init__()
        self.num_types, self.released = config.num_types, config.released
        widths = [config.num_types] + [config.hidden] * config.levels
        self.levels = nn.ModuleList(GCNConv(inputs, config.hidden) for inputs in widths[:-1])
        self.mu = nn.Linear(config.hidden, config.latent)
        self.logvar = nn.Linear(config.hidden, config.latent)

    def forward(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        states = batch.one_hot(self.num_types).to(self.mu.weight.dtype)  # [B, N, T]
        edges = batch.adjacency.transpose(1, 2).to(states.dtype)  # [B, v, u]: u sends to v
        received = (edges.sum(dim=2, keepdim=True) + 1).rsqrt()  # [B, v, 1]
        sent = (edges.sum(dim=1, keepdim=True) + 1).rsqrt() if self.released else received.transpose(1, 2)
        weights = edges * sent * received + torch.diag_embed(received.squeeze(2).square())
        for level in self.levels:
            states = (torch.bmm(weights, level.lin(states)) + level.bias).relu()
        summed = batch.present
        if self.released:
            position = torch.arange(batch.max_vertices, device=edges.device)
            summed = (position > 0) & (position < batch.num_vertices[:, None] - 1)
        total = (states * summed[..., None]).sum(dim=1)
        return self.mu(total), self.logvar(total)


class GCN(NGAE):
    """The variational graph autoencoder with `GCNEncoder`. Its decoder has a message of its own."""

    def make_encoder(self) -> tuple[nn.Module, GatedMessage]:
        return GCNEncoder(self.config), GatedMessage(self.config)
