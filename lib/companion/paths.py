"""Where the notebooks, their results and their figures lie. What the library itself uses is in `latentnas.paths`."""

from pathlib import Path

from latentnas.paths import OUTPUT, ROOT, atomic_write

NOTEBOOKS = ROOT / "notebooks"  # sources, outputs stripped
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
