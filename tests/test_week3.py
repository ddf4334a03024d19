"""Week 3, a searcher: its checks, and its two notebooks from one source. The leaderboard has tests of its own."""

import json
import math
import os
import re
import subprocess
import sys
from functools import partial

import lab_checks
import leaderboard
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import hypergeom
from week3_checks import CHECKS, check

from companion import paths
from coursework import (
    answers,
    executed,
    notebook,
    points,
    require_links,
    require_made_from_source,
    require_nbgrader_makes,
    said,
)
from latentnas import stats

SOLUTIONS, STUDENTS = notebook("week3_solutions"), notebook("week3")


def source():
    """The file that the solved notebook writes."""
    [cell] = [cell for cell in SOLUTIONS["cells"] if "%%writefile" in "".join(cell["source"])]
    return "".join(cell["source"]).partition("\n")[2]


def functions():
    cells = [cell for cell in SOLUTIONS["cells"] if "%%writefile" not in "".join(cell["source"])]
    names = answers({"cells": cells})
    return {"1": names["median_of_random_search"], "2a": names["first_query"], "2b": names["median_and_interval"]}


RIGHT = functions()


def by_simulation_of_the_mean(size, good):
    return (size + 1) / (good + 1)


def with_replacement(size, good):
    return math.ceil(math.log(0.5) / math.log(1 - good / size)) if good < size else 1


def more_than_half(size, good):
    queries = np.arange(1, size + 1)
    return int(queries[1 - hypergeom.pmf(0, size, good, queries) > 0.5 + 1e-9][0])


def of_few_draws(size, good):
    """As if the share of good ones that are left stayed the same: 1 - (1 - n / size) ** good."""
    return math.ceil(size * (1 - 0.5 ** (1 / good)))


def none_if_missed(rows, goal):
    met = np.isin(rows, goal)
    return 1 + int(met.argmax()) if met.any() else None


def first_listed(rows, goal):
    """The first query of the first goal that was met, in the order of `goal`."""
    return next((1 + rows.tolist().index(one) for one in goal.tolist() if one in rows), math.inf)


def none_of_row_0(rows, goal):
    found = next((row for row in rows.tolist() if row in goal), None)
    return 1 + rows.tolist().index(found) if found else math.inf


def budget_if_missed(rows, goal):
    return min(300, RIGHT["2a"](rows, goal))


def ends(values, *quantiles):
    return (float(np.median(values)), *map(float, quantiles))


WRONG = {
    "1": {
        "you return a mean": by_simulation_of_the_mean,
        "return a mean. By": lambda size, good: size / good,
        "of 10 architectures 3 are good, your number is too large": of_few_draws,
        "of 5 architectures 5 are good": lambda size, good: RIGHT["1"](size, good) + (size == good),
        "one too early": lambda size, good: RIGHT["1"](size, good) - 1,
        "one too large in each": lambda size, good: RIGHT["1"](size, good) + 1,
        "draws without": with_replacement,
        "too large": lambda size, good: size + 5,
        "too small": lambda size, good: 0,
        "more than half": more_than_half,
        "may be rounded": lambda size, good: RIGHT["1"](size, good) + ((size, good) == (4, 1)),
        "should be one number": lambda size, good: [5, 6],
        "is NaN": lambda size, good: math.nan,
    },
    "2a": {
        "has the number 1": lambda rows, goal: RIGHT["2a"](rows, goal) - 1,
        "neither None nor the budget": none_if_missed,
        "it is another query": lambda rows, goal: 1 + np.flatnonzero(rows == goal[0])[0],
        "in the order of `goal`": first_listed,
        "that never asks for a goal": budget_if_missed,
        "the goal [7, 0] it is another": none_of_row_0,
        "was asked twice": lambda rows, goal: RIGHT["2a"](np.array([*dict.fromkeys(rows.tolist())]), goal),
        "one number": lambda rows, goal: np.flatnonzero(np.isin(rows, goal)) + 1,
    },
    "2b": {
        "you left out the runs": lambda needed: RIGHT["2b"](needed[np.isfinite(needed)]),
        "without them the median is too small": lambda needed: RIGHT["2b"](needed[needed < 300]),
        "is infinite, not NaN, and is not left out": lambda needed:
            RIGHT["2b"](np.where(np.isinf(needed), np.nan, needed)),
        "a median counts it as infinite": lambda needed: stats.estimate(needed)[:3],
        "this is a mean": lambda needed: (float(np.minimum(needed, 300).mean()), 1.0, 2.0),
        "that is the range": lambda needed: ends(needed, needed.min(), needed.max()),
        "fastest run to the slowest": lambda needed: ends(needed, needed.min(), needed[np.isfinite(needed)].max()),
        "quantiles of the runs": lambda needed: ends(needed, *np.quantile(needed, [0.25, 0.75])),
        "of a mean; a": lambda needed: ends(needed, *stats.mean_interval(needed[np.isfinite(needed)])),
        "is Student's": lambda needed: ends(needed, *stats.mean_interval(np.minimum(needed, 300))),
        "not needed 300 queries": lambda needed: ends(needed, 25, 300),
        "the median is another one": lambda needed: ends(np.sort(needed)[:-1], 1, 2),
        "makes one for a median": lambda needed: ends(needed, 1, 2),
        "right, its interval is not. `stats": lambda needed: ends(needed, *np.sort(needed)[[2, -3]]),  # of 12 runs
        "and look at the middle": lambda needed: (47.5 + 12, 25.0, math.inf),
        "`stats.estimate` makes": lambda needed: ends(needed, *stats.median_interval(needed, 0.9)),
        "three numbers": lambda needed: float(np.median(needed)),
        "is NaN": lambda needed: (math.nan, 1.0, 2.0),
    },
}  # fmt: skip


