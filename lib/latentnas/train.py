"""One training loop for every model: seeds, precision, schedule, history, checkpoints, resume.

A run lives in one folder, named after everything that decides its result. A run that was cut off goes on from its last
checkpoint, which may lie within an epoch, and ends with the same weights, bit for bit on a CPU.
"""

import dataclasses
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from latentnas import checkpoint
from latentnas.code import version_of
from latentnas.graphs import DagBatch
from latentnas.interfaces import GraphVAE
from latentnas.paths import CHECKPOINTS, atomic_write
from latentnas.progress import Progress

SCHEDULES = ("one_cycle", "plateau", "constant")
PRECISIONS = ("fp32", "bf16")
OPTIMIZERS = ("adamw", "muon")
Labels = dict[str, Tensor]  # `[B]` each, by the names of the arguments of `model.loss`
SMALLEST_MATRIX = 16  # rows and columns that Muon asks for; embeddings of types and last layers have fewer
SECONDS_BETWEEN_CHECKPOINTS = 30.0
STATE = "state.safetensors"  # in a run's folder: weights, optimisers and history


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


def default_precision() -> str:
    """bf16 where the default device computes in it, fp32 on GPUs that emulate it slowly (before Ampere)."""
    device = torch.device(default_device())
    old = device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0)
    return "fp32" if old else "bf16"


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a model is trained."""

    epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 1e-3  # the peak, with the one-cycle schedule
    schedule: str = "one_cycle"  # or "plateau" (factor 0.1, patience 10, as D-VAE), or "constant"
    warmup: float = 0.1  # share of the steps of the one-cycle schedule in which the rate rises
    weight_decay: float = 0.0
    gradient_clip: float = 1.0  # largest norm of the gradient of the mean loss
    optimizer: str = "adamw"  # or "muon": Muon for the matrices, AdamW for the rest
    precision: str = dataclasses.field(default_factory=default_precision)  # of products; weights are in fp32
    seed: int = 0
    keep: tuple[int, ...] = ()  # epochs after which the weights are kept besides the last

    def __post_init__(self) -> None:
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(known)}.")
        for name, kind, allowed, words in (
            ("epochs", int, lambda value: value >= 1, "a whole number, at least 1"),
            ("batch_size", int, lambda value: value >= 1, "a whole number, at least 1"),
            ("learning_rate", float, lambda value: 0 < value < math.inf, "a number above 0"),
            ("warmup", float, lambda value: 0 < value < 1, "a number between 0 and 1"),
            ("weight_decay", float, lambda value: 0 <= value < math.inf, "a number, 0 or more"),
            ("gradient_clip", float, lambda value: value > 0, "a number above 0"),
            ("seed", int, lambda value: value >= 0, "a whole number, 0 or more"),
            ("keep", tuple, lambda value: {*value} <= {*range(1, self.epochs + 1)}, "a tuple of epochs"),
        ):
            value, kinds = getattr(self, name), {float: float | int}.get(kind, kind)
            if not isinstance(value, kinds) or isinstance(value, bool) or not allowed(value):
                raise ValueError(f"{name}={value!r} cannot be trained with: it must be {words}.")


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model with the record of its training."""

    model: GraphVAE
    history: pd.DataFrame  # one row an epoch, see fit
    directory: Path
    loaded_seconds: float = 0.0  # what the epochs took that an earlier call had trained

    @property
    def seconds(self) -> float:
        """What the training took, whenever it was done."""
        return float(self.history["seconds"].sum())

    def at_epoch(self, epoch: int) -> GraphVAE:
        """The model as it was after an epoch named in `TrainConfig.keep`, in place of the trained one.

        Raises:
            ValueError: the weights of this epoch were not kept.
            CheckpointError: their file is damaged.
        """
        if not _weights_file(self.directory, epoch).exists():
            files = sorted(self.directory.glob("epoch-*.safetensors"))
            kept = ", ".join(str(int(path.stem.removeprefix("epoch-"))) for path in files) or "none"
            found = f"The weights after epoch {epoch} of {self.directory.name} were not kept, only those after {kept}"
            raise ValueError(f"{found}. Name the epoch in TrainConfig.keep and train again.")
        checkpoint.load(_weights_file(self.directory, epoch), _description(self.model), {"model": self.model})
        return self.model


