"""A tiny model around one layer: what the tables of cases consist of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import initializers

Shape = tuple[int | None, ...]

# Kernels, biases, scales and offsets that are neither zero nor one, nor of zero mean.
KERNEL = {"kernel_initializer": initializers.RandomNormal(0.1, 0.4, seed=1)}
BIAS = {"bias_initializer": initializers.RandomNormal(0.3, 0.5, seed=2)}
WEIGHTS = {**KERNEL, **BIAS}
DEPTHWISE = {"depthwise_initializer": initializers.RandomNormal(0.1, 0.4, seed=1), **BIAS}
SCALE = {
    "gamma_initializer": initializers.RandomUniform(0.5, 2.0, seed=3),
    "beta_initializer": initializers.RandomNormal(0.2, 0.7, seed=4),
}
MOVING = {
    "moving_mean_initializer": initializers.RandomNormal(0.3, 0.5, seed=5),
    "moving_variance_initializer": initializers.RandomUniform(0.4, 3.0, seed=6),
}
SHIFTED = ((0.5, 1.5),)  # mean and variance of an input that is not standardised


@dataclass(frozen=True)
class Case:
    """A tiny model around one layer.

    Attributes:
        kind: class whose rule it is for.
        name: what is special about it.
        shapes: of the inputs, without the batch.
        arguments: of the layer's constructor.
        build: makes the outputs of the inputs, where that is not `kind(**arguments)`.
        moments: mean and variance of the inputs: one pair for all, or one for each.
        training: mode of the model.
        dtype: of the inputs.
        samples: in one batch of the Monte Carlo.
        redrawn: the prediction holds over draws of the weights, not for each single one.
        weighted: AutoInit sets a kernel of it.
        slow: it takes seconds, and what is special of it is seen in other cases, too.
    """

    kind: type
    name: str
    shapes: tuple[Shape, ...]
    arguments: dict[str, Any]
    build: Callable[..., Any] | None
    moments: tuple[tuple[float, float], ...]
    training: bool
    dtype: str
    samples: int
    redrawn: bool
    weighted: bool
    slow: bool

    def __str__(self) -> str:
        return f"{self.kind.__name__}: {self.name}"

    def model(self) -> keras.Model:
        """A new model, with weights from its own initialisers."""
        keras.utils.set_random_seed(7)
        tensors = [keras.Input(shape, dtype=self.dtype) for shape in self.shapes]
        if self.build is not None:
            return keras.Model(tensors, self.build(*tensors))
        layer = self.kind(**self.arguments)
        return keras.Model(tensors, layer(tensors if len(tensors) > 1 else tensors[0]))

    def input_moments(self) -> list[tuple[float, float]]:
        """Mean and variance of each input."""
        return list(self.moments) * (len(self.shapes) if len(self.moments) == 1 else 1)


def case(
    kind: type,
    name: str,
    *shapes: Shape,
    build: Callable[..., Any] | None = None,
    moments: tuple[tuple[float, float], ...] = ((0.0, 1.0),),
    training: bool = True,
    input_dtype: str = "float32",
    samples: int = 400,
    redrawn: bool = False,
    weighted: bool = False,
    slow: bool = False,
    **arguments: Any,
) -> Case:
    """A row of the tables; arguments that it does not name are the layer's."""
    return Case(
        kind,
        name,
        shapes,
        arguments,
        build,
        moments,
        training,
        input_dtype,
        samples,
        redrawn,
        weighted,
        slow,
    )
