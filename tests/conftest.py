"""What several test files need."""

import pytest

from latentnas.benchmarks.download import DataUnreachable
from latentnas.benchmarks.enas import load_enas


@pytest.fixture(scope="session")
def enas():
    """The public ENAS table; tests that need it are skipped where there is neither network nor mirror."""
    try:
        return load_enas()
    except DataUnreachable as error:
        pytest.skip(str(error))
