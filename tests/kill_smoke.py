"""Kill the smoke profile at random moments and see that the same command ends the same. Not a test: hours.

    python tests/kill_smoke.py FOLDER --rounds 20

FOLDER is a checkout of its own. A run that nobody kills comes first. Each round then takes two notebooks' stamps and
files away, and all checkpoints: no more than two jobs run side by side, so all others are done, or have not begun, when
a kill comes. It starts `./run_all.sh --profile smoke`, kills it after a random time (in even rounds the first process,
in odd ones its whole group), gives the rest five seconds to end, runs the command again and compares every result,
table, figure and picture in a notebook with those of the run that nobody killed. In ten rounds each notebook has its
turn. A line of FOLDER.kills.jsonl per round; the same command goes on where it stopped.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

MADE = ("data/results/smoke", "figures/smoke", "notebooks/executed/smoke")
STAMPS = "data/state/smoke"
TAKEN = 2  # notebooks per round


def run(folder, log):
    """`./run_all.sh --profile smoke` in a session of its own."""
    return subprocess.Popen(
        ["./run_all.sh", "--profile", "smoke"], cwd=folder, stdout=log, stderr=log, start_new_session=True
    )


def comparable(path):
    """The bytes of a file that two runs share: no times, no seconds."""
    if path.suffix == ".json":
        return path.read_text().partition('"manifest"')[0].encode()
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text())["cells"]  # what they print has times
        outputs = [[output.get("data", {}) for output in cell.get("outputs", [])] for cell in cells]
        pictures = [[data.get("image/png") for data in of_cell] for of_cell in outputs]
        return json.dumps([[cell["source"] for cell in cells], pictures]).encode()
    return b"" if path.name == "REPORT.md" else path.read_bytes()


def made(folder):
    """The digest of each file of a run, by its path; what a killed write leaves is hidden and left out."""
    files = [path for part in MADE for path in (folder / part).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(comparable(path)).hexdigest()
        for path in sorted(files)
        if not path.name.startswith(".")
    }


def processes_of(folder):
    """Numbers of the processes that work in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found += [process.name] * Path(os.readlink(process / "cwd")).is_relative_to(folder)
        except OSError:
            continue
    return found


def empty(folder):
    """As after a clone."""
    for part in (*MADE, "data/state", "data/checkpoints", "data/failed"):
        shutil.rmtree(folder / part, ignore_errors=True)
    subprocess.run(["git", "checkout", "-q", "."], cwd=folder, check=True)


def take_away(folder, notebooks):
    """As if these notebooks had not run. Figures begin with the number of their notebook."""
    shutil.rmtree(folder / "data/checkpoints", ignore_errors=True)  # there is none where nothing was trained
    starts = [f"{name.partition('_')[0]}_" for name in notebooks]
    for path in [path for part in (*MADE, STAMPS) for path in (folder / part).iterdir()]:
        if path.name.startswith(tuple(starts)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def turn(folder, number):
    """The notebooks of a round: all of them in random orders, one order after the other."""
    names = sorted(path.stem for path in (folder / "notebooks/executed/smoke").glob("*.ipynb"))
    orders = (random.Random(order).sample(names, len(names)) for order in itertools.count())
    return list(itertools.islice(itertools.chain.from_iterable(orders), number * TAKEN, (number + 1) * TAKEN))


def one_round(folder, number, expected, seconds, log):
    """What became of one kill, before which at most so many seconds pass."""
    notebooks = turn(folder, number)
    while True:
        take_away(folder, notebooks)
        start, moment = time.monotonic(), random.Random(f"{number}, {seconds}").uniform(1, seconds)
        running = run(folder, log)
        try:
            running.wait(moment)
        except subprocess.TimeoutExpired:
            break
        seconds = time.monotonic() - start  # it had ended: once more, and sooner
    (os.killpg if number % 2 else os.kill)(running.pid, signal.SIGKILL)
    running.wait()
    time.sleep(5)
    left, whole = processes_of(folder), made(folder)
    broken = [path for path, digest in whole.items() if expected.get(path) != digest]
    code = run(folder, log).wait()
    ended = made(folder)
    different = sorted(path for path in expected.keys() | ended.keys() if expected.get(path) != ended.get(path))
    killed = {"round": number, "notebooks": notebooks, "killed after": round(moment, 1), "group": bool(number % 2)}
    there = {"left": left, "stored": len(whole), "broken": broken}
    return killed | there | {"code": code, "different": different, "left at the end": processes_of(folder)}


def main():
    """Do the rounds that are missing."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=lambda text: Path(text).resolve())
    arguments.add_argument("--rounds", type=int, default=20)
    settings = arguments.parse_args()
    stored = settings.folder.with_name(settings.folder.name + ".kills.jsonl")
    with stored.with_suffix(".log").open("a") as log:
        if not stored.exists():
            empty(settings.folder)
            start = time.monotonic()
            if run(settings.folder, log).wait():
                raise SystemExit(f"The run that nobody kills failed: see {log.name}.")
            whole = {"seconds": time.monotonic() - start, "made": made(settings.folder)}
            stored.write_text(json.dumps(whole) + "\n")
        whole, *rounds = map(json.loads, stored.read_text().splitlines())
        for number in range(len(rounds), settings.rounds):
            line = one_round(settings.folder, number, whole["made"], whole["seconds"] / 5, log)
            with stored.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()
