"""The probes as an analysis calls them: with its inputs, its device and its share of the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from app.analysis.comparison.inputs import Inputs
from app.analysis.comparison.progress import OnProgress, Steps
from app.analysis.devices import device_kind
from app.analysis.settings import Settings
from app.limits import Limits, memory_left
from autoinit.errors import AutoInitError
from autoinit.findings import Finding
from autoinit.graph.model_graph import ModelGraph
from autoinit.graph.shapes import largest_alive
from autoinit.model_files.budgets import Budgets
from autoinit.propagation import Propagation
from probes.batching import batch_of
from probes.fisher import FisherInformation, probe_fisher
from probes.formats import FormatEffects, probe_formats
from probes.forward import Probe, probe_model
from probes.gradients import Gradients, probe_gradients
from probes.jacobian import JacobianSpectrum, probe_jacobian
from probes.passing import behind_batch_statistics
from probes.segments import CompiledPasses

_Found = TypeVar("_Found")
# For the bar: what each takes beside a pass forward; and what the rules do.
_GRADIENT_STEPS, _RULES, _FISHER_STEPS, _FORMAT_STEPS = 3, 1, 50, 12
_FORMAT_SAMPLES = 32  # Keras's own batch, unless one asks for another
# Samples of which the gradient is measured for the verdict, where no one asked for more: half of
# them where one has so many entries that even few tell, and no batch normalisation fewer than so
# many positions, whose statistics of four samples would be another network's. Where nothing is
# normalised over the batch, two tell as much: of VGG16's gradients, within 6 % of what eight do.
_GRADIENT_SAMPLES, _MANY_ENTRIES, _MANY_POSITIONS = 8, 2**22, 16


class Measurements:
    """Of a model with the weights that it has when a method is called.

    What fails is left out, as a finding among `findings`, and None: the result can do without.
    """

    def __init__(
        self,
        graph: ModelGraph,
        settings: Settings,
        inputs: Inputs,
        seeds: Sequence[int],
        series: int,
        progress: OnProgress,
        findings: list[Finding],
    ) -> None:
        self.graph, self.settings, self.inputs, self.seeds = graph, settings, inputs, seeds
        self.training = settings.mode == "training"
        self.findings = findings
        sizes = _RULES + 1 + (_GRADIENT_STEPS if settings.gradients else 1) + settings.jacobian
        sizes += (_FISHER_STEPS if settings.fisher else 0) + _FORMAT_STEPS * len(settings.formats)
        self._steps = Steps(progress, series * len(seeds), sizes)
        self._compiled = CompiledPasses(series * (len(seeds) if settings.gradients else 1))

    def begin(self, series: str, draw: int) -> None:
        """Says that the rules come, and then the probes."""
        self._steps.begin()
        self._steps.next(f"Predicting {series}{self._label(draw)}", _RULES)(0.0)

    def signals(self, series: str, draw: int, predicted: Propagation) -> Probe:
        """What samples come to at each call.

        What comes after layers that are not run is fed noise with the moments that were predicted,
        and not measured where it does not take noise.
        """
        progress = self._steps.next(f"Measuring {series}{self._label(draw)}")

        def probed(graph: ModelGraph) -> Probe:
            return probe_model(
                graph,
                self.settings.samples,
                training=self.training,
                memory_limit=self._memory(),
                batch_size=self.settings.batch,
                budget=self.settings.budget,
                progress=progress,
                **self._fed(draw),
            )

        return self._on_stand_ins(predicted, self.seeds[draw], probed) or probed(self.graph)

    def gradients(self, series: str, draw: int, samples: int) -> Gradients | None:
        """A random cotangent, sent back through as many samples as went forward."""
        stage = f"Measuring gradients, {series}{self._label(draw)}"
        batch = self._gradient_batch()
        return self._gradients(series, draw, samples, stage, _GRADIENT_STEPS, batch)

    def few_gradients(self, series: str) -> Gradients | None:
        """The same for the verdict, of few samples and the first draw's weights."""
        few, asked = _gradient_samples(self.graph), self.settings.samples
        few = few if asked == "auto" else min(asked, few)
        return self._gradients(series, 0, few, f"Measuring gradients, {series}")

    def jacobian(self, series: str) -> JacobianSpectrum | None:
        """Of the first draw's weights, as all that follows."""
        inputs, stage = self.settings.jacobian, f"Measuring the Jacobian, {series}"
        return self._attempt(
            "no_jacobian",
            f"The Jacobian with {series} weights",
            lambda: probe_jacobian(
                self.graph,
                inputs,
                logits=True,
                progress=self._steps.next(stage, inputs),
                **self._fed(0),
            ),
        )

    def fisher(self, series: str) -> FisherInformation | None:
        """Of as many samples as the settings say."""
        stage = f"Measuring the Fisher information, {series}"
        return self._attempt(
            "no_fisher",
            f"The Fisher information with {series} weights",
            lambda: probe_fisher(
                self.graph,
                self.settings.fisher,
                training=self.training,
                progress=self._steps.next(stage, _FISHER_STEPS),
                **self._fed(0),
            ),
        )

    def formats(self, series: str) -> dict[str, FormatEffects] | None:
        """Of the formats that the settings name."""
        formats, stage = self.settings.formats, f"Rounding to other formats, {series}"
        return self._attempt(
            "no_formats",
            f"What number formats do to {series} weights",
            lambda: probe_formats(
                self.graph,
                formats,
                _FORMAT_SAMPLES,
                training=self.training,
                progress=self._steps.next(stage, _FORMAT_STEPS * len(formats)),
                **self._fed(0),
            ),
        )

    def _gradients(
        self,
        series: str,
        draw: int,
        samples: int,
        stage: str,
        steps: int = 1,
        batch: int | None = None,
    ) -> Gradients | None:
        return self._attempt(
            "gradients_not_measured",
            f"The gradients with {series} weights",
            lambda: probe_gradients(
                self.graph,
                samples,
                training=self.training,
                logits=True,
                memory_limit=self._memory(),
                compiled=self._compiled,
                batch_size=batch,
                progress=self._steps.next(stage, steps),
                **self._fed(draw),
            ),
        )

    def _on_stand_ins(
        self, predicted: Propagation, seed: int, probed: Callable[[ModelGraph], Probe]
    ) -> Probe | None:
        """A probe with noise in place of what is not run.

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

    def _fed(self, draw: int) -> dict[str, Any]:
        """What every probe is told: the inputs, and where it runs."""
        return {
            "seed": self.seeds[draw],
            "input_mean": self.inputs.mean,
            "input_variance": self.inputs.variance,
            "input_data": self.inputs.data,
            "device": self.settings.device,
        }

    def _memory(self) -> int | None:
        """Half of what this worker may still take; what a GPU has is the probe's business."""
        if device_kind(self.settings.device) != "cpu":
            return None
        return memory_left(Limits.from_environment().memory_bytes) // 2

    def _label(self, draw: int) -> str:
        several = len(self.seeds) > 1
        return f", draw {draw + 1} of {len(self.seeds)}" if several else ""

    def _attempt(self, code: str, what: str, probe: Callable[[], _Found]) -> _Found | None:
        try:
            return probe()
        except Exception as error:  # a layer of a user's own may raise anything
            self.findings.append(left_out(code, what, error, (AutoInitError, MemoryError)))
            return None


def left_out(
    code: str, what: str, error: Exception, sentences: tuple[type[Exception], ...] = ()
) -> Finding:
    """That something is left out of the result, and why.

    Args:
        code: of the finding.
        what: is left out.
        error: that was raised.
        sentences: exceptions whose message is one that a person can read.
    """
    reason = str(error).partition("\n")[0].rstrip(".")
    kind = "" if isinstance(error, sentences) else f"{type(error).__name__}: "
    return Finding(code, "", "", f"{what} is left out: {kind}{reason}.")


def _gradient_samples(graph: ModelGraph) -> int:
    normalized = [call for call in graph.calls if call.class_name == "BatchNormalization"]
    crowded = all(math.prod(call.outputs[0].positions) >= _MANY_POSITIONS for call in normalized)
    written = sum(value.entries for call in graph.calls for value in call.outputs)
    if not crowded or written < _MANY_ENTRIES:
        return _GRADIENT_SAMPLES
    return _GRADIENT_SAMPLES // (2 if normalized else 4)
