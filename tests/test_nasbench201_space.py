"""The NAS-Bench-201 space: text, graphs, rows, classes, paths, and the exact cost of the stated network."""

import itertools

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nas_201_api import NASBench201API
from torch import nn

from latentnas.graphs import DagBatch, canonical_hash, equal
from latentnas.spaces.features import nasbench201_path_encoding
from latentnas.spaces.nasbench201 import NASBENCH201 as SPACE

EXAMPLE = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_3x3~0|none~1|skip_connect~2|"
EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
WIRING = [(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7)]  # SVGe
ALL = SPACE.choices(SPACE.enumerate())

cells = st.lists(st.integers(0, 4), min_size=6, max_size=6)


def write(cell) -> str:
    """The text of six operation numbers, node by node."""
    it = iter(SPACE.operation_names[number] for number in cell)
    return "+".join("|" + "".join(f"{next(it)}~{u}|" for u in range(node)) for node in (1, 2, 3))


# text and graphs


def test_example_by_hand():
    batch = SPACE.to_batch([EXAMPLE])
    assert SPACE.choices(batch).tolist() == [[4, 2, 1, 3, 0, 1]]
    assert [SPACE.type_names[kind] for kind in batch.types[0]] == [
        "input", "avg_pool_3x3", "nor_conv_1x1", "skip_connect", "nor_conv_3x3", "none", "skip_connect", "output",
    ]  # fmt: skip
    assert [tuple(edge) for edge in batch.adjacency[0].nonzero().tolist()] == WIRING


def test_graph_joins_operations_that_follow_one_another():
    """The ten edges are the line graph of the four-node cell, with the input and the output added."""
    joined = {(a + 1, b + 1) for a, (_, v) in enumerate(EDGES) for b, (u, _) in enumerate(EDGES) if u == v}
    joined |= {(0, a + 1) for a, (u, _) in enumerate(EDGES) if u == 0}
    joined |= {(a + 1, 7) for a, (_, v) in enumerate(EDGES) if v == 3}
    assert sorted(joined) == WIRING


@given(st.lists(cells, max_size=5))
def test_choices_text_and_graphs_say_the_same(drawn):
    texts = [write(cell) for cell in drawn]
    batch = SPACE.to_batch(texts)
    assert equal(batch, SPACE.from_choices(drawn)).all() and SPACE.contains(batch).all()
    assert SPACE.to_strings(batch) == texts and SPACE.choices(batch).tolist() == drawn
    assert SPACE.to_strings(SPACE.to_batch([f" {text}\n" for text in texts])) == texts


@given(cells)
def test_text_is_read_like_the_official_package(cell):
    expected = np.zeros((4, 4))
    for (u, v), number in zip(EDGES, cell, strict=True):
        expected[v, u] = number
    matrix = NASBench201API.str2matrix(write(cell), list(SPACE.operation_names))
    assert np.array_equal(matrix, expected)
    labelled = SPACE.edge_labelled(SPACE.from_choices([cell]))[0]
    assert {(u, v): labelled[u, v] for u, v in EDGES} == dict(zip(EDGES, cell, strict=True))
    assert (labelled >= 0).sum() == 6


def test_different_cells_are_never_isomorphic():
    """The shared wiring has no symmetry, so one text is one graph whatever its vertices are numbered."""
    assert len(set(canonical_hash(SPACE.enumerate()).tolist())) == 15_625


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            EXAMPLE.replace("nor_conv_1x1", "nor_conv_7x7"),
            r"edge 0 -> 2 has the operation 'nor_conv_7x7' \(the five are none",
        ),
        (EXAMPLE.replace("avg_pool_3x3", "input"), "edge 0 -> 1 has the operation 'input'"),
        (EXAMPLE.replace("none~1", "none~0"), "Expected six operations"),
        (EXAMPLE.replace("none~1|skip_connect~2", "skip_connect~2|none~1"), "ascending order"),
        (EXAMPLE.replace("|none~1", ""), "Expected six operations"),
        (EXAMPLE.replace("|+|", "| + |"), "without white space"),
        (EXAMPLE[:-1], "Expected six operations"),
        (EXAMPLE + EXAMPLE, "are not six operations"),
        ("[[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]]", r"'\[\[1\]"),
        ("", "six operations in ''"),
        (EXAMPLE.replace("none", "n" * 5000), r"the operation 'n{96}\.\.\. \(the five are none"),
        ("|" * 100_000, r"six operations in '\|{96}\.\.\.\. Expected"),
        (7, "no text in 7"),
        (None, "no text in None"),
    ],
)
def test_malformed_and_foreign_texts_are_refused(text, message):
    with pytest.raises(ValueError, match=message) as error:
        SPACE.to_batch([EXAMPLE, text])
    assert str(error.value).startswith("Text 2 of 2: Not a NAS-Bench-201 architecture: ") and "\n" not in str(
        error.value
    )


