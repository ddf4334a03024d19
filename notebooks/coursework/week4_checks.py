"""Checks of week 4, a referee's ablation: `check("3", paired_difference)` says in words what is wrong.

A plan is a dict that is registered before the run. `carry_out` seals it: it keeps a digest of the plan with the
results, and exercise 5 compares. A hidden test of exercise 3 takes another table: `check("3", answer, seed=3)`.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import lab_checks
import numpy as np
import pandas as pd
import torch
from lab_checks import Wrong, checks_in, close, kind, number, result_of, three_numbers

from latentnas import benchmarks, evaluate, stats
from latentnas.measure.small import load_small
from latentnas.measure.surrogate import evaluator_of
from latentnas.search.latent.ascent import gradient_ascent, prior_start

MEASURED = {"accuracy": "higher", "MFLOPs": "lower", "valid": "higher"}  # by run_one, and which of them is better
ENDPOINTS = dict(MEASURED)  # of plans; a student adds one, as in ENDPOINTS["uniqueness"] = "higher"
FIELDS = ("sentence", "source", "method", "comparator", "endpoint", "margin", "seeds")
LOOKED_AT = {*range(400), *range(1000, 1100)}  # where seeds lie that notebooks and the choice of settings have used
LEAST, ENOUGH = 6, 1000  # seeds of a plan
MOST = {"accuracy": 5, "MFLOPs": 100, "valid": 10}  # a margin above lets nearly everything pass
STEPS, STEP_SIZE, STARTS = 50, 0.1, 16  # of an ascent
ARMS = ("method", "comparator")
VERDICTS = ("holds", "refuted", "undecided")
UNFILLED = {"", "todo", "to do", "tbd", "none", "xxx"}  # stands where a text of the plan is still to be written

carried_out: dict[str, Any] = {}  # seal, plan and table of the last run of a plan; of each plan its rows and runs


def settled(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan with its seeds as a list of whole numbers and its margin as a float, of whatever type these are."""
    plan = {field: plain(value) for field, value in plan.items()}
    if isinstance(plan.get("seeds"), list) and all(isinstance(seed, int | float) for seed in plan["seeds"]):
        plan["seeds"] = [int(seed) if seed % 1 == 0 else seed for seed in plan["seeds"]]
    if isinstance(plan.get("margin"), int) and not isinstance(plan["margin"], bool):
        plan["margin"] = float(plan["margin"])
    return plan


def plain(value: Any) -> Any:
    """A value with Python's own numbers and lists in place of those of NumPy, PyTorch and pandas."""
    if isinstance(value, str | bytes | Mapping):
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Iterable):
        return [plain(one) for one in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value


def seal(plan: Mapping[str, Any]) -> str:
    """Twelve letters and digits that change with anything in the plan, and with which of its endpoint is better."""
    sealed = settled(plan) | {"better": ENDPOINTS.get(str(plan.get("endpoint")))}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True, default=str).encode()).hexdigest()[:12]


def as_gain(difference: Sequence[float], endpoint: str) -> tuple[float, ...]:
    """Mean, low and high of method less comparator, turned so that more is better: where less of the endpoint is
    better, the signs change and the ends swap places."""
    mean, low, high = difference
    return (mean, low, high) if ENDPOINTS[endpoint] == "higher" else (-mean, -high, -low)


