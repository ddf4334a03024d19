"""Fetching public files: mirrors, caching, and each way it can go wrong; with a local server, not the internet."""

import dataclasses
import functools
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time

import pooch
import pytest
import requests

from latentnas import benchmarks, paths
from latentnas.benchmarks import download
from latentnas.benchmarks.download import FILES, DataError, DataUnreachable, PublicFile, fetch

CONTENT = b"a small public file\n" * 50
DAMAGED = CONTENT.replace(b"small", b"smell", 1)
FILE = PublicFile(
    "toy", "owner/repo", "c0ffee", "data/toy.txt", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "MIT", "none"
)
NOWHERE = "http://127.0.0.1:9/"  # a port that refuses connections


@pytest.fixture(autouse=True)
def toy_file(monkeypatch, tmp_path):
    """A registered toy file, an empty cache, no mirror, and a public host that is never there."""
    monkeypatch.setitem(FILES, "toy", FILE)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(download, "PUBLIC_URL", NOWHERE)
    monkeypatch.delenv(download.MIRROR_VARIABLE, raising=False)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Makes a mirror folder with the given content and sets the variable to it."""

    def make(content: bytes):
        path = tmp_path / "mirror" / FILE.location
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        monkeypatch.setenv(download.MIRROR_VARIABLE, str(tmp_path / "mirror"))
        return path

    return make


@pytest.fixture
def serve():
    """Starts HTTP servers for a handler class and gives their URLs."""
    servers = []

    def start(handler) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def folder_handler(folder):
    return functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))


class HalfHandler(http.server.BaseHTTPRequestHandler):
    """Announces the whole file, sends half of it, then either hangs or hangs up."""

    hang_seconds = 0

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2])
        self.wfile.flush()
        time.sleep(self.hang_seconds)


class HangingHandler(HalfHandler):
    hang_seconds = 30


def cached_files():
    return [path for path in paths.CACHE.rglob("*") if path.is_file()]


def is_one_paragraph(error) -> bool:
    return "\n" not in str(error.value)


def test_folder_mirror_is_read_in_place(mirror):
    assert mirror(CONTENT) == fetch("toy")
    assert not paths.CACHE.exists()


def test_changed_byte_in_a_mirror_folder_is_refused(mirror):
    path = mirror(DAMAGED)
    with pytest.raises(DataError) as error:
        fetch("toy")
    message = str(error.value)
    assert str(path) in message and FILE.sha256 in message and hashlib.sha256(DAMAGED).hexdigest() in message
    assert is_one_paragraph(error)


def test_mirror_without_the_file_asks_nobody_else(mirror, monkeypatch):
    mirror(CONTENT).unlink()
    monkeypatch.setattr(requests, "get", lambda *args, **kwargs: pytest.fail("asked the internet"))
    with pytest.raises(DataError, match=FILE.location) as error:
        fetch("toy")
    assert download.MIRROR_VARIABLE in str(error.value) and is_one_paragraph(error)


def test_a_file_url_is_a_folder(mirror, monkeypatch, tmp_path):
    path = mirror(CONTENT)
    monkeypatch.setenv(download.MIRROR_VARIABLE, (tmp_path / "mirror").as_uri())
    assert fetch("toy") == path and not paths.CACHE.exists()


def test_a_mirror_of_an_unknown_kind_is_named(monkeypatch):
    monkeypatch.setenv(download.MIRROR_VARIABLE, "s3://bucket")
    with pytest.raises(DataUnreachable, match=f"s3://bucket/{FILE.location}") as error:
        fetch("toy")
    assert download.MIRROR_VARIABLE in str(error.value) and is_one_paragraph(error)


def test_a_folder_in_the_place_of_a_file_is_named(mirror, monkeypatch):
    path = mirror(CONTENT)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=f"{path} cannot be read: Is a directory.*{download.MIRROR_VARIABLE}") as error:
        fetch("toy")
    assert is_one_paragraph(error)
    monkeypatch.delenv(download.MIRROR_VARIABLE)
    kept = paths.CACHE / "public" / FILE.location
    kept.mkdir(parents=True)
    with pytest.raises(DataError, match=f"{kept} cannot be read or written: Is a directory. .*move away") as error:
        fetch("toy")
    assert is_one_paragraph(error)


def test_url_mirror_downloads_once_and_keeps_the_file(mirror, serve, monkeypatch, tmp_path):
    mirror(CONTENT)
    monkeypatch.setenv(download.MIRROR_VARIABLE, serve(folder_handler(tmp_path / "mirror")))
    path = fetch("toy")
    assert path.read_bytes() == CONTENT and cached_files() == [path]
    monkeypatch.setenv(download.MIRROR_VARIABLE, NOWHERE)
    assert fetch("toy") == path


def test_a_damaged_file_in_the_cache_is_fetched_again(mirror, serve, monkeypatch, tmp_path):
    mirror(CONTENT)
    monkeypatch.setenv(download.MIRROR_VARIABLE, serve(folder_handler(tmp_path / "mirror")))
    kept = fetch("toy")
    kept.write_bytes(DAMAGED)
    assert fetch("toy") == kept and kept.read_bytes() == CONTENT
    kept.write_bytes(DAMAGED)
    monkeypatch.setenv(download.MIRROR_VARIABLE, NOWHERE)
    with pytest.raises(DataUnreachable, match="no connection"):  # what is damaged is not used
        fetch("toy")


def test_an_answer_that_fails_once_is_asked_for_again(mirror, serve, monkeypatch, tmp_path):
    mirror(CONTENT)
    asked = []

    class Flaky(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET() if len(asked) > 1 else self.send_error(503)

    monkeypatch.setenv(download.MIRROR_VARIABLE, serve(functools.partial(Flaky, directory=str(tmp_path / "mirror"))))
    assert fetch("toy").read_bytes() == CONTENT and len(asked) == 2


def test_all_public_files_are_fetched_with_a_line_each(mirror, serve, monkeypatch, tmp_path, capsys):
    other = dataclasses.replace(FILE, name="nasbench201_toy", path="data/other.txt")
    mirror(CONTENT).with_name("other.txt").write_bytes(CONTENT)
    monkeypatch.setattr(download, "FILES", {"enas": dataclasses.replace(FILE, name="enas"), other.name: other})
    monkeypatch.setenv(download.MIRROR_VARIABLE, serve(folder_handler(tmp_path / "mirror")))
    found = benchmarks.fetch()
    assert [path.name for path in found] == ["toy.txt", "other.txt"] and sorted(cached_files()) == sorted(found)
    assert "2 of 2: owner/repo/data/other.txt, 0.0 MB\n" in capsys.readouterr().err
    monkeypatch.setenv(download.MIRROR_VARIABLE, NOWHERE)
    assert benchmarks.fetch() == found  # here already: nobody is asked
    found[1].unlink()
    with pytest.raises(DataUnreachable, match="'nasbench201_toy' could not be downloaded.*Connect to the internet"):
        benchmarks.fetch()


def test_wrong_file_from_a_url_is_refused_and_not_kept(mirror, serve, monkeypatch, tmp_path):
    mirror(DAMAGED)
    monkeypatch.setenv(download.MIRROR_VARIABLE, serve(folder_handler(tmp_path / "mirror")))
    with pytest.raises(DataError, match=hashlib.sha256(DAMAGED).hexdigest()) as error:
        fetch("toy")
    assert FILE.sha256 in str(error.value) and is_one_paragraph(error) and cached_files() == []


def test_missing_file_on_a_server_names_the_answer(serve, monkeypatch, tmp_path):
    monkeypatch.setenv(download.MIRROR_VARIABLE, serve(folder_handler(tmp_path)))
    with pytest.raises(DataUnreachable, match="answered 404"):
        fetch("toy")


def test_no_network_and_no_mirror_is_said_within_seconds(monkeypatch):
    waits = []
    monkeypatch.setattr(pooch.core.time, "sleep", waits.append)
    with pytest.raises(DataUnreachable, match="no connection") as error:
        fetch("toy")
    assert sum(waits) < 5
    assert NOWHERE + FILE.location in str(error.value) and download.MIRROR_VARIABLE in str(error.value)
    assert is_one_paragraph(error) and cached_files() == []


def test_server_that_hangs_up_leaves_nothing(serve, monkeypatch):
    monkeypatch.setenv(download.MIRROR_VARIABLE, serve(HalfHandler))
    with pytest.raises(DataError):
        fetch("toy")
    assert cached_files() == []


def test_killed_download_is_not_trusted_and_starts_again(mirror, serve, monkeypatch, tmp_path):
    script = f"import sys; from latentnas.benchmarks.download import *; FILES['toy'] = {FILE!r}; fetch('toy')"
    environment = {
        **os.environ,
        "LATENTNAS_ROOT": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
        download.MIRROR_VARIABLE: serve(HangingHandler),
    }
    monkeypatch.setattr(paths, "CACHE", tmp_path / "data" / "cache")
    process = subprocess.Popen([sys.executable, "-c", script], env=environment)
    deadline = time.monotonic() + 30
    while not cached_files() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()

    assert cached_files() and not (paths.CACHE / "public" / FILE.location).exists()
    mirror(CONTENT)
    monkeypatch.setenv(download.MIRROR_VARIABLE, serve(folder_handler(tmp_path / "mirror")))
    assert fetch("toy").read_bytes() == CONTENT


def test_unknown_name_lists_the_registered_ones():
    with pytest.raises(DataError, match="'nothing'.*enas"):
        fetch("nothing")


def test_registered_files_are_pinned():
    for name, file in FILES.items():
        if name != "toy":
            assert len(file.commit) == 40 and len(file.sha256) == 64 and file.size > 0 and file.licence
            assert file.location == f"{file.repository}/{file.commit}/{file.path}"
