"""CR-LSO's models: message passing and layouts against plain loops, training, bad input, NGAE convex too."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentnas import train
from latentnas.evaluate import predicted_accuracy, prior_quality, reconstruction
from latentnas.graphs import NO_VERTEX, DagBatch, equal
from latentnas.models.branches import distinct
from latentnas.models.cell_graphs import LAYOUTS, CellGraphs
from latentnas.models.convex import ConvexPredictor, jensen_gap
from latentnas.models.crlso import (
    CRLSO,
    NASBENCH101_CONFIG,
    AccuracyPredictor,
    AccuracyPredictorConfig,
    CRLSOConfig,
    NodeConv,
)
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import CELL_EDGES, NASBENCH201
from latentnas.train import TrainConfig

SMALL = {"hidden": 24, "latent": 5, "convex_hidden": 12, "convex_layers": 2}
QUICK = TrainConfig(epochs=3, batch_size=64, learning_rate=3e-3, precision="fp32")
LEAST, MOST = -(2**63), 2**63 - 1


def nasbench101_cells(count, seed):
    """Random NAS-Bench-101 cells without enumerating the space."""
    generator = torch.Generator().manual_seed(seed)
    adjacency = torch.rand(20 * count, 7, 7, generator=generator).triu(1) > 0.55
    types = torch.randint(2, 5, (20 * count, 7), generator=generator)
    types[:, 0], types[:, -1] = NASBENCH101.input_type, NASBENCH101.output_type
    cells = NASBENCH101.prune(DagBatch(types, adjacency, torch.full((20 * count,), 7)))
    cells = cells[NASBENCH101.contains(cells)]
    assert len(cells) >= count and len(cells.num_vertices[:count].unique()) >= 3
    return cells[:count]


CELLS = {"nasbench201": NASBENCH201.sample(30, seed=0), "nasbench101": nasbench101_cells(30, seed=0)}
CELLS["nasbench101-placed"] = CELLS["nasbench101"]


def make(space, seed=0, **fields):
    torch.manual_seed(seed)
    return CRLSO(CRLSOConfig(space=space, **SMALL | fields))


def edges_of(space, batch, b):
    """{(u, v): features of the edge} of cell b in both directions, and one-hot features of its vertices."""
    edges, vertices = {}, []
    if space == "nasbench201":
        cell = NASBENCH201.edge_labelled(batch[[b]])[0]
        for u, v in CELL_EDGES:
            features = torch.zeros(5)
            features[int(cell[u, v])] = 1
            edges[u, v] = edges[v, u] = features
        vertices = torch.eye(4)
    else:
        for u, v in batch.adjacency[b].nonzero().tolist():
            edges[u, v] = edges[v, u] = torch.zeros(0)
        vertices = torch.eye(6)[[5 if kind == NO_VERTEX else kind for kind in batch.types[b].tolist()]]
        if space == "nasbench101-placed":
            vertices = torch.cat([vertices, torch.eye(7)], dim=1)
    return edges, vertices


@pytest.mark.parametrize("space", LAYOUTS)
def test_message_passing_is_the_equation(space):
    """Two rounds, vertex by vertex and neighbour by neighbour, with K applied to [x_i ; x_j ; e_ij]."""
    batch, layout = CELLS[space], LAYOUTS[space]
    torch.manual_seed(0)
    rounds = [NodeConv(layout.vertex_features, 9, layout.edge_features), NodeConv(9, 9, layout.edge_features)]
    graphs = layout.graphs(batch)
    for conv in rounds:
        graphs = conv(graphs)
    states = graphs.vertices.flatten(0, -2)[: layout.num_vertices * len(batch)].view(layout.num_vertices, -1, 9)
    for b in range(8):
        edges, x = edges_of(space, batch, b)
        for conv in rounds:
            first, second = conv.own
            new = second(first(x)).clone()
            for (i, j), features in edges.items():
                message = conv.kernel.weight @ torch.cat([x[i], x[j], features])
                new[i] = new[i] + torch.nn.functional.leaky_relu(message)
            x = new
        torch.testing.assert_close(states[:, b], x, atol=1e-5, rtol=1e-4)


def test_a_nasbench201_cell_has_twelve_directed_edges():
    graphs = LAYOUTS["nasbench201"].graphs(CELLS["nasbench201"])
    assert isinstance(graphs, CellGraphs)
    expected = {(u, v) for u in range(4) for v in range(4) if u != v}
    assert graphs.edge_index.shape == (2, 12) and set(map(tuple, graphs.edge_index.t().tolist())) == expected


def test_the_code_of_a_nasbench101_cell_does_not_depend_on_the_numbering():
    """Two ways to write one cell: the two operations in the middle change places."""
    types = torch.tensor([[0, 2, 3, 1, -1, -1, -1], [0, 3, 2, 1, -1, -1, -1]])
    adjacency = torch.zeros(2, 7, 7, dtype=torch.bool)
    adjacency[:, 0, 1] = adjacency[:, 0, 2] = adjacency[:, 1, 3] = adjacency[:, 2, 3] = True
    mu, logvar = make("nasbench101").encode(DagBatch(types, adjacency, torch.tensor([4, 4])))
    torch.testing.assert_close(mu[0], mu[1])
    torch.testing.assert_close(logvar[0], logvar[1])


def test_vertices_that_know_their_place_tell_the_ways_of_an_edge_apart():
    """Two NAS-Bench-101 cells that are one undirected graph: in which order are the two operations passed?"""
    types = torch.tensor([[0, 2, 3, 1, -1, -1, -1], [0, 3, 2, 1, -1, -1, -1]])
    adjacency = torch.zeros(2, 7, 7, dtype=torch.bool)
    adjacency[:, [0, 0, 1, 1, 2], [1, 2, 2, 3, 3]] = True
    cells = DagBatch(types, adjacency, torch.tensor([4, 4]))
    codes = {space: make(space).encode(cells)[0] for space in ("nasbench101", "nasbench101-placed")}
    torch.testing.assert_close(codes["nasbench101"][0], codes["nasbench101"][1])
    assert (codes["nasbench101-placed"][0] - codes["nasbench101-placed"][1]).abs().max() > 1e-3


def perfect_logits(space, batch):
    """Logits of a decoder that is sure of every decision, written decision by decision."""
    layout = LAYOUTS[space]
    logits = torch.full((len(batch), layout.num_logits), -5.0)
    for b in range(len(batch)):
        if space == "nasbench201":
            for edge, operation in enumerate(NASBENCH201.choices(batch[[b]])[0]):
                logits[b, 5 * edge + operation] = 5
            continue
        for vertex, kind in enumerate(batch.types[b].tolist()):
            logits[b, 6 * vertex + (5 if kind == NO_VERTEX else kind)] = 5
        pair = 42
        for u in range(7):
            for v in range(u + 1, 7):
                logits[b, pair] = 5.0 if batch.adjacency[b, u, v] else -5.0
                pair += 1
    return logits


@given(st.lists(st.integers(0, NASBENCH201.size - 1), min_size=1, max_size=5))
@settings(max_examples=25)
def test_sure_decisions_give_the_nasbench201_cell_back(rows):
    batch = NASBENCH201.enumerate()[rows]
    assert equal(LAYOUTS["nasbench201"].decode(perfect_logits("nasbench201", batch)), batch).all()


@given(st.integers(0, 10_000))
@settings(max_examples=15)
def test_sure_decisions_give_the_nasbench101_cell_back(seed):
    batch = nasbench101_cells(20, seed)
    decoded = LAYOUTS["nasbench101"].decode(perfect_logits("nasbench101", batch))
    assert equal(decoded, batch).all() and torch.equal(decoded.num_vertices, batch.num_vertices)


def test_every_vertex_of_no_type_is_left_out_wherever_it_stands():
    """Positions 1, 3 and 4 are empty; edges into and out of them go, the others keep their ends."""
    kinds = [0, 5, 2, 5, 5, 3, 1]
    logits = torch.full((1, 63), -1.0)
    logits[0, [6 * vertex + kind for vertex, kind in enumerate(kinds)]] = 1
    pairs = [(u, v) for u in range(7) for v in range(u + 1, 7)]
    for u, v in [(0, 1), (0, 2), (1, 2), (2, 3), (2, 5), (4, 6), (5, 6)]:
        logits[0, 42 + pairs.index((u, v))] = 1
    cell = LAYOUTS["nasbench101"].decode(logits)
    assert cell.types.tolist() == [[0, 2, 3, 1, -1, -1, -1]] and cell.num_vertices.tolist() == [4]
    assert cell.adjacency[0].nonzero().tolist() == [[0, 1], [1, 2], [2, 3]]


@pytest.mark.parametrize("space", LAYOUTS)
def test_loss_is_the_equation(space):
    batch, labels = CELLS[space], torch.linspace(60, 94, 30)
    model = make(space, noise_scale=0.0, convexity_weight=3.0)
    model.calibrate(performance=labels)
    terms = model.loss(batch, performance=labels)
    mu, logvar = model.encode(batch)
    logits = model.decoder(mu)
    if space == "nasbench201":
        chosen = perfect_logits(space, batch).view(30, 6, 5) > 0
        expected = {"operations": -logits.view(30, 6, 5).log_softmax(2)[chosen].mean()}
    else:
        sure = perfect_logits(space, batch)
        chosen, yes = sure[:, :42].reshape(30, 7, 6) > 0, sure[:, 42:] > 0
        probability = logits[:, 42:].sigmoid()
        expected = {
            "types": -logits[:, :42].reshape(30, 7, 6).log_softmax(2)[chosen].mean(),
            "edges": -torch.where(yes, probability, 1 - probability).log().mean(),
        }
    expected["kl"] = (-0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)).mean()
    expected["convexity"] = ((1 - model.performance.network(mu)[0] - labels / 100) ** 2).mean()
    weights = {"kl": 0.005, "convexity": 3.0}
    total = sum(weights.get(name, 1.0) * value for name, value in expected.items())
    assert set(terms) == {"total", *expected}
    for name, value in (expected | {"total": total}).items():
        torch.testing.assert_close(terms[name], value, msg=name)


@pytest.mark.parametrize("noise_scale", [0.0, 0.5])
def test_the_noise_comes_from_the_generator(noise_scale):
    model = make("nasbench201", noise_scale=noise_scale, convexity_weight=0.0)
    first, again, other = (
        model.loss(CELLS["nasbench201"], generator=torch.Generator().manual_seed(seed))["total"] for seed in (1, 1, 2)
    )
    assert first == again and bool(first == other) == (noise_scale == 0)


def test_a_detached_regulariser_teaches_the_network_and_not_the_encoder():
    batch, labels = CELLS["nasbench201"], torch.linspace(60, 94, 30)
    for detached in (False, True):
        model = make("nasbench201", detached=detached)
        model.calibrate(performance=labels)
        model.loss(batch, performance=labels)["convexity"].backward()
        assert all(weight.grad.abs().sum() > 0 for weight in model.performance.parameters())
        reached = [weight.grad is not None for weight in model.encoder.parameters()]
        assert any(reached) != detached


def test_random_decodes_follow_the_probabilities():
    """Of two latent points, against the product of the probabilities of the six operations."""
    model, trials = make("nasbench201"), 4000
    with torch.no_grad():
        model.decoder[-1].weight *= 12  # a decoder with an opinion
        z = model.encode(CELLS["nasbench201"])[0][:2]
        likely = model.decoder(z).view(2, 6, 5).softmax(dim=2)
    graphs, source, count = model.sample_decodes(z, trials, torch.Generator().manual_seed(0))
    assert source.tolist() == sorted(source.tolist()) and len(set(graphs[source == 0].keys())) > 5
    operations = torch.from_numpy(NASBENCH201.choices(graphs))
    chance = likely[source].gather(2, operations[:, :, None]).squeeze(2).prod(dim=1)
    error = (chance * (1 - chance) / trials).sqrt()
    assert ((count / trials - chance).abs() < 5 * error + 2e-3).all()
    for row in (0, 1):
        of_row = source == row
        assert count[of_row].sum() == trials
        assert len(graphs[of_row]) == len(set(graphs[of_row].keys()))


def test_random_decodes_of_a_sure_decoder_are_the_cells():
    for space, batch in CELLS.items():
        logits = 5 * perfect_logits(space, batch)
        graphs, source, count = LAYOUTS[space].sample(logits, 7, torch.Generator().manual_seed(0))
        assert source.tolist() == list(range(30)) and count.tolist() == [7] * 30
        assert equal(graphs, batch).all()


def test_random_decodes_that_differ_in_edges_of_no_vertex_are_one_graph():
    """The first cell is all `none`, the second has its input at any of seven places: one graph each, whatever is drawn
    of the edges."""
    logits = torch.zeros(2, 63)
    logits[:, 5:42:6] = 50.0
    logits[1, :42:6] = 50.0
    graphs, source, count = LAYOUTS["nasbench101"].sample(logits, 1000, torch.Generator().manual_seed(0))
    keys = list(zip(source.tolist(), graphs.keys(), strict=True))
    assert len(set(keys)) == len(keys) and source.tolist() == sorted(source.tolist())
    assert torch.bincount(source, count).tolist() == [1000, 1000]
    assert graphs.num_vertices[source == 0].tolist() == [0] and count[source == 0].tolist() == [1000]
    one = count[(source == 1) & (graphs.num_vertices == 1)]
    assert len(one) == 1 and abs(one.item() / 1000 - 7 / 2**7) < 0.03
    assert torch.equal(graphs.num_vertices, (graphs.types != NO_VERTEX).sum(dim=1))


@pytest.mark.parametrize(
    "columns, low, high",
    [(3, 0, 20), (40, 0, 20), (65, 0, 2), (66, 0, 2), (3, -5, 5), (3, 0, 2**62), (3, -1, MOST), (3, LEAST, MOST)],
)
def test_distinct_rows_are_those_of_unique(columns, low, high):
    """Most of these have more kinds of rows than one number of 64 bits can tell apart."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(low, high, (60, columns), generator=generator)
    rows[30:, 1:] = rows[:30, 1:]  # what the first column alone tells apart
    rows[:, 1] = low
    rows[:2, 0] = torch.tensor([low, high - 1])
    rows = rows[torch.randint(0, 60, (500,), generator=generator)]
    first, group = distinct(rows.t())
    expected, inverse = rows.unique(dim=0, return_inverse=True)
    assert torch.equal(rows[first], expected) and torch.equal(group, inverse)
    assert [len(part) for part in distinct(rows[:0].t())] == [0, 0]


