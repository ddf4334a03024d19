"""The NAS-Bench-101 space: text, validity, pruning, hashes, enumeration, neighbours and cost, each against a
plain reference.

The first test that needs all cells enumerates them, which takes a minute where the cache is empty.
"""

import hashlib
import itertools
import json

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from latentnas import paths
from latentnas.graphs import DagBatch, canonical_hash, equal, to_networkx
from latentnas.spaces import nasbench101_cells
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench101_cells import official_hashes, read_cells

CONV3, CONV1, POOL = NASBENCH101.type_names[2:]
DIAMOND = (
    '{"matrix": [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], '
    '"ops": ["input", "conv3x3-bn-relu", "maxpool3x3", "output"]}'
)


@pytest.fixture(scope="module")
def cells():
    return NASBENCH101.cells()


def make_batch(graphs, positions=8) -> DagBatch:
    """Graphs given as (types, edges), with so many positions."""
    types = torch.full((len(graphs), positions), -1)
    adjacency = torch.zeros(len(graphs), positions, positions, dtype=torch.bool)
    for index, (kinds, edges) in enumerate(graphs):
        types[index, : len(kinds)] = torch.tensor(kinds, dtype=torch.long)
        for u, v in edges:
            adjacency[index, u, v] = True
    return DagBatch(types, adjacency, torch.tensor([len(kinds) for kinds, _ in graphs], dtype=torch.int64))


@st.composite
def graphs(draw, changes=3):
    """Graphs of 2 to 8 vertices around a path through all of them, with up to `changes` changes of a type or
    an edge."""
    count = draw(st.integers(2, 8))
    types = [0, *draw(st.lists(st.integers(2, 4), min_size=count - 2, max_size=count - 2)), 1]
    forward = [(u, v) for v in range(count) for u in range(v)]
    edges = {(v, v + 1) for v in range(count - 1)}
    edges |= set(draw(st.lists(st.sampled_from(forward), max_size=5)))
    for _ in range(draw(st.integers(0, changes))):
        if draw(st.integers(0, 3)) == 0:
            types[draw(st.integers(0, count - 1))] = draw(st.integers(0, 5))
        else:
            edges ^= {draw(st.sampled_from(forward))}
    return types, sorted(edges)


def on_paths(count: int, edges) -> set[int]:
    """Vertices on a path from the first to the last, with networkx."""
    graph = networkx.DiGraph(list(edges))
    graph.add_nodes_from(range(count))
    reached = networkx.descendants(graph, 0) | {0}
    return reached & (networkx.ancestors(graph, count - 1) | {count - 1})


# text <-> graphs


def test_diamond_has_the_edges_its_matrix_says():
    batch = NASBENCH101.to_batch([DIAMOND])
    assert batch.types.tolist() == [[0, 2, 4, 1, -1, -1, -1]] and batch.num_vertices.tolist() == [4]
    assert batch.adjacency[0].nonzero().tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]


@given(st.lists(graphs(changes=0), max_size=5))
def test_graph_to_text_to_graph(drawn):
    batch = make_batch(drawn, positions=8)
    batch = batch[NASBENCH101.contains(batch)]
    texts = NASBENCH101.to_strings(batch)
    again = NASBENCH101.to_batch(texts)
    assert torch.equal(batch.num_vertices, again.num_vertices) and again.max_vertices == 7
    assert torch.equal(batch.types[:, :7], again.types)
    assert torch.equal(batch.adjacency[:, :7, :7], again.adjacency)
    assert NASBENCH101.to_strings(again) == texts
    assert NASBENCH101.to_strings(NASBENCH101.to_batch([f" {text.replace(' ', '')}" for text in texts])) == texts


def text_of(matrix, operations) -> str:
    return json.dumps({"matrix": matrix, "ops": operations})


