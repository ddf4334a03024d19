"""The lab: its checks, its two notebooks from one source, and the small models that it needs."""

import ast
import contextlib
import html
import json
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from types import SimpleNamespace

import lab_checks
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from companion import notebooks, paths
from coursework import (
    FOLDER,
    cells,
    executed,
    notebook,
    require_links,
    require_made_from_source,
    require_nbgrader_makes,
)
from latentnas import benchmarks, evaluate
from latentnas import paths as library_paths
from latentnas.graphs import DagBatch, edit_distance, equal
from latentnas.measure import small
from latentnas.measure.small import CONFIGS, file_of, load_small
from latentnas.models.base import kl_divergence
from latentnas.plots.explorer import grid, plane, unpacked
from latentnas.spaces.enas import ENAS

SOLUTIONS, STUDENTS = notebook("lab_solutions"), notebook("lab")
ANSWERS = {  # what no message may say: the words of an answer
    "0": [" is 4", "return 4"],
    "1a": ["[0, 2, 6, 3, 7, 4, 5, 1]", "(0, 2)", "(1, 4)"],
    "2a": ["0.3", "0.45"],
    "2b": ["one_hot(torch.tensor(u)", "for u in range(v)"],
    "3a": ["logvar / 2", "0.5 *", "-0.5"],
    "3b": [" B", "beta"],
    "4b": [" 5 steps", "is 5"],
    "5a": ["autograd", "z +"],
    "5b": ["is 5", "step 5"],
    "6": ["maximum", "accumulate", "nan_to_num"],
}


def functions(notebook):
    """The answers in a notebook, by the exercise whose check takes them."""
    names = {"DagBatch": DagBatch, "ENAS": ENAS, "torch": torch, "np": np, "F": F, "equal": equal}
    for source in cells(notebook, "solution"):
        exec(source, names)
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    calls = [ast.parse(source).body[0].value for source in sources if source.startswith("check(")]
    return {str(call.args[0].value): names[call.args[1].id] for call in calls}


RIGHT = functions(SOLUTIONS)
EXERCISES = list(lab_checks.CHECKS)


def said(capsys, exercise, answer):
    """The message of a check that fails; that it is one paragraph for a person, without the answer."""
    assert lab_checks.check(exercise, answer) == 0 and exercise not in lab_checks.solved
    text = capsys.readouterr().out
    assert text.startswith(f"Exercise {exercise}, not yet: ") and "Traceback" not in text and "\n\n" not in text
    text = " ".join(text.split())
    assert text.endswith((".", "?", "`")) and 30 < len(text) < 600
    assert not [word for word in ANSWERS.get(exercise, ()) if word in text.partition(": ")[2]], text
    return text


def test_every_exercise_has_a_cell_and_its_solution_passes(capsys):
    lab_checks.solved.clear()  # of what the tests of the weeks have left there
    assert list(RIGHT) == EXERCISES
    for exercise, answer in RIGHT.items():
        assert lab_checks.check(exercise, answer) == 1, capsys.readouterr().out
    assert lab_checks.solved == set(EXERCISES)


def graph(types=(0, 2, 6, 3, 7, 4, 5, 1), skips=((0, 2), (1, 4), (0, 6), (3, 6)), chain=True):
    adjacency = torch.eye(8, dtype=torch.bool).roll(1, 1).triu() if chain else torch.zeros(8, 8, dtype=torch.bool)
    for u, v in skips:
        adjacency[u, v] = True
    return DagBatch(torch.tensor([types]), adjacency[None], torch.tensor([8]))


def undirected():
    return DagBatch(graph().types, graph().adjacency | graph().adjacency.mT, torch.tensor([8]))


def number_for_a_tensor():
    return DagBatch(graph().types, graph().adjacency, 8)


def without_first_dimension():
    return DagBatch(graph().types[0], graph().adjacency[0], torch.tensor([8]))


def with_edge(batch, u, v, value):
    adjacency = batch.adjacency.clone()
    adjacency[0, u, v] = value
    return DagBatch(batch.types, adjacency, batch.num_vertices)


def in_place(batch):
    batch.adjacency[0, 0, 1] = False
    first = batch
    batch.adjacency[0, 3, 7] = True
    return [first, batch, batch]


def walked(**how):
    return lambda cell, message, types, adjacency: lab_checks.forward(
        cell, message, DagBatch(types, adjacency, torch.full((len(types),), 8)), **how
    )


def edges_of_one(cell, message, types, adjacency):
    return walked()(cell, message, types, adjacency[:1].expand_as(adjacency))


def state_alone(cell, message, types, adjacency):
    return message.gate(torch.zeros(len(types), cell.hidden_size))


