"""run_all.sh itself: which Python and which checkout run, in what surroundings, and how the environment is made."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import venv

import psutil
import pytest

from toy_project import REPOSITORY, make_project, project_environment, run_all

FAKE_PYTHON = f"""#!/bin/bash
# stands in for python: notes what it is asked and makes the files that the real one would
if [ "$1" = -m ] && [ -z "$PYTHONSAFEPATH" ]; then echo "a random.py counts" >> "$NOTES"; fi
case "$1 $2 $3" in
    "-c import sys; "*) if [ -e "$NOTES.slow" ]; then touch "$NOTES.asked"; sleep 600; fi ;;
    "-c "*) exec {sys.executable} "$@" ;;
    "--version "*) echo "Python 3.11.0" ;;
    "-m venv "*)
        made="${{@: -1}}"; echo venv >> "$NOTES"; rm -rf "$made"
        mkdir -p "$made/bin" "$made/lib/python3.11/site-packages"
        cp "$0" "$made/bin/python"; sleep 0.3 ;;
    "-m pip "*) echo pip >> "$NOTES"; if [ -e "$NOTES.broken" ]; then echo "no network" >&2; exit 1; fi
        if [ -e "$NOTES.slow" ]; then (touch "$NOTES.asked"; sleep 600); fi ;;
    "-P -m companion")
        if [ -e "$NOTES.early" ]; then kill -INT $$; PYTHONPATH={REPOSITORY}/lib exec {sys.executable} "$@"; fi
        shift 3; echo "started with: $*"; env ;;
