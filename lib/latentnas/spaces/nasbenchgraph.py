"""The search space of NAS-Bench-Graph (Qin et al., NeurIPS 2022, https://arxiv.org/abs/2206.09166): networks on graphs.

A network has four nodes. Each applies one of nine operations to the input or to one earlier node, so the nodes form a
tree, of one of nine shapes; the output joins what the nodes give that no other node reads. As text, node by node, the
operation and what it reads (0 is the input, 1 the first node):

    gcn~0|gat~1|skip~1|fc~2

The operations are graph layers (`gat` with two heads, `gcn`, `gin`, `cheb`, `sage`, `arma`, `graph`: k-GNN), `fc`,
which does not look at neighbours, and `skip`, the identity. As a graph it has six vertices: input, four operations,
output.

There are 35,919 such trees. A skip that other nodes read only makes the network smaller, so it is kept in one place: at
the beginning, where everything else hangs on it. A skip that no node reads hands a node to the output, which says
something where another node reads it too; it is left out where that is the input. That leaves 26,206 architectures, one
for each entry of the benchmark. A few twins are left among them: in 208 two skips hand the output the same node, which
it then has twice. Rows are in the order of the seven choices: what nodes 2 to 4 read, and the four operations. Of the
numberings of a tree the first in this order is the canonical one.

FLOPs and parameters are those of the network on one of the data sets, by default Cora. Its hidden width D, and whether
a layer comes before and after the four nodes, were chosen for each by the benchmark. An operation has one D x D matrix
of weights, `cheb`, `sage` and `graph` two, `arma` three, and D biases; `gat` 2 D more for its heads. Normalisation has
8 D. Where nothing comes before, operations that read the input have as many inputs as the data set has features. The
output concatenates. So counted, parameters are those on record, to the last one, but for 1,567 entries of Physics: the
record is a mean over three trainings, and there not all had one width. FLOPs are multiply-adds with weights for one
vertex of the data set; sums over neighbours are not counted.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from latentnas.graphs import DagBatch, canonical_hash
from latentnas.spaces import _shared as shared

NODES = 4
READS = NODES - 1  # choices that say what a node reads: all nodes but the first
OPERATIONS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
SKIP = OPERATIONS.index("skip")
MATRICES = np.array([1, 1, 1, 2, 2, 2, 2, 1, 0])  # of each operation, that meet what it reads
SECOND_STEP = np.array([0, 0, 0, 0, 0, 1, 0, 0, 0])  # that meet what comes of it
EXTRA = np.array([3, 1, 1, 1, 1, 1, 1, 1, 0])  # other parameters, in D
LIMITS = (2, 3, 4, *[len(OPERATIONS)] * NODES)  # of the choices


class Setting(NamedTuple):
    """The network around the four nodes on one data set."""

    features: int
    width: int  # D
    classes: int
    before: bool = False  # a linear layer to D before the nodes
    after: bool = False  # and one from what the output joins to D, before the one to the classes


SETTINGS = {
    "cora": Setting(1433, 256, 7, after=True),
    "citeseer": Setting(3703, 256, 6, after=True),
    "pubmed": Setting(500, 128, 3),
    "cs": Setting(6805, 128, 15, before=True),
    "physics": Setting(8415, 256, 5, before=True),
    "photo": Setting(745, 128, 8),
    "computers": Setting(767, 64, 10, before=True, after=True),
    "arxiv": Setting(128, 128, 40, after=True),
}


class NasBenchGraphSpace(shared.OperationSpace):
    """The space of 26,206 networks. Use the instance `NASBENCHGRAPH`. Valid, whatever the number of nodes and wherever
    skips are, is a tree whose leaves are what the output reads."""

    name = "nasbenchgraph"
    num_vertices = NODES + 2
    num_types = len(OPERATIONS) + 2
    operation_names = OPERATIONS
    type_names = ("input", "output", *OPERATIONS)
    size = 26_206

    architecture = "a NAS-Bench-Graph architecture"
    sizes = "6 vertices, of which skips are only the first, that all else hangs on, or a last one beside another reader"
    expected = "Expected four nodes as in gcn~0|gat~1|skip~1|fc~2: an operation, ~, and 0 or an earlier node's number."

    def _read(self, text: str) -> list[int]:
        nodes = [node.partition("~") for node in text.strip().split("|")]
        if len(nodes) != NODES:
            raise ValueError("there are not four nodes")
        for number, (operation, _, source) in enumerate(nodes, start=1):
            if operation not in OPERATIONS:
                wrong = f"node {number} has the operation {shared.shorten(operation)}"
                raise ValueError(f"{wrong} (the nine are {', '.join(OPERATIONS)})")
            if source not in map(str, range(number)):
                raise ValueError(f"node {number} reads {shared.shorten(source)}, neither 0 nor an earlier node")
        operations, _, sources = zip(*nodes)
        return [*map(int, sources[1:]), *map(OPERATIONS.index, operations)]

    def to_strings(self, batch: DagBatch) -> list[str]:
        choices = self.choices(batch).tolist()
        nodes = [zip(line[READS:], [0, *line[:READS]], strict=True) for line in choices]
        return ["|".join(f"{OPERATIONS[operation]}~{source}" for operation, source in line) for line in nodes]

    def choices(self, batch: DagBatch) -> np.ndarray:
        """What nodes 2 to 4 read and the four operations, int64 `[B, 7]`, in the canonical numbering."""
        self._require(batch)
        return self._choices[self.index(batch)]

    def from_choices(self, choices: ArrayLike) -> DagBatch:
        """Graphs numbered as their choices say; those of other trees, which the space leaves out, are graphs too."""
        choices = torch.from_numpy(shared.whole_choices(choices, LIMITS, self.name))
        reads = F.one_hot(F.pad(choices[:, :READS], (1, 0)), self.num_vertices).bool()  # [B, node, what it reads]
        adjacency = F.pad(reads.mT, (1, 1))
        adjacency[:, 1:-1, -1] = ~adjacency[:, 1:-1].any(2)
        return shared.from_operations(choices[:, READS:], adjacency)

    def contains(self, batch: DagBatch) -> Tensor:
        return self._find(batch) >= 0

    def _faults(self, batch: DagBatch) -> dict[str, Tensor]:
        position = torch.arange(batch.max_vertices, device=batch.types.device)
        last = (position == batch.num_vertices[:, None] - 1) & batch.present
        inner = batch.present & ~last
        to_last = (batch.adjacency & last[:, None]).any(2)
        read = (batch.adjacency & inner[:, None]).any(2)
        return {
            **super()._faults(batch),
            "does not read exactly one vertex": inner & (position > 0) & (batch.adjacency.sum(1) != 1),
            "is read by no operation": (position == 0) & inner & ~read,
            "is read by both an operation and the output, or by none": inner & (read == to_last),
        }

    def sample(self, n: int, seed: int) -> DagBatch:
        return self.from_choices(self._choices[np.random.default_rng(seed).integers(0, self.size, n)])

    def neighbors(self, batch: DagBatch) -> list[DagBatch]:
        """For each graph those of `neighbor_rows`."""
        self._require(batch)
        return [self.from_choices(self._choices[rows]) for rows in self.neighbor_rows(self.index(batch))]

    def neighbor_rows(self, rows: ArrayLike) -> list[np.ndarray]:
        """For each row, the rows of the space that one other operation, or one node that reads another vertex, makes of
        it, ascending; ValueError for others."""
        rows = shared.whole_numbers(np.atleast_1d(rows), "A row of the NAS-Bench-Graph space", self.size)
        found, row_of_number = [], self._rows
        for row in rows.tolist():  # what comes after a node depends on the numbering: all of them
            numberings = np.stack(np.unravel_index(np.flatnonzero(row_of_number == row), LIMITS), axis=1)
            others = row_of_number[np.ravel_multi_index(shared.one_change(numberings, LIMITS).T, LIMITS)]
            found.append(np.setdiff1d(others, [-1, row]))
        return found

    def enumerate(self) -> DagBatch:
        return self.from_choices(self._choices)

    def index(self, batch: DagBatch) -> np.ndarray:
        """However the nodes are numbered."""
        return self._find(batch).cpu().numpy()

    def params(self, batch: DagBatch, dataset: str = "cora") -> Tensor:
        """On a data set of `SETTINGS`; ValueError for another."""
        return self._cost(batch, dataset)[1]

    def flops(self, batch: DagBatch, dataset: str = "cora") -> Tensor:
        """On a data set of `SETTINGS`; ValueError for another."""
        return self._cost(batch, dataset)[0]

    def _cost(self, batch: DagBatch, dataset: str) -> tuple[Tensor, Tensor]:
        """Weights and parameters, int64 `[B]`."""
        if dataset not in SETTINGS:
            known = f"has no data set {shared.shorten(dataset)}; those it has are {', '.join(SETTINGS)}"
            raise ValueError(f"NAS-Bench-Graph {known}.")
        features, width, classes, before, after = SETTINGS[dataset]
        choices = self.choices(batch)
        sources, operations = _nodes(choices)
        inputs = np.where(_is_input(sources, operations), width if before else features, width)
        leaves = NODES - sum((sources == node).any(1) for node in range(1, NODES))  # nodes that the output reads
        weights = MATRICES[operations] * inputs + SECOND_STEP[operations] * width
        joined = leaves * (width if after else classes)  # columns of the matrix that reads the output
        weights = width * (weights.sum(1) + joined + before * features + after * classes)
        others = (EXTRA[operations].sum(1) + 2 * NODES + before + after) * width + classes
        device = batch.types.device
        return torch.from_numpy(weights).to(device), torch.from_numpy(weights + others).to(device)

    def _find(self, batch: DagBatch) -> Tensor:
        """Rows, int64 `[B]`, -1 outside the space. In trees, equal hashes mean equal graphs."""
        hashes, rows = (table.to(batch.types.device) for table in self._by_hash)
        wanted = canonical_hash(batch)
        place = torch.searchsorted(hashes, wanted).clamp(max=len(hashes) - 1)
        found = (hashes[place] == wanted) & (batch.num_vertices == self.num_vertices) & self.is_valid(batch)
        return rows[place].where(found, -1)

    @cached_property
    def _numberings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The choices of all rows, `[26206, 7]`; the row of each of the 157,464 combinations of choices, -1 for those
        that the space leaves out; and the hash of each row."""
        every = np.indices(LIMITS).reshape(len(LIMITS), -1).T
        hashes = torch.cat([canonical_hash(self.from_choices(part)) for part in np.array_split(every, 10)]).numpy()
        _, first, tree = np.unique(hashes, return_index=True, return_inverse=True)
        kept = np.sort(first[_in_space(every[first])])
        row_of_first = np.full(len(every), -1)
        row_of_first[kept] = np.arange(len(kept))
        return every[kept], row_of_first[first[tree]], hashes[kept]

    @cached_property
    def _by_hash(self) -> tuple[Tensor, Tensor]:
        """All hashes in ascending order, and their rows."""
        return torch.from_numpy(self._numberings[2]).sort()

    @property
    def _choices(self) -> np.ndarray:
        return self._numberings[0]

    @property
    def _rows(self) -> np.ndarray:
        return self._numberings[1]


