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
RATES = (1e-3, 1e-2, 1e-1)  # with momentum
# Share of what chance leaves to be gained that a training has to gain.
CLEARLY = 0.3
FEWEST = 8  # numbers that digits can be told by


def digits_for(shape: tuple[int, ...], dtype: str, seed: int = 0) -> tuple[Any, Any]:
    """Images of digits in the shape of an input, with their classes.

    Numbers have mean 0 and variance 1; whole numbers are pixels, of which there are 17. Where there
    are too few numbers to tell digits by, the classes are ten rings around the middle.
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
    generator, size = np.random.default_rng(seed), int(np.prod(shape))
    if size < FEWEST:
        points = generator.standard_normal((len(data), size))
        ranks = np.argsort(np.argsort((points**2).sum(1)))
        return points.reshape(-1, *shape).astype("float32"), ranks * 10 // len(data)
    mapping = generator.standard_normal((64, size)) / 8.0
    return (data @ mapping).reshape(-1, *shape).astype("float32"), classes


def task_for(model: Any) -> tuple[Any, Any, Any, float]:
    """Inputs, targets, a loss, and what it is for the best constant output.

    The model's own loss, where it is compiled; else a cross-entropy of logits.
    """
    (given,), (output,) = model.inputs, model.outputs
    data, digits = digits_for(tuple(given.shape[1:]), str(given.dtype))
    units = int(output.shape[-1])
    own = model.loss if getattr(model, "compiled", False) else None
    name = str(getattr(own, "name", own) or "").replace("_", "")
    if len(output.shape) > 2 or units > 50:  # an image for an image
        targets = (data > 0).astype("float32")
        return (
            data,
            targets,
            own or "mse",
            _entropy(targets) if "cross" in name else np.var(targets),
        )
    if units == 1:
        targets = (digits >= 5).astype("float32")[:, None]
        loss = own or keras.losses.BinaryCrossentropy(from_logits=True)
    else:
        classes = digits * min(units, 10) // 10
        one_hot = np.eye(units, dtype="float32")[classes]
        targets = classes.astype("int32") if not own or "sparse" in name else one_hot
        loss = own or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    entropy = own is None or "cross" in name
    shares = np.unique(digits if units > 1 else targets, return_counts=True)[1] / len(data)
    if units > 1:
        shares = np.bincount(digits * min(units, 10) // 10) / len(data)
    chance = -(shares * np.log(shares)).sum() if entropy else np.var(targets, axis=0).mean()
    return data, targets, loss, float(chance)


def _entropy(targets: Any) -> float:
    share = float(np.mean(targets))
    return -share * np.log(share) - (1 - share) * np.log(1 - share)


def gained(model: Any) -> float:
    """The best share of chance's loss that a training at one of the rates takes away."""
    data, targets, loss, chance = task_for(model)
    weights, best = model.get_weights(), 0.0
    rows = np.random.default_rng(1).integers(0, len(data), STEPS * BATCH)
    for rate in RATES:
        model.set_weights(weights)
        keras.utils.set_random_seed(0)
        model.compile(keras.optimizers.SGD(rate, momentum=0.9, clipnorm=10.0), loss)
        found = _Losses()
        model.fit(
            data[rows], targets[rows], batch_size=BATCH, shuffle=False, verbose=0, callbacks=[found]
        )
        last = float(np.mean(found.losses[-50:]))
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
