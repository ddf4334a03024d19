"""CR-LSO: a graph autoencoder with a convexity regulariser (Rao, Zhao, Liu, 2022, https://arxiv.org/abs/2211.05950).

`AccuracyPredictor` learns accuracy from a few labelled cells; its predictions are the pseudo-labels of all others.
`CRLSO` is trained on the whole space with them:

    loss = reconstruction + beta * KL + weight * (1 - g(z) - accuracy)^2,      g convex in z

The last term is the convexity regulariser; see `latentnas.models.convex`. Messages are passed on the cell as an
undirected graph, all vertices at once, in a few rounds. Letters: B cells, V vertices, H hidden, D latent.
"""

from __future__ import annotations  # PyG cannot read `Tensor | None` otherwise

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from latentnas.graphs import DagBatch
from latentnas.interfaces import Decodes
from latentnas.models.base import BaseVAE, full_precision, require_points
from latentnas.models.branches import decode_in_chunks
from latentnas.models.cell_graphs import LAYOUTS, CellGraphs
from latentnas.models.convex import CONSTRAINTS, ConvexPredictor, InputConvexNetwork
from latentnas.models.heads import LABEL_SCALES, LabelScale
from latentnas.settings import check_settings

CHOICES = {"space": tuple(LAYOUTS), "constraint": CONSTRAINTS, "label_scale": LABEL_SCALES}
DECODES_AT_ONCE = 200_000  # random decodes; bounds memory


@dataclass(frozen=True)
class CRLSOConfig:
    """Sizes and weights of CR-LSO; the defaults are those of the authors' code for NAS-Bench-201."""

    space: str = "nasbench201"  # how a cell is a graph, see `cell_graphs.LAYOUTS`
    hidden: int = 256  # H
    latent: int = 16  # D
    layers: int = 3  # rounds of message passing
    beta: float = 0.005  # weight of the KL term
    noise_scale: float = 0.01  # factor on the sampling noise in training
    convexity_weight: float = 1.0  # of the convexity regulariser; 0: a plain autoencoder without labels
    detached: bool = False  # True, for comparison: g learns from the codes, but the encoder not from g
    convex_hidden: int = 128  # of the convex network g
    convex_layers: int = 4
    constraint: str = "projection"  # how g is kept convex, see InputConvexNetwork
    label_scale: str = "percent"  # what 1 - g predicts, see LabelScale

    def __post_init__(self) -> None:
        check_settings(self, CHOICES)

    @property
    def num_vertices(self) -> int:
        return LAYOUTS[self.space].space.num_vertices

    @property
    def num_types(self) -> int:
        return LAYOUTS[self.space].space.num_types


NASBENCH101_CONFIG = CRLSOConfig(space="nasbench101", hidden=512, latent=64, beta=0.1, convex_hidden=256)


class NodeConv(MessagePassing):
    """x_i' = L2(L1(x_i)) + sum over neighbours j of LeakyReLU(K [x_i ; x_j ; e_ij]).

    K is applied in its three parts, the first two once for each vertex instead of once for each edge."""

    def __init__(self, inputs: int, outputs: int, edge_features: int) -> None:
        super().__init__(aggr="add", node_dim=0)
        self.own = nn.Sequential(nn.Linear(inputs, outputs), nn.Linear(outputs, outputs))
        self.kernel = nn.Linear(2 * inputs + edge_features, outputs, bias=False)

    def forward(self, graphs: CellGraphs) -> CellGraphs:
        x = graphs.vertices
        target, source, edge = self.kernel.weight.tensor_split([x.shape[-1], 2 * x.shape[-1]], dim=1)
        edges = None if graphs.edge_features is None else F.linear(graphs.edge_features, edge)
        arrived = self.propagate(graphs.edge_index, target=F.linear(x, target), source=F.linear(x, source), edges=edges)
        return graphs._replace(vertices=self.own(x) + arrived)

    def message(self, target_i: Tensor, source_j: Tensor, edges: Tensor | None) -> Tensor:
        total = target_i + source_j
        return F.leaky_relu(total if edges is None else total + edges)


class CellEncoder(nn.Module):
    """Rounds of NodeConv; the states of the V vertices of each validated cell, `[V, B, H]`."""

    def __init__(self, space: str, hidden: int, layers: int) -> None:
        super().__init__()
        self.layout = LAYOUTS[space]
        widths = [self.layout.vertex_features] + [hidden] * layers
        self.rounds = nn.Sequential(*(NodeConv(width, hidden, self.layout.edge_features) for width in widths[:-1]))

    def forward(self, batch: DagBatch) -> Tensor:
        graphs, vertices = self.layout.graphs(batch, self.rounds[0].kernel.weight.dtype), self.layout.num_vertices
        states = self.rounds(graphs).vertices
        return states.flatten(0, -2)[: vertices * len(batch)].view(vertices, len(batch), states.shape[-1])


