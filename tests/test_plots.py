"""The figures: same bytes every time, nothing hidden behind boxes, and all of them from stored tables alone."""

import itertools
import json
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from companion import paths
from companion.figures import crlso, latent_search, save, show
from companion.figures import redraw as drawing
from companion.figures.best_cell import one_shot_again
from companion.figures.e2nas import cells_handed_in
from companion.figures.enas_labels import method_errors
from companion.figures.extrapolation import accuracy_by_place, accuracy_of_first
from companion.figures.model_by_hand import encoder_and_decoder
from companion.figures.nasbench import EDGE_HEIGHTS, draw_edge_labelled
from companion.figures.ngae_architectures import DRAWN, WHOLE, accuracy_flops_front, ngae_top_cells, top_three
from companion.figures.ngae_predictor import PUBLISHED, ngae_ascent, ngae_predictor_scatter, ngae_rmse_curve
from companion.figures.redraw import redraw, stored_figures
from companion.figures.tuning import validation_loss_by_rate
from companion.figures.winners_curse import published_differences, third_runs
from latentnas import plots
from latentnas.plots.cells import arc_sides, operation_look
from latentnas.plots.search import arrivals, incumbent_curves, optimum_found
from latentnas.plots.style import GREY, PALE, OlderTable, colours_of
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench201 import NASBENCH201

EVERY_SKIP = "[[1], [4, 1], [5, 1, 1], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 1, 1, 1, 1, 1]]"
FOUR_NODES = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
THREE_VERTICES = '{"matrix": [[0, 1, 1], [0, 0, 1], [0, 0, 0]], "ops": ["input", "maxpool3x3", "output"]}'


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    """Everything is written to a temporary folder, and every figure is closed."""
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    yield tmp_path
    plt.close("all")


def tables():
    """Small tables for each figure."""
    rng = np.random.default_rng(0)
    history = [
        {
            "epoch": e,
            "vertices": 3 / e,
            "edges": 5 / e,
            "kl": 10 + e,
            "performance": p,
            "complexity": p,
            "model": model,
            "seed": seed,
        }
        for model, p in (("NGAE", 0.5), ("D-VAE", np.nan))
        for seed in (0, 1)
        for e in (1, 2, 3)
    ]
    n = 60
    planes = [
        {"model": model, "seed": s, "x": x, "y": y, "predicted": p, "evaluated": 73 + x * y}
        for model, p in (("NGAE", 74), ("D-VAE", np.nan))
        for s in (0, 1)
        for x in (0, 1, 2)
        for y in (0, 1, 2)
    ]
    true = rng.normal(size=n)
    predictions = {"true": true, "predicted": 0.9 * true, "split": ["train", "test"] * 30, "model": "NGAE"}
    curve = [
        {"epoch": e, "rmse": 1 / e, "model": "NGAE", "seed": s, "mean_line": 0.976} for s in (0, 1) for e in (1, 2, 3)
    ]
    trajectories = [
        {
            "start": i,
            "step": t,
            "performance": t,
            "complexity": -t,
            "evaluated": 74 if i else np.nan,
            "variant": variant,
        }
        for variant in ("NGAE", "single step")
        for i in range(3)
        for t in range(3)
    ]
    cells = [
        {
            "method": method,
            "rank": rank,
            "arch": EVERY_SKIP,
            "evaluated": 74.5,
            "table_accuracy": known,
            "flops": 3e8,
            "params": 2e6,
            "complexity": 0.3,
        }
        for method, known in (("NGAE", 74.8), ("D-VAE + BO", np.nan))
        for rank in (1, 2, 3)
    ]
    front = {"evaluated": [74, 75, 73, 75.1, 72], "flops": [1e8, 2e8, 3e8, 0.9e8, 2e8]}
    front |= {"method": ["NGAE", "NGAE", "random", WHOLE[0], DRAWN]}
    runs = {"method": ["NGAE", "NGAE", "NGAE", "best known"], "seed": [0, 1, 2, 0], "top3": [74, 75, 73, np.nan]}
    runs |= {"best_label": 75.02}
    truth = {"method": ["drawn uniformly"] * 3 + ["NGAE", "NAO"], "shared": [80, 70, 80, 90, 90], "from_scratch": 92}
    pairs = [(u, v) for v in range(2, 7) for u in range(v - 1)]
    density = [
        {"measure": measure, "cost": cost, "accuracy": value, "count": count}
        for measure in ("FLOPs", "complexity")
        for cost, value, count in ((1, 70, 3), (1, 80, 0), (2, 70, 1), (2, 80, 9))
    ]
    spaces = {
        "enas_accuracy": [
            {"accuracy": [70, 71, 72], "count": [3, 0, 5]},
            {"skips": [0, 1, 2], "count": [1, 5, 9], "low": 70, "median": 72, "high": 74},
            [{"source": u, "target": v, "difference": (v - 2 * u) / 1000} for u, v in pairs],
        ],
        "enas_costs": [
            density,
            {"measure": ["FLOPs", "complexity"], "label": ["millions", "share"], "spearman": [-0.1, 0.2]},
        ],
    }
    drawn = {"enas_cells": EVERY_SKIP, "walk": EVERY_SKIP, "improve": EVERY_SKIP}
    drawn |= {
        "nb201_cells": FOUR_NODES,
        "nb201_views": FOUR_NODES,
        "nb101_cells": THREE_VERTICES,
        "nb101_numberings": THREE_VERTICES,
    }
    spaces |= {
        figure: [[{"label": label, "arch": arch, "accuracy": 74, "flops": 3e8, "params": 1e6} for label in "abc"]]
        for figure, arch in drawn.items()
    }
    spaces |= {"model": []} | nasbench_tables() | search_tables()
    spaces |= convexity_tables() | svge_tables() | one_shot_tables() | speed_tables()
    spaces |= extrapolation_tables() | latent_search_tables() | tuning_tables() | label_tables()
    spaces |= luck_tables()
    spaces |= graph_network_tables() | {"curves": spaces["against_baselines"]}
    frames = {
        "training_curves": history,
        "planes": planes,
        "predictor_scatter": predictions,
        "rmse_curve": curve,
        "ascent": trajectories,
        "top_cells": cells,
        "top_three": runs,
        "front": front,
        "truth": truth,
    }
    frames = spaces | {figure: [frame] for figure, frame in frames.items()}
    return {figure: [pd.DataFrame(frame) for frame in group] for figure, group in frames.items()}


