"""NGAE: neural graph autoencoder with performance and complexity predictors, and D-VAE.

Li, Liu, Liu, Wang: Neural Graph Autoencoder, 2020 (https://github.com/superlj666/NGAE); Zhang et al.: D-VAE, 2019
(https://arxiv.org/abs/1904.11088).

    loss = types + edges + beta * KL + (f_perf(z) - y)^2 + (f_comp(z) - c)^2        (NGAE eq. 6)

D-VAE is the same model with `predictors="none"`. What the paper says and what its authors ran differ in several
places; `NGAEConfig` names each of them. Letters: B graphs, N vertices, T node types, H hidden, D latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentnas.graphs import DagBatch
from latentnas.models.base import AutoregressiveVAE, require, sample_posterior, validated
from latentnas.models.convex import ConvexPredictor, InputConvexNetwork
from latentnas.models.dagnn import DagDecoder, DagEncoder, GatedMessage
from latentnas.models.dagnn_decode import DagDecoding
from latentnas.models.heads import Predictor

PREDICTORS = ("paper", "released", "convex", "none")


@dataclass(frozen=True)
class NGAEConfig:
    """Sizes and weights of NGAE; the defaults are the published ones on the ENAS space."""

    num_types: int = 8  # T, input and output included
    num_vertices: int = 8  # N, the largest graph
    input_type: int = 0  # type of vertex 0
    output_type: int = 1  # type that ends a graph
    hidden: int = 501  # H
    latent: int = 56  # D
    beta: float = 0.005  # weight of the KL term: the authors' code; the paper's text implies 1
    noise_scale: float = 0.01  # factor on the sampling noise in training: the authors' code; the text implies 1
    # "paper": two hidden layers, standardised labels; "released": one, accuracy / 100 and raw complexity; "none":
    # D-VAE; "convex": f_perf is the concave 1 - g(z) of CR-LSO, whose error regularises the latent space, and f_comp
    # the paper's
    predictors: str = "paper"
    performance_weight: float = 1.0  # of the squared error of f_perf
    complexity_weight: float = 1.0  # of the squared error of f_comp

    def __post_init__(self) -> None:
        require(self, ("hidden", "latent"), {"predictors": PREDICTORS})


class NGAE(AutoregressiveVAE):
    """The variational graph autoencoder of `NGAEConfig`; with `predictors="none"` D-VAE.

    Shapes: B graphs of up to N vertices; `mu`, `logvar` and `z` are `[B, D]`.
    """

    def __init__(self, config: NGAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, messages = self.make_encoder()
        self.decoder = DagDecoder(
            config.num_types,
            config.num_vertices,
            config.hidden,
            config.latent,
            config.input_type,
            config.output_type,
            messages,
        )
        released = config.predictors == "released"
        if config.predictors != "none":
            if config.predictors == "convex":
                self.performance = ConvexPredictor(InputConvexNetwork(config.latent))
            else:
                self.performance = Predictor(config.latent, config.hidden, released, "percent")
            self.complexity = Predictor(config.latent, config.hidden, released)

    def make_encoder(self) -> tuple[nn.Module, GatedMessage]:
        """The encoder, and the message that the decoder passes on: the encoder's own, as in D-VAE."""
        config = self.config
        encoder = DagEncoder(config.num_types, config.num_vertices, config.hidden, config.latent)
        return encoder, encoder.forward_message

    def calibrate(self, performance: Tensor | None = None, complexity: Tensor | None = None) -> None:
        """Fix the scale of the predictors from the training labels `[B]`; D-VAE needs none."""
        if self.config.predictors != "none":
            self.performance.calibrate(performance)
            self.complexity.calibrate(complexity)

    def project(self) -> None:
        """Keep f_perf concave where it is the convex network's."""
        if self.config.predictors == "convex":
            self.performance.network.project()

    def encode(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        """mu and logvar. Raises ValueError for graphs that are too large and for unknown types."""
        return self.encoder(validated(batch, self.config))

    def _decoding(self, z: Tensor, trials: int, generator: torch.Generator | None) -> DagDecoding:
        return DagDecoding(self.decoder, self.config, z, trials, generator)

    def loss(
        self,
        batch: DagBatch,
        performance: Tensor | None = None,
        complexity: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The terms of the loss, unweighted and averaged over the batch (nats, squared standard deviations).

        Args:
            performance, complexity: labels `[B]`, accuracies in percent; needed unless `predictors="none"`.
            generator: source of the sampling noise.
        """
        batch = validated(batch, self.config, nonempty=True)
        mu, z, kl = sample_posterior(self.encoder(batch), self.config.noise_scale, generator)
        vertices, edges = self.decoder.loss(z, batch)
        terms = {"vertices": vertices.mean(), "edges": edges.mean(), "kl": kl}
        total = terms["vertices"] + terms["edges"] + self.config.beta * kl
        if self.config.predictors != "none":
            code = mu if self.config.predictors == "released" else z
            terms["performance"] = self.performance.loss(code, performance).mean()
            terms["complexity"] = self.complexity.loss(code, complexity).mean()
            total = total + self.config.performance_weight * terms["performance"]
            total = total + self.config.complexity_weight * terms["complexity"]
        return {"total": total} | terms
