"""Which notebooks run, in which order, with which parameters: profiles.toml and the notebooks' `parameters` cells.

`-p name=value` changes a parameter for one run, whose files then go under the label `<profile>+<hash>`, never under the
profile's own name (but for `jobs`, which changes no result). Everything wrong with any of this is a `UsageError` before
any work starts.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel

from companion import claims, notebooks, paths
from companion.notebooks import RELATIONS, Parameter, UsageError, deciding, hash_of, parameters_of

MOST = 2**31 - 1  # of whole numbers: torch and NumPy take it as a seed, and some more
CHECKSUM = re.compile("(?i)md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")


class Readme(BaseModel, extra="forbid"):
    """What the README's table says of a notebook: the question it asks, and the claims to show."""

    question: str = ""
    claims: list[list[str]] = []  # the id of each, then of those that it is compared with
    stored_minutes: int = 0  # what the stored run of `recommended` had found done before


class Finding(BaseModel, extra="forbid"):
    """A sentence on the README's first screen with numbers, {claim's id}, and a figure of the same results."""

    notebook: str
    profile: str
    figure: str
    alt: str
    text: str
    when: dict[str, list[str]] = {}  # verdicts by claim's id without which the sentence would not be true


class Profiles(BaseModel, extra="allow"):
    """notebooks/profiles.toml: tables about notebooks, and one table of tables for each profile."""

    bench: list[str] = []  # notebooks that `bench` runs
    alone: list[str] = []  # notebooks that run only when they are asked for
    depends: dict[str, list[str]] = {}
    readme: dict[str, Readme] = {}
    words: dict[str, str] = {}  # of claims in the README's table, by id
    finding: list[Finding] = []
    __pydantic_extra__: dict[str, dict[str, dict[str, object]]]


@dataclass(frozen=True)
class Job:
    """One notebook to run: `label` is the folder name of its files, `parameters` all that is injected."""

    notebook: str
    label: str
    parameters: dict
    needs: tuple  # labels and names (label, notebook) of the jobs that must be done before
    inputs: str = ""  # hash of all that decides the results: the notebook, its parameters, the code, what it needs
    trainings: str = ""  # the same of the trainings that the notebook lists; without any
    cells: str = ""  # hash of the code cells alone
    code: str = ""  # of the library code that the notebook imports, and of the cells that list its trainings

    @property
    def results(self) -> Path:
        return paths.RESULTS / self.label / f"{self.notebook}.json"

    @property
    def executed(self) -> Path:
        return paths.EXECUTED / self.label / f"{self.notebook}.ipynb"

    @property
    def stamp(self) -> Path:
        return stamp_path(self.label, self.notebook)


def stamp_path(label: str, notebook: str) -> Path:
    """What a run, or as <notebook>.trainings its trainings, writes last: hashes of its inputs and of what it wrote."""
    return paths.STATE / label / f"{notebook}.done"


def replaced(job: Job) -> list[Path]:
    """Files, but figures and tables, that are not as the last run here wrote them; none by stamps of older versions."""
    _, *digests = job.stamp.read_text(encoding="utf-8", errors="replace").split()
    return [file for file, digest in zip((job.results, job.executed), digests) if claims.sha256(file) != digest]


def holds(stamp: Path, inputs: str) -> bool:
    """Whether a stamp is of these inputs."""
    return stamp.is_file() and stamp.read_text(encoding="utf-8", errors="replace").split()[:1] == [inputs]


def is_trained(job: Job) -> bool:
    """Whether the trainings that a notebook lists are done; without any, they are."""
    return not job.trainings or holds(stamp_path(job.label, f"{job.notebook}.trainings"), job.trainings)


def out_of_date(jobs: Iterable[Job], forget: bool = False) -> list[Job]:
    """Those that have to run, by contents, not times; `forget` removes stamps and sets damaged results aside."""
    waiting, awaited = [], set()
    for job in jobs:
        trained, trainings = is_trained(job), stamp_path(job.label, f"{job.notebook}.trainings")
        whole = job.executed.is_file() and job.executed.read_bytes().endswith(b"}\n")
        complete = claims.is_intact(job.results, forget) and whole
        done = trained and complete and holds(job.stamp, job.inputs) and awaited.isdisjoint(job.needs)
        if not done:
            waiting.append(job)
            awaited |= set() if job.trainings and trained else {(job.label, job.notebook)}
        shares = dict.fromkeys(trainings.parent.glob(f"{trainings.stem}-*.done"), False)  # of other inputs, perhaps
        for stamp, stays in ({trainings: trained, job.stamp: done} | shares).items() if forget else ():
            if not stays:
                stamp.unlink(missing_ok=True)
            elif stamp.exists():
                stamp.touch()  # Snakemake wants no input from the future, as after a clock was set back
    return waiting