def convexity_tables():
    spaces = ("convex (paper)", "ordinary network")
    return {
        "convexity": [
            [{"network": name, "quantile": q, "gap": q - 0.5} for name in spaces for q in (0, 0.5, 1)],
            [{"network": name, "share": s, "below": s} for name in spaces for s in (0, 0.5, 1)],
        ],
        "equivalence": [
            [
                {"variant": name, "difference": 0.01, "low": -0.01, "high": 0.03, "margin": 0.05, "verdict": name}
                for name in ("equivalent", "better", "worse", "undecided")
            ]
        ],
    }


def svge_tables():
    shares = {
        f"{quantity}_{protocol}": 50
        for quantity in ("reconstruction", "validity", "uniqueness", "novelty")
        for protocol in ("published", "clean")
    }
    on_lines = {"valid": 90, "way": 1.5, "rank_correlation": 0.4, "labels": 10, "kendall": 0.5}
    rows = [
        {"space": space, "model": name, "seed": seed, "matched": name == "SVGe"} | shares | on_lines
        for space in ("enas", "nasbench201")
        for name in ("SVGe", "D-VAE")
        for seed in (0, 1)
    ]
    return {"quality": [rows], "smoothness": [rows], "prediction": [rows]}


def one_shot_tables():
    spread = {"mean": 0.02, "low": 0.01, "high": 0.03}
    lines = [
        dict(method=method, epoch=epoch, visited=3 * epoch, **spread)
        for method in ("uniform cells", "E2NAS")
        for epoch in (10, 20)
    ]
    found = [
        dict(group=group, method=method, gap=gap, **spread)
        for group, method in (("searches", "E2NAS"), ("changed", "as released"))
        for gap in (0.01, 0.5)
    ]
    again = [
        {"group": g, "in_table": 93, "again": 92, "low": 91, "high": 92.5}
        for g in ("others", "highest", "most parameters")
    ]
    one_shot = {"cells_handed_in": [found], "trained_again": [again]}
    return one_shot | {"shared_weights": [lines, lines]}


def nasbench_tables():
    sets, spread = ("CIFAR-10", "digits"), {"low": 80, "median": 90, "high": 92}
    bins = [{"accuracy": a, "count": c} for a, c in ((90, 0), (91, 7), (92, 2))]
    named = [
        dict(dataset=name, signal=signal, **bin) for name in sets for signal in ("validation", "test") for bin in bins
    ]
    signals = ("one", "two", "three")
    pairs = [{"first": a, "second": b, "spearman": 1 - 0.1 * (a != b)} for a in signals for b in signals]
    shares = [
        {"dataset": name, "share": s, "spearman": 0.5, "low": 0.4, "high": 0.7, "epochs": e}
        for name in sets
        for e in (12, 200)
        for s in (100, 10, 1)
    ]
    effects = [
        {"dataset": name, "edge": e, "operation": o, "places": p}
        for name in sets
        for e in ("0 → 1", "1 → 2")
        for o, p in (("none", -20), ("3×3", 20))
    ]
    levels = [dict(dataset=name, flops=f * 1e6, count=9, best=80 + f, **spread) for name in sets for f in (8, 4, 12)]
    density = [
        {"cost": cost, "accuracy": value, "count": count}
        for cost, value, count in ((1, 70, 3), (1, 80, 0), (2, 70, 1), (2, 80, 9))
    ]
    alone = [{"shared": value, "from_scratch": 90} for value in (70, 80)]
    return {
        "bundled": [
            named[:6],
            [dict(rank=rank, **spread) for rank in (25, 75)],
            shares[:3],
            levels[:3],
            effects[:4],
            alone,
        ],
        "nb201_accuracy": [named, [{"dataset": name, "best": 92.5} for name in sets]],
        "nb201_noise": [
            [
                {"dataset": name, "rank": rank, "low": 0.001, "median": 0.002, "high": 0.01}
                for name in sets
                for rank in (25, 75)
            ],
            shares,
            [{"dataset": name, "kind": kind, "deviation": 0.01} for name in sets for kind in ("all cells", "runs")],
        ],
        "nb201_correlations": [pairs, shares],
        "nb201_effects": [effects],
        "nb201_costs": [levels],
        "nb101_sizes": [
            [{"kind": kind, "number": n, "count": 10**n} for kind in ("vertices", "edges") for n in (1, 2, 3)],
            [{"params": p, "count": 5} for p in (0.25, 0.5, 1, 2)],
        ],
        "nb101_accuracy": [bins, density, [dict(vertices=n, count=9, best=93, **spread) for n in (2, 3)]],
    }


