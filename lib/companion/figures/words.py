"""Words that findings of several notebooks are made with."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def listed(names: Iterable[str]) -> str:
    """ "a, b and c"; nothing for none."""
    *others, last = [*names] or [""]
    return f"{', '.join(others)} and {last}" if others else last


def in_words(names: Iterable[str]) -> str:
    """Names of rows as a list: "a, b and untrained c"; nothing for none."""
    return listed(f"untrained {name[:-11]}" if name.endswith(", untrained") else name for name in names)


def span(values: "pd.Series[float]", digits: int = 0) -> str:
    """ "14 to 49"; one number where they are equal."""
    return " to ".join(dict.fromkeys(f"{end:.{digits}f}" for end in (values.min(), values.max())))
