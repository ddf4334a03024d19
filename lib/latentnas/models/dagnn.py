"""The asynchronous encoder and decoder of D-VAE (Zhang et al., 2019, https://arxiv.org/abs/1904.11088).

    h_v = GRU(type of v, sum over u -> v of sigmoid(G m_u) * (M m_u)),    m_u = [h_u ; onehot(u)]

Messages travel along the edges in topological order, one vertex after the other, so the state of a vertex is the
state of a computation that has run up to it. `latentnas.models.reference_dvae` says the same plainly, one graph at a
time; here everything is batched over graphs. Letters: B graphs, N vertices, T node types, H hidden, D latent, R
distinct partial states, M branches (see `latentnas.models.branches`).

The decoder recomputes a vertex's state after each of its edge decisions. Under teacher forcing all of them are known in
advance, and only those after a "yes" differ, so `DagDecoder.loss` computes each distinct state once and scores all
decisions of a batch together; the numbers stay the same.

Before its first edge a vertex is known by its type alone, and two vertices of one type with the same sources have the
same state: nothing else says where they stand. So a decoder asked for edges that depend on the place, as the ten of
NAS-Bench-201 do, contradicts itself on most cells. `numbered` tells the new vertex its number, as one more input of
the cell; `fixed_edges` takes the edges from the space, as E2NAS does.
"""

import functools
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.models.base import VAEConfig, full_precision, two_layers
from latentnas.models.branches import Branches, Decoding, binomial_split, take
from latentnas.models.kernels import EdgeLogits, gru_step, run_gru


class GatedMessage(nn.Module):
    """Message of vertex u: `sigmoid(gate m_u) * (mapper m_u)` with `m_u = [h_u ; onehot(u)]` (D-VAE eq. 3-4)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.hidden + config.num_vertices, config.hidden)
        self.mapper = nn.Linear(config.hidden + config.num_vertices, config.hidden, bias=False)

    def weights(self) -> tuple[Tensor, Tensor]:
        """Both maps as one product, the mapper first: weight `[2H, H]`, a bias for every vertex id `[N, 2H]`."""
        hidden = self.gate.out_features
        weight, vertex_bias = torch.cat([self.mapper.weight, self.gate.weight]).tensor_split([hidden], dim=1)
        return weight, vertex_bias.t() + F.pad(self.gate.bias, (hidden, 0))


def type_gates(cell: nn.GRUCell, types: Tensor, also: Tensor | None = None) -> Tensor:
    """Input part of the GRU for node types `[...]`, `[..., 3H]`; absent vertices get zeros as input. `also`: an input
    that is 1 besides the type's."""
    one_hot = F.one_hot(types + 1, cell.input_size + 1)[..., 1:]
    if also is not None:
        one_hot = one_hot + F.one_hot(also, cell.input_size)
    return F.linear(one_hot.to(cell.weight_ih.dtype), cell.weight_ih, cell.bias_ih)


