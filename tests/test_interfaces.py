"""The contracts: every member of the library keeps them, and a class that does not is told what is wrong."""

import itertools
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from latentnas import benchmarks, evaluate, train
from latentnas.benchmarks.base import Source, Table
from latentnas.graphs import DagBatch, equal, to_networkx
from latentnas.interfaces import GraphVAE, InterfaceError, check_benchmark, check_model, check_searcher, check_space
from latentnas.models.base import kl_divergence, reparameterize
from latentnas.models.crlso import CRLSO, CRLSOConfig
from latentnas.models.family import FAMILY, configure
from latentnas.models.ngae import NGAE, NGAEConfig
from latentnas.models.svge import SVGe, SVGeConfig
from latentnas.search.base import run
from latentnas.search.boosting import BoostingSearch
from latentnas.search.discrete import LocalSearch, RandomSearch, RegularisedEvolution, Reinforce
from latentnas.search.domains import SampledDomain, table_domain
from latentnas.search.ensemble import EnsembleConfig, EnsembleSearch
from latentnas.search.gaussian import GaussianConfig, GaussianSearch
from latentnas.spaces.enas import ENAS
from latentnas.spaces.nasbench101 import NASBENCH101
from latentnas.spaces.nasbench201 import NASBENCH201
from latentnas.spaces.nasbenchgraph import NASBENCHGRAPH
from pretend_device import DeviceTensor, pretended_device

# spaces


@pytest.mark.parametrize("space", [ENAS, NASBENCH201, NASBENCH101, NASBENCHGRAPH], ids=lambda space: space.name)
def test_spaces_keep_their_contract(space):
    check_space(space, seed=3)


@pytest.mark.parametrize("space", [ENAS, NASBENCH201, NASBENCH101, NASBENCHGRAPH], ids=lambda space: space.name)
def test_spaces_read_graphs_on_a_device(space):
    batch = space.sample(10, seed=0)
    with pretended_device() as device:
        moved = batch.to(device)
        for method in (space.contains, space.is_valid, space.flops, space.params):
            assert isinstance(method(moved), DeviceTensor) and torch.equal(method(moved).cpu(), method(batch))
        assert space.to_strings(moved) == space.to_strings(batch)
        assert np.array_equal(space.choices(moved), space.choices(batch))
        for found, expected in zip(space.neighbors(moved), space.neighbors(batch), strict=True):
            assert equal(found, expected).all()
        if hasattr(space, "index"):
            assert np.array_equal(space.index(moved), space.index(batch))


class Chains:
    """Chains of up to three operations, a or b: a space as small as one can be."""

    name = "chains"
    num_vertices, num_types = 5, 4
    type_names = ("input", "output", "a", "b")
    input_type, output_type = 0, 1
    texts = tuple("".join(text) for n in (1, 2, 3) for text in itertools.product("ab", repeat=n))
    size = len(texts)

    def to_batch(self, texts):
        counts = torch.tensor([len(text) + 2 for text in texts], dtype=torch.int64)
        types = torch.full((len(texts), 5), -1)
        for row, text in enumerate(texts):
            types[row, : len(text) + 2] = torch.tensor([0, *("ab".index(letter) + 2 for letter in text), 1])
        adjacency = torch.eye(5).roll(1, 1).triu().bool() & (torch.arange(5) < counts[:, None, None])
        return DagBatch(types, adjacency, counts)

    def to_strings(self, batch):
        rows = zip(batch.types.tolist(), batch.num_vertices.tolist())
        return ["".join("ab"[kind - 2] for kind in types[1 : count - 1]) for types, count in rows]

    def is_valid(self, batch):
        graphs = [to_networkx(batch, place) for place in range(len(batch))]
        chain = [list(graph.edges) == [(v, v + 1) for v in range(len(graph) - 1)] for graph in graphs]
        kinds = [[kind for _, kind in graph.nodes(data="type")] for graph in graphs]
        named = [types[:: len(types) - 1 or 1] == [0, 1] and set(types[1:-1]) <= {2, 3} for types in kinds]
        return torch.tensor(chain) & torch.tensor(named) & (batch.num_vertices > 2)

    def contains(self, batch):
        return Chains.is_valid(self, batch) & (batch.num_vertices <= 5)

    def sample(self, n, seed):
        return self.enumerate()[np.random.default_rng(seed).integers(0, self.size, n)]

    def neighbors(self, batch):
        flips = [
            [t[:i] + {"a": "b", "b": "a"}[t[i]] + t[i + 1 :] for i in range(len(t))] for t in self.to_strings(batch)
        ]
        return [self.to_batch(texts) for texts in flips]

    def choices(self, batch):
        return batch.pad_to(5).types[:, 1:4].clamp(min=0).numpy()

    def flops(self, batch):
        return (batch.types > 2).sum(1)

    def params(self, batch):
        return (batch.types == 2).sum(1)

    def enumerate(self):
        return self.to_batch(list(self.texts))

    def index(self, batch):
        rows, inside = np.full(len(batch), -1), self.contains(batch)
        rows[inside.numpy()] = [self.texts.index(text) for text in self.to_strings(batch[inside])]
        return rows


