"""The comparison itself: predictions beside measurements, for each series of weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from app.jobs.devices import device_kind
from app.jobs.hints import input_scaling
from app.jobs.limits import Limits, memory_left
from app.jobs.specification import Settings
from autoinit.estimators import RULES
from autoinit.frozen import frozen_variables, is_frozen, settled_values
from autoinit.graph import ModelGraph
from autoinit.initializer.drawing import SavedWeights, apply_plans, draw_configured_weights
from autoinit.propagate import Options, Propagation, input_signals, plan, predict
from autoinit.randomness import derived
from autoinit.reading import read_model, recursion_depth
from autoinit.registry import Registry
from autoinit.report import Finding
from autoinit.signals import SIGNAL_MODELS
from autoinit.signals.phases import phase
from autoinit.signals.signal import Observed, Signal
from autoinit.weight_findings import frozen_weights, weights_not_finite
from probes.devices import Device
from probes.distributions import Shape
from probes.forward import Probe, probe_model
from probes.moments import Moments

Progress = Callable[[float, str], None]
# Standard deviation of a logarithm from which a call is not self-averaging: one draw in three lies
# a fifth or more from the typical one.
_SCATTERED = 0.2
# Python's default limit of 1,000 frames, less those of the loader itself.
_PLAIN_DEPTH = 900
_CORRELATIONS = ("sample_correlation", "position_correlation")
_PREDICTED = ("mean", "variance", "spread", "correlation_slope", *_CORRELATIONS)
_MEASURED = (
    "mean", "variance", "minimum", "maximum", "zero_fraction", "finite_fraction", *_CORRELATIONS,
)  # fmt: skip


# Shares of dead channels and of saturated entries that a person should know of.
_DEAD, _SATURATED = 0.25, 0.5


@dataclass
class Comparison:
    """What was found for each series, draw by draw.

    Attributes:
        graph: the calls.
        predictions, probes: one per draw, by series.
        other_model: the signal model that was not chosen.
        by_other: what that one predicts for the first draw's weights, by series.
        kept: identities of the frozen layers' weights, where those were kept.
        findings: what a person should know.
        timings: seconds by series.
    """

    graph: ModelGraph
    other_model: str
    predictions: dict[str, list[Propagation]] = field(default_factory=dict)
    probes: dict[str, list[Probe]] = field(default_factory=dict)
    by_other: dict[str, Propagation] = field(default_factory=dict)
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

    Raises:
        UnsupportedLayerError: for a layer without a rule, where the settings refuse it.
    """
    training = settings.mode == "training"
    graph = read_model(model, settings.input_size, registry=registry, training=training)
    keep_frozen = settings.keep_frozen and uploaded
    other = next(name for name in SIGNAL_MODELS if name != settings.signal_model)
    kept = frozen_variables(graph) if keep_frozen else frozenset()
    comparison = Comparison(graph, other, kept=kept)
    options = Options(
        training=training,
        signal_variance=settings.signal_variance,
        centred=settings.constrain_weights,
        keep_frozen=keep_frozen,
        seed=settings.seed,
        batch=settings.samples,
        unsupported=settings.unsupported,
    )
    signals, signals_of_other = (
        input_signals(graph, settings.input_mean, settings.input_variance, model)
        for model in (settings.signal_model, other)
    )
    seeds = [
        settings.seed if draw == 0 else derived(settings.seed, draw)
        for draw in range(settings.seeds)
    ]
    own = SavedWeights(v for layer in graph.layers() for v in getattr(layer, "weights", ()))
    series = ("default", "uploaded", "autoinit") if uploaded else ("default", "autoinit")
    steps = len(series) * len(seeds)
    step = 0

    def measure(name: str, draw: int, predicted: Propagation) -> None:
        nonlocal step
        stage = f"Measuring {name}" + (
            f", draw {draw + 1} of {len(seeds)}" if len(seeds) > 1 else ""
        )
        done = step / steps
        probe = probe_model(
            graph, settings.samples, seeds[draw], settings.input_mean, settings.input_variance,
            options.training, settings.device, memory_limit=_activation_memory(settings),
            progress=lambda share: progress(done + share / steps, stage),
        )  # fmt: skip
        step += 1
        comparison.predictions.setdefault(name, []).insert(0, predicted)
        comparison.probes.setdefault(name, []).insert(0, probe)

    findings: list[Finding] = []
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
                    drawn = {id(choice.kernel.variable) for choice in predicted.plans}
                    if uploaded and draw == 0:
                        findings += weights_not_finite(graph, drawn)
                    if comparison.kept:
                        probe = comparison.probes["uploaded"][draw]
                        known = _known(comparison, drawn, probe, settings.signal_model)
                        predicted = plan(graph, signals, options, registry, known=known)
                    apply_plans(
                        predicted.plans, settings.distribution, seeds[draw],
                        constrain=settings.constrain_weights,
                    )  # fmt: skip
                else:
                    predicted = predict(graph, signals, options, registry)
                findings += predicted.findings
                measure(name, draw, predicted)
            # The first draw's weights are in place: what does the other model say of them?
            try:
                comparison.by_other[name] = predict(graph, signals_of_other, options, registry)
            # An estimator of a user's own may raise anything; the result can do without it.
            except Exception as error:
                findings.append(_not_predicted(name, other, error))
    frozen = frozen_weights(graph, came=uploaded, keep=settings.keep_frozen)
    findings += [frozen] if frozen else []
    comparison.findings = _unique([*findings, *_notes(model, comparison, settings)])
    return comparison


