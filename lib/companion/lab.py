"""JupyterLab on working copies of the notebooks, so that what one tries changes no file of the project."""

import os
import shutil
import subprocess
import sys

from companion import notebooks, paths, runner


def main(arguments: list[str]) -> int:
    """Copy the notebooks that have no working copy yet, and open the first; `arguments` go to JupyterLab."""
    mine = paths.NOTEBOOKS / "mine"
    mine.mkdir(exist_ok=True)
    for name in notebooks.names():
        if not (mine / f"{name}.ipynb").exists():
            shutil.copy(notebooks.source_of(name), mine)
    first = f"/lab/tree/notebooks/mine/{notebooks.names()[0]}.ipynb"
    options = [f"--ServerApp.root_dir={paths.ROOT}", f"--LabApp.default_url={first}"]
    environment = os.environ | {"PYTHONPATH": runner.library_path()}
    return subprocess.run([sys.executable, "-m", "jupyterlab", *options, *arguments], env=environment).returncode
