"""What ends a run, and what it leaves: signals, kills, full disks, damaged files, other people's settings."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from toy_project import (
    FINISH,
    PARAMETERS,
    WORK,
    make_project,
    project_environment,
    results_of,
    run_all,
    snakemake,
    would_run,
    write_notebook,
)

pytestmark = pytest.mark.slow

WORKERS = """import joblib, subprocess, time
apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
(paths.OUTPUT / "at work").touch()
joblib.Parallel(n_jobs=2)(joblib.delayed(time.sleep)(600) for _ in range(2))"""


@pytest.fixture
def project(tmp_path):
    """A toy project of one notebook."""
    folder = make_project(tmp_path / "project")
    (folder / "notebooks/01_second.ipynb").unlink()
    (folder / "notebooks/profiles.toml").write_text("[smoke]\n[quick.common]\nseed = 3\n")
    return folder


def rewrite(project, *cells, name="00_first"):
    write_notebook(project / f"notebooks/{name}.ipynb", [*cells, FINISH.format(name=name)])


def processes_of(project):
    """Processes that belong to a run of this project, zombies left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("LATENTNAS_ROOT") == str(project):
                found.append(process)
        except psutil.Error:
            continue
    return found


def until(condition):
    deadline = time.time() + 60
    while not condition() and time.time() < deadline:
        time.sleep(0.1)
    assert condition()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("to_group", [False, True], ids=["main", "group"])
def test_everything_ends_with_the_run(project, number, to_group):
    rewrite(project, WORK, WORKERS)
    command = [project / "run_all.sh"]
    running = subprocess.Popen(
        command, env=project_environment(project), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until((project / "at work").exists)
    assert len(processes_of(project)) >= 5  # Snakemake, runner, kernel, two workers
    (os.killpg if to_group else os.kill)(running.pid, number)
    until(lambda: not processes_of(project))  # before anybody reaps the main process
    said = running.stderr.read()
    assert running.wait() == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert said.count("\nInterrupted: run_all.sh") == 1 and "Traceback" not in said
    rewrite(project, WORK)
    assert run_all(project).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_everything_ends_with_the_tests(project, number):
    (project / "tests").mkdir()
    body = WORKERS.partition("joblib.Par")[0].replace("paths.OUTPUT", f"pathlib.Path({str(project)!r})")
    lines = ["import pathlib", *body.splitlines(), "time.sleep(600)"]
    (project / "tests/test_long.py").write_text("def test_long():\n    " + "\n    ".join(lines))
    running = subprocess.Popen(
        [project / "run_all.sh", "test"], env=project_environment(project), start_new_session=True
    )
    until((project / "at work").exists)
    assert len(processes_of(project)) >= 4  # pytest, its workers, what a test has started
    os.kill(running.pid, number)
    until(lambda: not processes_of(project))
    running.wait()


def test_a_signal_before_anything_has_started(project):
    (project / "lib/companion/cli.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)\n")
    run = run_all(project)
    assert run.returncode == 130 and run.stderr == "\nInterrupted: run_all.sh. The same command goes on from here.\n"


def test_what_a_killed_kernel_had_started_ends_too(project):
    rewrite(project, WORK, WORKERS.partition("joblib.Par")[0], "import os; os.kill(os.getpid(), 9)")
    run = run_all(project)
    assert run.returncode == 1 and "Notebook 00_first stopped: its Python process died" in run.stderr
    assert processes_of(project) == []


def test_a_killed_runner_is_reported_with_what_snakemake_says(project):
    rewrite(project, WORK, "import os; os.kill(os.getppid(), 9); time.sleep(600)")
    run = run_all(project)
    assert run.returncode == 1 and "Not finished: 00_first" in run.stderr
    assert "Snakemake failed" in run.stderr and "Error in rule 00_first" in run.stderr and "snakemake.log" in run.stderr
    assert "A job was killed, most often because memory ran out. Close other programs, or" in run.stderr


def test_a_snakefile_that_fails_is_reported(project):
    with open(project / "Snakefile", "a") as file:
        file.write("\nraise ValueError('on purpose')\n")
    run = run_all(project)
    assert run.returncode == 1 and "on purpose" in run.stderr and "Not finished: 00_first" in run.stderr


# ---------------------------------------------------------------- what is out of date


@pytest.mark.parametrize("name", ["notebooks/00_first.ipynb", "lib/companion/figures/first.py"])
def test_an_edit_while_a_notebook_runs_is_noticed(project, name):
    edit = f"file = paths.ROOT / '{name}'\nfile.write_text(file.read_text().replace('blue', 'red'))"
    rewrite(project, "from companion.figures import first", WORK, edit)
    assert run_all(project).returncode == ("lib" in name)
    assert would_run(project) == ["00_first"]
    assert run_all(project).returncode == 0
    assert would_run(project) == []


def test_contents_count_and_not_times(finished_project):
    project = finished_project
    source = project / "notebooks/00_first.ipynb"
    before = source.read_bytes()
    os.utime(source, (time.time() + 3600,) * 2)
    shutil.rmtree(project / ".snakemake")
    assert would_run(project) == []
    rewrite(project, WORK, "'changed'")
    os.utime(source, (1e9, 1e9))  # an older file in place of a newer one
    assert would_run(project, "--only", "00") == ["00_first"]
    source.write_bytes(before)
    assert run_all(project).returncode == 0


def test_clocks_that_disagree_take_nothing_away(project):
    rewrite(project, WORK)
    finish = FINISH.format(name="00_first") + "\nimport os; os.utime(results.path, (time.time() - 30,) * 2)"
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, finish])
    os.utime(project / "notebooks/00_first.ipynb", (time.time() + 3600,) * 2)
    run = run_all(project)
    assert run.returncode == 0, run.stderr
    assert "00_first.json" in results_of(project) and would_run(project) == []


