"""A model that is measured again and again while it trains, and never changed by that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.analysis.diagnosis.diagnose import SeriesFigures, diagnose
from app.analysis.diagnosis.fault import Fault
from app.analysis.diagnosis.linter.architecture import architecture_of
from app.analysis.diagnosis.linter.lint import Linted
from app.analysis.runs.record import Layer
from autoinit.arrays import as_array
from autoinit.graph.model_graph import Call
from autoinit.reading import read_model
from autoinit.running.inputs import Data
from probes.forward import probe_model
from probes.gradients import probe_gradients
from probes.moments.distribution import Histogram
from probes.moments.figures import Moments
from probes.passing import has_figures
from probes.segments import CompiledPasses, trainable

Kernels = Mapping[int, NDArray[Any]]
# Passes back are compiled: there are many.
_MANY = 10**6
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
        self._passes = CompiledPasses(_MANY) if gradients else None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What is watched, in the order of the calls."""
        return tuple(
            Layer(path=call.path, class_name=call.class_name, weighted=bool(_kernels(call)))
            for call in self._calls
        )

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
        graph, few = self._graph, self._samples
        moments = probe_model(graph, few, self._seed, input_data=self._data, batch_size=few).moments
        back: Sequence[Moments | None] = [None] * len(moments)
        if self._passes is not None:
            back = probe_gradients(
                graph,
                few,
                self._seed,
                input_data=self._data,
                batch_size=few,
                logits=True,
                compiled=self._passes,
            ).moments
        sizes = {index: _rms(array) for index, array in self.kernels().items()}
        changes = {} if before is None else self._changes(before, steps)
        rows = [
            _row(moments[call.index], back[call.index])
            | {"kernel": _largest(sizes, call), "update": _largest(changes, call)}
            for call in self._calls
        ]
        return Observation(
            {name: tuple(_finite(row[name]) for row in rows) for name in rows[0]},
            {
                place: each.shape.histogram
                for place, call in enumerate(self._calls)
                if (each := moments[call.index]) is not None and each.shape.histogram is not None
            },
            self._faults(moments, back),
        )

    def _take_from_trainer(self) -> None:
        """On JAX the values are in the trainer's hands between two steps: have them in the model's.

        Keras has a method for callbacks that do.
        """
        if hasattr(self._model, "jax_state_sync"):
            self._model.jax_state_sync()

    def _changes(self, before: Kernels, steps: int) -> dict[int, float]:
        """What a step changes of each kernel, beside its size; none of kernels of zeros."""
        return {
            index: _rms(array - before[index]) / size / steps
            for index, array in self.kernels().items()
            if (size := _rms(before[index])) > 0.0
        }

    def _faults(
        self, forward: Sequence[Moments | None], backward: Sequence[Moments | None]
    ) -> tuple[Fault, ...]:
        weighted = [bool(_kernels(call)) for call in self._graph.calls]
        measured = SeriesFigures(forward, backward)
        return diagnose(self._graph, weighted, _IN_TRAINING, {"uploaded": measured}).faults


def _kernels(call: Call) -> list[Any]:
    """What training changes of a call, without biases and scales; an activation has none."""
    if call.part == "activation":
        return []
    return [variable for variable in trainable(call) if len(variable.shape) > 1]


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
