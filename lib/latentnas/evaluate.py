"""How good a graph autoencoder is: reconstruction, validity, uniqueness, novelty.

Every generative number comes twice. *As published* follows D-VAE's protocol, which NGAE and SVGe share:
position by position equality, 10 x 10 decodes of each test graph, 1,000 latent points x 10 decodes. *Clean*
decodes each latent point once, every decision the most likely one, and compares graphs by canonical hash.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentnas.graphs import DagBatch, canonical_hash, equal

GRAPHS_AT_ONCE = 2048
PUBLISHED_TRIALS = 100  # 10 encodings x 10 decodings; the encodings are the same (mu) in evaluation mode
PUBLISHED_POINTS, PUBLISHED_DECODES = 1000, 10


@torch.no_grad()
def encode_all(model, batch: DagBatch) -> Tensor:
    """mu of every graph in evaluation mode, fp32 ``[B, D]`` on the model's device."""
    model.eval()
    device = next(model.parameters()).device
    starts = range(0, len(batch), GRAPHS_AT_ONCE)
    return torch.cat([model.encode(batch[i : i + GRAPHS_AT_ONCE].to(device))[0] for i in starts])


def reconstruction(model, batch: DagBatch, trials: int = PUBLISHED_TRIALS, seed: int = 0) -> dict[str, float]:
    """Share of decodes that give the encoded graph back, in percent.

    ``published``: of ``trials`` random decodes of mu, those equal position by position (D-VAE section 4.1).
    ``clean``: of the most likely decodes of mu, those isomorphic to the graph.
    """
    mu = encode_all(model, batch)
    batch = batch.to(mu.device)
    decoded, source, count = model.sample_decodes(mu, trials, torch.Generator(mu.device).manual_seed(seed))
    hits = count[equal(decoded, batch[source])].sum()
    same = canonical_hash(model.decode(mu)) == canonical_hash(batch)
    return {
        "published": 100 * float(hits) / (trials * len(batch)),
        "clean": 100 * float(same.double().mean()),
    }


def prior_points(mu: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` points of the prior, moved to the mean and spread of the training mu, ``[count, D]`` (D-VAE)."""
    noise = torch.randn(count, mu.shape[1], generator=generator, device=mu.device)
    return noise * mu.std(dim=0) + mu.mean(dim=0)


def prior(model, space, train: DagBatch, points: int = PUBLISHED_POINTS, seed: int = 0) -> dict[str, float]:
    """Validity, uniqueness and novelty of graphs decoded from the prior, in percent.

    *Published*: ``points`` latent points x 10 random decodes; uniqueness and novelty are shares of the valid
    graphs, so nine further decodes of a point that all agree lower uniqueness to 10 %. *Clean*: 10 x
    ``points`` latent points, each decoded once, greedily.
    """
    mu = encode_all(model, train)
    generator = torch.Generator(mu.device).manual_seed(seed)
    z = prior_points(mu, points, generator)
    decoded, _, count = model.sample_decodes(z, PUBLISHED_DECODES, generator)
    published = _shares(decoded.to("cpu"), count.cpu(), space, train, DagBatch.keys)
    once = model.decode(prior_points(mu, points * PUBLISHED_DECODES, generator)).to("cpu")
    clean = _shares(once, torch.ones(len(once)), space, train, lambda graphs: canonical_hash(graphs).tolist())
    return {f"{name}_published": value for name, value in published.items()} | {
        f"{name}_clean": value for name, value in clean.items()
    }


def _shares(graphs: DagBatch, count: Tensor, space, train: DagBatch, identity) -> dict[str, float]:
    valid = space.is_valid(graphs)
    counts, keys, known = count[valid].tolist(), identity(graphs[valid]), set(identity(train))
    total = sum(counts)
    new = sum(number for number, key in zip(counts, keys) if key not in known)
    return {
        "validity": 100 * total / float(count.sum()),
        "uniqueness": 100 * len(set(keys)) / max(total, 1),
        "novelty": 100 * new / max(total, 1),
    }


@torch.no_grad()
def predicted_accuracy(model, batch: DagBatch) -> np.ndarray:
    """The performance predictor's accuracy of every graph, in the unit of its labels, float64 ``[B]``."""
    mu = encode_all(model, batch)
    return model.performance.unstandardise(model.performance(mu)).double().cpu().numpy()
