"""How fast training is: seconds for an epoch over the ENAS graphs at the published size, from a few steps.

Beside it, on a CPU, the readable reference `latentnas.models.reference_dvae`: one graph, vertex and edge at a time.
"""

import itertools
import timeit
from collections.abc import Callable

import torch

from latentnas import benchmarks
from latentnas.models import reference_dvae
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.train import default_device

HIDDEN, TRAIN_GRAPHS = 501, 17_118


def main() -> int:
    device, batch = default_device(), benchmarks.load("enas", "public").batch
    torch.manual_seed(0)
    model = NGAE(NGAEConfig(hidden=HIDDEN, predictors="none"))
    print(f"hidden size {HIDDEN}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if str(device) == "cpu":

        def reference() -> None:
            graph = reference_dvae.Graph.from_batch(batch, 0)
            sum(reference_dvae.loss(model, graph, reference_dvae.encode(model, graph)[0])).backward()

        print(f"reference: {TRAIN_GRAPHS * median_seconds(reference, 2):,.0f} s an epoch", flush=True)
    model, batch = model.to(device), batch.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    for size, precision in itertools.product((32, 64, 128), ("fp32", "bf16")):

        def step(graphs=batch[:size], bf16=precision == "bf16") -> None:
            with torch.autocast(graphs.types.device.type, dtype=torch.bfloat16, enabled=bf16):
                loss = model.loss(graphs)["total"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # waits for the device

        seconds = TRAIN_GRAPHS / size * median_seconds(step, 8, warm_up=3)
        print(f"batches of {size}, {precision}: {seconds:,.1f} s an epoch", flush=True)
    return 0


def median_seconds(action: Callable[[], None], times: int, warm_up: int = 0) -> float:
    """Median seconds of `action`, after some calls that are not counted."""
    return sorted(timeit.repeat(action, number=1, repeat=warm_up + times)[warm_up:])[times // 2]
