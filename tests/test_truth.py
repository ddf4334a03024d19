"""The truth behind a table, against simulated tables whose truth is known."""

import numpy as np
import pytest
import scipy.stats

from latentnas.benchmarks import truth

DEVIATION = 0.2


def simulated(seed, cells=400):
    """True accuracies with a long tail of bad cells, and two or three runs of each."""
    random = np.random.default_rng(seed)
    true = 91 - random.gamma(2, 0.4, cells)
    runs = true[:, None] + DEVIATION * random.normal(size=(cells, 3))
    runs[random.random(cells) < 0.5, 2] = np.nan
    return true, runs


TABLES = [simulated(seed) for seed in range(150)]


def test_summary_of_runs():
    mean, count, deviation = truth.summary(np.array([[1.0, 2, 3], [5, 6, np.nan], [4, np.nan, np.nan]]))
    assert mean.tolist() == [2, 5.5, 4] and count.tolist() == [3, 2, 1]
    assert deviation == pytest.approx(((1 + 1 + 0.25 + 0.25) / 3) ** 0.5)
    found = [truth.summary(runs)[2] for _, runs in TABLES[:20]]
    assert np.mean(found) == pytest.approx(DEVIATION, rel=0.02)


def test_runs_in_a_list_or_in_single_precision_are_taken():
    runs = [[90.25, 91.5], [92.75, np.nan], [93.5, 93.75]]
    for given in (runs, np.float32(runs)):
        mean, _, deviation = truth.summary(given)
        assert mean.dtype == np.float64 and mean.tolist() == [90.875, 92.75, 93.625]
        assert deviation == truth.summary(np.array(runs))[2]


def test_only_the_best_cells_say_how_far_runs_differ(monkeypatch):
    runs = np.array([[1.0, 9], [20, 21], [30, 32]])
    assert truth.summary(runs)[2] == pytest.approx(((32 + 0.5 + 2) / 3) ** 0.5)
    monkeypatch.setattr(truth, "NOISE_FROM", 2)
    assert truth.summary(runs)[2] == pytest.approx(((0.5 + 2) / 2) ** 0.5)


def test_runs_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="cell 1 has none"):
        truth.summary(np.array([[1.0, 2], [np.nan, np.nan]]))
    with pytest.raises(ValueError, match="Each cell needs a run"):
        truth.summary(np.empty((0, 3)))
    with pytest.raises(ValueError, match="Cell 2 has an infinite run"):
        truth.summary(np.array([[1.0, 2], [3, 4], [np.inf, 5]]))
    for runs in (np.array([1.0, 2]), np.ones((2, 2, 2)), None):
        with pytest.raises(ValueError, match="Runs come as a table"):
            truth.summary(runs)
    for runs in (np.array([[1.0], [2]]), np.array([[1.0, 1], [2, 2]])):
        with pytest.raises(ValueError, match="not known"):
            truth.posterior(runs)


@pytest.mark.parametrize("cells", [2, 10, 400])
def test_the_quantile_of_the_best_against_a_simulation(cells):
    draws = np.random.default_rng(0).normal(size=(20_000, cells))
    behind = (draws.max(axis=1) - draws[:, 0]) / 2**0.5
    assert (behind <= truth.best_quantile(cells)).mean() == pytest.approx(0.95, abs=0.006)
    assert truth.best_quantile(1) == 0 and truth.best_quantile(2) == pytest.approx(scipy.stats.norm.ppf(0.95), abs=1e-6)


def test_the_corrected_set_has_the_truly_best_cell_and_the_tests_one_by_one_do_not():
    held, sizes = [], []
    for true, runs in TABLES:
        sets = [truth.indistinguishable(runs, corrected) for corrected in (True, False)]
        assert all(found[np.nanmean(runs, axis=1).argmax()] for found in sets) and sets[0][sets[1]].all()
        held.append([found[true.argmax()] for found in sets])
        sizes.append([found.sum() for found in sets])
    corrected, alone = np.mean(held, axis=0)
    assert corrected >= 0.97 and alone < 0.93
    assert np.mean(sizes, axis=0)[1] < np.mean(sizes, axis=0)[0] < 160


