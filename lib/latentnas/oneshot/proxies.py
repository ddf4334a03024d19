"""Zero-cost proxies: what a network says of its cell before any training, from one batch of images.

* The gradient norm (Abdelfattah et al., ICLR 2021, https://arxiv.org/abs/2101.08134): the norms of the loss's gradient,
  summed over the tensors of weights.
* NASWOT (Mellor et al., ICML 2021, https://arxiv.org/abs/2006.04647): log determinant of the kernel that counts, for
  two images, the rectifiers at which both are on or both are off. The more alike the images, the lower.

The count of parameters and FLOPs needs no network: benchmarks have both.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from latentnas.measure.cells import CellNetworks
from latentnas.measure.digits import Images


class _Rectified(TorchFunctionMode):
    """Collects which entries of the input of each rectifier are positive, `[B, entries]`."""

    def __init__(self) -> None:
        super().__init__()
        self.on: list[Tensor] = []

    def __torch_function__(
        self, function: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if function is F.relu:
            self.on.append(args[0].detach().flatten(1) > 0)
        return function(*args, **(kwargs or {}))


def zero_cost(cell: Tensor, batch: Images, seed: int) -> dict[str, float]:
    """Both proxies of the cell `[6]` in the network of `digits-nb201`, initialised from `seed`: the higher, the better.
    NASWOT is minus infinity where two images switch on the same rectifiers."""
    if not len(batch.labels):
        raise ValueError("Zero-cost proxies need a batch of images, and this one is empty.")
    network = CellNetworks(cell[None], [seed])
    with _Rectified() as rectified:
        [logits] = network(batch.images)
    F.cross_entropy(logits, batch.labels).backward()
    gradients = [weight.grad.norm() for weight in network.parameters() if weight.grad is not None]
    on = torch.cat(rectified.on, dim=1).double()
    kernel = on @ on.t() + (1 - on) @ (1 - on).t()
    return {"gradient norm": float(sum(gradients)), "NASWOT": torch.linalg.slogdet(kernel).logabsdet.item()}
