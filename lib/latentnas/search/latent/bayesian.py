"""Bayesian optimisation in the latent space, as D-VAE does it: sparse GP, expected improvement, batches.

Zhang, Jiang, Cui, Garnett, Chen: D-VAE, NeurIPS 2019, https://arxiv.org/abs/1904.11088; expected improvement
E[max(f - best, 0)] by its logarithm (Ament et al., NeurIPS 2023, https://arxiv.org/abs/2310.20708).

Each round fits a sparse Gaussian process to all points so far and picks a batch greedily: the best of many candidates,
uniform in the box around the training means, refined by L-BFGS: argmax_z E[max(f(z) - best, 0)], each chosen as if the
GP's mean at those before it had been observed ("kriging believer"). Of many decodes of a point, the most common valid
graph is evaluated. (The authors' code takes the first valid one on Python 3, by mistake.) Letters: n labelled points, D
latent dimensions, C candidates, P points picked so far.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from botorch.generation import gen_candidates_scipy
from torch import Tensor

from latentnas.interfaces import GraphVAE
from latentnas.models.gaussian_process import SparseGP, SparseGPConfig
from latentnas.search.base import RoundSearch
from latentnas.search.domains import Domain
from latentnas.search.gaussian import KrigingBeliever
from latentnas.settings import check_settings

SHORTLIST = 20
SMALLEST = 1e-6  # variance, as a share of that of the labels, that counts as none


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
        check_settings(self, least={"refinement": 0})
        if self.candidates < self.batch:
            raise ValueError(f"candidates={self.candidates} must be at least batch={self.batch}.")


class BayesianSearch(RoundSearch):
    """Expected improvement in the latent space.

    Args:
        train_mu: latent means `[n, D]` of the *training* graphs. labels: their values `[n]`. They count as no query.
    """

    def __init__(
        self,
        domain: Domain,
        seed: int,
        model: GraphVAE,
        train_mu: Tensor,
        labels: Tensor,
        config: BayesianConfig = BayesianConfig(),
    ) -> None:
        super().__init__(domain, seed, initial=0)
        _check(model, train_mu, labels)
        self.model, self.config = model, config
        self._generator = torch.Generator().manual_seed(seed)
        self._z, self._labels = train_mu.detach().double().cpu(), labels.double().cpu()  # of all points so far
        self._box, self._worst = torch.stack([self._z.amin(dim=0), self._z.amax(dim=0)]), float(labels.min())
        self._like = train_mu[:0]  # device and precision of the model's points
        self._rounds, self._decoded = 0, []  # rows of the last round's points; -1: no architecture

    def _round(self, rows: np.ndarray, values: np.ndarray) -> list[int]:
        new: list[int] = []
        while not new and self._rounds < self.config.rounds:
            self._rounds += 1
            found = [self._values.get(row, self._worst) for row in self._decoded]  # no architecture: the worst label
            self._labels = torch.cat([self._labels, torch.tensor(found, dtype=torch.float64)])
            points = self._choose()
            self._z = torch.cat([self._z, points])
            self._decoded = self._decode(points.to(self._like))
            new = [row for row in dict.fromkeys(self._decoded) if row >= 0 and row not in self._values]
        return new

    def _decode(self, points: Tensor) -> list[int]:
        """The row of the most common graph among the decodes of each point; isomorphic ones count apart."""
        noise = torch.Generator(points.device).manual_seed(int(torch.randint(2**31, (), generator=self._generator)))
        graphs, source, count = self.model.sample_decodes(points, self.config.trials, noise)
        valid = self.domain.accepts(graphs)
        if self._rounds == 1 and not valid.any():
            found = f"None of the {len(points)} points of the first round decoded to a valid architecture"
            raise RuntimeError(f"{found}. Check that the model is trained and that train_mu comes from it.")
        source, count = source[valid].cpu().numpy(), count[valid].cpu().numpy()
        order = np.lexsort((-count, source))  # by point, most common first
        place, first = np.unique(source[order], return_index=True)
        rows = np.full(len(points), -1)
        if len(place):
            rows[place] = self.domain.representative(self.domain.rows_of(graphs[valid][order[first]]))
        return rows.tolist()

    def _choose(self) -> Tensor:
        """The points of a round, `[batch, D]`."""
        fit_seed = int(torch.randint(2**31, (), generator=self._generator))
        gp = SparseGP(self.config.gp).fit(self._z, self._labels, seed=fit_seed)
        candidates = _uniform(self._box, self.config.candidates, self._generator)
        return choose_batch(gp, float(self._labels.max()), candidates, self._box, self.config)


class RandomInBox(BayesianSearch):
    """D-VAE's baseline: points drawn uniformly in the box; all else as in `BayesianSearch`."""

    def _choose(self) -> Tensor:
        return _uniform(self._box, self.config.batch, self._generator)


