"""Claims judge numbers correctly and results files repeat byte for byte, whatever goes wrong around them."""

import json
import os
import re
import subprocess
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from companion import claims, paths, report
from companion.claims import Claim, Results, load_results
from companion.notebooks import UsageError, code_cells_hash
from latentnas import stats
from toy_project import PARAMETERS, write_notebook


@pytest.fixture(autouse=True)
def results_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    write_notebook(tmp_path / "notebooks/02_x.ipynb", ["from companion import claims"])
    return tmp_path / "results"


PRINTED, THREE = {"paper": 99.99, "printed_in": "Table 1"}, {"seeds": [0, 1, 2], "method": "t"}
ERROR = {"paper": 0.357, "printed_in": "Fig. 4", "better": "lower"}
EQUAL = {"target": 38.5, "better": "equal", "margin": 2.0}


@pytest.mark.parametrize(
    "ours, details, verdict",
    [
        (99.995, PRINTED | THREE | {"low": 99.991, "high": 99.999}, "met"),
        (99.995, PRINTED | THREE | {"low": 99.9851, "high": 99.999}, "met"),  # 99.985 is printed as 99.99
        (99.995, PRINTED | THREE | {"low": 99.98, "high": 99.999}, "undecided"),
        (99.97, PRINTED | THREE | {"low": 99.96, "high": 99.98}, "short"),
        (99.995, PRINTED | THREE, "undecided"),  # no interval
        (99.995, PRINTED | {"seeds": [0, 1], "low": 99.991, "high": 99.999}, "seen once"),
        (99.0, PRINTED | {"seeds": 7}, "seen once"),
        (99.97, PRINTED | THREE | {"low": 99.96, "high": 99.98, "method": None}, "no verdict"),  # an older result
        (0.2, ERROR | THREE | {"low": 0.1, "high": 0.3}, "met"),
        (0.2, ERROR | THREE | {"low": 0.1, "high": 0.4}, "undecided"),
        (0.2, ERROR | THREE | {"low": 0.19, "high": 0.21, "target": 0.18}, "short"),  # the target goes before the paper
        (0.2, ERROR | THREE | {"low": 0.19, "high": 0.21, "target": 0.21}, "met"),
        (0.2, ERROR | THREE | {"low": 0.19, "high": 0.21, "target": 0.2098}, "undecided"),  # a target is not rounded
        (80.0, {"target": 100, "better": "lower", "low": 60.0, "high": np.inf} | THREE, "undecided"),
        (180.0, {"target": 100, "better": "lower", "low": 160.0, "high": np.inf} | THREE, "short"),
        (39.0, EQUAL | THREE | {"low": 37.0, "high": 40.0}, "met"),
        (39.0, EQUAL | THREE | {"low": 37.0, "high": 41.0}, "undecided"),
        (43.0, EQUAL | THREE | {"low": 41.0, "high": 45.0}, "short"),
        (30.0, EQUAL | THREE | {"low": 28.0, "high": 32.0}, "short"),
        (19020, {"paper": 19020, "printed_in": "text", "better": "equal"}, "met"),  # counts: nothing random in them
        (19021, {"paper": 19020, "printed_in": "text", "better": "equal"}, "short"),
        (73.51333, {"paper": 73.51, "printed_in": "Table 4", "better": "equal"}, "met"),
        (0.4, {"low": 0.3, "high": 0.5}, "no published value"),
        (0.4, {"target": 0.5}, "short"),
        (None, PRINTED, "not measured"),
        (float("nan"), PRINTED, "not measured"),
        (float("inf"), {"target": 100.0, "better": "lower"}, "not reached"),
    ],
)
def test_verdict(ours, details, verdict):
    assert Claim("ngae.enas.rmse_std", ours, "%", **details).verdict == verdict


