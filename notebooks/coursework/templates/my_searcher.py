"""A search method, as small as the contract allows: a template to change step by step.

Run this file: `check_searcher` of `latentnas.interfaces` says what it still lacks.
"""

import numpy as np
from my_space import MySpace

from latentnas.interfaces import check_searcher
from latentnas.search.domains import SampledDomain


class MySearcher:
    """Hill climbing: a random neighbour of the best so far, or an architecture from anywhere where all are known."""

    def __init__(self, domain, seed):
        self.domain, self.seed, self.known = domain, seed, {}
        self.random = np.random.default_rng(seed)

    def ask(self, n):
        best = max(self.known, key=self.known.get, default=None)
        near = [] if best is None else [row for row in self.domain.neighbors(best).tolist() if row not in self.known]
        return self.random.permutation(near)[:n] if near else self.domain.fresh(self.random, n, self.known)

    def tell(self, rows, values):
        self.known |= dict(zip(rows.tolist(), values.tolist()))


if __name__ == "__main__":
    check_searcher(MySearcher, SampledDomain(MySpace(), seed=0))
    print("The searcher keeps its contract.")
