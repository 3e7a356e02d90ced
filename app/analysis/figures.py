"""The figures of a comparison as plain data, as they stand in a result file."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

import numpy as np

from app.analysis.comparison import Comparison
from autoinit.graph.frozen import is_frozen
from autoinit.signals.phases import phase
from probes.gradients import Gradients
from probes.jacobian import JacobianSpectrum
from probes.moments.distribution import Distribution
from probes.moments.figures import Moments
from probes.moments.spread import spread_of

_CORRELATIONS = ("sample_correlation", "position_correlation")
_PREDICTED = ("mean", "variance", "spread", "correlation_slope", *_CORRELATIONS)
# Of signals, where they are not called as in a result file.
_ATTRIBUTES = {"spread": "log_deviation", "correlation_slope": "chi_1"}
_MEASURED = (
    "mean", "variance", "minimum", "maximum", "zero_fraction", "finite_fraction", *_CORRELATIONS,
)  # fmt: skip
_GRADIENT = ("mean", "variance", "minimum", "maximum", "zero_fraction", "finite_fraction")
_BINS = (8, 60)  # of a spectrum's density: fewest and most


def calls_as_data(comparison: Comparison) -> list[dict[str, Any]]:
    """The `calls` of a result file; of a comparison that is under way, as far as it has come."""
    graph = comparison.graph
    latest = next(reversed(comparison.predictions.values()))[0]
    signals_of = [call for call in graph.calls if not call.is_internal]
    numbers = {call.index: number for number, call in enumerate(signals_of)}
    producers = {index: call.index for index, call in graph.producers().items()}
    kernels = _kernels(comparison)
    rows = []
    for call in signals_of:
        outcome = latest.results[call.index]
        row: dict[str, Any] = {
            "index": numbers[call.index],
            "path": call.path,
            "layer": call.layer_name,
            "class": call.class_name,
            "weighted": outcome.weighted,
            "output_shape": list(call.outputs[0].shape),
            "support": str(outcome.support),
            "tainted": outcome.tainted,
            "opaque": call.placeholder.reason if call.placeholder else None,
            "frozen": is_frozen(call, comparison.kept),
            "inputs": list(
                dict.fromkeys(
                    numbers[producers[value.index]]
                    for value in call.inputs
                    if producers[value.index] in numbers
                )
            ),
        }
        if call.path in kernels:
            row["kernels"] = kernels[call.path]
        # At one position there is nothing to correlate with.
        has_positions = math.prod(call.outputs[0].positions) > 1
        expected = _PREDICTED if has_positions else _PREDICTED[:-1]
        if outcome.standard_error is not None:
            row["standard_error"] = _figure(outcome.standard_error)
        for name, predictions in comparison.predictions.items():
            signals = [
                _as_one_draw(prediction.results[call.index].signals[0])
                for prediction in predictions
            ]
            every = [probe.moments[call.index] for probe in comparison.probes.get(name, ())]
            measured = [moments for moments in every if moments is not None]
            row[name] = {
                "predicted": _over_draws(signals, expected),
                # What cannot be run is not measured, in any draw.
                "measured": _over_draws(measured, _MEASURED) if measured else None,
            }
            if measured:
                block = row[name]["measured"]
                block |= _shape_over_draws([m.shape for m in measured])
                if len(measured) > 1:
                    block["variance_spread"] = _spread([m.variance for m in measured])
                    row[name]["outside_band"] = _is_outside(row[name])
            if name in comparison.gradients:
                row[name]["gradient"] = _gradient(
                    [probe.moments[call.index] for probe in comparison.gradients[name]],
                    call.outputs[0].entries,
                )
            if name in comparison.by_other:
                signal = comparison.by_other[name].results[call.index].signals[0]
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
        seen = (outcome.signals[0] for outcome in predictions[0].results if outcome.weighted)
        slopes = [signal.chi_1 for signal in seen]
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
        found = [getattr(draw, _ATTRIBUTES.get(name, name)) for draw in draws]
        if None in found:  # the signal model does not tell
            continue
        values = [float(value) for value in found]
        block[name] = _figure(_geometric(values) if name == "variance" else fmean(values))
    if len(draws) > 1 and "variance" in names:
        block["variance_draws"] = [_figure(float(draw.variance)) for draw in draws]
    return block


def _spread(variances: Sequence[float]) -> dict[str, float | None] | None:
    """What the draws' variances come to."""
    spread = spread_of(variances)
    if spread is None:
        return None
    named = asdict(spread).items()
    return {name: None if value is None else _figure(value) for name, value in named}


