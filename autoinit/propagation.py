"""The analytic interpreter: signals are pushed through the calls of a graph, rule by rule."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import keras
import numpy as np
from threadpoolctl import threadpool_limits

from autoinit.arrays import as_array
from autoinit.errors import UnsupportedLayerError
from autoinit.findings import Finding
from autoinit.graph.frozen import frozen_variables
from autoinit.graph.input_moments import PerInput, input_moments
from autoinit.graph.model_graph import Call, ModelGraph, Parameter
from autoinit.graph.shapes import last_uses
from autoinit.rules import RULES
from autoinit.rules.kernels import Kernel, Loader, bias_moments
from autoinit.rules.registry import (
    Context,
    KernelScale,
    KernelSource,
    Registry,
    RuleResult,
    Support,
    not_run,
    pass_through,
)
from autoinit.rules.sampling import sample_unknown
from autoinit.signals import DEFAULT_SIGNAL_MODEL, SIGNAL_MODELS
from autoinit.signals.signal import (
    NO_BIAS,
    Array,
    BiasMoments,
    KernelMoments,
    Observed,
    Signal,
)

# Entries of the samples of a mask that are computed.
_MOST_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Options:
    """Settings of the analytic pass.

    Attributes:
        training: mode of the model.
        signal_variance: variance that AutoInit gives to pre-activations.
        centred: whether kernels are kept at zero mean per unit (`constrain_weights`).
        keep_frozen: whether frozen layers keep the weights that they have.
        seed, samples: for recurrent layers, which are sampled.
        batch: how many samples go through the model together.
        unsupported: what becomes of calls without a rule, a key of `UNSUPPORTED`.
        config: handed to estimators written by users.
    """

    training: bool = True
    signal_variance: float = 1.0
    centred: bool = False
    keep_frozen: bool = False
    seed: int = 0
    samples: int = 10_000
    batch: int = 128
    unsupported: str = "pass_through"
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Propagation:
    """Result of the analytic pass.

    Attributes:
        graph: what it ran through.
        results: one for each call.
        scales: of the kernels that AutoInit draws; empty for a pass over given weights.
        findings: what a person should know, in order of the calls.
    """

    graph: ModelGraph
    results: tuple[RuleResult, ...]
    scales: tuple[KernelScale, ...]
    findings: tuple[Finding, ...]

    def estimates(self) -> dict[str, tuple[float, float]]:
        """Mean and variance of each layer's output, after its activation, by path."""
        found: dict[str, tuple[float, float]] = {}
        signals: dict[int, Signal | Observed] = {}
        for call, result in zip(self.graph.calls, self.results, strict=True):
            # A fused activation is told under the name of its layer, the call before it.
            path = self.graph.calls[call.index - (call.part == "activation")].path
            found[path] = (result.signals[0].mean, result.signals[0].variance)
            signals.update(
                (value.index, signal)
                for value, signal in zip(call.outputs, result.signals, strict=True)
            )
        for path, values in self.graph.scopes.items():
            found.setdefault(
                path, (signals[values[0].index].mean, signals[values[0].index].variance)
            )
        return found


def input_signals(
    graph: ModelGraph,
    mean: PerInput = 0.0,
    variance: PerInput = 1.0,
    signal_model: str = DEFAULT_SIGNAL_MODEL,
) -> dict[int, Signal]:
    """Signals of a graph's inputs: Gaussian data, or uniform indices for integers.

    Args:
        graph: whose inputs they are.
        mean, variance: of the data: one number for all inputs, or numbers by the inputs' names (0
            and 1 where an input is not named). Integer inputs have moments of their own, unless
            they are named.
        signal_model: a key of `SIGNAL_MODELS`.

    Raises:
        ValueError: for a name that is no input's, and for moments that no data have.
    """
    gaussian = SIGNAL_MODELS[signal_model].gaussian
    moments = input_moments(graph, mean, variance)
    return {index: gaussian(*each) for index, each in moments.items()}


def predict(
    graph: ModelGraph,
    inputs: Mapping[int, Signal],
    options: Options | None = None,
    registry: Registry = RULES,
    load: Loader = as_array,
) -> Propagation:
    """Signals of a model with the weights that it has."""
    # Its matrices are small: threads would wait for each other more than they compute.
    with threadpool_limits(1, "blas"):
        return _propagate(
            graph, inputs, options or Options(), registry, load, _weights_as_they_are(load)
        )


