"""From a comparison to its result: the figures over draws, call by call."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean, median
from typing import Any, NamedTuple

import keras
import numpy as np

from app.analysis import result
from app.analysis.comparison.found import Comparison
from app.analysis.comparison.inputs import Inputs
from app.analysis.diagnosis.findings import findings_of, once_each, verdicts_of
from app.analysis.formats import format_findings
from app.analysis.job_spec import JobSpec, sha256
from app.analysis.result import (
    Call,
    CallFigures,
    GradientMoments,
    JacobianFacts,
    Kernel,
    Measurement,
    Phase,
    Prediction,
    Preview,
    Result,
    RuleFacts,
    VariableGradient,
    VarianceSpread,
)
from app.analysis.settings import Settings
from autoinit.findings import Finding
from autoinit.graph import model_graph as graph_model
from autoinit.graph.frozen import is_frozen
from autoinit.graph.input_moments import integer_inputs
from autoinit.graph.placeholders import Opaque
from autoinit.initializers.distributions import make_initializer
from autoinit.model_files import Download, ModelFile
from autoinit.model_files.check.substitutes import offer
from autoinit.signals.phases import phase
from probes.formats import NOTABLE, Rounding
from probes.jacobian import JacobianSpectrum
from probes.moments.distribution import Distribution
from probes.moments.figures import Moments
from probes.moments.precision import over_draws
from probes.moments.spread import spread_of

_KERAS_VERSION: str = keras.__version__
_SERIES = ("default", "autoinit", "uploaded")  # in the order of the file; others follow
_CORRELATIONS = ("sample_correlation", "position_correlation")
_PREDICTED = ("mean", "variance", "spread", "correlation_slope", *_CORRELATIONS)
# Of signals, where they are not called as in a result file.
_ATTRIBUTES = {"spread": "log_deviation", "correlation_slope": "chi_1"}
_MEASURED = (
    "mean",
    "variance",
    "minimum",
    "maximum",
    "zero_fraction",
    "finite_fraction",
    *_CORRELATIONS,
)
_GRADIENT = ("mean", "variance", "minimum", "maximum", "zero_fraction", "finite_fraction")
_BINS = (8, 60)  # of a spectrum's density: fewest and most


def result_of(
    comparison: Comparison,
    model: Any,
    source: Source,
    spec: JobSpec,
    findings: Sequence[Finding],
    timings: Mapping[str, float],
    downloads: Sequence[Download] | None = None,
) -> Result:
    """What a result file holds.

    Args:
        comparison: what was found.
        model: that was compared.
        source: where it came from.
        spec: what was asked for.
        findings: what a person should know; what the figures say is added.
        timings: seconds by stage.
        downloads: what was saved beside the result.
    """
    graph = comparison.graph
    calls = calls_of(comparison)
    series, formats = _in_order(comparison.probes), formats_of(comparison)
    disabled = spec.settings.disable
    stored = [
        result.Finding.model_validate(finding.as_dict())
        for finding in findings
        if finding.code not in disabled
    ]
    saved = () if downloads is None else tuple(result.DownloadFacts(**asdict(d)) for d in downloads)
    return Result(
        schema_version=result.SCHEMA,
        model=result.ModelFacts(
            name=spec.name,
            **source._asdict(),
            layers=len(graph.layers()),
            calls=len(calls),
            parameters=int(model.count_params()),
            inputs=tuple(_input_facts(call, comparison.inputs) for call in graph.inputs),
        ),
        settings=_used_settings(spec.settings, comparison),
        device=result.DeviceFacts(**asdict(comparison.device)),
        series=series,
        timings=dict(timings),
        calls=calls,
        samples=comparison.samples,
        phases=phases_of(comparison),
        gradients=gradients_of(comparison),
        jacobian=jacobian_of(comparison),
        fisher=fisher_of(comparison),
        formats=formats,
        rules=rules_of(comparison),
        verdicts=verdicts_of(comparison.diagnosis.verdicts),
        findings=(
            *once_each((*findings_of(comparison.diagnosis, calls, series, disabled), *stored)),
            *(each for each in format_findings(formats) if each.code not in disabled),
        ),
        offers=_offers(graph),
        **({} if downloads is None else {"downloads": saved}),
    )


def _offers(graph: graph_model.ModelGraph) -> tuple[str, ...]:
    """What parts that are not run may be treated as, each once."""
    parts = [call.placeholder for call in graph.calls if call.placeholder is not None]
    found = [
        offer(part.original, part.name) if isinstance(part, Opaque) else offer(part.name)
        for part in parts
    ]
    return tuple(dict.fromkeys(filter(None, found)))[:MOST_OFFERS]


def _input_facts(call: graph_model.Call, inputs: Inputs | None) -> result.InputFacts:
    (value,) = call.outputs
    known: dict[str, Any] = {}
    if inputs is not None:
        figures = {"mean": inputs.mean.get(call.path), "variance": inputs.variance.get(call.path)}
        known = {name: figure for name, figure in figures.items() if figure is not None}
        known["taken"] = inputs.taken.get(call.path, "")
    return result.InputFacts(name=call.path, shape=value.shape, dtype=value.dtype, **known)


def preview_of(comparison: Comparison, settings: Settings) -> Preview:
    """The part of a result that its chart needs, of a comparison that is under way."""
    foreseen = {
        series: facts.model_copy(update={"foreseen": True})
        for series, facts in verdicts_of(comparison.foreseen).items()
    }
    return Preview(
        settings=result.UsedSettings(signal_variance=settings.signal_variance),
        series=_in_order(comparison.predictions),
        calls=calls_of(comparison),
        verdicts=foreseen | verdicts_of(comparison.diagnosis.verdicts),
    )


MOST_OFFERS = 8


class Source(NamedTuple):
    """Where a model came from; without a file, a sample or a live model."""

    format: str = "sample"
    keras_version: str | None = _KERAS_VERSION
    keras: int = 3
    sha256: str = ""
    compiled: bool = False

    @classmethod
    def of(cls, file: ModelFile | None) -> Source:
        """The file's record."""
        if file is None:
            return cls()
        record = file.record
        compiled = bool(record.compile_settings)
        return cls(record.format, record.keras_version, record.keras, file.sha256, compiled)


