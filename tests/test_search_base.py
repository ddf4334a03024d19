"""The search loop and its histories: plain reference, counting, ends, bad searchers, exact random search."""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latentnas.benchmarks.nasbench201 as tables  # pytest would collect its test_column
from latentnas import parallel
from latentnas.progress import Progress
from latentnas.search import base
from latentnas.search.base import run, run_many
from latentnas.search.discrete import LocalSearch, RandomSearch, RegularisedEvolution
from latentnas.search.domains import TableDomain, table_domain
from latentnas.search.history import attach, curve, expected_random_search, queries_to_optimum
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.stats import mean_interval

OPTIONS = 4
ONE_POOLING = '{"matrix": [[0, 1, 0], [0, 0, 1], [0, 0, 0]], "ops": ["input", "maxpool3x3", "output"]}'


def toy_domain(classes=True):
    """Three decisions with four options each, 64 rows; where the first is 0, the others have no effect."""
    choices = np.array(list(itertools.product(range(OPTIONS), repeat=3)))
    identity = np.where(choices[:, 0] == 0, 0, np.arange(len(choices))) if classes else np.arange(len(choices))
    one_change = (choices[:, None] != choices[None]).sum(axis=2) == 1
    neighbors = np.stack([np.flatnonzero(row) for row in one_change])
    features = (choices[:, :, None] == np.arange(OPTIONS)).reshape(len(choices), -1)
    return TableDomain(choices, identity, neighbors.__getitem__, features)


def class_of(row, classes):
    """What the toy domain says is one architecture."""
    return 0 if classes and row < OPTIONS**2 else row


def toy_values(seed=0):
    return np.random.default_rng(seed).normal(size=OPTIONS**3)


class Scripted:
    """Answers each question with the next of the lists, then with nothing; remembers what it is told."""

    def __init__(self, answers, domain=None, seed=0):
        self.domain, self.seed = domain or toy_domain(), seed
        self.answers, self.told = list(answers), []

    def ask(self, n):
        return np.array(self.answers.pop(0) if self.answers else [], dtype=np.int64)

    def tell(self, rows, values):
        self.told += zip(rows.tolist(), values.tolist())


class Spy:
    """A column of labels that remembers which were read."""

    def __init__(self, values):
        self.values, self.read = values, []

    def __call__(self, rows):
        self.read += rows.tolist()
        return self.values[rows]


# the loop


@settings(max_examples=100)
@given(
    st.booleans(),
    st.lists(st.integers(0, 63), max_size=6),
    st.lists(st.lists(st.integers(0, 63), min_size=1, max_size=3), max_size=40),
    st.integers(6, 30),
)
def test_history_equals_a_plain_reference(classes, initial, answers, budget):
    domain, values = toy_domain(classes), np.round(toy_values(), 1)  # rounded: ties
    searcher, spy = Scripted([answer[:1] for answer in answers], domain), Spy(values)
    history = run(searcher, spy, budget, initial=initial)

    first = {}
    for row in range(64):
        first.setdefault(class_of(row, classes), row)
    bought, told, best = [], [], None
    expected = []
    for row in [*initial, *(answer[0] for answer in answers)]:
        if len(bought) == min(budget, len(first)):
            break
        known = first[class_of(row, classes)]
        told.append((row, values[known]))
        if known not in bought:
            bought.append(known)
            best = known if best is None or values[known] > values[best] else best
            expected.append((len(bought), known, values[known], values[best], best))
    columns = ["query", "row", "value", "incumbent", "incumbent_row"]
    assert list(history[columns].itertuples(index=False, name=None)) == expected
    assert searcher.told == told and spy.read == bought
    ended = "budget spent" if len(bought) == budget else "nothing new proposed"
    assert set(history.stopped) <= {ended}
    assert set(history.counted_by) <= {"class" if classes else "string"} and set(history.seed) <= {0}


