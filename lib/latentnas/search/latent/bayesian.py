"""Bayesian optimisation in the latent space, as D-VAE does it: sparse GP, expected improvement, batches.

Each round fits a sparse Gaussian process to all points so far and picks a batch greedily. A point is the best of
many candidates, uniform in the box around the training means, refined by L-BFGS inside the box. The next one is
chosen as if the GP's mean at the points already picked had been observed there ("kriging believer"): this leaves
the mean as it is, takes the variance around them away, and raises the value to beat. Each point is decoded many
times, and the most common valid graph is evaluated. (The authors' code takes the first valid one on Python 3, by
mistake.) Letters: n labelled points, D latent dimensions, C candidates, P points picked so far.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.generation import gen_candidates_scipy
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from torch import Tensor

from latentnas.graphs import DagBatch
from latentnas.models.gaussian_process import SparseGP, SparseGPConfig
from latentnas.models.ngae import NGAE
from latentnas.spaces.enas import EnasSpace

SHORTLIST = 20
SMALLEST = 1e-6  # variance, as a share of that of the labels, that counts as none
SECONDS_BETWEEN_LINES = 10.0

Objective = Callable[[DagBatch], Tensor]  # graphs -> values [B], more is better


@dataclass(frozen=True)
class BayesianConfig:
    """Sizes of the search; the defaults are D-VAE's."""

    rounds: int = 10
    batch: int = 50  # architectures evaluated in a round
    candidates: int = 10_000  # C, drawn anew in each round
    refinement: int = 150  # L-BFGS iterations for each point
    trials: int = 500  # decodes of each point
    gp: SparseGPConfig = field(default_factory=SparseGPConfig)

    def __post_init__(self) -> None:
        for name in ("rounds", "batch", "candidates", "trials"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.candidates < self.batch:
            raise ValueError(f"candidates={self.candidates} must be at least batch={self.batch}.")


def bayesian_optimisation(
    model: NGAE,
    space: EnasSpace,
    train_mu: Tensor,
    labels: Tensor,
    objective: Objective,
    config: BayesianConfig = BayesianConfig(),
    seed: int = 0,
) -> pd.DataFrame:
    """Search with expected improvement.

    Args:
        train_mu: latent means ``[n, D]`` of the *training* graphs. labels: their values ``[n]``.
        objective: evaluates a batch of graphs of ``space``; the only source of new labels.

    Returns:
        One row an evaluated point: ``round`` (from 1), ``arch`` (None where nothing valid decoded), ``value``
        (then the worst training label), ``incumbent`` (the best value that the search itself has found so far, NaN
        before the first) and ``decodable``.

    Raises:
        ValueError: shapes that do not fit, labels or objective values that are not finite.
        RuntimeError: no point of the first round decoded to a valid architecture.
    """

    def propose(z: Tensor, values: Tensor, box: Tensor, generator: torch.Generator) -> Tensor:
        round_seed = int(torch.randint(2**31, (), generator=generator))
        gp = SparseGP(config.gp).fit(z, values, seed=round_seed)
        return choose_batch(gp, float(values.max()), _uniform(box, config.candidates, generator), box, config)

    return _search(model, space, train_mu, labels, objective, config, seed, propose)


def random_in_box(
    model: NGAE,
    space: EnasSpace,
    train_mu: Tensor,
    labels: Tensor,
    objective: Objective,
    config: BayesianConfig = BayesianConfig(),
    seed: int = 0,
) -> pd.DataFrame:
    """D-VAE's baseline: points drawn uniformly in the box; all else as in :func:`bayesian_optimisation`."""

    def propose(z: Tensor, values: Tensor, box: Tensor, generator: torch.Generator) -> Tensor:
        return _uniform(box, config.batch, generator)

    return _search(model, space, train_mu, labels, objective, config, seed, propose)


def choose_batch(gp: SparseGP, best: float, candidates: Tensor, box: Tensor, config: BayesianConfig) -> Tensor:
    """The points ``[batch, D]`` of one round.

    Believing lowers expected improvement everywhere, so only the candidates that were best before the first pick
    are looked at again: ``SHORTLIST`` for each point.

    Args:
        best: value to beat. candidates: ``[C, D]``, float64. box: lowest and highest corner ``[2, D]``.
    """
    believer = _Believer(gp, best)
    candidates = candidates[_log_gain(believer, candidates).argsort(descending=True)[: SHORTLIST * config.batch]]
    for _ in range(config.batch):
        start = candidates[_log_gain(believer, candidates).argmax()].view(1, 1, -1)
        gain = LogExpectedImprovement(believer, believer.best)
        with warnings.catch_warnings(record=True):  # BoTorch tells of a flat end or spent iterations: no matter
            point, _ = gen_candidates_scipy(start, gain, box[0], box[1], options={"maxiter": config.refinement})
        believer.believe(point.detach().view(1, -1))
    return believer.picked


class _Believer(Model):
    """The GP after believing its mean at the points picked so far, as a model of BoTorch.

    With the picked points P and L L' = cov(P, P): variance(x) = cov(x, x) - |L^-1 cov(P, x)|^2.
    """

    num_outputs = 1

    def __init__(self, gp: SparseGP, best: float) -> None:
        super().__init__()
        self.gp, self.best = gp, best
        self.picked: Tensor | None = None  # [P, D]

    def posterior(self, X: Tensor, **_: object) -> GPyTorchPosterior:
        """Of the points ``[S, 1, D]``."""
        x = X.squeeze(1)
        mean, variance = self.gp.moments(x)
        if self.picked is not None:
            covariance = self.gp.covariance(self.picked, x)
            variance = variance - torch.linalg.solve_triangular(self.factor, covariance, upper=False).square().sum(0)
        variance = variance.clamp(min=SMALLEST * self.gp.unit**2)
        return GPyTorchPosterior(MultivariateNormal(mean.unsqueeze(1), variance.view(-1, 1, 1)))

    @torch.no_grad()
    def believe(self, point: Tensor) -> None:
        """Add one point ``[1, D]``."""
        self.best = max(self.best, self.gp.moments(point)[0].item())
        self.picked = point if self.picked is None else torch.cat([self.picked, point])
        covariance = self.gp.covariance(self.picked, self.picked)
        covariance.diagonal().add_(SMALLEST * self.gp.unit**2)
        self.factor = torch.linalg.cholesky(covariance)  # [P, P]


@torch.no_grad()
def _log_gain(believer: _Believer, points: Tensor) -> Tensor:
    """Logarithm of the expected improvement ``[S]`` at ``points [S, D]``."""
    gain = LogExpectedImprovement(believer, believer.best)
    return torch.cat([gain(rows.unsqueeze(1)) for rows in points.split(2048)])


def _search(model, space, train_mu, labels, objective, config, seed, propose) -> pd.DataFrame:
    """The loop of both searches; ``propose(z, values, box, generator)`` gives the points of a round."""
    _check(model, train_mu, labels)
    generator = torch.Generator().manual_seed(seed)
    z, values = train_mu.detach().double().cpu(), labels.double().cpu()
    box, worst = torch.stack([z.amin(dim=0), z.amax(dim=0)]), values.min()
    rows = []
    started = printed = time.monotonic()
    for number in range(1, config.rounds + 1):
        points = propose(z, values, box, generator)
        graphs, decodable = _most_common(model, space, points.to(train_mu), config.trials, generator)
        found = torch.full((len(points),), float(worst), dtype=torch.float64)
        archs = [None] * len(points)
        if decodable.any():
            found[decodable] = _evaluate(objective, graphs[decodable])
            for place, arch in zip(decodable.nonzero().flatten().tolist(), space.to_strings(graphs[decodable])):
                archs[place] = arch
        elif number == 1:
            raise RuntimeError(
                f"None of the {len(points)} points of the first round decoded to a valid architecture in "
                f"{config.trials} trials each, so there is nothing to evaluate. Check that the model is trained and "
                "that train_mu comes from this model's encoder."
            )
        z, values = torch.cat([z, points]), torch.cat([values, found])
        rows += zip([number] * len(points), archs, found.tolist(), decodable.tolist())
        if time.monotonic() - printed > SECONDS_BETWEEN_LINES:
            printed = time.monotonic()
            left = (printed - started) / number * (config.rounds - number)
            print(f"search: round {number}/{config.rounds}  {left:.0f} s left", file=sys.stderr, flush=True)
    history = pd.DataFrame(rows, columns=["round", "arch", "value", "decodable"])
    incumbent = history.value.where(history.decodable).cummax().ffill()
    return history.assign(incumbent=incumbent)[["round", "arch", "value", "incumbent", "decodable"]]


def _uniform(box: Tensor, count: int, generator: torch.Generator) -> Tensor:
    draw = torch.rand(count, box.shape[1], generator=generator, dtype=torch.float64)
    return box[0] + draw * (box[1] - box[0])


def _most_common(
    model: NGAE, space: EnasSpace, points: Tensor, trials: int, generator: torch.Generator
) -> tuple[DagBatch, Tensor]:
    """The most common valid graph among ``trials`` decodes of each point, and where there is one, bool ``[B]``."""
    noise = torch.Generator(points.device).manual_seed(int(torch.randint(2**31, (), generator=generator)))
    graphs, source, count = model.sample_decodes(points, trials, noise)
    score = torch.where(space.contains(graphs), count, 0)
    order = score.argsort(descending=True, stable=True)
    order = order[source[order].argsort(stable=True)]  # by point, most common first
    first = torch.searchsorted(source[order], torch.arange(len(points), device=points.device))
    return graphs[order[first]].to("cpu"), (score[order[first]] > 0).cpu()


def _evaluate(objective: Objective, graphs: DagBatch) -> Tensor:
    values = torch.as_tensor(objective(graphs), dtype=torch.float64)
    if values.shape != (len(graphs),) or not values.isfinite().all():
        raise ValueError(
            f"The objective must give one finite value for each of the {len(graphs)} graphs, but gave shape "
            f"{tuple(values.shape)} with {int((~values.isfinite()).sum())} values that are NaN or infinite. A table "
            "does not know every graph: use a judge that falls back on a prediction."
        )
    return values


def _check(model: NGAE, train_mu: Tensor, labels: Tensor) -> None:
    if train_mu.ndim != 2 or train_mu.shape[1] != model.config.latent or labels.shape != train_mu.shape[:1]:
        raise ValueError(
            f"The search needs train_mu [n, {model.config.latent}] and labels [n] of the training graphs, but got "
            f"shapes {tuple(train_mu.shape)} and {tuple(labels.shape)}."
        )
    if not len(labels) or not labels.isfinite().all() or not train_mu.isfinite().all():
        raise ValueError(
            f"The search starts from labelled training graphs, but of {len(labels)} labels "
            f"{int((~labels.isfinite()).sum())} and of their points {int((~train_mu.isfinite()).any(1).sum())} are NaN "
            "or infinite; keep only the graphs whose label is known."
        )
