"""TensorFlow functions in a graph: each row of the table, and what has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_keras.src.layers.core.tf_op_layer import TFOpLambda

from autoinit.model_files.keras2.symbols import ALIASES, ROWS
from autoinit.model_files.keras2.translation import translate
from autoinit.model_files.keras2.vocabulary import NODE_OPERATIONS, OPERATION_CLASSES, TF_SYMBOLS
from autoinit.model_files.keras2.wrappers import TensorFlowFunction, evaluate, function_of
from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from tests.autoinit.model_files.keras2.models import assert_same, classes, data_for, reread

MATRIX, IMAGE = (4, 6), (4, 6, 3)
WEIGHTS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2)
ROW = np.linspace(1, 2, 6, dtype=np.float32)


def applied(symbol: str, *args: Any, **kwargs: Any) -> Any:
    """A call of the function of that name, as a configuration records it."""
    layer = TFOpLambda.from_config({"function": symbol, "name": f"tf.{symbol}"})
    result = layer(*args, **kwargs)
    layer.symbol = symbol
    return result


def call(symbol: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
    return lambda *tensors: applied(symbol, *tensors, *args, **kwargs)


def listed(symbol: str, **kwargs: Any) -> Callable[..., Any]:
    """A function that takes its tensors in a list."""
    return lambda *tensors: applied(symbol, [*tensors], **kwargs)


def names(text: str) -> list[str]:
    return text.split()


UNARY = names("""
    abs asinh atan ceil cos cosh erf exp expm1 floor is_finite is_inf is_nan log_sigmoid negative
    reciprocal round sigmoid sign sin sinh square tan tanh
""")
POSITIVE = names("log log1p rsqrt sqrt")
SMALL = names("acos asin atanh erfinv")
BINARY = names("""
    add divide divide_no_nan equal floordiv floormod greater greater_equal less less_equal maximum
    minimum multiply not_equal squared_difference subtract truediv