def test_a_space_of_ones_own_keeps_the_contract():
    check_space(Chains())


def broken(**members):
    """The space with some members replaced, or taken away where they are None."""
    whole = {name: value for name, value in vars(Chains).items() if not name.startswith("__")} | members
    return type("Mine", (), {name: value for name, value in whole.items() if value is not None})()


ONCE, COUNT = Chains(), itertools.count()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (broken(neighbors=None), "it lacks neighbors. Add .*Space asks for: neighbors is «For each graph"),
        (broken(flops=None, name=None), "it lacks name, flops"),
        (type("Mine", (Chains,), {}), r"it is a class. Give an instance: Mine\(...\)"),
        (broken(choices=5), "it lacks choices"),
        (type("Mine", (Chains,), {"params": None, "name": None})(), "it lacks name, params"),
        (broken(params=lambda self, b: 1 / 0), r"params fails or .*\(ZeroDivisionError: division by zero\).*«Train"),
        (broken(to_strings=lambda self, batch: None), "to_strings fails or gives what cannot be used .TypeError"),
        (broken(type_names=4), "type_names fails or gives what cannot be used .TypeError"),
        (broken(type_names=("input", "output")), "num_types is 4, but type_names has 2 names"),
        (broken(num_vertices=4), "gives graphs of 5 vertices .* num_vertices=4"),
        (broken(num_types=3, type_names=("input", "output", "a")), "types up to 3.* num_types=3 must hold"),
        (broken(size=13), r"enumerate\(\) gives 14 graphs instead of a DagBatch of 13"),
        (broken(input_type=1, output_type=0), r"begin with types \[0\] and end with \[1\]"),
        (broken(sample=lambda self, n, seed: ONCE.sample(n - 1, seed)), r"sample\(30, seed\) gives 29 graphs"),
        (broken(sample=lambda self, n, seed: ["ab"] * n), "gives list instead of a DagBatch of 30"),
        (broken(sample=lambda self, n, seed: ONCE.sample(n, np.random.randint(2**31))), "other architectures"),
        (broken(contains=lambda self, b: ONCE.contains(b)[:, None]), r"contains gives torch.bool of shape \[30, 1\]"),
        (broken(is_valid=lambda self, b: ONCE.is_valid(b).tolist() * 2), r"is_valid gives torch.bool of shape \[60\]"),
        (broken(contains=lambda self, b: b.num_vertices < 5), "contains refuses an architecture that sample drew"),
        (broken(contains=lambda self, b: torch.ones(len(b), dtype=torch.bool)), "contains accepts a graph of one"),
        (broken(contains=lambda self, b: ONCE.contains(b) & (b.max_vertices < 6)), "contains depends on padding"),
        (broken(to_strings=lambda self, b: ["a"] * len(b)), "to_batch does not read back"),
        (broken(flops=lambda self, b: b.num_vertices / 2), "flops gives torch.float32"),
        (broken(params=lambda self, b: b.types), r"params gives torch.int64 of shape \[30, 5\]"),
        (broken(choices=lambda self, b: b.types.numpy()), "choices gives int64 .* from 0"),
        (broken(neighbors=lambda self, b: ONCE.neighbors(b)[0]), "neighbors gives . answers for 5 graphs"),
        (broken(neighbors=lambda self, b: [["a"]] * len(b)), "neighbors gives list instead of a DagBatch"),
        (broken(neighbors=lambda self, b: [b[[i]] for i in range(len(b))]), "neighbors gives the graph itself"),
        (broken(index=lambda self, b: ONCE.index(b)[::-1]), "index does not find a sampled architecture"),
        (broken(index=lambda self, b: ONCE.index(b).clip(min=0)), "index gives a row for a graph that is not"),
        (broken(sample=lambda self, n, seed: ONCE.sample(n, 0)), "sample gives one architecture, or the same for each"),
        (broken(sample=lambda self, n, seed: ONCE.to_batch(["ab"] * n)), "sample gives one architecture, or the same"),
        (broken(flops=lambda self, b: torch.randint(0, 10**9, (len(b),))), "flops gives other numbers in a second"),
        (broken(flops=lambda self, b: ONCE.flops(b) + b.max_vertices), "flops depends on padding"),
        (broken(params=lambda self, b: (b.types < 3).sum(1)), "params depends on padding"),
        (broken(is_valid=lambda self, b: ONCE.is_valid(b) & (b.max_vertices < 6)), "is_valid depends on padding"),
        (broken(index=lambda self, b: ONCE.index(b) - (b.max_vertices > 5)), "index depends on padding"),
        (broken(enumerate=lambda self: ONCE.to_batch(list(ONCE.texts * 2)), size=28), "List each architecture once"),
        (broken(to_strings=lambda self, b: [text + "b" * (b.max_vertices > 5) for text in ONCE.to_strings(b)]),
         "to_strings depends on padding"),
        (broken(choices=lambda self, b: np.zeros((len(b), 3), dtype=np.int64)), "the same for two architectures"),
        (broken(choices=lambda self, b: ONCE.choices(b) + next(COUNT)), "choices gives others in a second"),
    ],
)  # fmt: skip
def test_a_space_that_breaks_the_contract_is_told_where(space, message):
    with pytest.raises(InterfaceError, match=f"^Mine does not keep its contract: .*{message}") as error:
        check_space(space)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize("space", [NASBENCH201, NASBENCH101, NASBENCHGRAPH], ids=lambda space: space.name)
