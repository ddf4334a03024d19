"""Checks of the lab's answers: `check("2b", forward_states)` says in words what is wrong, and gives 1 point or 0.

An answer is a function; a check calls it and compares what it returns with the library. It never shows a traceback and
never says the answer. Where a result is that of a well-known mistake, it names the mistake.
"""

import ast
import copy
import inspect
import itertools
import math
import re
import signal
import textwrap
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import DagBatch, equal
from latentnas.measure.small import load_small
from latentnas.models.base import kl_divergence
from latentnas.models.dagnn import GatedMessage, propagate
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.search.latent.ascent import gradient_ascent
from latentnas.spaces.enas import ENAS

TEXT = "[[0], [4, 1], [1, 0, 0], [5, 0, 1, 0], [2, 0, 0, 0, 0], [3, 1, 0, 0, 1, 0]]"  # of exercise 1
EXERCISE_3 = {"A": "beta-0.5", "B": "beta-1.0", "C": "beta-0.01"}  # its three models
WALK_STEPS = 40  # of exercise 4
SECONDS = 60  # that an answer may take; right ones take less than one

solved: set[str] = set()  # the exercises whose last check was right


class Wrong(Exception):
    """What a student is told, in one paragraph."""


def check(exercise: str | int, *answer: Any, checks: Mapping[str, Callable] | None = None, **case: Any) -> int:
    """Try an answer, say what is wrong with it or that it is right, and give its points. The weeks have `checks` of
    their own (see `checks_in`); what a hidden test tries instead of the usual is a `case`."""
    label, checks = str(exercise), CHECKS if checks is None else checks
    solved.discard(label)
    try:
        if label not in checks:
            raise Wrong(f"there is no such exercise. Those with a check are {', '.join(checks)}.")
        require_arguments(checks[label], answer, case)
        checks[label](*answer, **case)
    except Exception as error:  # other errors than Wrong come from results that no check expects
        strange = f"what your function returns cannot be read ({type(error).__name__}). Look at its docstring again."
        print(textwrap.fill(f"Exercise {label}, not yet: {error if isinstance(error, Wrong) else strange}", 100))
        return 0
    print(f"Exercise {label}: right.")
    solved.add(label)
    return 1


def require_arguments(function: Callable, answer: tuple, case: Mapping[str, Any]) -> None:
    try:
        inspect.signature(function).bind(*answer, **case)
    except TypeError as error:
        asked = "Call `check` as its cell does: the exercise, then each thing that it takes"
        raise Wrong(f"this check was called with other things than it takes ({error}). {asked}.") from None