def test_one_by_one_a_cell_is_as_far_behind_as_both_numbers_of_runs_allow():
    """Of the best cell with three runs and one behind it with one or three, by less and by more than 5 % allow."""
    best = np.array([9.0, 10, 11])  # its deviation, 1, is that of all
    for count, errors in ((1, (1 + 1 / 3) ** 0.5), (3, (2 / 3) ** 0.5)):
        for factor, inside in ((0.99, True), (1.01, False)):
            mean = 10 - factor * 1.6448536 * errors
            other = [mean, np.nan, np.nan] if count == 1 else [mean - 1, mean, mean + 1]
            assert truth.indistinguishable(np.array([best, other]), corrected=False).tolist() == [True, inside]


def test_a_flat_posterior_of_two_cells_written_out():
    """The difference of two normal variables says which is the higher one, and how high that is on average."""
    runs = np.array([[9.0, 10, 11], [8, 10, np.nan]])
    deviation = ((1 + 1 + 1 + 1) / 3) ** 0.5
    error = deviation * (1 / 3 + 1 / 2) ** 0.5
    chance = scipy.stats.norm.cdf(1 / error)
    found = truth.posterior(runs, flat=True)
    assert found.chance == pytest.approx([chance, 1 - chance], abs=5e-4)
    best = 10 * chance + 9 * (1 - chance) + error * scipy.stats.norm.pdf(1 / error)
    assert found.best == pytest.approx(best, abs=1e-3)


@pytest.mark.slow
def test_the_posterior_knows_how_lucky_the_winner_was():
    """What the table says of its winner is too high by far; the posterior's mean is right, and so are its chance to be
    the best and the true accuracy of the best cell of all."""
    said, shrunk, gained, chances, flats, held = [], [], [], [], [], []
    for true, runs in TABLES:
        mean, found, flat = np.nanmean(runs, axis=1), truth.posterior(runs), truth.posterior(runs, flat=True)
        winner = mean.argmax()
        said.append(mean[winner] - true[winner])
        shrunk.append(found.mean[winner] - true[winner])
        gained.append(found.best - true.max())
        chances.append((found.chance[winner], true.argmax() == winner, flat.chance[winner]))
        flats.append(flat.best - true.max())
        likely = truth.likely_best(found)
        assert (
            found.chance[likely].sum() >= 0.95 > found.chance[likely[:-1]].sum() and likely[0] == found.chance.argmax()
        )
        held.append([true.argmax() in cells for cells in (likely, truth.likely_best(flat))])
        assert found.chance.sum() == pytest.approx(1) and flat.mean == pytest.approx(mean, abs=0.02)
    assert np.mean(said) > 0.25 and abs(np.mean(shrunk)) < np.mean(said) / 6
    assert abs(np.mean(gained)) < np.mean(flats) / 5
    shrunken, as_it_is = np.mean(held, axis=0)
    assert as_it_is < 0.8 < 0.85 < shrunken < 0.98
    chance, best, too_high = np.mean(chances, axis=0)
    assert abs(chance - best) < 0.08 < too_high - best


def test_cells_far_below_keep_their_mean(monkeypatch):
    monkeypatch.setattr(truth, "SHRUNK", 50)
    _, runs = TABLES[0]
    mean, found = np.nanmean(runs, axis=1), truth.posterior(runs)
    below = np.argsort(-mean)[50:]
    assert (found.mean[below] == mean[below]).all() and not found.chance[below].any()
    assert (found.mean != mean).sum() == 50


def test_an_infinite_run_is_refused():
    with pytest.raises(ValueError, match="Cell 1 has an infinite run"):
        truth.summary(np.array([[90.0, 91.0], [90.0, np.inf]]))
