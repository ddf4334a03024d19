"""The verdicts of a family of comparisons, in words: 06, 07, 07b, 07c and 08 have one rule."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from companion.claims import Claim, Results

SAME = "the same in all runs"


def by_holm(results: "Results", gaps: Mapping[str, pd.Series], unit: str, **goal: object) -> pd.DataFrame:
    """The claims of one family, by Holm's rule: {id: differences of runs, paired by seed}, which are to be above 0
    unless `goal` says otherwise. One row for each: difference, low, high (the interval that decides), runs, verdict."""
    goal = {"target": 0.0, "over": "searches"} | goal

    def claim(id: str, family: int) -> object:
        return results.estimate(id, gaps[id], unit, seeds=gaps[id].index, family=family, **goal)

    results.holm({id: partial(claim, id) for id in gaps})
    made = [results.claims[id] for id in gaps]
    rows = [(claim.ours, claim.low, claim.high, len(claim.seeds), verdict_of(claim, len(gaps))) for claim in made]
    table = pd.DataFrame(rows, columns=["difference", "low", "high", "runs", "verdict"])
    return table.astype(dict.fromkeys(["difference", "low", "high"], float))


def verdict_of(claim: "Claim", family: int) -> str:
    """The verdict on a difference in words. One that is alike in all runs has no interval: it is the same in all where
    it is 0, and else decided where a sign test, corrected for the family, would decide it."""
    equal, words = claim.better == "equal", {"met": "ahead", "short": "behind"}
    if equal:
        words = {"met": "equivalent", "short": "better" if (claim.ours or 0) < 0 else "worse"}
    if claim.verdict == "undecided" and claim.low is None and claim.high is None:
        decided = family * 2.0 ** (1 - len(claim.seeds)) <= 0.05
        if equal:
            return words["met" if abs(claim.ours) <= claim.margin else "short"] if decided else claim.verdict
        if abs(claim.ours) < 1e-9:
            return SAME
        return words["met" if claim.ours > 0 else "short"] if decided else claim.verdict
    return words.get(claim.verdict, claim.verdict)
