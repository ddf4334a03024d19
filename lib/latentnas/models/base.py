"""What the variational autoencoders share: checks of their input, noise, KL term, loss, decoding.

The loss of all of them is the negative evidence lower bound of Kingma and Welling (2014,
https://arxiv.org/abs/1312.6114) with a weight on the KL term:

    loss = -log p(G | z) + beta KL(N(mu, exp(logvar)) || N(0, 1)),
    z = mu + noise_scale * exp(logvar / 2) * normal noise

Letters: B graphs, N vertices, T node types, D latent.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.interfaces import Decodes, GraphVAE
from latentnas.models.heads import Head
from latentnas.products import fast_fp32
from latentnas.settings import check_settings, whole


@dataclass(frozen=True)
class VAEConfig:
    """What the models of one latent code per graph share; the defaults are the published ones on the ENAS space."""

    num_types: int = 8  # T, input and output included
    num_vertices: int = 8  # N, the largest graph
    input_type: int = 0  # type of vertex 0
    output_type: int = 1  # type of the last vertex; generating it ends a graph
    hidden: int = 501  # H
    latent: int = 56  # D
    beta: float = 0.005  # weight of the KL term: the code of D-VAE and NGAE; NGAE's text implies 1
    noise_scale: float = 0.01  # factor on the sampling noise in training: their code; the text implies 1

    def __post_init__(self) -> None:
        check_settings(self, least={"num_vertices": 2, "input_type": 0, "output_type": 0})


def require_nonempty(batch: DagBatch) -> None:
    """Raises ValueError for a batch without graphs: a mean over it is no number."""
    if not len(batch):
        raise ValueError("The batch is empty, so there is no loss to take; give it at least one graph.")


def validated(batch: DagBatch, config: Any) -> DagBatch:
    """The batch padded or cut to the model's N. Raises ValueError for too many vertices, unknown types, no input, edges
    that lead to no later vertex, and types past the end. What it returns remembers the configuration, and comes back
    unseen when it is offered again, whole or in part."""
    if batch.checked_for == config:
        return batch
    types, present, large = batch.types, batch.present, batch.num_vertices > config.num_vertices
    strange = present & ((types < 0) | (types >= config.num_types))
    strange[:, :1] |= types[:, :1] != getattr(config, "input_type", types[:, :1])
    astray = (batch.adjacency & ~present[:, None]).any(2) | batch.adjacency.tril().any(2)
    astray |= ~present & (types != NO_VERTEX)
    if not (strange.any() | astray.any() | large.any()):  # one wait for the device
        return replace(batch.pad_to(config.num_vertices), checked_for=config)
    if large.any():
        largest = int(batch.num_vertices.max())
        found = f"graphs of at most {config.num_vertices} vertices, but the batch has one of {largest}"
        raise ValueError(f"This model was built for {found}; build the model with num_vertices={largest}.")
    for graph, vertex in astray.nonzero()[:1].tolist():
        rule = f"edges lead to later vertices of their graph, and positions past its end have the type {NO_VERTEX}"
        raise ValueError(f"Graph {graph} breaks a rule at position {vertex}: {rule}. Number vertices in order.")
    graph, vertex = strange.nonzero()[0].tolist()
    found = f"a vertex of type {int(types[graph, vertex])}{' in the place of the input' * (vertex == 0)}"
    known = f"This model knows the node types 0 to {config.num_types - 1}, but the batch has {found}"
    raise ValueError(f"{known}; give it graphs of its own space, or build it with that space's num_types.")


def full_precision(value: Tensor) -> Tensor:
    """fp32 in place of bf16; fp64 stays."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def reparameterize(mu: Tensor, logvar: Tensor, scale: float, generator: torch.Generator | None) -> Tensor:
    """A sample around `mu [B, D]`, its noise multiplied by `scale`."""
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + scale * noise * (logvar / 2).exp()


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """From N(mu, exp(logvar)) to N(0, 1), summed over the D dimensions, `[B]` (nats)."""
    return -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(dim=1)


