"""The logits of all edge decisions in `latentnas.models.dagnn`, with a backward pass written by hand.

Letters: B graphs, N vertices, P = N (N - 1) / 2 edge decisions of a graph, C channels of the edge head's hidden layer.
"""

from typing import Any

import torch
from torch import Tensor

from latentnas.models.base import full_precision

AT_ONCE = 256  # edge decisions on a CPU, so that their activations stay in its cache


class EdgeLogits(torch.autograd.Function):
    """`relu(from_source[source] + table[row]) @ weight` for all decisions, `[B, P]`.

    The activations `[B, P, C]` would be the largest tensor of training. They are made target by target, while they fit
    into the cache, and made again in the backward pass. `from_source [B, N-1, C]` lists the last source first;
    `row [B, P]` is that of `DecisionPlan`.
    """

    @staticmethod
    def forward(ctx: Any, from_source: Tensor, table: Tensor, weight: Tensor, row: Tensor) -> Tensor:
        from_source, weight = full_precision(from_source), full_precision(weight)
        ctx.save_for_backward(from_source, table, weight, row)
        logits = weight.new_empty(row.shape)
        with torch.autocast(row.device.type, enabled=False):  # sums in full precision
            for graphs, decisions, active in _activations(from_source, table, row):
                logits[graphs, decisions] = active @ weight
        return logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from_source, table, weight, row = ctx.saved_tensors
        for_source, for_weight = torch.zeros_like(from_source), torch.zeros_like(weight)
        for_table = torch.zeros_like(table, dtype=for_source.dtype)
        for graphs, decisions, active in _activations(from_source, table, row):
            by_decision = gradient[graphs, decisions]
            for_weight += by_decision.flatten() @ active.flatten(0, 1)
            active.sign_().mul_(by_decision[..., None])
            for_source[graphs, -active.shape[1] :] += active
            for_table.index_add_(0, row[graphs, decisions].flatten(), active.flatten(0, 1))
        return for_source.mul_(weight), for_table.mul_(weight), for_weight, None


def _activations(from_source: Tensor, table: Tensor, row: Tensor):
    """Of each target v, some graphs at a time: these graphs, its v decisions, their activations `[graphs, v, C]`."""
    start, rows = 0, AT_ONCE if row.device.type == "cpu" else row.numel()
    for v in range(1, from_source.shape[1] + 1):
        decisions, together = slice(start, start + v), max(1, rows // v)
        for first in range(0, len(row), together):
            graphs = slice(first, first + together)
            active = table.index_select(0, row[graphs, decisions].flatten()).to(from_source.dtype)
            yield graphs, decisions, active.view(-1, v, active.shape[1]).add_(from_source[graphs, -v:]).relu_()
        start += v
