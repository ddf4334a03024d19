"""Which code counts: what a module imports, directly or not, and a hash that only code changes."""

import ast
import os
import subprocess
import sys
import types
from dataclasses import dataclass, field
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from companion import runner
from latentnas import code

MODULES = {
    "latentnas/__init__.py": '"""A package."""\n',
    "latentnas/low.py": '"""Low."""\n\n\ndef low():\n    """Says one."""\n    return 1  # one\n',
    "latentnas/part/__init__.py": "",
    "latentnas/part/middle.py": "from ..low import low\n",
    "latentnas/top.py": "import numpy\n\n\ndef top():\n    from latentnas.part import middle\n\n    return middle\n",
    "latentnas/other.py": "other = 1\n",
}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library of five modules in the place of this one; returns a function that changes one of its files."""
    for name, text in MODULES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(code, "LIBRARY", tmp_path)
    cached = (code._parsed, code._imports, code._code_hash)

    def change(name, old, new):
        text = (tmp_path / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))
        for function in cached:
            function.cache_clear()

    change("latentnas/other.py", "other", "other")
    yield change
    for function in cached:
        function.cache_clear()


def test_a_closure_holds_imports_of_every_kind_and_the_packages_they_lie_in(library):
    expected = ["latentnas", "latentnas.low", "latentnas.part", "latentnas.part.middle", "latentnas.top"]
    assert code.module_closure("latentnas.top") == expected
    assert code.module_closure("latentnas.other", "numpy", "__main__") == ["latentnas", "latentnas.other"]
    assert code.imported_modules(ast.parse("import latentnas.low as low, os")) == {"latentnas.low"}


@pytest.mark.parametrize(
    "old, new", [("Says one", "Returns one"), ("# one", "# 1"), ("return 1", "return (\n        1\n    )")]
)
def test_words_and_layout_are_not_code(library, old, new):
    before = code.fingerprint(code.module_closure("latentnas.top"))
    library("latentnas/low.py", old, new)
    assert code.fingerprint(code.module_closure("latentnas.top")) == before


def test_changed_code_is_seen_by_those_who_import_it_and_by_nobody_else(library):
    names = ("latentnas.top", "latentnas.part.middle", "latentnas.other")
    before = [code.fingerprint(code.module_closure(name)) for name in names]
    library("latentnas/low.py", "return 1", "return 2")
    after = [code.fingerprint(code.module_closure(name)) for name in names]
    assert [a != b for a, b in zip(after, before)] == [True, True, False]


def test_two_modules_with_each_others_code_are_not_the_same(library):
    before = code.fingerprint(["latentnas.low", "latentnas.other"])
    assert before == code.fingerprint(["latentnas.other", "latentnas.low", "latentnas.low"])
    library("latentnas/other.py", MODULES["latentnas/other.py"], MODULES["latentnas/low.py"])
    library("latentnas/low.py", MODULES["latentnas/low.py"], MODULES["latentnas/other.py"])
    assert code.fingerprint(["latentnas.low", "latentnas.other"]) != before


def test_it_imports_nothing_heavy():
    check = "import sys; from latentnas import code; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(code.LIBRARY)}
    assert subprocess.run([sys.executable, "-c", check], env=environment).returncode == 0


def test_a_docstring_may_go(library):
    before = code.fingerprint(["latentnas.low", "latentnas"])
    library("latentnas/low.py", '    """Says one."""\n', "    # says one\n")
    library("latentnas/__init__.py", '"""A package."""\n', "")
    assert code.fingerprint(["latentnas.low", "latentnas"]) == before


def test_the_hash_of_code_is_the_same_in_every_version_of_python(library):
    """`ast.unparse` quotes texts in texts otherwise from 3.12 on. The number is that of 3.11, 3.12 and 3.13."""
    written = """def low(given: int, *, form: str = ".2f") -> str:
    if given > 2 or not given:
        return f"{', '.join(map(str, [given]))}: {given:{form}} and {given!r}"
    return [f'{name}' "'" for name in ("", "a")]
"""
    library("latentnas/other.py", "other = 1\n", written)
    assert code.fingerprint(["latentnas.other"]) == "3d04e1c5c8efd62d"


TYPED = """
import functools, math, operator
from dataclasses import dataclass, field
from enum import Enum

def times(factor):
    def wrap(function):
        @functools.wraps(function)
        def wrapped(*given):
            return function(*given) ** 2 * factor
        return wrapped
    return wrap

def helper(x, y=330):
    return x - 340

class Plain:
    def size(self):
        return 350

@dataclass
class Sizes:
    many: int = 360
    names: frozenset = frozenset({"a", "b", "c", "d"})
    listed: list = field(default_factory=lambda: [370])

class Kind(Enum):
    ONE = 380

