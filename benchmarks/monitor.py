"""`SignalMonitor` beside trainings: `python -m benchmarks.monitor`.

What it takes of the time of ResNet-20 on digits, watched and unwatched in turns; and the largest
update of any kernel in trainings that learn and in others, from which `LARGE_UPDATE` comes.
"""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

from autoinit.callbacks import SignalMonitor

BLOCKS, WIDTH, EPOCHS, ROUNDS = 9, 16, 12, 3
RATES = {
    keras.optimizers.SGD: (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    keras.optimizers.Adam: (0.001, 0.01, 0.1, 1.0),
}


def digits() -> tuple[Any, Any]:
    found = load_digits()
    images = found.images[..., None].astype("float32")
    return (images - images.mean()) / images.std(), found.target


def compiled(inputs: Any, features: Any, optimizer: Any) -> keras.Model:
    model = keras.Model(inputs, layers.Dense(10, name="out")(features))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def resnet() -> keras.Model:
    """ResNet-20 of one width."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    h = layers.Conv2D(WIDTH, 3, padding="same")(inputs)
    for _ in range(BLOCKS):
        branch = h
        for _ in range(2):
            branch = layers.ReLU()(layers.BatchNormalization()(branch))
            branch = layers.Conv2D(WIDTH, 3, padding="same")(branch)
        h = layers.Add()([h, branch])
    pooled = layers.GlobalAveragePooling2D()(h)
    return compiled(inputs, pooled, keras.optimizers.SGD(0.05, momentum=0.9))


def plain(optimizer: Any) -> keras.Model:
    """Five convolutions without normalization."""
    keras.utils.set_random_seed(0)
    inputs = h = keras.Input((8, 8, 1))
    for place in range(5):
        h = layers.Conv2D(16, 3, padding="same", activation="relu", name=f"c{place}")(h)
    return compiled(inputs, layers.Flatten()(h), optimizer)


class EpochTimes(keras.callbacks.Callback):
    """Seconds of each epoch; the first one compiles."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.times: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.times.append(time.perf_counter() - self.start)


def overhead() -> None:
    """Medians of epochs, watched and unwatched in turns."""
    x, y = digits()
    medians: dict[bool, list[float]] = {False: [], True: []}
    counts = []
    for _ in range(ROUNDS):
        for watched in (False, True):
            times = EpochTimes()
            monitor = SignalMonitor(x, check=False, verbose=False)
            callbacks = [times, *([monitor] if watched else [])]
            resnet().fit(x, y, batch_size=32, epochs=EPOCHS, verbose=0, callbacks=callbacks)
            medians[watched].append(sum(times.times[1:]))
            if monitor.run is not None:
                counts.append(len(monitor.run.snapshots))
    ratios = np.divide(medians[True], medians[False])
    print(
        f"{keras.backend.backend()}, ResNet-20 on digits, {EPOCHS - 1} epochs: watched / unwatched "
        f"{', '.join(f'{ratio:.3f}' for ratio in ratios)} (goal 1.05); measurements {counts}"
    )


def updates() -> None:
    """The largest update of any kernel, by optimizer and rate."""
    x, y = digits()
    for kind, rates in RATES.items():
        for rate in rates:
            options = {"momentum": 0.9} if kind is keras.optimizers.SGD else {}
            monitor = SignalMonitor(x, check=False, verbose=False, overhead=None, gradients=False)
            history = plain(kind(rate, **options)).fit(
                x, y, batch_size=32, epochs=2, verbose=0, callbacks=[monitor]
            )
            assert monitor.run is not None
            largest = {
                each.step: max((u for u in each.figures["update"] if u is not None), default=0.0)
                for each in monitor.run.snapshots
            }
            step = max(largest, key=lambda step: largest[step])
            found = [f"{step} {each.code}" for step, each in monitor.run.findings]
            accuracy = history.history["accuracy"][-1]
            print(
                f"{kind.__name__} {rate:g}: accuracy {accuracy:.2f}, largest update "
                f"{largest[step]:.3f} at step {step}; {', '.join(found) or 'no finding'}",
                flush=True,
            )


if __name__ == "__main__":
    updates()
    overhead()
