"""Values that are computed, not described: of constants, and of samples of masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from autoinit.arrays import as_array
from autoinit.graph.model_graph import Call, ModelGraph, Parameter, Value, weights_of
from autoinit.rules.kernels import Kernel
from autoinit.rules.registry import Context, RuleResult, Support
from autoinit.signals.signal import Array, Signal

# Entries of the samples of a mask that are computed.
_MOST_ENTRIES = 4_000_000
# Entries of samples that tell of moments.
_MANY = 1024
# Operations that take nothing of a tensor but its shape.
_LIKE = frozenset({"EmptyLike", "FullLike", "OnesLike", "ZerosLike"})


def _is_mask(values: Array) -> bool:
    return bool(np.isin(values, (0, 1)).all())


class Values:
    """What is known by number, on one walk through a graph's calls.

    Args:
        graph: of the model.
        context: of the rules.
        kind: of the signals.
    """

    def __init__(self, graph: ModelGraph, context: Context, kind: type[Signal]) -> None:
        self.graph, self.context, self.kind = graph, context, kind
        self.factors = graph.factors()
        self.known: dict[int, Any] = self._sampled_integers()
        self.same: set[int] = set()

    def of(self, values: Sequence[Value]) -> dict[int, Any]:
        """Those that are known, by value index."""
        return {v.index: self.known[v.index] for v in values if v.index in self.known}

    def constants(self, call: Call) -> tuple[Signal, ...] | None:
        """Signals of a call that computes with known values; None where one is not known."""
        if not all(value.index in self.known for value in call.inputs):
            return None
        self._compute(call)
        return tuple(self._signal(self.known[value.index]) for value in call.outputs)

    def parameter(self, call: Call, parameter: Parameter) -> RuleResult:
        """A table that is added, such as one of positions, is drawn; other values stay.

        A kernel is drawn where it is multiplied.
        """
        values = np.asarray(self.context.load(parameter.variable), np.float64)
        (value,) = call.outputs
        result = RuleResult((), Support.EXACT)
        deviation = float(values.std()) if values.size else 0.0
        wide = sum(size > 1 for size in values.shape) > 1
        if value.index not in self.factors and wide and deviation > 0 and parameter.trainable:
            kernel = Kernel(parameter, "variable", parameter.attribute, summed_axes=())
            one = self.kind.gaussian(1.0, 0.0)
            moments, _, result = self.context.kernel_moments(call, one, kernel, None)
            result = replace(result, support=Support.EXACT)
            values = values * math.sqrt(moments.power / float((values**2).mean()))
        self.known[value.index] = values
        return replace(result, signals=(self._signal(values),))

    def _signal(self, values: Array) -> Signal:
        values = np.asarray(values, np.float64)
        return self.kind.of_values(values) if values.size else self.kind.gaussian(0.0, 0.0)

    def _sampled_integers(self) -> dict[int, Any]:
        """Samples of inputs that are integers: a mask is what is computed from them."""
        generator = np.random.default_rng(self.context.seed)
        vocabulary = self.graph.vocabulary()
        integers = [
            value
            for call in self.graph.inputs
            for value in call.outputs
            if value.dtype.startswith(("int", "uint", "bool"))
        ]
        return {
            value.index: generator.integers(
                0, vocabulary.get(value.index, 2), (self.graph.batch, *value.sample)
            ).astype(value.dtype)
            for value in integers
        }

    def sample(self, call: Call) -> RuleResult | None:
        """What a call makes of samples, where they are known and it has no weights.

        Returns:
            Signals, where it is the same for every sample, as positions are that are counted by
            ones in the shape of an input, or a number that many samples of other integers than
            those of a mask tell of; else None.
        """
        like = type(call.layer).__name__ in _LIKE and len(call.inputs) == 1
        read = [value for value in call.inputs if not value.constant]
        same = like or all(value.index in self.same for value in read)
        known = all(value.index in self.known for value in call.inputs)
        size = self.graph.batch * max(value.entries for value in call.outputs)
        has_weights = bool(weights_of(call.layer))
        if not known or has_weights or call.placeholder or size > _MOST_ENTRIES:
            return None
        try:
            self._compute(call)
        except Exception:  # any layer's code; there are no samples then
            return None
        found = [self.known[value.index] for value in call.outputs]
        # Noise may have been added to it.
        if same and not any((each != each[:1]).any() for each in found):
            self.same.update(value.index for value in call.outputs)
            return RuleResult(tuple(self._signal(each[0]) for each in found), Support.EXACT)
        return self._sampled(call, found)

    def _sampled(self, call: Call, found: Sequence[Array]) -> RuleResult | None:
        read = [self.known[value.index] for value in call.inputs if value.index in self.known]
        floats = all(value.dtype.startswith(("float", "bfloat")) for value in call.outputs)
        if not floats or min(map(np.size, found)) < _MANY or all(map(_is_mask, read)):
            return None
        signals = []
        for value, each in zip(call.outputs, found, strict=True):
            if (
                value.rows != 1
                or each.shape != value.sizes(len(each))
                or not np.isfinite(each).all()
            ):
                return None
            each = np.asarray(each, np.float64)
            signals.append(self.kind.of_samples(float(each.mean()), float(each.var()), each))
        squares = np.asarray(found[0], np.float64).reshape(len(found[0]), -1)
        squares = ((squares - squares.mean()) ** 2).mean(-1)
        error = float(squares.std()) / math.sqrt(len(squares))
        return RuleResult(tuple(signals), Support.SAMPLED, standard_error=error)

    def _compute(self, call: Call) -> None:
        given = [keras.ops.convert_to_tensor(self.known[value.index]) for value in call.inputs]
        results = call.run(given, self.context.training)
        self.known |= {
            value.index: as_array(result)
            for value, result in zip(call.outputs, results, strict=True)
        }
