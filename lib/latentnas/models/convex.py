"""Networks that are convex in their input, and the regulariser of CR-LSO made of one.

CR-LSO (Rao, Zhao, Liu, 2022, https://arxiv.org/abs/2211.05950) predicts accuracy from a latent code z as 1 - g(z)
with g convex, so gradient ascent of the prediction cannot end in a local maximum. Its squared error is a regulariser:
loss = reconstruction + beta KL + weight (1 - g(z) - y)^2, so the encoder has to find codes in which a concave function
fits the accuracy y. Letters: B points, D latent, H hidden, K
layers, E independent networks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.models.base import full_precision
from latentnas.models.heads import Head
from latentnas.settings import check_settings, one_of, whole

CONSTRAINTS = ("projection", "none")
SLOPE = 0.01  # of the leaky ReLU below zero
ASCENT_STEPS = 400  # of `ascend`
PAIRS_AT_ONCE = 10_000  # in a certificate; bounds memory

leaky_backward = torch.ops.aten.leaky_relu_backward  # (gradient, input or output, slope, whether it is the output)

Function = Callable[[Tensor], Tensor]  # points [n, D] -> values [n]


class InputConvexNetwork(nn.Module):
    """E functions g convex in z (the fully connected network of Amos et al., ICML 2017,
    https://arxiv.org/abs/1609.07152, with a leaky ReLU a):

        h_0 = a(A z + b),   h_(k+1) = a(W_k h_k) + a(U_k z),   g = w h_K + u z,   all W_k and w >= 0

    A leaky ReLU is convex and never decreases, and both properties survive sums with weights >= 0.

    `constraint` is how W_k and w are kept from being negative. "projection": by `project` after every step of the
    optimiser (CR-LSO); "none": not at all, for comparison. The initial weights are made on the generator's device.

    Shapes: `[B, D]`, or `[E, B, D]` for points of each member's own, `-> [E, B]`.
    """

    def __init__(
        self,
        latent: int,
        hidden: int = 128,
        layers: int = 4,
        constraint: str = "projection",
        members: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = {"latent": latent, "hidden": hidden, "layers": layers, "members": members}
        latent, hidden, layers, members = (whole(*size) for size in sizes.items())
        self.latent, self.hidden, self.layers, self.members = latent, hidden, layers, members
        self.constraint = constraint
        one_of("constraint", constraint, CONSTRAINTS)

        def draw(low: float, high: float, *shape: int) -> Tensor:
            device = None if generator is None else generator.device
            return low + (high - low) * torch.rand(members, *shape, generator=generator, device=device)

        bound = latent**-0.5
        # A, all U_k and u side by side: what is read from z, in one product
        self.from_input = nn.Parameter(draw(-bound, bound, latent, hidden * (layers + 1) + 1))
        self.bias = nn.Parameter(draw(-bound, bound, 1, hidden))
        # a row sums to 1 on average: values neither grow nor vanish with depth; or as nn.Linear has it
        low, high = (-(hidden**-0.5), hidden**-0.5) if constraint == "none" else (0, 2 / hidden)
        weights = [draw(low, high, hidden, width) for width in [hidden] * layers + [1]]
        # W_0 to W_(K-1) [E, H, H] and w [E, H, 1], as rows of hidden units that are read
        self.from_hidden = nn.ParameterList(map(nn.Parameter, weights))

    def forward(self, z: Tensor) -> Tensor:
        read = torch.matmul(z, self.from_input).split([self.hidden] * (self.layers + 1) + [1], dim=-1)
        *weights, last = self.from_hidden
        hidden = F.leaky_relu(read[0] + self.bias, SLOPE)
        for weight, passed in zip(weights, read[1:-1]):
            hidden = F.leaky_relu(torch.bmm(hidden, weight), SLOPE) + F.leaky_relu(passed, SLOPE)
        return (torch.bmm(hidden, last) + read[-1]).squeeze(-1)

    @torch.no_grad()
    def gradient(self, z: Tensor, targets: Tensor) -> list[Tensor]:
        """The gradient, in the order of the parameters, of the squared error of g at `z [E, B, D]` from `targets
        [E, B]`: the mean over points, the sum over members, so each one's is as if it were alone."""
        *weights, last = self.from_hidden
        read = z @ self.from_input
        read[..., : self.hidden] += self.bias
        state, *passed = F.leaky_relu(read[..., :-1], SLOPE).split(self.hidden, dim=-1)
        layers = []
        for weight, other in zip(weights, passed):
            made = F.leaky_relu(torch.bmm(state, weight), SLOPE)
            layers.append((state, made, weight))
            state = made + other
        value = torch.linalg.vecdot(state, last.mT) + read[..., -1]  # four times as fast as a product with one column
        error = ((value - targets) * (2 / z.shape[1]))[..., None]
        of_read, of_hidden = [error], [(error.mT @ state).mT]
        error = error * last.mT
        for state, made, weight in reversed(layers):
            of_read.insert(0, error)
            error = leaky_backward(error, made, SLOPE, True)
            of_hidden.insert(0, state.mT @ error)
            error = error @ weight.mT
        of_read = torch.cat([error, *of_read], dim=-1)
        of_read[..., :-1] = leaky_backward(of_read[..., :-1], read[..., :-1], SLOPE, False)
        return [z.mT @ of_read, of_read[..., : self.hidden].sum(dim=1, keepdim=True), *of_hidden]

    @torch.no_grad()
    def project(self) -> None:
        if self.constraint == "projection":
            torch._foreach_clamp_min_(list(self.from_hidden), 0)


class ConvexPredictor(Head):
    """The predicted accuracy 1 - g(z), on its `label_scale`, concave in z; g has one member. Its loss is the convexity
    regulariser."""

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
        check_settings(self, above_zero=("learning_rate",))


def refit(
    network: InputConvexNetwork, z: Tensor, targets: Tensor, config: RefitConfig, generator: torch.Generator
) -> None:
    """Fit 1 - g to `targets [n]` at `z [n, D]` by least squares, in place; every member of the network in an order and
    with noise of its own, and at points of its own where z is `[E, n, D]`. All are on the device of the network."""
    device, members, count = network.bias.device, network.members, len(targets)
    z = z.expand(members, count, -1)
    rate, steps = config.learning_rate, config.epochs * math.ceil(count / config.batch_size)
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=rate, weight_decay=config.weight_decay, fused=True)
    rates = iter([rate * (0.55 + 0.45 * math.cos(math.pi * step / steps)) for step in range(steps)])
    for _ in range(config.epochs):
        order = torch.rand(members, count, generator=generator, device=device).argsort(dim=1)
        shuffled = z.take_along_dim(order[..., None], dim=1), targets[order]
        for points, labels in zip(*(values.split(config.batch_size, dim=1) for values in shuffled)):  # [E, batch]
            points = points + config.latent_noise * torch.randn(points.shape, generator=generator, device=device)
            labels = labels + config.label_noise * torch.randn(labels.shape, generator=generator, device=device)
            for parameter, gradient in zip(parameters, network.gradient(points, 1 - labels)):
                parameter.grad = gradient
            optimizer.param_groups[0]["lr"] = next(rates)
            optimizer.step()
            network.project()


@torch.no_grad()
def jensen_gap(function: Function, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """`w f(a) + (1 - w) f(b) - f(w a + (1 - w) b)` for points `[n, D]` and weights `[n]`: a certificate, as no gap of a
    convex function is negative (Jensen's inequality). Use double precision: rounding makes gaps of its own."""
    gaps = []
    for a, b, w in zip(*(values.split(PAIRS_AT_ONCE) for values in (first, second, weight)), strict=True):
        between = w[:, None] * a + (1 - w[:, None]) * b
        gaps.append(w * function(a) + (1 - w) * function(b) - function(between))
    return torch.cat(gaps)


def ascend(function: Function, starts: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where gradient ascent by Adam ends, from each of the starts `[n, D]`: points `[n, D]` and values `[n]`. It stays
    in the box from `low [D]` to `high [D]`: without one, a concave function may rise for ever."""
    z = starts.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ASCENT_STEPS)
    for _ in range(ASCENT_STEPS):
        [z.grad] = torch.autograd.grad(-function(z).sum(), z)
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            z.copy_(z.clamp(low, high))
    with torch.no_grad():
        return z.detach(), function(z)
