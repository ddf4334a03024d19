"""The official NAS-Bench-201 files: invented records, three real ones, damaged and hostile files.

The records made here have the layout of the official ones and invented numbers.
"""

import bz2
import copy
import pickle
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from nas_201_api.api_utils import ArchResults, ResultsCount

from latentnas import benchmarks, paths
from latentnas.benchmarks import nasbench201_official as module
from latentnas.benchmarks.download import DataError, DataUnreachable, fetch
from latentnas.benchmarks.nasbench201 import valid_column
from latentnas.benchmarks.nasbench201_official import EVALUATIONS, load_archive, load_pth
from latentnas.benchmarks.pickles import load_arrays
from latentnas.interfaces import check_benchmark
from latentnas.spaces.nasbench201 import NASBENCH201 as SPACE

TEXTS = [
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
]
ROWS = SPACE.index(SPACE.to_batch(TEXTS))


def accuracy(index: int, training_set: str, evaluation: str, epochs: int, seed: int) -> float:
    """An invented accuracy after the last epoch, different for every combination."""
    place = [(t, e) for t, es in EVALUATIONS.items() for e in es].index((training_set, evaluation))
    return 30.0 + 10 * index + place + epochs / 1000 + seed / 100_000


def result(index, training_set, epochs, seed, number, sparse) -> ResultsCount:
    """One training of one architecture, made with the package's own class. `number` makes every value."""
    config = {"channel": 16, "num_cells": 5, "arch_str": TEXTS[index], "class_num": 10}
    run = ResultsCount(training_set, None, {}, {}, number(0.1), number(15.6), config, seed, epochs, [number(0.02)])
    every = range(epochs)
    run.update_train_info(*[{epoch: number(1.5) for epoch in every} for _ in range(4)])
    for evaluation in EVALUATIONS[training_set]:
        final = accuracy(index, training_set, evaluation, epochs, seed)
        values = {f"{evaluation}@{epoch}": number(final - (epochs - 1 - epoch) / 10) for epoch in every}
        if sparse:
            last = f"{evaluation}@{epochs - 1}"
            run.eval_names.append(evaluation)
            run.eval_acc1es[last] = run.eval_losses[last] = run.eval_times[last] = values[last]
        else:
            run.update_eval(values, values, values)
    return run


def record(index: int, seeds=(777, 888, 999), number=float, sparse=False) -> dict:
    """The state of one architecture after 12 epochs (one seed) and after 200."""
    schedules = {}
    for epochs, trained in ((12, (111,)), (200, seeds)):
        results = ArchResults(index, TEXTS[index])
        for training_set in EVALUATIONS:
            for seed in trained:
                results.update(training_set, seed, result(index, training_set, epochs, seed, number, sparse))
        schedules[str(epochs)] = results.state_dict()
    return schedules


def write_pth(path: Path, records: dict[int, dict], listed=None) -> Path:
    """A file as the NAS-Bench-201 paper's."""
    infos = {index: {"less": state["12"], "full": state["200"]} for index, state in records.items()}
    content = {"meta_archs": TEXTS, "total_archs": len(TEXTS), "arch2infos": infos}
    torch.save(content | {"evaluated_indexes": list(infos if listed is None else listed)}, path)
    return path


