"""The cell search space of NAS-Bench-201 (Dong and Yang, ICLR 2020).

A cell has four nodes, each the sum of what its incoming edges bring; node 0 is the input, node 3 the output.
Each of the six edges u -> v, u < v, carries one of five operations, so there are 5^6 = 15,625 cells. As text:

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|        (`op~u` is the operation on the edge from node u)

Six numbers say the same: the operation of the edges (0,1), (0,2), (1,2), (0,3), (1,3), (2,3), in that order,
each its place in `operation_names`. The row of an architecture is its place among all 15,625 in the plain
lexicographic order of these six numbers; the order of the official file is another one.

As a graph with the operations on its vertices (the encoding of SVGe, Lukasik et al., IJCNN 2021) it has eight
vertices: the input, the six edges of the cell in the order above, the output; an edge joins two operations
that follow one another in the cell. The ten edges are the same for all cells, only the six types differ.

FLOPs and parameters are those of the network every cell is trained in, on 32 x 32 images (CIFAR) or 16 x 16
(ImageNet16-120):

* stem: 3x3 convolution 3 -> 16;
* three stages of five cells with 16, 32 and 64 channels; in a cell, `nor_conv_kxk` is ReLU, a k x k
  convolution and batch normalisation, `avg_pool_3x3` is 3x3 pooling with stride 1;
* before the second and the third stage a residual block that halves the resolution: two 3x3 convolutions
  (C -> 2C with stride 2, 2C -> 2C) beside 2x2 average pooling and a 1x1 convolution C -> 2C;
* head: batch normalisation, ReLU, global average pooling, a linear layer 64 -> classes with bias.

No convolution has a bias; one batch normalisation follows each but the 1x1 convolution of the residual block.
FLOPs are multiply-adds of the convolutions and of the linear layer with its bias; normalisation, pooling,
activations and sums are not counted. This is the convention of the benchmark's own records.
"""

import itertools
import re
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike

from latentnas.graphs import DagBatch

NUM_OPERATIONS = 5
FIRST_OPERATION = 2  # type of operation 0; types 0 and 1 are the input and the output
NONE, SKIP, CONV1X1, CONV3X3 = range(4)  # operation numbers that the code below names

# The six edges of the cell in the order of the text, and the ten edges of the graph made from it.
CELL_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
GRAPH_EDGES = ((0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7))
# The paths from input to output, each as the places of its edges in CELL_EDGES.
PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))

STAGE_CHANNELS = (16, 32, 64)
CELLS_PER_STAGE = 5
NUM_CLASSES = {"cifar10": 10, "cifar100": 100, "ImageNet16-120": 120}
IMAGE_SIZES = {"cifar10": 32, "cifar100": 32, "ImageNet16-120": 16}

_PLACE_VALUES = NUM_OPERATIONS ** np.arange(5, -1, -1)  # of the six numbers, read as one number in base 5
_TEXT = re.compile(r"\|([^|~+]*)~0\|\+\|([^|~+]*)~0\|([^|~+]*)~1\|\+\|([^|~+]*)~0\|([^|~+]*)~1\|([^|~+]*)~2\|")


