"""Many cell networks side by side against one plain network each; the digits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import nn

from latentnas.benchmarks.digits import FLOPS, PARAMS
from latentnas.measure import digits
from latentnas.measure.cells import CellNetworks, GroupedConvolution
from latentnas.measure.train import Schedule, accuracy, train_side_by_side
from latentnas.spaces.nasbench201 import CELL_EDGES, CONV1X1, CONV3X3, NASBENCH201

OPERATIONS = torch.tensor([[3, 0, 4, 1, 2, 3], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 0, 1], [3, 3, 3, 3, 3, 3]])
CHANNELS = 4


def plain_convolution(inputs, outputs, kernel):
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class PlainCell(nn.Module):
    """One cell, written down edge by edge from the definition of NAS-Bench-201."""

    def __init__(self, operations, channels):
        super().__init__()
        self.operations = operations
        self.layers = nn.ModuleList(
            plain_convolution(channels, channels, {2: 1, 3: 3}[operation]) if operation in (2, 3) else nn.Identity()
            for operation in operations
        )

    def forward(self, image):
        nodes = {0: image}
        for node in (1, 2, 3):
            nodes[node] = torch.zeros_like(image)
            for operation, layer, (source, target) in zip(self.operations, self.layers, CELL_EDGES):
                if target == node:
                    nodes[node] = nodes[node] + self.apply_layer(operation, layer, nodes[source])
        return nodes[3]

    def apply_layer(self, operation, layer, node):
        name = NASBENCH201.operation_names[operation]
        if name == "none":
            return torch.zeros_like(node)
        if name == "avg_pool_3x3":
            return functional.avg_pool2d(node, 3, stride=1, padding=1, count_include_pad=False)
        return layer(functional.relu(node)) if name.startswith("nor_conv") else node


class PlainNetwork(nn.Module):
    def __init__(self, operations, channels):
        super().__init__()
        self.stem = plain_convolution(1, channels, 3)
        self.narrow = PlainCell(operations, channels)
        self.reduction = plain_convolution(channels, 2 * channels, 1)
        self.wide = PlainCell(operations, 2 * channels)
        self.normalisation = nn.BatchNorm2d(2 * channels)
        self.classifier = nn.Linear(2 * channels, 10)

    def forward(self, image):
        hidden = self.narrow(self.stem(image))
        hidden = self.wide(self.reduction(functional.relu(functional.avg_pool2d(hidden, 2))))
        return self.classifier(functional.relu(self.normalisation(hidden)).mean(dim=(2, 3)))


def copy_weights(plain, networks, member):
    """Give a plain network the weights of network ``member``."""

    def convolution(target, source, place):
        count = len(source.weight) // source.groups
        target[0].weight.data = source.weight.data[place * count : (place + 1) * count].clone()

    def cell(target, source):
        for layer, edge, operation in zip(target.layers, source.edges, target.operations):
            if operation in (CONV1X1, CONV3X3):
                place = getattr(edge, f"members_{operation}").tolist().index(member)
                convolution(layer, edge.convolutions[str(operation)], place)

    convolution(plain.stem, networks.stem, member)
    cell(plain.narrow, networks.narrow[0])
    convolution(plain.reduction, networks.reduction, member)
    cell(plain.wide, networks.wide[0])
    plain.classifier.weight.data = networks.classifier.data[member].t().clone()
    plain.classifier.bias.data.zero_()


@pytest.mark.parametrize("member", range(len(OPERATIONS)))
def test_each_network_equals_a_plain_one(member):
    networks = CellNetworks(OPERATIONS, [1, 2, 3, 4], CHANNELS).double()
    plain = PlainNetwork(OPERATIONS[member].tolist(), CHANNELS).double()
    copy_weights(plain, networks, member)
    images = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    for training in (True, False):  # the first pass also moves the running statistics of both
        networks.train(training), plain.train(training)
        torch.testing.assert_close(networks(images)[member], plain(images))
    networks.train(), plain.train()
    networks(images).square().sum().backward()
    plain(images).square().sum().backward()
    torch.testing.assert_close(networks.classifier.grad[member].t(), plain.classifier.weight.grad)
    gradient = plain.stem[0].weight.grad  # None where the cell does not read the image
    gradient = torch.zeros_like(plain.stem[0].weight) if gradient is None else gradient
    torch.testing.assert_close(networks.stem.weight.grad[4 * member : 4 * member + 4], gradient)


def test_a_network_does_not_feel_the_others():
    data = digits.load(0.5)
    small = replace(data, train=digits.Images(data.train.images[:128], data.train.labels[:128]))
    schedule = Schedule(epochs=2)
    together = CellNetworks(OPERATIONS, [1, 2, 3, 4], CHANNELS)
    alone = CellNetworks(OPERATIONS[2:3], [3], CHANNELS)
    for networks in (together, alone):
        train_side_by_side(networks, small, schedule, seed=0)
    images = data.valid.images[:50]
    torch.testing.assert_close(together.eval()(images)[2], alone.eval()(images)[0], atol=1e-3, rtol=1e-3)


def test_training_twice_gives_the_same_bits():
    data = digits.load(0.5)
    scores = []
    for _ in range(2):
        networks = CellNetworks(OPERATIONS, [1, 2, 3, 4], CHANNELS)
        train_side_by_side(networks, data, Schedule(epochs=1), seed=0)
        scores.append([parameter.detach().clone() for parameter in networks.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*scores))


def test_a_batch_that_the_images_do_not_fill_is_refused_and_trains_nothing_in_silence():
    networks = CellNetworks(OPERATIONS, [1, 2, 3, 4], CHANNELS)
    with pytest.raises(ValueError, match="A batch of 1000 images is more than the 897 to train on"):
        train_side_by_side(networks, digits.load(0.5), Schedule(batch_size=1000), seed=0)


@pytest.mark.slow
def test_training_learns_and_a_cell_without_operations_cannot():
    networks = CellNetworks(torch.tensor([[3, 3, 3, 3, 3, 3], [0, 0, 0, 0, 0, 0]]), [0, 1])
    data = digits.load(0.5)
    train_side_by_side(networks, data, Schedule(epochs=4), seed=0)
    good, blind = accuracy(networks, data.valid).tolist()
    assert good > 60 and blind < 15


def test_the_parts_of_the_digits_are_apart_and_repeatable():
    data, again = digits.load(0.5), digits.load(0.5)
    assert torch.equal(data.valid.images, again.valid.images)
    assert len(data.train) + (len(data.valid) + len(data.test)) // digits.COPIES == 1797
    assert np.bincount(data.train.labels).min() > 60  # every digit is there


def test_corruption_shifts_by_one_pixel_at_most_and_adds_noise_of_the_asked_size():
    images = torch.zeros(4000, 1, 8, 8)
    images[:, 0, 3, 5] = 100.0
    shifted = digits.corrupt(images, torch.Generator().manual_seed(0), 0.0)
    places = shifted.flatten(1).argmax(1)
    assert set(places.tolist()) == {8 * row + column for row in (2, 3, 4) for column in (4, 5, 6)}
    assert torch.equal(shifted.flatten(1).sum(1), torch.full((4000,), 100.0))
    noisy = digits.corrupt(torch.zeros(4000, 1, 8, 8), torch.Generator().manual_seed(0), 0.7)
    assert noisy.std().item() == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("member", range(len(OPERATIONS)))
def test_params_and_flops_of_the_table_are_those_of_the_network(member):
    operations = OPERATIONS[member : member + 1]
    network = CellNetworks(operations, [0])
    counts = (1, int((operations == CONV1X1).sum()), int((operations == CONV3X3).sum()))
    assert np.dot(counts, PARAMS) == sum(weights.numel() for weights in network.parameters())
    counted = []

    def count(module, inputs, output):
        counted.append(module.weight[0].numel() * output.numel())  # a multiply-add a weight, output and pixel

    for module in network.modules():
        if isinstance(module, GroupedConvolution):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 1, 8, 8))
    assert np.dot(counts, FLOPS) == sum(counted) + network.classifier.numel()
