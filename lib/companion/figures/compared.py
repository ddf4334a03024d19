"""What the findings of 07 and 07b are told with: their head, and a difference with its verdict."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from companion.figures.verdicts import SAME

if TYPE_CHECKING:
    from companion.claims import Results

ONCE = "seen once"
FEW = 5  # runs; of fewer an interval is wider than anything that can happen


def told(
    results: "Results", runs: int, sizes: str, figures: Sequence[str], verdicts: str, said: Iterable[str | None]
) -> str:
    """The findings under a line that names sizes, figures and what the verdicts mean; without those that are empty."""
    shown = "`, `_".join(figures)
    head = f"**This run found** (profile `{results.profile}`; {sizes}; figures `{results.notebook}_{shown}`)."
    few = " So few runs hardly ever decide anything." * (runs < FEW)
    return "\n".join([f"{head} {verdicts}{few}\n", *(f"* {line}" for line in said if line)])


def judged(row: Mapping, form: str, most: float = np.inf) -> str:
    """ "+0.02 (-0.01 to +0.05, undecided)"; without the interval where there is none, or one of few runs. No end of it
    lies beyond `most`, which no run can exceed."""
    if row["verdict"] == SAME:
        return SAME
    low, high = (min(max(row[end], -most), most) for end in ("low", "high"))
    alike = "in every run, " if np.isnan(row["low"]) and row["verdict"] in ("ahead", "behind") else ""
    ends = "" if np.isnan(row["low"]) or row["runs"] < FEW else f"{low:{form}} to {high:{form}}, "
    return f"{row['difference']:{form}} ({alike}{ends}{row['verdict']})"
