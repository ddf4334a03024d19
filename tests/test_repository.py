"""What is committed agrees with itself: dependencies with the lock, README and reports with the results,
notebooks with the conventions.
"""

import base64
import io
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from companion import notebooks, paths, profiles, report
from companion.claims import load_results
from latentnas.models import family

SOURCES = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
EXECUTED = sorted((paths.ROOT / "notebooks/executed").glob("*/*.ipynb"))
SOLVED = sorted((paths.ROOT / "notebooks/coursework").glob("**/*_solutions.ipynb"))
COURSE = sorted(set((paths.ROOT / "notebooks/coursework").glob("*.ipynb")).difference(SOLVED))


def cells_of(file):
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


def words_of(cell):
    return "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""


@pytest.mark.parametrize("rules", [["format", "--check"], ["check"]], ids=["format", "lint"])
def test_every_python_file_has_one_format_and_follows_the_lint_rules(rules):
    command = [sys.executable, "-m", "ruff", *rules, "--quiet", "lib", "tests"]
    run = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_notebooks_use_only_names_that_they_define():
    command = [sys.executable, "-m", "ruff", "check", "--quiet", "--isolated", "--select", "F", *map(str, SOURCES)]
    run = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_package_has_one_version():
    import latentnas

    assert tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["version"] == latentnas.__version__


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_source_is_stripped_and_declares_documented_parameters(source):
    notebook = json.loads(source.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None
            assert "".join(cell["source"]).count("\n") < 25, "long cells belong in the library"
            hidden = cell["metadata"].get("jupyter", {}).get("source_hidden", False)  # the tag hides on the site alone
            assert hidden == ("hide-input" in cell["metadata"].get("tags", ())), "hidden on the site, or in Jupyter"
    for parameter in notebooks.parameters_of(source.stem).values():
        assert parameter.help, f"no comment: {parameter.line}"
        number = re.search(r"\b(int|float)\b", parameter.line.partition("=")[0])
        assert not number or notebooks.ALLOWED.search(parameter.help), f"says not what is allowed: {parameter.line}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_what_cannot_be_is_refused_before_a_kernel_starts(source):
    """By a parameter's own line or by its type and name; only `profile`, which the command line sets, may be any."""
    values, declared = profiles.profile_parameters("quick", source.stem), notebooks.parameters_of(source.stem)
    for name in declared.keys() - {"profile"}:
        kind = declared[name].line.partition("=")[0]
        wrong = (
            [10**23] if "list[int" in kind else ["foo"] if "list[str" in kind else 10**23 if "int" in kind else "foo"
        )
        with pytest.raises(ValueError, match="(?i)does not fit|must be"):
            declared[name].checked(wrong)
            if fault := profiles.must_be(name, declared, values | {name: wrong}):
                raise ValueError(f"must be {fault}")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_what_was_published_and_what_we_found_have_one_form_each(source):
    """`> **The paper:** ...` and `**We found:** ...`, in no other words, emphasis or place."""
    for cell in json.loads(source.read_text())["cells"]:
        text = "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
        quoted = re.findall(r"^> \*\*The papers?:\*\*", text, re.M)
        assert len(re.findall(r"\*The (?:papers?|literature|authors)\b", text)) == len(quoted), text
        assert not re.search(r"\*\*Here\b|(?<!\*)\*[Ww]e (?:found|note)\b|\*\*We (?:found|note)\b(?!:\*\*)", text), text


TOP = {".ci", ".gitattributes", ".github", ".gitignore", "CITATION.cff", "LICENSE", "README.md", "Snakefile", "data"}
TOP |= {"environment.yml", "figures", "lib", "notebooks", "profiles", "pyproject.toml", "requirements.lock"}
TOP |= {"run_all.sh", "tests"}


def test_what_is_tracked_lies_where_it_belongs():
    """No file that a test or a run by hand left in the checkout."""
    if not (paths.ROOT / ".git").exists():
        pytest.skip("no repository")
    listed = subprocess.run(["git", "ls-files"], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout
    files = [Path(name).parts for name in listed.splitlines()]
    assert {parts[0] for parts in files} <= TOP
    kept = [parts[2:] for parts in files if parts[:2] == ("data", "results")]
    assert {profile for profile, *_ in kept} <= {*notebooks.PROFILES[1:]}  # all but smoke
    assert {Path(name).stem for _, name, *_ in kept} <= {*notebooks.names()}
    assert {parts[1] for parts in files if parts[0] == "data"} == {"bundled", "results"}


@pytest.mark.parametrize("profile", profiles.read_profiles().model_extra)
def test_every_profile_fits_the_notebooks(profile):
    alone = profiles.read_profiles().alone
    planned = {job.notebook for job in [*profiles.plan(profile), *profiles.plan(profile, alone)]}
    assert planned == {source.stem for source in SOURCES}
    assert not {job.notebook for job in profiles.plan(profile)} & {*alone}


def test_settings_changed_since_a_stored_run_are_those_that_are_meant():
    """One that is lost from profiles.toml shows here."""
    changed = {
        name: settings
        for profile in report.PUBLISHED
        for name, result in report.load_results(profile).items()
        if "code" in result["manifest"] and (settings := report.changed_settings(profile, result))
    }
    assert changed == {"12_tuning": "`performance_weight` 4 (today 32)"}


def test_a_number_is_one_notebook_and_a_lettered_one_comes_after_it():
    assert profiles.select_notebooks(["00"]) == ["00_start_here"]
    assert profiles.select_notebooks(["00b"]) == ["00b_model_by_hand"]
    assert profiles.select_notebooks(["01"]) == ["01a_enas", "01b_nas_bench", "01c_bundled_tables"]
    assert notebooks.names()[:2] == ["00_start_here", "00b_model_by_hand"]
    assert notebooks.title_of("00b_model_by_hand") == "The model by hand"


def test_readme_shows_the_stored_results():
    readme = (paths.ROOT / "README.md").read_text()
    assert readme == report.renewed(readme), "README.md is not what the results say; ./run_all.sh figures renews it"


def test_the_numbers_of_a_finding_are_stored():
    for finding in profiles.read_profiles().finding:
        known = {claim["id"] for claim in report.all_claims(load_results(finding.profile)[finding.notebook])}
        assert {*re.findall(r"{(.+?)(?::interval)?}", finding.text), *finding.when} <= known, finding.notebook


@pytest.mark.parametrize("label", sorted({*report.PUBLISHED} & {*report.labels_with_results()}))
def test_reports_show_the_stored_results(label):
    assert (paths.ROOT / "figures" / label / "REPORT.md").read_text() == report.report_text(label), (
        "./run_all.sh figures renews it"
    )


@pytest.mark.parametrize("path", [*EXECUTED, *SOLVED], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_executed_copy_carries_no_machine(path):
    text = path.read_text()
    assert not re.search(r"(?<![\w.])/(home|root|tmp|Users|work)/", text)
    assert "papermill" not in json.loads(text)["metadata"]


@pytest.mark.skipif(not (paths.ROOT / ".git").exists(), reason="not a checkout of git")
def test_no_tracked_file_names_a_folder_of_one_machine():
    folder = "[^[:alnum:]_.]/(home|root|Users|work)/[a-z]"
    found = subprocess.run(["git", "grep", "-nIE", folder], cwd=paths.ROOT, capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("", 1)  # nothing found


@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_executed_copy_is_of_the_source_that_its_results_name(path):
    manifest = load_results(path.parent.name)[path.stem]["manifest"]
    if "code" not in manifest:
        pytest.skip("run before results recorded their source")
    assert notebooks.code_cells_hash(path) == manifest["code"]["cells"], "copy and results are of different runs"


@pytest.mark.parametrize("path", [*EXECUTED, *SOLVED], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_page_that_an_executed_copy_shows_is_there(path):
    outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
    shown = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    for page in {*re.findall(r'(?:src|href)="([^":]+\.html)"', shown)}:
        assert (path.parent / page).is_file(), page


@pytest.mark.parametrize(
    "page",
    [page for page in sorted(paths.FIGURES.glob("*/*.html")) if page.parent.name != "scratch"],  # a reader's own runs
    ids=lambda page: f"{page.parent.name}/{page.stem}",
)
def test_a_page_to_touch_is_of_the_present_template(page):
    (template,) = paths.ROOT.glob(f"lib/*/*/{page.stem.rpartition('_')[2]}.html")
    before, after = template.read_text().split("{{data}}")
    text = page.read_text()
    assert text.startswith(before) and text.endswith(after), "run its notebook again"


@pytest.mark.parametrize("path", [*EXECUTED, *SOLVED], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_image_of_an_executed_copy_decodes(path):
    outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
    for output in outputs:
        data = {kind: "".join(content) for kind, content in output.get("data", {}).items() if "json" not in kind}
        images = [content for kind, content in data.items() if kind.startswith("image/")]
        for content in [*images, *re.findall('src="data:image/[a-z]+;base64,([^"]*)"', data.get("text/html", ""))]:
            Image.open(io.BytesIO(base64.b64decode(content.replace("\n", ""), validate=True))).load()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_run_by_hand_has_the_sizes_of_quick_and_the_name_of_no_published_profile(source):
    by_hand = {name: parameter.default for name, parameter in notebooks.parameters_of(source.stem).items()}
    assert by_hand.pop("profile") == "scratch" and "scratch" not in profiles.read_profiles().model_extra
    quick = profiles.profile_parameters("quick", source.stem)
    assert by_hand == {name: value for name, value in quick.items() if name != "profile"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_default_run_has_a_published_number_or_the_notebook_says_why_not(source):
    cells = json.loads(source.read_text())["cells"][:4]
    box = " ".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    claims = load_results("quick").get(source.stem, {"claims": []})["claims"]
    said = re.search(r"\b([Nn]o|[Nn]othing|[Nn]one)\b[^.]*\b(numbers?|values?|prints?|printed|says)\b", box)
    assert said or any(claim["paper"] is not None for claim in claims)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_opens_with_question_goals_needs_and_minutes(source):
    box = words_of(cells_of(source)[0])
    heads = [box.find(f"\n**{head}**") for head in ("Question.", "You learn")]
    assert 0 < heads[0] < heads[1] and re.search(r"^\*\*(Reproduces|Checks|Extends|Introduces)\*\*", box, re.M)
    assert re.search(r"\*\*Takes\*\* .*\b\d+ (minutes )?to read\b", box)


def test_the_reading_paths_take_as_long_as_the_notebooks_say():
    minutes = {
        notebooks.number_of(s.stem): int(re.search(r"(\d+) (?:minutes )?to read", words_of(cells_of(s)[0]))[1])
        for s in SOURCES
    }
    readme = (paths.ROOT / "README.md").read_text()
    short, half = (
        re.findall(r"\b\d\d[a-z]?\b", re.search(rf"\*\*{path}:\*\* (.*?)\.", readme)[1])
        for path in ("90 minutes", "Half a day")
    )
    assert abs(sum(minutes[number] for number in short) - 90) <= 10
    assert 3.5 * 60 <= sum(minutes[number] for number in half) <= 5 * 60


def test_the_times_of_the_default_run_add_up():
    """README says in one sentence what its column of `quick` adds up to, without notebooks that run only when asked."""
    readme, alone = (paths.ROOT / "README.md").read_text(), profiles.read_profiles().alone
    rows = [row for row in readme.splitlines() if row.startswith("| [")]
    rows = [row for row in rows if not any(f"{name}.ipynb" in row for name in alone)]
    took = [(int(n), unit) for row in rows for n, unit in re.findall(r"quick (\d+) (s|min)\b", row.split(" | ")[-1])]
    assert len(took) == len(notebooks.names()) - len(alone)
    said = int(re.search(r"Their times in the table add up to (\d+) minutes", readme)[1])
    assert abs(sum(n if unit == "min" else n / 60 for n, unit in took) - said) < 1.5  # of rounded minutes


def test_published_results_come_from_clean_commits():
    changed = set()
    for label in report.PUBLISHED:
        for notebook, results in load_results(label).items():
            if results["manifest"]["git"]["changed"]:
                changed.add(f"{label}/{notebook}")
    assert not changed


def test_next_leads_through_all_notebooks_and_what_one_needs_comes_before():
    texts = {notebooks.number_of(source.stem): "\n".join(map(words_of, cells_of(source))) for source in SOURCES}
    order = ["00"]
    while following := re.search(r"^\*\*Next:\*\* .*?\[(\d\d[a-z]?)\b", texts[order[-1]], re.M):
        assert following[1] not in order, f"{order[-1]} leads back to {following[1]}"
        order.append(following[1])
    assert {*order} == {*texts}
    for place, number in enumerate(order):
        needed = re.search(r"\*\*Needs\*\*(.*?)\*\*Takes\*\*", texts[number], re.S)[1]
        assert {*re.findall(r"\b\d\d[a-z]?\b", re.sub(r"\(.*?\)", "", needed))} <= {*order[:place]}, number
    everything = re.search(r"\*\*Everything:\*\* (.*?)\. ", (paths.ROOT / "README.md").read_text())[1]
    everything = everything.replace("02 to 06", "02, 03, 04, 05, 06").replace(" and", ",")
    assert everything.split(", ") == order


@pytest.mark.parametrize("source", [*SOURCES, *COURSE], ids=lambda path: path.stem)
def test_a_badge_opens_the_notebook_on_colab_and_says_where_its_library_is(source):
    address = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    form = r"^\[!\[Open in Colab\]\((\S+)\)\]\((\S+)\) `ADDRESS = (\S+)`$"
    [(picture, target, told)] = re.findall(form, words_of(cells_of(source)[0]), re.M)
    assert (source.parent / picture).is_file() and told == address
    there = address.replace("https://github.com", "https://colab.research.google.com/github")
    assert target == f"{there}/blob/main/{source.relative_to(paths.ROOT)}"
    code = "".join("".join(cell["source"]) for cell in cells_of(source) if cell["cell_type"] == "code")
    assert "git+ADDRESS" in code and address not in code  # results name their code cells


@pytest.mark.parametrize("folder", sorted({path.parent for path in EXECUTED}), ids=lambda folder: folder.name)
def test_links_of_executed_copies_lead_somewhere(folder):
    for path in folder.glob("*.ipynb"):
        for target in re.findall(r"\]\(([^)#:\s]+)[)#]", "\n".join(map(words_of, cells_of(path)))):
            assert (folder / target).exists(), (path.name, target)


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"(?:\]\(|src=\")([^)#:\"]+)[)\"]", (paths.ROOT / "README.md").read_text()):
        assert (paths.ROOT / target).exists(), target


@pytest.mark.parametrize(
    "file, attributes",
    [("run_all.sh", "text: auto eol: lf"), ("figures/x.png", "text: unset"), ("x.gz", "text: unset")],
)
def test_a_clone_has_the_same_bytes_whatever_the_settings_of_git(file, attributes):
    command = ["git", "check-attr", "text", "eol", "--", file]
    run = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    if run.returncode:
        pytest.skip("no repository")
    assert attributes in run.stdout.replace(f"\n{file}:", "").removeprefix(f"{file}: ")


def test_models_are_trained_with_the_settings_that_were_chosen():
    """Notebook 12 stores them; `family.TUNED` is what the other notebooks read, and a changed entry makes them new."""
    file = paths.ROOT / "data/results/recommended/12_tuning/chosen.csv"
    if not file.exists():
        pytest.skip("notebook 12 has not run in recommended")
    chosen = pd.read_csv(file).set_index(["space", "model"])[["optimizer", "rate"]]
    stored = {(space, name): (row.optimizer, row.rate) for (space, name), row in chosen.iterrows()}
    rates = {name: zip(family.TUNED_ON, rates, strict=True) for name, rates in family.TUNED.items()}
    assert {(space, name): ("muon", rate) for name, chosen in rates.items() for space, rate in chosen} == stored
