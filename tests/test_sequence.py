"""S-VAE and GraphRNN, ours and D-VAE's, against plain references that read and write one row, one edge at a time."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from latentnas import evaluate
from latentnas.graphs import equal
from latentnas.models.sequence import SVAE, GraphRNN, SVAEConfig
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.train import TrainConfig, fit
from model_checks import assert_same_gradients, gru, linear, one_hot, random_dags, two_layers, with_strong_weights

SMALL = SVAEConfig(num_types=5, num_vertices=7, hidden=8, latent=6, noise_scale=0.0)

both = pytest.mark.parametrize("model_class", [SVAE, GraphRNN], ids=lambda model_class: model_class.__name__)


def make_model(model_class, config=SMALL):
    torch.manual_seed(0)
    return with_strong_weights(model_class(config))


def edge_logits(model, state, row, v):
    """Logits of the edges into vertex v, from u = 0 to v - 1."""
    start = torch.cat([state, row[: model.config.num_types]])
    if isinstance(model, GraphRNN):
        hidden = torch.tanh(linear(model.edges.initial, start))
        before, logits = state.new_zeros(2), [None] * v
        for u in reversed(range(v)):
            hidden = gru(model.edges.cell, before, hidden)
            logits[u] = linear(model.edges.head, hidden)[0]
            before = one_hot(int(row[model.config.num_types + u]), 2, state)
        return logits
    return two_layers(model.edges.head, start)[:v]


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
        state = gru(model.reader, row, state)
    mu, logvar = (linear(layer, state) for layer in (model.mu, model.logvar))
    loss = config.beta * -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
    state = torch.tanh(linear(model.initial, mu))
    for v in range(1, count):
        state = gru(model.writer, rows[v - 1], state)
        loss = loss - F.log_softmax(two_layers(model.type_head, state), dim=0)[int(batch.types[i, v])]
        for u, logit in enumerate(edge_logits(model, state, rows[v], v)):
            loss = loss - F.logsigmoid(logit if batch.adjacency[i, u, v] else -logit)
    return loss


@both
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-8)])
def test_loss_and_gradients_are_those_of_the_reference(model_class, dtype, tolerance):
    model, batch = make_model(model_class).to(dtype), random_dags(8)
    expected = sum(reference(model, batch, i) for i in range(8)) / 8
    assert_same_gradients(model, model.loss(batch)["total"], expected, tolerance)


def released_decisions(model, z, rows):
    """Logits of types [N-1, T] and of edges [N-1, N-1] of vertices 1 to N-1 in D-VAE's code, given their rows."""
    start = torch.relu(linear(model.initial, z))
    state, before = (torch.zeros_like(start), start) if type(model) is SVAE else (start, torch.zeros_like(rows[0]))
    types, edges = [], []
    for row in rows:
        state = gru(model.writer, before, state)
        types.append(two_layers(model.type_head, state))
        if type(model) is SVAE:  # the same input at every step
            edges.append(two_layers(model.edges.head, state))
            continue
        hidden, decision, logits = state, torch.zeros_like(z[:1]), []
        for u in range(model.config.num_vertices - 1):
            hidden = gru(model.edges.cell, decision, hidden)
            logits.append(two_layers(model.edges.head, hidden)[0])
            decision = row[model.config.num_types + u][None]
        edges.append(torch.stack(logits))
        before = row
    return torch.stack(types), torch.stack(edges)


def released_rows(model, batch, i):
    """Rows of vertices 1 to N-1; past the end of the graph the input type without edges."""
    config, size = model.config, int(batch.num_vertices[i])
    rows = torch.zeros(config.num_vertices - 1, config.num_types + config.num_vertices - 1, dtype=model.mu.weight.dtype)
    for v in range(1, config.num_vertices):
        rows[v - 1, int(batch.types[i, v]) if v < size else config.input_type] = 1
        for u in range(v):
            rows[v - 1, config.num_types + u] = float(batch.adjacency[i, u, v])
    return rows


