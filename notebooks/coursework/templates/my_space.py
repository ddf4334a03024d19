"""A search space, as small as the contract allows: a template to change step by step.

Run this file: `check_space` of `latentnas.interfaces` says what it still lacks.
"""

import numpy as np
import torch

from latentnas.graphs import DagBatch
from latentnas.interfaces import check_space


class MySpace:
    """Three operations in a row, each a convolution (c) or a pooling (p), and three skips from the input: `cpc 101`.

    D-VAE and NGAE never write the third skip, into the output; `latentnas.spaces` says why."""

    name = "toy"
    num_vertices, num_types = 5, 4
    type_names = ("input", "output", "conv3x3", "maxpool3x3")
    input_type, output_type = 0, 1

    def from_choices(self, choices):
        choices = torch.as_tensor(choices)
        types = torch.zeros(len(choices), 5, dtype=torch.int64)
        types[:, 1:4], types[:, 4] = 2 + choices[:, :3], self.output_type
        adjacency = torch.eye(5, dtype=torch.bool).roll(1, dims=1).triu().repeat(len(choices), 1, 1)
        adjacency[:, 0, 2:] = choices[:, 3:].bool()
        return DagBatch(types, adjacency, torch.full((len(choices),), 5))

    def choices(self, batch):
        batch = batch.pad_to(max(5, batch.max_vertices))
        return torch.cat([batch.types[:, 1:4] - 2, batch.adjacency[:, 0, 2:5].long()], dim=1).cpu().numpy()

    def to_batch(self, texts):
        wrong = [text for text in texts if len(text) != 7 or set(text[:3]) - {*"cp"} or set(text[4:]) - {*"01"}]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no toy architecture; write it like 'cpc 101'.")
        return self.from_choices([[*map("cp".index, text[:3]), *map(int, text[4:])] for text in texts])

    def to_strings(self, batch):
        if not self.contains(batch).all():
            raise ValueError("A graph is no toy architecture.")
        return ["".join("cp"[c] for c in row[:3]) + " " + "".join(map(str, row[3:])) for row in self.choices(batch)]

    def is_valid(self, batch):
        return self.contains(batch)

    def contains(self, batch):
        wide = batch.pad_to(max(5, batch.max_vertices))
        again = self.from_choices(self.choices(wide)).pad_to(wide.max_vertices).to(wide.types.device)
        same = (again.types == wide.types).all(1) & (again.adjacency == wide.adjacency).flatten(1).all(1)
        return same & (wide.types[:, 1:4] // 2 == 1).all(1) & (wide.num_vertices == 5)  # of types 2 and 3

    def sample(self, n, seed):
        return self.from_choices(np.random.default_rng(seed).integers(0, 2, (n, 6)))

    def neighbors(self, batch):
        return [self.from_choices(row ^ np.eye(6, dtype=np.int64)) for row in self.choices(batch)]

    def enumerate(self):  # this and `index` only where all architectures can be listed
        return self.from_choices(np.indices((2,) * 6).reshape(6, -1).T)

    def index(self, batch):
        rows = torch.as_tensor(self.choices(batch) @ 2 ** np.arange(5, -1, -1))
        return torch.where(self.contains(batch).cpu(), rows, -1)

    def flops(self, batch):
        return 1000 * self.params(batch)

    def params(self, batch):
        return 9 * (batch.types == 2).sum(dim=1)


if __name__ == "__main__":
    check_space(MySpace())
    print("The space keeps its contract.")
