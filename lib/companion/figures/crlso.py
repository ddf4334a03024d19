"""The figures of CR-LSO (notebook 07), the tables and the page that show nothing else, and a table in words."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from companion import paths
from companion.figures import StoredFigure, embedded
from latentnas.benchmarks.base import Table
from latentnas.models.convex import InputConvexNetwork, RefitConfig, refit
from latentnas.plots.explorer import explorer
from latentnas.plots.search import incumbent_curves, optimum_found
from latentnas.plots.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    VERMILLION,
    letter,
    new_figure,
    rows_of,
    styled,
)
from latentnas.search.latent.crlso import LatentSpace

if TYPE_CHECKING:
    from companion.claims import Results

NETWORK_COLOURS = (VERMILLION, BLUE, GREEN, ORANGE, PURPLE)  # in order of appearance
VERDICTS = {"equivalent": (BLUE, "s"), "better": (GREEN, "o"), "worse": (VERMILLION, "D"), "undecided": (GREY, "o")}


def convexity_lines(
    networks: Iterable[str], gaps: Iterable[Tensor], heights: Iterable[Tensor]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `crlso_convexity` draws, from the Jensen gaps and the heights of the ends of ascents of each network."""
    lines, ends, share = [], [], np.linspace(0, 1, 201)
    for network, gap, height in zip(networks, gaps, heights):
        below = (height.max() - height).sort().values.numpy()
        lines.append(pd.DataFrame({"network": network, "quantile": share, "gap": np.quantile(gap.numpy(), share)}))
        ends.append(pd.DataFrame({"network": network, "share": np.linspace(0, 1, len(below)), "below": below}))
    return pd.concat(lines), pd.concat(ends)


