"""The cell search space of NAS-Bench-201 (Dong and Yang, ICLR 2020).

A cell has four nodes, each the sum of what its incoming edges bring; node 0 is the input, node 3 the output. Each of
the six edges u -> v, u < v, carries one of five operations, so there are 5^6 = 15,625 cells. As text:

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|        (`op~u` is the operation on the edge from node u)

Its six choices are the operations of the edges (0,1), (0,2), (1,2), (0,3), (1,3), (2,3), in that order, each its place
in `operation_names`. The row of an architecture is its place among all 15,625 in the plain lexicographic order of these
six numbers; the order of the official file is another one.

As a graph with the operations on its vertices (the encoding of SVGe, Lukasik et al., IJCNN 2021) it has eight vertices:
the input, the six edges of the cell in the order above, the output; an edge joins two operations that follow one
another in the cell. The ten edges are the same for all cells, only the six types differ.

FLOPs and parameters are those of the network every cell is trained in, on 32 x 32 images (CIFAR) or 16 x 16
(ImageNet16-120):

* stem: 3x3 convolution 3 -> 16;
* three stages of five cells with 16, 32 and 64 channels; in a cell, `nor_conv_kxk` is ReLU, a k x k
  convolution and batch normalisation, `avg_pool_3x3` is 3x3 pooling with stride 1;
* before the second and the third stage a residual block that halves the resolution: two 3x3 convolutions
  (C -> 2C with stride 2, 2C -> 2C) beside 2x2 average pooling and a 1x1 convolution C -> 2C;
* head: batch normalisation, ReLU, global average pooling, a linear layer 64 -> classes with bias.

No convolution has a bias; one batch normalisation follows each but the 1x1 convolution of the residual block. FLOPs are
multiply-adds of the convolutions and of the linear layer with its bias; normalisation, pooling, activations and sums
are not counted. This is the convention of the benchmark's own records.
"""

import itertools
import re
from functools import cached_property

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.spaces import _shared as shared
from latentnas.spaces._shared import FIRST_OPERATION, INPUT, OUTPUT

NUM_OPERATIONS = 5
NONE, SKIP, CONV1X1, CONV3X3 = range(4)  # operation numbers that the code below names

# The six edges of the cell in the order of the text, and the ten edges of the graph made from it.
CELL_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
GRAPH_EDGES = ((0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7))
# The paths from input to output, each as the places of its edges in CELL_EDGES.
PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))

STAGE_CHANNELS = (16, 32, 64)
CELLS_PER_STAGE = 5
DATASETS = {"cifar10": (10, 32), "cifar100": (100, 32), "ImageNet16-120": (120, 16)}  # classes, side of an image

