"""Training of shared weights in one loop for every one-shot method, with checkpoints and resume.

A `Strategy` says with which cells each step trains the weights, and may learn from validation images between the
steps. Shared accuracy is that on validation images; test images are never seen. Letters: B images, A cells.
"""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor, nn

from latentnas import checkpoint
from latentnas.code import version_of
from latentnas.devices import prepare_device
from latentnas.measure.digits import Images, ImageSets
from latentnas.measure.train import is_right, nesterov, sum_over_images
from latentnas.oneshot.shared_cells import SharedCells
from latentnas.progress import Progress
from latentnas.settings import check_settings
from latentnas.spaces.nasbench201 import CELL_EDGES, NASBENCH201

SECONDS_BETWEEN_CHECKPOINTS = 30.0
WATCHED = ("loss of the shared weights", "gradient of the shared weights", "validation loss")  # of a step, in order


@dataclasses.dataclass(frozen=True)
class SupernetSchedule:
    """How shared weights are trained: SGD with Nesterov momentum, the rate falling along a cosine. The defaults are
    for the digits."""

    epochs: int = 150
    batch_size: int = 64
    learning_rate: float = 0.1
    last_learning_rate: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 5e-4
    gradient_clip: float = 5.0  # largest norm

    def __post_init__(self) -> None:
        check_settings(self, above_zero=("learning_rate", "gradient_clip"), shares=("momentum",))


PUBLISHED_SCHEDULE = SupernetSchedule(epochs=250, learning_rate=0.025)  # of E2NAS on CIFAR-10


class Strategy(nn.Module):
    """Which cells train the shared weights. Subclasses keep what changes in parameters and buffers, on the CPU.

    In its methods `images` are `[B, channels, H, W]`, `labels` `[B]`, `done` is the share of all steps that lie behind.
    """

    optimizer: torch.optim.Optimizer | None = None  # of a strategy that learns between the steps

    def __init__(self) -> None:
        super().__init__()
        # The cell that the last step visited, set by `loss`; of each cell the step that last did, or 0.
        self.register_buffer("last", torch.zeros(1, len(CELL_EDGES), dtype=torch.int64))
        self.register_buffer("visited", torch.zeros(NASBENCH201.size, dtype=torch.int64))

    def loss(self, network: SharedCells, images: Tensor, labels: Tensor, done: float, generator: Generator) -> Tensor:
        """What a step of the weights lowers, from training images."""

    def learn(self, network: SharedCells, images: Tensor, labels: Tensor, done: float, generator: Generator) -> Tensor:
        """Learn from validation images after a step of the weights, if there is an optimizer; the loss, on the
        network's device, NaN where something that was learned is not finite."""

    def current(self) -> Tensor:
        """The cell that the strategy stands for now, int64 `[6]`."""

    def description(self) -> dict:
        """What sets this strategy apart from others, for the checkpoint."""
        return {"name": type(self).__name__}


Observer = Callable[[SharedCells, int], dict[str, float]]


def train_supernet(
    network: SharedCells,
    strategy: Strategy,
    data: ImageSets,
    schedule: SupernetSchedule,
    seed: int,
    path: Path,
    observe: Observer | None = None,
) -> pd.DataFrame:
    """Train shared weights and what the strategy learns, in place, on the network's device. A training that was cut
    off goes on from its last checkpoint, at `path`, and ends with the same weights.

    Args:
        observe: called at the end of each epoch with the network and the number of epochs so far; the numbers it
            returns by name become columns. It must leave the network as it is.

    Returns:
        One row an epoch: `epoch`, `train_loss`, the strategy's current cell as `row` and `arch`, its `shared_accuracy`
        in percent, how many cells were `visited` so far, `seconds` of the processor (without the observer's), and what
        that saw.

    Raises:
        ValueError: a batch larger than the training or the validation images, or a checkpoint of another training.
        FloatingPointError: a loss or its gradient is not finite; the last good checkpoint stays.
    """
    if schedule.batch_size > (most := min(len(data.train), len(data.valid))):
        found = f"A batch of {schedule.batch_size} images is more than there are to train or to validate"
        raise ValueError(f"{found}: choose a batch_size of at most {most}.")
    prepare_device(network.bias.device)
    optimizer, description = nesterov(network, schedule), _description(network, strategy, data, schedule, seed)
    modules = {"network": network, "strategy": strategy}
    optimizers = {"weights": optimizer} | ({"learner": strategy.optimizer} if strategy.optimizer else {})
    with checkpoint.alone(path):
        history = checkpoint.resume(path, description, modules | optimizers)
        saved_epoch, saved = len(history), time.monotonic()
        progress = Progress(type(strategy).__name__, schedule.epochs, len(history))
        for epoch in range(len(history), schedule.epochs):
            begun = time.process_time()
            try:
                loss = _epoch(network, strategy, optimizer, data, schedule, seed, epoch)
            except FloatingPointError as error:
                kept = f"The last ones, after epoch {saved_epoch}, are in {path}" if saved_epoch else "None were saved"
                asked = f"Lower learning_rate (now {schedule.learning_rate}) or gradient_clip, or look at the images"
                raise FloatingPointError(f"{error} The weights are lost. {kept}. {asked}.") from None
            cell = strategy.current()[None]
            graph = NASBENCH201.from_choices(cell)
            state = {
                "epoch": epoch + 1,
                "train_loss": loss,
                "row": int(NASBENCH201.index(graph)[0]),
                "arch": NASBENCH201.to_strings(graph)[0],
                "shared_accuracy": shared_accuracy(network, cell, data.valid).item(),
                "visited": int(strategy.visited.count_nonzero()),
                "seconds": time.process_time() - begun,
            }
            history.append(state | (observe(network, epoch + 1) if observe else {}))
            if epoch + 1 == schedule.epochs or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                checkpoint.save(path, description, modules | optimizers, history)
                saved, saved_epoch = time.monotonic(), epoch + 1
            progress.update(epoch + 1)
        return pd.DataFrame(history)


