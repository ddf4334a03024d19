"""Bayesian optimisation of a table: formulas against BoTorch and quadrature, its choices, what it finds."""

from functools import partial

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from scipy import integrate, stats

from latentnas.search import gaussian
from latentnas.search.base import run, run_many
from latentnas.search.discrete import RandomSearch
from latentnas.search.gaussian import Believer, GaussianConfig, GaussianSearch
from test_search_base import toy_domain, toy_values


def test_posterior_equals_botorch():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(25, 4, generator=generator, dtype=torch.float64)
    y = torch.sin(3 * x).sum(dim=1)
    y = (y - y.mean()) / y.std()
    model = SingleTaskGP(x, y.unsqueeze(1), outcome_transform=None)
    model.likelihood.noise, model.mean_module.constant = 0.05, 0.3
    new = torch.rand(9, 4, generator=generator, dtype=torch.float64)
    expected = model.posterior(new)
    known, all_points = np.arange(25), torch.cat([x, new])
    believer = Believer(model.eval(), all_points, known, y)
    assert np.allclose(believer.mean[25:], expected.mean.detach().flatten(), atol=1e-8)
    assert np.allclose(believer.moments(new)[1][25:], expected.variance.detach().flatten(), atol=1e-8)

    for place in (29, 25, 32):  # believed one by one, or added to the labels: the same
        believer.believe(place)
        known, y = np.append(known, place), torch.cat([y, believer.mean[[place]]])
        afresh = Believer(model, all_points, known, y)
        assert np.allclose(believer.mean, afresh.mean, atol=1e-8)
        assert np.allclose(believer.moments(new)[1], afresh.moments(new)[1], atol=1e-8)


def test_labels_told_later_are_as_good_as_labels_from_the_start():
    """Those that were believed first, in the order of the picks; and after any other order one begins afresh."""
    generator = torch.Generator().manual_seed(2)
    points = torch.rand(50 + 40, 3, generator=generator, dtype=torch.float64)
    y = torch.sin(4 * points).sum(dim=1)
    y = (y - y[:9].mean()) / y[:9].std()
    model = SingleTaskGP(points[:9], y[:9].unsqueeze(1), outcome_transform=None).eval()
    believer = Believer(model, points, np.arange(9), y[:9])
    believer.believe(9)
    assert not believer.tell(np.array([*range(9), 10, 9]), y[[*range(9), 10, 9]]) and not believer.tell(
        np.arange(9), y[:9]
    )
    for count in (10, 15, 50 + 30):
        known = np.arange(count)
        assert believer.tell(known, y[:count])
        afresh = Believer(model, points, known, y[:count])
        assert believer.best == afresh.best and np.allclose(believer.mean, afresh.mean, atol=1e-6)
        assert np.allclose(believer.moments(points)[1], afresh.moments(points)[1], atol=1e-8)


def test_expected_improvement_equals_quadrature():
    """Its logarithm at all candidates, with the value to beat raised by what was believed."""
    generator = torch.Generator().manual_seed(1)
    x, new = (torch.rand(n, 3, generator=generator, dtype=torch.float64) for n in (12, 6))
    y = torch.sin(4 * x).sum(dim=1)
    y = (y - y.mean()) / y.std()
    model = SingleTaskGP(x, y.unsqueeze(1), outcome_transform=None).eval()
    points = torch.cat([x, new])
    believer = Believer(model, points, np.arange(12), y)
    believer.believe(14)
    assert believer.best == max(y.max().item(), believer.mean[14].item())
    mean_variance_gain = (*believer.moments(points), believer.log_gain(points))
    for mean, variance, gain in zip(*(values[12:] for values in mean_variance_gain), strict=True):
        normal = stats.norm(mean.item(), variance.sqrt().item())
        whole = integrate.quad(lambda f, normal=normal: (f - believer.best) * normal.pdf(f), believer.best, 20)[0]
        assert gain.item() == pytest.approx(np.log(whole), rel=1e-4)


