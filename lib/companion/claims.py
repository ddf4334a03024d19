"""Results files: every headline number is a claim, stored beside the published one with what is needed to repeat it.

A notebook ends with::

    results = Results("02_ngae_latent_space", globals(), data_files=[file])
    results.claim("ngae.enas.validity", 99.9, "%", paper=100.0, printed_in="NGAE Table 1", seeds=[0])
    results.frame("table1", table)
    results.write()

which leaves data/results/<profile>/<notebook>.json and, beside it, <notebook>/<frame>.csv: the same bytes for the same
seed on the same machine, but for the block `manifest` (commit, memory, times and claims about time).
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
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import psutil
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic.dataclasses import dataclass

from companion import notebooks, paths
from latentnas.paths import CHECKPOINTS

if TYPE_CHECKING:  # half a second, which the command line need not wait
    import pandas as pd

VERSIONS_OF = ("torch", "numpy", "scipy", "pandas", "matplotlib", "networkx", "scikit-learn", "torch-geometric")
VERSIONS_OF += ("gpytorch", "botorch")
CLAIM_ID = r"^[a-z0-9]+(\.[a-z0-9_-]+)+(@[a-z0-9_]+)?$"
FRAME_NAME = re.compile(r"[a-z0-9_]+")
UNIT_OF_TIME = re.compile(r"(CPU )?(s|min|h)\b")
DIGITS = 10  # significant digits kept: more than any experiment means, fewer than rounding noise reaches


def rounded(value: float | None) -> float | None:
    """A float of `DIGITS` significant digits; NaN is None, for JSON has neither NaN nor infinity."""
    return None if value is None or math.isnan(value) else float(f"{float(value):.{DIGITS}g}")


def numbers(seeds: int | Iterable[int]) -> tuple[int, ...]:
    return tuple(int(seed) for seed in ((seeds,) if isinstance(seeds, Integral) else seeds))


Number = Annotated[float | None, BeforeValidator(rounded)]


@dataclass
class Claim:
    """One number of ours beside the paper's."""

    id: Annotated[str, Field(pattern=CLAIM_ID)]  # <system>.<space>.<quantity>[@condition]
    ours: Number
    unit: str  # "%", "accuracy (st. dev.)", "s", ...
    paper: Number = None  # None: no published value
    printed_in: str | None = None  # "NGAE Table 1"
    low: Number = None  # to high: the 95 % interval of ours
    high: Number = None
    seeds: Annotated[tuple[int, ...], BeforeValidator(numbers)] = ()
    target: Number = None  # the goal, where that is not the paper's number
    tolerance: Number = 0.0  # how far on the wrong side of the goal still counts as met
    better: Literal["higher", "lower"] = "higher"
    verdict: str = field(init=False)

    def __post_init__(self) -> None:
        if self.paper is not None and not self.printed_in:
            raise ValueError(f"Claim {self.id} gives a paper's value but not where it is printed (printed_in).")
        self.verdict = self._compared()
        for name in ("ours", "low", "high"):
            if math.isinf(getattr(self, name) or 0.0):
                setattr(self, name, None)

    def _compared(self) -> str:
        if self.ours is None:
            return "not measured"
        if math.isinf(self.ours):  # the median of runs most of which never came there
            return "not reached"
        goal = self.target if self.target is not None else self.paper
        if goal is None:
            return "no published value"
        shortfall = goal - self.ours if self.better == "higher" else self.ours - goal
        if shortfall <= self.tolerance + 1e-9 * abs(goal):
            return "met"
        return "short of the target" if self.target is not None else "short of the paper"


class Manifest(BaseModel):
    """What the reports read of a manifest."""

    device: str
    cpu_cores: int
    wall_seconds: float
    loaded_seconds: float
    peak_memory_mb: dict[str, int]
    versions: dict[str, str]
    git: dict[str, str | bool] | None
    times: list[Claim] = []


class Stored(BaseModel):
    """What must be right in a results file for it to be read."""

    notebook: str
    profile: str
    data_source: str
    parameters: dict
    claims: list[Claim]
    frames: dict[str, dict]
    manifest: Manifest


