"""One GPU for each job, on a machine that has several."""

import fcntl
import os
import platform
import subprocess

from companion import paths

_held = []  # lock files, open as long as this process lives


def take_gpu() -> None:
    """Show this process only the first GPU that no other job holds; where all are taken, the GPUs as they are.

    On a cluster the scheduler gives a job its own GPU, and there is nothing to choose from.
    """
    gpus = visible_gpus()
    if len(gpus) < 2:
        return
    paths.STATE.mkdir(parents=True, exist_ok=True)
    for gpu in gpus:
        lock = open(paths.STATE / f"gpu-{platform.node()}-{gpu}.lock", "w")  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _held.append(lock)
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        return


def visible_gpus() -> list[str]:
    """Names of the GPUs that CUDA would show this process, without starting CUDA."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return [str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]
