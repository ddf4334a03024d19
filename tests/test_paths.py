"""How files are written, and where they lie with and without a checkout."""

import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from latentnas.paths import ROOT, atomic_write


@pytest.mark.parametrize("writer", ["text", "NumPy", "safetensors"])
def test_a_disk_that_is_full_is_an_error_with_the_name_of_the_file(tmp_path, writer):
    """A limit on the size of files stands in for the disk."""
    writers = {"text": lambda file: file.write_text("x" * 10**6), "safetensors": lambda file: save_file(zeros, file)}
    zeros = {"a": np.zeros(10**6)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, limits[1]))
    try:
        with pytest.raises(OSError, match="model.x") as refused, atomic_write(tmp_path / "model.x") as temporary:
            writers.get(writer, lambda file: np.save(open(file, "wb"), zeros["a"]))(temporary)  # noqa: SIM115
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.filename == str(tmp_path / "model.x") and refused.value.strerror
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told_though_the_writer_stumbles_over_it(tmp_path):
    """As matplotlib does where it ends a PDF that had no room."""
    with pytest.raises(OSError, match="No space left") as refused, atomic_write(tmp_path / "figure.pdf"):
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise AttributeError("pos")
    assert refused.value.filename == str(tmp_path / "figure.pdf")
    with pytest.raises(KeyError), atomic_write(tmp_path / "figure.pdf"):
        try:
            open(tmp_path / "nowhere")  # noqa: SIM115
        except FileNotFoundError:
            raise KeyError from None


def test_a_file_is_on_the_disk_before_its_name_is_and_then_the_folders(tmp_path, monkeypatch):
    calls, sync, replace = [], os.fsync, os.replace

    def recorded_sync(handle):
        sync(handle)
        calls.append(("sync", os.fstat(handle).st_ino))

    def recorded_replace(source, target):
        replace(source, target)
        calls.append(("rename", target))

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    path = tmp_path / "new/folder/file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("content")
        assert not calls and not path.exists()
    inodes = [file.stat().st_ino for file in (path, *path.parents[:3])]
    assert calls == [("sync", inodes[0]), ("rename", path), *(("sync", inode) for inode in inodes[1:])]
    assert path.read_text() == "content"


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    def refused(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refused)
    with atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("content")
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_write(path) as temporary:
        temporary.write_text("new")
        raise KeyError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_what_killed_writes_left_is_removed_after_a_day_and_what_others_write_now_is_not(tmp_path):
    path = tmp_path / "run [1].json"
    program = f"import os; from latentnas import paths\nwith paths.atomic_write({str(path)!r}): os.kill(os.getpid(), 9)"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT / "lib")})
    old, young = sorted(tmp_path.iterdir())
    assert old.name.startswith(".") and not list(tmp_path.glob("[!.]*"))
    os.utime(old, (time.time() - 90_000,) * 2)
    foreign = tmp_path / ".run [1].json"
    foreign.touch()
    os.utime(foreign, (0, 0))
    with atomic_write(path) as temporary:
        temporary.touch()
    assert set(tmp_path.iterdir()) == {path, young, foreign}


def test_what_another_user_left_is_left_there(tmp_path, monkeypatch):
    """As in a shared folder in which everybody may write, but nobody may remove another's file."""
    left = tmp_path / ".file.partial-left"
    left.touch()
    os.utime(left, (0, 0))

    def refused(path, missing_ok=False):
        if path == left:
            raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(type(left), "unlink", refused)
    with atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("content")
    assert (tmp_path / "file").read_text() == "content" and left.exists()


def test_git_does_not_see_what_is_being_written():
    command = ["git", "check-ignore", "-q", "data/results/quick/.table.partial-x1.csv"]
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("no repository")
    assert subprocess.run(command, cwd=ROOT).returncode == 0