TEN_EDGES = np.triu(np.ones((5, 5), dtype=int), 1).tolist()
EIGHT = np.eye(8, k=1, dtype=int).tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            DIAMOND.replace("[[0, 1, 1", "[[0, 1, 2"),
            "in matrix, row 1, position 3, is 2 instead of a whole number from 0 to 1",
        ),
        (DIAMOND.replace("[[0, 1, 1", "[[0, 1, true"), "in matrix, row 1, position 3, is True"),
        (DIAMOND.replace("[[0, 1, 1", "[[0, 1, 1.0"), r"in matrix, row 1, position 3, is 1\.0"),
        (
            DIAMOND.replace("[[0, 1, 1, 0]", "[[0, 1, 1]"),
            r"in matrix, row 1 is \[0, 1, 1\] instead of a list of length 4",
        ),
        (DIAMOND.replace("[[0, 1, 1, 0], ", "["), "in matrix, there are 3 rows instead of 4"),
        (
            DIAMOND.replace("[[0, 1, 1, 0], [0, 0, 0, 1]", "[[0, 1, 1, 0], 7"),
            "in matrix, row 2 is 7 instead of a list of length 4",
        ),
        (DIAMOND.replace("[[0, 1", "[[1, 1"), r"vertex 0 .* has an edge that does not lead to a later vertex"),
        (DIAMOND.replace("[0, 0, 0, 0]]", "[0, 1, 0, 0]]"), r"vertex 3 .* has an edge that does not lead"),
        (DIAMOND.replace("maxpool3x3", "conv5x5-bn-relu"), r"ops\[2\] is 'conv5x5-bn-relu', not one of"),
        (DIAMOND.replace('"maxpool3x3"', "4"), r"ops\[2\] is 4, not one of"),
        (DIAMOND.replace('"input", ', ""), "in matrix, there are 4 rows instead of 3"),
        (DIAMOND.replace('"input"', '"maxpool3x3"'), r"vertex 0 .*; maxpool3x3\) is not the input"),
        (DIAMOND.replace('"output"', '"maxpool3x3"'), r"vertex 3 .*; maxpool3x3\) is not the output"),
        (DIAMOND.replace('"maxpool3x3"', '"output"'), r"vertex 2 .*; output\) is no operation"),
        (DIAMOND.replace("[[0, 1, 1, 0]", "[[0, 1, 0, 0]"), r"vertex 2 .* is on no path .*prune"),
        (DIAMOND.replace("[[0, 1, 1, 0]", "[[0, 0, 0, 0]"), r"vertex 0 .* is on no path from the input to the output"),
        (
            text_of(TEN_EDGES, ["input", CONV3, CONV3, CONV3, "output"]),
            "it has 5 vertices and 10 edges instead of 2 to 7 vertices and at most 9 edges",
        ),
        (text_of(EIGHT, ["input", *[POOL] * 6, "output"]), r"ops is not a list of 2 to 7 operations"),
        (text_of([[0]], ["input"]), r"ops is not a list of 2 to 7 operations"),
        (DIAMOND.replace('"ops"', '"operations"'), r"no JSON object with the keys matrix and ops"),
        (DIAMOND[:-1], r"JSON cannot be read \(.* column \d+ "),
        ("9" * 5000, "JSON cannot be read .*digits"),
        ("[" * 100_000, "JSON cannot be read .*recursion"),
        (DIAMOND.replace("{", '{"ops": [], '), "a key is there twice"),
        (DIAMOND.replace("[[0", "[[" + "9" * 4000), r"row 1, position 1, is 9{97}\.\.\. instead"),
        (DIAMOND.replace("maxpool3x3", "m" * 5000), r"ops\[2\] is 'm{96}\.\.\., not one of"),
        ("", r"JSON cannot be read \(.* column 1 .* in ''"),
        (None, r"no text in None"),
        ("[[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]]", r"no JSON object"),
        ("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|none~2|", "JSON cannot be read .* column 1 "),
    ],
)
def test_malformed_foreign_and_invalid_texts_are_named(text, message):
    with pytest.raises(ValueError, match=message) as error:
        NASBENCH101.to_batch([DIAMOND, text])
    assert str(error.value).startswith("Text 2 of 2: Not a NAS-Bench-101 cell: ")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_one_text_is_no_list_of_texts():
    with pytest.raises(TypeError, match=r"write \[text\]"):
        NASBENCH101.to_batch(DIAMOND)


