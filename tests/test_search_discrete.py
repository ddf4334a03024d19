"""Searches without a model: each against a plain account of its own rules."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

from latentnas.search.base import run, run_many
from latentnas.search.discrete import LocalSearch, OrderedSearch, RandomSearch, RegularisedEvolution, Reinforce
from latentnas.search.domains import TableDomain, table_domain
from latentnas.search.ensemble import EnsembleConfig, EnsembleSearch
from latentnas.search.history import curve
from latentnas.spaces.nasbench101 import NASBENCH101
from test_search_base import toy_domain, toy_values

SEARCHERS = [
    RandomSearch,
    partial(RegularisedEvolution, population=8, tournament=3),
    LocalSearch,
    partial(Reinforce, learning_rate=0.05),
]


def ask_and_tell(searcher, values, steps, batch=1):
    """All rows asked for, one list a question."""
    asked = []
    for _ in range(steps):
        rows = searcher.ask(batch)
        searcher.tell(rows, values[rows])
        asked.append(rows.tolist())
    return asked


@pytest.mark.parametrize("make", SEARCHERS)
@pytest.mark.parametrize("batch", [1, 7])
def test_the_seed_fixes_the_history(make, batch):
    domain = toy_domain()
    first, again, other = (run(make(domain, seed), domain.lookup(toy_values()), 20, batch) for seed in (1, 1, 2))
    assert first.equals(again) and not first.row.equals(other.row)
    assert len(first) == 20 and first.row.is_unique


@pytest.mark.parametrize("make", SEARCHERS[1:])
def test_all_find_more_than_random_search(make):
    """On the number of agreements with a hidden architecture, where every change that helps is visible."""
    domain = toy_domain(classes=False)
    values = (domain.choices() == [2, 3, 1]).sum(axis=1).astype(float)
    ours, random = (
        run_many(partial(method, domain), domain.lookup(values), 25, range(40)) for method in (make, RandomSearch)
    )
    assert ours.value.mean() > random.value.mean()
    assert curve(ours, [25])["mean"][0] > curve(random, [25])["high"][0]


@pytest.mark.parametrize("classes", [False, True])
def test_an_ordered_search_takes_the_highest_first_and_equal_ones_as_random_search_does(classes):
    """The rows are those that notebooks 07 and 07b drew when they wrote this search themselves."""
    domain = toy_domain(classes)
    score = np.random.default_rng(0).integers(0, 5, domain.size)
    for seed in range(5):
        history = run(OrderedSearch(domain, seed, score), domain.lookup(toy_values()), domain.size, batch=3)
        as_written = RandomSearch(domain, seed)
        as_written._order = iter(sorted(as_written._order, key=lambda row: -score[row]))
        assert history["row"].tolist() == as_written.ask(domain.size).tolist()
        assert sorted(history["row"]) == domain.distinct.tolist() and (np.diff(score[history["row"]]) <= 0).all()
    firsts = {int(OrderedSearch(domain, seed, score).ask(1)[0]) for seed in range(300)}
    assert firsts == {row for row in domain.distinct if score[row] == score[domain.distinct].max()}
    with pytest.raises(ValueError, match=f"pass a whole column of its table, {domain.size} values"):
        OrderedSearch(domain, 0, score[1:])


def test_random_search_draws_classes_uniformly():
    domain = toy_domain()
    first = Counter(int(RandomSearch(domain, seed).ask(1)[0]) for seed in range(4900))
    assert set(first) == set(domain.distinct)
    assert max(first.values()) < 100 + 4 * 10 and min(first.values()) > 100 - 4 * 10  # 100 expected, deviation 10
    searcher = RandomSearch(domain, 0)
    drawn = np.concatenate([searcher.ask(10) for _ in range(6)])
    assert len(drawn) == 49 and len(set(drawn)) == 49


# regularised evolution


def test_evolution_mutates_the_best_of_the_youngest():
    """With a tournament of all, the parent is known: the best of the last five, old champions being dead."""
    domain, values = toy_domain(), toy_values()
    searcher = RegularisedEvolution(domain, 0, 5, 5)
    asked = [row for [row] in ask_and_tell(searcher, values, 300)]
    champions_died = False
    for step in range(5, 300):
        living = asked[step - 5 : step]
        parent = max(living, key=lambda row: values[row])
        assert asked[step] in domain.neighbors(parent)
        champions_died |= values[parent] < max(values[asked[:step]])
    assert champions_died


def test_evolution_selects_by_tournament():
    """Two of four, without replacement: the best is parent with chance 1/2, then 1/3, 1/6 and 0."""
    still = TableDomain(toy_domain().choices(), np.arange(64), lambda rows: rows[:, None])  # the child is the parent
    searcher = RegularisedEvolution(still, 0, 4, 2)
    searcher.tell(np.array([10, 20, 30, 40]), np.array([1.0, 4.0, 2.0, 3.0]))
    parents = Counter(searcher.ask(6000).tolist())
    assert parents[10] == 0
    for row, chance in ((20, 1 / 2), (40, 1 / 3), (30, 1 / 6)):
        assert abs(parents[row] / 6000 - chance) < 4 * np.sqrt(chance / 6000)


def test_evolution_mutates_to_every_neighbor():
    domain = toy_domain()
    searcher = RegularisedEvolution(domain, 0, 1, 1)
    searcher.tell(np.array([33]), np.array([1.0]))
    children = Counter(searcher.ask(900).tolist())
    assert set(children) == set(domain.neighbors(33))
    assert min(children.values()) > 60  # 100 expected, deviation 9.4


def test_evolution_fills_its_population_first():
    searcher = RegularisedEvolution(toy_domain(), 0, 10, 2)
    asked = ask_and_tell(searcher, toy_values(), 4, batch=4)
    assert [len(rows) for rows in asked] == [4, 4, 2, 4]


# local search


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_local_search_takes_the_steepest_step_and_restarts_at_optima(batch):
    domain, values = toy_domain(False), toy_values()
    asked = [row for rows in ask_and_tell(LocalSearch(domain, 0), values, 200, batch) for row in rows]
    visited, restarts, moves = asked[0], 0, 0
    position = 1
    while position + 10 < len(asked):
        neighbors, around = domain.neighbors(visited), asked[position : position + 9]
        assert sorted(around) == sorted(neighbors)
        best = max(around, key=lambda row: values[row])
        position += 9
        if values[best] > values[visited]:
            visited, moves = best, moves + 1
        else:
            visited, restarts, position = asked[position], restarts + 1, position + 1
    assert restarts > 3 and moves > 3


def test_local_search_starts_from_the_best_of_an_initial_design():
    domain, values = toy_domain(False), toy_values()
    initial = [5, 20, 60]
    history = run(LocalSearch(domain, 0), domain.lookup(values), 13, initial=initial)
    best = max([*initial, history.row[3]], key=lambda row: values[row])
    assert set(history.row[4:]) <= set(domain.neighbors(best))


# rows without neighbours


def lonely_domain():
    """Six rows: 0 to 2 have no neighbours, 3 has two of them, 4 and 5 have each other and one of them."""
    neighbors = [[], [], [], [0, 1], [5, 2], [4, 0]]

    def find(rows):
        return [np.array(neighbors[row], dtype=np.int64) for row in rows]

    return TableDomain(np.arange(6)[:, None], np.arange(6), find, np.eye(6))


@pytest.mark.parametrize("make", [*SEARCHERS[:3], partial(EnsembleSearch, config=EnsembleConfig(initial=2, steps=5))])
def test_rows_with_few_or_no_neighbors_do_not_end_a_search(make):
    domain = lonely_domain()
    for seed in range(5):
        history = run(make(domain, seed), domain.lookup(-np.arange(6.0)), 6)  # the best have no neighbours
        assert sorted(history.row) == [0, 1, 2, 3, 4, 5] and set(history.stopped) == {"budget spent"}


@pytest.mark.slow
def test_the_smallest_cell_of_nasbench101_does_not_end_a_search():
    """It has two vertices and no neighbours, and is itself one change away from three cells."""
    domain = table_domain(NASBENCH101)
    [smallest] = np.flatnonzero(NASBENCH101.cells().num_vertices == 2)
    values = np.where(np.arange(domain.size) == smallest, 1.0, 0.0)
    for make in (partial(RegularisedEvolution, population=1, tournament=1), LocalSearch):
        history = run(make(domain, 0), domain.lookup(values), 30, initial=[smallest])
        assert len(history) == 30 and set(history.stopped) == {"budget spent"}


# REINFORCE


def uneven_domain():
    """Two decisions, with three and two options, the rows in no particular order."""
    choices = np.array([[2, 1], [0, 0], [1, 1], [0, 1], [2, 0], [1, 0]])
    return TableDomain(choices, np.arange(6), lambda rows: rows[:, None])


def test_reinforce_equals_autograd_and_adam():
    domain, values = uneven_domain(), np.array([0.3, 0.9, 0.2, 0.5, 0.1, 0.7]) * 100
    searcher = Reinforce(domain, 0, learning_rate=0.03, momentum=0.8)
    logits = [torch.zeros(options, dtype=torch.float64, requires_grad=True) for options in (3, 2)]
    optimizer = torch.optim.Adam(logits, lr=0.03)
    average = weight = 0.0
    for row in np.random.default_rng(0).integers(6, size=60):
        searcher.tell(np.array([row]), values[[row]])
        average, weight = 0.8 * average + 0.2 * values[row], 0.8 * weight + 0.2
        log_probability = sum(
            torch.log_softmax(logit, 0)[choice] for logit, choice in zip(logits, domain.choices()[row])
        )
        optimizer.zero_grad()
        (-(values[row] - average / weight) * log_probability).backward()
        optimizer.step()
    expected = [torch.softmax(logit, 0).detach().numpy() for logit in logits]
    assert np.allclose(searcher._policy()[0], expected[0]) and np.allclose(searcher._policy()[1, :2], expected[1])
    assert searcher._policy()[1, 2] == 0 and np.ptp(expected[0]) > 0.1


def test_reinforce_draws_from_its_policy():
    domain = uneven_domain()
    searcher = Reinforce(domain, 0, 0.2)
    searcher.tell(np.array([0, 1, 0, 1, 0]), np.array([1.0, 0.0, 1.0, 0.0, 1.0]))
    policy = searcher._policy()
    drawn = Counter(searcher.ask(12_000).tolist())
    for row, (first, second) in enumerate(domain.choices()):
        chance = policy[0, first] * policy[1, second]
        assert abs(drawn[row] / 12_000 - chance) < 4 * np.sqrt(chance / 12_000)


def test_reinforce_draws_again_where_decisions_make_no_architecture():
    choices, other = uneven_domain().choices(), lambda rows: rows[:, None]
    searcher = Reinforce(TableDomain(choices[:4], np.arange(4), other), 0)
    drawn = Counter(searcher.ask(8_000).tolist())
    assert all(abs(drawn[row] / 8_000 - 1 / 4) < 4 * np.sqrt(3 / 16 / 8_000) for row in range(4))
    assert searcher.domain.from_choices(choices).tolist() == [0, 1, 2, 3, -1, -1]
    twice = TableDomain(choices[[0, 1, 1, 0]], np.arange(4), other)
    assert twice.from_choices(choices[:2]).tolist() == [0, 1]  # of rows with the same decisions the first
    diagonal = np.tile(np.arange(20)[:, None], 5)  # 20 of 3.2 million combinations
    with pytest.raises(ValueError, match="none of 100 random combinations"):
        Reinforce(TableDomain(diagonal, np.arange(20), other), 0)


def test_configurations_are_checked():
    with pytest.raises(ValueError, match="tournament=9 .* population=8"):
        RegularisedEvolution(toy_domain(), 0, 8, 9)
    with pytest.raises(ValueError, match="tournament=0"):
        RegularisedEvolution(toy_domain(), 0, 8, 0)
    with pytest.raises(ValueError, match="population=8.5 must be a whole number"):
        RegularisedEvolution(toy_domain(), 0, 8.5, 2)
    with pytest.raises(ValueError, match="learning_rate=0"):
        Reinforce(toy_domain(), 0, 0)
    with pytest.raises(ValueError, match="momentum=1"):
        Reinforce(toy_domain(), 0, 0.1, 1)
