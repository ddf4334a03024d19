"""One file holds a training: what comes back, and what is said of a file that does not fit."""

import pytest
import torch
from torch import nn

from latentnas.checkpoint import CheckpointError, DamagedError, load, resume, save

DESCRIPTION = {"model": "Two", "config": {"hidden": 3, "sizes": (1, 2)}, "code": "0123"}


class Two(nn.Module):
    """Two names of one layer, a buffer that is kept and one that is not."""

    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Linear(3, 3)
        self.register_buffer("seen", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("cache", torch.zeros(2), persistent=False)


def step(model, optimizer):
    optimizer.zero_grad()
    model.first(torch.ones(3)).square().sum().backward()
    optimizer.step()


def trained(optimizer_class, **options):
    model = Two()
    optimizer = optimizer_class(model.parameters(), lr=0.1, **options)
    for _ in range(2):
        step(model, optimizer)
    model.seen += 5
    return model, optimizer


@pytest.fixture
def path(tmp_path):
    model, optimizer = trained(torch.optim.Adam)
    save(tmp_path / "state.safetensors", DESCRIPTION, {"model": model, "adam": optimizer}, [{"epoch": 1}])
    return tmp_path / "state.safetensors"


@pytest.mark.parametrize("optimizer_class, options", [(torch.optim.Adam, {}), (torch.optim.SGD, {"momentum": 0.9})])
def test_a_training_goes_on_as_if_it_had_not_stopped(tmp_path, optimizer_class, options):
    models, optimizers = zip(*(trained(optimizer_class, **options) for _ in range(2)))
    learner = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)  # one that has no state
    save(
        tmp_path / "a.safetensors",
        DESCRIPTION,
        {"model": models[0], "other": Two(), "one": optimizers[0], "learner": learner},
        [{"epoch": 1, "total": 0.1}],
    )
    again = {"model": models[1], "other": Two(), "one": optimizers[1], "learner": learner}
    assert load(tmp_path / "a.safetensors", DESCRIPTION, again) == [{"epoch": 1, "total": 0.1}]
    for model, optimizer in zip(models, optimizers):
        step(model, optimizer)
    assert torch.equal(models[0].first.weight, models[1].second.weight)
    assert models[1].seen.tolist() == [5, 5]


def test_a_damaged_file_is_named(path):
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:5], b"", b"no tensors at all", whole.replace(b"description", b"desc-iption")):
        path.write_bytes(damaged)
        with pytest.raises(DamagedError, match=r"state.safetensors cannot be read \(.*Delete it to train anew"):
            load(path, DESCRIPTION, {"model": Two()})
        assert resume(path, DESCRIPTION, {"model": Two()}) == [] and not path.exists()
    with pytest.raises(CheckpointError, match="nowhere.safetensors cannot be read .*missing"):
        load(path.with_name("nowhere.safetensors"), DESCRIPTION, {"model": Two()})


def test_what_was_set_aside_before_stays(path, capsys):
    path.with_name(f"{path.name}.damaged").mkdir()
    path.write_bytes(b"no tensors at all")
    assert resume(path, DESCRIPTION, {"model": Two()}) == [] and not path.exists()
    assert path.with_name(f"{path.name}.damaged1").read_bytes() == b"no tensors at all"
    assert "set aside as state.safetensors.damaged1; training anew" in capsys.readouterr().err


def test_what_may_be_whole_or_is_of_another_training_is_not_set_aside(path):
    with pytest.raises(CheckpointError, match="another training"):
        resume(path, DESCRIPTION | {"model": "Three"}, {"model": Two()})
    with pytest.raises(CheckpointError, match="cannot be read .it is a folder: move it away"):
        resume(path.parent, DESCRIPTION, {"model": Two()})  # a folder, as what one has no right to read
    assert path.exists() and len(list(path.parent.iterdir())) == 1


def test_a_file_that_is_short_of_tensors_changes_nothing(path):
    model, larger = Two(), nn.Linear(4, 4)
    before = model.first.weight.clone()
    with pytest.raises(CheckpointError, match=r"lacks larger.weight of shape \[4, 4\]"):
        load(path, DESCRIPTION, {"model": model, "larger": larger})
    assert torch.equal(model.first.weight, before)


def test_another_configuration_is_named_by_what_differs(path):
    other = DESCRIPTION | {"config": {"hidden": 4, "sizes": (1, 2)}, "code": "4567"}
    with pytest.raises(CheckpointError) as error:
        load(path, other, {"model": Two()})
    assert "another training: code is '0123' there and '4567' here; config.hidden is 3 there and 4" in str(error.value)
    assert "sizes" not in str(error.value)


def test_other_code_is_refused(path):
    with pytest.raises(
        CheckpointError, match="was made by other code: code is '0123' there and '4567' here. Delete it"
    ):
        load(path, DESCRIPTION | {"code": "4567"}, {"model": Two()})
