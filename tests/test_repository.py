"""What is committed agrees with itself: dependencies with the lock, README and reports with the results,
notebooks with the conventions.
"""

import json
import re
import tomllib

import pytest
from packaging.requirements import Requirement

from latentnas import paths, profiles, report

SOURCES = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
EXECUTED = sorted((paths.ROOT / "notebooks/executed").glob("*/*.ipynb"))


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_pins_every_dependency_within_its_range():
    declared = [
        Requirement(line)
        for line in tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ]
    lines = [
        line
        for line in (paths.ROOT / "requirements.lock").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    pinned = {plain(name): version for name, version in (line.split("==") for line in lines)}
    for requirement in declared:
        assert pinned[plain(requirement.name)] in requirement.specifier, requirement
    assert not any(
        "+" in version for version in pinned.values()
    )  # a local build cannot be installed elsewhere


def test_the_package_has_one_version():
    import latentnas

    assert (
        tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["version"]
        == latentnas.__version__
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_source_is_stripped_and_declares_documented_parameters(source):
    notebook = json.loads(source.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None
            assert "".join(cell["source"]).count("\n") < 25, "long cells belong in the library"
    for parameter in profiles.declared_parameters(source).values():
        assert parameter.help, f"{parameter.name} has no comment"


@pytest.mark.parametrize("profile", profiles.profile_names())
def test_every_profile_fits_the_notebooks(profile):
    assert {job.notebook for job in profiles.plan(profile)} == {source.stem for source in SOURCES}


def test_experiments_are_about_notebooks_that_exist():
    assert {experiment.notebook for experiment in report.EXPERIMENTS} == {source.stem for source in SOURCES}


def test_readme_shows_the_stored_results():
    readme = (paths.ROOT / "README.md").read_text()
    assert readme == report.with_table(readme), (
        "README.md is not what the results say; ./run_all.sh figures renews it"
    )


@pytest.mark.parametrize("label", [label for label in report.PUBLISHED if report.has_results(label)])
def test_reports_show_the_stored_results(label):
    assert (paths.ROOT / "figures" / label / "REPORT.md").read_text() == report.report_text(label), (
        "./run_all.sh figures renews it"
    )


@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_executed_copy_is_of_this_source_and_carries_no_machine(path):
    text = path.read_text()
    assert not re.search(r"(?<![\w.])/(home|root|tmp|Users|work)/", text)
    assert "papermill" not in json.loads(text)["metadata"]


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", (paths.ROOT / "README.md").read_text()):
        assert (paths.ROOT / target).exists(), target