def write_archive(folder: Path, records: dict[int, dict]) -> Path:
    """A folder as NATS-Bench's."""
    folder.mkdir(exist_ok=True)
    for index, state in records.items():
        (folder / f"{index:06d}.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(state, 4)))
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """The folder of NATS-Bench's three real records."""
    try:
        for name in ("nats_bench_meta", "nats_bench_000000", "nats_bench_000011"):
            fetch(name)
        return fetch("nats_bench_000284").parent
    except DataUnreachable as error:
        pytest.skip(str(error))


def load(form: str, folder: Path, records: dict[int, dict], **options):
    if form == "pth":
        return load_pth(write_pth(folder / "file.pth", records), **options)
    return load_archive(write_archive(folder / "archive", records), **options)


# invented records


@pytest.mark.parametrize("form", ["pth", "archive"])
@pytest.mark.parametrize(
    "flavour", [{}, {"number": np.float64}, {"sparse": True}], ids=["floats", "numpy scalars", "last epoch only"]
)
def test_every_value_is_found(tmp_path, form, flavour):
    seeds = {0: (777, 888, 999), 1: (777, 999), 2: (888,)}
    loaded = load(form, tmp_path, {i: record(i, seeds[i], **flavour) for i in seeds}, allow_missing=True)
    table = loaded.table.loc[ROWS]
    for index, long_trained in seeds.items():
        found = table.iloc[index]
        assert found["arch"] == TEXTS[index] and found["official_index"] == index
        for training_set, evaluations in EVALUATIONS.items():
            for evaluation in evaluations:
                for epochs, trained in ((12, (111,)), (200, long_trained)):
                    values = [accuracy(index, training_set, evaluation, epochs, seed) for seed in trained]
                    name = f"{training_set}/{evaluation}@{epochs}"
                    assert found[name] == pytest.approx(sum(values) / len(values), abs=1e-5), name
            assert found[f"{training_set}/train-seconds@200"] == 300
    runs = loaded.runs(valid_column("cifar100"))[ROWS]  # ascending by seed, and no third one is invented
    expected = [[accuracy(i, "cifar100", "x-valid", 200, seed) for seed in seeds[i]] for i in seeds]
    assert np.allclose(runs[0], expected[0], atol=1e-5)
    assert np.allclose(runs[1, :2], expected[1], atol=1e-5) and np.isnan(runs[1, 2])
    assert np.allclose(runs[2, 0], expected[2], atol=1e-5) and np.isnan(runs[2, 1:]).all()
    noise = loaded.noise(valid_column("cifar100"))[ROWS]
    assert np.allclose(noise[:2], [np.std(values, ddof=1) for values in expected[:2]], atol=1e-5)
    assert np.isnan(noise[2])


def test_scalars_written_by_numpy_1_are_read(tmp_path):
    """The official file is of 2020: a plain pickle whose scalars name a module that NumPy 2 renamed."""
    content = torch.load(write_pth(tmp_path / "new.pth", {0: record(0, number=np.float64)}), weights_only=False)
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    new_name, old_name = b"cnumpy._core.multiarray\nscalar", b"cnumpy.core.multiarray\nscalar"
    written = (tmp_path / "old.pth").read_bytes()
    assert new_name in written
    (tmp_path / "old.pth").write_bytes(written.replace(new_name, old_name))
    old = load_pth(tmp_path / "old.pth", allow_missing=True)
    assert old.table.equals(load_pth(tmp_path / "new.pth", allow_missing=True).table)


@pytest.mark.parametrize("form", ["pth", "archive"])
def test_a_partial_table_says_what_it_knows(tmp_path, form):
    loaded = load(form, tmp_path, {0: record(0), 2: record(2)}, allow_missing=True)
    assert np.flatnonzero(loaded.known).tolist() == sorted(ROWS[[0, 2]])
    assert len(loaded) == len(loaded.batch) == 15_625 and loaded.table["cifar10/params"].notna().all()
    measured = loaded.table.filter(regex="@")
    assert measured[loaded.known].notna().all().all() and measured[~loaded.known].isna().all().all()
    assert (loaded.table["official_index"][~loaded.known] == -1).all()
    found = loaded.query(SPACE.to_batch(TEXTS))
    assert found["row"].tolist() == [ROWS[0], -1, ROWS[2]] and found["known"].tolist() == [True, False, True]
    assert found["official_index"][[0, 2]].tolist() == [0, 2] and found.iloc[1, 2:].isna().all()
    assert {loaded.optimum(signal) for signal in loaded.signals} == {ROWS[2]}
    check_benchmark(loaded)


@pytest.mark.parametrize("form", ["pth", "archive"])
def test_a_partial_file_is_refused_unless_asked_for(tmp_path, form):
    with pytest.raises(DataError, match="has 1 of the 15,625 architectures.*Get the whole file"):
        load(form, tmp_path, {1: record(1)})


def test_training_times_may_be_absent(tmp_path):
    """The older file has no times in its 200-epoch records."""
    state = record(0)
    for run in state["200"]["all_results"].values():
        run["train_times"] = None
    found = load("pth", tmp_path, {0: state}, allow_missing=True).table.loc[ROWS[0]]
    assert np.isnan(found["cifar100/train-seconds@200"])
    assert found["cifar10/ori-test@200"] > 0


# where a table comes from


def test_sources_are_recorded(tmp_path):
    official = load("pth", tmp_path, {0: record(0)}, allow_missing=True)
    nats = load("archive", tmp_path, {0: record(0)}, allow_missing=True)
    assert official.source.name == nats.source.name == "official" and official.files() == [tmp_path / "file.pth"]
    assert nats.files() == [tmp_path / "archive/000000.pickle.pbz2"] and all(path.is_file() for path in nats.files())
    assert any("NATS" in c for c in nats.source.citations) and official.source.citations != nats.source.citations


def test_the_official_files_are_found_by_their_variable(tmp_path, monkeypatch):
    monkeypatch.delenv(module.VARIABLE, raising=False)
    with pytest.raises(DataError, match='"official" needs NAS-Bench-201-v1_1.*Set LATENTNAS_NASBENCH201 to its path'):
        benchmarks.load("nasbench201", "official")
    monkeypatch.setenv(module.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="There is no file .*nowhere, which LATENTNAS_NASBENCH201 names") as error:
        benchmarks.load("nasbench201", "official")
    assert "\n" not in str(error.value)
    for path in (write_pth(tmp_path / "file.pth", {0: record(0)}), write_archive(tmp_path / "archive", {0: record(0)})):
        monkeypatch.setenv(module.VARIABLE, str(path))
        with pytest.raises(DataError, match="official has 1 of the 15,625 architectures"):
            benchmarks.load("nasbench201", "official")


@pytest.mark.parametrize("form", ["pth", "archive"])
def test_the_long_way_is_gone_once(tmp_path, form, monkeypatch):
    first = load(form, tmp_path, {0: record(0)}, allow_missing=True)
    for reader in ("_pth_records", "_archive_records"):
        monkeypatch.setattr(module, reader, None)
    again = load(form, tmp_path, {0: record(0)}, allow_missing=True)
    assert again.table.equals(first.table) and again.source == first.source
    assert np.array_equal(again.runs(valid_column("cifar10")), first.runs(valid_column("cifar10")), equal_nan=True)
    with pytest.raises(TypeError):  # other records are read anew
        load(form, tmp_path, {1: record(1)}, allow_missing=True)


def test_memory_is_stated_before_reading(tmp_path, monkeypatch, capsys):
    path = write_pth(tmp_path / "file.pth", {0: record(0)})
    monkeypatch.setattr(module, "WORTH_A_LINE", 0)
    load_pth(path, allow_missing=True)
    assert "needs about 0 GB of memory" in capsys.readouterr().out
    available = type("Memory", (), {"available": path.stat().st_size * 6})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available)
    path.write_bytes(path.read_bytes() + b"\0")  # another file, so nothing kept is used
    with pytest.raises(DataError, match="needs about 0 GB of memory, and 0 GB are free.*LATENTNAS_NASBENCH201"):
        load_pth(path, allow_missing=True)
    write_archive(tmp_path / "archive", {0: record(0)})
    load_archive(tmp_path / "archive", allow_missing=True)
    assert "1 records take about two minutes" in capsys.readouterr().out


