"""A model as a list of calls: the one thing that every interpreter reads.

`autoinit/graph/reading.py` makes it of a Keras model.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import keras
import numpy as np
from keras import layers

from autoinit.graph.keras_internals import get_keras_mask, set_keras_mask, takes_training
from autoinit.graph.paths import shortened
from autoinit.graph.placeholders import Opaque, OpaqueActivation
from autoinit.graph.workspace import Workspace

Shape = tuple[int | None, ...]

# Layers that move or repeat entries: integers that enter come out as the same integers.
_MOVING = (
    layers.Flatten, layers.Reshape, layers.Permute, layers.RepeatVector, layers.Identity,
    layers.Cropping1D, layers.Cropping2D, layers.Cropping3D,
)  # fmt: skip

# Operations that multiply their operands as matrices.
PRODUCTS = frozenset({"Matmul", "Einsum", "Dot", "Tensordot"})


def weights_of(layer: Any) -> Sequence[Any]:
    """The variables of a layer; an operation has none, whatever it calls `weights`."""
    is_operation = isinstance(layer, keras.Operation) and not isinstance(layer, keras.Layer)
    return () if is_operation else getattr(layer, "weights", ())


@dataclass(frozen=True, eq=False)
class Parameter:
    """A variable that a layer's own code reads; stands as the `layer` of a call without inputs.

    Attributes:
        owner: the layer.
        attribute: its name there.
        variable: the Keras variable.
        dtype: in which the code sees it.
    """

    owner: Any
    attribute: str
    variable: Any
    dtype: str

    @property
    def name(self) -> str:
        """The attribute's name."""
        return self.attribute

    @property
    def weights(self) -> list[Any]:
        """The variable alone."""
        return [self.variable]

    @property
    def trainable(self) -> bool:
        """Whether owner and variable are."""
        return bool(self.owner.trainable and self.variable.trainable)


@dataclass(frozen=True)
class Value:
    """A tensor that flows between calls.

    Attributes:
        index: its place in `ModelGraph.values`.
        shape: sizes, the batch axis first and usually None; every other axis is a number.
        dtype: as Keras names it.
        constant: whether it depends on no input of the model; there is no batch axis then.
        rows: how many rows of the batch axis each sample has, where code merges others into it.
        parameter: the variable that it is, or None.
    """

    index: int
    shape: Shape
    dtype: str
    constant: bool = False
    rows: int = 1
    parameter: Parameter | None = None

    @property
    def sample(self) -> tuple[int, ...]:
        """Sizes of the axes of one sample (of one of its rows)."""
        return tuple(int(size or 1) for size in self.shape[not self.constant :])

    @property
    def positions(self) -> tuple[int, ...]:
        """Sizes of the axes between the samples and the channels."""
        return self.sample[:-1]

    @property
    def channels(self) -> int:
        """Size of the last axis; 1 for a number."""
        return self.sample[-1] if self.sample else 1

    @property
    def entries(self) -> int:
        """Number of entries of one sample."""
        return self.rows * math.prod(self.sample)

    def sizes(self, batch: int) -> tuple[int, ...]:
        """The shape of the tensor, for a batch of some size."""
        return self.sample if self.constant else (batch * self.rows, *self.sample)


@dataclass(frozen=True)
class TensorRef:
    """Stands in a call's arguments for the tensor of a value."""

    value: int


