"""Trained weights as files of a release: packed once by a maintainer, fetched by readers, who then train nothing.

An archive holds the trainings that one notebook lists: of each the file in data/checkpoints that ends it, whose name
holds a hash of all that decides it, without the state of its optimisers, and the weights kept beside it.
data/weights.json lists the archives by profile and notebook.
"""

import contextlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from safetensors import SafetensorError, safe_open
from torch import nn

from companion import claims, notebooks, paths, profiles
from companion.profiles import Job, UsageError
from companion.runner import say, trainings_of
from latentnas import checkpoint
from latentnas.benchmarks import download
from latentnas.paths import CHECKPOINTS, atomic_write
from latentnas.train import STATE

RELEASES = "https://github.com/OWNER/REPOSITORY/releases/download/"
LIST = paths.ROOT / "data" / "weights.json"
PACKED = paths.OUTPUT / "data" / "release"  # laid out like RELEASES, so it can be a mirror


class Archive(NamedTuple):
    """The trainings of a notebook, as `download` asks for a file."""

    name: str
    size: int  # bytes
    sha256: str
    trainings: str  # names in data/checkpoints of the files that end them

    @property
    def location(self) -> str:
        """Tag of the release and name of the file."""
        return f"weights/{self.name}"


class Unfinished(Exception):
    """A training that is not done."""


def listed(profile: str) -> dict[str, Archive]:
    """The archives of a profile by notebook."""
    return {notebook: Archive(**archive) for notebook, archive in _read().get(profile, {}).items()}


def _read() -> dict[str, dict[str, dict]]:
    return json.loads(LIST.read_text(encoding="utf-8")) if LIST.exists() else {}


def is_finished(description: Mapping[str, Any], history: Sequence[dict]) -> bool:
    """Whether a checkpoint, of a model or of shared weights, is the last of its training."""
    epochs = (description.get("train") or description["schedule"])["epochs"]
    return len(history) == epochs and "step" not in history[-1]


def is_here(name: str) -> bool:
    """Whether the file that ends a training is there, and does."""
    try:
        with safe_open(CHECKPOINTS / name, "np") as file:
            metadata = file.metadata()
        return is_finished(json.loads(metadata["description"]), json.loads(metadata["history"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return False


def pack(profile: str, only: Sequence[str]) -> str:
    """Pack what notebooks list and this machine has trained, and list the archives; says what there is to upload."""
    known, now, elsewhere, jobs = listed(profile), {}, set(), profiles.plan(profile, only)
    with profiles.only_run():
        for job in jobs:
            if job.trainings and (archive := _pack(job, elsewhere, known.get(job.notebook))):
                now[job.notebook] = archive
                elsewhere |= {*archive.trainings.split()}
    kept = known | now if only else now
    content = _read() | {profile: {notebook: archive._asdict() for notebook, archive in sorted(kept.items())}}
    paths.write_text(LIST, json.dumps(content, indent=1) + "\n")
    new = [
        f"{archive.name} ({archive.size / 1e6:.1f} MB)" for archive in kept.values() if archive not in known.values()
    ]
    return f"Upload from {PACKED}/weights, then commit {LIST.name}: {', '.join(new) or 'nothing new'}."


def _pack(job: Job, elsewhere: set[str], known: Archive | None) -> Archive | None:
    """The archive of a notebook; the known one where the trainings are the same, none where no training is done."""
    names, unfinished, resume = [], [], checkpoint.resume
    PACKED.mkdir(parents=True, exist_ok=True)

    def load(path: Path, description: Mapping, parts: Mapping, others=lambda history: {}) -> list[dict]:
        """In place of `checkpoint.resume`, with which all trainings begin: packs one that is done, stops any other."""
        name, history = str(path.relative_to(CHECKPOINTS)), resume(path, description, parts, others)
        if not is_finished(description, history):
            raise Unfinished
        if name not in elsewhere and name not in names:
            modules = {key: part for key, part in parts.items() if isinstance(part, nn.Module)}
            checkpoint.save(lean := folder / path.name, description, modules, history)
            for file in (*others(history), lean):  # this order: whoever is cut off while unpacking trains anew
                archive.add(file, path.with_name(file.name).relative_to(CHECKPOINTS), filter=anonymous)
            names.append(name)
        return history

    with tempfile.TemporaryDirectory(dir=PACKED, prefix=".") as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        archive = stack.enter_context(tarfile.open(folder / "archive", "w:xz"))
        stack.enter_context(mock.patch.object(checkpoint, "resume", load))
        with contextlib.redirect_stdout(io.StringIO()):  # what the cells print
            for key, train in trainings_of(job).items():
                try:
                    train()
                except Unfinished:
                    unfinished.append(str(key))
        stack.close()
        if unfinished:
            say(f"{job.notebook}: {len(unfinished)} trainings are not done, so left out, such as {unfinished[0]}")
        if known and set(names) == {*known.trainings.split()}:
            return known
        if not names:
            return None
        name = f"{job.label}-{job.notebook}-{notebooks.hash_of(sorted(names))[:12]}.tar.xz"
        size, digest = (folder / "archive").stat().st_size, claims.sha256(folder / "archive")
        found = Archive(name, size, digest, " ".join(names))
        (PACKED / found.location).parent.mkdir(exist_ok=True)
        os.replace(folder / "archive", PACKED / found.location)
        return found


def anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner and time."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def fetch(profile: str, only: Sequence[str]) -> str:
    """Put those trainings into data/checkpoints that are listed and not there; says how many there are.

    Raises:
        UsageError: none is listed.
        DataError: an archive is unreachable, or not what was listed; what came before it is there.
    """
    wanted = {job.notebook for job in profiles.plan(profile, only)}
    archives = [archive for notebook, archive in listed(profile).items() if notebook in wanted]
    if not archives:
        raise UsageError(f"Of {profile} no such weights have been released yet: see {LIST.name}. A run trains its own.")
    with profiles.only_run():
        new = sum(map(_fetch, archives))
    total = sum(len(archive.trainings.split()) for archive in archives)
    return f"All {total} trainings of {profile} that were released are here, {new} of them new."


def _fetch(archive: Archive) -> int:
    """Put what is not there into data/checkpoints; how many trainings that were."""
    names = archive.trainings.split()
    if not (absent := {name for name in names if not is_here(name)}):
        return 0
    say(f"{archive.name}, {archive.size / 1e6:.1f} MB")
    with tarfile.open(obtained(archive)) as content:
        for file in content:
            ends = file.name if file.name in names else str(Path(file.name).with_name(STATE))
            if ends in absent:
                with atomic_write(CHECKPOINTS / file.name) as temporary:
                    temporary.write_bytes(content.extractfile(file).read())
    return len(absent)


def obtained(archive: Archive) -> Path:
    """An archive as a file with the right SHA-256: downloaded or, from a folder that is a mirror, where it lies."""
    mirror = (os.environ.get(download.MIRROR_VARIABLE) or RELEASES).removeprefix("file://")
    if "://" in mirror:
        return download._download(archive, f"{mirror.rstrip('/')}/")
    path = Path(mirror).expanduser() / archive.location
    remedy = f"Put {RELEASES}{archive.location} there, or unset {download.MIRROR_VARIABLE}."
    download.check(path, [archive.sha256], remedy)
    return path
