"""Vector–Jacobian products, with the gradient of every value on the way measured as it passes.

One class for each framework that Keras runs on. Each is made once of a function, and called with
tensors and cotangents as often as wanted.

TensorFlow compiles the function at its first call, without Grappler, the optimiser of graphs, which
takes as long as a few passes of a ResNet and saves nothing here. A compiled pass takes half the
time of an eager one: operations go on side by side, and their buffers are used again. JAX traces
the function at its first call, and then runs the operations one by one: in a quarter of the time,
while XLA would compile all of them for longer than twenty probes take. PyTorch runs eagerly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.arrays import as_array
from autoinit.errors import NotMeasuredError

# Exported by no public module:
from autoinit.graph.keras_internals import get_keras_mask, set_keras_mask
from probes.batching import out_of_memory

Tap = Callable[[int, Any], Any]
CallSettings = tuple[Any, ...]
Function = Callable[[Sequence[Any], CallSettings, Tap], Sequence[Any]]
Measure = Callable[[int, Any], Any]
Rounded = Callable[[Any], Any]


class Products(NamedTuple):
    """What went back through a function.

    Attributes:
        measured: what `measure` made of the whole gradient of each tapped tensor that one reaches,
            by the tap's key.
        of_tensors, of_variables: gradients, None where none reaches.
    """

    measured: dict[int, Any]
    of_tensors: list[Any]
    of_variables: list[Any]


def differentiate(
    function: Function,
    variables: Sequence[Any],
    others: Sequence[Any],
    measure: Measure,
    traced: bool = True,
    rounded: Rounded = lambda tensor: tensor,
) -> Callable[[Sequence[Any], Sequence[Any], CallSettings], Products]:
    """What takes tensors, cotangents of the function's results, and settings; gives products.

    Args:
        function: takes tensors, settings (numbers and tuples) and `tap(key, tensor)`, which
            returns the same tensor. Returns one tensor for each cotangent.
        variables: Keras variables to differentiate by.
        others: further ones that a run of the function reads or changes.
        measure: takes a tap's key and its gradient, which is let go then.
        traced: whether TensorFlow or JAX traces the function once, which takes as long as several
            runs. JAX then has tensors for `measure` that hold no numbers yet.
        rounded: what a tap makes of its tensor, and, after the measure, of the gradient.

    Raises:
        ValueError: for Keras on a framework without derivatives.
    """
    backend = keras.backend.backend()
    if backend not in _WAYS:
        raise NotMeasuredError(
            f"Keras's backend {backend!r} has no derivatives: use {', '.join(_WAYS)}."
        )
    way: type[_ByTensorFlow | _ByJax | _ByTorch] = _WAYS[backend]
    return way(function, variables, others, measure, traced, rounded)


def by_numpy(function: Callable[[NDArray[Any]], NDArray[np.float64]], tensor: Any) -> Any:
    """A NumPy function of a tensor in the CPU's memory, also where TensorFlow compiles."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            return tf.numpy_function(function, [tensor], tf.float64)
    return function(as_array(tensor))


def _floating(tensors: Sequence[Any]) -> list[int]:
    return [
        place
        for place, tensor in enumerate(tensors)
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))
    ]


def _is_floating(tensor: Any) -> bool:
    return bool(_floating([tensor]))


def _with_mask(tensor: Any, mask: Any) -> Any:
    if mask is not None:
        set_keras_mask(tensor, mask)
    return tensor


@dataclass
class _Way:
    """Products with one framework; the fields are what `differentiate` takes."""

    function: Function
    variables: Sequence[Any]
    others: Sequence[Any]
    measure: Measure
    traced: bool
    rounded: Rounded


