"""Tasks side by side, one thread each, with a line of progress; what is done is kept in files and not done again."""

import json
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
    return "-".join([function, *map(str, parts)]).replace("/", "_") + ".json"


def _kept(file: Path | None, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The answer in the file; where there is none, the answer of the function, which goes into it."""
    if file and file.exists():
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            print(f"{file} is damaged ({error}): set aside as {file.name}.damaged; done anew", file=sys.stderr)
            file.rename(f"{file}.damaged")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # also where all is done in this process: sums depend on it in their last bits
    try:
        answer = function(*arguments)
    finally:
        torch.set_num_threads(threads)
    if file:
        text = json.dumps(answer)
        with atomic_write(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        answer = json.loads(text)
    return answer
