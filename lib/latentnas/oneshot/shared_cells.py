"""All networks made of NAS-Bench-201 cells as one, with weights that they share.

The macro network is that of ``supernet/cells.py``, or larger ones up to the published skeleton. Every edge of
every cell holds all operations once. What is computed with them is said anew in each pass: one operation an
edge, for one cell or for several side by side, or a weighted sum of operations that can be differentiated by
its weights. Given one cell, the module is that network alone.

Batches are normalised by their own statistics, in evaluation too, each cell's images by themselves: running
averages over different cells would mean nothing. Normalisation has no learnable factor and shift, as in the
weight-sharing experiments of NAS-Bench-201 and E2NAS. Letters: B images, A cells, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from latentnas.measure.cells import CONV1, CONV3, EDGES, NONE, SKIP, Skeleton, average_pool, uniform

OPERATIONS = range(5)


@dataclass(frozen=True)
class SharedSkeleton(Skeleton):
    """The macro network around the cell; the defaults are the network of ``supernet/cells.py``."""

    stages: int = 2  # the channels double and the resolution halves from each to the next
    residual: bool = False  # between stages: the residual block of NAS-Bench-201 in place of its shortcut alone


PUBLISHED_SKELETON = SharedSkeleton(channels=16, cells=5, image_channels=3, stages=3, residual=True)


class Convolution(nn.Module):
    """A convolution for A cells that share its weights, ``[B, A, C, H, W]`` -> the same of other sizes."""

    def __init__(self, generator: torch.Generator, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs * kernel**2)  # PyTorch's own initialisation
        self.weight = nn.Parameter(uniform([generator], (outputs, inputs, kernel, kernel), bound)[0])
        self.stride, self.padding = stride, kernel // 2

    def forward(self, images: Tensor) -> Tensor:
        mapped = functional.conv2d(images.flatten(0, 1), self.weight, None, self.stride, self.padding)
        return mapped.unflatten(0, images.shape[:2])


def normalise(images: Tensor) -> Tensor:
    """Mean 0 and variance 1 of each channel of each cell over all images, ``[B, A, C, H, W]``."""
    flat = functional.batch_norm(images.flatten(1, 2), None, None, training=True)
    return flat.unflatten(1, images.shape[1:3])


class Edge(nn.Module):
    """All operations on one edge."""

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        kernels = {CONV1: 1, CONV3: 3}
        self.convolutions = nn.ModuleDict(
            {str(number): Convolution(generator, channels, channels, kernel) for number, kernel in kernels.items()}
        )

    def forward(self, node: Tensor, members: list[Tensor], weights: Tensor | None) -> Tensor | None:
        """The sum of what each operation makes of the node, ``[B, A, C, H, W]``; None stands for zeros.

        Args:
            members: for each operation, which of the A cells use it, int64.
            weights: factors ``[A, 5]``; None for ones.
        """
        total = None
        for operation, cells in enumerate(members):
            if operation == NONE or not len(cells):
                continue
            everywhere = len(cells) == node.shape[1]
            part = self.apply_operation(operation, node if everywhere else node.index_select(1, cells))
            if weights is not None:
                part = part * weights[cells, operation, None, None, None]
            if everywhere:
                total = part if total is None else total + part
            else:
                total = (torch.zeros_like(node) if total is None else total).index_add(1, cells, part)
        return total

    def apply_operation(self, operation: int, node: Tensor) -> Tensor:
        if operation == SKIP:
            return node
        if operation in (CONV1, CONV3):
            return normalise(self.convolutions[str(operation)](functional.relu(node)))
        return average_pool(node.flatten(0, 1)).unflatten(0, node.shape[:2])


class Cell(nn.Module):
    """One cell of the stack with all its operations, ``[B, A, C, H, W]`` -> the same."""

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.edges = nn.ModuleList(Edge(channels, generator) for _ in EDGES)

    def forward(self, node: Tensor, members: list[list[Tensor]], weights: Tensor | None) -> Tensor:
        nodes = [node]
        for target in range(1, 4):
            reached = [
                self.edges[e](nodes[i], members[e], None if weights is None else weights[:, e])
                for e, (i, j) in enumerate(EDGES)
                if j == target
            ]
            reached = [part for part in reached if part is not None]
            nodes.append(sum(reached[1:], reached[0]) if reached else torch.zeros_like(node))
        return nodes[3]


class Reduction(nn.Module):
    """Halves the resolution and doubles the channels: 2x2 average pooling and a 1x1 convolution, beside which
    the residual block of NAS-Bench-201 has two 3x3 convolutions."""

    def __init__(self, channels: int, generator: torch.Generator, residual: bool) -> None:
        super().__init__()
        self.shortcut = Convolution(generator, channels, 2 * channels, 1)
        self.convolutions = nn.ModuleList()
        if residual:
            self.convolutions.append(Convolution(generator, channels, 2 * channels, 3, stride=2))
            self.convolutions.append(Convolution(generator, 2 * channels, 2 * channels, 3))

    def forward(self, images: Tensor) -> Tensor:
        if not self.convolutions:
            return normalise(self.shortcut(functional.relu(_halve(images))))
        mapped = images
        for convolution in self.convolutions:
            mapped = normalise(convolution(functional.relu(mapped)))
        return mapped + self.shortcut(_halve(images))


class SharedCells(nn.Module):
    """The weights of all cells' networks, initialised from ``seed``."""

    def __init__(self, skeleton: SharedSkeleton, seed: int) -> None:
        super().__init__()
        self.config = skeleton
        generator = torch.Generator().manual_seed(seed)
        widths = [skeleton.channels * 2**stage for stage in range(skeleton.stages)]
        self.stem = Convolution(generator, skeleton.image_channels, widths[0], 3)
        self.stages = nn.ModuleList(
            nn.ModuleList(Cell(width, generator) for _ in range(skeleton.cells)) for width in widths
        )
        self.reductions = nn.ModuleList(Reduction(width, generator, skeleton.residual) for width in widths[:-1])
        bound = 1 / math.sqrt(widths[-1])
        self.classifier = nn.Parameter(uniform([generator], (widths[-1], skeleton.num_classes), bound)[0])
        self.bias = nn.Parameter(torch.zeros(skeleton.num_classes))

    def forward(self, images: Tensor, cells: Tensor) -> Tensor:
        """Logits ``[A, B, classes]``.

        Args:
            images: ``[B, A, image_channels, H, W]``, each cell's own; or ``[B, 1, ...]``, the same for all.
            cells: int64 ``[A, 6]``, the operation on each edge; or real factors of all operations
                ``[A, 6, 5]``. A factor of exactly 0 spares the computation and gets no gradient.

        Raises:
            ValueError: cells of another shape, or operations other than 0 to 4.
        """
        weights, members = _factors(cells, images)
        hidden = normalise(self.stem(images)).expand(-1, len(cells), -1, -1, -1)
        for number, stage in enumerate(self.stages):
            if number:
                hidden = self.reductions[number - 1](hidden)
            for cell in stage:
                hidden = cell(hidden, members, weights)
        pooled = functional.relu(normalise(hidden)).mean(dim=(3, 4))  # [B, A, C]
        return (pooled @ self.classifier + self.bias).transpose(0, 1)


