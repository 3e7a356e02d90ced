"""How well predictions follow measurements, on networks of `keras.applications`.

    python -m benchmarks.accuracy ResNet50 VGG16     # a row for each network and signal model
    python -m benchmarks.accuracy trained.keras      # of a file's own weights

Each prediction is held against the geometric or the arithmetic mean over draws, whichever is
nearer: they differ where draws scatter. *close*: within 10 %; *agree*: that, or within the 95 %
confidence interval of the mean; *held*: weighted calls that measure 0.8 to 1.25 with our weights.
"""

from __future__ import annotations

import argparse
import math

import keras
import numpy as np
from scipy.stats import t as student

from app.analysis.comparison import compare
from app.analysis.comparison.figures import calls_of
from app.analysis.settings import Settings
from autoinit.signals import SIGNAL_MODELS

NAMES = ("VGG16", "ResNet50", "MobileNetV2", "DenseNet121", "EfficientNetB0")
SIZE, SAMPLES, DRAWS = 96, 16, 5
SAMPLES_OF_FILES = 256


def row(name: str, signal_model: str) -> str:
    """One network's figures as a row of a table: AutoInit's series, or a file's own weights."""
    is_file = name.endswith(".keras")
    series, samples = ("uploaded", SAMPLES_OF_FILES) if is_file else ("autoinit", SAMPLES)
    if is_file:
        model = keras.models.load_model(name, compile=False)
    else:
        build = getattr(keras.applications, name)
        model = build(weights=None, classes=100, input_shape=(SIZE, SIZE, 3))
    settings = Settings(samples=samples, seeds=DRAWS, signal_model=signal_model)
    calls = calls_of(compare(model, settings, uploaded=is_file))
    distances, agree, held = [], [], []
    for call in calls:
        figures = (
            moments.variance_draws if moments else None
            for moments in (call.measured(series), call.predicted(series))
        )
        measured, predicted = (np.array(draws, float) for draws in figures)
        if not (measured > 0).all() or not (predicted > 0).all():
            continue
        logs = np.log(measured)
        centers = np.array([logs.mean(), math.log(measured.mean())])
        distance = float(np.abs(np.log(predicted).mean() - centers).min())
        error = student.ppf(0.975, DRAWS - 1) * logs.std(ddof=1) / math.sqrt(DRAWS)
        distances.append(distance)
        agree.append(distance <= max(math.log(1.1), error))
        if call.weighted:
            held.append(0.8 <= math.exp(centers[0]) <= 1.25)
    close = np.array(distances) < math.log(1.1)
    ratios = np.exp(np.quantile(distances, (0.9, 0.99)))
    return (
        f"| {name} | {signal_model} | {len(distances)} | {close.mean():.3f} | {np.mean(agree):.3f} "
        f"| {ratios[0]:.2f} | {ratios[1]:.2f} | {np.mean(held):.3f} |"
    )


def main(names: tuple[str, ...] = NAMES) -> None:
    """Prints the table."""
    print("| network | signal model | calls | close | agree | 90th perc. | 99th | held |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        for signal_model in reversed(SIGNAL_MODELS):
            print(row(name, signal_model), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Predictions against measurements.")
    parser.add_argument("names", nargs="*", default=NAMES)
    main(tuple(parser.parse_args().names))
