"""Week 2 of the coursework, a model in one file: its checks and its two notebooks."""

import json
import os
import re
import subprocess
import sys

import lab_checks
import numpy as np
import pytest
import torch
from scipy.stats import t as student
from scipy.stats import ttest_ind
from torch import nn
from week2_checks import CHECKS, ROW, alike, check, load, sizes, some_graphs, twins_of, write_model

from companion import runner
from coursework import (
    answers,
    cells,
    executed,
    notebook,
    points,
    require_links,
    require_made_from_source,
    require_nbgrader_makes,
    said,
)
from latentnas import evaluate, stats
from latentnas.graphs import canonical_hash
from latentnas.models.gcn import GCN
from latentnas.models.ngae import NGAE
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench201 import NASBENCH201

SOLUTIONS, STUDENTS = notebook("week2_solutions"), notebook("week2")
GIVEN = next(
    "".join(cell["source"]) for cell in SOLUTIONS["cells"] if cell["source"][:1] == ["class MyEncoder(nn.Module):\n"]
)
NAMES = answers(SOLUTIONS)
exec(GIVEN, NAMES)
Levels, ReadOut, MyModel = (NAMES[name] for name in ("Levels", "ReadOut", "MyModel"))
RIGHT = {
    "1": Levels,
    "2": ReadOut,
    **dict.fromkeys(("3a", "3b", "3c", "3d"), MyModel),
    "4": NAMES["row"],
    "5": NAMES["difference"],
}
OTHER = dict(space=NASBENCH201, hidden=23, latent=7, seed=8)
CASES = {
    "1": dict(space=NASBENCH201, hidden=7, seed=5), "2": dict(hidden=9, seed=3),
    **dict.fromkeys(("3a", "3b", "3c", "3d"), OTHER), "4": dict(points=25, seed=9), "5": dict(own=(1.0, 2.0, 4.0)),
}  # fmt: skip
SECRETS = {"1": ["edges.mT @"], "2": ["masked_fill"], "4": ["prior_quality"], "5": ["mean_difference"]}


@pytest.mark.slow
def test_every_solution_passes_its_check_and_other_cases(capsys):
    assert list(RIGHT) == list(CHECKS)
    for exercise, answer in RIGHT.items():
        assert check(exercise, answer) == 1, capsys.readouterr().out
        assert check(exercise, answer, **CASES[exercise]) == 1, capsys.readouterr().out
    assert check("3b", MyModel, graphs=1) == check("3b", MyModel, graphs=1, **OTHER) == 1
    assert lab_checks.solved >= {*RIGHT}


def test_the_baseline_keeps_what_is_asked_of_a_model(capsys):
    for exercise in ("3a", "3b", "3c", "3d"):
        assert check(exercise, of_baseline(GCN)) == 1, capsys.readouterr().out


def test_an_encoder_whose_messages_carry_numbers_tells_twins_apart(capsys):
    assert "isomorphic twins" in said(capsys, check, "3b", NGAE)


def of_baseline(model_class):
    """The baseline with the configuration of the checks, which has none of its fields."""

    class Baseline(model_class):
        def __init__(self, config):
            from latentnas.models.family import configure

            class Space:
                num_types, num_vertices = config.num_types, config.num_vertices
                input_type, output_type = config.input_type, config.output_type

            super().__init__(configure("GCN", Space, config.hidden, config.hidden, config.latent)[1])

    return Baseline


class Idle(MyModel):
    def loss(self, batch, generator=None):
        return {"total": 0 * sum(weights.sum() for weights in self.parameters())}