PLAIN, SIZES, RANGE = Plain(), Sizes(390), range(100)

class Typed:
    act, raw = math.sin, operator.add
    table = {"a": [helper], "b": [{"one", "two", "three", "four"}, 110]}
    sizes = (260, 270)
    kinds = {Plain, Sizes, Kind}
    given = functools.partial(helper, 120, y=130)
    first, second = helper, Plain

    @functools.cached_property
    def once(self):
        return 140

    @functools.cache
    def kept(self):
        return 150

    def doubled(self, number, extra=160, *, last=170):
        return 180 * number

    bound = functools.partialmethod(doubled, 190)

    @property
    def value(self):
        return 200

    @value.setter
    def value(self, given):
        self.given = given * 210

    @value.deleter
    def value(self):
        self.given = 220

    @staticmethod
    def fixed(default=230):
        return PLAIN.size(), SIZES, RANGE, Kind.ONE

    @times(240)
    def wrapped(self):
        return 250
"""
OTHER = [(f"{number}", f"{number + 1}") for number in (*range(100, 280, 10), *range(330, 400, 10))]  # each stands once
OTHER += [
    ("** 2", "** 3"),
    ("math.sin", "math.cos"),
    ("operator.add", "operator.mul"),
    ("@staticmethod", "@classmethod"),
    ("(260, 270)", "[260, 270]"),
    ("= helper, Plain", "= helper, helper"),
]


def version(text):
    module = types.ModuleType("__main__")  # without a file, as what is typed into a notebook
    exec(text, module.__dict__)
    return code.version_of(module.Typed)


@pytest.mark.parametrize("old, new", OTHER)
def test_every_change_of_what_a_typed_class_holds_or_names_counts(old, new):
    assert TYPED.count(old) == 1
    assert version(TYPED) == version(TYPED) != version(TYPED.replace(old, new))


def test_where_a_class_is_typed_does_not_count():
    """Python 3.13 notes the line in the class itself."""
    noted = TYPED.replace(
        "class Plain:", "class Plain:\n    __firstlineno__ = 300\n    __static_attributes__ = ('a', 'b')"
    )
    assert version(noted) == version(noted.replace("300", "301").replace("'a', 'b'", "'b', 'a'"))
    assert version(TYPED) == version(TYPED.replace("class Plain", "# words\nclass Plain"))


def test_what_a_class_names_may_be_typed_again_without_the_class():
    module = types.ModuleType("__main__")
    exec(TYPED, module.__dict__)
    before = code.version_of(module.Typed)
    exec("RANGE = range(101)", module.__dict__)
    assert code.version_of(module.Typed) != before


def test_objects_that_answer_to_any_name_do_no_harm():
    held = {"call": mock.call, "frame": pd.DataFrame({"fget": [1], "__func__": [2], "__wrapped__": [3]})}
    assert version_with(**held) == version_with(**held)
    first, second = (version_with(rng=np.random.default_rng(0), mock=mock.MagicMock()) for _ in range(2))
    assert first == second  # whatever their addresses
    held["itself"] = held
    assert version_with(**held) == version_with(**held)


@dataclass
class Measured:
    rate: float
    seconds: float = field(default=0.0, compare=False)


def test_what_is_not_compared_of_a_dataclass_does_not_count():
    first, same, other = (version_with(run=run) for run in (Measured(1.0), Measured(1.0, 5.0), Measured(2.0)))
    assert first == same != other


def version_with(**held):
    return code.version_of(type("Typed", (), {"__module__": "__main__", "held": held}))


def test_what_the_user_alone_installed_is_installed(monkeypatch, tmp_path):
    for folder, installed in ((".local/lib/python3.11/site-packages", True), ("work", False)):
        module = types.ModuleType("found")
        module.__file__ = str(tmp_path / folder / "found.py")
        monkeypatch.setitem(sys.modules, "found", module)
        assert code._is_installed("found") is installed


@pytest.mark.slow
def test_the_version_of_a_class_typed_into_a_notebook_is_the_same_in_every_process():
    """Texts in a set have another order in each, and functions another address."""
    program = f"""{TYPED}
import torch
from companion import runner
from latentnas import code

KINDS = {{"a", "b", "c", "d"}}

class Mine(Typed):
    activations = {{"relu": torch.relu}}

    def loss(self, kind, scale=torch.exp, *, other=torch.relu):
        return kind in {{"one", "two", "three", "four"}} and kind in KINDS

print(code.version_of(Mine), {{name for name in KINDS}}, hex(id(torch.exp)))
"""
    printed = []
    for seed in ("1", "2", "3"):
        variables = os.environ | {"PYTHONPATH": runner.library_path(), "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
        printed.append(run.stdout.split(maxsplit=1))
    assert len({version for version, _ in printed}) == 1 and len({others for _, others in printed}) == 3
