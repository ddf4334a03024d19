"""What a notebook file says: its title, what can be set in it, and which code it depends on.

A notebook declares what can be set in the one cell tagged `parameters`, one `name: type = default  # help` a line. The
help may end with what is allowed, after a semicolon: `1 or more`, `above 0`, `0 to 99` or `one of this, "or, that"`,
of a list each entry; and with what this says of another parameter: `below queries`, `at most`, `more than` or, of a
list's length, `as many as`. A list whose help has the words "at least one" may not be empty.
"""

import ast
import contextlib
import csv
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, TypeAdapter, ValidationError

from companion import paths
from latentnas import code

PARAMETERS, INJECTED, TRAININGS = "parameters", "injected-parameters", "trainings"  # tags; papermill adds the second
STANDARD_PARAMETERS = ("profile", "data_source", "seed")  # every notebook declares these
NOT_DECIDING = ("jobs",)  # parameters that change no result, but how many processes work on it
PROFILES = ("smoke", "quick", "recommended", "paper")  # that ./run_all.sh runs
NAME = re.compile(r"\d\d[a-z]?_[A-Za-z0-9_]+")  # so no Untitled, no copy that Jupyter made, no file of a save cut off
NUMBER = r"(-?\d+(?:\.\d+)?)"
DECLARATION = re.compile(r"(\w+): ([\w\[\]| ]+) = (.+?)(?:\s*# (.*))?")
RELATIONS = {  # of a parameter's entries, those that are None left out, to another parameter; or of their number
    "below": lambda entries, other: all(entry < other for entry in entries if entry is not None),
    "at most": lambda entries, other: all(entry <= other for entry in entries if entry is not None),
    "more than": lambda entries, other: all(entry > other for entry in entries if entry is not None),
    "as many as": lambda entries, other: len(entries) == len(other),
}
ALLOWED = re.compile(
    rf"(?:^|; )(?:{NUMBER} or more|above {NUMBER}|{NUMBER} to {NUMBER}|one of ([^;]+))"
    rf"(?:; ({'|'.join(RELATIONS)}) (\w+))?$"
)
STRICT = ConfigDict(strict=True, allow_inf_nan=False)
WORDS = {"none": None, "null": None, "true": True, "false": False}  # on the command line


class UsageError(Exception):
    """Something asked for cannot be done; the message is one paragraph saying what, where and the remedy."""


class Cell(BaseModel):
    cell_type: str
    source: Annotated[str, BeforeValidator("".join)]  # a file holds the lines
    metadata: dict
    tags: list[str] = Field([], validation_alias=AliasPath("metadata", "tags"))


class Notebook(BaseModel):
    """What must be right in a notebook file for it to be read and run."""

    cells: list[Cell]
    metadata: dict
    nbformat: Literal[4]
    nbformat_minor: StrictInt


def names() -> list[str]:
    """The notebooks, in order: the files that are named NN_name.ipynb or NNa_name.ipynb."""
    return sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb") if NAME.fullmatch(path.stem) and path.is_file())


def is_own(profile: object) -> bool:
    """Whether a run by hand may store results under this name: a word, and not one that ./run_all.sh stores under."""
    taken = {*PROFILES}
    with contextlib.suppress(OSError, ValueError):  # where one installed the package alone, or edits the file
        taken |= tomllib.loads((paths.NOTEBOOKS / "profiles.toml").read_text(encoding="utf-8-sig")).keys()
    name = str(profile).partition("+")[0].lower()  # some disks do not tell letter case apart
    is_word = isinstance(profile, str) and re.fullmatch(r"\w[\w+-]*", profile)
    return bool(is_word) and name not in {other.lower() for other in taken}


def number_of(notebook: str) -> str:
    """What a notebook is called for short: "00b" of 00b_model_by_hand."""
    return notebook.partition("_")[0]


def source_of(notebook: str) -> Path:
    """The file of the notebook with this name."""
    return paths.NOTEBOOKS / f"{notebook}.ipynb"


def cells_of(path: Path, kind: str = "code") -> list[Cell]:
    """The cells of one kind, without the one that papermill injects; UsageError where the file is no notebook."""
    try:
        cells = Notebook.model_validate_json(path.read_bytes()).cells
    except (OSError, TypeError, ValidationError) as error:
        remedy = "Restore it from the repository, or save it again in Jupyter."
        raise UsageError(f"{path.name} is not a notebook file that can be read ({reason(error)}). {remedy}") from error
    return [cell for cell in cells if cell.cell_type == kind and INJECTED not in cell.tags]


def reason(error: Exception) -> str:
    """An error in one line; of pydantic's the first, with its place."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def title_of(notebook: str) -> str:
    """The first heading of a notebook without its number: "# 02 · The latent space" -> "The latent space"."""
    text = "\n".join(cell.source for cell in cells_of(source_of(notebook), "markdown"))
    return next(iter(re.findall(r"^# (?:\d+[a-z]? · )?(.+)$", text, re.M)), notebook)


def tagged_cells(path: Path, tag: str) -> list[tuple[int, str]]:
    """Number, as Jupyter counts code cells, and source of those with a tag."""
    return [(number, cell.source) for number, cell in enumerate(cells_of(path), 1) if tag in cell.tags]


def hash_of(content: object) -> str:
    """SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def code_cells_hash(path: Path) -> str:
    """SHA-256 of a notebook's code cells: the same for a source and for the executed copy made from it."""
    return hash_of([cell.source for cell in cells_of(path)])


