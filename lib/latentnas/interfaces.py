"""The four contracts of the library, and a check of each that says what a class of one's own still lacks.

A **space** says what an architecture is, a **benchmark** what it is worth, a **graph VAE** turns architectures into
points and back, a **searcher** proposes the next ones. Architectures travel between them as `DagBatch`, accuracies in
percent. Letters: B graphs, N vertices, T node types, D latent, P decisions.

    check_space(MySpace())
    check_benchmark(MyTable())
    check_model(MyModel(config), MySpace().sample(20, seed=0))
    check_searcher(MySearcher, domain)        # a domain of latentnas.search.domains
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch, canonical_hash, equal

Decodes = tuple[DagBatch, Tensor, Tensor]  # distinct graphs, the row of z each came from, how often it came


class InterfaceError(Exception):
    """A class lacks something of its contract, fails or contradicts itself; the message says where and what to do."""


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
    its rows), `labels(signal) -> float64 [rows]` and `optimum(signal)`, the number of its best row. A search asks
    less, a function of graphs, such as `lambda graphs: live.query(graphs)["judged"]` of a live evaluator."""

    space: Space
    signals: tuple[str, ...]  # names of its accuracies; searches select by the first

    def query(self, batch: DagBatch) -> pd.DataFrame:
        """One line a graph in the order asked: `known` (bool) and every signal in percent, NaN where not known."""


class GraphVAE(nn.Module):
    """A variational autoencoder of graphs: the base class of the models."""

    config: Any  # a frozen dataclass with at least `num_vertices`, `num_types` and `latent`

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


class _Checked:
    """What is checked: it lends its members, remembers which of them was used last, and says what is wrong."""

    def __init__(self, thing: Any, contract: type) -> None:
        self.thing, self.contract, self.used = thing, contract, "making one"
        self.own_name = getattr(thing, "__name__", type(thing).__name__)

    def __getattr__(self, member: str) -> Any:
        self.used = member
        return getattr(self.thing, member)

    def require(self, kept: Any, otherwise: str) -> None:
        if not kept:
            raise InterfaceError(f"{self.own_name} does not keep its contract: {otherwise}.")

    def run(self, check: Callable, arguments: tuple, named: dict[str, Any]) -> Any:
        """What a check returns. Any error of a member becomes one that names it."""
        try:
            return check(self, *arguments, **named)
        except InterfaceError:
            raise
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            asked = f"Keep to the contract{self.meaning(self.used)}"
            self.require(False, f"{self.used} fails or gives what cannot be used ({words}). {asked}")

    def require_members(self) -> None:
        self.require(not isinstance(self.thing, type), f"it is a class. Give an instance: {self.own_name}(...)")
        methods = [member for member in vars(self.contract) if not member.startswith("_")]
        missing = [member for member in self.contract.__annotations__ if getattr(self.thing, member, None) is None]
        missing += [member for member in methods if not callable(getattr(self.thing, member, None))]
        asked = f"Add what latentnas.interfaces.{self.contract.__name__} asks for{self.meaning(*missing[:1])}"
        self.require(not missing, f"it lacks {', '.join(missing)}. {asked}")

    def meaning(self, member: str = "") -> str:
        words = getattr(vars(self.contract).get(member), "__doc__", None)
        return f": {member} is «{' '.join(words.split()).rstrip('.')}»" if words else ""

    def one_each(self, method: str, dtype: torch.dtype, batch: DagBatch) -> Tensor:
        """What a method answers, which must be one value for each graph."""
        values = getattr(self, method)(batch)
        values = values if isinstance(values, Tensor) else torch.as_tensor(np.ascontiguousarray(values))
        right, found = values.shape == (len(batch),) and values.dtype == dtype, _shape(values)
        self.require(right, f"{method} gives {found} for {len(batch)} graphs. Return one {dtype} for each graph")
        return values

    def graphs(self, source: str, graphs: Any, count: int, sizes: Any) -> DagBatch:
        """The graphs themselves: so many, of the types and vertices that `sizes` knows, edges forward."""
        right = isinstance(graphs, DagBatch) and len(graphs) == count
        found = f"{len(graphs)} graphs" if isinstance(graphs, DagBatch) else type(graphs).__name__
        self.require(right, f"{source} gives {found} instead of a DagBatch of {count}. Return one graph for each")
        largest, types = max(graphs.num_vertices.tolist(), default=0), graphs.types[graphs.present].tolist()
        fits = largest <= sizes.num_vertices and {*types} <= {*range(sizes.num_types)}
        found = f"graphs of {largest} vertices with types up to {max(types, default=0)}"
        rule = f"num_vertices={sizes.num_vertices} and num_types={sizes.num_types} must hold for every graph"
        self.require(fits, f"{source} gives {found}. {rule}")
        forward = (graphs.types[~graphs.present] == NO_VERTEX).all() and not graphs.adjacency.tril().any()
        self.require(forward, f"{source} gives edges backwards or types past the end. Number vertices in order")
        return graphs