def test_read_outs_that_are_neither_sum_nor_mean_pass(capsys):
    others = {
        "maximum": lambda self, states, present: states.masked_fill(present == 0, -torch.inf).amax(dim=1),
        "gated sum": lambda self, states, present: (self.mix(states).sigmoid() * states * present).sum(dim=1),
        "sum of what is bent": lambda self, states, present: (self.mix(states).relu() * present).sum(dim=1),
        "sum and maximum": lambda self, states, present:
            (states * present).sum(dim=1) + states.masked_fill(present == 0, -torch.inf).amax(dim=1),
    }  # fmt: skip
    for name, function in others.items():
        assert check("2", read(function)) == check("2", read(function), **CASES["2"]) == 1, (name, capsys.readouterr())


def test_dropout_is_off_while_numbers_are_compared(capsys):
    def forgetful(base):
        class Forgetful(base):
            def forward(self, *given):
                return nn.functional.dropout(super().forward(*given), 0.5, self.training)

        return Forgetful

    for exercise, answer in (("1", Levels), ("2", ReadOut)):
        assert check(exercise, forgetful(answer)) == 1, capsys.readouterr().out


def test_made_up_twins_are_isomorphic_graphs_of_other_numbers():
    for space in (ENAS, NASBENCH201):
        graphs = some_graphs(sizes(space, 4, 4), 20, 3)
        twins, _ = twins_of(graphs)
        assert torch.equal(canonical_hash(graphs), canonical_hash(twins)) and not twins.adjacency.tril().any()
        assert not [key for key, other in zip(graphs.keys(), twins.keys()) if key == other]
        assert {*graphs.num_vertices.tolist()} == {7, 8}


def levels(change):
    """The right levels, with something done to their result or their input."""

    class Changed(Levels):
        def forward(self, batch):
            return change(super().forward, batch)

    return Changed


