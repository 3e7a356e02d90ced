"""Mean and variance of a model's inputs: one for all, or one for each by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from autoinit.errors import SettingsError
from autoinit.graph.model_graph import ModelGraph
from autoinit.graph.paths import shortened

# One number for all inputs, or numbers by the inputs' names; what is not named has the default.
PerInput = float | Mapping[str, float]

_NAMES_TOLD = 20


def integer_inputs(graph: ModelGraph) -> dict[int, int]:
    """How many different integers each input that takes integers may hold, by value index.

    Inputs that an embedding looks up count, whatever their type; 256 for bytes that none looks up,
    and 2 where nothing tells.
    """
    vocabulary = graph.vocabulary()
    return {
        value.index: vocabulary.get(value.index, 256 if value.dtype == "uint8" else 2)
        for (value,) in (call.outputs for call in graph.inputs)
        if value.index in vocabulary or not value.dtype.startswith(("float", "bfloat"))
    }


def input_moments(
    graph: ModelGraph, mean: PerInput = 0.0, variance: PerInput = 1.0
) -> dict[int, tuple[float, float]]:
    """Mean and variance of each input, by value index.

    Those of integer inputs are of uniform indices, unless they are named.

    Args:
        graph: whose inputs they are.
        mean, variance: one number for all inputs, or by name; 0 and 1 where an input is not named.

    Raises:
        ValueError: for a name that is no input's, a mean that is not finite, and a variance that
            is below 0 or not finite.
    """
    require_finite("The input's mean", mean)
    require_finite("The input's variance", variance, least=0.0)
    for numbers in (mean, variance):
        if isinstance(numbers, Mapping):
            require_inputs(graph, numbers)
    sizes = integer_inputs(graph)
    moments = {}
    for call in graph.inputs:
        (value,) = call.outputs
        size = sizes.get(value.index)
        if size is None:
            moments[value.index] = _of(mean, call.path, 0.0), _of(variance, call.path, 1.0)
        else:
            own = [numbers if isinstance(numbers, Mapping) else {} for numbers in (mean, variance)]
            moments[value.index] = (
                _of(own[0], call.path, (size - 1) / 2),
                _of(own[1], call.path, (size * size - 1) / 12),
            )
    return moments


def require_inputs(graph: ModelGraph, names: Iterable[str]) -> None:
    """Refuse a name that is no input's.

    Raises:
        ValueError: names it, and the inputs that there are.
    """
    known = [call.path for call in graph.inputs]
    for name in names:
        if name not in known:
            listed = ", ".join(repr(shortened(path)) for path in known[:_NAMES_TOLD])
            more = f" and {len(known) - _NAMES_TOLD} more" if len(known) > _NAMES_TOLD else ""
            raise SettingsError(
                f"The model has no input {shortened(str(name))!r}. Its inputs: {listed}{more}."
            )


def require_finite(name: str, numbers: PerInput, least: float = -math.inf) -> None:
    """Refuse numbers that are not finite or too small.

    Args:
        name: what errors call them.
        numbers: one, or several by name.
        least: that they may be.

    Raises:
        ValueError: with the number received.
    """
    for number in numbers.values() if isinstance(numbers, Mapping) else (numbers,):
        if not (math.isfinite(number) and number >= least):
            expected = "be finite" if least == -math.inf else f"be finite and {least:g} or more"
            raise SettingsError(f"{name} must {expected}. Received: {number!r}")


def _of(numbers: PerInput, path: str, default: float) -> float:
    return float(numbers.get(path, default) if isinstance(numbers, Mapping) else numbers)
