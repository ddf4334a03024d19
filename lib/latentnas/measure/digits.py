"""Images small enough to train a network in a fraction of a second: the handwritten digits of scikit-learn.

1,797 images of 8 x 8 grey levels (UCI Optical Recognition of Handwritten Digits, test part; Kaynak 1995). Clean,
the task is too easy to rank architectures: most networks get 98 %. Here every image is shifted by up to one pixel
and covered with noise. Training images are corrupted anew in each epoch; validation and test images a fixed number
of times, which makes larger sets of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

SPLIT = (897, 400, 500)  # images to train, to validate and to test
COPIES = 10  # corrupted versions of every validation and test image


@dataclass(frozen=True)
class Images:
    """Images `[n, channels, H, W]` in float32, standardised, and their classes `[n]` in int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSets:
    """Images that train weights, that evaluate architectures during a search, and that evaluate what it found.
    `augment` makes of a batch of training images what a network is to see; the others are seen as they are."""

    train: Images
    valid: Images
    test: Images
    augment: Callable[[Tensor, torch.Generator], Tensor]


def load(noise: float, copies: int = COPIES) -> ImageSets:
    """The split of seed 0, with `copies` corrupted versions of every validation and test image; `noise` is its
    standard deviation, in those of the grey levels."""
    from sklearn.datasets import load_digits  # slow to import, and few need it

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.images, dtype=torch.float32)[order, None]
    labels = torch.tensor(data.target)[order]
    parts = [Images(*part) for part in zip(images.split(SPLIT), labels.split(SPLIT))]
    mean, deviation = parts[0].images.mean(), parts[0].images.std()
    parts = [Images((part.images - mean) / deviation, part.labels) for part in parts]
    held_out = []
    for seed, part in enumerate(parts[1:], start=1):
        generator = torch.Generator().manual_seed(seed)
        versions = [corrupt(part.images, generator, noise) for _ in range(copies)]
        held_out.append(Images(torch.cat(versions), part.labels.repeat(copies)))
    return ImageSets(parts[0], *held_out, augment=partial(corrupt, noise=noise))


def corrupt(images: Tensor, generator: torch.Generator, noise: float) -> Tensor:
    """Each image shifted by -1, 0 or 1 pixel along both axes, plus normal noise; `[n, 1, 8, 8]`."""
    shifted = shift(images, 1, float(images.amin()), generator)
    return shifted + noise * torch.randn(shifted.shape, generator=generator)


def shift(images: Tensor, most: int, background: float, generator: torch.Generator) -> Tensor:
    """Each image `[n, channels, H, W]` shifted by up to `most` pixels along both axes."""
    count, _, height, width = images.shape
    padded = F.pad(images, (most,) * 4, value=background).permute(0, 2, 3, 1)
    row = torch.randint(2 * most + 1, (count, 1, 1), generator=generator) + torch.arange(height)[:, None]
    column = torch.randint(2 * most + 1, (count, 1, 1), generator=generator) + torch.arange(width)
    return padded[torch.arange(count)[:, None, None], row, column].permute(0, 3, 1, 2).contiguous()
