"""Week 4, a referee's ablation: its checks, the seal of a plan, and its two notebooks from one source."""

import json
import re

import lab_checks
import numpy as np
import pandas as pd
import pytest
import torch
import week4_checks
from week4_checks import ARMS, CHECKS, ENDPOINTS, as_gain, carry_out, check, made_up, paired, seal

from coursework import (
    answers,
    executed,
    notebook,
    points,
    require_links,
    require_made_from_source,
    require_nbgrader_makes,
    said,
)
from latentnas import stats
from latentnas.search.latent.ascent import gradient_ascent

SOLUTIONS, STUDENTS = notebook("week4_solutions"), notebook("week4")
NAMES = answers(SOLUTIONS)
FUNCTIONS = {"1": "registration", "2": "run_one", "3": "paired_difference", "4": "verdict", "5": "report"}
RIGHT = {exercise: NAMES[name] for exercise, name in FUNCTIONS.items()}


def planned(**changed):
    plan = RIGHT["1"]() | changed
    return lambda: {key: value for key, value in plan.items() if value is not None}


def searched(weight=None, at=-1, accuracy=None, unit=1.0):
    def run_one(model, evaluator, starts, w):
        end = gradient_ascent(model, starts, 50, 0.1, w if weight is None else weight).z[at]
        found = evaluator.query(model.decode(end))
        value = found["judged"].mean() if accuracy is None else accuracy(model, end, found)
        mega = found["flops"].mean() / 1e6
        return {"accuracy": value, "MFLOPs": unit * mega, "valid": 100 * found["valid"].mean()}

    return run_one


@torch.no_grad()
def predicted(model, end, found):
    return model.performance.unstandardise(model.performance(end)).mean()


def arms(table, endpoint):
    wide = table.pivot(index="seed", columns="arm", values=endpoint)
    return wide["method"], wide["comparator"]


def of_arms(function):
    return lambda table, endpoint: function(*arms(table, endpoint))


def as_rows_came(table, endpoint):
    first, second = (table.loc[table["arm"] == arm, endpoint].to_numpy() for arm in ("method", "comparator"))
    return stats.estimate(first - second)[:3]


def union_of_arms(method, comparator):
    (low, high), (least, most) = stats.mean_interval(method), stats.mean_interval(comparator)
    return (method - comparator).mean(), low - most, high - least


def with_mean(ends):
    return of_arms(lambda method, comparator: ((method - comparator).mean(), *ends(method - comparator)))


def is_refuted(low, high, margin):
    return high < -margin


def rule(holds, refuted):
    return lambda *interval: "holds" if holds(*interval) else "refuted" if refuted(*interval) else "undecided"


