"""Plays the searchers of a course and prints a table of the queries that each needs.

    python notebooks/coursework/leaderboard.py my_searcher.py hand_in/ [--secret TEXT | --hidden-seeds FILE] [--jobs 2]

A submission is one Python file with one class that keeps the contract `latentnas.interfaces.Searcher`. The leaderboard
runs it itself, every run in a new process with a time limit, and counts. It reads no history of anybody. On
`digits-nb201` (by class) it counts queries to the best cell and to one of the best 1 %, up to 300; on the Cora table of
NAS-Bench-Graph, where that package is installed, it looks whether one of the best 1 % is met within 50. Random search
is computed exactly; evolution and the ensemble of the library play like everybody.

Labels stay in this process: a searcher's process has the architectures (`domain.choices`, `neighbors`, `inputs`,
`graphs`; no `space`) and is told the labels that it asks for. Public runs, seeds 0 to 19, use a table as it is. For
hidden runs the rows of the table are shuffled, its operations change their names, the columns of its features their
places, and labels their scale, though not their order; all by a secret. That makes what somebody knows by heart slower,
not useless: the best cell is one of at most 60 renamings, and who meets it within 60 queries in three quarters of the
hidden runs gets a remark. So does a file that uses `latentnas.search`, whose searchers are nobody's own. Who opens a
file with labels is out, as far as Python's own calls tell.

No run knows of another: each has a process and a folder of its own, which go with it. Who writes anywhere else is out.
Compiled code, such as that of `torch.save` and `torch.from_file`, which Python does not report, is refused to write
there or to read labels by Linux from 5.13 on; other systems let it pass. This holds against tricks in the course of a
course; it is no sandbox. Run files of people that you do not trust in a container without network.
"""

import argparse
import ast
import errno
import hashlib
import importlib.util
import io
import itertools
import json
import math
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import pickle
import re
import secrets
import shutil
import stat
import struct
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import hypergeom

from latentnas import paths, stats
from latentnas.benchmarks.download import DataError
from latentnas.graphs import DagBatch
from latentnas.search.domains import TableDomain

BATCH = 5  # architectures asked for at a time
SECONDS = 120.0  # that one run may take
BEST = 0.01  # share of the architectures that count as among the best
REPEATS = 1000  # answers in a row without a new architecture after which a run ends
LARGEST_FILE, LONGEST_ANSWER, MOST_OUTPUT = 200_000, 100_000, 1_000_000  # bytes of a submission; of a message; printed
MEMORY = 6 * 2**30  # bytes that a run may use
RENAMINGS, ENOUGH = 60, 10  # of the best cell, which has three of five operations; hidden runs that are no luck
MOST = 0.75  # of the hidden runs, so that a few slow ones hide nothing
SURE = 0.001  # p-value of the difference between public and hidden runs from which on it is told
LIBRARY = {
    "regularised evolution": ("latentnas.search.discrete", "RegularisedEvolution"),
    "path-feature ensemble": ("latentnas.search.ensemble", "EnsembleSearch"),
}
RANDOM = "random search (exact)"
# Modules with searchers of the library, or that hand them on; `latentnas.search.domains` has none.
BORROWED = re.compile(r"(latentnas\.search(?!\.domains(\.|$))|leaderboard)(\.|$)").match


@dataclass(frozen=True)
class Board:
    """One table to search, and what is counted on it. Letters: R rows, P decisions, F features, N vertices."""

    name: str
    budget: int
    parts: dict[str, Any]  # of a domain, for the searcher: see `domain_of`
    labels: np.ndarray  # float64 [R], which stay in this process
    operations: slice  # which of the P decisions are operations

    @property
    def distinct(self) -> np.ndarray:
        return np.unique(self.parts["identity"], return_index=True)[1]


@dataclass(frozen=True)
class Run:
    """What came of one run."""

    best: float = math.inf  # the query that met the best architecture
    good: float = math.inf  # and the first of the best 1 %
    wrong: str = ""  # why the submission is out
    ended: str = ""  # why the run ended before its budget


# ---------------------------------------------------------------- the tables, with their labels


def digits() -> Board:
    """`digits-nb201` by class, with the path features of cells."""
    from latentnas import benchmarks
    from latentnas.spaces.features import nasbench201_path_encoding
    from latentnas.spaces.nasbench201 import NASBENCH201

    table = benchmarks.load("nasbench201", "bundled")
    graphs = NASBENCH201.enumerate()
    features = nasbench201_path_encoding(graphs).numpy()
    parts = _parts(NASBENCH201, graphs, NASBENCH201.canonical(graphs), features)
    return Board("digits", 300, parts, table.labels(table.signals[0]), slice(None))


