"""From a comparison to what files have of it: its result, and the manifest beside the model."""

from __future__ import annotations

import importlib
import inspect
import math
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, NamedTuple

import keras
import numpy as np

from app.analysis import result
from app.analysis.comparison.figures import calls_of, figure_of, gradients_of, phases_of
from app.analysis.comparison.found import Comparison
from app.analysis.comparison.inputs import Inputs
from app.analysis.diagnosis.findings import findings_of, once_each, verdicts_of
from app.analysis.formats import format_findings
from app.analysis.job_spec import JobSpec, program_version, sha256
from app.analysis.result import JacobianFacts, Preview, Result, RuleFacts
from app.analysis.settings import Settings
from autoinit.findings import Finding
from autoinit.graph import model_graph as graph_model
from autoinit.graph.input_moments import integer_inputs
from autoinit.graph.placeholders import Opaque
from autoinit.manifest import variables_as_data
from autoinit.model_files import Download, ModelFile
from autoinit.model_files.check.substitutes import offer
from probes.formats import NOTABLE, Rounding
from probes.jacobian import JacobianSpectrum

_KERAS_VERSION: str = keras.__version__
_SERIES = ("default", "autoinit", "uploaded")  # in the order of the file; others follow
_BINS = (8, 60)  # of a spectrum's density: fewest and most


def result_of(
    comparison: Comparison,
    model: Any,
    source: ModelSource,
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


class ModelSource(NamedTuple):
    """Where a model came from; without a file, a sample or a live model."""

    format: str = "sample"
    keras_version: str | None = _KERAS_VERSION
    keras: int = 3
    sha256: str = ""
    compiled: bool = False

    @classmethod
    def of(cls, file: ModelFile | None) -> ModelSource:
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
            **{each: figure_of(getattr(found, each)) for each in figures},
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
        **{name: figure_of(getattr(pooled, name)) for name in figures},
    )


def manifest(comparison: Comparison, model: Any, result: Result) -> dict[str, Any]:
    """Plain data: `autoinit.manifest.differing` checks a model against it.

    The same program does it again from the model named here with the settings that stand here: the
    kernels' seeds follow from the one seed, in the order of the plans.

    Args:
        comparison: what was found; its model has AutoInit's weights of the first draw.
        model: that model.
        result: of the job, as it will be written.
    """
    backend = keras.backend.backend()
    return {
        "schema": 1,
        "program": program_version(),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "backend": backend,
            backend: importlib.import_module(backend).__version__,
            "numpy": np.__version__,
        },
        "model": result.model.model_dump(mode="json", exclude_unset=True),
        "settings": result.settings.by_name,
        "variables": variables_as_data(
            model, comparison.scales, comparison.distribution, result.settings.seed, comparison.kept
        ),
    }
