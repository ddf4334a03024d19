"""The ENAS macro search space with six layers, as encoded by D-VAE (Zhang et al., NeurIPS 2019).

An architecture is a DAG of 8 vertices: the input (vertex 0), six layers (vertices 1 to 6) and the output (vertex 7).
The backbone 0 -> 1 -> ... -> 7 is always there; each of the 15 skip connections u -> v with u + 2 <= v <= 6 is free,
and each layer is one of six operations. As text it is six rows: row v is `[operation, flag 0, ..., flag v-2]`, flag u
adding the edge u -> v:

    [[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]]

The backbone visits every vertex, so the vertices have only one topological order: two of these graphs are isomorphic
exactly when they are equal position by position, and one text stands for one architecture.

FLOPs and parameters are those of one stated network, which follows the conventions of ENAS's macro space (Pham et al.,
ICML 2018) with the 96 filters of D-VAE's final training, on 32 x 32 RGB images with 10 classes:

* stem: 3x3 convolution 3 -> 96;
* a layer that reads one vertex takes it as it is; one that reads k > 1 vertices concatenates them and merges
  them with a 1x1 convolution 96 k -> 96;
* then its operation, 96 -> 96, stride 1: `conv`: one k x k convolution; `sepconv`: a depthwise k x k and a
  pointwise 1x1 convolution; `avgpool` and `maxpool`: a 1x1 convolution, then 3x3 pooling;
* the resolution is 32 up to vertex 2, 16 for vertices 3 and 4, 8 for vertices 5 and 6. At each of the two
  borders, every earlier vertex that some later layer reads passes one factorised reduction (two 1x1
  convolutions 96 -> 48 with stride 2, the second on the image shifted by one pixel, concatenated); it is
  shared by all readers, and one that nobody reads is not built;
* head: global average pooling and a linear layer 96 -> 10 with bias.

Every convolution has no bias. The stem, each merge, each operation and each reduction ends in one batch normalisation
(2 x 96 parameters). FLOPs are multiply-adds of convolutions and of the linear layer; pooling, normalisation,
activations and concatenation are not counted.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from latentnas.graphs import DagBatch
from latentnas.spaces import _shared as shared
from latentnas.spaces._shared import FIRST_OPERATION

NUM_LAYERS = 6
NUM_OPERATIONS = 6

CHANNELS = 96
NUM_CLASSES = 10
IMAGE_SIZE = 32
REDUCE_AFTER = (2, 4)  # the last vertex at each resolution but the lowest

# Weights of the convolutions of each operation, in the order of the types 2 to 7.
_POINTWISE = CHANNELS**2
OPERATION_WEIGHTS = (
    9 * _POINTWISE, 9 * CHANNELS + _POINTWISE, 25 * _POINTWISE, 25 * CHANNELS + _POINTWISE, _POINTWISE, _POINTWISE
)  # fmt: skip

# NGAE's factor m of each type, 0 to 7 (released code): the input counts nothing, "other types" count 48.
COMPLEXITY_FACTORS = (0, 48, 10, 10, 26, 26, 1, 1)


def _limits(layers: int) -> list[list[int]]:
    """How many values each number of the text has, row by row."""
    return [[NUM_OPERATIONS] + [2] * row for row in range(layers)]


def _layout(layers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The places of the operations and of the flags among the choices of so many layers, and the edge u -> v that each
    flag adds: all u, all v. ValueError for no layer."""
    if layers < 1:
        raise ValueError(f"An architecture has at least one layer, but layers={layers}.")
    row, place = np.tril_indices(layers)
    is_flag = place > 0
    return np.flatnonzero(~is_flag), np.flatnonzero(is_flag), place[is_flag] - 1, row[is_flag] + 1


OPERATION_COLUMNS, FLAG_COLUMNS, FLAG_SOURCES, FLAG_TARGETS = _layout(NUM_LAYERS)


