"""The parameters cell, profiles and the execution of one notebook: what is accepted, what is refused and how,
what is left behind.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from companion import paths, profiles, runner
from companion.notebooks import UsageError, parameters_of
from companion.profiles import parse_overrides, plan, profile_parameters
from companion.runner import NotebookFailed, execute, run_job
from toy_project import FINISH, PARAMETERS, WORK, make_project, write_notebook

pytestmark = pytest.mark.slow

STARTS_THE_SECOND_TIME = """
import runpy, sys
from pathlib import Path
here = Path(__file__).parent
known = (here / "starts").read_text() if (here / "starts").exists() else ""
(here / "starts").write_text(known + str(len(known) + 1))
if not known:
    sys.exit(1)
sys.path.remove(str(here))
runpy.run_module("ipykernel_launcher", run_name="__main__")
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A toy project that this process takes for its own."""
    folder = make_project(tmp_path / "project")
    for name in ("00_first", "01_second"):  # this process has no modules of these notebooks' own
        write_notebook(folder / "notebooks" / f"{name}.ipynb", [WORK, FINISH.format(name=name)])
    for name, value in {
        "ROOT": folder,
        "OUTPUT": folder,
        "NOTEBOOKS": folder / "notebooks",
        "PROFILES": folder / "notebooks/profiles.toml",
        "EXECUTED": folder / "notebooks/executed",
        "RESULTS": folder / "data/results",
        "FAILED": folder / "data/failed",
        "STATE": folder / "data/state",
        "FIGURES": folder / "figures",
    }.items():
        monkeypatch.setattr(paths, name, value)
    monkeypatch.setenv("LATENTNAS_ROOT", str(folder))
    monkeypatch.setenv("LATENTNAS_OUTPUT", str(folder))
    return folder


def set_profiles(project, text):
    (project / "notebooks/profiles.toml").write_text(text)


ARCHIVE = "x_archive: str = ''  # a file\nx_checksum: str = ''  # of it"
ARCHIVES = ARCHIVE.replace("str = ''", "list[str] = []")
LEFT_OUT = """models: list[str] = ["a"]  # one of a, "b, c"
spaces: list[str] = ["nb"]  # one of nb
left_out: list[str] = ["a on nb"]  # rows"""


def declare(project, line):
    """Add a line to the parameters cell of 00_first."""
    write_notebook(
        project / "notebooks/00_first.ipynb", [WORK, FINISH.format(name="00_first")], PARAMETERS + line + "\n"
    )


# ---------------------------------------------------------------- the parameters cell


def test_declarations_are_read_with_type_default_and_help(project):
    declare(project, "rates: list[float] = [1e-3, 1e-4]  # one training each\nlimit: int | None = None")
    declared = parameters_of("00_first")
    assert list(declared) == ["profile", "data_source", "seed", "rates", "limit"]
    assert (declared["rates"].default, declared["rates"].help) == ([1e-3, 1e-4], "one training each")
    assert declared["limit"].default is None


def test_who_changes_a_default_changes_it_for_nobody_else(project):
    declare(project, "rates: list[float] = [1e-3, 1e-4]")
    parameters_of("00_first")["rates"].default.clear()
    assert parameters_of("00_first")["rates"].default == [1e-3, 1e-4]


@pytest.mark.parametrize(
    "line, word",
    [
        ("epochs = 3", "reads differently"),
        ("epochs: int", "reads differently"),
        ("import os", "reads differently"),
        ("epochs: int = 3 * 10", "malformed node"),
        ("epochs: int = 3.5", "3.5 does not fit"),
        ("flag: bool = 1", "1 does not fit"),
        ("sizes: dict = {}", "'dict' is not defined"),
        ("epochs: int = = 3", "invalid syntax"),
        ("epochs: (lambda: 1)() = 3", "reads differently"),
        ("epochs: ().__class__ = ()", "reads differently"),
        ("epochs: int = 0  # help; 1 or more", "0 does not fit"),
        ("seed: int = 1", "second time"),
    ],
)
def test_a_line_that_is_not_a_declaration_is_quoted(project, line, word):
    declare(project, line)
    with pytest.raises(UsageError, match=word) as refused:
        parameters_of("00_first")
    assert f"00_first.ipynb: the line '{line}' of the parameters cell" in str(refused.value)


EMPTY = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


@pytest.mark.parametrize(
    "content, word",
    [
        ("not json", "can be read"),
        ('{"cells": [', "can be read"),
        (EMPTY, "0 cells tagged"),
        ("[" * 100_000, "can be read"),
        (EMPTY.replace('"metadata": {}', '"metadata": null'), "can be read"),
        (EMPTY.replace('_minor": 5', '_minor": "5"'), "can be read"),
        (EMPTY.replace("[]", '[{"cell_type": "code", "metadata": {"tags": null}, "source": "1"}]'), "can be read"),
        (EMPTY.replace("[]", '[{"cell_type": "code", "metadata": {}}]'), "can be read"),
        (EMPTY.replace('"nbformat": 4', '"nbformat": 99'), "can be read"),
        (EMPTY.replace(', "nbformat_minor": 5', ""), "can be read"),
        ("\ufeff", "can be read"),
    ],
)
def test_a_file_that_is_not_a_notebook_with_parameters(project, content, word):
    (project / "notebooks/00_first.ipynb").write_text(content)
    with pytest.raises(UsageError, match=word):
        plan("quick")


