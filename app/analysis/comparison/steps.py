"""How each step of a comparison is done."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from app.analysis.comparison.conditions import conditions
from app.analysis.comparison.found import Comparison, summaries_of
from app.analysis.comparison.inputs import inputs_of
from app.analysis.comparison.measurements import Measurements, left_out
from app.analysis.comparison.progress import OnProgress
from app.analysis.diagnosis.diagnose import SeriesFigures, diagnose, foreseen
from app.analysis.diagnosis.linter.lint import Linted
from app.analysis.diagnosis.linter.weights import frozen_weights, weights_not_finite
from app.analysis.diagnosis.measured.recurrence import recurrent_growth
from app.analysis.diagnosis.measured.series import squared_slope, update_ratios
from app.analysis.settings import Settings
from autoinit.arrays import as_array, mean_and_deviation
from autoinit.findings import Finding
from autoinit.graph.frozen import frozen_variables, settled_values
from autoinit.graph.keras_models import recursion_depth
from autoinit.graph.model_graph import ModelGraph, weights_of
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
from autoinit.propagation import Options, Propagation, input_signals, plan, predict
from autoinit.randomness import derived
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.registry import KernelScale, Registry
from autoinit.running.inputs import Data
from autoinit.signals import SIGNAL_MODELS
from autoinit.signals.signal import Signal
from probes.batching import batch_of


class Analysis:
    """The steps of a comparison, and what they share. Each leaves in `found` what it found."""

    def __init__(
        self,
        model: Any,
        settings: Settings,
        uploaded: bool,
        registry: Registry = RULES,
        data: Data | None = None,
        progress: OnProgress = lambda fraction, stage: None,
        brief: bool = False,
    ) -> None:
        self.settings, self.uploaded, self.registry = settings, uploaded, registry
        self.brief = brief
        training = settings.mode == "training"
        graph = read_model(model, settings.input_size, registry=registry, training=training)
        keep_frozen = settings.keep_frozen and uploaded
        self.options = Options(
            training=training,
            signal_variance=settings.signal_variance,
            centered=settings.constrain_weights,
            keep_frozen=keep_frozen,
            zero_kernels=settings.zero_kernels,
            seed=settings.seed,
            batch=batch_of(graph, settings.samples, settings.batch),
            unsupported=settings.unsupported,
        )
        self.graph, self.inputs = graph, inputs_of(graph, settings, data)
        self.found = Comparison(
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
            for kind in (settings.signal_model, self.found.other_model)
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
        self.findings: list[Finding] = []
        self.measurements = Measurements(
            graph, settings, self.inputs, self.seeds, len(self.series), progress, self.findings
        )

    @contextmanager
    def timed(self, series: str) -> Iterator[None]:
        """Notes how long a series takes."""
        start = time.perf_counter()
        yield
        self.found.timings[series] = round(time.perf_counter() - start, 4)

    def set_weights_and_predict(self, series: str, draw: int) -> None:
        """The series' weights take their place, and the rules say what signals they give."""
        self.measurements.begin(series, draw)
        self.set_own_or_configured_weights(series, draw)
        if series not in SCHEMES:
            predicted = self.predict()
        else:
            predicted, scales = self.draw_by_plan(draw, SCHEMES[series])
            if series != "autoinit":  # the plan is of AutoInit's own kernels
                predicted = replace(self.predict(), scales=scales)
        self.found.predictions.setdefault(series, []).insert(0, predicted)

    def set_own_or_configured_weights(self, series: str, draw: int) -> None:
        """Those that came with the model, or those that its initialisers give."""
        restore_initializers(self.recorded)
        if self.uploaded and series != "default":
            self.own.restore()
        else:
            self.findings += draw_configured_weights(
                self.graph, self.seeds[draw], self.found.kept, reseed=draw > 0
            )

    def predict(self) -> Propagation:
        """What the rules say of the weights that are in place."""
        predicted = predict(self.graph, self.signals, self.options, self.registry)
        self.findings += predicted.findings
        return predicted

    def draw_by_plan(
        self, draw: int, scheme: Scheme
    ) -> tuple[Propagation, tuple[KernelScale, ...]]:
        """A scheme's weights take the place of those that are there.

        Returns:
            AutoInit's plan, and how the kernels were drawn.
        """
        settings, inputs, known = self.settings, self.inputs, None
        prepare(scheme, self.graph)
        options = replace(self.options, backward=scheme.backward)
        predicted = plan(self.graph, self.signals, options, self.registry)
        drawn = {id(choice.kernel.variable) for choice in predicted.scales}
        if self.uploaded and draw == 0:
            self.findings += weights_not_finite(self.graph, drawn)
        if self.found.kept:
            known = self._measured_at_frozen_layers(drawn, draw)
            predicted = plan(self.graph, self.signals, options, self.registry, known=known)
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
                training=options.training,
            ),
            target=settings.signal_variance,
            constrain=settings.constrain_weights,
        )
        self.findings += (*predicted.findings, *findings)
        return predicted, scales

    def foresee(self, series: str, linted: Linted) -> None:
        """The verdict on what is predicted of the latest draw."""
        found = self.found
        found.foreseen[series] = foreseen(
            found.graph, linted, found.predictions[series][0], series, self.settings.disable
        )

    def measure(self, series: str, draw: int) -> None:
        """Feeds the inputs forward, and a random cotangent back where that is asked for."""
        found = self.found
        probe = self.measurements.signals(series, draw, found.predictions[series][0])
        found.probes.setdefault(series, []).insert(0, probe)
        if self.settings.gradients:
            gradients = self.measurements.gradients(series, draw, probe.samples)
            if gradients is not None:
                found.gradients.setdefault(series, []).insert(0, gradients)

    def measure_backward(self, series: str) -> None:
        """What the verdict rests on beside the signals: recurrences that grow, and gradients."""
        found = self.found
        found.growth[series] = tuple(recurrent_growth(self.graph, series))
        if series in SCHEMES:
            found.zeros[series] = frozenset(zero_calls(self.graph, as_array))
        if self.settings.gradients:  # those of many samples, where there are some
            gradients = next(iter(found.gradients.get(series, ())), None)
        else:
            gradients = self.measurements.few_gradients(series)
        if gradients is not None:
            found.few_gradients[series] = gradients
        found.updates[series] = update_ratios(self.graph, gradients)

    def judge(self, linted: Linted) -> None:
        """The verdict on each series that has been measured."""
        found = self.found
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
                    squared_slope(self.graph, found.few_gradients.get(series)),
                )
                for series, probes in found.probes.items()
            },
            self.settings.disable,
        )

    def look_further(self, series: str) -> None:
        """What no verdict needs: deviations, the other signal model's predictions, spectra."""
        found, settings, measurements = self.found, self.settings, self.measurements
        found.deviations[series] = _deviations(self.graph)
        if not self.brief:
            self._predict_by_other(series)
        if settings.jacobian and (jacobian := measurements.jacobian(series)) is not None:
            found.jacobians[series] = jacobian
        if settings.fisher and (fisher := measurements.fisher(series)) is not None:
            found.fisher[series] = fisher
        if settings.formats and (formats := measurements.formats(series)) is not None:
            found.formats[series] = formats

    def _predict_by_other(self, series: str) -> None:
        found = self.found
        try:
            found.by_other[series] = predict(
                self.graph, self.signals_of_other, self.options, self.registry
            )
        except Exception as error:  # an estimator of a user's own may raise anything
            what = f"What the {found.other_model} signal model predicts for {series} weights"
            self.findings.append(left_out("other_model_failed", what, error))

    def conclude(self, model: Any) -> None:
        """What a person should know of the whole."""
        found = self.found
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
        settled = settled_values(self.graph, self.found.kept, drawn)
        idle = self.graph.behind_placeholders()
        kind = SIGNAL_MODELS[self.settings.signal_model]
        probe = self.found.probes["uploaded"][draw]
        return {
            call.outputs[0].index: kind.gaussian(moments.mean, moments.variance)
            for call, moments in zip(self.graph.calls, probe.moments, strict=True)
            if moments is not None
            and call.index not in idle
            and call.outputs[0].index in settled
            and math.isfinite(moments.variance)
        }


def _deviations(graph: ModelGraph) -> dict[int, float]:
    """Standard deviations of the entries of all kernels, as they are now."""
    return {
        id(weight): mean_and_deviation(as_array(weight))[1]
        for layer in graph.layers()
        for weight in weights_of(layer)
        if len(weight.shape) > 1
    }


def _unique(findings: Sequence[Finding]) -> list[Finding]:
    return list({(finding.code, finding.path): finding for finding in reversed(findings)}.values())[
        ::-1
    ]
