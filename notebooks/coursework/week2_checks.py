"""Checks of week 2, a model in one file: `check("3b", MyModel)` says in words what is wrong, as the lab's checks do.

A hidden test tries another space or other sizes, as in `check("3a", MyModel, space=NASBENCH201, hidden=31)`.
"""

import ast
import contextlib
import copy
import importlib.util
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any
from unittest.mock import patch

import lab_checks
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lab_checks import Wrong, checks_in, close, compare, kind, number, result_of, tensor, three_numbers
from scipy.stats import ttest_ind
from torch import Tensor, nn

from latentnas import benchmarks, evaluate, stats, train
from latentnas.graphs import DagBatch
from latentnas.interfaces import GraphVAE, Space, check_model
from latentnas.measure.small import load_small
from latentnas.models.family import configure
from latentnas.models.ngae import NGAEConfig
from latentnas.spaces.enas import ENAS

NEAR = 1e-4  # how far apart numbers that should be equal may lie, of those near 1
ROW = ("reconstruction", "validity", "uniqueness")


def sizes(space: Space, hidden: int, latent: int) -> NGAEConfig:
    """The configuration of a model of the family for a space."""
    return configure("D-VAE", space, hidden, hidden, latent)[1]


def write_model(file: str, cells: Sequence[str], *names: str) -> Path:
    """Write the newest cells of a notebook that define these classes into a file, its imports first."""
    header = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n"
    header += "from latentnas.models.dagnn import GatedMessage\nfrom latentnas.models.ngae import NGAE\n"
    parts = []
    for name in names:
        sources = [source for source in cells if f"class {name}" in source and defines(source, name)]
        if not sources:
            raise NameError(f"No cell that was run defines the class {name}. Run it, then this cell again.")
        parts += [sources[-1].strip()] * (sources[-1].strip() not in parts)
    path = Path(file)
    path.write_text("\n\n\n".join([header.strip(), *parts]) + "\n", encoding="utf-8")
    return path


def defines(source: str, name: str) -> bool:
    try:
        return any(isinstance(node, ast.ClassDef) and node.name == name for node in ast.parse(source).body)
    except SyntaxError:  # a cell with a magic
        return False


def load(file: str | Path) -> ModuleType:
    """The module of a file, read anew."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def own_files(answer: Any) -> set[str]:
    """Where a class and those beside it in its module were written."""
    beside = vars(sys.modules.get(getattr(answer, "__module__", ""), None) or ModuleType("none")).values()
    classes = [value for value in beside if isinstance(value, type) and value.__module__ == answer.__module__]
    members = [member for value in classes for member in vars(value).values()]
    return {member.__code__.co_filename for member in members if isinstance(member, FunctionType)}


def called(answer: Any, function: Callable, *arguments: Any) -> Any:
    """What a part of the student's class returns for these arguments, errors told with the line of their cell."""
    files = own_files(answer)
    # under the name of a function of the library no line of these checks is taken for the student's
    hints = {"index out of range": "An empty position has the type -1."}
    return result_of(partial(function), *arguments, hints=hints, files=files)


def made(answer: Any, base: type, config: NGAEConfig, seed: int = 0) -> nn.Module:
    """The student's module, its weights drawn from a seed and shaken: so a part that starts at 0, such as the weight of
    a residual branch or of an attention, is seen at work."""
    if answer is None or answer is ...:
        result_of(answer)
    if not isinstance(answer, type):
        raise Wrong(f"hand over the class itself, without brackets or arguments; what came is {kind(answer)}.")
    if answer is base or not issubclass(answer, base):
        raise Wrong(f"the class {answer.__name__} should be derived from {base.__name__}.")

    @torch.no_grad()
    def shaken(config: NGAEConfig) -> nn.Module:
        torch.manual_seed(seed)
        module = answer(config)
        for weights in module.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
        return module

    return called(answer, shaken, config)


