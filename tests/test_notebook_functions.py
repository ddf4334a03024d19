"""Rules that notebooks decide by, taken from their cells and tried on cases that no short run meets."""

import ast
import json
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from companion import paths
from companion.claims import Claim
from companion.figures import crlso as crlso_words
from companion.figures.crlso import most_given_back
from companion.figures.svge import report
from latentnas import stats
from latentnas.evaluate import encode_all
from latentnas.graphs import canonical_hash
from latentnas.models.crlso import CRLSO, CRLSOConfig
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201

INF = float("inf")


def function_of(notebook, name, **known):
    """A function that a cell of a notebook defines; `known` is what else it uses."""
    cells = json.loads((paths.NOTEBOOKS / f"{notebook}.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (source,) = (source for source in sources if f"def {name}(" in source)
    (function,) = (part for part in ast.parse(source).body if getattr(part, "name", None) == name)
    exec(compile(ast.Module([function], []), notebook, "exec"), known)
    return known[name]


@pytest.mark.parametrize(
    "losses, rate, loss",
    [
        ({(0.1, 1): 1, (0.2, 1): 2, (0.1, 2): 1, (0.2, 2): 0.5, (0.2, 4): 0.2, (0.2, 8): 0.1}, 0.2, 0.1),
        ({(0.1, 1): 3, (0.4, 1): 1, (0.8, 1): 2, (0.4, 2): 1, (0.8, 2): 2, (0.8, 8): 1.5}, 0.8, 1.5),  # 0.4 diverges
        ({(0.1, 1): 3, (0.2, 1): 4, (0.4, 1): 1, (0.8, 1): 2, (0.1, 8): 2.5}, 0.1, 2.5),  # both of the second round do
        ({}, None, INF),
        ({(0.4, 1): 3, (0.8, 1): 4, (0.4, 2): 2, (0.8, 2): 3, (0.4, 4): 1, (0.4, 8): 9, (0.8, 8): 2}, 0.8, 2),  # rose
        (
            {(0.4, 1): 3, (0.8, 1): 4, (0.4, 2): 1, (0.8, 2): 3, (0.4, 8): 1.1, (0.8, 8): 2},
            0.4,
            1.1,
        ),  # rose, yet is best
        ({(0.4, 1): 3, (0.8, 1): 4, (0.4, 8): 5, (0.8, 8): 6}, 0.4, 5),  # both rose
    ],
)
def test_a_rate_that_does_not_hold_in_a_long_run_is_not_chosen(losses, rate, loss):
    def trained(place, name, optimizer, rate, run_epochs, keep=()):
        if (rate, run_epochs) not in losses:
            raise FloatingPointError
        return SimpleNamespace(model=losses[rate, run_epochs])

    known = {
        "rates": [0.1, 0.2, 0.4, 0.8],
        "first_epochs": 1,
        "final_epochs": 8,
        "trained": trained,
        "LARGE": "enas, large",
    }
    known |= {"domains": {"enas": SimpleNamespace(validation=None)}, "tuning_seed": 0}
    known["evaluate"] = SimpleNamespace(loss_terms=lambda model, *_: {"total": model})
    for helper in ("long_run", "one_trial", "one_round"):
        known[helper] = function_of("12_tuning", helper, **known)
    last = function_of("12_tuning", "chosen_rate", **known)("enas", "D-VAE", "muon")[-1]
    assert last["loss"] == loss and rate in (None, last["rate"])


@pytest.mark.parametrize(
    "low, high, met, judged, word",
    [
        (-4, 6, 0.5, "undecided", "level"),
        (-4, 6, 0.4, "undecided", "undecided"),
        (None, None, 0.0, "not measured", "undecided"),  # no run succeeded
        (None, None, 0.9, "seen once", "undecided"),  # one training
        (-4, None, 0.9, "undecided", "undecided"),
        (-30, -12, 0.9, "met", "sooner"),
        (-9, -1, 0.9, "met", "sooner"),
        (-30, 12, 0.9, "undecided", "undecided"),
        (12, 30, 0.2, "short", "later"),
    ],
)
def test_a_search_is_level_only_where_runs_succeeded(low, high, met, judged, word):
    verdict = function_of("13_latent_search", "verdict", MARGIN=10)
    assert verdict(SimpleNamespace(low=low, high=high, verdict=judged, seeds=range(3)), met) == word
    assert verdict(SimpleNamespace(low=low, high=high, verdict=judged, seeds=range(2)), met) != "level"


def test_searches_are_compared_by_training_in_the_mean_over_tables():
    rows = [("a", 0, 10), ("a", 1, 20), ("a", 2, 30), ("a", 3, INF), *(("b", seed, 10) for seed in range(4))]
    columns = {"one-hot": [10] * 8, "S-VAE": [queries for *_, queries in rows]}
    found = [
        {"table": table, "seed": seed, "method": method, "goal": "top", "queries": np.nan if np.isinf(count) else count}
        for method, counts in columns.items()
        for (table, seed, _), count in zip(rows, counts)
    ]
    asked = {}

    def estimate(id, values, unit, **how):
        asked[id] = values, how
        return SimpleNamespace(ours=0, low=0, high=0)

    known = {"needed": pd.DataFrame(found), "tables": ["a", "b"], "queries": 60, "seed": 0, "spaces": 2, "MARGIN": 10}
    known |= {"CODES": ["S-VAE"], "ALL": "all tables", "SHORT": {"one-hot": ""}, "slug": str.lower}
    known["verdict"] = lambda *_: "level"
    known["results"] = SimpleNamespace(estimate=estimate)
    for helper in ("sampled", "id_of"):
        known[helper] = function_of("13_latent_search", helper, **known)
    row = function_of("13_latent_search", "compared", **known)("all tables", "top", "S-VAE", "one-hot")
    values, how = asked["s-vae.all.extra_queries@top"]
    assert values.tolist() == [0, 5, 10, 25]  # what failed counts as the budget
    assert list(how["clusters"]) == [0, 1, 0, 1]
    assert how["over"] == "trainings" and row["met"] == 3 / 4 and row["both failed"] == 0


def test_the_goal_is_a_thousandth_of_each_table():
    goals_of = function_of("13_latent_search", "goals_of", np=np)
    for size, most in ((6466, 7), (6000, 6), (300, 1)):
        domain = SimpleNamespace(distinct=np.arange(size), optimum=lambda values: [values.argmax()])
        values = np.random.default_rng(0).permutation(size)
        goals = goals_of(SimpleNamespace(domain=domain, valid=values))
        assert sorted(values[goals["top"]]) == list(range(size - most, size)) and values[goals["best"]] == [size - 1]


def test_reconstruction_is_asked_of_graphs_that_no_training_saw():
    known = {"canonical_hash": canonical_hash, "np": np, "torch": torch, "train_graphs": 6000}
    unseen = function_of("13_latent_search", "held_out", **known)(NASBENCH201)
    learned = NASBENCH201.sample(6000, 0)
    assert len(unseen) == 200 and not np.isin(canonical_hash(unseen), canonical_hash(learned)).any()


def test_predictions_are_also_measured_on_classes_that_training_lacks():
    labels = {"train_labels": np.array([1.0, 3.0]), "test_labels": np.array([1.0, 2, 3, 4])}
    domain = SimpleNamespace(**labels, unseen=np.array([False, True, True, True]))
    found = report(domain, np.array([9.0, 2, 3, 6]), np.array([9.0, 2, 3, 1]))
    assert found["rmse_std, unseen classes"] == pytest.approx((4 / 3) ** 0.5) and found["rmse_std"] > 4
    assert found["kendall, unseen classes"] == stats.kendall([2, 3, 4], [2, 3, 1]) != found["kendall"]
    domain.unseen[1:3] = False
    assert report(domain, domain.test_labels, domain.test_labels)["rmse_std, unseen classes"] is None


LEAD = {"difference": 0.024, "low": 0.004, "high": 0.05, "verdict": "ahead", "runs": 50}


@pytest.mark.parametrize(
    "changed, most, words",
    [
        ({}, INF, "+0.024 (+0.004 to +0.05, ahead)"),
        ({"low": -9, "high": 6.4, "verdict": "undecided"}, 2, "+0.024 (-2 to +2, undecided)"),
        ({"runs": 3}, INF, "+0.024 (ahead)"),
        ({"low": np.nan, "high": np.nan}, INF, "+0.024 (in every run, ahead)"),
        ({"low": np.nan, "high": np.nan, "verdict": "undecided"}, INF, "+0.024 (undecided)"),
        ({"low": np.nan, "high": np.nan, "verdict": crlso_words.SAME}, INF, crlso_words.SAME),
        ({"low": np.nan, "high": np.nan, "verdict": "seen once", "runs": 1}, INF, "+0.024 (seen once)"),
    ],
)
def test_a_difference_is_said_with_its_verdict_and_no_impossible_interval(changed, most, words):
    assert crlso_words.judged(LEAD | changed, "+.2g", most) == words


@pytest.mark.parametrize(
    "ours, runs, options, verdict",
    [
        (0.0, 50, {}, crlso_words.SAME),
        (0.3, 50, {}, "ahead"),
        (-0.3, 50, {}, "behind"),
        (0.3, 3, {}, "undecided"),  # a sign test of three runs decides nothing
        (0.0, 2, {}, "seen once"),
        (0.3, 50, {"low": 0.1, "high": 0.5, "method": "t"}, "ahead"),
        (0.0, 50, {"better": "equal", "margin": 0.05}, "equivalent"),
        (-0.3, 50, {"better": "equal", "margin": 0.05}, "better"),
        (0.3, 50, {"better": "equal", "margin": 0.05, "low": 0.1, "high": 0.5, "method": "t"}, "worse"),
    ],
)
def test_a_difference_that_is_alike_in_all_runs_is_decided_by_its_sign(ours, runs, options, verdict):
    claim = Claim("crlso.a.lead_over_b@9", ours, "points", target=0.0, seeds=tuple(range(runs)), **options)
    assert crlso_words.verdict_of(claim, family=21) == verdict


def contests(first, second, verdicts):
    """The table of comparisons of notebook 07, of one pair of searches on each data set."""
    rows = pd.DataFrame({"data set": [f"set {n}" for n in range(len(verdicts))], "sooner: verdict": verdicts})
    return rows.assign(**{"first": first, "second": second, "lead: verdict": verdicts, "lead: difference": -0.1})


def test_rivals_are_listed_worst_first_and_with_their_data_sets_where_these_differ():
    table = pd.concat([contests("a", "b", ["behind", "undecided"]), contests("a", "evolution", ["ahead", "ahead"])])
    words = crlso_words.against(table["second"], table["lead: verdict"], table["data set"])
    assert words == "behind b (set 0); ahead of evolution; the rest is undecided"
    assert crlso_words.against("bcd", ["undecided", "ahead", crlso_words.SAME], "xxx") == (
        "exactly level with d; undecided against b; ahead of c"
    )


def accuracies(*ours, paper=None, **interval):
    printed = {"paper": paper, "printed_in": "x"} if paper else {}
    return [
        Claim(f"crlso.set{n}.valid@9", value, "%", seeds=range(50), **printed, **interval)
        for n, value in enumerate(ours)
    ]


def test_accuracy_is_told_beside_print_or_beside_the_best_rival():
    words = crlso_words.accuracy_in_words
    table = pd.concat([contests("CR-LSO", "most parameters", ["behind"]), contests("CR-LSO", "x", ["ahead"])])
    assert words(accuracies(92.31), table).endswith(" It ends at 92.31 %, the largest cells first at 92.41 %.")
    table = contests("CR-LSO", "most parameters", ["behind", "behind"])
    alike = accuracies(73.49, 73.4, paper=73.44)  # in all runs: no interval, and no doubt
    assert words(alike, table).endswith(" is missed on set 1; reached on set 0.")
    assert words(accuracies(1, 2), table) == "In validation accuracy, CR-LSO is behind the largest cells first."
    assert "do not decide" in words(accuracies(92.31), contests("CR-LSO", "most parameters", ["seen once"]))


def test_meetings_are_counted_beside_those_of_the_best_rivals():
    name, others = "CR-LSO, ensemble", {"most parameters": [28, 39, 26], "x": [70, 80, 90], "CR-LSO": [1, 1, 1]}
    needed = {("set 0", name): [86, INF, 53]} | {("set 0", other): counts for other, counts in others.items()}
    needed = {key: pd.DataFrame({"strings": counts}) for key, counts in needed.items()}
    table = pd.concat([contests(name, other, ["undecided"]) for other in ("most parameters", "x")])
    assert crlso_words.strings_in_words(needed, table, 80) == (
        "In strings needed for the best cell, CR-LSO's ensemble is undecided against the largest cells first and x. "
        "It meets the best cell in 1 of 3 runs, the largest cells first in all runs."
    )
    assert crlso_words.strings_in_words(needed, contests(name, "x", ["seen once"]), 80) == ""


@pytest.mark.parametrize(
    "verdicts, runs, answer",
    [
        (("equivalent", "better"), 60, "No"),
        (("worse", "worse"), 60, "Yes"),
        (("worse", "equivalent"), 60, "In part"),
        (("worse", "undecided"), 60, "Undecided"),
        (("seen once", "seen once"), 2, "Undecided"),
    ],
)
def test_the_opening_question_is_answered_from_both_variants(verdicts, runs, answer):
    study = pd.DataFrame({"variant": ["not regularised", "ordinary network"], "difference": [0.02, -0.01]})
    study = study.assign(verdict=verdicts, runs=runs)
    words = crlso_words.study_in_words(study, study)
    assert f"? {answer}:**" in words and ("decide nothing" in words) == (runs < 3)
    assert runs < 3 or f"is 0.020 higher without the regulariser (*{verdicts[0]}*) and 0.010 lower" in words


@pytest.mark.parametrize(
    "convex, ordinary, words",
    [
        ([0, 0], [9.356, 21.5], "fails in each training: at least 9.3 % of the pairs refute it"),
        ([0], [9.356], "fails: 9.3 % of the pairs refute it, and 9.3 %"),
        ([0, 0], [0, 5], "fails in 1 of 2 trainings"),
        ([0, 0], [0, 0], "tell nothing apart"),
        ([0, 0.5], [9, 9], "is not convex: up to 0.5 %"),
    ],
)
def test_both_tests_of_convexity_are_told_of_all_trainings(convex, ordinary, words):
    rows = pd.DataFrame(
        {"network": ["g"] * len(convex) + ["x"] * len(ordinary), "jensen_violations": convex + ordinary}
    )
    assert words in crlso_words.certificates_in_words(rows.assign(stranded_ascents=rows["jensen_violations"]))


def test_the_head_of_the_findings_names_only_what_was_run():
    sizes = {"seeds": 3, "queries": 200, "few_queries": 100, "study_seeds": 60, "nb101_seeds": 0, "nb101_queries": 900}
    results = SimpleNamespace(profile="quick", parameters=sizes)
    head, _, *lines = crlso_words.told(results, ["a", "", "b"], None, False).splitlines()
    assert lines == ["* a", "* b"] and "study" not in head and "NAS-Bench-101" not in head
    assert "60 in the study, of 150" in crlso_words.told(results, [], (150, 0.05), False)


def test_as_many_cells_can_come_back_as_random_weights_tell_apart():
    cells = NASBENCH101.sample(3000, seed=0)
    codes = encode_all(CRLSO(CRLSOConfig(space="nasbench101", hidden=16, latent=8)).eval(), cells)
    different = (codes / codes.std(dim=0)).mul(1e3).round().unique(dim=0)
    assert most_given_back(cells) == pytest.approx(100 * len(different) / len(cells), abs=0.5)


@pytest.mark.parametrize("seeds, counted", [(1, ""), (2, ". It is behind in 1, undecided in 0, ahead in 1")])
def test_a_negative_lead_is_behind_and_one_run_has_no_order(seeds, counted):
    leads = pd.DataFrame({"E2NAS leads by": [-0.9, 0.3], "E2NAS is": ["behind", "ahead"]}, ["x", "y"])
    side = function_of("08_e2nas", "side")
    good, words = function_of("08_e2nas", "compared_with", leads=leads, side=side, seeds=seeds)(["x", "y"], "Here")
    assert not good and words == "Here, E2NAS is behind by 0.90 (x); ahead by 0.30 (y)" + counted


@pytest.mark.parametrize("hits, words", [(14, "less than asked"), (19, "as asked"), (20, "as asked")])
def test_whether_the_likely_best_hold_the_best_is_told_from_an_interval(hits, words):
    row = {"data set": "x", "luck": 1, "luck said": 1, "winner is best": 0.1, "chance said": 0.1}
    row["best among the likely"] = hits / 20
    assert words in function_of("14_winners_curse", "answer", stats=stats, simulated=20)(row)


def test_findings_count_verdicts_and_say_where_there_is_no_interval():
    rows = {"extra": [3.2, -1, np.nan], "low": [1, np.nan, np.nan], "high": [5, np.nan, np.nan]}
    frame = pd.DataFrame(rows | {"verdict": ["later", "undecided", "undecided"]}, ["a", "b", "c"])
    worded = function_of("13_latent_search", "worded", np=np)
    listed = function_of("13_latent_search", "listed", worded=worded)
    assert listed(frame) == "2 undecided, 1 later (a +3 (+1 to +5); b -1 (no interval); c no run arrived)"
    assert listed(frame[:0]) == "not asked" and worded(None, None, None) == "no run arrived"


def test_rows_of_svge_and_plain_ones_have_a_range_each_and_what_was_told_more_is_in_neither():
    told = {"SVGe, codes": 0.2, "SVGe, fine-tuned": 0.4, "params": 0.7, "SVGe, told what it is like": 0.9}
    rows = pd.DataFrame({"reader": [*told], "kendall": [*told.values()]})
    assert function_of("06_extrapolation", "ours_and_plain")(rows, "kendall") == ["0.20 to 0.40", "0.70"]


def test_a_run_that_ended_early_keeps_its_best():
    run = pd.DataFrame({"seed": [0, 0, 0, 1], "query": [1, 2, 3, 1], "incumbent": [90.0, 91.0, 92.0, 93.0]})
    assert function_of("09_benchmark", "after")(run, 2, "incumbent").tolist() == [91.0, 93.0]


def test_errors_of_encoders_are_drawn_by_whole_sets_of_flags():
    squared = pd.DataFrame({"a": [0.0, 4.0, 1.0, 9.0], "b": [1.0, 1.0, 1.0, 25.0]})
    known = {"np": np, "parts": {"enas": {"all": np.array([True, True, True, False])}}, "test": np.array([2, 0, 1, 3])}
    known |= {"flags": {"enas": np.array([7, 5, 7, 1])}, "squared": {"enas": squared}}
    drawn = function_of("11_enas_labels", "errors_drawn", **known)("enas", "all", draws=400)
    assert set(drawn["b"]) == {1.0}  # the fourth is in no part
    # The sets are {0, 4} and {1}: of two draws none, one or both are of the first, so the mean square is 1, 5/3 or 2.
    assert set((drawn["a"] ** 2).round(9)) == {1.0, round(5 / 3, 9), 2.0}


def test_an_error_of_an_encoder_has_the_chance_of_trainings_and_of_test_graphs():
    interval = function_of("11_enas_labels", "interval", np=np, stats=stats, scipy=scipy)
    rng = np.random.default_rng(0)
    values, drawn = rng.normal(5, 1, 6), rng.normal(5, 2, 4000)
    trainings, graphs = (np.ptp(stats.mean_interval(values)) / 2, 1.96 * drawn.std())
    assert np.ptp(interval(values, drawn)) / 2 == pytest.approx(np.hypot(trainings, graphs), rel=1e-3)
    assert np.ptp(interval(values[:1], drawn)) / 2 == pytest.approx(graphs, rel=1e-3)  # one training: the second alone
    assert np.ptp(interval(values, drawn, family=20)) > np.ptp(interval(values, drawn))


def test_orders_of_encoders_are_compared_between_trainings_of_different_seeds():
    errors = {0: [1, 2, 3], 1: [1, 3, 2], 2: [3, 2, 1]}
    rows = [{"table": t, "part": "all", "method": m, "seed": s, "rmse_std": e} for t in ("enas", "other")
            for s, of in errors.items() for m, e in zip("abc", of)]  # fmt: skip
    known = {"own": pd.DataFrame(rows), "run_seeds": range(3), "combinations": combinations, "stats": stats}
    known["PANELS"] = {("enas", "all"): "enas", ("other", "all"): "other"}
    taus = function_of("11_enas_labels", "taus", **known)
    assert {row["seeds"]: row["kendall"] for row in taus(("enas", "all"), ("enas", "all"))} == pytest.approx(
        {"0 1": 1 / 3, "0 2": -1, "1 2": -1 / 3}
    )
    assert [row["seeds"] for row in taus(("enas", "all"), ("other", "all"))] == ["0 1", "1 2", "2 0"]