def _used_settings(settings: Settings, comparison: Comparison) -> result.UsedSettings:
    """The settings as a result has them: the data's name and digest, not where they lie here.

    What the inputs were taken to be is given in numbers, and by name where inputs have moments of
    their own, be they chosen or the data's: who does the same again need not have the data.
    """
    used = settings.model_dump()
    inputs = comparison.inputs
    if inputs is not None:
        integers = integer_inputs(comparison.graph)
        moments = {
            call.path: [inputs.mean[call.path], inputs.variance[call.path]]
            for call in comparison.graph.inputs
            if call.outputs[0].index not in integers
        }
        several = len({tuple(each) for each in moments.values()}) > 1
        if inputs.from_data or settings.input_moments or several:
            used["input_moments"] = moments
        elif moments and settings.takes_expected_input:
            used["input_mean"], used["input_variance"] = next(iter(moments.values()))
        used["input_auto"] = settings.takes_expected_input and not inputs.from_data
    for name, usual in (("input_mean", 0.0), ("input_variance", 1.0)):
        used[name] = usual if used[name] is None else used[name]
    del used["input_data_name"]
    if not settings.disable:
        del used["disable"]
    if settings.input_data is not None:
        used |= {"input_data": settings.data_name, "input_data_sha256": sha256(settings.input_data)}
    if comparison.probes:
        used |= {
            "samples": min(comparison.samples.values()),
            "samples_asked": settings.samples,
            "batch_size": comparison.batch_size,
        }
    return result.UsedSettings(**used)


