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
    )
}


def fetch(name: str) -> Path:
    """The path of a registered file whose checksum is right, downloaded when it is not yet here. Raises
    DataError."""
    if name not in FILES:
        raise DataError(
            f"There is no data file called {name!r}. The registered ones are: {', '.join(sorted(FILES))}."
        )
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
