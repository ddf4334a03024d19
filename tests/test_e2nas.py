"""E2NAS: the density and its gradients, exploration, complementation, and the control without gradients."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as functional

from latentnas.measure import digits
from latentnas.measure.digits import Images, ImageSets
from latentnas.models.crlso import CRLSO, CRLSOConfig
from latentnas.oneshot import budget, e2nas
from latentnas.oneshot.e2nas import (
    SMALLEST_SPREAD,
    TRACE,
    E2nas,
    E2nasConfig,
    complement,
    fit_generalised_normal,
    generalised_normal_log_density,
    kernel_log_density,
)  # fmt: skip
from latentnas.oneshot.shared_cells import SharedCells, SharedSkeleton
from latentnas.oneshot.strategies import one_shot_search
from latentnas.oneshot.training import SupernetSchedule, train_supernet
from latentnas.search.latent.crlso import LatentSpace, embed
from latentnas.spaces.nasbench201 import NASBENCH201

LATENT = 8
TERMS = ("decoder", "latent", "residual")


@pytest.fixture(scope="module")
def space():
    """A small latent space that nobody trained, in double precision: what is tested holds for any decoder."""
    torch.manual_seed(0)
    model = CRLSO(CRLSOConfig(hidden=8, latent=LATENT, layers=1, convexity_weight=0.0))
    made = embed(model, NASBENCH201.enumerate())
    return LatentSpace(model.double(), made.codes.double(), made.deviation.double())


@pytest.fixture(scope="module")
def data():
    whole = digits.load(0.5, copies=1)
    train, valid = (Images(part.images[:32], part.labels[:32]) for part in (whole.train, whole.valid))
    return ImageSets(train, valid, whole.test, whole.augment)


def network():
    return SharedCells(SharedSkeleton(channels=2), 0)


def wandering(space, config=E2nasConfig(), points=20, seed=0):
    """A search that has been at some random points."""
    search = E2nas(space, seed, config)
    generator = torch.Generator().manual_seed(seed + 1)
    for _ in range(points):
        search.variable.data = torch.randn(LATENT, generator=generator, dtype=torch.float64)
        search.last = search.current()[None]
        search._remember()
    return search


def numerical_gradient(function, z, step=1e-6):
    moves = step * torch.eye(len(z), dtype=z.dtype)
    return torch.stack([(function(z + move) - function(z - move)) / (2 * step) for move in moves]).detach()


# the density


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("seed", range(3))
def test_each_term_has_a_gradient_and_it_is_right(space, term, seed):
    search = wandering(space, seed=seed)
    z = search.variable.detach() + 0.1
    z.requires_grad_()
    [gradient] = torch.autograd.grad(search.log_densities(z)[term], z)
    expected = numerical_gradient(lambda point: search.log_densities(point)[term], z.detach())
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)
    assert gradient.norm() > 1e-4


@pytest.mark.parametrize("balanced", (False, True))
def test_z_follows_the_gradients_of_both_terms(space, balanced):
    search = wandering(space, E2nasConfig(balanced=balanced))
    search.variable.data += 0.1
    loss = search.decode(search.variable).square().sum()
    [own] = torch.autograd.grad(loss, search.variable, retain_graph=True)
    away = numerical_gradient(lambda point: sum(search.log_densities(point).values()) / 3, search.variable.detach())
    if balanced:
        own, away = own / own.norm(), away / away.norm()
    eta = search.exploration_weight(0.4)
    found = search.gradient(loss, 0.4)
    torch.testing.assert_close(found, (1 - eta) * own + eta * away, atol=1e-6, rtol=1e-4)


def test_logits_have_variance_one_over_all_cells(space):
    search = E2nas(space, 0)
    logits = torch.func.vmap(search.decode)(space.codes)
    assert logits.var().item() == pytest.approx(1, rel=1e-3)


def test_the_volume_is_the_product_of_the_singular_values(space):
    search = wandering(space)
    z = search.variable.detach()
    chosen = search.current()
    jacobian = torch.stack([
        numerical_gradient(lambda point, edge=edge: search.decode(point)[edge, chosen[edge]], z)
        for edge in range(6)
    ])  # fmt: skip
    assert search.log_volume(z).item() == pytest.approx(torch.linalg.svdvals(jacobian).log().sum().item(), rel=1e-5)
    assert search.log_densities(z)["decoder"].item() == pytest.approx(-search.log_volume(z).item())


@pytest.mark.parametrize("shape", (1.0, 2.0, 5.0))
def test_a_generalised_normal_is_found_again(shape):
    drawn = scipy.stats.gennorm.rvs(shape, loc=3.0, scale=0.7, size=200_000, random_state=0)
    mean, scale, found = fit_generalised_normal(torch.from_numpy(drawn)[:, None])
    assert mean.item() == pytest.approx(3.0, abs=0.01)
    assert found.item() == pytest.approx(shape, rel=0.04) and scale.item() == pytest.approx(0.7, rel=0.03)
    places = torch.linspace(1.0, 5.0, 9, dtype=torch.float64)
    expected = scipy.stats.gennorm.logpdf(places, found.item(), mean.item(), scale.item())
    np.testing.assert_allclose(generalised_normal_log_density(places, mean, scale, found), expected)


def test_points_that_agree_have_a_finite_density():
    points = torch.ones(5, 2, dtype=torch.float64)
    mean, scale, shape = fit_generalised_normal(points)
    z = torch.tensor([1.0, 1.5], dtype=torch.float64, requires_grad=True)
    density = generalised_normal_log_density(z, mean, scale, shape)
    [gradient] = torch.autograd.grad(density.sum(), z)
    assert density.isfinite().all() and gradient.isfinite().all()
    assert gradient[0] == 0 and gradient[1] < 0  # the further away, the less dense
    assert shape.tolist() == [1.0, 1.0] and scale.max() < SMALLEST_SPREAD


def test_the_kernel_density_is_the_mean_of_normal_densities():
    samples = torch.rand(9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    width = samples.std(correction=0).item() * 9**-0.2
    expected = np.log(scipy.stats.norm.pdf(0.3, samples.numpy(), width).mean())
    assert kernel_log_density(torch.tensor(0.3, dtype=torch.float64), samples).item() == pytest.approx(expected)
    one = kernel_log_density(torch.tensor(0.5, dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64))
    assert one.item() == pytest.approx(scipy.stats.norm.logpdf(0, scale=SMALLEST_SPREAD))


def test_a_code_of_a_cell_leaves_no_residual_where_it_decodes_to_it(space):
    search = E2nas(space, 0)
    for code in space.codes[::1000]:
        [row] = NASBENCH201.index(NASBENCH201.from_choices(search.decode(code).argmax(dim=1)[None]))
        distance = search.decode(code).softmax(dim=1) - search.decode(space.codes[row]).softmax(dim=1)
        assert search.residual(code).item() == pytest.approx(distance.norm().item())


# exploration


def test_exploration_falls_from_one_to_zero(space):
    search = E2nas(space, 0)
    assert [search.exploration_weight(done) for done in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.5, 0], abs=1e-4)


def test_exploration_leads_away_from_the_archive(space):
    """Adam's steps on the density alone leave the points that the search has seen."""
    search = wandering(space, points=30)
    search.variable.data = search.points[-30:].mean(dim=0) + 1e-3
    far = [search.log_densities(search.variable)["latent"].item()]
    for _ in range(60):
        density = sum(search.log_densities(search.variable).values()) / 3
        [search.variable.grad] = torch.autograd.grad(density, [search.variable])
        search.optimizer.step()
        far.append(search.log_densities(search.variable)["latent"].item())
    assert far[-1] < far[0] - 0.05


