"""The weight-sharing cell network against networks of single cells and a plain sum of operations."""

import dataclasses

import pytest
import torch
import torch.nn.functional as functional

from latentnas import checkpoint
from latentnas.measure.cells import CellNetworks
from latentnas.oneshot.shared_cells import PUBLISHED_SKELETON, SharedCells, SharedEdge, SharedSkeleton
from latentnas.spaces.nasbench201 import CELL_EDGES, CONV3X3, NASBENCH201, NONE

OPERATIONS = torch.tensor([[3, 0, 4, 1, 2, 3], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 0, 1], [2, 3, 3, 2, 4, 3]])
SKELETON = SharedSkeleton(channels=4, cells=2)


def shared(seed=0):
    return SharedCells(SKELETON, seed).double()


def images(batch, count=1):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, count, 1, 8, 8, dtype=torch.float64, generator=generator)


def single(network, operations):
    """``CellNetworks`` of one cell with the weights of the weight-sharing network, and the pairs of both's
    parameters."""
    plain = CellNetworks(operations[None], [0], channels=4, cells=2).double()
    pairs = [(plain.stem.weight, network.stem.weight)]
    pairs.append((plain.reduction.weight, network.reductions[0].shortcut.weight))
    for stack, stage in zip((plain.narrow, plain.wide), network.stages):
        for cell, own in zip(stack, stage):
            for edge, choices in zip(cell.edges, own.edges):
                pairs += [
                    (convolution.weight, choices.convolutions[number].weight)
                    for number, convolution in edge.convolutions.items()
                ]
    pairs.append((plain.classifier, network.classifier))
    for theirs, ours in pairs:
        theirs.data = ours.data.reshape(theirs.shape).clone()
    return plain.train(), pairs


@pytest.mark.parametrize("as_factors", (False, True))
@pytest.mark.parametrize("member", range(len(OPERATIONS)))
def test_one_cell_is_the_network_of_that_cell(member, as_factors):
    network, batch = shared(), images(6)
    plain, pairs = single(network, OPERATIONS[member])
    chosen = OPERATIONS[member : member + 1]
    logits = network(batch, functional.one_hot(chosen, 5).double() if as_factors else chosen)
    expected = plain(batch[:, 0])
    torch.testing.assert_close(logits, expected)
    logits.square().sum().backward(), expected.square().sum().backward()
    for theirs, ours in pairs:
        zero = torch.zeros_like(ours)
        found = zero if ours.grad is None else ours.grad
        wanted = zero if theirs.grad is None else theirs.grad.reshape(ours.shape)
        torch.testing.assert_close(found, wanted)


def test_several_cells_side_by_side_equal_each_alone():
    network, batch = shared(), images(6, len(OPERATIONS))
    alone = [network(batch[:, a : a + 1], OPERATIONS[a : a + 1])[0] for a in range(len(OPERATIONS))]
    torch.testing.assert_close(network(batch, OPERATIONS), torch.stack(alone))
    once = images(6)
    everywhere = once.expand(-1, len(OPERATIONS), -1, -1, -1)
    torch.testing.assert_close(network(once, OPERATIONS), network(everywhere, OPERATIONS))


def test_gradients_of_several_cells_are_the_sum_of_each_alone():
    network, batch = shared(), images(6, len(OPERATIONS))
    together = torch.autograd.grad(
        network(batch, OPERATIONS).square().sum(), list(network.parameters()), allow_unused=True
    )
    total = sum(network(batch[:, a : a + 1], OPERATIONS[a : a + 1]).square().sum() for a in range(len(OPERATIONS)))
    apart = torch.autograd.grad(total, list(network.parameters()), allow_unused=True)
    for first, second in zip(together, apart):
        assert (first is None) == (second is None)
        if first is not None:
            torch.testing.assert_close(first, second)


