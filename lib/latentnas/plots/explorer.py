"""A page to touch: a plane through a latent space, decoded on a grid, in one HTML file, from `explorer.html`."""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from latentnas.graphs import DagBatch
from latentnas.interfaces import GraphVAE, Space
from latentnas.paths import atomic_write
from latentnas.plots.cells import operation_look
from latentnas.plots.style import BLUE, VERMILLION, new_figure, styled

TEMPLATE = Path(__file__).with_suffix(".html")
MOST_MEANS = 1500  # training points shown, evenly chosen

Height = Callable[[Tensor], Tensor]  # a number for each point [B, D]


def explorer(
    path: Path,
    model: GraphVAE,
    space: Space,
    means: Tensor,
    predict: Height,
    judge: Callable[[DagBatch], pd.DataFrame],
    climbs: Mapping[str, Height],
    landmarks: Mapping[str, Tensor] | None = None,
    size: int = 61,
    title: str = "A latent space",
    note: str = "",
) -> Path:
    """Write the page and return its path.

    Args:
        means: encodings `[n, D]` of the training graphs; the plane is that of their two principal components.
        predict: predicted accuracies of points, in percent.
        judge: gives each graph a row with `judged` (accuracy in percent) and `flops` (multiply-adds for one image), NaN
            where there is none, and `known` (it is a label of a table). It is asked once for every distinct graph.
        climbs: by the words on its button, what a climb ascends. It keeps to the plane.
        landmarks: three named points `[D]`; the plane goes through them instead.
        size: points on each side of the grid.
        note: where model and accuracies come from, for the foot of the page.
    """
    along = f"through three points ({', '.join(landmarks)})" if landmarks else "along the two principal components"
    square = plane(means, landmarks)
    data = decoded(model, space, means, predict, judge, climbs, square, size, landmarks or {})
    return write_page(path, TEMPLATE, data | {"title": title, "note": note, "along": along})


