"""How good a graph autoencoder is: reconstruction, validity, uniqueness, novelty, smoothness.

Every generative number comes twice. *As published* follows D-VAE's protocol, which NGAE and SVGe share (Zhang et al.,
2019, https://arxiv.org/abs/1904.11088): position by position equality, 10 x 10 decodes of each test graph, 1,000 latent
points x 10 decodes. *Clean* decodes each latent point once, every decision the most likely one, and compares graphs by
canonical hash. All shares are in percent. Letters: B graphs, D latent.
"""

import warnings
from collections import Counter

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from latentnas.graphs import DagBatch, canonical_hash, edit_distance, equal
from latentnas.interfaces import GraphVAE, Space
from latentnas.stats import spearman

ENCODE_BATCH = 2048  # graphs encoded at a time
PUBLISHED_TRIALS = 100  # 10 encodings x 10 decodings; the encodings are the same (mu) in evaluation mode
PUBLISHED_POINTS, PUBLISHED_DECODES = 1000, 10
MOST_FOR_KERNEL = 300  # labels that the parameters of a probe's kernel are fitted to; the time grows with their cube


@torch.no_grad()
def encode_all(model: GraphVAE, batch: DagBatch) -> Tensor:
    """mu of every graph in evaluation mode, fp32 `[B, D]` on the model's device."""
    model.eval()
    device = next(model.parameters()).device
    starts = range(0, len(batch), ENCODE_BATCH)
    return torch.cat([model.encode(batch[i : i + ENCODE_BATCH].to(device))[0] for i in starts])


def reconstruction(model: GraphVAE, batch: DagBatch, trials: int = PUBLISHED_TRIALS, seed: int = 0) -> dict[str, float]:
    """Share of decodes that give the encoded graph back, in percent. `published`: of `trials` random decodes of mu,
    those equal position by position (D-VAE section 4.1). `clean`: of the most likely ones, those isomorphic to it."""
    mu = encode_all(model, batch)
    batch = batch.to(mu.device)
    decoded, source, count = model.sample_decodes(mu, trials, torch.Generator(mu.device).manual_seed(seed))
    hits = count[equal(decoded, batch[source])].sum()
    same = canonical_hash(model.decode(mu)) == canonical_hash(batch)
    return {"published": 100 * float(hits) / (trials * len(batch)), "clean": 100 * float(same.double().mean())}