def test_it_finds_more_than_random_search():
    domain = toy_domain(classes=False)
    values = (domain.choices() == [2, 3, 1]).sum(axis=1) + 0.1 * toy_values()
    make = partial(GaussianSearch, domain, config=GaussianConfig(6, 5))
    ours, random = (
        run_many(method, domain.lookup(values), 18, range(3)) for method in (make, partial(RandomSearch, domain))
    )
    assert (ours.groupby("seed").incumbent.max() == values.max()).all()
    assert ours.value.mean() > random.value.mean() + 0.3


def test_it_searches_by_the_inputs_it_is_given():
    """Of inputs that say all and inputs that say nothing, the former find the best; the latter see no difference."""
    domain = toy_domain(classes=False)
    values = (domain.choices() == [2, 3, 1]).sum(axis=1) + 0.1 * toy_values()
    telling, empty = values[:, None] / values.max(), np.zeros((domain.size, 1))
    found = {
        name: run_many(
            partial(GaussianSearch, domain, inputs=domain.lookup(inputs)), domain.lookup(values), 14, range(3)
        )
        for name, inputs in {"telling": telling, "empty": empty}.items()
    }
    assert (found["telling"].groupby("seed").incumbent.max() == values.max()).all()
    assert found["empty"].groupby("seed").incumbent.max().mean() < values.max()


@pytest.mark.parametrize(
    "inputs, problem",
    [(np.zeros((63, 2)), "64 values"), (np.zeros(64), "finite inputs"), (np.full((64, 2), np.nan), "finite inputs")],
)
def test_inputs_of_another_domain_are_refused(inputs, problem):
    with pytest.raises(ValueError, match=problem):
        GaussianSearch(toy_domain(), 0, inputs=toy_domain().lookup(inputs))


@pytest.mark.slow
def test_hyperparameters_are_fitted_now_and_then(monkeypatch):
    domain, fits = toy_domain(), []
    fit = gaussian.fit_gpytorch_mll
    monkeypatch.setattr(
        gaussian, "fit_gpytorch_mll", lambda mll, **how: fits.append(len(mll.model.train_targets)) or fit(mll, **how)
    )
    run(GaussianSearch(domain, 0, GaussianConfig(5, 4)), domain.lookup(toy_values()), 16)
    assert fits == [5, 9, 13]
    fits.clear()
    run(GaussianSearch(toy_domain(classes=False), 0, GaussianConfig(30, 4)), domain.lookup(toy_values()), 45)
    assert fits == [30, 36, 43]  # a fifth more


@pytest.mark.filterwarnings("ignore:Data .* is not standardized")  # where all labels are equal
def test_a_batch_has_no_architecture_twice_and_the_space_ends():
    domain = toy_domain()
    for values in (toy_values(), np.ones(64)):
        searcher = GaussianSearch(domain, 0, GaussianConfig(10, 30))
        history = run(searcher, domain.lookup(values), 100, batch=9)
        assert sorted(history.row) == sorted(domain.distinct) and set(history.stopped) == {"space exhausted"}
    searcher = GaussianSearch(domain, 0)
    searcher.tell(domain.distinct[:12], toy_values()[domain.distinct[:12]])
    asked = searcher.ask(20)
    assert len(set(asked.tolist())) == 20 and not set(asked) & set(domain.distinct[:12])


def test_the_seed_fixes_the_history():
    domain = toy_domain()
    first, again, other = (
        run(GaussianSearch(domain, seed), domain.lookup(toy_values()), 16, batch=3) for seed in (1, 1, 2)
    )
    assert first.equals(again) and not first.row.equals(other.row)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="initial=1 must be a whole number, at least 2"):
        GaussianConfig(initial=1)
    with pytest.raises(ValueError, match="refit=0 must be a whole number, at least 1"):
        GaussianConfig(refit=0)
