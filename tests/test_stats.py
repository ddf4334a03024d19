import numpy as np
import pytest
import scipy.stats

from latentnas import stats


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    true = rng.normal(0.736, 0.006, size=40)
    return true, true + rng.normal(0, 0.002, size=40)


def test_rmse(pair):
    true, predicted = pair
    assert stats.rmse([1, 2, 3], [1, 2, 6]) == pytest.approx(3**0.5)
    mean_square = sum((a - b) ** 2 for a, b in zip(true, predicted)) / 40
    assert stats.rmse(*pair) == pytest.approx(mean_square**0.5)


def test_pearson_against_its_formula(pair):
    true, predicted = (x - x.mean() for x in pair)
    scale = ((true**2).sum() * (predicted**2).sum()) ** 0.5
    assert stats.pearson(*pair) == pytest.approx((true * predicted).sum() / scale)


def test_spearman_is_pearson_of_the_ranks(pair):
    ranks = [np.argsort(np.argsort(x)) for x in pair]
    assert stats.spearman(*pair) == pytest.approx(stats.pearson(*ranks))


def test_kendall_counts_ordered_pairs(pair):
    true, predicted = pair
    pairs = [(i, j) for i in range(40) for j in range(i)]
    agree = [np.sign((true[i] - true[j]) * (predicted[i] - predicted[j])) for i, j in pairs]
    assert stats.kendall(*pair) == pytest.approx(np.mean(agree))


def test_correlation_with_a_constant_is_unknown():
    assert np.isnan(stats.pearson([1, 2, 3], [5, 5, 5]))
    assert np.isnan(stats.kendall([1], [2]))


RUNS = (3, 5, 10, 20)


def covered(true, intervals):
    """The share of intervals with the truth inside; one that is not there excludes nothing."""
    low, high = np.asarray(intervals)[:, 1:3].astype(float).T
    return np.mean(np.isnan(low) | ((low <= true + 1e-9) & (true - 1e-9 <= high)))


@pytest.mark.slow
@pytest.mark.parametrize("count", RUNS)
def test_estimates_cover_the_truth_in_93_percent_at_least(count):
    rng, draws = np.random.default_rng(count), 1000
    assert covered(3, [stats.estimate(row) for row in rng.normal(3, 2, (draws, count))]) <= 0.97
    for name, values, median in (
        ("normal", rng.normal(3, 2, (draws, count)), 3),
        ("skewed", rng.exponential(size=(draws, count)), np.log(2)),
        ("never", np.where((late := rng.exponential(size=(draws, count))) > 1, np.inf, late), np.log(2)),
    ):
        found = [stats.estimate(row, "median") for row in values]
        assert covered(median, found) >= 0.93, name
        assert all((estimate[3] is None) == (count < 6) for estimate in found)
    normal = rng.normal(3, 2, (draws, count))
    assert covered(3, [stats.estimate(row) for row in normal]) >= 0.93
    shared = normal[:, :, None] + rng.normal(0, 2, (draws, count, 10))  # ten starts of each training
    clusters = np.repeat(np.arange(count), 10)
    assert covered(3, [stats.estimate(row, clusters=clusters) for row in shared.reshape(draws, -1)]) >= 0.93
    assert covered(3, [stats.estimate(row) for row in shared.reshape(draws, -1)]) < 0.8  # as if they were independent
    for share in (0.02, 0.5, 0.9, 0.99):
        hits = rng.random((draws, count)) < share
        assert covered(100 * share, [stats.estimate(row, "share") for row in hits]) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("count", RUNS)
@pytest.mark.parametrize("trials", [100, 1902])
def test_percentages_of_trials_are_covered_near_100_too(count, trials):
    """Trainings alike, or as different as one trial's chance makes them. The t interval alone would not do."""
    rng, missed = np.random.default_rng(count), []
    for share in (0.9, 0.99, 0.999, 0.9999):
        alike = np.full((400, count), share)
        different = rng.beta(share * (trials - 1), (1 - share) * (trials - 1), (400, count))
        for rates in (alike, different):
            percent = 100 * rng.binomial(trials, rates) / trials
            assert covered(100 * share, [stats.estimate(row, trials=trials) for row in percent]) >= 0.93
            missed.append(covered(100 * share, [(0, *stats.mean_interval(row)) for row in percent]))
    assert min(missed) < 0.9


