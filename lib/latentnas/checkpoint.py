"""Checkpoints: weights, optimisers and history of a training in one safetensors file, and what it belongs to.

    description = {"model": "NGAE", "config": {"hidden": 501}, "code": version_of(NGAE)}
    save(path, description, {"model": model}, {"adamw": optimizer}, history)
    history = load(path, description, {"model": model}, {"adamw": optimizer}) if path.exists() else []

A file is renamed into place when it is whole, so a process that is killed leaves the old one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from latentnas.paths import atomic_write


class CheckpointError(ValueError):
    """A file is damaged, or of another training or another version of the code; the message says what to do."""


def save(
    path: Path,
    description: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer] | None = None,
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
    metadata = {"description": json.dumps(description, sort_keys=True), "history": json.dumps(list(history))}
    with atomic_write(path) as temporary:
        save_file({name: value.contiguous() for name, value in tensors.items()}, temporary, metadata=metadata)


def load(
    path: Path,
    description: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer] | None = None,
) -> list[dict]:
    """Put what `save` wrote into modules and optimisers, in place, and return the history.

    Raises:
        CheckpointError: the file is missing, damaged, or of another description. Nothing has been changed then.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
        found, history = json.loads(metadata["description"]), json.loads(metadata["history"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}: {error}). It is missing, damaged or not of "
            "this library. Delete it to train anew."
        ) from None
    _compare(path, _flat(found), _flat(json.loads(json.dumps(description))))
    own = _module_tensors(modules)
    unfit = [name for name, value in own.items() if name not in tensors or tensors[name].shape != value.shape]
    if unfit:
        raise CheckpointError(
            f"The checkpoint {path} lacks {unfit[0]} of shape {list(own[unfit[0]].shape)}, though it is described like "
            "this training. It is damaged. Delete it to train anew."
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


def _module_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
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


def _compare(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    differ = [key for key in sorted(found.keys() | expected.keys()) if found.get(key) != expected.get(key)]
    if differ == ["code"]:
        raise CheckpointError(
            f"The checkpoint {path} was made by other code (version {found.get('code')}) than runs now (version "
            f"{expected.get('code')}), so it may not be what this code would give. Delete it to train anew, or go back "
            "to the code that made it."
        )
    if differ:
        values = "; ".join(f"{key} is {found.get(key)!r} there and {expected.get(key)!r} here" for key in differ)
        raise CheckpointError(
            f"The checkpoint {path} belongs to another training: {values}. Delete it to train anew, or ask for the "
            "configuration it holds."
        )
