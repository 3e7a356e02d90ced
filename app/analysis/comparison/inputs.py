"""What a job takes its inputs to be: chosen moments, or those of real data, and what is fed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.analysis.diagnosis.linter.input_scaling import expected_inputs
from app.analysis.settings import Settings
from autoinit.arrays import as_array
from autoinit.errors import ModelFileError, SettingsError
from autoinit.findings import Finding
from autoinit.graph.input_moments import integer_inputs, require_inputs
from autoinit.graph.model_graph import Call, ModelGraph
from autoinit.model_files.read.hdf5 import quoted
from autoinit.running.inputs import Data, check_data, data_moments


@dataclass(frozen=True)
class Inputs:
    """A model's inputs, by their names.

    Attributes:
        mean, variance: for the predictions and for noise.
        data: samples to feed; None for noise.
        findings: what was taken from a file.
        from_data: whether mean and variance are those of data.
        taken: where the moments of each come from: `bytes`, `range` or `statistics`, as the first
            layers say; `default`, where nothing does; `chosen`; `data`; `integers`.
    """

    mean: dict[str, float]
    variance: dict[str, float]
    data: Data | None = None
    findings: tuple[Finding, ...] = ()
    from_data: bool = False
    taken: Mapping[str, str] = field(default_factory=dict)


def inputs_of(graph: ModelGraph, settings: Settings, data: Data | None = None) -> Inputs:
    """The inputs that settings ask for.

    Args:
        graph: of the model.
        settings: of the analysis.
        data: what the settings' file holds, by the inputs' names.

    Raises:
        ModelFileError: `bad_input_data` for data that do not fit the inputs.
        ValueError: for moments of an input that is not there, or that takes integers.
    """
    integers = integer_inputs(graph)
    chosen = settings.input_moments or {}
    require_inputs(graph, chosen)
    if data is None:
        return _without_data(graph, settings)
    name = settings.data_name
    try:
        check_data(graph, data)
    except SettingsError as error:
        raise ModelFileError("bad_input_data", f"Data file {quoted(name)}: {error}") from error
    fed = settings.input_source == "data"
    moments = {
        call.path: list(data_moments(data[call.path]))
        for call in graph.inputs
        if fed or call.outputs[0].index not in integers
    }
    findings = tuple(_from_data(graph, moments, data, name, fed))
    taken = {call.path: "data" if call.path in moments else "integers" for call in graph.inputs}
    return Inputs(*_columns(moments), data if fed else None, findings, True, taken)


def _without_data(graph: ModelGraph, settings: Settings) -> Inputs:
    """Moments that were chosen; else those that the first layers say they take; else 0 and 1."""
    integers, chosen = integer_inputs(graph), settings.input_moments or {}
    expected = expected_inputs(graph) if settings.takes_expected_input else {}
    moments, taken, findings, data = {}, {}, [], {}
    for call in graph.inputs:
        path = call.path
        if path in chosen:
            moments[path], taken[path] = chosen[path], "chosen"
        elif call.outputs[0].index in integers:
            taken[path] = "integers"  # Their noise is uniform.
        elif path in expected:
            found = expected[path]
            moments[path], taken[path] = [found.mean, found.variance], found.kind
            if found.kind == "statistics":
                data[path] = _of_statistics(call, found.by.layer, settings.seed)
            findings.append(
                Finding(
                    "input_taken",
                    path,
                    call.class_name,
                    f"Input {path!r} was taken to be {found.description} (mean {found.mean:.6g}, "
                    f"variance {found.variance:,.6g}), which is what {found.by.path!r} "
                    f"({found.by.class_name}) is made for.",
                )
            )
        else:
            moments[path] = [settings.input_mean or 0.0, settings.input_variance or 1.0]
            taken[path] = "default" if settings.takes_expected_input else "chosen"
    return Inputs(*_columns(moments), data or None, tuple(findings), taken=taken)


def _of_statistics(call: Call, layer: Any, seed: int) -> NDArray[np.float32]:
    """Noise of which each feature has the mean and the variance that a Normalization takes away."""
    shape = call.outputs[0].sample
    samples = min(max(_ENTRIES // math.prod(shape), _FEWEST), _MOST)
    noise = np.random.default_rng(seed).standard_normal((samples, *shape), dtype=np.float32)
    mean, variance = (
        np.asarray(as_array(each), np.float64) for each in (layer.mean, layer.variance)
    )
    if not _fits(mean.shape, noise.shape):  # the layer reads another shape
        variance, mean = variance.mean() + mean.var(), mean.mean()
    return (noise * np.sqrt(variance) + mean).astype(np.float32)


def _fits(statistic: tuple[int, ...], data: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(statistic, data) == data
    except ValueError:
        return False


_FEWEST, _MOST, _ENTRIES = 8, 512, 4_000_000


def _columns(moments: dict[str, list[float]]) -> tuple[dict[str, float], dict[str, float]]:
    means = {name: mean for name, (mean, _) in moments.items()}
    return means, {name: variance for name, (_, variance) in moments.items()}


def _from_data(
    graph: ModelGraph, moments: dict[str, list[float]], data: Data, name: str, fed: bool
) -> Iterator[Finding]:
    """A sentence for each input on what its figures are."""
    for call in graph.inputs:
        if call.path not in moments:
            continue
        mean, variance = moments[call.path]
        count = len(data[call.path])
        samples = f"{count:,} {'sample' if count == 1 else 'samples'}"
        what = "Samples of it were fed." if fed else "Noise of these moments was fed."
        yield Finding(
            "input_from_data",
            call.path,
            call.class_name,
            f"Mean {mean:.4g} and variance {variance:.4g} of input {call.path!r} were taken from "
            f"{quoted(name)[1:-1]}, {samples}. {what}",
        )