@both
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-8)])
def test_released_loss_and_gradients_are_those_of_d_vaes_code(model_class, dtype, tolerance):
    """Every position and every pair of vertices counts, padding and edges that cannot be included."""
    model, batch = make_model(model_class, replace(SMALL, released=True)).to(dtype), random_dags(8)
    expected = 0.0
    for i in range(8):
        rows = released_rows(model, batch, i)
        state = torch.zeros(model.config.hidden, dtype=dtype)
        for row in rows:
            state = gru(model.reader, row, state)
        mu, logvar = (linear(layer, state) for layer in (model.mu, model.logvar))
        types, edges = released_decisions(model, mu, rows)
        loss = F.cross_entropy(types, rows[:, : model.config.num_types].argmax(dim=1), reduction="sum")
        bits = rows[:, model.config.num_types :]
        loss = loss - (bits * F.logsigmoid(edges) + (1 - bits) * F.logsigmoid(-edges)).sum()
        loss = loss + model.config.beta * -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
        expected = expected + loss / 8
    assert_same_gradients(model, model.loss(batch)["total"], expected, tolerance)


@both
def test_released_decodes_are_drawn_by_the_decisions_of_the_loss_and_closed(model_class):
    """Shares of sampled graphs; the output's edges and the type of the last vertex are not decided."""
    model = make_model(model_class, replace(SMALL, num_vertices=4, released=True))
    z = 2 * torch.randn(2, 6, generator=torch.Generator().manual_seed(5))
    graphs, source, count = model.sample_decodes(z, 50_000, torch.Generator().manual_seed(0))
    assert count[source == 0].sum() == count[source == 1].sum() == 50_000 and len(graphs) > 100
    with torch.no_grad():
        for i in range(len(graphs)):
            size, rows = int(graphs.num_vertices[i]), released_rows(model, graphs, i)
            types, edges = released_decisions(model, z[source[i]], rows)
            log_probability = 0.0
            for v in range(1, size):
                if v < 3:
                    log_probability += F.log_softmax(types[v - 1], dim=0)[graphs.types[i, v]]
                for u in range(v if v < size - 1 else 0):
                    log_probability += F.logsigmoid(edges[v - 1, u] * (1 if graphs.adjacency[i, u, v] else -1))
            probability, share = float(torch.as_tensor(log_probability).exp()), float(count[i]) / 50_000
            assert abs(share - probability) < 5 * (probability / 50_000) ** 0.5 + 1e-3
            assert graphs.types[i, size - 1] == SMALL.output_type
            loose = ~graphs.adjacency[i, :size, : size - 1].any(dim=1)
            assert torch.equal(graphs.adjacency[i, : size - 1, size - 1], loose[:-1])


@both
def test_a_released_model_is_another_and_its_greedy_decode_follows_its_decisions(model_class):
    model = with_strong_weights(make_model(model_class, replace(SMALL, released=True)))
    z = 3 * torch.randn(30, 6, generator=torch.Generator().manual_seed(2))
    graphs = model.decode(z)
    assert len(set(graphs.keys())) > 5
    with torch.no_grad():
        for i, size in enumerate(graphs.num_vertices.tolist()):
            types, edges = released_decisions(model, z[i], released_rows(model, graphs, i))
            for v in range(1, size - 1):
                assert int(types[v - 1].argmax()) == graphs.types[i, v]
                assert (edges[v - 1, :v] > 0).tolist() == graphs.adjacency[i, :v, v].tolist()
    with pytest.raises(RuntimeError):
        make_model(model_class).load_state_dict(model.state_dict())


@both
def test_a_graphs_loss_and_code_do_not_depend_on_its_companions(model_class):
    model, batch = make_model(model_class).double(), random_dags(12)
    alone = torch.stack([model.loss(batch[i : i + 1])["total"] for i in range(12)])
    mu, _ = model.encode(batch)
    for rows in ([0, 1], [5, 0, 3], list(range(11, -1, -1))):
        torch.testing.assert_close(model.loss(batch[rows])["total"], alone[rows].mean())
        torch.testing.assert_close(model.encode(batch[rows])[0], mu[rows])


@pytest.mark.slow
@both
def test_a_handful_of_graphs_comes_back(model_class, tmp_path):
    torch.manual_seed(0)
    batch = random_dags(8)
    model = model_class(replace(SMALL, hidden=32, latent=8))
    config = TrainConfig(epochs=250, batch_size=8, learning_rate=1e-2, precision="fp32")
    fit(model, batch, {}, config, tmp_path, device="cpu")
    model.eval()
    assert equal(model.decode(model.encode(batch)[0]), batch).all()
    assert evaluate.reconstruction(model, batch, trials=10)["published"] > 90
    assert all(0 <= value <= 100 for value in evaluate.prior_quality(model, NASBENCH101, batch, points=10).values())


