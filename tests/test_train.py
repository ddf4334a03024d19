"""The training loop: resume, checkpoints, schedules, and what happens when something is wrong."""

import ast
import copy
import itertools
import json
import linecache
import os
import signal
import subprocess
import sys
import time
import types
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from latentnas import code, train
from latentnas.checkpoint import CheckpointError
from latentnas.devices import computes_in_bf16
from latentnas.models.base import validated
from latentnas.models.family import FAMILY, configure
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.muon import Muon, orthogonal
from latentnas.progress import Progress
from latentnas.spaces.enas import ENAS
from latentnas.train import TrainConfig, default_device, fit, run_directory, train_model
from model_checks import fit_in_two_sittings

MODEL = NGAEConfig(hidden=16, latent=6)
TRAINING = TrainConfig(epochs=4, batch_size=32, learning_rate=3e-3, precision="fp32", keep=(2,))


@pytest.fixture(scope="module")
def data():
    batch = ENAS.sample(96, seed=0)
    generator = torch.Generator().manual_seed(0)
    return batch, {name: torch.rand(96, generator=generator) for name in ("performance", "complexity")}


@pytest.fixture(autouse=True)
def state_after_every_epoch(monkeypatch):
    monkeypatch.setattr("latentnas.train.SECONDS_BETWEEN_CHECKPOINTS", -1.0)


def new_model(data, config=MODEL, seed=0):
    torch.manual_seed(seed)
    model = NGAE(config)
    model.calibrate(**data[1])
    return model


def weights(directory, epoch=4):
    found = load_file(directory / f"epoch-{epoch:04d}.safetensors")  # which looks into the file still
    return {name: value.clone() for name, value in found.items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_of_two_processes_with_the_same_training_one_trains_and_the_other_loads(tmp_path):
    program = """
import torch
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.spaces.enas import ENAS
from latentnas.train import TrainConfig, train_model
config = NGAEConfig(hidden=16, latent=6, predictors="none")
train_model("twice", NGAE, config, ENAS.sample(64, seed=0), {}, TrainConfig(epochs=20, batch_size=8))
"""
    command, environment = [sys.executable, "-c", program], os.environ | {"LATENTNAS_OUTPUT": str(tmp_path)}
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = sorted(process.communicate()[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert ["20 epochs trained before" in text for text in told].count(True) == 1, told
    assert sum("20/20" in text for text in told) == 1


@pytest.mark.slow
@pytest.mark.parametrize("steps", [6, 7], ids=["between epochs", "in an epoch"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "bf16"},
        {"schedule": "constant"},
        {"optimizer": "muon"},
        {"optimizer": "muon", "precision": "bf16"},
    ],
    ids=str,
)
def test_resumed_training_ends_bit_identically(data, tmp_path, monkeypatch, options, steps):
    check_resume(lambda: (new_model(data), *data), replace(TRAINING, **options), tmp_path, monkeypatch, steps)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
def test_every_model_of_the_family_resumes_bit_identically(name, data, tmp_path, monkeypatch):
    drawn = itertools.count(1)

    def build():
        torch.manual_seed(0)
        model_class, config = configure(name, ENAS, hidden=16, svge_hidden=16, latent=6)
        model = model_class(config)
        torch.rand(next(drawn))  # what else the process drew must not matter
        return model, data[0], {}

    check_resume(build, TRAINING, tmp_path, monkeypatch)


def check_resume(build, config, tmp_path, monkeypatch, steps=7):
    """Cut off after so many of 12 steps, three an epoch; no step is done twice."""
    whole = fit(*build(), config, tmp_path / "whole")
    begun, clip = itertools.count(), torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *options: (next(begun), clip(*options)))
    _, resumed = fit_in_two_sittings(build, config, tmp_path / "cut", monkeypatch, steps)
    assert next(begun) == 13  # one did not end
    for epoch in (2, 4):
        assert same(weights(tmp_path / "whole", epoch), weights(tmp_path / "cut", epoch))
    assert whole.drop(columns="seconds").equals(resumed.drop(columns="seconds"))


@pytest.mark.slow
def test_an_epoch_that_is_cut_off_twice_goes_on_with_what_dropout_and_noise_draw_next(data, tmp_path, monkeypatch):
    model_class, config = configure("arch2vec", ENAS, hidden=16, svge_hidden=16, latent=6)  # which has dropout
    losses = {}
    for name, cuts in (("whole", ()), ("cut", (2, 3, 5))):
        for stop in (*cuts, None):
            torch.manual_seed(0)
            model, done, loss = model_class(config), itertools.count(), model_class.loss

            def loss_until(self, *arguments, stop=stop, done=done, loss=loss, **named):
                torch.rand(2)
                if next(done) == stop:
                    raise KeyboardInterrupt
                return loss(self, *arguments, **named)

            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) if stop else nullcontext():
                patch.setattr(model_class, "loss", loss_until)
                history = fit(model, data[0], {}, replace(TRAINING, epochs=2, batch_size=8, keep=()), tmp_path / name)
        losses[name] = history["total"].tolist()
    assert losses["whole"] == losses["cut"] and same(weights(tmp_path / "whole", 2), weights(tmp_path / "cut", 2))
    assert len(pd.read_csv(tmp_path / "cut" / "history.csv")) == 2


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 64
    path.write_bytes(content)