WRONG = {
    "1": {
        "the plan lacks margin": planned(margin=None),
        "`source` is empty": planned(source="  "),
        "are the same": planned(comparator=RIGHT["1"]()["method"]),
        "comparator are the same": planned(comparator=RIGHT["1"]()["method"].upper()),
        "`sentence` is empty": planned(sentence="TODO"),
        "as good as empty": planned(sentence="A"),
        "`comparator` is empty": planned(comparator=" tbd. "),
        "with several, one": planned(endpoint="accuracy or MFLOPs"),
        "should be one text": planned(endpoint=["accuracy", "MFLOPs"]),
        "above 0": planned(margin=0),
        "should be a number above 0": planned(margin="half a point"),
        "above 0, in the unit": planned(margin=float("inf")),
        "more than 5 points": planned(margin=50),
        "more than 100 of MFLOPs": planned(endpoint="MFLOPs", margin=1e9),
        "more than 10 of valid": planned(endpoint="valid", margin=100),
        "the seed -8 is not from 0": planned(seeds=range(-8, 0)),
        "is not from 0 to 2**31": planned(seeds=[*range(2000, 2008), 2**31]),
        "1001 seeds are more than 1000": planned(seeds=range(2000, 3001)),
        "One seed has no interval": planned(seeds=2001),
        "are too few": planned(seeds=[2001, 2002]),
        "occurs twice": planned(seeds=[2001, 2002, 2003, 2004, 2005, 2001]),
        "seed 340 may have been looked at": planned(seeds=range(340, 360)),
        "seed 1099 may have been looked at": planned(seeds=range(1099, 1110)),
        "a list of whole numbers": planned(seeds=[0.5] * 8),
        "be a list of whole numbers": planned(seeds=[*range(2000, 2008), 0.5]),
        "should be a list of whole numbers": planned(seeds="2001 to 2008"),
        "return a dict": lambda: list(RIGHT["1"]()),
    },
    "2": {
        "predicts of its own points": searched(accuracy=predicted),
        "is the best of the starts": searched(accuracy=lambda model, end, found: found["judged"].max()),
        "architectures of the starts": searched(at=0),
        "without a charge": searched(weight=0.0),
        "the settings are STEPS": searched(at=-2),
        "wrong where it is another": searched(weight=1.0),
        "complexity is rewarded": searched(weight=-1.0),
        "millions of": searched(unit=1e6),
        "one number, the mean": searched(accuracy=lambda model, end, found: found["judged"].to_numpy()),
        "wrong where one is none": searched(accuracy=lambda model, end, found: found["judged"].to_numpy().mean()),
        "means are of the others": searched(accuracy=lambda model, end, found: found["judged"].fillna(0).mean()),
        "how many there were": searched(accuracy=lambda model, end, found: found["judged"].fillna(50.0).mean()),
        "return a dict": lambda *arguments: 1.0,
        "what came is a dictionary with acc": lambda *arguments: {"acc": 1.0},
    },
    "3": {
        "the sign is wrong": of_arms(lambda method, comparator: stats.estimate(comparator - method)[:3]),
        "unpaired": of_arms(stats.mean_difference),
        "in the order of the rows": as_rows_came,
        "of one seed": of_arms(lambda method, comparator: ((method - comparator).iloc[0], np.nan, np.nan)),
        "median of the differences": of_arms(lambda m, c: stats.estimate(m - c, "median")[:3]),
        "has no interval": with_mean(lambda difference: (np.nan, np.nan)),
        "That is their range": with_mean(lambda difference: (difference.min(), difference.max())),
        "joins those of the two arms": of_arms(union_of_arms),
        "spread of single seeds": with_mean(lambda d: (d.mean() - d.std(), d.mean() + d.std())),
        "too wide": with_mean(lambda d: stats.mean_interval(d, 0.99)),
        "gives Student's": with_mean(lambda d: stats.mean_interval(d, 0.8)),
        "low and high are exchanged": with_mean(lambda d: stats.mean_interval(d)[::-1]),
        "are distances from it": with_mean(lambda d: (d.mean() - stats.mean_interval(d)[0],) * 2),
        "one standard error": with_mean(lambda d: (d.mean() - d.sem(), d.mean() + d.sem())),
        "1.96 standard errors": with_mean(lambda d: (d.mean() - 1.96 * d.sem(), d.mean() + 1.96 * d.sem())),
        "both ends should be NaN": with_mean(lambda d: stats.mean_interval(d)),
        "subtract the comparator's": of_arms(lambda method, comparator: (7.0, 6.0, 8.0)),
        "three numbers": of_arms(lambda method, comparator: (method - comparator).mean()),
    },
    "4": {
        "are all smaller than": rule(lambda low, high, margin: low > 0, lambda low, high, margin: high < 0),
        "by less than the margin": rule(lambda low, high, margin: low > -margin and high > 0, is_refuted),
        "is it worse by more": rule(lambda low, high, margin: low > -margin, lambda low, high, margin: high < 0),
        "from -1.0 to -0.2": rule(lambda low, high, margin: high > -margin, lambda low, high, margin: True),
        "however large": rule(lambda low, high, margin: -margin < low and high < margin, is_refuted),
        "not always the same": lambda low, high, margin: RIGHT["4"](low, high, 0.5),
        "from -0.3 to -0.25": rule(lambda low, high, margin: low > -margin, lambda low, high, margin: high < -0.5),
        "from -1.8 to -1.2": rule(lambda low, high, margin: low > -min(margin, 1.0), is_refuted),
        "its middle decides nothing": rule(lambda low, high, margin: (low + high) / 2 > -margin, is_refuted),
        "more than the margin, which is": rule(lambda low, high, margin: low > -2 * margin, is_refuted),
        "has no interval": rule(lambda low, high, margin: low > -margin, lambda low, high, margin: not high >= -margin),
        "return one of": lambda low, high, margin: low > -margin,
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("exercise", WRONG)
def test_a_right_answer_passes_and_a_typical_wrong_one_is_told_what_is_wrong(exercise, capsys):
    assert check(exercise, RIGHT[exercise]) == 1, capsys.readouterr().out
    texts = {words: said(capsys, check, exercise, answer) for words, answer in WRONG[exercise].items()}
    assert len(texts) >= 3 and not [words for words, text in texts.items() if words not in text], texts
    for answer in (lambda *arguments: 1 / 0, lambda *arguments: None, None, "text", lambda *arguments: {}):
        said(capsys, check, exercise, answer)


@pytest.fixture
def carried(monkeypatch):
    """The plan carried out on made-up runs, and a report of it."""
    monkeypatch.setattr(week4_checks, "carried_out", {})
    numbers = made_up(3).set_index(["seed", "arm"])
    plan = RIGHT["1"]()
    places = dict(zip(plan["seeds"], sorted({seed for seed, _ in numbers.index})))
    table = carry_out(plan, lambda seed, arm: numbers.loc[(places[seed], arm)].to_dict())
    fixed = {key: plan[key] for key in ("endpoint", "margin", "seeds")}
    return table, {"plan": seal(plan), **fixed, "difference": paired(table, "accuracy"), "verdict": "refuted"}


def test_arrays_and_columns_in_place_of_a_verdict_are_told_what_it_should_be(capsys):
    for value in (np.array(["holds", "refuted"]), pd.Series([1, 2]), pd.DataFrame({"a": [1]}), ["holds"]):
        assert "return one of holds" in said(capsys, check, "4", lambda *given, value=value: value)


def test_a_check_without_one_of_its_answers_is_told_so(capsys):
    assert "missing a required argument: 'plan'" in said(capsys, check, "5", lambda: {})


def test_a_report_has_to_agree_with_its_plan_and_its_runs(carried, capsys):
    table, report = carried
    assert check("5", lambda: report, RIGHT["1"]) == 1, capsys.readouterr().out
    method, comparator = arms(table, "accuracy")
    differences = method - comparator
    changes = {
        "has another endpoint": {"endpoint": "MFLOPs"},
        "has another margin": {"margin": 0.1},
        "has other seeds": {"seeds": report["seeds"][:1]},
        "should be the seal": {"plan": "abc"},
        "`plan` in the report should be one text": {"plan": [report["plan"]]},
        "`endpoint` in the report should be one text": {"endpoint": np.array(["accuracy", "valid"])},
        "`verdict` in the report should be one text": {"verdict": np.array(["holds", "refuted"])},
        "list of whole numbers, those of the plan": {"seeds": None},
        "list of whole numbers, those": {"seeds": [2001, "x"]},
        "another margin than": {"margin": np.array([0.5, 0.5])},
        "unpaired": {"difference": stats.mean_difference(method, comparator)},
        "of one seed": {"difference": (differences.iloc[2], np.nan, np.nan)},
        "That is their range": {"difference": (differences.mean(), differences.min(), differences.max())},
        "does not follow": {"verdict": "undecided"},
        "with the keys": {"more": 1},
    }
    for words, change in changes.items():
        assert words in said(capsys, check, "5", lambda change=change: report | change, RIGHT["1"])
    assert "the dict that was registered" in said(capsys, check, "5", lambda: report, lambda: [*RIGHT["1"]()])
    for field, value in (("endpoint", "MFLOPs"), ("margin", 5.0), ("seeds", list(range(300, 308)))):
        changed, other = planned(**{field: value}), report | ({field: value} if field != "sentence" else {})
        text = said(capsys, check, "5", lambda other=other, changed=changed: other | {"plan": seal(changed())}, changed)
        assert "changed after the run" in text and field in text


def test_a_plan_with_more_fields_and_its_better_end_stay_as_they_were(carried, capsys, monkeypatch):
    _, report = carried
    more = planned(notes="added after the run")
    text = said(capsys, check, "5", lambda: report | {"plan": seal(more())}, more)
    assert "changed after the run (notes)" in text
    monkeypatch.setitem(ENDPOINTS, "accuracy", "lower")
    text = said(capsys, check, "5", lambda: report | {"plan": seal(RIGHT["1"]())}, RIGHT["1"])
    assert "changed after the run (ENDPOINTS)" in text


def test_differences_that_are_all_alike_have_no_interval(monkeypatch, capsys):
    monkeypatch.setattr(week4_checks, "carried_out", {})
    plan = planned(endpoint="valid")
    table = carry_out(plan(), lambda seed, arm: {"valid": 100.0})
    report = {"plan": seal(plan()), "difference": RIGHT["3"](table, "valid"), "verdict": "undecided"}
    report |= {key: plan()[key] for key in ("endpoint", "margin", "seeds")}
    assert check("5", lambda: report, plan) == 1, capsys.readouterr().out
    for difference in ((0.0, 0.0, 0.0), (0.0, -1.0, 1.0)):
        text = said(capsys, check, "5", lambda difference=difference: report | {"difference": difference}, plan)
        assert "All differences are alike" in text
    assert "mean is not right" in said(capsys, check, "5", lambda: report | {"difference": (1.0, 1.0, 1.0)}, plan)


def test_a_plan_with_less_is_better_is_judged_the_other_way_round(carried, capsys, monkeypatch):
    table, report = carried
    plan = planned(endpoint="MFLOPs", margin=0.5)
    monkeypatch.setitem(week4_checks.carried_out, "plan", plan())
    monkeypatch.setitem(week4_checks.carried_out, "seal", seal(plan()))
    numbers = {"plan": seal(plan()), "endpoint": "MFLOPs", "difference": paired(table, "MFLOPs")}
    assert check("5", lambda: report | numbers | {"verdict": "holds"}, plan) == 1, capsys.readouterr().out
    assert "less is better" in said(capsys, check, "5", lambda: report | numbers, plan)


def cell_with(words):
    [source] = [source for cell in SOLUTIONS["cells"] if words in (source := "".join(cell["source"]))]
    return source


@pytest.mark.parametrize("endpoint", ["accuracy", "MFLOPs"])
def test_the_run_the_figure_and_the_report_say_one_thing_whichever_way_is_better(endpoint, monkeypatch, capsys):
    monkeypatch.setattr(week4_checks, "carried_out", {})
    names, plan = answers(SOLUTIONS), planned(endpoint=endpoint)
    exec(cell_with("import matplotlib.pyplot"), names)
    made = made_up(3).set_index(["seed", "arm"])
    places = dict(zip(plan()["seeds"], sorted({seed for seed, _ in made.index})))
    names |= {"registration": plan, "small_model": lambda: (None, None, int), "display": lambda *a, **k: None}
    arm_of = {1.0: "method", 0.0: "comparator"}
    names["run_one"] = lambda model, evaluator, seed, weight: made.loc[(places[seed], arm_of[weight])].to_dict()
    names["solved"] = {"1", "2", "3", "4"}
    exec(cell_with("table = carry_out("), names)
    verdict = "refuted" if endpoint == "accuracy" else "holds"  # the method has less of both
    assert f"the sentence: {verdict}" in capsys.readouterr().out
    exec(cell_with("plots.new_figure"), names)
    right = names["axes"][0, 1]
    [margin] = [line for line in right.lines if line.get_label() == "a loss of the margin"]
    [interval] = [line for line in right.lines if line.get_label().startswith("95 %")]
    beyond = min(interval.get_xdata()) > margin.get_xdata()[0]
    assert beyond == (verdict == "holds")
    assert check("5", names["report"], plan) == 1 and names["report"]()["verdict"] == verdict, capsys.readouterr().out


def test_where_less_is_better_a_gain_has_the_other_sign():
    assert as_gain((-2.0, -3.0, -1.0), "MFLOPs") == (2.0, 1.0, 3.0)
    assert as_gain((-2.0, -3.0, -1.0), "accuracy") == (-2.0, -3.0, -1.0)


@pytest.mark.slow
def test_an_endpoint_of_ones_own_is_entered_with_its_direction(monkeypatch, capsys):
    plan = planned(endpoint="uniqueness")
    assert 'ENDPOINTS["uniqueness"]' in said(capsys, check, "1", plan)
    monkeypatch.setitem(ENDPOINTS, "uniqueness", "more")
    assert '"higher" or "lower"' in said(capsys, check, "1", plan)
    seals = set()
    for better in ("higher", "lower"):
        monkeypatch.setitem(ENDPOINTS, "uniqueness", better)
        assert check("1", plan) == 1 == check("2", RIGHT["2"]), capsys.readouterr().out
        seals.add(seal(plan()))
    assert len(seals) == 2
    monkeypatch.setitem(ENDPOINTS, "accuracy", "lower")
    assert "higher is better" in said(capsys, check, "1", RIGHT["1"])


def test_a_plan_at_the_very_limits_passes(capsys):
    seeds = range(2000, 2006), range(2000, 3000), range(2**31 - 6, 2**31), range(400, 1000)
    for plan in (planned(margin=5), planned(endpoint="valid", margin=10), *(planned(seeds=these) for these in seeds)):
        assert check("1", plan) == 1, capsys.readouterr().out


@pytest.mark.parametrize("form", [range, np.arange, set, torch.arange, tuple, pd.Series, "margin"])
def test_a_plan_of_any_types_has_one_seal_and_can_be_carried_out(form, monkeypatch, capsys):
    monkeypatch.setattr(week4_checks, "carried_out", {})
    seeds = form(2001, 2009) if form in (range, np.arange, torch.arange) else range(2001, 2009)
    seeds = form(seeds) if form in (set, tuple, pd.Series) else seeds
    plan = planned(seeds=seeds, margin=np.float32(0.5) if form == "margin" else np.float64(0.5))
    assert check("1", plan) == 1, capsys.readouterr().out
    table = carry_out(plan(), lambda seed, arm: {"accuracy": seed % 7 + (arm == "method") * seed % 3})
    assert {type(seed) for seed in table["seed"].tolist()} == {int} and week4_checks.carried_out["seal"] == seal(plan())
    assert seal(plan()) == seal(RIGHT["1"]()) == seal(planned(margin=torch.tensor(0.5))())
    difference = paired(table, "accuracy")
    report = {"plan": seal(plan()), "difference": difference, "verdict": week4_checks.judged(*difference[1:], 0.5)}
    report |= {key: plan()[key] for key in ("endpoint", "margin", "seeds")}
    assert check("5", lambda: report, plan) == 1, capsys.readouterr().out


class Run:
    """A run that remembers what it was asked, and fails at one place."""

    def __init__(self, fails=None, more=0.0, error=ZeroDivisionError):
        self.fails, self.more, self.error, self.asked = fails, more, error, []

    def __call__(self, seed, arm):
        if (seed, arm) == self.fails:
            raise self.error
        self.asked.append((seed, arm))
        return {"accuracy": seed + (arm == "method") * seed**0.5 + self.more}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_run_that_was_cut_off_goes_on_with_the_rest(error, monkeypatch, capsys):
    monkeypatch.setattr(week4_checks, "carried_out", {})
    first, second, plan = Run((2004, "comparator"), error=error), Run(), RIGHT["1"]()
    with pytest.raises(error):
        carry_out(plan, first)
    assert "7 of 16 runs are kept" in capsys.readouterr().out and len(first.asked) == 7
    assert "nothing was carried out" in said(capsys, check, "5", RIGHT["5"], RIGHT["1"])
    table = carry_out(plan, second)
    assert second.asked == [*first.asked[:2], (2004, "comparator"), *second.asked[3:]] and len(second.asked) == 11
    assert table.equals(pd.DataFrame([{"seed": s, "arm": a, **Run()(s, a)} for s in plan["seeds"] for a in ARMS]))
    assert "times" not in capsys.readouterr().out


def test_an_endpoint_that_no_run_has_is_found_at_the_first_row(monkeypatch):
    monkeypatch.setattr(week4_checks, "carried_out", {})
    run = Run()
    with pytest.raises(lab_checks.Wrong, match="the endpoint of the plan; what came has accuracy"):
        carry_out(planned(endpoint="valid")(), run)
    assert len(run.asked) == 1


def test_a_plan_that_is_run_until_it_pleases_is_counted(monkeypatch, capsys):
    monkeypatch.setattr(week4_checks, "carried_out", {})
    plan = RIGHT["1"]()
    for more, times in ((0, 0), (0, 0), (1, 2), (2, 3)):
        table = carry_out(plan, Run(more=more))
        text = capsys.readouterr().out
        assert ("times" in text) == (times > 0) and (not times or f"This plan was run {times} times" in text)
        assert table["accuracy"].iloc[0] == Run(more=more)(2001, "method")["accuracy"]
    with pytest.raises(ZeroDivisionError):  # a look at a few rows counts, too
        carry_out(plan, Run((2002, "method"), more=3))
    table = carry_out(plan, Run(more=3))
    report = {"plan": seal(plan), "difference": paired(table, "accuracy"), "verdict": "holds"}
    report |= {key: plan[key] for key in ("endpoint", "margin", "seeds")}
    capsys.readouterr()
    assert check("5", lambda: report, RIGHT["1"]) == 1 and "This plan was run 4 times" in capsys.readouterr().out


def test_a_run_without_a_value_is_named(carried, monkeypatch, capsys):
    monkeypatch.setattr(week4_checks, "carried_out", {})
    _, report = carried
    carry_out(RIGHT["1"](), lambda seed, arm: {"accuracy": np.nan if (seed, arm) == (2003, "method") else seed})
    assert "no value (NaN) for seed 2003, method" in capsys.readouterr().out
    assert "no value (NaN) for seed 2003, method" in said(capsys, check, "5", lambda: report, RIGHT["1"])


def test_a_report_before_the_run_and_a_second_plan_are_told_so(monkeypatch, capsys):
    monkeypatch.setattr(week4_checks, "carried_out", {})
    assert "nothing was carried out" in said(capsys, check, "5", RIGHT["5"], RIGHT["1"])
    for plan in (planned(), planned(), planned(margin=1.0)):
        carry_out(plan(), lambda seed, arm: {"accuracy": seed})
    assert capsys.readouterr().out.count("Both belong into the report") == 1


def test_the_seal_changes_with_every_field_and_with_nothing_else():
    plan = RIGHT["1"]()
    changed = [seal(plan | {field: "other"}) for field in plan]
    assert len({seal(plan), *changed}) == len(plan) + 1
    assert seal(dict(reversed(plan.items()))) == seal(plan) and re.fullmatch("[0-9a-f]{12}", seal(plan))


def test_a_made_up_table_has_pairs_in_no_order():
    table = made_up(5)
    assert (table.groupby("seed")["arm"].nunique() == 2).all() and not table["seed"].is_monotonic_increasing
    mean, low, high = paired(table, "accuracy")
    _, least, most = stats.mean_difference(*arms(table, "accuracy"))
    assert low < mean < high and high - low < 0.5 * (most - least)


def test_both_arms_of_a_seed_have_the_same_starts_and_another_seed_has_others():
    _, _, starts_of = week4_checks.small_model()
    assert torch.equal(starts_of(2001), starts_of(2001)) and not torch.equal(starts_of(2001), starts_of(2002))


def test_the_students_notebook_is_what_its_source_gives():
    require_made_from_source(SOLUTIONS, STUDENTS, len(RIGHT))
    require_links(json.dumps(SOLUTIONS), at_least=12)
    assert points(SOLUTIONS) == points(STUDENTS) == 30 and set(CHECKS) == set(RIGHT)


def test_nbgrader_makes_the_same_notebook(tmp_path):
    pytest.importorskip("nbgrader")
    require_nbgrader_makes("week4", SOLUTIONS, STUDENTS, tmp_path)


def test_the_stored_solutions_are_executed():
    stored = json.dumps([output for cell in SOLUTIONS["cells"] for output in cell.get("outputs", ())])
    assert stored.count(": right.") == 6 and "not yet" not in stored
    assert stored.count(seal(RIGHT["1"]())) >= 3  # before, at and after the run


@pytest.mark.slow
def test_an_unsolved_notebook_runs_to_its_end_from_any_folder(tmp_path):
    outputs, text = executed(STUDENTS, tmp_path)
    assert text.count("not finished") + text.count("nothing was carried out") == len(RIGHT)
    assert not [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.slow
def test_the_solved_notebook_runs_to_its_end_from_any_folder(tmp_path):
    outputs, text = executed(SOLUTIONS, tmp_path)
    assert text.count(": right.") == 6 and "not yet" not in text
    images = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(images) == 1 and images[0]["metadata"]["image/png"]["alt"]
    assert pd.Series(re.findall("plan ([0-9a-f]{12})", text)).nunique() == 1
