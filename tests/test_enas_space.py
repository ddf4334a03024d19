"""The ENAS space: text and graphs, D-VAE's validity rules, and the exact cost of the stated network."""

import json

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from latentnas.graphs import DagBatch, canonical_hash, equal
from latentnas.spaces.enas import ENAS

EXAMPLE = "[[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]]"

architectures = st.tuples(
    *[st.tuples(st.integers(0, 5), *[st.integers(0, 1)] * row).map(list) for row in range(6)]
).map(list)


# text <-> graphs


def test_example_has_the_edges_its_flags_say():
    batch = ENAS.to_batch([EXAMPLE])
    assert batch.types.tolist() == [[0, 3, 6, 7, 2, 4, 5, 1]]
    backbone = {(i, i + 1) for i in range(7)}
    skips = {(0, 4), (1, 4), (2, 4), (0, 5), (1, 5), (2, 5), (3, 5), (4, 6)}
    assert {tuple(edge) for edge in batch.adjacency[0].nonzero().tolist()} == backbone | skips


@given(st.lists(architectures, min_size=1, max_size=5))
def test_text_to_graph_to_text(rows):
    texts = [str(row) for row in rows]
    assert ENAS.to_strings(ENAS.to_batch(texts)) == texts


@given(st.integers(0, 2**32 - 1), st.integers(0, 20))
def test_graph_to_text_to_graph(seed, count):
    batch = ENAS.sample(count, seed)
    again = ENAS.to_batch(ENAS.to_strings(batch))
    assert equal(batch, again).all() and torch.equal(batch.num_vertices, again.num_vertices)


@given(architectures)
def test_text_becomes_canonical(rows):
    texts = [str(rows).replace(" ", ""), "  " + str(rows).replace(",", " , ")]
    assert ENAS.to_strings(ENAS.to_batch(texts)) == [str(rows)] * 2


@given(architectures, architectures)
def test_two_texts_are_isomorphic_only_when_equal(first, second):
    hashes = canonical_hash(ENAS.to_batch([str(first), str(second)]))
    assert (hashes[0] == hashes[1]) == (first == second)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EXAMPLE.replace("[5, 0, 0]", "[6, 0, 0]"), r"row 3, position 1, is 6 .* from 0 to 5"),
        (EXAMPLE.replace("[5, 0, 0]", "[5, 0, 2]"), r"row 3, position 3, is 2 .* from 0 to 1"),
        (EXAMPLE.replace("[5, 0, 0]", "[5, 0, -1]"), r"row 3, position 3, is -1"),
        (EXAMPLE.replace("[5, 0, 0]", "[5, 0, 0.0]"), r"row 3, position 3, is 0\.0"),
        (EXAMPLE.replace("[5, 0, 0]", "[5, 0, true]"), r"row 3, position 3, is True"),
        (EXAMPLE.replace("[5, 0, 0]", "[5, 0]"), r"row 3 is \[5, 0\] instead of a list of length 3"),
        (EXAMPLE.replace("[5, 0, 0]", "5"), r"row 3 is 5 instead of a list of length 3"),
        (EXAMPLE.replace("[1], ", ""), r"there are 5 rows instead of 6"),
        (EXAMPLE.replace("[5, 0, 0]", "[5, 0, 0"), r"JSON cannot be read \(.* column \d+ "),
        (EXAMPLE + ", 0.7", "JSON cannot be read .* column 76 "),
        ("7", r"there are no rows instead of 6"),
        ("", r"JSON cannot be read \(.* column 1 .* in ''"),
        ("[" * 100_000, "JSON cannot be read .*recursion"),
        (EXAMPLE.replace("[1]", "9" * 5000), "JSON cannot be read .*digits"),
        (EXAMPLE.replace("[1]", "[" + "9" * 4000 + "]"), r"row 1, position 1, is 9{97}\.\.\. instead"),
        (EXAMPLE.replace("[1]", "[" * 300 + "]" * 300), r"row 1, position 1, is \[{97}\.\.\. instead"),
        (EXAMPLE.replace("[1]", str([1] * 2000)), r"row 1 is \[1, .*\.\.\. instead of a list of length 1"),
        (EXAMPLE.replace("[1]", '{"a": 0, "a": 1}'), "a key is there twice"),
        ("|nor_conv_3x3~0|+|none~0|none~1|", r"JSON cannot be read \(.* column 1 .* in '\|nor_conv"),
    ],
)
def test_malformed_text_names_the_place(text, message):
    with pytest.raises(ValueError, match=message) as error:
        ENAS.to_batch([EXAMPLE, text])
    assert str(error.value).startswith("Text 2 of 2: Not an ENAS architecture: ")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_sampling_is_seeded_and_uniform():
    batch = ENAS.sample(30_000, seed=1)
    assert equal(batch, ENAS.sample(30_000, seed=1)).all()
    assert not equal(batch, ENAS.sample(30_000, seed=2)).all()
    assert ENAS.contains(batch).all()
    operations = torch.nn.functional.one_hot(batch.types[:, 1:7] - 2, 6).double().mean(0)
    assert (operations - 1 / 6).abs().max() < 0.012  # five standard errors
    skips = batch.adjacency[:, :6, 1:7].double().mean(0).triu(1)
    assert ((skips - 0.5).abs()[skips > 0] < 0.016).all() and (skips > 0).sum() == 15
    assert ENAS.size == 1_528_823_808