def search_tables():
    lines = [
        {
            "dataset": name,
            "signal": signal,
            "method": method,
            "query": q,
            "mean": 90,
            "low": 80,
            "high": 92,
            "best": 93,
            "share": q / 50,
        }
        for name in ("CIFAR-10", "digits")
        for signal in ("validation", "test")
        for method in ("random search", "another one")
        for q in (10, 20, 50)
    ]
    named = ("incumbents", "against_baselines", "optimum_met")
    goals = [line | {"goal": goal} for line in lines for goal in ("runs at the best", "runs at a likely best")]
    return {name: [lines] for name in named} | {"optimum": [goals]}


def test_runs_arrive_at_their_own_queries():
    table = arrivals([28, 66, 69, np.inf], 100)
    assert table.values.tolist() == [[5, 0], [28, 0.25], [66, 0.5], [69, 0.75], [100, 0.75]]
    assert arrivals([3, 200], 100).values.tolist() == [[3, 0.5], [5, 0.5], [100, 0.5]]
    assert arrivals([9], 3).values.tolist() == [[3, 0]]
    (line,) = optimum_found(table.assign(dataset="x", method="y")).axes[0].lines
    assert line.get_drawstyle() == "steps-post" and line.get_xdata().tolist() == [5, 28, 66, 69, 100]


def test_curves_of_few_queries_and_of_a_data_set_without_a_signal_are_drawn():
    rows = [
        (*panel, query, 90 + query)
        for panel in (("x", "test"), ("x", "validation"), ("y", "test"))
        for query in range(1, 8)
    ]
    curves = pd.DataFrame(rows, columns=["dataset", "signal", "query", "mean"]).assign(method="a", best=99)
    figure = incumbent_curves(curves.assign(low=curves["mean"], high=curves["mean"]))
    assert [len(ax.lines[0].get_xdata()) if ax.axison else 0 for ax in figure.axes] == [4, 4, 4, 0]
    lowest = [ax.get_xlabel() for ax in figure.axes]  # (x, test), (y, test), (x, validation), none
    assert lowest == ["", "queries (log)", "queries (log)", ""]
    figure.draw_without_rendering()
    assert figure.axes[1].get_xticklabels() and all(text.get_visible() for text in figure.axes[1].get_xticklabels())


def test_a_search_that_ends_early_lies_above_the_others_with_a_dot_at_its_end():
    rows = [("a", q, 90 + q / 100) for q in (10, 50, 200)] + [("b", q, 90 + q / 100) for q in (10, 50)]
    curves = pd.DataFrame(rows, columns=["method", "query", "mean"]).assign(dataset="x", signal="test", best=93)
    figure = incumbent_curves(curves.assign(low=curves["mean"], high=curves["mean"]))
    whole, short, *_ = figure.axes[0].lines
    assert short.get_marker() == "o" and short.get_markevery() == [-1] and whole.get_marker() == "None"
    assert short.get_zorder() > whole.get_zorder()
    assert "dot: ends early" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert figure.axes[0].get_title(loc="left") == "x, test"  # a single panel has no letter


def test_the_aim_of_one_shot_search_is_named():
    figure = cells_handed_in(pd.DataFrame(one_shot_tables()["cells_handed_in"][0]))
    assert "aim: at most 0.5" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_are_cut_below_where_the_median_search_begins():
    rows = [
        (method, query, mean)
        for method, begins in (("a", 90.1), ("b", 90.3), ("c", 20))
        for query, mean in ((10, begins), (200, 92.3))
    ]
    curves = pd.DataFrame(rows, columns=["method", "query", "mean"]).assign(dataset="x", signal="validation", best=92.5)
    figure = incumbent_curves(curves.assign(low=curves["mean"] - 0.1, high=curves["mean"] + 0.1))
    assert figure.axes[0].get_ylim() == pytest.approx((92.5 - 1.2 * 2.4, 92.5 + 0.2 * 2.4))
    assert "cut below" in [text.get_text() for text in figure.axes[0].texts]
    assert "the best cell" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_lines_in_colour_are_few_and_named_at_their_ends():
    rows = [
        (name, q, 90 + q / 100 + n / 100)
        for n, name in enumerate((*crlso.IN_COLOUR, "random search"))
        for q in (10, 200)
    ]
    curves = pd.DataFrame(rows, columns=["method", "query", "mean"]).assign(signal="validation", best=95)
    curves = pd.concat(curves.assign(dataset=name) for name in ("x", "y"))
    curves = curves.assign(low=curves["mean"], high=curves["mean"], most=95)
    [legend] = crlso.incumbents(curves.assign(runs=3)).legends
    assert legend.get_title().get_text() == "means over runs"  # three have no bands
    assert [text.get_text() for text in legend.get_texts()] == ["random search", "the best cell by validation"]
    left, right = crlso.incumbents(curves).axes
    coloured = {line.get_label() for line in right.lines if line.get_color() not in (PALE, GREY)}
    ends = [text for text in right.texts if text.get_text() in crlso.IN_COLOUR]
    assert coloured == {text.get_text() for text in ends} == {*crlso.IN_COLOUR} and len(crlso.IN_COLOUR) == 4
    heights = sorted(text.xyann[1] for text in ends)
    assert min(np.diff(heights)) >= 0.099 * np.ptp(right.get_ylim())
    assert not {text.get_text() for text in left.texts} & {*crlso.IN_COLOUR}


