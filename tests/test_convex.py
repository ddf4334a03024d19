"""Convex networks: the equation written out, certificates that can fail, refitting, scales of labels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from latentnas.models.convex import (
    CONSTRAINTS,
    SLOPE,
    ConvexPredictor,
    InputConvexNetwork,
    RefitConfig,
    ascend,
    jensen_gap,
    refit,
)
from latentnas.models.crlso import CRLSO, CRLSOConfig
from latentnas.models.heads import LabelScale
from latentnas.models.ngae import NGAE, NGAEConfig

LATENT = 6
PAIRS = 100_000
QUICK = RefitConfig(epochs=100, batch_size=64, learning_rate=1e-2, latent_noise=0.0, label_noise=0.0)


def make(**arguments):
    """A convex network in double precision with lively weights."""
    network = InputConvexNetwork(LATENT, hidden=16, layers=3, generator=generator(1), **arguments).double()
    with torch.no_grad():
        network.from_input *= 3
    return network


def generator(seed):
    return torch.Generator().manual_seed(seed)


def points(count, seed=0):
    return 2 * torch.randn(count, LATENT, generator=generator(seed), dtype=torch.double)


def wavy(z):
    """A target that is neither convex nor concave."""
    return (2 * z[:, 0]).sin() + z[:, 1] * z[:, 2] - z[:, 3].abs()


def train(network, steps=200):
    """Fit to the wavy target without any projection."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    z = points(256, seed=5)
    for _ in range(steps):
        optimizer.zero_grad()
        (network(z).reshape(256) - wavy(z)).square().mean().backward()
        optimizer.step()
    return network


def smallest_gap(function):
    weight = torch.rand(PAIRS, generator=generator(2), dtype=torch.double)
    return jensen_gap(function, points(PAIRS, 3), points(PAIRS, 4), weight).min().item()


def ordinary_network():
    torch.manual_seed(0)
    activation = nn.LeakyReLU(SLOPE)
    layers = [nn.Linear(LATENT, 16), activation, nn.Linear(16, 16), activation, nn.Linear(16, 1)]
    return nn.Sequential(*layers).double()


def test_the_network_is_the_equation():
    network = make(members=2)
    z = points(5)
    for member in range(2):
        read = network.from_input[member]  # A, U_0, U_1, U_2 of 16 columns each, and u
        *weights, last = [weight[member] for weight in network.from_hidden]
        for b in range(5):
            hidden = leaky(z[b] @ read[:, :16] + network.bias[member, 0])
            for k, weight in enumerate(weights):
                hidden = leaky(hidden @ weight) + leaky(z[b] @ read[:, 16 * (k + 1) : 16 * (k + 2)])
            expected = hidden @ last[:, 0] + z[b] @ read[:, -1]
            torch.testing.assert_close(network(z)[member, b], expected)


def leaky(x):
    return torch.where(x > 0, x, SLOPE * x)


def test_members_can_have_points_of_their_own():
    network, z = make(members=3), torch.stack([points(4, seed) for seed in range(3)])
    expected = torch.stack([network(z[member])[member] for member in range(3)])
    torch.testing.assert_close(network(z), expected)


# certificates


def test_jensen_holds_on_a_hundred_thousand_pairs_after_training_on_a_wavy_target():
    network = train(make())
    assert smallest_gap(lambda z: network(z)[0]) < -1e-3  # the training above has made it another function
    network.project()
    assert smallest_gap(lambda z: network(z)[0]) >= -1e-6


def test_jensen_fails_for_an_ordinary_network():
    network = train(ordinary_network())
    assert smallest_gap(lambda z: network(z)[:, 0]) < -1e-2


def test_jensen_fails_without_a_constraint():
    network = train(make(constraint="none"))
    assert smallest_gap(lambda z: network(z)[0]) < -1e-2
    before = [weight.clone() for weight in network.from_hidden]
    network.project()
    assert any((weight < 0).any() for weight in before)
    assert all(torch.equal(*pair) for pair in zip(before, network.from_hidden, strict=True))


def test_jensen_gap_of_a_parabola():
    first, second, weight = torch.tensor([[0.0]]), torch.tensor([[2.0]]), torch.tensor([0.25])
    gap = jensen_gap(lambda z: z[:, 0] ** 2, first, second, weight)
    assert gap.item() == pytest.approx(0.75 * 4 - 1.5**2)


# ascents


BOX = torch.full((2,), -1.0), torch.full((2,), 2.0)


def starts(count=200):
    return BOX[0] + (BOX[1] - BOX[0]) * torch.rand(count, 2, generator=generator(0))


