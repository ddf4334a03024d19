"""Every model on a pretended accelerator: nothing on another device than the rest, and the numbers of the CPU."""

import pytest
import torch

from latentnas.models.crlso import CRLSO, AccuracyPredictor, AccuracyPredictorConfig, CRLSOConfig
from latentnas.models.family import FAMILY, configure
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.models.svge import SVGe, SVGeConfig
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.train import TrainConfig, fit
from model_checks import fit_in_two_sittings
from pretend_device import WAITS, DeviceMismatch, DeviceTensor, pretended_device

LABELS = {"performance": torch.linspace(70, 90, 12), "complexity": torch.linspace(0, 1, 12)}
SMALL = {"num_types": 7, "hidden": 16, "latent": 8}
MODELS = {  # class, configuration, space, labels
    **{name: (*configure(name, NASBENCH201, 16, 16, 8), NASBENCH201, ()) for name in FAMILY},
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
    assert torch.rand(3, generator=torch.Generator()).shape == (3,)