def propagate(
    cell: nn.GRUCell,
    messages: GatedMessage,
    batch: DagBatch,
    reverse: bool = False,
    initial: Tensor | None = None,
    also: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """States of all vertices `[B, N, H]`, and the messages `[B, N-1, H]` of all but the last, in topological order.

    With `reverse` the last vertex comes first, and messages go to predecessors. `initial [B, H]` is what the first
    vertex receives in place of messages; `also [N]` as in `type_gates`.
    """
    types, senders = batch.types, batch.adjacency.transpose(1, 2)  # [B, v, u]: u sends to v
    weight, bias = messages.weights()
    if reverse:
        types, senders, bias = types.flip(1), batch.adjacency.flip(1, 2), bias.flip(0)
    gates = type_gates(cell, types, also)
    # Weights are cast once, products are in the precision of the gates, all else is in full precision.
    *rest, weight, bias = (
        values.to(gates.dtype).contiguous() for values in (cell.weight_hh, cell.bias_hh, weight, bias)
    )
    gates = full_precision(gates)
    received = gates.new_zeros(len(types), cell.hidden_size) if initial is None else initial.to(gates.dtype)
    states, sent = [], []
    with torch.autocast(types.device.type, enabled=False):
        for v, gate in enumerate(gates.unbind(dim=1)):
            if v:
                sent.append(F.glu(full_precision(F.linear(states[-1].to(weight.dtype), weight, bias[v - 1]))))
                received = torch.bmm(senders[:, v, None, :v].to(gates.dtype), torch.stack(sent, dim=1)).squeeze(1)
            product = full_precision(F.linear(received.to(weight.dtype), *rest))
            states.append(gru_step(gate, product, received)[0])
    return torch.stack(states, dim=1), torch.stack(sent, dim=1)


class DagEncoder(nn.Module):
    """Bidirectional asynchronous encoder to the mean and log-variance of the latent code, both `[B, D]`."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.forward_cell = nn.GRUCell(config.num_types, config.hidden)
        self.backward_cell = nn.GRUCell(config.num_types, config.hidden)
        self.forward_message, self.backward_message = GatedMessage(config), GatedMessage(config)
        self.merge = nn.Linear(2 * config.hidden, config.hidden)
        self.mu = nn.Linear(config.hidden, config.latent)
        self.logvar = nn.Linear(config.hidden, config.latent)

    def forward(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        forward, _ = propagate(self.forward_cell, self.forward_message, batch)
        backward, _ = propagate(self.backward_cell, self.backward_message, batch, reverse=True)
        rows = torch.arange(len(batch), device=forward.device)
        graph = self.merge(torch.cat([forward[rows, batch.num_vertices - 1], backward[:, -1]], dim=1))
        return self.mu(graph), self.logvar(graph)


class DagDecoder(nn.Module):
    """Autoregressive decoder: one vertex after the other, each followed by its edges from the nearest vertex back."""

    def __init__(self, config: Any, messages: GatedMessage) -> None:
        super().__init__()
        self.config, hidden = config, config.hidden
        self.numbers = config.num_vertices if config.numbered else 1  # that an empty vertex may be told
        self.initial = nn.Linear(config.latent, hidden)
        self.cell = nn.GRUCell(config.num_types + config.numbered * config.num_vertices, hidden)
        self.message = messages
        self.vertex_head = two_layers(hidden, 2 * hidden, config.num_types)
        self.edge_head = two_layers(2 * hidden, 4 * hidden, 1)

    def loss(self, z: Tensor, batch: DagBatch) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the types and of the edges under teacher forcing, both `[B]` (nats)."""
        (type_logits, targets), (edge_logits, edges, exist) = self.decisions(z, batch)
        loss = F.cross_entropy(full_precision(type_logits).flatten(0, 1), targets.flatten(), reduction="none")
        edge_loss = F.binary_cross_entropy_with_logits(edge_logits, edges.to(edge_logits.dtype), reduction="none")
        scored = exist & (not self.config.fixed_edges)
        return loss.view_as(targets).sum(dim=1), (edge_loss * scored).sum(dim=1)

    def decisions(self, z: Tensor, batch: DagBatch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        """Every decision under teacher forcing: logits `[B, N-1, T]` of the types with the true ones `[B, N-1]`, logits
        of the edges with the true ones and whether their vertex exists, all `[B, P]` in `decision_order`."""
        every_vertex = torch.arange(batch.max_vertices, device=z.device)
        initial, numbers = self.initial(z).tanh(), self.number_input(every_vertex)
        states, sent = propagate(self.cell, self.message, batch, initial=initial, also=numbers)
        last = every_vertex[:-1].minimum(batch.num_vertices[:, None] - 1)
        logits = self.vertex_head(states.gather(1, last[..., None].expand(-1, -1, states.shape[2])))
        targets = batch.types[:, 1:]
        targets = targets.where(targets != NO_VERTEX, self.config.input_type)  # stands for "no vertex"
        return (logits, targets), self._edge_decisions(states, sent, batch)

    def number_input(self, vertices: Tensor) -> Tensor | None:
        """Which input of the cell tells these vertices their numbers; None where they are told none."""
        return self.config.num_types + vertices if self.config.numbered else None

    def _edge_decisions(self, states: Tensor, sent: Tensor, batch: DagBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each edge decision, from the state after the decisions before it: see `decisions`."""
        plan = DecisionPlan.from_batch(batch, self.config.num_types, self.numbers)
        types = batch.types[:, plan.target]  # [B, P]
        received = torch.bmm(plan.predecessors.to(sent.dtype), sent).flatten(0, 1)[plan.partial_rows]
        numbers = self.number_input(plan.target[plan.partial_rows % len(plan.target)])
        partial = run_gru(self.cell, type_gates(self.cell, types.flatten()[plan.partial_rows], numbers), received)

        # The first layer of the edge head is the sum of a source's part and a target state's part.
        first, _, output = self.edge_head
        for_source, for_target = first.weight.chunk(2, dim=1)
        from_source = F.linear(states[:, :-1].flip(1), for_source, first.bias)  # [B, N-1, 4H]
        table = F.linear(torch.cat([self.empty_states(states), states[:, 2:].flatten(0, 1), partial]), for_target)
        logits = EdgeLogits.apply(from_source, table, output.weight[0], plan.row) + output.bias
        return logits, plan.edges, types != NO_VERTEX

    def kind_gates(self, like: Tensor) -> Tensor:
        """Input part of the cell for every kind of vertex: one for each type, or with numbers one for each type of
        vertex 0, then of vertex 1 and so on, `[kinds, 3H]`."""
        kinds = torch.arange(self.numbers * self.config.num_types, device=like.device)
        number = self.number_input(kinds // self.config.num_types)
        return type_gates(self.cell, kinds % self.config.num_types, number)

    def empty_states(self, like: Tensor) -> Tensor:
        """Of a vertex of every kind without predecessors yet, `[kinds, H]`."""
        gates = self.kind_gates(like)
        return run_gru(self.cell, gates, like.new_zeros(len(gates), self.config.hidden))


class DecisionPlan(NamedTuple):
    """Which state each of the P = N (N - 1) / 2 edge decisions of a graph is taken from, under teacher forcing.

    A decision's target is in one of three states: *empty* before its first edge, *final* after its last, *partial* in
    between. States are rows of a table: empty ones, one for each kind of vertex, then B (N - 2) final (a target with
    one possible source has no decision in its final state), then R partial ones.
    """

    target: Tensor  # [P] target vertex of each decision
    edges: Tensor  # bool [B, P]: the true decisions
    predecessors: Tensor  # bool [B, P, N-1]: edges decided up to and including p, of p's target
    partial_rows: Tensor  # [R] which of the B * P decisions lead to a partial state
    row: Tensor  # [B, P] row of the table a decision is taken from

    @classmethod
    def from_batch(cls, batch: DagBatch, num_types: int, numbers: int = 1) -> Self:
        (graphs, vertices), device = batch.types.shape, batch.types.device
        target, source = decision_order(vertices, device)
        edges = batch.adjacency[:, source, target]
        taken = batch.adjacency.flip(1).cumsum(dim=1).flip(1)[:, source, target]  # of p's target, up to and including p
        before, total = taken - edges.long(), batch.adjacency.sum(dim=1)[:, target]
        is_partial = (edges & (taken < total)).flatten()
        if device.type == "cpu":
            partial_rows = is_partial.nonzero().squeeze(1)
        else:  # more rows than needed, but the host does not wait for their number
            most = graphs * (vertices - 1) * (vertices - 2) // 2
            partial_rows = is_partial.nonzero_static(size=most, fill_value=0).squeeze(1)

        position = torch.arange(len(target), device=device)
        last_yes = torch.where(edges, position, 0).cummax(dim=1).values.roll(1, dims=1)  # before p
        partial_row = graphs * (vertices - 2) + (is_partial.cumsum(0) - 1).view_as(edges).gather(1, last_yes)
        final_row = torch.arange(graphs, device=device)[:, None] * (vertices - 2) + target - 2
        later = num_types * numbers + torch.where(before == total, final_row, partial_row)
        kind = batch.types[:, target].clamp(min=0) + (num_types * target if numbers > 1 else 0)
        row = torch.where(before == 0, kind, later)
        reached = torch.arange(vertices - 1, device=device) >= source[:, None]  # [P, N-1]
        predecessors = batch.adjacency[:, :-1, target].transpose(1, 2) & reached
        return cls(target, edges, predecessors, partial_rows, row)


@functools.lru_cache(maxsize=16)
def decision_order(vertices: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Target and source of every edge decision, both `[P]`: of each target the nearest source first."""
    target, step = torch.tril_indices(vertices, vertices, -1, device=device)
    return target, target - 1 - step


class DagDecoding(Decoding):
    """One run of a `DagDecoder`. Branches keep the state of their last vertex, `last [M, H]`, and in `rows [M, N]`
    where the messages of their vertices lie in lists that all branches share."""

    closing = True

    def first_state(self, types: Tensor, z: Tensor) -> Branches:
        decoder, hidden, first_layer = self.net, self.config.hidden, self.net.edge_head[0]
        self.weight, self.bias = decoder.message.weights()
        self.source_weight, self.target_weight = (half.contiguous() for half in first_layer.weight.chunk(2, dim=1))
        # A new vertex has no predecessors yet: one state per kind, and one half of the edge head's first layer.
        self.new_state = decoder.empty_states(z)  # [kinds, H]
        self.gates = decoder.kind_gates(z)  # [kinds, 3H]
        self.new_target = F.linear(self.new_state, self.target_weight)  # [kinds, 4H]
        self.messages = z.new_zeros(0, hidden)  # of every vertex written so far, [rows, H]
        self.from_source = z.new_zeros(0, 4 * hidden)  # and their half of that layer
        numbers = decoder.number_input(torch.zeros_like(types))
        first = run_gru(decoder.cell, type_gates(decoder.cell, types, numbers), decoder.initial(z).tanh())
        return {"last": first, "rows": torch.zeros_like(self.branches["types"])}

    def type_probability(self, v: int) -> Tensor:
        self._publish(v - 1)
        return self.net.vertex_head(self.branches["last"]).softmax(dim=1)

    def _publish(self, v: int) -> None:
        """Add the finished vertex v to the lists that later vertices read."""
        state = self.branches["last"]
        self.branches["rows"][:, v] = torch.arange(len(state), device=state.device) + len(self.messages)
        self.messages = torch.cat([self.messages, F.glu(F.linear(state, self.weight, self.bias[v]))])
        from_source = F.linear(state, self.source_weight, self.net.edge_head[0].bias)
        self.from_source = torch.cat([self.from_source, from_source])

    def choose_edges(self, v: int) -> None:
        """From the nearest vertex back; the state of vertex v follows every "yes"."""
        branches, output = self.branches, self.net.edge_head[2]
        first_kind = self.config.num_types * v if self.config.numbered else 0
        kinds = branches["types"][:, v] + first_kind
        received = self.messages.new_zeros(branches["last"].shape)
        branches |= {"last": self.new_state[kinds], "target": self.new_target[kinds], "received": received}
        for u in range(v - 1, -1, -1):
            count = branches["count"]
            rows = branches["rows"][:, u, None]
            logits = EdgeLogits.apply(branches["target"][:, None], self.from_source, output.weight[0], rows)[:, 0]
            chance = (logits + output.bias).sigmoid()
            if self.config.fixed_edges:
                chance = torch.full_like(chance, (u, v) in self.config.fixed_edges)
            yes = binomial_split(count, chance, self.generator)
            is_split = (yes > 0) & (yes < count)
            both = is_split.nonzero().squeeze(1)
            if len(both):  # the "no" part of a split branch goes on as a branch of its own, at the end
                branches = take(branches, torch.cat([torch.arange(len(yes), device=yes.device), both]))
                branches["count"] = torch.cat([yes.where(is_split, count), (count - yes)[both]])
            changed = (yes > 0).nonzero().squeeze(1)
            branches["adjacency"][changed, u, v] = True
            received = branches["received"][changed] + self.messages[branches["rows"][changed, u]]
            state = run_gru(self.net.cell, self.gates[branches["types"][changed, v] + first_kind], received)
            branches["last"][changed] = state
            if u:  # there are decisions left for which these matter
                branches["received"][changed] = received
                branches["target"][changed] = F.linear(state, self.target_weight)
        self.branches = {name: branches[name] for name in branches if name not in ("target", "received")}
