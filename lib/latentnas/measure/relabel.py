"""Other labels for ENAS architectures of any table: the accuracy that this project's own shared weights give them."""

import hashlib

import numpy as np
import pandas as pd

from latentnas.benchmarks.download import bundled
from latentnas.graphs import DagBatch
from latentnas.measure.tables import (
    SHARED_SCHEDULE,
    WEIGHTS_FILES,
    load_shared,
    measure_parts,
    parts_folder,
    score_shared,
)
from latentnas.spaces.enas import ENAS, NUM_LAYERS

AT_ONCE = 200  # architectures of one part, nine seconds


def shared_labels(batch: DagBatch, jobs: int) -> np.ndarray:
    """Accuracy in percent of A six-layer architectures with the shared weights behind `digits-enas`, float64 `[A]`.

    Rounded to as many digits as there. `jobs` parts are scored at a time and kept; a later call with the same
    architectures reads them.
    """
    texts = ENAS.to_strings(batch)
    folder = parts_folder("enas-relabelled", SHARED_SCHEDULE)
    weights = bundled(WEIGHTS_FILES[NUM_LAYERS]).read_bytes()
    digest = hashlib.sha256(weights + "\n".join(texts).encode()).hexdigest()[:12]
    starts = range(0, len(texts), AT_ONCE)
    tasks = [(folder / digest / f"{start:05d}.json", texts[start : start + AT_ONCE]) for start in starts]
    return measure_parts(_part, tasks, jobs)["valid"].to_numpy(np.float64)


def _part(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"valid": score_shared(load_shared(), ENAS.to_batch(texts)).round(3)})
