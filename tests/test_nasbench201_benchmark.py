"""The public NAS-Bench-201 table: check values, runs, look-ups, the converted copy, damaged files."""

import io
import pickle
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from latentnas import benchmarks, paths
from latentnas.benchmarks import download
from latentnas.benchmarks import nasbench201 as module
from latentnas.benchmarks.base import Source
from latentnas.benchmarks.download import FILES, DataError, fetch
from latentnas.benchmarks.nasbench201 import (
    DATASETS,
    PUBLIC_RUNS,
    Values,
    assemble,
    read_12_epochs,
    read_index,
    read_runs,
    read_test,
    valid_column,
)
from latentnas.benchmarks.nasbench201 import test_column as reported_column  # pytest collects test_*
from latentnas.benchmarks.pickles import load_arrays
from latentnas.graphs import DagBatch
from latentnas.spaces.nasbench201 import NASBENCH201 as SPACE

BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@pytest.fixture
def mirror(nasbench201, monkeypatch):
    """A folder laid out as a mirror that has the files: the one set, or the downloads (same layout)."""
    folder = Path(download.os.environ.get(download.MIRROR_VARIABLE) or paths.CACHE / "public")
    monkeypatch.setenv(download.MIRROR_VARIABLE, str(folder))
    return folder


@pytest.fixture
def fresh_cache(monkeypatch, tmp_path, mirror):
    """An empty cache, and the public files from the mirror."""
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "converted"


# what the table must show


def test_every_architecture_has_one_row_in_the_order_of_the_space(nasbench201):
    table = nasbench201.table
    assert len(nasbench201) == len(table) == 15_625 and nasbench201.known.all()
    assert table.index.tolist() == list(range(15_625))
    assert table["arch"].tolist() == SPACE.to_strings(SPACE.enumerate())
    assert sorted(table["official_index"]) == list(range(15_625))
    assert table["class"].nunique() == 6_466
    assert not table.isna().any().any()


@pytest.mark.parametrize(
    ("dataset", "test", "valid", "mean"),
    [
        ("cifar10", 94.3733, 91.6067, 87.063),
        ("cifar100", 73.5133, 73.4933, 61.41),
        ("ImageNet16-120", 47.3111, 46.7333, 33.59),
    ],
)
def test_published_optima_and_means(nasbench201, dataset, test, valid, mean):
    task = list(nasbench201.tasks.values())[DATASETS.index(dataset)]
    assert task[:2] == (valid_column(dataset), reported_column(dataset))
    assert nasbench201.labels(task.test).mean() == pytest.approx(mean, abs=0.005)
    for signal, best in ((task.valid, valid), (task.test, test)):
        assert nasbench201.labels(signal)[nasbench201.optimum(signal)] == pytest.approx(best, abs=6e-5)
        assert nasbench201.labels(signal).max() == pytest.approx(best, abs=6e-5)


@pytest.mark.parametrize(("dataset", "rho"), [("cifar10", 0.772), ("cifar100", 0.825), ("ImageNet16-120", 0.818)])
def test_rank_correlation_of_the_cheap_signal(nasbench201, dataset, rho):
    table = nasbench201.table
    found = spearmanr(table[valid_column(dataset, 12)], table[reported_column(dataset, 200)]).statistic
    assert round(found, 3) == rho


def test_the_12_epoch_file_is_no_200_epoch_file(nasbench201):
    assert nasbench201.table["cifar10/ori-test@12"].max() == 89.16


def test_cost_ranges(nasbench201):
    params, flops = nasbench201.table["cifar10/params"], nasbench201.table["cifar10/flops"]
    assert (params.min() / 1e6, params.max() / 1e6) == (0.073306, 1.531546)
    assert (flops.min() / 1e6, flops.max() / 1e6) == (7.78305, 220.11969)


def test_150_recorded_parameter_counts_are_wrong_by_one_convolution(nasbench201, mirror):
    """Read from the file directly: the table itself does not use them."""
    path = fetch("nasbench201_runs")
    with open(path, "rb") as file:
        stored = load_arrays(file, path)
    counted = nasbench201.table.sort_values("official_index")
    for key, dataset in (("cifar10", "cifar10"), ("cifar100", "cifar100"), ("imagenet", "ImageNet16-120")):
        time_, size = stored[key]["runtime"], stored[key]["size_in_mb"]
        first = np.r_[True, (np.diff(time_) != 0) | (np.diff(size) != 0)]
        error = (size[first] - counted[f"{dataset}/params"] / 1e6).abs().round(6)
        assert sorted(error[error > 0].unique()) == [0.028, 0.24304] and (error > 0).sum() == 150


