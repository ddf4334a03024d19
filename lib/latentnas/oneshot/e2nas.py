"""E2NAS: one-shot search in a latent space of cells, on NAS-Bench-201.

Zhang, Li, Pan, Chang, Ge, Su: Differentiable Neural Architecture Search in Equivalent Space with Exploration
Enhancement, NeurIPS 2020,
https://proceedings.neurips.cc/paper/2020/hash/9a96a2c73c0d477ff2a6da3bf538f4f4-Abstract.html.

The architecture parameters are one point z of the latent space of an autoencoder that was trained on the
structure of all cells, without labels. It decodes to one operation an edge. In turns, the shared weights
learn from training images and z from validation images, and two terms are added to the losses:

* Exploration: (1 - eta) x loss + eta x log density of z, where eta falls from 1 to 0 during the search. The
  density is that of probabilistic novelty detection with autoencoders (Pidhorskyi et al., NeurIPS 2018) given
  the last 50 points: to lower it is to go where the search has not been.
* Complementation: a step of the weights also trains the cell before and the complement of the present one, so
  that operations that are not in use now are not forgotten.

In the released code both terms have no gradients, because they enter the losses as plain numbers: `released=True`
keeps the factors (1 - eta) and (1 - lambda) alone.

The authors fit a small network to the decoder of a D-VAE, which cannot be differentiated. Here the autoencoder
is that of CR-LSO without its regulariser, whose decoder is such a network: it gives the logits of all six edges
at once. As in CR-LSO's search, coordinates are in standard deviations over all cells.

Where the sources leave it open:

* Logits are divided by their standard deviation over all cells: the softmax of so sure a decoder has no gradient.
* All operations of an edge are computed when z learns. The factor of the one in use is mere amplitude, which
  normalisation takes out again, and `none` has no gradient at all.
* Both terms' gradients have length 1 before they are weighed. The density's is tens of times longer.
* z stays in the ball that holds all codes. Outside, the density falls for ever and the decoded cell stays.

Letters: D latent dimensions, n points of the archive.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import gammaln
from torch import Generator, Tensor

from latentnas.models.crlso import CRLSO, CRLSOConfig
from latentnas.oneshot.shared_cells import SharedCells, cross_entropy
from latentnas.oneshot.strategies import LearnedCells, LearningConfig, straight_through
from latentnas.search.latent.crlso import LatentSpace, embed
from latentnas.settings import check_settings
from latentnas.spaces.nasbench201 import CELL_EDGES, NASBENCH201, NUM_OPERATIONS
from latentnas.train import TrainConfig, train_model

SHAPES = np.linspace(1.0, 10.0, 200)  # of generalised normals: from the Laplace to nearly a uniform distribution
ARCHIVE = 50  # points that the density is fitted to
SMALLEST_SPREAD = 1e-2  # standard deviation below which points of the archive count as one
TRACE = 1e-12  # a factor that changes no number, but is not 0: the operation is computed and has a gradient


@dataclass(frozen=True)
class E2nasConfig(LearningConfig):
    """The defaults but for the learning rate and the balance are the published ones."""

    learning_rate: float = 0.2  # published: 3e-4, with 40 to 350 times as many steps
    released: bool = False  # without the gradients of both terms, as in the authors' code
    explores: bool = True  # whether there is an exploration term
    balanced: bool = True  # whether both gradients get the same length before they are weighed
    steepness: float = 10.0  # of the fall of eta in the middle of the search
    complementation: float = 0.5  # lambda; 0: without

    def __post_init__(self) -> None:
        check_settings(self, above_zero=("learning_rate",), shares=("complementation",))


class E2nas(LearnedCells):
    """The search's state: the latent point, the archive, the cell before. `one_shot_search` runs it. `space` is that of
    `cell_space`; the first point is the code of a cell. (The authors start close to the origin.)"""

    def __init__(self, space: LatentSpace, seed: int, config: E2nasConfig = E2nasConfig()) -> None:
        count, size = space.codes.shape
        if count != NASBENCH201.size:
            raise ValueError(f"E2NAS searches all cells, but this latent space has {count} codes. Use `cell_space`.")
        start = space.codes[torch.randint(count, (), generator=Generator().manual_seed(seed))].clone()
        super().__init__(start, config)
        self.space = space
        self.radius = space.codes.norm(dim=1).max()
        with torch.no_grad():
            self.temperature = space.model.decoder(space.codes * space.deviation).std()
        # The archive: the newest point is the last, the first `ARCHIVE - remembered` are not yet filled.
        self.register_buffer("points", torch.zeros(ARCHIVE, size, dtype=start.dtype))
        self.register_buffer("residuals", torch.zeros(ARCHIVE, dtype=start.dtype))
        self.register_buffer("remembered", torch.tensor(0))
        self.last = self.current()[None]  # the cell before the first is the first itself

    def description(self) -> dict:
        codes = self.space.codes.contiguous().numpy().tobytes()
        return super().description() | {"space": hashlib.sha256(codes).hexdigest()[:12]}

    def decode(self, z: Tensor) -> Tensor:
        """Logits of the operations `[6, 5]` at `z [D]`, of variance 1 over all cells."""
        logits = self.space.model.decoder(z * self.space.deviation).view(len(CELL_EDGES), NUM_OPERATIONS)
        return logits / self.temperature

    def current(self) -> Tensor:
        return self.decode(self.variable.detach()).detach().argmax(dim=1)

    def factors(self, done: float, generator: Generator) -> Tensor:
        """One operation an edge; the gradient is that of the softmax, with respect to all operations."""
        return straight_through(self.decode(self.variable)) + TRACE

    def learn(self, network: SharedCells, images: Tensor, labels: Tensor, done: float, generator: Generator) -> Tensor:
        loss = super().learn(network, images, labels, done, generator)
        self.variable.data *= (self.radius / self.variable.data.norm()).clamp(max=1)
        return loss

    def gradient(self, loss: Tensor, done: float) -> Tensor:
        own = super().gradient(loss, done)
        if not self.config.explores:
            return own
        eta = self.exploration_weight(done)
        if self.config.released:
            return (1 - eta) * own
        [away] = torch.autograd.grad(sum(self.log_densities(self.variable).values()) / 3, [self.variable])
        if self.config.balanced:
            own, away = F.normalize(own, dim=0), F.normalize(away, dim=0)
        return (1 - eta) * own + eta * away

    def exploration_weight(self, done: float) -> float:
        """eta: 1 at first, 1/2 in the middle, 0 at the end."""
        return 1 / (1 + math.exp(self.config.steepness * (2 * done - 1)))

    def log_densities(self, z: Tensor) -> dict[str, Tensor]:
        """The three terms of the log density at `z [D]`, each with its gradient; NaN before the first step.

        `decoder`: how much the decoder contracts the space, minus the sum of the logs of the singular values of the
        Jacobian of the chosen logits. (The released code adds it; the density of what went through a function has it
        subtracted.) `latent`: of generalised normals fitted to the archive, the mean over dimensions. `residual`: of
        the archive's residuals, by normal kernels in place of the released histogram, which is flat between steps.
        """
        first = len(self.points) - self.remembered
        return {
            "decoder": -self.log_volume(z),
            "latent": generalised_normal_log_density(z, *fit_generalised_normal(self.points[first:])).mean(),
            "residual": kernel_log_density(self.residual(z), self.residuals[first:]),
        }

    def log_volume(self, z: Tensor) -> Tensor:
        """Log of the product of the singular values of the Jacobian `[6, D]` of the largest logits at z."""
        chosen = self.decode(z.detach()).argmax(dim=1, keepdim=True)
        jacobian = torch.func.jacrev(lambda point: self.decode(point).gather(1, chosen)[:, 0])(z)
        return torch.logdet(jacobian @ jacobian.t()) / 2

    def residual(self, z: Tensor) -> Tensor:
        """How far the operation probabilities at z are from those at the code of the cell decoded from z."""
        logits = self.decode(z)
        [row] = NASBENCH201.index(NASBENCH201.from_choices(logits.detach().argmax(dim=1)[None]))
        return (logits.softmax(dim=1) - self.decode(self.space.codes[row]).softmax(dim=1)).norm()

    def loss(self, network: SharedCells, images: Tensor, labels: Tensor, done: float, generator: Generator) -> Tensor:
        weight, cell, previous = self.config.complementation, self.current(), self.last[0]
        total = (1 - weight) * cross_entropy(network(images[:, None], cell[None]), labels)
        if weight and not self.config.released:
            others = torch.stack([previous, complement(cell, previous, generator)])
            total = total + weight * cross_entropy(network(images[:, None], others), labels)
        self.last = cell[None]
        self._remember()
        return total

    def _remember(self) -> None:
        z = self.variable.detach()
        self.points = torch.cat([self.points[1:], z[None]])
        self.residuals = torch.cat([self.residuals[1:], self.residual(z).detach()[None]])
        self.remembered = (self.remembered + 1).clamp(max=len(self.points))


def complement(cell: Tensor, previous: Tensor, generator: Generator) -> Tensor:
    """The cell `[6]` with another operation, drawn uniformly, on each edge that has not changed."""
    other = (cell + torch.randint(1, NUM_OPERATIONS, cell.shape, generator=generator)) % NUM_OPERATIONS
    return torch.where(cell == previous, other, cell)


def fit_generalised_normal(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, scale and shape `[D]` of the generalised normal with the moments of `points [n, D]`: the shape has the
    points' ratio of squared mean absolute deviation to variance (Mallat, 1989), within `SHAPES`: below 1, the gradient
    of the density would be infinite at the mean."""
    mean = points.mean(dim=0)
    deviation = (points - mean).abs()
    variance = deviation.square().mean(dim=0).clamp(min=SMALLEST_SPREAD**2)
    ratio = deviation.mean(dim=0).square() / variance
    ratios = np.exp(2 * gammaln(2 / SHAPES) - gammaln(1 / SHAPES) - gammaln(3 / SHAPES))  # it rises with the shape
    shape = torch.from_numpy(np.interp(ratio.numpy(), ratios, SHAPES)).to(points)
    scale = (variance.log() + torch.lgamma(1 / shape) - torch.lgamma(3 / shape)).div(2).exp()
    return mean, scale, shape


def generalised_normal_log_density(z: Tensor, mean: Tensor, scale: Tensor, shape: Tensor) -> Tensor:
    """Of each of D coordinates by itself, `[D]`."""
    return (shape / (2 * scale)).log() - torch.lgamma(1 / shape) - ((z - mean).abs() / scale) ** shape


def kernel_log_density(value: Tensor, samples: Tensor) -> Tensor:
    """Log density at a number of the mean of normal kernels on `samples [n]`, of Scott's width."""
    spread = samples.std(correction=0).clamp(min=SMALLEST_SPREAD)
    width = spread * len(samples) ** -0.2
    exponents = -((value - samples) / width).square() / 2
    return exponents.logsumexp(dim=0) - (len(samples) * width * math.sqrt(2 * math.pi)).log()


def cell_space(training: TrainConfig) -> LatentSpace:
    """The latent space of all cells, of their structure alone, trained or loaded; of 30 dimensions as in the paper."""
    graphs, config = NASBENCH201.enumerate(), CRLSOConfig(latent=30, convexity_weight=0.0)
    return embed(train_model("cells-autoencoder", CRLSO, config, graphs, {}, training).model, graphs)