def _check(contract: type) -> Callable[[Callable], Callable]:
    """Makes the first argument of a check a `_Checked`."""
    return lambda check: wraps(check)(lambda thing, *rest, **named: _Checked(thing, contract).run(check, rest, named))


@_check(Space)
def check_space(space: Space, seed: int = 0) -> None:
    """Check a space on 30 of its architectures. Raises InterfaceError."""
    space.require_members()
    require, names = space.require, len(space.type_names)
    require(names == space.num_types, f"num_types is {space.num_types}, but type_names has {names} names. Name each")
    batch, again = space.graphs("sample(30, seed)", space.sample(30, seed), 30, space), space.sample(30, seed)
    require(equal(again, batch).all(), "sample gives other architectures for one seed. Draw from default_rng(seed)")
    other = canonical_hash(space.graphs("sample(30, seed + 1)", space.sample(30, seed + 1), 30, space))
    drawn = len({*canonical_hash(batch).tolist()}) > 1 and not torch.equal(other, canonical_hash(batch))
    one = getattr(space, "size", 2) == 1
    require(drawn or one, "sample gives one architecture, or the same for each seed. Draw from default_rng(seed)")
    first, last = batch.types[:, 0].unique().tolist(), batch.types.gather(1, batch.num_vertices[:, None] - 1).unique()
    found = f"its graphs begin with types {first} and end with {last.tolist()}"
    right = (first, last.tolist()) == ([space.input_type], [space.output_type])
    require(right, f"{found}. Name these input_type and output_type")
    nowhere, wider = _nowhere(space), batch.pad_to(batch.max_vertices + 1)
    hashes, back = (canonical_hash(graphs) for graphs in (batch, space.to_batch(space.to_strings(batch))))
    require(torch.equal(hashes, back), "to_batch does not read back what to_strings writes. Let one invert the other")
    require(space.to_strings(wider) == space.to_strings(batch), "to_strings depends on padding. Read num_vertices")
    dtypes = {"contains": torch.bool, "is_valid": torch.bool, "flops": torch.int64, "params": torch.int64}
    for method, dtype in (dtypes | ({"index": torch.int64} if hasattr(space, "enumerate") else {})).items():
        values = space.one_each(method, dtype, batch)
        kept = values.all() or dtype != torch.bool
        require(kept, f"{method} refuses an architecture that sample drew. Let both follow the same rules")
        require(method == "index" or (values >= 0).all(), f"{method} gives a number below 0. Count from 0")
        again = torch.equal(space.one_each(method, dtype, batch), values)
        require(again, f"{method} gives other numbers in a second call. Draw nothing at random there")
        alike = torch.equal(space.one_each(method, dtype, wider), values)
        require(alike, f"{method} depends on padding. Read batch.num_vertices")
    outside = not space.one_each("contains", torch.bool, nowhere).any()
    require(outside, "contains accepts a graph of one vertex, which has no output. Let it check the rules")
    choices = np.asarray(space.choices(batch))
    numbered = choices.ndim == 2 and len(choices) == 30 and choices.dtype == np.int64 and (choices >= 0).all()
    require(numbered, f"choices gives {_shape(choices)}. Return int64 [B, P], from 0")
    same = np.array_equal(space.choices(batch), choices) and len(np.unique(choices, axis=0)) >= len({*hashes.tolist()})
    require(same, "choices gives others in a second call, or the same for two architectures. Let them make the graph")
    around = space.neighbors(batch[:5])
    require(len(around) == 5, f"neighbors gives {len(around)} answers for 5 graphs. Return a list of one for each")
    for graph, others in zip(canonical_hash(batch[:5]).tolist(), around, strict=True):
        hashes = canonical_hash(space.graphs("neighbors", others, len(others), space)).tolist()
        inside = torch.as_tensor(space.contains(others)).all()
        right = inside and graph not in hashes and len({*hashes}) == len(hashes)
        require(right, "neighbors gives the graph itself, one twice, or one outside the space. Leave those out")
    if hasattr(space, "enumerate"):
        every = space.enumerate()
        space.graphs("enumerate()", every, getattr(space, "size", len(every)), space)
        rows = space.one_each("index", torch.int64, batch)
        found = ((rows >= 0) & (rows < len(every))).all() and equal(every[rows], batch).all()
        require(found, "index does not find a sampled architecture in enumerate(). Let index follow its order")
        some = np.unique(np.linspace(0, len(every) - 1, 30).astype(int))
        found = space.one_each("index", torch.int64, every[some]).tolist() == some.tolist()
        require(found, "index gives another row for a row of enumerate(). List each architecture once")
        outside = np.asarray(space.index(nowhere)).tolist() == [-1]
        require(outside, "index gives a row for a graph that is not in the space. Return -1 there")