def test_a_time_measured_once_is_no_fact_of_a_table():
    for id, unit in (("speed.x.share", "%"), ("a.b.c", "s an epoch"), ("a.b.c", "CPU min")):
        assert Claim(id, 3.0, unit, target=5, better="lower").verdict == "seen once"
    assert Claim("a.b.c", 3.0, "s an epoch", target=5, better="lower", low=2.0, high=4.0, method="t").verdict == "met"


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"id": "validity", "ours": 1.0, "unit": "%"}, "id"),
        ({"id": "NGAE.enas.x", "ours": 1.0, "unit": "%"}, "id"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "paper": 2.0}, "printed_in"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "better": "bigger"}, "better"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "margin": 1.0}, "margin"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "sedes": 1}, "sedes"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "seeds": (1, 1, 1)}, r"one of the seeds \[1, 1, 1\] twice"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "target": -np.inf}, r"a\.b\.c has a target that is infinite"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "paper": np.inf, "printed_in": "x"}, r"a\.b\.c has a paper"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "better": "equal", "margin": np.inf}, r"a\.b\.c has a margin"),
        ({"id": "a.b.c", "ours": 1.0, "unit": "%", "better": "equal", "margin": np.nan}, r"a\.b\.c has a margin"),
    ],
)
def test_a_claim_that_cannot_be_read_is_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        Claim(**arguments)


def values(seed=0, profile="quick"):
    """`globals()` of a notebook: its parameters and anything else."""
    return {"profile": profile, "data_source": "public", "seed": seed, "other": object()}


def test_seeds_of_any_kind_of_integer():
    assert Claim("a.b.c", 1.0, "%", seeds=np.int64(3)).seeds == (3,)
    assert Claim("a.b.c", 1.0, "%", seeds=np.arange(3)).seeds == (0, 1, 2)
    assert Claim("a.b.c", 1.0, "%", seeds=range(2)).seeds == (0, 1)


def test_every_declared_parameter_is_recorded_and_nothing_else():
    results = Results("02_x", values(seed=4))
    assert (results.profile, results.data_source, results.parameters) == ("quick", "public", {"seed": 4})
    write_notebook(paths.NOTEBOOKS / "02_x.ipynb", [], PARAMETERS + "sizes: list[int] = [1]  # of models\n")
    assert Results("02_x", values() | {"sizes": [2, 3]}).parameters == {"seed": 0, "sizes": [2, 3]}
    with pytest.raises(UsageError, match="parameter sizes"):
        Results("02_x", values())
    with pytest.raises(UsageError, match=r"03_x\.ipynb"):
        Results("03_x", values())


@pytest.mark.parametrize("profile", ["quick", "Quick", "course", "recommended+12ab34cd", "../../x", "..", "", 3])
def test_a_run_by_hand_does_not_write_over_what_a_profile_stores(monkeypatch, profile):
    (paths.NOTEBOOKS / "profiles.toml").write_text("[course.common]\nseed = 1\n")
    monkeypatch.delenv("LATENTNAS_NOTEBOOK", raising=False)
    by_hand = {"__name__": "__main__"}
    with pytest.raises(UsageError, match='By hand .*Set profile = "scratch"'):
        Results("02_x", values(profile=profile) | by_hand)
    for own in ("scratch", "my-own"):
        assert Results("02_x", values(profile=own) | by_hand).path == paths.RESULTS / own / "02_x.json"
    assert Results("02_x", values(profile=profile)).profile == profile  # the trainings of a notebook, listed by a run
    monkeypatch.setenv("LATENTNAS_NOTEBOOK", "02_x")
    assert Results("02_x", values(profile=profile) | by_hand).profile == profile


def test_the_manifest_says_which_code_it_was():
    code = json.loads(make().write().read_text())["manifest"]["code"]
    assert code["cells"] == code_cells_hash(paths.NOTEBOOKS / "02_x.ipynb")
    write_notebook(paths.NOTEBOOKS / "02_x.ipynb", ["from companion import claims, report"])
    other = json.loads(make().write().read_text())["manifest"]["code"]
    assert other["cells"] != code["cells"] and other["library"] != code["library"]


def make(seed=0, profile="quick"):
    results = Results("02_x", values(seed, profile))
    found = [30 + seed, 33.5, 36.5]
    results.estimate("ngae.enas.validity", found, "%", seeds=range(3), paper=20.0, printed_in="Table 1")
    results.frame("table", pd.DataFrame({"x": [1 / 3, 2.0], "name": ["a", "b"]}))
    return results