@both
def test_sampled_shares_are_the_probabilities_of_the_loss(model_class):
    """exp(-loss) of a graph that ended with its output is its share of the decodes."""
    model = make_model(model_class, replace(SMALL, num_vertices=3))
    z = torch.randn(2, 6, generator=torch.Generator().manual_seed(5))
    graphs, source, count = model.sample_decodes(z, 50_000, torch.Generator().manual_seed(0))
    assert count[source == 0].sum() == count[source == 1].sum() == 50_000
    assert len(set(zip(source.tolist(), graphs.keys(), strict=True))) == len(graphs)
    ended = graphs.types[torch.arange(len(graphs)), graphs.num_vertices - 1] == SMALL.output_type
    assert ended.sum() >= 6
    for i in ended.nonzero().squeeze(1).tolist():
        model._encode = lambda _, i=i: (z[source[i]][None], torch.zeros(1, 6))
        terms = model.loss(graphs[i : i + 1])
        share = float(count[i]) / 50_000
        assert abs(share - (-terms["vertices"] - terms["edges"]).exp().item()) < 5 * (share / 50_000) ** 0.5 + 1e-3


def test_greedy_edges_of_graphrnn_are_decided_from_the_nearest_vertex_back():
    """Decodes of 30 points against the plain decisions, one after the other, at each of their vertices."""
    model = with_strong_weights(make_model(GraphRNN))
    z = 3 * torch.randn(30, 6, generator=torch.Generator().manual_seed(2))
    graphs = model.decode(z)
    assert graphs.adjacency.any(dim=1).float().mean() > 0.1 and len(set(graphs.keys())) > 5
    with torch.no_grad():
        for i, size in enumerate(graphs.num_vertices.tolist()):
            state = torch.tanh(linear(model.initial, z[i]))
            rows = model._rows(graphs[i : i + 1])[:, 0]
            for v in range(1, size):
                state = gru(model.writer, rows[v - 1], state)
                assert int(two_layers(model.type_head, state).argmax()) == graphs.types[i, v]
                decided = [bool(logit > 0) for logit in edge_logits(model, state, rows[v], v)]
                assert decided == graphs.adjacency[i, :v, v].tolist()


@both
@pytest.mark.parametrize("released", [False, True])
def test_trains_in_bf16(model_class, released, tmp_path):
    config = TrainConfig(epochs=3, batch_size=5, learning_rate=1e-2, precision="bf16")
    history = fit(model_class(replace(SMALL, released=released)), random_dags(12), {}, config, tmp_path, device="cpu")
    assert history["total"].iloc[-1] < history["total"].iloc[0]


@both
def test_a_decode_without_output_ends_and_is_invalid(model_class):
    model = make_model(model_class)
    with torch.no_grad():
        model.type_head[2].bias[1] = -1e4
    graphs = model.decode(torch.randn(20, 6))
    assert (graphs.num_vertices == 7).all() and not NASBENCH101.is_valid(graphs).any()


@both
def test_decodes_end_with_their_first_output_and_stay_in_bounds(model_class):
    model = make_model(model_class)
    graphs, _, count = model.sample_decodes(torch.randn(50, 6), 20, torch.Generator().manual_seed(0))
    position = torch.arange(7)
    assert count.sum() == 1000 and graphs.num_vertices.min() == 2 and graphs.num_vertices.max() == 7
    present = position < graphs.num_vertices[:, None]
    assert torch.equal(graphs.types >= 0, present)
    is_output = graphs.types == SMALL.output_type
    assert not (is_output & (position < graphs.num_vertices[:, None] - 1)).any()
    assert not (graphs.adjacency & ~(present[:, :, None] & present[:, None, :])).any()
    assert not graphs.adjacency.tril().any()


@both
def test_bad_input_is_named(model_class):
    model, batch = make_model(model_class), random_dags(12)
    with pytest.raises(ValueError, match="at most 5 vertices, but the batch has one of 7"):
        make_model(model_class, replace(SMALL, num_vertices=5)).loss(batch)
    with pytest.raises(ValueError, match="batch is empty"):
        model.loss(batch[:0])
    assert model.encode(batch[:0])[0].shape == (0, 6) and len(model.decode(torch.zeros(0, 6))) == 0
    batch.types[5, 1] = 5
    with pytest.raises(ValueError, match="types 0 to 4, but the batch has a vertex of type 5"):
        model.encode(batch)
    with pytest.raises(ValueError, match="num_vertices=1"):
        SVAEConfig(num_vertices=1)