@_check(Benchmark)
def check_benchmark(benchmark: Benchmark, seed: int = 0) -> None:
    """Check a benchmark on 30 architectures of its space and on one graph that is none. Raises InterfaceError."""
    benchmark.require_members()
    signals, require = benchmark.signals, benchmark.require
    named = isinstance(signals, tuple) and signals
    require(named, f'signals is {signals!r}. Name its accuracies in a tuple, such as ("valid", "test")')
    batch = DagBatch.cat([benchmark.space.sample(30, seed), _nowhere(benchmark.space)])
    frame = benchmark.query(batch)
    require(isinstance(frame, pd.DataFrame), f"query gives {type(frame).__name__}. Return a pandas DataFrame")
    missing = [column for column in ("known", *signals) if column not in frame]
    found = f"query of {len(batch)} graphs gives {len(frame)} lines, without {', '.join(missing) or 'gaps'}"
    whole = len(frame) == len(batch) and not missing
    require(whole, f"{found}. Return one line for each graph, with the column `known` and one for each signal")
    known, values = frame["known"].to_numpy(dtype=bool), frame[[*signals]].to_numpy(dtype=np.float64)
    require(not known[-1], "query knows a graph that is not in the space. Set known to False and the signals to NaN")
    percent = np.isnan(values[~known]).all() and ((values >= 0) & (values <= 100))[known].all()
    require(percent, "a signal is not a percentage where known, or not NaN elsewhere. Give accuracies from 0 to 100")
    for signal, column in zip(signals, values[known].T, strict=True):
        largest = max(column, default=100)
        require(largest > 1, f"the accuracies of '{signal}' are at most {largest:.3g}. Give percent, not fractions")

    def asked(graphs: DagBatch) -> np.ndarray:
        return benchmark.query(graphs)[[*signals]].to_numpy(dtype=np.float64)

    alike = np.array_equal(asked(batch[range(len(batch) - 1, -1, -1)])[::-1], values, equal_nan=True)
    require(alike, "query gives other values for the same graphs in another order. Answer in the order asked")
    alike = np.array_equal(asked(batch.pad_to(batch.max_vertices + 1)), values, equal_nan=True)
    require(alike, "query depends on padding. Read batch.num_vertices")
    for signal in signals if hasattr(benchmark, "labels") else ():
        labels, graphs = np.asarray(benchmark.labels(signal)), benchmark.batch
        found = f"has shape {list(labels.shape)}, but batch has {len(graphs)} graphs"
        require(labels.shape == (len(graphs),), f"labels('{signal}') {found}. Give one label for each row")
        percent = np.isnan(labels) | ((labels >= 0) & (labels <= 100))
        require(percent.all(), f"labels('{signal}') has {labels[~percent][:1]}. Give percent, NaN where not known")
        require(not np.isnan(labels).all(), f"labels('{signal}') has no number at all. Leave the signal out")
        best = benchmark.optimum(signal)
        require(0 <= best < len(labels), f"optimum('{signal}') is row {best} of {len(labels)}. Count rows from 0")
        found = f"optimum('{signal}') is row {best}, which is not the best"
        require(labels[best] == np.nanmax(labels), f"{found}. Return the row of the maximum")
        some = np.unique(np.linspace(0, len(graphs) - 1, 30).astype(int))
        alike = np.array_equal(benchmark.query(graphs[some])[signal].to_numpy(), labels[some], equal_nan=True)
        require(alike, f"query and labels('{signal}') differ for the same rows. Read both from one table")