class Results:
    """What one run of one notebook found.

    Args:
        values: The notebook's `globals()`, from which its parameters are recorded.
        data_files: Data that the numbers depend on, recorded by checksum.
        device: Where models are trained.

    Raises:
        UsageError: There is no such notebook, another one is running, or a declared parameter has no value.
    """

    def __init__(
        self, notebook: str, values: Mapping[str, object], data_files: Iterable[Path] = (), device: object = "cpu"
    ) -> None:
        running = os.environ.get("LATENTNAS_NOTEBOOK", notebook)
        if running != notebook:
            raise notebooks.UsageError(f"{running}.ipynb must write its own results: Results('{running}', globals()).")
        source, names = notebooks.source_of(notebook), notebooks.parameters_of(notebook)
        missing = [name for name in names if name not in values]
        if missing:
            why = f"The parameter {missing[0]} of notebook {notebook} has no value."
            raise notebooks.UsageError(f"{why} Run its parameters cell first, and pass globals() to Results.")
        self.notebook = notebook
        self.parameters = {name: values[name] for name in names}
        self.profile = self.parameters.pop("profile")
        self.data_source = self.parameters.pop("data_source")
        self.code = {"cells": notebooks.code_cells_hash(source), "library": notebooks.code_fingerprint(source)}
        self.data_files, self.device = list(data_files), str(device)
        self.claims: dict[str, Claim] = {}
        self.frames: dict[str, dict] = {}

    @property
    def path(self) -> Path:
        return paths.RESULTS / self.profile / f"{self.notebook}.json"

    def searches(self, *names: str) -> Path | None:
        """A folder for the histories of one kind of searches, named after all that decides them.

        None by hand, where cells may have changed since the file was saved.
        """
        if "LATENTNAS_NOTEBOOK" not in os.environ:
            return None
        deciding = {key: value for key, value in self.parameters.items() if key not in notebooks.NOT_DECIDING}
        content = json.dumps([self.data_source, deciding, self.code, names], sort_keys=True)
        return CHECKPOINTS / "searches" / f"{self.notebook}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def claim(self, id: str, ours: float | None, unit: str, **details: object) -> Claim:
        """Add a claim (fields of `Claim`) and return it. The same id twice is an error."""
        if id in self.claims:
            raise ValueError(f"Notebook {self.notebook} makes the claim {id} twice.")
        self.claims[id] = Claim(id, ours, unit, **details)
        return self.claims[id]

    def frame(self, name: str, table: "pd.DataFrame") -> Path:
        """Write a table to <notebook>/<name>.csv beside the results, for figures and readers; return the path."""
        if not FRAME_NAME.fullmatch(name):
            raise ValueError(f"The frame name '{name}' must be small letters, digits and underscores.")
        file = self.path.with_suffix("") / f"{name}.csv"
        with paths.atomic_write(file) as temporary:
            table.to_csv(temporary, index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
        self.frames[name] = {"rows": len(table), "sha256": sha256(file)}
        return file

    def write(self, loaded_seconds: float = 0.0) -> Path:
        """Write the results file and return its path.

        `loaded_seconds` is what the checkpoints that this run loaded took to train when they were made.
        """
        claims, times = [], []
        for claim in self.claims.values():
            (times if UNIT_OF_TIME.match(claim.unit) else claims).append(asdict(claim))
        not_deciding = {name: self.parameters.pop(name) for name in notebooks.NOT_DECIDING if name in self.parameters}
        about = {"loaded_seconds": round(float(loaded_seconds), 1), "times": times} | not_deciding
        content = {name: getattr(self, name) for name in ("notebook", "profile", "data_source", "parameters")}
        content |= {"claims": claims, "frames": self.frames, "manifest": manifest(self) | about}
        paths.write_text(self.path, json.dumps(content, indent=1, allow_nan=False) + "\n")
        return self.path


def load_results(profile: str) -> dict[str, dict]:
    """The results files of a profile, by notebook name; without those that are damaged."""
    files = sorted((paths.RESULTS / profile).glob("[!.]*.json"))
    return {path.stem: content for path in files if (content := read_results(path))}


def read_results(path: Path) -> dict | None:
    """The content of a results file; None where there is none. A damaged one is named and set aside, with None."""
    try:
        text = path.read_bytes()
        Stored.model_validate_json(text)
        return json.loads(text)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        aside = path.rename(path.with_name(path.name + ".damaged")).name
        remedy = f"It is now {aside} beside it. Its notebook will run again; or restore the file from the repository."
        print(f"{path} is damaged ({notebooks.reason(error)}). {remedy}", file=sys.stderr)
        return None


def is_intact(path: Path) -> bool:
    """Whether a results file and all of its tables are there as they were written."""
    content = read_results(path) or {"frames": {"": {}}}
    files = {path.with_suffix("") / f"{name}.csv": frame.get("sha256") for name, frame in content["frames"].items()}
    return all(file.is_file() and sha256(file) == digest for file, digest in files.items())


def seconds_of(manifest: dict) -> float:
    """How long the notebook takes where nothing is trained yet: what the README and the command line say."""
    return manifest["wall_seconds"] + manifest["loaded_seconds"]


# ---------------------------------------------------------------- the manifest


def manifest(results: Results) -> dict:
    """What the numbers do not need but a reader might: code, versions, machine, data, cost."""
    times = Counter(file.name for file in results.data_files)  # a name that is not enough gets its folder in front
    names = {f: f.name if times[f.name] == 1 else f"{f.parent.name}/{f.name}" for f in results.data_files}
    return {
        "code": results.code,
        "git": git_state(),
        "versions": versions(),
        "device": device_name(results.device),
        "cpu_cores": os.cpu_count(),
        "data": {name: sha256(file) for file, name in names.items()},
        "wall_seconds": round(time.time() - psutil.Process().create_time(), 1),
        "peak_memory_mb": peak_memory(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in VERSIONS_OF}


def git_state() -> dict | None:
    """Commit of the checkout, and whether its code differs from that commit; None where ROOT is no git checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(paths.ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()

    code = ("lib", "notebooks/*.ipynb", "notebooks/profiles.toml", ":!notebooks/executed")
    try:
        if git("rev-parse", "--show-prefix"):  # some folder around this one is the checkout
            return None
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "--", *code))}
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: str) -> str:
    """The kind of device with the name of its processor or GPU."""
    if device.startswith("cuda"):
        import torch

        return f"cuda: {torch.cuda.get_device_name(device)}"
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text(encoding="utf-8"), re.M) if cpuinfo.exists() else []
    return f"cpu: {models[0] if models else platform.machine()}"


def peak_memory() -> dict[str, int]:
    """Largest resident size of this process so far, and of the GPU's tensors where one was used, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    peak = {"cpu": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peak["cuda"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return peak


def sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