def plan(
    graph: ModelGraph,
    inputs: Mapping[int, Signal],
    options: Options | None = None,
    registry: Registry = RULES,
    load: Loader = as_array,
    known: Mapping[int, Signal] | None = None,
) -> Propagation:
    """Signals of a model with AutoInit's weights, and how to draw them (algorithm 1).

    Args:
        graph: of the model.
        inputs: the signals of its inputs, by value index.
        options: settings.
        registry: rules to use.
        load: gives the values of a variable.
        known: signals that were measured, by value index; they take the place of the rules'.
    """
    options = options or Options()
    kept = frozen_variables(graph) if options.keep_frozen else frozenset()
    planner = _Planner(options, load, kept)
    with threadpool_limits(1, "blas"):
        return _propagate(graph, inputs, options, registry, load, planner, known)


def _propagate(
    graph: ModelGraph,
    inputs: Mapping[int, Signal],
    options: Options,
    registry: Registry,
    load: Loader,
    kernel_moments: KernelSource,
    known: Mapping[int, Signal] | None = None,
) -> Propagation:
    context = Context(
        training=options.training,
        kernel_moments=kernel_moments,
        load=load,
        seed=options.seed,
        samples=options.samples,
        options=dict(options.config or {}),
        signal_variance=options.signal_variance,
        registry=registry,
        batch=options.batch,
        unsupported=options.unsupported,
    )
    signals: dict[int, Signal] = {}
    tainted: set[int] = set()
    results: list[RuleResult] = []
    findings: dict[tuple[str, str], Finding] = {}
    scales: list[KernelScale] = []
    warned: set[int] = set()
    known_values = _Known(graph, context, type(next(iter(inputs.values()))))
    for call, finished in zip(graph.calls, last_uses(graph, running=False), strict=True):
        if call.is_input:
            result = RuleResult((inputs[call.outputs[0].index],), Support.NEUTRAL)
        elif call.outputs[0].constant:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                result = known_values.result(call, [signals[v.index] for v in call.inputs])
        else:
            arrived = [signals[value.index] for value in call.inputs]
            result = _apply(call, arrived, context, registry)
            without_rule = result.support is Support.PASS_THROUGH and call.placeholder is None
            if without_rule and id(call.layer) not in warned:
                warned.add(id(call.layer))
                _warn_unsupported(call)
            if known and call.outputs[0].index in known:
                result = _as_measured(result, known[call.outputs[0].index])
        spoilt = result.support is Support.PASS_THROUGH
        if spoilt or any(value.index in tainted for value in call.inputs):
            tainted.update(value.index for value in call.outputs)
        if any(value.index in tainted for value in call.inputs):
            result = replace(result, tainted=True)
        if call.inputs and not call.outputs[0].constant:
            known_values.sample(call)
        for value, signal in zip(call.outputs, result.signals, strict=True):
            signals[value.index] = cast(Signal, signal).arrange(value.positions)
        with np.errstate(over="ignore", invalid="ignore"):
            seen = tuple(
                signals[value.index].observed(value.channels, options.batch)
                for value in call.outputs
            )
            if result.weighted and call.inputs:
                slope = signals[call.inputs[0].index].correlation_slope
                seen = (replace(seen[0], correlation_slope=slope), *seen[1:])
        # Signals may be large: they are let go of once nothing reads them.
        for index in finished:
            del signals[index]
            context.known.pop(index, None)
        results.append(replace(result, signals=seen))
        scales.extend(result.scales)
        for finding in result.findings:
            findings.setdefault((finding.code, finding.path), finding)
    return Propagation(graph, tuple(results), tuple(scales), tuple(findings.values()))


