"""CoDeepNEAT in small, with the initialization of one's choice.

    python -m examples.search --scheme autoinit --seed 0
    python -m examples.search --ray ray://head:10001           # trained on a cluster

Blueprints, graphs whose nodes name a species of modules, evolve together with modules, graphs of
layers. A network is a blueprint with a module in each node; it is trained for some steps, and its
accuracy is the fitness of all that it was put together from (Miikkulainen et al. 2019; Bingham &
Miikkulainen 2021, table 1, whose ranges and chances are scaled to few generations). What was
trained is kept in a folder and not trained again; the same seed gives the same search. What comes
of each scheme: docs/search.md.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import multiprocessing
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from app.jobs.batch import get_ready

SCHEMES = {"default": None, "autoinit": "autoinit", "calibrated": "calibrated"}
BLUEPRINTS, MODULES, SPECIES = 5, 12, 3
NETWORKS = 6  # of a generation
ELITE = 0.4  # share of a species that lives on
STEPS, BATCH, HELD_OUT = 60, 50, 400
KEPT = Path("build/search")
INPUT, OUTPUT = 0, 1  # markings that all graphs have


@dataclass(frozen=True)
class Range:
    """A number that evolves, on a scale of logarithms if it says so."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, rng: random.Random) -> float:
        """Anywhere in the range."""
        if self.log:
            return math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return (
            rng.randint(int(self.low), int(self.high))
            if self.whole
            else rng.uniform(self.low, self.high)
        )

    def apart(self, one: float, other: float) -> float:
        """How far two values are from each other, 0 to 1."""
        scale = math.log if self.log else float
        return abs(scale(one) - scale(other)) / (scale(self.high) - scale(self.low))


@dataclass(frozen=True)
class Choice:
    """One of several values, of which some may stand there more than once."""

    values: tuple[Any, ...]

    def draw(self, rng: random.Random) -> Any:
        """Any of them."""
        return rng.choice(self.values)

    def apart(self, one: Any, other: Any) -> float:
        """Whether two are different."""
        return float(one != other)


Genes = Mapping[str, Any]
Hyperparameters = Mapping[str, Range | Choice]


@dataclass(frozen=True)
class Kind:
    """What a population consists of: what its nodes and the whole may be, and how often it mutates.

    The chances are twice those of table 1, as there are fewer generations.
    """

    node: Hyperparameters
    whole: Hyperparameters
    nodes: int  # that each begins with, in a chain
    new_node: float
    new_connection: float
    changed: float = 0.5


LAYER: Hyperparameters = {
    "layer": Choice(("Conv2D", "Conv2D", "Dropout", "MaxPooling2D")),
    "filters": Range(8, 24, whole=True),
    "size": Choice((1, 3)),
    "activation": Choice(("relu", "linear", "elu", "selu")),
    "initializer": Choice(("glorot_normal", "glorot_uniform", "he_normal", "he_uniform")),
    "decay": Range(1e-9, 1e-3, log=True),
    "dropout": Range(0.0, 0.7),
}
MODULE = Kind(LAYER, {}, nodes=2, new_node=0.16, new_connection=0.16)
BLUEPRINT = Kind(
    {"species": Choice(tuple(range(SPECIES)))},
    {"rate": Range(3e-4, 3e-2, log=True)},
    nodes=3,
    new_node=0.32,
    new_connection=0.24,
)


@dataclass(frozen=True, eq=False)
class Genome:
    """A graph without circles, from INPUT to OUTPUT; each is only like itself.

    Attributes:
        nodes: the hyperparameters of each, by its historical marking.
        edges: pairs of markings.
        whole: hyperparameters that are not of one node.
    """

    nodes: Mapping[int, Genes]
    edges: frozenset[tuple[int, int]]
    whole: Genes = field(default_factory=dict)

    def sources(self) -> dict[int, list[int]]:
        """What each node gets, from the first node to OUTPUT."""
        into = defaultdict[int, list[int]](list)
        for source, target in sorted(self.edges):
            into[target].append(source)
        return {node: into[node] for node in TopologicalSorter(into).static_order() if into[node]}


def _drawn(hyperparameters: Hyperparameters, rng: random.Random) -> Genes:
    return {name: each.draw(rng) for name, each in hyperparameters.items()}


