"""CIFAR-10 for weight-sharing searches, from its archive; the digits are in `latentnas.measure.digits`.

CIFAR-10 (Krizhevsky, 2009) is read from its official binary archive, a `.tar.gz` with five files of training
images and one of test images. An image is a record of 3,073 bytes: the class, then 32 x 32 values of red, of
green and of blue, row by row.
"""

import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
import pooch
import requests
import torch
from torch import Generator, Tensor

from latentnas import paths
from latentnas.benchmarks.download import TIMEOUT, DataError, DataUnreachable, check
from latentnas.measure.digits import Images, ImageSets, shift
from latentnas.measure.layers import NUM_CLASSES

RECORD = 1 + 3 * 32 * 32  # bytes
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


def cifar10_images(archive: str | Path, checksum: str, seed: int = 0) -> ImageSets:
    """CIFAR-10, its training images split into halves to train and to validate as in the weight-sharing
    experiments of NAS-Bench-201; training images are shifted by up to four pixels and flipped. Raises DataError.

    Args:
        archive: the file `cifar-10-binary.tar.gz`, or the URL to download it from (kept in `data/cache`).
        checksum: of the archive, as `sha256:...` or `md5:...`.
    """
    *train, test = read_cifar10(_located(str(archive), checksum))
    images, labels = (torch.cat([getattr(part, name) for part in train]) for name in ("images", "labels"))
    halves = torch.randperm(len(labels), generator=Generator().manual_seed(seed)).tensor_split(2)
    parts = [Images(images[rows], labels[rows]) for rows in halves] + [test]
    deviation, mean = torch.std_mean(parts[0].images.float(), dim=(0, 2, 3), keepdim=True)
    return ImageSets(*(Images((part.images - mean) / deviation, part.labels) for part in parts), crop_and_flip)


def read_cifar10(path: Path) -> list[Images]:
    """The images of each of `FILES` in an archive, uint8 `[n, 3, 32, 32]`. Raises DataError for any other file."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            members = {PurePosixPath(member.name).name: member for member in archive if member.isfile()}
            return [_images(archive.extractfile(members[name]).read(), name) for name in FILES]
    except KeyError as error:
        reason = f"it has no file {error.args[0]}"
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        reason = str(error)
    raise DataError(f"{path} is not CIFAR-10: {reason}. Use its binary version, cifar-10-binary.tar.gz.")


def crop_and_flip(images: Tensor, generator: Generator) -> Tensor:
    """Each image shifted by up to four pixels along both axes, zeros moving in, and half of them mirrored."""
    shifted = shift(images, 4, 0.0, generator)
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, shifted.flip(3), shifted)


def _located(archive: str, checksum: str) -> Path:
    """The path of the archive, downloaded where a URL is given, once its checksum is right."""
    algorithm, _, expected = checksum.rpartition(":")
    if algorithm not in ("sha256", "md5") or not expected:
        raise ValueError(f"checksum={checksum!r} must name the kind and the value: sha256:... or md5:...")
    if archive.startswith(("http://", "https://")):
        downloader, name = pooch.HTTPDownloader(timeout=TIMEOUT), archive.rsplit("/", 1)[1]
        try:
            return Path(pooch.retrieve(archive, checksum, name, paths.CACHE / "images", downloader=downloader))
        except (requests.RequestException, ValueError) as error:  # pooch: a ValueError where the hash differs
            kind = DataUnreachable if isinstance(error, requests.RequestException) else DataError
            asked = "Connect to the internet and run again, or give the path of the file on this machine"
            raise kind(f"The image archive could not be had from {archive}: {error}. {asked}.") from error
    path = Path(archive).expanduser()
    if not path.is_file():
        raise DataUnreachable(f"The image archive {path} does not exist. Give the path of the file, or its URL.")
    check(path, [expected.lower()], "Replace it.", algorithm)
    return path


def _images(content: bytes, name: str) -> Images:
    if not content or len(content) % RECORD:
        raise ValueError(f"{name} has {len(content):,} bytes, which is no multiple of {RECORD:,}, those of an image")
    records = torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy()).view(-1, RECORD)
    if (largest := int(records[:, 0].max())) >= NUM_CLASSES:
        raise ValueError(f"{name} has an image of class {largest}, but the classes of CIFAR-10 are 0 to 9")
    return Images(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].long())