def test_every_notebook_declares_the_standard_parameters(project):
    write_notebook(project / "notebooks/00_first.ipynb", [WORK], 'profile: str = "quick"\nseed: int = 0')
    with pytest.raises(UsageError, match="data_source"):
        plan("quick")


@pytest.mark.parametrize(
    "declaration, text, value",
    [
        ("x: int = 1", "5", 5),
        ("x: float = 1.0", "5", 5.0),
        ("x: float = 1.0", "1e-3", 1e-3),
        ("x: bool = False", "true", True),
        ("x: str = 'a'", "5", "5"),
        ("x: list[int] = [1]", "1,2", [1, 2]),
        ("x: list[int] = [1]", "[3]", [3]),
        ("x: int | None = 1", "none", None),
    ],
)
def test_values_given_as_text(project, declaration, text, value):
    declare(project, declaration)
    parsed = parse_overrides([f"x={text}"], ["00_first"])["x"]
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    "declaration, text",
    [
        ("x: int = 1", "five"),
        ("x: int = 1", "5.0"),
        ("x: int = 1", "True"),
        ("x: int = 1", ""),
        ("x: int = 1", "None"),
        ("x: float = 1.0", "fast"),
        ("x: float = 1.0", "True"),
        ("x: bool = False", "1"),
        ("x: bool = False", "yes"),
        ("x: list[int] = [1]", "1"),
        ("x: list[int] = [1]", "1,b"),
        ("x: int = 1", "__import__('os')"),
    ],
)
def test_values_of_the_wrong_type_are_refused(project, declaration, text):
    declare(project, declaration + "  # what it is")
    with pytest.raises(UsageError, match="'x' cannot have this value.*what it is"):
        parse_overrides([f"x={text}"], ["00_first"])


@pytest.mark.parametrize(
    "declaration, right, wrong",
    [
        ("x: int = 1  # help; 1 or more", ["1", "7"], ["0", "-3"]),
        ("x: float = 1.0  # above 0", ["1e-9", "3"], ["0", "-1", "1e999", "float('nan')"]),
        ("x: float = 1.0  # help", ["-1e300"], ["1e999", "-1e999"]),
        ("x: int = 1  # help; more of it; 0 to 99", ["0", "99"], ["-1", "100"]),
        ("x: int | None = None  # 1 or more", ["none", "1"], ["0"]),
        ("x: list[int] = []  # 1 or more", ["[]", "1,2"], ["1,0"]),
        ("x: str = 'a b'  # one of a b, c", ["c", "a b"], ["a", "d", "none", ""]),
        ("x: list[str] = ['a']  # one of a, c", ["['c']"], ["['b']", "a"]),
        ("x: list[str] = ['a, b']  # one of c, \"a, b\"", ["['c', 'a, b']"], ["['a']", "['b']", "['\"a']"]),
        ("x: list[int] = [1]  # at least one; 1 or more", ["1,2"], ["[]", "[0]"]),
        ("x: int = 1  # 5 or more would be too many", ["0"], []),
    ],
)
def test_values_out_of_range_are_refused_before_any_kernel_starts(project, declaration, right, wrong):
    declare(project, declaration)
    for text in right:
        parse_overrides([f"x={text}"], ["00_first"])
    for text in wrong:
        with pytest.raises(UsageError, match="'x' cannot have this value.*x: "):
            parse_overrides([f"x={text}"], ["00_first"])


@pytest.mark.parametrize(
    "declaration, right, wrong",
    [
        ("x: int = 2  # 1 or more; below queries", 9, 10),
        ("x: int = 2  # 1 or more; at most queries", 10, 11),
        ("x: int = 11  # 1 or more; more than queries", 11, 10),
        ("x: list[int] = [1]  # 1 or more; below queries", [9, 1], [1, 10]),
        ("x: list[float] = [1.0, 2.0]  # above 0; as many as names", [3.0, 0.5], [3.0]),
        ("x: list[int | None] = [1]  # 1 or more; below queries", [None, 9], [None, 10]),
        ("x: list[int | None] = [1, 1]  # 1 or more; as many as names", [None, 9], [None]),
        ("x: int | str = 1  # 1 or more; at most queries", 10, "ten"),
    ],
)
def test_values_that_do_not_go_together_are_refused_before_any_kernel_starts(project, declaration, right, wrong):
    declare(project, f"queries: int = 10  # 1 or more\nnames: list[str] = ['a', 'b']  # help\n{declaration}")
    plan("quick", overrides={"x": right})
    with pytest.raises(UsageError, match="00_first: x is .* which is .*its line says 'x: "):
        plan("quick", overrides={"x": wrong})
    declare(project, declaration)
    with pytest.raises(UsageError, match="does not declare (queries|names)"):
        plan("quick")


