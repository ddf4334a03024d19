"""A graph as a row of numbers, with nothing learnt: what a latent space has to beat when labels are read off it.

Letters: B graphs, N vertices, T node types.
"""

import torch
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.spaces.nasbench201 import NONE, NUM_OPERATIONS, PATHS, operations_of_edges

NO_PATH = -1e9  # stands for the most vertices of a type on a path, where there is no path


def plain_features(batch: DagBatch, num_types: int) -> Tensor:
    """Types one-hot and the possible edges as zeros and ones, fp32 `[B, N * T + N * (N - 1) / 2]`."""
    source, target = torch.triu_indices(batch.max_vertices, batch.max_vertices, 1)
    return torch.cat([batch.one_hot(num_types).flatten(1), batch.adjacency[:, source, target]], dim=1).float()


def path_features(batch: DagBatch, num_types: int, dead_type: int | None = None) -> Tensor:
    """What lies on the paths from the first vertex to the last, fp32 `[B, 1 + 3 T + N * T]`.

    The logarithm of 1 + the number of paths; for each type the logarithm of 1 + its number summed over the paths, the
    mean over the paths, and the largest number on one path; and, one-hot, the types of the vertices that are on a path
    at all. Two graphs that differ only off the paths have the same features. No path leads through vertices of the
    `dead_type`, which pass nothing on (`none` of NAS-Bench-201).
    """
    graphs, vertices, device = *batch.types.shape, batch.types.device
    rows, last = torch.arange(graphs, device=device), batch.num_vertices - 1
    one_hot = batch.one_hot(num_types).double()
    alive = (batch.types != NO_VERTEX) & (batch.types != (NO_VERTEX if dead_type is None else dead_type))
    edges = batch.adjacency & alive[:, :, None] & alive[:, None, :]

    paths = torch.zeros(graphs, vertices, dtype=torch.double, device=device)  # that lead from vertex 0 to each vertex
    total = torch.zeros_like(one_hot)  # vertices of each type, over these paths
    most = torch.full_like(total, NO_PATH)  # and on one of them
    paths[:, 0], total[:, 0], most[:, 0] = 1, one_hot[:, 0], one_hot[:, 0]
    for v in range(1, vertices):
        into = edges[:, :v, v, None]
        paths[:, v] = (into[..., 0] * paths[:, :v]).sum(dim=1)
        total[:, v] = (into * total[:, :v]).sum(dim=1) + paths[:, v, None] * one_hot[:, v]
        most[:, v] = most[:, :v].where(into, NO_PATH).amax(dim=1) + one_hot[:, v]
    onwards = torch.zeros_like(paths)  # paths from each vertex to the last
    onwards[rows, last] = 1
    for v in range(vertices - 2, -1, -1):
        onwards[:, v] += (edges[:, v, v + 1 :] * onwards[:, v + 1 :]).sum(dim=1)

    number, total, most = paths[rows, last, None], total[rows, last], most[rows, last].clamp(min=0)
    on_path = one_hot * (paths * onwards > 0)[..., None]
    parts = [number.log1p(), total.log1p(), total / number.clamp(min=1), most, on_path.flatten(1)]
    return torch.cat(parts, dim=1).float()


def nasbench201_path_encoding(batch: DagBatch) -> Tensor:
    """The path encoding of BANANAS (White et al., AAAI 2021, https://arxiv.org/abs/1910.11858), bool `[B, 180]`: one
    feature for each path from input to output and each sequence of operations on it; ValueError outside the space.

    The paths are 0-3 (5 features), 0-1-3 (25), 0-2-3 (25) and 0-1-2-3 (125), and the sequences of each are in
    lexicographic order. A path with a `none` on it is absent: its features are never set.
    """
    operations = operations_of_edges(batch)
    blocks = []
    for path in PATHS:
        on_path = [operations[:, edge] for edge in path]
        sequence = sum(number * NUM_OPERATIONS**place for place, number in enumerate(reversed(on_path)))
        present = (torch.stack(on_path) != NONE).all(0)
        features = torch.arange(NUM_OPERATIONS ** len(path), device=operations.device)
        blocks.append((features == sequence[:, None]) & present[:, None])
    return torch.cat(blocks, dim=1)