def code_fingerprint(path: Path, without: tuple[str, ...] = ()) -> str:
    """A hash of the library code that a notebook imports, directly or not, but for packages that are left out; blind to
    docstrings and comments. UsageError where a module cannot be read."""
    imported = set()
    for cell in cells_of(path):
        python = re.sub("^[%!].*", "pass", cell.source, flags=re.M)  # lines of IPython: `%time`, `!ls`
        with contextlib.suppress(SyntaxError):  # the run will say so
            imported |= code.imported_modules(ast.parse(python))
    try:
        modules = code.module_closure(*imported)
        return code.fingerprint(name for name in modules if not f"{name}.".startswith(without))
    except SyntaxError as error:
        what = f"{error.filename} cannot be read as Python: {error.msg} in line {error.lineno}"
        raise UsageError(f"{what}. Correct it; then the same command runs.") from error


def deciding(parameters: Mapping[str, object]) -> dict[str, object]:
    """Those of the parameters that results depend on."""
    return {name: value for name, value in parameters.items() if name not in NOT_DECIDING}


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell."""

    line: str
    type: TypeAdapter
    default: object
    help: str
    relation: str | None = None  # to another parameter
    other: str | None = None

    def checked(self, value: object) -> object:
        """`value` as the parameter's type: int becomes float where a float is wanted, nothing else changes. ValueError,
        which quotes the parameter's line, where it does not fit."""
        try:
            return self.type.validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{value!r} does not fit '{self.line}' ({reason(error)})") from error

    def parsed(self, text: str) -> object:
        """The value that `text`, typed on a command line, means for this parameter, or ValueError."""
        try:
            value = WORDS[text.lower()] if text.lower() in WORDS else ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            value = text
        if value is not None:  # else it would be the word "none" where a text is allowed too
            with contextlib.suppress(ValueError):
                return self.checked(text)
        return self.checked(list(value) if isinstance(value, tuple) else value)


def parameters_of(notebook: str) -> dict[str, Parameter]:
    """Parameters of a notebook by name, in the order written. UsageError unless exactly one cell is tagged
    `parameters`, and it holds declarations alone."""
    file, tagged = f"{notebook}.ipynb", tagged_cells(source_of(notebook), PARAMETERS)
    if len(tagged) != 1:
        remedy = "it needs exactly one. Set the tag in Jupyter: right sidebar (gear) > Cell Tags."
        raise UsageError(f"{file} has {len(tagged)} cells tagged 'parameters'; {remedy}")
    declared: dict[str, Parameter] = {}
    for line in map(str.strip, tagged[0][1].splitlines()):
        if line[:1] in ("", "#"):
            continue
        try:
            name, parameter = _declaration(line)
            parameter.checked(parameter.default)
            if name in declared:
                raise ValueError("the name is declared for the second time")
        except (ValueError, SyntaxError, NameError, TypeError) as error:
            form = "'name: type = value  # help' with a type of int, float, bool, str and list and a plain value of it"
            what = f"the line '{line}' of the parameters cell is not of the form {form}: {error}"
            raise UsageError(f"{file}: {what}. Computed values belong in the next cell.") from error
        declared[name] = parameter
    named = [*STANDARD_PARAMETERS, *(parameter.other for parameter in declared.values() if parameter.other)]
    missing = [name for name in named if name not in declared]
    if missing:
        what = f"{file}: the parameters cell does not declare {', '.join(missing)}"
        raise UsageError(f"{what}; every one must declare {', '.join(STANDARD_PARAMETERS)} and what its lines name.")
    return declared


def _declaration(line: str) -> tuple[str, Parameter]:
    """Name and parameter of a line; one of several errors where it is none."""
    parts = DECLARATION.fullmatch(line)
    if parts is None:
        raise ValueError("it reads differently")
    name, annotation, default, help_text = parts.groups("")
    adapter, relation, other = _allowed(annotation, help_text)
    return name, Parameter(line, adapter, ast.literal_eval(default), help_text, relation, other)


@cache
def _allowed(annotation: str, help_text: str) -> tuple[TypeAdapter, str | None, str | None]:
    """The type that an annotation and the help together mean, and the relation to another parameter."""
    found = ALLOWED.search(help_text)
    least, above, low, high, words, relation, other = found.groups() if found else [None] * 7
    limits = {"ge": least or low, "gt": above, "le": high}
    limit = Field(**{name: float(text) for name, text in limits.items() if text})
    text = Literal[tuple(next(csv.reader([words], skipinitialspace=True)))] if words else str
    types = {"int": Annotated[int, limit], "float": Annotated[float, limit], "bool": bool, "str": text, "list": list}
    type, filled = eval(annotation, {"__builtins__": {}}, types), "at least one" in help_text
    return TypeAdapter(Annotated[type, Field(min_length=1)] if filled else type, config=STRICT), relation, other
