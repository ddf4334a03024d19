"""Small NGAE models that come with the project, so that a lesson starts without a training.

    python -m latentnas.measure.small      trains all of them anew on the bundled ENAS table, some minutes

"ngae" is the model of notebook 00. The others differ in `beta` alone, the weight of the KL term, at the noise of a
textbook's VAE: one keeps its codes, one loses some of them, one loses all (posterior collapse).
"""

from safetensors.torch import load_model, save_file

from latentnas import benchmarks, paths
from latentnas.benchmarks.download import bundled
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.train import TrainConfig, train_model

CONFIGS = {"ngae": NGAEConfig(hidden=64, latent=32)} | {
    f"beta-{beta}": NGAEConfig(hidden=32, latent=16, predictors="none", noise_scale=1.0, beta=beta)
    for beta in (0.01, 0.5, 1.0)
}
TRAINING = TrainConfig(epochs=8, batch_size=128, learning_rate=0.01, optimizer="muon")


def load_small(name: str) -> NGAE:
    """One of the `CONFIGS`, trained, in evaluation mode, on the CPU."""
    model = NGAE(CONFIGS[name])
    load_model(model, bundled(file_of(name)))  # which knows of second names of what is shared
    return model.eval()


def file_of(name: str) -> str:
    """Its file in `data/bundled`."""
    return f"small-{name}.safetensors"


def main() -> None:
    table = benchmarks.load("enas", "bundled")
    train, _ = table.split(0)
    labels = {"performance": table.accuracy[train], "complexity": table.complexity[train]}
    for name, config in CONFIGS.items():
        known = labels if config.predictors == "paper" else {}
        run = train_model(f"{name}-small", NGAE, config, table.batch[train], known, TRAINING, device="cpu")
        tensors = dict(run.model.named_parameters()) | dict(run.model.named_buffers())
        with paths.atomic_write(paths.BUNDLED / file_of(name)) as temporary:
            save_file({key: value.detach() for key, value in tensors.items()}, temporary)


if __name__ == "__main__":
    main()
