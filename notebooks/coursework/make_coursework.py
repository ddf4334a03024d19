"""Makes each notebook for students from its `_solutions.ipynb`, as `nbgrader generate_assignment` does.

python notebooks/coursework/make_coursework.py                 lab.ipynb, week1.ipynb and so on
python notebooks/coursework/make_coursework.py --run week1     runs week1_solutions.ipynb first and keeps its outputs;
                                                               `--run 02`: the solved exercises of notebook 02
"""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

STUBS = {"code": "# YOUR CODE HERE\nraise NotImplementedError()", "markdown": "YOUR ANSWER HERE"}
REGION = re.compile(r"^([ \t]*)[^\n]*BEGIN SOLUTION.*?END SOLUTION[^\n]*$", re.DOTALL | re.MULTILINE)
HIDDEN = re.compile(r"^[^\n]*BEGIN HIDDEN TESTS.*?END HIDDEN TESTS[^\n]*\n?", re.DOTALL | re.MULTILINE)
FOLDER = Path(__file__).parent


def for_students(notebook: dict) -> dict:
    """The notebook without outputs and hidden tests, in place; a solution becomes what nbgrader puts there."""
    for cell in notebook["cells"]:
        stub, source = STUBS[cell["cell_type"]], "".join(cell["source"])
        source = REGION.sub(lambda found, stub=stub: re.sub("(?m)^", found[1], stub), source)
        cell["source"] = HIDDEN.sub("", source).rstrip("\n").splitlines(True)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return notebook


def run(notebook: dict) -> dict:
    """The notebook with what its cells print and draw, and without the paths of this machine."""
    import nbclient
    import nbformat

    from companion.runner import clean, library_path

    with tempfile.TemporaryDirectory() as folder:  # where the notebook may write a file
        options = {"resources": {"metadata": {"path": folder}}, "timeout": None}
        client = nbclient.NotebookClient(nbformat.reads(json.dumps(notebook), 4), **options)
        notebook = json.loads(nbformat.writes(client.execute(env=os.environ | {"PYTHONPATH": library_path()})))
    clean(notebook)
    return notebook


if __name__ == "__main__":
    wanted = [name for name in sys.argv[1:] if name != "--run"]
    for source in sorted([*FOLDER.glob("*_solutions.ipynb"), *FOLDER.glob("solutions/*.ipynb")]):
        if wanted and source.stem.removesuffix("_solutions") not in wanted and source.stem.split("_")[0] not in wanted:
            continue
        notebook = json.loads(source.read_text(encoding="utf-8"))
        notebook = run(notebook) if "--run" in sys.argv else notebook
        files = {source: dict}
        if source.parent == FOLDER:
            files[source.with_stem(source.stem.removesuffix("_solutions"))] = for_students
        for file, change in files.items():
            text = json.dumps(change(notebook), indent=1, ensure_ascii=False, sort_keys=True)
            file.write_text(text + "\n", encoding="utf-8")
