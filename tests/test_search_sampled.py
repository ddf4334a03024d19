"""Searching a space that cannot be listed: ENAS, by every searcher, with a cheap evaluator and with the live one."""

from functools import partial

import numpy as np
import pytest
import torch

from latentnas.evaluate import encode_all
from latentnas.graphs import DagBatch, canonical_hash
from latentnas.interfaces import check_searcher
from latentnas.models.convex import RefitConfig
from latentnas.models.crlso import CRLSO, CRLSOConfig
from latentnas.models.gaussian_process import SparseGPConfig
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.search.base import run, run_many
from latentnas.search.discrete import LocalSearch, RandomSearch, RegularisedEvolution, Reinforce
from latentnas.search.domains import SampledDomain, table_domain
from latentnas.search.ensemble import EnsembleConfig, EnsembleSearch
from latentnas.search.gaussian import GaussianConfig, GaussianSearch
from latentnas.search.latent.bayesian import BayesianConfig, BayesianSearch, RandomInBox
from latentnas.search.latent.crlso import ENSEMBLE, CRLSOSearch, CRLSOSearchConfig, embed
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.spaces.nasbenchgraph import NASBENCHGRAPH
from test_dagnn import ENAS_SHAPE

TABLE_SEARCHES = {
    "random": RandomSearch,
    "evolution": partial(RegularisedEvolution, population=8, tournament=3),
    "local": LocalSearch,
    "reinforce": Reinforce,
    "ensemble": partial(EnsembleSearch, config=EnsembleConfig(initial=6, hidden=8, steps=20, random_candidates=20)),
    "gp": partial(GaussianSearch, config=GaussianConfig(initial=6, iterations=10)),
}
TRAIN = ENAS.sample(30, seed=1)
NAMES = [*TABLE_SEARCHES, "bayesian", "box", "crlso"]


def count_skips(graphs):
    """More skip connections are better, in percent."""
    return 100 * ENAS.skips(graphs).sum(dim=1) / 15


def latent_searches(model, graphs, labels, listed):
    """Those that look at codes: domain, seed -> searcher. `listed` graphs are all of a table, in the order of rows."""
    with torch.no_grad():  # an untrained decoder writes the same graph everywhere
        for weights in model.parameters():
            weights.mul_(4)
    mu, space = encode_all(model, graphs[:30]), embed(model, graphs, listed)
    small = BayesianConfig(rounds=20, batch=4, candidates=40, refinement=2, trials=40, gp=SparseGPConfig(10, 3))
    crlso = CRLSOSearchConfig(
        **{name: getattr(ENSEMBLE, name) for name in ("spread", "layers", "step", "max_steps")},
        **{"initial": 4, "proposals": 3, "starts": 2, "members": 2, "refit": RefitConfig(epochs=3)},
    )
    return {
        "bayesian": partial(BayesianSearch, model=model, train_mu=mu, labels=labels[:30], config=small),
        "box": partial(RandomInBox, model=model, train_mu=mu, labels=labels[:30], config=small),
        "crlso": partial(CRLSOSearch, learn=lambda rows, values: [space], config=crlso),
    }


@pytest.fixture(scope="module")
def makers():
    """All searchers of ENAS, by name: domain, seed -> searcher."""
    torch.manual_seed(0)
    model, labels = NGAE(NGAEConfig(**ENAS_SHAPE, latent=4, hidden=8, predictors="paper")).eval(), count_skips(TRAIN)
    model.calibrate(performance=labels.float(), complexity=ENAS.complexity(TRAIN).float())
    return TABLE_SEARCHES | latent_searches(model, TRAIN, labels, listed=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_searcher_searches_enas(makers, name):
    domain = SampledDomain(ENAS, typical=100)
    history = run(makers[name](domain, 0), domain.objective(count_skips), budget=16, batch=2)
    assert len(history) == 16 and history.arch.is_unique and set(history.stopped) == {"budget spent"}
    graphs = ENAS.to_batch(history.arch.tolist())
    assert ENAS.to_strings(domain.graphs(history.row.to_numpy())) == history.arch.tolist()
    assert np.allclose(history.value, count_skips(graphs))
    again = SampledDomain(ENAS, typical=100)
    again.sample(lambda below: 5)  # whatever else a domain has seen, the rows are the same
    assert run(makers[name](again, 0), again.objective(count_skips), 16, 2).equals(history)


@pytest.mark.slow
def test_searches_that_learn_propose_better_graphs_than_random_search():
    domain = SampledDomain(ENAS, typical=100)
    mean = {
        name: run_many(partial(TABLE_SEARCHES[name], domain), domain.objective(count_skips), 40, range(2)).value.mean()
        for name in ("random", "evolution", "ensemble", "gp")
    }
    assert min(mean[name] for name in ("evolution", "ensemble", "gp")) > mean["random"] + 10


@pytest.mark.slow
def test_histories_do_not_depend_on_jobs():
    domain = SampledDomain(ENAS, typical=20)
    arguments = (partial(LocalSearch, domain), domain.objective(count_skips), 20, [0, 1])
    pair = run_many(*arguments, jobs=2)
    assert run_many(*arguments).equals(pair) and pair.groupby("seed").row.agg(tuple).nunique() == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[6:])