# Channels of each stage, and weights of the residual block that leads to each but the first, all at its resolution.
_CHANNELS = np.array(STAGE_CHANNELS)
_REDUCTIONS = (9 * _CHANNELS**2 + 10 * _CHANNELS * (_CHANNELS // 2))[1:]

_ADJACENCY = torch.zeros(8, 8, dtype=torch.bool)  # the edges all graphs share
_ADJACENCY[tuple(np.transpose(GRAPH_EDGES))] = True
_LIMITS = [NUM_OPERATIONS] * len(CELL_EDGES)
_PLACE_VALUES = NUM_OPERATIONS ** np.arange(5, -1, -1)  # of the six numbers, read as one number in base 5
_TEXT = re.compile(r"\|([^|~+]*)~0\|\+\|([^|~+]*)~0\|([^|~+]*)~1\|\+\|([^|~+]*)~0\|([^|~+]*)~1\|([^|~+]*)~2\|")


class NasBench201Space(shared.OperationSpace):
    """The space of 15,625 cells, unconnected ones among them. Use the instance `NASBENCH201`."""

    name = "nasbench201"
    num_vertices = 8
    num_types = 7
    operation_names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    type_names = ("input", "output", *operation_names)
    size = NUM_OPERATIONS ** len(CELL_EDGES)

    architecture = "a NAS-Bench-201 architecture"
    sizes = "8 vertices and 10 edges"
    expected = (
        "Expected six operations as in |nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
        ": after each operation ~ and the node it reads, in ascending order, without white space inside."
    )

    def _read(self, text: str) -> list[int]:
        match, names = _TEXT.fullmatch(text.strip()), self.operation_names
        if not match:
            raise ValueError("there are not six operations")
        for (u, v), operation in zip(CELL_EDGES, match.groups(), strict=True):
            if operation not in names:
                wrong = shared.shorten(operation)
                raise ValueError(f"edge {u} -> {v} has the operation {wrong} (the five are {', '.join(names)})")
        return [names.index(operation) for operation in match.groups()]

    def to_strings(self, batch: DagBatch) -> list[str]:
        operations = np.array(self.operation_names)[self.choices(batch)].tolist()
        return ["|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*names) for names in operations]

    def choices(self, batch: DagBatch) -> np.ndarray:
        """Operations of the six edges, int64 `[B, 6]`, in the order of the text."""
        return operations_of_edges(batch).cpu().numpy()

    def from_choices(self, choices: ArrayLike) -> DagBatch:
        """The inverse of `choices`; ValueError for others than whole numbers from 0 to 4 in the shape `[B, 6]`."""
        choices = torch.from_numpy(shared.whole_choices(choices, _LIMITS, self.name))
        return shared.from_operations(choices, _ADJACENCY.repeat(len(choices), 1, 1))

    def edge_labelled(self, batch: DagBatch) -> np.ndarray:
        """The cells with their operations on the edges, int64 `[B, 4, 4]`: operation of u -> v, -1 for no edge."""
        cells = np.full((len(batch), 4, 4), -1)
        cells[:, [u for u, _ in CELL_EDGES], [v for _, v in CELL_EDGES]] = self.choices(batch)
        return cells

    def contains(self, batch: DagBatch) -> Tensor:
        types, operations = batch.types, batch.types[:, 1:7]  # what `_faults` says, without looking for which vertex
        right = ((operations >= FIRST_OPERATION) & (operations < self.num_types)).all(1)
        right &= (types[:, 0] == INPUT) & (types[:, 7:8] == OUTPUT).any(1) & (batch.num_vertices == self.num_vertices)
        right &= (types[:, self.num_vertices :] == NO_VERTEX).all(1)
        return right & (batch.adjacency == self._wiring(batch)).flatten(1).all(1)

    def is_valid(self, batch: DagBatch) -> Tensor:
        return self.contains(batch)  # all graphs of this space share one wiring

    def _faults(self, batch: DagBatch) -> dict[str, Tensor]:
        return {**super()._faults(batch), "has other edges": (batch.adjacency != self._wiring(batch)).any(2)}

    def _wiring(self, batch: DagBatch) -> Tensor:
        more = batch.max_vertices - self.num_vertices  # fewer are cut: such graphs have another number of vertices
        return F.pad(_ADJACENCY.to(batch.types.device), (0, more, 0, more))

    def sample(self, n: int, seed: int) -> DagBatch:
        random = np.random.default_rng(seed)
        return self.from_choices(random.integers(0, NUM_OPERATIONS, size=(n, len(CELL_EDGES))))

    def neighbors(self, batch: DagBatch) -> list[DagBatch]:
        """For each graph the 24 that differ in one operation, in the order of `neighbor_rows`."""
        return [self.from_choices(changed) for changed in shared.one_change(self.choices(batch), _LIMITS)]

    def enumerate(self) -> DagBatch:
        return self.from_choices(_choices(np.arange(self.size)))

    def index(self, batch: DagBatch) -> np.ndarray:
        inside = self.contains(batch)
        rows = np.full(len(batch), -1)
        if inside.any():
            rows[inside.cpu().numpy()] = (batch.types[inside, 1:7] - FIRST_OPERATION).cpu().numpy() @ _PLACE_VALUES
        return rows

    def neighbor_rows(self, rows: ArrayLike) -> np.ndarray:
        """Rows of the 24 cells that differ in one operation, int64 `[B, 24]`: edge by edge, on each the four other
        operations in ascending order. ValueError for rows other than whole numbers 0 to 15,624."""
        rows = shared.whole_numbers(np.atleast_1d(rows), "A row of the NAS-Bench-201 space", self.size)
        return shared.one_change(_choices(rows), _LIMITS) @ _PLACE_VALUES

    def connected(self, batch: DagBatch) -> Tensor:
        """Whether a path of operations other than `none` leads from input to output, bool `[B]`."""
        present = operations_of_edges(batch).t() != NONE
        return torch.stack([torch.stack([present[edge] for edge in path]).all(0) for path in PATHS]).any(0)

    def canonical(self, batch: DagBatch) -> np.ndarray:
        """The class of each cell, int64 `[B]`, 0 to 6,465, numbered by first appearance in the order of rows.

        Two cells share a class exactly when the method `to_unique_str(True)` of the benchmark's cell structure writes
        the same expression for both: skips are replaced by what they copy, `none` and whatever is applied to a node 1
        that is zero become zero, and summands are sorted. It keeps zeros in sums, so some classes compute the same.
        """
        return self._classes[self.choices(batch) @ _PLACE_VALUES]

    def representatives(self) -> np.ndarray:
        """The first row of each class, int64 `[6466]`, in the order of classes."""
        return np.unique(self._classes, return_index=True)[1]

    @cached_property
    def _classes(self) -> np.ndarray:
        """The class of every row, int64 `[15625]`."""
        cells = []
        for a, b, c, d, e, f in itertools.product(range(NUM_OPERATIONS), repeat=len(CELL_EDGES)):
            node1 = self._expression((a, "0"))
            node2 = self._expression((b, "0"), (c, node1))
            cells.append(self._expression((d, "0"), (e, node1), (f, node2)))
        return pd.factorize(np.array(cells))[0]

    def _expression(self, *edges: tuple[int, str]) -> str:
        """The sum of what edges bring, operation by node, as text; `#` is zero."""
        summands = []
        for operation, node in edges:
            zero = operation == NONE or node == "#"
            applied = node if operation == SKIP else f"({node})@{self.operation_names[operation]}"
            summands.append("#" if zero else applied)
        return "+".join(sorted(summands))

    def flops(self, batch: DagBatch, dataset: str = "cifar10") -> Tensor:
        """For an image of cifar10, cifar100 or ImageNet16-120; ValueError for another data set."""
        head, size = _network(dataset)
        pixels = (size >> np.arange(len(STAGE_CHANNELS))) ** 2
        fixed = 27 * _CHANNELS[0] * pixels[0] + _REDUCTIONS @ pixels[1:] + head
        conv1x1 = CELLS_PER_STAGE * (_CHANNELS**2 @ pixels)
        return self._cost(batch, fixed, conv1x1, 9 * conv1x1)

    def params(self, batch: DagBatch, dataset: str = "cifar10") -> Tensor:
        """With the classes of cifar10, cifar100 or ImageNet16-120; ValueError for another data set."""
        head, _ = _network(dataset)
        normalised = 2 * _CHANNELS  # parameters of one normalisation in each stage
        fixed = 27 * _CHANNELS[0] + normalised[0] + _REDUCTIONS.sum() + 2 * normalised[1:].sum() + normalised[-1] + head
        weights, normalisation = CELLS_PER_STAGE * (_CHANNELS**2).sum(), CELLS_PER_STAGE * normalised.sum()
        return self._cost(batch, fixed, weights + normalisation, 9 * weights + normalisation)

    def _cost(self, batch: DagBatch, fixed: int, conv1x1: int, conv3x3: int) -> Tensor:
        """What the network costs, int64 `[B]`: a part that all share, and each convolution in all stages together."""
        operations = operations_of_edges(batch)
        ones, threes = ((operations == kind).sum(1) for kind in (CONV1X1, CONV3X3))
        return int(fixed) + int(conv1x1) * ones + int(conv3x3) * threes


NASBENCH201 = NasBench201Space()


def _choices(rows: np.ndarray) -> np.ndarray:
    """Operations of the six edges of cells given by their rows, int64 `[B, 6]`."""
    return rows[:, None] // _PLACE_VALUES % NUM_OPERATIONS


def operations_of_edges(batch: DagBatch) -> Tensor:
    """Operations of the six edges, int64 `[B, 6]`, on the device of the batch; ValueError outside the space."""
    NASBENCH201._require(batch)
    return batch.types[:, 1 : 1 + len(CELL_EDGES)] - FIRST_OPERATION


def _network(dataset: str) -> tuple[int, int]:
    """Weights and biases of the linear layer, and the side of an image."""
    if dataset not in DATASETS:
        found = shared.shorten(dataset)
        raise ValueError(f"NAS-Bench-201 has no data set {found}; the three are {', '.join(DATASETS)}.")
    classes, size = DATASETS[dataset]
    return (STAGE_CHANNELS[-1] + 1) * classes, size
