"""What a call does to a signal, as far as a diagnosis asks: its role.

Roles are told by class, and for operations by name: they say which changes of size are the work of
kernels and activations, and which belong to an operation that rescales harmlessly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

import keras
from keras import layers

from autoinit.graph.model_graph import Call, ModelGraph, Value, innermost


class Role(StrEnum):
    """What becomes of a signal's size.

    Attributes:
        INPUT: it enters here: data, a lookup in a table, a constant.
        KERNEL: multiplied by trained weights.
        ACTIVATION: an element-wise nonlinearity.
        BOUNDED: one whose output is bounded.
        NORMALIZER: it is set anew, whatever it was: a reset.
        RECURRENT: a recurrence, whose gates and states have a size of their own: a reset.
        POOL: averages or repeats entries, which changes their size and means nothing.
        MERGE: adds what comes from several branches.
        CONCAT: several branches beside each other.
        PRODUCT: one signal weighs another: gates, attention.
        SCALE: multiplied by, or moved by, fixed numbers.
        MOVE: entries at other places, or dropped at random.
        OTHER: anything else.
    """

    INPUT = "input"
    KERNEL = "kernel"
    ACTIVATION = "activation"
    BOUNDED = "bounded"
    NORMALIZER = "normalizer"
    RECURRENT = "recurrent"
    POOL = "pool"
    MERGE = "merge"
    CONCAT = "concat"
    PRODUCT = "product"
    SCALE = "scale"
    MOVE = "move"
    OTHER = "other"


# Element-wise functions by the names of classes and of functions, lower case without underscores.
BOUNDED_FUNCTIONS = frozenset([
    "sigmoid", "tanh", "softmax", "softsign", "hardsigmoid", "hardtanh", "sin", "cos", "relu6",
    "erf", "gaussian", "arctan", "sparsemax", "clip",
])  # fmt: skip
UNBOUNDED_FUNCTIONS = frozenset([
    "relu", "leakyrelu", "prelu", "elu", "selu", "gelu", "silu", "swish", "mish", "softplus",
    "exponential", "exp", "celu", "glu", "hardsilu", "hardswish", "hardshrink", "softshrink",
    "tanhshrink", "squareplus", "threshold", "thresholdedrelu", "square", "absolute", "abs", "sqrt",
    "log", "log1p", "power", "pow", "logsigmoid", "logsoftmax", "reciprocal", "rsqrt", "squared",
    "logaddexp", "expm1", "sinh", "cosh", "maxout", "crelu",
])  # fmt: skip
_NORMALIZERS = frozenset([
    "batchnormalization", "layernormalization", "groupnormalization", "unitnormalization",
    "rmsnormalization", "spectralnormalization", "instancenormalization", "normalize", "rmsnorm",
    "layernorm", "localresponsenorm", "batchnorm", "syncbatchnormalization",
    "globalresponsenormalization",
])  # fmt: skip
_RECURRENT = frozenset([
    "simplernn", "lstm", "gru", "rnn", "bidirectional", "convlstm1d", "convlstm2d", "convlstm3d",
    "stackedrnncells",
])  # fmt: skip
_POOLS = frozenset([
    "averagepooling1d", "averagepooling2d", "averagepooling3d", "globalaveragepooling1d",
    "globalaveragepooling2d", "globalaveragepooling3d", "maxpooling1d", "maxpooling2d",
    "maxpooling3d", "globalmaxpooling1d", "globalmaxpooling2d", "globalmaxpooling3d",
    "upsampling1d", "upsampling2d", "upsampling3d", "adaptiveaveragepooling1d",
    "adaptiveaveragepooling2d", "adaptiveaveragepooling3d", "adaptivemaxpooling1d",
    "adaptivemaxpooling2d", "adaptivemaxpooling3d", "averagepool", "maxpool", "adaptiveaveragepool",
    "adaptivemaxpool", "resizing", "resize", "repeatvector", "repeat", "tile", "broadcastto",
    "zeropadding1d", "zeropadding2d", "zeropadding3d", "pad", "cropping1d", "cropping2d",
    "cropping3d", "mean", "sum", "max", "min", "amax", "amin", "average", "logsumexp",
    "reducemean",
])  # fmt: skip
_MERGES = frozenset(["add", "subtract", "average", "maximum", "minimum", "weightedsum"])
_CONCATS = frozenset(["concatenate", "stack", "hstack", "vstack", "concat"])
_PRODUCTS = frozenset([
    "multiply", "dot", "matmul", "einsum", "tensordot", "outer", "attention", "additiveattention",
    "multiheadattention", "groupqueryattention", "groupedqueryattention", "dotproductattention",
])  # fmt: skip
_SCALES = frozenset(
    ["rescaling", "normalization", "divide", "truedivide", "negative", "customscalelayer"]
)
QUOTIENTS = frozenset(["divide", "truedivide"])
# Small on purpose, and free to open by itself, as LayerScale's.
_LEARNED_SCALES = frozenset(["rezero", "affine", "layerscale"])
_LOOKUPS = frozenset([
    "embedding", "categoryencoding", "hashing", "discretization", "stringlookup", "integerlookup",
    "textvectorization", "onehot", "take", "reversibleembedding", "tokenandpositionembedding",
    "positionembedding",
])  # fmt: skip


def name_of(thing: Any) -> str:
    """A class's or function's name in the form of the tables above."""
    name = getattr(thing, "__name__", None) or getattr(thing, "name", "") or type(thing).__name__
    return str(name).replace("_", "").lower()


def activation_of(call: Call) -> str | None:
    """The name of the element-wise function that a call applies; None for other calls."""
    layer = innermost(call.layer)
    if call.part == "activation" or isinstance(layer, layers.Activation):
        function = call.activation
        if function is keras.activations.linear:
            return None
        named = name_of(function)
        return named if named in BOUNDED_FUNCTIONS | UNBOUNDED_FUNCTIONS else "?" + named
    named = call.class_name.replace("_", "").lower()
    if named == "relu" and getattr(layer, "max_value", None) is not None:
        return "relu6"
    return named if named in BOUNDED_FUNCTIONS | UNBOUNDED_FUNCTIONS else None


def role_of(call: Call, weighted: bool) -> Role:
    """The role of a call.

    Args:
        call: of the graph.
        weighted: whether it has a kernel that AutoInit sets.
    """
    named = call.class_name.replace("_", "").lower()
    inner = type(innermost(call.layer)).__name__.replace("_", "").lower()
    names = {named, inner}
    result = Role.OTHER
    if call.is_input or not call.inputs or names & _LOOKUPS:
        result = Role.INPUT
    elif names & _NORMALIZERS:
        result = Role.NORMALIZER
    elif names & _RECURRENT or isinstance(call.layer, layers.RNN):
        result = Role.RECURRENT
    elif call.part != "activation" and weighted:
        result = Role.KERNEL
    elif (function := activation_of(call)) is not None:
        result = Role.BOUNDED if function in BOUNDED_FUNCTIONS else Role.ACTIVATION
    elif names & _POOLS:
        result = Role.POOL
    elif names & _CONCATS:
        result = Role.CONCAT
    elif names & _MERGES:
        result = Role.MERGE if _signals(call) > 1 else Role.SCALE
    elif names & _LEARNED_SCALES:
        result = Role.POOL
    elif names & _PRODUCTS:
        result = Role.PRODUCT if _signals(call) > 1 else Role.SCALE
    elif names & _SCALES:
        result = Role.SCALE
    elif len(call.inputs) == 1 and _same_entries(call):
        result = Role.MOVE
    return result


# What makes the deviation that operations divide by, and its inverse that they multiply by.
_DEVIATIONS = frozenset({"sqrt", "std", "norm"})
_INVERSES = frozenset({"rsqrt", "reciprocal"})
_BY_NUMBERS = frozenset({Role.SCALE, Role.MOVE, Role.POOL})


def roles_of(graph: ModelGraph, weighted: Sequence[bool]) -> list[Role]:
    """The role of each call; normalizations and learned factors may be written out.

    Args:
        graph: the calls.
        weighted: of each, whether it has a kernel that AutoInit sets.
    """
    roles = [role_of(call, has) for call, has in zip(graph.calls, weighted, strict=True)]
    for index in divisors(graph, roles):
        roles[index] = Role.NORMALIZER
    for index in _learned_scales(graph, roles):
        roles[index] = Role.POOL
    return roles


def divisors(graph: ModelGraph, roles: Sequence[Role]) -> dict[int, Value]:
    """Where a normalization is written out: the deviation, or its inverse, by index of the call.

    Such as `x * rsqrt(mean(square(x)) + epsilon)` and `(x - mean) / sqrt(variance + epsilon)`,
    where one number is for many entries.
    """
    producers, found = graph.producers(), {}

    def is_made_by(value: Value, names: frozenset[str]) -> bool:
        call = producers[value.index]
        while roles[call.index] in _BY_NUMBERS and _deviation_of(call) not in names:
            read = [each for each in call.inputs if not each.constant]
            if len(read) != 1:
                return False
            call = producers[read[0].index]
        return _deviation_of(call) in names

    for call in graph.calls:
        named = name_of(type(call.layer))
        if len(call.inputs) == 2 and _signals(call) == 2 and call.inputs[0] != call.inputs[1]:
            if named == "multiply":
                made = [value for value in call.inputs if is_made_by(value, _INVERSES)]
            else:
                quotient = named in QUOTIENTS and is_made_by(call.inputs[1], _DEVIATIONS)
                made = [call.inputs[1]] if quotient else []
            if len(made) == 1 and made[0].entries < call.outputs[0].entries:
                found[call.index] = made[0]
    return found


def _deviation_of(call: Call) -> str:
    """The operation's name; that of the root, or of its inverse, for a power that is one."""
    named = name_of(type(call.layer))
    if named not in ("power", "pow"):
        return named
    numbers = [
        each
        for each in (*call.arguments[0], *call.arguments[1].values())
        if isinstance(each, int | float)
    ]
    return (
        {0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}.get(numbers[0], named) if numbers else named
    )


def _learned_scales(graph: ModelGraph, roles: Sequence[Role]) -> Iterator[int]:
    """Products of a signal and of what is made of trained variables alone."""
    learned: set[int] = set()  # values
    for call in graph.calls:
        read = [value for value in call.inputs if _is_trained(value) or value.index in learned]
        if call.outputs[0].constant and read:
            learned.update(value.index for value in call.outputs)
        elif roles[call.index] is Role.SCALE and read and name_of(type(call.layer)) in _PRODUCTS:
            yield call.index


def _is_trained(value: Value) -> bool:
    return value.parameter is not None and value.parameter.trainable


def _signals(call: Call) -> int:
    """How many operands depend on the model's inputs."""
    return sum(not value.constant for value in call.inputs)


def _same_entries(call: Call) -> bool:
    return math.prod(call.inputs[0].sample) == math.prod(call.outputs[0].sample)
