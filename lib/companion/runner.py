"""Run one notebook with given parameters and leave its executed copy, or a clear message about what went wrong.

`python -m companion.runner JOB` (a `profiles.Job` as JSON) is what the Snakefile calls. While the notebook runs, what
it prints to stderr (training progress) appears live in the terminal; the executed copy keeps only what a reader wants:
stdout, tables and figures.
"""

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest import mock

import psutil

from companion import gpus, notebooks, paths, profiles
from companion.profiles import Job
from latentnas.progress import in_words


class NotebookFailed(Exception):
    """A cell raised; the message names the notebook, the cell, the exception and the saved copy."""


def execute(source: Path, parameters: dict, target: Path, failed_copy: Path, log: Path) -> None:
    """Run a notebook from the repository root and put its cleaned copy at `target`, only if every cell succeeded.

    Raises:
        NotebookFailed: A cell raised, or the kernel died. The copy as far as it came is at `failed_copy`.
    """
    import papermill  # here, because the rest of this module must import quickly
    from nbclient.exceptions import DeadKernelError

    with tempfile.TemporaryDirectory() as scratch, mock.patch.dict(os.environ, kernel_variables()):
        run_copy = Path(scratch) / source.name
        try:
            papermill.execute_notebook(
                source,
                run_copy,
                parameters=parameters,
                kernel_name="python3",
                extra_arguments=["--log-level=CRITICAL"],  # no remarks of the kernel about its own start and end
                cwd=paths.ROOT,
                progress_bar=False,
                stderr_file=LineWriter(source.stem, log),
            )
        except papermill.PapermillExecutionError as error:
            save_copy(run_copy, failed_copy, keep_stderr=True)
            raise NotebookFailed(
                f"Notebook {source.stem} stopped in cell {failed_cell(run_copy)} with {error.ename}: {error.evalue}\n"
                f"The notebook as far as it came, with the full error, is {shown(failed_copy)}."
            ) from error
        except DeadKernelError as error:
            raise NotebookFailed(
                f"The Python process of notebook {source.stem} died on the way, most often because memory ran out. "
                "Close other programs or choose a smaller --profile, and give the command again."
            ) from error
        save_copy(run_copy, target)


def kernel_variables() -> dict[str, str]:
    """Environment variables of the kernel: this package first, no advice about progress-bar widgets, and glibc keeps
    freed memory: giving the activations of every batch back and asking again costs a tenth of training.
    """
    warnings = [os.environ["PYTHONWARNINGS"]] if os.environ.get("PYTHONWARNINGS") else []
    return {
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
        "PYTHONPATH": library_path(),
        "PYTHONWARNINGS": ",".join([*warnings, "ignore:IProgress not found"]),
    }


def library_path() -> str:
    """PYTHONPATH with this package first: the kernel imports the same code as this process, whatever is installed."""
    library = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(part for part in (library, os.environ.get("PYTHONPATH")) if part)


class LineWriter(io.TextIOBase):
    """A text file that prints whole lines to stderr, behind the number of the notebook, and keeps them in a log."""

    def __init__(self, notebook: str, log: Path) -> None:
        self.prefix, self.rest, self.terminal = f"    {notebook[:2]} | ", "", sys.stderr
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = open(log, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - ends with this process

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text.replace("\r", "\n")).split("\n")
        for line in lines:
            if line.strip():
                print(self.prefix + line, file=self.terminal, flush=True)
                print(line, file=self.log)