def test_random_decodes_are_measured_like_those_of_any_model():
    """reconstruction() and prior_quality() of latentnas.evaluate take the model as it is."""
    model, batch = make("nasbench201"), NASBENCH201.sample(300, seed=1)
    found = reconstruction(model, batch, trials=10) | prior_quality(model, NASBENCH201, batch, points=20)
    assert found["validity_published"] == found["validity_clean"] == 100  # no decision leaves the space
    assert 0 <= found["published"] < 50 and 0 < found["uniqueness_published"] <= 100


def test_the_predictor_is_what_the_paper_describes():
    """Four rounds, the four states side by side, Linear, three hidden layers."""
    torch.manual_seed(0)
    model = AccuracyPredictor(AccuracyPredictorConfig(hidden=8))
    batch = CELLS["nasbench201"]
    states = model.encoder(batch)
    assert states.shape == (4, 30, 8) and len(model.encoder.rounds) == 4
    first, *hidden, last = [layer for layer in model.head if isinstance(layer, torch.nn.Linear)]
    x = first(torch.cat(list(states), dim=1))
    for layer in hidden:
        x = torch.nn.functional.leaky_relu(layer(x))
    assert len(hidden) == 3
    torch.testing.assert_close(model(batch), last(x)[:, 0])


# training


@pytest.mark.slow
def test_training_reconstructs_and_keeps_the_network_convex(tmp_path):
    batch = NASBENCH201.enumerate()[::41]  # 382 cells
    labels = 60 + 5.0 * (batch.types == 5).sum(1)  # five points for each 3x3 convolution
    model = make("nasbench201", hidden=48, latent=16)
    model.calibrate(performance=labels)
    config = dataclasses.replace(QUICK, epochs=100)
    history = train.fit(model, batch, {"performance": labels}, config, tmp_path / "run", device="cpu")
    model.eval()
    assert history["convexity"].iloc[-1] < 1e-3 < history["convexity"].iloc[0]
    assert equal(model.decode(model.encode(batch)[0]), batch).float().mean() > 0.99
    weights = model.performance.network.from_hidden
    assert all((weight >= 0).all() for weight in weights) and any((weight == 0).any() for weight in weights)
    assert predicted_accuracy(model, batch) == pytest.approx(labels.numpy(), abs=8)


