"""Networks that are convex in their input, and the regulariser of CR-LSO made of one.

CR-LSO (Rao, Zhao, Liu, 2022, https://arxiv.org/abs/2211.05950) predicts accuracy from a latent code z as 1 - g(z)
with g convex, so the prediction is concave and gradient ascent of it cannot end in a local maximum. Trained together
with the encoder, the squared error of this prediction is a regulariser: the encoder has to find codes in which a
concave function fits accuracy. Letters: B points, D latent size, H hidden units, K layers, E independent networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.models.base import full_precision
from latentnas.models.heads import Head

CONVEX = ("projection", "construction")
CONSTRAINTS = (*CONVEX, "none")
SLOPE = 0.01  # of the leaky ReLU below zero
PAIRS_AT_ONCE = 10_000  # in a certificate; bounds memory

Function = Callable[[Tensor], Tensor]  # points [n, D] -> values [n]


class InputConvexNetwork(nn.Module):
    """E functions g convex in z (the fully connected network of Amos et al., ICML 2017,
    https://arxiv.org/abs/1609.07152, with a leaky ReLU a):

        h_0 = a(A z + b),   h_(k+1) = a(W_k h_k) + a(U_k z),   g = w h_K + u z,   all W_k and w >= 0

    A leaky ReLU is convex and never decreases, and both properties survive sums with weights >= 0.

    Args:
        latent: D. hidden: H. layers: K. members: E.
        constraint: how W_k and w are kept from being negative. "projection": they are set to zero where they
            are negative, by `project` after every step of the optimiser (CR-LSO); "construction": they are
            `softplus` of free parameters; "none": not at all. Then it is an ordinary network of the same
            shape, not convex, for comparison.
        smoothing: 0 for the leaky ReLU. Above 0, its smooth version (a softplus of this width, in units of
            the pre-activation) stands in its place, convex and increasing too: the Hessian of a network with
            leaky ReLUs is zero wherever there is one.
        generator: source of the initial weights, which are made on its device.

    Shapes: `[B, D]`, or `[E, B, D]` for points of each member's own, `-> [E, B]`.
    """

    def __init__(
        self,
        latent: int,
        hidden: int = 128,
        layers: int = 4,
        constraint: str = "projection",
        members: int = 1,
        smoothing: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if constraint not in CONSTRAINTS:
            raise ValueError(f"constraint={constraint!r} is unknown; choose one of {', '.join(CONSTRAINTS)}.")
        if min(latent, hidden, layers, members) < 1 or smoothing < 0:
            raise ValueError(
                f"A convex network needs latent={latent}, hidden={hidden}, layers={layers} and "
                f"members={members} of at least 1 and a smoothing, {smoothing}, of at least 0."
            )
        self.constraint, self.smoothing, self.hidden, self.layers = constraint, smoothing, hidden, layers

        def draw(low: float, high: float, *shape: int) -> Tensor:
            device = None if generator is None else generator.device
            return low + (high - low) * torch.rand(members, *shape, generator=generator, device=device)

        bound = latent**-0.5
        # A, all U_k and u side by side: what is read from z, in one product
        self.from_input = nn.Parameter(draw(-bound, bound, latent, hidden * (layers + 1) + 1))
        self.bias = nn.Parameter(draw(-bound, bound, 1, hidden))
        # a row sums to 1 on average: values neither grow nor vanish with depth; or as nn.Linear has it
        low, high = (-(hidden**-0.5), hidden**-0.5) if constraint == "none" else (0, 2 / hidden)
        outputs = [hidden] * layers + [1]
        self.from_hidden = nn.ParameterList(
            nn.Parameter(self._unconstrained(draw(low, high, hidden, width))) for width in outputs
        )

    def forward(self, z: Tensor) -> Tensor:
        read = torch.matmul(z, self.from_input).split([self.hidden] * (self.layers + 1) + [1], dim=-1)
        weights = self.hidden_weights()
        hidden = self._activation(read[0] + self.bias)
        for weight, passed in zip(weights[:-1], read[1:-1]):
            hidden = self._activation(torch.bmm(hidden, weight)) + self._activation(passed)
        return (torch.bmm(hidden, weights[-1]) + read[-1]).squeeze(-1)

    def hidden_weights(self) -> list[Tensor]:
        """W_0 to W_(K-1) `[E, H, H]` and w `[E, H, 1]`, as rows of hidden units that are read; none is
        negative but under the constraint "none"."""
        if self.constraint == "construction":
            return [F.softplus(weight) for weight in self.from_hidden]
        return list(self.from_hidden)

    @torch.no_grad()
    def project(self) -> None:
        """Set negative weights to zero, under the constraint "projection"."""
        if self.constraint == "projection":
            for weight in self.from_hidden:
                weight.clamp_(min=0)

    def _unconstrained(self, weight: Tensor) -> Tensor:
        """The parameter that stands for a weight >= 0."""
        return weight.clamp(min=1e-6).expm1().log() if self.constraint == "construction" else weight

    def _activation(self, x: Tensor) -> Tensor:
        if self.smoothing:
            return SLOPE * x + (1 - SLOPE) * F.softplus(x, beta=1 / self.smoothing)
        return F.leaky_relu(x, SLOPE)


class ConvexPredictor(Head):
    """The predicted accuracy 1 - g(z), concave in z; g has one member. Its loss is the convexity regulariser."""

    def __init__(self, network: InputConvexNetwork, label_scale: str = "standardised") -> None:
        super().__init__(label_scale)
        self.network = network

    def forward(self, z: Tensor) -> Tensor:
        return 1 - full_precision(self.network(z)[0])

    def project(self) -> None:
        self.network.project()


@dataclass(frozen=True)
class RefitConfig:
    """How convex networks are fitted to labelled points; the defaults are those of CR-LSO's search."""

    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-4  # of Adam; a cosine lowers it to a tenth
    weight_decay: float = 1e-5
    latent_noise: float = 0.05  # standard deviation of the noise on the points
    label_noise: float = 0.01  # and on the targets

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1 or not self.learning_rate > 0:
            raise ValueError(
                f"epochs={self.epochs} and batch_size={self.batch_size} must be at least 1 and "
                f"learning_rate={self.learning_rate} positive."
            )


def refit(
    network: InputConvexNetwork, z: Tensor, targets: Tensor, config: RefitConfig, generator: torch.Generator
) -> None:
    """Fit 1 - g to `targets [n]` at `z [n, D]` by least squares, in place; every member of the network in
    an order and with noise of its own, and at points of its own where z is `[E, n, D]`. Fewer points than a
    batch make one batch. All are on the device of the network."""
    device = network.bias.device
    members, count = network.bias.shape[0], len(targets)
    z = z.expand(members, count, -1)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    steps = config.epochs * math.ceil(count / config.batch_size)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, config.learning_rate / 10)
    with torch.enable_grad():
        for _ in range(config.epochs):
            order = torch.rand(members, count, generator=generator, device=device).argsort(dim=1)
            for rows in order.split(config.batch_size, dim=1):  # [E, batch]
                points, labels = z.take_along_dim(rows[..., None], dim=1), targets[rows]
                points = points + config.latent_noise * torch.randn(points.shape, generator=generator, device=device)
                labels = labels + config.label_noise * torch.randn(labels.shape, generator=generator, device=device)
                optimizer.zero_grad()
                # the mean over points, the sum over members: each one's gradient is as if it were alone
                (1 - network(points) - labels).square().mean(dim=1).sum().backward()
                optimizer.step()
                network.project()
                scheduler.step()


