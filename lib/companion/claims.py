"""Results files: every headline number is a claim, stored beside the published one with what is needed to repeat it.

A notebook ends with::

    results = Results("02_ngae_latent_space", globals(), data_files=[file])
    results.estimate("ngae.enas.validity", [99.9, 100, 99.8], "%", seeds=range(3), paper=100, printed_in="NGAE Table 1")
    results.frame("table1", table)
    results.write()

which leaves data/results/<profile>/<notebook>.json and, beside it, <notebook>/<frame>.csv: the same bytes for the same
seed on the same machine, but for the block `manifest` (commit, memory, times and claims about time).
"""

import hashlib
import json
import math
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from decimal import Decimal
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import psutil
from pydantic import BaseModel, BeforeValidator, Field, FiniteFloat, ValidationError
from pydantic.dataclasses import dataclass

from companion import notebooks, paths
from latentnas.paths import CHECKPOINTS, put_aside

if TYPE_CHECKING:  # half a second, which the command line need not wait
    import pandas as pd
    from numpy.typing import ArrayLike

VERSIONS_OF = ("torch", "numpy", "scipy", "pandas", "matplotlib", "networkx", "scikit-learn", "torch-geometric")
VERSIONS_OF += ("gpytorch", "botorch")
FILES = "[0-9][0-9]*_*.json"  # results, as notebooks are named; a reader may keep other files beside them
NOT_SEARCHING = ("companion.", "latentnas.plots.")  # code that no search depends on
DIGITS = 10  # significant digits kept: more than any experiment means, fewer than rounding noise reaches


def rounded(value: float | None) -> float | None:
    """A float of `DIGITS` significant digits; NaN is None, for JSON has neither NaN nor infinity."""
    return None if value is None or math.isnan(value) else float(f"{float(value):.{DIGITS}g}")


Id = Annotated[str, Field(pattern=r"^[a-z0-9]+(\.[a-z0-9_-]+)+(@[a-z0-9_]+)?$")]  # system.space.quantity[@condition]
Number = Annotated[float | None, BeforeValidator(rounded)]
Seeds = Annotated[tuple[int, ...], BeforeValidator(lambda seeds: (seeds,) if isinstance(seeds, Integral) else seeds)]


@dataclass(config={"extra": "forbid"})
class Claim:
    """One number of ours beside the goal: the target where there is one, else the paper's number.

    The verdict goes by the interval: *met* or *short* where all of it lies on one side of the goal, else *undecided*;
    *seen once* with fewer than three seeds. A number with neither seeds nor interval has no chance in it, such as a
    count of a table, and is compared as it stands; a time is never such. A printed number may be off by half a unit of
    its last place that is not 0, a whole one is exact. An interval without its `method`, as older results have, gets
    *no verdict*: most of those were of a few trainings and too narrow.
    """

    id: Id
    ours: Number
    unit: str  # "%", "accuracy (st. dev.)", "s", ...
    paper: Number = None  # None: no published value
    printed_in: str | None = None  # "NGAE Table 1"
    low: Number = None  # to high: the 95 % interval of ours; only one of the two: the other end is infinite
    high: Number = None
    seeds: Seeds = ()
    target: Number = None  # the goal, where that is not the paper's number
    better: Literal["higher", "lower", "equal"] = "higher"
    margin: Number = 0.0  # how far from the goal still counts as equal
    method: str | None = None  # how the interval was computed: "t", "exact", "order statistics", ...
    over: str | None = None  # what it is an interval over: "trainings", "searches", "test graphs", "starts", ...
    selected_on: str | None = None  # what the setting was chosen by: what is reported here, or labels not counted
    verdict: str = ""  # always computed; but an `ours` of infinity, which JSON does not have, is "not reached"

    def __post_init__(self) -> None:
        for name, goal in (("paper", self.paper or 0.0), ("target", self.target or 0.0), ("margin", self.margin)):
            if goal is None or math.isinf(goal):
                raise ValueError(f"Claim {self.id} has a {name} that is infinite or NaN. Give a number or nothing.")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"Claim {self.id} names one of the seeds {list(self.seeds)} twice. Name each once.")
        if self.paper is not None and not self.printed_in:
            raise ValueError(f"Claim {self.id} gives a paper's value but not where it is printed (printed_in).")
        if self.margin and self.better != "equal":
            raise ValueError(f"Claim {self.id} has a margin, which only better='equal' asks for.")
        if math.isinf(self.ours or 0.0):  # the median of runs most of which never came there
            self.verdict = "not reached"
        for name in ("ours", "low", "high"):
            if math.isinf(getattr(self, name) or 0.0):
                setattr(self, name, None)
        if self.method is None and self.low == self.high:  # how older results show no spread
            self.low = self.high = None
        if self.low is None and self.high is None:
            self.method = None
        self.verdict = self.judged()

    @property
    def is_time(self) -> bool:
        return self.id.startswith("speed.") or bool(re.match(r"(CPU )?(s|min|h)\b", self.unit))

    def judged(self) -> str:
        """The verdict, from what is stored."""
        if self.ours is None:
            return "not reached" if self.verdict == "not reached" else "not measured"
        goal = self.paper if self.target is None else self.target
        if goal is None:
            return "no published value"
        alone = self.low is None and self.high is None
        if 0 < len(self.seeds) < 3 or (alone and self.is_time):
            return "seen once"
        if not alone and self.method is None:
            return "no verdict"
        if alone and self.seeds:
            return "undecided"
        low, high = (self.ours, self.ours) if alone else (self.low, self.high)
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        slack = self.margin + 1e-9 * abs(goal) + (half_a_unit(self.paper) if self.target is None else 0)
        least = -math.inf if self.better == "lower" else goal - slack
        most = math.inf if self.better == "higher" else goal + slack
        return "short" if high < least or low > most else "met" if low >= least and high <= most else "undecided"


