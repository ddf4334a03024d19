"""Run one notebook, or a share of its trainings, with given parameters; or say clearly what went wrong.

`python -m companion.runner JOB` (a `profiles.Job` as JSON) is what the Snakefile calls. What the notebook prints to
stderr (training progress) appears live in the terminal; the executed copy keeps stdout, tables and figures.

With one more argument, such as 2-of-4, every fourth of the notebook's trainings is made, beginning with the second. The
cells tagged `trainings` hold all that they need, and a dictionary `trainings` of functions without arguments, each of
which makes one training, or loads it where that was done before.
"""

import contextlib
import io
import itertools
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO
from unittest import mock

from companion import claims, notebooks, paths, profiles
from companion.notebooks import TRAININGS
from companion.profiles import Job
from companion.together import ending_together
from latentnas import code
from latentnas.progress import in_words

MARK = "\x1e"  # begins each line that the command line shows; all others go to its log only
NEVER_STARTED = "Kernel died before replying", "Kernel didn't respond"  # how such errors of Jupyter begin
PICTURES = "image/", "application/pdf"  # how types of data begin that are base64
MOST_THREADS = 8  # of a model whose speed is measured
_held = []  # lock files of GPUs, open as long as this process lives


class NotebookFailed(Exception):
    """A cell raised, the kernel died or the notebook breaks a rule; the message names the saved copy or log."""

    def __init__(self, job: Job, what: str) -> None:
        super().__init__(f"Notebook {job.notebook} {what}")


def execute(job: Job) -> None:
    """Run a notebook and put its cleaned copy in place; of one that fails into data/failed, as far as it came."""
    sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema does without; its import takes longer than all others
    import papermill  # here, because the rest of this module must import quickly
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = KernelSpec(argv=command, language="python")  # whatever kernels are installed as "python3"
    this_python = type("ThisPython", (AsyncKernelManager,), {"kernel_spec": spec})
    kernel = {"kernel_name": "python3", "kernel_manager_class": this_python, "cwd": paths.ROOT, "progress_bar": False}
    kernel["language"] = "python"  # of a notebook that does not name it
    kernel["extra_arguments"] = ["--log-level=CRITICAL", "--InteractiveShellApp.ignore_cwd=True"]
    log = LineWriter(job.notebook, job.stamp.with_suffix(".log"))
    kernel |= {"start_timeout": 300, "stderr_file": log}  # seconds, for busy machines
    failed_copy = paths.FAILED / job.label / f"{job.notebook}.ipynb"
    before = job.results.exists() and job.results.stat()
    with tempfile.TemporaryDirectory() as scratch, mock.patch.dict(os.environ, kernel_variables(job, scratch)):
        run_copy, source = Path(scratch) / "run.ipynb", notebooks.source_of(job.notebook)
        # papermill formats paths
        source, target = (str(path).replace("{", "{{").replace("}", "}}") for path in (source, run_copy))
        run = partial(papermill.execute_notebook, source, target, job.parameters, **kernel)
        try:
            try:
                run()
            except RuntimeError as error:
                if not str(error).startswith(NEVER_STARTED):
                    raise
                say(f"{log.prefix}its Python process did not start ({error}); once more")
                run()  # it never started: another kernel had taken the port that was free a moment ago
        except papermill.PapermillExecutionError as error:
            where = f"The notebook as far as it came, with the full error, is {failed_copy}."
            try:
                save_copy(run_copy, failed_copy)
            except OSError as refused:  # a full disk must not hide what the cell raised
                where = f"The notebook as far as it came could not be saved. {explained(refused)}"
            cell = error.exec_count - 1  # without the one that papermill injects
            raise NotebookFailed(job, f"stopped in cell {cell} with {error.ename}: {error.evalue}\n{where}") from error
        except RuntimeError as error:
            if not str(error).startswith(("Kernel died", *NEVER_STARTED)):
                raise
            remedy = "Close other programs or choose a smaller --profile, and give the command again."
            what = f"stopped: its Python process died ({error}), most often because memory ran out"
            raise NotebookFailed(job, f"{what}. {remedy}") from error
        if not job.results.exists() or job.results.stat() == before:  # each write makes another file
            save_copy(run_copy, failed_copy)
            what = f"wrote no results file {job.results}. Its last cell must call Results.write()"
            raise NotebookFailed(job, f"{what}. The notebook as it ran is {failed_copy}.")
        save_copy(run_copy, job.executed)
        failed_copy.unlink(missing_ok=True)