def test_one_row_is_a_list_of_one(space):
    assert np.array_equal(space.neighbor_rows(5)[0], space.neighbor_rows([5])[0])


# benchmarks


@pytest.mark.parametrize("name", ["enas", "nasbench201"])
def test_bundled_tables_keep_their_contract(name):
    check_benchmark(benchmarks.load(name, "bundled"))


@pytest.mark.parametrize("name", ["enas", "nasbench101", "nasbench201"])
def test_public_tables_keep_their_contract(request, name):
    check_benchmark(request.getfixturevalue(name))


def chain_table(**members):
    """A table of chains with some members replaced, or taken away where they are None."""
    columns = {"valid": np.linspace(50, 90, ONCE.size), "test": np.linspace(92, 45, ONCE.size)}
    columns["valid"][5] = columns["test"][5] = np.nan  # not measured
    table = Table(ONCE, pd.DataFrame(columns), ("valid", "test"), Source("a test", {}))
    if not members:
        return table
    plain = {
        name: getattr(table, name) for name in ("space", "signals", "batch", "query", "labels", "optimum")
    } | members
    return type("Mine", (), {name: value for name, value in plain.items() if value is not None})()


WHOLE = chain_table()


def test_a_table_of_ones_own_keeps_the_contract():
    check_benchmark(WHOLE)
    found = WHOLE.query(ONCE.enumerate()[[4, 5, 13]])
    assert found["row"].tolist() == [4, -1, 13] and found["known"].tolist() == [True, False, True]
    assert WHOLE.optimum("valid") == 13 and WHOLE.optimum("test") == 0


def test_labels_are_float64_whatever_the_column_is():
    for kind in (np.float32, np.int64):
        table = replace(WHOLE, table=WHOLE.table.fillna(50).astype(kind))
        assert table.labels("valid").dtype == np.float64


