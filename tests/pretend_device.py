"""A pretended accelerator for computers without one: real numbers, an accelerator's rules about devices.

Inside `pretended_device()` the device `"lazy"`, which autograd knows in every build of PyTorch, can hold tensors. Each
is a shell around a CPU tensor. Operators run on the CPU, but what an accelerator refuses is refused: operands or
indices on two devices, a generator of another device, NumPy. What makes the host wait is counted in `WAITS`, what
copies numbers to the device in `UPLOADS`, by operator and by the line of latentnas that asked.
"""

import contextlib
import functools
import sys
from collections import Counter
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("lazy", 0)
INDEXED = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}  # lists become tensors on the CPU
COPIES = {"_to_copy", "copy_"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
STRICT = {
    "cat",
    "stack",
    "gather",
    "scatter",
    "scatter_",
    "index_select",
    "mm",
    "bmm",
    "addmm",
}  # no CPU scalars either
RESHAPING = {"squeeze_", "unsqueeze_", "transpose_", "t_", "as_strided_"}
WAITING = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "equal",
    "bincount",
    "_linalg_check_errors",
}
WAITS, UPLOADS = Counter(), Counter()
AUTOCAST = torch.autocast


class DeviceMismatch(RuntimeError):
    """Tensors or generators of two devices met."""


class DeviceTensor(torch.Tensor):
    """A tensor on the pretended device; its numbers are in `host`."""

    @staticmethod
    def __new__(cls, host):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, host.shape, strides=host.stride(), dtype=host.dtype, device=DEVICE
        )
        tensor.host = host
        return tensor

    def numpy(self, *args, **options):
        raise DeviceMismatch("NumPy cannot read a tensor of an accelerator: use .cpu() first")

    __array__ = numpy

    def tolist(self):
        _count(WAITS, "tolist")
        return self.host.tolist()

    @classmethod
    def __torch_dispatch__(cls, operator, types, args=(), kwargs=None):
        return _run(operator, args, kwargs or {})


class DeviceGenerator(torch._C.Generator):
    """`torch.Generator`, also for the pretended device."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self.place = torch.device(device)

    @property
    def device(self):
        return self.place

    def manual_seed(self, seed):
        super().manual_seed(seed)
        return self


class _Factories(TorchDispatchMode):
    """Lets operators that take no tensors make some on the device."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        return _run(operator, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """Refuses a generator of another device than what it fills, and makes tensors of Python's numbers."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for generator in _all_of(torch._C.Generator, args, kwargs):
            tensors = _all_of(torch.Tensor, args, kwargs)
            device = kwargs.get("device") or (tensors[0].device if tensors else "cpu")
            if torch.device(device).type != generator.device.type:
                raise DeviceMismatch(f"{function.__name__}: the generator is not on {device}, where the result is")
        if function in (torch.tensor, torch.as_tensor) and _on_device(kwargs):
            return function(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        if function in INDEXED and isinstance(args[0], DeviceTensor):
            index, made = args[1], lambda part: torch.tensor(part) if isinstance(part, list) else part
            index = tuple(map(made, index)) if isinstance(index, tuple) else made(index)
            args = (args[0], index, *args[2:])
        return function(*args, **kwargs)


def _autocast(device_type, *args, **options):
    """`torch.autocast`, which has no rules for the pretended device: everything stays in fp32 there."""
    return contextlib.nullcontext() if device_type == DEVICE.type else AUTOCAST(device_type, *args, **options)


@contextlib.contextmanager
def pretended_device():
    """The pretended device, usable inside; the counts of `WAITS` and `UPLOADS` begin anew."""
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter's data cannot change its class
    WAITS.clear()
    UPLOADS.clear()
    fused = "torch.optim.optimizer._get_fused_kernels_supported_devices"
    try:
        with mock.patch("torch.Generator", DeviceGenerator), mock.patch("torch.autocast", _autocast):  # noqa: SIM117
            with mock.patch(fused, lambda: ["cpu", DEVICE.type]), _Factories(), _Calls():
                yield DEVICE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)


def _on_device(kwargs):
    return "device" in kwargs and torch.device(kwargs["device"] or "cpu").type == DEVICE.type


def _all_of(kind, args, kwargs):
    """Arguments of a kind, also in lists. PyTorch's functions for trees would take half of a run."""
    found = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, kind):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _all_of(kind, value, {})
    return found


def _on_host(value):
    if isinstance(value, DeviceTensor):
        return value.host
    return type(value)(map(_on_host, value)) if type(value) in (list, tuple) else value


@functools.cache  # asking takes time
def _name_and_mutable(operator):
    return operator._schema.name.split("::")[1], operator._schema.is_mutable


def _run(operator, args, kwargs):
    name, mutable = _name_and_mutable(operator)
    tensors = _all_of(torch.Tensor, args, kwargs)
    here = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
    stays = isinstance(args[0], DeviceTensor) if name == "copy_" else bool(here) and kwargs.get("device") is None
    if here and name not in COPIES:
        _check(name, args, tensors)
    indices = [index for index in args[1] if index is not None] if here and name in INDEXING else []
    sizes = any(isinstance(index, DeviceTensor) and index.dtype == torch.bool for index in indices)  # known there alone
    sizes |= operator is torch.ops.aten.repeat_interleave.Tensor and kwargs.get("output_size") is None
    if here and (name in WAITING or sizes or (name in COPIES and not (stays or _on_device(kwargs)))):
        _count(WAITS, name)
    arrives = len(here) < len(tensors) and (stays if name == "copy_" else name in COPIES and _on_device(kwargs))
    if arrives or not all(isinstance(index, DeviceTensor) for index in indices):
        _count(UPLOADS, name)
    stays, kwargs = stays or _on_device(kwargs), kwargs | ({"device": "cpu"} if _on_device(kwargs) else {})
    with torch._C._DisableTorchDispatch():
        result = operator(*map(_on_host, args), **{key: _on_host(value) for key, value in kwargs.items()})
    if not stays:
        return result
    if name in RESHAPING:  # the shell follows
        args[0].data = DeviceTensor(result)
    changed = {id(tensor.host): tensor for tensor in here} if mutable else {}

    def wrapped(value):
        if isinstance(value, torch.Tensor):
            return changed[id(value)] if id(value) in changed else DeviceTensor(value)
        return type(value)(map(wrapped, value)) if type(value) in (list, tuple) else value

    return wrapped(result)


def _check(name, args, tensors):
    """Raises DeviceMismatch for what an accelerator refuses: only scalars and indices may lie on the CPU."""
    if name in INDEXING:  # of the target and, if any, of the values
        refused = [value for value in (args[0], *args[2:3]) if not isinstance(value, DeviceTensor) and value.dim()]
    else:
        others = [tensor for tensor in tensors if not isinstance(tensor, DeviceTensor)]
        refused = [tensor for tensor in others if tensor.dim() or name in STRICT]
    if refused:
        places = [f"{list(tensor.shape)} on {tensor.device}" for tensor in tensors]
        raise DeviceMismatch(f"{name}: tensors of two devices: {', '.join(places)}")


def _count(counts, name):
    frame = sys._getframe()
    while frame.f_back and "/latentnas/" not in frame.f_code.co_filename:
        frame = frame.f_back
    counts[f"{name} {frame.f_code.co_filename.rsplit('/latentnas/')[-1]}:{frame.f_lineno}"] += 1
