"""The analytic interpreter: signals are pushed through the calls of a graph, rule by rule."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from threadpoolctl import threadpool_limits

from autoinit.arrays import as_array
from autoinit.estimators import RULES
from autoinit.frozen import frozen_variables
from autoinit.graph import Call, ModelGraph
from autoinit.kernels import Kernel, Loader, bias_moments
from autoinit.registry import (
    Context,
    Outcome,
    Registry,
    Support,
    Weigh,
    WeightPlan,
    not_run,
    pass_through,
)
from autoinit.report import Finding
from autoinit.shapes import last_uses
from autoinit.signals import DEFAULT_SIGNAL_MODEL, SIGNAL_MODELS
from autoinit.signals.signal import NO_BIAS, BiasMoments, KernelMoments, Observed, Signal


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
        config: handed to estimators written by users.
    """

    training: bool = True
    signal_variance: float = 1.0
    centred: bool = False
    keep_frozen: bool = False
    seed: int = 0
    samples: int = 10_000
    batch: int = 128
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Propagation:
    """Result of the analytic pass.

    Attributes:
        graph: what it ran through.
        outcomes: one for each call.
        plans: the kernels that AutoInit draws; empty for a pass over given weights.
        findings: what a person should know, in order of the calls.
    """

    graph: ModelGraph
    outcomes: tuple[Outcome, ...]
    plans: tuple[WeightPlan, ...]
    findings: tuple[Finding, ...]

    def estimates(self) -> dict[str, tuple[float, float]]:
        """Mean and variance of each layer's output, after its activation, by path."""
        result: dict[str, tuple[float, float]] = {}
        signals: dict[int, Signal | Observed] = {}
        for call, outcome in zip(self.graph.calls, self.outcomes, strict=True):
            # A fused activation is told under the name of its layer, the call before it.
            path = self.graph.calls[call.index - (call.part == "activation")].path
            result[path] = (outcome.signals[0].mean, outcome.signals[0].variance)
            signals.update(
                (value.index, signal)
                for value, signal in zip(call.outputs, outcome.signals, strict=True)
            )
        for path, values in self.graph.scopes.items():
            result.setdefault(
                path, (signals[values[0].index].mean, signals[values[0].index].variance)
            )
        return result


def input_signals(
    graph: ModelGraph,
    mean: float = 0.0,
    variance: float = 1.0,
    signal_model: str = DEFAULT_SIGNAL_MODEL,
) -> dict[int, Signal]:
    """Signals of a graph's inputs: Gaussian data, or uniform indices for integers.

    Args:
        graph: whose inputs they are.
        mean, variance: of the data.
        signal_model: a key of `SIGNAL_MODELS`.
    """
    vocabulary = graph.vocabulary()
    signals: dict[int, Signal] = {}
    for call in graph.inputs:
        (value,) = call.outputs
        size = vocabulary.get(
            value.index, 2 if not value.dtype.startswith(("float", "bfloat")) else None
        )
        moments = (mean, variance) if size is None else ((size - 1) / 2, (size * size - 1) / 12)
        signals[value.index] = SIGNAL_MODELS[signal_model].gaussian(*moments)
    return signals


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
    weigh: Weigh,
    known: Mapping[int, Signal] | None = None,
) -> Propagation:
    context = Context(
        training=options.training,
        weigh=weigh,
        load=load,
        seed=options.seed,
        samples=options.samples,
        options=dict(options.config or {}),
        signal_variance=options.signal_variance,
        registry=registry,
        batch=options.batch,
    )
    signals: dict[int, Signal] = {}
    tainted: set[int] = set()
    outcomes: list[Outcome] = []
    findings: dict[tuple[str, str], Finding] = {}
    plans: list[WeightPlan] = []
    warned: set[int] = set()
    for call, finished in zip(graph.calls, last_uses(graph, running=False), strict=True):
        if call.is_input:
            outcome = Outcome((inputs[call.outputs[0].index],), Support.NEUTRAL)
        else:
            arrived = [signals[value.index] for value in call.inputs]
            outcome = _apply(call, arrived, context, registry)
            without_rule = outcome.support is Support.PASS_THROUGH and call.opaque is None
            if without_rule and id(call.layer) not in warned:
                warned.add(id(call.layer))
                _warn_unsupported(call)
            if known and call.outputs[0].index in known:
                outcome = _as_measured(outcome, known[call.outputs[0].index])
        spoilt = outcome.support is Support.PASS_THROUGH
        if spoilt or any(value.index in tainted for value in call.inputs):
            tainted.update(value.index for value in call.outputs)
        if any(value.index in tainted for value in call.inputs):
            outcome = replace(outcome, tainted=True)
        for value, signal in zip(call.outputs, outcome.signals, strict=True):
            signals[value.index] = cast(Signal, signal).arrange(value.positions)
        with np.errstate(over="ignore", invalid="ignore"):
            seen = tuple(
                signals[value.index].observed(value.shape[-1] or 1, options.batch)
                for value in call.outputs
            )
            if outcome.weighted:
                slope = signals[call.inputs[0].index].correlation_slope
                seen = (replace(seen[0], correlation_slope=slope), *seen[1:])
        # Signals may be large: they are let go of once nothing reads them.
        for index in finished:
            del signals[index]
        outcomes.append(replace(outcome, signals=seen))
        plans.extend(outcome.plans)
        for finding in outcome.findings:
            findings.setdefault((finding.code, finding.path), finding)
    return Propagation(graph, tuple(outcomes), tuple(plans), tuple(findings.values()))


