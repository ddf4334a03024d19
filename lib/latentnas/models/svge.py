"""SVGe: smooth variational graph embeddings (Lukasik et al., IJCNN 2021, https://arxiv.org/abs/2010.04683), and DGMG.

Encoder: two rounds of message passing along the edges and two against them, and a gated sum over the vertices.
Decoder: one generator writes every graph twice from the same z, *forward* from the input vertex and *backward*
from the output vertex with all edges reversed. Types come from the forward graph, edges from both.

    loss = forward + backward + beta * KL,   forward = sum over vertices v of CE(type v) + mean over u of BCE(u -> v)

DGMG (Li et al., 2018, https://arxiv.org/abs/1803.03324) is the one-sided form: `two_sided=False` writes the graph
forward only, and `reverse_messages=True` passes messages in both directions. Unlike in the authors' code, the graph's
summary meets the states of its own vertices, whatever else is in the batch. No weight depends on N, so those of one
model also fit a model of larger graphs. Vertices are rows of dense `[B, N, H]` tensors, not of a PyG batch: with eight
vertices that is faster. Letters: B graphs, M sequences (2B in training) or branches (see `latentnas.models.branches`),
N vertices, T node types, H hidden, G size of a graph's summary, D latent.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.interfaces import Decodes
from latentnas.models.base import AutoregressiveVAE, VAEConfig, full_precision, two_layers
from latentnas.models.branches import Branches, Decoding, count_together
from latentnas.models.heads import Head
from latentnas.models.kernels import run_gru
from latentnas.settings import number


@dataclass(frozen=True)
class SVGeConfig(VAEConfig):
    """Sizes and weights of SVGe. In the authors' code the weight of the KL term grows with the batch."""

    hidden: int = 250  # H of a vertex; the encoder's two directions have half of it each
    summary: int = 56  # G, the generator's view of a partial graph
    rounds: int = 2  # of message passing, in the encoder and in each step of the generator
    two_sided: bool = True  # False: forward only, as DGMG
    reverse_messages: bool = False  # True: the generator's messages also run against the edges, as DGMG's
    predictor: bool = False  # True: SVGe_acc, accuracy predicted from mu and trained together with the rest
    performance_weight: float = 0.9  # of its squared error; what is left to 1 weighs the autoencoder's loss

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % 2:
            raise ValueError(f"hidden={self.hidden} must be an even number.")
        number("performance_weight", self.performance_weight, share=True)


