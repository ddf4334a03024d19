"""SVGe: smooth variational graph embeddings (Lukasik et al., IJCNN 2021, https://arxiv.org/abs/2010.04683), and DGMG.

Encoder: two rounds of message passing along the edges and two against them, and a gated sum over the vertices.
Decoder: one generator writes every graph twice from the same z, *forward* from the input vertex and *backward*
from the output vertex with all edges reversed. Types come from the forward graph, edges from both.

    loss = forward + backward + beta * KL,   forward = sum over vertices v of CE(type v) + mean over u of BCE(u -> v)

DGMG (Li et al., 2018, https://arxiv.org/abs/1803.03324) is the one-sided form: `two_sided=False` writes the graph
forward only, and `reverse_messages=True` passes messages in both directions. What this module does and the authors'
code does not: the graph's summary meets the states of its own vertices, whatever else is in the batch. Graphs of up to
N vertices may be mixed. No weight depends on N, so those of one model also fit a model of larger graphs.

Vertices are rows of dense `[B, N, H]` tensors, not of a PyG batch: with eight vertices that is faster. Letters: B
graphs, M sequences (2B in training), N vertices, T node types, H hidden, G size of a graph's summary, D latent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.interfaces import Decodes
from latentnas.models.base import AutoregressiveVAE, full_precision, require, require_two_ends, two_layers
from latentnas.models.branches import at_once, decode_in_chunks
from latentnas.models.dagnn import gru
from latentnas.models.heads import Head
from latentnas.models.svge_decode import SequenceDecoding, merge, reverse


@dataclass(frozen=True)
class SVGeConfig:
    """Sizes and weights of SVGe; the defaults are the published ones, with the types of the ENAS space."""

    num_types: int = 8  # T, input and output included
    num_vertices: int = 8  # N, the largest graph
    input_type: int = 0  # type of vertex 0; generating it ends a backward graph
    output_type: int = 1  # type of the last vertex; generating it ends a forward graph
    hidden: int = 250  # H of a vertex; the encoder's two directions have half of it each
    latent: int = 56  # D
    summary: int = 56  # G, the generator's view of a partial graph
    rounds: int | tuple[int, int] = 2  # of message passing: of both, or (encoder, each step of the generator)
    two_sided: bool = True  # False: forward only, as DGMG
    reverse_messages: bool = False  # True: the generator's messages also run against the edges, as DGMG's
    beta: float = 0.005  # weight of the KL term; in the authors' code it grows with the batch
    noise_scale: float = 0.01  # factor on the sampling noise in training
    predictor: bool = False  # True: SVGe_acc, accuracy predicted from mu and trained together with the rest
    performance_weight: float = 0.9  # of its squared error; what is left to 1 weighs the autoencoder's loss

    def __post_init__(self) -> None:
        require(self, ("hidden", "latent", "summary"))
        require_two_ends(self)
        if min(self.rounds_of_both) < 1 or self.hidden % 2:
            raise ValueError(f"rounds={self.rounds} must be at least 1 and hidden={self.hidden} an even number.")

    @property
    def rounds_of_both(self) -> tuple[int, int]:
        """Rounds in the encoder, and at each step of the generator."""
        return self.rounds if isinstance(self.rounds, tuple) else (self.rounds, self.rounds)


class MessageRound(nn.Module):
    """One round: `h_v <- GRU(sum over u -> v of K [h_u ; h_v] + b, h_v)` for all vertices at once.

    The message is linear, so it is taken once from a vertex's sum over its predecessors instead of once an
    edge. With `reverse` another one runs over the successors, and both are added.
    """

    def __init__(self, hidden: int, reverse: bool = False) -> None:
        super().__init__()
        self.message = nn.Linear(2 * hidden, hidden)
        self.reverse = nn.Linear(2 * hidden, hidden) if reverse else None
        self.cell = nn.GRUCell(hidden, hidden)

    def forward(self, states: Tensor, adjacency: Tensor) -> Tensor:
        """New states from states `[M, N, H]` and edges `[M, N, N]` of the same floating type."""
        arrived = _summed_messages(self.message, states, adjacency.transpose(1, 2))
        if self.reverse is not None:
            arrived = arrived + _summed_messages(self.reverse, states, adjacency)
        gates = F.linear(arrived, self.cell.weight_ih, self.cell.bias_ih)
        return gru(self.cell, gates, states.to(gates.dtype))


def _summed_messages(message: nn.Linear, states: Tensor, senders: Tensor) -> Tensor:
    """`[M, N, H]`; `senders[m, v, u]` is 1 where u sends to v."""
    senders = senders.to(states.dtype)
    degree = senders.sum(dim=2, keepdim=True)
    both = torch.cat([torch.bmm(senders, states).to(states.dtype), degree * states], dim=2)
    return F.linear(both, message.weight) + degree * message.bias.to(states.dtype)


class ReadOut(nn.Module):
    """Summary of a graph: `sum over v of sigmoid(gate h_v) * (W h_v)`, from `[..., N, H]` to `[..., size]`."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, 1)
        self.mapper = nn.Linear(hidden, size)

    def forward(self, states: Tensor, present: Tensor | None = None) -> Tensor:
        """`present` (bool `[..., N]`) leaves out positions past the end of a graph."""
        gate = self.gate(states).sigmoid()
        if present is not None:
            gate = gate * present[..., None]
        return (gate * self.mapper(states)).sum(dim=-2)


