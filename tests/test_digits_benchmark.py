"""The bundled table of cells: its loader, on invented numbers, and the table that is shipped."""

import json
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pooch
import pytest

from latentnas import benchmarks, paths
from latentnas.benchmarks.digits import (
    ALONE_FILE,
    CELL_FILE,
    EPOCHS,
    FLOPS,
    PARAMS,
    SHARED_FILE,
    TEST,
    VALID,
    load_from_scratch,
)
from latentnas.benchmarks.download import BUNDLED, DataError
from latentnas.measure import tables
from latentnas.measure.relabel import shared_labels
from latentnas.measure.tables import SCHEDULE, Setting, cell_groups, measure_again, score_cells
from latentnas.measure.train import Schedule
from latentnas.parallel import kept
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench201 import NASBENCH201


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A complete table; a test may change it and call `write`."""
    monkeypatch.setattr(paths, "BUNDLED", tmp_path)
    monkeypatch.setitem(BUNDLED, CELL_FILE, "")
    rows = NASBENCH201.representatives()
    columns = [f"{part}_{seed}" for part in ("valid", "test") for seed in range(3)]
    values = np.random.default_rng(0).uniform(10, 90, (len(rows), len(columns))).round(3)
    return pd.DataFrame(values, columns=columns).assign(row=rows, seconds=0.5)


def write(table):
    table.to_csv(paths.BUNDLED / CELL_FILE, index=False)
    BUNDLED[CELL_FILE] = pooch.file_hash(str(paths.BUNDLED / CELL_FILE))


def test_every_cell_has_the_measurement_of_its_class(table):
    write(table.sample(frac=1, random_state=0))  # in any order
    benchmark = benchmarks.load("nasbench201", "bundled")
    classes = NASBENCH201.canonical(NASBENCH201.enumerate())
    row = 12_345
    first = NASBENCH201.representatives()[classes[row]]
    measured = table.set_index("row").loc[first]
    assert benchmark.runs(VALID)[row].tolist() == measured[["valid_0", "valid_1", "valid_2"]].tolist()
    assert benchmark.table[TEST][row] == pytest.approx(measured[["test_0", "test_1", "test_2"]].mean())
    assert benchmark.noise(TEST)[row] == pytest.approx(measured[["test_0", "test_1", "test_2"]].std())
    assert len(benchmark) == 15_625 and (benchmark.table["class"] == classes).all()


def test_optimum_and_query(table):
    table.loc[100, ["valid_0", "valid_1", "valid_2"]] = 99.0
    table.loc[200, ["test_0", "test_1", "test_2"]] = 99.0
    write(table)
    benchmark = benchmarks.load("nasbench201", "bundled")
    assert benchmark.optimum(VALID) == table["row"][100] and benchmark.labels(VALID).max() == 99.0
    assert benchmark.optimum(TEST) == table["row"][200] and benchmark.labels(TEST).max() == 99.0
    found = benchmark.query(benchmark.batch[[table["row"][200], 0]])
    assert found["row"].tolist() == [table["row"][200], 0] and found[TEST][0] == 99.0 and found["known"].all()
    assert list(found) == ["row", "known", *benchmark.table] and benchmark.tasks["digits"][:2] == (VALID, TEST)
    with pytest.raises(ValueError, match=f"no signal 'digits/train'; it has {VALID}, {TEST}.$"):
        benchmark.labels("digits/train")
    with pytest.raises(ValueError, match=f"no single runs of 'params'; it has those of {VALID}, {TEST}.$"):
        benchmark.noise("params")


def test_the_stated_network_is_the_one_that_is_trained(table):
    write(table)
    benchmark = benchmarks.load("nasbench201", "bundled")
    assert SCHEDULE.epochs == EPOCHS
    [row] = NASBENCH201.index(NASBENCH201.from_choices([[3, 0, 4, 1, 2, 3]]))  # one 1x1, two 3x3 convolutions
    for column, (fixed, conv1x1, conv3x3) in (("params", PARAMS), ("flops", FLOPS)):
        assert benchmark.table[column][row] == fixed + conv1x1 + 2 * conv3x3
        assert benchmark.table[column].min() == fixed  # a test of measure.cells holds these to the network


@pytest.mark.parametrize(
    ("name", "load"),
    [
        (CELL_FILE, lambda: benchmarks.load("nasbench201", "bundled")),
        (SHARED_FILE, lambda: benchmarks.load("enas", "bundled")),
        (SHARED_FILE, load_from_scratch),
        (ALONE_FILE, load_from_scratch),
        *[(file, partial(tables.load_shared, layers)) for layers, file in tables.WEIGHTS_FILES.items()],
    ],
)
def test_a_bundled_file_that_is_not_as_published_is_named(tmp_path, monkeypatch, name, load):
    whole = (paths.BUNDLED / name).read_bytes()
    shutil.copytree(paths.BUNDLED, tmp_path / "bundled")
    monkeypatch.setattr(paths, "BUNDLED", tmp_path / "bundled")
    path, middle = tmp_path / "bundled" / name, len(whole) // 2
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 193391\n"
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (whole[:middle], flipped, whole + b"\n", b"", pointer):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{path} is damaged or not the right one.*Check it out") as error:
            load()
        assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(DataError, match=f"{path} cannot be read: No such file.*Check it out"):
        load()
    path.mkdir()
    with pytest.raises(DataError, match=f"{path} cannot be read: Is a directory.*Check it out"):
        load()


def test_every_bundled_file_has_a_checksum():
    assert sorted(BUNDLED) == sorted(path.name for path in paths.BUNDLED.iterdir())


def test_an_accuracy_that_is_no_percentage_is_refused(table):
    write(table.assign(valid_2=table["valid_2"].where(table.index != 13, 500.0)))
    with pytest.raises(ValueError, match=f"{VALID} of a table of nasbench201 are not all percentages: that of row"):
        benchmarks.load("nasbench201", "bundled")


# the table that is shipped


@pytest.fixture(scope="module")
def shipped():
    return benchmarks.load("nasbench201", "bundled")


@pytest.fixture(scope="module")
def connected_classes():
    rows = NASBENCH201.representatives()
    return rows[NASBENCH201.connected(NASBENCH201.enumerate()[rows]).numpy()]


@pytest.mark.parametrize("column", [VALID, TEST])
def test_seeds_agree_on_the_order_of_cells(shipped, connected_classes, column):
    runs = pd.DataFrame(shipped.runs(column)[connected_classes])
    assert runs.corr("spearman").to_numpy().min() >= 0.90
    mean = runs.mean(axis=1)
    assert mean.max() - mean.median() > 3 * shipped.noise(column)[connected_classes].mean()


def test_disconnected_cells_only_guess(shipped):
    connected = NASBENCH201.connected(NASBENCH201.enumerate()).numpy()
    assert shipped.table[TEST][~connected].between(5, 15).all()  # ten classes of images
    assert shipped.table[TEST][connected].min() > 15


@pytest.mark.slow
def test_a_group_of_rows_comes_out_again(shipped):
    """On the same kind of machine to the last bit; elsewhere no farther than seeds are from each other."""
    _, rows = cell_groups()[0]
    again = score_cells(NASBENCH201.enumerate()[rows], seed=1)
    for part, column in (("valid", VALID), ("test", TEST)):
        stored = shipped.runs(column)[rows]
        difference = np.abs(again[part].to_numpy() - stored[:, 1]).mean()
        assert difference < 1.5 * np.abs(stored[:, 0] - stored[:, 1]).mean()
    seconds = shipped.table["train-seconds"][rows]
    assert (seconds > 0).all() and (shipped.table[["params", "flops"]].loc[rows] > 0).all(axis=None)


def test_cells_are_trained_again_by_class_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    classes, first = NASBENCH201.canonical(NASBENCH201.enumerate()), NASBENCH201.representatives()
    row = next(row for row in range(NASBENCH201.size) if first[classes[row]] < row)
    short = Setting(schedule=Schedule(epochs=1))
    monkeypatch.setattr(tables, "score_cells", lambda cells, seed, setting: score_cells(cells, seed, short))
    again = measure_again([row, first[classes[row]], row], seeds=[3], jobs=1)
    expected = score_cells(NASBENCH201.enumerate()[first[classes[[row]]]], seed=3, setting=short)
    assert again[["row", "seed"]].to_numpy().tolist() == [[first[classes[row]], 3]]
    assert again[["valid", "test"]].to_numpy() == pytest.approx(expected[["valid", "test"]].to_numpy())
    monkeypatch.setattr(tables, "cell_group", None)
    assert measure_again([row], seeds=[3], jobs=1).equals(again)  # read, not trained
    with pytest.raises(ValueError, match="Seed 2 is one of the table's own"):
        measure_again([row], seeds=[3, 2], jobs=1)


def test_a_damaged_part_of_a_measurement_is_set_aside_and_measured_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    table = benchmarks.load("enas", "bundled")
    labels = shared_labels(table.batch[:2], jobs=1)
    [file] = tmp_path.rglob("*.json")
    whole = file.read_bytes()
    cut = json.dumps(json.loads(whole) | {"answer": {"valid": [labels[0]]}}).encode()  # one line less
    for damaged in (b"", whole[:-9], cut, b"valid\n80.0\n", b"\xff\xfe\x00"):
        file.write_bytes(damaged)
        assert np.array_equal(shared_labels(table.batch[:2], jobs=1), labels)
        assert f"{file} is damaged" in capsys.readouterr().err and file.with_name(f"{file.name}.damaged").exists()


def test_shared_weights_of_other_depths_are_not_there():
    with pytest.raises(ValueError, match=r"shared weights for \[6, 8, 12\] layers, not for 7"):
        tables.load_shared(7)


def test_any_graphs_get_labels_of_the_shared_weights_which_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    monkeypatch.setattr("latentnas.measure.relabel.AT_ONCE", 2)
    table = benchmarks.load("enas", "bundled")
    rows = [7, 3, 11]
    labels = table.accuracy.numpy()[rows]
    assert shared_labels(table.batch[rows], jobs=1) == pytest.approx(labels, abs=1e-9)  # as those of the table
    _, second = sorted(tmp_path.rglob("*.json"))
    second.unlink()
    kept(second, lambda: {"valid": [12.5]}, ())
    assert shared_labels(table.batch[rows], jobs=1).tolist() == [*labels[:2], 12.5]  # read, not measured
    assert shared_labels(table.batch[rows[:2]], jobs=1) == pytest.approx(labels[:2])  # other graphs, other files


def test_shared_weights_and_trainings_from_scratch():
    scratch = load_from_scratch()
    assert len(scratch) == 300 and ENAS.contains(ENAS.to_batch(scratch["arch"].tolist())).all()
    assert scratch["shared"].corr(scratch["test"], "spearman") == pytest.approx(0.67, abs=0.005)  # as notebook 01 says


def test_all_that_is_shipped_is_small():
    assert sum(file.stat().st_size for file in paths.BUNDLED.iterdir()) < 3_000_000
