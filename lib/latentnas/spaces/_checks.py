"""How spaces, and tables of their architectures, read and refuse what they are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from latentnas.graphs import DagBatch

if TYPE_CHECKING:
    from latentnas.interfaces import Space

Read = TypeVar("Read")


def whole_numbers(values: ArrayLike, what: str, limit: int) -> np.ndarray:
    """Array-like whole numbers from 0 below `limit` as int64, in their shape.

    Raises:
        ValueError: one of another type or outside; the sentence begins with `what`.
    """
    values = np.asarray(values)
    if values.size and values.dtype.kind not in "iu":
        raise ValueError(f"{what} is a whole number from 0 to {limit - 1}, but these are of type {values.dtype}.")
    outside = values[(values < 0) | (values >= limit)]
    if outside.size:
        raise ValueError(f"{what} is a whole number from 0 to {limit - 1}, not {outside[0]}.")
    return values.astype(np.int64)


def whole_choices(choices: ArrayLike, limits: Sequence[int], space: str) -> np.ndarray:
    """Array-like choices as int64 `[B, P]`, choice p from 0 below `limits[p]`.

    Raises:
        ValueError: they are others, or of another shape.
    """
    choices = whole_numbers(choices, f"A choice of {space}", max(limits))
    if choices.size == 0:
        return choices.reshape(0, len(limits))
    if choices.ndim != 2 or choices.shape[1] != len(limits):
        raise ValueError(
            f"Architectures of {space} are made from choices of shape [B, {len(limits)}], but these have shape "
            f"{list(choices.shape)}."
        )
    for row, place in np.argwhere(choices >= limits)[:1]:
        whole_numbers(choices[row, place], f"Choice {place} of {space} (counting from 0)", limits[place])
    return choices


def read_texts(texts: list[str], read: Callable[[str], Read]) -> list[Read]:
    """What `read` makes of each text.

    Raises:
        ValueError: that of `read`, with the place in the list.
        TypeError: this is one text.
    """
    if isinstance(texts, str):
        raise TypeError("to_batch takes a list of architectures, not one text: write [text].")
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(read(text))
        except ValueError as error:
            raise ValueError(f"Text {index + 1} of {len(texts)}: {error}") from None
    return found


def require_contained(space: Space, batch: DagBatch, explain: Callable[[DagBatch], str] | None = None) -> None:
    """Check that all graphs are architectures of a space.

    Args:
        explain: what is wrong with the one graph of a batch, in a few words; its vertex types without.

    Raises:
        ValueError: some are not; it names the first.
    """
    foreign = (~space.contains(batch)).nonzero().flatten().tolist()
    if foreign:
        first = batch[foreign[:1]]
        problem = explain(first) if explain else f"its vertex types are {first.types[0].tolist()}"
        raise ValueError(
            f"{len(foreign)} of {len(batch)} graphs are not architectures of the space {space.name}, the first at "
            f"index {foreign[0]}: {problem}. Keep only those that {space.name.upper()}.contains(batch) accepts."
        )


def shorten(text: object, length: int = 120) -> str:
    """The text in quotes, cut to what fits in an error."""
    quoted = repr(text)
    return quoted if len(quoted) <= length else quoted[: length - 3] + "..."