def test_the_search_that_ends_lowest_has_a_colour():
    rows = [("one-hot", 5, 3.0), ("one-hot", 60, 0.6), ("path features", 5, 3.0), ("path features", 60, 0.01)]
    rows += [("path-feature ensemble", 5, 3.0), ("path-feature ensemble", 60, 0.3)]
    curves = pd.DataFrame(rows, columns=["method", "query", "regret"])
    other = curves[curves.method != "path features"].replace({0.3: 0.01})  # as low as the best of the first panel
    curves = pd.concat([curves.assign(table="a"), other.assign(table="b")])
    figure = latent_search.expected_regret(curves)
    coloured = [{line.get_label() for line in ax.lines if line.get_color() != PALE} for ax in figure.axes]
    assert coloured == [{"one-hot", "path features", "path-feature ensemble"}, {"one-hot", "path-feature ensemble"}]
    assert coloured[0] <= {text.get_text() for text in figure.legends[0].get_texts()}
    named = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert named == ["ends lowest: path features", "ends lowest: path-feature ensemble"]
    assert all(ax.get_yscale() == "linear" and ax.get_ylim()[0] == 0 for ax in figure.axes)


def test_a_legend_takes_the_place_of_a_panel_that_is_not_there():
    figure = latent_search.still_searching(pd.DataFrame(latent_search_tables()["still_searching"][0]))
    *_, free, empty = figure.axes  # four tables, three in a row
    assert not figure.legends and not free.axison and not empty.axison
    assert {"one-hot", "SVGe", "random search"} == {text.get_text() for text in free.get_legend().get_texts()}


def extrapolation_tables():
    methods, mean = ("SVGe", "params"), {"mean": 93, "low": 92, "high": 94, "best": 94.3, "average": 90}
    bins = [(rank, level, 3 if rank < level / 100 else 0) for rank in (0.25, 0.75) for level in (87, 92)]
    density = [{"method": m, "rank": r, "accuracy": a, "count": c} for m in methods for r, a, c in bins]
    unseen = [
        {"operation": operation, "cells": cells, "reader": reader, "seed": seed, "kendall": 0.5 - 0.1 * seed}
        for operation in ("nor_conv_1x1", "none")
        for cells in ("with", "without")
        for reader in methods
        for seed in (0, 1)
    ]
    deeper = [
        {"layers": layers, "group": group, "measured": measured}
        for layers in (8, 12)
        for group, measured in (("drawn", 70), ("drawn", 80), ("top", 90))
    ]
    levels = {"known": 90, "average": 91, "best": 93}
    better = [
        {"quantile": q, "reader": reader, "seed": 0, "kendall": q, "first": 92} | levels
        for q in (0.1, 0.5)
        for reader in methods
    ]
    first = [dict(method=m, k=k, **mean) for m in methods for k in (5, 50, 500)]
    figures = {"larger_cells": [density, first], "unseen_operation": [unseen], "deeper": [deeper]}
    return figures | {"better_cells": [better]}


def test_rankings_of_larger_cells_are_counted_by_place_and_averaged_over_seeds():
    true = np.linspace(86, 94, 5000)
    rankings = {(name, seed): sign * true for seed in (0, 1) for name, sign in (("SVGe", 1), ("params", -1))}
    counts = accuracy_by_place(rankings, true).query("count > 0")
    highest = counts[counts["rank"] < 0.01].set_index("method")["accuracy"]
    assert (counts.groupby("method")["count"].sum() == 5000).all()
    assert (highest["SVGe"] > 93.8).all() and (highest["params"] < 86.2).all()
    first = accuracy_of_first(rankings, true).set_index(["method", "k"])
    assert first.loc[("SVGe", 5), ["mean", "low", "best"]].tolist() == pytest.approx([true[-5:].mean()] * 3)
    assert first.loc[("params", 5), "mean"] == pytest.approx(true[:5].mean())
    assert first.xs(5000, level="k")[["mean", "best", "average"]].to_numpy() == pytest.approx(true.mean())


def latent_search_tables():
    tables, methods = ("CIFAR-10", "digits-nb201", "ENAS", "NAS-Bench-101"), ("one-hot", "SVGe", "random search")
    verdicts = zip(methods, ("sooner", "level", "later"))
    rows = [
        {"table": table, "method": method, "extra": 5, "low": 1, "high": 9, "verdict": verdict, "margin": 10}
        for method, verdict in verdicts
        for table in tables
    ]
    curves = [
        {"table": table, "method": method, "query": query, "share": 100 - query, "regret": 1 / query}
        for table in tables
        for method in methods
        for query in (5, 20, 50)
    ]
    runs = [{"table": t, "method": m, "queries": q} for t in tables for m in methods for q in (5, 20, np.nan)]
    names = ("against_one_hot", "queries_of_runs", "still_searching", "expected_regret")
    return {name: [frame] for name, frame in zip(names, (rows, runs, curves, curves))}


def luck_tables():
    again = {"chosen_by": 94, "expected": 93.5, "third": 93.4, "low": 93.2, "high": 93.6}
    published = [("A", 94.3), ("B", 94.2), ("C", 93)]
    sets = ("CIFAR-10", "CIFAR-100")
    return {
        "third_runs": [[{"dataset": name, "best": k} | again for name in sets for k in (1, 10, 100)]],
        "chances": [[{"dataset": name, "cells": k, "chance": k / 4} for name in sets for k in (1, 2, 4)]],
        "published": [[dict(dataset=d, method=m, accuracy=a, noise=0.2) for d in sets for m, a in published]],
    }


