"""Layers that join tensors: what a tensor's shape has to be beside the others'."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

Shape = tuple[int | None, ...]
Entry = dict[str, Any]
ShapeEvidence = Mapping[str, Any]

# Layers whose output has their input's shape.
_SAME_SHAPE = re.compile(
    r"Activation|ActivityRegularization|Add(Loss|Metric)?|AlphaDropout|Average|ELU|Identity"
    r"|(Spatial)?Dropout([123]D)?|Gaussian(Dropout|Noise)|LeakyReLU|Masking|Maximum|Minimum"
    r"|Multiply|Normalization|PReLU|ReLU|Rescaling|Softmax|Subtract|ThresholdedReLU"
    r"|UnitNormalization|(Sync)?BatchNormalization(V[12])?|(Layer|Group|RMS)Normalization"
)
# Operations of TensorFlow that do.
_SAME_SHAPE_SYMBOLS = re.compile(
    r"nn\.(relu6?|elu|selu|gelu|silu|swish|tanh|sigmoid|softmax|softplus|softsign|leaky_relu"
    r"|dropout)|math\.(tanh|sigmoid|exp|log|sqrt|square|abs|negative|sin|cos|softplus)|identity"
    r"|cast|stop_gradient|clip_by_value"
)
# Layers that join tensors, and the operations of TensorFlow that do the same.
_ALIKE = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")
_JOINS = {
    **{kind: kind for kind in ("Concatenate", "Dot", *_ALIKE)},
    **dict.fromkeys(("__operators__.add", "math.add", "math.subtract"), "Add"),
    **dict.fromkeys(("math.multiply", "math.maximum", "math.minimum"), "Multiply"),
    "concat": "Concatenate",
}


def joined(entry: Entry) -> str:
    """What a layer that joins tensors is: "Concatenate", "Dot" or one of `_ALIKE`; else empty."""
    return _JOINS.get(str(_symbol(entry) or entry.get("class_name")), "")


def keeps_shape(entry: Entry) -> bool:
    """Whether a layer's output has the shape of its input."""
    symbol = str(_symbol(entry))
    same = _SAME_SHAPE.fullmatch(str(entry.get("class_name")))
    return bool(same or _SAME_SHAPE_SYMBOLS.fullmatch(symbol))


def _symbol(entry: Entry) -> Any:
    config = entry.get("config")
    is_function = entry.get("class_name") == "TFOpLambda" and isinstance(config, dict)
    return config.get("function") if is_function and config else None


def shape_beside(
    kind: str,
    axis: Any,
    given: Shape,
    others: Sequence[Shape],
    whole: ShapeEvidence,
    missing: int,
    told: bool = False,
) -> Shape | None:
    """The shape that lets a tensor be joined with others; None where any will do, or none is known.

    Args:
        kind: see `joined`.
        axis: along which, or over which, they are joined.
        given: the shape that the tensor would have otherwise, the batch axis first.
        others: those of the others that are known.
        whole: what is known of the result.
        missing: how many are not known, the tensor counted.
        told: whether stored weights tell the shape that it would have.
    """
    ranks = {len(other) for other in others} or {len(given)}
    if kind == "Concatenate" and missing > 1 and told:
        return None  # the share of what is left is a guess
    if ranks == {0} or not (others or (kind == "Concatenate" and whole)):
        return None
    if kind in _ALIKE:
        other = max(others, key=lambda shape: math.prod(size or 1 for size in shape))
        return None if all(map(_alike, given[::-1], other[::-1])) else (given[0], *other[1:])
    if kind == "Dot":
        own, theirs = axis if isinstance(axis, (list, tuple)) else (axis, axis)
        if not all(isinstance(each, int) for each in (own, theirs)):
            return None
        shape = list(given)
        if -len(shape) <= own < len(shape) and -len(others[0]) <= theirs < len(others[0]):
            shape[own] = others[0][theirs]
        return tuple(shape)
    around = others[0] if others else given
    rank = len(around)
    if len(ranks) > 1 or not isinstance(axis, int) or not -rank <= axis < rank:
        return None
    axis %= rank
    shape = [given[0], *around[1:]]
    shape[axis] = _size_left(axis, given, around, others, whole, missing)
    fits = len(given) == rank and all(
        place == axis or _alike(*sizes)
        for place, sizes in enumerate(zip(given, shape, strict=True))
    )
    if fits and not _size_of(whole, axis, rank):
        return None
    return tuple(shape)


def _alike(one: int | None, other: int | None) -> bool:
    return one == other or None in (one, other) or 1 in (one, other)


def _size_of(whole: ShapeEvidence, axis: int, rank: int) -> int | None:
    declared = whole.get("declared")
    if declared is not None:
        return declared[axis - 1] if len(declared) == rank - 1 else None
    return whole.get("size") if whole.get("axis", -1) % rank == axis else None


def _size_left(
    axis: int,
    given: Shape,
    around: Shape,
    others: Sequence[Shape],
    whole: ShapeEvidence,
    missing: int,
) -> int | None:
    """A tensor's share of the axis along which it is joined with others.

    What is left of the whole; else as much as keeps the number of entries, which most layers that
    rearrange them do; else what it was.
    """
    size, known = _size_of(whole, axis, len(around)), [other[axis] for other in others]
    if size and None not in known:
        left = size - sum(size or 0 for size in known)
        return left // missing if left >= missing else None
    places = math.prod(size or 0 for place, size in enumerate(around) if place not in (0, axis))
    entries = math.prod(size or 0 for size in given[1:])
    if places and entries and entries % places == 0:
        return entries // places
    return given[axis] if len(given) == len(around) else None