def test_how_many_processes_work_on_it_is_no_other_experiment(project):
    parameters = PARAMETERS + "jobs: int = 2\n"
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, FINISH.format(name="00_first")], parameters)
    assert run_all(project, "-p", "jobs=1").returncode == 0
    assert set(os.listdir(project / "data/results")) == {"quick"} and would_run(project) == []


def test_a_clock_that_was_set_back_and_a_folder_that_is_gone_stop_no_run(finished_project, tmp_path):
    project, gone = finished_project, tmp_path / "gone"
    stamp = project / "data/state/quick/00_first.done"
    os.utime(stamp, (time.time() + 86400,) * 2)
    rewrite(project, WORK, "'changed'", name="01_second")
    gone.mkdir()
    command = ["bash", "-c", f"rmdir ../gone; {project}/run_all.sh"]
    run = subprocess.run(command, cwd=gone, env=project_environment(project), capture_output=True, text=True)
    assert run.returncode == 0 and "1 notebook to run" in run.stdout, run.stderr
    assert would_run(project) == []


# ---------------------------------------------------------------- damaged, foreign and unwritable files


def test_files_that_something_else_put_in_place_are_kept_and_named(finished_project):
    project = finished_project
    results = project / "data/results/quick/00_first.json"
    executed = project / "notebooks/executed/quick/00_first.ipynb"
    results.write_text(results.read_text().replace('"unit": "points"', '"unit": "%"'))
    before = results.read_text()
    for files in ([results], [results, executed]):
        run = run_all(project)
        assert run.returncode == 0 and "up to date" in run.stdout
        assert f"replaced it): {', '.join(map(str, files))}. Delete it to have it made again.\n" in run.stderr
        executed.write_text(executed.read_text().replace("step", "stop"))
    assert results.read_text() == before
    results.unlink()
    assert run_all(project, "--only", "00").returncode == 0
    assert results.read_text() != before and run_all(project, "--only", "00").stderr == ""


def test_a_stamp_of_an_older_version_holds(finished_project):
    project = finished_project
    stamp = project / "data/state/quick/00_first.done"
    stamp.write_text(stamp.read_text().split()[0] + "\n")
    run = run_all(project)
    assert "Everything is up to date" in run.stdout and run.stderr == ""


def test_a_damaged_results_file_is_made_again(finished_project):
    project = finished_project
    before = results_of(project)
    for name in ("00_first", "01_second"):
        (project / f"data/results/quick/{name}.json").write_text("")
    run = run_all(project, "--only", "00")
    assert run.returncode == 0 and "Traceback" not in run.stderr
    assert len(re.findall("json is damaged .*00_first.json.damaged beside it", run.stderr)) == 1
    assert len(re.findall("json is damaged .*01_second.json.damaged beside it", run.stderr)) == 1
    assert run_all(project).returncode == 0
    (project / "data/results/quick/00_first/table.csv").write_text("x\n0.5\n")
    (project / "data/results/quick/01_second/table.csv").unlink()
    assert run_all(project).returncode == 0
    after = results_of(project)
    assert before == {name: text for name, text in after.items() if not name.endswith(".damaged")}