def calls_as_data(comparison: Comparison) -> list[dict[str, Any]]:
    """The `calls` of a result file."""
    graph = comparison.graph
    signals_of = [call for call in graph.calls if not call.is_internal]
    numbers = {call.index: number for number, call in enumerate(signals_of)}
    producers = {index: call.index for index, call in graph.producers().items()}
    rows = []
    for call in signals_of:
        outcome = comparison.predictions["autoinit"][0].outcomes[call.index]
        row: dict[str, Any] = {
            "index": numbers[call.index],
            "path": call.path,
            "layer": call.layer_name,
            "class": call.class_name,
            "weighted": outcome.weighted,
            "output_shape": list(call.outputs[0].shape),
            "support": str(outcome.support),
            "tainted": outcome.tainted,
            "opaque": call.opaque.reason if call.opaque else None,
            "frozen": is_frozen(call, comparison.kept),
            "inputs": list(
                dict.fromkeys(
                    numbers[producers[value.index]]
                    for value in call.inputs
                    if producers[value.index] in numbers
                )
            ),
        }
        # At one position there is nothing to correlate with.
        has_positions = math.prod(call.outputs[0].positions) > 1
        expected = _PREDICTED if has_positions else _PREDICTED[:-1]
        if outcome.standard_error is not None:
            row["standard_error"] = _figure(outcome.standard_error)
        for name, predictions in comparison.predictions.items():
            signals = [
                _as_one_draw(prediction.outcomes[call.index].signals[0])
                for prediction in predictions
            ]
            every = [probe.moments[call.index] for probe in comparison.probes[name]]
            measured = [moments for moments in every if moments is not None]
            row[name] = {
                "predicted": _over_draws(signals, expected),
                # What cannot be run is not measured, in any draw.
                "measured": _over_draws(measured, _MEASURED) if measured else None,
            }
            if measured:
                row[name]["measured"] |= _shape_over_draws([m.shape for m in measured])
            if name in comparison.by_other:
                signal = comparison.by_other[name].outcomes[call.index].signals[0]
                row[name]["predicted_by"] = {
                    comparison.other_model: _over_draws([_as_one_draw(signal)], expected)
                }
        rows.append(row)
    return rows