@pytest.mark.parametrize(
    "line, right, wrong",
    [
        ("x: int = 1", {"x": 2**31 - 1}, {"x": 2**31}),
        ("x: list[int] = [1]  # 1 or more", {"x": [2**31 - 1]}, {"x": [1, 10**23]}),
        ("x: int = 1", {"seed": 2**31 - 1}, {"seed": 10**23}),
        ('x: list[str] = ["a"]', {"x": ["a", "b"]}, {"x": ["a", "b", "a"]}),
        ("x: list[int] = [1]", {"x": [1, 1]}, {"x": [1, 10**23]}),
        ("x: int = 1", {"data_source": "public"}, {"data_source": "bundled"}),
        (ARCHIVE, {"x_archive": "pyproject.toml", "x_checksum": f"md5:{'0a' * 16}"}, {"x_archive": "pyproject.toml"}),
        (ARCHIVE, {"x_archive": "https://a/b", "x_checksum": f"sha256:{'0A' * 32}"}, {"x_archive": "~nobody/it"}),
        (ARCHIVE, {}, {"x_checksum": "0" * 32}),
        (ARCHIVE.replace("str = ''", "str | None = None"), {}, {"x_checksum": "0" * 32}),
        (ARCHIVE.replace("str = ''", "str | None = None"), {}, {"x_archive": "https://a/b"}),
        (ARCHIVES, {"x_archive": ["pyproject.toml"], "x_checksum": [f"md5:{'0a' * 16}"]}, {"x_archive": ["~nobody"]}),
        (ARCHIVES, {}, {"x_archive": ["https://a/b"], "x_checksum": ["0" * 32]}),
        (LEFT_OUT, {"left_out": ["b, c on nb"]}, {"left_out": ["a on enas"]}),
        (LEFT_OUT, {"left_out": []}, {"left_out": ["d on nb"]}),
        (LEFT_OUT, {"left_out": []}, {"left_out": [""]}),
    ],
)
def test_what_no_line_says_is_checked_by_type_and_name(project, line, right, wrong):
    declare(project, line)
    plan("quick", overrides=right)
    with pytest.raises(UsageError, match="Notebook 00_first: .* is .*, but must be .*; its line says"):
        plan("quick", overrides=wrong)


@pytest.mark.parametrize(
    "line",
    [
        "x_checksum: str = ''  # of no archive",
        "x_checksum: float = 0.5  # of another kind\nx_archive: bool = True",
        "x_archive: list[int] = [3]  # of another kind",
        "left_out: list[str] = ['a']  # no `models` beside it",
        LEFT_OUT.replace('list[str] = ["a on nb"]', "list[str] | None = None"),
        LEFT_OUT.replace('list[str] = ["a on nb"]', "int = 3"),
        "most: int = 9  # 1 or more\nx: int | None = None  # 1 or more; below most",
        "most: int | None = None  # 1 or more\nx: int = 1  # 1 or more; at most most",
    ],
)
def test_a_parameter_of_ones_own_may_have_such_a_name_or_no_value(project, line):
    declare(project, line)
    plan("quick")


@pytest.mark.parametrize("assignment", ["x=\udcff", "=3", "x"])
def test_assignments_that_are_none(project, assignment):
    declare(project, "x: str = 'a'")
    with pytest.raises(UsageError, match="name=value") as refused:
        parse_overrides([assignment], ["00_first"])
    str(refused.value).encode()


# ---------------------------------------------------------------- profiles


def test_profile_over_common_over_default(project):
    declare(project, "epochs: int = 1\nrate: float = 0.5")
    set_profiles(project, "[quick.common]\nseed = 3\n[quick.00_first]\nepochs = 7\nrate = 1\n")
    assert profile_parameters("quick", "00_first") == {
        "profile": "quick",
        "data_source": "public",
        "seed": 3,
        "epochs": 7,
        "rate": 1.0,
    }
    assert profile_parameters("quick", "01_second") == {"profile": "quick", "data_source": "public", "seed": 3}


def test_training_goes_to_the_notebooks_that_declare_it(project):
    declare(project, "epochs: int = 1")
    set_profiles(project, "[quick.training]\nepochs = 7\n")
    assert profile_parameters("quick", "00_first")["epochs"] == 7
    assert "epochs" not in profile_parameters("quick", "01_second")


