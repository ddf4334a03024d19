"""What the spaces of this folder share: how they read and refuse what they are given."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from latentnas.graphs import NO_VERTEX, DagBatch

INPUT, OUTPUT, FIRST_OPERATION = range(3)  # types; type 2 is operation 0


class OperationSpace:
    """A space whose graphs are an input (the first vertex), operations, and an output (the last vertex).

    Raises:
        TypeError: by `to_batch` for one text instead of a list.
        ValueError: by `to_batch` for a text that is no architecture, naming its place in the list and what is wrong;
            by all methods that do not say otherwise for graphs that are not in the space.
    """

    name: str
    num_types: int
    type_names: tuple[str, ...]
    input_type, output_type = INPUT, OUTPUT
    architecture: str  # what it is called, with its article
    sizes: str  # of its graphs, in words
    expected: str  # of a text, a sentence that begins so

    def to_batch(self, texts: list[str]) -> DagBatch:
        if isinstance(texts, str):
            raise TypeError(f"to_batch takes a list of texts, each {self.architecture}, not one text: write [text].")
        read, wrong = [], f" of {len(texts)}: Not {self.architecture}: "
        for number, text in enumerate(texts, start=1):
            try:
                if not isinstance(text, str):
                    raise ValueError("there is no text")
                read.append(self._read(text))
            except ValueError as error:
                raise ValueError(f"Text {number}{wrong}{error} in {shorten(text)}. {self.expected}") from None
        batch = self._graphs(read)
        for index in (~self.contains(batch)).nonzero().flatten().tolist()[:1]:
            raise ValueError(f"Text {index + 1}{wrong}{self._problem(batch[[index]])}")
        return batch

    def is_valid(self, batch: DagBatch) -> Tensor:
        whole = (batch.num_vertices >= 2) & (batch.num_vertices <= batch.max_vertices)
        return whole & ~torch.stack(list(self._faults(batch).values())).any(0).any(1)

    def _read(self, text: str) -> Any:
        """What a text says, for `_graphs`. Raises ValueError with what is wrong, in a few words."""
        raise NotImplementedError

    def _graphs(self, read: list) -> DagBatch:
        return self.from_choices(read)

    def _faults(self, batch: DagBatch) -> dict[str, Tensor]:
        """What may be wrong with a vertex, and with which ones it is, bool `[B, N]`."""
        types, adjacency, present = batch.types, batch.adjacency, batch.present
        position = torch.arange(batch.max_vertices, device=types.device)
        first, last = (position == 0) & present, position == batch.num_vertices[:, None] - 1
        operation = (types >= FIRST_OPERATION) & (types < self.num_types)
        outside = (adjacency.any(1) | adjacency.any(2)) & ~present
        return {
            "is not the input": first & (types != INPUT),
            "is not the output": last & (types != OUTPUT),
            "is no operation": present & ~first & ~last & ~operation,
            "has an edge that does not lead to a later vertex": adjacency.tril().any(2) | outside,
            "stands past the end of its graph": ~present & (types != NO_VERTEX),
        }

    def _problem(self, graph: DagBatch) -> str:
        """What is wrong with the one graph of a batch, in a few words."""
        for problem, vertices in self._faults(graph).items():
            for vertex in vertices[0].nonzero().flatten().tolist()[:1]:
                kind = int(graph.types[0, vertex])
                name = self.type_names[kind] if 0 <= kind < self.num_types else f"of type {kind}"
                return f"vertex {vertex} (counting from 0; {name}) {problem}"
        count, edges = int(graph.num_vertices), int(graph.adjacency.sum())
        return f"it has {count} vertices and {edges} edges instead of {self.sizes}"

    def _require(self, batch: DagBatch, rule: str = "contains") -> None:
        """Raise ValueError unless all graphs keep a rule, `contains` or `is_valid`."""
        foreign = (~getattr(self, rule)(batch)).nonzero().flatten().tolist()
        if foreign:
            found = f"{len(foreign)} of {len(batch)} graphs are not architectures of the space {self.name}"
            first = f"the first at index {foreign[0]}: {self._problem(batch[foreign[:1]])}"
            raise ValueError(f"{found}, {first}. Keep only those that {self.name.upper()}.{rule}(batch) accepts.")


def shorten(value: object) -> str:
    """A value as errors quote it, at most 100 characters."""
    quoted = repr(value)
    return quoted if len(quoted) <= 100 else quoted[:97] + "..."


def whole_numbers(values: ArrayLike, what: str, limit: int | Sequence[int]) -> np.ndarray:
    """Array-like whole numbers from 0 below `limit` (one, or one for each column) as int64, in their shape; ValueError
    for others, a sentence that begins with `what`."""
    values = np.asarray(values)
    if values.size and values.dtype.kind not in "iu":
        below = f"from 0 to {np.max(limit) - 1}"
        raise ValueError(f"{what} is a whole number {below}, but these are of type {values.dtype}.")
    limits = np.broadcast_to(limit, values.shape)
    outside = (values < 0) | (values >= limits)
    if outside.any():
        raise ValueError(f"{what} is a whole number from 0 to {limits[outside][0] - 1}, not {values[outside][0]}.")
    return values.astype(np.int64)


def whole_choices(choices: ArrayLike, limits: Sequence[int], space: str) -> np.ndarray:
    """Array-like choices as int64 `[B, P]`, choice p from 0 below `limits[p]`; ValueError for others."""
    choices = np.asarray(choices)
    if choices.size and choices.shape[1:] != (len(limits),):
        raise ValueError(f"Choices of {space} have shape [B, {len(limits)}], but these have shape {[*choices.shape]}.")
    return whole_numbers(choices.reshape(-1, len(limits)), f"A choice of {space}", limits)


def one_change(choices: np.ndarray, limits: Sequence[int]) -> np.ndarray:
    """All choices that differ from the given ones `[B, P]` in one place, int64 `[B, K, P]`: place by place, at each the
    other values in ascending order."""
    places = np.repeat(np.arange(len(limits)), np.array(limits) - 1)  # [K]
    others = np.concatenate([np.arange(limit - 1) for limit in limits])
    changed = np.repeat(choices[:, None], len(places), axis=1)
    changed[:, np.arange(len(places)), places] = others + (others >= choices[:, places])
    return changed


def read_json(text: str) -> Any:
    """What a text in JSON says. Raises ValueError with the reason why it says nothing, in a few words."""

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key is there twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:  # also more digits than Python converts
        raise ValueError(f"the JSON cannot be read ({error})") from None


def require_rows(rows: object, limits: list[list[int]], where: str = "") -> None:
    """Check that JSON is lists of whole numbers: number p of row r from 0 below `limits[r][p]`. Raises ValueError."""
    if not isinstance(rows, list) or len(rows) != len(limits):
        count = len(rows) if isinstance(rows, list) else "no"
        raise ValueError(f"{where}there are {count} rows instead of {len(limits)}")
    for r, (row, row_limits) in enumerate(zip(rows, limits, strict=True), 1):
        if not isinstance(row, list) or len(row) != len(row_limits):
            raise ValueError(f"{where}row {r} is {shorten(row)} instead of a list of length {len(row_limits)}")
        for p, (number, limit) in enumerate(zip(row, row_limits, strict=True), 1):
            if type(number) is not int or not 0 <= number < limit:  # bool is a subclass of int
                wanted = f"a whole number from 0 to {limit - 1}"
                raise ValueError(f"{where}row {r}, position {p}, is {shorten(number)} instead of {wanted}")


def from_operations(operations: Tensor, adjacency: Tensor) -> DagBatch:
    """Graphs `[B, K + 2]` of an input, K operations `[B, K]` numbered from 0, and an output."""
    types = F.pad(operations + FIRST_OPERATION, (1, 1), value=INPUT)
    types[:, -1] = OUTPUT
    return DagBatch(types, adjacency, torch.full((len(types),), types.shape[1]))
