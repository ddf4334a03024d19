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
H (that of GraphRNN's edges: none); and a decoded graph is closed as D-VAE's is (see `Decoding`). A writer that sees
what it has written is what GraphRNN's paper means, so it is the default. When GraphRNN writes, D-VAE also draws edges
that cannot be and feeds them on; here they are left out, as in training.

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
from latentnas.models.kernels import run_gru

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

    def loss(self, states: Tensor, types: Tensor, batch: DagBatch) -> Tensor:
        """Summed cross-entropy of the edges (nats), from the writer's states `[N-1, B, H]` and the one-hot types of the
        vertices that they are decided for, `[N-1, B, T]`."""
        logits = full_precision(self._logits(states, types))
        wanted = batch.adjacency[:, :-1, 1:].permute(2, 0, 1).to(logits.dtype)  # [v - 1, B, u]
        loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if not self.released:
            loss = (
                loss * loss.new_ones(loss.shape[::2]).tril()[:, None] * (batch.types[:, 1:] != NO_VERTEX).t()[..., None]
            )
        return loss.sum()

    def _logits(self, states: Tensor, types: Tensor) -> Tensor:
        """Of the edges from all vertices but the last, `[..., N-1]`; those with u >= v mean nothing."""
        return self.head(states if self.released else torch.cat([states, types], dim=-1))

    def choose(self, decoding: Decoding, state: Tensor, types: Tensor, v: int) -> None:
        """Split branches over the edges into vertex v, given the writer's state `[M, H]` and one-hot types `[M, T]`."""
        decoding.split_over_edges(v, self._logits(state, types)[:, :v].sigmoid())


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

    def loss(self, states: Tensor, types: Tensor, batch: DagBatch) -> Tensor:
        """As of `EdgesAtOnce`, each edge given the true ones decided before it."""
        sources = len(states)
        if self.released:  # pairs of a step and the target - 1 it decides about, step by step
            step, target = torch.cartesian_prod(*[torch.arange(sources, device=states.device)] * 2).t()
            source, last = step, step - 1
        else:
            step, target = torch.triu_indices(sources, sources, device=states.device)
            source, last = target - step, target - step + 1
        edges = batch.adjacency.permute(1, 2, 0)
        before = edges[last, target + 1].long().masked_fill(step[:, None] == 0, NOT_YET)
        gates = self._gates(before).flatten(0, 1)
        sizes = [sources * len(batch)] * sources if self.released else [n * len(batch) for n in range(sources, 0, -1)]
        hidden = run_gru(self.cell, gates, self._start(states, types).flatten(0, 1), sizes)
        logits = full_precision(self.head(hidden).view_as(before))
        wanted = edges[source, target + 1].to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if not self.released:
            loss = loss * (batch.types != NO_VERTEX).t()[target + 1]
        return loss.sum()

    def choose(self, decoding: Decoding, state: Tensor, types: Tensor, v: int) -> None:
        count = decoding.branches["count"]
        row = torch.arange(len(count), device=count.device)
        edges = torch.zeros(len(count), v, dtype=torch.bool, device=count.device)
        hidden, before = self._start(state, types), torch.full_like(row, NOT_YET)
        for u in range(v) if self.released else range(v - 1, -1, -1):
            hidden = run_gru(self.cell, self._gates(before), hidden)
            index, taken, count = split(count, self.head(hidden).squeeze(1).sigmoid(), decoding.generator)
            row, edges, hidden, before = row[index], edges[index], hidden[index], taken.long()
            edges[:, u] = taken
        decoding.keep(v, row, edges, count)

    def _start(self, state: Tensor, types: Tensor) -> Tensor:
        return state if self.released else self.initial(torch.cat([state, types], dim=-1)).tanh()

    def _gates(self, before: Tensor) -> Tensor:
        """Input part of the GRU for decisions `[...]`: one indicator of no and one of yes; released, of yes alone."""
        decided = F.one_hot(before + 1, 3)[..., -self.cell.input_size :].to(self.cell.weight_ih.dtype)
        return F.linear(decided, self.cell.weight_ih, self.cell.bias_ih)


class SVAE(AutoregressiveVAE):
    """The variational autoencoder of rows; the equations are the module's."""

    edges_class: type[EdgesAtOnce | EdgesInTurn] = EdgesAtOnce

    def __init__(self, config: SVAEConfig) -> None:
        super().__init__()
        self.config = config
        row, hidden = config.num_types + config.num_vertices - 1, config.hidden
        self.sees_rows = not config.released or self.edges_class is EdgesInTurn
        self.reader = nn.GRU(row, hidden)
        self.mu = nn.Linear(hidden, config.latent)
        self.logvar = nn.Linear(hidden, config.latent)
        self.initial = nn.Linear(config.latent, hidden)
        self.writer = nn.GRU(row if self.sees_rows else hidden, hidden)
        self.type_head = two_layers(hidden, hidden if config.released else 2 * hidden, config.num_types)
        self.edges = self.edges_class(config)

    def _encode(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        rows = self._rows(batch)
        none = rows.new_zeros(len(batch), self.config.hidden)
        if self.config.released:
            last = self._run(self.reader, rows[1:], none)[-1]
        else:  # all graphs begin with the same row
            first = self._run(self.reader, rows[:1, :1], none[:1])[0]
            states = self._run(self.reader, rows[1:], first.expand_as(none))
            place = (batch.num_vertices - 2).clamp(min=0).expand(1, states.shape[2], -1).mT
            last = states.gather(0, place)[0].where(batch.num_vertices[:, None] > 1, first)
        return self.mu(last), self.logvar(last)

    def _run(self, cell: nn.GRU, rows: Tensor, state: Tensor) -> Tensor:
        """States `[V, M, H]` of a GRU that is fed V rows of each of M graphs, `[V, M, F]`."""
        gates = F.linear(rows, cell.weight_ih_l0, cell.bias_ih_l0)
        return run_gru(cell, gates.flatten(0, 1), state, [len(state)] * len(rows)).unflatten(0, (len(rows), -1))

    def _reconstruction(self, z: Tensor, batch: DagBatch) -> dict[str, Tensor]:
        config, rows = self.config, self._rows(batch)
        start, state = self._start(z)
        states = self._run(self.writer, self._inputs(rows[:-1], start), state)
        targets = batch.types[:, 1:].t()
        if config.released:
            targets = targets.where(targets != NO_VERTEX, config.input_type)
        types = full_precision(self.type_head(states)).flatten(0, 1)
        types = F.cross_entropy(types, targets.flatten(), ignore_index=NO_VERTEX, reduction="sum")
        edges = self.edges.loss(states, rows[1:, :, : config.num_types], batch)
        return {"vertices": types / len(batch), "edges": edges / len(batch)}

    def _rows(self, batch: DagBatch) -> Tensor:
        """One-hot type and edges from the vertices before, `[N, B, F]`; absent ones have no type, or the input's."""
        one_hot = batch.one_hot(self.config.num_types)
        if self.config.released:
            one_hot[..., self.config.input_type] += batch.types == NO_VERTEX
        rows = torch.cat([one_hot, batch.adjacency[:, :-1].transpose(1, 2)], dim=2)
        return rows.transpose(0, 1).to(self.mu.weight.dtype)

    def _start(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What z says, `[M, H]`, and the writer's first state, which is the same where it sees rows."""
        start = self.initial(z).relu() if self.config.released else self.initial(z).tanh()
        return start, start if self.sees_rows else torch.zeros_like(start)

    def _inputs(self, rows: Tensor, start: Tensor) -> Tensor:
        """What the writer is fed at all vertices but the first, given the rows before each, `[V, M, F]`."""
        if not self.sees_rows:
            return start.expand(len(rows), -1, -1)
        if self.config.released:
            return torch.cat([torch.zeros_like(rows[:1]), rows[1:]])
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
        rows = net._rows(graphs_of(branches, v))[:v]
        fed = net._inputs(rows, branches["start"])[-1:]
        branches["writer"] = net._run(net.writer, fed, branches["writer"])[0]
        return net.type_head(branches["writer"]).softmax(dim=1)

    def choose_edges(self, v: int) -> None:
        state = self.branches["writer"]
        one_hot = F.one_hot(self.branches["types"][:, v], self.config.num_types).to(state.dtype)
        self.net.edges.choose(self, state, one_hot, v)


class GraphRNN(SVAE):
    """S-VAE with the edges of a vertex decided in turn."""

    edges_class = EdgesInTurn
