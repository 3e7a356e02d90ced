"""Inputs for a probe: Gaussian noise, valid random indices where integers are wanted, real data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.errors import SettingsError
from autoinit.graph.input_moments import (
    PerInput,
    draw_texts,
    input_moments,
    integer_inputs,
    known_integers,
    require_inputs,
)
from autoinit.graph.model_graph import Call, ModelGraph
from autoinit.graph.paths import shortened
from autoinit.randomness import derived

Data = Mapping[str, NDArray[Any]]
# As callers give them: for a model with one input an array will do, else one for each in turn.
Given = Data | NDArray[Any] | Sequence[NDArray[Any]]

# NumPy's names where they are others.
_DTYPES: dict[str, Any] = {"bool": bool}
# Entries that are converted to double precision at once.
_PIECE = 1 << 20


def draw_inputs(
    graph: ModelGraph,
    samples: int,
    seed: int,
    mean: PerInput = 0.0,
    variance: PerInput = 1.0,
    data: Given | None = None,
) -> dict[int, NDArray[Any]]:
    """An array for each of a graph's inputs, by value index, the samples' axis first.

    Args:
        graph: the model.
        samples: size of the batch axis.
        seed: the same seed gives the same inputs.
        mean, variance: of Gaussian inputs: one number for all, or numbers by the inputs' names (0
            and 1 where one is not named). Integer inputs, and those that an embedding looks up,
            are uniform over the valid indices (over 0 and 1 where nothing tells), or over the
            integers that the lookup knows that reads them. Text consists of
            words from the vocabulary of the layer that reads it (of numbers where it has none).
        data: real data to take samples from, by the inputs' names, the samples' axis first. The
            same samples are taken for all inputs, each once where there are enough. Inputs that
            are not among them get noise.

    Raises:
        ValueError: for a name that is no input's, for moments of an integer input without data,
            and as `check_data` does.
    """
    moments = input_moments(graph, mean, variance)
    sizes, known = integer_inputs(graph), known_integers(graph)
    data = {} if data is None else by_name(graph, data)
    check_data(graph, data)
    rows = chosen_rows(data, samples, seed)
    generator = np.random.default_rng(seed)
    arrays: dict[int, NDArray[Any]] = {}
    for call in graph.inputs:
        (value,) = call.outputs
        shape = tuple(size or 1 for size in (samples, *value.shape[1:]))
        dtype = _DTYPES.get(value.dtype, value.dtype)
        if call.path in data:
            real = keras.backend.is_float_dtype(value.dtype)
            arrays[value.index] = data[call.path][rows].astype(np.float32 if real else dtype)
        elif value.dtype == "string":
            arrays[value.index] = _texts(graph, value.index, shape, generator)
        elif value.index in sizes:
            _require_unnamed(call, mean, variance)
            drawn = known.get(value.index, np.arange(sizes[value.index]))
            arrays[value.index] = drawn[generator.integers(0, len(drawn), shape)].astype(dtype)
        else:
            own_mean, own_variance = moments[value.index]
            noise = generator.standard_normal(shape, dtype=np.float32)
            scaled = noise * np.float32(math.sqrt(own_variance)) + np.float32(own_mean)
            arrays[value.index] = scaled
    return arrays


def _texts(
    graph: ModelGraph, index: int, shape: tuple[int, ...], generator: np.random.Generator
) -> NDArray[np.str_]:
    """Words of the first reader that has a vocabulary."""
    readers = [c.layer for c in graph.calls if any(v.index == index for v in c.inputs)]
    knowing = (layer for layer in readers if hasattr(layer, "get_vocabulary"))
    return draw_texts(next(knowing, next(iter(readers), None)), shape, generator)


def by_name(graph: ModelGraph, given: Given) -> dict[str, NDArray[Any]]:
    """Arrays by the names of a graph's inputs.

    Raises:
        ValueError: for what is no array, or one array and several inputs.
    """
    names = [call.path for call in graph.inputs]
    several = len(names) > 1 and isinstance(given, list | tuple) and len(given) == len(names)
    pairs = dict(zip(names, given, strict=True)) if several else given
    if not isinstance(pairs, Mapping):
        if len(names) > 1:
            listed = ", ".join(map(repr, names))
            raise SettingsError(f"The model has the inputs {listed}: give arrays by their names.")
        pairs = {names[0]: given}
    arrays = {name: np.asarray(array) for name, array in pairs.items()}
    for name, array in arrays.items():
        if array.dtype == object and not array.ndim:
            raise SettingsError(
                f"The data for input {_shown(name)} must be an array of samples. Received: "
                f"{type(pairs[name]).__name__}. Of a tf.data.Dataset, take a batch of inputs."
            )
    return arrays


def check_data(graph: ModelGraph, data: Data) -> None:
    """Refuse data that do not fit a graph's inputs.

    Args:
        graph: the model.
        data: by the inputs' names, the samples' axis first.

    Raises:
        ValueError: for a name that is no input's, no samples or different numbers of them, another
            shape than the input's, another type, numbers that are not finite, or indices outside
            of the vocabulary.
    """
    require_inputs(graph, data)
    counts = {name: len(array) if array.ndim else 0 for name, array in data.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count:,} for {_shown(name)}" for name, count in counts.items())
        raise SettingsError(f"The data have different numbers of samples: {told}.")
    vocabulary = graph.vocabulary()
    for call in graph.inputs:
        if call.path in data:
            _check_shape(call, data[call.path])
            _check_numbers(call, data[call.path], vocabulary.get(call.outputs[0].index))


def data_moments(array: NDArray[Any]) -> tuple[float, float]:
    """Mean and variance over all entries of an array, in double precision."""
    flat = array.reshape(-1)
    pieces = range(0, flat.size, _PIECE)
    mean = math.fsum(float(flat[at : at + _PIECE].sum(dtype=float)) for at in pieces) / flat.size
    squares = (float(((flat[at : at + _PIECE].astype(float) - mean) ** 2).sum()) for at in pieces)
    return mean, math.fsum(squares) / flat.size


def chosen_rows(data: Data, samples: int, seed: int) -> NDArray[np.int64]:
    """Which samples of data to take: each once, unless more are wanted than there are."""
    count = len(next(iter(data.values()))) if data else samples
    # Another seed than the noise's, which other inputs may have beside the data.
    generator = np.random.default_rng(derived(seed, count))
    return generator.choice(count, samples, replace=samples > count)


def _require_unnamed(call: Call, mean: PerInput, variance: PerInput) -> None:
    for numbers in (mean, variance):
        if isinstance(numbers, Mapping) and call.path in numbers:
            raise SettingsError(
                f"Input {_shown(call.path)} takes integers, which are drawn uniformly: it has no "
                "mean and variance of its own. Leave them out, or give data."
            )


def _check_shape(call: Call, array: NDArray[Any]) -> None:
    (value,) = call.outputs
    wanted, found = tuple(value.shape[1:]), tuple(array.shape[1:])
    if not array.ndim or not len(array):
        raise SettingsError(f"The data for input {_shown(call.path)} have no samples.")
    if found == wanted:
        return
    said = f"Input {_shown(call.path)} takes samples of shape {wanted}, and the data's are {found}"
    declared = tuple(getattr(call.layer, "batch_shape", None) or ())[1:]
    if len(declared) == len(found) and None in declared:
        pairs = list(zip(declared, found, strict=True))
        sizes = {size for given, size in pairs if given is None}
        if all(given in (None, size) for given, size in pairs):
            if len(sizes) == 1:
                (size,) = sizes
                raise SettingsError(
                    f"{said}: choose {size} as the size for unknown dimensions (--input-size)."
                )
            raise SettingsError(
                f"{said}: all unknown dimensions are taken to be of one size. Bring the data to "
                "one, or save the model with definite sizes."
            )
    raise SettingsError(f"{said}.")


def _check_numbers(call: Call, array: NDArray[Any], vocabulary: int | None) -> None:
    """Numbers that single precision holds; for integer inputs whole ones, within their range."""
    name, dtype = _shown(call.path), call.outputs[0].dtype
    if dtype == "string":
        raise SettingsError(f"Input {name} takes text, for which no data can be given.")
    if array.dtype.kind not in "biuf":
        raise SettingsError(f"The data for input {name} are no numbers: they are {array.dtype}.")
    if not array.size:
        raise SettingsError(f"The data for input {name} have no entries.")
    low, high = float(array.min()), float(array.max())  # NaN where any entry is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SettingsError(f"The data for input {name} hold NaN or infinity: leave these out.")
    if vocabulary is None and keras.backend.is_float_dtype(dtype):
        if max(-low, high) > float(np.finfo(np.float32).max):
            raise SettingsError(f"The data for input {name} are too large for single precision.")
        return
    if array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        raise SettingsError(f"Input {name} takes integers, and the data have fractions.")
    least, most = _range(dtype, vocabulary)
    if low < least or high > most:
        raise SettingsError(
            f"Input {name} takes integers from {least} to {most}, and the data have "
            f"{low:.15g} to {high:.15g}."
        )


def _range(dtype: str, vocabulary: int | None) -> tuple[int, int]:
    """The smallest and the largest integer that an input takes."""
    if vocabulary is not None:
        return 0, vocabulary - 1
    if dtype == "bool":
        return 0, 1
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _shown(name: str) -> str:
    return repr(shortened(name))
