"""What several test files need."""

import pytest
from hypothesis import settings

from latentnas import benchmarks
from latentnas.benchmarks.download import DataUnreachable

settings.register_profile("any machine", deadline=None)  # a slow machine is no failure
settings.load_profile("any machine")


def public(name):
    """A public table; tests that need it are skipped where there is neither network nor mirror."""
    try:
        return benchmarks.load(name, "public")
    except DataUnreachable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def enas():
    return public("enas")


@pytest.fixture(scope="session")
def nasbench201():
    return public("nasbench201")


@pytest.fixture(scope="session")
def nasbench101():
    return public("nasbench101")
