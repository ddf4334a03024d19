"""Where models are trained, and by which rules: the device, TF32, bf16, determinism."""

import os

import torch
import torch.utils.deterministic


def default_device() -> str:
    """The device that the environment variable LATENTNAS_DEVICE names; without it a GPU if there is one.

    Raises:
        ValueError: PyTorch knows no such device, or this machine has none.
    """
    name = os.environ.get("LATENTNAS_DEVICE")
    if not name:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # as PyTorch was built and what it lacks
        found = f"LATENTNAS_DEVICE={name!r} is no device that PyTorch can use here ({str(error).splitlines()[0]})"
        asked = "Set it to 'cpu' or, on a machine with a GPU, 'cuda' or 'cuda:0', or unset it"
        raise ValueError(f"{found}. {asked}.") from None
    return name


def prepare_device(device: torch.device) -> None:
    """Set the rules of a GPU for the whole process: fp32 products in TF32, many times as fast and with three bits more
    than bf16, and the same numbers from the same seed, but for operators that PyTorch then warns of."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # would cost a kernel for each new tensor


def computes_in_bf16(device: str | torch.device) -> bool:
    """Whether bf16 is faster than fp32: not on GPUs before Ampere, CPUs without AVX-512 or builds without oneDNN."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
