"""Checkpoints: weights, optimisers and history of a training in one safetensors file, and what it belongs to.

    description = {"model": "NGAE", "config": {"hidden": 501}, "code": version_of(NGAE)}
    history = resume(path, description, {"model": model}, {"adamw": optimizer})
    save(path, description, {"model": model}, {"adamw": optimizer}, [*history, {"epoch": 1, "total": 0.5}])

A file is renamed into place when it is whole, so a process that is killed leaves the old one. Its metadata hold a hash
of everything in it, so that damage of any kind is noticed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from latentnas.paths import atomic_write

Modules, Optimizers = Mapping[str, nn.Module], Mapping[str, Optimizer]


class CheckpointError(ValueError):
    """A file cannot be read, or is of another training or another version of the code."""


class DamagedError(CheckpointError):
    """A file is lost, or does not hold what was written to it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"The checkpoint {path} cannot be read ({reason}). It is missing, damaged or not of this library. Delete "
            "it to train anew."
        )
        self.path, self.reason = path, reason


def save(
    path: Path,
    description: Mapping[str, Any],
    modules: Modules,
    optimizers: Optimizers | None = None,
    history: Sequence[dict] = (),
) -> None:
    """Write all that a training needs to go on.

    Args:
        description: all that decides the result, of JSON's types; `code`, if there is one, is the version of the code.
        modules: by names without a full stop, which the names of optimisers may not repeat.
        history: one dictionary an epoch, of JSON's types.
    """
    tensors = _module_tensors(modules)
    for name, optimizer in (optimizers or {}).items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": value for key, value in state.items() if value is not None}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"description": json.dumps(description, sort_keys=True), "history": json.dumps(list(history))}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata | {"sha256": _hash(tensors, metadata)})


def load(
    path: Path, description: Mapping[str, Any], modules: Modules, optimizers: Optimizers | None = None
) -> list[dict]:
    """Put what `save` wrote into modules and optimisers, in place, and return the history.

    Raises:
        CheckpointError: the file is missing, damaged, or of another description. Nothing has been changed then.
    """
    tensors, history = _read(path, description)
    own = _module_tensors(modules)
    for name, value in own.items():
        if name not in tensors or tensors[name].shape != value.shape:
            raise CheckpointError(
                f"The checkpoint {path} lacks {name} of shape {list(value.shape)}, though it is described like this "
                "training. Delete it to train anew."
            )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name])
    for name, optimizer in (optimizers or {}).items():
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            owner, _, rest = key.partition(".")
            if owner == name:
                index, _, field = rest.partition(".")
                states.setdefault(int(index), {})[field] = value
        optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    return history


def resume(
    path: Path,
    description: Mapping[str, Any],
    modules: Modules,
    optimizers: Optimizers | None = None,
    others: Callable[[list[dict]], Mapping[Path, Mapping[str, Any]]] = lambda history: {},
) -> list[dict]:
    """As `load`; an empty history where there is no file, or where one is damaged: it is renamed, with a line on
    stderr, so that the training begins anew.

    Args:
        others: files, with their descriptions, that the training had written before such a history.
    """
    if not path.exists():
        return []
    try:
        for file, described in others(_read(path, description)[1]).items():
            _read(file, described)
        return load(path, description, modules, optimizers)
    except DamagedError as error:
        aside = error.path.with_name(f"{error.path.name}.damaged")
        if error.path.exists():
            os.replace(error.path, aside)
        print(f"{error.path} is damaged ({error.reason}): set aside as {aside.name}; training anew", file=sys.stderr)
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


def _read(path: Path, description: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[dict]]:
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
        raise CheckpointError(f"The checkpoint {path} cannot be read ({error}).") from None
    found, expected = _flat(found), _flat(json.loads(json.dumps(description)))
    differ = [key for key in sorted(found.keys() | expected.keys()) if found.get(key) != expected.get(key)]
    if differ:
        values = "; ".join(f"{key} is {found.get(key)!r} there and {expected.get(key)!r} here" for key in differ)
        made = "was made by other code" if differ == ["code"] else "belongs to another training"
        raise CheckpointError(
            f"The checkpoint {path} {made}: {values}. Delete it to train anew, or go back to the code or the "
            "configuration that made it."
        )
    return tensors, history


def _hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    return hashlib.sha256(serialized(dict(tensors)) + json.dumps(metadata, sort_keys=True).encode()).hexdigest()


def _module_tensors(modules: Modules) -> dict[str, Tensor]:
    """Parameters and persistent buffers, those that two submodules share only under the first of their names."""
    tensors = {}
    for name, module in modules.items():
        once = {key for key, _ in module.named_parameters()} | {key for key, _ in module.named_buffers()}
        tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items() if key in once}
    return tensors


def _flat(description: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"config": {"hidden": 16}}` as `{"config.hidden": 16}`."""
    flat: dict[str, Any] = {}
    for key, value in description.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