def test_the_archive_holds_the_last_points(space, monkeypatch):
    monkeypatch.setattr(e2nas, "ARCHIVE", 4)
    search = wandering(space, points=6)
    generator = torch.Generator().manual_seed(1)
    seen = torch.stack([torch.randn(LATENT, generator=generator, dtype=torch.float64) for _ in range(6)])
    assert torch.equal(search.points, seen[2:]) and search.remembered == 4
    torch.testing.assert_close(search.residuals, torch.stack([search.residual(point).detach() for point in seen[2:]]))
    assert wandering(space, points=3).remembered == 3


# complementation


def test_a_complement_differs_where_nothing_changed():
    generator = torch.Generator().manual_seed(0)
    before, now = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([0, 2, 2, 3, 1, 4])
    drawn = torch.stack([complement(now, before, generator) for _ in range(500)])
    same = before == now
    assert (drawn[:, same] != now[same]).all() and (drawn[:, ~same] == now[~same]).all()
    assert all(len(set(column)) == 4 for column in drawn[:, same].t().tolist())


def gradients(loss, weights):
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros_like(weight) if part is None else part for part, weight in zip(found, weights)]


@pytest.mark.parametrize(("released", "share"), ((False, 0.4), (True, 0.4), (False, 0.0)))
def test_the_weights_learn_from_the_cell_before_and_the_complement(space, data, released, share):
    config = E2nasConfig(released=released, complementation=share)
    search, shared = wandering(space, config), network()
    search.last = torch.tensor([[3, 3, 3, 1, 2, 3]])
    cell, before = search.current(), search.last[0].clone()
    other = complement(cell, before, torch.Generator().manual_seed(5))
    images, labels = data.train.images[:8], data.train.labels[:8]
    total = search.loss(shared, images, labels, 0.0, torch.Generator().manual_seed(5))

    def alone(which):
        return functional.cross_entropy(shared(images[:, None], which[None])[0], labels)

    expected = (1 - share) * alone(cell)
    if not released:
        expected = expected + share / 2 * (alone(before) + alone(other))
    torch.testing.assert_close(total, expected)
    weights = list(shared.parameters())
    for found, wanted in zip(gradients(total, weights), gradients(expected, weights)):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)
    assert torch.equal(search.last, cell[None]) and torch.equal(search.points[-1], search.variable)