def plain_mixture(network, batch, factors):
    """Every operation on every edge computed and weighted, written from the definition."""

    def norm(image):
        return functional.batch_norm(image, None, None, training=True)

    def convolved(image, weight):
        return norm(functional.conv2d(functional.relu(image), weight, padding=weight.shape[-1] // 2))

    def run(cell, image):
        nodes = [image, 0, 0, 0]
        for (u, v), edge, factor in zip(CELL_EDGES, cell.edges, factors):
            results = [
                torch.zeros_like(image),
                nodes[u],
                convolved(nodes[u], edge.convolutions["2"].weight),
                convolved(nodes[u], edge.convolutions["3"].weight),
                functional.avg_pool2d(nodes[u], 3, stride=1, padding=1, count_include_pad=False),
            ]
            nodes[v] = nodes[v] + sum(f * result for f, result in zip(factor, results))
        return nodes[3]

    hidden = norm(functional.conv2d(batch, network.stem.weight, padding=1))
    for cell in network.stages[0]:
        hidden = run(cell, hidden)
    hidden = convolved(functional.avg_pool2d(hidden, 2), network.reductions[0].shortcut.weight)
    for cell in network.stages[1]:
        hidden = run(cell, hidden)
    return functional.relu(norm(hidden)).mean(dim=(2, 3)) @ network.classifier + network.bias


def test_factors_weigh_every_operation():
    network, batch = shared(), images(6)
    factors = torch.rand(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    found, expected = network(batch, factors[None])[0], plain_mixture(network, batch[:, 0], factors)
    torch.testing.assert_close(found, expected)
    sources = [factors, *network.parameters()]
    fast = torch.autograd.grad(found.square().sum(), sources)
    slow = torch.autograd.grad(expected.square().sum(), sources)
    for first, second in zip(fast, slow):
        torch.testing.assert_close(first, second)
    assert fast[0][:, CONV3X3].abs().min() > 0 and fast[0][:, NONE].abs().max() == 0


def test_a_factor_of_zero_is_not_computed_and_gets_no_gradient():
    network, batch = shared(), images(6)
    factors = functional.one_hot(OPERATIONS[3], 5).double().requires_grad_()
    computed = []
    for module in network.modules():
        if isinstance(module, SharedEdge):
            module.apply_operation = lambda number, node, inner=module.apply_operation: (
                computed.append(number) or inner(number, node)
            )
    network(batch, factors[None]).square().sum().backward()
    assert sorted(computed) == sorted(4 * OPERATIONS[3].tolist())
    assert ((factors.grad != 0) == (factors != 0)).all()


def test_cells_without_operations_see_nothing():
    network = shared()
    logits = network(images(6), OPERATIONS[1:2])
    torch.testing.assert_close(logits, network.bias.expand(1, 6, -1))
    torch.testing.assert_close(network(images(6), torch.zeros(1, 6, 5)), logits)


def test_the_published_skeleton_has_the_published_number_of_weights():
    network = SharedCells(PUBLISHED_SKELETON, 0)
    factor = {"none": 0, "nor_conv_1x1": 2, "nor_conv_3x3": 3}
    normalised = 2 * 16 + 2 * 2 * (32 + 64) + 2 * 64  # the factors and shifts that the sharing network lacks
    count = sum(weights.numel() for weights in network.parameters())
    by_cell = {
        name: int(NASBENCH201.params(NASBENCH201.from_choices([[number] * 6]))[0]) for name, number in factor.items()
    }
    in_cells = 2 * 6 * 2 * 5 * (16 + 32 + 64)  # of normalisation, both convolutions of six edges
    expected = by_cell["nor_conv_1x1"] + by_cell["nor_conv_3x3"] - by_cell["none"] - in_cells - normalised
    assert count == expected
    assert network(torch.zeros(2, 1, 3, 32, 32), OPERATIONS[:1]).shape == (1, 2, 10)


def test_the_residual_block_is_the_sum_of_two_ways():
    network = SharedCells(SharedSkeleton(channels=2, residual=True), 0).double()
    [block], image = network.reductions, images(3).expand(-1, -1, 2, -1, -1)
    flat, deep = image[:, 0], image[:, 0]
    for convolution, stride in zip(block.convolutions, (2, 1)):
        deep = functional.conv2d(functional.relu(deep), convolution.weight, stride=stride, padding=1)
        deep = functional.batch_norm(deep, None, None, training=True)
    short = functional.conv2d(functional.avg_pool2d(flat, 2), block.shortcut.weight)
    torch.testing.assert_close(block(image)[:, 0], deep + short)


@pytest.mark.parametrize(
    "foreign",
    (
        torch.zeros(1, 5, dtype=torch.int64),
        torch.zeros(0, 6, dtype=torch.int64),
        torch.ones(6, 5),
        torch.full((1, 6), 5),
    ),
)
def test_foreign_cells_are_refused(foreign):
    with pytest.raises(ValueError, match="shape|0 to 4"):
        shared()(images(2), foreign)


def test_weights_of_another_skeleton_are_refused(tmp_path):
    path, wide = tmp_path / "supernet.safetensors", SharedSkeleton(channels=8)
    checkpoint.save(path, dataclasses.asdict(SKELETON), {"network": SharedCells(SKELETON, 3)})
    again = SharedCells(SKELETON, 4)
    checkpoint.load(path, dataclasses.asdict(SKELETON), {"network": again})
    assert torch.equal(again.stem.weight, SharedCells(SKELETON, 3).stem.weight)
    with pytest.raises(ValueError, match="channels is 4 there and 8 here"):
        checkpoint.load(path, dataclasses.asdict(wide), {"network": SharedCells(wide, 0)})
