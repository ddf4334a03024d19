"""NAS-Bench-Graph (Qin et al., NeurIPS 2022, https://arxiv.org/abs/2206.09166): every network of its space on eight
data sets, whose vertices are to be classified.

The numbers come with the authors' package (Apache-2.0; `pip install latentnas[graph]`, 6 MB), of which only the data
are read, not the code. For each data set: accuracy on validation and test vertices (`<data set>/valid`, `/test`; means
of three trainings), seconds for one pass (`/latency`) and parameters (`/params`). The package also has 2,021 networks
on ogbn-proteins, which are left out here: they are no table of the whole space.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from latentnas.benchmarks import download
from latentnas.benchmarks.base import Source, Table, Task
from latentnas.benchmarks.download import DataError
from latentnas.benchmarks.nasbench201_official import load_arrays
from latentnas.spaces.nasbenchgraph import NASBENCHGRAPH, READS

PACKAGE, REMEDY = "nas_bench_graph", "pip install nas-bench-graph==1.4.0"
FILES = {  # data set -> title, SHA-256 of its file
    "cora": ("Cora", "5e69b2f9bb08d8927d9ffd4921f8494a3cea349c9c3a461334cb9dc9e11701a8"),
    "citeseer": ("CiteSeer", "99c7f79b73372636305bf73fb32a58b63c57bd1871a152dd62ec72d984c8c50f"),
    "pubmed": ("PubMed", "10b4dcf6cfd3a24f6059f7d541a4a872960b4adac0b3dba26abed1bb9a3d904d"),
    "cs": ("CS", "71ae8469930517160b024f52db6000a4897f1aff5d765beb27bb60952ed5bd31"),
    "physics": ("Physics", "1e309bafee0b832c8b84fa3c039c36992bc0a910238b128f26b7e9190d7f2aea"),
    "photo": ("Photo", "5511b4dc3f63fa988792177227db7901290fb9b27fc6c02e3036b29e134ed6df"),
    "computers": ("Computers", "fdb3dc0cf405d62322f0ab9614b2083c2a5e6576c2f43e4f2214be64bc62b1b3"),
    "arxiv": ("arXiv", "7ee21a7653297a806c0ed1be3efe6ecc06acc84e48e942da0bfde0e5d287debe"),
}
UNITS = {"valid": ("valid_perf", 100), "test": ("perf", 100), "latency": ("latency", 1), "params": ("para", 1e6)}


def load(data_source: str = "public") -> Table:
    """The table of all eight data sets, `tasks` in the order of `FILES`. Raises DataError."""
    found = find_spec(PACKAGE)
    if not found:
        raise DataError(f"The numbers of NAS-Bench-Graph are in its authors' package, which is not here: {REMEDY}")
    paths = [Path(found.origin).parent / "light" / f"{dataset}.bench" for dataset in FILES]
    graphs = NASBENCHGRAPH.enumerate()
    columns = {"arch": NASBENCHGRAPH.to_strings(graphs)}
    for (dataset, (_, sha256)), path in zip(FILES.items(), paths):
        download.check(path, [sha256], f"Get it again: {REMEDY} --force-reinstall")
        with open(path, "rb") as file:
            stored = load_arrays(file, path)
        entries = [stored[key] for key in _keys(NASBENCHGRAPH.choices(graphs))]
        for name, (key, unit) in UNITS.items():
            columns[f"{dataset}/{name}"] = np.array([float(entry[key]) for entry in entries]) * unit
    tasks = {
        title: Task(f"{dataset}/valid", f"{dataset}/test", f"nbgraph.{dataset}")
        for dataset, (title, _) in FILES.items()
    }
    signals = tuple(signal for task in tasks.values() for signal in (task.valid, task.test))
    table = pd.DataFrame(columns).round(dict.fromkeys(signals, 5))
    checksums = {path.name: sha256 for path, (_, sha256) in zip(paths, FILES.values())}
    return Table(NASBENCHGRAPH, table, signals, Source("public", checksums, tuple(paths)), {}, tasks)


def _keys(choices: np.ndarray) -> list[int]:
    """The number of each architecture in the files: its shape, in the order of rows, and its operations, as digits."""
    shape = np.unique(choices[:, :READS], axis=0, return_inverse=True)[1]
    return (np.column_stack([shape, choices[:, READS:]]) @ 10 ** np.arange(4, -1, -1)).tolist()