def test_same_seed_same_bytes_apart_from_the_manifest(results_folder):
    contents = []
    for _ in range(2):
        contents.append(make().write().read_text())
        assert (results_folder / "quick/02_x/table.csv").read_bytes() == b"x,name\n0.3333333333,a\n2,b\n"
    first, second = (text.partition('"manifest"')[0] for text in contents)
    assert first == second and '"claims"' in first and '"frames"' in first
    assert make(seed=1).write().read_text().partition('"manifest"')[0] != first


def test_what_is_loaded_is_what_was_written():
    make().write()
    content = load_results("quick")["02_x"]
    assert content["claims"][0]["ours"] == pytest.approx(100 / 3)
    assert content["claims"][0]["verdict"] == "met"
    assert content["frames"]["table"]["rows"] == 2
    assert {"git", "versions", "device", "data", "wall_seconds", "peak_memory_mb"} <= set(content["manifest"])
    assert load_results("paper") == {}


def test_manifest_names_data_by_checksum(tmp_path):
    files = [tmp_path / name for name in ("raw.txt", "one/table.csv", "two/table.csv")]
    for number, file in enumerate(files):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"abc"[number:])
    results = Results("02_x", values(), data_files=files)
    manifest = json.loads(results.write().read_text())["manifest"]
    assert list(manifest["data"]) == ["raw.txt", "one/table.csv", "two/table.csv"]
    assert manifest["data"]["raw.txt"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert len(set(manifest["data"].values())) == 3
    assert str(tmp_path) not in json.dumps(manifest)


def test_estimates_keep_how_their_interval_came_about():
    results = Results("02_x", values())
    claim = results.estimate("a.b.mean", [1.0, 2.0, 3.0, 6.0], "points", clusters=[5, 5, 8, 8], target=1.0)
    assert (claim.ours, claim.method, claim.over, claim.seeds) == (3.0, "t", "trainings", (5, 8))
    assert claim.verdict == "seen once" and claim.low < 0
    claim = results.estimate(
        "a.b.met", [True] * 20, "%", statistic="share", over="searches", seeds=range(20), target=90
    )
    assert (claim.ours, claim.method, claim.over, claim.verdict) == (100.0, "exact", "searches", "undecided")
    median = results.estimate("a.b.queries", [9.0] * 3 + [np.inf] * 4, "queries", statistic="median", seeds=range(7))
    assert (median.ours, median.low, median.high, median.verdict) == (None, 9.0, None, "not reached")
    one = results.estimate("a.b.one", [99.0], "%", seeds=3, selected_on="test graphs", target=90)
    assert (one.low, one.method, one.selected_on, one.verdict) == (None, None, "test graphs", "seen once")
    assert results.estimate("a.b.none", [], "%", seeds=range(3), target=90).verdict == "not measured"
    alike = results.estimate("a.b.alike", [91.6] * 20, "%", seeds=range(20), target=91.54)
    assert (alike.low, alike.high, alike.verdict) == (None, None, "undecided")  # seen 20 times alike: no spread
    hundred = results.estimate("a.b.hundred", [100.0] * 20, "%", seeds=range(20), trials=1000, target=99.5)
    assert (hundred.high, hundred.verdict) == (100.0, "met")
    with pytest.raises(ValueError, match="needs its seeds"):
        results.estimate("a.b.seedless", [1.0, 2.0, 3.0], "%")
    assert results.estimate("a.b.drawn", [1.0, 2.0, 4.0], "%", seeds=()).seeds == ()
    results.write()
    stored = load_results("quick")["02_x"]["claims"]
    assert [claim["verdict"] for claim in stored] == [claim.verdict for claim in results.claims.values()]


def family_of(samples):
    """Claims that each mean is above 0, made as one family."""
    results = Results("02_x", values())
    makers = {
        id: lambda k, id=id, found=found: results.estimate(
            id, found, "points", seeds=range(len(found)), target=0.0, family=k
        )
        for id, found in samples.items()
    }
    results.holm(makers)
    return [results.claims[id].verdict for id in samples]


def test_claims_of_a_family_are_settled_as_holm_adjusts_their_p_values():
    rng, outcomes = np.random.default_rng(0), set()
    for _ in range(40):
        samples = {f"a.b.c{i}": rng.normal(shift, 1, 5) for i, shift in enumerate((0, 1, 1.5, 2))}
        adjusted = stats.holm([scipy.stats.ttest_1samp(sample, 0).pvalue for sample in samples.values()])
        verdicts = family_of(samples)
        assert [verdict != "undecided" for verdict in verdicts] == [p < 0.05 for p in adjusted]
        outcomes.add(verdicts.count("met"))
    assert {0, 1, 2, 3} <= outcomes  # in several steps


def test_holm_goes_on_until_nothing_more_is_decided():
    """Four claims of which each is decided only once the one before is."""
    spread = np.array([-2.0, -1, 0, 1, 2])
    error = spread.std(ddof=1) / 5**0.5
    means = [error * scipy.stats.t.ppf(1 - 0.025 / k, 4) * 1.01 for k in (4, 3, 2, 1)]
    assert family_of({f"a.b.c{i}": spread + mean for i, mean in enumerate(means)}) == ["met"] * 4


def test_a_family_whose_claim_is_not_made_is_refused():
    with pytest.raises(ValueError, match=r"a\.b\.c of a family was not made"):
        Results("02_x", values()).holm({"a.b.c": lambda k: None})


def test_holm_counts_a_short_claim_as_settled_and_one_seen_once_not():
    rng = np.random.default_rng(0)
    clear, close = rng.normal(9, 1, 5), np.array([1.0, 2, 3, 4, 5])
    p = scipy.stats.ttest_1samp(close, 0).pvalue
    assert 0.05 / 3 > p > 0.05 / 5  # decided in a family of three, not of five
    assert family_of({f"a.b.c{i}": sample for i, sample in enumerate([close, close, close, -clear, -clear])}) == [
        *["met"] * 3, *["short"] * 2
    ]  # fmt: skip
    once = {f"a.b.c{i}": sample for i, sample in enumerate([close, *[clear[:2]] * 4])}
    assert family_of(once) == ["undecided", *["seen once"] * 4]


@pytest.mark.parametrize(
    "found, details, fault",
    [
        ([1.0, 2.0], {"seeds": range(3)}, r"2 values or clusters have the seeds \[0, 1, 2\]"),
        ([1.0, 2.0, 3.0], {"seeds": [0, 1, 1]}, r"the seeds \[0, 1, 1\]"),
        ([1.0, 2.0, 3.0], {"seeds": [0, 1, 1, 2]}, r"the seeds \[0, 1, 1, 2\]"),
        ([1.0, 2.0], {"seeds": 4}, r"the seeds \[4\]"),
        ([1.0, 2.0, 3.0], {"seeds": [0, 1, 2], "clusters": [5, 5, 8]}, "2 values or clusters"),
        ([1.0, np.nan], {"seeds": [0, 1], "statistic": "median"}, "a value of nan"),
        ([1.0, np.inf], {"seeds": [0, 1]}, "a value of inf.*only a median"),
    ],
)
def test_estimates_refuse_values_that_do_not_go_with_their_seeds(found, details, fault):
    results = Results("02_x", values())
    with pytest.raises(ValueError, match=f"Claim a.b.c cannot be made: .*{fault}"):
        results.estimate("a.b.c", found, "%", **details)
    assert not results.claims


def test_older_results_are_judged_by_the_present_rule():
    path = make().write()
    content = json.loads(path.read_text())
    old = {"paper": 99.99, "printed_in": "Table 1", "target": None, "better": "higher", "unit": "%", "tolerance": 0.0}
    one = old | {"id": "a.b.one", "ours": 99.995, "low": 99.995, "high": 99.995, "seeds": [0], "verdict": "met"}
    wide = one | {"id": "a.b.wide", "low": 99.0, "high": 100.0, "seeds": [0, 1, 2]}
    never = old | {"id": "a.b.never", "ours": None, "low": None, "high": None, "seeds": [], "verdict": "not reached"}
    alike = wide | {"id": "a.b.alike", "low": 99.995}
    alike |= {"high": alike["low"], "seeds": [*range(20)]}
    content["claims"], content["manifest"]["times"] = [one, wide, never, alike], []
    path.write_text(json.dumps(content))
    read = load_results("quick")["02_x"]["claims"]
    assert [claim["verdict"] for claim in read] == ["seen once", "no verdict", "not reached", "undecided"]
    assert [claim["low"] for claim in read] == [None, 99.0, None, None]
    assert "99 to 100 (as stored)" in report.report_text("quick")


def test_an_older_run_has_no_verdict_even_where_all_its_runs_are_alike():
    claim = asdict(Claim("a.b.alike", 73.49, "%", paper=73.44, printed_in="Table 1", seeds=range(20)))
    found = {"claims": [claim, claim | {"verdict": "seen once"}], "manifest": {"times": [], "code": {}}}
    assert [one["verdict"] for one in report.all_claims(found)] == ["undecided", "seen once"]
    del found["manifest"]["code"]
    older, once = report.all_claims(found)
    assert (older["verdict"], once["verdict"]) == ("no verdict", "seen once")
    assert "ours **73.49** % (20 seeds, no interval), *no verdict*" in report.in_short(older)
    assert claim["verdict"] == "undecided" and "no interval" not in report.in_short(claim)


def test_a_report_names_the_pages_of_its_notebooks(tmp_path, monkeypatch):
    make().write()
    monkeypatch.setattr(paths, "FIGURES", tmp_path)
    for name in ("02_explorer.html", "02b_explorer.html"):
        paths.write_text(tmp_path / "quick" / name, "<!DOCTYPE html>")
    assert "[02_explorer](02_explorer.html)" in report.report_text("quick")
    assert "02b_explorer" not in report.report_text("quick")


def test_the_same_claim_twice_and_odd_frame_names_are_refused():
    results = make()
    with pytest.raises(ValueError, match="twice"):
        results.claim("ngae.enas.validity", 1.0, "%")
    with pytest.raises(ValueError, match="frame name"):
        results.frame("../table", pd.DataFrame())


def test_a_failing_write_leaves_the_old_file(results_folder, monkeypatch):
    path = make().write()
    before = path.read_bytes()

    def full_disk(*arguments, **keywords):
        raise OSError("no space left on device")

    monkeypatch.setattr(claims.json, "dumps", full_disk)
    with pytest.raises(OSError):
        make(seed=1).write()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == ["02_x.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[:40],
        lambda text: b"\xff" + text,
        lambda text: b"[]",
        lambda text: text.replace(b'"claims": [', b'"claims": null, "other": ['),
        lambda text: text.replace(b'"wall_seconds"', b'"seconds"'),
        lambda text: text.replace(b'"unit"', b'"units"'),
        lambda text: re.sub(rb'"ours": [0-9.]+', b'"ours": "1"', text),
        lambda text: re.sub(rb'"git": ({[^}]*}|null)', b'"git": {"a": "b"}', text),
        lambda text: re.sub(rb'"git": ({[^}]*}|null)', b'"git": {"commit": true, "changed": "x"}', text),
        lambda text: re.sub(rb'"wall_seconds": [0-9.]+', b'"wall_seconds": Infinity', text),
        lambda text: re.sub(rb'"loaded_seconds": [0-9.]+', b'"loaded_seconds": NaN', text),
    ],
    ids=[
        "empty",
        "cut off",
        "not UTF-8",
        "another file",
        "no claims",
        "no time",
        "no unit",
        "text for a number",
        "no commit",
        "true for a commit",
        "endless time",
        "NaN for a time",
    ],
)
def test_a_damaged_results_file_is_named_and_set_aside(results_folder, damage, capsys):
    path = make().write()
    text = damage(path.read_bytes())
    path.write_bytes(text)
    (path.parent / ".02_x-abc.json").write_bytes(text)  # left by a write that was killed
    assert load_results("quick") == {} and load_results("quick") == {}
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and str(path) in message and "run again" in message
    assert path.with_name("02_x.json.damaged").read_bytes() == text and not path.exists()