def test_ascent_of_a_concave_function_ends_at_its_one_maximum_in_the_box():
    for peak in ((0.5, -0.3), (0.5, 7.0)):  # the second lies outside
        ends, values = ascend(lambda z, top=torch.tensor(peak): -(z - top).abs().sum(dim=1), starts(), *BOX)
        highest = torch.tensor(peak).clamp(*BOX)
        torch.testing.assert_close(ends, highest.expand(200, 2), atol=0.01, rtol=0)
        assert values.max() == pytest.approx(-(highest - torch.tensor(peak)).abs().sum().item(), abs=0.01)
        assert values.max() - values.min() <= 0.05


def test_ascent_ends_at_every_peak_of_a_function_with_several():
    """cos(4x) + 0.3 x peaks where sin(4x) = 0.075, at x = 0.019 and 1.590, and at the left end of the box."""
    peaks = {-50: -0.954, 1: 1.003, 79: 1.474}  # height by fiftieths
    ends, values = ascend(lambda z: (4 * z[:, 0]).cos() + 0.3 * z[:, 0], starts(), *BOX)
    places = ends[:, 0].mul(50).round()
    assert set(places.tolist()) == {*peaks}
    for place, height in peaks.items():
        assert (values[places == place] - height).abs().max() < 0.02


def test_ascent_may_start_from_codes_with_a_gradient():
    z = starts().requires_grad_() * 1
    ends, _ = ascend(lambda z: -z.square().sum(1), z, *BOX)
    assert torch.equal(ends, ascend(lambda z: -z.square().sum(1), z.detach(), *BOX)[0]) and not ends.requires_grad


# constraints in training


@pytest.mark.parametrize(
    "model",
    [NGAE(NGAEConfig(hidden=4, latent=LATENT, predictors="convex")), CRLSO(CRLSOConfig(hidden=4, latent=LATENT))],
    ids=lambda model: type(model).__name__,
)
def test_project_reaches_networks_inside_a_model_and_leaves_the_free_weights(model):
    before = {name: value.clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.005
    model.project()
    for name, value in model.named_parameters():
        moved = before[name] - 0.005
        assert torch.equal(value, moved.clamp(min=0) if "from_hidden" in name else moved)
    assert (before["performance.network.from_hidden.0"] < 0.005).any()


# refitting


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_gradient_that_is_written_out_is_that_of_autograd(constraint):
    network, z = make(constraint=constraint, members=3), torch.stack([points(20, seed) for seed in range(3)])
    targets = torch.stack([wavy(part) for part in z])
    loss = (network(z) - targets).square().mean(dim=1).sum()
    for ours, theirs in zip(
        network.gradient(z, targets), torch.autograd.grad(loss, [*network.parameters()]), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
def test_refit_follows_a_concave_target_and_cannot_follow_a_convex_one():
    """Under a symmetric distribution no concave function is closer to |z|^2 than a constant."""
    z = torch.randn(400, 2, generator=generator(0))
    z = torch.cat([z, -z])
    parabola = z.square().sum(1)
    parabola = (parabola - parabola.mean()) / parabola.std()
    for target, low, high in ((-parabola, 0.0, 0.05), (parabola, 0.9, 1.1)):
        network = InputConvexNetwork(2, hidden=32, generator=generator(0))
        refit(network, z, target, QUICK, generator(0))
        with torch.no_grad():
            assert low <= (1 - network(z)[0] - target).square().mean() < high
        assert all((weight >= 0).all() for weight in network.from_hidden)


def test_members_are_fitted_as_if_each_was_alone():
    z, target = points(40).float(), wavy(points(40)).float()
    together = InputConvexNetwork(LATENT, hidden=8, layers=2, members=3, generator=generator(0))
    config = RefitConfig(epochs=5, batch_size=100, learning_rate=1e-2, latent_noise=0.0, label_noise=0.0)
    alone = []
    for member in range(3):
        network = InputConvexNetwork(LATENT, hidden=8, layers=2)
        network.load_state_dict({name: value[member : member + 1] for name, value in together.state_dict().items()})
        refit(network, z, target, config, generator(member))
        alone.append(network(z)[0])
    refit(together, z, target, config, generator(0))
    torch.testing.assert_close(together(z), torch.stack(alone), atol=1e-5, rtol=1e-5)


def test_members_are_fitted_at_points_of_their_own():
    """The same points given once or once for each member are the same; other points of one member change only
    that member."""
    z, targets = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0)), torch.linspace(-1, 1, 12)
    fitted = []
    for points in (z[0], torch.stack([z[0], z[0]]), z):
        generator = torch.Generator().manual_seed(1)
        network = InputConvexNetwork(3, hidden=8, layers=1, members=2, generator=generator)
        refit(network, points, targets, RefitConfig(epochs=5, batch_size=4, learning_rate=0.01), generator)
        with torch.no_grad():
            fitted.append(network(z[0]))
    assert torch.equal(fitted[0], fitted[1]) and torch.equal(fitted[1][0], fitted[2][0])
    assert not torch.allclose(fitted[1][1], fitted[2][1], atol=1e-3)