def test_the_interval_of_a_share_from_clusters_is_korn_and_graubards_at_most_one_clusters_trials():
    percent = [90.0, 92.0, 100.0]
    variance, few = np.var(percent, ddof=1) / 3, scipy.stats.t.ppf(0.975, [14999, 2])
    trials = 94 * 6 / variance * (few[0] / few[1]) ** 2
    assert trials == pytest.approx(12.54, abs=0.01)  # of 15,000
    ends = scipy.stats.beta.ppf([0.025, 0.975], [0.94 * trials, 0.94 * trials + 1], [0.06 * trials + 1, 0.06 * trials])
    assert stats.clustered_share_interval(percent, 5000) == pytest.approx(tuple(100 * ends))
    assert stats.clustered_share_interval([91.0, 91.5, 90.5], 20) == pytest.approx(scipy_exact(0.91 * 20, 20))
    for alike in ([0.0] * 4, [100.0] * 4, [50.0, 50.0]):  # without any spread too
        assert stats.clustered_share_interval(alike, 8) == pytest.approx(stats.share_interval(int(alike[0] * 0.08), 8))
    assert np.isnan(stats.clustered_share_interval([97.0], 1902)).all()
    for wrong, count in (([101.0, 99.0], 5), ([-0.1, 3.0], 5), ([5.0, 6.0], 0)):
        with pytest.raises(ValueError, match=f"Percentages lie from 0 to 100.*of {count} trials"):
            stats.clustered_share_interval(wrong, count)
    with pytest.raises(ValueError, match="entry 1 is NaN"):
        stats.clustered_share_interval([5.0, np.nan], 5)


def scipy_exact(hits, total):
    return tuple(100 * scipy.stats.beta.ppf([0.025, 0.975], [hits, hits + 1], [total - hits + 1, total - hits]))


@pytest.mark.parametrize("count, least", [(3, 0.91), (5, 0.89), (10, 0.9)])
def test_a_share_is_covered_where_trainings_differ_by_more_than_chance(count, least):
    """Beta-binomial, up to a standard deviation of 10 points at 90 % and 1.4 at 99 %. Student's t, widened to the exact
    interval of one training, held 99 % in 81 to 82 % of the draws of three or five."""
    rng, trials = np.random.default_rng(count), 1902
    for share, alike in ((0.5, 0.3), (0.9, 0.1), (0.99, 0.02), (0.99, 0.005)):
        scale = 1 / alike - 1
        rates = rng.beta(share * scale, (1 - share) * scale, (1500, count))
        percent = 100 * rng.binomial(trials, rates) / trials
        ends = np.array([(0, *stats.clustered_share_interval(row, trials)) for row in percent])
        assert covered(100 * share, ends) >= least, share
        wide, by_t = np.ptp(ends[:, 1:], axis=1), np.array([stats.mean_interval(row) for row in percent]).clip(0, 100)
        assert wide.mean() < 2.5 * np.ptp(by_t, axis=1).mean(), share


def test_mean_interval_written_out():
    low, high = stats.mean_interval([1.0, 2.0, 6.0])
    half = 4.302652729911275 * np.std([1, 2, 6], ddof=1) / 3**0.5
    assert (low, high) == pytest.approx((3 - half, 3 + half))
    assert stats.mean_interval([1.0, 1.0, 1.0]) == (1.0, 1.0)


