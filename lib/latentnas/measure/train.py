"""Training of small networks on the digits: many cell networks at once, or one set of shared weights."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from latentnas.graphs import DagBatch
from latentnas.measure.digits import Digits, Images, corrupt
from latentnas.measure.macro import MacroNetwork
from latentnas.spaces.enas import ENAS

IMAGES_AT_ONCE = 500  # in evaluation; shared weights are normalised over so many images
ARCHITECTURES_AT_ONCE = 8
SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: SGD with Nesterov momentum and a cosine schedule."""

    epochs: int = 15
    batch_size: int = 32
    learning_rate: float = 0.1  # the peak, reached after ``warmup``
    warmup: float = 0.1  # share of the steps
    momentum: float = 0.9
    weight_decay: float = 5e-4
    noise: float = 0.5  # of the corrupted images


def train_side_by_side(networks: nn.Module, data: Digits, schedule: Schedule, seed: int) -> None:
    """Train M networks in place, each as if it were alone; all see the same batches, drawn from ``seed``."""
    optimizer = _optimizer(networks, schedule)
    for images, labels in _batches(data.train, optimizer, schedule, seed):
        _step(optimizer, networks(images), labels.expand(networks.networks, -1))


def train_alone(network: MacroNetwork, architecture: DagBatch, data: Digits, schedule: Schedule, seed: int) -> None:
    """Train one architecture (a batch of one graph) in place; the weights it does not use stay as they are."""
    optimizer = _optimizer(network, schedule)
    for images, labels in _batches(data.train, optimizer, schedule, seed):
        _step(optimizer, network(images[:, None], architecture), labels[None])


def train_shared(network: MacroNetwork, at_once: int, data: Digits, schedule: Schedule, seed: int) -> None:
    """Train shared weights in place: each step draws ``at_once`` architectures uniformly and gives each an equal
    part of the batch (Pham et al., 2018, with uniform sampling in place of the controller)."""
    optimizer = _optimizer(network, schedule)
    steps = schedule.epochs * (len(data.train) // schedule.batch_size)
    started = printed = time.monotonic()
    for step, (images, labels) in enumerate(_batches(data.train, optimizer, schedule, seed)):
        if time.monotonic() - printed > SECONDS_BETWEEN_LINES:
            printed = time.monotonic()
            left = (printed - started) / step * (steps - step)
            print(f"shared weights: step {step}/{steps}  {left:.0f} s left", file=sys.stderr, flush=True)
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
    steps = len(part) // schedule.batch_size
    for step in range(schedule.epochs * steps):
        if step % steps == 0:
            order = torch.randperm(len(part), generator=generator)
            images = corrupt(part.images, schedule.noise, generator)
        done = (step + 1) / (schedule.epochs * steps + 1)
        rate = schedule.learning_rate * min(1.0, done / schedule.warmup) * (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = order[step % steps * schedule.batch_size :][: schedule.batch_size]
        yield images[rows], part.labels[rows]


def _step(optimizer: torch.optim.Optimizer, logits: Tensor, labels: Tensor) -> None:
    """One update from logits ``[M, B, classes]`` and labels ``[M, B]``: a mean over images, a sum over M."""
    loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten()) * len(logits)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def accuracy(networks: nn.Module, part: Images) -> Tensor:
    """Percent of images that each of M networks gets right, float64 ``[M]``."""
    networks.eval()
    batches = zip(part.images.split(IMAGES_AT_ONCE), part.labels.split(IMAGES_AT_ONCE))
    right = sum((networks(images).argmax(dim=-1) == labels).sum(dim=1) for images, labels in batches)
    return 100 * right.double() / len(part)


@torch.no_grad()
def shared_accuracy(network: MacroNetwork, architectures: DagBatch, part: Images) -> Tensor:
    """Percent of images that each of A architectures gets right with the weights of ``network``, float64 ``[A]``."""
    right = torch.zeros(len(architectures), dtype=torch.int64)
    for rows in torch.arange(len(architectures)).split(ARCHITECTURES_AT_ONCE):
        for images, labels in zip(part.images.split(IMAGES_AT_ONCE), part.labels.split(IMAGES_AT_ONCE)):
            right[rows] += (network(images[:, None], architectures[rows]).argmax(dim=-1) == labels).sum(dim=1)
    return 100 * right.double() / len(part)
