"""The GCN encoder against a plain reference and what it cannot see; test_dagnn.py tests its decoder."""

from dataclasses import replace

import pytest
import torch

from latentnas.graphs import DagBatch, equal
from latentnas.models.gcn import GCN, GCNConfig
from latentnas.models.ngae import NGAE
from latentnas.models.reference_dvae import Graph
from latentnas.models.reference_dvae import loss as loss_reference
from latentnas.spaces.enas import ENAS
from latentnas.train import TrainConfig, fit
from model_checks import assert_same_gradients, linear, one_hot, random_dags, with_strong_weights

SMALL = GCNConfig(num_types=5, num_vertices=7, hidden=12, latent=6, noise_scale=0.0)


def make_model(config=SMALL):
    torch.manual_seed(0)
    return with_strong_weights(GCN(config), scale=1.5)


def encode_reference(model, batch, i):
    """mu and logvar of graph i: each vertex from itself and its predecessors, and a sum over vertices.

    By default every vertex counts by the root of its in-degree + 1. In D-VAE's code a predecessor counts by that of
    its out-degree + 1, and the first and the last vertex are not summed.
    """
    size, like = int(batch.num_vertices[i]), model.encoder.mu.weight
    edges = batch.adjacency[i, :size, :size].tolist()
    indegree = [sum(edges[u][v] for u in range(size)) for v in range(size)]
    outdegree = [sum(edges[v]) for v in range(size)]
    sent = outdegree if model.config.released else indegree
    states = [one_hot(int(t), model.config.num_types, like) for t in batch.types[i, :size]]
    for level in model.encoder.levels:
        sums = []
        for v in range(size):
            total = states[v] / (indegree[v] + 1)
            for u in range(v):
                if edges[u][v]:
                    total = total + states[u] / ((sent[u] + 1) * (indegree[v] + 1)) ** 0.5
            sums.append(total)
        states = [torch.relu(level.lin.weight @ x + level.bias) for x in sums]
    summed = sum(states[1:-1] if model.config.released else states, torch.zeros_like(like[0]))
    return linear(model.encoder.mu, summed), linear(model.encoder.logvar, summed)


@pytest.mark.parametrize("released", [False, True])
def test_loss_and_gradients_are_those_of_the_reference(released):
    model, batch = make_model(replace(SMALL, released=released)), random_dags(6)
    expected = 0.0
    for i in range(6):
        mu, logvar = encode_reference(model, batch, i)
        vertices, edges = loss_reference(model, Graph.from_batch(batch, i), mu)
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
        expected = expected + (vertices + edges + model.config.beta * kl) / 6
    assert_same_gradients(model, model.loss(batch)["total"], expected, tolerance=1e-5)


def test_the_two_rules_differ_where_degrees_or_the_ends_do():
    batch = random_dags(6)
    ours, released = make_model(), make_model(replace(SMALL, released=True))
    assert (ours.encode(batch)[0] - released.encode(batch)[0]).abs().amax(dim=1).min() > 1e-3


def test_the_code_of_a_graph_is_its_own_and_blind_to_its_numbering():
    model, batch = make_model().double(), random_dags(12)
    mu, _ = model.encode(batch)
    order = torch.randperm(12)
    torch.testing.assert_close(model.encode(batch[order])[0], mu[order])
    # 0 -> 1 -> 3 -> 6 and 0 -> 2 -> 6, and the same with vertices 1 and 2 exchanged
    first, second = torch.tensor([[0, 2, 3, 4, 2, 2, 1], [0, 3, 2, 4, 2, 2, 1]])
    edges = torch.zeros(2, 7, 7, dtype=torch.bool)
    edges[0, [0, 0, 1, 2, 3], [1, 2, 3, 6, 6]] = True
    edges[1, [0, 0, 2, 1, 3], [2, 1, 3, 6, 6]] = True
    mu, _ = model.encode(DagBatch(torch.stack([first, second]), edges, torch.tensor([7, 7])))
    torch.testing.assert_close(mu[0], mu[1])


def test_a_handful_of_graphs_comes_back(tmp_path):
    torch.manual_seed(0)
    batch = ENAS.sample(4, seed=3)
    model = GCN(GCNConfig(hidden=32, latent=8))
    config = TrainConfig(epochs=100, batch_size=4, learning_rate=1e-2, precision="fp32")
    fit(model, batch, {}, config, tmp_path, device="cpu")
    assert equal(model.eval().decode(model.encode(batch)[0]), batch).all()


def test_decoder_and_encoder_share_nothing():
    model = GCN(SMALL)
    assert isinstance(model, NGAE) and not set(model.encoder.parameters()) & set(model.decoder.parameters())


@pytest.mark.parametrize("fields, word", [({"levels": 0}, "levels=0"), ({"hidden": 0}, "hidden=0")])
def test_wrong_configuration_is_named(fields, word):
    with pytest.raises(ValueError, match=word):
        GCNConfig(**fields)