def numbered_to_eight(cell, message, types, adjacency):
    """One-hot numbers of eight, whatever the number of vertices."""
    states, sent = [], []
    for v in range(types.shape[1]):
        received = torch.zeros(len(types), cell.hidden_size)
        for u in range(v):
            received = received + adjacency[:, u, v, None] * sent[u]
        states.append(cell(F.one_hot(types[:, v], cell.input_size).float(), received))
        m = torch.cat([states[v], F.one_hot(torch.tensor(v), 8).expand(len(types), -1)], dim=1)
        sent.append(torch.sigmoid(message.gate(m)) * message.mapper(m))
    return torch.stack(states, dim=1)


def eight_states(cell, message, types, adjacency):
    states = walked()(cell, message, types, adjacency)
    return torch.cat([states, torch.zeros(len(types), 8 - states.shape[1], cell.hidden_size)], dim=1)


def right_for_eight(cell, message, types, adjacency):
    return walked()(cell, message, types, adjacency) * types.shape[1] / 8


def nothing_is_a_number(cell, message, types, adjacency):
    """The sum of no messages, which Python's `sum` makes 0."""
    return cell(F.one_hot(types[:, 0], cell.input_size).float(), sum([]))


def in_another_order(cell, message, types, adjacency):
    """The number before the state."""

    def of(layer):
        return lambda m: layer(m.roll(-cell.hidden_size, dims=1))

    return walked()(cell, SimpleNamespace(gate=of(message.gate), mapper=of(message.mapper)), types, adjacency)


def bent(z=lambda mu, logvar, noise: mu + (logvar / 2).exp() * noise, kl=lambda mu, logvar: kl_divergence(mu, logvar)):
    return lambda mu, logvar, noise: (z(mu, logvar, noise), kl(mu, logvar))


def ascent(**changed):
    names = ["steps", "step_size", "complexity_weight"]
    return lambda model, z, *how: lab_checks.gradient_ascent(model, z, **(dict(zip(names, how)) | changed)).z


def added_up(model, z, steps, step_size, weight):
    """Gradients that are not set back to zero."""
    z, path = z.clone().requires_grad_(), [z]
    for _ in range(steps):
        (model.performance(z) - weight * model.complexity(z)).sum().backward()
        z.data = z.data + step_size * z.grad
        path.append(z.detach())
    return torch.stack(path)


def same_gradient(model, z, steps, step_size, weight):
    path = lab_checks.gradient_ascent(model, z, 1, step_size, weight).z
    return path[0] + torch.arange(steps + 1)[:, None, None] * (path[1] - path[0])


def one_tensor(model, z, steps, *how):
    path = [z]
    for _ in range(steps):
        z += 1
        path.append(z)
    return torch.stack(path)


def round_trip(walk):
    """Also compares the last graph with the first."""
    return int(equal(walk, walk[[*range(1, len(walk)), 0]]).sum())


def forty(walk):
    return sum(bool(equal(walk[[i]], walk[[i + 1]])) for i in range(40))


def beyond_the_last(walk):
    return sum(bool(equal(walk[[i]], walk[[i + 1]])) for i in range(len(walk)))


def apart(compare=lambda p, e, margin: p - e > margin, last=False, place=False):
    def parting(steps, predicted, evaluated, margin):
        found = [i for i, (p, e) in enumerate(zip(predicted, evaluated)) if compare(p, e, margin)]
        chosen = found[-last] if found else None
        return chosen if place or chosen is None else steps[chosen]

    return parting


def stays_apart(steps, predicted, evaluated, margin):
    """The first step from which they are apart to the end."""
    found = [p - e > margin for p, e in zip(predicted, evaluated)]
    return next((step for place, step in enumerate(steps) if all(found[place:])), None)


def parts_in(rows, chosen=lambda found: found):
    """The first step of some rows of the table at which they are apart."""

    def parting(steps, predicted, evaluated, margin):
        table = [*zip(steps, predicted, evaluated)][rows]
        return chosen(next((step for step, p, e in table if p - e > margin), None))

    return parting


def from_a_start(start, first=0):
    """The best so far from some number on, of the evaluations from the first on."""

    def best(accuracy):
        accuracy[:first], accuracy[0] = np.nan, np.fmax(accuracy[0], start) if first == 0 else start
        return np.fmax.accumulate(accuracy)

    return best


def in_order(accuracy):
    accuracy[np.isnan(accuracy)] = 0
    accuracy.sort()
    return accuracy


def complex_of(exercise):
    """The right result, with a second part."""
    return lambda *given: RIGHT[exercise](*given) + 1j