def test_the_predictor_learns_a_few_labels(tmp_path):
    batch = CELLS["nasbench101"]
    labels = 80 + batch.num_vertices.float()
    torch.manual_seed(0)
    config = AccuracyPredictorConfig("nasbench101", hidden=16, label_scale="standardised")
    model = AccuracyPredictor(config)
    model.calibrate(labels)
    training = TrainConfig(epochs=150, batch_size=32, learning_rate=1e-2, precision="fp32")
    train.fit(model, batch, {"performance": labels}, training, tmp_path / "run", device="cpu")
    assert (model.predict(batch) - labels).abs().max() < 0.5


def test_without_the_regulariser_no_labels_are_needed(tmp_path):
    model = make("nasbench101", convexity_weight=0.0)
    model.calibrate()
    assert not hasattr(model, "performance")
    train.fit(model, CELLS["nasbench101"], {}, QUICK, tmp_path / "run", device="cpu")
    assert set(model.loss(CELLS["nasbench101"])) == {"total", "types", "edges", "kl"}


def test_the_regulariser_on_the_asynchronous_autoencoder(tmp_path):
    """NGAE with predictors="convex": the loss term is that of 1 - g(z), which stays concave in training."""
    batch, labels = ENAS.sample(40, seed=1), torch.linspace(0.70, 0.75, 40)
    torch.manual_seed(0)
    model = NGAE(NGAEConfig(hidden=12, latent=5, predictors="convex", noise_scale=0.0))
    targets = {"performance": labels, "complexity": torch.rand(40)}
    model.calibrate(**targets)
    assert isinstance(model.performance, ConvexPredictor)
    standard = (labels - labels.mean()) / labels.std(correction=0)
    mu, _ = model.encode(batch)
    expected = (1 - model.performance.network(mu)[0] - standard).square().mean()
    torch.testing.assert_close(model.loss(batch, **targets)["performance"], expected)

    train.fit(model, batch, targets, dataclasses.replace(QUICK, epochs=10), tmp_path / "run", device="cpu")
    concave = model.performance.double()
    random = torch.Generator().manual_seed(0)
    first, second = (torch.randn(20_000, 5, generator=random, dtype=torch.double) for _ in range(2))
    weight = torch.rand(20_000, generator=random, dtype=torch.double)
    assert jensen_gap(lambda z: -concave(z), first, second, weight).min() >= -1e-6


