"""The public NAS-Bench-201 table: check values, runs, look-ups, and what is no table."""

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
from latentnas.benchmarks.base import Source
from latentnas.benchmarks.download import FILES, DataError, fetch
from latentnas.benchmarks.nasbench201 import DATASETS, PUBLIC_RUNS, assemble, valid_column
from latentnas.benchmarks.nasbench201 import test_column as reported_column  # pytest collects test_*
from latentnas.benchmarks.nasbench201_official import load_arrays
from latentnas.graphs import DagBatch
from latentnas.spaces.nasbench201 import NASBENCH201 as SPACE

BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@pytest.fixture
def mirror(nasbench201, monkeypatch):
    """A folder laid out as a mirror that has the files: the one set, or the downloads (same layout)."""
    folder = Path(download.os.environ.get(download.MIRROR_VARIABLE) or paths.CACHE / "public")
    monkeypatch.setenv(download.MIRROR_VARIABLE, str(folder))
    return folder


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
    stored = pd.read_pickle(fetch("nasbench201_runs"))
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


@pytest.mark.slow
@pytest.mark.parametrize("module", ["enas", "digits", "nasbench101_official", "nasbench201_official"])
def test_a_table_needs_neither_scikit_learn_nor_networks(module):
    script = f"import sys, latentnas.benchmarks.{module}; print([m for m in sys.modules if m.startswith(('sklearn', "
    script += "'latentnas.measure', 'latentnas.models', 'latentnas.oneshot', 'nas_201_api'))])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"


def test_the_door_to_the_tables_opens_without_pytorch():
    """Only a table that is loaded needs it; the import takes a tenth of the time without."""
    script = "import sys, latentnas.benchmarks; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_loading_is_small(nasbench201):
    tracemalloc.start()
    benchmarks.load("nasbench201", "public")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


# damaged and hostile files


class Hostile:
    """Unpickling it writes a file, as any code could."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_pickle_that_asks_for_more_than_arrays_is_refused(tmp_path):
    target = tmp_path / "written"
    content = pickle.dumps({"cifar10": Hostile(target)})
    pickle.loads(content)
    assert target.exists()  # it works on the usual reader
    target.unlink()
    with pytest.raises(DataError, match=r"runs.pkl is .* asks for .*pathlib.*could run code") as error:
        load_arrays(io.BytesIO(content), Path("runs.pkl"))
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
def test_cut_off_pickles_are_named(damage):
    content = damage(pickle.dumps({"cifar10": np.arange(100.0)}, 4))
    with pytest.raises(DataError, match="runs.pkl is cut off or no pickle"):
        load_arrays(io.BytesIO(content), Path("runs.pkl"))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("nasbench201_runs", "metric_vals.pkl"),
        ("nasbench201_12_epochs", "mini-bench-arch-cell-accs.pd"),
        ("nasbench201_index", "str_arch2idx.pt"),
    ],
)
def test_nothing_is_unpickled_before_its_checksum_matched(nasbench201, mirror, tmp_path, monkeypatch, name, file):
    target = tmp_path / "written"
    for other in nasbench201.source.files:
        copy = tmp_path / "mirror" / FILES[other].location
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(mirror / FILES[other].location)
    replaced = tmp_path / "mirror" / FILES[name].location
    replaced.unlink()
    replaced.write_bytes(pickle.dumps(Hostile(target)))
    monkeypatch.setenv(download.MIRROR_VARIABLE, str(tmp_path / "mirror"))
    with pytest.raises(DataError, match=f"{file} is damaged or not the right one"):
        benchmarks.load("nasbench201", "public")
    assert not target.exists()


# putting a table together

SIGNAL = "cifar10/ori-test@200"
SOURCE = Source("test", {"file": "0" * 64})


def invented(count: int = 15_625) -> dict[str, np.ndarray]:
    """Values of the first cells, enough for `assemble`."""
    return {
        "choices": SPACE.choices(SPACE.enumerate()[:count]),
        "official_index": np.arange(count),
        SIGNAL: np.arange(count) / 1000,
        f"runs {SIGNAL}": np.arange(3.0 * count).reshape(-1, 3),
    }


def test_values_find_their_rows_in_any_order():
    values, order = invented(), np.random.default_rng(0).permutation(15_625)
    found = assemble({name: array[order] for name, array in values.items()}, SOURCE)
    assert np.array_equal(found.table[SIGNAL], values[SIGNAL]) and found.signals == (SIGNAL,)
    assert np.array_equal(found.table["official_index"], np.arange(15_625))
    assert np.array_equal(found.runs(SIGNAL), values[f"runs {SIGNAL}"])


def test_missing_and_repeated_architectures_are_refused():
    last, fourth = SPACE.to_strings(SPACE.enumerate()[[15_624, 3]])
    with pytest.raises(DataError) as error:
        assemble(invented(15_624), SOURCE)
    assert f"1 are missing and 0 given more than once; the first is {last}" in str(error.value)
    values = invented()
    values["choices"][7] = values["choices"][3]
    with pytest.raises(DataError) as error:
        assemble(values, SOURCE)
    assert f"1 are missing and 1 given more than once; the first is {fourth}" in str(error.value)


@pytest.mark.parametrize("value", [-0.5, 100.5, np.inf])
def test_accuracies_that_are_none_are_refused(value):
    values = invented()
    values[SIGNAL][5] = value
    with pytest.raises(ValueError, match=rf"{SIGNAL} of .* not all percentages: that of row 5 is {value} \(1 such"):
        assemble(values, SOURCE)