# real records


def test_real_records_agree_with_the_public_table(real_archive, nasbench201):
    loaded = load_archive(real_archive, allow_missing=True)
    rows = np.flatnonzero(loaded.known)
    assert len(rows) == 3
    shared = [name for name in loaded.table if name in nasbench201.table and "seconds" not in name]
    assert len(shared) == 23
    assert loaded.table.loc[rows, shared].equals(nasbench201.table.loc[rows, shared])
    seconds = [name for name in loaded.table if name in nasbench201.table and "seconds" in name]
    assert len(seconds) == 3
    assert np.allclose(loaded.table.loc[rows, seconds], nasbench201.table.loc[rows, seconds], rtol=1e-12)
    # the single runs of CIFAR-10 are of the same signal in both
    assert np.array_equal(*(table.runs(valid_column("cifar10"))[rows] for table in (loaded, nasbench201)))


def test_real_records_have_the_stated_cost_and_the_official_order(real_archive, nasbench201):
    with bz2.open(real_archive / "meta.pickle.pbz2") as file:
        texts = load_arrays(file, real_archive)["meta_archs"]
    assert nasbench201.table.sort_values("official_index")["arch"].tolist() == texts
    for index in (0, 11, 284):
        with bz2.open(real_archive / f"{index:06d}.pickle.pbz2") as file:
            results = load_arrays(file, real_archive)["200"]["all_results"]
        for (training_set, _), run in results.items():
            dataset = training_set.removesuffix("-valid")
            cell = SPACE.to_batch([texts[index]])
            assert round(run["flop"] * 1e6) == SPACE.flops(cell, dataset)
            assert round(run["params"] * 1e6) == SPACE.params(cell, dataset)


def test_real_records_through_the_package(real_archive, tmp_path):
    """The same three records as a `.pth` file, with the NumPy scalars they have."""
    records = {}
    for index in (0, 11, 284):
        path = real_archive / f"{index:06d}.pickle.pbz2"
        with bz2.open(path) as file:
            records[index] = load_arrays(file, path)
    through_package = load_pth(write_pth(tmp_path / "file.pth", records), allow_missing=True)
    streamed = load_archive(real_archive, allow_missing=True)
    assert through_package.table.equals(streamed.table)


