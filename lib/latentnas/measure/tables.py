"""The measurements behind the bundled benchmarks: real trainings, resumable, each row reproducible.

    python -m latentnas.measure.tables digits-nb201 --jobs 2      all of it; goes on where it was cut off
    python -m latentnas.measure.tables digits-nb201 --row 1234    trains one row again and compares
    python -m latentnas.measure.tables digits-enas --jobs 2       the shared weights and what is measured with them
    python -m latentnas.measure.tables digits-enas8               shared weights for eight layers; digits-enas12: twelve

Cells are trained in groups of `NETWORKS_AT_ONCE` neighbouring rows. The kernels of a grouped convolution may
add in another order for another group size, so a row is the same to the last bit only within its group, on
the same kind of machine; that is what `--row` trains.
"""

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from latentnas.measure.macro import MacroNetwork
from latentnas.measure.train import Schedule, accuracy, shared_accuracy, train_shared, train_side_by_side
from latentnas.parallel import in_processes, kept
from latentnas.spaces.enas import ENAS, NUM_LAYERS
from latentnas.spaces.nasbench201 import NASBENCH201

NETWORKS_AT_ONCE = 16
SCHEDULE = Schedule(epochs=EPOCHS)  # of every training from scratch
SHARED_SCHEDULE = Schedule(epochs=1500, batch_size=256, learning_rate=0.05)
SHARED_AT_ONCE = 4  # architectures in one step of the shared training
SHARED_COPIES = 2  # corrupted versions of the validation images that the shared weights are judged on
DEEP_LAYERS = (8, 12)
WEIGHTS_FILES = {NUM_LAYERS: "digits-enas.safetensors"}  # in data/bundled
WEIGHTS_FILES |= {layers: f"digits-enas{layers}.safetensors" for layers in DEEP_LAYERS}
FROM_SCRATCH = 300  # the first architectures of digits-enas are also trained from scratch, with seed 0


@dataclass(frozen=True)
class Setting:
    """The network around the cells of a table, and how it is trained; the defaults are those of `digits-nb201`."""

    channels: int = 8  # of the first stage
    cells: int = 1  # a stage
    schedule: Schedule = SCHEDULE


def score_cells(cells: DagBatch, seed: int, setting: Setting = Setting()) -> pd.DataFrame:
    """Train NAS-Bench-201 cells from scratch on the digits, side by side: one row a cell, `valid` and `test` accuracy
    in percent, `seconds`: its share of the processor time. The weights depend on the seed and the cell's row."""
    data = digits.load(setting.schedule.noise)
    seeds = (NASBENCH201.index(cells) + seed * NASBENCH201.size).tolist()
    networks = CellNetworks(torch.from_numpy(NASBENCH201.choices(cells)), seeds, setting.channels, setting.cells)
    started = time.process_time()
    train_side_by_side(networks, data, setting.schedule, seed)
    seconds = (time.process_time() - started) / len(cells)
    valid, test = accuracy(networks, data.valid), accuracy(networks, data.test)
    return pd.DataFrame({"valid": valid.numpy(), "test": test.numpy(), "seconds": round(seconds, 4)})


def score_macro(architecture: DagBatch, seed: int) -> dict[str, float]:
    """Train one ENAS architecture (a batch of one graph), of any number of layers, from scratch on the digits: `valid`
    and `test` accuracy in percent."""
    data, network = digits.load(SCHEDULE.noise), MacroNetwork(seed, architecture.max_vertices - 2)
    train_shared(network, architecture, data, SCHEDULE, seed)
    return {name: shared_accuracy(network, architecture, getattr(data, name)).item() for name in ("valid", "test")}


def load_shared(layers: int = NUM_LAYERS, path: Path | None = None) -> MacroNetwork:
    """The shared weights in a file, or those that come with the project, for six layers and for `DEEP_LAYERS`."""
    if layers not in WEIGHTS_FILES:
        raise ValueError(
            f"There are shared weights for {[*WEIGHTS_FILES]} layers, not for {layers}. Choose one of these."
        )
    network = MacroNetwork(0, layers)
    network.load_state_dict(load_file(path or bundled(WEIGHTS_FILES[layers])))
    return network


