"""Makes each notebook for students from its `_solutions.ipynb`, as `nbgrader generate_assignment` does.

python notebooks/coursework/make_coursework.py                 lab.ipynb, week1.ipynb and so on
python notebooks/coursework/make_coursework.py --run week1     runs week1_solutions.ipynb first and keeps its outputs;
                                                               `--run 02`: the solved exercises of notebook 02
A notebook that somebody has worked in is kept as week1.ipynb.before.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from hashlib import sha256
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


def write(file: Path, text: str, keep: bool) -> None:
    """All or nothing; what somebody has worked in, so that it is neither as the last call left it nor as the last
    commit has it, is kept beside it."""
    old = file.read_bytes() if keep and file.exists() else None
    made = file.with_name(f".{file.name}.made")  # the SHA-256 of what the last call wrote
    left = made.read_text() if made.exists() else ""
    if old not in (None, text.encode(), in_git(file)) and sha256(old).hexdigest() != left:
        before = file.with_name(f"{file.name}.before")
        while before.exists():  # an older one is somebody's work, too
            before = before.with_name(f"{before.name}-before")
        file.rename(before)
        print(f"{file.name} is neither as last made here nor as committed, so it is kept as {before.name}.")
    temporary = file.with_name(f".{file.name}.partial")
    temporary.write_bytes(text.encode())
    os.replace(temporary, file)
    if keep:
        made.write_text(sha256(text.encode()).hexdigest())


def in_git(file: Path) -> bytes | None:
    """What the last commit has of it, or None."""
    with suppress(OSError):
        shown = subprocess.run(["git", "show", f"HEAD:./{file.name}"], cwd=file.parent, capture_output=True)
        return shown.stdout if shown.returncode == 0 else None


def main(arguments: list[str]) -> int:
    wanted = {name for name in arguments if name != "--run"}
    sources = sorted([*FOLDER.glob("*_solutions.ipynb"), *FOLDER.glob("solutions/*.ipynb")])
    names = {source: {source.stem.removesuffix("_solutions"), source.stem.split("_")[0]} for source in sources}
    if unknown := wanted - set().union(*names.values()):
        known = ", ".join(sorted(source.stem.removesuffix("_solutions") for source in sources)) or "none is here"
        print(f"There is no unit {', '.join(sorted(unknown))}: take one of these ({known}).", file=sys.stderr)
        return 2
    for source in sources:
        if wanted and not wanted & names[source]:
            continue
        notebook = json.loads(source.read_text(encoding="utf-8"))
        notebook = run(notebook) if "--run" in arguments else notebook
        files = {source: dict}
        if source.parent == FOLDER:
            files[source.with_stem(source.stem.removesuffix("_solutions"))] = for_students
        for file, change in files.items():
            text = json.dumps(change(notebook), indent=1, ensure_ascii=False, sort_keys=True)
            write(file, text + "\n", keep=file != source)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