def test_latent_searchers_keep_the_contract(makers, name):
    check_searcher(makers[name], SampledDomain(ENAS, typical=20), queries=12)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[6:])
def test_latent_searchers_keep_the_contract_over_a_table(name):
    torch.manual_seed(0)
    model, cells = CRLSO(CRLSOConfig(latent=4, hidden=8)).eval(), NASBENCH201.enumerate()
    searches = latent_searches(model, cells, NASBENCH201.flops(cells).double(), listed=True)
    check_searcher(searches[name], table_domain(NASBENCH201), queries=12)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_searcher_searches_enas_with_the_live_evaluator(makers, name):
    from latentnas import benchmarks
    from latentnas.measure.surrogate import evaluator_of

    evaluator = evaluator_of(benchmarks.load("enas", "bundled"))
    domain = SampledDomain(ENAS, typical=50)
    evaluate = domain.objective(lambda graphs: evaluator.query(graphs)["judged"])
    history = run(makers[name](domain, 0), evaluate, budget=10)
    assert len(history) == 10 and history.value.between(5, 100).all()


# the domain


def test_rows_are_hashes_of_what_was_seen():
    domain = SampledDomain(ENAS, typical=10)
    graphs = ENAS.sample(3, seed=9)
    rows = domain.rows_of(graphs)
    assert rows.dtype == np.int64 and (rows >= 0).all()
    assert torch.equal(canonical_hash(domain.graphs(rows)), canonical_hash(graphs))
    assert domain.rows_of(graphs.pad_to(11)).tolist() == rows.tolist()
    assert domain.contains(rows).all() and not domain.contains(np.array([12345])).any()
    assert np.array_equal(domain.choices(rows), ENAS.choices(graphs))
    broken = DagBatch(graphs.types.clone(), graphs.adjacency, graphs.num_vertices)
    broken.types[1, 3] = ENAS.input_type
    assert (domain.rows_of(broken) >= 0).tolist() == [True, False, True]
    around = domain.neighbors(int(rows[0]))
    expected = canonical_hash(ENAS.neighbors(graphs[:1])[0])
    assert torch.equal(canonical_hash(domain.graphs(around)), expected)


def test_a_table_and_its_space_are_one_search():
    """Of NAS-Bench-201 as a table and as a sampled space: neighbours, choices and inputs agree."""
    table, sampled = table_domain(NASBENCH201), SampledDomain(NASBENCH201, typical=300)
    rows = np.array([5, 700, 15_624])
    same = sampled.rows_of(table.graphs(rows))
    assert table.rows_of(sampled.graphs(same)).tolist() == rows.tolist()
    assert np.array_equal(table.choices(rows), sampled.choices(same))
    assert np.array_equal(table.inputs(rows), sampled.inputs(same))
    assert table.rows_of(sampled.graphs(sampled.neighbors(int(same[1])))).tolist() == table.neighbors(700).tolist()


@pytest.mark.slow
def test_a_small_space_is_searched_to_its_end():
    """A sampled domain does not know how many architectures there are; it gives up after drawing in vain."""

    class Few:
        name, num_vertices, num_types = NASBENCH201.name, NASBENCH201.num_vertices, NASBENCH201.num_types
        choices, contains, to_strings = NASBENCH201.choices, NASBENCH201.contains, NASBENCH201.to_strings

        def sample(self, n, seed):
            return NASBENCH201.from_choices(np.random.default_rng(seed).integers(0, 2, (n, 6)))

        def neighbors(self, batch):
            return [others[(self.choices(others) < 2).all(axis=1)] for others in NASBENCH201.neighbors(batch)]

    domain = SampledDomain(Few(), typical=40)
    for make in (RandomSearch, TABLE_SEARCHES["local"], TABLE_SEARCHES["ensemble"], TABLE_SEARCHES["gp"]):
        history = run(
            make(domain, 0), domain.objective(lambda graphs: domain.space.choices(graphs).sum(axis=1)), 100, 4
        )
        assert len(history) == 64 and set(history.stopped) == {"nothing new proposed"}


def test_reinforce_asks_for_architectures_of_the_space():
    """Of the combinations of decisions of NAS-Bench-Graph three in ten are trees that it leaves out, and half number a
    network otherwise than it does. In a table and among samples the others are asked for, and as they were drawn."""
    asked = []
    for domain in SampledDomain(NASBENCHGRAPH), table_domain(NASBENCHGRAPH):
        rows, from_choices, made = Reinforce(domain, 0).ask(200), domain.from_choices, []
        assert len(rows) == 200 and NASBENCHGRAPH.contains(domain.graphs(rows)).all()
        domain.from_choices = lambda choices, made=made, of=from_choices: made.append(choices) or of(choices)
        rows = Reinforce(domain, 1).ask(50)
        drawn = {tuple(choices) for choices in np.concatenate(made).tolist()}
        assert {tuple(choices) for choices in domain.choices(rows).tolist()} <= drawn
        asked.append(domain.choices(rows))
    assert np.array_equal(*asked)
    with pytest.raises(ValueError, match="makes every decision by itself.*In nasbench101 that fails"):
        Reinforce(SampledDomain(NASBENCH101, typical=20), 0)
