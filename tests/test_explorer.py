"""The page to touch: what it holds is what the model says, and hands, keys and readers can use it."""

import base64
import copy
import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from browser import CHROMIUM, NO_CHROMIUM, opened_from_disk, until
from companion import paths
from companion.figures.pages import embedded
from latentnas.evaluate import encode_all
from latentnas.graphs import DagBatch, equal
from latentnas.models.crlso import CRLSO, CRLSOConfig
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.plots.cells import arc_sides
from latentnas.plots.explorer import explorer, grid, held, packed, picture, plane, unpacked
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench201 import NASBENCH201

SIZE = 21
NAMES = ["ours", "<goal>", "climbed"]  # of the landmarks
READY = "document.querySelector('.mark')"
KINDS = {"which": "<u2", "types": "i1", "edges": "u1", "known": "u1"}


def judge(batch):
    """Half of the architectures are in a table; some have no accuracy."""
    edges, vertices = batch.adjacency.flatten(1).sum(1).numpy(), batch.num_vertices.numpy()
    judged, valid = pd.Series(60 + 1.7 * edges), ENAS.contains(batch)
    flops = np.full(len(batch), np.nan)
    flops[valid.numpy()] = ENAS.flops(batch[valid])
    judged = judged.where((edges % 5 != 3) & valid.numpy())
    return pd.DataFrame({"judged": judged, "known": (edges + vertices) % 2 == 0, "flops": flops})


def random_model(kind, config):
    """Of random weights, large enough that neighbours decode to different graphs."""
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3)
    return model


@pytest.fixture(scope="module")
def model():
    return random_model(NGAE, NGAEConfig(hidden=16, latent=4))


@pytest.fixture(scope="module")
def means(model):
    return encode_all(model, ENAS.sample(200, seed=0))


@pytest.fixture(scope="module", params=[False, True], ids=["components", "landmarks"])
def landmarks(request, means):
    return dict(zip(NAMES, means)) if request.param else None


@pytest.fixture(scope="module")
def page(model, means, landmarks, tmp_path_factory):
    return written(tmp_path_factory.mktemp("page") / "explorer.html", model, means, landmarks)


def written(path, model, means, landmarks):
    climbs = {"accuracy": model.performance, "accuracy < cost": lambda z: model.performance(z) - model.complexity(z)}
    assert path == explorer(path, model, ENAS, means, model.performance, judge, climbs, landmarks, SIZE, "</script>")
    return path


def data_of(page):
    data = held(page)
    for name in ("which", "predicted", "means", "types", "edges", "judged", "known", "flops"):
        data[name] = unpacked(data[name], KINDS.get(name, "<f4"))
    return data


