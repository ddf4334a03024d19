"""Threads of PyTorch that wait for each other must not spin, or a busy machine trains a hundred times slower."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from companion import cli, runner
from latentnas.paths import ROOT

NOTEBOOKS = sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))


@pytest.mark.parametrize("given, expected", [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_the_policy_is_set_before_torch_is_imported_unless_the_user_set_one(given, expected):
    program = "import sys, os, latentnas; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"PYTHONPATH": str(ROOT / "lib")} | ({"OMP_WAIT_POLICY": given} if given else {})
    printed = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True).stdout
    assert printed.split() == [expected, "False"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_import_the_library_before_torch(path):
    cells = [cell["source"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    imported = [
        line.split()[1].partition(".")[0] for cell in cells for line in cell if line.startswith(("import", "from"))
    ]
    assert "torch" not in imported or imported.index("latentnas") < imported.index("torch")


@pytest.mark.parametrize(
    "wanted, cores, memory, gpus, expected",
    [
        (None, 1, 16, 0, (1, 1)),
        (None, 2, 16, 0, (2, 1)),
        (None, 2, 4, 0, (1, 2)),  # too little memory for two
        (None, 16, 64, 0, (8, 2)),
        (None, 64, 256, 0, (8, 8)),
        (None, 64, 256, 4, (4, 16)),  # a GPU for each
        (None, 64, 256, 1, (2, 32)),
        (1, 2, 16, 0, (1, 2)),
        (2, 64, 256, 0, (2, 32)),
        (5, 2, 16, 0, (5, 1)),  # as asked for
    ],
)
def test_jobs_and_their_cores_fit_the_machine(wanted, cores, memory, gpus, expected):
    jobs, each = cli.side_by_side(wanted, cores, memory * 10**9, gpus)
    assert (jobs, each) == expected
    assert wanted or jobs * each <= cores


@pytest.mark.parametrize(
    "notebook, cores, threads",
    [
        ("02_x", "1", "1"),
        ("02_x", "64", "1"),
        ("02_x", "", ""),
        ("10_speed", "2", "2"),
        ("10_speed", "64", "8"),
        ("10_speed", "5", "4"),  # --jobs 5 on four cores
    ],
)
def test_a_job_computes_with_one_thread_but_where_speed_is_measured(monkeypatch, notebook, cores, threads):
    """Sums in another order have other last bits, which a training amplifies: numbers would depend on the cores."""
    monkeypatch.setattr("joblib.cpu_count", lambda: 4 if cores == "5" else 64)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # Snakemake sets both, and PyTorch takes MKL's where they differ
    for name in names:
        monkeypatch.setenv(name, cores)
    runner.limit_threads(SimpleNamespace(notebook=notebook))
    assert [os.environ[name] for name in names] == [threads] * 2
