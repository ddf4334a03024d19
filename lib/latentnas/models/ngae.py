"""NGAE: neural graph autoencoder with performance and complexity predictors, and D-VAE.

Li et al.: Neural Architecture Optimization with Graph VAE, 2020 (https://arxiv.org/abs/2006.10310; code:
https://github.com/superlj666/NGAE); Zhang et al.: D-VAE, 2019 (https://arxiv.org/abs/1904.11088).

    loss = types + edges + beta * KL + (f_perf(z) - y)^2 + (f_comp(z) - c)^2        (NGAE eq. 6)

D-VAE is the same model with `predictors="none"`. What the paper says and what its authors ran differ in several
places; `NGAEConfig` names each of them. Letters: B graphs, N vertices, T node types, H hidden, D latent.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentnas.graphs import DagBatch
from latentnas.interfaces import Decodes
from latentnas.models.base import AutoregressiveVAE, VAEConfig
from latentnas.models.convex import ConvexPredictor, InputConvexNetwork
from latentnas.models.dagnn import DagDecoder, DagDecoding, DagEncoder, GatedMessage
from latentnas.models.heads import Predictor
from latentnas.settings import one_of


@dataclass(frozen=True)
class NGAEConfig(VAEConfig):
    """Sizes and weights of NGAE."""

    # "paper": two hidden layers, standardised labels; "released": one, from mu, which learns accuracy / 100 and
    # complexity as it is given, from 0 to 1; "none": D-VAE; "convex": f_perf is the concave 1 - g(z) of CR-LSO, whose
    # error regularises the latent space, and f_comp the paper's
    predictors: str = "paper"
    performance_weight: float = 1.0  # of the squared error of f_perf
    complexity_weight: float = 1.0  # of the squared error of f_comp
    numbered: bool = False  # True: the decoder tells each new vertex its number; see `latentnas.models.dagnn`
    fixed_edges: tuple[tuple[int, int], ...] = ()  # of all graphs of the space; then the decoder writes types only

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("predictors", self.predictors, ("paper", "released", "convex", "none"))
        object.__setattr__(self, "fixed_edges", tuple(map(tuple, self.fixed_edges)))  # JSON has lists
        wrong = [(u, v) for u, v in self.fixed_edges if not 0 <= u < v < self.num_vertices]
        if wrong:
            raise ValueError(f"fixed_edges has {wrong[0]}; an edge (u, v) needs 0 <= u < v < {self.num_vertices}.")


class NGAE(AutoregressiveVAE):
    """The variational graph autoencoder of `NGAEConfig`; its loss learns from `performance` and `complexity`.

    It joins to the output exactly the vertices without a successor, so it never gives back an architecture with another
    edge into the output. To change a part derive from it and override `make_encoder`, as `models.gcn` does.
    """

    def __init__(self, config: NGAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, messages = self.make_encoder()
        self.decoder = DagDecoder(config, messages)
        released = config.predictors == "released"
        if config.predictors != "none":
            if config.predictors == "convex":
                self.performance = ConvexPredictor(InputConvexNetwork(config.latent))
            else:
                self.performance = Predictor(config.latent, config.hidden, released, "percent")
            self.complexity = Predictor(config.latent, config.hidden, released)

    def make_encoder(self) -> tuple[nn.Module, GatedMessage]:
        """The encoder, and the message that the decoder passes on: the encoder's own, as in D-VAE."""
        encoder = DagEncoder(self.config)
        return encoder, encoder.forward_message

    def loss(self, batch: DagBatch, generator: torch.Generator | None = None, **labels: Tensor) -> dict[str, Tensor]:
        terms, mu, z = self._bound(batch, generator)
        code = mu if self.config.predictors == "released" else z
        for name, error in self.head_losses(code, labels).items():
            terms[name] = error
            terms["total"] = terms["total"] + getattr(self.config, f"{name}_weight") * terms[name]
        return terms

    def _reconstruction(self, z: Tensor, batch: DagBatch) -> dict[str, Tensor]:
        vertices, edges = self.decoder.loss(z, batch)
        return {"vertices": vertices.mean(), "edges": edges.mean()}

    def _sample(self, z: Tensor, trials: int, generator: torch.Generator | None) -> Decodes:
        return DagDecoding.decode(self.decoder, self.config, z, trials, generator)
