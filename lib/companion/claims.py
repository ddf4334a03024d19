"""Results files: every headline number is a claim, stored beside the published one with what is needed to
judge and repeat it.

A notebook ends with::

    results = Results("02_ngae_latent_space", profile, data_source, dict(seed=seed), data_files=[file])
    results.claim("ngae.enas.validity", 99.9, "%", paper=100.0, printed_in="NGAE Table 1", seeds=[0])
    results.frame("table1", table)
    results.write()

which leaves data/results/<profile>/<notebook>.json and, beside it, <notebook>/<frame>.csv. Claims and frames
are the same bytes for the same seed on the same machine; whatever differs from run to run (commit, times,
memory) stands in the block `manifest`.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas
import psutil

from companion import paths

VERSIONS_OF = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "networkx",
    "scikit-learn",
    "torch-geometric",
    "gpytorch",
    "botorch",
)
CLAIM_ID = re.compile(r"[a-z0-9]+(\.[a-z0-9_-]+)+(@[a-z0-9_]+)?")
FRAME_NAME = re.compile(r"[a-z0-9_]+")
# significant digits kept of every number: more than any experiment means, fewer than rounding noise reaches
DIGITS = 10


@dataclass(frozen=True)
class Claim:
    """One number of ours beside the paper's.

    `low`, `high` are the 95 % interval of `ours`, `seeds` the seeds behind it. `target` is a goal
    of this project where it asks for something else than the paper's number. `tolerance` is how far on the
    wrong side of the goal still counts as met, in `unit`.
    """

    id: str  # <system>.<space>.<quantity>[@condition]
    ours: float | None
    unit: str  # "%", "accuracy (st. dev.)", "s", ...
    paper: float | None = None  # None: no published value
    printed_in: str | None = None  # "NGAE Table 1"
    low: float | None = None
    high: float | None = None
    seeds: tuple = ()
    target: float | None = None
    tolerance: float = 0.0
    better: str = "higher"  # or "lower"
    verdict: str = field(init=False)

    def __post_init__(self):
        if not CLAIM_ID.fullmatch(self.id):
            raise ValueError(
                f"The claim id '{self.id}' is not of the form system.space.quantity[@condition] in small letters."
            )
        if self.better not in ("higher", "lower"):
            raise ValueError(f"Claim {self.id}: better must be 'higher' or 'lower', not '{self.better}'.")
        if self.paper is not None and not self.printed_in:
            raise ValueError(f"Claim {self.id} gives a paper's value but not where it is printed (printed_in).")
        reached = self.ours is None or not math.isinf(self.ours)
        for name in ("ours", "paper", "low", "high", "target", "tolerance"):
            object.__setattr__(self, name, rounded(getattr(self, name)))
        seeds = (self.seeds,) if isinstance(self.seeds, int) else tuple(int(seed) for seed in self.seeds or ())
        object.__setattr__(self, "seeds", seeds)
        object.__setattr__(self, "verdict", self.judge() if reached else "not reached")

    def judge(self):
        """'met', 'short of the paper', 'short of the target', 'no published value' or 'not measured'; an
        infinite value, such as the median of runs most of which never came there, is 'not reached'.

        A target, where there is one, is what is judged: it is there because the paper's number is not the
        goal.
        """
        if self.ours is None:
            return "not measured"
        goal = self.target if self.target is not None else self.paper
        if goal is None:
            return "no published value"
        shortfall = goal - self.ours if self.better == "higher" else self.ours - goal
        if shortfall <= self.tolerance + 1e-9 * abs(goal):
            return "met"
        return "short of the target" if self.target is not None else "short of the paper"


def rounded(value):
    """A float of `DIGITS` significant digits, None for None and for anything not finite (JSON has no NaN)."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{float(value):.{DIGITS}g}")


