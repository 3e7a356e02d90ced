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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from app.analysis.trials.grid import losses_of
from autoinit.reading import read_model
from probes.trials.tasks import digits_task
from probes.trials.training import Trainer

STEPS, BATCH = 300, 32
RATES = (1e-3, 1e-2, 1e-1)  # with momentum
# Share of what chance leaves to be gained that a training has to gain.
CLEARLY = 0.3


def gained(model: Any, optimizer: Any = None, rates: Sequence[float] = RATES) -> float:
    """The best share of the best constant's loss that a training at one of the rates takes away.

    Args:
        model: compiled with a loss.
        optimizer: that trains it; SGD with momentum 0.9 otherwise.
        rates: that are tried.
    """
    optimizer = optimizer or keras.optimizers.SGD(momentum=0.9, clipnorm=10.0)
    graph = read_model(model, training=True)
    task = digits_task(graph, {}, losses_of(model))
    trainer = Trainer(model, graph, task, optimizer, BATCH)
    begun, best = trainer.start(), 0.0
    for rate in rates:
        trainer.restore(begun)
        losses, diverged = trainer.train(rate, range(STEPS))
        if not diverged:
            best = max(best, 1 - float(np.mean(losses[-50:])) / task.chance)
    return best


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