@torch.no_grad()
def decoded(
    model: GraphVAE,
    space: Space,
    means: Tensor,
    predict: Height,
    judge: Callable[[DagBatch], pd.DataFrame],
    climbs: Mapping[str, Height],
    square: tuple[Tensor, Tensor, float],
    size: int,
    landmarks: Mapping[str, Tensor],
) -> dict[str, object]:
    """What the page shows of a square, given as by `plane`; the other arguments as of `explorer`."""
    origin, axes, half = square
    points = grid(origin, axes, half, size)
    graphs = model.decode(points).to("cpu")
    keys = graphs.keys()
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    cells = graphs[[keys.index(key) for key in number]]
    judged, valid = judge(cells), space.contains(cells)
    texts = np.full(len(cells), "", dtype=object)
    texts[valid.numpy()] = space.to_strings(cells[valid])
    source, target = np.triu_indices(cells.max_vertices, 1)
    centred = means - means.mean(dim=0)
    return {
        "size": size,
        "half": half,
        "vertices": cells.max_vertices,
        "share": ((centred @ axes.T).square().sum() / centred.square().sum()).item(),
        "count": len(means),
        "looks": [operation_look(name) for name in space.type_names],
        "colours": [to_hex(colour) for colour in plt.colormaps["viridis"](np.linspace(0, 1, 16))],
        "signed": [BLUE, "#f7f7f7", VERMILLION],
        "which": packed([number[key] for key in keys], "<u2"),
        "predicted": packed(predict(points).cpu(), "<f4"),
        "climbs": {words: packed(height(points).cpu(), "<f4") for words, height in climbs.items()},
        "means": packed((means[:: -(-len(means) // MOST_MEANS)] - origin).cpu() @ axes.T.cpu() / half, "<f4"),
        "landmarks": {name: ((point - origin) @ axes.T / half).tolist() for name, point in landmarks.items()},
        "types": packed(cells.types, "i1"),
        "edges": packed(np.packbits(cells.adjacency[:, source, target], axis=1, bitorder="little"), "u1"),
        "judged": packed(judged["judged"], "<f4"),
        "known": packed(judged["known"], "u1"),
        "flops": packed(judged["flops"] / 1e6, "<f4"),
        "texts": texts.tolist(),
    }


def write_page(path: Path, template: Path, data: Mapping[str, object]) -> Path:
    """Write a page with what it shows, as JSON, in place of `{{data}}`; return its path."""
    with atomic_write(path) as temporary:
        temporary.write_text(filled(template, data), encoding="utf-8")
    return path


def filled(template: Path, data: Mapping[str, object]) -> str:
    """The text of a page that holds these data."""
    return template.read_text(encoding="utf-8").replace("{{data}}", json.dumps(data).replace("<", "\\u003c"))


def held(page: Path) -> dict:
    """What a page was filled with."""
    _, _, after = page.read_text(encoding="utf-8").partition('<script type="application/json" id="data">')
    return json.loads(after.partition("</script>")[0])


@styled
def picture(data: Mapping) -> Figure:
    """The two maps with which a page of these data opens, for readers who cannot open it."""
    judged, known = unpacked(data["judged"], "<f4"), unpacked(data["known"], "u1")
    known = known[np.isfinite(judged)]
    real = "measured" if known.any() and known.all() else "evaluated"
    maps = {"predicted": unpacked(data["predicted"], "<f4"), real: judged[unpacked(data["which"], "<u2")]}
    low, high = np.nanquantile(np.concatenate([*maps.values()]), (0.01, 0.99))
    figure, axes = new_figure(2.3, columns=2, width=4.6)
    for ax, (name, values) in zip(axes[0], maps.items()):
        image = ax.imshow(values.reshape(data["size"], -1), "viridis", vmin=low, vmax=high, interpolation="nearest")
        ax.set(title=name, xticks=[], yticks=[], facecolor="#cdcdcd")
    figure.colorbar(image, ax=axes, label="accuracy (%)", extend="both").outline.set_visible(False)
    figure.set_label(f"accuracy on a plane through the latent space, predicted (left) and {real} (right)")
    return figure


def plane(means: Tensor, landmarks: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Tensor, float]:
    """Middle `[D]`, orthonormal axes `[2, D]` and half the side of a square: through three points, well inside of it,
    or along the two principal components of `means`, three standard deviations to each side."""
    if means.ndim != 2 or min(means.shape) < 2 or (not landmarks and (means == means[0]).all()):
        found = f"These, of shape {list(means.shape)}, have no plane"
        raise ValueError(
            f"{found}: give the codes [n, D] of two graphs or more, in two dimensions or more, not all alike."
        )
    if landmarks and len(landmarks) != 3:
        raise ValueError(f"A plane goes through three landmarks, not {len(landmarks)}.")
    values, vectors = torch.linalg.eigh(means.T.cov())
    if not landmarks:
        axes = vectors[:, [-1, -2]].T
        axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()  # their sign is chance
        return means.mean(dim=0), axes, 3 * values[-1].sqrt().item()
    points = torch.stack([*landmarks.values()])
    axes, lengths = torch.linalg.qr((points[1:] - points[0]).T)
    axes = (axes * torch.where(lengths.diagonal() < 0, -1, 1)).T
    flat = points @ axes.T
    middle = points[0] + ((flat.amin(0) + flat.amax(0)) / 2 - flat[0]) @ axes
    return middle, axes, max(0.7 * (flat.amax(0) - flat.amin(0)).max(), values[-1].sqrt()).item()


def grid(origin: Tensor, axes: Tensor, half: float, size: int) -> Tensor:
    """The points of the square `[size * size, D]`, row after row from the top left."""
    steps = torch.linspace(-half, half, size, dtype=origin.dtype, device=origin.device)
    y, x = torch.meshgrid(steps.flip(0), steps, indexing="ij")
    return origin + torch.stack([x, y], dim=-1).reshape(-1, 2) @ axes


def packed(values: ArrayLike, kind: str) -> str:
    """Numbers as base64."""
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode()


def unpacked(text: str, kind: str) -> np.ndarray:
    """The numbers that `packed` wrote."""
    return np.frombuffer(base64.b64decode(text), kind)
