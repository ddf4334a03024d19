"""The ENAS table: published check values, D-VAE's split, look-ups, and damaged files."""

import random

import numpy as np
import pandas as pd
import pytest
import torch

from latentnas import benchmarks
from latentnas.benchmarks.base import hold_out
from latentnas.benchmarks.digits import SHARED_FILE
from latentnas.benchmarks.download import DataError
from latentnas.benchmarks.enas import read_structures
from latentnas.graphs import DagBatch
from latentnas.spaces.enas import ENAS

GOOD = "[[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]], 0.7302"


def test_published_check_values(enas):
    accuracy = enas.accuracy.numpy()
    assert len(enas) == len(enas.batch) == len(accuracy) == 19_020 and accuracy.dtype == np.float64
    assert accuracy.min() == 70.20 and accuracy.max() == 75.02
    assert round(accuracy.mean(), 4) == 73.6297 and round(accuracy.std(), 4) == 0.6120
    assert len(set(enas.batch.keys())) == 19_015
    assert ENAS.contains(enas.batch).all()


def test_split_is_dvaes(enas):
    train, test = enas.split()
    assert (len(train), len(test)) == (17_118, 1_902)
    assert sorted(train.tolist() + test.tolist()) == list(range(19_020))
    # the same shuffle on a list of other things: it permutes positions, whatever they hold
    graphs = enas.batch.keys()
    random.Random(0).shuffle(graphs)
    assert enas.batch[train].keys() + enas.batch[test].keys() == graphs
    assert not torch.equal(train, enas.split(seed=1)[0])


def test_held_out_architectures_are_the_last_of_the_training_set(enas):
    learned, _ = enas.split(0)
    train, validation = hold_out(learned, 0.05)
    assert (len(train), len(validation)) == (16_263, 855)
    assert torch.equal(torch.cat([train, validation]), learned)
    held = enas.accuracy[validation]
    assert abs(held.mean() - enas.accuracy[train].mean()) < 4 * held.std() / len(held) ** 0.5  # a random part


def test_predicting_the_mean_and_leaked_graphs(enas):
    train, test = enas.split(seed=0)
    mean, std = enas.accuracy[train].mean(), enas.accuracy[train].std(correction=0)
    assert round(float(mean), 4) == 73.6316 and round(float(std), 5) == 0.61347
    error = (enas.accuracy[test] - mean).square().mean().sqrt() / std
    assert round(float(error), 3) == 0.976
    seen, tested = set(enas.batch[train].keys()), enas.batch[test].keys()
    assert sum(key in seen for key in tested) == 1


def test_costs_cover_the_whole_table(enas):
    assert enas.complexity.max() == 1 and enas.complexity.min() > 0
    complexity = ENAS.complexity(enas.batch)
    assert torch.allclose(enas.complexity * complexity.max(), complexity, rtol=1e-12)
    for column in ("flops", "params"):
        assert np.array_equal(enas.table[column], getattr(ENAS, column)(enas.batch))


def test_query_knows_the_table_and_only_the_table(enas):
    invalid = ENAS.sample(1, seed=0)
    invalid.adjacency[0, 2, 3] = False
    unknown = ENAS.sample(50, seed=5)
    table = set(enas.batch.keys())
    unknown = unknown[[place for place, key in enumerate(unknown.keys()) if key not in table]]
    batch = type(unknown).cat([enas.batch[:100], unknown, invalid])
    plain, found = enas.query(batch), enas.query_any(batch)
    assert list(plain) == ["row", "known", "accuracy", "flops", "params", "complexity"]
    assert plain["known"].equals(found["known"]) and plain["row"][:100].tolist() == list(range(100))
    assert plain[["accuracy", "flops", "params", "complexity"]][100:].isna().all(axis=None)
    assert found["known"].sum() == 100 and found["known"][:100].all() and (found["row"][100:] == -1).all()
    assert np.array_equal(found["accuracy"][:100], enas.accuracy[:100])
    assert found["accuracy"][100:].isna().all()
    assert found["valid"].tolist() == [True] * (len(batch) - 1) + [False]
    assert np.array_equal(found["complexity"][:100], enas.complexity[:100])
    assert found[["flops", "params", "complexity"]].isna().all(axis=1).tolist() == [False] * (len(batch) - 1) + [True]