def test_disconnected_cells_all_have_the_accuracy_of_a_constant_answer(nasbench201):
    connected = SPACE.connected(SPACE.enumerate()).numpy()
    assert (~connected).sum() == 341
    constant = {"cifar10-valid": 9.712, "cifar10": 10, "cifar100": 1, "ImageNet16-120": 0.83333}
    columns = [name for name in nasbench201.table if "/x-" in name or "/ori-" in name]
    assert len(columns) == 14
    for column in columns:
        values = nasbench201.table[column]
        assert (values[~connected] == constant[column.partition("/")[0]]).all()
        assert column.startswith("ImageNet16-120") or values[connected].min() > values[~connected].max()


def test_single_runs(nasbench201):
    for dataset in DATASETS:
        runs = nasbench201.runs(PUBLIC_RUNS[dataset])
        assert runs.shape == (15_625, 3) and np.isfinite(runs[:, :2]).all()
        assert np.isfinite(runs[:, 2]).sum() == 8_169  # 7,456 cells have two runs, and no third is invented
        mean = nasbench201.table[PUBLIC_RUNS[dataset]]
        assert np.allclose(np.nanmean(runs, axis=1), mean, atol=2e-5)
    # ori-test is validation and test images together, equally many
    table = nasbench201.table
    for dataset in ("cifar100", "ImageNet16-120"):
        both = (table[f"{dataset}/x-valid@200"] + table[f"{dataset}/x-test@200"]) / 2
        assert np.allclose(both, table[f"{dataset}/ori-test@200"], atol=2e-5)


def test_accuracies_are_whole_numbers_of_images(nasbench201):
    """So every value is a mean over as many runs as there are single runs, also where it is derived."""
    count = np.isfinite(nasbench201.runs(PUBLIC_RUNS["cifar10"])).sum(1)
    images = {"cifar10-valid/x-valid@200": 25_000, "cifar10/ori-test@200": 10_000, "cifar100/x-valid@200": 5_000}
    images |= {"cifar100/x-test@200": 5_000, "ImageNet16-120/x-valid@200": 3_000, "ImageNet16-120/x-test@200": 3_000}
    for column, per_run in images.items():
        correct = nasbench201.table[column] / 100 * per_run * count
        assert (correct - correct.round()).abs().max() < 0.01, column


def test_noise_is_the_deviation_of_each_cell(nasbench201):
    for dataset in DATASETS:
        noise, runs = (read(PUBLIC_RUNS[dataset]) for read in (nasbench201.noise, nasbench201.runs))
        assert noise.shape == (15_625,)
        for row in range(0, 15_625, 250):
            values = runs[row][np.isfinite(runs[row])].tolist()
            mean = sum(values) / len(values)
            expected = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
            assert noise[row] == pytest.approx(expected, abs=1e-9)


def test_training_times(nasbench201):
    table = nasbench201.table
    first = table.set_index("official_index").loc[0]
    # 200 epochs of the 7.221092998981476 s that the official record of architecture 0 has
    assert first["cifar10-valid/train-seconds@200"] == pytest.approx(200 * 7.221092998981476)
    ratio = table["cifar100/train-seconds@200"] / table["cifar10-valid/train-seconds@200"]
    assert np.allclose(ratio, 2)
    assert np.allclose(table["ImageNet16-120/train-seconds@200"] / table["cifar10-valid/train-seconds@200"], 6.068)


def test_provenance(nasbench201):
    source = nasbench201.source
    assert source.name == "public" and len(source.files) == 6
    assert all(FILES[name].sha256 == digest for name, digest in source.files.items())
    assert "nabenabe0928/constrained-tpe: Apache-2.0" in source.licences and len(source.licences) == 4
    assert any("NAS-Bench-201: Extending" in text for text in source.citations) and len(source.citations) == 4


# looking up


def test_query_by_graph(nasbench201):
    nothing = DagBatch(torch.tensor([[0]]), torch.zeros(1, 1, 1, dtype=torch.bool), torch.tensor([1]))
    batch = DagBatch.cat([SPACE.to_batch([BEST]), nothing, SPACE.enumerate()[[3, 1]]])
    found = nasbench201.query(batch)
    assert list(found) == ["row", "known", *nasbench201.table] and found["known"].tolist() == [True, False, True, True]
    assert found["row"].tolist() == [SPACE.index(batch)[0], -1, 3, 1] and found["arch"][0] == BEST
    assert found["cifar100/x-test@200"][0] == 73.51333 and found.iloc[1, 2:].isna().all()
    assert len(nasbench201.query(batch[:0])) == 0


