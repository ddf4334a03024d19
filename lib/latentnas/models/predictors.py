"""Regression heads on the latent code, and the supervised judge that scores architectures nobody has labelled."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Predictor(nn.Module):
    """A property of an architecture from its latent code, on the standardised scale.

    Two hidden layers and a sigmoid, as the NGAE paper says (section 3.2); the sigmoid spans the range of the
    training labels with a tenth of it to spare on either side. ``released=True`` is the authors' code: one
    hidden layer, and the sigmoid is the label itself.

    Args:
        latent: D. hidden: units of each hidden layer.

    Shapes: ``[B, D] -> [B]``.
    """

    def __init__(self, latent: int, hidden: int, released: bool = False) -> None:
        super().__init__()
        layers = [nn.Linear(latent, hidden), nn.Tanh()]
        if not released:
            layers += [nn.Linear(hidden, hidden), nn.Tanh()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, 1))
        self.released = released
        for name, value in {"mean": 0.0, "std": 1.0, "low": 0.0, "high": 1.0}.items():
            self.register_buffer(name, torch.tensor(value))

    def calibrate(self, labels: Tensor) -> None:
        """Take mean, standard deviation and range of the training labels ``[B]``; the released head uses none."""
        if self.released:
            return
        self.mean.copy_(labels.mean())
        self.std.copy_(labels.std(correction=0))
        lowest, highest = self.standardise(labels).aminmax()
        spare = 0.1 * (highest - lowest)
        self.low.copy_(lowest - spare)
        self.high.copy_(highest + spare)

    def standardise(self, labels: Tensor) -> Tensor:
        return (labels - self.mean) / self.std

    def unstandardise(self, values: Tensor) -> Tensor:
        return values * self.std + self.mean

    def forward(self, z: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * self.layers(z).squeeze(-1).float().sigmoid()

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """Squared error on the standardised scale, ``[B]``."""
        return (self(z) - self.standardise(labels)).square()