# the search


def test_as_released_only_scales_the_loss(space, data):
    """The control: its gradient is (1 - eta) times that of the loss; as intended, there is more."""
    images, labels = data.valid.images[:8], data.valid.labels[:8]
    found = {}
    for name, config in {
        "none": E2nasConfig(explores=False),
        "released": E2nasConfig(released=True),
        "intended": E2nasConfig(),
    }.items():
        search = wandering(space, config)
        search.learn(network(), images, labels, 0.45, torch.Generator())
        found[name] = search.variable.grad
    eta = search.exploration_weight(0.45)
    assert found["none"].norm() > 1e-6
    torch.testing.assert_close(found["released"], (1 - eta) * found["none"])
    assert (found["intended"] - found["released"]).norm() > 1e-3


def test_the_gradient_of_the_loss_reaches_the_latent_point_by_all_operations(space, data):
    search, shared = wandering(space, E2nasConfig(explores=False)), network()
    images, labels = data.valid.images[:8], data.valid.labels[:8]
    search.learn(shared, images, labels, 0.5, torch.Generator())
    search.variable.data = wandering(space).variable.data  # before the step
    cell = search.current()
    hard = (functional.one_hot(cell, 5) + TRACE).float().requires_grad_()
    logits = shared(images[:, None], hard[None])[0]
    torch.testing.assert_close(logits, shared(images[:, None], cell[None])[0])  # the trace changes nothing
    [slope] = torch.autograd.grad(functional.cross_entropy(logits, labels), hard)
    assert ((slope != 0).sum(dim=1) >= 3).all()
    expected = numerical_gradient(lambda z: (search.decode(z).softmax(dim=1) * slope).sum(), search.variable.detach())
    torch.testing.assert_close(search.variable.grad, expected, atol=1e-7, rtol=1e-3)


