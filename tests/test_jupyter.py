"""Notebooks by hand: JupyterLab in a headless Chromium, driven through its DevTools protocol."""

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
import websocket

from companion import paths
from toy_project import project_environment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to drive")]
SMALL = {"small_hidden": 16, "small_epochs": 1, "small_graphs": 300, "small_judge": 300}
LOADED = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'"


class Page:
    """One page of a browser."""

    def __init__(self, address):
        self.socket = websocket.create_connection(address, suppress_origin=True, timeout=300)
        self.numbers = itertools.count(1)

    def call(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != number:
            pass
        return answer["result"]

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


def until(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.3)
    return value


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def browser(folder):
    """A page of a headless Chromium."""
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
    ]
    with running([CHROMIUM, *options, "about:blank"]):
        port = until(lambda: (folder / "DevToolsActivePort").exists() and (folder / "DevToolsActivePort").read_text())
        targets = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port.split()[0]}/json/list"))
        page = Page(next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page"))
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        yield page


def test_run_all_in_jupyterlab_changes_no_file_of_the_project(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", paths.ROOT, clone], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lab = [clone / "run_all.sh", "lab", "--no-browser", "--expose-app-in-browser", "--allow-root", f"--port={port}"]
    notebook = clone / "notebooks/mine/00_start_here.ipynb"
    environment = project_environment(clone) | {"HOME": str(tmp_path)}
    with running([*lab, "--IdentityProvider.token=t"], env=environment, cwd=clone):
        until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        content = json.loads(notebook.read_text())
        first = next(cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", []))
        first["source"] += [f"\n{name} = {value}" for name, value in SMALL.items()]
        notebook.write_text(json.dumps(content))
        with browser(tmp_path / "browser") as page:
            address = f"http://127.0.0.1:{port}/lab/tree/notebooks/mine/00_start_here.ipynb?token=t"
            page.call("Page.navigate", url=address)
            until(lambda: page.evaluate(LOADED))
            page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
            page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    outputs = [out for cell in json.loads(notebook.read_text())["cells"] for out in cell.get("outputs", [])]
    assert not [out for out in outputs if out["output_type"] == "error"]
    assert len(outputs) > 10 and "Warning" not in json.dumps(outputs)
    assert (clone / "data/results/scratch/00_start_here.json").exists()
    changed = subprocess.run(["git", "-C", clone, "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert changed.stdout == ""
    assert os.listdir(clone / "notebooks/mine")
