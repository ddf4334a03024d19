"""A search method, as small as the contract allows: a template to change step by step.

Run this file: `check_searcher` of `latentnas.interfaces` says what it still lacks. The leaderboard plays it as it is.
"""

import numpy as np


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


if __name__ == "__main__":  # what the searcher itself does not need, so that it can be handed in alone
    from my_space import MySpace

    from latentnas.interfaces import check_searcher
    from latentnas.search.domains import SampledDomain

    check_searcher(MySearcher, SampledDomain(MySpace(), seed=0))
    print("The searcher keeps its contract.")