def from_the_first(accuracy):
    best, found = accuracy[0], []
    for value in accuracy:
        best = max(best, value)
        found.append(best)
    return found


def if_larger(accuracy):
    best, found = accuracy[0], []
    for value in accuracy:
        if value > best:
            best = value
        found.append(best)
    return found


WRONG = {
    "0": {
        "is no skip connection": lambda: 11,
        "is its operation": lambda: 5,
        "a flag of 0": lambda: 15,
        "number of layers": lambda: 6,
        "several": lambda: 3,
        "once more": lambda: 7,
        "what came is a list of 2": lambda: [2, 2],
        "too large": lambda: 100,
    },
    "1a": {
        "no edge to the next": lambda: graph(chain=False),
        "counted from 0": lambda: graph(types=(0, 0, 4, 1, 5, 2, 3, 1)),
        "of the 8 types 1 is not right": lambda: graph(types=(0, 2, 6, 3, 7, 4, 5, 7)),
        "point backwards": undirected,
        "1 are missing and 1 are too many": lambda: graph(skips=((0, 3), (1, 4), (0, 6), (3, 6))),
        "4 are missing and 3 are too many": lambda: graph(skips=((1, 3), (2, 5), (1, 6))),
        "count the vertices": lambda: DagBatch(graph().types, graph().adjacency, torch.tensor([6])),
        "that of one graph": number_for_a_tensor,
        "takes tensors": without_first_dimension,
        "one graph,": lambda: DagBatch.cat([graph(), graph()]),
        "be a DagBatch": lambda: lab_checks.TEXT,
        "Convert them": lambda: DagBatch(graph().types, graph().adjacency.float(), torch.tensor([8])),
    },
    "1b": {
        "graph 2 is still": lambda batch: [with_edge(batch, 0, 1, False), batch, with_edge(batch, 3, 7, True)],
        "same rule": lambda batch: [with_edge(batch, u, u + 1, False) for u in (0, 1, 2)],
        "graphs 1 and 2": in_place,
        "says of graph 2: vertex 3": lambda batch: [with_edge(batch, u, u + 1, False) for u in (1, 3, 5)],
        "instead of 8 vertices": lambda batch: [
            ENAS.sample(1, 0, layers=3),
            with_edge(batch, 0, 1, False),
            ENAS.sample(1, 0, layers=4),
        ],
        "is a list of 1": lambda batch: [with_edge(batch, 0, 1, False)],
        "should be a DagBatch": lambda batch: ["a", "b", "c"],
    },
    "2a": {
        "half of the tanh": lambda: lab_checks.on_paper(own=1.0).tolist(),
        "tanh plus half of": lambda: lab_checks.on_paper(mixed=1.0).tolist(),
        "pass the gate": lambda: lab_checks.on_paper((1, 1)).tolist(),
        "one gate for all": lambda: lab_checks.on_paper((0.5, 0.5)).tolist(),
        "from both": lambda: lab_checks.on_paper(mean=True).tolist(),
        "lack the mapper": lambda: lab_checks.on_paper(mapper=1.0).tolist(),
        "vertex 3 is the first": lambda: [0.4, 0.6, 0.3, 1.0],
        "is a list of 3": lambda: [0.4, 0.6, 0.3],
        "holds texts": lambda: ["0.4", "0.6", "0.3", "0.45"],
        "holds complex numbers": lambda: [0.4 + 1j, 0.6, 0.3, 0.45],
        "no number": lambda: [[0.4], [0.6, 0.3], 0.3, 0.45],
    },
    "2b": {
        "lack the gate": walked(send=lambda h, G, M: M),
        "lack the mapper": walked(send=lambda h, G, M: torch.sigmoid(G) * h),
        "lacks its σ": walked(send=lambda h, G, M: G * M),
        "are exchanged": walked(send=lambda h, G, M: G * torch.sigmoid(M)),
        "that it sends to": walked(back=True),
        "not take their mean": walked(mean=True),
        "of the receiver": walked(receiver=True),
        "all pairs": walked(everywhere=True),
        "should have the shape": lambda cell, message, types, adjacency: torch.zeros(6, 5),
        "vertex 2 are the first that differ from the library's, those of graph 2": edges_of_one,
        "σ, G, M, the order": in_another_order,
        "its width is H + N": state_alone,
        "is a tensor of zeros": nothing_is_a_number,
        "vertex 0 are the first": lambda cell, message, types, adjacency: torch.zeros(6, 8, 5),
        "in line": lambda cell, message, types, adjacency: message.gates,
        "real numbers": complex_of("2b"),
    },
    "3a": {
        "where the standard deviation belongs": bent(z=lambda mu, logvar, noise: mu + logvar.exp() * noise),
        "the logarithm of the variance for": bent(z=lambda mu, logvar, noise: mu + logvar * noise),
        "the same centre": bent(z=lambda mu, logvar, noise: (logvar / 2).exp() * noise),
        "another one at each call": bent(z=lambda mu, logvar, noise: mu + torch.randn_like(mu)),
        "which scales it": bent(z=lambda mu, logvar, noise: logvar + mu * noise),
        "has no noise": bent(z=lambda mu, logvar, noise: mu),
        "not scaled": bent(z=lambda mu, logvar, noise: mu + noise),
        "a hundredth": bent(z=lambda mu, logvar, noise: mu + 0.01 * noise * (logvar / 2).exp()),
        "never negative": bent(kl=lambda mu, logvar: -kl_divergence(mu, logvar)),
        "not the mean": bent(kl=lambda mu, logvar: kl_divergence(mu, logvar) / 4),
        "the formula above": bent(kl=lambda mu, logvar: kl_divergence(mu, logvar) + 1),
        "lacks its factor": bent(kl=lambda mu, logvar: 2 * kl_divergence(mu, logvar)),
        "is one number": bent(kl=lambda mu, logvar: mu),
        "z should be a tensor": bent(z=lambda mu, logvar, noise: mu.tolist()),
        "z should have the shape": bent(z=lambda mu, logvar, noise: mu[:, 0]),
        "two things": lambda mu, logvar, noise: mu,
        "values of kl (z is right) are NaN": bent(kl=lambda mu, logvar: kl_divergence(mu, logvar) * torch.nan),
        "z should hold real numbers": bent(z=lambda mu, logvar, noise: mu + (logvar / 2).exp() * noise + 1j),
        "kl (z is right) should hold real numbers": bent(kl=lambda mu, logvar: kl_divergence(mu, logvar) + 1j),
    },
    "3b": {
        "some dimensions": lambda: "A",
        "largest KL": lambda: "C",
        "one letter": lambda: ["A", "B"],
        "such as": lambda: "the second",
    },
    "4a": {
        "end where it began": lambda: 40,
        "between 0 and": lambda: 400,
        "whole number": lambda: 12.5,
        "is NaN": lambda: float("nan"),
    },
    "4b": {
        "the others": lambda walk: int((~equal(walk[:-1], walk[1:])).sum()),
        "with the start": lambda walk: int(equal(walk[[0] * (len(walk) - 1)], walk[1:]).sum()),
        "one too many": lambda walk: int(equal(walk[:-1], walk[1:]).sum()) + 1,
        "Compare neighbours": lambda walk: int(edit_distance(walk[:-1], walk[1:]).sum()),
        "count different architectures": lambda walk: len(set(walk.keys())),
        "come back to an architecture": lambda walk: len(walk) - len(set(walk.keys())),
        "nothing but an edge": lambda walk: int((walk.types[:-1] == walk.types[1:]).all(dim=1).sum()),
        "nothing but an operation": lambda walk: int((walk.adjacency[:-1] == walk.adjacency[1:]).all(dim=(1, 2)).sum()),
        "40 is the length of one walk": lambda walk: 40 - int((~equal(walk[:-1], walk[1:])).sum()),
        "wrong for another": lambda walk: 5,
        "is infinite": lambda walk: float("inf"),
        "too large": lambda walk: 10**5000,
        "one whole number": lambda walk: equal(walk[:-1], walk[1:]),
        "came is 0.3571": lambda walk: equal(walk[:-1], walk[1:]).double().mean(),
    },
    "5a": {
        "downhill": lambda model, z, *how: ascent(step_size=-how[1])(model, z, *how),
        "rewarded": lambda model, z, *how: ascent(complexity_weight=-how[2])(model, z, *how),
        "costs nothing": ascent(complexity_weight=0.0),
        "has the weight 1": ascent(complexity_weight=1.0),
        "not used": ascent(step_size=1.0),
        "anew at every point": same_gradient,
        "A mean divides": lambda model, z, *how: ascent(step_size=how[1] / 3)(model, z, *how),
        "whatever step_size": ascent(step_size=0.1),
        "whatever complexity_weight": ascent(complexity_weight=0.5),
        "in place after it was stored": one_tensor,
        "the start itself": lambda model, z, *how: ascent()(model, z + 1, *how),
        "should have the shape": lambda *arguments: ascent()(*arguments)[1:],
        "real numbers": complex_of("5a"),
    },
    "5b": {
        "a place in the list": apart(place=True),
        "other direction": apart(compare=lambda p, e, margin: abs(p - e) > margin),
        "not the first": apart(last=True),
        "less than the margin": apart(compare=lambda p, e, margin: p > e),
        "they do part": lambda steps, *table: None,
        "by just the margin": apart(compare=lambda p, e, margin: p - e >= margin),
        "return None": apart(compare=lambda p, e, margin: p - e > 1),
    },
    "6": {
        "what came is of type float64": np.nanmax,
        "some entries": in_order,
        "your best never recovers": np.maximum.accumulate,
        "has NaN": lambda accuracy: np.where(np.isnan(accuracy), np.nan, np.fmax.accumulate(accuracy)),
        "no accuracy is known yet": lambda accuracy: np.fmax.accumulate(np.append(70.0, accuracy[1:])),
        "NaN is none": np.sort,
        "should never win": lambda accuracy: np.maximum.accumulate(np.nan_to_num(accuracy, nan=100)),
        "you sorted": lambda accuracy: np.sort(np.nan_to_num(accuracy, nan=-np.inf)),
        "never falls": lambda accuracy: np.nan_to_num(accuracy, nan=-np.inf),
        "from the beginning": lambda accuracy: np.full(len(accuracy), np.nanmax(accuracy)),
        "cost an evaluation": lambda accuracy: np.maximum.accumulate(accuracy[~np.isnan(accuracy)]),
        "array of numbers": lambda accuracy: [None] * len(accuracy),
        "holds texts": lambda accuracy: RIGHT["6"](accuracy).astype(str),
        "complex": lambda accuracy: RIGHT["6"](accuracy) + 1j,
        "what is found later": lambda accuracy: np.maximum.accumulate(
            np.nan_to_num(accuracy, nan=np.nanmean(accuracy))
        ),
    },
}


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_typical_wrong_answer_is_told_what_is_wrong_with_it(exercise, capsys):
    texts = {}
    for words, answer in WRONG[exercise].items():
        texts[words] = said(capsys, exercise, answer)
        assert words in texts[words], f"{words!r} is not in: {texts[words]}"
    assert len(WRONG[exercise]) >= 3 and len({*texts.values()}) == len(texts)


