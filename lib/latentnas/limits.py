"""What D-VAE's decoder (Zhang et al., 2019, https://arxiv.org/abs/1904.11088, section 3.3) can write at most.

It decides by the states of vertices, and decisions from equal states get one probability p. Where a share s of them is
to be answered yes, all of them are right with the highest chance at p = s. The product of these over all decisions of a
graph bounds the chance to give it back, whatever the code says and however long the training.
"""

import torch
from torch import Tensor

from latentnas.graphs import DagBatch
from latentnas.models.dagnn import decision_order
from latentnas.models.ngae import NGAE, NGAEConfig


@torch.no_grad()
def writable(config: NGAEConfig, batch: DagBatch) -> Tensor:
    """The highest chance of all edges, and of all types, of each graph, equal position by position, float64 `[2, B]`.
    A greedy decode gives a graph back only where both are 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of random weights states are equal only where they have to be
        decoder, code = NGAE(config).double().decoder, torch.randn(1, config.latent).double()
    (types, kinds), (edges, taken, exist) = decoder.decisions(code.expand(len(batch), -1), batch)
    last = (batch.num_vertices - 1)[:, None]  # its type and its edges are given
    target = decision_order(config.num_vertices, edges.device)[0]
    of_edges = best_chance(edges, taken, exist & (target < last))
    of_types = best_chance(types[..., 0], kinds, torch.arange(kinds.shape[1]) < last.clamp(max=config.num_vertices - 2))
    return torch.stack([torch.ones_like(of_edges) if config.fixed_edges else of_edges, of_types])


def best_chance(logits: Tensor, wanted: Tensor, decided: Tensor) -> Tensor:
    """The highest chance that every decision `[B, P]` of those that are `decided` is as wanted, `[B]`; those with equal
    logits have equal states."""
    alike = ((logits[:, :, None] - logits[:, None, :]).abs() < 1e-12) & decided[:, None, :]
    right = alike & (wanted[:, :, None] == wanted[:, None, :])
    return (right.sum(dim=2).double() / alike.sum(dim=2).clamp(min=1)).where(decided, 1).prod(dim=1)
