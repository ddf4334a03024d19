"""What several test files need."""

import pytest
from hypothesis import settings

from latentnas.benchmarks.download import DataUnreachable
from latentnas.benchmarks.enas import load_enas
from latentnas.benchmarks.nasbench101 import load_nasbench101
from latentnas.benchmarks.nasbench201 import load_nasbench201

settings.register_profile("any machine", deadline=None)  # a slow machine is no failure
settings.load_profile("any machine")


def public(load):
    """A public table; tests that need it are skipped where there is neither network nor mirror."""
    try:
        return load()
    except DataUnreachable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def enas():
    return public(load_enas)


@pytest.fixture(scope="session")
def nasbench201():
    return public(load_nasbench201)


@pytest.fixture(scope="session")
def nasbench101():
    return public(load_nasbench101)
