"""arch2vec against a plain per-graph reference, PyG's GIN, and the common training and evaluation."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch_geometric.nn import GINConv

from latentnas import evaluate
from latentnas.graphs import equal
from latentnas.models.arch2vec import Arch2Vec, Arch2VecConfig
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.train import TrainConfig, fit
from model_checks import assert_same_gradients, linear, random_dags, two_layers

SMALL = Arch2VecConfig(num_types=5, num_vertices=7, hidden=12, code=6, dropout=0.0, noise_scale=0.0)


def make_model(config=SMALL):
    """Random weights, and normalisation layers that have seen data of some mean and spread."""
    torch.manual_seed(0)
    model = Arch2Vec(config).eval()
    for layer in model.gin:
        layer.eps.data.fill_(0.3)
        layer.norm.running_mean.normal_()
        layer.norm.running_var.uniform_(0.5, 2)
    return model


def graph_reference(model, batch, i):
    """(types, edges, KL) of graph i, each a sum over its N T, N N and N entries, in loops."""
    vertices, num_types = model.config.num_vertices, model.config.num_types
    dtype = model.mu.weight.dtype
    x = [torch.zeros(num_types, dtype=dtype) for _ in range(vertices)]
    for v in range(int(batch.num_vertices[i])):
        x[v][int(batch.types[i, v])] = 1.0
    near = [
        [u for u in range(vertices) if batch.adjacency[i, u, v] or batch.adjacency[i, v, u]] for v in range(vertices)
    ]
    states = x
    for layer in model.gin:
        norm = layer.norm
        new = []
        for v in range(vertices):
            total = (1 + layer.eps) * states[v]
            for u in near[v]:
                total = total + states[u]
            out = two_layers(layer.layers, total)
            out = (out - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias
            new.append(torch.relu(out))
        states = new
    types = edges = kl = 0.0
    codes = [linear(model.mu, h) for h in states]
    for v in range(vertices):
        log_deviation = linear(model.log_deviation, states[v])
        kl = kl - 0.5 * (1 + 2 * log_deviation - codes[v] ** 2 - (2 * log_deviation).exp()).sum()
        logits = linear(model.types, codes[v])
        types = types - sum(F.logsigmoid(logit if on else -logit) for logit, on in zip(logits, x[v], strict=True))
        for u in range(vertices):
            logit = codes[u] @ codes[v]
            edges = edges - F.logsigmoid(logit if u in near[v] else -logit)
    return types, edges, kl


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-8)])
def test_loss_and_gradients_are_those_of_the_reference(dtype, tolerance):
    model, batch = make_model().to(dtype), random_dags(6)
    types, edges, kl = (sum(parts) for parts in zip(*(graph_reference(model, batch, i) for i in range(6)), strict=True))
    expected = types / (6 * 7 * 5) + edges / (6 * 7 * 7) + kl / (6 * 7) / (6 * 7)
    assert_same_gradients(model, model.loss(batch)["total"], expected, tolerance)


def test_layers_are_pygs_gin():
    model, batch = make_model(), random_dags(6)
    states = torch.randn(6, 7, 12)
    neighbours = batch.adjacency | batch.adjacency.transpose(1, 2)
    graph, source, target = neighbours.nonzero(as_tuple=True)
    layer = model.gin[1]
    of_pyg = GINConv(layer.layers, eps=layer.eps.item())
    expected = layer.norm(of_pyg(states.flatten(0, 1), torch.stack([7 * graph + source, 7 * graph + target]))).relu()
    torch.testing.assert_close(layer(states, neighbours).flatten(0, 1), expected, rtol=1e-5, atol=1e-5)


def test_codes_do_not_depend_on_the_batch():
    model, batch = make_model().double(), random_dags(12)
    mu, _ = model.encode(batch)
    order = torch.randperm(12)
    torch.testing.assert_close(model.encode(batch[order])[0], mu[order])
    torch.testing.assert_close(model.encode(batch[3:4])[0], mu[3:4])


@pytest.mark.slow
def test_a_handful_of_cells_comes_back(tmp_path):
    """Their types all, their edges all but a few: an inner product of a vertex with itself cannot be negative, so
    the decoder pays for every strong edge and some stay near 0.5."""
    torch.manual_seed(0)
    numbers = [[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2], [3, 1, 4, 0, 2, 2], [4, 3, 2, 1, 0, 1]]
    batch = NASBENCH201.from_choices(numbers)
    model = Arch2Vec(replace(SMALL, num_types=7, num_vertices=8, hidden=32, code=16, beta=0.0))
    config = TrainConfig(epochs=400, batch_size=4, learning_rate=5e-3, precision="fp32")
    fit(model, batch, {}, config, tmp_path, device="cpu")
    model.eval()
    decoded = model.decode(model.encode(batch)[0])
    assert torch.equal(decoded.types, batch.types)
    assert (decoded.adjacency != batch.adjacency).sum() <= 0.05 * 4 * 28
    measured = evaluate.reconstruction(model, batch, trials=10)
    assert measured["published"] == 100 * equal(decoded, batch).double().mean().item()
    assert all(0 <= value <= 100 for value in evaluate.prior_quality(model, NASBENCH201, batch, points=10).values())


def test_a_decode_without_output_ends_and_is_invalid():
    model = make_model()
    with torch.no_grad():
        model.types.bias[1] = -1e4
    graphs, source, count = model.sample_decodes(torch.randn(20, 42), 3, torch.Generator())
    assert (graphs.num_vertices == 7).all() and not NASBENCH101.is_valid(graphs).any()
    assert source.tolist() == list(range(20)) and (count == 3).all()


def test_bad_input_is_named():
    model, batch = make_model(), random_dags(12)
    with pytest.raises(ValueError, match="at most 5 vertices, but the batch has one of 7"):
        make_model(replace(SMALL, num_vertices=5)).loss(batch)
    with pytest.raises(ValueError, match="batch is empty"):
        model.loss(batch[:0])
    assert model.encode(batch[:0])[0].shape == (0, 42) and len(model.decode(torch.zeros(0, 42))) == 0
    batch.types[5, 1] = 5
    with pytest.raises(ValueError, match="types 0 to 4, but the batch has a vertex of type 5"):
        model.encode(batch)
    with pytest.raises(ValueError, match="learns from the labels none, but was given performance"):
        model.calibrate(performance=torch.rand(12))
    with pytest.raises(ValueError, match="code=0"):
        Arch2VecConfig(code=0)