def test_a_file_of_no_notebook_keeps_its_name(results_folder, capsys):
    own = make().write().with_name("my_scores.json")
    own.write_text('{"mine": 1}')
    assert list(load_results("quick")) == ["02_x"]
    assert own.read_text() == '{"mine": 1}' and not capsys.readouterr().err


def test_a_folder_in_place_of_a_results_file_is_set_aside_and_nothing_before_it_is_lost(results_folder, capsys):
    path = make().write()
    for number in range(2):
        path.unlink(missing_ok=True)
        (path / str(number)).mkdir(parents=True)
        assert load_results("quick") == {}
    assert (path.with_name("02_x.json.damaged") / "0").exists() and (
        path.with_name("02_x.json.damaged1") / "1"
    ).exists()


def test_another_notebook_than_the_one_that_runs_writes_no_results(monkeypatch):
    monkeypatch.setenv("LATENTNAS_NOTEBOOK", "02_y")
    with pytest.raises(UsageError, match=r"Results\('02_y'"):
        Results("02_x", values())


def test_times_and_the_number_of_processes_stand_in_the_manifest():
    write_notebook(paths.NOTEBOOKS / "02_x.ipynb", [], PARAMETERS + "jobs: int = 2  # side by side\n")
    contents = []
    for jobs, seconds in ((1, 30.0), (2, 40.0)):
        results = Results("02_x", values() | {"jobs": jobs})
        for unit in ("s", "CPU s an epoch", "min", "s a search, one thread"):
            results.claim(f"time.x.{len(results.claims)}", seconds, unit)
        results.claim("speed.x.share", seconds, "% of the peak")
        results.claim("a.b.c", 0.5, "Spearman's rho")
        contents.append(results.write().read_text())
    one, two = (text.partition('"manifest"') for text in contents)
    assert one[0] == two[0] and "Spearman" in one[0] and "speed" not in one[0] and one[2].count('"time.x.') == 4
    assert '"speed.x.share"' in one[2]
    assert "time.x.0" in report.report_text("quick") and load_results("quick")["02_x"]["manifest"]["jobs"] == 2


