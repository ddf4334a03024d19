"""S-VAE and GraphRNN: a graph read and written as a sequence of rows, a vertex's type and the edges into it.

The baselines of D-VAE (Zhang et al., 2019, https://arxiv.org/abs/1904.11088) that pass no messages: one GRU, the
reader, runs over the rows x_v; another, the writer, starts from z and says what the next row is.

    s_v = GRU(x_(v-1), s_(v-1)),  s_0 = tanh(A z);    type of v from s_v,  edges into v from s_v and the type of v
    loss = types + edges + beta * KL

S-VAE decides all edges of a row at once. GraphRNN (You et al., 2018, https://arxiv.org/abs/1802.08773), whose reader
and starting state are S-VAE's, has one more GRU, which decides them in turn, from the nearest vertex back.

D-VAE's code, `released=True`, differs. S-VAE's writer is fed ReLU(A z) at every step and sees no row. GraphRNN's starts
from ReLU(A z) and is fed zeros first, not the row of the input, and its edge GRU starts from s_v without the type of v
and runs from vertex 0 upwards. In both, the reader skips the row of the input and ends with the padding, rows of the
input type; padding and the edges that cannot be are learnt like true ones; the heads have H hidden units instead of 2
H; and a decoded graph is closed as D-VAE's is (see `Decoding`). A writer that sees what it has written is what
GraphRNN's paper means, so it is the default. When GraphRNN writes, D-VAE also draws edges that cannot be and feeds them
on; here they are left out, as in training.

Letters: B graphs, M branches, N vertices, T node types, H hidden, D latent, F = T + N - 1 numbers in a row.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.interfaces import Decodes
from latentnas.models.base import AutoregressiveVAE, VAEConfig, full_precision, two_layers
from latentnas.models.branches import Branches, Decoding, graphs_of, split
from latentnas.models.dagnn import gru, type_gates

NOT_YET = -1  # stands for the decision before the first one


@dataclass(frozen=True)
class SVAEConfig(VAEConfig):
    """Sizes and weights of S-VAE and of GraphRNN."""

    released: bool = False  # True: the models of D-VAE's code, see the module's docstring


class EdgesAtOnce(nn.Module):
    """The edges into a vertex, all from the writer's state and, unless released, the vertex's type."""

    def __init__(self, config: SVAEConfig) -> None:
        super().__init__()
        self.released, hidden = config.released, config.hidden
        inputs, width = (hidden, hidden) if config.released else (hidden + config.num_types, 2 * hidden)
        self.head = two_layers(inputs, width, config.num_vertices - 1)

    def logits(self, states: Tensor, types: Tensor, edges: Tensor) -> Tensor:
        """`[B, N-1, N-1]`, source u of target v in row v - 1, from the writer's states `[B, N-1, H]`, one-hot types
        `[B, N-1, T]` and, not here, the true edges `[B, N-1, N-1]`; those with u >= v mean nothing."""
        return self.head(states if self.released else torch.cat([states, types], dim=-1))

    def choose(self, decoding: Decoding, state: Tensor, types: Tensor, v: int) -> None:
        """Split branches over the edges into vertex v, given the writer's state `[M, H]` and one-hot types `[M, T]`."""
        decoding.split_over_edges(v, self.logits(state, types, types)[:, :v].sigmoid())


class EdgesInTurn(nn.Module):
    """The edges into a vertex one after the other by a GRU that reads the decision before, no or yes."""

    def __init__(self, config: SVAEConfig) -> None:
        super().__init__()
        self.released, hidden = config.released, config.hidden
        if self.released:
            self.cell = nn.GRUCell(1, hidden)
            self.head = two_layers(hidden, hidden, 1)
        else:
            self.initial = nn.Linear(hidden + config.num_types, hidden)
            self.cell = nn.GRUCell(2, hidden)
            self.head = nn.Linear(hidden, 1)

    def logits(self, states: Tensor, types: Tensor, edges: Tensor) -> Tensor:
        """As of `EdgesAtOnce`, each given the true edges decided before it."""
        step = torch.arange(edges.shape[2], device=edges.device)
        # which source of vertex v is decided at a step, and at which step a source is
        turn = (step if self.released else (step[:, None] - step).clamp(min=0)).expand_as(edges)
        before = F.pad(edges.gather(2, turn)[..., :-1].long(), (1, 0), value=NOT_YET)
        hidden, steps = self._start(states, types), []
        for gates in self._gates(before).unbind(dim=2):
            hidden = gru(self.cell, gates, hidden.to(gates.dtype))
            steps.append(hidden)
        return self.head(torch.stack(steps, dim=2)).squeeze(3).gather(2, turn)

    def choose(self, decoding: Decoding, state: Tensor, types: Tensor, v: int) -> None:
        count = decoding.branches["count"]
        row = torch.arange(len(count), device=count.device)
        edges = torch.zeros(len(count), v, dtype=torch.bool, device=count.device)
        hidden, before = self._start(state, types), torch.full_like(row, NOT_YET)
        for u in range(v) if self.released else range(v - 1, -1, -1):
            hidden = gru(self.cell, self._gates(before), hidden)
            index, taken, count = split(count, self.head(hidden).squeeze(1).sigmoid(), decoding.generator)
            row, edges, hidden, before = row[index], edges[index], hidden[index], taken.long()
            edges[:, u] = taken
        decoding.keep(v, row, edges, count)

    def _start(self, state: Tensor, types: Tensor) -> Tensor:
        return state if self.released else self.initial(torch.cat([state, types], dim=-1)).tanh()

    def _gates(self, before: Tensor) -> Tensor:
        """Input part of the GRU for decisions `[...]`: one indicator of no and one of yes; released, of yes alone."""
        if not self.released:
            return type_gates(self.cell, before)
        yes = (before > 0)[..., None].to(self.cell.weight_ih.dtype)
        return F.linear(yes, self.cell.weight_ih, self.cell.bias_ih)


