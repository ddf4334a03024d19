"""Which notebooks run, in which order, with which parameters: profiles.toml and the notebooks' `parameters` cells.

A notebook declares what can be set in the one cell tagged `parameters`, one `name: type = default  # help` a line. A
profile in notebooks/profiles.toml gives values for a named size of run. `-p name=value` changes one of them for one
run, whose files then go under the label `<profile>+<hash>`, never under the profile's own name. Everything wrong with
any of the three is a `UsageError` before any work starts.
"""

import ast
import functools
import hashlib
import json
import operator
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NoReturn

from pydantic import TypeAdapter, ValidationError

from companion import notebooks, paths
from companion.notebooks import UsageError

STANDARD_PARAMETERS = ("profile", "data_source", "seed")  # every notebook declares these
SCALARS = {"int": int, "float": float, "bool": bool, "str": str}
TYPES = SCALARS | {f"list[{name}]": list[scalar] for name, scalar in SCALARS.items()} | {"None": None}
WORDS = {"none": None, "null": None, "true": True, "false": False}  # on the command line
NOT_PROFILES = ("depends", "readme")  # tables of profiles.toml that are about notebooks


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell."""

    name: str
    type: str  # as written: int, float, bool, str, list[int], ..., with `| None` allowed
    default: object
    help: str

    @property
    def types(self) -> list[str]:
        """`list[int] | None` -> ["list[int]", "None"]."""
        return [part.strip() for part in self.type.split("|")]

    def typed(self, value: object) -> object:
        """`value` as the parameter's type: int becomes float where a float is wanted, nothing else changes.

        Raises:
            TypeError: It does not fit.
        """
        try:
            wanted = functools.reduce(operator.or_, (TYPES[part] for part in self.types[1:]), TYPES[self.types[0]])
            return TypeAdapter(wanted).validate_python(value, strict=True)
        except ValidationError as error:
            raise TypeError(f"{value!r} is not {self.type}") from error

    def parsed(self, text: str) -> object:
        """The value that `text`, typed on a command line, means for this parameter.

        Raises:
            TypeError: It means none.
        """
        if "str" in self.types and not ("None" in self.types and WORDS.get(text.lower(), text) is None):
            return text
        try:
            value = WORDS[text.lower()] if text.lower() in WORDS else ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            raise TypeError(f"{text!r} is not {self.type}") from error
        return self.typed(list(value) if isinstance(value, tuple) else value)


@dataclass(frozen=True)
class Job:
    """One notebook to run: `label` is the folder name of its files, `parameters` all that is injected."""

    notebook: str
    label: str
    parameters: dict
    needs: tuple  # labels and names (label, notebook) of the jobs that must be done before

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        return cls(**json.loads(text))

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
    """The file written last by a run: it exists exactly when this machine has run the notebook to its end."""
    return paths.STATE / label / f"{notebook}.done"


def declared_parameters(path: Path) -> dict[str, Parameter]:
    """Parameters of a notebook by name, in the order written.

    Raises:
        UsageError: The cell holds anything else than `name: type = literal  # help` lines.
    """
    source = notebooks.parameters_cell(path)
    lines = source.splitlines()
    declared = {}

    def refuse(node: ast.stmt, why: str) -> NoReturn:
        raise UsageError(
            f"{path.name}: the line '{lines[node.lineno - 1].strip()}' of the parameters cell {why}. Every line there "
            "must read 'name: type = value  # help'; computed values belong in the next cell."
        )

    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise UsageError(
            f"{path.name}: the parameters cell is not valid Python (line {error.lineno}: {error.msg})."
        ) from error
    for node in statements:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None):
            refuse(node, "is not an annotated assignment")
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            refuse(node, "computes its value")
        annotation, help_text = ast.unparse(node.annotation), lines[node.end_lineno - 1].partition("#")[2].strip()
        parameter = Parameter(node.target.id, annotation, default, help_text)
        if not set(parameter.types) <= set(TYPES):
            known = "int, float, bool, str or a list of one of them"
            refuse(node, f"has a type that cannot be set from outside ({annotation}; use {known})")
        try:
            parameter.typed(default)
        except TypeError:
            refuse(node, f"has a default that is not {annotation}")
        declared[parameter.name] = parameter
    missing = [name for name in STANDARD_PARAMETERS if name not in declared]
    if missing:
        raise UsageError(f"{path.name}: the parameters cell does not declare {', '.join(missing)}; every one must.")
    return declared


def parameters_of(notebook: str) -> dict[str, Parameter]:
    return declared_parameters(notebooks.source_of(notebook))


# ---------------------------------------------------------------- profiles and plans


def read_profiles() -> dict[str, dict]:
    """profiles.toml as a dict, checked to be TOML."""
    try:
        return tomllib.loads(paths.PROFILES.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"notebooks/profiles.toml is missing or not valid TOML: {error}.") from error


def profile_names() -> list[str]:
    return [name for name in read_profiles() if name not in NOT_PROFILES]


def notebook_names() -> list[str]:
    return sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb"))


def check_profile(profile: str) -> None:
    """Raise UsageError unless `profile` is in profiles.toml."""
    if profile not in profile_names():
        raise UsageError(f"There is no profile '{profile}'. notebooks/profiles.toml has: {', '.join(profile_names())}.")


def check_notebooks(names: Iterable[str], where: str) -> None:
    """Raise UsageError if one of the names in `where` (a table of profiles.toml) is not that of a notebook."""
    for name in sorted(set(names) - set(notebook_names())):
        raise UsageError(
            f"notebooks/profiles.toml: '{name}' in {where} is not the name of a notebook. "
            f"Known notebooks: {', '.join(notebook_names())}."
        )


def select_notebooks(only: Sequence[str] = ()) -> list[str]:
    """Names that match any of `only` (a full name or its beginning, such as "02"); all if `only` is empty."""
    known = notebook_names()
    chosen = set()
    for wanted in only:
        matches = [name for name in known if name.startswith(wanted.removesuffix(".ipynb"))] if wanted else []
        if not matches:
            raise UsageError(
                f"There is no notebook '{wanted}'. Known notebooks: {', '.join(known)}. "
                "Give a full name or its beginning, for example --only 02."
            )
        chosen.update(matches)
    return sorted(chosen) if only else known


def profile_parameters(profile: str, notebook: str) -> dict[str, object]:
    """Every parameter of `notebook` in `profile`: the notebook's defaults, under [profile.common], under
    [profile.training] as far as the notebook declares its names, under [profile.<notebook>].
    """
    check_profile(profile)
    tables = read_profiles()[profile]
    check_notebooks(set(tables) - {"common", "training"}, f"[{profile}]")
    declared = parameters_of(notebook)
    values = {name: parameter.default for name, parameter in declared.items()}
    for table in ("common", "training", notebook):
        where = f"notebooks/profiles.toml: [{profile}.{table}]"
        for name, value in tables.get(table, {}).items():
            if name in declared:
                try:
                    values[name] = declared[name].typed(value)
                except TypeError as error:
                    raise UsageError(f"{where} gives '{name}' a wrong value: {error}.") from error
            elif table != "training" or not any(name in parameters_of(other) for other in notebook_names()):
                known = f"notebook {notebook} does not declare. It declares: {', '.join(declared)}"
                raise UsageError(f"{where} sets '{name}', which {known}.")
    return values | {"profile": profile}


def parse_overrides(assignments: Iterable[str], selected: Sequence[str]) -> dict[str, object]:
    """["epochs=5"] -> {"epochs": 5}; each declared by at least one of the selected notebooks and of its type."""
    declared = {name: parameters_of(name) for name in selected}
    overrides = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals or not name:
            raise UsageError(f"'-p {assignment}' is not of the form -p name=value.")
        if name == "profile":
            raise UsageError("The profile is chosen with --profile, not with -p profile=...")
        having = [parameters[name] for parameters in declared.values() if name in parameters]
        if not having:
            everything = sorted({known for parameters in declared.values() for known in parameters} - {"profile"})
            raise UsageError(
                f"No selected notebook declares a parameter '{name}'. "
                f"{', '.join(selected)} can be given: {', '.join(everything)}."
            )
        for parameter in having:
            try:
                overrides[name] = parameter.parsed(text)
            except TypeError as error:
                help_text = f" ({parameter.help})" if parameter.help else ""
                raise UsageError(f"Parameter '{name}'{help_text} must be of type {parameter.type}: {error}.") from error
    return overrides


def label_of(profile: str, overrides: dict[str, object]) -> str:
    """Folder name of a run: the profile, and for changed parameters a hash of the changes."""
    if not overrides:
        return profile
    text = json.dumps(overrides, sort_keys=True)
    return f"{profile}+{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def plan(profile: str, only: Sequence[str] = (), overrides: dict[str, object] | None = None) -> list[Job]:
    """Jobs for the selected notebooks and those they depend on, dependencies first.

    A notebook that no override touches, neither itself nor through what it depends on, keeps the profile's own label,
    so it is not run again.
    """
    depends = read_profiles().get("depends", {})
    check_notebooks({*depends, *(name for needed in depends.values() for name in needed)}, "[depends]")
    try:
        order = list(TopologicalSorter({name: depends.get(name, []) for name in notebook_names()}).static_order())
    except CycleError as error:
        raise UsageError(
            f"notebooks/profiles.toml: [depends] goes in a circle: {' -> '.join(error.args[1])}."
        ) from error
    wanted = set(select_notebooks(only))
    for name in reversed(order):
        wanted |= set(depends.get(name, [])) if name in wanted else set()
    jobs: dict[str, Job] = {}
    reached: dict[str, dict] = {}  # the overrides that reach each notebook
    for name in order:
        if name not in wanted:
            continue
        own = {key: value for key, value in (overrides or {}).items() if key in parameters_of(name)}
        needed = depends.get(name, [])
        reached[name] = functools.reduce(operator.or_, (reached[other] for other in needed), own)
        label = label_of(profile, reached[name])
        parameters = profile_parameters(profile, name) | own | {"profile": label}
        jobs[name] = Job(name, label, parameters, tuple((jobs[other].label, other) for other in needed))
    return list(jobs.values())
