"""Weights as files of a release: packed, fetched from a mirror, and loaded in place of a training."""

import http.server
import shutil
import threading

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


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """What a notebook lists: a model, the same trained on from there, shared weights. All folders are the test's."""
    folder = tmp_path / "checkpoints"
    for module in (train, weights):
        monkeypatch.setattr(module, "CHECKPOINTS", folder)
    monkeypatch.setattr("latentnas.paths.CACHE", tmp_path / "cache")
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setattr(weights, "LIST", tmp_path / "weights.json")
    monkeypatch.setattr(weights, "PACKED", tmp_path / "release")
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "release"))
    graphs, labels = ENAS.sample(32, seed=0), dict.fromkeys(("performance", "complexity"), torch.linspace(0, 1, 32))
    whole = digits.load(0.5, copies=1)
    parts = (Images(part.images[:16], part.labels[:16]) for part in (whole.train, whole.valid, whole.test))
    images = ImageSets(*parts, whole.augment)

    def train_toy(name="toy", config=SIZES, start=None):
        return train_model(name, NGAE, config, graphs, labels, SCHEDULE, start)

    def shared():
        network, strategy, schedule = SharedCells(SharedSkeleton(channels=2), 0), Darts(0), SupernetSchedule(2, 8)
        file = checkpoint_file(folder / "shared", network, strategy, images, schedule, 0)
        return train_supernet(network, strategy, images, schedule, 0, file)

    trainings = {"toy": train_toy, "on": lambda: train_toy("toy-on", start=train_toy()), "shared": shared}
    jobs = [Job("00_toy", "smoke", {}, (), trainings="hash"), Job("01_none", "smoke", {}, ())]
    monkeypatch.setattr(weights.profiles, "plan", lambda profile, only: jobs)
    monkeypatch.setattr(weights, "trainings_of", lambda job: trainings)
    return trainings


@pytest.fixture
def released(listed, capfd):
    """All are trained and packed, and the checkpoints are gone: the run of the first, and where they were."""
    run, *_ = [make() for make in listed.values()]
    run.model.eval()
    assert cli.main(RELEASE) == 0
    (archive,) = weights.PACKED.glob("weights/*")
    assert f"{archive.name} (" in capfd.readouterr().out
    weights.CHECKPOINTS.rename(aside := weights.CHECKPOINTS.with_name("trained"))
    return run, aside


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
    assert again.at_epoch(1) is again.model
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


def test_own_trainings_stay_as_they_are_and_only_what_lacks_is_filled_in(released):
    run, aside = released
    shutil.copytree(aside / run.directory.name, weights.CHECKPOINTS / run.directory.name)
    own = contents(weights.CHECKPOINTS)
    (weights.CHECKPOINTS / "shared").mkdir()
    (file,) = (aside / "shared").glob("*.safetensors")
    (weights.CHECKPOINTS / "shared" / file.name).write_bytes(file.read_bytes()[:-100])  # cut off
    assert cli.main(FETCH) == 0
    assert own.items() <= contents(weights.CHECKPOINTS).items() and len(contents(weights.CHECKPOINTS)) == 7
    assert all(weights.is_here(name) for name in weights.listed("smoke")["00_toy"].trainings.split())


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


@pytest.mark.parametrize("content", [None, "{}", '{"quick": {}}'])
def test_without_a_release_fetch_says_so_in_a_sentence(listed, content, capfd):
    if content is not None:
        weights.LIST.write_text(content)
    assert cli.main(FETCH) == 2
    assert capfd.readouterr().err == (
        "Of smoke no such weights have been released yet: see weights.json. A run trains its own.\n"
    )


def test_the_readme_says_whether_there_is_a_release():
    there = weights.LIST.exists() and any(weights._read().values())
    assert ("nothing has been released yet" in (paths.ROOT / "README.md").read_text()) == (not there)
