"""The figures of predictions beyond the space that was learned (notebook 06)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from companion.figures import StoredFigure
from companion.figures.verdicts import by_holm
from latentnas.models.family import slug
from latentnas.plots.style import (
    BLUE,
    GREY,
    INK,
    MARKERS,
    PALE,
    VERMILLION,
    OlderTable,
    colours_of,
    letter,
    new_figure,
    rows_of,
    styled,
)
from latentnas.stats import mean_interval

if TYPE_CHECKING:
    from companion.claims import Claim, Results

WORDS = {  # for what code and tables call by a short name
    "params": "most parameters",
    "none": "no edge",
    "skip_connect": "skip connection",
    "nor_conv_1x1": "1×1 convolution",
    "nor_conv_3x3": "3×3 convolution",
    "avg_pool_3x3": "average pooling",
}
TOLD = "SVGe, told what it is like"
EXACT = ("params", "complexity")  # readers that learn nothing: the same in every training, which is then no sample
AGAINST = {"behind": "behind", "undecided": "undecided against", "ahead": "ahead of"}  # verdicts, the worst first
LOWEST_SHOWN, HIGHEST_SHOWN = 85, 94.5  # percent; the few cells that hardly learn lie below
BINS = 60  # along either axis
FIRST = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # cells of a ranking

Rankings = Mapping[tuple[str, int], np.ndarray]  # by method and seed, a score for every cell: the higher, the better


def accuracy_by_place(rankings: Rankings, true: np.ndarray) -> pd.DataFrame:
    """How many cells have which place in a ranking, that of the first seed, and which true accuracy (percent)."""
    edges = np.linspace(0, 1, BINS + 1), np.linspace(LOWEST_SHOWN, HIGHEST_SHOWN, BINS + 1)
    middles = [(ends[:-1] + ends[1:]) / 2 for ends in edges]
    rank, accuracy = (axis.ravel() for axis in np.meshgrid(*middles, indexing="ij"))
    tables = []
    for method in ("SVGe", "params"):
        place = np.argsort(np.argsort(-_of_method(rankings, method)[0], kind="stable")) / len(true)
        count = np.histogram2d(place, true, bins=edges)[0].ravel().astype(int)
        tables.append(pd.DataFrame({"method": method, "rank": rank, "accuracy": accuracy, "count": count}))
    return pd.concat(tables)


def accuracy_of_first(rankings: Rankings, true: np.ndarray) -> pd.DataFrame:
    """The true accuracy (percent) of the first k cells of each ranking: its mean over seeds, with an interval."""
    best, rows = np.sort(true)[::-1], []
    for method in dict.fromkeys(method for method, _ in rankings):
        for k in FIRST:
            values = np.array([mean_of_first(true, scores, k) for scores in _of_method(rankings, method)])
            low, high = mean_interval(values)
            known = {"best": best[:k].mean(), "average": best.mean()}
            rows.append({"method": method, "k": k, "mean": values.mean(), "low": low, "high": high} | known)
    return pd.DataFrame(rows)


def mean_of_first(true: np.ndarray, scores: np.ndarray, k: int) -> float:
    """The mean of `true [N]` over the k rows (1 to N) with the highest `scores [N]`, none of them NaN. Rows with equal
    scores at the end of the k are taken as drawn at random, and this is the mean over all draws (exact): *most
    parameters*, say, gives 42 cells of seven vertices the same highest score."""
    last = np.partition(scores, -k)[-k]
    above, equal = scores > last, scores == last
    return float((true[above].sum() + (k - above.sum()) * true[equal].mean()) / k)


def in_plain_words(table: pd.DataFrame) -> pd.DataFrame:
    """A table with words in place of the short names that code has for rankings and operations."""
    named = [column for column in ("method", "reader", "operation") if column in table]
    return table.assign(**{column: table[column].replace(WORDS) for column in named})


def _of_method(rankings: Rankings, method: str) -> list[np.ndarray]:
    return [scores for (name, _), scores in rankings.items() if name == method]


@styled
def larger_cells(density: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Cells larger than any that was learned: true accuracy by the rank they were given, and that of the first k.

    Columns of `density`: method, rank (share of the cells ranked higher, middle of a bin, 0 to 1), accuracy (middle
    of a bin, percent), count. Of `curves`: method, k, mean, low, high (true accuracy of the first k, percent,
    with the interval over seeds), best (of the k best cells), average (of all cells).
    """
    density = in_plain_words(rows_of(density, "method", "rank", "accuracy", "count"))
    curves = in_plain_words(rows_of(curves, "method", "k", "mean", "low", "high", "best", "average"))
    shown = list(dict.fromkeys(density.method))
    if "SVGe" not in shown:
        raise OlderTable(f"This figure is of SVGe tuned as the others, and the table has {', '.join(shown)}.")
    figure, axes = new_figure(2.8, columns=len(shown) + 1)
    highest = density["count"].max()
    for ax, method in zip(axes[0], shown):
        of_method = density[density.method == method]
        counts = of_method.pivot(index="accuracy", columns="rank", values="count").fillna(0)
        image = ax.pcolormesh(
            100 * counts.columns, counts.index, np.ma.masked_equal(counts, 0), cmap="viridis",
            norm=LogNorm(1, highest), rasterized=True,
        )  # fmt: skip
        ax.set_xlabel("cells ranked higher (%)")
        ax.set_ylim(LOWEST_SHOWN, None)
    axes[0, 0].set_ylabel("true accuracy (%), cut below")
    figure.colorbar(image, ax=axes[0, : len(shown)], label="cells (log)", location="right", aspect=30, pad=0.01)
    ax = axes[0, -1]
    colours = colours_of(curves.method)
    for method, line in curves.groupby("method", sort=False):
        width = 3.0 if method == "SVGe" else None  # seen where another line lies on it
        ax.plot(line.k, line["mean"], color=colours[method], label=method, linewidth=width)
        if method != "random":  # whose band would cover all
            ax.fill_between(line.k, line.low, line.high, color=colours[method], alpha=0.15, linewidth=0)
    one = curves[curves.method == curves.method.iloc[0]]
    ax.plot(one.k, one.best, color=GREY, linewidth=0.8, linestyle=":", label="the best cells")
    ax.axhline(one.average.iloc[0], color=PALE, linewidth=0.8, linestyle="--", label="all cells")
    ax.set_xscale("log")
    ax.set_ylim(curves["mean"].min() - 0.4, curves.best.max() + 0.2)  # whatever the bands of few seeds
    ax.set_xlabel("first k of the ranking (log)")
    ax.set_ylabel("their true accuracy (%)")
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
    letter(axes, [*shown, "The first k"])
    title = "(c) bands, not of random: 95 % intervals over seeds"
    handles = ax.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=4, title=title, alignment="left")
    return figure


