"""Which networks make a table of cells that size does not decide? A sample of cells, measured in several settings.

    python -m latentnas.measure.pilot --jobs 2                             all settings; goes on where it was cut off
    python -m latentnas.measure.pilot --only deep deep-short --cells 24    some of them, on fewer cells

The sample is stratified: the connected classes in the order of their parameters, cut into equal parts, a random class
of each, and of the last part the largest cell. So a share of the sample is one of all connected classes. Printed, and
stored with every single run: how many cells are better than the largest, Spearman's correlation of parameters with test
accuracy (means of the seeds), the least one between two seeds, and what the whole table would cost.
"""

import argparse
import os
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from latentnas import paths, stats
from latentnas.benchmarks.digits import SEEDS
from latentnas.measure import tables
from latentnas.measure.tables import NETWORKS_AT_ONCE, Setting
from latentnas.measure.train import Schedule
from latentnas.spaces.nasbench201 import CONV1X1, CONV3X3, NASBENCH201

FILE = paths.OUTPUT / "data" / "results" / "pilot" / "cells.csv"
SETTINGS = {
    "table": Setting(),  # that of digits-nb201
    "short": Setting(schedule=Schedule(epochs=5)),
    "deep": Setting(cells=3),
    "deep-short": Setting(cells=3, schedule=Schedule(epochs=5)),
    "deeper": Setting(cells=5),
    "deeper-short": Setting(cells=5, schedule=Schedule(epochs=5)),
    "narrow-deeper": Setting(channels=4, cells=5),
    "wide-deep": Setting(channels=16, cells=3),
    "noisy-deep": Setting(cells=3, schedule=Schedule(noise=1.0)),
    "clean-deep": Setting(cells=3, schedule=Schedule(noise=0.25)),
}


def weights_of(rows: ArrayLike) -> np.ndarray:
    """What orders cells by size in every network: the weights of their convolutions, one channel each, `[n]`."""
    operations = NASBENCH201.choices(NASBENCH201.enumerate()[np.asarray(rows)])
    return (operations == CONV1X1).sum(axis=1) + 9 * (operations == CONV3X3).sum(axis=1)


def sample(count: int) -> np.ndarray:
    """The rows of so many connected classes, sorted by size; the last is the largest cell.

    Raises:
        ValueError: Fewer than three, or more than there are.
    """
    rows = NASBENCH201.representatives()
    rows = rows[NASBENCH201.connected(NASBENCH201.enumerate()[rows]).numpy()]
    if not 3 <= count <= len(rows):
        raise ValueError(f"A pilot of {count} cells cannot be: choose 3 to {len(rows):,}.")
    random = np.random.default_rng(0)
    rows = random.permutation(rows)
    parts = np.array_split(rows[weights_of(rows).argsort(kind="stable")], count)
    return np.array([*(random.choice(part) for part in parts[:-1]), parts[-1][-1]])


def measure(name: str, rows: np.ndarray, seeds: int, jobs: int) -> pd.DataFrame:
    """What `score_cells` gives for the cells in a setting, trained now or before: a line a cell and seed."""
    setting = SETTINGS[name]
    groups = np.split(rows, range(NETWORKS_AT_ONCE, len(rows), NETWORKS_AT_ONCE))
    folder = tables.parts_folder("cells-pilot", setting)
    named = ["-".join(map(str, group)) for group in groups]
    tasks = [(folder / f"{s}-{n}.csv", s, group, setting) for s in SEEDS[:seeds] for n, group in zip(named, groups)]
    return tables.measure_parts(tables.cell_group, tasks, jobs).assign(setting=name)


def summary(runs: pd.DataFrame) -> dict[str, float]:
    """What decides for or against a setting, from its single runs."""
    by_seed = runs.pivot(index="row", columns="seed", values="test")
    test, weights = by_seed.mean(axis=1), weights_of(by_seed.index)
    better = int((test > test.iloc[weights.argmax()]).sum())
    pairs = [stats.spearman(by_seed[a], by_seed[b]) for a, b in combinations(by_seed, 2)]
    seconds = runs["seconds"].mean()
    return {
        "cells": len(test),
        "seeds": by_seed.shape[1],
        "better than the largest": better,
        "its share (%)": 100 * (better + 1) / len(test),
        "spearman of params": stats.spearman(weights, test),
        "spearman of seeds": min(pairs, default=np.nan),
        "best (%)": test.max(),
        "seconds a training": seconds,
        "hours of the table": seconds * len(NASBENCH201.representatives()) * len(SEEDS) / 3600,
    }


def pilot(names: list[str], cells: int, seeds: int, jobs: int, file: Path = FILE) -> pd.DataFrame:
    """Measure the settings, store every run and return their summaries, a line a setting."""
    rows = sample(cells)
    runs = pd.concat([measure(name, rows, seeds, jobs) for name in names])
    settings = [asdict(SETTINGS[name]) for name in names]
    flat = pd.json_normalize(settings).set_index(pd.Index(names, name="setting"))
    flat = flat.rename(columns=lambda column: column.removeprefix("schedule."))[
        ["channels", "cells", "epochs", "noise"]
    ]
    with paths.atomic_write(file) as temporary:
        runs.merge(flat, left_on="setting", right_index=True).to_csv(temporary, index=False)
    found = {name: summary(part) for name, part in runs.groupby("setting", sort=False)}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("setting")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=[*SETTINGS], help="settings (default: all)")
    parser.add_argument("--cells", type=int, default=60, help="cells of the sample (default: 60)")
    parser.add_argument("--seeds", type=int, choices=(1, 2, 3), default=3, help="trainings of each (default: 3)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    options = parser.parse_args()
    print(pilot(options.only, options.cells, options.seeds, options.jobs).round(3).T.to_string())
    print(f"every run: {FILE}")


if __name__ == "__main__":
    main()