def carry_out(plan: Mapping[str, Any], run: Callable[[int, str], Mapping[str, float]]) -> pd.DataFrame:
    """One row for each seed and arm: `seed`, `arm` and what `run(seed, arm)` returns. Seals the plan.

    Finished rows are kept, so a second call after an error goes on with the rest. It repeats the first seed, and after
    a whole run all seeds: a `run` that gives other values is another one. Then all is run anew, and the runs counted.
    """
    plan = settled(plan)
    sealed, endpoint = seal(plan), plan["endpoint"]
    kept = carried_out.setdefault("kept", {}).setdefault(sealed, {"rows": {}, "times": 1})
    rows, fresh = kept["rows"], {}
    places = [(seed, arm) for seed in plan["seeds"] for arm in ARMS]
    repeated = places if len(rows) == len(places) else places[:2]
    for place in places:
        if place in rows and place not in repeated:
            continue
        try:
            row = row_of(place, run(*place), endpoint)
        except BaseException:  # also of a student who stops the cell
            print(f"stopped at seed {place[0]}, {place[1]}: {len(rows)} of {len(places)} runs are kept for this plan")
            raise
        if place in rows and not np.isclose(row[endpoint], rows[place][endpoint], rtol=1e-5, equal_nan=True):
            kept["times"] += 1
            rows.clear()
            rows.update(fresh)
        fresh[place] = rows[place] = row
    table = pd.DataFrame([rows[place] for place in places])
    carried_out.update(seal=sealed, plan=plan, table=table)
    print(f"plan {sealed}, {len(plan['seeds'])} seeds, {len(rows)} runs")
    if kept["times"] > 1:
        print(f"{run_so_often(sealed)} This belongs into the report.")
    if any(other["rows"] for key, other in carried_out["kept"].items() if key != sealed):
        print("Another plan was run before this one. Both belong into the report.")
    if missing := without_value(table, endpoint):
        print(missing)
    return table.copy()


def row_of(place: tuple[int, str], values: Any, endpoint: str) -> dict[str, Any]:
    if not isinstance(values, Mapping) or endpoint not in values:
        found = f"has {', '.join(map(str, values))}" if isinstance(values, Mapping) else f"is {kind(values)}"
        raise Wrong(f"`run` should return a dict with {endpoint}, the endpoint of the plan; what came {found}.")
    values = {name: plain(value) for name, value in values.items()} | {endpoint: number(values[endpoint], endpoint)}
    return {"seed": place[0], "arm": place[1], **values}


def run_so_often(sealed: str) -> str:
    times = carried_out.get("kept", {}).get(sealed, {}).get("times", 1)
    return f"This plan was run {times} times, with other results." if times > 1 else ""


def without_value(table: pd.DataFrame, endpoint: str) -> str:
    """Which runs have no value of the endpoint, in words, or nothing."""
    places = [f"seed {seed}, {arm}" for seed, arm in table.loc[table[endpoint].isna(), ["seed", "arm"]].to_numpy()]
    if not places:
        return ""
    return (
        f"{endpoint} has no value (NaN) for {'; '.join(places)}, so this pair has no difference. Was none of its"
        " architectures valid? An endpoint that some runs do not have cannot be compared; leaving seeds out bends it."
    )


def small_model() -> tuple[Any, Any, Callable[[int], torch.Tensor]]:
    """The small NGAE of the project, what evaluates architectures, and the starts [STARTS, D] of each seed."""
    mu = _codes()
    return load_small("ngae"), _evaluator()[1], lambda seed: prior_start(mu, STARTS, seed)


@cache
def _evaluator() -> tuple[Any, Any]:
    table = benchmarks.load("enas", "bundled")
    return table, evaluator_of(table)


@cache
def _codes() -> torch.Tensor:
    table, _ = _evaluator()
    return evaluate.encode_all(load_small("ngae"), table.batch[table.split(0)[0][:2000]])


def words(plan: Mapping[str, Any], field: str) -> str:
    value = plan[field]
    if not isinstance(value, str):
        raise Wrong(f"`{field}` should be one text, but what came is {kind(value)}.")
    if len(value.strip()) < 3 or value.strip(" .?!").casefold() in UNFILLED:
        raise Wrong(f"`{field}` is empty or as good as empty. Whoever repeats your run has nothing but this plan.")
    return value.strip()