def test_a_batch_is_counted_by_architecture():
    searcher = Scripted([[0, 1, 2, 20], [20, 21]])  # 0, 1 and 2 are one class
    history = run(searcher, toy_domain().lookup(toy_values()), 5, batch=4)
    assert history.row.tolist() == [0, 20, 21] and history["query"].tolist() == [1, 2, 3]
    assert [row for row, _ in searcher.told] == [0, 1, 2, 20, 20, 21]
    assert len({value for row, value in searcher.told if row < 3}) == 1


def test_runs_end_cleanly():
    lookup = toy_domain().lookup(toy_values())
    history = run(RandomSearch(toy_domain(), 0), lookup, 1000)
    assert sorted(history.row) == sorted(toy_domain().distinct) and len(history) == 49
    assert set(history.stopped) == {"space exhausted"}

    class Stuck(Scripted):
        def ask(self, n):
            return np.array([7, 8])[:n]

    history = run(Stuck([]), lookup, 10, batch=2)
    assert history.row.tolist() == [0] and set(history.stopped) == {"nothing new proposed"}
    assert set(run(Scripted([[3]]), lookup, 10).stopped) == {"nothing new proposed"}
    assert run(Scripted([]), lookup, 10).empty


@pytest.mark.slow
def test_a_goal_ends_a_search_with_the_question_that_reached_it(tmp_path):
    domain, values = toy_domain(), toy_values()
    lookup, goal = domain.lookup(values), values.max()
    for jobs, folder in ((1, None), (2, tmp_path), (1, tmp_path)):
        ended = run_many(partial(RandomSearch, domain), lookup, 49, range(4), jobs, batch=3, folder=folder, goal=goal)
        whole = run_many(partial(RandomSearch, domain), lookup, 49, range(4), batch=3)
        for seed, history in ended.groupby("seed"):
            asked = whole[whole.seed == seed]
            first = asked["query"][asked.value == goal].min()
            assert len(history) == min(-(-first // 3) * 3, 49) and set(history.stopped) == {"goal reached"}
            assert history.row.tolist() == asked.row.tolist()[: len(history)] and history.incumbent.iloc[-1] == goal
    assert set(run(RandomSearch(domain, 0), lookup, 9, initial=[int(values.argmax())], goal=goal)["query"]) == {1}
    assert len(run(RandomSearch(domain, 0), lookup, 9, goal=np.nan)) == 9  # of a table without a best value


def test_no_initial_design_is_an_empty_one():
    domain, lookup = toy_domain(), lambda rows: np.asarray(rows, dtype=float)
    for make in (LocalSearch, RandomSearch):
        assert run(make(domain, 0), lookup, 9, initial=[]).equals(run(make(domain, 0), lookup, 9))


def test_a_batch_shrinks_to_the_budget_that_is_left():
    asked = []

    class Counting(RandomSearch):
        def ask(self, n):
            asked.append(n)
            return super().ask(n)

    history = run(Counting(toy_domain(), 1), toy_domain().lookup(toy_values()), 10, batch=4)
    assert asked == [4, 4, 2] and len(history) == 10 and set(history.stopped) == {"budget spent"}


def test_bad_searchers_and_objectives_are_refused():
    domain = toy_domain()
    lookup = domain.lookup(toy_values())
    with pytest.raises(ValueError, match="asked for 1 rows but returned 2"):
        run(Scripted([[1, 2]]), lookup, 5)
    for row in (-1, 64):
        with pytest.raises(ValueError, match=f"Scripted has row {row}, .* 0 to 63"):
            run(Scripted([[row]]), lookup, 5)

    class Floats(Scripted):
        def ask(self, n):
            return np.array([1.5])

    with pytest.raises(ValueError, match="Floats must be rows as whole numbers"):
        run(Floats([]), lookup, 5)
    with pytest.raises(ValueError, match="budget is 3 queries and 0 are spent"):
        run(Scripted([]), lookup, 3, initial=range(20, 24))
    with pytest.raises(ValueError, match="initial design has row 99"):
        run(Scripted([]), lookup, 3, initial=[99])
    with pytest.raises(ValueError, match="nan for row 21;"):
        run(Scripted([[20, 21]]), domain.lookup(np.where(np.arange(64) == 21, np.nan, 1.0)), 5, batch=2)
    with pytest.raises(ValueError, match=r"2 rows but returned shape \[1\]"):
        run(Scripted([[20, 21]]), lambda rows: np.zeros(1), 5, batch=2)
    with pytest.raises(ValueError, match="no finite number"):
        base.ModelBasedSearch(domain, 0, 2).tell(np.array([3]), np.array([np.inf]))
    for budget, batch in ((0, 1), (1, 0), (2.5, 1), (np.nan, 1)):
        with pytest.raises(ValueError, match="at least 1"):
            run(Scripted([]), lookup, budget, batch)
    with pytest.raises(ValueError, match="64 values"):
        domain.lookup(np.zeros(63))
    with pytest.raises(ValueError, match=r"64 rows, so pass a whole column .* not shape \[63, 2\]"):
        TableDomain(domain.choices(), np.arange(64), domain.neighbors, np.zeros((63, 2)))


# many seeds


def test_many_seeds_do_not_depend_on_jobs():
    domain = toy_domain()
    make, lookup = partial(RandomSearch, domain), domain.lookup(toy_values())
    one = run_many(make, lookup, 20, seeds=[3, 0, 7])
    assert one.seed.tolist() == [3] * 20 + [0] * 20 + [7] * 20
    pd.testing.assert_frame_equal(one[one.seed == 0].reset_index(drop=True), run(make(0), lookup, 20))
    assert one.groupby("seed").row.agg(tuple).nunique() == 3
    pd.testing.assert_frame_equal(one, run_many(make, lookup, 20, seeds=[3, 0, 7], jobs=2))
    for seeds in ([], [1, 1]):
        with pytest.raises(ValueError, match="each only once"):
            run_many(make, lookup, 20, seeds)


def test_progress_says_how_long(monkeypatch, capfd):
    domain = toy_domain()
    run_many(partial(RandomSearch, domain), domain.lookup(toy_values()), 5, seeds=[0, 1])
    assert capfd.readouterr().err == ""
    for module in (base, parallel):
        monkeypatch.setattr(module, "Progress", partial(Progress, every=-1.0))
    run_many(partial(RandomSearch, domain), domain.lookup(toy_values()), 5, seeds=[0, 1])
    lines = capfd.readouterr().err
    assert "search, seed 1: 5/5  done" in lines and "search, seeds: 1/2" in lines and "seeds: 2/2  done" in lines


# what is read from histories


def test_the_incumbent_is_selected_by_validation():
    valid, test = toy_values(0), toy_values(1)
    history = attach(run(RandomSearch(toy_domain(False), 0), valid.__getitem__, 30), test)
    for count in range(1, 31):
        seen = history.row[:count].to_numpy()
        assert history.test[count - 1] == test[seen[valid[seen].argmax()]]
    with pytest.raises(ValueError, match="one value for each row"):
        attach(history, test[:10])


def test_queries_to_optimum():
    domain, values = toy_domain(), toy_values()
    values[:16] = 10.0  # class 0 is the best
    values[63] = 10.0  # and so is this one
    assert domain.optimum(values).tolist() == [0, 63]
    histories = [
        run(Scripted([[row] for row in rows], domain, seed), domain.lookup(values), 9)
        for seed, rows in enumerate([[20, 21, 5, 63], [63], [20, 21]])
    ]
    found = queries_to_optimum(pd.concat(histories), domain.optimum(values))
    assert found.index.tolist() == [0, 1, 2] and found[[0, 1]].tolist() == [3, 1]
    assert np.isnan(found[2])


def test_curve_summarises_seeds():
    domain, values = toy_domain(), toy_values()
    histories = [run(RandomSearch(domain, seed), domain.lookup(values), 5 + 3 * seed) for seed in range(4)]
    found = curve(pd.concat(histories), at=[1, 6, 14, 99])
    for row, query in zip(found.itertuples(), [1, 6, 14, 99], strict=True):
        expected = np.array([history.incumbent[min(query, len(history)) - 1] for history in histories])
        assert (row.query, row.seeds) == (query, 4)
        assert np.allclose([row.mean, row.std], [expected.mean(), expected.std(ddof=1)])
        assert (row.low, row.high) == mean_interval(expected)
    with pytest.raises(ValueError, match="number 1.*at 0"):
        curve(histories[0], at=[0, 5])


# random search without simulation


@pytest.mark.parametrize("replacement", [False, True])
def test_expected_random_search_equals_all_draws(replacement):
    valid, test = np.array([3.0, 5.0, 5.0, 1.0, 5.0, 3.0]), np.array([7.0, 1.0, 4.0, 9.0, 2.5, 8.0])
    for count in range(1, 6 if replacement else 7):
        draw = partial(itertools.product, repeat=count) if replacement else partial(itertools.permutations, r=count)
        outcomes = [test[max(drawn, key=lambda row: valid[row])] for drawn in draw(range(6))]  # the first of equals
        found = expected_random_search(valid, test, [count], replacement)
        assert np.allclose(found.to_numpy(), [[count, np.mean(outcomes), np.std(outcomes)]])


def test_expected_random_search_refuses_what_cannot_be_drawn():
    values = np.arange(4.0)
    for count in (0, 5):
        with pytest.raises(ValueError, match=f"{count} architectures cannot be drawn from 4"):
            expected_random_search(values, values, [count])
    assert expected_random_search(values, values, [500], replacement=True)["mean"][0] == pytest.approx(3.0)
    with pytest.raises(ValueError, match="finite"):
        expected_random_search(values, np.array([0, 1, np.nan, 2]), [1])
    with pytest.raises(ValueError, match=r"\[4\] and \[3\]"):
        expected_random_search(values, values[:3], [1])


@pytest.mark.parametrize("classes", [False, True])
def test_simulated_random_search_agrees_with_the_exact_one(classes):
    domain, valid, test = toy_domain(classes), toy_values(0), toy_values(1)
    history = attach(run_many(partial(RandomSearch, domain), domain.lookup(valid), 20, range(400)), test)
    counts = [1, 3, 8, 20]
    exact = expected_random_search(valid[domain.distinct], test[domain.distinct], counts)
    simulated = curve(history, counts, "test")
    assert (np.abs(simulated["mean"] - exact["mean"]) < 3 * exact["std"] / np.sqrt(400)).all()
    assert np.allclose(simulated["std"], exact["std"], rtol=0.15)


# NAS-Bench-201


def test_nasbench201_domain():
    domain = table_domain(NASBENCH201, "class")
    assert domain.size == 15_625 and len(domain.distinct) == 6_466 and domain.counted_by == "class"
    assert np.array_equal(domain.distinct, NASBENCH201.representatives())
    assert np.array_equal(domain.neighbors(7), NASBENCH201.neighbor_rows([7])[0])
    strings = table_domain(NASBENCH201, "string")
    assert len(strings.distinct) == 15_625 and strings.counted_by == "string"
    with pytest.raises(ValueError, match="identity='cell'"):
        table_domain(NASBENCH201, "cell")


@pytest.mark.slow
def test_nasbench101_domain():
    domain = table_domain(NASBENCH101)
    assert domain.size == len(domain.distinct) == NASBENCH101.size and domain.choices().shape == (NASBENCH101.size, 26)
    codes = domain.choices() @ np.append(2 ** np.arange(21), 2**21 * 4 ** np.arange(5))
    assert len(np.unique(codes)) == NASBENCH101.size  # no two cells are described alike
    small = domain.choices()[NASBENCH101.index(NASBENCH101.to_batch([ONE_POOLING]))[0]]
    assert np.flatnonzero(small[:21]).tolist() == [0, 6] and small[21:].tolist() == [3, 0, 0, 0, 0]
    assert np.array_equal(domain.neighbors(7), NASBENCH101.neighbor_rows([7])[0])
    history = run(RegularisedEvolution(domain, 0), domain.lookup(domain.choices().sum(axis=1)), budget=60)
    assert history["stopped"].iloc[0] == "budget spent" and history["row"].is_unique


@pytest.mark.parametrize(
    ("signal", "rows"),
    [
        ("test@200", {
            96: [(93.84, 0.23), (71.50, 0.77), (45.59, 0.66)],
            192: [(93.97, None), (71.96, None), (45.97, None)],
            300: [(94.03, None), (72.23, None), (46.19, None)],
            500: [(94.12, 0.16), (72.51, 0.56), (46.40, 0.43)],
            1000: [(94.22, None), (72.85, None), (46.65, None)],
        }),
        ("valid@12", {
            50: [(93.47, 0.58), (70.59, 1.26), (44.22, 1.47)],
            96: [(93.71, 0.38), (71.14, 1.02), (44.81, 1.15)],
            107: [(93.74, 0.34), (71.25, 1.01), (44.89, 1.14)],
            192: [(93.88, 0.25), (71.62, 0.90), (45.27, 0.97)],
            300: [(93.93, 0.23), (71.85, 0.86), (45.52, 0.89)],
            500: [(94.00, 0.22), (72.08, 0.76), (45.72, 0.79)],
            1000: [(94.08, 0.23), (72.32, 0.64), (45.83, 0.72)],
        }),
    ],
)  # fmt: skip
def test_random_search_on_nasbench201(nasbench201, signal, rows):
    """Means of 2,000 simulated runs over strings, selected by test itself or by validation after 12 epochs:
    within their own standard error and rounding of the exact numbers, drawn without replacement."""
    table = nasbench201.table
    for place, dataset in enumerate(tables.DATASETS):
        test = table[tables.test_column(dataset)]
        exact = expected_random_search(
            test if signal == "test@200" else table[tables.valid_column(dataset, 12)], test, rows
        )
        for found in exact.itertuples():
            mean, std = rows[found.query][place]
            assert abs(found.mean - mean) < 3 * found.std / np.sqrt(2000) + 0.005, (dataset, found)
            # the error of a standard deviation of 2,000 values, wide for their long tails
            assert std is None or abs(found.std - std) < 0.1 * found.std + 0.005, (dataset, found)


# ---------------------------------------------------------------- histories on disk


class CutOff:
    """An objective that counts what it is asked for, and fails after so many."""

    def __init__(self, most):
        self.asked, self.most = 0, most

    def __call__(self, rows):
        self.asked += len(rows)
        if self.asked > self.most:
            raise InterruptedError("cut off")
        return np.sin(rows)


def test_searches_that_were_cut_off_go_on_with_the_seeds_that_are_missing(tmp_path):
    make = partial(RegularisedEvolution, table_domain(NASBENCH201))
    expected = run_many(make, CutOff(200), 30, range(4))
    with pytest.raises(InterruptedError):
        run_many(make, CutOff(75), 30, range(4), folder=tmp_path / "runs")
    stored = sorted((tmp_path / "runs").iterdir())
    assert [file.name for file in stored] == ["0.json.gz", "1.json.gz"]
    objective = CutOff(200)
    pd.testing.assert_frame_equal(
        run_many(make, objective, 30, range(4), folder=tmp_path / "runs"), expected, check_exact=True
    )
    assert objective.asked == 60


def test_a_damaged_history_is_named_and_made_again(tmp_path, capsys):
    make = partial(RegularisedEvolution, table_domain(NASBENCH201))
    expected = run_many(make, CutOff(100), 30, [3], folder=tmp_path)
    content = bytearray((tmp_path / "3.json.gz").read_bytes())
    for damage in (bytes(content[:20]), b"", bytes(content[:-6]) + b"\0" + bytes(content[-5:])):
        (tmp_path / "3.json.gz").write_bytes(damage)
        objective = CutOff(100)
        pd.testing.assert_frame_equal(run_many(make, objective, 30, [3], folder=tmp_path), expected)
        assert objective.asked == 30
        assert f"{tmp_path / '3.json.gz'} is damaged" in capsys.readouterr().err
        assert (tmp_path / "3.json.gz.damaged").exists() and (tmp_path / "3.json.gz").read_bytes() == content
