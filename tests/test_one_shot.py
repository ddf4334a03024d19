"""The training of shared weights and the one-shot baselines: what they compute, resume, and ways to fail."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from latentnas.measure import digits
from latentnas.measure.digits import Images, ImageSets
from latentnas.oneshot import budget, strategies, training
from latentnas.oneshot.shared_cells import SharedCells, SharedSkeleton
from latentnas.oneshot.strategies import (
    Darts,
    Gdas,
    LearningConfig,
    TopKEvolution,
    UniformCells,
    one_shot_search,
    straight_through,
)  # fmt: skip
from latentnas.oneshot.training import SupernetSchedule, checkpoint_file, shared_accuracy, train_supernet  # fmt: skip
from latentnas.search.base import run
from latentnas.search.discrete import RandomSearch
from latentnas.search.domains import table_domain
from latentnas.spaces.nasbench201 import NASBENCH201

SKELETON = SharedSkeleton(channels=2)
SCHEDULE = SupernetSchedule(epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def data():
    whole = digits.load(0.5, copies=1)
    train, valid = (Images(part.images[:48], part.labels[:48]) for part in (whole.train, whole.valid))
    return ImageSets(train, valid, whole.test, whole.augment)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search.safetensors"


@pytest.fixture
def every_epoch(monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)


def weights(network):
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def failing_after(data, calls, action):
    """The same images, but batch number ``calls`` of the training images is ``action()``'s."""
    count = iter(range(10**6))

    def augment(images, generator):
        return action(images) if next(count) >= calls else data.augment(images, generator)

    return dataclasses.replace(data, augment=augment)


@pytest.mark.parametrize("method", (RandomSearch, TopKEvolution, Darts, Gdas))
def test_every_method_finds_a_cell_and_keeps_its_history(method, data, path):
    network, scores = SharedCells(SKELETON, 0), method in (RandomSearch, TopKEvolution)
    if scores:
        searcher = method(table_domain(NASBENCH201), 0)
        found = one_shot_search(network, UniformCells(), data, SCHEDULE, 0, path, 60, searcher)
    else:
        found = one_shot_search(network, method(0), data, SCHEDULE, 0, path)
    columns = ["epoch", "train_loss", "row", "arch", "shared_accuracy", "visited", "seconds"]
    assert list(found.training.columns) == columns
    assert list(found.training["epoch"]) == [1, 2]
    assert len(set(found.visited)) == len(found.visited) == found.training["visited"].iloc[-1] > 0
    assert list(NASBENCH201.index(NASBENCH201.to_batch(list(found.training["arch"])))) == list(found.training["row"])
    if scores:
        assert len(found.selection) == 60
        best = found.selection.loc[found.selection["value"].idxmax()]
        numbers = torch.from_numpy(NASBENCH201.choices(NASBENCH201.enumerate()))[[found.row]]
        assert found.row == best["row"]
        assert shared_accuracy(network, numbers, data.valid).item() == best["value"]
    else:
        assert found.row == found.training["row"].iloc[-1] and found.selection is None


def test_a_training_cut_off_goes_on_to_the_same_end(data, path, tmp_path, every_epoch):
    class Cut(Exception):
        pass

    def cut(images):
        raise Cut

    ends = []
    for stops in (False, True):
        network, strategy, file = (SharedCells(SKELETON, 0), Gdas(3), path if stops else tmp_path / "other.safetensors")
        if stops:
            with pytest.raises(Cut):
                train_supernet(network, strategy, failing_after(data, 5, cut), SCHEDULE, 7, file)
            network, strategy = SharedCells(SKELETON, 1), Gdas(4)  # all that matters is in the file
        history = train_supernet(network, strategy, data, SCHEDULE, 7, file)
        ends.append((weights(network), strategy.variable.detach(), history.drop(columns="seconds")))
    assert torch.equal(ends[0][0], ends[1][0]) and torch.equal(ends[0][1], ends[1][1])
    assert ends[0][2].equals(ends[1][2])
    again = SharedCells(SKELETON, 2)
    assert train_supernet(again, Gdas(5), data, SCHEDULE, 7, path).drop(columns="seconds").equals(ends[1][2])
    assert torch.equal(weights(again), ends[1][0])  # loaded, not trained


