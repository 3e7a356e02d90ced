"""tf_keras layer → the Keras 3 layer that computes the same.

Most classes have the same name and nearly the same arguments in both; the tables hold what differs.
A layer without an equal is run by tf_keras itself, in a `Keras2Layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import tf_keras

from autoinit.graph import keras_internals as internals
from autoinit.graph import placeholders as opaque
from autoinit.model_files.keras2 import functions, variants
from autoinit.model_files.keras2.functions import NoEqualError, plain
from autoinit.model_files.keras2.own_layers import (
    GELU,
    POOLING,
    InstanceNormalization,
    Opaque,
    Sparsemax,
    SpectralNormalization,
    WeightNormalization,
)

_Config = dict[str, Any]
Equal = Callable[[Any], Any]  # the Keras 3 layer of an inner layer


@dataclass(frozen=True)
class _Difference:
    """How a class's arguments differ between the two Kerases.

    Attributes:
        name: of the class in Keras 3, where it is another.
        dropped: arguments that Keras 3 has not, with the values that make no difference; None
            stands for all values.
        renamed: old name → new name.
        adjust: the rest: configuration and layer → configuration.
    """

    name: str = ""
    dropped: Mapping[str, tuple[Any, ...] | None] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    adjust: Callable[[_Config, Any], _Config] = lambda config, layer: config


def _axis_alone(config: _Config, layer: Any) -> _Config:
    axis = config["axis"]
    if isinstance(axis, (list, tuple)):
        if len(axis) != 1:
            raise NoEqualError(f"axis={axis}")
        (axis,) = axis
    return {**config, "axis": axis}


def _interpolations(*known: str) -> Callable[[_Config, Any], _Config]:
    def adjust(config: _Config, layer: Any) -> _Config:
        if config["interpolation"] not in known:
            raise NoEqualError(f"interpolation={config['interpolation']!r}")
        return config

    return adjust


def _vocabulary(config: _Config, layer: Any) -> _Config:
    """Words and weights as the layer has them now, whether given or loaded."""
    words = layer.get_vocabulary(include_special_tokens=False)
    config["vocabulary"] = [w.item() if hasattr(w, "item") else w for w in words] or None
    if config.get("idf_weights") is not None or config.get("output_mode") == "tf_idf":
        raise NoEqualError("output_mode='tf_idf'")
    return config


def _bins(config: _Config, layer: Any) -> _Config:
    return {**config, "bin_boundaries": plain(layer.bin_boundaries) or None}


def _attention(config: _Config, layer: Any) -> _Config:
    if layer.causal:
        raise NoEqualError("causal=True")
    return config


_ANY = None
_RECURRENT = _Difference(dropped={"time_major": (False,), "implementation": _ANY})
_CELL = _Difference(dropped={"implementation": _ANY})
_CONVOLUTION = _Difference(dropped={"groups": (1,)})
_SEPARABLE = _Difference(
    dropped={"groups": (1,), **{f"kernel_{part}": _ANY for part in
                                ("initializer", "regularizer", "constraint")}},
)  # fmt: skip
_SPATIAL = _Difference(dropped={"noise_shape": (None,)})
_RANDOM = _Difference(dropped={"rng_type": _ANY})
_LOOKUP = _Difference(dropped={"vocabulary_size": _ANY}, adjust=_vocabulary)
_RESIZING = _interpolations("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")

_SAME = _Difference()
_ALIKE = """
    Activation ActivityRegularization Add AlphaDropout Average AveragePooling1D AveragePooling2D
    AveragePooling3D CategoryEncoding CenterCrop Concatenate Conv1D Conv2D Conv3D Cropping1D
    Cropping2D Cropping3D Dense Dot Dropout ELU EinsumDense Flatten GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization HashedCrossing Hashing Identity
    LayerNormalization Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum Multiply
    Normalization PReLU Permute ReLU RepeatVector Rescaling Reshape SimpleRNNCell Subtract
    UnitNormalization UpSampling1D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