def test_accuracy_depends_on_skip_connections_alone(enas):
    """A property of the public file that everybody who learns from it should know."""
    patterns = pd.DataFrame(enas.space.skips(enas.batch).numpy())
    by_pattern = pd.Series(enas.accuracy.numpy()).groupby([patterns[flag] for flag in patterns])
    assert len(by_pattern) == 8_477 and (by_pattern.nunique() == 1).all()


def test_the_best_three_of_500_random_rows_are_as_good_as_notebook_04_says(enas):
    rows = np.random.default_rng(0).permuted(np.tile(np.arange(len(enas)), (400, 1)), axis=1)[:, :500]
    best = np.sort(enas.accuracy.numpy()[rows], axis=1)[:, -3:].mean(axis=1)
    assert best.mean() == pytest.approx(74.93, abs=0.005)


def test_query_by_skip_connections(enas):
    other_operations = enas.batch[:50]
    types = other_operations.types.clone()
    types[:, 1:7] = 2 + (types[:, 1:7] - 1) % 6
    found = enas.query_any(DagBatch(types, other_operations.adjacency, other_operations.num_vertices))
    assert np.array_equal(found["accuracy_by_skips"], enas.accuracy[:50]) and not found["known"].all()
    everything = ENAS.sample(1000, seed=0)
    everything.adjacency[0, 2, 3] = False
    by_skips = enas.query_any(everything)["accuracy_by_skips"]
    assert np.isnan(by_skips[0]) and 0 < by_skips.notna().sum() < 999


def test_the_bundled_table_is_in_percent_too():
    bundled = benchmarks.load("enas", "bundled")
    assert len(bundled) == 19_020 and 60 < bundled.accuracy.mean() < 100 and not bundled.skips_decide
    assert bundled.optimum("accuracy") == int(bundled.accuracy.argmax()) and bundled.source.name == "bundled"
    assert [path.name for path in bundled.files()] == list(bundled.source.files) == [SHARED_FILE]
    with pytest.raises(ValueError, match="no single runs of 'accuracy'; it has those of no signal"):
        bundled.noise("accuracy")


@pytest.mark.parametrize("name", ["enas", "nasbench201"])
def test_a_table_asked_for_what_is_no_batch_says_so(name):
    table = benchmarks.load(name, "bundled")
    for asked, kind in (([3, 4], "list"), ("a text", "str")):
        for question in (table.query, table.index):
            with pytest.raises(TypeError, match=f"asked for graphs in a DagBatch, not for {kind}. Make one .*to_batch"):
                question(asked)


def test_read_structures(tmp_path):
    path = tmp_path / "structures.txt"
    path.write_text(f"{GOOD}\n{GOOD.replace('0.7302', '.75')}\n")
    batch, accuracy = read_structures(path)
    assert ENAS.to_strings(batch) == [GOOD.removesuffix(", 0.7302")] * 2 and accuracy.tolist() == [73.02, 75]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"\xff\xfe\x00", "'utf-8' codec can't decode"),
        (b"", "not enough values"),
        (b"[[1]]\n", "not enough values|Text 1 of 1"),
        (GOOD.replace("0.7302", "high").encode(), "could not convert string to float: .* high"),
        (f"{GOOD}\n{'[' * 5000}, 0.7\n".encode(), "Text 2 of 2: .*recursion"),
    ],
)
def test_a_file_of_structures_in_another_format_is_named(tmp_path, content, words):
    path = tmp_path / "structures.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"The file {path} is not in D-VAE's format, .*({words})") as error:
        read_structures(path)
    assert "\n" not in str(error.value)


def test_what_is_fetched_beforehand_is_what_the_tables_read(enas, nasbench101, nasbench201):
    fetched = {*benchmarks.fetch()}
    for table in (enas, nasbench101, nasbench201):
        assert table.files() and {*table.files()} <= fetched