class NasBench201Space:
    """The space of 15,625 cells. Use the instance `NASBENCH201`.

    `numbers` stands for anything array-like of whole numbers 0 to 4 with shape [B, 6]; every method that
    takes it raises ValueError for other shapes and values. Arrays returned are NumPy, graphs a `DagBatch`.
    """

    name = "nasbench201"
    num_vertices = 8
    num_types = 7
    operation_names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    type_names = ("input", "output", *operation_names)
    input_type = 0
    output_type = 1
    size = NUM_OPERATIONS ** len(CELL_EDGES)

    # text

    def parse(self, text: str) -> str:
        """The text of one architecture without surrounding white space. Raises ValueError saying what is
        wrong with a text that is malformed or belongs to another space."""
        return self._write(self._read(text))

    def numbers(self, texts: list[str]) -> np.ndarray:
        """Operations of the six edges, int64 [B, 6], in the order of the text. Raises ValueError naming the
        text in the list and what is wrong with it."""
        if isinstance(texts, str):
            raise TypeError("numbers takes a list of NAS-Bench-201 architectures, not one text: write [text].")
        numbers = np.empty((len(texts), len(CELL_EDGES)), dtype=np.int64)
        for index, text in enumerate(texts):
            try:
                numbers[index] = self._read(text)
            except ValueError as error:
                raise ValueError(f"Text {index + 1} of {len(texts)}: {error}") from None
        return numbers

    def to_batch(self, texts: list[str]) -> DagBatch:
        """Graphs of a list of texts. Raises ValueError like `numbers`."""
        return self.from_numbers(self.numbers(texts))

    def to_strings(self, batch: DagBatch) -> list[str]:
        """Texts of graphs. Raises ValueError when one is not in the space: filter with `contains` first."""
        return [self._write(row) for row in self.to_numbers(batch).tolist()]

    # graphs

    def from_numbers(self, numbers: ArrayLike) -> DagBatch:
        """Graphs with the operations on the vertices: 8 vertices, 10 edges."""
        numbers = torch.from_numpy(_six(numbers))
        types = torch.full((len(numbers), self.num_vertices), self.input_type)
        types[:, 1:-1] = numbers + FIRST_OPERATION
        types[:, -1] = self.output_type
        adjacency = _graph_adjacency().repeat(len(numbers), 1, 1)
        return DagBatch(types, adjacency, torch.full((len(numbers),), self.num_vertices))

    def to_numbers(self, batch: DagBatch) -> np.ndarray:
        """The inverse of `from_numbers`, int64 [B, 6]. Raises ValueError when a graph is not in the space."""
        self._require(batch)
        return batch.types[:, 1 : self.num_vertices - 1].cpu().numpy() - FIRST_OPERATION

    def edge_labelled(self, numbers: ArrayLike) -> np.ndarray:
        """The cell with its operations on the edges, int64 [B, 4, 4]: operation of u -> v, -1 for no edge."""
        numbers = _six(numbers)
        cells = np.full((len(numbers), 4, 4), -1)
        cells[:, [u for u, _ in CELL_EDGES], [v for _, v in CELL_EDGES]] = numbers
        return cells

    def contains(self, batch: DagBatch) -> torch.Tensor:
        """Which graphs are architectures of this space, bool [B]: input, six operations and output, in this
        order, with exactly the ten edges. Cells whose output is not connected to their input count too."""
        count = self.num_vertices
        if batch.max_vertices < count:
            return torch.zeros(len(batch), dtype=torch.bool, device=batch.types.device)
        types, adjacency = batch.types[:, :count], batch.adjacency[:, :count, :count]
        wired = (adjacency == _graph_adjacency().to(adjacency.device)).flatten(1).all(1)
        nothing_else = batch.adjacency.sum((1, 2)) == len(GRAPH_EDGES)
        operations = types[:, 1:-1]
        typed = ((operations >= FIRST_OPERATION) & (operations < self.num_types)).all(1)
        ends = (types[:, 0] == self.input_type) & (types[:, -1] == self.output_type)
        return wired & nothing_else & typed & ends & (batch.num_vertices == count)

    def is_valid(self, batch: DagBatch) -> torch.Tensor:
        """Validity of generated graphs, bool [B]. All graphs of this space share one wiring, so this is
        `contains`."""
        return self.contains(batch)

    # the whole space

    def sample(self, n: int, seed: int) -> DagBatch:
        """`n` architectures drawn uniformly from all 15,625, with replacement."""
        random = np.random.default_rng(seed)
        return self.from_numbers(random.integers(0, NUM_OPERATIONS, size=(n, len(CELL_EDGES))))

    def enumerate(self) -> np.ndarray:
        """All architectures, int64 [15625, 6], in the order of their rows."""
        return np.arange(self.size)[:, None] // _PLACE_VALUES % NUM_OPERATIONS

    def index(self, numbers: ArrayLike) -> np.ndarray:
        """The row of each architecture, int64 [B]: its place in `enumerate`."""
        return _six(numbers) @ _PLACE_VALUES

    def neighbors(self, rows: ArrayLike) -> np.ndarray:
        """Rows of the 24 cells that differ in one operation, int64 [B, 24]: edge by edge, on each the four
        other operations in ascending order. Raises ValueError for rows other than whole numbers 0 to 15,624.
        """
        rows = whole_numbers(rows, "A row of the NAS-Bench-201 space", self.size).reshape(-1, 1, 1)
        current = rows // _PLACE_VALUES[:, None] % NUM_OPERATIONS  # [B, 6, 1]
        others = np.arange(NUM_OPERATIONS - 1)
        others = others + (others >= current)  # [B, 6, 4]
        return (rows + (others - current) * _PLACE_VALUES[:, None]).reshape(len(rows), 24)

    # what a cell computes

    def connected(self, numbers: ArrayLike) -> np.ndarray:
        """Whether a path of operations other than `none` leads from input to output, bool [B]."""
        present = _six(numbers) != NONE
        return np.any([present[:, path].all(1) for path in PATHS], axis=0)

    def require_connected(self, numbers: ArrayLike) -> None:
        """Raise ValueError naming the first cell whose output does not depend on its input."""
        numbers = _six(numbers)
        broken = np.flatnonzero(~self.connected(numbers))
        if len(broken):
            raise ValueError(
                f"{len(broken)} of {len(numbers)} cells are disconnected: no path of operations other than "
                f"none leads from input to output. The first is {self._write(numbers[broken[0]].tolist())} "
                f"at index {broken[0]}. Keep only those that NASBENCH201.connected(numbers) accepts."
            )

    def canonical(self, numbers: ArrayLike) -> np.ndarray:
        """The class of each cell, int64 [B], 0 to 6,465, numbered by first appearance in the order of rows.

        Two cells share a class exactly when the method `to_unique_str(True)` of the benchmark's cell
        structure writes the same expression for both: skips are replaced by what they copy, `none` and
        whatever is applied to a node 1 that is zero become zero, and summands are sorted. The rule is not
        complete: it keeps zeros in sums, so some cells in different classes compute the same function.
        """
        return self._classes[self.index(numbers)]

    def representatives(self) -> np.ndarray:
        """The first row of each class, int64 [6466], in the order of classes."""
        return np.unique(self._classes, return_index=True)[1]

    @cached_property
    def _classes(self) -> np.ndarray:
        """The class of every row, int64 [15625]."""
        operations = range(NUM_OPERATIONS)
        node1 = [self._expression(a, "0") for a in operations]
        node2 = {
            (a, b, c): "+".join(sorted([self._expression(b, "0"), self._expression(c, node1[a])]))
            for a, b, c in itertools.product(operations, repeat=3)
        }
        from_input = [self._expression(d, "0") for d in operations]
        from_node1 = [[self._expression(e, node1[a]) for e in operations] for a in operations]
        classes: dict[str, int] = {}
        numbers = []
        for (a, b, c), d, e, f in itertools.product(node2, operations, operations, operations):
            summands = sorted([from_input[d], from_node1[a][e], self._expression(f, node2[a, b, c])])
            numbers.append(classes.setdefault("+".join(summands), len(classes)))
        return np.array(numbers)

    def _expression(self, operation: int, node: str) -> str:
        """What an edge brings from a node, as text; `#` is zero."""
        if operation == NONE or node == "#":
            return "#"
        return node if operation == SKIP else f"({node})@{self.operation_names[operation]}"

    def path_features(self, numbers: ArrayLike) -> np.ndarray:
        """Path encoding, bool [B, 180], as in BANANAS (White et al., AAAI 2021): one feature for each path
        from input to output and each sequence of operations on it.

        The paths are 0-3 (5 features), 0-1-3 (25), 0-2-3 (25) and 0-1-2-3 (125), and the sequences of each
        are in lexicographic order. A path with a `none` on it is absent: its features are never set.
        """
        numbers = _six(numbers)
        blocks = []
        for path in PATHS:
            count = NUM_OPERATIONS ** len(path)
            operations = numbers[:, path]
            sequence = operations @ _PLACE_VALUES[-len(path) :]
            present = (operations != NONE).all(1)
            blocks.append((np.arange(count) == sequence[:, None]) & present[:, None])
        return np.concatenate(blocks, axis=1)

    # cost

    def flops(self, numbers: ArrayLike, dataset: str) -> np.ndarray:
        """Multiply-adds for one image, int64 [B], of the network stated at the top of this module.
        Raises ValueError for a data set other than cifar10, cifar100 and ImageNet16-120."""
        num_classes = _num_classes(dataset)
        pixels = [(IMAGE_SIZES[dataset] >> stage) ** 2 for stage in range(3)]
        total = 27 * STAGE_CHANNELS[0] * pixels[0] + STAGE_CHANNELS[-1] * num_classes + num_classes
        for channels, area in zip(STAGE_CHANNELS[1:], pixels[1:], strict=True):
            total += _reduction_weights(channels) * area
        conv1x1 = CELLS_PER_STAGE * sum(c * c * area for c, area in zip(STAGE_CHANNELS, pixels, strict=True))
        return total + _weighted_count(numbers, conv1x1, 9 * conv1x1)

    def params(self, numbers: ArrayLike, dataset: str) -> np.ndarray:
        """Trainable parameters, int64 [B], of the network stated at the top of this module.
        Raises ValueError like `flops`."""
        num_classes = _num_classes(dataset)
        first, *later = STAGE_CHANNELS
        total = 27 * first + 2 * first + 2 * later[-1] + later[-1] * num_classes + num_classes
        total += sum(_reduction_weights(channels) + 2 * 2 * channels for channels in later)
        weights = CELLS_PER_STAGE * sum(c * c for c in STAGE_CHANNELS)
        normalisation = CELLS_PER_STAGE * sum(2 * c for c in STAGE_CHANNELS)
        return total + _weighted_count(numbers, weights + normalisation, 9 * weights + normalisation)

    # checks

    def _read(self, text: str) -> list[int]:
        """The six numbers of a text."""
        match = _TEXT.fullmatch(text.strip()) if isinstance(text, str) else None
        if not match:
            raise ValueError(f"Not a NAS-Bench-201 architecture: {_shorten(text)}. {_EXPECTED}")
        for (u, v), operation in zip(CELL_EDGES, match.groups(), strict=True):
            if operation not in self.operation_names:
                raise ValueError(
                    f"Not a NAS-Bench-201 architecture: the edge {u} -> {v} of {_shorten(text)} has the "
                    f"operation {operation!r}. The five are {', '.join(self.operation_names)}."
                )
        return [self.operation_names.index(operation) for operation in match.groups()]

    def _write(self, numbers: list[int]) -> str:
        """The text of six numbers."""
        names = [self.operation_names[number] for number in numbers]
        return "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*names)

    def _require(self, batch: DagBatch) -> None:
        """Raise ValueError unless all graphs are architectures of this space."""
        foreign = (~self.contains(batch)).nonzero().flatten().tolist()
        if foreign:
            raise ValueError(
                f"{len(foreign)} of {len(batch)} graphs are not architectures of the NAS-Bench-201 space, "
                f"the first at index {foreign[0]} with vertex types {batch.types[foreign[0]].tolist()}. "
                "Keep only those that NASBENCH201.contains(batch) accepts."
            )


