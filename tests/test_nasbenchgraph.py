"""NAS-Bench-Graph: its space, against a plain reference and the benchmark's entries, and its table."""

import itertools
import pickle
import re
import sys

import numpy as np
import pooch
import pytest
import torch

from latentnas import benchmarks
from latentnas.benchmarks import nasbenchgraph as module
from latentnas.benchmarks.base import Table
from latentnas.benchmarks.download import DataError
from latentnas.benchmarks.nasbench201_official import load_arrays
from latentnas.graphs import DagBatch, canonical_hash, equal, from_networkx, to_networkx
from latentnas.interfaces import check_benchmark, check_searcher
from latentnas.search.discrete import LocalSearch, RegularisedEvolution
from latentnas.search.domains import table_domain
from latentnas.search.ensemble import EnsembleSearch
from latentnas.spaces.nasbenchgraph import NASBENCHGRAPH as SPACE
from latentnas.spaces.nasbenchgraph import OPERATIONS, SETTINGS, Setting

EVERY = SPACE.enumerate()
TEXTS = SPACE.to_strings(EVERY)


@pytest.fixture(scope="module")
def table():
    return benchmarks.load("nasbenchgraph", "public")


# the space


def tree(text):
    """A network as nested operations, alike for all numberings: [(operation, what hangs on it), ...]."""
    nodes = [node.split("~") for node in text.split("|")]

    def hanging(number):
        readers = [place for place, (_, source) in enumerate(nodes, start=1) if int(source) == number]
        return sorted((nodes[place - 1][0], hanging(place)) for place in readers)

    return hanging(0)


def kept(branches, of_input=True, first=True):
    """Whether skips are only where the docstring of the space says."""
    first = first and len(branches) == 1
    for operation, hanging in branches:
        if operation == "skip" and not (first if hanging else len(branches) > 1 and not of_input):
            return False
        if not kept(hanging, of_input and operation == "skip", first and operation == "skip"):
            return False
    return True


def test_the_space_has_each_tree_with_its_skips_in_place_once():
    sources = list(itertools.product(range(1), range(2), range(3), range(4)))
    found, given = {str(tree(text)) for text in TEXTS}, set()
    assert len(found) == len(TEXTS) == SPACE.size
    for reads in sources:
        for operations in itertools.product(("gcn", "fc", "skip"), repeat=4):
            text = "|".join(f"{operation}~{source}" for operation, source in zip(operations, reads))
            branches = tree(text)
            assert (str(branches) in found) == kept(branches), text
            given.add(str(branches))
    few = [text for text in TEXTS if set(re.findall("[a-z]+", text)) <= {"gcn", "fc", "skip"}]
    assert len(few) == sum(branches in found for branches in given) > 100


def test_hashes_are_as_many_as_architectures_and_numberings_do_not_count():
    assert len({*canonical_hash(EVERY).tolist()}) == SPACE.size
    rows = np.random.default_rng(0).integers(0, SPACE.size, 200)
    batch = EVERY[rows]
    renamed = []
    for place, order in enumerate(itertools.islice(itertools.cycle(itertools.permutations(range(1, 5))), 200)):
        graph = to_networkx(batch, place)
        names = dict(zip(range(6), (0, *order, 5)))
        renamed.append(type(graph)())
        renamed[-1].add_nodes_from((names[vertex], graph.nodes[vertex]) for vertex in sorted(graph, key=names.get))
        renamed[-1].add_edges_from((names[u], names[v]) for u, v in graph.edges)
    others = from_networkx(renamed, 7)
    assert not equal(others, batch).all()
    assert np.array_equal(SPACE.index(others), rows) and SPACE.to_strings(others) == SPACE.to_strings(batch)


