"""Bayesian optimisation over discrete candidates: a Gaussian process on the decisions, and expected improvement.

The model is BoTorch's standard one (Hvarfner et al., ICML 2024, https://arxiv.org/abs/2402.02229: a
squared-exponential kernel with a lengthscale for each input, whose prior grows with their number) on the one-hot
choices, or on other inputs, such as codes in a latent space. The acquisition is log E[max(f - best, 0)] (Ament et al.,
NeurIPS 2023, https://arxiv.org/abs/2310.20708) of every candidate. Letters: n labels, F inputs, C candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
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

NEAR = 10  # best architectures whose neighbours are candidates, in a domain that cannot be listed


@dataclass(frozen=True)
class GaussianConfig:
    initial: int = 10  # random architectures before the first fit
    refit: int = 10  # new labels after which the hyper-parameters are fitted again
    iterations: int = 50  # of L-BFGS at most; every fit but the first goes on from the last one

    def __post_init__(self) -> None:
        if self.initial < 2 or min(self.refit, self.iterations) < 1:
            raise ValueError(f"initial must be at least 2, refit and iterations at least 1, but this is {self}.")


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
        self._hyperparameters: dict[str, Tensor] = {}

    def _propose(self, n: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        if self.domain.size is None:
            best = rows[np.argsort(-values, kind="stable")[:NEAR]].tolist()
            candidates = self.domain.candidates(self._random, len(self.domain.reference), self._values, best)
        else:
            candidates = self.domain.unknown(self._values)
        if not len(candidates):
            return candidates
        labels = targets(values).astype(np.float64)
        labels = (labels - labels.mean()) / (labels.std(ddof=1) or 1.0)
        known, new = (torch.from_numpy(self._inputs(some).astype(np.float64)) for some in (rows, candidates))
        model = self._model(known, torch.from_numpy(labels))
        believer = Believer(model, known, labels, new)
        picked: list[int] = []
        for _ in range(min(n, len(candidates))):
            gain = believer.log_gain(new)
            gain[picked] = -torch.inf
            picked.append(int(gain.argmax()))
            believer.believe(picked[-1])
        return candidates[picked]

    def _model(self, x: Tensor, y: Tensor) -> SingleTaskGP:
        """The model with hyper-parameters fitted to these labels or, between fits, to fewer of them."""
        model = SingleTaskGP(x, y.unsqueeze(1), outcome_transform=None)
        if self._hyperparameters:
            model.load_state_dict(self._hyperparameters)
        if not self._fitted or len(y) >= self._fitted + self.config.refit:
            with torch.random.fork_rng(devices=[]):  # a fit that fails starts again at random
                torch.manual_seed(int(self._random.integers(2**63)))
                options = {"options": {"maxiter": self.config.iterations}}
                fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs=options)
            self._fitted, self._hyperparameters = len(y), model.state_dict()
        return model.eval()


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
    """The posterior at candidates `new [C, F]`, always all of them, given labels `y [n]` at `x [n, F]`. (BoTorch's own
    builds the joint covariance of all candidates, or repeats the labels for each of them.)"""

    @torch.no_grad()
    def __init__(self, model: SingleTaskGP, x: Tensor, y: np.ndarray, new: Tensor) -> None:
        super().__init__()
        self.best = float(y.max())
        of_labels = model.covar_module(x).to_dense()
        of_labels.diagonal().add_(model.likelihood.noise)
        precision = torch.cholesky_inverse(torch.linalg.cholesky(of_labels))
        self.process, self._new = model, new
        self._cross = model.covar_module(new, x).to_dense()
        self._weights = self._cross @ precision  # [C, n]
        self._variance = model.covar_module(new, diag=True) - (self._weights * self._cross).sum(dim=1)
        self._columns = new.new_zeros(len(new), 0)  # one a believed point; its square is off the variance
        constant = model.mean_module.constant
        self.mean = constant + self._cross @ (precision @ (torch.from_numpy(y) - constant))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean, self._variance

    @torch.no_grad()
    def believe(self, place: int) -> None:
        """Take the mean at candidate `place` for observed."""
        self.best = max(self.best, self.mean[place].item())
        prior = self.process.covar_module(self._new, self._new[[place]]).to_dense().squeeze(1)
        covariance = prior - self._weights @ self._cross[place] - self._columns @ self._columns[place]
        column = covariance / (covariance[place] + self.process.likelihood.noise).sqrt()
        self._columns = torch.cat([self._columns, column[:, None]], dim=1)
        self._variance = self._variance - column.square()
