"""The batched D-VAE / NGAE model against the slow reference that follows the equations graph by graph."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare

from latentnas.models import reference_dvae
from latentnas.models.base import reparameterize
from latentnas.models.dagnn import decision_order
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.models.reference_dvae import Graph
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench201 import NASBENCH201
from model_checks import random_dags, with_strong_weights

ENAS_SHAPE = {"num_types": 8, "num_vertices": 8, "input_type": 0, "output_type": 1}
NB101_SHAPE = {"num_types": 5, "num_vertices": 7, "input_type": 1, "output_type": 0}
TINY_SHAPE = {"num_types": 4, "num_vertices": 4, "input_type": 0, "output_type": 1}
NUMBERED = {"numbered": True}


def make_model(shape, seed=0, scale=2.0, **options):
    """A toy model with weights large enough for its decisions to differ between graphs."""
    torch.manual_seed(seed)
    model = NGAE(NGAEConfig(**{**shape, "hidden": 24, "latent": 8, "predictors": "none", **options}))
    return with_strong_weights(model, scale)


def make_batch(shape, count=12, seed=1):
    if shape is ENAS_SHAPE:
        return ENAS.sample(count, seed=seed)
    return random_dags(count, seed, **{name: value for name, value in shape.items() if name not in NUMBERED})


def graphs_of(batch):
    return [Graph.from_batch(batch, i) for i in range(len(batch))]


def encode_all(model, batch):
    mu, logvar = zip(*(reference_dvae.encode(model, graph) for graph in graphs_of(batch)))
    return torch.stack(mu), torch.stack(logvar)


def assert_near(ours, expected):
    """Equal to 1e-5 of the largest entry, or to 1e-5 where all entries are below one."""
    scale = max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * scale)


def close(decoding):
    """The graph, with an output vertex that has edges from every vertex without a successor."""
    used = {u for sources in decoding.predecessors for u in sources}
    loose = [u for u in range(len(decoding.types)) if u not in used]
    predecessors = [sorted(sources) for sources in decoding.predecessors]
    return Graph([*decoding.types, decoding.config.output_type], [*predecessors, loose])


def decode_greedy(model, z):
    """The graph decoded from z by taking the most likely types and the edges with probability above 0.5."""
    decoding = reference_dvae.Decoding(model, z)
    for v in range(1, model.config.num_vertices):
        vertex_type = int(decoding.type_logits().argmax())
        if vertex_type == model.config.output_type or v == model.config.num_vertices - 1:
            break
        decoding.add_vertex(vertex_type)
        for u in range(v - 1, -1, -1):
            decoding.decide(u, bool(decoding.edge_logit(u) > 0))
    return close(decoding)


def decode_probability(model, graph, z):
    """The probability that sampling from z decodes exactly this graph; 0 where the decoder cannot."""
    decoding = reference_dvae.Decoding(model, z)
    log_probability = z.new_zeros(())
    for v in range(1, model.config.num_vertices):
        vertex_type = graph.types[v]
        if v < model.config.num_vertices - 1:
            log_probability = log_probability + F.log_softmax(decoding.type_logits(), dim=0)[vertex_type]
        if vertex_type == model.config.output_type:
            same = close(decoding) == Graph(graph.types, [sorted(sources) for sources in graph.predecessors])
            return log_probability.exp() if same else z.new_zeros(())
        if v == model.config.num_vertices - 1:
            return z.new_zeros(())
        decoding.add_vertex(vertex_type)
        for u in range(v - 1, -1, -1):
            edge = u in graph.predecessors[v]
            log_probability = log_probability + F.logsigmoid(decoding.edge_logit(u) * (1 if edge else -1))
            decoding.decide(u, edge)
    raise AssertionError("a graph ends with its output vertex")


shapes = pytest.mark.parametrize(
    "shape", [ENAS_SHAPE, NB101_SHAPE, NB101_SHAPE | NUMBERED], ids=["enas", "nb101-like", "numbered"]
)


@shapes
def test_encoder_equals_reference(shape):
    model, batch = make_model(shape), make_batch(shape)
    mu, logvar = model.encode(batch)
    expected_mu, expected_logvar = encode_all(model, batch)
    assert_near(mu, expected_mu)
    assert_near(logvar, expected_logvar)
    assert mu.std(0).min() > 1e-3, "the toy model must tell the graphs apart, or this test shows nothing"


@shapes
def test_loss_and_every_gradient_equal_reference(shape):
    model, batch = make_model(shape), make_batch(shape)
    parameters = dict(model.named_parameters())
    terms = model.loss(batch, generator=torch.Generator().manual_seed(5))
    gradients = torch.autograd.grad(terms["total"], list(parameters.values()))

    mu, logvar = encode_all(model, batch)
    z = reparameterize(mu, logvar, model.config.noise_scale, torch.Generator().manual_seed(5))
    terms_of_graphs = [reference_dvae.loss(model, graph, zi) for graph, zi in zip(graphs_of(batch), z)]
    vertices, edges = (torch.stack(term).mean() for term in zip(*terms_of_graphs))
    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
    total = vertices + edges + model.config.beta * kl
    expected = torch.autograd.grad(total, list(parameters.values()))

    for name, value in {"vertices": vertices, "edges": edges, "kl": kl, "total": total}.items():
        assert_near(terms[name], value)
    for name, ours, reference in zip(parameters, gradients, expected):
        assert reference.abs().max() > 0, f"{name} gets no gradient in the reference"
        assert_near(ours, reference)


@shapes
def test_greedy_decodes_equal_reference(shape):
    z = 2 * torch.randn(15, 8, generator=torch.Generator().manual_seed(2))
    seen = set()
    for seed in range(4):  # one toy model alone decodes to few different graphs
        model = make_model(shape, seed, scale=4.0)
        with torch.no_grad():
            expected = [decode_greedy(model, zi) for zi in z]
            assert graphs_of(model.decode(z)) == expected
        seen.update(map(str, expected))
    assert len(seen) > 15, "the toy models must decode to different graphs, or this test shows little"


@shapes
def test_permuting_the_batch_permutes_the_output(shape):
    model, batch = make_model(shape, noise_scale=0.0), make_batch(shape)
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mu, logvar = model.encode(batch)
        permuted_mu, permuted_logvar = model.encode(batch[order])
        assert_near(permuted_mu, mu[order])
        assert_near(permuted_logvar, logvar[order])
        assert model.decode(mu)[order].keys() == model.decode(mu[order]).keys()
        assert_near(model.loss(batch[order])["total"], model.loss(batch)["total"])


@shapes
def test_loss_of_a_batch_is_the_mean_over_its_graphs(shape):
    model, batch = make_model(shape, noise_scale=0.0), make_batch(shape, count=6)
    with torch.no_grad():
        whole = model.loss(batch)
        singles = [model.loss(batch[i : i + 1]) for i in range(len(batch))]
    for term in ("vertices", "edges", "kl"):
        assert_near(whole[term], sum(single[term] for single in singles) / len(batch))


def test_reparameterize_scales_the_noise():
    mu, logvar = torch.full((20000, 8), 3.0), torch.full((20000, 8), 2.0)
    z = reparameterize(mu, logvar, 0.01, torch.Generator().manual_seed(0))
    assert z.std().item() == pytest.approx(0.01 * torch.e**1.0, rel=0.02)
    assert z.mean().item() == pytest.approx(3.0, abs=1e-3)


def all_decodable(num_types, num_vertices, input_type, output_type):
    """Every graph the decoder can make: any types but output, any edges, loose ends tied to the output."""

    def close(types, predecessors):
        used = {u for sources in predecessors for u in sources}
        loose = [u for u in range(len(types)) if u not in used]
        return Graph([*types, output_type], [*predecessors, loose])

    open_graphs = [([input_type], [[]])]
    for v in range(1, num_vertices):
        yield from (close(*graph) for graph in open_graphs)
        open_graphs = [
            ([*types, t], [*predecessors, [u for u in range(v) if chosen[u]]])
            for types, predecessors in open_graphs
            for t in range(num_types)
            if t != output_type
            for chosen in itertools.product([False, True], repeat=v)
        ]


def assert_drawn_from(counts, probabilities):
    """Chi-square test at level 0.001 with the cells expected fewer than five times taken together."""
    expected = torch.tensor(probabilities, dtype=torch.float64) * sum(counts)
    observed = torch.tensor(counts, dtype=torch.float64)
    rare = expected < 5
    expected = torch.cat([expected[~rare], expected[rare].sum(0, keepdim=True)])
    observed = torch.cat([observed[~rare], observed[rare].sum(0, keepdim=True)])
    kept = expected > 0
    assert len(expected) > 8
    assert observed[~kept].sum() == 0
    assert chisquare(observed[kept], expected[kept] * observed.sum() / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize("numbered", [False, True])
def test_samples_follow_the_reference_probabilities(numbered):
    model = make_model(TINY_SHAPE, seed=4, scale=1.5, numbered=numbered)
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(9))
    possible = list(all_decodable(**TINY_SHAPE))
    trials = 8000
    with torch.no_grad():
        batch, source, count = model.sample_decodes(z, trials, torch.Generator().manual_seed(11))
        probabilities = [[decode_probability(model, g, zi).item() for g in possible] for zi in z]
    for row in range(len(z)):
        assert sum(probabilities[row]) == pytest.approx(1.0, abs=1e-5)
        mine = source == row
        assert count[mine].sum() == trials
        assert len(set(batch[mine].keys())) == int(mine.sum()), "the decodes of one z must be distinct"
        drawn = dict(zip(map(str, graphs_of(batch[mine])), count[mine].tolist()))
        assert set(drawn) <= {str(g) for g in possible}
        assert_drawn_from([drawn.get(str(g), 0) for g in possible], probabilities[row])


def test_sampling_repeats_with_its_seed():
    model = make_model(ENAS_SHAPE)
    z = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (model.sample_decodes(z, 50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first[0].keys() == second[0].keys()
    assert torch.equal(first[1], second[1]) and torch.equal(first[2], second[2])


def test_only_a_numbered_decoder_can_tell_vertices_of_one_type_and_the_same_sources_apart():
    """In a cell of NAS-Bench-201 with one operation throughout vertex 3 needs the edge from 1 and not that from 2."""
    cell = NASBENCH201.from_choices([[3] * 6])
    for numbered in (False, True):
        model = make_model({"num_types": 7}, numbered=numbered).double()
        (types, _), (edges, _, _) = model.decoder.decisions(torch.randn(1, 8).double(), cell)
        targets, sources = (numbers.tolist() for numbers in decision_order(8, torch.device("cpu")))
        of = dict(zip(zip(targets, sources), edges[0]))
        assert torch.isclose(of[3, 1], of[3, 2], rtol=1e-9).item() != numbered
        assert torch.allclose(types[0, 1], types[0, 2], rtol=1e-9) != numbered  # after vertices 1 and 2


def test_fixed_edges_are_those_of_every_graph_and_cost_nothing():
    edges = tuple((int(u), int(v)) for u, v in NASBENCH201.from_choices([[0] * 6]).adjacency[0].nonzero())
    free, fixed = (make_model({"num_types": 7}, fixed_edges=given) for given in ((), edges))
    z, cells = torch.randn(30, 8, generator=torch.Generator().manual_seed(0)), NASBENCH201.sample(30, seed=0)
    with torch.no_grad():
        (types, edges_too), (same_types, none) = (model.decoder.loss(z, cells) for model in (free, fixed))
        decoded = [fixed.decode(z), fixed.sample_decodes(z, 20, torch.Generator().manual_seed(0))[0]]
    assert torch.equal(types, same_types) and edges_too.min() > 0 and not none.any()
    for graphs in decoded:
        whole = graphs[(graphs.num_vertices == 8).nonzero().squeeze(1)]
        assert len(whole) > 5 and (whole.adjacency == cells.adjacency[0]).all()


def test_decoder_shares_the_forward_messages():
    model = make_model(ENAS_SHAPE)
    assert model.decoder.message is model.encoder.forward_message
    assert model.decoder.cell is not model.encoder.forward_cell


def test_size_of_the_published_model():
    model = NGAE(NGAEConfig(**ENAS_SHAPE, predictors="none"))
    assert (model.config.hidden, model.config.latent) == (501, 56)
    # The authors' 6.94 M are these and one more layer 1002 -> 501, which the published equations do not mention.
    spare = 1002 * 501 + 501
    assert (sum(weights.numel() for weights in model.parameters()) + spare) / 1e6 == pytest.approx(6.94, abs=0.005)


def rig(model, favourite_type, edge_bias):
    """Makes the decoder always choose one type and, by the sign of edge_bias, every edge or none."""
    with torch.no_grad():
        for head in (model.decoder.vertex_head, model.decoder.edge_head):
            head[2].weight.zero_()
        model.decoder.vertex_head[2].bias.fill_(-50.0)[favourite_type] = 50.0
        model.decoder.edge_head[2].bias.fill_(edge_bias)
    return model


@pytest.mark.parametrize(
    "favourite_type, edge_bias, vertices, valid",
    [
        (0, 50.0, 8, False),  # input vertices only, until the forced output: too many inputs
        (3, -50.0, 8, False),  # operations without any edge
        (1, 50.0, 2, True),  # output at once: D-VAE's rules do not ask for a number of layers
        (3, 50.0, 8, True),  # no output of its own either, but all edges: the forced output makes it valid
    ],
)
@pytest.mark.parametrize("sample", [False, True])
def test_a_decoder_that_never_stops_is_stopped(favourite_type, edge_bias, vertices, valid, sample):
    model = rig(make_model(ENAS_SHAPE), favourite_type, edge_bias)
    with torch.no_grad():
        z = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
        generator = torch.Generator().manual_seed(0)
        decoded = model.sample_decodes(z, 50, generator)[0] if sample else model.decode(z)
    assert decoded.num_vertices.tolist() == [vertices] * 4
    assert (decoded.types[:, vertices - 1] == ENAS.output_type).all()
    assert (decoded.types[:, vertices:] == -1).all()
    assert ENAS.is_valid(decoded).tolist() == [valid] * 4


def test_samples_do_not_depend_on_how_many_points_are_decoded_together(monkeypatch):
    """Graphs belong to their own z, and memory is bounded by points times trials."""
    model = make_model(ENAS_SHAPE)
    z = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("latentnas.models.branches.BRANCHES_AT_ONCE", 100)
    graphs, source, count = model.sample_decodes(z, 50, torch.Generator().manual_seed(1))
    assert torch.zeros(7).index_add(0, source, count.float()).tolist() == [50.0] * 7 and source.diff().min() >= 0
    for point in range(7):
        whole, _, counts = model.sample_decodes(z[[point]], 5000, torch.Generator().manual_seed(2))
        frequent = dict(zip(whole.keys(), counts.tolist()))
        mine = graphs[source == point]
        covered = sum(frequent.get(key, 0) for key in mine.keys())  # noqa: SIM118 (no dictionary)
        assert covered > 100, "graphs attributed to a point must be ones that the point decodes to"


def test_codes_do_not_depend_on_whose_products_are_used():
    """Encoding takes large products from oneDNN where it is faster; test_products.py looks at decoding."""
    model, batch = make_model(ENAS_SHAPE, hidden=320), make_batch(ENAS_SHAPE, count=60)
    with torch.no_grad():
        assert_near(model.encode(batch)[0], model._encode(batch)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_counts_are_exact_in_every_precision(dtype):
    model = make_model(ENAS_SHAPE)
    z = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    model, z = (model.double(), z.double()) if dtype == torch.float64 else (model, z)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        _, source, count = model.sample_decodes(z, 1001, torch.Generator().manual_seed(0))
    assert torch.zeros(5, dtype=torch.int64).index_add(0, source, count).tolist() == [1001] * 5
