"""Beyond the ENAS tables: the surrogate against a table, the live evaluator against measuring one by one."""

import numpy as np
import pytest

from latentnas.benchmarks.base import Source
from latentnas.benchmarks.enas import assemble
from latentnas.graphs import DagBatch
from latentnas.measure.macro import MacroNetwork
from latentnas.measure.surrogate import LiveEvaluator, evaluator_of
from latentnas.measure.tables import score_shared
from latentnas.spaces.enas import ENAS


@pytest.fixture(scope="module")
def surrogate(enas, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latentnas.measure.surrogate.CHECKPOINTS", tmp_path_factory.mktemp("surrogate"))
        yield evaluator_of(enas, patterns=1500)


def test_the_surrogate_looks_labels_up_where_it_can(enas, surrogate):
    frame = surrogate.query(enas.batch[:200])
    assert frame["looked_up"].all() and np.allclose(frame["judged"], enas.accuracy[:200])


def test_the_surrogate_states_its_error_on_unseen_flags(enas, surrogate):
    assert 0.1 < surrogate.error < 0.5 * enas.accuracy.std() and 0.9 < surrogate.correlation < 1
    signs = 2.0 * enas.space.skips(enas.batch).numpy() - 1.0
    known = {row.tobytes() for row in surrogate.signs}
    unseen = np.array([row.tobytes() not in known for row in signs]).nonzero()[0][:2000]
    with pytest.MonkeyPatch.context() as patch:  # a table without these flags: the surrogate has to predict
        query = type(enas).query_any
        hidden = {"accuracy_by_skips": np.nan, "accuracy": np.nan, "known": False}
        patch.setattr(type(enas), "query_any", lambda self, batch: query(self, batch).assign(**hidden))
        predicted = surrogate.query(enas.batch[unseen])
    assert not predicted["looked_up"].any()
    measured = np.sqrt(np.mean((predicted["judged"] - enas.accuracy[unseen].numpy()) ** 2))
    assert measured == pytest.approx(surrogate.error, rel=0.25)


def test_the_surrogate_does_not_score_what_is_no_architecture(surrogate):
    batch = ENAS.sample(3, seed=0)
    batch.adjacency[1, 3, 4] = False
    assert np.isnan(surrogate.query(batch)["judged"]).tolist() == [False, True, False]


def test_a_second_call_loads_the_surrogate(enas, surrogate, tmp_path, monkeypatch):
    monkeypatch.setattr("latentnas.measure.surrogate.CHECKPOINTS", tmp_path)
    first = evaluator_of(enas, patterns=300)
    monkeypatch.setattr("latentnas.measure.surrogate._train", lambda *_: pytest.fail("trained again"))
    second = evaluator_of(enas, patterns=300)
    assert np.array_equal(first.weights, second.weights) and first.error == second.error


def test_a_damaged_surrogate_is_set_aside_and_trained_again(enas, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("latentnas.measure.surrogate.CHECKPOINTS", tmp_path)
    first = evaluator_of(enas, patterns=50)
    [file] = [path for path in tmp_path.rglob("*") if path.is_file()]
    file.write_bytes(file.read_bytes()[:-100])
    second = evaluator_of(enas, patterns=50)
    assert np.array_equal(first.weights, second.weights) and first.error == second.error
    assert f"{file} is damaged" in capsys.readouterr().err


def test_no_graphs_get_no_predictions(surrogate):
    assert len(surrogate.query(ENAS.sample(0, seed=0))) == 0


@pytest.fixture
def live():
    """Untrained shared weights, and a table of 20 architectures that they were not measured with."""
    batch = ENAS.sample(20, seed=0)
    benchmark = assemble(batch, np.linspace(80, 90, 20), Source("bundled", {}))
    return LiveEvaluator(benchmark, MacroNetwork(0, channels=2))


def test_the_live_evaluator_measures_what_the_table_lacks(live):
    known, new = live.benchmark.batch[:3], ENAS.sample(4, seed=1)
    invalid = ENAS.sample(1, seed=2)
    invalid.adjacency[0, 2, 3] = False
    frame = live.query(DagBatch.cat([new, known, invalid, new[[0]]]))
    alone = [score_shared(live.network, new[[row]]).item() for row in range(4)]
    expected = alone + live.benchmark.accuracy[:3].tolist() + [np.nan] + alone[:1]
    assert np.allclose(frame["judged"], expected, equal_nan=True)
    assert frame["looked_up"].tolist() == [True] * 7 + [False, True]


def test_the_live_evaluator_measures_once(live, monkeypatch):
    asked = []

    def measure(network, batch):
        asked.append(len(batch))
        return score_shared(network, batch)

    monkeypatch.setattr("latentnas.measure.surrogate.score_shared", measure)
    new = ENAS.sample(4, seed=1)
    first, second = live.query(new[[0, 1, 1]]), live.query(new[[1, 2, 0]])
    assert asked == [2, 1] and second["judged"][0] == first["judged"][1] == first["judged"][2]
    assert len(live.query(new[:0])) == 0 and asked == [2, 1]