esac
"""


@pytest.fixture
def bare(tmp_path):
    """A checkout on a machine where `python3.11` is the stand-in; returns a function that starts its run_all.sh, the
    notes' path and the checkout.
    """
    folder = tmp_path / "a checkout with spaces"
    folder.mkdir()
    for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3.11").write_text(FAKE_PYTHON)
    (programs / "python3.11").chmod(0o755)
    notes = tmp_path / "notes"

    def start(*arguments, command=(folder / "run_all.sh",), **variables):
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "NOTES": str(notes), "HOME": str(tmp_path)} | variables
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*command, *arguments], env=environment, cwd=tmp_path, **streams)

    return start, notes, folder


def end(running):
    """Status, stdout and stderr of what was started."""
    stdout, stderr = running.communicate(timeout=60)
    return running.returncode, stdout, stderr


def seen(stdout):
    """The environment variables that the stand-in was started with."""
    return dict(line.split("=", 1) for line in stdout.splitlines() if "=" in line)


# ---------------------------------------------------------------- the environment


def test_below_a_path_with_braces_what_has_no_wheel_is_built_elsewhere(bare):
    start, notes, folder = bare
    moved = folder.rename(folder.with_name("a {checkout} in braces"))
    status, stdout, _ = end(start("--dry-run", command=(moved / "run_all.sh",)))
    assert status == 0 and "started with: --dry-run" in stdout
    assert notes.read_text().split() == ["venv", "venv", "pip", "pip", "pip"]  # the second to build a wheel in


def test_it_is_made_once_and_again_when_the_lock_changes(bare):
    start, notes, folder = bare
    status, stdout, stderr = end(start("--only", "02"))
    assert status == 0 and stdout.startswith("started with: --only 02\n")
    assert stderr.count("\n") == 1 and "setting up" in stderr and "minutes" in stderr
    assert notes.read_text().split() == ["venv", "pip"]
    assert (folder / ".venv/lib/python3.11/site-packages/latentnas.pth").read_text() == f"{folder}/lib\n"  # for Jupyter
    assert end(start())[2] == "" and notes.read_text().split() == ["venv", "pip"]
    with open(folder / "requirements.lock", "a") as lock:
        lock.write("six==1.17.0\n")
    end(start())
    assert notes.read_text().split() == ["venv", "pip"] * 2
    (folder / ".venv/bin/python").unlink()  # as when the Python that it was made with is gone
    assert end(start())[0] == 0
    assert notes.read_text().split() == ["venv", "pip"] * 3


def test_help_needs_no_environment(bare):
    start, notes, folder = bare
    for name in ("__init__.py", "arguments.py"):
        (folder / "lib/companion").mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "lib/companion" / name, folder / "lib/companion")
    status, stdout, stderr = end(start("--help"))
    assert status == 0 and stdout.startswith("usage: run_all.sh") and stderr == ""
    assert not notes.exists() and not (folder / ".venv").exists()


def test_an_installation_that_broke_off_is_done_again(bare):
    start, notes, _ = bare
    broken = notes.with_name("notes.broken")
    broken.touch()
    status, stdout, stderr = end(start())
    assert status == 1 and "no network" in stderr and "failed" in stderr and "started" not in stdout
    broken.unlink()
    assert end(start())[1].startswith("started")
    assert notes.read_text().split() == ["venv", "pip", "venv", "pip"]


def test_of_first_calls_at_once_one_sets_up_and_the_others_wait(bare):
    start, notes, _ = bare
    for status, stdout, _ in map(end, [start() for _ in range(3)]):
        assert status == 0 and stdout.startswith("started")
    assert notes.read_text().split() == ["venv", "pip"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("own", [False, True], ids=["while it is made", "while the own one is tried"])
def test_a_signal_before_python_runs_ends_all_that_was_started(bare, number, own):
    start, notes, _ = bare
    slow, asked = (notes.with_name(f"notes.{name}") for name in ("slow", "asked"))
    slow.touch()
    running = start("--only", "02", **({"LATENTNAS_PYTHON": f"{notes.parent}/programs/python3.11"} if own else {}))
    while not asked.exists() and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(number)  # to the script alone
    status, _, stderr = end(running)
    line = "Interrupted: run_all.sh --only 02. The same command goes on from here.\n"
    assert status == 128 + number and stderr.endswith(f"\n{line}") and stderr.count("\n") <= 3
    told = [process for process in psutil.process_iter() if note_of(process) == str(notes)]
    assert not psutil.wait_procs(told, timeout=30)[1]  # a busy machine may still be clearing them away
    slow.unlink()
    assert end(start())[1].startswith("started")


def note_of(process):
    with contextlib.suppress(psutil.Error):
        return process.environ().get("NOTES")


@pytest.mark.parametrize("program, number", [("readlink", signal.SIGINT), ("cksum", signal.SIGTERM)])
def test_a_signal_before_anything_was_started_is_answered_too(bare, program, number):
    """As in each call after the first, which finds the environment made."""
    start, notes, _ = bare
    slow = notes.parent / "programs" / program
    slow.write_text(f'#!/bin/bash\ntouch "$NOTES.asked"; sleep 0.3; exec {shutil.which(program)} "$@"\n')
    slow.chmod(0o755)
    running = start("--only", "02")
    while not notes.with_name("notes.asked").exists() and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(number)
    status, _, stderr = end(running)
    line = "\nInterrupted: run_all.sh --only 02. The same command goes on from here.\n"
    assert (status, stderr) == (128 + number, line)


def test_a_signal_while_python_starts_is_answered_as_later(bare):
    start, notes, _ = bare
    notes.with_name("notes.early").touch()
    status, _, stderr = end(start("--help", LATENTNAS_PYTHON=f"{notes.parent}/programs/python3.11"))
    assert status == 130 and stderr == "\nInterrupted: run_all.sh --help. The same command goes on from here.\n"


def test_a_run_keeps_its_environment(bare):
    start, notes, folder = bare
    (folder / "data/state").mkdir(parents=True)
    with open(folder / "data/state/run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, stderr = end(start())
        assert status == 1 and "a run still uses .venv" in stderr and not notes.exists()
    assert end(start())[0] == 0


def test_no_python_is_explained(bare, tmp_path):
    start, *_ = bare
    tools = tmp_path / "only_tools"
    tools.mkdir()
    for name in ("bash", "env", "dirname", "readlink", "cksum", "cat", "id"):
        (tools / name).symlink_to(shutil.which(name))
    status, _, stderr = end(start(PATH=str(tools)))
    assert status == 1 and "No Python 3.11 to 3.13" in stderr and "environment.yml" in stderr


def test_a_checkout_that_cannot_be_written_is_explained(bare):
    start, _, folder = bare
    (folder / ".venv-setup.log").mkdir()
    status, _, stderr = end(start())
    assert status == 1 and stderr.count("\n") == 1 and "cannot be written" in stderr and "LATENTNAS_OUTPUT" in stderr


def test_inside_the_conda_environment_that_one_is_used(bare, tmp_path):
    start, notes, _ = bare
    active = tmp_path / "active"
    active.mkdir()
    shutil.copy(tmp_path / "programs/python3.11", active / "python")
    _, stdout, _ = end(start(CONDA_DEFAULT_ENV="latentnas", PATH=f"{active}:/usr/bin:/bin"))
    assert stdout.startswith("started") and not notes.exists()


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false"])
def test_a_wrong_python_is_explained(bare, program):
    status, _, stderr = end(bare[0](LATENTNAS_PYTHON=program))
    assert status == 1 and stderr.count("\n") == 1 and program in stderr and "requirements.lock" in stderr


def test_a_python_without_the_packages_is_explained(tmp_path):
    project = make_project(tmp_path / "project")
    venv.create(tmp_path / "empty", symlinks=True)
    run = run_all(project, LATENTNAS_PYTHON=str(tmp_path / "empty/bin/python"))
    assert run.returncode == 1 and "has no torch, numpy," in run.stderr and "papermill" in run.stderr
    assert "Unset LATENTNAS_PYTHON" in run.stderr and "Traceback" not in run.stderr


# ---------------------------------------------------------------- surroundings


@pytest.mark.parametrize("variables", [{"HOME": ""}, {"HOME": "/nonexistent"}, {"LATENTNAS_OUTPUT": "out"}])
def test_an_account_and_a_home_folder_are_not_needed(bare, tmp_path, variables):
    start, _, folder = bare
    environment = seen(end(start(**variables))[1])
    state = (tmp_path / "out" if "LATENTNAS_OUTPUT" in variables else folder) / "data/state"
    assert environment["HOME"] == (str(tmp_path) if "HOME" not in variables else f"{state}/home")
    assert environment["USER"] == str(os.getuid())
    assert environment["XDG_CACHE_HOME"] == f"{state}/cache" and environment["MPLCONFIGDIR"] == f"{state}/matplotlib"


def test_other_packages_have_no_place_in_an_environment_of_our_own(bare, tmp_path):
    start, _, folder = bare
    foreign = {"PYTHONPATH": "/theirs", "PYTHONHOME": sys.base_prefix}
    environment = seen(end(start(**foreign))[1])
    assert environment["PYTHONPATH"] == f"{folder}/lib" and "PYTHONHOME" not in environment
    theirs = seen(end(start(PYTHONPATH="/theirs", LATENTNAS_PYTHON=str(tmp_path / "programs/python3.11")))[1])
    assert theirs["PYTHONPATH"] == f"{folder}/lib:/theirs"


@pytest.mark.parametrize("name", ["checkout/run_all.sh", "./link.sh", "sh checkout/run_all.sh", "folder/run_all.sh"])
def test_this_checkout_runs_however_it_is_called(bare, tmp_path, name):
    start, _, folder = bare
    folder.rename(tmp_path / "checkout")
    (tmp_path / "link.sh").symlink_to("checkout/run_all.sh")
    (tmp_path / "folder").symlink_to("checkout")
    _, stdout, stderr = end(start(command=name.split(), CDPATH=".", LATENTNAS_ROOT="/elsewhere"))
    assert stdout.startswith("started"), stderr
    assert seen(stdout)["LATENTNAS_ROOT"] == str(tmp_path / "checkout")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, word",
    [("--dry-run", "00_first"), ("lab --version", "."), ("test -n 1 tests/test_own.py", "1 passed")],
    ids=["run", "lab", "test"],
)
def test_another_installed_checkout_and_modules_of_the_users_have_no_say(tmp_path, arguments, word):
    project = make_project(tmp_path / "project")
    (project / "tests").mkdir()
    (project / "tests/test_own.py").write_text("def test_own():\n    import random, queue, companion\n")
    named = ["theirs/companion/__init__", "theirs/latentnas/__init__", "here/companion"]
    for module in (*named, "here/random", "here/queue", "project/random", "project/queue"):
        (tmp_path / module).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{module}.py").write_text("raise SystemExit('not this one')")
    environment = project_environment(project) | {"PYTHONPATH": str(tmp_path / "theirs")}
    command = [project / "run_all.sh", *arguments.split()]
    run = subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and word in run.stdout, run.stdout + run.stderr