@pytest.mark.parametrize(
    "text, word",
    [
        ("[quick.common]\nsede = 3", "'sede'"),
        ("[quick.00_first]\nsede = 3", "'sede'"),
        ("[quick.training]\nepoch = 3", "'epoch'"),
        ("[quick.common]\nseed = 'three'", "valid integer"),
        ("[quick.common]\nseed = true", "valid integer"),
        ("[quick.07_unknown]\nseed = 3", "07_unknown"),
        ("[quick.common\nseed = 3", "valid TOML"),
        (f"[quick.common]\nseed = {5000 * '['}{5000 * ']'}", "valid TOML"),
        ("[paper]", "no profile 'quick'"),
        ("", "no profile 'quick'.* has: none at all. Restore it from the repository"),
        ("quick = 3", "quick"),
        ("[quick]\ncommon = 3", "quick.common"),
        ("[quick]\n'00_first' = 3", "quick.00_first"),
        ("depends = 3\n[quick]", "depends"),
        ("[depends]\n'01_second' = 3\n[quick]", "depends.01_second"),
        ("[depends]\n'01_secnd' = ['00_first']\n[quick]", "01_secnd"),
        ("[readme.'00_first']\nclaim = []\n[quick]", "readme.00_first.claim"),
        ("[quick.common]\nprofile = 'x'", "'profile'"),
        ("[quick.training]\nprofile = 'x'", "'profile' in .quick.training.: a profile is called what its tables are"),
        ("[quick]\n[quik.common]\nseed = 3", r"\[quik\] looks like a misspelt \[quick\]"),
        ("[quick]\n[redme.'00_first']\nquestion = 'Why?'", r"\[redme\] .*\[readme\]"),
        ("[quick.common]\nseed = '\u00e9'", "valid integer"),
        ("[depends]\n'00_first' = ['07_unknown']\n[quick]", "07_unknown"),
        ("[depends]\n'00_first' = ['01_second']\n'01_second' = ['00_first']\n[quick]", "circle"),
    ],
)
def test_mistakes_in_profiles_toml_are_named(project, text, word):
    set_profiles(project, text)
    with pytest.raises(UsageError, match=word):
        plan("quick")


@pytest.mark.parametrize("name", ["mine", "quick2", "paper-gpu", "small", "gpu"])
def test_a_profile_of_ones_own(project, name):
    set_profiles(project, f"[quick]\n[{name}.common]\nseed = 7")
    assert plan(name)[0].parameters["seed"] == 7


@pytest.mark.parametrize("content", ["[quick] # \u00e9".encode("latin-1"), "[quick]".encode("utf-16")])
def test_profiles_in_another_encoding_are_refused(project, content):
    paths.PROFILES.write_bytes(content)
    with pytest.raises(UsageError, match="utf-8"):
        plan("quick")


def test_a_folder_in_place_of_profiles_is_refused(project):
    paths.PROFILES.unlink()
    paths.PROFILES.mkdir()
    with pytest.raises(UsageError, match="directory"):
        plan("quick")


def test_a_notebook_may_be_given_by_its_file(project, monkeypatch):
    own = str(paths.NOTEBOOKS / "00_first.ipynb")
    for name in ("notebooks/00_first.ipynb", "./notebooks/00", own, "notebooks/mine/../00_first.ipynb", "00/"):
        assert profiles.select_notebooks([name]) == ["00_first"]
    (paths.NOTEBOOKS / "mine").mkdir()
    monkeypatch.chdir(paths.NOTEBOOKS / "mine")
    assert profiles.select_notebooks(["../00_first.ipynb"]) == ["00_first"]
    for nothing in (".ipynb", "notebooks/", "."):
        with pytest.raises(UsageError, match="There is no notebook"):
            profiles.select_notebooks([nothing])


@pytest.mark.parametrize(
    "copy", ["notebooks/mine/00_first.ipynb", "mine/00_first", "/elsewhere/notebooks/00_first.ipynb"]
)
def test_a_copy_in_another_folder_does_not_run_the_notebook_of_its_name(project, copy):
    with pytest.raises(UsageError, match=f"'{copy}' is not in the folder notebooks.*by hand in Jupyter.*NOTEBOOK"):
        profiles.select_notebooks([copy])


@pytest.fixture
def line_after(project, monkeypatch, capsys):
    """What a job says of the time left so many seconds after the run began. Of jobs by name: the seconds that they
    took, as a text, or for how many seconds they have been running."""

    def line(gone, planned, **jobs):
        folder = profiles.stamp_path("quick", "00").parent
        for name, seconds in jobs.items():
            (file := folder / f"{name.removeprefix('n')}.seconds").write_text("" if type(seconds) is int else seconds)
            os.utime(file, (time.time() - (seconds if type(seconds) is int else 0),) * 2)
        monkeypatch.setenv("LATENTNAS_PLANNED", f"{time.time() - gone} {planned}")
        runner.report_progress(SimpleNamespace(notebook="00", label="quick"), "running")
        return capsys.readouterr().err.rpartition("[")[2].strip()

    monkeypatch.setenv("LATENTNAS_JOBS", "2")
    profiles.stamp_path("quick", "00").parent.mkdir(parents=True)
    return line


def test_trainings_that_two_notebooks_share_count_once(monkeypatch, tmp_path):
    timed = {"02_ngae_latent_space": (100.0, 1000.0), "03_ngae_predictor": (50.0, 1300.0)}

    def last(label, notebook):
        return dict(zip(("wall_seconds", "loaded_seconds"), timed[notebook]))

    monkeypatch.setattr(runner, "last_run", last)
    monkeypatch.setattr(paths, "STATE", tmp_path)
    both = [("quick", notebook) for notebook in timed]
    assert runner.seconds_left(both) == 1100 + 350 and runner.seconds_left(both[1:]) == 1350


