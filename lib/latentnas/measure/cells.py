"""Networks made of NAS-Bench-201 cells (Dong and Yang, ICLR 2020), many of them trained side by side.

The macro network is that of NAS-Bench-201, smaller: a 3x3 convolution, ``cells`` cells, a residual block that
halves the resolution and doubles the channels, ``cells`` cells, normalisation, global average pooling, a
linear layer. In a cell, node 0 is the input and node j the sum over i < j of operation (i, j) on node i.

M networks of the same size are one module. Their channels lie next to each other, ``[B, M * C, H, W]``; a
grouped convolution keeps them apart, and the loss is a sum, so each is trained as if it were alone. On a
small machine this is what makes thousands of trainings affordable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # in the order of the architecture's text
NONE, SKIP, CONV1, CONV3, POOL = range(5)  # operation numbers of spaces/nasbench201.py
MOMENTUM = 0.1  # of the running statistics of batch normalisation


@dataclass(frozen=True)
class Skeleton:
    """The macro network around the cell."""

    channels: int = 8  # C of the first stage; the second has 2 C
    cells: int = 1  # a stage
    image_channels: int = 1
    num_classes: int = 10


class Normalisation(nn.Module):
    """Batch normalisation of M * C channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, images: Tensor) -> Tensor:
        return functional.batch_norm(images, self.mean, self.variance, self.weight, self.bias, self.training, MOMENTUM)


class Convolution(nn.Module):
    """M convolutions side by side, each with batch normalisation; ``[B, M * inputs, H, W]`` ->
    ``[B, M * outputs, H / stride, W / stride]``."""

    def __init__(self, seeds: list, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs * kernel**2)  # PyTorch's own initialisation
        self.weight = nn.Parameter(uniform(seeds, (outputs, inputs, kernel, kernel), bound).flatten(0, 1))
        self.normalisation = Normalisation(len(seeds) * outputs)
        self.stride, self.padding, self.groups = stride, kernel // 2, len(seeds)

    def forward(self, images: Tensor) -> Tensor:
        mapped = functional.conv2d(images, self.weight, None, self.stride, self.padding, 1, self.groups)
        return self.normalisation(mapped)


def uniform(generators: list[torch.Generator], shape: tuple[int, ...], bound: float) -> Tensor:
    """``[M, *shape]``, uniform in -bound to bound, each network's part from its own generator."""
    drawn = [torch.rand(shape, generator=generator) for generator in generators]
    return (2 * torch.stack(drawn) - 1) * bound


def average_pool(images: Tensor) -> Tensor:
    """3x3 average pooling with stride 1 that leaves the border out of the mean, ``[B, C, H, W]``.

    As a depthwise convolution it is several times faster on a CPU than PyTorch's own pooling.
    """
    channels, size = images.shape[1], images.shape[2:]
    ones = images.new_ones(channels, 1, 3, 3)
    counts = functional.conv2d(images.new_ones(1, 1, *size), ones[:1], padding=1)
    return functional.conv2d(images, ones, padding=1, groups=channels) / counts


class Edge(nn.Module):
    """The operations on one edge of M cells: each network has its own."""

    def __init__(self, operations: Tensor, channels: int, generators: list[torch.Generator]) -> None:
        super().__init__()
        self.channels = channels
        self.convolutions = nn.ModuleDict()
        self.members = {}
        for operation in range(5):
            members = (operations == operation).nonzero().flatten()
            if not len(members):
                continue
            self.members[operation] = members
            if operation in (CONV1, CONV3):
                drawn = [generators[member] for member in members.tolist()]
                kernel = 3 if operation == CONV3 else 1
                self.convolutions[str(operation)] = Convolution(drawn, channels, channels, kernel)
        self.order = torch.cat(list(self.members.values())).argsort()

    def forward(self, node: Tensor) -> Tensor | None:
        """``[B, M, C, H, W]``; None stands for zeros."""
        if list(self.members) == [NONE]:
            return None
        parts = []
        for operation, members in self.members.items():
            chosen = node if len(self.members) == 1 else node.index_select(1, members)
            parts.append(self.apply_operation(operation, chosen))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1).index_select(1, self.order)

    def apply_operation(self, operation: int, node: Tensor) -> Tensor:
        if operation == NONE:
            return torch.zeros_like(node)
        if operation == SKIP:
            return node
        flat = node.flatten(1, 2)
        if operation == POOL:
            flat = average_pool(flat)
        else:
            flat = self.convolutions[str(operation)](functional.relu(flat))
        return flat.unflatten(1, (-1, self.channels))


