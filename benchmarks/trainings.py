"""Verdicts held against trainings: `python -m benchmarks.trainings CASES.py [ID ...]`.

Each network of a file of labelled cases (a list `CASES` of `id` and `build`) is trained for some
hundred steps on scikit-learn's digits, brought into the shape of its inputs and outputs, at three
learning rates; the best counts. It trains if it does clearly better than chance. Printed beside the
verdict that the product gives to the same weights.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits

STEPS, BATCH = 300, 32
RATES = (1e-3, 1e-2, 1e-1)
# Share of what chance leaves to be gained that a training has to gain.
CLEARLY = 0.3


def digits_for(shape: tuple[int, ...], dtype: str, seed: int = 0) -> tuple[Any, Any]:
    """Images of digits in the shape of an input, with their classes.

    Numbers have mean 0 and variance 1; whole numbers are pixels, of which there are 17.
    """
    data, classes = load_digits(return_X_y=True)
    if dtype.startswith(("int", "uint")):
        size = int(np.prod(shape))
        return data[:, np.arange(size) % 64].reshape(-1, *shape).astype("int32"), classes
    data = (data - data.mean()) / data.std()
    if len(shape) == 3 or shape == (784,):
        height, width = shape[:2] if len(shape) == 3 else (28, 28)
        images = keras.ops.image.resize(data.reshape(-1, 8, 8, 1), (height, width))
        images = np.asarray(keras.ops.convert_to_numpy(images))
        channels = shape[2] if len(shape) == 3 else 1
        return np.repeat(images, channels, -1).reshape(-1, *shape).astype("float32"), classes
    mapping = np.random.default_rng(seed).standard_normal((64, int(np.prod(shape)))) / 8.0
    return (data @ mapping).reshape(-1, *shape).astype("float32"), classes


def task_for(model: Any) -> tuple[Any, Any, Any]:
    """Inputs, targets and a loss that fits the outputs."""
    (given,), (output,) = model.inputs, model.outputs
    data, digits = digits_for(tuple(given.shape[1:]), str(given.dtype))
    units = int(output.shape[-1])
    last = model.layers[-1]
    name = getattr(getattr(last, "activation", None), "__name__", "linear")
    if len(output.shape) > 2:
        return data, (data > 0).astype("float32"), keras.losses.MeanSquaredError()
    if units == 1:
        loss = keras.losses.BinaryCrossentropy(from_logits=name not in ("sigmoid", "softmax"))
        return data, (digits >= 5).astype("float32")[:, None], loss
    classes = digits * min(units, 10) // 10
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=name not in ("softmax", "sigmoid")
    )
    return data, classes.astype("int32"), loss


def gained(model: Any, compiled: Any = None) -> float:
    """The best share of chance's loss that a training at one of the rates takes away."""
    data, targets, loss = task_for(model)
    loss = getattr(model, "loss", None) or loss if compiled else loss
    weights, best = model.get_weights(), 0.0
    rows = np.random.default_rng(1).integers(0, len(data), STEPS * BATCH)
    for rate in RATES:
        model.set_weights(weights)
        keras.utils.set_random_seed(0)
        optimizer = keras.optimizers.SGD(rate / 10, momentum=0.9)
        model.compile(optimizer, loss)
        history = model.fit(
            data[rows], targets[rows], batch_size=BATCH, shuffle=False, verbose=0, epochs=1,
            callbacks=[found := _Losses()],
        )  # fmt: skip
        del history
        chance, last = _chance(targets, loss), float(np.mean(found.losses[-50:]))
        if np.isfinite(last):
            best = max(best, 1 - last / chance)
    return best


class _Losses(keras.callbacks.Callback):
    """The loss of each step by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.total = 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Keras tells the mean over all steps so far."""
        total = float(logs["loss"]) * (batch + 1)
        self.losses.append(total - self.total)
        self.total = total


def _chance(targets: Any, loss: Any) -> float:
    """The loss of the best constant output."""
    if isinstance(loss, keras.losses.MeanSquaredError):
        return float(np.var(targets))
    shares = np.unique(targets, return_counts=True)[1] / len(targets)
    return float(-(shares * np.log(shares)).sum())


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("ids", nargs="*")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.cases.resolve().parent))
    for case in importlib.import_module(arguments.cases.stem).CASES:
        if arguments.ids and case["id"] not in arguments.ids:
            continue
        keras.utils.set_random_seed(zlib.crc32(case["id"].encode()))
        model = case["build"]()
        share = gained(model)
        word = "trains" if share >= CLEARLY else "does not"
        print(f"{case['id']:<28} {word:<10} gains {share:.0%} of what chance loses", flush=True)
        keras.utils.clear_session()


if __name__ == "__main__":
    main()
