"""Features without a model, against networkx walking every path."""

import itertools

import networkx
import numpy as np
import pytest
import torch

from latentnas.graphs import DagBatch, to_networkx
from latentnas.spaces.enas import ENAS
from latentnas.spaces.features import graph_features, nasbench201_path_encoding, path_features, plain_features
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from model_checks import random_dags
from pretend_device import DeviceTensor, pretended_device


def slow_path_features(graph, num_types, num_vertices, dead_type):
    """Every path from the first to the last vertex, one by one."""
    types = networkx.get_node_attributes(graph, "type")
    paths = [
        path
        for path in networkx.all_simple_paths(graph, 0, len(graph) - 1)
        if dead_type not in [types[v] for v in path]
    ]
    counts = np.array([np.bincount([types[v] for v in path], minlength=num_types) for path in paths])
    counts = counts.reshape(-1, num_types)
    on_path = np.zeros((num_vertices, num_types))
    for vertex in {v for path in paths for v in path}:
        on_path[vertex, types[vertex]] = 1
    total = counts.sum(axis=0)
    most = counts.max(axis=0, initial=0)
    number = len(paths)
    return np.concatenate([[np.log1p(number)], np.log1p(total), total / max(number, 1), most, on_path.ravel()])


@pytest.mark.parametrize("dead_type", [None, 3])
def test_path_features_are_those_of_every_path_walked(dead_type):
    batch = random_dags(60, seed=2)
    fast = path_features(batch, 5, dead_type)
    slow = [slow_path_features(to_networkx(batch, i), 5, 7, dead_type) for i in range(len(batch))]
    np.testing.assert_allclose(fast.numpy(), np.array(slow), rtol=1e-6)
    assert len(fast[:, 0].unique()) > 5  # graphs with no path, and with many


def slow_graph_features(graph, num_types, dead_type):
    """One set of operations after the other, by networkx."""
    types, last = networkx.get_node_attributes(graph, "type"), len(graph) - 1
    counts = [[*types.values()].count(kind) for kind in range(num_types)]
    living = graph.edge_subgraph([edge for edge in graph.edges if dead_type not in (types[edge[0]], types[edge[1]])])
    living = networkx.DiGraph(living)
    living.add_nodes_from(graph)
    operations = [kind for kind in range(2, num_types) if kind != dead_type]
    sizes = range(len(operations) + 1) if len(operations) <= 5 else (0, 1, len(operations) - 1, len(operations))
    columns = []
    for chosen in (set(chosen) for size in sizes for chosen in itertools.combinations(operations, size)):
        through = living.subgraph([v for v in living if types[v] in chosen or v in (0, last)])
        reached = networkx.has_path(through, 0, last)
        shortest = networkx.shortest_path_length(through, 0, last) if reached else len(graph)
        on_paths = [sum(types[v] in chosen for v in path) for path in networkx.all_simple_paths(living, 0, last)]
        incoming = [sum(types[u] in chosen for u in living.predecessors(v)) for v in range(len(graph))]
        outgoing = [sum(types[w] in chosen for w in living.successors(v)) for v in range(len(graph))]
        degrees = [np.mean(incoming), max(incoming), np.mean(outgoing), max(outgoing)]
        columns.append([shortest, max(on_paths, default=0), outgoing[0], incoming[last], *degrees])
    return np.concatenate([counts, *np.array(columns).T])


@pytest.mark.parametrize("space, dead_type", [(ENAS, None), (NASBENCH101, None), (NASBENCH201, None), (NASBENCH201, 2)])
def test_graph_features_are_those_of_networkx(space, dead_type):
    size = {"num_types": space.num_types, "num_vertices": space.num_vertices}
    batch = DagBatch.cat([random_dags(40, seed=3, **size), space.sample(20, seed=0)])
    fast = graph_features(batch, space.num_types, dead_type)
    slow = [slow_graph_features(to_networkx(batch, i), space.num_types, dead_type) for i in range(len(batch))]
    np.testing.assert_allclose(fast.numpy(), np.array(slow), rtol=1e-6)
    assert torch.equal(graph_features(batch.pad_to(9), space.num_types, dead_type), fast)
    assert fast.dtype == torch.float32 and (fast.std(dim=0) > 0).sum() > 30


def test_a_cell_that_passes_nothing_on_has_no_path():
    none = NASBENCH201.type_names.index("none")
    all_none = NASBENCH201.from_choices([[0] * 6])
    assert not path_features(all_none, 7, none).any()
    assert path_features(all_none, 7).any()


def test_plain_features_name_every_type_and_edge():
    batch = DagBatch(
        torch.tensor([[0, 2, 1], [0, 1, -1]]),
        torch.tensor([[[0, 1, 1], [0, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 0], [0, 0, 0]]], dtype=torch.bool),
        torch.tensor([3, 2]),
    )
    expected = [[1, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1, 0], [1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0]]
    assert plain_features(batch, 3).tolist() == expected


def test_features_of_graphs_on_a_device_are_those_of_the_cpu():
    batch = NASBENCH201.sample(20, seed=0)
    with pretended_device() as device:
        for make in (
            lambda graphs: path_features(graphs, 7, dead_type=2),
            lambda graphs: plain_features(graphs, 7),
            lambda graphs: graph_features(graphs, 7, dead_type=2),
            nasbench201_path_encoding,
            NASBENCH201.connected,
        ):
            features = make(batch.to(device))
            assert isinstance(features, DeviceTensor) and torch.equal(features.cpu(), make(batch))
