"""The four contracts of the library, and a check of each that says what a class of one's own still lacks.

A **space** says what an architecture is, a **benchmark** what it is worth, a **graph VAE** turns architectures into
points and back, a **searcher** proposes the next ones. Architectures travel between them as `DagBatch`, accuracies
in percent. Letters: B graphs, N vertices, T node types, D latent, P decisions.

    check_space(MySpace())
    check_benchmark(MyTable())
    check_model(MyModel(config), MySpace().sample(20, seed=0))
    check_searcher(MySearcher, domain)        # a domain of latentnas.search.domains
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch, canonical_hash, equal

Decodes = tuple[DagBatch, Tensor, Tensor]  # distinct graphs, the row of z each came from, how often it came


class InterfaceError(Exception):
    """A class does not keep the contract that it was checked against; the message says where and what to do."""


class Space(Protocol):
    """What an architecture is. A space that can be listed also has `enumerate() -> DagBatch` of all architectures
    in the order of rows and `index(batch) -> int64 [B]`, the rows of graphs, -1 for what is not in the space."""

    name: str  # small letters and digits, as in the names of files and claims
    num_vertices: int  # N, of the largest graph
    num_types: int  # T, input and output included
    type_names: tuple[str, ...]  # of the T node types
    input_type: int  # of vertex 0
    output_type: int  # of the last vertex

    def to_batch(self, texts: list[str]) -> DagBatch:
        """Graphs of architectures written as text; ValueError names the first that is none."""

    def to_strings(self, batch: DagBatch) -> list[str]:
        """The canonical text of each graph; ValueError for a graph outside the space."""

    def is_valid(self, batch: DagBatch) -> Tensor:
        """Which generated graphs keep the rules of the space, whatever their size, bool `[B]`."""

    def contains(self, batch: DagBatch) -> Tensor:
        """Which graphs are architectures of the space, bool `[B]`."""

    def sample(self, n: int, seed: int) -> DagBatch:
        """`n` architectures drawn uniformly with replacement."""

    def neighbors(self, batch: DagBatch) -> list[DagBatch]:
        """For each graph, all architectures that are one change away, none of them twice; there may be none."""

    def choices(self, batch: DagBatch) -> np.ndarray:
        """The decisions that make each architecture, numbered from 0, int64 `[B, P]`."""

    def flops(self, batch: DagBatch) -> Tensor:
        """Multiply-adds of the network for one image, int64 `[B]`."""

    def params(self, batch: DagBatch) -> Tensor:
        """Trainable parameters of the network, int64 `[B]`."""


class Benchmark(Protocol):
    """What architectures are worth. A table, as opposed to a live measurement, also has `batch` (the graphs of all
    its rows), `labels(signal) -> float64 [rows]` and `optimum(signal)`, the number of its best row."""

    space: Space
    signals: tuple[str, ...]  # names of its accuracies; searches select by the first

    def query(self, batch: DagBatch) -> pd.DataFrame:
        """One line a graph in the order asked: `known` (bool) and every signal in percent, NaN where not known."""


class GraphVAE(nn.Module):
    """A variational autoencoder of graphs: the base class of the models.

    `config` is a frozen dataclass with at least `num_vertices`, `num_types` and `latent`.
    """

    config: Any

    def encode(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the posterior, both `[B, D]`."""
        raise NotImplementedError

    def decode(self, z: Tensor) -> DagBatch:
        """The graph of each point `[B, D]`, every decision the most likely one."""
        raise NotImplementedError

    def sample_decodes(self, z: Tensor, trials: int, generator: torch.Generator) -> Decodes:
        """`trials` random decodes of every point, equal ones counted together, in the order of z."""
        raise NotImplementedError

    def loss(self, batch: DagBatch, generator: torch.Generator | None = None, **labels: Tensor) -> dict[str, Tensor]:
        """`total`, the scalar that is minimised, and its terms, averaged over the batch."""
        raise NotImplementedError

    def calibrate(self, **labels: Tensor) -> None:
        """Fix the scale of the predictors from the training labels `[B]`, before training."""

    def project(self) -> None:
        """Move the weights back to where they are allowed to be, after each step of the optimiser."""