@pytest.mark.parametrize(
    ("exercise", "answer", "words"),
    [
        ("2a", lambda: [0.8, 0.9, 0.6, 0.75], "Which tanh"),  # only vertex 0 has its whole tanh
        ("1a", lambda: graph().pad_to(10), "count the vertices"),
        ("1b", lambda batch: DagBatch.cat([batch] * 3), "a list of three graphs; what came is of type DagBatch"),
        ("2b", numbered_to_eight, "with 3 of 6 vertices not. Which number should come from the tensors?"),
        ("2b", eight_states, "here [3, 6, 4], but has [3, 8, 4]"),
        ("2b", right_for_eight, "wrong for other sizes"),
        ("3a", lambda *given: dict(zip(("z", "kl"), RIGHT["3a"](*given))), "a dictionary with z, kl"),
        ("3a", lambda *given: (*RIGHT["3a"](*given), 0), "a tuple of 3"),
        ("3a", bent(kl=lambda *given: kl_divergence(*given).tolist()), "a tensor [B], but what came is a list of 5"),
        ("4a", lambda: True, "one whole number"),
        ("4b", round_trip, "from the last point to the first"),
        ("4b", forty, "Is there a 40 in it?"),
        ("4b", beyond_the_last, "look for a next one"),
        ("5a", added_up, "Or do gradients add up, as `backward` makes them?"),
        ("5b", stays_apart, "they may meet again"),
        ("5b", parts_in(slice(1, None)), "at the first row alone"),
        ("5b", lambda steps, predicted, evaluated, margin: None if margin == 5 else 5, "at the first row alone"),
        ("5b", parts_in(slice(-1)), "at the last row alone"),
        ("5b", parts_in(slice(None), chosen=lambda step: step or None), "can the answer be step 0"),
        ("6", from_the_first, "never recovers"),
        ("6", if_larger, "never recovers"),
        ("6", from_a_start(0.0, first=1), "does it leave one out"),
        ("6", from_a_start(50.0), "a number in it that should come from the list"),
        ("6", lambda accuracy: np.array([0.0, 70, 70, 74, 74, 75, 75, 75]), "right on one made-up list"),
        ("6", lambda accuracy: RIGHT["6"](accuracy)[:, None], "an array [8], but what came has the shape [8, 1]"),
    ],
)
def test_another_answer_of_a_known_kind_is_refused(exercise, answer, words, capsys):
    assert words in said(capsys, exercise, answer)


