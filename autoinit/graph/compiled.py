"""Recurrent calls as one compiled pass over their steps, in place of one operation at a time.

Where Keras runs on TensorFlow, a loop over steps that is run eagerly spends nearly all of its time
between operations: an LSTM's step takes 3 to 4 ms for its few small products. Traced once, the same
loop takes a tenth of that; tracing takes about as long as 40 eager steps. JAX compiles a loop anew
for each eager call, for a third of a second. PyTorch runs loops as they are.

Variables are read when a compiled pass runs, so that all draws and series of weights share it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from autoinit.graph.changing import changing_variables, values_of
from autoinit.graph.keras_internals import get_keras_mask, layers_in, put_back, set_keras_mask
from autoinit.graph.model_graph import Call, stock_class
from autoinit.graph.workspace import Workspace

# Loops whose own code is Keras's; their cells may be anybody's.
_LOOPS = (
    layers.Bidirectional, layers.LSTM, layers.GRU, layers.SimpleRNN,
    layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D, layers.RNN,
)  # fmt: skip
# Steps that take about as long one by one as tracing them does.
_WORTH = 40
# Steps in which cells of a user's own have to do the same traced as untraced.
_REHEARSED = 4
_EAGER = "eager"


def run_compiled(
    call: Call,
    tensors: Sequence[Any],
    training: bool,
    batch: int | None,
    workspace: Workspace,
    times: int = 1,
) -> list[Any]:
    """A call's outputs, as `Call.run` computes them; recurrent layers' by one compiled pass.

    Layers that cannot be traced, and cells of a user's own that do something else traced, are run
    as they are; so are calls of so few steps that tracing would take longer.

    Args:
        call, tensors, training, batch: as for `Call.run`.
        workspace: of the call's graph.
        times: how often it will be run like this.
    """
    if steps_of(call) * times < _worth(tensors):
        return call.run(tensors, training, batch)
    masks = [get_keras_mask(tensor) for tensor in tensors]
    key = _key(call, tensors, masks, training, batch)
    compiled = workspace.compiled
    if key not in compiled:
        compiled[key] = call, _trace(call, tensors, masks, training, batch)
    trace = compiled[key][1]
    if trace == _EAGER:
        return call.run(tensors, training, batch)
    outputs, masked = trace(list(tensors), [mask for mask in masks if mask is not None])
    for output, mask in zip(outputs, masked, strict=True):
        if mask is not None:
            set_keras_mask(output, mask)
    return list(outputs)


def steps_of(call: Call) -> int:
    """Steps that a recurrent call takes one after the other; 0 for every other call.

    A loop that is to be unrolled is not one to trace: that takes longer than running it.
    """
    kind = stock_class(call.layer, _LOOPS)
    if kind is None or call.part != "whole" or call.placeholder is not None or not call.inputs:
        return 0
    ways = _ways(call.layer)
    if any(way.unroll or stock_class(way, _LOOPS) is None for way in ways):
        return 0
    return len(ways) * int(call.inputs[0].sample[0])


def _ways(layer: Any) -> list[Any]:
    both = isinstance(layer, layers.Bidirectional)
    return [layer.forward_layer, layer.backward_layer] if both else [layer]


def _worth(tensors: Sequence[Any]) -> float:
    """Steps from which on a compiled pass is worth its making."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return _WORTH if tf.executing_eagerly() else math.inf  # else it is being traced already
    if backend == "jax":
        import jax

        return math.inf if any(isinstance(t, jax.core.Tracer) for t in tensors) else 1
    return math.inf


def _key(
    call: Call, tensors: Sequence[Any], masks: Sequence[Any], training: bool, batch: int | None
) -> tuple[Any, ...]:
    fixed = batch if _has_fixed_batch(call) else None
    shapes = tuple((tuple(tensor.shape[1:]), tensor.dtype) for tensor in tensors)
    variables = tuple(id(v) for v in call.layer.variables)
    masked = tuple(mask is not None for mask in masks)
    return call.index, id(call.layer), training, fixed, shapes, masked, variables


def _has_fixed_batch(call: Call) -> bool:
    """Whether a trace holds for one number of samples only."""
    stateful = any(getattr(part, "stateful", False) for part in layers_in(call.layer))
    return stateful or call.retrace is not None or any(v.constant for v in call.inputs)


def _trace(
    call: Call, tensors: Sequence[Any], masks: Sequence[Any], training: bool, batch: int | None
) -> Any:
    """A function of tensors and of the masks that there are; `_EAGER` where it is not to be had."""
    if call.retrace is not None and batch is not None:
        call.retrace(batch)  # is kept: made while tracing, it would not last
    with put_back(layers_in(call.layer)):
        try:
            if not (_is_keras_own(call.layer) or _rehearsed(call, tensors, masks, training, batch)):
                return _EAGER
            return _function(call, tensors, masks, training, batch)
        except Exception:  # the layer's own code, which may look at its numbers
            return _EAGER


