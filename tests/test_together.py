"""What ends with a command: all that it started, or only programs with certain names, however deep."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from companion import runner, together

WAIT = "import time; time.sleep(60)"
INNER = f"""
import os, subprocess, sys
from companion.together import ending_together
with ending_together("LATENTNAS_TEST"):
    last = subprocess.Popen([sys.executable, "-c", "{WAIT}"], start_new_session=True)
    print(last.pid, os.environ["TMPDIR"], flush=True)
    {WAIT}
"""
OUTER = """
import os, subprocess, sys
from companion.together import marked
with marked("LATENTNAS_TEST"):
    subprocess.run([sys.executable, "-c", sys.argv[1]], env=os.environ | {"PYTHONPATH": sys.argv[2]})
"""


def test_of_named_programs_no_other_ends():
    """Such as the reader's browser, that a JupyterLab has opened."""
    with together.marked("LATENTNAS_TEST", only=("a-kernel",)):
        names = "a-kernel", "folder/a-kernel.html"
        kernel, browser = (subprocess.Popen([sys.executable, "-c", WAIT, name]) for name in names)
    assert kernel.wait(timeout=10) < 0
    assert browser.poll() is None
    browser.kill()
    browser.wait()


@pytest.mark.parametrize("deep", [False, True])
def test_what_a_command_in_a_command_started_ends_too(monkeypatch, tmp_path, deep):
    """The inner one of another checkout, as in tests."""
    monkeypatch.setenv("PYTHONPATH", runner.library_path())
    shutil.copytree(Path(together.__file__).parent, tmp_path / "companion")
    code = [OUTER, INNER, str(tmp_path)] if deep else [INNER]
    command = subprocess.Popen([sys.executable, "-c", *code], stdout=subprocess.PIPE, text=True)
    number, folder = command.stdout.readline().split()
    last = psutil.Process(int(number))
    assert last.is_running() and Path(folder).is_dir()
    command.kill()
    command.wait()
    until = time.monotonic() + 30
    alive = lambda: last.is_running() and last.status() != psutil.STATUS_ZOMBIE  # noqa: E731
    while (alive() or Path(folder).exists()) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive() and not Path(folder).exists()
    command.stdout.close()