def another(types: Tensor, config: NGAEConfig) -> Tensor:
    """Other types, of vertices that are neither input nor output."""
    return 2 + (types - 1) % (config.num_types - 2)


def some_graphs(config: NGAEConfig, count: int, seed: int) -> DagBatch:
    """Random graphs of N - 1 or N vertices, N at least 7, in levels: 0 | 1, 2, 3 | 4 to N - 3 | N - 2 | N - 1. No edge
    is within a level, so its vertices can be renumbered; each is joined to all of the levels before and after it."""
    draw = torch.Generator().manual_seed(seed)
    n, inside = config.num_vertices, config.num_types - 2
    level = torch.tensor([0, 1, 1, 1, *[2] * (n - 6), 3, 4])
    gap, place, num_vertices = level - level[:, None], torch.arange(n), n - torch.arange(count) % 2
    types = 2 + (torch.randint(inside, (count, 1), generator=draw) + place) % inside  # neighbours differ
    types[:, 0] = config.input_type
    types[place == num_vertices[:, None] - 1] = config.output_type
    types[place >= num_vertices[:, None]] = -1
    edges = (gap == 1) | (gap > 0) & (torch.rand(count, n, n, generator=draw) < 0.5)
    there = place < num_vertices[:, None]
    return DagBatch(types, edges & there[:, None] & there[:, :, None], num_vertices)


def twins_of(batch: DagBatch) -> tuple[DagBatch, list[int]]:
    """The same graphs, the vertices of each level numbered in another order, and the order of all vertices."""
    n = batch.max_vertices
    order = [0, 3, 1, 2, *range(n - 3, 3, -1), n - 2, n - 1]
    return DagBatch(batch.types[:, order], batch.adjacency[:, order][:, :, order], batch.num_vertices), order


def alike(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=NEAR, atol=NEAR)


@torch.no_grad()
def check_1(answer: Any, hidden: int = 10, seed: int = 0, space: Space = ENAS) -> None:
    config = sizes(space, hidden, 4)
    levels, graphs = made(answer, nn.Module, config).eval(), some_graphs(config, 6, seed)

    def states(batch: DagBatch) -> Tensor:
        given, shape = copy.deepcopy(batch), (len(batch), batch.max_vertices, hidden)
        found = tensor(called(answer, lambda: levels(given)), "the result", shape, "[B, N, H]")
        if not (torch.equal(given.types, batch.types) and torch.equal(given.adjacency, batch.adjacency)):
            raise Wrong("you change the batch itself, so the decoder gets another one. Copy a tensor before you do.")
        return found

    found, there = states(graphs), graphs.present
    wide = states(graphs.pad_to(graphs.max_vertices + 2))[:, : graphs.max_vertices]
    if not alike(wide[there], found[there]):
        raise Wrong("the states change when empty positions are added at the end. Count only vertices that are there.")
    twins, order = twins_of(graphs)
    if not alike(states(twins)[there], found[:, order][there]):
        raise Wrong("when vertices change their numbers, their states should do so, too, and stay the same else.")
    if not alike(states(graphs[[3]])[0], found[3]):
        raise Wrong("the states of a graph change with the other graphs of the batch.")
    changed = graphs.adjacency.clone()
    changed[:, 0, 2] = ~changed[:, 0, 2]
    others = states(DagBatch(graphs.types, changed, graphs.num_vertices))
    moved = (others - found).abs().amax(dim=2) > 1e-7
    if not moved.any():
        raise Wrong("no state changes with an edge. Where do vertices receive the states of others?")
    if not moved[:, 2].any():
        raise Wrong("vertex 2 should change with its edge from vertex 0. The edge u -> v is adjacency[:, u, v].")
    if not moved[:, 0].any():
        raise Wrong("vertex 0 does not change with an edge that leaves it. Pass messages in both directions.")
    kinds = graphs.types.clone()
    kinds[:, 1] = another(kinds[:, 1], config)
    if alike(states(DagBatch(kinds, graphs.adjacency, graphs.num_vertices)), found):
        raise Wrong("no state changes with the type of a vertex. What does a vertex know at the start?")
    full = graphs[graphs.num_vertices == graphs.max_vertices]
    turned = DagBatch(full.types.flip(1), full.adjacency.flip(1, 2).mT, full.num_vertices)  # every edge the other way
    if alike(states(turned).flip(1), states(full)):
        raise Wrong(
            "the states stay the same when every edge is turned round, so predecessors count like successors. What in"
            " a level tells the two apart?"
        )
    chain = torch.eye(full.max_vertices, dtype=torch.bool).roll(1, 1).triu().repeat(len(full), 1, 1)
    for edge, vertex in ((0, 2), (2, 1)):  # vertices two steps away, one along the edges, one against them
        cut = chain.clone()
        cut[:, edge, edge + 1] = False
        two = (states(DagBatch(full.types, edges, full.num_vertices))[:, vertex] for edges in (chain, cut))
        if (next(two) - next(two)).abs().max() <= 1e-7:
            raise Wrong(
                "a vertex learns nothing of an edge two steps away. What does one level of messages hand on, and what"
                " does the next make of it?"
            )
    kinds = full.types.clone()
    kinds[:, 2] = another(kinds[:, 2], config)
    one, two = (states(DagBatch(types, chain, full.num_vertices)) for types in (full.types, kinds))
    if (one - two).abs().amax(dim=(0, 2))[2:4].min() <= 1e-7:  # in a chain, messages alone reach every second vertex
        raise Wrong("a vertex does not mix its own state with those that it receives. It should do so in each level.")


