"""Benchmarks that this project measured itself, on images that come with scikit-learn: nothing to download.

`digits-nb201`: each of the 6,466 classes of NAS-Bench-201 cells, trained from scratch with three seeds in a network
of two stages on 897 noisy 8 x 8 images of handwritten digits. Cells of one class compute the same function and share
one measurement. `python -m latentnas.measure.tables` made the table and trains any row again. Its columns: `arch`,
`class`, `params` and `flops` of the network that was trained, the means over seeds `VALID` and `TEST`, and
`train-seconds` of one training, as its share of a group trained side by side.
"""

import numpy as np
import pandas as pd

from latentnas.benchmarks.base import Table, Task, bundled_source
from latentnas.benchmarks.download import bundled
from latentnas.spaces.nasbench201 import CONV1X1, CONV3X3, NASBENCH201

CELL_FILE = "digits-nb201.csv.gz"  # this and the following in data/bundled
SHARED_FILE, ALONE_FILE = "digits-enas.csv.gz", "digits-enas-alone.csv"
SEEDS = (0, 1, 2)
EPOCHS = 15  # of every training from scratch
ENAS_ROWS = 19_020  # of `digits-enas`, as many as D-VAE's table has

VALID, TEST = f"digits/valid@{EPOCHS}", f"digits/test@{EPOCHS}"
# Costs of the network: without its cells, and for each 1x1 and each 3x3 convolution in a cell.
PARAMS, FLOPS = (450, 368, 2_928), (6_816, 8_192, 73_728)


def load(data_source: str = "bundled") -> Table:
    """The table `digits-nb201`. Raises DataError."""
    source = bundled_source(CELL_FILE)
    by_class = pd.read_csv(source.paths[0], index_col="row").loc[NASBENCH201.representatives()]
    every = NASBENCH201.enumerate()
    own, operations = NASBENCH201.canonical(every), NASBENCH201.choices(every)
    runs = {
        column: by_class[[f"{part}_{seed}" for seed in SEEDS]].to_numpy()[own]
        for column, part in ((VALID, "valid"), (TEST, "test"))
    }
    convolutions = np.stack([np.ones(len(own)), *((operations == c).sum(1) for c in (CONV1X1, CONV3X3))], axis=1)
    table = pd.DataFrame(
        {
            "arch": NASBENCH201.to_strings(every),
            "class": own,
            "params": (convolutions @ PARAMS).astype(np.int64),
            "flops": (convolutions @ FLOPS).astype(np.int64),
            **{column: values.mean(axis=1) for column, values in runs.items()},
            "train-seconds": by_class["seconds"].to_numpy()[own],
        }
    )
    return Table(NASBENCH201, table, (VALID, TEST), source, runs, {"digits": Task(VALID, TEST, "digits-nb201")})


def load_from_scratch() -> pd.DataFrame:
    """The first architectures of `digits-enas` (see `benchmarks.enas`), which were also trained from scratch: columns
    `arch`, `shared` (validation accuracy with shared weights), `valid` and `test` (from scratch, one training), in
    percent. Raises DataError."""
    alone = pd.read_csv(bundled(ALONE_FILE), index_col="row")
    shared = pd.read_csv(bundled(SHARED_FILE)).loc[alone.index]
    means = {part: alone.filter(like=f"{part}_").mean(axis=1) for part in ("valid", "test")}
    return pd.DataFrame({"arch": shared["arch"], "shared": shared["valid"], **means})