def test_a_table_with_other_rows_or_columns_is_refused():
    shifted, few = WHOLE.table.set_axis(range(1, 15), axis=0), WHOLE.table[:-1]
    for options, words in (
        ({"table": shifted}, "numbered from 0 to 13 in the .* but its index is another one, of 14 rows"),
        ({"table": few}, "numbered from 0 to 13 in the .* but its index is another one, of 13 rows"),
        ({"signals": ("best",)}, "signals best"),
        ({"table": WHOLE.table.assign(test=101.0)}, "accuracies test .* not all percentages: that of row 0 is 101.0"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(WHOLE, **options)


def changed(**columns):
    """A query whose columns are changed."""
    return staticmethod(lambda batch: WHOLE.query(batch).assign(**columns))


def test_a_live_measurement_needs_no_rows():
    check_benchmark(chain_table(batch=None, labels=None, optimum=None))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (chain_table(query=None), "it lacks query. Add .*Benchmark asks for: query is «One line a graph"),
        (chain_table(signals=None, space=None), "it lacks space, signals"),
        (type(chain_table(query=None)), "it is a class. Give an instance"),
        (chain_table(query=staticmethod(lambda b: WHOLE.query(5))), "query fails or gives what cannot be used"),
        (chain_table(query=changed(test="high")), "query fails or gives what cannot be used .ValueError"),
        (chain_table(signals=("valid", "train")), "query of 31 graphs gives 31 lines, without train"),
        (chain_table(query=staticmethod(lambda b: WHOLE.query(b)[:-1])), "gives 30 lines"),
        (chain_table(query=staticmethod(lambda b: WHOLE.query(b).drop(columns="known"))), "without known"),
        (chain_table(query=changed(known=True)), "query knows a graph that is not in the space"),
        (chain_table(query=changed(test=50.0)), "not a percentage where known, or not NaN elsewhere"),
        (chain_table(query=changed(test=lambda frame: frame.test + 10)), "not a percentage where known"),
        (chain_table(query=changed(valid=lambda f: f.valid / 100, test=lambda f: f.test / 100)), "not fractions"),
        (chain_table(query=changed(test=lambda f: f.test / 100)), "'test' are at most.*not fractions"),
        (chain_table(query=lambda self, batch: None), "query gives NoneType"),
        (chain_table(query=changed(valid=lambda f: f.valid + np.random.rand(len(f)))), "in another order"),
        (chain_table(signals="valid"), "signals is 'valid'"),
        (chain_table(labels=staticmethod(lambda s: WHOLE.labels(s)[1:])), r"has shape \[13\].* 14 graphs"),
        (chain_table(labels=staticmethod(lambda s: WHOLE.table)), r"labels\('valid'\) has shape \[14, 2\]"),
        (chain_table(labels=staticmethod(lambda s: WHOLE.labels(s)[::-1])), "is row 13, which is not the best"),
        (chain_table(optimum=staticmethod(lambda s: 3)), r"optimum\('valid'\) is row 3, which is not the best"),
        (chain_table(batch=WHOLE.batch[1:]), "but batch has 13 graphs"),
        (chain_table(batch=WHOLE.batch[torch.arange(13, -1, -1)]), r"query and labels\('valid'\) differ"),
        (chain_table(query=staticmethod(lambda b: WHOLE.query(b).assign(test=lambda f: f.test - b.max_vertices))),
         "query depends on padding"),
        (chain_table(labels=staticmethod(lambda s: np.append(WHOLE.labels(s)[:-1], -1))), r"has \[-1.\]. Give percent"),
        (chain_table(labels=staticmethod(lambda s: np.append(np.inf, WHOLE.labels(s)[1:]))), r"has \[inf\]"),
        (chain_table(labels=staticmethod(lambda s: WHOLE.labels(s) - (np.arange(14) == 9))), "for the same rows"),
        (chain_table(labels=staticmethod(lambda s: WHOLE.labels(s) * np.nan)), "has no number at all"),
        (chain_table(optimum=staticmethod(lambda s: -1)), "is row -1 of 14. Count rows from 0"),
    ],
)  # fmt: skip
def test_a_benchmark_that_breaks_the_contract_is_told_where(table, message):
    with pytest.raises(InterfaceError, match=f"^Mine does not keep its contract: .*{message}") as error:
        check_benchmark(table)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


# models

PERCENT, COMPLEXITY = torch.linspace(70, 90, 12), torch.linspace(0, 1, 12)


@pytest.mark.parametrize("space", [ENAS, NASBENCH201, NASBENCH101, NASBENCHGRAPH], ids=lambda space: space.name)
@pytest.mark.parametrize("name", FAMILY)
def test_models_of_the_family_keep_their_contract(name, space):
    torch.manual_seed(0)
    model_class, config = configure(name, space, hidden=16, svge_hidden=16, latent=8)
    check_model(model_class(config), space.sample(12, seed=0))