@pytest.mark.parametrize("exercise", WRONG)
def test_a_right_answer_passes_and_a_typical_wrong_one_is_told_what_is_wrong(exercise, capsys):
    assert check(exercise, RIGHT[exercise]) == 1, capsys.readouterr().out
    texts = {words: said(capsys, check, exercise, answer) for words, answer in WRONG[exercise].items()}
    assert len(texts) >= 3 and not [words for words, text in texts.items() if words not in text], texts
    for answer in (lambda *arguments: 1 / 0, lambda *arguments: None, None, "text", lambda *arguments: {}):
        said(capsys, check, exercise, answer)


def test_the_notebook_hands_over_arrays_as_the_check_does():
    [cell] = [source for cell in SOLUTIONS["cells"] if "run_many(" in (source := "".join(cell["source"]))]
    given, runs = [], pd.DataFrame({"seed": [0, 0, 1], "row": [4, 5, 5]})
    names = {"np": np, "partial": partial, "domain": DigitsDomain(), "labels": None, "goal": np.array([5]), "good": 1}
    names |= {"run_many": lambda *given, **named: runs, "RegularisedEvolution": len, "solved": {"1", "2a", "2b"}}
    names |= {"first_query": RIGHT["2a"], "median_of_random_search": RIGHT["1"]}
    names["median_and_interval"] = lambda needed: given.append(needed) or RIGHT["2b"](needed)
    exec(cell, names)
    assert isinstance(given[0], np.ndarray) and given[0].tolist() == [2, 1]


class DigitsDomain:
    count = 10

    def lookup(self, labels):
        return labels


def test_a_number_and_three_may_come_as_arrays_or_tensors(capsys):
    for form in (np.array, torch.tensor):
        for exercise, answer in RIGHT.items():
            changed = lambda *given, answer=answer, form=form: form(answer(*given))  # noqa: E731
            assert check(exercise, changed) == 1, capsys.readouterr().out