_DIFFERENCES: dict[str, _Difference] = {
    **dict.fromkeys(_ALIKE.split(), _SAME),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
                     "DepthwiseConv1D", "DepthwiseConv2D"), _CONVOLUTION),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _SEPARABLE),
    **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "SimpleRNN"),
                    _RECURRENT),
    **dict.fromkeys(("GRUCell", "LSTMCell"), _CELL),
    **dict.fromkeys(("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), _SPATIAL),
    **dict.fromkeys(("RandomBrightness", "RandomContrast", "RandomFlip",
                     "RandomRotation", "RandomTranslation", "RandomZoom"), _RANDOM),
    **dict.fromkeys(("IntegerLookup", "StringLookup"), _LOOKUP),
    "AddLoss": _Difference("Identity", dropped={"unconditional": _ANY}),
    "AddMetric": _Difference("Identity", dropped={"aggregation": _ANY, "metric_name": _ANY}),
    "AdditiveAttention": _Difference(adjust=_attention),
    "Attention": _Difference(adjust=_attention),
    "BatchNormalization": _Difference(
        dropped={"fused": _ANY, "virtual_batch_size": (None,)}, adjust=_axis_alone
    ),
    "Discretization": _Difference(adjust=_bins),
    "Embedding": _Difference(dropped={"input_length": _ANY, "sparse": _ANY}),
    "Layer": _Difference("Identity"),
    "LeakyReLU": _Difference(renamed={"alpha": "negative_slope"}),
    "MultiHeadAttention": _Difference(
        dropped={"query_shape": _ANY, "key_shape": _ANY, "value_shape": _ANY,
                 "softmax_robust_masking": (False,)},
    ),
    "Resizing": _Difference(adjust=_RESIZING),
    "Softmax": _Difference(dropped={"robust_masking": (False,)}),
    "TextVectorization": _LOOKUP,
    # x·(x > θ) is what ReLU computes with a threshold.
    "ThresholdedReLU": _Difference("ReLU", renamed={"theta": "threshold"}),
    "UpSampling2D": _Difference(adjust=_RESIZING),
}  # fmt: skip


def keras3_layer(layer: Any, name: str, inner: Equal) -> Any:
    """The Keras 3 layer that computes what a tf_keras layer computes; not built.

    Args:
        layer: of tf_keras.
        name: of the Keras 3 layer.
        inner: gives the Keras 3 layers of layers that the layer holds.

    Raises:
        NoEqualError: there is no equal.
    """
    made = _made(layer, name, inner)
    if not layer.trainable:
        made.trainable = False
    return made


def _made(layer: Any, name: str, inner: Equal) -> Any:
    kind = type(layer)
    base = {"name": name, "dtype": internals.policy_name2(layer)}
    if kind is Opaque:
        evidence = plain(dict(layer.evidence))
        return opaque.Opaque(layer.original, layer.reason, layer.outputs, evidence, **base)
    if kind in _WRAPPING:
        return _WRAPPING[kind](layer, base, inner)
    if kind not in _CLASSES:
        raise NoEqualError(kind.__name__)
    target, difference = _CLASSES[kind]
    return target(**_arguments(layer, difference, inner), **base)


def _arguments(layer: Any, difference: _Difference, inner: Equal) -> _Config:
    config = {
        name: value
        for name, value in layer.get_config().items()
        if name not in ("name", "trainable", "dtype", "batch_input_shape", "dynamic")
    }
    for name, harmless in difference.dropped.items():
        value = config.pop(name, None)
        if harmless is not None and value is not None and value not in harmless:
            raise NoEqualError(f"{name}={value!r}")
    made = {
        difference.renamed.get(name, name): _argument(layer, name, value, inner)
        for name, value in config.items()
    }
    return difference.adjust(made, layer)


def _argument(layer: Any, name: str, value: Any, inner: Equal) -> Any:
    kind = name.rpartition("_")[2]
    if kind not in _FUNCTIONS or value is None:
        return plain(value)
    held = internals.argument2(layer, name)
    if kind == "activation" and isinstance(held, tf_keras.layers.Layer):
        return inner(held)
    return _FUNCTIONS[kind](held)


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "activation": functions.activation,
    **{
        kind: partial(functions.of_same_class, module=getattr(keras, f"{kind}s"))
        for kind in ("initializer", "regularizer", "constraint")
    },
}