def test_estimates_written_out():
    assert stats.estimate([1.0, 2.0, 6.0]) == (3.0, *stats.mean_interval([1, 2, 6]), "t")
    assert stats.estimate([True] * 20, "share") == (100, *stats.share_interval(20, 20), "exact")
    assert stats.estimate([3, 1, 2, np.inf, 5, 4], "median") == (3.5, 1, np.inf, "order statistics")
    clustered = stats.estimate([1, 2, 3, 6, 6], clusters=[7, 7, 9, 9, 9])  # 1.5 and 5
    assert clustered == (3.25, *stats.mean_interval([1.5, 5]), "t")
    assert stats.estimate([100.0] * 3, trials=50) == (100, *stats.share_interval(50, 50), "Korn-Graubard")
    wide = stats.estimate([90.0, 92, 100], trials=5000)
    assert wide[1:] == (*stats.clustered_share_interval([90, 92, 100], 5000), "Korn-Graubard")
    shares = stats.estimate([1, 1, 0, 1], "share", clusters=[0, 0, 1, 1])
    assert shares[:3] == (75, *stats.clustered_share_interval([100, 50], 2))
    ten = stats.estimate([1.0, 2.0, 6.0], family=10)
    assert ten[1:] == (*stats.mean_interval([1, 2, 6], 0.995), "t, Bonferroni over 10")
    assert stats.estimate(range(9), "median", family=10)[1:3] == stats.median_interval(range(9), 0.995)
    alike = stats.estimate([0.1] * 30, clusters=np.repeat(range(6), [1, 2, 3, 7, 8, 9])), stats.estimate([2.5] * 20)
    for alone in (stats.estimate([2.5]), stats.estimate([100.0], trials=9), *alike):
        assert np.isnan(alone[1:3]).all() and alone[3] is None
    assert stats.estimate([100, 100.001, 100.002])[3] == "t"  # little spread is not none
    unequal = stats.estimate([1] * 10, "share", clusters=[0] * 3 + [1] * 7)  # as few trials as the smaller has
    assert unequal[:3] == (100, *stats.share_interval(3, 3))
    one_run = stats.estimate([1, 2, 3, 4, 5, 6], "median", clusters=[0] * 6)
    assert one_run[0] == 3.5 and one_run[3] is None
    with pytest.raises(ValueError, match="entry 1 is NaN"):
        stats.estimate([1.0, np.nan, 2.0])


def test_a_correlation_and_its_interval_stay_within_one():
    planes = [0.93, 0.93, 0.55, 0.81, 0.93]
    assert stats.mean_interval(planes)[1] > 1
    value, low, high, method = stats.estimate(planes, "correlation")
    assert 0.55 < low < value < high < 0.98 and method == "t of Fisher's z"
    np.testing.assert_allclose(np.arctanh([low, high]), stats.mean_interval(np.arctanh(planes)))
    assert stats.estimate(np.negative(planes), "correlation")[:3] == pytest.approx((-value, -high, -low))
    assert stats.estimate([1.0, 1.0, 0.5], "correlation")[2] <= 1
    one, low, high, method = stats.estimate([0.8], "correlation")
    assert one == pytest.approx(0.8) and np.isnan([low, high]).all() and method is None
    rng = np.random.default_rng(0)
    means = np.tanh(rng.normal(np.arctanh(0.8), 0.5, (1000, 5)))
    assert 0.93 <= covered(0.8, [stats.estimate(row, "correlation") for row in means]) <= 0.97


def test_one_value_has_no_interval():
    assert np.isnan(stats.mean_interval([4.0])).all()
    assert np.isnan(stats.median_interval([4.0])).all()


@pytest.mark.parametrize("share, total", [(0.02, 30), (0.5, 10), (0.9, 100)])
def test_a_share_lies_in_its_interval_at_least_as_often_as_promised(share, total):
    """Exactly: over all counts, weighted with how likely they are."""
    counts = np.arange(total + 1)
    inside = [low <= 100 * share <= high for low, high in (stats.share_interval(int(k), total) for k in counts)]
    assert scipy.stats.binom.pmf(counts, total, share)[inside].sum() >= 0.95


def test_shares_at_the_ends():
    assert stats.share_interval(0, 10) == pytest.approx((0, 30.84971078))  # 1 - 0.025 ** (1 / 10)
    assert stats.share_interval(10, 10) == pytest.approx((69.15028922, 100))
    for hits, total in ((3, 2), (-1, 5), (0, 0)):
        with pytest.raises(ValueError, match=f"not {hits} of {total}"):
            stats.share_interval(hits, total)


@pytest.mark.parametrize("count", [6, 9, 20])
def test_the_median_lies_in_its_interval_at_least_as_often_as_promised(count):
    draws = np.random.default_rng(count).exponential(size=(3000, count))
    intervals = np.array([stats.median_interval(values) for values in draws])
    assert np.mean((intervals[:, 0] <= np.log(2)) & (np.log(2) <= intervals[:, 1])) >= 0.94
    assert np.isin(intervals, draws).all()


