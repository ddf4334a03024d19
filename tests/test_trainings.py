"""Trainings as jobs of their own: shares that run side by side, and notebooks that find their trainings done."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial

import pytest
from joblib import cpu_count

from companion import notebooks, paths, profiles, runner
from companion.runner import NotebookFailed
from toy_project import FINISH, PARAMETERS, make_project, run_all, snakemake, would_run, write_notebook

pytestmark = pytest.mark.slow

# Each "training" leaves a file with the process that made it; made a second time it only says so.
LIST = """import os, sys
from functools import partial
from companion import paths
def train(number):
    file = paths.OUTPUT / f"data/checkpoints/{number}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        return file.read_text()
    if number == seed:
        raise FloatingPointError("the loss became nan")
    print("training", number, file=sys.stderr)
    file.write_text(str(os.getpid()))
    return "trained in the notebook"
trainings = {("toy", number): partial(train, number) for number in range(5)}"""
USE = """found = [make() for make in trainings.values()]
assert "trained in the notebook" not in found, found
assert len(set(found)) == SHARES, found
import random; random.seed(seed)"""


def make_listing_project(folder):
    """A toy project whose first notebook lists five trainings; the parameter `seed` names one that fails."""
    make_project(folder)
    cells = [LIST, USE.replace("SHARES", "2"), FINISH.format(name="00_first")]
    write_notebook(folder / "notebooks/00_first.ipynb", cells, tags={1: ["trainings"]})
    (folder / "notebooks/profiles.toml").write_text(
        '[depends]\n"01_second" = ["00_first"]\n[smoke]\n[quick.common]\nseed = 9\n'
    )
    return folder


@pytest.fixture
def project(tmp_path):
    return make_listing_project(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The project after a run, and that run; tests copy it rather than change it."""
    folder = make_listing_project(tmp_path_factory.mktemp("trained"))
    ended = run_all(folder, "--jobs", "2")
    assert ended.returncode == 0, ended.stderr
    return folder, ended


def test_a_notebook_finds_its_trainings_made_by_two_processes(trained, tmp_path):
    made, ended = trained
    assert "00 | training 3" in ended.stderr and "share 2-of-2" in ended.stderr
    assert "training 3" in (made / "data/state/quick/00_first.trainings-2-of-2.log").read_text()
    project = shutil.copytree(made, tmp_path / "project")
    again = run_all(project, "--jobs", "3")  # other shares, but nothing to do
    assert again.returncode == 0 and "up to date" in again.stdout
    (results := project / "data/results/quick/00_first.json").rename(project / "lost")
    assert would_run(project) == ["00_first"]  # what needs it needs its trainings, and those are as they were
    (project / "lost").rename(results)
    stamps = sorted((project / "data/state/quick").glob("*.done"))
    use = [USE.replace("SHARES", "2"), FINISH.format(name="00_first")]
    for listed in (LIST, LIST + "; 1"):
        write_notebook(project / "notebooks/00_first.ipynb", [listed, "1", *use], tags={1: ["trainings"]})
        dry = snakemake(project, "-n", "--rerun-triggers", "mtime").stdout
        assert "rule 00_first:" in dry and ("rule 00_first_trainings:" in dry) == (listed != LIST), dry
    assert sorted((project / "data/state/quick").glob("*.done")) == stamps


