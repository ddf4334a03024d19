# One rule per notebook: what it reads, what it leaves, how it is run. `./run_all.sh` starts this; so can
# `snakemake` itself, for example with an executor:
#     snakemake --executor slurm --jobs 8 --config profile=paper
# Settings: profile=NAME, only=["02", ...], overrides=["seed=1", ...]; companion.profiles checks them.
import os
import shlex
import sys
from collections import Counter

from companion import notebooks, paths, profiles

ONLY = config.get("only", [])
OVERRIDES = profiles.parse_overrides(config.get("overrides", []), profiles.select_notebooks(ONLY))
JOBS = profiles.plan(config.get("profile", "quick"), ONLY, OVERRIDES)
WAITED_FOR = Counter(notebook for job in JOBS for _, notebook in job.needs)  # these start first


def relative(path):
    """As seen from the working directory, so that a moved checkout is still up to date."""
    return os.path.relpath(path, paths.OUTPUT)


def run_command(job):
    return shlex.join([sys.executable, "-m", "companion.runner", job.to_json()])


workdir: str(paths.OUTPUT)


rule all:
    input: [relative(job.stamp) for job in JOBS]


# A stamp marks that this machine ran the notebook to its end. It is the only output that Snakemake knows of:
# Snakemake deletes the outputs of a job that fails, and stored results and executed copies must outlive it.
for job in JOBS:
    rule:
        name: job.notebook
        priority: WAITED_FOR[job.notebook]
        input:
            source=relative(job.source),
            needs=[relative(profiles.stamp_path(*needed)) for needed in job.needs],
        output:
            stamp=relative(job.stamp),
        params:
            parameters=job.parameters,      # another value: another run
            code=notebooks.code_fingerprint(job.source),    # of the modules it imports, blind to docstrings
            command=lambda wildcards, job=job: run_command(job),    # a function's braces are not wildcards
        shell: "{params.command}"
