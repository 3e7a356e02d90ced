"""The heart of it: predictions beside measurements, for each series of weights.

`compare` says what is done in which order; `Analysis` how each step is done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from app.analysis.conditions import conditions
from app.analysis.devices import device_kind
from app.analysis.diagnosis.diagnose import (
    Diagnosis,
    Linted,
    SeriesFigures,
    diagnose,
    foreseen,
    growth_of,
    lint_model,
)
from app.analysis.diagnosis.fault import Fault
from app.analysis.diagnosis.updates import update_ratios
from app.analysis.diagnosis.verdict import Verdict
from app.analysis.diagnosis.weights import frozen_weights, weights_not_finite
from app.analysis.inputs import Inputs, inputs_of
from app.analysis.settings import Settings
from app.limits import Limits, memory_left
from autoinit.arrays import as_array, mean_and_deviation
from autoinit.findings import Finding
from autoinit.graph.frozen import frozen_variables, settled_values
from autoinit.graph.keras_models import recursion_depth
from autoinit.graph.model_graph import ModelGraph, weights_of
from autoinit.graph.shapes import largest_alive
from autoinit.graph.zeros import zero_calls
from autoinit.initializers.calibration import Fed
from autoinit.initializers.drawing import (
    SavedWeights,
    draw_configured_weights,
    recorded_initializers,
    restore_initializers,
)
from autoinit.initializers.schemes import SCHEMES, Scheme, prepare
from autoinit.initializers.schemes import draw as draw_by_scheme
from autoinit.model_files.budgets import Budgets
from autoinit.propagation import Options, Propagation, input_signals, plan, predict
from autoinit.randomness import derived
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.registry import KernelScale, Registry
from autoinit.running.inputs import Data
from autoinit.signals import SIGNAL_MODELS
from autoinit.signals.signal import Signal
from probes.batching import batch_of
from probes.devices import Device
from probes.fisher import FisherInformation, probe_fisher
from probes.formats import FormatEffects, probe_formats
from probes.forward import Probe, probe_model
from probes.gradients import Gradients, probe_gradients
from probes.jacobian import JacobianSpectrum, probe_jacobian
from probes.passing import behind_batch_statistics
from probes.segments import CompiledPasses

Progress = Callable[[float, str], None]
# What a pass back takes beside a pass forward, and what the rules do, for the bar.
_GRADIENT_STEPS, _RULES, _FISHER_STEPS, _FORMAT_STEPS = 3, 1, 50, 12
_FORMAT_SAMPLES = 32  # Keras's own batch, unless one asks for another
# Samples of which the gradient is measured for the verdict, where no one asked for more: half of
# them where one has so many entries that even few tell, and no batch normalisation fewer than so
# many positions, whose statistics of four samples would be another network's. Where nothing is
# normalised over the batch, two tell as much: of VGG16's gradients, within 6 % of what eight do.
_GRADIENT_SAMPLES, _MANY_ENTRIES, _MANY_POSITIONS = 8, 2**22, 16


class Summary(NamedTuple):
    """How many weights a layer has, and the class that draws its kernel."""

    parameters: int
    initializer: str | None


def summaries_of(graph: ModelGraph) -> dict[int, Summary]:
    """What `model.summary()` has of the layers, by the index of the first call of each."""
    found: dict[int, Summary] = {}
    counted: set[int] = set()
    for call in graph.calls:
        layer = call.layer
        if not hasattr(layer, "weights") or call.part == "activation" or id(layer) in counted:
            continue
        counted.add(id(layer))
        drawn_by = (getattr(layer, f"{name}_initializer", None) for name in _KERNELS)
        first = next((each for each in drawn_by if each is not None), None)
        found[call.index] = Summary(
            sum(math.prod(variable.shape) for variable in weights_of(layer)),
            None if first is None else type(first).__name__,
        )
    return found


_KERNELS = ("depthwise", "kernel", "embeddings")


@dataclass
class Comparison:
    """What was found for each series, draw by draw.

    Attributes:
        graph: the calls.
        predictions, probes: one per draw, by series.
        other_model: the signal model that was not chosen.
        by_other: what that one predicts for the first draw's weights, by series.
        gradients: one per draw, by series, where they were asked for and could be measured.
        few_gradients: of the first draw and of few samples, by series: what the verdict rests on.
        zeros: indices of the calls whose kernels are zero in the first draw, of series drawn anew.
        updates: update ratios of the first draw's kernels, by series: one for each call.
        growth: faults of recurrent layers, by series.
        foreseen: verdicts on what is predicted, by series.
        diagnosis: faults and verdicts.
        jacobians, fisher: of the first draw's weights, likewise.
        formats: what number formats do with them, by series and format.
        deviations: of the first draw's kernels, by series and identity of the variable.
        taken: the series whose first draw the model is left with.
        distribution: that AutoInit drew from.
        registry: of the rules that were used.
        inputs: what the inputs were taken to be.
        kept: identities of the frozen layers' weights, where those were kept.
        findings: what a person should know.
        timings: seconds by series.
        summaries: of the layers as they came, by the index of the first call of each.
    """

    graph: ModelGraph
    other_model: str
    predictions: dict[str, list[Propagation]] = field(default_factory=dict)
    probes: dict[str, list[Probe]] = field(default_factory=dict)
    by_other: dict[str, Propagation] = field(default_factory=dict)
    gradients: dict[str, list[Gradients]] = field(default_factory=dict)
    few_gradients: dict[str, Gradients] = field(default_factory=dict)
    zeros: dict[str, frozenset[int]] = field(default_factory=dict)
    updates: dict[str, Sequence[float | None]] = field(default_factory=dict)
    growth: dict[str, tuple[Fault, ...]] = field(default_factory=dict)
    foreseen: dict[str, Verdict] = field(default_factory=dict)
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    jacobians: dict[str, JacobianSpectrum] = field(default_factory=dict)
    fisher: dict[str, FisherInformation] = field(default_factory=dict)
    formats: dict[str, dict[str, FormatEffects]] = field(default_factory=dict)
    deviations: dict[str, dict[int, float]] = field(default_factory=dict)
    taken: str = "autoinit"
    distribution: str = "truncated_normal"
    registry: Registry = RULES
    inputs: Inputs | None = None
    kept: frozenset[int] = frozenset()
    findings: list[Finding] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    summaries: dict[int, Summary] = field(default_factory=dict)

    @property
    def scales(self) -> tuple[KernelScale, ...]:
        """How the kernels of the model that is taken home were drawn."""
        return self.predictions[self.taken][0].scales

    @property
    def device(self) -> Device:
        """Where the probes ran."""
        return self.probes["autoinit"][0].device

    @property
    def batch_size(self) -> int:
        """The smallest batch that went through together."""
        return min(probe.batch_size for probes in self.probes.values() for probe in probes)

    @property
    def samples(self) -> dict[str, int]:
        """How many samples were measured by series: the fewest of its draws."""
        return {
            series: min(probe.samples for probe in probes) for series, probes in self.probes.items()
        }


def compare(
    model: Any,
    settings: Settings,
    *,
    uploaded: bool,
    registry: Registry = RULES,
    progress: Progress = lambda fraction, stage: None,
    preview: Callable[[Comparison], None] = lambda comparison: None,
    data: Data | None = None,
    linted: Linted | None = None,
    brief: bool = False,
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
            has been measured then, when it has, and when its verdict rests on that; the last time
            before what nobody looks at yet is done.
        data: real data for the inputs, by their names.
        linted: what the file shows by itself; the model's own configuration by default.
        brief: whether only the weights that count are a series, those that came or else those of
            the initializers, beside the schemes', and only the chosen signal model predicts.

    Raises:
        UnsupportedLayerError: for a layer without a rule, where the settings refuse it.
        ModelFileError: for data that do not fit the inputs.
        ValueError: for moments of an input that is not there, or that takes integers.
    """
    linted = linted or lint_model(model)
    analysis = Analysis(model, settings, uploaded, registry, data, progress, brief)
    found = analysis.comparison
    for series in analysis.series:
        with _timed(found.timings, series):
            # Backwards, so that the first draw's weights are those that stay.
            for draw in reversed(range(settings.seeds)):
                analysis.begin(series, draw)
                analysis.set_own_or_configured_weights(series, draw)
                predicted = (
                    analysis.plan_and_draw(draw, SCHEMES[series])
                    if series in SCHEMES
                    else analysis.predict()
                )
                found.predictions.setdefault(series, []).insert(0, predicted)
                if series not in found.probes:
                    found.foreseen[series] = foreseen(
                        found.graph, linted, predicted, series, settings.disable
                    )
                    preview(found)
                analysis.measure(series, draw)
            preview(found)
            analysis.measure_backward(series)
            analysis.judge(linted)
            preview(found)
            analysis.look_at_the_first_draw(series)
    analysis.conclude(model)
    return found


