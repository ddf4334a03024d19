"""Networks of the ENAS macro space (Pham et al., ICML 2018) with weights that they can share.

The network is the one stated in `spaces/enas.py`, smaller and on smaller images: layer l merges the vertices that it
reads with a 1x1 convolution, then applies its operation; after layer 3 the resolution is halved by average pooling;
global average pooling and a linear layer end it. All weights of every operation on every layer exist once.
Architectures share them, each with its own images, normalised by their own statistics, in evaluation too: running
averages over different architectures would mean nothing.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from latentnas.graphs import DagBatch
from latentnas.measure.layers import NUM_CLASSES, average_pool, by_group, halve, members, uniform
from latentnas.spaces.enas import FIRST_OPERATION, NUM_LAYERS, NUM_OPERATIONS

KERNELS = (3, 3, 5, 5, 1, 1)  # of each operation's convolution; pooling follows a 1x1 convolution
SEPARABLE = (False, True, False, True, False, False)
AVERAGE_POOL, MAX_POOL = 4, 5
REDUCE_AFTER = 3  # the last layer at full resolution


class Normalised(nn.Module):
    """A convolution and the normalisation behind it, of A architectures: `[B, A, C, H, W]` -> the same."""

    def __init__(self, generator: Generator, inputs: int, outputs: int, kernel: int, separable: bool = False) -> None:
        super().__init__()
        self.depthwise = None
        if separable:
            self.depthwise = nn.Parameter(uniform([generator], (inputs, 1, kernel, kernel), kernel**2)[0])
            kernel = 1
        self.pointwise = nn.Parameter(uniform([generator], (outputs, inputs, kernel, kernel), inputs * kernel**2)[0])
        self.weight, self.bias = nn.Parameter(torch.ones(outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, images: Tensor) -> Tensor:
        architectures = images.shape[1]
        mapped = images.flatten(0, 1)
        if self.depthwise is not None:
            mapped = F.conv2d(mapped, self.depthwise, padding="same", groups=len(self.depthwise))
        mapped = F.conv2d(mapped, self.pointwise, padding="same")
        mapped = mapped.unflatten(0, (-1, architectures)).flatten(1, 2)
        weight, bias = self.weight.repeat(architectures), self.bias.repeat(architectures)
        return F.batch_norm(mapped, None, None, weight, bias, training=True).unflatten(1, (architectures, -1))


class Operation(nn.Module):
    """One of the six operations, number `number`: `[B, A, C, H, W]` -> the same."""

    def __init__(self, generator: Generator, channels: int, number: int) -> None:
        super().__init__()
        self.number = number
        self.convolution = Normalised(generator, channels, channels, KERNELS[number], SEPARABLE[number])

    def forward(self, images: Tensor) -> Tensor:
        mapped = self.convolution(F.relu(images))
        if self.number not in (AVERAGE_POOL, MAX_POOL):
            return mapped
        flat = mapped.flatten(0, 1)
        flat = F.max_pool2d(flat, 3, 1, 1) if self.number == MAX_POOL else average_pool(flat)
        return flat.unflatten(0, mapped.shape[:2])


def beginnings(architectures: DagBatch, layers: int) -> tuple[Tensor, Tensor]:
    """The first of A architectures for each way to begin, up to a layer `[U]`, and the way of each `[A]`. Ways are in
    the order of operations and edges, layer after layer."""
    types, edges = architectures.types.long(), architectures.adjacency.long()
    written = [torch.cat([types[:, layer, None], edges[:, :layer, layer]], dim=1) for layer in range(1, layers + 1)]
    _, ways, counts = torch.cat(written, dim=1).unique(dim=0, return_inverse=True, return_counts=True)
    return ways.argsort(stable=True)[counts.cumsum(0) - counts], ways


class MacroNetwork(nn.Module):
    """All weights of all architectures of so many layers, six in the space, initialised from `seed`."""

    def __init__(self, seed: int, layers: int = NUM_LAYERS, channels: int = 8) -> None:
        super().__init__()
        self.layers = layers
        generator = Generator().manual_seed(seed)
        self.stem = Normalised(generator, 1, channels, 3)
        sizes = range(2 * channels, (layers + 1) * channels, channels)
        self.merges = nn.ModuleList(Normalised(generator, inputs, channels, 1) for inputs in sizes)
        self.operations = nn.ModuleList()
        for _ in range(layers):
            every = (Operation(generator, channels, number) for number in range(NUM_OPERATIONS))
            self.operations.append(nn.ModuleList(every))
        self.classifier = nn.Linear(channels, NUM_CLASSES)
        with torch.no_grad():
            bound = 1 / math.sqrt(channels)
            self.classifier.weight.uniform_(-bound, bound, generator=generator)
            self.classifier.bias.zero_()

    def forward(self, images: Tensor, architectures: DagBatch) -> Tensor:
        """Logits `[A, B, classes]` of A architectures. With images for all, those that begin alike are computed once
        up to the layer at which they part.

        Args:
            images: `[B, A, 1, H, W]`, each architecture's own; A may be 1 for all the same.
            architectures: A graphs of the ENAS space, or of its rules with as many layers as the network; ValueError
                for another number.
        """
        architectures = architectures.to(images.device)
        if (architectures.num_vertices != self.layers + 2).any():
            found = f"not of {sorted(set(architectures.num_vertices.tolist()))}. Build one with so many layers"
            wanted = f"{self.layers} layers, so it takes graphs of {self.layers + 2} vertices"
            raise ValueError(f"This network has {wanted}, {found}.")
        if images.shape[1] not in (1, len(architectures)):
            found = f"{images.shape[1]} sets of images for {len(architectures)} architectures"
            raise ValueError(f"{found}: give each its own, or one set for all.")
        shared, each = images.shape[1] < len(architectures), torch.arange(len(architectures), device=images.device)
        vertices, columns = [self.stem(images)], [torch.zeros_like(each) if shared else each]
        for layer, operations in enumerate(self.operations, start=1):
            rows, column = beginnings(architectures, layer) if shared else (each, each)
            hidden = self._merge(vertices, [of[rows] for of in columns], architectures.adjacency[rows, :layer, layer])
            chosen = members(architectures.types[rows, layer] - FIRST_OPERATION, NUM_OPERATIONS)
            vertices.append(by_group(chosen, hidden, operations))
            columns.append(column)
            if layer == REDUCE_AFTER:
                vertices = [halve(vertex) for vertex in vertices]
        pooled = F.relu(vertices[-1]).mean(dim=(3, 4))  # [B, A, C]
        logits = self.classifier(pooled).transpose(0, 1)
        return logits[columns[-1]] if shared else logits

    def _merge(self, vertices: list[Tensor], columns: list[Tensor], reads: Tensor) -> Tensor:
        """What a layer gets in each of A architectures: its only input as it is, or a 1x1 convolution of all that
        `reads [A, V]` names. An architecture has a vertex in that vertex's column `[A]`."""
        groups = members((reads.sum(dim=1) > 1).long(), 2)

        def merged(_: Tensor) -> Tensor:
            gates = reads[groups[1]].float()[None, :, :, None, None, None]
            taken = [vertex.index_select(1, column[groups[1]]) for vertex, column in zip(vertices, columns)]
            return self.merges[len(vertices) - 2]((torch.stack(taken, dim=2) * gates).flatten(2, 3))

        last = vertices[-1]
        if last.shape[1] != len(reads):  # else the columns are those of the layer, in the same order
            last = last.index_select(1, columns[-1])
        return by_group(groups, last, [nn.Identity(), merged])
