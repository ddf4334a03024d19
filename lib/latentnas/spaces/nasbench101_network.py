"""What a NAS-Bench-101 cell costs: the network every cell is trained in (Ying et al., ICML 2019).

* stem: 3x3 convolution 3 -> 128 on a 32 x 32 RGB image;
* three stacks of three cells with 128, 256 and 512 channels; 2x2 max pooling with stride 2 before the second
  and the third stack;
* head: global average pooling and a linear layer 512 -> 10 with bias.

A cell with C output channels divides them among the vertices that its output reads, the input apart: each gets C // k
of k, and the first C % k of them one more. Every other vertex is as wide as the widest vertex that reads it. A vertex
sums what it reads: of a wider vertex the first channels, of the cell's input a 1x1 convolution to its own width. The
output concatenates what it reads, and adds a 1x1 convolution of the cell's input when it reads that too. Convolutions
have no bias, and each, projections included, ends in one batch normalisation (two parameters a channel).

The remainder C % k goes to the vertices numbered first, so two isomorphic cells can differ by a few parameters; the
benchmark's numbers are those of the numbering it trained, which `nasbench101_cells` reproduces.
"""

import torch
from torch import Tensor

from latentnas.graphs import DagBatch

STEM_CHANNELS = 128
NUM_STACKS = 3
CELLS_PER_STACK = 3
NUM_CLASSES = 10
IMAGE_SIZE = 32

KERNEL_AREAS = (0, 0, 9, 1, 0)  # of the types input, output, 3x3 convolution, 1x1 convolution, max pooling


def costs(batch: DagBatch) -> tuple[Tensor, Tensor]:
    """Trainable parameters of the whole network, and multiply-adds of its convolutions and its linear layer for one
    image, int64 `[B]` each. That the graphs are cells is not checked."""
    stem, head = 3 * 9 * STEM_CHANNELS, (STEM_CHANNELS << NUM_STACKS - 1) * NUM_CLASSES
    params, flops = stem + 2 * STEM_CHANNELS + head + NUM_CLASSES, stem * IMAGE_SIZE**2 + head
    areas = torch.tensor(KERNEL_AREAS, device=batch.types.device)[batch.types.clamp(min=0)]
    for stack in range(NUM_STACKS):
        channels = STEM_CHANNELS << stack
        widths = _vertex_channels(batch, channels)
        projected = (batch.adjacency[:, 0] * widths).sum(1)
        # the first cell reads what the stack before it, or the stem, gives
        inputs = max(channels // 2, STEM_CHANNELS) + channels * (CELLS_PER_STACK - 1)
        weights = CELLS_PER_STACK * (areas * widths**2).sum(1) + inputs * projected
        normalised = CELLS_PER_STACK * (((areas > 0) * widths).sum(1) + projected)
        params, flops = params + weights + 2 * normalised, flops + weights * (IMAGE_SIZE >> stack) ** 2
    return params, flops


def _vertex_channels(batch: DagBatch, channels: int) -> Tensor:
    """Channels of each vertex of cells with `channels` output channels, int64 `[B, N]`; 0 for the cell's input, whose
    width the cell does not choose."""
    graphs, last = torch.arange(len(batch), device=batch.types.device), batch.num_vertices - 1
    concatenated = batch.adjacency[graphs, :, last].long()  # [B, N]
    concatenated[:, 0] = 0
    count = concatenated.sum(1, keepdim=True).clamp(min=1)
    place = concatenated.cumsum(1) - 1
    widths = concatenated * (channels // count + (place < channels % count))
    for vertex in range(batch.max_vertices - 2, 0, -1):
        widest_reader = (batch.adjacency[:, vertex] * widths).amax(1)
        widths[:, vertex] = torch.where(concatenated[:, vertex] > 0, widths[:, vertex], widest_reader)
    widths[graphs, last] = channels
    return widths
