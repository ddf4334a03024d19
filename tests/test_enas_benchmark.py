"""The ENAS table: published check values, D-VAE's split, look-ups, and damaged files."""

import random
import time

import numpy as np
import pandas as pd
import pytest
import torch

from latentnas.benchmarks.download import DataError
from latentnas.benchmarks.enas import load_enas, read_structures
from latentnas.graphs import DagBatch
from latentnas.spaces.enas import ENAS

GOOD = "[[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]], 0.7302"


def test_published_check_values(enas):
    accuracy = enas.accuracy.numpy()
    assert len(enas) == len(enas.batch) == len(accuracy) == 19_020 and accuracy.dtype == np.float64
    assert accuracy.min() == 0.7020 and accuracy.max() == 0.7502
    assert round(accuracy.mean(), 6) == 0.736297 and round(accuracy.std(), 6) == 0.006120
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


def test_predicting_the_mean_and_leaked_graphs(enas):
    train, test = enas.split(seed=0)
    mean, std = enas.accuracy[train].mean(), enas.accuracy[train].std(correction=0)
    assert round(float(mean), 6) == 0.736316 and round(float(std), 7) == 0.0061347
    error = (enas.accuracy[test] - mean).square().mean().sqrt() / std
    assert round(float(error), 3) == 0.976
    seen = set(enas.batch[train].keys())
    assert sum(key in seen for key in enas.batch[test]) == 1


def test_costs_cover_the_whole_table(enas):
    assert enas.complexity.max() == 1 and enas.complexity.min() > 0
    assert torch.allclose(enas.complexity * enas.complexity_scale, ENAS.complexity(enas.batch), rtol=1e-12)
    assert torch.equal(enas.flops, ENAS.flops(enas.batch)) and torch.equal(enas.params, ENAS.params(enas.batch))


def test_query_knows_the_table_and_only_the_table(enas):
    invalid = ENAS.sample(1, seed=0)
    invalid.adjacency[0, 2, 3] = False
    unknown = ENAS.sample(50, seed=5)
    unknown = unknown[[key not in set(enas.batch.keys()) for key in unknown]]
    batch = type(unknown).cat([enas.batch[:100], unknown, invalid])
    found = enas.query(batch)
    assert found["known"].sum() == 100 and found["known"][:100].all()
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


def test_query_by_skip_connections(enas):
    other_operations = enas.batch[:50]
    types = other_operations.types.clone()
    types[:, 1:7] = 2 + (types[:, 1:7] - 1) % 6
    found = enas.query(DagBatch(types, other_operations.adjacency, other_operations.num_vertices))
    assert np.array_equal(found["accuracy_by_skips"], enas.accuracy[:50]) and not found["known"].all()
    everything = ENAS.sample(1000, seed=0)
    everything.adjacency[0, 2, 3] = False
    by_skips = enas.query(everything)["accuracy_by_skips"]
    assert np.isnan(by_skips[0]) and 0 < by_skips.notna().sum() < 999


def test_other_data_sources_are_refused():
    with pytest.raises(DataError, match="no data source 'private'.*'public' or 'bundled'"):
        load_enas("private")


def test_loading_is_fast(enas):
    start = time.perf_counter()
    load_enas()
    assert time.perf_counter() - start < 2  # 0.15 s on an idle core


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace("[5, 0, 0]", "[5, 0, 3]"), "Line 2 of .*row 3, position 3, is 3"),
        (GOOD.replace(", 0.7302", ""), "Line 2 of .*is not an architecture and an accuracy"),
        (GOOD.replace("0.7302", "high"), "Line 2 of .*is not an architecture and an accuracy"),
        ("", "Line 2 of .*is not an architecture"),
        (GOOD.replace("[1], ", ""), "Line 2 of .*5 rows"),
    ],
)
def test_malformed_line_is_named(tmp_path, line, message):
    path = tmp_path / "structures.txt"
    path.write_text("\n".join([GOOD, line, GOOD]))
    with pytest.raises(DataError, match=message) as error:
        read_structures(path)
    assert "\n" not in str(error.value)


def test_read_structures(tmp_path):
    path = tmp_path / "structures.txt"
    path.write_text(f"{GOOD}\n{GOOD.replace('0.7302', '.75')}\n")
    batch, accuracy = read_structures(path)
    assert ENAS.to_strings(batch) == [GOOD.removesuffix(", 0.7302")] * 2 and accuracy.tolist() == [0.7302, 0.75]
