"""One training loop for every model: seeds, precision, schedule, history, checkpoints, resume.

A run lives in one folder, named after everything that decides its result. A run that was cut off goes on from its last
checkpoint, which may lie within an epoch, and ends with the same weights, bit for bit on the same CPU.

A step makes the host wait for nothing and copies nothing to the device: the graphs are checked once a training, and the
sums of the losses are read once an epoch. On a GPU a step of our models is recorded and replayed (see `replay`),
products in fp32 are taken in TF32, and operators are deterministic where PyTorch can: see `devices.prepare_device`.
"""

import copy
import dataclasses
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from latentnas import checkpoint
from latentnas.code import version_of
from latentnas.devices import computes_in_bf16, default_device, prepare_device
from latentnas.graphs import DagBatch
from latentnas.interfaces import GraphVAE
from latentnas.muon import Muon
from latentnas.paths import CHECKPOINTS, atomic_write
from latentnas.products import fast_fp32
from latentnas.progress import Progress
from latentnas.replay import Replay, Step
from latentnas.settings import check_settings, whole

Labels = dict[str, Tensor]  # `[B]` each, by the names of the arguments of `model.loss`
LEAST_FOR_BF16 = 300_000  # multiply-adds of B states [H] and a matrix; smaller ones save less time than casts take
SMALLEST_MATRIX = 16  # rows and columns that Muon asks for; embeddings of types and last layers have fewer
LARGE_MATRIX = 2**17  # entries; a model without one gains nothing from other fp32 products
SECONDS_BETWEEN_CHECKPOINTS = 30.0
WARMUP = 0.1  # share of the steps in which the learning rate rises
STATE = "state.safetensors"  # in a run's folder: weights, optimisers and history


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a model is trained."""

    epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 1e-3  # the peak of one cycle: up in the first tenth of the steps, then down to 0
    schedule: str = "one_cycle"  # or "constant"
    weight_decay: float = 0.0
    gradient_clip: float = 1.0  # largest norm of the gradient of the mean loss; a huge number clips nothing
    optimizer: str = "adamw"  # or "muon": Muon for the matrices, AdamW for the rest
    precision: str = "auto"  # of matrix products: "fp32", "bf16", or "auto", the faster one here; weights stay in fp32
    seed: int = 0
    keep: tuple[int, ...] = ()  # epochs after which the weights are kept besides the last

    def __post_init__(self) -> None:
        choices = {"schedule": ("one_cycle", "constant"), "optimizer": ("adamw", "muon")}
        choices |= {"precision": ("auto", "fp32", "bf16")}
        check_settings(self, choices, least={"seed": 0}, above_zero=("learning_rate", "gradient_clip"))
        if self.seed >= 2**31:
            raise ValueError(f"seed={self.seed} must be below 2**31.")
        if not isinstance(self.keep, Iterable):
            raise ValueError(f"keep={self.keep!r} must be a tuple of epochs.")
        object.__setattr__(self, "keep", tuple(whole("an epoch in keep", epoch) for epoch in self.keep))
        if max(self.keep, default=0) > self.epochs:
            raise ValueError(f"keep={self.keep} must name epochs up to the last, {self.epochs}.")


def _resolved(config: TrainConfig, model: nn.Module, device: str | torch.device | None = None) -> TrainConfig:
    """The configuration with the precision that "auto" stands for here; fp32 where the model names no `hidden` size.
    Runs are named by what was asked for, so that another processor loads them."""
    if config.precision != "auto":
        return config
    hidden = getattr(model.config, "hidden", 0)
    large = isinstance(hidden, int) and config.batch_size * hidden**2 >= LEAST_FOR_BF16
    in_bf16 = large and computes_in_bf16(device or default_device())
    return dataclasses.replace(config, precision="bf16" if in_bf16 else "fp32")


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model with the record of its training."""

    model: GraphVAE
    history: pd.DataFrame  # one row an epoch, see fit
    directory: Path
    # What the epochs took that an earlier call had trained: no part of what a class that names this run is.
    loaded_seconds: float = dataclasses.field(default=0.0, compare=False)

    @property
    def seconds(self) -> float:
        """What the training took, whenever it was done."""
        return float(self.history["seconds"].sum())

    def at_epoch(self, epoch: int) -> GraphVAE:
        """A model as this one was after an epoch named in `TrainConfig.keep`.

        Raises:
            ValueError: the weights of this epoch were not kept.
            CheckpointError: their file is damaged.
        """
        if not _weights_file(self.directory, epoch).exists():
            files = sorted(self.directory.glob("epoch-*.safetensors"))
            kept = ", ".join(str(int(path.stem.removeprefix("epoch-"))) for path in files) or "none"
            found = f"The weights after epoch {epoch} of {self.directory.name} were not kept, only those after {kept}"
            raise ValueError(f"{found}. Name the epoch in TrainConfig.keep and train again.")
        model = copy.deepcopy(self.model)
        checkpoint.load(_weights_file(self.directory, epoch), _description(model), {"model": model})
        return model


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
        batch: the graphs `[B]`. targets: for each name that the model's loss learns from a floating-point tensor `[B]`,
            such as `torch.tensor(numbers)`; {} where it learns from none. config: how. device: see `fit`.
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
    for key, tensor in sorted(targets.items()):
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())  # as it is trained on
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
        CheckpointError: `directory` holds a checkpoint of another configuration or code, or one that was made within an
            epoch on another kind of device.
        FloatingPointError: the loss is not finite; the last good checkpoint stays.
    """
    device = torch.device(device or default_device())
    asked, config = config, _resolved(config, model, device)
    prepare_device(device)
    model.to(device).train()
    # Once for all steps; a model of one's own may check its graphs where it likes, or not at all.
    batch = getattr(model, "_validated", lambda graphs: graphs)(batch)
    batch, targets = batch.to(device), {name: values.float().to(device) for name, values in targets.items()}
    generator = torch.Generator(batch.types.device)
    optimizers, described, kept = _optimizers(model, config), _description(model), {*config.keep, config.epochs}
    state = directory / STATE, _description(model, asked), {"model": model} | optimizers
    history = checkpoint.resume(
        *state,
        lambda rows: {_weights_file(directory, row["epoch"]): described for row in rows if row.get("epoch") in kept},
    )
    part = history.pop() if history and "step" in history[-1] else {}  # of an epoch that was cut off
    if part.get("device", device.type) != device.type:  # whose generators draw other numbers
        found = f"{directory.name} was cut off within epoch {len(history) + 1} on the device '{part['device']}'"
        asked = (
            f"Go on there (LATENTNAS_DEVICE={part['device']}), or delete {directory} to train anew on '{device.type}'"
        )
        raise checkpoint.CheckpointError(f"{found}. {asked}.")
    if len(history) == config.epochs:
        print(f"{directory.name}: loaded, {config.epochs} epochs trained before", file=sys.stderr)
        return pd.DataFrame(history)
    steps, saved = math.ceil(len(batch) / config.batch_size), time.monotonic()
    progress = Progress(f"{directory.name}, epochs", config.epochs, len(history) + part.get("step", 0) / steps)
    words, large = "", max(weights.numel() for weights in model.parameters()) >= LARGE_MATRIX
    step_on = _step(model, optimizers, batch, targets, config, generator)
    if device.type == "cuda" and _recordable(type(model)):
        step_on = Replay(step_on, config.batch_size, generator)
    for epoch in range(len(history), config.epochs):
        started = time.monotonic() - part.get("seconds", 0.0)
        random = torch.random.fork_rng([device] if device.type == "cuda" else [])  # dropout draws from the global one
        with random, fast_fp32(config.precision == "fp32" and large):
            for step, sums, generators in _epoch(step_on, optimizers, len(batch), config, generator, history, part):
                progress.update(epoch + step / steps, f"step {step}/{steps}  {words}")
                if step < steps and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                    part = {"step": step, "seconds": time.monotonic() - started, "device": device.type}
                    part["sums"] = _finite(sums, model, epoch, directory, config)
                    part["generators"] = [generator.get_state().tolist() for generator in generators]
                    checkpoint.save(*state, [*history, part])
                    saved = time.monotonic()
        means = {name: value / len(batch) for name, value in _finite(sums, model, epoch, directory, config).items()}
        rate = float(optimizers["adamw"].param_groups[0]["lr"])
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


def _step(
    model: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    batch: DagBatch,
    targets: Labels,
    config: TrainConfig,
    generator: torch.Generator,
) -> Step:
    """One step of the optimisers for the graphs in some rows `[B]`; the terms of their loss."""
    device, weights = batch.types.device, list(model.parameters())

    def step(rows: Tensor) -> Labels:
        labels = {name: values[rows] for name, values in targets.items()}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
            terms = model.loss(batch[rows], **labels, generator=generator)
        for weight in weights:
            weight.grad = None
        terms["total"].backward()
        nn.utils.clip_grad_norm_(weights, config.gradient_clip)
        for optimizer in optimizers.values():
            optimizer.step()
        model.project()
        return {name: value.detach() for name, value in terms.items()}

    return step


def _recordable(model_class: type) -> bool:
    """Whether a GPU may replay a step: of our models, and of a class that says so itself. One that inherits from ours
    may do other work in each step."""
    ours = model_class.__module__.partition(".")[0] == __name__.partition(".")[0]
    return getattr(model_class, "recordable", False) and (ours or "recordable" in vars(model_class))


def _epoch(
    step_on: Step,
    optimizers: Mapping[str, torch.optim.Optimizer],
    graphs: int,
    config: TrainConfig,
    generator: torch.Generator,
    history: list[dict],
    part: dict,
) -> Iterator[tuple[int, Labels, list[torch.Generator]]]:
    """Train the epoch after those of `history`, or what `part` left of it: after each step its number, the sums of the
    terms and the generators. The epoch has a seed of its own, so it does not depend on where others were cut off."""
    epoch, device = len(history), generator.device
    torch.manual_seed(config.seed * 1_000_003 + epoch)
    generator.manual_seed(config.seed * 1_000_003 + epoch)
    generators = [generator, torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index])
    order = torch.randperm(graphs, generator=generator, device=device).split(config.batch_size)
    for one, state in zip(generators, part.get("generators", ())):
        one.set_state(torch.tensor(state, dtype=torch.uint8))
    done, sums = part.get("step", 0), dict(part.get("sums", {}))
    for step, rows in enumerate(order[done:], done):
        if config.schedule == "one_cycle":
            share = (epoch * len(order) + step) / (config.epochs * len(order))
            for optimizer in optimizers.values():
                _set_rate(optimizer, config.learning_rate * _one_cycle(share))
        for name, value in step_on(rows).items():
            sums[name] = sums.get(name, 0) + value * len(rows)
        yield step + 1, sums, generators


def _set_rate(optimizer: Optimizer, rate: float) -> None:
    """In place where a recorded step reads it."""
    group = optimizer.param_groups[0]
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _finite(
    sums: dict[str, Tensor], model: nn.Module, epoch: int, directory: Path, config: TrainConfig
) -> dict[str, float]:
    """The sums as numbers. Raises FloatingPointError if the loss is NaN or infinite, or if a weight is, which the last
    step may have made so after its loss was computed."""
    bad = "" if math.isfinite(sums["total"]) else f"loss became {float(sums['total'])}"
    if not bad and not all(weights.isfinite().all() for weights in model.parameters()):
        bad = "weights became NaN or infinite, as by a root or a logarithm of 0 in the loss,"
    if bad:
        asked = f"lower learning_rate (now {config.learning_rate}) or use fp32"
        found = f"The {bad} in epoch {epoch + 1} of {directory.name}"
        kept = (
            f"The last good checkpoint is in {directory}"
            if (directory / STATE).exists()
            else "Nothing to go on from was saved"
        )
        raise FloatingPointError(f"{found}. {kept}; {asked}.")
    return {name: float(value) for name, value in sums.items()}


def _optimizers(model: nn.Module, config: TrainConfig) -> dict[str, Optimizer]:
    """AdamW; with "muon", Muon for the matrices beside it."""
    matrices, others = [], []
    for weights in model.parameters():
        large = weights.ndim == 2 and min(weights.shape) >= SMALLEST_MATRIX
        (matrices if large and config.optimizer == "muon" else others).append(weights)
    device = next(model.parameters()).device
    rate = torch.tensor(config.learning_rate, device=device) if device.type == "cuda" else config.learning_rate
    rates = {"lr": rate, "weight_decay": config.weight_decay}
    adamw = torch.optim.AdamW(others, fused=True, capturable=device.type == "cuda", **rates)
    optimizers: dict[str, Optimizer] = {"adamw": adamw}
    if matrices:
        optimizers["muon"] = Muon(matrices, **rates)
    return optimizers


def _one_cycle(done: float) -> float:
    """The learning rate after a share of all steps, 1 at its peak: up in a straight line, down along half a cosine."""
    return max(done / WARMUP, 1e-3) if done < WARMUP else (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP))) / 2


def _weights_file(directory: Path, epoch: int) -> Path:
    return directory / f"epoch-{epoch:04d}.safetensors"


def _description(model: nn.Module, config: TrainConfig | None = None) -> dict[str, Any]:
    """All that decides the result but the data, see `checkpoint.save`."""
    described = {"model": type(model).__name__, "config": dataclasses.asdict(model.config)}
    described["code"] = version_of(type(model), __name__)
    return described | ({"train": dataclasses.asdict(config)} if config else {})
