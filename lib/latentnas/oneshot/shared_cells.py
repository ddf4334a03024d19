"""All networks made of NAS-Bench-201 cells as one, with weights that they share.

The space and its skeleton: Dong and Yang, NAS-Bench-201, ICLR 2020, https://arxiv.org/abs/2001.00326. An edge computes
sum_o f_o o(x) over its operations o, with factors f that are one-hot where a cell is given.

The macro network is that of `measure/cells.py`, or larger ones up to the published skeleton. Every edge of
every cell holds all operations once. Each pass says what is computed with them: one operation an edge, for one
cell or for several side by side, or a weighted sum of operations, differentiable by its weights.

Batches are normalised by their own statistics, in evaluation too, each cell's images by themselves, without a
learnable factor and shift, as in the weight-sharing experiments of NAS-Bench-201 and E2NAS. Letters: B images, A
cells, C channels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.measure.layers import NUM_CLASSES, Cell, average_pool, halve, uniform
from latentnas.settings import check_settings
from latentnas.spaces.nasbench201 import CELL_EDGES, CONV1X1, CONV3X3, NONE, NUM_OPERATIONS, SKIP


@dataclass(frozen=True)
class SharedSkeleton:
    """The macro network around the cell; the defaults are that of `measure/cells.py`."""

    channels: int = 8  # of the first stage; they double and the resolution halves from each to the next
    cells: int = 1  # a stage
    image_channels: int = 1
    stages: int = 2
    residual: bool = False  # between stages: the residual block of NAS-Bench-201 in place of its shortcut alone

    def __post_init__(self) -> None:
        check_settings(self)


PUBLISHED_SKELETON = SharedSkeleton(channels=16, cells=5, image_channels=3, stages=3, residual=True)


class SharedConvolution(nn.Module):
    """A convolution for A cells that share its weights, `[B, A, C, H, W]` -> the same of other sizes."""

    def __init__(self, generator: torch.Generator, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(uniform([generator], (outputs, inputs, kernel, kernel), inputs * kernel**2)[0])
        self.stride, self.padding = stride, kernel // 2

    def forward(self, images: Tensor) -> Tensor:
        mapped = F.conv2d(images.flatten(0, 1), self.weight, None, self.stride, self.padding)
        return mapped.unflatten(0, images.shape[:2])


def normalise(images: Tensor) -> Tensor:
    """Mean 0 and variance 1 of each channel of each cell over all images, `[B, A, C, H, W]`."""
    flat = F.batch_norm(images.flatten(1, 2), None, None, training=True)
    return flat.unflatten(1, images.shape[1:3])


class SharedEdge(nn.Module):
    """All operations on one edge."""

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict()
        for operation, kernel in ((CONV1X1, 1), (CONV3X3, 3)):
            self.convolutions[str(operation)] = SharedConvolution(generator, channels, channels, kernel)

    def forward(self, node: Tensor, members: tuple[Tensor, ...], weights: Tensor | None) -> Tensor | None:
        """The sum of what each operation makes of the node for its `members` of the A cells, with factors `weights
        [A, 5]` or None for ones, `[B, A, C, H, W]`; None stands for zeros."""
        total = None
        for operation, cells in enumerate(members):
            if operation == NONE or not len(cells):
                continue
            everywhere = len(cells) == node.shape[1]
            part = self.apply_operation(operation, node if everywhere else node.index_select(1, cells))
            if weights is not None:
                part = part * (weights if everywhere else weights[cells])[:, operation, None, None, None]
            if everywhere:
                total = part if total is None else total + part
            else:
                total = (torch.zeros_like(node) if total is None else total).index_add(1, cells, part)
        return total

    def apply_operation(self, operation: int, node: Tensor) -> Tensor:
        if operation == SKIP:
            return node
        if operation in (CONV1X1, CONV3X3):
            return normalise(self.convolutions[str(operation)](F.relu(node)))
        return average_pool(node.flatten(0, 1)).unflatten(0, node.shape[:2])


class SharedReduction(nn.Module):
    """Halves the resolution and doubles the channels: 2x2 average pooling and a 1x1 convolution, beside which
    the residual block of NAS-Bench-201 has two 3x3 convolutions."""

    def __init__(self, channels: int, generator: torch.Generator, residual: bool) -> None:
        super().__init__()
        self.shortcut = SharedConvolution(generator, channels, 2 * channels, 1)
        self.convolutions = nn.ModuleList()
        for inputs, stride in ((channels, 2), (2 * channels, 1)) if residual else ():
            self.convolutions.append(SharedConvolution(generator, inputs, 2 * channels, 3, stride))

    def forward(self, images: Tensor) -> Tensor:
        if not self.convolutions:
            return normalise(self.shortcut(F.relu(halve(images))))
        mapped = images
        for convolution in self.convolutions:
            mapped = normalise(convolution(F.relu(mapped)))
        return mapped + self.shortcut(halve(images))


class SharedCells(nn.Module):
    """The weights of all cells' networks, initialised from `seed`."""

    def __init__(self, skeleton: SharedSkeleton, seed: int) -> None:
        super().__init__()
        self.config = skeleton
        generator = torch.Generator().manual_seed(seed)
        widths = [skeleton.channels * 2**stage for stage in range(skeleton.stages)]
        self.stem = SharedConvolution(generator, skeleton.image_channels, widths[0], 3)
        self.stages = nn.ModuleList()
        for width in widths:
            cells = (Cell(SharedEdge(width, generator) for _ in CELL_EDGES) for _ in range(skeleton.cells))
            self.stages.append(nn.ModuleList(cells))
        self.reductions = nn.ModuleList(SharedReduction(width, generator, skeleton.residual) for width in widths[:-1])
        self.classifier = nn.Parameter(uniform([generator], (widths[-1], NUM_CLASSES), widths[-1])[0])
        self.bias = nn.Parameter(torch.zeros(NUM_CLASSES))

    def forward(self, images: Tensor, cells: Tensor) -> Tensor:
        """Logits `[A, B, classes]`; ValueError for cells of another shape, or operations other than 0 to 4.

        Args:
            images: `[B, A, image_channels, H, W]`, each cell's own; or `[B, 1, ...]`, the same for all.
            cells: int64 `[A, 6]`, the operation on each edge; or real factors of all operations `[A, 6, 5]`. A factor
                of exactly 0 spares the computation and gets no gradient.
        """
        contexts = _contexts(cells, images)
        hidden = normalise(self.stem(images)).expand(-1, len(cells), -1, -1, -1)
        for number, stage in enumerate(self.stages):
            if number:
                hidden = self.reductions[number - 1](hidden)
            for cell in stage:
                hidden = cell(hidden, contexts)
        pooled = F.relu(normalise(hidden)).mean(dim=(3, 4))  # [B, A, C]
        return (pooled @ self.classifier + self.bias).transpose(0, 1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over all images of `[A, B, classes]`, each cell's with the same labels `[B]`."""
    return F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)))


