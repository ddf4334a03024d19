"""How fast the pages to touch are on this machine. Not a test: a clock measures what else runs there, too.

    python tests/explorer_speed.py figures/*/*_explorer.html

Of each page, opened from the disk in a headless Chromium at 1,000 px: the first paint, and then 600 moves of the point
on the first map, one for each frame: how many frames came late (by half of one or more, at 60 per second), and what a
move costs the page's main thread in processor time, which hardly depends on what else runs.
"""

import sys
import tempfile
from pathlib import Path

from browser import opened_from_disk

MOVES = """new Promise(done => {
    const map = SIDES[0].map, { left, top, width } = map.getBoundingClientRect(), gaps = [];
    let k = 0, last = 0;
    map.setPointerCapture = () => {};
    const move = (kind) => map.dispatchEvent(new PointerEvent(kind,
        { clientX: left + width * (k * 7 % 600) / 600, clientY: top + width * (k * 13 % 600) / 600, buttons: 1 }));
    const frame = (now) => {
        if (last) gaps.push(now - last);
        last = now;
        move("pointermove");
        if (++k < 600) requestAnimationFrame(frame); else done(gaps);
    };
    move("pointerdown");
    requestAnimationFrame(frame);
})"""


def measured(page, folder):
    """First paint in milliseconds, the gaps between frames, and milliseconds of processor time of a move."""
    with opened_from_disk(page.resolve(), Path(folder), "performance.getEntriesByType('paint').length") as tab:
        tab.call("Performance.enable", timeDomain="threadTicks")
        for _ in range(3):  # the last: with everything compiled
            before = tab.call("Performance.getMetrics")["metrics"]
            gaps = tab.evaluate(MOVES)
            after = tab.call("Performance.getMetrics")["metrics"]
        busy = [next(one["value"] for one in all if one["name"] == "TaskDuration") for all in (before, after)]
        paint = tab.evaluate("performance.getEntriesByType('paint')[0].startTime")
        return paint, gaps, 1000 * (busy[1] - busy[0]) / 600


for page in map(Path, sys.argv[1:]):
    with tempfile.TemporaryDirectory() as folder:
        paint, gaps, cost = measured(page, folder)
    late = sum(gap > 25 for gap in gaps)
    print(f"{page}: first paint after {paint:.0f} ms; {late} of {len(gaps)} frames late; {cost:.1f} ms CPU per move")