class _Known:
    """Values that are computed, not described: of parameters and constants, and samples of masks.

    A mask is what is computed from integer inputs without weights.
    """

    def __init__(self, graph: ModelGraph, context: Context, kind: type[Signal]) -> None:
        self.factors = graph.factors()
        self.context = context
        self.kind = kind
        self.values = context.known
        self.graph = graph
        generator = np.random.default_rng(context.seed)
        vocabulary = graph.vocabulary()
        for call in graph.inputs:
            (value,) = call.outputs
            if value.dtype.startswith(("int", "uint", "bool")):
                drawn = generator.integers(
                    0, vocabulary.get(value.index, 2), (graph.batch, *value.sample)
                )
                self.values[value.index] = drawn.astype(value.dtype)

    def sample(self, call: Call) -> None:
        """Compute what a call makes of samples, where they are known and it has no weights."""
        known = all(value.index in self.values for value in call.inputs)
        size = self.graph.batch * max(value.entries for value in call.outputs)
        has_weights = bool(getattr(call.layer, "weights", None))
        if not known or has_weights or call.placeholder or size > _MOST_ENTRIES:
            return
        tensors = [keras.ops.convert_to_tensor(self.values[v.index]) for v in call.inputs]
        with contextlib.suppress(Exception):  # any layer's code; there are no samples then
            tensors = call.run(tensors, self.context.training)
            for value, tensor in zip(call.outputs, tensors, strict=True):
                self.values[value.index] = np.asarray(keras.ops.convert_to_numpy(tensor))

    def result(self, call: Call, arrived: Sequence[Signal]) -> RuleResult:
        """Computed from the values that there are; a layer's table is drawn like an embedding."""
        if isinstance(call.layer, Parameter):
            return self._parameter(call, call.layer)
        if isinstance(call.layer, keras.Layer):
            given = list(arrived) or [self.kind.gaussian(0.0, 1.0)]
            assert self.context.registry is not None
            result = _apply(call, given, self.context, self.context.registry)
            places = call.outputs[0].positions
            signals = tuple(
                cast(Signal, signal).arrange(places).of_every_sample() for signal in result.signals
            )
            return replace(result, signals=signals)
        if not all(value.index in self.values for value in call.inputs):
            return _apply(call, arrived, self.context, self.context.registry or RULES)
        tensors = [keras.ops.convert_to_tensor(self.values[v.index]) for v in call.inputs]
        tensors = call.run(tensors, self.context.training)
        for value, tensor in zip(call.outputs, tensors, strict=True):
            self.values[value.index] = as_array(tensor)
        signals = tuple(self._signal(self.values[value.index]) for value in call.outputs)
        return RuleResult(signals, Support.EXACT)

    def _parameter(self, call: Call, parameter: Parameter) -> RuleResult:
        """A table that is added, such as one of positions, is drawn; other values stay.

        A kernel is drawn where it is multiplied.
        """
        values = np.asarray(self.context.load(parameter.variable), np.float64)
        (value,) = call.outputs
        result = RuleResult((), Support.EXACT)
        spread = float(values.std()) if values.size else 0.0
        wide = sum(size > 1 for size in values.shape) > 1
        if value.index not in self.factors and wide and spread > 0 and parameter.trainable:
            kernel = Kernel(parameter, "variable", parameter.attribute, summed_axes=())
            one = self.kind.gaussian(1.0, 0.0)
            moments, _, result = self.context.kernel_moments(call, one, kernel, None)
            result = replace(result, support=Support.EXACT)
            values = values * math.sqrt(moments.power / float((values**2).mean()))
        self.values[value.index] = values
        return replace(result, signals=(self._signal(values),))

    def _signal(self, values: Array) -> Signal:
        values = np.asarray(values, np.float64)
        return self.kind.of_values(values) if values.size else self.kind.gaussian(0.0, 0.0)


def _apply(
    call: Call, arrived: Sequence[Signal], context: Context, registry: Registry
) -> RuleResult:
    if call.placeholder is not None:
        return not_run(call, arrived)
    registration = registry.of_call(call)
    if registration is None:
        return _without_rule(pass_through(call, arrived), call, arrived, context)
    known = all(signal.finite for signal in arrived)
    # Signals that leave the range of floating point are findings, not warnings.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        result = registration.apply(call, arrived, context)
    if result.support is Support.PASS_THROUGH:
        result = _without_rule(result, call, arrived, context)
    if not known:
        # Some rules would make figures of it again, as normalisation does.
        unknown = type(arrived[0]).gaussian(math.nan, math.nan)
        result = replace(result, signals=(unknown,) * len(call.outputs))
    return result


def _without_rule(
    passed: RuleResult, call: Call, arrived: Sequence[Signal], context: Context
) -> RuleResult:
    """What becomes of a call without a rule.

    Raises:
        UnsupportedLayerError: where that is an error.
    """
    if context.unsupported == "error":
        why = (
            f", and it cannot be opened into its parts ({call.untraceable})"
            if call.untraceable
            else ""
        )
        raise UnsupportedLayerError(
            f"No rule for {call.path!r} ({call.class_name}){why}. Write an estimator for it "
            "(custom_distribution_estimators), or choose to have it sampled or passed through."
        )
    if context.unsupported == "pass_through" or not all(signal.finite for signal in arrived):
        return passed
    sampled = sample_unknown(call, arrived, context)
    if sampled is None:
        return passed
    signals, error = sampled
    finding = Finding(
        "sampled_layer", call.path, call.class_name,
        f"No rule for {call.path!r} ({call.class_name}): its output was estimated by Monte Carlo "
        "through the layer itself, for independent Gaussian input.",
    )  # fmt: skip
    return RuleResult(signals, Support.SAMPLED, standard_error=error, findings=(finding,))