@torch.no_grad()
def check_2(answer: Any, hidden: int = 10, seed: int = 0, space: Space = ENAS) -> None:
    read = made(answer, nn.Module, sizes(space, hidden, 4)).eval()
    draw = torch.Generator().manual_seed(seed)
    states, present = (
        torch.randn(5, 8, hidden, generator=draw),
        torch.arange(8) < torch.tensor([[8], [7], [5], [3], [8]]),
    )

    def code(states: Tensor, present: Tensor) -> Tensor:
        return tensor(called(answer, read, states, present), "the result", (len(states), hidden), "[B, H]")

    found = code(states, present)
    if alike(found[:1], found):
        raise Wrong("five graphs with other states give the same result.")
    spoiled = torch.where(present[..., None], states, 1e3)
    if not alike(code(spoiled, present), found):
        raise Wrong("states at empty positions change the result. `present` says which positions hold a vertex.")
    if not alike(code(states.flip(1), present.flip(1)), found):
        raise Wrong("the result depends on the order of the vertices. A sum, a mean or a weight for each does not.")
    if not alike(code(states[2:3], present[2:3]), found[2:3]):
        raise Wrong(
            "the result of a graph changes with the other graphs of the batch. Over which dimension is the sum?"
        )
    idle = []
    for feature in range(hidden):
        other = states.clone()
        other[..., feature] += torch.randn(states.shape[:2], generator=draw)
        idle += [feature] * alike(code(other, present), found)
    if idle:
        raise Wrong(f"{len(idle)} of the {hidden} numbers in a state change nothing in the result. Use them all.")
    for side, shifted in (("below", states - 5), ("above", states + 5)):
        if not alike(code(F.pad(shifted, (0, 0, 0, 2)), F.pad(present, (0, 2))), code(shifted, present)):
            raise Wrong(
                f"where all states are {side} 0, the result changes when empty positions are added. What stands there"
                " should win no maximum, nor minimum, and get no weight; does a 0?"
            )
    means = (states * present[..., None]).sum(dim=1, keepdim=True) / present.sum(dim=1)[:, None, None]
    if alike(code(means.repeat(1, states.shape[1], 1), present), found):  # the same sum of as many states
        raise Wrong(
            "that is the sum or the mean of the states, or made of these alone. The baseline has the sum already, and"
            " on ENAS a mean is one, too. Try another."
        )


