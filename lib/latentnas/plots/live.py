"""The page of `explorer` inside Jupyter, with the model behind it: it moves in all dimensions of the latent space.

live(model, ENAS, means, predict, evaluator.query, {"accuracy": predict})
"""

from collections.abc import Callable, Mapping

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

SCRIPT = """
function render({ model, el }) {
  const [row, sliders, frame] = ["div", "div", "iframe"].map((name) => document.createElement(name));
  const make = (name, words, parent, values = {}) => {
    const label = document.createElement("label"), hand = document.createElement(name);
    label.append(words + " ", Object.assign(hand, values));
    label.style = "display: inline-flex; align-items: center; gap: 6px; margin: 2px 14px 2px 0; min-height: 30px";
    parent.append(label);
    return hand;
  };
  const send = (name, value) => {
    if (JSON.stringify(value) === JSON.stringify(model.get(name))) return draw();  // no new page would come
    frame.style.opacity = .4; model.set(name, value); model.save_changes();
  };
  const shares = model.get("shares"), named = (k) => `component ${k + 1} (${(100 * shares[k]).toFixed(0)} %)`;
  const choices = ["across", "up"].map((words, side) => {
    const choice = make("select", words, row);
    choice.append(...shares.map((_, k) => new Option(named(k), k)));
    choice.onchange = () => {
      if (choices[0].value === choices[1].value) return draw();
      send("axes", choices.map((one) => +one.value));
    };
    return choice;
  });
  const hands = shares.map((_, k) => {
    const hand = make("input", named(k), sliders, { type: "range", min: -3, max: 3, step: .25 });
    hand.onchange = () => send("place", hands.map((one) => +one.value));
    return hand;
  });
  const home = Object.assign(document.createElement("button"), { textContent: "all others to their middle" });
  home.onclick = () => send("place", shares.map(() => 0));
  row.append(home);
  frame.title = "Latent-space explorer";
  frame.style = "width: 100%; height: 880px; border: 0";
  sliders.style = "max-height: 110px; overflow-y: auto; border: 1px solid #dcdcdc; padding: 4px 8px";
  const draw = () => {
    frame.srcdoc = model.get("page");
    frame.style.opacity = 1;
    choices.forEach((choice, side) => choice.value = model.get("axes")[side]);
    hands.forEach((hand, k) => { hand.value = model.get("place")[k]; hand.disabled = model.get("axes").includes(k); });
  };
  model.on("change:page", draw);
  el.append(row, sliders, frame);
  draw();
}
export default { render };
"""


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