# validity and pruning


def plain_is_valid(types, edges) -> bool:
    ends = len(types) >= 2 and types[0] == 0 and types[-1] == 1
    connected = on_paths(len(types), edges) == set(range(len(types)))
    return ends and all(kind in (2, 3, 4) for kind in types[1:-1]) and connected


@settings(max_examples=150)
@given(st.lists(graphs(), min_size=1, max_size=8))
def test_validity_and_membership_equal_networkx(drawn):
    batch = make_batch(drawn)
    valid = [plain_is_valid(*graph) for graph in drawn]
    small = [len(types) <= 7 and len(edges) <= 9 for types, edges in drawn]
    assert NASBENCH101.is_valid(batch).tolist() == valid
    assert NASBENCH101.contains(batch).tolist() == [v and s for v, s in zip(valid, small, strict=True)]


@pytest.mark.parametrize(
    ("types", "edges"),
    [
        pytest.param([0, 2, 1], [(0, 1), (1, 2), (1, 1)], id="loop"),
        pytest.param([0, 2, 3, 1], [(0, 1), (1, 2), (2, 1), (2, 3)], id="cycle"),
        pytest.param([0, 2, 1], [(0, 1), (1, 2), (1, 5)], id="edge to an absent vertex"),
        pytest.param([0, 2, 1], [(0, 1), (1, 2), (4, 5)], id="edge between absent vertices"),
        pytest.param([0, -1, 1], [(0, 1), (1, 2)], id="vertex without type"),
        pytest.param([0], [], id="one vertex"),
        pytest.param([], [], id="no vertices"),
    ],
)
def test_other_invalid_graphs_are_refused(types, edges):
    batch = make_batch([([0, 1], [(0, 1)]), (types, edges)])
    assert NASBENCH101.is_valid(batch).tolist() == [True, False]
    assert NASBENCH101.index(batch).tolist()[1] == -1
    for refuses in (NASBENCH101.params, NASBENCH101.to_strings, NASBENCH101.official_hash):
        with pytest.raises(ValueError, match="1 of 2 graphs .* index 1") as error:
            refuses(batch)
        assert "\n" not in str(error.value)


@settings(max_examples=100)
@given(st.lists(graphs(changes=5), min_size=1, max_size=8))
def test_pruning_equals_networkx(drawn):
    expected = []
    for types, edges in drawn:
        kept = sorted(on_paths(len(types), edges))
        place = {vertex: number for number, vertex in enumerate(kept)}
        inner = [(place[u], place[v]) for u, v in edges if u in place and v in place]
        expected.append(([types[vertex] for vertex in kept], inner))
    pruned, expected = NASBENCH101.prune(make_batch(drawn)), make_batch(expected)
    assert equal(pruned, expected).all() and torch.equal(pruned.num_vertices, expected.num_vertices)
    assert equal(NASBENCH101.prune(pruned), pruned).all()


# hashes


