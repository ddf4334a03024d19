"""D-VAE written plainly: encoder, loss and decoder, one graph, one vertex and one decision at a time.

Zhang et al., NeurIPS 2019 (https://arxiv.org/abs/1904.11088), as NGAE uses it. To be read before the fast path in
`dagnn.py` and `dagnn_decode.py`, which the tests hold to it. It only reads the parameters of a model; none of the
model's own code runs here. Letters: N vertices, T node types, H hidden, D latent.

    encoder:  h_v = GRU(x_v, sum over u -> v of sigmoid(G m_u) * (M m_u)),  m_u = [h_u ; onehot(u)];  once forwards and
              once against the edges, and mu, logvar from the last state of both
    decoder:  h_0 = GRU(x_0, tanh(A z)); for v = 1, 2, ...: the type of v from h_(v-1), then each edge u -> v, from the
              nearest u back, from [h_u ; h_v], where h_v is computed anew after every decision
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import DagBatch
from latentnas.models.dagnn import GatedMessage
from latentnas.models.ngae import NGAE

# ---------------------------------------------------------------- layers


def one_hot(index: int, size: int, like: Tensor) -> Tensor:
    """`[size]`, of the kind of another tensor."""
    vector = torch.zeros(size, dtype=like.dtype, device=like.device)
    vector[index] = 1.0
    return vector


def linear(layer: Any, x: Tensor) -> Tensor:
    """A linear layer on one vector."""
    return layer.weight @ x + layer.bias


def two_layers(head: nn.Sequential, x: Tensor) -> Tensor:
    """An output head: Linear, ReLU, Linear."""
    return linear(head[2], torch.relu(linear(head[0], x)))


def gru(layer: nn.Module, x: Tensor, h: Tensor) -> Tensor:
    """One step of a GRUCell or a GRU of one layer; gates in PyTorch's order: reset, update, new."""
    input_weight, hidden_weight, input_bias, hidden_bias = layer.parameters()
    reset_i, update_i, new_i = (input_weight @ x + input_bias).chunk(3)
    reset_h, update_h, new_h = (hidden_weight @ h + hidden_bias).chunk(3)
    reset = torch.sigmoid(reset_i + reset_h)
    update = torch.sigmoid(update_i + update_h)
    new = torch.tanh(new_i + reset * new_h)
    return (1 - update) * new + update * h


# ---------------------------------------------------------------- encoder


@dataclass
class Graph:
    """One DAG as plain lists: the type of every vertex and, for every vertex, its predecessors."""

    types: list[int] = field(default_factory=list)
    predecessors: list[list[int]] = field(default_factory=list)

    def successors(self, v: int) -> list[int]:
        """Vertices that v has an edge to."""
        return [w for w in range(len(self.types)) if v in self.predecessors[w]]

    @classmethod
    def from_batch(cls, batch: DagBatch, i: int) -> Graph:
        """Graph i of a batch."""
        n = int(batch.num_vertices[i])
        adjacency = batch.adjacency[i].tolist()
        return cls(batch.types[i, :n].tolist(), [[u for u in range(n) if adjacency[u][v]] for v in range(n)])


def message_in(model: NGAE, message: GatedMessage, states: list[Tensor], sources: list[int]) -> Tensor:
    """Sum over the sources u of sigmoid(G m_u) * (M m_u), with m_u = [h_u ; onehot(u)]; zeros without sources."""
    weight = message.mapper.weight
    total = torch.zeros(weight.shape[0], dtype=weight.dtype, device=weight.device)
    for u in sources:
        m_u = torch.cat([states[u], one_hot(u, model.config.num_vertices, weight)])
        gate = torch.sigmoid(message.gate.weight @ m_u + message.gate.bias)
        total = total + gate * (weight @ m_u)
    return total


