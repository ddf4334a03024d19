"""Checks of week 1, leakage: `check("1b", split_by_class)` says in words what is wrong, as the lab's checks do.

A hidden test tries another table or seed, as in `check("1b", split_by_class, table=made_up(777, 5))`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations, product
from typing import Any, NamedTuple

import lab_checks
import numpy as np
import pandas as pd
from lab_checks import Wrong, checks_in, close, compare, kind, number, numbers, result_of

from latentnas import stats

METHODS = ("ridge", "trees", "neighbours")
SCORES = ("rmse", "kendall")
HIDDEN = "the labels of the test rows are hidden (NaN) in this check. Which rows may a method learn from?"
ENDS = "Do the first and the last row of each part count?"
ROUNDED = "{} is rounded to {} digits. Return it as it is."
FIXED = "So your function is not deterministic: give whatever draws a fixed seed, a model its `random_state`."

Parts = tuple[np.ndarray, np.ndarray]


class MadeUp(NamedTuple):
    """A table that was invented: features [n, F], labels [n], and the class of each row [n]."""

    x: np.ndarray
    labels: np.ndarray
    classes: np.ndarray


def made_up(rows: int = 400, seed: int = 0, texts: bool = False) -> MadeUp:
    """A table with twins: many classes of one row, some of a few, one of every eighth row, in no order."""
    random = np.random.default_rng(seed)
    classes = 100 + 3 * random.integers(0, rows // 2, rows)
    classes[random.permutation(rows)[: rows // 8]] = 7
    x = np.eye(4)[random.integers(0, 4, (rows, 4))].reshape(rows, -1)
    labels = 70 + x @ random.normal(0, 4, x.shape[1]) + random.normal(0, 0.3, rows)
    return MadeUp(x, labels, np.array([f"class {name}" for name in classes]) if texts else classes)


def half(table: MadeUp, seed: int = 0) -> Parts:
    """Training and test rows, as many of each, in no order."""
    order = np.random.default_rng(seed).permutation(len(table.labels))
    return order[: len(order) // 2], order[len(order) // 2 :]


def row_numbers(value: Any, name: str, rows: int) -> np.ndarray:
    try:
        found = np.asarray(value)
    except ValueError:
        raise Wrong(f"{name} should be an array of row numbers, but what came is {kind(value)}.") from None
    if found.dtype == bool:
        raise Wrong(f"{name} is a mask of true and false. Return row numbers: np.flatnonzero makes them of a mask.")
    if found.ndim != 1 or found.dtype.kind not in "iu":
        held = f", of type {found.dtype}" if found.ndim == 1 else ""
        raise Wrong(f"{name} should be an array of whole numbers [rows], but what came is {kind(value)}{held}.")
    if len(found) and not 0 <= found.min() <= found.max() < rows:
        wrong = found[(found < 0) | (found >= rows)][0]
        raise Wrong(f"{name} has the row {wrong}, but the rows of this table are 0 to {rows - 1}.")
    if len({*found.tolist()}) < len(found):
        raise Wrong(f"{name} has some row more than once. A split deals each row once.")
    return found


def partition(value: Any, rows: int) -> Parts:
    """Training and test rows; raises Wrong unless each row is in one of them."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Wrong(f"return two things, `return train, test`; what came is {kind(value)}.")
    train, test = (row_numbers(part, name, rows) for part, name in zip(value, ("train", "test")))
    both = len(np.intersect1d(train, test))
    if both:
        raise Wrong(f"{both} rows are in both parts. A test row that was learned from tests nothing.")
    if len(train) + len(test) < rows:
        raise Wrong(f"{rows - len(train) - len(test)} of {rows} rows are in no part. Each row belongs to one.")
    return train, test


