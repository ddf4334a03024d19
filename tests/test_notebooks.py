"""Every notebook runs from start to end in the smoke profile, in order, into a folder of its own: with the bundled
tables and nothing downloaded. Those with the public tables are in `test_public_notebooks`."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pandas as pd
import pytest

from companion import notebooks, paths, profiles, runner

pytestmark = pytest.mark.slow

# Where networks are trained on the digits, each Python begins so: 2 epochs in place of 15.
TRAINED_ON_DIGITS = {"01c_bundled_tables", "04_ngae_architectures", "06_extrapolation"}
START = """from latentnas.benchmarks import digits

digits.EPOCHS = 2
"""
DOWNLOADS = {"07c_nasbench101"}  # test_public_notebooks runs it
ALONE = {*profiles.read_profiles().alone} - DOWNLOADS
PLAN = [*profiles.plan("smoke"), *profiles.plan("smoke", sorted(ALONE))]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("output")


@pytest.mark.parametrize("job", PLAN, ids=lambda job: job.notebook)
def test_notebook_runs(job, output):
    check_run(job, output, LATENTNAS_DATA_MIRROR=str(output / "nowhere"))
    if job.notebook == "05_svge":
        check_decoder_limits(output / "data/results" / job.label / job.notebook)


def check_decoder_limits(folder):
    """Counted by hand: greedy decoding of D-VAE can write 1,080 of the 15,625 cells. The notebook has nine tenths."""
    limits = pd.read_csv(folder / "decoder_limits.csv").set_index(["graphs", "space", "variant"])["greedy"]
    limits = limits["for training"]
    assert limits["nasbench201", "as published"] == pytest.approx(100 * 1080 / 15625, abs=0.2)
    assert (limits.xs("numbered", level="variant") == 100).all() and limits["enas", "as published"] == 100


def check_run(job, output, **variables):
    path = runner.library_path()
    if job.notebook in TRAINED_ON_DIGITS:
        (output / "start").mkdir(exist_ok=True)
        (output / "start/sitecustomize.py").write_text(START)
        path = os.pathsep.join([str(output / "start"), path])
    environment = os.environ | {"LATENTNAS_OUTPUT": str(output), "PYTHONPATH": path} | variables
    run = subprocess.run(
        [sys.executable, "-m", "companion.runner", json.dumps(asdict(job))],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-5000:]
    folder = output / "data/results" / job.label
    results = json.loads((folder / f"{job.notebook}.json").read_text())
    assert (
        results["notebook"] == job.notebook
        and results["profile"] == job.label
        and results["data_source"] == job.parameters["data_source"]
    )
    for name, frame in results["frames"].items():
        assert (folder / job.notebook / f"{name}.csv").exists() and frame["rows"] >= 0
    for claim in results["claims"]:  # the papers' numbers are about public tables
        assert job.parameters["data_source"] == "public" or claim["paper"] is None
    executed = (output / "notebooks/executed" / job.label / f"{job.notebook}.ipynb").read_text()
    assert str(output) not in executed and str(paths.ROOT) not in executed
    outputs = [shown for cell in json.loads(executed)["cells"] for shown in cell.get("outputs", [])]
    images = [shown for shown in outputs if "image/png" in shown.get("data", {})]
    alts = [shown["metadata"].get("image/png", {}).get("alt") for shown in images]
    assert all(alts), "an image without alt text: see figures.show"
    assert len({shown["data"]["image/png"] for shown in images}) == len(images), "a figure is shown twice"
    assert "PosixPath(" not in json.dumps([shown for shown in outputs if shown not in images]), "a path is shown"


def test_every_notebook_says_what_to_install_where_the_library_is_missing(monkeypatch):
    files = [*map(notebooks.source_of, notebooks.names()), *paths.NOTEBOOKS.glob("coursework/[lw]*[!s].ipynb")]
    [guard] = {notebooks.cells_of(file)[0].source for file in files}
    exec(guard)  # silent where the library is there
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="%pip install"):
        exec(guard)