def graph_network_tables():
    networks = [
        {"label": text, "arch": text, "accuracy": 80.0} for text in ("gcn~0|gat~1|skip~1|fc~2", "fc~0|fc~1|fc~2|fc~3")
    ]
    datasets = ("Cora", "PubMed", "arXiv")
    said = [
        {"dataset": a, "with": name, "spearman": 0.5} for a in datasets for name in ("validation accuracy", "latency")
    ]
    pairs = [
        {"panel": panel, "learned": a, "tested": b, "spearman": 1.0 if a == b else -0.3}
        for panel in ("all labels", "from paths", "from SVGe")
        for a in datasets
        for b in datasets
    ]
    row = {"extra": 3.0, "low": np.nan, "high": np.nan, "verdict": "undecided", "margin": 5}
    against = [row | {"table": a, "method": "ensemble on SVGe"} for a in datasets]
    return {"shapes": [networks], "correlations": [said], "between": [pairs], "against_paths": [against]}


def tuning_tables():
    subjects = [
        {"space": space, "model": "SVGe", "optimizer": optimizer}
        for space in ("enas", "nasbench201")
        for optimizer in ("adamw", "muon")
    ]
    trials = [one | {"epochs": 1, "rate": rate, "loss": 1 / rate} for one in subjects for rate in (0.001, 0.002)]
    curves = [one | {"epoch": e, "steps": 10 * e, "reconstruction": 40.0 * e} for one in subjects for e in (1, 2)]
    return {"rates": [trials], "reconstruction": [curves]}


def test_rates_that_diverged_are_left_out_of_the_figure_of_tuning():
    trials = pd.DataFrame(tuning_tables()["rates"][0])
    for kept in (3, 0):  # less than half of a panel, and nothing at all
        loss = trials["loss"].where(trials.index % 4 < kept % 4, np.inf)
        (ax, *_) = validation_loss_by_rate(trials.assign(loss=loss)).axes
        assert np.isfinite(ax.get_ylim()).all()


def label_tables():
    """The small table of notebook 11's figure: one method a kind in two panels, and the two lines."""
    methods = {"boosting, flags": "plain", "boosting, flags + operations": "plain", "D-VAE": "codes"}
    rows = [
        {"panel": panel, "method": name, "kind": kind, "rmse_std": 0.3, "low": low, "high": 0.4}
        for panel in ("public, all", "digits-enas")
        for (name, kind), low in zip(methods.items(), (np.nan, np.nan, 0.2))
    ]
    published = {"panel": "public, all", "method": "PACE", "kind": "published", "rmse_std": 0.25}
    return {"errors": [[*rows, published]]}


def speed_tables():
    parts = dict.fromkeys(("products", "copies and casts", "element-wise", "optimiser", "the rest"), 2.0)
    models = ("NGAE", "D-VAE")
    step = [{"model": name, "alone": 1.5, "share": 30.0} | parts for name in models]
    kinds = [(name, settings) for name in models for settings in ("equal", "default")]
    training = [{"model": name, "settings": s, "epoch": 9.0, "authors": {"D-VAE": 50.0}.get(name)} for name, s in kinds]
    line = {"by": "vertices", "quantity": "encode", "power": 1.0}
    return {"step": [step, training], "growth": [[line | {"size": n, "seconds": 0.1 * n} for n in (8, 16)]]}


def test_the_foot_of_11_names_the_tables_of_all_panels_and_every_panel_of_14_its_axis():
    errors = pd.DataFrame(tables()["errors"][0])
    panels = ["public, all (9)", "public, our labels (9)", "digits-enas (9)"]
    for names, source in ((panels, "public and bundled"), (panels[:2], "public"), (panels[2:], "bundled")):
        several = pd.concat([errors[errors["panel"] == "digits-enas"].assign(panel=name) for name in names])
        assert method_errors(several).get_gid() == source
    figure = third_runs(pd.DataFrame(tables()["third_runs"][0]))
    assert len(figure.axes) > 1 and all("validation accuracy" in ax.get_ylabel() for ax in figure.axes)


CURVE = "03_ngae_predictor_rmse_curve"
MANIFEST = {"device": "cpu", "cpu_cores": 2, "wall_seconds": 1.0, "loaded_seconds": 0.0, "peak_memory_mb": {"cpu": 1}}
MANIFEST |= {"versions": {}, "git": None}


def store(profile="quick"):
    """What the notebooks leave behind: the tables, and a results file each."""
    drawn = tables()
    for (notebook, figure), (frames, _) in stored_figures().items():
        group = drawn[figure]
        folder = paths.RESULTS / profile / notebook
        folder.mkdir(parents=True, exist_ok=True)
        for frame, table in zip(frames, group, strict=True):
            table.to_csv(folder / f"{frame}.csv", index=False)
        stored = {file.stem: {} for file in folder.glob("*.csv")}
        results = {
            "notebook": notebook,
            "profile": profile,
            "data_source": "public",
            "parameters": {},
            "claims": [],
            "frames": stored,
        }
        folder.with_suffix(".json").write_text(json.dumps(results | {"manifest": MANIFEST}))


@pytest.fixture
def keep(monkeypatch):
    """A function that leaves `redraw` the named figures only."""

    def only(*names):
        kept = {key: stored for key, stored in stored_figures().items() if key[1] in names}
        monkeypatch.setattr(drawing, "stored_figures", lambda: kept)

    return only


@pytest.mark.slow
def test_every_figure_is_drawn_anew_from_stored_tables(monkeypatch):
    store()
    save, silent = drawing.save, []

    def looked_at(figure, name, *where):
        axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) if axis.get_scale() != "linear"]
        silent.extend((name, said) for axis in axes if "log" not in (said := axis.get_label_text()) and said)
        return save(figure, name, *where)

    monkeypatch.setattr(drawing, "save", looked_at)
    names = redraw("quick")
    assert not silent, "an axis is not linear and does not say so"
    assert len(names) == len(stored_figures())
    assert "02_ngae_latent_space_training_curves" in names
    written = {file.name for file in (paths.FIGURES / "quick").iterdir()}
    assert written == {f"{name}{suffix}" for name in names for suffix in (".png", ".pdf")}


