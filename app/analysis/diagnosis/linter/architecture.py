"""A model's layers as its configuration tells them: what the linter reads; nothing is run.

The same for files of either Keras and for models in memory. A layer with a fused activation becomes
two steps, as in the graph of calls; nested models are flattened into paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.analysis.diagnosis.roles import BOUNDED_FUNCTIONS, UNBOUNDED_FUNCTIONS
from autoinit.graph.paths import joined
from autoinit.model_files.check.connections import Connections, named_layers
from autoinit.model_files.check.entry_kinds import holds_layers

Entry = Mapping[str, Any]
Weights = Mapping[str, NDArray[Any]]

# Layers with a kernel.
KERNELS = frozenset([
    "Dense", "Conv1D", "Conv2D", "Conv3D", "Convolution1D", "Convolution2D", "Conv1DTranspose",
    "Conv2DTranspose", "Conv3DTranspose", "SeparableConv1D", "SeparableConv2D", "DepthwiseConv1D",
    "DepthwiseConv2D",
])  # fmt: skip
RECURRENT = frozenset([
    "SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D",
    "CuDNNLSTM", "CuDNNGRU",
])  # fmt: skip
NORMALIZERS = frozenset([
    "BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization",
    "RMSNormalization", "InstanceNormalization", "BatchNorm", "SyncBatchNormalization",
    "SpectralNormalization",
])  # fmt: skip
# Layers through which the same entries go on: linear, with one input.
PASSING = frozenset([
    "Flatten", "Reshape", "Permute", "Dropout", "SpatialDropout1D", "SpatialDropout2D",
    "SpatialDropout3D", "AlphaDropout", "GaussianDropout", "GaussianNoise",
    "ActivityRegularization", "Identity", "Masking", "RepeatVector", "ZeroPadding1D",
    "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D", "UpSampling1D",
    "UpSampling2D", "UpSampling3D", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D", "StochasticDepth",
])  # fmt: skip
# What prepares data: the first kernel receives what they give.
AUGMENTING = frozenset([
    "Resizing", "CenterCrop", "RandomCrop", "RandomFlip", "RandomTranslation", "RandomRotation",
    "RandomZoom", "RandomHeight", "RandomWidth", "RandomContrast", "RandomBrightness",
    "RandomShear", "RandomColorJitter",
])  # fmt: skip
_ACTIVATION_LAYERS = {
    "ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "PReLU": "prelu",
    "Softmax": "softmax", "ThresholdedReLU": "relu",
}  # fmt: skip
_LINEAR = ("linear", "", None)


@dataclass(frozen=True)
class LayerStep:
    """One use of a layer, or of the activation fused into it.

    Attributes:
        index: its place in `Architecture.steps`, which is a topological order.
        path: of the layer, `encoder/block1/conv2`.
        class_name: of the layer, or `Activation` for an activation; of what is distributed over
            time, the layer inside.
        config: the layer's arguments.
        inputs: indices of the steps that it reads.
        activation: the function that the step applies, in lower case, for an activation only.
        channels_in, channels: size of the last axis before and after; None where nothing tells.
        entry: the layer's whole entry.
    """

    index: int
    path: str
    class_name: str
    config: Mapping[str, Any]
    inputs: tuple[int, ...]
    activation: str | None = None
    channels_in: int | None = None
    channels: int | None = None
    entry: Entry = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The layer's own, the last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def is_kernel(self) -> bool:
        """Whether it multiplies by a kernel."""
        return self.class_name in KERNELS

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has a kernel of its own."""
        return self.class_name.startswith("DepthwiseConv")

    @property
    def trainable(self) -> bool:
        """Whether training changes it."""
        return self.config.get("trainable", True) is not False


@dataclass(frozen=True)
class Architecture:
    """Steps in topological order.

    Attributes:
        steps: every use of a layer.
        outputs: indices of the steps that the model returns.
        weights: values of a layer's variables by path, as far as they are at hand.
    """

    steps: tuple[LayerStep, ...]
    outputs: tuple[int, ...]
    weights: Callable[[str], Weights] = field(default=lambda path: {}, repr=False)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """For each step, the steps that read it."""
        found: list[list[int]] = [[] for _ in self.steps]
        for step in self.steps:
            for index in dict.fromkeys(step.inputs):
                found[index].append(step.index)
        return tuple(map(tuple, found))

    @cached_property
    def output_set(self) -> frozenset[int]:
        """`outputs`, to look in."""
        return frozenset(self.outputs)

    def kernels(self) -> Iterator[LayerStep]:
        """The steps with a kernel."""
        return (step for step in self.steps if step.is_kernel)

    def values(self, step: LayerStep) -> Weights:
        """A layer's variables by name; empty where they are not at hand."""
        return self.weights(step.path)

    def following(self, step: LayerStep) -> Iterator[LayerStep]:
        """The steps after one, as long as each is read by one alone."""
        while True:
            readers = self.readers[step.index]
            if len(readers) != 1 or step.index in self.output_set:
                return
            step = self.steps[readers[0]]
            yield step