@pytest.mark.parametrize("name", ["S-VAE", "GraphRNN", "GCN"])
def test_baselines_as_d_vae_released_them_keep_the_contract(name):
    model_class, config = configure(name, NASBENCH101, hidden=16, svge_hidden=16, latent=8)
    check_model(model_class(replace(config, released=True)), NASBENCH101.sample(12, seed=0))


@pytest.mark.parametrize("predictors", ["paper", "released", "convex"])
def test_ngae_keeps_its_contract(predictors):
    model = NGAE(NGAEConfig(hidden=16, latent=8, predictors=predictors))
    check_model(model, ENAS.sample(12, seed=0), performance=PERCENT, complexity=COMPLEXITY)


def test_other_models_with_labels_keep_their_contract():
    svge = SVGe(SVGeConfig(hidden=16, latent=8, predictor=True))
    check_model(svge, ENAS.sample(12, seed=0), performance=PERCENT)
    for space in (NASBENCH101, NASBENCH201):
        crlso = CRLSO(CRLSOConfig(space=space.name, hidden=16, latent=8, convex_hidden=8))
        with torch.no_grad():
            crlso.decoder[-1].bias[5:42:6] += 3  # few vertices in NAS-Bench-101: equal graphs of different decisions
        check_model(crlso, space.sample(12, seed=0), performance=PERCENT)


@dataclass(frozen=True)
class BagConfig:
    """Of the space of chains."""

    num_vertices: int = 5
    num_types: int = 4
    latent: int = 3


class Bag(GraphVAE):
    """Reads how many vertices of each type there are and writes a chain: a model as small as one can be."""

    def __init__(self, config=BagConfig()):
        super().__init__()
        self.config = config
        self.posterior = nn.Linear(config.num_types, 2 * config.latent)
        self.types = nn.Linear(config.latent, config.num_vertices * config.num_types)

    def encode(self, batch):
        return self.posterior(batch.one_hot(self.config.num_types).float().sum(1)).chunk(2, dim=1)

    def logits(self, z):
        return self.types(z).unflatten(1, (self.config.num_vertices, -1))

    def decode(self, z):
        types = self.logits(z).argmax(2)
        adjacency = torch.eye(types.shape[1]).roll(1, 1).triu(1).bool().repeat(len(z), 1, 1)
        return DagBatch(types, adjacency, torch.full((len(z),), types.shape[1]))

    def sample_decodes(self, z, trials, generator):
        rows = torch.arange(len(z))
        return self.decode(z), rows, torch.full_like(rows, trials)

    def loss(self, batch, generator=None):
        mu, logvar = self.encode(batch)
        logits = self.logits(reparameterize(mu, logvar, 0.01, generator))
        types = batch.pad_to(self.config.num_vertices).types
        terms = {"types": F.cross_entropy(logits.flatten(0, 1), types.flatten(), ignore_index=-1)}
        return {"total": terms["types"] + 0.005 * kl_divergence(mu, logvar).mean()} | terms


def test_a_model_of_ones_own_keeps_the_contract_trains_and_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINTS", tmp_path)
    check_model(Bag(), ONCE.enumerate())
    batch = ONCE.enumerate()[8:]
    config = train.TrainConfig(epochs=300, batch_size=6, learning_rate=0.05, precision="fp32")
    run = train.train_model("bag", Bag, BagConfig(), batch, {}, config)
    assert run.history["total"].iloc[-1] < run.history["total"].iloc[0] / 2
    assert set(evaluate.prior_quality(run.model, ONCE, batch, points=5).values()) <= {*np.linspace(0, 100, 51)}


def worse(**members):
    """The model with some members replaced."""
    return type("Mine", (Bag,), members)


def misshapen(self, batch):
    return Bag.encode(self, batch)[0][:, :2], Bag.encode(self, batch)[1]