def test_the_operation_in_use_alone_has_no_gradient_where_it_is_normalised(data):
    """Why all operations are computed: the only path's factor is amplitude, which normalisation takes out."""
    cell = functional.one_hot(torch.tensor([0, 0, 0, 3, 0, 0]), 5).float()
    slopes = []
    for trace in (0.0, TRACE):
        factors = (cell + trace).requires_grad_()
        loss = network()(data.valid.images[:8, None], factors[None])[0].logsumexp(dim=1).sum()
        slopes.append(torch.autograd.grad(loss, factors)[0])
    assert slopes[0].abs().max() < 1e-3 < slopes[1][3].abs().max()


def test_z_stays_in_the_ball_of_the_codes(space, data):
    search = wandering(space)
    search.variable.data *= 1e3
    images, labels = data.valid.images[:8], data.valid.labels[:8]
    search.learn(network(), images, labels, 0.0, torch.Generator())
    assert search.variable.norm().item() == pytest.approx(space.codes.norm(dim=1).max().item())
    search.variable.data *= 0.5
    inside = search.variable.detach().clone()
    search.learn(network(), images, labels, 0.0, torch.Generator())
    assert 0 < (search.variable - inside).abs().max() < 0.4  # a step of Adam, nothing else


def test_a_search_finds_what_its_point_decodes_to_and_resumes(space, data, tmp_path):
    schedule, path = SupernetSchedule(epochs=2, batch_size=16), tmp_path / "e2nas.safetensors"
    found = one_shot_search(network(), E2nas(space, 0), data, schedule, 0, path, cells=1000)
    again = E2nas(space, 1)
    history = train_supernet(network(), again, data, schedule, 0, path)
    assert history["row"].iloc[-1] == NASBENCH201.index(NASBENCH201.from_choices(again.current()[None]))[0]
    assert found.row in found.selection["row"].to_numpy() and len(found.selection) <= 4  # as many as steps
    last = one_shot_search(network(), E2nas(space, 0), data, schedule, 0, path)
    assert last.row == history["row"].iloc[-1] and last.selection is None
    assert again.remembered == 4 and torch.equal(again.points[-5], torch.zeros(LATENT, dtype=torch.float64))
    assert math.isfinite(history["train_loss"].iloc[-1])
    other = dataclasses.replace(space, codes=space.codes + 1)
    with pytest.raises(ValueError, match="another training"):
        train_supernet(network(), E2nas(other, 0), data, schedule, 0, path)


def test_bad_settings_are_refused(space):
    with pytest.raises(ValueError, match="complementation=1.5"):
        E2nasConfig(complementation=1.5)
    with pytest.raises(ValueError, match="has 10 codes"):
        E2nas(dataclasses.replace(space, codes=space.codes[:10]), 0)


def test_each_name_of_the_budget_is_its_own_method(space):
    """An ablation under another's name would compare a method with itself."""
    configs = {name: budget.strategy(name, space, 3).config for name in budget.VARIANTS}
    changed = {
        name: dataclasses.asdict(config).items() - dataclasses.asdict(E2nasConfig()).items()
        for name, config in configs.items()
    }
    assert {name: dict(change) for name, change in changed.items()} == {
        "E2NAS": {}, "as released": {"released": True}, "no exploration": {"explores": False},
        "no complementation": {"complementation": 0.0}, "neither": {"explores": False, "complementation": 0.0},
        "unbalanced": {"balanced": False},
    }  # fmt: skip
    classes = {name: type(budget.strategy(name, space, 3)).__name__ for name in budget.BASELINES}
    assert classes == {"uniform cells": "UniformCells", "DARTS": "Darts", "GDAS": "Gdas"}
