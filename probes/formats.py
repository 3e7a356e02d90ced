"""What narrower number formats would do to a model's weights, signals and gradients.

Every floating tensor that passes from one call to the next, there and back, is rounded to the
format, and so are the weights before; sums within a call keep the model's own precision, as matrix
units accumulate in single precision. Half precision and bfloat16 overflow to infinity; the 8-bit
floats of Micikevicius et al. 2022 (FP8 Formats for Deep Learning) are clipped to their largest
number, as training with them does. What flows back begins as the gradient of a mean loss, so that
its size is that of training: see `probe_formats`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from autoinit.arrays import as_array
from autoinit.errors import NotMeasuredError, SettingsError
from autoinit.graph.input_moments import PerInput
from autoinit.graph.model_graph import ModelGraph, weights_of
from autoinit.graph.shapes import all_activations, last_uses
from autoinit.initializers.drawing import SavedWeights
from autoinit.randomness import derived
from autoinit.running.inputs import Given, draw_inputs
from autoinit.running.state import unchanged, without_gradients
from probes.batching import (
    OnProgress,
    fitting,
    fixed_batch,
    free_memory,
    require_positive,
    runnable,
)
from probes.devices import Device, find_device, placed_on
from probes.gradients import by_path, variables_by_path
from probes.logits import likelihoods_of, logits_of
from probes.segments import Segment

FORMATS = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
# A share of entries below the normal numbers from which on a gradient needs a scale.
NOTABLE = 0.01
Array = NDArray[np.float32]
Tensors = dict[str, Array]


@dataclass(frozen=True)
class Rounding:
    """What a format does to one tensor, with what it did to all tensors before.

    Attributes:
        overflow: the share of all entries that are beyond the largest number, or are not finite
            any more because an earlier tensor was.
        underflow: the share of the entries other than 0 that become 0, or did before and would
            here.
        subnormal: the share of them that stay, with fewer digits than the format has.
        error: ‖rounded − exact‖/‖exact‖, with what came of the rounding of all tensors before;
            None where it is not finite.
        scale: the exponent of the power of two that brings the largest entry to between a quarter
            and a half of the largest number; None for a tensor of zeros.
        underflow_if_scaled: `underflow` with that scale.
    """

    overflow: float
    underflow: float
    subnormal: float
    error: float | None
    scale: int | None
    underflow_if_scaled: float


@dataclass(frozen=True)
class FormatEffects:
    """What one format does to a model.

    Attributes:
        format: one of `FORMATS`.
        weights: by the paths of the variables.
        signals: by the paths of the calls, in their order.
        gradients: of the calls' outputs, in the order in which they flow back.
        weight_gradients: by the paths of the trainable variables.
        loss_scale: the exponent of the power of two by which to multiply the loss, so that the
            largest gradient has a factor of 2 to 4 left; 0 where none overflows, or has 1 % of its
            entries below the format's normal numbers.
        scaled_gradients, scaled_weight_gradients: the same with the loss multiplied by it.
        samples: how many the loss is a mean over.
        device: where.
    """

    format: str
    weights: Mapping[str, Rounding]
    signals: Mapping[str, Rounding]
    gradients: Mapping[str, Rounding]
    weight_gradients: Mapping[str, Rounding]
    loss_scale: int
    scaled_gradients: Mapping[str, Rounding]
    scaled_weight_gradients: Mapping[str, Rounding]
    samples: int
    device: Device


def probe_formats(
    model: Any,
    formats: Sequence[str] = FORMATS,
    num_samples: int = 32,
    seed: int = 0,
    input_mean: PerInput = 0.0,
    input_variance: PerInput = 1.0,
    training: bool = True,
    device: str = "auto",
    unknown_size: int = 32,
    progress: OnProgress | None = None,
    input_data: Given | None = None,
) -> dict[str, FormatEffects]:
    """Round weights, signals and gradients to narrower formats, and count what is lost.

    The loss is a mean over samples, positions and, but for classes, channels: cross entropy where
    an output is a softmax or sigmoid, with targets drawn from what the model says; half the square
    error elsewhere, with errors of variance 1. The model is unchanged afterwards.

    Args:
        model: a Keras model with a graph, or the `ModelGraph` of one.
        formats: of `FORMATS`.
        num_samples: how many samples; fewer where their activations do not fit into memory. Twice
            as many have half the gradient each.
        seed: of the inputs, of dropout and of the targets.
        input_mean, input_variance, input_data, training, device, unknown_size: as for
            `probe_model`.
        progress: told the share done, from 0 to 1.

    Returns:
        By format, its effects. Statistics that batch normalisation keeps, and what it computes in
        itself, are not rounded, as Keras does not either.

    Raises:
        ValueError: for an unknown format, and a model with calls that cannot be run or without
            outputs of a floating type.

    Example:
        >>> import keras, numpy
        >>> from probes import probe_formats
        >>> x = keras.Input((2,), name="x")
        >>> model = keras.Model(x, keras.layers.Rescaling(0.5, name="half")(x))
        >>> data = {"x": numpy.array([[1.0, 1e-7], [3.0, 1e5]])}
        >>> found = probe_formats(model, ["float16"], 2, input_data=data)["float16"]
        >>> found.signals["x"].overflow, found.signals["half"].underflow  # of 10⁵; 5·10⁻⁸ stays
        (0.25, 0.0)
    """
    require_positive(num_samples=num_samples)
    if unknown := [each for each in formats if each not in FORMATS]:
        raise SettingsError(f"formats must be of {', '.join(FORMATS)}. Received: {unknown[0]!r}")
    graph = runnable(model, unknown_size, training, "What formats do is measured on")
    found = find_device(device)
    needed = partial(all_activations, graph)
    samples = fixed_batch(graph) or fitting(
        lambda number: 5 * needed(number), num_samples, free_memory(found) // 2
    )
    inputs = draw_inputs(graph, samples, seed, input_mean, input_variance, input_data)
    tell = progress or (lambda share: None)
    with placed_on(found):
        runs = _Runs(graph, inputs, samples, training, seed)
        exact = runs.there_and_back()
        effects = {}
        for number, name in enumerate(formats, 1):
            tell(number / (len(formats) + 1))
            effects[name] = _effects(runs, exact, _Format(name), samples, found)
    tell(1.0)
    return effects


class _Format:
    """A format: its name, its numbers' bounds, and rounding to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        limits: Any = ml_dtypes.finfo(getattr(ml_dtypes, name, name))
        self.largest, self._smallest = float(limits.max), float(limits.smallest_subnormal)
        self._normal, self._bits = float(limits.smallest_normal), limits.bits
        # What is half a step beyond the largest number is rounded to it.
        self._edge = self.largest + 2.0 ** (math.frexp(self.largest)[1] - limits.nmant - 2)

    def rounded(self, tensor: Any) -> Any:
        """A tensor as the format has it, in its own type again."""
        if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)):
            return tensor
        if self._bits == 8:
            tensor = keras.ops.clip(tensor, -self.largest, self.largest)
        return keras.ops.cast(keras.ops.cast(tensor, self.name), tensor.dtype)

    def rounding(self, values: Array, exact: Array) -> Rounding:
        """What becomes of an array that would be `exact` if nothing had been rounded before."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            lost = _array(self.rounded(keras.ops.convert_to_tensor(values))) - exact
            error = float(np.divide(_norm(lost), _norm(exact)))
        largest = float(np.abs(exact).max(initial=0.0))
        scale, scaled = None, 0.0
        if 0.0 < largest < math.inf:
            scale = math.floor(math.log2(self.largest / largest)) - 1
            scaled = self._shares(exact, exact, scale)[1]
        told = error if math.isfinite(error) else None
        return Rounding(*self._shares(values, exact), told, scale, scaled)

    def _shares(self, values: Array, exact: Array, scale: int = 0) -> tuple[float, float, float]:
        """Of entries that are beyond the largest number, become 0, and are subnormal."""
        sizes, meant, half = np.abs(values), np.abs(exact), self._smallest / 2
        bounds = np.array([half, self._normal - half, self._edge]) * 2.0**-scale
        with np.errstate(over="ignore"):  # of a bound beyond single precision
            least, normal, edge = bounds.astype(np.float32)
        gone, others = sizes <= least, max(int(np.count_nonzero(meant)), 1)
        # Where a ReLU closed that was open without rounding, nothing became 0 for being small.
        lost = gone & (meant > 0.0) & ((sizes > 0.0) | (meant <= least))
        return (
            (values.size - int((sizes <= edge).sum())) / max(values.size, 1),
            int(lost.sum()) / others,
            int(((sizes <= normal) & ~gone).sum()) / others,
        )


@dataclass
class _Run:
    """Tensors on their way through a model, before each is rounded."""

    weights: Tensors
    signals: Tensors
    gradients: Tensors
    of_variables: Tensors


class _Runs:
    """Takes inputs through a model, and the gradient of a mean loss back."""

    def __init__(
        self, graph: ModelGraph, inputs: Mapping[int, Any], samples: int, training: bool, seed: int
    ) -> None:
        self._graph, self._inputs, self._samples = graph, inputs, samples
        self._training, self._seed = training, seed
        self._outputs = [v for v in graph.outputs if keras.backend.is_float_dtype(v.dtype)]
        self._targets = logits_of(graph, self._outputs)
        if not self._targets:
            raise NotMeasuredError(
                "There is no gradient: the model has no outputs of a floating type."
            )
        self._cotangents: dict[int, Array] = {}
        self._variables = variables_by_path(graph)
        of_layers = (v for layer in graph.layers() for v in weights_of(layer))
        # Moving statistics stay in single precision, as Keras keeps them; seeds are whole numbers.
        self._weights = {
            path: v
            for path, v in by_path([*self._variables.values(), *of_layers]).items()
            if keras.backend.is_float_dtype(str(v.dtype)) and not v.name.startswith("moving_")
        }

    def there_and_back(self, format_: _Format | None = None, scale: int = 0) -> _Run:
        """All tensors, each rounded once it was taken; the loss is multiplied by 2^scale."""
        rounded: Callable[[Any], Any] = (
            (lambda tensor: tensor) if format_ is None else format_.rounded
        )
        run = _Run({path: _array(v).copy() for path, v in self._weights.items()}, {}, {}, {})
        with self._rounded_weights(run.weights, format_):
            self._forward(run, rounded)
            self._cotangents = self._cotangents or self._drawn(run)
            self._backward(run, rounded, scale)
        return run

    @contextmanager
    def _rounded_weights(self, weights: Tensors, format_: _Format | None) -> Iterator[None]:
        saved = SavedWeights(self._weights.values())
        try:
            if format_ is not None:
                for path, values in weights.items():
                    self._weights[path].assign(format_.rounded(keras.ops.convert_to_tensor(values)))
            yield
        finally:
            saved.restore()

    def _segment(self, run: _Run, rounded: Callable[[Any], Any]) -> Segment:
        def measure(call: Any, gradient: Any) -> Any:
            run.gradients[call.path] = _array(gradient).copy()
            return np.zeros(())

        graph = self._graph
        return Segment(
            graph.calls, last_uses(graph), self._training, measure, lambda: None, False, rounded
        )

    def _fed(self) -> dict[int, Any]:
        values = self._graph.values
        return {
            index: keras.ops.convert_to_tensor(array, dtype=values[index].dtype)
            for index, array in self._inputs.items()
        }

    def _forward(self, run: _Run, rounded: Callable[[Any], Any]) -> None:
        calls = self._graph.calls

        def tap(index: int, tensor: Any) -> Any:
            if keras.backend.is_float_dtype(calls[index].outputs[0].dtype):
                run.signals[calls[index].path] = _array(tensor).copy()
            return rounded(tensor)

        with unchanged(self._graph, self._seed), without_gradients():
            self._segment(run, rounded).forward(self._fed(), self._samples, tap)

    def _drawn(self, run: _Run) -> dict[int, Array]:
        """The gradient of the loss by what it is computed from."""
        generator = np.random.default_rng(derived(self._seed, 3))
        producers, found = self._graph.producers(), {}
        kinds = likelihoods_of(self._graph, self._outputs)
        for value in self._targets:
            call = producers[value.index]
            values = run.signals.get(call.path)
            if values is None or value is not call.outputs[0]:
                values = np.zeros(value.sizes(self._samples), np.float32)
            found[value.index] = _of_a_loss(values, kinds[value.index], generator)
        return found

    def _backward(self, run: _Run, rounded: Callable[[Any], Any], scale: int) -> None:
        segment, fed = self._segment(run, rounded), self._fed()
        wanted = tuple(self._cotangents)
        values = self._graph.values
        seeds = [
            keras.ops.convert_to_tensor(np.ldexp(self._cotangents[i], scale), values[i].dtype)
            for i in wanted
        ]
        with unchanged(self._graph, self._seed):
            products = segment.products(
                [fed[index] for index in segment.given], seeds, (self._samples, wanted)
            )
        names = {id(variable): path for path, variable in self._variables.items()}
        for variable, gradient in zip(segment.variables, products.of_variables, strict=True):
            if gradient is not None:
                run.of_variables[names[id(variable)]] = _array(gradient).copy()


def _norm(values: Array) -> float:
    return float(np.linalg.norm(values.ravel().astype(np.float64)))


def _array(tensor: Any) -> Array:
    return as_array(tensor).astype(np.float32, copy=False)


def _of_a_loss(values: Array, likelihood: str, generator: np.random.Generator) -> Array:
    """Of classes and of yes or no p − y with y drawn by p, of numbers noise; by how many."""
    count, wide = values.size, values.astype(np.float64)
    if likelihood == "categorical":
        with np.errstate(invalid="ignore"):  # of logits that are infinite
            odds = np.exp(wide - wide.max(-1, keepdims=True))
        shares = odds / odds.sum(-1, keepdims=True)
        drawn = (shares.cumsum(-1) > generator.random((*shares.shape[:-1], 1))).argmax(-1)
        wide, count = shares - np.eye(shares.shape[-1])[drawn], count // shares.shape[-1]
    elif likelihood == "bernoulli":
        shares = 0.5 + 0.5 * np.tanh(wide / 2)
        wide = shares - (generator.random(shares.shape) < shares)
    else:
        wide = generator.standard_normal(wide.shape)
    gradient: Array = (wide / max(count, 1)).astype(np.float32)
    return gradient


def _effects(
    runs: _Runs, exact: _Run, format_: _Format, samples: int, device: Device
) -> FormatEffects:
    run = runs.there_and_back(format_)
    weights = _roundings(format_, exact.weights, exact.weights)
    signals = _roundings(format_, run.signals, exact.signals)
    back = _both_ways(format_, run, exact)
    scale, scaled = 0, back
    every = [each for found in back for each in found.values()]
    if any(each.overflow or each.underflow + each.subnormal > NOTABLE for each in every):
        scale = min((each.scale for each in every if each.scale is not None), default=0)
        if scale:
            scaled = _both_ways(format_, runs.there_and_back(format_, scale), exact, scale)
    return FormatEffects(format_.name, weights, signals, *back, scale, *scaled, samples, device)


def _both_ways(
    format_: _Format, run: _Run, exact: _Run, scale: int = 0
) -> tuple[dict[str, Rounding], dict[str, Rounding]]:
    """Of calls' and of variables' gradients."""
    return (
        _roundings(format_, run.gradients, exact.gradients, scale),
        _roundings(format_, run.of_variables, exact.of_variables, scale),
    )


def _roundings(
    format_: _Format, values: Tensors, exact: Tensors, scale: int = 0
) -> dict[str, Rounding]:
    return {
        path: format_.rounding(array, np.ldexp(exact[path], scale))
        for path, array in values.items()
        if path in exact
    }