@pytest.mark.parametrize("space", LAYOUTS)
def test_nothing_goes_in_and_comes_out_and_double_stays_double(space):
    model, batch = make(space, noise_scale=0.0), CELLS[space]
    predictor = AccuracyPredictor(AccuracyPredictorConfig(space, hidden=8))
    mu, logvar = model.encode(batch[:0])
    assert mu.shape == logvar.shape == (0, 5) and predictor.predict(batch[:0]).shape == (0,)
    graphs, source, count = model.sample_decodes(mu, 3, torch.Generator().manual_seed(0))
    assert len(model.decode(mu)) == len(graphs) == len(source) == len(count) == 0

    labels = {"performance": torch.linspace(60, 90, 30).double()}
    codes, total = model.encode(batch)[0], model.loss(batch, **labels)["total"]
    (precise, _), predicted = model.double().encode(batch), predictor.double()(batch)
    terms = model.loss(batch, **labels)
    assert all(values.dtype == torch.float64 for values in (precise, predicted, *terms.values()))
    torch.testing.assert_close(precise.float(), codes)
    torch.testing.assert_close(terms["total"].float(), total.float())


# bad input


def test_graphs_of_another_space_are_refused():
    for space, other, index in (("nasbench201", "nasbench101", 0), ("nasbench101", "nasbench201", 0)):
        with pytest.raises(ValueError, match=f"cells of {space}, but 30.*at index {index}.*one of nasbench201,"):
            make(space).encode(CELLS[other])
    with pytest.raises(ValueError, match="built for cells of nasbench201"):
        AccuracyPredictor(AccuracyPredictorConfig(hidden=8))(ENAS.sample(2, seed=0))