def half_a_unit(printed: float) -> float:
    """How far a number that is printed so may be from what was rounded."""
    place = Decimal(repr(printed)).normalize().as_tuple().exponent
    return 0.5 * 10.0**place if place < 0 else 0.0


def without_tolerance(claim: object) -> object:
    """A stored claim without the field of older files: rounding is allowed for everywhere now."""
    return {name: value for name, value in claim.items() if name != "tolerance"} if isinstance(claim, dict) else claim


StoredClaim = Annotated[Claim, BeforeValidator(without_tolerance)]


class Commit(BaseModel):
    commit: str
    changed: bool


class Manifest(BaseModel):
    """What the reports read of a manifest."""

    device: str
    cpu_cores: int
    wall_seconds: FiniteFloat
    loaded_seconds: FiniteFloat
    peak_memory_mb: dict[str, int]
    versions: dict[str, str]
    git: Commit | None
    times: list[StoredClaim] = []


class Stored(BaseModel):
    """What must be right in a results file for it to be read."""

    notebook: str
    profile: str
    data_source: str
    parameters: dict
    claims: list[StoredClaim]
    frames: dict[str, dict]
    manifest: Manifest


class Results:
    """What one run of one notebook found.

    Args:
        values: The notebook's `globals()`, from which its parameters are recorded.
        data_files: Data that the numbers depend on, recorded by checksum.
        device: Where models are trained.

    Raises:
        UsageError: There is no such notebook, another one is running, a declared parameter has no value, or a run by
            hand would write over what a profile stores.
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
        self.notebook, self.profile, self.data_source = notebook, values["profile"], values["data_source"]
        by_hand = "LATENTNAS_NOTEBOOK" not in os.environ and values.get("__name__") == "__main__"
        if by_hand and not notebooks.is_own(self.profile):
            why = "By hand profile must be a word, not one under which ./run_all.sh stores what it ran; it is"
            raise notebooks.UsageError(f'{why} "{self.profile}". Set profile = "scratch" and go on in this cell.')
        self.parameters = {name: values[name] for name in names if name not in ("profile", "data_source")}
        self.code = {"cells": notebooks.code_cells_hash(source), "library": notebooks.code_fingerprint(source)}
        self.data_files, self.device = list(data_files), str(device)
        self.claims: dict[str, Claim] = {}
        self.frames: dict[str, dict] = {}

    @property
    def path(self) -> Path:
        return paths.RESULTS / self.profile / f"{self.notebook}.json"

    def searches(self, *names: str) -> Path | None:
        """A folder for histories of searches, named after all that decides them; None by hand: cells may change."""
        if "LATENTNAS_NOTEBOOK" not in os.environ:
            return None
        source = notebooks.source_of(self.notebook)
        code = self.code["cells"], notebooks.code_fingerprint(source, NOT_SEARCHING)
        decided = notebooks.hash_of([self.data_source, notebooks.deciding(self.parameters), code, names])
        return CHECKPOINTS / "searches" / f"{self.notebook}-{decided[:12]}"

    def claim(self, id: str, ours: float | None, unit: str, **details: object) -> Claim:
        """Add a claim (fields of `Claim`) and return it; `ValueError` for the same id twice."""
        if id in self.claims:
            raise ValueError(f"Notebook {self.notebook} makes the claim {id} twice.")
        self.claims[id] = Claim(id, ours, unit, **details)
        return self.claims[id]

    def estimate(
        self,
        id: str,
        values: "ArrayLike",
        unit: str,
        *,
        statistic: Literal["mean", "share", "median", "correlation"] = "mean",
        over: str = "trainings",
        clusters: "ArrayLike | None" = None,
        trials: int | None = None,
        family: int = 1,
        seeds: Iterable[int] | int | None = None,
        **goal: object,
    ) -> Claim:
        """Add a claim whose number and interval come from single values by `stats.estimate`, and return it.

        Args:
            values: Infinite ones for a median only. With none at all the claim is "not measured".
            over: What the interval is over, one for each value or cluster.
            seeds: Of the trainings or searches, one for each value or cluster; those in `clusters` if not given. None
                at all, (), where the values have no seeds, such as single architectures of a table.
            goal: Other fields of `Claim`: paper and printed_in, target, better, margin, selected_on.

        Raises:
            ValueError: There are neither seeds nor clusters; or a value, or the seeds, are not as above.
        """
        from latentnas import stats  # SciPy takes half a second, which the command line need not wait

        if seeds is None and clusters is None:
            raise ValueError(f"Claim {id} needs its seeds, or clusters that are seeds.")
        seeds = sorted(set(clusters)) if seeds is None else [seeds] if isinstance(seeds, Integral) else list(seeds)
        goal |= {"over": over, "seeds": seeds}
        if not len(values):
            return self.claim(id, None, unit, **goal)
        count = len(values if clusters is None else set(clusters))
        bad = [value for value in values if math.isnan(value) or (math.isinf(value) and statistic != "median")]
        if bad or (seeds and not len(seeds) == len(set(seeds)) == count):
            what = f"there is a value of {bad[0]}" if bad else f"{count} values or clusters have the seeds {seeds}"
            remedy = "Give one finite number for each seed, and each seed once; only a median may have infinite values"
            raise ValueError(
                f"Claim {id} cannot be made: {what}. {remedy}, and `clusters` tells which values share one."
            )
        value, low, high, method = stats.estimate(values, statistic, clusters, trials, family)
        return self.claim(id, value, unit, low=low, high=high, method=method, **goal)

    def holm(self, family: Mapping[str, Callable[[int], object]]) -> None:
        """Make the claims of one family of comparisons by Holm's rule: while *k* of them are undecided, their intervals
        are those that hold for *k* together (Bonferroni), and the claims that these decide are settled.

        Args:
            family: For each claim's id what adds it to these results, with intervals of `1 - 0.05 / k`, given *k*.
        """
        left, settled = list(family), list(family)
        while left and settled:
            for id in left:
                self.claims.pop(id, None)
                family[id](len(left))
                if id not in self.claims:
                    raise ValueError(f"The claim {id} of a family was not made by what was given for it.")
            settled = [id for id in left if self.claims[id].verdict in ("met", "short")]
            left = [id for id in left if id not in settled]

    def frame(self, name: str, table: "pd.DataFrame") -> Path:
        """Write a table to <notebook>/<name>.csv beside the results, for figures and readers; return the path."""
        if not re.fullmatch("[a-z0-9_]+", name):
            raise ValueError(f"The frame name '{name}' must be small letters, digits and underscores.")
        file = self.path.with_suffix("") / f"{name}.csv"
        with paths.atomic_write(file) as temporary:
            table.to_csv(temporary, index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
        self.frames[name] = {"rows": len(table), "sha256": sha256(file)}
        return file

    def write(self, loaded_seconds: float = 0.0) -> Path:
        """Write the results file; `loaded_seconds` is what the loaded checkpoints took to train when they were made."""
        claims, times = [], []
        for claim in self.claims.values():
            (times if claim.is_time else claims).append(asdict(claim))
        deciding = notebooks.deciding(self.parameters)
        others = {name: value for name, value in self.parameters.items() if name not in deciding}
        about = {"loaded_seconds": round(float(loaded_seconds), 1), "times": times} | others
        content = {"notebook": self.notebook, "profile": self.profile, "data_source": self.data_source}
        content |= {"parameters": deciding, "claims": claims, "frames": self.frames}
        content |= {"manifest": manifest(self) | about}
        paths.write_text(self.path, json.dumps(content, indent=1, allow_nan=False) + "\n")
        return self.path


def load_results(profile: str) -> dict[str, dict]:
    """The results files of a profile, by notebook name; those of a notebook that are damaged are set aside."""
    files, known = sorted((paths.RESULTS / profile).glob(FILES)), notebooks.names()
    contents = {file.stem: read_results(file, set_aside=file.stem in known) for file in files}
    return {name: content for name, content in contents.items() if content}


def read_results(path: Path, set_aside: bool = False) -> dict | None:
    """A results file, its claims judged by the present rule; or None. A damaged one may be named and set aside."""
    try:
        text = path.read_bytes()
        stored, content = Stored.model_validate_json(text), json.loads(text)
        content["claims"] = [vars(claim) for claim in stored.claims]
        content["manifest"]["times"] = [vars(claim) for claim in stored.manifest.times]
        return content
    except FileNotFoundError:
        return None
    except (ValidationError, TypeError, IsADirectoryError) as error:
        if set_aside:
            now = f"It is now {put_aside(path)} beside it."
            remedy = f"{now} Its notebook will run again; or restore the file from the repository."
            print(f"{path} is damaged ({notebooks.reason(error)}). {remedy}", file=sys.stderr)
        return None


def stored(notebook: str, profile: str = "recommended") -> dict[str, float | None]:
    """Our values of the claims that this project has stored of a notebook, by id."""
    content = read_results(paths.ROOT / "data/results" / profile / f"{notebook}.json") or {"claims": []}
    return {claim["id"]: claim["ours"] for claim in content["claims"]}


def is_intact(path: Path, set_aside: bool = False) -> bool:
    """Whether a results file and all of its tables are there as they were written."""
    if (content := read_results(path, set_aside)) is None:
        return False
    files = {path.with_suffix("") / f"{name}.csv": frame.get("sha256") for name, frame in content["frames"].items()}
    return all(file.is_file() and sha256(file) == digest for file, digest in files.items())


def seconds_of(manifest: dict) -> float:
    """How long the notebook takes where nothing is trained yet: what the README and the command line say."""
    return manifest["wall_seconds"] + manifest["loaded_seconds"]


def manifest(results: Results) -> dict:
    """What the numbers do not need but a reader might: code, versions, machine, data, cost."""
    names = [file.name for file in results.data_files]  # one that is not enough gets its folder in front
    names = [f.name if names.count(f.name) == 1 else f"{f.parent.name}/{f.name}" for f in results.data_files]
    return {
        "code": results.code,
        "git": git_state(),
        "versions": versions(),
        "device": device_name(results.device),
        "cpu_cores": os.cpu_count(),
        "data": dict(zip(names, map(sha256, results.data_files))),
        "wall_seconds": round(time.time() - psutil.Process().create_time(), 1),
        "peak_memory_mb": peak_memory(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in VERSIONS_OF}


def git_state() -> dict | None:
    """Commit of the checkout, and whether its code differs from that commit; None where ROOT is no git checkout."""
    command = ["git", f"--git-dir={paths.ROOT / '.git'}", f"--work-tree={paths.ROOT}"]  # of no folder around this one
    command += ["status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--"]
    command += ["lib", "notebooks/*.ipynb", "notebooks/profiles.toml", ":!notebooks/executed"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        status = subprocess.run(command, capture_output=True, text=True, cwd=paths.ROOT, env=environment).stdout
    except OSError:
        return None
    commit = re.search("^# branch.oid ([0-9a-f]+)$", status, re.M)
    return commit and {"commit": commit[1], "changed": bool(re.search("^[^#]", status, re.M))}


def device_name(device: str) -> str:
    """The kind of device with the name of its processor or GPU."""
    if device.startswith("cuda"):
        import torch

        return f"cuda: {torch.cuda.get_device_name(device)}"
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else "", re.M)
    return f"cpu: {model[1] if model else platform.machine()}"


def peak_memory() -> dict[str, int]:
    """Largest size of this process so far, and of the GPU's tensors where one was used, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    peak = {"cpu": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)}
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        peak["cuda"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return peak


def sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