def test_median_interval_by_order():
    assert stats.median_interval([6, 1, 5, 2, 4, 3]) == (1, 6)  # all six on one side: 2 / 2**6, about 3 %
    assert np.isnan(stats.median_interval([1, 2, 3, 4, 5])).all()  # 2 / 2**5 is more than 5 %
    assert stats.median_interval([*range(1, 9), np.inf]) == (2, 8)  # one run of nine never came there
    with pytest.raises(ValueError, match="NaN"):
        stats.median_interval([1.0, np.nan])


def test_regression_report_standardises_with_the_train_set(pair):
    true, predicted = pair
    report = stats.regression_report(true, predicted, train_mean=0.735, train_std=0.006)
    assert report["rmse_std"] == pytest.approx(report["rmse"] / 0.006)
    standard_true, standard_predicted = (true - 0.735) / 0.006, (predicted - 0.735) / 0.006
    assert report["rmse_std"] == pytest.approx(stats.rmse(standard_true, standard_predicted))
    assert report["rmse_std_of_mean_line"] == pytest.approx(np.mean((true - 0.735) ** 2) ** 0.5 / 0.006)
    assert report["rmse"] < report["rmse_std_of_mean_line"] * 0.006
    assert set(report) == {"rmse", "rmse_std", "rmse_std_of_mean_line", "pearson", "spearman", "kendall"}


def test_equivalence():
    """The interval's end that is nearer to the margin decides; SciPy's t test of each side is the reference."""
    differences = np.array([0.01, -0.02, 0.03, 0.0, 0.02, -0.01])
    mean, low, high, p = stats.equivalence(differences, 0.05)
    half = 2.015048 * differences.std(ddof=1) / 6**0.5  # t, 5 degrees of freedom, 95 %
    assert (mean, low, high) == pytest.approx((0.005, 0.005 - half, 0.005 + half), abs=1e-7)
    assert (
        p < 0.05
        and stats.equivalence(differences, high * 1.001)[3] < 0.05 < stats.equivalence(differences, high * 0.999)[3]
    )
    assert stats.equivalence(-differences, 0.05)[3] == pytest.approx(p)
    assert stats.equivalence(differences + 0.06, 0.05)[3] > 0.5
    assert stats.equivalence([0.0] * 30, 0.05)[3] == stats.equivalence([0.0], 0.05)[3] == 1.0  # no spread


@pytest.mark.slow
def test_equivalence_holds_its_level():
    """At a true difference of exactly the margin, one in twenty is called equivalent."""
    draws = np.random.default_rng(0).normal(0.05, 0.05, (4000, 12))
    assert np.mean([stats.equivalence(draw, 0.05)[3] < 0.05 for draw in draws]) == pytest.approx(0.05, abs=0.01)


def test_unpaired_test():
    # All of three below all of four: two of the 35 ways to order them are as extreme.
    assert stats.unpaired_test([1, 2, 3], [4, 5, 6, 7]) == pytest.approx(2 / 35)
    assert stats.unpaired_test([1, 1, 1], [1, 1]) == 1.0


def test_logrank_counts_runs_that_never_arrived():
    first, second = [10, 20, 30, 40, np.nan, 600], [60, 70, 80, 90, np.inf, np.inf]
    arrived = [scipy.stats.CensoredData(uncensored=x, right=[500, 500]) for x in (first[:4], second[:4])]
    assert stats.logrank_test(first, second, 500) == pytest.approx(scipy.stats.logrank(*arrived).pvalue)
    assert stats.logrank_test(first, second, 9) == 1.0  # nobody had arrived
    assert stats.logrank_test([30, 500], [10, 600], 500) == stats.logrank_test([30, 500], [10, 600], 501)
    assert stats.logrank_test([7, 7], [7], 500) == 1.0  # all at the same query, where the test has no variance
    rng = np.random.default_rng(0)
    p = [stats.logrank_test(*rng.exponential(400, (2, 20)), 500) for _ in range(500)]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.08


