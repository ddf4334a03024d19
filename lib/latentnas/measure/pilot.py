"""Which networks make a table of cells that size does not decide? A sample of cells, measured in several settings.

The sample is stratified: the connected classes in the order of their parameters, cut into equal parts, a random class
of each, and of the last part the largest cell. So a share of the sample is one of all connected classes. Notebook 01c
shows how many cells are better than the largest, Spearman's correlation of parameters with test accuracy (means of the
seeds), the least one between two seeds, and what the whole table would cost.
"""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from latentnas import stats
from latentnas.benchmarks.digits import SEEDS
from latentnas.measure import tables
from latentnas.measure.tables import Setting
from latentnas.measure.train import Schedule
from latentnas.spaces.nasbench201 import CONV1X1, CONV3X3, NASBENCH201

HELD = "properties held"
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
    folder = tables.parts_folder("cells-pilot", SETTINGS[name])
    return tables.measure_groups(folder, rows, SEEDS[:seeds], jobs, SETTINGS[name]).assign(setting=name)


def summary(runs: pd.DataFrame) -> dict[str, float]:
    """What decides for or against a setting, from its single runs; how many of three properties hold, which were fixed
    before any setting was tried: more than 2 % of the cells are better than the largest, parameters correlate with
    accuracy by at most 0.75, and any two seeds by at least 0.9."""
    by_seed = runs.pivot(index="row", columns="seed", values="test")
    test, weights = by_seed.mean(axis=1), weights_of(by_seed.index)
    better, by_size = 100 * (test > test.iloc[weights.argmax()]).mean(), stats.spearman(weights, test)
    of_seeds = min((stats.spearman(by_seed[a], by_seed[b]) for a, b in combinations(by_seed, 2)), default=np.nan)
    seconds = runs["seconds"].mean()
    return {
        "cells": len(test),
        "better than the largest (%)": better,
        "spearman of params": by_size,
        "spearman of seeds": of_seeds,
        HELD: sum(map(int, (better > 2, by_size <= 0.75, of_seeds >= 0.9))),
        "best (%)": test.max(),
        "hours of the table": seconds * len(NASBENCH201.representatives()) * len(SEEDS) / 3600,
    }


def pilot(names: Sequence[str], cells: int, jobs: int, seeds: int = len(SEEDS)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the settings. All runs, a line each; and what decides, a line a setting: first that with most properties,
    of equals that with the least correlation with parameters. What was trained before is read."""
    rows = sample(cells)
    runs = pd.concat([measure(name, rows, seeds, jobs) for name in names], ignore_index=True)
    settings = pd.json_normalize([asdict(SETTINGS[name]) for name in names]).assign(setting=names)
    settings = settings.rename(columns=lambda column: column.removeprefix("schedule."))
    found = pd.DataFrame([summary(part) | {"setting": name} for name, part in runs.groupby("setting", sort=False)])
    found = settings[["setting", "channels", "cells", "epochs", "noise"]].merge(
        found.rename(columns={"cells": "sample"})
    )
    return runs, found.sort_values([HELD, "spearman of params"], ascending=[False, True], ignore_index=True)
