"""The race of searches: the page holds the runs, and hands, keys and readers can use it."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from browser import CHROMIUM, NO_CHROMIUM, opened_from_disk, until
from companion.figures import race as races
from latentnas.plots.explorer import held, unpacked
from latentnas.spaces.nasbench201 import NASBENCH201

ROWS = np.arange(0, 15625, 50)
RANDOM = np.random.default_rng(0)
ACCURACIES = 90 + 3 * RANDOM.random(len(ROWS))
PARAMS = NASBENCH201.params(NASBENCH201.enumerate()[ROWS]).numpy()
ASKED = {"random search": RANDOM.choice(ROWS, (12, 9)), "<hill> climbing": RANDOM.choice(ROWS, (12, 6))}


def history(asked, seeds=range(12)):
    rows = [(seed, query, row) for seed, run in zip(seeds, asked) for query, row in enumerate(run, start=1)]
    return pd.DataFrame(rows, columns=["seed", "query", "row"])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    histories = {name: history(asked) for name, asked in ASKED.items()}
    path = tmp_path_factory.mktemp("page") / "race.html"
    assert path == races.race(path, histories, ROWS, ACCURACIES, PARAMS, "A <race>", "</script>")
    return path


def test_the_page_holds_the_first_runs_and_every_cell(page):
    text, data = page.read_text(), held(page)
    assert data["seeds"] == [*range(races.MOST_RUNS)]
    np.testing.assert_array_equal(unpacked(data["rows"], "<u2"), ROWS)
    np.testing.assert_array_equal(unpacked(data["accuracies"], "<f4"), ACCURACIES.astype(np.float32))
    np.testing.assert_allclose(unpacked(data["params"], "<f4"), PARAMS / 1e6, rtol=1e-6)
    for name, asked in ASKED.items():
        found = unpacked(data["searches"][name]["asked"], "<u2").reshape(races.MOST_RUNS, -1)
        np.testing.assert_array_equal(ROWS[found], asked[: races.MOST_RUNS])
    assert not re.search(r"https?:|//cdn|@import|<link(?![^>]*data:)|\bsrc=|fetch\(|XMLHttp", text)
    assert len(text.encode()) <= 300_000 and text.count("</script>") == 2


def test_its_picture_shows_how_the_searches_end(page):
    figure = races.picture(held(page))
    ends = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    for name, asked in ASKED.items():
        runs = asked[: races.MOST_RUNS]
        best = np.mean([max(ACCURACIES[np.searchsorted(ROWS, run)]) for run in runs])
        assert len(ends[name]) == asked.shape[1] and ends[name][-1] == pytest.approx(best, rel=1e-6)
    plt.close(figure)


def test_searches_that_do_not_race_are_refused(tmp_path):
    ours, strange = history(ASKED["random search"]), history(np.full((12, 9), 1))
    with pytest.raises(ValueError, match="the one asked for row 1, which is not in the table"):
        races.race(tmp_path / "x", {"ours": ours, "the one": strange}, ROWS, ACCURACIES, ACCURACIES)
    other = history(ASKED["random search"], range(1, 13))
    with pytest.raises(ValueError, match="the other has other seeds"):
        races.race(tmp_path / "x", {"ours": ours, "the other": other}, ROWS, ACCURACIES, ACCURACIES)
    unknown, twice = np.where(ROWS > 9000, np.nan, ACCURACIES), np.where(ROWS == 50, 0, ROWS)
    for histories, *table in [
        ({}, ROWS, ACCURACIES, ACCURACIES),
        ({"ours": ours[:0]}, ROWS, ACCURACIES, ACCURACIES),
        ({"ours": ours}, ROWS, unknown, ACCURACIES),
        ({"ours": ours}, ROWS, ACCURACIES, ACCURACIES[:5]),
        ({"ours": history(np.full((12, 9), 100))}, twice, ACCURACIES, ACCURACIES),
    ]:
        with pytest.raises(ValueError, match="a finite accuracy"):
            races.race(tmp_path / "x", histories, *table)
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def opened(page, tmp_path_factory):
    """The page in a browser, as after a double click."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    with opened_from_disk(page, tmp_path_factory.mktemp("browser"), "document.getElementById('seed').length") as tab:
        yield tab


def shown(tab):
    """The table of the page."""
    return tab.evaluate("[...$('standings').rows].map(row => [...row.cells].map(cell => cell.textContent))")


def expected(run, query):
    lines, of_row = [], dict(zip(ROWS.tolist(), ACCURACIES.astype(np.float32).tolist()))
    for name, asked in ASKED.items():
        seen = [of_row[row] for row in asked[run][:query].tolist()]
        now = f"{seen[-1]:.2f}" if query <= asked.shape[1] else "done"
        lines.append([name, now, f"{max(seen):.2f} %"])
    return lines


