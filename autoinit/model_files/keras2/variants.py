"""Keras 3 layers that do as Keras 2 did, where the two differ in more than arguments.

A merging layer joins the masks of its inputs by "and" in Keras 2, by "or" in Keras 3, and a few
layers hand a mask on in Keras 3 that they dropped in Keras 2. `TimeDistributed` sees all steps at
once in Keras 2, which batch normalisation inside it can tell. A layer that was called with
`training=False` stays in inference in Keras 2, where Keras 3 puts the model's mode first. All have
the rules of their parents.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
from keras import layers

from autoinit.graph.keras_internals import Merge, call_takes, get_keras_mask, layers_in
from autoinit.graph.model_graph import Call
from autoinit.rules.layers import normalization, recurrent, regularization
from autoinit.rules.layers.wrappers import time_distributed
from autoinit.rules.registry import Context, Rule, RuleResult, Support, rule
from autoinit.signals.signal import Signal


def _joined(layer: Any, inputs: Any, masks: Any) -> Any:
    known = [mask for mask in masks or () if mask is not None]
    result = known[0] if known else None
    for mask in known[1:]:
        result = keras.ops.logical_and(result, mask)
    return result


def _concatenated(layer: Any, inputs: Any, masks: Any) -> Any:
    if all(mask is None for mask in masks or ()):
        return None
    parts = []
    for tensor, mask in zip(inputs, masks, strict=True):
        if mask is None:
            parts.append(keras.ops.ones_like(tensor, dtype="bool"))
        else:
            thinner = len(mask.shape) < len(tensor.shape)
            parts.append(keras.ops.expand_dims(mask, -1) if thinner else mask)
    return keras.ops.all(keras.ops.concatenate(parts, axis=layer.axis), axis=-1)


def _dropped(layer: Any, inputs: Any, masks: Any) -> None:
    return None


_MASKS = {
    **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"), _joined),
    "Concatenate": _concatenated,
    **dict.fromkeys(("Identity", "Normalization", "Rescaling"), _dropped),
}


def _variant(name: str, joined: Any) -> Any:
    def compute_mask(self: Any, inputs: Any, mask: Any = None) -> Any:
        return joined(self, inputs, mask)

    members = {"compute_mask": compute_mask, "__module__": __name__}
    made = type(name, (getattr(keras.layers, name),), members)
    return keras.saving.register_keras_serializable(package="autoinit.model_files.keras2")(made)


_VARIANTS: dict[type, Any] = {
    getattr(keras.layers, name): _variant(name, joined) for name, joined in _MASKS.items()
}


def with_masks_of_keras2(layer: Any, inputs: Any) -> Any:
    """A layer that treats the masks of its inputs as Keras 2 did: itself, where that is the same.

    Args:
        layer: of Keras 3, not built.
        inputs: Keras tensors that it is called on.
    """
    tensors: Sequence[Any] = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    masks = [get_keras_mask(tensor) for tensor in tensors]
    several = isinstance(layer, Merge) and all(mask is masks[0] for mask in masks)
    if type(layer) not in _VARIANTS or several or all(mask is None for mask in masks):
        return layer
    return _VARIANTS[type(layer)].from_config(layer.get_config())


@keras.saving.register_keras_serializable(package="autoinit.model_files.keras2")
class TimeDistributed(keras.layers.TimeDistributed):
    """Runs its layer once, on the steps of all samples as so many samples."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """The layer's outputs, step by step."""
        options: dict[str, Any] = {}
        if call_takes(self.layer, "training"):
            options["training"] = training
        if call_takes(self.layer, "mask") and mask is not None:
            options["mask"] = keras.ops.reshape(mask, (-1, *mask.shape[2:]))
        steps = keras.ops.shape(inputs)[1]
        results = self.layer.call(keras.ops.reshape(inputs, (-1, *inputs.shape[2:])), **options)
        return keras.ops.reshape(results, (-1, steps, *results.shape[1:]))


rule(TimeDistributed)(time_distributed)


def holds_batch_statistics(layer: Any) -> bool:
    """Whether a layer's result for a sample depends on which others are in its batch."""
    return any(isinstance(part, keras.layers.BatchNormalization) for part in layers_in(layer))


_RATES = ("dropout", "recurrent_dropout")
# Layers that do something else in training: arguments that may switch it off, and their rules.
_MODAL: dict[type, tuple[tuple[str, ...], Rule | None]] = {
    layers.AlphaDropout: (("rate",), regularization.alpha_dropout),
    layers.BatchNormalization: (("trainable",), normalization.batch_normalization),
    layers.ConvLSTM1D: (_RATES, None),
    layers.ConvLSTM2D: (_RATES, None),
    layers.ConvLSTM3D: (_RATES, None),
    layers.Dropout: (("rate",), regularization.dropout),
    layers.GRU: (_RATES, recurrent.recurrent),
    layers.GaussianDropout: (("rate",), regularization.gaussian_dropout),
    layers.GaussianNoise: (("stddev",), regularization.gaussian_noise),
    layers.LSTM: (_RATES, recurrent.recurrent),
    layers.SimpleRNN: (_RATES, recurrent.recurrent),
    layers.SpatialDropout1D: (("rate",), regularization.dropout),
    layers.SpatialDropout2D: (("rate",), regularization.dropout),
    layers.SpatialDropout3D: (("rate",), regularization.dropout),
}


def _always(kind: Any, training: bool) -> Any:
    """The class of a layer that runs in one mode, whatever the model's."""

    @functools.wraps(kind.call)  # Keras looks for `mask` among the arguments
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return kind.call(self, *args, **{**kwargs, "training": training})

    made = type(kind.__name__, (kind,), {"call": call, "__module__": __name__})
    name = f"{kind.__name__}{'Training' if training else 'Inference'}"
    keras.saving.register_keras_serializable(package="autoinit.model_files.keras2", name=name)(made)
    parents_rule = _MODAL[kind][1]
    if parents_rule is not None:
        support = Support.SAMPLED if parents_rule is recurrent.recurrent else Support.EXACT
        rule(made, support=support)(functools.partial(_in_mode, parents_rule, training))
    return made


def _in_mode(
    parents_rule: Rule, training: bool, call: Call, inputs: Sequence[Any], context: Context
) -> RuleResult | Signal:
    return parents_rule(call, inputs, replace(context, training=training))


_IN_MODE: dict[tuple[type, bool], Any] = {
    (kind, training): _always(kind, training) for kind in _MODAL for training in (False, True)
}


def in_mode(layer: Any, training: bool) -> Any:
    """A layer that Keras 2 runs with a recorded `training`, which Keras 3 would not heed.

    Args:
        layer: of Keras 3, not built.
        training: the recorded mode.

    Returns:
        The layer itself, where the mode makes no difference to it.
    """
    names, _ = _MODAL.get(type(layer), ((), None))
    if not any(getattr(layer, name) for name in names):
        return layer
    return _IN_MODE[type(layer), training].from_config(layer.get_config())
