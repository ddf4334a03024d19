"""Which code a result depends on: the modules that a module imports, directly or not, and a hash of what they do.

Imports are read from the source, so a change is seen without importing anything. A docstring, a comment or the layout
of a line does not count as a change. Imports by a computed name (`importlib`) are not seen.
"""

import ast
import dataclasses
import dis
import hashlib
import inspect
import re
import sys
from collections.abc import Iterable
from functools import cache, cached_property, partial, partialmethod
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType

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


def version_of(cls: type, *modules: str) -> str:
    """A hash (16 hexadecimal digits) of the code behind a class, and of the given modules besides.

    For a class of this project that is the closure of its module. For one written elsewhere, as in a notebook, it is
    its attributes, what its functions compile to, and the same of what these hold or name, down to what is installed.
    A dataclass counts by its fields, a module of one's own by its source, any other object by its class and `repr`.
    """
    names, seen = set(modules), {}

    def is_own(module: str | None) -> bool:
        """Whether it is neither installed nor of this project, whose modules count by their files."""
        names.update(module_closure(module or ""))
        return _file(module or "") is None and not _is_installed(module or "")

    def text(value: object) -> str:
        """A value as text that is the same in every process: sets in order, no addresses."""
        if isinstance(value, FunctionType | type | ModuleType | list | dict):  # which may hold themselves
            if id(value) in seen:
                return f"again {seen[id(value)][0]}"
            seen[id(value)] = len(seen), value  # kept, so that no other gets its id
        kind, members = type(value), next((HELD[holder] for holder in HELD if isinstance(value, holder)), None)
        if members:
            parts = members(value)
        elif isinstance(value, set | frozenset):
            parts = sorted(map(text, sorted(value, key=_plain)))
        elif isinstance(value, ModuleType):
            parts = [value.__name__]
            if is_own(value.__name__):
                parts.append(_without_words(ast.parse(inspect.getsource(value))))
        elif isinstance(value, type):
            parts = [f"{value.__module__}.{value.__qualname__}"]
            if is_own(value.__module__):
                counted = sorted(vars(value).keys() - UNCOUNTED)
                parts += [value.__bases__, *((name, vars(value)[name]) for name in counted)]
        elif isinstance(value, FunctionType):
            code, known = value.__code__, value.__globals__
            named, written = is_own(value.__module__), is_own(known.get("__name__"))  # a wrapper has another's name
            parts = [f"{value.__module__}.{value.__qualname__}", value.__closure__ if named or written else ()]
            if written:
                parts += [*_compiled(code, value.__doc__), value.__defaults__, value.__kwdefaults__]
                parts += [(name, known[name]) for name in _globals(code) if name in known]
        elif dataclasses.is_dataclass(value):
            counted = [field.name for field in dataclasses.fields(value) if field.compare]
            parts = [(name, getattr(value, name)) for name in counted]
        else:
            return f"{text(kind)} {_plain(value)}" if is_own(kind.__module__) else _plain(value)
        return f"({' '.join(map(text, (kind, *parts)))})"

    described = text(cls)  # which finds names
    return hashlib.sha256(f"{fingerprint(names)} {described}".encode()).hexdigest()[:16]


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
    """Whether a module is built in, compiled, of the standard library or of an installed package."""
    path = Path(getattr(sys.modules.get(module), "__file__", None) or "")
    standard = module.partition(".")[0] in sys.stdlib_module_names
    packaged = {"site-packages", "dist-packages"} & {*path.parts}
    return module != "__main__" and (standard or bool(packaged) or path.suffix != ".py")


def _compiled(code: CodeType, docstring: str | None = None) -> list:
    """What a function does: its instructions, what they name, and its constants, inner functions among them."""
    constants = [const for const in code.co_consts if const is None or const != docstring]
    return [code.co_code, code.co_names, code.co_varnames, code.co_freevars, *constants]


def _globals(code: CodeType) -> list[str]:
    """Names that a function and those within it look up in their module."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    own = [step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    return [*own, *(name for part in inner for name in _globals(part))]


def _plain(value: object) -> str:
    return re.sub(r" (at 0x|id=')\w+", "", repr(value))


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


HELD = {  # what counts of objects that hold others
    dict: dict.items,
    list | tuple: iter,
    CodeType: _compiled,
    CellType: lambda cell: (cell.cell_contents,),
    property: lambda member: (member.fget, member.fset, member.fdel),
    cached_property: lambda member: (member.func,),
    classmethod | staticmethod: lambda method: (method.__func__,),
    MethodType: lambda method: (method.__func__, method.__self__),
    partial | partialmethod: lambda call: (call.func, call.args, call.keywords),
    type(cache(len)): lambda function: (function.__wrapped__,),
}
# Members of every class that say where it is written, and what other members say too
UNCOUNTED = {"__module__", "__doc__", "__dict__", "__weakref__", "__dataclass_fields__"}
UNCOUNTED |= {"__firstlineno__", "__static_attributes__"}  # from Python 3.13 on