def only_run() -> TextIO:
    """The lock of the one run that may write; UsageError where there is another."""
    try:
        return paths.locked("run.lock")
    except BlockingIOError as error:
        remedy = "Wait until it has finished, or end it; then give the command again."
        raise UsageError(f"Another run is writing to this folder. {remedy}") from error


def read_profiles() -> Profiles:
    """The checked content of profiles.toml; its notebooks exist, their parameters are looked at later."""
    try:
        content = _parsed(paths.PROFILES.read_text(encoding="utf-8-sig"))  # Notepad's mark or none
    except (OSError, ValueError, RecursionError) as error:
        problem = notebooks.reason(error)
        raise UsageError(f"notebooks/profiles.toml is missing or not valid TOML of profiles: {problem}.") from error
    for name in content.model_extra:
        like = get_close_matches(name, [*notebooks.PROFILES, *Profiles.model_fields], 1, 0.75)
        if like and not name.startswith(like[0]):
            own = "A profile of your own needs a name that is less like it, or that begins with it"
            raise UsageError(f"notebooks/profiles.toml: [{name}] looks like a misspelt [{like[0]}]. Correct it. {own}.")
    named = set().union(*content.model_extra.values()) - {"common", "training"}
    named = named.union(content.bench, content.alone, content.depends, content.readme, *content.depends.values())
    named |= {finding.notebook for finding in content.finding}
    known = notebooks.names()
    for name in sorted(named.difference(known)):
        raise UsageError(f"notebooks/profiles.toml: '{name}' is not the name of a notebook. Known: {', '.join(known)}.")
    return content


@cache  # a command reads them for every notebook, which takes a tenth of its time
def _parsed(text: str) -> Profiles:
    return Profiles(**tomllib.loads(text))


def select_notebooks(only: Sequence[str] = ()) -> list[str]:
    """Names that match any of `only` (a number, a name or its beginning, a file); without, all but those that run
    alone."""
    known, chosen = notebooks.names(), set()
    for wanted in only:
        folder, beginning = Path(wanted).parent, Path(wanted).name.removesuffix(".ipynb")
        places = {(start / folder).resolve() for start in (Path.cwd(), paths.NOTEBOOKS.parent)}
        if folder != Path() and paths.NOTEBOOKS.resolve() not in places:  # else another file of that name would run
            what = f"'{wanted}' is not in the folder {paths.NOTEBOOKS.name}, and only the notebooks there can run"
            remedy = f"Run a copy by hand in Jupyter, or save it in {paths.NOTEBOOKS.name}/ as NN_name.ipynb"
            raise UsageError(f"{what}. {remedy}, with a name that no other has, and set NOTEBOOK to it.")
        matches = [name for name in known if notebooks.number_of(name) == beginning]  # 00 without 00b
        matches = matches or [name for name in known if beginning and name.startswith(beginning)]
        if not matches:
            how = f"Give a name or its beginning, as in --only 02, of: {', '.join(known)} (files named NN_name.ipynb)."
            raise UsageError(f"There is no notebook '{wanted}'. {how}")
        chosen.update(matches)
    return sorted(chosen) if only else sorted({*known}.difference(read_profiles().alone))


def profile_parameters(profile: str, notebook: str) -> dict[str, object]:
    """Defaults of a notebook, under [profile.common], [profile.training] if declared, and [profile.<notebook>]."""
    known, declared = read_profiles().model_extra, parameters_of(notebook)
    if profile not in known:
        has = ", ".join(known) or "none at all. Restore it from the repository"
        raise UsageError(f"There is no profile '{profile}'. notebooks/profiles.toml has: {has}.")
    values = {name: parameter.default for name, parameter in declared.items()}
    for table in ("common", "training", notebook):
        for name, value in known[profile].get(table, {}).items():
            try:
                if name == "profile":
                    raise ValueError(f"a profile is called what its tables are called, here {profile}")
                if name in declared:
                    values[name] = declared[name].checked(value)
                elif table != "training" or not any(name in parameters_of(other) for other in notebooks.names()):
                    raise ValueError(f"notebook {notebook} does not declare it; it declares {', '.join(declared)}")
            except ValueError as error:
                raise UsageError(f"notebooks/profiles.toml: '{name}' in [{profile}.{table}]: {error}.") from error
    return values | {"profile": profile}


