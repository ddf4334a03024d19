"""Week 1 of the coursework, leakage: its checks and its two notebooks."""

import json
import re
import time

import lab_checks
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, ShuffleSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor
from week1_checks import CHECKS, METHODS, check, made_up

from coursework import (
    FOLDER,
    answers,
    cells,
    executed,
    notebook,
    points,
    require_links,
    require_made_from_source,
    require_nbgrader_makes,
    said,
)
from latentnas import stats

SOLUTIONS, STUDENTS = notebook("week1_solutions"), notebook("week1")
NAMES = answers(SOLUTIONS)
FUNCTIONS = {
    "1a": "split_at_random", "1b": "split_by_class", "2": "leaked", "3": "predict", "4a": "evaluate", "4b": "summary",
    "5": "lookup",
}  # fmt: skip
RIGHT = {exercise: NAMES[name] for exercise, name in FUNCTIONS.items()}
SECRETS = {
    "1a": ["permutation"],
    "1b": ["np.unique", "np.isin"],
    "2": ["np.isin"],
    "3": ["model.fit", "Ridge("],
    "4b": ["groupby"],
    "5": ["fillna", "reindex"],
}
CASES = {  # of hidden tests
    "1a": dict(rows=1237, share=0.35, seed=2024),
    "1b": dict(table=made_up(601, 7, texts=True), share=0.3, seed=11),
    "2": dict(table=made_up(333, 2, texts=True)),
    "3": dict(table=made_up(523, 31), seed=4),
    "4a": dict(table=made_up(301, 17), seeds=(12, 5)),
    "4b": dict(table=made_up(211, 23), seeds=(8, 9, 10)),
    "5": dict(table=made_up(431, 41, texts=True), seed=6),
}


@pytest.mark.slow
def test_every_solution_passes_its_check_and_other_cases(capsys):
    assert [*RIGHT, "6"] == list(CHECKS)
    for exercise, answer in RIGHT.items():
        assert check(exercise, answer) == 1, capsys.readouterr().out
        assert check(exercise, answer, **CASES[exercise]) == 1, capsys.readouterr().out
    assert lab_checks.solved >= {*RIGHT}


ORDERS = [np.sort, np.flip, lambda rows: np.random.default_rng(9).permutation(rows), lambda rows: rows.tolist()]


@pytest.mark.parametrize("order", ORDERS)
def test_splits_of_scikit_learn_and_rows_in_any_order_pass(order, capsys):
    def by_group(classes, share, seed):
        split = GroupShuffleSplit(1, test_size=share, random_state=seed)
        return next(split.split(classes, groups=classes))

    def at_random(rows, share, seed):
        return next(ShuffleSplit(1, test_size=share, random_state=seed).split(np.arange(rows)))

    for exercise, answer in (("1a", at_random), ("1b", by_group), ("1a", RIGHT["1a"]), ("1b", RIGHT["1b"])):
        ordered = lambda *given, answer=answer: tuple(map(order, answer(*given)))  # noqa: E731
        assert check(exercise, ordered) == 1, capsys.readouterr().out
        assert check(exercise, ordered, **CASES[exercise]) == 1, capsys.readouterr().out


def designs_of(order, classes):
    """The given designs, over splits whose rows come in some order."""
    names = answers(SOLUTIONS) | {"classes": classes, "sizes": np.bincount(classes)}
    for name in ("split_at_random", "split_by_class"):
        names[name] = lambda *given, right=names[name]: tuple(map(order, right(*given)))
    for cell in SOLUTIONS["cells"]:
        if re.search("def (two_splits|one_of_each)", source := "".join(cell["source"])):
            exec(source, names)
    return names["splits"]


def test_no_number_of_the_report_depends_on_the_order_in_which_a_split_has_its_rows():
    classes = np.unique(made_up(600, 3).classes, return_inverse=True)[1]
    expected = {name: design(4) for name, design in designs_of(np.sort, classes).items()}
    assert list(expected) == ["at random", "by class", "twins seen", "twins new"]
    for order in ORDERS[1:]:
        for name, design in designs_of(order, classes).items():
            assert all(map(np.array_equal, design(4), expected[name])), name
    for train, test in expected.values():  # sorted rows are no fair order: neighbours that tie are the first
        assert not len(np.intersect1d(train, test)) and np.any(np.diff(train) < 0)


