"""CR-LSO's search on a toy latent space whose decoder rounds to the nearest cell; once on a trained one."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from latentnas import train
from latentnas.graphs import DagBatch
from latentnas.models.convex import InputConvexNetwork, RefitConfig
from latentnas.models.crlso import CRLSO, AccuracyPredictorConfig, CRLSOConfig
from latentnas.models.heads import LabelScale
from latentnas.search.base import run
from latentnas.search.domains import SampledDomain, table_domain
from latentnas.search.latent import crlso
from latentnas.search.latent.crlso import (
    ENSEMBLE,
    CRLSOSearch,
    CRLSOSearchConfig,
    LatentSpace,
    embed,
    learn_latent_space,
    random_design,
)
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.train import TrainConfig
from test_crlso import CELLS
from test_search_base import Spy
from test_search_base import toy_domain as toy_table

REFIT = RefitConfig(epochs=20, learning_rate=1e-2)
SMALL = CRLSOSearchConfig(initial=8, best=4, proposals=4, refit=REFIT)
TOY_ENSEMBLE = replace(ENSEMBLE, initial=6, refit=replace(ENSEMBLE.refit, epochs=20))


class ToySpace:
    """64 cells on a grid of three coordinates, each option its own number; remembers what it decoded."""

    def __init__(self, choices, latent_network=None):
        self.codes, self.deviation = torch.from_numpy(choices).float(), torch.ones(choices.shape[1])
        self.decoded = []
        self.start = latent_network or InputConvexNetwork(3, generator=torch.Generator().manual_seed(0))
        self.model = torch.nn.Module()
        self.model.performance = LabelScale("standardised")
        self.model.performance.calibrate(torch.tensor([-16.0, -5.0]))  # of values_near, about

    def graphs(self, codes):
        self.decoded.append(codes)
        return (codes.round().clamp(0, 3).long() @ torch.tensor([16, 4, 1])).numpy()

    def network(self):
        return self.start


def toy_domain(classes=True):
    """The toy table, whose decoder writes rows instead of graphs."""
    domain = toy_table(classes)
    domain.rows_of = np.array
    return domain


def values_near(domain, target=(3, 3, 3)):
    """A concave function of the code with one largest value, at the target."""
    return -((domain.choices() - np.array(target)) ** 2).sum(axis=1).astype(float)


def make(domain, seed, config=SMALL, space=None):
    space = space or ToySpace(domain.choices())
    return CRLSOSearch(domain, seed, lambda rows, values: [space], config)


@pytest.mark.slow
@pytest.mark.parametrize("config", [SMALL, replace(TOY_ENSEMBLE, starts=1)])
def test_ascent_moves_up_and_descent_down(config):
    """From all of a random design, not only from its best cells; the mean of the space is -10.5."""
    domain = toy_domain(classes=False)
    values = values_near(domain)
    config = replace(config, initial=12, best=12, start_noise=0.2, refit=replace(config.refit, epochs=100))

    def mean_proposal(direction):
        searchers = (make(domain, seed, replace(config, direction=direction)) for seed in range(4))
        return np.mean([run(search, domain.lookup(values), 20).value[12:].mean() for search in searchers])

    assert mean_proposal("ascent") > -4.5 and mean_proposal("descent") < -7


def test_every_label_counts_and_none_is_bought_twice():
    domain = toy_domain()
    spy = Spy(values_near(domain))
    history = run(make(domain, 0), spy, 25, batch=3)
    assert len(history) == 25 and spy.read == history.row.tolist() and history.row.is_unique
    design = random_design(domain, 0, 8)
    assert history.row[:8].tolist() == design.tolist()


def test_given_labels_take_the_place_of_the_random_design():
    domain = toy_domain(classes=False)
    learnt_from = []

    def learn(rows, values):
        learnt_from.append((rows.tolist(), values.tolist()))
        return [ToySpace(domain.choices())]

    values = values_near(domain)
    history = run(CRLSOSearch(domain, 0, learn, SMALL), domain.lookup(values), 20, initial=range(8))
    assert history.row[:8].tolist() == list(range(8))
    assert learnt_from == [(list(range(8)), values[:8].tolist())]  # once, from the design and nothing else

    history = run(CRLSOSearch(domain, 0, learn, SMALL), domain.lookup(values), 20, initial=range(5))
    assert len(history) == 20 and len(learnt_from[1][0]) == 8  # three random rows were added
    assert not set(history.row[5:8]) & set(range(5))


@pytest.mark.parametrize("highest", [-14.0, -100.0])
def test_a_search_goes_on_where_most_labels_or_all_are_the_best(highest):
    """The median of the labels is then their 90 % quantile, too."""
    domain = toy_domain(classes=False)
    values = np.minimum(values_near(domain), highest)
    history = run(make(domain, 0, TOY_ENSEMBLE), domain.lookup(values), 30)
    assert np.ptp(history["value"][:6].quantile([0.5, 0.9])) == 0 and len(history) == 30
    assert (history["value"].nunique() == 1) == (highest < values_near(domain).min())


@pytest.mark.parametrize("config", [SMALL, TOY_ENSEMBLE])
def test_the_seed_fixes_the_history(config):
    domain = toy_domain()
    first, again, other = (
        run(make(domain, seed, config), domain.lookup(values_near(domain)), 30) for seed in (1, 1, 2)
    )
    assert first.equals(again) and not first.row.equals(other.row)


class Slope(InputConvexNetwork):
    """A plane that falls along a given direction: 1 - g rises along it. Refitting leaves it alone."""

    def __init__(self, uphill):
        super().__init__(3, hidden=2, layers=1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.from_input[0, :, -1] = -torch.tensor(uphill)


@pytest.mark.parametrize("direction, sign", [("ascent", 1), ("descent", -1)])
def test_proposals_are_the_first_unknown_cells_on_the_way(direction, sign):
    """Without noise, on a plane with known slope: every step written out."""
    domain = toy_domain(classes=False)
    space = ToySpace(domain.choices(), Slope([3.0, 4.0, 0.0]))
    still = RefitConfig(epochs=1, learning_rate=1e-12, weight_decay=0.0)
    steps = {"direction": direction, "start_noise": 0.0, "step": 0.35 / 3**0.5, "max_steps": 9}
    config = CRLSOSearchConfig(initial=20, best=6, proposals=4, refit=still, **steps)
    search = make(domain, 0, config, space)
    rows = np.random.default_rng(3).permutation(64)[:20]
    values = np.arange(20.0)
    search.tell(rows, values)
    asked = search.ask(6)

    expected, taken = [], set(rows.tolist())
    for row in rows[::-1][:6]:  # the best labelled first
        for multiple in range(1, 10):
            moved = domain.choices()[row] + sign * multiple * 0.35 * np.array([0.6, 0.8, 0.0])
            number = int(np.floor(moved + 0.5).clip(0, 3) @ [16, 4, 1])
            if number not in taken:
                expected.append(number)
                taken.add(number)
                break
    height = domain.choices() @ [0.6, 0.8, 0.0]  # predicted accuracy
    assert len(expected) > 4 and set(asked) <= set(expected)
    assert height[asked].tolist() == sorted(height[expected], reverse=True)[:4]


@pytest.mark.parametrize("size", [3, 48])
def test_a_step_moves_the_coordinates_as_far_in_any_latent_space(size):
    """Else noise, which grows with the number of coordinates, would drown it in large ones."""
    domain = toy_domain(classes=False)
    space = ToySpace(np.tile(domain.choices(), size // 3))
    space.graphs = lambda codes: space.decoded.append(codes) or ToySpace.graphs(space, codes[:, :3])
    network = InputConvexNetwork(size, generator=torch.Generator().manual_seed(1))
    search = make(domain, 0, replace(SMALL, step=0.1, max_steps=5), space)
    search._spaces = [space]
    start = np.arange(0, 64, 7)
    search._ways(network, 0, start, torch.zeros(len(start), size))
    moved = space.decoded[0].reshape(len(start), 5, size) - space.codes[start, None]
    lengths = moved.square().mean(dim=2).sqrt()
    torch.testing.assert_close(lengths, 0.1 * torch.arange(1, 6).expand(len(start), 5))


def test_networks_are_refitted_without_denormal_numbers_which_others_keep(monkeypatch):
    """A processor may take 18 times as long with them."""
    smallest = torch.full((1,), 1e-39)
    seen, fitted = [], crlso.refit
    monkeypatch.setattr(crlso, "refit", lambda *given: seen.append((2 * smallest).item()) or fitted(*given))
    domain = toy_domain()
    run(make(domain, 0), domain.lookup(values_near(domain)), 20)
    assert seen and set(seen) == {0.0}
    assert (2 * smallest).item() > 0


def test_runs_can_share_their_design_and_differ_in_noise():
    domain = toy_domain(classes=False)
    histories = []
    for seed, design in ((3, None), (4, 3), (4, None)):
        space = ToySpace(domain.choices())
        search = CRLSOSearch(domain, seed, lambda *known, space=space: [space], SMALL, design)
        histories.append(run(search, domain.lookup(values_near(domain)), 30, 4).row.tolist())
    assert histories[1][:8] == histories[0][:8] == random_design(domain, 3, 8).tolist() != histories[2][:8]
    assert histories[1] != histories[0]


def test_new_networks_are_convex():
    domain = toy_domain(classes=False)
    search = make(domain, 0, TOY_ENSEMBLE)
    search._spaces = [ToySpace(domain.choices())] * search.config.members
    network = search._refitted(np.arange(64), torch.from_numpy(values_near(domain)).float())
    assert all((weight >= 0).all() for weight in network.from_hidden)


def test_proposals_are_ranked_by_a_draw_as_wide_as_the_members_disagree():
    """Two members that agree on one half of the rows and differ on the other; draws are written out."""
    domain = toy_domain(classes=False)
    up, same = torch.tensor([16.0, 4.0, 1.0]), torch.tensor([0.0, 4.0, 1.0])
    network = InputConvexNetwork(3, hidden=2, layers=1, members=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.from_input[:, :, -1] = -torch.stack([up, same])
    rows = list(range(0, 64, 3))
    for spread in (0.0, 1.0):
        search = make(domain, 5, replace(TOY_ENSEMBLE, members=2, spread=spread))
        search._spaces = [ToySpace(domain.choices())] * 2
        codes = search._spaces[0].codes[rows]
        mean, deviation = codes @ (up + same) / 2, (codes @ (up - same)).abs() / 2
        noise = torch.randn(len(rows), generator=torch.Generator().manual_seed(5))
        expected = (mean + spread * deviation * noise).argsort(descending=True)
        assert search._ranked(network, rows) == [rows[place] for place in expected.tolist()]


def test_each_member_climbs_in_its_own_space():
    """Two spaces with the coordinates in opposite orders, and one slope each: without noise, each start is
    climbed by both members, and every step is written out."""
    domain = toy_domain(classes=False)
    forwards, backwards = ToySpace(domain.choices()), ToySpace(domain.choices()[:, ::-1].copy())
    backwards.graphs = lambda codes: forwards.graphs(codes.flip(1))
    network = InputConvexNetwork(3, hidden=2, layers=1, members=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.from_input[:, :, -1] = -torch.tensor([[3.0, 4.0, 0.0], [1.0, 0.0, 0.0]])
    steps = {"start_noise": 0.0, "step": 0.35 / 3**0.5, "max_steps": 9, "starts": 2, "best": 3, "members": 2}
    search = CRLSOSearch(domain, 0, lambda *known: [forwards, backwards], replace(TOY_ENSEMBLE, **steps))
    search._spaces = search._learned(np.arange(2), np.arange(2.0))
    start, known = np.array([5, 22, 40]), {5: 0.0, 22: 0.0, 40: 0.0}
    search._values = dict(known)

    expected = []
    uphill = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])  # of each member, coordinates in the forward order
    for copy in range(2):
        for place, row in enumerate(start):
            member = (copy + place) % 2
            for multiple in range(1, 10):
                moved = domain.choices()[row] + multiple * 0.35 * uphill[member]
                number = int(np.floor(moved + 0.5).clip(0, 3) @ [16, 4, 1])
                if number not in known and number not in expected:
                    expected.append(number)
                    break
    assert len(expected) >= 4 and search._step(network, start, 0.0, []) == expected


def test_an_exhausted_space_ends_the_search():
    domain = toy_domain(classes=False)
    for config in (SMALL, TOY_ENSEMBLE):
        history = run(make(domain, 0, config), domain.lookup(values_near(domain)), 1000)
        assert history.stopped.iloc[0] in ("space exhausted", "nothing new proposed")
        assert 50 <= len(history) <= 64 and history.row.is_unique


@pytest.mark.parametrize("answer", [-1, 5])
def test_a_decoder_that_says_nothing_new_ends_the_search(answer):
    """Every point decodes to no cell, or to the same known one."""
    domain = toy_domain(classes=False)
    space = ToySpace(domain.choices())
    space.graphs = lambda codes: np.full(len(codes), answer)
    history = run(make(domain, 0, space=space), domain.lookup(values_near(domain)), 40, initial=range(8))
    assert len(history) == 8 and history.stopped.iloc[0] == "nothing new proposed"


def test_fewer_labels_than_a_batch():
    domain = toy_domain(classes=False)
    config = replace(SMALL, initial=2, refit=RefitConfig(epochs=5, batch_size=32))
    assert len(run(make(domain, 0, config), domain.lookup(values_near(domain)), 20)) == 20


# latent spaces


def tiny_model(space="nasbench201", **fields):
    torch.manual_seed(0)
    return CRLSO(CRLSOConfig(space=space, hidden=16, latent=4, **fields)).eval()


def test_codes_have_unit_deviation_and_the_network_reads_them():
    cells = NASBENCH201.enumerate()
    space = embed(tiny_model(), cells)
    torch.testing.assert_close(space.codes.std(dim=0), torch.ones(4))
    with torch.no_grad():
        mu, _ = space.model.encode(cells[:50])
        torch.testing.assert_close(space.network()(space.codes[:50])[0], space.model.performance.network(mu)[0])
        decoded = NASBENCH201.index(space.model.decode(mu))
    assert NASBENCH201.index(space.graphs(space.codes[:50])).tolist() == decoded.tolist()


@pytest.mark.slow
def test_a_coordinate_in_which_no_code_differs_keeps_its_unit():
    model = tiny_model()
    with torch.no_grad():
        model.mu.weight[0] = 0
    space = embed(model, NASBENCH201.sample(20, seed=0))
    assert space.deviation[0] == 1 and space.codes.isfinite().all() and (space.deviation[1:] < 1).all()


@pytest.mark.slow
def test_rows_of_nasbench101_cells_are_found_after_pruning():
    """The first graph is a cell with a vertex too many, the second has no path, the third is too large."""
    types = torch.tensor([[0, 2, 3, 1, -1, -1, -1], [0, 2, 1, -1, -1, -1, -1], [0, 2, 2, 2, 2, 2, 1]])
    adjacency = torch.zeros(3, 7, 7, dtype=torch.bool)
    adjacency[0, [0, 1, 0], [1, 3, 2]] = True
    adjacency[1, 0, 1] = True
    adjacency[2] = torch.ones(7, 7).triu(1).bool()
    graphs = DagBatch(types, adjacency, torch.tensor([4, 3, 7]))
    cell = '{"matrix": [[0, 1, 0], [0, 0, 1], [0, 0, 0]], "ops": ["input", "conv3x3-bn-relu", "output"]}'
    expected = [NASBENCH101.index(NASBENCH101.to_batch([cell]))[0], -1, -1]
    domain = table_domain(NASBENCH101)
    assert domain.rows_of(graphs).tolist() == expected and domain.accepts(graphs).tolist() == [True, False, False]
    sampled = SampledDomain(NASBENCH101, typical=5)
    rows = sampled.rows_of(graphs)
    assert rows[0] >= 0 and rows[1:].tolist() == [-1, -1]
    assert NASBENCH101.index(sampled.graphs(rows[:1])).tolist() == expected[:1]


@pytest.mark.slow
def test_search_in_a_space_learnt_from_the_labels(tmp_path, monkeypatch):
    """Both trainings and the search on all of NAS-Bench-201, with an accuracy made up from the operations."""
    monkeypatch.setattr(train, "CHECKPOINTS", tmp_path)
    domain = table_domain(NASBENCH201)
    cells = NASBENCH201.enumerate()
    numbers = NASBENCH201.choices(cells)
    values = 50 + 7.0 * (numbers == 3).sum(axis=1) + 3.0 * (numbers == 2).sum(axis=1)
    learn = partial(
        learn_latent_space,
        graphs=cells,
        name="toy",
        predictor_training=TrainConfig(epochs=40, batch_size=20, learning_rate=3e-3, precision="fp32"),
        training=TrainConfig(epochs=5, batch_size=256, learning_rate=5e-3, precision="fp32"),
        predictor_config=AccuracyPredictorConfig(hidden=16),
        config=CRLSOConfig(hidden=32, latent=16),
    )
    config = replace(CRLSOSearchConfig(), initial=60, refit=REFIT)
    design = random_design(domain, 0, 60)
    space = learn(design, values[design])  # what the search will load
    assert space.seconds > 0 and np.corrcoef(space.pseudo_labels, values)[0, 1] > 0.5
    history = run(CRLSOSearch(domain, 0, lambda *known: [learn(*known)], config), domain.lookup(values), 120)
    assert len(history) == 120 and history.row.is_unique
    assert history.value[60:].mean() > history.value[:60].mean() + 8
    assert len(list(tmp_path.iterdir())) == 2
    again = run(
        CRLSOSearch(domain, 0, lambda *known: [learn(*known)], config), domain.lookup(values), 120
    )  # from the checkpoints
    assert again.equals(history)


def test_the_autoencoder_can_learn_from_a_part_of_the_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINTS", tmp_path)
    cells, seen = CELLS["nasbench101"], []
    monkeypatch.setattr(
        crlso, "train_model", lambda *arguments: seen.append(arguments[3]) or train.train_model(*arguments)
    )
    space = learn_latent_space(
        np.arange(10),
        np.linspace(80, 94, 10),
        cells,
        "part",
        TrainConfig(epochs=1, batch_size=8, precision="fp32"),
        TrainConfig(epochs=1, batch_size=8, precision="fp32"),
        AccuracyPredictorConfig("nasbench101", hidden=8),
        CRLSOConfig("nasbench101", hidden=8, latent=4),
        shown=np.arange(5, 25),
    )
    assert seen[0].keys() == cells[:10].keys() and seen[1].keys() == cells[5:25].keys()
    assert len(space.pseudo_labels) == 20 and len(space.codes) == len(cells)


# bad input


def test_a_latent_space_of_another_size_is_refused():
    domain = toy_domain(classes=False)
    search = make(domain, 0, space=ToySpace(domain.choices()[:50]))
    search.tell(np.arange(8), values_near(domain)[:8])
    with pytest.raises(ValueError, match="codes of 50 cells, but the domain has 64 rows"):
        search.ask(1)


def test_as_many_spaces_as_members_or_one():
    domain = toy_domain(classes=False)
    space = ToySpace(domain.choices())
    search = CRLSOSearch(domain, 0, lambda *known: [space, space], TOY_ENSEMBLE)
    search.tell(np.arange(8), values_near(domain)[:8])
    with pytest.raises(ValueError, match="2 latent spaces for 10 convex networks"):
        search.ask(1)


def test_spaces_of_different_sizes_are_refused():
    domain = toy_domain(classes=False)
    spaces = [ToySpace(domain.choices()), ToySpace(domain.choices()[:, :2])]
    search = CRLSOSearch(domain, 0, lambda *known: spaces, replace(TOY_ENSEMBLE, members=2))
    search.tell(np.arange(8), values_near(domain)[:8])
    with pytest.raises(ValueError, match="2, 3 dimensions"):
        search.ask(1)


def test_an_autoencoder_without_the_regulariser_has_no_network_to_fine_tune():
    space = LatentSpace(tiny_model(convexity_weight=0.0), torch.zeros(64, 4), torch.ones(4))
    search = CRLSOSearch(toy_domain(), 0, lambda rows, values: [space], SMALL)
    search.tell(np.arange(16, 24), np.arange(8.0))
    with pytest.raises(ValueError, match="without the convexity regulariser"):
        search.ask(1)


@pytest.mark.parametrize(
    "fields, word",
    [
        ({"direction": "up"}, "direction='up'"),
        ({"best": 0}, "best=0"),
        ({"step": 0.0}, "step=0.0"),
        ({"start_noise": -1.0}, "start_noise=-1.0"),
        ({"spread": -1.0}, "spread=-1.0"),
    ],
)
def test_wrong_settings_are_named(fields, word):
    with pytest.raises(ValueError, match=word):
        CRLSOSearchConfig(**fields)