def splits_of(answer: Callable, *arguments: Any, rows: int, seed: int) -> list[Parts]:
    """The splits of a seed and of two more; raises Wrong unless equal seeds give equal ones, and other seeds others."""
    np.random.seed(0)
    train, test = partition(result_of(answer, *arguments, seed), rows)
    np.random.seed(1)  # whoever draws from the global generator gets another split now
    again = partition(result_of(answer, *arguments, seed), rows)
    if {*again[1].tolist()} != {*test.tolist()}:
        raise Wrong("the same seed gives another split at each call. Draw from np.random.default_rng(seed).")
    found = [(train, test)]
    for more in (1, 2520):  # 2520: what looks only at seed % 2, ... or seed % 10 is the same again
        found.append(partition(result_of(answer, *arguments, seed + more), rows))
        if {*found[-1][1].tolist()} == {*test.tolist()}:
            two = f"the seeds {seed} and {seed + more} give the same split"
            raise Wrong(f"{two}. Where does the seed come in? Are the rows or classes shuffled?")
    return found


def require_share(found: int, whole: int, share: float, what: str) -> None:
    if abs(found - share * whole) <= 1:
        return
    if abs(found - (1 - share) * whole) <= 1:
        raise Wrong(f"{found} of {whole} {what} are in the test part. Are the two parts swapped?")
    asked = f"With a share of {share} about {share * whole:.0f} of {whole} {what} belong into the test part"
    raise Wrong(f"{asked}, but it has {found}.")


def order_in(places: np.ndarray, share: float) -> str:
    """In which order the test places lie, if they lie closer together or further apart than places that are drawn."""
    by_chance = share + 6 * (share * (1 - share) / len(places)) ** 0.5  # places whose next one is drawn, too, at most
    if np.isin(places + 1, places).mean() > min(by_chance, (1 + share) / 2):
        return "neighbours"
    drawn = (1 - share) ** 0.5 / share  # the spread of the distances of drawn places
    return "at equal distances" if np.diff(np.sort(places)).std() < drawn / 3 else ""


