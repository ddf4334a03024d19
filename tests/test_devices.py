"""Models and supernets on a pretended accelerator: nothing on another device than the rest, and the CPU's numbers."""

import os
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from unittest import mock

import pytest
import torch

from latentnas.checkpoint import CheckpointError
from latentnas.devices import prepare_device
from latentnas.graphs import equal
from latentnas.measure import digits
from latentnas.measure.cells import CellNetworks
from latentnas.measure.macro import MacroNetwork
from latentnas.measure.train import Schedule, accuracy, shared_accuracy, train_shared, train_side_by_side
from latentnas.models.convex import InputConvexNetwork, RefitConfig, refit
from latentnas.models.crlso import CRLSO, AccuracyPredictor, AccuracyPredictorConfig, CRLSOConfig
from latentnas.models.family import FAMILY, configure
from latentnas.models.gaussian_process import SparseGP, SparseGPConfig
from latentnas.models.gcn import GCN, GCNConfig
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.models.sequence import SVAE, GraphRNN, SVAEConfig
from latentnas.models.svge import SVGe, SVGeConfig
from latentnas.oneshot.e2nas import E2nas
from latentnas.oneshot.shared_cells import SharedCells, SharedSkeleton
from latentnas.oneshot.strategies import Darts, Gdas, UniformCells
from latentnas.oneshot.training import SupernetSchedule, train_supernet
from latentnas.search.latent.crlso import embed
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.train import TrainConfig, _recordable, fit
from model_checks import fit_in_two_sittings
from pretend_device import UPLOADS, WAITS, DeviceMismatch, DeviceTensor, pretended_device

LABELS = {"performance": torch.linspace(70, 90, 12), "complexity": torch.linspace(0, 1, 12)}
SMALL = {"num_types": 7, "hidden": 16, "latent": 8}
MODELS = {  # class, configuration, space, labels
    **{name: (*configure(name, NASBENCH201, 16, 16, 8), NASBENCH201, ()) for name in FAMILY},
    "S-VAE released": (SVAE, SVAEConfig(**SMALL, released=True), NASBENCH201, ()),
    "GraphRNN released": (GraphRNN, SVAEConfig(**SMALL, released=True), NASBENCH201, ()),
    "GCN released": (GCN, GCNConfig(**SMALL, released=True), NASBENCH201, ()),
    "NGAE": (NGAE, NGAEConfig(**SMALL), NASBENCH201, ("performance", "complexity")),
    "NGAE convex": (NGAE, NGAEConfig(**SMALL, predictors="convex"), NASBENCH201, ("performance", "complexity")),
    "SVGe with predictor": (SVGe, SVGeConfig(**SMALL, predictor=True), NASBENCH201, ("performance",)),
    "CR-LSO 201": (CRLSO, CRLSOConfig(hidden=16, latent=8), NASBENCH201, ("performance",)),
    "CR-LSO 101": (CRLSO, CRLSOConfig(space="nasbench101", hidden=16, latent=8), NASBENCH101, ("performance",)),
    "predictor": (AccuracyPredictor, AccuracyPredictorConfig(hidden=16), NASBENCH201, ("performance",)),
}


def build(name):
    model_class, config, space, labels = MODELS[name]
    torch.manual_seed(0)
    model, targets = model_class(config), {label: LABELS[label] for label in labels}
    model.calibrate(**targets)
    return model, space.sample(12, seed=0), targets


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_resumes_and_decodes_on_the_device(name, tmp_path, monkeypatch):
    """In two sittings on the device, with the losses of the CPU up to rounding."""
    config = TrainConfig(epochs=2, batch_size=6, precision="fp32")
    expected = fit(*build(name), config, tmp_path / "cpu", device="cpu")
    with pretended_device() as device:
        directory = tmp_path / "device"
        model, history = fit_in_two_sittings(lambda: build(name), config, directory, monkeypatch, 3, device)
        assert all(isinstance(value, DeviceTensor) for value in model.state_dict().values())
        if name != "arch2vec":  # its dropout draws from the device's own generator
            assert history["total"].tolist() == pytest.approx(expected["total"].tolist(), rel=1e-4)
        model.eval()
        graphs = MODELS[name][2].sample(12, seed=0).to(device)
        if name == "predictor":
            assert isinstance(model.predict(graphs), DeviceTensor)
            return
        mu, _ = model.encode(graphs)
        decoded = model.decode(mu)
        sampled, source, count = model.sample_decodes(mu, 5, torch.Generator(device).manual_seed(0))
        for values in (mu, decoded.types, decoded.adjacency, decoded.num_vertices, sampled.types, source, count):
            assert isinstance(values, DeviceTensor)
        assert count.sum().item() == 60


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_no_step_waits_for_the_device_or_copies_to_it(name, tmp_path, monkeypatch):
    """All steps but the first, which may prepare what the others use."""
    seen = []
    note = lambda *arguments, **options: seen.append((Counter(WAITS), Counter(UPLOADS)))  # noqa: E731
    monkeypatch.setattr("latentnas.train.Progress.update", note)
    with pretended_device() as device:
        config = TrainConfig(epochs=1, batch_size=3, precision="fp32", optimizer="muon")
        fit(*build(name), config, tmp_path, device=device)
    steps = [tuple(after - before for before, after in zip(*pair)) for pair in pairwise(seen[:4])]
    assert steps == [(Counter(), Counter())] * 3