def test_the_time_left_goes_by_what_is_done_and_by_how_fast_this_machine_is(line_after, monkeypatch):
    timed = {"wall_seconds": 60.0, "loaded_seconds": 180.0}
    monkeypatch.setattr(runner, "last_run", lambda label, notebook: timed)
    agenda = [("quick", f"0{number}") for number in range(4)]
    stamps = profiles.stamp_path(*agenda[0]).parent
    planned = runner.seconds_left(agenda)
    assert planned == 960
    monkeypatch.setenv("LATENTNAS_AGENDA", json.dumps(agenda))
    assert line_after(300, planned) == "0 of 4 done, about 8 min left]"  # nothing to go by but the last runs
    (stamps / "00.trainings-1-of-2.done").touch()
    assert runner.seconds_left(agenda) == 870
    (stamps / "00.trainings-2-of-2.done").touch()
    assert runner.seconds_left(agenda) == 780
    for share in range(1, 5):  # of a run with more jobs at a time
        (stamps / f"00.trainings-{share}-of-4.done").touch()
    assert runner.seconds_left(agenda) == 780
    for stamp in ("00.trainings.done", "00.done", "01.trainings.done"):
        (stamps / stamp).touch()
    assert runner.seconds_left(agenda[1:]) == 540
    shares = {"00.trainings-1-of-2": "150", "00.trainings-2-of-2": "130"}
    took = shares | {"00": "60", "01.trainings-1-of-1": "60"}
    assert line_after(200, planned, **took) == "1 of 4 done, about 4 min left]"  # about as fast as the last runs
    took = shares | {"00": "300", "01.trainings-1-of-1": "620"}
    assert line_after(600, planned, **took) == "1 of 4 done, about 13 min left]"  # a third as fast
    monkeypatch.setattr(runner, "last_run", lambda label, notebook: {})
    assert line_after(600, planned) == "1 of 4 done]" and runner.seconds_left(agenda) is None


def test_what_runs_now_counts_in_the_time_left(line_after, monkeypatch):
    """One notebook of 1000 s beside ten of 100 s."""
    agenda = [["quick", f"{number:02d}"] for number in range(11)]
    seconds = {notebook: 100.0 for _, notebook in agenda} | {"00": 1000.0}
    timed = {notebook: {"wall_seconds": wall, "loaded_seconds": 0.0} for notebook, wall in seconds.items()}
    monkeypatch.setattr(runner, "last_run", lambda label, notebook: timed[notebook])
    monkeypatch.setenv("LATENTNAS_AGENDA", json.dumps(agenda))

    def end(*names):
        for name in names:
            profiles.stamp_path("quick", name).touch()

    assert line_after(50, 2000, n00=49, n01=49) == "0 of 11 done, about 16 min left]"
    end("01", "02")
    # up to a tenth of what was planned, this machine counts as fast as in the last runs
    assert line_after(500, 2000, n00=480, n01="250", n02="250", n03=0) == "2 of 11 done, about 11 min left]"
    end("03")
    assert line_after(500, 2000, n03="250", n04=0) == "3 of 11 done, about 31 min left]"
    end("04", "05")
    took = {f"n0{number}": "100" for number in range(1, 6)}
    assert line_after(500, 2000, n06=0, **took) == "5 of 11 done, about 8 min left]"  # not 25: the first is half done
    assert line_after(500, 2000, n06=150) == "5 of 11 done, about 8 min left]"  # longer than the last time
    assert line_after(500, 2000, n07=9999) == "5 of 11 done, about 8 min left]"  # of an earlier run, which was killed
    assert line_after(500, 2000, n05=400) == "5 of 11 done, about 15 min left]"  # says so itself, about to end
    end(*(f"{number:02d}" for number in range(6, 11)))
    took = {f"n{number:02d}": "100" for number in range(1, 11)}
    assert line_after(500, 2000, n00=0, **took) == "10 of 11 done, about 17 min left]"  # nothing can run beside it
    assert runner.total_time(agenda[:1], 2) == ", about 17 min"


def test_of_each_job_the_time_it_took_is_kept_however_it_ends(project, monkeypatch):
    job, there = plan("quick", ["00"])[0], []
    monkeypatch.setattr(runner, "take_gpu", lambda: None)
    monkeypatch.setattr(runner, "limit_threads", lambda job: None)

    def stopped(job, *share):
        there.append(runner.time_used(job.label, job.notebook, 0))
        raise KeyboardInterrupt if share else NotebookFailed(job, "stopped")

    monkeypatch.setattr(runner, "run_job", stopped)
    monkeypatch.setattr(runner, "run_share", stopped)
    assert runner.main(json.dumps(asdict(job)), "1-of-2") == 130
    assert runner.main(json.dumps(asdict(job))) == 1
    files = sorted(job.stamp.parent.glob("*.seconds"))
    assert [file.name for file in files] == ["00_first.seconds", "00_first.trainings-1-of-2.seconds"]
    assert all(float(file.read_text()) < 60 for file in files) and there[0][0] == 0
    files[0].write_text("\0\0")  # as after a power cut: an estimate does not end a job
    assert runner.time_used(job.label, job.notebook, 0) == (float(files[1].read_text()), 0)


