"""Which code a result depends on: the modules that a module imports, directly or not, and a hash of what they do.

Imports are read from the source, so a change is seen without importing anything. A docstring, a comment or the layout
of a line does not count as a change. Imports by a computed name (`importlib`) are not seen.
"""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import FunctionType

LIBRARY = Path(__file__).resolve().parents[1]
PACKAGES = ("latentnas", "companion")


def module_closure(*names: str) -> list[str]:
    """Names, sorted, of the given modules and of all modules of this project that they import, directly or not.

    A module brings the packages that it lies in, as an import does. Names of other packages are left out.
    """
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or _file(name) is None:
            continue
        found.add(name)
        waiting += [name.rpartition(".")[0], *_imports(name)]
    return sorted(found)


def fingerprint(modules: Iterable[str]) -> str:
    """A hash (16 hexadecimal digits) of what the code of the modules does; the order of the names does not matter."""
    text = "\n".join(f"{name} {_code_hash(name)}" for name in sorted(set(modules)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def version_of(cls: type, *modules: str) -> str:
    """A hash (16 hexadecimal digits) of the code behind a class, and of the given modules besides.

    For a class of this project that is the closure of its module. For one that is written elsewhere, such as in a
    notebook, it is its own source with that of its bases there and the closures of the modules of this project that
    its methods name; functions of the notebook that it calls are not seen.
    """
    names, sources = set(modules), []
    for base in cls.__mro__:
        if _file(base.__module__) is not None:
            names |= set(module_closure(base.__module__))
        elif base.__module__ == cls.__module__:
            methods = [method for method in vars(base).values() if isinstance(method, FunctionType)]
            used = [method.__globals__.get(name) for method in methods for name in method.__code__.co_names]
            known = [getattr(value, "__module__", None) or getattr(value, "__name__", "") for value in used]
            names |= set(module_closure(*known))
            sources.append(_source(base, methods))
    return hashlib.sha256("\n".join([fingerprint(names), *sources]).encode()).hexdigest()[:16]


def imported_modules(tree: ast.AST, package: str = "") -> set[str]:
    """Modules of this project that the parsed code imports anywhere; `package` is where its relative imports start."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {source} | {f"{source}.{alias.name}" for alias in node.names}
    return {name for name in names if _file(name) is not None}


def _file(name: str) -> Path | None:
    """Source file of a module of this project, None for any other name."""
    if name.partition(".")[0] not in PACKAGES:
        return None
    path = LIBRARY.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _parsed(name: str) -> ast.Module:
    return ast.parse(_file(name).read_text(encoding="utf-8"))


@cache
def _imports(name: str) -> frozenset[str]:
    package = name if _file(name).name == "__init__.py" else name.rpartition(".")[0]
    return frozenset(imported_modules(_parsed(name), package))


@cache
def _code_hash(name: str) -> str:
    return hashlib.sha256(_without_words(_parsed(name)).encode()).hexdigest()


def _source(cls: type, methods: list[FunctionType]) -> str:
    """What a class does, as text; of one typed into an interpreter that keeps no source, the bytes of its methods."""
    for things in ([cls], methods):  # Python 3.11 finds no class of a notebook, but its methods
        try:
            texts = [textwrap.dedent(inspect.getsource(thing)) for thing in things]
        except (OSError, TypeError):
            continue
        return "\n".join(_without_words(ast.parse(text)) for text in texts)
    return " ".join(method.__code__.co_code.hex() for method in methods)


def _without_words(tree: ast.Module) -> str:
    return ast.unparse(_Undocumented().visit(tree))


class _Undocumented(ast.NodeTransformer):
    """Takes out every statement that is only a string: docstrings."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node