def test_a_loss_that_is_not_finite_stops_and_names_the_step_and_the_checkpoint(data, path, every_epoch):
    bad = failing_after(data, 4, lambda images: images * float("nan"))
    with pytest.raises(
        FloatingPointError, match=r"nan in step 5 \(epoch 2\).*after epoch 1, are in .*search.safetensors\."
    ):
        train_supernet(SharedCells(SKELETON, 0), UniformCells(), bad, SCHEDULE, 0, path)
    assert path.exists()
    bad = failing_after(data, 0, lambda images: images * float("nan"))
    with pytest.raises(FloatingPointError, match=r"step 1 \(epoch 1\)\. .* None were saved"):
        train_supernet(SharedCells(SKELETON, 0), UniformCells(), bad, SCHEDULE, 0, path.with_name("none"))


def test_a_checkpoint_of_another_skeleton_or_training_is_refused(data, path):
    short = dataclasses.replace(SCHEDULE, epochs=1)
    train_supernet(SharedCells(SKELETON, 0), UniformCells(), data, short, 0, path)
    with pytest.raises(ValueError, match="belongs to another training: skeleton.channels is 2 there and 3 here"):
        train_supernet(SharedCells(SharedSkeleton(channels=3), 0), UniformCells(), data, short, 0, path)
    for strategy, schedule, seed in ((Darts(0), short, 0), (UniformCells(), SCHEDULE, 0), (UniformCells(), short, 1)):
        with pytest.raises(ValueError, match="another training"):
            train_supernet(SharedCells(SKELETON, 0), strategy, data, schedule, seed, path)


def test_a_checkpoint_is_named_after_its_training(data, tmp_path):
    arguments = [SharedCells(SKELETON, 0), Gdas(0), data, SCHEDULE, 0]
    names = [checkpoint_file(tmp_path, *arguments)]
    assert checkpoint_file(tmp_path, SharedCells(SKELETON, 5), Gdas(3), *arguments[2:]) == names[0]
    noisier = dataclasses.replace(data, train=Images(data.train.images + 0.1, data.train.labels))  # as many as before
    skeleton, schedule = SharedCells(SharedSkeleton(channels=3), 0), SupernetSchedule(epochs=1)
    others = {0: skeleton, 1: Darts(0), 2: noisier, 3: schedule, 4: 1}
    for place, other in others.items():
        changed = [*arguments[:place], other, *arguments[place + 1 :]]
        names.append(checkpoint_file(tmp_path, *changed))
    faster = Gdas(0, LearningConfig(learning_rate=1.0))
    names.append(checkpoint_file(tmp_path, arguments[0], faster, *arguments[2:]))
    assert len(set(names)) == len(names) == 7 and all(name.parent == tmp_path for name in names)


def test_batches_that_do_not_fit_are_refused(data, path):
    large = dataclasses.replace(SCHEDULE, batch_size=49)
    with pytest.raises(ValueError, match="A batch of 49 images is more than there are .* at most 48"):
        train_supernet(SharedCells(SKELETON, 0), UniformCells(), data, large, 0, path)
    fewer = dataclasses.replace(data, valid=Images(data.valid.images[:15], data.valid.labels[:15]))
    with pytest.raises(ValueError, match="A batch of 16 .* at most 15"):
        train_supernet(SharedCells(SKELETON, 0), UniformCells(), fewer, SCHEDULE, 0, path)


def test_shared_accuracy_counts_images_one_cell_at_a_time(data):
    network = SharedCells(SKELETON, 0)
    cells = torch.from_numpy(NASBENCH201.choices(NASBENCH201.enumerate()))[5000:5011]
    images, labels = data.valid.images, data.valid.labels
    expected = [
        100 * float((network(images[:, None], cell[None])[0].argmax(dim=1) == labels).double().mean()) for cell in cells
    ]
    assert shared_accuracy(network, cells, data.valid).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("setting", ["last_learning_rate", "momentum", "weight_decay"])
def test_what_may_be_zero_trains_without_it(data, path, setting):
    network, schedule = SharedCells(SKELETON, 0), dataclasses.replace(SCHEDULE, **{setting: 0.0})
    before = weights(network)
    history = train_supernet(network, UniformCells(), data, schedule, 0, path)
    assert np.isfinite(history["train_loss"]).all() and not torch.equal(weights(network), before)


