"""What TEACHERS.md and the tops of the weeks say of hours and points, against the exercises."""

import ast
import json
import re
import runpy
import shutil
import subprocess

import nbformat
import pytest
from my_space import MySpace

from companion import paths
from coursework import FOLDER, notebook, require_links, run_nbgrader
from latentnas.benchmarks import DataError, load
from latentnas.interfaces import check_space

TEXT = (FOLDER / "TEACHERS.md").read_text(encoding="utf-8")
WEEKS = [1, 2, 3, 4]
NUMBERS = {"half": 0.5, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}


def texts(week):
    cells = notebook(f"week{week}")["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def hours_of(words):
    """Hours of `three and a half hours`, `two hours`, `40 minutes`."""
    if minutes := re.fullmatch(r"(\d+) minutes", words):
        return int(minutes[1]) / 60
    return sum(NUMBERS[word] for word in re.findall(r"\w+", words.lower()) if word in NUMBERS)


@pytest.mark.parametrize("week", WEEKS)
def test_the_hours_of_a_week_are_the_sum_of_its_exercises(week):
    first, *others = texts(week)
    parts = re.findall(r"(?m)^\*\*([\w ]+(?:minutes|hours)), (?:easy|medium|hard)\.\*\*", "\n".join(others))
    total = sum(map(hours_of, parts))
    said = hours_of(re.search(r"\*\*Time:\*\* ([\w ]+ hours)", first)[1])
    in_table = float(re.search(rf"\| \[Week {week}\].*?\| 1 h \| ([\d.]+) h \|", TEXT)[1])
    assert len(parts) >= 4 and said == in_table == pytest.approx(total)


@pytest.mark.parametrize("week", WEEKS)
def test_the_points_are_those_of_the_cells(week):
    marks = [cell["metadata"].get("nbgrader", {}) for cell in notebook(f"week{week}")["cells"]]
    graded = [(mark["grade_id"], mark["points"], mark["solution"]) for mark in marks if mark.get("grade")]
    checked, written = (sum(points for _, points, by_hand in graded if by_hand == of) for of in (False, True))
    hidden = sum(points for name, points, _ in graded if "hidden" in name)
    assert f"| Week {week} | {checked}, of them {hidden} hidden | {written} | {checked + written} |" in TEXT
    said = re.search(rf"(\w+) of the {checked + written} points come from", texts(week)[0])[1]
    assert NUMBERS[said.lower()] == hidden


def reading_minutes(name):
    """Minutes `to read` at the head of the notebook whose name begins so."""
    [file] = paths.NOTEBOOKS.glob(f"{name}_*.ipynb")
    head = "".join(json.loads(file.read_text(encoding="utf-8"))["cells"][0]["source"])
    return int(re.search(r"\*\*Takes\*\*.*?(\d+)(?: minutes)? to read", head)[1])


def test_the_minutes_to_read_before_a_unit_are_those_of_its_notebooks():
    [line] = re.findall(r"- To read before the lab.*", TEXT)
    parts = re.findall(r"[Bb]efore (the lab|week [123]): (.*?)(?=\. Before|\. The \[)", line)
    for _, text in parts:
        names = re.findall(r"\]\(\.\./(\w+?)_\w+\.ipynb\)", text)
        minutes = 60 if "an hour" in text else int(re.search(r"(\d+) minutes", text)[1])
        assert minutes == sum(map(reading_minutes, names))
    assert len(parts) == 4
    low, high = map(int, re.search(r"chosen sentence, (\d+) to (\d+) minutes", line).groups())
    sentences = next(text for text in texts(4) if text.startswith("## Eight sentences"))
    each = [reading_minutes(name) for name in set(re.findall(r"\| \[(\d\w+)\]", sentences))]
    assert (low, high) == (min(each), max(each))


def test_the_written_points_are_dealt_in_full():
    dealt = TEXT.partition("| unit | written points |")[2].partition("\n\n")[0]
    for unit, written in re.findall(r"(?m)^\| (Lab|Week \d) \| .*? \| (\d+) \| \d+ \|$", TEXT):
        [words] = re.findall(rf"(?m)^\| {unit} \| (.*) \|$", dealt)
        assert sum(map(int, re.findall(r"(\d+) for", words))) == int(written), unit


def test_the_timetable_of_the_lab_fills_its_three_hours():
    top = "".join(notebook("lab")["cells"][0]["source"])
    minutes = {name: int(time) for name, time in re.findall(r"(?m)^\| (\d|exit quiz)[^|]*\| (\d+) \|", top)}
    table = TEXT.partition("| minute | |")[2].partition("\n\n")[0]
    starts = [int(start) for start in re.findall(r"(?m)^\| (\d+) \|", table)]
    named = re.findall(r"(?:exercise|;) (\d), (\d+) minutes", table)
    assert {name: int(time) for name, time in named} == {name: minutes[name] for name in "123456"}
    first, second = (sum(minutes[name] for name in names) for names in ("123", "456"))
    assert starts == [0, 10, 10 + first, 180 - second] and starts[3] > starts[2]
    assert sum(minutes.values()) >= 180  # so with a break the quiz goes home


def test_the_first_exercise_for_points_says_that_types_have_other_numbers_than_the_text():
    [cell] = [text for text in map("".join, (c["source"] for c in notebook("lab")["cells"])) if "**1a.**" in text]
    assert "The numbers in `types` are not those of the text" in cell and "three tensors, in this order" in cell


def words_of(text):
    return len(re.sub(r"\]\([^)]*\)|<[^>]*>", "", text).split())


def test_the_words_before_the_first_exercise_are_as_many_as_it_says():
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    read = [readme.partition("<!-- findings -->")[0], re.search(r"- \*\*Teach with it\*\*.*", readme)[0]]
    assert "`./run_all.sh lab lab`" in read[1]
    for cell in notebook("lab")["cells"]:
        if cell["source"] == ['check("0", skips)']:
            break
        read += [] if "hide-input" in cell["metadata"].get("tags", ()) else ["".join(cell["source"])]
    count = sum(map(words_of, read))
    said, minutes = re.search(r"about (\d+) words of README and lab, ([\d.]+) minutes", TEXT).groups()
    assert abs(count - int(said)) <= 40 and float(minutes) == pytest.approx(int(said) / 200, abs=0.06)
    assert count / 200 + 0.5 + 37 / 60 <= 5.1  # minutes: to read, to type, of a busy machine


def test_the_copy_for_students_has_no_answers_and_no_tests(tmp_path):
    command = re.search(r"(?m)^    (rm -r .*)$", TEXT)[1]
    for folder in ("notebooks/coursework", "tests"):
        shutil.copytree(paths.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(command, shell=True, cwd=tmp_path / "notebooks/coursework", check=True)
    left = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not (tmp_path / "tests").exists() and {"week1.ipynb", "lab_checks.py"} <= {file.name for file in left}
    assert not [file for file in left if "BEGIN SOLUTION" in file.read_text() and file.name != "make_coursework.py"]
    kept = TEXT.partition("**Keep back**")[2].partition("\n\n**Hidden tests**")[0]
    assert "`tests/`" in kept and kept.index("Commit your changes first") < kept.index("git archive")


def test_the_readme_leaves_to_the_guide_what_to_keep_back():
    [line] = re.findall(r"- \*\*Teach with it\*\*.*", (paths.ROOT / "README.md").read_text(encoding="utf-8"))
    assert "`notebooks/coursework/TEACHERS.md` says what to keep back" in line and "_solutions" not in line


def test_a_table_of_ones_own_is_registered_and_searched_as_it_says(capsys):
    [line] = re.findall(r"- \*\*A search space\*\*.*", (paths.ROOT / "README.md").read_text(encoding="utf-8"))
    assert "named in `load` there and, with its files, in `download`" in line
    with pytest.raises(DataError, match="There is no table called 'mine'"):
        load("mine", "public")
    runpy.run_path(FOLDER / "templates/my_table.py", run_name="__main__")
    best = re.search(r"each search found: \[(.*)\]", capsys.readouterr().out)[1].split(", ")
    assert len(best) == 3 and max(map(float, best)) == 85


def test_the_space_of_the_template_can_be_listed():
    space, every = MySpace(), MySpace().enumerate()
    check_space(space)  # with `enumerate` it tries `index`, too
    assert len(every) == 64 and space.index(every.pad_to(7)).tolist() == list(range(64))
    small = every[:1]
    small = type(every)(small.types[:, [0, 1, 4]], small.adjacency[:, :3, :3], small.num_vertices - 2)
    assert space.choices(small).shape == (1, 6) and space.index(small).tolist() == [-1]
    unknown = space.from_choices([[2, 0, 0, 0, 0, 0]])  # an operation that the space does not have
    assert not space.contains(unknown).any() and space.index(unknown).tolist() == [-1]


def test_its_commands_and_files_are_there():
    settings = (FOLDER / "nbgrader_config.py").read_text(encoding="utf-8")
    assert "c.ExecutePreprocessor.timeout = 1800" in settings and "nbgrader formgrade" not in TEXT
    for name in re.findall(r"\$COURSEWORK/(\w+\.py)|notebooks/coursework/(\w+\.py)", TEXT):
        assert (FOLDER / "".join(name)).exists()
    tool = "tests/explorer_speed.py"
    assert f"python {tool} figures/quick/*_explorer.html" in TEXT and (paths.ROOT / tool).exists()


@pytest.mark.parametrize("week", WEEKS)
def test_an_interval_is_written_in_one_way_in_code_tables_and_texts(week):
    named = [json.dumps(notebook(f"week{week}{end}"), ensure_ascii=False) for end in ("", "_solutions")]
    for text in (*named, TEXT):
        assert not re.findall(
            r"(?<!\[)\[[-−]?\d+\.\d+, [-−]?\d+\.\d+\]|\[\{.{1,40}?:\.\df\}, \{.{1,40}?:\.\df\}\]", text
        )


@pytest.mark.parametrize("week", [1, 2])
def test_a_sentence_of_the_findings_has_two_numbers_at_most(week):
    [cell] = [cell for cell in notebook(f"week{week}_solutions")["cells"] if "answer-findings" in str(cell["metadata"])]
    lines = [line for line in cell["source"] if not line.startswith("|")]
    sentences = re.split(r"(?<=[.?!:])\s+", re.sub(r"\*\*\d\.\*\*", "", "".join(lines)))
    assert len(sentences) > 8
    assert not [words for words in sentences if len(re.findall(r"\d[\d.,]*", words)) > 2]


TRICKS = [
    "check = lambda *a, **k: 1",
    "def check(*a, **k):\n    return 1",
    "solved = {'1'}",
    "import week4_checks\nweek4_checks.carried_out['table'] = table",
    "from week4_checks import carried_out",
    "check.__code__ = (lambda *a, **k: 1).__code__",
    "import lab_checks as l",
    "check.keywords['checks'] = week2_checks.CHECKS",
    "np.allclose = lambda *a, **k: True",
    "stats.estimate = stats.mean_interval",
    "leaderboard.play = lambda *a: leaderboard.Run(good=1)",
    "import sys\nsys.modules['week3_checks'].LIMIT = 300",
    "setattr(torch, 'allclose', lambda *a, **k: True)",
]


@pytest.mark.parametrize("line_by_line", [True, False])
@pytest.mark.parametrize("trick", [None, *TRICKS])
def test_its_search_names_who_tricks_the_checks_and_nobody_else(trick, line_by_line, tmp_path):
    pattern = re.search(r"grep -lE '(.*)' submitted/\*/\*/\*\.ipynb", TEXT)[1]
    files = []
    for unit in ("lab", "week1", "week2", "week3", "week4"):
        handed_in = notebook(f"{unit}_solutions")  # with solutions and what cells print
        for cell in handed_in["cells"]:
            if trick and cell["metadata"].get("nbgrader", {}).get("solution") and cell["cell_type"] == "code":
                cell["source"] += ["\n", *trick.splitlines(keepends=True)]
            cell["source"] = cell["source"] if line_by_line else "".join(cell["source"])
        files.append(tmp_path / f"{unit}.ipynb")
        files[-1].write_text(json.dumps(handed_in, indent=1))
    found = subprocess.run(["grep", "-lE", pattern, *map(str, files)], capture_output=True, text=True)
    assert found.stdout.split() == [str(file) for file in files if trick]


def test_a_copied_cell_or_a_deleted_check_of_one_student_stops_no_grading(tmp_path):
    pytest.importorskip("nbgrader")
    from nbgrader.api import Gradebook

    assert "cp $COURSEWORK/nbgrader_config.py ." in TEXT
    shutil.copy(FOLDER / "nbgrader_config.py", tmp_path)
    answer, check = (
        nbformat.v4.new_code_cell(source, metadata={"nbgrader": mark | {"schema_version": 3, "task": False}})
        for source, mark in (
            ("one = 1", {"grade_id": "answer", "grade": False, "locked": False, "solution": True}),
            ("2 * one", {"grade_id": "check", "grade": True, "locked": True, "solution": False, "points": 2}),
        )
    )
    handed_in = {"ann": [answer, answer, check], "bea": [answer], "cem": [answer, check]}
    files = {f"submitted/{student}/toy/toy.ipynb": cells for student, cells in handed_in.items()}
    for name, cells in (files | {"source/toy/toy.ipynb": [answer, check]}).items():
        (file := tmp_path / name).parent.mkdir(parents=True)
        file.write_text(json.dumps(nbformat.v4.new_notebook(cells=cells)))  # as JupyterLab stores a copy: same mark
    run_nbgrader(tmp_path, "generate_assignment", "toy", "--create")
    run_nbgrader(tmp_path, "autograde", "toy")
    with Gradebook(f"sqlite:///{tmp_path}/gradebook.db") as grades:
        scores = {student: grades.find_submission("toy", student).score for student in handed_in}
    assert scores == {"ann": 2, "bea": 0, "cem": 2}


def test_its_links_lead_somewhere():
    require_links("\n".join(re.findall(r"\[[^\]]*\]\((?!http)[^)]*\)", TEXT)), at_least=10)


@pytest.mark.parametrize("week", WEEKS)
def test_what_students_read_of_a_check_shows_no_hidden_test(week):
    words = (FOLDER / f"week{week}_checks.py").read_text(encoding="utf-8").split('"""')[1]
    sources = ["".join(cell["source"]) for cell in notebook(f"week{week}_solutions")["cells"]]
    hidden = "".join(source.partition("BEGIN HIDDEN TESTS")[2].partition("### END")[0] for source in sources)
    parts = re.findall(r"made_up\(\d+, \d+|\w+=\d[\d.]*|secret=\"[^\"]+\"", hidden)
    assert parts and not [part for part in parts if part in words]


def gate_of(statement):
    """The exercises that must be solved before an `if` of the coursework runs; None for any other statement."""
    if not isinstance(statement, ast.If) or "solved" not in ast.unparse(statement.test):
        return None
    return {node.value for node in ast.walk(statement.test) if isinstance(node, ast.Constant)}


def names_in(statements, context):
    found = [node for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return {node.id for node in found if isinstance(node.ctx, context)}


@pytest.mark.parametrize("name", ["lab", *(f"week{week}" for week in WEEKS)])
def test_a_cell_waits_for_all_exercises_whose_answers_it_uses(name):
    code = [cell["source"] for cell in notebook(f"{name}_solutions")["cells"] if cell["cell_type"] == "code"]
    statements = [one for lines in code if not lines[0].startswith("%%") for one in ast.parse("".join(lines)).body]
    checked = re.findall(r'(?m)^(?:\w+ \* )?check\("(\w+)", (\w+)', "\n".join("".join(lines) for lines in code))
    asks, uses = {answer: {exercise} for exercise, answer in reversed(checked)}, 0
    for statement in statements:
        gate = gate_of(statement)
        if isinstance(statement, ast.FunctionDef) and statement.name not in asks:  # which may call answers
            own = names_in(statement.body, ast.Store) | {argument.arg for argument in statement.args.args}
            used = names_in(statement.body, ast.Load) - own
            asks[statement.name] = set().union(*(asks.get(name, ()) for name in used))
        elif gate is not None:
            made = names_in(statement.body, ast.Store)
            needed = {used: asks[used] for used in names_in(statement.body, ast.Load) - made if asks.get(used)}
            assert all(of <= gate for of in needed.values()), (ast.unparse(statement.test), needed)
            uses += len(needed)
            asks |= dict.fromkeys(made, gate)
        else:
            for name_made in names_in([statement], ast.Store):
                asks.pop(name_made, None)
    assert uses >= 2
