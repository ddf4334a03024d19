"""The NAS-Bench-101 tables: published check values, look-ups, foreign files, and the official file's
format."""

import base64
import json
import pickle
import struct
import tracemalloc

import numpy as np
import pandas as pd
import pooch
import pytest

from latentnas import benchmarks, paths
from latentnas.benchmarks import download
from latentnas.benchmarks import nasbench101_official as official
from latentnas.benchmarks.base import Source
from latentnas.benchmarks.download import FILES, DataError, fetch
from latentnas.benchmarks.nasbench101 import TEST, TEST_IMAGES, VALID, assemble
from latentnas.graphs import DagBatch
from latentnas.spaces.nasbench101 import NASBENCH101

FIRST = "00005c142e6f48ac74fdcf73e3439874"
SOURCE = Source("test data", {})


# the public table


def test_published_check_values(nasbench101):
    table = nasbench101.table
    assert len(nasbench101) == len(table) == 423_624 and list(table.index[:2]) == [0, 1]
    assert list(table) == ["hash", "params", "flops", TEST]
    assert table["hash"].iat[0] == FIRST and table["params"].iat[0] == 8_555_530
    accuracy = nasbench101.labels(TEST)
    assert accuracy.dtype == np.float64 and not np.isnan(accuracy).any()
    assert round(accuracy.max(), 4) == 94.3176 and round(accuracy.mean(), 1) == 89.7
    assert accuracy[nasbench101.optimum(TEST)] == accuracy.max() and nasbench101.signals == (TEST,)


@pytest.mark.slow
def test_parameters_on_file_equal_those_of_the_graphs_on_every_row(nasbench101):
    """So a position on file is a row. Counted anew from the graphs, not read from the file of cells."""
    on_file, accuracies = (pd.read_pickle(fetch(f"nasbench101_{name}")) for name in ("params", "accuracies"))
    for table in (on_file, accuracies):
        assert np.array_equal(table["index"], np.arange(423_624))
    millions = on_file["params"].to_numpy()
    for begin in range(0, 423_624, 40_000):
        part = slice(begin, begin + 40_000)
        counted = NASBENCH101.params(nasbench101.batch[part]).numpy()
        assert np.array_equal(counted, np.rint(1e6 * millions[part]))


def test_accuracies_count_images(nasbench101):
    """The noise that is removed is below a hundredth of an image."""
    accuracy = pd.read_pickle(fetch("nasbench101_accuracies"))["accuracy"].to_numpy()
    counts = nasbench101.labels(TEST) / 100 * TEST_IMAGES
    assert np.abs(accuracy * TEST_IMAGES - counts).max() < 0.01
    assert np.abs(counts - np.rint(counts)).max() < 1e-9
    assert np.mean(np.rint(counts).astype(int) % 3 != 0) > 0.6  # means of three, not single runs


def test_source_says_where_the_labels_come_from(nasbench101):
    source = nasbench101.source
    assert source.name == "public" and list(source.files) == ["nasbench101_accuracies"]


def test_loading_is_small(nasbench101):
    tracemalloc.start()
    table = benchmarks.load("nasbench101", "public")
    held = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    cells = table.space.cells()
    columns = sum(getattr(cells, name).nbytes for name in type(cells).__annotations__) / 1e6
    assert held + columns < 100  # MB, the cells included, which this process had loaded before


# look-ups


def test_query_by_graph(nasbench101):
    rows = np.array([7, 0, 423_623, 7])
    found = nasbench101.query(nasbench101.batch[rows])
    assert list(found) == ["row", "known", "hash", "params", "flops", TEST] and found["known"].all()
    assert found["row"].tolist() == rows.tolist() and found.index.tolist() == [0, 1, 2, 3]
    assert found[TEST].tolist() == nasbench101.labels(TEST)[rows].tolist()
    assert len(nasbench101.query(nasbench101.batch[:0])) == 0
    assert nasbench101.batch is nasbench101.batch  # made once


def test_isomorphic_graphs_are_found(nasbench101):
    """Two vertices that nothing orders, exchanged."""
    text = '{"matrix": [[0,1,1,0],[0,0,0,1],[0,0,0,1],[0,0,0,0]], "ops": ["input", "%s", "%s", "output"]}'
    names = ("conv3x3-bn-relu", "maxpool3x3")
    batch = NASBENCH101.to_batch([text % names, text % names[::-1]])
    found = nasbench101.query(batch)
    assert found["row"].nunique() == 1 and found["hash"].iat[0] == NASBENCH101.official_hash(batch)[0]


def test_what_is_no_cell_is_not_known(nasbench101):
    batch = nasbench101.batch[:5]
    broken = DagBatch(batch.types.clone(), batch.adjacency.clone(), batch.num_vertices)
    broken.adjacency[2, 0] = False  # nothing leaves the input
    broken.types[3, 1] = 7
    found = nasbench101.query(broken)
    assert found["known"].tolist() == [True, True, False, False, True]
    assert found["row"].tolist() == [0, 1, -1, -1, 4]
    assert found[["params", "flops", TEST]].isna().all(axis=1).tolist() == (~found["known"]).tolist()
    assert found["hash"].isna().tolist() == (~found["known"]).tolist()