def score_shared(network: MacroNetwork, architectures: DagBatch) -> np.ndarray:
    """Validation accuracy in percent of A architectures with shared weights, float64 `[A]`."""
    return shared_accuracy(network, architectures, digits.load(SHARED_SCHEDULE.noise, SHARED_COPIES).valid).numpy()


def measure_cells(jobs: int) -> Path:
    """Train all classes of cells, `jobs` groups at a time, and write the table: one line a class, one column a seed."""
    folder = parts_folder("digits-nb201", SCHEDULE, NETWORKS_AT_ONCE)
    tasks = [(folder / f"{seed}-{rows[0]:05d}.json", seed, rows) for seed, rows in cell_groups()]
    measured = measure_parts(cell_group, tasks, jobs)
    return _write(_by_seed(measured).assign(seconds=measured.groupby("row")["seconds"].mean().round(3)), CELL_FILE)


def cell_groups() -> list[tuple[int, np.ndarray]]:
    """All (seed, rows) to be trained together: the first row of every class. Neighbouring rows share most of their
    operations, which makes a group fast; groups in random order make a part of the table a sample of it."""
    rows = NASBENCH201.representatives()
    starts = np.random.default_rng(0).permutation(range(0, len(rows), NETWORKS_AT_ONCE))
    return [(seed, rows[start : start + NETWORKS_AT_ONCE]) for start in starts for seed in SEEDS]


def reproduce_cell(row: int) -> pd.DataFrame:
    """Train the class of a cell again, in its group, for every seed: the bundled table beside what comes out."""
    row = NASBENCH201.representatives()[NASBENCH201.canonical(NASBENCH201.enumerate()[[row]])[0]]
    again = _by_seed(pd.concat([cell_group(seed, rows) for seed, rows in cell_groups() if row in rows])).loc[row]
    stored = pd.read_csv(bundled(CELL_FILE), index_col="row").loc[row, again.index]
    return pd.DataFrame({"stored": stored, "again": again})


def measure_again(rows: ArrayLike, seeds: Sequence[int], jobs: int) -> pd.DataFrame:
    """Train cells with further seeds (ValueError for the table's own), `jobs` groups at a time, or read what was
    trained before. One line a class and seed: `row` (the first of the class), `seed` and what `score_cells` gives."""
    if known := sorted(set(seeds) & set(SEEDS)):
        raise ValueError(f"Seed {known[0]} is one of the table's own, {SEEDS}: to train again, take others.")
    classes = NASBENCH201.canonical(NASBENCH201.enumerate()[np.asarray(rows)])
    rows = NASBENCH201.representatives()[np.unique(classes)]
    return measure_groups(parts_folder("digits-nb201-again", SCHEDULE), rows, seeds, jobs)


def measure_groups(
    folder: Path, rows: np.ndarray, seeds: Sequence[int], jobs: int, setting: Setting = Setting()
) -> pd.DataFrame:
    """`cell_group` of these rows, in groups in their order, for each seed; what is in the folder is read."""
    groups = np.split(rows, range(NETWORKS_AT_ONCE, len(rows), NETWORKS_AT_ONCE))
    named = {"-".join(map(str, group)): group for group in groups}
    tasks = [(folder / f"{seed}-{name}.json", seed, group, setting) for seed in seeds for name, group in named.items()]
    return measure_parts(cell_group, tasks, jobs)


def measure_macros(jobs: int) -> Path:
    """Train the shared weights, score `ENAS_ROWS` with them, train `FROM_SCRATCH` of these alone; write all three."""
    measure_shared(NUM_LAYERS)
    folder = parts_folder("digits-enas", SCHEDULE, SHARED_SCHEDULE, SHARED_AT_ONCE)
    parts = [(folder / f"shared-{rows[0]:05d}.json", rows) for rows in np.array_split(np.arange(ENAS_ROWS), 120)]
    shared = measure_parts(_macro_part, parts, jobs).sort_values("row")
    _write(shared.set_index("arch")[["valid"]].round(3), SHARED_FILE)
    alone = [(folder / f"alone-{row:03d}.json", row) for row in range(FROM_SCRATCH)]
    return _write(_by_seed(measure_parts(_macro_alone, alone, jobs)), ALONE_FILE)