def test_uniform_cells_are_drawn_evenly_and_each_learns_from_the_whole_batch(data):
    network, strategy = SharedCells(SKELETON, 0), UniformCells()
    images, labels = data.train.images[:8], data.train.labels[:8]
    loss = strategy.loss(network, images, labels, 0.0, torch.Generator().manual_seed(0))
    alone = functional.cross_entropy(network(images[:, None], strategy.current()[None])[0], labels)
    torch.testing.assert_close(loss, alone)
    drawn = []
    for seed in range(600):
        strategy.loss(network, images[:2], labels[:2], 0.0, torch.Generator().manual_seed(seed))
        drawn.append(strategy.last.clone())
    assert np.bincount(torch.stack(drawn).flatten(), minlength=5).min() > 600  # of 3,600, a fifth each


def test_darts_descends_the_gradient_of_the_mixture(data):
    network, strategy = SharedCells(SKELETON, 0), Darts(0, LearningConfig(weight_decay=0.0))
    images, labels = data.valid.images[:16], data.valid.labels[:16]
    before = strategy.variable.detach().clone()
    logits = before.clone().requires_grad_()
    loss = functional.cross_entropy(network(images[:, None], logits.softmax(dim=1)[None])[0], labels)
    [gradient] = torch.autograd.grad(loss, logits)
    strategy.learn(network, images, labels, 0.5, torch.Generator())
    torch.testing.assert_close(strategy.variable.grad, gradient)
    moved = strategy.variable.detach() - before
    assert (moved.sign() == -gradient.sign())[gradient.abs() > 1e-6].all()  # the first step of Adam
    assert all(weight.grad is None for weight in network.parameters())
    assert torch.equal(strategy.current(), strategy.variable.argmax(dim=1))


def test_gdas_draws_one_operation_with_the_probability_of_its_logit():
    strategy = Gdas(0)
    strategy.variable.data = torch.tensor([[0.0, 1.0, 2.0, -1.0, 0.5]]).repeat(6, 1)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([strategy.factors(0.3, generator).detach() for _ in range(2000)])
    assert ((drawn == 0).sum(dim=2) == 4).all()  # exact zeros
    torch.testing.assert_close(drawn.sum(dim=2), torch.ones(2000, 6))
    shares = drawn.mean(dim=(0, 1))
    torch.testing.assert_close(shares, strategy.variable.detach()[0].softmax(dim=0), atol=0.015, rtol=0)


def test_straight_through_has_the_gradient_of_the_softmax():
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(6, 5, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad((f(logits) * upstream).sum(), logits)[0] for f in (straight_through, lambda x: x.softmax(1))
    )
    torch.testing.assert_close(found, expected)
    assert torch.equal(straight_through(logits) != 0, functional.one_hot(logits.argmax(1), 5).bool())


def test_evolution_finds_the_best_of_a_smooth_table():
    domain = table_domain(NASBENCH201)
    target = np.array([3, 1, 4, 2, 0, 3])
    values = (domain.choices() == target).sum(axis=1).astype(float)
    history = run(TopKEvolution(domain, 0), domain.lookup(values), budget=1000, batch=50)
    assert history["incumbent"].iloc[-1] == 6
    assert history["incumbent"].iloc[49] < 6  # the first generation is random


def test_children_of_evolution_come_from_the_best(monkeypatch):
    monkeypatch.setattr(strategies, "PARENTS", 2)
    monkeypatch.setattr(strategies, "MUTATION", 1e-12)
    domain = table_domain(NASBENCH201)
    search = TopKEvolution(domain, 0, population=4)
    rows = NASBENCH201.index(NASBENCH201.from_choices([[0] * 6, [1] * 6, [2] * 6, [3] * 6]))
    search.tell(rows, np.array([1.0, 9.0, 2.0, 8.0]))
    children = domain.choices(search.ask(200))
    assert set(np.unique(children)) == {1, 3}
    assert all(len(set(child)) == 1 for child in children[1::2])  # hardly ever mutated: a parent
    assert any(len(set(child)) == 2 for child in children[::2])  # crossed


def test_evolution_of_nothing_is_refused():
    with pytest.raises(ValueError, match="^population=0 must be a whole number, at least 1"):
        TopKEvolution(table_domain(NASBENCH201), 0, population=0)


def test_less_than_no_cell_is_not_scored(data, path):
    with pytest.raises(ValueError, match="cells=-1 must be a whole number, at least 0"):
        one_shot_search(SharedCells(SKELETON, 0), UniformCells(), data, SCHEDULE, 0, path, cells=-1)
    assert not path.exists()