def best_in_place(accuracy):
    accuracy[np.isnan(accuracy)] = -np.inf
    return np.maximum.accumulate(accuracy, out=accuracy)


def climbed(model, z, steps, step_size, weight):
    path = [z]
    for _ in range(steps):
        z = path[-1].clone().requires_grad_()
        (weight * model.complexity(z) - model.performance(z)).sum().backward()
        path.append(z.detach() - step_size * z.grad)
    return torch.stack(path).double()


def told_apart(mu, logvar, noise):
    code, prior = torch.distributions.Normal(mu, logvar.exp().sqrt()), torch.distributions.Normal(0 * mu, 1)
    kl = torch.distributions.kl_divergence(code, prior).sum(dim=1)
    return [mu.add_(noise.mul_(code.stddev)), kl]


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("2a", lambda: torch.tensor([0.4, 0.6, 0.3, 0.45], requires_grad=True)),
        ("2a", lambda: np.array([0.4, 0.6, 0.3, 0.45])),
        ("2a", lambda: [torch.tensor(state, requires_grad=True) for state in (0.4, 0.6, 0.3, 0.45)]),
        ("2a", lambda: np.array([0.4, 0.6, 0.3, 0.45], dtype=object)),
        ("2a", lambda: [Fraction(2, 5), Fraction(3, 5), Fraction(3, 10), Fraction(9, 20)]),
        ("3a", told_apart),
        ("3b", lambda: " b"),
        ("4a", lambda: np.int64(20)),
        ("4a", lambda: 0),  # the decisions of this walk change 61 times
        ("4b", lambda walk: equal(walk[:-1], walk[1:]).sum()),
        ("4b", lambda walk: np.array([sum(map(bytes.__eq__, walk.keys()[1:], walk.keys()))])),
        ("5a", climbed),
        ("5b", lambda steps, *table: None if (found := apart()(steps, *table)) is None else np.int64(found)),
        ("6", best_in_place),
        ("6", lambda accuracy: np.maximum.accumulate(np.nan_to_num(accuracy))),
        ("6", lambda accuracy: pd.Series(accuracy).cummax().ffill()),
        ("6", lambda accuracy: np.maximum.accumulate(np.nan_to_num(accuracy, nan=-1.0))),
        ("6", lambda accuracy: torch.from_numpy(np.fmax.accumulate(accuracy))),
        ("6", lambda accuracy: [np.nanmax(accuracy[: place + 1]) for place in range(len(accuracy))]),
    ],
)
def test_a_right_answer_in_another_form_passes(exercise, answer, capsys):
    assert lab_checks.check(exercise, answer) == 1, capsys.readouterr().out