def measure_shared(layers: int) -> Path:
    """Train the shared weights of architectures with so many layers, some minutes, and write them."""
    path = parts_folder("digits-enas", SHARED_SCHEDULE, SHARED_AT_ONCE) / WEIGHTS_FILES[layers]
    if not path.exists():
        network = MacroNetwork(0, layers)
        train_shared(network, SHARED_AT_ONCE, digits.load(SHARED_SCHEDULE.noise), SHARED_SCHEDULE, seed=0)
        with paths.atomic_write(path) as temporary:
            save_file(network.state_dict(), temporary)
    with paths.atomic_write(paths.BUNDLED / path.name) as temporary:
        temporary.write_bytes(path.read_bytes())
    return paths.BUNDLED / path.name


def cell_group(seed: int, rows: np.ndarray, setting: Setting = Setting()) -> pd.DataFrame:
    """`score_cells` of rows, with the columns `row` and `seed`."""
    return score_cells(NASBENCH201.enumerate()[rows], seed, setting).assign(row=rows, seed=seed)


def _macro_part(rows: np.ndarray) -> pd.DataFrame:
    batch, network = ENAS.sample(ENAS_ROWS, seed=0)[rows], load_shared(path=paths.BUNDLED / WEIGHTS_FILES[NUM_LAYERS])
    return pd.DataFrame({"row": rows, "arch": ENAS.to_strings(batch), "valid": score_shared(network, batch)})


def _macro_alone(row: int) -> pd.DataFrame:
    return pd.DataFrame([{"row": row, "seed": 0} | score_macro(ENAS.sample(ENAS_ROWS, seed=0)[[row]], 0)])


def _by_seed(measured: pd.DataFrame) -> pd.DataFrame:
    """One line a row, the columns `valid_0` and so on."""
    wide = measured.pivot(index="row", columns="seed", values=["valid", "test"]).round(3)
    return wide.set_axis([f"{part}_{seed}" for part, seed in wide.columns], axis=1)


def parts_folder(name: str, *settings: Schedule | Setting | int) -> Path:
    """Where the parts of a measurement with these settings are kept until it is complete."""
    text = repr((settings, digits.SPLIT, digits.COPIES))
    return paths.CACHE / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def measure_parts(work: Callable[..., pd.DataFrame], tasks: list[tuple], jobs: int) -> pd.DataFrame:
    """The tables of all tasks (file, arguments of `work`), together. Each is kept in its file, as `parallel.kept`
    does, and is not measured again; where all files are there, this process reads them."""
    calls = [(path, _columns, (work, *arguments)) for path, *arguments in tasks]
    parts = in_processes(kept, calls, 1 if all(path.exists() for path, *_ in tasks) else jobs, "parts measured")
    return pd.concat(map(pd.DataFrame, parts), ignore_index=True)


def _columns(work: Callable[..., pd.DataFrame], *arguments: Any) -> dict[str, list]:
    return work(*arguments).to_dict("list")


def _write(table: pd.DataFrame, name: str) -> Path:
    compression = {"method": "gzip", "mtime": 0} if name.endswith(".gz") else None
    with paths.atomic_write(paths.BUNDLED / name) as temporary:
        table.to_csv(temporary, compression=compression)
    return paths.BUNDLED / name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = {"digits-nb201": measure_cells, "digits-enas": measure_macros}
    tables |= {f"digits-enas{layers}": lambda _, layers=layers: measure_shared(layers) for layers in DEEP_LAYERS}
    parser.add_argument("table", choices=tables, help="which benchmark to measure")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--row", type=int, help="digits-nb201: train this row again and compare")
    options = parser.parse_args()
    if options.row is None:
        print(tables[options.table](options.jobs))
    elif options.table == "digits-nb201" and 0 <= options.row < NASBENCH201.size:
        print(reproduce_cell(options.row).to_string())
    else:
        parser.error(f"--row {options.row}: only digits-nb201 has rows to reproduce, 0 to {NASBENCH201.size - 1}.")


if __name__ == "__main__":
    main()
