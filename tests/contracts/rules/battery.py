"""What every rule keeps to, whatever its layer: one battery for each case of the tables.

`check(case)` looks at all properties of a case and reports those that are broken together.
"""

import math
import random
from dataclasses import fields, is_dataclass, replace
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from autoinit.initializers.drawing import SavedWeights, apply_plans
from autoinit.propagation import Options, plan, predict
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.registry import Registry, RuleResult, Support
from autoinit.signals import SIGNAL_MODELS
from autoinit.signals.correlated.signal import CorrelatedSignal
from tests.autoinit.rules.checks import signals_for
from tests.contracts.rules.page import documented_support


def check(case):
    """Run the passes over a case, and hold each property against what they give."""
    run = Run(case)
    broken = []
    for holds in PROPERTIES:
        try:
            holds(run)
        except Exception as error:
            error.add_note(f"broken: {holds.__name__}")
            broken.append(error)
    if broken:
        names = ", ".join(error.__notes__[-1].removeprefix("broken: ") for error in broken)
        raise ExceptionGroup(f"{case}: {names}", broken)


class Run:
    """The analytic passes over a case, and its model's state before and after them.

    Attributes:
        case, model, graph: what they ran over.
        passes: signal model → results for the given and for the planned weights.
        again: the same, once more.
        applied: what went into and came out of each rule, for signals that have something in
            common.
        before, after: the model and the process's random state.
    """

    def __init__(self, case):
        self.case = case
        self.model = case.model()
        self.graph = read_model(self.model)
        self.before = state_of(self.model)
        self.passes, self.again = (
            {name: self._passes(name) for name in SIGNAL_MODELS} for _ in range(2)
        )
        self.applied = self._applied()
        self.after = state_of(self.model)

    def _passes(self, signal_model):
        signals = signals_for(self.case, self.graph, signal_model)
        # So few samples that sampled rules take little time: they are held against real layers
        # elsewhere.
        options = Options(training=self.case.training, samples=64)
        return [interpret(self.graph, signals, options) for interpret in (predict, plan)]

    def _applied(self):
        signals = signals_for(self.case, self.graph, "correlated")
        if self.case.dtype.startswith("float"):
            inputs = [call.outputs[0] for call in self.graph.inputs]
            signals = {
                value.index: with_something_in_common(*moments, value.positions)
                for value, moments in zip(inputs, self.case.input_moments(), strict=True)
            }
        rules = Recording()
        options = Options(training=self.case.training, samples=64, batch=16)
        for interpret in (predict, plan):
            interpret(self.graph, signals, options, rules)
        return rules.calls

    def results(self):
        """Each call with its result, of every pass."""
        for passes in self.passes.values():
            for found in passes:
                yield from zip(self.graph.calls, found.results, strict=True)

    def placed(self):
        """The signals that leave the rules, at the positions of their tensors."""
        for recorded in self.applied:
            for value, signal in zip(recorded.call.outputs, recorded.signals, strict=True):
                yield value, signal.arrange(value.positions)


def state_of(model):
    """Weights, moving statistics, seeds, and what the model says about itself."""
    values = [keras.ops.convert_to_numpy(variable).tobytes() for variable in model.variables]
    flags = [layer.trainable for layer in model.layers]
    activations = [id(getattr(layer, "activation", None)) for layer in model.layers]
    process = random.getstate(), np.random.get_state()[1].tolist()
    return values, flags, activations, repr(model.get_config()), process


def figures(result):
    results = [(each.signals, each.support, each.standard_error) for each in result.results]
    scales = [(found.path, found.standard_deviation) for found in result.scales]
    return results, scales, result.findings


def signals_are_finite_and_variances_not_negative(run):
    for call, result in run.results():
        assert len(result.signals) == len(call.outputs)
        for signal in result.signals:
            assert math.isfinite(signal.mean)
            assert 0 <= signal.variance < math.inf


def support_is_one_of_the_five_states_and_the_class_has_a_rule(run):
    for _, result in run.results():
        assert isinstance(result.support, Support)
        assert result.support is not Support.PASS_THROUGH
        assert not result.tainted


def support_is_what_the_page_says(run):
    for call, result in run.results():
        assert result.support.value in documented_support(call), call.path


def sampled_rules_state_their_error(run):
    for _, result in run.results():
        assert (result.standard_error is not None) == (result.support is Support.SAMPLED)


def the_same_seed_gives_the_same_figures(run):
    for name, passes in run.passes.items():
        assert list(map(figures, passes)) == list(map(figures, run.again[name]))


def sampled_figures_do_not_depend_on_the_signal_model(run):
    """A sample is drawn from the first two moments, which all models agree on at the entrance."""
    one, other = (passes[0].results for passes in run.passes.values())
    for first, second in zip(one, other, strict=True):
        if Support.SAMPLED in (first.support, second.support):
            assert first.signals[0].variance == pytest.approx(second.signals[0].variance)


def the_model_and_all_random_state_stay_as_they_were(run):
    assert run.after == run.before