class Population:
    """Genomes of a kind, in species of those that are alike.

    Args:
        kind: of what.
        size: how many.
        species: how many; none dies out, as blueprints name them.
        rng: where all chance is from.

    Attributes:
        species: the members of each, the first being the one it is known by.
    """

    def __init__(self, kind: Kind, size: int, species: int, rng: random.Random) -> None:
        self._kind, self._size, self._rng = kind, size, rng
        # The same novelty gets the same marking: by them genomes know what they have in common.
        self._markings: dict[tuple[tuple[int, int], int], int] = {}
        begun = Genome({}, frozenset({(INPUT, OUTPUT)}))
        chain = functools.reduce(lambda chain, _: self._with_node(chain), range(kind.nodes), begun)
        members = [
            replace(
                chain,
                nodes={marking: _drawn(kind.node, rng) for marking in chain.nodes},
                whole=_drawn(kind.whole, rng),
            )
            for _ in range(size)
        ]
        first = members[:1]
        while len(first) < species:  # those that are furthest from what is there
            others = [each for each in members if each not in first]
            first.append(max(others, key=lambda each: min(self.distance(each, f) for f in first)))
        self.species = [[each] for each in first]
        self._add(each for each in members if each not in first)

    def evolve(self, scores: Mapping[Genome, Sequence[float]]) -> None:
        """The next generation.

        Args:
            scores: of the networks that each genome was part of; one that was in none counts as
                the mean.
        """
        usual = fmean(score for each in scores.values() for score in each)
        fitness = {
            each: fmean(scores.get(each, [usual])) for members in self.species for each in members
        }
        ranked = [sorted(members, key=fitness.__getitem__)[::-1] for members in self.species]
        means = [fmean(fitness[each] for each in members) for members in ranked]
        self.species = [members[: max(round(ELITE * len(members)), 1)] for members in ranked]
        weights = means if any(means) else None  # nothing has learnt
        parents = self._rng.choices(ranked, weights, k=self._size - sum(map(len, self.species)))
        self._add(self._child(members, fitness) for members in parents)

    def distance(self, one: Genome, other: Genome) -> float:
        """Share of nodes and edges that only one has, and how far what both have is apart."""
        alone = len(one.nodes.keys() ^ other.nodes.keys()) + len(one.edges ^ other.edges)
        together = len(one.nodes.keys() | other.nodes.keys()) + len(one.edges | other.edges)
        apart = [
            each.apart(one.nodes[marking][name], other.nodes[marking][name])
            for marking in one.nodes.keys() & other.nodes.keys()
            for name, each in self._kind.node.items()
        ]
        return alone / together + fmean(apart or [0.0])

    def _add(self, genomes: Iterator[Genome]) -> None:
        """Puts each to those whose first, the fittest, is most like it."""
        first = [members[0] for members in self.species]
        for genome in genomes:
            near = [self.distance(genome, each) for each in first]
            self.species[near.index(min(near))].append(genome)

    def _child(self, members: Sequence[Genome], fitness: Mapping[Genome, float]) -> Genome:
        """Of two of the better half: the fitter one's graph, with matching nodes of either."""
        better = members[: math.ceil(len(members) / 2)]
        other, fitter = sorted(self._rng.choices(better, k=2), key=fitness.__getitem__)
        nodes = {
            marking: self._rng.choice((genes, other.nodes.get(marking, genes)))
            for marking, genes in fitter.nodes.items()
        }
        whole = self._rng.choice((fitter.whole, other.whole))
        return self._mutated(Genome(nodes, fitter.edges, whole))

    def _mutated(self, genome: Genome) -> Genome:
        kind, rng = self._kind, self._rng
        genome = replace(
            genome,
            nodes={marking: self._changed(g, kind.node) for marking, g in genome.nodes.items()},
            whole=self._changed(genome.whole, kind.whole),
        )
        if rng.random() < kind.new_node:
            genome = self._with_node(genome)
        if rng.random() < kind.new_connection:
            genome = self._with_connection(genome)
        return genome

    def _changed(self, genes: Genes, hyperparameters: Hyperparameters) -> Genes:
        if not genes or self._rng.random() >= self._kind.changed:
            return genes
        name = self._rng.choice(list(hyperparameters))
        return {**genes, name: hyperparameters[name].draw(self._rng)}

    def _with_node(self, genome: Genome) -> Genome:
        """A node in the middle of an edge."""
        source, target = edge = self._rng.choice(sorted(genome.edges))
        for time in itertools.count():  # how often a genome has had one in the middle of this edge
            marking = self._markings.setdefault((edge, time), len(self._markings) + 2)
            if marking not in genome.nodes:
                break
        return replace(
            genome,
            nodes={**genome.nodes, marking: _drawn(self._kind.node, self._rng)},
            edges=genome.edges - {edge} | {(source, marking), (marking, target)},
        )

    def _with_connection(self, genome: Genome) -> Genome:
        """An edge from a node to a later one, if there is one to be had."""
        pairs = set(itertools.combinations([INPUT, *genome.sources()], 2)) - genome.edges
        added = {self._rng.choice(sorted(pairs))} if pairs else set()
        return replace(genome, edges=genome.edges | added)