def train_model(
    name: str,
    model_class: type[GraphVAE],
    model_config: Any,
    batch: DagBatch,
    targets: Labels,
    config: TrainConfig,
    start: Run | None = None,
    device: str | None = None,
) -> Run:
    """Build a model from the seed, scale its predictors to the labels and train it, or load it where that was done.

    Args:
        name: begins the name of the run's folder. model_class: called with `model_config`.
        batch, targets, config, device: see `fit`.
        start: a trained run whose weights this one begins with (fine-tuning). What its model lacks, such as a
            predictor, begins at random.

    Raises:
        ValueError: labels that do not fit the graphs, or a run to start from whose weights do not fit the model.
    """
    _check_labels(batch, targets)
    started = time.monotonic()
    torch.manual_seed(config.seed)
    model = model_class(model_config)
    if start is not None:
        own, other = model.state_dict(), start.model.state_dict()
        for key, value in other.items():
            if key not in own or own[key].shape != value.shape:
                found = f"that has weights {key} of shape {list(value.shape)}, which {model_class.__name__} lacks here"
                asked = "Start from a run of the same model and sizes"
                raise ValueError(f"{name} cannot start from {start.directory.name}: {found}. {asked}.")
        model.load_state_dict(own | other)
    model.calibrate(**targets)
    directory = run_directory(name, model, batch, targets, config, start)
    with checkpoint.alone(directory / STATE):
        history = fit(model, batch, targets, config, directory, device)
    loaded = max(0.0, float(history["seconds"].sum()) - (time.monotonic() - started))
    return Run(model.eval(), history, directory, loaded)


def _check_labels(batch: DagBatch, targets: Labels) -> None:
    """Raise ValueError unless there are graphs, and for each name one floating-point label for each of them."""
    if not len(batch):
        raise ValueError("There are no graphs to train on: the batch is empty. Give at least one.")
    for name, values in targets.items():
        is_tensor = isinstance(values, Tensor)
        if not is_tensor or not values.is_floating_point() or values.shape != (len(batch),):
            found = f"{values.dtype} of shape {list(values.shape)}" if is_tensor else type(values).__name__
            wanted = f"{len(batch)} graphs need a floating-point tensor of shape [{len(batch)}], one label for each"
            asked = "Select the labels with the same rows as the graphs, and convert whole numbers with .float()"
            raise ValueError(f"The labels '{name}' are {found}, but {wanted}. {asked}.")


def run_directory(
    name: str, model: GraphVAE, batch: DagBatch, targets: Labels, config: TrainConfig, start: Run | None = None
) -> Path:
    """The folder of a run: its name and a hash of configuration, code, training graphs, labels and where it started."""
    digest = hashlib.sha256(json.dumps(_description(model, config), sort_keys=True).encode())
    if start is not None:
        digest.update(start.directory.name.encode())
    digest.update(b"|".join(batch.keys()))  # whatever the padding
    for key, tensor in targets.items():
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return CHECKPOINTS / f"{name}-{digest.hexdigest()[:12]}"


def fit(
    model: GraphVAE, batch: DagBatch, targets: Labels, config: TrainConfig, directory: Path, device: str | None = None
) -> pd.DataFrame:
    """Train a model in place, or load it where the run in `directory` is complete; what is damaged there is made again.

    Args:
        directory: where checkpoints and `history.csv` go; see `run_directory`.
        device: `default_device()` if not given.

    Returns:
        One row an epoch: the terms averaged over the epoch, learning rate, seconds.

    Raises:
        CheckpointError: `directory` holds a checkpoint of another configuration or code.
        FloatingPointError: the loss is not finite; the last good checkpoint stays.
    """
    device = torch.device(device or default_device())
    model.to(device).train()
    # Once for all steps; a model of one's own may check its graphs where it likes, or not at all.
    batch = getattr(model, "_validated", lambda graphs: graphs)(batch)
    batch, targets = batch.to(device), {name: values.float().to(device) for name, values in targets.items()}
    optimizers, described, kept = _optimizers(model, config), _description(model), {*config.keep, config.epochs}
    state = directory / STATE, _description(model, config), {"model": model} | optimizers
    history = checkpoint.resume(
        *state,
        lambda rows: {_weights_file(directory, row["epoch"]): described for row in rows if row.get("epoch") in kept},
    )
    part = history.pop() if history and "step" in history[-1] else {}  # of an epoch that was cut off
    if len(history) == config.epochs:
        print(f"{directory.name}: loaded, {config.epochs} epochs trained before", file=sys.stderr)
        return pd.DataFrame(history)
    steps, saved = math.ceil(len(batch) / config.batch_size), time.monotonic()
    progress = Progress(f"{directory.name}, epochs", config.epochs, len(history) + part.get("step", 0) / steps)
    words = ""
    for epoch in range(len(history), config.epochs):
        started = time.monotonic() - part.get("seconds", 0.0)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout draws from the global one
            for step, sums, generators in _steps(model, optimizers, batch, targets, config, history, part):
                progress.update(epoch + step / steps, f"step {step}/{steps}  {words}")
                if step < steps and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                    part = {"step": step, "seconds": time.monotonic() - started}
                    part["sums"] = _finite(sums, epoch, directory, config)
                    part["generators"] = [generator.get_state().tolist() for generator in generators]
                    checkpoint.save(*state, [*history, part])
                    saved = time.monotonic()
        means = {name: value / len(batch) for name, value in _finite(sums, epoch, directory, config).items()}
        rate = optimizers["adamw"].param_groups[0]["lr"]
        history.append({"epoch": epoch + 1} | means | {"learning_rate": rate, "seconds": time.monotonic() - started})
        part, last = {}, epoch + 1 == config.epochs
        if epoch + 1 in kept:
            checkpoint.save(_weights_file(directory, epoch + 1), described, {"model": model})
        if last or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            checkpoint.save(*state, history)
            with atomic_write(directory / "history.csv") as temporary:
                pd.DataFrame(history).to_csv(temporary, index=False)
            saved = time.monotonic()
        words = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        progress.update(epoch + 1, words, now=last)
    return pd.DataFrame(history)


