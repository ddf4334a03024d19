"""Which code counts: what a module imports, directly or not, and a hash that only code changes."""

import ast
import os
import subprocess
import sys
import types

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
import functools

class Typed:
    @functools.cached_property
    def once(self):
        return 1

    @functools.cache
    def kept(self):
        return 2

    def doubled(self, number):
        return 3 * number

    bound = functools.partialmethod(doubled, 4)
    del doubled
"""


@pytest.mark.parametrize("changed", [("return 1", "return 9"), ("return 2", "return 9"), ("return 3", "return 9")])
def test_methods_that_functools_wraps_count(changed):
    def version(text):
        module = types.ModuleType("__main__")  # without a file, as what is typed into a notebook
        exec(text, module.__dict__)
        return code.version_of(module.Typed)

    assert version(TYPED) == version(TYPED) != version(TYPED.replace(*changed))


def test_the_version_of_a_class_typed_into_a_notebook_is_the_same_in_every_process():
    """Texts in a set have another order in each, and functions another address."""
    program = """
import torch
from companion import runner
from latentnas import code

KINDS = {"a", "b", "c", "d"}

class Typed:
    activations = {"relu": torch.relu}

    def loss(self, kind, scale=torch.exp, *, other=torch.relu):
        return kind in {"one", "two", "three", "four"} and kind in KINDS

print(code.version_of(Typed), {name for name in KINDS}, hex(id(torch.exp)))
"""
    printed = []
    for seed in ("1", "2", "3"):
        variables = os.environ | {"PYTHONPATH": runner.library_path(), "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
        printed.append(run.stdout.split(maxsplit=1))
    assert len({version for version, _ in printed}) == 1 and len({others for _, others in printed}) == 3