def model_of(answer: Any, space: Space, hidden: int, latent: int, seed: int) -> GraphVAE:
    return made(answer, GraphVAE, sizes(space, hidden, latent), seed)


def codes_of(answer: Any, model: GraphVAE, batch: DagBatch, latent: int) -> tuple[Tensor, Tensor]:
    found, shape = called(answer, model.encode, batch), (len(batch), latent)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise Wrong(f"encode should return two things, mu and logvar; what came is {kind(found)}.")
    mu, logvar = (tensor(part, name, shape, "[B, D]") for part, name in zip(found, ("mu", "logvar")))
    return mu, logvar


def total_loss(answer: Any, model: GraphVAE, batch: DagBatch) -> Tensor:
    found = called(answer, model.loss, batch)
    total = found.get("total") if isinstance(found, dict) else None
    if not isinstance(total, Tensor) or total.shape != () or total.is_complex() or not total.requires_grad:
        raise Wrong('loss should return a dictionary whose "total" is one real number with a gradient.')
    if not total.isfinite():
        raise Wrong("the loss is NaN or infinite, so no gradient says anything.")
    return total


def check_3a(answer: Any, space: Space = ENAS, hidden: int = 12, latent: int = 5, seed: int = 0) -> None:
    model = model_of(answer, space, hidden, latent, seed)
    graphs = space.sample(12, seed)
    codes_of(answer, model, graphs, latent)
    total_loss(answer, model, graphs)
    try:
        called(answer, lambda checked: check_model(checked, graphs) or True, model)
    except Wrong as wrong:
        raise Wrong(str(wrong).replace("your function stopped with InterfaceError: ", "")) from None


@torch.no_grad()
def check_3b(
    answer: Any, space: Space = ENAS, hidden: int = 12, latent: int = 5, seed: int = 0, graphs: int = 4
) -> None:
    config = sizes(space, hidden, latent)
    model, batch = model_of(answer, space, hidden, latent, seed).eval(), some_graphs(config, 12, seed)

    def codes(batch: DagBatch) -> Tensor:
        return torch.cat(codes_of(answer, model, batch, latent), dim=1)

    found, small = codes(batch), batch[batch.num_vertices < config.num_vertices]
    alone = torch.cat([codes(batch[start : start + graphs]) for start in range(0, 12, graphs)])
    if not alike(alone, found):
        what = "one graph" if graphs == 1 else f"{graphs} graphs"
        raise Wrong(f"in a batch of {what} the codes are others than in a larger one. A graph's code is its own.")
    narrow = DagBatch(small.types[:, :-1], small.adjacency[:, :-1, :-1], small.num_vertices)
    if not alike(codes(narrow), found[batch.num_vertices < config.num_vertices]):
        raise Wrong("the code of a small graph changes when empty positions are added. Padding should say nothing.")
    twins, _ = twins_of(batch)
    if not alike(codes(twins), found):
        raise Wrong(
            "isomorphic twins, whose vertices are numbered in another order, get different codes. Does a vertex know"
            " its number, or does the read-out know its place?"
        )
    if alike(found[:1], found):
        raise Wrong("twelve different graphs get the same code.")


def check_3c(answer: Any, space: Space = ENAS, hidden: int = 12, latent: int = 5, seed: int = 0) -> None:
    model = model_of(answer, space, hidden, latent, seed).train()
    for draw in range(3):
        total_loss(answer, model, space.sample(24, seed + draw)).backward()
    grads = {name: weights.grad for name, weights in model.named_parameters()}
    strange = [name for name, grad in grads.items() if grad is not None and not grad.isfinite().all()]
    if strange:
        raise Wrong(
            f"the gradient of {strange[0]} is NaN or infinite. Is there a root or a logarithm of 0, or a 0 / 0?"
        )
    largest = max((float(grad.abs().max()) for grad in grads.values() if grad is not None), default=0.0)
    idle = [name for name, grad in grads.items() if grad is None or not grad.abs().max() > 1e-7 * largest]
    if idle:
        reason = "Is each of them used? A softmax, for one, does not change when the same number is added to all"
        raise Wrong(f"no gradient reaches {len(idle)} parameters, such as {', '.join(idle[:3])}. {reason}.")


