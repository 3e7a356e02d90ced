"""How well predictions follow trained networks: `python -m benchmarks.trained [NAME ...]`.

Small networks of many kinds learn scikit-learn's digits, each in seconds, are saved, and are opened
and analysed as anybody's file is. Of the uploaded weights and of the default ones: *close*, calls
within 10 %; *agree*, that, or within two standard errors of the mean over draws of what is measured
(of weights where these are drawn, of inputs for the uploaded ones). Of AutoInit's: *held*, weighted
calls that measure 0.8 to 1.25, averaged over draws; *on average*, those whose geometric mean over
draws does; what is held of one draw and not of many is the scatter of a narrow layer. *Calibrated*,
what is held once each kernel is scaled by what is measured behind it.

    python -m benchmarks.trained cnn --misses          # the calls that are missed, one a line
    python -m benchmarks.trained --folder DIRECTORY    # keeps the trained files there for next time
"""

from __future__ import annotations

import argparse
import math
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import Model, layers, ops
from sklearn.datasets import load_digits

from app.analysis.comparison import compare
from app.analysis.comparison.figures import calls_of
from app.analysis.settings import Settings

EPOCHS, BATCH, RATE = 12, 32, 2e-3
SAMPLES, DRAWS = 256, 3
CLOSE, HELD = math.log(1.1), (0.8, 1.25)


def mlp() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Flatten()(x)
    for units, activation in ((64, "relu"), (48, "tanh"), (48, "gelu"), (32, "relu")):
        x = layers.Dense(units, activation)(x)
    return Model(inputs, layers.Dense(10, "softmax")(x))


def cnn() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(24, 3, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.2)(layers.Conv2D(32, 3, padding="same", activation="relu")(x))
    x = layers.Dense(48, "relu")(layers.Flatten()(x))
    return Model(inputs, layers.Dense(10, "softmax")(x))


def normalized() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    for filters, stride in ((12, 1), (16, 2), (24, 1), (24, 2)):
        x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
        x = layers.LeakyReLU(0.1)(layers.BatchNormalization()(x))
    return Model(inputs, layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(x)))


def residual() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, padding="same")(x)
    for filters, stride in ((16, 1), (24, 2), (32, 1)):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        skip = layers.Conv2D(filters, 1, stride)(y) if filters != x.shape[-1] else x
        y = layers.Conv2D(filters, 3, stride, padding="same")(y)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        x = layers.Add()([skip, layers.Conv2D(filters, 3, padding="same")(y)])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return Model(inputs, layers.Dense(10, "softmax")(x))


def depthwise() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(12, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    for filters, stride in ((16, 1), (24, 2), (24, 1)):
        y = layers.Conv2D(2 * filters, 1, use_bias=False)(x)
        y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
        y = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(y)
        y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(filters, 1, use_bias=False)(y))
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    return Model(inputs, layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(x)))


def gated() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, padding="same", activation="swish")(x)
    for _ in range(2):
        y = layers.Conv2D(16, 3, padding="same", activation="swish")(x)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
        gate = layers.Conv2D(4, 1, activation="swish")(gate)
        gate = layers.Conv2D(16, 1, activation="sigmoid")(gate)
        x = layers.Add()([x, layers.Multiply()([y, gate])])
    x = layers.AveragePooling2D(2)(x)
    return Model(inputs, layers.Dense(10, "softmax")(layers.Flatten()(x)))


def unet() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    skips = []
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(24, 3, padding="same", activation="relu")(x)
    for filters in (16, 8):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skips.pop()])
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return Model(inputs, layers.Conv2D(1, 1)(x), name="to_images")


