"""Where the notebooks, their results and their figures lie. What the library itself uses is in `latentnas.paths`."""

import fcntl
from pathlib import Path
from typing import TextIO

from latentnas.paths import OUTPUT, PROJECT, ROOT, atomic_write

# Sources, outputs stripped; pyproject.toml puts them into the wheel.
NOTEBOOKS = ROOT / "notebooks" if PROJECT else Path(__file__).resolve().with_name("sources")
PROFILES = NOTEBOOKS / "profiles.toml"  # named sets of sizes and seeds

EXECUTED = OUTPUT / "notebooks" / "executed"
FIGURES = OUTPUT / "figures"
RESULTS = OUTPUT / "data" / "results"
FAILED = OUTPUT / "data" / "failed"  # notebooks that stopped with an error, git-ignored
STATE = OUTPUT / "data" / "state"  # what this machine has run, git-ignored


def write_text(path: Path, text: str) -> None:
    """Write a whole file, or leave the old one."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def locked(name: str) -> TextIO:
    """A lock in STATE, held until it is closed or this process ends; BlockingIOError where another process holds it."""
    STATE.mkdir(parents=True, exist_ok=True)
    lock = open(STATE / name, "w")  # noqa: SIM115 - the caller closes it
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock
