"""The leaderboard of week 3: it counts by itself, its searchers see no labels, and whatever they do ends in a line."""

import ctypes
import gc
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import leaderboard
import make_coursework
import numpy as np
import pandas as pd
import pytest

from companion import paths
from latentnas.interfaces import check_searcher
from latentnas.search.base import run
from latentnas.search.discrete import RandomSearch, RegularisedEvolution
from latentnas.search.history import expected_random_search, queries_to_optimum

SECRET = "a secret of the teacher"
LANDLOCK = sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, 0, 1) > 0  # from 5.13 on, if it is on
FILE = paths.NOTEBOOKS / "coursework/leaderboard.py"
HEAD = """
import numpy as np

class MySearcher:
    def __init__(self, domain, seed):
        self.domain, self.seed, self.number = domain, seed, 0
        self.order = domain.shuffled(np.random.default_rng(seed))

    def next(self, n):
        self.number += 1
        return np.array([next(self.order) for _ in range(n)])

    def tell(self, rows, values):
        pass

    def ask(self, n):
"""
TEMPLATE = FILE.parent / "templates/my_searcher.py"
BAD = {  # what ask does: what the table says
    "return self.next(n + 2)": "asked for 5 rows, but gives 7",
    "return np.array([99999])": "row 99999, but rows are 0 to 15624",
    "return np.array([-1])": "row -1",
    "return np.array([10**30])": "whole numbers",
    "return np.array([np.nan])": "gives NaN",
    "return self.next(n) + 0.5": "gives float64",
    "return None": "gives object of shape",
    "return [[1, 2]]": "int64 of shape [1, 2]",
    "return 'row 1'": "<U5",
    "return 1 / 0": "in ask, line 17 with ZeroDivisionError: division by zero",
    "raise NotImplementedError()": "not finished",
    "raise SystemExit(0)": "SystemExit",
    "import os; os._exit(0)": "ended by itself",
    "raise MemoryError()": "GB of memory",
    "return bytearray(10**11)": "GB of memory",
    "return self.domain.space.sample(n, 0)": "AttributeError",
    "while True: pass": "longer than 3 s",
    "while True: print('x' * 10000)": "prints more than 1,000,000",
    "import os; os.system('true')": "starts, ends or calls another program",
    "import os; os.kill(os.getppid(), 9)": "starts, ends or calls another program",
    "import socket; socket.create_connection(('127.0.0.1', 9))": "another program (socket",
    "import os; open(f'/proc/{os.getppid()}/cmdline')": "into another process",
    "import os; os.chdir(f'/proc/{os.getppid()}'); open('cmdline')": "into another process",
    "import os; S=type('S', (str,), {'__format__': str.upper}); open(S(f'/proc/{os.getppid()}/io'))": "another process",
    "import os; os.open('/', os.O_RDONLY)": "opens a folder as a file",
    "import os; os.remove(FILE_OF_MINE)": "changes what was there before (os.remove)",
    "import os; os.rename(FILE_OF_MINE, FILE_OF_MINE + '2')": "changes what was there before (os.rename)",
    "import os; os.utime(FILE_OF_MINE)": "changes what was there before (os.utime)",
    "import os; os.truncate(FILE_OF_MINE, 0)": "changes what was there before (os.truncate)",
    "import pathlib; pathlib.Path(FILE_OF_MINE).parent.rmdir()": "changes what was there before (os.rmdir)",
    "open(FILE_OF_MINE, 'w')": "changes what was there before (open)",
    "open(FILE_OF_MINE, 'r+b')": "changes what was there before (open)",
    "import os; os.open(FILE_OF_MINE, os.O_WRONLY | os.O_TRUNC)": "changes what was there before (open)",
    "import os; os.close(os.open(FILE_OF_MINE, os.O_TRUNC))": "changes what was there before (open)",
    "import os; open('own', 'w').close(); os.replace('own', FILE_OF_MINE)": "changes what was there before (replaced)",
    "import os; os.setxattr(FILE_OF_MINE, 'user.x', b'1')": "changes what was there before (os.setxattr)",
    "open('/dev/null', 'w').close(); return None": "gives object of shape",
    "import sqlite3; sqlite3.connect('x')": "goes past Python (sqlite3.connect)",
    "import ctypes; ctypes.CDLL(None)": "goes past Python (ctypes.dlopen)",
    "import ctypes; ctypes.pythonapi.fopen": "goes past Python (ctypes.dlsym)",
    "import gc; gc.get_objects()": "goes past Python (gc.get_objects)",
    "import readline; readline.read_history_file(FILE_OF_MINE)": "goes past Python (readline)",
    "S=type('S', (str,), {'__eq__': lambda *x: 0, '__hash__': str.__hash__}); __import__(S('readline'))": "(readline)",
}
LOOK_UP = """
        from latentnas import benchmarks
        try:
            table = benchmarks.load("nasbench201", "bundled")
        except BaseException:
            return self.next(n)
        return np.argsort(-table.labels(table.signals[0]))[:n]
"""