@_check(GraphVAE)
def check_model(model: GraphVAE, batch: DagBatch, **labels: Tensor) -> None:
    """Check a model on graphs of its space (at least two), with the labels its loss takes. Raises InterfaceError.

    check_model(NGAE(config), graphs, performance=percent, complexity=costs)    # float tensors [B]
    """
    require, config = model.require, getattr(model.thing, "config", None)
    if not isinstance(model.thing, GraphVAE):
        require(False, "it is no GraphVAE. Derive it from latentnas.interfaces.GraphVAE and give an instance")
    for field in ("num_vertices", "num_types", "latent"):
        whole = isinstance(getattr(config, field, None), int)
        require(whole, f"config.{field} is missing or no whole number. Give its configuration a field {field}")
    for method in ("encode", "decode", "sample_decodes", "loss"):
        written = getattr(type(model.thing), method) is not getattr(GraphVAE, method)
        require(written, f"it lacks {method}. Write it: «{getattr(GraphVAE, method).__doc__}»")
    for name, values in labels.items():  # not the model's fault
        if not (isinstance(values, Tensor) and values.shape == (len(batch),) and values.is_floating_point()):
            found = _shape(values) if isinstance(values, Tensor) else type(values).__name__
            raise InterfaceError(f"The labels '{name}' are {found}. Give check_model a float tensor [{len(batch)}].")
    model.calibrate(**labels)
    expected = [len(batch), config.latent]
    model.eval()
    with torch.no_grad():
        code = model.encode(batch)
    shapes = [list(part.shape) for part in code]
    require(shapes == [expected] * 2, f"encode gives shapes {shapes[:2]}. Return mu and logvar {expected}")
    require(all(part.isfinite().all() for part in code), "encode gives a NaN or infinite number. Divide by no 0")
    model.train()
    terms = model.loss(batch, generator=torch.Generator().manual_seed(0), **labels)
    total = terms.get("total") if isinstance(terms, dict) else None
    finite = isinstance(total, Tensor) and total.shape == () and total.requires_grad and math.isfinite(total.item())
    require(finite, 'loss gives no finite scalar `total` that can be differentiated. Return {"total": ..., ...}')
    wrong = [name for name, term in terms.items() if not isinstance(term, Tensor) or term.shape != ()]
    require(not wrong, f"loss gives no scalar tensor as '{''.join(wrong[:1])}'. Return one for each term")
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    grads = [grad for grad in torch.autograd.grad(total, weights, allow_unused=True) if grad is not None]
    require(all(grad.isfinite().all() for grad in grads), "the gradient of total is NaN or infinite. Divide by no 0")
    require(any(grad.any() for grad in grads), "the gradient of total is 0 everywhere. Compute it from the weights")
    model.project()
    model.eval()
    _check_evaluation(model, batch, labels)