@pytest.mark.parametrize(
    "arguments, workers", [(["--jobs", "2"], max(1, cpu_count() // 2)), (["--jobs", "2", "-p", "jobs=3"], 3)]
)
def test_two_notebooks_with_processes_of_their_own_share_the_cores(project, arguments, workers):
    """The processes of both together are no more than the cores, but where the reader asks for it."""
    (project / "notebooks/profiles.toml").write_text("[quick]\n")
    say = "import os; print('WORKERS', jobs, os.environ['OMP_NUM_THREADS'])"
    for name in ("00_first", "01_second"):
        cells = [say, "import random; from companion import paths", FINISH.format(name=name)]
        write_notebook(project / f"notebooks/{name}.ipynb", cells, PARAMETERS + "jobs: int = 2  # processes\n")
    ended = run_all(project, *arguments)
    assert ended.returncode == 0, ended.stderr
    for name in ("00_first", "01_second"):
        assert f"WORKERS {workers} 1" in (project / f"notebooks/executed/quick/{name}.ipynb").read_text()


def test_a_notebook_that_is_alone_out_of_date_has_all_cores(project):
    (project / "notebooks/profiles.toml").write_text("[quick]\n")
    told = snakemake(project, "-n", "--cores", "2", LATENTNAS_AGENDA='[["quick", "01_second"]]').stdout
    assert re.search(r"^rule 01_second:\n(?: .*\n)* +threads: 2$", told, re.M), told


def test_trainings_that_two_notebooks_list_are_made_once(project):
    """The shares of the second wait for those of the first, and load what these made."""
    cells = [LIST, FINISH.format(name="01_second")]
    write_notebook(project / "notebooks/01_second.ipynb", cells, tags={1: ["trainings"]})
    told = snakemake(project, "-n").stdout
    awaited = re.findall(r"^rule 01_second_trainings:\n +input: (\S+)", told, re.M)
    assert awaited == ["data/state/quick/00_first.trainings.done"], told


def test_one_training_that_fails_takes_nothing_away(trained, tmp_path):
    project = shutil.copytree(trained[0], tmp_path / "project")
    results = project / "data/results/quick/00_first.json"
    stored = results.read_bytes()
    for file in (project / "data/checkpoints").iterdir():
        file.unlink()
    text = (project / "notebooks/profiles.toml").read_text()
    (project / "notebooks/profiles.toml").write_text(text.replace("seed = 9", "seed = 1"))
    ended = run_all(project, "--jobs", "2")
    assert ended.returncode == 1
    assert "('toy', 1) with FloatingPointError: the loss became nan" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    assert "Traceback" in (project / "data/state/quick/00_first.trainings-2-of-2.log").read_text()
    assert sorted(file.stem for file in (project / "data/checkpoints").iterdir()) == list("0234")
    assert results.read_bytes() == stored


def test_shares_of_a_list_that_has_changed_are_made_again(project):
    profiles_file, notebook = project / "notebooks/profiles.toml", project / "notebooks/00_first.ipynb"
    profiles_file.write_text(profiles_file.read_text().replace("seed = 9", "seed = 1"))
    assert run_all(project).returncode == 1  # the first share is done, the second is not
    profiles_file.write_text(profiles_file.read_text().replace("seed = 1", "seed = 9"))
    notebook.write_text(notebook.read_text().replace("{number}.txt", "{number}-anew.txt"))
    ended = run_all(project)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("alone", [[], ["03_alone"]], ids=["all wait for trainings", "one waits for none"])
def test_a_list_that_is_trained_is_noted_at_once_then_come_a_first_figure_and_the_first_notebook(project, alone):
    names = [f"{number:02d}_more" for number in range(4, 16)]
    for name in [*alone, *names]:
        write_notebook(project / f"notebooks/{name}.ipynb", [FINISH.format(name=name)])
    write_notebook(project / "notebooks/16_last.ipynb", [LIST, FINISH.format(name="16_last")], tags={1: ["trainings"]})
    depends = '"01_second" = ["00_first"]\n' + "".join(f'"{name}" = ["16_last"]\n' for name in names)
    (project / "notebooks/profiles.toml").write_text(f"[depends]\n{depends}[quick]\n")
    told = snakemake(project, "-n").stdout
    rules = re.findall(r"^(?:local)?rule (\w+):\n((?: .*\n)+)", told, re.M)
    priority = {name: int((re.findall(r"priority: (\d+)", about) or [0])[0]) for name, about in rules}
    found = [{name for name in priority if priority[name] == number} for number in sorted({*priority.values()})]
    expected = [{"00_first_trained", "16_last_trained"}, {*alone}, {"00_first", "00_first_trainings"}]
    expected = [*filter(None, expected), {"16_last_trainings"}]  # before notebooks, however many wait for those
    assert found[::-1][: len(expected)] == expected, priority


@pytest.mark.parametrize(
    "cells, words",
    [
        (["trainings = made_elsewhere"], r"cell 2, .* NameError: .* not defined\. Such cells .* that they need\.$"),
        (["raise ValueError('Give at least one model.')"], r"with ValueError: Give at least one model\.$"),
        (["trainings = [print]"], "no dictionary `trainings`"),
        (["raise SystemExit('There are no data.')"], r"with SystemExit: There are no data\.$"),
        (  # of the notebook that it was copied from: said before the trainings, not after
            ["from companion import claims\nresults = claims.Results('07_crlso', globals())"],
            r"00_first\.ipynb must write its own results: Results\('00_first', globals\(\)\)",
        ),
    ],
)
def test_tagged_cells_that_cannot_run_alone_say_so(tmp_path, monkeypatch, cells, words):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    write_notebook(tmp_path / "00_first.ipynb", cells, tags={1: ["trainings"]})
    with pytest.raises(NotebookFailed, match=words):
        runner.trainings_of(profiles.Job("00_first", "quick", {}, ()))


def test_what_a_tagged_cell_sets_stays_set(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    monkeypatch.setenv("TOY_DATA", "before")
    monkeypatch.delenv("LATENTNAS_NOTEBOOK", raising=False)
    cells = ["import os\nos.environ['TOY_DATA'] = 'after'", "trainings = {0: lambda: os.environ['TOY_DATA']}"]
    write_notebook(tmp_path / "00_first.ipynb", cells, tags={1: ["trainings"], 2: ["trainings"]})
    assert runner.trainings_of(profiles.Job("00_first", "quick", {}, ()))[0]() == "after"
    assert "LATENTNAS_NOTEBOOK" not in os.environ


def test_a_training_that_leaves_python_is_one_that_failed(project, monkeypatch):
    """As `sys.exit()` does, which ends no process with an error."""
    made = []
    monkeypatch.setattr(runner, "trainings_of", lambda job: {"first": sys.exit, "second": partial(made.append, 2)})
    monkeypatch.setattr(runner, "check_unchanged", lambda job: None)
    monkeypatch.setattr(paths, "STATE", project / "data/state")
    with pytest.raises(NotebookFailed, match="stopped in 1 of 2 trainings: first with SystemExit"):
        runner.run_share(profiles.Job("00_first", "quick", {}, ()), "1-of-1")
    assert made == [2]


LISTING = [path.stem for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")) if notebooks.tagged_cells(path, "trainings")]


@pytest.mark.parametrize("notebook", LISTING)
def test_the_tagged_cells_of_each_notebook_run_alone(notebook, capsys, monkeypatch, tmp_path, request):
    if notebook == "07c_nasbench101":
        request.getfixturevalue("nasbench101")  # skips where its table is not at hand
    monkeypatch.chdir(paths.ROOT)
    values = profiles.profile_parameters("smoke", notebook)
    listed = runner.trainings_of(profiles.Job(notebook, "smoke", values, ()))
    assert len(listed) > (notebook != "00_start_here")


# What the cells that list no trainings may train all the same, and why.
NOT_LISTED = {
    ("04_ngae_architectures", "train_model"),  # loads those that 02 lists
    ("12_tuning", "train_model"),  # with the rate that its listed trainings have chosen
    ("08_e2nas", "train_supernet"),  # times one step
    ("10_speed", "train_supernet"),  # times one epoch
}


def test_what_a_notebook_trains_is_listed():
    found = set()
    for name in notebooks.names():
        for cell in notebooks.cells_of(notebooks.source_of(name)):
            if "trainings" not in cell.tags:
                found |= {(name, called) for called in re.findall(r"\b(train_model|train_supernet)\(", cell.source)}
    assert found == NOT_LISTED


# What is called side by side without a folder: these load what was trained.
KEPT_BY_THEMSELVES = {("05_svge", "training"), ("07_crlso", "quality"), ("12_tuning", "chosen_rate")}


def test_what_a_cell_computes_for_long_is_kept():
    """So a run that is cut off repeats one answer at most: searches, and networks that were found and are trained."""
    without = set()
    for name in notebooks.names():
        for cell in notebooks.cells_of(notebooks.source_of(name)):
            for call in ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else ():
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "side_by_side":
                    folder = [key for key in call.keywords if key.arg == "folder"]
                    without |= set() if folder or len(call.args) > 3 else {(name, ast.unparse(call.args[0]))}
    assert without == KEPT_BY_THEMSELVES


@pytest.mark.parametrize(
    "bench, cluster, threads",
    [("[]", False, "1111"), ('["00_first"]', False, "2212"), ("[]", True, "1122"), ('["00_first"]', True, "2222")],
    ids=["side by side", "measured", "on a cluster", "measured on a cluster"],
)
def test_a_notebook_whose_times_are_measured_and_its_trainings_have_all_cores(project, bench, cluster, threads):
    """Of two shares, another notebook and their own."""
    (project / "notebooks/profiles.toml").write_text(f"bench = {bench}\n[quick]\n")
    if cluster:  # where Snakemake knows of no cores
        text = (project / "Snakefile").read_text()
        (project / "Snakefile").write_text(text.replace("settings.cores", "settings.nodes"))
    told = snakemake(project, "-n", "--cores", "2").stdout
    rules = re.findall(r"^rule (00_first_trainings|00_first|01_second):\n((?: .*\n)+)", told, re.M)
    found = sorted((len(name), *re.findall(r"threads: (\d)", about)) for name, about in rules)
    assert [number for _, *number in reversed(found)] == [[] if n == "1" else [n] for n in threads], told


def test_each_of_two_jobs_takes_one_of_two_gpus(tmp_path):
    take = "import os; from companion.runner import take_gpu; take_gpu()"
    take += "; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)"
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "0,3", "LATENTNAS_OUTPUT": str(tmp_path)}
    environment["PYTHONPATH"] = str(paths.ROOT / "lib")

    def start(then=""):
        command = [sys.executable, "-c", f"{take}\n{then}"]
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    first, second = start("input()"), None
    try:
        assert first.stdout.readline() == "0\n"
        second = start("input()")
        assert second.stdout.readline() == "3\n"
        third = start()
        assert third.communicate()[0] == "0,3\n"  # none is free
    finally:
        for process in (first, second):
            if process:
                process.communicate("\n")
    assert start().communicate()[0] == "0\n"  # free again


def test_a_part_of_a_gpu_whose_name_has_slashes_can_be_taken(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "STATE", tmp_path)
    monkeypatch.setattr(runner, "_held", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-1/7/0,MIG-GPU-1/8/0")
    runner.take_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-GPU-1/7/0"


@pytest.mark.parametrize("device, shown", [("cuda:1", "0,1"), ("cpu", "0,1"), ("cuda", "0"), ("", "0")])
def test_a_device_that_the_user_names_stays_to_be_seen(monkeypatch, tmp_path, device, shown):
    monkeypatch.setattr(paths, "STATE", tmp_path)
    monkeypatch.setattr(runner, "_held", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("LATENTNAS_DEVICE", device)
    runner.take_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == shown


def test_gpus_are_counted_without_cuda(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    listing = tmp_path / "nvidia-smi"
    listing.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: x)'\necho 'GPU 1: NVIDIA H100 (UUID: y)'\n")
    listing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert runner.visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert runner.visible_gpus() == []


@pytest.mark.parametrize(
    "value, shown",
    [
        ("-1", []),  # the usual way to hide all
        ("NoDevFiles", []),  # Slurm's, where a job asked for none
        ("1,-1,2", ["1"]),  # CUDA stops there too
        ("0, 3", ["0", "3"]),
        ("GPU-5ea8,MIG-41b3", ["GPU-5ea8", "MIG-41b3"]),
    ],
)
def test_of_gpus_only_those_that_cuda_would_show_count(monkeypatch, value, shown):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert runner.visible_gpus() == shown


def test_where_gpus_cannot_be_listed_there_are_none(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidia-smi").write_text("not a program")
    monkeypatch.setenv("PATH", str(tmp_path))  # it may not be run, not even by root
    assert runner.visible_gpus() == []


def test_resources_come_from_the_last_run(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    job = profiles.Job("00_first", "quick+12345678", {}, ())
    assert runner.resources(job, 1) == {"runtime": 60, "mem_mb": 6050}
    manifest = {"wall_seconds": 1000.0, "loaded_seconds": 200.0, "peak_memory_mb": {"cpu": 1000}}
    manifest |= {"device": "cpu", "cpu_cores": 2, "versions": {}, "git": None}
    content = {"notebook": "00_first", "profile": "quick", "data_source": "public", "manifest": manifest}
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick/00_first.json").write_text(json.dumps(content | {"parameters": {}, "claims": [], "frames": {}}))
    assert runner.resources(job, 2) == {"runtime": 60, "mem_mb": 7000}
    assert runner.resources(job, 1, 1) == {"runtime": 30, "mem_mb": 3500}
    assert runner.resources(job, 1, 4) == {"runtime": 30, "mem_mb": 7500}  # four processes beside the notebook's own


def test_the_processes_of_a_notebook_count_in_the_memory_that_it_asks_for(tmp_path):
    project = make_project(tmp_path / "project")
    write_notebook(
        project / "notebooks/00_first.ipynb", [FINISH.format(name="00_first")], PARAMETERS + "jobs: int = 2\n"
    )
    (project / "notebooks/01_second.ipynb").unlink()
    (project / "notebooks/profiles.toml").write_text("[quick]")
    for setting, memory in ((["overrides=jobs=3"], 14150), (["overrides=jobs=1"], 6050), ([], 11450)):
        told = snakemake(project, "-n", "--cores", "2", "--config", "profile=quick", *setting)
        assert f"mem_mb={memory}" in told.stdout, told.stdout + told.stderr


@pytest.mark.parametrize("given, cores", [({"SLURM_CPUS_PER_TASK": "3"}, 3), ({}, 2)])
def test_a_job_on_a_cluster_has_the_cores_it_asked_for_however_many_its_node_has(project, given, cores):
    """More are refused by Slurm, and the job fails."""
    cells = ["import random; from companion import paths", "print('WORKERS', jobs)", FINISH.format(name="00_first")]
    write_notebook(project / "notebooks/00_first.ipynb", cells, PARAMETERS + "jobs: int = 2  # processes\n")
    job = ("--target-jobs", "00_first:", "--force", "--mode", "remote", "--cores", "8")
    told = snakemake(project, *job, "--config", "profile=quick", **given)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"threads: {cores}\n" in told.stderr
    assert f"WORKERS {cores}" in (project / "notebooks/executed/quick/00_first.ipynb").read_text()


@pytest.fixture
def settings_of_the_cluster(project):
    """Without the scheduler, which is not at hand."""
    text = (paths.ROOT / "profiles/slurm/config.yaml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("executor:", "jobs:", "slurm-"))]
    (project / "here").mkdir()
    (project / "here/config.yaml").write_text("\n".join(lines))
    return "--workflow-profile", "here", "--retries", "0", "--cores"


def test_on_a_cluster_what_is_done_stays_done_on_another_number_of_cores(project, settings_of_the_cluster):
    """As in a dry run, which Snakemake makes with one."""
    cells = ["import random; from companion import paths", FINISH.format(name="00_first")]
    write_notebook(project / "notebooks/00_first.ipynb", cells, PARAMETERS + "jobs: int = 2  # processes\n")
    assert snakemake(project, *settings_of_the_cluster, "2", "--config", "only=00").returncode == 0
    told = snakemake(project, *settings_of_the_cluster, "1", "--config", "only=00", "-n")
    assert "Nothing to be done" in told.stdout, told.stdout + told.stderr


def test_on_a_cluster_a_failed_notebook_keeps_no_other_from_running(project, settings_of_the_cluster):
    (project / "notebooks/profiles.toml").write_text("[quick]\n")
    write_notebook(project / "notebooks/00_first.ipynb", ["raise ValueError('no such table')"])
    told = snakemake(project, *settings_of_the_cluster, "1")
    assert told.returncode == 1
    assert "Notebook 00_first stopped in cell 2 with ValueError: no such table" in told.stderr
    assert [file.stem for file in (project / "data/results/quick").glob("*.json")] == ["01_second"]
    assert "toy.space.number" in (project / "figures/quick/REPORT.md").read_text()