def test_a_plan_contains_what_is_needed_first(project):
    assert [job.notebook for job in plan("quick", ["01"])] == ["00_first", "01_second"]
    assert plan("quick", ["01"])[1].needs == (("quick", "00_first"),)


def test_a_number_selects_one_notebook(project):
    write_notebook(project / "notebooks/00b_more.ipynb", [WORK])
    assert profiles.select_notebooks(["00"]) == ["00_first"] and profiles.select_notebooks(["00b"]) == ["00b_more"]


def test_what_a_notebook_needs_decides_its_results_too(project):
    """So it runs again also where a run of what it needs alone came between."""
    before = plan("quick", ["01"])[1]
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, "1", FINISH.format(name="00_first")])
    after = plan("quick", ["01"])[1]
    assert after.cells == before.cells and after.inputs != before.inputs


def test_changed_parameters_change_the_label_of_what_they_reach_and_of_nothing_else(project):
    declare(project, "epochs: int = 1")
    write_notebook(project / "notebooks/02_third.ipynb", [WORK])
    labels = {job.notebook: job.label for job in plan("quick", overrides={"epochs": 2})}
    assert labels["00_first"] == labels["01_second"] != "quick"
    assert labels["00_first"].startswith("quick+")
    assert labels["02_third"] == "quick"
    again = {job.notebook: job.label for job in plan("quick", overrides={"epochs": 3})}
    assert again["00_first"] != labels["00_first"]
    job = plan("quick", overrides={"epochs": 2})[0]
    assert job.parameters["epochs"] == 2 and job.parameters["profile"] == job.label
    assert profiles.Job(**json.loads(json.dumps(asdict(job)))).parameters == job.parameters


# ---------------------------------------------------------------- execution


def test_a_run_leaves_results_executed_copy_and_stamp(project, capfd):
    job = plan("quick", ["00"])[0]
    run_job(job)
    assert json.loads(job.results.read_text())["claims"][0]["seeds"] == [3]
    assert job.stamp.exists()
    shown = capfd.readouterr().err
    assert "00 | step 4" in shown  # progress, live
    assert "kernel" not in shown.lower()  # no remarks of the kernel about itself
    assert runner.total_time([("quick", "00_first")]).startswith(", about ")


def test_the_executed_copy_carries_no_machine_and_no_moment(project):
    where = "import sys\nprint(paths.ROOT, sys.executable)\nprint('progress', file=sys.stderr)\npaths.ROOT"
    cells = [WORK, where, "kept = [object()]; kept", FINISH.format(name="00_first")]
    write_notebook(project / "notebooks/00_first.ipynb", cells, PARAMETERS + "jobs: int = 1\n")
    job = plan("quick", ["00"])[0]
    copies = []
    for processes in (1, 2):
        run_job(replace(job, parameters=job.parameters | {"jobs": processes}))
        copies.append(job.executed.read_text())
    assert copies[0] == copies[1]
    for forbidden in (str(project), sys.prefix, "papermill", "progress\\n", "step 4"):
        assert forbidden not in copies[0]
    assert "seed = 3" in copies[0]  # the injected parameters, which tell what was run
    assert "[<object at 0x0>]" in copies[0]


def test_links_of_an_executed_copy_lead_to_what_is_beside_the_sources(monkeypatch):
    alone = SimpleNamespace(alone=["03_c"])
    monkeypatch.setattr(runner.profiles, "read_profiles", lambda: alone)
    text = ["A [DAG](glossary.md#dag), see\n", "[02](02_b.ipynb) and [README](https://example.org/README.md), "]
    text[1] += "[03](03_c.ipynb), [solutions](coursework/02.ipynb)"
    notebook = {"metadata": {}, "cells": [{"cell_type": "markdown", "metadata": {}, "source": text}]}
    runner.clean(notebook)
    expected = text[1].replace("(03", "(../../03").replace("(course", "(../../course")
    assert notebook["cells"][0]["source"] == ["A [DAG](../../glossary.md#dag), see\n", expected]


def test_what_a_cell_prints_is_one_output_however_many_parts_it_came_in(project):
    """In how many moments it is printed depends on what else the machine does, and on progress in between."""
    printing = "import sys\nfor part in ('a', 'b\\n', 'c'):\n    print(part, end='', flush=True)\n"
    between = "    print('progress', file=sys.stderr, flush=True)\n"
    cells = [printing, printing + between, printing + "    display(part)\n"]
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, *cells, FINISH.format(name="00_first")])
    job = plan("quick", ["00"])[0]
    run_job(job)
    shown = [cell["outputs"] for cell in json.loads(job.executed.read_text())["cells"] if cell["cell_type"] == "code"]
    printed = {"name": "stdout", "output_type": "stream", "text": ["ab\n", "c"]}
    assert [printed] in shown and shown.count([printed]) == 2
    assert [len(outputs) for outputs in shown if len(outputs) > 2] == [6]  # displays stay where they were


