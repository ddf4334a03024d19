"""Equal processor time for one-shot searches: how long an epoch of each takes, and so how many it gets.

    python -m latentnas.oneshot.budget         measures the seconds again

A step of random sharing trains one cell; one of E2NAS trains three and computes all operations for its latent point. At
equal steps a search would win by its price. `EPOCH_SECONDS` is committed, not measured on the way, so that a search is
the same on every machine; only the ratios matter.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from latentnas.measure import digits
from latentnas.oneshot.e2nas import E2nas, E2nasConfig, cell_space
from latentnas.oneshot.shared_cells import SharedCells, SharedSkeleton
from latentnas.oneshot.strategies import Darts, Gdas, UniformCells
from latentnas.oneshot.training import Strategy, SupernetSchedule, train_supernet
from latentnas.search.latent.crlso import LatentSpace
from latentnas.train import TrainConfig

BASELINES = {"uniform cells": lambda seed: UniformCells(), "DARTS": Darts, "GDAS": Gdas}
VARIANTS = {
    "E2NAS": {},
    "as released": {"released": True},
    "no exploration": {"explores": False},
    "no complementation": {"complementation": 0.0},
    "neither": {"explores": False, "complementation": 0.0},
    "unbalanced": {"balanced": False},
}
EPOCH_SECONDS = {  # processor seconds: `--epochs 8 --rounds 3`, other work beside it
    "uniform cells": 0.094,
    "DARTS": 0.456,
    "GDAS": 0.142,
    "E2NAS": 0.545,
    "as released": 0.333,
    "no exploration": 0.482,
    "no complementation": 0.399,
    "neither": 0.367,
    "unbalanced": 0.538,
}


def strategy(name: str, space: LatentSpace, seed: int) -> Strategy:
    """The strategy of a method or variant, by its name in `EPOCH_SECONDS`."""
    if name in BASELINES:
        return BASELINES[name](seed)
    return E2nas(space, seed, E2nasConfig(**VARIANTS[name]))


def epochs_of(name: str, epochs: int) -> int:
    """How many epochs take as long as so many of E2NAS."""
    return max(1, round(epochs * EPOCH_SECONDS["E2NAS"] / EPOCH_SECONDS[name]))


def measure(space: LatentSpace, epochs: int, rounds: int) -> dict[str, float]:
    """Processor seconds of an epoch on the digits, one thread: the median of `rounds` whole searches, in turns."""
    torch.set_num_threads(1)
    data, schedule = digits.load(noise=0.5, copies=2), SupernetSchedule(epochs=epochs)
    seconds = {name: [] for name in [*BASELINES, *VARIANTS]}
    for seed in range(rounds):
        for name, found in seconds.items():
            with tempfile.TemporaryDirectory() as folder:
                network, begun = SharedCells(SharedSkeleton(), seed), time.process_time()
                train_supernet(network, strategy(name, space, seed), data, schedule, seed, Path(folder) / "weights")
                found.append((time.process_time() - begun) / epochs)
    return {name: statistics.median(found) for name, found in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20, help="of each search (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="searches of each (default: 3)")
    options = parser.parse_args()
    for name, seconds in measure(cell_space(TrainConfig(epochs=3)), options.epochs, options.rounds).items():
        print(f'    "{name}": {seconds:.3f},')


if __name__ == "__main__":
    main()