def test_a_model_that_is_asked_by_itself_waits_once_to_check_its_batch():
    """For sizes and types of all graphs together."""
    for name in ("S-VAE", "GraphRNN", "arch2vec", "SVGe"):
        model, batch, targets = build(name)
        with pretended_device() as device:
            model.to(device).train()
            batch = batch.to(device)
            WAITS.clear()
            model.loss(batch, **targets, generator=torch.Generator(device).manual_seed(0))["total"].backward()
            assert WAITS.total() == 1, (name, WAITS)


def on_gpu(test):
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU with CUDA")(test))


@on_gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_resumes_and_decodes_on_a_gpu(name, tmp_path, monkeypatch):
    """Losses as on a CPU, but for TF32 and other noise; most decodes the same; the same weights twice."""
    config = TrainConfig(epochs=2, batch_size=6, precision="fp32", optimizer="muon")
    here, _, targets = build(name)
    graphs = MODELS[name][2].sample(12, seed=0)
    expected = fit(here, graphs, targets, config, tmp_path / "cpu", device="cpu")["total"]
    there, history = fit_in_two_sittings(lambda: build(name), config, tmp_path / "gpu", monkeypatch, 3, "cuda")
    if name != "arch2vec":  # its dropout draws other numbers there
        assert history["total"].tolist() == pytest.approx(expected.tolist(), rel=0.02)
    again, _, _ = build(name)
    fit(again, graphs, targets, config, tmp_path / "again", device="cuda")
    for first, second in zip(there.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(first, second)
    if name != "predictor":
        mu, model = there.eval().encode(graphs.to("cuda"))[0], here.eval()
        model.load_state_dict(there.state_dict())
        torch.testing.assert_close(mu.cpu(), model.encode(graphs)[0], rtol=0.01, atol=0.01)
        assert equal(there.decode(mu).to("cpu"), model.decode(mu.cpu())).float().mean() > 0.5
        _, source, count = there.sample_decodes(mu, 5, torch.Generator("cuda").manual_seed(0))
        assert torch.bincount(source, count).tolist() == [5] * 12


@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_no_step_waits_for_a_gpu(name, precision, tmp_path, monkeypatch):
    """CUDA's own guard raises at a wait or a copy that waits, in all steps but the first of the epoch."""
    model, graphs, targets = build(name)
    modes = iter(["error", "error", "error", "default", "default"])
    monkeypatch.setattr("latentnas.train.Progress.update", lambda *_, **__: torch.cuda.set_sync_debug_mode(next(modes)))
    try:
        config = TrainConfig(epochs=1, batch_size=3, precision=precision, optimizer="muon")
        fit(model, graphs, targets, config, tmp_path, device="cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_a_recorded_step_gives_the_weights_of_the_step_itself(name, precision, tmp_path, monkeypatch):
    """Three steps as they are and a rest of two graphs, then recorded ones; the learning rate changes in each."""
    config, trained = TrainConfig(epochs=3, batch_size=5, precision=precision, optimizer="muon"), []
    for recordable in (True, False):
        model, graphs, targets = build(name)
        monkeypatch.setattr(type(model), "recordable", recordable)
        fit(model, graphs, targets, config, tmp_path / str(recordable), device="cuda")
        trained.append(model.state_dict())
    for key, value in trained[0].items():
        torch.testing.assert_close(value, trained[1][key], rtol=1e-5, atol=1e-6)


def test_steps_of_a_class_that_only_inherits_from_ours_are_not_recorded():
    says_so = type("SaysSo", (NGAE,), {"recordable": True})
    assert _recordable(NGAE) and _recordable(CRLSO) and _recordable(says_so)
    assert not _recordable(type("Inherits", (NGAE,), {})) and not _recordable(torch.nn.Linear)


def test_an_epoch_that_was_cut_off_on_another_device_is_not_gone_on_with(tmp_path, monkeypatch):
    config = TrainConfig(epochs=1, batch_size=3, precision="fp32")
    with pretended_device() as device:
        monkeypatch.setattr("latentnas.train.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        stop = mock.patch("latentnas.train.Progress.update", side_effect=[None, None, KeyboardInterrupt])
        with stop, pytest.raises(KeyboardInterrupt):
            fit(*build("SVGe"), config, tmp_path, device=device)
    with pytest.raises(CheckpointError, match="within epoch 1 on the device 'lazy'. Go on there"):
        fit(*build("SVGe"), config, tmp_path, device="cpu")


@on_gpu
def test_a_step_that_waits_is_not_recorded(tmp_path):
    class Waiting(NGAE):
        recordable = True

        def loss(self, batch, generator=None, **labels):
            terms = super().loss(batch, generator, **labels)
            float(terms["total"])
            return terms

    graphs, config = NASBENCH201.sample(12, seed=0), TrainConfig(epochs=2, batch_size=3)
    settings = NGAEConfig(**SMALL, predictors="none")
    with pytest.raises(RuntimeError, match="cannot be recorded as a CUDA graph.*recordable = False"):
        fit(Waiting(settings), graphs, {}, config, tmp_path / "waits", device="cuda")
    del Waiting.recordable
    fit(Waiting(settings), graphs, {}, config, tmp_path / "waits", device="cuda")


@on_gpu
def test_shared_cells_train_on_a_gpu_as_on_a_cpu(tmp_path):
    data, schedule = smaller(digits.load(0.5, copies=1)), SupernetSchedule(epochs=1, batch_size=32)
    losses = []
    for device in ("cpu", "cuda"):
        network = SharedCells(SharedSkeleton(channels=2), 0).to(device)
        history = train_supernet(network, UniformCells(), data, schedule, 0, tmp_path / f"{device}.safetensors")
        losses.append(history["train_loss"].tolist())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_gpu_gets_its_rules_and_a_cpu_none(monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", calls.append)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *given, **named: calls.append((given, named)))
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    prepare_device(torch.device("cpu"))
    assert not calls and "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    prepare_device(torch.device("cuda", 1))
    assert calls == ["high", ((True,), {"warn_only": True})] and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_convex_networks_are_made_and_fitted_on_the_device():
    z, targets = torch.randn(40, 5), torch.rand(40)
    config = RefitConfig(epochs=2, batch_size=16)
    made = [InputConvexNetwork(5, 8, 2, members=3, generator=torch.Generator().manual_seed(0))]
    refit(made[0], z, targets, config, torch.Generator().manual_seed(1))
    with pretended_device() as device:
        made.append(InputConvexNetwork(5, 8, 2, members=3, generator=torch.Generator(device).manual_seed(0)))
        refit(made[1], z.to(device), targets.to(device), config, torch.Generator(device).manual_seed(1))
        torch.testing.assert_close(made[1](z.to(device)).cpu(), made[0](z))


def test_the_gaussian_process_is_fitted_on_the_device():
    x, y = torch.randn(60, 3), torch.rand(60)
    config = SparseGPConfig(inducing=10, steps=3)
    expected = SparseGP(config).fit(x, y)
    with pretended_device() as device:
        process = SparseGP(config).fit(x.to(device), y.to(device))
        mean, deviation = process.predict(x.to(device))
        covariance = process.covariance(x[:3].to(device), x[3:5].to(device))
        for values in (mean, deviation, covariance):
            assert isinstance(values, DeviceTensor)
        torch.testing.assert_close(mean.cpu(), expected.predict(x)[0], rtol=1e-4, atol=1e-4)


def test_a_model_for_larger_graphs_is_on_the_device_of_the_first():
    model, batch, _ = build("SVGe")
    expected = model.eval().for_graphs_of(10).encode(batch)[0]
    with pretended_device() as device:
        wide = model.to(device).for_graphs_of(10)
        assert torch.equal(wide.encode(batch.to(device))[0].cpu(), expected)


def test_the_pretended_device_refuses_what_an_accelerator_refuses():
    with pretended_device() as device:
        there, here = torch.arange(3.0, device=device), torch.arange(3.0)
        assert (there * 2 + torch.tensor(1.0)).cpu().tolist() == [1, 3, 5]
        assert there[torch.tensor([2, 0])].tolist() == [2, 0]
        refused = [
            lambda: there + here,
            lambda: here[there.long()],
            lambda: torch.cat([there, here]),
            lambda: there.numpy(),
            lambda: torch.rand(3, device=device, generator=torch.Generator()),
            lambda: torch.rand(3, generator=torch.Generator(device)),
            lambda: torch.nn.Linear(3, 1)(there),
        ]
        for call in refused:
            with pytest.raises(DeviceMismatch):
                call()
        WAITS.clear()
        assert there.sum().item() == 3 and len(there.nonzero()) == 2 and len(there[there > 1]) == 1
        assert WAITS.total() == 3
        UPLOADS.clear()
        there.copy_(here), here.to(device), torch.tensor([1.0], device=device), there[here.long()]
        there + torch.tensor(1.0), there[1:], torch.zeros(2, device=device), there[there.long()], there.clone()
        assert UPLOADS.total() == 4
    assert torch.rand(3, generator=torch.Generator()).shape == (3,)


def smaller(data, count=96):
    """So many images of each part."""
    parts = {name: getattr(data, name) for name in ("train", "valid", "test")}
    return replace(
        data, **{name: digits.Images(part.images[:count], part.labels[:count]) for name, part in parts.items()}
    )


def test_networks_of_cells_train_side_by_side_on_the_device():
    operations = torch.tensor([[3, 0, 4, 1, 2, 3], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 0, 1]])
    data, schedule = smaller(digits.load(0.5, copies=1)), Schedule(epochs=1)
    here, there = (CellNetworks(operations, [0, 1, 2], channels=2) for _ in range(2))
    train_side_by_side(here, data, schedule, seed=0)
    with pretended_device() as device:
        train_side_by_side(there.to(device), data, schedule, seed=0)
        assert accuracy(there, data.valid).tolist() == accuracy(here, data.valid).tolist()
        logits = there(data.test.images.to(device)).cpu()
    torch.testing.assert_close(logits, here(data.test.images), rtol=1e-3, atol=1e-4)


def test_the_macro_network_trains_and_is_measured_on_the_device():
    data, schedule = smaller(digits.load(0.5, copies=1)), Schedule(epochs=1)
    architectures, scores = ENAS.sample(3, seed=0), []
    for place in (nullcontext("cpu"), pretended_device()):
        with place as device:
            network = MacroNetwork(0, channels=2).to(device)
            train_shared(network, 4, data, schedule, seed=0)
            train_shared(network, architectures[:1], data, schedule, seed=0)
            scores.append(shared_accuracy(network, architectures, data.valid).tolist())
    assert scores[0] == scores[1]


@pytest.fixture(scope="module")
def cells():
    """A latent space of all cells that nobody trained."""
    torch.manual_seed(0)
    return embed(CRLSO(CRLSOConfig(hidden=16, latent=4, convexity_weight=0.0)).eval(), NASBENCH201.enumerate())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "waits", "uploads"),
    [
        (lambda _: UniformCells(), 0, 2),
        (lambda _: Darts(0), 1, 6),
        (lambda _: Gdas(0), 1, 6),
        (lambda cells: E2nas(cells, 0), 1, 6),
    ],
    ids=["uniform", "DARTS", "GDAS", "E2NAS"],
)
def test_a_step_of_shared_cells_waits_for_what_it_learns_alone(cells, strategy, waits, uploads, tmp_path, monkeypatch):
    """Images and labels go to the device, factors of operations too; a gradient that decides on the next cell returns.
    Losses are read at the end of an epoch."""
    seen, clip = [], torch.nn.utils.clip_grad_norm_
    note = lambda *arguments: (seen.append((WAITS.total(), UPLOADS.total())), clip(*arguments))[1]  # noqa: E731
    monkeypatch.setattr("latentnas.oneshot.training.nn.utils.clip_grad_norm_", note)
    data, schedule = smaller(digits.load(0.5, copies=1)), SupernetSchedule(epochs=1, batch_size=24)
    with pretended_device() as device:
        network = SharedCells(SharedSkeleton(channels=2), 0).to(device)
        train_supernet(network, strategy(cells), data, schedule, 0, tmp_path / "search.safetensors")
    assert {tuple(b - a for a, b in zip(*pair)) for pair in pairwise(seen)} == {(waits, uploads)}, (WAITS, UPLOADS)
