"""S-VAE against a plain reference that reads and writes one row at a time, and the common loop and evaluation."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from latentnas import evaluate
from latentnas.graphs import NO_VERTEX, DagBatch, equal
from latentnas.models.sequence import SVAE, SVAEConfig
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.train import TrainConfig, fit

SMALL = SVAEConfig(num_types=5, num_vertices=7, hidden=8, latent=6, noise_scale=0.0)


def make_model(config=SMALL):
    torch.manual_seed(0)
    model = SVAE(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model


def cells(count, seed=0):
    """Graphs of 2 to 7 vertices."""
    generator = torch.Generator().manual_seed(seed)
    num_vertices = torch.arange(count) % 6 + 2
    position = torch.arange(7)
    types = torch.randint(2, 5, (count, 7), generator=generator)
    types = types.where(position > 0, 0).where(position != num_vertices[:, None] - 1, 1)
    present = position < num_vertices[:, None]
    edges = (torch.rand(count, 7, 7, generator=generator) < 0.5).triu(1)
    return DagBatch(
        types.where(present, NO_VERTEX), edges & present[:, :, None] & present[:, None, :], num_vertices
    )


def gru_step(gru, x, h):
    from_input = gru.weight_ih_l0 @ x + gru.bias_ih_l0
    from_hidden = gru.weight_hh_l0 @ h + gru.bias_hh_l0
    (r_i, u_i, n_i), (r_h, u_h, n_h) = from_input.chunk(3), from_hidden.chunk(3)
    reset, update = torch.sigmoid(r_i + r_h), torch.sigmoid(u_i + u_h)
    return (1 - update) * torch.tanh(n_i + reset * n_h) + update * h


def two_layers(head, x):
    return head[2].weight @ torch.relu(head[0].weight @ x + head[0].bias) + head[2].bias


def reference(model, batch, i):
    """types + edges + beta KL of graph i."""
    config, dtype = model.config, model.mu.weight.dtype
    count = int(batch.num_vertices[i])
    rows = []
    for v in range(count):
        row = torch.zeros(config.num_types + config.num_vertices - 1, dtype=dtype)
        row[int(batch.types[i, v])] = 1
        for u in range(v):
            row[config.num_types + u] = float(batch.adjacency[i, u, v])
        rows.append(row)
    state = torch.zeros(config.hidden, dtype=dtype)
    for row in rows:
        state = gru_step(model.reader, row, state)
    mu, logvar = (layer.weight @ state + layer.bias for layer in (model.mu, model.logvar))
    loss = config.beta * -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
    state = torch.tanh(model.initial.weight @ mu + model.initial.bias)
    for v in range(1, count):
        state = gru_step(model.writer, rows[v - 1], state)
        loss = loss - F.log_softmax(two_layers(model.type_head, state), dim=0)[int(batch.types[i, v])]
        logits = two_layers(model.edge_head, torch.cat([state, rows[v][: config.num_types]]))
        for u in range(v):
            loss = loss - F.logsigmoid(logits[u] if batch.adjacency[i, u, v] else -logits[u])
    return loss


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-8)])
def test_loss_and_gradients_are_those_of_the_reference(dtype, tolerance):
    model, batch = make_model().to(dtype), cells(8)
    expected = sum(reference(model, batch, i) for i in range(8)) / 8
    total = model.loss(batch)["total"]
    torch.testing.assert_close(total, expected, rtol=tolerance, atol=tolerance)
    names, parameters = zip(*model.named_parameters(), strict=True)
    pairs = zip(
        torch.autograd.grad(total, parameters), torch.autograd.grad(expected, parameters), strict=True
    )
    for name, (fast, slow) in zip(names, pairs, strict=True):
        torch.testing.assert_close(fast, slow, rtol=10 * tolerance, atol=tolerance, msg=name)


def test_a_graphs_loss_does_not_depend_on_its_companions():
    model, batch = make_model().double(), cells(12)
    alone = torch.stack([model.loss(batch[i : i + 1])["total"] for i in range(12)])
    for rows in ([0, 1], [5, 0, 3], list(range(11, -1, -1))):
        torch.testing.assert_close(model.loss(batch[rows])["total"], alone[rows].mean())


def test_a_handful_of_graphs_comes_back(tmp_path):
    torch.manual_seed(0)
    batch = cells(8)
    model = SVAE(replace(SMALL, hidden=32, latent=8))
    config = TrainConfig(epochs=250, batch_size=8, learning_rate=1e-2, precision="fp32")
    fit(model, batch, {}, config, tmp_path, device="cpu")
    model.eval()
    assert equal(model.decode(model.encode(batch)[0]), batch).all()
    assert evaluate.reconstruction(model, batch, trials=10)["published"] > 90
    assert all(0 <= value <= 100 for value in evaluate.prior(model, NASBENCH101, batch, points=10).values())


def test_sampled_shares_are_the_probabilities_of_the_loss():
    """exp(-loss) of a graph that ended with its output is its share of the decodes."""
    model = make_model(replace(SMALL, num_vertices=3))
    z = torch.randn(2, 6, generator=torch.Generator().manual_seed(5))
    graphs, source, count = model.sample_decodes(z, 50_000, torch.Generator().manual_seed(0))
    assert count[source == 0].sum() == count[source == 1].sum() == 50_000
    assert len(set(zip(source.tolist(), graphs.keys(), strict=True))) == len(graphs)
    ended = graphs.types[torch.arange(len(graphs)), graphs.num_vertices - 1] == SMALL.output_type
    assert ended.sum() >= 6
    for i in ended.nonzero().squeeze(1).tolist():
        model.encode = lambda _, i=i: (z[source[i]][None], torch.zeros(1, 6))
        terms = model.loss(graphs[i : i + 1])
        share = float(count[i]) / 50_000
        assert (
            abs(share - (-terms["vertices"] - terms["edges"]).exp().item())
            < 5 * (share / 50_000) ** 0.5 + 1e-3
        )


def test_trains_in_bf16(tmp_path):
    config = TrainConfig(epochs=3, batch_size=5, learning_rate=1e-2, precision="bf16")
    history = fit(SVAE(SMALL), cells(12), {}, config, tmp_path, device="cpu")
    assert history["total"].iloc[-1] < history["total"].iloc[0]


def test_a_decode_without_output_ends_and_is_invalid():
    model = make_model()
    with torch.no_grad():
        model.type_head[2].bias[1] = -1e4
    graphs = model.decode(torch.randn(20, 6))
    assert (graphs.num_vertices == 7).all() and not NASBENCH101.is_valid(graphs).any()


def test_bad_input_is_named():
    model, batch = make_model(), cells(12)
    with pytest.raises(ValueError, match="at most 5 vertices, but the batch has one of 7"):
        make_model(replace(SMALL, num_vertices=5)).loss(batch)
    with pytest.raises(ValueError, match="batch is empty"):
        model.loss(batch[:0])
    assert model.encode(batch[:0])[0].shape == (0, 6) and len(model.decode(torch.zeros(0, 6))) == 0
    batch.types[5, 1] = 5
    with pytest.raises(ValueError, match="types 0 to 4, but the batch has a vertex of type 5"):
        model.encode(batch)
    with pytest.raises(ValueError, match="num_vertices=1"):
        SVAEConfig(num_vertices=1)