def test_what_the_table_lacks_is_named(nasbench201):
    with pytest.raises(ValueError, match="no signal 'cifar10/x-valid@200'; it has cifar10-valid/x-valid@200, cifar10/"):
        nasbench201.labels("cifar10/x-valid@200")
    with pytest.raises(ValueError, match="no single runs of 'cifar10/ori-test@200'; it has those of cifar10-valid/"):
        nasbench201.noise("cifar10/ori-test@200")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("nasbench301", "public", "no table called 'nasbench301'. Choose one of enas, nasbench101, nasbench201."),
        ("enas", "official", "'enas' has no data source 'official'. Set data_source to one of 'public', 'bundled'."),
        ("nasbench101", "bundled", "no data source 'bundled'. Set data_source to one of 'public', 'official'."),
        ("nasbench201", "private", "no data source 'private'. .* one of 'public', 'official', 'bundled'."),
    ],
)
def test_other_tables_and_sources_are_refused(name, source, message):
    with pytest.raises(DataError, match=message):
        benchmarks.load(name, source)


@pytest.mark.parametrize("module", ["enas", "digits", "nasbench101_official", "nasbench201_official"])
def test_a_table_needs_neither_scikit_learn_nor_networks(module):
    script = f"import sys, latentnas.benchmarks.{module}; print([m for m in sys.modules if m.startswith(('sklearn', "
    script += "'latentnas.measure', 'latentnas.models', 'latentnas.oneshot', 'nas_201_api'))])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"


# the converted copy


def test_second_load_is_small(nasbench201):
    tracemalloc.start()
    benchmarks.load("nasbench201", "public")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # 20 MB


def test_conversion_is_repeatable_and_kept(nasbench201, fresh_cache, monkeypatch):
    first = benchmarks.load("nasbench201", "public")
    pd.testing.assert_frame_equal(first.table, nasbench201.table, check_exact=True)
    assert len(list(fresh_cache.iterdir())) == 1  # nothing temporary is left
    # what is kept needs neither the mirror nor the network
    monkeypatch.setenv(download.MIRROR_VARIABLE, str(fresh_cache / "nowhere"))
    again = benchmarks.load("nasbench201", "public")
    pd.testing.assert_frame_equal(again.table, first.table, check_exact=True)
    assert all(np.array_equal(again.runs(s), first.runs(s), equal_nan=True) for s in PUBLIC_RUNS.values())
    # a table of other files or of another format is another file
    monkeypatch.setattr(module, "_FORMAT", 0)
    with pytest.raises(DataError, match="not in the mirror"):
        benchmarks.load("nasbench201", "public")


@pytest.mark.parametrize("damage", [lambda d: d[:1000], lambda d: b"", lambda d: b"no archive"])
def test_damaged_copy_is_named(nasbench201, fresh_cache, damage):
    benchmarks.load("nasbench201", "public")
    [kept] = fresh_cache.iterdir()
    kept.write_bytes(damage(b"PK\3\4" + bytes(5000)))
    with pytest.raises(DataError, match=f"{kept.name} is damaged. Delete it"):
        benchmarks.load("nasbench201", "public")


# damaged and hostile files


