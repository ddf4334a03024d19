"""The measurements behind the bundled benchmarks: real trainings, resumable, each row reproducible.

    python -m latentnas.measure.tables digits-nb201 --jobs 2      all of it; goes on where it was cut off
    python -m latentnas.measure.tables digits-nb201 --row 1234    trains one row again and compares
    python -m latentnas.measure.tables digits-enas --jobs 2       the shared weights and what is measured with them
    python -m latentnas.measure.tables digits-enas8               shared weights of architectures with eight layers

Cells are trained in groups of `NETWORKS_AT_ONCE` neighbouring rows. The kernels of a grouped convolution may
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
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from safetensors.torch import load_file, save_file

from latentnas import paths
from latentnas.benchmarks.digits import ALONE_FILE, CELL_FILE, ENAS_ROWS, EPOCHS, SEEDS, SHARED_FILE
from latentnas.benchmarks.download import bundled
from latentnas.graphs import DagBatch
from latentnas.measure import digits
from latentnas.measure.cells import CellNetworks
from latentnas.measure.layers import Skeleton
from latentnas.measure.macro import MacroNetwork, MacroSkeleton
from latentnas.measure.train import (
    Schedule,
    accuracy,
    shared_accuracy,
    train_alone,
    train_shared,
    train_side_by_side,
)  # fmt: skip
from latentnas.progress import Progress
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench201 import NASBENCH201

NETWORKS_AT_ONCE = 16
CELL_SKELETON = Skeleton()
CELL_SCHEDULE = Schedule(epochs=EPOCHS)

WEIGHTS_FILE = "digits-enas.safetensors"  # in data/bundled, as the tables
FROM_SCRATCH = 300  # the first architectures of digits-enas are also trained from scratch
ALONE_SEEDS = (0,)
MACRO_SKELETON = MacroSkeleton()
MACRO_SCHEDULE = Schedule(epochs=EPOCHS)
SHARED_SCHEDULE = Schedule(epochs=1500, batch_size=256, learning_rate=0.05)
SHARED_AT_ONCE = 4  # architectures in one step of the shared training
SHARED_COPIES = 2  # corrupted versions of the validation images that the shared weights are judged on
DEEP_LAYERS, DEEP_WEIGHTS_FILE = 8, "digits-enas8.safetensors"  # weights alone: these have no table


def score_cells(cells: DagBatch, seed: int) -> pd.DataFrame:
    """Train NAS-Bench-201 cells from scratch on the digits, side by side.

    Args:
        cells: M graphs of NAS-Bench-201.
        seed: of the weights, together with the cell's row, and of the batches.

    Returns:
        One row a cell: `valid` and `test` accuracy in percent, `seconds`: its share of the processor time.
    """
    data = digits.load(CELL_SCHEDULE.noise)
    seeds = (NASBENCH201.index(cells) + seed * NASBENCH201.size).tolist()
    networks = CellNetworks(torch.from_numpy(NASBENCH201.choices(cells)), seeds, CELL_SKELETON)
    started = time.process_time()
    train_side_by_side(networks, data, CELL_SCHEDULE, seed)
    seconds = (time.process_time() - started) / len(cells)
    valid, test = accuracy(networks, data.valid), accuracy(networks, data.test)
    return pd.DataFrame({"valid": valid.numpy(), "test": test.numpy(), "seconds": round(seconds, 4)})


def score_macro(architecture: DagBatch, seed: int) -> dict[str, float]:
    """Train one ENAS architecture (a batch of one graph), of any number of layers, from scratch on the digits: `valid`
    and `test` accuracy in percent."""
    data = digits.load(MACRO_SCHEDULE.noise)
    network = MacroNetwork(seed, MACRO_SKELETON, architecture.max_vertices - 2)
    train_alone(network, architecture, data, MACRO_SCHEDULE, seed)
    parts = {"valid": data.valid, "test": data.test}
    return {name: shared_accuracy(network, architecture, part).item() for name, part in parts.items()}


def load_shared(path: Path | None = None) -> MacroNetwork:
    """The shared weights in a file, or those that come with the project."""
    network = MacroNetwork(0, MACRO_SKELETON)
    network.load_state_dict(load_file(path or bundled(WEIGHTS_FILE)))
    return network


def load_deep_shared() -> MacroNetwork:
    """The shared weights of architectures with eight layers, trained as those of the space itself."""
    network = MacroNetwork(0, MACRO_SKELETON, DEEP_LAYERS)
    network.load_state_dict(load_file(bundled(DEEP_WEIGHTS_FILE)))
    return network


def score_shared(network: MacroNetwork, architectures: DagBatch) -> np.ndarray:
    """Validation accuracy in percent of A architectures with shared weights, float64 `[A]`."""
    return shared_accuracy(network, architectures, digits.load(SHARED_SCHEDULE.noise, SHARED_COPIES).valid).numpy()


def measure_cells(jobs: int) -> Path:
    """Train what is missing of all classes of cells, `jobs` groups at a time, and write the bundled table: one line
    a class (its first row), one column a seed."""
    folder = _folder("digits-nb201", CELL_SKELETON, CELL_SCHEDULE, NETWORKS_AT_ONCE)
    tasks = [(folder / f"{seed}-{rows[0]:05d}.csv", seed, rows) for seed, rows in cell_groups()]
    measured = _measure(_cell_group, tasks, jobs)
    wide = measured.pivot(index="row", columns="seed", values=["valid", "test"])
    wide.columns = [f"{part}_{seed}" for part, seed in wide.columns]
    wide["seconds"] = measured.groupby("row")["seconds"].mean().round(3)
    return _write(wide.round(3), CELL_FILE)


def cell_groups() -> list[tuple[int, np.ndarray]]:
    """All (seed, rows) to be trained together: the first row of every class. Neighbouring rows share most of
    their operations, which makes a group fast; the groups come in random order, so that a part of the table
    is a sample of it."""
    rows = NASBENCH201.representatives()
    starts = np.random.default_rng(0).permutation(range(0, len(rows), NETWORKS_AT_ONCE))
    return [(seed, rows[start : start + NETWORKS_AT_ONCE]) for start in starts for seed in SEEDS]


def reproduce_cell(row: int) -> pd.DataFrame:
    """Train the class of a cell again, in its group, for every seed: the bundled table beside what comes out."""
    representatives = NASBENCH201.representatives()
    row = representatives[NASBENCH201.canonical(NASBENCH201.enumerate()[[row]])[0]]
    stored = pd.read_csv(bundled(CELL_FILE), index_col="row").loc[row]
    lines = []
    for seed, rows in cell_groups():
        if row in rows:
            again = score_cells(NASBENCH201.enumerate()[rows], seed).iloc[list(rows).index(row)].round(3)
            kept = {"valid": stored[f"valid_{seed}"], "test": stored[f"test_{seed}"]}
            lines.append({"row": row, "seed": seed}
                         | {f"{part}, {name}": values[part] for part in kept
                            for name, values in (("stored", kept), ("again", again))})  # fmt: skip
    return pd.DataFrame(lines).sort_values("seed", ignore_index=True)


def measure_again(rows: ArrayLike, seeds: Iterable[int], jobs: int) -> pd.DataFrame:
    """Train cells with further seeds, `jobs` groups at a time; groups that were trained before are read from files.

    Args:
        rows: of the table `digits-nb201`; a cell stands for its class, whose first row is trained, as in the table.
        seeds: none that the table has.

    Returns:
        One line a class and seed: `row` (the first of the class), `seed`, `valid` and `test` accuracy in percent,
        `seconds`.

    Raises:
        ValueError: a seed is one of the table's own.
    """
    seeds = list(seeds)
    if known := sorted(set(seeds) & set(SEEDS)):
        raise ValueError(f"Seed {known[0]} is one of the table's own, {SEEDS}: to train again, take others.")
    classes = NASBENCH201.canonical(NASBENCH201.enumerate()[np.asarray(rows)])
    rows = NASBENCH201.representatives()[np.unique(classes)]
    folder = _folder("digits-nb201-again", CELL_SKELETON, CELL_SCHEDULE)
    groups = np.split(rows, range(NETWORKS_AT_ONCE, len(rows), NETWORKS_AT_ONCE))
    names = [hashlib.sha256(group.astype("<i8").tobytes()).hexdigest()[:12] for group in groups]
    tasks = [(folder / f"{seed}-{name}.csv", seed, group) for seed in seeds for name, group in zip(names, groups)]
    return _measure(_cell_group, tasks, jobs)


def measure_macros(jobs: int) -> Path:
    """Train the shared weights, score `ENAS_ROWS` with them, train `FROM_SCRATCH` of these alone; write all three."""
    weights = paths.BUNDLED / WEIGHTS_FILE
    folder = _folder("digits-enas", MACRO_SKELETON, MACRO_SCHEDULE, SHARED_SCHEDULE, SHARED_AT_ONCE)
    if not (folder / WEIGHTS_FILE).exists():
        print("training the shared weights, some minutes", file=sys.stderr, flush=True)
        network = MacroNetwork(0, MACRO_SKELETON)
        train_shared(network, SHARED_AT_ONCE, digits.load(SHARED_SCHEDULE.noise), SHARED_SCHEDULE, seed=0)
        with paths.atomic_write(folder / WEIGHTS_FILE) as temporary:
            save_file(network.state_dict(), temporary)
    with paths.atomic_write(weights) as temporary:
        temporary.write_bytes((folder / WEIGHTS_FILE).read_bytes())
    rows = np.arange(ENAS_ROWS)
    parts = [(folder / f"shared-{part[0]:05d}.csv", part) for part in np.array_split(rows, 120)]
    shared = _measure(_macro_part, parts, jobs).sort_values("row")
    _write(shared.set_index("arch")[["valid"]].round(3), SHARED_FILE)
    alone = [(folder / f"alone-{seed}-{row:03d}.csv", seed, row) for seed in ALONE_SEEDS for row in rows[:FROM_SCRATCH]]
    measured = _measure(_macro_alone, alone, jobs).pivot(index="row", columns="seed", values=["valid", "test"])
    measured.columns = [f"{part}_{seed}" for part, seed in measured.columns]
    return _write(measured.round(3), ALONE_FILE)


def measure_deep() -> Path:
    """Train shared weights of architectures with eight layers and write them, some minutes; it cannot be resumed."""
    network = MacroNetwork(0, MACRO_SKELETON, DEEP_LAYERS)
    train_shared(network, SHARED_AT_ONCE, digits.load(SHARED_SCHEDULE.noise), SHARED_SCHEDULE, seed=0)
    with paths.atomic_write(paths.BUNDLED / DEEP_WEIGHTS_FILE) as temporary:
        save_file(network.state_dict(), temporary)
    return paths.BUNDLED / DEEP_WEIGHTS_FILE


def uniform_architectures() -> DagBatch:
    """The architectures of the table `digits-enas`."""
    return ENAS.sample(ENAS_ROWS, seed=0)


def _cell_group(seed: int, rows: np.ndarray) -> pd.DataFrame:
    return score_cells(NASBENCH201.enumerate()[rows], seed).assign(row=rows, seed=seed)


def _macro_alone(seed: int, row: int) -> pd.DataFrame:
    return pd.DataFrame([{"row": row, "seed": seed} | score_macro(uniform_architectures()[[row]], seed)])


def _macro_part(rows: np.ndarray) -> pd.DataFrame:
    batch, network = uniform_architectures()[torch.from_numpy(rows)], load_shared(paths.BUNDLED / WEIGHTS_FILE)
    return pd.DataFrame({"row": rows, "arch": ENAS.to_strings(batch), "valid": score_shared(network, batch)})


def _folder(name: str, *settings) -> Path:
    """Where the parts of a measurement with these settings are kept until it is complete."""
    plain = [dataclasses.asdict(part) if dataclasses.is_dataclass(part) else part for part in settings]
    text = json.dumps([plain, digits.SPLIT, digits.COPIES])
    folder = paths.CACHE / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _measure(work: Callable[..., pd.DataFrame], tasks: Iterable[tuple], jobs: int) -> pd.DataFrame:
    """Do the tasks (file, arguments of `work`) whose file is not there yet; the tables in all files, together."""
    tasks = list(tasks)
    missing = [(work, *task) for task in tasks if not task[0].exists()]
    print(f"{len(tasks) - len(missing)} of {len(tasks)} parts were measured before", file=sys.stderr, flush=True)
    progress = Progress("parts measured", len(missing))
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for count, _ in enumerate(pool.imap_unordered(_do, missing), start=1):
            progress.update(count)
    return pd.concat([pd.read_csv(task[0]) for task in tasks], ignore_index=True)


def _do(task: tuple) -> None:
    work, path, *arguments = task
    torch.set_num_threads(1)
    table = work(*arguments)
    with paths.atomic_write(path) as temporary:
        table.to_csv(temporary, index=False)


def _write(table: pd.DataFrame, name: str) -> Path:
    compression = {"method": "gzip", "mtime": 0} if name.endswith(".gz") else None
    with paths.atomic_write(paths.BUNDLED / name) as temporary:
        table.to_csv(temporary, compression=compression)
    return paths.BUNDLED / name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "table", choices=["digits-nb201", "digits-enas", "digits-enas8"], help="which benchmark to measure"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--row", type=int, help="digits-nb201: train this row again and compare")
    options = parser.parse_args()
    if options.row is None:
        measures = {"digits-nb201": measure_cells, "digits-enas": measure_macros}
        print(measure_deep() if options.table == "digits-enas8" else measures[options.table](options.jobs))
    elif options.table == "digits-nb201" and 0 <= options.row < NASBENCH201.size:
        print(reproduce_cell(options.row).to_string(index=False))
    else:
        parser.error(f"--row {options.row}: only digits-nb201 has rows to reproduce, 0 to {NASBENCH201.size - 1}.")


if __name__ == "__main__":
    main()