def encode(model: NGAE, graph: Graph) -> tuple[Tensor, Tensor]:
    """mu `[D]` and logvar `[D]` of one graph: forwards to its last vertex, backwards to vertex 0."""
    encoder, num_types = model.encoder, model.config.num_types
    like = encoder.mu.weight
    n = len(graph.types)
    forward: list[Any] = [None] * n
    for v in range(n):
        h_in = message_in(model, encoder.forward_message, forward, graph.predecessors[v])
        forward[v] = gru(encoder.forward_cell, one_hot(graph.types[v], num_types, like), h_in)
    backward: list[Any] = [None] * n
    for v in reversed(range(n)):
        h_in = message_in(model, encoder.backward_message, backward, graph.successors(v))
        backward[v] = gru(encoder.backward_cell, one_hot(graph.types[v], num_types, like), h_in)
    merged = linear(encoder.merge, torch.cat([forward[n - 1], backward[0]]))
    return linear(encoder.mu, merged), linear(encoder.logvar, merged)


# ---------------------------------------------------------------- decoder


class Decoding:
    """A graph being decoded from one latent vector: its vertices so far, their predecessors, their states."""

    def __init__(self, model: NGAE, z: Tensor) -> None:
        self.model, self.decoder, self.config = model, model.decoder, model.config
        start = torch.tanh(linear(self.decoder.initial, z))
        self.types, self.predecessors = [self.config.input_type], [[]]
        self.states = [gru(self.decoder.cell, self._one_hot(self.config.input_type), start)]

    def _one_hot(self, vertex_type: int) -> Tensor:
        return one_hot(vertex_type, self.config.num_types, self.decoder.initial.weight)

    def type_logits(self) -> Tensor:
        """Logits `[T]` of the type of the next vertex, from the state of the last one that exists."""
        return two_layers(self.decoder.vertex_head, self.states[-1])

    def add_vertex(self, vertex_type: int) -> None:
        """A new vertex, without edges yet."""
        self.types.append(vertex_type)
        self.predecessors.append([])
        self.states.append(None)
        self._update()

    def edge_logit(self, u: int) -> Tensor:
        """Logit of the edge from u to the newest vertex."""
        return two_layers(self.decoder.edge_head, torch.cat([self.states[u], self.states[-1]]))[0]

    def decide(self, u: int, edge: bool) -> None:
        """Take or leave the edge u -> newest vertex, then compute that vertex's state anew either way."""
        if edge:
            self.predecessors[-1].append(u)
        self._update()

    def _update(self) -> None:
        h_in = message_in(self.model, self.decoder.message, self.states, self.predecessors[-1])
        self.states[-1] = gru(self.decoder.cell, self._one_hot(self.types[-1]), h_in)

    def close(self) -> None:
        """Add the output vertex with edges from every vertex without a successor."""
        used = {u for sources in self.predecessors for u in sources}
        loose = [u for u in range(len(self.types)) if u not in used]
        self.types.append(self.config.output_type)
        self.predecessors.append(loose)

    def graph(self) -> Graph:
        """What has been decoded."""
        return Graph(self.types, [sorted(sources) for sources in self.predecessors])


def loss(model: NGAE, graph: Graph, z: Tensor) -> tuple[Tensor, Tensor]:
    """(vertex NLL, edge NLL) in nats of one graph given z, under teacher forcing.

    Every position 1..N-1 is scored for its type (past the graph's end the target is the input type and no vertex is
    made); every vertex that exists is scored for all its possible edges, the output included.
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
            target_edge = z.new_tensor(float(edge))
            edge_nll = edge_nll + F.binary_cross_entropy_with_logits(decoding.edge_logit(u), target_edge)
            decoding.decide(u, edge)
    return vertex_nll, edge_nll


def decode_greedy(model: NGAE, z: Tensor) -> Graph:
    """The graph decoded from z by taking the most likely types and the edges with probability above 0.5."""
    decoding = Decoding(model, z)
    for v in range(1, model.config.num_vertices):
        last = v == model.config.num_vertices - 1
        vertex_type = model.config.output_type if last else int(decoding.type_logits().argmax())
        if vertex_type == model.config.output_type:
            decoding.close()
            break
        decoding.add_vertex(vertex_type)
        for u in range(v - 1, -1, -1):
            decoding.decide(u, bool(torch.sigmoid(decoding.edge_logit(u)) > 0.5))
    return decoding.graph()