def plain_hash(types, edges) -> str:
    """The MD5 graph hash of one graph, written for reading."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    before = [sorted(u for u, v in edges if v == vertex) for vertex in range(len(types))]
    after = [sorted(v for u, v in edges if u == vertex) for vertex in range(len(types))]
    labels = [{0: -1, 1: -2}.get(kind, kind - 2) for kind in types]
    hashes = [md5(f"({len(o)}, {len(i)}, {label})") for i, o, label in zip(before, after, labels, strict=True)]
    for _ in types:
        hashes = [
            md5("".join(sorted(hashes[u] for u in i)) + "|" + "".join(sorted(hashes[v] for v in o)) + "|" + own)
            for i, o, own in zip(before, after, hashes, strict=True)
        ]
    return md5(str(sorted(hashes)))


@settings(max_examples=100)
@given(st.lists(graphs(changes=0), min_size=1, max_size=8))
def test_official_hash_equals_the_plain_one(drawn):
    assert NASBENCH101.official_hash(make_batch(drawn)) == [plain_hash(*graph) for graph in drawn]


def test_official_hash_of_some_rows(cells):
    rows = np.random.default_rng(0).integers(0, len(cells), 200)
    batch = cells.batch(rows)
    expected = [
        plain_hash(batch.types[i, : batch.num_vertices[i]].tolist(), batch.adjacency[i].nonzero().tolist())
        for i in range(len(rows))
    ]
    assert cells.hashes(rows) == NASBENCH101.official_hash(batch) == expected


# all cells


def test_published_counts_and_first_row(cells):
    assert len(cells) == NASBENCH101.size == 423_624
    hashes = cells.hashes()
    assert hashes[0] == "00005c142e6f48ac74fdcf73e3439874" and cells.params[0] == 8_555_530
    assert hashes == sorted(hashes) and len(set(hashes)) == len(np.unique(cells.canonical)) == 423_624
    assert all(
        NASBENCH101.contains(cells.batch(slice(begin, begin + 50_000))).all() for begin in range(0, 423_624, 50_000)
    )


def test_ways_to_write_a_cell():
    """The edge patterns against all subsets of edges, and the published number of labelled graphs."""
    for count in range(2, 6):
        pairs = [(u, v) for v in range(count) for u in range(v)]
        expected = 0
        for size in range(10):
            expected += sum(len(on_paths(count, edges)) == count for edges in itertools.combinations(pairs, size))
        assert len(nasbench101_cells._edge_patterns(count)) == expected
    labelled = [len(nasbench101_cells._edge_patterns(count)) * 3 ** (count - 2) for count in range(2, 8)]
    assert sum(labelled) == 1_293_208


@pytest.mark.slow
def test_canonical_hash_is_as_fine_as_the_official_one(cells):
    """Both have 423,624 values on the kept cells; here every way to write small cells, and many to write
    large ones, is looked up by one and hashed by the other."""
    written = nasbench101_cells._labelled_cells()
    chosen = np.random.default_rng(1).integers(0, len(written[0]), 10_000)
    chosen = np.concatenate([np.flatnonzero(written[0] <= 5), chosen])
    batch = nasbench101_cells._graphs(*(array[chosen] for array in written))
    rows = cells.find(batch)
    assert (rows >= 0).all() and len(np.unique(rows)) > 9_000
    assert cells.hashes(rows) == official_hashes(batch)


@settings(max_examples=50)
@given(graphs(changes=0), st.randoms())
def test_renumbered_cells_have_the_same_row(drawn, random):
    batch = make_batch([drawn])
    graph = to_networkx(batch, 0)
    order, ready = [], [0]
    while ready:  # a random topological order
        vertex = ready.pop(random.randrange(len(ready)))
        order.append(vertex)
        ready += [v for v in graph.successors(vertex) if set(graph.predecessors(v)) <= set(order)]
    place = {vertex: number for number, vertex in enumerate(order)}
    again = make_batch([([drawn[0][v] for v in order], [(place[u], place[v]) for u, v in drawn[1]])])
    row = NASBENCH101.index(batch)
    assert NASBENCH101.index(again) == row and (row[0] >= 0) == bool(NASBENCH101.contains(batch))
    assert NASBENCH101.official_hash(again) == NASBENCH101.official_hash(batch)


def test_rows_of_batches_of_any_width(cells):
    small = cells.batch(np.flatnonzero(cells.num_vertices == 4))
    narrow = DagBatch(small.types[:, :4], small.adjacency[:, :4, :4], small.num_vertices)
    assert np.array_equal(NASBENCH101.index(narrow), np.flatnonzero(cells.num_vertices == 4))
    wide = DagBatch(
        nn.functional.pad(small.types, (0, 3), value=-1),
        nn.functional.pad(small.adjacency, (0, 3, 0, 3)),
        small.num_vertices,
    )
    assert np.array_equal(NASBENCH101.index(wide), NASBENCH101.index(narrow))
    assert NASBENCH101.index(small[:0]).shape == (0,)


def test_sampling_is_seeded_and_uniform(cells):
    batch = NASBENCH101.sample(20_000, seed=1)
    assert equal(batch, NASBENCH101.sample(20_000, seed=1)).all()
    assert not equal(batch, NASBENCH101.sample(20_000, seed=2)).all()
    rows = NASBENCH101.index(batch)
    assert abs(rows.mean() / 423_624 - 0.5) < 0.011  # five standard errors
    for count in (6, 7):
        expected = np.mean(cells.num_vertices == count)
        assert abs((batch.num_vertices == count).double().mean() - expected) < 0.018


# the file of cells


def test_cells_are_read_from_their_file(cells):
    kept = read_cells(paths.CACHE / nasbench101_cells.CACHE_FILE)
    assert all(np.array_equal(column, getattr(cells, name)) for name, column in vars(kept).items())


def test_a_damaged_file_of_cells_is_not_believed(cells, tmp_path):
    whole = (paths.CACHE / nasbench101_cells.CACHE_FILE).read_bytes()
    path = tmp_path / "cells.npz"
    assert read_cells(path) is None
    for content in (b"", b"not a zip file", whole[:-1000], whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert read_cells(path) is None
    stored = {name: getattr(cells, name) for name in nasbench101_cells.Cells.__annotations__}
    for wrong in (
        {"params": cells.params + 1},
        {"canonical": cells.canonical[::-1]},
        {"edges": cells.edges[:-1]},
        {"flops": None},
    ):
        kept = {name: array for name, array in (stored | wrong).items() if array is not None}
        np.savez(path, **kept)
        assert read_cells(path) is None
    np.savez(path, **stored)
    assert read_cells(path) is not None


def test_cells_that_cannot_be_kept_are_used_all_the_same(cells, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("a file where the cache should be")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "file")
    monkeypatch.setattr(nasbench101_cells, "compute_cells", lambda: cells)
    assert nasbench101_cells.all_cells.__wrapped__() is cells
    assert "could not be kept for next time" in capsys.readouterr().err


# neighbours


def plain_neighbors(batch: DagBatch) -> set[str]:
    """Hashes of all cells one change away from the one graph, with networkx."""
    graph, found = to_networkx(batch, 0), []
    last = graph.number_of_nodes() - 1
    for vertex, kind in itertools.product(range(1, last), (2, 3, 4)):
        if graph.nodes[vertex]["type"] != kind:
            found.append(graph.copy())
            found[-1].nodes[vertex]["type"] = kind
    for u, v in itertools.permutations(range(last + 1), 2):
        changed = graph.copy()
        if graph.has_edge(u, v):
            changed.remove_edge(u, v)
        else:
            changed.add_edge(u, v)
        ends_kept = changed.in_degree(0) == changed.out_degree(last) == 0
        if ends_kept and networkx.is_directed_acyclic_graph(changed):
            found.append(changed)
    hashes = set()
    for changed in found:
        kept = (networkx.descendants(changed, 0) | {0}) & (networkx.ancestors(changed, last) | {last})
        changed = changed.subgraph(kept)
        if 0 in kept and changed.number_of_edges() <= 9:
            place = {vertex: number for number, vertex in enumerate(networkx.topological_sort(changed))}
            types = [changed.nodes[vertex]["type"] for vertex in place]
            hashes.add(plain_hash(types, [(place[u], place[v]) for u, v in changed.edges]))
    return hashes


def test_neighbours_equal_a_plain_search(cells):
    rows = np.random.default_rng(2).integers(0, len(cells), 20)
    rows = np.concatenate([rows, np.flatnonzero(cells.num_vertices <= 3)])
    found = NASBENCH101.neighbor_rows(rows)
    for row, neighbours in zip(rows, found, strict=True):
        assert set(cells.hashes(neighbours)) == plain_neighbors(cells.batch([row])), row
        assert len(set(neighbours)) == len(neighbours) > 0 or cells.num_vertices[row] == 2
        assert row not in neighbours


def test_neighbours_of_the_same_size_are_mutual(cells):
    row = 1000
    same = [n for n in NASBENCH101.neighbor_rows([row])[0] if cells.num_vertices[n] == cells.num_vertices[row]]
    assert len(same) > 5 and all(row in back for back in NASBENCH101.neighbor_rows(same))


def test_rows_are_whole_numbers_inside_the_table():
    assert np.array_equal(NASBENCH101.neighbor_rows(np.int32(5))[0], NASBENCH101.neighbor_rows([5])[0])
    assert NASBENCH101.neighbor_rows([]) == []
    for wrong, message in (([423_624], "not 423624"), ([3, -1], "not -1"), ([0.5], "float64"), ([True], "bool")):
        with pytest.raises(ValueError, match=message):
            NASBENCH101.neighbor_rows(wrong)


def test_neighbours_of_graphs_are_those_of_their_rows(cells):
    rows = [5, 1000]
    batch = cells.batch(rows).pad_to(9)
    found = [NASBENCH101.index(graphs).tolist() for graphs in NASBENCH101.neighbors(batch)]
    assert found == [around.tolist() for around in NASBENCH101.neighbor_rows(rows)]
    with pytest.raises(ValueError, match="1 of 1 graphs .* index 0"):
        NASBENCH101.neighbors(make_batch([([0, 2, 1], [(0, 2)])]))


# choices


@pytest.mark.slow
def test_choices_say_the_edges_and_the_operations(cells):
    choices = NASBENCH101.choices(NASBENCH101.to_batch([DIAMOND]))
    assert choices.tolist() == [[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0]]
    batch = cells.batch(np.arange(0, 423_624, 1000))
    choices, edges = NASBENCH101.choices(batch.pad_to(9)), np.triu_indices(7, 1)
    assert np.array_equal(choices[:, :21], batch.adjacency.numpy()[:, *edges])
    assert np.array_equal(choices[:, 21:], np.where(batch.types > 1, batch.types - 1, 0)[:, 1:6])
    assert len(np.unique(NASBENCH101.choices(NASBENCH101.enumerate()), axis=0)) == 423_624


# cost: the benchmark's network, built and measured


def convolution(inputs: int, outputs: int, kernel: int) -> nn.Module:
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU())


class Cell(nn.Module):
    """One cell of the network, from its operations and edges, with channels counted one vertex at a time."""

    def __init__(self, operations, edges, inputs: int, outputs: int):
        super().__init__()
        self.last, self.edges = len(operations) - 1, edges
        self.width = self.widths(outputs)
        self.operations, self.projections = nn.ModuleDict(), nn.ModuleDict()
        for vertex in range(1, self.last):
            width = self.width[vertex]
            kernel = {CONV3: 3, CONV1: 1}.get(operations[vertex])
            self.operations[str(vertex)] = convolution(width, width, kernel) if kernel else nn.MaxPool2d(3, 1, 1)
        for vertex in self.readers(0):
            self.projections[str(vertex)] = convolution(inputs, self.width[vertex], 1)

    def readers(self, vertex):
        return sorted(v for u, v in self.edges if u == vertex)

    def widths(self, outputs: int) -> dict[int, int]:
        read_by_output = [u for u, v in self.edges if v == self.last and u > 0]
        width = {self.last: outputs}
        for place, vertex in enumerate(sorted(read_by_output)):
            width[vertex] = outputs // len(read_by_output) + (place < outputs % len(read_by_output))
        for vertex in reversed(range(1, self.last)):
            if vertex not in width:
                width[vertex] = max(width[reader] for reader in self.readers(vertex))
        return width

    def forward(self, x):
        values = {}
        for vertex in range(1, self.last):
            total = sum(values[u][:, : self.width[vertex]] for u, v in self.edges if v == vertex and u > 0)
            if str(vertex) in self.projections:
                total = total + self.projections[str(vertex)](x)
            values[vertex] = self.operations[str(vertex)](total)
        read = [values[u] for u in sorted(values) if (u, self.last) in self.edges]
        output = torch.cat(read, 1) if read else 0
        if str(self.last) in self.projections:
            output = output + self.projections[str(self.last)](x)
        return output


def build(cell: dict) -> nn.Module:
    edges = [tuple(edge) for edge in np.argwhere(cell["matrix"]).tolist()]
    layers = [convolution(3, 128, 3)]
    for stack, channels in enumerate((128, 256, 512)):
        layers += [nn.MaxPool2d(2)] if stack else []
        for inputs in (max(128, channels // 2), channels, channels):
            layers.append(Cell(cell["ops"], edges, inputs, channels))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def measure(network: nn.Module) -> tuple[int, int]:
    """(multiply-adds of all convolutions and linear layers in one forward pass, parameters), without doing
    the arithmetic."""
    counted = []

    def count(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            counted.append(output.numel() * module.in_channels * module.kernel_size[0] ** 2)
        elif isinstance(module, nn.Linear):
            counted.append(output.numel() * module.in_features)

    for module in network.modules():
        module.register_forward_hook(count)
    network.eval()(torch.zeros(1, 3, 32, 32, device="meta"))
    return sum(counted), sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.slow
def test_flops_and_parameters_equal_a_built_network(cells):
    rows = np.concatenate([np.flatnonzero(cells.num_vertices <= 3), np.arange(0, 423_624, 30_000)])
    batch = cells.batch(rows)
    expected = []
    for text in NASBENCH101.to_strings(batch):
        with torch.device("meta"):  # shapes only
            expected.append(measure(build(json.loads(text))))
    flops, params = NASBENCH101.flops(batch).tolist(), NASBENCH101.params(batch).tolist()
    assert list(zip(flops, params, strict=True)) == expected
    assert (cells.flops[rows].tolist(), cells.params[rows].tolist()) == (flops, params)


def test_empty_batch():
    empty = NASBENCH101.to_batch([])
    assert len(empty) == 0 and NASBENCH101.to_strings(empty) == [] and NASBENCH101.official_hash(empty) == []
    assert NASBENCH101.flops(empty).shape == NASBENCH101.contains(empty).shape == (0,)
    assert len(NASBENCH101.prune(empty)) == 0 and NASBENCH101.neighbors(empty) == []


def test_hash_of_a_foreign_type_is_refused():
    with pytest.raises(ValueError, match=r"vertex 1 .*; of type 9\) is no operation"):
        NASBENCH101.official_hash(make_batch([([0, 9, 1], [(0, 1), (1, 2)])]))


def test_larger_cells_are_valid_but_not_in_the_space():
    chain = make_batch([([0, *[2] * 6, 1], [(v, v + 1) for v in range(7)])])
    assert NASBENCH101.is_valid(chain).all() and not NASBENCH101.contains(chain).any()
    assert NASBENCH101.index(chain).tolist() == [-1] and len(canonical_hash(chain)) == 1
    with pytest.raises(
        ValueError, match="it has 8 vertices and 7 edges instead of 2 to 7 vertices and at most 9 edges"
    ):
        NASBENCH101.params(chain)
