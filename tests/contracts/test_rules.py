"""What every rule keeps to, whatever its layer: one battery over the table of cases."""

import itertools
import math
import random
from dataclasses import fields, is_dataclass, replace
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from autoinit.initializers.drawing import apply_plans
from autoinit.propagation import Options, plan, predict
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.registry import Registry, RuleResult, Support
from autoinit.signals import SIGNAL_MODELS
from autoinit.signals.correlated.state import CorrelatedSignal
from tests.autoinit.rules.checks import signals_for
from tests.contracts.cases import CASES


def test_every_registered_class_has_a_case():
    without = {kind.__name__ for kind in RULES.classes()} - {c.kind.__name__ for c in CASES}
    assert not without, f"add a case to tests/contracts/cases.py for: {sorted(without)}"


def test_every_case_has_a_registered_class():
    assert {case.kind for case in CASES} <= set(RULES.classes())


def test_names_of_cases_are_unique():
    names = [str(case) for case in CASES]
    assert sorted(names) == sorted(set(names))


@pytest.fixture(
    scope="module",
    params=itertools.product(CASES, SIGNAL_MODELS),
    ids=lambda pair: f"{pair[0]}, {pair[1]}",
)
def run(request):
    """Both analytic passes over a case, and its model's state before and after them."""
    case, signal_model = request.param
    model = case.model()
    graph = read_model(model)
    signals = signals_for(case, graph, signal_model)
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
    outcomes = [(o.signals, o.support, o.standard_error) for o in result.results]
    plans = [(found.path, found.standard_deviation) for found in result.scales]
    return outcomes, plans, result.findings


def test_signals_are_finite_and_variances_not_negative(run):
    for result in run.passes:
        for call, outcome in zip(run.graph.calls, result.results, strict=True):
            assert len(outcome.signals) == len(call.outputs)
            for signal in outcome.signals:
                assert math.isfinite(signal.mean)
                assert 0 <= signal.variance < math.inf


def test_support_is_one_of_the_five_states_and_the_class_has_a_rule(run):
    for result in run.passes:
        states = [outcome.support for outcome in result.results]
        assert all(isinstance(state, Support) for state in states)
        assert Support.PASS_THROUGH not in states
        assert not any(outcome.tainted for outcome in result.results)


def test_sampled_rules_state_their_error(run):
    for result in run.passes:
        for outcome in result.results:
            assert (outcome.standard_error is not None) == (outcome.support is Support.SAMPLED)


def test_the_same_seed_gives_the_same_figures(run):
    for once, twice in zip(run.passes, run.again, strict=True):
        assert figures(once) == figures(twice)


def test_sampled_figures_do_not_depend_on_the_signal_model(run):
    """A sample is drawn from the first two moments, which all models agree on at the entrance."""
    signals = signals_for(run.case, run.graph)
    options = Options(training=run.case.training, samples=256)
    for call, outcome in zip(run.graph.calls, run.passes[0].results, strict=True):
        if outcome.support is Support.SAMPLED:
            expected = predict(run.graph, signals, options).results[call.index]
            assert outcome.signals[0].variance == pytest.approx(expected.signals[0].variance)


def test_the_model_and_all_random_state_stay_as_they_were(run):
    assert run.after == run.before


def test_only_the_analytic_pass_that_plans_has_plans(run):
    given, planned = run.passes
    assert not given.scales
    weighted = any(outcome.weighted for outcome in planned.results)
    assert weighted == bool(planned.scales)
    assert weighted == any(outcome.weighted for outcome in given.results)


def test_weighted_calls_reach_the_target(run):
    for call, outcome in zip(run.graph.calls, run.passes[1].results, strict=True):
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
    # The last test with this model: it is the one that changes it.
    plans = run.passes[1].scales
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
    if plans[0].kernel.constant:
        return  # it has no initialiser to record
    initializer = getattr(layer, f"{plans[0].kernel.configured}_initializer")
    assert isinstance(initializer, keras.initializers.TruncatedNormal)


