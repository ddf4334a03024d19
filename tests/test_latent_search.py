"""Gradient ascent, NAO steps and ranked prior samples on a toy model with untrained but lively weights."""

import pytest
import torch

from latentnas.search.latent.ascent import architectures, best_of_prior, gradient_ascent, nao_steps, prior_start
from latentnas.spaces.enas import ENAS
from test_dagnn import ENAS_SHAPE, make_model

ACCURACY = torch.tensor([0.70, 0.73, 0.74, 0.75])


class BackboneModel(torch.nn.Module):
    """Stands in for a trained decoder: the signs of z[0:6] choose each layer's operation, no skips; z[6] > 2
    leaves the space."""

    def __init__(self, model):
        super().__init__()
        self.config, self.performance, self.complexity = model.config, model.performance, model.complexity

    def decode(self, z):
        numbers = torch.zeros(len(z), 21, dtype=torch.long)
        numbers[:, [0, 1, 3, 6, 10, 15]] = (z[:, :6] > 0).long()
        graphs = ENAS.from_choices(numbers.numpy())
        graphs.types[z[:, 6] > 2, 3] = ENAS.input_type
        return graphs


@pytest.fixture
def model():
    model = make_model(ENAS_SHAPE, predictors="paper").eval()
    model.calibrate(performance=ACCURACY, complexity=torch.tensor([0.2, 0.4, 0.6, 0.9]))
    return BackboneModel(model)


@pytest.fixture
def start():
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


def objective(model, z, weight):
    return model.performance(z) - weight * model.complexity(z)


def test_one_step_follows_the_gradient_by_finite_differences(model, start):
    model.double()
    path = gradient_ascent(model, start.double(), steps=1, step_size=0.01, complexity_weight=0.5)
    moved = (path.z[1] - path.z[0]) / 0.01
    for dimension in range(8):
        shift = torch.zeros(8, dtype=torch.double)
        shift[dimension] = 1e-5
        with torch.no_grad():
            up, down = (objective(model, start.double() + sign * shift, 0.5) for sign in (1, -1))
        torch.testing.assert_close(moved[:, dimension], (up - down) / 2e-5, atol=1e-7, rtol=1e-6)


def test_small_steps_never_lower_the_objective(model, start):
    path = gradient_ascent(model, start, steps=40, step_size=0.02, complexity_weight=1.0)
    f = path.performance - path.complexity
    assert path.z.shape == (41, 5, 8) and f.shape == (41, 5)
    assert (f.diff(dim=0) >= -1e-5).all()
    assert (f[-1] > f[0] + 0.05).all()


def test_trajectory_belongs_to_its_points_and_starts_do_not_mix(model, start):
    path = gradient_ascent(model, start, steps=7, step_size=0.1, complexity_weight=2.0)
    torch.testing.assert_close(path.performance, model.performance(path.z.flatten(0, 1)).view(8, 5).detach())
    torch.testing.assert_close(path.complexity, model.complexity(path.z.flatten(0, 1)).view(8, 5).detach())
    alone = gradient_ascent(model, start[2:3], steps=7, step_size=0.1, complexity_weight=2.0)
    torch.testing.assert_close(alone.z[:, 0], path.z[:, 2])


def test_complexity_weight_lowers_complexity(model, start):
    without, with_it = (gradient_ascent(model, start, 40, 0.05, weight) for weight in (0.0, 1.0))
    assert with_it.complexity[-1].mean() < without.complexity[-1].mean()


def test_prior_weight_pulls_towards_the_training_means(model, start):
    train_mu = torch.randn(500, 8, generator=torch.Generator().manual_seed(5)) * torch.linspace(0.2, 2, 8) + 1
    plain, pulled = (gradient_ascent(model, start, 1, 0.1, 1.0, weight, train_mu).z[1] for weight in (0.0, 0.5))
    z = start.clone().requires_grad_()
    distance = ((z - train_mu.mean(dim=0)) / train_mu.std(dim=0, correction=0)).square().sum()
    [slope] = torch.autograd.grad(0.5 / 2 * distance, z)
    torch.testing.assert_close(plain - pulled, 0.1 * slope)
    with pytest.raises(ValueError, match="needs train_mu"):
        gradient_ascent(model, start, 1, 0.1, prior_weight=0.5)
    train_mu[:, 0] = start[0, 0]  # a dimension that no code uses does not stop the ascent
    assert gradient_ascent(model, start[:1], 1, 0.1, 1.0, 0.5, train_mu).z.isfinite().all()


