"""A benchmark, as small as the contract allows: a template to change step by step.

Run this file: `check_benchmark` of `latentnas.interfaces` says what it still lacks. Then three searches run on it.
"""

from functools import partial

import numpy as np
import pandas as pd
from my_space import MySpace

from latentnas.interfaces import check_benchmark
from latentnas.search.base import run_many
from latentnas.search.discrete import RegularisedEvolution
from latentnas.search.domains import SampledDomain


class MyTable:
    """Convolutions help, the first skip helps, the others do harm."""

    space = MySpace()
    signals = ("accuracy",)

    def query(self, batch):
        known = self.space.contains(batch).numpy()
        accuracy = np.full(len(batch), np.nan)
        accuracy[known] = 80 + self.space.choices(batch[known]) @ np.array([-4.0, -3.0, -2.0, 5.0, -1.0, -2.0])
        return pd.DataFrame({"known": known, "accuracy": accuracy})


if __name__ == "__main__":
    table, domain = MyTable(), SampledDomain(MySpace(), 0)
    check_benchmark(table)
    objective = domain.objective(lambda graphs: table.query(graphs)["accuracy"].to_numpy())
    histories = run_many(partial(RegularisedEvolution, domain), objective, 30, range(3))  # 30 queries each, 3 seeds
    print("The best that each search found:", histories.groupby("seed")["incumbent"].last().tolist())
    print("The benchmark keeps its contract.")
