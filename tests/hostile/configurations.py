"""Hostile configurations: code, foreign classes and functions, and references to other files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.parts import (
    ANALYSED,
    FEATURES,
    Config,
    Row,
    bytecode,
    chain,
    dense,
    foreign_function,
    functional,
    h5_file,
    input_layer,
    json_file,
    keras_file,
    lambda_function,
    lambda_layer,
    layer,
    nested,
    reads,
    sequential,
    system_call,
    touching,
)

Part = Callable[[Path, int], Config]
"""A hostile layer, for the marker and a Keras: 2 or 3."""

REFUSED_REFERENCE = ("file_reference",)
NO_GRAPH = ("no_graph",)


def of(class_name: str, module: str | None = "keras.layers", **config: Any) -> Part:
    return lambda marker, keras: layer(
        class_name, "code", config, keras=keras, module=module, registered_name=class_name
    )


def dense_with(key: str, value: Callable[[Path], Any]) -> Part:
    """A Dense layer with something hostile as one of its arguments."""

    def make(marker: Path, keras: int) -> Config:
        entry = dense("code", 8, keras=keras)
        entry["config"][key] = value(marker)
        return entry

    return make


def vocabulary(class_name: str) -> Part:
    return lambda marker, keras: layer(
        class_name,
        "code",
        {"vocabulary": "/etc/passwd", "output_mode": "int"},
        keras=keras,
        module="keras.layers",
    )


def wrapping(part: Part, class_name: str = "TimeDistributed") -> Part:
    def wrap(marker: Path, keras: int) -> Config:
        return layer(class_name, "wrapper", {"layer": part(marker, keras)}, keras=keras)

    return wrap


def rnn_with(part: Part) -> Part:
    return lambda marker, keras: layer("RNN", "code", {"cell": part(marker, keras)}, keras=keras)


def operation(symbol: str, *arguments: Any) -> Part:
    """A `TFOpLambda` of Keras 2; `operation_chain` connects it."""

    def make(_: Path, keras: int) -> Config:
        entry = layer("TFOpLambda", "code", {"function": symbol}, keras=keras)
        return entry | {"arguments": arguments}

    return make


def lambda_of(function: Any, kind: str = "function") -> Part:
    def make(_: Path, keras: int) -> Config:
        config = {"function": function, "function_type": kind, "module": "os", "arguments": {}}
        return layer("Lambda", "code", config, keras=keras)

    return make


def lambda_part(marker: Path, keras: int) -> Config:
    return lambda_layer(marker, keras)


def inner_compiled(marker: Path, keras: int) -> Config:
    """A model within the model that is compiled with code."""
    inner = chain(dense("features", FEATURES, keras=keras), keras=keras, head=False, name="inner")
    inner["name"] = "inner"
    inner["compile_config"] = {
        "optimizer": touching(marker),
        "loss": lambda_function(marker),
        "metrics": [touching(marker)],
    }
    return inner


OPAQUE = (ANALYSED,), ("opaque_layer",)
OPAQUE_FUNCTION = (ANALYSED,), ("opaque_activation",)
REPLACED = (ANALYSED,), ("replaced_initializer",)
DROPPED = (ANALYSED,), ("dropped_part",)
REFERENCE = REFUSED_REFERENCE, ()

PARTS: list[tuple[str, Part, tuple[tuple[str, ...], tuple[str, ...]]]] = [
    ("lambda", lambda_part, OPAQUE),
    ("lambda-in-time-distributed", wrapping(lambda_part), OPAQUE),
    ("lambda-of-a-named-function", lambda_of("system"), OPAQUE),
    ("lambda-of-a-foreign-function", lambda_of(foreign_function()), OPAQUE),
    ("lambda-activation", dense_with("activation", lambda_function), OPAQUE_FUNCTION),
    ("foreign-activation", dense_with("activation", lambda _: foreign_function()), OPAQUE_FUNCTION),
    ("unnamed-lambda-activation", dense_with("activation", lambda _: "<lambda>"), OPAQUE_FUNCTION),
    ("dotted-activation", dense_with("activation", lambda _: "os.system"), OPAQUE_FUNCTION),
    ("process-as-activation", dense_with("activation", touching), OPAQUE_FUNCTION),
    ("process-as-initializer", dense_with("kernel_initializer", touching), REPLACED),
    ("system-as-initializer", dense_with("bias_initializer", system_call), REPLACED),
    ("lambda-as-initializer", dense_with("kernel_initializer", lambda_function), REPLACED),
    ("process-as-regularizer", dense_with("kernel_regularizer", touching), DROPPED),
    ("process-as-constraint", dense_with("kernel_constraint", touching), DROPPED),
    ("process-as-units", dense_with("units", touching), OPAQUE),
    ("process-as-dtype", dense_with("dtype", touching), OPAQUE),
    ("process-as-name", dense_with("name", touching), OPAQUE),
    ("process-as-quantization", dense_with("quantization_config", touching), ((ANALYSED,), ())),
    ("process-as-cell", rnn_with(lambda marker, _: touching(marker)), OPAQUE),
    ("lambda-as-cell", rnn_with(lambda_part), OPAQUE),
    ("process-as-layer", lambda marker, _: touching(marker) | {"name": "code"}, OPAQUE),
    ("eval-as-layer", of("eval", "builtins", source="1"), OPAQUE),
    ("registered-as-keras", lambda marker, _: touching(marker)
     | {"name": "code", "registered_name": "Dense"}, OPAQUE),
    ("keras-module-foreign-class", of("get_file", "keras.utils", origin="file:///etc/passwd"),
     OPAQUE),
    ("private-keras-module", of("Popen", "keras.src.utils.file_utils.subprocess"), OPAQUE),
    ("dunder-class", of("__import__", "builtins", name="os"), OPAQUE),
    ("saved-model-layer", of("TFSMLayer", filepath="/etc"), OPAQUE),
    ("torch-layer", of("TorchModuleWrapper", module={"a": 1}), OPAQUE),
    ("jax-layer", of("JaxLayer", call_fn=foreign_function()), OPAQUE),
    ("flax-layer", of("FlaxLayer", method="__call__"), OPAQUE),
    ("hub-layer", of("KerasLayer", "tensorflow_hub", handle="http://localhost/x"), OPAQUE),
    ("custom-layer", of("Swirl", "my.package", strength=3), OPAQUE),
    ("custom-layer-from-config", of("Swirl", None, from_config="system"), OPAQUE),
    ("string-vocabulary", vocabulary("StringLookup"), REFERENCE),
    ("integer-vocabulary", vocabulary("IntegerLookup"), REFERENCE),
    ("text-vocabulary", vocabulary("TextVectorization"), REFERENCE),
    ("idf-weights", of("StringLookup", vocabulary=["a"], idf_weights="/etc/passwd",
                       output_mode="tf_idf"), REFERENCE),
    ("feature-space-crosses", of("FeatureSpace", "keras.utils", features={}), OPAQUE),
    ("inner-compiled-with-code", inner_compiled, ((ANALYSED,), ())),
]  # fmt: skip

OPERATIONS = [
    ("writes-a-file", operation("io.write_file", "/tmp/evil")),
    ("reads-a-file", operation("io.read_file")),
    ("runs-python", operation("py_function")),
    ("runs-numpy", operation("numpy_function")),
    ("raw-operation", operation("raw_ops.WriteFile")),
    ("prints", operation("print")),
    ("climbs-out", operation("nn.relu.__globals__")),
    ("load-library", operation("load_op_library")),
    ("saved-model", operation("saved_model.load")),
]


def operation_chain(part: Part, marker: Path) -> Config:
    entry = part(marker, 2)
    arguments = entry.pop("arguments")
    config = chain(entry, keras=2)
    keywords = {f"argument{index}": value for index, value in enumerate(arguments)}
    config["config"]["layers"][1]["inbound_nodes"] = [["in", 0, 0, keywords]]
    return config


def in_keras3(part: Part) -> Callable[[Path], bytes]:
    return lambda marker: keras_file(chain(part(marker, 3)))


def nested_in_keras3(part: Part) -> Callable[[Path], bytes]:
    return lambda marker: keras_file(nested(part(marker, 3)))


def in_h5(part: Part) -> Callable[[Path], bytes]:
    return lambda marker: h5_file(chain(part(marker, 2), keras=2))


def nested_in_json(part: Part) -> Callable[[Path], bytes]:
    return lambda marker: json_file(nested(part(marker, 2), keras=2), "2.11.0")


def in_keras3_json(part: Part) -> Callable[[Path], bytes]:
    return lambda marker: json_file(chain(part(marker, 3)))


# Rows that are not one layer in a chain


def compiled3(marker: Path) -> bytes:
    config = chain()
    config["compile_config"] = {
        "optimizer": touching(marker),
        "loss": lambda_function(marker),
        "metrics": [touching(marker), foreign_function()],
        "weighted_metrics": system_call(marker),
    }
    return keras_file(config)


def compiled2(marker: Path) -> bytes:
    training = {
        "loss": {"class_name": "__lambda__", "config": {"code": bytecode(marker)}},
        "optimizer_config": touching(marker),
        "metrics": [[touching(marker)]],
    }
    return h5_file(chain(keras=2), training=training)


def sequential_with_build_config(marker: Path) -> bytes:
    config = sequential(dense("head"))
    config["build_config"] = {"input_shape": touching(marker)}
    config["config"]["build_input_shape"] = touching(marker)
    return json_file(config)


def build_config_in_layer(marker: Path) -> bytes:
    config = chain(dense("code", 8))
    config["config"]["layers"][1]["build_config"] = {
        "input_shape": [None, 10**9],
        "layer": touching(marker),
        "shapes_dict": touching(marker),
    }
    return json_file(config)


def object_as_node_argument(marker: Path) -> bytes:
    """An object among the arguments of a call, where Keras deserialises anything."""
    config = chain(dense("code", 8))
    config["config"]["layers"][1]["inbound_nodes"][0]["kwargs"] = {"training": touching(marker)}
    return json_file(config)


def object_as_node_argument2(marker: Path) -> bytes:
    config = chain(dense("code", 8, keras=2), keras=2)
    node = config["config"]["layers"][1]["inbound_nodes"][0]
    node[0][3] = {"training": touching(marker), "mask": lambda_function(marker)}
    return json_file(config, "2.11.0")


def object_as_input_layers(marker: Path) -> bytes:
    config = chain()
    config["config"]["input_layers"] = touching(marker)
    return json_file(config)


def model_class(module: str, class_name: str) -> Callable[[Path], bytes]:
    def make(marker: Path) -> bytes:
        config = chain() | {"module": module, "class_name": class_name}
        return json_file(config | {"registered_name": class_name})

    return make


def model_is_a_process(marker: Path) -> bytes:
    return json_file(touching(marker))


def model_is_a_lambda(marker: Path) -> bytes:
    return json_file(lambda_layer(marker))


def model_is_a_function(marker: Path) -> bytes:
    return json_file(foreign_function())


def clone_function(marker: Path) -> bytes:
    """Unknown keys at every level, each with a payload."""
    config = chain()
    config["clone_function"] = touching(marker)
    config["config"]["custom_objects"] = {"Dense": touching(marker)}
    return json_file(config)


def assets(marker: Path) -> bytes:
    """A lookup layer with its vocabulary as an asset of the archive."""
    part = layer("StringLookup", "code", {"vocabulary": None, "output_mode": "int"})
    inputs = input_layer(())
    inputs["config"]["dtype"] = "string"
    part["inbound_nodes"] = reads("in")
    config = functional([inputs, part])
    return keras_file(
        config, extra=[("assets/layers/string_lookup/vocabulary.txt", "/etc/passwd\n")]
    )


def tfsm_in_saved_archive(marker: Path) -> bytes:
    config = chain(layer("TFSMLayer", "code", {"filepath": "assets/model"}))
    return keras_file(config, extra=[("assets/model/saved_model.pb", b"\x08\x01")])


ROWS = [
    *(Row(f"{name}.keras", in_keras3(part), *expected) for name, part, expected in PARTS),
    *(Row(f"{name}.nested.keras", nested_in_keras3(part), *expected)
      for name, part, expected in PARTS),
    *(Row(f"{name}.json", in_keras3_json(part), *expected) for name, part, expected in PARTS),
    *(Row(f"{name}.h5", in_h5(part), *expected) for name, part, expected in PARTS),
    *(Row(f"{name}.nested.json", nested_in_json(part), *expected)
      for name, part, expected in PARTS),
    *(Row(f"operation-{name}.json",
          lambda marker, part=part: json_file(operation_chain(part, marker), "2.11.0"),
          *OPAQUE) for name, part in OPERATIONS),
    *(Row(f"operation-{name}.h5",
          lambda marker, part=part: h5_file(operation_chain(part, marker)),
          *OPAQUE) for name, part in OPERATIONS),
    Row("compiled-with-code.keras", compiled3, (ANALYSED,)),
    Row("compiled-with-code.h5", compiled2, (ANALYSED,)),
    Row("sequential-build-config.json", sequential_with_build_config, ("cannot_rebuild",)),
    Row("layer-build-config.json", build_config_in_layer, (ANALYSED,)),
    Row("object-as-argument.json", object_as_node_argument, (ANALYSED,)),
    Row("object-as-argument.keras2.json", object_as_node_argument2, (ANALYSED,)),
    Row("object-as-inputs.json", object_as_input_layers, ("bad_configuration",)),
    Row("custom-model-class.json", model_class("my.package", "MyModel"), (ANALYSED,)),
    Row("model-class-of-os.json", model_class("os", "system"), (ANALYSED,)),
    Row("model-is-a-process.json", model_is_a_process, NO_GRAPH),
    Row("model-is-a-lambda.json", model_is_a_lambda, NO_GRAPH),
    Row("model-is-a-function.json", model_is_a_function, NO_GRAPH),
    Row("unknown-keys.json", clone_function, (ANALYSED,)),
    Row("vocabulary-as-asset.keras", assets, (ANALYSED,)),
    Row("saved-model-as-asset.keras", tfsm_in_saved_archive, *OPAQUE),
]  # fmt: skip