def cora() -> Board:
    """Cora of NAS-Bench-Graph, with path features. Raises DataError: its package is not installed."""
    from latentnas import benchmarks
    from latentnas.spaces.features import path_features
    from latentnas.spaces.nasbenchgraph import NASBENCHGRAPH, READS

    table = benchmarks.load("nasbenchgraph", "public")
    graphs = table.batch
    features = path_features(graphs, NASBENCHGRAPH.num_types).numpy()
    parts = _parts(NASBENCHGRAPH, graphs, np.arange(len(graphs)), features)
    return Board("cora", 50, parts, table.labels(table.tasks["Cora"].valid), slice(READS, None))


def _parts(space: Any, graphs: DagBatch, identity: np.ndarray, features: np.ndarray) -> dict[str, Any]:
    near = space.neighbor_rows(np.arange(len(graphs)))
    return {
        "choices": space.choices(graphs),
        "identity": identity,
        "neighbors": np.concatenate(list(near)).astype(np.int32),
        "ends": np.cumsum([len(rows) for rows in near]),
        "features": features,
        "types": graphs.types.numpy().astype(np.int8),
        "adjacency": graphs.adjacency.numpy(),
    }


def deal(board: Board, secret: str | None, number: int) -> tuple[dict[str, Any], np.ndarray, int]:
    """What run `number` is played with: the parts of a domain, the labels of its rows, and the searcher's seed. With a
    secret, in other names: nothing but the order of the labels and what is like what is left of the table."""
    if secret is None:
        return board.parts, board.labels, number
    seed, dealer = (
        int.from_bytes(hashlib.sha256(repr((secret, number, board.name, use)).encode()).digest()[:7])
        for use in ("searcher", "dealer")
    )
    parts, random = dict(board.parts), np.random.default_rng(dealer)
    order = random.permutation(len(board.labels))  # the row of the table that is now in each place
    place = np.argsort(order)
    choices = parts["choices"][order].copy()
    names = random.permutation(int(choices[:, board.operations].max()) + 1)
    choices[:, board.operations] = names[choices[:, board.operations]]
    operations = parts["types"][order].astype(np.int64)
    operations = np.where(operations >= 2, 2 + names[operations - 2], operations)  # 0 and 1 are input and output
    near = np.split(parts["neighbors"], parts["ends"][:-1])
    near = [np.sort(place[near[row]]) for row in order]
    parts |= {
        "choices": choices,
        "identity": random.permutation(len(order))[parts["identity"][order]],
        "neighbors": np.concatenate(near).astype(np.int32),
        "ends": np.cumsum([len(rows) for rows in near]),
        "features": parts["features"][order][:, random.permutation(parts["features"].shape[1])],
        "types": operations.astype(np.int8),
        "adjacency": parts["adjacency"][order],
    }
    values, level = np.unique(board.labels, return_inverse=True)
    scaled = ((values - values[0]) / np.ptp(values)) ** random.uniform(0.8, 1.25)
    scaled = random.uniform(10, 30) + random.uniform(40, 60) * scaled + 1e-9 * np.arange(len(values))  # nothing merges
    return parts, scaled[level[order]], seed % 2**31


# ---------------------------------------------------------------- one run, from the side that counts

_RUNNING: set[multiprocessing.process.BaseProcess] = set()  # to be ended when somebody stops the leaderboard
_CONTEXT = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")


def play(board: Board, submission: tuple[str, str], secret: str | None, number: int, seconds: float) -> Run:
    """One run of a submission, in a process of its own, which is not believed anything but the rows that it asks for.
    A run ends when there is nothing more to count."""
    _warm_up()
    parts, labels, seed = deal(board, secret, number)
    domain = domain_of(parts)
    good, best = labels >= np.quantile(labels[domain.distinct], 1 - BEST), labels >= labels[domain.distinct].max()
    goal = best if board.name == "digits" else good
    ours, theirs = _CONTEXT.Pipe()
    late = threading.Event()
    with ours, _folder() as folder:
        given = (theirs, submission, parts, seed, folder, _guarded(), _hidden())
        process = _CONTEXT.Process(target=_searcher_side, args=given, daemon=True)
        process.start()
        _RUNNING.add(process)
        theirs.close()
        alarm = threading.Timer(seconds, lambda: (late.set(), process.kill()))
        alarm.start()
        try:
            return _count(ours, domain, labels, board.budget, good, best, goal)
        except (EOFError, OSError, ValueError) as error:
            told = isinstance(error, ValueError) and str(error)
            ended = f"took longer than {seconds:g} s for one run" if late.is_set() else "its process ended by itself"
            return Run(wrong=told or ended)
        finally:
            alarm.cancel()
            process.kill()
            process.join()
            _RUNNING.discard(process)


