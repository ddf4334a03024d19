"""Words that findings of several notebooks are made with."""

from collections.abc import Iterable


def listed(names: Iterable[str]) -> str:
    """ "a, b and c"; nothing for none."""
    *others, last = [*names] or [""]
    return f"{', '.join(others)} and {last}" if others else last
