"""Products of a model's input–output Jacobian with vectors, on whichever backend Keras runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.arrays import as_array
from autoinit.errors import NotMeasuredError

# Exported by no public module:
from autoinit.graph.keras_internals import get_keras_mask, set_keras_mask
from autoinit.graph.model_graph import Call, ModelGraph, Value, weights_of
from autoinit.graph.shapes import all_activations
from autoinit.running.state import unchanged
from probes.batching import OnProgress
from probes.logits import logits_of

Array = NDArray[np.float64]

_MEMORY = 1 << 30  # bytes for the activations of one pass and their derivatives


def finite(values: Array) -> Array:
    """The same values.

    Raises:
        ValueError: where one of them is not finite.
    """
    if not np.isfinite(values).all():
        raise NotMeasuredError(
            "The Jacobian is not finite: the signal or its gradient overflows on the way. "
            "probe_model shows where the signal does."
        )
    return values


class Ends(NamedTuple):
    """Values between which the derivative is taken, and the calls before and between them."""

    sources: tuple[Value, ...]
    targets: tuple[Value, ...]
    source_paths: tuple[str, ...]  # of the calls that write the sources
    target_paths: tuple[str, ...]  # of those that write the targets
    before: tuple[Call, ...]
    between: tuple[Call, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the Jacobian."""
        return sum(v.entries for v in self.targets), sum(v.entries for v in self.sources)


def find_ends(graph: ModelGraph, logits: bool = False) -> Ends:
    """The floating inputs, or what weights first make of indices; and the floating outputs.

    Args:
        graph: of the model.
        logits: whether what a softmax or sigmoid reads takes the place of an output that it gives.

    Raises:
        ValueError: where a call cannot be run, or there is nothing to take derivatives of.
    """
    for call in graph.calls:
        if call.placeholder is not None:
            raise NotMeasuredError(
                "The Jacobian needs every call of the model. This one cannot be run: "
                f"{call.path!r} ({call.class_name})."
            )

    def is_learned(call: Call) -> bool:
        return bool(weights_of(call.layer)) or any(v.parameter for v in call.inputs)

    # Inputs that are looked up, and what is made of them before that.
    indices = set(graph.vocabulary())
    for call in graph.calls:
        if (
            call.inputs
            and not is_learned(call)
            and indices.issuperset(v.index for v in call.inputs)
        ):
            indices.update(value.index for value in call.outputs)

    def is_smooth(value: Value) -> bool:
        is_float = bool(keras.backend.is_float_dtype(value.dtype))
        return is_float and not value.constant and value.index not in indices

    producers = graph.producers()
    targets = tuple(value for value in graph.outputs if is_smooth(value))
    if logits:
        targets = logits_of(graph, targets)
    # Where no input is, the first values that are: what weights make of integers, such as an
    # embedding, rather than what a mask does.
    first = [call for call in graph.calls if not any(is_smooth(value) for value in call.inputs)]
    learned = [call for call in first if is_learned(call)]
    sources: dict[int, tuple[Value, str]] = {}
    for calls in (graph.inputs, learned, first):
        sources = sources or {
            v.index: (v, c.path) for c in calls for v in c.outputs if is_smooth(v)
        }
    reached = set(sources)
    before: list[Call] = []
    between: list[Call] = []
    for call in graph.calls:
        is_after = any(value.index in reached for value in call.inputs)
        (between if is_after else before).append(call)
        reached.update(value.index for value in call.outputs if is_after)
    if not any(value.index in reached for value in targets):
        raise NotMeasuredError(
            "There is no Jacobian: no output of a floating type depends on an input, or on what a "
            "layer makes of one, of a floating type."
        )
    return Ends(
        tuple(value for value, _ in sources.values()),
        targets,
        tuple(path for _, path in sources.values()),
        tuple(producers[value.index].path for value in targets),
        tuple(before),
        tuple(between),
    )


