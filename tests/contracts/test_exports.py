"""Every class that keras.layers exports has a rule, or a reason why it has none."""

import inspect
from dataclasses import replace

import keras
import pytest

from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.fallbacks import REASONS, pass_through
from autoinit.rules.layers.refused import OPENED
from autoinit.rules.registry import Support
from tests.contracts.cases import case

EXPORTED = {
    value.__name__: value
    for value in vars(keras.layers).values()
    if inspect.isclass(value) and issubclass(value, keras.Layer)
}
WITH_RULE = {kind.__name__ for kind in RULES.classes()}


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_every_layer_has_a_rule_or_a_reason(name):
    assert name in WITH_RULE | REASONS.keys() | OPENED


@pytest.mark.parametrize("name", sorted(WITH_RULE & EXPORTED.keys()))
def test_rules_are_those_of_keras_classes(name):
    assert EXPORTED[name] in set(RULES.classes())


def test_reasons_and_opened_layers_are_keras_classes():
    assert REASONS.keys() | OPENED <= EXPORTED.keys()
    assert not REASONS.keys() & OPENED


def test_a_reason_is_told():
    graph = read_model(case(keras.layers.Dense, "", (3,), units=2).model())
    signal = input_signals(graph)[0]
    kind = type("JaxLayer", (keras.Layer,), {})
    outcome = pass_through(replace(graph.calls[-1], layer=kind()), [signal])
    assert outcome.support is Support.PASS_THROUGH
    assert "(JaxLayer): it runs a function of JAX" in outcome.findings[0].message
    assert "computes. Its output is taken" in outcome.findings[0].message


def test_a_layer_that_refuses_its_own_configuration_is_passed_through():
    # In Keras 3.15 a factor of 0.3 is stored as −0.3 to 0.3, and −0.3 is refused.
    shear = case(keras.layers.RandomShear, "", (6, 6, 1), x_factor=0.3)
    graph = read_model(shear.model())
    outcome = predict(graph, input_signals(graph)).results[-1]
    assert outcome.support in (Support.PASS_THROUGH, Support.SAMPLED)
    assert [each.code for each in outcome.findings] in (["unsupported_layer"], [])