class _ByTensorFlow(_Way):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        import tensorflow as tf

        self._compiled: Any = tf.function(self._run, autograph=False) if self.traced else None

    def __call__(
        self, tensors: Sequence[Any], cotangents: Sequence[Any], settings: CallSettings
    ) -> Products:
        masks = [get_keras_mask(tensor) for tensor in tensors]
        arguments = list(tensors), masks, list(cotangents), settings
        with _without_grappler():
            if self._compiled is not None:
                try:
                    self._compiled.get_concrete_function(*arguments)
                except Exception as error:
                    if out_of_memory(error):
                        raise
                    self._compiled = None  # some layer looks at its numbers: run as it is
            run = self._compiled or self._run
            return Products(*run(*arguments))

    def _run(
        self, tensors: list[Any], masks: list[Any], cotangents: list[Any], settings: CallSettings
    ) -> tuple[dict[int, Any], list[Any], list[Any]]:
        import tensorflow as tf

        measured: dict[int, Any] = {}
        order: list[Any] = []  # what was measured, as it came
        anchor = tf.zeros(())

        def tap(key: int, tensor: Any) -> Any:
            if not tensor.dtype.is_floating:
                return tensor

            def told(gradient: Any) -> Any:
                # No more than two gradients wait for their measure at a time.
                with tf.control_dependencies(order[-2:-1]):
                    gradient = tf.identity(gradient)
                measured[key] = self.measure(key, gradient)
                order.append(measured[key])
                return self.rounded(gradient), None  # of the anchor nobody asks for a gradient

            identity = tf.custom_gradient(
                lambda tensor, _: (self.rounded(tf.identity(tensor)), told)
            )
            return _with_mask(identity(tensor, anchor), get_keras_mask(tensor))

        # A layer may return the tensor that it was given, but values are told apart.
        given = [
            _with_mask(tf.identity(tensor), mask)
            for tensor, mask in zip(tensors, masks, strict=True)
        ]
        places = _floating(given)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            variables = [variable.value for variable in self.variables]
            sources = [anchor, *(given[place] for place in places), *variables]
            tape.watch(sources)
            targets = list(self.function(given, settings, tap))
        # Of an embedding, it is a few rows.
        _, *gradients = (
            gradient if gradient is None else tf.convert_to_tensor(gradient)
            for gradient in tape.gradient(targets, sources, cotangents)
        )
        of_tensors: list[Any] = [None] * len(given)
        for place, gradient in zip(places, gradients, strict=False):
            of_tensors[place] = gradient
        return measured, of_tensors, gradients[len(places) :]


@contextlib.contextmanager
def _without_grappler() -> Iterator[None]:
    import tensorflow as tf

    name = "disable_meta_optimizer"
    options = tf.config.optimizer
    before = options.get_experimental_options().get(name, False)
    options.set_experimental_options({name: True})
    try:
        yield
    finally:
        options.set_experimental_options({name: before})


class _ByJax(_Way):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._state = [*self.variables, *self.others]
        # What takes all arrays one after the other, and how its results belong together.
        self._traces: dict[Any, tuple[Callable[..., list[Any]], Any]] = {}

    def __call__(
        self, tensors: Sequence[Any], cotangents: Sequence[Any], settings: CallSettings
    ) -> Products:
        masks = [get_keras_mask(tensor) for tensor in tensors]
        values = [variable.value for variable in self._state]
        arguments = list(tensors), masks, list(cotangents), values
        products, changed = self._replayed(settings, arguments)
        for variable, value, before in zip(self._state, changed, values, strict=True):
            if value is not before:
                variable.assign(value)
        return products

    def _replayed(self, settings: CallSettings, arguments: Any) -> tuple[Products, list[Any]]:
        import jax
        from jax.extend.core import jaxpr_as_fun

        run = partial(self._run, settings)
        if not self.traced:
            return run(*arguments)
        arrays, tree = jax.tree.flatten(arguments)
        key = settings, tree, tuple((array.shape, array.dtype) for array in arrays)
        if key not in self._traces:
            try:
                trace, shape = jax.make_jaxpr(run, return_shape=True)(*arguments)
            except Exception as error:
                if out_of_memory(error):
                    raise
                self.traced = False  # some layer looks at its numbers: run as it is
                return run(*arguments)
            self._traces[key] = jaxpr_as_fun(trace), jax.tree.structure(shape)
        replay, structure = self._traces[key]
        found: tuple[Products, list[Any]] = jax.tree.unflatten(structure, replay(*arrays))
        return found

    def _run(
        self,
        settings: CallSettings,
        tensors: list[Any],
        masks: list[Any],
        cotangents: list[Any],
        values: list[Any],
    ) -> tuple[Products, list[Any]]:
        """The products, and what the variables hold afterwards."""
        import jax

        places = _floating(tensors)
        measured: dict[int, Any] = {}
        reached: set[int] = set()  # JAX gives zeros where no gradient comes
        # JAX goes back only through what depends on something differentiated by: every tap does.
        anchor: Any = None

        def tap(key: int, tensor: Any) -> Any:
            if not _is_floating(tensor):
                return tensor

            def told(gradient: Any) -> Any:
                measured[key] = self.measure(key, gradient)
                return self.rounded(gradient)

            telling = _telling(told, self.rounded)
            return _with_mask(telling(tensor, anchor), get_keras_mask(tensor))

        def reaching(number: int, tensor: Any) -> Any:
            def told(gradient: Any) -> Any:
                reached.add(number)
                return gradient

            return _telling(told)(tensor, anchor)

        def pure(parts: list[Any], anchored: Any) -> tuple[list[Any], list[Any]]:
            nonlocal anchor
            anchor = anchored
            parts = [reaching(number, part) for number, part in enumerate(parts)]
            given = list(tensors)
            for place, part in zip(places, parts, strict=False):
                given[place] = _with_mask(part, masks[place])
            state = [*parts[len(places) :], *values[len(self.variables) :]]
            # No tracer gets into a variable: what the function changes comes out as a result.
            with keras.StatelessScope(list(zip(self._state, state, strict=True))) as scope:
                targets = list(self.function(given, settings, tap))
                after = (scope.get_current_value(variable) for variable in self._state)
                changed = [
                    before if now is given else now
                    for now, given, before in zip(after, state, values, strict=True)
                ]
            return targets, changed

        at = [tensors[place] for place in places] + values[: len(self.variables)]
        _, pull, changed = jax.vjp(pure, at, jax.numpy.zeros(()), has_aux=True)
        gradients, _ = pull(list(cotangents))
        found = [
            gradient if number in reached else None for number, gradient in enumerate(gradients)
        ]
        of_tensors: list[Any] = [None] * len(tensors)
        for place, gradient in zip(places, found, strict=False):
            of_tensors[place] = gradient
        return Products(measured, of_tensors, found[len(places) :]), changed