def save_copy(run_copy: Path, target: Path, keep_stderr: bool = False) -> None:
    """Clean the notebook file `run_copy` and rename it to `target`."""
    notebook = json.loads(run_copy.read_text(encoding="utf-8"))
    clean(notebook, keep_stderr)
    paths.write_text(target, json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def clean(notebook: dict, keep_stderr: bool = False) -> None:
    """Take out of an executed notebook, in place, what belongs to one machine or one moment."""
    notebook["metadata"].pop("papermill", None)
    notebook["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number}"  # papermill gives a new random id to the cell it injects
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        outputs = cell.get("outputs", [])
        outputs[:] = [output for output in outputs if keep_stderr or output.get("name") != "stderr"]
        for part in (*outputs, *(output["data"] for output in outputs if "data" in output)):
            for key, value in part.items():
                if not key.startswith("image/"):  # base64 may spell the name of a folder by chance
                    part[key] = without_folders(value)


def without_folders(text: object) -> object:
    """A string or list of strings with folders of this machine relative to the project or as ~; others as they are."""
    if isinstance(text, list):
        return [without_folders(line) for line in text]
    if not isinstance(text, str):
        return text
    names = {str(Path.home()): "~", tempfile.gettempdir(): "<temporary>", sys.prefix: "<python>"}
    names |= {str(paths.ROOT): ".", str(paths.OUTPUT): "."}
    folders = sorted(names.keys() - {"/"}, key=len, reverse=True)  # the deepest folder counts
    return re.sub("|".join(map(re.escape, folders)), lambda found: names[found.group()], text)


def failed_cell(run_copy: Path) -> int | str:
    """Which code cell raised, counted as Jupyter counts, without the cell that papermill injected."""
    code = notebooks.own_code_cells(run_copy)
    failed = [n for n, cell in enumerate(code, 1) if any(out["output_type"] == "error" for out in cell["outputs"])]
    return failed[0] if failed else "?"


def shown(path: Path) -> Path:
    """A path as printed to people: relative to the project where it lies inside."""
    return path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path


# ---------------------------------------------------------------- one job of a plan


def run_job(job: Job) -> None:
    """Run a job: executed copy and results in place, then the stamp."""
    started = time.time()
    report_progress(f"{job.notebook} ({job.label}): running")
    gpus.take_gpu()
    job.stamp.unlink(missing_ok=True)
    failed_copy = paths.FAILED / job.label / f"{job.notebook}.ipynb"
    execute(job.source, job.parameters, job.executed, failed_copy, job.stamp.with_suffix(".log"))
    check_results(job, started)
    failed_copy.unlink(missing_ok=True)
    seconds = time.time() - started
    paths.write_text(job.stamp, f"{seconds:.1f}\n")
    report_progress(f"{job.notebook} ({job.label}): done in {in_words(seconds)}")


def check_results(job: Job, started: float) -> None:
    """Raise NotebookFailed unless the run left a results file with the parameters that it was given."""
    if not job.results.exists() or job.results.stat().st_mtime < started - 2:  # file systems keep whole or half seconds
        raise NotebookFailed(
            f"Notebook {job.notebook} ran to its end but wrote no results file {shown(job.results)}. "
            "Its last cell must call Results.write()."
        )
    written = json.loads(job.results.read_text(encoding="utf-8"))
    recorded = written["parameters"] | {name: written[name] for name in ("profile", "data_source")}
    changed = [name for name, value in job.parameters.items() if recorded.get(name) != value]
    if changed:
        raise NotebookFailed(
            f"Notebook {job.notebook} was run with {changed[0]} = {job.parameters[changed[0]]!r} but recorded "
            f"{recorded.get(changed[0])!r}. A parameter must keep its value: use another name for what is computed."
        )


def stored_manifest(label: str, notebook: str) -> dict:
    """The manifest of the last run of the notebook under this label or, without one, its profile's; {} if none."""
    for known in (label, label.partition("+")[0]):
        with contextlib.suppress(OSError, ValueError, KeyError):
            text = (paths.RESULTS / known / f"{notebook}.json").read_text(encoding="utf-8")
            return json.loads(text)["manifest"]
    return {}


def expected_seconds(label: str, name: str) -> float | None:
    """How long a notebook, or "<notebook>.trainings", took in its last run; None if that is not known."""
    notebook, _, trainings = name.partition(".")
    return stored_manifest(label, notebook).get("loaded_seconds" if trainings else "wall_seconds")


def resources(job: Job, attempt: int) -> dict[str, int]:
    """What a scheduler should give to a job or a share of its trainings, from the last run: minutes and MB.

    More at each attempt. Without a last run, an hour and 4 GB.
    """
    known = stored_manifest(job.label, job.notebook)
    seconds = known.get("wall_seconds", 2400) + known.get("loaded_seconds", 0)
    memory = max(known.get("peak_memory_mb", {"cpu": 2700}).values())
    return {"runtime": attempt * max(10, round(1.5 * seconds / 60)), "mem_mb": attempt * round(2000 + 1.5 * memory)}


def total_time(jobs: Iterable[tuple[str, str]], side_by_side: int = 1) -> str:
    """', about 3 min' for [(label, notebook), ...]; '' where one of them was never timed, or there are none."""
    seconds = [expected_seconds(*job) for job in jobs]
    return f", about {in_words(sum(seconds) / side_by_side)}" if seconds and None not in seconds else ""


def unfinished(agenda: dict) -> list[tuple[str, str]]:
    """What is not done of an agenda {"started": time, "jobs": [(label, notebook), ...]} of the command line."""

    def done(label: str, notebook: str) -> bool:
        stamp = profiles.stamp_path(label, notebook)
        return stamp.exists() and stamp.stat().st_mtime >= agenda["started"]

    return [tuple(job) for job in agenda["jobs"] if not done(*job)]


def report_progress(words: str) -> None:
    """Print a line about this notebook; in a run of the command line also how many are done and the time left."""
    if "LATENTNAS_AGENDA" in os.environ:
        agenda = json.loads(os.environ["LATENTNAS_AGENDA"])
        waiting, total = unfinished(agenda), len(agenda["jobs"])
        left = f"{total_time(waiting)} left" if total_time(waiting) else ""
        words += f" [{total - len(waiting)} of {total} done{left}]"
    print(words, file=sys.stderr, flush=True)


def die_with(process_id: int) -> None:
    """End this process (its kernel follows) when the one that started the run is gone: a killed run writes no more."""

    def watch() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(process_id).wait()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str], action: Callable[..., None] | None = None) -> int:
    """Entry of a Snakemake job, `[JOB, ...]`; the exit status says whether it succeeded."""
    job = Job.from_json(arguments[0])
    if "LATENTNAS_PARENT" in os.environ:
        die_with(int(os.environ["LATENTNAS_PARENT"]))
    try:
        (action or run_job)(job, *arguments[1:])
    except NotebookFailed as error:
        print(f"\n{error}\n", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
