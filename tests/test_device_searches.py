"""Evaluations, searches and notebooks with models on a pretended accelerator: no mixed devices, the CPU's choices."""

import copy
import os
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import pytest
import torch

from companion import profiles, runner
from latentnas import evaluate
from latentnas.measure import digits
from latentnas.models.convex import RefitConfig
from latentnas.models.crlso import CRLSO, CRLSOConfig
from latentnas.models.gaussian_process import SparseGPConfig
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.oneshot.e2nas import E2nas
from latentnas.oneshot.shared_cells import SharedCells, SharedSkeleton
from latentnas.oneshot.strategies import Darts, Gdas, TopKEvolution, UniformCells, one_shot_search
from latentnas.oneshot.training import SupernetSchedule, shared_accuracy
from latentnas.search.base import run
from latentnas.search.discrete import Reinforce
from latentnas.search.domains import SampledDomain, table_domain
from latentnas.search.ensemble import EnsembleConfig, EnsembleSearch
from latentnas.search.gaussian import GaussianConfig, GaussianSearch
from latentnas.search.latent import ascent, crlso
from latentnas.search.latent.bayesian import BayesianConfig, BayesianSearch, RandomInBox
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.train import TrainConfig
from model_checks import with_strong_weights
from pretend_device import DeviceTensor, pretended_device
from test_devices import smaller
from test_notebooks import check_run

CELLS, SIZES = NASBENCH201.sample(24, seed=0), {"num_types": 7, "hidden": 16, "latent": 8}
LABELS = {"performance": torch.linspace(70, 90, 24), "complexity": torch.linspace(1, 0, 24)}
LATENT = BayesianConfig(rounds=2, batch=4, candidates=50, refinement=5, trials=5, gp=SparseGPConfig(10, 3))
CLIMBING = {"initial": 10, "starts": 2, "max_steps": 5, "refit": RefitConfig(epochs=2)}
TRAINING = TrainConfig(epochs=1, precision="fp32")
LEARNT = {"predictor_training": TRAINING, "training": TRAINING, "shown": slice(300), "config": CRLSOConfig(hidden=16)}
SCHEDULE = SupernetSchedule(epochs=1, batch_size=32)
STRATEGIES = {
    "uniform": lambda: UniformCells(),
    "DARTS": lambda: Darts(0),
    "GDAS": lambda: Gdas(0),
    "E2NAS": lambda: E2nas(crlso.embed(CRLSO(CRLSOConfig(hidden=16, latent=8)).eval(), NASBENCH201.enumerate()), 0),
}
# Every operator takes several times as long there: of each notebook all it does, with few graphs. With 03 comes 02.
FEW = {
    "00": {"small_graphs": 100, "map_size": 3},
    "03": {"train_graphs": 120, "epochs": 2, "trials": 3, "points": 20, "prior_samples": 30, "ascent_steps": 4},
    "07": {"seeds": 1, "tuning_seeds": 0, "predictor_epochs": 2, "queries": 24, "labels": 12, "few_queries": 22},
    "07b": {
        **{"study_seeds": 1, "side_seeds": 0, "tuning_seeds": 0, "predictor_epochs": 2},
        **{"labels": 12, "ascents": 10, "pairs": 200},
    },
    "13": {"train_graphs": 64, "epochs": 1, "candidates": 100},
}
ON_DEVICE = [job for notebook, few in FEW.items() for job in profiles.plan("smoke", [notebook], few)]


def on_both(results):
    """What a function of a device gives, on the CPU and on the pretended device: the same, but for rounding."""
    expected = results("cpu")
    with pretended_device() as device:
        for here, there in zip(expected, results(device), strict=True):
            if isinstance(here, pd.DataFrame):
                pd.testing.assert_frame_equal(there, here, rtol=1e-4)
            elif isinstance(here, torch.Tensor):
                assert isinstance(there, DeviceTensor)
                torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-5)
            else:
                assert there == pytest.approx(here, rel=1e-4), (here, there)


def build(device):
    """An untrained NGAE with the decoder of CR-LSO, sure to give cells, and its codes of `CELLS`."""
    torch.manual_seed(0)
    model = NGAE(NGAEConfig(**SIZES))
    model.calibrate(**LABELS)
    model.cells = CRLSO(CRLSOConfig(hidden=16, latent=8))
    model.decode, model.sample_decodes = model.cells.decode, model.cells.sample_decodes
    model = with_strong_weights(model, 3.0).to(device)
    return model, evaluate.encode_all(model, CELLS)


