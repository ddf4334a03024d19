"""Tasks side by side, one thread each, with a line of progress; what is done is kept in files and not done again."""

import sys
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import joblib
import torch

from latentnas.paths import atomic_write
from latentnas.progress import Progress


def side_by_side(
    function: Callable[..., Any], tasks: Mapping[Hashable, tuple[Any, ...]], jobs: int = 1, folder: Path | None = None
) -> dict[Hashable, Any]:
    """`{key: function(*arguments)}` for tasks `{key: arguments}`, in their order, by `jobs` processes.

    Args:
        folder: where each answer is kept, and taken from if it is there. Its name must say all that decides them; the
            name of a file says the function and the key.

    Raises:
        ValueError: two keys would share a file.
    """
    named = {key: _file_name(function.__name__, key) for key in tasks}
    if len(set(named.values())) < len(named):
        raise ValueError(f"Two of these tasks would be kept in the same file: {', '.join(map(str, named))}.")
    do = joblib.delayed(_kept)
    calls = (do(folder and folder / named[key], function, arguments) for key, arguments in tasks.items())
    progress, answers = Progress(function.__name__.strip("<>").replace("_", " "), len(named)), []
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        for answer in joblib.Parallel(n_jobs=jobs, return_as="generator")(calls):
            answers.append(answer)
            progress.update(len(answers))
    return dict(zip(named, answers, strict=True))


def _file_name(function: str, key: Hashable) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return "-".join([function, *map(str, parts)]).replace("/", "_") + ".joblib"


def _kept(file: Path | None, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The answer in the file; where there is none, the answer of the function, which goes into it."""
    if file and file.exists():
        try:
            return joblib.load(file)
        except Exception as error:  # whatever the bytes of a broken pickle happen to mean
            print(f"{file} is damaged ({error}): set aside as {file.name}.damaged; done anew", file=sys.stderr)
            file.rename(f"{file}.damaged")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # also where all is done in this process: sums depend on it in their last bits
    try:
        answer = function(*arguments)
    finally:
        torch.set_num_threads(threads)
    if file:
        with atomic_write(file) as temporary:
            joblib.dump(answer, temporary)
    return answer