@styled
def unseen_operation(table: pd.DataFrame) -> Figure:
    """How well cells are ordered with and without an operation that no label or training graph had: a dot a seed.

    Columns: operation, cells ("without" or "with" it), reader, seed, kendall.
    """
    table = in_plain_words(rows_of(table, "operation", "cells", "reader", "seed", "kendall"))
    operations, readers = list(dict.fromkeys(table.operation)), list(dict.fromkeys(table.reader))
    figure, axes = new_figure(0.9 + 0.24 * len(readers), columns=len(operations), sharey=True)
    for ax, operation in zip(axes[0], operations):
        for cells, colour, marker, shift in (("without", BLUE, "o", -0.15), ("with", VERMILLION, "D", 0.15)):
            rows = table[(table.operation == operation) & (table.cells == cells)]
            heights = [readers.index(reader) + shift for reader in rows.reader]
            ax.scatter(
                rows.kendall, heights, s=14, color=colour, marker=marker, linewidths=0, label=f"cells {cells} it"
            )
        ax.axvline(0, color=PALE, linewidth=0.8, linestyle=":")
        ax.set_xlabel("Kendall's tau with the true order")
        ax.set_yticks(range(len(readers)), readers)
    axes[0, 0].invert_yaxis()
    letter(axes, [f"{operation} held out" for operation in operations])
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=2, title="a mark: one training", alignment="left")
    return figure


