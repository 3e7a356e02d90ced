"""The analytic interpreter: signals are pushed through the calls of a graph, rule by rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from autoinit.arrays import as_array
from autoinit.findings import Finding
from autoinit.graph.frozen import frozen_variables
from autoinit.graph.input_moments import PerInput, input_moments
from autoinit.graph.model_graph import ModelGraph, weights_of
from autoinit.graph.zeros import zeros_on_purpose
from autoinit.propagation.walk import Walk
from autoinit.rules import RULES
from autoinit.rules.kernel_sources import GivenKernels, Latents, PlannedKernels
from autoinit.rules.kernels import Loader
from autoinit.rules.registry import Context, KernelScale, KernelSource, Registry, RuleResult
from autoinit.rules.shared_kernels import SharedKernels, scales_for_loops
from autoinit.signals import DEFAULT_SIGNAL_MODEL, SIGNAL_MODELS
from autoinit.signals.signal import Observed, Signal

# Of a network whose weights are followed as they are, whether they were trained or just drawn.
_FEW_WEIGHTS = 100_000


@dataclass(frozen=True)
class Options:
    """Settings of the analytic pass.

    Attributes:
        training: mode of the model.
        signal_variance: variance that AutoInit gives to pre-activations.
        centered: whether kernels are kept at zero mean per unit (`constrain_weights`).
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
    centered: bool = False
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
    return _result(Walk(graph, inputs, options.context(registry, load, kernels), {}))


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

    def run(loops: Mapping[int, float]) -> tuple[Propagation, Walk]:
        latents = Latents(graph) if options.backward else None
        kernels = PlannedKernels(
            as_array,
            options.signal_variance,
            centered=options.centered,
            kept=kept,
            loops=loops,
            zeros=zeros,
            latents=latents,
        )
        walk = Walk(
            graph, inputs, options.context(registry, as_array, kernels), known or {}, latents
        )
        return _result(walk), walk

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


def _result(walk: Walk) -> Propagation:
    """What comes of a walk."""
    results = walk.results()
    findings: dict[tuple[str, str], Finding] = {}
    for finding in (each for result in results for each in result.findings):
        findings.setdefault((finding.code, finding.path), finding)
    scales = tuple(scale for result in results for scale in result.scales)
    return Propagation(walk.graph, results, scales, tuple(findings.values()))
