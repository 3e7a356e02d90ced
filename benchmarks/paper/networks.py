"""The paper's networks for small images, and short trainings of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from autoinit import AutoInit
from autoinit.reading import read_model
from probes.trials.tasks import LearningTask, digits_task
from probes.trials.training import Trainer
from sample_models import build
from sample_models.residual import resnet

CLASSES = 10
# Steps of one rate, where a rate changes while it trains.
_STRETCH = 10


def all_cnn_c(
    activation: str = "relu",
    dropout: float = 0.0,
    width: int = 8,
    size: int = 12,
    function: Callable[[Any], Any] | None = None,
) -> Any:
    """All-CNN-C for grey images of `size` × `size` pixels, with a function for its activation."""
    full = build(f"all-cnn-c?width={width}&dropout={dropout}&activation={activation}")
    return _smaller(full, size, 1, function)


def residual(depth: int, normalized: bool, size: int = 8, share: int = 4) -> Any:
    """A ResNet for grey images, of so many times fewer filters; bottlenecks from 100 layers on."""
    block = "basic" if depth < 100 else "bottleneck"
    return _smaller(resnet(depth, block, normalized), size, share)


def narrow_tanh(blocks: int, widths: tuple[int, ...] = (16, 4), size: int = 784) -> Any:
    """The published notebook's: 16 units, so many times 16 and 4, and 10 classes."""
    dense = [layers.Dense(width, "tanh") for width in (widths[0], *widths * blocks)]
    return keras.Sequential([keras.Input((size,)), *dense, layers.Dense(CLASSES, "softmax")])


def _smaller(
    model: Any, size: int, share: int, function: Callable[[Any], Any] | None = None
) -> Any:
    def part(layer: Any) -> Any:
        config = layer.get_config()
        if function and isinstance(layer, layers.Activation):
            return layers.Activation(function, name=layer.name)
        if config.get("filters", CLASSES) != CLASSES:
            config["filters"] //= share
        return type(layer).from_config(config)

    gray = keras.Input((size, size, 1), name="image")
    return keras.models.clone_model(model, input_tensors=gray, clone_function=part)


class Course:
    """Trainings of a network, which is compiled once, from weights that are drawn for each.

    Args:
        model: what is trained.
        task: by default digits; a fifth of them judges.
        optimizer: by default SGD with momentum 0.9.
        decay: of all kernels, as an L2 regularization.
    """

    def __init__(
        self,
        model: Any,
        task: Callable[[Any], LearningTask] = lambda graph: digits_task(graph, {}),
        optimizer: Any = None,
        decay: float = 0.0,
    ) -> None:
        self.model, graph = model, read_model(model, training=True)
        for variable in model.trainable_variables:
            if decay and len(variable.shape) > 1:
                variable.regularizer = keras.regularizers.L2(decay)
        self.trainer = Trainer(
            model, graph, task(graph), optimizer or keras.optimizers.SGD(momentum=0.9), batch=32
        )
        self._built = self.trainer.start()
        self._begun: dict[tuple[str, int], Any] = {}

    def start(self, scheme: str, seed: int) -> None:
        """Weights by a scheme, and nothing learnt yet."""
        if (scheme, seed) not in self._begun:
            self.trainer.restore(self._built)
            AutoInit({"seed": seed}, scheme=scheme).initialize_model(self.model, in_place=True)
            self._begun[scheme, seed] = self.trainer.start()
        self.trainer.restore(self._begun[scheme, seed])

    def accuracy(self) -> float:
        """Of samples that it was not trained on; chance where the loss has no value."""
        score = self.trainer.judge()
        return score.value if math.isfinite(score.loss) else self.trainer.task.largest_class

    def trained(
        self, scheme: str, rate: float | Callable[[float], float], steps: int, seed: int
    ) -> float:
        """Accuracy after so many steps, or chance where it diverges.

        Args:
            scheme: of the weights.
            rate: of all steps, or one for each share of them that is done.
            steps: how many.
            seed: of the weights and of the samples' order.
        """
        self.start(scheme, seed)
        stretch = _STRETCH if callable(rate) else steps
        for first in range(0, steps, stretch):
            now = rate(first / steps) if callable(rate) else rate
            chosen = range(first, min(first + stretch, steps))
            if self.trainer.train(now, chosen, seed)[1]:
                return self.trainer.task.largest_class
        return self.accuracy()
