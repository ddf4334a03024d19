"""What the tests of the coursework share: a notebook and its students' copy, answers, checks, runs."""

import json
import os
import re
import subprocess
import sys

import make_coursework
from nbclient import NotebookClient
from nbformat import reads

from companion import paths, runner

FOLDER = paths.NOTEBOOKS / "coursework"


def notebook(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))


def cells(notebook, key):
    """The sources of its code cells that have a mark of nbgrader, such as `solution`."""
    chosen = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in chosen if cell["metadata"].get("nbgrader", {}).get(key)]


def answers(notebook):
    """What the hidden import cells and the answers of a notebook define, by name."""
    names = {}
    for cell in notebook["cells"]:
        marked = "hide-input" in cell["metadata"].get("tags", ()) or cell["metadata"].get("nbgrader", {}).get(
            "solution"
        )
        if marked and cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    return names


def said(capsys, check, exercise, *answer, secrets=(), **case):
    """The message of a check that fails; that it is one paragraph for a person, without the answer."""
    capsys.readouterr()
    assert check(exercise, *answer, **case) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Exercise {exercise}, not yet: ") and "Traceback" not in text and "\n\n" not in text
    text = " ".join(text.split())
    assert text.endswith((".", "?", "`")) and 30 < len(text) < 600
    assert not [word for word in secrets if word in text.partition(": ")[2]], text
    return text


def require_made_from_source(solutions, students, unfinished):
    """Students' notebooks are what their source gives, with so many unfinished answers, and keep within a screen."""
    made = make_coursework.for_students(json.loads(json.dumps(solutions)))
    assert made == students, "make_coursework.py makes it anew"
    text = json.dumps(students)
    assert "SOLUTION" not in text and "HIDDEN TESTS" not in text
    assert text.count("raise NotImplementedError()") == unfinished + 1  # the words before the exercises name it
    for cell in students["cells"]:
        assert len(cell["source"]) <= 25
        assert cell["cell_type"] == "markdown" or not (cell["outputs"] or cell["execution_count"])


def points(notebook):
    marks = [cell["metadata"].get("nbgrader", {}) for cell in notebook["cells"]]
    names = [mark["grade_id"] for mark in marks if mark]
    assert len({*names}) == len(names)
    return sum(mark["points"] for mark in marks if mark.get("grade"))


def require_links(text, folder=FOLDER, at_least=1):
    glossary = (paths.NOTEBOOKS / "glossary.md").read_text(encoding="utf-8")
    titles = re.findall("(?m)^## (.+)$", glossary)
    anchors = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}
    targets = set(re.findall(r"\]\((?!https:)([^)#:]+)#?([^)]*)\)", text))
    assert len(targets) >= at_least
    for file, anchor in targets:
        assert (folder / file).exists() and (not anchor or anchor in anchors), (file, anchor)


def require_nbgrader_makes(name, solutions, students, course):
    """`nbgrader generate_assignment` gives the same notebook."""
    source, release = (course / folder / name / f"{name}.ipynb" for folder in ("source", "release"))
    source.parent.mkdir(parents=True)
    source.write_text(json.dumps(solutions))
    run_nbgrader(course, "generate_assignment", name, "--create")
    made = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(release.read_text())["cells"]]
    assert made == [(cell["cell_type"], "".join(cell["source"])) for cell in students["cells"]]


def run_nbgrader(course, *arguments):
    command = [sys.executable, "-m", "nbgrader", *arguments, f"--course-dir={course}"]
    places = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # it calls alembic by its name
    run = subprocess.run(command, cwd=course, env=os.environ | {"PATH": places}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def executed(notebook, folder):
    """The outputs of a notebook that runs in that folder, and the texts that its cells print."""
    # On a busy machine a kernel may need minutes to start; an output that is lost is an error, not a missing line.
    patience = {"timeout": 600, "startup_timeout": 300, "iopub_timeout": 60, "raise_on_iopub_timeout": True}
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(reads(json.dumps(notebook), 4), resources=place, **patience)
    environment = {"PYTHONPATH": runner.library_path(), "PYTHONSAFEPATH": "1"}
    run = client.execute(env=os.environ | environment)
    outputs = [output for cell in run.cells for output in cell.get("outputs", ())]
    return outputs, "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")