NASBENCH201 = NasBench201Space()

_EXPECTED = (
    "Expected six operations as in |nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|"
    "none~2|: after each operation ~ and the node it reads, in ascending order, without white space inside."
)


def _graph_adjacency() -> torch.Tensor:
    """The edges all graphs share, bool [8, 8]."""
    adjacency = torch.zeros(8, 8, dtype=torch.bool)
    adjacency[[u for u, _ in GRAPH_EDGES], [v for _, v in GRAPH_EDGES]] = True
    return adjacency


def _reduction_weights(channels: int) -> int:
    """Weights of the convolutions in the residual block that doubles to `channels`; all at one resolution."""
    half = channels // 2
    return 9 * half * channels + 9 * channels**2 + half * channels


def _weighted_count(numbers: ArrayLike, conv1x1: int, conv3x3: int) -> np.ndarray:
    """What the convolutions of a cell cost in all stages together, int64 [B]."""
    numbers = _six(numbers)
    return conv1x1 * (numbers == CONV1X1).sum(1) + conv3x3 * (numbers == CONV3X3).sum(1)


def _num_classes(dataset: str) -> int:
    if dataset not in NUM_CLASSES:
        raise ValueError(
            f"NAS-Bench-201 has no data set {dataset!r} with a cost of its own. The three are {', '.join(NUM_CLASSES)}."
        )
    return NUM_CLASSES[dataset]


