"""Weights as files of a release: packed, fetched from a mirror, and loaded in place of a training."""

import contextlib
import hashlib
import http.server
import io
import json
import os
import shutil
import tarfile
import threading
from unittest import mock

import pytest
import torch
from safetensors import safe_open

from companion import cli, paths, weights
from companion.profiles import Job
from latentnas import train
from latentnas.benchmarks.download import MIRROR_VARIABLE
from latentnas.measure import digits
from latentnas.measure.digits import Images, ImageSets
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.oneshot.shared_cells import SharedCells, SharedSkeleton
from latentnas.oneshot.strategies import Darts
from latentnas.oneshot.training import SupernetSchedule, checkpoint_file, train_supernet
from latentnas.spaces.enas import ENAS
from latentnas.train import TrainConfig, train_model

SIZES = NGAEConfig(hidden=16, latent=6)
SCHEDULE = TrainConfig(epochs=3, batch_size=16, learning_rate=3e-3, optimizer="muon", precision="fp32", keep=(1,))
FETCH, RELEASE = ["fetch", "--profile", "smoke"], ["release", "--profile", "smoke"]


def what_is_listed(folder, monkeypatch):
    """What a notebook lists: a model, the same trained on from there, shared weights. All files are in the folder."""
    checkpoints = folder / "checkpoints"
    for module in (train, weights):
        monkeypatch.setattr(module, "CHECKPOINTS", checkpoints)
    monkeypatch.setattr("latentnas.paths.CACHE", folder / "cache")
    monkeypatch.setattr(paths, "STATE", folder / "state")
    monkeypatch.setattr(weights, "LIST", folder / "weights.json")
    monkeypatch.setattr(weights, "PACKED", folder / "release")
    monkeypatch.setenv(MIRROR_VARIABLE, str(folder / "release"))
    graphs, labels = ENAS.sample(32, seed=0), dict.fromkeys(("performance", "complexity"), torch.linspace(0, 1, 32))
    whole = digits.load(0.5, copies=1)
    parts = (Images(part.images[:16], part.labels[:16]) for part in (whole.train, whole.valid, whole.test))
    images = ImageSets(*parts, whole.augment)

    def train_toy(name="toy", config=SIZES, start=None):
        return train_model(name, NGAE, config, graphs, labels, SCHEDULE, start)

    def shared():
        network, strategy, schedule = SharedCells(SharedSkeleton(channels=2), 0), Darts(0), SupernetSchedule(2, 8)
        file = checkpoint_file(checkpoints / "shared", network, strategy, images, schedule, 0)
        return train_supernet(network, strategy, images, schedule, 0, file)

    trainings = {"toy": train_toy, "on": lambda: train_toy("toy-on", start=train_toy()), "shared": shared}
    jobs = [Job("00_toy", "smoke", {}, (), trainings="hash"), Job("01a_enas", "smoke", {}, ())]
    monkeypatch.setattr(weights.profiles, "plan", lambda profile, only: jobs)
    monkeypatch.setattr(weights, "trainings_of", lambda job: trainings)
    return trainings


