"""Run one notebook with given parameters and leave its executed copy, or a clear message about what went
wrong.

`python -m companion.runner JOB` (a `profiles.Job` as JSON) is what the Snakefile calls. While the
notebook runs, what it prints to stderr (training progress) appears live in the terminal; the executed copy
keeps only what a reader wants: stdout, tables and figures.
"""

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from companion import paths, profiles

TIMES = "times.json"  # in paths.STATE: seconds that each notebook took here, for estimates
KERNEL_NOISE = (
    b"Kernel is running over TCP",
    b"KeyboardInterrupt caught in kernel",
)  # the second while papermill ends it


class NotebookFailed(Exception):
    """A cell raised; the message names the notebook, the cell, the exception and the saved copy."""


def execute(source, parameters, target, failed_copy):
    """Run the notebook `source` from the repository root and put its cleaned copy at `target`, all at once,
    only if every cell succeeded.

    Otherwise the copy as far as it came is put at `failed_copy` and NotebookFailed raised.
    """
    import papermill  # here, because the rest of this module must import quickly
    from nbclient.exceptions import DeadKernelError

    with tempfile.TemporaryDirectory() as scratch:
        run_copy = Path(scratch) / source.name
        try:
            with environment(**kernel_variables()), quiet_kernel_start():
                papermill.execute_notebook(
                    source,
                    run_copy,
                    parameters=parameters,
                    kernel_name="python3",
                    cwd=paths.ROOT,
                    progress_bar=False,
                    stderr_file=LineWriter(f"    {source.stem[:2]} | "),
                )
        except papermill.PapermillExecutionError as error:
            save_copy(run_copy, failed_copy, keep_stderr=True)
            raise NotebookFailed(
                f"Notebook {source.stem} stopped in cell {cell_number(run_copy)} with {error.ename}: "
                f"{error.evalue}\n"
                f"The notebook as far as it came, with the full error, is {shown(failed_copy)}."
            ) from error
        except DeadKernelError as error:
            raise NotebookFailed(
                f"The Python process of notebook {source.stem} died on the way, most often because memory "
                "ran out. "
                "Close other programs or choose a smaller --profile, and give the command again."
            ) from error
        save_copy(run_copy, target)