@torch.no_grad()
def _check_evaluation(model: Any, batch: DagBatch, labels: dict[str, Tensor]) -> None:
    def losses(graphs: DagBatch, times: int = 1) -> Tensor:
        """`total` under eight draws of noise."""
        repeated = {name: values.repeat(times) for name, values in labels.items()}
        draws = [torch.Generator().manual_seed(seed) for seed in range(8)]
        return torch.stack([model.loss(graphs, generator=draw, **repeated)["total"] for draw in draws])

    require, z, total = model.require, model.encode(batch)[0], losses(batch)
    wide, twice = batch.pad_to(batch.max_vertices + 1), losses(DagBatch.cat([batch, batch]), 2).mean()
    alike = torch.equal(model.encode(batch)[0], z)
    require(alike, "encode differs between two calls in evaluation mode. Draw nothing at random there")
    torch.rand(1)  # moves PyTorch's own generator, on which no answer may depend
    require(torch.equal(losses(batch), total), "loss depends on more than its generator. Draw noise from that alone")
    alike = equal(model.decode(z), model.decode(z)).all()
    require(alike, "decode differs between two calls. Take the likeliest decision each time")
    padded = {"encode": torch.allclose(model.encode(wide)[0], z, atol=1e-5)}
    padded["loss"] = torch.allclose(losses(wide), total, rtol=1e-4)
    for method, alike in padded.items():
        require(alike, f"{method} depends on padding. Start with latentnas.models.base.validated(batch, ...)")
    alike = (twice - total.mean()).abs() <= 0.1 * total.mean().abs() + 2 * total.std()  # but for the noise
    found = f"loss is {total.mean():.4g}, and {twice:.4g} where each graph comes twice"
    require(alike, f"{found}. Let it be a mean over the graphs")
    for points, trials in ((z, 7), (z[:2], 3)):
        model.graphs("decode", model.decode(points), len(points), model.config)
        graphs, source, count = model.sample_decodes(points, trials, torch.Generator().manual_seed(0))
        model.graphs("sample_decodes", graphs, len(source), model.config)
        right = torch.bincount(source, count, len(points)).tolist() == [trials] * len(points)
        require(right, "the counts of sample_decodes do not sum to `trials` for each point. Count every decode")
        distinct = len({*zip(source.tolist(), graphs.keys(), strict=True)}) == len(source)
        right = distinct and (source.diff() >= 0).all()
        require(right, "sample_decodes gives a graph of a point twice, or not in the order of z. Count equal ones")
        torch.rand(1)
        again = model.sample_decodes(points, trials, torch.Generator().manual_seed(0))
        alike = len(again[0]) == len(graphs) and equal(again[0], graphs).all() and torch.equal(again[2], count)
        require(alike, "sample_decodes gives other decodes for one seed of its generator. Draw from that alone")


@_check(Searcher)
def check_searcher(make_searcher: Callable[..., Searcher], domain: Any, queries: int = 30, seed: int = 0) -> None:
    """Check a search method, a callable of a domain and a seed, on `queries` values. Raises InterfaceError."""
    require = make_searcher.require
    first, second = (_rows_asked(make_searcher.thing(domain, seed), domain, queries, seed) for _ in range(2))
    require(first, "ask proposes nothing. Return at least one row while there are unknown ones")
    remedy = "Draw from np.random.default_rng(seed), and give models that draw a fixed seed, such as `random_state`"
    require(first == second, f"two runs with the same seed ask for other rows. {remedy}")
    rows, half = domain.representative(np.array(first)).tolist(), len(first) // 2
    new = {*rows[half:]} - {*rows[:half]} or len({*rows}) > domain.count / 2  # where few are left it may miss them
    require(new, f"of {len(rows)} rows that it asks for, the last {len(rows) - half} are all known. Propose new ones")


@_check(Searcher)
def _rows_asked(searcher: Searcher, domain: Any, queries: int, seed: int) -> list[int]:
    searcher.require_members()
    searcher.require(searcher.seed == seed, f"its seed is {searcher.seed}, not the {seed} it was given. Keep that")
    asked: list[int] = []
    for number in range(queries):
        wanted = 1 + number % 3
        rows = np.asarray(searcher.ask(wanted))
        right = rows.ndim == 1 and (not len(rows) or rows.dtype.kind in "iu") and len(rows) <= wanted
        searcher.require(right, f"ask({wanted}) gives {_shape(rows)}. Return at most n rows")
        if not len(rows):
            break
        for row in rows[~domain.contains(rows)].tolist():
            searcher.require(False, f"ask gives row {row}, but rows are {domain.row_range}. Propose rows of the domain")
        searcher.tell(rows, np.cos(rows.astype(np.float64)))
        asked += rows.tolist()
    return asked


def _nowhere(space: Space) -> DagBatch:
    """One graph that is in no space: a single vertex without edges."""
    return DagBatch(torch.tensor([[space.input_type]]), torch.zeros(1, 1, 1, dtype=torch.bool), torch.tensor([1]))


def _shape(values: Any) -> str:
    return f"{values.dtype} of shape {list(values.shape)}"
