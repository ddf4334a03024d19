"""The figures of the generative models side by side, the tables that are shown beside them, the readers and comparisons
that fill these, and what they say in sentences (notebook 05)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from companion.figures import StoredFigure
from companion.figures.words import listed
from latentnas import evaluate, stats
from latentnas.graphs import DagBatch, equal
from latentnas.models.family import slug
from latentnas.plots.style import (
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PALE,
    PURPLE,
    VERMILLION,
    letter,
    new_figure,
    rows_of,
    styled,
)

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

    from companion.claims import Results
    from latentnas.train import TrainConfig

QUANTITIES = ("reconstruction", "validity", "uniqueness", "novelty")
PROTOCOLS = {"published": ("o", BLUE), "clean": ("D", VERMILLION)}
SMOOTHNESS = {
    "valid": "valid graphs on a line (%)",
    "way": "changes made per change needed",
    "rank_correlation": "rank correlation of distances",
}
LABEL_COLOURS = (GREEN, PURPLE, GREY, ORANGE, BLUE)
SPACE_NAMES = {"enas": "ENAS", "nasbench201": "NAS-Bench-201", "nasbench101": "NAS-Bench-101"}
LINE_NAMES = {"valid": "valid (%)", "way": SMOOTHNESS["way"], "largest": "largest step"}
LINE_NAMES["rank_correlation"] = SMOOTHNESS["rank_correlation"]
ENOUGH = 99  # percent of graphs that come back, from which on models are compared
RIVAL = "S-VAE"  # whose space SVGe's is compared with: the simplest model, and trained on every space in every profile
TUNED = ("SVGe, fine-tuned", "SVGe, tuned to scores")  # the second gives the order, the first the accuracies
NO_TRAINING = (  # what accuracy is read from without any network
    "mean of the labels", "parameters alone", "plain graph", "graph and paths", "graph features",
    "boosting, graph features", "random forest, graph features",
)  # fmt: skip
WITHOUT_MODEL = (*NO_TRAINING, "SVGe, untrained")
WITH_CODES = ("boosting, SVGe codes", TUNED[0])  # rows beside those of the models themselves
METRICS = ("rmse", "rmse_std", "pearson", "kendall", "rmse_std, unseen classes", "kendall, unseen classes")
REPORT = ("space", "seed", "draw", "labels", "model", *METRICS)
ENDS = (
    "both wrote the same graph (%)", "forward valid (%)", "forward right (%)", "backward valid (%)",
    "backward right (%)", "united valid (%)", "united right (%)",
)  # fmt: skip
METRIC_NAMES = {"kendall": "Kendall's tau", "rmse_std": "error (st. dev.)"}
WORDS = {"met": "ahead", "short": "behind"}  # of verdicts; the others say what they are
VERDICTS = ("behind", "undecided", "equal", "ahead")  # the worst first
COMPARED = ("space", "quantity", "condition", "model", "over", "difference", "low", "high", "word")
COMPARED += ("better_in", "worse_in", "trainings")
DECODER_NAMES = {
    "edges": "all edges right",
    "types": "all types right",
    "random": "random decodes",
    "greedy": "greedy decodes",
}


@styled
def svge_quality(table: pd.DataFrame) -> Figure:
    """What each model writes, a row of panels for each space: a dot a training, both protocols.

    Columns: space, model, seed, and <quantity>_<protocol> for reconstruction, validity, uniqueness and novelty, as
    published and clean (percent).
    """
    names = [f"{quantity}_{protocol}" for quantity in QUANTITIES for protocol in PROTOCOLS]
    table = rows_of(table, "space", "model", "seed", *names)
    figure, axes, panels = grid_of(table, len(QUANTITIES))
    names = list(dict.fromkeys(table.model))
    for row, (_, rows) in zip(axes, panels):
        for ax, quantity in zip(row, QUANTITIES):
            for place, protocol in zip((-0.17, 0.17), PROTOCOLS):
                marker, colour = PROTOCOLS[protocol]
                dots(ax, rows, f"{quantity}_{protocol}", place, colour, marker, protocol_words(protocol), names)
            ax.set_xlim(-4, 104)
            some = rows[[f"{quantity}_{protocol}" for protocol in PROTOCOLS]].notna().any(axis=1)
            say_in_rows(ax, names, set(rows.model) - set(rows.model[some]), "too few valid graphs")
    for ax, quantity in zip(axes[-1], QUANTITIES):
        ax.set_xlabel(f"{quantity} (%)")
    legend_of(figure, axes, [bars(table)])
    return figure


@styled
def svge_smoothness(table: pd.DataFrame) -> Figure:
    """What happens on straight lines through each latent space: a dot a training.

    Columns: space, model, seed, valid (percent of the points), way (changes of the graph on the way by those between
    the ends), rank_correlation (of latent and edit distance), matched (whether the model reconstructs well enough to be
    compared; the others are grey, and where they would set the axis of `way` an arrow at its end stands for them).
    """
    table = rows_of(table, "space", "model", "seed", "matched", *SMOOTHNESS)
    figure, axes, panels = grid_of(table, len(SMOOTHNESS))
    names = list(dict.fromkeys(table.model))
    widest = 1.2 * table.way[table.matched].max()
    cut = table.way.max() > widest
    for row, (_, rows) in zip(axes, panels):
        for ax, column in zip(row, SMOOTHNESS):
            if column == "way":
                ax.axvline(1, color=PALE, linewidth=0.8, linestyle=":", label="1: no detour")
            for colour, matched, words in (
                (BLUE, True, "gives back 99 % or more"),
                (GREY, False, "gives back less than 99 %"),
            ):
                some = rows[rows.matched == matched]
                if column == "way" and cut:
                    beyond = [names.index(name) for name in dict.fromkeys(some.model[some.way > widest])]
                    (arrows,) = ax.plot([widest] * len(beyond), beyond, ">", color=colour, markersize=4, clip_on=False)
                    arrows.set_in_layout(False)
                    some = some[some.way <= widest]
                dots(ax, some, column, 0, colour, "o", words, names)
            ax.margins(x=0.08)
    for ax, words in zip(axes[-1], SMOOTHNESS.values()):
        ax.set_xlabel(words)
    if cut:
        axes[0, 1].set_xlim(min(table.way.min(), 1) - 0.05 * widest, widest)
        axes[-1, 1].set_xlabel(f"{SMOOTHNESS['way']}\n(arrows: over {widest:.2g})")
    legend_of(figure, axes, [bars(table)])
    return figure


@styled
def svge_prediction(reports: pd.DataFrame) -> Figure:
    """How well accuracies are ordered from a few labels, a panel for each space: a dot a training or, where nothing is
    trained, a draw of labels.

    Columns: space, model (what the accuracy is read from), seed, labels (how many), kendall (with the true accuracy),
    and unit as in `reports_table` (in older tables the seed); rows of one unit are averaged. What needs no trained
    model stands above the line.
    """
    reports = rows_of(reports, "space", "model", "seed", "labels", "kendall").dropna(subset="kendall")
    reports = reports if "unit" in reports else reports.assign(unit=reports["seed"])
    reports = reports.groupby(["space", "model", "seed", "unit", "labels"], sort=False)["kendall"].mean().reset_index()
    spaces = list(reports.groupby("space", sort=False))
    names = list(dict.fromkeys(reports.model))
    figure, axes = new_figure(0.8 + 0.19 * len(names), columns=len(spaces), sharey=True)
    for ax, (_, rows) in zip(axes[0], spaces):
        counts = list(rows.groupby("labels"))
        for place, (number, part) in enumerate(counts):
            offset = 0.3 * (place - (len(counts) - 1) / 2)
            colour, marker = LABEL_COLOURS[place % len(LABEL_COLOURS)], MARKERS[place % len(MARKERS)]
            dots(ax, part, "kendall", offset, colour, marker, f"{number:,} labels", names)
        ax.set_xlabel("Kendall's tau")
        say_what_is_missing(ax, rows, names)
        free = sum(name in WITHOUT_MODEL for name in names)
        if list(names[:free]) == [name for name in names if name in WITHOUT_MODEL]:
            ax.axhline(free - 0.5, color=PALE, linewidth=0.8)
    rows_named(axes[0, 0], names)
    letter(axes, [SPACE_NAMES.get(space, space) for space, _ in spaces])
    line = Line2D(
        [],
        [],
        color=PALE,
        linewidth=0.8,
        label="above: no trained autoencoder; marks: draws of labels (SVGe: of weights)",
    )
    legend_of(figure, axes, [line, said("each panel has its own axis") if len(spaces) > 1 else None])
    return figure


def legend_of(figure: Figure, axes: np.ndarray, more: Sequence[Line2D | None]) -> None:
    """One legend for all panels: what is drawn in any of them, and `more`."""
    handles = {text: handle for ax in axes.flat for handle, text in zip(*ax.get_legend_handles_labels())}
    handles |= {handle.get_label(): handle for handle in more if handle}
    look = {"loc": "outside upper left", "columnspacing": 1.2}
    for columns in range(5, 0, -1):  # the most that are no wider than the figure
        legend = figure.legend(handles.values(), handles.keys(), ncols=columns, **look)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()


def bars(table: pd.DataFrame) -> Line2D | None:
    """What the bars of `dots` are, where a model has several trainings."""
    several = table.groupby(["space", "model"])["seed"].nunique().max() > 1
    return Line2D([], [], color=GREY, linewidth=0.8, label="bar: range of the trainings") if several else None


def said(words: str) -> Line2D:
    """A line of a legend that stands for nothing drawn."""
    return Line2D([], [], linestyle="none", label=words)


def grid_of(table: pd.DataFrame, columns: int) -> tuple:
    """A row of panels for each space with the models as rows in each; (figure, axes, [(space, its rows)])."""
    panels = list(table.groupby("space", sort=False))
    names = list(dict.fromkeys(table.model))
    height = 0.8 + len(panels) * (0.35 + 0.14 * len(names))
    figure, axes = new_figure(height, columns=columns, rows=len(panels), sharex="col", sharey=True)
    rows_named(axes[0, 0], names)
    for ax in axes.flat:
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color=PALE, linewidth=0.3)
    for ax, (_, rows) in zip(axes[:, 0], panels):
        say_what_is_missing(ax, rows, names)
    letter(axes[:, 0], [SPACE_NAMES.get(space, space) for space, _ in panels])
    return figure, axes, panels


def dots(
    ax: Axes,
    rows: pd.DataFrame,
    column: str,
    place: float,
    colour: str,
    marker: str,
    label: str | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """The values of every model in its row, shifted by `place`, and a line through their range."""
    names = names or list(dict.fromkeys(rows.model))
    for number, name in enumerate(names):
        values = rows.loc[rows.model == name, column].dropna()
        if len(values):
            height = np.full(len(values), number + place)
            ax.plot([values.min(), values.max()], height[:1].repeat(2), color=colour, linewidth=0.8, alpha=0.5)
            ax.plot(
                values, height, marker, color=colour, markersize=3, markeredgewidth=0, alpha=0.8, linestyle="none",
                label=label,
            )  # fmt: skip
            label = None  # one entry in a legend is enough


def say_what_is_missing(ax: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    """A word in each row whose model has no values on this space, lest it look like a value that is not seen."""
    say_in_rows(ax, names, set(names) - set(rows.model), "not trained here")


def say_in_rows(ax: Axes, names: Sequence[str], which: Collection[str], words: str) -> None:
    look = {"va": "center", "fontsize": 6, "color": GREY, "bbox": {"facecolor": "white", "linewidth": 0, "pad": 1}}
    for number, name in enumerate(names):
        if name in which:
            ax.text(0.03, number, words, transform=ax.get_yaxis_transform(), **look)


def rows_named(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


def protocol_words(protocol: str) -> str:
    return {"published": "as published", "clean": "clean"}[protocol]


def sizes_of(domain: Any) -> dict[str, object]:
    """What a space's graphs are like, a row of a table: `domain` has space, train, validation, test and train_labels,
    and `table`, where the labels come from."""
    vertices, edges, labels = domain.train.num_vertices, domain.train.adjacency.sum(dim=(1, 2)), domain.train_labels
    return {
        "train": len(domain.train),
        "validation": len(domain.validation),
        "test": len(domain.test),
        "types": domain.space.num_types,
        "vertices": f"{vertices.min()} to {vertices.max()}",
        "edges": f"{edges.min()} to {edges.max()}",
        "labels": "none" if labels is None else domain.table,
        "their st. dev. (points)": "" if labels is None else f"{labels.std():.2f}",
    }


def with_interval(values: pd.Series, digits: int = 1) -> str:
    """Mean over the seeds, and half the width of its 95 % interval where there are several; "" without any."""
    values = values.dropna()
    low, high = stats.mean_interval(values) if len(values) else (0, 0)
    spread = f" ± {(high - low) / 2:.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}" if len(values) else ""


def means(
    table: pd.DataFrame, by: Sequence[str], columns: Mapping[str, str] | Sequence[str], digits: int = 1
) -> pd.DataFrame:
    """Columns of a table as means with intervals, one row a group, under new names where these are given."""
    groups = table.groupby(list(by), sort=False)[list(columns)]
    shown = groups.agg(lambda values: with_interval(values, digits)).rename(index=SPACE_NAMES)
    return shown.rename(columns=columns) if isinstance(columns, Mapping) else shown


def training_table(soon: pd.DataFrame, schedules: Mapping[tuple[str, str], "TrainConfig"]) -> pd.DataFrame:
    """How soon each model gave the held-out graphs back, for readers; `schedules` by space and model.

    Columns, one row a training: space, model, epoch (the last), reconstruction (percent, then), steps and minutes
    (until 99 % came back, NaN where that never happened).
    """
    models = soon.groupby(["space", "model"], sort=False)

    def median(values: pd.Series, digits: int) -> str:
        middle = values.fillna(np.inf).median()
        return f"{middle:.{digits}f}" if np.isfinite(middle) else ""

    shown = pd.DataFrame(
        {
            "epochs": models["epoch"].max(),
            "held-out graphs that come back (%)": models["reconstruction"].agg(with_interval),
            "steps to 99 %": models["steps"].agg(median, 0),
            "minutes to 99 %": models["minutes"].agg(median, 1),
            "trainings that came to 99 %": models["steps"].agg(lambda values: f"{values.count()} of {len(values)}"),
        }
    )
    used = [schedules[key] for key in shown.index]
    shown["optimiser and rate"] = [f"{schedule.optimizer}, {schedule.learning_rate:g}" for schedule in used]
    return shown.rename(index=SPACE_NAMES)


def quality_table(rows: pd.DataFrame, caption: str) -> "Styler":
    """What each model writes on one space, both protocols. Columns as of `svge_quality`, and weights (how many)."""
    models = rows.groupby("model", sort=False)
    columns = [(quantity, protocol) for protocol in PROTOCOLS for quantity in QUANTITIES]
    shown = models[["_".join(column) for column in columns]].agg(with_interval)
    shown.columns = pd.MultiIndex.from_tuples([(protocol_words(of), f"{quantity} (%)") for quantity, of in columns])
    shown["", "weights (M)"] = (models["weights"].first() / 1e6).map("{:.2f}".format)
    return shown.style.set_caption(caption)


def ends_as_written(batch: DagBatch) -> torch.Tensor:
    """Which graphs, bool `[B]`, have the edges into their output that D-VAE's decoder gives every graph: one from each
    vertex without another successor. No other graph can come back from it, however long it trains."""
    place, output = torch.arange(batch.adjacency.shape[1]), batch.num_vertices[:, None] - 1
    into = (batch.adjacency & (place == output)[:, None, :]).any(dim=2)
    others = (batch.adjacency & (place != output)[:, None, :]).any(dim=2)
    return (into == ~others & (place < output)).all(dim=1)


def ends_table(written: Mapping[tuple, Sequence[DagBatch]], domains: Mapping[str, Any]) -> pd.DataFrame:
    """How often both ends wrote the same graph, and what is valid of theirs and of the united one, and equal to the
    test graph (percent). `written` has the three for each training: forward, backward, united. Columns: space, model,
    seed, `ENDS` and gain, of the united over the forward graph."""
    rows = []
    for (place, model, seed), graphs in written.items():
        found = [equal(graphs[0], graphs[1])]
        for of_end in graphs:
            found += [domains[place].space.is_valid(of_end), equal(of_end, domains[place].test.to("cpu"))]
        rows.append([place, model, seed, *(100 * float(torch.as_tensor(true).double().mean()) for true in found)])
    table = pd.DataFrame(rows, columns=["space", "model", "seed", *ENDS])
    return table.assign(gain=table["united right (%)"] - table["forward right (%)"])


def by_mean(points: torch.Tensor, labels: np.ndarray) -> list[Callable]:
    """Predictors of accuracy and of order, as of all readers: here the mean for both."""
    return [lambda asked: np.full(len(asked), labels.mean())] * 2


def by_process(points: torch.Tensor, labels: np.ndarray) -> list[Callable]:
    """Gaussian processes fitted to accuracies and to their normal scores."""
    return [evaluate.GPProbe(points, goal) for goal in (labels, stats.normal_scores(labels))]


def by_trees(method: str, trees: int, points: torch.Tensor, labels: np.ndarray) -> list[Callable]:
    """The same by "boosting" or "random forest" of so many trees, with settings of the least cross-validated error."""
    from sklearn.base import clone  # scikit-learn takes a second
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.model_selection import GridSearchCV

    if method == "boosting":
        model = HistGradientBoostingRegressor(max_iter=trees, random_state=0)
        grid = {"learning_rate": [0.03, 0.1, 0.3], "max_leaf_nodes": [4, 16]}
    else:
        model = RandomForestRegressor(trees, random_state=0)
        grid = {"max_features": [0.2, 0.5, 1.0], "min_samples_leaf": [1, 3]}
    search = GridSearchCV(model, grid, scoring="neg_root_mean_squared_error", cv=5).fit(points.numpy(), labels)
    ordered = clone(search.best_estimator_).fit(points.numpy(), stats.normal_scores(labels))
    return [lambda asked, of=of: of.predict(asked.numpy()) for of in (search.best_estimator_, ordered)]


def report(domain: Any, predicted: np.ndarray, order: np.ndarray) -> dict[str, float | None]:
    """`METRICS`: errors by one prediction, orders by another; of all test graphs, and of those without a twin in
    training. Errors count in standard deviations of all training labels, whichever of them were used."""
    found, base = [], (domain.train_labels.mean(), domain.train_labels.std())
    for rows in (np.full(len(order), True), domain.unseen):
        errors, ranks = (
            stats.regression_report(domain.test_labels[rows], values[rows], *base) if rows.sum() > 1 else {}
            for values in (predicted, order)
        )
        found += [errors.get("rmse"), errors.get("rmse_std"), errors.get("pearson"), ranks.get("kendall")]
    return dict(zip(METRICS, [*found[:4], found[5], found[7]], strict=True))


def reports_table(answers: Sequence[Mapping[str, Any]], models: Sequence[str]) -> pd.DataFrame:
    """The columns `REPORT` in order, and unit: what is drawn anew, a training's seed or, where nothing is trained, a
    draw of labels."""
    table = pd.DataFrame(answers, columns=list(REPORT)).astype(dict.fromkeys(METRICS, float))
    draws = table["draw"].where(table["model"].isin(NO_TRAINING), 0)
    return in_order(table.assign(unit=table["seed"] + 1000 * draws), models)


def prediction_tables(rows: pd.DataFrame) -> list["Styler"]:
    """What each reader predicts on one space, for each number of labels: of all test graphs and, where these are not
    all, of those of unseen classes. Draws of one training are averaged first."""
    found = []
    for ending in ("", ", unseen classes"):
        names = {f"{metric}{ending}": words for metric, words in METRIC_NAMES.items()}
        if ending and (rows[[*names]].isna().all(axis=None) or rows["rmse_std"].equals(rows[f"rmse_std{ending}"])):
            continue
        means_of = rows.groupby(["labels", "model", "unit"], sort=False)[[*names]].mean().reset_index()
        shown = means(means_of, ["model", "labels"], names, 3).unstack("labels", sort=False)
        caption = f"{SPACE_NAMES[rows['space'].iloc[0]]}{ending}" + ("" if ending else behind_untrained(rows))
        found.append(shown.style.format(na_rep="").set_caption(caption))
    return found


def behind_untrained(rows: pd.DataFrame) -> str:
    """Which models' codes order accuracies worse, in the mean, than those of an encoder that was not trained."""
    taus = rows.groupby(["labels", "model"], sort=False)["kendall"].mean()
    words = ""
    for count, of_count in taus.groupby(level="labels"):
        of_models = of_count.droplevel("labels")
        names = [name for name in of_models.index if name not in (*WITHOUT_MODEL, *WITH_CODES)]
        behind = [name for name in names if of_models[name] < of_models.get("SVGe, untrained", -np.inf)]
        words += f"; below SVGe untrained with {count:,} labels: {'; '.join(behind)}" if behind else ""
    return words


