"""Whatever a run starts ends with it: when it is done, on a signal, after `kill -9`, and where nobody reaps it.

`python together.py NAME=VALUE FOLDER WORDS` waits until its standard input is closed, which the system does when the
process at the other end is gone in any way; then it ends every process whose variable NAME has VALUE among its parts
(between colons: a run inside a run has both marks) and, if there are WORDS, whose command has one of them as an
argument. It has no mark itself: inside another run it ends after those that it waits for, and tidies up.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from unittest import mock

import psutil


@contextlib.contextmanager
def ending_together(variable: str) -> Iterator[None]:
    """All that is started in the block, marked by a variable, ends with it or this process; so do temporary files."""
    folder = tempfile.mkdtemp(prefix="latentnas-")
    with (
        marked(variable, folder),
        mock.patch.dict(os.environ, {"TMPDIR": folder}),
        mock.patch.object(tempfile, "tempdir", folder),
    ):
        yield


@contextlib.contextmanager
def marked(variable: str, folder: str = "", only: Sequence[str] = ()) -> Iterator[None]:
    """What is started in the block ends with it or this process, and the folder, if any, is removed. With `only`, just
    the programs that have one of these words as an argument end: not the browser that a JupyterLab has opened."""
    mark = secrets.token_hex(8)
    command = [sys.executable, "-P", __file__, f"{variable}={mark}", folder, *only]
    marks = ":".join(filter(None, (os.environ.get(variable), mark)))
    unmarked = {name: value for name, value in os.environ.items() if not name.startswith("LATENTNAS_")}
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=unmarked),
        mock.patch.dict(os.environ, {variable: marks}),
    ):
        yield


def wait_and_end(mark: str, folder: str, *only: str) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    name, _, value = mark.partition("=")
    while processes := [
        process
        for process in psutil.process_iter(["environ", "status", "cmdline"])  # None where one may not look
        if value in (process.info["environ"] or {}).get(name, "").split(":")
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and (not only or {*only}.intersection(process.info["cmdline"] or []))
    ]:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=1)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    wait_and_end(*sys.argv[1:])
