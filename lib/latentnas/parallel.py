"""Tasks side by side, one thread each, with a line of progress; what is done is kept in files and not done again."""

import functools
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import torch

from latentnas.paths import atomic_write, put_aside
from latentnas.progress import Progress


def side_by_side(
    function: Callable[..., Any], tasks: Mapping[Hashable, tuple[Any, ...]], jobs: int = 1, folder: Path | None = None
) -> dict[Hashable, Any]:
    """`{key: function(*arguments)}` for tasks `{key: arguments}`, in their order, by `jobs` processes.

    Args:
        folder: where each answer is kept as JSON, and taken from if it is there: so answers must be numbers, texts,
            lists and dictionaries of such. Its name must say all that decides them; that of a file says function and
            key.

    Raises:
        ValueError: two keys would share a file.
        TypeError: there is a folder, and an answer is something else, such as an array.
    """
    named = {key: _file_name(function.__name__, key) for key in tasks}
    if len(set(named.values())) < len(named):
        raise ValueError(f"Two of these tasks would be kept in the same file: {', '.join(map(str, named))}.")
    calls = [(folder and folder / named[key], function, arguments) for key, arguments in tasks.items()]
    answers = in_processes(kept, calls, jobs, function.__name__.strip("<>").replace("_", " "))
    return dict(zip(named, answers, strict=True))


def in_processes(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], jobs: int, called: str
) -> Iterator[Any]:
    """The answers of a function to some tuples of arguments, in their order, from `jobs` processes of one thread each.
    They end with this process, however that ends; `called` names them in the line of progress."""
    progress, on_one_thread = Progress(called, len(calls)), joblib.delayed(_on_one_thread)
    tasks = (on_one_thread(os.getpid(), function, arguments) for arguments in calls)
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        for done, answer in enumerate(joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks), 1):
            progress.update(done)
            yield answer


def _on_one_thread(caller: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    if os.getpid() != caller:
        _end_with(caller)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # also where all is done in the caller: sums depend on it in their last bits
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(threads)


@functools.cache
def _end_with(parent: int) -> None:
    """Watch, from now on, whether the parent is there: loky's processes outlive one that is killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _file_name(function: str, key: Hashable) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return "-".join([function, *map(str, parts)]).replace("/", "_") + ".json"


def kept(file: Path | None, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The answer in the file, as JSON; where there is none or a damaged one, that of the function, which goes into it.
    Without a file, the answer of the function."""
    if file and file.exists():
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(stored, dict) or stored.keys() != {"sha256", "answer"}:
                raise ValueError("it has no checksum")
            if stored["sha256"] != _checksum(stored["answer"]):
                raise ValueError("its checksum is that of another answer")
            return stored["answer"]
        except (OSError, ValueError) as error:
            print(f"{file} is damaged ({error}): set aside as {put_aside(file)}; done anew", file=sys.stderr)
    answer = function(*arguments)
    if file:
        answer = json.loads(json.dumps(answer))
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps({"sha256": _checksum(answer), "answer": answer}), encoding="utf-8")
    return answer


def _checksum(answer: Any) -> str:
    return hashlib.sha256(json.dumps(answer).encode()).hexdigest()
