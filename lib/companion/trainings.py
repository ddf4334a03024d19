"""The trainings of a notebook as jobs of their own, so that they run side by side and the notebook finds them done.

The cells of a notebook that are tagged `trainings` hold all that its trainings need: imports, data and a dictionary
`trainings` of functions without arguments, each of which makes one training, or loads it where that was done before.
`python -m companion.trainings JOB 2-of-4` calls every fourth of them, beginning with the second.
"""

import contextlib
import io
import sys
import traceback
from collections.abc import Callable

from companion import gpus, notebooks, profiles, runner
from companion.profiles import Job

TAG = notebooks.TRAININGS


def trainings_of(job: Job) -> dict[object, Callable[[], object]]:
    """What the tagged cells of a notebook list, with the parameters of a job.

    Raises:
        NotebookFailed: A cell raised, or they make no dictionary `trainings`.
    """
    variables: dict[str, object] = {"__name__": f"trainings of {job.notebook}"} | job.parameters
    for number, source in notebooks.tagged_cells(job.source, TAG):
        try:
            exec(compile(source, f"{job.notebook}, cell {number}", "exec"), variables)
        except Exception as error:
            raise runner.NotebookFailed(
                f"Cell {number} of notebook {job.notebook}, tagged '{TAG}', stopped with {type(error).__name__}: "
                f"{error}. Such cells run before the notebook, without those between them: tag each that they need."
            ) from error
    listed = variables.get(TAG)
    if not isinstance(listed, dict) or not all(map(callable, listed.values())):
        raise runner.NotebookFailed(
            f"Notebook {job.notebook} has cells tagged '{TAG}', but they make no dictionary `{TAG}` of functions "
            "without arguments, one for each training."
        )
    return listed


def run_share(job: Job, share: str) -> None:
    """Make the trainings of one share, such as "2-of-4". One that fails keeps none of the others from being made.

    Raises:
        NotebookFailed: Some failed; the log has the whole errors.
    """
    number, shares = map(int, share.split("-of-"))
    gpus.take_gpu()
    log = profiles.stamp_path(job.label, f"{job.notebook}.{TAG}-{share}").with_suffix(".log")
    lines, failed = runner.LineWriter(job.notebook, log), []
    with contextlib.redirect_stdout(io.StringIO()):  # what the cells print belongs to the notebook
        mine = list(trainings_of(job).items())[number - 1 :: shares]
    for place, (key, train) in enumerate(mine, 1):
        runner.report_progress(f"{job.notebook} ({job.label}): training {place} of {len(mine)}, share {share}")
        try:
            with contextlib.redirect_stderr(lines):
                train()
        except Exception as error:
            traceback.print_exc(file=lines.log)
            failed.append(f"{key} with {type(error).__name__}: {error}")
    if failed:
        raise runner.NotebookFailed(
            f"{len(failed)} of {len(mine)} trainings of notebook {job.notebook} stopped: {'; '.join(failed)}\n"
            f"The others are stored. The whole error is in {log}. The same command goes on from here."
        )


if __name__ == "__main__":
    sys.exit(runner.main(sys.argv[1:], run_share))
