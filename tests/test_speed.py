"""What the speed of a call is measured with: counts and memory are exact, times are not looked at."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from latentnas import speed
from latentnas.evaluate import encode_all
from latentnas.measure.small import load_small
from latentnas.models.family import configure
from latentnas.spaces.enas import ENAS
from latentnas.train import TrainConfig


def train_a_little(precision="fp32", hidden=16):
    torch.manual_seed(0)
    model_class, config = configure("D-VAE", ENAS, hidden, hidden, latent=8)
    training = TrainConfig(epochs=1, batch_size=4, precision=precision)
    return speed.step_seconds(model_class(config), ENAS.sample(3, seed=0), {}, training, steps=2)


def test_the_products_of_a_step_are_those_that_pytorch_counts():
    with FlopCounterMode(display=False) as counter:
        train_a_little()
    counted = speed.products(train_a_little)
    assert counted["flops"].sum() == counter.get_total_flops() > 0
    assert set(counted["dtype"]) == {torch.float32} and (counted["seconds"] > 0).all()
    assert torch.bfloat16 in set(speed.products(lambda: train_a_little("bf16"))["dtype"])


@pytest.mark.slow
def test_products_that_another_library_computes_are_counted_once():
    with FlopCounterMode(display=False) as counter:
        train_a_little(hidden=512)
    assert speed.products(lambda: train_a_little(hidden=512))["flops"].sum() == counter.get_total_flops()


def test_memory_is_what_is_held_at_a_time():
    def work():
        kept = torch.zeros(1000, 1000)  # 4 MB
        for _ in range(5):
            torch.zeros(2000, 1000)  # 8 MB, given back each time
        return kept

    assert speed.operations(work)[1] == 12.0


def test_the_kinds_of_operations_tell_the_optimiser_from_the_model():
    weights = torch.zeros(64, 64, requires_grad=True)
    optimizer = torch.optim.Muon([weights])  # which multiplies matrices itself

    def work(step):
        (weights @ weights + 1).sum().backward()
        if step:
            optimizer.step()

    without, with_step = (speed.operations(lambda step=step: work(step))[0] for step in (False, True))
    assert list(without) == list(speed.KINDS) and without["products"] > 0
    assert without["optimiser"] == 0 < with_step["optimiser"]


def test_the_first_calls_are_not_counted():
    calls = []
    assert speed.seconds(lambda: calls.append(1), times=3, warm_up=2) >= 0
    assert len(calls) == 5


def test_decoding_is_timed_in_both_precisions_and_compared(monkeypatch):
    monkeypatch.setattr(speed, "computes_in_bf16", lambda device: False)
    model = load_small("ngae")
    assert [*speed.coding_seconds(model, ENAS.sample(1, seed=0), times=1)] == ["encode", "greedy", "random"]
    monkeypatch.setattr(speed, "computes_in_bf16", lambda device: True)
    codes = encode_all(model, ENAS.sample(200, seed=0))
    taken = speed.coding_seconds(model, ENAS.sample(3, seed=0), times=1)
    assert [*taken] == ["encode", "greedy", "random", "greedy, bf16", "random, bf16"] and min(taken.values()) > 0
    assert speed.same_in_bf16(model, codes) >= 99.5
    assert speed.same_in_bf16(model, 3 * codes) < 100  # far from all codes decisions are close, and rounding tips some
