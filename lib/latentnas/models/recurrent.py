"""A gated recurrent unit over many steps, with a backward pass of its own.

    r = sigmoid(x_r + W_r h + b_r),  u = sigmoid(x_u + W_u h + b_u),  n = tanh(x_n + r * (W_n h + b_n)),
    h' = (1 - u) * n + u * h

`x` is the input part, computed beforehand. The gradient of W is one product of all steps together, and tanh is taken
from the sigmoid, four times as fast on a CPU. Letters: M sequences, H hidden.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.models.base import full_precision


def run_gru(cell: nn.GRUCell | nn.GRU, gates: Tensor, hidden: Tensor, sizes: list[int]) -> Tensor:
    """States after each step, `[sum of sizes, H]`, one step after the other.

    Args:
        cell: a cell or a GRU of one layer.
        gates: its input part with the bias, `[sum of sizes, 3H]`, in the type of the products.
        hidden: states before the first step, `[M, H]`.
        sizes: of each step, how many sequences it has: the last ones of those of the step before.
    """
    _, weight, _, bias = cell.parameters()
    weight, bias, hidden = (values.to(gates.dtype) for values in (weight, bias, hidden))
    return _Steps.apply(gates, hidden, weight, bias, sizes)


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
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, states, weight, *saved = ctx.saved_tensors
        before, sizes = _before(hidden, states, ctx.sizes), ctx.sizes
        of_gates, of_products = gradient.new_empty(2, len(gradient), len(weight))
        parts = zip(gradient.split(sizes), of_gates.split(sizes), of_products.split(sizes))
        carried = None
        for step, (of_state, of_input, of_product) in reversed([*enumerate(parts)]):
            switches, new, proposed = saved[3 * step : 3 * step + 3]
            reset, update = switches.chunk(2, dim=1)
            if carried is not None:
                of_state = of_state.clone()
                of_state[len(of_state) - len(carried) :] += carried
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