def one_by_one(self, z, trials, generator):
    rows = torch.arange(len(z)).repeat_interleave(trials)
    return self.decode(z[rows]), rows, torch.ones_like(rows)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (type("Mine", (nn.Module,), {})(), "it is no GraphVAE. Derive it from latentnas.interfaces.GraphVAE"),
        (type("Mine", (GraphVAE,), {}), "it is no GraphVAE. Derive it .* and give an instance"),
        (type("Mine", (GraphVAE,), {})(), "config.num_vertices is missing"),
        (worse(encode=lambda self, b: None)(), "encode fails or gives what cannot be used .TypeError"),
        (worse(loss=lambda self, b: {})(), "loss fails .*unexpected keyword argument 'generator'.*«`total`, the"),
        (worse(decode=lambda self, z: self.nothing)(), "decode fails .*AttributeError"),
        (worse(sample_decodes=lambda self, z, n, g: self.decode(z))(), "sample_decodes fails .*TypeError"),
        (worse(loss=lambda self, b, generator: {"total": len(b) * Bag.loss(self, b, generator)["total"]})(),
         "where each graph comes twice. Let it be a mean over the graphs"),
        (worse(sample_decodes=lambda self, z, n, g: Bag.sample_decodes(self, z, 7, g))(), "do not sum to `trials`"),
        (worse(sample_decodes=lambda self, z, n, g: Bag.sample_decodes(self, torch.zeros(14, 3), n, g))(), "`trials`"),
        (worse(sample_decodes=one_by_one)(), "gives a graph of a point twice.*Count equal ones"),
        (worse(encode=lambda self, b: (Bag.encode(self, b)[0], Bag.encode(self, b)[1] / 0))(), "encode gives a NaN or"),
        (worse(loss=lambda self, b, generator: Bag.loss(self, b, generator) | {"x": 1})(), "no scalar .* as 'x'"),
        (worse(loss=lambda self, b, generator: {"total": 0 * Bag.loss(self, b, generator)["total"]})(), "is 0 every"),
        (worse(loss=lambda self, b, generator: {"total": (0 * Bag.loss(self, b, generator)["total"]).sqrt()})(),
         "gradient of total is NaN"),
        (worse(loss=lambda self, b, generator: Bag.loss(self, b))(), "loss depends on more than its generator"),
        (worse(project=lambda self: self.nothing)(), "project fails .*AttributeError"),
        (worse(decode=lambda self, z: Bag.decode(self, z + 9 * torch.randn_like(z)))(), "decode differs between two"),
        (worse(sample_decodes=lambda self, z, n, g: Bag.sample_decodes(self, z + 9 * torch.randn_like(z), n, g))(),
         "sample_decodes gives other decodes for one seed"),
    ],
)  # fmt: skip
def test_a_model_that_breaks_the_contract_is_told_where(model, message):
    with pytest.raises(InterfaceError, match=f"^Mine does not keep its contract: .*{message}") as error:
        check_model(model, ONCE.enumerate())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*FAMILY, "CR-LSO"])
def test_points_that_are_none_and_no_decodes_are_refused(name):
    model = CRLSO(CRLSOConfig(space="nasbench201", hidden=8, latent=4, convex_hidden=4))
    if name != "CR-LSO":
        model_class, config = configure(name, NASBENCH201, hidden=8, svge_hidden=8, latent=4)
        model = model_class(config)
    z = model.encode(NASBENCH201.sample(3, 0))[0].detach()
    draw = torch.Generator().manual_seed(0)
    for spoiled in (z / 0, z * torch.nan):
        for decode in (model.decode, lambda z: model.sample_decodes(z, 2, draw)):
            with pytest.raises(ValueError, match="NaN"):
                decode(spoiled)
    for points in (z[0], z[:, :2], z[None], torch.zeros(0)):
        for decode in (model.decode, lambda z: model.sample_decodes(z, 2, draw)):
            with pytest.raises(ValueError, match=rf"shape \[B, {z.shape[1]}\], not \[.*; one point is z\[i") as error:
                decode(points)
            assert "\n" not in str(error.value)
    for trials in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match=f"trials={trials} must be a whole number, at least 1"):
            model.sample_decodes(z, trials, draw)
    assert model.sample_decodes(z, np.int64(2), draw)[2].sum() == 6  # one of NumPy's is a whole number, too


def test_weights_of_nan_are_told_by_a_decoder_and_do_not_draw_for_ever():
    model_class, config = configure("D-VAE", NASBENCH201, hidden=8, svge_hidden=8, latent=4)
    model = model_class(config).requires_grad_(False)
    model.decoder.edge_head[2].bias.fill_(torch.nan)
    for decode in (model.decode, lambda z: model.sample_decodes(z, 2, torch.Generator())):
        with pytest.raises(ValueError, match="the weights have NaN"):
            decode(torch.zeros(2, 4))


