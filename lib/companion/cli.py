"""The command line behind ./run_all.sh: check what is asked, let Snakemake run what is out of date, renew the reports.

Nothing here imports torch: that a run has nothing to do must be known within seconds.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import joblib
import psutil

from companion import claims, notebooks, packages, paths, profiles, report, runner
from companion.arguments import parser
from companion.profiles import UsageError
from companion.together import ending_together, marked

LAB = "LATENTNAS_LAB"  # marks what a JupyterLab started; a run from one of its terminals may outlive it
MOST_JOBS = 1000  # each notebook's trainings are dealt into as many shares
# Three files at a time: on two cores a test that waits for its notebook or another process leaves one idle.
TEST = (sys.executable, "-m", "pytest", "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")


def main(arguments: Sequence[str]) -> int:
    """Carry out one command; returns the exit status: 0 done, 1 something failed, 2 asked for something impossible."""
    os.environ.pop(LAB, None)
    try:
        if arguments[:1] == ["test"]:
            environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONSAFEPATH": "1"}  # -P of its workers too
            return ended_with_us([*TEST, *arguments[1:]], environment, paths.ROOT)
        if arguments[:1] == ["lab"]:
            return lab(arguments[1:])
        if arguments[:1] == ["compare"]:
            if len(arguments) != 3:
                raise UsageError("'compare' takes two folder names in data/results: ./run_all.sh compare A B")
            print(report.comparison(*arguments[1:]), end="", flush=True)
            return 0
        with_options = {"run": run, "bench": run, "figures": figures, "fetch": fetch, "release": release, "site": site}
        options = parser().parse_args(arguments)
        if options.profile == "":
            raise UsageError("--profile needs a name, such as quick; without --profile it is quick.")
        if options.command not in with_options:
            raise UsageError(f"'{options.command}' must come first: ./run_all.sh {options.command} ...")
        taken = {"fetch": ["profile", "only"], "release": ["profile", "only"], "figures": ["profile"], "site": []}
        if (names := taken.get(options.command)) is not None:
            given = {name: getattr(options, name) for name in names}
            if vars(options) != vars(parser().parse_args([options.command])) | given:
                allowed = " and ".join(f"--{name}" for name in names)
                raise UsageError(f"'{options.command}' takes {f'only {allowed}' if names else 'no options'}.")
        return with_options[options.command](options)
    except BrokenPipeError:  # who reads the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except (UsageError, runner.NotebookFailed, OSError) as error:
        print(runner.explained(error), file=sys.stderr)
        return 1 if isinstance(error, OSError) else 2


def ended_with_us(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None = None,
    variable: str = "LATENTNAS_COMMAND",
    only: Sequence[str] = (),
) -> int:
    """The exit status of a command, run in a folder; what it started ends with this process, as `marked` says."""
    with marked(variable, only=only):
        return subprocess.run(command, cwd=folder, env={**environment, variable: os.environ[variable]}).returncode


def run(options: argparse.Namespace) -> int:
    """Run those of the selected notebooks that are out of date.

    The command `bench` selects the notebooks that profiles.toml lists under `bench`. It runs them even if they are up
    to date, and prints their numbers.
    """
    if options.jobs is not None and not 1 <= options.jobs <= MOST_JOBS:
        raise UsageError(f"--jobs must be 1 or more, and at most {MOST_JOBS}.")
    profile, anew = options.profile or "quick", options.command == "bench"
    if anew:
        own = profiles.read_profiles().bench
        if options.only or not own:
            raise UsageError(f"'bench' runs {', '.join(own) or 'nothing here'}; it takes no --only.")
        options.only = own
    overrides = profiles.parse_overrides(options.parameters, profiles.select_notebooks(options.only))
    jobs = profiles.plan(profile, options.only, overrides)
    agenda = [(job.label, job.notebook) for job in (jobs if anew else profiles.out_of_date(jobs))]
    if options.dry_run and agenda:
        print(f"Would run, profile {profile}:")
        for label, notebook in agenda:
            print(f"  {notebook} -> data/results/{label}{runner.total_time([(label, notebook)])}")
        return 0
    if agenda:
        with profiles.only_run(), ending_together("LATENTNAS_RUN"):
            profiles.out_of_date(jobs, forget=True)
            for job in jobs if anew else ():
                job.stamp.unlink(missing_ok=True)
            run_snakemake(profile, options, agenda)
    if not options.dry_run:
        report.renew({job.label for job in jobs})
    if undone := [notebook for label, notebook in agenda if not profiles.stamp_path(label, notebook).exists()]:
        print(f"Not finished: {', '.join(undone)}. The same command goes on from here.", file=sys.stderr)
        return 1
    if kept := [str(file) for job in jobs for file in profiles.replaced(job)]:
        what = f"Kept, though not as the last run here wrote it (git or an edit replaced it): {', '.join(kept)}"
        print(f"{what}. Delete it to have it made again.", file=sys.stderr)
    if not agenda:
        print(f"Everything is up to date (profile {profile}: {', '.join(job.notebook for job in jobs)}).")
    for job in jobs if anew else ():
        for claim in report.all_claims(claims.read_results(job.results)):
            print(f"{claim['id']:<52} {report.number(claim['ours']) or 'not measured':>12} {claim['unit']}")
    for label in sorted({label for label, _ in agenda}):
        places = f"figures and report: figures/{label}   notebooks as run: notebooks/executed/{label}"
        print(f"Done. Results: data/results/{label}   {places}")
    return 0


def side_by_side(wanted: int | None, cores: int, memory: int, gpus: int) -> tuple[int, int]:
    """How many jobs run at the same time, and the cores of each: together no more than there are, if it can be.

    Where no number is wanted: a core and 3 GB of memory for each job, and on a machine with GPUs one of these, or two
    jobs on a single one.
    """
    jobs = wanted or max(1, min(8, cores, memory // 3_000_000_000, max(2, gpus) if gpus else 8))
    return jobs, max(1, cores // jobs)


def run_snakemake(profile: str, options: argparse.Namespace, agenda: list[tuple[str, str]]) -> None:
    """Run Snakemake; its own words go to a log, what the runners of the notebooks mark for the terminal goes there.

    Only missing stamps count: `software-env` stands for no trigger. --nolock: `run` holds a lock that a killed process
    does not leave behind. A session of its own: Ctrl-C is for this process, which ends the others.
    """
    machine = joblib.cpu_count(), psutil.virtual_memory().total, len(runner.visible_gpus())
    jobs, cores = side_by_side(options.jobs, *machine)
    what = f"{len(agenda)} notebook{'s' * (len(agenda) > 1)} to run{runner.total_time(agenda, jobs)}"
    print(f"{what}: {', '.join(notebook for _, notebook in agenda)}", flush=True)
    command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(paths.ROOT / "Snakefile")]
    command += ["--directory", str(paths.OUTPUT), "--keep-going", "--rerun-incomplete", "--nolock"]
    command += f"--cores {jobs * cores} --rerun-triggers software-env --profile none --workflow-profile none".split()
    settings = {"profile": profile, "only": options.only, "overrides": options.parameters}
    command += ["--config", *(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in settings.items())]
    variables = {"LATENTNAS_ROOT": str(paths.ROOT), "LATENTNAS_OUTPUT": str(paths.OUTPUT), "LATENTNAS_JOBS": str(jobs)}
    variables |= {"LATENTNAS_AGENDA": json.dumps(agenda), "PYTHONPATH": runner.library_path()}
    variables["LATENTNAS_PLANNED"] = f"{time.time()} {runner.seconds_left(agenda) or 0}"
    shutil.rmtree(paths.OUTPUT / ".snakemake/metadata", ignore_errors=True)  # decide nothing; damaged they end each run
    log, last, told, killed = paths.STATE / "snakemake.log", deque(maxlen=15), False, False
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
    running = subprocess.Popen(command, cwd=paths.OUTPUT, env=os.environ | variables, start_new_session=True, **streams)
    with open(log, "w", encoding="utf-8") as file, running.stdout:
        for line in running.stdout:
            file.write(line)
            if line.startswith(runner.MARK):
                print(line[1:], end="", file=sys.stderr, flush=True)
                told |= ": failed" in line
            else:
                last.append(line)
                killed |= "<Signals.SIGKILL" in line
    if running.wait() and not told:
        print(f"Snakemake failed. All that it said is in {log}; the end of it:\n{''.join(last)}", file=sys.stderr)
    if killed:
        remedy = "Close other programs, or choose a smaller --jobs or --profile."
        print(f"A job was killed, most often because memory ran out. {remedy} Nothing stored is lost.", file=sys.stderr)


def fetch(options: argparse.Namespace) -> int:
    """Download the public tables, or the released weights of a profile, that are not here yet."""
    from companion import weights  # imports torch
    from latentnas.benchmarks import download, fetch

    try:
        if options.profile or options.only:
            print(weights.fetch(options.profile or "quick", options.only))
        else:
            print(f"All {len(fetch())} public files are here, with the right checksums.")
    except download.DataError as error:
        raise UsageError(str(error)) from error
    return 0


def release(options: argparse.Namespace) -> int:
    """Pack the trained weights of a profile as files of a release, and list them."""
    from companion import weights  # imports torch

    print(weights.pack(options.profile or "quick", options.only))
    return 0


def lab(arguments: Sequence[str]) -> int:
    """Open JupyterLab on working copies of the notebooks, so that what one tries changes no file of the project.
    Solutions are not among them. The first word may name one to open, such as `week1`; other arguments go to
    JupyterLab."""
    mine = paths.NOTEBOOKS / "mine"
    files = [*map(notebooks.source_of, notebooks.names()), *paths.NOTEBOOKS.glob("*.md")]
    files += [file for file in paths.NOTEBOOKS.glob("coursework/*.ipynb") if not file.stem.endswith("_solutions")]
    files += paths.NOTEBOOKS.glob("coursework/*.svg")
    first = notebooks.source_of(notebooks.names()[0])
    if arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        named = [file for file in files if file.suffix == ".ipynb" and f"{file.stem}_".startswith(f"{name}_")]
        if not named:
            known = ", ".join(sorted(file.stem for file in files if file.suffix == ".ipynb"))
            raise UsageError(f"There is no notebook '{name}' to open. Name one of these, or its number: {known}.")
        first = named[0]
    for file in () if {"-h", "--help", "--help-all", "--version"}.intersection(arguments) else files:
        copy = mine / file.relative_to(paths.NOTEBOOKS)
        if not copy.exists():
            with paths.atomic_write(copy) as temporary:  # a part of a notebook would stay for good
                text = file.read_bytes().replace(b"](coursework/solutions/", b"](../coursework/solutions/")
                temporary.write_bytes(text)
    url = f"/lab/tree/notebooks/mine/{first.relative_to(paths.NOTEBOOKS).as_posix()}"
    options = [f"--ServerApp.root_dir={paths.ROOT}", f"--LabApp.default_url={url}"]
    environment = os.environ | {"PYTHONPATH": runner.library_path()}
    command = [sys.executable, "-P", "-m", "jupyterlab", *options, *arguments]
    return ended_with_us(command, environment, variable=LAB, only=("jupyterlab", "ipykernel_launcher"))


def site(options: argparse.Namespace) -> int:
    """Build the site by notebooks/conf.py; a warning is an error, which leaves the old site in place."""
    if absent := packages.missing("site"):
        install = [sys.executable, "-P", "-m", "pip", "install", *absent]
        if sys.prefix != str(paths.ROOT / ".venv"):
            raise UsageError(f"{sys.executable} has no {', '.join(absent)}. Install it: {shlex.join(install)}")
        install += ["--quiet", "--disable-pip-version-check", "-c", str(paths.ROOT / "requirements.lock")]
        if subprocess.run(install).returncode:
            raise UsageError(f"{', '.join(absent)} could not be installed; pip says above why. Then try again.")
    target = paths.OUTPUT / "site"
    paths.OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site.partial-", dir=paths.OUTPUT) as folder:
        sphinx = [sys.executable, "-P", "-m", "sphinx", "-EqW", "--keep-going", "--jobs", "auto"]
        sphinx += ["-c", str(paths.NOTEBOOKS), "-d", f"{folder}/read", str(paths.ROOT), f"{folder}/site"]
        if ended_with_us(sphinx, os.environ):
            print("The site was not built: Sphinx says above what is wrong, and where.", file=sys.stderr)
            return 1
        shutil.rmtree(target, ignore_errors=True)
        os.replace(f"{folder}/site", target)
    print(f"Done. Open {target / 'index.html'}")
    return 0


def figures(options: argparse.Namespace) -> int:
    """Redraw all figures from stored results, of one profile or of all that have any."""
    stored = report.labels_with_results()
    labels = [label for label in stored if options.profile in (None, label)]
    if not labels:
        what = f"There are no results of {options.profile or 'any profile'}"
        raise UsageError(f"{what}. data/results has: {', '.join(stored) or 'nothing yet'}. ./run_all.sh makes them.")
    from companion.figures.redraw import redraw  # imports matplotlib

    for label in labels:
        redraw(label)
    report.renew(labels)
    print(f"Figures drawn again: {', '.join(f'figures/{label}' for label in labels)}")
    return 0