# damaged, foreign and hostile files


class Hostile:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_hostile_files_are_refused(tmp_path):
    target = tmp_path / "written"
    torch.save({"meta_archs": [], "arch2infos": Hostile(target), "evaluated_indexes": []}, tmp_path / "file.pth")
    with pytest.raises(DataError, match=r"file.pth is cut off or no official .*nothing but numbers"):
        load_pth(tmp_path / "file.pth")
    write_archive(tmp_path / "archive", {0: record(0) | {"200": Hostile(target)}})
    with pytest.raises(DataError, match=r"000000.pickle.pbz2 asks for .*pathlib.*could run code"):
        load_archive(tmp_path / "archive")
    assert not target.exists()


def test_damaged_official_files_are_named(tmp_path):
    whole = write_pth(tmp_path / "whole.pth", {0: record(0)}).read_bytes()
    path = tmp_path / "file.pth"
    for damaged in (whole[: len(whole) // 2], whole[:-100], b"", b"<html>not found</html>", pickle.dumps([1, 2], 2)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"file.pth is cut off or no official") as error:
            load_pth(path, allow_missing=True)
        assert "\n" not in str(error.value)
    for foreign in ([1, 2], {"state_dict": {}}, {"meta_archs": [], "arch2infos": {0: {}}, "evaluated_indexes": [0]}):
        torch.save(foreign, path)
        with pytest.raises(DataError, match="file.pth is cut off or no official"):
            load_pth(path, allow_missing=True)
    write_pth(path, {})
    with pytest.raises(DataError, match="has no records"):
        load_pth(path, allow_missing=True)
    write_pth(path, {0: record(0)}, listed=[0, 2])
    with pytest.raises(DataError, match="lists architecture 2 but has no record"):
        load_pth(path, allow_missing=True)


def test_damaged_archives_are_named(tmp_path):
    folder = write_archive(tmp_path / "archive", {0: record(0)})
    path = folder / "000000.pickle.pbz2"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no archive", bz2.compress(b"no pickle")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="000000.pickle.pbz2 is cut off or no pickle"):
            load_archive(folder, allow_missing=True)
    with pytest.raises(DataError, match="nowhere has no records such as"):
        load_archive(tmp_path / "nowhere")


def spoiled(change) -> dict:
    state = copy.deepcopy(record(0))
    change(state, state["200"]["all_results"])
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, r: s.pop("12"), "'12'"),
        (lambda s, r: s.update({"200": [1]}), "list indices"),
        (lambda s, r: s["200"].update(arch_str="|none~0|"), "Not a NAS-Bench-201 architecture"),
        (lambda s, r: s["200"].update(arch_index=5), "its index is 5, not 0"),
        (lambda s, r: [r.pop(("cifar100", seed)) for seed in (777, 888, 999)], "0 runs of 200 epochs on cifar100"),
        (lambda s, r: r.update({("cifar10", 1): r["cifar10", 777]}), "4 runs of 200 epochs on cifar10"),
        (lambda s, r: r["cifar100", 888]["eval_acc1es"].pop("x-test@199"), "cifar100 lacks the accuracy x-test@199"),
        (lambda s, r: r["cifar100", 888].pop("eval_acc1es"), "'eval_acc1es'"),
        (lambda s, r: r["cifar10", 999].update(train_times=7), "int"),
    ],
)
def test_records_that_are_not_whole_are_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=f"000000.pickle.pbz2 is no whole NAS-Bench-201 record: .*{message}"):
        load("archive", tmp_path, {0: spoiled(change)}, allow_missing=True)


def test_an_accuracy_that_is_no_number_is_refused(tmp_path):
    state = spoiled(lambda s, r: r["cifar100", 888]["eval_acc1es"].update({"x-test@199": float("nan")}))
    with pytest.raises(DataError, match="no accuracy cifar100/x-test@200 for 1 of 1 architectures"):
        load("archive", tmp_path, {0: state}, allow_missing=True)


def test_an_architecture_twice_is_refused(tmp_path):
    state = record(0)
    twice = copy.deepcopy(state)
    twice["200"]["arch_index"] = 1
    with pytest.raises(DataError, match=r"has the architecture .* more than once"):
        load("archive", tmp_path, {0: state, 1: twice}, allow_missing=True)
