"""NGAE's predictors and configuration; encoder and decoder are tested in test_dagnn.py."""

import pytest
import torch

from latentnas.models.heads import Predictor
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.spaces.enas import ENAS

LABELS = torch.linspace(70.0, 75.0, 40)


def test_predictor_terms_are_the_equation():
    """NGAE eq. 6, on the standardised scale, with the layers written out."""
    torch.manual_seed(0)
    batch, complexity = ENAS.sample(40, seed=1), torch.rand(40)
    model = NGAE(NGAEConfig(hidden=12, latent=5, noise_scale=0.0, performance_weight=4.0, complexity_weight=0.5))
    model.calibrate(performance=LABELS, complexity=complexity)
    terms = model.loss(batch, performance=LABELS, complexity=complexity)
    mu, logvar = model.encode(batch)

    squared = {}
    for name, labels in {"performance": LABELS, "complexity": complexity}.items():
        first, _, second, _, last = getattr(model, name).layers
        hidden = torch.tanh(second(torch.tanh(first(mu))))
        standard = (labels - labels.mean()) / labels.std(correction=0)
        spare = 0.1 * (standard.max() - standard.min())
        low, high = standard.min() - spare, standard.max() + spare
        predicted = low + (high - low) * torch.sigmoid(last(hidden)).squeeze(1)
        squared[name] = ((predicted - standard) ** 2).mean()
        torch.testing.assert_close(terms[name], squared[name])
    kl = (-0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)).mean()
    expected = (
        terms["vertices"] + terms["edges"] + 0.005 * kl + 4 * squared["performance"] + 0.5 * squared["complexity"]
    )
    torch.testing.assert_close(terms["total"], expected)


def test_released_predictor_has_one_hidden_layer_and_raw_labels():
    predictor = Predictor(5, 12, released=True, label_scale="percent")
    predictor.calibrate(LABELS)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in predictor.layers) == 2
    z = torch.randn(7, 5)
    torch.testing.assert_close(predictor(z), predictor.layers(z).squeeze(1).sigmoid())
    assert torch.equal(predictor.standardise(LABELS), LABELS / 100)
    complexity = Predictor(5, 12, released=True)
    complexity.calibrate(LABELS / 75)
    assert torch.equal(complexity.standardise(LABELS), LABELS)


SHIFTED = LABELS - LABELS.mean()


@pytest.mark.parametrize(
    "kind, labels, advice, followed",
    [
        ("none", LABELS, "Divide them by their largest", LABELS / LABELS.max()),
        ("none", SHIFTED, r"Take \(label - lowest\)", (LABELS - LABELS.min()) / (LABELS.max() - LABELS.min())),
        ("percent", LABELS * 2, "Give percent, from 0 to 100", LABELS),
        ("percent", SHIFTED, "Give percent, from 0 to 100", LABELS),
        ("standardised", LABELS, 'Choose label_scale="none" and labels from 0 to 1', LABELS / 100),
        ("upper", LABELS, 'Choose label_scale="none" and labels from 0 to 1', LABELS / 100),
    ],
)
def test_advice_for_labels_that_no_sigmoid_reaches_can_be_followed(kind, labels, advice, followed):
    with pytest.raises(ValueError, match=f"sigmoid gives 0 to 1, but .* {advice}") as error:
        Predictor(5, 12, released=True, label_scale=kind).calibrate(labels)
    assert "\n" not in str(error.value)
    Predictor(5, 12, released=True, label_scale="none" if "none" in advice else kind).calibrate(followed)


def test_released_predictor_reads_mu_and_the_papers_reads_z():
    batch = ENAS.sample(40, seed=1)
    for predictors, expected in (("released", True), ("paper", False)):
        torch.manual_seed(0)
        model = NGAE(NGAEConfig(hidden=12, latent=5, predictors=predictors, noise_scale=1.0))
        labels = {"performance": LABELS, "complexity": LABELS / 75}
        model.calibrate(**labels)
        first, second = (model.loss(batch, torch.Generator().manual_seed(s), **labels)["performance"] for s in (1, 2))
        assert bool(first == second) == expected


def test_standardised_predictions_return_to_the_unit_of_the_labels():
    predictor = Predictor(5, 12)
    predictor.calibrate(LABELS)
    torch.testing.assert_close(predictor.unstandardise(predictor.standardise(LABELS)), LABELS)
    reached = predictor(1e6 * torch.randn(200, 5))
    assert reached.min() >= predictor.low and reached.max() <= predictor.high


def test_d_vae_has_no_predictors():
    model = NGAE(NGAEConfig(hidden=12, latent=5, predictors="none"))
    assert not hasattr(model, "performance")
    assert set(model.loss(ENAS.sample(4, seed=0))) == {"total", "vertices", "edges", "kl"}


@pytest.mark.parametrize(
    "fields, word",
    [({"predictors": "two"}, "predictors"), ({"latent": 0}, "latent"), ({"fixed_edges": ((2, 1),)}, "u < v")],
)
def test_wrong_configuration_is_named(fields, word):
    with pytest.raises(ValueError, match=word):
        NGAEConfig(**fields)


def test_fixed_edges_may_be_lists_as_json_has_them():
    config = NGAEConfig(fixed_edges=[[0, 1], [1, 2]])
    assert config == NGAEConfig(fixed_edges=((0, 1), (1, 2))) and hash(config)


def test_in_double_precision_no_term_is_less_precise():
    for predictors in ("paper", "released", "convex"):
        model = NGAE(NGAEConfig(hidden=12, latent=5, predictors=predictors)).double()
        labels = {"performance": LABELS.double(), "complexity": LABELS.double() / 75}
        model.calibrate(**labels)
        terms = model.loss(ENAS.sample(40, seed=1), **labels)
        assert all(term.dtype == torch.float64 for term in terms.values())


def test_graphs_that_are_too_large_are_refused():
    model = NGAE(NGAEConfig(hidden=12, latent=5, num_vertices=7))
    with pytest.raises(ValueError, match="graphs of at most 7 vertices, but the batch has one of 8"):
        model.encode(ENAS.sample(2, seed=0))