@pytest.mark.parametrize("layers", [1, 5, 8])
def test_other_numbers_of_layers_follow_the_same_rules(layers):
    batch = ENAS.sample(2_000, 0, layers)
    assert batch.max_vertices == layers + 2 and equal(batch, ENAS.sample(2_000, 0, layers)).all()
    assert ENAS.is_valid(batch).all() and not ENAS.contains(batch).any()
    assert set(batch.types[:, 1:-1].unique().tolist()) == set(range(2, 8))
    free = torch.ones(layers + 1, layers + 1).triu(2).bool()  # what may be a skip connection: not into the output
    share = batch.adjacency[:, :-1, :-1].double().mean(0)
    assert ((share[free] - 0.5).abs() < 0.06).all()
    assert (
        share[~free & torch.ones_like(free).triu(0)]
        == torch.eye(layers + 1).roll(1, 1)[~free & torch.ones_like(free).triu(0)]
    ).all()


def test_an_architecture_has_a_layer():
    with pytest.raises(ValueError, match="at least one layer, but layers=0"):
        ENAS.sample(3, 0, 0)
    with pytest.raises(ValueError, match="at least one layer, but layers=0"):
        ENAS.from_choices([[]], layers=0)


# validity


def plain_is_valid(types: list[int], edges: list[tuple[int, int]]) -> bool:
    """D-VAE's rules on one graph, with networkx."""
    graph = networkx.DiGraph(edges)
    graph.add_nodes_from(range(len(types)))
    return (
        networkx.is_directed_acyclic_graph(graph)
        and all(0 <= kind <= 7 for kind in types)
        and types.count(0) == 1
        and types.count(1) == 1
        and all(graph.in_degree(v) > 0 for v, kind in enumerate(types) if kind != 0)
        and all(graph.out_degree(v) > 0 for v, kind in enumerate(types) if kind != 1)
        and all(graph.has_edge(v, v + 1) for v in range(len(types) - 1))
        and graph.in_degree(len(types) - 1) == 1
    )


def make_batch(graphs: list[tuple[list[int], list[tuple[int, int]]]]) -> DagBatch:
    types = torch.full((len(graphs), 8), -1)
    adjacency = torch.zeros(len(graphs), 8, 8, dtype=torch.bool)
    for index, (kinds, edges) in enumerate(graphs):
        types[index, : len(kinds)] = torch.tensor(kinds, dtype=torch.long)
        for u, v in edges:
            adjacency[index, u, v] = True
    return DagBatch(types, adjacency, torch.tensor([len(kinds) for kinds, _ in graphs], dtype=torch.int64))


