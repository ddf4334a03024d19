"""The figures of NAS-Bench-Graph (notebook 16)."""

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from companion.figures import StoredFigure
from companion.figures.latent_search import queries_against_one_hot, still_searching
from companion.figures.shared import cells_in_rows, colour_bar, heat
from companion.figures.words import in_words, span
from latentnas.plots.style import BLUE, GREY, MARKERS, ORANGE, VERMILLION, letter, new_figure, rows_of, signed, styled
from latentnas.spaces.nasbenchgraph import NASBENCHGRAPH

BASE, CONTROL = "path-feature ensemble", "ensemble, choices alone"  # what the others are compared with; without paths
ALL = "all data sets"  # in place of one, for the mean over them


@styled
def best_of_each_shape(networks: pd.DataFrame) -> Figure:
    """Networks as graphs from left to right, arcs pass over vertices. Columns: label, arch, accuracy (percent)."""
    networks = rows_of(networks, "label", "arch", "accuracy")
    titles = [f"{row.label}: accuracy {row.accuracy:.2f} %" for row in networks.itertuples()]
    figure = cells_in_rows(NASBENCHGRAPH.to_batch(networks.arch.tolist()), NASBENCHGRAPH, titles)
    listed = (f"{title}, {arch}" for title, arch in zip(titles, networks.arch))
    figure.set_label(f"Networks drawn as trees of operations. {'; '.join(listed)}.")
    return figure


@styled
def what_says_something(correlations: pd.DataFrame) -> Figure:
    """Rank correlation with test accuracy, one row a data set, one mark for each column of the table. Columns: dataset,
    with, spearman."""
    rows = rows_of(correlations, "dataset", "with", "spearman")
    datasets, colours = list(dict.fromkeys(rows.dataset)), (BLUE, VERMILLION, ORANGE)
    figure, [[ax]] = new_figure(0.6 + 0.17 * len(datasets))
    for (name, part), colour, marker in zip(rows.groupby("with", sort=False), colours, MARKERS):
        places = [datasets.index(dataset) for dataset in part.dataset]
        ax.plot(part.spearman, places, marker, color=colour, markersize=4.5, label=name)
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(datasets)), datasets)
    ax.set(xlim=(-0.05, 1.03), ylim=(len(datasets) - 0.5, -0.5), xlabel="Spearman correlation with test accuracy")
    figure.legend(loc="outside upper left", ncols=3)
    ranges = rows.groupby("with", sort=False).spearman.agg(["min", "max"]).itertuples()
    listed = "; ".join(f"{name} {low:.2f} to {high:.2f}" for name, low, high in ranges)
    figure.set_label(f"Dots: Spearman correlation with test accuracy, over data sets. {listed}.")
    return figure


@styled
def between_data_sets(matrix: pd.DataFrame) -> Figure:
    """Rank correlations between data sets, one panel for each way to carry over. Columns: panel, learned, tested,
    spearman; with `seen`, a frame is drawn round the columns whose labels the codes had seen."""
    rows = rows_of(matrix, "panel", "learned", "tested", "spearman")
    panels, datasets = list(dict.fromkeys(rows.panel)), list(dict.fromkeys(rows.tested))
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = new_figure(2.4 * lines + 0.8, columns=columns, rows=lines)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    axes = axes.flat[: len(panels)]
    frame = {"fill": False, "edgecolor": VERMILLION, "linewidth": 1.5}
    for place, (ax, name) in enumerate(zip(axes, panels)):
        grid = rows[rows.panel == name].pivot(index="learned", columns="tested", values="spearman")
        image = heat(ax, grid.loc[datasets, datasets], min(-0.2, rows.spearman.min()), 1, "viridis", signed)
        seen = set(rows.tested[(rows.panel == name) & rows.seen.astype(bool)]) if "seen" in rows else set()
        for dataset in seen:
            ax.add_patch(Rectangle((datasets.index(dataset), 0), 1, len(datasets), clip_on=False, **frame))
        if place + columns < len(panels):  # another one stands below
            ax.set_xticklabels([])
        else:
            ax.set_xticks(ax.get_xticks(), datasets, rotation=90)
            ax.set_xlabel("evaluated on")
        ax.set_ylabel("learned from" if place % columns == 0 else "")
        ax.tick_params(labelleft=place % columns == 0)
    letter(axes, panels)
    colour_bar(figure, image, np.array(axes), "Spearman correlation", shrink=0.7, aspect=30)
    if "seen" in rows and rows.seen.any():
        words = "frame: these labels had been seen when the codes were learned"
        figure.legend([Rectangle((0, 0), 1, 1, **frame)], [words], loc="outside upper left")
    means = rows[rows.learned != rows.tested].groupby("panel", sort=False).spearman.mean()
    listed = "; ".join(f"{name} {mean:.2f}" for name, mean in means.items())
    figure.set_label(f"Tables of numbers as colours. Mean Spearman correlation between two data sets: {listed}.")
    return figure


