"""A slow, plain reference of the D-VAE / NGAE encoder and decoder, one graph and one vertex at a time.

It follows the equations of D-VAE (Zhang et al., NeurIPS 2019) as NGAE uses them and only reads the parameters
of a model; none of the model's own code runs here. The tests hold the fast path to it.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from model_checks import gru, linear, one_hot, two_layers


@dataclass
class Graph:
    """One DAG as plain lists: the type of every vertex and, for every vertex, its predecessors."""

    types: list = field(default_factory=list)
    predecessors: list = field(default_factory=list)

    def successors(self, v):
        return [w for w in range(len(self.types)) if v in self.predecessors[w]]

    @classmethod
    def from_batch(cls, batch, i):
        n = int(batch.num_vertices[i])
        adjacency = batch.adjacency[i].tolist()
        return cls(batch.types[i, :n].tolist(), [[u for u in range(n) if adjacency[u][v]] for v in range(n)])


def message_in(model, message, states, sources):
    """H_in = sum over u of sigmoid(G m_u) * (M m_u), with m_u = [h_u ; onehot(u)]; zeros without sources."""
    weight = message.mapper.weight
    total = torch.zeros(weight.shape[0], dtype=weight.dtype, device=weight.device)
    for u in sources:
        m_u = torch.cat([states[u], one_hot(u, model.config.num_vertices, weight)])
        gate = torch.sigmoid(message.gate.weight @ m_u + message.gate.bias)
        total = total + gate * (weight @ m_u)
    return total


def encode_reference(model, graph):
    """mu [D] and logvar [D] of one graph: forwards to its last vertex, backwards to vertex 0."""
    encoder, num_types = model.encoder, model.config.num_types
    like = encoder.mu.weight
    n = len(graph.types)
    forward = [None] * n
    for v in range(n):
        h_in = message_in(model, encoder.forward_message, forward, graph.predecessors[v])
        forward[v] = gru(encoder.forward_cell, one_hot(graph.types[v], num_types, like), h_in)
    backward = [None] * n
    for v in reversed(range(n)):
        h_in = message_in(model, encoder.backward_message, backward, graph.successors(v))
        backward[v] = gru(encoder.backward_cell, one_hot(graph.types[v], num_types, like), h_in)
    merged = linear(encoder.merge, torch.cat([forward[n - 1], backward[0]]))
    return linear(encoder.mu, merged), linear(encoder.logvar, merged)


class Decoding:
    """A graph being decoded from one latent vector: its vertices so far, their predecessors, their states."""

    def __init__(self, model, z):
        self.model, self.decoder, self.config = model, model.decoder, model.config
        self.types, self.predecessors, self.states = [], [], []
        start = torch.tanh(linear(self.decoder.initial, z))
        self.types.append(self.config.input_type)
        self.predecessors.append([])
        self.states.append(gru(self.decoder.cell, self._one_hot(self.config.input_type), start))

    def _one_hot(self, vertex_type):
        return one_hot(vertex_type, self.config.num_types, self.decoder.initial.weight)

    def type_logits(self):
        """Logits [T] of the type of the next vertex, from the state of the last one that exists."""
        return two_layers(self.decoder.vertex_head, self.states[-1])

    def add_vertex(self, vertex_type):
        self.types.append(vertex_type)
        self.predecessors.append([])
        self.states.append(None)
        self._update()

    def edge_logit(self, u):
        """Logit of the edge from u to the newest vertex."""
        return two_layers(self.decoder.edge_head, torch.cat([self.states[u], self.states[-1]]))[0]

    def decide(self, u, edge):
        """Takes or leaves the edge u -> newest vertex, then computes that vertex's state anew either way."""
        if edge:
            self.predecessors[-1].append(u)
        self._update()

    def _update(self):
        h_in = message_in(self.model, self.decoder.message, self.states, self.predecessors[-1])
        self.states[-1] = gru(self.decoder.cell, self._one_hot(self.types[-1]), h_in)

    def close(self):
        """Adds the output vertex and draws edges to it from every vertex without a successor."""
        used = {u for sources in self.predecessors for u in sources}
        loose = [u for u in range(len(self.types)) if u not in used]
        self.types.append(self.config.output_type)
        self.predecessors.append(loose)

    def graph(self):
        return Graph(self.types, [sorted(sources) for sources in self.predecessors])


def loss_reference(model, graph, z):
    """(vertex NLL, edge NLL) in nats of one graph given z, under teacher forcing.

    Every position 1..N-1 is scored for its type (past the graph's end the target is the input type and no
    vertex is made); every vertex that exists is scored for all its possible edges, the output included.
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


def decode_greedy_reference(model, z):
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


def decode_probability_reference(model, graph, z):
    """The probability that sampling from z decodes exactly this graph; 0 where the decoder cannot."""
    decoding = Decoding(model, z)
    log_probability = z.new_zeros(())
    for v in range(1, model.config.num_vertices):
        vertex_type = graph.types[v]
        if v < model.config.num_vertices - 1:
            log_probability = log_probability + F.log_softmax(decoding.type_logits(), dim=0)[vertex_type]
        if vertex_type == model.config.output_type:
            decoding.close()
            same = decoding.graph() == Graph(graph.types, [sorted(sources) for sources in graph.predecessors])
            return log_probability.exp() if same else z.new_zeros(())
        if v == model.config.num_vertices - 1:
            return z.new_zeros(())
        decoding.add_vertex(vertex_type)
        for u in range(v - 1, -1, -1):
            edge = u in graph.predecessors[v]
            log_probability = log_probability + F.logsigmoid(decoding.edge_logit(u) * (1 if edge else -1))
            decoding.decide(u, edge)
    raise AssertionError("a graph ends with its output vertex")
