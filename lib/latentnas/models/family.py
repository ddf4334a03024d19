"""The generative models side by side: one name each, the same sizes, for comparisons on any space.

Two callers that ask for the same model of the same space with the same sizes get equal configurations, so that
`train_model` finds the other's checkpoint under `run_name`. Letters: H hidden, D latent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from latentnas.models.arch2vec import Arch2Vec, Arch2VecConfig
from latentnas.models.gcn import GCN, GCNConfig
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.models.sequence import SVAE, GraphRNN, SVAEConfig
from latentnas.models.svge import DGMG_CONFIG, SVGe, SVGeConfig


@dataclass(frozen=True)
class Member:
    """One model of the family."""

    model_class: type[nn.Module]
    config_class: type
    size: str  # which of the sizes it takes: "hidden", "svge_hidden", or "own": its authors', D included
    learning_rate: float  # the peak of a one-cycle schedule of few epochs
    options: dict = field(default_factory=dict)  # of its configuration, where it differs from the defaults


# Rates: 2e-3 is what notebook 02 trains D-VAE with. Of 2e-3, 5e-3 and 1e-2, tried with SVGe, and of 2e-3 and 5e-3, tried
# with arch2vec, 5e-3 was best.
FAMILY = {
    "S-VAE": Member(SVAE, SVAEConfig, "hidden", 2e-3),
    "GraphRNN": Member(GraphRNN, SVAEConfig, "hidden", 2e-3),
    "GCN": Member(GCN, GCNConfig, "hidden", 2e-3),
    "D-VAE": Member(NGAE, NGAEConfig, "hidden", 2e-3, {"predictors": "none"}),
    "DGMG": Member(
        SVGe,
        SVGeConfig,
        "svge_hidden",
        5e-3,
        {"two_sided": DGMG_CONFIG.two_sided, "reverse_messages": DGMG_CONFIG.reverse_messages},
    ),
    "SVGe": Member(SVGe, SVGeConfig, "svge_hidden", 5e-3),
    "arch2vec": Member(Arch2Vec, Arch2VecConfig, "own", 5e-3, {"kl_reduction": "released"}),
}


def configured(name: str, space, hidden: int, svge_hidden: int, latent: int) -> tuple[type[nn.Module], object]:
    """The class of a model and its configuration for the graphs of ``space``.

    Args:
        name: a key of ``FAMILY``. space: has ``num_types``, ``num_vertices``, ``output_type``.
        hidden: H of D-VAE, GCN, S-VAE and GraphRNN (D-VAE: 501). svge_hidden: H of SVGe and DGMG (SVGe: 250).
        latent: D of all but arch2vec, which has 16 for each vertex.

    Raises:
        ValueError: no model has this name.
    """
    if name not in FAMILY:
        raise ValueError(f"There is no model {name!r} in the family; choose one of {', '.join(FAMILY)}.")
    member = FAMILY[name]
    shape = {key: getattr(space, key) for key in ("num_types", "num_vertices", "output_type")}
    sizes = {"hidden": {"hidden": hidden, "latent": latent}, "svge_hidden": {"hidden": svge_hidden, "latent": latent}}
    return member.model_class, member.config_class(**shape, **sizes.get(member.size, {}), **member.options)


def run_name(name: str, space) -> str:
    """What the folder of a training is called: ``svae-enas``; see ``train.train_model``."""
    return f"{identifier(name)}-{space.name}"


def identifier(name: str) -> str:
    """A model's name in small letters and digits, as in the ids of claims: ``svae``."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