def _factors(cells: Tensor, images: Tensor) -> tuple[Tensor | None, list[list[Tensor]]]:
    """The factors ``[A, 6, 5]``, None for single operations; for each edge and operation its cells."""
    real, device = cells.is_floating_point(), images.device
    shape = (len(EDGES), len(OPERATIONS)) if real else (len(EDGES),)
    if cells.shape[1:] != shape or not len(cells):
        raise ValueError(
            "Cells are whole numbers of shape [A, 6], an operation for each edge, or real factors of shape "
            f"[A, 6, 5], with A at least 1; these are {cells.dtype} of shape {list(cells.shape)}."
        )
    if not real and not 0 <= int(cells.min()) <= int(cells.max()) < len(OPERATIONS):
        raise ValueError(f"Operations are the numbers 0 to 4, but these go from {cells.min()} to {cells.max()}.")
    here = cells.detach().cpu()  # counted here once, so that no GPU waits for it on each edge
    used = here != 0 if real else here[:, :, None] == torch.tensor(OPERATIONS)
    members = [[used[:, e, o].nonzero().flatten().to(device) for o in OPERATIONS] for e in range(len(EDGES))]
    return (cells.to(images) if real else None), members


def _halve(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images.flatten(0, 1), 2).unflatten(0, images.shape[:2])
