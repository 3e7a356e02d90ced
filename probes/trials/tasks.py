"""What a short training learns: arrays of one's own, or digits in the shape of any network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.errors import NotMeasuredError, SettingsError
from autoinit.graph.input_moments import integer_inputs
from autoinit.graph.model_graph import ModelGraph, Value
from probes.logits import makes_probabilities

Array = NDArray[Any]
InputMoments = Mapping[str, tuple[float, float]]

# Numbers that digits can be told by.
_FEWEST = 8
_CLASSES = 10
_MOST_CLASSES = 50
_HELD_OUT = 0.2
_MOST_HELD_OUT = 512
# A probability that is never quite 0 has a logarithm.
_SMALLEST = 1e-7
# Quantiles that are tried as constant outputs, and numbers of which they are taken.
_LEVELS, _MOST_SORTED = np.arange(1, 10) / 10, 2**22


@dataclass(frozen=True, eq=False)
class LearningTask:
    """Data to learn from, and what counts as learnt.

    Attributes:
        inputs: an array for each input of the model, the samples' axis first.
        targets: an array for each output, of as many samples.
        losses: one of Keras's for each output.
        counts: whether the share of right classes is what counts; else it is the share of the best
            constant's loss that is taken away.
        chance: loss of the best constant outputs, all outputs together.
        least: the loss of outputs that are the targets where that is below 0, as a cosine
            similarity's of -1; else 0.
        largest_class: share of the most frequent class.
        held_out: samples that are not trained on, at the arrays' ends.
        about: where the data are from, as a sentence.
    """

    inputs: tuple[Array, ...]
    targets: tuple[Array, ...]
    losses: tuple[Any, ...]
    counts: bool
    chance: float
    least: float
    largest_class: float
    held_out: int
    about: str

    @property
    def samples(self) -> int:
        """How many there are, with those that are held out."""
        return len(self.inputs[0])

    def share_right(self, given: Array, wanted: Array) -> float:
        """The share of samples of which an output tells the right class.

        Args:
            given: outputs, (samples, units).
            wanted: targets of these samples.
        """
        if given.shape[-1] == 1:
            limit = 0.0 if _is_of_logits(self.losses[0]) else 0.5
            return float(np.mean((given > limit) == (wanted.reshape(given.shape) > 0.5)))
        classes = wanted if wanted.ndim == 1 else wanted.argmax(-1)
        return float(np.mean(given.argmax(-1) == classes))


def task_of(
    graph: ModelGraph,
    inputs: Sequence[Array],
    targets: Sequence[Array],
    about: str,
    losses: Sequence[Any] | None = None,
    seed: int = 0,
) -> LearningTask:
    """A task of arrays; a fifth of the samples, 512 at most, is held out.

    Args:
        graph: of the model.
        inputs: an array for each input, the samples' axis first.
        targets: an array for each output.
        about: where they are from, as a sentence.
        losses: for each output; by default what its last activation and its targets ask for.
        seed: of the order of the samples.

    Raises:
        ValueError: for targets that do not fit the outputs, and for fewer than ten samples.
    """
    counts = {len(array) for array in (*inputs, *targets)}
    if len(counts) != 1 or min(counts) < _CLASSES:
        raise SettingsError(
            f"Inputs and targets need as many samples each, at least {_CLASSES}. Received: "
            f"{', '.join(map(str, (len(array) for array in (*inputs, *targets))))}"
        )
    probable = [makes_probabilities(graph, value) for value in graph.outputs]
    chosen = tuple(
        loss or _usual_loss(value, target, likely)
        for loss, value, target, likely in zip(
            losses or [None] * len(targets), graph.outputs, targets, probable, strict=True
        )
    )
    fitted = tuple(
        _fitted(target, value, loss)
        for target, value, loss in zip(targets, graph.outputs, chosen, strict=True)
    )
    order = np.random.default_rng(seed).permutation(counts.pop())
    inputs = tuple(array[order] for array in inputs)
    fitted = tuple(target[order] for target in fitted)
    held_out = min(_MOST_HELD_OUT, math.ceil(len(order) * _HELD_OUT))
    chance = sum(
        _chance(target[-held_out:], value, loss)
        for target, value, loss in zip(fitted, graph.outputs, chosen, strict=True)
    )
    least = sum(
        _least(target[-held_out:], loss) for target, loss in zip(fitted, chosen, strict=True)
    )
    shares = _shares(fitted[0][-held_out:], graph.outputs[0], chosen[0])
    return LearningTask(
        inputs,
        fitted,
        chosen,
        len(fitted) == 1 and shares is not None,
        float(chance),
        float(least),
        0.0 if shares is None else float(shares.max()),
        held_out,
        about,
    )


def digits_task(
    graph: ModelGraph, moments: InputMoments, losses: Sequence[Any] | None = None, seed: int = 0
) -> LearningTask:
    """The 1,797 digits that come with scikit-learn (8 × 8 pixels), brought into a network's shapes.

    Images are scaled to an input's size. Other inputs of numbers get random projections of the
    pixels, those of fewer than eight numbers points of which the class is the distance from the
    middle; whole numbers are pixels, of which there are 17. What an output of classes tells is the
    digit, or groups of digits where it has fewer units; one of numbers for each position gives an
    input back, and any other tells random projections of the pixels.

    Args:
        graph: of the model.
        moments: mean and variance of each input of numbers, by its name; 0 and 1 by default.
        losses: for each output; by default what its last activation asks for.
        seed: of projections and of the order.

    Raises:
        ValueError: for an input of text.
    """
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    standard = (pixels - pixels.mean()) / pixels.std()
    generator = np.random.default_rng(seed)
    vocabulary = integer_inputs(graph)
    inputs, classes = [], digits
    for call in graph.inputs:
        (value,) = call.outputs
        shape = value.sample
        if value.dtype == "string":
            raise NotMeasuredError(
                f"Input {call.path!r} takes text, which no digits can stand for: give data."
            )
        if value.index in vocabulary:
            words = pixels[:, np.arange(math.prod(shape)) % 64] % vocabulary[value.index]
            inputs.append(words.reshape(-1, *shape).astype(value.dtype))
            continue
        found = _numbers(standard, shape, generator)
        if math.prod(shape) < _FEWEST and len(graph.inputs) == 1:
            ranks = np.argsort(np.argsort((found.reshape(len(found), -1) ** 2).sum(1)))
            classes = ranks * _CLASSES // len(found)
        mean, variance = moments.get(call.path, (0.0, 1.0))
        inputs.append((found * math.sqrt(variance) + mean).astype("float32"))
    targets = [
        _digit_target(
            value,
            classes,
            standard,
            inputs,
            makes_probabilities(graph, value),
            (losses or [None] * len(graph.outputs))[place],
            generator,
        )
        for place, value in enumerate(graph.outputs)
    ]
    about = (
        "The handwritten digits that come with scikit-learn, brought into the shapes of this "
        "network."
    )
    return task_of(graph, inputs, targets, about, losses, seed)


def _numbers(standard: Array, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Samples of a shape, of mean 0 and variance 1."""
    size = math.prod(shape)
    if size == 64:
        return standard.reshape(-1, *shape)
    if len(shape) == 3:
        height, width, channels = shape
        images = keras.ops.image.resize(
            standard.reshape(-1, 8, 8, 1).astype("float32"),
            (height, width),
            data_format="channels_last",
        )
        images = np.asarray(keras.ops.convert_to_numpy(images))
        repeated: Array = np.repeat(images / images.std(), channels, -1)
        return repeated
    if size < _FEWEST:
        return generator.standard_normal((len(standard), *shape))
    mapping = generator.standard_normal((64, size)) / 8.0
    projected: Array = (standard - standard.mean(0)) @ mapping
    projected = projected.reshape(-1, *shape)
    return np.asarray(projected / projected.std())


