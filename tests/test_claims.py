"""Claims judge numbers correctly and results files repeat byte for byte, whatever goes wrong around them."""

import json

import numpy as np
import pandas as pd
import pytest

from companion import claims, paths
from companion.claims import Claim, Results, load_results
from companion.notebooks import UsageError, code_cells_hash
from toy_project import PARAMETERS, write_notebook


@pytest.fixture(autouse=True)
def results_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    write_notebook(tmp_path / "notebooks/02_x.ipynb", ["from companion import claims"])
    return tmp_path / "results"


@pytest.mark.parametrize(
    "ours, details, verdict",
    [
        (99.99, {"paper": 99.99, "printed_in": "Table 1"}, "met"),
        (99.95, {"paper": 99.99, "printed_in": "Table 1"}, "short of the paper"),
        (99.95, {"paper": 99.99, "printed_in": "Table 1", "tolerance": 0.05}, "met"),
        (0.2, {"paper": 0.357, "printed_in": "Fig. 4", "better": "lower"}, "met"),
        (0.2, {"paper": 0.357, "printed_in": "Fig. 4", "better": "lower", "target": 0.18}, "short of the target"),
        (0.4, {"paper": 0.357, "printed_in": "Fig. 4", "better": "lower"}, "short of the paper"),
        (0.4, {}, "no published value"),
        (0.4, {"target": 0.5}, "short of the target"),
        (None, {"paper": 1.0, "printed_in": "Table 1"}, "not measured"),
        (float("nan"), {"paper": 1.0, "printed_in": "Table 1"}, "not measured"),
        (float("inf"), {"target": 100.0, "better": "lower"}, "not reached"),
    ],
)
def test_verdict(ours, details, verdict):
    assert Claim("ngae.enas.rmse_std", ours, "%", **details).verdict == verdict


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"id": "validity", "ours": 1.0, "unit": "%"}, "id"),
        ({"id": "NGAE.enas.x", "ours": 1.0, "unit": "%"}, "id"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "paper": 2.0}, "printed_in"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "better": "bigger"}, "better"),
    ],
)
def test_a_claim_that_cannot_be_read_is_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        Claim(**arguments)


def values(seed=0, profile="quick"):
    """`globals()` of a notebook: its parameters and anything else."""
    return {"profile": profile, "data_source": "public", "seed": seed, "other": object()}


def test_seeds_of_any_kind_of_integer():
    assert Claim("a.b.c", 1.0, "%", seeds=np.int64(3)).seeds == (3,)
    assert Claim("a.b.c", 1.0, "%", seeds=np.arange(3)).seeds == (0, 1, 2)
    assert Claim("a.b.c", 1.0, "%", seeds=range(2)).seeds == (0, 1)


def test_every_declared_parameter_is_recorded_and_nothing_else():
    results = Results("02_x", values(seed=4))
    assert (results.profile, results.data_source, results.parameters) == ("quick", "public", {"seed": 4})
    write_notebook(paths.NOTEBOOKS / "02_x.ipynb", [], PARAMETERS + "sizes: list[int] = [1]  # of models\n")
    assert Results("02_x", values() | {"sizes": [2, 3]}).parameters == {"seed": 0, "sizes": [2, 3]}
    with pytest.raises(UsageError, match="parameter sizes"):
        Results("02_x", values())
    with pytest.raises(UsageError, match=r"03_x\.ipynb"):
        Results("03_x", values())


def test_the_manifest_says_which_code_it_was():
    code = json.loads(make().write().read_text())["manifest"]["code"]
    assert code["cells"] == code_cells_hash(paths.NOTEBOOKS / "02_x.ipynb")
    write_notebook(paths.NOTEBOOKS / "02_x.ipynb", ["from companion import claims, report"])
    other = json.loads(make().write().read_text())["manifest"]["code"]
    assert other["cells"] != code["cells"] and other["library"] != code["library"]


def make(seed=0, profile="quick"):
    results = Results("02_x", values(seed, profile))
    results.claim(
        "ngae.enas.validity", 100 / 3 + seed, "%", paper=33.0, printed_in="Table 1", low=33, high=34, seeds=[seed]
    )
    results.frame("table", pd.DataFrame({"x": [1 / 3, 2.0], "name": ["a", "b"]}))
    return results


def test_same_seed_same_bytes_apart_from_the_manifest(results_folder):
    contents = []
    for _ in range(2):
        contents.append(make().write().read_text())
        assert (results_folder / "quick/02_x/table.csv").read_bytes() == b"x,name\n0.3333333333,a\n2,b\n"
    first, second = (text.partition('"manifest"')[0] for text in contents)
    assert first == second and '"claims"' in first and '"frames"' in first
    assert make(seed=1).write().read_text().partition('"manifest"')[0] != first


def test_what_is_loaded_is_what_was_written():
    make().write()
    content = load_results("quick")["02_x"]
    assert content["claims"][0]["ours"] == pytest.approx(100 / 3)
    assert content["claims"][0]["verdict"] == "met"
    assert content["frames"]["table"]["rows"] == 2
    assert {"git", "versions", "device", "data", "wall_seconds", "peak_memory_mb"} <= set(content["manifest"])
    assert load_results("paper") == {}


def test_manifest_names_data_by_checksum(tmp_path):
    files = [tmp_path / name for name in ("raw.txt", "one/table.csv", "two/table.csv")]
    for number, file in enumerate(files):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"abc"[number:])
    results = Results("02_x", values(), data_files=files)
    manifest = json.loads(results.write().read_text())["manifest"]
    assert list(manifest["data"]) == ["raw.txt", "one/table.csv", "two/table.csv"]
    assert manifest["data"]["raw.txt"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert len(set(manifest["data"].values())) == 3
    assert str(tmp_path) not in json.dumps(manifest)


def test_the_same_claim_twice_and_odd_frame_names_are_refused():
    results = make()
    with pytest.raises(ValueError, match="twice"):
        results.claim("ngae.enas.validity", 1.0, "%")
    with pytest.raises(ValueError, match="frame name"):
        results.frame("../table", pd.DataFrame())


def test_a_failing_write_leaves_the_old_file(results_folder, monkeypatch):
    path = make().write()
    before = path.read_bytes()

    def full_disk(*arguments, **keywords):
        raise OSError("no space left on device")

    monkeypatch.setattr(claims.json, "dumps", full_disk)
    with pytest.raises(OSError):
        make(seed=1).write()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == ["02_x.json"]


def test_a_broken_results_file_is_named(results_folder):
    path = make().write()
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match="02_x.json"):
        load_results("quick")