def check_1(answer: Callable) -> None:
    plan = result_of(answer)
    if not isinstance(plan, dict):
        raise Wrong(f"return a dict with the keys {', '.join(FIELDS)}; what came is {kind(plan)}.")
    missing = [field for field in FIELDS if field not in plan]
    if missing:
        raise Wrong(f"the plan lacks {', '.join(missing)}. What is not fixed before the run can be bent after it.")
    for field in ("sentence", "source", "method", "comparator"):
        words(plan, field)
    if plan["method"].strip().casefold() == plan["comparator"].strip().casefold():
        raise Wrong("method and comparator are the same. Which one thing is taken away in the comparator?")
    plan = settled(plan)
    words(plan, "endpoint")
    if plan["endpoint"] not in ENDPOINTS:
        known = ", ".join(ENDPOINTS)
        raise Wrong(
            f"the endpoint should be one of {known}. One: with several, one of them is met by luck. Your own is entered"
            ' first, as in ENDPOINTS["uniqueness"] = "higher".'
        )
    if ENDPOINTS[plan["endpoint"]] != MEASURED.get(plan["endpoint"], ENDPOINTS[plan["endpoint"]]):
        raise Wrong(f"of {plan['endpoint']}, {MEASURED[plan['endpoint']]} is better. Enter your own endpoints only.")
    if ENDPOINTS[plan["endpoint"]] not in ("higher", "lower"):
        raise Wrong(f'ENDPOINTS["{plan["endpoint"]}"] should be "higher" or "lower": which of it is better?')
    margin, seeds = plan["margin"], plan["seeds"]
    if not isinstance(margin, float) or not 0 < margin < float("inf"):
        raise Wrong(
            "the margin should be a number above 0, in the unit of the endpoint. What loss would still be none?"
        )
    most = MOST.get(plan["endpoint"], margin)
    if margin > most:
        what = f"{most} points of accuracy" if plan["endpoint"] == "accuracy" else f"{most} of {plan['endpoint']}"
        raise Wrong(f"a margin of more than {what} lets nearly everything pass. What loss would matter?")
    if isinstance(seeds, int):
        raise Wrong("`seeds` should be a list. One seed has no interval, so it refutes nothing.")
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise Wrong("`seeds` should be a list of whole numbers.")
    strange = [seed for seed in seeds if not 0 <= seed < 2**31]
    if strange:
        raise Wrong(
            f"the seed {strange[0]} is not from 0 to 2**31 - 1. No run takes another, so none could be repeated."
        )
    if len({*seeds}) < len(seeds):
        raise Wrong("a seed occurs twice. The same run counted twice makes an interval narrower, and nothing else.")
    if len(seeds) > ENOUGH:
        raise Wrong(f"{len(seeds)} seeds are more than {ENOUGH}: nobody waits for so many runs.")
    if len(seeds) < LEAST:
        raise Wrong(f"{len(seeds)} seeds are too few: with fewer than {LEAST} the interval says next to nothing.")
    used = sorted({*seeds} & LOOKED_AT)
    if used:
        raise Wrong(
            f"the seed {used[0]} may have been looked at: notebooks have used many below 400, and 1000 to 1099. Results"
            " chosen on a seed are too good on it."
        )


def reference(model: Any, evaluator: Any, starts: torch.Tensor, weight: float) -> dict[str, float]:
    """What exercise 2 asks for."""
    z = gradient_ascent(model, starts, STEPS, STEP_SIZE, weight).z[-1]
    return _measured(evaluator.query(model.decode(z)))


def _measured(found: pd.DataFrame) -> dict[str, float]:
    means = {"accuracy": found["judged"].mean(), "MFLOPs": found["flops"].mean() / 1e6}
    return {key: float(value) for key, value in (means | {"valid": 100 * found["valid"].mean()}).items()}