def test_text_and_choices_round_trip():
    assert equal(SPACE.to_batch(TEXTS[::7]), EVERY[::7]).all()
    assert equal(SPACE.from_choices(SPACE.choices(EVERY)), EVERY).all()
    assert SPACE.to_strings(SPACE.to_batch(["skip~0|gat~1|gcn~1|fc~3"])) == ["skip~0|gcn~1|gat~1|fc~2"]
    ranks = SPACE.choices(EVERY).tolist()
    assert ranks == sorted(ranks)
    [graph] = [to_networkx(SPACE.to_batch(["gcn~0|gat~1|skip~1|fc~2"]), 0)]
    assert sorted(graph.edges) == [(0, 1), (1, 2), (1, 3), (2, 4), (3, 5), (4, 5)]
    assert [SPACE.type_names[kind] for _, kind in graph.nodes(data="type")] == [
        "input",
        *("gcn", "gat", "skip", "fc"),
        "output",
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        ("gcn~0", "there are not four nodes"),
        ("gcn~0|gcn~1|gcn~2|lstm~3", "node 4 has the operation 'lstm'"),
        ("gcn~0|gcn~2|gcn~2|gcn~3", "node 2 reads '2', neither 0 nor an earlier node"),
        ("gcn~0|gcn|gcn~2|gcn~3", "node 2 reads ''"),
        ("skip~0|skip~1|skip~2|skip~3", "of which skips are only the first"),
        ("gcn~0|skip~1|gcn~2|gcn~3", "of which skips are only the first"),
        ("gcn~0|gcn~0|gcn~0|skip~0", "of which skips are only the first"),
    ],
)
def test_a_text_that_is_no_architecture_is_refused(text, message):
    with pytest.raises(ValueError, match=f"Text 2 of 2: Not a NAS-Bench-Graph architecture: .*{message}"):
        SPACE.to_batch(["gcn~0|gcn~1|gcn~2|gcn~3", text])


def changed(batch, **edges):
    adjacency = batch.adjacency.clone()
    for name, value in edges.items():
        adjacency[:, int(name[1]), int(name[2])] = value
    return DagBatch(batch.types, adjacency, batch.num_vertices)


def test_valid_are_trees_whose_leaves_the_output_reads():
    chain = SPACE.to_batch(["gcn~0|gat~1|fc~2|gin~3"])
    movable = SPACE.from_choices([[1, 2, 3, 1, 8, 1, 1]])  # of a skip that the space has elsewhere
    short = DagBatch(
        torch.tensor([[0, 3, 1]]), torch.tensor([[[0, 1, 0], [0, 0, 1], [0, 0, 0]]]).bool(), torch.tensor([3])
    )
    for batch, inside in ((chain, True), (movable, False), (short, False)):
        assert SPACE.is_valid(batch.pad_to(8)).all() and bool(SPACE.contains(batch.pad_to(8))) == inside
    empty = DagBatch(torch.tensor([[0, 1]]), torch.zeros(1, 2, 2).bool(), torch.tensor([2]))
    wrong = [changed(chain, e02=True), changed(chain, e12=False), changed(chain, e15=True), changed(chain, e45=False)]
    wrong += [changed(chain, e05=True), empty, changed(empty, e01=True)]
    for batch in wrong:
        assert not SPACE.is_valid(batch).any() and not SPACE.contains(batch).any()
        assert SPACE.index(batch).tolist() == [-1]
        with pytest.raises(ValueError, match="not architectures of the space nasbenchgraph"):
            SPACE.choices(batch)


def test_neighbours_are_one_operation_or_one_source_away_both_ways():
    rows = np.random.default_rng(1).integers(0, SPACE.size, 40)
    for row, others in zip(rows.tolist(), SPACE.neighbor_rows(rows)):
        nodes = [tuple(node.split("~")) for node in TEXTS[row].split("|")]
        changed = [(v, (other, nodes[v][1])) for v in range(4) for other in OPERATIONS]
        changed += [(v, (nodes[v][0], str(u))) for v in range(4) for u in range(5)]
        graphs = ["|".join("~".join(node) for node in [*nodes[:v], new, *nodes[v + 1 :]]) for v, new in changed]
        expected = [tree(text) for text in graphs if text.count("~") == len(re.findall(r"\('", str(tree(text))))]
        expected = {str(branches) for branches in expected if kept(branches)} - {str(tree(TEXTS[row]))}
        assert {str(tree(TEXTS[other])) for other in others.tolist()} == expected
        assert all(row in back for back in SPACE.neighbor_rows(others))
    assert np.array_equal(SPACE.index(SPACE.neighbors(EVERY[rows[:1]])[0]), SPACE.neighbor_rows(rows[:1])[0])
    with pytest.raises(ValueError, match="from 0 to 26205, not 26206"):
        SPACE.neighbor_rows([26_206])


def test_twins_that_are_left():
    def twice(branches):
        leaves = [operation for operation, hanging in branches if not hanging]
        return leaves.count("skip") > 1 or any(twice(hanging) for _, hanging in branches)

    assert sum(twice(tree(text)) for text in TEXTS) == 208


