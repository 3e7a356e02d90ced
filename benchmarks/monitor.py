"""`SignalMonitor` beside trainings: `python -m benchmarks.monitor`.

What it takes of the time of ResNet-20 on digits, watched and unwatched in turn, with the verdict
and all that comes before the first step; and the largest update of any kernel in trainings that
learn and in others, from which `LARGE_UPDATE` comes.
"""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

from autoinit.callbacks import SignalMonitor

BLOCKS, WIDTH = 9, 16
# One to three minutes of a processor: what is measured before the first step is to be repaid.
EPOCHS = {"tensorflow": 50, "jax": 200, "torch": 15}
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


def now() -> Any:
    """The processor's seconds, and those of the clock on the wall."""
    return np.array([time.process_time(), time.perf_counter()])


def overhead() -> None:
    """Seconds of trainings that are watched beside those of ones that are not.

    One after the other, A B B A, each of as many epochs as repay what is measured before the first
    step: a machine that becomes slower is so for both.
    """
    x, y = digits()
    backend = keras.backend.backend()
    epochs = EPOCHS[backend]
    model = resnet()
    model.fit(x, y, batch_size=32, verbose=0)  # which compiles
    weights = model.get_weights()
    seconds: dict[bool, list[Any]] = {False: [], True: []}
    for watched in (False, True, True, False):
        model.set_weights(weights)
        begin = now()
        callbacks = [SignalMonitor(x)] if watched else []
        model.fit(x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=callbacks)
        seconds[watched].append(now() - begin)
    print(f"{backend}, ResNet-20 on digits, {epochs} epochs, twice each")
    for name, before, after in zip(
        ("processor", "wall"), sum(seconds[False]), sum(seconds[True]), strict=True
    ):
        print(
            f"  {name}: {before:.1f} s unwatched, {after:.1f} s watched: {after / before:.3f} "
            "times as long (goal 1.05)"
        )
    for watched, each in seconds.items():
        print(f"  wall of each, {'' if watched else 'un'}watched:", *(f"{w:.1f}" for _, w in each))


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
