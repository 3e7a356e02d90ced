"""Learning rates held against trainings: `python -m benchmarks.rates`.

Small classifiers of digits, trained for six epochs at each rate. Printed is the share of unseen
digits that is right, beside what the first step changes of the kernels' size: by measured update
ratios for SGD, by the size of the kernels for Adam and RMSprop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import Any

import keras
import numpy as np
from keras import layers, optimizers
from sklearn.datasets import load_digits

from probes import probe_gradients

UNITS, TRAINED = 10, 1400
DESCENT = (1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
ADAPTIVE = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
OPTIMIZERS: dict[str, tuple[Callable[[float], Any], tuple[float, ...]]] = {
    "SGD": (optimizers.SGD, DESCENT),
    "SGD, momentum 0.9": (lambda rate: optimizers.SGD(rate, momentum=0.9), DESCENT),
    "Adam": (optimizers.Adam, ADAPTIVE),
    "RMSprop": (optimizers.RMSprop, ADAPTIVE),
}


def perceptron(depth: int, width: int, function: str, init: str, normalized: bool = False) -> Any:
    """A chain of dense layers."""
    x = given = keras.Input((64,))
    for _ in range(depth):
        x = layers.Dense(width, kernel_initializer=init)(x)
        x = layers.BatchNormalization()(x) if normalized else x
        x = layers.Activation(function)(x)
    return keras.Model(given, layers.Dense(UNITS)(x))


def convolutional() -> Any:
    """Two convolutions and a dense layer."""
    he = {"activation": "relu", "kernel_initializer": "he_normal"}
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Reshape((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", **he),
            layers.Conv2D(32, 3, padding="same", **he),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, **he),
            layers.Dense(UNITS),
        ]
    )


NETWORKS: dict[str, Callable[[], Any]] = {
    "2 × 64 ReLU": lambda: perceptron(2, 64, "relu", "he_normal"),
    "8 × 64 ReLU": lambda: perceptron(8, 64, "relu", "he_normal"),
    "4 × 512 ReLU": lambda: perceptron(4, 512, "relu", "he_normal"),
    "4 × 64 ReLU, normalized": lambda: perceptron(4, 64, "relu", "he_normal", True),
    "4 × 64 tanh": lambda: perceptron(4, 64, "tanh", "glorot_uniform"),
    "convolutional": convolutional,
    "3 × 64 ReLU, Glorot": lambda: perceptron(3, 64, "relu", "glorot_uniform"),
}


def main() -> None:
    data, classes = load_digits(return_X_y=True)
    data = ((data - data.mean()) / data.std()).astype("float32")
    order = np.random.default_rng(0).permutation(len(data))
    seen, unseen = order[:TRAINED], order[TRAINED:]
    for name, build in NETWORKS.items():
        keras.utils.set_random_seed(0)
        model = build()
        start = model.get_weights()
        found = probe_gradients(model, 32, logits=True).update_ratios
        ratio = median(each for each in found.values() if each) / math.sqrt(UNITS)
        size = median(float(np.sqrt(np.mean(w**2))) for w in start if w.ndim > 1)
        for which, (make, rates) in OPTIMIZERS.items():
            momentum = 0.9 if "0.9" in which else 0.0
            each = ratio / (1 - momentum) if "SGD" in which else 1 / size
            cells = []
            for rate in rates:
                model.set_weights(start)
                keras.utils.set_random_seed(0)
                loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
                model.compile(make(rate), loss, metrics=["accuracy"])
                model.fit(data[seen], classes[seen], batch_size=32, epochs=6, verbose=0)
                right = model.evaluate(data[unseen], classes[unseen], verbose=0)[1]
                cells.append(f"{rate * each:.1g}: {right:.0%}")
            print(f"{name} | {which} | " + " | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
