"""./run_all.sh as its users meet it: what it refuses, what it runs, what it need not run again, and that a kill does
no harm.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from companion import cli, notebooks, paths, profiles, report
from companion.claims import Claim, Results
from toy_project import (
    FINISH,
    REPOSITORY,
    WORK,
    make_project,
    parameter_values,
    results_of,
    run_all,
    start_all,
    would_run,
    write_notebook,
)

pytestmark = pytest.mark.slow

# ---------------------------------------------------------------- requests that cannot be carried out


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """A toy project in which nothing must happen."""
    return make_project(tmp_path_factory.mktemp("untouched"))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--profile", "huge"], ["huge", "smoke, quick"]),
        (["--profile", ""], ["--profile needs a name"]),
        (["figures", "--profile", ""], ["--profile needs a name"]),
        (["--only", "07"], ["'07'", "00_first, 01_second"]),
        (["--only", ""], ["00_first, 01_second"]),
        (["-p", "sede=1"], ["'sede'", "data_source, seed"]),
        (["-p", "seed=one"], ["'seed'", "for everything random", "int"]),
        (["-p", "seed"], ["name=value"]),
        (["-p", "profile=paper"], ["--profile"]),
        (["--jobs", "0"], ["1 or more"]),
        (["--jobs", "-1"], ["1 or more"]),
        (["--jobs", "100000", "--dry-run"], ["at most 1000"]),
        (["--jobs", "many"], ["--jobs"]),
        (["--unknown"], ["--unknown"]),
        (["fly"], ["fly", "figures"]),
        (["--jobs", "1", "test"], ["'test' must come first"]),
        (["figures"], ["no results", "./run_all.sh"]),
        (["figures", "--profile", "huge"], ["huge", "data/results has: nothing yet"]),
        (["figures", "--only", "00"], ["only --profile"]),
        (["figures", "--jobs", "2"], ["only --profile"]),
        (["fetch", "--only", "00"], ["Of quick", "released yet"]),
        (["fetch", "--jobs", "2"], ["only --profile and --only"]),
        (["fetch", "--profile", "huge"], ["huge", "smoke, quick"]),
        (["release", "-p", "seed=1"], ["only --profile and --only"]),
        (["site", "--profile", "quick"], ["no options"]),
        (["bench"], ["nothing here"]),
        (["compare", "quick"], ["two", "compare A B"]),
        (["compare", "quick", "quick+1"], ["no results in", "nothing yet"]),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(untouched, monkeypatch, capsys, arguments, words):
    for name, value in {
        "ROOT": untouched,
        "OUTPUT": untouched,
        "NOTEBOOKS": untouched / "notebooks",
        "STATE": untouched / "data/state",
        "PROFILES": untouched / "notebooks/profiles.toml",
        "RESULTS": untouched / "data/results",
    }.items():
        monkeypatch.setattr(paths, name, value)
    try:
        status = cli.main(arguments)
    except SystemExit as end:  # argparse
        status = end.code
    captured = capsys.readouterr()
    assert status == 2
    for word in words:
        assert word in captured.err
    assert "Traceback" not in captured.err
    assert not (untouched / "data").exists() and not (untouched / ".snakemake").exists()


@pytest.mark.parametrize("text", [b"x = 1\ndef f(:\n", b"x = 1\ny = '\xe9'\n"])
def test_a_module_that_is_no_python_is_named_with_the_line(tmp_path, text):
    module = make_project(tmp_path) / "lib/companion/figures/first.py"
    module.write_bytes(text)
    run = run_all(tmp_path, "--dry-run")
    assert run.returncode == 2 and run.stderr.startswith(f"{module} cannot be read as Python: ")
    assert " in line 2. Correct it" in run.stderr and "Traceback" not in run.stderr


def test_fetch_brings_the_public_files_or_says_which_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LATENTNAS_DATA_MIRROR", str(tmp_path / "nowhere"))
    monkeypatch.setattr("latentnas.paths.CACHE", tmp_path / "cache")
    assert cli.main(["fetch"]) == 2
    told = capsys.readouterr().err
    assert "1 of " in told and "nowhere" in told and "Traceback" not in told


def test_figures_of_one_profile_are_drawn_alone(monkeypatch):
    drawn = []
    monkeypatch.setattr(report, "labels_with_results", lambda: ["quick", "smoke"])
    monkeypatch.setattr(report, "renew", lambda labels: None)
    monkeypatch.setattr("companion.figures.redraw.redraw", drawn.append)
    assert cli.main(["figures", "--profile", "smoke"]) == 0 and drawn == ["smoke"]
    assert cli.main(["figures"]) == 0 and drawn[1:] == ["quick", "smoke"]


def test_lab_copies_notebooks_and_glossary_and_its_help_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "NOTEBOOKS", make_project(tmp_path) / "notebooks")
    (paths.NOTEBOOKS / "glossary.md").write_text("# Glossary")
    (paths.NOTEBOOKS / "coursework").mkdir()
    for name in ("lab", "lab_solutions"):
        write_notebook(paths.NOTEBOOKS / f"coursework/{name}.ipynb", [])
    (paths.NOTEBOOKS / "coursework/colab.svg").write_text("<svg/>")  # the badge of all notebooks
    monkeypatch.setattr(cli.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0))
    assert cli.main(["lab", "--help"]) == 0 and not (tmp_path / "notebooks/mine").exists()
    assert cli.main(["lab"]) == 0 and len(list((tmp_path / "notebooks/mine").glob("*.ipynb"))) == 2
    (mine := tmp_path / "notebooks/mine/00_first.ipynb").write_text("what one tried")
    assert cli.main(["lab"]) == 0 and mine.read_text() == "what one tried"
    assert (tmp_path / "notebooks/mine/glossary.md").exists()
    assert sorted(os.listdir(tmp_path / "notebooks/mine/coursework")) == [
        "colab.svg",
        "lab.ipynb",
    ]  # whose links lead one folder up


def test_lab_opens_the_notebook_that_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", make_project(tmp_path) / "notebooks")
    (paths.NOTEBOOKS / "coursework/solutions").mkdir(parents=True)
    for name in ("lab", "lab_solutions", "week1", "solutions/01_solutions"):
        write_notebook(paths.NOTEBOOKS / f"coursework/{name}.ipynb", [])
    calls = []
    monkeypatch.setattr(
        cli.subprocess, "run", lambda command, **_: calls.append(command) or subprocess.CompletedProcess(command, 0)
    )
    first, second = sorted(file.name for file in paths.NOTEBOOKS.glob("0*.ipynb"))
    for name, opened in (("lab", "coursework/lab.ipynb"), ("week1", "coursework/week1.ipynb"), ("01", second)):
        assert cli.main(["lab", name, "--no-browser"]) == 0
        assert f"--LabApp.default_url=/lab/tree/notebooks/mine/{opened}" in calls[-1]
        assert calls[-1][-1] == "--no-browser" and name not in calls[-1]
    assert cli.main(["lab"]) == 0 and calls[-1][-1].endswith(f"/mine/{first}")
    calls.clear()
    for name in ("week9", "", "lab_solutions"):
        assert cli.main(["lab", name]) == 2 and not calls
        told = capsys.readouterr().err
        assert (
            f"no notebook '{name}'" in told
            and "lab, week1" in told
            and "lab_solutions" not in told.partition("Name")[2]
        )


def test_working_copies_link_to_the_solutions_and_have_none(tmp_path, monkeypatch):
    monkeypatch.setattr(cli.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0))
    shutil.copytree(paths.NOTEBOOKS, tmp_path / "notebooks", ignore=shutil.ignore_patterns("executed", "mine"))
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "PROFILES", tmp_path / "notebooks/profiles.toml")
    assert cli.main(["lab", "lab"]) == 0
    copies = sorted((tmp_path / "notebooks/mine").rglob("*.*"))
    assert len(copies) == len(notebooks.names()) + 7  # the glossary, the lab, four weeks and a badge
    links = [(copy, link) for copy in copies for link in re.findall(r"\]\(([^()]*solutions[^()]*)\)", copy.read_text())]
    assert not [copy for copy in copies if "solutions" in copy.name] and len(links) == len(notebooks.names())
    assert all((copy.parent / link).exists() for copy, link in links)


def test_help_shows_commands_and_examples(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for word in (
        "--profile",
        "--only",
        "-p NAME=VALUE",
        "--jobs",
        "--dry-run",
        "figures",
        "compare",
        "bench",
        "test",
        "examples:",
    ):
        assert word in shown


def test_the_command_line_does_not_import_torch():
    code = "import sys; from companion import cli; sys.exit(bool({'torch', 'papermill'} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(REPOSITORY / "lib")}
        ).returncode
        == 0
    )


# ---------------------------------------------------------------- whole runs


@pytest.fixture
def project(finished_project):
    return finished_project


def test_a_run_leaves_everything_and_tells_how_it_goes(finished):
    folder, run = finished
    assert set(results_of(folder)) == {"00_first.json", "01_second.json", "00_first/table.csv", "01_second/table.csv"}
    assert "toy.space.number" in (folder / "figures/quick/REPORT.md").read_text()
    assert (folder / "notebooks/executed/quick/01_second.ipynb").exists()
    for line in (
        "00 | step 4",
        "00_first (quick): running [0 of 2 done]",
        "01_second (quick): done in",
        "[2 of 2 done]",
    ):
        assert line in run.stderr
    assert run.stderr.index("00_first (quick): done") < run.stderr.index("01_second (quick): running")
    for chatter in ("snakemake", "building dag", "tcp", "warning", "kernel"):
        assert chatter not in (run.stdout + run.stderr).lower()


def test_the_second_call_has_nothing_to_do_from_any_folder(project, tmp_path):
    run = run_all(project, cwd=tmp_path)
    assert run.returncode == 0 and "Everything is up to date (profile quick: 00_first, 01_second)" in run.stdout
    assert run.stderr == ""
    (report := project / "figures/quick/REPORT.md").unlink()
    assert would_run(project) == [] and not report.exists()


def test_what_changed_is_run_again_and_nothing_else(project):
    assert would_run(project, "--only", "00", "--only", "01_second") == []
    write_notebook(project / "notebooks/01_second.ipynb", [WORK, "'changed'", FINISH.format(name="01_second")])
    assert would_run(project) == ["01_second"]
    assert would_run(project, "--only", "00") == []
    profiles = project / "notebooks/profiles.toml"
    profiles.write_text(profiles.read_text().replace("[quick.00_first]", "[quick.00_first]\nseed = 4"))
    assert would_run(project) == ["00_first", "01_second"]
    assert would_run(project, "--profile", "smoke") == ["00_first", "01_second"]


def change(project, file, old, new):
    text = (project / "lib" / file).read_text()
    assert old in text
    (project / "lib" / file).write_text(text.replace(old, new))


def test_a_changed_module_runs_the_notebooks_that_import_it_and_no_others(project):
    change(project, "latentnas/toy.py", "return 1", "return 2")  # imported by the module of the second
    assert would_run(project) == ["01_second"]
    change(project, "companion/figures/first.py", "blue", "red")
    assert would_run(project, "--only", "00") == ["00_first"]
    assert would_run(project) == ["00_first", "01_second"]  # the second goes on from the first


def test_a_changed_module_that_both_import_runs_both(project):
    change(project, "companion/claims.py", "DIGITS = 10", "DIGITS = 9")
    assert would_run(project) == ["00_first", "01_second"]


def test_words_layout_and_the_machinery_make_nothing_run_again(project):
    change(project, "latentnas/toy.py", "A number", "Some number")
    change(project, "latentnas/toy.py", "return 1", "return 1  # one")
    change(project, "companion/figures/first.py", '"""Drawn by the first."""', "# drawn by the first")
    change(project, "companion/claims.py", "One number of ours", "A number of ours")
    with open(project / "lib/companion/report.py", "a") as file:  # no notebook imports it
        file.write("changed = True\n")
    assert would_run(project) == []


def test_lost_files_are_made_again(project):
    before = results_of(project)
    (project / "data/results/quick/01_second.json").unlink()
    run = run_all(project)
    assert run.returncode == 0 and "1 notebook to run: 01_second" in run.stdout
    assert results_of(project) == before
    (project / "notebooks/executed/quick/01_second.ipynb").unlink()
    run = run_all(project)
    assert run.returncode == 0 and "1 notebook to run, about" in run.stdout
    assert (project / "notebooks/executed/quick/01_second.ipynb").exists()


def test_a_changed_parameter_has_its_own_place(project):
    before = results_of(project)
    run = run_all(project, "--only", "00", "-p", "seed=5")
    assert run.returncode == 0, run.stderr
    (label,) = {path.name for path in (project / "data/results").iterdir()} - {"quick"}
    assert label.startswith("quick+")
    content = json.loads((project / "data/results" / label / "00_first.json").read_text())
    assert content["parameters"] == {"seed": 5} and content["profile"] == label
    assert results_of(project) == before
    assert "Everything is up to date" in run_all(project, "--only", "00", "-p", "seed=5").stdout
    assert would_run(project, "--only", "00", "-p", "seed=6") == ["00_first"]


def test_a_failing_notebook_stops_what_needs_it_and_says_where(project):
    write_notebook(
        project / "notebooks/00_first.ipynb", [WORK, "raise ValueError('on purpose')", FINISH.format(name="00_first")]
    )
    write_notebook(project / "notebooks/02_apart.ipynb", [WORK, FINISH.format(name="02_apart")])
    before = results_of(project)
    run = run_all(project, "--jobs", "1")  # the first notebook comes first
    assert run.returncode == 1
    for words in (
        "00_first stopped in cell 3 with ValueError: on purpose",
        "data/failed/quick/00_first.ipynb",
        "Not finished: 00_first, 01_second.",
        "02_apart (quick): done in",
    ):
        assert words in run.stderr
    assert "01_second (quick): running" not in run.stderr
    assert before.items() <= results_of(project).items()  # what is published is not taken away by a failure


@pytest.mark.parametrize("kill_seed", [0, 1])
def test_a_kill_at_any_moment_and_the_same_command_again_give_the_same_results(project, kill_seed):
    expected = results_of(project)
    shutil.rmtree(project / "data")
    shutil.rmtree(project / "notebooks/executed")
    running = start_all(project)
    time.sleep(random.Random(kill_seed).uniform(2, 7))
    running.send_signal(signal.SIGKILL)
    running.wait()
    time.sleep(1)
    left = results_of(project)
    assert all(expected[name] == text for name, text in left.items())  # nothing half-written is ever in place
    again = run_all(project)
    assert again.returncode == 0, again.stderr
    assert results_of(project) == expected
    assert "Everything is up to date" in run_all(project).stdout


def test_two_runs_at_once_do_not_mix(project):
    profiles = project / "notebooks/profiles.toml"
    profiles.write_text(profiles.read_text().replace("seed = 3", "seed = 4"))
    first = start_all(project)
    try:
        deadline = time.time() + 20
        stamp = project / "data/state/quick/00_first.done"
        while stamp.exists() and time.time() < deadline:  # it is taken away when the notebook starts
            time.sleep(0.1)
        second = run_all(project)
        assert second.returncode == 2 and "Another run" in second.stderr
    finally:
        assert first.wait(timeout=60) == 0


def test_bench_measures_each_time_what_no_other_command_runs(project):
    toml = project / "notebooks/profiles.toml"
    toml.write_text('bench = ["02_speed"]\nalone = ["02_speed"]\n' + toml.read_text())
    measure = FINISH.format(name="02_speed").replace("toy.space.number", "speed.toy.step").replace("points", "ms")
    write_notebook(project / "notebooks/02_speed.ipynb", ["import random\nfrom companion import paths", measure])
    assert run_all(project).returncode == 0
    assert not (project / "data/results/quick/02_speed.json").exists()
    assert "02_speed" in run_all(project, "bench", "--dry-run").stdout
    shown = [run_all(project, "bench").stdout for _ in range(2)]
    number = r"speed\.toy\.step +(0\.\d+) ms\n"
    first, second = (re.search(number, text)[1] for text in shown)
    assert first != second
    assert run_all(project, "bench", "--only", "02").returncode == 2
    assert run_all(project, "bench", "--jobs", "0").returncode == 2  # takes no stamp away
    assert run_all(project, "--only", "02").stdout.startswith("Everything is up to date")


# ---------------------------------------------------------------- reports


def test_nobody_has_run_it_means_empty_cells(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    monkeypatch.setattr(paths, "EXECUTED", tmp_path)
    rows = report.readme_table().splitlines()[2:]
    assert len(rows) == len(notebooks.names())
    for name, row in zip(notebooks.names(), rows):
        _, title, _, result, took, _ = row.split("|")
        assert title.strip().startswith(f"[{notebooks.number_of(name)} ") and f"(notebooks/{name}.ipynb)" in title
        assert (result.strip(), took.strip()) == ("", "")
    assert len(report.findings().splitlines()) == 2  # the head alone


def test_trainings_of_an_earlier_notebook_count_in_its_row_alone():
    run = {"device": "cpu: x", "wall_seconds": 60.0, "loaded_seconds": 150.0}
    before = {"quick": [{"notebook": "02_ngae_latent_space", "manifest": run | {"loaded_seconds": 90.0}}]}
    own = {"quick": {"manifest": run}}
    assert report.times(own, "cpu", before) == "after 02: quick 2 min"
    assert report.times(own, "cpu") == "quick 4 min" and report.times(own, "cuda", before) == ""
    few = {"quick": {"manifest": run | {"loaded_seconds": 30.0}}}
    assert report.times(few, "cpu", before) == "after 02: quick 60 s"


def test_the_table_shows_the_profile_with_the_most_seeds_and_every_time(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    found = {
        "quick": [60.0],
        "recommended": [99.5, 99.6, 99.7],
        "paper": [99.9],
        "smoke": [1.0],
        "quick+12345678": [2.0],
    }
    for profile, values in found.items():
        settings = profiles.profile_parameters(profile.partition("+")[0], "02_ngae_latent_space")
        results = Results("02_ngae_latent_space", settings | {"profile": profile})
        goal = {"seeds": range(len(values)), "paper": 99.99, "printed_in": "NGAE Table 1"}
        results.estimate("ngae.enas.reconstruction", values, "%", **goal)
        results.estimate("dvae.enas.reconstruction", [13.0], "%", seeds=0)
        results.write(loaded_seconds=3600)
    (row,) = [row for row in report.readme_table().splitlines() if row.startswith("| [02 ")]
    ours = "ours **99.60** % (99.35 to 99.85, 3 seeds), *short*"
    assert (
        f"| test architectures that NGAE gives back: paper 99.99; {ours}; D-VAE 13<br>[recommended, all 2 numbers]"
        in row
    )
    assert re.search(r" \| quick \d+ min, recommended \d+ min, paper \d+ min \|", row)
    assert "smoke" not in row and "60 %" not in row and "99.9 %" not in row and "+1234" not in row


@pytest.mark.parametrize(
    "ours, low, high, text",
    [
        (64.734105, 34.797855, 94.670355, "65 (35 to 95)"),
        (99.982, 99.8058, 100.0, "99.98 (99.81 to 100.00)"),  # never more than is known, and not rounded to 100
        (99.99667, 99.87, 99.9999, "99.997 (99.87 to 100.00)"),
        (99.99999, None, None, "99.99999 ()"),
        (-0.072, -0.1460063, 0.0020063, "-0.072 (-0.146 to 0.002)"),
        (95.0, 85.0, 103.0, "95 (85 to 103)"),
        (12345.6, 12300.0, 12390.0, "12,346 (12,300 to 12,390)"),
        (0.0, 0.0, 52.18, "0 (0 to 52)"),
        (1.23456789, None, None, "1.235 ()"),
        (8477.0, None, None, "8477 ()"),
        (84770.0, None, None, "84,770 ()"),
        (0.0, -1e-5, 1e-5, "0.000000 (-0.000010 to 0.000010)"),
        (float("inf"), 4.0, 6.0, " (4 to 6)"),
    ],
)
def test_a_number_has_the_digits_that_its_interval_bears(ours, low, high, text):
    claim = asdict(Claim("a.x.y", ours, "%", low=low, high=high, method="t"))
    assert f"{report.short(claim)} ({report.short_interval(claim)})" == text


def test_a_zero_has_no_sign():
    assert (report.number(-0.0), report.number(-0.5), report.number(None)) == ("0", "-0.5", "")


def test_the_headline_has_only_what_compares():
    def claim(id, ours=1.0, **details):
        return asdict(Claim(id, ours, "%", **details))

    found = [claim("a.x.alone"), claim("a.x.known"), claim("a.x.aimed", target=2), claim("a.x.missing", None, target=2)]
    results = {"01_x": {"claims": found, "manifest": {"times": [claim("base.x.known", 3.0)]}}}
    entries = [
        ["a.x.alone"],
        ["a.x.known", "base.x.known", "gone.x.known"],
        ["a.x.aimed"],
        ["a.x.missing", "a.x.known"],
    ]
    lines = report.headline([*entries, ["gone.x.known", "a.x.known"]], results)
    assert [[claim["id"] for claim in line] for line in lines] == [["a.x.known", "base.x.known"], ["a.x.aimed"]]
    assert report.in_short(*lines[0]) == "a, x, known: ours **1** %; base 3"
    assert report.in_short(*lines[1]) == "a, x, aimed: target ≥ 2; ours **1** %, *short*"
    never = claim("a.x.never", float("inf"), better="lower", low=7, seeds=range(6), method="order statistics")
    results["01_x"]["claims"] += [never]
    ((known, *others),) = report.headline([["a.x.known", "a.x.never"]], results)  # a rival that never came there stays
    assert report.in_short(known, *others) == "a, x, known: ours **1** %; a, never not reached"
    ((own, *others),) = report.headline([["a.x.never", "a.x.known"]], results)  # and so does our own failure
    assert report.in_short(own, *others) == "a, x, never: ours **not reached** % (7 to never, 6 seeds); a, known 1"
    equal = claim("a.x.y", low=0.9, seeds=range(3), target=2, better="equal", margin=0.5, selected_on="seeds 0 to 2")
    verdict = "*no verdict; selected on seeds 0 to 2*"
    above = claim("b.x.aimed", 3.0, target=2)  # a rival's verdict is said where it is another than ours
    assert report.in_short(*lines[1], above).endswith("ours **1** %, *short*; b 3, *met*")
    assert report.in_short(*lines[1], lines[1][0] | {"id": "b.x.aimed"}).endswith("ours **1** %, *short*; b 1")
    ours = f"ours **1** % (0.9 to never as stored, 3 seeds), {verdict}"
    assert report.in_short(equal) == f"a, x, y: target = 2 (equal within 0.5); {ours}"


@pytest.mark.parametrize("unit, text", [("%", "0.1596 (0.1560 to 0.1632)"), ("points", "0.160 (0.156 to 0.163)")])
def test_only_percentages_have_four_digits(unit, text):
    assert report.short(asdict(Claim("a.x.y", 8477.0, "sets"))) == "8,477"
    claim = asdict(Claim("a.x.y", 0.15961, unit, low=0.15601, high=0.16319, method="t"))
    assert f"{report.short(claim)} ({report.short_interval(claim)})" == text


def test_the_table_leads_to_a_page_of_the_present_kind_and_says_where_the_older_one_is(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "EXECUTED", tmp_path / "executed")
    for profile in ("recommended", "quick"):
        results = Results("02_ngae_latent_space", profiles.profile_parameters(profile, "02_ngae_latent_space"))
        results.estimate(
            "ngae.enas.reconstruction", [99.5, 99.6, 99.7], "%", seeds=range(3), paper=99.99, printed_in="T1"
        )
        file = results.write(loaded_seconds=0)
        paths.write_text(tmp_path / "executed" / profile / "02_ngae_latent_space.ipynb", "{}")
        content = json.loads(file.read_text())
        content["manifest"]["code"] = {"cells": "abc"}
        file.write_text(json.dumps(content))
    pages = [f"notebooks/executed/{profile}/02_ngae_latent_space.ipynb" for profile in ("recommended", "quick")]

    def row():
        (found,) = [row for row in report.readme_table().splitlines() if row.startswith("| [02 ")]
        return found

    assert f"]({pages[0]}) |" in row() and "older version" not in row() and "This run had" not in row()
    file = tmp_path / "results/recommended/02_ngae_latent_space.json"
    content = json.loads(file.read_text())
    today = content["parameters"]["performance_weight"]
    content["parameters"]["performance_weight"] = 2.5
    file.write_text(json.dumps(content))
    assert f"| *This run had `performance_weight` 2.5 (today {today:g}):*<br>test architectures" in row()
    assert f"]({pages[0]}) |" in row()
    del content["manifest"]["code"]
    file.write_text(json.dumps(content))
    assert (
        f"]({pages[1]}) |" in row()
        and f"*From [an older version]({pages[0]}); the linked copy is `quick`:*<br>" in row()
    )


def test_figures_of_a_report_have_the_words_that_their_notebook_shows(tmp_path):
    images = [{"data": {"image/png": ""}, "metadata": {"image/png": {"alt": alt}}} for alt in "AB"]
    older = {"data": {"image/png": ""}, "metadata": {}}
    cells = [
        {"source": ['draw(x, "words", "one")\n', 'show(results, FIGURES, "two", alt=alt)'], "outputs": images},
        {"source": 'save(figure, f"{NOTEBOOK}_three")', "outputs": [{"data": {}}, images[0]]},
        {"source": 'show("four")', "outputs": [older]},
        {"source": 'print("one")'},
    ]
    file = tmp_path / "02_mine.ipynb"
    file.write_text(json.dumps({"cells": cells}))
    names = ("one", "two", "three", "four")
    assert report.alt_texts(file, names) == {"one": "A", "two": "B", "three": "A"}
    assert report.alt_texts(tmp_path / "03_gone.ipynb", names) == {}
    for damaged in ("", "{}", '{"cells": ['):
        file.write_text(damaged)
        assert report.alt_texts(file, names) == {}


def test_a_new_notebook_has_its_row_without_any_change_in_the_library(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(paths, "PROFILES", tmp_path / "profiles.toml")
    paths.PROFILES.write_text("[quick]\n")
    write_notebook(tmp_path / "12_mine.ipynb", [])
    content = json.loads((tmp_path / "12_mine.ipynb").read_text())
    content["cells"].insert(0, {"cell_type": "markdown", "metadata": {}, "source": ["# 12 · My own\n", "text"]})
    (tmp_path / "12_mine.ipynb").write_text(json.dumps(content))
    assert "| [12 My own](notebooks/12_mine.ipynb) |  |  |  |" in report.readme_table()
    paths.PROFILES.write_text("[quick]\n[readme.13_other]\n")
    with pytest.raises(report.profiles.UsageError, match="13_other"):
        report.readme_table()


def test_a_finding_is_shown_only_while_the_stored_results_bear_it_out(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    about = {"notebook": "02_ngae_latent_space", "profile": "quick", "figure": "planes", "alt": "A plane"}
    about |= {"text": "It gives {ngae.enas.validity} % back.", "when": {"ngae.enas.validity": ["met", "undecided"]}}
    found = report.profiles.Profiles(finding=[about])
    monkeypatch.setattr(report.profiles, "read_profiles", lambda: found)
    results = Results("02_ngae_latent_space", parameter_values("02_ngae_latent_space") | {"profile": "quick"})
    results.claim("ngae.enas.validity", 99.876, "%", low=99.8, high=99.9, method="t", seeds=range(3), target=99.85)
    results.claim("ngae.enas.novelty", None, "%", seeds=range(3))
    results.write()
    head, _, row = report.findings().splitlines()
    assert head.count("&nbsp;") > 50, "a column of pictures alone is squeezed"
    assert '<img src="figures/quick/02_ngae_latent_space_planes.png" alt="A plane" width="240">' in row
    assert "It gives 99.88 % back." in row
    found.finding[0].text, found.finding[0].alt = "Two lines,\n{braces} or {ngae.enas.validity}.", 'A "plane"'
    assert len(report.findings().splitlines()) == 2  # what is in braces is a claim
    found.finding[0].text = "{ngae.enas.validity} %\nin | two lines"
    (row,) = report.findings().splitlines()[2:]
    assert 'alt="A &quot;plane&quot;"' in row and "99.88 % in \\| two lines" in row
    found.finding[0].when["ngae.enas.validity"] = ["met"]
    assert len(report.findings().splitlines()) == 2
    for unknown in ("novelty", "uniqueness"):  # one without a number, and one that is not there
        found.finding[0].when = {f"ngae.enas.{unknown}": ["not measured", "met"]}
        assert len(report.findings().splitlines()) == 2
    found.finding[0].when.clear()
    found.finding[0].text = "It gives {ngae.enas.reconstruction} % back."
    assert len(report.findings().splitlines()) == 2


def test_compare_sets_what_two_labels_both_have_side_by_side(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    for profile, shift in {"quick": 0, "quick+12345678": 5}.items():
        results = Results("02_ngae_latent_space", parameter_values("02_ngae_latent_space") | {"profile": profile})
        results.estimate("ngae.enas.validity", [80.0 + shift, 81, 82 + shift], "%", seeds=range(3))
        results.estimate("ngae.enas.novelty", [50.0 + shift, 50.1 + shift], "%", seeds=range(2))
        results.claim("ngae.enas.queries", float("inf") if shift else 7, "queries", low=5, better="lower", method="t")
        results.claim("ngae.enas.lead", 0.1 + 0.2 if shift else 0.3, "points")
        results.claim("ngae.enas.loss", 6e-8 - shift * 1e-12, "points")
        ends = {"low": 8 + shift, "high": 10 + shift, "method": "t"}
        results.claim("ngae.enas.gain", 9.0 + shift, "points above random" if shift else "points", **ends)
        results.claim("ngae.enas.wait", 6.0 - shift, "s")
        results.claim(f"ngae.enas.only@{shift}", 1, "%")
        results.claim("ngae.enas.absent", None if shift else 1, "%")
        results.write()
    (tmp_path / "quick" / ".02_x-abc.json").write_text("{")  # left by a write that was killed
    assert cli.main(["compare", "quick", "quick+12345678"]) == 0
    text = capsys.readouterr().out
    assert "That is no test" in text and "| claim | `quick` | `quick+12345678` | difference |" in text
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines() if row.startswith("| 02: ")]
    assert {row[0]: row[3:] for row in rows} == {
        "02: NGAE, ENAS, validity": ["+3.33", ""],
        "02: NGAE, ENAS, novelty": ["+5", "apart"],
        "02: NGAE, ENAS, queries": ["", ""],
        "02: NGAE, ENAS, lead": ["0", ""],
        "02: NGAE, ENAS, loss": ["0", ""],
        "02: NGAE, ENAS, gain": ["", ""],
        "02: NGAE, ENAS, wait": ["-5", ""],
    }
    assert rows[0][1:3] == ["**81.0** % (78.5 to 83.5, 3 seeds)", "**84.3** % (76.7 to 91.9, 3 seeds)"]
    assert rows[2][1:3] == ["**7** queries (5 to never)", "**not reached** queries (5 to never)"]
    assert text.endswith("\nOnly `quick` has 2 more, only `quick+12345678` 1.\n")
    for label in ("quick", "mine"):
        paths.write_text(tmp_path / label / "my_scores.json", '{"mine": 1}')  # what a reader keeps there
    assert cli.main(["compare", "quick", "quick+12345678"]) == 0 and capsys.readouterr().out == text
    assert report.labels_with_results() == ["quick", "quick+12345678"]
    monkeypatch.setattr(paths, "RESULTS", tmp_path.parent)  # another checkout's folder, by its path
    assert cli.main(["compare", str(tmp_path / "quick"), str(tmp_path / "quick")]) == 0
    (tmp_path / "quick" / "02_ngae_latent_space.json").write_text("{")
    assert cli.main(["compare", str(tmp_path / "quick"), f"{tmp_path}/none"]) == 2
    assert "02_ngae_latent_space.json cannot be read" in capsys.readouterr().err
    assert (tmp_path / "quick" / "02_ngae_latent_space.json").exists()


def test_a_readme_in_another_encoding_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("Gr\u00fc\u00dfe", encoding="latin-1")
    for name in ("ROOT", "OUTPUT"):
        monkeypatch.setattr(paths, name, tmp_path)
    with pytest.raises(report.profiles.UsageError, match=r"not UTF-8 text .* at byte 2"):
        report.renew([])
    assert (tmp_path / "README.md").read_bytes() == b"Gr\xfc\xdfe"


def test_a_readme_without_markers_is_an_error():
    with pytest.raises(report.profiles.UsageError, match="markers"):
        report.renewed("# Title\n")
    start, end = (marker.format("results") for marker in report.MARKERS)
    others = "\n".join(marker.format("findings") for marker in report.MARKERS)
    assert f"a\n{start}\n| notebook" in report.renewed(f"{others}\na\n{start}\nold\n{end}\nb")