def calls_of(comparison: Comparison) -> tuple[Call, ...]:
    """The calls with their figures; of a comparison that is under way, as far as it has come."""
    graph = comparison.graph
    latest = next(reversed(comparison.predictions.values()))[0]
    visible = [call for call in graph.calls if not call.is_internal]
    numbers = {call.index: number for number, call in enumerate(visible)}
    producers = {index: call.index for index, call in graph.producers().items()}
    kernels = _kernels(comparison)
    calls = []
    for call in visible:
        outcome = latest.results[call.index]
        sources = (producers[value.index] for value in call.inputs)
        known: dict[str, Any] = {}
        summary = comparison.summaries.get(call.index)
        if summary is not None:
            known |= {name: value for name, value in summary._asdict().items() if value is not None}
        if call.path in kernels:
            known["kernels"] = tuple(kernels[call.path])
        if not outcome.at_target:
            known["at_target"] = False
        if outcome.standard_error is not None:
            known["standard_error"] = _figure(outcome.standard_error)
        calls.append(
            Call.model_validate(
                {
                    "index": numbers[call.index],
                    "path": call.path,
                    "layer": call.layer_name,
                    "class": call.class_name,
                    "weighted": outcome.weighted,
                    "output_shape": call.outputs[0].shape,
                    "support": str(outcome.support),
                    "tainted": outcome.tainted,
                    "opaque": call.placeholder.reason if call.placeholder else None,
                    "frozen": is_frozen(call, comparison.kept),
                    "inputs": tuple(
                        dict.fromkeys(numbers[each] for each in sources if each in numbers)
                    ),
                    "series": {
                        name: _figures(comparison, name, call) for name in comparison.predictions
                    },
                    **known,
                }
            )
        )
    return tuple(calls)


def _figures(comparison: Comparison, series: str, call: graph_model.Call) -> CallFigures:
    """All figures of a call with a series' weights."""
    index, output = call.index, call.outputs[0]
    # At one position there is nothing to correlate with.
    names = _PREDICTED if math.prod(output.positions) > 1 else _PREDICTED[:-1]
    signals = [
        _as_one_draw(prediction.results[index].signals[0])
        for prediction in comparison.predictions[series]
    ]
    predicted = Prediction(**_over_draws(signals, names))
    every = [probe.moments[index] for probe in comparison.probes.get(series, ())]
    draws = [moments for moments in every if moments is not None]
    # What cannot be run is not measured, in any draw.
    measured = _measurement(draws) if draws else None
    known: dict[str, Any] = {}
    if len(draws) > 1 and measured is not None:
        known["outside_band"] = _is_outside(predicted, measured)
    if series in comparison.gradients:
        backward = [probe.moments[index] for probe in comparison.gradients[series]]
        known["gradient"] = _gradient(backward, output.entries)
    updates = comparison.updates.get(series)
    if updates and updates[index] is not None:
        known["update_ratio"] = _figure(updates[index])
    if series in comparison.by_other:
        signal = comparison.by_other[series].results[index].signals[0]
        by_other = Prediction(**_over_draws([_as_one_draw(signal)], names))
        known["predicted_by"] = {comparison.other_model: by_other}
    return CallFigures(predicted=predicted, measured=measured, **known)


def _measurement(draws: Sequence[Moments]) -> Measurement:
    block = _over_draws(draws, _MEASURED) | _shape_over_draws([draw.shape for draw in draws])
    error = over_draws([draw.standard_error for draw in draws])
    if error is not None:
        block["standard_error"] = _figure(error)
    if len(draws) > 1:
        block["variance_spread"] = _spread([draw.variance for draw in draws])
    return Measurement(**block)


def phases_of(comparison: Comparison) -> dict[str, Phase]:
    """For each series, what its layers do to similar inputs.

    Batch normalisation takes away what inputs have in common: there is no fixed point at 1 then.
    """
    if any(call.class_name == "BatchNormalization" for call in comparison.graph.calls):
        return {}
    phases = {}
    for name, predictions in comparison.predictions.items():
        seen = (outcome.signals[0] for outcome in predictions[0].results if outcome.weighted)
        slopes = [signal.chi_1 for signal in seen]
        # The first reads data, and the rest of a network has to repeat something.
        known = [slope for slope in slopes[1:] if slope is not None and math.isfinite(slope)]
        if len(known) > 1 and min(known) > 0:
            slope = _geometric(known)
            phases[name] = Phase.model_validate(
                {"slope": slope, "phase": phase(slope), "calls": len(known)}
            )
    return phases


def _as_one_draw(signal: Any) -> Any:
    """What a measurement is held against: the variance around a draw's own mean."""
    return replace(signal, variance=signal.expected_variance)