class EnasSpace(shared.OperationSpace):
    """The space of 6^6 x 2^15 six-layer architectures. Use the instance `ENAS`.

    Valid, whatever the number of layers, is what keeps D-VAE's rules: one input and one output, the whole backbone, and
    only one edge into the output. `skips` and `complexity` take graphs outside the space too.
    """

    name = "enas"
    num_vertices = 8
    num_types = 8
    type_names = (
        "input", "output", "conv3x3", "sepconv3x3", "conv5x5", "sepconv5x5", "avgpool3x3", "maxpool3x3",
    )  # fmt: skip
    size = NUM_OPERATIONS**NUM_LAYERS * 2 ** len(FLAG_COLUMNS)  # 1,528,823,808: too many to enumerate

    architecture = "an ENAS architecture"
    sizes = "8 vertices"
    expected = (
        "Expected six lists such as [[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]]: row r "
        "is an operation from 0 to 5 followed by r - 1 flags, each 0 or 1."
    )

    def _read(self, text: str) -> list[int]:
        rows = shared.read_json(text)
        shared.require_rows(rows, _limits(NUM_LAYERS))
        return [number for row in rows for number in row]

    def to_strings(self, batch: DagBatch) -> list[str]:
        rows = [list(range(start, start + size)) for size, start in enumerate(OPERATION_COLUMNS, 1)]
        return [str([choices[row].tolist() for row in rows]) for choices in self.choices(batch)]

    def choices(self, batch: DagBatch) -> np.ndarray:
        """The numbers of the text, row after row, int64 `[B, 21]`."""
        self._require(batch)
        choices = np.empty((len(batch), len(OPERATION_COLUMNS) + len(FLAG_COLUMNS)), dtype=np.int64)
        choices[:, OPERATION_COLUMNS] = batch.types[:, 1 : NUM_LAYERS + 1].cpu().numpy() - FIRST_OPERATION
        choices[:, FLAG_COLUMNS] = self.skips(batch).cpu().numpy()
        return choices

    def from_choices(self, choices: ArrayLike, layers: int = NUM_LAYERS) -> DagBatch:
        """The inverse of `choices`; for another number of layers graphs that `is_valid` accepts, `contains` not.
        ValueError for less than one layer, other choices, or another shape than `[B, layers * (layers + 1) / 2]`."""
        operations, flags, sources, targets = _layout(layers)
        limits = np.concatenate(_limits(layers))
        choices = torch.from_numpy(shared.whole_choices(choices, limits, f"{self.name} with {layers} layers"))
        adjacency = torch.eye(layers + 2, dtype=torch.bool).roll(1, dims=1).triu().repeat(len(choices), 1, 1)
        adjacency[:, sources, targets] = choices[:, flags] == 1
        return shared.from_operations(choices[:, operations], adjacency)

    def skips(self, batch: DagBatch) -> Tensor:
        """The 15 flags of any graph with at least 7 positions, bool `[B, 15]`, in the order of the text."""
        sources, targets = torch.tensor(np.array([FLAG_SOURCES, FLAG_TARGETS]), device=batch.types.device)
        return batch.adjacency[:, sources, targets]

    def contains(self, batch: DagBatch) -> Tensor:
        return self.is_valid(batch) & (batch.num_vertices == self.num_vertices)

    def sample(self, n: int, seed: int, layers: int = NUM_LAYERS) -> DagBatch:
        """With another number of layers graphs that are valid but not in this space; ValueError for less than one.
        Samples of one seed but different `n` share their flags, row by row: for others take another seed."""
        random = np.random.default_rng(seed)
        choices = random.integers(0, 2, size=(n, layers * (layers + 1) // 2))
        choices[:, _layout(layers)[0]] = random.integers(0, NUM_OPERATIONS, size=(n, layers))
        return self.from_choices(choices, layers)

    def neighbors(self, batch: DagBatch) -> list[DagBatch]:
        """For each graph the 45 that differ in one operation or in one flag, in the order of the text."""
        changed = shared.one_change(self.choices(batch), np.concatenate(_limits(NUM_LAYERS)))
        return [self.from_choices(choices) for choices in changed]

    def _faults(self, batch: DagBatch) -> dict[str, Tensor]:
        last = batch.num_vertices[:, None] - 1
        position = torch.arange(batch.max_vertices, device=last.device)
        chained = F.pad(batch.adjacency.diagonal(1, 1, 2), (0, 1))[:, : batch.max_vertices]
        return {
            **super()._faults(batch),
            "has no edge to the next vertex": ~chained & (position < last),
            "has other edges into it than that of the last layer": (batch.adjacency.sum(1) != 1) & (position == last),
        }

    def flops(self, batch: DagBatch) -> Tensor:
        weights, pixels = self._convolutions(batch)
        return (weights * pixels).sum(1) + CHANNELS * NUM_CLASSES

    def params(self, batch: DagBatch) -> Tensor:
        weights, _ = self._convolutions(batch)
        normalisation = 2 * CHANNELS * (weights > 0).sum(1)
        return weights.sum(1) + normalisation + CHANNELS * NUM_CLASSES + NUM_CLASSES

    def complexity(self, batch: DagBatch) -> Tensor:
        """NGAE's complexity as in its released code, float64 `[B]`, not normalised: 48 x m x in-degree summed over all
        vertices, with m from `COMPLEXITY_FACTORS`."""
        factors = torch.tensor(COMPLEXITY_FACTORS, dtype=torch.float64, device=batch.types.device)
        return (48 * factors[batch.types.clamp(min=0)] * batch.adjacency.sum(1) * batch.present).sum(1)

    def _convolutions(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        """Weights `[B, K]`, 0 where it is not built, and output pixels `[K]` of every convolution block."""
        self._require(batch)
        device = batch.types.device
        layers = torch.arange(1, NUM_LAYERS + 1, device=device)
        layer_pixels = IMAGE_SIZE**2 // 4 ** sum((layers > border).long() for border in REDUCE_AFTER)

        stem = torch.full((len(batch), 1), 3 * 9 * CHANNELS, device=device)
        inputs = batch.adjacency.sum(1)[:, layers]
        merges = torch.where(inputs > 1, inputs * CHANNELS**2, 0)
        operations = torch.tensor(OPERATION_WEIGHTS, device=device)[batch.types[:, layers] - FIRST_OPERATION]
        weights, pixels = [stem, merges, operations], [IMAGE_SIZE**2, *layer_pixels.tolist() * 2]
        for number, border in enumerate(REDUCE_AFTER, start=1):
            # the output never counts as a reader here: its one edge comes from the last layer
            read_later = batch.adjacency[:, : border + 1, border + 1 :].any(2)
            weights.append(read_later * CHANNELS**2)
            pixels += [IMAGE_SIZE**2 // 4**number] * (border + 1)
        return torch.cat(weights, dim=1), torch.tensor(pixels, device=device)


ENAS = EnasSpace()
