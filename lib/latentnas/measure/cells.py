"""Networks made of NAS-Bench-201 cells (Dong and Yang, ICLR 2020), many of them trained side by side.

The macro network is that of NAS-Bench-201, smaller: a 3x3 convolution, `cells` cells, a block that halves the
resolution and doubles the channels, `cells` cells, normalisation, global average pooling, a linear layer.

M networks of the same size are one module. Their channels lie next to each other, `[B, M * C, H, W]`; a grouped
convolution keeps them apart, and the loss is a sum, so each is trained as if it were alone. On a small machine this is
what makes thousands of trainings affordable.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from latentnas.measure.layers import NUM_CLASSES, Cell, average_pool, by_group, members, uniform
from latentnas.spaces.nasbench201 import CONV1X1, CONV3X3, NONE, NUM_OPERATIONS, SKIP


class GroupedConvolution(nn.Module):
    """M convolutions, each with batch normalisation; `[B, M * inputs, H, W]` -> `[B, M * outputs, H, W]`."""

    def __init__(self, generators: list[Generator], inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        drawn = uniform(generators, (outputs, inputs, kernel, kernel), inputs * kernel**2)
        self.weight = nn.Parameter(drawn.flatten(0, 1))
        self.normalisation = nn.BatchNorm2d(len(self.weight))
        self.groups = len(generators)

    def forward(self, images: Tensor) -> Tensor:
        return self.normalisation(F.conv2d(images, self.weight, padding="same", groups=self.groups))


class GroupedEdge(nn.Module):
    """The operations on one edge of M cells: each network has its own."""

    def __init__(self, operations: Tensor, channels: int, generators: list[Generator]) -> None:
        super().__init__()
        self.channels = channels
        self.convolutions = nn.ModuleDict()
        for operation, rows in enumerate(members(operations, NUM_OPERATIONS)):
            self.register_buffer(f"members_{operation}", rows, persistent=False)
            if len(rows) and operation in (CONV1X1, CONV3X3):
                drawn, kernel = [generators[row] for row in rows.tolist()], 3 if operation == CONV3X3 else 1
                self.convolutions[str(operation)] = GroupedConvolution(drawn, channels, channels, kernel)

    def forward(self, node: Tensor) -> Tensor | None:
        """`[B, M, C, H, W]`; None stands for zeros."""
        groups = [getattr(self, f"members_{operation}") for operation in range(NUM_OPERATIONS)]
        if len(groups[NONE]) == node.shape[1]:
            return None
        return by_group(groups, node, [partial(self.apply_operation, o) for o in range(NUM_OPERATIONS)])

    def apply_operation(self, operation: int, node: Tensor) -> Tensor:
        if operation == NONE:
            return torch.zeros_like(node)
        if operation == SKIP:
            return node
        flat, convolves = node.flatten(1, 2), operation in (CONV1X1, CONV3X3)
        flat = self.convolutions[str(operation)](F.relu(flat)) if convolves else average_pool(flat)
        return flat.unflatten(1, (-1, self.channels))


class CellNetworks(nn.Module):
    """M networks: network m with the cell `operations[m]`, int64 `[M, 6]`, is initialised from `seeds[m]` alone and has
    so many `cells` a stage, with C `channels` in the first and 2 C in the second."""

    def __init__(self, operations: Tensor, seeds: list[int], channels: int = 8, cells: int = 1) -> None:
        super().__init__()
        generators = [Generator().manual_seed(seed) for seed in seeds]

        def stage(width: int) -> nn.Sequential:
            every = (Cell(GroupedEdge(edge, width, generators) for edge in operations.t()) for _ in range(cells))
            return nn.Sequential(*every)

        self.networks, wide = len(operations), 2 * channels
        self.stem = GroupedConvolution(generators, 1, channels, 3)
        self.narrow = stage(channels)
        self.reduction = GroupedConvolution(generators, channels, wide, 1)
        self.wide = stage(wide)
        self.normalisation = nn.BatchNorm2d(self.networks * wide)
        self.classifier = nn.Parameter(uniform(generators, (wide, NUM_CLASSES), wide))
        self.bias = nn.Parameter(torch.zeros(self.networks, 1, NUM_CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[M, B, classes]` of images `[B, 1, H, W]`."""
        hidden = self.stem(images.repeat(1, self.networks, 1, 1)).unflatten(1, (self.networks, -1))
        hidden = self.narrow(hidden).flatten(1, 2)
        hidden = self.reduction(F.relu(F.avg_pool2d(hidden, 2))).unflatten(1, (self.networks, -1))
        hidden = F.relu(self.normalisation(self.wide(hidden).flatten(1, 2)))
        pooled = hidden.mean(dim=(2, 3)).unflatten(1, (self.networks, -1))  # [B, M, 2 C]
        return torch.baddbmm(self.bias, pooled.transpose(0, 1), self.classifier)