def test_cleaning_leaves_images_alone():
    folder = tempfile.gettempdir()
    picture = f'<img src="data:image/png;base64,iVBO{folder}+AA=="> {folder}'
    data = {"image/png": f"iVBO{folder}AAAA", "text/plain": [f"{folder}/file"], "text/html": picture}
    cell = {"cell_type": "code", "metadata": {}, "outputs": [{"output_type": "display_data", "data": data}]}
    runner.clean({"metadata": {}, "cells": [cell]})
    assert data.pop("text/html") == picture.removesuffix(folder) + "<temporary>"
    assert data == {"image/png": f"iVBO{folder}AAAA", "text/plain": ["<temporary>/file"]}


def test_cleaning_names_the_deepest_of_folders_that_lie_in_each_other(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setattr(paths, "ROOT", tmp_path / "me/project")
    cell = {"cell_type": "code", "metadata": {}, "outputs": [{"text": f"{paths.ROOT}/data {tmp_path}/me/more"}]}
    runner.clean({"metadata": {}, "cells": [cell]})
    assert cell["outputs"][0]["text"] == "./data ~/more"


def test_cleaning_names_whole_folders_alone(monkeypatch, tmp_path):
    (tmp_path / "disk/me").mkdir(parents=True)
    (tmp_path / "me").symlink_to(tmp_path / "disk/me")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setattr(tempfile, "tempdir", "/brief")
    home, real = tmp_path / "me", tmp_path / "disk/me"
    taken = [f"{home}", f"{home}/x", f"{home}.", f"({home}, or", f"'{home}'", f"file://{home}/x", f"a=/x:{home}:/y"]
    taken += [f"\x1b[32m{home}/x", f"'a\\n{home}/x'", f"{real}/x"]
    taken += [f"-I{home}/inc", f"file://localhost{home}/x", f"'a\\t{home}'", f"\x1b[m{home}", f"...{home}", f"{home}.A"]
    left = [
        "/var/brief/x",
        "/disk/brief/x",
        "https://a.b/brief/x",
        "../brief",
        "~/brief",
        "a/brief",
        "//brief",
        "x-/brief/y",
        "/brief-2/x",
        "/brief_2",
        "/brief.old",
    ]
    short = ["/brief\n", "file:///brief\n", "\x1b[32m/brief\n", "'a\\n/brief\n", "\x1b[m/brief\n", "'a\\t/brief\n"]
    cell = {
        "cell_type": "code",
        "metadata": {},
        "outputs": [{"text": [*taken, *left, "T_12345_row0.", *short, f"{home}-2"]}],
    }
    runner.clean({"metadata": {}, "cells": [cell]})
    named = [text.replace(str(home), "~").replace(str(real), "~") for text in taken]
    named += [*left, "T_0_row0.", *(text.replace("/brief", "<temporary>") for text in short)]
    *found, other = cell["outputs"][0]["text"]
    assert found == named and "~" not in other


@pytest.mark.parametrize("home", ["/", "."])
def test_cleaning_without_a_home_of_ones_own_changes_no_text(home, monkeypatch):
    monkeypatch.setenv("HOME", home)
    cell = {"cell_type": "code", "metadata": {}, "outputs": [{"text": ["a . b / c", "T_12345_row0"]}]}
    runner.clean({"metadata": {}, "cells": [cell]})
    assert cell["outputs"][0]["text"] == ["a . b / c", "T_0_row0"]


def test_cleaning_gives_styled_tables_the_same_names_every_time():
    def cleaned(*ids):
        html = [f'<style>#T_{id}_row0_col1 {{}}</style><table id="T_{id}"></table>' for id in ids]
        cells = [{"cell_type": "code", "metadata": {}, "outputs": [{"data": {"text/html": text}}]} for text in html]
        notebook = {"metadata": {}, "cells": cells}
        runner.clean(notebook)
        return [cell["outputs"][0]["data"]["text/html"] for cell in notebook["cells"]]

    first = cleaned("f26e5", "00aa1")
    assert first == cleaned("aaaaa", "bbbbb") and "f26e5" not in str(first)
    assert first[0].count("T_0") == first[1].count("T_1") == 2


def test_the_kernel_is_this_python_and_starts_in_the_project(project):
    check = f"import os, sys\nassert (sys.prefix, os.getcwd()) == {(sys.prefix, str(project))!r}"
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, check, FINISH.format(name="00_first")])
    run_job(plan("quick", ["00"])[0])