def mixed(combine):
    """Levels of which each level is `combine(states, sums over predecessors, sums over successors, edges)`."""

    class Mixed(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.first = nn.Linear(config.num_types, config.hidden)
            self.num_types = config.num_types

        def forward(self, batch):
            states, edges = self.first(batch.one_hot(self.num_types).float()), batch.adjacency.float()
            return combine(states, edges.mT @ states, edges @ states, edges).tanh()

    return Mixed


class Numbered(Levels):
    def __init__(self, config):
        super().__init__(config)
        self.place = nn.Embedding(20, config.hidden)

    def forward(self, batch):
        return super().forward(batch) + self.place.weight[: batch.max_vertices]


class Normalised(Levels):
    def forward(self, batch):
        states = super().forward(batch)
        return states / (states.mean(dim=0, keepdim=True) + 1)


class OfPositions(Levels):
    def forward(self, batch):
        states = super().forward(batch)
        return states - states.mean(dim=1, keepdim=True)


class FromTheFourthOn(Levels):
    def forward(self, batch):
        return super().forward(batch) + (torch.arange(batch.max_vertices) > 4)[:, None]


class OfOneVertex(Levels):
    def forward(self, batch):
        states = super().forward(batch)
        return states + states[:, 4:5]


class Changing(Levels):
    def forward(self, batch):
        states = super().forward(batch)
        batch.types.clamp_(min=0)
        return states


class WithLoops(Levels):
    def forward(self, batch):
        batch.adjacency.logical_or_(torch.eye(batch.max_vertices, dtype=torch.bool))
        return super().forward(batch)


class Typeless(Levels):
    def forward(self, batch):
        types = torch.where(batch.types < 0, batch.types, 0)
        return super().forward(type(batch)(types, batch.adjacency, batch.num_vertices))


class OfNumbers(Levels):
    def __init__(self, config):
        super().__init__(config)
        self.kind = nn.Embedding(config.num_types, config.hidden)

    def forward(self, batch):
        return self.kind(batch.types)


class WithoutOwn(Levels):
    def forward(self, batch):
        states, edges = batch.one_hot(self.num_types).float(), batch.adjacency.float()
        for before, after in zip(self.before, self.after):
            states = (edges.mT @ before(states) + edges @ after(states)).relu()
        return states


class WrongWidth(Levels):
    def forward(self, batch):
        return super().forward(batch)[:, 0]


class Misspelt(Levels):
    def forward(self, batch):
        return batch.adjacencies


def read(function):
    class Read(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.place = nn.Linear(config.hidden * 8, config.hidden)
            self.mix = nn.Linear(config.hidden, config.hidden)

        def forward(self, states, present):
            return function(self, states, present[..., None].float())

    return Read


def model(encode, parts=lambda self, config: None):
    """MyModel with another encoder: a function of its parts, of the right vector of each graph and of the batch."""

    class Encoder(NAMES["MyEncoder"]):
        def __init__(self, config):
            super().__init__(config)
            parts(self, config)

        def forward(self, batch):
            return encode(self, self.read(self.levels(batch), batch.present), batch)

    class Changed(MyModel):
        def make_encoder(self):
            return Encoder(self.config), super().make_encoder()[1]

    return Changed


class Padded(MyModel):
    def encode(self, batch):
        mu, logvar = super().encode(batch)
        return mu + batch.max_vertices, logvar


def both(self, graph):
    return self.mu(graph), self.logvar(graph)


def with_bias(self, config):
    self.read.score = nn.Linear(config.hidden, 4)


def unused(self, config):
    self.more = nn.Linear(config.hidden, config.hidden)


def in_a_list(self, config):
    self.more = [nn.Linear(config.hidden, config.hidden)]


def counter(self, config):
    self.steps = 0


def counting(self, graph, batch):
    if self.training:
        self.steps += 1
    return both(self, graph * (1 + 0.1 * self.steps * self.training))


def not_stored(self, config):
    self.register_buffer("scale", torch.ones(1), persistent=False)


def scaling(self, graph, batch):
    if self.training:
        self.scale += 0.1
    return both(self, graph * (self.scale if self.training else 1))


def detached(self, graph, batch):
    return both(self, graph.detach())


def at_random(self, graph, batch):
    return both(self, graph + torch.randn_like(graph))


def row_of(reconstruction="clean", quality="clean", scale=1, swap=False, back="test"):
    def row(model, train, test, points, seed):
        found = evaluate.prior_quality(model, ENAS, test if swap else train, points, seed)
        again = evaluate.reconstruction(model, train if back == "train" else test, trials=10)
        shares = {"reconstruction": again[reconstruction]}
        shares |= {name: found[f"{name}_{quality}"] for name in ROW[1:]}
        return {name: value * scale for name, value in shares.items()}

    return row


def novelty(model, train, test, points, seed):
    quality = evaluate.prior_quality(model, ENAS, train, points, seed)
    return row_of()(model, train, test, points, seed) | {"uniqueness": quality["novelty_clean"]}


def error(own, base):
    return np.sqrt(np.var(own, ddof=1) / len(own) + np.var(base, ddof=1) / len(base))


def around(width):
    return lambda own, base: (m := np.mean(own) - np.mean(base), m - width(own, base), m + width(own, base))


def pooled(own, base):
    return ttest_ind(own, base).confidence_interval(0.95)


def of_three(own, base):
    """The interval, right if there are three of each."""
    mean, low, high = stats.mean_difference(own, base)
    return tuple(mean + (end - mean) * (len(own) / 3) ** 0.5 for end in (low, high))


def of_ends(own, base):
    (low, high), (least, most) = stats.mean_interval(own), stats.mean_interval(base)
    return np.mean(own) - np.mean(base), low - most, high - least


WRONG = {
    "1": {
        "should have the shape": WrongWidth,
        "real numbers": levels(lambda forward, batch: forward(batch) + 1j),
        "empty positions": OfPositions,
        "change their numbers": Numbered,
        "when vertices change": FromTheFourthOn,
        "stay the same else": OfOneVertex,
        "you change the batch itself": Changing,
        "Copy a tensor before": WithLoops,
        "other graphs of the batch": Normalised,
        "no state changes with an edge": mixed(lambda own, before, after, edges: own),
        "vertex 2 should change": mixed(lambda own, before, after, edges: own + after),
        "in both directions": mixed(lambda own, before, after, edges: own + before),
        "type of a vertex": Typeless,
        "every edge is turned round": mixed(lambda own, before, after, edges: own + before + after),
        "two steps away": mixed(lambda own, before, after, edges: own + before - after),
        "does not mix its own state": WithoutOwn,
        "in line": Misspelt,
        "An empty position has the type -1.": OfNumbers,
    },
    "2": {
        "at empty positions": read(lambda self, states, present: states.mean(dim=1)),
        "order of the vertices": read(lambda self, states, present: self.place((states * present).flatten(1))),
        "has the sum already": read(lambda self, states, present: (states * present).sum(dim=1)),
        "that is the sum": read(lambda self, states, present: 2 * (states * present).sum(dim=1)),
        "a mean is one, too": read(
            lambda self, states, present: (states * present).sum(dim=1) / present.sum(dim=1)
        ),
        "the mean of the states": read(
            lambda self, states, present: self.mix((states * present).sum(dim=1) / present.sum(dim=1)).relu()
        ),
        "of the states, or": read(lambda self, states, present: (states * present).sum(dim=1) / 8),
        "or made of these alone": read(lambda self, states, present: self.mix((states * present).sum(dim=1))),
        "Try another": read(lambda self, states, present: self.mix(self.mix((states * present).sum(dim=1)).relu())),
        "numbers in a state change nothing": read(
            lambda self, states, present: (states * present)[..., :1].amax(dim=1).expand(-1, states.shape[2])
        ),
        "should have the shape": read(lambda self, states, present: (states * present).sum(dim=2)),
        "other graphs of the batch": read(
            lambda self, states, present: (states * present).sum(1) / (1 + (states * present).sum(1).square().mean(0))
        ),
        "where all states are below 0": read(lambda self, states, present: (states * present).amax(dim=1)),
        "where all states are above 0": read(lambda self, states, present: (states * present).amin(dim=1)),
        "the same result": read(lambda self, states, present: torch.ones_like(states[:, 0])),
        "NaN or infinite": read(lambda self, states, present: (states / present).sum(dim=1)),
        "real numbers": read(
            lambda self, states, present: states.masked_fill(present == 0, -torch.inf).amax(dim=1) + 1j
        ),
    },
    "3a": {
        "encode differs between two calls": model(at_random),
        "mu should have the shape": model(lambda self, graph, batch: (graph, graph)),
        "of mu are NaN": model(lambda self, graph, batch: tuple(torch.nan * part for part in both(self, graph))),
        "stopped with AttributeError": model(lambda self, graph, batch: self.nothing),
    },
    "3b": {
        "isomorphic twins": model(lambda self, graph, batch: both(self, graph + batch.types[:, 2:3])),
        "empty positions are added": Padded,
        "in a batch of 4 graphs": model(lambda self, graph, batch: both(self, graph - graph.mean(dim=0))),
        "get the same code": model(lambda self, graph, batch: both(self, torch.ones_like(graph))),
    },
    "3c": {
        "encoder.read.score.bias": model(lambda self, graph, batch: both(self, graph), with_bias),
        "encoder.more.weight": model(lambda self, graph, batch: both(self, graph), unused),
        "encoder.levels": model(detached),
        "is NaN or infinite. Is there a root": model(lambda self, graph, batch: both(self, graph + (0 * graph).sqrt())),
        "no gradient reaches": Idle,
    },
    "3d": {
        "plain list": model(lambda self, graph, batch: both(self, self.more[0](graph)), in_a_list),
        "cut off": model(counting, counter),
        "register it as a buffer": model(scaling, not_stored),
        "may be anything, in line": model(lambda self, graph, batch: self.nothing),
    },
    "4": {
        "between 0 and 1": row_of(scale=0.01),
        "reconstruction is that of the published": row_of(reconstruction="published"),
        "protocol, random decodes": row_of(quality="published"),
        "the training graphs. Which": row_of(back="train"),
        "codes of the test graphs": row_of(swap=True),
        "uniqueness is novelty": novelty,
        "reconstruction is 0, as if": lambda *given: row_of()(*given) | {"reconstruction": 0.0},
        "that of all test graphs": lambda model, train, test, *given: row_of()(model, train, test[:100], *given),
        "the seed those that are given": lambda model, train, test, points, seed:
            row_of()(model, train, test, points, 0),
        "return a dictionary": lambda *given: list(row_of()(*given).values()),
        "what came is a dictionary with recall": lambda *given: {"recall": 1.0},
    },
    "5": {
        "wrong sign": lambda own, base: stats.mean_difference(base, own),
        "paired": lambda own, base:
            (np.mean(own) - np.mean(base), *stats.mean_interval(np.subtract([*own], [*base]))),
        "yours less the baseline's": lambda own, base: max(
            stats.mean_difference(own, base), stats.mean_difference(base, own)
        ),
        "should be that of the means": lambda own, base: stats.mean_difference((61, 68, 64), (57, 52, 60)),
        "of the means.": lambda own, base: (np.mean(own - base), 0.0, 1.0),  # pandas joins rows by their numbers
        "interval is not": lambda own, base: stats.mean_difference(own, base)[:1] + of_three(own, base),
        "1.96": around(lambda own, base: 1.96 * error(own, base)),
        "mean ± standard error": around(error),
        "do not add up": of_ends,
        "one pooled variance": lambda own, base: (np.mean(own) - np.mean(base), *pooled(own, base)),
        "Take Welch's, of 95 %": around(lambda own, base: 3 * error(own, base)),
        "are exchanged": lambda own, base: [stats.mean_difference(own, base)[place] for place in (0, 2, 1)],
        "your own mean": lambda own, base: (np.mean(own) - np.mean(base), *stats.mean_interval(own)),
        "three numbers": lambda own, base: np.mean(own) - np.mean(base),
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("exercise", WRONG)
def test_a_typical_wrong_answer_is_told_what_is_wrong_with_it(exercise, capsys):
    for words, answer in WRONG[exercise].items():
        text = said(capsys, check, exercise, answer, secrets=SECRETS.get(exercise, ()))
        assert words.rpartition("may be anything, ")[2].lower() in text.lower(), f"{words!r} is not in: {text}"
    assert len(WRONG[exercise]) >= 3


def by_methods_of_a_column(own, baseline):
    mean, parts = own.mean() - baseline.mean(), [values.var() / values.count() for values in (own, baseline)]
    spread = sum(parts)
    degrees = spread**2 / sum(part**2 / (values.size - 1) for part, values in zip(parts, (own, baseline)))
    half = student.ppf(0.975, degrees) * spread**0.5
    return mean, mean - half, mean + half


def test_a_difference_gets_columns_as_in_the_notebook(capsys):
    assert check("5", by_methods_of_a_column) == 1, capsys.readouterr().out


class StartsAtZero(Levels):
    """Each level adds to the states what it learned, times a weight that starts at 0."""

    def __init__(self, config):
        super().__init__(config)
        self.first, self.weight = nn.Linear(config.num_types, config.hidden), nn.Parameter(torch.zeros(3))

    def forward(self, batch):
        states, edges = batch.one_hot(self.num_types).float(), batch.adjacency.float()
        for place, (own, before, after) in enumerate(zip(self.own, self.before, self.after)):
            new = (own(states) + edges.mT @ before(states) + edges @ after(states)).relu()
            states = (states if place else self.first(states)) + self.weight[place] * new
        return states


class AttentionFromZero(ReadOut):
    def __init__(self, config):
        super().__init__(config)
        nn.init.zeros_(self.score.weight)


def test_a_part_that_starts_at_zero_is_seen_at_work(capsys):
    def parts(self, config):
        self.levels, self.read = StartsAtZero(config), AttentionFromZero(config)
        for weights in self.mu.parameters():
            nn.init.zeros_(weights)

    answer = model(lambda self, graph, batch: both(self, graph), parts)
    for exercise, part in {"1": StartsAtZero, "2": AttentionFromZero, "3b": answer, "3c": answer}.items():
        assert check(exercise, part) == 1, capsys.readouterr().out


def test_a_read_out_may_work_in_place(capsys):
    def function(self, states, present):
        states[present[..., 0] == 0] = -torch.inf
        return states.amax(dim=1)

    assert check("2", read(function)) == 1, capsys.readouterr().out


def test_three_numbers_may_come_in_any_row(capsys):
    for form in (list, np.array, torch.tensor, lambda row: [np.array(value) for value in row]):
        answer = lambda own, base, form=form: form(stats.mean_difference(own, base))  # noqa: E731
        assert check("5", answer) == 1, capsys.readouterr().out


class Unfinished(nn.Module):
    def __init__(self, config):
        super().__init__()

    def forward(self, *arguments):
        raise NotImplementedError


class NeverMade(nn.Module):
    def __init__(self, config):
        raise NotImplementedError


def test_whatever_comes_in_place_of_an_answer_gets_a_paragraph(capsys):
    half_done = {"1": (Unfinished, NeverMade), "2": (Unfinished, NeverMade)}
    for part in ("3a", "3b", "3c", "3d"):
        half_done[part] = (model(lambda self, graph, batch: Unfinished(None)()),)
    for exercise in RIGHT:
        for answer in (None, ..., *half_done.get(exercise, ())):
            assert "not finished" in said(capsys, check, exercise, answer)
        assert "brackets" in said(capsys, check, exercise, np.zeros(3))
    for exercise, answer, method in [
        ("2", NeverMade, "`NeverMade.__init__`"), ("3b", half_done["3b"][0], "`Unfinished.forward`")
    ]:  # fmt: skip
        assert f"not yet: {method} is not finished" in said(capsys, check, exercise, answer)
    for exercise in ("1", "2", "3a"):
        assert "should be derived from" in said(capsys, check, exercise, int)
        assert "class itself" in said(capsys, check, exercise, lambda config: None)
    for exercise in ("4", "5"):
        for value in (
            "text",
            {},
            [[1], [1, 2]],
            {"reconstruction": 1, "validity": "x", "uniqueness": None},
            (1, 2, None),
        ):
            said(capsys, check, exercise, lambda *arguments, value=value: value)


def encoding(change):
    class Changed(MyModel):
        def encode(self, batch):
            return change(super().encode(batch))

    return Changed


def losing(change):
    class Changed(MyModel):
        def loss(self, *given, **named):
            return change(super().loss(*given, **named))

    return Changed


def test_what_encode_and_loss_may_not_return_is_named_by_each_check_that_reads_it(capsys):
    encoders = {
        "of shape [12, 5]": lambda codes: codes[0],
        "is a tuple of 3": lambda codes: (*codes, 1),
        "mu should be a tensor [B, D]": lambda codes: [code.tolist() for code in codes],
        "mu should have the shape": lambda codes: [code[:, :2] for code in codes],
        "of mu are NaN": lambda codes: [code * torch.nan for code in codes],
        "what came is a text": lambda codes: "mu",
        "stopped with GeneratorExit": stopped,
    }
    for words, change in encoders.items():
        for exercise in ("3a", "3b", "3d"):
            text = said(capsys, check, exercise, encoding(change))
            assert words.replace("12", "") in re.sub(r"(?<=shape \[)\d+", "", text) and ".." not in text, (words, text)
    losses = {
        'whose "total" is one real number': lambda terms: terms["total"],
        "is one real number with": lambda terms: {name: value + 1j for name, value in terms.items()},
        "with a gradient": lambda terms: {name: value.detach() for name, value in terms.items()},
        "is NaN or infinite": lambda terms: {name: value * torch.nan for name, value in terms.items()},
        "returns None": lambda terms: None,
    }
    for words, change in losses.items():
        for exercise in ("3a", "3c"):
            assert words in said(capsys, check, exercise, losing(change))
    for exercise in ("1", "2"):
        assert "should be derived from Module" in said(capsys, check, exercise, nn.Module)


def stopped(*given):
    raise GeneratorExit


@pytest.mark.slow
def test_a_model_is_written_into_a_file_from_the_newest_cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = [source for source in cells(SOLUTIONS, "solution") if "class " in source]
    old = sources[0].replace("config.hidden", "1")
    history = ["", old, *sources, "class Levels is written below", "%%time\nclass Levels:\n    pass", GIVEN]
    file = write_model("my_model.py", history, "Levels", "ReadOut", "MyEncoder", "MyModel")
    text = file.read_text()
    assert text.count("class MyEncoder") == text.count("class Levels") == 1 and "pairs" in text
    assert len(text.splitlines()) <= 80
    made = load(file).MyModel(sizes(ENAS, 12, 5))
    torch.manual_seed(0)
    graphs = ENAS.sample(3, 0)
    made.load_state_dict(MyModel(sizes(ENAS, 12, 5)).state_dict())
    assert alike(made.encode(graphs)[0], made.encode(graphs)[0]) and check("3a", load(file).MyModel) == 1
    environment = os.environ | {"PYTHONPATH": runner.library_path()}
    run = subprocess.run([sys.executable, file], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with pytest.raises(NameError, match="No cell that was run defines the class Other"):
        write_model("x.py", history, "Other")


def test_the_students_notebook_is_what_its_source_gives():
    require_made_from_source(SOLUTIONS, STUDENTS, 6)
    require_links(json.dumps(SOLUTIONS), at_least=8)
    assert points(SOLUTIONS) == points(STUDENTS) == 25


def test_nbgrader_makes_the_same_notebook(tmp_path):
    pytest.importorskip("nbgrader")
    require_nbgrader_makes("week2", SOLUTIONS, STUDENTS, tmp_path)


def test_the_stored_solutions_are_executed_and_the_findings_say_what_they_show():
    stored = json.dumps([output for cell in SOLUTIONS["cells"] for output in cell.get("outputs", ())])
    assert stored.count(": right.") == 17 and "not yet" not in stored
    [findings] = [cell for cell in SOLUTIONS["cells"] if "answer-findings" in str(cell["metadata"])]
    numbers = re.findall(r"\d+\.\d+", "".join(findings["source"]))
    assert len(numbers) > 4 and not [number for number in numbers if number not in stored]
    assert 80 < len("".join(line for line in findings["source"] if line[:1] != "|").split()) <= 210


def small(solved):
    """The notebook with trainings of seconds."""
    text = json.dumps(solved)
    assert "GRAPHS, EPOCHS, SEEDS, POINTS = 4000, 15, [0, 1, 2], 100" in text
    return json.loads(text.replace("POINTS = 4000, 15, [0, 1, 2], 100", "POINTS = 200, 1, [0, 1, 2], 10"))


@pytest.mark.slow
def test_an_unsolved_notebook_runs_to_its_end_from_any_folder(tmp_path):
    outputs, text = executed(STUDENTS, tmp_path)
    assert text.count("not finished") == 8 and not list(tmp_path.glob("*.py"))
    assert not [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.slow
def test_the_solved_notebook_runs_to_its_end_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTNAS_OUTPUT", str(tmp_path / "output"))
    outputs, text = executed(small(SOLUTIONS), tmp_path)
    assert text.count(": right.") == 17 and "not yet" not in text and (tmp_path / "my_model.py").is_file()
    images = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(images) == 1 and images[0]["metadata"]["image/png"]["alt"]
