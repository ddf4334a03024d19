"""The NAS-Bench-101 tables: published check values, look-ups, foreign files, and the official file's
format."""

import base64
import gzip
import json
import pickle
import struct
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from latentnas import benchmarks, paths
from latentnas.benchmarks import nasbench101_official as official
from latentnas.benchmarks.base import Source
from latentnas.benchmarks.download import DataError, fetch
from latentnas.benchmarks.nasbench101 import TEST, TEST_IMAGES, VALID, assemble, check_params, read_table
from latentnas.graphs import DagBatch
from latentnas.spaces.nasbench101 import NASBENCH101

FIRST = "00005c142e6f48ac74fdcf73e3439874"
SOURCE = Source("test data", {}, (), ())


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


def test_parameters_on_file_equal_those_of_the_graphs_on_every_row(nasbench101):
    """Counted anew from the graphs, not read from the file of cells."""
    rows, (millions, *_) = read_table(fetch("nasbench101_params"), ("params", "time=[s]", "time_pure=[s]"))
    assert np.array_equal(rows, np.arange(423_624))
    for begin in range(0, 423_624, 40_000):
        part = slice(begin, begin + 40_000)
        counted = NASBENCH101.params(nasbench101.batch[part]).numpy()
        assert np.array_equal(counted, np.rint(1e6 * millions[part]))


def test_accuracies_count_images(nasbench101):
    """The noise that is removed is below a hundredth of an image."""
    _, (accuracy,) = read_table(fetch("nasbench101_accuracies"), ("accuracy",))
    counts = nasbench101.labels(TEST) / 100 * TEST_IMAGES
    assert np.abs(accuracy * TEST_IMAGES - counts).max() < 0.01
    assert np.abs(counts - np.rint(counts)).max() < 1e-9
    assert np.mean(np.rint(counts).astype(int) % 3 != 0) > 0.6  # means of three, not single runs


def test_source_says_where_the_labels_come_from(nasbench101):
    source = nasbench101.source
    assert source.name == "public" and set(source.files) == {"nasbench101_accuracies", "nasbench101_params"}
    assert any("NAS-Bench-101" in text for text in source.citations)
    assert any("FreeREA" in text for text in source.citations) and source.licences == ("NiccoloCavagnero/FreeREA: MIT",)


def test_loading_is_small(nasbench101):
    tracemalloc.start()
    table = benchmarks.load("nasbench101", "public")
    held = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    columns = sum(column.nbytes for column in table.space.cells().columns().values()) / 1e6
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


# damaged and foreign tables


def test_missing_repeated_and_unlabelled_rows_are_refused():
    rows, values = np.arange(423_624)[::-1], np.linspace(0, 100, 423_624)
    whole = assemble(rows, {"cifar10/test@4": values}, SOURCE)
    assert np.array_equal(whole.labels("cifar10/test@4"), values[::-1])
    twice = rows.copy()
    twice[3] = 5
    for wrong_rows, message in (
        (rows[:-1], r"1 are missing and 0 given more than once; the first is row 0, hash " + FIRST),
        (twice, r"1 are missing and 1 given more than once; the first is row 5"),
        (rows + 1, r"has a row 423624"),
        (rows - 1, r"has a row -1"),
    ):
        with pytest.raises(DataError, match=message):
            assemble(wrong_rows, {"cifar10/test@4": values[: len(wrong_rows)]}, SOURCE)
    [eighth] = NASBENCH101.cells().hashes([8])
    for wrong in (np.nan, -0.5, 100.5):
        with pytest.raises(DataError, match=rf"no accuracy cifar10/test@4 for 1 of 423,624 .* that of {eighth} is"):
            assemble(rows, {"cifar10/test@4": np.where(rows == 8, wrong, values)}, SOURCE)


def test_labels_of_other_graphs_are_refused():
    params = NASBENCH101.cells().params
    check_params(np.array([4, 2]), params[[4, 2]], "file")
    with pytest.raises(DataError, match=r"1 of 2 have other parameters, the first row 2 with 7 on file and"):
        check_params(np.array([4, 2]), np.array([params[4], 7]), "file")


def pickled_table(columns=("index", "accuracy")) -> bytes:
    """What the reader looks for, in a pickle of plain containers."""
    rows, values = np.arange(3), np.array([0.1, 0.2, 0.3])
    return pickle.dumps([*columns, "<", "i8", "f8", rows.tobytes(), values.tobytes()])


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_is_never_run(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "table.pkl.gz"
    content = pickle.dumps(Malicious(str(victim)))
    pickle.loads(content).close()
    assert victim.exists()  # the pickle does harm when it is loaded the usual way
    victim.unlink()
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match="Nothing in it was run"):
        read_table(path, ("accuracy",))
    assert not victim.exists()


