"""Shared weights of the ENAS space against a plain network written from the definition."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from latentnas.graphs import DagBatch
from latentnas.measure import digits
from latentnas.measure.macro import REDUCE_AFTER, MacroNetwork
from latentnas.measure.tables import DEEP_LAYERS, load_shared
from latentnas.measure.train import Schedule, shared_accuracy, train_shared
from latentnas.spaces.enas import ENAS

CHANNELS = 4
ARCHITECTURES = [
    "[[0], [1, 0], [2, 0, 0], [3, 0, 0, 0], [4, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0]]",
    "[[5], [4, 1], [3, 1, 1], [2, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]]",
    "[[1], [1, 1], [4, 0, 1], [5, 1, 0, 0], [2, 0, 0, 1, 0], [3, 0, 1, 0, 1, 0]]",
]


def normalised(images, convolution):
    """A convolution, depthwise first where there is one, and batch normalisation, of ``[B, C, H, W]``."""
    if convolution.depthwise is not None:
        kernel = convolution.depthwise
        images = functional.conv2d(images, kernel, padding=kernel.shape[-1] // 2, groups=len(kernel))
    kernel = convolution.pointwise
    images = functional.conv2d(images, kernel, padding=kernel.shape[-1] // 2)
    return functional.batch_norm(images, None, None, convolution.weight, convolution.bias, training=True)


def plain(network, text, images):
    """Logits of one architecture, layer by layer from its text."""
    rows = json.loads(text)
    vertices = [normalised(images, network.stem)]
    for layer, (operation, *flags) in enumerate(rows, start=1):
        reads = [u for u, flag in enumerate(flags) if flag] + [layer - 1]
        hidden = vertices[layer - 1]
        if len(reads) > 1:
            inputs = [vertices[u] if u in reads else torch.zeros_like(hidden) for u in range(layer)]
            hidden = normalised(torch.cat(inputs, dim=1), network.merges[layer - 2])
        hidden = normalised(functional.relu(hidden), network.operations[layer - 1][operation].convolution)
        if operation == 4:
            hidden = functional.avg_pool2d(hidden, 3, 1, 1, count_include_pad=False)
        if operation == 5:
            hidden = functional.max_pool2d(hidden, 3, 1, 1)
        vertices.append(hidden)
        if layer == REDUCE_AFTER:
            vertices = [functional.avg_pool2d(vertex, 2) for vertex in vertices]
    return network.classifier(functional.relu(vertices[-1]).mean(dim=(2, 3)))


def test_many_architectures_at_once_equal_each_one_alone():
    network = MacroNetwork(0, channels=CHANNELS).double()
    images = torch.randn(5, 3, 1, 8, 8, dtype=torch.float64)
    logits = network(images, ENAS.to_batch(ARCHITECTURES))
    expected = [plain(network, text, images[:, a]) for a, text in enumerate(ARCHITECTURES)]
    torch.testing.assert_close(logits, torch.stack(expected))


def test_gradients_equal_those_of_the_plain_networks():
    network = MacroNetwork(0, channels=CHANNELS).double()
    images = torch.randn(5, 3, 1, 8, 8, dtype=torch.float64)
    loss = network(images, ENAS.to_batch(ARCHITECTURES)).square().sum()
    fast = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    loss = sum(plain(network, text, images[:, a]).square().sum() for a, text in enumerate(ARCHITECTURES))
    slow = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    assert [gradient is None for gradient in fast] == [gradient is None for gradient in slow]
    for first, second in zip(fast, slow):
        if first is not None:
            torch.testing.assert_close(first, second)


@pytest.mark.parametrize("layers", [1, 2, 8])
def test_other_numbers_of_layers(layers):
    random = np.random.default_rng(layers)
    rows = [[int(random.integers(6)), *random.integers(0, 2, row).tolist()] for row in range(layers)]
    batch = ENAS.from_choices(np.array([[number for row in rows for number in row]]), layers)
    network = MacroNetwork(0, layers, CHANNELS).double()
    images = torch.randn(5, 1, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(network(images, batch)[0], plain(network, str(rows), images[:, 0]))
    with pytest.raises(ValueError, match=rf"{layers} layers, so it takes graphs of {layers + 2} vertices"):
        network(images, ENAS.sample(2, 0, layers + 1))


@pytest.mark.parametrize("layers", DEEP_LAYERS)
def test_shipped_weights_of_more_layers_know_the_digits(layers):
    architectures, valid = ENAS.sample(3, 0, layers), digits.load(0.5, copies=1).valid
    trained = shared_accuracy(load_shared(layers), architectures, valid)
    untrained = shared_accuracy(MacroNetwork(0, layers), architectures, valid)
    assert (trained > untrained + 20).all()


def test_one_set_of_images_serves_all_architectures():
    network = MacroNetwork(0, channels=CHANNELS).double()
    images = torch.randn(5, 1, 1, 8, 8, dtype=torch.float64)
    batch = ENAS.to_batch(ARCHITECTURES)
    torch.testing.assert_close(network(images, batch), network(images.expand(-1, 3, -1, -1, -1), batch))


def test_architectures_that_begin_alike_are_computed_once_as_far_as_they_do(monkeypatch):
    network = MacroNetwork(0, channels=CHANNELS).double()
    images = torch.randn(5, 1, 1, 8, 8, dtype=torch.float64)
    choices = ENAS.choices(ENAS.sample(60, 0))
    choices[:, :3] = choices[0, :3]  # operation, operation and flag: two layers
    batch, computed = ENAS.from_choices(choices), Counter()
    merge = MacroNetwork._merge

    def counting(self, vertices, columns, reads):
        computed[len(vertices)] += len(reads)
        return merge(self, vertices, columns, reads)

    monkeypatch.setattr(MacroNetwork, "_merge", counting)
    logits = network(images, batch)
    texts = ENAS.to_strings(batch)
    distinct = [len({str(json.loads(text)[:layer]) for text in texts}) for layer in range(1, 7)]
    assert [*computed.values()] == distinct and distinct[1] == 1 < distinct[2] < 60
    expected = [plain(network, text, images[:, 0]) for text in texts]
    torch.testing.assert_close(logits, torch.stack(expected))


@pytest.mark.parametrize("sets", [2, 4])
def test_images_are_one_set_for_all_or_one_each(sets):
    images = torch.randn(5, sets, 1, 8, 8)
    with pytest.raises(ValueError, match=f"{sets} sets of images for 3 architectures: give each its own, or one"):
        MacroNetwork(0, channels=CHANNELS)(images, ENAS.to_batch(ARCHITECTURES))


@pytest.mark.parametrize("layers", [0, 5, 7])
def test_accuracies_of_another_number_of_layers_are_refused(layers):
    vertices = torch.zeros(1, layers + 2, dtype=torch.long)
    graph = DagBatch(
        vertices, torch.eye(layers + 2, dtype=torch.bool).roll(1, 1).triu()[None], torch.tensor([layers + 2])
    )
    with pytest.raises(ValueError, match=f"takes graphs of 8 vertices, not of .{layers + 2}"):
        shared_accuracy(MacroNetwork(0), graph, small_digits().valid)


def small_digits(images=256):
    data = digits.load(0.5)
    return replace(data, train=digits.Images(data.train.images[:images], data.train.labels[:images]))


def test_an_architecture_alone_learns_and_leaves_unused_weights():
    network, data = MacroNetwork(0, channels=CHANNELS), small_digits()
    before = network.operations[0][3].convolution.pointwise.clone()
    batch = ENAS.to_batch(ARCHITECTURES[:1])
    untrained = shared_accuracy(network, batch, data.valid).item()
    train_shared(network, batch, data, Schedule(epochs=6), seed=0)
    assert shared_accuracy(network, batch, data.valid).item() > untrained + 20
    assert torch.equal(network.operations[0][3].convolution.pointwise, before)


def test_shared_training_is_repeatable():
    weights = []
    for _ in range(2):
        network = MacroNetwork(0, channels=CHANNELS)
        train_shared(network, 2, small_digits(128), Schedule(epochs=2, batch_size=32), seed=3)
        weights.append(torch.cat([weight.detach().flatten() for weight in network.parameters()]))
    assert torch.equal(*weights)
