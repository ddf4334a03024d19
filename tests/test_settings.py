"""Every configuration of models, searches and one-shot searches checks itself, by the types of its fields."""

import dataclasses
import importlib
import json
import math
import pkgutil
from fractions import Fraction
from typing import get_type_hints

import numpy as np
import pytest

from latentnas import models, oneshot, search, train
from latentnas.models.ngae import NGAEConfig
from latentnas.settings import check_settings, one_of


def configurations():
    """`TrainConfig`, and the dataclasses of the three packages that can be made without arguments."""
    found: set[type] = {train.TrainConfig}
    for package in (models, oneshot, search):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            for member in vars(importlib.import_module(module.name)).values():
                own = isinstance(member, type) and member.__module__.startswith(package.__name__)
                if own and dataclasses.is_dataclass(member):
                    found.add(member)
    with_defaults = (m for m in found if all(f.default is not f.default_factory for f in dataclasses.fields(m)))
    return sorted(with_defaults, key=lambda member: member.__name__)


CONFIGURATIONS = configurations()
WRONG = {
    int: (2.5, 8.0, math.nan, None, True, "8", -1, np.float64(2.5)),
    float: (math.nan, math.inf, -0.1, None, True, "0.1", np.float32(-1), 10**400, Fraction(-1, 2)),
    bool: (1, None, "False"),
}
WORDS = {int: "a whole number, at least [012]", float: "a finite number, (at least|above|from) 0", bool: "True or"}
FIELDS = [(config, name, kind) for config in CONFIGURATIONS for name, kind in get_type_hints(config).items()]


def test_all_configurations_are_looked_at():
    names = {config.__name__ for config in CONFIGURATIONS}
    assert {"NGAEConfig", "CRLSOSearchConfig", "GaussianConfig", "SupernetSchedule", "SharedSkeleton"} <= names
    assert len(names) >= 17


@pytest.mark.parametrize("config, name, kind", [field for field in FIELDS if field[2] in WRONG])
def test_a_setting_of_another_kind_is_refused(config, name, kind):
    for value in WRONG[kind]:
        with pytest.raises(ValueError, match=f"^{name}=.* must be {WORDS[kind]}") as error:
            config(**{name: value})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("config, name, kind", [field for field in FIELDS if field[2] in WRONG])
def test_numbers_of_numpy_become_those_that_json_knows(config, name, kind):
    own, made = getattr(config(), name), {int: np.int64, float: np.float64, bool: np.bool_}[kind]
    settings = [dataclasses.asdict(made_config) for made_config in (config(), config(**{name: made(own)}))]
    assert json.dumps(settings[0]) == json.dumps(settings[1])


@pytest.mark.parametrize(
    "name, field, value",
    [
        ("VAEConfig", "num_vertices", 1),
        ("GaussianConfig", "initial", 1),
        ("EnsembleConfig", "members", 1),
        ("RefitConfig", "learning_rate", 0.0),
        ("SupernetSchedule", "gradient_clip", 0),
        ("E2nasConfig", "complementation", 1.1),
        ("SVGeConfig", "performance_weight", 1.1),
        ("Arch2VecConfig", "dropout", 1.1),
        ("TrainConfig", "gradient_clip", 0.0),
        ("TrainConfig", "seed", 2**31),
    ],
)
def test_limits_of_single_settings(name, field, value):
    [config] = [config for config in CONFIGURATIONS if config.__name__ == name]
    with pytest.raises(ValueError, match=f"^{field}={value!r} must be"):
        config(**{field: value})


def test_a_whole_number_may_be_given_where_a_number_is_asked_for():
    """And stays one: trainings are named by what JSON writes."""
    [config] = [config for config in CONFIGURATIONS if config.__name__ == "VAEConfig"]
    assert json.dumps(dataclasses.asdict(config(beta=0))["beta"]) == "0"


@pytest.mark.parametrize("given", [Fraction(1, 4), np.longdouble(0.25), np.float32(0.25)])
def test_a_number_of_another_kind_becomes_pythons(given):
    assert json.dumps(NGAEConfig(beta=given).beta) == "0.25"


def test_a_setting_of_one_of_some_words():
    one_of("kind", "a", ("a", "b"))
    with pytest.raises(ValueError, match="^kind='c' is unknown; choose one of a, b.$"):
        one_of("kind", "c", ("a", "b"))


@dataclasses.dataclass(frozen=True)
class Mine(NGAEConfig):
    """As a reader writes it in a notebook."""

    shift: int = -1
    slope: float = -math.inf
    on: bool | None = None
    other: "known.to.no.one" = 0  # noqa: F821  as if imported under TYPE_CHECKING


def test_what_a_subclass_elsewhere_adds_is_its_own_affair():
    assert (Mine().shift, Mine(shift=0).shift, Mine(slope=-2.5).slope) == (-1, 0, -2.5)
    assert json.dumps(dataclasses.asdict(Mine(hidden=np.int64(8), shift=np.int64(-3))))
    for name, value in (("hidden", 0), ("beta", -1.0), ("numbered", 1)):
        with pytest.raises(ValueError, match=f"^{name}="):
            Mine(**{name: value})


@dataclasses.dataclass(frozen=True)
class Alone:
    steps: int | None = None
    rate: "float | None" = None
    other: "known.to.no.one" = 0  # noqa: F821

    def __post_init__(self):
        check_settings(self)


def test_a_setting_that_may_be_none_is_checked_otherwise():
    assert Alone().steps is None and Alone(np.int64(3), np.float32(0.5)) == Alone(3, 0.5)
    for name, value in (("steps", 0), ("steps", 1.5), ("rate", -1), ("rate", "1")):
        with pytest.raises(ValueError, match=f"^{name}="):
            Alone(**{name: value})
