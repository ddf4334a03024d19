"""The reader of CIFAR-10 on a small archive in its format, its ways to fail, and the augmentation."""

import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch

from latentnas import paths
from latentnas.benchmarks.download import DataError, DataUnreachable
from latentnas.measure import digits
from latentnas.oneshot import images
from latentnas.oneshot.images import FILES, cifar10_images, crop_and_flip

NOWHERE = "http://127.0.0.1:9/cifar-10-binary.tar.gz"  # a port that refuses connections


def records(seed, count=4):
    """Random images and classes as bytes, written value by value in the order of the format."""
    random = np.random.default_rng(seed)
    pictures, classes = random.integers(0, 256, (count, 3, 32, 32)), random.integers(0, 10, count)
    content = bytearray()
    for picture, label in zip(pictures, classes):
        content.append(label)
        for channel in range(3):
            for row in range(32):
                content += bytes(picture[channel, row].tolist())
    return bytes(content), pictures, classes


@pytest.fixture
def make(tmp_path):
    """Writes an archive of the six files, some replaced or (None) left out; its path and checksum."""

    def write(**replaced):
        path = tmp_path / "cifar-10-binary.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for seed, name in reversed(list(enumerate(FILES))):
                content = replaced.get(name.removesuffix(".bin"), records(seed)[0])
                if content is not None:
                    member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        return path, "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()

    return write


def test_images_and_classes_are_those_written(make):
    parts = images.read_cifar10(make()[0])
    assert len(parts) == 6
    for seed, part in enumerate(parts):
        _, pictures, classes = records(seed)
        assert np.array_equal(part.images, pictures) and np.array_equal(part.labels, classes)
        assert part.images.dtype == torch.uint8 and part.labels.dtype == torch.int64


def test_the_training_images_are_halved_and_standardised(make):
    path, checksum = make()
    data = cifar10_images(path, checksum)
    assert (len(data.train), len(data.valid), len(data.test)) == (10, 10, 4)
    torch.testing.assert_close(data.train.images.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.train.images.std(dim=(0, 2, 3)), torch.ones(3))
    everything = torch.cat([part.images for part in images.read_cifar10(path)[:5]]).float()
    used = torch.cat([data.train.images, data.valid.images])
    nearest = torch.corrcoef(torch.cat([used, everything]).flatten(1))[:20, 20:].argmax(dim=1)
    assert sorted(nearest.tolist()) == list(range(20))  # each image in exactly one half
    assert torch.equal(data.train.images, cifar10_images(path, checksum).train.images)
    assert not torch.equal(data.train.images, cifar10_images(path, checksum, seed=1).train.images)


def test_an_archive_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    with pytest.raises(DataUnreachable, match="does not exist"):
        cifar10_images(tmp_path / "none.tar.gz", "md5:0")
    with pytest.raises(DataUnreachable, match="127.0.0.1.*Connect to the internet"):
        cifar10_images(NOWHERE, "md5:0")


def test_a_wrong_checksum(make):
    path, checksum = make()
    with pytest.raises(DataError, match="its sha256 should be 12ab but is " + checksum.removeprefix("sha256:")):
        cifar10_images(path, "sha256:12ab")
    with pytest.raises(DataError, match="its md5 should be 12ab but is " + hashlib.md5(path.read_bytes()).hexdigest()):
        cifar10_images(path, "md5:12AB")
    with pytest.raises(ValueError, match="sha256:... or md5:"):
        cifar10_images(path, checksum.removeprefix("sha256:"))
    assert len(cifar10_images(path, "md5:" + hashlib.md5(path.read_bytes()).hexdigest()).test) == 4


@pytest.mark.parametrize(
    ("replaced", "message"),
    (
        ({"data_batch_3": None}, "no file data_batch_3.bin"),
        ({"data_batch_2": records(1)[0][:-1]}, "data_batch_2.bin .* multiple of 3,073"),
        ({"test_batch": b"\x0a" + records(5)[0][1:]}, "class 10"),
        ({"test_batch": b""}, "test_batch.bin .* 0 bytes"),
    ),
)
def test_an_archive_of_something_else(make, replaced, message):
    with pytest.raises(DataError, match=message):
        images.read_cifar10(make(**replaced)[0])


def test_a_damaged_archive(make):
    path, _ = make()
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="is not CIFAR-10: .*Use its binary version"):
        images.read_cifar10(path)
    path.write_bytes(b"not an archive")
    with pytest.raises(DataError, match="is not CIFAR-10: .*Use its binary version"):
        images.read_cifar10(path)


def test_crops_are_windows_of_the_padded_image_or_of_its_mirror():
    originals = torch.arange(1.0, 2 * 3 * 25 + 1).reshape(2, 3, 5, 5).repeat(60, 1, 1, 1)
    changed = crop_and_flip(originals, torch.Generator().manual_seed(0))
    seen = set()
    for original, result in zip(originals, changed):
        padded = torch.nn.functional.pad(original, (4, 4, 4, 4))
        windows = {
            (row, column, mirrored): (window.flip(2) if mirrored else window)
            for row in range(9)
            for column in range(9)
            for window in [padded[:, row : row + 5, column : column + 5]]
            for mirrored in (False, True)
        }
        matching = [place for place, window in windows.items() if torch.equal(window, result)]
        assert matching
        seen.update(matching)
    assert [set(places) for places in zip(*seen)] == [set(range(9)), set(range(9)), {False, True}]
    again = crop_and_flip(originals, torch.Generator().manual_seed(0))
    assert torch.equal(changed, again)


def test_digits_are_corrupted_anew_in_training_and_once_elsewhere():
    data, twice = digits.load(0.3, copies=1), digits.load(0.3, copies=2)
    assert torch.equal(data.valid.images, twice.valid.images[: len(data.valid)])
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    batch = data.train.images[:7]
    assert torch.equal(data.augment(batch, generators[0]), digits.corrupt(batch, generators[1], 0.3))
