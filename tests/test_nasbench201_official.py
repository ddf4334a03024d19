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
from nas_201_api import NASBench201API
from nas_201_api.api_utils import ArchResults, ResultsCount

from latentnas import benchmarks, paths
from latentnas.benchmarks import nasbench201_official as module
from latentnas.benchmarks.download import DataError, DataUnreachable, fetch
from latentnas.benchmarks.nasbench201 import DATASETS, valid_column
from latentnas.benchmarks.nasbench201_official import (
    EVALUATIONS,
    archive_records,
    load_arrays,
    pth_records,
    read_records,
)
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
        for name in ("nats_meta", "nats_000000", "nats_000011"):
            fetch(name)
        return fetch("nats_000284").parent
    except DataUnreachable as error:
        pytest.skip(str(error))


def write(form: str, folder: Path, records: dict[int, dict]) -> Path:
    return write_pth(folder / "file.pth", records) if form == "pth" else write_archive(folder / "archive", records)


def read(path: Path) -> dict[str, np.ndarray]:
    """The values of a file or folder, which may lack architectures."""
    return read_records(archive_records(files_of(path)) if path.is_dir() else pth_records(path))


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.pickle.pbz2"))


# invented records


@pytest.mark.parametrize("form", ["pth", "archive"])
@pytest.mark.parametrize(
    "flavour", [{}, {"number": np.float64}, {"sparse": True}], ids=["floats", "numpy scalars", "last epoch only"]
)
def test_every_value_is_found(tmp_path, form, flavour):
    seeds = {0: (777, 888, 999), 1: (777, 999), 2: (888,)}
    found = read(write(form, tmp_path, {i: record(i, seeds[i], **flavour) for i in seeds}))
    assert SPACE.to_strings(SPACE.from_choices(found["choices"])) == TEXTS
    assert found["official_index"].tolist() == [0, 1, 2]
    for index, long_trained in seeds.items():
        for training_set, evaluations in EVALUATIONS.items():
            for evaluation in evaluations:
                for epochs, trained in ((12, (111,)), (200, long_trained)):
                    values = [accuracy(index, training_set, evaluation, epochs, seed) for seed in trained]
                    name = f"{training_set}/{evaluation}@{epochs}"
                    assert found[name][index] == pytest.approx(sum(values) / len(values), abs=1e-5), name
            assert found[f"{training_set}/train-seconds@200"][index] == 300
    for dataset in DATASETS:  # ascending by seed, and no third one is invented
        training_set = valid_column(dataset).partition("/")[0]
        for index, long_trained in seeds.items():
            runs = found[f"runs {valid_column(dataset)}"][index]
            expected = [accuracy(index, training_set, "x-valid", 200, seed) for seed in long_trained]
            assert runs.shape == (3,) and np.allclose(runs[: len(expected)], expected, atol=1e-5)
            assert np.isnan(runs[len(expected) :]).all()


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[n], second[n], equal_nan=True) for n in first)


@pytest.mark.slow
def test_scalars_written_by_numpy_1_are_read(tmp_path):
    """The official file is of 2020: a plain pickle whose scalars name a module that NumPy 2 renamed."""
    content = torch.load(write_pth(tmp_path / "new.pth", {0: record(0, number=np.float64)}), weights_only=False)
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    new_name, old_name = b"cnumpy._core.multiarray\nscalar", b"cnumpy.core.multiarray\nscalar"
    written = (tmp_path / "old.pth").read_bytes()
    assert new_name in written
    (tmp_path / "old.pth").write_bytes(written.replace(new_name, old_name))
    assert same(read(tmp_path / "old.pth"), read(tmp_path / "new.pth"))


@pytest.mark.parametrize("form", ["pth", "archive"])
def test_a_partial_file_is_refused(tmp_path, monkeypatch, form):
    monkeypatch.setenv(module.VARIABLE, str(write(form, tmp_path, {1: record(1)})))
    with pytest.raises(DataError, match="official table must have each of the 15,625 .*15,624 are missing"):
        benchmarks.load("nasbench201", "official")


