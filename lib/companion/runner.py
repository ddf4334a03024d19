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
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO
from unittest import mock

from companion import claims, gpus, paths, profiles
from companion.profiles import Job
from companion.together import ending_together
from latentnas.progress import in_words

MARK = "\x1e"  # begins each line that the command line shows; all others go to its log only


class NotebookFailed(Exception):
    """The message names the notebook, what failed in it and the saved copy or log."""


def execute(job: Job) -> None:
    """Run a notebook from the repository root and put its cleaned copy in place, or as far as it came in data/failed.

    Raises:
        NotebookFailed: A cell raised, or the kernel died.
    """
    import papermill  # here, because the rest of this module must import quickly
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    kernel = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    this_python = type("ThisPython", (AsyncKernelManager,), {"kernel_spec": KernelSpec(argv=kernel, language="python")})
    failed_copy = paths.FAILED / job.label / f"{job.notebook}.ipynb"
    with tempfile.TemporaryDirectory() as scratch, mock.patch.dict(os.environ, kernel_variables(job, scratch)):
        run_copy = Path(scratch) / job.source.name
        source, target = (str(path).replace("{", "{{").replace("}", "}}") for path in (job.source, run_copy))
        try:
            papermill.execute_notebook(
                source,  # papermill formats paths
                target,
                parameters=job.parameters,
                kernel_name="python3",
                kernel_manager_class=this_python,  # whatever kernels are installed under that name
                extra_arguments=["--log-level=CRITICAL", "--InteractiveShellApp.ignore_cwd=True"],
                cwd=paths.ROOT,
                progress_bar=False,
                stderr_file=LineWriter(job.notebook, job.stamp.with_suffix(".log")),
            )
        except papermill.PapermillExecutionError as error:
            with contextlib.suppress(OSError):  # a full disk must not hide what the cell raised
                save_copy(run_copy, failed_copy, keep_stderr=True)
            cell = error.exec_count - 1  # without the one that papermill injects
            raise NotebookFailed(
                f"Notebook {job.notebook} stopped in cell {cell} with {error.ename}: {error.evalue}\n"
                f"The notebook as far as it came, with the full error, is {failed_copy}."
            ) from error
        except RuntimeError as error:  # of Jupyter: before the first cell or on the way
            raise NotebookFailed(
                f"The Python process of notebook {job.notebook} died ({error}), most often because memory ran out. "
                "Close other programs or choose a smaller --profile, and give the command again."
            ) from error
        save_copy(run_copy, job.executed)
        failed_copy.unlink(missing_ok=True)


