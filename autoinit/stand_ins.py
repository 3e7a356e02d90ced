"""Layers that stand in for what a file does not hold, where it is known what that computes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="autoinit")
class GaussianSampling(keras.layers.Layer):
    """A draw from N(mean, exp(log_variance)), of two tensors (Kingma & Welling 2014, eq. 10).

    It stands in for a Lambda or a layer that is not run; of more inputs the first two count.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, *_: Any) -> None:
        """There is nothing to build."""
        self.built = True

    def call(self, inputs: Any) -> Any:
        """`mean + exp(log_variance / 2) · z`, of the mean's shape."""
        mean, log_variance = inputs[0], inputs[1]
        noise = keras.random.normal(
            keras.ops.shape(mean), dtype=mean.dtype, seed=self.seed_generator
        )
        return mean + keras.ops.exp(0.5 * log_variance) * noise

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The mean's."""
        return tuple(input_shape[0])


# Functions of one tensor that mean the same whoever writes them, with the arguments that they take
# beside it. `normalize`, say, is many people's name for something else.
_OF_ENTRIES = """
    abs absolute ceil cos cosh erf exp expm1 floor log log1p negative reciprocal round rsqrt sign
    sin sinh sqrt square tan
"""
_OVER_AXES = ("axis", "keepdims")
FUNCTIONS: Mapping[str, Collection[str]] = {
    **dict.fromkeys(_OF_ENTRIES.split(), ()),
    **dict.fromkeys(("max", "mean", "min", "prod", "std", "sum", "var"), _OVER_AXES),
    **dict.fromkeys(("expand_dims", "flip", "log_softmax", "softmax", "squeeze"), ("axis",)),
    "clip": ("x_min", "x_max"),
}


def takes(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a function of a name is known, and means one thing with some arguments.

    Over which axes it works has to be said: what it is otherwise differs from one library to
    another.
    """
    own = FUNCTIONS.get(name)
    if own is None or not arguments.keys() <= set(own):
        return False
    needed = set(own) - {"keepdims"}
    return needed <= arguments.keys() and all(map(_is_plain, arguments.values()))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(part, int) for part in value)
    return isinstance(value, (bool, int, float))


@keras.saving.register_keras_serializable(package="autoinit")
class NamedFunction(keras.layers.Layer):
    """Applies a function of `keras.ops` that is on the list, by its name.

    Args:
        function: its name.
        arguments: those beside the tensor.

    Raises:
        ValueError: for any other function.
    """

    def __init__(
        self, function: str, arguments: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if not takes(function, arguments or {}):
            raise ValueError(f"{function!r} is not on the list, or not with these arguments.")
        self.function = function
        self.arguments = dict(arguments or {})
        self.supports_masking = True

    def build(self, *_: Any) -> None:
        """There is nothing to build."""
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The function's value."""
        return getattr(keras.ops, self.function)(inputs, **self.arguments)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        own = {"function": self.function, "arguments": self.arguments}
        return {**super().get_config(), **own}