@dataclass(frozen=True)
class Call:
    """One use of one layer, operation or fused activation.

    Attributes:
        index: its place in `ModelGraph.calls`, which is a topological order.
        path: names from the outermost model inwards, `encoder/block1/conv2`; the second use of a
            shared layer is `dense:2`; a fused activation is `conv2/relu`. Long names are shortened
            in their middle. No two calls share a path.
        layer: the Keras layer or operation.
        part: `whole`; or, where an activation is fused, `linear` and `activation`.
        inputs, outputs: values read (one that is read twice stands there twice) and written.
        arguments: positional and keyword arguments of the recorded call.
        frozen: whether the layer, or a model around it, has `trainable=False`.
        placeholder: what makes it a call that cannot be run, or None.
        retrace: for a call inside a traced layer, gives its operation and arguments for a batch of
            another size than the traced one.
        untraceable: why a layer that has no rule could not be traced, as the end of a sentence.
    """

    index: int
    path: str
    layer: Any
    part: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    arguments: tuple[tuple[Any, ...], dict[str, Any]] = field(repr=False, default=((), {}))
    frozen: bool = False
    placeholder: Opaque | OpaqueActivation | None = None
    retrace: Callable[[int], tuple[Any, Any]] | None = field(default=None, repr=False)
    untraceable: str = ""

    @property
    def layer_name(self) -> str:
        """The name that Keras knows the layer by; a long one is shortened."""
        return shortened(str(self.layer.name))

    @property
    def class_name(self) -> str:
        """Class of the layer or operation; a fused activation counts as `Activation`.

        A placeholder goes by the class of what it stands for, a wrapper of ours around a layer or
        function of Keras 2 by that of the wrapped one.
        """
        if self.part == "activation":
            return "Activation"
        kind = type(self.layer)
        original = getattr(self.layer, "original", None)
        if kind.__module__.startswith("autoinit.") and isinstance(original, str):
            return shortened(original)
        return kind.__name__

    @property
    def is_input(self) -> bool:
        """True for the calls that bring data into the model."""
        return isinstance(self.layer, layers.InputLayer)

    @property
    def is_internal(self) -> bool:
        """True for parameters and for what operations make of them alone: they are no signals."""
        return self.outputs[0].constant and not isinstance(self.layer, keras.Layer)

    @property
    def activation(self) -> Callable[[Any], Any]:
        """The activation that an `activation` part or an `Activation` layer applies."""
        function: Callable[[Any], Any] = innermost(self.layer).activation
        return function

    def run(self, tensors: Sequence[Any], training: bool, batch: int | None = None) -> list[Any]:
        """Compute the call's outputs.

        Args:
            tensors: one for each of `inputs`, in their order.
            training: mode of the model.
            batch: number of samples; inside traced layers, None means as many as were traced.
        """
        if isinstance(self.layer, Parameter):
            return [keras.ops.cast(self.layer.variable, self.layer.dtype)]
        if self.part == "activation":
            (tensor,) = tensors
            result = self.activation(tensor)
            mask = get_keras_mask(tensor)
            if mask is not None:
                set_keras_mask(result, mask)
            return [result]
        by_value = {value.index: tensor for value, tensor in zip(self.inputs, tensors, strict=True)}
        layer, arguments = self.layer, self.arguments
        if self.retrace is not None and batch is not None:
            operation, arguments = self.retrace(batch)
            layer = layer if isinstance(layer, keras.Layer) else operation
        args, kwargs = keras.tree.map_structure(
            lambda leaf: by_value[leaf.value] if isinstance(leaf, TensorRef) else leaf, arguments
        )
        if takes_training(layer):
            # As Keras does: the mode of the model overrides the one recorded with the call.
            kwargs["training"] = training
        else:
            kwargs.pop("training", None)
        with contextlib.ExitStack() as stack:
            if self.part == "linear":
                stack.enter_context(without_activation(layer))
            if self.retrace and any(get_keras_mask(tensor) is not None for tensor in tensors):
                # The layer around this one may have taken the mask off and used it itself.
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            return list(keras.tree.flatten(layer(*args, **kwargs)))


@dataclass(frozen=True)
class StandIn(Call):
    """A placeholder's call that gives Gaussian noise, for what comes after it to be run on.

    Attributes:
        moments: mean and variance of each output.
        generator: of the noise.
    """

    moments: tuple[tuple[float, float], ...] = ()
    generator: Any = field(default=None, repr=False, compare=False)

    def run(self, tensors: Sequence[Any], training: bool, batch: int | None = None) -> list[Any]:
        """Noise for as many samples as arrive."""
        samples = next(
            (
                len(tensor) // value.rows
                for value, tensor in zip(self.inputs, tensors, strict=True)
                if not value.constant
            ),
            batch or 1,
        )
        return [
            keras.ops.convert_to_tensor(
                mean
                + math.sqrt(variance)
                * self.generator.standard_normal(value.sizes(samples), np.float32),
                dtype=value.dtype,
            )
            for value, (mean, variance) in zip(self.outputs, self.moments, strict=True)
        ]


