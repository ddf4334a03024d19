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


@pytest.mark.parametrize("count", [3, 5, 10, 20])
def test_the_mean_lies_in_its_interval_as_often_as_promised(count):
    draws = np.random.default_rng(count).normal(3.0, 2.0, size=(3000, count))
    hits = [low <= 3.0 <= high for low, high in map(stats.mean_interval, draws)]
    assert 0.93 <= np.mean(hits) <= 0.97
    half = [low <= 3.0 <= high for low, high in (stats.mean_interval(values, 0.5) for values in draws)]
    assert 0.46 <= np.mean(half) <= 0.54


def test_mean_interval_written_out():
    low, high = stats.mean_interval([1.0, 2.0, 6.0])
    half = 4.302652729911275 * np.std([1, 2, 6], ddof=1) / 3**0.5
    assert (low, high) == pytest.approx((3 - half, 3 + half))
    assert stats.mean_interval([1.0, 1.0, 1.0]) == (1.0, 1.0)


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


def test_paired_test():
    # Six wins out of six: the exact two-sided p-value of the signed-rank test is 2 / 2**6.
    assert stats.paired_test([1, 2, 3, 4, 5, 6], [0.9, 1.8, 2.7, 3.6, 4.5, 5.4]) == pytest.approx(2 / 2**6)
    assert stats.paired_test([1, 2, 3], [1, 2, 3]) == 1.0
    assert stats.paired_test([1, -1, 2, -2], [0, 0, 0, 0]) == pytest.approx(1.0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="lengths, but have 2 and 3"):
        stats.rmse([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="entry 1 is NaN"):
        stats.mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="empty"):
        stats.pearson([], [])


def test_normal_scores_keep_the_order_and_share_ties():
    scores = stats.normal_scores([0.1, 0.9, 0.91, 0.9])
    assert scores[0] == pytest.approx(-scores[2])  # the ends mirror each other, whatever the gaps
    assert scores[1] == scores[3] and scores[0] < scores[1] < scores[2]
    assert stats.normal_scores([5, 3, 4]) == pytest.approx([0.6744897502, -0.6744897502, 0], abs=1e-9)


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
