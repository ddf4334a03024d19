"""The exercises at the end of every notebook, and their solutions in notebooks/coursework/solutions.

A solution begins with a cell

    ## Exercise 2

    **10 minutes, easy.** The task in one sentence.

    *Expected:* what one would predict, in one sentence.

has code cells that run alone after those before the first exercise, and ends with a cell `**Answer.** ...`. The cell
tagged `parameters` is `small = False`. LATENTNAS_OUTPUT is a temporary folder, set before latentnas is imported.
"""

import json
import os
import re
import subprocess
import sys

import pytest
from nbclient import NotebookClient
from nbformat import reads

from companion import notebooks, paths, runner

FOLDER = paths.NOTEBOOKS / "coursework" / "solutions"
NAMES = {name.split("_")[0]: name for name in notebooks.names()}
FORM = re.compile(r"(\d+)\. \((\d+) minutes, (easy|medium|hard)\) \S.*[.?)]")
HEAD = re.compile(
    r"## Exercise (\d+)\n\n\*\*(\d+) minutes, (easy|medium|hard)\.\*\* \S[^\n]*[.?)]\n\n\*Expected:\* \S.*", re.DOTALL
)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell):
    return "".join(cell["source"])


def exercises(name):
    """What a notebook says of its exercises, in one cell or two, and the number, minutes and level of each."""
    texts = [source(cell) for cell in read(notebooks.source_of(NAMES[name]))["cells"]]
    [first] = [place for place, text in enumerate(texts) if text.startswith("## Exercises\n")]
    text = "\n".join(text for text in texts[first : first + 2] if text == texts[first] or re.match(r"\d+\.", text))
    return text, [FORM.fullmatch(line) for line in re.findall(r"(?m)^\d+\..*", text)]


def parts(name):
    """The cells of the solutions before the first exercise, and those of each exercise."""
    found = [[]]
    for cell in read(FOLDER / f"{name}_solutions.ipynb")["cells"]:
        if source(cell).startswith("## "):
            found.append([])
        found[-1].append(cell)
    return found[0], found[1:]


def code_of(cells):
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_every_notebook_has_its_solutions():
    assert {path.name for path in FOLDER.glob("*.ipynb")} == {f"{name}_solutions.ipynb" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_exercises_are_numbered_with_minutes_and_level(name):
    text, found = exercises(name)
    assert all(found), text
    assert [int(exercise[1]) for exercise in found] == [*range(1, len(found) + 1)]
    assert f"[Solutions](coursework/solutions/{name}_solutions.ipynb)." in text


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_has_a_solution_of_one_form(name):
    first, solved = parts(name)
    assert source(first[0]).startswith(f"# Solutions: {notebooks.title_of(NAMES[name])}\n")
    heads = [HEAD.fullmatch(source(cells[0])) for cells in solved]
    assert all(heads), [source(cells[0]) for cells, head in zip(solved, heads) if not head]
    assert [head.groups() for head in heads] == [exercise.groups() for exercise in exercises(name)[1]]
    for cells in solved:
        assert code_of(cells) and source(cells[-1]).startswith("**Answer.** "), source(cells[0])


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_short_and_every_exercise_runs_without_the_others(name, tmp_path):
    first, solved = parts(name)
    guard = code_of(read(notebooks.source_of(NAMES[name]))["cells"])[0]
    assert source(code_of(first)[0]) == source(guard)
    lines = [source(cell).splitlines() for cells in [first, *solved] for cell in code_of(cells)][1:]
    assert max(map(len, lines)) <= 25 and max(len(line) for cell in lines for line in cell) <= 120
    for number, cells in enumerate(solved, start=1):
        text = "\n\n".join(source(cell) for cell in code_of([*first, *cells]))
        (tmp_path / f"exercise_{number}.py").write_text(text + "\n")
    path = FOLDER / f"{name}_solutions.ipynb"
    for rules, target in (("F821", tmp_path), ("F", path)):
        command = [sys.executable, "-m", "ruff", "check", "--quiet", "--isolated", "--select", rules, str(target)]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("name", NAMES)
def test_its_links_lead_somewhere(name):
    glossary = (paths.NOTEBOOKS / "glossary.md").read_text(encoding="utf-8")
    titles = re.findall("(?m)^## (.+)$", glossary)
    anchors = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}
    first, solved = parts(name)
    text = "\n".join(source(cell) for cells in [first, *solved] for cell in cells if cell["cell_type"] == "markdown")
    targets = re.findall(r"\]\(([^)#:]+)#?([^)]*)\)", text)
    assert f"../../{NAMES[name]}.ipynb" in dict(targets)
    for file, anchor in targets:
        assert (FOLDER / file).is_file() and (not anchor or anchor in anchors), (file, anchor)


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_copy_is_executed_at_full_size(name):
    first, solved = parts(name)
    code = [cell for cells in [first, *solved] for cell in code_of(cells)]
    assert [source(cell) for cell in code if "parameters" in cell["metadata"].get("tags", [])] == ["small = False"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    for cells in solved:
        assert any(cell["outputs"] for cell in code_of(cells))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    images = [output for output in outputs if "image/png" in output.get("data", {})]
    assert all(output["metadata"]["image/png"]["alt"] for output in images)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_solutions_run_to_their_end_at_small_size_and_write_nothing(name, tmp_path):
    text = (FOLDER / f"{name}_solutions.ipynb").read_text(encoding="utf-8")
    (tmp_path / "here").mkdir()
    client = NotebookClient(
        reads(text.replace('"small = False"', '"small = True"'), 4),
        resources={"metadata": {"path": str(tmp_path / "here")}},
        timeout=600,
    )
    own = {"PYTHONPATH": runner.library_path(), "PYTHONSAFEPATH": "1", "LATENTNAS_OUTPUT": str(tmp_path / "output")}
    client.execute(env=os.environ | own)
    assert not [*tmp_path.glob("*/*")]