def test_damaged_notes_of_snakemake_end_no_run(finished_project):
    project = finished_project
    (project / ".snakemake/metadata").mkdir(parents=True, exist_ok=True)
    for file in [*(project / ".snakemake/metadata").iterdir()]:
        file.write_bytes(b"\0\xff")
    (project / "data/results/quick/00_first.json").unlink()
    ended = run_all(project)
    assert ended.returncode == 0, ended.stderr


def test_only_files_named_as_notebooks_are_notebooks(finished_project):
    project = finished_project
    copy = (project / "notebooks/00_first.ipynb").read_text()
    for name in ("Untitled", "00_first-Copy1", ".~00_first", ".00_first", "00_{x}"):
        (project / f"notebooks/{name}.ipynb").write_text(copy)
    (project / "notebooks/05_folder.ipynb").mkdir()
    (project / "notebooks/06_link.ipynb").symlink_to("nowhere")
    assert would_run(project) == []
    refused = run_all(project, "--only", "00_first-Copy1")
    assert refused.returncode == 2 and "NN_name.ipynb" in refused.stderr


def test_a_copy_does_not_write_over_the_results_of_its_original(finished_project):
    project = finished_project
    before = results_of(project)
    copy = [WORK.replace("random.seed(seed)", "random.seed(77)"), FINISH.format(name="00_first")]
    write_notebook(project / "notebooks/07_copy.ipynb", copy)
    run = run_all(project)
    assert run.returncode == 1 and "Results('07_copy', globals())" in run.stderr
    assert results_of(project) == before


def test_other_peoples_settings_have_no_say(project, tmp_path):
    (project / ".ipython/profile_default").mkdir(parents=True)  # the home folder of the test
    broken = "raise SystemExit('mine')"
    (project / ".ipython/profile_default/ipython_config.py").write_text("c.InteractiveShellApp.exec_lines = ['1 / 0']")
    (project / ".ipython/profile_default/startup").mkdir()
    (project / ".ipython/profile_default/startup/00.py").write_text("import random; random.random = lambda: 0.5")
    for name in ("random.py", "joblib.py", "snakemake.py"):
        (project / name).write_text(broken)
    kernel = {"argv": ["/bin/false", "{connection_file}"], "display_name": "x", "language": "python"}
    (tmp_path / "jupyter/kernels/python3").mkdir(parents=True)
    (tmp_path / "jupyter/kernels/python3/kernel.json").write_text(json.dumps(kernel))
    for folder in (tmp_path / "mine", project / "profiles/default"):
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("quiet: rules\nexecutor: nothing\ndry-run: true\n")
    variables = {"JUPYTER_PATH": str(tmp_path / "jupyter"), "SNAKEMAKE_PROFILE": str(tmp_path / "mine")}
    variables["PYTHONSTARTUP"] = str(project / ".ipython/profile_default/startup/00.py")
    rewrite(project, WORK, "import joblib\njoblib.Parallel(n_jobs=2)(joblib.delayed(abs)(n) for n in range(2))")
    run = run_all(project, cwd=tmp_path, **variables)
    assert run.returncode == 0, run.stderr
    assert '"ours": 0.5,' not in results_of(project)["00_first.json"]


def test_braces_and_other_signs_in_the_path(tmp_path):
    project = make_project(tmp_path / "a {x} {seed} $HOME ü 'b'")
    run = run_all(project)
    assert run.returncode == 0, run.stderr
    assert str(tmp_path) not in (project / "notebooks/executed/quick/01_second.ipynb").read_text()


@pytest.mark.parametrize("blocked", ["data", "data/state/quick", "data/results/quick", "notebooks/executed"])
def test_a_place_that_cannot_be_written_is_named_in_one_paragraph(project, blocked):
    (project / blocked).parent.mkdir(parents=True, exist_ok=True)
    (project / blocked).write_text("a file, so no folder can be made here")
    run = run_all(project)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert str(project / blocked) in run.stderr