def _telling(told: Rounded, rounded: Rounded = lambda tensor: tensor) -> Callable[[Any, Any], Any]:
    """The identity, or rounding, which tells of the gradient that passes; the anchor has none."""
    import jax

    def back(_: None, gradient: Any) -> tuple[Any, Any]:
        return told(gradient), jax.numpy.zeros(())

    identity = jax.custom_vjp(lambda tensor, anchor: rounded(tensor))
    identity.defvjp(lambda tensor, anchor: (rounded(tensor), None), back)
    result: Callable[[Any, Any], Any] = identity
    return result


class _ByTorch(_Way):
    def __call__(
        self, tensors: Sequence[Any], cotangents: Sequence[Any], settings: CallSettings
    ) -> Products:
        import torch

        measured: dict[int, Any] = {}

        class Telling(torch.autograd.Function):
            """The identity, which tells of the gradient that passes it."""

            @staticmethod
            def forward(context: Any, key: int, tensor: Any, anchor: Any) -> Any:
                context.key = key
                return self.rounded(tensor.view_as(tensor))

            @staticmethod
            def backward(context: Any, gradient: Any) -> Any:
                measured[context.key] = self.measure(context.key, gradient)
                return None, self.rounded(gradient), torch.zeros(())

        # Only what depends on something differentiated by is gone back through: every tap does.
        anchor = torch.zeros((), requires_grad=True)

        def tap(key: int, tensor: Any) -> Any:
            if not tensor.is_floating_point():
                return tensor
            return _with_mask(Telling.apply(key, tensor, anchor), get_keras_mask(tensor))

        places = _floating(tensors)
        given = list(tensors)
        for place in places:
            leaf = tensors[place].detach().requires_grad_()
            given[place] = _with_mask(leaf, get_keras_mask(tensors[place]))
        sources = [given[place] for place in places] + [v.value for v in self.variables]
        with torch.enable_grad():
            targets = list(self.function(given, settings, tap))
        _, *gradients = torch.autograd.grad(
            targets, [anchor, *sources], list(cotangents), allow_unused=True
        )
        of_tensors: list[Any] = [None] * len(given)
        for place, gradient in zip(places, gradients, strict=False):
            of_tensors[place] = gradient
        return Products(measured, of_tensors, gradients[len(places) :])


_WAYS: dict[str, Any] = {"tensorflow": _ByTensorFlow, "jax": _ByJax, "torch": _ByTorch}