@styled
def crlso_convexity(gaps: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    """Left: how far Jensen's inequality holds, pair by pair. Right: at what height gradient ascents end.

    Columns of `gaps`: network, quantile (of the pairs, 0 to 1), gap (standard deviations of the predictions;
    none may be negative for a convex network). Of `ends`: network, share (of the starts, 0 to 1, the highest
    first), below (the highest end that was found, same unit).
    """
    gaps, ends = rows_of(gaps, "network", "quantile", "gap"), rows_of(ends, "network", "share", "below")
    figure, axes = new_figure(2.6, columns=2)
    inequality, heights = axes[0]
    colours = dict(zip(dict.fromkeys([*gaps.network, *ends.network]), NETWORK_COLOURS))
    for number, (network, colour) in enumerate(colours.items()):
        width = 1 + 1.2 * (len(colours) - 1 - number)  # lines that lie on each other can all be seen
        of_network = gaps[gaps.network == network]
        inequality.plot(of_network["quantile"], of_network.gap, color=colour, linewidth=width, label=network)
        of_network = ends[ends.network == network]
        heights.plot(of_network.share, -of_network.below, color=colour, linewidth=width, label=network)
    inequality.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    inequality.set_yscale("symlog", linthresh=1e-2)
    inequality.set_xlabel("share of the pairs of points")
    inequality.set_ylabel("Jensen gap (st. dev.; axis is\nlinear to 0.01, then logarithmic)")
    heights.set_xlabel("share of the starts")
    heights.set_ylabel("end of the ascent, from\nthe highest (st. dev.)")
    for ax in axes[0]:
        ax.xaxis.set_major_formatter(PercentFormatter(1))
    letter(axes, ["Convex where nothing is negative", "One maximum where the line is flat"])
    figure.legend(*inequality.get_legend_handles_labels(), loc="outside upper left", ncols=len(colours))
    return figure


@styled
def crlso_equivalence(rows: pd.DataFrame) -> Figure:
    """The regret of each variant less that of the full method, with the 90 % interval that two one-sided tests at 5 %
    go by; the band is what counts as no difference. Columns: variant, difference, low, high, margin (points), verdict.
    """
    rows = rows_of(rows, "variant", "difference", "low", "high", "margin", "verdict")
    figure, axes = new_figure(0.9 + 0.2 * len(rows))
    ax, margin = axes[0, 0], rows.margin.iloc[0]
    ax.axvspan(-margin, margin, color=PALE, alpha=0.35, linewidth=0)
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    for place, row in enumerate(rows.itertuples()):
        colour, marker = VERDICTS[row.verdict]
        ax.plot([row.low, row.high], [place, place], color=colour, linewidth=1.2)
        ax.plot(row.difference, place, marker, color=colour, markersize=4)
    ax.set_yticks(range(len(rows)), rows.variant)
    ax.invert_yaxis()
    ax.set_xlabel(f"regret beyond the full method's (points, 90 % interval; band: {margin:g} points, no difference)")
    handles = [ax.plot([], [], marker, color=colour, markersize=4)[0] for colour, marker in VERDICTS.values()]
    figure.legend(handles, list(VERDICTS), loc="outside upper left", ncols=len(VERDICTS))
    return figure


def incumbents(curves: pd.DataFrame) -> Figure:
    """The figure `incumbent_curves` whose bands end at the highest accuracy that there is, in the column `most` (older
    tables have none), and whose dotted line has a name."""
    highest = curves["high"].clip(upper=curves["most"]) if "most" in curves else curves["high"]
    figure = incumbent_curves(curves.assign(high=highest))
    for ax in figure.axes:
        [best] = (line for line in ax.lines if line.get_linestyle() == ":")
        place = (0.01, best.get_ydata()[0])
        ax.text(*place, "best cell", transform=ax.get_yaxis_transform(), va="bottom", fontsize="small", color=GREY)
    return figure


def climbing_page(results: "Results", space: LatentSpace, benchmark: Table, title: str) -> HTML:
    """A page with a plane through a space, on which one climbs its convex network, or an ordinary network that learned
    the same pseudo-labels at the same codes. Measured accuracies are those of the data set with this title."""
    seed, head, convex = results.parameters["seed"], space.model.performance, space.network()
    generator = torch.Generator().manual_seed(seed)
    ordinary = InputConvexNetwork(space.codes.shape[1], constraint="none", generator=generator)
    refit(ordinary, space.codes, head.standardise(space.pseudo_labels), RefitConfig(10, 256, 0.001), generator)
    climbs = {
        f"accuracy, {kind} network": lambda z, g=g: head.unstandardise(1 - g(z / space.deviation)[0])
        for kind, g in {"convex": convex, "ordinary": ordinary}.items()
    }
    flops = next(name for name in benchmark.table if name.endswith("flops"))
    columns = {benchmark.tasks[title].valid: "judged", flops: "flops"}
    page = explorer(
        paths.FIGURES / results.profile / "07_explorer.html",
        space.model,
        benchmark.space,
        space.codes * space.deviation,
        climbs["accuracy, convex network"],
        lambda cells: benchmark.query(cells).rename(columns=columns),
        climbs,
        title=f"The latent space of CR-LSO: {title}",
        note=f"Notebook 07, profile {results.profile}, {results.data_source} table, seed {seed}. "
        "Predicted: by the convex network, also where the ordinary one is climbed. Measured: validation accuracy.",
    )
    return embedded(page, "Explorer of the latent space of CR-LSO")


def sooner_or_later(compare: pd.DataFrame, *pairs: tuple[str, str]) -> list[tuple[int, str]]:
    """For pairs of methods, in how many data sets their queries to the best cell are told apart and in whose favour:
    data sets lost less those won by the first, and a sentence. Columns: first, second, sooner, "p, optimum"."""
    said = []
    for first, second in pairs:
        part = compare[(compare["first"] == first) & (compare["second"] == second)]
        sooner = part.loc[part["p, optimum"] < 0.05, "sooner"].tolist()
        won, lost = sooner.count(first), sooner.count(second)
        words = f"sooner than {second} on {won} of {len(part)} data sets, later on {lost}; else they are not told apart"
        alone = f"{'sooner' if won else 'later' if lost else 'neither surely sooner nor surely later'} than {second}"
        said.append((lost - won, f"{first} meets the best cell {words if len(part) > 1 else alone}."))
    return said


NOTEBOOK = "07_crlso"
FIGURES: dict[str, StoredFigure] = {
    "convexity": (("gaps", "ends"), crlso_convexity),
    "against_baselines": (("curves",), incumbents),
    "optimum_met": (("found",), optimum_found),
    "equivalence": (("equivalence",), crlso_equivalence),
}