class SVGeEncoder(nn.Module):
    """mu and logvar `[B, D]` of graphs of any size up to N."""

    def __init__(self, config: SVGeConfig) -> None:
        super().__init__()
        self.types = nn.Embedding(config.num_types, config.hidden)
        half, rounds = config.hidden // 2, range(config.rounds_of_both[0])
        self.forward_rounds = nn.ModuleList(MessageRound(half) for _ in rounds)
        self.backward_rounds = nn.ModuleList(MessageRound(half) for _ in rounds)
        self.mu = ReadOut(config.hidden, config.latent)
        self.logvar = ReadOut(config.hidden, config.latent)

    def forward(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        present = batch.present
        forward, backward = self.types(batch.types.clamp(min=0)).chunk(2, dim=2)
        for along, against in zip(self.forward_rounds, self.backward_rounds, strict=True):
            forward = along(forward, batch.adjacency)
            backward = against(backward, batch.adjacency.transpose(1, 2))
        states = torch.cat([forward, backward], dim=2)
        return self.mu(states, present), self.logvar(states, present)


class GraphGenerator(nn.Module):
    """Writes a graph vertex by vertex; all edges of a new vertex are decided at once.

    A step passes messages on the partial graph, whose states stay for the next step, and sums the graph up.
    The type of the next vertex follows from the summary and z, its first state from its type, a second summary
    and z, each of its edges from both ends, the summary and z.
    """

    def __init__(self, config: SVGeConfig) -> None:
        super().__init__()
        hidden, condition = config.hidden, config.summary + config.latent
        self.types = nn.Embedding(config.num_types, hidden)
        rounds = range(config.rounds_of_both[1])
        self.rounds = nn.ModuleList(MessageRound(hidden, config.reverse_messages) for _ in rounds)
        self.summary = ReadOut(hidden, config.summary)
        self.summary_for_vertex = ReadOut(hidden, config.summary)
        self.type_head = two_layers(condition, hidden, config.num_types)
        self.vertex_head = two_layers(hidden + condition, hidden, hidden)
        self.edge_head = two_layers(2 * hidden + condition, hidden, 1)

    def first_states(self, types: Tensor, z: Tensor) -> Tensor:
        """States `[M, 1, H]` of graphs that consist of vertex 0, of the given types `[M]`."""
        return self.new_states(types, z.new_zeros(len(z), self.summary.mapper.out_features), z)[:, None]

    def new_states(self, types: Tensor, summary: Tensor, z: Tensor) -> Tensor:
        """First states `[M, H]` of new vertices; `summary` is that of `summary_for_vertex`."""
        return self.vertex_head(torch.cat([self.types(types), summary, z], dim=1))

    def propagate(self, states: Tensor, adjacency: Tensor) -> Tensor:
        for each in self.rounds:
            states = each(states, adjacency)
        return states

    def edge_logits(self, states: Tensor, new: Tensor, summary: Tensor, z: Tensor, step: Tensor) -> Tensor:
        """Logits `[M, P]` of P possible edges.

        Args:
            states: of their sources, `[M, P, H]`. new, summary: one of each step, `[M, S, ...]`.
            z: `[M, D]`. step: which of the S steps a decision belongs to, `[P]`.
        """
        first, hidden = self.edge_head[0], states.shape[2]
        condition = torch.cat([new, summary, z[:, None].expand(-1, new.shape[1], -1)], dim=2)
        from_source = F.linear(states, first.weight[:, :hidden])
        from_step = F.linear(condition, first.weight[:, hidden:], first.bias)
        return self.edge_head[1:](from_source + from_step[:, step]).squeeze(2)

    def loss(self, z: Tensor, batch: DagBatch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the types, and of the edges averaged over those of a vertex; both `[M]` (nats).

        Vertex 0 is given, all others are learnt with the true graph before them.
        """
        vertices = batch.max_vertices
        types = batch.types.clamp(min=0)  # absent vertices follow the present ones, which never see them
        states = self.first_states(types[:, 0], z)
        sources, new_states, summaries = [], [], []
        for v in range(1, vertices):
            sources.append(self.propagate(states, batch.adjacency[:, :v, :v]))
            summaries.append(self.summary(sources[-1]))
            new_states.append(self.new_states(types[:, v], self.summary_for_vertex(sources[-1]), z))
            states = torch.cat([sources[-1], new_states[-1][:, None].to(sources[-1].dtype)], dim=1)
        new, summary = torch.stack(new_states, dim=1), torch.stack(summaries, dim=1)
        condition = torch.cat([summary, z[:, None].expand(-1, vertices - 1, -1)], dim=2)
        logits = full_precision(self.type_head(condition)).flatten(0, 1)
        type_loss = F.cross_entropy(logits, batch.types[:, 1:].flatten(), ignore_index=NO_VERTEX, reduction="none")

        target, source = torch.tril_indices(vertices, vertices, -1, device=z.device)
        logits = full_precision(self.edge_logits(torch.cat(sources, dim=1), new, summary, z, target - 1))
        edges = batch.adjacency[:, source, target].to(logits.dtype)
        edge_loss = F.binary_cross_entropy_with_logits(logits, edges, reduction="none")
        weight = (batch.types[:, target] != NO_VERTEX) / target
        return type_loss.view(len(z), -1).sum(dim=1), (edge_loss * weight).sum(dim=1)


class PerformanceHead(Head):
    """Accuracy from the latent code: four ReLU layers, D to D/2, D/4, D/8 and 1 units, on the standardised scale."""

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

    def for_graphs_of(self, num_vertices: int) -> SVGe:
        """A copy with the same weights, on their device and in evaluation mode, for graphs of up to `num_vertices`."""
        copy = SVGe(replace(self.config, num_vertices=num_vertices)).to(self.encoder.types.weight)
        copy.load_state_dict(self.state_dict())
        return copy.eval()

    def write(self, z: Tensor, trials: int, generator: torch.Generator | None, backward: bool = False) -> Decodes:
        """As `sample_decodes`, but the graphs of one end alone, as the generator wrote them; the most likely ones
        without a random generator. Backward graphs begin with the output; `reverse` turns them."""
        ends = {"input_type": self.config.output_type, "output_type": self.config.input_type} if backward else {}
        config = replace(self.config, **ends)
        return decode_in_chunks(
            lambda rows: SequenceDecoding(self.generator, config, rows, trials, generator).run(), z, at_once(trials)
        )

    def loss(self, batch: DagBatch, generator: torch.Generator | None = None, **labels: Tensor) -> dict[str, Tensor]:
        terms, mu, _ = self._bound(batch, generator)
        weight = self.config.performance_weight
        for name, head in self.heads().items():
            terms[name] = head.loss(mu, labels[name]).mean()
            terms["total"] = (1 - weight) * terms["total"] + weight * terms[name]
        return terms

    def _reconstruction(self, z: Tensor, batch: DagBatch) -> dict[str, Tensor]:
        graphs = len(batch)
        if self.config.two_sided:
            z, batch = z.repeat(2, 1), DagBatch.cat([batch, reverse(batch)])
        vertices, edges = self.generator.loss(z, batch)
        return {"vertices": vertices.sum() / graphs, "edges": edges.sum() / graphs}

    def _sample(self, z: Tensor, trials: int, generator: torch.Generator | None) -> Decodes:
        forward = self.write(z, trials, generator)
        if not self.config.two_sided:
            return forward
        return merge(forward, self.write(z, trials, generator, backward=True), trials, generator)