def only_the_pass_that_plans_has_scales(run):
    for given, planned in run.passes.values():
        assert not given.scales
        weighted = any(result.weighted for result in planned.results)
        assert weighted == bool(planned.scales)
        assert weighted == any(result.weighted for result in given.results)


def weighted_calls_reach_the_target_or_say_that_they_do_not(run):
    for _, planned in run.passes.values():
        for call, result in zip(run.graph.calls, planned.results, strict=True):
            if result.weighted:
                reached = result.signals[0].variance == pytest.approx(1.0)
                assert reached == result.at_target, call.path


def shapes_are_those_of_real_tensors(run):
    tensors = [
        np.ones((2, *value.shape[1:]), "str" if value.dtype == "string" else value.dtype)
        for call in run.graph.inputs
        for value in call.outputs
    ]
    outputs = keras.tree.flatten(run.model(tensors, training=False))
    expected = [tuple(value.shape[1:]) for value in run.graph.outputs]
    assert [tuple(output.shape[1:]) for output in outputs] == expected


def drawing_the_planned_weights_changes_them_and_nothing_else(run):
    # The last property: it changes the model.
    as_they_were = SavedWeights(run.model.variables)
    for _, planned in run.passes.values():
        as_they_were.restore()
        check_drawn(run.model, planned.scales)
    assert run.model.get_config()


def check_drawn(model, scales):
    by_variable = {id(scale.kernel.variable): scale for scale in scales}
    before = {id(v): keras.ops.convert_to_numpy(v).copy() for v in model.variables}
    for scale in scales:
        if not scale.kernel.constant:  # else it has no initialiser to record
            setattr(scale.kernel.layer, f"{scale.kernel.configured}_initializer", None)
    apply_plans(scales, "truncated_normal", seed=3)
    for variable in model.variables:
        values = keras.ops.convert_to_numpy(variable)
        assert values.shape == before[id(variable)].shape
        scale = by_variable.get(id(variable))
        if scale is None:
            np.testing.assert_array_equal(values, before[id(variable)])
        else:
            # Σw² over n entries is known to a share of √(κ − 1)/√n, κ < 3 for a truncated normal.
            error = math.sqrt(2 / values.size)
            second = float((values**2).mean()) / scale.standard_deviation**2
            assert second == pytest.approx(1.0, abs=5 * error)
    for scale in scales:
        if not scale.kernel.constant:
            initializer = getattr(scale.kernel.layer, f"{scale.kernel.configured}_initializer")
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


def signals_that_a_rule_reads_stay_as_they_were(run):
    assert all(call.before == call.after for call in run.applied)


def over_positions(pairs, counts):
    """Pairs of positions as a matrix, all axes together."""
    split = pairs.reshape([count for each in counts for count in (each, each)])
    order = [*range(0, 2 * len(counts), 2), *range(1, 2 * len(counts), 2)]
    return split.transpose(order).reshape(math.prod(counts), -1)


def signals_lie_at_the_positions_of_their_tensors(run):
    for value, signal in run.placed():
        assert tuple(axis.size for axis in signal.state.axes) == value.positions
        counts = tuple(axis.count for axis in signal.state.axes)
        assert signal.state.means.shape == counts
        for pairs in (signal.state.cov_positions, signal.state.cov_samples):
            assert pairs.shape == tuple(count**2 for count in counts)


def covariances_are_some_of_random_variables(run):
    for _, signal in run.placed():
        counts = signal.state.means.shape
        within, between = (
            over_positions(pairs, counts)
            for pairs in (signal.state.cov_positions, signal.state.cov_samples)
        )
        variances = np.diag(within)
        tolerance = 1e-6 * max(variances.max(), 1e-300)
        assert (variances >= 0).all()
        assert np.sqrt(variances) == pytest.approx(np.sqrt(signal.state.variances).ravel())
        whole = all(axis.is_whole for axis in signal.state.axes)
        # Where a few positions stand for all, pairs may be averages over others than variances.
        bound = np.sqrt(np.outer(variances, variances)) * (1 if whole else 1.05) + tolerance
        for covariances in (within, between):
            assert covariances == pytest.approx(covariances.T, abs=tolerance)
            assert (np.abs(covariances) <= bound).all()
        if whole:  # some data have these covariances
            assert np.linalg.eigvalsh(within).min() >= -len(within) * tolerance


PROPERTIES = (
    signals_are_finite_and_variances_not_negative,
    support_is_one_of_the_five_states_and_the_class_has_a_rule,
    support_is_what_the_page_says,
    sampled_rules_state_their_error,
    the_same_seed_gives_the_same_figures,
    sampled_figures_do_not_depend_on_the_signal_model,
    the_model_and_all_random_state_stay_as_they_were,
    only_the_pass_that_plans_has_scales,
    weighted_calls_reach_the_target_or_say_that_they_do_not,
    shapes_are_those_of_real_tensors,
    signals_that_a_rule_reads_stay_as_they_were,
    signals_lie_at_the_positions_of_their_tensors,
    covariances_are_some_of_random_variables,
    drawing_the_planned_weights_changes_them_and_nothing_else,
)
