"""A model that is trained from one set of weights after the other, at one rate after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from autoinit.graph.changing import put_values_back, values_of
from autoinit.graph.model_graph import ModelGraph
from probes.batching import fixed_batch
from probes.passing import behind_batch_statistics
from probes.trials.tasks import Task

# A training has diverged whose loss of the last steps is so many times that of the first, or that
# of the best constant where that is more.
_LAST, _DIVERGED = 10, 4.0


@dataclass(frozen=True)
class Score:
    """How well a model does on samples that it was not trained on.

    Attributes:
        value: share of right classes, or the share of the best constant's loss that is taken away.
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
        self, model: Any, graph: ModelGraph, task: Task, optimizer: Any, batch: int = 32
    ) -> None:
        if not model.trainable_variables:
            raise ValueError("The model has no weights that could be trained.")
        idle = graph.behind_placeholders()
        if idle:
            raise ValueError(
                f"{graph.calls[min(idle)].path!r} cannot be run here, and so the network cannot "
                "be trained here either."
            )
        self.task = task
        self.fixed = fixed_batch(graph) is not None
        self.batch = fixed_batch(graph) or min(batch, task.samples - task.held_out, task.held_out)
        # One that takes and gives lists, whatever the structure of its inputs and outputs.
        self._model = keras.Model(list(model.inputs), list(model.outputs))
        self._in_training = behind_batch_statistics(graph)
        self._model.compile(
            optimizer, list(task.losses), metrics=[["accuracy"]] if task.counts else None
        )
        self._optimizer = self._model.optimizer
        self._optimizer.build(self._model.trainable_variables)
        self._fresh = values_of(self._optimizer.variables)

    @property
    def judging(self) -> int:
        """How many steps of training take about as long as judging does."""
        return math.ceil(self.task.held_out / self.batch / (1 if self._in_training else 3))

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
        for step in steps:
            losses.append(self._step(self._rows(step, seed))["loss"])
            if self._has_diverged(losses):
                return losses, True
        return losses, False

    def judge(self) -> Score:
        """The samples that are held out; the model's weights stay."""
        task, first = self.task, self.task.samples - self.task.held_out
        starts = range(first, task.samples - self.batch + 1, self.batch)
        before = self.state() if self._in_training else ()
        put_values_back(self._fresh if self._in_training else ())
        self._optimizer.learning_rate.assign(0.0)
        run = self._step if self._in_training else self._look
        found = [run(np.arange(start, start + self.batch)) for start in starts]
        self.restore(before)
        loss = float(np.mean([each["loss"] for each in found]))
        if not math.isfinite(loss):
            return Score(0.0, 0.0, math.inf)
        if not task.counts:
            return Score(1.0 - loss / task.chance if task.chance else 0.0, 0.0, loss)
        share = float(np.mean([each["accuracy"] for each in found]))
        count = self.batch * len(starts)
        # As if one more were right and one more wrong: a share of 1 is not certain either.
        near = (share * count + 1) / (count + 2)
        return Score(share, math.sqrt(near * (1 - near) / count), loss)

    def _rows(self, step: int, seed: int) -> Any:
        """Each sample once in an epoch."""
        count = self.task.samples - self.task.held_out
        epoch, place = divmod(step, max(count // self.batch, 1))
        order = np.random.default_rng([seed, epoch]).permutation(count)
        return np.resize(order, max(count, self.batch))[place * self.batch :][: self.batch]

    def _step(self, rows: Any) -> dict[str, float]:
        self._model.reset_metrics()
        return self._figures(self._model.train_on_batch(*self._samples(rows), return_dict=True))

    def _look(self, rows: Any) -> dict[str, float]:
        self._model.reset_metrics()
        return self._figures(self._model.test_on_batch(*self._samples(rows), return_dict=True))

    def _samples(self, rows: Any) -> tuple[list[Any], list[Any]]:
        task = self.task
        return [each[rows] for each in task.inputs], [each[rows] for each in task.targets]

    @staticmethod
    def _figures(logs: dict[str, Any]) -> dict[str, float]:
        return {name: float(value) for name, value in logs.items()}

    def _has_diverged(self, losses: Sequence[float]) -> bool:
        if not math.isfinite(losses[-1]):
            return True
        last = losses[-_LAST:]
        allowed = _DIVERGED * max(losses[0], self.task.chance)
        return len(last) == _LAST and float(np.mean(last)) > allowed
