"""What architectures are worth: one module per table of measured accuracies, and one door to all of them.

    table = benchmarks.load("nasbench201", "public")
    table.query(batch)          # a DataFrame, one line a graph: `row`, `known`, accuracies in percent, costs
    table.labels(signal)        # one accuracy for every row; `table.signals` are their names

A new table is one new file here: a function `load(data_source)` that reads the numbers and returns a `base.Table` with
a DataFrame in the order of the space's rows, the names of its accuracies (percent; the one that searches select by
first) and a `base.Source`. Put its name into `load` below and its files, with their checksums, into `download`.
`latentnas.interfaces.check_benchmark(table)` says what is still missing, and a line in `tests/test_interfaces.py` keeps
it so. `digits` is the shortest example; `enas`, whose space is too large to list, has graphs of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from latentnas.benchmarks import download
from latentnas.benchmarks.download import DataError

if TYPE_CHECKING:
    from latentnas.benchmarks.base import Table


def load(name: str, data_source: str) -> Table:
    """A table by name and data source; "bundled" of `nasbench201` is `digits-nb201`. Raises DataError.

    Args:
        data_source: "public": downloaded once and checked; "bundled": measured by this project and part of it;
            "official": the benchmark's own file, at the path in `LATENTNAS_NASBENCH101` or `LATENTNAS_NASBENCH201`.
    """
    from latentnas.benchmarks import (  # PyTorch: slow to import
        digits,
        enas,
        nasbench101,
        nasbench101_official,
        nasbench201,
        nasbench201_official,
        nasbenchgraph,
    )

    tables = {  # name -> data source -> the module that loads it
        "enas": {"public": enas, "bundled": enas},
        "nasbench101": {"public": nasbench101, "official": nasbench101_official},
        "nasbench201": {"public": nasbench201, "official": nasbench201_official, "bundled": digits},
        "nasbenchgraph": {"public": nasbenchgraph},
    }
    if name not in tables:
        raise DataError(f"There is no table called {name!r}. Choose one of {', '.join(tables)}.")
    if data_source not in tables[name]:
        known = ", ".join(map(repr, tables[name]))
        raise DataError(f"The table {name!r} has no data source {data_source!r}. Set data_source to one of {known}.")
    return tables[name][data_source].load(data_source)


def fetch() -> list[Path]:
    """All public files, downloaded where not yet here, with a line on stderr for each. Raises DataError."""
    found = []
    for number, file in enumerate(download.FILES.values(), start=1):
        where = f"{number} of {len(download.FILES)}: {file.repository}/{file.path}"
        print(f"{where}, {file.size / 1e6:.1f} MB", file=sys.stderr)
        found.append(download.fetch(file.name))
    return found