NASBENCHGRAPH = NasBenchGraphSpace()


def _nodes(choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each node reads and its operation, both `[n, 4]`."""
    return np.pad(choices[:, :READS], ((0, 0), (1, 0))), choices[:, READS:]


def _is_input(sources: np.ndarray, operations: np.ndarray) -> np.ndarray:
    """Which nodes read the input of the network, directly or through skips, bool `[n, 4]`."""
    rows, reads = np.arange(len(sources)), np.ones_like(sources, dtype=bool)
    for node in range(1, NODES):
        source = sources[:, node] - 1
        reads[:, node] = (source < 0) | (reads[rows, source] & (operations[rows, source] == SKIP))
    return reads


def _in_space(choices: np.ndarray) -> np.ndarray:
    """Which trees have their skips where the space has them, bool `[n]`."""
    sources, operations = _nodes(choices)
    rows, skip, of_input = np.arange(len(choices)), operations == SKIP, _is_input(sources, operations)
    readers = (sources[:, :, None] == np.arange(NODES + 1)).sum(1)  # [n, 5], of the input and of each node
    right = np.ones(len(choices), dtype=bool)
    first = np.ones((len(choices), NODES + 1), dtype=bool)  # only skips lead here, and nothing branches off
    for node in range(NODES):
        source = sources[:, node]
        first[:, node + 1] = skip[:, node] & first[rows, source] & (readers[rows, source] == 1)
        read, beside = readers[:, node + 1] > 0, readers[rows, source] > 1
        right &= ~skip[:, node] | np.where(read, first[:, node + 1], beside & ~of_input[:, node])
    return right
