"""SVGe and DGMG against a plain per-graph reference, PyG's message passing, and what the papers ask of them."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import MessagePassing

from latentnas import evaluate
from latentnas.graphs import NO_VERTEX, DagBatch, equal
from latentnas.models.family import FAMILY
from latentnas.models.svge import SVGe, SVGeConfig, received, reverse, reverse_edges
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.train import TrainConfig, fit
from model_checks import assert_same_gradients, gru, linear, random_dags, two_layers, with_strong_weights

SMALL = SVGeConfig(num_types=5, num_vertices=7, hidden=8, latent=6, summary=5, noise_scale=0.0)
CONFIGS = {
    "svge": SMALL,
    "svge, three rounds": replace(SMALL, rounds=3),
    "dgmg": replace(SMALL, two_sided=False, reverse_messages=True),
}


def make_model(config, seed=0):
    torch.manual_seed(seed)
    return with_strong_weights(SVGe(config))


# The reference: one graph, one vertex and one edge at a time; it only reads a model's parameters.


def one_round(layer, states, edges):
    new = []
    for v, state in enumerate(states):
        total = torch.zeros_like(state)
        for u, w in edges:
            if w == v:
                total = total + linear(layer.message, torch.cat([states[u], state]))
            if u == v and layer.reverse is not None:
                total = total + linear(layer.reverse, torch.cat([states[w], state]))
        new.append(gru(layer.cell, total, state))
    return new


def summed_up(read_out, states):
    return sum(torch.sigmoid(linear(read_out.gate, h)) * linear(read_out.mapper, h) for h in states)


def encode_reference(model, types, edges):
    encoder = model.encoder
    half = model.config.hidden // 2
    forward = [encoder.types.weight[t][:half] for t in types]
    backward = [encoder.types.weight[t][half:] for t in types]
    for along, against in zip(encoder.forward_rounds, encoder.backward_rounds, strict=True):
        forward = one_round(along, forward, edges)
        backward = one_round(against, backward, [(v, u) for u, v in edges])
    states = [torch.cat(pair) for pair in zip(forward, backward, strict=True)]
    return summed_up(encoder.mu, states), summed_up(encoder.logvar, states)


def generator_loss_reference(model, z, types, edges):
    generator = model.generator

    def new_state(vertex_type, summary):
        return two_layers(generator.vertex_head, torch.cat([generator.types.weight[vertex_type], summary, z]))

    states = [new_state(types[0], torch.zeros(model.config.summary, dtype=z.dtype))]
    of_types = of_edges = z.new_zeros(())
    for v in range(1, len(types)):
        for layer in generator.rounds:
            states = one_round(layer, states, [(u, w) for u, w in edges if w < v])
        summary = summed_up(generator.summary, states)
        logits = two_layers(generator.type_head, torch.cat([summary, z]))
        of_types = of_types - F.log_softmax(logits, dim=0)[types[v]]
        new = new_state(types[v], summed_up(generator.summary_for_vertex, states))
        for u in range(v):
            logit = two_layers(generator.edge_head, torch.cat([states[u], new, summary, z]))[0]
            of_edges = of_edges - F.logsigmoid(logit if (u, v) in edges else -logit) / v
        states = [*states, new]
    return of_types, of_edges


def plain(batch, i):
    count = int(batch.num_vertices[i])
    return batch.types[i, :count].tolist(), [tuple(edge) for edge in batch.adjacency[i].nonzero().tolist()]


def loss_reference(model, batch):
    """Sum over the batch of types + edges, and of KL."""
    reconstruction = kl = 0.0
    for i in range(len(batch)):
        types, edges = plain(batch, i)
        mu, logvar = encode_reference(model, types, edges)
        kl = kl - 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
        reconstruction = reconstruction + sum(generator_loss_reference(model, mu, types, edges))
        if model.config.two_sided:
            last = len(types) - 1
            backward = [(last - v, last - u) for u, v in edges]
            reconstruction = reconstruction + sum(generator_loss_reference(model, mu, types[::-1], backward))
    return reconstruction, kl


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-8)])
def test_loss_and_gradients_are_those_of_the_reference(name, dtype, tolerance):
    model, batch = make_model(CONFIGS[name]).to(dtype), random_dags(12)
    reconstruction, kl = loss_reference(model, batch)
    expected = (reconstruction + model.config.beta * kl) / len(batch)
    terms = model.loss(batch)
    assert_same_gradients(model, terms["total"], expected, tolerance)
    torch.testing.assert_close(terms["kl"], kl / len(batch), rtol=tolerance, atol=tolerance)


class PyGRound(MessagePassing):
    """The same round with PyG's message passing: messages per edge, summed at their targets."""

    def __init__(self, layer):
        super().__init__(aggr="add")
        self.layer = layer

    def forward(self, x, edge_index):
        arrived = self.propagate(edge_index, x=x, linear=self.layer.message)
        if self.layer.reverse is not None:
            arrived = arrived + self.propagate(edge_index.flip(0), x=x, linear=self.layer.reverse)
        return self.layer.cell(arrived, x)

    def message(self, x_i, x_j, linear):
        return linear(torch.cat([x_j, x_i], dim=1))