def graphs_of(data, rows):
    """The graphs of those cells, unpacked as the page does it."""
    n = data["vertices"]
    types = torch.tensor(data["types"].reshape(-1, n)[rows].astype(np.int64))
    bits = np.unpackbits(data["edges"].reshape(-1, -(-n * (n - 1) // 16))[rows], axis=1, bitorder="little")
    adjacency = torch.zeros(len(rows), n, n, dtype=torch.bool)
    source, target = np.triu_indices(n, 1)
    adjacency[:, source, target] = torch.tensor(bits[:, : len(source)].astype(bool))
    return DagBatch(types, adjacency, (types >= 0).sum(1))


def test_the_page_holds_what_model_and_judge_say(page, model, means, landmarks):
    data = data_of(page)
    chosen = np.random.default_rng(0).choice(SIZE**2, 50, replace=False)
    points = grid(*plane(means, landmarks), SIZE)[chosen]
    with torch.no_grad():
        decoded, predicted = model.decode(points), model.performance(points)
    cells = data["which"][chosen]
    assert len(set(cells.tolist())) > 10 and len(data["judged"]) == data["which"].max() + 1
    assert equal(graphs_of(data, cells), decoded).all()
    np.testing.assert_allclose(data["predicted"][chosen], predicted, atol=1e-5)
    every = graphs_of(data, np.arange(len(data["judged"])))
    expected = judge(every)
    np.testing.assert_array_equal(data["judged"], expected["judged"].astype(np.float32))
    np.testing.assert_array_equal(data["known"], expected["known"])
    for text, flops, graph in zip(data["texts"], data["flops"], range(len(every))):
        assert text == (ENAS.to_strings(every[[graph]])[0] if ENAS.contains(every[[graph]]) else "")
        assert np.isnan(flops) if text == "" else flops == np.float32(ENAS.flops(every[[graph]]).item() / 1e6)


def test_the_plane_goes_through_the_landmarks(page, means, landmarks):
    origin, axes, half = plane(means, landmarks)
    torch.testing.assert_close(axes @ axes.T, torch.eye(2))
    for name, point in (landmarks or {}).items():
        flat = torch.tensor(data_of(page)["landmarks"][name])
        torch.testing.assert_close(origin + half * flat @ axes, point, atol=1e-4, rtol=1e-4)
        assert flat.abs().max() < 0.75
    assert 0 < data_of(page)["share"] <= 1


def test_the_plane_of_equal_landmarks_is_still_a_plane(means):
    _, axes, half = plane(means, {"a": means[0], "b": means[0], "c": means[1]})
    torch.testing.assert_close(axes @ axes.T, torch.eye(2))
    assert half > 0 and plane(means, {"a": means[0], "b": means[0], "c": means[0]})[2] > 0


@pytest.mark.parametrize("codes", [torch.zeros(5, 3), torch.randn(1, 3), torch.randn(5, 1)])
def test_codes_without_a_plane_are_refused(codes):
    with pytest.raises(ValueError, match="have no plane: give the codes"):
        plane(codes)
    with pytest.raises(ValueError, match="three landmarks, not 2"):
        plane(torch.randn(5, 3), {"a": torch.zeros(3), "b": torch.ones(3)})


def test_accuracies_that_nobody_judged_are_not_called_measured(page):
    data = held(page)
    nobody = {"judged": packed(np.full(len(unpacked(data["known"], "u1")), np.nan), "<f4")}
    figure = picture(data | nobody | {"known": packed(np.zeros(len(unpacked(data["known"], "u1"))), "u1")})
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["predicted", "evaluated"]


def test_a_collapsed_model_has_one_architecture_everywhere(model, means, tmp_path):
    chosen = ENAS.sample(1, seed=1)
    collapsed = copy.copy(model)
    collapsed.decode = lambda z: chosen[[0] * len(z)]
    data = data_of(written(tmp_path / "collapsed.html", collapsed, means, None))
    assert not data["which"].any() and data["texts"] == ENAS.to_strings(chosen)
    assert equal(graphs_of(data, [0]), chosen)


def test_the_page_is_small_and_needs_nothing_else(page):
    text = page.read_text()
    assert len(text.encode()) <= 300_000
    assert not re.search(r"https?:|//cdn|@import|<link(?![^>]*data:)|\bsrc=|fetch\(|XMLHttp", text)
    assert "<title>" in text and 'lang="en"' in text and text.count("</script>") == 2


def test_a_notebook_shows_the_page_from_where_it_lies_and_a_picture_where_frames_are_not_shown(
    monkeypatch, tmp_path, page
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(paths, "EXECUTED", tmp_path / "notebooks/executed")
    copied = paths.FIGURES / "quick/00_explorer.html"
    copied.parent.mkdir(parents=True)
    shutil.copy(page, copied)
    for variable, folder in ((None, tmp_path), ("00_start_here", paths.EXECUTED / "quick")):
        monkeypatch.delenv("LATENTNAS_NOTEBOOK", raising=False)
        if variable:
            monkeypatch.setenv("LATENTNAS_NOTEBOOK", variable)
        shown = embedded(copied, "Explorer").data
        address = os.path.relpath(copied, folder)
        frame, link = shown.split("</iframe>")
        assert frame.startswith(f'<iframe src="{address}" title="Explorer" ')
        assert link.startswith(f'<p><a href="{address}"><img src="data:image/png;base64,')
        assert link.endswith("<br>Explorer: open it as a page of its own</a></p>")
        assert 'alt="Explorer: accuracy on a plane through the latent space, predicted (left) and evaluated' in link
        with Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)"', link)[1]))) as picture:
            assert picture.size == (460, 230)
        assert len(shown) < 60_000


@pytest.fixture(scope="module")
def opened(model, means, tmp_path_factory):
    """The page in a browser, as after a double click."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    page = written(tmp_path_factory.mktemp("page") / "explorer.html", model, means, dict(zip(NAMES, means)))
    with opened_from_disk(page, tmp_path_factory.mktemp("browser"), READY) as tab:
        yield tab


def test_the_page_says_in_view_what_its_words_mean(opened):
    data = data_of(Path(opened.evaluate("location.href").removeprefix("file://")))
    valid = np.array([bool(text) for text in data["texts"]])[data["which"]].mean()
    seen = opened.evaluate("[...document.querySelectorAll('main > p, section')].map(e => e.textContent).join(' ')")
    assert f"; {int(100 * valid)} % of these are architectures" in seen and 0 < valid < 1
    assert f"holds {100 * data['share']:.0f} % of the spread" in seen and "close may be far apart" in seen
    assert (
        "Predicted: " in seen and "Evaluated: " in seen and "called FLOPs" in opened.evaluate("$('about').textContent")
    )
    said = "[...document.querySelectorAll('main *')].map(e => [e.title, e.getAttribute('aria-label'), e.value])"
    assert "promis" not in (seen + opened.evaluate(f"{said}.flat().join(' ')")).lower()


def focus(tab, side=0):
    tab.evaluate(f"document.getElementById('home').click(); document.querySelectorAll('.map')[{side}].focus()")


def press(tab, key, shift=False):
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 if shift else 0)


def frame(tab):
    """The page has drawn what it was told."""
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def marks(tab):
    """Where the point stands on both maps, in squares of the grid from their top left."""
    middle = "(b => [b.left + b.width / 2, b.top + b.height / 2])(one.mark.getBoundingClientRect())"
    on = f"SIDES.map(one => [{middle}, one.map.getBoundingClientRect()]).map(([[x, y], b]) => "
    return tab.evaluate(on + "[(x - b.left) / b.width * N - .5, (y - b.top) / b.width * N - .5])")


@pytest.mark.parametrize("side", [0, 1])
def test_keys_move_the_point_and_a_reader_hears_it(opened, side):
    focus(opened, side)
    home = opened.evaluate("here")
    for key, shift, expected in [("ArrowRight", False, 1), ("ArrowUp", False, 1 - SIZE), ("Home", False, 0)]:
        press(opened, key, shift)
        assert opened.evaluate("here") == home + expected
        frame(opened)
        for place in marks(opened):
            assert place == pytest.approx([(home + expected) % SIZE, (home + expected) // SIZE], abs=0.1)
    press(opened, "ArrowDown")
    until(lambda: opened.evaluate("$('live').textContent.endsWith(inWords(at(here)))"))
    assert re.match(r"Predicted .* percent, .* 0 in, 1 .* Skip connections: ", opened.evaluate("$('live').textContent"))
    for _ in range(SIZE):
        press(opened, "ArrowLeft", shift=True)
    assert opened.evaluate("here % N") == 0


@pytest.mark.parametrize("side", [0, 1])
def test_the_mouse_drags_the_point(opened, side):
    focus(opened, side)
    left, top, width = opened.evaluate(f"(b => [b.left, b.top, b.width])(SIDES[{side}].map.getBoundingClientRect())")
    seen = []
    for step, kind in enumerate(["mousePressed", *["mouseMoved"] * 10, "mouseReleased"]):
        x, y = left + width * (min(step, 10) + 2) / 20, top + width / 3
        opened.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        seen.append(opened.evaluate("here"))
        assert abs(opened.evaluate("here % N") + 0.5 - (min(step, 10) + 2) / 20 * SIZE) <= 0.51
    frame(opened)
    shown = opened.evaluate("[$('predicted').textContent, at(here).predicted, $('text').textContent, at(here).text]")
    assert (
        len(set(seen)) > 8
        and shown[0] == f"{shown[1]:.2f}"
        and shown[2] in (shown[3], "This graph is no architecture of the space.")
    )
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=left + 5, y=top + 5)
    assert opened.evaluate("here") == seen[-1]


def test_a_climb_rises_and_leaves_its_trace(opened):
    focus(opened)
    for number in (0, 1):
        before = opened.evaluate(f"FIELDS[{number}][1][here]")
        opened.evaluate(f"document.querySelectorAll('#climbs button')[{number}].click()")
        until(
            lambda: (
                not opened.evaluate(
                    "(async a => { await new Promise(r => setTimeout(r, 200)); return here != a })(here)"
                )
            )
        )
        assert opened.evaluate(f"FIELDS[{number}][1][here]") >= before
        assert opened.evaluate("document.querySelectorAll('.trace').length") == number + 1
        assert opened.evaluate("document.querySelector('#side1 use').getBBox().width") > 0  # the same on the other map
        heights = opened.evaluate(f"ascent(FIELDS[{number}][1], {SIZE + 1}).length")
        assert heights >= 1
    assert "points predicted" in opened.evaluate("$('chart').getAttribute('aria-label')")
    opened.evaluate("$('clear').click()")
    assert opened.evaluate("document.querySelectorAll('.trace').length") == 0


def test_the_maps_stand_side_by_side_and_below_each_other_where_it_is_narrow(opened):
    boxes = "SIDES.map(one => one.map.getBoundingClientRect()).map(b => [b.left, b.top, b.width])"
    for width in (1400, 1000, 800, 400):
        opened.call("Emulation.setDeviceMetricsOverride", width=width, height=880, deviceScaleFactor=1, mobile=False)
        frame(opened)
        (left, top, wide), (other, below, alike) = opened.evaluate(boxes)
        assert (
            alike == pytest.approx(wide, abs=0.1)
            and wide > 280
            and opened.evaluate("document.documentElement.scrollWidth") <= width
        )
        assert (
            (other > left + wide and below == pytest.approx(top, abs=0.1))
            if width > 680
            else (other == left and below > top + wide)
        )
        numbers = opened.evaluate("document.querySelector('dl').getBoundingClientRect().bottom")
        assert numbers <= 880 or width == 800  # in view with the first map
    opened.call("Emulation.setDeviceMetricsOverride", width=1000, height=900, deviceScaleFactor=1, mobile=False)


def test_each_map_has_a_colour_of_its_own_and_training_points_go(opened):
    frame(opened)  # after a change of size the maps are painted anew
    assert opened.evaluate("SIDES.map(one => one.choice.value)") == ["predicted", "evaluated"]
    pictures, seen = "SIDES.map(one => one.relief.toDataURL())", [set(), set()]
    chosen = "(c, name) => { c.value = name; c.dispatchEvent(new Event('change')); }"
    layers = ["predicted", "evaluated", "difference", "cost", "accuracy < cost"]  # the last is climbed
    assert opened.evaluate("[...SIDES[1].choice.options].map(o => o.value)") == layers
    for side in (0, 1):
        before = opened.evaluate(pictures)
        for layer in layers:
            opened.evaluate(f"({chosen})(SIDES[{side}].choice, {layer!r})")
            now = opened.evaluate(pictures)
            assert now[1 - side] == before[1 - side]
            seen[side].add(now[side])
            assert opened.evaluate(f"SIDES[{side}].bar.getAttribute('aria-label')").startswith("Colours from")
        said = opened.evaluate(f"SIDES[{side}].map.getAttribute('aria-label')")
        assert said == f"{['First', 'Second'][side]} map of the latent space: what the climb by accuracy < cost ascends"
    assert seen[0] == seen[1] and len(seen[0]) == 5
    opened.evaluate("$('training').click()")
    assert not set(opened.evaluate(pictures)) & seen[0]
    opened.evaluate("$('training').click()")
    opened.evaluate(f"['predicted', 'evaluated'].forEach((name, side) => ({chosen})(SIDES[side].choice, name))")


def test_a_move_asks_for_no_layout_and_is_drawn_once_a_frame(opened):
    """What a second with 60 moves costs, as counts: a clock would measure the machine."""
    opened.call("Performance.enable")

    def layouts():
        metrics = {one["name"]: one["value"] for one in opened.call("Performance.getMetrics")["metrics"]}
        return metrics["LayoutCount"]

    focus(opened)
    for wait in (1, 1, 300):  # the last: until the words for screen readers have been said
        opened.evaluate(f"new Promise(done => setTimeout(() => requestAnimationFrame(done), {wait}))")
    before = layouts()
    changes = opened.evaluate("""new Promise(done => {
        const map = SIDES[0].map, { left, top, width } = map.getBoundingClientRect(), points = new Set();
        map.setPointerCapture = () => {};
        const move = (kind, k) => map.dispatchEvent(new PointerEvent(kind,
            { clientX: left + width * (k * 7 % 50) / 50, clientY: top + width * (k * 3 % 50) / 50, buttons: 1 }));
        let changes = [], frames = 0;
        const spoken = one => one.target.id === "live";  // words for screen readers: said where a slow machine pauses
        const watch = new MutationObserver(found => changes.push(...found.filter(one => !spoken(one))));
        watch.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
        const ticks = () => {
            for (let k = 0; k < 50; k++) { move(k ? "pointermove" : "pointerdown", k + frames); points.add(here); }
            if (++frames < 20) return requestAnimationFrame(ticks);
            requestAnimationFrame(() => requestAnimationFrame(() => {
                delete map.setPointerCapture;
                watch.disconnect();
                done([points.size, changes.length, changes.filter(one => one.type === "childList").length]);
            }));
        };
        requestAnimationFrame(ticks);
    })""")
    points, changed, rebuilt = changes
    assert points == 50 and changed <= 20 * 12 and rebuilt == 0  # texts and two marks; no node comes or goes
    assert layouts() - before <= 20 + 4


def test_cells_are_drawn_as_the_library_draws_them(opened):
    address = opened.evaluate("location.href").removeprefix("file://")
    as_drawn(opened, data_of(Path(address)))
    seen = set()
    for cell in (0, 1):
        opened.evaluate(f"draw({{ cell: {cell}, ...graph({cell}) }})")
        seen.add(opened.evaluate("$('cell').toDataURL()"))
        assert opened.evaluate("$('cell').getAttribute('aria-label')") == opened.evaluate(f"inWords(graph({cell}))")
    assert len(seen) == 2 and opened.evaluate("document.createElement('canvas').toDataURL()") not in seen


def as_drawn(opened, data):
    for cell in range(0, len(data["judged"]), max(1, len(data["judged"]) // 50)):
        graph = graphs_of(data, [cell])
        edges = [(u, v) for _, u, v in graph.adjacency.nonzero().tolist()]
        found = opened.evaluate(f"lines(graph({cell})).map(line => [line.edge.join(' '), line.side])")
        sides = arc_sides([(u, v) for u, v in edges if v > u + 1])
        assert dict(found) == {f"{u} {v}": sides.get((u, v), 0) for u, v in edges}


def test_everything_has_the_size_of_a_finger_and_a_name(opened):
    opened.call("Emulation.setDeviceMetricsOverride", width=375, height=700, deviceScaleFactor=2, mobile=True)
    sizes = opened.evaluate(
        "[...document.querySelectorAll('button, .chip, select, summary')].map(e => e.getBoundingClientRect())"
        ".map(b => [b.width, b.height, b.right])"
    )
    assert len(sizes) == 8 and all(min(width, height) >= 44 and right <= 375 for width, height, right in sizes)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 375
    left, top, width = opened.evaluate("(b => [b.left, b.top, b.width])(SIDES[0].map.getBoundingClientRect())")
    opened.call(
        "Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": left + width / 4, "y": top + width / 4}]
    )
    opened.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert abs(opened.evaluate("here % N") - SIZE / 4) < 1
    words = "(e.matches('select') ? '' : e.textContent.trim())"
    named = f"e => {words} || e.getAttribute('aria-label') || e.title || e.closest('label')"
    everything = "button, input, select, [tabindex], [role=img], [role=application]"
    assert opened.evaluate(f"[...document.querySelectorAll('{everything}')].filter(e => !({named})(e)).length") == 0
    opened.call("Emulation.setDeviceMetricsOverride", width=1000, height=900, deviceScaleFactor=1, mobile=False)


def test_a_page_of_a_table_speaks_of_measured_cells_and_of_their_edges(opened, tmp_path):
    """All cells are known and share their edges, the predictor is no part of the model, and the networks are small."""
    home, model = opened.evaluate("location.href"), random_model(CRLSO, CRLSOConfig(hidden=16, latent=4))
    weights, accuracy = torch.tensor([1.0, -2.0, 0.5, 0.0]), np.linspace(10, 95, NASBENCH201.size)

    def table(batch):
        rows = NASBENCH201.index(batch)
        return pd.DataFrame({"judged": accuracy[rows], "known": rows >= 0, "flops": 40.0 * rows})

    heights = {"slope": lambda z: 50 + z @ weights, "hill": lambda z: -z.square().sum(1)}
    means = encode_all(model, NASBENCH201.sample(300, seed=0))
    page = explorer(tmp_path / "table.html", model, NASBENCH201, means, heights["slope"], table, heights, size=SIZE)
    data = data_of(page)
    cells = graphs_of(data, np.arange(len(data["judged"])))
    rows = NASBENCH201.index(cells)
    assert len(rows) > 10 and data["known"].all() and data["texts"] == NASBENCH201.to_strings(cells)
    np.testing.assert_array_equal(data["judged"], accuracy[rows].astype(np.float32))
    points = grid(*plane(means), SIZE)
    np.testing.assert_allclose(data["predicted"], heights["slope"](points), atol=1e-5)
    np.testing.assert_array_equal(data["which"], pd.factorize(NASBENCH201.index(model.decode(points)))[0])
    opened.call("Page.navigate", url=page.as_uri())
    try:
        until(lambda: opened.evaluate(f"location.href.endsWith('table.html') && !!{READY}"))
        opened.evaluate("document.querySelectorAll('#climbs button')[1].click()")
        until(lambda: "points measured" in opened.evaluate("$('story').textContent"))
        opened.evaluate("stop(), show(home)")
        until(lambda: opened.evaluate("$('live').textContent.endsWith(inWords(at(here)))"))
        said = "[...document.querySelectorAll('main *')].map(e => [e.title, e.getAttribute('aria-label')])"
        words = opened.evaluate(f"document.querySelector('main').textContent + {said}.flat().join(' ')")
        assert "; all of these are architectures of the space. Predicted: " in words and "Measured: " in words
        assert not re.search("(?i)evaluat|skip connections|grey: | M multiply-adds|million", words)
        kilo = round(0.04 * rows[data["which"][opened.evaluate("home")]])
        assert f"percent, {kilo} thousand multiply-adds. 0 in" in words and opened.evaluate(
            "$('cost').parentNode.textContent"
        ) == (f"{kilo:,} k")
        assert "Edges: 0 to 1, 0 to 2, 0 to 4, 1 to 3, 1 to 5, 2 to 6, 3 to 6, 4 to 7, 5 to 7, 6 to 7." in words
        as_drawn(opened, data)
    finally:
        opened.call("Page.navigate", url=home)
        until(lambda: opened.evaluate(f"location.href == '{home}' && !!{READY}"))
