"""Networks whose kernels are too small, by SGD and by Adam: `python -m benchmarks.small_kernels`.

Chains of dense layers and of convolutions, by initializers that make the signal fall, learn
scikit-learn's digits for 300 steps: by SGD with momentum at the best of three rates, and by Adam at
0.001. Printed beside the shares of what chance loses that are gained: by how much of itself a step
at a rate of 1 would move the kernels' largest singular values, in the median and at the least, and
the verdicts on the network as compiled with either. The borders of `verdict.py` in
`app/analysis/diagnosis/` come from these figures.

    python -m benchmarks.small_kernels relu-glorot      # networks whose names have this in them
"""

from __future__ import annotations

import argparse
import itertools
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import keras
from keras import initializers, layers

from app.analysis.diagnosis.measured.series import spectral, update_ratios
from autoinit import check
from autoinit.reading import read_model
from benchmarks.trainings import RATES, gained
from probes.gradients import probe_gradients

DRAWN: dict[str, Callable[[], Any]] = {
    "glorot": initializers.GlorotUniform,
    "n05": lambda: initializers.RandomNormal(stddev=0.05),
    "n02": lambda: initializers.RandomNormal(stddev=0.02),
    "u05": lambda: initializers.RandomUniform(-0.05, 0.05),
}
WIDTHS, DEPTHS, FILTERS = (32, 64, 128, 256, 512), (3, 4, 5, 6, 8, 10, 14, 18, 24), (16, 64)
# Mean square of the signal before the last kernel: beyond, all learn, or none does.
FALLS = (1e-8, 0.05)
OPTIMIZERS: dict[str, tuple[Callable[[], Any], tuple[float, ...]]] = {
    "sgd": (lambda: keras.optimizers.SGD(momentum=0.9, clipnorm=10.0), RATES),
    "adam": (keras.optimizers.Adam, (1e-3,)),
}


def dense(activation: str, drawn: str, width: int, depth: int) -> Any:
    """A chain of dense layers."""
    hidden = [
        layers.Dense(width, activation, kernel_initializer=DRAWN[drawn]()) for _ in range(depth)
    ]
    return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10, "softmax")])


def convolutions(filters: int, depth: int, head: str) -> Any:
    """A chain of convolutions by Glorot."""
    hidden = [layers.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(depth)]
    last = layers.GlobalAveragePooling2D() if head == "gap" else layers.Flatten()
    return keras.Sequential([keras.Input((8, 8, 1)), *hidden, last, layers.Dense(10, "softmax")])


def networks() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names and builders."""
    for activation, drawn, width, depth in itertools.product(
        ("relu", "tanh"), DRAWN, WIDTHS, DEPTHS
    ):
        variance = {"glorot": 1 / width, "n05": 0.0025, "n02": 0.0004, "u05": 0.05**2 / 3}[drawn]
        kept = variance * width / (2 if activation == "relu" else 1)
        if FALLS[0] < kept ** (depth - 1) < FALLS[1]:
            yield (
                f"{activation}-{drawn}-{width}-{depth}",
                partial(dense, activation, drawn, width, depth),
            )
    for filters, depth, head in itertools.product(FILTERS, (6, 8, 10, 14), ("flat", "gap")):
        yield (f"conv-{filters}-{depth}-{head}", partial(convolutions, filters, depth, head))


def line(name: str, build: Callable[[], Any]) -> str:
    """One network's figures."""
    found = []
    for optimizer, (make, rates) in OPTIMIZERS.items():
        keras.utils.set_random_seed(zlib.crc32(name.encode()))
        model = build()
        model.compile(make(), "sparse_categorical_crossentropy")
        verdict = check(model, verbose=False).verdicts["uploaded"].verdict
        graph = read_model(model)
        gradients = probe_gradients(graph, num_samples=32, logits=True)
        moved = [each for each in spectral(graph, update_ratios(graph, gradients)) if each]
        share = gained(model, make(), rates)
        found.append(f"{optimizer} {share:5.0%} {verdict:<14}")
    return f"{name:<22} {median(moved):9.2g} {min(moved):9.2g}   " + " ".join(found)


def main() -> None:
    """Print one line per network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="?", default="")
    part = parser.parse_args().part
    print(f"{'network':<22} {'median':>9} {'least':>9}   gained, and the verdict")
    for name, build in networks():
        if part in name:
            print(line(name, build), flush=True)
            keras.utils.clear_session()


if __name__ == "__main__":
    main()
