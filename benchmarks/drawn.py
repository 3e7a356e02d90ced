"""Verdicts held against trainings of networks drawn at random: `python -m benchmarks.drawn`.

No one chose these networks: kind, depth, width, activation, initializer, normalization, dropout and
head are drawn, which finds what labelled cases leave out. Each learns scikit-learn's digits for 300
steps: by SGD with momentum, and by Adam, at the best of some rates. Printed are those whose verdict
these trainings do not bear out, and how many there are of each word.

    python -m benchmarks.drawn --first 0 --count 60     # numbers, which are seeds
    python -m benchmarks.drawn --first 17 --count 1 --all
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import initializers, layers

from autoinit import check
from benchmarks.trainings import RATES, gained

INITIALIZERS: Mapping[str, Callable[[], Any]] = {
    "glorot": initializers.GlorotUniform,
    "he": initializers.HeNormal,
    "lecun": initializers.LecunNormal,
    "orthogonal": initializers.Orthogonal,
    "N(0, 0.01)": lambda: initializers.RandomNormal(stddev=0.01),
    "N(0, 0.05)": lambda: initializers.RandomNormal(stddev=0.05),
    "N(0, 0.3)": lambda: initializers.RandomNormal(stddev=0.3),
    "N(0, 1)": lambda: initializers.RandomNormal(stddev=1.0),
    "U(-0.05, 0.05)": lambda: initializers.RandomUniform(-0.05, 0.05),
}
ACTIVATIONS = (
    "relu", "relu", "relu", "tanh", "sigmoid", "selu", "elu", "gelu", "silu", "leaky_relu",
    "softplus",
)  # fmt: skip
NORMALIZATIONS: Mapping[str, Callable[[], Any]] = {
    "batch": layers.BatchNormalization,
    "layer": layers.LayerNormalization,
}
MOST_LAYERS, MOST_PARAMETERS = 24, 1_500_000
OPTIMIZERS: Mapping[str, tuple[Callable[[], Any], tuple[float, ...]]] = {
    "sgd": (lambda: keras.optimizers.SGD(momentum=0.9, clipnorm=10.0), RATES),
    "adam": (keras.optimizers.Adam, (1e-3, 1e-2)),
}
# Shares of what chance loses: a network that gains less does not train, one that gains more does.
LITTLE, MUCH = 0.15, 0.7


@dataclass(frozen=True)
class Draw:
    """What was drawn of one network; `str` of it says all."""

    kind: str
    depth: int
    width: int
    activation: str
    initializer: str
    normalization: str
    dropout: float
    head: str

    def kernel(self) -> Any:
        """An initializer of its own for one kernel."""
        return INITIALIZERS[self.initializer]()

    def dense(self, x: Any, units: int = 0, activation: str | None = None) -> Any:
        """A dense layer."""
        return layers.Dense(units or self.width, activation, kernel_initializer=self.kernel())(x)

    def convolution(self, x: Any) -> Any:
        """A convolution of 3 × 3."""
        return layers.Conv2D(16, 3, padding="same", kernel_initializer=self.kernel())(x)

    def shaped(self, x: Any) -> Any:
        """Normalization, activation and dropout, as they were drawn."""
        if self.normalization:
            x = NORMALIZATIONS[self.normalization]()(x)
        x = layers.Activation(self.activation)(x)
        return layers.Dropout(self.dropout)(x) if self.dropout else x


def _chain(draw: Draw, x: Any) -> Any:
    return draw.shaped(draw.dense(x))


def _residual(draw: Draw, x: Any) -> Any:
    return layers.Add()([x, draw.shaped(draw.dense(x))])


def _two_layers_round(draw: Draw, x: Any) -> Any:
    return layers.Activation(draw.activation)(
        layers.Add()([x, draw.dense(draw.shaped(draw.dense(x)))])
    )


def _highway(draw: Draw, x: Any) -> Any:
    gate = draw.dense(x, activation="sigmoid")
    kept = layers.Multiply()([layers.Rescaling(-1.0, 1.0)(gate), x])
    return layers.Add()([layers.Multiply()([gate, draw.shaped(draw.dense(x))]), kept])


def _gated(draw: Draw, x: Any) -> Any:
    return layers.Multiply()([draw.shaped(draw.dense(x)), draw.dense(x, activation="sigmoid")])


def _product(draw: Draw, x: Any) -> Any:
    return layers.Multiply()([draw.shaped(draw.dense(x)), draw.dense(x, activation="tanh")])


def _convolutions(draw: Draw, x: Any) -> Any:
    return draw.shaped(draw.convolution(x))


def _squeeze_and_excite(draw: Draw, x: Any) -> Any:
    y = draw.shaped(draw.convolution(x))
    squeezed = draw.dense(layers.GlobalAveragePooling2D()(y), 4, "relu")
    return layers.Multiply()([y, layers.Reshape((1, 1, 16))(draw.dense(squeezed, 16, "sigmoid"))])


def _residual_convolutions(draw: Draw, x: Any) -> Any:
    return layers.Add()([x, draw.convolution(draw.shaped(draw.convolution(x)))])


def _separable(draw: Draw, x: Any) -> Any:
    layer = layers.SeparableConv2D(
        16, 3, padding="same",
        depthwise_initializer=draw.kernel(), pointwise_initializer=draw.kernel(),
    )  # fmt: skip
    return draw.shaped(layer(x))


def _recurrence(draw: Draw, x: Any) -> Any:
    cell = {"layer": layers.GRU, "batch": layers.LSTM}.get(draw.normalization, layers.SimpleRNN)
    function = draw.activation if draw.activation in ("relu", "tanh") else "tanh"
    return cell(
        min(draw.width, 64), function, return_sequences=True, kernel_initializer=draw.kernel(),
        dropout=draw.dropout,
    )(x)  # fmt: skip


def _transformer(draw: Draw, x: Any) -> Any:
    width = int(x.shape[-1])
    h = layers.LayerNormalization()(x)
    heads = layers.MultiHeadAttention(2, width // 2, kernel_initializer=draw.kernel())(h, h)
    x = layers.Add()([x, heads])
    h = draw.dense(layers.LayerNormalization()(x), 2 * width, draw.activation)
    return layers.Add()([x, draw.dense(h, width)])


# One block, what it gets, and how many there are at the most.
KINDS: Mapping[str, tuple[Callable[[Draw, Any], Any], tuple[int, ...], int]] = {
    "chain": (_chain, (64,), MOST_LAYERS),
    "residual": (_residual, (64,), MOST_LAYERS),
    "two layers round": (_two_layers_round, (64,), MOST_LAYERS),
    "highway": (_highway, (64,), MOST_LAYERS),
    "gated": (_gated, (64,), MOST_LAYERS),
    "product": (_product, (64,), 6),
    "convolutions": (_convolutions, (8, 8, 1), 16),
    "squeeze and excite": (_squeeze_and_excite, (8, 8, 1), 8),
    "residual convolutions": (_residual_convolutions, (8, 8, 1), 8),
    "separable": (_separable, (8, 8, 1), 12),
    "recurrence": (_recurrence, (8, 8), 3),
    "transformer": (_transformer, (8, 8), 6),
}


def drawn(seed: int) -> Draw:
    """What a number stands for."""
    chance = random.Random(seed)
    kind = chance.choice([*KINDS])
    _, shape, most = KINDS[kind]
    return Draw(
        kind,
        max(1, round(math.exp(chance.uniform(0.0, math.log(most))))),
        chance.choice((16, 32, 64, 128)),
        chance.choice(ACTIVATIONS),
        chance.choice((*INITIALIZERS, *["glorot", "he"] * 3)),
        chance.choice(("", "", "", *NORMALIZATIONS)),
        chance.choice((0.0, 0.0, 0.0, 0.2, 0.5)),
        chance.choice(("flatten", "average")) if len(shape) > 1 else "",
    )


def network(draw: Draw, seed: int) -> Any:
    """A classifier of ten classes."""
    keras.utils.set_random_seed(seed)
    block, shape, _ = KINDS[draw.kind]
    x = given = keras.Input(shape)
    x = draw.convolution(x) if len(shape) == 3 else draw.dense(x)
    for _ in range(draw.depth):
        x = block(draw, x)
    if draw.head == "average":
        x = (layers.GlobalAveragePooling2D if len(shape) == 3 else layers.GlobalAveragePooling1D)()(
            x
        )
    elif draw.head:
        x = layers.Flatten()(x)
    return keras.Model(given, layers.Dense(10, "softmax")(x))


def held_against(word: str, gain: float) -> bool:
    """Whether a training bears a word out."""
    return gain >= LITTLE if word == "trains" else gain <= MUCH


def main() -> None:
    """Print the networks that are told wrongly, and how many there are of each word."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--all", action="store_true", help="print all of them")
    arguments = parser.parse_args()
    found: dict[tuple[str, str], list[bool]] = {}
    for seed in range(arguments.first, arguments.first + arguments.count):
        draw = drawn(seed)
        for name, (optimizer, rates) in OPTIMIZERS.items():
            model = network(draw, seed)
            if model.count_params() > MOST_PARAMETERS:
                break
            model.compile(name, "sparse_categorical_crossentropy")
            verdict = check(model, verbose=False).verdicts["uploaded"]
            gain = gained(model, optimizer(), rates)
            right = held_against(verdict.verdict, gain)
            found.setdefault((name, verdict.verdict), []).append(right)
            if arguments.all or not right:
                told = f"{verdict.verdict}, gains {gain:.0%} by {name}"
                print(f"{seed}: {told}; {', '.join(verdict.causes)}; {draw}", flush=True)
            keras.utils.clear_session()
    print("| compiled with | verdict | networks | not borne out |\n|---|---|---|---|")
    for (name, word), rights in sorted(found.items()):
        print(f"| {name} | {word} | {len(rights)} | {rights.count(False)} |")


if __name__ == "__main__":
    main()