def check_2(answer: Callable) -> None:
    model, evaluator, starts_of = small_model()
    starts = starts_of(40139)[:5]  # where a step fewer or more ends at other architectures, with weight 1 and 0
    right = reference(model, evaluator, starts, 1.0)
    found = result_of(answer, model, evaluator, starts, 1.0)
    if not isinstance(found, Mapping) or {*found} != {*MEASURED}:
        raise Wrong(f"return a dict with the keys {', '.join(MEASURED)}; what came is {kind(found)}.")
    try:
        found = {key: number(value, key) for key, value in found.items()}
    except Wrong:
        raise Wrong("each of the three values should be one number, the mean over all starts.") from None
    if all(close(found[key], right[key]) for key in right):
        right = reference(model, evaluator, starts, 0.0)
        found = result_of(answer, model, evaluator, starts, 0.0)
        if not all(close(number(found[key], key), right[key]) for key in right):
            raise Wrong(
                "right where `weight` is 1, wrong where it is another. Both arms of the plan call this function."
            )
        far = 10 * starts  # from where some ascents end at no architecture
        right = reference(model, evaluator, far, 1.0)
        found = result_of(answer, model, evaluator, far, 1.0)
        if not all(close(number(found[key], key), right[key]) for key in right):
            raise Wrong(
                "right where all graphs are architectures, wrong where one is none. Its `judged` and `flops` are NaN:"
                " these means are of the others, and `valid` says how many there were."
            )
        return
    end = gradient_ascent(model, starts, STEPS, STEP_SIZE, 1.0).z[-1]
    with torch.no_grad():
        predicted = model.performance.unstandardise(model.performance(end)).mean().item()
    if close(found["accuracy"], predicted):
        raise Wrong(
            "your accuracy is what the model predicts of its own points. The evaluator judges the architecture."
        )
    if close(found["accuracy"], evaluator.query(model.decode(end))["judged"].max()):
        raise Wrong("your accuracy is the best of the starts. The endpoint is their mean.")
    others = {
        "these are the architectures of the starts. Decode where the ascent ends.":
            _measured(evaluator.query(model.decode(starts))),
        "with `weight` 1 you return what the ascent without a charge finds. Hand the weight on.":
            reference(model, evaluator, starts, 0.0),
        "complexity is rewarded. `gradient_ascent` subtracts weight times complexity by itself.":
            reference(model, evaluator, starts, -1.0),
    }  # fmt: skip
    for mistake, other in others.items():
        if close(found["accuracy"], other["accuracy"]):
            raise Wrong(mistake)
    key = next(key for key in right if not close(found[key], right[key]))
    units = {
        "MFLOPs": "millions of `flops`",
        "valid": "percent of the starts",
        "accuracy": "percent, the mean of `judged`",
    }
    raise Wrong(f"`{key}` is not right. It should be {units[key]}; the settings are STEPS and STEP_SIZE.")


def made_up(seed: int = 0, seeds: int = 8) -> pd.DataFrame:
    """A table of runs that was invented: seeds differ a lot, arms a little, rows are in no order."""
    random = np.random.default_rng(seed)
    level = random.normal(80, 6, seeds)
    rows = [
        {"seed": 50 + 3 * place, "arm": arm, "accuracy": value, "MFLOPs": 4 * value + random.normal()}
        for place, base in enumerate(level)
        for arm, value in (("method", base - 1.5 + random.normal(0, 0.4)), ("comparator", base))
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed, ignore_index=True)


def paired(table: pd.DataFrame, endpoint: str) -> tuple[float, float, float]:
    """What exercise 3 asks for."""
    wide = table.pivot(index="seed", columns="arm", values=endpoint)
    return stats.estimate(wide["method"] - wide["comparator"])[:3]


def difference_of(found: Any) -> np.ndarray:
    return np.array(three_numbers(found, "mean", "low", "high"))


