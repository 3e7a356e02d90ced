"""The analytic interpreter: signals are pushed through the calls of a graph, rule by rule."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import keras
import numpy as np
from threadpoolctl import ThreadpoolController

from autoinit.arrays import as_array
from autoinit.findings import Finding
from autoinit.graph.frozen import frozen_variables
from autoinit.graph.input_moments import PerInput, input_moments
from autoinit.graph.model_graph import Call, ModelGraph, Parameter, weights_of
from autoinit.graph.shapes import last_uses
from autoinit.graph.zeros import zeros_on_purpose
from autoinit.rules import RULES
from autoinit.rules.fallbacks import not_run, pass_through, without_rule
from autoinit.rules.kernel_sources import GivenKernels, Latents, PlannedKernels
from autoinit.rules.kernels import Kernel, Loader
from autoinit.rules.registry import (
    Context,
    KernelScale,
    KernelSource,
    Registry,
    RuleResult,
    Support,
)
from autoinit.rules.shared_kernels import SharedKernels, scales_for_loops, variables_met_again
from autoinit.signals import DEFAULT_SIGNAL_MODEL, SIGNAL_MODELS
from autoinit.signals.scaled import alike, settled
from autoinit.signals.signal import Array, Observed, Signal

# Looked for once: to look through a process's libraries takes longer than a small network's pass.
_BLAS = ThreadpoolController().select(user_api="blas")
# Entries of the samples of a mask that are computed.
_MOST_ENTRIES = 4_000_000
# Of a network whose weights are followed as they are, whether they were trained or just drawn.
_FEW_WEIGHTS = 100_000


@dataclass(frozen=True)
class Options:
    """Settings of the analytic pass.

    Attributes:
        training: mode of the model.
        signal_variance: variance that AutoInit gives to pre-activations.
        centred: whether kernels are kept at zero mean per unit (`constrain_weights`).
        keep_frozen: whether frozen layers keep the weights that they have.
        zero_kernels: whether AutoInit leaves kernels that start at zero on purpose (`keep`), or
            draws them like the others (`replace`).
        seed, samples: for recurrent layers, which are sampled.
        batch: how many samples go through the model together.
        unsupported: what becomes of calls without a rule, a key of `UNSUPPORTED`.
        config: handed to estimators written by users.
        backward: whether kernels keep the variance of gradients in place of that of signals.
    """

    training: bool = True
    signal_variance: float = 1.0
    centred: bool = False
    keep_frozen: bool = False
    zero_kernels: str = "keep"
    seed: int = 0
    samples: int = 10_000
    batch: int = 128
    unsupported: str = "pass_through"
    config: Mapping[str, Any] = field(default_factory=dict)
    backward: bool = False

    def context(self, registry: Registry, load: Loader, kernels: KernelSource) -> Context:
        """What rules may know in a pass with these settings."""
        return Context(
            training=self.training,
            kernel_moments=kernels,
            load=load,
            seed=self.seed,
            samples=self.samples,
            options=self.config,
            signal_variance=self.signal_variance,
            registry=registry,
            batch=self.batch,
            unsupported=self.unsupported,
        )


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
    options = options or Options()
    kernels = GivenKernels(load, trained=_is_small(graph) or _is_trained(graph, load))
    return _Pass(graph, inputs, options.context(registry, load, kernels), {}).run()


def _is_small(graph: ModelGraph) -> bool:
    """Whether one draw of the weights does not average out, and following it takes little time."""
    layers = {id(call.layer): call.layer for call in graph.calls}
    weights = (each for layer in layers.values() for each in weights_of(layer))
    return bool(sum(math.prod(each.shape) for each in weights) <= _FEW_WEIGHTS)


def _is_trained(graph: ModelGraph, load: Loader) -> bool:
    """Whether the channels of a bias, or of a normalisation, differ: none does as it is drawn."""
    vectors = (
        getattr(call.layer, name, None)
        for call in graph.calls
        for name in ("bias", "gamma", "beta", "scale")
    )
    return any(
        len(getattr(each, "shape", ())) == 1 and bool(np.ptp(load(each)) > 0) for each in vectors
    )


def plan(
    graph: ModelGraph,
    inputs: Mapping[int, Signal],
    options: Options | None = None,
    registry: Registry = RULES,
    known: Mapping[int, Signal] | None = None,
    kept: frozenset[int] = frozenset(),
) -> Propagation:
    """Signals of a model with AutoInit's weights, and how to draw them (algorithm 1).

    Args:
        graph: of the model.
        inputs: the signals of its inputs, by value index.
        options: settings.
        registry: rules to use.
        known: signals that were measured, by value index; they take the place of the rules'.
        kept: identities of variables that stay as they are, beside those of frozen layers.
    """
    options = options or Options()
    kept = kept | frozen_variables(graph) if options.keep_frozen else kept
    zeros = zeros_on_purpose(graph, as_array) if options.zero_kernels == "keep" else frozenset()

    def run(loops: Mapping[int, float]) -> tuple[Propagation, _Pass]:
        latents = Latents(graph) if options.backward else None
        kernels = PlannedKernels(
            as_array,
            options.signal_variance,
            centred=options.centred,
            kept=kept,
            loops=loops,
            zeros=zeros,
            latents=latents,
        )
        walk = _Pass(
            graph, inputs, options.context(registry, as_array, kernels), known or {}, latents
        )
        return walk.run(), walk

    result, walk = run({})
    if walk.shared is None:
        return result
    uses = [use for each in walk.shared.uses.values() for use in each]

    def last_uses_of(loops: Mapping[int, float]) -> dict[int, tuple[float, float]]:
        result, walk = run(loops)
        chosen = {id(each.kernel.variable): each.standard_deviation for each in result.scales}
        return {
            key: (chosen[key], result.results[index].signals[0].variance)
            for index, of_call in cast(SharedKernels, walk.shared).uses.items()
            for key in (id(use.kernel.variable) for use in of_call)
            if key in chosen
        }

    loops = scales_for_loops(last_uses_of, options.signal_variance, len(uses))
    return run(loops)[0] if loops else result


class _Pass:
    """One walk through a graph's calls.

    Args:
        graph: of the model.
        inputs: the signals of its inputs, by value index.
        context: of the rules.
        measured: signals that take the place of the rules', by value index.
        latents: told the variance of each value.
    """

    def __init__(
        self,
        graph: ModelGraph,
        inputs: Mapping[int, Signal],
        context: Context,
        measured: Mapping[int, Signal],
        latents: Latents | None = None,
    ) -> None:
        self.graph = graph
        self.inputs = inputs
        met_again = variables_met_again(graph)
        self.shared = SharedKernels(met_again) if met_again else None
        if self.shared is not None:
            source = self.shared.recording(context.kernel_moments)
            context = replace(context, kernel_moments=source)
        self.context = replace(context, kept=graph.kept)
        self.measured, self.latents = measured, latents
        self.kind = type(next(iter(inputs.values())))
        self.factors = graph.factors()
        # Factors of the products that their other factor is added to, and those calls' inputs.
        self.gates: dict[int, Signal] = {}
        self.gated = _gated(graph)
        self.signals: dict[int, Signal] = {}
        self.tainted: set[int] = set()
        self.warned: set[int] = set()
        # Values that are computed, not described: of constants, and of samples of masks.
        self.values: dict[int, Any] = self._sampled_integers()

    def run(self) -> Propagation:
        """The results of all calls, in order."""
        results: list[RuleResult] = []
        # Its matrices are small: threads would wait for each other more than they compute.
        with _BLAS.limit(limits=1):
            for call, finished in zip(
                self.graph.calls, last_uses(self.graph, running=False), strict=True
            ):
                results.append(self._step(call))
                # Signals may be large: they are let go of once nothing reads them.
                for index in finished:
                    del self.signals[index]
                    self.values.pop(index, None)
        findings: dict[tuple[str, str], Finding] = {}
        for finding in (each for result in results for each in result.findings):
            findings.setdefault((finding.code, finding.path), finding)
        scales = tuple(scale for result in results for scale in result.scales)
        return Propagation(self.graph, tuple(results), scales, tuple(findings.values()))

    def _step(self, call: Call) -> RuleResult:
        """Leaves the signals of a call; gives its result, with what a measurement would show."""
        arrived = alike([self.signals[value.index] for value in call.inputs])
        result = self._mark_tainted(call, self._result(call, arrived))
        self._keep_gate(call, arrived)
        if self.shared is not None:
            result = self.shared.follow(call, arrived, result)
        for value, signal in zip(call.outputs, result.signals, strict=True):
            self.signals[value.index] = settled(cast(Signal, signal)).arrange(value.positions)
        observed = self._observed(call, result)
        if self.latents is not None:
            pairs = zip(call.outputs, observed, strict=True)
            self.latents.variances.update((value.index, each.variance) for value, each in pairs)
        return replace(result, signals=observed)

    def _keep_gate(self, call: Call, arrived: Sequence[Signal]) -> None:
        for reader, (product, place) in self.gated.items():
            if product == call.outputs[0].index:
                x = self.graph.calls[reader].inputs[place].index
                other = next(n for n, value in enumerate(call.inputs) if value.index != x)
                if arrived[other].latent_id != arrived[1 - other].latent_id:
                    self.gates[product] = arrived[other]

    def _result(self, call: Call, arrived: Sequence[Signal]) -> RuleResult:
        if call.is_input:
            return RuleResult((self.inputs[call.outputs[0].index],), Support.NEUTRAL)
        if call.outputs[0].constant:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                return self._of_constant(call, arrived)
        result = self._by_rule(call, arrived)
        if result.support is Support.PASS_THROUGH and call.placeholder is None:
            self._warn_unsupported(call)
        measured = self.measured.get(call.outputs[0].index)
        if measured is not None:
            result = _as_measured(result, measured)
        if call.inputs:
            self._compute_samples(call)
        return result

    def _by_rule(self, call: Call, arrived: Sequence[Signal]) -> RuleResult:
        if call.placeholder is not None:
            return not_run(call, arrived, self.context.unsupported)
        context = self._context_of(call)
        if call.index in self.gated:
            product, place = self.gated[call.index]
            # x·s + x = x·(1 + s): a product and its factor go together.
            if product in self.gates:
                gate = self.gates.pop(product).affine(1.0, 1.0)
                return RuleResult((arrived[place].combine("multiply", [gate]),), Support.EXACT)
        registration = context.registry.of_call(call)
        if registration is None:
            return without_rule(pass_through(call, arrived), call, arrived, context)
        # Signals that leave the range of floating point are findings, not warnings.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            result = registration.apply(call, arrived, context)
        if result.support is Support.PASS_THROUGH:
            result = without_rule(result, call, arrived, context)
        if not all(signal.finite for signal in arrived):
            # Some rules would make figures of it again, as normalisation does.
            unknown = self.kind.gaussian(math.nan, math.nan)
            result = replace(result, signals=(unknown,) * len(call.outputs))
        return result

    def _context_of(self, call: Call) -> Context:
        known = {v.index: self.values[v.index] for v in call.inputs if v.index in self.values}
        return replace(self.context, known=known) if known else self.context

    def _mark_tainted(self, call: Call, result: RuleResult) -> RuleResult:
        """Keeps account of what comes after a call without a rule."""
        tainted = any(value.index in self.tainted for value in call.inputs)
        if tainted or result.support is Support.PASS_THROUGH:
            self.tainted.update(value.index for value in call.outputs)
        return replace(result, tainted=True) if tainted else result

    def _observed(self, call: Call, result: RuleResult) -> tuple[Observed, ...]:
        with np.errstate(over="ignore", invalid="ignore"):
            first, *others = (
                self.signals[value.index].observed(value.channels, self.context.batch)
                for value in call.outputs
            )
            if result.weighted and call.inputs:
                slope = self.signals[call.inputs[0].index].chi_1
                first = replace(first, chi_1=slope)
        return first, *others

    def _warn_unsupported(self, call: Call) -> None:
        if id(call.layer) in self.warned:
            return
        self.warned.add(id(call.layer))
        # The paper's package warns in these words on the root logger; scripts may look for them.
        logging.warning(
            "No LayerOutputDistributionEstimator found for layer %s. "
            "Using the default PassThroughOutputDistributionEstimator instead.",
            call.class_name,
        )

    def _of_constant(self, call: Call, arrived: Sequence[Signal]) -> RuleResult:
        """Computed from the values that there are; a layer's table is drawn like an embedding."""
        if isinstance(call.layer, Parameter):
            return self._parameter(call, call.layer)
        if isinstance(call.layer, keras.Layer):
            result = self._by_rule(call, list(arrived) or [self.kind.gaussian(0.0, 1.0)])
            places = call.outputs[0].positions
            signals = tuple(
                cast(Signal, signal).arrange(places).of_every_sample() for signal in result.signals
            )
            return replace(result, signals=signals)
        if not all(value.index in self.values for value in call.inputs):
            return self._by_rule(call, arrived)
        self._compute(call)
        signals = tuple(self._signal(self.values[value.index]) for value in call.outputs)
        return RuleResult(signals, Support.EXACT)

    def _parameter(self, call: Call, parameter: Parameter) -> RuleResult:
        """A table that is added, such as one of positions, is drawn; other values stay.

        A kernel is drawn where it is multiplied.
        """
        values = np.asarray(self.context.load(parameter.variable), np.float64)
        (value,) = call.outputs
        result = RuleResult((), Support.EXACT)
        deviation = float(values.std()) if values.size else 0.0
        wide = sum(size > 1 for size in values.shape) > 1
        if value.index not in self.factors and wide and deviation > 0 and parameter.trainable:
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

    def _sampled_integers(self) -> dict[int, Any]:
        """Samples of inputs that are integers: a mask is what is computed from them."""
        generator = np.random.default_rng(self.context.seed)
        vocabulary = self.graph.vocabulary()
        integers = [
            value
            for call in self.graph.inputs
            for value in call.outputs
            if value.dtype.startswith(("int", "uint", "bool"))
        ]
        return {
            value.index: generator.integers(
                0, vocabulary.get(value.index, 2), (self.graph.batch, *value.sample)
            ).astype(value.dtype)
            for value in integers
        }

    def _compute_samples(self, call: Call) -> None:
        """What a call makes of samples, where they are known and it has no weights."""
        known = all(value.index in self.values for value in call.inputs)
        size = self.graph.batch * max(value.entries for value in call.outputs)
        has_weights = bool(weights_of(call.layer))
        if known and not (has_weights or call.placeholder or size > _MOST_ENTRIES):
            with contextlib.suppress(Exception):  # any layer's code; there are no samples then
                self._compute(call)

    def _compute(self, call: Call) -> None:
        given = [keras.ops.convert_to_tensor(self.values[value.index]) for value in call.inputs]
        results = call.run(given, self.context.training)
        self.values |= {
            value.index: as_array(result)
            for value, result in zip(call.outputs, results, strict=True)
        }


def _gated(graph: ModelGraph) -> dict[int, tuple[int, int]]:
    """Sums of a tensor and of its product with another, such as a gate.

    Returns:
        By the sum's call: the product's value, and the tensor's place among the call's inputs.
    """
    makers, found = graph.producers(), dict[int, tuple[int, int]]()
    for call in graph.calls:
        if type(call.layer).__name__ != "Add" or len(call.inputs) != 2 or call.placeholder:
            continue
        for place, value in enumerate(call.inputs):
            maker = makers.get(call.inputs[1 - place].index)
            if maker is None or type(maker.layer).__name__ != "Multiply" or maker.placeholder:
                continue
            factors = {each.index for each in maker.inputs}
            whole = value.shape == call.outputs[0].shape == maker.outputs[0].shape
            if whole and len(factors) == len(maker.inputs) == 2 and value.index in factors:
                found[call.index] = (maker.outputs[0].index, place)
    return found


def _as_measured(result: RuleResult, signal: Signal) -> RuleResult:
    by_rule = result.support in (Support.EXACT, Support.APPROXIMATE)
    return replace(
        result,
        signals=(signal, *result.signals[1:]),
        support=Support.SAMPLED if by_rule else result.support,
    )