@contextmanager
def _folder() -> Iterator[str]:
    """A temporary folder. It goes without recursion, since a searcher may have nested folders without end."""
    top = tempfile.mkdtemp()
    try:
        yield top
    finally:
        with suppress(OSError):  # what cannot be removed is left to the system
            while entries := list(os.scandir(top)):
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry)
                        continue
                    os.chmod(entry, 0o700)
                    for name in os.listdir(entry):  # one level up, so that no path gets long
                        os.rename(os.path.join(entry, name), os.path.join(top, secrets.token_hex(8)))
                    os.rmdir(entry)
            os.rmdir(top)


@cache
def _warm_up() -> None:
    """Let the processes of runs be forked from one that has imported what they need, and no submission."""
    if _CONTEXT.get_start_method() != "forkserver":
        return
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    try:
        _CONTEXT.set_forkserver_preload(
            ["leaderboard", *(module for module, _ in LIBRARY.values()), "sklearn.ensemble"]
        )
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ |= {"PYTHONPATH": before} if before is not None else {}


def _count(
    ours: multiprocessing.connection.Connection, domain: TableDomain, labels: np.ndarray, budget: int,
    good: np.ndarray, best: np.ndarray, goal: np.ndarray,
) -> Run:  # fmt: skip
    """Raises ValueError with what the submission does wrong."""
    known, met, repeats, ended = {}, {}, 0, ""  # representative: query; goal: query
    _rows(ours.recv_bytes(LONGEST_ANSWER), 0, domain)  # it is made
    while len(known) < budget and "goal" not in met:
        asked = min(BATCH, budget - len(known))
        ours.send_bytes(pickle.dumps(asked))
        rows = _rows(ours.recv_bytes(LONGEST_ANSWER), asked, domain)
        if not len(rows):
            ended = "asks for nothing any more"
            break
        stands_for, before = domain.representative(rows), len(known)
        for row in stands_for.tolist():
            if row not in known:
                known[row] = len(known) + 1
                for name, rows_of in (("best", best), ("good", good), ("goal", goal)):
                    if rows_of[row] and name not in met:
                        met[name] = known[row]
        repeats = 0 if len(known) > before else repeats + 1
        if repeats == REPEATS:
            ended = "asks for nothing new any more"
            break
        ours.send_bytes(pickle.dumps(labels[stands_for]))
    return Run(met.get("best", math.inf), met.get("good", math.inf), ended=ended)


def _stop(words: str) -> None:
    raise ValueError(words)


def _rows(message: bytes, asked: int, domain: TableDomain) -> np.ndarray:
    """The rows of an answer. Raises ValueError with what is wrong with them."""
    try:
        answer = json.loads(message)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("wrong"), str):
        _stop(answer["wrong"])
    if not isinstance(answer, list) or not all(type(row) is int and abs(row) < 2**62 for row in answer):
        _stop("its process sends what is no answer")
    if len(answer) > asked:
        _stop(f"was asked for {asked} rows, but gives {len(answer)}: ask(n) returns at most n")
    rows = np.array(answer, dtype=np.int64)
    outside = rows[~domain.contains(rows)]
    if len(outside):
        _stop(f"asks for row {outside[0]}, but rows are {domain.row_range}")
    return rows


# ---------------------------------------------------------------- one run, from the side of the searcher


def domain_of(parts: dict[str, Any]) -> TableDomain:
    """The architectures without their labels."""
    near = np.split(parts["neighbors"].astype(np.int64), parts["ends"][:-1])
    features = parts["features"]
    domain = TableDomain(parts["choices"], parts["identity"], lambda rows: [near[row] for row in rows], features)
    types = torch.from_numpy(parts["types"].astype(np.int64))
    domain._graphs = DagBatch(types, torch.from_numpy(parts["adjacency"]), (types >= 0).sum(dim=1))
    return domain


