"""An ensemble of small networks that see features of the architectures, and Thompson sampling.

The idea of BANANAS (White et al., AAAI 2021, https://arxiv.org/abs/1910.11858): after every batch of labels, train a
handful of networks on the path encoding, take the spread of their predictions for uncertainty, and choose by
independent Thompson sampling among mutations of the best: one normal draw for each candidate, from N(mean, spread^2 +
shared_error^2) of the members, and the largest are asked for. Unlike there, the networks are two small layers each and
trained all at once, they see the plain decisions beside the paths, and some architectures from anywhere are candidates
too. Letters: n labels, F features, E members, H hidden, C candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentnas.search.base import ModelBasedSearch
from latentnas.search.domains import Domain
from latentnas.settings import check_settings

relu_backward = torch.ops.aten.threshold_backward  # (gradient, output, 0): the gradient of what was put in


@dataclass(frozen=True)
class EnsembleConfig:
    """Chosen on one data set only: CIFAR-10 validation accuracy of NAS-Bench-201, by class, asking for 5 at a time,
    seeds 100 to 129: the best class after a median of 50 queries, in 3 runs of 30 not within 300. (In trials,
    shared_error = 0.3 took 53 queries and 0.6 took 80.)"""

    initial: int = 10  # random architectures before the first training
    members: int = 5  # E
    hidden: int = 32  # H, in each of two layers
    steps: int = 60  # of Adam on all labels, from new random weights
    learning_rate: float = 0.01
    shared_error: float = 0.15  # deviation of what all members get wrong alike, in units of the targets
    parents: int = 10  # all unknown neighbors of that many best architectures are candidates
    random_candidates: int = 200  # and so many unknown architectures from anywhere

    def __post_init__(self) -> None:
        check_settings(self, least={"members": 2}, above_zero=("learning_rate",))


class EnsembleSearch(ModelBasedSearch):
    """Thompson sampling with an ensemble; each call of `ask` trains once."""

    def __init__(self, domain: Domain, seed: int, config: EnsembleConfig = EnsembleConfig()) -> None:
        super().__init__(domain, seed, config.initial)
        self.config = config
        reference = domain.inputs(domain.reference)
        self._used = reference.any(axis=0)  # the inputs that differ at all
        self._reference = torch.from_numpy(reference[:, self._used])

    def _propose(self, n: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        generator = torch.Generator().manual_seed(int(self._random.integers(2**63)))
        ensemble = Ensemble(self._reference, self.config, generator)
        ensemble.fit(self._seen(rows), torch.from_numpy(targets(values)))
        best = rows[np.argsort(-values, kind="stable")[: self.config.parents]].tolist()
        candidates = self.domain.candidates(self._random, self.config.random_candidates, self._values, best)
        if not len(candidates):
            return candidates
        predicted = ensemble(self._seen(candidates)).numpy()
        deviation = np.hypot(predicted.std(axis=0, ddof=1), self.config.shared_error)
        draw = self._random.normal(predicted.mean(axis=0), deviation)
        return candidates[np.argsort(-draw)[:n]]

    def _seen(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.domain.inputs(rows)[:, self._used])


def targets(values: np.ndarray) -> np.ndarray:
    """Labels on the scale between their median (0) and their 90 % quantile (1), float32, not below -2: some
    architectures hardly learn, and on the scale of their labels good ones could not be told apart."""
    middle, high = np.quantile(values, [0.5, 0.9])
    unit = high - middle if high - middle > 1e-6 * abs(middle) else 1.0  # not what rounding leaves of equal labels
    return np.maximum((values - middle) / unit, -2.0).astype(np.float32)


class Ensemble:
    """E networks F -> H -> H -> 1 with ReLU, independent of each other, in one batched product a layer. The features
    `[size, F]` are those of all architectures that they may see, or of typical ones."""

    def __init__(self, features: Tensor, config: EnsembleConfig, generator: torch.Generator) -> None:
        self.config = config
        widths = (features.shape[1], config.hidden, config.hidden, 1)
        # As in torch.nn.Linear, but few features are set at a time: what counts is the length of a row.
        lengths = (features.square().sum(dim=1).mean().item(), config.hidden, config.hidden)
        parts = []
        for inputs, outputs, length in zip(widths, widths[1:], lengths):
            for rows in (inputs, 1):
                draw = torch.rand(config.members, rows, outputs, generator=generator)
                parts.append((2 * draw - 1) * length**-0.5)
        self._all = torch.cat([part.flatten() for part in parts])  # one tensor: one step of Adam
        views = [view.view_as(part) for part, view in zip(parts, self._all.split([part.numel() for part in parts]))]
        self.weights, self.biases = views[::2], views[1::2]

    @torch.inference_mode()
    def fit(self, x: Tensor, y: Tensor) -> None:
        """Least squares of every member on `x [n, F]` and `y [n]`. The gradient is written out, and the products with
        `x`, of which most is zero, are sums of a few rows: three times as fast as by autograd."""
        members, size = self.config.members, len(x)
        (first, second, third), (bias1, bias2, bias3) = self.weights, self.biases
        optimizer = torch.optim.Adam([self._all], lr=self.config.learning_rate, fused=True)
        times_x, times_x_transposed = _sparse_product(x, members), _sparse_product(x.T, members)
        for _ in range(self.config.steps):
            hidden1 = times_x(first).add_(bias1).relu_()  # [E, n, H]
            hidden2 = torch.baddbmm(bias2, hidden1, second).relu_()
            # the mean over points, the sum over members: the gradient of each is as if it were alone
            error3 = (torch.baddbmm(bias3, hidden2, third) - y[:, None]) * (2 / size)  # [E, n, 1]
            error2 = relu_backward(error3 * third.mT, hidden2, 0)
            error1 = relu_backward(error2 @ second.mT, hidden1, 0)
            layers = (times_x_transposed(error1), error1), (hidden1.mT @ error2, error2), (hidden2.mT @ error3, error3)
            gradients = (part for weight, error in layers for part in (weight, error.sum(dim=1)))
            self._all.grad = torch.cat([part.flatten() for part in gradients])
            optimizer.step()

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Predictions of all members `[E, C]` for `x [C, F]`."""
        hidden = x.expand(self.config.members, -1, -1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1]):
            hidden = torch.baddbmm(bias, hidden, weight).relu()
        return torch.baddbmm(self.biases[-1], hidden, self.weights[-1]).squeeze(2)


def _sparse_product(x: Tensor, members: int) -> Callable[[Tensor], Tensor]:
    """The product of `x [n, F]` with matrices `[E, F, H]`, `[E, n, H]`."""
    (rows, columns), member = x.nonzero().T.contiguous(), torch.arange(members)[:, None]
    starts = (torch.searchsorted(rows, torch.arange(len(x))) + member * len(rows)).flatten()  # of each row's columns
    weights, columns = x[rows, columns].repeat(members), (columns + member * x.shape[1]).flatten()
    sums = partial(F.embedding_bag, columns, offsets=starts, mode="sum", per_sample_weights=weights)
    return lambda matrices: sums(matrices.flatten(0, 1)).unflatten(0, (members, -1))
