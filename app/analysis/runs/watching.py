"""A model that is measured again and again while it trains, and never changed by that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.analysis.diagnosis.diagnose import Diagnosis, SeriesFigures, diagnose
from app.analysis.diagnosis.fault import Fault
from app.analysis.diagnosis.linter.architecture import architecture_of
from app.analysis.diagnosis.linter.lint import Linted, lint_model
from app.analysis.diagnosis.measured.recurrence import recurrent_growth
from app.analysis.diagnosis.measured.series import update_ratios
from app.analysis.diagnosis.verdict import Verdict
from app.analysis.runs.record import Layer
from autoinit.arrays import as_array
from autoinit.graph.model_graph import Call
from autoinit.reading import read_model
from autoinit.running.inputs import Data
from probes.forward import probe_model
from probes.gradients import Gradients, probe_gradients
from probes.logits import logits_of
from probes.moments.distribution import Histogram
from probes.moments.figures import Moments
from probes.passing import has_figures
from probes.segments import REPAID, CompiledPasses, trainable

Kernels = Mapping[int, NDArray[Any]]
# Measurements that take as long as to trace the passes back, at most, and are repaid by as many
# later ones: so many are made before, so that a short training does without.
_TRACING = 8
# Times the samples of a measurement, for all of which a unit must be zero to be called dead.
_MANY = 32
# Nothing is concluded of the configuration here, and weights are those of a training.
_IN_TRAINING = Linted(architecture_of({}), (), trained=True)


@dataclass(frozen=True)
class Observation:
    """What was measured at one moment.

    Attributes:
        figures: of `FIGURES`, a number for each layer, None where there is none.
        histograms: of the outputs' entries, by layer.
        faults: that the figures show.
    """

    figures: dict[str, tuple[float | None, ...]]
    histograms: dict[int, Histogram]
    faults: tuple[Fault, ...]


class Watch:
    """Measures a model where it stands.

    Args:
        model: with a graph; it may be in the middle of `fit`.
        data: to feed, by the inputs' names; noise for those that are not among them.
        samples: how many are fed.
        seed: of their choice and of the noise: each time the same.
        gradients: whether gradients are measured, too.

    Raises:
        GraphError: for a model without a graph of layers.
        ValueError: for data that do not fit the inputs.
    """

    def __init__(
        self, model: Any, data: Data | None, samples: int, seed: int = 0, gradients: bool = True
    ) -> None:
        self._model, self._data, self._samples, self._seed = model, data, samples, seed
        self._graph = read_model(model, training=True)
        idle = self._graph.behind_placeholders()
        self._calls = [c for c in self._graph.calls if has_figures(c) and c.index not in idle]
        self._backwards = gradients
        self._passes, self._traced = CompiledPasses(1), False
        self._looks = 0
        self._moments: Sequence[Moments | None] = [None] * len(self._graph.calls)
        self._gradients: Gradients | None = None

    @property
    def next_cost(self) -> int:
        """How many times what the latest measurement took the next one takes, at most."""
        repaid = self._gradients is not None and self._looks >= _TRACING
        return _TRACING if repaid and not self._traced else 1

    def trace_if_repaid(self) -> None:
        """Has the next measurement trace the passes back, after as many as take that long."""
        if self.next_cost > 1:
            self._passes, self._traced = CompiledPasses(REPAID), True

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What is watched, in the order of the calls."""
        return tuple(
            Layer(path=call.path, class_name=call.class_name, weighted=bool(_kernels(call)))
            for call in self._calls
        )

    def wait(self) -> None:
        """Until the steps so far are done, where they are only begun: that time is theirs."""
        self._take_from_trainer()
        kernels = [kernel for call in self._calls for kernel in _kernels(call)]
        as_array(min(kernels, key=lambda kernel: math.prod(kernel.shape), default=0))

    def kernels(self) -> Kernels:
        """Copies of the kernels as they are now, by identity of the variable."""
        self._take_from_trainer()
        return {
            id(kernel): as_array(kernel).copy() for call in self._calls for kernel in _kernels(call)
        }

    def measure(self, before: Kernels | None = None, steps: int = 1) -> Observation:
        """The figures as they are now.

        Args:
            before: the kernels some steps ago; no updates are told without them.
            steps: how many.
        """
        self._take_from_trainer()
        self._looks += 1
        graph, few, data = self._graph, self._samples, self._data
        self._moments = self._forward(few)
        if self._backwards:
            self._gradients = probe_gradients(
                graph,
                few,
                self._seed,
                input_data=data,
                batch_size=few,
                logits=True,
                compiled=self._passes,
            )
        measured = SeriesFigures(self._moments, self._back)
        now = self.kernels()
        sizes = {index: _rms(array) for index, array in now.items()}
        changes = {} if before is None else _changes(before, now, steps)
        rows = [
            _row(measured.forward[call.index], measured.backward[call.index])
            | {"kernel": _largest(sizes, call), "update": _largest(changes, call)}
            for call in self._calls
        ]
        return Observation(
            {name: tuple(_finite(row[name]) for row in rows) for name in rows[0]},
            {
                place: each.shape.histogram
                for place, call in enumerate(self._calls)
                if (each := measured.forward[call.index]) is not None
                and each.shape.histogram is not None
            },
            self._diagnosed(_IN_TRAINING, measured).faults,
        )

    def _forward(self, samples: int) -> Sequence[Moments | None]:
        return probe_model(
            self._graph, samples, self._seed, input_data=self._data, batch_size=self._samples
        ).moments

    def faults_of_many(self) -> tuple[Fault, ...]:
        """The faults that signals of many samples show, which takes several measurements' time."""
        self._take_from_trainer()
        figures = SeriesFigures(self._forward(_MANY * self._samples), self._back)
        return self._diagnosed(_IN_TRAINING, figures).faults

    def verdict(self) -> Verdict:
        """Whether the weights that were measured last will train, by these measurements."""
        growth = tuple(recurrent_growth(self._graph, "uploaded"))
        back = () if self._gradients is None else self._gradients.moments
        updates = update_ratios(self._graph, self._gradients)
        figures = SeriesFigures(self._moments, back, growth, updates)
        return self._diagnosed(lint_model(self._model), figures).verdicts["uploaded"]

    def spread_of_outputs(self) -> float:
        """In the unit of a loss, as measured last: `faults_of_loss` says how; 0 if not known."""
        producers = self._graph.producers()
        found = (
            self._moments[producers[value.index].index]
            for value in logits_of(self._graph, self._graph.outputs)
        )
        known = [each.variance for each in found if each is not None and each.variance >= 0.0]
        return max((min(variance, variance**0.5) for variance in known), default=0.0)

    @property
    def _back(self) -> Sequence[Moments | None]:
        if self._gradients is None:
            return [None] * len(self._graph.calls)
        return self._gradients.moments

    def _take_from_trainer(self) -> None:
        """On JAX the values are in the trainer's hands between two steps: have them in the model's.

        Keras has a method for callbacks that do.
        """
        if hasattr(self._model, "jax_state_sync"):
            self._model.jax_state_sync()

    def _diagnosed(self, linted: Linted, measured: SeriesFigures) -> Diagnosis:
        weighted = [bool(_kernels(call)) for call in self._graph.calls]
        return diagnose(self._graph, weighted, linted, {"uploaded": measured})


