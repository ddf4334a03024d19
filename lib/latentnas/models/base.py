"""What the variational autoencoders share: input, noise, KL term, heads, two ways to decode."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentnas.graphs import NO_VERTEX, DagBatch
from latentnas.models.generate import Decodes


def fitted(batch: DagBatch, num_vertices: int, num_types: int) -> DagBatch:
    """The batch as a model of ``num_vertices`` positions reads it: padded or cut to that many.

    Raises:
        ValueError: a graph has more vertices than the model, or a type that its space lacks.
    """
    present = torch.arange(batch.max_vertices, device=batch.types.device) < batch.num_vertices[:, None]
    largest = int(batch.num_vertices.max()) if len(batch) else 0
    if largest > num_vertices:
        raise ValueError(
            f"This model was built for graphs of at most {num_vertices} vertices, but the batch has one of "
            f"{largest}; build the model with num_vertices={largest}."
        )
    strange = batch.types[present & ((batch.types < 0) | (batch.types >= num_types))]
    if len(strange):
        raise ValueError(
            f"This model knows the node types 0 to {num_types - 1}, but the batch has a vertex of type "
            f"{int(strange[0])}; give it graphs of its own space, or build it with that space's num_types."
        )
    more = num_vertices - batch.max_vertices  # negative: positions that no graph of the batch fills
    types = F.pad(batch.types, (0, more), value=NO_VERTEX)
    return DagBatch(types, F.pad(batch.adjacency, (0, more, 0, more)), batch.num_vertices)


def require_some(batch: DagBatch) -> None:
    """Raises ValueError for a batch without graphs: a mean over it is no number."""
    if not len(batch):
        raise ValueError("The batch is empty, so there is no loss to take; give it at least one graph.")


def full_precision(value: Tensor) -> Tensor:
    """fp32 in place of bf16; fp64 stays."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def reparameterize(mu: Tensor, logvar: Tensor, scale: float, generator: torch.Generator | None) -> Tensor:
    """A sample around ``mu [B, D]``, its noise multiplied by ``scale``."""
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + scale * noise * (logvar / 2).exp()


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """From N(mu, exp(logvar)) to N(0, 1), summed over the D dimensions, ``[B]`` (nats)."""
    return -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(dim=1)


def two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A head: Linear, ReLU, Linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class AutoregressiveVAE(nn.Module):
    """An autoencoder that writes a graph decision by decision; ``_decoded`` of a subclass says how."""

    @torch.no_grad()
    def decode(self, z: Tensor) -> DagBatch:
        """The graph of each z, every decision the most likely one.

        A graph that has N vertices and no output among them ends there; it is in no space, so it counts as
        invalid.
        """
        return self._decoded(z, 1, None)[0]

    @torch.no_grad()
    def sample_decodes(self, z: Tensor, trials: int, generator: torch.Generator) -> Decodes:
        """``trials`` independent random decodes of every z, equal ones counted together.

        Returns:
            The distinct graphs of each z, in the order of z; the row of z each came from; how often it came.
        """
        return self._decoded(z, trials, generator)

    def _decoded(self, z: Tensor, trials: int, generator: torch.Generator | None) -> Decodes:
        """``trials`` decodes of every z; without a generator every decision is the most likely one."""
        raise NotImplementedError