def _bidirectional(layer: Any, base: _Config, inner: Equal) -> Any:
    return keras.layers.Bidirectional(
        inner(layer.forward_layer),
        layer.merge_mode,
        backward_layer=inner(layer.backward_layer),
        **base,
    )


def _time_distributed(layer: Any, base: _Config, inner: Equal) -> Any:
    held = inner(layer.layer)
    joint = variants.holds_batch_statistics(held)
    return (variants if joint else keras.layers).TimeDistributed(held, **base)


def _spectral_normalization(layer: Any, base: _Config, inner: Equal) -> Any:
    return keras.layers.SpectralNormalization(
        inner(layer.layer), power_iterations=layer.power_iterations, **base
    )


def _rnn(layer: Any, base: _Config, inner: Equal) -> Any:
    config = layer.get_config()
    if config.get("time_major") or config.get("num_constants"):
        raise NoEqualError("time_major or constants")
    names = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll")
    options = {name: config[name] for name in names}
    zeros = bool(config.get("zero_output_for_mask"))
    return keras.layers.RNN(inner(layer.cell), zero_output_for_mask=zeros, **options, **base)


def _weight_normalization(layer: Any, base: _Config, inner: Equal) -> Any:
    return keras3_layer(layer.layer, base["name"], inner)


def _gelu(layer: Any, base: _Config, inner: Equal) -> Any:
    function = functions.gelu_by_tanh if layer.approximate else keras.activations.gelu
    return keras.layers.Activation(function, **base)


def _adaptive_pooling(layer: Any, base: _Config, inner: Equal) -> Any:
    """Pooling over parts of one size: Keras 3's own ends the process where there is one part."""
    if None in layer.windows:
        raise NoEqualError("a size that is left open")
    name = type(layer).__name__.removeprefix("Adaptive")
    arguments = {"data_format": layer.data_format, "padding": "valid", **base}
    return getattr(keras.layers, name)(layer.windows, **arguments)


def _sparsemax(layer: Any, base: _Config, inner: Equal) -> Any:
    if layer.axis != -1:
        raise NoEqualError(f"axis={layer.axis!r}")
    return keras.layers.Activation("sparsemax", **base)


def _stacked_cells(layer: Any, base: _Config, inner: Equal) -> Any:
    return keras.layers.StackedRNNCells([inner(cell) for cell in layer.cells], **base)


_WRAPPING: dict[type, Callable[[Any, _Config, Equal], Any]] = {
    GELU: _gelu,
    Sparsemax: _sparsemax,
    WeightNormalization: _weight_normalization,
    **dict.fromkeys(POOLING.values(), _adaptive_pooling),
    tf_keras.layers.Bidirectional: _bidirectional,
    tf_keras.layers.RNN: _rnn,
    SpectralNormalization: _spectral_normalization,
    tf_keras.layers.StackedRNNCells: _stacked_cells,
    tf_keras.layers.TimeDistributed: _time_distributed,
}


# Of each class in tf_keras, its equal in Keras 3 and how their arguments differ.
_CLASSES: dict[type, tuple[type, _Difference]] = {
    getattr(tf_keras.layers, name, None) or getattr(internals.base_layer2, name): (
        getattr(keras.layers, difference.name or name), difference
    )
    for name, difference in _DIFFERENCES.items()
} | {
    internals.LayerScale2: (internals.LayerScale, _SAME),
    internals.StochasticDepth2: (internals.StochasticDepth, _SAME),
    internals.CustomScaleLayer2: (internals.CustomScaleLayer, _SAME),
    InstanceNormalization: (keras.layers.GroupNormalization, _SAME),
}  # fmt: skip


def inner_layers(layer: Any) -> list[Any]:
    """The layers that a wrapper of either Keras runs, in one order for both."""
    for names in (("forward_layer", "backward_layer"), ("cell",), ("cells",), ("layer",)):
        if all(hasattr(layer, name) for name in names):
            parts = [getattr(layer, name) for name in names]
            return [*parts[0]] if names == ("cells",) else parts
    return []