def checkpoint_file(
    folder: Path, network: SharedCells, strategy: Strategy, data: ImageSets, schedule: SupernetSchedule, seed: int
) -> Path:
    """A path for `train_supernet` that no training of another description has: skeleton, strategy, schedule, images,
    seed and code. First weights are taken to follow from the seed."""
    description = _description(network, strategy, data, schedule, seed)
    key = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:12]
    return folder / f"{type(strategy).__name__}-{key}.safetensors"


def shared_accuracy(network: SharedCells, cells: Tensor, part: Images) -> Tensor:
    """Percent of images that each of A cells `[A, 6]` gets right with shared weights, float64 `[A]`."""
    return 100 * (sum_over_images(network, cells, part, is_right) / len(part))


def _epoch(
    network: SharedCells,
    strategy: Strategy,
    optimizer: torch.optim.Optimizer,
    data: ImageSets,
    schedule: SupernetSchedule,
    seed: int,
    epoch: int,
) -> float:
    """One pass over the training images; the mean loss. Each epoch has a generator of its own, so that it
    does not depend on where a training was cut off. Losses are read at the end: no step waits for them."""
    generator, device = Generator().manual_seed(seed * 1_000_003 + epoch), network.bias.device
    order = torch.randperm(len(data.train), generator=generator)
    steps = len(order) // schedule.batch_size
    watched = []
    for step in range(steps):
        done = (epoch + step / steps) / schedule.epochs
        rows = order[step * schedule.batch_size :][: schedule.batch_size]
        images = data.augment(data.train.images[rows], generator).to(device, non_blocking=True)
        labels = data.train.labels[rows].to(device, non_blocking=True)
        loss = strategy.loss(network, images, labels, done, generator)
        optimizer.zero_grad()
        loss.backward()
        watched.append([loss.detach(), nn.utils.clip_grad_norm_(network.parameters(), schedule.gradient_clip)])
        height, low = (1 + math.cos(math.pi * done)) / 2, schedule.last_learning_rate
        optimizer.param_groups[0]["lr"] = low + height * (schedule.learning_rate - low)
        optimizer.step()
        strategy.visited[NASBENCH201.index(NASBENCH201.from_choices(strategy.last))] = epoch * steps + step + 1
        if strategy.optimizer is not None:
            rows = torch.randint(len(data.valid), (schedule.batch_size,), generator=generator)
            images = data.valid.images[rows].to(device, non_blocking=True)
            labels = data.valid.labels[rows].to(device, non_blocking=True)
            watched[-1].append(strategy.learn(network, images, labels, done, generator))
    values = torch.stack([torch.stack(step) for step in watched]).tolist()
    for step, row in enumerate(values, start=epoch * steps + 1):
        for what, value in zip(WATCHED, row):
            if not math.isfinite(value):
                raise FloatingPointError(f"The {what} became {value} in step {step} (epoch {epoch + 1}).")
    return float(np.mean([row[0] for row in values]))


def _digest(images: Images) -> str:
    return hashlib.sha256(images.images.numpy().tobytes() + images.labels.numpy().tobytes()).hexdigest()[:12]


def _description(
    network: SharedCells, strategy: Strategy, data: ImageSets, schedule: SupernetSchedule, seed: int
) -> dict:
    """What a checkpoint belongs to."""
    return {
        "skeleton": dataclasses.asdict(network.config),
        "strategy": strategy.description(),
        "schedule": dataclasses.asdict(schedule),
        "images": [_digest(part) for part in (data.train, data.valid)],
        "seed": seed,
        "code": version_of(type(strategy), __name__),
    }
