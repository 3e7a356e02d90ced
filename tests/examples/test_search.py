"""The architecture search: it evolves, is the same for the same seed, and trains nothing twice."""

import random
from collections import Counter
from itertools import chain

import keras
import numpy as np
import pytest

from examples import search
from examples.search import BLUEPRINT, INPUT, MODULE, OUTPUT, Genome, Network, Population


def filters(networks):
    """A fitness that takes no training: how many filters there are."""
    return [
        sum(
            network.modules[place["species"]].nodes[marking]["filters"]
            for place in network.blueprint.nodes.values()
            for marking in network.modules[place["species"]].nodes
        )
        / 1000
        for network in networks
    ]


def described(seed):
    found = search.search(seed, 12, filters)
    return [[(each.described(), fitness) for each, fitness in networks] for networks in found]


def test_the_same_seed_gives_the_same_search_and_the_fittest_increase():
    found = described(0)
    assert found == described(0)
    assert found != described(1)
    means = [np.mean([fitness for _, fitness in networks]) for networks in found]
    assert means[-1] > 1.5 * means[0]


def test_a_search_of_which_nothing_learns_goes_on():
    assert len(list(search.search(0, 3, lambda networks: [0.0] * len(networks)))) == 3


def test_graphs_grow_without_circles_and_each_node_gets_and_gives():
    rng = random.Random(0)
    population = Population(MODULE, 8, 3, rng)
    for _ in range(25):
        population.evolve({each: [rng.random()] for each in [*chain(*population.species)]})
    members = [*chain(*population.species)]
    assert len(members) == 8
    assert all(population.species), "blueprints name each species"
    assert max(len(each.nodes) for each in members) > 4
    for each in members:
        order = [INPUT, *each.sources()]
        assert sorted(order) == sorted([INPUT, OUTPUT, *each.nodes])
        assert order[-1] == OUTPUT
        assert all(order.index(source) < order.index(target) for source, target in each.edges)
        assert {source for source, _ in each.edges} == {INPUT, *each.nodes}


def test_species_are_of_those_that_are_alike():
    population = Population(BLUEPRINT, 5, 1, random.Random(0))
    one = population.species[0][0]
    assert population.distance(one, one) == 0
    fewer = Genome({}, frozenset({(INPUT, OUTPUT)}), one.whole)
    assert population.distance(one, fewer) == pytest.approx(1.0), "they have nothing in common"


CONVOLUTION = {
    "layer": "Conv2D", "filters": 8, "size": 3, "activation": "elu", "initializer": "he_normal",
    "decay": 1e-4, "dropout": 0.5,
}  # fmt: skip


def network():
    """A module of pooling and a convolution beside nothing, twice."""
    pooled = {**CONVOLUTION, "layer": "MaxPooling2D"}
    module = Genome(
        {2: pooled, 3: CONVOLUTION}, frozenset({(INPUT, 2), (2, 3), (3, OUTPUT), (INPUT, OUTPUT)})
    )
    blueprint = Genome(
        {2: {"species": 1}, 3: {"species": 1}},
        frozenset({(INPUT, 2), (2, 3), (3, OUTPUT)}),
        {"rate": 0.01},
    )
    return Network(blueprint, {1: module})


def test_a_network_adds_what_is_of_different_size_and_width():
    model = network().build()
    kinds = Counter(type(layer).__name__ for layer in model.layers)
    # Beside the two convolutions of genes one that widens the grey image.
    assert kinds["Conv2D"] == 3
    assert kinds["Add"] == 2
    assert kinds["MaxPooling2D"] == 4
    assert model.output_shape == (None, 10)
    evolved = [each for each in model.layers if getattr(each, "kernel_size", None) == (3, 3)]
    assert [each.kernel_initializer.mode for each in evolved] == ["fan_in", "fan_in"]


def test_what_was_trained_is_not_trained_again(tmp_path, monkeypatch):
    asked = {"scheme": "autoinit", "seed": 0, "steps": 20}
    (accuracy,) = search.Trainings(None, tmp_path)([network()], **asked)
    assert 0.3 < accuracy < 1
    with (tmp_path / "trained.jsonl").open("a") as file:
        file.write('\n["cut sho')
    monkeypatch.setattr(search, "trained", lambda network, **asked: 0.25)
    again = search.Trainings(None, tmp_path)
    assert again([network(), network()], **asked) == [accuracy, accuracy]
    other = {**asked, "seed": 1}
    assert again([network()], **other) == [0.25]
    monkeypatch.setattr(search, "trained", lambda network, **asked: 0.5)
    assert search.Trainings(None, tmp_path)([network()], **other) == [0.25]


def test_schemes_differ_in_weights_alone():
    keras.utils.set_random_seed(0)
    usual = search.model_of(network(), "default", 0)
    started = search.model_of(network(), "autoinit", 0)
    assert usual.count_params() == started.count_params()
    assert not np.allclose(usual.weights[0], started.weights[0])
