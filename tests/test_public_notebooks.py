"""Notebooks that the public tables change run with them from start to end in the smoke profile."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from companion import profiles
from test_notebooks import check_run

pytestmark = pytest.mark.slow

# Of the encoders that 11 reads, all of which run with the bundled tables, two: an order needs two.
PUBLIC = {"data_source": "public", "encoders": ["D-VAE", "NGAE"]}
WITH_PUBLIC_DATA = profiles.plan("smoke", ["03", "04", "11", "14"], PUBLIC)[1:]  # without 02
WITH_LARGER_CELLS = {"data_source": "public", "nb101_seeds": 1, "nb101_epochs": 1}  # of NAS-Bench-101


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("output")


@pytest.mark.parametrize("job", WITH_PUBLIC_DATA, ids=lambda job: job.notebook)
def test_notebook_runs_with_public_data(job, output, enas, nasbench201):
    check_run(job, output)


@pytest.mark.parametrize("job", profiles.plan("smoke", ["06"], WITH_LARGER_CELLS), ids=lambda job: job.notebook)
def test_notebook_ranks_larger_cells(job, output, nasbench101, nasbench201):
    check_run(job, output)
    ranked = pd.read_csv(output / "data/results" / job.label / job.notebook / "larger_cells.csv", index_col="method")
    larger = np.flatnonzero(nasbench101.batch.num_vertices == 7)
    accuracy, params = (nasbench101.table[column].to_numpy()[larger] for column in ("cifar10/test@108", "params"))
    assert ranked.loc["params", "kendall"] == pytest.approx(kendalltau(params, accuracy).statistic, abs=1e-6)
    assert {"SVGe", "one-hot", "path features", "graph features", "random"} <= set(ranked.index)


@pytest.mark.parametrize("job", profiles.plan("smoke", ["07c"]), ids=lambda job: job.notebook)
def test_notebook_searches_larger_cells(job, output, nasbench101):
    check_run(job, output)
    best = pd.read_csv(output / "data/results" / job.label / job.notebook / "standings.csv").groupby("queries").mean()
    accuracy = nasbench101.table["cifar10/test@108"].to_numpy()
    found = best.drop(columns=["seed", "random"])  # that of random search is an expectation
    assert {30, 50} <= set(best.index) and (best.diff().dropna() >= 0).all(axis=None)
    assert {"crlso", "paths", "largest"} <= set(found) and all(
        np.isclose(accuracy, x, rtol=0, atol=1e-6).any() for x in found.to_numpy().flat
    )
