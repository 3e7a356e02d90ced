"""Keras 1 → Keras 2: the names that layers and their arguments had, as Keras 2 translated them.

Data alone: what stands here under no name is left as it is, and checked like all the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Config = dict[str, Any]

# Arguments of any layer; those of one alone stand in `_OF_CLASS`. None: Keras 2 has none.
_ARGUMENTS: dict[str, str | None] = {
    "output_dim": "units", "nb_filter": "filters", "filter_length": "kernel_size",
    "pool_length": "pool_size", "length": "size", "border_mode": "padding",
    "subsample": "strides", "subsample_length": "strides", "stride": "strides",
    "atrous_rate": "dilation_rate", "dim_ordering": "data_format", "bias": "use_bias",
    "p": "rate", "sigma": "stddev", "init": "kernel_initializer",
    "inner_init": "recurrent_initializer", "inner_activation": "recurrent_activation",
    "depthwise_init": "depthwise_initializer", "pointwise_init": "pointwise_initializer",
    "beta_init": "beta_initializer", "gamma_init": "gamma_initializer",
    "W_regularizer": "kernel_regularizer", "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer", "W_constraint": "kernel_constraint",
    "U_constraint": "recurrent_constraint", "b_constraint": "bias_constraint",
    "dropout_W": "dropout", "dropout_U": "recurrent_dropout",
    "consume_less": None, "input_dtype": None, "weights": None, "mode": None,
    "input_dim": None, "input_length": None, "nb_row": None, "nb_col": None,
    "kernel_dim1": None, "kernel_dim2": None, "kernel_dim3": None, "forget_bias_init": None,
}  # fmt: skip
_KEPT: dict[str, str | None] = {
    name: name for name in ("output_dim", "input_dim", "input_length", "mode", "length")
}
_OF_CLASS: dict[str, dict[str, str | None]] = {
    "Embedding": _KEPT | {
        "init": "embeddings_initializer", "W_regularizer": "embeddings_regularizer",
        "W_constraint": "embeddings_constraint", "dropout": None,
    },
    "Deconvolution2D": {"output_shape": None}, "Deconvolution3D": {"output_shape": None},
    "InputLayer": {"input_dtype": "dtype"}, "Lambda": _KEPT, "Merge": _KEPT,
    "PReLU": {"init": "alpha_initializer"},
}  # fmt: skip
_CLASSES = {
    "AtrousConvolution1D": "Conv1D", "AtrousConvolution2D": "Conv2D", "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D", "Convolution3D": "Conv3D", "Deconvolution2D": "Conv2DTranspose",
    "Deconvolution3D": "Conv3DTranspose", "SeparableConvolution2D": "SeparableConv2D",
    "TimeDistributedDense": "Dense", "Model": "Functional",
}  # fmt: skip
# Sizes that stood apart.
_TOGETHER = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))
_VALUES = {
    "data_format": {"tf": "channels_last", "th": "channels_first"},
    "alpha_initializer": {"zero": "zeros", "one": "ones"},
}
_PENALTIES = ("WeightRegularizer", "ActivityRegularizer", "L1L2Regularizer")
_CONSTRAINTS = {
    "MaxNorm": {"m": "max_value", "axis": "axis"}, "UnitNorm": {"axis": "axis"}, "NonNeg": {},
}  # fmt: skip
_JOINS: dict[str, tuple[str, Callable[[Config], Config]]] = {
    "sum": ("Add", lambda config: {}),
    "mul": ("Multiply", lambda config: {}),
    "ave": ("Average", lambda config: {}),
    "max": ("Maximum", lambda config: {}),
    "concat": ("Concatenate", lambda config: {"axis": config.get("concat_axis", -1)}),
    "dot": ("Dot", lambda config: {"axes": _axes(config), "normalize": False}),
    "cos": ("Dot", lambda config: {"axes": _axes(config), "normalize": True}),
}

# Arguments that no layer of Keras 2 has, for files that do not say which Keras wrote them.
SIGNS = frozenset({"nb_filter", "border_mode", "dim_ordering", "inner_init", "W_regularizer"})


def translated(entry: Config) -> Config:
    """A model's or layer's entry as Keras 2 would write it; the original stays."""
    kind, config = entry.get("class_name"), entry.get("config")
    if isinstance(config, list):  # a Sequential model
        first = config[0] if config else None
        if isinstance(first, dict) and first.get("class_name") == "Merge" and _inner(first):
            return _joined_models(entry, first)
        return {**entry, "config": [_part(each) for each in config]}
    if not isinstance(config, dict) or not isinstance(kind, str):
        return entry
    made = {**entry, "class_name": _CLASSES.get(kind, kind)}
    if isinstance(config.get("layers"), list) and kind != "Merge":
        return {**made, "config": {**config, "layers": [_part(each) for each in config["layers"]]}}
    if kind == "Merge":
        return _join(made, config)
    if kind == "BatchNormalization" and config.get("mode") == 1:
        made["class_name"] = "BatchNormalization of each sample"  # Keras 2 has no such layer
    return {**made, "config": _arguments(kind, config)}


def _part(value: Any) -> Any:
    return translated(value) if isinstance(value, dict) else value


def _arguments(kind: str, config: Config) -> Config:
    names = _ARGUMENTS | _OF_CLASS.get(kind, {})
    made: Config = {}
    for name, value in config.items():
        new = names.get(name, name)
        if new is not None:
            made[new] = _value(new, value)
    for sizes in _TOGETHER:
        if all(size in config for size in sizes):
            made["kernel_size"] = [config[size] for size in sizes]
    if "forget_bias_init" in config and kind in ("LSTM", "ConvLSTM2D"):
        made["unit_forget_bias"] = config["forget_bias_init"] == "one"
    if kind == "ZeroPadding2D" and isinstance(made.get("padding"), list):
        sides = made["padding"]
        made["padding"] = [sides[:2], sides[2:]] if len(sides) == 4 else sides
    size, shape = config.get("input_dim"), config.get("batch_input_shape")
    if size is not None and shape is None and kind != "Embedding":
        steps = [config["input_length"]] if "input_length" in config else []
        made["batch_input_shape"] = [None, *steps, size]
    return made


def _value(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return _named(value) if "name" in value and "class_name" not in value else _part(value)
    if isinstance(value, str):
        return _VALUES.get(name, {}).get(value, value)
    return value


def _named(value: Config) -> Any:
    """A regulariser or a constraint, which had its arguments beside its name."""
    name = value["name"]
    if name in _PENALTIES:
        return {"class_name": "L1L2", "config": {key: value.get(key, 0.0) for key in ("l1", "l2")}}
    if isinstance(name, str) and name in _CONSTRAINTS:
        names = _CONSTRAINTS[name]
        config = {names[key]: value[key] for key in value if key in names}
        return {"class_name": name, "config": config}
    return None


def _join(entry: Config, config: Config) -> Config:
    """The layer that a Merge is; one whose mode is code stays what it is."""
    mode = config.get("mode")
    if not isinstance(mode, str) or mode not in _JOINS or config.get("mode_type", "raw") != "raw":
        return entry
    kind, arguments = _JOINS[mode]
    common = {name: config[name] for name in ("name", "trainable") if name in config}
    return {**entry, "class_name": kind, "config": {**common, **arguments(config)}}


def _axes(config: Mapping[str, Any]) -> Any:
    axes = config.get("dot_axes", -1)
    return axes if isinstance(axes, int) else [a[0] if isinstance(a, list) else a for a in axes]


def _inner(merge: Config) -> list[Any]:
    """The models that a Merge at the beginning of a Sequential model holds."""
    config = merge.get("config")
    layers = config.get("layers") if isinstance(config, dict) else None
    sound = isinstance(layers, list) and all(isinstance(each, dict) for each in layers)
    return layers if sound and layers is not None else []


def _joined_models(entry: Config, merge: Config) -> Config:
    """A Sequential model that begins with several: a graph in which they are layers."""
    layers: list[Config] = []
    for place, model in enumerate(_inner(merge)):
        name, source = f"branch_{place}", f"input_{place}"
        shape = _shape_of_input(model)
        config = {"name": source, "batch_input_shape": shape, "dtype": "float32"}
        layers.append(
            {"class_name": "InputLayer", "config": config, "name": source, "inbound_nodes": []}
        )
        inner = translated(model)
        if isinstance(inner.get("config"), list):
            inner = {**inner, "config": {"name": name, "layers": inner["config"]}}
        layers.append({**inner, "name": name, "inbound_nodes": [[[source, 0, 0]]]})
        layers[-1]["config"] = {**layers[-1]["config"], "name": name}
    # A model's first call is the one that made it.
    before = [[f"branch_{place}", 1, 0] for place in range(len(_inner(merge)))]
    for place, part in enumerate(entry["config"]):
        made = _part(part)
        if not isinstance(made, dict) or not isinstance(made.get("config"), (dict, list)):
            return entry
        is_model, config = isinstance(made["config"], list), made["config"]
        name = f"layer_{place}" if is_model else str(config.get("name", f"layer_{place}"))
        layers.append({**made, "name": name, "inbound_nodes": [before]})
        before = [[name, int(is_model), 0]]
    ends = [[f"input_{place}", 0, 0] for place in range(len(_inner(merge)))]
    config = {
        "name": str(entry.get("name") or "model"),
        "layers": layers,
        "input_layers": ends,
        "output_layers": before,
    }
    return {**entry, "class_name": "Functional", "config": config}


def _shape_of_input(model: Any) -> Any:
    """As its first layer says it, however deep that is."""
    while isinstance(model, dict):
        config = model.get("config")
        if isinstance(config, dict) and "batch_input_shape" in config:
            return config["batch_input_shape"]
        layers = config.get("layers") if isinstance(config, dict) else config
        model = layers[0] if isinstance(layers, list) and layers else None
    return None