""")
REDUCTIONS = names("euclidean_norm logsumexp max mean min prod std sum variance")
OLD_REDUCTIONS = names("logsumexp max mean min prod sum")

# (symbol, how it is called, shapes of its tensors, classes in Keras 3 where they matter)
CASES: list[tuple[str, Callable[..., Any], tuple[Any, ...], list[str] | None]] = [
    *((f"math.{name}", call(f"math.{name}"), (MATRIX,), None) for name in UNARY),
    *((f"math.{name}", lambda x, f=f"math.{name}": applied(f, tf.abs(x) + 0.1), (MATRIX,), None)
      for name in POSITIVE),
    *((f"math.{name}", lambda x, f=f"math.{name}": applied(f, tf.tanh(x) * 0.9), (MATRIX,), None)
      for name in SMALL),
    ("math.acosh", lambda x: applied("math.acosh", tf.abs(x) + 1.1), (MATRIX,), None),
    ("math.logical_not", lambda x: applied("math.logical_not", x > 0), (MATRIX,), None),
    *((f"math.logical_{name}", lambda x, f=f"math.logical_{name}": applied(f, x > 0, y=x < 1),
       (MATRIX,), None) for name in ("and", "or", "xor")),
    *((f"math.{name}", call(f"math.{name}"), (MATRIX, MATRIX), None) for name in BINARY),
    *((f"math.{name}", call(f"math.{name}", 0.7), (MATRIX,), None) for name in BINARY),
    *((f"math.{name}", call(f"math.{name}", ROW), (MATRIX,), None) for name in BINARY),
    *((f"math.{name}", lambda x, f=f"math.{name}": applied(f, 0.7, y=x), (MATRIX,), None)
      for name in ("add", "subtract", "multiply", "truediv", "maximum")),
    ("math.pow", call("math.pow", 2), (MATRIX,), ["Power"]),
    ("math.pow", lambda x: applied("math.pow", 2.0, x), (MATRIX,), ["Power"]),
    ("math.atan2", call("math.atan2"), (MATRIX, MATRIX), None),
    ("math.scalar_mul", lambda x: applied("math.scalar_mul", 3.0, x), (MATRIX,), ["Multiply"]),
    ("compat.v1.math.scalar_mul", lambda x: applied("compat.v1.math.scalar_mul", 3.0, x),
     (MATRIX,), ["Multiply"]),
    ("math.softplus", call("math.softplus"), (MATRIX,), ["Softplus"]),
    *((name, call(name, 2.0), (MATRIX,), None) for name in (
        "realdiv", "compat.v1.div", "compat.v1.floor_div", "__operators__.add")),
    *((name, lambda x, f=name: tf.cast(applied(f, x, 0.0), "int32"), (MATRIX,), None)
      for name in ("__operators__.eq", "__operators__.ne")),
    *((f"math.reduce_{name}", call(f"math.reduce_{name}", axis=axis, keepdims=keep), (MATRIX,),
       None) for name in REDUCTIONS for axis, keep in ((-1, False), ([1, 2], True))),
    *((f"compat.v1.math.reduce_{name}", call(f"compat.v1.math.reduce_{name}", **options),
       (MATRIX,), None) for name in OLD_REDUCTIONS
      for options in ({"axis": 1}, {"reduction_indices": [2], "keep_dims": True})),
    *((f"{prefix}math.reduce_{name}",
       lambda x, f=f"{prefix}math.reduce_{name}": applied(f, x > 0, axis=1), (MATRIX,), None)
      for prefix in ("", "compat.v1.") for name in ("all", "any")),
    *((f"{prefix}math.{name}", call(f"{prefix}math.{name}", axis=-1), (MATRIX,), None)
      for prefix in ("", "compat.v1.") for name in ("argmax", "argmin")),
    ("math.argmax", call("math.argmax", axis=1, output_type=tf.int32), (MATRIX,), None),
    ("math.cumsum", call("math.cumsum", axis=1), (MATRIX,), ["Cumsum"]),
    ("math.cumprod", call("math.cumprod", axis=1), (MATRIX,), ["Cumprod"]),
    ("math.add_n", listed("math.add_n"), (MATRIX, MATRIX, MATRIX), ["Add"]),
    ("math.accumulate_n", listed("math.accumulate_n"), (MATRIX, MATRIX), ["Add"]),
    *((name, call(name, axis=-1), (MATRIX,), ["UnitNormalization"])
      for name in ("math.l2_normalize", "linalg.l2_normalize")),
    *(("math.l2_normalize", call("math.l2_normalize", axis=axis, epsilon=2.0), (MATRIX,),
       ["Normalize"]) for axis in (-1, -2)),
    ("clip_by_value", call("clip_by_value", -0.5, 0.5), (MATRIX,), ["Clip"]),
    ("cast", call("cast", "float16"), (MATRIX,), ["Cast"]),
    *((f"nn.{name}", call(f"nn.{name}"), (MATRIX,), None) for name in (
        "crelu", "elu", "gelu", "leaky_relu", "log_softmax", "relu", "relu6", "selu", "silu",
        "softmax", "softplus", "softsign")),
    *((name, call(name), (MATRIX,), None) for name in ("nn.sigmoid", "nn.swish", "nn.tanh")),
    ("compat.v1.nn.crelu", call("compat.v1.nn.crelu"), (MATRIX,), None),
    ("nn.gelu", call("nn.gelu", approximate=True), (MATRIX,), ["Gelu"]),
    ("nn.leaky_relu", call("nn.leaky_relu", alpha=0.1), (MATRIX,), ["LeakyRelu"]),
    ("nn.silu", call("nn.silu", beta=1.5), (MATRIX,), None),
    *((f"{prefix}{name}", call(f"{prefix}{name}", axis=1), (MATRIX,), None)
      for prefix in ("nn.", "compat.v1.nn.", "compat.v1.math.")
      for name in ("softmax", "log_softmax")),
    ("nn.bias_add", call("nn.bias_add", ROW), (MATRIX,), ["Add"]),
    *((name, call(name, axes=[1]), (MATRIX,), None) for name in (
        "nn.moments", "compat.v1.nn.moments")),
    *((f"{prefix}nn.depth_to_space", call(f"{prefix}nn.depth_to_space", 2), ((4, 6, 8),),
       ["DepthToSpace"]) for prefix in ("", "compat.v1.")),
    *((f"{prefix}nn.space_to_depth", call(f"{prefix}nn.space_to_depth", 2), ((4, 6, 2),),
       ["SpaceToDepth"]) for prefix in ("", "compat.v1.")),
    *((f"nn.{kind}_pool{rank}d", call(f"nn.{kind}_pool{rank}d", 2, stride, padding), (shape,), None)
      for kind in ("max", "avg") for rank, shape in ((1, MATRIX), (2, IMAGE), (3, (4, 4, 4, 2)))
      for stride, padding in ((2, "VALID"), (1, "SAME"))),
    *((f"nn.{kind}_pool", call(f"nn.{kind}_pool", [1, 3, 3, 1], [1, 1, 1, 1], "SAME"), (IMAGE,),
       None) for kind in ("max", "avg")),
    ("reshape", call("reshape", (-1, 24)), (MATRIX,), ["Reshape"]),
    ("reshape", lambda x: tf.reshape(x, [tf.shape(x)[0], 2, 12]), (MATRIX,), ["Reshape"]),
    ("reshape", lambda x: tf.reshape(x, (tf.shape(x)[0] * 2, 12)), (MATRIX,), ["Reshape"]),
    ("transpose", call("transpose", [0, 2, 1]), (MATRIX,), ["Transpose"]),
    ("compat.v1.transpose", call("compat.v1.transpose", perm=[0, 2, 1]), (MATRIX,), ["Transpose"]),
    ("expand_dims", call("expand_dims", axis=-1), (MATRIX,), ["ExpandDims"]),
    ("compat.v1.expand_dims", call("compat.v1.expand_dims", dim=1), (MATRIX,), ["ExpandDims"]),
    ("squeeze", call("squeeze", axis=[1]), ((1, 6),), ["Squeeze"]),
    ("compat.v1.squeeze", call("compat.v1.squeeze", squeeze_dims=[1]), ((1, 6),), ["Squeeze"]),
    ("concat", listed("concat", axis=-1), (MATRIX, (4, 2)), ["Concatenate"]),
    ("stack", listed("stack", axis=1), (MATRIX, MATRIX), ["Stack"]),
    ("unstack", lambda x: applied("unstack", x, axis=1)[2], (MATRIX,), ["Unstack"]),
    ("split", lambda x: applied("split", x, 3, axis=-1)[1], (MATRIX,), ["Split"]),
    ("split", call("split", [1, 3, 2], axis=-1), (MATRIX,), ["Split"]),
    ("tile", call("tile", [1, 2, 1]), (MATRIX,), ["Tile"]),
    ("repeat", call("repeat", 2, axis=1), (MATRIX,), ["Repeat"]),
    ("pad", call("pad", [[0, 0], [1, 2], [0, 0]]), (MATRIX,), ["ZeroPadding1D"]),
    ("pad", call("pad", [[0, 0], [1, 2], [3, 0], [0, 0]]), (IMAGE,), ["ZeroPadding2D"]),
    ("pad", call("pad", [[0, 0], [0, 0], [1, 1]]), (MATRIX,), ["Pad"]),
    ("pad", call("pad", [[0, 0], [1, 1], [0, 0]], mode="REFLECT"), (MATRIX,), ["Pad"]),
    ("compat.v1.pad", call("compat.v1.pad", [[0, 0], [1, 1], [0, 0]], constant_values=2.0),
     (MATRIX,), ["Pad"]),
    ("reverse", call("reverse", [1]), (MATRIX,), ["Flip"]),
    ("roll", call("roll", shift=[-1, 2], axis=[1, 2]), (MATRIX,), ["Roll"]),
    ("gather", call("gather", [2, 0], axis=1), (MATRIX,), ["Take"]),
    ("compat.v1.gather", call("compat.v1.gather", [2, 0], axis=1), (MATRIX,), ["Take"]),
    ("slice", call("slice", [0, 1, 2], [-1, 2, -1]), (MATRIX,), ["GetItem"]),
    ("strided_slice", call("strided_slice", [0, 1, 0], [0, 3, 0], [1, 1, 2], begin_mask=5,
                           end_mask=5), (MATRIX,), ["GetItem"]),
    ("strided_slice", call("strided_slice", [0, 1, 0], [0, 2, 0], begin_mask=1, end_mask=1,
                           shrink_axis_mask=2, new_axis_mask=4), (MATRIX,), ["GetItem"]),
    ("where", lambda x, y: applied("where", x > 0.1, x, y), (MATRIX, MATRIX), None),
    ("compat.v1.where", lambda x, y: applied("compat.v1.where", x > 0.1, x, y), (MATRIX, MATRIX),
     None),
    ("where", lambda x: applied("where", x > 0.1, x, 0.0), (MATRIX,), ["Greater", "Where"]),
    ("one_hot", lambda x: applied("one_hot", tf.cast(x > 0, "int32"), 3), (MATRIX,), None),
    ("zeros_like", call("zeros_like"), (MATRIX,), ["ZerosLike"]),
    ("ones_like", call("ones_like", dtype="int32"), (MATRIX,), ["OnesLike"]),
    *((name, call(name), (MATRIX,), None) for name in ("identity", "stop_gradient")),
    ("ensure_shape", call("ensure_shape", (None, 4, 6)), (MATRIX,), ["Copy"]),
    ("debugging.check_numerics", call("debugging.check_numerics", "no"), (MATRIX,), ["Copy"]),
    ("linalg.matmul", call("linalg.matmul", transpose_b=True), (MATRIX, (3, 6)), None),
    ("linalg.matmul", call("linalg.matmul", transpose_a=True), (MATRIX, (4, 3)), None),
    ("linalg.matmul", call("linalg.matmul", WEIGHTS), (MATRIX,), ["Matmul"]),
    ("linalg.matrix_transpose", call("linalg.matrix_transpose"), (MATRIX,), ["Swapaxes"]),
    *((name, lambda x, y, f=name: applied(f, "bij,bkj->bik", x, y), (MATRIX, (3, 6)), ["Einsum"])
      for name in ("einsum", "linalg.einsum")),
    *(("image.resize", call("image.resize", (8, 12), method=method), (IMAGE,), ["UpSampling2D"])
      for method in ("bilinear", "nearest", "bicubic", "lanczos3")),
    *(("image.resize", call("image.resize", (3, 9), method=method), (IMAGE,), ["Resize"])
      for method in ("bilinear", "nearest", "bicubic", "lanczos3")),
    ("image.resize", lambda x: tf.image.resize(x, tf.shape(x)[1:3] * 2), (IMAGE,),
     ["UpSampling2D"]),
    ("image.resize", lambda x, y: tf.image.resize(x, tf.shape(y)[1:3]), ((None, None, 2), IMAGE),
     ["Resize"]),
    ("image.flip_left_right", call("image.flip_left_right"), (IMAGE,), ["Flip"]),
    ("image.flip_up_down", call("image.flip_up_down"), (IMAGE,), ["Flip"]),
    ("keras.backend.batch_flatten", call("keras.backend.batch_flatten"), (MATRIX,), ["Reshape"]),
    ("keras.backend.cast_to_floatx", call("keras.backend.cast_to_floatx"), (MATRIX,), ["Cast"]),
]  # fmt: skip
SLICES = [
    (slice(None), 0), (slice(None), slice(1, None, 2)), (..., -1), (slice(None), None),
    (slice(None), slice(None, None, -1)), (slice(None), slice(1, 3), slice(None, -1)),
]  # fmt: skip


def model_of(function: Callable[..., Any], shapes: tuple[Any, ...], dtype: str = "float32") -> Any:
    tensors = [tf_keras.Input(shape, dtype=dtype) for shape in shapes]
    return tf_keras.Model(tensors, function(*tensors))


@pytest.mark.parametrize(
    ("symbol", "function", "shapes", "expected"), CASES, ids=[case[0] for case in CASES]
)
def test_a_row_computes_the_same(
    symbol: str, function: Callable[..., Any], shapes: Any, expected: list[str] | None
) -> None:
    model = model_of(function, shapes)
    result = translate(model)
    assert result.native, result.findings
    assert expected in (None, classes(result.model))
    assert_same(model, result.model, data_for(model))


@pytest.mark.parametrize("key", SLICES, ids=str)
def test_slices(key: Any) -> None:
    model = reread(model_of(lambda x: x[key], (MATRIX,)))
    result = translate(model)
    assert classes(result.model) == ["GetItem"]
    assert_same(model, result.model, data_for(model))


def test_every_row_has_a_case() -> None:
    tested = {case[0] for case in CASES} | {"__operators__.getitem"}
    assert tested >= set(ROWS) - {"nn.avg_pool", "nn.max_pool"}
    assert tested >= set(ALIASES)
    assert set(ALIASES.values()) <= set(ROWS)


def test_everything_in_the_tables_is_in_the_vocabulary() -> None:
    assert set(ROWS) | set(ALIASES) <= TF_SYMBOLS
    assert all(callable(function_of(symbol)) for symbol in TF_SYMBOLS)
    assert all(callable(function_of(f"node.{operation}")) for operation in NODE_OPERATIONS)
    assert "Lambda" not in OPERATION_CLASSES


@pytest.mark.parametrize(
    "symbol",
    [
        "io.read_file",
        "py_function",
        "numpy_function",
        "raw_ops.ReadFile",
        "print",
        "while_loop",
        "map_fn",
        "load_op_library",
        "io.decode_image",
        "function",
        "keras.models.load_model",
        "node.ReadFile",
        "node.PyFunc",
        "__operators__",
        "constant.__globals__",
        "",
    ],
)
def test_nothing_else_is_called(symbol: str) -> None:
    with pytest.raises(ValueError, match="no TensorFlow function"):
        evaluate({"$function": symbol, "args": [], "kwargs": {}}, [])


# Without a row, or with arguments that no row takes.
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "math.erfc": (call("math.erfc"), (MATRIX,)),
    "math.top_k": (lambda x: tf.math.top_k(x, 2)[1], (MATRIX,)),
    "math.cumsum": (call("math.cumsum", axis=1, exclusive=True), (MATRIX,)),
    "gather": (lambda x, y: tf.gather(x, tf.cast(y > 0, "int32"), batch_dims=1), ((4,), (3,))),
    "broadcast_to": (lambda x: tf.broadcast_to(x, [tf.shape(x)[0], 4, 6]), ((1, 6),)),
    "fill": (lambda x: x + tf.fill([tf.shape(x)[0], 4, 6], 2.0), (MATRIX,)),
    "range": (lambda x: x + tf.cast(tf.range(tf.shape(x)[2]), "float32"), (MATRIX,)),
    "image.resize": (call("image.resize", (8, 12), method="area"), (IMAGE,)),
    "compat.v1.image.resize_bilinear": (
        lambda x: tf.compat.v1.image.resize_bilinear(x, (8, 12), align_corners=True), (IMAGE,)),
    "nn.conv2d": (call("nn.conv2d", np.ones((3, 3, 3, 2), np.float32), 1, "SAME"), (IMAGE,)),
    "boolean_mask": (
        lambda x: tf.boolean_mask(x, [True, False, True, False], axis=1), (MATRIX,)),
    "tensordot": (call("tensordot", WEIGHTS, axes=[[2], [0]]), (MATRIX,)),
    "shape": (tf.shape, (MATRIX,)),
    "keras.activations.relu": (call("keras.activations.relu", max_value=1.0), (MATRIX,)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_without_a_row_runs_itself(name: str, tmp_path: Any) -> None:
    function, shapes = FUNCTIONS[name]
    model = model_of(function, shapes)
    result = translate(model)
    assert "TensorFlowFunction" in classes(result.model)
    assert not result.native
    assert_same(model, result.model, data_for(model))
    result.model.save(tmp_path / "model.keras")
    assert_same(model, keras.saving.load_model(tmp_path / "model.keras"), data_for(model))


def test_an_embedding_of_positions() -> None:
    def add_positions(x: Any) -> Any:
        positions = tf.range(start=0, limit=tf.shape(x)[1], delta=1)
        return x + tf_keras.layers.Embedding(9, 6)(positions)

    model = model_of(add_positions, (MATRIX,))
    result = translate(reread(model))
    assert classes(result.model) == ["TensorFlowFunction", "Embedding", "Add"]
    assert_same(model, translate(model).model, data_for(model))


def test_numbers_that_follow_from_shapes_become_constants() -> None:
    def scaled(x: Any) -> Any:
        return x / tf.math.sqrt(tf.cast(tf.shape(x)[-1], tf.float32))

    result = translate(reread(model_of(scaled, (MATRIX,))))
    assert classes(result.model) == ["TrueDivide"]
    assert result.native


def test_sizes_that_are_doubled_many_times_take_no_time() -> None:
    def doubled(x: Any) -> Any:
        size = tf.shape(x)[0]
        for _ in range(60):
            size = (size + size) // 2
        return tf.reshape(x, [size, 24])

    model = model_of(doubled, (MATRIX,))
    assert_same(model, translate(model).model, data_for(model))


def test_integers_divide_as_in_tensorflow() -> None:
    model = model_of(lambda x: x / 2, ((4,),), "int32")  # float64, which keras.ops would not give
    result = translate(model)
    assert classes(result.model) == ["TensorFlowFunction"]
    assert_same(model, result.model, data_for(model))


def test_half_precision_stays_half() -> None:
    model = model_of(lambda x: x * 2.0 + ROW, (MATRIX,), "float16")
    result = translate(model)
    assert classes(result.model) == ["Multiply", "Add"]
    assert_same(model, result.model, data_for(model))


def test_native_operations_are_saved_as_any_others(tmp_path: Any) -> None:
    def several(x: Any) -> Any:
        parts = tf.split(x[:, ::-1, ..., None] * ROW[:, None], 3, axis=2)
        return tf.concat([part[:, 0] - 1.0 for part in parts], -1)

    model = model_of(several, (MATRIX,))
    result = translate(model)
    assert result.native
    result.model.save(tmp_path / "model.keras")
    assert_same(model, keras.saving.load_model(tmp_path / "model.keras"), data_for(model))


def test_functions_that_draw_are_not_compared() -> None:
    model = model_of(lambda x: x + tf.random.normal(tf.shape(x)), ((500,),))
    result = translate(model)
    assert result.difference is None
    spread = np.asarray(result.model(np.zeros((2, 500), np.float32))).std()
    assert spread == pytest.approx(1, abs=0.15)


def test_element_wise_functions_are_found_by_their_values() -> None:
    function = TensorFlowFunction(
        {"$function": "math.erfc", "args": [], "kwargs": {"x": {"$tensor": 0}}}, name="f"
    )
    copy = TensorFlowFunction.from_config(function.get_config())
    assert (copy.name, copy.original) == ("f", "math.erfc")
    np.testing.assert_allclose(copy(np.zeros(2, np.float32)), [1.0, 1.0])
    graph = read_model(translate(model_of(call("math.erfc"), (MATRIX,))).model)
    (outcome,) = predict(graph, input_signals(graph)).results[1:]
    assert outcome.support is Support.EXACT
    # erfc(x) = 1 − erf(x), and erf is odd.
    assert outcome.signals[0].mean == pytest.approx(1.0)
