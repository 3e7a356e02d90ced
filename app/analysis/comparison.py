"""The comparison itself: predictions beside measurements, for each series of weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.analysis.devices import device_kind
from app.analysis.diagnosis.input_scaling import input_scaling
from app.analysis.diagnosis.weights import frozen_weights, weights_not_finite
from app.analysis.inputs import Inputs, inputs_of
from app.analysis.settings import Settings
from app.limits import Limits, memory_left
from autoinit.arrays import as_array
from autoinit.findings import Finding
from autoinit.graph.frozen import frozen_variables, settled_values
from autoinit.graph.keras_models import recursion_depth
from autoinit.graph.model_graph import ModelGraph
from autoinit.initializers.drawing import SavedWeights, apply_plans, draw_configured_weights
from autoinit.propagation import Options, Propagation, input_signals, plan, predict
from autoinit.randomness import derived
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.registry import Registry
from autoinit.signals import SIGNAL_MODELS
from autoinit.signals.signal import Observed, Signal
from probes.devices import Device
from probes.forward import Probe, probe_model
from probes.gradients import Gradients, probe_gradients
from probes.inputs import Data
from probes.jacobian import JacobianSpectrum, probe_jacobian
from probes.segments import CompiledPasses

Progress = Callable[[float, str], None]
# Standard deviation of a logarithm from which a call is not self-averaging: one draw in three lies
# a fifth or more from the typical one.
_SCATTERED = 0.2
# What a pass back takes beside a pass forward, for the bar.
_GRADIENT_STEPS = 3
# Python's default limit of 1,000 frames, less those of the loader itself.
_PLAIN_DEPTH = 900


@dataclass
class Comparison:
    """What was found for each series, draw by draw.

    Attributes:
        graph: the calls.
        predictions, probes: one per draw, by series.
        other_model: the signal model that was not chosen.
        by_other: what that one predicts for the first draw's weights, by series.
        gradients: one per draw, by series, where they were asked for and could be measured.
        jacobians: of the first draw's weights, likewise.
        deviations: of the first draw's kernels, by series and identity of the variable.
        registry: of the rules that were used.
        inputs: what the inputs were taken to be.
        kept: identities of the frozen layers' weights, where those were kept.
        findings: what a person should know.
        timings: seconds by series.
    """

    graph: ModelGraph
    other_model: str
    predictions: dict[str, list[Propagation]] = field(default_factory=dict)
    probes: dict[str, list[Probe]] = field(default_factory=dict)
    by_other: dict[str, Propagation] = field(default_factory=dict)
    gradients: dict[str, list[Gradients]] = field(default_factory=dict)
    jacobians: dict[str, JacobianSpectrum] = field(default_factory=dict)
    deviations: dict[str, dict[int, float]] = field(default_factory=dict)
    registry: Registry = RULES
    inputs: Inputs | None = None
    kept: frozenset[int] = frozenset()
    findings: list[Finding] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def device(self) -> Device:
        """Where the probes ran."""
        return self.probes["autoinit"][0].device

    @property
    def batch_size(self) -> int:
        """The smallest batch that went through together."""
        return min(probe.batch_size for probes in self.probes.values() for probe in probes)


def compare(
    model: Any,
    settings: Settings,
    *,
    uploaded: bool,
    registry: Registry = RULES,
    progress: Progress = lambda fraction, stage: None,
    preview: Callable[[Comparison], None] = lambda comparison: None,
    data: Data | None = None,
) -> Comparison:
    """Analyse a model with its default, its uploaded and AutoInit's weights.

    The model is worked on in place: it ends with AutoInit's weights of the first draw, and with
    its layers' initialisers recorded.

    Args:
        model: with a graph.
        settings: of the analysis.
        uploaded: whether the model's own weights are a series; if not, they count as a draw by
            its initialisers.
        registry: rules to use.
        progress: told the share done and what is being done.
        preview: given what is known so far whenever a series has been predicted, of which nothing
            has been measured then.
        data: real data for the inputs, by their names.

    Raises:
        UnsupportedLayerError: for a layer without a rule, where the settings refuse it.
        ModelFileError: for data that do not fit the inputs.
        ValueError: for moments of an input that is not there, or that takes integers.
    """
    training = settings.mode == "training"
    graph = read_model(model, settings.input_size, registry=registry, training=training)
    keep_frozen = settings.keep_frozen and uploaded
    other = next(name for name in SIGNAL_MODELS if name != settings.signal_model)
    kept = frozen_variables(graph) if keep_frozen else frozenset()
    comparison = Comparison(graph, other, kept=kept, registry=registry)
    options = Options(
        training=training,
        signal_variance=settings.signal_variance,
        centred=settings.constrain_weights,
        keep_frozen=keep_frozen,
        seed=settings.seed,
        batch=settings.samples,
        unsupported=settings.unsupported,
    )
    inputs = comparison.inputs = inputs_of(graph, settings, data)
    signals, signals_of_other = (
        input_signals(graph, inputs.mean, inputs.variance, model)
        for model in (settings.signal_model, other)
    )
    seeds = [
        settings.seed if draw == 0 else derived(settings.seed, draw)
        for draw in range(settings.seeds)
    ]
    own = SavedWeights(v for layer in graph.layers() for v in getattr(layer, "weights", ()))
    series = ("default", "uploaded", "autoinit") if uploaded else ("default", "autoinit")
    findings: list[Finding] = []
    compiled = CompiledPasses()
    each = 1 + _GRADIENT_STEPS * settings.gradients
    steps = len(series) * (len(seeds) * each + settings.jacobian)
    done = 0

    def report(what: str, draw: int | None, size: int) -> Callable[[float], None]:
        nonlocal done
        start, stage = done / steps, what
        done += size
        if draw is not None and len(seeds) > 1:
            stage += f", draw {draw + 1} of {len(seeds)}"
        return lambda share: progress(start + share * size / steps, stage)

    def measure(name: str, draw: int, predicted: Propagation) -> None:
        comparison.predictions.setdefault(name, []).insert(0, predicted)
        if name not in comparison.probes:
            preview(comparison)
        chosen = (seeds[draw], inputs.mean, inputs.variance, training, settings.device)
        probe = probe_model(
            graph, settings.samples, *chosen, input_data=inputs.data,
            memory_limit=_activation_memory(settings),
            progress=report(f"Measuring {name}", draw, 1),
        )  # fmt: skip
        comparison.probes.setdefault(name, []).insert(0, probe)
        if settings.gradients:
            what = f"The gradients with {name} weights"
            with _told(findings, "gradients_not_measured", what, (MemoryError,)):
                gradients = probe_gradients(
                    graph, settings.samples, *chosen, input_data=inputs.data, logits=True,
                    memory_limit=_activation_memory(settings), compiled=compiled,
                    progress=report(f"Measuring gradients, {name}", draw, _GRADIENT_STEPS),
                )  # fmt: skip
                comparison.gradients.setdefault(name, []).insert(0, gradients)

    for name in series:
        with _timed(comparison.timings, name):
            # Backwards, so that the first draw's weights are those that stay.
            for draw in reversed(range(len(seeds))):
                if name == "uploaded" or (name == "autoinit" and uploaded):
                    own.restore()
                else:
                    findings += draw_configured_weights(graph, seeds[draw], comparison.kept)
                if name == "autoinit":
                    predicted = plan(graph, signals, options, registry)
                    drawn = {id(choice.kernel.variable) for choice in predicted.scales}
                    if uploaded and draw == 0:
                        findings += weights_not_finite(graph, drawn)
                    if comparison.kept:
                        probe = comparison.probes["uploaded"][draw]
                        known = _known(comparison, drawn, probe, settings.signal_model)
                        predicted = plan(graph, signals, options, registry, known=known)
                    apply_plans(
                        predicted.scales, settings.distribution, seeds[draw],
                        constrain=settings.constrain_weights,
                    )  # fmt: skip
                else:
                    predicted = predict(graph, signals, options, registry)
                findings += predicted.findings
                measure(name, draw, predicted)
            comparison.deviations[name] = _deviations(graph)
            # The first draw's weights are in place: what does the other model say of them?
            with _told(
                findings, "other_model_failed",
                f"What the {other} signal model predicts for {name} weights",
            ):  # fmt: skip
                comparison.by_other[name] = predict(graph, signals_of_other, options, registry)
            if settings.jacobian:
                what = f"The Jacobian with {name} weights"
                with _told(findings, "no_jacobian", what, (ValueError, MemoryError)):
                    comparison.jacobians[name] = probe_jacobian(
                        graph, settings.jacobian, seeds[0], inputs.mean, inputs.variance,
                        input_data=inputs.data, device=settings.device, logits=True,
                        progress=report(f"Measuring the Jacobian, {name}", None, settings.jacobian),
                    )  # fmt: skip
    frozen = frozen_weights(graph, came=uploaded, keep=settings.keep_frozen)
    findings += [frozen] if frozen else []
    comparison.findings = _unique([*findings, *_notes(model, comparison, settings, inputs)])
    return comparison


def _notes(
    model: Any, comparison: Comparison, settings: Settings, inputs: Inputs
) -> Iterator[Finding]:
    graph = comparison.graph
    yield from inputs.findings
    for name, shape in graph.assumed.items():
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        yield Finding(
            "assumed_size", name, "InputLayer",
            f"Input {name!r} leaves sizes open: ({sizes}) was taken. Choose another with the size "
            "for unknown dimensions (--input-size).",
        )  # fmt: skip
    depth = recursion_depth(model)
    if depth > _PLAIN_DEPTH:
        yield Finding(
            "deep_model", "", "",
            f"Keras recurses {depth} calls deep to open this model: a plain Python process must "
            f"call sys.setrecursionlimit({2 * depth + 1000}) before keras.models.load_model.",
        )  # fmt: skip
    yield from input_scaling(graph, inputs.mean, inputs.variance, inputs.from_data)
    yield from _not_self_averaging(comparison)
    if comparison.batch_size < settings.samples:
        yield Finding(
            "batch_reduced", "", "",
            f"{settings.samples} samples did not fit into memory together: they went through in "
            f"batches of {comparison.batch_size}, and batch normalisation saw no more at once.",
        )  # fmt: skip
    if settings.constrain_weights:
        yield Finding(
            "constraint_needs_import", "", "",
            "The model carries AutoInit's constraint: `import autoinit` before loading it.",
        )  # fmt: skip


def _deviations(graph: ModelGraph) -> dict[int, float]:
    """Standard deviations of the entries of all kernels, as they are now."""
    return {
        id(weight): float(as_array(weight).std(dtype=np.float64))
        for layer in graph.layers()
        for weight in getattr(layer, "weights", ())
        if len(weight.shape) > 1
    }


@contextmanager
def _told(
    findings: list[Finding], code: str, what: str, sentences: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Go on without what fails inside the block, and say so.

    A layer or an estimator of a user's own may raise anything; the result can do without.

    Args:
        findings: to which a sentence is added.
        code: of the finding.
        what: is left out.
        sentences: exceptions whose message is one that a person can read.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        kind = "" if isinstance(error, sentences) else f"{type(error).__name__}: "
        findings.append(Finding(code, "", "", f"{what} is left out: {kind}{reason}."))


def _not_self_averaging(comparison: Comparison) -> Iterator[Finding]:
    """One sentence for all calls of which single draws scatter, with AutoInit's weights."""
    outcomes = comparison.predictions["autoinit"][0].results
    seen = [
        (outcome.signals[0], call)
        for call, outcome in zip(comparison.graph.calls, outcomes, strict=True)
        if not call.is_internal
    ]
    spreads = [
        (signal.log_deviation, call)
        for signal, call in seen
        if isinstance(signal, Observed) and signal.log_deviation is not None
    ]
    scattered = [(spread, call) for spread, call in spreads if spread >= _SCATTERED]
    if scattered:
        spread, call = max(scattered, key=lambda pair: pair[0])
        yield Finding(
            "not_self_averaging", call.path, call.class_name,
            f"{len(scattered):,} of {len(seen):,} calls are not self-averaging: "
            "they are narrow, or much of what they carry is the same for all inputs, and one draw "
            "of weights differs from the next. Their variances scatter by a factor of "
            f"{math.exp(_SCATTERED):.1f} or more, most at {call.path!r}: {math.exp(spread):.2g}. "
            "Several draws (--seeds) show by how much.",
        )  # fmt: skip


def _known(
    comparison: Comparison, drawn: set[int], probe: Probe, signal_model: str
) -> dict[int, Signal]:
    """What frozen layers really give, as it was measured with the same weights and inputs.

    Trained channels differ from each other, which the rules' signals do not tell.
    """
    graph, kind = comparison.graph, SIGNAL_MODELS[signal_model]
    settled = settled_values(graph, comparison.kept, drawn)
    return {
        call.outputs[0].index: kind.gaussian(moments.mean, moments.variance)
        for call, moments in zip(graph.calls, probe.moments, strict=True)
        if moments is not None
        and call.outputs[0].index in settled
        and math.isfinite(moments.variance)
    }


def _activation_memory(settings: Settings) -> int | None:
    """Half of what this worker may still take; what a GPU has is the probe's business."""
    if device_kind(settings.device) != "cpu":
        return None
    return memory_left(Limits.from_environment().memory_bytes) // 2


def _unique(findings: Sequence[Finding]) -> list[Finding]:
    return list({(finding.code, finding.path): finding for finding in reversed(findings)}.values())[
        ::-1
    ]


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[name] = round(time.perf_counter() - start, 4)
