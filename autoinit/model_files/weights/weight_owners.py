"""Objects of a model that have weights, each with the arrays in which a file stores them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from autoinit.errors import ModelFileError
from autoinit.graph.keras_internals import KerasSaveable, layers_in
from autoinit.model_files.read.hdf5 import StoredArray, quoted

Read = Callable[[StoredArray, Any], NDArray[Any]]
# Variables, and the arrays that hold their values as they are; None for values that were unpacked.
Pairs = tuple[tuple[Any, StoredArray | None], ...]


@dataclass(frozen=True)
class WeightOwner:
    """An object of a model, its own variables, and where their values are stored.

    Attributes:
        part: the object.
        pairs: its variables, and the arrays of the same shapes that belong to them.
        load: assigns the values, given what reads an array for a variable; returns the pairs that
            hold as they are, for some are only known then.
        path: where the object stands in an archive.
        packed: whether its values were packed into fewer bits after training.
        masks: variables that pruning has masked, and their masks.
    """

    part: Any
    pairs: Pairs
    load: Callable[[Read], Pairs]
    path: str = ""
    packed: bool = False
    masks: tuple[tuple[Any, StoredArray], ...] = ()


def is_keras3(model: Any) -> bool:
    """Whether an object is Keras 3's; it is tf_keras's otherwise."""
    return isinstance(model, KerasSaveable)


def is_placeholder(part: Any) -> bool:
    """Whether a part holds the place of one that is not run, in either Keras."""
    return type(part).__name__ == "Opaque" and hasattr(part, "original")


def is_model(part: Any) -> bool:
    """Whether a layer is itself a model, with layers of its own."""
    return isinstance(getattr(part, "layers", None), (list, tuple)) and hasattr(part, "inputs")


def shape_of(value: Any) -> tuple[int, ...]:
    """Shape of a variable or an array."""
    return tuple(-1 if size is None else int(size) for size in getattr(value, "shape", ()))


def flattened(layer: Any) -> list[Any]:
    """A layer and all that are in it."""
    return layers_in(layer) or [layer]


def named_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """The layers of a model and of the models in it, each once, by the path of their first use."""
    pending = [(layer, "") for layer in reversed(model.layers)]
    seen: set[int] = set()
    while pending:
        layer, prefix = pending.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        path = f"{prefix}{layer.name}"
        if is_model(layer):
            pending += [(inner, f"{path}/") for inner in reversed(layer.layers)]
        else:
            yield path, layer


def trouble_between(own: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    """Why arrays cannot be an object's variables, as the rest of a sentence; empty if they can."""
    if not arrays:
        return "has weights, and the file has none for it"
    if own.keys() != arrays.keys():
        return f"has {_weights(len(own))}, and the file {len(arrays)} for it"
    for key, value in own.items():
        if shape_of(value) != shape_of(arrays[key]):
            name = str(getattr(value, "name", key)).rpartition("/")[2].partition(":")[0]
            return (
                f"has a weight {quoted(name)} of shape {_sizes(shape_of(value))}, and the file one "
                f"of shape {_sizes(shape_of(arrays[key]))}"
            )
    return ""


def unpacked(
    part: Any, found: Iterable[tuple[Any, StoredArray | None, StoredArray | None]], read: Read
) -> Pairs:
    """Give variables the floats behind packed weights; what is packed in another way is left.

    Args:
        part: whose they are.
        found: each variable with what is stored for it, as floats or as integers of its shape, and
            the scale of these.
        read: what reads an array.
    """
    loaded = []
    for variable, array, scale in found:
        if array is None or array.shape != shape_of(variable):
            continue
        if array.dtype.kind in "fV":
            values = read(array, variable)
        elif scale is not None:
            scales = _beside(read(scale, None), array.shape, part, variable)
            values = read(array, None) / scales
        else:
            continue
        variable.assign(values)
        loaded.append((variable, None))
    return tuple(loaded)


def _beside(scale: NDArray[Any], shape: tuple[int, ...], part: Any, variable: Any) -> NDArray[Any]:
    """Scales in the axes of their kernel: of its units, which are its last ones, or of its rows."""
    if variable.name == "embeddings":
        kept = [(shape[0], *[1] * (len(shape) - 1))]
    else:
        kept = [shape[first:] for first in range(len(shape), -1, -1)]
    fitting = next((each for each in kept if math.prod(each) == scale.size), None)
    if fitting is None:
        raise mismatch(part, f"has {scale.size:,} scales for weights of shape {shape}")
    return scale.reshape(fitting)


def _weights(count: int) -> str:
    return "1 weight" if count == 1 else f"{count} weights"


def _sizes(shape: tuple[int, ...]) -> str:
    text = ", ".join(map(str, shape[:8]))
    return f"({text}, …)" if len(shape) > 8 else f"({text})"


def mismatch(part: Any, trouble: str) -> ModelFileError:
    """A refusal: what is stored for a layer is not its own.

    Args:
        part: the layer.
        trouble: what is wrong with it, as the middle of a sentence.
    """
    name = quoted(str(getattr(part, "name", "")))
    return ModelFileError(
        "weights_mismatch",
        f"Layer {name} ({type(part).__name__}) {trouble}: the weights in the file are those of "
        "another model, or damaged.",
    )
