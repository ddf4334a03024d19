"""Graphs to networkx and PyG and back."""

import networkx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from latentnas.graphs import (
    NO_VERTEX,
    DagBatch,
    canonical_hash,
    edit_distance,
    equal,
    from_networkx,
    from_pyg,
    to_networkx,
    to_pyg,
)


def graphs_of_any_size(count=50, vertices=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(2, vertices + 1, (count,), generator=generator)
    present = torch.arange(vertices) < sizes[:, None]
    types = torch.randint(0, 5, (count, vertices), generator=generator).where(present, torch.tensor(NO_VERTEX))
    adjacency = (torch.rand(count, vertices, vertices, generator=generator) < 0.5).triu(1)
    return DagBatch(types, adjacency & present[:, None] & present[:, :, None], sizes)


def same_type(first, second):
    return first["type"] == second["type"]


@pytest.mark.parametrize("width", [8, 11])
def test_hash_keys_and_distances_do_not_depend_on_padding(width):
    batch = graphs_of_any_size()
    padded = batch.pad_to(width)
    assert torch.equal(canonical_hash(padded), canonical_hash(batch)) and padded.keys() == batch.keys()
    assert torch.equal(canonical_hash(batch[[3]]), canonical_hash(batch)[[3]])  # nor on the other graphs
    assert equal(padded, batch).all() and equal(batch, padded).all()
    assert torch.equal(
        edit_distance(padded, batch.pad_to(9)[range(49, -1, -1)]), edit_distance(batch, batch[range(49, -1, -1)])
    )
    assert torch.equal(padded.present[:, :7], batch.present) and not padded.present[:, 7:].any()
    assert torch.equal(padded.one_hot(5).sum((1, 2)), batch.num_vertices)
    assert equal(DagBatch.cat([padded, batch]), DagBatch.cat([batch, batch])).all()
    assert torch.equal(padded.pad_to(7).types, batch.types)


def test_the_hash_tells_apart_what_its_docstring_promises():
    """All unlabelled DAGs of 5 and 6 vertices; how many there are: OEIS A003087."""
    for vertices, hashes in ((5, 302), (6, 5983)):
        source, target = torch.triu_indices(vertices, vertices, 1)
        edges = (torch.arange(2 ** len(source))[:, None] >> torch.arange(len(source))) & 1
        adjacency = torch.zeros(len(edges), vertices, vertices, dtype=torch.bool)
        adjacency[:, source, target] = edges.bool()
        batch = DagBatch(torch.zeros(len(edges), vertices, dtype=torch.int64), adjacency, edges.sum(1) * 0 + vertices)
        assert len(canonical_hash(batch).unique()) == hashes


def test_equal_keys_mean_equal_graphs():
    batch = graphs_of_any_size(400, vertices=4)
    keys = batch.keys()
    first, second = torch.triu_indices(400, 400, 1)
    same = equal(batch[first], batch[second])
    assert same.any() and same.tolist() == [keys[i] == keys[j] for i, j in zip(first.tolist(), second.tolist())]


@pytest.mark.parametrize("kind", ["types", "adjacency", "num_vertices"])
def test_tensors_of_another_kind_are_refused(kind):
    batch = graphs_of_any_size(3)
    tensors = {name: getattr(batch, name) for name in ("types", "adjacency", "num_vertices")}
    with pytest.raises(ValueError, match="types in int64, adjacency in bool and num_vertices in int64.*Convert them"):
        DagBatch(**tensors | {kind: tensors[kind].int()})
    with pytest.raises(TypeError, match=r"holds tensors, not ndarray\. Convert"):
        DagBatch(**tensors | {kind: tensors[kind].numpy()})


@pytest.mark.parametrize("one", [0, np.int64(0), torch.tensor(0)], ids=lambda one: type(one).__name__)
def test_one_number_is_no_index_of_a_batch(one):
    with pytest.raises(TypeError, match=r"for one graph use batch\[i : i \+ 1\]"):
        graphs_of_any_size(3)[one]


def test_too_little_room_is_refused():
    with pytest.raises(ValueError, match="up to 7 vertices do not fit into 6 positions"):
        graphs_of_any_size().pad_to(6)


def test_pyg_and_back():
    batch = graphs_of_any_size()
    graphs = to_pyg(batch)
    assert graphs.num_graphs == len(batch) and graphs.num_nodes == batch.num_vertices.sum()
    assert graphs.num_edges == batch.adjacency.sum()
    back = from_pyg(graphs, batch.max_vertices)
    assert equal(back, batch).all() and torch.equal(back.num_vertices, batch.num_vertices)


def test_graphs_of_pyg_that_are_no_batch_are_refused():
    batch = graphs_of_any_size()
    graphs = to_pyg(batch)
    first = int((batch.num_vertices > 5).nonzero()[0])
    with pytest.raises(ValueError, match=f"Graph {first} .* at most 5 vertices fit, but it has [67] vertices, and 0"):
        from_pyg(graphs, 5)
    graphs.edge_index = graphs.edge_index.flip(0)
    with pytest.raises(ValueError, match="Graph [01] .* and [1-9][0-9]* of its edges do not lead to a later one"):
        from_pyg(graphs, 7)
    none = from_pyg(to_pyg(batch[:0]), 7)
    assert none.types.shape == (0, 7) and len(DagBatch.cat([none, batch])) == 50


def test_a_batch_of_pyg_made_by_hand_is_read_like_one_of_a_list():
    """It has no `ptr`, so the last graph is the last that `batch` names."""
    made = to_pyg(graphs_of_any_size())
    by_hand = from_pyg(Data(x=made.x, edge_index=made.edge_index, batch=made.batch), 7)
    assert equal(by_hand, from_pyg(made, 7)).all()
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    assert from_pyg(Data(x=nothing[0], edge_index=nothing, batch=nothing[0]), 7).types.shape == (0, 7)


@pytest.mark.parametrize(
    "part, change, words",
    [
        ("x", lambda x: None, "`x` is no tensor"),
        ("x", lambda x: x[:, None], r"`x` is torch.int64 of shape \[[0-9]+, 1\]"),
        ("x", lambda x: x.float(), "`x` is torch.float32"),
        ("x", lambda x: x[1:], "`x` has [0-9]+ types, but `batch` [0-9]+ vertices"),
        ("x", lambda x: x.scatter(0, torch.tensor([2]), NO_VERTEX), "`x` has a negative type"),
        ("batch", lambda batch: None, "`batch` is no tensor"),
        ("edge_index", lambda edges: None, "`edge_index` is no tensor"),
        ("edge_index", lambda edges: edges[:1], r"`edge_index` is torch.int64 of shape \[1, [0-9]+\]"),
        ("batch", lambda batch: batch.flip(0), "`batch` does not ascend"),
        ("batch", lambda batch: batch - 1, "`batch` numbers the 5 graphs from 0, but goes outside"),
        ("batch", lambda batch: batch + 1, "`batch` numbers the 5 graphs from 0, but goes outside"),
        ("edge_index", lambda edges: edges + 999, "`edge_index` numbers the [0-9]+ vertices from 0, but goes outside"),
        ("edge_index", lambda edges: edges * 0 + torch.tensor([[0], [9]]), "Graph 0 .* lead to a later one of its own"),
    ],
)
def test_what_is_no_batch_of_pyg_is_told_in_one_paragraph(part, change, words):
    graphs = to_pyg(graphs_of_any_size(5))
    setattr(graphs, part, change(getattr(graphs, part)))
    with pytest.raises(ValueError, match=words) as error:
        from_pyg(graphs, 7)
    assert "\n" not in str(error.value)


def test_one_graph_of_pyg_is_no_batch():
    with pytest.raises(ValueError, match="`batch` is no tensor"):
        from_pyg(to_pyg(graphs_of_any_size(5))[0], 7)


def test_networkx_and_back_is_the_same_graph_in_some_topological_order():
    batch = graphs_of_any_size()
    graphs = [to_networkx(batch, index) for index in range(len(batch))]
    back = from_networkx(graphs, batch.max_vertices)
    assert torch.equal(canonical_hash(back), canonical_hash(batch))
    for index, graph in enumerate(graphs):
        assert networkx.is_isomorphic(graph, to_networkx(back, index), node_match=same_type)


def test_an_edge_of_weight_0_is_one_and_a_vertex_needs_a_type():
    graph = networkx.DiGraph([(0, 1, {"weight": 0})])
    networkx.set_node_attributes(graph, {0: 0, 1: 1}, "type")
    assert from_networkx([graph], 3).adjacency.sum() == 1
    for wrong in ("conv", NO_VERTEX):
        graph.nodes[1]["type"] = wrong
        with pytest.raises(ValueError, match="its vertex 1 has no attribute `type` that is a whole number from 0"):
            from_networkx([graph], 3)
    graph.nodes[1]["type"] = 1
    graph.add_edge(1, "last")
    with pytest.raises(ValueError, match="Graph 1 cannot be batched: its vertex last has no attribute `type`"):
        from_networkx([networkx.DiGraph(), graph.copy()], 3)


def test_no_batch_at_all_cannot_be_joined():
    with pytest.raises(ValueError, match="no batch to join"):
        DagBatch.cat([])


def test_edit_distance_counts_changes_and_is_no_less_than_that_of_networkx():
    first, second = graphs_of_any_size(30, vertices=4, seed=1), graphs_of_any_size(30, vertices=4, seed=2)
    distance = edit_distance(first, second)
    assert torch.equal(distance, edit_distance(second, first))
    assert torch.equal(distance == 0, equal(first, second)) and not edit_distance(first, first).any()
    for index in range(30):
        graphs = to_networkx(first, index), to_networkx(second, index)
        least = networkx.graph_edit_distance(*graphs, node_match=same_type)
        assert least <= distance[index]
    changed = DagBatch(first.types.clone(), first.adjacency.clone(), first.num_vertices)
    changed.types[:, 0] += 1
    changed.adjacency[:, 0, 1] ^= True
    assert (edit_distance(first, changed) == 2).all()


def test_cycles_and_graphs_that_are_too_large_are_refused():
    graph = networkx.DiGraph([(0, 1), (1, 0)])
    networkx.set_node_attributes(graph, 0, "type")
    with pytest.raises(ValueError, match="Graph 0 cannot be batched"):
        from_networkx([graph], 3)
    with pytest.raises(ValueError, match="at most 1 vertices"):
        from_networkx([to_networkx(graphs_of_any_size(1), 0)], 1)


def test_no_graphs_are_a_batch_too():
    assert len(from_networkx([], 3)) == 0 and len(DagBatch.cat([from_networkx([], 3), graphs_of_any_size(2)])) == 2
