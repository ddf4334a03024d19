"""The command line behind ./run_all.sh: check what is asked, let Snakemake run what is out of date, renew the reports.

Nothing here imports torch: that a run has nothing to do must be known within seconds.
"""

import argparse
import contextlib
import csv
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from companion import paths, profiles, report, runner
from companion.profiles import Job, UsageError

TEST = (sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
EXAMPLES = """\
commands:
  run        (default) run the notebooks that are out of date, then renew the reports
  test       run the tests, two files at a time; what follows goes to pytest, for example: ./run_all.sh test -k claims
  figures    draw all figures again from stored results, without training
  bench      measure the speed of training against the readable reference

examples:
  ./run_all.sh                                  every notebook, profile quick
  ./run_all.sh --profile paper --dry-run        what would run at the published sizes, and for how long
  ./run_all.sh --only 02 --only 03              two notebooks, and what they depend on
  ./run_all.sh --only 02 -p seed=1              one parameter changed: data/results/quick+<hash>/

A run that was interrupted goes on where it stopped when the same command is given again.
"""


def parser() -> argparse.ArgumentParser:
    """The argument parser of `run` and `figures`; `test` and `bench` take their arguments as they are."""
    result = argparse.ArgumentParser(
        prog="run_all.sh",
        description="Rerun the notebooks of this companion.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, commands = result.add_argument, ("run", "test", "figures", "bench")
    add("command", nargs="?", default="run", choices=commands, metavar="command", help="see below")
    add("--profile", help="size of the run: smoke, quick (default), recommended or paper")
    several = {"action": "append", "default": []}
    add("--only", **several, metavar="NOTEBOOK", help="a notebook's name or its beginning; may be repeated")
    text = "set a parameter declared in a selected notebook; may be repeated"
    add("-p", **several, dest="parameters", metavar="NAME=VALUE", help=text)
    text = "notebooks to run at the same time (default %(default)s)"
    add("--jobs", type=positive, default=min(2, os.cpu_count() or 1), metavar="N", help=text)
    add("--dry-run", action="store_true", help="say what would run, and run nothing")
    return result


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; returns the exit status: 0 done, 1 something failed, 2 asked for something impossible."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["test"]:
            one_thread_each = {"OMP_NUM_THREADS": "1"} | os.environ
            return subprocess.run([*TEST, *arguments[1:]], cwd=paths.ROOT, env=one_thread_each).returncode
        if arguments[:1] == ["bench"]:
            from companion import speed  # imports torch

            return speed.main()
        options = parser().parse_args(arguments)
        return figures(options) if options.command == "figures" else run(options)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Run what is out of date of the selected notebooks."""
    profile = options.profile or "quick"
    profiles.check_profile(profile)
    overrides = profiles.parse_overrides(options.parameters, profiles.select_notebooks(options.only))
    jobs = profiles.plan(profile, options.only, overrides)
    labels = sorted({job.label for job in jobs})
    for job in jobs:
        if not (job.results.exists() and job.executed.exists()):  # then it has not run, whatever the stamp says
            job.stamp.unlink(missing_ok=True)
    snakemake = snakemake_arguments(profile, options)
    waiting = out_of_date(snakemake, jobs)
    if not waiting:
        if not options.dry_run:
            report.renew(labels)
        print(f"Everything is up to date (profile {profile}: {', '.join(job.notebook for job in jobs)}).")
        return 0
    if options.dry_run:
        print(f"Would run, profile {profile}:")
        for job in waiting:
            took = runner.total_time([(job.label, job.notebook)])
            print(f"  {job.notebook} -> data/results/{job.label}{took}")
        return 0
    agenda = {"started": time.time(), "jobs": [(job.label, job.notebook) for job in waiting]}
    with one_run_at_a_time():
        run_snakemake(snakemake, agenda, options.jobs)
    report.renew(labels)
    undone = ", ".join(notebook for _, notebook in runner.unfinished(agenda))
    if undone:
        print(f"Not finished: {undone}. The same command goes on from here.", file=sys.stderr)
        return 1
    for label in sorted({job.label for job in waiting}):
        print(
            f"Done. Results: data/results/{label}   figures and report: figures/{label}   "
            f"notebooks as run: notebooks/executed/{label}"
        )
    return 0


def figures(options: argparse.Namespace) -> int:
    """Redraw all figures from stored results, of one profile or of all that have any."""
    if options.only or options.parameters or options.dry_run:
        raise UsageError("'figures' draws everything that has results again; of the options it takes only --profile.")
    if options.profile:
        profiles.check_profile(options.profile)
    labels = [options.profile] if options.profile else report.labels_with_results()
    if not any(report.has_results(label) for label in labels):
        which = f" for profile {options.profile}" if options.profile else ""
        raise UsageError(f"There are no results to draw yet{which}. Run the notebooks first: ./run_all.sh")
    from companion.figures.redraw import redraw  # imports matplotlib

    try:
        for label in labels:
            redraw(label)
    except FileNotFoundError as error:  # a table that a figure needs is gone; the message says how to make it
        print(error, file=sys.stderr)
        return 1
    report.renew(labels)
    print(f"Figures drawn again: {', '.join(f'figures/{label}' for label in labels)}")
    return 0


# ---------------------------------------------------------------- Snakemake


def snakemake_arguments(profile: str, options: argparse.Namespace) -> list[str]:
    """Command-line arguments common to the look ahead and to the run itself.

    A changed rule is no reason to run again: its command names this machine's Python. --nolock: `one_run_at_a_time`
    holds a lock that, unlike Snakemake's, a killed process does not leave behind.
    """
    config = {"profile": profile, "only": options.only, "overrides": options.parameters}
    files = ["--snakefile", str(paths.ROOT / "Snakefile"), "--directory", str(paths.OUTPUT)]
    reasons = ["--rerun-incomplete", "--rerun-triggers", "mtime", "params"]
    settings = ["--config", *(f"{name}={json.dumps(value)}" for name, value in config.items())]
    return [*files, *reasons, "--nolock", "--cores", str(options.jobs), *settings]


def out_of_date(snakemake: list[str], jobs: list[Job]) -> list[Job]:
    """The jobs that Snakemake would run."""
    paths.OUTPUT.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", *snakemake, "--summary"]
    looked = subprocess.run(command, capture_output=True, text=True, env=os.environ | child_variables())
    if looked.returncode:
        raise UsageError(f"Snakemake could not make a plan from the Snakefile:\n{looked.stderr[-3000:]}")
    table = csv.DictReader(looked.stdout.splitlines(), delimiter="\t")  # one row for each output, which is a stamp
    pending = {row["rule"] for row in table if row["plan"] != "no update"}
    return [job for job in jobs if job.notebook in pending]


def run_snakemake(snakemake: list[str], agenda: dict, jobs: int) -> None:
    """Run Snakemake on the terminal, without its own chatter: the runner of each notebook reports progress."""
    names = [notebook for _, notebook in agenda["jobs"]]
    side_by_side = min(jobs, len(names))
    took = runner.total_time(agenda["jobs"], side_by_side)
    print(f"{len(names)} notebook{'s' if len(names) > 1 else ''} to run{took}: {', '.join(names)}", flush=True)
    os.environ.update(
        child_variables() | {"LATENTNAS_AGENDA": json.dumps(agenda), "LATENTNAS_PARENT": str(os.getpid())}
    )
    if side_by_side > 1:  # the threads of two processes on one core would wait for each other
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // side_by_side)))
    from snakemake.cli import main as snakemake_main  # half a second to import

    with contextlib.suppress(SystemExit):  # in this process: Snakemake is gone when it is killed
        snakemake_main([*snakemake, "--keep-going", "--quiet", "all"])


def child_variables() -> dict[str, str]:
    """Environment variables of Snakemake and its jobs: the same package and folders as here."""
    folders = {"LATENTNAS_ROOT": str(paths.ROOT), "LATENTNAS_OUTPUT": str(paths.OUTPUT)}
    return folders | {"PYTHONPATH": runner.library_path()}


@contextlib.contextmanager
def one_run_at_a_time() -> Iterator[None]:
    """Hold this output folder's run lock. The system lets go of it when this process ends in any way.

    Raises:
        UsageError: Another run holds it.
    """
    paths.STATE.mkdir(parents=True, exist_ok=True)
    with open(paths.STATE / "run.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = "Wait until it has finished, or end it; then give the command again."
            raise UsageError(f"Another run is writing to this folder. {remedy}") from error
        yield
