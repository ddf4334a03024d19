"""A graph as a row of numbers, with nothing learnt: what a latent space has to beat when labels are read off it.

Letters: B graphs, N vertices, T node types, S sets of operations.
"""

import itertools

import torch
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.spaces._shared import FIRST_OPERATION
from latentnas.spaces.nasbench201 import NONE, NUM_OPERATIONS, PATHS, operations_of_edges

NO_PATH = -1e9  # stands for the most vertices of a type on a path, where there is no path
ALL_SETS = 5  # operations of which all sets are looked at


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
    edges = _living_edges(batch, dead_type)

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


def graph_features(batch: DagBatch, num_types: int, dead_type: int | None = None) -> Tensor:
    """Graph features after GRAF (Kadlecová et al., ICML 2024, https://arxiv.org/abs/2404.16551), fp32 `[B, T + 8 S]`.

    The number of vertices of each type. Then, for every set of operations: the edges on the shortest path from input to
    output through such vertices only (as many as the graph has vertices where there is none); the most such vertices on
    one path; the out-degree of the input, the in-degree of the output, and mean and largest in- and out-degree of all
    vertices, where only neighbours in the set count. Where there are up to five operations, all their sets; where
    more, those of none, one, all but one and all. Vertices of the `dead_type` have no edges.
    """
    rows, vertices = torch.arange(len(batch), device=batch.types.device), batch.max_vertices
    last, count = batch.num_vertices - 1, batch.num_vertices[:, None].float()
    operations = [kind for kind in range(FIRST_OPERATION, num_types) if kind != dead_type]
    every = range(len(operations) + 1)
    sizes = every if len(operations) <= ALL_SETS else (0, 1, every[-2], every[-1])
    sets = [chosen for size in sizes for chosen in itertools.combinations(operations, size)]
    member = torch.tensor([[kind in chosen for kind in range(NO_VERTEX, num_types)] for chosen in sets])
    member = member.to(rows.device)[:, batch.types + 1].transpose(0, 1)  # [B, S, N]
    ends = torch.zeros_like(batch.present)
    ends[:, 0] = ends[rows, last] = True
    passed, edges = member | ends[:, None], _living_edges(batch, dead_type)

    shortest = count[..., None].repeat(1, len(sets), vertices)  # [B, S, N]: edges on the way to each vertex
    most = torch.full_like(shortest, NO_PATH)
    shortest[..., 0] = most[..., 0] = 0
    for v in range(1, vertices):
        into = edges[:, None, :v, v]
        step = (shortest[..., :v] + 1).where(into & passed[..., :v], count[..., None]).amin(dim=2)
        shortest[..., v] = step.minimum(count).where(passed[..., v], count)
        most[..., v] = most[..., :v].where(into, NO_PATH).amax(dim=2) + member[..., v]

    incoming = torch.einsum("buv,bsu->bsv", edges.float(), member.float())  # [B, S, N]
    outgoing = torch.einsum("buv,bsv->bsu", edges.float(), member.float())
    parts = [batch.one_hot(num_types).sum(dim=1), shortest[rows, :, last], most[rows, :, last].clamp(min=0)]
    parts += [outgoing[..., 0], incoming[rows, :, last]]
    for degrees in (incoming, outgoing):
        parts += [degrees.sum(dim=2) / count, degrees.amax(dim=2)]
    return torch.cat(parts, dim=1).float()


def _living_edges(batch: DagBatch, dead_type: int | None) -> Tensor:
    """Edges between vertices that are there and not of the dead type, bool `[B, N, N]`."""
    alive = (batch.types != NO_VERTEX) & (batch.types != (NO_VERTEX if dead_type is None else dead_type))
    return batch.adjacency & alive[:, :, None] & alive[:, None, :]


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