class Cut(Exception):
    """Stands for a computer that is switched off."""


def check_3d(answer: Any, space: Space = ENAS, hidden: int = 12, latent: int = 5, seed: int = 0) -> None:
    batch = space.sample(24, seed)
    first, second = (model_of(answer, space, hidden, latent, seed + more).eval() for more in (0, 1))
    keys = first.state_dict().keys()
    if keys != second.state_dict().keys():
        raise Wrong("two models of the same sizes have other weights. Make the layers in __init__, and only there.")
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        one, two = (codes_of(answer, model, batch, latent)[0] for model in (first, second))
    if not alike(one, two):
        reason = "Layers in a plain list or dictionary are lost: use nn.ModuleList, and register_buffer for tensors"
        raise Wrong(f"a model that gets the weights of another one gives other codes. {reason}.")
    config = train.TrainConfig(epochs=2, batch_size=8, seed=seed)

    def training(folder: str, cut: int | None) -> GraphVAE:
        model = model_of(answer, space, hidden, latent, seed)
        loss, steps = model.loss, iter(range(100))

        def counted(*graphs: Any, **options: Any) -> dict[str, Tensor]:
            if next(steps) == cut:
                raise Cut
            return loss(*graphs, **options)

        model.loss = counted
        with contextlib.suppress(Cut):
            train.fit(model, batch, {}, config, Path(folder), "cpu")
        return model

    def both() -> tuple[GraphVAE, GraphVAE]:
        with (
            tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as parts,
            patch.object(train, "SECONDS_BETWEEN_CHECKPOINTS", -1.0), contextlib.redirect_stderr(io.StringIO()),
        ):  # fmt: skip
            training(parts, 4)
            return training(whole, None), training(parts, None)

    one, two = called(answer, both)
    other = [name for name, weights in one.state_dict().items() if not torch.equal(weights, two.state_dict()[name])]
    if other:
        reason = "Something that changes during the training is not in the checkpoint: register it as a buffer"
        raise Wrong(f"a training that was cut off and goes on ends with other weights, such as {other[0]}. {reason}.")


@cache
def example(name: str) -> tuple[GraphVAE, DagBatch, DagBatch]:
    table = benchmarks.load("enas", "bundled")
    learned, tested = table.split(0)
    graphs = table.batch[learned[:300]], table.batch[tested[:200]]
    if name != "shaken":
        return load_small(name), *graphs
    model, draw = load_small("ngae"), torch.Generator().manual_seed(0)
    with torch.no_grad():  # so much that about two thirds of the graphs come back, and for the rest other ones
        for weights in model.parameters():
            weights.add_(0.1 * weights.std(unbiased=False) * torch.randn(weights.shape, generator=draw))
    return model, *graphs


def check_4(answer: Callable, seed: int = 0, points: int = 40) -> None:
    require_row(answer, "shaken", points, seed + 2)  # gives some of the graphs back, others not
    require_row(answer, "beta-0.01", points, seed)  # validity is another one by each protocol
    require_row(answer, "beta-0.5", points, seed + 1)  # uniqueness and novelty differ


