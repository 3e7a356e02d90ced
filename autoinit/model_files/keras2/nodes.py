"""`TensorFlowOpLayer`: operations as tf.keras 1.14 to 2.3 recorded them, type and attributes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from autoinit.graph.keras_internals import op_def_registry
from autoinit.model_files.keras2.vocabulary import NODE_OPERATIONS

_KEEPING = {"input": "input_tensor", "keep_dims": "keepdims"}
_MATRICES = {"x": "a", "y": "b", "adj_x": "transpose_a", "adj_y": "transpose_b"}

_SAME_NAME = """
    Abs Acos Acosh Add Asin Asinh Atan Atan2 Atanh Ceil Cos Cosh Equal Erf Exp Expm1 Floor FloorDiv
    FloorMod Greater Less Log Log1p Maximum Minimum Pow Reciprocal Round Rsqrt Sigmoid Sign Sin Sinh
    Softplus Sqrt Square Tan Tanh
"""
# Type of operation → function of the same meaning, and what its arguments are called there.
_FUNCTIONS: dict[str, tuple[str, Mapping[str, str]]] = {
    **{operation: (f"math.{operation.lower()}", {}) for operation in _SAME_NAME.split()},
    **{operation: (f"math.{name}", {}) for operation, name in {
        "AddN": "add_n", "AddV2": "add", "Div": "truediv", "DivNoNan": "divide_no_nan",
        "GreaterEqual": "greater_equal", "Inv": "reciprocal", "IsFinite": "is_finite",
        "IsInf": "is_inf", "IsNan": "is_nan", "LessEqual": "less_equal",
        "LogicalAnd": "logical_and", "LogicalNot": "logical_not", "LogicalOr": "logical_or",
        "Mul": "multiply", "Neg": "negative", "NotEqual": "not_equal", "RealDiv": "truediv",
        "SquaredDifference": "squared_difference", "Sub": "subtract",
    }.items()},
    **{operation: (f"math.reduce_{operation.lower()}", _KEEPING)
       for operation in ("All", "Any", "Max", "Mean", "Min", "Prod", "Sum")},
    **{operation: (f"nn.{name}", {}) for operation, name in {
        "BiasAdd": "bias_add", "DepthToSpace": "depth_to_space", "Elu": "elu",
        "LeakyRelu": "leaky_relu", "LogSoftmax": "log_softmax", "Relu": "relu", "Relu6": "relu6",
        "Selu": "selu", "Softmax": "softmax", "Softsign": "softsign",
        "SpaceToDepth": "space_to_depth",
    }.items()},
    "BatchMatMul": ("linalg.matmul", _MATRICES),
    "BatchMatMulV2": ("linalg.matmul", _MATRICES),
    "Cast": ("cast", {"DstT": "dtype"}),
    "ClipByValue": ("clip_by_value", {}),
    "ConcatV2": ("concat", {}),
    "ExpandDims": ("expand_dims", {}),
    "GatherV2": ("gather", {}),
    "Identity": ("identity", {}),
    "MatMul": ("linalg.matmul", {}),
    "MirrorPad": ("pad", {"input": "tensor"}),
    "OnesLike": ("ones_like", {"x": "input"}),
    "Pack": ("stack", {}),
    "Pad": ("pad", {"input": "tensor"}),
    "PadV2": ("pad", {"input": "tensor"}),
    "Reshape": ("reshape", {}),
    "ReverseV2": ("reverse", {}),
    "Select": ("where", {}),
    "SelectV2": ("where", {"t": "x", "e": "y"}),
    "Slice": ("slice", {"input": "input_"}),
    "Split": ("split", {"num_split": "num_or_size_splits"}),
    "SplitV": ("split", {"size_splits": "num_or_size_splits", "num_split": "num"}),
    "Squeeze": ("squeeze", {}),
    "StopGradient": ("stop_gradient", {}),
    "StridedSlice": ("strided_slice", {"input": "input_"}),
    "Tile": ("tile", {}),
    "Transpose": ("transpose", {"x": "a"}),
    "Unpack": ("unstack", {}),
    "ZerosLike": ("zeros_like", {"x": "input"}),
}  # fmt: skip


def call_of(layer: Any, tensors: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """What a `TensorFlowOpLayer` computes: the type of operation, and its arguments.

    Args:
        layer: of tf_keras.
        tensors: its inputs; its constants are put between them.

    Raises:
        ValueError: for a type that is not in the vocabulary.
    """
    definition = layer.node_def
    if definition.op not in NODE_OPERATIONS:
        raise ValueError(f"{definition.op!r} is no operation that a model may hold.")
    values = list(tensors)
    for place, constant in sorted(layer.constants.items()):
        values.insert(place, constant)
    given = {name: _attribute(attribute) for name, attribute in definition.attr.items()}
    given |= {"axis": given["squeeze_dims"]} if "squeeze_dims" in given else {}
    # The functions take inputs first, in the order of the definition, under names of their own.
    names = list(inspect.signature(getattr(tf.raw_ops, definition.op)).parameters)
    inputs = op_def_registry.get(definition.op).input_arg
    arguments: dict[str, Any] = {}
    for name, argument in zip(names, inputs, strict=False):
        count = given[argument.number_attr] if argument.number_attr else None
        arguments[name] = values[0] if count is None else values[:count]
        values = values[1 if count is None else count :]
    options = {name: given[name] for name in names[len(inputs) :] if name in given}
    return definition.op, {**arguments, **options}


def as_function(operation: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The same call of a public function, or None where there is none of that meaning."""
    if operation not in _FUNCTIONS:
        return None
    symbol, names = _FUNCTIONS[operation]
    renamed = {names.get(name, name): value for name, value in arguments.items()}
    return symbol, {name: value for name, value in renamed.items() if name != "Truncate"}


def _attribute(attribute: Any) -> Any:
    kind = attribute.WhichOneof("value")
    if kind == "type":
        return tf.as_dtype(attribute.type).name
    if kind == "s":
        return attribute.s.decode()
    if kind == "list":
        return [*attribute.list.i] or [*attribute.list.f]
    return getattr(attribute, kind) if kind in ("i", "f", "b") else None
