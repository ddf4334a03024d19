"""CR-LSO's search: gradient ascent of a concave accuracy in the latent space (Rao, Zhao, Liu, 2022,
https://arxiv.org/abs/2211.05950).

A random design is labelled and an autoencoder made from it; then in turns the convex network is refitted to all
labelled cells, the best of them step along the direction of its gradient, z <- z + m step sqrt(D) grad / |grad| of
1 - g(z) with m = 1, 2, ..., and what they decode to is asked for next. Letters: D latent size, S starts, M lengths of a
step, E convex networks.

`CRLSOSearchConfig()` is the method as the paper means it. With `direction="descent"` it steps *down* the predicted
accuracy, as the authors' code does (which also labels the first 300 cells of its table, not random ones: `initial` of
`run_many`). `ENSEMBLE` is our variant.
"""

import copy
import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentnas.evaluate import encode_all
from latentnas.graphs import DagBatch
from latentnas.interfaces import GraphVAE
from latentnas.models.convex import InputConvexNetwork, RefitConfig, refit
from latentnas.models.crlso import CRLSO, AccuracyPredictor, AccuracyPredictorConfig, CRLSOConfig
from latentnas.models.heads import LabelScale
from latentnas.search.base import RoundSearch
from latentnas.search.domains import Domain
from latentnas.settings import check_settings
from latentnas.train import TrainConfig, train_model

DIRECTIONS = {"ascent": 1.0, "descent": -1.0}
ROUNDS = 20  # of new noise, at most, to find the proposals of one refit
WIDER = 1.5  # factor on the noise after a round that led to nothing unknown


@dataclass(frozen=True)
class LatentSpace:
    """An autoencoder and codes of architectures: mu divided by `deviation`, its standard deviation over all of them.
    (The weak KL term leaves a spread that depends on how long was trained; the lengths of steps should not.)"""

    model: GraphVAE
    codes: Tensor | None  # [size, D], in the order of a table's rows; None: made on demand
    deviation: Tensor  # [D]
    pseudo_labels: Tensor | None = None  # of the cells it was trained on, where there were any
    seconds: float = 0.0  # that its trainings took, whenever that was

    def graphs(self, codes: Tensor) -> DagBatch:
        """The graphs that codes `[S, D]` decode to."""
        return self.model.decode(codes * self.deviation)

    def network(self) -> InputConvexNetwork:
        """A copy of the autoencoder's convex network that reads codes; ValueError where it has none."""
        if not getattr(self.model.config, "convexity_weight", 0):
            found = "Trained without the convexity regulariser, this autoencoder has no convex network to fine-tune"
            raise ValueError(f"{found}. Search with several members (ENSEMBLE), or set convexity_weight above 0.")
        network = copy.deepcopy(self.model.performance.network)
        with torch.no_grad():
            network.from_input *= self.deviation[:, None]
        return network


def embed(model: GraphVAE, graphs: DagBatch, listed: bool = True) -> LatentSpace:
    """The latent space of a trained model, from all graphs in the order of rows or, if not `listed`, typical ones."""
    mu = encode_all(model, graphs).cpu()
    deviation = mu.std(dim=0)
    deviation = deviation.where(deviation > 0, 1.0)  # of a dimension in which no code differs
    return LatentSpace(model.cpu(), mu / deviation if listed else None, deviation)


def learn_latent_space(
    rows: np.ndarray,
    values: np.ndarray,
    graphs: DagBatch,
    name: str,
    predictor_training: TrainConfig,
    training: TrainConfig,
    predictor_config: AccuracyPredictorConfig = AccuracyPredictorConfig(),
    config: CRLSOConfig = CRLSOConfig(),
    shown: np.ndarray | slice = slice(None),
) -> LatentSpace:
    """CR-LSO's two trainings: a predictor of accuracy from the labels, then the autoencoder with the convexity
    regulariser on cells with the predictor's pseudo-labels. What was trained before on the
    same is loaded; `name` begins its folder.

    Args:
        rows, values: the labelled cells and their accuracies `[n]`, of all `graphs` in the order of rows.
        shown: rows of the cells that the autoencoder is trained on; all of them in the paper.
    """
    labels = {"performance": torch.as_tensor(values, dtype=torch.float32)}
    known, trained_on = graphs[rows], graphs[shown]
    first = train_model(f"{name}-predictor", AccuracyPredictor, predictor_config, known, labels, predictor_training)
    predictor, parts = first.model.cpu(), torch.arange(len(trained_on)).split(4096)
    pseudo = torch.cat([predictor.predict(trained_on[part]) for part in parts])
    second = train_model(name, CRLSO, config, trained_on, {"performance": pseudo}, training)
    space = embed(second.model, graphs)
    return replace(space, pseudo_labels=pseudo, seconds=first.seconds + second.seconds)