def kernel_variables(job: Job, scratch: str) -> dict[str, str]:
    """Environment variables of the kernel: this package first, nobody's IPython settings, no advice about progress-bar
    widgets, and glibc keeps freed memory: giving the activations of every batch back costs a tenth of training.
    """
    own = {"PYTHONPATH": library_path(), "PYTHONSAFEPATH": "1"}  # a random.py where it runs is nobody's module
    own |= {"LATENTNAS_NOTEBOOK": job.notebook, "IPYTHONDIR": scratch, "JUPYTER_RUNTIME_DIR": scratch}
    own |= {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
    return own | {"PYTHONWARNINGS": f"{os.environ.get('PYTHONWARNINGS', '')},ignore:IProgress not found".strip(",")}


def library_path() -> str:
    """PYTHONPATH with this package first: the kernel imports the same code as this process, whatever is installed."""
    return os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH"))))


class LineWriter(io.TextIOBase):
    """A text file that says whole lines, behind the number of the notebook, and keeps them in a log."""

    def __init__(self, notebook: str, log: Path) -> None:
        self.prefix, self.rest, self.terminal = f"    {notebook[:2]} | ", "", sys.stderr
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = open(log, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - ends with this process

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text.replace("\r", "\n")).split("\n")
        for line in lines:
            if line.strip():
                say(self.prefix + line, self.terminal)
                print(line, file=self.log)


def say(text: str, terminal: TextIO | None = None) -> None:
    """Print to the terminal, through the command line where that started this run."""
    mark = MARK if "LATENTNAS_AGENDA" in os.environ else ""
    for line in text.splitlines():
        print(mark + line, file=terminal or sys.stderr, flush=True)


def save_copy(run_copy: Path, target: Path, keep_stderr: bool = False) -> None:
    """Clean the notebook file `run_copy` and write it to `target`."""
    notebook = json.loads(run_copy.read_text(encoding="utf-8"))
    clean(notebook, keep_stderr)
    paths.write_text(target, json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def clean(notebook: dict, keep_stderr: bool = False) -> None:
    """Take out of an executed notebook, in place, what belongs to one machine or one moment."""
    notebook["metadata"].pop("papermill", None)
    notebook["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    names = {os.path.expanduser("~"): "~", tempfile.gettempdir(): "<temporary>", sys.prefix: "<python>"}
    names |= {str(paths.ROOT): ".", str(paths.OUTPUT): "."}
    folders = sorted(names.keys() - {"/"}, key=len, reverse=True)  # the deepest folder counts
    words = [*map(re.escape, folders), r"\bT_[0-9a-f]{5}"]  # the last is pandas' id of a styled table
    moment = re.compile(f"(?:{'|'.join(words)})(?![0-9A-Za-z])")

    def constant(text: object) -> object:
        if isinstance(text, list):
            return [constant(line) for line in text]
        if not isinstance(text, str):
            return text
        return moment.sub(lambda found: names.setdefault(found.group(), f"T_{len(names) - len(folders)}"), text)

    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number}"  # papermill gives a new random id to the cell it injects
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        outputs = cell.get("outputs", [])
        outputs[:] = [output for output in outputs if keep_stderr or output.get("name") != "stderr"]
        for part in (*outputs, *(output["data"] for output in outputs if "data" in output)):
            # base64 may spell the name of a folder by chance
            part |= {key: constant(value) for key, value in part.items() if not key.startswith("image/")}


# ---------------------------------------------------------------- one job of a plan


def run_job(job: Job) -> None:
    """Run a job: executed copy and results in place, then the stamp."""
    started, before = time.monotonic(), job.results.exists() and job.results.stat()
    report_progress(f"{job.notebook} ({job.label}): running")
    gpus.take_gpu()
    job.stamp.unlink(missing_ok=True)
    execute(job)
    if not job.results.exists() or job.results.stat() == before:  # each write makes another file, whatever the clocks
        raise NotebookFailed(
            f"Notebook {job.notebook} ran to its end but wrote no results file {job.results}. "
            "Its last cell must call Results.write()."
        )
    written = json.loads(job.results.read_text(encoding="utf-8"))
    for name, value in profiles.deciding(job.parameters).items():
        recorded = (written | written["parameters"]).get(name)
        if recorded != value:
            raise NotebookFailed(
                f"Notebook {job.notebook} was run with {name} = {value!r} but recorded {recorded!r}. A parameter must "
                "keep its value: use another name for what is computed."
            )
    paths.write_text(job.stamp, job.inputs + "\n")
    report_progress(f"{job.notebook} ({job.label}): done in {in_words(time.monotonic() - started)}")


def last_run(label: str, notebook: str) -> dict:
    """The manifest of the last run of the notebook under this label or, without one, its profile's; {} if none."""
    for known in (label, label.partition("+")[0]):
        if content := claims.read_results(paths.RESULTS / known / f"{notebook}.json"):
            return content["manifest"]
    return {}


def resources(job: Job, attempt: int) -> dict[str, int]:
    """What a scheduler should give to a job or a share of its trainings, from the last run: minutes and MB.

    More at each attempt. Without a last run, an hour and 4 GB.
    """
    known = last_run(job.label, job.notebook)
    seconds = claims.seconds_of(known) if known else 2400
    memory = max(known.get("peak_memory_mb", {"cpu": 2700}).values())
    return {"runtime": attempt * max(10, round(1.5 * seconds / 60)), "mem_mb": attempt * round(2000 + 1.5 * memory)}


def total_time(jobs: Iterable[tuple[str, str]], side_by_side: int = 1) -> str:
    """', about 3 min' for [(label, notebook), ...], by the last runs and with the trainings that are not done yet; ''
    where one of them was never timed, or there are none.
    """
    known = {job: last_run(*job) for job in map(tuple, jobs)}
    if not known or not all(known.values()):
        return ""
    trained = sum(run["loaded_seconds"] for job, run in known.items() if profiles.trained_path(*job).exists())
    return f", about {in_words((sum(map(claims.seconds_of, known.values())) - trained) / side_by_side)}"


def unfinished(agenda: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is not done of the (label, notebook) that the command line has to run."""
    return [job for job in agenda if not profiles.stamp_path(*job).exists()]


def report_progress(words: str) -> None:
    """Say something about this notebook; in a run of the command line also how many are done and the time left."""
    if "LATENTNAS_AGENDA" in os.environ:
        agenda = json.loads(os.environ["LATENTNAS_AGENDA"])
        waiting, total = unfinished(agenda), len(agenda)
        left = f"{total_time(waiting)} left" if total_time(waiting) else ""
        words += f" [{total - len(waiting)} of {total} done{left}]"
    say(words)


def explained(error: Exception) -> str:
    """An error for people; of the disk with its file and the remedy."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    remedy = "Make room or allow writing there, or name another place with LATENTNAS_OUTPUT. Nothing stored is lost."
    return f"{where}{error.strerror}. {remedy}"


def main(arguments: list[str], action: Callable[..., None] | None = None) -> int:
    """Entry of a Snakemake job, `[JOB, ...]`; the exit status says whether it succeeded."""
    job = Job(**json.loads(arguments[0]))
    try:
        with ending_together("LATENTNAS_JOB"):
            (action or run_job)(job, *arguments[1:])
    except KeyboardInterrupt:
        say(f"{job.notebook} ({job.label}): interrupted. The same command goes on from here.")
        return 130
    except Exception as error:
        report_progress(f"{job.notebook} ({job.label}): failed")
        if not isinstance(error, NotebookFailed):
            traceback.print_exc()
        say(f"\n{explained(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