class MessageRound(nn.Module):
    """One round: `h_v <- GRU(sum over u -> v of K [h_u ; h_v] + b, h_v)` for all vertices at once.

    The message is linear, so both halves of K are applied once a vertex instead of once an edge. With `reverse` another
    one runs over the successors, and both are added.
    """

    def __init__(self, hidden: int, reverse: bool = False) -> None:
        super().__init__()
        self.message = nn.Linear(2 * hidden, hidden)
        self.reverse = nn.Linear(2 * hidden, hidden) if reverse else None
        self.cell = nn.GRUCell(hidden, hidden)

    def weights(self) -> tuple[Tensor, Tensor]:
        """The halves of each message as one product, `[2H, H]` or `[4H, H]`; the second half has the bias."""
        messages = [self.message] if self.reverse is None else [self.message, self.reverse]
        weight = torch.cat([half for message in messages for half in message.weight.chunk(2, dim=1)])
        return weight, torch.cat([F.pad(message.bias, (len(message.bias), 0)) for message in messages])

    def forward(self, states: Tensor, receive: Tensor, weights: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """New states from states `[M, v, H]`, `receive` as `received` says, and `weights()` where known already."""
        sent = F.linear(states, *weights or self.weights())
        arrived = torch.bmm(receive.to(sent.dtype), sent.view(len(sent), receive.shape[2], states.shape[2]))
        gates = F.linear(arrived, self.cell.weight_ih, self.cell.bias_ih).flatten(0, 1)
        return run_gru(self.cell, gates, states.flatten(0, 1)).view_as(states)


def received(adjacency: Tensor, reverse: bool = False) -> Tensor:
    """What each vertex receives of the parts that vertices send, `[M, v, 2v]` or, in both directions, `[M, v, 4v]`: of
    a neighbour the first half of the message, of itself the second half once for every neighbour."""
    directions = [adjacency.transpose(1, 2), adjacency] if reverse else [adjacency.transpose(1, 2)]
    return torch.stack([part for each in directions for part in (each, each.sum(dim=2).diag_embed())], dim=3).flatten(2)


class ReadOut(nn.Module):
    """A summary of a graph: `sum over v of sigmoid(gate h_v) * (W h_v)`, from `[M, N, H]` to `[M, size]`; `present`
    (bool `[M, N]`) leaves out positions past its end."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, 1)
        self.mapper = nn.Linear(hidden, size)

    def forward(self, states: Tensor, present: Tensor | None = None) -> Tensor:
        gate = self.gate(states).sigmoid()
        gate = gate if present is None else gate * present[..., None]
        return (gate * self.mapper(states)).sum(dim=1)


class SVGeEncoder(nn.Module):
    """mu and logvar `[B, D]` of graphs of any size up to N."""

    def __init__(self, config: SVGeConfig) -> None:
        super().__init__()
        self.types = nn.Embedding(config.num_types, config.hidden)
        half, rounds = config.hidden // 2, range(config.rounds)
        self.forward_rounds = nn.ModuleList(MessageRound(half) for _ in rounds)
        self.backward_rounds = nn.ModuleList(MessageRound(half) for _ in rounds)
        self.mu = ReadOut(config.hidden, config.latent)
        self.logvar = ReadOut(config.hidden, config.latent)

    def forward(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        weight = self.types.weight
        forward, backward = (batch.one_hot(len(weight)).to(weight.dtype) @ weight).chunk(2, dim=2)
        adjacency = batch.adjacency.to(forward.dtype)
        ahead, back = received(adjacency), received(adjacency.transpose(1, 2))
        for along, against in zip(self.forward_rounds, self.backward_rounds, strict=True):
            forward, backward = along(forward, ahead), against(backward, back)
        states = torch.cat([forward, backward], dim=2)
        return self.mu(states, batch.present), self.logvar(states, batch.present)


class GraphGenerator(nn.Module):
    """Writes a graph vertex by vertex; all edges of a new vertex are decided at once.

    The type of the next vertex follows from the summary of the graph so far and z, its first state from its type, a
    second summary and z, each of its edges from both ends, the summary and z.
    """

    def __init__(self, config: SVGeConfig) -> None:
        super().__init__()
        hidden, condition = config.hidden, config.summary + config.latent
        self.types = nn.Embedding(config.num_types, hidden)
        self.rounds = nn.ModuleList(MessageRound(hidden, config.reverse_messages) for _ in range(config.rounds))
        self.both_ways = config.reverse_messages
        self.summary = ReadOut(hidden, config.summary)
        self.summary_for_vertex = ReadOut(hidden, config.summary)
        self.type_head = two_layers(condition, hidden, config.num_types)
        self.vertex_head = two_layers(hidden + condition, hidden, hidden)
        self.edge_head = two_layers(2 * hidden + condition, hidden, 1)

    def new_states(self, types: Tensor, z: Tensor, summary: Tensor | None = None) -> Tensor:
        """First states `[M, H]` of vertices of one-hot types `[M, T]`, from the second summary but for vertex 0."""
        if summary is None:
            summary = z.new_zeros(len(z), self.summary_for_vertex.mapper.out_features)
        of_type = types.to(self.types.weight.dtype) @ self.types.weight
        return self.vertex_head(torch.cat([of_type, summary, z], dim=1))

    def steps(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        """A function to new states `[M, v, H]` and both summaries `[M, G]` of partial graphs, from their states and
        edges `[M, v, v]` of the same floating type."""
        weights = [each.weights() for each in self.rounds]

        def step(states: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            receive = received(adjacency, self.both_ways)
            for each, known in zip(self.rounds, weights, strict=True):
                states = each(states, receive, known)
            return states, self.summary(states), self.summary_for_vertex(states)

        return step

    def edge_conditions(self, new: Tensor, summary: Tensor, z: Tensor) -> Tensor:
        """What new states `[M, S, H]` of S steps, summaries `[M, S, G]` and z add in the first layer of the edge head,
        `[M, S, H]`."""
        condition = torch.cat([new, summary, z[:, None].expand(-1, new.shape[1], -1).to(new.dtype)], dim=2)
        return F.linear(condition, self.edge_head[0].weight[:, new.shape[2] :], self.edge_head[0].bias)

    def edge_logits(self, states: Tensor, condition: Tensor) -> Tensor:
        """Logits `[M, v]` of the edges from vertices of these states, `[M, v, H]`, all in one step's `[M, H]`."""
        from_source = F.linear(states, self.edge_head[0].weight[:, : states.shape[2]])
        return self.edge_head[2]((from_source + condition[:, None]).relu_()).squeeze(2)

    def loss(self, z: Tensor, batch: DagBatch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the types, and of the edges averaged over those of a vertex; both `[M]` (nats)."""
        vertices, step = batch.max_vertices, self.steps()
        types = batch.one_hot(self.types.num_embeddings).unbind(dim=1)  # of absent vertices too, which none sees
        states = self.new_states(types[0], z)[:, None]
        adjacency = batch.adjacency.to(states.dtype)
        each = []
        for v in range(1, vertices):
            states, summary, for_vertex = step(states, adjacency[:, :v, :v])
            new = self.new_states(types[v], z, for_vertex).to(states.dtype)
            each.append((states, summary, new))
            states = torch.cat([states, new[:, None]], dim=1)
        sources, *others = zip(*each)
        summary, new = (torch.stack(values, dim=1) for values in others)
        condition = torch.cat([summary, z[:, None].expand(-1, vertices - 1, -1).to(summary.dtype)], dim=2)
        logits = full_precision(self.type_head(condition)).flatten(0, 1)
        type_loss = F.cross_entropy(logits, batch.types[:, 1:].flatten(), ignore_index=NO_VERTEX, reduction="none")

        conditions = self.edge_conditions(new, summary, z).unbind(dim=1)
        logits = full_precision(torch.cat([self.edge_logits(*one) for one in zip(sources, conditions)], dim=1))
        target, source = torch.tril_indices(vertices, vertices, -1, device=z.device)
        edges = batch.adjacency[:, source, target].to(logits.dtype)
        edge_loss = F.binary_cross_entropy_with_logits(logits, edges, reduction="none")
        weight = (batch.types[:, target] != NO_VERTEX) / target
        return type_loss.view(len(z), -1).sum(dim=1), (edge_loss * weight).sum(dim=1)


class PerformanceHead(Head):
    """Accuracy from the latent code: D to D/2, D/4, D/8 by ReLU, to 1 unit without; standardised."""

    def __init__(self, latent: int) -> None:
        super().__init__("standardised")
        widths = [max(latent // divisor, 1) for divisor in (1, 2, 4, 8)]
        layers = (layer for ends in pairwise(widths) for layer in (nn.Linear(*ends), nn.ReLU()))
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, z: Tensor) -> Tensor:
        return full_precision(self.layers(z).squeeze(-1))


class SVGe(AutoregressiveVAE):
    """The variational graph autoencoder; with `predictor=True` its loss learns from `performance`."""

    def __init__(self, config: SVGeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SVGeEncoder(config)
        self.generator = GraphGenerator(config)
        if config.predictor:
            self.performance = PerformanceHead(config.latent)

    def for_graphs_of(self, num_vertices: int) -> "SVGe":
        """A copy with the same weights, on their device and in evaluation mode, for graphs of up to `num_vertices`."""
        copy = SVGe(replace(self.config, num_vertices=num_vertices)).to(self.encoder.types.weight)
        copy.load_state_dict(self.state_dict())
        return copy.eval()

    def write(self, z: Tensor, trials: int, generator: torch.Generator | None, backward: bool = False) -> Decodes:
        """As `_sample`, but the graphs of one end alone, as written: backward ones begin with the output."""
        config = self.config
        if backward:
            config = replace(config, input_type=config.output_type, output_type=config.input_type)
        return SequenceDecoding.decode(self.generator, config, z, trials, generator)

    def loss(self, batch: DagBatch, generator: torch.Generator | None = None, **labels: Tensor) -> dict[str, Tensor]:
        terms, mu, _ = self._bound(batch, generator)
        weight = self.config.performance_weight
        for name, error in self.head_losses(mu, labels).items():
            terms[name] = error
            terms["total"] = (1 - weight) * terms["total"] + weight * terms[name]
        return terms

    def _reconstruction(self, z: Tensor, batch: DagBatch) -> dict[str, Tensor]:
        graphs = len(batch)
        if self.config.two_sided:
            z, batch = z.repeat(2, 1), DagBatch.cat([batch, reverse(batch)])
        terms = zip(("vertices", "edges"), self.generator.loss(z, batch))
        return {name: values.sum() / graphs for name, values in terms}

    def _sample(self, z: Tensor, trials: int, generator: torch.Generator | None) -> Decodes:
        forward = self.write(z, trials, generator)
        if not self.config.two_sided:
            return forward
        return merge(forward, self.write(z, trials, generator, backward=True), trials, generator)


class SequenceDecoding(Decoding):
    """One run of a `GraphGenerator` from one end; `config` has the types of both ends as this run sees them. Branches
    keep the states of their vertices, `states [M, v, H]`, their `z [M, D]`, and both summaries `[M, G]`."""

    def first_state(self, types: Tensor, z: Tensor) -> Branches:
        self.step = self.net.steps()
        return {"states": self._new_states(types, z)[:, None], "z": z}

    def _new_states(self, types: Tensor, *others: Tensor) -> Tensor:
        return self.net.new_states(F.one_hot(types, self.config.num_types), *others)

    def type_probability(self, v: int) -> Tensor:
        state = self.branches
        adjacency = state["adjacency"][:, :v, :v].to(state["states"].dtype)
        state["states"], state["summary"], state["for_vertex"] = self.step(state["states"], adjacency)
        return self.net.type_head(torch.cat([state["summary"], state["z"]], dim=1)).softmax(dim=1)

    def choose_edges(self, v: int) -> None:
        state = self.branches
        new = self._new_states(state["types"][:, v], state["z"], state["for_vertex"])
        condition = self.net.edge_conditions(new[:, None], state["summary"][:, None], state["z"])[:, 0]
        row = self.split_over_edges(v, self.net.edge_logits(state["states"], condition).sigmoid())
        self.branches["states"] = torch.cat([self.branches["states"], new[row, None]], dim=1)


def reverse(batch: DagBatch) -> DagBatch:
    """The graphs from their last vertex to their first, with all edges reversed; its own inverse."""
    place = batch.num_vertices[:, None] - 1 - torch.arange(batch.max_vertices, device=batch.types.device)
    types = batch.types.gather(1, place.clamp(min=0)).where(place >= 0, NO_VERTEX)
    return DagBatch(types, reverse_edges(batch.adjacency, batch.num_vertices), batch.num_vertices)


def reverse_edges(adjacency: Tensor, num_vertices: Tensor) -> Tensor:
    """Edge u -> v becomes n-1-v -> n-1-u with the given n `[B]`; one that would leave the graph is dropped."""
    place = num_vertices[:, None] - 1 - torch.arange(adjacency.shape[1], device=adjacency.device)
    inside = place >= 0
    rows, place = torch.arange(len(place), device=place.device), place.clamp(min=0)
    edges = adjacency[rows[:, None, None], place[:, None, :], place[:, :, None]]
    return edges & inside[:, None, :] & inside[:, :, None]


def merge(forward: Decodes, backward: Decodes, trials: int, generator: torch.Generator | None) -> Decodes:
    """Each forward graph with the edges of a backward graph of the same z added, which is laid with its output on the
    forward graph's last vertex. The two are drawn independently, so which decode meets which is drawn here."""
    (ahead, source, count), (behind, _, behind_count) = forward, backward
    if not len(source):
        return forward
    first = torch.repeat_interleave(count)  # [B * trials] rows of the forward graphs, grouped by z
    second = torch.repeat_interleave(behind_count).view(-1, trials)
    if generator is not None:
        order = torch.rand(second.shape, generator=generator, device=second.device).argsort(dim=1)
        second = second.gather(1, order)
    pairs, count = (first * len(behind) + second.flatten()).unique(return_counts=True)
    first, second = pairs // len(behind), pairs % len(behind)
    graphs, source = ahead[first], source[first]
    graphs = replace(graphs, adjacency=graphs.adjacency | reverse_edges(behind.adjacency[second], graphs.num_vertices))
    return count_together(graphs, source, count)