def _function(
    call: Call, tensors: Sequence[Any], masks: Sequence[Any], training: bool, batch: int | None
) -> Any:
    """A compiled function of tensors and of the masks that there are: outputs, and their masks."""
    there = [mask is not None for mask in masks]

    def run(given: list[Any], given_masks: list[Any]) -> tuple[list[Any], list[Any]]:
        waiting = iter(given_masks)
        for tensor, is_masked in zip(given, there, strict=True):
            if is_masked:
                set_keras_mask(tensor, next(waiting))
        outputs = call.run(given, training, batch)
        return outputs, [get_keras_mask(output) for output in outputs]

    arguments = list(tensors), [mask for mask in masks if mask is not None]
    if keras.backend.backend() == "jax":
        return _by_jax(run, call.layer, arguments)
    return _by_tensorflow(run, _has_fixed_batch(call), arguments)


def _by_tensorflow(
    run: Callable[..., Any], has_fixed_batch: bool, arguments: tuple[list[Any], list[Any]]
) -> Any:
    import tensorflow as tf

    def spec(tensor: Any) -> Any:
        shape = tuple(tensor.shape)
        return tf.TensorSpec(shape if has_fixed_batch else (None, *shape[1:]), tensor.dtype)

    def copied(given: list[Any], given_masks: list[Any]) -> Any:
        return run([tf.identity(tensor) for tensor in given], given_masks)

    signature = [[spec(tensor) for tensor in each] for each in arguments]
    function = tf.function(copied, input_signature=signature, autograph=False)
    function.get_concrete_function()
    return function


def _by_jax(
    run: Callable[..., Any], layer: Any, arguments: tuple[list[Any], list[Any]]
) -> Callable[..., Any]:
    import jax

    changing = changing_variables([layer])
    variables = list({id(v): v for v in (*layer.variables, *changing)}.values())

    def pure(values: list[Any], given: list[Any], given_masks: list[Any]) -> Any:
        pairs = list(zip(variables, values, strict=True))
        with put_back(layers_in(layer)), keras.StatelessScope(pairs, collect_losses=True) as scope:
            results = run(given, given_masks)
        return results, [scope.get_current_value(variable) for variable in changing]

    compiled = jax.jit(pure)

    def function(given: list[Any], given_masks: list[Any]) -> Any:
        values = [variable.value for variable in variables]
        results, changed = compiled(values, given, given_masks)
        for variable, value in zip(changing, changed, strict=True):
            if value is not None:
                variable.assign(value)
        return results

    jax.eval_shape(pure, [variable.value for variable in variables], *arguments)
    return function


def _is_keras_own(layer: Any) -> bool:
    """Whether all that a layer computes by is code of Keras."""
    return all(
        type(part).__module__.partition(".")[0] == "keras"
        and all(
            getattr(getattr(part, name, None), "__module__", "keras").partition(".")[0] == "keras"
            for name in ("activation", "recurrent_activation")
        )
        for part in layers_in(layer)
    )


def _rehearsed(
    call: Call, tensors: Sequence[Any], masks: Sequence[Any], training: bool, batch: int | None
) -> bool:
    """Whether the first steps come out the same traced as untraced, and leave no other mark.

    A cell may count its steps in Python, or draw noise that Keras knows nothing of: traced, it
    would do so once for all steps.
    """
    first = [tensors[0][:, :_REHEARSED], *tensors[1:]]
    cut = [mask if mask is None else mask[:, :_REHEARSED] for mask in masks]
    for tensor, mask in zip(first, cut, strict=True):
        if mask is not None:
            set_keras_mask(tensor, mask)
    before = _plain_attributes(call.layer)
    with _variables_put_back(call.layer):
        expected = call.run(first, training, batch)
    if _plain_attributes(call.layer) != before:
        return False
    with _variables_put_back(call.layer):
        found, _ = _function(call, first, cut, training, batch)(
            first, [mask for mask in cut if mask is not None]
        )
    arrays = [map(keras.ops.convert_to_numpy, pair) for pair in zip(found, expected, strict=True)]
    return all(np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True) for a, b in arrays)


@contextlib.contextmanager
def _variables_put_back(layer: Any) -> Iterator[None]:
    kept = values_of(changing_variables([layer]))
    try:
        yield
    finally:
        for variable, values in kept:
            variable.assign(values)


def _plain_attributes(layer: Any) -> list[tuple[str, Any]]:
    """Numbers and words that a layer's parts keep; what Keras keeps of calls begins with `_`."""
    return [
        (name, value)
        for part in layers_in(layer)
        for name, value in sorted(vars(part).items())
        if not name.startswith("_") and isinstance(value, (bool, int, float, str))
    ]