def _steps(
    model, optimizers, batch: DagBatch, targets: Labels, config: TrainConfig, history: list[dict], part: dict
) -> Iterator[tuple[int, Labels, list[torch.Generator]]]:
    """Train the epoch after those of `history`, or what `part` left of it: after each step its number, the sums of the
    terms and the generators. The epoch has a seed of its own, so it does not depend on where others were cut off."""
    epoch, device = len(history), batch.types.device
    torch.manual_seed(config.seed * 1_000_003 + epoch)
    generator = torch.Generator(device).manual_seed(config.seed * 1_000_003 + epoch)
    generators = [generator, torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index])
    order = torch.randperm(len(batch), generator=generator, device=device).split(config.batch_size)
    for one, state in zip(generators, part.get("generators", ())):
        one.set_state(torch.tensor(state, dtype=torch.uint8))
    rate = _plateau_rate(config, history) if config.schedule == "plateau" else config.learning_rate
    done, sums = part.get("step", 0), dict(part.get("sums", {}))
    for step, rows in enumerate(order[done:], done):
        if config.schedule == "one_cycle":
            rate = _one_cycle(config, (epoch * len(order) + step) / (config.epochs * len(order)))
        for group in (group for optimizer in optimizers.values() for group in optimizer.param_groups):
            group["lr"] = rate
        labels = {name: values[rows] for name, values in targets.items()}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
            terms = model.loss(batch[rows], **labels, generator=generator)
        model.zero_grad()
        terms["total"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        for optimizer in optimizers.values():
            optimizer.step()
        model.project()
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach() * len(rows)
        yield step + 1, sums, generators


def _finite(sums: dict[str, Tensor], epoch: int, directory: Path, config: TrainConfig) -> dict[str, float]:
    """The sums as numbers. Raises FloatingPointError where the loss is none."""
    if not math.isfinite(sums["total"]):
        found = f"The loss became {float(sums['total'])} in epoch {epoch + 1} of {directory.name}"
        asked = f"lower learning_rate (now {config.learning_rate}) or use fp32"
        raise FloatingPointError(f"{found}. The last good checkpoint is in {directory}; {asked}.")
    return {name: float(value) for name, value in sums.items()}


def _optimizers(model: nn.Module, config: TrainConfig) -> dict[str, Optimizer]:
    """AdamW; with "muon", Muon for the matrices beside it, its steps as large as AdamW's, so that the same rates suit.

    Muon (Jordan et al., 2024) moves a matrix along the orthogonal factor of its averaged gradient.
    """
    matrices, others = [], []
    for weights in model.parameters():
        large = weights.ndim == 2 and min(weights.shape) >= SMALLEST_MATRIX
        (matrices if large and config.optimizer == "muon" else others).append(weights)
    rates = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    optimizers: dict[str, Optimizer] = {"adamw": torch.optim.AdamW(others, fused=True, **rates)}
    if matrices:
        optimizers["muon"] = torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **rates)
    return optimizers


def _one_cycle(config: TrainConfig, done: float) -> float:
    """The rate after the share `done` of all steps: up in a straight line, down along half a cosine."""
    if done < config.warmup:
        return config.learning_rate * max(done / config.warmup, 1e-3)
    return config.learning_rate * (1 + math.cos(math.pi * (done - config.warmup) / (1 - config.warmup))) / 2


def _plateau_rate(config: TrainConfig, history: list[dict]) -> float:
    """The rate of the next epoch: a tenth after each 10 epochs in which the training loss did not fall (D-VAE)."""
    rate, best, waited = config.learning_rate, math.inf, 0
    for row in history:
        best, waited = (row["total"], 0) if row["total"] < best * (1 - 1e-4) else (best, waited + 1)
        if waited > 10:
            rate, waited = rate * 0.1, 0
    return rate


def _weights_file(directory: Path, epoch: int) -> Path:
    return directory / f"epoch-{epoch:04d}.safetensors"


def _description(model: nn.Module, config: TrainConfig | None = None) -> dict[str, Any]:
    """All that decides the result but the data, see `checkpoint.save`."""
    described = {"model": type(model).__name__, "config": dataclasses.asdict(model.config)}
    described["code"] = version_of(type(model), __name__)
    return described | ({"train": dataclasses.asdict(config)} if config else {})