class Searcher(Protocol):
    """A search method, built from a domain (see `latentnas.search.domains`) and a seed. Rows are the domain's numbers
    of architectures: `domain.graphs(rows)` are their graphs."""

    domain: Any
    seed: int

    def ask(self, n: int) -> np.ndarray:
        """At most `n` rows, int64, to evaluate next; none when there is nothing left to propose."""

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Values `[n]` of rows `[n]`, more is better: those just asked for, or an initial design."""


# ---------------------------------------------------------------- checks


def check_space(space: Space, seed: int = 0) -> None:
    """Check a space on 30 of its architectures.

    Raises:
        InterfaceError: what is missing or contradicts itself.
    """
    name = _members(space, Space)
    if len(space.type_names) != space.num_types:
        _fail(
            name, f"num_types is {space.num_types}, but type_names has {len(space.type_names)} names", "Name each type"
        )
    batch = _graphs(name, "sample(30, seed)", space.sample(30, seed), 30, space.num_vertices, space.num_types)
    if not equal(space.sample(30, seed), batch).all():
        _fail(name, "sample gives other architectures for the same seed", "Draw from np.random.default_rng(seed)")
    last = batch.types.gather(1, batch.num_vertices[:, None] - 1)
    if (batch.types[:, 0] != space.input_type).any() or (last != space.output_type).any():
        found = f"{batch.types[:, 0].unique().tolist()} and end with {last.unique().tolist()}"
        _fail(name, f"its graphs begin with types {found}", "input_type and output_type must name these")
    for method in ("contains", "is_valid"):
        answer = torch.as_tensor(getattr(space, method)(batch))
        if answer.shape != (30,) or answer.dtype != torch.bool:
            found = f"{answer.dtype} of shape {list(answer.shape)}"
            _fail(name, f"{method} gives {found} for 30 graphs", "Return one bool for each graph")
        if not answer.all():
            _fail(name, f"{method} refuses an architecture that sample drew", "Let both follow the same rules")
    if torch.as_tensor(space.contains(_nowhere(space))).any():
        _fail(name, "contains accepts a graph of one vertex, which has no output", "Let it check the rules")
    wider = batch.pad_to(batch.max_vertices + 1)
    if not torch.as_tensor(space.contains(wider)).all():
        _fail(name, "contains depends on padding", "Look at batch.num_vertices, not at the width of the tensors")
    back = space.to_batch(space.to_strings(batch))
    if not torch.equal(canonical_hash(back), canonical_hash(batch)):
        _fail(name, "to_batch does not read back what to_strings writes", "Let one be the inverse of the other")
    for count in ("flops", "params"):
        values = torch.as_tensor(getattr(space, count)(batch))
        if values.shape != (30,) or values.dtype != torch.int64 or (values < 0).any():
            _fail(
                name, f"{count} gives {values.dtype} of shape {list(values.shape)}", "Return one int64 for each graph"
            )
    choices = np.asarray(space.choices(batch))
    if choices.ndim != 2 or len(choices) != 30 or choices.dtype != np.int64 or choices.min(initial=0) < 0:
        _fail(name, f"choices gives {choices.dtype} of shape {list(choices.shape)}", "Return int64 [B, P], from 0")
    around = space.neighbors(batch[:5])
    if len(around) != 5:
        _fail(name, f"neighbors gives {len(around)} answers for 5 graphs", "Return a list with a DagBatch for each")
    for graph, others in zip(canonical_hash(batch[:5]).tolist(), around, strict=True):
        _graphs(name, "neighbors", others, len(others), space.num_vertices, space.num_types)
        hashes = canonical_hash(others).tolist()
        if graph in hashes or len(set(hashes)) < len(hashes) or not torch.as_tensor(space.contains(others)).all():
            _fail(name, "neighbors gives the graph itself, one twice, or one outside the space", "Leave those out")
    if hasattr(space, "enumerate"):
        every = space.enumerate()
        count = getattr(space, "size", len(every))
        _graphs(name, "enumerate()", every, count, space.num_vertices, space.num_types)
        rows = np.asarray(space.index(batch))
        inside = rows.shape == (30,) and ((rows >= 0) & (rows < count)).all()
        if not inside or not equal(every[rows.tolist()], batch).all():
            _fail(name, "index does not find a sampled architecture in enumerate()", "Let index follow its order")
        if np.asarray(space.index(_nowhere(space))).tolist() != [-1]:
            _fail(name, "index gives a row for a graph that is not in the space", "Return -1 there")


def check_benchmark(benchmark: Benchmark, seed: int = 0) -> None:
    """Check a benchmark on 30 architectures of its space and on one graph that is none.

    Raises:
        InterfaceError: what is missing or contradicts itself.
    """
    name = _members(benchmark, Benchmark)
    batch = DagBatch.cat([benchmark.space.sample(30, seed), _nowhere(benchmark.space)])
    if not isinstance(benchmark.signals, tuple) or not benchmark.signals:
        _fail(name, f"signals is {benchmark.signals!r}", 'Name its accuracies in a tuple, such as ("valid", "test")')
    frame = benchmark.query(batch)
    if not isinstance(frame, pd.DataFrame):
        _fail(name, f"query gives {type(frame).__name__}", "Return a pandas DataFrame, one line for each graph")
    missing = [column for column in ("known", *benchmark.signals) if column not in frame]
    if len(frame) != len(batch) or missing:
        _fail(
            name,
            f"query of {len(batch)} graphs gives {len(frame)} lines, without {', '.join(missing) or 'gaps'}",
            "Return one line for each graph, with the column `known` and one for each signal",
        )
    known = frame["known"].to_numpy(dtype=bool)
    if known[-1]:
        _fail(name, "query knows a graph that is not in the space", "Set known to False and the signals to NaN")
    values = frame[list(benchmark.signals)].to_numpy(dtype=np.float64)
    if not np.isnan(values[~known]).all() or not ((values[known] >= 0) & (values[known] <= 100)).all():
        _fail(name, "a signal is not a percentage where known, or not NaN elsewhere", "Give accuracies from 0 to 100")
    for signal, column in zip(benchmark.signals, values[known].T):
        if len(column) and column.max() <= 1:
            _fail(name, f"the accuracies of '{signal}' are at most {column.max():.3g}", "Give percent, not fractions")
    backwards = range(len(batch) - 1, -1, -1)
    again = benchmark.query(batch[backwards])[list(benchmark.signals)].to_numpy(dtype=np.float64)[backwards]
    if not np.array_equal(again, values, equal_nan=True):
        _fail(
            name,
            "query gives other values for the same graphs in another order",
            "Answer in the order asked, and the same graph always alike",
        )
    if hasattr(benchmark, "labels"):
        for signal in benchmark.signals:
            labels = np.asarray(benchmark.labels(signal))
            if labels.shape != (len(benchmark.batch),):
                _fail(
                    name,
                    f"labels('{signal}') has shape {list(labels.shape)}, but batch has {len(benchmark.batch)} graphs",
                    "Give one label for each row",
                )
            best = benchmark.optimum(signal)
            if labels[best] != np.nanmax(labels):
                _fail(
                    name, f"optimum('{signal}') is row {best}, which is not the best", "Return the row of the maximum"
                )
            first = benchmark.query(benchmark.batch[:5])[signal].to_numpy()
            if not np.array_equal(first, labels[:5], equal_nan=True):
                _fail(name, f"query and labels('{signal}') differ for the first rows", "Read both from one table")


def check_model(model: GraphVAE, batch: DagBatch, **labels: Tensor) -> None:
    """Check a model on graphs of its space (at least two) with the labels that its loss takes.

    Raises:
        InterfaceError: what is missing or contradicts itself.
    """
    name = type(model).__name__
    if not isinstance(model, GraphVAE):
        _fail(name, "it is no GraphVAE", "Derive it from latentnas.interfaces.GraphVAE")
    for member in ("num_vertices", "num_types", "latent"):
        if not isinstance(getattr(getattr(model, "config", None), member, None), int):
            _fail(name, f"config.{member} is missing or no whole number", f"Give its configuration a field {member}")
    for method in ("encode", "decode", "sample_decodes", "loss"):
        if getattr(type(model), method) is getattr(GraphVAE, method):
            _fail(name, f"it lacks {method}", f"Write it: «{getattr(GraphVAE, method).__doc__}»")
    config, graphs = model.config, len(batch)
    model.calibrate(**labels)
    with torch.no_grad():
        shapes = [list(part.shape) for part in model.eval().encode(batch)]
    if shapes != [[graphs, config.latent]] * 2:
        _fail(name, f"encode gives shapes {shapes[:2]}", f"Return mu and logvar [{graphs}, {config.latent}]")
    model.train()
    terms = model.loss(batch, generator=_seeded(), **labels)
    total = terms.get("total") if isinstance(terms, dict) else None
    if not isinstance(total, Tensor) or total.shape != () or not total.requires_grad or not math.isfinite(total.item()):
        _fail(name, "loss gives no finite scalar `total` that can be differentiated", 'Return {"total": ..., ...}')
    model.eval()
    with torch.no_grad():
        encoded = model.encode(batch)
        if not torch.equal(model.encode(batch)[0], encoded[0]):
            _fail(name, "encode differs between two calls in evaluation mode", "Draw nothing at random there")
        wide = batch.pad_to(batch.max_vertices + 1)
        first, second = (model.loss(graph, generator=_seeded(), **labels)["total"] for graph in (batch, wide))
        for method, alike in (
            ("encode", torch.allclose(model.encode(wide)[0], encoded[0], atol=1e-5)),
            ("loss", torch.allclose(first, second, rtol=1e-4)),
        ):
            if not alike:
                _fail(name, f"{method} depends on padding", "Start with latentnas.models.base.validated(batch, ...)")
        z = encoded[0]
        _graphs(name, "decode", model.decode(z), graphs, config.num_vertices, config.num_types)
        decoded, source, count = model.sample_decodes(z, 7, _seeded())
        _graphs(name, "sample_decodes", decoded, len(source), config.num_vertices, config.num_types)
        if torch.bincount(source, count, graphs).tolist() != [7] * graphs or not (source.diff() >= 0).all():
            _fail(name, "the counts of sample_decodes do not sum to `trials`", "Count every decode, in the order of z")


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def check_searcher(make_searcher: Callable[..., Searcher], domain: Any, queries: int = 30, seed: int = 0) -> None:
    """Check a search method, a callable of a domain and a seed, on `queries` random values.

    Raises:
        InterfaceError: what is missing or contradicts itself.
    """
    histories = []
    for _ in range(2):
        searcher = make_searcher(domain, seed)
        name = _members(searcher, Searcher)
        asked: list[int] = []
        for number in range(queries):
            wanted = 1 + number % 3
            rows = np.asarray(searcher.ask(wanted))
            if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu") or len(rows) > wanted:
                _fail(name, f"ask({wanted}) gives {rows.dtype} of shape {list(rows.shape)}", "Return at most n rows")
            outside = rows[~domain.contains(rows)]
            if len(outside):
                _fail(name, f"ask gives row {outside[0]}, but rows are {domain.extent}", "Propose rows of the domain")
            if not len(rows):
                break
            searcher.tell(rows, np.cos(rows.astype(np.float64)))
            asked += rows.tolist()
        histories.append(asked)
    if not histories[0]:
        _fail(name, "ask proposes nothing", "Return at least one row while there are unknown ones")
    if histories[0] != histories[1]:
        _fail(name, "two runs with the same seed ask for other rows", "Draw from np.random.default_rng(seed)")


def _members(thing: Any, contract: type) -> str:
    """The name of a thing's class. Raises InterfaceError where it lacks a member of the contract."""
    name = type(thing).__name__
    wanted = [*contract.__annotations__, *(key for key in vars(contract) if not key.startswith("_"))]
    missing = [member for member in wanted if not hasattr(thing, member)]
    if missing:
        meaning = getattr(vars(contract).get(missing[0]), "__doc__", None)
        _fail(
            name,
            f"it lacks {', '.join(missing)}",
            f"Add what latentnas.interfaces.{contract.__name__} asks for"
            + (f": {missing[0]} is «{meaning}»" * bool(meaning)),
        )
    return name


