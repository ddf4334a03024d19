"""What all generative models share: noise, KL, one training and one evaluation for all on all spaces."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentnas import evaluate, train
from latentnas.graphs import DagBatch
from latentnas.models.base import kl_divergence, reparameterize
from latentnas.models.crlso import CRLSO, AccuracyPredictor, AccuracyPredictorConfig, CRLSOConfig
from latentnas.models.family import FAMILY, TUNED, WITH_LABELS, configure, run_name, tuned
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.models.svge import SVGe, SVGeConfig
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201

LABELLED = {  # models with predictors: class, configuration, options, labels they learn from
    "NGAE": (NGAE, NGAEConfig, {}, ("performance", "complexity")),
    "SVGe with predictor": (SVGe, SVGeConfig, {"predictor": True}, ("performance",)),
}


def model_of(name, space):
    """Class, configuration and labels of a small model."""
    if name in FAMILY:
        return *configure(name, space, hidden=16, svge_hidden=16, latent=8), ()
    model_class, config_class, options, labels = LABELLED[name]
    shape = {"num_types": space.num_types, "num_vertices": space.num_vertices, "output_type": space.output_type}
    return model_class, config_class(**shape, hidden=16, latent=8, **options), labels


@pytest.mark.parametrize("space", [ENAS, NASBENCH101, NASBENCH201], ids=lambda space: space.name)
@pytest.mark.parametrize("name", [*FAMILY, *LABELLED])
def test_every_model_trains_and_is_measured_on_every_space(name, space, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINTS", tmp_path)
    model_class, config, labels = model_of(name, space)
    batch = space.sample(12, seed=0)
    targets = {label: torch.linspace(0.7, 0.9, 12) for label in labels}
    training = train.TrainConfig(epochs=2, batch_size=12, precision="bf16")
    run = train.train_model(name, model_class, config, batch, targets, training)
    assert len(run.history) == 2 and np.isfinite(run.history).all(axis=None)

    mu = evaluate.encode_all(run.model, batch)
    decoded = run.model.decode(mu)
    assert mu.isfinite().all() and mu.dtype == torch.float32
    assert len(decoded) == 12 and decoded.max_vertices == space.num_vertices
    assert_is_a_dag_batch(decoded)
    assert set(evaluate.reconstruction(run.model, batch, trials=3)) == {"published", "clean"}
    shares = evaluate.prior_quality(run.model, space, batch, points=5)
    assert len(shares) == 6 and all(0 <= value <= 100 for value in shares.values())
    if labels:
        predicted = evaluate.predicted_accuracy(run.model, batch)
        assert predicted.shape == (12,) and np.isfinite(predicted).all()


def untrained(name, space):
    torch.manual_seed(0)
    model_class, config, labels = model_of(name, space)
    model = model_class(config).eval()
    model.calibrate(**{label: torch.linspace(0.7, 0.9, 12) for label in labels})
    return model, {label: torch.linspace(0.7, 0.9, 12) for label in labels}


@pytest.mark.parametrize("name", [*FAMILY, *LABELLED])
def test_graphs_that_do_not_fit_are_refused(name):
    """Too many vertices, and a type that the space lacks: one paragraph each, from encoding and from the loss."""
    model, targets = untrained(name, NASBENCH101)
    strange = NASBENCH101.sample(12, seed=0)
    strange.types[3, 1] = NASBENCH101.num_types
    begun = NASBENCH101.sample(12, seed=0)
    begun.types[3, 0] = NASBENCH101.num_types - 1
    past, back, away = (NASBENCH101.sample(12, seed=0) for _ in range(3))
    small = int((past.num_vertices < 7).nonzero()[0])
    past.types[small, 6] = 2
    back.adjacency[3, 2, 1] = away.adjacency[small, 1, 6] = True
    problems = {
        f"Graph {small} breaks a rule at position 6: .* have the type -1": past,
        "Graph 3 breaks a rule at position 2: edges lead to later vertices": back,
        f"Graph {small} breaks a rule at position 1: edges lead to later vertices of their graph": away,
        "graphs of at most 7 vertices, but the batch has one of 8": NASBENCH201.sample(12, seed=0),
        "node types 0 to 4, but the batch has a vertex of type 5": strange,
    }
    if hasattr(model.config, "input_type"):
        problems["a vertex of type 4 in the place of the input"] = begun
    for message, batch in problems.items():
        for call in (model.encode, lambda graphs: model.loss(graphs, **targets)):
            with pytest.raises(ValueError, match=message) as error:
                call(batch)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*FAMILY, *LABELLED])
def test_nothing_encodes_and_decodes_to_nothing(name):
    model, targets = untrained(name, NASBENCH101)
    nothing = NASBENCH101.sample(12, seed=0)[:0]
    mu, logvar = model.encode(nothing)
    assert len(mu) == len(logvar) == len(model.decode(mu)) == 0
    graphs, source, count = model.sample_decodes(mu, 3, torch.Generator().manual_seed(0))
    assert len(graphs) == len(source) == len(count) == 0
    with pytest.raises(ValueError, match="batch is empty"):
        model.loss(nothing, **{label: values[:0] for label, values in targets.items()})


@pytest.mark.parametrize("name", FAMILY)
def test_a_space_says_of_which_type_the_first_vertex_is(name):
    """Also where it is not type 0: graphs used to begin with the output then."""
    space = SimpleNamespace(num_types=5, num_vertices=6, input_type=1, output_type=0)
    torch.manual_seed(0)
    model_class, config = configure(name, space, hidden=16, svge_hidden=16, latent=8)
    model = model_class(config).eval()
    if name == "arch2vec":  # decides the type of every vertex; there is no first one to be given
        assert config.output_type == 0
        return
    graphs = model.sample_decodes(torch.randn(20, config.latent), 5, torch.Generator().manual_seed(0))[0]
    assert (graphs.types[:, 0] == 1).all()
    last = graphs.types[torch.arange(len(graphs)), graphs.num_vertices - 1]
    assert (last[graphs.num_vertices < 6] == 0).all() and (graphs.num_vertices < 6).any()


LABELLED_HEADS = {
    "NGAE": lambda: NGAE(NGAEConfig(hidden=16, latent=8)),
    "NGAE convex": lambda: NGAE(NGAEConfig(hidden=16, latent=8, predictors="convex")),
    "SVGe": lambda: SVGe(SVGeConfig(hidden=16, latent=8, predictor=True)),
    "CR-LSO": lambda: CRLSO(CRLSOConfig(hidden=16, latent=8, label_scale="standardised")),
    "AccuracyPredictor": lambda: AccuracyPredictor(AccuracyPredictorConfig(hidden=16, label_scale="upper")),
}


@pytest.mark.parametrize("name", LABELLED_HEADS)
@pytest.mark.parametrize("accuracy", [91.3, 0.1, 0.0])
def test_labels_without_spread_are_refused_before_training(name, accuracy):
    """Equal ones, also where their mean is not exactly the label; models used to train on NaN or on rounding."""
    labels = {"performance": torch.full((11,), accuracy)}
    if name.startswith("NGAE"):
        labels["complexity"] = torch.rand(11)
    with pytest.raises(ValueError, match=f"11 labels, from {accuracy:g} to {accuracy:g}, have no spread") as error:
        LABELLED_HEADS[name]().calibrate(**labels)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in LABELLED_HEADS if name != "AccuracyPredictor"])
def test_a_loss_names_the_label_it_lacks(name):
    batch = (NASBENCH201 if name == "CR-LSO" else ENAS).sample(3, seed=0)
    with pytest.raises(ValueError, match=r"labels performance.*, but performance is missing; call loss\(batch, perf"):
        LABELLED_HEADS[name]().loss(batch, complexity=torch.rand(3))


def test_a_predictor_of_pseudo_labels_says_how_far_off_it_is(tmp_path, capsys):
    predictor = AccuracyPredictor(AccuracyPredictorConfig(hidden=16))
    labels = {"performance": torch.linspace(70, 90, 12)}
    train.fit(predictor, NASBENCH201.sample(12, seed=0), labels, train.TrainConfig(epochs=1), tmp_path)
    assert "performance" in capsys.readouterr().err


def test_the_family_is_configured_by_name():
    sizes = {"hidden": 32, "svge_hidden": 48, "latent": 8}
    configs = {name: configure(name, NASBENCH201, **sizes)[1] for name in FAMILY}
    assert {name: config.hidden for name, config in configs.items()} == {
        "S-VAE": 32, "GraphRNN": 32, "GCN": 32, "D-VAE": 32, "DGMG": 48, "SVGe": 48, "arch2vec": 128,
    }  # fmt: skip
    assert all(config.num_types == NASBENCH201.num_types for config in configs.values())
    assert configs["D-VAE"].predictors == "none" and configs["SVGe"].two_sided
    assert not configs["DGMG"].two_sided and configs["DGMG"].reverse_messages
    assert run_name("S-VAE", ENAS) == "svae-enas"
    assert len({run_name(name, ENAS) for name in FAMILY | WITH_LABELS}) == len(FAMILY) + 1
    assert configure("NGAE", NASBENCH201, **sizes) == (NGAE, replace(configs["D-VAE"], predictors="paper"))
    with pytest.raises(ValueError, match="no model 'DVAE'.*S-VAE, GraphRNN"):
        configure("DVAE", ENAS, **sizes)


def test_settings_are_those_chosen_for_the_space_or_the_models_own(monkeypatch):
    monkeypatch.setitem(TUNED, "SVGe", (0.003, 0.004, 0.005))
    elsewhere = SimpleNamespace(name="elsewhere")
    of_svge, of_ngae = FAMILY["SVGe"].learning_rate, WITH_LABELS["NGAE"].learning_rate
    cases = [("SVGe", ENAS, 0.003), ("SVGe", NASBENCH201, 0.004), ("SVGe", NASBENCH101, 0.005)]
    for name, space, rate in [*cases, ("SVGe", elsewhere, of_svge), ("NGAE", ENAS, of_ngae)]:
        assert tuned(name, space) == {"optimizer": "muon", "learning_rate": rate}
        assert train.TrainConfig(**tuned(name, space))
    with pytest.raises(ValueError, match="no model 'DVAE'"):
        tuned("DVAE", ENAS)


def assert_is_a_dag_batch(batch: DagBatch):
    present = torch.arange(batch.max_vertices) < batch.num_vertices[:, None]
    assert torch.equal(batch.types >= 0, present)
    assert not batch.adjacency.tril().any()
    assert not (batch.adjacency & ~(present[:, :, None] & present[:, None, :])).any()


def test_noise_comes_from_the_generator_and_is_scaled():
    mu, logvar = torch.randn(20_000, 2), torch.tensor([0.0, 2.0]).expand(20_000, 2)
    z, again = (reparameterize(mu, logvar, 0.01, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(z, again)
    assert (z - mu).std(dim=0).tolist() == pytest.approx([0.01, 0.01 * math.e], rel=0.03)
    assert torch.equal(reparameterize(mu, logvar, 0.0, None), mu)


def test_kl_divergence_is_torchs():
    mu, logvar = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    posterior, prior = (torch.distributions.Normal(mu, (logvar / 2).exp()), torch.distributions.Normal(0.0, 1.0))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(dim=1)
    torch.testing.assert_close(kl_divergence(mu, logvar), expected)
