"""What the settings of models and searches may be; the dataclasses that hold them check themselves with it."""

import math
from numbers import Integral, Real
from typing import Any, get_type_hints

import numpy as np


def check_settings(
    config: Any,
    choices: dict[str, tuple[str, ...]] | None = None,
    least: dict[str, int] | None = None,
    above_zero: tuple[str, ...] = (),
    shares: tuple[str, ...] = (),
) -> None:
    """Check the fields of a dataclass by their types and make NumPy's numbers Python's, the only ones that JSON knows.

    Raises ValueError for a field that is none of its `choices`; of type `int` and no whole number from 1 on, or from
    `least`; `float` and no finite number from 0 on, `above_zero`, or at most 1, of `shares`; `bool` and neither of two.
    """
    require(config, choices or {})
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if isinstance(value, np.generic):
            value = value.item()
        if kind is int:
            value = whole(name, value, (least or {}).get(name, 1))
        elif kind is float:
            right = isinstance(value, Real) and not isinstance(value, bool) and 0 <= value < math.inf
            if not right or (name in above_zero and value == 0) or (name in shares and value > 1):
                above, share = "above 0" * (name in above_zero), "from 0 to 1" * (name in shares)
                raise ValueError(f"{name}={value!r} must be a finite number, {above or share or 'at least 0'}.")
        elif kind is bool and not isinstance(value, bool):
            raise ValueError(f"{name}={value!r} must be True or False.")
        object.__setattr__(config, name, value)


def require(config: Any, choices: dict[str, tuple[str, ...]]) -> None:
    """Raises ValueError for a member that is none of its choices."""
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise ValueError(f"{name}={getattr(config, name)!r} is unknown; choose one of {', '.join(allowed)}.")


def whole(name: str, value: Any, least: int = 1) -> int:
    """The value as Python's whole number. Raises ValueError for another than one of at least that size."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number, at least {least}.")
    return int(value)
