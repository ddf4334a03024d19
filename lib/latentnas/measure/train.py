"""Training of small networks on the digits: many cell networks at once, or one set of shared weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import DagBatch
from latentnas.measure.digits import Images, ImageSets, corrupt
from latentnas.measure.macro import MacroNetwork
from latentnas.progress import Progress
from latentnas.spaces.enas import ENAS

IMAGES_AT_ONCE = 500  # in evaluation; shared weights are normalised over so many images
ARCHITECTURES_AT_ONCE = 8


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: SGD with Nesterov momentum and a cosine schedule."""

    epochs: int = 15
    batch_size: int = 32
    learning_rate: float = 0.1  # the peak, reached after `warmup`
    warmup: float = 0.1  # share of the steps
    momentum: float = 0.9
    weight_decay: float = 5e-4
    noise: float = 0.5  # of the corrupted images


def train_side_by_side(networks: nn.Module, data: ImageSets, schedule: Schedule, seed: int) -> None:
    """Train M networks in place, each as if it were alone; all see the same batches, drawn from `seed`."""
    optimizer = _optimizer(networks, schedule)
    for images, labels in _batches(data.train, optimizer, schedule, seed):
        _step(optimizer, networks(images), labels.expand(networks.networks, -1))


def train_alone(network: MacroNetwork, architecture: DagBatch, data: ImageSets, schedule: Schedule, seed: int) -> None:
    """Train one architecture (a batch of one graph) in place; the weights it does not use stay as they are."""
    optimizer = _optimizer(network, schedule)
    for images, labels in _batches(data.train, optimizer, schedule, seed):
        _step(optimizer, network(images[:, None], architecture), labels[None])


def train_shared(network: MacroNetwork, at_once: int, data: ImageSets, schedule: Schedule, seed: int) -> None:
    """Train shared weights in place: each step draws `at_once` architectures uniformly and gives each an equal
    part of the batch (Pham et al., 2018, with uniform sampling in place of the controller)."""
    optimizer = _optimizer(network, schedule)
    steps = schedule.epochs * (len(data.train) // schedule.batch_size)
    progress = Progress("shared weights", steps)
    for step, (images, labels) in enumerate(_batches(data.train, optimizer, schedule, seed)):
        progress.update(step)
        architectures = ENAS.sample(at_once, seed * 1_000_003 + step, network.layers)
        logits = network(images.unflatten(0, (-1, at_once)), architectures)
        _step(optimizer, logits, labels.unflatten(0, (-1, at_once)).t())


def _optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.SGD:
    network.train()
    return torch.optim.SGD(
        network.parameters(), lr=0.0, momentum=schedule.momentum, nesterov=True, weight_decay=schedule.weight_decay
    )


def _batches(part: Images, optimizer, schedule: Schedule, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of all epochs, each corrupted anew, with the learning rate set for each; the rest of an epoch
    that fills no batch is left out."""
    generator = torch.Generator().manual_seed(seed)
    steps, device = len(part) // schedule.batch_size, optimizer.param_groups[0]["params"][0].device
    for step in range(schedule.epochs * steps):
        if step % steps == 0:
            order = torch.randperm(len(part), generator=generator)
            images = corrupt(part.images, generator, schedule.noise)
        done = (step + 1) / (schedule.epochs * steps + 1)
        rate = schedule.learning_rate * min(1.0, done / schedule.warmup) * (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = order[step % steps * schedule.batch_size :][: schedule.batch_size]
        yield images[rows].to(device), part.labels[rows].to(device)


def _step(optimizer: torch.optim.Optimizer, logits: Tensor, labels: Tensor) -> None:
    """One update from logits `[M, B, classes]` and labels `[M, B]`: a mean over images, a sum over M."""
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten()) * len(logits)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def accuracy(networks: nn.Module, part: Images) -> Tensor:
    """Percent of images that each of M networks gets right, float64 `[M]`."""
    networks.eval()
    device = next(networks.parameters()).device
    batches = zip(part.images.to(device).split(IMAGES_AT_ONCE), part.labels.to(device).split(IMAGES_AT_ONCE))
    right = sum(is_right(networks(images), labels).sum(dim=1) for images, labels in batches)
    return 100 * right.double().cpu() / len(part)


@torch.no_grad()
def sum_over_images(
    network: nn.Module,
    architectures: DagBatch | Tensor,
    part: Images,
    score: Callable[[Tensor, Tensor], Tensor],
    images_at_once: int,
    architectures_at_once: int,
) -> Tensor:
    """The sum over images of a score, for each of A architectures with shared weights, float64 `[A]`.

    Args:
        network: `network(images [B, 1, channels, H, W], architectures)` are logits `[A, B, classes]`.
        score: logits `[A, B, classes]` and labels `[B]` -> `[A, B]`.
        images_at_once: the weights normalise over so many images, so results depend on it.
    """
    device = next(network.parameters()).device
    sums = []
    for rows in torch.arange(len(architectures)).split(architectures_at_once):
        total = 0.0
        for images, labels in zip(part.images.split(images_at_once), part.labels.split(images_at_once)):
            logits = network(images[:, None].to(device), architectures[rows])
            total = total + score(logits, labels.to(device)).double().sum(dim=1)
        sums.append(total.cpu())
    return torch.cat(sums)


def is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Which images are classified correctly, bool `[A, B]`."""
    return logits.argmax(dim=-1) == labels


def shared_accuracy(network: MacroNetwork, architectures: DagBatch, part: Images) -> Tensor:
    """Percent of images that each of A architectures gets right with the weights of `network`, float64 `[A]`."""
    right = sum_over_images(network, architectures, part, is_right, IMAGES_AT_ONCE, ARCHITECTURES_AT_ONCE)
    return 100 * right / len(part)
