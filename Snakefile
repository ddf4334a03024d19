# Two kinds of jobs: the trainings that a notebook lists, in shares that run side by side, and the notebook itself,
# which finds them done. `./run_all.sh` starts this; so can `snakemake` itself, for example on a cluster:
#     snakemake --workflow-profile profiles/slurm --config profile=paper
# Settings: profile=NAME, only=["02", ...], overrides=["seed=1", ...], gpu=N; companion.profiles checks them.
import json
import os
import shlex
import sys
from collections import Counter
from dataclasses import asdict

sys.path.insert(0, os.path.join(workflow.basedir, "lib"))   # before whatever lies beside this file
from companion import paths, profiles, runner
from companion.report import renew


def texts(setting):
    """What `--config` makes of `only=00`, a number, and of `only=[00,01]`, a list, as texts."""
    values = setting if isinstance(setting, list) else [setting]
    return [f"{value:02d}" if isinstance(value, int) else str(value) for value in values]


def count(name, setting, least=1):
    """A setting as a number."""
    if not str(setting).isdecimal() or int(setting) < least:
        raise profiles.UsageError(f"{name} is {setting!r}: give a whole number, {least} or more.")
    return int(setting)


if unknown := config.keys() - {"profile", "only", "overrides", "gpu"}:
    raise profiles.UsageError(f"--config has no setting {', '.join(unknown)}: give profile, only, overrides or gpu.")
ONLY = texts(config.get("only", []))
OVERRIDES = profiles.parse_overrides(texts(config.get("overrides", [])), profiles.select_notebooks(ONLY))
JOBS = profiles.plan(str(config.get("profile", "quick")), ONLY, OVERRIDES)
STALE = set()   # stamps that a dry run, which changes nothing on disk, must not count
if workflow.output_settings.dryrun:
    for job in profiles.out_of_date(JOBS):
        parts = [] if profiles.is_trained(job) else [".trainings", ".trainings-{scatteritem}"]
        STALE |= {profiles.stamp_path(job.label, job.notebook + part) for part in ["", *parts]}
elif workflow.is_main_process:
    RUN = None if "LATENTNAS_AGENDA" in os.environ else profiles.only_run()    # which the command line holds
    profiles.out_of_date(JOBS, forget=True)
WAITED_FOR = Counter(notebook for job in JOBS for _, notebook in job.needs)  # these start first
HIGHEST = max(WAITED_FOR.values(), default=0) + 5    # of all priorities: 2 for trainings, then FIRST, then stamps
# None where a cluster runs the jobs, and in such a job too: its node may have more cores than the job was given
CORES = None if workflow.remote_exec else workflow.resource_settings.cores
SIDE_BY_SIDE = count("LATENTNAS_JOBS", os.environ.get("LATENTNAS_JOBS") or CORES or 1)
BENCH = profiles.read_profiles().bench
WAITING = max(1, len(json.loads(os.environ.get("LATENTNAS_AGENDA", "[]")) or JOBS))    # none where all run alone


def threads_for(side_by_side):
    """Of each job, where so many run at the same time."""
    return max(1, CORES // side_by_side) if CORES else count("SLURM_CPUS_PER_TASK", os.environ.get("SLURM_CPUS_PER_TASK", 2))


ALL_CORES = threads_for(1)    # of jobs whose times are measured, so that nothing runs beside them
THREADS = threads_for(min(SIDE_BY_SIDE, WAITING))    # of another notebook, which its processes share
GPU = count("gpu", config.get("gpu", min(1, len(runner.visible_gpus()))), least=0)     # of each job


def relative(path):
    """As seen from the working directory, so that a moved checkout is still up to date."""
    return os.path.relpath(path, paths.OUTPUT) + " (out of date)" * (path in STALE)


def processes(job):
    """The parameter `jobs`, where the notebook has it."""
    return {"jobs": OVERRIDES.get("jobs", THREADS)} if "jobs" in job.parameters else {}


def command(job):
    """A function, because the braces of a plain string would be wildcards."""
    text = json.dumps(asdict(job) | {"parameters": job.parameters | processes(job)})
    return lambda wildcards: shlex.join([sys.executable, "-P", "-m", "companion.runner", text, *wildcards])


def resource(job, name, jobs=1):
    return lambda wildcards, attempt: runner.resources(job, attempt, jobs)[name]


def trained(label, notebook):
    return relative(profiles.stamp_path(label, f"{notebook}.trainings"))


LISTED = {(job.label, job.notebook) for job in JOBS if job.trainings}
WITHOUT_TRAININGS = [job for job in JOBS if LISTED.isdisjoint([(job.label, job.notebook), *job.needs])]
# Run before all others, for whoever waits: a notebook whose figures need no training, and the one where readers begin
FIRST = [*WITHOUT_TRAININGS[:1], *JOBS[:1]]


workdir: str(paths.OUTPUT)


scattergather:
    trainings=SIDE_BY_SIDE if CORES else 2    # --set-scatter trainings=32


localrules: all


def renew_reports():
    if "LATENTNAS_AGENDA" not in os.environ:    # else the command line does it
        renew({job.label for job in JOBS})


onsuccess:
    renew_reports()


onerror:    # of what did not fail
    renew_reports()


rule all:
    input: [relative(job.stamp) for job in JOBS]


# A stamp marks that this machine ran the job to its end, and with which inputs. Stamps are the only outputs that
# Snakemake knows of: it deletes those of a job that fails, and stored results and checkpoints must outlive it.
for job in JOBS:
    later = job not in FIRST
    priority = WAITED_FOR[job.notebook] if later else HIGHEST - 1 - FIRST.index(job)
    if (job.label, job.notebook) in LISTED:
        share = profiles.stamp_path(job.label, f"{job.notebook}.trainings-{{scatteritem}}")

        rule:
            name: f"{job.notebook}_trainings"
            priority: priority + 2 * later
            input: [trained(*needed) for needed in job.needs if needed in LISTED]    # they may be the same ones
            output: temp(touch(relative(share)))
            params: command=command(job)
            threads: ALL_CORES if job.notebook in BENCH else threads_for(SIDE_BY_SIDE) if CORES else 1
            resources: runtime=resource(job, "runtime"), mem_mb=resource(job, "mem_mb"), gpu=GPU
            shell: "{params.command}"

        rule:
            name: f"{job.notebook}_trained"
            localrule: True
            priority: HIGHEST    # at once, so that the time left is known
            input: gather.trainings(relative(share))
            output: trained(job.label, job.notebook)
            params: inputs=job.trainings
            shell: "echo {params.inputs} > {output}"

    rule:
        name: job.notebook
        priority: priority
        input:
            trained=[trained(*needed) for needed in [(job.label, job.notebook), *job.needs] if needed in LISTED],
            needs=[relative(profiles.stamp_path(*needed)) for needed in job.needs if needed not in LISTED],
        output:
            stamp=relative(job.stamp),
        params: command=command(job)
        threads: ALL_CORES if job.notebook in BENCH else THREADS
        resources: runtime=resource(job, "runtime"), mem_mb=resource(job, "mem_mb", **processes(job)), gpu=GPU
        shell: "{params.command}"