def test_one_text_for_a_list_is_refused():
    with pytest.raises(TypeError, match="a list of"):
        SPACE.to_batch(EXAMPLE)


def changed(types: dict, edges: dict, count: int = 8) -> DagBatch:
    """The example with some types or edges changed."""
    batch = SPACE.to_batch([EXAMPLE])
    for vertex, kind in types.items():
        batch.types[0, vertex] = kind
    for edge, there in edges.items():
        batch.adjacency[(0, *edge)] = there
    batch.num_vertices[0] = count
    return batch


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(changed({}, {(0, 1): False}), id="edge missing"),
        pytest.param(changed({}, {(0, 7): True}), id="edge too many"),
        pytest.param(changed({}, {(6, 7): False, (5, 6): True}), id="edge moved"),
        pytest.param(changed({0: 2}, {}), id="no input"),
        pytest.param(changed({7: 3}, {}), id="no output"),
        pytest.param(changed({3: 0}, {}), id="two inputs"),
        pytest.param(changed({3: 1}, {}), id="two outputs"),
        pytest.param(changed({3: 7}, {}), id="unknown type"),
        pytest.param(changed({7: -1}, {(4, 7): False, (5, 7): False, (6, 7): False}, 7), id="seven vertices"),
    ],
)
def test_each_kind_of_foreign_graph_is_refused(batch):
    both = DagBatch.cat([SPACE.to_batch([EXAMPLE]), batch])
    assert SPACE.contains(both).tolist() == SPACE.is_valid(both).tolist() == [True, False]
    with pytest.raises(ValueError, match="1 of 2 graphs .* index 1"):
        SPACE.to_strings(both)


def test_graphs_padded_to_other_sizes():
    good = SPACE.to_batch([EXAMPLE])
    padded = DagBatch(
        nn.functional.pad(good.types, (0, 2), value=-1),
        nn.functional.pad(good.adjacency, (0, 2, 0, 2)),
        good.num_vertices,
    )
    assert SPACE.contains(padded).all() and SPACE.to_strings(padded) == [EXAMPLE]
    padded.adjacency[0, 7, 8] = True
    assert not SPACE.contains(padded).any()
    padded.adjacency[0, 7, 8], padded.types[0, 8] = False, 3
    with pytest.raises(ValueError, match=r"vertex 8 .*; skip_connect\) stands past the end of its graph"):
        SPACE.to_strings(padded)
    assert SPACE.contains(DagBatch(good.types[:, :5], good.adjacency[:, :5, :5], good.num_vertices)).tolist() == [False]


# rows


def test_rows_are_the_lexicographic_order():
    assert SPACE.size == 15_625
    assert [tuple(cell) for cell in ALL.tolist()] == list(itertools.product(range(5), repeat=6))
    assert np.array_equal(SPACE.index(SPACE.enumerate()), np.arange(15_625)) and ALL.dtype == np.int64


def test_neighbors_differ_in_one_operation():
    rows = np.random.default_rng(0).choice(15_625, 300, replace=False)
    for row, found in zip(rows, SPACE.neighbor_rows(rows), strict=True):
        assert sorted(found) == np.flatnonzero((ALL[row] != ALL).sum(1) == 1).tolist()
    edges = np.argmax(ALL[SPACE.neighbor_rows(rows)] != ALL[rows][:, None], axis=2)
    assert (edges == np.repeat(np.arange(6), 4)).all()  # edge by edge
    graphs = SPACE.enumerate()[rows[:3]].pad_to(9)
    assert [SPACE.index(g).tolist() for g in SPACE.neighbors(graphs)] == SPACE.neighbor_rows(rows[:3]).tolist()


def test_the_row_of_a_graph_outside_the_space_is_minus_one():
    batch = DagBatch.cat([SPACE.enumerate()[[7, 8]], changed({3: 1}, {}), SPACE.enumerate()[[9]]])
    assert SPACE.index(batch).tolist() == [7, 8, -1, 9]
    narrow = DagBatch(torch.tensor([[0, 1]]), torch.zeros(1, 2, 2, dtype=torch.bool), torch.tensor([2]))
    assert SPACE.index(narrow).tolist() == [-1]


@pytest.mark.parametrize("rows", [[-1], [15_625], [0.5], ["a"]])
def test_rows_outside_the_space_are_refused(rows):
    with pytest.raises(ValueError, match="row of the NAS-Bench-201 space is a whole number from 0 to 15624"):
        SPACE.neighbor_rows(rows)


