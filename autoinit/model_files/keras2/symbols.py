"""TensorFlow function → `keras.ops`: one row for each symbol, with TensorFlow's argument names.

A row that takes `output` is told the shape of what TensorFlow returns. What a row cannot express it
refuses, by raising whatever it likes: the TensorFlow function itself then runs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

SymbolRow = Callable[..., Any]


class NoRowError(Exception):
    """These arguments have no equal in `keras.ops`."""


def _require(condition: Any) -> None:
    if not condition:
        raise NoRowError


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _matched(*values: Any) -> list[Any]:
    """Constants in the type of the tensor beside them, as TensorFlow takes them."""
    dtype = next(value.dtype for value in values if _is_tensor(value))
    return [v if _is_tensor(v) or np.ndim(v) == 0 else np.asarray(v, dtype) for v in values]


def _binary(function: Callable[[Any, Any], Any]) -> SymbolRow:
    return lambda x, y: function(*_matched(x, y))


def _compared(function: Callable[[Any, Any], Any]) -> SymbolRow:
    return lambda self, other: function(*_matched(self, other))


def _unary(function: Callable[[Any], Any], argument: str = "x") -> SymbolRow:
    return lambda **arguments: function(arguments.pop(argument), **arguments)


def _sum_of(inputs: Sequence[Any], shape: Any = None, tensor_dtype: Any = None) -> Any:
    return layers.Add()(list(inputs)) if len(inputs) > 1 else ops.copy(inputs[0])


def _axis(axis: Any) -> Any:
    if axis is None:
        return None
    return int(axis) if np.ndim(axis) == 0 else tuple(map(int, axis))


def _reduction(function: Callable[..., Any]) -> SymbolRow:
    def row(
        input_tensor: Any,
        axis: Any = None,
        keepdims: Any = None,
        keep_dims: Any = None,
        reduction_indices: Any = None,
    ) -> Any:
        places = _axis(axis if reduction_indices is None else reduction_indices)
        return function(input_tensor, axis=places, keepdims=bool(keepdims or keep_dims))

    return row


def _arg(function: Callable[..., Any]) -> SymbolRow:
    def row(input: Any, axis: Any = None, dimension: Any = None, output_type: Any = "int64") -> Any:
        place = next((p for p in (axis, dimension) if p is not None), 0)
        return ops.cast(function(input, axis=int(place)), _dtype(output_type))

    return row


def _dtype(dtype: Any) -> str:
    return str(getattr(dtype, "name", dtype))


def _reshape(tensor: Any, shape: Any, output: Any) -> Any:
    # What the shape is computed from does not matter: the sizes of its result are known.
    _require(sum(size is None for size in output) <= 1)
    return ops.reshape(tensor, tuple(-1 if size is None else size for size in output))


def _transpose(a: Any, perm: Any = None, conjugate: bool = False) -> Any:
    _require(not conjugate)
    return ops.transpose(a, _axis(perm))


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    left, right = _matched(a, b)
    turned = [
        ops.swapaxes(value, -1, -2) if turn else value
        for value, turn in ((left, transpose_a), (right, transpose_b))
    ]
    return ops.matmul(*turned)


def _squeeze(input: Any, axis: Any = None, squeeze_dims: Any = None) -> Any:
    places = _axis(axis if squeeze_dims is None else squeeze_dims)
    return ops.squeeze(input, axis=places if places != () else None)


def _expand(input: Any, axis: Any = None, dim: Any = None) -> Any:
    return ops.expand_dims(input, int(axis if dim is None else dim))


def _concat(values: Any, axis: Any) -> Any:
    return ops.concatenate(_matched(*values), axis=int(axis)) if len(values) > 1 else values[0]


def _split(value: Any, num_or_size_splits: Any, axis: Any = 0, num: Any = None) -> Any:
    if np.ndim(num_or_size_splits) == 0:
        return ops.split(value, int(num_or_size_splits), axis=int(axis))
    sizes = [int(size) for size in num_or_size_splits]
    _require(min(sizes) >= 0)
    return ops.split(value, np.cumsum(sizes[:-1]).tolist(), axis=int(axis))


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    widths = [tuple(int(size) for size in pair) for pair in paddings]
    rank = len(widths)
    if mode.upper() != "CONSTANT":
        return ops.pad(tensor, widths, mode=mode.lower())
    outside = widths[0] == widths[-1] == (0, 0)
    if constant_values == 0 and outside and rank in _PADDING_LAYERS:
        layer, inner = _PADDING_LAYERS[rank], tuple(widths[1:-1])
        return layer(inner[0] if rank == 3 else inner)(tensor)
    return ops.pad(tensor, widths, mode="constant", constant_values=constant_values)


# With padding between the batch and the channels, these have an exact rule.
_PADDING_LAYERS: dict[int, Any] = {
    rank: functools.partial(layer, data_format="channels_last")
    for rank, layer in ((3, layers.ZeroPadding1D), (4, layers.ZeroPadding2D),
                        (5, layers.ZeroPadding3D))
}  # fmt: skip


def _getitem(tensor: Any, slice_spec: Any) -> Any:
    key = tuple(slice_spec) if isinstance(slice_spec, (list, tuple)) else slice_spec
    for part in key if isinstance(key, tuple) else (key,):
        _require(part is None or part is ... or isinstance(part, (slice, int)))
    return tensor[key]


def _strided_slice(
    input_: Any,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Any:
    steps = [1] * len(begin) if strides is None else strides
    key: list[Any] = []
    for place, (start, stop, step) in enumerate(zip(begin, end, steps, strict=True)):
        bit = 1 << place
        if ellipsis_mask & bit:
            key.append(...)
        elif new_axis_mask & bit:
            key.append(None)
        elif shrink_axis_mask & bit:
            key.append(int(start))
        else:
            ends = (None if begin_mask & bit else int(start), None if end_mask & bit else int(stop))
            key.append(slice(*ends, int(step)))
    return input_[tuple(key)]


def _slice(input_: Any, begin: Any, size: Any) -> Any:
    ends = [None if n == -1 else int(b) + int(n) for b, n in zip(begin, size, strict=True)]
    return input_[tuple(slice(int(b), e) for b, e in zip(begin, ends, strict=True))]


def _gather(params: Any, indices: Any, axis: Any = None, batch_dims: int = 0) -> Any:
    _require(batch_dims == 0)
    return ops.take(params, indices, axis=int(axis or 0))


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    _require(x is not None and y is not None)
    _require(any(_is_tensor(value) for value in (x, y)))
    return ops.where(condition, *_matched(x, y))


def _one_hot(
    indices: Any,
    depth: Any,
    on_value: Any = None,
    off_value: Any = None,
    axis: Any = None,
    dtype: Any = "float32",
) -> Any:
    _require(on_value in (None, 1) and off_value in (None, 0))
    return ops.one_hot(indices, int(depth), axis=-1 if axis is None else axis, dtype=_dtype(dtype))


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, dim: Any = None) -> Any:
    places = _axis(axis if dim is None else dim)
    _require(places is not None)
    if epsilon == 1e-12:
        return layers.UnitNormalization(axis=list(places) if isinstance(places, tuple) else places)(
            x
        )
    # Keras 3 bounds the norm, TensorFlow its square.
    return ops.normalize(x, axis=places, order=2, epsilon=math.sqrt(epsilon))


def _resize(
    images: Any,
    size: Any,
    method: Any = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Any:
    _require(not preserve_aspect_ratio and len(images.shape) == 4)
    method = str(getattr(method, "value", method))
    _require(method in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"))
    target = tuple(int(number) for number in size)
    factors = [
        new // old if old and new % old == 0 else None
        for new, old in zip(target, images.shape[1:3], strict=True)
    ]
    if not antialias and None not in factors:  # this layer has an exact rule
        options = {"interpolation": method, "data_format": "channels_last"}
        return layers.UpSampling2D(tuple(factors), **options)(images)
    options = {"interpolation": method, "antialias": antialias, "data_format": "channels_last"}
    return ops.image.resize(images, target, **options)


def _pooling(kinds: Sequence[Any]) -> SymbolRow:
    def row(
        input: Any, ksize: Any, strides: Any, padding: str, data_format: str | None = None
    ) -> Any:
        rank = len(input.shape) - 2
        _require(isinstance(padding, str) and (data_format or "N..C").endswith("C"))
        sizes, steps = (_spatial(value, rank) for value in (ksize, strides))
        layer = kinds[rank - 1]
        return layer(sizes, steps, padding.lower(), data_format="channels_last")(input)

    return row


def _spatial(value: Any, rank: int) -> tuple[int, ...]:
    parts = [int(part) for part in np.atleast_1d(value)]
    if len(parts) == 1:
        parts *= rank
    if len(parts) == rank + 2:
        _require(parts[0] == parts[-1] == 1)
        parts = parts[1:-1]
    return tuple(parts)


def _leaky_relu(features: Any, alpha: Any = 0.2) -> Any:
    return ops.leaky_relu(features, negative_slope=float(alpha))


def _silu(features: Any, beta: Any = 1.0) -> Any:
    return ops.silu(features) if beta == 1.0 else features * ops.sigmoid(features * float(beta))


def _crelu(features: Any, axis: Any = -1) -> Any:
    halves = [ops.relu(features), ops.relu(ops.negative(features))]
    return ops.concatenate(halves, axis=int(axis))


def _softmax(function: Callable[..., Any]) -> SymbolRow:
    def row(logits: Any, axis: Any = None, dim: Any = None) -> Any:
        place = axis if dim is None else dim
        return function(logits, axis=-1 if place is None else int(place))

    return row


def _cumulative(function: Callable[..., Any]) -> SymbolRow:
    def row(x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False) -> Any:
        _require(not exclusive and not reverse)
        return function(x, axis=int(axis))

    return row


def _moments(x: Any, axes: Any, keepdims: Any = None, keep_dims: Any = None) -> Any:
    return ops.moments(x, _axis(axes), keepdims=bool(keepdims or keep_dims))


def _blocks(function: Callable[..., Any]) -> SymbolRow:
    def row(input: Any, block_size: Any, data_format: str = "NHWC") -> Any:
        _require(data_format == "NHWC")
        return function(input, int(block_size), data_format="channels_last")

    return row


def _bias_add(value: Any, bias: Any, data_format: str | None = None) -> Any:
    _require((data_format or "N..C").endswith("C"))
    return ops.add(*_matched(value, bias))


def _batch_flatten(x: Any) -> Any:
    return ops.reshape(x, (-1, math.prod(x.shape[1:])))


def _clip(t: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
    return ops.clip(*_matched(t, clip_value_min, clip_value_max))


def _squared_difference(x: Any, y: Any) -> Any:
    return ops.square(ops.subtract(*_matched(x, y)))


def _same(text: str) -> dict[str, Callable[..., Any]]:
    """Functions that have one name in both."""
    return {name: getattr(ops, name) for name in text.split()}


_UNARY = _same("""
    abs ceil cos cosh erf erfinv exp expm1 floor log log1p log_sigmoid logical_not negative
    reciprocal round rsqrt sigmoid sign sin sinh sqrt square tan tanh
