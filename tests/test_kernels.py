"""The hand-written backward passes against autograd on the same sums written plainly."""

import pytest
import torch
import torch.nn.functional as F

from latentnas.models.dagnn import DecisionPlan, propagate
from latentnas.models.kernels import AT_ONCE, EdgeLogits, run_gru
from latentnas.models.ngae import NGAE, NGAEConfig
from model_checks import random_dags


def assert_same_gradients(ours, expected, inputs):
    """Of random sums of the outputs, twice: nothing that the first backward pass needed was overwritten."""
    torch.testing.assert_close(ours, expected)
    weights = [torch.randn_like(output) for output in ours]
    total, plain = (sum((w * o).sum() for w, o in zip(weights, outputs)) for outputs in (ours, expected))
    wanted = torch.autograd.grad(plain, inputs)
    for _ in range(2):
        torch.testing.assert_close(torch.autograd.grad(total, inputs, retain_graph=True), wanted)


@pytest.mark.parametrize("graphs, vertices", [(3, 7), (AT_ONCE // 4, 7), (2, 2), (2, AT_ONCE // 8)])
def test_edge_logits_are_those_of_autograd(graphs, vertices):
    """Also where the decisions of one target are made in several parts."""
    torch.manual_seed(0)
    batch = random_dags(graphs, num_vertices=vertices)
    plan = DecisionPlan.from_batch(batch, num_types=5)
    rows = int(plan.row.max()) + 1
    inputs = [torch.randn(*size, dtype=torch.float64) for size in ((graphs, vertices - 1, 6), (rows, 6), (6,))]
    from_source, table, weight = (values.requires_grad_() for values in inputs)
    order = torch.cat([torch.arange(vertices - 1 - v, vertices - 1) for v in range(1, vertices)])
    expected = torch.relu(from_source[:, order] + table[plan.row]) @ weight
    assert_same_gradients([EdgeLogits.apply(from_source, table, weight, plan.row)], [expected], inputs)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("starts", [False, True])
def test_states_and_messages_are_those_of_autograd(reverse, starts):
    torch.manual_seed(0)
    batch = random_dags(5)
    model = NGAE(NGAEConfig(num_types=5, num_vertices=7, hidden=6, latent=4, predictors="none")).double()
    cell, messages = model.decoder.cell, model.decoder.message
    initial = torch.randn(5, 6, dtype=torch.float64, requires_grad=True) if starts else None
    states, sent, edges = [], [], batch.adjacency.double()
    order = range(6, -1, -1) if reverse else range(7)
    for v in order:
        received = torch.zeros(5, 6, dtype=torch.float64) if states or not starts else initial
        for u, passed in zip(order, sent):
            received = received + (edges[:, v, u] if reverse else edges[:, u, v])[:, None] * passed
        states.append(cell(F.one_hot(batch.types[:, v] + 1, 6)[:, 1:].double(), received))
        numbered = torch.cat([states[-1], F.one_hot(torch.tensor([v] * 5), 7)], dim=1)
        sent.append(messages.gate(numbered).sigmoid() * messages.mapper(numbered))
    inputs = [*cell.parameters(), *messages.parameters()] + [initial] * starts
    ours = propagate(cell, messages, batch, reverse=reverse, initial=initial)
    assert_same_gradients(list(ours), [torch.stack(states, 1), torch.stack(sent[:-1], 1)], inputs)


def test_steps_of_a_gru_are_those_of_autograd():
    """Sequences that end one after the other: the last ones of those before go on."""
    torch.manual_seed(0)
    cell, sizes = torch.nn.GRUCell(3, 5).double(), [4, 3, 3, 1]
    features = torch.randn(sum(sizes), 3, dtype=torch.float64, requires_grad=True)
    hidden = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    states, before = [], hidden
    for inputs, size in zip(features.split(sizes), sizes):
        before = cell(inputs, before[len(before) - size :])
        states.append(before)
    ours = run_gru(cell, F.linear(features, cell.weight_ih, cell.bias_ih), hidden, sizes)
    assert_same_gradients([ours], [torch.cat(states)], [features, hidden, *cell.parameters()])


def test_sums_are_in_full_precision_where_products_are_not():
    torch.manual_seed(0)
    batch = random_dags(40)
    model = NGAE(NGAEConfig(num_types=5, num_vertices=7, hidden=32, latent=8, noise_scale=0.0, predictors="none"))
    expected = model.loss(batch)["total"]
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = model.loss(batch)["total"]
        states, sent = propagate(model.decoder.cell, model.decoder.message, batch)
    assert {total.dtype, states.dtype, sent.dtype} == {torch.float32}
    torch.testing.assert_close(total, expected, rtol=1e-3, atol=0)
    for ours, plain in zip(torch.autograd.grad(total, list(model.parameters())), wanted):
        assert (ours - plain).norm() < 0.1 * plain.norm()  # bf16 has 8 bits; a term that is missing weighs more
