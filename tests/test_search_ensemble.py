"""The ensemble: its networks against torch.nn, its choices against their rules, and that it finds things."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from latentnas.search.base import run, run_many
from latentnas.search.discrete import RandomSearch
from latentnas.search.domains import TableDomain, table_domain
from latentnas.search.ensemble import Ensemble, EnsembleConfig, EnsembleSearch, targets
from latentnas.search.history import queries_to_optimum
from latentnas.spaces.features import nasbench201_path_encoding
from latentnas.spaces.nasbench201 import NASBENCH201
from test_search_base import toy_domain, toy_values

SMALL = EnsembleConfig(initial=6, hidden=8, steps=20, parents=3, random_candidates=5)


def network(ensemble, member):
    """One member as a module of torch.nn."""
    layers = []
    for weight, bias in zip(ensemble.weights, ensemble.biases):
        linear = nn.Linear(weight.shape[1], weight.shape[2])
        linear.weight.data, linear.bias.data = (weight[member].detach().T.clone(), bias[member, 0].detach().clone())
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Flatten(0))


def test_members_train_as_if_each_were_alone():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(30, 7, generator=generator), torch.rand(30, generator=generator)
    x[x < 0.6], x[0], x[:, 2] = 0, 0, 0  # mostly zeros, and a row and a feature of nothing else
    ensemble = Ensemble(x, replace(SMALL, members=3), generator)
    alone = [network(ensemble, member) for member in range(3)]
    ensemble.fit(x, y)
    new = torch.rand(11, 7, generator=generator)
    assert ensemble(new).shape == (3, 11)
    for member, module in enumerate(alone):
        optimizer = torch.optim.Adam(module.parameters(), lr=SMALL.learning_rate)
        for _ in range(SMALL.steps):
            optimizer.zero_grad()
            nn.functional.mse_loss(module(x), y).backward()
            optimizer.step()
        torch.testing.assert_close(ensemble(new)[member], module(new).detach(), atol=1e-5, rtol=1e-4)
    assert ensemble(new).std(dim=0).min() > 1e-4


def test_candidates_are_unknown_neighbors_and_random_candidates():
    domain, values = toy_domain(), toy_values()
    searcher = EnsembleSearch(domain, 0, SMALL)
    known = np.array([20, 21, 33, 50, 3])  # 3 is one of class 0
    searcher.tell(known, values[known])
    around = np.concatenate([domain.neighbors(21), domain.neighbors(33)])
    near = set(domain.representative(around).tolist()) - {0, *known}
    for _ in range(20):
        candidates = set(domain.candidates(searcher._random, 1, searcher._values, [21, 33]).tolist())
        assert near <= candidates and len(candidates - near) <= 1
        assert candidates <= set(domain.distinct) - {0, *known}
    everything = domain.candidates(searcher._random, 100, searcher._values, [21])
    assert set(everything.tolist()) == set(domain.distinct) - {0, *known}
    asked = []
    domain.candidates = lambda random, n, known, best: (
        asked.append((n, best)) or TableDomain.candidates(domain, random, n, known, best)
    )
    searcher.tell(np.array([40]), np.array([9.0]))
    searcher.ask(1)
    best = [40, *sorted(set(known.tolist()) - {3} | {0}, key=lambda row: -values[3 if row == 0 else row])]
    assert asked == [(SMALL.random_candidates, best[: SMALL.parents])]


def test_without_uncertainty_the_best_predictions_are_asked_for(monkeypatch):
    """Members that agree, and no shared error: the draw is the prediction."""
    domain = toy_domain(classes=False)
    truth = toy_values()
    lookup = {row.tobytes(): value for row, value in zip(domain.one_hot(np.arange(64)).astype(np.float32), truth)}
    monkeypatch.setattr(Ensemble, "fit", lambda self, x, y: None)

    def predict(self, x):
        return torch.tensor([[lookup[row[-12:].numpy().tobytes()] for row in x]] * 5)

    monkeypatch.setattr(Ensemble, "__call__", predict)
    searcher = EnsembleSearch(domain, 0, replace(SMALL, shared_error=0.0, random_candidates=64))
    first = searcher.ask(6)
    searcher.tell(first, truth[first])
    unknown = np.setdiff1d(np.arange(64), first)
    assert searcher.ask(4).tolist() == unknown[np.argsort(-truth[unknown])[:4]].tolist()


def test_the_space_is_searched_to_its_end():
    """Also where all labels are equal."""
    domain = toy_domain()
    for values in (toy_values(), np.ones(64)):
        history = run(EnsembleSearch(domain, 0, SMALL), domain.lookup(values), 100, batch=8)
        assert sorted(history.row) == sorted(domain.distinct) and set(history.stopped) == {"space exhausted"}


def test_the_seed_fixes_the_history():
    domain = toy_domain()
    first, again, other = (
        run(EnsembleSearch(domain, seed, SMALL), domain.lookup(toy_values()), 20, batch=3) for seed in (1, 1, 2)
    )
    assert first.equals(again) and not first.row.equals(other.row)


def test_an_initial_design_replaces_the_random_start():
    domain, values = toy_domain(), toy_values()
    trained = []

    class Watched(EnsembleSearch):
        def _propose(self, n, rows, values):
            trained.append(len(values))
            return super()._propose(n, rows, values)

    run(Watched(domain, 0, SMALL), domain.lookup(values), 14, batch=2, initial=range(20, 30))
    assert trained == [10, 12]


@pytest.mark.slow
def test_the_optimum_of_nasbench201_is_found(nasbench201):
    """CIFAR-100, by class; random search needs thousands of queries."""
    domain = table_domain(NASBENCH201, "class", nasbench201_path_encoding)
    valid = nasbench201.table["cifar100/x-valid@200"].to_numpy()
    ours = run_many(partial(EnsembleSearch, domain), domain.lookup(valid), 100, range(5), batch=5)
    assert domain.optimum(valid).tolist() == [valid.argmax()] and round(valid.max(), 2) == 73.49
    assert queries_to_optimum(ours, domain.optimum(valid)).notna().sum() >= 4  # all of seeds 0 to 19 did
    random = run_many(partial(RandomSearch, domain), domain.lookup(valid), 100, range(5))
    assert queries_to_optimum(random, domain.optimum(valid)).isna().all()


def test_bad_settings_are_refused():
    for name, value in [("members", 1), ("initial", 0), ("parents", 0), ("random_candidates", 0), ("shared_error", -1)]:
        with pytest.raises(ValueError, match=f"{name}={value}"):
            EnsembleConfig(**{name: value})
    with pytest.raises(ValueError, match="learning_rate=0 must be a finite number, above 0"):
        EnsembleConfig(learning_rate=0)


def test_labels_that_differ_by_rounding_alone_have_no_scale():
    """By the last bit the 90 % quantile differs from the median; a unit of that size would make one label 10^13."""
    values = np.array([50.0, 50.0, *[92.46666666666665] * 4, *[92.46666666666667] * 4, 92.6])
    assert np.ptp(np.quantile(values, [0.5, 0.9])) > 0 and abs(targets(values)).max() <= 2  # of points