BACKBONE = [(i, i + 1) for i in range(7)]
LAYERS = [0, 2, 3, 4, 5, 6, 7, 1]


@pytest.mark.parametrize(
    ("types", "edges", "problem"),
    [
        pytest.param(
            LAYERS, [e for e in BACKBONE if e != (2, 3)] + [(1, 3), (2, 4)], "vertex 2", id="no backbone edge"
        ),
        pytest.param(LAYERS, [*BACKBONE, (3, 7)], r"vertex 7 .* than that of the last layer", id="two into the output"),
        pytest.param([0, 2, 3, 0, 5, 6, 7, 1], BACKBONE, r"vertex 3 .*; input\) is no operation", id="two inputs"),
        pytest.param([0, 2, 3, 1, 5, 6, 7, 1], BACKBONE, r"vertex 3 .*; output\) is no operation", id="two outputs"),
        pytest.param([2, 2, 3, 4, 5, 6, 7, 1], BACKBONE, r"vertex 0 .*; conv3x3\) is not the input", id="no input"),
        pytest.param([0, 2, 3, 4, 5, 6, 7, 2], BACKBONE, r"vertex 7 .*; conv3x3\) is not the output", id="no output"),
        pytest.param([2, 0, 3, 4, 5, 6, 7, 1], BACKBONE, r"vertex 0 .* is not the input", id="input not first"),
        pytest.param([0, 2, 3, 4, 5, 6, 1, 7], BACKBONE, r"vertex 7 .* is not the output", id="output not last"),
        pytest.param(LAYERS, BACKBONE[1:], r"vertex 0 .* no edge to the next", id="input without successors"),
        pytest.param(LAYERS, BACKBONE[:-1], r"vertex 6 .* no edge to the next", id="output without predecessors"),
        pytest.param(
            LAYERS, [*BACKBONE[:-1], (5, 7)], r"vertex 6 .* no edge to the next", id="last layer is a dead end"
        ),
        pytest.param(LAYERS, [*BACKBONE, (4, 4)], r"vertex 4 .* does not lead to a later vertex", id="loop"),
        pytest.param(LAYERS, [*BACKBONE, (5, 2)], r"vertex 5 .* does not lead to a later vertex", id="cycle"),
        pytest.param([0, 2, 9, 4, 5, 6, 7, 1], BACKBONE, r"vertex 2 .*; of type 9\) is no op", id="unknown type"),
        pytest.param([0, 2, -1, 4, 5, 6, 7, 1], BACKBONE, r"vertex 2 .*; of type -1\) is no op", id="without type"),
        pytest.param([0], [], r"vertex 0 .*; input\) is not the output", id="one vertex"),
        pytest.param([], [], "it has 0 vertices and 0 edges instead of 8 vertices", id="no vertices"),
    ],
)
def test_each_kind_of_invalid_graph_is_refused(types, edges, problem):
    batch = make_batch([(LAYERS, BACKBONE), (types, edges)])
    assert ENAS.is_valid(batch).tolist() == [True, False]
    assert ENAS.contains(batch).tolist() == [True, False]
    with pytest.raises(ValueError, match=f"1 of 2 graphs .* index 1: {problem}"):
        ENAS.flops(batch)


def test_edge_to_an_absent_vertex_is_refused():
    batch = make_batch([([0, 2, 3, 1], [(0, 1), (1, 2), (2, 3), (3, 5)])])
    assert not ENAS.is_valid(batch).any()


def test_a_type_past_the_end_is_refused():
    batch = make_batch([([0, 2, 3, 1], [(0, 1), (1, 2), (2, 3)])])
    assert ENAS.is_valid(batch).all()
    batch.types[0, 5] = 3
    assert not ENAS.is_valid(batch).any()