def mistake_in(found: np.ndarray, table: pd.DataFrame, endpoint: str) -> str:
    """What is wrong with a mean and its interval, or nothing."""
    right = np.array(paired(table, endpoint))
    if np.allclose(found, right, rtol=1e-4, atol=1e-5, equal_nan=True):
        return ""
    by_arm = {arm: part.set_index("seed")[endpoint] for arm, part in table.groupby("arm", sort=False)}
    method, comparator = by_arm["method"], by_arm["comparator"]
    differences = (method - comparator).to_numpy()
    if close(found[0], -right[0]) and not close(found[0], right[0]):
        return "the sign is wrong: the difference is method less comparator."
    if close(found, stats.mean_difference(method, comparator)):
        return "your interval is unpaired. Both arms of a seed share their starts: take differences seed by seed first."
    as_they_came = method.to_numpy() - comparator.to_numpy()
    if close(found, stats.estimate(as_they_came)[:3]):
        return "you subtract in the order of the rows. The rows of the two arms have other seeds: join them by `seed`."
    if not close(found[0], right[0]):
        if any(close(found[0], value) for value in differences):
            return "this is the difference of one seed. The plan has several; use all of them."
        if close(found[0], np.median(differences)):
            return "this is the median of the differences. The plan asks for their mean."
        return "the mean is not right. For each seed, subtract the comparator's value from the method's; then average."
    if np.isnan(right[1:]).any():
        return "the mean is right. All differences are alike and say nothing of the spread, so both ends should be NaN."
    if close(found[1:], [right[2] - right[0]] * 2):
        return "the mean is right, low and high are distances from it. Give the ends themselves."
    if np.isnan(found[1:]).any() or close(found[1], found[2]):
        return "the mean is right, but it has no interval. One number refutes nothing."
    if close(found[1:], [differences.min(), differences.max()]):
        return "your interval spans the differences of all seeds. That is their range; how sure is their mean?"
    values = table[endpoint]
    union = [values.min() - values.max(), values.max() - values.min()]
    ends = [stats.mean_interval(arm) for arm in (method, comparator)]
    crossed = [ends[0][0] - ends[1][1], ends[0][1] - ends[1][0]]
    if close(found[1:], union) or close(found[1:], crossed):
        return (
            "your interval joins those of the two arms. They share their seeds: make one interval, of the differences."
        )
    spread = differences.std(ddof=1)
    if close(found[2] - found[0], spread) or close(found[2] - found[0], 1.96 * spread):
        return (
            "your interval is the spread of single seeds. That of their mean is narrower by the root of their number."
        )
    if close(found[1:], right[:0:-1]):
        return "the mean is right, but low and high are exchanged."
    if close(found[2] - found[0], spread / len(differences) ** 0.5):
        return "your interval is mean ± one standard error. How many of these make 95 % with so few seeds?"
    if close(found[2] - found[0], 1.96 * spread / len(differences) ** 0.5):
        return "your interval takes 1.96 standard errors, as with many seeds. With few of them Student's t is wider."
    if found[1] < right[1] and found[2] > right[2]:
        return "the mean is right, your interval is too wide. Is it one of the differences, at 95 %?"
    return "the mean is right, its interval is not. `stats.estimate` of the differences gives Student's at 95 %."


def check_3(answer: Callable, seed: int = 0) -> None:
    alike = made_up(seed).assign(valid=100.0)
    for table, endpoint in ((made_up(seed), "accuracy"), (made_up(seed + 1, 6), "MFLOPs"), (alike, "valid")):
        mistake = mistake_in(difference_of(result_of(answer, table, endpoint)), table, endpoint)
        if mistake:
            raise Wrong(mistake)


def judged(low: float, high: float, margin: float) -> str:
    """What exercise 4 asks for."""
    if low > -margin:
        return "holds"
    return "refuted" if high < -margin else "undecided"