class Analysis:
    """The steps of a comparison, and what they share. Each leaves in it what it found."""

    def __init__(
        self,
        model: Any,
        settings: Settings,
        uploaded: bool,
        registry: Registry = RULES,
        data: Data | None = None,
        progress: Progress = lambda fraction, stage: None,
        brief: bool = False,
    ) -> None:
        self.settings, self.uploaded, self.registry = settings, uploaded, registry
        self.brief = brief
        self.training = settings.mode == "training"
        graph = read_model(model, settings.input_size, registry=registry, training=self.training)
        keep_frozen = settings.keep_frozen and uploaded
        self.options = Options(
            training=self.training,
            signal_variance=settings.signal_variance,
            centred=settings.constrain_weights,
            keep_frozen=keep_frozen,
            zero_kernels=settings.zero_kernels,
            seed=settings.seed,
            batch=batch_of(graph, settings.samples, settings.batch),
            unsupported=settings.unsupported,
        )
        self.graph, self.inputs = graph, inputs_of(graph, settings, data)
        self.comparison = Comparison(
            graph,
            next(name for name in SIGNAL_MODELS if name != settings.signal_model),
            taken=settings.scheme,
            distribution=SCHEMES[settings.scheme].distribution or settings.distribution,
            inputs=self.inputs,
            kept=frozen_variables(graph) if keep_frozen else frozenset(),
            registry=registry,
            summaries=summaries_of(graph),
        )
        self.signals, self.signals_of_other = (
            input_signals(graph, self.inputs.mean, self.inputs.variance, kind)
            for kind in (settings.signal_model, self.comparison.other_model)
        )
        later = (derived(settings.seed, draw) for draw in range(1, settings.seeds))
        self.seeds = [settings.seed, *later]
        self.own = SavedWeights(v for layer in graph.layers() for v in weights_of(layer))
        # The file's own weights first: they are there, and what a person asks about.
        drawn = dict.fromkeys([*settings.schemes, "autoinit"])
        drawn.pop(settings.scheme, None)
        own = ("uploaded",) * uploaded
        self.series = (*own, *("default",) * (not (own and brief)), *drawn, settings.scheme)
        self.recorded = recorded_initializers(graph)
        sizes = _RULES + 1 + (_GRADIENT_STEPS if settings.gradients else 1) + settings.jacobian
        sizes += (_FISHER_STEPS if settings.fisher else 0) + _FORMAT_STEPS * len(settings.formats)
        self.steps = _Steps(progress, len(self.series) * settings.seeds, sizes)
        self.findings: list[Finding] = []
        self.compiled = CompiledPasses(
            len(self.series) * (settings.seeds if settings.gradients else 1)
        )

    def begin(self, series: str, draw: int) -> None:
        """Says what comes."""
        self.steps.begin()
        self.steps.next(f"Predicting {series}{self._draw_label(draw)}", _RULES)(0.0)

    def set_own_or_configured_weights(self, series: str, draw: int) -> None:
        """Those that came with the model, or those that its initialisers give."""
        restore_initializers(self.recorded)
        if self.uploaded and series != "default":
            self.own.restore()
        else:
            self.findings += draw_configured_weights(
                self.graph, self.seeds[draw], self.comparison.kept, reseed=draw > 0
            )

    def predict(self) -> Propagation:
        """What the rules say of the weights that are in place."""
        predicted = predict(self.graph, self.signals, self.options, self.registry)
        self.findings += predicted.findings
        return predicted

    def plan_and_draw(self, draw: int, scheme: Scheme) -> Propagation:
        """A scheme's weights take the place of those that are there, and what the rules say."""
        planned, scales = self.draw_by_plan(draw, scheme)
        if scheme is SCHEMES["autoinit"]:
            return planned
        return replace(self.predict(), scales=scales)

    def draw_by_plan(
        self, draw: int, scheme: Scheme
    ) -> tuple[Propagation, tuple[KernelScale, ...]]:
        """A scheme's weights take the place of those that are there.

        Returns:
            AutoInit's plan, and how the kernels were drawn.
        """
        settings, known = self.settings, None
        prepare(scheme, self.graph)
        options = replace(self.options, backward=scheme.backward)
        predicted = plan(self.graph, self.signals, options, self.registry)
        drawn = {id(choice.kernel.variable) for choice in predicted.scales}
        if self.uploaded and draw == 0:
            self.findings += weights_not_finite(self.graph, drawn)
        if self.comparison.kept:
            known = self._measured_at_frozen_layers(drawn, draw)
            predicted = plan(self.graph, self.signals, options, self.registry, known=known)
        inputs = self.inputs
        scales, findings = draw_by_scheme(
            scheme,
            self.graph,
            predicted.scales,
            settings.distribution,
            self.seeds[draw],
            fed=Fed(
                inputs.mean,
                inputs.variance,
                inputs.data,
                seed=derived(self.seeds[draw], 1),
                training=self.training,
            ),
            target=settings.signal_variance,
            constrain=settings.constrain_weights,
        )
        self.findings += (*predicted.findings, *findings)
        return predicted, scales

    def measure(self, series: str, draw: int) -> None:
        """Feeds the inputs forward, and a random cotangent back where that is asked for."""
        found, label = self.comparison, self._draw_label(draw)
        inputs, settings = self.inputs, self.settings
        chosen = (self.seeds[draw], inputs.mean, inputs.variance, self.training, settings.device)
        progress = self.steps.next(f"Measuring {series}{label}")

        def probed(graph: ModelGraph) -> Probe:
            return probe_model(
                graph,
                settings.samples,
                *chosen,
                input_data=inputs.data,
                memory_limit=_activation_memory(settings),
                batch_size=settings.batch,
                budget=settings.budget,
                progress=progress,
            )

        stood_in = self._on_stand_ins(found.predictions[series][0], self.seeds[draw], probed)
        probe = stood_in or probed(self.graph)
        found.probes.setdefault(series, []).insert(0, probe)
        if not settings.gradients:
            return
        what = f"The gradients with {series} weights"
        with self._left_out("gradients_not_measured", what, (MemoryError,)):
            gradients = probe_gradients(
                self.graph,
                probe.samples,
                *chosen,
                input_data=inputs.data,
                logits=True,
                memory_limit=_activation_memory(settings),
                compiled=self.compiled,
                batch_size=self._gradient_batch(),
                progress=self.steps.next(f"Measuring gradients, {series}{label}", _GRADIENT_STEPS),
            )
            found.gradients.setdefault(series, []).insert(0, gradients)

    def _on_stand_ins(
        self, predicted: Propagation, seed: int, probed: Callable[[ModelGraph], Probe]
    ) -> Probe | None:
        """A probe of what comes after layers that are not run, too: fed noise as predicted.

        Returns:
            None where nothing stands in, or what comes after does not take noise.
        """
        signals = [result.signals for result in predicted.results]
        cut = [call.index for call in self.graph.calls if call.placeholder is not None]
        known = (each for index in cut for each in signals[index])
        if not cut or not all(math.isfinite(one.mean + one.variance) for one in known):
            return None
        graph = self.graph.with_stand_ins(
            lambda call: [(one.mean, one.variance) for one in signals[call.index]], seed
        )
        if largest_alive(graph, 1) > Budgets.from_environment().live_bytes:
            return None
        try:
            probe = probed(graph)
        except Exception:  # layers that read indices, or texts, and whatever else
            return None
        moments = tuple(None if n in cut else each for n, each in enumerate(probe.moments))
        return replace(probe, graph=self.graph, moments=moments, draws=(moments,))

    def _gradient_batch(self) -> int | None:
        """How many samples go back together: as many as forward, where samples see each other."""
        settings = self.settings
        chosen = settings.batch is not None or settings.samples == "auto"
        if not (chosen and self.training and behind_batch_statistics(self.graph)):
            return settings.batch
        return batch_of(self.graph, settings.samples, settings.batch)

    def look_at_the_first_draw(self, series: str) -> None:
        """What no verdict needs: deviations, the other signal model's predictions, spectra."""
        found, settings = self.comparison, self.settings
        found.deviations[series] = _deviations(self.graph)
        if not self.brief:
            what = f"What the {found.other_model} signal model predicts for {series} weights"
            with self._left_out("other_model_failed", what):
                found.by_other[series] = predict(
                    self.graph, self.signals_of_other, self.options, self.registry
                )
        drawn = self.seeds[0], self.inputs.mean, self.inputs.variance
        given: dict[str, Any] = {"input_data": self.inputs.data, "device": settings.device}
        if settings.jacobian:
            what = f"The Jacobian with {series} weights"
            progress = self.steps.next(f"Measuring the Jacobian, {series}", settings.jacobian)
            with self._left_out("no_jacobian", what, (ValueError, MemoryError)):
                found.jacobians[series] = probe_jacobian(
                    self.graph, settings.jacobian, *drawn, logits=True, progress=progress, **given
                )
        if settings.fisher:
            what = f"The Fisher information with {series} weights"
            progress = self.steps.next(f"Measuring the Fisher information, {series}", _FISHER_STEPS)
            with self._left_out("no_fisher", what, (ValueError, MemoryError)):
                found.fisher[series] = probe_fisher(
                    self.graph, settings.fisher, *drawn, self.training, progress=progress, **given
                )
        if settings.formats:
            what = f"What number formats do to {series} weights"
            steps = _FORMAT_STEPS * len(settings.formats)
            progress = self.steps.next(f"Rounding to other formats, {series}", steps)
            with self._left_out("no_formats", what, (ValueError, MemoryError)):
                found.formats[series] = probe_formats(
                    self.graph,
                    settings.formats,
                    _FORMAT_SAMPLES,
                    *drawn,
                    self.training,
                    progress=progress,
                    **given,
                )

    def measure_backward(self, series: str) -> None:
        """What the verdict rests on beside the signals: recurrences that grow, and gradients."""
        found = self.comparison
        found.growth[series] = growth_of(self.graph, series)
        if series in SCHEMES:
            found.zeros[series] = frozenset(zero_calls(self.graph, as_array))
        self._measure_few_gradients(series)
        found.updates[series] = update_ratios(self.graph, found.few_gradients.get(series))

    def _measure_few_gradients(self, series: str) -> None:
        """The gradients that the verdict rests on: those of many samples, where there are some."""
        found, settings, inputs = self.comparison, self.settings, self.inputs
        if settings.gradients:
            if series in found.gradients:
                found.few_gradients[series] = found.gradients[series][0]
            return
        what = f"The gradients with {series} weights"
        with self._left_out("gradients_not_measured", what, (MemoryError, ValueError)):
            few = _gradient_samples(self.graph)
            if settings.samples != "auto":
                few = min(settings.samples, few)
            found.few_gradients[series] = probe_gradients(
                self.graph,
                few,
                self.seeds[0],
                inputs.mean,
                inputs.variance,
                self.training,
                settings.device,
                input_data=inputs.data,
                logits=True,
                compiled=self.compiled,
                memory_limit=_activation_memory(settings),
                progress=self.steps.next(f"Measuring gradients, {series}"),
            )

    def judge(self, linted: Linted) -> None:
        """The verdict on each series that has been measured."""
        found = self.comparison
        latest = next(reversed(found.predictions.values()))[0]
        weighted = [result.weighted for result in latest.results]
        # What was measured on noise bears no verdict.
        idle = self.graph.behind_placeholders()
        found.diagnosis = diagnose(
            self.graph,
            weighted,
            linted,
            {
                series: SeriesFigures(
                    [None if n in idle else each for n, each in enumerate(probes[0].moments)],
                    found.few_gradients[series].moments if series in found.few_gradients else (),
                    found.growth.get(series, ()),
                    found.updates.get(series, ()),
                    found.zeros.get(series),
                )
                for series, probes in found.probes.items()
            },
            self.settings.disable,
        )

    def conclude(self, model: Any) -> None:
        """What a person should know of the whole."""
        found = self.comparison
        frozen = frozen_weights(self.graph, came=self.uploaded, keep=self.settings.keep_frozen)
        noted = conditions(
            self.graph,
            self.settings,
            self.inputs,
            found.predictions["autoinit"][0],
            found.probes,
            depth=recursion_depth(model),
        )
        found.findings = _unique([*self.findings, *([frozen] if frozen else []), *noted])

    def _measured_at_frozen_layers(self, drawn: set[int], draw: int) -> dict[int, Signal]:
        """What they really give, as it was measured with the same weights and inputs.

        Trained channels differ from each other, which the rules' signals do not say.
        """
        settled = settled_values(self.graph, self.comparison.kept, drawn)
        idle = self.graph.behind_placeholders()
        kind = SIGNAL_MODELS[self.settings.signal_model]
        probe = self.comparison.probes["uploaded"][draw]
        return {
            call.outputs[0].index: kind.gaussian(moments.mean, moments.variance)
            for call, moments in zip(self.graph.calls, probe.moments, strict=True)
            if moments is not None
            and call.index not in idle
            and call.outputs[0].index in settled
            and math.isfinite(moments.variance)
        }

    def _draw_label(self, draw: int) -> str:
        several = len(self.seeds) > 1
        return f", draw {draw + 1} of {len(self.seeds)}" if several else ""

    @contextmanager
    def _left_out(
        self, code: str, what: str, sentences: tuple[type[Exception], ...] = ()
    ) -> Iterator[None]:
        """Go on without what fails inside the block, and say so.

        A layer or an estimator of a user's own may raise anything; the result can do without.

        Args:
            code: of the finding.
            what: is left out.
            sentences: exceptions whose message is one that a person can read.
        """
        try:
            yield
        except Exception as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            kind = "" if isinstance(error, sentences) else f"{type(error).__name__}: "
            message = f"{what} is left out: {kind}{reason}."
            self.findings.append(Finding(code, "", "", message))


