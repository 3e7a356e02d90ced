"""Which values of a graph have no entry below 0, by the operations that made them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import keras

from autoinit.graph.model_graph import Call

# The same entries where they were.
KEEPING = frozenset({"BroadcastTo", "Cast", "Copy", "StopGradient"})
# Of these it is found out where each entry comes from; if not, entries elsewhere.
PICKING = frozenset({"Flip", "GetItem", "Roll", "Split"})
# JAX takes the few points that a function is tried on for channels that have no positions, so that
# a window leaves them as they are.
WINDOWS = frozenset({"AdaptiveAveragePool", "AdaptiveMaxPool", "AveragePool", "MaxPool"})
_NEVER_NEGATIVE = frozenset({
    "Abs", "Absolute", "Exp", "Exp2", "Norm", "Relu", "Relu6", "Sigmoid", "Softmax", "Softplus",
    "Sqrt", "Square", "Std", "Var",
})  # fmt: skip
_KEEPING_SIGN = KEEPING | PICKING | WINDOWS | frozenset({
    "Amax", "Amin", "Concatenate", "ExpandDims", "Max", "Mean", "Min", "Reshape", "Squeeze", "Sum",
    "Transpose",
})  # fmt: skip
_JOINING = frozenset({"Add", "Divide", "Maximum", "Minimum", "Multiply", "TrueDivide"})


def never_negative(calls: Iterable[Call]) -> frozenset[int]:
    """Indices of the values that operations of `keras.ops` leave at 0 or above, whatever comes.

    Args:
        calls: of a graph, in order.
    """
    found: set[int] = set()
    for call in calls:
        if not isinstance(call.layer, keras.Layer) and _is_never_negative(call, found):
            found.update(value.index for value in call.outputs)
    return frozenset(found)


def _is_never_negative(call: Call, earlier: Collection[int]) -> bool:
    if not call.inputs:
        return False
    name, (args, kwargs) = type(call.layer).__name__, call.arguments
    if name in _NEVER_NEGATIVE:
        return True
    numbers = [
        leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, (int, float))
    ]
    if name == "Power":
        return numbers[-1:] == [2] or call.inputs[0].index in earlier
    if name == "Multiply" and len(call.inputs) == 2 and reads_one(call):
        return True
    if any(value.index not in earlier for value in call.inputs):
        return False
    return name in _KEEPING_SIGN or (name in _JOINING and min(numbers, default=0) >= 0)


def reads_one(call: Call) -> bool:
    """Whether all operands of a call are the same tensor."""
    return len({value.index for value in call.inputs}) == 1
