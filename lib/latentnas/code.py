"""Which code a result depends on: the modules that a module imports, directly or not, and a hash of what they do.

Imports are read from the source, so a change is seen without importing anything. A docstring, a comment or the layout
of a line does not count as a change. Imports by a computed name (`importlib`) are not seen.
"""

import ast
import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache, cached_property, partial, partialmethod
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

LIBRARY = Path(__file__).resolve().parents[1]
PACKAGES = ("latentnas", "companion")


def module_closure(*names: str) -> list[str]:
    """Names, sorted, of the given modules, the packages they lie in and all modules of this project they import."""
    found, waiting = set(), set(names)
    while waiting := {name for name in waiting - found if _file(name)}:
        found |= waiting
        waiting = {other for name in waiting for other in (name.rpartition(".")[0], *_imports(name))}
    return sorted(found)


def fingerprint(modules: Iterable[str]) -> str:
    """A hash (16 hexadecimal digits) of what the code of the modules does; the order of the names does not matter."""
    text = "\n".join(f"{name} {_code_hash(name)}" for name in sorted(set(modules)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def version_of(cls: type, *modules: str) -> str:
    """A hash (16 hexadecimal digits) of the code behind a class, and of the given modules besides: the closure of its
    module; for a class that is written elsewhere, as in a notebook, what its methods compile to, its attributes, and
    the same of what they name outside of installed packages."""
    names, parts, seen = set(modules), [], set()

    def visit(name: str, value: object) -> None:
        if isinstance(value, cached_property | partial | partialmethod):
            value = value.func
        value = inspect.unwrap(getattr(value, "__func__", None) or getattr(value, "fget", None) or value)
        module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
        if _file(module) is not None:
            names.update(module_closure(module))
        elif isinstance(value, FunctionType | type | ModuleType):
            if id(value) in seen or _is_installed(module):
                return
            seen.add(id(value))
            if isinstance(value, FunctionType):
                compiled = _compiled(value.__code__, value.__doc__)
                parts.append(f"{name} {compiled} {_text(value.__defaults__)} {_text(value.__kwdefaults__)}")
                for used in filter(value.__globals__.__contains__, _names(value.__code__)):
                    visit(used, value.__globals__[used])
            elif isinstance(value, type):
                for base in value.__bases__:
                    visit(base.__name__, base)
                for key in sorted(vars(value).keys() - {"__module__", "__doc__", "__dict__", "__weakref__"}):
                    visit(f"{name}.{key}", vars(value)[key])
            else:
                parts.append(_without_words(ast.parse(inspect.getsource(value))))
        elif isinstance(value, int | float | complex | str | bytes | tuple | list | set | frozenset | dict | None):
            parts.append(f"{name} = {_text(value)}")

    visit(cls.__name__, cls)
    return hashlib.sha256("\n".join([fingerprint(names), *parts]).encode()).hexdigest()[:16]


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
    return ast.parse(_file(name).read_bytes(), filename=_file(name))


@cache
def _imports(name: str) -> frozenset[str]:
    package = name if _file(name).name == "__init__.py" else name.rpartition(".")[0]
    return frozenset(imported_modules(_parsed(name), package))


@cache
def _code_hash(name: str) -> str:
    return hashlib.sha256(_without_words(_parsed(name)).encode()).hexdigest()


def _is_installed(module: str) -> bool:
    """Whether a module is built in, of the standard library or of an installed package."""
    file = getattr(sys.modules.get(module), "__file__", None)
    roots = [sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return module != "__main__" and (file is None or any(Path(file).is_relative_to(root) for root in roots))


def _compiled(code: CodeType, docstring: str | None = None) -> str:
    """What a function does, as text: its instructions and constants, those of inner functions too."""
    kept = [const for const in code.co_consts if const is None or const != docstring]
    constants = [_compiled(const) if isinstance(const, CodeType) else _text(const) for const in kept]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _text(value: object) -> str:
    """A value as text that is the same in every process: sets in order, no addresses."""
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _names(code: CodeType) -> list[str]:
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return [*code.co_names, *(name for part in inner for name in _names(part))]


def _without_words(node: object) -> str:
    """Parsed code as text, without statements that are only a string, such as docstrings. (`ast.unparse` and `ast.dump`
    write the same code otherwise in other versions of Python.)"""
    if isinstance(node, list):
        return f"[{' '.join(filter(None, map(_without_words, node)))}]"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return ""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 puts an empty text into some
        node = ast.JoinedStr([part for part in node.values if part.value != ""])
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: _without_words(value) for name, value in ast.iter_fields(node)}
    written = (f"{name}={text}" for name, text in fields.items() if text not in ("None", "[]"))  # some have more fields
    return f"{type(node).__name__}({' '.join(written)})"
