"""What D-VAE's decoder can write at most, against states as nested tuples."""

from collections import defaultdict
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from companion.figures.svge import ends_as_written
from latentnas.limits import best_chance, writable
from latentnas.models.family import configure
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.spaces.nasbenchgraph import NASBENCHGRAPH


def plainly(graph, full, numbered):
    """The chance of all edges and of all types of one graph; its states are what they have been computed from."""
    last, types = int(graph.num_vertices[0]) - 1, graph.types[0].tolist()
    states, edges, kinds = [], defaultdict(list), defaultdict(list)
    for v in range(last + 1):
        if v and not (full and v == last):
            kinds[states[v - 1]].append(types[v])
        told, heard = v if numbered else None, frozenset()
        for u in reversed(range(v)):
            read = bool(graph.adjacency[0, u, v])
            if v < last:
                edges[types[v], told, heard, states[u]].append(read)
            heard |= {(u, states[u])} if read else set()
        states.append((types[v], told, heard))
    chances = []
    for decisions in (edges, kinds):
        shares = (Fraction(wanted.count(one), len(wanted)) for wanted in decisions.values() for one in wanted)
        chances.append(float(np.prod([*shares] or [1])))
    return chances


@pytest.mark.parametrize("space", [NASBENCH101, NASBENCH201, NASBENCHGRAPH], ids=lambda space: space.name)
@pytest.mark.parametrize("numbered", [False, True])
def test_the_bound_is_that_of_equal_states(space, numbered):
    config = replace(configure("D-VAE", space, 8, 8, 4)[1], numbered=numbered)
    batch = space.sample(100, seed=1)
    full = batch.num_vertices == space.num_vertices
    expected = [plainly(batch[[row]], full[row], numbered) for row in range(len(batch))]
    found = writable(config, batch)
    assert torch.allclose(found, torch.tensor(expected).double().T)
    assert bool((found == 1).all()) == numbered


def test_the_decoder_joins_every_loose_end_to_the_output_and_nothing_else():
    """So two thirds of the cells of NAS-Bench-101 never come back; SVGe decides these edges too."""
    for name, whole in (("D-VAE", True), ("GCN", True), ("SVGe", False)):
        model_class, config = configure(name, NASBENCH101, 8, 8, 4)
        torch.manual_seed(0)
        graphs, *_ = (
            model_class(config)
            .eval()
            .sample_decodes(torch.randn(60, config.latent), 3, torch.Generator().manual_seed(0))
        )
        assert bool(ends_as_written(graphs[NASBENCH101.is_valid(graphs)]).all()) == whole, name
    assert ends_as_written(NASBENCH201.sample(100, seed=0)).all()
    cells = NASBENCH101.sample(500, seed=0)
    by_hand = []
    for graph in (cells[[row]] for row in range(len(cells))):
        last = int(graph.num_vertices[0]) - 1
        read = {(u, v) for u, v in graph.adjacency[0].nonzero().tolist()}
        by_hand.append(
            {u for u in range(last) if (u, last) in read} == {*range(last)} - {u for u, v in read if v < last}
        )
    assert ends_as_written(cells).tolist() == by_hand and 0.3 < np.mean(by_hand) < 0.4


def test_edges_of_the_space_need_no_decision_and_the_generator_is_left_alone():
    config = replace(configure("D-VAE", NASBENCH201, 8, 8, 4)[1], fixed_edges=((0, 1),))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    edges, types = writable(config, NASBENCH201.sample(20, seed=0))
    assert (edges == 1).all() and (types < 1).any() and torch.equal(before, torch.get_rng_state())


def test_decisions_alike_have_at_best_the_share_that_is_wanted():
    logits = torch.tensor([[0.0, 0.0, 0.0, 5.0, 9.0]]).double()
    wanted = torch.tensor([[True, False, False, True, True]])
    every = torch.ones(1, 5, dtype=torch.bool)
    assert best_chance(logits, wanted, every).item() == pytest.approx(1 / 3 * (2 / 3) ** 2)
    every[0, 0] = False
    assert best_chance(logits, wanted, every).item() == 1
