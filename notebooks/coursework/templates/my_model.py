"""A graph variational autoencoder, as small as the contract allows: a template to change step by step.

Run this file: `check_model` of `latentnas.interfaces` says what it still lacks.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from my_space import MySpace
from torch import nn

from latentnas.graphs import DagBatch
from latentnas.interfaces import GraphVAE, check_model
from latentnas.models.base import kl_divergence, reparameterize


@dataclass(frozen=True)
class MyConfig:
    num_vertices: int = 5
    num_types: int = 4
    latent: int = 4
    hidden: int = 32


class MyModel(GraphVAE):
    """All types and edges at once, from one layer."""

    def __init__(self, config):
        super().__init__()
        self.config, (n, t) = config, (config.num_vertices, config.num_types)
        self.encoder = nn.Sequential(nn.Linear(n * (t + n), config.hidden), nn.ReLU())
        self.code = nn.Linear(config.hidden, 2 * config.latent)
        self.decoder = nn.Sequential(
            nn.Linear(config.latent, config.hidden), nn.ReLU(), nn.Linear(config.hidden, n * (t + n))
        )

    def encode(self, batch):
        batch = batch.pad_to(self.config.num_vertices)
        seen = torch.cat([batch.one_hot(self.config.num_types), batch.adjacency], dim=2).flatten(1).float()
        mu, logvar = self.code(self.encoder(seen)).chunk(2, dim=1)
        return mu, logvar

    def logits(self, z):
        both = self.decoder(z).view(len(z), self.config.num_vertices, -1)
        return both[..., : self.config.num_types], both[..., self.config.num_types :]

    def loss(self, batch, generator=None):
        batch = batch.pad_to(self.config.num_vertices)
        mu, logvar = self.encode(batch)
        types, edges = self.logits(reparameterize(mu, logvar, 1.0, generator))
        rows = len(batch)
        type_loss = F.cross_entropy(types.flatten(0, 1), batch.types.flatten(), reduction="sum") / rows
        edge_loss = F.binary_cross_entropy_with_logits(edges, batch.adjacency.float(), reduction="sum") / rows
        kl = kl_divergence(mu, logvar).mean()
        return {"total": type_loss + edge_loss + 0.01 * kl, "types": type_loss, "edges": edge_loss, "kl": kl}

    def graphs(self, types, edges):
        return DagBatch(types, edges.triu(1), torch.full((len(types),), self.config.num_vertices, device=types.device))

    @torch.no_grad()
    def decode(self, z):
        types, edges = self.logits(z)
        return self.graphs(types.argmax(dim=2), edges > 0)

    @torch.no_grad()
    def sample_decodes(self, z, trials, generator):
        source = torch.arange(len(z), device=z.device).repeat_interleave(trials)
        types, edges = self.logits(z[source])
        drawn = torch.multinomial(types.softmax(2).flatten(0, 1), 1, generator=generator).view(types.shape[:2])
        graphs = self.graphs(drawn, torch.rand(edges.shape, generator=generator, device=z.device) < edges.sigmoid())
        keys = list(zip(source.tolist(), graphs.keys()))
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        kept = sorted(first.values())
        count = torch.tensor([keys.count(keys[place]) for place in kept], device=z.device)
        return graphs[kept], source[kept], count


if __name__ == "__main__":
    check_model(MyModel(MyConfig()), MySpace().sample(20, seed=0))
    print("The model keeps its contract.")