class Jacobian:
    """Products with the Jacobian J, (n, m), at one sample.

    The sample is repeated along the batch axis, so that one pass computes as many products. All
    passes go back over one forward pass, and so share its dropout masks.
    """

    def __init__(
        self,
        graph: ModelGraph,
        ends: Ends,
        sample: Mapping[int, NDArray[Any]],
        training: bool,
        seed: int,
        wanted: int,
    ) -> None:
        self.shape = ends.shape
        self._ends, self._sample, self._training = ends, sample, training
        self._unchanged = partial(unchanged, graph, seed)
        sizes = [call.outputs[0].shape[0] for call in graph.inputs]
        fixed = next(filter(None, sizes), None)
        # By what the graph says, not by what memory is free, on which figures would then depend.
        fitting = max(_MEMORY // (3 * max(all_activations(graph, 1), 1)), 1)
        self.replicas = fixed or (1 if training else min(wanted, fitting))
        self._forward()
        if self.replicas > 1 and (training or not self._agree()):
            if fixed:
                raise NotMeasuredError(
                    f"The model wants {self.replicas} samples together, which do not go through "
                    "apart from each other: it draws noise, or training=True."
                )
            self.replicas = 1  # some layer draws noise in inference mode, too
            self._forward()

    def _forward(self) -> None:
        ends, batch, training = self._ends, self.replicas, self._training
        known: dict[int, Any] = {}

        def compute(calls: Sequence[Call], alive: dict[int, Any]) -> dict[int, Any]:
            for call in calls:
                if call.is_input:
                    (value,) = call.outputs
                    array = np.repeat(self._sample[value.index], batch, axis=0)
                    outputs = [keras.ops.convert_to_tensor(array, dtype=value.dtype)]
                else:
                    tensors = [alive[value.index] for value in call.inputs]
                    outputs = call.run(tensors, training, batch)
                alive.update((v.index, t) for v, t in zip(call.outputs, outputs, strict=True))
            return alive

        def function(tensors: Sequence[Any]) -> list[Any]:
            alive = dict(known)
            for value, tensor in zip(ends.sources, tensors, strict=True):
                mask = get_keras_mask(known[value.index])
                if mask is not None:
                    set_keras_mask(tensor, mask)  # an embedding's
                alive[value.index] = tensor
            alive = compute(ends.between, alive)
            return [alive[value.index] for value in ends.targets]

        with self._unchanged():  # what a pass leaves in a layer's state does not reach the next
            compute(ends.before, known)
            self._sources = [known[value.index] for value in ends.sources]
            self._targets, self._pull, self._push = linearized()(function, self._sources)

    def _agree(self) -> bool:
        values = finite(_joined(self._targets, self.replicas))
        return bool(np.allclose(values, values[0], rtol=1e-2, atol=1e-3 * np.abs(values).max()))

    def rows(self, vectors: Array) -> Array:
        """Jᵀu for each row u: (vectors, n) to (vectors, m)."""
        return self._products(self._pull, vectors, self._targets)

    def columns(self, vectors: Array) -> Array:
        """Jv for each row v: (vectors, m) to (vectors, n)."""
        return self._products(self._push, vectors, self._sources)

    @cached_property
    def has_columns(self) -> bool:
        """Whether Jv goes with Jᵀu, by random pairs: uᵀ(Jv) = (Jᵀu)ᵀv.

        Some operations have no second derivatives; TensorFlow takes some of these for zero.
        """
        generator = np.random.default_rng(0)
        u, v = (generator.standard_normal((3, size)) for size in self.shape)
        try:
            image, pulled = finite(self.columns(v)), finite(self.rows(u))
        except LookupError:  # TensorFlow's, of an operation's gradient
            return False
        difference = np.abs(np.vecdot(u, image) - np.vecdot(pulled, v))
        return bool((difference <= 0.05 * np.linalg.norm(pulled, axis=1)).all())

    def matrix(self, progress: OnProgress) -> Array:
        """J, or its transpose: by the products of which there are fewer, if there are both."""
        outputs, inputs = self.shape
        by_rows = outputs <= inputs or not self.has_columns
        product, side = (self.rows, outputs) if by_rows else (self.columns, inputs)
        parts = []
        for start in range(0, side, self.replicas):
            parts.append(product(np.eye(min(self.replicas, side - start), side, start)))
            progress(min((start + self.replicas) / side, 1.0))
        return np.concatenate(parts)

    def _products(self, product: Any, vectors: Array, like: Sequence[Any]) -> Array:
        parts = []
        for start in range(0, len(vectors), self.replicas):
            taken = vectors[start : start + self.replicas]
            batch = np.zeros((self.replicas, vectors.shape[1]), np.float32)
            batch[: len(taken)] = taken
            results = product(_split(batch, like))
            parts.append(_joined(results, self.replicas)[: len(taken)])
        return np.concatenate(parts)


def _joined(tensors: Sequence[Any], batch: int) -> Array:
    return np.concatenate(
        [as_array(tensor).reshape(batch, -1).astype(np.float64) for tensor in tensors], axis=1
    )


def _split(vectors: NDArray[np.float32], like: Sequence[Any]) -> list[Any]:
    """The inverse of `_joined`: tensors of the shapes and types of others."""
    ends = np.cumsum([np.prod(tensor.shape) // len(vectors) for tensor in like])
    return [
        keras.ops.convert_to_tensor(
            part.reshape(tuple(tensor.shape)), keras.backend.standardize_dtype(tensor.dtype)
        )
        for part, tensor in zip(np.split(vectors, ends[:-1], axis=1), like, strict=True)
    ]


def linearized() -> Callable[..., tuple[list[Any], Any, Any]]:
    """What turns a function of tensors and a point into its value, u ↦ Jᵀu and v ↦ Jv there."""
    backend = keras.backend.backend()
    ways = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}
    if backend not in ways:
        raise NotMeasuredError(
            f"Keras's backend {backend!r} has no derivatives: use {', '.join(ways)}."
        )
    return ways[backend]


def _by_tensorflow(function: Any, sources: list[Any]) -> tuple[list[Any], Any, Any]:
    """Jv is the derivative of u ↦ Jᵀu, which is linear, pulled back along v.

    A ForwardAccumulator needs the same second derivatives, and a forward pass for each product, in
    which dropout would draw other masks.
    """
    import tensorflow as tf

    zero = tf.UnconnectedGradients.ZERO
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(sources)
        targets = function(sources)

    def pull(vectors: list[Any]) -> list[Any]:
        rows = tape.gradient(targets, sources, vectors, unconnected_gradients=zero)
        return [tf.convert_to_tensor(row) for row in rows]  # a lookup's derivative is sparse

    @cache
    def transposed() -> tuple[Any, list[Any], list[Any]]:
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
            vectors = [tf.zeros_like(target) for target in targets]
            outer.watch(vectors)
            rows = pull(vectors)
        return outer, vectors, rows

    def push(vectors: list[Any]) -> list[Any]:
        outer, at, rows = transposed()
        columns = outer.gradient(rows, at, vectors, unconnected_gradients=zero)
        return [tf.convert_to_tensor(column) for column in columns]

    return targets, pull, push


def _by_jax(function: Any, sources: list[Any]) -> tuple[list[Any], Any, Any]:
    import jax

    targets, push = jax.linearize(function, sources)
    pull = jax.linear_transpose(push, sources)
    return targets, lambda vectors: pull(vectors)[0], push


def _by_torch(function: Any, sources: list[Any]) -> tuple[list[Any], Any, Any]:
    """As by TensorFlow."""
    import torch

    def gradient(of: Any, by: Any, along: Any, **options: Any) -> list[Any]:
        return list(
            torch.autograd.grad(of, by, along, allow_unused=True, materialize_grads=True, **options)
        )

    at = [source.detach().requires_grad_() for source in sources]
    targets = function(at)
    vectors = [torch.zeros_like(target, requires_grad=True) for target in targets]
    rows = gradient(targets, at, vectors, create_graph=True)
    return (
        [target.detach() for target in targets],
        lambda along: gradient(targets, at, along, retain_graph=True),
        lambda along: gradient(rows, vectors, along, retain_graph=True),
    )