def test_evaluations_on_the_device():
    def results(device):
        model, mu = build(device)
        lines = evaluate.latent_lines(mu, 5, 8)
        probe = evaluate.GPProbe(mu, LABELS["performance"].numpy())
        numbers = evaluate.reconstruction(model, CELLS, 10), evaluate.prior_quality(model, NASBENCH201, CELLS, 50)
        path = evaluate.smoothness(model, NASBENCH201, lines)
        assert path["graphs"].max() > 1
        distances = evaluate.distance_correlation(mu, CELLS, 100)
        return mu, lines, *numbers, path, distances, evaluate.predicted_accuracy(model, CELLS), probe(mu)

    on_both(results)


def test_searches_along_gradients_on_the_device():
    def results(device):
        model, mu = build(device)
        best = ascent.best_of_prior(model, mu, samples=40, keep=5)
        path = ascent.gradient_ascent(model, best, 4, 0.1, prior_weight=0.1, train_mu=mu)
        steps = ascent.nao_steps(model, NASBENCH201, mu[:4], CELLS, max_steps=20)
        found = ascent.architectures(model, NASBENCH201, path.z[-1])
        assert len(steps) and len(found)
        return ascent.prior_start(mu, 3, 0), best, path.z, path.performance, path.complexity, steps, found

    on_both(results)


@pytest.mark.slow
@pytest.mark.parametrize("search", [BayesianSearch, RandomInBox])
@pytest.mark.parametrize("kind", [table_domain, partial(SampledDomain, typical=5)], ids=["table", "sampled"])
def test_searches_of_a_model_on_the_device(search, kind):
    domain = kind(NASBENCH201)

    def results(device):
        model, mu = build(device)
        searcher = search(domain, 0, model, mu, LABELS["performance"].to(device), LATENT)
        return [run(searcher, domain.objective(NASBENCH201.flops), 6, batch=4)]

    on_both(results)


def test_searches_without_a_model_on_the_device():
    """They compute on the CPU, beside a model on the device whose codes they may see."""

    def results(device):
        domain, values = table_domain(NASBENCH201), np.cos(np.arange(NASBENCH201.size))
        codes = evaluate.encode_all(build(device)[0], NASBENCH201.enumerate()).cpu().numpy()
        codes = (codes - codes.min(axis=0)) / np.ptp(codes, axis=0)
        searchers = (
            EnsembleSearch(domain, 0, EnsembleConfig(steps=2)),
            GaussianSearch(domain, 0, GaussianConfig(iterations=2), domain.lookup(codes)),
            Reinforce(domain, 0),
        )
        return [run(searcher, domain.lookup(values), 14, batch=2) for searcher in searchers]

    on_both(results)


def test_searches_of_cr_lso_train_on_the_device(tmp_path, monkeypatch):
    domain, values = table_domain(NASBENCH201), 50 + 40 * np.cos(np.arange(NASBENCH201.size))
    configs = crlso.CRLSOSearchConfig(**CLIMBING), replace(crlso.ENSEMBLE, **CLIMBING, members=2)

    def results(device):
        monkeypatch.setenv("LATENTNAS_DEVICE", str(device))
        monkeypatch.setattr("latentnas.train.CHECKPOINTS", tmp_path / str(device))

        @lru_cache(1)
        def space():
            rows = np.arange(10)
            return crlso.learn_latent_space(rows, values[rows], NASBENCH201.enumerate(), "space", **LEARNT)

        searchers = (crlso.CRLSOSearch(domain, 0, lambda *_: [space()], config) for config in configs)
        return [run(searcher, domain.lookup(values), 20, batch=5) for searcher in searchers]

    on_both(results)


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_one_shot_searches_on_the_device(name, tmp_path):
    data, some = smaller(digits.load(0.5, copies=1)), torch.zeros(2, 6, dtype=torch.int64)
    searcher = TopKEvolution(table_domain(NASBENCH201), 0, population=3) if name == "uniform" else None

    def results(device):
        network, path = SharedCells(SharedSkeleton(channels=2), 0).to(device), tmp_path / f"{device}.safetensors"
        observe = lambda network, _: {"seen": shared_accuracy(network, some, data.valid).sum().item()}  # noqa: E731
        torch.manual_seed(0)
        found = one_shot_search(
            network, STRATEGIES[name](), data, SCHEDULE, 0, path, 6, copy.deepcopy(searcher), observe
        )
        return found.training.drop(columns="seconds"), found.selection, found.row, *found.visited

    on_both(results)


START = """from pretend_device import pretended_device

pretended = pretended_device()
pretended.__enter__()
"""


@pytest.mark.slow
@pytest.mark.parametrize("job", ON_DEVICE, ids=lambda job: job.notebook)
def test_notebooks_on_the_device(job, tmp_path_factory):
    """Each Python begins on the pretended device."""
    folder = tmp_path_factory.getbasetemp() / "device"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(START)
    path = os.pathsep.join([str(folder), os.path.dirname(__file__), runner.library_path()])
    check_run(job, folder, LATENTNAS_DEVICE="lazy", LATENTNAS_DATA_MIRROR=str(folder), PYTHONPATH=path)