def test_sampling_is_seeded_and_uniform():
    batch = SPACE.sample(20_000, seed=1)
    assert equal(batch, SPACE.sample(20_000, seed=1)).all() and not equal(batch, SPACE.sample(20_000, seed=2)).all()
    shares = nn.functional.one_hot(batch.types[:, 1:7] - 2, 5).double().mean(0)
    assert (shares - 0.2).abs().max() < 0.0142  # five standard errors


@pytest.mark.parametrize(
    "choices",
    [[[4, 2, 1, 3, 0, 1]], np.array([[4, 2, 1, 3, 0, 1]], dtype=np.int8), [[np.int64(4), 2, 1, 3, 0, np.uint8(1)]],
     torch.tensor([[4, 2, 1, 3, 0, 1]]), ((4, 2, 1, 3, 0, 1),)],
)  # fmt: skip
def test_choices_are_anything_array_like(choices):
    batch = SPACE.from_choices(choices)
    assert SPACE.to_strings(batch) == [EXAMPLE]
    assert SPACE.index(batch).tolist() == [((((4 * 5 + 2) * 5 + 1) * 5 + 3) * 5 + 0) * 5 + 1]
    assert SPACE.params(batch).dtype == torch.int64 and SPACE.canonical(batch).dtype == np.int64


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([[0, 1, 2, 3, 4, 5]], "from 0 to 4, not 5"),
        ([[0, 1, 2, 3, 4, -1]], "from 0 to 4, not -1"),
        ([[0, 1, 2, 3, 4, 1.0]], "type float64"),
        ([[True] * 6], "type bool"),
        ([0, 1, 2, 3, 4, 1], r"shape \[6\]"),
        ([[0, 1, 2, 3, 4]], r"shape \[1, 5\]"),
        ([[EXAMPLE] * 6], "type <U"),
    ],
)
def test_other_choices_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        SPACE.from_choices(choices)


def test_nothing_at_all():
    empty = SPACE.to_batch([])
    assert len(empty) == 0 and SPACE.to_strings(empty) == [] and SPACE.contains(empty).shape == (0,)
    assert SPACE.index(empty).shape == SPACE.flops(empty).shape == SPACE.connected(empty).shape == (0,)
    assert nasbench201_path_encoding(empty).shape == (0, 180) and SPACE.neighbor_rows([]).shape == (0, 24)
    assert SPACE.choices(empty).shape == (0, 6) and SPACE.neighbors(empty) == []


# what a cell computes


def paths_of(cell) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(nodes, operations) of every path without `none`, with networkx."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(4))
    graph.add_edges_from((u, v, {"op": number}) for (u, v), number in zip(EDGES, cell, strict=True) if number)
    found = networkx.all_simple_paths(graph, 0, 3)
    return [(tuple(path), tuple(graph.edges[e]["op"] for e in itertools.pairwise(path))) for path in found]


def test_connected_and_path_encoding_equal_networkx():
    blocks = {(0, 3): 0, (0, 1, 3): 5, (0, 2, 3): 30, (0, 1, 2, 3): 55}
    sample = ALL[np.random.default_rng(0).choice(15_625, 2000, replace=False)]
    batch = SPACE.from_choices(sample)
    features, connected = nasbench201_path_encoding(batch).numpy(), SPACE.connected(batch)
    assert features.shape == (2000, 180) and features.dtype == bool
    for cell, row, reached in zip(sample.tolist(), features, connected, strict=True):
        expected = [
            blocks[nodes] + list(itertools.product(range(5), repeat=len(operations))).index(operations)
            for nodes, operations in paths_of(cell)
        ]
        assert np.flatnonzero(row).tolist() == sorted(expected) and reached == bool(expected)


def test_cells_without_a_path_from_input_to_output():
    cells = SPACE.from_choices([[0, 0, 3, 0, 3, 3], [3, 0, 0, 0, 0, 3], [0, 0, 0, 1, 0, 0]])
    assert SPACE.connected(cells).tolist() == [False, False, True]


def unique_text(cell, consider_zero: bool) -> str:
    """The rule of the benchmark's cell structure for one cell: the expression its output stands for."""
    nodes = ["0"]
    for target in (1, 2, 3):
        summands = []
        for (u, v), number in zip(EDGES, cell, strict=True):
            if v != target:
                continue
            operation, node = SPACE.operation_names[number], nodes[u]
            if consider_zero and (operation == "none" or node == "#"):
                summands.append("#")
            elif operation == "skip_connect":
                summands.append(node)
            else:
                summands.append(f"({node})@{operation}")
        nodes.append("+".join(sorted(summands)))
    return nodes[3]


