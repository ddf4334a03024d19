"""The figures and findings of notebook 04: the architectures found, how good and how cheap."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from companion.figures import StoredFigure
from companion.figures.ngae_predictor import claim_in_words, lead_in_words
from companion.figures.words import span
from latentnas.benchmarks.digits import ALONE_FILE
from latentnas.benchmarks.download import bundled
from latentnas.benchmarks.enas import EnasTable
from latentnas.graphs import DagBatch, canonical_hash
from latentnas.measure.surrogate import LiveEvaluator, SkipSurrogate
from latentnas.plots.cells import draw_cell
from latentnas.plots.style import (
    DOUBLE,
    GREY,
    INK,
    MARKERS,
    METHOD_COLOURS,
    PALE,
    SteadyLayout,
    letter,
    new_figure,
    pareto_front,
    rows_of,
    styled,
)
from latentnas.spaces.enas import ENAS, FIRST_OPERATION
from latentnas.stats import mean_interval

if TYPE_CHECKING:
    from companion.claims import Claim

DRAWN = "drawn uniformly"  # rows of figures that are no method's
WHOLE = (
    "best of the whole table",
    "best of all sets of flags, with average pooling",
)  # the second: labels by flags alone


class Scores:
    """What is known of ENAS architectures: from the evaluator, from the table, and from the part to train on."""

    def __init__(self, benchmark: EnasTable, evaluator: SkipSurrogate | LiveEvaluator, train: DagBatch) -> None:
        self.evaluator, self.by_flags = evaluator, benchmark.skips_decide
        self.in_table, self.in_training = self.keys(benchmark.batch), self.keys(train)

    def query(self, graphs: DagBatch) -> pd.DataFrame:
        """What the evaluator says, one row each."""
        return self.evaluator.query(graphs).rename(columns={"judged": "evaluated"})

    def keys(self, batch: DagBatch) -> np.ndarray:
        """What decides the label in this table: the fifteen skip flags, as one whole number, or the whole graph."""
        batch = batch.to("cpu")
        return ENAS.skips(batch).numpy() @ (1 << np.arange(15)) if self.by_flags else canonical_hash(batch).numpy()

    def ranked(self, proposed: pd.DataFrame) -> pd.DataFrame:
        """The different architectures among proposals, with ranks by `value`, best first: their scores, and whether
        their labels are in the table and in the training set. Columns of `proposed`: arch (text), value."""
        proposed = proposed.sort_values("value", ascending=False, kind="stable").drop_duplicates(
            "arch", ignore_index=True
        )
        batch = ENAS.to_batch(proposed["arch"].tolist())
        scored, keys = self.query(batch).rename(columns={"accuracy": "table_accuracy"}), self.keys(batch)
        scored["labelled"], scored["in_training"] = np.isin(keys, self.in_table), np.isin(keys, self.in_training)
        columns = [
            "evaluated",
            "looked_up",
            "table_accuracy",
            "labelled",
            "in_training",
            "flops",
            "params",
            "complexity",
        ]
        order = scored["evaluated"].rank(ascending=False, method="first").astype(int)
        ranks = {"rank": range(1, len(scored) + 1), "queried_rank": order}
        return pd.concat([proposed[["arch", "value"]], scored[columns]], axis=1).assign(**ranks)


def operation_shares(batch: DagBatch) -> list[float]:
    """Share of every operation among the six layers of all valid architectures."""
    types = batch.types[ENAS.contains(batch)][:, 1:7].flatten()
    counts = torch.bincount(types.cpu(), minlength=ENAS.num_types)[FIRST_OPERATION:].double()
    return (counts / counts.sum()).tolist()


def handed_in(run: pd.DataFrame, final: int) -> "pd.Series[float]":
    """What one search hands in: its first three, its `final` first, and the three that are evaluated best."""
    own, top = run[run["rank"] <= final], run[run["rank"] <= 3]
    return pd.Series({
        "top3": top["evaluated"].mean(), "top3_if_evaluated": run.loc[run["queried_rank"] <= 3, "evaluated"].mean(),
        "final": own["evaluated"].mean(), "best": own["evaluated"].max(),
        "mflops": top["flops"].mean() / 1e6, "params": top["params"].mean() / 1e6,
        "complexity": top["complexity"].mean(),
    })  # fmt: skip


def novelty_of(sets: pd.DataFrame) -> pd.DataFrame:
    """Where the labels of the final sets were known from, in percent by method."""
    known = {"in the table": sets["table_accuracy"].notna(), "label in training": sets["in_training"]}
    known |= {"label elsewhere": sets["labelled"] & ~sets["in_training"], "no label": ~sets["labelled"]}
    return (100 * pd.DataFrame(known).groupby(sets["method"], sort=False).mean()).round(1)


def beside_uniform(found: pd.DataFrame, alone: Mapping[str, float], benchmark: EnasTable) -> pd.DataFrame:
    """The table of `shared_and_from_scratch`: what was found, and the architectures of the digits table that were
    trained alone too; `better` is the share of these (percent) that one is better than from scratch."""
    stored = pd.read_csv(bundled(ALONE_FILE), index_col="row")
    drawn = {"shared": benchmark.accuracy.numpy()[stored.index], "from_scratch": stored["test_0"].to_numpy()}
    ours = found[["method"]].assign(shared=found["evaluated"], from_scratch=found["arch"].map(alone))
    truth = pd.concat([pd.DataFrame(drawn).assign(method=DRAWN), ours], ignore_index=True)
    return truth.assign(better=truth["from_scratch"].map(lambda own: 100 * (drawn["from_scratch"] < own).mean()))


def number(own: "Claim") -> str:
    """A claim in words, with its unit."""
    return f"{claim_in_words(own, 1 if abs(own.ours or 0) >= 10 else 2)} {own.unit}"


def answers_to(questions: Mapping[str, Mapping[str, str]], claims: "Mapping[str, Claim]") -> pd.DataFrame:
    """An answer to each question: *yes* if all its claims are met, *no* if one is short, else *undecided*; the
    differences it goes by; and those that decide.

    Args:
        questions: For each question the words for the claims it rests on, by their ids.
    """
    rows = []
    for question, asked in questions.items():
        verdicts, told = (
            [claims[id].verdict for id in asked],
            [said.format(number(claims[id])) for id, said in asked.items()],
        )
        answer = "yes" if set(verdicts) == {"met"} else "no" if "short" in verdicts else "undecided"
        stands = {"yes": verdicts, "no": ["short"], "undecided": [word for word in verdicts if word != "met"]}[answer]
        deciding = [words for verdict, words in zip(verdicts, told) if verdict in stands]
        rows.append((question, answer, "; ".join(told), "; ".join(deciding)))
    return pd.DataFrame(rows, columns=["question", "answer", "difference", "deciding"])


def found_in_words(
    answers: pd.DataFrame,
    blindly: str | None,
    others: "Mapping[str, Claim]",
    mflops: Sequence[float],
    known_before: float,
    better: "pd.Series[float] | None" = None,
) -> list[str]:
    """The findings of notebook 04: the paper's claims, what is answered with no first.

    Args:
        answers: Rows of `answers_to`, the paper's three.
        blindly: What average pooling in all layers saves and costs; None where nothing valid was found.
        others: Our claims on the lead of NGAE's top three, by whom they are compared with.
        mflops: Of NGAE's top three, then of each of the others'.
        known_before: Percent of NGAE's final sets whose label was known from training.
        better: From scratch, the percent of uniform ones that the top three of NGAE and of others beat; if trained.
    """
    answers = answers.sort_values("answer", key=lambda of: of.map(["no", "undecided", "yes"].index), kind="stable")
    said = [f"{row.question}: *{row.answer}*; {row.deciding}." for row in answers.itertuples()]
    if blindly:
        said = [line + (f" {blindly}" if line.startswith("(3)") else "") for line in said]
    own, *theirs = mflops
    rows = [(who, claim, cost) for (who, claim), cost in zip(others.items(), theirs) if claim.ours is not None]
    rows.sort(key=lambda row: row[1].verdict != "short")
    leads = ". They are ".join(f"{lead_in_words(claim, 'above', 'below')} {who}" for who, claim, _ in rows)
    costs = span(pd.Series([cost for *_, cost in rows])) if rows else ""
    leads += f". NGAE's cost {own:.0f} MFLOPs, those of the others {costs}" * bool(rows)
    leads = leads or "not compared with others: on one side nothing valid was found"
    worse = any(claim.verdict == "short" for claim in others.values())
    said.insert(0 if worse else (answers["answer"] == "no").sum(), f"NGAE's top three are {leads}.")
    if better is not None:
        rest = better.drop("NGAE")
        said.append(
            f"From scratch, NGAE's top three beat {better['NGAE']:.0f} % of uniformly drawn architectures, those of "
            f"{len(rest)} other methods {rest.min():.0f} to {rest.max():.0f} %."
        )
    else:
        said.append(f"{known_before:.0f} % of what NGAE hands in has a label that was known from training.")
    return said


@styled
def ngae_top_cells(cells: pd.DataFrame) -> Figure:
    """NGAE Fig. 5: the best three architectures of every method, drawn.

    Columns: method, rank (1 to 3), arch (ENAS text), evaluated, table_accuracy (percent; NaN where the
    architecture is not in the table), flops (multiply-adds), params, complexity (share of the highest in the table).
    With the column from_scratch (percent, NaN where not trained), `evaluated` is an accuracy with shared weights, and
    the figure says so.
    """
    cells = rows_of(cells, "method", "rank", "arch", "evaluated", "table_accuracy", "flops", "params", "complexity")
    methods = list(cells.groupby("method", sort=False))
    figure = plt.figure(figsize=(DOUBLE, 1.8 * len(methods)), layout=SteadyLayout())
    drawn = []
    for strip, (method, found) in zip(figure.subfigures(len(methods), 1, squeeze=False)[:, 0], methods):
        strip.suptitle(f"{method}\n", x=0.005, ha="left", fontweight="bold", linespacing=0.7)  # a free line below it
        axes = strip.subplots(1, 3)
        for ax in axes:
            ax.axis("off")
        for ax, cell in zip(axes, found.sort_values("rank").itertuples()):
            batch = ENAS.to_batch([cell.arch])
            draw_cell(ax, batch.types[0], batch.adjacency[0], ENAS.type_names)
            ax.set_title(
                f"{scores_in_words(cell)}\n"
                f"{cell.flops / 1e6:,.0f} MFLOPs, {cell.params / 1e6:.2f} million parameters\n"
                f"complexity {cell.complexity:.2f}",
                loc="center", fontsize=6.5,
            )  # fmt: skip
            drawn.append(ax)
    reach = max(ax.get_ylim()[1] for ax in drawn)
    for ax in drawn:
        ax.set_ylim(-reach, reach)  # all boxes of one size, all in line
    return figure


def scores_in_words(cell: NamedTuple) -> str:
    """The accuracies of a row of `ngae_top_cells`, each by its name."""
    if not hasattr(cell, "from_scratch"):
        labelled = pd.notna(cell.table_accuracy)
        known = f"table {cell.table_accuracy:.2f} %" if labelled else "not in the table"
        return f"evaluated {cell.evaluated:.2f} %, {known}"
    trained = f", from scratch {cell.from_scratch:.2f}" if pd.notna(cell.from_scratch) else ""
    return f"shared weights {cell.evaluated:.2f}{trained} %"


@styled
def shared_and_from_scratch(truth: pd.DataFrame) -> Figure:
    """What an accuracy with shared weights is worth: beside it, that of the same network trained from scratch.

    Columns: method, shared, from_scratch (percent). The method with most architectures is the background.
    """
    truth = rows_of(truth, "method", "shared", "from_scratch")
    figure, axes = new_figure(3.1, width=4.6)
    ax = axes[0, 0]
    background = truth.method.mode()[0]
    methods = [method for method in dict.fromkeys(truth.method) if method != background]
    rest = truth[truth.method == background]
    ax.scatter(rest.shared, rest.from_scratch, s=5, color=PALE, linewidths=0, label=background)
    for number, method in enumerate(methods):
        found = truth[truth.method == method]
        ax.scatter(
            found.shared, found.from_scratch, s=24, marker=MARKERS[number % len(MARKERS)],
            color=METHOD_COLOURS[method], edgecolors="white", linewidths=0.4, label=method, zorder=3,
        )  # fmt: skip
    ax.axhline(rest.from_scratch.median(), color=GREY, linestyle=":", linewidth=0.8, zorder=0)
    ax.annotate(
        "median of the grey", (0, rest.from_scratch.median()), xycoords=("axes fraction", "data"),
        xytext=(2, -2), textcoords="offset points", va="top", fontsize=7, color=GREY,
    )  # fmt: skip
    ax.set_xlabel("accuracy with shared weights (%)")
    ax.set_ylabel("accuracy from scratch (%)")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


@styled
def top_three(runs: pd.DataFrame) -> Figure:
    """Mean accuracy of the three architectures that each method ranks first: one mark a run, and of several runs
    the mean with its 95 % interval.

    Columns: method, seed, top3, best_label (the best accuracy in the table, constant), in percent.
    """
    runs = rows_of(runs, "method", "seed", "top3", "best_label")
    methods = list(dict.fromkeys(runs.method))
    figure, axes = new_figure(0.6 + 0.24 * len(methods), width=5)
    ax = axes[0, 0]
    for place, method in enumerate(methods):
        values = runs.top3[runs.method == method].dropna()
        colour = METHOD_COLOURS.get(method, PALE)
        ax.scatter(values, [place] * len(values), s=9, color=colour, alpha=0.5, linewidths=0)
        if len(values):
            ends = mean_interval(values)
            ax.plot(ends, [place] * 2, color=colour, linewidth=1.2)
            ax.plot(values.mean(), place, "o", color=colour, markersize=4.5, markeredgecolor="white")
    ax.axvline(runs.best_label.iloc[0], color=GREY, linestyle=":", linewidth=1, label="best label of the table")
    ax.set_yticks(range(len(methods)), methods)
    ax.invert_yaxis()
    if several := runs.groupby("method")["top3"].count().max() > 1:
        ax.scatter([], [], s=9, color=GREY, alpha=0.5, linewidths=0, label="one run")
    words = "mean of the runs, 95 % interval" if several else "one run"
    ax.plot([], [], "o-" if several else "o", color=GREY, markersize=4.5, linewidth=1.2, label=words)
    ax.set_xlabel("evaluated accuracy of the top three (%)")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


@styled
def accuracy_flops_front(points: pd.DataFrame) -> Figure:
    """Accuracy against cost of what each method hands in, and the front that none of these architectures beats; (b) is
    the part of (a) around the front, whose marks have a ring.

    Columns: method, evaluated (accuracy, percent), flops (multiply-adds). No method's are the rows of `DRAWN`, the
    background, and of `WHOLE`, the front of all that could be had.
    """
    points = rows_of(points, "method", "evaluated", "flops").dropna(subset=["evaluated", "flops"])
    points = points.assign(mflops=points.flops / 1e6)
    drawn, whole = points[points.method == DRAWN], points[points.method.isin(WHOLE)]
    found = points.drop([*drawn.index, *whole.index])
    front = pareto_front(found.mflops, found.evaluated)
    ringed = found[found[["mflops", "evaluated"]].apply(tuple, axis=1).isin(map(tuple, front))]
    figure, [axes] = new_figure(3.7, columns=2)
    for ax, size in zip(axes, (9, 24)):
        for marker, (method, own) in zip(MARKERS, found.groupby("method", sort=False)):
            label = f"{method}: {ringed.method.eq(method).sum()} of {len(own)} on the front"
            ax.scatter(
                own.mflops, own.evaluated, s=size, marker=marker, color=METHOD_COLOURS[method], edgecolors="white",
                linewidths=0.3, zorder=3, label=label,
            )  # fmt: skip
        ax.plot(*front.T, color=INK, linewidth=1, drawstyle="steps-post", zorder=2, label="front of what is handed in")
        for name, line in whole.groupby("method"):
            ax.plot(
                line.mflops, line.evaluated, color=GREY, linewidth=1, linestyle="--", drawstyle="steps-post", label=name
            )  # fmt: skip
        ax.scatter(drawn.mflops, drawn.evaluated, s=2, color="#C8C8C8", linewidths=0, rasterized=True, label=DRAWN)
        ax.set(xlabel="cost (MFLOPs)", ylabel="evaluated accuracy (%)")
    axes[1].scatter(
        ringed.mflops,
        ringed.evaluated,
        s=60,
        facecolors="none",
        edgecolors=INK,
        linewidths=0.7,
        zorder=4,
        label="ring: on the front",
    )
    (left, low), (right, high) = front.min(axis=0), front.max(axis=0)
    wide, tall = 0.12 * max(right - left, 0.1 * right), 0.15 * max(high - low, 0.02)
    begins = max(left - wide, 0.6 * left)  # above 0, for the logarithmic axis of (a)
    axes[1].set(xlim=(begins, right + wide), ylim=(low - tall, high + tall))
    lowest, cut = found.evaluated.min() - tall, "evaluated accuracy (%), cut below"
    axes[0].set(ylim=(lowest, high + 2 * tall), xscale="log", xlabel="cost (MFLOPs, log)")
    axes[0].set_ylabel(cut if drawn.evaluated.min() < lowest else axes[1].get_ylabel())
    axes[0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].xaxis.set_major_formatter("{x:g}")
    axes[0].xaxis.set_minor_locator(NullLocator())
    axes[0].indicate_inset([begins, low - tall, right + wide - begins, high - low + 2 * tall], edgecolor=INK)
    letter(axes, ["All that is handed in", "Around the front: the box of (a)"])
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


NOTEBOOK = "04_ngae_architectures"
FIGURES: dict[str, StoredFigure] = {
    "top_cells": (("cells",), ngae_top_cells),
    "top_three": (("runs",), top_three),
    "truth": (("truth",), shared_and_from_scratch),
    "front": (("points",), accuracy_flops_front),
}