def architecture_of(
    entry: Entry, keras: int = 3, weights: Callable[[str], Weights] = lambda path: {}
) -> Architecture:
    """The steps of a model.

    Args:
        entry: `class_name` and `config` of a model, as they stand in a file.
        keras: the Keras that wrote it: 2 or 3.
        weights: gives a layer's variables by its path.

    Returns:
        No steps for what is no graph of layers, such as a subclass of `keras.Model`.
    """
    builder = _Builder(keras)
    try:
        outputs = builder.model(entry, "", None)
    except Exception:  # a configuration of a shape of its own, or nested too deep
        return Architecture((), (), weights)
    return Architecture(tuple(builder.steps), tuple(dict.fromkeys(outputs)), weights)


class _Builder:
    def __init__(self, keras: int) -> None:
        self.keras = keras
        self.steps: list[LayerStep] = []

    def model(self, entry: Entry, prefix: str, given: Sequence[int] | None) -> list[int]:
        """Append a model's steps; the indices of what it returns."""
        config = entry["config"]
        if not holds_layers(config, entry["class_name"]):
            return []
        if isinstance(config, list):  # a Sequential of an early Keras 2
            config = {"layers": config}
        if "output_layers" not in config:
            return self._sequential(config, prefix, given)
        layers = [(_name(each), each) for each in config["layers"]]
        connections = Connections(layers, config["output_layers"], self.keras)
        reads = {(name, place): read for name, place, read in connections.calls()}
        names = list(named_layers(config["input_layers"]))
        sources = dict(zip(names, given, strict=False)) if given is not None else {}
        done: dict[tuple[str, int], int] = {}
        entries = dict(layers)

        def finish(key: tuple[str, int]) -> None:
            name, _ = key
            read = [done[each] for each in reads.get(key, [])]
            if name in sources:
                done[key] = sources[name]
            else:
                done[key] = self._layer(entries[name], joined(prefix, name), read)

        for root in [*reads, *connections.returned_calls(), *((name, 0) for name in entries)]:
            waiting = [root]
            while waiting:
                key = waiting[-1]
                missing = [k for k in reads.get(key, []) if k not in done and k[0] in entries]
                if key in done or key[0] not in entries:
                    waiting.pop()
                elif missing:
                    if len(waiting) > len(reads) + 1:
                        raise ValueError("a circle")
                    waiting += missing
                else:
                    finish(key)
                    waiting.pop()
        return [done[key] for key in connections.returned_calls() if key in done]

    def _sequential(self, config: Any, prefix: str, given: Sequence[int] | None) -> list[int]:
        latest = list(given or ())[:1]
        for each in config["layers"]:
            if each["class_name"] == "InputLayer" and latest:
                continue
            if not latest and each["class_name"] != "InputLayer":
                first = {"class_name": "InputLayer", "config": _input_of(each, config)}
                latest = [self._append("input", first, [])]
            latest = [self._layer(each, joined(prefix, _name(each)), latest)]
        return latest

    def _layer(self, entry: Entry, path: str, read: list[int]) -> int:
        config = entry.get("config") or {}
        while entry["class_name"] == "TimeDistributed" and isinstance(config.get("layer"), Mapping):
            entry = {**config["layer"], "build_config": entry.get("build_config")}
            config = entry.get("config") or {}
        if holds_layers(config, entry["class_name"]) and (found := self.model(entry, path, read)):
            return found[0]
        return self._append(path, entry, read)

    def _append(self, path: str, entry: Entry, read: Sequence[int]) -> int:
        kind, config = _kind(entry), entry.get("config") or {}
        before = [self.steps[i].channels for i in read]
        channels = _last(_built_shape(entry)) or (before[0] if before else None)
        own = _own_activation(kind, config)
        place, read = len(self.steps), tuple(read)
        step = LayerStep(place, path, kind, config, read, channels_in=channels, entry=entry)
        if own is not None:
            step = replace(step, class_name="Activation", activation=own)
        step = replace(step, channels=_channels(step, before))
        self.steps.append(step)
        fused = function_name(config.get("activation")) if kind in KERNELS else None
        if fused is None:
            return place
        given, size = _arguments(config["activation"]), step.channels
        self.steps.append(
            LayerStep(place + 1, path, "Activation", given, (place,), fused, size, size, entry)
        )
        return place + 1


# What TensorFlow's functions are called in files of Keras 2, where Keras 3 has another name.
_FUNCTIONS = {
    "getitem": "GetItem", "reduce_mean": "Mean", "reduce_sum": "Sum", "reduce_max": "Max",
    "concat": "Concatenate", "truediv": "TrueDivide", "sub": "Subtract", "mul": "Multiply",
    "matmul": "Matmul", "add_n": "Add",
}  # fmt: skip