# certificates of convexity


@torch.no_grad()
def jensen_gap(function: Function, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """`w f(a) + (1 - w) f(b) - f(w a + (1 - w) b)` for points `[n, D]` and weights `[n]`; a convex
    function has no negative gap (Jensen's inequality). Use double precision: rounding makes gaps of its
    own."""
    gaps = []
    for a, b, w in zip(*(values.split(PAIRS_AT_ONCE) for values in (first, second, weight)), strict=True):
        between = w[:, None] * a + (1 - w[:, None]) * b
        gaps.append(w * function(a) + (1 - w) * function(b) - function(between))
    return torch.cat(gaps)


def smallest_hessian_eigenvalue(function: Function, points: Tensor) -> Tensor:
    """The smallest eigenvalue of the Hessian at each of the points `[n, D]`, `[n]`; none is negative for
    a convex function. It says nothing about a network with leaky ReLUs, whose Hessian is zero almost
    everywhere: give the network a smoothing."""

    def at_one_point(z: Tensor) -> Tensor:
        return function(z[None])[0]

    hessians = torch.func.vmap(torch.func.hessian(at_one_point))(points)
    return torch.linalg.eigvalsh(hessians)[:, 0].detach()


def ascend(
    function: Function, starts: Tensor, low: Tensor, high: Tensor, steps: int = 400, rate: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Where gradient ascent ends, from each of the starts `[n, D]`: points `[n, D]` and values `[n]`.

    Adam with a rate that a cosine lowers to 0, within the box from `low [D]` to `high [D]`: without
    one, a concave function may rise for ever. In it, every local maximum of a concave function is the
    global one.
    """
    z = starts.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        [z.grad] = torch.autograd.grad(-function(z).sum(), z)
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            z.copy_(z.clamp(low, high))
    with torch.no_grad():
        return z.detach(), function(z)


def count_levels(values: Tensor, width: float) -> int:
    """How many different heights ascents ended at: the least number of steps of height `width` that hold all
    `values` `[n]`. A spread without gaps counts as many steps, not as one."""
    steps, lowest = 0, -math.inf
    for value in values.sort().values.tolist():
        if value > lowest + width:
            steps, lowest = steps + 1, value
    return steps