def check_4(answer: Callable) -> None:
    nan = float("nan")
    cases = [
        ((-0.2, 0.3, 0.5), "Losses that the interval allows are all smaller than the margin"),
        ((-3.0, -1.0, 0.5), "All values in the interval are losses of more than the margin"),
        ((-0.4, -0.1, 0.5), "The method is worse for sure, but by less than the margin that was called none"),
        ((-1.0, -0.2, 0.5), "The method is worse for sure, but is it worse by more than the margin"),
        ((-2.0, 1.0, 0.5), "An interval that has both in it, a loss that matters and none, decides nothing"),
        ((0.8, 2.0, 0.5), "A gain is no loss, however large"),
        ((-0.2, 4.0, 0.5), "A gain is no loss, however large"),
        ((-0.9, -0.6, 1.0), "The margin is that of the plan, not always the same one"),
        ((-1.8, -1.2, 2.0), "The margin is that of the plan, not always the same one"),
        (
            (-0.3, -0.25, 0.2),
            "All values in the interval are losses of more than the margin, which is that of the plan",
        ),
        ((-0.7, 2.0, 0.5), "The interval has a loss of more than the margin in it, so its middle decides nothing"),
        ((nan, nan, 0.5), "One seed has no interval, and what has no interval decides nothing"),
    ]
    for case, why in cases:
        found = result_of(answer, *case)
        if not isinstance(found, str) or found not in VERDICTS:
            given = f"{found!r:.40}" if isinstance(found, str) else kind(found)
            raise Wrong(f"return one of {', '.join(VERDICTS)}; what came is {given}.")
        if found != judged(*case):
            low, high, margin = case
            raise Wrong(f'from {low} to {high} with the margin {margin} you say "{found}". {why}.')


def check_5(answer: Callable, plan: Callable) -> None:
    if "table" not in carried_out:
        raise Wrong("nothing was carried out yet. Run the cell with `carry_out` first.")
    report, plan, table = result_of(answer), result_of(plan), carried_out["table"]
    keys = ("plan", "endpoint", "margin", "seeds", "difference", "verdict")
    if not isinstance(report, dict) or {*report} != {*keys}:
        raise Wrong(f"return a dict with the keys {', '.join(keys)}; what came is {kind(report)}.")
    if not isinstance(plan, dict):
        raise Wrong(f"the plan should be the dict that was registered, but what came is {kind(plan)}.")
    for field in ("plan", "endpoint", "verdict"):
        if not isinstance(report[field], str):
            raise Wrong(f"`{field}` in the report should be one text, but what came is {kind(report[field])}.")
    plan, before = settled(plan), settled(carried_out["plan"])
    report = report | settled({field: report[field] for field in ("margin", "seeds")})
    changed = [field for field in before | plan if plan.get(field) != before.get(field)]
    changed += ["ENDPOINTS"] * (not changed and seal(plan) != carried_out["seal"])
    if changed:
        raise Wrong(
            f"the plan was changed after the run ({', '.join(changed)}). Put back what was registered, or run anew."
        )
    for field in ("endpoint", "margin"):
        if report[field] != plan[field]:
            raise Wrong(f"the report has another {field} than the plan. It was fixed before the run; report that one.")
    if not isinstance(report["seeds"], list) or not all(type(seed) is int for seed in report["seeds"]):
        raise Wrong("`seeds` in the report should be a list of whole numbers, those of the plan.")
    if sorted(report["seeds"]) != sorted(plan["seeds"]):
        raise Wrong("the report has other seeds than the plan. All that were run are reported, also the ugly ones.")
    if report["plan"] != carried_out["seal"]:
        raise Wrong("`plan` should be the seal that `carry_out` printed: seal(registration()).")
    if plan["endpoint"] not in table:
        raise Wrong(f"the runs have no column {plan['endpoint']}. `run` should return the endpoint of the plan.")
    if missing := without_value(table, plan["endpoint"]):
        raise Wrong(missing)
    found = difference_of(report["difference"])
    mistake = mistake_in(found, table, plan["endpoint"])
    if mistake:
        raise Wrong(mistake)
    _, low, high = as_gain(found, plan["endpoint"])
    if report["verdict"] != judged(low, high, plan["margin"]):
        raise Wrong(
            "the verdict does not follow from the interval and the margin. If less is better, `as_gain` turns the"
            " difference first."
        )
    if times := run_so_often(report["plan"]):
        print(f"{times} Say in words why, and what came out each time.")


CHECKS = checks_in(globals())
check = partial(lab_checks.check, checks=CHECKS)