def _graphs(name: str, where: str, graphs: DagBatch, count: int, num_vertices: int, num_types: int) -> DagBatch:
    """The graphs themselves. Raises InterfaceError unless they are so many, of known types and sizes, edges forward."""
    if not isinstance(graphs, DagBatch) or len(graphs) != count:
        found = f"{len(graphs)} graphs" if isinstance(graphs, DagBatch) else type(graphs).__name__
        _fail(name, f"{where} gives {found} instead of a DagBatch of {count}", "Return one graph for each")
    largest = int(graphs.num_vertices.max()) if count else 0
    types = graphs.types[graphs.present]
    if largest > num_vertices or ((types < 0) | (types >= num_types)).any():
        _fail(
            name,
            f"{where} gives graphs of {largest} vertices with types up to {int(types.max())}",
            f"num_vertices={num_vertices} and num_types={num_types} must hold for every graph",
        )
    if (graphs.types[~graphs.present] != NO_VERTEX).any() or graphs.adjacency.tril().any():
        _fail(name, f"{where} gives edges backwards or types past the end of a graph", "Number vertices in order")
    return graphs


def _nowhere(space: Space) -> DagBatch:
    """One graph that is in no space: a single vertex without edges."""
    return DagBatch(torch.tensor([[space.input_type]]), torch.zeros(1, 1, 1, dtype=torch.bool), torch.tensor([1]))


def _fail(name: str, problem: str, remedy: str) -> NoReturn:
    raise InterfaceError(f"{name} does not keep its contract: {problem}. {remedy}.")
