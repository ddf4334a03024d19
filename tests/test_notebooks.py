"""Every notebook runs from start to end in the smoke profile, in order, into a folder of its own."""

import json
import os
import subprocess
import sys

import pytest

from latentnas import notebook_runner, paths, profiles

PLAN = profiles.plan("smoke")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("output")


@pytest.mark.parametrize("job", PLAN, ids=lambda job: job.notebook)
def test_notebook_runs(job, output):
    environment = os.environ | {"LATENTNAS_OUTPUT": str(output), "PYTHONPATH": notebook_runner.library_path()}
    run = subprocess.run(
        [sys.executable, "-m", "latentnas.notebook_runner", job.to_json()],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-5000:]
    results = json.loads((output / "data/results/smoke" / f"{job.notebook}.json").read_text())
    assert (
        results["notebook"] == job.notebook
        and results["profile"] == "smoke"
        and results["data_source"] == job.parameters["data_source"]
    )
    for name, frame in results["frames"].items():
        assert (output / "data/results/smoke" / job.notebook / f"{name}.csv").exists() and frame["rows"] >= 0
    executed = (output / "notebooks/executed/smoke" / f"{job.notebook}.ipynb").read_text()
    assert str(output) not in executed and str(paths.ROOT) not in executed
