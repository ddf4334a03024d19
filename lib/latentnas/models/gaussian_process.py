"""Sparse Gaussian process regression: how D-VAE measures what a latent space says about accuracy.

D-VAE (Zhang et al., 2019, https://arxiv.org/abs/1904.11088) fits a sparse GP with 500 inducing points and an ARD
squared-exponential kernel to the latent means of the training graphs and reports the test error ("predictive power");
Bayesian optimisation then searches with it. Here the GP is the variational one of Titsias (2009,
https://proceedings.mlr.press/v5/titsias09a.html), whose bound has the best distribution of the inducing values worked
in: log N(y; 0, Q + s^2 I) - tr(K - Q) / (2 s^2), with Q = K_nM K_MM^-1 K_Mn and label noise s. Letters: n training
points, M inducing points, D inputs, S points to predict.
"""

import warnings
from dataclasses import dataclass
from typing import Self

import gpytorch
import torch
from gpytorch.kernels import InducingPointKernel, RBFKernel, ScaleKernel
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from latentnas.progress import Progress
from latentnas.settings import check_settings

JITTER = 1e-6  # added to the kernel matrix of the inducing points, as a share of the signal's variance


class _Collapsed(gpytorch.models.ExactGP):
    """GPyTorch's sparse GP regression: constant mean, ARD squared-exponential kernel, inducing points."""

    def __init__(self, x: Tensor, y: Tensor, inducing: Tensor) -> None:
        likelihood = gpytorch.likelihoods.GaussianLikelihood()
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        self.kernel = ScaleKernel(RBFKernel(ard_num_dims=x.shape[1]))
        self.covar_module = InducingPointKernel(self.kernel, inducing.clone(), likelihood)
        self.kernel.outputscale, likelihood.noise = 1.0, 0.1
        distance = torch.pdist(inducing).median() if len(inducing) > 1 else torch.tensor(1.0)
        self.kernel.base_kernel.lengthscale = distance.clamp(min=1e-3)

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


@dataclass(frozen=True)
class SparseGPConfig:
    """How the GP is fitted.

    D-VAE's 100 epochs of minibatches of 1,000, Adam at 5e-4, belong to another parametrisation, that of grammarVAE's
    Theano code. Measured on 17,118 x 56 latent means on one core: minibatches, at their best rate, reach a test RMSE of
    0.226 standard deviations in 100 epochs (114 s); the bound over all points, as here, 0.223 in 40 steps (48 s).
    """

    inducing: int = 500  # M, as D-VAE
    steps: int = 40  # of Adam, each over all training points
    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        check_settings(self, above_zero=("learning_rate",))


