"""fp32 products by oneDNN against PyTorch's own."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from latentnas import products
from latentnas.graphs import equal
from latentnas.models.family import FAMILY, configure
from latentnas.products import fast_fp32
from latentnas.spaces.enas import ENAS

AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()


def operands():
    """Matrices and a bias in every memory layout that a model may have, some too small to gain."""
    random = torch.Generator().manual_seed(0)
    whole = torch.randn(2, 900, 700, generator=random)
    for left in (
        whole[0, :300, :250],
        whole[0, :250, :300].t(),
        whole[0, :250, :300].contiguous().t(),
        whole[0, :1, :250].expand(300, -1),
        whole[0, :2, :250],
    ):
        for right in (whole[1, :250, :400], whole[1, :400, :250].t(), whole[1, :250, :400].contiguous()):
            for bias in (whole[1, 0, :400], whole[1, :400, 0], whole[0, : len(left), :400]):
                yield left, right, bias


def test_products_are_those_of_pytorch_and_so_are_gradients():
    for left, right, bias in operands():
        results = []
        for wanted in (False, True):
            inputs = [values.detach().requires_grad_() for values in (left, right, bias)]
            with fast_fp32(wanted):
                value = torch.addmm(inputs[2], *inputs[:2]) + torch.addmm(bias, *inputs[:2], beta=2, alpha=3)
                results.append([value, inputs[0] @ inputs[1], *torch.autograd.grad(value.square().sum(), inputs)])
        for plain, fast in zip(*results, strict=True):
            torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4 * plain.detach().abs().max().item())


@pytest.mark.skipif(not AVX512, reason="only on a CPU with AVX-512")
def test_only_large_fp32_products_are_replaced_and_only_inside(monkeypatch):
    x, weight, bias = torch.randn(300, 250), torch.randn(750, 250), torch.randn(750)
    used, fast = [], products._is_large
    monkeypatch.setattr(products, "_is_large", lambda *operands: used.append(fast(*operands)) or used[-1])
    before = F.linear(x, weight, bias)
    with fast_fp32():
        F.linear(x, weight, bias)
        assert used == [True]
        for small in ((x[:3], weight, bias), (x.double(), weight.double(), bias.double())):
            assert torch.equal(
                F.linear(*small), torch.addmm(small[2], small[0], small[1].t(), out=torch.empty(0).to(small[0]))
            )
        assert used == [True, False, False]
    assert torch.equal(F.linear(x, weight, bias), before)
    with fast_fp32(False):
        F.linear(x, weight, bias)
    with pytest.raises(KeyError), fast_fp32():
        raise KeyError
    F.linear(x, weight, bias)
    assert len(used) == 3


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "arch2vec"])
def test_decodes_are_those_of_pytorchs_products(name, monkeypatch):
    """Large enough for oneDNN: the same graphs, or in one of a hundred an even decision that fell otherwise."""
    torch.manual_seed(0)
    model_class, config = configure(name, ENAS, 256, 256, 16)
    model, z = model_class(config).eval(), 3 * torch.randn(300, 16)
    fast = model.decode(z)
    monkeypatch.setattr(products, "SMALLEST", math.inf)
    plain = model.decode(z)
    assert len(set(plain.keys())) > 1 and equal(fast, plain).float().mean() >= 0.99


THREADS = """
import threading, torch
from latentnas.products import fast_fp32

large, small, failed = torch.randn(300, 300), torch.eye(20), []

def often(action):
    try:
        for _ in range(200):
            action()
    except Exception as error:
        failed.append(error)

def fast():
    with fast_fp32():
        product = (large @ large.t()).double()
        torch.testing.assert_close(product, large.double() @ large.double().t(), rtol=1e-3, atol=1e-2)

def plain():
    assert torch.equal(small @ small, small)

threads = [threading.Thread(target=often, args=[action]) for action in (fast, fast, plain, plain)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
assert not failed, failed
"""


@pytest.mark.slow
def test_threads_do_not_disturb_each_other():
    """In a process of its own, which a kernel taken away under a thread would end."""
    assert subprocess.run([sys.executable, "-c", THREADS], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    "left, right",
    [((300, 300), (250, 400)), ((300, 300), (300,)), ((300, 300), (300, 400))],
    ids=["sizes", "a vector", "types"],
)
def test_what_pytorch_refuses_it_refuses_in_its_own_words(left, right):
    left, right = torch.zeros(left), torch.zeros(right)
    right = right.double() if right.shape == (300, 400) else right
    for product in (torch.mm, lambda left, right: torch.addmm(left[:1], left, right)):
        said = []
        for wanted in (False, True):
            with pytest.raises((RuntimeError, ValueError)) as error, fast_fp32(wanted):
                product(left, right)
            said.append(str(error.value))
        assert said[0] == said[1]