def kernel_variables(job: Job, scratch: str) -> dict[str, str]:
    """Environment variables of the kernel."""
    own = {"PYTHONPATH": library_path(), "PYTHONSAFEPATH": "1"}  # a random.py where it runs is nobody's module
    own |= {"PYTHONSTARTUP": ""}  # what a user runs before a session by hand is no part of an experiment
    own |= {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # of a user's, such as agg, no copy has figures
    own |= {"LATENTNAS_NOTEBOOK": job.notebook, "IPYTHONDIR": scratch, "JUPYTER_RUNTIME_DIR": scratch}
    # glibc keeps freed memory: giving the activations of every batch back costs a tenth of training
    own |= {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
    return own | {"PYTHONWARNINGS": f"{os.environ.get('PYTHONWARNINGS', '')},ignore:IProgress not found".strip(",")}


def library_path() -> str:
    """PYTHONPATH with this package first: the kernel imports the same code as this process, whatever is installed."""
    return os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH"))))


class LineWriter(io.TextIOBase):
    """A text file that says whole lines, behind the number of the notebook, and keeps them in a log."""

    def __init__(self, notebook: str, log: Path) -> None:
        self.prefix, self.rest, self.terminal = f"    {notebooks.number_of(notebook)} | ", "", sys.stderr
        log.parent.mkdir(parents=True, exist_ok=True)
        long = log.exists() and log.stat().st_size > 1e6
        self.log = open(log, "w" if long else "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - ends with us
        self.log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n")  # below what earlier runs said, where there is room

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text.replace("\r", "\n")).split("\n")
        for line in filter(str.strip, lines):
            say(self.prefix + line, self.terminal)
            print(line, file=self.log)


def say(text: str, terminal: TextIO | None = None) -> None:
    """Print to the terminal, through the command line where that started this run."""
    mark = MARK if "LATENTNAS_AGENDA" in os.environ else ""
    for line in text.splitlines():
        print(mark + line, file=terminal or sys.stderr, flush=True)


def save_copy(run_copy: Path, target: Path) -> None:
    """Clean the notebook file `run_copy` and write it to `target`."""
    notebook = json.loads(run_copy.read_text(encoding="utf-8"))
    clean(notebook)
    paths.write_text(target, json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def clean(notebook: dict) -> None:
    """Take out, in place, what belongs to one machine or one moment, and stderr, which is in the log."""
    notebook["metadata"].pop("papermill", None)
    notebook["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    names = {os.path.expanduser("~"): "~", tempfile.gettempdir(): "<temporary>", sys.prefix: "<python>"}
    names |= {str(paths.ROOT): ".", str(paths.OUTPUT): "."}
    names = {os.path.realpath(folder): name for folder, name in names.items()} | names
    names = {folder: name for folder, name in names.items() if folder.startswith("/") and folder != "/"}
    folders = sorted(names, key=len, reverse=True)  # the deepest folder counts
    # A folder of one part, as /tmp, may end another path: only after what begins one, colours and escapes included
    begins = r"(?:(?<![\w.~/-])|(?<=\dm)|(?<=\[m)|(?<=\\[nrt])|(?<=file://))"
    places = [
        rf"{begins}{re.escape(name)}(?![.-]?\w)" if name.count("/") == 1 else rf"{re.escape(name)}(?![\w-])"
        for name in folders
    ]
    mark = r"(?:\bT_[0-9a-f]{5}|(?<= at )0x[0-9a-f]+)(?![0-9A-Za-z])"  # of pandas' styled tables; address of an object
    picture = r"\bdata:[\w/+.;=-]+;base64,[0-9A-Za-z+/=]+"  # may spell the name of a folder by chance
    moment = re.compile("|".join([picture, *places, mark]))

    def named(found: re.Match[str]) -> str:
        text = found.group()
        if ";base64," in text:
            return text
        return "0x0" if text.startswith("0x") else names.setdefault(text, f"T_{len(names) - len(folders)}")

    def constant(text: object) -> object:
        if isinstance(text, list):
            return [constant(line) for line in text]
        return moment.sub(named, text) if isinstance(text, str) else text

    # The copy lies two folders below what is beside its source, such as notebooks that no run of all has a copy of.
    alone = "|".join(map(re.escape, profiles.read_profiles().alone))
    beside = re.compile(rf"\]\((\w+\.md\b|coursework/{f'|(?:{alone})[.]ipynb' * bool(alone)})")
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number}"  # papermill gives a new random id to the cell it injects
        if cell["cell_type"] == "markdown":
            cell["source"] = beside.sub(r"](../../\1", "".join(cell["source"])).splitlines(keepends=True)
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if notebooks.INJECTED in cell["metadata"].get("tags", []):  # how many processes there were decides nothing
            lines = "".join(cell["source"]).splitlines(keepends=True)
            cell["source"] = [line for line in lines if line.split(" = ")[0] not in notebooks.NOT_DECIDING]
        outputs, received = cell.get("outputs", []), [*cell.get("outputs", [])]
        outputs.clear()
        for output in received:
            if output.get("name") == "stdout" and outputs and outputs[-1].get("name") == "stdout":
                joined = "".join([*outputs[-1]["text"], *output["text"]])  # in how many parts it came is chance
                outputs[-1]["text"] = joined.splitlines(keepends=True)
            elif output.get("name") != "stderr":
                outputs.append(output)
        for part in (*outputs, *(output["data"] for output in outputs if "data" in output)):
            part |= {key: constant(value) for key, value in part.items() if not key.startswith(PICTURES)}


def check_unchanged(job: Job) -> None:
    """NotebookFailed where the code that a notebook imports, or its list of trainings, is not what was planned."""
    for read in (code._parsed, code._imports, code._code_hash):  # earlier in this process
        read.cache_clear()
    source = notebooks.source_of(job.notebook)
    if notebooks.hash_of([notebooks.code_fingerprint(source), notebooks.tagged_cells(source, TRAININGS)]) != job.code:
        what = "cannot count: a file in lib/ that it imports, or its list of trainings, was changed since the run began"
        raise NotebookFailed(job, f"{what}. The same command runs it as it is now.")


def run_job(job: Job) -> None:
    """Run a job: executed copy and results in place, then the stamp."""
    check_unchanged(job)
    started = time.monotonic()
    report_progress(job, "running")
    job.stamp.unlink(missing_ok=True)
    for file in (job.results, job.executed):  # now, not after hours, an error says where one may not write
        file.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=file.parent).close()
    execute(job)
    written = json.loads(job.results.read_text(encoding="utf-8"))
    for name, value in notebooks.deciding(job.parameters).items():
        recorded = (written | written["parameters"]).get(name)
        if recorded != value:
            remedy = "A parameter must keep its value: use another name for what is computed."
            raise NotebookFailed(job, f"was run with {name} = {value!r} but recorded {recorded!r}. {remedy}")
    if notebooks.code_cells_hash(job.executed) != job.cells:
        raise NotebookFailed(job, "was changed before its turn came. The same command runs it as it is now.")
    check_unchanged(job)
    paths.write_text(job.stamp, "\n".join([job.inputs, claims.sha256(job.results), claims.sha256(job.executed), ""]))
    report_progress(job, f"done in {in_words(time.monotonic() - started)}")


def trainings_of(job: Job) -> dict[object, Callable[[], object]]:
    """What the tagged cells of a notebook list, with the parameters of a job."""
    variables: dict[str, object] = {"__name__": f"trainings of {job.notebook}"} | job.parameters
    os.environ["LATENTNAS_NOTEBOOK"] = job.notebook  # as in its kernel: a copy that keeps another's name is refused
    try:
        for number, source in notebooks.tagged_cells(notebooks.source_of(job.notebook), TRAININGS):
            exec(compile(source, f"{job.notebook}, cell {number}", "exec"), variables)
    except (Exception, SystemExit) as error:
        what = f"stopped in cell {number}, tagged '{TRAININGS}', with {type(error).__name__}: {error}".rstrip(".")
        remedy = " Such cells run before the notebook, without those between them: tag each that they need."
        raise NotebookFailed(job, f"{what}." + remedy * isinstance(error, NameError)) from error
    finally:
        del os.environ["LATENTNAS_NOTEBOOK"]
    listed = variables.get(TRAININGS)
    if not isinstance(listed, dict) or not all(map(callable, listed.values())):
        what = f"has cells tagged '{TRAININGS}', but they make no dictionary `{TRAININGS}` of functions"
        raise NotebookFailed(job, f"{what} without arguments, one for each training.")
    return listed


def run_share(job: Job, share: str) -> None:
    """Make the trainings of one share, such as "2-of-4". One that fails keeps none of the others from being made."""
    check_unchanged(job)
    number, shares = map(int, share.split("-of-"))
    log = state_file(job, ".log", share)
    lines, failed = LineWriter(job.notebook, log), []
    with contextlib.redirect_stdout(io.StringIO()):  # what the cells print belongs to the notebook
        mine = list(trainings_of(job).items())[number - 1 :: shares]
    for place, (key, train) in enumerate(mine, 1):
        report_progress(job, f"training {place} of {len(mine)}, share {share}")
        try:
            with contextlib.redirect_stderr(lines):
                train()
        except (Exception, SystemExit) as error:
            traceback.print_exc(file=lines.log)
            failed.append(f"{key} with {type(error).__name__}: {error}")
    if failed:
        what = f"stopped in {len(failed)} of {len(mine)} trainings: {'; '.join(failed)}"
        rest = f"The others are stored. The whole error is in {log}. The same command goes on from here."
        raise NotebookFailed(job, f"{what}\n{rest}")
    check_unchanged(job)


def limit_threads(job: Job) -> None:
    """Compute with one thread, so that sums have the same last bits on any number of cores; only a measurement of speed
    uses those that Snakemake gives this job and the machine has, as many as products here can keep busy."""
    most = 1
    if job.notebook in profiles.read_profiles().bench:
        from joblib import cpu_count  # here, because the rest of this module must import quickly

        most = min(MOST_THREADS, cpu_count())
    for name, cores in list(os.environ.items()):  # Snakemake also sets those of MKL, OpenBLAS and others
        if name.endswith("_NUM_THREADS") and cores.isdecimal():
            os.environ[name] = str(min(int(cores), most))


def take_gpu() -> None:
    """Show this process only the first GPU that no other job holds; where all are taken, the GPUs as they are. A device
    that LATENTNAS_DEVICE names by its number is the user's choice."""
    gpus = visible_gpus() if os.environ.get("LATENTNAS_DEVICE") in (None, "", "cuda") else []
    for gpu in gpus if len(gpus) > 1 else ():  # on a cluster the scheduler gives a job its own
        with contextlib.suppress(BlockingIOError):
            _held.append(paths.locked(f"gpu-{platform.node()}-{gpu.replace('/', '-')}.lock"))
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return


def visible_gpus() -> list[str]:
    """Names of the GPUs that CUDA would show this process, without starting CUDA."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        # CUDA stops at the first that names none, such as -1 or Slurm's NoDevFiles
        gpus = map(str.strip, os.environ["CUDA_VISIBLE_DEVICES"].split(","))
        return [*itertools.takewhile(re.compile(r"\d+$|GPU-|MIG-").match, gpus)]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    except OSError:  # none, or none that may be run
        return []
    return [str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def last_run(label: str, notebook: str) -> dict:
    """The manifest of the last run of the notebook under this label or, without one, its profile's; {} if none."""
    for known in (label, label.partition("+")[0]):
        if content := claims.read_results(paths.RESULTS / known / f"{notebook}.json"):
            return content["manifest"]
    return {}


def resources(job: Job, attempt: int, processes: int = 1) -> dict[str, int]:
    """Minutes and MB for a job or a share of its trainings, by the last run; more at each attempt. A job's processes
    beside its own, which the last run did not measure, count as much as its own."""
    known = last_run(job.label, job.notebook)
    seconds = claims.seconds_of(known) if known else 2400
    memory = max(known.get("peak_memory_mb", {}).values(), default=2700)
    times = 1.5 + processes * (processes > 1)
    return {"runtime": attempt * max(10, round(1.5 * seconds / 60)), "mem_mb": attempt * round(2000 + times * memory)}


def seconds_left(jobs: Sequence[tuple[str, str]]) -> float | None:
    """What [(label, notebook), ...] take one after the other, by their last runs, without the shares of their trainings
    that are done, and trainings that they share counted once; None where one was never timed."""
    left = 0.0
    for label, notebook in jobs:
        if not (run := last_run(label, notebook)):
            return None
        stamp = profiles.stamp_path(label, f"{notebook}.trainings")
        ended = [*stamp.parent.glob(f"{notebook}.trainings-*-of-*.done")]
        shares = int(ended[0].stem.rpartition("-of-")[2]) if ended else 1
        to_train = 0.0 if stamp.exists() else max(0.0, 1 - len(ended) / shares)  # some may be of another --jobs
        shared = [of for of in profiles.read_profiles().depends.get(notebook, ()) if (label, of) in jobs]
        own = run["loaded_seconds"] - sum(last_run(label, of).get("loaded_seconds", 0.0) for of in shared)
        left += run["wall_seconds"] + to_train * max(0.0, own)
    return left


def total_time(jobs: Sequence[tuple[str, str]], side_by_side: int = 1) -> str:
    """', about 3 min' for [(label, notebook), ...]; '' where one was never timed."""
    left = seconds_left(jobs)
    return f", about {in_words(left / min(side_by_side, len(jobs)))}" if left else ""


def state_file(job: Job, suffix: str, *share: str) -> Path:
    """A file of this job in data/state, or of one share of its trainings."""
    return profiles.stamp_path(job.label, f".{TRAININGS}-".join([job.notebook, *share])).with_suffix(suffix)


def time_used(label: str, notebook: str, since: float) -> tuple[float, float]:
    """Seconds that jobs of a notebook, which began after a moment, took: those that have ended, those that run."""
    ended = running = 0.0
    for file in profiles.stamp_path(label, notebook).parent.glob(f"{notebook}.*seconds"):
        with contextlib.suppress(OSError, ValueError):  # an estimate ends no job
            if (began := file.stat().st_mtime) >= since:
                if text := file.read_text():
                    ended += float(text)
                else:
                    running += max(0.0, time.time() - began)
    return ended, running


def report_progress(job: Job, words: str) -> None:
    """Say something about a job; in a run of the command line also how many are done and the time left: by the last
    runs and, once a tenth is done, by how much longer that took than in those."""
    agenda, jobs = json.loads(os.environ.get("LATENTNAS_AGENDA", "[]")), int(os.environ.get("LATENTNAS_JOBS", 1))
    started, planned = map(float, os.environ.get("LATENTNAS_PLANNED", "0 0").split())
    spent, waiting, running = 0.0, [], []
    for known in agenda:
        ended, now = time_used(*known, started)
        spent += ended
        if profiles.stamp_path(*known).exists():
            spent += now  # it is about to end
        else:
            waiting.append(seconds_left([known]))
            running.append(now)
    took = ""
    if waiting and None not in waiting:
        gone = planned - sum(waiting)
        factor = spent / gone if gone > planned / 10 else 1.0
        left = sum(max(0.0, factor * seconds - now) for seconds, now in zip(waiting, running))
        took = f", about {in_words(left / min(jobs, len(waiting)))} left"
    done = f" [{len(agenda) - len(waiting)} of {len(agenda)} done{took}]" if agenda else ""
    say(f"{job.notebook} ({job.label}): {words}{done}")


def explained(error: Exception) -> str:
    """An error for people; of the disk with its file, or where that is not known all places, and the remedy."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    place = error.filename or f"{paths.OUTPUT} or {tempfile.gettempdir()}"
    remedy = "Make room or allow writing there, or name another place: LATENTNAS_OUTPUT, for temporary files TMPDIR."
    return f"{place}: {error.strerror}. {remedy} Nothing stored is lost."


def main(job: str, *share: str) -> int:
    """Carry out what Snakemake asks for; the exit status says whether it succeeded."""
    job, started = Job(**json.loads(job)), time.monotonic()
    clock = state_file(job, ".seconds", *share)  # empty as long as the job runs
    try:
        paths.write_text(clock, "")
        with ending_together("LATENTNAS_JOB"):
            take_gpu()
            limit_threads(job)
            (run_share if share else run_job)(job, *share)
    except KeyboardInterrupt:
        say(f"{job.notebook} ({job.label}): interrupted. The same command goes on from here.")
        return 130
    except Exception as error:
        report_progress(job, "failed")
        if not isinstance(error, NotebookFailed):
            traceback.print_exc()
        say(f"\n{explained(error)}\n")
        return 1
    finally:
        with contextlib.suppress(OSError):  # a full disk is named above
            paths.write_text(clock, f"{time.monotonic() - started:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