def _searcher_side(
    theirs: multiprocessing.connection.Connection, submission: tuple[str, str], parts: dict[str, Any], seed: int,
    folder: str, guarded: frozenset[tuple[int, int]], hidden: list[str],
) -> None:  # fmt: skip
    """Runs in the process of a searcher: makes it, and answers until it is killed."""

    def out(words: str) -> None:
        theirs.send_bytes(json.dumps({"wrong": words}).encode())
        os._exit(1)  # which no `except` catches

    torch.set_num_threads(1)
    os.chdir(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    multiprocessing.context.BaseContext.Lock = lambda self: threading.Lock()  # of pools of threads; others make files
    with open(os.devnull, "w") as nowhere:  # what the system writes
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    sys.stdout = sys.stderr = _Counted(partial(out, f"prints more than {MOST_OUTPUT:,} characters"))
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    domain, place = domain_of(parts), "when it is read"
    with suppress(ImportError, AttributeError):
        sklearn = importlib.import_module("sklearn.utils.parallel")
        with sklearn._get_threadpool_controller().limit(limits=1):  # opens libraries once, which the guard would refuse
            pass
    shutil._use_fd_functions = tempfile._O_TMPFILE_WORKS = False  # which would open a folder
    sys.dont_write_bytecode = True  # which would replace old files
    _confine(folder, hidden)
    hidden.clear()
    for module, name in itertools.product((os, sys.modules[os.open.__module__]), _OF_OTHERS):
        if hasattr(module, name):
            setattr(module, name, lambda *given, name=name: out(f"{_MEDDLES} (os.{name}), which no searcher needs"))
    sys.addaudithook(_guard(out, guarded, folder))
    try:
        make = _searcher_class(*submission)
        place = "when it is made"
        searcher = make(domain, seed)
        theirs.send_bytes(b"[]")
        while True:
            asked, place = pickle.loads(theirs.recv_bytes()), "in ask"
            rows = np.asarray(searcher.ask(asked))
            if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
                gaps = rows.dtype.kind == "f" and np.isnan(rows).any()
                found = "NaN" if gaps else f"{rows.dtype} of shape {list(rows.shape)}"
                out(f"ask({asked}) gives {found}: return rows as whole numbers [n]")
            theirs.send_bytes(json.dumps(rows[: 2 * BATCH].tolist()).encode())
            values, place = pickle.loads(theirs.recv_bytes()), "in tell"
            searcher.tell(rows.astype(np.int64), values)
    except NotImplementedError:
        out("is not finished: there is still a line `raise NotImplementedError()`")
    except MemoryError:
        out(f"uses more than {MEMORY // 2**30} GB of memory")
    except _Refused as error:
        out(str(error))
    except BaseException as error:
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == submission[0]]
        line = f", line {lines[-1].lineno}" if lines else ""
        words = (str(error).splitlines() or [""])[0]
        out(f"stops {place}{line} with {type(error).__name__}: {words}")


class _Refused(Exception):
    pass


def _searcher_class(name: str, source: str) -> Callable:
    """The one class with `ask` and `tell` of a file, or the one that it calls SEARCHER; or one of the library."""
    if name in LIBRARY:
        module, attribute = LIBRARY[name]
        return getattr(importlib.import_module(module), attribute)
    module = types.ModuleType("submission")
    sys.modules["submission"] = module
    try:
        code = compile(source, name, "exec")
    except (SyntaxError, ValueError) as error:
        raise _Refused(f"is no Python that can be read: {error}") from None
    exec(code, vars(module))
    if "SEARCHER" in vars(module):
        return module.SEARCHER
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == "submission"]
    found = {cls.__name__: cls for cls in own if isinstance(cls, type) and hasattr(cls, "ask") and hasattr(cls, "tell")}
    if len(found) != 1:
        words = f"has {len(found)} ({', '.join(found)}); name the one to play: SEARCHER = ..." if found else "has none"
        raise _Refused(f"should have one class with ask and tell, but {words}")
    return next(iter(found.values()))