def result_of(
    answer: Callable, *arguments: Any, or_none: bool = False, hints: Mapping[str, str] | None = None,
    files: Collection[str] = (), patience: float = 1.0,
) -> Any:  # fmt: skip
    """What the student's function returns; raises Wrong where it is no function, unfinished or stops with an error.
    With `or_none` it may return None. A hint follows an error that has its key in it. The function gets copies,
    so that what it does to them changes no check. `files`: where else than the function the student wrote code.
    `patience`: how many times SECONDS it may take."""
    remedy = "Replace the line `raise NotImplementedError()` by your own"
    unfinished = f"this cell is not finished. {remedy}"
    if answer is None or answer is ...:
        raise Wrong(f"{unfinished}.")
    if not callable(answer):
        raise Wrong(f"hand over the function itself, its name without brackets; what came is {kind(answer)}.")
    try:
        with ended_after(patience * SECONDS):
            result = answer(*copy.deepcopy(arguments))
    except NotImplementedError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        name = frame.f_code.co_qualname  # a method may be of another cell than the one that is checked
        raise Wrong(f"`{name}` is not finished. {remedy}." if "." in name else f"{unfinished}.") from None
    except KeyboardInterrupt:
        raise Wrong("your function was stopped before its end. Is there a loop that never ends?") from None
    except BaseException as error:  # also one that a student derives from it
        own = {getattr(getattr(answer, "__code__", None), "co_filename", None), *files}
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
        place = f" in line {lines[-1].lineno} of your cell: `{lines[-1].line:.120}`" if lines else ""
        words = (str(error).splitlines() or [""])[0][:300].rstrip(".")
        hint = next((f"{'.' * bool(lines)} {hint}" for key, hint in (hints or {}).items() if key in words), "")
        raise Wrong(f"your function stopped with {type(error).__name__}: {words}{place or '.'}{hint}") from None
    if result is ... or (result is None and not or_none):
        raise Wrong(f"your function returns {result}. {remedy}, and end with `return`.")
    return result


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Interrupt what runs too long, every second anew: a loop with a bare `except` catches most interrupts, but not one
    between two turns. Not on Windows or in a thread, which have no alarm."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    rings = itertools.count()

    def stop(*_: object) -> None:
        if next(rings) == 1:
            print("Your function does not stop: a bare `except:` catches this too. Interrupt or restart the kernel.")
        raise KeyboardInterrupt  # which a loop that catches errors does not catch

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def kind(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"a {'tensor' if isinstance(value, Tensor) else 'NumPy array'} of shape {list(value.shape)}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, Mapping):
        keys = [f"{key!s:.40}" for key in itertools.islice(value, 9)]
        return f"a dictionary with {', '.join(keys + ['more'] * (len(value) > 9)) or 'nothing'}"
    return {"str": "a text"}.get(type(value).__name__, f"of type {type(value).__name__}")


def tensor(value: Any, name: str, shape: tuple[int, ...], letters: str) -> Tensor:
    """The value in float64; raises Wrong unless it is a tensor of that shape without NaN."""
    if not isinstance(value, Tensor):
        raise Wrong(f"{name} should be a tensor {letters}, but what came is {kind(value)}.")
    if tuple(value.shape) != shape:
        raise Wrong(f"{name} should have the shape {letters}, here {list(shape)}, but has {list(value.shape)}.")
    if value.is_complex():
        raise Wrong(f"{name} should hold real numbers, but holds complex ones.")
    require_digits(value, name)
    if not value.isfinite().all():
        wrong = int((~value.isfinite()).sum())
        cause = "Look for a division by zero, or the logarithm or root of a negative number"
        raise Wrong(f"{wrong} of the {value.numel()} values of {name} are NaN or infinite. {cause}.")
    return value.detach().cpu().double()


def require_digits(value: Any, name: str) -> None:
    """Raise Wrong where numbers have half precision or less, so that they differ by more than rounding does."""
    parts = value if isinstance(value, list | tuple) else [value]
    types = {str(getattr(part, "dtype", "")).removeprefix("torch.") for part in parts}
    for found in types:
        if found.startswith(("float16", "bfloat16", "float8")):
            raise Wrong(f"{name} should be in float32 or float64. Yours is in {found}, which keeps too few digits.")


def whole_number(value: Any, name: str, low: int, high: int) -> int:
    if isinstance(value, Tensor | np.ndarray | np.generic) and math.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise Wrong(f"{name} is {'NaN' if math.isnan(value) else 'infinite'}. Was something divided by zero?")
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        came = f"{value!r}" if isinstance(value, float) else kind(value)
        raise Wrong(f"{name} should be one whole number, but what came is {came}.")
    if not low <= value <= high:
        raise Wrong(f"{name} should lie between {low} and {high}. Yours is too {'small' if value < low else 'large'}.")
    return int(value)


def number(value: Any, name: str) -> float:
    """One number, also an array, tensor or list of one; it may be infinite or NaN. Raises Wrong for another value."""
    try:
        found = np.asarray(value.tolist() if isinstance(value, Tensor) else value)
    except Exception:  # uneven lists, lists of tensors with gradients, and what has an `__array__` of its own
        found = np.array(None)
    if found.size != 1 or found.dtype.kind not in "iuf":
        raise Wrong(f"{name} should be one number, but what came is {kind(value)}.")
    return float(found.ravel()[0])


def numbers(value: Any, what: str) -> np.ndarray:
    """Many numbers, float64, also of tensors with gradients; raises Wrong for another value."""
    try:
        parts = (
            [one.tolist() if isinstance(one, Tensor) else one for one in value]
            if isinstance(value, list | tuple)
            else value
        )
        found = np.asarray(parts.tolist() if isinstance(parts, Tensor) else parts)
        if found.dtype.kind == "O":  # a column of Python's numbers is one, and so is one of fractions
            real = all(isinstance(one, Real | Decimal) for one in found.flat)
            found = found.astype(np.float64) if real else np.asarray(found.tolist())
    except Exception:  # uneven lists, and what has an `__array__` of its own
        found = np.array([None])
    if found.dtype.kind in "iuf":  # NumPy would also make numbers of texts and, without their second part, complex ones
        return found.astype(np.float64)
    held = {"U": "texts", "S": "texts", "c": "complex numbers"}.get(found.dtype.kind, "something that is no number")
    raise Wrong(f"return {what}; what came {f'holds {held}' if found.ndim else f'is {kind(value)}'}.")


def three_numbers(value: Any, *names: str) -> list[float]:
    """Three numbers in a row of any type: tuple, list, array, tensor or column."""
    is_row = isinstance(value, tuple | list | np.ndarray | Tensor | pd.Series) and getattr(value, "shape", (3,)) == (3,)
    if not is_row or len(value) != 3:
        raise Wrong(f"return three numbers, `return {', '.join(names)}`; what came is {kind(value)}.")
    return [number(one, name) for one, name in zip(value, names)]


def close(first: Any, second: Any) -> bool:
    tensors = (values if isinstance(values, Tensor) else np.array(values) for values in (first, second))
    first, second = (torch.as_tensor(values, dtype=torch.float64) for values in tensors)
    return first.shape == second.shape and torch.allclose(first, second, rtol=1e-4, atol=1e-5)


def compare(found: Any, right: Any, mistakes: Mapping[str, Any], otherwise: str) -> None:
    """Raise Wrong unless the result is the right one, with the words for the mistake that leads to it, if it is one."""
    if not close(found, right):
        raise Wrong(next((words for words, other in mistakes.items() if close(found, other)), otherwise))


def one_graph(graph: Any, name: str) -> DagBatch:
    if not isinstance(graph, DagBatch):
        raise Wrong(f"{name} should be a DagBatch, but what came is {kind(graph)}.")
    if len(graph) != 1 or graph.max_vertices < 2:
        raise Wrong(f"{name} should hold one graph, types [1, N], but its types have {list(graph.types.shape)}.")
    return graph


def fault_of(graph: DagBatch) -> str:
    """What ENAS says against a graph, or nothing."""
    try:
        ENAS.to_strings(graph)
    except ValueError as error:
        return str(error).partition("index 0: ")[2].partition(". Keep only")[0]
    return ""


def check_0(answer: Callable) -> None:
    found, rows = whole_number(result_of(answer), "your number", 0, 99), ast.literal_eval(TEXT)
    flags = [row[1:] for row in rows]
    right = sum(map(sum, flags))
    mistakes = {
        "the chain from each vertex to the next one is no skip connection. Count the others.":
            right + ENAS.num_vertices - 1,
        "the first number of a row is its operation, also where it is a 1.": sum(row.count(1) for row in rows),
        "a flag of 0 says that there is none.": sum(map(len, flags)),
        "that is the number of layers.": len(rows),
        "you count rows. A row may have several.": sum(map(any, flags)),
    }  # fmt: skip
    compare(
        found, right, mistakes, "read the rows once more. Which numbers of a row are flags, and which of these are 1?"
    )


def check_1a(answer: Callable) -> None:
    parts = "A DagBatch takes tensors: types [1, N], adjacency [1, N, N], num_vertices [1]; the 1 is that of one graph."
    hints = dict.fromkeys(["holds tensors", "to unpack"], parts)
    graph, right = one_graph(result_of(answer, hints=hints), "what you return"), ENAS.to_batch([TEXT])
    if graph.max_vertices != ENAS.num_vertices or graph.num_vertices[0] != ENAS.num_vertices:
        raise Wrong("count the vertices again. The input and the output are vertices, too.")
    if equal(graph, right).all():
        return
    edges, own = graph.adjacency, right.adjacency
    if edges.tril().any():
        raise Wrong(
            "some edges point backwards. adjacency[0, u, v] is the edge from u to v, and all lead to a later v."
        )
    if not edges.diagonal(1, 1, 2).all():
        raise Wrong(
            "some vertex has no edge to the next one. The text leaves these out, because they are always there."
        )
    if not (graph.types == right.types).all():
        wrong = int((graph.types != right.types).sum())
        reason = "In the text operations are counted from 0. Which types are taken before the first operation?"
        raise Wrong(f"of the 8 types {wrong} {'is' if wrong == 1 else 'are'} not right. {reason}")
    missing, more = int((own & ~edges).sum()), int((edges & ~own).sum())
    reason = "In the row of vertex v, the first flag is about vertex 0, the next about vertex 1, and so on"
    raise Wrong(f"of the skip connections {missing} are missing and {more} are too many. {reason}.")


def check_1b(answer: Callable) -> None:
    graphs = result_of(answer, ENAS.to_batch([TEXT]))
    if not isinstance(graphs, list | tuple) or len(graphs) != 3:
        raise Wrong(f"return a list of three graphs; what came is {kind(graphs)}.")
    faults = [fault_of(one_graph(graph, f"graph {place}")) for place, graph in enumerate(graphs, 1)]
    if "" in faults:
        raise Wrong(f"graph {faults.index('') + 1} is still an architecture of the space. Which rule should it break?")
    rules = [re.sub(r"\d+", "", fault.partition(") ")[2] or fault) for fault in faults]  # counts make no other rule
    for place, rule in enumerate(rules):
        if rule in rules[:place]:
            reason = "If you changed one tensor again and again, start from `clone()` each time"
            twice = f"graphs {rules.index(rule) + 1} and {place + 1} break the same rule"
            raise Wrong(f"{twice} (the library says of graph {place + 1}: {faults[place]}). {reason}.")


def check_2a(answer: Callable) -> None:
    states, asked = result_of(answer), "four numbers, one for each vertex"
    found = torch.from_numpy(numbers(states, asked).ravel())
    if len(found) != 4:
        raise Wrong(f"return {asked}; what came is {kind(states)}.")
    require_digits(states, "the list")
    found = tensor(found, "the list", (4,), "[N]")
    right = on_paper()
    mistakes = {
        "your states are twice too large from the start: the GRU takes half of the tanh.": on_paper(own=1.0),
        "the sum counts by half, too: a state is half of the tanh plus half of what is received.": on_paper(mixed=1.0),
        "your messages pass the gate unchanged. The gate lets three quarters or one half through.": on_paper((1, 1)),
        "you have one gate for all vertices. That of vertex 0 is another one.": on_paper((0.5, 0.5)),
        "the last vertex should add up what it receives from both, not take the mean.": on_paper(mean=True),
        "the messages lack the mapper, which doubles the state.": on_paper(mapper=1.0),
    }
    first = int((found - right).abs().gt(1e-4).long().argmax())
    compare(found, right, mistakes, f"vertex {first} is the first that is not right. Which tanh, and what comes in?")


def on_paper(
    gates: tuple[float, float] = (0.75, 0.5), own: float = 0.5, mixed: float = 0.5, mapper: float = 2.0,
    mean: bool = False,
) -> Tensor:  # fmt: skip
    """The four states of exercise 2a, with the right arithmetic or another one."""
    states: list[float] = []
    for tanh, sources in zip((0.8, 0.6, 0.0, 0.0), ([], [0], [0], [1, 2])):
        received = sum(gates[min(u, 1)] * mapper * states[u] for u in sources)
        states.append(own * tanh + mixed * received / (len(sources) if mean and sources else 1))
    return torch.tensor(states, dtype=torch.float64)


@torch.no_grad()
def check_2b(answer: Callable) -> None:
    cell, message, batch = encoder_and_graphs(hidden=5, layers=6, graphs=6)
    hints = {
        "mat1 and mat2": "m is [h ; onehot(u)], so its width is H + N.",
        "no attribute 'dim'": "What a vertex receives that reads no other is a tensor of zeros, no number.",
    }
    found = result_of(answer, cell, message, batch.types, batch.adjacency, hints=hints)
    found, right = tensor(found, "the result", (6, 8, 5), "[B, N, H]"), propagate(cell, message, batch)[0].double()
    mistakes = {
        "your messages lack the gate: sigmoid(gate(m)) multiplies mapper(m).": dict(send=lambda h, G, M: M),
        "your messages lack the mapper: the gate multiplies mapper(m), not the state.":
            dict(send=lambda h, G, M: torch.sigmoid(G) * h),
        "your gate lacks its σ, so it is no share: sigmoid(gate(m)) lies between 0 and 1.":
            dict(send=lambda h, G, M: G * M),
        "gate and mapper are exchanged: σ belongs to the gate G.": dict(send=lambda h, G, M: G * torch.sigmoid(M)),
        "vertex v receives from the vertices that it sends to. The edge u -> v is adjacency[:, u, v].": dict(back=True),
        "a vertex should add up its messages, not take their mean.": dict(mean=True),
        "the number in a message should be that of the sender u, not of the receiver v.": dict(receiver=True),
        "messages are sent along all pairs u < v. Only an edge should carry one.": dict(everywhere=True),
    }  # fmt: skip
    wrong = {words: forward(cell, message, batch, **how) for words, how in mistakes.items()}
    vertex, graph = divmod(int((found - right).abs().amax(dim=2).gt(1e-4).T.long().argmax()), len(batch))
    where = f"the states of vertex {vertex} are the first that differ from the library's, those of graph {graph}"
    compare(
        found,
        right,
        wrong,
        f"{where}. Check σ, G, M, the order in [h ; onehot(u)], and that each graph has its own edges.",
    )
    cell, message, batch = encoder_and_graphs(hidden=4, layers=4, graphs=3)
    other = (
        "With 6 graphs of 8 vertices it is right, with 3 of 6 vertices not. Which number should come from the tensors?"
    )
    found = result_of(answer, cell, message, batch.types, batch.adjacency, hints={"": other})
    right = propagate(cell, message, batch)[0].double()
    compare(
        tensor(found, "the result", (3, 6, 4), "[B, N, H]"), right, {}, f"the result is wrong for other sizes. {other}"
    )


def encoder_and_graphs(hidden: int, layers: int, graphs: int) -> tuple[nn.GRUCell, GatedMessage, DagBatch]:
    """Layers of an untrained encoder, and graphs for it."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        encoder = NGAE(NGAEConfig(hidden=hidden, latent=3, num_vertices=layers + 2)).encoder
    return encoder.forward_cell, encoder.forward_message, ENAS.sample(graphs, seed=1, layers=layers)


def forward(
    cell: nn.GRUCell, message: GatedMessage, batch: DagBatch,
    send: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda h, G, M: torch.sigmoid(G) * M, back: bool = False,
    mean: bool = False, receiver: bool = False, everywhere: bool = False,
) -> Tensor:  # fmt: skip
    """States [B, N, H] with a mistake. send: a message, of the state, gate(m) and mapper(m)."""
    edges, (graphs, vertices) = batch.adjacency.to(cell.weight_hh), batch.types.shape
    edges = edges.mT if back else torch.ones_like(edges) if everywhere else edges
    states: list[Tensor] = []
    for v in range(vertices):
        received = torch.zeros(graphs, cell.hidden_size)
        for u in range(v):
            number = F.one_hot(torch.tensor(v if receiver else u), vertices).expand(graphs, -1)
            m = torch.cat([states[u], number], dim=1)
            received = received + edges[:, u, v, None] * send(states[u], message.gate(m), message.mapper(m))
        received = received / edges[:, :v, v, None].sum(1).clamp(min=1) if mean else received
        states.append(cell(F.one_hot(batch.types[:, v], cell.input_size).to(received), received))
    return torch.stack(states, dim=1)


def check_3a(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    mu, logvar, noise = torch.randn(3, 5, 4, generator=generator)
    found = result_of(answer, mu, logvar, noise)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise Wrong(f"return two things, `return z, kl`; what came is {kind(found)}.")
    z, kl = tensor(found[0], "z", (5, 4), "[B, D]"), found[1]
    mistakes = {
        "z has the variance where the standard deviation belongs. How does one come from the logarithm of the other?":
            mu + logvar.exp() * noise,
        "z takes the logarithm of the variance for the standard deviation.": mu + logvar * noise,
        "z has no noise in it, so it is no sample.": mu,
        "z is shifted by the mean, but its noise is not scaled.": mu + noise,
        "z has the right spread, but the same centre for all graphs.": (logvar / 2).exp() * noise,
        "your noise is a hundredth, as in 00b. Here it has its full width.": mu + 0.01 * (logvar / 2).exp() * noise,
    }  # fmt: skip
    other = "z is not right. Which of mu and logvar shifts the noise, which scales it, and what is done to it before?"
    if not close(z, torch.as_tensor(result_of(answer, mu, logvar, noise)[0])):
        other = "z is another one at each call. Use the noise that you are given, and draw none."
    compare(z, mu + (logvar / 2).exp() * noise, mistakes, other)
    terms, right = 1 + logvar - mu.square() - logvar.exp(), kl_divergence(mu, logvar)
    if isinstance(kl, Tensor) and kl.shape == (5, 4):
        raise Wrong("z is right. The KL divergence of a graph is one number: which dimension is left to sum over?")
    kl = tensor(kl, "kl (z is right)", (5,), "[B]")
    mistakes = {
        "z is right. A KL divergence is never negative: look at the sign of yours.": -right,
        "z is right. The KL divergence is the sum over the dimensions, not the mean.": right / 4,
        "z is right. The KL divergence lacks its factor.": -terms.sum(dim=1),
        "z is right. The KL divergence has the variance of the noise wrong: exp(logvar) is the variance itself.":
            -0.5 * (1 + logvar - mu.square() - (logvar / 2).exp()).sum(dim=1),
    }  # fmt: skip
    compare(kl, right, mistakes, "z is right, the KL divergence is not. Compare the formula above term by term.")


def check_3b(answer: Callable) -> None:
    letter = result_of(answer)
    if not isinstance(letter, str) or letter.strip().upper() not in EXERCISE_3:
        found = f"what came is {letter!r:.40}" if isinstance(letter, str) else f"what came is {kind(letter)}"
        raise Wrong(f'return one letter of the table, such as "A"; {found}.')
    weights = {key: float(name.rpartition("-")[2]) for key, name in EXERCISE_3.items()}
    rank = sorted(weights, key=weights.get).index(letter.strip().upper())
    if rank == 0:
        raise Wrong("this model has the largest KL divergence of the three. Is that what a collapse looks like?")
    if rank == 1:
        raise Wrong(
            "some dimensions of this model still say something about the graph. Collapsed means that none does."
        )


def check_4a(answer: Callable) -> None:
    guess = whole_number(result_of(answer), "your guess", 0, WALK_STEPS)
    if guess == WALK_STEPS:
        raise Wrong("then no step would change anything, and the walk would end where it began.")


def check_4b(answer: Callable) -> None:
    first, last = ENAS.sample(1, seed=3), ENAS.sample(1, seed=4)
    near = ENAS.neighbors(first)[0]  # of the first, with another operation; of the last, with another edge
    graphs = {"f": first, "o": near[:1], "e": near[-1:], "l": last}
    walk = DagBatch.cat([graphs[letter] for letter in "lffeooffeflllfo"])  # each mistake gives another number
    one_walk = f"{WALK_STEPS} is the length of one walk; this one has another."
    hints = {"out of bounds": f"Does the last point look for a next one? Is there a {WALK_STEPS} in it? {one_walk}"}
    found = whole_number(result_of(answer, walk, hints=hints), "the number of steps", 0, 100)
    before, after, different = walk[:-1], walk[1:], len(set(walk.keys()))
    quiet = int(equal(before, after).sum())
    mistakes = {
        "you count the steps that change something. Asked for are the others.": len(after) - quiet,
        f"you take {WALK_STEPS} for the number of steps. {one_walk}": WALK_STEPS - (len(after) - quiet),
        "you compare each point with the start. A step goes from a point to the next one.":
            int(equal(walk[[0] * len(after)], after).sum()),
        f"one too many. How many steps lie between {len(walk)} points?": quiet + 1,
        "you count different architectures. A walk may come back to one that it has left.": different,
        "a walk may come back to an architecture that it has left. Such a step is a change, too.":
            len(walk) - different,
        "you compare the types alone. A step may change nothing but an edge.":
            int((before.types == after.types).all(dim=1).sum()),
        "you compare the edges alone. A step may change nothing but an operation.":
            int((before.adjacency == after.adjacency).all(dim=(1, 2)).sum()),
    }  # fmt: skip
    compare(found, quiet, mistakes, "on a walk that I made up your number is wrong. Compare neighbours.")
    if whole_number(result_of(answer, walk[1:8]), "the number of steps", 0, 100) != 3:
        raise Wrong(
            "right for one walk, wrong for another one, which ends where it began. Is there a number in it that should"
            " depend on the walk, or a step from the last point to the first?"
        )


@cache
def ascent_start() -> tuple[NGAE, Tensor]:
    model = load_small("ngae")
    with torch.no_grad():
        return model, model.encode(ENAS.sample(3, seed=5))[0]


def check_5a(answer: Callable) -> None:
    model, z = ascent_start()
    how = dict(steps=4, step_size=0.07, complexity_weight=0.3)  # other values than the notebook's
    found = tensor(result_of(answer, model, z, *how.values()), "the path", (5, *z.shape), "[steps + 1, S, D]")

    def ascent(**changed: float) -> Tensor:
        return gradient_ascent(model, z, **(how | changed)).z

    if close(found, found[:1].expand_as(found)):
        raise Wrong("all rows of the path are equal. Does nothing move, or is z changed in place after it was stored?")
    if not close(found[0], z):
        raise Wrong("row 0 of the path should be the start itself, before any step.")
    mistakes = {
        "you walk downhill: the prediction falls. Which sign has the step?": ascent(step_size=-how["step_size"]),
        "complexity is rewarded in place of charged.": ascent(complexity_weight=-how["complexity_weight"]),
        "complexity costs nothing in your f.": ascent(complexity_weight=0.0),
        "complexity has the weight 1, whatever complexity_weight says.": ascent(complexity_weight=1.0),
        "the starts share the gradient, so each goes too slowly. A mean divides by their number.":
            ascent(step_size=how["step_size"] / len(z)),
        "each step has length 1 times the gradient: step_size is not used.": ascent(step_size=1.0),
        "the steps have a length of your own, whatever step_size says.": ascent(step_size=0.1),
        "the weight is one of your own, whatever complexity_weight says.": ascent(complexity_weight=0.5),
    }  # fmt: skip
    other = "the first step is not right: it should be step_size times the gradient of f at the start."
    if close(found[1], gradient_ascent(model, z, **how).z[1]):
        other = (
            "the first step is right, the second is not. The gradient has to be taken anew at every point. Or do"
            " gradients add up, as `backward` makes them?"
        )
    compare(found, ascent(), mistakes, other)


def check_5b(answer: Callable) -> None:
    steps, evaluated = [0, 1, 2, 5, 10, 20], [80.0, 81.0, 84.0, 84.0, 84.5, 83.0]
    predicted = [80.1, 82.0, 81.0, 86.0, 84.8, 87.0]
    found = result_of(answer, steps, predicted, evaluated, 1.0, or_none=True)
    if found is None:
        raise Wrong("you return None, but in this table they do part. Does your loop stop at the first row?")
    mistakes = {
        "that is a place in the list. Asked for is the step at that place.": 3,
        "at that step the evaluation is above the prediction. Asked for is the other direction.": 2,
        "that is not the first such step. Between it and an earlier one they may meet again.": 20,
        "at that step the prediction is ahead, but by less than the margin.": 0,
        "at that step the prediction is ahead by just the margin. Asked for is more than that.": 1,
    }
    compare(whole_number(found, "the step", 0, 20), 5, mistakes, "on a made-up table your step is wrong.")
    if result_of(answer, steps, predicted, evaluated, 5.0, or_none=True) is not None:
        raise Wrong("with a larger margin the two never part. Then your function should return None.")
    for place, row in ((0, "first"), (2, "last")):
        predicted = [82.3 if place == other else 80.0 for other in range(3)]
        found = result_of(answer, [0, 10, 20], predicted, [80.0] * 3, 2.2, or_none=True)
        if found is None or whole_number(found, "the step", 0, 20) != 10 * place:
            raise Wrong(
                f"right on one made-up table, wrong on another, where the two part at the {row} row alone. Does your"
                " loop go from the first row to the last, and can the answer be step 0?"
            )


def check_6(answer: Callable) -> None:
    accuracy = np.array([np.nan, 70.0, np.nan, 74.0, 72.0, 75.0, np.nan, 71.0])
    value, known = result_of(answer, accuracy), np.nan_to_num(accuracy, nan=-np.inf)
    found = numbers(value, "an array of numbers")
    if found.ndim != 1:
        came = f"has the shape {[*found.shape]}" if found.ndim else f"is {kind(value)}"
        raise Wrong(f"the best so far is one number for each evaluation, here an array [8], but what came {came}.")
    if found.shape != accuracy.shape:
        reason = "An architecture that is not valid has cost an evaluation, too"
        raise Wrong(f"of 8 evaluations there should be 8 numbers, but {list(found.shape)} came. {reason}.")
    if np.array_equal(found, np.sort(accuracy), equal_nan=True):
        raise Wrong("you sorted the accuracies. They come in the order in which they were found, and NaN is none.")
    if (found > np.nanmax(accuracy)).any():
        raise Wrong("your best is better than all of the accuracies. What stands in place of NaN should never win.")
    if np.isnan(found).all():
        raise Wrong("the first evaluation of a made-up list failed (NaN), and your best never recovers from that.")
    if np.isnan(found[1:]).any():
        raise Wrong("your result has NaN. An evaluation that failed (NaN) should leave the best so far as it was.")
    mistakes = {
        "you sorted the accuracies. They come in the order in which they were found.": np.sort(known),
        "you return the accuracies as they came. The best so far never falls.": known,
        "you return the best of all from the beginning. It is known only when it has been found.": np.full(8, 75.0),
        "in place of NaN stands a mean of what is found later, too. What is known at that evaluation?":
            np.maximum.accumulate(np.nan_to_num(accuracy, nan=np.nanmean(accuracy))),
    }  # fmt: skip
    mistakes = {words: values[1:] for words, values in mistakes.items()}
    compare(found[1:], np.maximum.accumulate(known)[1:], mistakes, "on a made-up list some entries are wrong.")
    if found[0] >= np.nanmin(accuracy):
        raise Wrong("the first evaluation of a made-up list failed (NaN), so after it no accuracy is known yet.")
    other = np.array([2.5, 1.5, np.nan, 70.25, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 70.75, np.nan])
    if not close(numbers(result_of(answer, other), "an array of numbers"), np.fmax.accumulate(other)):
        raise Wrong(
            "right on one made-up list, wrong on another, which is longer and whose first evaluation did not fail. Is"
            " there a number in it that should come from the list, or does it leave one out?"
        )


def checks_in(names: Mapping[str, Any]) -> dict[str, Callable]:
    """The functions `check_...` that a module itself defines, of its `globals()`, by their exercises."""
    own = {name: value for name, value in names.items() if getattr(value, "__module__", "") == names["__name__"]}
    return {name.removeprefix("check_"): value for name, value in own.items() if name.startswith("check_")}


CHECKS = checks_in(globals())
