"""Checks of week 3, a searcher: `check("2a", first_query)` says in words what is wrong, as the lab's checks do.

A hidden test takes another secret and more runs, as in `check("3b", FILE, secret="...", runs=40)`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import lab_checks
import leaderboard
import numpy as np
from lab_checks import Wrong, checks_in, ended_after, kind, number, result_of, three_numbers

from latentnas import interfaces, stats

LIMIT = 40  # queries by which half of the runs of exercise 3b should have met one of the best 1 %
ENOUGH = 100  # queries of a run there
board = cache(leaderboard.digits)


def no_nan(value: float, name: str) -> float:
    if math.isnan(value):
        cause = "Does it come from runs that never came there? Keep these as `math.inf`; a median takes that"
        raise Wrong(f"{name} is NaN. {cause}.")
    return value


def check_1(answer: Callable) -> None:
    cases = (10, 2, 3), (10, 3, 2), (6466, 65, 69), (5, 5, 1), (100, 2, 30), (3, 1, 2), (4, 1, 2)
    name = "the number of queries"
    every = [no_nan(number(result_of(answer, size, good), name), name) for size, good, _ in cases]
    if every == [right + 1 for *_, right in cases]:
        raise Wrong(
            "your number is one too large in each case. Is the first query number 1, and is the last one counted?"
        )
    for (size, good, right), found in zip(cases, every):
        case = f"of {size:,} architectures {good} are good"
        if found == right:
            continue
        if found == size / good or found == (size + 1) / (good + 1):
            raise Wrong(f"where {case}, you return a mean. By which query have half of the runs met a good one?")
        if found == right - 1:
            raise Wrong(f"where {case}, fewer than half of the runs have met one by your query. Is it one too early?")
        if (size, good, found) == (4, 1, right + 1):  # of those by the query before, exactly half have met it
            raise Wrong(
                f"where {case}, you want more than half of the runs. By the query before yours exactly half have met"
                " one. Read the sentence of the exercise again, and mind that a computed half may be rounded."
            )
        with_replacement = math.log(0.5) / math.log(1 - good / size) if good < size else 1
        if size < 101 and found == math.ceil(with_replacement):
            raise Wrong(f"where {case}, your number is right for draws with replacement. Random search draws without.")
        raise Wrong(f"where {case}, your number is too {'small' if found < right else 'large'}.")


def check_2a(answer: Callable) -> None:
    rows, missed = np.array([4, 9, 0, 9, 7]), "a run that never asks for a goal has needed more queries than any other"
    for goal, right in (([7, 0], 3), ([4], 1), ([7, 0, 9], 2), ([5], math.inf), ([7], 5)):
        goal = np.array(goal)
        found = result_of(answer, rows, goal, or_none=True)
        found = None if found is None else no_nan(number(found, "the query"), "the query")
        if found is None or (math.isinf(right) and found != right):
            raise Wrong(f"{missed}. Return `math.inf` there: neither None nor the budget nor another number.")
        if found == right:
            continue
        if (right, found) == (5, 4):
            raise Wrong(f"with the rows {rows.tolist()} and the goal [7] it is another query. One row was asked twice.")
        if found == right - 1:
            raise Wrong("your number is one too small. The first query has the number 1.")
        words = "Is yours the first of the goals in the order of `goal`, or the last one found"
        raise Wrong(f"with the rows {rows.tolist()} and the goal {goal.tolist()} it is another query. {words}?")


def check_2b(answer: Callable) -> None:
    require_median(answer, np.array([40.0, 12, math.inf, 55, math.inf, 31, 18, math.inf, 70, 25, 64, 90]))
    require_median(answer, np.array([3.0, 21, 8, 34, 5, 13, math.inf, 55, 2, 89, 1]))  # other ranks, and a finite end


def require_median(answer: Callable, needed: np.ndarray) -> None:
    found = result_of(answer, needed)
    names = "median", "low", "high"
    found = [no_nan(value, name) for value, name in zip(three_numbers(found, *names), names)]
    right = stats.estimate(needed, "median")[:3]
    if np.array_equal(found, right):
        return
    known, capped = needed[np.isfinite(needed)], np.minimum(needed, 300)
    if found[0] == np.median(known):
        raise Wrong(
            "you left out the runs that never came there. These are the slow ones, so without them the median is too"
            " small. Keep them as infinity: a median looks at the order alone."
        )
    if found[0] in (known.mean(), capped.mean(), math.inf):
        raise Wrong("this is a mean. With runs that never came there, a mean is infinite or made up; take the median.")
    if found[0] != right[0]:
        raise Wrong("the median is another one. Sort the numbers, infinite ones last, and look at the middle.")
    if found[1:] == [known.min(), known.max()] or found[1:] == [needed.min(), needed.max()]:
        raise Wrong("the median is right. Your interval goes from the fastest run to the slowest: that is the range.")
    if found[2] == 300:
        raise Wrong("the median is right. A run that never came there has not needed 300 queries, but more.")
    if np.allclose(found[1:], np.quantile(needed, [0.25, 0.75])):
        raise Wrong("the median is right. Your ends are quantiles of the runs, not of what the median could be.")
    if np.allclose(found[1:], stats.mean_interval(capped)) or np.allclose(found[1:], stats.mean_interval(known)):
        raise Wrong("the median is right. The interval is Student's, of a mean; a median has order statistics.")
    raise Wrong("the median is right, its interval is not. `stats.estimate` makes one for a median.")


def source_of(file: str | Path) -> tuple[str, str]:
    """The name and the text of a submission; raises Wrong where there is none."""
    if not isinstance(file, str | Path):
        raise Wrong(f"hand over the name of your file, a text; what came is {kind(file)}.")
    if Path(file).is_dir():  # so is "", the folder where this runs
        raise Wrong(f"{str(file)!r} names a folder. Hand over the name of your file, such as week3_searcher.py.")
    [(name, (text, wrong))] = leaderboard.submissions([file]).items()
    if wrong:
        raise Wrong(f"the file {file} {wrong}. Run the cell that writes it first.")
    return name, text


def check_3a(file: str | Path) -> None:
    source = source_of(file)
    run = leaderboard.play(replace(board(), budget=30), source, None, 0, leaderboard.SECONDS)
    if run.wrong or run.ended:
        raise Wrong(f"your searcher {run.wrong or run.ended}.")
    make = leaderboard._searcher_class(*source)
    if getattr(getattr(make, "ask", None), "__module__", "").startswith("latentnas."):
        raise Wrong(
            "your class asks as a searcher of the library does, which is not yours. Write an `ask` of your own."
        )
    try:
        with ended_after(leaderboard.SECONDS):
            interfaces.check_searcher(make, leaderboard.domain_of(board().parts), queries=60)
    except interfaces.InterfaceError as error:
        raise Wrong(str(error)) from None
    except KeyboardInterrupt:
        raise Wrong("your searcher was stopped before its end. Is there a loop that never ends?") from None


def check_3b(file: str | Path, secret: str = "a secret of week 3", runs: int = 15) -> None:
    source, small = source_of(file), replace(board(), budget=ENOUGH)
    needed = []
    for place in range(runs):
        run = leaderboard.play(small, source, secret, place, leaderboard.SECONDS)
        if run.wrong:
            raise Wrong(f"your searcher {run.wrong}.")
        needed.append(run.good)
    middle = float(np.median(needed))
    if middle > LIMIT:
        words = f"more than {ENOUGH}" if math.isinf(middle) else f"{middle:g}"
        told = f"in {runs} runs whose cells have other names, the median to one of the best 1 % is {words} queries"
        raise Wrong(f"{told}, but should be at most {LIMIT}. What do the values say that you were told?")


CHECKS = checks_in(globals())
check = partial(lab_checks.check, checks=CHECKS)
