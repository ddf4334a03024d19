"""Training of small networks on the digits: many cell networks at once, or one set of shared weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import DagBatch
from latentnas.measure.cells import CellNetworks
from latentnas.measure.digits import Images, ImageSets, corrupt
from latentnas.measure.macro import MacroNetwork, beginnings
from latentnas.progress import Progress
from latentnas.spaces.enas import ENAS

IMAGES_AT_ONCE = 500  # in evaluation; shared weights are normalised over so many images
ARCHITECTURES_AT_ONCE = 8

Batch = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]  # step, images, labels -> [M, B, classes], [M, B]


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: SGD with Nesterov momentum and a cosine schedule."""

    epochs: int = 15
    batch_size: int = 32
    learning_rate: float = 0.1  # of the cosine, which has begun to fall when `warmup` ends
    warmup: float = 0.1  # share of the steps
    momentum: float = 0.9
    weight_decay: float = 5e-4
    noise: float = 0.5  # of the corrupted images


def train_side_by_side(networks: CellNetworks, data: ImageSets, schedule: Schedule, seed: int) -> None:
    """Train M networks in place, each as if it were alone; all see the same batches, drawn from `seed`."""
    _train(networks, lambda _, images, y: (networks(images), y.expand(networks.networks, -1)), data, schedule, seed)


def train_shared(
    network: MacroNetwork, architectures: DagBatch | int, data: ImageSets, schedule: Schedule, seed: int
) -> None:
    """Train the weights of these architectures, or of so many that are drawn uniformly for each step, in place: each
    gets an equal part of the batch (Pham et al., 2018, without the controller). Weights not in use stay."""
    progress = Progress("shared weights", schedule.epochs * (len(data.train) // schedule.batch_size))

    def batch(step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        chosen = architectures
        if isinstance(architectures, int):
            progress.update(step)
            chosen = ENAS.sample(architectures, seed * 1_000_003 + step, network.layers)
        shape = (-1, len(chosen))
        return network(images.unflatten(0, shape), chosen), labels.unflatten(0, shape).t()

    _train(network, batch, data, schedule, seed)


def _train(network: nn.Module, batch: Batch, data: ImageSets, schedule: Schedule, seed: int) -> None:
    """Images are corrupted anew in each epoch; the rest of an epoch that fills no batch is left out."""
    optimizer = nesterov(network.train(), schedule)
    generator, device = torch.Generator().manual_seed(seed), next(network.parameters()).device
    part, per_epoch = data.train, len(data.train) // schedule.batch_size
    if not per_epoch:
        found = f"A batch of {schedule.batch_size} images is more than the {len(part)} to train on"
        raise ValueError(f"{found}: nothing would be learned. Take a smaller batch_size.")
    steps = schedule.epochs * per_epoch
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(part), generator=generator)
            images = corrupt(part.images, generator, schedule.noise)
        done = (step + 1) / (steps + 1)
        rate = schedule.learning_rate * min(1.0, done / schedule.warmup) * (1 + math.cos(math.pi * done)) / 2
        optimizer.param_groups[0]["lr"] = rate
        rows = order[step % per_epoch * schedule.batch_size :][: schedule.batch_size]
        logits, labels = batch(step, images[rows].to(device), part.labels[rows].to(device))
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten()) * len(logits)  # a mean over images, a sum over M
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def nesterov(network: nn.Module, schedule: Any) -> torch.optim.SGD:
    """The optimiser of a schedule, whose learning rate is yet to be set for each step; plain SGD without momentum."""
    momentum, decay = schedule.momentum, schedule.weight_decay
    return torch.optim.SGD(network.parameters(), momentum=momentum, nesterov=momentum > 0, weight_decay=decay)


@torch.no_grad()
def accuracy(networks: CellNetworks, part: Images) -> Tensor:
    """Percent of images that each of M networks gets right, float64 `[M]`."""
    networks.eval()
    batches = zip(part.images.to(networks.bias.device).split(IMAGES_AT_ONCE), part.labels.split(IMAGES_AT_ONCE))
    right = sum(is_right(networks(images).cpu(), labels).sum(dim=1) for images, labels in batches)
    return 100 * right.double() / len(part)


def shared_accuracy(network: MacroNetwork, architectures: DagBatch, part: Images) -> Tensor:
    """Percent of images that each of A architectures gets right with the weights of `network`, float64 `[A]`."""
    architectures = architectures.to("cpu")
    order = torch.arange(len(architectures))
    if architectures.max_vertices > 2:  # those that begin alike stand together, and are computed once
        order = beginnings(architectures, architectures.max_vertices - 2)[1].argsort(stable=True)
    right = sum_over_images(network, architectures[order], part, is_right, IMAGES_AT_ONCE, ARCHITECTURES_AT_ONCE)
    return 100 * right[order.argsort()] / len(part)


def is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Which images are classified correctly, bool `[A, B]`."""
    return logits.argmax(dim=-1) == labels


@torch.no_grad()
def sum_over_images(
    network: nn.Module,
    architectures: DagBatch | Tensor,
    part: Images,
    score: Callable[[Tensor, Tensor], Tensor],
    images_at_once: int = 1000,
    architectures_at_once: int = 1,
) -> Tensor:
    """The sum over images of a score, for each of A architectures with shared weights, float64 `[A]`.

    Args:
        network: `network(images [B, 1, channels, H, W], architectures)` are logits `[A, B, classes]`.
        score: logits `[A, B, classes]` and labels `[B]` -> `[A, B]`.
        images_at_once: the weights normalise over so many images, so results depend on it.
        architectures_at_once: several side by side are slower for large networks on a CPU.
    """
    device, sums = next(network.parameters()).device, []
    for rows in torch.arange(len(architectures)).split(architectures_at_once):
        total = 0.0
        for images, labels in zip(part.images.split(images_at_once), part.labels.split(images_at_once)):
            logits = network(images[:, None].to(device), architectures[rows])
            total = total + score(logits, labels.to(device)).double().sum(dim=1)
        sums.append(total.cpu())
    return torch.cat(sums)