@pytest.mark.parametrize("name", CONFIGS)
def test_dense_rounds_are_pygs_message_passing(name):
    model, batch = make_model(CONFIGS[name]), random_dags(12)
    states = torch.randn(12, 7, SMALL.hidden)
    present = batch.types != NO_VERTEX
    row = (present.flatten().cumsum(0) - 1).view_as(present)  # of each vertex among all that are present
    graph, source, target = batch.adjacency.nonzero(as_tuple=True)
    edge_index = torch.stack([row[graph, source], row[graph, target]])
    for layer in model.generator.rounds:
        of_pyg = PyGRound(layer)(states[present], edge_index)
        torch.testing.assert_close(
            layer(states, received(batch.adjacency.float(), layer.reverse is not None))[present],
            of_pyg,
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize("rounds", [2, 3])
def test_one_number_of_rounds_holds_for_both(rounds):
    model = SVGe(replace(SMALL, rounds=rounds))
    assert len(model.encoder.forward_rounds) == len(model.encoder.backward_rounds) == rounds
    assert len(model.generator.rounds) == rounds


@pytest.mark.parametrize("name", CONFIGS)
def test_a_graphs_loss_does_not_depend_on_its_companions(name):
    """The authors' code mixes graphs up in its edge scorer unless the batch has one graph."""
    model, batch = make_model(CONFIGS[name]).double(), random_dags(12)
    alone = torch.stack([model.loss(batch[i : i + 1])["total"] for i in range(12)])
    for rows in ([0, 1], [5, 0, 3], [11, 2, 2, 7, 4], list(range(11, -1, -1))):
        torch.testing.assert_close(model.loss(batch[rows])["total"], alone[rows].mean())
    mu, _ = model.encode(batch)
    order = torch.randperm(12)
    torch.testing.assert_close(model.encode(batch[order])[0], mu[order])


def test_positions_past_the_end_change_nothing():
    batch = random_dags(12)
    narrow, wide = make_model(SMALL).double(), make_model(replace(SMALL, num_vertices=10)).double()
    wide.load_state_dict(narrow.state_dict())
    torch.testing.assert_close(narrow.for_graphs_of(10).double().encode(batch), narrow.encode(batch))
    first, second = narrow.loss(batch), wide.loss(batch)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)
    short = batch[batch.num_vertices <= 4]
    cut = DagBatch(short.types[:, :4], short.adjacency[:, :4, :4], short.num_vertices)
    torch.testing.assert_close(narrow.loss(cut)["total"], narrow.loss(short)["total"])


def test_the_kl_term_is_weighted():
    batch = random_dags(12)
    for beta in (0.005, 0.5):
        terms = make_model(replace(SMALL, beta=beta)).loss(batch)
        torch.testing.assert_close(terms["total"], terms["vertices"] + terms["edges"] + beta * terms["kl"])


def test_predictor_reads_mu_and_is_weighed_against_the_rest():
    batch, labels = random_dags(12), torch.linspace(80, 94, 12)
    model = make_model(replace(SMALL, latent=16, predictor=True, noise_scale=1.0))
    model.calibrate(performance=labels)
    terms = model.loss(batch, performance=labels, generator=torch.Generator().manual_seed(0))
    standard = (labels - labels.mean()) / labels.std(correction=0)
    mu = model.encode(batch)[0]
    widths = [layer.out_features for layer in model.performance.layers if isinstance(layer, torch.nn.Linear)]
    assert widths == [8, 4, 2, 1]
    torch.testing.assert_close(terms["performance"], ((model.performance(mu) - standard) ** 2).mean())
    rest = terms["vertices"] + terms["edges"] + 0.005 * terms["kl"]
    torch.testing.assert_close(terms["total"], 0.1 * rest + 0.9 * terms["performance"])
    predicted = evaluate.predicted_accuracy(model, batch)
    expected = model.performance(mu).detach() * labels.std(correction=0) + labels.mean()
    torch.testing.assert_close(torch.from_numpy(predicted).float(), expected)


