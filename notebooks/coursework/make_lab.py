"""Makes lab.ipynb, for students, from lab_solutions.ipynb, as `nbgrader generate_assignment` does.

python notebooks/coursework/make_lab.py --run      runs lab_solutions.ipynb first and keeps its outputs
"""

import json
import os
import re
import sys
from pathlib import Path

STUBS = {"code": "# YOUR CODE HERE\nraise NotImplementedError()", "markdown": "YOUR ANSWER HERE"}
REGION = re.compile(r"^([ \t]*)[^\n]*BEGIN SOLUTION.*?END SOLUTION[^\n]*$", re.DOTALL | re.MULTILINE)
FOLDER = Path(__file__).parent


def for_students(notebook: dict) -> dict:
    """The notebook without outputs, in place; each solution replaced by what nbgrader puts there."""
    for cell in notebook["cells"]:
        stub, source = STUBS[cell["cell_type"]], "".join(cell["source"])
        cell["source"] = REGION.sub(lambda found, stub=stub: re.sub("(?m)^", found[1], stub), source).splitlines(True)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return notebook


if __name__ == "__main__":
    made = json.loads((FOLDER / "lab_solutions.ipynb").read_text(encoding="utf-8"))
    if "--run" in sys.argv:
        import nbclient
        import nbformat

        from companion.runner import clean, library_path

        run = nbclient.NotebookClient(nbformat.reads(json.dumps(made), 4))
        made = json.loads(nbformat.writes(run.execute(env=os.environ | {"PYTHONPATH": library_path()})))
        clean(made)
    for name, change in {"lab_solutions.ipynb": dict, "lab.ipynb": for_students}.items():
        text = json.dumps(change(made), indent=1, ensure_ascii=False, sort_keys=True)
        (FOLDER / name).write_text(text + "\n", encoding="utf-8")