def _kernels(call: Call) -> list[Any]:
    """What training changes of a call, without biases and scales; an activation has none."""
    if call.part == "activation":
        return []
    return [variable for variable in trainable(call) if len(variable.shape) > 1]


def _changes(before: Kernels, now: Kernels, steps: int) -> dict[int, float]:
    """What a step changes of each kernel, beside its size; none of kernels of zeros."""
    return {
        index: _rms(array - before[index]) / size / steps
        for index, array in now.items()
        if (size := _rms(before[index])) > 0.0
    }


def _row(forward: Moments | None, back: Moments | None) -> dict[str, float | None]:
    """The figures of one call's output."""
    found: dict[str, float | None] = dict.fromkeys(
        ("variance", "mean", "correlation", "dead", "saturated", "gradient")
    )
    if forward is not None:
        whole = forward.finite_fraction == 1.0
        found |= {
            "variance": forward.variance if whole else None,
            "mean": forward.mean if whole else None,
            "correlation": forward.sample_correlation,
            "dead": forward.shape.dead_fraction,
            "saturated": forward.shape.saturated_fraction,
        }
    if back is not None:
        found["gradient"] = back.mean_square
    return found


def _largest(found: Mapping[int, float], call: Call) -> float | None:
    """The largest of a call's kernels."""
    return max((found[id(k)] for k in _kernels(call) if id(k) in found), default=None)


def _rms(array: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
