"""Bayesian optimisation over discrete candidates: a Gaussian process on the decisions, and expected improvement.

The model is BoTorch's standard one (Hvarfner et al., ICML 2024, https://arxiv.org/abs/2402.02229: a
squared-exponential kernel with a lengthscale for each input, whose prior grows with their number) on the one-hot
choices, or on other inputs, such as codes in a latent space:
k(x, x') = exp(-sum_i (x_i - x'_i)^2 / (2 l_i^2)). The acquisition is log E[max(f - best, 0)] (Ament et al.,
NeurIPS 2023, https://arxiv.org/abs/2310.20708) of every candidate. Letters: n labels, F inputs, C candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from latentnas.search.base import ModelBasedSearch
from latentnas.search.domains import Domain
from latentnas.search.ensemble import targets
from latentnas.settings import check_settings

NEAR = 10  # best architectures whose neighbours are candidates, in a domain that cannot be listed


@dataclass(frozen=True)
class GaussianConfig:
    initial: int = 10  # random architectures before the first fit
    refit: int = 10  # new labels, and at least a fifth more, after which the hyper-parameters are fitted again
    iterations: int = 50  # of L-BFGS at most; every fit but the first goes on from the last one

    def __post_init__(self) -> None:
        check_settings(self, least={"initial": 2})


class GaussianSearch(ModelBasedSearch):
    """Expected improvement over the best label. Within one answer, the next architecture is chosen as if the mean had
    been observed at those before it ("kriging believer"). What the process sees of each row are its `inputs [n, F]`,
    best scaled to about the unit cube, such as `domain.lookup(codes)`, or else the one-hot choices."""

    def __init__(
        self,
        domain: Domain,
        seed: int,
        config: GaussianConfig = GaussianConfig(),
        inputs: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        super().__init__(domain, seed, config.initial)
        self.config, self._inputs = config, inputs or domain.one_hot
        seen = self._inputs(domain.reference)
        if seen.ndim != 2 or not np.isfinite(seen).all():
            found = f"those of {len(seen)} rows have shape {list(seen.shape)}, or are NaN or infinite"
            raise ValueError(f"A Gaussian process needs finite inputs [n, F], one vector for each row, but {found}.")
        self._fitted = 0  # labels at the last fit
        self._model: SingleTaskGP | None = None
        self._believer: Believer | None = None  # of a domain that can be listed: kept from fit to fit

    def _propose(self, n: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        if self.domain.size is None:
            best = rows[np.argsort(-values, kind="stable")[:NEAR]].tolist()
            new = self.domain.candidates(self._random, len(self.domain.reference), self._values, best)
            everything, known = np.concatenate([rows, new]), np.arange(len(rows))
        else:
            everything = self.domain.distinct
            known = np.searchsorted(everything, rows)
        labels = targets(values).astype(np.float64)
        labels = torch.from_numpy((labels - labels.mean()) / (labels.std(ddof=1) or 1.0))
        if not self._fitted or len(rows) >= self._fitted + max(self.config.refit, self._fitted // 5):
            self._fit(self._points(rows), labels)
        if self.domain.size is None or self._believer is None or not self._believer.tell(known, labels):
            self._believer = Believer(self._model, self._points(everything), known, labels)
        picked: list[int] = []
        for _ in range(min(n, len(everything) - len(rows))):
            gain = self._believer.log_gain(self._believer.points)
            gain[np.concatenate([known, picked]).astype(int)] = -torch.inf
            picked.append(int(gain.argmax()))
            self._believer.believe(picked[-1])
        return everything[picked]

    def _points(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self._inputs(rows).astype(np.float64))

    def _fit(self, x: Tensor, y: Tensor) -> None:
        """Hyper-parameters, from where the last fit ended."""
        model = SingleTaskGP(x, y.unsqueeze(1), outcome_transform=None)
        if self._model is not None:
            model.load_state_dict(self._model.state_dict())
        with torch.random.fork_rng(devices=[]):  # a fit that fails starts again at random
            torch.manual_seed(int(self._random.integers(2**63)))
            options = {"options": {"maxiter": self.config.iterations}}
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs=options)
        self._fitted, self._model, self._believer = len(y), model.eval(), None


class KrigingBeliever(Model):
    """A process, as a model of BoTorch, after its own mean was taken for observed at some points: the mean stays, the
    variance shrinks, the value to beat rises."""

    num_outputs = 1
    best: float  # value to beat

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance `[S]` at `x [S, F]`."""

    def posterior(self, X: Tensor, **_: object) -> GPyTorchPosterior:  # [S, 1, F]
        mean, variance = self.moments(X.squeeze(1))
        return GPyTorchPosterior(MultivariateNormal(mean.unsqueeze(1), variance.view(-1, 1, 1)))

    def gain(self) -> LogExpectedImprovement:
        return LogExpectedImprovement(self, self.best)

    @torch.no_grad()
    def log_gain(self, x: Tensor) -> Tensor:
        """Logarithm of the expected improvement `[S]` at `x [S, F]`."""
        return self.gain()(x.unsqueeze(1))


class Believer(KrigingBeliever):
    """The posterior at `points [C, F]`, always all of them, given labels `y [n]` at the places `known [n]` among them.
    With L L' the covariance of the labels, it follows from L and L^-1 cov(labels, points) `[n, C]`, which a label more
    makes longer by a row, whatever its value: what was believed need not be done again when it is told."""

    @torch.no_grad()
    def __init__(self, model: SingleTaskGP, points: Tensor, known: np.ndarray, y: Tensor) -> None:
        super().__init__()
        self.process, self.points = model, points
        self._places: list[int] = []
        self._factor, self._rows = points.new_empty(0, 0), points.new_empty(0, len(points))
        self._variance = model.covar_module(points, diag=True)
        self.tell(known, y)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean, self._variance

    @torch.no_grad()
    def tell(self, known: np.ndarray, y: Tensor) -> bool:
        """Take all labels; False if what was believed before is not among them in that order."""
        places, told = known.tolist(), len(self._places)
        if places[:told] != self._places:
            return False
        self._add(places[told:])
        constant = self.process.mean_module.constant
        weights = torch.linalg.solve_triangular(self._factor, (y - constant)[:, None], upper=False)[:, 0]
        self.mean, self.best = constant + weights @ self._rows, float(y.max())
        return True

    @torch.no_grad()
    def believe(self, place: int) -> None:
        """Take the mean at one place for observed."""
        self.best = max(self.best, self.mean[place].item())
        self._add([place])

    def _add(self, places: list[int]) -> None:
        explained = self._rows[:, places].T
        left = self.process.covar_module(self.points[places], self.points).to_dense() - explained @ self._rows
        noise = self.process.likelihood.noise * torch.eye(len(places), dtype=left.dtype)
        factor = torch.linalg.cholesky(left[:, places] + noise)
        new = torch.linalg.solve_triangular(factor, left, upper=False)
        self._factor = torch.cat([F.pad(self._factor, (0, len(places))), torch.cat([explained, factor], dim=1)])
        self._rows, self._variance = torch.cat([self._rows, new]), self._variance - new.square().sum(dim=0)
        self._places += places
