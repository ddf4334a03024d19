"""One training loop for every model: seeds, precision, schedule, history, checkpoints, resume.

A run lives in one folder, named after everything that decides its result. A run that was cut off goes on
from its last checkpoint and ends with the same weights, bit for bit on a CPU, because each epoch draws its
batches and noise from a seed of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
import time
from pathlib import Path

import pandas
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from latentnas.graphs import DagBatch
from latentnas.models.convex import project
from latentnas.paths import CHECKPOINTS, atomic_write

SCHEDULES = ("one_cycle", "plateau", "constant")
PRECISIONS = ("fp32", "bf16")
OPTIMIZERS = ("adamw", "muon")
SMALLEST_MATRIX = 16  # rows and columns that Muon asks for; embeddings of types and last layers have fewer
SECONDS_BETWEEN_CHECKPOINTS = 30.0
SECONDS_BETWEEN_LINES = 5.0


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
    precision: str = "bf16"  # of the products; weights and optimiser stay in fp32
    seed: int = 0
    keep: tuple[int, ...] = ()  # epochs after which the weights are kept besides the last

    def __post_init__(self) -> None:
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(known)}.")
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs={self.epochs} and batch_size={self.batch_size} must both be at least 1.")


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model with the record of its training."""

    model: nn.Module
    history: pandas.DataFrame  # one row an epoch, see fit
    directory: Path

    @property
    def seconds(self) -> float:
        """What the training took, whenever it was done."""
        return float(self.history["seconds"].sum())

    def at_epoch(self, epoch: int) -> nn.Module:
        """The model as it was after an epoch named in ``TrainConfig.keep``, in place of the trained one."""
        load_weights(self.model, self.directory / f"epoch-{epoch:04d}.safetensors")
        return self.model


def train_model(
    name: str,
    model_class: type[nn.Module],
    model_config,
    batch: DagBatch,
    targets: dict[str, Tensor],
    config: TrainConfig,
    start: Run | None = None,
) -> Run:
    """Build a model from the seed, scale its predictors to the labels and train it, or load it where that was done.

    Args:
        name: begins the name of the run's folder. model_class: called with ``model_config``.
        batch, targets, config: see :func:`fit`.
        start: a trained run whose weights this one begins with (fine-tuning). What its model lacks, such as a
            predictor, begins at random; what the new model lacks is an error of PyTorch.
    """
    torch.manual_seed(config.seed)
    model = model_class(model_config)
    if start is not None:
        model.load_state_dict(model.state_dict() | start.model.state_dict())
    model.calibrate(**targets)
    directory = run_directory(name, model, batch, targets, config, start)
    history = fit(model, batch, targets, config, directory)
    return Run(model.eval(), history, directory)


def run_directory(
    name: str,
    model: nn.Module,
    batch: DagBatch,
    targets: dict[str, Tensor],
    config: TrainConfig,
    start: Run | None = None,
) -> Path:
    """The folder of a run: its name and a hash of configuration, training graphs, labels and where it started."""
    digest = hashlib.sha256(_description(model, config).encode())
    if start is not None:
        digest.update(start.directory.name.encode())
    for tensor in (batch.types, batch.adjacency, *targets.values()):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return CHECKPOINTS / f"{name}-{digest.hexdigest()[:12]}"


def fit(
    model: nn.Module,
    batch: DagBatch,
    targets: dict[str, Tensor],
    config: TrainConfig,
    directory: Path,
    device: str | None = None,
) -> pandas.DataFrame:
    """Train ``model`` in place, or load it where the run in ``directory`` is complete.

    Args:
        model: has ``loss(batch, **targets, generator) -> {"total": ..., other terms}`` and a ``config``.
        batch: B training graphs. targets: labels ``[B]`` by the names of the arguments of ``model.loss``.
        directory: where checkpoints and ``history.csv`` go; see :func:`run_directory`.

    Returns:
        One row an epoch: the terms averaged over the epoch, learning rate, seconds.

    Raises:
        ValueError: ``directory`` holds a checkpoint of another configuration.
        FloatingPointError: the loss is not finite; the last good checkpoint stays.
    """
    device = device or default_device()
    model.to(device).train()
    batch, targets = batch.to(device), {name: values.float().to(device) for name, values in targets.items()}
    optimizers = _optimizers(model, config)
    steps = math.ceil(len(batch) / config.batch_size)
    history = _resume(model, optimizers, config, directory)
    if len(history) == config.epochs:
        print(f"{directory.name}: loaded, {config.epochs} epochs trained before", file=sys.stderr)
        return pandas.DataFrame(history)
    progress = _Progress(directory.name, config.epochs, len(history))
    saved = time.monotonic()
    for epoch in range(len(history), config.epochs):
        started = time.monotonic()
        generator = torch.Generator(device).manual_seed(config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(batch), generator=generator, device=device)
        sums: dict[str, Tensor] = {}
        for step, rows in enumerate(order.split(config.batch_size)):
            rate = _learning_rate(config, (epoch * steps + step) / (config.epochs * steps), history)
            terms = _step(model, optimizers, rate, batch, targets, rows, config, generator)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() * len(rows)
        means = {name: float(value) / len(batch) for name, value in sums.items()}
        if not math.isfinite(means["total"]):
            raise FloatingPointError(
                f"The loss became {means['total']} in epoch {epoch + 1} of {directory.name}. The last good "
                f"checkpoint is in {directory}; lower learning_rate (now {config.learning_rate}) or use fp32."
            )
        history.append({"epoch": epoch + 1} | means | {"learning_rate": rate, "seconds": time.monotonic() - started})
        last = epoch + 1 == config.epochs
        if epoch + 1 in config.keep or last:
            save_weights(model, directory / f"epoch-{epoch + 1:04d}.safetensors")
        if last or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            _save_state(model, optimizers, config, directory, history)
            saved = time.monotonic()
        progress.line(history[-1], last)
    return pandas.DataFrame(history)