@pytest.fixture(scope="module")
def board():
    return leaderboard.digits()


@pytest.fixture(scope="module")
def cora():
    pytest.importorskip("nas_bench_graph")
    return leaderboard.cora()


def written(ask):
    return HEAD + " " * 8 + ask


def played(board, source, secret=None, number=0, seconds=120.0):
    return leaderboard.play(board, ("mine", source), secret, number, seconds)


@pytest.mark.slow
def test_what_a_submission_does_wrong_is_one_line_and_out(board, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("kept")
    for ask, words in BAD.items():
        source = written(ask.replace("FILE_OF_MINE", repr(str(mine))))
        run = played(board, source, seconds=3.0 if "while True: pass" in ask else 120.0)
        assert words in run.wrong and "Traceback" not in run.wrong and math.isinf(run.best), (ask, run)
    assert mine.read_text() == "kept"


@pytest.mark.slow
def test_a_file_that_is_no_searcher_is_told_so(board):
    for source, words in {
        "": "should have one class with ask and tell, but has none",
        written("pass").replace("MySearcher", "A") + written("pass").replace("MySearcher", "B"): "has 2 (A, B)",
        "class": "is no Python that can be read",
        "import nothing_of_this_name": "when it is read, line 1 with ModuleNotFoundError",
        HEAD.replace("self.number = domain", "self.number = domein"): "is no Python",
        written("pass").replace("domain.shuffled", "domain.all"): "when it is made, line 7 with AttributeError",
        written("return self.next(n)").replace("        pass", "        self.x.y"): "in tell, line 14",
    }.items():
        assert words in played(board, source).wrong, words


def test_the_template_can_be_handed_in_as_it_is(board):
    source = TEMPLATE.read_text()
    for secret in (None, SECRET):
        assert not (run := played(replace(board, budget=100), source, secret)).wrong and not run.ended


def test_who_reads_labels_is_out_even_if_nothing_is_raised_there(board):
    found = played(board, written("pass") + LOOK_UP)
    assert "digits-nb201.csv.gz, where labels are" in found.wrong and math.isinf(found.good)


@pytest.mark.skipif(not LANDLOCK, reason="other systems let compiled code pass")
def test_compiled_code_reads_no_labels_and_no_secret_but_all_else(board, tmp_path, monkeypatch):
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    (tmp_path / "other.txt").write_text(SECRET)
    monkeypatch.setattr(leaderboard, "_SECRET_FILES", [secret])
    read = "import torch; raise ValueError(bytes(torch.from_file({!r}, size=6, dtype=torch.uint8).tolist()))"
    for place in (leaderboard.paths.BUNDLED / "digits-nb201.csv.gz", secret):
        assert "ermission denied" in played(board, written(read.format(str(place)))).wrong
    for place in (tmp_path / "other.txt", FILE):
        assert f"ValueError: {place.read_bytes()[:6]!r}" in played(board, written(read.format(str(place)))).wrong


NOTES = {  # how a run leaves a note in PLACE: what the table says
    "open(PLACE, 'a')": "writes outside the folder that it is started in (open)",
    "open(PLACE.encode(), 'x')": "writes outside the folder that it is started in (open)",
    "open(os.path.relpath(PLACE), 'w')": "writes outside the folder that it is started in (open)",
    "os.close(os.open(PLACE, os.O_CREAT))": "writes outside the folder that it is started in (open)",
    "os.mkdir(PLACE)": "writes outside the folder that it is started in (os.mkdir)",
    "os.makedirs('a/b'); os.mkdir('a/b/../../../' + PLACE.strip('/'))": "out",
    "os.symlink('row 7', PLACE)": "writes outside the folder that it is started in (replaced)",
    "open('own', 'w'); os.link('own', PLACE)": "writes outside the folder that it is started in (replaced)",
    "open('own', 'w'); os.rename('own', PLACE)": "writes outside the folder that it is started in (replaced)",
    "os.symlink(PLACE, 'own'); open('own', 'w')": "writes outside the folder that it is started in (open)",
    "os.symlink(os.path.dirname(PLACE), 'own'); open('own/' + os.path.basename(PLACE), 'w')": "(open)",
    "S = type('S', (str,), {'rstrip': lambda *x: 'own'}); open(S(PLACE), 'w')": "(open)",
    "np.save(PLACE, np.arange(3))": "writes outside the folder that it is started in (open)",
    "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)": "(os.setpriority)",
    "import posix; posix.sched_setaffinity(os.getppid(), {0})": "(os.sched_setaffinity)",
    "import signal; signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)": "(os.pidfd_open)",
    "import resource; resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))": "(resource.prlimit)",
}
COMPILED = (  # the same, of code in C, C++ and Rust, which Python does not report
    "import torch; torch.save({}, PLACE)",
    "import torch; torch.from_file(PLACE, shared=True, size=8, dtype=torch.uint8)",
    "from safetensors.torch import save_file; import torch; save_file({'x': torch.ones(1)}, PLACE)",
    "os.mkfifo(PLACE)",
    "import _posixshmem; _posixshmem.shm_open('/' + SHARED, os.O_CREAT | os.O_RDWR, mode=0o600)",
)
THERE = "import os; there = os.path.lexists(PLACE) or os.path.exists('/dev/shm/' + SHARED); "


@pytest.mark.slow
def test_no_run_leaves_a_note_for_the_next_one(board, tmp_path):
    shared = f"note_{os.getpid()}"
    place = tmp_path / shared

    def asked(note):
        return played(board, written(note.replace("PLACE", repr(str(place))).replace("SHARED", repr(shared)))).wrong

    for note, words in NOTES.items():
        assert words in asked("import os; " + note), note
        assert not os.path.lexists(place), note
    if LANDLOCK:
        for note in COMPILED:
            assert "rror" in asked("import os; " + note + "; raise RuntimeError('it is written')"), note
            assert "ValueError: False" in asked(THERE + "raise ValueError(there)"), note


def test_no_run_finds_what_another_one_changed_in_memory(board):
    places = "np.seen, os.environ['SEEN'], type(self.domain).seen, sys.modules['json'].seen, builtins.seen"
    found = "hasattr(np, 'seen'), 'SEEN' in os.environ, hasattr(type(self.domain), 'seen'), hasattr(json, 'seen'), "
    ask = f"import builtins, json, os, sys; found = {found} hasattr(builtins, 'seen'); {places} = '12345'; "
    for number in range(2):
        run = played(board, written(ask + "raise ValueError(*found)"), None, number)
        assert "ValueError: (False, False, False, False, False)" in run.wrong


def test_what_is_written_in_the_folder_of_a_run_is_no_offence_and_goes_with_it(board, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uses = """
        import os, pathlib, shutil, tempfile, torch
        os.makedirs("a/b/c")
        pathlib.Path("a/b/c/x").write_text("1")
        open("a/../y", "w").close()
        os.replace("y", "a/y")
        os.symlink("y", "a/z")
        shutil.move("a", "moved")
        open(os.path.abspath("moved/b/c/../../y"), "a").close()
        torch.save({}, "moved/b/model.pt")
        torch.save({}, tempfile.mkdtemp() + "/model.pt")
        tempfile.NamedTemporaryFile().close()
        tempfile.TemporaryFile().close()
        os.remove("moved/z")
        shutil.rmtree("moved")
        open(os.devnull, "w").close()
        return []
"""
    assert played(board, written("pass") + uses) == leaderboard.Run(ended="asks for nothing any more")
    assert not [file for file in tmp_path.iterdir() if not file.name.startswith("pymp-")]


def test_a_link_to_the_labels_is_no_way_around(board, tmp_path):
    (tmp_path / "x").symlink_to(leaderboard.paths.BUNDLED)
    source = written(f"import pandas; pandas.read_csv({str(tmp_path / 'x' / 'digits-nb201.csv.gz')!r}); return []")
    assert "where labels are" in played(board, source).wrong


@pytest.mark.slow
def test_who_reads_the_labels_of_cora_is_out_too(cora):
    for read in ("nas_bench_graph.light_read('cora')", "open(nas_bench_graph.__file__[:-11] + 'light/cora.bench')"):
        found = played(cora, written(f"import nas_bench_graph; {read}"), SECRET)
        assert "where labels are" in found.wrong and math.isinf(found.good), found


WALKED = """
        import sys
        from types import FunctionType
        found, open_, seen = [], [], set()
        frame = sys._getframe()
        while frame:
            open_ += [frame.f_locals, frame.f_globals]
            frame = frame.f_back
        open_ += [vars(module) for module in list(sys.modules.values()) if module]
        while open_ and len(seen) < 300_000:
            thing = open_.pop()
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if isinstance(thing, np.ndarray) and thing.dtype.kind == "f" and len(np.unique(thing)) > 1000:
                found.append(thing.shape)
            elif type(thing) is dict:
                open_ += thing.values()
            elif type(thing) in (list, tuple, set, frozenset):
                open_ += thing
            elif type(thing) is FunctionType and thing.__closure__:
                for cell in thing.__closure__:
                    try:
                        open_.append(cell.cell_contents)
                    except ValueError:  # it is empty
                        pass
            elif f"{type(thing).__module__}".partition(".")[0] in ("leaderboard", "multiprocessing", "latentnas"):
                open_.append(getattr(thing, "__dict__", {}))
        raise ValueError(found, len(seen) > 1000)
"""


@pytest.mark.slow
def test_no_frame_and_no_module_of_a_searchers_process_leads_to_a_label(board, cora):
    for table in (board, cora):
        for secret in (None, SECRET):
            assert "ValueError: ([], True)" in played(table, written("pass") + WALKED, secret).wrong


EMPTIED = """
        import builtins, os, posixpath, re, sys
        for module in list(sys.modules.values()):
            for name, value in list(vars(module).items()):
                if "leaderboard" in module.__name__ or name in ("_PLACES", "_FILES"):
                    value.clear() if isinstance(value, list | set | dict) and name[:2] != "__" else None
                    setattr(module, name, () if isinstance(value, tuple) else value)
        os._exit = os.stat = os.path.realpath = re.match = print
        kept, builtins.isinstance = open, lambda *given: False
        kept(FILE).read(1)
        return []
"""


def test_the_guard_cannot_be_emptied_from_inside(board):
    file = str(leaderboard.paths.BUNDLED / "digits-nb201.csv.gz")
    assert "where labels are" in played(board, written("pass") + EMPTIED.replace("FILE", repr(file))).wrong


def test_what_normal_searchers_import_and_call_is_no_offence(board):
    uses = """
        import os, tempfile, torch
        from sklearn.cluster import KMeans
        from sklearn.ensemble import ExtraTreesRegressor
        from sklearn.gaussian_process import GaussianProcessRegressor
        x = self.domain.inputs(np.arange(30))
        KMeans(2, n_init=1).fit(x)
        for model in (ExtraTreesRegressor(5, n_jobs=2), GaussianProcessRegressor()):
            model.fit(x, x[:, 0]).predict(x)
        layer = torch.nn.Linear(2, 1)
        torch.optim.Adam(layer.parameters()).step()
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(folder + "/x")
            torch.save(layer.state_dict(), folder + "/x/model.pt")
        open("/proc/self/status"), open("/proc/cpuinfo"), open("notes", "w")
        return []
"""
    assert played(board, written("pass") + uses) == leaderboard.Run(ended="asks for nothing any more")


def test_the_secret_is_neither_in_the_arguments_nor_in_a_file_that_can_be_read(board, tmp_path, monkeypatch, capsys):
    (tmp_path / "arguments.py").write_text(written("import sys; raise ValueError(sys.argv[1:])"))
    (tmp_path / "file.py").write_text(written(f"open({str(tmp_path / 'link.txt')!r})"))
    (tmp_path / "hidden.txt").write_text(SECRET)
    (tmp_path / "link.txt").hardlink_to(tmp_path / "hidden.txt")
    monkeypatch.setattr(leaderboard, "digits", lambda: board)
    monkeypatch.setattr(leaderboard, "cora", partial(leaderboard._stop, "not played"))
    monkeypatch.setattr(leaderboard, "DataError", ValueError)
    given = ["x", str(tmp_path), "--seeds", "1", "--no-baselines", "--csv", str(tmp_path / "x.csv")]
    for more in (["--secret", SECRET], ["--hidden-seeds", str(tmp_path / "hidden.txt")]):
        monkeypatch.setattr("sys.argv", given + more)
        assert leaderboard.main() == 0
        told = capsys.readouterr().out
        assert "with ValueError: []" in told and SECRET not in told and "hidden.txt" not in told
    assert "opens link.txt, where labels are (or the secret)" in told


@pytest.mark.slow
def test_rows_that_are_known_by_heart_are_of_no_use_in_hidden_runs_and_are_told(board):
    row = int(board.labels.argmax())
    source = written(f"return self.next(n) if self.number else [{row}, *self.next(n - 1)]")
    assert played(board, source).best == 1
    runs = {
        part: [played(board, source, secret, number) for number in range(8)]
        for part, secret in (("public", None), ("hidden", SECRET))
    }
    assert {run.best for run in runs["public"]} == {1} and sum(run.best < 300 for run in runs["hidden"]) <= 4
    found = leaderboard._row("x", runs, "", {"digits": board})
    assert "where the names are known" in found["remark"] and found["hidden_best"] > 100


@pytest.mark.slow
def test_what_is_known_by_heart_of_cora_is_of_no_use_in_its_hidden_runs_and_is_told(board, cora):
    row = int(cora.labels.argmax())
    source = written(f"return self.next(n) if self.number else [{row}, *self.next(n - 1)]")
    runs = {"public": [leaderboard.Run(90, 20)] * 8, "hidden": [leaderboard.Run(90, 20)] * 8}
    for part, secret in (("cora_public", None), ("cora", SECRET)):
        runs[part] = [played(cora, source, secret, number) for number in range(8)]
    assert {run.good for run in runs["cora_public"]} == {1} and min(run.good for run in runs["cora"]) > 1
    found = leaderboard._row("x", runs, "", {"digits": board, "cora": cora})
    assert "where the names are known" in found["remark"] and found["cora_public"] == 100 > found["cora"]
    runs["cora_public"] = runs["cora"]
    assert not leaderboard._row("x", runs, "", {"digits": board, "cora": cora})["remark"]


def test_both_tables_have_public_runs_and_hidden_ones(board, monkeypatch):
    played_with = []

    def play(board, submission, secret, number, seconds):
        played_with.append((board.name, secret, number))
        return leaderboard.Run(9, 3)

    monkeypatch.setattr(leaderboard, "play", play)
    boards = {"digits": board, "cora": replace(board, name="cora", budget=50)}
    runs, wrong = leaderboard._all_runs(boards, ("mine", ""), SECRET, 2, 9.0, 1)
    assert not wrong and list(runs) == ["public", "hidden", "cora_public", "cora"]
    assert played_with == [
        (name, secret, number) for name in ("digits", "cora") for secret in (None, SECRET) for number in (0, 1)
    ]
    table = pd.DataFrame([{"rank": "1"} | leaderboard._row("mine", runs, "", boards)])
    heads, _, line = leaderboard.as_markdown(table).splitlines()
    assert heads.endswith("| Cora: best 1 % within 50 | Cora, public | remark |") and line.count("100 % (") == 2


RENAMED = """
        import itertools
        cells = [[names[x - 2] for x in (2, 3, 3, 4, 3, 3)] for names in itertools.permutations(range(5), 3)]
        cells = self.domain.from_choices(np.array(cells))
        return cells[n * self.number - n : n * self.number] if len(self.next(1)) else []
"""


@pytest.mark.slow
def test_who_carries_the_best_cell_and_tries_its_renamings_gets_a_remark(board):
    source = written("pass") + RENAMED
    hidden = [played(board, source, SECRET, number) for number in range(leaderboard.ENOUGH)]
    assert max(run.best for run in hidden) <= leaderboard.RENAMINGS
    words = "within 60 queries in three quarters of the hidden runs"
    boards, public = {"digits": board}, [leaderboard.Run(90, 20)] * 10
    assert words in leaderboard._row("x", {"public": public, "hidden": hidden}, "", boards)["remark"]
    slow = [leaderboard.Run(300, 20)] * 10
    for some in (hidden[:9], hidden[:8]):  # one run in seven or so is slow, perhaps on purpose
        runs = {"public": public, "hidden": some + slow[len(some) :]}
        assert words in leaderboard._row("x", runs, "", boards)["remark"]
    for honest in (hidden[:7] + slow[7:], [leaderboard.Run(61, 20)] * 10, hidden[:5]):  # the last are too few
        assert words not in leaderboard._row("x", {"public": public, "hidden": honest}, "", boards)["remark"]


BORROWED = (
    "from latentnas.search.ensemble import EnsembleSearch\nclass Mine(EnsembleSearch): pass",
    "import latentnas.search.ensemble as e",
    "from latentnas import stats, search",
    "from latentnas import (\n    search as s,\n)",
    "from latentnas.search import domains, discrete",
    "import latentnas\nclass Mine(latentnas.search.ensemble.EnsembleSearch): pass",
    "import latentnas as l\nclass Mine(l.search.ensemble.EnsembleSearch): pass",
    "import latentnas.search.domains\nmine = latentnas.search.discrete.RandomSearch",
    "import latentnas\nmine = getattr(latentnas, 'search').ensemble",
    "import latentnas\nmine = getattr(latentnas.search, 'ensemble')",
    "import latentnas\nmine = latentnas.search",
    "__import__('latentnas.search.discrete')",
    "import sys\nmine = sys.modules['latentnas.search.discrete']",
    "from leaderboard import LIBRARY",
    "def ask():\n    import latentnas.search.discrete",
)
OWN = (
    "",
    "from latentnas import stats\n\n\ndef search(): pass",
    "# other than latentnas.search.ensemble",
    '"""Unlike latentnas.search.ensemble it asks one at a time."""',
    "'latentnas.search.ensemble is what this is not.'",
    "import latentnas\nprint(latentnas.stats, 'as latentnas.search does')",
    "import latentnas.search.domains\nkind = latentnas.search.domains.TableDomain",
    "from latentnas.search.domains import TableDomain",
    "from latentnas.search import domains as d\nkind = d.TableDomain",
    "names = {'leaderboard': 1}",
    "class",
)


def test_who_takes_from_searchers_of_the_library_gets_a_remark_and_nobody_else(board):
    boards, runs = {"digits": board}, dict.fromkeys(("public", "hidden"), [leaderboard.Run(90, 20)] * 10)
    for source in (*BORROWED, *OWN, TEMPLATE.read_text()):
        remark = leaderboard._row("x", runs, "", boards, source)["remark"]
        assert remark == "uses searchers of the library: is what it asks for its own?" * (source in BORROWED), source


def test_who_is_out_is_told_on_which_table_and_in_which_run(board, monkeypatch):
    def play(fails, board, submission, secret, number, seconds):
        return leaderboard.Run(wrong="took longer" if (board.name, secret, number) == fails else "")

    boards = {"digits": board, "cora": replace(board, name="cora", budget=50)}
    for fails, words in {
        ("digits", None, 0): "digits, public run 0: took longer",
        ("cora", SECRET, 1): "cora, hidden run 1: took longer",
    }.items():
        monkeypatch.setattr(leaderboard, "play", partial(play, fails))
        runs, wrong = leaderboard._all_runs(boards, ("mine", ""), SECRET, 2, 9.0, 1)
        assert wrong == words and leaderboard._row("x", runs, wrong, boards)["remark"] == f"out: {words}"


def test_it_counts_what_the_library_counts(board):
    source = "from latentnas.search.discrete import RegularisedEvolution as SEARCHER"
    domain = leaderboard.domain_of(board.parts)
    good = np.flatnonzero(board.labels >= np.quantile(board.labels[domain.distinct], 0.99))
    for seed in range(2):
        history = run(RegularisedEvolution(domain, seed), domain.lookup(board.labels), 300, batch=5)
        expected = queries_to_optimum(history, domain.optimum(board.labels)).fillna(math.inf)[seed]
        first = queries_to_optimum(history, good)[seed]
        assert (found := played(board, source, None, seed)).best == expected and found.good == first


def test_asking_again_costs_nothing_and_asking_for_nothing_ends_the_run(board, monkeypatch):
    again = "self.number += 1; self.first = getattr(self, 'first', None) or [next(self.order)]; "
    again += "return self.first if self.number % 2 else [*self.first, self.next(1)[0]]"
    plain = played(board, written("return self.next(1)"))
    assert played(board, written(again)).good == plain.good < math.inf
    assert played(board, written("return []")).ended == "asks for nothing any more"
    monkeypatch.setattr(leaderboard, "REPEATS", 30)
    assert played(board, written("return [7, 7]")).ended == "asks for nothing new any more"


def floats_from(thing, most=100_000):
    """All arrays of floats that references lead to, from an object."""
    seen, open_, found = set(), [thing], []
    while open_ and len(seen) < most:
        thing = open_.pop()
        if id(thing) in seen or isinstance(thing, type | type(sys)):
            continue
        seen.add(id(thing))
        found += [thing] if isinstance(thing, np.ndarray) and thing.dtype.kind == "f" else []
        if not (
            callable(thing) and getattr(thing, "__module__", "").startswith(("numpy", "torch", "latentnas.graphs"))
        ):
            open_ += [
                other for other in gc.get_referents(thing) if not isinstance(other, dict) or "__name__" not in other
            ]
    return found


def test_the_domain_of_a_searcher_leads_to_no_label(board, cora):
    class Holder:
        labels = board.labels

    assert any(values is board.labels for values in floats_from([Holder.labels]))
    for table, rows in ((board, 15_625), (cora, 26_206)):
        for secret in (None, SECRET):
            parts, labels, _ = leaderboard.deal(table, secret, 0)
            found = floats_from(leaderboard.domain_of(parts))  # path features of Cora are counts
            assert not [values.shape for values in found if len(np.unique(values)) > 100]
            assert len(labels) == len(parts["identity"]) == rows


def test_hidden_runs_of_cora_have_other_names_places_and_labels_but_the_same_structure(cora):
    parts, labels, seed = leaderboard.deal(cora, SECRET, 3)
    plain, other = leaderboard.domain_of(cora.parts), leaderboard.domain_of(parts)
    assert leaderboard.deal(cora, None, 3)[2] == 3 != seed and plain.count == other.count
    assert not np.isin(np.round(labels, 6), np.round(cora.labels, 6)).all()
    assert np.array_equal(*(np.unique(values, return_counts=True)[1] for values in (cora.labels, labels)))
    same = (parts["choices"] == cora.parts["choices"]).all(axis=1).mean()
    assert same < 0.01 and (np.argsort(labels)[-10:] != np.argsort(cora.labels)[-10:]).all()
    sizes = [np.bincount(np.diff(domain["ends"], prepend=0)) for domain in (parts, cora.parts)]
    assert np.array_equal(*sizes)


def test_hidden_runs_have_other_names_but_the_same_structure(board):
    parts, labels, seed = leaderboard.deal(board, SECRET, 3)
    again = leaderboard.deal(board, SECRET, 3)
    assert np.array_equal(labels, again[1]) and seed == again[2] and seed != leaderboard.deal(board, SECRET, 4)[2]
    plain, other = leaderboard.domain_of(board.parts), leaderboard.domain_of(parts)
    assert plain.count == other.count == 6466
    level = {}  # the order of labels, ties among them, is that of the table
    for values, domain in ((board.labels, plain), (labels, other)):
        counts = np.unique(values[domain.distinct], return_counts=True)[1]
        level[id(domain)] = counts
    assert np.array_equal(*level.values())
    assert not np.isin(np.round(labels, 6), np.round(board.labels, 6)).all()
    best = int(labels.argmax())
    changed = (other.choices(other.neighbors(best)) != other.choices(np.array([best]))).sum(axis=1)
    assert len(changed) == 24 and (changed == 1).all()
    assert np.array_equal(other.graphs(np.array([best])).types[0, 1:7].numpy() - 2, other.choices(np.array([best]))[0])
    alike = other.representative(np.arange(15_625))
    assert np.array_equal(labels[alike], labels)
    assert np.array_equal(other.from_choices(other.choices(np.arange(50))), np.arange(50))


def test_library_searchers_keep_their_contract_on_it_with_and_without_names(board):
    for secret in (None, SECRET):
        for make in (RandomSearch, RegularisedEvolution):
            check_searcher(make, leaderboard.domain_of(leaderboard.deal(board, secret, 0)[0]))


def test_random_search_is_the_exact_one(board):
    row = leaderboard._random_row({"digits": board})
    assert row["hidden_good"] == 69 and row["hidden_best"] > 300
    labels = board.labels[leaderboard.domain_of(board.parts).distinct]
    good = (labels >= np.quantile(labels, 0.99)).astype(float)
    shares = expected_random_search(good, good, [68, 69])["mean"]
    assert shares[0] < 0.5 <= shares[1]


@pytest.mark.slow
def test_the_table_goes_on_whatever_comes_and_sorts(board, tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "digits", lambda: board)
    (tmp_path / "in").mkdir()
    files = {
        "in/fine.py": "from latentnas.search.ensemble import EnsembleSearch as SEARCHER",
        "in/slow.py": written("return self.next(1)"),
        "in/b|ad.py": written("raise ValueError('a | b\\nc' + 'x' * 1000)"),
        "fine.py": "class A: pass",
        "big.py": "#" * 300_000,
        "latin.py": None,
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(b"\xff\xfe" if text is None else text.encode())
    places = [tmp_path / "in", tmp_path / "in/fine.py", *(tmp_path / f"{x}.py" for x in ("fine", "big", "latin", "no"))]
    table = leaderboard.leaderboard(places, SECRET, seeds=3, jobs=2, baselines=False, with_cora=False)
    names = table["searcher"].tolist()
    assert names[:1] == ["in/fine"] and set(names[1:3]) == {"slow", leaderboard.RANDOM} and len(table) == 8
    assert table["rank"].tolist() == ["1", "2", "3"] + [""] * 5 and table["remark"][3:].str.startswith("out: ").all()
    text = leaderboard.as_markdown(table)
    assert len({line.count("|") for line in text.splitlines()}) == 1 and len(text.splitlines()) == 10
    for words in ("at most 200,000", "is no text", "No such file", "with ValueError: a / b", "but has none"):
        assert words in text, words
    assert max(map(len, table["remark"])) <= 170


def test_a_csv_that_cannot_be_written_is_told_before_the_runs(board, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(leaderboard, "leaderboard", lambda *given: pytest.fail("it plays"))
    (tmp_path / "file").write_text("")
    for csv in (tmp_path, tmp_path / "file/x.csv"):
        with pytest.raises(SystemExit) as stop:
            leaderboard.main(["x.py", "--csv", str(csv)])
        assert stop.value.code == 2 and "cannot be written" in capsys.readouterr().err


@pytest.mark.slow
def test_the_table_is_printed_even_if_its_file_cannot_be_written_in_the_end(tmp_path, monkeypatch, capsys):
    def no_longer(file):
        raise OSError("the disk is full")

    monkeypatch.setattr(leaderboard.paths, "atomic_write", no_longer)
    with pytest.raises(OSError, match="full"):
        leaderboard.main([str(tmp_path), "--no-baselines", "--csv", str(tmp_path / "x.csv")])
    assert leaderboard.RANDOM in capsys.readouterr().out


def test_folders_nested_without_end_are_no_trouble_of_others(board, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    nested = """
        import os
        for _ in range(1500):
            os.mkdir("folder")
            os.chdir("folder")
        os.symlink("/", "link")
        open("x", "w")
        return []
"""
    assert played(board, written("pass") + nested).ended == "asks for nothing any more"
    assert not [file for file in tmp_path.iterdir() if not file.name.startswith("pymp-")]


@pytest.mark.slow
def test_who_stops_it_keeps_the_lines_so_far(tmp_path):
    (tmp_path / "a.py").write_text(written("return []"))
    (tmp_path / "b.py").write_text(written("import time; time.sleep(100)"))
    command = [sys.executable, str(FILE), "a.py", "b.py", "--jobs", "2", "--no-baselines"]
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT / "lib")}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    while "2 of 2" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    told, wrong = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in wrong and "| b |" not in told
    assert "| a |" in told and "Stopped at b: 1 of 2 searchers have a line. leaderboard.csv is not written." in told


def test_files_of_one_name_are_called_by_the_folder_that_tells_them_apart(tmp_path):
    for folder in ("ann/week3", "bob/week3", "bob/old", "."):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "week3_searcher.py").write_text("")
    (tmp_path / "other.py").write_text("")
    names = [*leaderboard.submissions([*sorted(tmp_path.glob("*/week3/*.py")), tmp_path / "other.py"])]
    assert names == ["ann/week3/week3_searcher", "bob/week3/week3_searcher", "other"]
    names = [*leaderboard.submissions(sorted(tmp_path.rglob("*.py")))]
    assert len({*names}) == 5 and {"ann/week3/week3_searcher", "old/week3_searcher"} <= {*names}


def test_files_with_the_mark_of_windows_editors_are_read(board, tmp_path, monkeypatch):
    mine, hidden = tmp_path / "mine.py", tmp_path / "hidden.txt"
    mine.write_text(written("return []"), encoding="utf-8-sig")
    hidden.write_text(SECRET, encoding="utf-8-sig")
    [(source, wrong)] = leaderboard.submissions([mine]).values()
    assert not wrong and not played(board, source).wrong
    given = []
    monkeypatch.setattr(leaderboard, "leaderboard", lambda places, secret, *more: given.append(secret) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        leaderboard.main([str(mine), "--hidden-seeds", str(hidden), "--csv", str(tmp_path / "x.csv")])
    assert given == [SECRET]


@pytest.mark.slow
def test_the_command_writes_a_csv_without_the_secret_and_refuses_a_short_one(tmp_path):
    (tmp_path / "mine.py").write_text(written("return self.next(n)"))
    (tmp_path / "hidden.txt").write_text("12345678901\n98765432109\n")
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT / "lib")}

    def command(*more):
        given = [sys.executable, str(FILE), "mine.py", "--seeds", "1", *more]
        return subprocess.run(given, cwd=tmp_path, env=environment, capture_output=True, text=True)

    refused = command("--secret", "abc")
    assert refused.returncode == 2 and "can be guessed" in refused.stderr and "Traceback" not in refused.stderr
    assert "cannot be read" in command("--hidden-seeds", "none.txt").stderr
    done = command("--hidden-seeds", "hidden.txt", "--no-baselines")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| mine \|", done.stdout) and "12345678901" not in done.stdout + done.stderr
    stored = pd.read_csv(tmp_path / "leaderboard.csv")
    assert set(stored["searcher"]) == {"mine", leaderboard.RANDOM} and sorted(os.listdir(tmp_path)) == [
        "hidden.txt",
        "leaderboard.csv",
        "mine.py",
    ]
    assert "12345678901" not in (tmp_path / "leaderboard.csv").read_text()


def test_making_a_unit_again_keeps_what_somebody_has_worked_in(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_coursework, "FOLDER", tmp_path)
    cell = {"cell_type": "markdown", "metadata": {}, "source": ["text"]}
    (tmp_path / "week1_solutions.ipynb").write_text(json.dumps({"cells": [cell]}))
    made = tmp_path / "week1.ipynb"
    for _ in range(2):  # what is the same needs no copy
        assert make_coursework.main(["week1"]) == 0
    text = made.read_text()
    assert not capsys.readouterr().out and sorted(os.listdir(tmp_path))[1:] == ["week1.ipynb", "week1_solutions.ipynb"]
    for answers in ("an evening", "another evening"):
        made.write_text(answers)
        assert make_coursework.main([]) == 0 and made.read_text() == text
    assert "week1.ipynb.before" in capsys.readouterr().out
    assert (tmp_path / "week1.ipynb.before").read_text() == "an evening"
    assert (tmp_path / "week1.ipynb.before-before").read_text() == "another evening"
    made.write_text("of the last commit")
    monkeypatch.setattr(make_coursework, "in_git", lambda file: b"of the last commit")
    assert make_coursework.main([]) == 0 and made.read_text() == text and len(os.listdir(tmp_path)) == 5
    assert make_coursework.main(["week1", "week9"]) == 2
    assert "There is no unit week9: take one of these (week1)" in capsys.readouterr().err


def test_a_unit_made_again_from_a_changed_source_was_changed_by_nobody(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_coursework, "FOLDER", tmp_path)
    made = tmp_path / "week1.ipynb"
    for text in ("first", "second", "third"):  # none of them committed
        cell = {"cell_type": "markdown", "metadata": {}, "source": [text]}
        (tmp_path / "week1_solutions.ipynb").write_text(json.dumps({"cells": [cell]}))
        assert make_coursework.main([]) == 0 and text in made.read_text()
    assert not capsys.readouterr().out and not list(tmp_path.glob("*.before"))


@pytest.mark.slow
def test_the_whole_table_with_cora_and_the_searchers_of_the_library(tmp_path):
    pytest.importorskip("nas_bench_graph")
    (tmp_path / "mine.py").write_text(written("return self.next(n)"))
    table = leaderboard.leaderboard([tmp_path / "mine.py"], SECRET, seeds=2).set_index("searcher")
    assert set(table.index) == {"mine", leaderboard.RANDOM, *leaderboard.LIBRARY}
    assert table[["cora", "cora_public"]].notna().all(axis=None)
    assert table.loc[leaderboard.RANDOM, "cora"] == pytest.approx(40, abs=3)
    assert (table["remark"] == "").all()
