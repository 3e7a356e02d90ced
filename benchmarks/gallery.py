"""Twelve diagnoses with pictures: writes docs/gallery.md and docs/gallery-*.png.

    python -m benchmarks.gallery [NAME …]

Each is a model of this repository, `autoinit.check` of it, and the chart that shows the fault.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras

import autoinit
from app.analysis.result import Result
from app.charts.views import VIEWS
from benchmarks.paper.pictures import save
from sample_models import build

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# Twelve diagnoses

Each is a small model, what `autoinit.check(model)` says of it, and a chart of the page, with the
model's own weights and AutoInit's. Where the configuration is at fault (a loss that does not fit,
equal kernels) the chart shows that signals alone would not tell. `python -m benchmarks.gallery`
makes this page; [findings.md](findings.md) has all findings.
"""


class Diagnosis(NamedTuple):
    """One of the gallery: a model, what is wrong with it, and the view that shows it."""

    title: str
    model: Callable[[], Any]
    view: str = "variance"


def chain(
    depth: int,
    activation: str,
    last: str = "softmax",
    deviation: float | None = None,
    **options: Any,
) -> Any:
    """Dense layers of 64 units one after the other, and ten classes."""
    layers: list[Any] = []
    for n in range(depth):
        if deviation is not None:
            options["kernel_initializer"] = keras.initializers.RandomNormal(0.0, deviation, seed=n)
        layers.append(keras.layers.Dense(64, name=f"dense{n}", **options))
        layers.append(keras.layers.Activation(activation, name=f"act{n}"))
    out = keras.layers.Dense(10, last, name="classes")
    model = keras.Sequential([keras.Input((64,), name="input"), *layers, out])
    model.compile("sgd", "categorical_crossentropy")
    return model


def twice_softmax() -> Any:
    """Shares are taken for scores."""
    model = chain(3, "relu", kernel_initializer="he_normal")
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    return model


def depthwise() -> Any:
    """Kernels of one input channel each, which Glorot takes for kernels of all."""
    layers = [
        keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name=f"depthwise{n}")
        for n in range(8)
    ]
    pooling = keras.layers.GlobalAveragePooling2D(name="pooling")
    classes = keras.layers.Dense(10, "softmax", name="classes")
    return keras.Sequential([keras.Input((16, 16, 32)), *layers, pooling, classes])


DIAGNOSES = {
    "glorot": Diagnosis("ReLU by Glorot's initializer", lambda: chain(30, "relu")),
    "explodes": Diagnosis("Kernels drawn too large", lambda: chain(20, "relu", deviation=0.3)),
    "residual": Diagnosis(
        "Residual branches without normalization", lambda: build("resnet-56-nobn")
    ),
    "sigmoid": Diagnosis("Sigmoids one after the other", lambda: chain(12, "sigmoid"), "gradient"),
    "small": Diagnosis("Kernels drawn too small", lambda: chain(20, "tanh", deviation=0.05)),
    "dead": Diagnosis(
        "Units that are dead from the start",
        lambda: chain(
            6,
            "relu",
            kernel_initializer="he_normal",
            bias_initializer=keras.initializers.Constant(-8.0),
        ),
    ),
    "saturated": Diagnosis("Saturated tanh", lambda: chain(12, "tanh", deviation=1.5), "gradient"),
    "constant": Diagnosis(
        "Constant kernels", lambda: chain(4, "tanh", kernel_initializer="ones"), "correlation"
    ),
    "zeros": Diagnosis(
        "Kernels of zeros before ReLU", lambda: chain(4, "relu", kernel_initializer="zeros")
    ),
    "softmax": Diagnosis("A softmax of a softmax", twice_softmax, "gradient"),
    "relu-scores": Diagnosis(
        "ReLU scores before cross entropy",
        lambda: chain(3, "relu", last="relu", kernel_initializer="he_normal"),
        "gradient",
    ),
    "depthwise": Diagnosis("Depthwise kernels by default", depthwise),
}


def main() -> None:
    """Writes the page, and the pictures of those that are named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(DIAGNOSES))
    chosen = parser.parse_args().names or DIAGNOSES
    parts = [HEAD]
    for name, diagnosis in DIAGNOSES.items():
        keras.utils.set_random_seed(0)
        result = autoinit.check(
            diagnosis.model(),
            verbose=False,
            settings={"samples": 32, "gradients": diagnosis.view == "gradient"},
        )
        if name in chosen:
            save(picture(result, diagnosis.view), DOCS / f"gallery-{name}.png")
        parts.append(section(name, diagnosis, result))
        print(name, result.verdicts["uploaded"].causes)
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


def picture(result: Result, view: str) -> Any:
    """The chart, of the model's own weights and of AutoInit's."""
    shown = result.model_copy(update={"series": ("uploaded", "autoinit")})
    variant = next(iter(VIEWS[view].variants), "")
    figure = VIEWS[view].draw(shown, False, variant)
    return figure.update_layout(template="plotly_white")


def section(name: str, diagnosis: Diagnosis, result: Result) -> str:
    """What is said of it, and its picture."""
    found = result.verdicts["uploaded"]
    causes = ", ".join(f"[`{code}`](findings.md#{code})" for code in found.causes)
    remedy = f" {found.advice}" if found.advice else ""
    after = result.verdicts["autoinit"].verdict
    what = VIEWS[diagnosis.view].title
    return (
        f"## {diagnosis.title}\n\n**{found.verdict.capitalize()}.** {found.reason}{remedy}\n\n"
        f"With AutoInit's weights: {after}. {causes}\n\n"
        f"![{diagnosis.title}: {what.lower()}](gallery-{name}.png)\n"
    )


if __name__ == "__main__":
    main()