def test_prior_has_the_statistics_of_the_training_means():
    train_mu = torch.randn(4000, 3) * torch.tensor([0.1, 1.0, 3.0]) + torch.tensor([5.0, 0.0, -2.0])
    z = prior_start(train_mu, 20_000, seed=1)
    torch.testing.assert_close(z.mean(dim=0), train_mu.mean(dim=0), atol=0.1, rtol=0)
    torch.testing.assert_close(z.std(dim=0), train_mu.std(dim=0), atol=0, rtol=0.05)
    assert torch.equal(z, prior_start(train_mu, 20_000, seed=1))
    assert not torch.equal(z, prior_start(train_mu, 20_000, seed=2))


def test_best_of_prior_is_the_top_of_the_samples(model, start):
    best = best_of_prior(model, start, samples=200, keep=10, seed=3)
    everything = prior_start(start, 200, seed=3)
    expected = model.performance(everything).sort(descending=True).values[:10]
    torch.testing.assert_close(model.performance(best), expected)


@pytest.mark.parametrize("keep", [0, 6])
def test_more_points_than_samples_are_not_kept(model, start, keep):
    with pytest.raises(ValueError, match=f"The best {keep} of 5 points were .* Set keep to 1 or more, at most samples"):
        best_of_prior(model, start, samples=5, keep=keep)


def test_architectures_are_distinct_valid_and_best_predicted_first(model, start):
    z = torch.cat([start, start + 1e-4, start])  # three rows for each architecture
    z[2] = 3.0  # this one leaves the space
    frame = architectures(model, ENAS, z)
    assert frame.arch.is_unique and frame.predicted_performance.is_monotonic_decreasing
    assert 2 not in set(frame.start)
    assert set(frame.arch) == set(ENAS.to_strings(model.decode(start)))
    for row in frame.itertuples():
        same = [i for i, arch in enumerate(ENAS.to_strings(model.decode(start))) if arch == row.arch]
        rows = torch.tensor([i + k for i in same for k in (0, 5, 10) if i + k != 2])
        accuracy = model.performance.unstandardise(model.performance(z[rows]))
        assert row.predicted_performance == pytest.approx(accuracy.max().item())
        assert 0.69 < row.predicted_performance < 0.76


def test_architectures_may_be_none(model):
    assert len(architectures(model, ENAS, torch.full((3, 8), 3.0))) == 0


def test_nao_finds_new_architectures_uphill_and_ends(model, start):
    seeds = 0.2 * start
    known = model.decode(seeds)
    frame = nao_steps(model, ENAS, seeds, known, step_size=0.1, max_steps=50)
    assert len(frame) > 0 and frame.arch.is_unique and frame.start.is_unique
    assert not set(frame.arch) & set(ENAS.to_strings(known))
    gradient = gradient_ascent(model, seeds, 1, 1.0, 0.0).z.diff(dim=0)[0]
    for row in frame.itertuples():
        z = seeds[[row.start]] + row.multiple * 0.1 * gradient[[row.start]]
        assert ENAS.to_strings(model.decode(z)) == [row.arch]
        nearer = seeds[[row.start]] + (row.multiple - 1) * 0.1 * gradient[[row.start]]
        assert ENAS.to_strings(model.decode(nearer)) != [row.arch]


def test_nao_gives_up_on_seeds_that_only_decode_to_known_graphs(model, start):
    known = model.decode(torch.randn(5000, 8).clamp(max=2))  # all 64 architectures this decoder can write
    assert len(set(known.keys())) == 64
    assert nao_steps(model, ENAS, start, known, max_steps=5).empty


def test_d_vae_has_nothing_to_ascend(start):
    model = make_model(ENAS_SHAPE, predictors="none")
    for search in (
        lambda: gradient_ascent(model, start, 1, 0.1),
        lambda: best_of_prior(model, start),
        lambda: architectures(model, ENAS, start),
        lambda: nao_steps(model, ENAS, start, ENAS.sample(2, seed=0)),
    ):
        with pytest.raises(ValueError, match="no predictors"):
            search()


@pytest.mark.parametrize("shape", [(8,), (3, 7), (0, 8)])
def test_points_of_a_wrong_shape_are_refused(model, shape):
    with pytest.raises(ValueError, match=r"start must hold latent points \[S, 8\]"):
        gradient_ascent(model, torch.zeros(shape), 1, 0.1)


def test_a_step_to_infinity_is_refused(model, start):
    with pytest.raises(FloatingPointError, match="lower step_size"):
        gradient_ascent(model, start, 2, float("inf"))
