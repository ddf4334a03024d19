"""Checkpoints: weights, optimisers and history of a training in one safetensors file, and what it belongs to.

    description = {"model": "NGAE", "config": {"hidden": 501}, "code": version_of(NGAE)}
    history = resume(path, description, {"model": model, "adamw": optimizer})
    save(path, description, {"model": model, "adamw": optimizer}, [*history, {"epoch": 1, "total": 0.5}])

A file is renamed into place when it is whole, so a process that is killed leaves the old one. Its metadata hold a hash
of everything in it, so that damage of any kind is noticed.
"""

import contextlib
import fcntl
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from latentnas.paths import atomic_write, put_aside

Description, Parts = Mapping[str, Any], Mapping[str, nn.Module | Optimizer]


class CheckpointError(ValueError):
    """A file cannot be read, or is of another training or another version of the code."""


class DamagedError(CheckpointError):
    """A file is lost, or does not hold what was written to it."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        words = "It is missing, damaged or not of this library. Delete it to train anew."
        super().__init__(f"The checkpoint {path} cannot be read ({reason}). {words}")


def save(path: Path, description: Description, parts: Parts, history: Sequence[dict] = ()) -> None:
    """Write all that a training needs to go on.

    Args:
        description: all that decides the result, of JSON's types; `code`, if there is one, is the version of the code.
        parts: modules and optimisers by names without a full stop.
        history: one dictionary an epoch, of JSON's types.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in _tensors(parts).items()}
    metadata = {"description": json.dumps(description, sort_keys=True), "history": json.dumps(list(history))}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata | {"sha256": _hash(tensors, metadata)})


def load(path: Path, description: Description, parts: Parts) -> list[dict]:
    """Put what `save` wrote into modules and optimisers, in place, and return the history. Raises CheckpointError for a
    file that is missing, damaged or of another description; nothing has been changed then."""
    tensors, history = _read(path, description)
    modules = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    for name, value in _tensors(modules).items():
        if name not in tensors or tensors[name].shape != value.shape:
            found = f"lacks {name} of shape {list(value.shape)}, though it is described like this training"
            raise CheckpointError(f"The checkpoint {path} {found}. Delete it to train anew.")
    for name, part in parts.items():
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        if name in modules:
            part.load_state_dict(own, strict=False)  # without the second names of what is shared
            continue
        states: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for key, value in own.items():
            index, _, field = key.partition(".")
            states[int(index)][field] = value
        part.load_state_dict(part.state_dict() | {"state": dict(states)})
    return history


def resume(
    path: Path,
    description: Description,
    parts: Parts,
    others: Callable[[list[dict]], Mapping[Path, Description]] = lambda history: {},
) -> list[dict]:
    """As `load`; an empty history where there is no file, or where one is damaged: it is renamed, with a line on
    stderr, so that the training begins anew. `others`: files that were written before such a history, as `path` was.
    """
    if not path.exists():
        return []
    try:
        for file, described in others(_read(path, description)[1]).items():
            _read(file, described)
        return load(path, description, parts)
    except DamagedError as error:
        aside = f"set aside as {put_aside(error.path)}; " if error.path.exists() else ""
        print(f"{error.path} is damaged ({error.reason}): {aside}training anew", file=sys.stderr)
        return []


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Work on a checkpoint while no other process does: a second one waits, and then finds what the first has made."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # in a folder that cannot be written nothing is trained
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(path.with_name(f"{path.name}.lock"), "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(path: Path, description: Description) -> tuple[dict[str, Tensor], list[dict]]:
    """The tensors and the history in a file of that description."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
        found, history = json.loads(metadata["description"]), json.loads(metadata["history"])
        if metadata.pop("sha256") != _hash(tensors, metadata):
            raise ValueError("its content is not what was written")
    except (FileNotFoundError, SafetensorError, KeyError, ValueError) as error:
        raise DamagedError(path, f"{type(error).__name__}: {error}") from None
    except OSError as error:  # such as a lack of permission: the content may be whole
        why = "it is a folder: move it away" if path.is_dir() else error
        raise CheckpointError(f"The checkpoint {path} cannot be read ({why}).") from None
    both = pd.json_normalize([found]), pd.json_normalize([json.loads(json.dumps(description))])
    found, expected = (flat.to_dict("records")[0] for flat in both)  # with keys such as `config.hidden`
    differ = [key for key in sorted(found.keys() | expected.keys()) if found.get(key) != expected.get(key)]
    if differ:
        values = "; ".join(f"{key} is {found.get(key)!r} there and {expected.get(key)!r} here" for key in differ)
        made = "was made by other code" if differ == ["code"] else "belongs to another training"
        remedy = "Delete it to train anew, or go back to the code or the configuration that made it."
        raise CheckpointError(f"The checkpoint {path} {made}: {values}. {remedy}")
    return tensors, history


def _hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    return hashlib.sha256(serialized(dict(tensors)) + json.dumps(metadata, sort_keys=True).encode()).hexdigest()


def _tensors(parts: Parts) -> dict[str, Tensor]:
    """States of optimisers, parameters and persistent buffers; what two submodules share under its first name only."""
    tensors = {}
    for name, part in parts.items():
        if isinstance(part, Optimizer):
            states = part.state_dict()["state"].items()
            own = {f"{index}.{key}": value for index, state in states for key, value in state.items()}
        else:
            first = {key for key, _ in part.named_parameters()} | {key for key, _ in part.named_buffers()}
            own = {key: value for key, value in part.state_dict().items() if key in first}
        tensors |= {f"{name}.{key}": value for key, value in own.items() if value is not None}
    return tensors
