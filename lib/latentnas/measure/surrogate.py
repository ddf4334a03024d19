"""What ENAS architectures are worth that are not in a table: a measurement where that can be had, else a surrogate."""

import sys
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import KFold, cross_val_predict

from latentnas.benchmarks.enas import EnasTable
from latentnas.graphs import DagBatch
from latentnas.measure.macro import MacroNetwork
from latentnas.measure.tables import load_shared, score_shared
from latentnas.parallel import kept
from latentnas.paths import CHECKPOINTS
from latentnas.stats import pearson, rmse

GAMMA, ALPHA = 0.03, 0.01  # the best of five pairs tried with the folds that give `error`: a little optimistic for it


@dataclass(frozen=True)
class SkipSurrogate:
    """Accuracy in percent of any ENAS architecture, by a model that shares nothing with the searches it is used on. The
    15 skip flags alone decide in the public table: it is looked up where the table has them, elsewhere predicted by
    kernel ridge regression over all 8,477 labelled sets of flags, or `patterns` of them, of test architectures too."""

    benchmark: EnasTable
    signs: np.ndarray  # [K, 15] the labelled flags as +-1
    weights: np.ndarray  # [K] accuracy is the kernel with them
    mean: float
    error: float  # root mean squared error on unseen flags (five-fold cross-validation), in points
    correlation: float  # Pearson, of the same cross-validation

    def query(self, batch: DagBatch) -> pd.DataFrame:
        """One row a graph, the columns of `benchmark.query_any` and `judged` (NaN where the graph is not an
        architecture) and `looked_up` (its flags are in the table: `judged` is a label, not a prediction)."""
        frame = self.benchmark.query_any(batch)
        signs = 2.0 * self.benchmark.space.skips(batch.to("cpu")).numpy() - 1.0
        parts = np.array_split(signs, len(signs) // 4096 + 1)  # small enough for their kernel matrix to fit in memory
        predicted = [rbf_kernel(part, self.signs, gamma=GAMMA) @ self.weights for part in parts if len(part)]
        looked_up = frame["accuracy_by_skips"].notna()
        accuracy = np.concatenate([np.empty(0), *predicted]) + self.mean
        judged = frame["accuracy_by_skips"].where(looked_up, accuracy).where(frame["valid"])
        return frame.assign(judged=judged, looked_up=looked_up)


@dataclass(frozen=True)
class LiveEvaluator:
    """Accuracy in percent of any ENAS architecture, measured with the shared weights of the bundled table. About
    20 ms for an architecture that is neither in the table nor was measured in an earlier call; less where many begin
    alike."""

    benchmark: EnasTable
    network: MacroNetwork
    measured: dict[bytes, float] = field(default_factory=dict, repr=False)  # graph: accuracy, of earlier calls
    error: float = 0.0  # of a measurement against itself
    correlation: float = 1.0

    def query(self, batch: DagBatch) -> pd.DataFrame:
        """As `SkipSurrogate.query`; every architecture counts as looked up."""
        batch = batch.to("cpu")
        frame = self.benchmark.query_any(batch)
        keys, new = batch.keys(), (frame["valid"] & ~frame["known"]).to_numpy()
        rows = {keys[row]: row for row in np.flatnonzero(new).tolist() if keys[row] not in self.measured}
        if rows:
            scores = score_shared(self.network, batch[list(rows.values())])
            self.measured.update(zip(rows, scores.tolist()))
        judged = frame["accuracy"].to_numpy(copy=True)
        judged[new] = [self.measured[key] for key, missing in zip(keys, new) if missing]
        return frame.assign(judged=judged, looked_up=frame["valid"])


def evaluator_of(benchmark: EnasTable, patterns: int | None = None) -> SkipSurrogate | LiveEvaluator:
    """What evaluates architectures beyond a table: of the bundled one, its shared weights; of the public one, a
    regression on all labelled sets of flags, or on `patterns` of them, kept among the checkpoints. Of a table of one's
    own there is none."""
    if benchmark.source.name == "bundled":
        return LiveEvaluator(benchmark, load_shared())
    flags, rows = np.unique(benchmark.space.skips(benchmark.batch).numpy(), axis=0, return_index=True)
    chosen = np.random.default_rng(0).permutation(len(flags))[:patterns]
    signs, accuracy = 2.0 * flags[chosen] - 1.0, benchmark.accuracy.numpy()[rows[chosen]]
    folder = CHECKPOINTS / f"surrogate-{benchmark.source.files['enas'][:12]}-{len(chosen)}"
    stored = kept(folder / "surrogate.json", _train, (signs, accuracy))
    weights = np.array(stored["weights"])
    return SkipSurrogate(benchmark, signs, weights, accuracy.mean(), stored["error"], stored["correlation"])


def _train(signs: np.ndarray, accuracy: np.ndarray) -> dict:
    print(f"surrogate: training on {len(signs)} sets of skip flags, about a minute", file=sys.stderr, flush=True)
    mean, scale = accuracy.mean(), accuracy.std()
    labels = (accuracy - mean) / scale
    model = KernelRidge(kernel="rbf", gamma=GAMMA, alpha=ALPHA)
    unseen = cross_val_predict(model, signs, labels, cv=KFold(5, shuffle=True, random_state=0))
    weights = scale * model.fit(signs, labels).dual_coef_
    return {"weights": weights.tolist(), "error": scale * rmse(labels, unseen), "correlation": pearson(labels, unseen)}