def test_reading_tables(tmp_path):
    path = tmp_path / "table.pkl.gz"
    path.write_bytes(gzip.compress(pickled_table()))
    rows, values = read_table(path, ("accuracy",))
    assert rows.tolist() == [0, 1, 2] and values.tolist() == [[0.1, 0.2, 0.3]]
    for content, message in (
        (gzip.compress(pickled_table(("index", "params"))), "is not a pickled table .* accuracy"),
        (gzip.compress(pickled_table()[:-30]), "damaged or no compressed pickle"),
        (gzip.compress(b"no pickle"), "damaged or no compressed pickle"),
        (gzip.compress(pickled_table())[:-10], "damaged or no compressed pickle"),
        (b"no gzip", "damaged or no compressed pickle"),
        (b"", "is not a pickled table|damaged or no compressed pickle"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message) as error:
            read_table(path, ("accuracy",))
        assert "\n" not in str(error.value)


# the official file, written here in its format


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def framed(data: bytes) -> bytes:
    def masked(part: bytes) -> bytes:
        crc = crc32c(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


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
    message = changed.get("message") or metrics(int(cells.params[row]), evaluation(epochs, *final))
    return json.dumps([
        changed.get("graph_hash", cells.hashes([row])[0]),
        changed.get("schedule", epochs),
        changed.get("matrix", "".join(map(str, matrix))),
        changed.get("operations", ",".join(NASBENCH101.type_names[kind] for kind in batch.types[0, :count])),
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
    path = write(*[record(*run) for run in RUNS])
    runs, source = official.read_runs(path)
    assert runs["row"].tolist() == [0, 0, 300_000, 300_000, 0] and runs["run"].tolist() == [0, 1, 0, 0, 2]
    assert runs["epochs"].tolist() == [108, 108, 108, 4, 108]
    expected = np.array([final for *_, final in RUNS]) * [1, 100, 100, 100]
    assert np.array_equal(runs[["seconds", "train", "valid", "test"]], expected)
    assert source.name == "official" and list(source.files) == [path.name]
    again, _ = official.read_runs(path)  # now from the cache
    pd.testing.assert_frame_equal(runs, again)
    assert official.read_runs(write(record(*RUNS[0])))[1].files != source.files


def test_a_long_file_is_read_in_pieces(write, monkeypatch):
    monkeypatch.setattr(official, "CHUNK", 2)
    runs, _ = official.read_runs(write(*[record(*run) for run in RUNS]))
    assert runs["row"].tolist() == [row for row, *_ in RUNS]


def test_a_whole_official_file_becomes_a_table_with_validation_accuracy(write, monkeypatch):
    """A file of all cells would be too large for a test: its runs are made up instead."""
    rows = np.concatenate([np.arange(423_624), [2]])
    runs = pd.DataFrame(
        {"row": rows, "epochs": 108, "run": 0, "train": 99.0, "valid": 90.0, "test": 89.0, "seconds": 9.0}
    )
    runs.loc[423_624, ["run", "valid"]] = 1, 92.0
    monkeypatch.setattr(official, "read_runs", lambda path: (runs, SOURCE))
    monkeypatch.setenv(official.VARIABLE, str(write(record(*RUNS[0]))))
    table = benchmarks.load("nasbench101", "official")
    assert table.signals == (VALID, TEST, "cifar10/train@108") and table.tasks["CIFAR-10"] == (VALID, TEST, "nb101")
    assert table.labels(VALID)[:4].tolist() == [90, 90, 91, 90] and table.source == SOURCE
    assert np.array_equal(table.runs(VALID)[1:3], [[90, np.nan], [90, 92]], equal_nan=True)
    assert table.noise(VALID)[2] == pytest.approx(2**0.5) and np.isnan(table.noise(TEST)[0])
    assert table.optimum(VALID) == 2 and set(table.table["cifar10/train-seconds@108"]) == {9.0}
    runs = runs[runs["row"] != 17]
    with pytest.raises(DataError, match="1 are missing .* row 17"):
        benchmarks.load("nasbench101", "official")


def test_the_official_file_is_found_by_its_variable(write, monkeypatch):
    monkeypatch.delenv(official.VARIABLE, raising=False)
    with pytest.raises(DataError, match='"official" needs nasbench_only108.*Set LATENTNAS_NASBENCH101 to its path'):
        benchmarks.load("nasbench101", "official")
    path = write(*[record(*run) for run in RUNS])
    monkeypatch.setenv(official.VARIABLE, str(path) + "x")
    with pytest.raises(DataError, match=f"There is no file {path}x, which LATENTNAS_NASBENCH101 names"):
        benchmarks.load("nasbench101", "official")
    monkeypatch.setenv(official.VARIABLE, str(path.parent))
    with pytest.raises(DataError, match="is no file. Give the path of nasbench_only108"):
        benchmarks.load("nasbench101", "official")
    monkeypatch.setenv(official.VARIABLE, str(path))  # a file of two cells is no table
    with pytest.raises(DataError, match="423,622 are missing"):
        benchmarks.load("nasbench101", "official")


def test_checksums_are_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of its definition
    messages = (b"123456789", b"", b"a" * 300, b"\0" * 7)
    expected = [((crc32c(m) >> 15 | crc32c(m) << 17) + 0xA282EAD8) % 2**32 for m in messages]
    assert official._masked_crc32c(messages).tolist() == expected


FINAL = RUNS[0][2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"graph_hash": "0" * 32}, rf"Record 2 .* has the graph hash '0+', but its graph has {FIRST}"),
        ({"operations": "input,output"}, r"In records 1 to 2 of .*Not a NAS-Bench-101 cell"),
        ({"operations": "a,b,c"}, r"Not a NAS-Bench-101 cell"),
        ({"matrix": "0?"}, r"In records 1 to 2 of"),
        ({"matrix": "", "operations": ""}, r"Not a NAS-Bench-101 cell"),
        ({"schedule": "108"}, r"Record 2 .* its epochs are '108'"),
        ({"message": b"\x0a\x05abc"}, r"Record 2 .* its metrics are cut off"),
        ({"message": b"\x0a"}, r"Record 2 .* is not one of NAS-Bench-101"),
        ({"message": b"\x0f"}, r"Record 2 .* unknown kind 7"),
        ({"message": b"\x10\x05"}, r"Record 2 .* have no evaluation"),
        ({"message": b"\x0a\x00"}, r"Record 2 .* its last evaluation has no field 2"),
        ({"message": metrics(5, evaluation(108, *FINAL))}, r"1 of 2 have other parameters, .* with 5 on file"),
    ],
)
def test_a_foreign_record_is_named(write, changed, message):
    path = write(record(300_000, 108, FINAL), record(0, 108, FINAL, **changed))
    with pytest.raises(DataError, match=message) as error:
        official.read_runs(path)
    assert "\n" not in str(error.value)


def test_records_of_another_kind_are_refused(write):
    for data in (b'{"a": 1}', b"[1, 2]", b"\xff\xfe", b"", b"7"):
        with pytest.raises(DataError, match="Record 1 of .* is not one of NAS-Bench-101"):
            official.read_runs(write(data))


def test_a_damaged_official_file_is_refused(write, tmp_path):
    path = write(*[record(*run) for run in RUNS])
    whole = path.read_bytes()
    second = len(framed(record(*RUNS[0]))) + 100  # inside the second record
    for content, message in (
        (whole[:-1], "cut off inside record 5"),
        (whole[:-5], "cut off inside record 5"),
        (whole[: second - 90], "cut off inside record 2"),
        (whole[:20], "cut off inside record 1"),
        (whole[:5], "cut off inside record 1"),
        (whole[:second] + bytes([whole[second] ^ 1]) + whole[second + 1 :], "Record 2 .* checksum does not match"),
        (whole[:9] + bytes([whole[9] ^ 1]) + whole[10:], "Record 1 .* checksum does not match"),
        (b"This is no tfrecord, but plain text of some length", "Record 1 of .* claims .* bytes"),
        (b"", "has no records"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message) as error:
            official.read_runs(path)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "cache" / "converted").exists()
    with pytest.raises(DataError, match="missing is no file"):
        official.read_runs(tmp_path / "missing")


def test_a_damaged_conversion_is_named(write, tmp_path):
    path = write(record(*RUNS[0]))
    official.read_runs(path)
    (converted,) = (tmp_path / "cache" / "converted").iterdir()
    converted.write_bytes(b"damaged")
    with pytest.raises(DataError, match="converted file .* is damaged. Delete it"):
        official.read_runs(path)
