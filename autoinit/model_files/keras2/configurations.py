"""Keras 2 configurations of every age, in the one form that tf_keras's older reader takes.

Keras 2.0 to 2.11 wrote `{"class_name", "config"}`; 2.12 to 2.15 added a module to every object and
wrapped arrays and functions. Here the additions go, and what tf_keras no longer understands or
understands differently is written as it does today.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from autoinit.errors import ModelFileError
from autoinit.model_files.keras2.vocabulary import (
    CONSTRAINTS,
    INITIALIZERS,
    KERAS2_CLASSES,
    MODEL_CLASSES,
    POLICIES,
    REGULARIZERS,
    TF_SYMBOLS,
)

Config = dict[str, Any]

# All that is made; whatever else there may be in tf_keras, such as a Lambda.
_KNOWN = (
    KERAS2_CLASSES
    | INITIALIZERS
    | REGULARIZERS
    | CONSTRAINTS
    | POLICIES
    | {"Opaque", "OpaqueActivation"}
)
_KEPT = ("class_name", "config", "name", "inbound_nodes", "shared_object_id")

_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "CuDNNGRU": "GRU", "GRUV1": "GRU", "GRUV2": "GRU",
    "GRUCellV1": "GRUCell", "GRUCellV2": "GRUCell",
    "CuDNNLSTM": "LSTM", "LSTMV1": "LSTM", "LSTMV2": "LSTM",
    "LSTMCellV1": "LSTMCell", "LSTMCellV2": "LSTMCell",
    "Deconvolution2D": "Conv2DTranspose", "Deconvolution3D": "Conv3DTranspose",
    "DTypePolicy": "Policy", "PolicyV1": "Policy", "Model": "Functional",
    "Network": "Functional",
}  # fmt: skip


def normalized(config: Config, custom_names: Collection[str] = ()) -> Config:
    """A model's or a layer's configuration as tf_keras's older reader takes it; the original stays.

    Args:
        config: `{"class_name": …, "config": …}` as any Keras 2 wrote it, checked.
        custom_names: names of custom classes and functions, with their packages where registered.

    Raises:
        ModelFileError: `bad_configuration`, for what the vocabulary does not hold.
    """
    made: Config = _object(config, frozenset(custom_names))
    return made


def _value(value: Any, custom: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [_value(part, custom) for part in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"type", "value"} and value["type"] == "ndarray":
        return value["value"]
    if "class_name" in value:
        return _object(value, custom)
    return {name: _value(part, custom) for name, part in value.items()}


def _object(value: Config, custom: frozenset[str]) -> Any:
    name = value["class_name"]
    if name in _VALUES:
        return _VALUES[name](value, custom)
    registered = value.get("registered_name")
    if name == "function":
        return registered if registered in custom else value["config"]
    made = {key: _value(value[key], custom) for key in _KEPT if key in value}
    made.setdefault("config", {})
    if name in custom or registered in custom:
        made["class_name"] = registered if registered in custom else name
        return made
    if name not in _KNOWN:
        raise _refused(f"a {str(name)[:100]!r}")
    made["class_name"] = _RENAMED.get(name, name)
    if made["class_name"] in MODEL_CLASSES:
        return _model(made, value.get("build_config"))
    if isinstance(made["config"], dict):
        made["config"] = _layer(name, made["config"])
    return made


def _items(value: Config, custom: frozenset[str]) -> list[Any]:
    return [_value(part, custom) for part in value["items"]]


def _array(value: Config, custom: frozenset[str]) -> Any:
    inner = value["config"]
    return np.asarray(inner["value"], inner["dtype"])


# Values that JSON has no form for.
_VALUES: dict[str, Callable[[Config, frozenset[str]], Any]] = {
    "TensorShape": _items,
    "ListWrapper": _items,
    "__tuple__": lambda value, custom: tuple(_items(value, custom)),
    "__ellipsis__": lambda value, custom: ...,
    "__bytes__": lambda value, custom: str(value.get("config", value)["value"]).encode(),
    "__tensor__": _array,
    "__numpy__": _array,
}


def _model(model: Config, build_config: Any) -> Config:
    config = model["config"]
    if isinstance(config, list):  # a Sequential model before Keras 2.2
        config = {"layers": _numbered(config)}
    config = {"name": model.get("name") or model["class_name"].lower(), **config}
    if model["class_name"] == "Sequential" and build_config:
        config["build_input_shape"] = config.get("build_input_shape") or build_config["input_shape"]
    return {**model, "config": config}


def _numbered(layers: list[Config]) -> list[Config]:
    """Layers, among which models of one name are told apart: before Keras 2.2 they had none."""
    count: Counter[str] = Counter()
    for layer in layers:
        name = layer["config"].get("name")
        if layer["class_name"] in MODEL_CLASSES:
            layer["config"]["name"] = f"{name}_{count[name]}" if count[name] else name
            count[name] += 1
    return layers


def _layer(name: str, config: Config) -> Config:
    """What the layer of that recorded class name is called with today."""
    for part in ("activation", "recurrent_activation"):
        if config.get(part) == "softmax_v2":
            config[part] = "softmax"
    if _is_policy(config.get("dtype")):
        config["dtype"] = {
            "class_name": "Policy",
            "config": {"name": config["dtype"]["config"]["name"]},
        }
    return _QUIRKS[name](config) if name in _QUIRKS else config


def _is_policy(dtype: Any) -> bool:
    return isinstance(dtype, dict) and dtype.get("class_name") == "Policy"


def _given(**defaults: Any) -> Callable[[Config], Config]:
    """Arguments that a class did not record when their default was another."""
    return lambda config: {**defaults, **config}


def _renamed(**names: str) -> Callable[[Config], Config]:
    return lambda config: {names.get(name, name): value for name, value in config.items()}


def _without(*names: str) -> Callable[[Config], Config]:
    return lambda config: {name: config[name] for name in config if name not in names}


def _category_encoding(config: Config) -> Config:
    config = _renamed(max_tokens="num_tokens")(config)
    if config.get("output_mode") == "binary":
        config["output_mode"] = "multi_hot"
    return config


def _embedding(config: Config) -> Config:
    # The first Keras 2 wrote the type of the input, which is looked up and may be of any.
    return {**config, "dtype": "float32"} if config.get("dtype") == "int32" else config


_CUDNN = {"activation": "tanh", "recurrent_activation": "sigmoid"}


def _function(config: Config) -> Config:
    if config.get("function") not in TF_SYMBOLS:
        raise _refused(f"the function {str(config.get('function'))[:100]!r}")
    return config


def _refused(what: str) -> ModelFileError:
    return ModelFileError(
        "bad_configuration",
        f"The configuration asks for {what}, which is no part of Keras 2 that is made here.",
    )


# By the class name that the file has.
_QUIRKS: dict[str, Callable[[Config], Config]] = {
    "GRU": _given(reset_after=False), "GRUV1": _given(reset_after=False),
    "GRUCell": _given(reset_after=False), "GRUCellV1": _given(reset_after=False),
    "CuDNNGRU": _given(reset_after=True, **_CUDNN), "CuDNNLSTM": _given(**_CUDNN),
    # A dense tensor of the same entries takes a sparse or a ragged one's place.
    "InputLayer": lambda config: {**config, "sparse": False, "ragged": False},
    "CategoryEncoding": _category_encoding,
    "Discretization": _renamed(bins="bin_boundaries"),
    "DepthwiseConv2D": _without("filters"),
    "Embedding": _embedding,
    # They have been checked; but what follows would call anything in TensorFlow.
    "SlicingOpLambda": _function, "TFOpLambda": _function,
}  # fmt: skip
