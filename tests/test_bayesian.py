"""Bayesian optimisation with a toy decoder and an analytic objective."""

import pytest
import torch

from latentnas.models.gaussian_process import SparseGP, SparseGPConfig
from latentnas.models.ngae import NGAEConfig
from latentnas.search.base import run
from latentnas.search.domains import SampledDomain
from latentnas.search.latent.bayesian import BayesianConfig, BayesianSearch, RandomInBox, choose_batch
from latentnas.spaces.enas import ENAS
from test_dagnn import ENAS_SHAPE
from test_gaussian_process import wave

LATENT = 15
SMALL = BayesianConfig(rounds=3, batch=4, candidates=200, trials=9, refinement=10, gp=SparseGPConfig(30, 20))


class ToyModel:
    """The signs of z are the 15 skip flags. Of the decodes of a point, a third has all its operations changed
    (so it is not the most common); where z[0] > ``border``, the most common one is not valid."""

    config = NGAEConfig(**ENAS_SHAPE, latent=LATENT, hidden=4)

    def __init__(self, border=float("inf"), always_broken=False):
        self.border, self.always_broken = border, always_broken

    def graphs(self, z, operation):
        numbers = torch.zeros(len(z), 21, dtype=torch.long)
        operations = [0, 1, 3, 6, 10, 15]
        numbers[:, operations] = operation
        numbers[:, [i for i in range(21) if i not in operations]] = (z > 0).long()
        return ENAS.from_choices(numbers.numpy())

    def sample_decodes(self, z, trials, generator):
        common, rare, broken = (self.graphs(z, operation) for operation in (0, 1, 2))
        broken.types[:, 4] = ENAS.input_type
        third = trials // 3
        at_border = z[:, 0] > self.border
        broken_count = torch.where(at_border, trials - third - 1, 1)
        counts = torch.stack([trials - third - broken_count, torch.full((len(z),), third), broken_count])
        if self.always_broken:
            counts = torch.stack([0 * counts[0], 0 * counts[1], torch.full((len(z),), trials)])
        batch = type(common).cat([common, rare, broken])
        keep = counts.flatten() > 0
        source = torch.arange(len(z)).repeat(3)
        return batch[keep], source[keep], counts.flatten()[keep]


def count_skips(batch):
    """More skip connections are better: 15 is the best."""
    return ENAS.skips(batch).sum(dim=1).double()


@pytest.fixture(scope="module")
def train():
    mu = torch.randn(120, LATENT, generator=torch.Generator().manual_seed(0))
    return mu, (mu > 0).sum(dim=1).double()


def search(kind, model, mu, labels, seed=0, config=SMALL, objective=count_skips, budget=12):
    domain = SampledDomain(ENAS, typical=5)
    searcher = kind(domain, seed, model, mu, labels, config)
    return run(searcher, domain.objective(objective), budget, config.batch)


@pytest.mark.slow
def test_expected_improvement_beats_random(train):
    for seed in range(2):
        ours = search(BayesianSearch, ToyModel(), *train, seed)
        random = search(RandomInBox, ToyModel(), *train, seed)
        assert ours.value.mean() > random.value.mean() + 2
        assert ours.incumbent.iloc[-1] > random.incumbent.iloc[-1]


@pytest.mark.slow
def test_history_is_that_of_every_search_and_seeded(train):
    history = search(BayesianSearch, ToyModel(), *train, seed=1)
    assert list(history)[:6] == ["seed", "query", "row", "value", "incumbent", "incumbent_row"]
    assert 4 <= len(history) <= 12 and (history.incumbent == history.value.cummax()).all()
    assert count_skips(ENAS.to_batch(history.arch.tolist())).tolist() == history.value.tolist()
    assert history.equals(search(BayesianSearch, ToyModel(), *train, seed=1))
    assert not history.equals(search(BayesianSearch, ToyModel(), *train, seed=2))
    ended = search(RandomInBox, ToyModel(), *train, budget=50)  # after its three rounds
    assert len(ended) <= 12 and set(ended.stopped) == {"nothing new proposed"}


@pytest.mark.slow
def test_a_round_is_handed_out_in_pieces_and_learnt_from_as_a_whole(train):
    whole = search(BayesianSearch, ToyModel(), *train, seed=1)
    domain = SampledDomain(ENAS, typical=5)
    searcher = BayesianSearch(domain, 1, ToyModel(), *train, SMALL)
    assert run(searcher, domain.objective(count_skips), 12, batch=1).equals(whole)


