"""What the findings of 07, 07b and 07c are told with: their head, and differences with their verdicts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from companion.figures.verdicts import SAME
from companion.figures.words import listed

if TYPE_CHECKING:
    from companion.claims import Results

AGAINST = {"behind": "behind", "ahead": "ahead of", SAME: "level in all runs with"}
ONCE = "seen once"
FEW = 5  # runs; of fewer an interval is wider than anything that can happen
RIVALS = {
    "most parameters": "*most parameters*",
    "plain features, boosting": "boosting on plain features",
    "path-feature ensemble": "the path-feature ensemble",
    "regularised evolution": "evolution",
    "CR-LSO as released": "the released version",
}


def told(
    results: "Results", runs: int, sizes: str, figures: Sequence[str], verdicts: str, said: Iterable[str | None]
) -> str:
    """The findings under a line that names sizes, figures and what the verdicts mean; without those that are empty."""
    shown = "s" * (len(figures) > 1) + f" `{results.notebook}_" + "`, `_".join(figures)
    head = f"**This run found** (profile `{results.profile}`; {sizes}; figure{shown}`)."
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


def leads(gaps: Iterable[float], unit: str) -> str:
    """ "leads from -0.15 to +0.58 points": the ends of differences."""
    ends = sorted(pd.Series(gaps).dropna().round(2) + 0.0)  # no -0
    words = dict.fromkeys(f"{gap:+.0f}" if abs(gap) >= 10 else f"{gap:+.2g}" for gap in (ends[0], ends[-1]))
    return f"{'leads from' if len(words) > 1 else 'lead'} {' to '.join(words)} {unit}"


def against(
    rivals: Iterable[str], verdicts: Iterable[str], sets: Iterable[str], gaps: Iterable[float], unit: str = "points"
) -> str:
    """ "behind a, and ahead of b on x. Nothing is shown in the other 2 comparisons (lead -0.1 points)": whom a search
    is behind and ahead of, with the data sets where a verdict is not that on all. Of the rest come the ends of the
    differences."""
    rows = pd.DataFrame(zip(rivals, verdicts, sets, gaps), columns=["rival", "verdict", "set", "gap"])
    said = []
    for verdict, side in AGAINST.items():
        names: dict[str, list[str]] = {}
        for rival, part in rows[rows["verdict"] == verdict].groupby("rival", sort=False):
            where = "" if len(part) == (rows["rival"] == rival).sum() else f" on {listed(part['set'])}"
            names.setdefault(where, []).append(RIVALS.get(rival, rival))
        said += [f"{side} {listed(rivals)}{where}" for where, rivals in sorted(names.items())]
    decided = ", and ".join(said)
    rest = rows[~rows["verdict"].isin(AGAINST)]
    if rest.empty:
        return decided
    ends = f"({leads(rest['gap'], unit)})"
    if not said:
        return f"not shown to be behind or ahead of any search compared {ends}"
    [one, *more] = rest["rival"].unique()
    place = "" if len(rest) == (rows["rival"] == one).sum() else f" on {listed(rest['set'])}"
    alone = f"against {RIVALS.get(one, one)}{place}"
    return f"{decided}. Nothing is shown {f'in the other {len(rest)} comparisons' if more else alone} {ends}"