def _six(numbers: ArrayLike) -> np.ndarray:
    """Checked operation numbers, int64 [B, 6]."""
    numbers = whole_numbers(numbers, "An operation of a NAS-Bench-201 cell", NUM_OPERATIONS)
    if numbers.size == 0:
        return numbers.reshape(0, len(CELL_EDGES))
    if numbers.ndim != 2 or numbers.shape[1] != len(CELL_EDGES):
        raise ValueError(
            f"NAS-Bench-201 cells are given as an array of shape [B, 6], one operation for each of the six "
            f"edges, but this one has shape {list(numbers.shape)}."
        )
    return numbers


def whole_numbers(values: ArrayLike, what: str, limit: int) -> np.ndarray:
    """Array-like whole numbers from 0 below `limit` as int64. Raises ValueError for anything else."""
    values = np.asarray(values)
    if values.size and values.dtype.kind not in "iu":
        raise ValueError(f"{what} is a whole number from 0 to {limit - 1}, but these are of type {values.dtype}.")
    outside = values[(values < 0) | (values >= limit)]
    if outside.size:
        raise ValueError(f"{what} is a whole number from 0 to {limit - 1}, not {outside[0]}.")
    return values.astype(np.int64)


def _shorten(text: object) -> str:
    """The text in quotes, cut to what fits in an error."""
    quoted = repr(text)
    return quoted if len(quoted) <= 120 else quoted[:117] + "..."
