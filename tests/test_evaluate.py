"""Generative metrics against counting one by one."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from latentnas.evaluate import (
    GPProbe,
    distance_correlation,
    encode_all,
    latent_lines,
    loss_terms,
    prior_points,
    prior_quality,
    reconstruction,
    smoothness,
)
from latentnas.graphs import DagBatch
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.spaces.enas import ENAS


class Memory:
    """A stand-in for a model: z is a row number of a list of graphs; of ten decodes, `wrong` give row 0 instead."""

    def __init__(self, batch, wrong=0):
        self.batch, self.wrong, self.training = batch, wrong, True

    def parameters(self):
        return iter([torch.zeros(1)])

    def eval(self):
        self.training = False

    def encode(self, batch):
        assert not self.training
        rows = [self.batch.keys().index(key) for key in batch.keys()]  # noqa: SIM118, it is no dictionary
        return torch.tensor(rows, dtype=torch.float)[:, None], None

    def decode(self, z):
        return self.batch[self.rows(z)]

    def sample_decodes(self, z, trials, generator):
        rows, points = self.rows(z), torch.arange(len(z))
        wrong = torch.full((len(z),), trials * self.wrong // 10)
        graphs = DagBatch.cat([self.batch[rows], self.batch[torch.zeros_like(rows)]])
        return graphs, torch.cat([points, points]), torch.cat([trials - wrong, wrong])

    def rows(self, z):
        return z[:, 0].round().long().clamp(0, len(self.batch) - 1)


def test_reconstruction_counts_every_trial():
    batch = ENAS.sample(50, seed=0)
    assert len(set(batch.keys())) == 50
    result = reconstruction(Memory(batch, wrong=3), batch)
    # Seven of ten decodes are right for 49 graphs, and all of them for row 0 itself.
    assert result["published"] == pytest.approx(100 * (49 * 0.7 + 1) / 50)
    assert result["clean"] == 100


def test_prior_shares_equal_counting_one_by_one():
    space = ENAS.sample(60, seed=1)
    broken = space[:20]
    broken.adjacency[:, 2, 3] = False  # no backbone: not valid
    graphs = DagBatch.cat([broken, space[20:]])
    train, wrong = graphs[20:40], 2
    model, points, seed = Memory(graphs, wrong), 200, 3
    result = prior_quality(model, ENAS, train, points, seed)

    mu = encode_all(model, train)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(points, 1, generator=generator) * mu.std(0) + mu.mean(0)
    decoded = [int(row) for row in model.rows(z) for _ in range(10 - wrong)] + [0] * (points * wrong)
    valid = [row for row in decoded if row >= 20]
    assert 0 < len(valid) < len(decoded)
    assert result["validity_published"] == pytest.approx(100 * len(valid) / len(decoded))
    assert result["uniqueness_published"] == pytest.approx(100 * len(set(valid)) / len(valid))
    assert result["novelty_published"] == pytest.approx(100 * sum(row >= 40 for row in valid) / len(valid))

    z = torch.randn(10 * points, 1, generator=generator) * mu.std(0) + mu.mean(0)
    valid = [int(row) for row in model.rows(z) if row >= 20]
    assert result["validity_clean"] == pytest.approx(100 * len(valid) / (10 * points))
    assert result["uniqueness_clean"] == pytest.approx(100 * len(set(valid)) / len(valid))
    assert result["novelty_clean"] == pytest.approx(100 * sum(row >= 40 for row in valid) / len(valid))


@pytest.mark.parametrize("wider", [0, 1, 3])
def test_a_parrot_is_found_out_whatever_the_padding(wider):
    """It decodes the training graphs and nothing else, in tensors that are wider than theirs."""
    train = ENAS.sample(40, seed=0)
    parrot = Memory(train.pad_to(ENAS.num_vertices + wider))
    assert reconstruction(parrot, train, trials=10) == {"published": 100, "clean": 100}
    result = prior_quality(parrot, ENAS, train, points=30)
    assert result["novelty_published"] == result["novelty_clean"] == 0
    assert result["validity_published"] == result["validity_clean"] == 100
    assert result == prior_quality(Memory(train), ENAS, train, points=30)


def test_nothing_valid_gives_zeros():
    graphs = ENAS.sample(10, seed=0)
    graphs.adjacency[:, 0, 1] = False
    result = prior_quality(Memory(graphs), ENAS, graphs, 20)
    assert result["validity_published"] == result["uniqueness_published"] == result["novelty_clean"] == 0


def test_lines_join_different_codes_straight():
    mu = torch.arange(40.0).view(20, 2) ** 1.5
    z = latent_lines(mu, 300, 4, seed=1)
    assert z.shape == (300, 5, 2) and torch.equal(z, latent_lines(mu, 300, 4, seed=1))
    known = {tuple(row) for row in mu.tolist()}
    for line in z:
        assert tuple(line[0].tolist()) in known and tuple(line[4].tolist()) in known
        assert not torch.equal(line[0], line[4])
        share = torch.tensor([[0.25], [0.5], [0.75]])
        torch.testing.assert_close(line[1:4], line[:1] + share * (line[4] - line[0]))


def test_one_code_has_no_spread_and_makes_no_pair():
    graphs = ENAS.sample(1, seed=0)
    for measure in (
        lambda: prior_points(torch.zeros(1, 3), 5, torch.Generator()),
        lambda: prior_quality(Memory(graphs), ENAS, graphs, 20),
        lambda: latent_lines(torch.zeros(1, 3), 5, 2),
        lambda: distance_correlation(torch.zeros(1, 3), graphs),
    ):
        with pytest.raises(ValueError, match="two .*, but there are 1. .* more graphs.$") as error:
            measure()
        assert "\n" not in str(error.value)


def test_smoothness_equals_counting_point_by_point():
    graphs = ENAS.sample(30, seed=2)
    graphs.adjacency[:10, 2, 3] = False  # not valid
    model, rows = Memory(graphs), torch.tensor([[0, 5, 5, 29], [12, 12, 12, 12], [20, 9, 20, 21]])
    frame = smoothness(model, ENAS, rows[..., None].float())
    for line, found in zip(rows.tolist(), frame.itertuples(), strict=True):
        steps = [edits(graphs, a, b) for a, b in pairwise(line)]
        assert found.validity == pytest.approx(100 * sum(row >= 10 for row in line) / 4)
        assert found.graphs == len(set(line)) and found.between_ends == edits(graphs, line[0], line[-1])
        assert found.on_the_way == sum(steps) and found.largest == max(steps)


def edits(graphs, a, b):
    types = sum(x != y for x, y in zip(graphs.types[a].tolist(), graphs.types[b].tolist(), strict=True))
    first, second = ({tuple(edge) for edge in graphs.adjacency[row].nonzero().tolist()} for row in (a, b))
    return types + len(first ^ second)


def test_distance_correlation_of_a_perfect_and_of_a_random_code():
    batch = ENAS.sample(60, seed=3)
    one_hot, edges = torch.nn.functional.one_hot(batch.types, 8).flatten(1), batch.adjacency.flatten(1)
    perfect = torch.cat([one_hot, edges, edges], dim=1).double()  # its distance: the root of twice the edits
    assert distance_correlation(perfect, batch) == pytest.approx(1)
    assert abs(distance_correlation(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), batch)) < 0.1
    few = [distance_correlation(torch.randn(10, 5), batch[10 * part :][:10]) for part in range(6)]
    assert abs(np.mean(few)) < 0.15  # no graph is paired with itself, which would be 0.25


def test_metrics_of_an_untrained_model():
    torch.manual_seed(0)
    model, batch = NGAE(NGAEConfig(hidden=12, latent=5, predictors="none")), ENAS.sample(30, seed=0)
    first, again = (reconstruction(model, batch, trials=20) for _ in range(2))
    assert first == again and 0 <= first["published"] < 50
    shares = prior_quality(model, ENAS, batch, points=20)
    assert all(0 <= value <= 100 for value in shares.values())


def labelled_points(count=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 4, generator=generator) * torch.tensor([3.0, 3.0, 1.0, 1e-3]) + 5
    labels = 0.9 + 0.01 * (points[:, 0] + torch.sin(points[:, 1])).double().numpy()
    return points, labels


def test_the_probe_is_the_posterior_mean_written_out():
    points, labels = labelled_points()
    reader = GPProbe(points[:40], labels[:40])
    x = points.double().numpy() - points[:40].double().numpy().mean(axis=0)
    x /= np.sqrt((x[:40] ** 2).sum(axis=1).mean())
    linear, squared, noise = (reader._process.kernel_.k1.k1, reader._process.kernel_.k1.k2, reader._process.kernel_.k2)
    distance = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    kernel = linear.k1.constant_value * (x @ x.T + linear.k2.sigma_0**2)
    kernel += squared.k1.constant_value * np.exp(-distance / (2 * squared.k2.length_scale**2))
    unit = labels[:40].std()
    weights = np.linalg.solve(
        kernel[:40, :40] + (noise.noise_level + 1e-10) * np.eye(40), (labels[:40] - labels[:40].mean()) / unit
    )
    expected = labels[:40].mean() + unit * kernel[40:, :40] @ weights
    np.testing.assert_allclose(reader(points[40:]), expected, rtol=1e-8)
    assert np.corrcoef(labels[40:], expected)[0, 1] > 0.95


def test_the_probe_does_not_mind_where_points_lie_and_in_what_unit_labels_are():
    points, labels = labelled_points()
    predicted = GPProbe(points[:40], labels[:40])(points[40:])
    moved = GPProbe(100 * points[:40] + 7, 1000 * labels[:40] - 3)(100 * points[40:] + 7)
    np.testing.assert_allclose((moved + 3) / 1000, predicted, rtol=1e-4)


def test_the_probe_of_equal_labels_predicts_them():
    points, _ = labelled_points()
    predicted = GPProbe(points[:40], np.full(40, 0.7))(points[40:])
    np.testing.assert_allclose(predicted, 0.7)


def test_loss_terms_are_means_over_graphs(monkeypatch):
    model, batch = NGAE(NGAEConfig(hidden=16, latent=8, noise_scale=0.0)), ENAS.sample(7, seed=0)
    labels = {name: torch.rand(7, dtype=torch.float64) for name in ("performance", "complexity")}
    whole = loss_terms(model, batch, labels)
    own = {name: values.float() for name, values in labels.items()}
    with torch.no_grad():
        at_once = model.eval().loss(batch, torch.Generator().manual_seed(0), **own)
    assert whole == pytest.approx({name: float(value) for name, value in at_once.items()}, rel=1e-5)
    assert set(whole) == {"total", "vertices", "edges", "kl", "performance", "complexity"} and not model.training
    monkeypatch.setattr("latentnas.evaluate.ENCODE_BATCH", 3)  # parts of three, three and one
    assert loss_terms(model, batch, labels) == pytest.approx(whole, rel=1e-5)
    assert loss_terms(NGAE(NGAEConfig(hidden=16, latent=8, predictors="none")), batch, labels).keys() < whole.keys()