class Cell(nn.Module):
    """M cells side by side, ``[B, M, C, H, W]`` -> the same."""

    def __init__(self, operations: Tensor, channels: int, generators: list[torch.Generator]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(Edge(operations[:, e], channels, generators) for e in range(len(EDGES)))

    def forward(self, node: Tensor) -> Tensor:
        nodes = [node]
        for target in range(1, 4):
            reached = [edge(nodes[i]) for edge, (i, j) in zip(self.edges, EDGES) if j == target]
            reached = [part for part in reached if part is not None]
            nodes.append(sum(reached[1:], reached[0]) if reached else torch.zeros_like(node))
        return nodes[3]


class Reduction(nn.Module):
    """M blocks that halve the resolution by average pooling and double the channels by a 1x1 convolution."""

    def __init__(self, channels: int, generators: list[torch.Generator]) -> None:
        super().__init__()
        self.convolution = Convolution(generators, channels, 2 * channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(functional.relu(functional.avg_pool2d(images, 2)))


class CellNetworks(nn.Module):
    """M networks, network m with the cell ``operations[m]``.

    Args:
        operations: int64 ``[M, 6]``, an operation number for each edge.
        seeds: M whole numbers; network m is initialised from ``seeds[m]`` alone.
    """

    def __init__(self, operations: Tensor, seeds: list[int], skeleton: Skeleton) -> None:
        super().__init__()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.networks, self.channels = len(operations), skeleton.channels
        channels, wide = skeleton.channels, 2 * skeleton.channels
        self.stem = Convolution(generators, skeleton.image_channels, channels, 3)
        self.narrow = nn.ModuleList(Cell(operations, channels, generators) for _ in range(skeleton.cells))
        self.reduction = Reduction(channels, generators)
        self.wide = nn.ModuleList(Cell(operations, wide, generators) for _ in range(skeleton.cells))
        self.normalisation = Normalisation(self.networks * wide)
        bound = 1 / math.sqrt(wide)
        self.classifier = nn.Parameter(uniform(generators, (wide, skeleton.num_classes), bound))
        self.bias = nn.Parameter(torch.zeros(self.networks, 1, skeleton.num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[M, B, classes]`` of images ``[B, image_channels, H, W]``."""
        hidden = self.stem(images.repeat(1, self.networks, 1, 1))
        hidden = hidden.unflatten(1, (self.networks, -1))
        for cell in self.narrow:
            hidden = cell(hidden)
        hidden = self.reduction(hidden.flatten(1, 2)).unflatten(1, (self.networks, -1))
        for cell in self.wide:
            hidden = cell(hidden)
        hidden = functional.relu(self.normalisation(hidden.flatten(1, 2)))
        pooled = hidden.mean(dim=(2, 3)).unflatten(1, (self.networks, -1))  # [B, M, 2 C]
        return torch.baddbmm(self.bias, pooled.transpose(0, 1), self.classifier)


def params(operations: Tensor, skeleton: Skeleton) -> Tensor:
    """Trainable parameters of the network with each cell, int64 ``[M]``, for operations ``[M, 6]``."""
    narrow, wide = skeleton.channels, 2 * skeleton.channels
    fixed = (9 * skeleton.image_channels + 2) * narrow + (narrow + 2) * wide  # stem, reduction
    fixed += 2 * wide + (wide + 1) * skeleton.num_classes
    cells = [_weights(operations, channels) + 2 * channels * _convolutions(operations) for channels in (narrow, wide)]
    return fixed + skeleton.cells * sum(cells)


def flops(operations: Tensor, skeleton: Skeleton, image_size: int = 8) -> Tensor:
    """Multiply-adds of convolutions and of the linear layer for one image, int64 ``[M]``; pooling, normalisation and
    sums are not counted."""
    narrow, wide = skeleton.channels, 2 * skeleton.channels
    full, half = image_size**2, (image_size // 2) ** 2
    fixed = 9 * skeleton.image_channels * narrow * full + narrow * wide * half + wide * skeleton.num_classes
    cells = _weights(operations, narrow) * full + _weights(operations, wide) * half
    return fixed + skeleton.cells * cells


def _convolutions(operations: Tensor) -> Tensor:
    return ((operations == CONV1) | (operations == CONV3)).sum(dim=1)


def _weights(operations: Tensor, channels: int) -> Tensor:
    """Weights of the convolutions of one cell."""
    return channels**2 * ((operations == CONV1).sum(dim=1) + 9 * (operations == CONV3).sum(dim=1))
