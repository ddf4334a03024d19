"""Gradient ascent in the latent space of NGAE, its one-step relative NAO, and ranked prior samples. They buy no labels.

NGAE: Li et al., 2020, https://github.com/superlj666/NGAE; NAO: Luo et al., NeurIPS 2018,
https://arxiv.org/abs/1808.07233. All ascend

    f = f_perf - w * f_comp        (NGAE eq. 7, there with w = 1)

with both predictions on the scale of their heads, which is standardised unless predictors are "released". Letters:
S starts, D latent dimensions.
"""

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from latentnas.evaluate import prior_points
from latentnas.graphs import DagBatch
from latentnas.interfaces import Space
from latentnas.models.ngae import NGAE


@dataclass(frozen=True)
class Trajectory:
    """An ascent from S starts; row 0 is the start, row `steps` the end. Predictions are on the scale of the heads."""

    z: Tensor  # [steps + 1, S, D]
    performance: Tensor  # [steps + 1, S]
    complexity: Tensor  # [steps + 1, S]


def prior_start(train_mu: Tensor, count: int, seed: int) -> Tensor:
    """`evaluate.prior_points` from a seed: `[count, D]`, with the mean and spread of the training means `[n, D]`."""
    return prior_points(train_mu, count, torch.Generator(train_mu.device).manual_seed(seed))


def best_of_prior(model: NGAE, train_mu: Tensor, samples: int = 10_000, keep: int = 100, seed: int = 0) -> Tensor:
    """The `keep` of `samples` prior points with the highest predicted performance, best first, `[keep, D]`."""
    _check_points(model, "train_mu", train_mu)
    if not 1 <= keep <= samples:
        raise ValueError(f"The best {keep} of {samples} points were asked for. Set keep to 1 or more, at most samples.")
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

    The released code takes steps of 10 and 1000, for predictors of raw labels; here labels are standardised.

    Args:
        prior_weight: p > 0, which is ours and not the paper's, subtracts p / 2 times the squared distance from the
            mean of `train_mu [n, D]`, in its standard deviations, from f: z stays where the predictors have seen
            points. (0.03 was chosen on one half-trained model while looking at test labels too: exploratory.)

    Raises FloatingPointError where z leaves the finite numbers.
    """
    _check_points(model, "start", start)
    if prior_weight:
        if train_mu is None:
            raise ValueError(f"prior_weight={prior_weight} needs train_mu, the latent means of the training graphs.")
        mean, variance = train_mu.mean(dim=0), train_mu.var(dim=0, correction=0)
        variance = variance.where(variance > 0, 1.0)  # of a dimension in which no code differs
    z, path = start.detach(), []
    for _ in range(steps + 1):
        performance, complexity, gradient = _ascent_direction(model, z, complexity_weight)
        path.append((z, performance, complexity))
        if prior_weight:
            gradient = gradient - prior_weight * (z - mean) / variance
        z = z + step_size * gradient
    if not path[-1][0].isfinite().all():
        raise FloatingPointError(f"The ascent left the finite numbers; lower step_size (now {step_size}).")
    return Trajectory(*(torch.stack(parts) for parts in zip(*path)))


def nao_steps(
    model: NGAE, space: Space, seeds_mu: Tensor, known: DagBatch, step_size: float = 0.3, max_steps: int = 100
) -> pd.DataFrame:
    """NAO (Luo et al., 2018): from each seed one gradient step, longer and longer until a new architecture decodes. One
    row for every seed that found one, no architecture twice: `arch`, `predicted_performance` (accuracy), `start` (row
    of `seeds_mu`) and `multiple` (of the step size).

    Args:
        seeds_mu: encodings `[S, D]` of the best of the training architectures, which are `known`; best first.
        step_size: the lengths tried are 1, 2, ..., `max_steps` times this times the gradient of f with w = 0.
    """
    _check_points(model, "seeds_mu", seeds_mu)
    _, _, gradient = _ascent_direction(model, seeds_mu.detach(), 0.0)
    taken, rows, waiting = set(known.keys()), [], list(range(len(seeds_mu)))
    for multiple in range(1, max_steps + 1):
        if not waiting:
            break
        z = seeds_mu[waiting].detach() + multiple * step_size * gradient[waiting]
        graphs, accuracy = model.decode(z), _accuracy(model, z)
        keys, found = graphs.keys(), set()
        for place in space.contains(graphs).nonzero().flatten().tolist():
            if keys[place] not in taken:
                taken.add(keys[place])
                found.add(waiting[place])
                [arch] = space.to_strings(graphs[[place]])
                rows.append((arch, accuracy[place].item(), waiting[place], multiple))
        waiting = [start for start in waiting if start not in found]
    found = pd.DataFrame(rows, columns=["arch", "predicted_performance", "start", "multiple"])
    return found.sort_values("start", ignore_index=True)


def architectures(model: NGAE, space: Space, z: Tensor) -> pd.DataFrame:
    """The distinct valid architectures that points `[S, D]` decode to, best predicted first: `arch`,
    `predicted_performance` (accuracy) and `start`, the row of `z` with the best prediction of those that decode to it.
    """
    _check_points(model, "z", z)
    graphs = model.decode(z)
    valid = space.contains(graphs).nonzero().flatten()
    frame = pd.DataFrame({"arch": space.to_strings(graphs[valid])})
    frame["predicted_performance"] = _accuracy(model, z[valid]).cpu().numpy()
    frame["start"] = valid.cpu().numpy()
    frame = frame.sort_values("predicted_performance", ascending=False, kind="stable")
    return frame.drop_duplicates("arch", ignore_index=True)


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


def _check_points(model: NGAE, name: str, points: Tensor) -> None:
    if model.config.predictors == "none":
        found = 'This model has no predictors (predictors="none", which is D-VAE), so there is nothing to ascend'
        raise ValueError(f'{found}. Train with predictors="paper", or search with latentnas.search.latent.bayesian.')
    if points.ndim != 2 or points.shape[1] != model.config.latent or not len(points):
        wanted = f"latent points [S, {model.config.latent}] with S at least 1"
        raise ValueError(f"{name} must hold {wanted}, but has shape {tuple(points.shape)}.")
