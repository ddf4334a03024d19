"""What ends with a command: all that it started, or only programs with certain names, however deep."""

import subprocess
import sys
import time

import psutil
import pytest

from companion import runner, together

WAIT = "import time; time.sleep(60)"
INNER = f"""
import subprocess, sys
from companion.together import marked
with marked("SOME_MARK"):
    print(subprocess.Popen([sys.executable, "-c", "{WAIT}"], start_new_session=True).pid, flush=True)
    {WAIT}
"""
OUTER = """
import subprocess, sys
from companion.together import marked
with marked("SOME_MARK"):
    subprocess.run([sys.executable, "-c", sys.argv[1]])
"""


def test_of_named_programs_no_other_ends():
    """Such as the reader's browser, that a JupyterLab has opened."""
    with together.marked("SOME_MARK", only=("a-kernel",)):
        kernel, browser = (subprocess.Popen([sys.executable, "-c", WAIT, name]) for name in ("a-kernel", "a-browser"))
    assert kernel.wait(timeout=10) < 0
    assert browser.poll() is None
    browser.kill()
    browser.wait()


@pytest.mark.parametrize("deep", [False, True])
def test_what_a_command_in_a_command_started_ends_too(monkeypatch, deep):
    monkeypatch.setenv("PYTHONPATH", runner.library_path())
    code = [OUTER, INNER] if deep else [INNER]
    command = subprocess.Popen([sys.executable, "-c", *code], stdout=subprocess.PIPE, text=True)
    last = psutil.Process(int(command.stdout.readline()))
    assert last.is_running()
    command.kill()
    command.wait()
    until = time.monotonic() + 30
    while last.is_running() and last.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.1)
    assert not last.is_running() or last.status() == psutil.STATUS_ZOMBIE
    command.stdout.close()
