"""The explorer inside Jupyter: it decodes anew wherever its hands move, in all dimensions."""

import base64
import json
import re

import numpy as np
import pytest
import torch

from browser import CHROMIUM, NO_CHROMIUM
from latentnas.evaluate import encode_all
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.plots.explorer import plane
from latentnas.spaces.enas import ENAS
from test_explorer import judge, opened_from_disk, random_model

pytest.importorskip("anywidget", reason="the live explorer needs anywidget")
from latentnas.plots.live import SCRIPT, live

SIZE = 9
HARNESS = """<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,"><div id="el"></div>
<script type="module">
const state = %s, asked = [], heard = {};
const model = { get: (name) => state[name], set: (name, value) => { state[name] = value; asked.push([name, value]); },
  save_changes() {}, on: (event, act) => { heard[event] = act; } };
const { default: widget } = await import("data:text/javascript," + encodeURIComponent(%s));
widget.render({ model, el: document.getElementById("el") });
Object.assign(window, { asked, heard, state, mark: true });
</script>"""


@pytest.fixture(scope="module")
def model():
    return random_model(NGAE, NGAEConfig(hidden=16, latent=4))


@pytest.fixture(scope="module")
def means(model):
    return encode_all(model, ENAS.sample(200, seed=0))


@pytest.fixture
def widget(model, means):
    return live(model, ENAS, means, model.performance, judge, {"accuracy": model.performance}, size=SIZE, note="a note")


def middle_of(widget):
    """What the page says of the point in the middle of its map: predicted, and the text of the architecture."""
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', widget.page, re.S)[1])
    centre = SIZE**2 // 2
    predicted, cell = (
        np.frombuffer(base64.b64decode(data[name]), kind)[centre]
        for name, kind in (("predicted", "<f4"), ("which", "<u2"))
    )
    return predicted, data["texts"][cell], data["along"]


def test_it_begins_as_the_page_does_and_moves_in_all_dimensions(widget, model, means):
    origin = plane(means)[0]
    predicted, _, along = middle_of(widget)
    assert predicted == pytest.approx(model.performance(origin[None]).item(), abs=1e-5) and "1 and 2" in along
    values, vectors = torch.linalg.eigh(means.T.cov())
    assert widget.shares == pytest.approx((values.flip(0) / values.sum()).tolist())
    for component, steps in ((2, 1.5), (3, -2.0)):
        widget.place = [steps if k in (component, 0) else 0.0 for k in range(4)]  # the first spans the map: no effect
        point = origin + steps * values.flip(0)[component].sqrt() * vectors.flip(1)[:, component]
        assert middle_of(widget)[0] == pytest.approx(model.performance(point[None]).item(), abs=1e-4)
        decoded = model.decode(point[None])
        text = ENAS.to_strings(decoded)[0] if ENAS.contains(decoded) else ""
        assert middle_of(widget)[1] == text


def test_other_components_span_the_map_and_one_twice_changes_nothing(widget):
    before = widget.page
    widget.axes = [3, 1]
    assert widget.page != before and "4 and 2" in middle_of(widget)[2]
    before = widget.page
    widget.axes = [2, 2]
    assert widget.page == before


def test_its_hands_send_what_they_are_moved_to(widget, tmp_path):
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    state = {name: getattr(widget, name) for name in ("page", "shares", "axes", "place")}
    words = [json.dumps(value).replace("<", "\\u003c") for value in (state, SCRIPT)]
    file = tmp_path / "live.html"
    file.write_text(HARNESS % tuple(words), encoding="utf-8")
    with opened_from_disk(file, tmp_path / "browser", "window.mark") as tab:
        moved = "(e, v) => { e.value = v; e.dispatchEvent(new Event('change')); }"
        assert tab.evaluate("[...document.querySelectorAll('input')].map(e => e.disabled)") == [
            True,
            True,
            False,
            False,
        ]
        tab.evaluate(f"({moved})(document.querySelectorAll('input')[2], 1.5)")
        tab.evaluate(f"({moved})(document.querySelectorAll('select')[1], 0)")  # as the other: nothing to draw
        tab.evaluate(f"({moved})(document.querySelectorAll('select')[1], 3)")
        tab.evaluate("document.querySelector('button').click()")
        assert tab.evaluate("asked") == [["place", [0, 0, 1.5, 0]], ["axes", [0, 3]], ["place", [0, 0, 0, 0]]]
        tab.evaluate("heard['change:page']()")
        assert tab.evaluate("[...document.querySelectorAll('input')].map(e => e.disabled)") == [
            True,
            False,
            False,
            True,
        ]
        shown = "document.querySelector('iframe').contentDocument?.getElementById('note')?.textContent"
        assert tab.evaluate(f"new Promise(r => setTimeout(() => r({shown}), 1500))") == "a note"
        named = "[...document.querySelectorAll('input, select')].filter(e => !e.closest('label').textContent.trim())"
        assert tab.evaluate(f"{named}.length") == 0