@dataclass(frozen=True)
class CRLSOSearchConfig:
    """How the search moves. Noise and steps are in standard deviations of a coordinate of the codes: a step of length s
    moves all D of them by s in the root mean square, as noise of that size does.

    The defaults are the numbers of the authors' code but for the direction and the step (there 0.2 times the gradient,
    in units of a latent space whose spread is not stated, and raised without end). Notebook 07 chooses both on seeds of
    their own.
    """

    initial: int = 300  # random cells, labelled before the latent space is made
    direction: str = "ascent"  # of the predicted accuracy; "descent": the authors' code
    best: int = 10  # labelled cells that steps start from
    proposals: int = 10  # unknown cells asked for after each refit, at most
    start_noise: float = 0.5  # of each coordinate of a start
    starts: int = 1  # noisy copies of each labelled cell
    step: float = 0.025  # along the gradient, raised by as much until the cell is unknown
    max_steps: int = 100  # times that it is raised: as far as nearly all codes decode to another cell
    members: int = 1  # E; 1: the autoencoder's own convex network is fine-tuned; more: new ones are fitted
    layers: int = 4  # K, of new networks
    spread: float = 0.0  # standard deviations of the ensemble that count as one in ranking the proposals
    refit: RefitConfig = RefitConfig()

    def __post_init__(self) -> None:
        check_settings(self, {"direction": tuple(DIRECTIONS)}, above_zero=("step",))


# Ours, for autoencoders that saw no labels: Thompson sampling with ten shallow convex networks, best each in a space
# of its own. Chosen on one data set: ImageNet16-120 validation accuracy of NAS-Bench-201, by class, seeds 100 to 111,
# ten spaces: the best class in 12 of 12 runs, after a median of 94.5 queries. Five members: 12 and 121; five with four
# starts and a spread of 1: 12 and 156; five that share one space, likewise: 10 and 216.
FULL_BATCH = RefitConfig(epochs=80, batch_size=1000, learning_rate=0.01, latent_noise=0.1, label_noise=0.0)
ENSEMBLE = CRLSOSearchConfig(
    initial=10, proposals=5, starts=10, step=0.05, max_steps=25, members=10, layers=1, spread=0.5, refit=FULL_BATCH
)


def random_design(domain: Domain, seed: int, n: int, known: Collection[int] = ()) -> np.ndarray:
    """The `n` architectures, int64, that a search with this seed labels first, without those that are known."""
    unknown = (row for row in domain.shuffled(np.random.default_rng(seed)) if row not in known)
    return np.fromiter(itertools.islice(unknown, n), dtype=np.int64)


