"""The figure of CR-LSO's search on NAS-Bench-101 (notebook 07c), what needs no model, and the findings in words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from companion.figures import StoredFigure
from companion.figures.compared import FEW, ONCE, against, told
from latentnas import stats
from latentnas.graphs import DagBatch
from latentnas.models.crlso import CRLSOConfig
from latentnas.plots.search import incumbent_curves
from latentnas.plots.style import styled
from latentnas.search.history import expected_random_search

if TYPE_CHECKING:
    from companion.claims import Results

NAMES = {
    "crlso": "CR-LSO",
    "evolution": "regularised evolution",
    "boosting": "boosting on path features",
    "paths": "path-feature ensemble",
    "largest": "most parameters",
    "random": "random search",
}


def most_given_back(cells: DagBatch) -> float:
    """How many percent of the cells can come back from codes of undirected graphs whose vertices have no place: as many
    as have different codes. Three rounds of colour refinement, which no message passing of three rounds can better;
    the sums are of random 64-bit numbers, so that different ones agree only by a freak."""

    def scattered(x: np.ndarray) -> np.ndarray:
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        return x ^ (x >> np.uint64(31))

    adjacency = cells.adjacency.cpu().numpy()
    both_ways = (adjacency | adjacency.transpose(0, 2, 1)).astype(np.uint64)
    colours = scattered(cells.types.cpu().numpy().astype(np.uint64) + np.uint64(100))
    for _ in range(CRLSOConfig.layers):
        around = (both_ways @ scattered(colours)[:, :, None])[:, :, 0]
        colours = scattered(np.uint64(3) * colours + around)
    return 100 * len(np.unique(colours.sum(axis=1))) / len(cells)


def stands(found: Mapping[str, pd.DataFrame], values: np.ndarray, size: np.ndarray, count: int) -> pd.DataFrame:
    """The best value that each run of each search has met after so many queries, by seed; and what needs no model: the
    largest rows first, equal ones in random order, and, in the mean, random search."""
    ends = {name: runs[runs["query"] <= count].groupby("seed")["incumbent"].last() for name, runs in found.items()}
    table = pd.DataFrame(ends)
    ties = [np.random.default_rng(seed).random(len(size)) for seed in table.index]
    largest = [values[np.lexsort([tie, -size])[:count]].max() for tie in ties]
    return table.assign(largest=largest, random=expected_random_search(values, values, [count])["mean"][0])


def curves(standings: pd.DataFrame, best: float) -> pd.DataFrame:
    """What `incumbents` draws, from what `stands` gives for each number of queries, in the column `queries`. There are
    no bands of few runs, and none beyond the best cell."""
    rows = []
    for count, table in standings.groupby("queries"):
        for method, name in NAMES.items():
            mean, (low, high) = table[method].mean(), stats.mean_interval(table[method])
            bare = len(table) < FEW or np.isnan(low)
            rows.append((name, count, mean, *((mean, mean) if bare else (low, min(high, best)))))
    table = pd.DataFrame(rows, columns=["method", "query", "mean", "low", "high"])
    return table.assign(dataset="NAS-Bench-101", signal="test", best=best)


@styled
def incumbents(curves: pd.DataFrame) -> Figure:
    """The figure `incumbent_curves`, and above its legend what lines and bands are."""
    figure = incumbent_curves(curves)
    figure.legends[0].set_title(
        f"lines: means over runs; bands, of {FEW} runs or more: 95 % intervals of the mean", {"size": 7}
    )
    figure.legends[0].set_alignment("left")
    return figure


def findings_in_words(
    results: "Results", placed: Sequence[float], unplaced: float, possible: float, leads: pd.DataFrame
) -> str:
    """The findings under a line that names sizes. `placed`, `unplaced`, `possible`: percent of unseen cells that come
    back, of each run with places, as released, and at most. `leads`: of CR-LSO over each other search."""
    of = results.parameters
    sizes = f"{of['seeds']} runs of each search, of {of['queries']} cells"
    verdicts = "*Ahead* or *behind*: the whole 95 % interval lies on one side of 0."
    lead = "Fewer than three runs do not decide which search finds better cells."
    if ONCE not in set(leads["verdict"]):
        words = against(leads.index.map(NAMES), leads["verdict"], [""] * len(leads), leads["difference"])
        lead = f"In test accuracy, CR-LSO is {words}."
    back = f"If vertices know their places, {np.mean(placed):.2f} % of the unseen cells come back"
    back += f"; if not, {unplaced:.1f} % (one training)."
    bound = f"Of all cells together, no decoder of codes without places could give back more than {possible:.1f} %."
    return told(results, of["seeds"], sizes, ("curves",), verdicts, (lead, f"{back} {bound}"))


NOTEBOOK = "07c_nasbench101"
FIGURES: dict[str, StoredFigure] = {"curves": (("curves",), incumbents)}
