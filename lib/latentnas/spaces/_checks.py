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


def whole_numbers(values: ArrayLike, what: str, limit: int | Sequence[int]) -> np.ndarray:
    """Array-like whole numbers from 0 below `limit` (one, or one for each column) as int64, in their shape.

    Raises:
        ValueError: one of another type or outside; the sentence begins with `what`.
    """
    values = np.asarray(values)
    if values.size and values.dtype.kind not in "iu":
        raise ValueError(
            f"{what} is a whole number from 0 to {np.max(limit) - 1}, but these are of type {values.dtype}."
        )
    limits = np.broadcast_to(limit, values.shape)
    outside = (values < 0) | (values >= limits)
    if outside.any():
        raise ValueError(f"{what} is a whole number from 0 to {limits[outside][0] - 1}, not {values[outside][0]}.")
    return values.astype(np.int64)


def whole_choices(choices: ArrayLike, limits: Sequence[int], space: str) -> np.ndarray:
    """Array-like choices as int64 `[B, P]`, choice p from 0 below `limits[p]`.

    Raises:
        ValueError: they are others, or of another shape.
    """
    choices = np.asarray(choices)
    if choices.size and choices.shape[1:] != (len(limits),):
        raise ValueError(
            f"Architectures of {space} are made from choices of shape [B, {len(limits)}], but these have shape "
            f"{list(choices.shape)}."
        )
    return whole_numbers(choices.reshape(-1, len(limits)), f"A choice of {space}", limits)


def one_change(choices: np.ndarray, limits: Sequence[int]) -> np.ndarray:
    """All choices that differ from the given ones `[B, P]` in one place, int64 `[B, K, P]`: place by place, at each the
    other values in ascending order."""
    places = np.repeat(np.arange(len(limits)), np.array(limits) - 1)  # [K]
    others = np.concatenate([np.arange(limit - 1) for limit in limits])
    changed = np.repeat(choices[:, None], len(places), axis=1)
    changed[:, np.arange(len(places)), places] = others + (others >= choices[:, places])
    return changed


def read_texts(texts: list[str], read: Callable[[str], Read], what: str, expected: str) -> list[Read]:
    """What `read` makes of each text; its ValueError says what is wrong, in a few words.

    Raises:
        ValueError: a text is not `what`; it names the text, what is wrong with it and what was expected.
        TypeError: this is one text.
    """
    if isinstance(texts, str):
        raise TypeError(f"to_batch takes a list of texts, each {what}, not one text: write [text].")
    found = []
    for index, text in enumerate(texts):
        try:
            if not isinstance(text, str):
                raise ValueError("there is no text")
            found.append(read(text))
        except ValueError as error:
            raise text_error(texts, index, what, str(error), expected) from None
    return found


def text_error(texts: list[str], index: int, what: str, problem: str, expected: str = "") -> ValueError:
    quoted = repr(texts[index])
    quoted = quoted if len(quoted) <= 120 else quoted[:117] + "..."
    return ValueError(f"Text {index + 1} of {len(texts)}: Not {what}: {problem} in {quoted}. {expected}".strip())


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
