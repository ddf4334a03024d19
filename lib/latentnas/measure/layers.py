"""What networks of cells are made of, whether each has its own weights (`measure.cells`) or all share them
(`oneshot.shared_cells`). Letters: B images, A cells, C channels.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.spaces.nasbench201 import CELL_EDGES

NUM_CLASSES = 10  # of the digits, and of CIFAR-10


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
            into = [(e, i) for e, (i, j) in enumerate(CELL_EDGES) if j == target]
            parts = [self.edges[e](nodes[i], *(contexts[e] if contexts else ())) for e, i in into]
            reached = [part for part in parts if part is not None]
            nodes.append(sum(reached[1:], reached[0]) if reached else torch.zeros_like(node))
        return nodes[3]


def uniform(generators: list[torch.Generator], shape: tuple[int, ...], fan_in: int) -> Tensor:
    """`[M, *shape]`, PyTorch's own initialisation of weights, each network's part from its own generator."""
    drawn = [torch.rand(shape, generator=generator) for generator in generators]
    return (2 * torch.stack(drawn) - 1) * (1 / math.sqrt(fan_in))


def members(group: Tensor, count: int) -> list[Tensor]:
    """For each of `count` groups, the places where `group [A]` is its number."""
    return [(group == number).nonzero().flatten() for number in range(count)]


def by_group(groups: list[Tensor], hidden: Tensor, functions: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """A function of each group of `members`, applied to that group's part of `[B, A, C, H, W]`."""
    used = [(function, rows) for function, rows in zip(functions, groups) if len(rows)]
    if len(used) == 1:
        return used[0][0](hidden)
    parts = [function(hidden.index_select(1, rows)) for function, rows in used]
    return torch.cat(parts, dim=1).index_select(1, torch.cat(groups).argsort())


def average_pool(images: Tensor) -> Tensor:
    """3x3 average pooling with stride 1 that leaves the border out of the mean, `[B, C, H, W]`. As a depthwise
    convolution it is several times faster on a CPU than PyTorch's own."""
    channels, size = images.shape[1], images.shape[2:]
    ones = images.new_ones(channels, 1, 3, 3)
    counts = F.conv2d(images.new_ones(1, 1, *size), ones[:1], padding=1)
    return F.conv2d(images, ones, padding=1, groups=channels) / counts


def halve(images: Tensor) -> Tensor:
    """2x2 average pooling, `[B, A, C, H, W]` -> `[B, A, C, H / 2, W / 2]`."""
    return F.avg_pool2d(images.flatten(0, 1), 2).unflatten(0, images.shape[:2])