@pytest.mark.slow
def test_the_solved_searcher_passes(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(source())
    assert check("3a", str(file)) == 1 and check("3b", file) == 1, capsys.readouterr().out
    assert {"3a", "3b"} <= lab_checks.solved


SEARCHER = source()
BROKEN = {  # what stands in place of what: what 3a says
    ("return self.domain.fresh(self.random, n, self.known)", "raise NotImplementedError()"): "not finished",
    ("np.random.default_rng(seed)", "np.random.default_rng()"): "same seed ask for other rows",
    ("self.random, n, self.known)", "self.random, n + 1, self.known)"): "gives 6: ask.n. returns at most n",
    ("self.domain, self.seed, self.known = domain, seed, {}", "self.domain, self.known = domain, {}"): "lacks seed",
    ("def tell", "def told"): "class with ask and tell",
    ("import numpy as np", "import numpy as npp"): "in tell|in ask|when it is made",
}


@pytest.mark.slow
def test_a_searcher_that_breaks_its_contract_is_told_so(tmp_path, capsys):
    file = tmp_path / "mine.py"
    for (right, wrong), words in BROKEN.items():
        assert right in SEARCHER
        file.write_text(SEARCHER.replace(right, wrong))
        assert re.search(words, said(capsys, check, "3a", str(file))), words
    assert "Run the cell that writes it first" in said(capsys, check, "3a", str(tmp_path / "none.py"))
    assert "the name of your file" in said(capsys, check, "3a", len)
    for folder in ("", tmp_path):
        assert "names a folder" in said(capsys, check, "3a", folder)


@pytest.mark.slow
def test_a_searcher_of_the_library_is_not_ones_own(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("from latentnas.search.ensemble import EnsembleSearch\nclass Mine(EnsembleSearch):\n    pass\n")
    assert "of the library does, which is not yours" in said(capsys, check, "3a", str(file))
    file.write_text("import latentnas.search.ensemble as ensemble\nSEARCHER = ensemble.EnsembleSearch\n")
    assert "of the library does, which is not yours" in said(capsys, check, "3a", str(file))


SLOW = """
from latentnas.search.discrete import RandomSearch

class Mine(RandomSearch):
    def ask(self, n):
        %s
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ("return super().ask(n)", "should be at most 40"),  # random search
        ("return self.domain.neighbors(0)[:n]", "more than 100 queries"),  # never leaves
        ("return super().ask(n)[:0]", "more than 100 queries"),
        ("return super().ask(n + 1)", "returns at most n"),
        ("return 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_searcher_that_does_not_learn_is_not_fast(ask, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("leaderboard.REPEATS", 10)
    (tmp_path / "mine.py").write_text(SLOW % ask)
    assert words in said(capsys, check, "3b", tmp_path / "mine.py")


@pytest.mark.slow
def test_the_command_of_the_notebook_works_where_the_students_file_is(tmp_path):
    [text] = [text for cell in STUDENTS["cells"] if "--jobs" in (text := "".join(cell["source"]))]
    [command] = re.findall(r"`!(.* --jobs 2)`", text)
    (tmp_path / "week3_searcher.py").write_text(source())
    command = command.format(sys=sys, leaderboard=leaderboard) + " --seeds 1 --no-baselines"
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT / "lib")}
    run = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0 and "| week3_searcher |" in run.stdout, run.stderr
    assert (tmp_path / "leaderboard.csv").is_file()


def test_the_students_notebook_is_what_its_source_gives():
    require_made_from_source(SOLUTIONS, STUDENTS, 4)
    require_links(json.dumps(SOLUTIONS), at_least=10)
    assert "`notebooks/coursework/templates/my_searcher.py`" in json.dumps(STUDENTS)
    assert points(SOLUTIONS) == points(STUDENTS) == 25 and len(CHECKS) == 5


def test_nbgrader_makes_the_same_notebook(tmp_path):
    pytest.importorskip("nbgrader")
    require_nbgrader_makes("week3", SOLUTIONS, STUDENTS, tmp_path)


def test_the_stored_solutions_are_executed():
    stored = json.dumps([output for cell in SOLUTIONS["cells"] for output in cell.get("outputs", ())])
    assert stored.count(": right.") == 6 and "not yet" not in stored and "| week3_searcher |" in stored


def test_a_method_has_its_colour_of_all_figures():
    drawn = json.dumps([cell["source"] for cell in SOLUTIONS["cells"]]).replace("\\", "")
    assert all(f'color=METHOD_COLOURS["{name}"]' in drawn for name in ("random search", "regularised evolution"))


@pytest.mark.slow
def test_an_unsolved_notebook_runs_to_its_end_from_any_folder(tmp_path):
    outputs, text = executed(STUDENTS, tmp_path)
    assert text.count("not finished") == 5
    assert not [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.slow
def test_the_solved_notebook_runs_to_its_end_from_any_folder(tmp_path):
    outputs, text = executed(SOLUTIONS, tmp_path)
    assert text.count(": right.") == 6 and "not yet" not in text
    assert (tmp_path / "week3_searcher.py").is_file()
    images = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(images) == 1 and images[0]["metadata"]["image/png"]["alt"]
