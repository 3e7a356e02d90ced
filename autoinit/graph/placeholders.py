"""Placeholders for parts of a model whose code is not at hand, or must not run: they are never run.

An `Opaque` layer holds a Lambda's or an unknown layer's place in a graph, with an output shape from
whatever evidence there is; an `OpaqueActivation` does so for a function. The analytic pass goes
through them as `pass_through`; measurements end before them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras

from autoinit.graph.keras_internals import layers_in

Shape = tuple[int | None, ...]


def inferred_shape(given: Shape, evidence: Mapping[str, Any]) -> Shape:
    """Output shape of a layer that cannot be asked.

    Args:
        given: shape of its first input, the batch axis first.
        evidence: what its file says. `declared`: output sizes without the batch axis, None where
            open. Otherwise what the layers that read the output need: `size` entries along `axis`
            (-1 or 1) and, where it matters, a `rank` (the batch axis counted); `flattened` where
            they read it flattened. Otherwise `weights`: see `channels_by_weights`.
    """
    given = given or (None,)
    declared = evidence.get("declared")
    if declared is not None:
        sizes = tuple(declared)
        if len(sizes) == len(given) - 1:
            sizes = tuple(g if d is None else d for d, g in zip(sizes, given[1:], strict=True))
        return (given[0], *sizes)
    size, rank = evidence.get("size"), evidence.get("rank")
    axis = evidence.get("axis", -1)
    if size is None:
        channels = channels_by_weights(given, evidence)
        return given if channels is None else (*given[:-1], channels)
    if evidence.get("flattened") and len(given) > 2:
        around = given[1:-1]
        places = 0 if None in around else math.prod(map(int, filter(None, around)))
        return (*given[:-1], size // places) if places and size % places == 0 else (given[0], size)
    known = [entry for entry in given[1:] if entry is not None]
    flat = len(given) != 2 and len(known) == len(given) - 1 and math.prod(known) == size
    if rank == 2 or (rank is None and (flat or len(given) == 1)):
        return (given[0], size)
    if size == 1 and rank == len(given) + 1 and axis == -1:
        return (*given, 1)  # an axis that was added
    shape = list(given) if rank in (None, len(given)) else [given[0], *[None] * (rank - 1)]
    shape[axis] = size
    return tuple(shape)


def channels_by_weights(given: Shape, evidence: Mapping[str, Any]) -> int | None:
    """How many channels the stored weights say that a layer returns; None where they do not.

    A matrix with as many rows as the layer reads channels makes as many as it has columns, if the
    next layer has a matrix for these, or if no other weight says otherwise: the scores of an
    attention are made of such matrices as well, and are no output.

    Args:
        given: shape of the layer's input.
        evidence: `weights` has the shapes of the layer's `own` weights, and of those of the unknown
            layers that are `next`.
    """
    stored = evidence.get("weights") or {}
    own, following = stored.get("own", ()), stored.get("next", ())
    if len(given) < 2:
        return None
    matrices = [shape for shape in own if len(shape) > 1]
    made = {shape[-1] for shape in matrices if shape[-2] == given[-1]} - {1}
    taken = {shape[-2] for shape in following if math.prod(shape[:-1]) > 1}
    taken = taken or {shape[-1] for shape in following if shape}
    if not following:
        size = made.pop() if len(made) == 1 else None
        others = [shape for shape in matrices if shape[-2] != given[-1]]
        square = all(set(shape) == {size} for shape in others)  # from each class to the next, say
        alone = len(matrices) - len(others) == 1 and (others or len(own) <= 2)
        return size if square and alone else None
    sizes = taken & made
    if not sizes and any(given[-1] in shape for shape in following):
        return given[-1]  # nothing says that it changes them
    sizes = sizes or taken
    return sizes.pop() if len(sizes) == 1 else given[-1] if given[-1] in sizes else None


def inferred_shapes(given: Shape, evidence: Mapping[str, Any], outputs: int) -> list[Shape]:
    """Shapes of several outputs: evidence of all but the first is in `others`."""
    others = [*evidence.get("others", ()), *[{}] * outputs]
    return [inferred_shape(given, part) for part in (evidence, *others)[:outputs]]


@keras.saving.register_keras_serializable(package="autoinit")
class Opaque(keras.layers.Layer):
    """Holds the place of a layer that is not run.

    Args:
        original: class name of the layer that it stands for.
        reason: why that is not run, as the end of a sentence: "it holds code".
        outputs: how many tensors it returns.
        evidence: see `inferred_shape`; for several outputs `inferred_shapes`.
    """

    def __init__(
        self,
        original: str,
        reason: str,
        outputs: int = 1,
        evidence: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.original = original
        self.reason = reason
        self.outputs = outputs
        self.evidence = dict(evidence or {})
        self.supports_masking = True  # else Keras warns of every mask that ends here

    @property
    def assumed(self) -> bool:
        """Whether the output shape is not declared by the file."""
        return self.evidence.get("declared") is None

    def build(self, *_: Any, **__: Any) -> None:
        """There is nothing to build."""
        self.built = True

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Symbolic outputs by the evidence."""
        tensors = [t for t in keras.tree.flatten((args, kwargs)) if hasattr(t, "shape")]
        if not tensors:
            raise ValueError(f"Layer {self.name!r} ({self.original}) has no input.")
        shapes = inferred_shapes(tuple(tensors[0].shape), self.evidence, self.outputs)
        results = [keras.KerasTensor(shape, self.compute_dtype) for shape in shapes]
        return results[0] if self.outputs == 1 else results

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same for wrappers, which ask the layer that they hold for shapes alone."""
        return inferred_shape(tuple(input_shape), self.evidence)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """None: what the original does to a mask is not known."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Raises: the layer's code is not here.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(f"Layer {self.name!r} ({self.original}) is opaque and cannot be run.")

    def load_own_variables(self, store: Any) -> None:
        """The weights of the original stay in its file."""

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        own = {
            "original": self.original,
            "reason": self.reason,
            "outputs": self.outputs,
            "evidence": self.evidence,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="autoinit")
class OpaqueActivation:
    """Holds the place of an activation function that is not run; symbolically, the identity.

    Args:
        name: of the function that it stands for.
        reason: why that is not run.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason

    def __call__(self, x: Any) -> Any:
        """`x`, so that layers which hold the function can be built."""
        return x

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"name": self.name, "reason": self.reason}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OpaqueActivation:
        """The placeholder that `get_config` describes."""
        return cls(**config)


def placeholder_activation(function: Any) -> OpaqueActivation | None:
    """The placeholder behind an activation, if it is one."""
    return function if isinstance(function, OpaqueActivation) else None


def placeholder_in(layer: Any) -> Opaque | OpaqueActivation | None:
    """The placeholder that keeps a layer from being run: itself, or one that it holds somewhere."""
    for part in layers_in(layer):
        if isinstance(part, Opaque):
            return part
        for value in vars(part).values():
            if isinstance(value, OpaqueActivation):
                return value
    return None
