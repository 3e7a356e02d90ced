"""A model that is trained from one set of weights after the other, at one rate after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from autoinit.arrays import as_array
from autoinit.errors import NotMeasuredError
from autoinit.graph.changing import put_values_back, values_of
from autoinit.graph.model_graph import ModelGraph
from autoinit.running.state import without_gradients
from probes.batching import fixed_batch
from probes.passing import behind_batch_statistics
from probes.trials.tasks import LearningTask

# A training has diverged whose loss of the last steps is so many times that of the first, or that
# of the best constant where that is more.
_LAST, _DIVERGED = 10, 4.0
# Steps of one compiled call, and entries of their inputs at most.
_TOGETHER, _MOST_ENTRIES = 10, 2**24


@dataclass(frozen=True)
class Score:
    """How well a model does on samples that it was not trained on.

    Attributes:
        value: share of right classes, or the share of the best constant's loss that is taken away,
            of what lies above the least loss.
        error: standard error of that, for other samples; 0 where it is not known.
        loss: of these samples.
    """

    value: float
    error: float
    loss: float


class Trainer:
    """Trains a model for some steps, from the weights that it has.

    Compiled once: weights and rate are put in place between trainings. Where layers normalize over
    the batch, samples are judged in training mode: moving averages lag behind in short trainings.

    Args:
        model: of one or several inputs and outputs; it is left with the weights of the last
            training, and compiled as it came.
        graph: of the model.
        task: what to learn.
        optimizer: one of Keras's, of which the rate is set for each training.
        batch: samples of a step; a batch that the model lays down comes first.

    Attributes:
        batch: samples of a step; it may be set to fewer.
        fixed: whether the model lays it down.

    Raises:
        ValueError: for a model without trainable weights, or with layers that cannot be run.
    """

    def __init__(
        self, model: Any, graph: ModelGraph, task: LearningTask, optimizer: Any, batch: int = 32
    ) -> None:
        if not model.trainable_variables:
            raise NotMeasuredError("The model has no weights that could be trained.")
        idle = graph.behind_placeholders()
        if idle:
            raise NotMeasuredError(
                f"{graph.calls[min(idle)].path!r} cannot be run here, and so the network cannot "
                "be trained here either."
            )
        self.task = task
        self.fixed = fixed_batch(graph) is not None
        self.batch = fixed_batch(graph) or min(batch, task.samples - task.held_out, task.held_out)
        # One that takes and gives lists, whatever the structure of its inputs and outputs.
        self._model = keras.Model(list(model.inputs), list(model.outputs))
        self._in_training = behind_batch_statistics(graph)
        self._model.compile(optimizer, list(task.losses))
        self._optimizer = self._model.optimizer
        self._optimizer.build(self._model.trainable_variables)
        self._fresh = values_of(self._optimizer.variables)
        self._learn, self._look = _learning(self._model), _looking(self._model)

    @property
    def judging(self) -> int:
        """How many steps of training take about as long as judging does."""
        return math.ceil(self.task.held_out / self.batch / 3)

    def start(self) -> Sequence[Any]:
        """What a training begins with: the weights as they are, and an optimizer without a past."""
        put_values_back(self._fresh)
        return self.state()

    def state(self) -> Sequence[Any]:
        """Where a training stands, for `restore`."""
        return values_of([*self._model.variables, *self._optimizer.variables])

    def restore(self, state: Sequence[Any]) -> None:
        """Goes back to where a training stood."""
        put_values_back(state)

    def train(self, rate: float, steps: range, seed: int = 0) -> tuple[list[float], bool]:
        """Some steps from where it stands.

        Args:
            rate: the learning rate.
            steps: their numbers; those of a training that goes on begin where it stopped.
            seed: of the samples' order, which is the same for the same numbers.

        Returns:
            The loss of each step, and whether it diverged; no step comes after that.
        """
        self._optimizer.learning_rate.assign(rate)
        losses: list[float] = []
        most = self._together
        for first in range(0, len(steps), most):
            rows = [self._rows(step, seed) for step in steps[first : first + most]]
            # As many each time: for other shapes TensorFlow would compile once more.
            given = self._samples(np.stack([*rows, *[rows[-1]] * (most - len(rows))]))
            for loss in self._learn(*given, len(rows)):
                losses.append(float(loss))
                if self._has_diverged(losses):
                    return losses, True
        return losses, False

    @property
    def _together(self) -> int:
        if keras.backend.backend() != "tensorflow":
            return 1
        entries = self.batch * sum(math.prod(each.shape[1:]) for each in self.task.inputs)
        return min(max(_MOST_ENTRIES // max(entries, 1), 1), _TOGETHER)

    def judge(self) -> Score:
        """The samples that are held out, each once; the model's weights stay.

        The last batch is filled up with samples of its own, so that all have one shape: its loss
        counts some of them once more than others.
        """
        task = self.task
        held_out = np.arange(task.samples - task.held_out, task.samples)
        before = values_of(self._model.variables)
        found, right, counts = [], [], []
        for start in range(0, len(held_out), self.batch):
            rows = held_out[start : start + self.batch]
            inputs, targets = self._samples(np.resize(rows, self.batch))
            loss, first_output = self._look(inputs, targets, bool(self._in_training))
            count = len(rows)
            counts.append(count)
            found.append(float(loss))
            right.append(
                task.share_right(as_array(first_output)[:count], targets[0][:count])
                if task.counts
                else 0.0
            )
        put_values_back(before)
        loss = float(np.average(found, weights=counts))
        if not math.isfinite(loss):
            return Score(0.0, 0.0, math.inf)
        if not task.counts:
            above = task.chance - task.least
            return Score(1.0 - (loss - task.least) / above if above else 0.0, 0.0, loss)
        share = float(np.average(right, weights=counts))
        count = task.held_out
        # As if one more were right and one more wrong: a share of 1 is not certain either.
        near = (share * count + 1) / (count + 2)
        return Score(share, math.sqrt(near * (1 - near) / count), loss)

    def _rows(self, step: int, seed: int) -> Any:
        """Each sample once in an epoch."""
        count = self.task.samples - self.task.held_out
        epoch, place = divmod(step, max(count // self.batch, 1))
        order = np.random.default_rng([seed, epoch]).permutation(count)
        return np.resize(order, max(count, self.batch))[place * self.batch :][: self.batch]

    def _samples(self, rows: Any) -> tuple[list[Any], list[Any]]:
        task = self.task
        return [each[rows] for each in task.inputs], [each[rows] for each in task.targets]

    def _has_diverged(self, losses: Sequence[float]) -> bool:
        if not math.isfinite(losses[-1]):
            return True
        last = losses[-_LAST:]
        least = self.task.least
        allowed = least + _DIVERGED * (max(losses[0], self.task.chance) - least)
        return len(last) == _LAST and float(np.mean(last)) > allowed


def _learning(model: Any) -> Callable[[list[Any], list[Any], int], Any]:
    """What takes batches, goes a step with each of the first so many, and gives their losses.

    The steps of Keras's `train_step`, without the metrics that `train_on_batch` resets and computes
    each time. Several in one call of TensorFlow: between calls small networks lose most time.
    """
    if keras.backend.backend() != "tensorflow":

        def one_by_one(inputs: list[Any], targets: list[Any], count: int) -> list[Any]:
            batches = (
                [[each[n] for each in part] for part in (inputs, targets)] for n in range(count)
            )
            return [model.train_on_batch(*batch, return_dict=True)["loss"] for batch in batches]

        return one_by_one
    import tensorflow as tf

    def step(inputs: list[Any], targets: list[Any]) -> Any:
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = model.compute_loss(x=inputs, y=targets, y_pred=outputs, training=True)
            scaled = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, model.trainable_weights)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        return tf.cast(loss, tf.float32)

    def loop(inputs: list[Any], targets: list[Any], count: Any) -> Any:
        def body(place: Any, losses: Any) -> tuple[Any, Any]:
            batch = ([each[place] for each in part] for part in (inputs, targets))
            return place + 1, losses.write(place, step(*batch))

        begun = tf.constant(0), tf.TensorArray(tf.float32, count)
        _, losses = tf.while_loop(
            lambda place, _: place < count, body, begun, parallel_iterations=1
        )
        return losses.stack()

    compiled = tf.function(loop, autograph=False)
    return lambda *given: compiled(*tf.nest.map_structure(tf.convert_to_tensor, given)).numpy()


def _looking(model: Any) -> Callable[[list[Any], list[Any], bool], Any]:
    """What takes a batch and a mode; gives the loss and the first output."""

    def look(inputs: list[Any], targets: list[Any], training: bool) -> Any:
        with without_gradients():
            outputs = model(inputs, training=training)
            loss = model.compute_loss(x=inputs, y=targets, y_pred=outputs, training=training)
        return loss, keras.tree.flatten(outputs)[0]

    if keras.backend.backend() != "tensorflow":
        return look
    import tensorflow as tf

    compiled = tf.function(look, autograph=False)
    return lambda *given: compiled(
        *tf.nest.map_structure(tf.convert_to_tensor, given[:2]), given[2]
    )
