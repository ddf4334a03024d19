"""What the tests of several models share: small random graphs, plain layers, comparing gradients."""

import itertools

import pytest
import torch

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.train import fit


def random_dags(count, seed=0, num_types=5, num_vertices=7, input_type=0, output_type=1):
    """DAGs of 2 to N vertices, random operations and edges, vertices without predecessors among them."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.arange(count) % (num_vertices - 1) + 2
    position = torch.arange(num_vertices)
    operations = torch.tensor([t for t in range(num_types) if t not in (input_type, output_type)])
    types = operations[torch.randint(len(operations), (count, num_vertices), generator=generator)]
    types = types.where(position > 0, input_type).where(position != sizes[:, None] - 1, output_type)
    types = types.where(position < sizes[:, None], NO_VERTEX)
    edges = (torch.rand(count, num_vertices, num_vertices, generator=generator) < 0.5).triu(1)
    present = types != NO_VERTEX
    return DagBatch(types, edges & present[:, :, None] & present[:, None, :], sizes)


def with_strong_weights(model, scale=2.0):
    """The model in evaluation mode, its weights large enough for its decisions to differ between graphs."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model.eval()


def assert_same_gradients(model, loss, expected, tolerance):
    """Two values of one loss agree to ``tolerance``; so do their gradients, and none is zero throughout."""
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = (torch.autograd.grad(value, parameters) for value in (loss, expected))
    for name, fast, slow in zip(names, *gradients, strict=True):
        assert slow.abs().max() > 0, name
        torch.testing.assert_close(fast, slow, rtol=10 * tolerance, atol=tolerance, msg=name)


def fit_in_two_sittings(build, config, directory, monkeypatch, steps, device="cpu"):
    """Train what `build` gives, a model, graphs and labels; cut off after so many steps, resumed by another model."""
    monkeypatch.setattr("latentnas.train.SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    done, step = itertools.count(), torch.optim.AdamW.step

    def stop(*arguments, **named):
        if next(done) == steps:
            raise KeyboardInterrupt
        return step(*arguments, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.optim.AdamW, "step", stop)
        fit(*build(), config, directory, device=device)
    model, batch, targets = build()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)  # other initial weights must not matter
    return model, fit(model, batch, targets, config, directory, device=device)


def one_hot(index, size, like):
    """`[size]`, of the kind of another tensor."""
    return torch.eye(size, dtype=like.dtype, device=like.device)[index]


def linear(layer, x):
    """A linear layer on one vector."""
    return layer.weight @ x + layer.bias


def two_layers(head, x):
    """An output head: Linear, ReLU, Linear."""
    return linear(head[2], torch.relu(linear(head[0], x)))


def gru(layer, x, h):
    """One step of a GRUCell or a GRU of one layer; gates in PyTorch's order: reset, update, new."""
    input_weight, hidden_weight, input_bias, hidden_bias = layer.parameters()
    reset_i, update_i, new_i = (input_weight @ x + input_bias).chunk(3)
    reset_h, update_h, new_h = (hidden_weight @ h + hidden_bias).chunk(3)
    reset, update = torch.sigmoid(reset_i + reset_h), torch.sigmoid(update_i + update_h)
    return (1 - update) * torch.tanh(new_i + reset * new_h) + update * h