def _apply(call: Call, arrived: Sequence[Signal], context: Context, registry: Registry) -> Outcome:
    if call.opaque is not None:
        return not_run(call, arrived)
    registration = registry.of_call(call)
    if registration is None:
        return pass_through(call, arrived)
    known = all(signal.finite for signal in arrived)
    # Signals that leave the range of floating point are findings, not warnings.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        result = registration.rule(call, arrived, context)
    outcome = result if isinstance(result, Outcome) else Outcome((result,) * len(call.outputs))
    if not known:
        # Some rules would make figures of it again, as normalisation does.
        unknown = type(arrived[0]).gaussian(math.nan, math.nan)
        outcome = replace(outcome, signals=(unknown,) * len(call.outputs))
    return outcome if outcome.support else replace(outcome, support=registration.support)


def _as_measured(outcome: Outcome, signal: Signal) -> Outcome:
    by_rule = outcome.support in (Support.EXACT, Support.APPROXIMATE)
    return replace(
        outcome,
        signals=(signal, *outcome.signals[1:]),
        support=Support.SAMPLED if by_rule else outcome.support,
    )


def _warn_unsupported(call: Call) -> None:
    # The paper's package warns in these words on the root logger; scripts may look for them.
    logging.warning(
        "No LayerOutputDistributionEstimator found for layer %s. "
        "Using the default PassThroughOutputDistributionEstimator instead.",
        call.class_name,
    )


def _weights_as_they_are(load: Loader) -> Weigh:
    def weigh(
        call: Call, signal: Signal, kernel: Kernel, bias: Any
    ) -> tuple[KernelMoments, BiasMoments, Outcome]:
        return *_actual(kernel, load, bias), Outcome((), weighted=True)

    return weigh


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
        self.chosen: dict[int, WeightPlan | None] = {}

    def __call__(
        self, call: Call, signal: Signal, kernel: Kernel, bias: Any
    ) -> tuple[KernelMoments, BiasMoments, Outcome]:
        key = id(kernel.variable)
        if key in self.kept:
            return *_actual(kernel, self.load, bias), Outcome((), weighted=True)
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
                return *_actual(kernel, self.load, bias), Outcome((), weighted=True)
            moments = drawn.scaled(earlier.standard_deviation)
            return moments, given, Outcome((), weighted=True, findings=(finding,))
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
            outcome = Outcome((), weighted=True, findings=tuple(findings))
            return *_actual(kernel, self.load, bias), outcome
        deviation = math.sqrt(target / incoming)
        choice = WeightPlan(kernel, deviation, call.path)
        self.chosen[key] = choice
        outcome = Outcome((), weighted=True, plans=(choice,), findings=tuple(findings))
        return drawn.scaled(deviation), given, outcome