def findings(
    target: pd.DataFrame, share: pd.DataFrame, against: pd.DataFrame, back: "pd.Series[float]",
    carried: "pd.Series[float]", parameters: "pd.Series[float]",
) -> list[str]:  # fmt: skip
    """What a run found, a point each, five at most.

    Args:
        target: The verdict of each method (a column) on each data set (a row).
        share: Runs that met the goal (percent), a row a data set, a column a method.
        against: Columns table, method, verdict: the other ensembles against the one on paths.
        back: Unseen networks given back (percent), by model.
        carried: Mean Spearman correlation on other data sets, by panel of `between_data_sets`.
        parameters: Spearman correlation of size with test accuracy, by data set.
    """
    own, some = target[BASE], int((target == "met").any(axis=1).sum())
    by_labels = "No search by labels " + (
        "reaches it." if (target == "short").all(axis=None) else "is shown to reach it."
    )
    by_labels = f"At least one search by labels reaches it on {some}." if some else by_labels
    short, reached = own.index[own == "short"], (own == "met").sum()
    missed = f" and misses it on {in_words(short)}" if len(short) else ""
    why = "too few runs" if "seen once" in {*own} else "undecided"
    rest = f" ({why}{' for the rest' * bool(reached + len(short))})" * bool(reached + len(short) < len(own))
    on_codes = against[against.method != CONTROL]
    overall, single = on_codes[on_codes.table == ALL], on_codes[on_codes.table != ALL]
    paths, surely = carried["from paths"], int((share["most parameters"] == 100).sum())
    rivals = ("random search", "regularised evolution", "most parameters")
    always = f" Yet *most parameters* always meets the goal on {surely} data set{'s' * (surely > 1)}." * bool(surely)
    return [
        f"The {BASE} reaches its target on {reached or 'none'} of {len(own)} data sets{missed}{rest}. {by_labels}",
        f"It met the goal more often than {higher(share.rsub(share[BASE], axis=0)[[*rivals]])}. "
        "No test stands behind these counts.",
        f"Beside paths, the ensemble on codes is {alike(overall)}, in the mean over the data sets. "
        f"On single data sets {counted(single.verdict)}.",
        f"The models give back {span(back)} % of unseen networks. Predictions carried over to another data set have a "
        f"mean Spearman of {paths:.2f} from paths, at most {carried.drop('from paths').max():.2f} from codes.",
        f"Parameters say little of test accuracy: Spearman {span(parameters, 2)} (figure `_correlations`).{always}",
    ]


def alike(rows: pd.DataFrame) -> str:
    """ "later for SVGe; undecided for NGAE": the models of each verdict."""
    models = rows.method.str.removeprefix("ensemble on ").str.replace(",", "")
    named = models.groupby(rows.verdict.replace("seen once", "undecided"), sort=False)
    return "; ".join(f"{word} for {in_words(group)}" for word, group in named)


def higher(leads: pd.DataFrame) -> str:
    """ "a and b on all 8 data sets, than c on 5": on how many data sets (rows) a share is higher than others'."""
    more, less, sets = (leads > 0).sum(), (leads < 0).sum(), f"{len(leads)} data set{'s' * (len(leads) > 1)}"
    everywhere, elsewhere = more[more == len(leads)], more[more < len(leads)]
    said = [f"{in_words(everywhere.index)} on all {sets}"] * bool(len(everywhere))
    if len(elsewhere):
        fewer = f" (less often on {span(less[elsewhere.index])})" * bool(less.any())
        said.append(f"{in_words(elsewhere.index)} on {span(elsewhere)}{f' of {sets}' * (not said)}{fewer}")
    return ", than ".join(said)


def counted(verdicts: "pd.Series[str]") -> str:
    """How many comparisons show more queries or fewer."""
    later, sooner = (int((verdicts == word).sum()) for word in ("later", "sooner"))
    if later or sooner:
        shown = f"codes need more queries in {later} of {len(verdicts)} comparisons, fewer in {sooner}"
        return f"{shown} (corrected within a data set only)"
    return f"none of {len(verdicts)} comparisons of codes shows more queries or fewer"


against_paths = partial(queries_against_one_hot, label="queries more than on paths", one_axis=True)
COLOURED = (BASE, CONTROL, "random search", "regularised evolution", "ensemble on SVGe", "ensemble on NGAE")
over_time = partial(still_searching, bold=BASE, named=COLOURED)

NOTEBOOK = "16_nas_bench_graph"
FIGURES: dict[str, StoredFigure] = {
    "shapes": (("shapes",), best_of_each_shape),
    "correlations": (("correlations",), what_says_something),
    "still_searching": (("still_searching",), over_time),
    "against_paths": (("against_paths",), against_paths),
    "between": (("between",), between_data_sets),
}