def git(folder, *arguments):
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_the_commit_is_of_the_checkout_itself_and_of_no_folder_around_it(tmp_path, monkeypatch):
    inner = tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    for folder in (tmp_path / "outer", tmp_path / "outer/inner"):
        monkeypatch.setattr(paths, "ROOT", inner)
        assert claims.git_state() is None
        git(folder, "init")
        git(folder, "commit", "--allow-empty", "-m", "first")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "outer/.git"))
    head = subprocess.run(
        ["git", "-C", str(inner), "rev-parse", "HEAD"], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    assert claims.git_state() == {"commit": head.stdout.strip(), "changed": False}


def test_searches_are_stored_under_a_name_of_all_that_decides_them_and_not_by_hand(monkeypatch):
    write_notebook(paths.NOTEBOOKS / "02_x.ipynb", ["from companion.figures import shared"])
    values = {"profile": "quick", "data_source": "bundled", "seed": 0}

    def folder(*names, **changed):
        return Results("02_x", values | changed).searches(*names)

    assert folder("digits", "random") is None
    monkeypatch.setenv("LATENTNAS_NOTEBOOK", "02_x")
    first = folder("digits", "random")
    assert folder("digits", "random", profile="quick+1") == first
    others = [folder("digits", "random", seed=5), folder("digits", "random", data_source="public"), folder("digits")]
    hashed = claims.notebooks.code._code_hash
    for module, same in [("companion.claims", True), ("latentnas.plots.style", True), ("latentnas.stats", False)]:
        edited = {module: "changed"}
        monkeypatch.setattr(claims.notebooks.code, "_code_hash", lambda name, new=edited: new.get(name) or hashed(name))
        assert (folder("digits", "random") == first) is same, module
    assert len({first, *others, folder("digits", "random")}) == 5
