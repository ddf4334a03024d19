"""Trained weights as files of a release: packed once by a maintainer, fetched by readers, who then train nothing.

An archive holds the trainings that one notebook lists: of each the file in data/checkpoints that ends it, whose name
holds a hash of all that decides it, without the state of its optimisers, and the weights kept beside it.
data/weights.json lists the archives by profile and notebook.
"""

import contextlib
import io
import json
import lzma
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from unittest import mock
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
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

Inside = Annotated[str, Field(pattern=r"^\w[^/\\]*(/\w[^/\\]*)*$")]  # of a folder: neither absolute nor with ".."


class Archive(BaseModel, extra="forbid", frozen=True):
    """The trainings of a notebook, as `download` asks for a file."""

    name: Inside
    size: int  # bytes
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    trainings: tuple[Inside, ...]  # names in data/checkpoints of the files that end them

    @property
    def location(self) -> str:
        """Tag of the release and name of the file."""
        return f"weights/{self.name}"


LISTS = TypeAdapter(dict[str, dict[str, Archive]])  # by profile and notebook


class Unfinished(BaseException):
    """A training that is not done; no error, so that no cell takes it for one."""


def listed() -> dict[str, dict[str, Archive]]:
    """The archives by profile and notebook; UsageError where the list cannot be read."""
    try:
        return LISTS.validate_json(LIST.read_bytes()) if LIST.exists() else {}
    except ValidationError as error:
        what = f"{LIST} is damaged, or of another version of this project ({notebooks.reason(error)})"
        raise UsageError(f"{what}. Take it from the repository again: git checkout {LIST}") from error


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
    lists, now, elsewhere, jobs = listed(), {}, set(), profiles.plan(profile, only)
    known, measured = lists.get(profile, {}), profiles.read_profiles().bench
    with profiles.only_run():
        for job in jobs:
            timed = job.notebook in measured  # elsewhere a fetched one would bring the times of this machine
            if job.trainings and not timed and (archive := _pack(job, elsewhere, known.get(job.notebook))):
                now[job.notebook] = archive
                elsewhere |= {*archive.trainings}
    if not now:
        remedy = f"Train first: ./run_all.sh --profile {profile}. Those that are timed ({', '.join(measured)}) stay."
        raise UsageError(f"None of the trainings of {profile} that these notebooks list is done here. {remedy}")
    current = {*notebooks.names()}.difference(() if only else (job.notebook for job in jobs))  # and those not planned
    kept = dict(sorted(({name: known[name] for name in known if name in current} | now).items()))
    lists = {name: lists[name] for name in lists if name in profiles.read_profiles().model_extra} | {profile: kept}
    paths.write_text(LIST, LISTS.dump_json(lists, indent=1).decode() + "\n")
    new = [f"{file.name} ({file.size / 1e6:.1f} MB)" for file in kept.values() if file not in known.values()]
    return f"Upload from {PACKED}/weights, then commit {LIST.name}: {', '.join(new) or 'nothing new'}."


def _pack(job: Job, elsewhere: set[str], known: Archive | None) -> Archive | None:
    """The archive of a notebook; the known one where the trainings are the same, none where no training is done."""
    names, unfinished, resume = [], [], checkpoint.resume
    PACKED.mkdir(parents=True, exist_ok=True)

    def load(
        path: Path, description: Mapping, parts: Mapping, others: Callable[[list[dict]], Mapping] = lambda history: {}
    ) -> list[dict]:
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

    with tempfile.TemporaryDirectory(dir=PACKED, prefix=".") as temporary:
        folder, listed_here = Path(temporary), {}
        with (
            tarfile.open(folder / "archive", "w:xz") as archive,
            mock.patch.object(checkpoint, "resume", load),
            contextlib.redirect_stdout(io.StringIO()),  # what the cells print
        ):
            try:
                listed_here = trainings_of(job)
            except Unfinished:
                unfinished.append("one that its list needs")
            for key, train in listed_here.items():
                try:
                    train()
                except Unfinished:
                    unfinished.append(str(key))
        if unfinished:
            say(f"{job.notebook}: {len(unfinished)} trainings are not done, so left out, such as {unfinished[0]}")
        if known and {*names} == {*known.trainings}:
            return known
        if not names:
            return None
        size, digest = (folder / "archive").stat().st_size, claims.sha256(folder / "archive")
        # by content: packed anew it is another file, and no older list is wrong
        name = f"{job.label}-{job.notebook}-{digest[:12]}.tar.xz"
        found = Archive(name=name, size=size, sha256=digest, trainings=names)
        (PACKED / found.location).parent.mkdir(exist_ok=True)
        os.replace(folder / "archive", PACKED / found.location)
        return found


def anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner and time."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def fetch(profile: str, only: Sequence[str]) -> str:
    """Put those trainings into data/checkpoints that are listed and not there; says how many there are. UsageError
    where none is listed or the list cannot be read, DataError where an archive is unreachable or not what was listed.
    """
    wanted = {job.notebook for job in profiles.plan(profile, only)}
    archives = [archive for notebook, archive in listed().get(profile, {}).items() if notebook in wanted]
    if not archives:
        raise UsageError(f"Of {profile} no such weights have been released yet: see {LIST.name}. A run trains its own.")
    with profiles.only_run():
        new = sum(map(_fetch, archives))
    total = sum(len(archive.trainings) for archive in archives)
    return f"All {total} trainings of {profile} that were released are here, {new} of them new."


def _fetch(archive: Archive) -> int:
    """Put what is not there into data/checkpoints; how many trainings that were."""
    if not (absent := {name for name in archive.trainings if not is_here(name)}):
        return 0
    say(f"{archive.name}, {archive.size / 1e6:.1f} MB")
    path, fault = obtained(archive), "it lacks some"
    try:
        with tarfile.open(path, "r:xz") as content:
            for file in filter(tarfile.TarInfo.isfile, content):
                ends = file.name if file.name in archive.trainings else str(Path(file.name).with_name(STATE))
                if ends in absent and file.name.endswith(".safetensors"):
                    with atomic_write(CHECKPOINTS / file.name) as temporary, temporary.open("wb") as target:
                        shutil.copyfileobj(content.extractfile(file), target)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        fault = f"it cannot be unpacked: {error}"
    if left := [name for name in archive.trainings if not is_here(name)]:
        what = f"{path} does not hold the trainings that {LIST.name} lists, such as {left[0]} ({fault})"
        raise download.DataError(f"{what}. Tell whoever released it. What it holds is here; a run trains the others.")
    return len(absent)


def obtained(archive: Archive) -> Path:
    """An archive as a file with the right SHA-256: downloaded or, from a folder that is a mirror, where it lies."""
    mirror = os.environ.get(download.MIRROR_VARIABLE) or RELEASES
    if mirror.startswith("file://"):
        mirror = url2pathname(urlsplit(mirror).path)
    if "://" in mirror:
        return download._download(archive, f"{mirror.rstrip('/')}/")
    path = Path(mirror).expanduser() / archive.location
    remedy = f"Put {RELEASES}{archive.location} there, or unset {download.MIRROR_VARIABLE}."
    download.check(path, [archive.sha256], remedy)
    return path