class Hostile:
    """Unpickling it writes a file, as any code could."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_pickle_that_asks_for_more_than_arrays_is_refused(tmp_path):
    target = tmp_path / "written"
    path = tmp_path / "runs.pkl"
    path.write_bytes(pickle.dumps({"cifar10": Hostile(target)}))
    pickle.loads(path.read_bytes())
    assert target.exists()  # it works on the usual reader
    target.unlink()
    with pytest.raises(DataError, match=r"runs.pkl asks for .*pathlib.*could run code") as error:
        read_runs(path)
    assert not target.exists() and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["eval", "getattr"])
def test_builtins_are_refused(name):
    hostile = f"cbuiltins\n{name}\n(S'1'\ntR.".encode()
    with pytest.raises(DataError, match=f"asks for builtins.{name}"):
        load_arrays(io.BytesIO(hostile), Path("x"))


def test_arrays_and_containers_are_read():
    content = OrderedDict(a=np.arange(3.0), b=[np.float64(2.5), "text", None], c={(1, "2"): {3}})
    found = load_arrays(io.BytesIO(pickle.dumps(content, 4)), Path("x"))
    assert found.keys() == content.keys() and np.array_equal(found["a"], content["a"])
    assert found["b"] == content["b"] and found["c"] == content["c"]


@pytest.mark.parametrize("damage", [lambda d: d[:-20], lambda d: b"", lambda d: b"<html>", lambda d: d[5:]])
def test_cut_off_pickles_are_named(tmp_path, damage):
    path = tmp_path / "runs.pkl"
    path.write_bytes(damage(pickle.dumps({"cifar10": np.arange(100.0)}, 4)))
    with pytest.raises(DataError, match="runs.pkl is cut off or no pickle"):
        read_runs(path)


def test_nothing_is_unpickled_before_its_checksum_matched(mirror, fresh_cache, tmp_path, monkeypatch):
    target = tmp_path / "written"
    for name in module._PUBLIC_FILES:
        copy = tmp_path / "mirror" / FILES[name].location
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(mirror / FILES[name].location)
    replaced = tmp_path / "mirror" / FILES["nasbench201_runs"].location
    replaced.unlink()
    replaced.write_bytes(pickle.dumps(Hostile(target)))
    monkeypatch.setenv(download.MIRROR_VARIABLE, str(tmp_path / "mirror"))
    with pytest.raises(DataError, match="metric_vals.pkl is damaged or not the right one"):
        benchmarks.load("nasbench201", "public")
    assert not target.exists() and not fresh_cache.exists()


def test_files_with_other_content_are_refused(tmp_path):
    path = tmp_path / "file"
    torch.save({BEST: 0, "other": 2}, path)
    with pytest.raises(DataError, match="does not number the 15,625"):
        read_index(path)
    path.write_text("index,accuracy\n0,90.0\n2,91.0\n")
    with pytest.raises(DataError, match="no line index,accuracy for each"):
        read_test(path)
    path.write_bytes(pickle.dumps([BEST, bytearray(6 * 8 * 15_625)]))
    with pytest.raises(DataError, match="six accuracies for each architecture"):
        read_12_epochs(path, ["other"])
    one = {"loss": np.zeros(4), "runtime": np.array([1.0, 1, 1, 1]), "size_in_mb": np.ones(4)}
    path.write_bytes(pickle.dumps({"cifar10": one}, 4))
    with pytest.raises(DataError, match="1 cells of at most 4 runs on cifar10"):
        read_runs(path)


# putting a table together

RUNS = {"cifar10": "cifar10/ori-test@200"}
SOURCE = Source("a test", {"file": "0" * 64}, (), ())


def invented(count: int = 15_625) -> Values:
    """Values of the first cells, enough for `assemble`."""
    columns = {"official_index": np.arange(count), "cifar10/ori-test@200": np.full(count, 50.0)}
    return Values(SPACE.choices(SPACE.enumerate()[:count]), columns, {"cifar10": np.full((count, 3), 50.0)})


def test_values_find_their_rows_in_any_order():
    values = invented()
    values.columns["cifar10/ori-test@200"][:] = np.arange(15_625) / 1000
    values.runs["cifar10"][:] = np.arange(3 * 15_625).reshape(-1, 3)
    order = np.random.default_rng(0).permutation(15_625)
    mixed = Values(
        values.numbers[order],
        {name: column[order] for name, column in values.columns.items()},
        {"cifar10": values.runs["cifar10"][order]},
    )
    found = assemble(mixed, RUNS, SOURCE)
    assert np.array_equal(found.table["cifar10/ori-test@200"], np.arange(15_625) / 1000)
    assert np.array_equal(found.table["official_index"], np.arange(15_625))
    assert np.array_equal(found.runs(RUNS["cifar10"]), values.runs["cifar10"])


def test_missing_and_repeated_architectures_are_refused():
    missing = SPACE.to_strings(SPACE.from_choices([[4] * 6]))[0]
    with pytest.raises(DataError) as error:
        assemble(invented(15_624), RUNS, SOURCE)
    assert "15,624 of the 15,625" in str(error.value) and missing in str(error.value)
    values = invented()
    values.numbers[7] = values.numbers[3]
    with pytest.raises(DataError, match=r"a test has the architecture \|none~0.*nor_conv_3x3~2\| more than once"):
        assemble(values, RUNS, SOURCE)


@pytest.mark.parametrize("value", [np.nan, -0.5, 100.5, np.inf])
def test_accuracies_that_are_none_are_refused(value):
    values = invented()
    values.columns["cifar10/ori-test@200"][5] = value
    with pytest.raises(DataError, match=r"no accuracy cifar10/ori-test@200 for 1 of 15,625 .* is (nan|-0.5|100.5|inf)"):
        assemble(values, RUNS, SOURCE)