def must_be(name: str, declared: Mapping[str, Parameter], values: Mapping[str, object]) -> str:
    """What a parameter has to be, by its type, its name or another parameter that its line names, and is not; else
    nothing. What the line says of the value alone is checked where the value is read. A name asks something of texts
    only: in a notebook of one's own it may be that of a number."""
    value, parameter, other = values[name], declared[name], values.get(declared[name].other)
    entries = value if isinstance(value, list) else [value]
    if any(isinstance(entry, int) and entry > MOST for entry in entries):
        return f"at most {MOST}"
    if all(isinstance(entry, str) for entry in entries) and len({*entries}) < len(entries):  # numbers may be alike
        return "a list in which nothing comes twice"
    try:
        fits = not parameter.relation or None in (value, other) or RELATIONS[parameter.relation](entries, other)
    except TypeError:  # a text, for example, is below no number
        fits = False
    if not fits:
        return f"{parameter.relation} {parameter.other}, which is {other!r}"
    if name == "data_source" and not notebooks.ALLOWED.search(parameter.help) and value != parameter.default:
        return f"{parameter.default!r}, the only source here"
    texts = [entry for entry in entries if entry and isinstance(entry, str)]
    files = [text for text in texts if not text.startswith(("http://", "https://"))]
    if name.endswith("_archive") and not all(os.path.isfile(paths.ROOT / os.path.expanduser(file)) for file in files):
        return "a file that is there, or a URL"
    archive = values.get(name.replace("_checksum", "_archive"))
    wanted = name.endswith("_checksum") and (texts or (isinstance(archive, str | list) and archive))
    if wanted and not (texts and all(map(CHECKSUM.fullmatch, texts))):
        return "md5: or sha256: and the digits, with the archive"
    lists = isinstance(values.get("models"), list) and isinstance(values.get("spaces"), list)
    rows = [entry for entry in entries if isinstance(entry, str)] if name == "left_out" and lists else []
    try:
        for model, _, space in (row.rpartition(" on ") for row in rows):
            declared["models"].checked([model]), declared["spaces"].checked([space])
    except ValueError:
        return "a list of 'MODEL on SPACE', with the names that `models` and `spaces` may have"
    return ""


def parse_overrides(assignments: Iterable[str], selected: Sequence[str]) -> dict[str, object]:
    """["epochs=5"] -> {"epochs": 5}; each declared by at least one of the selected notebooks and of its type."""
    declared, overrides = [parameters_of(name) for name in selected], {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not (equals and name and assignment.isprintable()):
            raise UsageError(f"'-p {assignment!a}' is not of the form -p name=value.")
        if name == "profile":
            raise UsageError("The profile is chosen with --profile, not with -p profile=...")
        having = [parameters[name] for parameters in declared if name in parameters]
        if not having:
            known = f"{', '.join(selected)} can be given: {', '.join(sorted(set().union(*declared) - {'profile'}))}"
            raise UsageError(f"No selected notebook declares a parameter '{name}'. {known}.")
        try:
            overrides[name] = [parameter.parsed(text) for parameter in having][-1]
        except ValueError as error:
            raise UsageError(f"Parameter '{name}' cannot have this value: {error}.") from error
    return overrides


def plan(profile: str, only: Sequence[str] = (), overrides: dict[str, object] | None = None) -> list[Job]:
    """Jobs for the selected notebooks and those they depend on, dependencies first.

    A notebook that no override reaches, not even through what it depends on, keeps the profile's own label.
    """
    depends = read_profiles().depends
    try:
        order = list(TopologicalSorter({name: depends.get(name, []) for name in notebooks.names()}).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise UsageError(f"notebooks/profiles.toml: [depends] goes in a circle: {circle}.") from error
    wanted = set(select_notebooks(only))
    for name in reversed(order):
        wanted |= set(depends.get(name, [])) if name in wanted else set()
    jobs: dict[str, Job] = {}
    reached: dict[str, dict] = {}  # the overrides that reach each notebook
    for name in filter(wanted.__contains__, order):
        declared = parameters_of(name)
        own = {key: value for key, value in (overrides or {}).items() if key in declared}
        needed = [jobs[other] for other in depends.get(name, [])]
        reached[name] = dict(item for job in needed for item in reached[job.notebook].items()) | deciding(own)
        label = f"{profile}+{hash_of(reached[name])[:8]}" if reached[name] else profile
        parameters = profile_parameters(profile, name) | own | {"profile": label}
        for key in declared:
            if missed := must_be(key, declared, parameters):
                what = f"Notebook {name}: {key} is {parameters[key]!r}, but must be {missed}"
                raise UsageError(f"{what}; its line says '{declared[key].line}'. Set it with -p or in profiles.toml.")
        source = notebooks.source_of(name)
        decided = [deciding(parameters), notebooks.code_fingerprint(source)]
        listed = notebooks.tagged_cells(source, notebooks.TRAININGS)
        code = hash_of([decided[1], listed])
        cells = notebooks.code_cells_hash(source)
        inputs = hash_of([decided, cells, [job.inputs for job in needed]])
        needs = tuple((job.label, job.notebook) for job in needed)
        trainings = hash_of([decided, listed]) if listed else ""
        jobs[name] = Job(name, label, parameters, needs, inputs, trainings, cells, code)
    return list(jobs.values())