@dataclass(eq=False)
class ModelGraph:
    """A model's calls in topological order.

    Attributes:
        calls, values: every call, and every tensor between them.
        outputs: the model's outputs.
        scopes: for each nested model, the values that it returns, by path.
        assumed: inputs with unknown sizes and the shapes assumed for them, by name.
        traced: the composite layers that became the calls which they make.
        batch: number of samples that they were traced with.
        workspace: of its passes.
    """

    name: str
    calls: tuple[Call, ...]
    values: tuple[Value, ...]
    outputs: tuple[Value, ...]
    scopes: Mapping[str, tuple[Value, ...]]
    assumed: Mapping[str, Shape]
    traced: tuple[Any, ...] = ()
    batch: int = 11
    workspace: Workspace = field(default_factory=Workspace, repr=False)

    @property
    def inputs(self) -> tuple[Call, ...]:
        """The calls that bring data into the model."""
        return tuple(call for call in self.calls if call.is_input)

    def factors(self) -> frozenset[int]:
        """Indices of the values that are operands of matrix products."""
        return frozenset(
            value.index
            for call in self.calls
            if type(call.layer).__name__ in PRODUCTS
            for value in call.inputs
        )

    def producers(self) -> dict[int, Call]:
        """The call that writes each value."""
        return {value.index: call for call in self.calls for value in call.outputs}

    def layers(self) -> list[Any]:
        """Traced layers, then layers and operations in order of first use; each once."""
        every = [*self.traced, *(call.layer for call in self.calls)]
        return list({id(layer): layer for layer in every}.values())

    def behind_placeholders(self) -> frozenset[int]:
        """Indices of the calls that cannot be run: placeholders, and all that depend on one."""
        missing: set[int] = set()
        found: set[int] = set()
        for call in self.calls:
            if call.placeholder is not None or any(value.index in missing for value in call.inputs):
                found.add(call.index)
                missing.update(value.index for value in call.outputs)
        return frozenset(found)

    def with_stand_ins(
        self, moments: Callable[[Call], Sequence[tuple[float, float]]], seed: int = 0
    ) -> ModelGraph:
        """The graph with noise in the place of what cannot be run.

        Args:
            moments: of a placeholder's call: mean and variance of each output.
            seed: of the noise.
        """

        def standing_in(call: Call) -> Call:
            if call.placeholder is None:
                return call
            known = {each.name: getattr(call, each.name) for each in fields(call)}
            generator = np.random.default_rng([seed, call.index])
            known |= {"placeholder": None, "moments": tuple(moments(call)), "generator": generator}
            return StandIn(**known)

        return replace(self, calls=tuple(map(standing_in, self.calls)))

    def vocabulary(self) -> dict[int, int]:
        """How many different integers each integer input may hold.

        Follows an input through calls that only move entries to the layers that look them up.
        Inputs that nothing looks up are left out.
        """
        bounds: dict[int, int] = {}
        origin = {call.outputs[0].index: call.outputs[0].index for call in self.inputs}
        for call in self.calls:
            if call.is_input or not call.inputs or call.inputs[0].index not in origin:
                continue
            source = origin[call.inputs[0].index]
            size = _vocabulary_size(call)
            if size is not None:
                bounds[source] = min(size, bounds.get(source, size))
            elif isinstance(call.layer, _MOVING):
                origin[call.outputs[0].index] = source
        return bounds


def _vocabulary_size(call: Call) -> int | None:
    layer = innermost(call.layer)
    args, kwargs = call.arguments
    if isinstance(layer, layers.Embedding):
        in_reverse = args[1:2] == (True,) or kwargs.get("reverse") is True
        return None if in_reverse else int(layer.input_dim)
    if isinstance(layer, layers.CategoryEncoding):
        return int(layer.num_tokens)
    return None


@contextlib.contextmanager
def without_activation(layer: Any) -> Iterator[None]:
    """Run a layer's linear part: its fused activation is the identity inside the block."""
    # Past Keras's attribute tracking, which refuses a layer as a new attribute after building.
    attributes = vars(innermost(layer))
    activation = attributes["activation"]
    attributes["activation"] = keras.activations.linear
    try:
        yield
    finally:
        attributes["activation"] = activation


def innermost(layer: Any) -> Any:
    """What a layer distributes over time, or the layer itself."""
    while isinstance(layer, layers.TimeDistributed):
        layer = layer.layer
    return layer


def own_activation(layer: Any) -> Any:
    """The function of somebody's own that is a layer's activation; None where it is Keras's."""
    function = getattr(layer, "activation", None)
    module = str(getattr(function, "__module__", ""))
    return function if inspect.isfunction(function) and not module.startswith("keras.") else None


def stock_class(layer: Any, classes: tuple[type, ...]) -> type | None:
    """The first of `classes` that the layer is and whose `call` it has not overridden."""
    for base in type(layer).__mro__:
        if base in classes:
            same = getattr(type(layer), "call", None) is getattr(base, "call", None)
            return base if same else None
    return None