@pytest.fixture
def listed(tmp_path, monkeypatch):
    return what_is_listed(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A folder where all are trained and packed, and the run of the first."""
    folder, told = tmp_path_factory.mktemp("packed"), io.StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(told):
        run, *_ = [make() for make in what_is_listed(folder, monkeypatch).values()]
        run.model.eval()
        assert cli.main(RELEASE) == 0
    (archive,) = folder.glob("release/weights/*")
    assert f"{archive.name} (" in told.getvalue()
    return folder, run


@pytest.fixture
def released(listed, packed, tmp_path):
    """All are trained and packed, and the checkpoints are gone: the run of the first, and where they were."""
    folder, run = packed
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return run, weights.CHECKPOINTS.rename(tmp_path / "trained")


def train_nothing(*arguments):
    raise AssertionError("a step was made")


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*.safetensors")}


def test_what_was_packed_and_fetched_is_loaded_in_place_of_a_training(listed, released, monkeypatch, capfd):
    run, _ = released
    assert cli.main(FETCH) == 0
    assert "All 3 trainings of smoke that were released are here, 3 of them new" in capfd.readouterr().out
    for file in weights.CHECKPOINTS.rglob("*.safetensors"):
        with safe_open(file, "pt") as content:  # no state of an optimiser
            assert {key.partition(".")[0] for key in content.keys()} <= {"model", "network", "strategy"}  # noqa: SIM118
    monkeypatch.setattr(train, "_step", train_nothing)
    monkeypatch.setattr("latentnas.oneshot.training._epoch", train_nothing)
    again, *_ = [make() for make in listed.values()]
    assert "toy-on-" in (told := capfd.readouterr().err) and told.count(": loaded, 3 epochs trained before") == 3
    assert again.history.equals(run.history) and again.directory.name == run.directory.name
    for key, value in run.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[key], value), key
    early, last = again.at_epoch(1).state_dict(), again.model.state_dict()
    assert early.keys() == last.keys() and any(not torch.equal(early[key], last[key]) for key in last)
    before = contents(weights.CHECKPOINTS)
    assert cli.main(FETCH) == 0 and "0 of them new" in capfd.readouterr().out
    assert contents(weights.CHECKPOINTS) == before


def test_the_same_trainings_are_not_packed_twice_and_what_is_not_done_is_named(listed, released, capfd):
    kept = weights.LIST.read_text()
    shutil.copytree(released[1], weights.CHECKPOINTS)
    assert cli.main(RELEASE) == 0 and "nothing new" in capfd.readouterr().out and weights.LIST.read_text() == kept
    (file,) = weights.CHECKPOINTS.glob("shared/*.safetensors")
    file.unlink()
    assert cli.main(RELEASE) == 0
    told = capfd.readouterr()
    assert "00_toy: 1 trainings are not done, so left out, such as shared" in told.err and "smoke-00_toy-" in told.out
    assert "shared/" not in weights.LIST.read_text() and not file.exists()
    assert not list(weights.PACKED.glob(".*"))


def test_packed_anew_an_archive_replaces_no_file_that_an_older_list_names(released):
    shutil.copytree(released[1], weights.CHECKPOINTS)
    older = weights.listed()["smoke"]["00_toy"]
    weights.LIST.unlink()
    with mock.patch.object(weights.checkpoint, "save", saved_otherwise):
        assert cli.main(RELEASE) == 0
    for archive in (older, weights.listed()["smoke"]["00_toy"]):
        assert hashlib.sha256((weights.PACKED / archive.location).read_bytes()).hexdigest() == archive.sha256


def test_a_release_of_all_keeps_what_was_released_of_notebooks_that_run_only_when_asked_for(released):
    lists = json.loads(weights.LIST.read_text())
    lists["smoke"] |= {"12_tuning": ENTRY, "01a_enas": ENTRY}
    weights.LIST.write_text(json.dumps(lists))
    shutil.copytree(released[1], weights.CHECKPOINTS)
    assert cli.main(RELEASE) == 0
    assert [*weights.listed()["smoke"]] == ["00_toy", "12_tuning"]  # 01a_enas was planned, and has nothing to release


@pytest.mark.parametrize("only", [[], ["--only", "00"]])
def test_a_release_forgets_notebooks_and_profiles_that_are_no_more(released, only):
    lists = json.loads(weights.LIST.read_text())
    lists["smoke"] |= {"98_deleted": ENTRY, "12_tuning": ENTRY}
    weights.LIST.write_text(json.dumps(lists | {"paper": {"12_tuning": ENTRY}, "deleted": {"12_tuning": ENTRY}}))
    shutil.copytree(released[1], weights.CHECKPOINTS)
    assert cli.main([*RELEASE, *only]) == 0
    assert {name: [*entries] for name, entries in weights.listed().items()} == {
        "smoke": ["00_toy", "12_tuning"],
        "paper": ["12_tuning"],
    }


def saved_otherwise(path, description, parts, history, save=weights.checkpoint.save):
    """As the order of the names in a file's head may differ from call to call."""
    save(path, description, parts, [*history[:-1], history[-1] | {"also": 1}])


def test_own_trainings_stay_as_they_are_and_only_what_lacks_is_filled_in(released):
    run, aside = released
    shutil.copytree(aside / run.directory.name, weights.CHECKPOINTS / run.directory.name)
    own = contents(weights.CHECKPOINTS)
    (weights.CHECKPOINTS / "shared").mkdir()
    (file,) = (aside / "shared").glob("*.safetensors")
    (weights.CHECKPOINTS / "shared" / file.name).write_bytes(file.read_bytes()[:-100])  # cut off
    assert cli.main(FETCH) == 0
    assert own.items() <= contents(weights.CHECKPOINTS).items() and len(contents(weights.CHECKPOINTS)) == 7
    assert all(weights.is_here(name) for name in weights.listed()["smoke"]["00_toy"].trainings)


def test_weights_of_other_code_are_left_alone_and_a_training_runs(listed, released, monkeypatch, capfd):
    assert cli.main(FETCH) == 0
    before = contents(weights.CHECKPOINTS)
    monkeypatch.setattr(train, "version_of", lambda *names: "other")
    assert "loaded" not in capfd.readouterr().err
    listed["toy"]()
    assert "loaded" not in capfd.readouterr().err and before.items() < contents(weights.CHECKPOINTS).items()


def test_a_damaged_archive_is_named_and_nothing_of_it_is_used(released, capfd):
    (archive,) = weights.PACKED.glob("weights/*")
    content = archive.read_bytes()
    archive.write_bytes(content[:-1] + b"?")
    assert cli.main(FETCH) == 2 and not weights.CHECKPOINTS.exists()
    told = capfd.readouterr().err
    assert f"{archive} is damaged" in told and weights.RELEASES in told and "Traceback" not in told
    archive.write_bytes(content)
    assert cli.main(FETCH) == 0


def test_a_download_that_is_cut_off_or_wrong_leaves_nothing_and_can_be_repeated(released, monkeypatch, capfd):
    (archive,) = weights.PACKED.glob("weights/*")
    content, answer = archive.read_bytes(), {}

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == f"/weights/{archive.name}"
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(answer["sent"])

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(MIRROR_VARIABLE, f"http://127.0.0.1:{server.server_port}")
    for sent in (content[:1000], content[:-1] + b"?"):
        answer["sent"] = sent
        assert cli.main(FETCH) == 2 and archive.name in capfd.readouterr().err
        assert not weights.CHECKPOINTS.exists()
    answer["sent"] = content
    assert cli.main(FETCH) == 0 and "3 of them new" in capfd.readouterr().out
    server.shutdown()
    server.server_close()


ENTRY = {"name": "a.tar.xz", "size": 1, "sha256": "0" * 64, "trainings": ["toy-1/state.safetensors"]}


@pytest.mark.parametrize(
    "content",
    ["", '{"smoke": ', "[]", "null", b"\xff\xfe", {"smoke": []}, {"smoke": {"00_toy": "a"}}]
    + [{"smoke": {"00_toy": ENTRY | change}} for change in (
        {"licence": "MIT"}, {"size": "many"}, {"sha256": None}, {"sha256": "0"}, {"name": "../a"}, {"name": "/etc/a"},
        {"trainings": "toy-1/state.safetensors"}, {"trainings": ["../toy/state.safetensors"]}, {"trainings": ["/toy"]},
        {"trainings": ["toy/.."]}, {"trainings": [".ssh/state.safetensors"]},
    )],
)  # fmt: skip
@pytest.mark.parametrize("command", [FETCH, RELEASE])
def test_a_list_that_cannot_be_read_is_refused_in_a_paragraph_and_stays(listed, command, content, capfd):
    content = json.dumps(content) if isinstance(content, dict) else content
    weights.LIST.write_bytes(content := content if isinstance(content, bytes) else content.encode())
    assert cli.main(command) == 2 and weights.LIST.read_bytes() == content
    assert f"{weights.LIST} is damaged, or of another version" in (told := capfd.readouterr().err)
    assert told.count("\n") == 1 and not weights.CHECKPOINTS.exists()


def release(change):
    """Release an archive of other content, with its right SHA-256."""
    (path,) = weights.PACKED.glob("weights/*")
    path.write_bytes(content := change(path.read_bytes()))
    lists = json.loads(weights.LIST.read_text())
    lists["smoke"]["00_toy"] |= {"sha256": hashlib.sha256(content).hexdigest()}
    weights.LIST.write_text(json.dumps(lists))


def packed_anew(change):
    """A change of an archive: of the list of its members and their contents."""

    def of_content(content):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members = change([(member, archive.extractfile(member).read()) for member in archive])
        with tarfile.open(fileobj=(file := io.BytesIO()), mode="w:xz") as archive:
            for member, held in members:
                member.size = len(held)
                archive.addfile(member, io.BytesIO(held))
        return file.getvalue()

    return of_content


def member(name, kind=tarfile.REGTYPE):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, "/etc/passwd" * (kind == tarfile.SYMTYPE)
    return made, b"" if kind != tarfile.REGTYPE else b"not of a training"


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: b"<html>",
        lambda content: content[: len(content) // 2],
        packed_anew(lambda members: []),
        packed_anew(lambda members: members[:-1]),
        packed_anew(lambda members: [*members[:-1], (members[-1][0], b"junk")]),
        packed_anew(lambda members: [*members[:-1], member(members[-1][0].name, tarfile.SYMTYPE)]),
        packed_anew(lambda members: [*members[:-1], member(members[-1][0].name, tarfile.DIRTYPE)]),
    ],
    ids=["empty", "a page", "cut off", "no member", "one is missing", "one is junk", "a link", "a folder"],
)
def test_an_archive_that_does_not_hold_what_is_listed_is_named(released, change, capfd):
    release(change)
    assert cli.main(FETCH) == 2
    (path,) = weights.PACKED.glob("weights/*")
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 2 and told[1].startswith(f"{path} does not hold the trainings that weights.json lists, such as")