@given(st.integers(0, 2**31))
@settings(max_examples=20)
def test_turning_graphs_twice_gives_them_back(seed):
    batch = random_dags(12, seed)
    back = reverse(batch)
    assert equal(reverse(back), batch).all()
    for i in range(12):
        (types, edges), (back_types, back_edges) = plain(batch, i), plain(back, i)
        assert back_types == types[::-1]
        assert sorted(back_edges) == sorted((len(types) - 1 - v, len(types) - 1 - u) for u, v in edges)


def test_decodes_unite_both_generations():
    """Drawn apart, merged by hand; the backward graph may be of another size."""
    model = make_model(SMALL, seed=4)
    z = 3 * torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        forward, _, _ = model.write(z, 1, None)
        backward, _, _ = model.write(z, 1, None, backward=True)
    decoded = model.decode(z)
    assert (forward.num_vertices != backward.num_vertices).any()
    assert (decoded.adjacency.sum() > forward.adjacency.sum()).item()
    for i in range(len(z)):
        types, edges = plain(forward, i)
        last = len(types) - 1
        more = {(last - v, last - u) for u, v in plain(backward, i)[1] if v <= last}
        assert plain(decoded, i) == (types, sorted({*edges, *more}))


def test_backward_graph_is_laid_on_the_output():
    """A chain of 4 vertices written backwards, under a forward graph of 3: the edge that sticks out is dropped."""
    chain = torch.zeros(1, 5, 5, dtype=torch.bool)
    chain[0, [0, 1, 2], [1, 2, 3]] = True
    assert reverse_edges(chain, torch.tensor([3]))[0].nonzero().tolist() == [[0, 1], [1, 2]]
    assert reverse_edges(chain, torch.tensor([5]))[0].nonzero().tolist() == [[1, 2], [2, 3], [3, 4]]


def test_dgmg_is_one_sided():
    model = make_model(SVGeConfig(**FAMILY["DGMG"].options, num_types=5, num_vertices=7, hidden=8, latent=6))
    z = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        forward, _, _ = model.write(z, 1, None)
    assert equal(model.decode(z), forward).all()
    assert all(layer.reverse is not None for layer in model.generator.rounds)


@pytest.mark.parametrize("name", CONFIGS)
def test_samples_follow_the_probabilities(name):
    """Counted decodes of two points against decodes drawn one by one, and exact totals."""
    model = make_model(replace(CONFIGS[name], num_vertices=3))
    z = torch.randn(2, 6, generator=torch.Generator().manual_seed(3))
    graphs, source, count = model.sample_decodes(z, 20_000, torch.Generator().manual_seed(0))
    assert count[source == 0].sum() == count[source == 1].sum() == 20_000
    assert torch.equal(source, source.sort().values)
    keys = list(zip(source.tolist(), graphs.keys(), strict=True))
    assert len(set(keys)) == len(keys)

    singly, rows, ones = model.sample_decodes(z.repeat(20_000, 1), 1, torch.Generator().manual_seed(7))
    assert (ones == 1).all()
    tally = Counter(zip((rows % 2).tolist(), singly.keys(), strict=True))
    together = Counter(dict(zip(keys, count.tolist(), strict=True)))
    assert max(tally.values()) < 20_000
    for key in tally | together:
        assert abs(tally[key] - together[key]) < 5 * (2 * max(tally[key], together[key])) ** 0.5 + 5


def test_sampled_probability_is_that_of_the_loss():
    """DGMG has one way to write a graph: exp(-types - edges, not averaged) is its share of the decodes."""
    model = make_model(replace(CONFIGS["dgmg"], num_vertices=3), seed=1)
    z = torch.randn(1, 6, generator=torch.Generator().manual_seed(5))
    graphs, _, count = model.sample_decodes(z, 50_000, torch.Generator().manual_seed(0))
    ended = graphs.types[torch.arange(len(graphs)), graphs.num_vertices - 1] == SMALL.output_type
    checked = ended.nonzero().squeeze(1).tolist()
    assert len(checked) >= 4
    for i in checked:
        with torch.no_grad():
            types, edges = model.generator.loss(z, graphs[i : i + 1])
            # two vertices: one decision each; three: those of the last vertex were averaged over two
            _, of_first = model.generator.loss(z, cut_to_two(graphs[i : i + 1]))
            nll = types + (edges if graphs.num_vertices[i] == 2 else of_first + 2 * (edges - of_first))
        share = float(count[i]) / 50_000
        assert abs(share - float((-nll).exp())) < 5 * (share / 50_000) ** 0.5 + 1e-3