def test_flops_are_weights_and_params_have_biases():
    one = SPACE.to_batch(["skip~0|skip~1|gat~2|cheb~3"])
    features, width, classes = 1433, 256, 7
    weights = features * width + 2 * width**2 + width**2 + width * classes
    assert SPACE.flops(one).tolist() == [weights]
    assert SPACE.params(one).tolist() == [weights + 3 * width + width + 8 * width + width + classes]
    assert SETTINGS["cora"] == Setting(features, width, classes, after=True)
    with pytest.raises(ValueError, match="has no data set 'ppi'; those it has are cora, "):
        SPACE.params(one, "ppi")


def test_searches_run_on_it():
    domain = table_domain(SPACE)
    for make in (RegularisedEvolution, LocalSearch, EnsembleSearch):
        check_searcher(make, domain, 20)


# the table

BEST = {  # validation accuracy of the best, Spearman of validation and test, of recorded parameters and test
    "cora": (81.93, 0.732, 0.153),
    "citeseer": (72.80, 0.928, 0.209),
    "pubmed": (81.13, 0.539, 0.071),
    "cs": (92.13, 0.962, 0.137),
    "physics": (94.00, 0.868, 0.142),
    "photo": (94.07, 0.914, 0.126),
    "computers": (91.90, 0.723, 0.077),
    "arxiv": (73.67, 0.974, 0.182),
}


@pytest.mark.slow
def test_the_table_keeps_its_contract_and_has_the_published_numbers(table):
    check_benchmark(table)
    assert isinstance(table, Table) and len(table) == 26_206 and table.known.all()
    for task in table.tasks.values():
        dataset = task.id.removeprefix("nbgraph.")
        valid, test, params = (table.table[f"{dataset}/{name}"] for name in ("valid", "test", "params"))
        best, signals, size = BEST.pop(dataset)
        assert valid.max() == pytest.approx(best, abs=0.005) and (table.table[f"{dataset}/latency"] > 0).all()
        assert valid.corr(test, method="spearman") == pytest.approx(signals, abs=6e-4)
        assert params.corr(test, method="spearman") == pytest.approx(size, abs=6e-4)
    assert not BEST and table.signals[:2] == ("cora/valid", "cora/test")


@pytest.mark.slow
def test_parameters_on_record_are_those_counted(table):
    for dataset in module.FILES:
        same = np.isclose(SPACE.params(EVERY, dataset).numpy(), table.table[f"{dataset}/params"], rtol=0, atol=0.01)
        assert (~same).sum() == (1_567 if dataset == "physics" else 0), dataset


def test_entries_belong_to_their_architectures(table):
    file = table.files()[0]
    with open(file, "rb") as stream:
        stored = load_arrays(stream, file)
    [row] = SPACE.index(SPACE.to_batch(["arma~0|skip~1|gat~1|fc~3"]))  # also [0, 1, 1, 2] with gat, skip, fc
    assert TEXTS[row] == "arma~0|gat~1|skip~1|fc~2"
    assert table.table["cora/test"][row] == round(100 * stored[65087]["perf"], 5)  # 6: the seventh of nine shapes


def test_files_that_are_not_the_right_ones_are_refused_and_no_code_is_run(tmp_path, monkeypatch):
    folder = tmp_path / module.PACKAGE / "light"
    folder.mkdir(parents=True)
    (tmp_path / module.PACKAGE / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, module.PACKAGE, raising=False)  # another test may have imported the real one
    (folder / "cora.bench").write_bytes(pickle.dumps({1111: print}))
    with pytest.raises(DataError, match=r"cora.bench is damaged.*pip install nas-bench-graph==1.4.0 --force-reinstall"):
        module.load()
    checksum = pooch.file_hash(str(folder / "cora.bench"))
    monkeypatch.setitem(module.FILES, "cora", ("Cora", checksum))
    monkeypatch.setattr(module.download, "check", lambda path, expected, remedy: checksum)
    with pytest.raises(DataError, match=r"asks for builtins.print"):
        module.load()
    assert module.PACKAGE not in sys.modules


def test_without_the_package_one_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"authors' package, which is not here.*pip install nas-bench-graph==1.4.0"):
        benchmarks.load("nasbenchgraph", "public")