def rewrite(change, **metadata):
    """Damage that leaves the file readable: its tensors are changed, or an entry of what is written about them."""

    def damage(path):
        with safe_open(path, "pt") as file:
            written = file.metadata() | metadata
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, written)

    return damage


WEIGHT = "model.encoder.mu.weight"
DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "foreign": lambda path: path.write_bytes(b"PK\x03\x04 no tensors at all"),
    "no metadata": lambda path: save_file(load_file(path), path),
    "flipped bit": flip_a_bit,
    "not a number": rewrite(lambda tensors: tensors[WEIGHT].fill_(torch.nan)),
    "other shape": rewrite(lambda tensors: tensors.update({WEIGHT: torch.ones(1)})),
    "lost tensor": rewrite(lambda tensors: tensors.pop(WEIGHT)),
    "history emptied": rewrite(len, history="[ ]"),
    "history broken": rewrite(len, history="[{"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["state", "epoch-0002"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_made_again(data, tmp_path, monkeypatch, capsys, name, damage):
    monkeypatch.setattr("latentnas.train.CHECKPOINTS", tmp_path)
    run = train_model("ngae", NGAE, MODEL, *data, TRAINING)
    last, early = weights(run.directory), weights(run.directory, 2)
    file = run.directory / f"{name}.safetensors"
    DAMAGES[damage](file)
    damaged = file.read_bytes()
    capsys.readouterr()
    again = train_model("ngae", NGAE, MODEL, *data, TRAINING)
    line = capsys.readouterr().err.splitlines()[0]
    assert str(file) in line and line.endswith(f"set aside as {file.name}.damaged; training anew")
    assert file.with_name(f"{file.name}.damaged").read_bytes() == damaged
    with pytest.raises(ValueError, match="were not kept, only those after 2, 4. Name"):
        again.at_epoch(3)
    assert again.history.drop(columns="seconds").equals(run.history.drop(columns="seconds"))
    assert same(weights(run.directory), last) and same(weights(run.directory, 2), early)
    assert "loaded" in (train_model("ngae", NGAE, MODEL, *data, TRAINING), capsys.readouterr().err)[1]


def test_weights_of_an_epoch_that_were_deleted_are_made_again(data, tmp_path):
    fit(new_model(data), *data, TRAINING, tmp_path)
    early = weights(tmp_path, 2)
    (tmp_path / "epoch-0002.safetensors").unlink()
    fit(new_model(data), *data, TRAINING, tmp_path)
    assert same(weights(tmp_path, 2), early)


def test_training_leaves_the_global_generator_as_it_was(data, tmp_path):
    model = new_model(data)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(model, *data, replace(TRAINING, epochs=2), tmp_path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_killed_training_goes_on_and_ends_the_same(data, tmp_path):
    """kill -9 at a random moment, as often as it takes."""
    program = (
        "import sys, torch; import latentnas.train as train\n"
        "from pathlib import Path; from latentnas.models.ngae import NGAE, NGAEConfig\n"
        "from latentnas.spaces.enas import ENAS\n"
        "train.SECONDS_BETWEEN_CHECKPOINTS = -1.0; torch.manual_seed(0)\n"
        "print('ready', flush=True)\n"
        "train.fit(NGAE(NGAEConfig(hidden=16, latent=6, predictors='none')), ENAS.sample(96, seed=0), {},\n"
        "    train.TrainConfig(epochs=25, batch_size=16, precision='fp32'), Path(sys.argv[1]))\n"
    )

    def start(name):
        command = [sys.executable, "-c", program, str(tmp_path / name)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        return process

    assert start("whole").wait() == 0
    random = np.random.default_rng()
    for _ in range(2):
        process = start("killed")
        time.sleep(random.uniform(0.05, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert start("killed").wait() == 0
    assert same(weights(tmp_path / "whole", 25), weights(tmp_path / "killed", 25))


def test_training_learns_and_a_second_call_loads(data, tmp_path, monkeypatch):
    monkeypatch.setattr("latentnas.train.CHECKPOINTS", tmp_path)
    learned = replace(TRAINING, epochs=30, learning_rate=1e-2)
    first = train_model("ngae", NGAE, MODEL, *data, learned)
    assert first.history["total"].iloc[-1] < 0.8 * first.history["total"].iloc[0]
    second = train_model("ngae", NGAE, MODEL, *data, learned)
    assert second.directory == first.directory and second.history.equals(first.history)
    assert second.seconds == first.seconds > 0
    assert same(first.model.state_dict(), second.model.state_dict())
    with pytest.raises(ValueError, match="after epoch 1 of .* were not kept, only those after 2, "):
        second.at_epoch(1)
    early = second.at_epoch(2).state_dict()
    assert not torch.equal(early["encoder.mu.weight"], first.model.state_dict()["encoder.mu.weight"])
    assert same(first.model.state_dict(), second.model.state_dict())  # what is fine-tuned next begins at the end


def test_fine_tuning_begins_where_the_other_run_ended(data, tmp_path, monkeypatch):
    monkeypatch.setattr("latentnas.train.CHECKPOINTS", tmp_path)
    batch, targets = data
    first = train_model("first", NGAE, replace(MODEL, predictors="none"), batch, {}, TRAINING)
    still = replace(TRAINING, epochs=1, learning_rate=1e-30, keep=())
    tuned = train_model("tuned", NGAE, MODEL, batch, targets, still, start=first)
    before, after = first.model.state_dict(), tuned.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert any(name.startswith("performance") for name in after.keys() - before.keys())
    alone = train_model("tuned", NGAE, MODEL, batch, targets, still)
    assert alone.directory != tuned.directory  # where it began decides the result
    for name, model_class, config in (
        ("encoder.mu.weight of shape", NGAE, replace(MODEL, latent=5)),
        (".* of shape", *configure("S-VAE", ENAS, hidden=16, svge_hidden=16, latent=6)),
    ):
        with pytest.raises(ValueError, match=f"tuned cannot start from first-.*: that has weights {name}.*, which "):
            train_model("tuned", model_class, config, batch, targets, still, start=first)


def test_same_seed_same_weights_other_seed_others(data, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(new_model(data), *data, replace(TRAINING, seed=seed), tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_folder_depends_on_everything_that_decides_the_result(data):
    batch, targets = data
    other = targets | {"performance": targets["performance"] + 0.01}
    folders = {
        run_directory("ngae", new_model(data), batch, targets, TRAINING),
        run_directory("ngae", new_model(data), batch, other, TRAINING),
        run_directory("ngae", new_model(data), batch[:90], targets, TRAINING),
        run_directory("ngae", new_model(data), batch, targets, replace(TRAINING, seed=1)),
        run_directory("ngae", new_model(data), batch, targets, replace(TRAINING, optimizer="muon")),
        run_directory("ngae", new_model(data, replace(MODEL, beta=0.1)), batch, targets, TRAINING),
    }
    assert len(folders) == 6


def test_checkpoint_of_another_configuration_is_refused(data, tmp_path):
    fit(new_model(data), *data, replace(TRAINING, epochs=2), tmp_path)
    with pytest.raises(CheckpointError, match="another training: config.latent is 6 there and 5 here. Delete it"):
        fit(new_model(data, replace(MODEL, latent=5)), *data, replace(TRAINING, epochs=2), tmp_path)
    with pytest.raises(CheckpointError, match=r"another training: train.epochs is 2 there and 3 here; train.seed is 0"):
        fit(new_model(data), *data, replace(TRAINING, epochs=3, seed=1), tmp_path)


def change(cached, name, old, new):
    """Another source of a library module, as far as `latentnas.code` can see."""
    text = code._file(name).read_text(encoding="utf-8")
    assert old in text
    cached[name] = ast.parse(text.replace(old, new, 1))
    for function in (code._imports, code._code_hash):
        function.cache_clear()


@pytest.fixture
def sources(monkeypatch):
    parsed, changed = code._parsed, {}
    monkeypatch.setattr(code, "_parsed", lambda name: changed[name] if name in changed else parsed(name))
    parsed.cache_clear()
    yield changed
    changed.clear()
    parsed.cache_clear()
    for function in (code._imports, code._code_hash):
        function.cache_clear()


def test_the_folder_and_the_checkpoint_know_the_code(data, tmp_path, sources):
    def folder():
        return run_directory("ngae", new_model(data), *data, TRAINING)

    before = folder()
    run = replace(TRAINING, epochs=2)
    fit(new_model(data), *data, run, tmp_path)
    for name, old, new in (
        ("latentnas.models.dagnn", '"""', '"""Other words. '),
        ("latentnas.train", "# the peak of", "# at most, of"),
        ("latentnas.models.arch2vec", "import torch\n", "import torch\nchanged = 1\n"),  # NGAE knows nothing of it
    ):
        change(sources, name, old, new)
        assert folder() == before
    for name, old, new in (
        ("latentnas.models.base", "scale * noise", "2 * scale * noise"),
        ("latentnas.train", "WARMUP = 0.1", "WARMUP = 0.2"),
    ):
        sources.clear()
        change(sources, name, old, new)
        assert folder() != before
        with pytest.raises(CheckpointError, match="made by other code: .*Delete it to train anew"):
            fit(new_model(data), *data, run, tmp_path)


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("performance", torch.rand(12)[:, None], "torch.float32 of shape \\[12, 1\\], but 12 graphs need"),
        ("performance", torch.rand(40), "shape \\[40\\]"),
        ("performance", torch.arange(12), "torch.int64.*convert whole numbers"),
        ("complexity", np.ones(12), "labels 'complexity' are ndarray"),
    ],
)
def test_labels_that_do_not_fit_the_graphs_are_refused_before_training(name, labels, words, tmp_path, monkeypatch):
    monkeypatch.setattr("latentnas.train.CHECKPOINTS", tmp_path)
    batch, config = ENAS.sample(12, seed=0), NGAEConfig(hidden=8, latent=4)
    targets = {"performance": torch.rand(12), "complexity": torch.rand(12)} | {name: labels}
    with pytest.raises(ValueError, match=words):
        train_model("toy", NGAE, config, batch, targets, TRAINING)
    assert not list(tmp_path.iterdir())


def test_an_empty_batch_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("latentnas.train.CHECKPOINTS", tmp_path)
    with pytest.raises(ValueError, match="no graphs to train on"):
        train_model("toy", NGAE, NGAEConfig(predictors="none"), ENAS.sample(0, seed=0), {}, TRAINING)


def test_graphs_are_checked_once_for_a_model_and_again_for_another(data):
    checked = validated(data[0], MODEL)
    few = checked[torch.tensor([3, 5])].to("cpu")
    assert validated(few, replace(MODEL)) is few  # an equal configuration
    with pytest.raises(ValueError, match="at most 5 vertices, but the batch has one of 8"):
        validated(few, replace(MODEL, num_vertices=5))
    assert few.pad_to(9).checked_for is None and type(few).cat([few, few]).checked_for is None


def test_graphs_that_do_not_fit_are_refused_before_the_first_step(data, tmp_path, monkeypatch):
    monkeypatch.setattr(NGAE, "loss", None)
    with pytest.raises(ValueError, match="knows the node types 0 to 4"):
        fit(new_model(data, replace(MODEL, num_types=5)), *data, TRAINING, tmp_path)


def test_the_folder_does_not_depend_on_padding():
    model, batch = NGAE(NGAEConfig(hidden=8, latent=4, predictors="none")), ENAS.sample(5, seed=0)
    folders = {run_directory("toy", model, graphs, {}, TRAINING) for graphs in (batch, batch.pad_to(11))}
    assert len(folders) == 1 and run_directory("toy", model, batch[:4], {}, TRAINING) not in folders


def test_the_code_of_a_class_of_ones_own_counts(tmp_path, monkeypatch):
    written = (
        "from latentnas.models.base import kl_divergence\n"
        "class Base:\n    def base(self):\n        return 1\n"
        "class Mine(Base):\n    def loss(self):\n        'Words.'\n        return kl_divergence(2, 3)\n"
    )

    def version(text):
        module = types.ModuleType("written")
        module.__file__ = str(tmp_path / "written.py")
        (tmp_path / "written.py").write_text(text)
        monkeypatch.setitem(sys.modules, "written", module)
        linecache.checkcache()
        exec(compile(text, module.__file__, "exec"), module.__dict__)
        return code.version_of(module.Mine)

    before = version(written)
    assert version(written.replace("Words", "Other words")) == before
    assert version(written.replace("return 1", "return 1 + 1")) != before
    assert version(written.replace("(2, 3)", "(3, 2)")) != before
    assert code.version_of(type("Typed", (), {"__module__": "__main__"})) != before


TYPED = """
WEIGHT = 2.0
def helper(x):
    return x + WEIGHT
class Base:
    def base(self):
        return 1
class Typed(Base):
    BETA = 1.0
    def loss(self, x):
        return helper(x) * 2.0
    @property
    def size(self):
        return 3
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("* 2.0", "* 9.0"),
        ("BETA = 1.0", "BETA = 9.0"),
        ("x + WEIGHT", "x - WEIGHT"),
        ("WEIGHT = 2.0", "WEIGHT = 3.0"),
        ("return 1", "return 2"),
        ("return 3", "return 4"),
    ],
)
def test_every_change_of_a_class_typed_into_a_notebook_counts(old, new):
    def version(text):
        module = types.ModuleType("__main__")  # without a file: nothing but what is compiled
        exec(text, module.__dict__)
        return code.version_of(module.Typed)

    assert version(TYPED) == version(TYPED) != version(TYPED.replace(old, new))


def test_a_loss_that_is_not_finite_stops_with_the_epoch_named(data, tmp_path):
    batch, targets = data
    broken = targets | {"performance": targets["performance"].where(torch.arange(96) != 5, torch.nan)}
    with pytest.raises(
        FloatingPointError, match="nan in epoch 1.*Nothing to go on from was saved; lower learning_rate"
    ):
        fit(new_model(data), batch, broken, TRAINING, tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_weights_that_the_last_step_made_nan_are_not_kept(data, tmp_path):
    class Rooted(NGAE):
        def loss(self, *given, **labels):
            terms, weights = super().loss(*given, **labels), next(self.parameters())
            root = (weights - weights.detach()).square().sum().sqrt()  # 0, with a gradient of NaN
            return terms | {"total": terms["total"] + root}

    batch, targets = data
    once = replace(TRAINING, epochs=1, batch_size=len(batch), keep=())
    with pytest.raises(
        FloatingPointError, match="weights became NaN or infinite, .*a logarithm of 0 in the loss, in epoch 1 "
    ):
        fit(Rooted(new_model(data).config), batch, targets, once, tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


@pytest.mark.parametrize("labels", [{}, {"accuracy": 1}, {"performance": 1}])
def test_labels_of_other_names_than_the_model_learns_from_are_named(data, labels):
    given = dict.fromkeys(labels, data[1]["performance"])
    found = f"learns from the labels performance, complexity, but was given {', '.join(labels) or 'none'}"
    with pytest.raises(ValueError, match=found):
        new_model(data).calibrate(**given)


@pytest.mark.parametrize(
    "field, value",
    [
        ("precision", "fp8"),
        ("optimizer", "sgd"),
        ("schedule", "plateau"),
        ("schedule", None),
        ("optimizer", None),
        ("epochs", 2.5),
        ("epochs", "3"),
        ("epochs", True),
        ("batch_size", 32.0),
        ("seed", 0.5),
        ("learning_rate", "1e-3"),
        ("keep", 3),
        ("keep", (1.5,)),
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", -1),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("weight_decay", -0.1),
        ("gradient_clip", 0.0),
        ("seed", -1),
        ("seed", 2**31),
        ("keep", (101,)),
        ("keep", (0,)),
        ("keep", (True,)),
        ("keep", "1"),
    ],
)
def test_wrong_settings_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        TrainConfig(**{field: value})


def test_numbers_of_numpy_name_the_same_training(data):
    given = {"epochs": 4, "batch_size": 32, "learning_rate": 0.5, "seed": 3}
    made = TrainConfig(**{name: np.array(value)[()] for name, value in given.items()}, keep=np.array([2, 4]))
    expected = TrainConfig(**given, keep=(2, 4))
    assert made == expected == TrainConfig(**given, keep=[2, 4])
    folders = {run_directory("ngae", new_model(data), *data, config) for config in (made, expected)}
    assert len(folders) == 1


def test_the_environment_names_the_device(monkeypatch):
    for name in ("cpu", "meta"):
        monkeypatch.setenv("LATENTNAS_DEVICE", name)
        assert default_device() == name
    for name in ("gpu", "cuda:99"):
        monkeypatch.setenv("LATENTNAS_DEVICE", name)
        with pytest.raises(
            ValueError, match=f"LATENTNAS_DEVICE='{name}' is no device that PyTorch can use here.*Set it"
        ):
            default_device()


@pytest.mark.parametrize(
    ("capability", "hidden", "batch_size", "precision"),
    [
        ((8, 0), 256, 16, "bf16"),
        ((9, 0), 64, 128, "bf16"),
        ((9, 0), 64, 32, "fp32"),  # too small to gain
        ((7, 5), 256, 128, "fp32"),  # a GPU that emulates bf16
    ],
)
def test_precision_goes_by_the_size_of_the_work_and_by_the_chip(
    data, tmp_path, monkeypatch, capability, hidden, batch_size, precision
):
    monkeypatch.setattr("latentnas.train.default_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    model, config = new_model(data, replace(MODEL, hidden=hidden)), replace(TRAINING, batch_size=batch_size)
    assert train._resolved(replace(config, precision="auto"), model).precision == precision
    for asked in ("fp32", "bf16"):
        assert train._resolved(replace(config, precision=asked), model).precision == asked


@pytest.fixture
def precisions(monkeypatch):
    """The precision of each training that begins or goes on in a test."""
    found, step = [], train._step
    spied = lambda *given: (found.append(given[4].precision), step(*given))[1]  # noqa: E731
    monkeypatch.setattr("latentnas.train._step", spied)
    return found


def test_a_run_is_loaded_and_goes_on_where_auto_stands_for_another_precision(data, tmp_path, monkeypatch, precisions):
    config, able = TrainConfig(epochs=3, batch_size=48), iter((True, False))
    monkeypatch.setattr("latentnas.train.LEAST_FOR_BF16", 0)
    monkeypatch.setattr("latentnas.train.computes_in_bf16", lambda device: next(able))
    build = lambda: (new_model(data), *data)  # noqa: E731
    _, history = fit_in_two_sittings(build, config, tmp_path, monkeypatch, steps=3)  # within the second epoch
    assert precisions == ["bf16", "fp32"] and history["epoch"].tolist() == [1, 2, 3]
    for precision in (True, False):
        monkeypatch.setattr("latentnas.train.computes_in_bf16", lambda device, found=precision: found)
        assert fit(*build(), config, tmp_path).equals(history)
    assert precisions == ["bf16", "fp32"]  # nothing was left to train
    for asked in ("fp32", "bf16"):
        with pytest.raises(CheckpointError, match=f"train.precision is 'auto' there and '{asked}' here"):
            fit(*build(), replace(config, precision=asked), tmp_path)


def test_bf16_only_where_the_chip_computes_in_it(monkeypatch):
    with monkeypatch.context() as without:
        without.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # as on a Mac
        assert computes_in_bf16("cpu") is False
    if torch.backends.mkldnn.is_available():
        assert computes_in_bf16("cpu") == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    for capability, able in (((7, 5), False), ((8, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, capability=capability: capability)
        assert computes_in_bf16("cuda:1") is able


def test_precision_is_that_of_the_device_it_is_given(data, tmp_path, monkeypatch, precisions):
    monkeypatch.setattr("latentnas.train.CHECKPOINTS", tmp_path)
    monkeypatch.setattr("latentnas.train.computes_in_bf16", lambda device: str(device) != "cpu")
    monkeypatch.setenv("LATENTNAS_DEVICE", "meta")
    config = TrainConfig(epochs=1, batch_size=2000)
    train_model("ngae", NGAE, MODEL, *data, config, device="cpu")
    assert precisions == ["fp32"]


@dataclass(frozen=True)
class Wide:
    hidden: tuple[int, ...] = (1000, 1000)


def test_a_model_whose_hidden_size_is_no_number_trains_in_fp32(data):
    model = new_model(data)
    model.config = Wide()
    assert train._resolved(TrainConfig(epochs=1, batch_size=2000), model).precision == "fp32"


def test_a_training_runs_on_the_device_it_is_given(data, tmp_path, monkeypatch):
    monkeypatch.setattr("latentnas.train.CHECKPOINTS", tmp_path)
    monkeypatch.setenv("LATENTNAS_DEVICE", "meta")  # which cannot train
    run = train_model("ngae", NGAE, MODEL, *data, replace(TRAINING, epochs=1, keep=()), device="cpu")
    assert next(run.model.parameters()).device.type == "cpu"


def test_the_progress_line_says_the_loss(data, tmp_path, capsys):
    class OneTerm(NGAE):
        def loss(self, *arguments, **labels):
            return {"total": super().loss(*arguments, **labels)["total"]}

    torch.manual_seed(0)
    model = OneTerm(MODEL)
    model.calibrate(**data[1])
    history = fit(model, *data, replace(TRAINING, epochs=2), tmp_path / "one-term")
    assert f"one-term, epochs: 2/2  total {history['total'].iloc[-1]:.4f}  done" in capsys.readouterr().err


def test_the_progress_line_moves_within_an_epoch(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("latentnas.train.Progress", partial(Progress, every=-1.0))
    history = fit(new_model(data), *data, replace(TRAINING, epochs=2, keep=()), tmp_path / "run")
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("run, epochs: 0/2  step 2/3  ") and lines[1].endswith(" left")
    assert f"run, epochs: 1/2  step 1/3  total {history['total'][0]:.4f}  " in lines[4]


def test_muon_turns_matrices_and_leaves_the_rest_to_adamw(data, tmp_path):
    model, rate = new_model(data), 3e-3
    before = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    peak = 1000 * rate  # of the cycle that the one step begins
    fit(
        model,
        *data,
        replace(TRAINING, epochs=1, batch_size=96, optimizer="muon", learning_rate=peak, keep=()),
        tmp_path,
    )
    moved = {name: before[name] - weights.detach() for name, weights in model.named_parameters()}

    matrices = {name for name, change in moved.items() if change.ndim == 2 and min(change.shape) >= 16}
    assert matrices and matrices != set(moved)
    for name, change in moved.items():
        if name in matrices:  # orthogonal, up to what a few steps of its iteration leave, and as long as AdamW's
            singular = torch.linalg.svdvals(change) / (0.2 * rate * max(change.shape) ** 0.5)
            assert 0.6 < singular.max() < 1.3, name
        else:  # the first step of AdamW goes by the sign of the gradient alone
            assert change.abs().max() < 1.01 * rate, name


@pytest.mark.parametrize(("in_bf16", "tolerance"), [(True, 0.01), (False, 1e-5)], ids=["bf16", "fp32"])
def test_muon_goes_as_that_of_pytorch_does_matrix_by_matrix(monkeypatch, in_bf16, tolerance):
    monkeypatch.setattr("latentnas.muon.computes_in_bf16", lambda device: in_bf16)
    if not in_bf16:  # PyTorch's knows bf16 alone
        monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
    shapes = [(16, 48), (48, 16), (16, 48), (32, 32), (96, 33), (56, 201), (24, 100)]
    trained = []
    for make in (Muon, partial(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")):
        generator = torch.Generator().manual_seed(0)
        matrices = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        optimizer = make(matrices, lr=0.1, weight_decay=0.2)
        for step in range(5):
            for matrix in matrices[:-1]:
                matrix.grad = torch.randn(matrix.shape, generator=generator) * 10.0 ** (step - 3) * (step > 0)
            if step == 3:  # weights and state that another process would load
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            optimizer.step()
        trained.append([matrix.detach() for matrix in matrices])
    for ours, theirs in zip(*trained, strict=True):  # of two products in bf16 the last bits may differ
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * 0.1 * 0.2 * max(ours.shape) ** 0.5)


def test_muon_multiplies_in_bf16_only_where_the_chip_computes_in_it(monkeypatch):
    matrices = torch.randn(2, 16, 48)
    for able, precision in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("latentnas.muon.computes_in_bf16", lambda device, able=able: able)
        assert orthogonal(matrices).dtype == precision


@pytest.mark.slow
def test_one_cycle_rises_then_falls(data, tmp_path):
    rates = fit(new_model(data), *data, replace(TRAINING, epochs=20), tmp_path)["learning_rate"]
    peak = rates.idxmax()
    assert 1 <= peak <= 3 and rates[peak] <= 3e-3
    assert rates.iloc[: peak + 1].is_monotonic_increasing and rates.iloc[peak:].is_monotonic_decreasing
    assert rates.iloc[-1] < 0.02 * rates[peak]


def test_a_constant_rate_stays(data, tmp_path):
    history = fit(new_model(data), *data, replace(TRAINING, schedule="constant"), tmp_path)
    assert history["learning_rate"].tolist() == [3e-3] * 4


def test_history_is_also_a_table_on_disk(data, tmp_path):
    history = fit(new_model(data), *data, TRAINING, tmp_path)
    table = np.genfromtxt(tmp_path / "history.csv", delimiter=",", names=True)
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(table["total"], history["total"])
    assert json.loads(json.dumps(history.to_dict("list")))["edges"][0] > 0
