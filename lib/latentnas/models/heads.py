"""Regression heads on the latent code: what they learn from labels, and NGAE's predictors.

NGAE (Li et al., 2020, https://arxiv.org/abs/2006.10310) trains them with the autoencoder:
loss = reconstruction + beta KL + sum_k w_k (p_k(z) - y_k)^2. Every head learns labels on a scale fixed before
training, y = (label - zero) / unit. Letters: B graphs, D latent.
"""

import math

import torch
from torch import Tensor, nn

from latentnas.settings import one_of

LABEL_SCALES = ("percent", "standardised", "upper", "none")


class LabelScale(nn.Module):
    """From labels to what a network learns. "percent": label / 100, for accuracies in percent; "standardised": zero
    mean and unit deviation of the training labels; "upper": their median becomes 0, their 90 % quantile 1 (where both
    are the same, 1 is a deviation above), and nothing lies below -2, so that what hardly learns does not press the good
    ones together; "none": the label itself."""

    def __init__(self, label_scale: str) -> None:
        super().__init__()
        one_of("label_scale", label_scale, LABEL_SCALES)
        self.label_scale = label_scale
        # the label that becomes 0, and how much more becomes 1
        self.register_buffer("zero", torch.tensor(0.0))
        self.register_buffer("unit", torch.tensor(100.0 if label_scale == "percent" else 1.0))

    def calibrate(self, labels: Tensor) -> None:
        """Check the training labels `[B]` and take their scale.

        Raises:
            ValueError: a label that is NaN or infinite; fractions where percent are expected; labels that do not
                differ where the scale is taken from them.
        """
        strange = int((~labels.isfinite()).sum())
        if strange or not len(labels):
            found = f"{strange} of {len(labels)} labels are NaN or infinite"
            raise ValueError(f"{found}. Give finite ones, at least one: leave out architectures without a label.")
        found = f"These {len(labels)} labels, from {labels.min():g} to {labels.max():g},"
        if self.label_scale == "percent" and labels.max() <= 1:
            asked = "Give them in percent, or choose another label_scale where the model has that setting"
            raise ValueError(f"{found} are no accuracies in percent. {asked}.")
        if self.label_scale in ("percent", "none"):
            return
        zero, units = labels.mean(), [labels.std(correction=0)]
        if self.label_scale == "upper":
            zero = labels.quantile(0.5)
            units.insert(0, labels.quantile(0.9) - zero)
        units = [unit for unit in units if unit > 1e-6 * zero.abs()]  # equal labels may differ by rounding
        if not units:
            raise ValueError(f"{found} have no spread to be scaled by. Give labels of architectures that differ.")
        self.zero.copy_(zero)
        self.unit.copy_(units[0])

    def standardise(self, labels: Tensor) -> Tensor:
        """Labels in their own unit as the network learns them."""
        return ((labels - self.zero) / self.unit).clamp(min=-2.0 if self.label_scale == "upper" else -math.inf)

    def unstandardise(self, values: Tensor) -> Tensor:
        """The inverse of `standardise`, of what is not below its lowest value."""
        return values * self.unit + self.zero


class Head(LabelScale):
    """A property of an architecture from its latent code, `[B, D] -> [B]`, on the scale of `standardise`."""

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """Squared error on the scale of the labels, `[B]`."""
        return (self(z) - self.standardise(labels)).square()

    def project(self) -> None:
        """Move the weights back to where they are allowed to be."""


class Predictor(Head):
    """NGAE's predictor (Li et al., 2020): two hidden layers and a sigmoid, as the paper says (section 3.2).

    The sigmoid spans the range of the training labels with a tenth of it to spare on either side. `released=True`
    is the authors' code: one hidden layer, and the sigmoid is the label itself on its `label_scale`, from 0 to 1.
    """

    def __init__(self, latent: int, hidden: int, released: bool = False, label_scale: str = "none") -> None:
        super().__init__(label_scale if released else "standardised")
        layers = [nn.Linear(latent, hidden), nn.Tanh()]
        if not released:
            layers += [nn.Linear(hidden, hidden), nn.Tanh()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, 1))
        self.released = released
        self.register_buffer("low", torch.tensor(0.0))
        self.register_buffer("high", torch.tensor(1.0))

    def calibrate(self, labels: Tensor) -> None:
        super().calibrate(labels)
        lowest, highest = self.standardise(labels).aminmax()
        if not self.released:
            spare = 0.1 * (highest - lowest)
            self.low.copy_(lowest - spare)
            self.high.copy_(highest + spare)
        elif not 0 <= lowest <= highest <= 1:
            scaled = "Divide them by their largest" if lowest >= 0 else "Take (label - lowest) / (highest - lowest)"
            asked = {"percent": "Give percent, from 0 to 100", "none": scaled}
            advice = asked.get(self.label_scale, 'Choose label_scale="none" and labels from 0 to 1')
            found = f"A sigmoid gives 0 to 1, but on their scale these labels run from {lowest:g} to {highest:g}"
            raise ValueError(f'{found}. {advice}, or choose predictors="paper".')

    def forward(self, z: Tensor) -> Tensor:
        value = self.layers(z).squeeze(-1).to(self.low.dtype)  # bf16 becomes fp32, fp64 stays
        return self.low + (self.high - self.low) * value.sigmoid()
