"""fp32 products by oneDNN, on processors where PyTorch's own are slow.

On a CPU PyTorch leaves bf16 products to oneDNN, but fp32 ones to MKL, which uses AVX2 on AMD's processors even where
they have AVX-512: half the speed. Both sum in fp32, in another order.
"""

import functools
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

SMALLEST = 2**21  # multiply-adds; below, the way through Python costs more than is gained
_registered = threading.Lock()


class _Switch(threading.local):
    on = False


_switch = _Switch()


@contextmanager
def fast_fp32(wanted: bool = True) -> Iterator[None]:
    """Inside, large fp32 products of this thread on a CPU with AVX-512 are oneDNN's, in the backward pass too."""
    if not (wanted and torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()):
        yield
        return
    with _registered:
        _register()
    before, _switch.on = _switch.on, True
    try:
        yield
    finally:
        _switch.on = before


@functools.cache
def _register() -> torch.library.Library:
    """For good: to withdraw a kernel while another thread is in it would end the process."""
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings(action="ignore"):  # that this replaces PyTorch's own
        library.impl("mm", _mm, "CPU")
        library.impl("addmm", _addmm, "CPU")
    return library


def _mm(left: Tensor, right: Tensor) -> Tensor:
    if not (_switch.on and _is_large(left, right)):
        return torch.mm(left, right, out=left.new_empty(0))  # PyTorch's own
    if left.t().is_contiguous():  # as of the gradient of weights: oneDNN is faster at the transposed product
        return _linear(right.t(), left).t()
    return _linear(left, right.t())


def _addmm(bias: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    if _switch.on and _is_large(left, right) and beta == alpha == 1 and bias.dtype == left.dtype:
        if bias.shape == right.shape[1:]:
            return _linear(left, right.t(), bias.contiguous())
        return _mm(left, right).add_(bias)
    return torch.addmm(bias, left, right, beta=beta, alpha=alpha, out=left.new_empty(0))


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(_dense(inputs), _dense(weight), bias, "none", [], "")


def _is_large(left: Tensor, right: Tensor) -> bool:
    """What PyTorch would refuse counts as small, so that PyTorch says so."""
    fits = left.ndim == right.ndim == 2 and left.shape[1] == right.shape[0]
    return fits and left.dtype == right.dtype == torch.float32 and left.shape[0] * right.numel() >= SMALLEST


def _dense(matrix: Tensor) -> Tensor:
    """Without gaps between rows or columns, for which oneDNN has no fast way."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()
