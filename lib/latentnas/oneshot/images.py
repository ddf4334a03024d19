"""CIFAR-10 for weight-sharing searches, from its archive; the digits are in `latentnas.measure.digits`.

CIFAR-10 (Krizhevsky, 2009) is read from its official binary archive, a `.tar.gz` with five files of training
images and one of test images. An image is a record of 3,073 bytes: the class, then 32 x 32 values of red, of
green and of blue, row by row. Where the archive is and its checksum are given by the caller.
"""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
import pooch
import requests
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from latentnas import paths
from latentnas.benchmarks.download import TIMEOUT, DataError, DataUnreachable
from latentnas.measure.digits import Images, ImageSets

RECORD = 1 + 3 * 32 * 32  # bytes
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
BORDER = 4  # pixels around a training image, from which a window of its size is cut


def cifar10_images(archive: str | Path, checksum: str, seed: int = 0) -> ImageSets:
    """CIFAR-10, its training images split into halves to train and to validate as in the weight-sharing
    experiments of NAS-Bench-201; training images are shifted by up to four pixels and flipped.

    Args:
        archive: the file `cifar-10-binary.tar.gz`, or the URL to download it from (kept in `data/cache`).
        checksum: of the archive, as `sha256:...` or `md5:...`.
        seed: of the split.

    Raises:
        DataUnreachable: the archive is not there, or cannot be downloaded now.
        DataError: it has another checksum, or is no such archive.
    """
    train, test = read_cifar10(_located(str(archive), checksum))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    parts = [(train.images[rows], train.labels[rows]) for rows in order.tensor_split(2)]
    parts.append((test.images, test.labels))
    values = parts[0][0].float()
    mean, deviation = (values.mean(dim=(0, 2, 3), keepdim=True), values.std(dim=(0, 2, 3), keepdim=True))
    parts = [Images((images - mean) / deviation, labels) for images, labels in parts]
    return ImageSets(*parts, crop_and_flip)


def read_cifar10(path: Path) -> tuple[Images, Images]:
    """The training and the test images of an archive, uint8 `[n, 3, 32, 32]`, in its order.

    Raises:
        DataError: the file is no `.tar.gz`, lacks one of the six files, or one is not in CIFAR-10's format.
    """
    contents = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in (*TRAIN_FILES, TEST_FILE):
                    contents[name] = archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as a .tar.gz archive: {error}. Download cifar-10-binary.tar.gz, the "
            "binary version of CIFAR-10, again."
        ) from error
    missing = [name for name in (*TRAIN_FILES, TEST_FILE) if name not in contents]
    if missing:
        raise DataError(
            f"The archive {path} has no file {missing[0]} ({len(missing)} of 6 are missing), so it is not "
            "the binary version of CIFAR-10. The versions for Python and Matlab have other files: use "
            "cifar-10-binary.tar.gz."
        )
    parts = {name: _records(content, name, path) for name, content in contents.items()}
    train = np.concatenate([parts[name] for name in TRAIN_FILES])
    return _images(train), _images(parts[TEST_FILE])


def crop_and_flip(images: Tensor, generator: Generator) -> Tensor:
    """Each image shifted by up to four pixels along both axes, zeros moving in, and half of them mirrored."""
    count, _, height, width = images.shape
    padded = F.pad(images, (BORDER,) * 4)
    row = torch.randint(2 * BORDER + 1, (count, 1), generator=generator) + torch.arange(height)
    column = torch.randint(2 * BORDER + 1, (count, 1), generator=generator) + torch.arange(width)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    column = torch.where(mirrored, column.flip(1), column)
    image = torch.arange(count)[:, None, None]
    windows = padded.permute(0, 2, 3, 1)[image, row[:, :, None], column[:, None, :]]  # [n, H, W, channels]
    return windows.permute(0, 3, 1, 2).contiguous()


def _located(archive: str, checksum: str) -> Path:
    """The path of the archive, downloaded where a URL is given, once its checksum is right."""
    algorithm, _, expected = checksum.rpartition(":")
    if algorithm not in ("sha256", "md5") or not expected:
        raise ValueError(f"checksum={checksum!r} must name the kind and the value: sha256:... or md5:...")
    if not archive.startswith(("http://", "https://")):
        path, remedy = Path(archive).expanduser(), "Replace it."
    else:
        path, remedy = paths.CACHE / "images" / archive.rsplit("/", 1)[1], "Delete it and run again."
        if not path.exists():
            _download(archive, checksum, path)
    if not path.is_file():
        raise DataUnreachable(
            f"The image archive {path} does not exist. Give the path of cifar-10-binary.tar.gz, or its URL."
        )
    found = pooch.file_hash(str(path), algorithm)
    if found != expected.lower():
        raise DataError(
            f"The image archive {path} is damaged or not the right one: its checksum should be {checksum} "
            f"but is {algorithm}:{found}. {remedy}"
        )
    return path


def _download(url: str, checksum: str, path: Path) -> None:
    try:
        downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
        pooch.retrieve(url, checksum, fname=path.name, path=path.parent, downloader=downloader)
    except requests.RequestException as error:
        raise DataUnreachable(
            f"The image archive could not be downloaded from {url}: {error}. Connect to the internet and run "
            "again, or give the path of the file on this machine."
        ) from error
    except ValueError as error:  # pooch: the hash differs
        raise DataError(
            f"The image archive downloaded from {url} is not the right one, and was deleted. {error} Give "
            "the checksum that its publisher states, or another source."
        ) from error


def _records(content: bytes, name: str, path: Path) -> np.ndarray:
    """The images of one file, uint8 `[n, 3073]`."""
    if not content or len(content) % RECORD:
        raise DataError(
            f"{name} in {path} has {len(content):,} bytes, which is no multiple of {RECORD:,}, the size of "
            "one image and its class. Use the binary version of CIFAR-10 (not of CIFAR-100)."
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise DataError(
            f"{name} in {path} has an image of class {records[:, 0].max()}, but the classes of CIFAR-10 are "
            "0 to 9. Use the binary version of CIFAR-10."
        )
    return records


def _images(records: np.ndarray) -> Images:
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy())
    return Images(images, torch.from_numpy(records[:, 0].astype(np.int64)))