def _optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW; with "muon", Muon for the matrices beside it, its steps as large as AdamW's, so that the same rates suit.

    Muon (Jordan et al., 2024) moves a matrix along the orthogonal factor of its averaged gradient.
    """
    matrices, others = [], []
    for weights in model.parameters():
        large = weights.ndim == 2 and min(weights.shape) >= SMALLEST_MATRIX
        (matrices if large and config.optimizer == "muon" else others).append(weights)
    rates = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    optimizers = [torch.optim.AdamW(others, fused=True, **rates)]
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **rates))
    return optimizers


def _step(model, optimizers, rate, batch, targets, rows, config, generator) -> dict[str, Tensor]:
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = rate
    with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
        terms = model.loss(batch[rows], **{name: values[rows] for name, values in targets.items()}, generator=generator)
    model.zero_grad()
    terms["total"].backward()
    nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    for optimizer in optimizers:
        optimizer.step()
    project(model)
    return terms


def _learning_rate(config: TrainConfig, done: float, history: list[dict]) -> float:
    """The rate after the share ``done`` of all steps; "plateau" looks at the training loss of past epochs."""
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "one_cycle":
        if done < config.warmup:
            return config.learning_rate * max(done / config.warmup, 1e-3)
        return config.learning_rate * (1 + math.cos(math.pi * (done - config.warmup) / (1 - config.warmup))) / 2
    rate, best, waited = config.learning_rate, math.inf, 0
    for row in history:
        best, waited = (row["total"], 0) if row["total"] < best * (1 - 1e-4) else (best, waited + 1)
        if waited > 10:
            rate, waited = rate * 0.1, 0
    return rate


def save_weights(model: nn.Module, path: Path) -> None:
    """The model's weights with its configuration beside them in the file's header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in _distinct_state(model).items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={"model": _description(model)})


def load_weights(model: nn.Module, path: Path) -> None:
    """Load what :func:`save_weights` wrote.

    Raises:
        ValueError: the file is of another configuration.
    """
    with safe_open(path, framework="pt") as file:
        _check(file.metadata().get("model"), _description(model), path)
        _load_tensors(model, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no dictionary)


def _save_state(model, optimizers, config, directory: Path, history: list[dict]) -> None:
    tensors = {f"model.{name}": value.contiguous() for name, value in _distinct_state(model).items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{name}": value for name, value in state.items()}
    metadata = {"run": _description(model, config), "history": json.dumps(history)}
    directory.mkdir(parents=True, exist_ok=True)
    with atomic_write(directory / "state.safetensors") as temporary:
        save_file(tensors, temporary, metadata=metadata)
    with atomic_write(directory / "history.csv") as temporary:
        pandas.DataFrame(history).to_csv(temporary, index=False)


def _resume(model, optimizers, config, directory: Path) -> list[dict]:
    path = directory / "state.safetensors"
    if not path.exists():
        return []
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        _check(metadata.get("run"), _description(model, config), path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dictionary)
    _load_tensors(model, {name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, index, key = name.split(".")
            states[int(number)].setdefault(int(index), {})[key] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return json.loads(metadata["history"])


def _distinct_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dictionary with shared modules written once (under the first of their names)."""
    names = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    return {name: value for name, value in model.state_dict().items() if name in names}


def _load_tensors(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = _distinct_state(model)
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name])


def _description(model: nn.Module, config: TrainConfig | None = None) -> str:
    described = {"model": type(model).__name__} | dataclasses.asdict(model.config)
    return json.dumps(described | ({"train": dataclasses.asdict(config)} if config else {}), sort_keys=True)


def _check(found: str | None, expected: str, path: Path) -> None:
    if found != expected:
        raise ValueError(
            f"The checkpoint {path} belongs to another configuration. It holds {found}, but {expected} was asked "
            "for. Delete the folder to train anew, or ask for the configuration it holds."
        )


class _Progress:
    """One line on stderr every few seconds: epoch, loss terms, time left."""

    def __init__(self, name: str, epochs: int, done: int) -> None:
        self.name, self.epochs, self.first = name, epochs, done
        self.started = self.printed = time.monotonic()

    def line(self, row: dict, last: bool) -> None:
        now = time.monotonic()
        if not last and now - self.printed < SECONDS_BETWEEN_LINES:
            return
        self.printed = now
        left = (now - self.started) / (row["epoch"] - self.first) * (self.epochs - row["epoch"])
        skip = {"epoch", "seconds", "learning_rate", "total"}
        terms = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name not in skip)
        print(
            f"{self.name}: epoch {row['epoch']}/{self.epochs}  {terms}  {left / 60:.1f} min left",
            file=sys.stderr,
            flush=True,
        )
