"""What several test files need."""

import dataclasses
import shutil
import signal

import pytest
from hypothesis import settings

from latentnas import benchmarks
from latentnas.benchmarks.download import FILES, DataUnreachable, PublicFile
from latentnas.spaces.nasbench101 import NASBENCH101
from toy_project import make_project, run_all

settings.register_profile("any machine", deadline=None)  # a slow machine is no failure
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under `nohup ... &`: what tests start would never hear it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Public files that only tests read: parameters by position, and three records of NATS-Bench.
_FREEREA, _NATS = FILES["nasbench101_accuracies"], "1d4a304ad1906aa5866563438fcbf0d624b7eda2"
_PARAMS = "1b312e23917a312c6fc6f356e579ba1166870e6671f7cb1c093685a2558a1e6a"
_RECORDS = {
    "meta": (35_330, "7ecc7932fabec6b80551e07b845346de99d83c673f67a1891d619576b3fa053c"),
    "000000": (83_848, "0103573dc07d29661807b7952fa0930a53203dc8aa6759ff0c5e0e1111300185"),
    "000011": (85_220, "9e70770646c83f824f0a51422aaa7e89afca861a257ec285cdfada7264345276"),
    "000284": (83_726, "a4f558e5e754d3987c6a6a4d3335e9027f88aeb59cba7da039406d909aa3a2d6"),
}
FILES["nasbench101_params"] = dataclasses.replace(
    _FREEREA, name="nasbench101_params", path="cached_metrics/nasbench101/cifar10/params.pkl.gz", sha256=_PARAMS,
    size=4_105_386,
)  # fmt: skip
for _name, (_size, _sha256) in _RECORDS.items():
    _path = f"fake_torch_dir/NATS-tss-v1_0-3ffb9-simple/{_name}.pickle.pbz2"
    FILES[f"nats_{_name}"] = PublicFile(
        f"nats_{_name}", "D-X-Y/NATS-Bench", _NATS, _path, _sha256, _size, "MIT", "Dong, Liu, Musial, Gabrys. 2021."
    )


LONGEST = ("test_notebooks.py", "test_device_searches.py", "test_solved.py", "test_public_notebooks.py")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that no process is left alone with one in the end. Tests on the table
    of NAS-Bench-101 are slow: to read it and to look for its cells takes seconds."""
    for item in items:
        if "nasbench101" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes():
    """The cells of NAS-Bench-101 are enumerated once, not by each process that meets them first."""
    NASBENCH101.enumerate()


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


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A toy project after its first complete run, and that run; tests copy it rather than change it."""
    folder = make_project(tmp_path_factory.mktemp("finished"))
    run = run_all(folder, PYTHONWARNINGS="always::ResourceWarning")
    assert run.returncode == 0, run.stderr
    return folder, run


@pytest.fixture
def finished_project(finished, tmp_path):
    """A copy of the finished toy project, which a test may change."""
    return shutil.copytree(finished[0], tmp_path / "project", symlinks=True)
