"""Figures of a comparison over its draws: of calls, kernels and variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

from app.analysis import result
from app.analysis.comparison.found import Comparison
from app.analysis.result import (
    Call,
    CallFigures,
    GradientMoments,
    Kernel,
    Measurement,
    Phase,
    Prediction,
    VariableGradient,
    VarianceSpread,
)
from autoinit.graph import model_graph as graph_model
from autoinit.graph.frozen import is_frozen
from autoinit.initializers.distributions import make_initializer
from autoinit.signals.phases import phase
from probes.moments.distribution import Distribution
from probes.moments.figures import Moments
from probes.moments.precision import over_draws
from probes.moments.spread import spread_of

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
            known["standard_error"] = figure_of(outcome.standard_error)
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
        known["update_ratio"] = figure_of(updates[index])
    if series in comparison.by_other:
        signal = comparison.by_other[series].results[index].signals[0]
        by_other = Prediction(**_over_draws([_as_one_draw(signal)], names))
        known["predicted_by"] = {comparison.other_model: by_other}
    return CallFigures(predicted=predicted, measured=measured, **known)


def _measurement(draws: Sequence[Moments]) -> Measurement:
    block = _over_draws(draws, _MEASURED) | _shape_over_draws([draw.shape for draw in draws])
    error = over_draws([draw.standard_error for draw in draws])
    if error is not None:
        block["standard_error"] = figure_of(error)
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
        block[name] = figure_of(_geometric(values) if name == "variance" else fmean(values))
    if len(draws) > 1 and "variance" in names:
        block["variance_draws"] = [figure_of(float(draw.variance)) for draw in draws]
    return block


def _spread(variances: Sequence[float]) -> VarianceSpread | None:
    """What the draws' variances come to."""
    spread = spread_of(variances)
    if spread is None:
        return None
    return VarianceSpread(**{name: figure_of(value) for name, value in asdict(spread).items()})


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
    norms = [entries * draw.mean_square for draw in known]
    return GradientMoments(**block, square_norm=figure_of(_geometric(norms)))


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
            series: figure_of(found_there[id(kernel.variable)])
            for series, found_there in comparison.deviations.items()
            if id(kernel.variable) in found_there
        }
        described = Kernel(
            variable=kernel.variable.path,
            shape=tuple(kernel.shape),
            fan_in=kernel.fan_in,
            effective_fan_in=kernel.drawn(centered=False).power,
            planned=figure_of(plan.standard_deviation),
            deviation=deviations,
            **known,
        )
        found.setdefault(plan.path, []).append(described)
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


def _shape_over_draws(draws: Sequence[Distribution]) -> dict[str, Any]:
    """Kurtosis, channels' variances, dead and saturated shares, as far as they are known."""
    block = _over_draws(draws, ("kurtosis", "dead_fraction", "saturated_fraction"))
    channels = [draw.channel_variances for draw in draws]
    if None not in channels:
        columns = zip(*(each for each in channels if each), strict=True)
        block["channel_variances"] = [figure_of(_geometric(column)) for column in columns]
    return block


def _geometric(values: Sequence[float]) -> float:
    if not all(math.isfinite(value) for value in values):
        return math.nan
    if min(values) <= 0.0:
        return 0.0
    return math.exp(fmean(math.log(value) for value in values)) if len(values) > 1 else values[0]


def figure_of(value: float | None) -> float | None:
    """A number as a result has it: None where it is not known or not finite."""
    return float(value) if value is not None and math.isfinite(value) else None
