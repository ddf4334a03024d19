"""Which notebooks run, in which order, with which parameters: profiles.toml and the notebooks' `parameters` cells.

`-p name=value` changes a parameter for one run, whose files then go under the label `<profile>+<hash>`, never under the
profile's own name. Everything wrong with any of this is a `UsageError` before any work starts.
"""

import functools
import hashlib
import json
import operator
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from pydantic import BaseModel

from companion import claims, notebooks, paths
from companion.notebooks import UsageError, parameters_of


def as_list(setting: object) -> list[str]:
    """What `snakemake --config` makes of `only=00`, a number, and of `only=[00,01]`, a list, as texts."""
    return [str(value).zfill(2) for value in (setting if isinstance(setting, list) else [setting])]


class Readme(BaseModel, extra="forbid"):
    """What the README's table says of a notebook: where a paper has it, and the claims to show."""

    printed_in: str = ""
    claims: list[str] = []


class Profiles(BaseModel, extra="allow"):
    """notebooks/profiles.toml: tables about notebooks, and one table of tables for each profile."""

    depends: dict[str, list[str]] = {}
    readme: dict[str, Readme] = {}
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

    @property
    def source(self) -> Path:
        return notebooks.source_of(self.notebook)

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
    """The file written last by a run: it holds the `inputs` with which this machine has run the notebook."""
    return paths.STATE / label / f"{notebook}.done"


def trained_path(label: str, notebook: str) -> Path:
    """The stamp of all trainings of a notebook."""
    return stamp_path(label, f"{notebook}.trainings")


def out_of_date(jobs: Iterable[Job], forget: bool = False) -> list[Job]:
    """Those of a plan that have to run; with `forget` without their stamps, for Snakemake runs what has none.

    Contents count, not times: an older file in place of a newer one is a change, and so is an edit while it ran.
    """
    waiting, awaited = [], set()
    for job in jobs:
        trainings = trained_path(job.label, job.notebook)
        trained = not job.trainings or stored_inputs(trainings) == job.trainings
        complete = job.executed.is_file() and job.executed.stat().st_size and claims.is_intact(job.results)
        if stored_inputs(job.stamp) != job.inputs or not (trained and complete and awaited.isdisjoint(job.needs)):
            waiting.append(job)
            awaited |= set() if job.trainings and trained else {(job.label, job.notebook)}
            for stamp in [job.stamp, *([] if trained else [trainings])] if forget else []:
                stamp.unlink(missing_ok=True)
    return waiting


def stored_inputs(stamp: Path) -> str | None:
    return stamp.read_text(encoding="utf-8", errors="replace").strip() if stamp.is_file() else None