def _over_draws(draws: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Means over draws; geometric for variances, which are listed too where there are several."""
    block: dict[str, Any] = {}
    for name in names:
        found = [getattr(draw, _ATTRIBUTES.get(name, name)) for draw in draws]
        if None in found:  # the signal model does not tell
            continue
        values = [float(value) for value in found]
        block[name] = _figure(_geometric(values) if name == "variance" else fmean(values))
    if len(draws) > 1 and "variance" in names:
        block["variance_draws"] = [_figure(float(draw.variance)) for draw in draws]
    return block


def _spread(variances: Sequence[float]) -> VarianceSpread | None:
    """What the draws' variances come to."""
    spread = spread_of(variances)
    if spread is None:
        return None
    return VarianceSpread(**{name: _figure(value) for name, value in asdict(spread).items()})


def _is_outside(predicted: Prediction, measured: Measurement) -> bool | None:
    """Whether the predicted variance is not between the 10th and the 90th percentile of draws."""
    variance, spread = predicted.variance, measured.variance_spread
    if variance is None or spread is None or spread.low is None:
        return None
    return not (spread.low <= variance and (spread.high is None or variance <= spread.high))


def _gradient(draws: Sequence[Moments | None], entries: int) -> GradientMoments | None:
    """Figures of what flows back to a call's output.

    `square_norm` is that of one sample's gradient, on average: what a pooling layer spreads over
    many entries stays in sight.
    """
    known = [draw for draw in draws if draw is not None]
    if not known:
        return None
    block = _over_draws(known, _GRADIENT)
    norms = [entries * (draw.variance + draw.mean**2) for draw in known]
    return GradientMoments(**block, square_norm=_figure(_geometric(norms)))


def _in_order(series: Collection[str]) -> tuple[str, ...]:
    """Series as they stand in the file."""
    known = [name for name in _SERIES if name in series]
    return *known, *(name for name in series if name not in _SERIES)


def rules_of(comparison: Comparison) -> dict[str, RuleFacts]:
    """For each class of calls its rule, and what that says."""
    found: dict[str, RuleFacts] = {}
    for call in comparison.graph.calls:
        if call.is_internal or call.class_name in found:
            continue
        registration = None if call.placeholder else comparison.registry.of_call(call)
        if registration is not None:
            text = inspect.getdoc(registration.rule) or ""
            says = " ".join(text.partition("\n\n")[0].split())
            name = getattr(registration.rule, "__name__", type(registration.rule).__name__)
            found[call.class_name] = RuleFacts(rule=name, says=says)
    return found


def _kernels(comparison: Comparison) -> dict[str, list[Kernel]]:
    """The kernels that AutoInit draws, by the path of the call that they were planned for."""
    found: dict[str, list[Kernel]] = {}
    planned = comparison.predictions.get(comparison.taken)
    for plan in planned[0].scales if planned else ():
        kernel, argument = plan.kernel, f"{plan.kernel.configured}_initializer"
        known: dict[str, Any] = {}
        if hasattr(kernel.layer, argument) and not kernel.constant:
            initializer = make_initializer(
                comparison.distribution, plan.standard_deviation, kernel.shape, seed=0
            )
            arguments = initializer.get_config()
            del arguments["seed"]
            known = {
                "argument": argument,
                "initializer": result.Initializer(
                    class_name=type(initializer).__name__, arguments=arguments
                ),
            }
        deviations = {
            series: _figure(found_there[id(kernel.variable)])
            for series, found_there in comparison.deviations.items()
            if id(kernel.variable) in found_there
        }
        described = Kernel(
            variable=kernel.variable.path,
            shape=tuple(kernel.shape),
            fan_in=kernel.fan_in,
            effective_fan_in=kernel.drawn(centred=False).power,
            planned=_figure(plan.standard_deviation),
            deviation=deviations,
            **known,
        )
        found.setdefault(plan.path, []).append(described)
    return found


def histograms_of(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The file of histograms: by series and path, the first draw's; nothing of what has none."""
    found: dict[str, dict[str, Any]] = {}
    for name, probes in comparison.probes.items():
        pairs = zip(comparison.graph.calls, probes[0].moments, strict=True)
        found[name] = {
            call.path: moments.shape.histogram._asdict()
            for call, moments in pairs
            if moments is not None and moments.shape.histogram is not None
        }
    return found


def gradients_of(comparison: Comparison) -> dict[str, result.Gradients]:
    """By series, the gradients of each trainable variable."""
    return {
        name: result.Gradients(
            batch_size=draws[0].batch_size,
            checkpointed=draws[0].checkpointed,
            variables=tuple(
                _variable(path, [draw.variables[path] for draw in draws])
                for path in draws[0].variables
            ),
        )
        for name, draws in comparison.gradients.items()
    }


def _variable(path: str, draws: Sequence[Moments | None]) -> VariableGradient:
    known = [moments for moments in draws if moments is not None]
    figures = _over_draws(known, _GRADIENT) if known else dict.fromkeys(_GRADIENT)
    return VariableGradient(variable=path, entries=known[0].count if known else None, **figures)


def jacobian_of(comparison: Comparison) -> dict[str, JacobianFacts]:
    """By series, the singular values at the inputs together."""
    return {name: _jacobian(found) for name, found in comparison.jacobians.items()}


def fisher_of(comparison: Comparison) -> dict[str, result.FisherFacts]:
    """By series, the Fisher information's figures."""
    figures = ("largest", "trace", "standard_error")
    return {
        name: result.FisherFacts(
            samples=found.samples,
            parameters=found.parameters,
            likelihoods=found.likelihoods,
            **{each: _figure(getattr(found, each)) for each in figures},
        )
        for name, found in comparison.fisher.items()
    }


def formats_of(comparison: Comparison) -> dict[str, dict[str, result.FormatFacts]]:
    """By series and format, what becomes of weights, signals and gradients."""
    return {
        series: {
            name: result.FormatFacts(
                weights=_in_format(found.weights),
                signals=_in_format(found.signals),
                gradients=_in_format({**found.gradients, **found.weight_gradients}),
                loss_scale=found.loss_scale,
                scaled_gradients=_in_format(
                    {**found.scaled_gradients, **found.scaled_weight_gradients}
                ),
                samples=found.samples,
            )
            for name, found in formats.items()
        }
        for series, formats in comparison.formats.items()
    }


def _in_format(tensors: Mapping[str, Rounding]) -> result.TensorsInFormat:
    """What stands for all tensors of a kind: the worst share, the first place, the median."""
    found = tensors.values()
    errors = [each.error for each in found if each.error is not None]
    scales = [each.scale for each in found if each.scale is not None]
    return result.TensorsInFormat(
        overflow_at=next((path for path, each in tensors.items() if each.overflow), ""),
        underflow_at=next((p for p, each in tensors.items() if each.underflow > NOTABLE), ""),
        error=median(errors) if errors else None,
        scales=(min(scales), max(scales)) if scales else None,
        **{
            name: max((getattr(each, name) for each in found), default=None)
            for name in ("overflow", "underflow", "subnormal", "underflow_if_scaled")
        },
    )


def _jacobian(found: JacobianSpectrum) -> JacobianFacts:
    pooled = found.pooled
    figures = ("largest", "smallest", "mean_square", "standard_error", "condition_number")
    kept = pooled.nodes > 0.0  # what is zero to rounding has no logarithm
    density = None
    if kept.any():
        bins = int(np.clip(2 * math.sqrt(kept.sum()), *_BINS))
        logarithms = 0.5 * np.log10(pooled.nodes[kept])
        shares, edges = np.histogram(logarithms, bins, weights=pooled.weights[kept])
        density = result.Density(edges=edges.tolist(), shares=shares.tolist())
    return JacobianFacts(
        obtained=pooled.obtained,
        inputs=len(found.spectra),
        shape=tuple(found.shape),
        sources=tuple(found.sources),
        targets=tuple(found.targets),
        rank_deficiency=pooled.rank_deficiency,
        density=density,
        note=pooled.note,
        **{name: _figure(getattr(pooled, name)) for name in figures},
    )


def _shape_over_draws(draws: Sequence[Distribution]) -> dict[str, Any]:
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


def _figure(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
