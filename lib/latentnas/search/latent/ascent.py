"""Gradient ascent in the latent space of NGAE, its one-step relative NAO, and ranked prior samples.

NGAE: Li et al., 2020, https://github.com/superlj666/NGAE; NAO: Luo et al., NeurIPS 2018,
https://arxiv.org/abs/1808.07233. All ascend

    f = f_perf - w * f_comp        (NGAE eq. 7, there with w = 1)

with both predictions on the standardised scale. Letters: S starts, D latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from latentnas.evaluate import encode_all, prior_points
from latentnas.graphs import DagBatch
from latentnas.interfaces import Space
from latentnas.models.ngae import NGAE
from latentnas.search.base import RoundSearch
from latentnas.search.domains import Domain

ROUNDS_WITHOUT_NEWS = 20  # after so many in a row that led to nothing unknown, a search gives up


@dataclass(frozen=True)
class Trajectory:
    """An ascent from S starts; row 0 is the start, row `steps` the end. Predictions are standardised."""

    z: Tensor  # [steps + 1, S, D]
    performance: Tensor  # [steps + 1, S]
    complexity: Tensor  # [steps + 1, S]


def prior_start(train_mu: Tensor, count: int, seed: int) -> Tensor:
    """`count` points of the prior `[count, D]`, moved to the mean and spread of the training means `[n, D]`
    as in the prior test of :func:`evaluate.prior_points`, from a seed."""
    return prior_points(train_mu, count, torch.Generator(train_mu.device).manual_seed(seed))


def best_of_prior(model: NGAE, train_mu: Tensor, samples: int = 10_000, keep: int = 100, seed: int = 0) -> Tensor:
    """The `keep` of `samples` prior points with the highest predicted performance, best first, `[keep, D]`."""
    _require_predictors(model)
    z = prior_start(train_mu, samples, seed)
    with torch.no_grad():
        return z[model.performance(z).topk(keep).indices]


def gradient_ascent(
    model: NGAE,
    start: Tensor,
    steps: int,
    step_size: float,
    complexity_weight: float = 1.0,
    prior_weight: float = 0.0,
    train_mu: Tensor | None = None,
) -> Trajectory:
    """`steps` times z <- z + step_size * gradient of f, for all starts `[S, D]` at once.

    The released code takes steps of 10 (from a random start) and 1000 (from the best known architectures): they
    make up for predictors of raw labels, whose gradients are tiny. Here labels are standardised; with a step of 0.1
    f is near its plateau after 50 steps.

    Args:
        prior_weight: p > 0, which is ours and not the paper's, subtracts p / 2 times the squared distance from the
            mean of `train_mu [n, D]`, in its standard deviations, from f. It keeps z where the predictors have
            seen training points: without it they promise more than the decoded architectures hold. Starts
            then meet in fewer architectures. (0.03 was chosen on one half-trained model while looking at table
            accuracies, test labels included: exploratory.)

    Raises:
        ValueError: the model has no predictors, `start` has not the model's latent dimension, or there is a
            prior_weight and no train_mu.
        FloatingPointError: z left the finite numbers.
    """
    _check_points(model, "start", start)
    if prior_weight:
        if train_mu is None:
            raise ValueError(f"prior_weight={prior_weight} needs train_mu, the latent means of the training graphs.")
        mean, variance = train_mu.mean(dim=0), train_mu.var(dim=0, correction=0)
    path = [start.detach()]
    performance, complexity = [], []
    for step in range(steps + 1):
        perf, comp, gradient = _ascent_direction(model, path[-1], complexity_weight)
        performance.append(perf)
        complexity.append(comp)
        if prior_weight:
            gradient = gradient - prior_weight * (path[-1] - mean) / variance
        if step < steps:
            path.append(path[-1] + step_size * gradient)
    if not path[-1].isfinite().all():
        raise FloatingPointError(f"The ascent left the finite numbers; lower step_size (now {step_size}).")
    return Trajectory(torch.stack(path), torch.stack(performance), torch.stack(complexity))


def nao_steps(
    model: NGAE,
    space: Space,
    seeds_mu: Tensor,
    known: DagBatch,
    step_size: float = 0.3,
    max_steps: int = 100,
    complexity_weight: float = 0.0,
) -> pd.DataFrame:
    """NAO (Luo et al., 2018): from each seed one gradient step, longer and longer until a new architecture decodes.

    Args:
        seeds_mu: encodings `[S, D]` of the best *training* architectures, best first.
        known: what is not new: the training architectures.
        step_size: the lengths tried are 1, 2, ..., `max_steps` times this times the gradient.

    Returns:
        One row for every seed that found one: `arch`, `predicted_performance` (accuracy), `start` (row of
        `seeds_mu`) and `multiple` (of the step size). No two rows have the same architecture.
    """
    _check_points(model, "seeds_mu", seeds_mu)
    _, _, gradient = _ascent_direction(model, seeds_mu.detach(), complexity_weight)
    taken, rows = set(known.keys()), []
    waiting = list(range(len(seeds_mu)))
    for multiple in range(1, max_steps + 1):
        if not waiting:
            break
        z = seeds_mu[waiting].detach() + multiple * step_size * gradient[waiting]
        graphs, accuracy = model.decode(z), _accuracy(model, z)
        valid, keys = space.contains(graphs).tolist(), graphs.keys()
        still_waiting = []
        for place, start in enumerate(waiting):
            if not valid[place] or keys[place] in taken:
                still_waiting.append(start)
                continue
            taken.add(keys[place])
            [arch] = space.to_strings(graphs[[place]])
            rows.append((arch, accuracy[place].item(), start, multiple))
        waiting = still_waiting
    return pd.DataFrame(rows, columns=["arch", "predicted_performance", "start", "multiple"]).sort_values(
        "start", ignore_index=True
    )


def architectures(model: NGAE, space: Space, z: Tensor) -> pd.DataFrame:
    """The distinct valid architectures that points `[S, D]` decode to (greedily), best predicted first.

    Columns: `arch`, `predicted_performance` (accuracy) and `start`, the row of `z`; where several rows
    decode to one architecture, the one with the best prediction stands for it.
    """
    _check_points(model, "z", z)
    graphs = model.decode(z)
    valid = space.contains(graphs).nonzero().flatten()
    frame = pd.DataFrame(
        {
            "arch": space.to_strings(graphs[valid]),
            "predicted_performance": _accuracy(model, z[valid]).cpu().numpy(),
            "start": valid.cpu().numpy(),
        }
    )
    frame = frame.sort_values("predicted_performance", ascending=False, kind="stable")
    return frame.drop_duplicates("arch", ignore_index=True)


@dataclass(frozen=True)
class AscentConfig:
    """Arguments of `gradient_ascent` for a search; the defaults are those of notebook 04."""

    starts: int = 60  # points of the prior that a round starts from
    steps: int = 50
    step_size: float = 0.1
    complexity_weight: float = 1.0
    prior_weight: float = 0.0


class AscentSearch(RoundSearch):
    """Gradient ascent as a search: each round climbs from new points of the prior and asks for what they decode to, the
    highest f first. It learns nothing from the values that it is told.

    Args:
        train_mu: latent means `[n, D]` of the training graphs, which the prior is moved to.
    """

    def __init__(
        self, domain: Domain, seed: int, model: NGAE, train_mu: Tensor, config: AscentConfig = AscentConfig()
    ) -> None:
        super().__init__(domain, seed, ROUNDS_WITHOUT_NEWS)
        self.model, self.train_mu, self.config = model, train_mu, config
        self._generator = torch.Generator(train_mu.device).manual_seed(seed)

    def _round(self, rows: np.ndarray, values: np.ndarray) -> list[int]:
        config = self.config
        start = prior_points(self.train_mu, config.starts, self._generator)
        weights = (config.complexity_weight, config.prior_weight)
        path = gradient_ascent(self.model, start, config.steps, config.step_size, *weights, self.train_mu)
        height = path.performance[-1] - config.complexity_weight * path.complexity[-1]
        return self._unknown(self.model.decode(path.z[-1][height.argsort(descending=True, stable=True)]))


@dataclass(frozen=True)
class NAOConfig:
    """Arguments of `nao_steps` for a search."""

    best: int = 100  # known architectures that a round starts from
    step_size: float = 0.3
    max_steps: int = 100
    complexity_weight: float = 0.0


class NAOSearch(RoundSearch):
    """NAO as a search: each round steps from the best architectures that are known, those of training and those whose
    values it was told. (The authors also train the model again on them.)

    Args:
        train: the training graphs. labels: their values `[n]`. They count as no query.
    """

    def __init__(
        self, domain: Domain, seed: int, model: NGAE, train: DagBatch, labels: Tensor, config: NAOConfig = NAOConfig()
    ) -> None:
        super().__init__(domain, seed, patience=1)
        _require_predictors(model)
        self.model, self.train, self.labels, self.config = model, train, labels, config

    def _round(self, rows: np.ndarray, values: np.ndarray) -> list[int]:
        known, labels = self.train, self.labels.double().cpu()
        if len(rows):
            known = DagBatch.cat([known.to("cpu"), self.domain.graphs(rows)])
            labels = torch.cat([labels, torch.from_numpy(values)])
        best = known[labels.argsort(descending=True, stable=True)[: self.config.best]]
        config, mu = self.config, encode_all(self.model, best)
        steps = (config.step_size, config.max_steps, config.complexity_weight)
        found = nao_steps(self.model, self.domain.space, mu, known, *steps)
        return self._unknown(self.domain.space.to_batch(found["arch"].tolist()))


def _ascent_direction(model: NGAE, z: Tensor, complexity_weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Both predictions `[S]` at z and the gradient `[S, D]` of f."""
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        performance, complexity = model.performance(z), model.complexity(z)
        [gradient] = torch.autograd.grad((performance - complexity_weight * complexity).sum(), z)
    return performance.detach(), complexity.detach(), gradient


@torch.no_grad()
def _accuracy(model: NGAE, z: Tensor) -> Tensor:
    return model.performance.unstandardise(model.performance(z))


def _require_predictors(model: NGAE) -> None:
    if model.config.predictors == "none":
        raise ValueError(
            'This model has no predictors (predictors="none", which is D-VAE), so there is nothing to ascend. '
            'Train with predictors="paper", or search with latentnas.search.latent.bayesian.'
        )


def _check_points(model: NGAE, name: str, points: Tensor) -> None:
    _require_predictors(model)
    if points.ndim != 2 or points.shape[1] != model.config.latent or not len(points):
        raise ValueError(
            f"{name} must hold latent points [S, {model.config.latent}] with S at least 1, but has shape "
            f"{tuple(points.shape)}."
        )