def test_figures_whose_tables_a_run_did_not_store_are_left_out(keep):
    """As with another data source."""
    store()
    keep("nb201_noise", "nb201_effects")
    file = paths.RESULTS / "quick" / "01b_nas_bench.json"
    results = json.loads(file.read_text())
    del results["frames"]["nb201_agreement"]
    file.write_text(json.dumps(results))
    assert redraw("quick") == ["01b_nas_bench_nb201_effects"]


@pytest.mark.slow
def test_figures_whose_stored_tables_are_of_an_older_form_are_named_and_keep_their_files(keep, capfd, caplog):
    store()
    keep("rmse_curve", "predictor_scatter", "ascent")
    assert len(redraw("quick")) == 3
    table, file = paths.RESULTS / "quick/03_ngae_predictor/curve.csv", paths.FIGURES / "quick" / f"{CURVE}.png"
    pd.read_csv(table).drop(columns="mean_line").to_csv(table, index=False)
    before = file.stat()
    assert len(redraw("quick")) == 2 and file.stat() == before
    told = capfd.readouterr().err
    assert told.startswith(f"figures/quick/{CURVE} stays as it is: ") and "mean_line is missing" in told
    assert told.count("\n") == 1 and not caplog.records  # nothing of fonts either


@pytest.mark.parametrize("fault", [ValueError("a bug"), KeyError("a bug")])
def test_a_bug_of_a_figure_is_not_taken_for_an_older_table(keep, monkeypatch, fault):
    def draw(table):
        raise fault

    store()
    monkeypatch.setattr(drawing, "stored_figures", lambda: {("03_ngae_predictor", "bug"): (("curve",), draw)})
    with pytest.raises(type(fault), match="a bug"):
        redraw("quick")
    results = SimpleNamespace(notebook="03_ngae_predictor")  # whose stored run is of `recommended`
    with pytest.raises(type(fault), match="a bug"):
        show(results, {"bug": (("curve",), draw)}, "bug", alt="")


def test_a_figure_of_an_older_stored_run_is_left_out_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr("companion.figures.stored", lambda notebook, frame: pd.DataFrame({"epoch": [1]}))
    results = SimpleNamespace(notebook="03_ngae_predictor")
    show(results, {"rmse_curve": (("curve",), ngae_rmse_curve)}, "rmse_curve", alt="")
    assert "rmse_curve is left out: the stored run of recommended is of an older version" in capsys.readouterr().out


def test_a_pdf_with_formulas_is_saved_without_a_warning(output, caplog):
    """It would stand among the first lines of a run: a font of formulas has no date."""
    save(encoder_and_decoder(), "model", "quick", "schematic")
    assert (output / "figures/quick/model.pdf").exists() and not caplog.records


def test_figures_are_the_same_bytes_every_time():
    def draw():
        figure = ngae_predictor_scatter(tables()["predictor_scatter"][0])
        save(figure, "scatter", "quick", "public data")
        return [(paths.FIGURES / "quick" / f"scatter{suffix}").read_bytes() for suffix in (".png", ".pdf")]

    first = draw()
    with plt.rc_context({"font.size": 20, "lines.linewidth": 9, "savefig.bbox": "tight"}):  # another caller's taste
        assert draw() == first
    assert b"CreationDate" not in first[1]


def test_an_axes_that_was_placed_by_hand_stays_there():
    figure = plt.figure(layout=plots.style.SteadyLayout())
    placed = figure.subplots(1, 2)[1]
    placed.set_position([0.7, 0.7, 0.2, 0.2])
    for _ in range(2):
        figure.draw_without_rendering()
        assert placed.get_position(original=True).bounds == pytest.approx((0.7, 0.7, 0.2, 0.2))
    plt.close(figure)


@pytest.mark.slow
def test_a_solver_whose_last_digits_differ_changes_no_byte(monkeypatch):
    """As that of constrained layout, from one run to the next."""

    def draw():
        figure = plots.style.new_figure(2, columns=2, rows=2)[0]
        parts = plt.figure(figsize=(4, 2), layout=plots.style.SteadyLayout())
        for part in parts.subfigures(1, 2):
            part.subplots(1, 1)
            part.suptitle("one")
        for name, drawn in (("axes", figure), ("parts", parts)):
            save(drawn, name, "quick", "public data")
        return [(paths.FIGURES / "quick" / f"{name}.pdf").read_bytes() for name in ("axes", "parts")]

    def execute(self, fig):
        solve(self, fig)
        for part in fig.subfigs:
            part.bbox_relative.set_points(part.bbox_relative.get_points() + 1e-13)
        for axes in fig.axes:
            axes.set_position(np.add(axes.get_position(original=True).bounds, 1e-13), which="original")
            axes.set_in_layout(True)

    first, solve = draw(), ConstrainedLayoutEngine.execute
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", execute)
    assert draw() == first


def test_a_figure_without_tables_says_so(keep, monkeypatch):
    store()
    keep("model")
    feet = []
    monkeypatch.setattr(drawing, "save", lambda figure, name, profile, source: feet.append(source))
    assert redraw("quick") == ["00b_model_by_hand_model"] and feet == ["schematic"]