def test_validation_accuracy_is_absent_and_the_error_says_so(nasbench101):
    for ask in (nasbench101.labels, nasbench101.optimum):
        with pytest.raises(ValueError, match=r"test accuracy only.*nasbench_only108\.tfrecord.*LATENTNAS_NASBENCH101"):
            ask(VALID)
    with pytest.raises(
        ValueError, match="The public table of nasbench101 has no signal 'params'; it has cifar10/test@108"
    ):
        nasbench101.labels("params")


def test_what_is_no_batch_of_graphs_is_refused(nasbench101):
    for asked, kind in ((np.zeros((2, 7), int), "ndarray"), ([3, 4], "list"), ("a text", "str")):
        for question in (nasbench101.query, nasbench101.index):
            with pytest.raises(TypeError, match=f"asked for graphs in a DagBatch, not for {kind}. Make one .*to_batch"):
                question(asked)


# damaged and foreign tables


def test_missing_rows_and_values_that_are_no_percentages_are_refused():
    values = np.linspace(0, 100, 423_624)
    assert np.array_equal(assemble({"cifar10/test@4": values}, SOURCE, {}).labels("cifar10/test@4"), values)
    for wrong in (-0.5, 100.5, np.inf):
        with pytest.raises(ValueError, match=rf"cifar10/test@4 .* not all percentages: that of row 8 is {wrong}"):
            assemble({"cifar10/test@4": np.where(np.arange(423_624) == 8, wrong, values)}, SOURCE, {})
    with pytest.raises(ValueError):
        assemble({"cifar10/test@4": values[:-1]}, SOURCE, {})


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_another_pickle_is_never_run(tmp_path, monkeypatch):
    victim, path = tmp_path / "victim", tmp_path / FILES["nasbench101_accuracies"].location
    content = pickle.dumps(Malicious(str(victim)))
    pickle.loads(content).close()
    assert victim.exists()  # the pickle does harm when it is loaded
    victim.unlink()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setenv(download.MIRROR_VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match="accuracies.pkl.gz is damaged or not the right one"):
        benchmarks.load("nasbench101", "public")
    assert not victim.exists()


# the official file, written here in its format