class SparseGP:
    """A GP on `x [n, D]`; `fit` first. Values and predictions are in the caller's unit, on the device of the points."""

    def __init__(self, config: SparseGPConfig = SparseGPConfig()) -> None:
        self.config = config

    def fit(self, x: Tensor, y: Tensor, seed: int = 0) -> Self:
        """Fit to the points `x [n, D]` with values `y [n]`; `seed` chooses those at which the inducing points start.

        Raises:
            ValueError: shapes that do not fit, no points, or a value that is NaN or infinite.
        """
        if x.ndim != 2 or y.shape != x.shape[:1] or not len(x):
            shapes = f"x of shape {list(x.shape)} and y of shape {list(y.shape)}"
            raise ValueError(f"The Gaussian process needs points [n, D] and one value for each, but got {shapes}.")
        bad = (~torch.cat([x, y[:, None]], dim=1).isfinite()).nonzero()
        if len(bad):
            found = f"{len(bad)} coordinates or values are NaN or infinite, the first in row {int(bad[0, 0])}"
            raise ValueError(f"{found}; drop the points without a label before fitting the Gaussian process.")
        self.mean_value = float(y.double().mean())
        deviation = float(y.double().std(correction=0))
        self.unit = deviation if deviation > 1e-6 * abs(self.mean_value) else 1.0  # equal values may differ by rounding
        inputs, targets = x.double(), (y.double() - self.mean_value) / self.unit
        generator = torch.Generator().manual_seed(seed)
        start = inputs[torch.randperm(len(x), generator=generator)[: self.config.inducing].to(x.device)]
        model = _Collapsed(inputs.float(), targets.float(), start.float()).to(x.device)
        self._train(model)
        self._solve(model.double(), inputs, targets)
        return self

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `[S]` of the function (without label noise) at `x [S, D]`, float64."""
        mean, variance = (torch.cat(values).detach() for values in zip(*map(self.moments, x.split(4096))))
        return mean, variance.sqrt()

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance `[S]` at `x [S, D]`, differentiable in `x`."""
        cross = self._between(x, self._inducing)
        explained = ((cross @ self._explained) * cross).sum(dim=1)
        variance = (self._signal - explained).clamp(min=1e-12) * self.unit**2
        return self.mean_value + self.unit * (self._constant + cross @ self._weights), variance

    def covariance(self, x: Tensor, other: Tensor) -> Tensor:
        """Posterior covariance `[S, P]` of the function at `x [S, D]` and `other [P, D]`; differentiable."""
        cross, other_cross = (self._between(points, self._inducing) for points in (x, other))
        return (self._between(x, other) - cross @ (self._explained @ other_cross.T)) * self.unit**2

    def _between(self, x: Tensor, other: Tensor) -> Tensor:
        return self._kernel(x.double(), other.double()).to_dense()

    def _train(self, model: _Collapsed) -> None:
        """Kernel, noise and inducing points by Adam on Titsias's bound."""
        bound = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
        optimizer = torch.optim.Adam(model.parameters(), lr=self.config.learning_rate)
        line = Progress("sparse GP", self.config.steps)
        with (
            warnings.catch_warnings(),
            gpytorch.settings.cholesky_jitter(float_value=1e-5),
            # BoTorch, once imported, switches this off for the whole process; then GPyTorch builds all [n, n]
            gpytorch.settings.fast_computations(log_prob=True),
        ):
            warnings.simplefilter("ignore", NumericalWarning)  # "added jitter": expected where points are close
            for step in range(1, self.config.steps + 1):
                optimizer.zero_grad()
                (-bound(model(*model.train_inputs), model.train_targets)).backward()
                optimizer.step()
                if step < self.config.steps:
                    line.update(step, "steps")

    @torch.no_grad()
    def _solve(self, model: _Collapsed, inputs: Tensor, targets: Tensor) -> None:
        """The posterior for the fitted kernel, in float64: Titsias (2009), eq. 10, through Cholesky factors.

        With L L' = K_ZZ, A = L^-1 K_ZX and B = I + A A' / noise:
        mean = k_xZ L^-T B^-1 A y / noise and variance = k_xx - k_xZ L^-T (I - B^-1) L^-1 k_Zx.
        """
        model.requires_grad_(False)
        self._kernel, self._inducing = model.kernel, model.covar_module.inducing_points
        self._signal, self._constant = model.kernel.outputscale.item(), model.mean_module.constant.item()
        self.noise = model.likelihood.noise.item()  # variance of a label in units of the labels' variance
        identity = torch.eye(len(self._inducing), dtype=torch.float64, device=inputs.device)
        among_inducing = self._kernel(self._inducing).to_dense() + JITTER * self._signal * identity
        inverse_root = torch.linalg.solve_triangular(torch.linalg.cholesky(among_inducing), identity, upper=False)
        gram, projected = torch.zeros_like(identity), torch.zeros_like(identity[0])
        for rows, values in zip(inputs.split(4096), targets.split(4096)):
            features = self._between(rows, self._inducing) @ inverse_root.T
            gram += features.T @ features
            projected += features.T @ (values - self._constant)
        factor = torch.linalg.cholesky(identity + gram / self.noise)
        weights = torch.cholesky_solve(projected.unsqueeze(1) / self.noise, factor).squeeze(1)
        self._weights = inverse_root.T @ weights
        self._explained = inverse_root.T @ (identity - torch.cholesky_inverse(factor)) @ inverse_root