def test_one_foreign_graph_among_cells_is_named():
    batch = NASBENCH201.sample(5, seed=0)
    batch.types[3, 2] = 9
    with pytest.raises(ValueError, match="1 of 5 graphs are none, the first at index 3"):
        make("nasbench201").encode(batch)


@pytest.mark.parametrize(
    "model_class, config", [(CRLSO, CRLSOConfig(**SMALL)), (AccuracyPredictor, AccuracyPredictorConfig(hidden=8))]
)
def test_labels_with_nan_stop_before_training(model_class, config, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINTS", tmp_path)
    labels = torch.full((30,), 90.0)
    labels[4] = torch.nan
    with pytest.raises(ValueError, match="1 of 30 labels are NaN or infinite"):
        train.train_model("x", model_class, config, CELLS["nasbench201"], {"performance": labels}, QUICK)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "build, word",
    [
        (lambda: CRLSOConfig(latent=0), "latent=0"),
        (lambda: CRLSOConfig(convex_layers=0), "convex_layers=0"),
        (lambda: CRLSOConfig(space="darts"), "space='darts'"),
        (lambda: CRLSOConfig(constraint="hope"), "constraint='hope'"),
        (lambda: AccuracyPredictorConfig(hidden=0), "hidden=0"),
        (lambda: AccuracyPredictorConfig(label_scale="raw"), "label_scale='raw'"),
    ],
)
def test_wrong_configuration_is_named(build, word):
    with pytest.raises(ValueError, match=word):
        build()


def test_sizes_of_the_released_configurations():
    assert CRLSO(CRLSOConfig()).decoder[-1].out_features == 30
    model = CRLSO(NASBENCH101_CONFIG)
    assert model.mu.out_features == 64 and model.decoder[-1].out_features == 63
