"""Decoding by counting: what all decoders that write a graph vertex by vertex have in common.

Many decodes of one latent point (100 in the reconstruction test, 500 in Bayesian optimisation) agree for most of their
decisions. They share one *branch* here: a partial graph with the number of decodes that have come this way. A decision
of probability p splits the number m: Binomial(m, p) of them take it. The distribution is that of decoding one by one;
the cost is that of the distinct graphs. Letters: M branches, N vertices, T node types.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.interfaces import Decodes

POINTS_AT_ONCE = 2048  # latent points decoded together
BRANCHES_AT_ONCE = 20_480  # decodes together, each at worst a branch of its own; bounds memory to about 2 GB at H = 501


Branches = dict[str, Tensor]  # see `Decoding`


class Decoding:
    """One run that writes the graphs of all z `[B, D]`. A subclass makes the decisions of one vertex.

    Of each branch are kept: `source [M]`, its row of z; `count [M]`, how many decodes have come this way (floating, for
    torch.binomial); `types [M, N]`; `adjacency`, bool `[M, N, N]`; and what `first_state` of the subclass adds.

    Args:
        net: what makes the decisions. config: of the model.
        trials: decodes of each z. generator: of the draws; without one every decision is the most likely one.
    """

    # D-VAE's rule: the last of N vertices is the output, and it receives an edge from every vertex without a successor.
    # Otherwise its edges are decided too, and a graph of N vertices without an output ends as it is, in no space.
    closing = False

    def __init__(self, net: Any, config: Any, z: Tensor, trials: int, generator: torch.Generator | None) -> None:
        self.net, self.config, self.generator = net, config, generator
        points, vertices, device = len(z), config.num_vertices, z.device
        types = torch.full((points, vertices), NO_VERTEX, device=device)
        types[:, 0] = config.input_type
        self.branches: Branches = {
            "source": torch.arange(points, device=device),
            "count": torch.full((points,), float(trials), device=device),
            "types": types,
            "adjacency": torch.zeros(points, vertices, vertices, dtype=torch.bool, device=device),
        }
        self.branches |= self.first_state(types[:, 0], z)

    @classmethod
    def decode(cls, net: Any, config: Any, z: Tensor, trials: int, generator: torch.Generator | None) -> Decodes:
        """As `GraphVAE.sample_decodes`; arguments as of the class."""
        together = min(POINTS_AT_ONCE, max(1, BRANCHES_AT_ONCE // trials))
        return decode_in_chunks(lambda rows: cls(net, config, rows, trials, generator).run(), z, together)

    def first_state(self, types: Tensor, z: Tensor) -> Branches:
        """What else is kept of branches that consist of vertex 0, of the given types `[M]`."""

    def type_probability(self, v: int) -> Tensor:
        """Of each type for vertex v, `[M, T]`."""

    def choose_edges(self, v: int) -> None:
        """Split the branches over the edges into vertex v, whose types are chosen."""

    def run(self) -> Decodes:
        finished, last = [], self.config.num_vertices - 1
        for v in range(1, last + 1):
            if self.closing and v == last:
                self.branches["types"][:, v] = self.config.output_type
            else:
                self._choose_types(v)
            if not self.closing:
                self.choose_edges(v)
            ends = (self.branches["types"][:, v] == self.config.output_type) | (v == last)
            done = take(self.branches, ends)
            if self.closing:
                done["adjacency"][:, :v, v] = ~done["adjacency"][:, :v].any(dim=2)
            finished.append((graphs_of(done, v + 1), done["source"], done["count"]))
            self.branches = take(self.branches, ~ends)
            if self.closing and len(self.branches["count"]):
                self.choose_edges(v)
        graphs, source, count = zip(*finished)
        order = torch.cat(source).argsort(stable=True)
        return DagBatch.cat(graphs)[order], torch.cat(source)[order], torch.cat(count)[order].long()

    def _choose_types(self, v: int) -> None:
        counts = split_over_types(self.branches["count"], self.type_probability(v), self.generator)
        branch, types = counts.nonzero(as_tuple=True)
        self.branches = take(self.branches, branch) | {"count": counts[branch, types]}
        self.branches["types"][:, v] = types

    def split_over_edges(self, v: int, probability: Tensor) -> Tensor:
        """Split the branches over independent edges of `probability [M, v]` into vertex v; the rows they had before."""
        row = torch.arange(len(probability), device=probability.device)
        edges, count = torch.zeros_like(probability, dtype=torch.bool), self.branches["count"]
        for u in range(v):
            index, taken, count = split(count, probability[row, u], self.generator)
            row, edges = row[index], edges[index]
            edges[:, u] = taken
        self.keep(v, row, edges, count)
        return row

    def keep(self, v: int, row: Tensor, edges: Tensor, count: Tensor) -> None:
        """Go on with copies of the branches `row [R]`, with these edges into v, bool `[R, v]`, and counts `[R]`."""
        self.branches = take(self.branches, row) | {"count": count}
        self.branches["adjacency"][:, :v, v] = edges


def take(branches: Branches, index: Tensor) -> Branches:
    """The branches of a mask or of rows, which may repeat."""
    rows = index.nonzero().squeeze(1) if index.dtype == torch.bool else index
    return {name: values.index_select(0, rows) for name, values in branches.items()}


def graphs_of(branches: Branches, size: int) -> DagBatch:
    """What is written so far: graphs of `size` vertices."""
    return DagBatch(branches["types"], branches["adjacency"], torch.full_like(branches["source"], size))


def decode_in_chunks(write: Callable[[Tensor], Decodes], z: Tensor, together: int) -> Decodes:
    """What `write` decodes from z `[B, D]`, given so many rows at once."""
    graphs, source, count = zip(*(write(rows) for rows in z.split(together)))
    source = [rows + part * together for part, rows in enumerate(source)]
    return DagBatch.cat(graphs), torch.cat(source), torch.cat(count)


def count_together(graphs: DagBatch, source: Tensor, count: Tensor) -> Decodes:
    """Decodes in the order of z, equal graphs of one z counted together."""
    u, v = torch.triu_indices(graphs.max_vertices, graphs.max_vertices, 1, device=source.device)
    first, group = distinct(torch.cat([source[None], graphs.types.t(), graphs.adjacency[:, u, v].t()]))
    return graphs[first], source[first], torch.zeros_like(first).index_add_(0, group, count)


def distinct(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Of rows of whole numbers, given by their `columns [F, n]`: the place of one of each kind, in ascending order of
    the rows, `[M]`, and of which kind each row is, `[n]`. As many columns as fit are read as one number, for which
    `unique` takes a fiftieth of the time of `unique(dim=0)`."""
    key, most = columns.new_zeros(columns.shape[1]), 1
    lows, highs = (bound.tolist() for bound in columns.aminmax(dim=1)) if columns.numel() else ([], [])
    for column, low, high in zip(columns, lows, highs):
        if most * (high - low + 1) >= 2**63:  # numbered anew, which leaves the order
            key, most = key.unique(return_inverse=True)[1], len(key)
        if most * (high - low + 1) >= 2**63:
            column, low, high = column.unique(return_inverse=True)[1], 0, len(column) - 1
        key, most = key * (high - low + 1) + (column - low), most * (high - low + 1)
    kinds, group = key.unique(return_inverse=True)
    return torch.zeros_like(kinds).scatter_(0, group, torch.arange(len(group), device=group.device)), group


