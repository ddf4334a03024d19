"""Plain regressions with settings chosen on held-out rows."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from latentnas import predict
from latentnas.benchmarks.base import hold_out
from latentnas.spaces.enas import ENAS
from latentnas.stats import rmse


def rows_with_labels(count, seed=0):
    x = np.random.default_rng(seed).integers(0, 2, (count, 6)).astype(float)
    return x, 70 + x @ np.arange(6) + 3 * x[:, 0] * x[:, 1]


@pytest.mark.parametrize("method", predict.METHODS)
def test_the_settings_are_those_of_least_error_on_held_out_rows(method, monkeypatch):
    model, grid = predict.METHODS[method]
    size = {"boosting": {"max_iter": 20}, "random forest": {"n_estimators": 10}}.get(method, {})
    model = clone(model).set_params(**size)
    monkeypatch.setitem(predict.METHODS, method, (model, grid))
    (x, y), (held_x, held_y), (new, _) = rows_with_labels(60), rows_with_labels(30, 1), rows_with_labels(10, 2)
    fit = predict.Tuned(method, x, y, held_x, held_y)
    assert len(fit.errors) == len(ParameterGrid(grid)) == 6

    def by_hand(settings, rows, labels):
        other = clone(model).set_params(**settings).fit(rows, (labels - y.mean()) / y.std())
        return lambda asked: y.mean() + y.std() * other.predict(asked)

    for error, settings in fit.errors:
        assert error == pytest.approx(rmse(held_y, by_hand(settings, x, y)(held_x)), rel=1e-9)
        assert error >= {str(tried): value for value, tried in fit.errors}[str(fit.settings)]
    everything = by_hand(fit.settings, np.concatenate([x, held_x]), np.concatenate([y, held_y]))
    np.testing.assert_allclose(fit(new), everything(new), rtol=1e-9)


def test_labels_may_be_tensors():
    (x, y), (held_x, held_y) = rows_with_labels(40), rows_with_labels(20, 1)
    plain = predict.Tuned("kernel ridge", x, y, held_x, held_y)
    tensors = predict.Tuned("kernel ridge", *map(torch.from_numpy, (x, y, held_x, held_y)))
    np.testing.assert_array_equal(tensors(held_x), plain(held_x))


def test_boosting_uses_all_of_its_trees_above_ten_thousand_rows(monkeypatch):
    model, _ = predict.METHODS["boosting"]
    small = clone(model).set_params(max_iter=60, max_leaf_nodes=7), {"learning_rate": [0.3]}
    monkeypatch.setitem(predict.METHODS, "boosting", small)
    x, y = rows_with_labels(10_100)
    fit = predict.Tuned("boosting", x, y / 1e5, x[:50], y[:50] / 1e5)
    assert fit._model.n_iter_ == 60


def test_labels_count_in_any_unit():
    (x, y), held = rows_with_labels(60), rows_with_labels(30, 1)
    small, large = (
        predict.Tuned("kernel ridge", x, unit * y - unit, held[0], unit * held[1] - unit) for unit in (1, 1e3)
    )
    np.testing.assert_allclose(large(x) / 1e3, small(x), rtol=1e-9)


@pytest.mark.slow
def test_fifteen_flags_tell_the_public_labels(enas):
    """What no encoder should be compared without: 0.2477 is the least published error with a source (PACE)."""
    flags, labels = ENAS.skips(enas.batch).float().numpy(), enas.accuracy.numpy()
    train, test = enas.split(0)
    fitted, held = hold_out(train, 0.05)
    fit = predict.Tuned("boosting", flags[fitted], labels[fitted], flags[held], labels[held])
    assert rmse(labels[test], fit(flags[test])) / labels[train].std() < 0.15
