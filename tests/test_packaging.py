"""Dependencies are declared once, pinned, and enough; the package works without its checkout."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from companion.packages import missing
from latentnas.paths import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, EXTRAS = SETTINGS["project"], SETTINGS["project"]["optional-dependencies"]
LOCK = [line for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines() if "==" in line]
PINS = {canonicalize_name(name): version for name, version in (line.split("==") for line in LOCK)}
PINNED_EXTRAS = ("run", "official", "graph", "test")
CUDA = ("nvidia-", "cuda-", "triton")  # torch pins these itself, and only where there are any


def declared(*extras):
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return [Requirement(line) for line in lines if not line.startswith("latentnas[")]


def asked_for(requirements, python):
    """Names of packages that the requirements, and what they require in turn, need on that Python on Linux."""
    found, waiting = set(), list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        assert name in PINS, f"{name} has no pin"
        assert requirement.specifier.contains(PINS[name], prereleases=True), (
            f"{requirement}, but {PINS[name]} is pinned"
        )
        key = (name, frozenset(requirement.extras))
        if key in found:
            continue
        found.add(key)
        for line in distribution(name).requires or []:
            inner = Requirement(line)
            if any(applies(inner, python, extra) for extra in ("", *requirement.extras)):
                waiting += [] if inner.name.startswith(CUDA) else [inner]
    return {name for name, _ in found}


def applies(requirement, python, extra):
    linux = {"sys_platform": "linux", "platform_system": "Linux", "extra": extra}
    versions = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    return not requirement.marker or requirement.marker.evaluate(default_environment() | linux | versions)


PYTHONS = ("3.11.0", "3.11.2", "3.12.0", "3.13.0", "3.13.12")  # README names 3.11 to 3.13


def needed(python):
    try:
        return asked_for(declared(*PINNED_EXTRAS), python)
    except PackageNotFoundError as error:
        pytest.skip(f"not the environment of the lock: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_every_pin_accepts_every_python_that_the_readme_names(python):
    for name in needed(python):
        assert distribution(name).version.partition("+")[0] == PINS[name], f"the lock was not tried: {name}"
        accepted = distribution(name).metadata["Requires-Python"]
        assert not accepted or python in SpecifierSet(accepted), f"{name}=={PINS[name]} needs Python {accepted}"


@pytest.mark.slow
def test_the_lock_pins_what_the_declared_packages_need_and_no_more():
    assert set().union(*map(needed, PYTHONS)) == set(PINS)


def test_no_pin_is_of_a_local_build():
    assert not any("+" in version for version in PINS.values())  # it could not be installed elsewhere


def test_the_conda_environment_has_the_pins_of_the_lock_and_the_package():
    *_, pip = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert pip["pip"] == [*LOCK, "-e ."]


@pytest.mark.parametrize(
    "package, listed", [("latentnas", declared()), ("companion", declared("run"))], ids=["latentnas", "companion"]
)
def test_what_is_imported_is_declared(package, listed):
    providers = importlib.metadata.packages_distributions()
    imported = set()
    for file in (ROOT / "lib" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            imported |= {name.partition(".")[0] for name in names}
    optional = {"nas_201_api", "anywidget", "traitlets"}  # extras `official` and `live`
    imported -= {*sys.stdlib_module_names, "latentnas", "companion"} | optional
    distributions = {canonicalize_name(providers[name][0]) for name in imported}
    names = {canonicalize_name(requirement.name) for requirement in listed}
    assert distributions <= names
    if package == "latentnas":
        assert distributions == names, "declared but not imported"


def test_the_wheel_has_every_package():
    folders = {file.parent.relative_to(ROOT / "lib") for file in (ROOT / "lib").rglob("__init__.py")}
    listed = set(SETTINGS["tool"]["setuptools"]["packages"])
    assert listed - {"latentnas.bundled", "companion.sources"} == {".".join(folder.parts) for folder in folders}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the wheel and, on a path file, this environment's packages; its Python."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    shutil.copytree(ROOT / "lib", source / "lib", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(ROOT / "data/bundled", source / "data/bundled")
    shutil.copytree(ROOT / "notebooks/coursework", source / "notebooks/coursework")
    for file in (*ROOT.glob("notebooks/*.ipynb"), ROOT / "notebooks/profiles.toml"):
        shutil.copy(file, source / "notebooks")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    python = folder / "environment/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "environment"], check=True)
    site = next((folder / "environment/lib").glob("python*/site-packages"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", site, source], check=True)
    shutil.rmtree(source)
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.mark.slow
@pytest.mark.parametrize("output", [None, "elsewhere"])
def test_the_wheel_brings_tables_and_notebooks_and_writes_where_it_is_called(installed, tmp_path, output):
    program = """
import sys
from latentnas import benchmarks, paths
from companion.claims import Results
from companion.notebooks import parameters_of
from companion.paths import NOTEBOOKS
from latentnas.plots.explorer import TEMPLATE
values = {name: parameter.default for name, parameter in parameters_of("00_start_here").items()}
results = Results("00_start_here", values).write()
table = benchmarks.load("nasbench201", "bundled")
assert paths.BUNDLED.parent.name == "latentnas", paths.BUNDLED
assert TEMPLATE.is_file()
course = NOTEBOOKS / "coursework"
for name in ("lab", "week1", "week2", "week3", "week4"):
    assert (course / f"{name}.ipynb").is_file() and (course / f"{name}_checks.py").is_file(), name
assert not [*course.rglob("*solutions*"), *course.rglob("TEACHERS.md"), *course.rglob("make_coursework.py")]
sys.path.insert(0, str(course))  # as the notebooks themselves do
from lab_checks import ascent_start
import week1_checks, week2_checks, week3_checks, week4_checks
assert ascent_start()[1].shape == (3, 32)
print(len(table.batch), paths.CHECKPOINTS, paths.CACHE, results, sep="\\n")
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LATENTNAS_", "PYTHON"))}
    environment |= {"LATENTNAS_OUTPUT": output} if output else {}
    run = subprocess.run(
        [installed, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    data = tmp_path / (output or "") / "data"
    expected = (data / "checkpoints", data / "cache", data / "results/scratch/00_start_here.json")
    assert run.stdout.split() == ["15625", *map(str, expected)] and expected[-1].exists()


def test_nothing_is_missing_here_and_what_is_would_be_named(monkeypatch, tmp_path):
    assert missing("run") == []
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=2.0", "no-such.package>=1"]\noptional-dependencies.run = ["nor_this==2"]\n'
    )
    monkeypatch.setattr("companion.paths.ROOT", Path(tmp_path))
    assert missing("run") == ["no-such.package", "nor_this"]


def test_the_licence_is_told_in_the_form_that_packagers_read():
    assert PROJECT["license"] == "MIT" and PROJECT["license-files"] == ["LICENSE"]
    (backend,) = SETTINGS["build-system"]["requires"]
    assert re.fullmatch(r"setuptools>=(\d+)", backend) and "77.0" in Requirement(backend).specifier
