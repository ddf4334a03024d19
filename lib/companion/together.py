"""Whatever a run starts ends with it: when it is done, on a signal, after `kill -9`, and where nobody reaps it.

`python together.py NAME=VALUE FOLDER` waits until its standard input is closed, which the system does when the process
at the other end is gone in any way; then it ends every process that has NAME=VALUE in its environment.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from unittest import mock

import psutil


@contextlib.contextmanager
def ending_together(variable: str) -> Iterator[None]:
    """All that is started in the block, marked by a variable, ends with it or this process; so do temporary files."""
    folder = tempfile.mkdtemp(prefix="latentnas-")
    marks = {variable: os.path.basename(folder), "TMPDIR": folder}
    command = [sys.executable, "-P", __file__, f"{variable}={marks[variable]}", folder]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True),
        mock.patch.dict(os.environ, marks),
        mock.patch.object(tempfile, "tempdir", folder),
    ):
        yield


def wait_and_end(mark: str, folder: str) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    name, _, value = mark.partition("=")
    while processes := [
        process
        for process in psutil.process_iter(["environ", "status"])  # None where one may not look
        if (process.info["environ"] or {}).get(name) == value and process.info["status"] != psutil.STATUS_ZOMBIE
    ]:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    wait_and_end(*sys.argv[1:])
