"""`AutoInitializer`: AutoInit's scale where a layer is made, before there is a model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras

from autoinit.errors import SettingsError
from autoinit.graph.keras_internals import (
    call_being_made,
    layers_in,
    maker_of,
    put_back,
    source_inputs,
)

# Layers are made again to plan their kernels: those need no values.
_planning: ContextVar[bool] = ContextVar("planning", default=False)


@keras.saving.register_keras_serializable(package="autoinit")
class AutoInitializer(keras.initializers.Initializer):
    """A `kernel_initializer` with AutoInit's scale for the signal that reaches its layer.

    σ² = signal_variance/(fan_in·(ν + μ²)) for independent inputs of the layer (Bingham &
    Miikkulainen 2021, eq. 3; "Tighter Integration" in their appendix E). It waits until the layer
    is called on the symbolic tensor of a functional or sequential model. What is before it there
    is followed with the weights that it has, by the rules of `AutoInit`; then the layer's own
    `kernel_initializer` is the Keras initializer that was found, so that a saved model opens
    without this library (layers that hold others, as attention does, keep this one's name in their
    configuration: `import autoinit` before loading).

    Where there is no graph to follow (a layer of a subclassed model, or built by `build`; a nested
    model's inputs), the layer is taken to read numbers of mean 0 and variance 1. Each layer follows
    all that is before it: `AutoInit().initialize_model(model, in_place=True)` does the same in one
    walk, and knows shared layers' later uses, too.

    Args:
        distribution: `truncated_normal`, `untruncated_normal`, `uniform` or `orthogonal`.
        signal_variance: of the layer's output, before its activation.
        input_mean, input_variance: of the model's inputs: a number, or numbers by their names.
        seed: of the draw. As with Keras's own, the same seed gives layers of one shape the same
            kernels; without one, `keras.utils.set_random_seed` decides.

    Raises:
        ValueError: for an unknown distribution, and a variance that is not positive.

    Example:
        >>> import keras
        >>> from autoinit import AutoInitializer
        >>> inputs = keras.Input((400,))
        >>> hidden = keras.layers.Dense(300, "relu", kernel_initializer=AutoInitializer())(inputs)
        >>> last = keras.layers.Dense(200, kernel_initializer=AutoInitializer())
        >>> model = keras.Model(inputs, last(hidden))
        >>> variance = float(keras.ops.var(last.kernel)) * 300  # 1/E max(0, z)² = 2, as He's
        >>> 1.9 < variance < 2.1
        True
    """

    def __init__(
        self,
        distribution: str = "truncated_normal",
        signal_variance: float = 1.0,
        input_mean: Any = 0.0,
        input_variance: Any = 1.0,
        seed: int | None = None,
    ) -> None:
        from autoinit.initializers.distributions import DISTRIBUTIONS

        if distribution not in DISTRIBUTIONS:
            raise SettingsError(
                f"distribution must be one of {', '.join(DISTRIBUTIONS)}. Received: "
                f"{distribution!r}"
            )
        if not (math.isfinite(signal_variance) and signal_variance > 0):
            raise SettingsError(f"signal_variance must be positive. Received: {signal_variance!r}")
        self.distribution, self.signal_variance = distribution, float(signal_variance)
        self.input_mean, self.input_variance, self.seed = input_mean, input_variance, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """A kernel of this shape, for the layer that is being built."""
        from autoinit.initializers.distributions import make_initializer

        shape = tuple(shape)
        if _planning.get():
            return keras.ops.zeros(shape, dtype)
        made = call_being_made()
        layer, deviation = (None, None) if made is None else self._planned(shape, *made)
        if deviation is None:
            fan_in = max(math.prod(shape[:-1]), 1)
            deviation = math.sqrt(self.signal_variance / fan_in)
        found = make_initializer(self.distribution, deviation, shape, self.seed)
        # The first one: of a layer with several kernels they are made in this order.
        held = {} if layer is None else vars(layer)
        name = next((name for name, value in held.items() if value is self), None)
        if name is not None:
            setattr(layer, name, found)
        return found(shape, dtype=dtype)

    def _planned(
        self, shape: tuple[int, ...], called: Any, args: Any, kwargs: Any
    ) -> tuple[Any, float | None]:
        """The layer whose kernel it is, and the deviation of that; None where no rule has one."""
        parts = layers_in(called)
        place, layer = next(
            (each for each in enumerate(parts) if any(v is self for v in vars(each[1]).values())),
            (0, None),
        )
        try:
            scales = self._scales(called, args, kwargs)
        except Exception as error:  # the layer's own code, which may raise anything
            warnings.warn(
                f"What reaches {called.name!r} ({type(called).__name__}) cannot be followed "
                f"({type(error).__name__}): AutoInitializer takes it as of mean 0 and variance 1.",
                stacklevel=2,
            )
            return layer, None
        clone, chosen = scales
        own = layers_in(clone)[place : place + 1]
        found = [
            each.standard_deviation
            for each in chosen
            if each.kernel.shape == shape
            and any(getattr(each.kernel.layer, "owner", each.kernel.layer) is part for part in own)
        ]
        return layer, found[0] if found else None

    def _scales(self, called: Any, args: Any, kwargs: Any) -> Any:
        """A copy of the called layer, and how AutoInit would draw its kernels."""
        from autoinit.propagation import Options, input_signals, plan
        from autoinit.reading import read_model

        tensors = [
            t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)
        ]
        with _without_values(), put_back([maker_of(each) for each in tensors]):
            clone = type(called).from_config(called.get_config())
            outputs = keras.tree.flatten(clone(*args, **kwargs))
            model = keras.Model(source_inputs(tensors), outputs, name="upstream")
            graph = read_model(model)
            own = {id(variable) for part in layers_in(clone) for variable in part.variables}
            options = Options(signal_variance=self.signal_variance, zero_kernels="replace")
            signals = input_signals(graph, self.input_mean, self.input_variance)
            kept = frozenset(
                id(variable)
                for each in graph.layers()
                for variable in getattr(each, "weights", ())
                if id(variable) not in own
            )
            return clone, plan(graph, signals, options, kept=kept).scales

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {
            "distribution": self.distribution,
            "signal_variance": self.signal_variance,
            "input_mean": self.input_mean,
            "input_variance": self.input_variance,
            "seed": self.seed,
        }


@contextmanager
def _without_values() -> Iterator[None]:
    before = _planning.set(True)
    try:
        yield
    finally:
        _planning.reset(before)
