import logging
import sys
from pathlib import Path

import keras
import pytest
from keras import layers

from autoinit import LayerOutputDistributionEstimator, rules
from autoinit.errors import EstimatorError, RuleError
from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model
from autoinit.rules.estimators import as_rules
from autoinit.rules.registry import Registration, Registry, Support
from tests.autoinit.closed import Closed


class Custom(Closed):
    """Has no rule, and cannot be opened."""


def halved(call, inputs, context):
    return inputs[0].affine(0.5, 0.0)


def test_registering_a_class_twice_is_an_error():
    registry = Registry()
    registry.register(layers.ReLU)(halved)
    with pytest.raises(ValueError, match="ReLU has a rule already"):
        registry.register(layers.Dense, layers.ReLU)(halved)


def test_a_rule_is_found_for_subclasses_that_keep_call():
    registry = Registry()
    registry.register(layers.ReLU, support=Support.APPROXIMATE)(halved)
    kept = type("Kept", (layers.ReLU,), {})
    changed = type("Changed", (layers.ReLU,), {"call": lambda self, inputs: inputs})
    assert registry.find(kept()) == Registration(halved, Support.APPROXIMATE)
    assert registry.find(changed()) is None
    assert registry.find(layers.ELU()) is None


def test_overriding_leaves_the_original_table_alone():
    registry = Registry()
    registry.register(layers.ReLU)(halved)
    other = Registration(lambda call, inputs, context: inputs[0], Support.EXACT)
    copy = registry.overridden({layers.ReLU: other, Custom: other})
    assert copy.find(layers.ReLU()) is other
    assert copy.find(Custom()) is other
    assert registry.find(layers.ReLU()).rule is halved
    assert list(registry.classes()) == [layers.ReLU]


def test_support_is_the_registrations_unless_the_rule_says_otherwise():
    model = keras.Sequential([keras.Input((3,)), Custom()])
    graph = read_model(model)
    registry = Registry()
    registry.register(Custom, support=Support.SAMPLED)(halved)
    outcome = predict(graph, input_signals(graph), registry=registry).results[-1]
    assert outcome.support is Support.SAMPLED
    assert outcome.signals[0].variance == 0.25


def test_an_unknown_layer_is_warned_of_once_however_often_it_is_used(caplog):
    custom = Custom(name="custom")
    model = keras.Sequential(
        [keras.Input((3,)), custom, layers.ReLU(), Custom(name="another")], name="inner"
    )
    data = keras.Input((3,))
    graph = read_model(keras.Model(data, custom(model(data))))
    with caplog.at_level(logging.WARNING):
        result = predict(graph, input_signals(graph))
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert {record.name for record in warnings} == {"root"}
    assert [record.getMessage() for record in warnings] == [
        "No LayerOutputDistributionEstimator found for layer Custom. "
        "Using the default PassThroughOutputDistributionEstimator instead."
    ] * 2
    assert [finding.path for finding in result.findings] == [
        "inner/custom",
        "inner/another",
        "custom",
    ]


@pytest.mark.parametrize("folder", ["layers", "operations"])
def test_every_file_in_the_folders_of_rules_is_found(folder):
    files = (Path(rules.__file__).parent / folder).glob("*.py")
    names = {f"autoinit.rules.{folder}.{file.stem}" for file in files if file.stem != "__init__"}
    assert names
    assert names <= set(sys.modules)


class Single(LayerOutputDistributionEstimator):
    def estimate(self, means_in, vars_in):
        return vars_in[0]


class Negative(LayerOutputDistributionEstimator):
    def estimate(self, means_in, vars_in):
        return means_in[0], -vars_in[0]


class Careless(LayerOutputDistributionEstimator):
    def estimate(self, means_in, vars_in):
        return means_in[0], max([])


def careless(call, inputs, context):
    return inputs[0].affine(max([]), 0.0)


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (Single, r"failed: TypeError: .*is to return \(mean, variance\)"),
        (Negative, r"a mean of 0.0 and a variance of -1.0, for means \[0.0\]"),
    ],
)
def test_what_an_estimator_returns_is_held_to_what_it_should(estimator, words):
    graph = read_model(keras.Sequential([keras.Input((3,)), layers.ReLU(name="bend")]))
    registry = rules.RULES.overridden(as_rules({layers.ReLU: estimator}))
    with pytest.raises(EstimatorError, match=words):
        predict(graph, input_signals(graph), registry=registry)


@pytest.mark.parametrize(
    ("rules_of", "kind", "words"),
    [
        ({layers.ReLU: Registration(careless, Support.EXACT)}, RuleError, "please report it"),
        (as_rules({layers.ReLU: Careless}), EstimatorError, "Careless, the estimator"),
    ],
)
def test_a_rule_that_fails_names_the_layer_and_whose_fault_it_is(rules_of, kind, words):
    graph = read_model(keras.Sequential([keras.Input((3,)), layers.ReLU(name="bend")]))
    with pytest.raises(kind, match=words) as caught:
        predict(graph, input_signals(graph), registry=rules.RULES.overridden(rules_of))
    told = str(caught.value)
    assert "layer 'bend' (ReLU)" in told
    assert "ValueError: max() arg is an empty" in told
    assert isinstance(caught.value.__cause__, ValueError)
