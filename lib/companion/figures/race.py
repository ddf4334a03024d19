"""A page to touch: searches on NAS-Bench-201 cells, query by query, in one HTML file, from `race.html`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from latentnas.plots.cells import operation_look
from latentnas.plots.explorer import packed, unpacked, write_page
from latentnas.plots.style import colours_of, new_figure, styled
from latentnas.spaces.nasbench201 import CELL_EDGES, NASBENCH201

MOST_RUNS = 10  # of each search that the page holds
TEMPLATE = Path(__file__).with_suffix(".html")


def race(
    path: Path,
    histories: Mapping[str, pd.DataFrame],
    rows: ArrayLike,
    accuracies: ArrayLike,
    params: ArrayLike,
    title: str = "A race of searches",
    note: str = "",
) -> Path:
    """Write the page and return its path.

    Args:
        histories: by the name of the search, what `search.base.run_many` returns, all of the same seeds. The page holds
            the first runs.
        rows: the cells of the table, `[n]`, as rows of the space.
        accuracies: what the searches see of each of them, in percent, `[n]`.
        params: parameters of each of them, `[n]`.
        note: where the accuracies come from, for the foot of the page.

    Raises:
        ValueError: Two searches have other seeds, or one asked for a cell that is not among `rows`; there is no search
            or no query; a cell is there twice, or without a finite number.
    """
    rows, numbers = np.asarray(rows), [np.asarray(accuracies), np.asarray(params)]
    whole = all(values.shape == rows.shape and np.isfinite(values).all() for values in numbers)
    if not whole or len(np.unique(rows)) < len(rows) or min(map(len, histories.values()), default=0) == 0:
        needs = "searches with queries, and of each cell, named once, a finite accuracy and number of parameters"
        raise ValueError(f"A race needs {needs}.")
    known, seeds = pd.Series(np.arange(len(rows)), index=rows), None
    colours, searches = colours_of(histories), {}
    for name, history in histories.items():
        asked = history.pivot(index="seed", columns="query", values="row")[:MOST_RUNS]
        seeds = [*asked.index] if seeds is None else seeds
        strangers = np.setdiff1d(asked, rows)
        if seeds != [*asked.index] or len(strangers):
            what = f"asked for row {strangers[0]}, which is not in the table" if len(strangers) else "has other seeds"
            raise ValueError(f"{name} {what}: a race is of runs of the same seeds on the same cells.")
        places = known[asked.to_numpy().ravel()].to_numpy()
        searches[name] = {"colour": colours[name], "queries": asked.shape[1], "asked": packed(places, "<u2")}
    data = {
        "title": title,
        "note": note,
        "seeds": [int(seed) for seed in seeds or []],
        "searches": searches,
        "rows": packed(rows, "<u2"),
        "accuracies": packed(accuracies, "<f4"),
        "params": packed(numbers[1] / 1e6, "<f4"),
        "operations": [[name, *operation_look(name)] for name in NASBENCH201.operation_names],
        "edges": list(CELL_EDGES),
    }
    return write_page(path, TEMPLATE, data)


@styled
def picture(data: Mapping) -> Figure:
    """How the searches of a page with these data end, for readers who cannot open it."""
    accuracies = unpacked(data["accuracies"], "<f4")
    figure, axes = new_figure(2.3, width=4.6)
    for name, search in data["searches"].items():
        best = np.maximum.accumulate(
            accuracies[unpacked(search["asked"], "<u2")].reshape(len(data["seeds"]), -1), axis=1
        )
        axes[0, 0].plot(np.arange(1, best.shape[1] + 1), best.mean(axis=0), color=search["colour"], label=name)
    axes[0, 0].set(xlabel="query", ylabel="best so far (%), mean over runs")
    figure.legend(loc="outside right upper")
    figure.set_label("the best accuracy so far, by query, of each search")
    return figure
