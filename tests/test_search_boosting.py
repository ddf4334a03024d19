"""Search with boosted trees on plain features."""

from functools import partial

import numpy as np
import pytest

from latentnas.search.base import run
from latentnas.search.boosting import BoostingSearch
from test_search_ensemble import toy_domain, toy_values

make = partial(BoostingSearch, initial=12)


def test_what_the_trees_predict_to_be_best_is_asked_for():
    """Of values that one decision alone decides, the trees learn which option is best."""
    domain = toy_domain(classes=False)
    values = domain.choices()[:, 0].astype(float)
    searcher = BoostingSearch(domain, 0, initial=24)
    first = searcher.ask(24)
    searcher.tell(first, values[first])
    best = np.setdiff1d(np.flatnonzero(values == values.max()), first)
    assert set(searcher.ask(len(best)).tolist()) == set(best.tolist())


def test_equal_predictions_are_asked_for_in_random_order():
    """With too few labels for a split all candidates are predicted alike; how a table is numbered must not decide."""
    domain = toy_domain(classes=False)
    asked = []
    for seed in range(8):
        searcher = make(domain, seed, leaf=10)
        first = searcher.ask(12)
        searcher.tell(first, toy_values()[first])
        asked.append(searcher.ask(6))
    assert np.mean(asked) > 20 and len(np.unique(asked)) > 20  # of rows 0 to 63; in the order of rows the first seven


def test_a_share_of_the_candidates_is_drawn_at_random():
    domain, values = toy_domain(classes=False), toy_values()
    asked = {}
    for explore in (0.0, 1.0):
        searcher = make(domain, 0, explore=explore)
        first = searcher.ask(12)
        searcher.tell(first, values[first])
        asked[explore] = searcher.ask(6).tolist()
        assert len(set(asked[explore]) - set(first.tolist())) == 6
    assert not set(asked[0.0]) & set(asked[1.0])  # only what is not predicted to be best


@pytest.mark.parametrize("explore", [0.0, 0.5, 1.0])
def test_the_space_is_searched_to_its_end(explore):
    domain = toy_domain()
    history = run(make(domain, 0, explore=explore), domain.lookup(np.ones(64)), 100, batch=8)
    assert sorted(history.row) == sorted(domain.distinct) and set(history.stopped) == {"space exhausted"}


def test_the_seed_fixes_the_history():
    domain = toy_domain()
    first, again, other = (
        run(make(domain, seed, explore=0.5), domain.lookup(toy_values()), 20, batch=3) for seed in (1, 1, 2)
    )
    assert first.equals(again) and not first.row.equals(other.row)


def test_it_reads_the_inputs_that_it_is_given():
    """Of values that no decision tells, an input that is the value itself tells everything."""
    domain, values = toy_domain(classes=False), np.random.default_rng(0).permutation(64).astype(float)
    searcher = BoostingSearch(domain, 0, initial=32, leaf=1, inputs=domain.lookup(values[:, None]))
    first = searcher.ask(32)
    searcher.tell(first, values[first])
    unknown = np.setdiff1d(np.arange(64), first)
    asked = values[searcher.ask(8)]
    assert asked.min() >= np.sort(values[unknown])[-12]


def test_bad_settings_are_refused():
    for name, value in [("initial", 0), ("leaf", 0), ("leaf", 2.5), ("explore", 1.5), ("explore", -0.5)]:
        with pytest.raises(ValueError, match=f"{name}={value}"):
            BoostingSearch(toy_domain(), 0, **{name: value})
