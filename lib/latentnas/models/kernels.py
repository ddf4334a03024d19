"""What takes most of the time in `latentnas.models.dagnn`, with backward passes written by hand.

Autograd would cast each weight at each use, keep every intermediate result of the recurrence, and make a product of its
own for every vertex's part of a weight's gradient. Here a weight is cast once, element-wise work is in fp32 whatever
the precision of the products, and a weight's gradient is one product for all vertices. Letters: B graphs, N vertices,
H hidden, P = N (N - 1) / 2 edge decisions of a graph.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentnas.models.base import full_precision
from latentnas.models.recurrent import tanh

AT_ONCE = 256  # edge decisions on a CPU, so that their activations stay in its cache


def apply(function: type[torch.autograd.Function], *args: Tensor | None) -> Any:
    """The function without autocast, which would lower the precision of sums inside it."""
    with torch.autocast(args[0].device.type, enabled=False):
        return function.apply(*args)


class Recurrence(torch.autograd.Function):
    """States `[B, N, H]` of a GRU along a DAG, and the messages `[B, N-1, H]` of all vertices but the last.

    A vertex receives the sum of the messages of its senders; vertex 0 receives `initial [B, H]`, zeros if it is None.
    The message of state h is `a * sigmoid(b)` with `[a, b] = message_weight h + message_bias[vertex]`. `gates
    [B, N, 3H]` is the input part of the GRU; its precision is that of the products. `senders [B, v, u]` is 1 where u
    sends to v. `weights`: weight and bias of the GRU, message_weight, message_bias.
    """

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, senders: Tensor, initial: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        weight, bias, message_weight, message_bias = (values.to(gates.dtype).contiguous() for values in weights)
        (graphs, vertices, _), hidden, full = gates.shape, weight.shape[1], full_precision(gates[:0]).dtype
        received = gates.new_zeros(graphs, vertices, hidden, dtype=full)
        if initial is not None:
            received[:, 0] = initial
        states, sent = torch.empty_like(received), torch.empty_like(received[:, 1:])
        saved = []  # of each vertex: reset and update gate, the new gate's recurrent part, the new gate, [a, b]
        for v in range(vertices):
            if v:
                received[:, v] = torch.bmm(senders[:, v, None, :v], sent[:, :v]).squeeze(1)
            recurrent = F.linear(received[:, v].to(gates.dtype), weight, bias).to(full)
            gate = (recurrent[:, : 2 * hidden] + gates[:, v, : 2 * hidden]).sigmoid_()
            recurrent = recurrent[:, 2 * hidden :]
            new = tanh(torch.addcmul(gates[:, v, 2 * hidden :].to(full), gate[:, :hidden], recurrent))
            states[:, v] = torch.lerp(new, received[:, v], gate[:, hidden:])
            saved += [gate, recurrent, new]
            if v < vertices - 1:
                passed = F.linear(states[:, v].to(gates.dtype), message_weight, message_bias[v])
                sent[:, v] = F.glu(passed)
                saved.append(passed)
        ctx.save_for_backward(senders, weight, message_weight, received, states, *saved)
        ctx.has_initial = initial is not None
        return states, sent

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, for_states: Tensor, for_sent: Tensor) -> tuple[Tensor | None, ...]:
        senders, weight, message_weight, received, states, *saved = ctx.saved_tensors
        (graphs, vertices, hidden), dtype = states.shape, weight.dtype
        for_received = torch.empty_like(received)
        for_gates = states.new_empty(graphs, vertices, 3 * hidden, dtype=dtype)
        for_recurrent = torch.empty_like(for_gates)
        for_messages = states.new_empty(graphs, vertices - 1, 2 * hidden, dtype=dtype)
        for v in reversed(range(vertices)):
            gate, recurrent, new, *passed = saved[4 * v : 4 * v + 4]
            reset, update = gate.chunk(2, dim=1)
            gradient = for_states[:, v]
            if passed:
                arrived = torch.bmm(senders[:, v + 1 :, v, None].transpose(1, 2), for_received[:, v + 1 :]).squeeze(1)
                arrived += for_sent[:, v]
                for_messages[:, v] = torch.ops.aten.glu_backward(arrived.to(dtype), *passed, 1)
                gradient = gradient + F.linear(for_messages[:, v], message_weight.t())
            for_new = torch.ops.aten.tanh_backward(gradient * (1 - update), new)
            for_gates[:, v, :hidden] = torch.ops.aten.sigmoid_backward(for_new * recurrent, reset)
            for_gates[:, v, hidden:-hidden] = torch.ops.aten.sigmoid_backward(gradient * (received[:, v] - new), update)
            for_gates[:, v, -hidden:] = for_new
            for_recurrent[:, v, :-hidden] = for_gates[:, v, :-hidden]
            for_recurrent[:, v, -hidden:] = for_new * reset
            if v or ctx.has_initial:
                for_received[:, v] = torch.addcmul(F.linear(for_recurrent[:, v], weight.t()), gradient, update)
        for_weight = _weight_gradient(for_recurrent, received)
        for_bias, for_initial = for_recurrent.sum(dim=(0, 1)), for_received[:, 0] if ctx.has_initial else None
        for_message_bias = F.pad(for_messages.sum(dim=0), (0, 0, 0, 1))
        for_message_weight = _weight_gradient(for_messages, states[:, :-1])
        return for_gates, None, for_initial, for_weight, for_bias, for_message_weight, for_message_bias


def _weight_gradient(gradient: Tensor, inputs: Tensor) -> Tensor:
    """`[outputs, inputs]`, summed over graphs and vertices."""
    return F.linear(gradient.flatten(0, 1).t(), inputs.flatten(0, 1).to(gradient.dtype).t())


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