class _Steps:
    """How far a comparison is. Its parts, a draw of a series each, take about the same time.

    How far the first one is follows from its steps, of about a pass forward each; how far a later
    one is, from the time that the earlier ones took.
    """

    def __init__(self, progress: Progress, parts: int, size: int) -> None:
        self._progress, self._parts, self._size = progress, parts, size
        self._begun: list[float] = []
        self._done = 0

    def begin(self) -> None:
        """Begins a part."""
        self._begun.append(time.perf_counter())

    def next(self, stage: str, size: int = 1) -> Callable[[float], None]:
        """Begins a step; what it gives is told the share of it that is done."""
        start = self._done
        self._done += size

        def told(share: float) -> None:
            first, latest = self._begun[0], self._begun[-1]
            earlier = len(self._begun) - 1
            of_part = (start + share * size) / self._size
            if earlier:
                of_part = (time.perf_counter() - latest) / (latest - first) * earlier
            self._progress((earlier + min(of_part, 1.0)) / self._parts, stage)

        return told


def _gradient_samples(graph: ModelGraph) -> int:
    normalized = [call for call in graph.calls if call.class_name == "BatchNormalization"]
    crowded = all(math.prod(call.outputs[0].positions) >= _MANY_POSITIONS for call in normalized)
    written = sum(value.entries for call in graph.calls for value in call.outputs)
    if not crowded or written < _MANY_ENTRIES:
        return _GRADIENT_SAMPLES
    return _GRADIENT_SAMPLES // (2 if normalized else 4)


def _deviations(graph: ModelGraph) -> dict[int, float]:
    """Standard deviations of the entries of all kernels, as they are now."""
    return {
        id(weight): mean_and_deviation(as_array(weight))[1]
        for layer in graph.layers()
        for weight in weights_of(layer)
        if len(weight.shape) > 1
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
