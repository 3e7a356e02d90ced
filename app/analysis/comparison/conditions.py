"""Findings about how a comparison was made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from app.analysis.comparison.inputs import Inputs
from app.analysis.diagnosis.linter.input_scaling import input_scaling
from app.analysis.headline import series_name
from app.analysis.settings import Settings
from app.text.formatting import number, percentage, plural
from autoinit.findings import Finding
from autoinit.graph.model_graph import ModelGraph
from autoinit.propagation import Propagation
from autoinit.signals.signal import Observed
from probes.batching import batch_of
from probes.forward import Probe
from probes.moments.precision import PRECISION, over_draws

# Python's default limit of 1,000 frames, less those of the loader itself.
PLAIN_DEPTH = 900
# Standard deviation of a logarithm from which a call is not self-averaging: one draw in three lies
# a fifth or more from the typical one.
_SCATTERED = 0.2
# Of a number of single precision, that a standard deviation has at least.
_STEPS_APART = 8


def conditions(
    graph: ModelGraph,
    settings: Settings,
    inputs: Inputs,
    planned: Propagation,
    probes: Mapping[str, Sequence[Probe]],
    *,
    depth: int,
) -> Iterator[Finding]:
    """What was assumed, and what to know before the figures are believed or the model loaded.

    Args:
        graph: of the model.
        settings: of the analysis.
        inputs: what the inputs were taken to be.
        planned: what is predicted for AutoInit's weights.
        probes: what was measured, by series and draw.
        depth: how many calls Keras recurses to open the model.
    """
    yield from inputs.findings
    for name, shape in graph.assumed.items():
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        yield Finding(
            "assumed_size",
            name,
            "InputLayer",
            f"Input {name!r} leaves sizes open: ({sizes}) was taken. Choose another with the size "
            "for unknown dimensions (--input-size).",
        )
    for name, variance in inputs.variance.items():
        step = float(np.spacing(np.float32(min(abs(inputs.mean[name]), 1e38))))
        if variance < (_STEPS_APART * step) ** 2:
            yield Finding(
                "input_rounded",
                name,
                "InputLayer",
                f"Input {name!r} has mean {inputs.mean[name]:.6g} and variance {variance:.6g}: near"
                f" its mean, numbers of single precision are {step:.2g} apart, so that most of what"
                " its samples differ by is rounded away. Take the mean off before the network.",
            )
    if depth > PLAIN_DEPTH:
        yield Finding(
            "deep_model",
            "",
            "",
            f"Keras recurses {depth} calls deep to open this model: a plain Python process must "
            f"call sys.setrecursionlimit({2 * depth + 1000}) before keras.models.load_model.",
        )
    yield from input_scaling(graph, inputs.mean, inputs.variance, inputs.from_data)
    yield from _not_self_averaging(graph, planned)
    wanted = batch_of(graph, settings.samples, settings.batch)
    batch_size = min(probe.batch_size for draws in probes.values() for probe in draws)
    if batch_size < wanted:
        yield Finding(
            "batch_reduced",
            "",
            "",
            f"{wanted} samples did not fit into memory together: they went through in "
            f"batches of {batch_size}, and batch normalisation saw no more at once.",
        )
    if settings.samples == "auto":
        yield from _imprecise(graph, probes)
    if settings.constrain_weights:
        yield Finding(
            "constraint_needs_import",
            "",
            "",
            "The model carries AutoInit's constraint: `import autoinit` before loading it.",
        )


def _imprecise(graph: ModelGraph, probes: Mapping[str, Sequence[Probe]]) -> Iterator[Finding]:
    """One sentence for all variances that are known less well than samples were taken for."""
    errors = [
        (error, call, series)
        for series, draws in probes.items()
        for call, *found in zip(graph.calls, *(probe.moments for probe in draws), strict=True)
        if (error := over_draws([m and m.standard_error for m in found])) is not None
    ]
    above = [each for each in errors if each[0] > PRECISION]
    if above:
        error, call, series = max(above, key=lambda each: each[0])
        layers = len({each.index for _, each, _ in above})
        measured = len({each.index for _, each, _ in errors})
        taken = [probe.samples for draws in probes.values() for probe in draws]
        samples = " to ".join(map(str, sorted({min(taken), max(taken)})))
        yield Finding(
            "imprecise",
            call.path,
            call.class_name,
            f"The variance of {layers:,} of {plural(measured, 'layer')} is not known to "
            f"{percentage(PRECISION)}; worst at {call.path!r}, with {series_name(series)} weights, "
            f"where its standard error is {percentage(error)}. {samples} samples were taken.",
        )


def _not_self_averaging(graph: ModelGraph, planned: Propagation) -> Iterator[Finding]:
    """One sentence for all calls of which single draws scatter, with AutoInit's weights."""
    seen = [
        (result.signals[0], call)
        for call, result in zip(graph.calls, planned.results, strict=True)
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
            "not_self_averaging",
            call.path,
            call.class_name,
            f"{len(scattered):,} of {plural(len(seen), 'layer')} need several draws: "
            "they are narrow, or much of what they carry is the same for all inputs, and one draw "
            "of weights differs from the next. Their variances scatter by a factor of "
            f"{math.exp(_SCATTERED):.1f} or more, most at {call.path!r}: by "
            f"{number(math.exp(min(spread, 700.0)))}.",
        )
