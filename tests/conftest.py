"""What several test files need."""

import pytest
from hypothesis import settings

from latentnas.benchmarks.download import DataUnreachable
from latentnas.benchmarks.enas import load_enas
from latentnas.benchmarks.nasbench101 import load_nasbench101
from latentnas.benchmarks.nasbench201 import load_nasbench201

settings.register_profile("any machine", deadline=None)  # a slow machine is no failure
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def enas():
    """The public ENAS table; tests that need it are skipped where there is neither network nor mirror."""
    try:
        return load_enas()
    except DataUnreachable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def nasbench201():
    """The public NAS-Bench-201 table; tests that need it are skipped like those of `enas`."""
    try:
        return load_nasbench201()
    except DataUnreachable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def nasbench101():
    """The public NAS-Bench-101 table; tests that need it are skipped like those of `enas`."""
    try:
        return load_nasbench101()
    except DataUnreachable as error:
        pytest.skip(str(error))
