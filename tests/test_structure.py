"""The house: imports run downwards only, and both packages stay small."""

import ast
import re
from graphlib import CycleError, TopologicalSorter

import pytest

from companion import paths
from latentnas import code

LIBRARY = paths.ROOT / "lib"
MODULES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__"): path
    for package in code.PACKAGES
    for path in (LIBRARY / package).rglob("*.py")
}


def imports_of(path, name):
    """Modules that a file imports, less what stands under `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return code.imported_modules(tree, package) & MODULES.keys() - {name}


IMPORTS = {name: imports_of(path, name) for name, path in MODULES.items()}


def room(name):
    """The folder of a module of latentnas, or the module itself where it lies at the top; None for other packages."""
    package, _, rest = name.partition(".")
    return (rest.partition(".")[0] or None) if package == "latentnas" else None


def assert_no_circle(graph):
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_the_library_does_not_import_the_machinery():
    for name, imported in IMPORTS.items():
        if name.startswith("latentnas"):
            assert not [other for other in imported if other.startswith("companion")], name


def test_no_circle_between_files():
    """A package and its own parts may name each other: `from package import part` imports the package first."""

    def is_inside(part, package):
        return part.startswith(package + ".") and MODULES[package].name == "__init__.py"

    assert_no_circle({name: {o for o in found if not is_inside(name, o)} for name, found in IMPORTS.items()})


def test_no_circle_between_folders_of_the_library():
    graph = {room(name): set() for name in MODULES if room(name)}
    for name, imported in IMPORTS.items():
        if room(name):
            graph[room(name)] |= {room(other) for other in imported if room(other)} - {room(name)}
    assert {"graphs", "spaces", "models", "search"} <= graph.keys() and "graphs" in graph["spaces"]
    assert_no_circle(graph)


def lines(package, without="-"):
    return sum(
        path.read_text().count("\n")
        for path in (LIBRARY / package).rglob("*.py")
        if without not in path.relative_to(LIBRARY / package).parts
    )


@pytest.mark.xfail(
    strict=True, reason="over by some 2,000 lines: a fourth space, truth behind tables, equal budgets, fair comparisons"
)
def test_the_library_is_small():
    assert lines("latentnas") <= 10_000


@pytest.mark.xfail(strict=True, reason="not reached yet")
def test_the_machinery_is_small():
    assert lines("companion", without="figures") <= 1_300


OURS = ("branches", "family", "budget", "images", "training", "base", "domains", "history")  # no paper's method
METHODS = [
    path
    for name, path in MODULES.items()
    if name.split(".")[:2] in (["latentnas", part] for part in ("models", "search", "oneshot"))
    and (path.stem not in (*OURS, "__init__") or name == "latentnas.models.base")
]


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_method_opens_with_its_paper_and_link(path):
    words = ast.get_docstring(ast.parse(path.read_text()))
    assert "https://" in words and re.search(r"\b(19|20)\d\d\b", words)
