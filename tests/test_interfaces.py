"""The contracts: every member of the library keeps them, and a class that does not is told what is wrong."""

import itertools

import numpy as np
import pytest
import torch

from latentnas.graphs import DagBatch, equal, to_networkx
from latentnas.interfaces import InterfaceError, check_space
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from pretend_device import DeviceTensor, pretended_device

# spaces


@pytest.mark.parametrize("space", [ENAS, NASBENCH201, NASBENCH101], ids=lambda space: space.name)
def test_spaces_keep_their_contract(space):
    check_space(space, seed=3)


@pytest.mark.parametrize("space", [ENAS, NASBENCH201, NASBENCH101], ids=lambda space: space.name)
def test_spaces_read_graphs_on_a_device(space):
    batch = space.sample(10, seed=0)
    with pretended_device() as device:
        moved = batch.to(device)
        for method in (space.contains, space.is_valid, space.flops, space.params):
            assert isinstance(method(moved), DeviceTensor) and torch.equal(method(moved).cpu(), method(batch))
        assert space.to_strings(moved) == space.to_strings(batch)
        assert np.array_equal(space.choices(moved), space.choices(batch))
        for found, expected in zip(space.neighbors(moved), space.neighbors(batch), strict=True):
            assert equal(found, expected).all()
        if hasattr(space, "index"):
            assert np.array_equal(space.index(moved), space.index(batch))


class Chains:
    """Chains of up to three operations, a or b: a space as small as one can be."""

    name = "chains"
    num_vertices, num_types = 5, 4
    type_names = ("input", "output", "a", "b")
    input_type, output_type = 0, 1
    texts = tuple("".join(text) for n in (1, 2, 3) for text in itertools.product("ab", repeat=n))
    size = len(texts)

    def to_batch(self, texts):
        counts = torch.tensor([len(text) + 2 for text in texts], dtype=torch.int64)
        types = torch.full((len(texts), 5), -1)
        for row, text in enumerate(texts):
            types[row, : len(text) + 2] = torch.tensor([0, *("ab".index(letter) + 2 for letter in text), 1])
        adjacency = torch.eye(5).roll(1, 1).triu().bool() & (torch.arange(5) < counts[:, None, None])
        return DagBatch(types, adjacency, counts)

    def to_strings(self, batch):
        rows = zip(batch.types.tolist(), batch.num_vertices.tolist())
        return ["".join("ab"[kind - 2] for kind in types[1 : count - 1]) for types, count in rows]

    def is_valid(self, batch):
        graphs = [to_networkx(batch, place) for place in range(len(batch))]
        chain = [list(graph.edges) == [(v, v + 1) for v in range(len(graph) - 1)] for graph in graphs]
        kinds = [[kind for _, kind in graph.nodes(data="type")] for graph in graphs]
        named = [types[:: len(types) - 1 or 1] == [0, 1] and set(types[1:-1]) <= {2, 3} for types in kinds]
        return torch.tensor(chain) & torch.tensor(named) & (batch.num_vertices > 2)

    def contains(self, batch):
        return Chains.is_valid(self, batch) & (batch.num_vertices <= 5)

    def sample(self, n, seed):
        return self.enumerate()[np.random.default_rng(seed).integers(0, self.size, n)]

    def neighbors(self, batch):
        flips = [
            [t[:i] + {"a": "b", "b": "a"}[t[i]] + t[i + 1 :] for i in range(len(t))] for t in self.to_strings(batch)
        ]
        return [self.to_batch(texts) for texts in flips]

    def choices(self, batch):
        return batch.pad_to(5).types[:, 1:4].clamp(min=0).numpy()

    def flops(self, batch):
        return (batch.types > 2).sum(1)

    def params(self, batch):
        return (batch.types == 2).sum(1)

    def enumerate(self):
        return self.to_batch(list(self.texts))

    def index(self, batch):
        rows, inside = np.full(len(batch), -1), self.contains(batch)
        rows[inside.numpy()] = [self.texts.index(text) for text in self.to_strings(batch[inside])]
        return rows


def test_a_space_of_ones_own_keeps_the_contract():
    check_space(Chains())


def broken(**members):
    """The space with some members replaced, or taken away where they are None."""
    whole = {name: value for name, value in vars(Chains).items() if not name.startswith("__")} | members
    return type("Mine", (), {name: value for name, value in whole.items() if value is not None})()


ONCE = Chains()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (broken(neighbors=None), "it lacks neighbors. Add .*Space asks for: neighbors is «For each graph"),
        (broken(flops=None, name=None), "it lacks name, flops"),
        (broken(type_names=("input", "output")), "num_types is 4, but type_names has 2 names"),
        (broken(num_vertices=4), "gives graphs of 5 vertices .* num_vertices=4"),
        (broken(num_types=3, type_names=("input", "output", "a")), "types up to 3.* num_types=3 must hold"),
        (broken(size=13), r"enumerate\(\) gives 14 graphs instead of a DagBatch of 13"),
        (broken(input_type=1, output_type=0), r"begin with types \[0\] and end with \[1\]"),
        (broken(sample=lambda self, n, seed: ONCE.sample(n - 1, seed)), r"sample\(30, seed\) gives 29 graphs"),
        (broken(sample=lambda self, n, seed: ["ab"] * n), "gives list instead of a DagBatch of 30"),
        (broken(sample=lambda self, n, seed: ONCE.sample(n, np.random.randint(2**31))), "other architectures"),
        (broken(contains=lambda self, b: ONCE.contains(b)[:, None]), r"contains gives torch.bool of shape \[30, 1\]"),
        (broken(is_valid=lambda self, b: ONCE.is_valid(b).tolist() * 2), r"is_valid gives torch.bool of shape \[60\]"),
        (broken(contains=lambda self, b: b.num_vertices < 5), "contains refuses an architecture that sample drew"),
        (broken(contains=lambda self, b: torch.ones(len(b), dtype=torch.bool)), "contains accepts a graph of one"),
        (broken(contains=lambda self, b: ONCE.contains(b) & (b.max_vertices < 6)), "contains depends on padding"),
        (broken(to_strings=lambda self, b: ["a"] * len(b)), "to_batch does not read back"),
        (broken(flops=lambda self, b: b.num_vertices / 2), "flops gives torch.float32"),
        (broken(params=lambda self, b: b.types), r"params gives torch.int64 of shape \[30, 5\]"),
        (broken(choices=lambda self, b: b.types.numpy()), "choices gives int64 .* from 0"),
        (broken(neighbors=lambda self, b: ONCE.neighbors(b)[0]), "neighbors gives . answers for 5 graphs"),
        (broken(neighbors=lambda self, b: [["a"]] * len(b)), "neighbors gives list instead of a DagBatch"),
        (broken(neighbors=lambda self, b: [b[[i]] for i in range(len(b))]), "neighbors gives the graph itself"),
        (broken(index=lambda self, b: ONCE.index(b)[::-1]), "index does not find a sampled architecture"),
        (broken(index=lambda self, b: ONCE.index(b).clip(min=0)), "index gives a row for a graph that is not"),
    ],
)  # fmt: skip
def test_a_space_that_breaks_the_contract_is_told_where(space, message):
    with pytest.raises(InterfaceError, match=f"^Mine does not keep its contract: .*{message}") as error:
        check_space(space)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