class Results:
    """What one run of one notebook found. `profile` is the notebook's parameter of that name, `+hash`
    included.
    """

    def __init__(self, notebook, profile, data_source, parameters, data_files=(), device="cpu"):
        self.notebook = notebook
        self.profile = profile
        self.data_source = data_source
        self.parameters = dict(parameters)
        self.data_files = [Path(file) for file in data_files]
        self.device = str(device)
        self.claims = {}
        self.frames = {}

    @property
    def path(self):
        return paths.RESULTS / self.profile / f"{self.notebook}.json"

    def claim(self, id, ours, unit, **details):
        """Add a claim (fields of `Claim`) and return it. The same id twice is an error."""
        if id in self.claims:
            raise ValueError(f"Notebook {self.notebook} makes the claim {id} twice.")
        self.claims[id] = Claim(id, ours, unit, **details)
        return self.claims[id]

    def frame(self, name, table):
        """Write the DataFrame `table` to <notebook>/<name>.csv beside the results, for figures and readers;
        return the path.
        """
        if not FRAME_NAME.fullmatch(name):
            raise ValueError(f"The frame name '{name}' must be small letters, digits and underscores.")
        file = self.path.with_suffix("") / f"{name}.csv"
        with paths.atomic_write(file) as temporary:
            table.to_csv(temporary, index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
        self.frames[name] = {"rows": len(table), "sha256": sha256(file)}
        return file

    def write(self, loaded_seconds=0.0):
        """Write the results file and return its path.

        `loaded_seconds` is what the checkpoints that this run loaded took to train when they were made: a run
        that loads them is short, but its numbers were not to be had in that time.
        """
        content = {
            "notebook": self.notebook,
            "profile": self.profile,
            "data_source": self.data_source,
            "parameters": self.parameters,
            "claims": [asdict(claim) for claim in self.claims.values()],
            "frames": self.frames,
            "manifest": manifest(self.device, self.data_files) | {"loaded_seconds": round(float(loaded_seconds), 1)},
        }
        with paths.atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return self.path


def load_results(profile):
    """The results files of a profile, by notebook name; {} if nothing has been run."""
    return {path.stem: read_results(path) for path in sorted((paths.RESULTS / profile).glob("*.json"))}


def load_result(notebook, profile):
    """Results of `notebook` as a run labelled `profile` sees them, or None.

    A run with changed parameters (`<profile>+<hash>`) sees the profile's own results of a notebook that the
    change does not reach: such a notebook is not run again.
    """
    for label in (profile, profile.partition("+")[0]):
        path = paths.RESULTS / label / f"{notebook}.json"
        if path.exists():
            return read_results(path)
    return None


def load_frame(notebook, name, profile):
    """The DataFrame that `notebook` stored as `name`; FileNotFoundError says which run makes it."""
    for label in (profile, profile.partition("+")[0]):
        path = paths.RESULTS / label / notebook / f"{name}.csv"
        if path.exists():
            return pandas.read_csv(path)
    raise FileNotFoundError(
        f"There is no table '{name}' of notebook {notebook} for profile {profile} in data/results. "
        f"Make it with ./run_all.sh --profile {profile.partition('+')[0]} --only {notebook[:2]}."
    )


def read_results(path):
    """One results file as a dict; a file that is not one is named in the error."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["claims"], content["manifest"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a results file of this project ({type(error).__name__}: {error}). "
            "Delete it and run its notebook again."
        ) from error
    return content


# ---------------------------------------------------------------- the manifest


def manifest(device, data_files):
    """Everything about a run that the numbers do not need but a reader might: code, versions, machine, data,
    cost.
    """
    return {
        "git": git_state(),
        "versions": versions(),
        "device": device_name(device),
        "cpu_cores": os.cpu_count(),
        "data": {name: sha256(file) for name, file in short_names(data_files).items()},
        "wall_seconds": round(time.time() - psutil.Process().create_time(), 1),
        "peak_memory_mb": peak_memory(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def short_names(files):
    """The files by name, with the folder in front where several have the same name."""
    times = Counter(file.name for file in files)
    return {file.name if times[file.name] == 1 else f"{file.parent.name}/{file.name}": file for file in files}


def versions():
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state():
    """Commit of the checkout, and whether its code differs from that commit; None outside a git checkout."""

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(paths.ROOT), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git(
            "status", "--porcelain", "--", "lib", "notebooks/*.ipynb", "notebooks/profiles.toml", ":!notebooks/executed"
        )
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device):
    """'cpu' with the processor's name, or the GPU's name."""
    if device.startswith("cuda"):
        import torch

        return f"cuda: {torch.cuda.get_device_name(device)}"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"cpu: {line.partition(':')[2].strip()}"
    return f"cpu: {platform.machine()}"


def peak_memory():
    """Largest resident size of this process so far, and of the GPU's tensors where one was used, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    peak = {"cpu": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peak["cuda"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return peak


def sha256(file):
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
