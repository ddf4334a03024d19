"""How fast training is: seconds for an epoch over the 17,118 ENAS graphs, beside the plain per-graph reference.

An epoch is scaled up from a few training steps. The reference is `latentnas.models.reference_dvae`: the equations one
graph, vertex and edge at a time; it is timed on a few graphs, forward and backward, on the CPU only.
"""

import argparse
import itertools
import time
from collections.abc import Sequence

import torch

from latentnas.benchmarks.enas import load_enas
from latentnas.graphs import DagBatch
from latentnas.models import reference_dvae
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.train import default_device

TRAIN_GRAPHS = 17_118
REFERENCE_GRAPHS = 4
WARM_UP = 3  # steps that are not counted


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run_all.sh bench", description="How fast training is.")
    parser.add_argument("--hidden", type=int, default=501, help="hidden size (default: 501, the published one)")
    parser.add_argument("--batches", type=int, default=8, help="batches timed per setting (default: 8)")
    options = parser.parse_args(arguments)

    device = default_device()
    batch = load_enas().batch.to(device)
    torch.manual_seed(0)
    model = NGAE(NGAEConfig(hidden=options.hidden, predictors="none")).to(device)
    print(f"hidden size {options.hidden}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if str(device) == "cpu":
        print(f"the reference needs {reference_seconds(model, batch[:REFERENCE_GRAPHS]):.0f} s for an epoch")
    print(f"{'batch':>6} {'precision':>10} {'ms/batch':>9} {'s/epoch':>8}")
    for size, precision in itertools.product((32, 64, 128), ("fp32", "bf16")):
        seconds = step_seconds(model, batch, size, precision, options.batches)
        epoch = seconds * TRAIN_GRAPHS / size
        print(f"{size:>6} {precision:>10} {1e3 * seconds:>9.1f} {epoch:>8.1f}", flush=True)
    return 0


def step_seconds(model: NGAE, batch: DagBatch, size: int, precision: str, steps: int) -> float:
    """Median time of a training step (forward, backward, AdamW) on batches of `size` graphs."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    times = []
    for step in range(steps + WARM_UP):
        started = time.perf_counter()
        with torch.autocast(batch.types.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = model.loss(batch[step * size : (step + 1) * size])["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        times.append(time.perf_counter() - started)
    return sorted(times[WARM_UP:])[steps // 2]


def reference_seconds(model: NGAE, batch: DagBatch) -> float:
    """Seconds the per-graph reference would take for an epoch, from the graphs of `batch`."""
    started = time.perf_counter()
    for index in range(len(batch)):
        graph = reference_dvae.Graph.from_batch(batch, index)
        mu, _ = reference_dvae.encode(model, graph)
        sum(reference_dvae.loss(model, graph, mu)).backward()
    return (time.perf_counter() - started) * TRAIN_GRAPHS / len(batch)