@dataclass(frozen=True)
class Network:
    """A blueprint, and the module of each species that it names."""

    blueprint: Genome
    modules: Mapping[int, Genome]

    def build(self) -> Any:
        """The Keras model: grey images of 8 × 8 pixels in, ten classes out."""
        import keras

        data = keras.Input((8, 8, 1))
        x = _wired(self.blueprint, data, lambda genes, x: self._module(genes["species"], x))
        x = keras.layers.Flatten()(x)
        return keras.Model(data, keras.layers.Dense(10, "softmax")(x))

    def described(self) -> list[Any]:
        """All that makes it what it is."""
        genomes = [self.blueprint, *self.modules.values()]
        parts = [[*sorted(each.nodes.items()), *sorted(each.edges), each.whole] for each in genomes]
        return [parts, list(self.modules)]

    def _module(self, species: int, x: Any) -> Any:
        return _wired(self.modules[species], x, _layer)


def _wired(genome: Genome, x: Any, place: Callable[[Genes, Any], Any]) -> Any:
    found = {INPUT: x}
    for marking, sources in genome.sources().items():
        x = _added([found[source] for source in sources])
        found[marking] = x if marking == OUTPUT else place(genome.nodes[marking], x)
    return found[OUTPUT]


def _added(tensors: Sequence[Any]) -> Any:
    """Their sum: large ones are pooled, narrow ones go through a convolution of size 1."""
    from keras import layers

    if len(tensors) == 1:
        return tensors[0]
    size, width = min(each.shape[1] for each in tensors), max(each.shape[-1] for each in tensors)
    alike = []
    for x in tensors:
        x = layers.MaxPooling2D(x.shape[1] // size)(x) if x.shape[1] > size else x
        alike.append(layers.Conv2D(width, 1)(x) if x.shape[-1] < width else x)
    return layers.Add()(alike)


def _layer(genes: Genes, x: Any) -> Any:
    from keras import layers, regularizers

    if genes["layer"] == "Dropout":
        return layers.Dropout(genes["dropout"])(x)
    if genes["layer"] == "MaxPooling2D":
        return layers.MaxPooling2D(2)(x) if x.shape[1] > 1 else x
    return layers.Conv2D(
        genes["filters"],
        genes["size"],
        padding="same",
        activation=genes["activation"],
        kernel_initializer=genes["initializer"],
        kernel_regularizer=regularizers.L2(genes["decay"]),
    )(x)


def digits(final: bool) -> Any:
    """Scikit-learn's digits: 997 to train by, 400 to choose by, and 400 to test by.

    Args:
        final: whether those to test by are judged, and all others trained by.
    """
    from sklearn.datasets import load_digits

    from probes.trials.tasks import LearningTask

    pixels, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    images = ((pixels - pixels.mean()) / pixels.std()).astype("float32").reshape(-1, 8, 8, 1)
    kept = order if final else order[:-HELD_OUT]
    loss = ("sparse_categorical_crossentropy",)
    data = (images[kept],), (classes[kept].astype("int32"),)
    return LearningTask(
        *data,
        losses=loss,
        counts=True,
        chance=math.log(10),
        least=0.0,
        largest_class=0.1,
        held_out=HELD_OUT,
        about="Digits.",
    )


def model_of(network: Network, scheme: str, seed: int) -> Any:
    """The Keras model with weights by a scheme, a key of `SCHEMES`."""
    import keras

    from autoinit import AutoInit

    keras.utils.set_random_seed(seed)
    model = network.build()
    if SCHEMES[scheme] is not None:
        AutoInit({"seed": seed}, scheme=SCHEMES[scheme]).initialize_model(model, in_place=True)
    return model


def trained(network: Network, scheme: str, seed: int, steps: int, final: bool = False) -> float:
    """Accuracy after so many steps, of samples that it was not trained on; 0 if it diverged.

    Args:
        network: what is trained.
        scheme: of its weights, a key of `SCHEMES`.
        seed: of weights, dropout and the samples' order.
        steps: of 50 samples each, by Adam.
        final: whether the samples to test by are judged; else those to choose by.
    """
    import keras

    from autoinit.reading import read_model
    from probes.trials.training import Trainer

    model = model_of(network, scheme, seed)
    graph = read_model(model, training=True)
    trainer = Trainer(model, graph, digits(final), keras.optimizers.Adam(), BATCH)
    _, diverged = trainer.train(network.blueprint.whole["rate"], range(steps), seed)
    score = trainer.judge()
    keras.utils.clear_session()
    return 0.0 if diverged or not math.isfinite(score.loss) else score.value


def networks_of(
    count: int, blueprints: Population, modules: Population, rng: random.Random
) -> Iterator[Network]:
    """A generation: the fittest blueprints come twice, and modules in turn."""
    uses = Counter[Genome]()
    for blueprint in itertools.islice(itertools.cycle(*blueprints.species), count):
        named = sorted({genes["species"] for genes in blueprint.nodes.values()})
        chosen = {
            name: min(modules.species[name], key=lambda each: (uses[each], rng.random()))
            for name in named
        }
        uses.update(chosen.values())
        yield Network(blueprint, chosen)


def search(
    seed: int,
    generations: int,
    scored: Callable[[Sequence[Network]], Sequence[float]],
    count: int = NETWORKS,
) -> Iterator[list[tuple[Network, float]]]:
    """The networks of each generation, with their fitness.

    Args:
        seed: of all chance in evolution.
        generations: how many.
        scored: gives the fitness of networks.
        count: of the networks in a generation.
    """
    rng = random.Random(seed)
    blueprints = Population(BLUEPRINT, BLUEPRINTS, 1, rng)
    modules = Population(MODULE, MODULES, SPECIES, rng)
    for _ in range(generations):
        networks = list(networks_of(count, blueprints, modules, rng))
        found = list(zip(networks, scored(networks), strict=True))
        scores = defaultdict[Genome, list[float]](list)
        for network, fitness in found:
            for genome in (network.blueprint, *network.modules.values()):
                scores[genome].append(fitness)
        yield found
        blueprints.evolve(scores)
        modules.evolve(scores)


class Trainings:
    """Trains networks somewhere, and none twice: what comes out is kept in a file.

    Args:
        executor: of `concurrent.futures`; None trains here.
        folder: for the file, to be deleted when `trained` is changed; None keeps nothing.
    """

    def __init__(self, executor: Executor | None, folder: Path | None) -> None:
        self._executor, self._file = executor, Path(os.devnull)
        self._known: dict[str, float] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = folder / "trained.jsonl"
            self._file.touch()
            lines = (line for line in self._file.read_text().splitlines() if line.endswith("]"))
            self._known |= map(json.loads, lines)

    def __call__(self, networks: Sequence[Network], **asked: Any) -> list[float]:
        """The accuracy of each network, trained as `trained` is asked to."""
        keys = [self._key(network, asked) for network in networks]
        unknown = {
            key: network
            for key, network in zip(keys, networks, strict=True)
            if key not in self._known
        }
        with self._file.open("a") as file:
            for key, accuracy in self._accuracies(unknown, asked):
                self._known[key] = accuracy
                # A line of its own, also where the last one was cut short.
                print("\n" + json.dumps([key, accuracy]), end="", file=file, flush=True)
        return [self._known[key] for key in keys]

    def _accuracies(
        self, networks: Mapping[str, Network], asked: Mapping[str, Any]
    ) -> Iterator[tuple[str, float]]:
        """Each as soon as it is there."""
        if self._executor is None:
            for key, network in networks.items():
                yield key, trained(network, **asked)
            return
        begun = {
            self._executor.submit(trained, network, **asked): key
            for key, network in networks.items()
        }
        for future in as_completed(begun):
            yield begun[future], future.result()

    @staticmethod
    def _key(network: Network, asked: Mapping[str, Any]) -> str:
        text = json.dumps([*network.described(), sorted(asked.items())])
        return sha256(text.encode()).hexdigest()[:16]


def main() -> None:
    """Search, tell of each generation, and of the best network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scheme", choices=SCHEMES, default="autoinit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generations", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2, help="processes on this machine")
    parser.add_argument("--ray", metavar="ADDRESS", help="of a cluster, or `local`")
    parser.add_argument("--folder", type=Path, default=KEPT, help="for what was trained")
    given = parser.parse_args()
    best: tuple[float, Network | None] = 0.0, None
    with executor_of(given.workers, given.ray) as executor:
        trainings = Trainings(executor, given.folder)
        scored = functools.partial(trainings, scheme=given.scheme, seed=given.seed, steps=STEPS)
        for number, found in enumerate(search(given.seed, given.generations, scored), 1):
            best = max(
                [best, *((fitness, network) for network, fitness in found)], key=itemgetter(0)
            )
            mean = fmean(fitness for _, fitness in found)
            print(f"generation {number}: best so far {best[0]:.3f}, mean {mean:.3f}", flush=True)
    if best[1] is not None:
        best[1].build().summary()


def executor_of(workers: int, ray: str | None = None) -> Executor:
    """Processes here that import Keras once, or those of a cluster."""
    if ray is None:
        spawned = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, spawned, get_ready, (1,))
    from app.jobs.ray import RayExecutor

    return RayExecutor(None if ray == "local" else ray)


if __name__ == "__main__":
    main()