def test_shorter_graphs_are_valid_but_not_in_the_space():
    batch = make_batch([([0, 2, 3, 1], [(0, 1), (1, 2), (2, 3), (0, 2)]), ([0, 1], [(0, 1)])])
    assert ENAS.is_valid(batch).all() and not ENAS.contains(batch).any()
    with pytest.raises(ValueError, match="2 of 2"):
        ENAS.to_strings(batch)


@st.composite
def graphs(draw):
    """Graphs of 1 to 8 vertices: a valid one with up to three random changes of a type or an edge."""
    count = draw(st.integers(2, 8))
    types = [0, *draw(st.lists(st.integers(2, 7), min_size=count - 2, max_size=count - 2)), 1]
    forward = [(u, v) for v in range(count) for u in range(v)]
    edges = {(i, i + 1) for i in range(count - 1)}
    edges |= {edge for edge in forward if edge[1] < count - 1 and draw(st.booleans())}
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            types[draw(st.integers(0, count - 1))] = draw(st.integers(0, 7))
        else:
            edges ^= {draw(st.sampled_from(forward))}
    return types, sorted(edges)


@settings(max_examples=200)
@given(st.lists(graphs(), min_size=1, max_size=8))
def test_vectorised_validity_equals_networkx(drawn):
    assert ENAS.is_valid(make_batch(drawn)).tolist() == [plain_is_valid(*graph) for graph in drawn]


# cost: the stated network, built and measured


def block(inputs: int, outputs: int, kernel: int, groups: int = 1, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class FactorisedReduction(nn.Module):
    def __init__(self):
        super().__init__()
        self.even, self.odd = block(96, 48, 1, stride=2), block(96, 48, 1, stride=2)
        self.norm = nn.BatchNorm2d(96)

    def forward(self, x):
        shifted = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], 1))


def operation(kind: str) -> nn.Module:
    kernel = int(kind[-1])
    if kind.startswith("conv"):
        layers = [block(96, 96, kernel)]
    elif kind.startswith("sepconv"):
        layers = [block(96, 96, kernel, groups=96), block(96, 96, 1)]
    elif kind == "avgpool3x3":
        return nn.Sequential(block(96, 96, 1), nn.BatchNorm2d(96), nn.AvgPool2d(3, 1, 1))
    elif kind == "maxpool3x3":
        return nn.Sequential(block(96, 96, 1), nn.BatchNorm2d(96), nn.MaxPool2d(3, 1, 1))
    return nn.Sequential(*layers, nn.BatchNorm2d(96))


class MacroNetwork(nn.Module):
    """The network of `latentnas.spaces.enas`, one architecture at a time, from its rows."""

    def __init__(self, rows: list[list[int]]):
        super().__init__()
        self.inputs = {}  # vertex -> vertices it reads
        self.merges, self.operations, self.reductions = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for vertex, (kind, *flags) in enumerate(rows, start=1):
            self.inputs[vertex] = [u for u, flag in enumerate(flags) if flag] + [vertex - 1]
            count = len(self.inputs[vertex])
            if count > 1:
                self.merges[str(vertex)] = nn.Sequential(block(96 * count, 96, 1), nn.BatchNorm2d(96))
            self.operations[str(vertex)] = operation(ENAS.type_names[kind + 2])
        for border in (2, 4):
            for u in range(border + 1):
                if any(u in self.inputs[later] for later in range(border + 1, 7)):
                    self.reductions[f"{border}-{u}"] = FactorisedReduction()
        self.stem = nn.Sequential(block(3, 96, 3), nn.BatchNorm2d(96))
        self.head = nn.Linear(96, 10)

    def forward(self, image):
        outputs = {0: self.stem(image)}
        for vertex in range(1, 7):
            x = torch.cat([outputs[u] for u in self.inputs[vertex]], 1)
            if str(vertex) in self.merges:
                x = torch.relu(self.merges[str(vertex)](x))
            outputs[vertex] = torch.relu(self.operations[str(vertex)](x))
            for u in list(outputs):
                if f"{vertex}-{u}" in self.reductions:
                    outputs[u] = self.reductions[f"{vertex}-{u}"](outputs[u])
        return self.head(outputs[6].mean((2, 3)))


