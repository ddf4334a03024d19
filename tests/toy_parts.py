"""A space, a benchmark, a model and a searcher of one's own, each as small as the interfaces allow."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from latentnas.graphs import DagBatch
from latentnas.interfaces import GraphVAE
from latentnas.models.base import kl_divergence, reparameterize


class ToySpace:
    """Three operations in a row, each a convolution (c) or a pooling (p), and three skips from the input: `cpc 101`."""

    name = "toy"
    num_vertices, num_types = 5, 4
    type_names = ("input", "output", "conv3x3", "maxpool3x3")
    input_type, output_type = 0, 1

    def from_choices(self, choices):
        choices = torch.as_tensor(choices)
        types = torch.zeros(len(choices), 5, dtype=torch.int64)
        types[:, 1:4], types[:, 4] = 2 + choices[:, :3], self.output_type
        adjacency = torch.eye(5, dtype=torch.bool).roll(1, dims=1).triu().repeat(len(choices), 1, 1)
        adjacency[:, 0, 2:] = choices[:, 3:].bool()
        return DagBatch(types, adjacency, torch.full((len(choices),), 5))

    def choices(self, batch):
        return torch.cat([batch.types[:, 1:4] - 2, batch.adjacency[:, 0, 2:5].long()], dim=1).cpu().numpy()

    def to_batch(self, texts):
        wrong = [text for text in texts if len(text) != 7 or set(text[:3]) - {*"cp"} or set(text[4:]) - {*"01"}]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no toy architecture; write it like 'cpc 101'.")
        return self.from_choices([[*map("cp".index, text[:3]), *map(int, text[4:])] for text in texts])

    def to_strings(self, batch):
        if not self.contains(batch).all():
            raise ValueError("A graph is no toy architecture.")
        return ["".join("cp"[c] for c in row[:3]) + " " + "".join(map(str, row[3:])) for row in self.choices(batch)]

    def is_valid(self, batch):
        return self.contains(batch)

    def contains(self, batch):
        wide = batch.pad_to(max(5, batch.max_vertices))
        again = self.from_choices(self.choices(wide)).pad_to(wide.max_vertices).to(wide.types.device)
        same = (again.types == wide.types).all(1) & (again.adjacency == wide.adjacency).flatten(1).all(1)
        return same & (wide.types[:, 1:4] >= 2).all(1) & (wide.num_vertices == 5)

    def sample(self, n, seed):
        return self.from_choices(np.random.default_rng(seed).integers(0, 2, (n, 6)))

    def neighbors(self, batch):
        return [self.from_choices(row ^ np.eye(6, dtype=np.int64)) for row in self.choices(batch)]

    def flops(self, batch):
        return 1000 * self.params(batch)

    def params(self, batch):
        return 9 * (batch.types == 2).sum(dim=1)


class ToyBenchmark:
    """Convolutions help, the first skip helps, the others do harm."""

    space = ToySpace()
    signals = ("accuracy",)

    def query(self, batch):
        known = self.space.contains(batch).numpy()
        accuracy = np.full(len(batch), np.nan)
        accuracy[known] = 80 + self.space.choices(batch[known]) @ np.array([-4.0, -3.0, -2.0, 5.0, -1.0, -2.0])
        return pd.DataFrame({"known": known, "accuracy": accuracy})


@dataclass(frozen=True)
class ToyConfig:
    num_vertices: int = 5
    num_types: int = 4
    latent: int = 4
    hidden: int = 32


class ToyVAE(GraphVAE):
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


class ToySearch:
    """Hill climbing: a random neighbour of the best so far, or an architecture from anywhere where all are known."""

    def __init__(self, domain, seed):
        self.domain, self.seed, self.known = domain, seed, {}
        self.random = np.random.default_rng(seed)

    def ask(self, n):
        best = max(self.known, key=self.known.get, default=None)
        near = [] if best is None else [row for row in self.domain.neighbors(best).tolist() if row not in self.known]
        return self.random.permutation(near)[:n] if near else self.domain.fresh(self.random, n, self.known)

    def tell(self, rows, values):
        self.known |= dict(zip(rows.tolist(), values.tolist()))