def autoencoder() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    for filters in (12, 24):
        x = layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    x = layers.Dense(12, "tanh")(layers.Flatten()(x))
    x = layers.Reshape((2, 2, 24))(layers.Dense(96, "relu")(x))
    x = layers.Conv2DTranspose(16, 3, 2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(12, 3, 2, padding="same", activation="relu")(x)
    return Model(inputs, layers.Conv2D(1, 3, padding="same")(x), name="to_images")


def lstm() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    x = layers.LSTM(32, return_sequences=True)(layers.Reshape((8, 8))(x))
    x = layers.Dense(24, "relu")(layers.LSTM(24)(x))
    return Model(inputs, layers.Dense(10, "softmax")(x))


def gru() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv1D(24, 3, padding="same", activation="relu")(layers.Reshape((8, 8))(x))
    x = layers.Bidirectional(layers.GRU(20, return_sequences=True))(x)
    x = layers.GlobalMaxPooling1D()(x)
    return Model(inputs, layers.Dense(10, "softmax")(layers.LayerNormalization()(x)))


def _encoded(x: Any, blocks: int, width: int) -> Any:
    for _ in range(blocks):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, width // 4)(y, y)])
        y = layers.Dense(2 * width, "gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(width)(y)])
    return layers.LayerNormalization()(x)


def transformer() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    x = _encoded(layers.Dense(32)(layers.Reshape((8, 8))(x)), 2, 32)
    return Model(inputs, layers.Dense(10, "softmax")(layers.GlobalAveragePooling1D()(x)))


def patches() -> Model:
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Reshape((16, 24))(layers.Conv2D(24, 2, 2, activation="relu")(x))
    x = layers.Dense(32, "relu")(layers.Flatten()(_encoded(x, 1, 24)))
    return Model(inputs, layers.Dense(10, "softmax")(x))


def tokens() -> Model:
    inputs = keras.Input((64,), dtype="int32")
    x = layers.Embedding(17, 12)(inputs)
    x = layers.Conv1D(24, 8, 8, activation="relu")(x)
    x = layers.Conv1D(24, 3, padding="causal", activation="relu")(x)
    x = layers.Dense(32, "relu")(layers.Flatten()(x))
    return Model(inputs, layers.Dense(10, "softmax")(x))


def siamese() -> Model:
    one, other = keras.Input((8, 8, 1), name="one"), keras.Input((8, 8, 1), name="other")
    tower = keras.Sequential(
        [
            layers.Conv2D(12, 3, activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(24, "relu"),
        ]
    )
    apart = ops.abs(layers.Subtract()([tower(one), tower(other)]))
    x = layers.Dense(1, "sigmoid")(layers.Dense(16, "relu")(apart))
    return Model([one, other], x, name="pairs")


def convnext() -> Model:
    """With global response normalization, as of ConvNeXt V2 (Woo et al. 2023), γ = 1 and β = 0."""
    x = inputs = keras.Input((8, 8, 1))
    x = layers.LayerNormalization()(layers.Conv2D(16, 2, 2)(x))
    for _ in range(2):
        y = layers.DepthwiseConv2D(3, padding="same")(x)
        y = layers.Dense(48, "gelu")(layers.LayerNormalization()(y))
        length = ops.sqrt(ops.sum(ops.square(y), (1, 2), keepdims=True))
        y = y * (length / (ops.mean(length, -1, keepdims=True) + 1e-6)) + y
        x = layers.Add()([x, layers.Dense(16)(y)])
    x = layers.LayerNormalization()(layers.GlobalAveragePooling2D()(x))
    return Model(inputs, layers.Dense(10, "softmax")(x))


NETWORKS: dict[str, Callable[[], Model]] = {
    build.__name__: build
    for build in (
        mlp, cnn, normalized, residual, depthwise, gated, unet, autoencoder, lstm, gru,
        transformer, patches, tokens, siamese, convnext,
    )
}  # fmt: skip


def train(name: str) -> Model:
    """A network that has learnt digits: classes, or their own images, or whether two are alike."""
    keras.utils.set_random_seed(zlib.crc32(name.encode()))
    model = NETWORKS[name]()
    images, labels = load_digits(return_X_y=True)
    x: Any = (images.reshape(-1, 8, 8, 1) / 8 - 1).astype(np.float32)
    y: Any = labels
    loss = "sparse_categorical_crossentropy"
    if model.inputs[0].dtype == "int32":
        x = images.astype(np.int32)
    if model.name == "to_images":
        y, loss = x, "mse"
    if model.name == "pairs":
        order = np.random.default_rng(0).permutation(len(x))
        order[::2] = np.arange(len(x))[np.argsort(labels, kind="stable")][::2]
        ranked = np.argsort(labels, kind="stable")
        other = np.where(np.arange(len(x)) % 2, order, np.roll(ranked, 1))
        first = np.where(np.arange(len(x)) % 2, np.arange(len(x)), ranked)
        y, loss = (labels[first] == labels[other]).astype(float), "binary_crossentropy"
        x = [x[first], x[other]]
    model.compile(keras.optimizers.Adam(RATE), loss)
    model.fit(x, y, BATCH, EPOCHS, verbose=0)
    return model


@dataclass(frozen=True)
class Figure:
    """What was predicted and measured of a call, over draws.

    Attributes:
        series: of weights.
        path, kind: of the call.
        weighted: whether it has a kernel that AutoInit draws.
        predicted, measured: variances of the draws.
    """

    series: str
    path: str
    kind: str
    weighted: bool
    predicted: np.ndarray
    measured: np.ndarray

    @property
    def distance(self) -> float:
        """Logarithm of the prediction over the nearer of the means over draws."""
        centers = np.log(self.measured).mean(), math.log(self.measured.mean())
        distances = [float(np.log(self.predicted).mean() - center) for center in centers]
        return min(distances, key=abs)

    @property
    def close(self) -> bool:
        return abs(self.distance) < CLOSE

    @property
    def agrees(self) -> bool:
        error = float(np.log(self.measured).std(ddof=1)) / math.sqrt(len(self.measured))
        return abs(self.distance) < max(CLOSE, 2 * error)

    @property
    def held(self) -> float:
        """Share of the draws."""
        return float(np.mean((self.measured >= HELD[0]) & (self.measured <= HELD[1])))

    @property
    def held_on_average(self) -> bool:
        return bool(HELD[0] <= math.exp(np.log(self.measured).mean()) <= HELD[1])


def figures(path: Path, samples: int, draws: int) -> Iterator[Figure]:
    """Of the calls of a file, in the three series."""
    model = keras.models.load_model(path, compile=False)
    settings = Settings(samples=samples, seeds=draws, schemes=("calibrated",))
    for call in calls_of(compare(model, settings, uploaded=True)):
        for series in ("uploaded", "default", "autoinit", "calibrated"):
            both = [
                np.array(moments.variance_draws if moments else [math.nan], float)
                for moments in (call.predicted(series), call.measured(series))
            ]
            # Of calibrated kernels nothing is predicted.
            if all((each > 0).all() for each in (both[1:] if series == "calibrated" else both)):
                yield Figure(series, call.path, call.class_name, bool(call.weighted), *both)


def _share(values: list[Any]) -> str:
    return f"{np.mean(values):.3f}" if values else "-"


def row(name: str, found: list[Figure]) -> str:
    """A row of the table."""
    uploaded, default, autoinit, calibrated = (
        [each for each in found if each.series == series]
        for series in ("uploaded", "default", "autoinit", "calibrated")
    )
    weighted = [each for each in autoinit if each.weighted]
    cells = [
        name,
        str(len(uploaded)),
        *(
            f"{_share([each.close for each in some])} / {_share([each.agrees for each in some])}"
            for some in (uploaded, default, autoinit)
        ),
        str(len(weighted)),
        _share([each.held for each in weighted]),
        _share([each.held_on_average for each in weighted]),
        _share([each.held for each in calibrated if each.weighted]),
    ]
    return f"| {' | '.join(cells)} |"


def missed(name: str, found: list[Figure]) -> Iterator[str]:
    """Calls that are not close, and weighted ones that are not held, one a line."""
    for each in found:
        if each.series == "calibrated":
            continue
        loose = each.series == "autoinit" and each.weighted and each.held < 1
        if not each.close or loose:
            measured = " ".join(f"{value:.4g}" for value in each.measured)
            predicted = math.exp(np.log(each.predicted).mean())
            yield (
                f"{name:12} {each.series:9} {each.kind:24} {each.path:40} {predicted:9.4g} for "
                f"{measured} ({math.exp(each.distance):.2f}{', scatter' * each.agrees}"
                f"{', not held' * loose})"
            )


def main() -> None:
    """Prints the table, and what is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--folder", type=Path, help="where trained files are kept")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--misses", action="store_true")
    arguments = parser.parse_args()
    print(
        "| network | calls | uploaded: close / agree | default | AutoInit | weighted | held ",
        end="",
    )
    print("| on average | calibrated |\n|---|---|---|---|---|---|---|---|---|")
    every: list[Figure] = []
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.names:
            path = folder / f"{name}.keras"
            if not path.exists():
                train(name).save(path)
            found = list(figures(path, arguments.samples, arguments.draws))
            every += found
            lines += missed(name, found)
            print(row(name, found), flush=True)
            keras.utils.clear_session()
    print(row("all", every))
    if arguments.misses:
        print(*lines, sep="\n")


if __name__ == "__main__":
    main()
