"""Where the notebooks, their results and their figures lie. What the library itself reads and writes is in
`latentnas.paths`.
"""

from latentnas.paths import OUTPUT, ROOT
from latentnas.paths import atomic_write as atomic_write

NOTEBOOKS = ROOT / "notebooks"  # sources, outputs stripped
PROFILES = NOTEBOOKS / "profiles.toml"  # named sets of sizes and seeds

EXECUTED = OUTPUT / "notebooks" / "executed"
FIGURES = OUTPUT / "figures"
RESULTS = OUTPUT / "data" / "results"
FAILED = OUTPUT / "data" / "failed"  # notebooks that stopped with an error, git-ignored
STATE = OUTPUT / "data" / "state"  # what this machine has run, git-ignored