""") | {
    "acos": ops.arccos, "acosh": ops.arccosh, "asin": ops.arcsin, "asinh": ops.arcsinh,
    "atan": ops.arctan, "atanh": ops.arctanh, "is_finite": ops.isfinite, "is_inf": ops.isinf,
    "is_nan": ops.isnan,
}  # fmt: skip
_BINARY = _same("""
    add divide divide_no_nan equal greater greater_equal less less_equal logical_and logical_or
    logical_xor maximum minimum multiply not_equal subtract
""") | {
    "floordiv": ops.floor_divide,
    "floormod": ops.mod,
    "pow": ops.power,
    "truediv": ops.true_divide,
}
_REDUCTIONS = _same("all any logsumexp max mean min prod std sum") | {
    "euclidean_norm": ops.norm, "variance": ops.var,
}  # fmt: skip
_FEATURES = _same("elu relu relu6 selu softplus softsign") | {
    "gelu": functools.partial(ops.gelu, approximate=False)
}
_MAX_POOLING = (layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D)
_AVERAGE_POOLING = (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)

ROWS: dict[str, SymbolRow] = {
    **{f"math.{name}": _unary(function) for name, function in _UNARY.items()},
    **{f"math.{name}": _binary(function) for name, function in _BINARY.items()},
    **{f"math.reduce_{name}": _reduction(function) for name, function in _REDUCTIONS.items()},
    **{f"nn.{name}": _unary(function, "features") for name, function in _FEATURES.items()},
    "__operators__.add": _binary(ops.add),
    "__operators__.eq": _compared(ops.equal),
    "__operators__.getitem": _getitem,
    "__operators__.ne": _compared(ops.not_equal),
    "cast": lambda x, dtype: ops.cast(x, _dtype(dtype)),
    "clip_by_value": _clip,
    "compat.v1.div": _binary(ops.divide),
    "compat.v1.floor_div": _binary(ops.floor_divide),
    "compat.v1.math.argmax": _arg(ops.argmax),
    "compat.v1.math.argmin": _arg(ops.argmin),
    "concat": _concat,
    "debugging.check_numerics": lambda tensor, message: ops.copy(tensor),
    "einsum": lambda equation, inputs: ops.einsum(equation, *_matched(*inputs)),
    "ensure_shape": lambda x, shape: ops.copy(x),
    "expand_dims": _expand,
    "gather": _gather,
    "identity": lambda input: ops.copy(input),
    "image.flip_left_right": lambda image: ops.flip(image, -2),
    "image.flip_up_down": lambda image: ops.flip(image, -3),
    "image.resize": _resize,
    "keras.backend.batch_flatten": _batch_flatten,
    "keras.backend.cast_to_floatx": lambda x: ops.cast(x, "float32"),
    "linalg.matmul": _matmul,
    "linalg.matrix_transpose": lambda a: ops.swapaxes(a, -1, -2),
    "math.accumulate_n": _sum_of,
    "math.add_n": _sum_of,
    "math.argmax": _arg(ops.argmax),
    "math.argmin": _arg(ops.argmin),
    "math.atan2": lambda y, x: ops.arctan2(*_matched(y, x)),
    "math.cumprod": _cumulative(ops.cumprod),
    "math.cumsum": _cumulative(ops.cumsum),
    "math.l2_normalize": _l2_normalize,
    "math.scalar_mul": lambda scalar, x: ops.multiply(*_matched(x, scalar)),
    "math.softplus": lambda features: ops.softplus(features),
    "math.squared_difference": _squared_difference,
    "nn.avg_pool": _pooling(_AVERAGE_POOLING),
    "nn.bias_add": _bias_add,
    "nn.crelu": _crelu,
    "nn.depth_to_space": _blocks(ops.depth_to_space),
    "nn.leaky_relu": _leaky_relu,
    "nn.log_softmax": _softmax(ops.log_softmax),
    "nn.max_pool": _pooling(_MAX_POOLING),
    "nn.moments": _moments,
    "nn.silu": _silu,
    "nn.softmax": _softmax(ops.softmax),
    "nn.space_to_depth": _blocks(ops.space_to_depth),
    "one_hot": _one_hot,
    "ones_like": lambda input, dtype=None: ops.ones_like(input, _dtype(dtype or input.dtype)),
    "pad": _pad,
    "realdiv": _binary(ops.true_divide),
    "repeat": lambda input, repeats, axis=None: ops.repeat(input, repeats, axis=_axis(axis)),
    "reshape": _reshape,
    "reverse": lambda tensor, axis: ops.flip(tensor, _axis(axis)),
    "roll": lambda input, shift, axis: ops.roll(input, _axis(shift), _axis(axis)),
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stack": lambda values, axis=0: ops.stack(_matched(*values), axis=int(axis)),
    "stop_gradient": lambda input: ops.stop_gradient(input),
    "strided_slice": _strided_slice,
    "tile": lambda input, multiples: ops.tile(input, _axis(multiples)),
    "transpose": _transpose,
    "unstack": lambda value, num=None, axis=0: ops.unstack(value, num, axis=int(axis)),
    "where": _where,
    "zeros_like": lambda input, dtype=None: ops.zeros_like(input, _dtype(dtype or input.dtype)),
}

# Other names of the same functions, and older ones that differ in what the rows take into account.
_UNCHANGED = """
    expand_dims gather math.reduce_all math.reduce_any math.reduce_logsumexp math.reduce_max
    math.reduce_mean math.reduce_min math.reduce_prod math.reduce_sum math.scalar_mul nn.crelu
    nn.depth_to_space nn.log_softmax nn.moments nn.softmax nn.space_to_depth pad squeeze transpose
    where
"""
ALIASES: dict[str, str] = {
    **{f"compat.v1.{name}": name for name in _UNCHANGED.split()},
    **{f"nn.{kind}_pool{n}d": f"nn.{kind}_pool" for kind in ("avg", "max") for n in (1, 2, 3)},
    "compat.v1.math.log_softmax": "nn.log_softmax", "compat.v1.math.softmax": "nn.softmax",
    "linalg.einsum": "einsum", "linalg.l2_normalize": "math.l2_normalize",
    "nn.sigmoid": "math.sigmoid", "nn.swish": "nn.silu", "nn.tanh": "math.tanh",
}  # fmt: skip