@contextlib.contextmanager
def environment(**variables):
    """Set environment variables, which the kernel inherits, for the time of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def kernel_variables():
    """Environment variables of the kernel: this package first, no advice about progress-bar widgets, and glibc
    keeps freed memory: giving the activations of every batch back and asking again costs a tenth of training.
    """
    warnings = [os.environ["PYTHONWARNINGS"]] if os.environ.get("PYTHONWARNINGS") else []
    return {
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
        "PYTHONPATH": library_path(),
        "PYTHONWARNINGS": ",".join([*warnings, "ignore:IProgress not found"]),
    }


def library_path():
    """PYTHONPATH with this package first: the kernel imports the same code as this process, whatever is
    installed.
    """
    library = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(part for part in (library, os.environ.get("PYTHONPATH")) if part)


@contextlib.contextmanager
def quiet_kernel_start():
    """Pass on what processes started in the block write to stderr, less the kernel's remarks about its own
    transport and end.

    The kernel inherits this process's stderr, so its file descriptor goes through a pipe that a thread
    filters.
    """
    sys.stderr.flush()
    original = os.dup(2)
    read_end, write_end = os.pipe()
    os.dup2(write_end, 2)
    os.close(write_end)

    def forward():
        with open(read_end, "rb") as lines, open(os.dup(original), "wb", buffering=0) as out:
            for line in lines:
                if not any(words in line for words in KERNEL_NOISE):
                    out.write(line)

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(original, 2)  # closes this process's write end; the thread ends when the kernel's is closed too
        thread.join(timeout=2)
        os.close(original)


class LineWriter:
    """A text file for papermill that prints whole lines to stderr, each behind a prefix that says which
    notebook speaks.
    """

    def __init__(self, prefix):
        self.prefix = prefix
        self.rest = ""

    def write(self, text):
        *lines, self.rest = (self.rest + text.replace("\r", "\n")).split("\n")
        for line in lines:
            if line.strip():
                print(self.prefix + line, file=sys.stderr, flush=True)

    def flush(self):
        pass  # a part of a line waits for its end


def save_copy(run_copy, target, keep_stderr=False):
    """Clean the notebook file `run_copy` and rename it to `target`."""
    notebook = json.loads(run_copy.read_text(encoding="utf-8"))
    clean(notebook, keep_stderr)
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    with paths.atomic_write(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def clean(notebook, keep_stderr=False):
    """Take out of an executed notebook, in place, what belongs to one machine or one moment: times, folders,
    progress lines.
    """
    notebook["metadata"].pop("papermill", None)
    notebook["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number}"  # papermill gives a new random id to the cell it injects
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if cell["cell_type"] == "code" and not keep_stderr:
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            for part in (output, output.get("data", {})):
                for key, value in part.items():
                    if key.startswith("image/"):
                        continue  # base64 may spell the name of a folder by chance
                    if isinstance(value, str) or (
                        isinstance(value, list) and all(isinstance(line, str) for line in value)
                    ):
                        part[key] = without_folders(value)


def without_folders(text):
    """`text` (a string or a list of lines) with folders of this machine written relative to the project or as
    ~.
    """
    if isinstance(text, list):
        return [without_folders(line) for line in text]
    for folder, name in (
        (paths.OUTPUT, "."),
        (paths.ROOT, "."),
        (Path(sys.prefix), "<python>"),
        (Path(tempfile.gettempdir()), "<temporary>"),
        (Path.home(), "~"),
    ):
        if folder != Path("/"):
            text = text.replace(str(folder), name)
    return text


def cell_number(run_copy):
    """Which code cell raised, counted as Jupyter counts, without the cell that papermill injected."""
    code = [cell for cell in json.loads(run_copy.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    code = [cell for cell in code if "injected-parameters" not in cell["metadata"].get("tags", [])]
    failed = [
        number
        for number, cell in enumerate(code, 1)
        if any(output["output_type"] == "error" for output in cell["outputs"])
    ]
    return failed[0] if failed else "?"


def shown(path):
    """A path as printed to people: relative to the project where it lies inside."""
    return path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path


# ---------------------------------------------------------------- one job of a plan


def run_job(job):
    """Run a `profiles.Job`: executed copy and results in place, then the stamp, and the time it took for
    later estimates.
    """
    started = time.time()
    job.stamp.unlink(missing_ok=True)
    failed_copy = paths.FAILED / job.label / f"{job.notebook}.ipynb"
    execute(job.source, job.parameters, job.executed, failed_copy)
    if not job.results.exists() or job.results.stat().st_mtime < started - 2:  # file systems keep whole or half seconds
        raise NotebookFailed(
            f"Notebook {job.notebook} ran to its end but wrote no results file {shown(job.results)}. "
            "Its last cell must call Results.write()."
        )
    failed_copy.unlink(missing_ok=True)
    seconds = time.time() - started
    remember_time(job, seconds)
    with paths.atomic_write(job.stamp) as temporary:
        temporary.write_text(f"{seconds:.1f}\n", encoding="utf-8")
    return seconds


def earlier_times():
    """Seconds per '<label>/<notebook>' measured on this machine; {} if nothing usable is stored."""
    try:
        return json.loads((paths.STATE / TIMES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def remember_time(job, seconds):
    times = earlier_times() | {f"{job.label}/{job.notebook}": round(seconds, 1)}
    with paths.atomic_write(paths.STATE / TIMES) as temporary:
        temporary.write_text(json.dumps(times, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def expected_seconds(label, notebook):
    """How long the notebook took: on this machine, else where the results file comes from, else None."""
    times = earlier_times()
    for known in (label, label.partition("+")[0]):
        if f"{known}/{notebook}" in times:
            return times[f"{known}/{notebook}"]
        with contextlib.suppress(OSError, ValueError, KeyError):
            return json.loads((paths.RESULTS / known / f"{notebook}.json").read_text(encoding="utf-8"))["manifest"][
                "wall_seconds"
            ]
    return None


def in_words(seconds):
    """'40 s', '3 min', '2 h 5 min'."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def time_left(waiting):
    """', about 3 min left' for [(label, notebook), ...] run one after the other; '' where one of them was
    never timed.
    """
    seconds = [expected_seconds(*job) for job in waiting]
    return f", about {in_words(sum(seconds))} left" if waiting and None not in seconds else ""


def progress(agenda):
    """(number done, still waiting) of an agenda {'started': time, 'jobs': [[label, notebook], ...]} that the
    command line left.
    """
    waiting = []
    for label, notebook in agenda["jobs"]:
        stamp = profiles.stamp_path(label, notebook)
        if not (stamp.exists() and stamp.stat().st_mtime >= agenda["started"]):
            waiting.append((label, notebook))
    return len(agenda["jobs"]) - len(waiting), waiting


def report_progress(words):
    """Print a line about this notebook with how many are done and the time left; without an agenda (plain
    snakemake) the words alone.
    """
    text = os.environ.get("LATENTNAS_AGENDA")
    if text:
        agenda = json.loads(text)
        done, waiting = progress(agenda)
        words += f" [{done} of {len(agenda['jobs'])} done{time_left(waiting)}]"
    print(words, file=sys.stderr, flush=True)


def die_with(process_id):
    """End this process (its kernel follows) when the process that started the run is gone: a killed run must
    not go on writing.
    """

    def watch():
        while True:
            try:
                os.kill(process_id, 0)
            except ProcessLookupError:
                os._exit(1)
            time.sleep(0.5)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments):
    """Entry of a Snakemake job; the exit status says whether the notebook succeeded."""
    job = profiles.Job.from_json(arguments[0])
    if "LATENTNAS_PARENT" in os.environ:
        die_with(int(os.environ["LATENTNAS_PARENT"]))
    try:
        report_progress(f"{job.notebook} ({job.label}): running")
        seconds = run_job(job)
        report_progress(f"{job.notebook} ({job.label}): done in {in_words(seconds)}")
    except NotebookFailed as error:
        print(f"\n{error}\n", file=sys.stderr, flush=True)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