def _as_measured(result: RuleResult, signal: Signal) -> RuleResult:
    by_rule = result.support in (Support.EXACT, Support.APPROXIMATE)
    return replace(
        result,
        signals=(signal, *result.signals[1:]),
        support=Support.SAMPLED if by_rule else result.support,
    )


def _warn_unsupported(call: Call) -> None:
    # The paper's package warns in these words on the root logger; scripts may look for them.
    logging.warning(
        "No LayerOutputDistributionEstimator found for layer %s. "
        "Using the default PassThroughOutputDistributionEstimator instead.",
        call.class_name,
    )


def _weights_as_they_are(load: Loader) -> KernelSource:
    def kernel_moments(
        call: Call, signal: Signal, kernel: Kernel, bias: Any
    ) -> tuple[KernelMoments, BiasMoments, RuleResult]:
        return *_actual(kernel, load, bias), RuleResult((), weighted=True)

    return kernel_moments


def _actual(kernel: Kernel, load: Loader, bias: Any) -> tuple[KernelMoments, BiasMoments]:
    with np.errstate(invalid="ignore", over="ignore"):  # of weights that are not finite
        return kernel.actual(load, bias)


class _Planner:
    """Chooses the scale of each kernel at its first use, and remembers it for later ones.

    Kernels among the variables in `kept` stay as they are.
    """

    def __init__(self, options: Options, load: Loader, kept: frozenset[int]) -> None:
        self.options = options
        self.load = load
        self.kept = kept
        self.chosen: dict[int, KernelScale | None] = {}

    def __call__(
        self, call: Call, signal: Signal, kernel: Kernel, bias: Any
    ) -> tuple[KernelMoments, BiasMoments, RuleResult]:
        key = id(kernel.variable)
        if key in self.kept:
            return *_actual(kernel, self.load, bias), RuleResult((), weighted=True)
        given = bias_moments(bias, self.load)
        if not math.isfinite(given.second_moment):
            # No weights could make up for it; those after it are drawn as if it were mended.
            given = NO_BIAS
        drawn = kernel.drawn(centred=self.options.centred)
        if key in self.chosen:
            earlier = self.chosen[key]
            finding = Finding(
                "shared_layer", call.path, call.class_name,
                f"Layer {kernel.layer.name!r} is used again at {call.path!r}: its weights are "
                "drawn once, for its first use.",
            )  # fmt: skip
            if earlier is None:
                return *_actual(kernel, self.load, bias), RuleResult((), weighted=True)
            moments = drawn.scaled(earlier.standard_deviation)
            return moments, given, RuleResult((), weighted=True, findings=(finding,))
        target = self.options.signal_variance
        findings: list[Finding] = []
        if given.variance >= target:
            findings.append(Finding(
                "bias_exceeds_target", call.path, call.class_name,
                f"The bias of {call.path!r} alone has variance {given.variance:.3g}, the target is "
                f"{target:.3g}: the kernel is drawn as if there were none. Start the bias at zero.",
            ))  # fmt: skip
        else:
            target -= given.variance
        incoming = signal.mix(drawn, NO_BIAS).second_moment
        if not (math.isfinite(incoming) and incoming > 0.0):
            self.chosen[key] = None
            findings.append(Finding(
                "keeps_initializer", call.path, call.class_name,
                f"The signal that reaches {call.path!r} has a second moment of {incoming:g}, which "
                f"no weights can bring to {target:.3g}: its configured initialiser stays.",
            ))  # fmt: skip
            result = RuleResult((), weighted=True, findings=tuple(findings))
            return *_actual(kernel, self.load, bias), result
        deviation = math.sqrt(target / incoming)
        choice = KernelScale(kernel, deviation, call.path)
        self.chosen[key] = choice
        result = RuleResult((), weighted=True, scales=(choice,), findings=tuple(findings))
        return drawn.scaled(deviation), given, result