def _digit_target(
    value: Value,
    classes: Array,
    standard: Array,
    inputs: Sequence[Array],
    probable: bool,
    loss: Any,
    generator: np.random.Generator,
) -> Array:
    """What an output is to tell of the digits."""
    units, kind = int(value.channels), _kind(loss)
    shape = value.sample
    positions = shape[:-1]
    if (
        kind in _OF_CLASSES
        or (not kind and 1 < units <= _MOST_CLASSES and not positions)
        or (not kind and probable and units > 1)
    ):
        groups = classes * min(units, _CLASSES) // _CLASSES
        spread = groups.reshape(-1, *[1] * len(positions))
        whole: Array = np.broadcast_to(spread, (len(groups), *positions)).astype("int32")
        one_hot = kind in ("categoricalcrossentropy", "categoricalfocalcrossentropy")
        return np.asarray(np.eye(units, dtype="float32")[whole]) if one_hot else whole
    if units == 1 and not positions:
        return (classes >= _CLASSES // 2).astype("float32")[:, None]
    like = next((array for array in inputs if array.shape[1:] == shape), None)
    bounded = probable or kind in _OF_SHARES
    if like is not None and like.dtype.kind == "f":
        return np.asarray(like > like.mean() if bounded else like / like.std(), "float32")
    mapping = generator.standard_normal((64, math.prod(shape))) / 8.0
    found: Array = (standard @ mapping).reshape(-1, *shape).astype("float32")
    return (found > 0).astype("float32") if bounded else found


_OF_CLASSES = frozenset(
    ["sparsecategoricalcrossentropy", "categoricalcrossentropy", "categoricalfocalcrossentropy"]
)
_OF_SHARES = frozenset(["binarycrossentropy", "binaryfocalcrossentropy"])


def _kind(loss: Any) -> str:
    """The name of a loss, without what divides its words; empty for none."""
    name = getattr(loss, "name", None) or getattr(loss, "__name__", "") or loss or ""
    return str(name).lower().replace("_", "")


def _usual_loss(value: Value, target: Array, probable: bool) -> Any:
    """What an output and its targets ask for."""
    units, losses = int(value.channels), keras.losses
    is_whole = target.dtype.kind in "iub"
    if units > 1 and is_whole and _lacks_units(target, value):
        return losses.SparseCategoricalCrossentropy(from_logits=not probable)
    if units > 1 and target.shape[1:] == value.sample and _is_distribution(target):
        return losses.CategoricalCrossentropy(from_logits=not probable)
    if probable or ((is_whole or units == 1) and set(np.unique(target)) <= {0, 1}):
        return losses.BinaryCrossentropy(from_logits=not probable)
    return losses.MeanSquaredError()


def _lacks_units(target: Array, value: Value) -> bool:
    return target.shape[1:] in (value.sample[:-1], (*value.sample[:-1], 1))


def _is_distribution(target: Array) -> bool:
    return bool((target >= 0).all() and np.allclose(target.sum(-1), 1.0, atol=1e-3))


def _fitted(target: Array, value: Value, loss: Any) -> Array:
    """Targets in the shape that the loss takes.

    Raises:
        ValueError: they do not fit.
    """
    shape, units = value.sample, int(value.channels)
    if _kind(loss).startswith("sparse"):
        if not _lacks_units(target, value):
            raise SettingsError(_misfit(target, shape))
        whole = target.reshape(len(target), *shape[:-1])
        if not np.array_equal(whole, np.trunc(whole)) or whole.min() < 0 or whole.max() >= units:
            raise SettingsError(
                f"Classes must be whole numbers from 0 to {units - 1}, as the output has {units} "
                f"units. Received: {whole.min():g} to {whole.max():g}"
            )
        return whole.astype("int32")
    if _kind(loss) in _OF_CLASSES and target.shape[1:] != shape and _lacks_units(target, value):
        whole = target.reshape(len(target), *shape[:-1]).astype("int32")
        return np.eye(units, dtype="float32")[whole]
    if target.size != len(target) * math.prod(shape):
        raise SettingsError(_misfit(target, shape))
    return target.reshape(len(target), *shape).astype("float32")


def _misfit(target: Array, shape: tuple[int, ...]) -> str:
    return (
        f"The output gives {shape} for a sample, and the targets have {target.shape[1:]}: give "
        "classes as whole numbers, or an array like the output's."
    )


def _shares(target: Array, value: Value, loss: Any) -> Array | None:
    """Shares of the classes, where an output tells one for each sample; else None."""
    kind, units = _kind(loss), int(value.channels)
    if len(value.shape) != 2:
        return None
    if kind.startswith("sparse"):
        return np.bincount(target, minlength=units) / len(target)
    if kind in _OF_CLASSES:
        return np.asarray(target.mean(0))
    if kind in _OF_SHARES and units == 1:
        return np.array([1.0 - target.mean(), target.mean()])
    return None


def _chance(target: Array, value: Value, loss: Any) -> float:
    """The loss of the best constant output: classes by their shares, the targets' mean or another.

    A mean absolute error is least for the median, that of logarithms or shares for less than it.
    """
    kind, units = _kind(loss), int(value.channels)
    if kind.startswith("sparse"):
        best = np.bincount(target.reshape(-1), minlength=units) / target.size
    else:
        best = target.mean(tuple(range(target.ndim - 1))) if kind in _OF_CLASSES else target.mean(0)
    best = np.asarray(best, "float32")
    others: Sequence[Array] | Array = ()
    if kind in _OF_CLASSES | _OF_SHARES:
        best = np.clip(best, _SMALLEST, 1.0 - _SMALLEST)
        if _is_of_logits(loss):
            odds = best if kind in _OF_CLASSES else best / (1.0 - best)
            best = np.log(odds)
    elif not kind.startswith("sparse") and target.size <= _MOST_SORTED:
        others = np.quantile(target, _LEVELS, axis=0)
    shape = (len(target), *value.sample)
    every = (np.broadcast_to(each, shape).astype("float32") for each in (best, *others))
    return min(_loss_of(loss, target, given) for given in every)


def _least(target: Array, loss: Any) -> float:
    """The loss of what is as wanted, where that is below 0; no loss of classes is."""
    if _kind(loss).startswith("sparse") or _kind(loss) in _OF_CLASSES | _OF_SHARES:
        return 0.0
    return min(_loss_of(loss, target, target), 0.0)


def _loss_of(loss: Any, target: Array, given: Array) -> float:
    found = keras.losses.get(loss)(target, given)
    return float(np.mean(keras.ops.convert_to_numpy(found)))


def _is_of_logits(loss: Any) -> bool:
    if isinstance(loss, keras.losses.Loss):
        return bool(loss.get_config().get("from_logits"))
    return bool(getattr(loss, "from_logits", False))