def in_order(table: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """First the rows without a trained model, then the models."""
    order = [*WITHOUT_MODEL, *models, *WITH_CODES]
    return table.sort_values("model", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def compare(
    results: "Results",
    domains: Mapping[str, Any],
    table: pd.DataFrame,
    column: str,
    pairs: Sequence[tuple[str, str]],
    condition: str,
    better: str = "higher",
    alone: tuple[str, str, str] | None = None,
) -> list[dict[str, object]]:
    """Claims of how far the first model of each pair is above the second, paired by seed and draw of labels. Draws of
    one seed are averaged. The pairs of one space are a family (Holm), but for the pair `alone`: space and models.

    Returns:
        The columns `COMPARED`, one row a claim; better_in and worse_in are the numbers of trainings in which
            the first was better and worse.
    """
    found = []
    for place, rows in table.groupby("space", sort=False):
        wide = rows.pivot(index=["seed", "draw"], columns="model", values=column)
        families: tuple[dict, dict] = {}, {}
        for name, over in pairs:
            gap = (wide[name] - wide[over]).dropna() if {name, over} <= {*wide} else []
            if len(gap):
                id = f"{slug(name)}.{domains[place].table}.{column}_over_{slug(over)}@{condition}"
                families[(place, name, over) == alone][id] = name, over, gap
        for family in families:
            results.holm({id: partial(_lead, results, id, gap, better) for id, (_, _, gap) in family.items()})
            for id, (name, over, gap) in family.items():
                claim, leads = results.claims[id], gap.groupby(level="seed").mean() * (-1 if better == "lower" else 1)
                word = "equal" if claim.verdict == "undecided" and not leads.any() else WORDS.get(claim.verdict)
                row = (place, column, condition, name, over, claim.ours, claim.low, claim.high)
                row += (word or claim.verdict, int((leads > 0).sum()), int((leads < 0).sum()), len(leads))
                found.append(dict(zip(COMPARED, row, strict=True)))
    return found


def _lead(results: "Results", id: str, gap: pd.Series, better: str, family: int) -> None:
    seeds = gap.index.get_level_values("seed").tolist()
    results.estimate(id, gap, "difference", clusters=seeds, family=family, target=0.0, better=better)


def versus(comparisons: Sequence[Mapping[str, Any]], quantities: Sequence[str]) -> pd.DataFrame:
    """Comparisons for readers, a row each: difference, interval, verdict, and in how many trainings the first is
    better."""
    table = pd.DataFrame(comparisons, columns=list(COMPARED))
    table = table[table["quantity"].isin(quantities)]
    what = [SMOOTHNESS.get(row.quantity, row.condition.replace("labels_", "labels: ")) for row in table.itertuples()]
    index = pd.MultiIndex.from_arrays(
        [table["space"].replace(SPACE_NAMES), what, table["model"], table["over"]],
        names=["space", "compared", "model", "against"],
    )
    rows = [
        {
            "difference": f"{row.difference:+.3f}",
            "95 % interval": "" if pd.isna(row.low) else f"{row.low:.3f} to {row.high:.3f}",
            "verdict": row.word,
            "better in": f"{row.better_in} of {row.trainings} training{'s' if row.trainings > 1 else ''}",
        }
        for row in table.itertuples()
    ]
    return pd.DataFrame(rows, index, columns=["difference", "95 % interval", "verdict", "better in"])


def on_spaces(words: Mapping[str, str], order: Sequence[str] = VERDICTS) -> str:
    """ "behind on ENAS and NAS-Bench-101, ahead on NAS-Bench-201" from what is true of each space."""
    spaces = {word: [SPACE_NAMES[place] for place in words if words[place] == word] for word in order}
    return ", ".join(f"{word} on {listed(found)}" for word, found in spaces.items() if found)


def in_trainings(hits: int, all: int) -> str:
    return "in every training" if hits == all else "in no training" if not hits else f"in {hits} of {all} trainings"


def findings(
    quality: pd.DataFrame,
    bounds: pd.DataFrame,
    lines: pd.DataFrame,
    comparisons: pd.DataFrame,
    primary: tuple[str, str, str],
    labels: Sequence[int],
) -> list[str]:
    """What a run found, a sentence or two for each point, those against SVGe and the models first.

    Args:
        quality, bounds, lines: what the figures and the table of bounds show. Columns as there.
        comparisons: the columns `COMPARED`.
        primary: space, model and rival of the comparison that was fixed beforehand.
        labels: the fewest and the most.
    """
    ranked = [back_in_words(quality, bounds)]
    if len(quality) and (trainings := quality.groupby(["space", "model"]).size().max()) < 3:
        return [ranked[0][1], *seen_in_words(trainings, lines, comparisons, primary, labels)]
    few, most = (comparisons[comparisons["condition"] == f"labels_{count}"] for count in labels)
    ranked += smooth_in_words(lines, comparisons[comparisons["condition"] == "matched"])
    ranked.append(codes_in_words(few[few["model"] != TUNED[0]], primary))
    ranked += tuning_in_words(most[most["model"] == TUNED[0]])
    return [words for _, words in sorted(ranked, key=lambda pair: pair[0])]


def seen_in_words(
    trainings: int, lines: pd.DataFrame, comparisons: pd.DataFrame, primary: tuple[str, str, str], labels: Sequence[int]
) -> list[str]:
    """What too few trainings show, sign and size, once it is said that they decide nothing."""
    number = {1: "one training of each model decides", 2: "two trainings of each model decide"}[trainings]
    found, (place, model, over) = [], primary
    of_lines = lines[lines["matched"]].groupby(["space", "model"], sort=False)[["way", "rank_correlation"]].mean()
    if {(place, "SVGe"), (place, RIVAL)} <= {*of_lines.index}:
        ours, theirs = of_lines.loc[(place, "SVGe")], of_lines.loc[(place, RIVAL)]
        more = "more" if ours["way"] > theirs["way"] else "fewer"
        better = "better" if ours["rank_correlation"] > theirs["rank_correlation"] else "worse"
        found.append(
            f"On straight lines on {SPACE_NAMES[place]}, SVGe makes {more} changes for each one needed than {RIVAL} "
            f"({ours['way']:.2f} against {theirs['way']:.2f}). Its codes keep the order of distances {better} "
            f"({ours['rank_correlation']:.2f} against {theirs['rank_correlation']:.2f})."
        )
    gaps = comparisons.set_index(["condition", "space", "model", "over"])["difference"]
    few = gaps.get(f"labels_{labels[0]}", pd.Series(dtype=float))
    if (place, model, over) in few.index:
        gap, codes = few[place, model, over], few[few.index.get_level_values("model") != TUNED[0]]
        worse = {0: "none", len(codes): "all"}.get((codes < 0).sum(), (codes < 0).sum())
        found.append(
            f"With few labels on {SPACE_NAMES[place]}, Kendall's tau from {model}'s codes is {abs(gap):.2g} "
            f"{'below' if gap < 0 else 'above'} that from the graph itself (*{over}*). Of {len(codes)} cases (a model "
            f"on a space) {worse} have codes worse than that."
        )
    tuned = [gaps.get((f"labels_{labels[1]}", place, TUNED[0], other)) for other in (over, "SVGe")]
    if None not in tuned:
        sides = [f"{abs(gap):.2g} {'below' if gap < 0 else 'above'}" for gap in tuned]
        found.append(f"Fine-tuned on many labels, SVGe's tau is {sides[0]} *{over}* and {sides[1]} its own codes.")
    head = f"Undecided: {number} nothing about SVGe's space, its codes and its fine-tuning"
    return [f"{head}; what follows is only what was seen.", *found] if found else [f"{head}."]


def rank_of(words: Collection[str]) -> int:
    """0 where anything is behind, 2 where all is ahead, else 1."""
    return 0 if {"behind", "less smooth"} & {*words} else 2 if words and {*words} <= {"ahead", "smoother"} else 1


def back_in_words(quality: pd.DataFrame, bounds: pd.DataFrame) -> tuple[int, str]:
    """Which models give graphs back, and what D-VAE's decoder cannot write (both by drawn decodes)."""
    columns = ["reconstruction_clean", "reconstruction_published"]
    means_of = quality.groupby(["space", "model"], sort=False)[columns].mean()
    short = means_of.index[means_of["reconstruction_clean"] < ENOUGH]
    words = (
        f"One greedy decode returns at least {ENOUGH} % of the test graphs for "
        f"{len(means_of) - len(short) or 'none'} of {len(means_of)} cases (a model on a space)"
    )
    if 0 < len(short) <= 6:
        shown = short.get_level_values("model").str.replace("^(.*), (.*)$", r"\1 (\2)", regex=True)
        of_spaces = pd.Series(shown, short.get_level_values("space"))
        names = [f"{listed([*of])} on {SPACE_NAMES[place]}" for place, of in of_spaces.groupby(level=0, sort=False)]
        words += f"; not for {listed(names)}"
    limits = bounds[(bounds["variant"] == "as published") & (bounds["graphs"] == "test")].set_index("space")["random"]
    limits = limits[[place for place in limits.index if (place, "D-VAE") in means_of.index and limits[place] < ENOUGH]]
    if len(limits):
        place = limits.idxmin()
        found = f"{means_of['reconstruction_published'][place, 'D-VAE']:.2g} % come back"
        words = (
            f"At most {limits[place]:.2g} % of random decodes of D-VAE can be right on test graphs of "
            f"{SPACE_NAMES[place]}; {found}. {words}"
        )
    return 0 if len(short) else 2, f"{words}."


def smooth_in_words(lines: pd.DataFrame, comparisons: pd.DataFrame) -> list[tuple[int, str]]:
    """Whether SVGe's space is smoother than its rival's by both measures, and in how many trainings by each."""
    one_each, answers, missing = "smoother by one measure and less smooth by the other", {}, []
    for place, rows in lines.groupby("space", sort=False):
        if words := sorted(comparisons["word"][comparisons["space"] == place]):
            alike = {"ahead": "smoother", "behind": "less smooth"}.get(words[0]) if words[1:] == words[:1] else None
            answers[place] = one_each if words == ["ahead", "behind"] else alike or "undecided"
            continue
        for model in ("SVGe", RIVAL):
            if not (of_model := rows["matched"][rows["model"] == model]).any():
                why = "was not trained" if of_model.empty else f"gave back less than {ENOUGH} % of held-out graphs"
                missing.append(f"not compared on {SPACE_NAMES[place]}, where {model} {why}")
                break
    if not answers:
        return [(1, f"Not measured: whether SVGe's space is smoother than {RIVAL}'s ({'; '.join(missing)}).")]
    found = {*answers.values()}
    lead = "Not on every space" if {"less smooth", one_each} & found else "Not decided on every space"
    if len(found) == 1:
        lead = {"smoother": "Yes", "less smooth": "No", "undecided": "Undecided"}.get(*found, "Yes and no")
    sides = on_spaces(answers, ("less smooth", one_each, "undecided", "smoother"))
    told = [f"{lead}: by both measures together, SVGe's space against {RIVAL}'s is {'; '.join([sides, *missing])}."]
    counts = comparisons.groupby("quantity")[["better_in", "trainings"]].sum()
    measures = {
        "way": f"On straight lines SVGe makes fewer changes than {RIVAL}",
        "rank_correlation": f"Its codes keep the order of the graphs' distances better than {RIVAL}'s",
    }
    each = [f"{words} {in_trainings(*counts.loc[name])}." for name, words in measures.items() if name in counts.index]
    return [(rank_of(found), words) for words in (*told, " ".join(each))]


def codes_in_words(comparisons: pd.DataFrame, primary: tuple[str, str, str]) -> tuple[int, str]:
    """Whether accuracy is easier to read from SVGe's codes than from the graph, and from those of all models."""
    place, model, over = primary
    alone = comparisons[(comparisons["space"] == place) & (comparisons["model"] == model)]
    question = f"accuracy is easier to read from {model}'s codes than from the graph itself (*{over}*)"
    where, rank = f"on {SPACE_NAMES[place]} with few labels", 1
    if alone.empty:
        found = f"Not measured: whether {question} {where}"
    else:
        row = alone.iloc[0]
        rank = rank_of([row.word])
        side, hits = ("lower", row.worse_in) if row.difference < 0 else ("higher", row.better_in)
        tau = f"Kendall's tau is {abs(row.difference):.2g} {side}"
        found = {
            "behind": f"No: {where} {question.replace('easier', 'harder')}; {tau}",
            "ahead": f"Yes: {where} {question}; {tau}",
            "equal": f"No: {where} {question.replace('easier', 'as easy').replace('than', 'as')}",
        }.get(
            row.word,
            f"Undecided: whether {question} {where}; {tau} on average, {side} {in_trainings(hits, row.trainings)}",
        )
    if len(comparisons) > len(alone):
        worse, better = ((comparisons[side] == comparisons["trainings"]).sum() for side in ("worse_in", "better_in"))
        worse, better = ({0: "none", len(comparisons): "all"}.get(number, number) for number in (worse, better))
        found += (
            f". Of {len(comparisons)} cases (a model on a space) the codes of {worse} are worse in every training, "
            f"those of {better} better"
        )
    return rank, f"{found}."


def tuning_in_words(comparisons: pd.DataFrame) -> list[tuple[int, str]]:
    """How SVGe, fine-tuned on accuracies, compares with the graph itself and with its own codes."""
    words = {over: dict(zip(rows["space"], rows["word"])) for over, rows in comparisons.groupby("over")}
    found = [
        f"{text} {on_spaces(words[over])}."
        for over, text in (
            ("graph and paths", "Fine-tuned on many labels, SVGe compared with *graph and paths* is"),
            ("SVGe", "Compared with a Gaussian process on its own codes it is"),
        )
        if over in words
    ]
    return [(rank_of(words["graph and paths"].values()), " ".join(found))] if "graph and paths" in words else []


NOTEBOOK = "05_svge"
FIGURES: dict[str, StoredFigure] = {
    "quality": (("quality",), svge_quality),
    "smoothness": (("lines",), svge_smoothness),
    "prediction": (("prediction",), svge_prediction),
}
