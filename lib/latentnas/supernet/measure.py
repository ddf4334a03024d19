"""The measurements behind the bundled benchmarks: real trainings, resumable, each row reproducible.

    python -m latentnas.supernet.measure digits-nb201 --jobs 2      all of it; goes on where it was cut off
    python -m latentnas.supernet.measure digits-nb201 --row 1234    trains one row again and compares

Networks are trained in groups of `NETWORKS_AT_ONCE` neighbouring rows. The kernels of a grouped convolution may
add in another order for another group size, so a row is the same to the last bit only within its group, on
the same kind of machine; that is what `--row` trains.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from latentnas import paths
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.supernet import digits
from latentnas.supernet.cells import CellNetworks, Skeleton
from latentnas.supernet.train import Schedule, accuracy, train_side_by_side

SEEDS = (0, 1, 2)
NETWORKS_AT_ONCE = 8
CELL_SKELETON = Skeleton()
CELL_SCHEDULE = Schedule()
CELL_FILE = "digits-nb201.csv.gz"  # in data/bundled
SECONDS_BETWEEN_LINES = 10.0


def score_cells(numbers: np.ndarray, seed: int) -> pd.DataFrame:
    """Train NAS-Bench-201 cells from scratch on the digits, side by side.

    Args:
        numbers: operations of the six edges, int64 ``[M, 6]``.
        seed: of the weights, together with the cell's row, and of the batches.

    Returns:
        One row a cell: ``valid`` and ``test`` accuracy in percent, ``seconds``: its share of the training time.
    """
    data = digits.load(CELL_SCHEDULE.noise)
    seeds = (NASBENCH201.index(numbers) + seed * NASBENCH201.size).tolist()
    networks = CellNetworks(torch.from_numpy(numbers), seeds, CELL_SKELETON)
    started = time.perf_counter()
    train_side_by_side(networks, data, CELL_SCHEDULE, seed)
    seconds = (time.perf_counter() - started) / len(numbers)
    valid, test = accuracy(networks, data.valid), accuracy(networks, data.test)
    return pd.DataFrame({"valid": valid.numpy(), "test": test.numpy(), "seconds": round(seconds, 4)})


def cell_groups() -> list[tuple[int, np.ndarray]]:
    """All (seed, rows) to be trained together: the first row of every class. Neighbouring rows share most of
    their operations, which makes a group fast; the groups come in random order, so that a part of the table
    is a sample of it."""
    rows = NASBENCH201.representatives()
    starts = np.random.default_rng(0).permutation(range(0, len(rows), NETWORKS_AT_ONCE))
    return [(seed, rows[start : start + NETWORKS_AT_ONCE]) for start in starts for seed in SEEDS]


def measure_group(task: tuple[Path, int, np.ndarray]) -> None:
    """Train one group and leave its table in ``folder``."""
    folder, seed, rows = task
    torch.set_num_threads(1)
    measured = score_cells(NASBENCH201.enumerate()[rows], seed)
    with paths.atomic_write(folder / f"{seed}-{rows[0]:05d}.csv") as temporary:
        measured.assign(row=rows, seed=seed).to_csv(temporary, index=False)


def measure_cells(jobs: int) -> pd.DataFrame:
    """Train what is missing, ``jobs`` groups at a time, and return all of it."""
    settings = [dataclasses.asdict(part) for part in (CELL_SKELETON, CELL_SCHEDULE)]
    digest = hashlib.sha256(json.dumps([*settings, digits.SPLIT, digits.COPIES, NETWORKS_AT_ONCE]).encode()).hexdigest()
    folder = paths.CACHE / f"digits-nb201-{digest[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    done = {path.name for path in folder.glob("*.csv")}
    groups = cell_groups()
    tasks = [(folder, *group) for group in groups if f"{group[0]}-{group[1][0]:05d}.csv" not in done]
    print(f"{len(groups) - len(tasks)} of {len(groups)} groups were measured before", file=sys.stderr)
    started = printed = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for count, _ in enumerate(pool.imap_unordered(measure_group, tasks), start=1):
            now = time.monotonic()
            if now - printed > SECONDS_BETWEEN_LINES or count == len(tasks):
                left = (now - started) / count * (len(tasks) - count)
                print(f"{count}/{len(tasks)} groups, {left / 60:.0f} min left", file=sys.stderr, flush=True)
                printed = now
    return pd.concat([pd.read_csv(path) for path in sorted(folder.glob("*.csv"))], ignore_index=True)


def write_cells(measured: pd.DataFrame) -> Path:
    """Put the measurements of :func:`measure_cells` into the bundled table: one line a class, a column a seed."""
    wide = measured.pivot(index="row", columns="seed", values=["valid", "test"])
    wide.columns = [f"{part}_{seed}" for part, seed in wide.columns]
    wide["seconds"] = measured.groupby("row")["seconds"].mean().round(3)
    path = paths.BUNDLED / CELL_FILE
    with paths.atomic_write(path) as temporary:
        wide.round(2).to_csv(temporary, compression={"method": "gzip", "mtime": 0})
    return path


def reproduce_cell(row: int) -> pd.DataFrame:
    """Train the class of a cell again, in its group, for every seed: what the bundled table has beside what comes out.

    Raises:
        ValueError: ``row`` is no row of the space.
    """
    representatives = NASBENCH201.representatives()
    row = representatives[NASBENCH201.canonical(NASBENCH201.enumerate()[[row]])[0]]
    stored = pd.read_csv(paths.BUNDLED / CELL_FILE, index_col="row").loc[row]
    lines = []
    for seed, rows in cell_groups():
        if row in rows:
            again = score_cells(NASBENCH201.enumerate()[rows], seed).iloc[list(rows).index(row)].round(2)
            lines.append({"row": row, "seed": seed} | {
                f"{part} {which}": value
                for part in ("valid", "test")
                for which, value in (("stored", stored[f"{part}_{seed}"]), ("again", again[part]))
            })
    return pd.DataFrame(lines).sort_values("seed", ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["digits-nb201"], help="which benchmark to measure")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--row", type=int, help="train this row again and compare, instead of measuring all")
    options = parser.parse_args()
    if options.row is not None:
        if not 0 <= options.row < NASBENCH201.size:
            parser.error(f"--row {options.row}: the rows of NAS-Bench-201 are 0 to {NASBENCH201.size - 1}.")
        print(reproduce_cell(options.row).to_string(index=False))
    else:
        print(write_cells(measure_cells(options.jobs)))


if __name__ == "__main__":
    main()