def test_holm_written_out_and_its_errors_in_a_family():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    untested = stats.holm([0.01, np.nan, 0.04, np.nan])  # four planned tests, of which two could be made
    assert untested == pytest.approx([0.04, np.nan, 0.12, np.nan], nan_ok=True) and np.isnan(stats.holm([np.nan]))
    assert stats.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0]) and stats.holm([0.03]) == pytest.approx([0.03])
    families = np.random.default_rng(0).random((2000, 30))  # thirty comparisons with nothing in them
    assert np.mean([stats.holm(p).min() < 0.05 for p in families]) <= 0.06 < np.mean(families.min(1) < 0.05)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="lengths, but have 2 and 3"):
        stats.rmse([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="entry 1 is NaN"):
        stats.mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="empty"):
        stats.pearson([], [])
    for wrong in ([0.5, 1.5], [-0.1], [[0.5]], 0.5):
        with pytest.raises(ValueError, match="p-values from 0 to 1"):
            stats.holm(wrong)
    np.testing.assert_array_equal(stats.holm([1.0, 0.0]), [1, 0])  # both ends are p-values


def test_normal_scores_keep_the_order_and_share_ties():
    scores = stats.normal_scores([0.1, 0.9, 0.91, 0.9])
    assert scores[0] == pytest.approx(-scores[2])  # the ends mirror each other, whatever the gaps
    assert scores[1] == scores[3] and scores[0] < scores[1] < scores[2]
    assert stats.normal_scores([5, 3, 4]) == pytest.approx([0.6744897502, -0.6744897502, 0], abs=1e-9)


@pytest.mark.filterwarnings("ignore:Precision loss")  # SciPy's, where one side is constant
def test_interval_of_a_difference_is_welchs():
    first, second = np.array([3.0, 4.0, 6.0]), np.array([1.0, 2.0, 1.5, 1.0])
    mean, low, high = stats.mean_difference(first, second)
    parts = first.var(ddof=1) / 3, second.var(ddof=1) / 4
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3)
    half = scipy.stats.t.ppf(0.975, freedom) * sum(parts) ** 0.5
    assert (mean, low, high) == pytest.approx((first.mean() - second.mean(), mean - half, mean + half))
    for others in ([1.0], [2.0, 2.0]):
        mean, low, high = stats.mean_difference([2.0, 2.0], others)
        assert mean == 2.0 - others[0] and np.isnan([low, high]).all()
    for one, other in (([2.0, 2.0], [1.0, 3.0]), ([1.0, 3.0], [2.0, 2.0])):  # one side that varies is enough
        assert np.isfinite(stats.mean_difference(one, other)).all()


def test_values_that_only_rounding_tells_apart_say_nothing():
    rounded = [0.1 + 0.2, 0.3, 0.3]
    assert np.ptp(rounded) > 0
    assert stats.equivalence(rounded, 0.5)[3] == 1
    assert np.isnan(stats.mean_difference([0.1 + 0.2, 0.3, 0.3], [0.1] * 3)[1:]).all()


def test_a_statistic_or_margin_that_is_none_is_refused():
    for values, options in (([], {}), ([1, 2], {"clusters": [1]}), ([1, 2], {"family": 0})):
        with pytest.raises(ValueError, match="An estimate needs a value, a cluster for each or none, and a family"):
            stats.estimate(values, **options)
    with pytest.raises(ValueError, match="A share is of values that are true or false"):
        stats.estimate([0.5, 0.4, 0.3], "share")
    for wrong in ([92.0, 95.0], [0.5, np.inf], [-1.01, 0.3]):
        with pytest.raises(ValueError, match="A correlation lies from -1 to 1"):
            stats.estimate(wrong, "correlation")
    for statistic in ("correlation", "median", "share"):
        with pytest.raises(ValueError, match=f"`trials` goes with a mean of percentages, not with a {statistic}"):
            stats.estimate([1, 1, 0], statistic, trials=10)
    with pytest.raises(ValueError, match="A log-rank test compares two lists of runs, but one has none"):
        stats.logrank_test([], [3, 4], 500)
    with pytest.raises(ValueError, match="'mode' is no statistic"):
        stats.estimate([1.0, 2.0, 3.0], "mode")
    for margin in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="margin"):
            stats.equivalence([1.0, 2.0], margin)