def sample_posterior(
    posterior: tuple[Tensor, Tensor], scale: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """mu and a sample z, `[B, D]` in full precision, and the KL term averaged over the batch, of (mu, logvar)."""
    mu, logvar = (full_precision(values) for values in posterior)
    return mu, reparameterize(mu, logvar, scale, generator), kl_divergence(mu, logvar).mean()


def two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A head: Linear, ReLU, Linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class BaseVAE(GraphVAE):
    """A subclass has `encoder` and `_reconstruction`. Each `Head` among its members learns the labels of its name."""

    recordable = True  # a training step waits for nothing and does the same work whatever the graphs, see `replay`

    def heads(self) -> dict[str, Head]:
        return {name: member for name, member in self.named_children() if isinstance(member, Head)}

    def calibrate(self, **labels: Tensor) -> None:
        """Raises ValueError for labels of other names than the heads'."""
        if labels.keys() != self.heads().keys():
            known, given = (", ".join(names) or "none" for names in (self.heads(), labels))
            raise ValueError(f"This model learns from the labels {known}, but was given {given}. Name them alike.")
        for name, head in self.heads().items():
            head.calibrate(labels[name])

    def project(self) -> None:
        for head in self.heads().values():
            head.project()

    @fast_fp32()
    def encode(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        return self._encode(self._validated(batch))

    def loss(self, batch: DagBatch, generator: torch.Generator | None = None, **labels: Tensor) -> dict[str, Tensor]:
        return self._bound(batch, generator)[0]

    def _bound(self, batch: DagBatch, generator: torch.Generator | None) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The terms of the loss, unweighted, as far as they need no labels (nats a graph); mu and z `[B, D]`."""
        require_nonempty(batch)
        batch = self._validated(batch)
        mu, z, kl = sample_posterior(self._encode(batch), self.config.noise_scale, generator)
        terms = self._reconstruction(z, batch)
        total = sum(terms.values()) + self.config.beta * kl
        return {"total": total} | terms | {"kl": kl}, mu, z

    def head_losses(self, code: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of each head the mean squared error at codes `[B, D]`. Raises ValueError where its labels are missing."""
        missing = [name for name in self.heads() if name not in labels]
        if missing:
            given = f"but {' and '.join(missing)} is missing; call loss(batch, {missing[0]}=...)"
            raise ValueError(f"The loss of this model learns from the labels {', '.join(self.heads())}, {given}.")
        return {name: head.loss(code, labels[name]).mean() for name, head in self.heads().items()}

    def _validated(self, batch: DagBatch) -> DagBatch:
        return validated(batch, self.config)

    def _encode(self, batch: DagBatch) -> tuple[Tensor, Tensor]:
        return self.encoder(batch)

    def _reconstruction(self, z: Tensor, batch: DagBatch) -> dict[str, Tensor]:
        """Terms of the loss, averaged over the graphs that z stands for."""
        raise NotImplementedError


def require_points(z: Tensor, latent: int, trials: int = 1) -> int:
    """Refuse what cannot be decoded; `trials` as Python's number. ValueError names what is wrong."""
    if z.ndim != 2 or z.shape[1] != latent:
        raise ValueError(f"Points to decode have the shape [B, {latent}], not {[*z.shape]}; one point is z[i : i + 1].")
    if not z.isfinite().all():
        raise ValueError(
            "A point to decode has NaN or infinite numbers. Look at what made it: an ascent, or the codes?"
        )
    return whole("trials", trials)


class AutoregressiveVAE(BaseVAE):
    """An autoencoder that writes a graph decision by decision; `_sample` of a subclass says how."""

    @torch.no_grad()
    def decode(self, z: Tensor) -> DagBatch:
        require_points(z, self.config.latent)
        return self._sample(z, 1, None)[0]

    @torch.no_grad()
    def sample_decodes(self, z: Tensor, trials: int, generator: torch.Generator) -> Decodes:
        return self._sample(z, require_points(z, self.config.latent, trials), generator)

    def _sample(self, z: Tensor, trials: int, generator: torch.Generator | None) -> Decodes:
        """As `sample_decodes`; without a generator every decision is the most likely one."""
        raise NotImplementedError