def test_no_member_of_an_archive_gets_out_of_the_folder_of_its_training(released, tmp_path):
    run, _ = released
    own = run.directory.name
    names = ["../../out.safetensors", f"{tmp_path}/out.safetensors", f"{own}/../../out.safetensors", f"{own}/.."]
    names += [f"{own}/a/out.safetensors", f"{own}/history.csv", "other/state.safetensors"]
    release(packed_anew(lambda members: [*map(member, names), *members]))
    before = {*tmp_path.rglob("*")}
    assert cli.main(FETCH) == 0
    new = {*tmp_path.rglob("*")} - before
    assert {file.name for file in new if file.is_file()} <= {file.name for file in contents(weights.CHECKPOINTS)}
    assert len(contents(weights.CHECKPOINTS)) == 7 and all(file.is_relative_to(weights.CHECKPOINTS) for file in new)


def test_a_mirror_may_be_a_url_of_a_folder_with_a_space(released, tmp_path, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, weights.PACKED.rename(tmp_path / "my mirror").as_uri())
    assert "%20" in os.environ[MIRROR_VARIABLE] and cli.main(FETCH) == 0


def test_where_nothing_is_trained_nothing_is_released_and_the_list_stays(released, capfd):
    kept = weights.LIST.read_text()
    assert cli.main(RELEASE) == 2 and weights.LIST.read_text() == kept
    told = capfd.readouterr().err.splitlines()
    assert "3 trainings are not done" in told[0] and told[1].startswith("None of the trainings of smoke that")
    assert "run_all.sh --profile smoke" in told[1]


