"""Which notebooks run, in which order, with which parameters: profiles.toml and the notebooks' own
`parameters` cells.

A notebook declares what can be set in the one cell tagged `parameters`, one `name: type = default  # help` a
line. A profile in notebooks/profiles.toml gives values for a named size of run. `-p name=value` changes one
of them for one run, whose files then go under the label `<profile>+<hash>`, never under the profile's own
name. Everything wrong with any of the three is a `UsageError` before any work starts.
"""

import ast
import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass

from companion import paths

STANDARD_PARAMETERS = ("profile", "data_source", "seed")  # every notebook declares these
SCALARS = {"int": int, "float": float, "bool": bool, "str": str}


class UsageError(Exception):
    """Something asked for cannot be done; the message is one paragraph saying what, where and the remedy."""


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell."""

    name: str
    type: str  # as written: int, float, bool, str, list[int], ..., with `| None` allowed
    default: object
    help: str


@dataclass(frozen=True)
class Job:
    """One notebook to run: `label` is the folder name of its files, `parameters` all that is injected."""

    notebook: str
    label: str
    parameters: dict
    needs: tuple  # labels and names (label, notebook) of the jobs that must be done before

    def to_json(self):
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text):
        return cls(**json.loads(text))

    @property
    def source(self):
        return paths.NOTEBOOKS / f"{self.notebook}.ipynb"

    @property
    def results(self):
        return paths.RESULTS / self.label / f"{self.notebook}.json"

    @property
    def executed(self):
        return paths.EXECUTED / self.label / f"{self.notebook}.ipynb"

    @property
    def stamp(self):
        return stamp_path(self.label, self.notebook)


def stamp_path(label, notebook):
    """The file written last by a run: it exists exactly when this machine has run the notebook to its end."""
    return paths.STATE / label / f"{notebook}.done"


# ---------------------------------------------------------------- the parameters cell


def parameters_cell(notebook_path):
    """Source of the one code cell tagged `parameters`."""
    try:
        notebook = json.loads(notebook_path.read_text(encoding="utf-8"))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{notebook_path.name} is not a notebook file that can be read ({error}). "
            "Restore it from the repository, or save it again in Jupyter."
        ) from error
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise UsageError(
            f"{notebook_path.name} has {len(tagged)} cells tagged 'parameters'; it needs exactly one. "
            "Set the tag in Jupyter: right sidebar (gear) > Cell Tags."
        )
    source = tagged[0]["source"]
    return "".join(source) if isinstance(source, list) else source


def declared_parameters(notebook_path):
    """Parameters of a notebook by name, in the order written. Only `name: type = literal  # help` lines may
    stand in the cell.
    """
    source = parameters_cell(notebook_path)
    lines = source.splitlines()
    declared = {}

    def refuse(node, why):
        line = lines[node.lineno - 1].strip()
        raise UsageError(
            f"{notebook_path.name}: the line '{line}' of the parameters cell {why}. Every line there must "
            "read "
            "'name: type = value  # help'; computed values belong in the next cell."
        )

    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise UsageError(
            f"{notebook_path.name}: the parameters cell is not valid Python (line {error.lineno}: {error.msg})."
        ) from error
    for node in statements:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None):
            refuse(node, "is not an annotated assignment")
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            refuse(node, "computes its value")
        annotation = ast.unparse(node.annotation)
        if not known_type(annotation):
            refuse(
                node,
                f"has a type that cannot be set from outside ({annotation}; use int, float, bool, str or a "
                "list of one of them)",
            )
        help_text = lines[node.end_lineno - 1].partition("#")[2].strip()
        parameter = Parameter(node.target.id, annotation, default, help_text)
        try:
            typed(parameter, default)
        except TypeError:
            refuse(node, f"has a default that is not {annotation}")
        declared[parameter.name] = parameter
    missing = [name for name in STANDARD_PARAMETERS if name not in declared]
    if missing:
        raise UsageError(
            f"{notebook_path.name}: the parameters cell does not declare {', '.join(missing)}; every notebook must."
        )
    return declared


def type_parts(annotation):
    """'list[int] | None' -> ['list[int]', 'None']."""
    return [part.strip() for part in annotation.split("|")]


def known_type(annotation):
    lists = {f"list[{name}]" for name in SCALARS}
    return all(part in SCALARS or part in lists or part == "None" for part in type_parts(annotation))


def typed(parameter, value):
    """`value` as the parameter's type; int becomes float where a float is wanted, nothing else changes.
    TypeError if it does not fit.
    """
    for part in type_parts(parameter.type):
        if part == "None" and value is None:
            return None
        if part.startswith("list[") and isinstance(value, list):
            wanted = part[5:-1]
            if all(fits(item, wanted) for item in value):
                return [SCALARS[wanted](item) for item in value]
        if part in SCALARS and fits(value, part):
            return SCALARS[part](value)
    raise TypeError(f"{value!r} is not {parameter.type}")


def fits(value, name):
    """bool is not an int here, although Python says so; an int is a float."""
    if name == "float":
        return type(value) in (int, float)
    return type(value) is SCALARS[name]


def parse_text(parameter, text):
    """The value that `text`, typed on a command line, means for this parameter; TypeError if none."""
    parts = type_parts(parameter.type)
    if "None" in parts and text in ("None", "none", "null"):
        return None
    if "bool" in parts and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if "str" in parts:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise TypeError(f"{text!r} is not {parameter.type}") from error
    return typed(parameter, list(value) if isinstance(value, tuple) else value)


# ---------------------------------------------------------------- profiles and plans


def read_profiles():
    """profiles.toml as a dict, checked to be TOML."""
    try:
        return tomllib.loads(paths.PROFILES.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"There is no {paths.PROFILES.name} beside the notebooks in {paths.NOTEBOOKS}. Restore it from "
            "the repository."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"notebooks/{paths.PROFILES.name} is not valid TOML: {error}.") from error


def profile_names():
    return [name for name in read_profiles() if name != "depends"]


def notebook_names():
    return sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb"))


def check_profile(profile):
    """Raise UsageError unless `profile` is in profiles.toml."""
    if profile not in profile_names():
        raise UsageError(f"There is no profile '{profile}'. notebooks/profiles.toml has: {', '.join(profile_names())}.")


def select_notebooks(only=()):
    """Notebook names matching any of `only` (a full name or its beginning, such as '02'); all of them if
    `only` is empty.
    """
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


def profile_parameters(profile, notebook):
    """Every parameter of `notebook` in `profile`: the notebook's defaults, under [profile.common], under
    [profile.training] as far as the notebook declares its names, under [profile.<notebook>].
    """
    check_profile(profile)
    tables = read_profiles()[profile]
    unknown = set(tables) - {"common", "training"} - set(notebook_names())
    if unknown:
        raise UsageError(
            f"notebooks/profiles.toml: [{profile}.{sorted(unknown)[0]}] is not the name of a notebook. "
            f"Known notebooks: {', '.join(notebook_names())}."
        )
    declared = declared_parameters(paths.NOTEBOOKS / f"{notebook}.ipynb")
    values = {name: parameter.default for name, parameter in declared.items()}
    for table in ("common", "training", notebook):
        for name, value in tables.get(table, {}).items():
            if table == "training" and name not in declared and declared_somewhere(name):
                continue
            if name not in declared:
                raise UsageError(
                    f"notebooks/profiles.toml: [{profile}.{table}] sets '{name}', which notebook "
                    f"{notebook} does not declare. "
                    f"It declares: {', '.join(declared)}."
                )
            try:
                values[name] = typed(declared[name], value)
            except TypeError as error:
                raise UsageError(
                    f"notebooks/profiles.toml: [{profile}.{table}] gives '{name}' a wrong value: {error}."
                ) from error
    values["profile"] = profile
    return values


def declared_somewhere(name):
    """Whether any notebook declares the parameter `name`."""
    return any(name in declared_parameters(paths.NOTEBOOKS / f"{other}.ipynb") for other in notebook_names())


def parse_overrides(assignments, notebooks):
    """['epochs=5'] -> {'epochs': 5}; each declared by at least one of `notebooks` and of its type."""
    declared = {name: declared_parameters(paths.NOTEBOOKS / f"{name}.ipynb") for name in notebooks}
    overrides = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"'-p {assignment}' is not of the form -p name=value.")
        if name == "profile":
            raise UsageError("The profile is chosen with --profile, not with -p profile=...")
        having = [parameters[name] for parameters in declared.values() if name in parameters]
        if not having:
            everything = sorted({known for parameters in declared.values() for known in parameters} - {"profile"})
            raise UsageError(
                f"No selected notebook declares a parameter '{name}'. "
                f"{', '.join(notebooks)} can be given: {', '.join(everything)}."
            )
        for parameter in having:
            try:
                overrides[name] = parse_text(parameter, text.strip())
            except TypeError as error:
                help_text = f" ({parameter.help})" if parameter.help else ""
                raise UsageError(f"Parameter '{name}'{help_text} must be of type {parameter.type}: {error}.") from error
    return overrides


def label_of(profile, overrides):
    """Folder name of a run: the profile, and for changed parameters a hash of the changes."""
    if not overrides:
        return profile
    text = json.dumps(overrides, sort_keys=True)
    return f"{profile}+{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def plan(profile, only=(), overrides=None):
    """Jobs for the selected notebooks and those they depend on, dependencies first.

    A notebook that no override touches, neither itself nor through what it depends on, keeps the profile's
    own label, so it is not run again.
    """
    overrides = overrides or {}
    depends = read_profiles().get("depends", {})
    jobs = {}

    def changes(notebook):
        """Overrides that reach `notebook`."""
        declared = declared_parameters(paths.NOTEBOOKS / f"{notebook}.ipynb")
        own = {name: value for name, value in overrides.items() if name in declared}
        for needed in depends.get(notebook, []):
            own |= changes(needed)
        return own

    def add(notebook, path=()):
        if notebook in path:
            raise UsageError(f"notebooks/profiles.toml: [depends] goes in a circle: {' -> '.join([*path, notebook])}.")
        if notebook in jobs:
            return
        needed = depends.get(notebook, [])
        for name in needed:
            if name not in notebook_names():
                raise UsageError(
                    f"notebooks/profiles.toml: [depends] says that {notebook} needs '{name}', which is not "
                    "a notebook. "
                    f"Known notebooks: {', '.join(notebook_names())}."
                )
            add(name, (*path, notebook))
        label = label_of(profile, changes(notebook))
        declared = declared_parameters(paths.NOTEBOOKS / f"{notebook}.ipynb")
        parameters = profile_parameters(profile, notebook)
        parameters |= {name: value for name, value in overrides.items() if name in declared} | {"profile": label}
        jobs[notebook] = Job(notebook, label, parameters, tuple((jobs[name].label, name) for name in needed))

    for notebook in select_notebooks(only):
        add(notebook)
    return list(jobs.values())


def library_files():
    """Files that a notebook's results can depend on, for the up-to-date check; the rest of the machinery cannot."""
    lib = paths.ROOT / "lib"
    files = [
        *(lib / "latentnas").rglob("*.py"),
        *(lib / "companion/figures").rglob("*.py"),
        lib / "companion/claims.py",
    ]
    return sorted(path for path in files if path.exists())