def _contexts(cells: Tensor, images: Tensor) -> list[tuple[tuple[Tensor, ...], Tensor | None]]:
    """For each edge: of each operation, which cells use it, and the factors `[A, 5]`, None for single operations."""
    real = cells.is_floating_point()
    if cells.shape[1:] != (len(CELL_EDGES), NUM_OPERATIONS)[: 1 + real] or not len(cells):
        asked = "whole numbers of shape [A, 6], an operation for each edge, or real factors [A, 6, 5], A at least 1"
        raise ValueError(f"Cells are {asked}; these are {cells.dtype} of shape {list(cells.shape)}.")
    here = cells.detach().cpu()  # one wait for a GPU here, none on the way
    if not real and not 0 <= int(here.min()) <= int(here.max()) < NUM_OPERATIONS:
        raise ValueError(f"Operations are the numbers 0 to 4, but these go from {here.min()} to {here.max()}.")
    used = here != 0 if real else F.one_hot(here, NUM_OPERATIONS)
    used = used.permute(1, 2, 0).flatten(0, 1)  # [6 * 5, A]
    members = used.nonzero()[:, 1]
    if len(cells) > 1:  # one alone is never selected
        members = members.to(images.device, non_blocking=True)  # all in one upload
    members = members.split(used.sum(dim=1).tolist())
    weights = cells.to(images, non_blocking=True).unbind(1) if real else [None] * len(CELL_EDGES)
    return [(members[5 * e : 5 * e + 5], weights[e]) for e in range(len(CELL_EDGES))]