def _is_outside(series: dict[str, Any]) -> bool | None:
    """Whether the predicted variance is not between the 10th and the 90th percentile of draws."""
    predicted, spread = series["predicted"]["variance"], series["measured"]["variance_spread"]
    if predicted is None or spread is None or spread["low"] is None:
        return None
    low, high = spread["low"], spread["high"]
    return not (low <= predicted and (high is None or predicted <= high))


def _gradient(draws: Sequence[Moments | None], entries: int) -> dict[str, Any] | None:
    """Figures of what flows back to a call's output.

    `square_norm` is that of one sample's gradient, on average: what a pooling layer spreads over
    many entries stays in sight.
    """
    known = [draw for draw in draws if draw is not None]
    if not known:
        return None
    block = _over_draws(known, _GRADIENT)
    norms = [entries * (draw.variance + draw.mean**2) for draw in known]
    return block | {"square_norm": _figure(_geometric(norms))}


def rules_as_data(comparison: Comparison) -> dict[str, dict[str, str]]:
    """The `rules` of a result file: for each class of calls, its rule and what that says."""
    found: dict[str, dict[str, str]] = {}
    for call in comparison.graph.calls:
        if call.is_internal or call.class_name in found:
            continue
        registration = None if call.placeholder else comparison.registry.of_call(call)
        if registration is not None:
            text = inspect.getdoc(registration.rule) or ""
            says = " ".join(text.partition("\n\n")[0].split())
            name = getattr(registration.rule, "__name__", type(registration.rule).__name__)
            found[call.class_name] = {"rule": name, "says": says}
    return found


def _kernels(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """The kernels that AutoInit draws, by the path of the call that they were planned for."""
    found: dict[str, list[dict[str, Any]]] = {}
    planned = comparison.predictions.get("autoinit")
    for plan in planned[0].scales if planned else ():
        kernel = plan.kernel
        deviations = {
            series: _figure(known[id(kernel.variable)])
            for series, known in comparison.deviations.items()
            if id(kernel.variable) in known
        }
        found.setdefault(plan.path, []).append({
            "variable": kernel.variable.path,
            "shape": list(kernel.shape),
            "fan_in": kernel.fan_in,
            "effective_fan_in": kernel.drawn(centred=False).power,
            "planned": _figure(plan.standard_deviation),
            "deviation": deviations,
        })  # fmt: skip
    return found


def histograms_as_data(comparison: Comparison) -> dict[str, dict[str, Any]]:
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


def gradients_as_data(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The `gradients` of a result file: by series, the figures for each trainable variable."""
    return {name: _variables(draws) for name, draws in comparison.gradients.items()}


def _variables(draws: Sequence[Gradients]) -> dict[str, Any]:
    rows = []
    for path in draws[0].variables:
        found = [draw.variables[path] for draw in draws]
        known = [moments for moments in found if moments is not None]
        figures = _over_draws(known, _GRADIENT) if known else dict.fromkeys(_GRADIENT)
        rows.append({"variable": path, "entries": known[0].count if known else None} | figures)
    return {
        "batch_size": draws[0].batch_size,
        "checkpointed": draws[0].checkpointed,
        "variables": rows,
    }


def jacobian_as_data(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The `jacobian` of a result file: by series, its singular values at the inputs together.

    `density` is a histogram over the logarithm of the singular value: edges, to the base of 10,
    and shares; what is zero to rounding is left out of it.
    """
    return {name: _jacobian(found) for name, found in comparison.jacobians.items()}


def _jacobian(found: JacobianSpectrum) -> dict[str, Any]:
    pooled = found.pooled
    figures = (
        "largest", "smallest", "mean_square", "standard_error", "condition_number",
    )  # fmt: skip
    kept = pooled.nodes > 0.0
    logarithms = 0.5 * np.log10(pooled.nodes[kept])
    density = None
    if kept.any():
        bins = int(np.clip(2 * math.sqrt(kept.sum()), *_BINS))
        shares, edges = np.histogram(logarithms, bins, weights=pooled.weights[kept])
        density = {"edges": edges.tolist(), "shares": shares.tolist()}
    return {
        "obtained": pooled.obtained,
        "inputs": len(found.spectra),
        "shape": list(found.shape),
        "sources": list(found.sources),
        "targets": list(found.targets),
        **{
            name: None if getattr(pooled, name) is None else _figure(float(getattr(pooled, name)))
            for name in figures
        },
        "rank_deficiency": pooled.rank_deficiency,
        "density": density,
        "note": pooled.note,
    }


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


def _figure(value: float) -> float | None:
    return value if math.isfinite(value) else None
