"""Decoding with the autoregressive decoder of D-VAE, batched over every graph that is still being written.

See `latentnas.models.branches` for how decodes share branches, and `latentnas.models.reference_dvae` for the same
written plainly. Letters: M branches, N vertices, T node types, H hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentnas.models.branches import Decoding, binomial_split
from latentnas.models.dagnn import DagDecoder, gru, message, type_gates


class DagDecoding(Decoding):
    """One run of a `DagDecoder`. Branches keep the state of their last vertex, `last [M, H]`, and in `rows [M, N]`
    where the messages of their vertices lie in lists that all branches share."""

    def __init__(
        self, decoder: DagDecoder, config: Any, z: Tensor, trials: int, generator: torch.Generator | None
    ) -> None:
        super().__init__(config, z, trials, generator, closing=True)
        self.decoder, cell = decoder, decoder.cell
        self.weight, self.bias = decoder.message.weights()
        types, hidden = self.branches.types, cell.hidden_size
        self.branches.state = {
            "last": gru(cell, type_gates(cell, types[:, 0]), decoder.initial(z).tanh()),
            "rows": torch.zeros_like(types),
        }
        self.target_weight = decoder.edge_head[0].weight[:, hidden:]
        # A new vertex has no predecessors yet: one state per type, and one half of the edge head's first layer.
        self.new_state = decoder.empty_states(z)  # [T, H]
        self.new_target = F.linear(self.new_state, self.target_weight)  # [T, 4H]
        self.messages = z.new_zeros(0, hidden)  # of every vertex written so far, [rows, H]
        self.from_source = z.new_zeros(0, 4 * hidden)  # and their half of that layer

    def type_probability(self, v: int) -> Tensor:
        self._publish(v - 1)
        return self.decoder.vertex_head(self.branches.state["last"]).softmax(dim=1)

    def _publish(self, v: int) -> None:
        """Add the finished vertex v to the lists that later vertices read."""
        state, head = self.branches.state["last"], self.decoder.edge_head[0]
        self.branches.state["rows"][:, v] = torch.arange(len(state), device=state.device) + len(self.messages)
        self.messages = torch.cat([self.messages, message(state, self.weight, self.bias[v])])
        from_source = F.linear(state, head.weight[:, : state.shape[1]], head.bias)
        self.from_source = torch.cat([self.from_source, from_source])

    def choose_edges(self, v: int) -> None:
        """From the nearest vertex back; the state of vertex v follows every "yes"."""
        types = self.branches.types[:, v]
        self.branches.state |= {
            "last": self.new_state[types],
            "target": self.new_target[types],
            "gates": type_gates(self.decoder.cell, types),
            "received": torch.zeros_like(self.branches.state["last"]),
        }
        for u in range(v - 1, -1, -1):
            state, count = self.branches.state, self.branches.count
            hidden = state["target"] + self.from_source[state["rows"][:, u]]
            yes = binomial_split(count, self.decoder.edge_head[1:](hidden).squeeze(1).sigmoid(), self.generator)
            both = ((yes > 0) & (yes < count)).nonzero().squeeze(1)
            if len(both):  # the "no" part of a split branch goes on as a branch of its own, at the end
                self.branches = self.branches.take(torch.cat([torch.arange(len(yes), device=yes.device), both]))
                self.branches.count = torch.cat([yes.where((yes > 0) & (yes < count), count), (count - yes)[both]])
                state = self.branches.state
            changed = (yes > 0).nonzero().squeeze(1)
            self.branches.adjacency[changed, u, v] = True
            state["received"][changed] += self.messages[state["rows"][changed, u]]
            state["last"][changed] = gru(self.decoder.cell, state["gates"][changed], state["received"][changed])
            state["target"][changed] = F.linear(state["last"][changed], self.target_weight)
        for name in ("target", "gates", "received"):
            del self.branches.state[name]