def binomial_split(count: Tensor, probability: Tensor, generator: torch.Generator | None) -> Tensor:
    """How many of each count `[M]` say yes; without a generator all or none. ValueError for a probability of NaN."""
    _require_numbers(probability)
    if generator is None:
        return count * (probability > 0.5)
    return torch.binomial(count, probability.to(count.dtype).clamp(0, 1), generator=generator)


def _require_numbers(probability: Tensor) -> None:
    """Refuse NaN, for which torch.binomial would draw without end."""
    if not probability.isfinite().all():
        raise ValueError("A decision has the probability NaN: the points or the weights have NaN or infinite numbers.")


def split(count: Tensor, probability: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """Branches of counts `[M]` after a decision that is a yes with `probability [M]`: for each of R, the row it was
    split from, whether it said yes (bool `[R]`), its count."""
    yes = binomial_split(count, probability, generator)
    index = torch.cat([(yes > 0).nonzero().squeeze(1), (yes < count).nonzero().squeeze(1)])
    taken = torch.arange(len(index), device=index.device) < (yes > 0).sum()
    return index, taken, torch.where(taken, yes[index], (count - yes)[index])


def split_over_types(count: Tensor, probability: Tensor, generator: torch.Generator | None) -> Tensor:
    """Multinomial counts `[M, T]` of `count [M]` over `probability [M, T]`; without a generator all to the largest."""
    if generator is None:
        _require_numbers(probability)
        return F.one_hot(probability.argmax(dim=1), probability.shape[1]) * count[:, None]
    counts = torch.zeros_like(probability, dtype=count.dtype)
    left, mass = count.clone(), torch.ones_like(count)
    for t in range(probability.shape[1] - 1):
        counts[:, t] = binomial_split(left, probability[:, t] / mass.clamp(min=1e-12), generator)
        left = left - counts[:, t]
        mass = mass - probability[:, t]
    counts[:, -1] = left
    return counts