def test_what_an_answer_does_to_its_arguments_changes_no_later_check(capsys):
    @torch.no_grad()
    def spoil(model, z, *how):
        for weight in (z, *model.parameters()):
            weight.zero_()
        return z.expand(how[0] + 1, *z.shape)

    assert "are equal" in said(capsys, "5a", spoil)
    assert lab_checks.check("5a", climbed) == 1, capsys.readouterr().out


def endless(*arguments):
    while True:
        with contextlib.suppress(Exception):
            float("nan")


def deaf(*arguments):
    while True:
        try:  # noqa: SIM105
            float("nan")
        except:  # noqa: E722
            pass


def stubborn(*arguments):
    for _ in range(3):
        try:  # noqa: SIM105
            time.sleep(5)
        except:  # noqa: E722
            pass


def interrupted(*arguments):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_loop_without_end_is_stopped(capsys, monkeypatch):
    monkeypatch.setattr(lab_checks, "SECONDS", 0.2)
    for answer in (endless, interrupted):
        assert "never ends" in said(capsys, "6", answer)
    assert lab_checks.check("6", deaf) == 0 and "never ends" in capsys.readouterr().out
    assert lab_checks.check("6", stubborn) == 0 and "bare `except:` catches this too" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and not any(signal.getitimer(signal.ITIMER_REAL))
    with ThreadPoolExecutor(1) as pool:  # a thread has no alarm
        assert pool.submit(lab_checks.check, "6", best_in_place).result() == 1


class OfMyOwn(BaseException):
    pass


class Unreadable:
    def __array__(self, *given, **named):
        raise KeyError("no array")

    def __getattr__(self, name):
        raise KeyError(name)

    __eq__ = __len__ = __float__ = __iter__ = __repr__ = __array__


def raised(error):
    def answer(*arguments):
        raise error

    return answer


def loud(*arguments):
    print("Exercise 1: right." * 100)
    return Unreadable()