def test_the_label_of_a_figure_is_the_alt_text_of_its_files(output):
    """With the numbers that the figure shows: of three published accuracies two lie within noise."""
    (table,) = luck_tables()["published"]
    save(published_differences(pd.DataFrame(table)), "published", "quick", "public")
    alt = Image.open(output / "figures/quick/published.png").text["Description"]
    assert "2 of 3 on CIFAR-10" in alt and alt.isascii()
    assert alt.encode() in (output / "figures/quick/published.pdf").read_bytes()


def test_the_foot_names_profile_and_data():
    figure = save(ngae_rmse_curve(tables()["rmse_curve"][0]), "curve", "smoke", "public data (ENAS, 19,020)")
    assert figure.texts[-1].get_text() == "profile smoke · public data (ENAS, 19,020)"
    assert (paths.FIGURES / "smoke" / "curve.png").is_file()
    assert plt.get_fignums() == [], "a saved figure must not be shown a second time by a notebook"


def test_nothing_to_redraw_says_how_to_get_there(keep):
    with pytest.raises(FileNotFoundError, match="no results of the profile 'quick'.*run_all.sh --profile quick"):
        redraw("quick")
    store()
    keep("rmse_curve")
    (paths.RESULTS / "quick" / "03_ngae_predictor" / "curve.csv").unlink()
    with pytest.raises(FileNotFoundError, match="curve.csv is missing.*--only 03"):
        redraw("quick")
    for damage in (b"", b"\xff\xfe\x00", b'a,b\n1,"2'):
        (paths.RESULTS / "quick" / "03_ngae_predictor" / "curve.csv").write_bytes(damage)
        with pytest.raises(FileNotFoundError, match="curve.csv is damaged.*--only 03"):
            redraw("quick")


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(OlderTable, match="mean_line is missing"):
        ngae_rmse_curve(tables()["rmse_curve"][0].drop(columns="mean_line"))
    with pytest.raises(ValueError, match="no rows"):
        ngae_ascent(tables()["ascent"][0].iloc[:0])


def draw(types, edges, type_names=ENAS.type_names):
    adjacency = np.zeros((len(types), len(types)), dtype=bool)
    for u, v in edges:
        adjacency[u, v] = True
    _, ax = plt.subplots()
    plots.draw_cell(ax, types, adjacency, type_names)
    return ax


def random_edges(vertices, seed):
    rng = np.random.default_rng(seed)
    return [(u, v) for v in range(vertices) for u in range(v) if rng.random() < 0.6]


@pytest.mark.parametrize("vertices", [4, 7, 8])
@pytest.mark.parametrize("seed", range(5))
def test_a_cell_shows_every_edge_once_and_never_behind_a_box(vertices, seed):
    edges = random_edges(vertices, seed)
    ax = draw([0] + [2] * (vertices - 2) + [1], edges)
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert len(boxes) == vertices
    assert sorted(arrow.get_gid() for arrow in arrows) == sorted(f"edge {u} {v}" for u, v in edges)
    low, high = ax.get_ylim()
    for arrow in arrows:
        u, v = map(int, arrow.get_gid().split()[1:])
        pieces = arrow.get_path().transformed(ax.transData).to_polygons(closed_only=False)  # shaft and head
        x, y = ax.transData.inverted().transform(np.vstack(pieces)).T
        assert x.min() == pytest.approx(u, abs=0.4) and x.max() == pytest.approx(v, abs=0.5)
        assert (y > low).all() and (y < high).all()
        for box in boxes:
            inside_x = abs(x - box.get_x() - box.get_width() / 2) < box.get_width() / 2 - 0.01
            inside_y = abs(y - box.get_y() - box.get_height() / 2) < box.get_height() / 2 - 0.01
            assert not (inside_x & inside_y).any()


def test_arcs_that_would_cross_go_to_different_sides():
    sides = arc_sides([(0, 2), (1, 3)])
    assert sides[0, 2] != sides[1, 3]
    crossing = [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6)]  # a chain: two sides are enough for all
    sides = arc_sides(crossing)
    assert all(sides[a] != sides[b] for a, b in itertools.pairwise(crossing))


def test_positions_without_a_vertex_are_not_drawn():
    ax = draw([0, 2, 1, -1, -1], [(0, 1), (1, 2)])
    assert sum(isinstance(patch, FancyBboxPatch) for patch in ax.patches) == 3


def test_an_operation_looks_alike_in_every_space():
    names = ("conv3x3", "nor_conv_3x3", "conv3x3-bn-relu")
    assert len({operation_look(name) for name in names}) == 1
    assert operation_look("avgpool3x3") == operation_look("avg_pool_3x3")
    assert len({operation_look(name) for name in ENAS.type_names}) == ENAS.num_types


def test_a_cell_with_operations_on_edges_shows_all_six_and_hides_none_behind_a_box():
    _, ax = plt.subplots()
    cell = NASBENCH201.edge_labelled(NASBENCH201.to_batch([FOUR_NODES]))[0]
    draw_edge_labelled(ax, cell, NASBENCH201.operation_names)
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    named = sorted(FOUR_NODES.replace("+", "").strip("|").split("|"))
    assert sorted(box.get_gid().removeprefix("vertex ") for box in boxes) == sorted(
        name.split("~")[0] for name in named if name
    )
    arrows = {arrow.get_gid(): arrow for arrow in ax.patches if isinstance(arrow, FancyArrowPatch)}
    assert set(arrows) == {f"edge {u} {v}" for v in range(4) for u in range(v)}
    assert [gid for gid, arrow in arrows.items() if arrow.get_linestyle() != "solid"] == ["edge 0 3"]  # none
    (low, high), (left, right) = ax.get_ylim(), ax.get_xlim()
    for (span, u), _height in EDGE_HEIGHTS.items():
        pieces = arrows[f"edge {u} {u + span}"].get_path().transformed(ax.transData).to_polygons(closed_only=False)
        x, y = ax.transData.inverted().transform(np.vstack(pieces)).T
        assert (x > left).all() and (x < right).all() and (y > low).all() and (y < high).all()
        for box in boxes:
            inside_x = abs(x - box.get_x() - box.get_width() / 2) < box.get_width() / 2 - 0.02
            inside_y = abs(y - box.get_y() - box.get_height() / 2) < box.get_height() / 2 - 0.02
            assert not (inside_x & inside_y).any()


