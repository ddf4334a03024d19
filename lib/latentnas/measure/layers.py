"""What networks of cells are made of, whether each has its own weights (`measure.cells`) or all share them
(`oneshot.shared_cells`). Letters: B images, A cells, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.spaces.nasbench201 import CELL_EDGES

NONE, SKIP, CONV1, CONV3, POOL = range(5)  # operation numbers of spaces/nasbench201.py


@dataclass(frozen=True)
class Skeleton:
    """The macro network around the cell."""

    channels: int = 8  # C of the first stage; the second has 2 C
    cells: int = 1  # a stage
    image_channels: int = 1
    num_classes: int = 10


class Cell(nn.Module):
    """Cells side by side, `[B, A, C, H, W]` -> the same. Node 0 is the input and node j the sum of what the edges into
    it bring; an edge brings None for zeros."""

    def __init__(self, edges: Iterable[nn.Module]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edges)

    def forward(self, node: Tensor, contexts: list[tuple] | None = None) -> Tensor:
        """`contexts` are further arguments of each edge."""
        nodes = [node]
        for target in range(1, 4):
            reached = [
                self.edges[e](nodes[i], *(contexts[e] if contexts else ()))
                for e, (i, j) in enumerate(CELL_EDGES)
                if j == target
            ]
            reached = [part for part in reached if part is not None]
            nodes.append(sum(reached[1:], reached[0]) if reached else torch.zeros_like(node))
        return nodes[3]


def uniform(generators: list[torch.Generator], shape: tuple[int, ...], bound: float) -> Tensor:
    """`[M, *shape]`, uniform in -bound to bound, each network's part from its own generator."""
    drawn = [torch.rand(shape, generator=generator) for generator in generators]
    return (2 * torch.stack(drawn) - 1) * bound


def average_pool(images: Tensor) -> Tensor:
    """3x3 average pooling with stride 1 that leaves the border out of the mean, `[B, C, H, W]`.

    As a depthwise convolution it is several times faster on a CPU than PyTorch's own pooling.
    """
    channels, size = images.shape[1], images.shape[2:]
    ones = images.new_ones(channels, 1, 3, 3)
    counts = F.conv2d(images.new_ones(1, 1, *size), ones[:1], padding=1)
    return F.conv2d(images, ones, padding=1, groups=channels) / counts


def halve(images: Tensor) -> Tensor:
    """2x2 average pooling, `[B, A, C, H, W]` -> `[B, A, C, H / 2, W / 2]`."""
    return F.avg_pool2d(images.flatten(0, 1), 2).unflatten(0, images.shape[:2])