ODD = {  # answers that nobody plans for: what is said to each
    "OfMyOwn": raised(OfMyOwn("x" * 1000)),
    "GeneratorExit": raised(GeneratorExit()),
    "SystemExit": raised(SystemExit(0)),
    "ExceptionGroup": raised(ExceptionGroup("several", [ValueError("one")])),
    "first line": raised(ValueError("first line.\n\nsecond line")),
    "RecursionError": lambda *arguments: ODD["RecursionError"](*arguments),
    "": lambda *arguments: Unreadable(),
    " ": lambda *arguments: torch.zeros(3, 4, device="meta"),
    "  ": lambda *arguments: torch.eye(4).to_sparse(),
    "   ": lambda *arguments: (value for value in (1, 2)),
    "    ": lambda *arguments: np.array([None, "a", 3], dtype=object),
    "     ": lambda *arguments: 10**400,
    "      ": lambda *arguments: [np.zeros(2)] * 3,
}


@pytest.mark.parametrize("exercise", EXERCISES)
def test_what_nobody_plans_for_gets_a_paragraph(exercise, capsys):
    for words, answer in ODD.items():
        assert lab_checks.check(exercise, answer) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"Exercise {exercise}, not yet: ") and "Traceback" not in text and "\n\n" not in text
        assert words.strip() in text and 30 < len(text) < 600 and ".." not in text.replace("...", "")
    lab_checks.check(exercise, loud)
    assert f"Exercise {exercise}, not yet" in capsys.readouterr().out


def test_a_check_that_is_called_otherwise_than_in_its_cell_is_told_so(capsys):
    for given, named in (((), {}), ((unfinished, unfinished), {}), ((unfinished,), {"seed": 1})):
        assert lab_checks.check("1a", *given, **named) == 0
        assert "Call `check` as its cell does" in " ".join(capsys.readouterr().out.split())


def unfinished(*arguments):
    raise NotImplementedError


def not_a_number(*arguments):
    return torch.tensor(torch.nan)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_whatever_comes_in_place_of_an_answer_gets_a_paragraph(exercise, capsys):
    for answer in (unfinished, None, ...):
        assert "not finished" in said(capsys, exercise, answer)
    if exercise != "5b":  # there None may be an answer
        assert "returns None" in said(capsys, exercise, lambda *arguments: None)
    assert "returns Ellipsis" in said(capsys, exercise, lambda *arguments: ...)
    assert "without brackets" in said(capsys, exercise, torch.zeros(2, 3))
    assert "stopped with ZeroDivisionError" in said(capsys, exercise, lambda *arguments: 1 / 0)
    assert "stopped with TypeError" in said(capsys, exercise, lambda one, two, three, four, five, six: one)
    for value in (not_a_number, lambda *arguments: "text", lambda *arguments: {}, lambda *arguments: [[1], [1, 2]]):
        said(capsys, exercise, value)


@pytest.mark.parametrize("exercise", ["2a", "2b", "3a", "5a"])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_a_right_answer_in_half_precision_is_told_so(exercise, half, capsys):
    def answer(*arguments):
        found = RIGHT[exercise](*arguments)
        return torch.as_tensor(found).to(half) if exercise != "3a" else tuple(part.to(half) for part in found)

    told = f"should be in float32 or float64. Yours is in {str(half)[6:]}, which keeps too few digits."
    assert told in said(capsys, exercise, answer)
    if exercise in ("2a", "3a"):  # in part
        whole = RIGHT[exercise]
        assert told in said(capsys, exercise, lambda *given: [*whole(*given)[:-1], answer(*given)[-1]])


def test_an_unknown_exercise_is_told_which_there_are(capsys):
    assert all(name in said(capsys, "7", unfinished) for name in EXERCISES)


def test_the_students_notebook_is_what_its_source_gives():
    require_made_from_source(SOLUTIONS, STUDENTS, len(EXERCISES))


def test_its_links_lead_somewhere():
    require_links(json.dumps(SOLUTIONS), at_least=26)


def test_nbgrader_makes_the_same_notebook(tmp_path):
    pytest.importorskip("nbgrader")
    require_nbgrader_makes("lab", SOLUTIONS, STUDENTS, tmp_path)