def test_fewer_labels_than_a_batch_are_one_batch():
    network = InputConvexNetwork(LATENT, generator=generator(0))
    z, target = points(3).float(), torch.tensor([0.0, 1.0, 2.0])
    refit(network, z, target, RefitConfig(epochs=200, learning_rate=1e-2, label_noise=0.0), generator(0))
    torch.testing.assert_close(1 - network(z)[0].detach(), target, atol=0.3, rtol=0)


def test_noise_makes_members_differ():
    network = InputConvexNetwork(LATENT, members=2, generator=generator(0))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter[1] = parameter[0]
    refit(network, points(20).float(), torch.rand(20), RefitConfig(epochs=2), generator(0))
    assert not torch.equal(*network(points(20).float()))


# scales of labels


LABELS = torch.tensor([10.0, 85.0, 90.0, 91.0, 91.5])


def test_percent_is_a_hundredth():
    scale = LabelScale("percent")
    scale.calibrate(LABELS)
    torch.testing.assert_close(scale.standardise(LABELS), LABELS / 100)


def test_standardised_labels_have_mean_zero_and_deviation_one():
    scale = LabelScale("standardised")
    scale.calibrate(LABELS)
    values = scale.standardise(LABELS)
    torch.testing.assert_close((values.mean(), values.std(correction=0)), (torch.tensor(0.0), torch.tensor(1.0)))


def test_upper_labels_run_from_the_median_to_the_ninth_decile():
    scale = LabelScale("upper")
    scale.calibrate(LABELS)
    expected = (LABELS - 90) / 1.3  # the quantile lies 0.6 of the way from 91 to 91.5
    torch.testing.assert_close(scale.standardise(LABELS), expected.clamp(min=-2))
    assert scale.standardise(LABELS).min() == -2


def test_upper_labels_whose_upper_half_is_alike_have_the_deviation_of_all_as_their_unit():
    labels = torch.tensor([10.0, 5.0, 10.0, 10.0])
    scale = LabelScale("upper")
    scale.calibrate(labels)
    torch.testing.assert_close(scale.standardise(labels), (labels - 10).div(labels.std(correction=0)).clamp(min=-2))


@given(st.sampled_from(["percent", "standardised", "upper"]), st.floats(89.0, 100.0))
def test_labels_return_from_every_scale(kind, label):
    scale = LabelScale(kind)
    scale.calibrate(LABELS)
    back = scale.unstandardise(scale.standardise(torch.tensor(label)))
    assert back.item() == pytest.approx(label, abs=1e-4)


@pytest.mark.parametrize(
    "kind, labels, words",
    [
        ("standardised", [90.0, float("nan"), float("inf")], "2 of 3 labels are NaN or infinite"),
        ("upper", [], "0 of 0 labels"),
        ("percent", [0.7, 0.91], "no accuracies in percent"),
        ("standardised", [5.0, 5.0], "no spread"),
        ("upper", [10.0, 10.0, 10.0, 10.0], "no spread"),
    ],
)
def test_labels_nothing_can_be_learnt_from_are_refused(kind, labels, words):
    with pytest.raises(ValueError, match=words):
        LabelScale(kind).calibrate(torch.tensor(labels))


def test_the_predictor_is_one_minus_the_network_and_concave():
    predictor = ConvexPredictor(InputConvexNetwork(LATENT, hidden=16)).double()
    predictor.calibrate(LABELS)
    z = points(5)
    torch.testing.assert_close(predictor(z), 1 - predictor.network(z)[0])
    scaled = (LABELS - LABELS.mean()) / LABELS.std(correction=0)
    torch.testing.assert_close(predictor.loss(z, LABELS), (1 - predictor.network(z)[0] - scaled) ** 2)
    assert smallest_gap(lambda z: -predictor(z).detach()) >= -1e-6


@pytest.mark.parametrize(
    "build, word",
    [
        (lambda: InputConvexNetwork(0), "latent=0"),
        (lambda: InputConvexNetwork(3, constraint="hope"), "constraint='hope'"),
        (lambda: LabelScale("raw"), "label_scale='raw'"),
        (lambda: RefitConfig(batch_size=0), "batch_size=0"),
    ],
)
def test_wrong_settings_are_named(build, word):
    with pytest.raises(ValueError, match=word):
        build()