class Recording(Registry):
    """The rules, and what went into and came out of each."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def find(self, layer):
        return RULES.find(layer)

    def of_call(self, call):
        found = RULES.of_call(call)
        return replace(found, rule=partial(self._applied, found.rule))

    def _applied(self, rule, call, inputs, context):
        before = [contents(signal) for signal in inputs]
        result = rule(call, inputs, context)
        signals = (
            result.signals if isinstance(result, RuleResult) else (result,) * len(call.outputs)
        )
        after = [contents(signal) for signal in inputs]
        self.calls.append(SimpleNamespace(call=call, signals=signals, before=before, after=after))
        return result


def contents(value):
    """All that a signal holds, in a form that does not change with it."""
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if is_dataclass(value):
        return tuple(contents(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, tuple):
        return tuple(map(contents, value))
    return value


def with_something_in_common(mean, variance, positions):
    """Entries that are neither Gaussian nor independent, over positions or over samples."""
    own, of_sample, of_channel = 0.5 * variance, 0.3 * variance, 0.2 * variance
    sample = CorrelatedSignal.gaussian(0.0, of_sample).arrange(()).repeat(positions)
    signal = CorrelatedSignal.gaussian(mean, own).arrange(positions).combine("add", [sample])
    offsets = math.sqrt(of_channel) * np.array([-1.0, 1.0])
    return signal.affine(np.ones(2), offsets).map(lambda x: np.maximum(x, 0.2 * x))[0]


@pytest.fixture(scope="module", params=CASES, ids=str)
def rules_applied(request):
    """What the rules make of signals that have something in common, with both kinds of weights."""
    case = request.param
    graph = read_model(case.model())
    signals = signals_for(case, graph, "correlated")
    if case.dtype.startswith("float"):
        signals = {
            value.index: with_something_in_common(*moments, value.positions)
            for value, moments in zip(
                [call.outputs[0] for call in graph.inputs], case.input_moments(), strict=True
            )
        }
    rules = Recording()
    for interpret in (predict, plan):
        interpret(graph, signals, Options(training=case.training, samples=64, batch=16), rules)
    return rules.calls


def test_signals_that_a_rule_reads_stay_as_they_were(rules_applied):
    assert all(call.before == call.after for call in rules_applied)


def placed(rules_applied):
    """The signals that leave the rules, at the positions of their tensors."""
    for recorded in rules_applied:
        for value, signal in zip(recorded.call.outputs, recorded.signals, strict=True):
            yield value, signal.arrange(value.positions)


def over_positions(pairs, counts):
    """Pairs of positions as a matrix, all axes together."""
    split = pairs.reshape([count for each in counts for count in (each, each)])
    order = [*range(0, 2 * len(counts), 2), *range(1, 2 * len(counts), 2)]
    return split.transpose(order).reshape(math.prod(counts), -1)


def test_signals_lie_at_the_positions_of_their_tensors(rules_applied):
    for value, signal in placed(rules_applied):
        assert tuple(axis.size for axis in signal.axes) == value.positions
        counts = tuple(axis.count for axis in signal.axes)
        assert signal.means.shape == counts
        for pairs in (signal.cov_positions, signal.cov_samples):
            assert pairs.shape == tuple(count**2 for count in counts)


def test_covariances_are_some_of_random_variables(rules_applied):
    for _, signal in placed(rules_applied):
        counts = signal.means.shape
        within, between = (
            over_positions(pairs, counts) for pairs in (signal.cov_positions, signal.cov_samples)
        )
        variances = np.diag(within)
        tolerance = 1e-6 * max(variances.max(), 1e-300)
        assert (variances >= 0).all()
        assert np.sqrt(variances) == pytest.approx(np.sqrt(signal.variances).ravel())
        whole = all(axis.is_whole for axis in signal.axes)
        # Where a few positions stand for all, pairs may be averages over others than variances.
        bound = np.sqrt(np.outer(variances, variances)) * (1 if whole else 1.05) + tolerance
        for covariances in (within, between):
            assert covariances == pytest.approx(covariances.T, abs=tolerance)
            assert (np.abs(covariances) <= bound).all()
        if whole:  # some data have these covariances
            assert np.linalg.eigvalsh(within).min() >= -len(within) * tolerance
