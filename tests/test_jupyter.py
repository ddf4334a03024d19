"""Notebooks by hand: JupyterLab in a headless Chromium."""

import json
import os
import re
import socket
import subprocess

import pytest

from browser import CHROMIUM, NO_CHROMIUM, browser, running, until
from companion import paths
from toy_project import project_environment

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]
SMALL = {"small_hidden": 16, "small_epochs": 1, "small_graphs": 300, "small_judge": 300, "map_size": 5}
LOADED = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'"


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
            [frame] = re.findall(r'iframe src=\\"([^"]+)\\"', notebook.read_text())
            served = f"/files/{os.path.normpath(f'notebooks/mine/{frame}')}"
            assert "<!DOCTYPE html>" in page.evaluate(f"fetch('{served}').then(answer => answer.text())")
    outputs = [out for cell in json.loads(notebook.read_text())["cells"] for out in cell.get("outputs", [])]
    assert not [out for out in outputs if out["output_type"] == "error"]
    assert len(outputs) > 10 and "Warning" not in json.dumps(outputs)
    assert (clone / "data/results/scratch/00_start_here.json").exists()
    changed = subprocess.run(["git", "-C", clone, "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert changed.stdout == ""
    assert os.listdir(clone / "notebooks/mine")