def cut_to_two(graph):
    types, adjacency = graph.types.clone(), graph.adjacency.clone()
    types[:, 2:] = NO_VERTEX
    adjacency[:, :, 2:] = False
    return DagBatch(types, adjacency, torch.tensor([2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_handful_of_graphs_comes_back(name, tmp_path):
    """Trained by the common loop on graphs of several sizes, and measured by the common evaluation."""
    torch.manual_seed(0)
    batch = random_dags(8)
    model = SVGe(replace(CONFIGS[name], hidden=32, latent=8, summary=8))
    config = TrainConfig(epochs=150, batch_size=8, learning_rate=1e-2, precision="fp32")
    history = fit(model, batch, {}, config, tmp_path, device="cpu")
    assert history["total"].iloc[-1] < 0.05 * history["total"].iloc[0]
    model.eval()
    assert equal(model.decode(model.encode(batch)[0]), batch).all()
    assert evaluate.reconstruction(model, batch, trials=10)["published"] > 95
    measured = evaluate.prior_quality(model, NASBENCH101, batch, points=10)
    assert all(0 <= value <= 100 for value in measured.values())


@pytest.mark.slow
@pytest.mark.parametrize("space", [ENAS, NASBENCH101, NASBENCH201], ids=lambda space: space.name)
def test_every_space_trains_in_both_precisions(space, tmp_path):
    batch = space.sample(12, 0) if space is not NASBENCH201 else NASBENCH201.enumerate()[::1302]
    for precision in ("fp32", "bf16"):
        model = SVGe(SVGeConfig(space.num_types, space.num_vertices, hidden=16, latent=4, summary=4))
        config = TrainConfig(epochs=2, batch_size=5, precision=precision)
        history = fit(model, batch, {}, config, tmp_path / precision, device="cpu")
        assert history["total"].iloc[-1] < history["total"].iloc[0]


def test_a_decode_without_output_ends_and_is_invalid():
    model = make_model(SMALL)
    with torch.no_grad():
        model.generator.type_head[2].bias[SMALL.output_type] = -1e4
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    graphs = model.decode(z)
    assert (graphs.num_vertices == 7).all() and not (graphs.types == SMALL.output_type).any()
    assert not NASBENCH101.is_valid(graphs).any()
    sampled, _, count = model.sample_decodes(z, 3, torch.Generator().manual_seed(0))
    assert count.sum() == 60 and not NASBENCH101.is_valid(sampled).any()


def test_too_many_vertices_are_refused():
    model = make_model(replace(SMALL, num_vertices=5))
    for call in (model.encode, model.loss):
        with pytest.raises(ValueError, match="at most 5 vertices, but the batch has one of 7"):
            call(random_dags(12))


@pytest.mark.parametrize("strange", [5, 9, NO_VERTEX, -2])
def test_unknown_types_are_refused(strange):
    batch = random_dags(12)
    batch.types[5, 1] = strange
    for call in (make_model(SMALL).encode, make_model(SMALL).loss):
        with pytest.raises(ValueError, match=f"types 0 to 4, but the batch has a vertex of type {strange}"):
            call(batch)


def test_empty_batches():
    """Nothing encodes and decodes to nothing; a loss of nothing is refused."""
    model, nothing = make_model(SMALL), random_dags(12)[:0]
    mu, logvar = model.encode(nothing)
    assert mu.shape == logvar.shape == (0, 6)
    assert len(model.decode(mu)) == 0
    graphs, source, count = model.sample_decodes(mu, 3, torch.Generator().manual_seed(0))
    assert len(graphs) == len(source) == len(count) == 0
    with pytest.raises(ValueError, match="batch is empty"):
        model.loss(nothing)


@pytest.mark.parametrize(
    "fields, word", [({"hidden": 7}, "hidden"), ({"num_vertices": 1}, "2"), ({"rounds": 0}, "rounds")]
)
def test_wrong_configuration_is_named(fields, word):
    with pytest.raises(ValueError, match=word):
        SVGeConfig(**fields)