def test_a_place_that_cannot_be_written_is_named_before_the_work(project):
    (project / "notebooks/executed").write_text("a file")
    run = run_all(project)
    assert run.returncode == 1 and str(project / "notebooks/executed") in run.stderr and "| step 0" not in run.stderr


def test_a_reader_who_has_enough_is_no_error(finished_project):
    project = finished_project
    file = project / "data/results/quick/00_first.json"
    content = json.loads(file.read_text())
    content["claims"] = [content["claims"][0] | {"id": f"toy.space.number{n}"} for n in range(3000)]
    file.write_text(json.dumps(content))
    command = ["bash", "-c", "./run_all.sh compare quick quick | true"]  # which ends before anything is written
    ended = subprocess.run(command, cwd=project, env=project_environment(project), capture_output=True, text=True)
    assert ended.stdout == ended.stderr == ""


def test_a_report_in_another_encoding_is_written_anew(finished_project):
    project = finished_project
    report = project / "figures/quick/REPORT.md"
    before = report.read_bytes()
    report.write_bytes(before + b"\xe9")
    assert run_all(project).returncode == 0 and report.read_bytes() == before


def test_snakemake_by_itself(project):
    run = snakemake(project, "--cores", "1", "--config", "profile=smoke", "only=00", "overrides=seed=5")
    assert run.returncode == 0, run.stderr
    (label,) = os.listdir(project / "data/results")
    assert label.startswith("smoke+") and (project / "figures" / label / "REPORT.md").exists()


def test_an_edit_that_is_taken_back_before_the_end_is_noticed(tmp_path):
    project = make_project(tmp_path)
    change = """from companion import paths
file = paths.ROOT / "notebooks/01_second.ipynb"
file.write_text(file.read_text().replace({}))"""
    there, back = '"time.sleep(0.1)", "time.sleep(0.2)"', '"time.sleep(0.2)", "time.sleep(0.1)"'
    write_notebook(project / "notebooks/00_first.ipynb", [change.format(there), WORK, FINISH.format(name="00_first")])
    cells = [WORK.replace("from", "import time\nfrom", 1), FINISH.format(name="01_second"), change.format(back)]
    write_notebook(project / "notebooks/01_second.ipynb", cells)
    ended = run_all(project)
    assert ended.returncode == 1 and "01_second" in ended.stderr and "was changed before its turn came" in ended.stderr
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, FINISH.format(name="00_first")])
    assert would_run(project) and run_all(project).returncode == 0


@pytest.mark.parametrize("trainings", [False, True], ids=["notebook", "trainings"])
def test_an_edit_of_the_library_that_is_taken_back_before_the_end_is_noticed(tmp_path, trainings):
    project = make_project(tmp_path)
    change = """from companion import paths
file = paths.ROOT / "lib/latentnas/toy.py"
file.write_text("def number():\\n    return {}\\n")"""
    write_notebook(project / "notebooks/00_first.ipynb", [change.format(2), WORK, FINISH.format(name="00_first")])
    use = "from companion.figures.second import toy\ntrainings = {number: toy.number for number in range(4)}"
    cells = [use, WORK, FINISH.format(name="01_second"), change.format(1)]
    tags = {1: ["trainings"]} if trainings else None
    write_notebook(project / "notebooks/01_second.ipynb", cells, tags=tags)
    ended = run_all(project, "--jobs", "1")
    (project / "lib/latentnas/toy.py").write_text("def number():\n    return 1\n")  # which the second did not come to
    told = "Notebook 01_second cannot count: a file in lib/ that it imports"
    assert ended.returncode == 1 and told in ended.stderr and "Traceback" not in ended.stderr
    write_notebook(project / "notebooks/00_first.ipynb", [WORK, FINISH.format(name="00_first")])
    assert would_run(project) and run_all(project).returncode == 0


def test_an_edit_of_the_library_while_trainings_run_is_noticed(project):
    edit = "paths.ROOT.joinpath('lib/companion/figures/first.py').write_text('colour = 1')"
    train = f"from companion.figures import first\nfrom companion import paths\ntrainings = {{1: lambda: {edit}}}"
    cells = [train, WORK, FINISH.format(name="00_first")]
    write_notebook(project / "notebooks/00_first.ipynb", cells, tags={1: ["trainings"]})
    ended = run_all(project)
    assert ended.returncode == 1 and "cannot count" in ended.stderr and "Traceback" not in ended.stderr
    assert run_all(project).returncode == 0