class SVAE(AutoregressiveVAE):
    """The variational autoencoder of rows; the equations are the module's."""

    edges_class: type[EdgesAtOnce | EdgesInTurn] = EdgesAtOnce

    def __init__(self, config: SVAEConfig) -> None:
        super().__init__()
        self.config = config
        row, hidden = config.num_types + config.num_vertices - 1, config.hidden
        self.sees_rows = not config.released or self.edges_class is EdgesInTurn
        self.reader = nn.GRU(row, hidden, batch_first=True)
        self.mu = nn.Linear(hidden, config.latent)
        self.logvar = nn.Linear(hidden, config.latent)
        self.initial = nn.Linear(config.latent, hidden)
        self.writer = nn.GRU(row if self.sees_rows else hidden, hidden, batch_first=True)
        self.type_head = two_layers(hidden, hidden if config.released else 2 * hidden, config.num_types)
        self.edges = self.edges_class(config)

    def _encode(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        rows = self._rows(batch)
        if not len(batch):  # the GRU refuses a batch of none
            last = rows.new_zeros(0, self.config.hidden)
        elif self.config.released:
            last = self.reader(rows[:, 1:])[0][:, -1]
        else:
            states, _ = self.reader(rows)
            last = states[torch.arange(len(batch), device=states.device), batch.num_vertices - 1]
        return self.mu(last), self.logvar(last)

    def _reconstruction(self, z: Tensor, batch: DagBatch) -> dict[str, Tensor]:
        config, rows = self.config, self._rows(batch)
        start, state = self._start(z)
        states, _ = self.writer(self._inputs(rows[:, :-1], start), state[None].to(rows.dtype))
        targets = batch.types[:, 1:]
        if config.released:
            targets = targets.where(targets != NO_VERTEX, config.input_type)
        types = full_precision(self.type_head(states)).flatten(0, 1)
        types = F.cross_entropy(types, targets.flatten(), ignore_index=NO_VERTEX, reduction="sum")
        wanted = batch.adjacency[:, :-1, 1:].transpose(1, 2)  # [B, v - 1, u]
        edges = full_precision(self.edges.logits(states, rows[:, 1:, : config.num_types], wanted))
        edges = F.binary_cross_entropy_with_logits(edges, wanted.to(edges.dtype), reduction="none")
        if not config.released:
            edges = edges * (torch.ones_like(edges[0]).tril() * (targets != NO_VERTEX)[:, :, None])
        return {"vertices": types / len(batch), "edges": edges.sum() / len(batch)}

    def _rows(self, batch: DagBatch) -> Tensor:
        """One-hot type and edges from the vertices before, `[B, N, F]`; absent ones have no type, or the input's."""
        one_hot = batch.one_hot(self.config.num_types)
        if self.config.released:
            one_hot[..., self.config.input_type] += batch.types == NO_VERTEX
        return torch.cat([one_hot, batch.adjacency[:, :-1].transpose(1, 2)], dim=2).to(self.mu.weight.dtype)

    def _start(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What z says, `[M, H]`, and the writer's first state, which is the same where it sees rows."""
        start = self.initial(z).relu() if self.config.released else self.initial(z).tanh()
        return start, start if self.sees_rows else torch.zeros_like(start)

    def _inputs(self, rows: Tensor, start: Tensor) -> Tensor:
        """What the writer is fed at all vertices but the first, given the rows before each, `[M, V, F]`."""
        if not self.sees_rows:
            return start[:, None].expand(-1, rows.shape[1], -1).to(rows.dtype)
        if self.config.released:
            return torch.cat([torch.zeros_like(rows[:, :1]), rows[:, 1:]], dim=1)
        return rows

    def _sample(self, z: Tensor, trials: int, generator: torch.Generator | None) -> Decodes:
        return _RowDecoding.decode(self, self.config, z, trials, generator)


class _RowDecoding(Decoding):
    """One run of an `SVAE`. Branches keep what z says, `start [M, H]`, and the state of the writer, `writer [M, H]`."""

    def first_state(self, types: Tensor, z: Tensor) -> Branches:
        self.closing = self.config.released
        start, state = self.net._start(z)
        return {"start": start, "writer": state}

    def type_probability(self, v: int) -> Tensor:
        net, branches = self.net, self.branches
        if len(branches["count"]):  # the GRU refuses a batch of none
            rows = net._rows(graphs_of(branches, v))[:, :v]
            fed = net._inputs(rows, branches["start"])[:, -1:]
            branches["writer"] = net.writer(fed, branches["writer"][None].contiguous())[1][0]
        return net.type_head(branches["writer"]).softmax(dim=1)

    def choose_edges(self, v: int) -> None:
        state = self.branches["writer"]
        one_hot = F.one_hot(self.branches["types"][:, v], self.config.num_types).to(state.dtype)
        self.net.edges.choose(self, state, one_hot, v)


class GraphRNN(SVAE):
    """S-VAE with the edges of a vertex decided in turn."""

    edges_class = EdgesInTurn