def test_twins_that_are_seen_or_new_are_all_that_the_last_two_designs_differ_in():
    classes = np.unique(made_up(600, 3).classes, return_inverse=True)[1]
    splits, sizes = designs_of(np.sort, classes), np.bincount(classes)
    (seen, tested), (new, same), (by_class, _) = (splits[name](2) for name in ("twins seen", "twins new", "by class"))
    assert (
        np.array_equal(tested, same) and len({*classes[tested]}) == len(tested) and (sizes[classes[tested]] > 1).all()
    )
    assert np.array_equal(new, by_class) and RIGHT["2"](new, tested, classes) == 0
    assert RIGHT["2"](seen, tested, classes) == 100
    assert {*seen} == {*new} | {*np.flatnonzero(np.isin(classes, classes[tested]))} - {*tested}


def cut(count, share, order):
    test = order[: round(share * count)]
    return np.setdiff1d(np.arange(count), test), test


def shuffled(count, share, seed):
    return cut(count, share, np.random.default_rng(seed).permutation(count))


def in_pairs(rows, share, seed):
    pairs = np.random.default_rng(seed).permutation(rows // 2)
    return cut(rows, share, (2 * pairs[:, None] + [0, 1]).ravel())


def of_the_first(share_of_all, step=1):
    """A split whose test rows are drawn from the first part of the table, or from every so many-th row."""
    return lambda rows, share, seed: cut(
        rows, share, step * np.random.default_rng(seed).permutation(round(share_of_all * rows))
    )


def classes_of_the_first(share_of_all, step=1):
    def split(classes, share, seed):
        names = np.unique(classes)
        tested = np.isin(classes, names[of_the_first(share_of_all, step)(len(names), share, seed)[1]])
        return np.flatnonzero(~tested), np.flatnonzero(tested)

    return split


def by_class(change):
    """The right split by class, then something else done to it."""
    return lambda classes, share, seed: change(*RIGHT["1b"](classes, share, seed), classes)


def classes_in_order(classes, share, seed):
    names = np.unique(classes)
    start = np.random.default_rng(seed).integers(len(names) // 2)
    test = np.isin(classes, names[start : start + round(share * len(names))])
    return np.flatnonzero(~test), np.flatnonzero(test)


def until_enough_rows(classes, share, seed):
    """Classes are added as long as the rows of the test part are too few; single ones fill up."""
    random, wanted = np.random.default_rng(seed), round(share * len(classes))
    names, sizes = np.unique(classes, return_counts=True)
    order = random.permutation(len(names))
    chosen, total = [], 0
    for place in order[np.argsort(-sizes[order], kind="stable")]:
        if total + sizes[place] <= wanted:
            chosen.append(names[place])
            total += sizes[place]
    test = np.isin(classes, chosen)
    return np.flatnonzero(~test), np.flatnonzero(test)


def classes_of_drawn_rows(classes, share, seed):
    """Rows are drawn until they are of enough classes, so that a class with many rows is drawn early."""
    names = pd.unique(np.random.default_rng(seed).permutation(classes))
    test = np.isin(classes, names[: round(share * len(names))])
    return np.flatnonzero(~test), np.flatnonzero(test)


def in_place_of_neighbours(model):
    return lambda name, x, labels, train, test: (
        (model if name == "neighbours" else model_of(name)).fit(x[train], labels[train]).predict(x[test])
    )


one_more_neighbour = in_place_of_neighbours(KNeighborsRegressor(6))


def ridge_of(**weights):
    """Three models of which those named are ridge regressions with these weights."""
    return lambda method, x, labels, train, test: (
        (Ridge(weights[method]) if method in weights else model_of(method))
        .fit(x[train], labels[train])
        .predict(x[test])
    )


def model_of(method):
    models = {"trees": HistGradientBoostingRegressor(random_state=0), "neighbours": KNeighborsRegressor(5)}
    return models.get(method, Ridge())


def fitted(
    rows=lambda labels, train, test: train, change=lambda labels, train: labels, asked=lambda x, test: x[test],
    method=lambda name: name,
):  # fmt: skip
    """The right predictor, one of its parts exchanged."""

    def predict(name, x, labels, train, test):
        chosen, labels = rows(labels, train, test), change(labels, train)
        return model_of(method(name)).fit(x[chosen], labels[chosen]).predict(asked(x, test))

    return predict


def known_labels(labels, train, test):
    return np.flatnonzero(np.isfinite(labels))


def chosen_on_test(name, x, labels, train, test):
    """Settings that predict the test rows best, where their labels are known."""
    best, least = None, np.inf
    for weight in (0.01, 100.0):
        model = Ridge(weight).fit(x[train], labels[train]) if name == "ridge" else model_of(name)
        found = model.fit(x[train], labels[train]).predict(x[test])
        error = np.nan_to_num(np.abs(found - labels[test]).mean(), nan=1e9)
        if error < least:
            best, least = found, error
    return best


def centred(labels, train):
    return labels - np.nanmean(labels)


def unseeded(name, x, labels, train, test):
    rows = np.random.choice(train, len(train))  # a bootstrap, which draws from the global generator
    return model_of(name).fit(x[rows], labels[rows]).predict(x[test])


def from_memory(name, x, labels, train, test):
    own = np.random.default_rng(5).normal(70, 4, len(labels))
    return model_of(name).fit(x[train], own[train]).predict(x[test])


def scored(rmse=stats.rmse, kendall=stats.kendall, of="test", same=False, ignore=False):
    """The right report, one of its parts exchanged."""

    def evaluate(predict, split, x, labels, seeds):
        lines = []
        for seed in seeds:
            train, test = split(seeds[0] if same else seed)
            for method in METHODS:
                asked = train if of == "train" else test
                found = predict(method, x, labels, train, asked)
                true = labels[asked]
                found = np.arange(len(found)) if ignore else found
                lines.append((seed, method, rmse(true, found), kendall(true, found)))
        return pd.DataFrame(lines, columns=["seed", "method", "rmse", "kendall"])

    return evaluate


def changed(function):
    return lambda *arguments: function(scored()(*arguments))


def typed_in(predict, split, x, labels, seeds):
    predict("ridge", x, labels, *split(seeds[0]))
    lines = [(seed, method, 2.0, 0.8) for seed in seeds for method in METHODS]
    return pd.DataFrame(lines, columns=["seed", "method", "rmse", "kendall"])


def never_asked(predict, split, x, labels, seeds):
    return typed_in(lambda *arguments: None, lambda seed: (), x, labels, seeds)


def handing(change):
    """A report whose `predict` is handed other features or labels than those of the table."""

    def evaluate(predict, split, x, labels, seeds):
        handed = lambda method, x, labels, train, test: predict(method, *change(x, labels, train), train, test)  # noqa: E731
        return RIGHT["4a"](handed, split, x, labels, seeds)

    return evaluate


def ends(low, high, centre=lambda values: values.mean()):
    """A summary whose ends are functions of the values of all seeds."""

    def summary(report):
        lines = {}
        for method, rows in report.groupby("method"):
            lines[method] = {}
            for score in ("rmse", "kendall"):
                values = rows[score].to_numpy()
                lines[method] |= {score: centre(values), f"{score}_low": low(values), f"{score}_high": high(values)}
        return pd.DataFrame(lines).T

    return summary


def around(width):
    return ends(lambda v: v.mean() - width(v), lambda v: v.mean() + width(v))


def t_width(values, ddof=1):
    low, high = stats.mean_interval(values)
    return (high - low) / 2 * values.std(ddof=ddof) / values.std(ddof=1)


def grouped(otherwise=lambda labels, train: labels[train].mean(), take="mean", known=lambda labels, train, test: train):
    def lookup(groups, labels, train, test):
        rows = known(labels, train, test)
        values = getattr(pd.Series(labels[rows]).groupby(groups[rows]), take)()
        return values.reindex(groups[test]).fillna(otherwise(labels, train)).to_numpy()

    return lookup


def mean_of_means(groups, labels, train, test):
    means = pd.Series(labels[train]).groupby(groups[train]).mean()
    return means.reindex(groups[test]).fillna(means.mean()).to_numpy()


WRONG = {
    "1a": {
        "rows are in both parts": lambda rows, share, seed: (np.arange(rows), shuffled(rows, share, seed)[1]),
        "are in no part": lambda rows, share, seed: (np.arange(10), np.arange(20, 30)),
        "more than once": lambda rows, share, seed: (np.arange(rows), np.random.default_rng(seed).choice(rows, rows)),
        "at each call": lambda rows, share, seed: cut(rows, share, np.random.permutation(rows) + 0 * id(object())),
        "Where does the seed": lambda rows, share, seed: cut(rows, share, np.arange(rows)),
        "neighbours in the table": lambda rows, share, seed: cut(rows, share, np.roll(np.arange(rows), seed)),
        "at equal distances": lambda rows, share, seed: [
            np.setdiff1d(np.arange(rows), test := np.arange(seed.bit_count() % 5, rows, 5)), test
        ],
        "rows are neighbours": in_pairs,
        "seeds 3 and 2523 give the same": lambda rows, share, seed: shuffled(rows, share, seed % 2),
        "two parts swapped": lambda rows, share, seed: shuffled(rows, share, seed)[::-1],
        "with a share of 0.2 about 200 of 1000 rows": lambda rows, share, seed: shuffled(rows, 0.5, seed),
        "is a mask": lambda rows, share, seed: [np.arange(rows) > 3, np.arange(rows) <= 3],
        "the rows of this table": lambda rows, share, seed: (np.arange(rows) + 1, np.arange(0)),
        "whole numbers": lambda rows, share, seed: (np.arange(rows) / 2, np.arange(3)),
        "of shape [3], of type float64": lambda rows, share, seed: [np.append([], [1, 2, 3]), np.arange(3, rows)],
        "of shape [800, 1]": lambda rows, share, seed: [part[:, None] for part in shuffled(rows, share, seed)],
        "seeds 3 and 4 give the same": lambda rows, share, seed: (np.arange(rows), np.arange(0)),
        "a NumPy array of shape [2, 500]": lambda rows, share, seed: np.stack(shuffled(rows, 0.5, seed)),
        "a tuple of 3": lambda rows, share, seed: (*shuffled(rows, share, seed), seed),
        "no test rows": of_the_first(0.75),
        "every second of the rows": of_the_first(0.5, step=2),
        "two things": lambda rows, share, seed: shuffled(rows, share, seed)[0],
    },
    "1b": {
        "classes have rows in both": lambda classes, share, seed: shuffled(len(classes), share, seed),
        "are in no part": by_class(lambda train, test, classes: (train[:-5], test)),
        "rows are in both parts": by_class(lambda train, test, classes: (np.append(train, test[:3]), test)),
        "share of the classes, however": until_enough_rows,
        "two parts swapped": lambda *given: RIGHT["1b"](*given)[::-1],
        "neighbours in their order": classes_in_order,
        "classes belong into": lambda classes, share, seed: RIGHT["1b"](classes, 0.5, seed),
        "no test classes": classes_of_the_first(0.75),
        "every second of the classes": classes_of_the_first(0.5, step=2),
        "Where does the seed": lambda classes, share, seed: RIGHT["1b"](classes, share, 0),
        "depends on its number of rows": classes_of_drawn_rows,
    },
    "2": {
        "between 0 and 1": lambda train, test, classes: np.isin(classes[test], classes[train]).mean(),
        "number of rows": lambda train, test, classes: np.isin(classes[test], classes[train]).sum(),
        "without a twin": lambda train, test, classes: 100 - RIGHT["2"](train, test, classes),
        "you count training rows": lambda train, test, classes: RIGHT["2"](test, train, classes),
        "you count classes": lambda train, test, classes:
            100 * np.isin(np.unique(classes[test]), classes[train]).mean(),
        "all rows": lambda train, test, classes: RIGHT["2"](train, test, classes) * len(test) / len(classes),
        "When has a test row": lambda train, test, classes: 100 * np.isin(test, train).mean() + 12,
        "one number": lambda train, test, classes: np.isin(classes[test], classes[train]),
        "you round the share. Return": lambda *given: round(RIGHT["2"](*given)),
        "what follows the point": lambda *given: int(RIGHT["2"](*given)),
        "to one digit": lambda *given: round(RIGHT["2"](*given), 1),
        "where 100 % leak": lambda *given: min(RIGHT["2"](*given), 99.0),
        "wrong for one of five rows": lambda train, test, classes: RIGHT["2"](train[:-1], test, classes),
        "is NaN": lambda train, test, classes: float("nan"),
    },
    "3": {
        "nothing but the labels of test rows": fitted(rows=known_labels),
        "nothing but": fitted(change=centred),
        "is not deterministic": unseeded,
        "choice of settings": chosen_on_test,
        "are hidden (NaN) in this check": fitted(rows=lambda labels, train, test: np.append(train, test)),
        "one for each row of the table": fitted(asked=lambda x, test: x),
        "order of the test rows": fitted(asked=lambda x, test: x[np.sort(test)]),
        "hardly better than the mean": from_memory,
        "ridge and trees predict the same": fitted(method=lambda name: "trees"),
        "trees and neighbours predict the same": fitted(method=lambda name: name.replace("trees", "neighbours")),
        "should be linear": fitted(method=lambda name: {"ridge": "trees", "trees": "ridge"}.get(name, name)),
        "trees should not be linear": ridge_of(ridge=1.0, trees=10.0, neighbours=50.0),
        "half-way between two rows their": ridge_of(trees=10.0),
        "near to a few": ridge_of(neighbours=10.0),
        "predict most rows anew": fitted(
            method=lambda name: {"trees": "neighbours", "neighbours": "trees"}.get(name, name)
        ),
        "the unit of a feature": lambda name, *given: fitted(method=lambda name: "neighbours")(name, *given)
        if name == "trees" else one_more_neighbour(name, *given),
        "the predictions of ridge are not half as large": lambda *given: RIGHT["3"](*given) + 1,
        "of neighbours are not": lambda name, *given: RIGHT["3"](name, *given) + (name == "neighbours"),
        "A tree does this": in_place_of_neighbours(DecisionTreeRegressor(random_state=0)),
        "mind how far": in_place_of_neighbours(DecisionTreeRegressor(min_samples_leaf=5, random_state=0)),
        "an array [200]; what came is a NumPy array of shape [200, 1]": lambda *given: RIGHT["3"](*given)[:, None],
        "a dictionary with 0, 1, 2, 3, 4, 5, 6, 7, 8, more.": lambda *given: dict(enumerate(RIGHT["3"](*given))),
        "array of predictions": lambda *given: ["much"] * len(given[-1]),
        "holds texts": lambda *given: RIGHT["3"](*given).astype(str),
        "complex": lambda *given: RIGHT["3"](*given) + 1j,
    },
    "4a": {
        "was never called": never_asked,
        "another `predict` gives the same": typed_in,
        "the whole x [rows, features]; what came as x is a NumPy array of shape": handing(
            lambda x, labels, train: (x[train], labels)
        ),
        "the whole labels [400]": handing(lambda x, labels, train: (x, labels[train])),
        "what came as labels is": handing(lambda x, labels, train: (x, x)),
        "without the root": scored(rmse=lambda true, found: stats.rmse(true, found) ** 2),
        "mean absolute": scored(rmse=lambda true, found: np.abs(true - found).mean()),
        "no others": scored(of="train"),
        "the split of each seed": scored(same=True),
        "Spearman": scored(kendall=stats.spearman),
        "Pearson": scored(kendall=stats.pearson),
        "wrong sign": scored(kendall=lambda true, found: -stats.kendall(true, found)),
        "lacks the column kendall": changed(lambda report: report.drop(columns="kendall")),
        "one for each seed and method": changed(lambda report: report[report["method"] == "ridge"]),
        "pandas DataFrame": changed(lambda report: report.to_dict()),
        "numbers in the column rmse; what came holds texts": changed(lambda report: report.astype({"rmse": str})),
        "kendall; what came holds complex": changed(lambda report: report.astype({"kendall": complex})),
        "no number": changed(lambda report: report.assign(kendall=pd.Series([None] * len(report), dtype=object))),
        "column rmse more than once": changed(lambda report: pd.concat([report, report["rmse"]], axis=1)),
        "should be the whole numbers": changed(lambda report: report.astype({"seed": str})),
        "it has 9, of seeds ['1.5', '3.5', '4.5']": changed(lambda report: report.assign(seed=report["seed"] + 0.5)),
        "rmse is rounded to 2 digits": changed(lambda report: report.round(2)),
        "kendall is rounded to 3 digits": changed(lambda report: report.round({"kendall": 3})),
    },
    "4b": {
        "one standard deviation": around(lambda values: values.std(ddof=1)),
        "one standard error": around(lambda values: values.std(ddof=1) / len(values) ** 0.5),
        "with many seeds": around(lambda values: 1.96 * values.std(ddof=1) / len(values) ** 0.5),
        "divide by n - 1": around(lambda values: t_width(values, 0)),
        "distances from the mean": ends(lambda values: -t_width(values), t_width),
        "are exchanged": around(lambda values: -t_width(values)),
        "smallest to the largest": ends(np.min, np.max),
        "a mean is rounded to 2 digits": lambda report: RIGHT["4b"](report).round(2),
        "should be means over the seeds": ends(np.min, np.max, centre=np.median),
        "the ends are not": around(lambda values: 3 * t_width(values)),
        "one number in each cell, but in the column rmse what stands there is of type Series": ends(
            np.min, np.max, centre=pd.Series
        ),
        "one line for each method": lambda report: RIGHT["4b"](report).reset_index(drop=True),
        "lacks the column": lambda report: report.groupby("method")[["rmse", "kendall"]].mean(),
        "pandas DataFrame": lambda report: report["rmse"].mean(),
        "numbers in the column rmse; what came holds texts": lambda report: RIGHT["4b"](report).astype(str),
        "complex": lambda report: RIGHT["4b"](report).astype({"kendall_low": complex}),
    },
    "5": {
        "gets 0": grouped(otherwise=lambda labels, train: 0.0),
        "one training label": grouped(take="first"),
        "you take the median": grouped(take="median"),
        "mean of the group means": mean_of_means,
        "every row gets the same": lambda groups, labels, train, test: np.full(len(test), labels[train].mean()),
        "nothing but the labels of test rows": grouped(known=known_labels),
        "wrong on one of five rows": grouped(known=lambda labels, train, test: train[1:]),
        "never seen gets NaN": grouped(otherwise=lambda labels, train: np.nan),
        "are NaN or infinite": grouped(otherwise=lambda labels, train: np.inf),
        "holds texts": lambda *given: [*map(str, RIGHT["5"](*given))],
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("exercise", WRONG)
def test_a_typical_wrong_answer_is_told_what_is_wrong_with_it(exercise, capsys):
    for words, answer in WRONG[exercise].items():
        text = said(capsys, check, exercise, answer, secrets=SECRETS.get(exercise, ()))
        assert words.lower() in text.lower(), f"{words!r} is not in: {text}"
    assert len(WRONG[exercise]) >= 3


def unfinished(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("exercise", RIGHT)
def test_whatever_comes_in_place_of_an_answer_gets_a_paragraph(exercise, capsys):
    for answer in (unfinished, None, ...):
        assert "not finished" in said(capsys, check, exercise, answer)
    assert "returns None" in said(capsys, check, exercise, lambda *arguments: None)
    assert "without brackets" in said(capsys, check, exercise, np.zeros(3))
    assert "stopped with ZeroDivisionError" in said(capsys, check, exercise, lambda *arguments: 1 / 0)
    for value in ("text", {}, [[1], [1, 2]], np.array(np.nan), 3 + 0j, (np.zeros((2, 2)), None), pd.DataFrame()):
        said(capsys, check, exercise, lambda *arguments, value=value: value)


@pytest.mark.slow
def test_a_right_answer_in_another_form_passes(capsys):
    assert check("1a", lambda *given: [list(map(int, part)) for part in RIGHT["1a"](*given)]) == 1
    for form in (np.array, torch.tensor, lambda value: torch.tensor([value], requires_grad=True)):
        assert check("2", lambda *given, form=form: form(RIGHT["2"](*given))) == 1, capsys.readouterr().out
    assert check("3", lambda *given: RIGHT["3"](*given).tolist()) == 1
    assert check("3", lambda *given: torch.tensor(RIGHT["3"](*given), requires_grad=True)) == 1

    def pruned(method, x, labels, train, test):  # by a threshold in the unit of the labels
        if method != "trees":
            return RIGHT["3"](method, x, labels, train, test)
        forest = RandomForestRegressor(30, min_impurity_decrease=0.01, random_state=0)
        return forest.fit(x[train], labels[train]).predict(x[test])

    assert check("3", pruned) == 1, capsys.readouterr().out
    assert check("4a", lambda *given: RIGHT["4a"](*given).sample(frac=1, random_state=1).assign(more=1)) == 1
    assert check("4b", lambda report: RIGHT["4b"](report)[::-1]) == 1
    assert check("4a", lambda *given: RIGHT["4a"](*given).astype({"seed": float})) == 1, capsys.readouterr().out
    for exercise in ("4a", "4b"):
        assert check(exercise, lambda *given, exercise=exercise: RIGHT[exercise](*given).astype(object)) == 1

    for change in (
        lambda predict: lambda *given: predict(**dict(zip(("method", "x", "labels", "train", "test"), given))),
        lambda predict: lambda method, x, labels, *rows: predict(method, x, labels.astype(np.float32), *rows),
        lambda predict: lambda *given: predict(*given[:3], *(rows.tolist() for rows in given[3:])),
        lambda predict: lambda method, x, labels, train, test: predict(method, x, labels, train[::-1], test),
    ):
        other = lambda predict, split, *rest, change=change: RIGHT["4a"](change(predict), split, *rest)  # noqa: E731
        assert check("4a", other) == 1, capsys.readouterr().out
    in_order = lambda predict, split, *rest: RIGHT["4a"](predict, lambda seed: map(np.sort, split(seed=seed)), *rest)  # noqa: E731
    assert check("4a", in_order) == 1, capsys.readouterr().out

    def standardised(method, x, labels, train, test):
        mean, unit = labels[train].mean(), labels[train].std()
        return mean + unit * RIGHT["3"](method, x, (labels - mean) / unit, train, test)

    assert check("3", standardised) == 1, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        KNeighborsRegressor(1),
        KNeighborsRegressor(9, metric="manhattan"),
        make_pipeline(StandardScaler(), KNeighborsRegressor(20, weights="distance")),
        GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [1, 5, 15]}),
    ],
)
def test_neighbours_of_any_kind_pass(model, capsys):
    for case in ({}, CASES["3"]):
        assert check("3", in_place_of_neighbours(model), **case) == 1, capsys.readouterr().out


def test_a_split_whose_share_is_right_by_luck_alone_is_refused(capsys):
    def drawn(seed, count, share):
        return np.random.default_rng(seed).random(count) < share

    def rows_one_by_one(rows, share, seed):
        return np.flatnonzero(~drawn(seed, rows, share)), np.flatnonzero(drawn(seed, rows, share))

    def classes_one_by_one(classes, share, seed):
        names = np.unique(classes)
        tested = np.isin(classes, names[drawn(seed, len(names), share)])
        return np.flatnonzero(~tested), np.flatnonzero(tested)

    table = made_up(601, 7, texts=True)
    for exercise, answer, count, case in (
        ("1a", rows_one_by_one, 1237, {"rows": 1237}),
        ("1b", classes_one_by_one, len(np.unique(table.classes)), {"table": table}),
    ):
        lucky = [seed for seed in range(300) if abs(drawn(seed, count, 0.3).sum() - 0.3 * count) <= 1][:3]
        for seed in lucky:
            assert "belong into the test part" in said(capsys, check, exercise, answer, share=0.3, seed=seed, **case)
        assert len(lucky) == 3


@pytest.mark.slow
def test_the_numbers_of_a_report_have_to_come_from_its_functions(capsys):
    table = made_up(120, 3)
    splits = {
        "at random": lambda seed: RIGHT["1a"](120, 0.2, seed),
        "by class": lambda seed: RIGHT["1b"](table.classes, 0.2, seed),
    }
    rest = RIGHT["4a"], RIGHT["3"], splits, table.x, table.labels, [0, 1]
    reports = {name: RIGHT["4a"](RIGHT["3"], split, table.x, table.labels, [0, 1]) for name, split in splits.items()}
    assert check("6", reports, *rest) == 1, capsys.readouterr().out
    as_lists = lambda predict, *rest: RIGHT["4a"](lambda m, x, y, *rows: predict(m, x, [*y], *rows), *rest)  # noqa: E731
    assert check("6", reports, as_lists, *rest[1:]) == 1, capsys.readouterr().out
    better = reports | {"by class": reports["by class"].assign(rmse=lambda lines: lines["rmse"] * 0.9)}
    assert "are not those that your functions give" in said(capsys, check, "6", better, *rest)
    rounded = reports | {"at random": reports["at random"].round(2)}
    assert "'at random' for seed 1" in said(capsys, check, "6", rounded, *rest)
    edited = reports | {"by class": reports["by class"].assign(rmse=[0.0] * 3 + [*reports["by class"]["rmse"][3:]])}
    assert check("6", edited, *rest) == 1  # a seed that students' check does not run again, but the hidden one does
    assert check("6", reports, *rest, again=[0, 1]) == 1, capsys.readouterr().out
    assert "'by class' for seed 0" in said(capsys, check, "6", edited, *rest, again=[0, 1])
    texts = reports | {"at random": reports["at random"].astype({"rmse": str})}
    assert "holds texts" in said(capsys, check, "6", texts, *rest)
    fewer = reports | {"at random": reports["at random"][:2]}
    assert "one for each seed and method" in said(capsys, check, "6", fewer, *rest)
    assert "hand over the dictionary" in said(capsys, check, "6", reports["by class"], *rest)
    assert "not finished" in said(capsys, check, "6", reports, unfinished, *rest[1:])
    assert "is not deterministic" in said(capsys, check, "6", reports, RIGHT["4a"], unseeded, *rest[2:])


@pytest.mark.slow
def test_a_model_that_reads_hidden_labels_on_the_real_table_alone_is_found(capsys):
    table = made_up(120, 3)
    splits = {"at random": lambda seed: RIGHT["1a"](120, 0.2, seed)}
    rest = splits, table.x, table.labels, [0, 1]

    def here_alone(reading):
        """A method that does otherwise on a table of 120 rows, which no check of exercise 3 has."""
        return lambda method, x, labels, train, test: (reading if len(x) == 120 else RIGHT["3"])(
            method, x, labels, train, test
        )

    def of_all(method, x, labels, train, test):
        return RIGHT["3"](method, x, np.where(np.isnan(labels), 0, labels), np.arange(len(x)), test)

    def told(predict):
        assert check("3", predict) == check("3", predict, **CASES["3"]) == 1, capsys.readouterr().out
        reports = {name: RIGHT["4a"](predict, split, *rest[1:]) for name, split in splits.items()}
        return said(capsys, check, "6", reports, RIGHT["4a"], predict, *rest)

    assert "of 'at random' for seed 1 are others when the labels of the test rows" in told(here_alone(of_all))
    given = here_alone(lambda method, x, labels, train, test: labels[test])
    assert "hidden" in told(given)


def test_a_report_of_the_real_table_may_take_longer_than_other_answers(monkeypatch, capsys):
    monkeypatch.setattr(lab_checks, "SECONDS", 0.5)
    table, splits = made_up(120, 3), {"at random": lambda seed: RIGHT["1a"](120, 0.2, seed)}
    predict = lambda method, x, labels, train, test: labels[train].mean() + len(method) + x[test, 0]  # noqa: E731
    rest = predict, splits, table.x, table.labels, [0]
    reports = {"at random": RIGHT["4a"](predict, splits["at random"], *rest[2:])}

    def slowly(*given):
        time.sleep(1)
        return RIGHT["4a"](*given)

    assert check("6", reports, slowly, *rest) == 1, capsys.readouterr().out


def test_a_report_that_hides_the_test_labels_from_its_method_passes(capsys):
    hidden = handing(lambda x, labels, train: (x, np.where(np.isin(np.arange(len(x)), train), labels, np.nan)))
    assert check("4a", hidden) == check("4a", hidden, **CASES["4a"]) == 1, capsys.readouterr().out


def test_an_unknown_exercise_is_told_which_there_are(capsys):
    assert all(name in said(capsys, check, "9", unfinished) for name in CHECKS)


def test_a_made_up_table_has_twins_of_all_sizes():
    table = made_up()
    _, sizes = np.unique(table.classes, return_counts=True)
    assert sizes.max() >= 50 and {1, 2, 3} <= {*sizes.tolist()} and len(made_up(601, 7).labels) == 601
    assert made_up(texts=True).classes.dtype.kind == "U"


def test_the_students_notebook_is_what_its_source_gives():
    require_made_from_source(SOLUTIONS, STUDENTS, len(RIGHT))
    require_links(json.dumps(SOLUTIONS), at_least=12)
    assert points(SOLUTIONS) == points(STUDENTS) == 20


def test_nbgrader_makes_the_same_notebook(tmp_path):
    pytest.importorskip("nbgrader")
    require_nbgrader_makes("week1", SOLUTIONS, STUDENTS, tmp_path)


def test_hidden_tests_are_not_those_of_the_public_checks():
    *hidden, last = [source for source in cells(SOLUTIONS, "grade") if "HIDDEN" in source]
    assert len(hidden) == 6 and "again=SEEDS" in last.partition("BEGIN HIDDEN TESTS")[2]
    for source in hidden:
        exercise = re.search(r'check\("(\w+)"', source)[1]
        assert f"exercise {exercise}:" in source and re.search(r"table=|rows=", source)


def test_the_stored_solutions_are_executed_and_the_findings_say_what_they_show():
    stored = [output for cell in SOLUTIONS["cells"] for output in cell.get("outputs", ())]
    assert json.dumps(stored).count(": right.") == len(RIGHT) + 8 and "not yet" not in json.dumps(stored)
    shown = json.dumps(stored)
    [findings] = [cell for cell in SOLUTIONS["cells"] if "answer-findings" in str(cell["metadata"])]
    numbers = re.findall(r"\d+\.\d+|\d,\d{3}", "".join(findings["source"]))
    assert len(numbers) > 12 and not [number for number in numbers if number not in shown]
    assert 200 < len("".join(line for line in findings["source"] if line[:1] != "|").split()) < 400


def test_teachers_are_told_the_numbers_that_are_stored():
    text = (
        (FOLDER / "TEACHERS.md").read_text(encoding="utf-8").partition("## Week 1 ")[2].partition("**Handing in.**")[0]
    )
    stored = json.dumps([output for cell in SOLUTIONS["cells"] for output in cell.get("outputs", ())])
    numbers = re.findall(r"\d+\.\d\d", text)
    assert len(numbers) > 12 and not [number for number in numbers if number not in stored]


@pytest.mark.slow
def test_an_unsolved_notebook_runs_to_its_end_from_any_folder(tmp_path):
    outputs, text = executed(STUDENTS, tmp_path)
    assert text.count("not finished") == len(RIGHT) and "Exercise 6, not yet" in text
    assert not [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.slow
def test_the_solved_notebook_runs_to_its_end_from_any_folder(tmp_path):
    outputs, text = executed(SOLUTIONS, tmp_path)
    assert text.count(": right.") == len(RIGHT) + 8 and "not yet" not in text
    images = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(images) == 1 and images[0]["metadata"]["image/png"]["alt"]
