"""The figures of notebook 09, every search at equal numbers of queries; its published rows, and its findings."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from companion.figures import StoredFigure
from latentnas.plots.search import arrivals, incumbent_curves, optimum_found
from latentnas.plots.style import styled

PUBLISHED = (  # method, printed in, queries, test accuracy on CIFAR-10, CIFAR-100 and ImageNet16-120
    ("CoLLM-NAS", "CoLLM-NAS", "at most 100", 94.37, 73.44, 46.79),
    ("evolution", "CoLLM-NAS", "200", 94.23, 72.82, 46.49),
    ("EA-Net", "EEEA-Net", "1,000", 94.22, 73.17, 46.48),
    ("CR-LSO", "CR-LSO", "500", 94.35, 73.47, 46.98),
    ("RMI-NAS", "RMI-NAS", "not stated", 94.28, 73.36, 46.34),
    ("random search", "CoLLM-NAS", "not stated", 93.83, 71.52, 45.37),
)
ENSEMBLE = "path-feature ensemble"
BEST, LIKELY = "the best: median", "a likely best: median"  # columns of the table of queries to the goals


@styled
def incumbents(curves: pd.DataFrame) -> Figure:
    """The figure `incumbent_curves`, and above its legend what lines and bands are."""
    figure = incumbent_curves(curves)
    words = "lines: means over runs; bands: 95 % intervals of the mean\ndotted: the best cell by validation"
    expected = "; in the lowest row: what the truly best cell can be expected to reach"
    figure.legends[0].set_title(words + expected * ("expected" in set(curves.signal)), {"size": 7})
    figure.legends[0].set_alignment("left")
    return figure


@styled
def optimum(found: pd.DataFrame) -> Figure:
    """The figure `optimum_found`, and above its legend what it counts and where lines end."""
    figure = optimum_found(found)
    words = "share of the runs that have met a cell that is the best of the table, or is likely to be the best"
    figure.legends[0].set_title(f"{words}; a line ends with the queries of its search", {"size": 7})
    figure.legends[0].set_alignment("left")
    return figure


def met_by_query(
    needed: Mapping[tuple[str, str, str, str], "pd.Series[float]"],
    budgets: Mapping[str, int],
    chance: Callable[[str, str, str], np.ndarray],
) -> pd.DataFrame:
    """What the figure `optimum` draws: the share of runs that have met a goal, a step at each run's own query; of
    random search the exact chance, from the fifth query on.

    Args:
        needed: queries of each run, infinite where it never met a goal, by what is counted, data set, method and goal.
        budgets: queries of each method. chance: of random search after 1, 2, ... queries, by the same but the method.
    """
    parts = []
    for (by, title, method, goal), values in needed.items():
        if by != "class":
            continue
        if method == "random search":
            share = chance(by, title, goal)
            line = pd.DataFrame({"query": np.arange(1, len(share) + 1), "share": share})[4:]
        else:
            line = arrivals(values, budgets[method])
        parts.append(line.assign(goal=f"runs at {goal}", dataset=title, method=method))
    return pd.concat(parts)


def with_deviation(summary: pd.DataFrame) -> pd.DataFrame:
    """A table of means with the column `value`: "93.17 ± 0.23", mean and standard deviation."""
    mean_and_std = (summary[column].map("{:.2f}".format) for column in ("mean", "std"))
    return summary.assign(value=[" ± ".join(pair) for pair in zip(*mean_and_std)])


def beside_published(summary: pd.DataFrame) -> pd.DataFrame:
    """The published rows after two of ours, counted by string, after 100 queries. Columns of `summary`: dataset,
    method, counted_by, query, mean, std."""
    ours = summary[(summary.counted_by == "string") & (summary["query"] == 100)]
    ours = with_deviation(ours).pivot(index="method", columns="dataset", values="value")
    rows = [(name, "here", "100", *ours.loc[name]) for name in (ENSEMBLE, "random search")]
    columns = ["method", "printed in", "queries", *ours.columns]
    return pd.DataFrame([*rows, *PUBLISHED], columns=columns).set_index("method")


def needed(effort: pd.DataFrame, column: str, method: str, by: str = "class") -> str:
    """The median number of queries on the data set where a method needs most: "95", or "more than 60", its budget.
    Columns of `effort`: method, counted by, budget, and `column`, infinite where half of the runs did not arrive."""
    rows = effort[(effort.method == method) & (effort["counted by"] == by)]
    most = rows[column].max()
    return f"{most:g}" if np.isfinite(most) else f"more than {rows.budget.max()}"


def findings(effort: pd.DataFrame, best_regret: Mapping[str, float], marks: Sequence[str] = ()) -> list[str]:
    """What a run found, a point each, five at most.

    Args:
        effort: As `needed` takes it, with the columns `BEST`, `LIKELY`, `data set` and regret (points).
        best_regret: The same of the table's best cell, by data set.
        marks: The verdicts of the searches beside published accuracies; none without public tables.
    """
    evolution, process = "regularised evolution", "Gaussian process"
    best, likely = ({name: needed(effort, goal, name) for name in effort.method.unique()} for goal in (BEST, LIKELY))
    regret = effort[(effort.method == ENSEMBLE) & (effort["counted by"] == "class")].set_index("data set").regret
    worst, queries = regret.idxmax(), min(100, effort.budget[effort.method == ENSEMBLE].max())
    said = [
        f"To the best cell the {ENSEMBLE} needs {best[ENSEMBLE]} queries, evolution {best[evolution]}. "
        f"Boosting needs {best['boosting']}, the {process} {best[process]}.",
        f"To a likely best the ensemble needs {likely[ENSEMBLE]} queries, evolution {likely[evolution]}. "
        f"The {process} needs {likely[process]}, random search {likely['random search, exact']}.",
        f"Counted by string, the ensemble needs {needed(effort, BEST, ENSEMBLE, 'string')} queries to the best cell.",
        f"After {queries} queries the ensemble's expected true regret is {regret[worst]:.2f} points. "
        f"That of the table's best cell is {best_regret[worst]:.2f}.",
    ]
    if marks:
        short, met = (marks.count(verdict) for verdict in ("short", "met"))
        rest = "; the rest is undecided" * bool(short + met < len(marks))
        of = f"the {len(marks)} published numbers" if len(marks) > 1 else "the published number"
        said.insert(0, f"Of {of} these searches miss {short or 'none'} and reach {met or 'none'}{rest}.")
    return said


NOTEBOOK = "09_benchmark"
FIGURES: dict[str, StoredFigure] = {"incumbents": (("curves",), incumbents), "optimum": (("found",), optimum)}
