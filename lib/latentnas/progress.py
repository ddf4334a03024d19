"""One line on stderr now and then: what is running, how far it is, the time left."""

import sys
import time

SECONDS_BETWEEN_LINES = 10.0


def in_words(seconds: float) -> str:
    """'40 s', '3 min', '2 h 5 min'."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """Reports a loop of `total` steps, or other units, of which `done` were done before; `every` seconds a line."""

    def __init__(self, name: str, total: float, done: float = 0, every: float = SECONDS_BETWEEN_LINES) -> None:
        self.name, self.total, self.first, self.every = name, total, done, every
        self.started = self.printed = time.monotonic()

    def update(self, done: float, words: str = "", now: bool = False) -> None:
        """Print `name: done/total  words  time left` where a line is due, or at once with `now`."""
        moment = time.monotonic()
        if not now and moment - self.printed < self.every:
            return
        self.printed = moment
        left = (moment - self.started) / max(done - self.first, 1e-9) * (self.total - done)
        counts = f"{int(done):,}/{self.total:,.0f}" if self.total > 1 else f"{done:.0%}"
        parts = [f"{self.name}: {counts}", words, f"{in_words(left)} left" if done < self.total else "done"]
        print("  ".join(part for part in parts if part), file=sys.stderr, flush=True)
