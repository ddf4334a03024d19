"""The generative models side by side: one name each, the same sizes, for comparisons on any space.

A new model is one file and one line of `FAMILY`. Two callers that ask for the same model of the same space with the
same sizes get equal configurations, so that `train_model` finds the other's checkpoint under `run_name`. Letters: H
hidden, D latent.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from latentnas.interfaces import GraphVAE, Space
from latentnas.models.arch2vec import Arch2Vec, Arch2VecConfig
from latentnas.models.gcn import GCN, GCNConfig
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.models.sequence import SVAE, GraphRNN, SVAEConfig
from latentnas.models.svge import SVGe, SVGeConfig


@dataclass(frozen=True)
class ModelSpec:
    """One model of the family."""

    model_class: type[GraphVAE]
    config_class: type
    size: str  # which of the sizes it takes: "hidden", "svge_hidden", or "own": its authors', D included
    learning_rate: float  # of Muon, where none was chosen for the space: see `tuned`
    options: dict[str, Any] = field(default_factory=dict)  # of its configuration, where it differs from the defaults


FAMILY = {
    "S-VAE": ModelSpec(SVAE, SVAEConfig, "hidden", 8e-3),
    "GraphRNN": ModelSpec(GraphRNN, SVAEConfig, "hidden", 8e-3),
    "GCN": ModelSpec(GCN, GCNConfig, "hidden", 1.6e-2),
    "D-VAE": ModelSpec(NGAE, NGAEConfig, "hidden", 1.6e-2, {"predictors": "none"}),
    "DGMG": ModelSpec(SVGe, SVGeConfig, "svge_hidden", 5e-3, {"two_sided": False, "reverse_messages": True}),
    "SVGe": ModelSpec(SVGe, SVGeConfig, "svge_hidden", 5e-3),
    "arch2vec": ModelSpec(Arch2Vec, Arch2VecConfig, "own", 5e-3),
}
WITH_LABELS = {"NGAE": ModelSpec(NGAE, NGAEConfig, "hidden", 1.6e-2)}  # its loss needs `performance` and `complexity`

# By model and space, the peak of Muon's one-cycle schedule that notebook 12 chose by the loss on graphs held out of the
# training set: column rate of data/results/recommended/12_tuning/chosen.csv, where Muon is chosen throughout.
TUNED_ON = ("enas", "nasbench201", "nasbench101")
TUNED: dict[str, tuple[float, float, float]] = {
    "S-VAE": (0.032, 0.032, 0.032),
    "GraphRNN": (0.016, 0.032, 0.032),
    "GCN": (0.016, 0.032, 0.032),
    "D-VAE": (0.016, 0.032, 0.032),
    "DGMG": (0.008, 0.008, 0.008),
    "SVGe": (0.008, 0.016, 0.016),
    "arch2vec": (0.064, 0.064, 0.064),
}


def configure(name: str, space: Space, hidden: int, svge_hidden: int, latent: int) -> tuple[type[GraphVAE], Any]:
    """The class of a model of `FAMILY` or `WITH_LABELS` and its configuration for the graphs of a space.

    `svge_hidden` is H of SVGe and DGMG, `hidden` of the others; arch2vec has its authors' H, and D = 16 N.

    Raises:
        ValueError: no model has this name.
    """
    spec = _spec(name)
    known = {field.name for field in fields(spec.config_class)}
    members = ("num_types", "num_vertices", "input_type", "output_type")
    shape = {member: getattr(space, member) for member in members if member in known}
    sizes = {"hidden": {"hidden": hidden, "latent": latent}, "svge_hidden": {"hidden": svge_hidden, "latent": latent}}
    return spec.model_class, spec.config_class(**shape, **sizes.get(spec.size, {}), **spec.options)


def tuned(name: str, space: Space) -> dict[str, Any]:
    """`optimizer` and `learning_rate` for `TrainConfig`: Muon at the rate chosen for the space, or else the model's."""
    chosen = dict(zip(TUNED_ON, TUNED.get(name, ())))
    return {"optimizer": "muon", "learning_rate": chosen.get(space.name, _spec(name).learning_rate)}


def _spec(name: str) -> ModelSpec:
    members = FAMILY | WITH_LABELS
    if name not in members:
        raise ValueError(f"There is no model {name!r} in the family; choose one of {', '.join(members)}.")
    return members[name]


def run_name(name: str, space: Space) -> str:
    """What the folder of a training is called: `svae-enas`; see `train.train_model`."""
    return f"{slug(name)}-{space.name}"


def slug(name: str) -> str:
    """A model's name in small letters and digits, as in the ids of claims: `svae`."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