def test_an_architecture_that_is_not_finite_stops_the_search_too(data, path):
    strategy = Darts(0)
    strategy.gradient = lambda loss, done: torch.full_like(strategy.variable, float("inf"))
    with pytest.raises(FloatingPointError, match=r"validation loss became nan in step 1 \(epoch 1\)"):
        train_supernet(SharedCells(SKELETON, 0), strategy, data, SCHEDULE, 0, path)


def test_a_cell_without_operations_teaches_nothing(data):
    strategy = Gdas(0, LearningConfig(weight_decay=0.0))
    strategy.variable.data[:, 0] = 1e4
    before = strategy.variable.detach().clone()
    loss = strategy.learn(SharedCells(SKELETON, 0), data.valid.images, data.valid.labels, 0.5, torch.Generator())
    assert loss == pytest.approx(np.log(10)) and torch.equal(strategy.variable, before)


def test_an_observer_sees_every_epoch_and_its_numbers_are_kept(data, path):
    network, seen = SharedCells(SKELETON, 0), []

    def observe(observed, epoch):
        assert observed is network
        seen.append(epoch)
        return {"norm": weights(observed).norm().item()} if epoch == 2 else {}

    history = train_supernet(network, UniformCells(), data, SCHEDULE, 0, path, observe)
    assert seen == [1, 2] and np.isnan(history["norm"][0])
    assert history["norm"][1] == pytest.approx(weights(network).norm().item())
    other = path.with_name("plain")
    plain = train_supernet(SharedCells(SKELETON, 0), UniformCells(), data, SCHEDULE, 0, other)
    assert plain.drop(columns="seconds").equals(history.drop(columns=["seconds", "norm"]))
    loaded = train_supernet(SharedCells(SKELETON, 0), UniformCells(), data, SCHEDULE, 0, path, observe)
    assert seen == [1, 2] and loaded.equals(history)  # what was trained is not observed again


@pytest.mark.parametrize("make", (UniformCells, lambda: Gdas(0), lambda: Darts(0)))
def test_visits_are_those_of_the_training_steps(make, data, path):
    strategy, steps = make(), {}
    loss, numbers = strategy.loss, iter(range(1, 100))

    def spy(*arguments):
        result = loss(*arguments)
        [row] = NASBENCH201.index(NASBENCH201.from_choices(strategy.last))
        steps[int(row)] = next(numbers)
        return result

    strategy.loss = spy
    history = train_supernet(SharedCells(SKELETON, 0), strategy, data, SCHEDULE, 0, path)
    assert {int(row): int(strategy.visited[row]) for row in strategy.visited.nonzero()} == steps
    assert history["visited"].iloc[-1] == len(steps) and max(steps.values()) == 6  # three batches an epoch


def test_the_best_of_the_cells_visited_last_is_handed_in(data, path):
    network, strategy = SharedCells(SKELETON, 0), Gdas(0)
    found = one_shot_search(network, strategy, data, SCHEDULE, 0, path, cells=3)
    rows, visited = found.selection["row"], strategy.visited.numpy()
    assert len(rows) == 3 and rows.is_unique and list(found.visited[:3]) == list(rows)
    assert visited[rows].min() >= np.delete(visited, rows).max()  # none left out was visited later
    numbers = torch.from_numpy(NASBENCH201.choices(NASBENCH201.enumerate()))
    assert list(found.selection["value"]) == shared_accuracy(network, numbers[rows], data.valid).tolist()
    assert found.row == rows[found.selection["value"].idxmax()]
    everything = one_shot_search(network, Gdas(0), data, SCHEDULE, 0, path, cells=1000)
    assert sorted(everything.selection["row"]) == list(visited.nonzero()[0])


def test_every_search_gets_the_same_seconds():
    assert set(budget.EPOCH_SECONDS) == {*budget.BASELINES, *budget.VARIANTS}
    assert budget.epochs_of("E2NAS", 200) == 200
    whole = 200 * budget.EPOCH_SECONDS["E2NAS"]
    for name, seconds in budget.EPOCH_SECONDS.items():
        assert budget.epochs_of(name, 200) * seconds == pytest.approx(whole, abs=seconds / 2)
    assert budget.epochs_of("uniform cells", 200) > 3 * 200 > budget.epochs_of("DARTS", 200)
    assert budget.epochs_of("DARTS", 1) >= 1
