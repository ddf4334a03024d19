"""Networks made of NAS-Bench-201 cells (Dong and Yang, ICLR 2020), many of them trained side by side.

The macro network is that of NAS-Bench-201, smaller: a 3x3 convolution, `cells` cells, a residual block that
halves the resolution and doubles the channels, `cells` cells, normalisation, global average pooling, a
linear layer. In a cell, node 0 is the input and node j the sum over i < j of operation (i, j) on node i.

M networks of the same size are one module. Their channels lie next to each other, `[B, M * C, H, W]`; a
grouped convolution keeps them apart, and the loss is a sum, so each is trained as if it were alone. On a
small machine this is what makes thousands of trainings affordable.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.measure.layers import CONV1, CONV3, NONE, POOL, SKIP, Cell, Skeleton, average_pool, uniform
from latentnas.spaces.nasbench201 import CELL_EDGES

MOMENTUM = 0.1  # of the running statistics of batch normalisation


class Normalisation(nn.Module):
    """Batch normalisation of M * C channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, images: Tensor) -> Tensor:
        return F.batch_norm(images, self.mean, self.variance, self.weight, self.bias, self.training, MOMENTUM)


class GroupedConvolution(nn.Module):
    """M convolutions side by side, each with batch normalisation; `[B, M * inputs, H, W]` ->
    `[B, M * outputs, H / stride, W / stride]`."""

    def __init__(self, seeds: list, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs * kernel**2)  # PyTorch's own initialisation
        self.weight = nn.Parameter(uniform(seeds, (outputs, inputs, kernel, kernel), bound).flatten(0, 1))
        self.normalisation = Normalisation(len(seeds) * outputs)
        self.stride, self.padding, self.groups = stride, kernel // 2, len(seeds)

    def forward(self, images: Tensor) -> Tensor:
        mapped = F.conv2d(images, self.weight, None, self.stride, self.padding, 1, self.groups)
        return self.normalisation(mapped)


class GroupedEdge(nn.Module):
    """The operations on one edge of M cells: each network has its own."""

    def __init__(self, operations: Tensor, channels: int, generators: list[torch.Generator]) -> None:
        super().__init__()
        self.channels = channels
        self.convolutions = nn.ModuleDict()
        self.used = sorted(set(operations.tolist()))
        groups = [(operations == operation).nonzero().flatten() for operation in self.used]
        for operation, members in zip(self.used, groups):
            self.register_buffer(f"members_{operation}", members, persistent=False)
            if operation in (CONV1, CONV3):
                drawn = [generators[member] for member in members.tolist()]
                kernel = 3 if operation == CONV3 else 1
                self.convolutions[str(operation)] = GroupedConvolution(drawn, channels, channels, kernel)
        self.register_buffer("order", torch.cat(groups).argsort(), persistent=False)

    def forward(self, node: Tensor) -> Tensor | None:
        """`[B, M, C, H, W]`; None stands for zeros."""
        if self.used == [NONE]:
            return None
        if len(self.used) == 1:
            return self.apply_operation(self.used[0], node)
        parts = [
            self.apply_operation(operation, node.index_select(1, getattr(self, f"members_{operation}")))
            for operation in self.used
        ]
        return torch.cat(parts, dim=1).index_select(1, self.order)

    def apply_operation(self, operation: int, node: Tensor) -> Tensor:
        if operation == NONE:
            return torch.zeros_like(node)
        if operation == SKIP:
            return node
        flat = node.flatten(1, 2)
        pooled = operation == POOL
        flat = average_pool(flat) if pooled else self.convolutions[str(operation)](F.relu(flat))
        return flat.unflatten(1, (-1, self.channels))


def grouped_cell(operations: Tensor, channels: int, generators: list[torch.Generator]) -> Cell:
    """M cells side by side, with operations `[M, 6]`."""
    return Cell(GroupedEdge(operations[:, e], channels, generators) for e in range(len(CELL_EDGES)))


class GroupedReduction(nn.Module):
    """M blocks that halve the resolution by average pooling and double the channels by a 1x1 convolution."""

    def __init__(self, channels: int, generators: list[torch.Generator]) -> None:
        super().__init__()
        self.convolution = GroupedConvolution(generators, channels, 2 * channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(F.relu(F.avg_pool2d(images, 2)))


class CellNetworks(nn.Module):
    """M networks, network m with the cell `operations[m]`.

    Args:
        operations: int64 `[M, 6]`, an operation number for each edge.
        seeds: M whole numbers; network m is initialised from `seeds[m]` alone.
    """

    def __init__(self, operations: Tensor, seeds: list[int], skeleton: Skeleton) -> None:
        super().__init__()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.networks, self.channels = len(operations), skeleton.channels
        channels, wide = skeleton.channels, 2 * skeleton.channels
        self.stem = GroupedConvolution(generators, skeleton.image_channels, channels, 3)
        self.narrow = nn.ModuleList(grouped_cell(operations, channels, generators) for _ in range(skeleton.cells))
        self.reduction = GroupedReduction(channels, generators)
        self.wide = nn.ModuleList(grouped_cell(operations, wide, generators) for _ in range(skeleton.cells))
        self.normalisation = Normalisation(self.networks * wide)
        bound = 1 / math.sqrt(wide)
        self.classifier = nn.Parameter(uniform(generators, (wide, skeleton.num_classes), bound))
        self.bias = nn.Parameter(torch.zeros(self.networks, 1, skeleton.num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[M, B, classes]` of images `[B, image_channels, H, W]`."""
        hidden = self.stem(images.repeat(1, self.networks, 1, 1))
        hidden = hidden.unflatten(1, (self.networks, -1))
        for cell in self.narrow:
            hidden = cell(hidden)
        hidden = self.reduction(hidden.flatten(1, 2)).unflatten(1, (self.networks, -1))
        for cell in self.wide:
            hidden = cell(hidden)
        hidden = F.relu(self.normalisation(hidden.flatten(1, 2)))
        pooled = hidden.mean(dim=(2, 3)).unflatten(1, (self.networks, -1))  # [B, M, 2 C]
        return torch.baddbmm(self.bias, pooled.transpose(0, 1), self.classifier)