def test_the_most_common_valid_graph_is_evaluated(train):
    history = search(RandomInBox, ToyModel(border=0.0), *train)
    operations = {tuple(row[0] for row in eval(arch)) for arch in history.arch}
    assert operations == {(0,) * 6, (1,) * 6}  # the common one, and the next where that one is broken more often


def test_points_that_do_not_decode_get_the_worst_training_label(train):
    class Sometimes(ToyModel):
        def sample_decodes(self, z, trials, generator):
            self.always_broken = not self.always_broken and self.asked > 0
            self.asked += 1
            return super().sample_decodes(z, trials, generator)

        asked = 0

    domain = SampledDomain(ENAS, typical=5)
    searcher = RandomInBox(domain, 0, Sometimes(), *train, SMALL)
    history = run(searcher, domain.objective(count_skips), 12, batch=4)
    assert len(history) == 8  # nothing decoded in the second of three rounds
    first, second = searcher._labels[120:124], searcher._labels[124:128]
    assert first.tolist() == history.value[:4].tolist() and (second == train[1].min()).all()


def test_a_batch_stays_in_the_box_and_spreads():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(100, 3, generator=generator) * 2 - 1
    y = wave(x) + 0.5 * torch.randn(100, generator=generator)
    gp = SparseGP(SparseGPConfig(40, 40)).fit(x, y)
    box = torch.tensor([[-1.0] * 3, [1.0] * 3], dtype=torch.float64)
    candidates = torch.rand(300, 3, generator=generator, dtype=torch.float64) * 2 - 1
    best = wave(x).max().item()
    points = choose_batch(gp, best, candidates, box, BayesianConfig(batch=6, candidates=300))
    assert points.shape == (6, 3) and (points.abs() <= 1).all()
    assert torch.pdist(points).min() > 1e-2
    gain = gp.predict(points)[0] - gp.predict(candidates)[0].max()
    assert gain[0] > -0.05  # the first point is about as good as the best of the candidates, or better
    three = choose_batch(gp, best, candidates, box, BayesianConfig(batch=3, candidates=300))
    torch.testing.assert_close(points[:3], three)


def test_believing_is_conditioning_on_the_mean():
    """Against the formulas of a joint normal distribution, with noise-free observations."""
    from latentnas.search.latent.bayesian import _Believer

    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    gp = SparseGP(SparseGPConfig(20, 10)).fit(x, wave(x) + torch.randn(60))
    points, new = torch.randn(4, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    believer = _Believer(gp, best=-100.0)
    for point in points:
        believer.believe(point.view(1, -1))
    posterior = believer.posterior(new.unsqueeze(1))
    cross = gp.covariance(points, new)
    expected = gp.moments(new)[1] - (cross * torch.linalg.solve(gp.covariance(points, points), cross)).sum(dim=0)
    torch.testing.assert_close(posterior.variance.flatten(), expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(posterior.mean.flatten(), gp.moments(new)[0])
    assert believer.best == pytest.approx(gp.moments(points)[0].max().item())
    assert believer.posterior(points.unsqueeze(1)).variance.max() < 1e-5 * gp.unit**2


def test_bad_input(train):
    mu, labels = train
    with pytest.raises(ValueError, match="of 120 labels 1 "):
        search(RandomInBox, ToyModel(), mu, labels.clone().index_fill_(0, torch.tensor([5]), float("nan")))
    with pytest.raises(ValueError, match=r"train_mu \[n, 15\]"):
        search(RandomInBox, ToyModel(), mu[:, :3], labels)
    with pytest.raises(ValueError, match=r"labels \[n\]"):
        search(BayesianSearch, ToyModel(), mu, labels[:-1])
    with pytest.raises(ValueError, match="starts from labelled"):
        search(RandomInBox, ToyModel(), mu[:0], labels[:0])
    with pytest.raises(ValueError, match="gives nan for row"):
        search(RandomInBox, ToyModel(), mu, labels, objective=lambda batch: [float("nan")] * len(batch))
    with pytest.raises(RuntimeError, match="None of the 4 points"):
        search(RandomInBox, ToyModel(always_broken=True), mu, labels)
    with pytest.raises(ValueError, match="batch=0"):
        BayesianConfig(batch=0)
    with pytest.raises(ValueError, match="candidates=10"):
        BayesianConfig(candidates=10)