class _Counted(io.TextIOBase):
    """Swallows what is printed, up to a limit."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self.stop, self.left = stop, MOST_OUTPUT

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.left -= len(text)
        if self.left < 0:
            self.stop()
        return len(text)


def _confine(folder: str, hidden: Sequence[str]) -> None:
    """Let the system refuse this process, compiled code too, to write outside a folder and to read what is hidden,
    where it can: Landlock of Linux from 5.13 on (https://docs.kernel.org/userspace-api/landlock.html)."""
    if sys.platform != "linux":
        return
    import ctypes

    system = ctypes.CDLL(None)
    version = system.syscall(444, None, 0, 1)  # landlock_create_ruleset, which says only its version
    if version < 1:
        return
    # bits: write to a file, remove and make what is in a folder; of newer versions also link elsewhere, and truncate
    writes = 1 << 1 | 0b1_1111_1111 << 4 | (version >= 2) << 13 | (version >= 3) << 14
    reads = 1 << 2  # of files
    rules = system.syscall(444, struct.pack("=Q", writes | reads), 8, 0)
    own = (folder, writes | reads), (os.devnull, writes & (1 << 1 | 1 << 14) | reads)
    for place, allowed in (*own, *((place, reads) for place in _beside(hidden))):
        try:
            file = os.open(place, os.O_PATH)
        except OSError:  # it is gone, or not for this user
            continue
        system.syscall(445, rules, 1, struct.pack("=Qi", allowed, file), 0)  # landlock_add_rule: beneath this path
        os.close(file)
    system.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, without which the next call is refused
    system.syscall(446, rules, 0)  # landlock_restrict_self
    os.close(rules)


def _beside(hidden: Sequence[str]) -> Iterator[str]:
    """Files and folders that hold everything but what is hidden, since Landlock knows only what is allowed."""
    without = {*map(Path, hidden)}
    above = {folder for place in without if without.isdisjoint(place.parents) for folder in place.parents}
    for folder in above:
        with suppress(OSError):
            yield from (
                entry.path for entry in os.scandir(folder)
                if not entry.is_symlink() and Path(entry.path) not in without | above
            )  # fmt: skip


_OTHER_PROCESS = ("subprocess", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "socket.")
_OTHER_PROCESS += ("resource.prlimit",)
_MEDDLES = "starts, ends or calls another program"
# Functions of `os` that reach other processes, which Python does not report.
_OF_OTHERS = ("setpriority", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "pidfd_open")
# What opens files, or finds this guard, unseen.
_BESIDE_PYTHON = ("ctypes.dlopen", "ctypes.dlsym", "sqlite3.connect", "gc.get_")
# What deletes a file, or makes it look new.
_CHANGES = ("os.remove", "os.rmdir", "os.truncate", "os.rename", "os.link", "os.chmod", "os.chown", "os.utime")
_CHANGES += ("os.setxattr", "os.removexattr", "replaced")  # the last is what a rename or link has for its target
_FILES = ("open", "os.link", "os.symlink", "os.rename", "os.listdir", "os.scandir", "shutil.")
_SECRET_FILES: list[Path] = []  # of the process that counts


def _hidden() -> list[str]:
    """The files and folders with labels, and the file of the secret."""
    package = importlib.util.find_spec("nas_bench_graph")
    places = [paths.BUNDLED, paths.CACHE, os.environ.get("LATENTNAS_DATA_MIRROR"), *_SECRET_FILES]
    places += [Path(package.origin).parent / "light"] if package else []
    return [os.path.realpath(place) for place in filter(None, places)]


def _guarded() -> frozenset[tuple[int, int]]:
    """What is hidden, as the system tells files and folders apart by any name."""
    found = set()
    for place in _hidden():
        inside = [os.path.join(folder, name) for folder, _, names in os.walk(place) for name in (".", *names)]
        for file in (place, *inside):
            with suppress(OSError):
                found.add(((at := os.stat(file)).st_dev, at.st_ino))
    return frozenset(found)


def _guard(
    out: Callable[[str], None], guarded: frozenset[tuple[int, int]], folder: str
) -> Callable[[str, tuple], None]:
    """An audit hook, which cannot be taken away: no labels from files, no other process, no network, no changes of
    files, and new ones in this folder alone. All that decides is bound here, where a searcher that changes modules does
    not get at it."""
    look, look_at_link, leave, errors = os.stat, os.lstat, os._exit, (OSError, TypeError, ValueError)
    others, beside, changes, files, meddles = _OTHER_PROCESS, _BESIDE_PYTHON, _CHANGES, _FILES, _MEDDLES
    writing, started = os.O_WRONLY | os.O_RDWR | os.O_TRUNC, time.time() - 0.05  # clocks of file systems are coarse
    making, kind, text, fspath = writing | os.O_CREAT, isinstance, str.__str__, os.fspath
    separators, what, link, device, is_folder = (
        os.sep + (os.altsep or ""),
        stat.S_IFMT,
        stat.S_IFLNK,
        stat.S_IFCHR,
        stat.S_IFDIR,
    )
    proc = look("/proc").st_dev if os.path.isdir("/proc/self") else None
    own = re.compile(rf"/proc/([a-z]+|sys/[\w/]+|(self|{os.getpid()})(/task/\d+)?/[a-z_]+)").fullmatch
    mine = {((top := look(folder)).st_dev, top.st_ino)}  # this folder, and those in it that were found

    def end(words: str) -> None:
        try:
            out(words)
        finally:
            leave(1)

    def outside(path: Any) -> bool:
        """Whether it lies in no folder of this run. Methods of a path are not asked, since they may be its own."""
        path = fspath(path)
        path = (text(path) if kind(path, str) else bytes.decode(path, errors="surrogateescape")).rstrip(separators)
        try:
            if what(look_at_link(path).st_mode) == link:
                return True
        except errors:
            pass  # it is new
        above, passed = path[: max(map(path.rfind, separators)) + 1] or ".", []
        while True:
            try:
                place = ((at := look(above)).st_dev, at.st_ino)
            except errors:
                return True
            if place in mine:
                mine.update(passed)
                return False
            if place in passed:  # the root is above itself
                return True
            passed.append(place)
            above += "/.."

    def hook(event: str, arguments: tuple) -> None:
        if event.startswith(others):
            end(f"{meddles} ({event}), which no searcher needs")
        if event.startswith(beside):
            end(f"goes past Python ({event}), which no searcher needs")
        if event == "import" and kind(arguments[0], str) and text(arguments[0]).rpartition(".")[2] == "readline":
            end("goes past Python (readline), which no searcher needs")  # it reads any text, unseen before Python 3.14
        makes = event in ("os.mkdir", "replaced")
        if event == "open" and not kind(arguments[0], int):
            makes = bool(arguments[2] & making)
        if (makes or event.startswith((*files, *changes))) and arguments:
            try:
                found = look(arguments[0])
            except errors:
                found = None  # there is no such file
            if found:
                looked_at(event, arguments, found, makes)
                makes = makes and what(found.st_mode) not in (device, is_folder)  # these stay as they are
        if makes and outside(arguments[0]):
            end(f"writes outside the folder that it is started in ({event}): no run may leave notes for another")
        if event in ("os.rename", "os.link", "os.symlink"):
            hook("replaced", arguments[1:2])

    def looked_at(event: str, arguments: tuple, found: os.stat_result, writes: bool) -> None:
        if (found.st_dev, found.st_ino) in guarded:
            end(f"opens {f'{arguments[0]}'.rpartition('/')[2]}, where labels are (or the secret): it is out")
        if found.st_dev == proc and not own(arguments[0]):  # its text, whatever it says it is
            end("looks into another process: it is out")
        own_work = found.st_ctime > started or what(found.st_mode) == device  # such as /dev/null
        writes = writes and what(found.st_mode) != is_folder  # nobody can: `tempfile` then opens a file there
        if (writes or event in changes) and not own_work:
            end(f"changes what was there before ({event}), which no searcher needs")
        if event == "open" and arguments[1] is None and what(found.st_mode) == is_folder:
            end("opens a folder as a file, which no searcher needs")  # names in it would be names of nothing here

    return hook


# ---------------------------------------------------------------- the table


def submissions(places: Sequence[str | Path]) -> dict[str, tuple[str, str]]:
    """The text of each file, and what is wrong with it or nothing, by a name that is short and its own."""
    files = []
    for place in map(Path, places):
        files += sorted(place.glob("*.py")) if place.is_dir() else [place]
    files = list({file.resolve(): file for file in files}.values())
    ends, names = [file.resolve().with_suffix("").parts for file in files], []
    for own in ends:  # as much of the path as tells it from the others
        length = next((n for n in range(1, len(own)) if sum(end[-n:] == own[-n:] for end in ends) == 1), 1)
        names.append("/".join(own[-length:]))
    found: dict[str, tuple[str, str]] = {}
    for name, file in zip(names, files):
        name = _one_line(name, 40)
        while name in found or name in LIBRARY or name == RANDOM:
            name += "'"
        try:
            text, wrong = file.read_text(encoding="utf-8-sig"), ""
            if len(text) > LARGEST_FILE:
                text, wrong = "", f"has {len(text):,} characters; at most {LARGEST_FILE:,} are read"
        except OSError as error:
            text, wrong = "", f"cannot be read: {error.strerror or error}"
        except UnicodeDecodeError:
            text, wrong = "", "is no text in UTF-8"
        found[name] = (text, wrong)
    return found


def leaderboard(
    places: Sequence[str | Path],
    secret: str | None = None,
    seeds: int = 20,
    seconds: float = SECONDS,
    jobs: int = 1,
    baselines: bool = True,
    with_cora: bool = True,
) -> pd.DataFrame:
    """One line for each submission, best first. Without a secret one is drawn for this call, and forgotten. Who stops
    it by Ctrl-C gets the lines so far, and `attrs["stopped"]` says so.

    Args:
        places: files, and folders of which all `*.py` are read.
        seeds: public runs, as many hidden ones, and as many of both on Cora.
        seconds: of one run. jobs: runs at a time.
        baselines: whether the searchers of the library play, too.
        with_cora: whether Cora is played, where its package is installed.
    """
    secret = secret or secrets.token_hex(16)
    boards = {"digits": digits()}
    if with_cora:
        with suppress(DataError):
            boards["cora"] = cora()
    entries = submissions(places) | (dict.fromkeys(LIBRARY, ("", "")) if baselines else {})
    rows, stopped = [_random_row(boards)], ""
    for count, (name, (source, wrong)) in enumerate(entries.items(), start=1):
        print(f"{count} of {len(entries)}: {name}", file=sys.stderr, flush=True)
        try:
            runs, wrong = ({}, wrong) if wrong else _all_runs(boards, (name, source), secret, seeds, seconds, jobs)
        except KeyboardInterrupt:
            stopped = f"Stopped at {name}: {count - 1} of {len(entries)} searchers have a line."
            break
        rows.append(_row(name, runs, wrong, boards, source))
    table = pd.DataFrame(rows)
    out = table["remark"].str.startswith("out: ")
    order = table.assign(out=out).replace({"hidden_best": {np.nan: math.inf}})
    order.loc[order["hidden_best"] > boards["digits"].budget, "hidden_best"] = math.inf  # which the budget cannot tell
    keys = ["out", "hidden_best", "hidden_good", "public_best", "searcher"]
    table = table.loc[order.sort_values(keys, kind="stable").index].reset_index(drop=True)
    out = table["remark"].str.startswith("out: ")
    table.insert(0, "rank", np.where(out, "", (table.index + 1).astype(str)))
    table.attrs["stopped"] = stopped
    return table


def _all_runs(
    boards: dict[str, Board], submission: tuple[str, str], secret: str, seeds: int, seconds: float, jobs: int
) -> tuple[dict[str, list[Run]], str]:
    """The runs by part, and the first thing that is wrong and where, after which no other run begins."""
    parts = {"public": (boards["digits"], None), "hidden": (boards["digits"], secret)}
    if "cora" in boards:
        parts |= {"cora_public": (boards["cora"], None), "cora": (boards["cora"], secret)}
    wrong: list[str] = []

    def one(part: str, number: int) -> Run:
        board, dealt = parts[part]
        run = Run() if wrong else play(board, submission, dealt, number, seconds)
        if run.wrong:
            wrong.append(f"{board.name}, {'hidden' if dealt else 'public'} run {number}: {run.wrong}")
        return run

    with ThreadPoolExecutor(jobs) as pool:
        runs = {part: [pool.submit(one, part, number) for number in range(seeds)] for part in parts}
        try:
            return {part: [run.result() for run in several] for part, several in runs.items()}, "".join(wrong[:1])
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(run.done() for several in runs.values() for run in several):
                for process in list(_RUNNING):
                    process.kill()
                time.sleep(0.05)  # for runs that were about to begin
            raise


def _row(
    name: str, runs: dict[str, list[Run]], wrong: str, boards: dict[str, Board], source: str = ""
) -> dict[str, Any]:
    row: dict[str, Any] = {"searcher": name, **dict.fromkeys(_COLUMNS, np.nan), "remark": ""}
    if wrong:
        return row | {"remark": f"out: {_one_line(wrong, 160)}"}
    budget = boards["digits"].budget
    for part in ("hidden", "public"):
        for goal in ("best", "good"):
            values = [getattr(run, goal) for run in runs[part]]
            row[f"{part}_{goal}"], row[f"{part}_{goal}_low"], row[f"{part}_{goal}_high"], _ = stats.estimate(
                values, "median"
            )
    for part in {"cora", "cora_public"} & runs.keys():
        met = [run.good <= boards["cora"].budget for run in runs[part]]
        row[part], row[f"{part}_low"], row[f"{part}_high"], _ = stats.estimate(met, "share")
    remarks = {run.ended for part in runs.values() for run in part} - {""}
    hidden = [run.best for run in runs["hidden"]]
    pairs = [([run.best for run in runs["public"]], hidden, budget)]
    if "cora" in runs:
        pairs.append((*([run.good for run in runs[part]] for part in ("cora_public", "cora")), boards["cora"].budget))
    if any(np.median(known) < np.median(other) and stats.logrank_test(known, other, most) < SURE
           for known, other, most in pairs):  # fmt: skip
        remarks.add("far better where the names are known: does it bring labels of this table with it?")
    if len(hidden) >= ENOUGH and np.mean(np.array(hidden) <= RENAMINGS) >= MOST:  # of honest searchers about half do
        often = f"within {RENAMINGS} queries in three quarters of the hidden runs"
        remarks.add(f"meets the best cell {often}: does it try its renamings?")
    if borrows(source):
        remarks.add("uses searchers of the library: is what it asks for its own?")
    return row | {"remark": _one_line("; ".join(sorted(remarks)), 300)}


def borrows(source: str) -> bool:
    """Whether the code of a file, not its comments and sentences, takes from modules with searchers of the library."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return False
    names: dict[str, str] = {}  # what a name of the file stands for
    found: list[str] = []  # what is imported or reached
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
            names |= {name: name for alias in node.names if not alias.asname for name in alias.name.split(".")[:1]}
        elif isinstance(node, ast.ImportFrom):
            whole = {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            names |= whole
            found += whole.values()

    def reached(node: ast.AST | None) -> str:
        """The dotted name of `module.part` or `getattr(module, "part")`, or nothing."""
        if isinstance(node, ast.Name):
            return names.get(node.id, "")
        if isinstance(node, ast.Attribute):
            return f"{reached(node.value)}.{node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            whole, part, *_ = [*node.args, None, None]
            return f"{reached(whole)}.{part.value}" if isinstance(part, ast.Constant) else ""
        return ""

    parts = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}  # of a longer name
    found += [reached(node) for node in nodes if isinstance(node, ast.Attribute | ast.Call) and id(node) not in parts]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    found += [text for text in texts if re.fullmatch(r"\w+(\.\w+)+", text)]
    return any(map(BORROWED, found))


_COLUMNS = [f"{part}_{goal}{end}" for part in ("hidden", "public") for goal in ("best", "good")
            for end in ("", "_low", "_high")]  # fmt: skip
_COLUMNS += [f"{part}{end}" for part in ("cora", "cora_public") for end in ("", "_low", "_high")]


def _random_row(boards: dict[str, Board]) -> dict[str, Any]:
    """Random search: the query by which half of all runs have met a goal, and the share that has within a budget."""

    def goals(board: Board) -> tuple[int, dict[str, int]]:
        labels = board.labels[board.distinct]
        good = int((labels >= np.quantile(labels, 1 - BEST)).sum())
        return len(labels), {"best": int((labels == labels.max()).sum()), "good": good}

    row: dict[str, Any] = {"searcher": RANDOM, **dict.fromkeys(_COLUMNS, np.nan), "remark": ""}
    total, numbers = goals(boards["digits"])
    for goal, number in numbers.items():
        met = hypergeom.sf(0, total, number, np.arange(1, total + 1))
        row[f"hidden_{goal}"] = row[f"public_{goal}"] = 1.0 + int(np.argmax(met >= 0.5))
    if "cora" in boards:
        total, numbers = goals(boards["cora"])
        row["cora"] = row["cora_public"] = 100 * float(hypergeom.sf(0, total, numbers["good"], boards["cora"].budget))
    return row


def as_markdown(table: pd.DataFrame, budget: int = 300, cora_budget: int = 50) -> str:
    """The table to paste: medians of queries with their 95 % intervals, and the share of runs on Cora."""

    def number(value: float) -> str:
        return f"over {budget}" if math.isinf(value) else f"{value:,.0f}"

    def cell(row: pd.Series, key: str) -> str:
        value, low, high = row[key], row[f"{key}_low"], row[f"{key}_high"]
        form = "{:.0f} %".format if key.startswith("cora") else number
        if np.isnan(value):
            return ""
        return form(value) + ("" if np.isnan(low) else f" ({form(low)} to {form(high)})")

    heads = ["rank", "searcher", "best cell", "best 1 %", "best cell, public", "best 1 %, public"]
    keys = ["hidden_best", "hidden_good", "public_best", "public_good"]
    if table["cora"].notna().any():
        heads += [f"Cora: best 1 % within {cora_budget}", "Cora, public"]
        keys += ["cora", "cora_public"]
    lines = [[*heads, "remark"], ["---"] * (len(heads) + 1)]
    lines += [
        [row["rank"], row["searcher"], *(cell(row, key) for key in keys), row["remark"]] for _, row in table.iterrows()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _one_line(text: str, longest: int) -> str:
    """Without anything that would break a table."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).replace("|", "/").split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("places", nargs="+", metavar="FILE_OR_FOLDER", help="submissions")
    hidden = parser.add_mutually_exclusive_group()
    hidden.add_argument("--secret", help="decides the hidden runs; without one they are drawn anew each time")
    hidden.add_argument(
        "--hidden-seeds", type=Path, metavar="FILE", help="the same, a file whose content is the secret"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (1)")
    parser.add_argument("--seeds", type=int, default=20, help="runs of each kind (20)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"that one run may take ({SECONDS:g})")
    parser.add_argument("--csv", type=Path, default=Path("leaderboard.csv"), help="where numbers go (leaderboard.csv)")
    parser.add_argument("--no-baselines", action="store_true", help="without the searchers of the library")
    given = parser.parse_args(arguments)
    if arguments is None:
        del sys.argv[1:]  # which go to the processes of searchers, with the secret
    if min(given.jobs, given.seeds, given.seconds) <= 0:
        parser.error("--jobs, --seeds and --seconds must be above 0")
    secret = given.secret
    if given.hidden_seeds:
        try:
            secret = given.hidden_seeds.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"the file of --hidden-seeds cannot be read: {error}")
        _SECRET_FILES.append(given.hidden_seeds)
    if secret is not None and len(secret) < 8:
        parser.error("a secret of fewer than 8 characters can be guessed: take a longer one")
    try:  # now, and not after an hour of runs
        given.csv.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=given.csv.parent).close()
        if given.csv.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
    except OSError as error:
        parser.error(f"--csv {given.csv} cannot be written ({error.strerror}): name a file in a folder of yours")
    try:
        table = leaderboard(given.places, secret, given.seeds, given.seconds, given.jobs, not given.no_baselines)
    except KeyboardInterrupt:
        print("Stopped before the first run.")
        return 130
    print(as_markdown(table), flush=True)
    if table.attrs["stopped"]:
        print(f"\n{table.attrs['stopped']} {given.csv} is not written.")
        return 130
    with paths.atomic_write(given.csv) as temporary:
        temporary.write_text(table.to_csv(index=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