def require_everywhere(places: np.ndarray, count: int, what: str) -> None:
    """Raise Wrong where some part of the table has no test place in any of several splits, whose places these are."""
    parts = min(10, len(places) // 16)  # chance leaves a part out once in ten million times
    if len({*(places * parts // count)}) < parts:
        raise Wrong(f"in three splits some part of the table has no test {what}. Draw from all of it.")
    if parts > 1 and len({*(places % 2)}) < 2:
        raise Wrong(f"in three splits only every second of the {what} is tested. Draw from all of them.")


def check_1a(answer: Callable, rows: int = 1000, share: float = 0.2, seed: int = 3) -> None:
    (_, test), *others = splits_of(answer, rows, share, rows=rows, seed=seed)
    for tested in (test, *(part for _, part in others)):  # one may have the right number by luck
        require_share(len(tested), rows, share, "rows")
    if order := order_in(test, share):
        reason = "A table may be sorted, or repeat itself: shuffle its rows"
        raise Wrong(f"the test rows are {order} in the table, not drawn. {reason}.")
    require_everywhere(np.concatenate([test, *(part for _, part in others)]), rows, "rows")


def check_1b(answer: Callable, table: MadeUp | None = None, share: float = 0.2, seed: int = 3) -> None:
    classes = (table or made_up()).classes
    (train, test), *others = splits_of(answer, classes, share, rows=len(classes), seed=seed)
    across = len(np.intersect1d(classes[train], classes[test]))
    count = len(np.unique(classes))
    if across:
        cause = "Draw classes, not rows; then take all rows of each"
        raise Wrong(f"{across} of {count} classes have rows in both parts. {cause}.")
    tested = len(np.unique(classes[test]))
    if abs(len(test) - share * len(classes)) <= 1 < abs(tested - share * count):
        raise Wrong("the test part has that share of the rows. Asked for is a share of the classes, however large.")
    for number_of in (tested, *(len(np.unique(classes[part])) for _, part in others)):
        require_share(number_of, count, share, "classes")
    if order := order_in(np.flatnonzero(np.isin(np.unique(classes), classes[test])), share):
        raise Wrong(f"the test classes are {order} in their order. Shuffle the classes before you cut.")
    tested = [np.flatnonzero(np.isin(np.unique(classes), classes[part])) for part in (test, *(p for _, p in others))]
    require_everywhere(np.concatenate(tested), count, "classes")
    names, rows = np.unique(classes, return_counts=True)
    sizes = np.minimum(rows, 4)  # one class has very many
    parts = [partition(result_of(answer, classes, share, seed + more), len(classes))[1] for more in range(10)]
    drawn = np.concatenate([sizes[np.isin(names, classes[part])] for part in parts])
    if abs(drawn.mean() - sizes.mean()) > 5 * sizes.std() * ((1 - share) / len(drawn)) ** 0.5:  # not by chance
        raise Wrong(
            "whether a class is tested depends on its number of rows. Give each class the same chance: draw from a list"
            " of the classes, in which each stands once."
        )


def check_2(answer: Callable, table: MadeUp | None = None, seed: int = 0) -> None:
    table = table or made_up(403)
    classes, (train, test) = table.classes, half(table, seed)
    train = train[: len(train) // 3]  # so that the share is no round number
    found = share_of(result_of(answer, train, test, classes))
    seen, known = np.isin(classes[test], classes[train]), np.isin(classes[train], classes[test])
    right, own = 100 * seen.mean(), np.unique(classes[test])
    mistakes = {
        "that is a share between 0 and 1. Give percent.": right / 100,
        "that is a number of rows. Give their share of the test rows, in percent.": seen.sum(),
        "you count the test rows without a twin. Asked for are the others.": 100 - right,
        "you count training rows. Asked for are the test rows whose answer is known.": 100 * known.mean(),
        "you count classes. A class with many test rows leaks many answers: count rows.":
            100 * np.isin(own, classes[train]).mean(),
        "you divide by the number of all rows, not by that of the test rows.": 100 * seen.sum() / len(classes),
        "you round the share. Return it as it is.": round(right),
        "you cut off what follows the point. Return the share as it is.": int(right),
        "you round the share to one digit after the point. Return it as it is.": round(right, 1),
    }  # fmt: skip
    compare(found, right, mistakes, f"on a made-up split {found:.1f} is not right. When has a test row a twin?")
    for one, percent in ((test, 100.0), (np.flatnonzero(~np.isin(classes, classes[test])), 0.0)):
        if len(one) and not close(share_of(result_of(answer, one, test, classes)), percent):
            raise Wrong(f"right for one split, but where {percent:.0f} % leak your number is another one.")
    few = np.array([0, 2]), np.array([1, 4, 3]), np.array([4, 4, 9, 9, 2])
    if not close(share_of(result_of(answer, *few)), 200 / 3):
        raise Wrong(f"right for one split, wrong for one of five rows. {ENDS}")


def share_of(value: Any) -> float:
    value = number(value, "the share")
    if not np.isfinite(value):
        raise Wrong(f"the share is {'NaN' if np.isnan(value) else 'infinite'}. Was something divided by zero?")
    return value


def predictions(answer: Callable, *arguments: Any) -> np.ndarray:
    """One finite number for each test row; the last three arguments are labels, training rows and test rows."""
    value, rows, count = result_of(answer, *arguments, hints={"NaN": HIDDEN}), len(arguments[-3]), len(arguments[-1])
    found = numbers(value, "an array of predictions")
    if found.shape == (rows,):
        asked = f"Return those of the {count} test rows, in their order"
        raise Wrong(f"you return {rows} predictions, one for each row of the table. {asked}.")
    if found.shape != (count,):
        asked = f"one prediction for each of the {count} test rows, an array [{count}]"
        raise Wrong(f"return {asked}; what came is {kind(found)}.")
    if not np.isfinite(found).all():
        raise Wrong(f"{int((~np.isfinite(found)).sum())} of {count} predictions are NaN or infinite: {HIDDEN}")
    return found


def blind(
    answer: Callable, before: Sequence[Any], labels: np.ndarray, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Predictions made while the labels of the test rows are NaN; raises Wrong where a second call or other labels
    there change them."""
    hidden, other = labels.copy(), labels.copy()
    hidden[test], other[test] = np.nan, np.flip(labels[test]) + 50.0
    found = predictions(answer, *before, hidden, train, test)
    if not close(predictions(answer, *before, hidden, train, test), found):
        raise Wrong(f"two calls with the same arguments give different predictions. {FIXED}")
    for changed in (labels, other):
        if not close(predictions(answer, *before, changed, train, test), found):
            raise Wrong(
                "the predictions change when nothing but the labels of test rows changes. So some step reads them: look"
                " for a mean, a scale, a choice of settings or a fit that takes more than labels[train]."
            )
    if not close(predictions(answer, *before, hidden, train, np.flip(test)), np.flip(found).copy()):
        raise Wrong("the predictions do not follow the order of the test rows that you are given.")
    return found


def check_3(answer: Callable, table: MadeUp | None = None, seed: int = 0) -> None:
    table = table or made_up()
    (x, labels, _), (train, test) = table, half(table, seed)
    found, plain = {}, stats.rmse(labels[test], np.full(len(test), labels[train].mean()))
    for method in METHODS:
        found[method] = blind(answer, (method, x), labels, train, test)
        if stats.rmse(labels[test], found[method]) > 0.9 * plain:
            reason = "Does it use the x and the labels that it is given, and no others?"
            raise Wrong(f"on a made-up table {method} predicts hardly better than the mean of all labels. {reason}")
        if method == "trees":  # which may have thresholds in the unit of the labels
            continue
        if not close(predictions(answer, method, x, labels / 2, train, test), found[method] / 2):
            raise Wrong(
                f"with labels half as large the predictions of {method} are not half as large. Is something added to"
                " them, or are they rounded? Return what the model predicts."
            )
    for first, second in combinations(METHODS, 2):
        if close(found[first], found[second]):
            raise Wrong(f"{first} and {second} predict the same. Does your function look at the name of the method?")
    more, asked = (x[test[:5]] + x[test[5:10]]) / 2, np.append(test[:10], len(x) + np.arange(5))
    wider = np.concatenate([x, more]), np.append(labels, np.full(5, np.nan))

    def linear(method: str) -> bool:
        one, two, between = predictions(answer, method, *wider, train, asked).reshape(3, 5)
        return close(between, (one + two) / 2)

    if not linear("ridge"):
        raise Wrong("ridge should be linear: half-way between two rows its prediction is half-way, but yours is not.")
    if linear("trees"):
        raise Wrong("trees should not be linear, but half-way between two rows their prediction is half-way.")
    other = labels.copy()
    other[train[0]] += 1.0
    moved = np.abs(predictions(answer, "neighbours", x, other, train, test) - found["neighbours"]) > 1e-8
    if moved.mean() > 0.5:
        raise Wrong("one training label was changed, and neighbours predict most rows anew. It is near to a few only.")
    rows, more = test[:20], np.arange(len(x), len(x) + 20)
    wider = np.concatenate([x, x[rows] * np.where(np.arange(x.shape[1]) < 4, 0.75, 1.0)])
    given = "neighbours", wider, np.append(labels, np.full(20, np.nan)), train
    if close(*np.split(predictions(answer, *given, np.append(rows, more)), 2)):
        raise Wrong(
            "neighbours should mind how far away rows are, but where one feature is 0.75 in place of 1 the predictions"
            " stay as they are. A tree does this: is it one?"
        )
    scaled = x * np.where(np.arange(x.shape[1]) == 0, 1024.0, 1.0)
    if not close(predictions(answer, "trees", scaled, labels, train, test), found["trees"]):
        raise Wrong(
            "trees should not mind the unit of a feature, but with one column times 1024 their predictions are others."
            " A tree asks only on which side of a threshold a value lies."
        )


class Stub:
    """Splits and predictions that nobody could guess, in place of the student's own; it remembers what it was asked."""

    def __init__(self, table: MadeUp, seed: int) -> None:
        self.table, self.seed, self.asked = table, seed, []
        self.strange = ""  # what it was given that is not the table's

    def split(self, seed: int) -> Parts:
        train, test = half(self.table, self.seed + seed)
        return train[5:], test[seed % 7 :]

    def predict(
        self, method: str, x: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray
    ) -> np.ndarray:
        self.asked.append(method)
        train, test = np.asarray(train), np.asarray(test)
        if not np.array_equal(x, self.table.x):
            self.strange = f"x [rows, features]; what came as x is {kind(x)}"
        # only where it may learn, since who hides the other labels from it does well
        elif np.shape(labels) != (rows := self.table.labels.shape) or np.any(
            (np.asarray(labels, np.float32) != self.table.labels.astype(np.float32))[train]
        ):
            self.strange = f"labels {[*rows]}; what came as labels is {kind(labels)}"
        random = np.random.default_rng([self.seed, int(train.sum()), *map(ord, method)])  # in whatever order rows come
        return (self.table.labels + random.normal(0, 2 + len(method), len(self.table.labels)))[test]

    def lines(self, seeds: Sequence[int], scores: Callable) -> pd.DataFrame:
        """The report, its numbers by a function of true and predicted labels."""
        rows = []
        for seed in seeds:
            train, test = self.split(seed)
            for method in METHODS:
                predicted = self.predict(method, self.table.x, self.table.labels, train, test)
                rows.append((seed, method, *scores(self.table.labels[test], predicted)))
        return pd.DataFrame(rows, columns=["seed", "method", *SCORES])


def frame(value: Any, name: str, columns: Sequence[str], scores: Sequence[str]) -> pd.DataFrame:
    """A copy, its scores in float64; raises Wrong where a column is not there, or twice, or a score no number."""
    if not isinstance(value, pd.DataFrame):
        raise Wrong(f"{name} should be a pandas DataFrame, but what came is {kind(value)}.")
    missing = [column for column in columns if column not in value]
    if missing:
        raise Wrong(f"{name} lacks the column {', '.join(missing)}; it has {', '.join(map(str, value)) or 'none'}.")
    twice = [column for column in columns if isinstance(value[column], pd.DataFrame)]
    if twice:
        raise Wrong(f"{name} has the column {', '.join(twice)} more than once. Which one counts?")
    asked = "a DataFrame with numbers in the column"
    found = {score: numbers(value[score], f"{asked} {score}") for score in scores}
    for score, column in found.items():
        if column.ndim > 1:  # each cell holds several
            whole = kind(value[score].iloc[0])
            raise Wrong(
                f"{name} should have one number in each cell, but in the column {score} what stands there is {whole}."
            )
    return value.assign(**found)


def report(value: Any, seeds: Sequence[int]) -> pd.DataFrame:
    """The lines in the order of seeds and methods; raises Wrong unless there is one for each of both."""
    found = frame(value, "the report", ["seed", "method", *SCORES], SCORES)
    whole = [int(seed) if isinstance(seed, float) and seed % 1 == 0 else seed for seed in found["seed"].tolist()]
    found["seed"] = pd.Series(whole, found.index, dtype=object)
    pairs = list(zip(found["seed"].tolist(), found["method"].tolist()))
    wanted = [(seed, method) for seed in seeds for method in METHODS]
    if sorted(tuple(map(str, pair)) for pair in pairs) != sorted((str(seed), method) for seed, method in wanted):
        raise Wrong(
            f"the report should have {len(wanted)} lines, one for each seed and method; it has {len(pairs)}, of seeds"
            f" {sorted({str(seed) for seed, _ in pairs})} and methods {sorted({str(name) for _, name in pairs})}."
        )
    if not all(seed in seeds for seed, _ in pairs):
        raise Wrong("the seeds in the report should be the whole numbers that you are given, not texts.")
    return found.set_index(["seed", "method"]).loc[wanted].reset_index()


def check_4a(answer: Callable, table: MadeUp | None = None, seeds: Sequence[int] = (3, 1, 4)) -> None:
    table = table or made_up()

    def ask(stub: Stub) -> pd.DataFrame:
        predict, split = (
            lambda *given, called=called, **named: called(*given, **named) for called in (stub.predict, stub.split)
        )
        return report(result_of(answer, predict, split, table.x, table.labels, list(seeds)), seeds)

    first, second = Stub(table, 1), Stub(table, 2)
    found = ask(first)
    if not first.asked:
        raise Wrong("the report does not come from the function `predict` that you are given: it was never called.")
    if first.strange:
        raise Wrong(f"`predict` picks its rows itself, as in exercise 3. Give it the whole {first.strange}.")
    if close(found[[*SCORES]].to_numpy(), ask(second)[[*SCORES]].to_numpy()):
        raise Wrong("another `predict` gives the same numbers. Where do those of your report come from?")
    unit = table.labels.std()
    wrong = {
        "rmse is the mean squared error without the root.": lambda true, p: stats.rmse(true, p) ** 2,
        "rmse is the mean absolute error. Square first.": lambda true, p: np.abs(true - p).mean(),
        "rmse is in standard deviations of the labels. Leave it in percentage points.":
            lambda true, p: stats.rmse(true, p) / unit,
    }  # fmt: skip
    right = first.lines(seeds, lambda true, p: (stats.rmse(true, p), stats.kendall(true, p)))
    wrong |= {ROUNDED.format("rmse", digits): lambda t, p, n=digits: round(stats.rmse(t, p), n) for digits in (1, 2, 3)}
    mistakes = {words: first.lines(seeds, lambda true, p, f=f: (f(true, p), 0))["rmse"] for words, f in wrong.items()}
    other = "rmse is not right. It is that of the test rows of the split of each seed, and of no others."
    compare(found["rmse"].to_numpy(), right["rmse"].to_numpy(), arrays(mistakes), other)
    wrong = {
        "kendall is Spearman's correlation. Take Kendall's tau.": stats.spearman,
        "kendall is Pearson's correlation. Take Kendall's tau.": stats.pearson,
        "kendall has the wrong sign.": lambda true, p: -stats.kendall(true, p),
    }
    wrong |= {ROUNDED.format("kendall", n): lambda t, p, n=n: round(stats.kendall(t, p), n) for n in (1, 2, 3)}
    mistakes = {
        words: first.lines(seeds, lambda true, p, f=f: (0, f(true, p)))["kendall"] for words, f in wrong.items()
    }
    other = "rmse is right, kendall is not. It compares the order of true and predicted labels of the test rows."
    compare(found["kendall"].to_numpy(), right["kendall"].to_numpy(), arrays(mistakes), other)


def arrays(mistakes: dict[str, pd.Series]) -> dict[str, np.ndarray]:
    return {words: values.to_numpy(dtype=np.float64) for words, values in mistakes.items()}


def check_4b(answer: Callable, table: MadeUp | None = None, seeds: Sequence[int] = (0, 1, 2, 3)) -> None:
    lines = Stub(table or made_up(), 5).lines(seeds, lambda true, p: (stats.rmse(true, p), stats.kendall(true, p)))
    lines = lines.sample(frac=1, random_state=0).reset_index(drop=True)
    columns = [f"{score}{end}" for score in SCORES for end in ("", "_low", "_high")]
    found = frame(result_of(answer, lines), "the summary", columns, columns)
    if sorted(map(str, found.index)) != sorted(METHODS):
        named = ", ".join(map(str, found.index))
        raise Wrong(f"the summary should have one line for each method, its name the index, but its lines are {named}.")
    groups = lines.groupby("method")[[*SCORES]]
    mean, spread, n = groups.mean(), groups.std(), len(seeds)
    half_width = groups.agg(lambda values: np.subtract(*stats.mean_interval(values)[::-1]) / 2)
    found = found.loc[mean.index]
    rounded = {ROUNDED.format("a mean", digits): mean.round(digits).to_numpy() for digits in (1, 2, 3)}
    other = "the columns rmse and kendall should be means over the seeds, each method by itself."
    compare(found[[*SCORES]].to_numpy(), mean.to_numpy(), rounded, other)
    ends = np.array([[found[f"{score}{end}"] for end in ("_low", "_high")] for score in SCORES])
    centre = mean.to_numpy().T[:, None]
    widths = {
        "the interval is mean ± one standard deviation. That says how seeds differ, not how sure the mean is.": spread,
        "the interval is mean ± one standard error. How many of these make 95 % with so few seeds?": spread / n**0.5,
        "the interval takes 1.96 standard errors, as with many seeds. With few of them Student's t is wider.":
            1.96 * spread / n**0.5,
        "the standard deviation divides by n. With few seeds divide by n - 1 (ddof=1).":
            half_width * ((n - 1) / n) ** 0.5,
        "low and high are exchanged.": -half_width,
        "the ends are distances from the mean. Give the ends themselves.": None,
        "the interval goes from the smallest to the largest seed. Take the 95 % interval of the mean.": None,
    }  # fmt: skip

    def both(width: pd.DataFrame) -> np.ndarray:
        return centre + np.array([-1, 1])[None, :, None] * width.to_numpy().T[:, None]

    mistakes = {words: both(width) for words, width in widths.items() if width is not None}
    away, extremes = list(widths)[-2:]
    mistakes[away] = both(half_width) - centre
    mistakes[extremes] = np.stack([groups.min().to_numpy().T, groups.max().to_numpy().T], axis=1)
    compare(
        ends, both(half_width), mistakes, "the means are right, the ends are not. Try latentnas.stats.mean_interval."
    )


def check_5(answer: Callable, table: MadeUp | None = None, seed: int = 0) -> None:
    table = table or made_up()
    labels, groups, (train, test) = table.labels, table.classes, half(table, seed)
    new = ~np.isin(groups[test], groups[train])
    given = numbers(result_of(answer, groups, labels, train, test), "an array of predictions")
    if new.any() and np.array_equal(np.isnan(given), new):
        raise Wrong("a test row of a group that was never seen gets NaN. Give it the mean of all training labels.")
    found = blind(answer, (groups,), labels, train, test)
    known, mean = pd.Series(labels[train]).groupby(groups[train]), labels[train].mean()

    def looked_up(values: pd.Series, otherwise: float) -> np.ndarray:
        return values.reindex(groups[test]).fillna(otherwise).to_numpy()

    mistakes = {
        "a test row of a group that was never seen gets 0. Give it the mean of all training labels.":
            looked_up(known.mean(), 0.0),
        "you take one training label of the group. Take their mean.": looked_up(known.first(), mean),
        "you take the median of the group. Take the mean.": looked_up(known.median(), mean),
        "a group that was never seen gets the mean of the group means. Take the mean of all training labels.":
            looked_up(known.mean(), known.mean().mean()),
        "every row gets the same number. Look its group up.": np.full(len(test), mean),
    }  # fmt: skip
    compare(found, looked_up(known.mean(), mean), mistakes, "on a made-up table some predictions are wrong.")
    few = np.array([4, 4, 9, 9, 2]), np.array([60.0, 0.0, 80.0, 0.0, 0.0]), np.array([0, 2]), np.array([1, 4, 3])
    if not close(predictions(answer, *few), [60.0, 70.0, 80.0]):
        raise Wrong(f"right on one made-up table, wrong on one of five rows. {ENDS}")


def check_6(
    reports: dict[str, pd.DataFrame], evaluate: Callable, predict: Callable, splits: dict[str, Callable], x: np.ndarray,
    labels: np.ndarray, seeds: Sequence[int], again: Sequence[int] = (),
) -> None:  # fmt: skip
    """The numbers of the report come from the student's functions, some seeds of each design, or the last, run once
    more; the labels of the test rows are hidden from `predict`, in this table too. It is a large one: on a busy machine
    a run of all methods takes minutes."""
    if not isinstance(reports, dict) or reports.keys() != splits.keys():
        raise Wrong(f"hand over the dictionary `reports` of {', '.join(splits)}; what came is {kind(reports)}.")

    def hiding(method: str, x: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> Any:
        hidden = np.array(labels, dtype=np.float64)
        hidden[test] = np.nan
        return predict(method, x, hidden, train, test)

    def run(predict: Callable, design: str, seed: int) -> np.ndarray:
        found = result_of(evaluate, predict, splits[design], x, labels, [seed], hints={"NaN": HIDDEN}, patience=10)
        return report(found, [seed])[[*SCORES]].to_numpy()

    for design, seed in product(splits, again or seeds[-1:]):
        stored = report(reports[design], seeds)
        stored = stored.loc[stored["seed"] == seed, [*SCORES]].to_numpy()
        if close(stored, run(hiding, design, seed)):
            continue
        found = run(predict, design, seed)
        if not close(found, run(predict, design, seed)):
            raise Wrong(f"two runs of '{design}' with seed {seed} give different numbers. {FIXED}")
        where = f"the numbers of '{design}' for seed {seed}"
        if close(stored, found):
            raise Wrong(
                f"{where} are others when the labels of the test rows are hidden. So here `predict` reads them,"
                " though not on the made-up one of exercise 3. What does it do here that it does not do there?"
            )
        reason = "Run all cells once more from the top, and do not round or edit what they give"
        raise Wrong(f"{where} are not those that your functions give. {reason}.")


CHECKS = checks_in(globals())
check = partial(lab_checks.check, checks=CHECKS)
