"""The sparse GP against an exact GP written out with dense matrices."""

import pytest
import torch

from latentnas.models.gaussian_process import SparseGP, SparseGPConfig


def wave(x):
    return 3.0 + 2.0 * torch.sin(2 * x[:, 0]) + 0.5 * x[:, 1]  # the third input means nothing


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(150, 3, generator=generator)
    return x, wave(x) + 0.1 * torch.randn(150, generator=generator)


@pytest.fixture(scope="module")
def fitted(data):
    return SparseGP(SparseGPConfig(inducing=50, steps=100, learning_rate=0.2)).fit(*data)


def exact(gp, x, y, new):
    """Mean and covariance of the exact GP with the sparse one's kernel, noise and mean."""

    def kernel(a, b):
        return gp._kernel(a.double(), b.double()).to_dense() * gp.unit**2

    mean = gp.mean_value + gp.unit * gp._constant
    noisy = kernel(x, x) + gp.noise * gp.unit**2 * torch.eye(len(x))
    return (
        mean + kernel(new, x) @ torch.linalg.solve(noisy, y.double() - mean),
        kernel(new, new) - kernel(new, x) @ torch.linalg.solve(noisy, kernel(x, new)),
    )


def test_with_all_points_inducing_it_is_the_exact_gp(data):
    x, y = data
    # Adam moves the inducing points off the data; put them back to compare the algebra alone
    gp = SparseGP(SparseGPConfig(inducing=150, steps=1, learning_rate=1e-9)).fit(x, y)
    new = 2 * torch.randn(30, 3, generator=torch.Generator().manual_seed(1))
    mean, covariance = exact(gp, x, y, new)
    ours, deviation = gp.predict(new)
    torch.testing.assert_close(ours, mean, atol=1e-3, rtol=0)
    torch.testing.assert_close(deviation, covariance.diag().sqrt(), atol=1e-3, rtol=0)
    torch.testing.assert_close(gp.covariance(new, new[:5]), covariance[:, :5], atol=1e-3, rtol=0)


def test_fewer_inducing_points_stay_near_the_exact_gp(data):
    x, y = data
    gp = SparseGP(SparseGPConfig(inducing=60, steps=80)).fit(x, y)
    new = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    mean, covariance = exact(gp, x, y, new)
    ours, deviation = gp.predict(new)
    assert (ours - mean).abs().mean() < 0.05
    assert (deviation - covariance.diag().sqrt()).abs().mean() < 0.05


def test_it_learns_the_function_the_noise_and_which_input_matters(fitted):
    new = torch.randn(200, 3, generator=torch.Generator().manual_seed(2))
    mean, deviation = fitted.predict(new)
    error = (mean - wave(new)).abs()
    assert error.mean() < 0.15
    assert (error < 3 * deviation + 0.02).float().mean() > 0.9
    assert 0.03 < fitted.noise**0.5 * fitted.unit < 0.25  # true: 0.1
    lengthscale = fitted._kernel.base_kernel.lengthscale.flatten()
    assert lengthscale[0] < lengthscale[2] / 2


def test_far_away_it_returns_to_its_prior(fitted):
    mean, deviation = fitted.predict(torch.full((1, 3), 1e3))
    assert mean.item() == pytest.approx(fitted.mean_value + fitted.unit * fitted._constant)
    assert deviation.item() == pytest.approx(fitted.unit * fitted._signal**0.5)


def test_same_seed_same_numbers(data):
    config = SparseGPConfig(inducing=20, steps=10)
    first, again, other = (SparseGP(config).fit(*data, seed=seed).predict(data[0])[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_values_may_have_any_unit(data):
    x, y = data[0].double(), data[1].double()
    config = SparseGPConfig(inducing=40, steps=20)
    mean, deviation = SparseGP(config).fit(x, y).predict(x)
    scaled_mean, scaled_deviation = SparseGP(config).fit(x, 0.7 + 1e-3 * y).predict(x)
    torch.testing.assert_close((scaled_mean - 0.7) * 1e3, mean, atol=1e-2, rtol=0)
    torch.testing.assert_close(scaled_deviation * 1e3, deviation, atol=1e-2, rtol=0)


def test_gradients_of_the_moments(fitted):
    x = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    assert torch.autograd.gradcheck(fitted.moments, x, eps=1e-4, atol=1e-5)


def test_the_matrix_of_all_points_is_never_built(data, monkeypatch):
    """BoTorch switches GPyTorch's low-rank algebra off when it is imported: 2 GB and minutes a step on ENAS."""
    from torch.distributions import MultivariateNormal

    def dense(*_):
        raise AssertionError("the dense log-probability was called")

    monkeypatch.setattr(MultivariateNormal, "log_prob", dense)
    SparseGP(SparseGPConfig(inducing=5, steps=1)).fit(*data)


def test_repeated_points_and_equal_values_are_no_trouble(data):
    x, y = data
    mean, _ = SparseGP(SparseGPConfig(steps=10)).fit(x[:5].repeat(20, 1), y[:5].repeat(20)).predict(x[:5])
    assert (mean - y[:5]).abs().max() < 1.0
    mean, _ = SparseGP(SparseGPConfig(steps=5)).fit(x, torch.full((150,), 0.7)).predict(x)
    torch.testing.assert_close(mean, torch.full((150,), 0.7, dtype=torch.float64), atol=1e-3, rtol=0)
    gp = SparseGP(SparseGPConfig(steps=1)).fit(x[:7], torch.full((7,), 0.7, dtype=torch.float64))
    assert gp.unit == 1.0  # their deviation is one of rounding, 1.1e-16


def test_bad_input(data):
    x, y = data
    with pytest.raises(ValueError, match="one value for each"):
        SparseGP().fit(x, y[:-1])
    with pytest.raises(ValueError, match="row 3"):
        SparseGP().fit(x, torch.where(torch.arange(150) == 3, float("nan"), y))
    with pytest.raises(ValueError, match="steps=0"):
        SparseGPConfig(steps=0)