def test_a_release_of_one_notebook_keeps_what_was_released_of_those_it_needs(listed, monkeypatch):
    listed["toy"]()
    needed, ready = (Job(name, "smoke", {}, (), trainings="hash") for name in ("02_ngae_latent_space", "03_mine"))
    monkeypatch.setattr(weights.profiles, "plan", lambda profile, only: [needed, ready])
    lists = {"02_ngae_latent_space": {"elsewhere": listed["shared"]}, "03_mine": {"toy": listed["toy"]}}
    monkeypatch.setattr(weights, "trainings_of", lambda job: lists[job.notebook])
    weights.LIST.write_text(json.dumps({"smoke": {"02_ngae_latent_space": ENTRY}}))
    assert cli.main([*RELEASE, "--only", "03"]) == 0 and [*weights.listed()["smoke"]] == [*lists]


def test_a_training_that_two_notebooks_list_is_packed_once(listed, monkeypatch):
    listed["toy"]()
    first, second = (Job(name, "smoke", {}, (), trainings="hash") for name in ("02_ngae_latent_space", "03_mine"))
    monkeypatch.setattr(weights.profiles, "plan", lambda profile, only: [first, second])
    monkeypatch.setattr(weights, "trainings_of", lambda job: {"toy": listed["toy"]})
    assert cli.main(RELEASE) == 0 and [*weights.listed()["smoke"]] == ["02_ngae_latent_space"]


def test_trainings_whose_time_is_measured_are_not_released(listed, monkeypatch, capfd):
    """Elsewhere they would be loaded, with the times of this machine."""
    monkeypatch.setattr(weights.profiles, "plan", lambda *_: [Job("10_speed", "smoke", {}, (), trainings="hash")])
    listed["toy"]()
    assert cli.main([*RELEASE, "--only", "10"]) == 2 and not weights.LIST.exists()
    assert "Those that are timed (10_speed) stay." in capfd.readouterr().err


def test_a_notebook_whose_list_needs_a_training_that_is_not_done_keeps_no_other_from_being_packed(
    listed, monkeypatch, capfd
):
    listed["toy"]()
    needy, ready = (Job(name, "smoke", {}, (), trainings="hash") for name in ("00_needy", "01_ready"))
    monkeypatch.setattr(weights.profiles, "plan", lambda profile, only: [needy, ready])
    lists = {"00_needy": lambda: {"after": listed["shared"]()}, "01_ready": lambda: {"toy": listed["toy"]}}
    monkeypatch.setattr(weights, "trainings_of", lambda job: lists[job.notebook]())
    assert cli.main(RELEASE) == 0 and [*weights.listed()["smoke"]] == ["01_ready"]
    assert "00_needy: 1 trainings are not done, so left out, such as one that its list needs" in capfd.readouterr().err


@pytest.mark.parametrize("content", [None, "{}", '{"quick": {}}'])
def test_without_a_release_fetch_says_so_in_a_sentence(listed, content, capfd):
    if content is not None:
        weights.LIST.write_text(content)
    assert cli.main(FETCH) == 2
    assert capfd.readouterr().err == (
        "Of smoke no such weights have been released yet: see weights.json. A run trains its own.\n"
    )


def test_the_readme_says_whether_there_is_a_release():
    there = weights.LIST.exists() and any(weights.listed().values())
    assert ("nothing has been released yet" in (paths.ROOT / "README.md").read_text()) == (not there)