def prior_points(mu: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` points of the prior, moved to the mean and spread of the training mu, `[count, D]` (D-VAE). ValueError
    for less than two mu, which have no spread."""
    if len(mu) < 2:
        raise ValueError(f"The spread of codes is that of two or more, but there are {len(mu)}. Encode more graphs.")
    noise = torch.randn(count, mu.shape[1], generator=generator, device=mu.device)
    return noise * mu.std(dim=0) + mu.mean(dim=0)


def prior_quality(
    model: GraphVAE, space: Space, train: DagBatch, points: int = PUBLISHED_POINTS, seed: int = 0
) -> dict[str, float]:
    """Validity, uniqueness and novelty of graphs decoded from the prior, in percent.

    *Published*: `points` latent points x 10 random decodes; uniqueness and novelty are shares of the valid graphs, so
    equal decodes of a point lower uniqueness. *Clean*: 10 x `points` latent points, each decoded once, greedily.
    """
    mu = encode_all(model, train)
    generator = torch.Generator(mu.device).manual_seed(seed)
    z = prior_points(mu, points, generator)
    decoded, _, count = model.sample_decodes(z, PUBLISHED_DECODES, generator)
    once = model.decode(prior_points(mu, points * PUBLISHED_DECODES, generator))
    shares = {}
    for protocol, graphs, counts, identity in (
        ("published", decoded.to("cpu"), count.cpu(), DagBatch.keys),
        ("clean", once.to("cpu"), torch.ones(len(once)), lambda graphs: canonical_hash(graphs).tolist()),
    ):
        valid = space.is_valid(graphs)
        keys, known, total = identity(graphs[valid]), set(identity(train)), float(counts[valid].sum())
        new = sum(number for number, key in zip(counts[valid].tolist(), keys, strict=True) if key not in known)
        shares[f"validity_{protocol}"] = 100 * total / float(counts.sum())
        shares[f"uniqueness_{protocol}"] = 100 * len(set(keys)) / max(total, 1)
        shares[f"novelty_{protocol}"] = 100 * new / max(total, 1)
    return shares


def latent_lines(mu: Tensor, lines: int, steps: int, seed: int = 0) -> Tensor:
    """Straight lines `[lines, steps + 1, D]` between random pairs of the codes `mu [B, D]`."""
    start, end = _pairs(len(mu), lines, seed)
    share = torch.linspace(0, 1, steps + 1, dtype=mu.dtype, device=mu.device)[:, None]
    return torch.lerp(mu[start.to(mu.device), None], mu[end.to(mu.device), None], share)


@torch.no_grad()
def smoothness(model: GraphVAE, space: Space, z: Tensor) -> pd.DataFrame:
    """What is decoded, greedily, along lines `z [lines, points, D]`, one row a line.

    `validity`: share of its points that give a valid graph, in percent. `graphs`: how many different ones.
    `between_ends`: edit distance of the graphs at both ends. `on_the_way`: the sum of those from point to point, equal
    to `between_ends` where only changes are made that the end needs. `largest`: the largest of them.
    """
    model.eval()
    lines, points = z.shape[:2]
    decoded = model.decode(z.flatten(0, 1)).to("cpu")
    place = torch.arange(lines * points).view(lines, points)
    valid = torch.as_tensor(space.is_valid(decoded)).view(lines, points)
    hashes = canonical_hash(decoded).view(lines, points)
    before, after = decoded[place[:, :-1].flatten()], decoded[place[:, 1:].flatten()]
    step = edit_distance(before, after).view(lines, points - 1)
    columns = {
        "validity": 100 * valid.double().mean(dim=1),
        "graphs": torch.tensor([len(row.unique()) for row in hashes]),
        "between_ends": edit_distance(decoded[place[:, 0]], decoded[place[:, -1]]),
        "on_the_way": step.sum(dim=1),
        "largest": step.amax(dim=1),
    }
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


def distance_correlation(mu: Tensor, batch: DagBatch, pairs: int = 5000, seed: int = 0) -> float:
    """Rank correlation, over random pairs, of the distance of codes `mu [B, D]` and that of their graphs."""
    first, second = _pairs(len(batch), pairs, seed)
    apart = (mu[first.to(mu.device)] - mu[second.to(mu.device)]).norm(dim=1)
    return spearman(apart.cpu(), edit_distance(batch[first], batch[second]))


def _pairs(size: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """So many random pairs of different places below `size`, both `[count]`. ValueError for less than two places."""
    if size < 2:
        raise ValueError(f"A pair is of two different graphs, but there are {size}. Give more graphs.")
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(size, (count,), generator=generator)
    return first, (first + torch.randint(1, size, (count,), generator=generator)) % size


@torch.no_grad()
def loss_terms(model: GraphVAE, batch: DagBatch, labels: dict[str, Tensor], seed: int = 0) -> dict[str, float]:
    """The terms of the loss in evaluation mode, averaged over graphs with their `labels` `[B]`. `ENCODE_BATCH` of them
    come at once, and on their number arch2vec's total depends: its KL term weighs 1 / graphs in the batch. So its
    held-out loss is lower than with the weight of training, in notebook 12 by about 0.03."""
    model.eval()
    device, sums = next(model.parameters()).device, Counter()
    for rows in torch.arange(len(batch)).split(ENCODE_BATCH):
        own = {name: values[rows].float().to(device) for name, values in labels.items()}
        terms = model.loss(batch[rows].to(device), torch.Generator(device).manual_seed(seed), **own)
        sums.update({name: len(rows) * float(value) for name, value in terms.items()})
    return {name: value / len(batch) for name, value in sums.items()}


@torch.no_grad()
def predicted_accuracy(model: GraphVAE, batch: DagBatch) -> np.ndarray:
    """The performance predictor's accuracy of every graph, in the unit of its labels, float64 `[B]`."""
    mu = encode_all(model, batch)
    return model.performance.unstandardise(model.performance(mu)).double().cpu().numpy()


class GPProbe:
    """How much codes `[B, D]` say about labels `[B]`: Gaussian process regression on the codes, in the labels' unit,
    with a linear plus a squared exponential kernel of one length scale, fitted to the first 300 labels at most."""

    def __init__(self, points: Tensor, labels: np.ndarray) -> None:
        from sklearn.exceptions import ConvergenceWarning  # slow to import, and few need it
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

        points = points.double().cpu()
        self._centre = points.mean(dim=0)
        self._scale = float((points - self._centre).square().sum(dim=1).mean().sqrt()) or 1.0
        self._mean, self._unit = labels.mean(), labels.std() or 1.0
        x, y = self._inputs(points), (labels - self._mean) / self._unit
        kernel = ConstantKernel(1.0) * DotProduct(1.0) + ConstantKernel(1.0) * RBF(1.0) + WhiteKernel(0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a part that these labels do not need
            fitted = GaussianProcessRegressor(kernel).fit(x[:MOST_FOR_KERNEL], y[:MOST_FOR_KERNEL]).kernel_
        self._process = GaussianProcessRegressor(fitted, optimizer=None).fit(x, y)

    def __call__(self, points: Tensor) -> np.ndarray:
        """Predicted labels, float64 `[B]`."""
        return self._mean + self._unit * self._process.predict(self._inputs(points))

    def _inputs(self, points: Tensor) -> np.ndarray:
        return ((points.double().cpu() - self._centre) / self._scale).numpy()