def test_training_times_may_be_absent(tmp_path):
    """The older file has no times in its 200-epoch records."""
    state = record(0)
    for run in state["200"]["all_results"].values():
        run["train_times"] = None
    found = read(write("pth", tmp_path, {0: state}))
    assert np.isnan(found["cifar100/train-seconds@200"][0])
    assert found["cifar10/ori-test@200"][0] > 0


# where a table comes from


@pytest.fixture
def whole(monkeypatch):
    """Makes two records, read from a file or folder, count as those of all architectures; counts how often."""
    read_few, calls = module.read_records, []

    def read_all(records):
        few = read_few(records)
        calls.append(len(few["choices"]))
        every = {name: np.repeat(values[:1], 15_625, axis=0) for name, values in few.items()}
        return every | {"choices": SPACE.choices(SPACE.enumerate()), "official_index": np.arange(15_625)}

    monkeypatch.setattr(module, "read_records", read_all)
    return calls


@pytest.mark.parametrize("form", ["pth", "archive"])
def test_the_long_way_is_gone_once(tmp_path, monkeypatch, whole, form):
    path = write(form, tmp_path, {0: record(0)})
    monkeypatch.setenv(module.VARIABLE, str(path))
    first, again = (benchmarks.load("nasbench201", "official") for _ in range(2))
    assert whole == [1] and again.table.equals(first.table) and again.source == first.source
    assert first.source.name == "official" and first.files() == (files_of(path) if path.is_dir() else [path])
    assert first.signals[:2] == (valid_column("cifar10"), "cifar10/ori-test@200") and first.known.all()
    signal = valid_column("cifar10")
    assert np.array_equal(again.runs(signal), first.runs(signal)) and first.runs(signal).shape == (15_625, 3)
    write(form, tmp_path, {0: record(0, seeds=(777, 999))})  # other records are read anew
    benchmarks.load("nasbench201", "official")
    assert whole == [1, 1]


def test_a_record_under_a_wrong_number_is_refused_though_its_bytes_were_converted_before(tmp_path, monkeypatch, whole):
    folder = write("archive", tmp_path, {0: record(0)})
    monkeypatch.setenv(module.VARIABLE, str(folder))
    benchmarks.load("nasbench201", "official")
    (folder / "000000.pickle.pbz2").rename(folder / "000005.pickle.pbz2")
    with pytest.raises(DataError, match="000005.pickle.pbz2 is no whole .* record: its index is 0, not 5"):
        benchmarks.load("nasbench201", "official")


def test_the_official_files_are_found_by_their_variable(tmp_path, monkeypatch):
    monkeypatch.delenv(module.VARIABLE, raising=False)
    with pytest.raises(DataError, match='"official" needs NAS-Bench-201-v1_1.*Set LATENTNAS_NASBENCH201 to its path'):
        benchmarks.load("nasbench201", "official")
    monkeypatch.setenv(module.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="There is no file .*nowhere, which LATENTNAS_NASBENCH201 names") as error:
        benchmarks.load("nasbench201", "official")
    assert "\n" not in str(error.value)
    monkeypatch.setenv(module.VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match=f"The folder {tmp_path} has no records such as"):
        benchmarks.load("nasbench201", "official")


def test_memory_is_stated_before_reading(tmp_path, monkeypatch, capsys):
    path = write_pth(tmp_path / "file.pth", {0: record(0)})
    read(path)
    assert "needs about 0 GB of memory" in capsys.readouterr().err
    available = type("Memory", (), {"available": path.stat().st_size * 6})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available)
    with pytest.raises(DataError, match="needs about 0 GB of memory, and 0 GB are free.*LATENTNAS_NASBENCH201"):
        read(path)
    read(write_archive(tmp_path / "archive", {0: record(0)}))


# real records


def test_real_records_agree_with_the_public_table(real_archive, nasbench201):
    found = read(real_archive)
    rows = SPACE.index(SPACE.from_choices(found["choices"]))
    public = nasbench201.table.loc[rows]
    assert len(rows) == 3 and np.array_equal(public["official_index"], found["official_index"])
    shared = [name for name in found if name in public and "@" in name]
    seconds = [name for name in shared if "seconds" in name]
    assert len(shared) == 17 and len(seconds) == 3
    for name in shared:
        if name in seconds:
            assert np.allclose(found[name], public[name], rtol=1e-12)
        else:
            assert np.array_equal(found[name], public[name]), name
    # the single runs of CIFAR-10 are of the same signal in both
    signal = valid_column("cifar10")
    assert np.array_equal(found[f"runs {signal}"], nasbench201.runs(signal)[rows])


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


