"""Zero-cost proxies against their definitions, on plain networks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from latentnas.measure import digits
from latentnas.measure.cells import CellNetworks
from latentnas.measure.digits import Images
from latentnas.oneshot.proxies import zero_cost
from latentnas.spaces.nasbench201 import CELL_EDGES

CELL = torch.tensor([3, 0, 4, 1, 2, 3])


@pytest.fixture(scope="module")
def batch():
    part = digits.load(0.5, copies=1).train
    return Images(part.images[:12], part.labels[:12])


def plain_forward(network, cell, images):
    """The network of one cell, written out; its logits and the input of every rectifier."""
    seen = []

    def rectify(value):
        seen.append(value)
        return value.clamp(min=0)

    def convolve(layer, value):
        mapped = functional.conv2d(value, layer.weight, padding=layer.weight.shape[-1] // 2)
        return functional.batch_norm(
            mapped, None, None, layer.normalisation.weight, layer.normalisation.bias, training=True
        )

    def stage(cell_module, value):
        nodes = [value]
        for target in (1, 2, 3):
            total = torch.zeros_like(value)
            for edge, (source, end) in enumerate(CELL_EDGES):
                operation = int(cell[edge])
                if end != target or operation == 0:
                    continue
                node = nodes[source]
                if operation in (2, 3):
                    node = convolve(cell_module.edges[edge].convolutions[str(operation)], rectify(node))
                elif operation == 4:
                    node = functional.avg_pool2d(node, 3, 1, 1, count_include_pad=False)
                total = total + node
            nodes.append(total)
        return nodes[3]

    hidden = stage(network.narrow[0], convolve(network.stem, images))
    hidden = stage(network.wide[0], convolve(network.reduction, rectify(functional.avg_pool2d(hidden, 2))))
    norm = network.normalisation
    hidden = rectify(functional.batch_norm(hidden, None, None, norm.weight, norm.bias, training=True))
    return hidden.mean(dim=(2, 3)) @ network.classifier[0] + network.bias[0], seen


@pytest.mark.parametrize("seed", (0, 1))
def test_both_proxies_are_those_of_the_plain_network(batch, seed):
    network = CellNetworks(CELL[None], [seed])
    logits, seen = plain_forward(network, CELL, batch.images)
    weights = list(network.parameters())
    gradients = torch.autograd.grad(functional.cross_entropy(logits, batch.labels), weights, allow_unused=True)
    norms = [gradient.square().sum().sqrt().item() for gradient in gradients if gradient is not None]
    codes = np.concatenate([value.detach().flatten(1).numpy() > 0 for value in seen], axis=1)
    alike = [[(one == other).sum() for other in codes] for one in codes]
    found = zero_cost(CELL, batch, seed)
    assert found["gradient norm"] == pytest.approx(sum(norms), rel=1e-4)
    assert found["NASWOT"] == pytest.approx(np.linalg.slogdet(np.array(alike, dtype=float))[1], rel=1e-9)


def test_images_that_look_alike_have_the_lowest_score(batch):
    with pytest.raises(ValueError, match="empty"):
        zero_cost(CELL, Images(batch.images[:0], batch.labels[:0]), 0)
    same = Images(batch.images[:1].repeat(4, 1, 1, 1), batch.labels[:4])
    assert zero_cost(CELL, same, 0)["NASWOT"] < zero_cost(CELL, Images(batch.images[:4], batch.labels[:4]), 0)["NASWOT"]
