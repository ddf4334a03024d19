"""A gated recurrent unit (Cho et al., 2014, https://arxiv.org/abs/1406.1078) and the logits of edge decisions, with
backward passes written by hand.

    r = sigmoid(x_r + W_r h + b_r),  u = sigmoid(x_u + W_u h + b_u),  n = tanh(x_n + r * (W_n h + b_n)),
    h' = (1 - u) * n + u * h

`x` is the input part, computed beforehand. The gradient of W is one product of all steps together, and tanh is taken
from the sigmoid, four times as fast on a CPU. Letters: B graphs, N vertices, P = N (N - 1) / 2 edge decisions of a
graph, C channels of the edge head's hidden layer, M sequences, H hidden.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.models.base import full_precision

AT_ONCE = 256  # edge decisions on a CPU, so that their activations stay in its cache


def run_gru(cell: nn.GRUCell | nn.GRU, gates: Tensor, hidden: Tensor, sizes: list[int] | None = None) -> Tensor:
    """States after each step, `[sum of sizes, H]`, one step after the other.

    Args:
        cell: a cell or a GRU of one layer.
        gates: its input part with the bias, `[sum of sizes, 3H]`, in the type of the products.
        hidden: states before the first step, `[M, H]`.
        sizes: of each step, how many sequences it has: the last ones of those of the step before. One step if None.
    """
    _, weight, _, bias = cell.parameters()
    weight, bias, hidden = (values.to(gates.dtype) for values in (weight, bias, hidden))
    return _Steps.apply(gates, hidden, weight, bias, sizes or [len(gates)])


def gru_step(gates: Tensor, products: Tensor, before: Tensor) -> tuple[Tensor, ...]:
    """The next states `[M, H]`, then what the backward pass reads: r and u, the recurrent part of n, and n. `products`
    are W h + b, `[M, 3H]`."""
    parts = (values.tensor_split([2 * before.shape[1]], dim=1) for values in (gates, products))
    (switches_in, new_in), (switches, new) = parts
    switches = (switches_in + switches).sigmoid()
    reset, update = switches.chunk(2, dim=1)
    proposed = 2 * (2 * full_precision(torch.addcmul(new_in, reset, new))).sigmoid() - 1
    proposed = proposed.to(before.dtype)
    return torch.lerp(proposed, before, update), switches, new, proposed


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, sizes: list[int]) -> Tensor:
        states, saved = gates.new_empty(len(gates), hidden.shape[1]), []
        for before, inputs, state in zip(_before(hidden, states, sizes), gates.split(sizes), states.split(sizes)):
            state[:], *parts = gru_step(inputs, F.linear(before, weight, bias), before)
            saved += parts
        ctx.save_for_backward(hidden, states, weight, *saved)
        ctx.sizes = sizes
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, states, weight, *saved = ctx.saved_tensors
        before, sizes = _before(hidden, states, ctx.sizes), ctx.sizes
        of_gates, of_products = gradient.new_empty(2, len(gradient), len(weight))
        parts = zip(gradient.split(sizes), of_gates.split(sizes), of_products.split(sizes))
        carried = gradient.new_zeros(0, hidden.shape[1])
        for step, (of_state, of_input, of_product) in reversed([*enumerate(parts)]):
            switches, new, proposed = saved[3 * step : 3 * step + 3]
            reset, update = switches.chunk(2, dim=1)
            of_state = of_state + F.pad(carried, (0, 0, len(of_state) - len(carried), 0))
            kept = of_state * update
            of_new = torch.ops.aten.tanh_backward(of_state - kept, proposed)
            of_switches = torch.cat([of_new * new, of_state * (before[step] - proposed)], dim=1)
            of_switches = torch.ops.aten.sigmoid_backward(of_switches, switches)
            torch.cat([of_switches, of_new], dim=1, out=of_input)
            torch.cat([of_switches, of_new * reset], dim=1, out=of_product)
            carried = torch.addmm(kept, of_product, weight) if step or ctx.needs_input_grad[1] else kept
        of_hidden = F.pad(carried, (0, 0, len(hidden) - len(carried), 0)) if ctx.needs_input_grad[1] else None
        return of_gates, of_hidden, of_products.t() @ torch.cat(before), of_products.sum(dim=0), None


def _before(hidden: Tensor, states: Tensor, sizes: list[int]) -> list[Tensor]:
    """What each step starts from."""
    return [state[len(state) - size :] for state, size in zip([hidden, *states.split(sizes)], sizes)]


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


def _activations(from_source: Tensor, table: Tensor, row: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Of each target v, some graphs at a time: these graphs, its v decisions, their activations `[graphs, v, C]`."""
    start, rows = 0, AT_ONCE if row.device.type == "cpu" else row.numel()
    for v in range(1, from_source.shape[1] + 1):
        decisions, together = slice(start, start + v), max(1, rows // v)
        for first in range(0, len(row), together):
            graphs = slice(first, first + together)
            active = table.index_select(0, row[graphs, decisions].flatten()).to(from_source.dtype)
            yield graphs, decisions, active.view(-1, v, active.shape[1]).add_(from_source[graphs, -v:]).relu_()
        start += v