def measure(network: nn.Module) -> tuple[int, int]:
    """(multiply-adds of all convolutions and linear layers in one forward pass, parameters)."""
    counted = []

    def count(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            per_output = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
            counted.append(output.numel() * per_output)
        elif isinstance(module, nn.Linear):
            counted.append(output.numel() * module.in_features)

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 32))
    return sum(counted), sum(parameter.numel() for parameter in network.parameters())


def test_flops_and_parameters_equal_a_built_network():
    plain = [[operation] + [0] * row for row, operation in enumerate([0, 1, 2, 3, 4, 5])]
    dense = [[5 - row] + [1] * row for row in range(6)]
    sampled = [json.loads(text) for text in ENAS.to_strings(ENAS.sample(20, seed=3))]
    rows = [plain, dense, *sampled]
    batch = ENAS.to_batch([str(row) for row in rows])
    expected = [measure(MacroNetwork(row)) for row in rows]
    assert list(zip(ENAS.flops(batch).tolist(), ENAS.params(batch).tolist(), strict=True)) == expected


def test_complexity_is_the_released_sum():
    """48 x m x in-degree by hand: layers sepconv3x3 (1 edge), avgpool (1), maxpool (1), conv3x3 (4), conv5x5
    (5), sepconv5x5 (2)."""
    expected = 48 * (10 * 1 + 1 * 1 + 1 * 1 + 10 * 4 + 26 * 5 + 26 * 2 + 48 * 1)
    assert ENAS.complexity(ENAS.to_batch([EXAMPLE])).tolist() == [expected]
    shorter = make_batch([([0, 2, 1], [(0, 1), (1, 2)])])
    assert ENAS.complexity(shorter).tolist() == [48 * (10 + 48)]


def test_empty_batch():
    empty = ENAS.to_batch([])
    assert len(empty) == 0 and ENAS.to_strings(empty) == []
    assert ENAS.flops(empty).shape == ENAS.is_valid(empty).shape == (0,)


# choices and neighbours


def test_choices_are_the_numbers_of_the_text():
    batch = ENAS.to_batch([EXAMPLE])
    assert np.array_equal(ENAS.choices(batch), [[int(c) for c in EXAMPLE if c.isdigit()]])
    assert ENAS.choices(batch.pad_to(9)).tolist() == ENAS.choices(batch).tolist()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([[6] + [0] * 20], r"A choice of enas with 6 layers is a whole number from 0 to 5, not 6"),
        ([[0, 0, 2] + [0] * 18], r"A choice of enas with 6 layers is a whole number from 0 to 1, not 2"),
        ([[0] * 20], r"shape \[B, 21\], but these have shape \[1, 20\]"),
        ([[0.0] * 21], "type float64"),
    ],
)
def test_other_choices_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        ENAS.from_choices(choices)


def test_neighbours_differ_in_one_operation_or_one_skip_connection():
    batch = ENAS.sample(3, seed=5)
    for own, others in zip(ENAS.choices(batch), ENAS.neighbors(batch.pad_to(10)), strict=True):
        found = {tuple(row) for row in ENAS.choices(others).tolist()}
        expected = set()
        for place in range(21):
            for value in range(6 if place in (0, 1, 3, 6, 10, 15) else 2):
                expected.add((*own[:place].tolist(), value, *own[place + 1 :].tolist()))
        assert found == expected - {tuple(own.tolist())} and len(others) == len(found) == 45
    assert ENAS.neighbors(batch[:0]) == []
