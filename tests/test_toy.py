"""The templates of the coursework go through everything without a change to the library: a space, a benchmark, a model
and a searcher of one's own."""

import inspect
import runpy

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from my_model import MyConfig, MyModel
from my_searcher import MySearcher
from my_space import MySpace
from my_table import MyTable

from latentnas import evaluate, paths, train
from latentnas.models.family import configure
from latentnas.plots.cells import draw_cell
from latentnas.plots.search import incumbent_curves
from latentnas.search.base import run
from latentnas.search.discrete import RandomSearch
from latentnas.search.history import curve

SPACE, BENCHMARK = MySpace(), MyTable()
TRAINING = train.TrainConfig(epochs=300, batch_size=16, learning_rate=1e-2, precision="fp32")


@pytest.mark.parametrize("part", [MySpace, MyTable, MyModel, MySearcher])
def test_each_is_small(part):
    assert len(inspect.getsource(part).splitlines()) <= 60


@pytest.mark.parametrize("name", ["my_space", "my_table", "my_model", "my_searcher"])
def test_each_runs_alone_and_keeps_its_contract(name, capsys):
    runpy.run_path(paths.ROOT / f"notebooks/coursework/templates/{name}.py", run_name="__main__")
    assert capsys.readouterr().out.endswith("keeps its contract.\n")


def sampled_domain(seed=0):
    return pytest.importorskip("latentnas.search.domains").SampledDomain(SPACE, seed)


@pytest.mark.slow
def test_the_model_is_trained_and_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINTS", tmp_path)
    batch = SPACE.sample(64, seed=1)
    result = train.train_model("toy", MyModel, MyConfig(), batch, {}, TRAINING)
    again = train.train_model("toy", MyModel, MyConfig(), batch, {}, TRAINING)
    assert again.directory == result.directory and again.history.equals(result.history)
    rebuilt = evaluate.reconstruction(result.model, batch, trials=10)
    assert rebuilt["clean"] > 80 and rebuilt["published"] > 50
    quality = evaluate.prior_quality(result.model, SPACE, batch, points=30)
    assert quality["validity_clean"] > 50 and all(0 <= value <= 100 for value in quality.values())
    line = evaluate.latent_lines(evaluate.encode_all(result.model, batch), 3, 4)
    assert len(evaluate.smoothness(result.model, SPACE, line)) == 3


def test_a_model_of_the_library_learns_the_space(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINTS", tmp_path)
    model_class, config = configure("D-VAE", SPACE, hidden=16, svge_hidden=16, latent=4)
    few = train.TrainConfig(epochs=2, batch_size=16, precision="fp32")
    result = train.train_model("dvae-toy", model_class, config, SPACE.sample(32, seed=0), {}, few)
    assert result.history["total"].is_monotonic_decreasing


@pytest.mark.parametrize("seeds", [1, 3])
def test_searches_of_ones_own_and_of_the_library_are_drawn(seeds):
    curves = []
    for method in (MySearcher, RandomSearch):
        histories = []
        for seed in range(seeds):
            domain = sampled_domain(seed)
            objective = domain.objective(lambda graphs: BENCHMARK.query(graphs)["accuracy"])
            histories.append(run(method(domain, seed), objective, 40))
            assert histories[-1]["incumbent"].is_monotonic_increasing
        if method is MySearcher:
            assert all(history["incumbent"].iloc[-1] == 85 for history in histories)  # the best of all
        summary = curve(pd.concat(histories), at=range(1, 41))
        assert summary["low"].isna().all() == (seeds == 1)
        summary[["mean", "low", "high"]] /= 100
        curves.append(summary.assign(dataset="toy", signal="test", method=method.__name__, best=0.85))
    figure = incumbent_curves(pd.concat(curves))
    ax = figure.axes[0]
    bands = [len(np.concatenate([path.vertices for path in band.get_paths()] or [[]])) for band in ax.collections]
    assert len(ax.lines) == 3 and (sum(bands) == 0 if seeds == 1 else min(bands) > 0)
    figure.canvas.draw()
    plt.close(figure)


def test_a_cell_is_drawn():
    figure, ax = plt.subplots()
    graph = SPACE.to_batch(["cpc 101"])
    draw_cell(ax, graph.types[0], graph.adjacency[0], SPACE.type_names)
    figure.canvas.draw()
    words = {text.get_text() for text in ax.texts}
    assert ax.patches and (not words or any("conv" in word for word in words))
    plt.close(figure)


def test_what_a_toy_lacks_is_said():
    with pytest.raises(ValueError, match="'xyz' is no toy architecture"):
        SPACE.to_batch(["cpc 101", "xyz"])
    known = BENCHMARK.query(SPACE.sample(3, 0).pad_to(7))
    assert known["known"].all() and torch.tensor(known["accuracy"].to_numpy()).isfinite().all()
