"""Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) for many matrices at once.

A matrix W `[m, n]` with gradient G goes, in steps as large as AdamW's (Liu et al., 2025, arXiv 2502.16982),

    M <- 0.95 M + 0.05 G,    W <- (1 - rate * decay) W - 0.2 rate sqrt(max(m, n)) orthogonal(0.05 G + 0.95 M)

The numbers are those of `torch.optim.Muon`; all matrices of one shape, upright or lying, are one batch of products.
Those are in bf16 only where the chip computes in it: others take up to 50 times as long for bf16 as for fp32.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn

from latentnas.devices import computes_in_bf16


class Muon(torch.optim.Optimizer):
    """For matrices only."""

    def __init__(self, matrices: list[nn.Parameter], lr: float | Tensor, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            stacks: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for weight in (weight for weight in group["params"] if weight.grad is not None):
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                change = weight.grad.lerp(state["momentum_buffer"].lerp_(weight.grad, 0.05), 0.95)
                upright = weight.shape[0] > weight.shape[1]
                stacks[tuple(sorted(weight.shape))].append((weight.t(), change.t()) if upright else (weight, change))
            for (_, longest), stack in stacks.items():
                weights, changes = zip(*stack, strict=True)
                for weight, change in zip(weights, orthogonal(torch.stack(changes)), strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    scale = -0.2 * longest**0.5 * group["lr"]
                    weight.addcmul_(change, scale) if isinstance(scale, Tensor) else weight.add_(change, alpha=scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """About the nearest matrices with orthonormal rows, `[M, m, n]` with m <= n. Five steps of Newton and Schulz's
    iteration, with factors that bring singular values near 1 soon, not close to it in the end."""
    matrices = matrices.to(torch.bfloat16 if computes_in_bf16(matrices.device) else torch.float32)
    matrices = matrices / torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = torch.bmm(matrices, matrices.mT)
        gram = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        matrices = torch.baddbmm(matrices, gram, matrices, beta=3.4445)
    return matrices
