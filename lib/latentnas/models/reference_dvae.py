"""D-VAE written plainly: encoder, decoder and loss, one graph, one vertex and one decision at a time.

Zhang et al., NeurIPS 2019 (https://arxiv.org/abs/1904.11088), as NGAE uses it. To be read before the fast path in
`dagnn.py`, which the tests hold to it. Of a model it only uses the layers, which are PyTorch's own. Letters: N
vertices, T node types, H hidden, D latent.

    encoder:  h_v = GRU(x_v, sum over u -> v of sigmoid(G m_u) * (M m_u)),  m_u = [h_u ; onehot(u)];  once forwards and
              once against the edges, and mu, logvar from the last state of both
    decoder:  h_0 = GRU(x_0, tanh(A z)); for v = 1, 2, ...: the type of v from h_(v-1), then each edge u -> v, from the
              nearest u back, from [h_u ; h_v], where h_v is computed anew after every decision

With `numbered` x_v of the decoder is [onehot(type of v) ; onehot(v)].
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import DagBatch
from latentnas.models.dagnn import GatedMessage
from latentnas.models.ngae import NGAE


@dataclass
class Graph:
    """One DAG as plain lists: the type of every vertex and, for every vertex, its predecessors."""

    types: list[int]
    predecessors: list[list[int]]

    @classmethod
    def from_batch(cls, batch: DagBatch, i: int) -> Self:
        """Graph i of a batch."""
        n = int(batch.num_vertices[i])
        adjacency = batch.adjacency[i].tolist()
        return cls(batch.types[i, :n].tolist(), [[u for u in range(n) if adjacency[u][v]] for v in range(n)])


def one_hot(index: int, size: int, like: Tensor) -> Tensor:
    """`[size]`, of the kind of another tensor."""
    return torch.eye(size, dtype=like.dtype, device=like.device)[index]


def state(cell: nn.GRUCell, message: GatedMessage, x: Tensor, states: list[Any], sources: list[int]) -> Tensor:
    """h_v `[H]` of a vertex with input x that receives the messages of its sources, zeros where there are none."""
    received = torch.zeros_like(message.gate.bias)
    for u in sources:
        m_u = torch.cat([states[u], one_hot(u, message.gate.in_features - len(received), received)])
        received = received + torch.sigmoid(message.gate(m_u)) * message.mapper(m_u)
    return cell(x, received)


def encode(model: NGAE, graph: Graph) -> tuple[Tensor, Tensor]:
    """mu `[D]` and logvar `[D]` of one graph: forwards to its last vertex, backwards to vertex 0."""
    encoder, n = model.encoder, len(graph.types)
    forward: list[Any] = [None] * n
    backward: list[Any] = [None] * n
    x = [one_hot(kind, encoder.forward_cell.input_size, encoder.mu.weight) for kind in graph.types]
    for v in range(n):
        sources = graph.predecessors[v]
        forward[v] = state(encoder.forward_cell, encoder.forward_message, x[v], forward, sources)
    for v in reversed(range(n)):
        sources = [w for w in range(n) if v in graph.predecessors[w]]
        backward[v] = state(encoder.backward_cell, encoder.backward_message, x[v], backward, sources)
    merged = encoder.merge(torch.cat([forward[n - 1], backward[0]]))
    return encoder.mu(merged), encoder.logvar(merged)


class Decoding:
    """A graph being decoded from one latent vector: its vertices so far, their predecessors, their states."""

    def __init__(self, model: NGAE, z: Tensor) -> None:
        self.decoder, self.config = model.decoder, model.config
        self.types, self.predecessors = [self.config.input_type], [[]]
        start = torch.tanh(self.decoder.initial(z))
        self.states = [self.decoder.cell(self.newest_input(start), start)]

    def newest_input(self, like: Tensor) -> Tensor:
        """x_v of the newest vertex."""
        x = one_hot(self.types[-1], self.config.num_types, like)
        numbered = [one_hot(len(self.types) - 1, self.config.num_vertices, like)] * self.config.numbered
        return torch.cat([x, *numbered])

    def type_logits(self) -> Tensor:
        """Logits `[T]` of the type of the next vertex, from the state of the last one that exists."""
        return self.decoder.vertex_head(self.states[-1])

    def add_vertex(self, vertex_type: int) -> None:
        self.types.append(vertex_type)
        self.predecessors.append([])
        x = self.newest_input(self.states[-1])
        self.states.append(state(self.decoder.cell, self.decoder.message, x, self.states, []))

    def edge_logit(self, u: int) -> Tensor:
        """Logit of the edge from u to the newest vertex."""
        return self.decoder.edge_head(torch.cat([self.states[u], self.states[-1]]))[0]

    def decide(self, u: int, edge: bool) -> None:
        """Take or leave the edge u -> newest vertex, then compute that vertex's state anew either way."""
        if edge:
            self.predecessors[-1].append(u)
        cell, message, x = self.decoder.cell, self.decoder.message, self.newest_input(self.states[-1])
        self.states[-1] = state(cell, message, x, self.states, self.predecessors[-1])


def loss(model: NGAE, graph: Graph, z: Tensor) -> tuple[Tensor, Tensor]:
    """(vertex NLL, edge NLL) in nats of one graph given z, under teacher forcing.

    Every position 1..N-1 is scored for its type, past the graph's end for the input type; every vertex that exists
    for all its possible edges, the output included.
    """
    decoding = Decoding(model, z)
    vertex_nll = edge_nll = z.new_zeros(())
    for v in range(1, model.config.num_vertices):
        exists = v < len(graph.types)
        target = graph.types[v] if exists else model.config.input_type
        vertex_nll = vertex_nll - F.log_softmax(decoding.type_logits(), dim=0)[target]
        if not exists:
            continue
        decoding.add_vertex(target)
        for u in range(v - 1, -1, -1):
            edge = u in graph.predecessors[v]
            edge_nll = edge_nll - F.logsigmoid(decoding.edge_logit(u) * (1 if edge else -1))
            decoding.decide(u, edge)
    return vertex_nll, edge_nll