def test_real_records_read_as_by_the_package(real_archive, tmp_path):
    """The same three records as a `.pth` file, with the NumPy scalars they have."""
    records = {}
    for path in files_of(real_archive):
        with bz2.open(path) as file:
            records[int(path.name[:6])] = load_arrays(file, path)
    written = write_pth(tmp_path / "file.pth", records)
    found = read(written)
    assert same(found, read(real_archive))
    api = NASBench201API(torch.load(written, weights_only=False), verbose=False)
    for place, index in enumerate(found["official_index"].tolist()):
        runs = api.query_by_index(index, "cifar100", hp="200")
        values = [run.get_eval("x-test")["accuracy"] for run in runs.values()]
        assert found["cifar100/x-test@200"][place] == round(float(np.mean(values)), 5)
        assert np.sum(~np.isnan(found["runs cifar100/x-valid@200"][place])) == len(runs)


# damaged, foreign and hostile files


class Hostile:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("forced", [False, True])
def test_hostile_files_are_refused(tmp_path, monkeypatch, forced):
    """Also where the reader has turned PyTorch's own precaution off."""
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    target = tmp_path / "written"
    torch.save({"meta_archs": [], "arch2infos": Hostile(target), "evaluated_indexes": []}, tmp_path / "file.pth")
    with pytest.raises(DataError, match=r"file.pth is cut off or no official .*nothing but numbers"):
        read(tmp_path / "file.pth")
    write_archive(tmp_path / "archive", {0: record(0) | {"200": Hostile(target)}})
    with pytest.raises(DataError, match=r"000000.pickle.pbz2 is .* asks for .*pathlib.*could run code"):
        read(tmp_path / "archive")
    assert not target.exists()


def test_damaged_official_files_are_named(tmp_path):
    whole = write_pth(tmp_path / "whole.pth", {0: record(0)}).read_bytes()
    path = tmp_path / "file.pth"
    for damaged in (whole[: len(whole) // 2], whole[:-100], b"", b"<html>not found</html>", pickle.dumps([1, 2], 2)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"file.pth is cut off or no official") as error:
            read(path)
        assert "\n" not in str(error.value)
    for foreign in ([1, 2], {"state_dict": {}}, {"meta_archs": [], "arch2infos": {0: {}}, "evaluated_indexes": [0]}):
        torch.save(foreign, path)
        with pytest.raises(DataError, match="file.pth is cut off or no official"):
            read(path)


def test_damaged_archives_are_named(tmp_path):
    folder = write_archive(tmp_path / "archive", {0: record(0)})
    path = folder / "000000.pickle.pbz2"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no archive", bz2.compress(b"no pickle")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="000000.pickle.pbz2 is cut off or no pickle"):
            read(folder)


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
        read(write("archive", tmp_path, {0: spoiled(change)}))


@pytest.mark.parametrize("value", [float("nan"), -0.5, 100.5])
def test_an_accuracy_that_is_no_percentage_is_refused(tmp_path, value):
    state = spoiled(lambda s, r: r["cifar100", 888]["eval_acc1es"].update({"x-test@199": value}))
    with pytest.raises(DataError, match="a run on cifar100 lacks the accuracy x-test@199, or has one that is no perc"):
        read(write("archive", tmp_path, {0: state}))


def test_an_architecture_twice_is_refused(tmp_path, monkeypatch):
    state = record(0)
    twice = copy.deepcopy(state)
    twice["200"]["arch_index"] = 1
    monkeypatch.setenv(module.VARIABLE, str(write("archive", tmp_path, {0: state, 1: twice})))
    with pytest.raises(DataError, match="15,624 are missing and 1 given more than once"):
        benchmarks.load("nasbench201", "official")
