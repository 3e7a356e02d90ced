"""What every rule keeps to, whatever its layer: one battery over the table of cases."""

import math
import random
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from autoinit.estimators import RULES
from autoinit.graph import read_model
from autoinit.initializer.drawing import apply_plans
from autoinit.propagate import Options, plan, predict
from autoinit.registry import Support
from tests.autoinit.estimators.checks import signals_for
from tests.contracts.cases import CASES


def test_every_registered_class_has_a_case():
    without = {kind.__name__ for kind in RULES.classes()} - {c.kind.__name__ for c in CASES}
    assert not without, f"add a case to tests/contracts/cases.py for: {sorted(without)}"


def test_every_case_has_a_registered_class():
    assert {case.kind for case in CASES} <= set(RULES.classes())


def test_names_of_cases_are_unique():
    names = [str(case) for case in CASES]
    assert sorted(names) == sorted(set(names))


@pytest.fixture(scope="module", params=CASES, ids=str)
def run(request):
    """Both analytic passes over a case, and its model's state before and after them."""
    case = request.param
    model = case.model()
    graph = read_model(model)
    signals = signals_for(case, graph)
    options = Options(training=case.training, samples=256)
    before = state_of(model), random.getstate(), np.random.get_state()[1].tolist()
    passes = [interpret(graph, signals, options) for interpret in (predict, plan)]
    again = [interpret(graph, signals, options) for interpret in (predict, plan)]
    after = state_of(model), random.getstate(), np.random.get_state()[1].tolist()
    return SimpleNamespace(
        case=case, model=model, graph=graph, passes=passes, again=again, before=before, after=after
    )


def state_of(model):
    """Weights, moving statistics, seeds, and what the model says about itself."""
    values = [keras.ops.convert_to_numpy(variable).tobytes() for variable in model.variables]
    flags = [layer.trainable for layer in model.layers]
    activations = [id(getattr(layer, "activation", None)) for layer in model.layers]
    return values, flags, activations, repr(model.get_config())


def figures(result):
    outcomes = [(o.signals, o.support, o.standard_error) for o in result.outcomes]
    plans = [(found.path, found.standard_deviation) for found in result.plans]
    return outcomes, plans, result.findings


def test_signals_are_finite_and_variances_not_negative(run):
    for result in run.passes:
        for call, outcome in zip(run.graph.calls, result.outcomes, strict=True):
            assert len(outcome.signals) == len(call.outputs)
            for signal in outcome.signals:
                assert math.isfinite(signal.mean)
                assert 0 <= signal.variance < math.inf


def test_support_is_one_of_the_five_states_and_the_class_has_a_rule(run):
    for result in run.passes:
        states = [outcome.support for outcome in result.outcomes]
        assert all(isinstance(state, Support) for state in states)
        assert Support.PASS_THROUGH not in states
        assert not any(outcome.tainted for outcome in result.outcomes)


def test_sampled_rules_state_their_error(run):
    for result in run.passes:
        for outcome in result.outcomes:
            assert (outcome.standard_error is not None) == (outcome.support is Support.SAMPLED)


def test_the_same_seed_gives_the_same_figures(run):
    for once, twice in zip(run.passes, run.again, strict=True):
        assert figures(once) == figures(twice)


def test_the_model_and_all_random_state_stay_as_they_were(run):
    assert run.after == run.before


def test_only_the_analytic_pass_that_plans_has_plans(run):
    given, planned = run.passes
    assert not given.plans
    weighted = any(outcome.weighted for outcome in planned.outcomes)
    assert weighted == bool(planned.plans)
    assert weighted == any(outcome.weighted for outcome in given.outcomes)


def test_weighted_calls_reach_the_target(run):
    for call, outcome in zip(run.graph.calls, run.passes[1].outcomes, strict=True):
        if outcome.weighted:
            assert outcome.signals[0].variance == pytest.approx(1.0), call.path


def test_shapes_are_those_of_real_tensors(run):
    tensors = [
        np.ones((2, *value.shape[1:]), value.dtype)
        for call in run.graph.inputs
        for value in call.outputs
    ]
    outputs = keras.tree.flatten(run.model(tensors, training=False))
    expected = [tuple(value.shape[1:]) for value in run.graph.outputs]
    assert [tuple(output.shape[1:]) for output in outputs] == expected


def test_drawing_the_planned_weights_changes_them_and_nothing_else(run):
    # Last in this file: it is the one test that changes the model.
    plans = run.passes[1].plans
    if not plans:
        assert run.model.get_config()
        return
    kernels = {id(found.kernel.variable): found for found in plans}
    before = {id(v): keras.ops.convert_to_numpy(v).copy() for v in run.model.variables}
    apply_plans(plans, "truncated_normal", seed=3)
    for variable in run.model.variables:
        values = keras.ops.convert_to_numpy(variable)
        assert values.shape == before[id(variable)].shape
        found = kernels.get(id(variable))
        if found is None:
            np.testing.assert_array_equal(values, before[id(variable)])
        else:
            # Σw² over n entries is known to a share of √(κ − 1)/√n, κ < 3 for a truncated normal.
            error = math.sqrt(2 / values.size)
            second = float((values**2).mean()) / found.standard_deviation**2
            assert second == pytest.approx(1.0, abs=5 * error)
    layer = plans[0].kernel.layer
    initializer = getattr(layer, f"{plans[0].kernel.configured}_initializer")
    assert isinstance(initializer, keras.initializers.TruncatedNormal)