def choose_batch(gp: SparseGP, best: float, candidates: Tensor, box: Tensor, config: BayesianConfig) -> Tensor:
    """The points `[batch, D]` of one round, in the `box [2, D]` from lowest to highest corner, given the value to beat.
    Believing lowers expected improvement everywhere, so only the candidates `[C, D]` that were best before the first
    pick are looked at again: `SHORTLIST` for each point."""
    believer = _Believer(gp, best)
    gains = torch.cat([believer.log_gain(part) for part in candidates.split(2048)])
    candidates = candidates[gains.argsort(descending=True)[: SHORTLIST * config.batch]]
    for _ in range(config.batch):
        start = candidates[believer.log_gain(candidates).argmax()].view(1, 1, -1)
        options = {"maxiter": config.refinement}
        with warnings.catch_warnings(record=True):  # BoTorch tells of a flat end or spent iterations: no matter
            point, _ = gen_candidates_scipy(start, believer.gain(), box[0], box[1], options=options)
        believer.believe(point.detach().view(1, -1))
    return believer.picked


class _Believer(KrigingBeliever):
    """The sparse GP after believing its mean at the points P picked so far: with L L' = cov(P, P),
    variance(x) = cov(x, x) - |L^-1 cov(P, x)|^2."""

    def __init__(self, gp: SparseGP, best: float) -> None:
        super().__init__()
        self.gp, self.best = gp, best
        self.picked: Tensor | None = None  # [P, D]

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = self.gp.moments(x)
        if self.picked is not None:
            covariance = self.gp.covariance(self.picked, x)
            variance = variance - torch.linalg.solve_triangular(self.factor, covariance, upper=False).square().sum(0)
        return mean, variance.clamp(min=SMALLEST * self.gp.unit**2)

    @torch.no_grad()
    def believe(self, point: Tensor) -> None:
        """Add one point `[1, D]`."""
        self.best = max(self.best, self.gp.moments(point)[0].item())
        self.picked = point if self.picked is None else torch.cat([self.picked, point])
        covariance = self.gp.covariance(self.picked, self.picked)
        covariance.diagonal().add_(SMALLEST * self.gp.unit**2)
        self.factor = torch.linalg.cholesky(covariance)  # [P, P]


def _uniform(box: Tensor, count: int, generator: torch.Generator) -> Tensor:
    draw = torch.rand(count, box.shape[1], generator=generator, dtype=torch.float64)
    return box[0] + draw * (box[1] - box[0])


def _check(model: GraphVAE, train_mu: Tensor, labels: Tensor) -> None:
    if train_mu.ndim != 2 or train_mu.shape[1] != model.config.latent or labels.shape != train_mu.shape[:1]:
        wanted = f"train_mu [n, {model.config.latent}] and labels [n] of the training graphs"
        raise ValueError(f"The search needs {wanted}, not shapes {tuple(train_mu.shape)} and {tuple(labels.shape)}.")
    if not len(labels) or not labels.isfinite().all() or not train_mu.isfinite().all():
        bad = int((~labels.isfinite()).sum()), int((~train_mu.isfinite()).any(1).sum())
        found = f"of {len(labels)} labels {bad[0]} and of their points {bad[1]} are NaN or infinite"
        raise ValueError(f"The search starts from labelled training graphs, but {found}; keep only those known.")