def test_labels_that_no_model_could_take_are_named():
    batch = ENAS.sample(12, seed=0)
    for labels, words in (
        (PERCENT.long(), "int64 of shape .12."),
        (PERCENT[:, None], "shape .12, 1."),
        ([1.0], "list"),
    ):
        with pytest.raises(
            InterfaceError, match=f"The labels 'performance' are .*{words}.* a float tensor .12."
        ) as error:
            check_model(Bag(), batch, performance=labels)
        assert "Bag" not in str(error.value)


# searchers


SEARCHERS = [
    RandomSearch,
    BoostingSearch,
    partial(RegularisedEvolution, population=6, tournament=2),
    LocalSearch,
    Reinforce,
    partial(EnsembleSearch, config=EnsembleConfig(initial=6, hidden=4, steps=5)),
    partial(GaussianSearch, config=GaussianConfig(initial=10, refit=30, iterations=3)),
]


@pytest.mark.slow
@pytest.mark.parametrize("make", SEARCHERS)
@pytest.mark.parametrize(
    "domain", [table_domain(NASBENCH201, "class"), SampledDomain(ENAS, typical=50)], ids=["table", "sampled"]
)
def test_searchers_keep_their_contract(make, domain):
    check_searcher(make, domain, queries=15)


class Drawn:
    """A searcher as small as one can be: rows drawn uniformly, with replacement."""

    def __init__(self, domain, seed):
        self.domain, self.seed = domain, seed
        self.random = np.random.default_rng(seed)

    def ask(self, n):
        return np.array([self.domain.sample(self.random.integers) for _ in range(n)])

    def tell(self, rows, values):
        pass


class Unseeded(Drawn):
    def __init__(self, domain, seed):
        super().__init__(domain, seed)
        self.random = np.random.default_rng()


class Deaf(Drawn):
    tell = property()  # as good as none


@pytest.mark.parametrize(
    "domain", [table_domain(NASBENCH201), SampledDomain(ENAS, typical=5)], ids=["table", "sampled"]
)
def test_a_searcher_of_ones_own_is_checked_and_runs(domain):
    check_searcher(Drawn, domain)
    assert len(run(Drawn(domain, 0), lambda rows: np.cos(rows), 20)) == 20
    ask = Drawn.ask
    for name, member, problem in [
        ("Greedy", lambda self, n: ask(self, n + 1), r"Greedy .*ask\(1\) gives int64 of shape \[2\].*at most n rows"),
        ("Floating", lambda self, n: ask(self, n) / 2, r"ask\(1\) gives float64 of shape \[1\]"),
        ("Outside", lambda self, n: ask(self, n) - 2**62, "ask gives row -?[0-9]+, but rows are .*Propose rows of"),
        ("Silent", lambda self, n: ask(self, 0), "ask proposes nothing.*at least one row"),
        ("Flat", lambda self, n: ask(self, n)[None], r"ask\(1\) gives int64 of shape \[1, 1\]"),
        ("Stuck", lambda self, n: self.domain.reference[:1], "Stuck .*of 30 rows .* the last 15 are all known"),
        ("Failing", lambda self, n: ask(self, None - n), "Failing .*ask fails .*TypeError.*«At most `n` rows"),
        ("Nothing", lambda self, n: None, r"ask\(1\) gives object of shape \[\]"),
    ]:
        with pytest.raises(InterfaceError, match=problem):
            check_searcher(type(name, (Drawn,), {"ask": member}), domain)
    with pytest.raises(InterfaceError, match="making one fails .*missing 1 required positional argument"):
        check_searcher(lambda domain, seed: Drawn(domain), domain)
    with pytest.raises(InterfaceError, match="Drawn .*it is a class. Give an instance"):
        check_searcher(lambda domain, seed: Drawn, domain)
    with pytest.raises(InterfaceError, match="Unseeded .*same seed ask for other rows.*default_rng"):
        check_searcher(Unseeded, domain)
    with pytest.raises(InterfaceError, match="Drawn .*its seed is 1, not the 0 it was given"):
        check_searcher(lambda domain, seed: Drawn(domain, seed + 1), domain)
    with pytest.raises(InterfaceError, match="Deaf .*lacks tell.*tell is «Values"):
        check_searcher(Deaf, domain)