def require_row(answer: Callable, name_of_model: str, points: int, seed: int) -> None:
    model, learned, tested = example(name_of_model)
    found = result_of(answer, model, learned, tested, points, seed)
    if not isinstance(found, dict) or {*found} != {*ROW}:
        raise Wrong(f"return a dictionary with {', '.join(ROW)}; what came is {kind(found)}.")
    quality = evaluate.prior_quality(model, ENAS, learned, points, seed)
    back = {rows: evaluate.reconstruction(model, graphs, 10) for rows, graphs in (("test", tested), ("train", learned))}
    right = {"reconstruction": back["test"]["clean"]} | {name: quality[f"{name}_clean"] for name in ROW[1:]}
    published = {"reconstruction": back["test"]["published"]} | {name: quality[f"{name}_published"] for name in ROW[1:]}
    around_tested = evaluate.prior_quality(model, ENAS, tested, points, seed)
    swapped = {name: around_tested[f"{name}_clean"] for name in ROW[1:]}
    swaps = all(close(number(found[name], name), swapped[name]) for name in swapped)  # one share may be so by chance
    for name in ROW:
        value = number(found[name], name)
        mistakes = {
            f"{name} is a share between 0 and 1. Give percent.": right[name] / 100,
            "uniqueness is novelty: how many graphs the model had not learned from. How many differ from each other?":
                quality["novelty_clean"] if name == "uniqueness" else -1,
            f"{name} is that of the published protocol, random decodes. Take the clean one.":
                -1 if swaps and name in swapped else published[name],
            "reconstruction is that of the training graphs. Which graphs has the model not seen?":
                back["train"]["clean"] if name == "reconstruction" else -1,
            "reconstruction is 0, as if no graph came back. Some do: how do you compare what came with what went in?":
                0 if name == "reconstruction" else -1,
            f"{name} is measured around the codes of the test graphs. Take those of the training graphs.":
                swapped.get(name, -1),
        }  # fmt: skip
        other = "Are the points and the seed those that are given?"
        other = "Is it that of all test graphs that are given?" if name == "reconstruction" else other
        compare(value, right[name], mistakes, f"{name} is not right. {other}")


def check_5(
    answer: Callable, own: Sequence[float] = (61.0, 68.0, 64.0), base: Sequence[float] = (57.0, 52.0, 60.0)
) -> None:
    require_difference(answer, own, base)
    require_difference(answer, (*base, 50.0), (*own, 66.0))  # of another length, and below 0


def require_difference(answer: Callable, own: Sequence[float], base: Sequence[float]) -> None:
    columns = pd.Series(own, range(len(base), len(base) + len(own))), pd.Series(base)  # as in the table of the notebook
    found = result_of(answer, *columns)
    found = three_numbers(found, "difference", "low", "high")
    mean, low, high = stats.mean_difference(own, base)
    compare(found[0], mean, {"the difference has the wrong sign: yours less the baseline's.": -mean},
            "the difference should be that of the means.")  # fmt: skip
    paired = stats.mean_interval(np.subtract(own, base))
    each = [stats.mean_interval(values) for values in (own, base)]
    error = np.sqrt(np.var(own, ddof=1) / len(own) + np.var(base, ddof=1) / len(base))
    mistakes = {
        "the interval is that of paired differences. Trainings of two models share nothing that would pair them.":
            paired,
        "the interval takes 1.96 standard errors, as with many trainings. With three Student's t is wider.":
            (mean - 1.96 * error, mean + 1.96 * error),
        "the interval is Student's with one pooled variance. Nothing says that both models vary alike.":
            ttest_ind(own, base).confidence_interval(0.95),
        "the interval is mean ± standard error. How many of these make 95 %?": (mean - error, mean + error),
        "the ends of two intervals do not add up like that. Take Welch's interval of the difference.":
            (each[0][0] - each[1][1], each[0][1] - each[1][0]),
        "that is the interval of your own mean, not of the difference.": each[0],
        "low and high are exchanged.": (high, low),
    }  # fmt: skip
    compare(found[1:], (low, high), mistakes, "the difference is right, its interval is not. Take Welch's, of 95 %.")


CHECKS = checks_in(globals())
check = partial(lab_checks.check, checks=CHECKS)