@styled
def better_cells(table: pd.DataFrame) -> Figure:
    """What is read off labels of cells below a quantile of accuracy about the cells above it: a dot a training.

    Columns: quantile, reader, seed, kendall, first (accuracy of the first five of the ranking, percent), and known
    (the best label), average (of the better cells), best (of the five best).
    """
    table = in_plain_words(rows_of(table, "quantile", "reader", "kendall", "first", "known", "average", "best"))
    quantiles, readers = sorted(table["quantile"].unique()), list(dict.fromkeys(table.reader))
    figure, axes = new_figure(2.7, columns=2)
    colours = colours_of(readers)
    for number, reader in enumerate(readers):
        rows = table[table.reader == reader]
        look = {"color": colours[reader], "alpha": 0.8, "linewidths": 0, "label": reader}
        places = [quantiles.index(q) + 0.11 * (number - (len(readers) - 1) / 2) for q in rows["quantile"]]
        for ax, column in zip(axes[0], ("kendall", "first")):
            ax.scatter(places, rows[column], s=14, marker=MARKERS[number % len(MARKERS)], **look)
    marks = {"the five best": "-", "mean of the better cells": "--", "best label": ":"}
    for place, q in enumerate(quantiles):
        levels = table.loc[table["quantile"] == q, ["best", "average", "known"]].mean()
        for (name, line), level in zip(marks.items(), levels):
            label = name if not place else None
            axes[0, 1].plot([place - 0.4, place + 0.4], [level] * 2, line, color=GREY, linewidth=0.9, label=label)
    axes[0, 0].axhline(0, color=PALE, linewidth=0.8, linestyle=":")
    axes[0, 0].set_ylabel("Kendall's tau")
    axes[0, 1].set_ylabel("accuracy of the\nfirst five (%)")
    for ax in axes[0]:
        ax.set_xticks(range(len(quantiles)), [f"{100 * q:.0f} %" for q in quantiles])
        ax.set_xlim(-0.5, len(quantiles) - 0.5)
        ax.set_xlabel("labels from the cells below this quantile")
    letter(axes, ["The order of the better cells", "The first five"])
    handles, words = axes[0, 1].get_legend_handles_labels()
    words = [f"(b) {name}" if name in marks else name for name in words]
    title = "a mark: one training"
    figure.legend(handles, words, loc="outside upper left", ncols=-(-len(words) // 2), title=title, alignment="left")
    return figure


@styled
def deeper_architectures(points: pd.DataFrame) -> Figure:
    """Measured accuracy of architectures deeper than those learned: drawn at random, and the top of each ranking.

    Columns: layers, group (in order of appearance), measured (percent).
    """
    points = rows_of(points, "layers", "group", "measured")
    depths, groups = sorted(points.layers.unique()), list(dict.fromkeys(points.group))
    colours = colours_of(group.removeprefix("top: ") for group in groups)
    figure, axes = new_figure(0.9 + 0.24 * len(groups), columns=len(depths), sharey=True)
    for ax, layers in zip(axes[0], depths):
        at_depth = points[points.layers == layers]
        left = at_depth.measured.quantile(0.02)
        for place, group in enumerate(groups):
            colour = colours[group.removeprefix("top: ")]
            values = at_depth.loc[at_depth.group == group, "measured"]
            heights = place + np.linspace(-0.25, 0.25, len(values))
            inside = (values >= left).to_numpy()
            ax.scatter(values[inside], heights[inside], s=6, color=colour, alpha=0.5, linewidths=0)
            ax.scatter(np.full((~inside).sum(), left), heights[~inside], s=10, color=colour, marker="<", linewidths=0)
            ax.plot([values.mean()] * 2, [place - 0.38, place + 0.38], color=INK, linewidth=1.2)
        ax.set_yticks(range(len(groups)), groups)
        ax.set_xlabel("measured accuracy (%); a dot: one network\nline: mean; left edge: this or less")
    axes[0, 0].invert_yaxis()
    letter(axes, [f"{layers} layers" for layers in depths])
    figure.set_gid("bundled")
    return figure


def mean_of(results: "Results", id: str, part: pd.DataFrame, column: str, unit: str) -> None:
    """The claim of one reader's mean over trainings; of one that learns nothing the number as it stands."""
    if part["reader"].iloc[0] in EXACT:
        results.claim(id, part[column].iloc[0], unit)
    else:
        results.estimate(id, part[column], unit, seeds=part["seed"])


def gain_over_random(results: "Results", id: str, part: pd.DataFrame, points: pd.DataFrame) -> None:
    """The claim of what those ranked first by one reader gain on one random sample; the interval counts the chance in
    both. Columns of `part`: seed, gain; of `points`: group, measured."""
    random, gain = points.loc[points["group"] == "drawn at random", "measured"], part["gain"].mean()
    about = {"method": "t, both in squares", "over": "trainings, random networks"}
    if len(part) > 1:
        half = np.hypot(*[np.nan_to_num(np.ptp(mean_interval(values))) / 2 for values in (part["gain"], random)])
        about |= {"low": gain - half, "high": gain + half}
    results.claim(id, gain, "points", seeds=part["seed"], **about)


def leads(
    results: "Results", id: str, own: pd.Series, others: pd.DataFrame, unit: str, **goal: object
) -> dict[str, str]:
    """The claims of leads over others, columns with a row a seed, as one family (Holm); their verdicts in words."""

    gaps = {id + slug(name): own - others[name] for name in others}
    return dict(zip(others, by_holm(results, gaps, unit, over="trainings", **goal)["verdict"]))


def leads_by_depth(results: "Results", depth: pd.DataFrame) -> dict[int, dict[str, str]]:
    """The claims of SVGe's leads in deeper networks, a family for each number of layers. Columns: layers, reader, seed,
    gain (points)."""
    found = {}
    for layers, part in depth.groupby("layers"):
        gains = part.pivot(index="seed", columns="reader", values="gain")
        own, id = gains.pop("SVGe, fine-tuned"), f"svgefinetuned.digits-enas{layers}.top_lead@"
        found[layers] = leads(results, id, own, gains, "points")
    return found


def findings(
    unseen: pd.DataFrame,
    better: pd.DataFrame,
    depth: pd.DataFrame,
    deeper_leads: Mapping[int, Mapping[str, str]],
    larger: "Claim | None" = None,
    larger_leads: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> list[str]:
    """What a run found, a point each, five at most: first those in which SVGe is not everywhere the higher.

    Args:
        unseen: Columns operation, cells, reader and kendall, a row a ranking.
        better: Columns quantile, reader and kendall, a row a ranking.
        depth: Columns layers, reader, gain (points), a row a ranking.
        deeper_leads: By number of layers, the verdict on SVGe's lead over each other reader: ahead, behind, ...
        larger: The accuracy of SVGe's first five larger cells; none where that part was left out.
        larger_leads: The verdicts on its leads over each other predictor there, in "top 5" and in "kendall".
    """
    with_it = unseen[(unseen.cells == "with") & (unseen.reader != TOLD)]
    operations = {WORDS.get(name, name): rows for name, rows in with_it.groupby("operation", sort=False)}
    levels = {f"above the {100 * q:g} % quantile": rows for q, rows in better.groupby("quantile")}
    layers = {f"{layers} layers": rows for layers, rows in depth.groupby("layers")}
    tau = ("kendall", "Kendall's tau", "It is {0:.2f} with SVGe, {1:.2f} with {2} ({3}).")
    gain = "Over random ones, SVGe's first gain {0:.2f} points, those of {2} {1:.2f} ({3})."
    themes = (
        ("Cells with an operation nobody saw or was told of", operations, "operations", *tau),
        ("Cells better than every label", levels, "quantiles", *tau),
        ("Deeper networks, shared weights, SVGe alone tuned", layers, "depths", "gain", "gain", gain),
    )
    said = []
    for theme, parts, kind, column, quantity, numbers in themes:
        found = {name: _best_two(rows, column) for name, rows in parts.items()}
        several, higher = len(found) > 1, sum(own > rest for own, rest, _ in found.values())
        where = f" for {higher or 'none'} of the {len(found)} {kind}" * several
        has = "has" if higher or several else "does not have"
        name, best = min(found.items(), key=lambda one: one[1][0] - one[1][1])
        head = f"{theme}: SVGe {has} the highest {quantity}{where} (untested)."
        said.append((higher == len(found), head, numbers.format(*best, f"{name}{', worst for SVGe' * several}")))
    verdicts = {verdict for of in deeper_leads.values() for verdict in of.values()}
    if verdicts - {"seen once"}:
        ahead, _, numbers = said.pop()
        compared = "; ".join(f"at {layers} layers {_compared(of)}" for layers, of in deeper_leads.items())
        said.append((ahead and verdicts == {"ahead"}, f"{themes[-1][0]}: SVGe is {compared}.", numbers))
    said = [(ahead, f"{head} {numbers}") for ahead, head, numbers in said]
    if larger:
        reached = {"met": "reach", "short": "miss"}.get(larger.verdict, "are not shown to reach or miss")
        five, order = larger_leads["top 5"], larger_leads["kendall"]
        words = f"{reached} the target of {larger.target:g} %: they have {larger.ours:.2f} %."
        words += f" They are {_compared(five)}." * bool(_compared(five))
        ahead = larger.verdict == "met" and {*five.values()} == {"ahead"}
        said.append((ahead, f"Larger cells: SVGe's first five {words}"))
        if _compared(order):
            words = f"In the order of all larger cells SVGe is {_compared(order)}."
            said.append(({*order.values()} == {"ahead"}, words))
    return [words for _, words in sorted(said, key=lambda one: bool(one[0]))]


def _best_two(rows: pd.DataFrame, quantity: str) -> tuple[float, float, str]:
    """The highest mean of a reader of SVGe's, and that of another reader with its name."""
    means = rows.groupby("reader")[quantity].mean()
    own = means.index.str.startswith("SVGe")
    rival = means[~own].idxmax()
    return means[own].max(), means[rival], WORDS.get(rival, rival)


def _compared(verdicts: Mapping[str, str]) -> str:
    names = {word: [WORDS.get(of, of) for of, verdict in verdicts.items() if verdict == word] for word in AGAINST}
    return "; ".join(f"{AGAINST[word]} {', '.join(of)}" for word, of in names.items() if of)


NOTEBOOK = "06_extrapolation"
FIGURES: dict[str, StoredFigure] = {
    "larger_cells": (("density", "first_k"), larger_cells),
    "unseen_operation": (("held_out",), unseen_operation),
    "better_cells": (("better",), better_cells),
    "deeper": (("deeper",), deeper_architectures),
}