def phases_as_data(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The `phases` of a result file: for each series, what its layers do to similar inputs.

    Batch normalisation takes away what inputs have in common: there is no fixed point at 1 then.
    """
    if any(call.class_name == "BatchNormalization" for call in comparison.graph.calls):
        return {}
    phases = {}
    for name, predictions in comparison.predictions.items():
        seen = (outcome.signals[0] for outcome in predictions[0].outcomes if outcome.weighted)
        slopes = [signal.correlation_slope for signal in seen]
        # The first reads data, and the rest of a network has to repeat something.
        known = [slope for slope in slopes[1:] if slope is not None and math.isfinite(slope)]
        if len(known) > 1 and min(known) > 0:
            slope = _geometric(known)
            phases[name] = {"slope": slope, "phase": phase(slope), "calls": len(known)}
    return phases


def _as_one_draw(signal: Any) -> Any:
    """What a measurement is held against: the variance around a draw's own mean."""
    return replace(signal, variance=signal.expected_variance)


def _over_draws(draws: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Means over draws; geometric for variances, which are listed too where there are several."""
    block: dict[str, Any] = {}
    for name in names:
        found = [getattr(draw, name) for draw in draws]
        if None in found:  # the signal model does not tell
            continue
        values = [float(value) for value in found]
        block[name] = _figure(_geometric(values) if name == "variance" else fmean(values))
    if len(draws) > 1 and "variance" in names:
        block["variance_draws"] = [_figure(float(draw.variance)) for draw in draws]
    return block


def _shape_over_draws(draws: Sequence[Shape]) -> dict[str, Any]:
    """Kurtosis, channels' variances, dead and saturated shares, as far as they are known."""
    block = _over_draws(draws, ("kurtosis", "dead_fraction", "saturated_fraction"))
    channels = [draw.channel_variances for draw in draws]
    if None not in channels:
        columns = zip(*(each for each in channels if each), strict=True)
        block["channel_variances"] = [_figure(_geometric(column)) for column in columns]
    return block


def _geometric(values: Sequence[float]) -> float:
    if not all(math.isfinite(value) for value in values):
        return math.nan
    if min(values) <= 0.0:
        return 0.0
    return math.exp(fmean(math.log(value) for value in values)) if len(values) > 1 else values[0]


def _figure(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _notes(model: Any, comparison: Comparison, settings: Settings) -> Iterator[Finding]:
    graph = comparison.graph
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
    yield from input_scaling(graph, settings.input_mean, settings.input_variance)
    for series, probes in comparison.probes.items():
        first = _first_not_finite(graph, probes[0].moments)
        if first is not None:
            yield Finding(
                "not_finite", first.path, first.class_name,
                f"With {series} weights the signal is NaN or beyond the range of floating point, "
                f"first at {first.path!r}.",
            )  # fmt: skip
    yield from _not_self_averaging(comparison)
    yield from _dead_or_saturated(comparison)
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


def _not_predicted(series: str, signal_model: str, error: Exception) -> Finding:
    return Finding(
        "other_model_failed", "", "",
        f"What the {signal_model} signal model predicts for {series} weights is left out: "
        f"{type(error).__name__}: {error}.",
    )  # fmt: skip


def _not_self_averaging(comparison: Comparison) -> Iterator[Finding]:
    """One sentence for all calls of which single draws scatter, with AutoInit's weights."""
    outcomes = comparison.predictions["autoinit"][0].outcomes
    seen = [
        (outcome.signals[0], call)
        for call, outcome in zip(comparison.graph.calls, outcomes, strict=True)
        if not call.is_internal
    ]
    spreads = [
        (signal.spread, call)
        for signal, call in seen
        if isinstance(signal, Observed) and signal.spread is not None
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


def _dead_or_saturated(comparison: Comparison) -> Iterator[Finding]:
    """For each series, one sentence for its dead channels and one for saturated activations."""
    graph = comparison.graph
    for series, probes in comparison.probes.items():
        for code, name, least, told in (
            ("dead_channels", "dead_fraction", _DEAD,
             "give zero for every sample in {share} of their channels: nothing passes, and no "
             "gradient returns, through these"),
            ("saturated", "saturated_fraction", _SATURATED,
             "are saturated in {share} of their entries: gradients hardly pass there"),
        ):  # fmt: skip
            found = [
                (getattr(moments.shape, name), call)
                for call, moments in zip(graph.calls, probes[0].moments, strict=True)
                if moments is not None and (getattr(moments.shape, name) or 0.0) >= least
            ]
            if found:
                most, call = max(found, key=lambda pair: pair[0])
                share = told.format(share=f"{least:.0%} or more")
                yield Finding(
                    code, call.path, call.class_name,
                    f"With {series} weights {len(found):,} calls {share}, most at {call.path!r} "
                    f"({most:.0%}).",
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


def _first_not_finite(graph: ModelGraph, moments: Sequence[Moments | None]) -> Any:
    pairs = zip(graph.calls, moments, strict=True)
    return next(
        (call for call, figures in pairs if figures is not None and figures.finite_fraction < 1.0),
        None,
    )


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
