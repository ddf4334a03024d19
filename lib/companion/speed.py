"""How fast training is: seconds for an epoch over the 17,118 ENAS graphs, beside the plain per-graph reference.

    ./run_all.sh bench                 # hidden size 501, batches of 32, 64 and 128, fp32 and bf16
    ./run_all.sh bench --hidden 256

An epoch is scaled up from a few batches. The reference is tests/reference_dagnn.py: the equations one graph,
vertex and edge at a time, without any batching; it is timed on a few graphs, forward and backward.
"""

from __future__ import annotations

import argparse
import itertools
import time

import torch

from latentnas.benchmarks.enas import load_enas
from latentnas.graphs import DagBatch
from latentnas.models import reference_dvae
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.train import default_device

TRAIN_GRAPHS = 17_118
REFERENCE_GRAPHS = 4


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run_all.sh bench", description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=501, help="hidden size (default: 501, the published one)")
    parser.add_argument("--batches", type=int, default=8, help="batches timed per setting (default: 8)")
    options = parser.parse_args(arguments)

    device = default_device()
    batch = load_enas().batch.to(device)
    torch.manual_seed(0)
    model = NGAE(NGAEConfig(hidden=options.hidden, predictors="none")).to(device)
    reference = reference_seconds(model, batch[:REFERENCE_GRAPHS].to("cpu")) if device == "cpu" else float("nan")
    print(f"hidden size {options.hidden}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'batch':>6} {'precision':>10} {'ms/batch':>9} {'s/epoch':>8} {'reference s/epoch':>18} {'ratio':>7}")
    for size, precision in itertools.product((32, 64, 128), ("fp32", "bf16")):
        seconds = batch_seconds(model, batch, size, precision, options.batches)
        epoch = seconds * TRAIN_GRAPHS / size
        print(
            f"{size:>6} {precision:>10} {1e3 * seconds:>9.1f} {epoch:>8.1f} {reference:>18.0f} {reference / epoch:>7.0f}",
            flush=True,
        )
    return 0


def batch_seconds(model: NGAE, batch: DagBatch, size: int, precision: str, batches: int) -> float:
    """Median time of a training step (forward, backward, AdamW) on batches of ``size`` graphs."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    times = []
    for step in range(batches + 3):  # three to warm up
        started = time.perf_counter()
        with torch.autocast(batch.types.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = model.loss(batch[step * size : (step + 1) * size])["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        times.append(time.perf_counter() - started)
    return sorted(times[3:])[batches // 2]


def reference_seconds(model: NGAE, batch: DagBatch) -> float:
    """Seconds the per-graph reference would take for an epoch, from the graphs of ``batch``."""
    started = time.perf_counter()
    for index in range(len(batch)):
        graph = reference_dvae.Graph.from_batch(batch, index)
        mu, _ = reference_dvae.encode(model, graph)
        sum(reference_dvae.loss(model, graph, mu)).backward()
    return (time.perf_counter() - started) * TRAIN_GRAPHS / len(batch)