def test_the_standings_are_those_of_the_run(opened):
    for run, query in [(0, 1), (0, 4), (3, 9)]:
        opened.evaluate(f"$('seed').value = {run}, $('seed').onchange(), show({query})")
        assert [line[:3] for line in shown(opened)] == expected(run, query)
    best = ACCURACIES.max()
    behind = [float(line[3]) for line in shown(opened)]
    seen = [ACCURACIES[np.searchsorted(ROWS, asked[3])].max() for asked in ASKED.values()]
    assert behind == pytest.approx([best - value for value in seen], abs=0.051)


def test_a_search_that_meets_the_best_says_when(opened):
    opened.evaluate("$('seed').value = 0, $('seed').onchange()")
    place = int(ACCURACIES.argmax())
    opened.evaluate(f"searches[0].asked[3] = {place}; prepare(); show(3)")
    assert shown(opened)[0][3] != "met at 4"
    opened.evaluate("show(9)")
    assert shown(opened)[0][3] == "met at 4"
    opened.evaluate(f"searches[0].asked[3] = {int(np.searchsorted(ROWS, ASKED['random search'][0][3]))}; prepare()")


def test_play_runs_to_the_end_and_keys_step(opened):
    opened.evaluate("show(0); $('play').click()")
    assert opened.evaluate("$('play').textContent") == "pause"
    until(lambda: opened.evaluate("now == last && $('play').textContent == 'play'"))
    assert "After 9 queries" in opened.evaluate("$('live').textContent")
    opened.evaluate("show(0); $('field').focus()")
    for key, shift, query in [("ArrowRight", False, 1), ("ArrowRight", True, 9), ("ArrowLeft", False, 8)]:
        for kind in ("keyDown", "keyUp"):
            opened.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 if shift else 0)
        assert opened.evaluate("now") == query
    opened.evaluate("$('on').click(), $('back').click(), $('back').click()")
    assert opened.evaluate("now") == 7
    opened.evaluate("show(9), document.activeElement.blur()")
    for kind in ("keyDown", "keyUp"):  # the space bar plays, from the start where the end is reached
        opened.call("Input.dispatchKeyEvent", type=kind, key=" ")
    assert opened.evaluate("$('play').textContent == 'pause' && now < last")
    opened.evaluate("pause()")


def test_a_curve_goes_as_far_as_the_race_and_a_search_can_be_left_out(opened):
    drawn = "[...document.querySelectorAll('#chart path[stroke-width]')].map(path => path.getAttribute('d'))"
    opened.evaluate("show(3)")
    assert [path.count("V") for path in opened.evaluate(drawn)] == [2, 2]
    opened.evaluate("document.querySelector('#standings input').click()")
    assert len(opened.evaluate(drawn)) == 1
    opened.evaluate("document.querySelector('#standings input').click(), show(9)")
    assert [path.count("V") for path in opened.evaluate(drawn)] == [8, 5]


def test_a_dot_shows_its_cell(opened):
    x, y = opened.evaluate("(b => [b.left + X(5), b.top + Y(behind(5))])($('field').getBoundingClientRect())")
    for kind in ("mousePressed", "mouseReleased"):
        opened.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    cell = opened.evaluate("chosen")
    text = NASBENCH201.to_strings(NASBENCH201.enumerate()[[int(ROWS[cell])]])[0]
    names = opened.evaluate(f"digits({cell}).map(number => D.operations[number][0])")
    assert names == [part.partition("~")[0] for part in re.findall(r"[^|+]+~\d", text)]
    assert f"{np.float32(ACCURACIES[cell]):.2f} %" in opened.evaluate("$('told').textContent")


def test_everything_has_the_size_of_a_finger_and_a_name(opened):
    opened.call("Emulation.setDeviceMetricsOverride", width=375, height=700, deviceScaleFactor=2, mobile=True)
    sizes = opened.evaluate(
        "[...document.querySelectorAll('button, select, input[type=range], td label, summary')]"
        ".map(e => e.getBoundingClientRect()).map(b => [b.width, b.height, b.right])"
    )
    assert len(sizes) == 8 and all(min(width, height) >= 44 and right <= 375 for width, height, right in sizes)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 375
    named = "e => e.textContent.trim() || e.getAttribute('aria-label') || e.title || e.closest('label')"
    everything = "button, select, input, [tabindex], [role=img], [role=application]"
    assert opened.evaluate(f"[...document.querySelectorAll('{everything}')].filter(e => !({named})(e)).length") == 0
    opened.call("Emulation.setDeviceMetricsOverride", width=1000, height=900, deviceScaleFactor=1, mobile=False)