def _kind(entry: Entry) -> str:
    """Class of a layer; of a function of TensorFlow, as Keras 3 calls its operation.

    A class of one's own that is called like one of Keras's goes by its registered name.
    """
    kind, config = str(entry["class_name"]), entry.get("config")
    if kind in ("TFOpLambda", "SlicingOpLambda") and isinstance(config, Mapping):
        function = str(config.get("function") or config.get("name")).rpartition(".")[2]
        plain = "".join(part.capitalize() for part in function.split("_"))
        return _FUNCTIONS.get(function, plain)
    registered = entry.get("registered_name")
    if kind in KERNELS and isinstance(registered, str) and ">" in registered:
        return registered
    return kind


def function_name(activation: Any) -> str | None:
    """The name of an activation in a configuration; None for the identity."""
    if isinstance(activation, Mapping):
        if activation.get("class_name") == "function":
            activation = activation.get("config")
            if isinstance(activation, Mapping):
                activation = activation.get("name")
        else:
            kind = str(activation.get("class_name"))
            return _ACTIVATION_LAYERS.get(kind, kind.lower())
    if activation in _LINEAR:
        return None
    return str(activation).lower()


def _arguments(activation: Any) -> Mapping[str, Any]:
    """The arguments of an activation that is an object."""
    config = activation.get("config") if isinstance(activation, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def _own_activation(kind: str, config: Mapping[str, Any]) -> str | None:
    if kind == "Activation":
        return function_name(config.get("activation")) or "linear"
    if kind in _ACTIVATION_LAYERS:
        return "relu6" if kind == "ReLU" and config.get("max_value") else _ACTIVATION_LAYERS[kind]
    plain = kind.lower().replace("_", "")
    if plain in BOUNDED_FUNCTIONS | UNBOUNDED_FUNCTIONS:
        return plain
    return None


def _name(entry: Entry) -> str:
    config = entry.get("config")
    own = config.get("name") if isinstance(config, Mapping) else None
    return str(entry.get("name") or own or entry["class_name"].lower())


def _input_of(entry: Entry, config: Mapping[str, Any]) -> Mapping[str, Any]:
    shape = (entry.get("config") or {}).get("batch_input_shape") or config.get("build_input_shape")
    return {"name": "input", "batch_shape": shape}


def _built_shape(entry: Entry) -> Any:
    """Shape of a layer's input, where its entry records it."""
    built = entry.get("build_config")
    return built.get("input_shape") if isinstance(built, Mapping) else None


def _last(shape: Any) -> int | None:
    if isinstance(shape, list | tuple) and shape and isinstance(shape[-1], int):
        return int(shape[-1])
    return None


def _channels(step: LayerStep, before: Sequence[int | None]) -> int | None:
    config, kind = step.config, step.class_name
    if kind == "InputLayer":
        return _last(config.get("batch_shape") or config.get("batch_input_shape"))
    if step.is_depthwise:
        multiplier = config.get("depth_multiplier", 1)
        return step.channels_in * multiplier if step.channels_in else None
    for argument in ("units", "filters", "output_dim"):
        if isinstance(config.get(argument), int):
            return int(config[argument])
    if kind == "Reshape":
        return _last(config.get("target_shape"))
    if kind == "Flatten":
        return _flattened(_built_shape(step.entry))
    if kind == "Concatenate":
        return sum(known) if len(known := [c for c in before if c]) == len(before) else None
    return before[0] if before else None


def _flattened(shape: Any) -> int | None:
    if isinstance(shape, list | tuple) and all(isinstance(size, int) for size in shape[1:]):
        return math.prod(shape[1:])
    return None


def kernel_shape(architecture: Architecture, step: LayerStep) -> tuple[int, ...] | None:
    """The kernel's shape: as stored, or as the configuration implies it."""
    values = architecture.values(step)
    for name in ("kernel", "depthwise_kernel"):
        if name in values:
            return tuple(int(size) for size in np.shape(values[name]))
    channels, units = step.channels_in, step.channels
    if not channels or not units:
        return None
    if step.class_name == "Dense":
        return channels, units
    size = step.config.get("kernel_size")
    taps = tuple(size) if isinstance(size, list | tuple) else (size,) if size else ()
    if not taps or not all(isinstance(tap, int) for tap in taps):
        return None
    if step.is_depthwise or step.class_name.startswith("Separable"):
        return (*taps, channels, int(step.config.get("depth_multiplier") or 1))
    if step.class_name.endswith("Transpose"):
        return (*taps, units, channels)
    groups = int(step.config.get("groups") or 1)
    return (*taps, channels // groups, units)
