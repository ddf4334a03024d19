"""What the settings of models, trainings and searches may be. The dataclasses that hold them check themselves so."""

import dataclasses
import sys
from numbers import Integral, Real
from typing import Any

import numpy as np


def check_settings(
    config: Any,
    choices: dict[str, tuple[str, ...]] | None = None,
    least: dict[str, int] | None = None,
    above_zero: tuple[str, ...] = (),
    shares: tuple[str, ...] = (),
) -> None:
    """Check the fields of a dataclass by their types, and turn NumPy's numbers into Python's, which JSON can write.

    Raises ValueError unless an `int` is a whole number of at least 1, or its `least`; a `float` finite and at least 0,
    above 0 if named in `above_zero`, at most 1 if in `shares`; a `bool` True or False; and a field with `choices` one
    of them. The fields that a subclass outside of this library adds are not checked: it may give them any meaning.
    """
    for name, allowed in (choices or {}).items():
        one_of(name, getattr(config, name), allowed)
    ours = next((kind for kind in type(config).__mro__ if kind.__module__.startswith("latentnas.")), type(config))
    checked = {field.name for field in dataclasses.fields(ours)}
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if isinstance(value, np.generic):
            value = value.item()
        kind = getattr(field.type, "__name__", str(field.type)) if name in checked else ""  # the type may be a text
        if value is not None:
            kind = kind.removesuffix(" | None")
        if kind == "int":
            value = whole(name, value, (least or {}).get(name, 1))
        elif kind == "float":
            value = number(name, value, name in above_zero, name in shares)
        elif kind == "bool" and not isinstance(value, bool):
            raise ValueError(f"{name}={value!r} must be True or False.")
        object.__setattr__(config, name, value)


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless the value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(allowed)}.")


def whole(name: str, value: Any, least: int = 1) -> int:
    """The value as Python's whole number. Raises ValueError unless it is one, and at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number, at least {least}.")
    return int(value)


def number(name: str, value: Any, above_zero: bool = False, share: bool = False) -> float:
    """The value as Python's number, whole if it is. Raises ValueError unless it is finite and at least 0, above 0 with
    `above_zero`, or at most 1 for a `share`."""
    most = 1 if share else sys.float_info.max
    right = isinstance(value, Real) and not isinstance(value, bool) and 0 <= value <= most
    if not right or (above_zero and float(value) == 0):
        limits = "above 0" if above_zero else "from 0 to 1" if share else "at least 0"
        raise ValueError(f"{name}={value!r} must be a finite number, {limits}.")
    return value if isinstance(value, int) else float(value)
