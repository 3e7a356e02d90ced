"""What has no equal in Keras 3, run by tf_keras or TensorFlow itself inside a Keras 3 graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from autoinit.graph import keras_internals as internals
from autoinit.model_files.keras2.configurations import normalized
from autoinit.model_files.keras2.vocabulary import NODE_OPERATIONS, TF_SYMBOLS

# Custom classes that came with live layers, so that copies of these can be made.
_CLASSES: dict[str, type] = {}


@keras.saving.register_keras_serializable(package="autoinit")
class Keras2Layer(keras.layers.Layer):
    """A layer that runs a tf_keras layer.

    Its variables are those of the layer: what is assigned to one is assigned to the other.

    Args:
        layer: a tf_keras layer, or the configuration of one of Keras 2's own or of a class that
            such a layer had before.
        training: the mode that it runs in; that of the model by default.
    """

    def __init__(self, layer: Any, training: bool | None = None, **options: Any) -> None:
        made = _layer_of(layer) if isinstance(layer, Mapping) else layer
        options.setdefault("name", made.name.replace("/", "_"))
        options.setdefault("trainable", made.trainable)
        # tf_keras casts by its own rules.
        super().__init__(autocast=False, **options)
        # A Lambda's code comes with its file, which may be trusted: the next one may not be.
        is_theirs = type(made).__module__.startswith("tf_keras.")
        if not is_theirs and not isinstance(made, tf_keras.layers.Lambda):
            _CLASSES[type(made).__name__] = type(made)
            _CLASSES[tf_keras.saving.get_registered_name(type(made))] = type(made)
        # In a tuple, so that Keras tracks nothing of it.
        self._wrapped = (made,)
        self.training = training
        self.supports_masking = True

    @property
    def wrapped(self) -> Any:
        """The tf_keras layer."""
        return self._wrapped[0]

    @property
    def original(self) -> str:
        """Class of the tf_keras layer."""
        return type(self.wrapped).__name__

    def build(self, inputs_shape: Any) -> None:
        """Builds the tf_keras layer, unless it is, and takes its variables as one's own."""
        if not self.wrapped.built:
            with tf.init_scope():
                if isinstance(self.wrapped, tf_keras.layers.MultiHeadAttention):
                    internals.build_attention2(self.wrapped, inputs_shape)
                else:
                    self.wrapped.build(inputs_shape)
            self.wrapped.built = True
        for variable in self.wrapped.weights:
            own = self.add_weight(
                shape=tuple(variable.shape),
                initializer="zeros",
                trainable=variable.trainable,
                dtype=variable.dtype.name,
                name=variable.name.split(":")[0].replace("/", "_"),
            )
            internals.give_value(own, variable)
        self.built = True

    def call(self, inputs: Any, arguments: Any = None, training: Any = None) -> Any:
        """What the tf_keras layer returns.

        Args:
            inputs: a tensor; or tensors, for calls with more than one argument.
            arguments: of such a call: `{"args": […], "kwargs": {…}}`, see `evaluate`.
            training: mode of the model.
        """
        args, kwargs = (inputs,), {}
        if arguments is not None:
            args, kwargs = (evaluate(arguments[part], inputs) for part in ("args", "kwargs"))
        if internals.expects_training2(self.wrapped):
            kwargs["training"] = training if self.training is None else self.training
        return self.wrapped(*args, **kwargs)

    def compute_mask(self, *args: Any) -> Any:
        """None: the tf_keras layer has marked its outputs itself."""

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        held = internals.serialize_keras2(self.wrapped)
        return {**super().get_config(), "layer": held, "training": self.training}


def _layer_of(config: Mapping[str, Any]) -> Any:
    """The tf_keras layer of a configuration, which may come from a file: no code is made."""
    known = normalized(dict(config), _CLASSES)
    return tf_keras.layers.deserialize(known, custom_objects=_CLASSES, use_legacy_format=True)


@keras.saving.register_keras_serializable(package="autoinit")
class TensorFlowFunction(keras.Operation):
    """An operation that calls TensorFlow functions.

    Args:
        expression: what to compute, see `evaluate`; its tensors are numbered from 0.
        name: of the operation.
    """

    def __init__(self, expression: Mapping[str, Any], name: str | None = None) -> None:
        super().__init__(name=name)
        self.expression = dict(expression)

    @property
    def original(self) -> str:
        """Name of the outermost function."""
        return str(self.expression["$function"])

    def call(self, *tensors: Any) -> Any:
        """What the functions return."""
        return evaluate(self.expression, tensors)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"expression": _in_json(self.expression), "name": self.name}


def evaluate(value: Any, tensors: Sequence[Any], call: Callable[..., Any] | None = None) -> Any:
    """The value of an expression in data.

    Args:
        value: a number, a string, an array or a list of expressions; or a dictionary that holds
            one of `{"$tensor": i}`, `{"$array": values, "dtype": name}`, `{"$tuple": parts}`,
            `{"$slice": [start, stop, step]}`, `{"$ellipsis": True}`, or a call of a function of the
            vocabulary, `{"$function": symbol, "args": […], "kwargs": {…}}`, with an `index` where
            one of several results is meant.
        tensors: what the `tensor`s stand for.
        call: calls a function by symbol, arguments and keyword arguments.

    Raises:
        ValueError: for a function that is not in the vocabulary.
    """
    if isinstance(value, list):
        return [evaluate(part, tensors, call) for part in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$array" in value:
        return np.asarray(value["$array"], value["dtype"])
    if "$tuple" in value:
        return tuple(evaluate(value["$tuple"], tensors, call))
    if "$slice" in value:
        return slice(*evaluate(value["$slice"], tensors, call))
    if "$ellipsis" in value:
        return ...
    if "$function" not in value:
        return {name: evaluate(part, tensors, call) for name, part in value.items()}
    args = evaluate(value["args"], tensors, call)
    kwargs = {name: evaluate(part, tensors, call) for name, part in value["kwargs"].items()}
    results = (call or _call)(value["$function"], args, kwargs)
    index = value.get("index")
    return results if index is None else tf.nest.flatten(results)[index]


def _call(symbol: str, args: Any, kwargs: Any) -> Any:
    return function_of(symbol)(*args, **kwargs)


def _in_json(value: Any) -> Any:
    """An expression with its arrays as lists of numbers."""
    if isinstance(value, np.ndarray):
        return {"$array": value.tolist(), "dtype": value.dtype.name}
    if isinstance(value, list):
        return [_in_json(part) for part in value]
    if isinstance(value, dict):
        return {name: _in_json(part) for name, part in value.items()}
    return value


def function_of(symbol: str) -> Any:
    """The TensorFlow function of a name in the vocabulary; `node.Add` is an operation's type.

    Raises:
        ValueError: for any other name.
    """
    prefix, _, operation = symbol.partition(".")
    if prefix == "node" and operation in NODE_OPERATIONS:
        return getattr(tf.raw_ops, operation)
    function = internals.get_symbol_from_name(symbol) if symbol in TF_SYMBOLS else None
    if function is None:
        raise ValueError(f"{symbol!r} is no TensorFlow function that a model may call.")
    return function