def framed(data: bytes) -> bytes:
    """A record of a tfrecord; the checksums, which nobody reads, are not right."""
    return struct.pack("<Q", len(data)) + b"sum1" + data + b"sum2"


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + varint(value // 128)


def evaluation(epoch, seconds, train, valid, test) -> bytes:
    numbers = (epoch, seconds, train, valid, test)
    fields = b"".join(varint(n << 3 | 1) + struct.pack("<d", x) for n, x in enumerate(numbers, start=1))
    name = b"a/checkpoint/" + b"x" * 150  # longer than one byte of length can say
    return fields + varint(6 << 3 | 2) + varint(len(name)) + name


def metrics(params: int, final: bytes) -> bytes:
    evaluations = [evaluation(0, 0, 0.1, 0.1, 0.1), evaluation(54, 50, 0.5, 0.4, 0.3), final]
    fields = b"".join(varint(1 << 3 | 2) + varint(len(e)) + e for e in evaluations)
    return fields + varint(2 << 3 | 0) + varint(params) + varint(3 << 3 | 1) + struct.pack("<d", 123.0)


def record(row: int, epochs: int, final: tuple[float, ...], **changed) -> bytes:
    """One run of a cell, as in the official file."""
    cells = NASBENCH101.cells()
    batch = cells.batch([row])
    count = int(batch.num_vertices[0])
    matrix = batch.adjacency[0, :count, :count].int().flatten().tolist()
    message = metrics(changed.get("params", int(cells.params[row])), evaluation(epochs, *final))
    return json.dumps([
        changed.get("graph_hash", cells.hashes([row])[0]),
        epochs,
        "".join(map(str, matrix)),
        ",".join(NASBENCH101.type_names[kind] for kind in batch.types[0, :count]),
        base64.b64encode(message).decode(),
    ]).encode()  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes records into a tfrecord; what is converted from it goes to a folder of its own."""
    NASBENCH101.cells()  # from the usual cache
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")

    def make(*records: bytes):
        path = tmp_path / "nasbench_only108.tfrecord"
        path.write_bytes(b"".join(map(framed, records)))
        return path

    return make


RUNS = [
    (0, 108, (1200.5, 1.0, 0.9125, 0.905)),
    (0, 108, (1201.5, 0.99, 0.915, 0.9075)),
    (300_000, 108, (900.0, 0.98, 0.93, 0.925)),
    (300_000, 4, (30.0, 0.6, 0.55, 0.5)),
    (0, 108, (1199.0, 1.0, 0.91, 0.9)),
]


def test_every_run_of_an_official_file_is_read(write):
    runs = official.read_runs(write(*[record(*run) for run in RUNS]))
    assert runs["row"].tolist() == [0, 0, 300_000, 300_000, 0]
    assert runs["epochs"].tolist() == [108, 108, 108, 4, 108]
    expected = np.array([final for *_, final in RUNS]) * [1, 100, 100, 100]
    assert np.array_equal(np.stack([runs[name] for name in ("seconds", "train", "valid", "test")], axis=1), expected)


@pytest.fixture
def whole(write, monkeypatch):
    """A file that counts as official. One of all cells would be too large for a test: its runs are made up."""
    path = write(record(*RUNS[0]))
    monkeypatch.setenv(official.VARIABLE, str(path))
    monkeypatch.setattr(official, "SHA256", {pooch.file_hash(str(path)): path.name})
    rows = np.concatenate([np.arange(423_624), [2]])
    valid = np.where(np.arange(423_625) == 423_624, 92.0, 90.0)
    constant = {name: np.full(len(rows), value) for name, value in (("train", 99.0), ("test", 89.0), ("seconds", 9.0))}
    runs = {"row": rows, "epochs": np.full(len(rows), 108), "valid": valid, **constant}
    read = []
    monkeypatch.setattr(official, "read_runs", lambda path: read.append(path) or runs)
    return path, read


@pytest.mark.slow
def test_a_whole_official_file_becomes_a_table_with_validation_accuracy(whole):
    path, read = whole
    table = benchmarks.load("nasbench101", "official")
    assert table.signals == (VALID, TEST, "cifar10/train@108") and table.tasks["CIFAR-10"] == (VALID, TEST, "nb101")
    assert table.labels(VALID)[:4].tolist() == [90, 90, 91, 90] and table.known.all()
    assert table.source.name == "official" and list(table.source.files) == [path.name] and table.files() == [path]
    assert np.array_equal(table.runs(VALID)[1:3], [[90, np.nan], [90, 92]], equal_nan=True)
    assert table.noise(VALID)[2] == pytest.approx(2**0.5) and np.isnan(table.noise(TEST)[0])
    assert table.optimum(VALID) == 2 and set(table.table["cifar10/train-seconds@108"]) == {9.0}
    again = benchmarks.load("nasbench101", "official")
    pd.testing.assert_frame_equal(again.table, table.table)
    assert len(read) == 1  # the second is from the cache


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut off", "empty", "one number", "no checksum"])
def test_a_changed_conversion_is_made_again(whole, tmp_path, capsys, damage):
    first = benchmarks.load("nasbench101", "official")
    [kept] = (tmp_path / "cache" / "converted").glob("*.npz")
    if damage == "one number":
        with np.load(kept) as stored:
            changed = dict(stored)
        changed["valid"][7] = 95.0
        np.savez_compressed(kept, **changed)
    elif damage == "no checksum":
        kept.with_suffix(".sha256").unlink()
    else:
        kept.write_bytes(kept.read_bytes()[:1000] if damage == "cut off" else b"")
    again = benchmarks.load("nasbench101", "official")
    assert f"{kept} is damaged or was changed: it is made again" in capsys.readouterr().err
    pd.testing.assert_frame_equal(again.table, first.table)
    benchmarks.load("nasbench101", "official")
    assert len(whole[1]) == 2 and not capsys.readouterr().err


def test_the_official_file_is_found_by_its_variable(write, monkeypatch):
    monkeypatch.delenv(official.VARIABLE, raising=False)
    with pytest.raises(DataError, match='"official" needs nasbench_only108.*Set LATENTNAS_NASBENCH101 to its path'):
        benchmarks.load("nasbench101", "official")
    path = write(*[record(*run) for run in RUNS])
    monkeypatch.setenv(official.VARIABLE, str(path) + "x")
    with pytest.raises(DataError, match=f"There is no file {path}x, which LATENTNAS_NASBENCH101 names"):
        benchmarks.load("nasbench101", "official")
    monkeypatch.setenv(official.VARIABLE, str(path.parent))
    with pytest.raises(DataError, match="cannot be read: Is a directory. Set LATENTNAS_NASBENCH101 to nasbench_only"):
        benchmarks.load("nasbench101", "official")


def test_only_what_the_authors_published_is_read(whole, tmp_path):
    """Whatever else a file holds, right checksums of records or not: nothing of it is looked at."""
    path, read = whole
    content = path.read_bytes()
    deep, huge = b"[" * 100_000, json.dumps(["a", 10**400, "", "", ""]).encode()
    for other in (content[:-1], content + b"\0", b"", framed(deep), framed(huge), b"plain text"):
        path.write_bytes(other)
        with pytest.raises(DataError, match="is damaged or not the right one.*Set LATENTNAS_NASBENCH101") as error:
            benchmarks.load("nasbench101", "official")
        assert "\n" not in str(error.value)
    assert not read and not (tmp_path / "cache" / "converted").exists()


@pytest.mark.parametrize("changed", [{"graph_hash": "0" * 32}, {"graph_hash": "f" * 32}, {"params": 5}])
def test_a_record_of_no_cell_is_named(write, changed):
    path = write(record(300_000, 108, RUNS[0][2]), record(0, 108, RUNS[0][2], **changed))
    words = f"record 2 has the hash {changed.get('graph_hash', FIRST)} and {changed.get('params', 8_555_530):,} param"
    with pytest.raises(DataError, match=f"does not belong to the cells as they are enumerated here: {words}"):
        official.read_runs(path)
