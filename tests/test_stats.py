import numpy as np
import pytest

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


def test_bootstrap_interval_agrees_with_the_normal_one_and_repeats():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    low, high = stats.bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)
    assert stats.bootstrap_interval(values) == (low, high)
    narrow = stats.bootstrap_interval(values, confidence=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_bootstrap_interval_without_spread():
    assert stats.bootstrap_interval([4.0]) == (4.0, 4.0)
    assert stats.bootstrap_interval([1.0, 1.0, 1.0]) == (1.0, 1.0)


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
        stats.bootstrap_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="empty"):
        stats.pearson([], [])


def test_normal_scores_keep_the_order_and_share_ties():
    scores = stats.normal_scores([0.1, 0.9, 0.91, 0.9])
    assert scores[0] == pytest.approx(-scores[2])  # the ends mirror each other, whatever the gaps
    assert scores[1] == scores[3] and scores[0] < scores[1] < scores[2]
    assert stats.normal_scores([5, 3, 4]) == pytest.approx([0.6744897502, -0.6744897502, 0], abs=1e-9)