def test_classes_are_those_of_the_plain_rule():
    classes = SPACE.canonical(SPACE.enumerate())
    first_seen: dict[str, int] = {}
    expected = [first_seen.setdefault(unique_text(cell, True), len(first_seen)) for cell in ALL.tolist()]
    assert classes.tolist() == expected and len(first_seen) == 6_466
    assert len({unique_text(cell, False) for cell in ALL.tolist()}) == 12_751  # the published counts


def test_representatives_are_the_first_rows_of_their_classes():
    rows = SPACE.representatives()
    assert SPACE.canonical(SPACE.enumerate()[rows]).tolist() == list(range(6_466))
    assert (rows[SPACE.canonical(SPACE.enumerate())] <= np.arange(15_625)).all()


# cost: the stated network, built and measured


def conv_block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(outputs))


class Cell(nn.Module):
    def __init__(self, numbers, channels: int):
        super().__init__()
        kinds = {1: nn.Identity, 4: lambda: nn.AvgPool2d(3, 1, 1)}
        kinds |= {2: lambda: conv_block(channels, channels, 1), 3: lambda: conv_block(channels, channels, 3)}
        self.edges = nn.ModuleDict(
            {f"{u}{v}": kinds[number]() for (u, v), number in zip(EDGES, numbers, strict=True) if number}
        )

    def forward(self, x):
        nodes = [x]
        for v in (1, 2, 3):
            arriving = [self.edges[f"{u}{v}"](nodes[u]) for u in range(v) if f"{u}{v}" in self.edges]
            nodes.append(sum(arriving, torch.zeros_like(x)))
        return nodes[3]


class Reduction(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(conv_block(channels, 2 * channels, 3, 2), conv_block(2 * channels, 2 * channels, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, 2 * channels, 1, bias=False))

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


def macro_network(cell, classes: int) -> nn.Module:
    stages = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)]
    for channels in (16, 32, 64):
        stages += [Reduction(channels // 2)] if channels > 16 else []
        stages += [Cell(cell, channels) for _ in range(5)]
    head = [nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)]
    return nn.Sequential(*stages, *head)


def measure(network: nn.Module, size: int) -> tuple[int, int]:
    """(multiply-adds of convolutions and of the linear layer with its bias, parameters)."""
    counted = []

    def count(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            counted.append(output.numel() * module.in_channels * module.kernel_size[0] ** 2)
        elif isinstance(module, nn.Linear):
            counted.append(output.numel() * (module.in_features + 1))

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    return sum(counted), sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("dataset", "classes", "size"), [("cifar10", 10, 32), ("cifar100", 100, 32), ("ImageNet16-120", 120, 16)]
)
def test_flops_and_parameters_equal_a_built_network(dataset, classes, size):
    cells = [[0] * 6, [3] * 6, *ALL[np.random.default_rng(classes).choice(15_625, 6)].tolist()]
    expected = [measure(macro_network(cell, classes), size) for cell in cells]
    batch = SPACE.from_choices(cells)
    assert list(zip(SPACE.flops(batch, dataset).tolist(), SPACE.params(batch, dataset).tolist())) == expected


def test_published_ranges_of_cost():
    flops, params = SPACE.flops(SPACE.enumerate()), SPACE.params(SPACE.enumerate())
    assert (flops.min(), flops.max()) == (7_783_050, 220_119_690)
    assert (params.min(), params.max()) == (73_306, 1_531_546)


def test_cost_on_other_data_sets_is_refused():
    for method in (SPACE.flops, SPACE.params):
        with pytest.raises(ValueError, match="no data set 'svhn'.*cifar10, cifar100, ImageNet16-120"):
            method(SPACE.sample(1, 0), "svhn")


@pytest.mark.parametrize("positions", [6, 8, 11])
def test_the_quick_check_of_a_cell_finds_what_the_faults_say(positions):
    """In batches of graphs of which most are wrong in one place, and of all wrong in some way."""
    random = np.random.default_rng(positions)
    cells = SPACE.sample(2000, seed=0)
    types, adjacency, count = cells.types, cells.adjacency, cells.num_vertices
    for b in range(len(cells)):
        match b % 4:
            case 0:
                types[b, random.integers(8)] = random.integers(-1, 9)
            case 1:
                adjacency[b, random.integers(8), random.integers(8)] ^= True
            case 2:
                count[b] = random.integers(0, 12)
    more = positions - 8
    pad = torch.nn.functional.pad
    batch = DagBatch(pad(types, (0, more), value=-1), pad(adjacency, (0, more, 0, more)), count)
    slow = super(type(SPACE), SPACE).is_valid(batch) & (batch.num_vertices == 8)
    assert torch.equal(SPACE.contains(batch), slow)
    assert slow.any() == (positions >= 8) and not slow.all()