def test_a_copy_that_was_cut_off_is_made_again(finished_project):
    project = finished_project
    executed = project / "notebooks/executed/quick/00_first.ipynb"
    executed.write_bytes(executed.read_bytes()[:100])
    assert would_run(project)


def test_the_beginning_of_a_name_may_be_one_digit(tmp_path):
    project = make_project(tmp_path)
    ended = run_all(project, "--only", "0")
    assert ended.returncode == 0 and "Not finished" not in ended.stderr


def test_a_run_that_was_told_to_outlive_its_terminal_does(project):
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    command = [str(project / "run_all.sh")]
    run = subprocess.Popen(command, env=project_environment(project), stderr=subprocess.PIPE, text=True, **ignoring)
    while "running" not in run.stderr.readline():
        pass
    run.send_signal(signal.SIGHUP)
    assert "Interrupted" not in run.communicate()[1] and run.returncode == 0


def test_modules_beside_the_snakefile_do_not_take_the_place_of_ours(project):
    for name in ("companion", "latentnas"):
        (project / f"{name}.py").write_text("raise SystemExit('not this one')")
    ended = run_all(project)
    assert ended.returncode == 0, ended.stderr


def told_by_snakemake(project, *arguments, **variables):
    """What Snakemake says when it refuses."""
    ended = snakemake(project, *arguments, **variables)
    told = ended.stdout + ended.stderr
    assert ended.returncode == 1 and "Traceback" not in told
    return told


def test_a_dry_run_of_snakemake_says_what_is_out_of_date_and_changes_nothing(finished_project):
    project = finished_project
    assert "Nothing to be done" in snakemake(project, "-n", "--config", "only=01").stdout  # Snakemake reads it as 1
    write_notebook(project / "notebooks/01_second.ipynb", [WORK, "2", FINISH.format(name="01_second")])
    (project / "data/state/run.lock").unlink()
    before = times_of_files(project)
    told = snakemake(project, "-n")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "rule 01_second:" in told.stdout and "rule 00_first:" not in told.stdout
    assert times_of_files(project) == before


def times_of_files(project):
    """Without Snakemake's own, in hidden folders."""
    files = (file for file in project.rglob("*") if not re.search(r"/[.]\w", str(file.relative_to(project.parent))))
    return {file: file.stat().st_mtime_ns for file in files}


@pytest.mark.parametrize(
    "setting, words",
    [
        ("onyl=00", "onyl: give profile, only"),
        ("gpu=yes", "gpu is 'yes': give a whole number"),
        ("gpu=-1", "gpu is -1: give a whole number"),
    ],
)
def test_a_setting_of_snakemake_that_cannot_be_is_named(project, setting, words):
    assert words in told_by_snakemake(project, "--cores", "1", "--config", setting)


def test_snakemake_by_itself_has_nothing_to_do_where_all_notebooks_run_alone(project):
    toml = project / "notebooks/profiles.toml"
    toml.write_text('alone = ["00_first"]\n' + toml.read_text())
    told = snakemake(project, "--cores", "2")
    assert told.returncode == 0 and "Finished jobid: 0 (Rule: all)" in told.stdout + told.stderr
    assert not (project / "data/results").exists()


def test_cores_of_a_cluster_that_are_no_number_are_named(project):
    (project / "Snakefile").write_text((project / "Snakefile").read_text().replace("settings.cores", "settings.nodes"))
    told = told_by_snakemake(project, "--cores", "1", SLURM_CPUS_PER_TASK="x")
    assert "SLURM_CPUS_PER_TASK is 'x': give a whole number, 1 or more." in told


def test_snakemake_by_itself_is_no_second_run(project):
    (project / "data/state").mkdir(parents=True)
    with open(project / "data/state/run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Another run is writing to this folder. Wait" in told_by_snakemake(project, "--cores", "1")


def test_a_dry_run_leaves_a_damaged_results_file_where_it_is(project):
    damaged = project / "data/results/quick/00_first.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("")
    assert would_run(project) == ["00_first"] and os.listdir(damaged.parent) == ["00_first.json"]
