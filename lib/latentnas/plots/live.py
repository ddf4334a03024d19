"""The page of `explorer` inside Jupyter, with the model behind it: it moves in all dimensions of the latent space.

live(model, ENAS, means, predict, evaluator.query, {"accuracy": predict})
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from latentnas.graphs import DagBatch
from latentnas.interfaces import GraphVAE, Space
from latentnas.plots.explorer import TEMPLATE, Height, decoded, filled

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise ImportError("The live explorer needs a package: pip install anywidget. Then restart the kernel.") from error

SCRIPT = Path(__file__).with_name("live.js").read_text(encoding="utf-8")


class Live(anywidget.AnyWidget):
    """A map along two principal components of the training codes, and a place in all the others."""

    _esm = SCRIPT
    page = traitlets.Unicode().tag(sync=True)
    shares = traitlets.List(traitlets.Float()).tag(sync=True)  # of the spread of the codes, per component
    axes = traitlets.List(traitlets.Int(), [0, 1]).tag(sync=True)  # across and up; the same twice changes nothing
    place = traitlets.List(traitlets.Float()).tag(sync=True)  # in standard deviations of the codes, per component


def live(
    model: GraphVAE,
    space: Space,
    means: Tensor,
    predict: Height,
    judge: Callable[[DagBatch], pd.DataFrame],
    climbs: Mapping[str, Height],
    size: int = 21,
    title: str = "A latent space",
    note: str = "",
) -> Live:
    """The widget; its arguments are those of `explorer`. Each change decodes `size * size` points anew."""
    values, vectors = torch.linalg.eigh(means.T.cov())
    deviations, components = values.flip(0).clamp(min=0).sqrt(), vectors.flip(1).T

    def draw(change: object = None) -> None:
        across, up = widget.axes
        if across == up:
            return
        axes, place = components[[across, up]], means.new_tensor(widget.place) * deviations
        place[[across, up]] = 0
        square = means.mean(dim=0) + place @ components, axes, 3 * deviations[[across, up]].max().item()
        data = decoded(model, space, means, predict, judge, climbs, square, size, {})
        along = f"along the principal components {across + 1} and {up + 1}, the others where the sliders stand"
        widget.page = filled(TEMPLATE, data | {"title": title, "note": note, "along": along})

    widget = Live(shares=(values.flip(0) / values.sum()).tolist(), place=[0.0] * means.shape[1])
    widget.observe(draw, ["axes", "place"])
    draw()
    return widget
