"""How fast things run: seconds, matrix products and memory of a call, and what this machine could do at best."""

import contextlib
import io
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode

from latentnas.devices import computes_in_bf16
from latentnas.evaluate import encode_all
from latentnas.graphs import DagBatch, canonical_hash
from latentnas.interfaces import GraphVAE
from latentnas.products import fast_fp32
from latentnas.train import Labels, TrainConfig, fit

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
MOVES = ("copy", "to_copy", "cat", "stack", "index", "index_select", "index_put", "index_add", "gather", "scatter")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler tells stderr that it begins and ends
KINDS = ("products", "copies and casts", "element-wise", "optimiser")


def seconds(action: Callable[[], Any], times: int = 5, warm_up: int = 1) -> float:
    """Median seconds of a call, after some that are not counted; a GPU has done its work then."""
    taken = []
    for _ in range(warm_up + times):
        started = time.perf_counter()
        action()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[warm_up:])


def step_seconds(model: GraphVAE, batch: DagBatch, targets: Labels, config: TrainConfig, steps: int = 4) -> float:
    """Median seconds of a step of `train.fit`, in epochs of so many; of several the first does not count."""
    rows = torch.arange(steps * config.batch_size) % len(batch)
    labels = {name: values[rows] for name, values in targets.items()}
    with TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        history = fit(model, batch[rows], labels, config, Path(folder))
    return float(history["seconds"][-max(1, config.epochs - 1) :].median()) / steps


def coding_seconds(model: GraphVAE, batch: DagBatch, times: int = 5, seed: int = 0) -> dict[str, float]:
    """Median seconds a graph to encode, to decode greedily and to draw once, the last two also inside bf16 autocast
    where the chip computes in it."""
    z = encode_all(model, batch)
    fewer = torch.autocast(z.device.type, torch.bfloat16)
    draw = lambda: model.sample_decodes(z, 1, torch.Generator(z.device).manual_seed(seed))  # noqa: E731
    actions = {"encode": lambda: encode_all(model, batch), "greedy": lambda: model.decode(z), "random": draw}
    if computes_in_bf16(z.device):
        actions |= {f"{name}, bf16": fewer(actions[name]) for name in ("greedy", "random")}
    return {name: seconds(action, times) / len(batch) for name, action in actions.items()}


def same_in_bf16(model: GraphVAE, z: Tensor) -> float:
    """Percent of the points `[B, D]` whose greedy graph inside bf16 autocast is isomorphic to that in fp32."""
    with torch.autocast(z.device.type, torch.bfloat16):
        rounded = model.decode(z)
    return 100 * (canonical_hash(rounded) == canonical_hash(model.decode(z))).double().mean().item()


class _Products(TorchDispatchMode):
    """Counts the matrix products in a block by type of number and shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func.overloadpacket.__name__ in PRODUCTS:
            left, right = args[-2:]
            self.calls[left.device, left.dtype, left.shape, right.shape] += 1
        return func(*args, **(kwargs or {}))


def products(action: Callable[[], Any]) -> pd.DataFrame:
    """The matrix products in a call: a row for each `dtype` and shapes (`left`, `right`) with the number of `calls`,
    their floating-point operations (`flops`), and the `seconds` that they take by themselves."""
    rows = []
    with _Products() as found:
        action()
    with fast_fp32():
        for (device, dtype, *shapes), calls in found.calls.items():
            left, right = (torch.rand(shape, device=device).to(dtype) for shape in shapes)
            alone = calls * seconds(lambda left=left, right=right: left @ right, times=3)
            rows.append((dtype, *map(tuple, shapes), calls, 2.0 * calls * left.numel() * right.shape[-1], alone))
    return pd.DataFrame(rows, columns=["dtype", "left", "right", "calls", "flops", "seconds"])


def peak(dtype: torch.dtype, device: str = "cpu", size: int = 2048) -> float:
    """Floating-point operations a second in the product of two square matrices, the best of ten."""
    matrix = torch.rand(size, size, device=device).to(dtype)
    with fast_fp32():
        return 2 * size**3 / min(seconds(lambda: matrix @ matrix, times=1) for _ in range(10))


def operations(action: Callable[[], Any], device: str = "cpu") -> tuple[dict[str, float], float]:
    """Seconds of PyTorch's operations in a call by `KINDS`, and the most memory, in MB, that they held at a time beyond
    what was held before."""
    with profile(profile_memory=True) as found:
        action()
    spent = "self_device_time_total" if device.startswith("cuda") else "self_cpu_time_total"
    kinds = dict.fromkeys(KINDS, 0.0)
    for event in found.events():
        if event.device_type != DeviceType.CPU:  # a kernel: its time is that of the operation that launched it, too
            continue
        kinds[_kind(event)] += getattr(event, spent) / 1e6
    events = sorted(found.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    events = [event for event in events if event.name() == "[memory]" and event.device_type().name in device.upper()]
    held = [event.nbytes() for event in events]
    return kinds, float(np.cumsum([0, *held]).max()) / 1e6


def _kind(event: Any) -> str:
    name, outer = event.name.rpartition("::")[2].strip("_"), event
    while outer is not None:
        if outer.name.startswith("Optimizer."):
            return "optimiser"
        outer = outer.cpu_parent
    if name in (*PRODUCTS, "linear_pointwise"):
        return "products"
    return "copies and casts" if name in MOVES else "element-wise"