class CRLSOSearch(RoundSearch):
    """The search of this module. `learn` makes the latent spaces, one for all members or one for each, from the rows
    and values known after the initial design, such as `lambda *known: [learn_latent_space(*known, ...)]`, once.
    `design`: the seed of that design, if another than that of all else; so many runs can share a latent space."""

    def __init__(
        self,
        domain: Domain,
        seed: int,
        learn: Callable[[np.ndarray, np.ndarray], list[LatentSpace]],
        config: CRLSOSearchConfig = CRLSOSearchConfig(),
        design: int | None = None,
    ) -> None:
        super().__init__(domain, seed, config.initial)
        self._design = seed if design is None else design
        self.config, self._learn = config, learn
        self._spaces: list[LatentSpace] = []  # E, of each member
        self._generator = torch.Generator().manual_seed(seed)

    def _first(self, n: int) -> np.ndarray:
        return random_design(self.domain, self._design, n, self._values)

    def _round(self, rows: np.ndarray, values: np.ndarray) -> list[int]:
        if not self._spaces:
            self._spaces = self._learned(rows, values)
        network = self._refitted(rows, torch.from_numpy(values).float())
        start = rows[np.argsort(-values, kind="stable")[: self.config.best]]
        noise, found = self.config.start_noise, []
        for _ in range(ROUNDS):
            new = self._step(network, start, noise, found)
            found += new
            if len(found) >= self.config.proposals:
                break
            if not new:
                noise *= WIDER
        return self._ranked(network, found)[: self.config.proposals] if found else []

    def _learned(self, rows: np.ndarray, values: np.ndarray) -> list[LatentSpace]:
        spaces, members = self._learn(rows, values), self.config.members
        sizes = sorted({len(space.deviation) for space in spaces})
        if len(spaces) not in (1, members) or len(sizes) > 1:
            found = f"{len(spaces)} latent spaces for {members} convex networks, of {str(sizes)[1:-1]} dimensions"
            raise ValueError(f"{found}: give one space for all of them, or one for each, all of one latent size.")
        for count in {None if space.codes is None else len(space.codes) for space in spaces} - {self.domain.size}:
            found = f"The latent space has codes of {count} cells, but the domain has {self.domain.size} rows"
            raise ValueError(f"{found}. Embed all cells, in the order of rows, or none of a domain that is not listed.")
        if members == 1:
            self._network = spaces[0].network()  # fine-tuned ever further
        return spaces * (members // len(spaces))

    def _codes(self, rows: np.ndarray) -> Tensor:
        """The codes of rows in the space of each member, `[E, rows, D]`."""
        return torch.stack([self._codes_in(space, rows) for space in self._spaces])

    def _codes_in(self, space: LatentSpace, rows: np.ndarray) -> Tensor:
        if space.codes is not None:
            return space.codes[rows]
        return encode_all(space.model, self.domain.graphs(rows)) / space.deviation

    def _refitted(self, rows: np.ndarray, values: Tensor) -> InputConvexNetwork:
        """The convex network of the autoencoder, fitted a little more; or an ensemble from new weights."""
        codes, config = self._codes(rows), self.config
        if config.members == 1:
            network, targets = self._network, self._spaces[0].model.performance.standardise(values)
        else:
            sizes = {"layers": config.layers, "members": config.members}
            network = InputConvexNetwork(codes.shape[2], **sizes, generator=self._generator)
            targets = _upper(values)
        torch.set_flush_denormal(True)  # moments of Adam become that small, and slow down some processors 18 times
        try:
            refit(network, codes, targets, config.refit, self._generator)
        finally:
            torch.set_flush_denormal(False)
        return network

    def _step(self, network: InputConvexNetwork, start: np.ndarray, noise: float, taken: list[int]) -> list[int]:
        """The first row on the way of each start that is neither known nor taken; copies of a start climb
        networks of different members, each in its space."""
        copy, place = np.divmod(np.arange(self.config.starts * len(start)), len(start))  # [S]
        climber = (copy + place) % self.config.members
        drawn = noise * torch.randn(len(place), len(self._spaces[0].deviation), generator=self._generator)
        ways = np.empty((len(place), self.config.max_steps), dtype=np.int64)
        for member in np.unique(climber):
            mine = climber == member
            ways[mine] = self._ways(network, member, start[place[mine]], drawn[torch.from_numpy(mine)])
        seen, found = self._values.keys() | set(taken), []
        for way in ways.tolist():
            new = next((row for row in way if row >= 0 and row not in seen), None)
            if new is not None:
                found.append(new)
                seen.add(new)
        return found

    def _ways(self, network: InputConvexNetwork, member: int, start: np.ndarray, noise: Tensor) -> np.ndarray:
        """What steps of M lengths along a member's gradient, from the noisy codes of S rows, decode to: rows
        `[S, M]`, -1 for no cell."""
        space = self._spaces[member]
        origin = self._codes_in(space, start)
        noisy = (origin + noise).requires_grad_()
        with torch.enable_grad():
            [gradient] = torch.autograd.grad((1 - network(noisy)[member]).sum(), noisy)
        uphill = DIRECTIONS[self.config.direction] * F.normalize(gradient, dim=1)
        lengths = self.config.step * gradient.shape[1] ** 0.5 * torch.arange(1, self.config.max_steps + 1)[:, None]
        moves = (noisy.detach() - origin)[:, None] + lengths * uphill[:, None]  # [S, M, D]
        rows = self.domain.rows_of(space.graphs((origin[:, None] + moves).flatten(0, 1)))
        rows[rows >= 0] = self.domain.representative(rows[rows >= 0])
        return rows.reshape(moves.shape[:2])

    @torch.no_grad()
    def _ranked(self, network: InputConvexNetwork, rows: list[int]) -> list[int]:
        """The rows in the order of a draw from what the networks predict for them."""
        accuracy = 1 - network(self._codes(np.array(rows)))  # [E, rows]
        noise = torch.randn(len(rows), generator=self._generator)
        draw = accuracy.mean(dim=0) + self.config.spread * accuracy.std(dim=0, correction=0) * noise
        return [rows[place] for place in draw.argsort(descending=True).tolist()]


def _upper(values: Tensor) -> Tensor:
    """Labels `[n]` on the scale of their upper half, or zeros where they are alike: then there is nothing to learn."""
    if (values == values[0]).all():
        return torch.zeros_like(values)
    scale = LabelScale("upper")
    scale.calibrate(values)
    return scale.standardise(values)