def test_methods_keep_their_colours():
    colours = colours_of(["my search", "NGAE", "D-VAE"])
    assert colours["NGAE"] == colours_of(["NGAE"])["NGAE"]
    assert len({colours["my search"], colours["NGAE"], colours["D-VAE"]}) == 3
    assert len({colours_of("abcdefghi")[name] for name in "abcdefghi"}) == 9  # one's own methods, however many


def test_published_errors_are_drawn_where_the_table_has_them():
    [ours] = tables()["rmse_curve"]
    published = pd.DataFrame({"epoch": [100, 200], "rmse": [0.605, 0.427], "model": PUBLISHED, "mean_line": 0.976})

    def shown(curve):
        [ax] = ngae_rmse_curve(curve).axes
        return {line.get_label(): line.get_xydata().tolist() for line in ax.lines}, [
            text.get_text() for text in ax.texts
        ]

    lines, texts = shown(pd.concat([ours, published]))
    label = "published, all test architectures"
    assert lines[label] == [[100, 0.605], [200, 0.427]] and {"0.605", "0.427"} <= set(texts)
    lines, texts = shown(ours)
    assert label not in lines and "0.605" not in texts


def test_errors_above_the_panel_are_named_and_each_curve_keeps_its_colour():
    [ours] = tables()["rmse_curve"]
    curve = pd.concat([pd.DataFrame(ours), pd.DataFrame(ours).assign(model="NGAE, training error", rmse=7.5)])
    figure = ngae_rmse_curve(curve)
    [ax] = figure.axes
    assert ax.get_title(loc="right") == "above the panel: errors up to 7.5" and ax.get_ylim()[1] < 2
    both = {line.get_label(): line.get_color() for line in ax.lines}
    [alone] = ngae_rmse_curve(curve[curve["model"] == "NGAE, training error"]).axes
    label = "training architectures, mean of the epoch"
    assert both[label] in {line.get_color() for line in alone.lines if line.get_label() == label}
    assert ax.get_xlabel() == "epoch (log)"
    assert "line: median of trainings; band: all of them" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_front_says_who_lies_on_it():
    [front] = tables()["front"]
    figure = accuracy_flops_front(pd.DataFrame(front))
    assert [ax.get_ylabel().endswith(", cut below") for ax in figure.axes] == [True, False]
    high = front.assign(evaluated=front["evaluated"].mask(front["method"] == DRAWN, 75))
    assert not accuracy_flops_front(high).axes[0].get_ylabel().endswith("below")
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said[:2] == ["NGAE: 2 of 2 on the front", "random: 0 of 1 on the front"] and WHOLE[0] in said
    ringed = figure.axes[1].collections[-1].get_offsets().tolist()
    assert ringed == [[100, 74], [200, 75]]


def test_a_method_has_one_colour_in_all_figures_of_a_notebook():
    front, runs = pd.DataFrame(tables()["front"][0]), pd.DataFrame(tables()["top_three"][0])
    marks = accuracy_flops_front(front.replace({"random": "best known"})).axes[0].collections
    in_front = {mark.get_label().split(":")[0]: tuple(mark.get_facecolor()[0][:3]) for mark in marks}
    rows = top_three(runs.assign(top3=74.0)).axes[0].collections
    assert [tuple(row.get_facecolor()[0][:3]) for row in rows[:2]] == [in_front["NGAE"], in_front["best known"]]


def test_cells_name_what_their_accuracies_are():
    [cells] = tables()["top_cells"]
    evaluated = [ax.get_title() for ax in ngae_top_cells(cells).axes]
    assert evaluated[0].startswith("evaluated 74.50 %, table 74.80 %\n")
    assert evaluated[3].startswith("evaluated 74.50 %, not in the table\n")
    measured = [ax.get_title() for ax in ngae_top_cells(cells.assign(from_scratch=[90] + [np.nan] * 5)).axes]
    assert measured[0].startswith("shared weights 74.50, from scratch 90.00 %\n")
    assert measured[1].startswith("shared weights 74.50 %\n")


def test_pareto_front():
    front = plots.pareto_front([3, 1, 2, 1, 4], [5.0, 2.0, 1.5, 1.0, 5.0])
    assert front.tolist() == [[1, 2.0], [3, 5.0]]
    assert plots.pareto_front([1, 2, 3], [np.nan, 5.0, 6.0]).tolist() == [[2, 5.0], [3, 6.0]]


def test_cells_far_below_the_highest_are_left_out():
    cells = pd.DataFrame({"group": "found", "in_table": [93, 91, 88], "again": 90, "low": 89, "high": 91})
    marks, *_ = one_shot_again(cells).axes[0].lines
    assert marks.get_xdata().tolist() == pytest.approx([93, 91])


def test_a_method_without_a_fixed_colour_takes_none_that_another_in_the_figure_has():
    methods = ["random search", "most parameters", "regularised evolution", "CR-LSO as released", "my own", "another"]
    colours = colours_of(iter(methods))
    assert len({colours[method] for method in methods}) == len(methods)
