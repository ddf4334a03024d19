"""What a notebook file says: its title, what can be set in it, and which code it depends on.

Notebooks themselves import this (through `companion.claims`), so it needs nothing but the standard library.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from companion import paths
from latentnas import code

PARAMETERS, INJECTED, TRAININGS = "parameters", "injected-parameters", "trainings"  # tags; papermill adds the second


class UsageError(Exception):
    """Something asked for cannot be done; the message is one paragraph saying what, where and the remedy."""


def source_of(notebook: str) -> Path:
    """The file of the notebook with this name."""
    return paths.NOTEBOOKS / f"{notebook}.ipynb"


def cells_of(path: Path, kind: str = "code") -> list[dict]:
    """The cells of one kind, with `source` as one string.

    Raises:
        UsageError: The file is no notebook.
    """
    try:
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]
        return [cell | {"source": "".join(cell["source"])} for cell in cells]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path.name} is not a notebook file that can be read ({error}). "
            "Restore it from the repository, or save it again in Jupyter."
        ) from error


def title_of(notebook: str) -> str:
    """The first heading of a notebook without its number: "# 02 · The latent space" -> "The latent space"."""
    text = "\n".join(cell["source"] for cell in cells_of(source_of(notebook), "markdown"))
    heading = re.search(r"^# (?:\d+ · )?(.+)$", text, re.M)
    return heading[1] if heading else notebook


def parameters_cell(path: Path) -> str:
    """Source of the one code cell tagged `parameters`.

    Raises:
        UsageError: There is none, or more than one.
    """
    tagged = tagged_cells(path, PARAMETERS)
    if len(tagged) != 1:
        raise UsageError(
            f"{path.name} has {len(tagged)} cells tagged 'parameters'; it needs exactly one. "
            "Set the tag in Jupyter: right sidebar (gear) > Cell Tags."
        )
    return tagged[0][1]


def tagged_cells(path: Path, tag: str) -> list[tuple[int, str]]:
    """Number, as Jupyter counts code cells, and source of those with a tag."""
    cells = enumerate(own_code_cells(path), 1)
    return [(number, cell["source"]) for number, cell in cells if tag in cell.get("metadata", {}).get("tags", [])]


def parameter_names(path: Path) -> list[str]:
    """Names that the parameters cell assigns, in the order written."""
    statements = ast.parse(parameters_cell(path)).body
    return [node.target.id for node in statements if isinstance(node, ast.AnnAssign)]


def own_code_cells(path: Path) -> list[dict]:
    """The code cells without the one that papermill injects."""
    return [cell for cell in cells_of(path) if INJECTED not in cell.get("metadata", {}).get("tags", [])]


def code_cells_hash(path: Path) -> str:
    """SHA-256 of a notebook's code cells: the same for a source and for the executed copy made from it."""
    return hashlib.sha256(json.dumps([cell["source"] for cell in own_code_cells(path)]).encode()).hexdigest()


def code_fingerprint(path: Path) -> str:
    """A hash of the library code that a notebook imports, directly or not; blind to docstrings and comments."""
    imported = {name for cell in cells_of(path) for name in _imports(cell["source"])}
    return code.fingerprint(code.module_closure(*imported))


def _imports(source: str) -> Iterator[str]:
    """Modules of this project that a cell imports; lines of IPython (`%time`, `!ls`) are passed over."""
    python = "\n".join("pass" if line.startswith(("%", "!")) else line for line in source.splitlines())
    try:
        yield from code.imported_modules(ast.parse(python))
    except SyntaxError:  # the run will say so
        return