def test_a_failing_cell_is_named_and_nothing_in_place_is_touched(project):
    job = plan("quick", ["00"])[0]
    run_job(job)
    results, executed = job.results.read_bytes(), job.executed.read_bytes()
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, "1 / 0", FINISH.format(name="00_first")])
    with pytest.raises(NotebookFailed) as failed:
        run_job(job)
    for word in ("00_first", "cell 3", "ZeroDivisionError: division by zero", "data/failed/quick/00_first.ipynb"):
        assert word in str(failed.value)
    assert "ZeroDivisionError" in (project / "data/failed/quick/00_first.ipynb").read_text()
    assert (job.results.read_bytes(), job.executed.read_bytes()) == (results, executed)
    assert not job.stamp.exists()  # so it is run again
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, FINISH.format(name="00_first")])
    run_job(job)
    assert not (project / "data/failed/quick/00_first.ipynb").exists()


def test_a_copy_for_which_there_is_no_room_is_not_named(project, monkeypatch):
    write_notebook(project / "notebooks/00_first.ipynb", ["1 / 0"])

    def full(_, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(runner, "save_copy", full)
    with pytest.raises(NotebookFailed, match="ZeroDivisionError") as failed:
        execute(plan("quick", ["00"])[0])
    assert "could not be saved" in str(failed.value) and "No space left on device. Make room" in str(failed.value)
    assert "with the full error, is" not in str(failed.value)


def test_an_error_of_the_disk_that_names_no_file_is_told_with_the_places_where_it_may_be():
    told = runner.explained(OSError(27, "File too large"))
    assert str(paths.OUTPUT) in told and tempfile.gettempdir() in told and "TMPDIR" in told


def test_a_log_keeps_what_earlier_runs_said_until_it_is_long(tmp_path):
    log = tmp_path / "00.log"
    for before, stays in (("said before\n", True), ("x" * 1_000_001, False)):
        log.write_text(before)
        runner.LineWriter("00_first", log).log.close()
        assert log.read_text().startswith(before) == stays


def test_an_error_without_words_is_told_by_its_name():
    assert runner.explained(AssertionError()) == "AssertionError"


def test_a_notebook_that_names_no_language_runs(project):
    file = project / "notebooks/00_first.ipynb"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"metadata": {}}))
    execute(plan("quick", ["00"])[0])
    assert json.loads((project / "data/results/quick/00_first.json").read_text())["claims"]


def test_a_notebook_that_writes_no_results_has_not_run(project):
    run_job(job := plan("quick", ["00"])[0])
    executed = job.executed.read_bytes()
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, "sys.exit()", FINISH.format(name="00_first")])
    with pytest.raises(NotebookFailed, match="Results.write.*as it ran is .*data/failed/quick/00_first.ipynb"):
        run_job(job := plan("quick", ["00"])[0])
    assert not job.stamp.exists() and job.executed.read_bytes() == executed
    assert "sys.exit" in (project / "data/failed/quick/00_first.ipynb").read_text()


def test_a_parameter_that_the_notebook_changes_is_no_result(project):
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, "seed = 7", FINISH.format(name="00_first")])
    with pytest.raises(NotebookFailed, match="seed = 3 but recorded 7"):
        run_job(plan("quick", ["00"])[0])


def test_a_backend_of_the_user_hides_no_figure(project, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")  # as is usual on clusters
    drawn = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, drawn, FINISH.format(name="00_first")])
    run_job(job := plan("quick", ["00"])[0])
    cells = json.loads(job.executed.read_text())["cells"]
    assert [output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]


def test_a_kernel_that_does_not_start_is_started_once_more(project, tmp_path, monkeypatch):
    launcher = tmp_path / "elsewhere/ipykernel_launcher.py"
    paths.write_text(launcher, STARTS_THE_SECOND_TIME)
    monkeypatch.setenv("PYTHONPATH", str(launcher.parent))
    run_job(plan("quick", ["00"])[0])
    assert (launcher.parent / "starts").read_text() == "12"


@pytest.mark.parametrize("error, starts", [("Kernel didn't respond in 300 seconds", 2), ("Kernel info has no x", 1)])
def test_only_a_kernel_that_does_not_start_is_tried_again(project, monkeypatch, error, starts):
    tried = []

    def refuse(*_, **__):
        tried.append(error)
        raise RuntimeError(error)

    monkeypatch.setattr("papermill.execute_notebook", refuse)
    with pytest.raises(NotebookFailed if starts == 2 else RuntimeError, match=error):
        execute(plan("quick", ["00"])[0])
    assert len(tried) == starts


def test_a_kernel_that_never_starts_is_reported(project, tmp_path, monkeypatch):
    launcher = tmp_path / "elsewhere/ipykernel_launcher.py"
    paths.write_text(launcher, "raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(launcher.parent))
    with pytest.raises(NotebookFailed, match="died"):
        run_job(plan("quick", ["00"])[0])


def test_a_kernel_that_dies_is_reported(project):
    write_notebook(project / "notebooks/00_first.ipynb", ["import os\nos._exit(3)"])
    job = plan("quick", ["00"])[0]
    with pytest.raises(NotebookFailed, match="died"):
        execute(job)
    assert not job.executed.exists()
