"""The pilot of a table of cells: its sample, its numbers, and that it goes on where it was cut off."""

import numpy as np
import pandas as pd
import pytest

from latentnas import paths
from latentnas.benchmarks.digits import PARAMS
from latentnas.measure import pilot, tables
from latentnas.measure.tables import Setting, score_cells
from latentnas.measure.train import Schedule
from latentnas.spaces.nasbench201 import NASBENCH201


def test_a_sample_is_spread_over_the_sizes_and_has_the_largest_cell():
    rows = pilot.sample(60)
    cells = NASBENCH201.enumerate()[rows]
    assert len(set(rows)) == 60 and set(rows) <= set(NASBENCH201.representatives())
    assert NASBENCH201.connected(cells).all()
    sizes = pilot.weights_of(rows)
    assert sizes[-1] == pilot.weights_of(np.arange(NASBENCH201.size)).max() == 6 * 9
    assert (np.diff(sizes) >= 0).all()
    every = NASBENCH201.representatives()
    every = every[NASBENCH201.connected(NASBENCH201.enumerate()[every]).numpy()]
    assert np.median(sizes) == pytest.approx(np.median(pilot.weights_of(every)), abs=1)
    for count in (2, len(every) + 1):
        with pytest.raises(ValueError, match="choose 3 to"):
            pilot.sample(count)


def test_weights_order_cells_as_their_parameters_do():
    operations = NASBENCH201.choices(NASBENCH201.enumerate())
    parameters = PARAMS[0] + PARAMS[1] * (operations == 2).sum(axis=1) + PARAMS[2] * (operations == 3).sum(axis=1)
    order = np.lexsort((parameters, pilot.weights_of(np.arange(NASBENCH201.size))))
    assert (np.diff(parameters[order]) >= 0).all()


def test_a_summary_counts_what_is_better_than_the_largest():
    rows = pilot.sample(4)
    runs = pd.DataFrame({"row": np.tile(rows, 2), "seed": np.repeat([0, 1], 4), "seconds": 0.5})
    found = pilot.summary(runs.assign(test=[90, 80, 95, 85, 92, 84, 82, 83]))  # means 91, 82, 88.5, 84
    assert found["better than the largest (%)"] == 50 and found[pilot.HELD] == 2
    assert found["spearman of seeds"] == pytest.approx(-0.4)  # ranks 3 1 4 2 and 4 3 1 2
    assert found["spearman of params"] == pytest.approx(-0.4)  # sizes 1 2 3 4, ranks 4 1 3 2
    assert found["hours of the table"] == pytest.approx(0.5 * 6466 * 3 / 3600)


@pytest.mark.slow
def test_a_pilot_trains_the_network_of_its_setting_and_reads_what_was_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    setting = Setting(channels=2, cells=2, schedule=Schedule(epochs=1))
    monkeypatch.setitem(pilot.SETTINGS, "tiny", setting)
    runs, found = pilot.pilot(["tiny"], 3, jobs=1, seeds=1)
    expected = score_cells(NASBENCH201.enumerate()[pilot.sample(3)], 0, setting)
    assert runs[["valid", "test"]].to_numpy() == pytest.approx(expected[["valid", "test"]].to_numpy())
    assert found[["setting", "channels", "cells", "epochs", "noise"]].to_numpy().tolist() == [["tiny", 2, 2, 1, 0.5]]
    assert np.isnan(found["spearman of seeds"].item())
    monkeypatch.setattr(tables, "cell_group", lambda *arguments: pytest.fail("trained again"))
    assert pilot.pilot(["tiny"], 3, jobs=1, seeds=1)[1].equals(found)


def test_the_setting_with_most_properties_comes_first(monkeypatch):
    rows = pilot.sample(5)
    monkeypatch.setattr(pilot, "sample", lambda count: rows)
    by_setting = {"table": [1, 2, 3, 4, 5], "short": [5, 1, 2, 4, 3], "deep": [1, 2, 3, 5, 4]}  # larger to the right

    def measured(name, rows, seeds, jobs):
        runs = [
            pd.DataFrame({"row": rows, "seed": seed, "test": by_setting[name], "seconds": 1.0}) for seed in range(2)
        ]
        return pd.concat(runs).assign(setting=name)

    monkeypatch.setattr(pilot, "measure", measured)
    _, found = pilot.pilot([*by_setting], 5, jobs=1)
    assert found["setting"].tolist() == ["short", "deep", "table"] and found[pilot.HELD].tolist() == [3, 2, 1]


def test_where_all_parts_are_stored_no_process_is_started(tmp_path, monkeypatch):
    """Each would take seconds to import PyTorch."""
    measure, asked = tables.in_processes, []

    def alone(function, calls, jobs, called):
        asked.append(jobs)
        return measure(function, calls, 1, called)

    monkeypatch.setattr(tables, "in_processes", alone)
    tasks = [(tmp_path / f"{row}.json", row) for row in range(2)]
    first, second = (tables.measure_parts(lambda row: pd.DataFrame({"row": [row]}), tasks, 2) for _ in range(2))
    assert asked == [2, 1] and first.equals(second) and [*first["row"]] == [0, 1]
