"""The figures of the generative models side by side, the tables that are shown beside them, and the readers and
comparisons that fill these (notebook 05)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from companion.figures import StoredFigure
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
    "way": "changes made / needed",
    "rank_correlation": "rank correlation of distances",
}
LABEL_COLOURS = (VERMILLION, BLUE, GREY, GREEN, ORANGE)
SPACE_NAMES = {"enas": "ENAS", "nasbench201": "NAS-Bench-201", "nasbench101": "NAS-Bench-101"}
LINE_NAMES = {"valid": "valid (%)", "way": "way / ends", "largest": "largest", "rank_correlation": "rank correlation"}
TUNED = ("SVGe, fine-tuned", "SVGe, tuned to scores")  # the second gives the order, the first the accuracies
NO_TRAINING = (  # what accuracy is read from without any network
    "mean of the labels", "parameters alone", "plain graph", "graph and paths", "graph features",
    "boosting, graph features", "random forest, graph features",
)  # fmt: skip
WITHOUT_MODEL = (*NO_TRAINING, "SVGe, untrained")
ALIKE = [("SVGe, fine-tuned", "SVGe"), ("boosting, SVGe codes", "boosting, graph features")]
METRICS = ("rmse", "rmse_std", "pearson", "kendall", "rmse_std, unseen classes", "kendall, unseen classes")
REPORT = ("space", "seed", "draw", "labels", "model", *METRICS)
ENDS = (
    "both wrote the same graph (%)", "forward valid (%)", "forward right (%)", "backward valid (%)",
    "backward right (%)", "united valid (%)", "united right (%)",
)  # fmt: skip
WORDS = {"met": "ahead", "short": "behind"}  # of verdicts; the others say what they are
COMPARED = ("space", "quantity", "condition", "model", "over", "difference", "low", "high", "word")
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
    for ax, quantity in zip(axes[-1], QUANTITIES):
        ax.set_xlabel(f"{quantity} (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


@styled
def svge_smoothness(table: pd.DataFrame) -> Figure:
    """What happens on straight lines through each latent space: a dot a training.

    Columns: space, model, seed, valid (percent of the points), way (changes of the graph on the way by those between
    the ends), rank_correlation (of latent and edit distance), matched (whether the model reconstructs well enough to be
    compared; the others are grey).
    """
    table = rows_of(table, "space", "model", "seed", "matched", *SMOOTHNESS)
    figure, axes, panels = grid_of(table, len(SMOOTHNESS))
    names = list(dict.fromkeys(table.model))
    for row, (_, rows) in zip(axes, panels):
        for ax, column in zip(row, SMOOTHNESS):
            if column == "way":
                ax.axvline(1, color=PALE, linewidth=0.8, linestyle=":")  # the best there can be
            for colour, some in ((BLUE, rows[rows.matched]), (GREY, rows[~rows.matched])):
                dots(ax, some, column, 0, colour, "o", names=names)
            ax.margins(x=0.08)
    for ax, words in zip(axes[-1], SMOOTHNESS.values()):
        ax.set_xlabel(words)
    widest = 1.2 * table.way[table.matched].max()
    if table.way.max() > widest:  # the grey ones must not set the axis
        axes[0, 1].set_xlim(min(table.way.min(), 1) - 0.05 * widest, widest)
        axes[-1, 1].set_xlabel(f"{SMOOTHNESS['way']} (cut at {widest:.2g})")
    return figure


@styled
def svge_prediction(reports: pd.DataFrame) -> Figure:
    """How well accuracies are ordered from a few labels, a panel for each space: a dot a training.

    Columns: space, model (what the accuracy is read from), seed, labels (how many), kendall (with the true accuracy);
    the draws of labels of one seed are averaged. What needs no trained model stands above the line.
    """
    reports = rows_of(reports, "space", "model", "seed", "labels", "kendall").dropna(subset="kendall")
    reports = reports.groupby(["space", "model", "seed", "labels"], sort=False)["kendall"].mean().reset_index()
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
    handles = {text: handle for ax in axes.flat for handle, text in zip(*ax.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=4)
    return figure


def grid_of(table: pd.DataFrame, columns: int) -> tuple:
    """A row of panels for each space with the models as rows in each; (figure, axes, [(space, its rows)])."""
    panels = list(table.groupby("space", sort=False))
    names = list(dict.fromkeys(table.model))
    height = 0.6 + len(panels) * (0.35 + 0.14 * len(names))
    figure, axes = new_figure(height, columns=columns, rows=len(panels), sharex="col", sharey=True)
    rows_named(axes[0, 0], names)
    for ax in axes.flat:
        ax.tick_params(axis="y", length=0)
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
    where = ax.get_yaxis_transform()
    for number, name in enumerate(names):
        if name not in set(rows.model):
            ax.text(0.03, number, "not trained here", transform=where, va="center", fontsize=6, color=GREY)


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
    shown = groups.agg(lambda values: with_interval(values, digits))
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
            "validation (%)": models["reconstruction"].agg(with_interval),
            "steps to 99 %": models["steps"].agg(median, 0),
            "minutes to 99 %": models["minutes"].agg(median, 1),
            "trainings that came to 99 %": models["steps"].agg(lambda values: f"{values.count()} of {len(values)}"),
        }
    )
    used = [schedules[key] for key in shown.index]
    shown["rate"] = [f"{schedule.optimizer}, {schedule.learning_rate:g}" for schedule in used]
    return shown


def quality_table(rows: pd.DataFrame, caption: str) -> "Styler":
    """What each model writes on one space, both protocols. Columns as of `svge_quality`, and weights (how many)."""
    models = rows.groupby("model", sort=False)
    columns = [f"{quantity}_{protocol}" for protocol in PROTOCOLS for quantity in QUANTITIES]
    shown = models[columns].agg(with_interval)
    shown.columns = pd.MultiIndex.from_tuples([column.split("_")[::-1] for column in columns])
    shown["", "weights (M)"] = (models["weights"].first() / 1e6).map("{:.2f}".format)
    return shown.style.set_caption(caption)


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


def prediction_table(rows: pd.DataFrame) -> "Styler":
    """What each reader predicts on one space, for each number of labels; draws of one training are averaged first."""
    columns = ["kendall", "rmse_std", "kendall, unseen classes", "rmse_std, unseen classes"]
    means_of = rows.groupby(["labels", "model", "unit"], sort=False)[columns].mean().reset_index()
    shown = means(means_of, ["model", "labels"], columns, 3).unstack("labels", sort=False)
    return shown.style.format(na_rep="").set_caption(SPACE_NAMES[rows["space"].iloc[0]])


def in_order(table: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """First the rows without a trained model, then the models."""
    order = [*WITHOUT_MODEL, *models, ALIKE[1][0], TUNED[0]]
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
        The columns `COMPARED`, one row a claim.
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
            for id, (name, over, _) in family.items():
                claim = results.claims[id]
                word = WORDS.get(claim.verdict, claim.verdict)
                row = (place, column, condition, name, over, claim.ours, claim.low, claim.high, word)
                found.append(dict(zip(COMPARED, row, strict=True)))
    return found


def _lead(results: "Results", id: str, gap: pd.Series, better: str, family: int) -> None:
    seeds = gap.index.get_level_values("seed").tolist()
    results.estimate(id, gap, "difference", clusters=seeds, family=family, target=0.0, better=better)


def versus(
    comparisons: Sequence[Mapping[str, Any]], quantities: Sequence[str], index: str, columns: Sequence[str]
) -> pd.DataFrame:
    """Differences with their verdicts, a row for each space and `index`; `columns` is what stands side by side."""
    table = pd.DataFrame(comparisons, columns=list(COMPARED))
    table = table[table["quantity"].isin(quantities)]
    table["text"] = [f"{row.difference:+.3f} {row.word}" for row in table.itertuples()]
    shown = table.set_index(["space", index, *columns])["text"].unstack([*columns], sort=False).fillna("")
    return shown.loc[table["space"].unique().tolist()]


def told(rows: pd.DataFrame) -> dict[str, str]:
    """Each comparison with its interval and verdict, by the name of its space."""
    ends = ["" if pd.isna(row.low) else f"{row.low:.3f} to {row.high:.3f}, " for row in rows.itertuples()]
    words = [f"{row.difference:+.3f} ({end}{row.word})" for row, end in zip(rows.itertuples(), ends)]
    return dict(zip(rows["space"].map(SPACE_NAMES), words))


def verdicts(rows: pd.DataFrame) -> dict[str, str]:
    """How many comparisons were decided which way and their differences, by the name of the space."""
    found = {}
    for place, part in rows.groupby("space", sort=False):
        counts = []
        for word, gap in part.groupby("word", sort=False)["difference"]:
            least, most = f"{gap.min():+.2g}", f"{gap.max():+.2g}"
            counts.append(f"{len(gap)} {word} ({least}{f' to {most}' * (most != least)})")
        found[SPACE_NAMES[place]] = ", ".join(counts)
    return found


def detours(matched: pd.DataFrame, rows: pd.DataFrame) -> dict[str, str]:
    """SVGe's mean way by ends, the least of the others with its valid points, and verdicts, by name of the space."""
    found = {}
    for place, part in matched.groupby("space", sort=False):
        mean = part.groupby("model")[["way", "valid"]].mean().dropna()
        others = mean.drop("SVGe", errors="ignore")
        if len(others) < len(mean) and len(others):
            least = others["way"].idxmin()
            valid = f"{others.valid[least]:.3g} % valid"
            title, words = SPACE_NAMES[place], f"least of the others {least} {others.way[least]:.3g} ({valid})"
            decided = verdicts(rows).get(title, "not compared")
            found[title] = f"SVGe {mean.way['SVGe']:.3g}, {words}, against them {decided}"
    return found


NOTEBOOK = "05_svge"
FIGURES: dict[str, StoredFigure] = {
    "quality": (("quality",), svge_quality),
    "smoothness": (("lines",), svge_smoothness),
    "prediction": (("prediction",), svge_prediction),
}