def read_profiles() -> Profiles:
    """The checked content of profiles.toml; its notebooks exist, their parameters are looked at later."""
    try:
        content = Profiles(**tomllib.loads(paths.PROFILES.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        problem = notebooks.reason(error)
        raise UsageError(f"notebooks/profiles.toml is missing or not valid TOML of profiles: {problem}.") from error
    named = {*content.depends, *content.readme, *(name for needed in content.depends.values() for name in needed)}
    named |= {name for tables in content.model_extra.values() for name in tables} - {"common", "training"}
    for name in sorted(named - set(notebooks.names())):
        known = ", ".join(notebooks.names())
        raise UsageError(f"notebooks/profiles.toml: '{name}' is not the name of a notebook. Known: {known}.")
    return content


def tables_of(profile: str) -> dict[str, dict[str, object]]:
    """The tables of a profile, or UsageError where there is none of this name."""
    known = read_profiles().model_extra
    if profile not in known:
        raise UsageError(f"There is no profile '{profile}'. notebooks/profiles.toml has: {', '.join(known)}.")
    return known[profile]


def select_notebooks(only: Sequence[str] = ()) -> list[str]:
    """Names that match any of `only` (a full name or its beginning, such as "02"); all if `only` is empty."""
    known = notebooks.names()
    chosen = set()
    for wanted in only:
        matches = [name for name in known if name.startswith(wanted.removesuffix(".ipynb"))] if wanted else []
        if not matches:
            how = f"Give a name or its beginning, as in --only 02, of: {', '.join(known)} (files named NN_name.ipynb)."
            raise UsageError(f"There is no notebook '{wanted}'. {how}")
        chosen.update(matches)
    return sorted(chosen) if only else known


def profile_parameters(profile: str, notebook: str) -> dict[str, object]:
    """Every parameter of `notebook` in `profile`: the notebook's defaults, under [profile.common], under
    [profile.training] as far as the notebook declares its names, under [profile.<notebook>].
    """
    tables, declared = tables_of(profile), parameters_of(notebook)
    values = {name: parameter.default for name, parameter in declared.items()}
    for table in ("common", "training", notebook):
        for name, value in tables.get(table, {}).items():
            try:
                if name in declared and name != "profile":
                    values[name] = declared[name].checked(value)
                elif table != "training" or not any(name in parameters_of(other) for other in notebooks.names()):
                    raise ValueError(f"notebook {notebook} does not declare it; it declares {', '.join(declared)}")
            except ValueError as error:
                raise UsageError(f"notebooks/profiles.toml: '{name}' in [{profile}.{table}]: {error}.") from error
    return values | {"profile": profile}


def parse_overrides(assignments: Iterable[str], selected: Sequence[str]) -> dict[str, object]:
    """["epochs=5"] -> {"epochs": 5}; each declared by at least one of the selected notebooks and of its type."""
    declared = [parameters_of(name) for name in selected]
    overrides = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not (equals and name and assignment.isprintable()):
            raise UsageError(f"'-p {assignment!a}' is not of the form -p name=value.")
        if name == "profile":
            raise UsageError("The profile is chosen with --profile, not with -p profile=...")
        having = [parameters[name] for parameters in declared if name in parameters]
        if not having:
            known = ", ".join(sorted(set().union(*declared) - {"profile"}))
            can = f"{', '.join(selected)} can be given: {known}"
            raise UsageError(f"No selected notebook declares a parameter '{name}'. {can}.")
        try:
            overrides[name] = [parameter.parsed(text) for parameter in having][-1]
        except ValueError as error:
            raise UsageError(f"Parameter '{name}' cannot have this value: {error}.") from error
    return overrides


def label_of(profile: str, overrides: dict[str, object]) -> str:
    """Folder name of a run: the profile, and for changed parameters a hash of the changes."""
    return f"{profile}+{hash_of(overrides)[:8]}" if overrides else profile


def hash_of(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def deciding(parameters: dict[str, object]) -> dict[str, object]:
    """Those of the parameters that results depend on."""
    return {name: value for name, value in parameters.items() if name not in notebooks.NOT_DECIDING}


def plan(profile: str, only: Sequence[str] = (), overrides: dict[str, object] | None = None) -> list[Job]:
    """Jobs for the selected notebooks and those they depend on, dependencies first.

    A notebook that no override touches, neither itself nor through what it depends on, keeps the profile's own label,
    so it is not run again.
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
    for name in order:
        if name not in wanted:
            continue
        own = {key: value for key, value in (overrides or {}).items() if key in parameters_of(name)}
        needed = [jobs[other] for other in depends.get(name, [])]
        reached[name] = functools.reduce(operator.or_, (reached[job.notebook] for job in needed), deciding(own))
        label = label_of(profile, reached[name])
        parameters = profile_parameters(profile, name) | own | {"profile": label}
        source = notebooks.source_of(name)
        decided = [deciding(parameters), notebooks.code_fingerprint(source)]
        listed = notebooks.tagged_cells(source, notebooks.TRAININGS)
        inputs = hash_of([decided, notebooks.code_cells_hash(source), [job.inputs for job in needed]])
        needs = tuple((job.label, job.notebook) for job in needed)
        jobs[name] = Job(name, label, parameters, needs, inputs, hash_of([decided, listed]) if listed else "")
    return list(jobs.values())