def test_the_lab_is_no_experiment_and_its_files_follow_the_rules_of_the_library():
    assert not [name for name in notebooks.names() if "lab" in name.split("_")]
    for rules in (["format", "--check"], ["check"]):
        command = [sys.executable, "-m", "ruff", *rules, "--quiet", *map(str, sorted(FOLDER.rglob("*.py")))]
        run = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_an_unsolved_notebook_runs_to_its_end_from_any_folder(tmp_path):
    outputs, text = executed(STUDENTS, tmp_path)
    assert text.count("not finished") == len(EXERCISES)
    assert not [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.slow
def test_the_solved_notebook_runs_to_its_end_from_any_folder(tmp_path):
    outputs, text = executed(SOLUTIONS, tmp_path)
    assert text.count("right.") == len(EXERCISES) and "not yet" not in text
    images = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(images) == 4 and all(output["metadata"]["image/png"]["alt"] for output in images)


def test_the_stored_solutions_are_executed():
    outputs = [output for cell in SOLUTIONS["cells"] for output in cell.get("outputs", ())]
    stored = json.dumps(outputs)
    assert stored.count(": right.") == len(EXERCISES) and "not yet" not in stored


def test_where_curves_part_and_meet_again_only_the_first_step_is_told(capsys):
    [source] = [cell for cell in map("".join, (cell["source"] for cell in SOLUTIONS["cells"])) if "3.0)" in cell]
    table = pd.DataFrame({"step": [0, 10, 20], "predicted": [80.0, 90.0, 90.0], "evaluated": [80.0, 86.0, 88.0]})
    exec(source, {"solved": {"5a", "5b"}, "climbs": {0.5: table, 0.0: table[:1]}, "parting": apart()})
    assert capsys.readouterr().out.splitlines() == [
        "complexity weight 0.5: more than 3 points apart at step 10 for the first time",
        "complexity weight 0.0: more than 3 points apart at no station",
    ]


def stored_pages():
    """What the pages to touch hold that are stored in the solutions."""
    outputs = [output for cell in SOLUTIONS["cells"] for output in cell.get("outputs", ())]
    shown = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    frames = re.findall('srcdoc="([^"]*)"', shown)
    assert sum(map(len, frames)) < 300_000
    return [json.loads(re.search('id="data">(.*?)</script>', html.unescape(frame))[1]) for frame in frames]


def test_the_map_of_the_collapsed_model_has_one_architecture():
    data = stored_pages()
    assert [page["title"] for page in data] == ["A latent space: beta = 0.01", "A latent space: beta = 1.0"]
    assert len(data[0]["texts"]) > 100 and len(data[1]["texts"]) == 1


@torch.no_grad()
def test_the_stored_maps_are_what_the_small_models_decode():
    benchmark = benchmarks.load("enas", "bundled")
    known = benchmark.batch[benchmark.split(0)[0]]
    for page, name in zip(stored_pages(), ("beta-0.01", "beta-1.0"), strict=True):
        model = load_small(name)
        chosen = np.random.default_rng(0).choice(page["size"] ** 2, 50, replace=False)
        points = grid(*plane(model.encode(known)[0]), page["size"])[chosen]
        texts = [page["texts"][cell] for cell in unpacked(page["which"], "<u2")[chosen]]
        decoded = ENAS.to_strings(model.decode(points))
        assert sum(map(str.__eq__, texts, decoded)) >= 49  # on another processor a point may lie just across a border


def test_a_small_model_without_one_of_its_weights_is_refused(tmp_path, monkeypatch):
    tensors = load_file(library_paths.BUNDLED / file_of("beta-1.0"))
    del tensors["encoder.forward_cell.weight_hh"]
    save_file(tensors, tmp_path / "x")
    monkeypatch.setattr(small, "bundled", lambda name: tmp_path / "x")
    with pytest.raises(RuntimeError, match="encoder.forward_cell.weight_hh"):
        load_small("beta-1.0")


def test_the_small_models_come_with_the_project_and_do_what_the_lab_says():
    assert sum((library_paths.BUNDLED / file_of(name)).stat().st_size for name in CONFIGS) < 1_500_000
    table = benchmarks.load("enas", "bundled")
    graphs = table.batch[table.split(0)[1][:300]]
    assert equal(load_small("ngae").decode(evaluate.encode_all(load_small("ngae"), graphs)), graphs).all()
    kl, skips, operations = {}, {}, {}
    for name in list(CONFIGS)[1:]:
        model = load_small(name)
        with torch.no_grad():
            mu, logvar = model.encode(graphs)
        written, kl[name] = model.decode(mu), kl_divergence(mu, logvar).mean().item()
        skips[name] = (ENAS.skips(written) == ENAS.skips(graphs)).double().mean().item()
        operations[name] = (written.types == graphs.types)[:, 1:7].double().mean().item()
    good, between, collapsed = kl
    assert kl[good] > 20 > kl[between] > 1 and kl[collapsed] < 0.01
    assert skips[good] > 0.95 > skips[between] > 0.6 and abs(skips[collapsed] - 0.5) < 0.05
    assert operations[good] > 0.4 and max(operations[between], operations[collapsed]) < 0.25