class Residual(nn.Sequential):
    """x + a two-layer network of x."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class CRLSO(BaseVAE):
    """The autoencoder with the convexity regulariser, whose labels or pseudo-labels are `performance`."""

    def __init__(self, config: CRLSOConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = CellEncoder(config.space, config.hidden, config.layers)
        self.layout = self.encoder.layout
        self.mu = nn.Linear(config.hidden, config.latent)
        self.logvar = nn.Linear(config.hidden, config.latent)
        first, middle = nn.Linear(config.latent, config.hidden), [Residual(config.hidden) for _ in range(2)]
        self.decoder = nn.Sequential(first, nn.Tanh(), *middle, nn.Linear(config.hidden, self.layout.num_logits))
        if config.convexity_weight:
            network = InputConvexNetwork(config.latent, config.convex_hidden, config.convex_layers, config.constraint)
            self.performance = ConvexPredictor(network, config.label_scale)

    @torch.no_grad()
    def decode(self, z: Tensor) -> DagBatch:
        require_points(z, self.config.latent)
        return self.layout.decode(self.decoder(z))

    @torch.no_grad()
    def sample_decodes(self, z: Tensor, trials: int, generator: torch.Generator) -> Decodes:
        trials = require_points(z, self.config.latent, trials)
        together = max(1, DECODES_AT_ONCE // trials)
        return decode_in_chunks(lambda rows: self.layout.sample(self.decoder(rows), trials, generator), z, together)

    def loss(self, batch: DagBatch, generator: torch.Generator | None = None, **labels: Tensor) -> dict[str, Tensor]:
        terms, _, z = self._bound(batch, generator)
        for error in self.head_losses(z.detach() if self.config.detached else z, labels).values():
            terms["convexity"] = error
            terms["total"] = terms["total"] + self.config.convexity_weight * terms["convexity"]
        return terms

    def _validated(self, batch: DagBatch) -> DagBatch:
        return self.layout.validated(batch)

    def _encode(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        cell = self.encoder(batch).sum(dim=0)
        return self.mu(cell), self.logvar(cell)

    def _reconstruction(self, z: Tensor, batch: DagBatch) -> dict[str, Tensor]:
        return self.layout.loss(full_precision(self.decoder(z)), batch)


@dataclass(frozen=True)
class AccuracyPredictorConfig:
    """Sizes of the predictor behind the pseudo-labels; the defaults are the authors'."""

    space: str = "nasbench201"
    hidden: int = 64
    layers: int = 4  # rounds of message passing
    label_scale: str = "percent"

    def __post_init__(self) -> None:
        check_settings(self, {name: CHOICES[name] for name in ("space", "label_scale")})


class AccuracyPredictor(nn.Module):
    """Accuracy of cells from a few labels, trained by `train.fit` like a `GraphVAE`. Three hidden layers read the
    states of all vertices side by side."""

    recordable = True

    def __init__(self, config: AccuracyPredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = CellEncoder(config.space, config.hidden, config.layers)
        hidden = config.hidden
        layers = (layer for _ in range(3) for layer in (nn.Linear(hidden, hidden), nn.LeakyReLU()))
        first = nn.Linear(self.encoder.layout.num_vertices * hidden, hidden)
        self.head = nn.Sequential(first, *layers, nn.Linear(hidden, 1))
        self.scale = LabelScale(config.label_scale)

    def calibrate(self, performance: Tensor) -> None:
        self.scale.calibrate(performance)

    def _validated(self, batch: DagBatch) -> DagBatch:
        return self.encoder.layout.validated(batch)

    def forward(self, batch: DagBatch) -> Tensor:
        return full_precision(self.head(self.encoder(self._validated(batch)).transpose(0, 1).flatten(1)).squeeze(1))

    @torch.no_grad()
    def predict(self, batch: DagBatch) -> Tensor:
        """Pseudo-labels in the unit of the training labels, `[B]`."""
        return self.scale.unstandardise(self(batch))

    def loss(self, batch: DagBatch, performance: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        error = (self(batch) - self.scale.standardise(performance)).square().mean()
        return {"total": error, "performance": error}

    def project(self) -> None:
        pass
