"""Mean and variance of a model's inputs: one for all, or one for each by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.errors import SettingsError
from autoinit.graph.model_graph import ModelGraph
from autoinit.graph.paths import shortened

# One number for all inputs, or numbers by the inputs' names; what is not named has the default.
PerInput = float | Mapping[str, float]

_NAMES_TOLD = 20
# Words in a text, and how many numbers are words where no vocabulary is known.
_TEXT_LENGTH = 32
_NUMBERS = 1000


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


def known_integers(graph: ModelGraph) -> dict[int, NDArray[Any]]:
    """The integers that lookup layers know, by the value index of the input that they read.

    What they do not know becomes one and the same index.
    """
    inputs = {value.index for (value,) in (call.outputs for call in graph.inputs)}
    found: dict[int, NDArray[Any]] = {}
    for call in graph.calls:
        listed = integers_of(call.layer) if call.inputs and call.inputs[0].index in inputs else None
        if listed is not None:
            found.setdefault(call.inputs[0].index, listed)
    return found


def integers_of(layer: Any) -> NDArray[Any] | None:
    """The integers that a lookup layer knows; None for others."""
    if not isinstance(layer, keras.layers.IntegerLookup):
        return None
    listed = layer.get_vocabulary(include_special_tokens=False)
    return np.array(listed, np.int64) if len(listed) else None


def words_of(layer: Any) -> list[str]:
    """The words that a layer knows; the first numbers where it has no vocabulary."""
    known = hasattr(layer, "get_vocabulary")
    listed = layer.get_vocabulary(include_special_tokens=False) if known else ()
    return [str(word) for word in listed] or [str(number) for number in range(_NUMBERS)]


def draw_texts(
    layer: Any, shape: tuple[int, ...], generator: np.random.Generator
) -> NDArray[np.str_]:
    """Words that a layer knows, each as likely; several to a text where it splits these."""
    words = np.array(words_of(layer))
    length = _TEXT_LENGTH if isinstance(layer, keras.layers.TextVectorization) else 1
    chosen = words[generator.integers(0, len(words), (math.prod(shape), length))]
    return np.array([" ".join(text) for text in chosen]).reshape(shape)


def input_moments(
    graph: ModelGraph, mean: PerInput = 0.0, variance: PerInput = 1.0
) -> dict[int, tuple[float, float]]:
    """Mean and variance of each input, by value index.

    Those of integer inputs are of uniform indices, or of the integers that a lookup knows, unless
    they are named.

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
    sizes, known = integer_inputs(graph), known_integers(graph)
    moments = {}
    for call in graph.inputs:
        (value,) = call.outputs
        size = sizes.get(value.index)
        if size is None:
            moments[value.index] = _of(mean, call.path, 0.0), _of(variance, call.path, 1.0)
        else:
            own = [numbers if isinstance(numbers, Mapping) else {} for numbers in (mean, variance)]
            drawn = known.get(value.index)
            of_drawn = ((size - 1) / 2, (size * size - 1) / 12)
            if drawn is not None:
                of_drawn = float(drawn.mean()), float(drawn.var())
            moments[value.index] = (
                _of(own[0], call.path, of_drawn[0]),
                _of(own[1], call.path, of_drawn[1]),
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
