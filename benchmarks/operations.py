"""Every layer and operation of Keras behind small networks, predicted against measured.

    python -m benchmarks.operations                  # all, behind each of the four networks
    python -m benchmarks.operations Softmax matmul   # those with one of these in their names
    python -m benchmarks.operations --pairs 200      # so many compositions of two, at random
    python -m benchmarks.operations --draws 32 --behind vector

Behind a rectified convolution of 6 × 6 and of 10 positions, a rectified dense layer and an LSTM:
each has 24 channels, weights as Keras draws them, and inputs of N(0, 1). Printed are those whose
variance, or whose mean, is off by more than a tenth (a mean, of the root of the second moment), and
by more than three standard errors of the difference over the draws (of eight draws some rows are
off by luck: these again, with more); *told as exact* are those that
are not marked `approximate` or `pass_through`.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from autoinit.initializers.drawing import draw_configured_weights
from autoinit.propagation import Options, input_signals, predict
from autoinit.reading import read_model
from autoinit.signals.signal import Observed
from probes.forward import probe_model

CHANNELS, DRAWS, SAMPLES = 24, 8, 64
BORDER, ERRORS = 0.1, 3.0

# From the surest on: a network's row has the least sure of its calls.
SUPPORTS = ("neutral", "exact", "sampled", "approximate", "pass_through")
_LEAST = 1e-12  # of a variance: below it there is none

Operation = Callable[[Any], Any]
Table = Mapping[str, Operation]


class Row(NamedTuple):
    """One operation behind one network: means over draws.

    Attributes:
        network, name: which.
        support: how the prediction was obtained, of the least sure call.
        predicted, measured: variances.
        means: predicted and measured.
        is_off: whether by more than the borders say.
    """

    network: str
    name: str
    support: str
    predicted: float
    measured: float
    means: tuple[float, float]
    is_off: bool

    @property
    def told_as_exact(self) -> bool:
        """Whether nothing says that it may be off."""
        return self.support not in ("approximate", "pass_through")

    def __str__(self) -> str:
        cells = (
            self.network, self.name, self.support, f"{self.predicted:.3g}", f"{self.measured:.3g}",
            *(f"{mean:.3g}" for mean in self.means),
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"


def _network(sizes: tuple[int, ...], layer: Callable[[], Any]) -> Callable[[], tuple[Any, Any]]:
    def build() -> tuple[Any, Any]:
        data = keras.Input(sizes)
        return data, layer()(data)

    return build


_RECTIFIED = {"activation": "relu", "kernel_initializer": "he_normal"}
NETWORKS = {
    "map": _network(
        (6, 6, 3), lambda: layers.Conv2D(CHANNELS, 3, padding="same", **_RECTIFIED)
    ),
    "sequence": _network(
        (10, 5), lambda: layers.Conv1D(CHANNELS, 3, padding="same", **_RECTIFIED)
    ),
    "vector": _network((12,), lambda: layers.Dense(CHANNELS, **_RECTIFIED)),
    "states": _network((10, 5), lambda: layers.LSTM(CHANNELS, return_sequences=True)),
}  # fmt: skip


def of_names(names: str, **options: Any) -> dict[str, Operation]:
    """Operations of `keras.ops` that take a tensor and some options."""

    def operation(name: str) -> Operation:
        return lambda x: ops.cast(getattr(ops, name)(x, **options), "float32")

    told = "".join(f" {key}={value}" for key, value in options.items())
    return {name + told: operation(name) for name in names.split()}


_FUNCTIONS = of_names(
    "abs arccos arcsinh arctan cbrt ceil celu clip cos cosh elu erf exp exp2 expm1 floor gelu "
    "hard_shrink hard_sigmoid hard_silu hard_tanh heaviside isfinite leaky_relu log1p log_sigmoid "
    "log_softmax logical_not nan_to_num negative relu relu6 round selu sigmoid sign signbit silu "
    "sin sinc sinh soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax sqrt "
    "square squareplus tan tanh tanh_shrink threshold trunc"
)
_FUNCTIONS["clip"] = lambda x: ops.clip(x, 0.2, 1.0)
_FUNCTIONS["heaviside"] = lambda x: ops.heaviside(x - 0.3, ops.zeros_like(x))
_FUNCTIONS["arccos"] = lambda x: ops.arccos(ops.tanh(x))
_FUNCTIONS["threshold"] = lambda x: ops.threshold(x, 0.3, -1.0)

_REDUCTIONS = "all any logsumexp max mean median min norm prod std sum var"
_PLACES = "argmax argmin"  # along one axis alone
_OVER_CHANNELS: Table = {
    **of_names(f"{_REDUCTIONS} {_PLACES}", axis=-1, keepdims=True),
    **of_names("argsort cumprod cumsum diff flip normalize softmax log_softmax sort", axis=-1),
    "norm of order 1": lambda x: ops.norm(x, ord=1, axis=-1, keepdims=True),
    "normalize of order 1": lambda x: ops.normalize(x, axis=-1, order=1),
    "count_nonzero": lambda x: ops.cast(ops.count_nonzero(x, axis=-1), "float32"),
    "quantile": lambda x: ops.quantile(x, 0.7, axis=-1, keepdims=True),
    "top_k": lambda x: ops.top_k(x, 3)[0],
    "take of channels": lambda x: ops.take(x, [0, 2, 2], axis=-1),
    "take_along_axis": lambda x: ops.take_along_axis(x, ops.argsort(x, axis=-1), axis=-1),
    "split": lambda x: ops.split(x, 2, axis=-1)[1],
    "glu": keras.activations.glu,
    "repeat of channels": lambda x: ops.repeat(x, 2, axis=-1),
    "roll of channels": lambda x: ops.roll(x, 2, axis=-1),
    "concatenate": lambda x: ops.concatenate([x, -x, 3 * x], axis=-1),
    "concatenate with others": lambda x: ops.concatenate([x, layers.Dense(CHANNELS)(x)], -1),
    "stack": lambda x: ops.stack([x, 2 * x], axis=-1),
    "layer_normalization": lambda x: ops.layer_normalization(x, axis=-1),
    "rms_normalization": lambda x: ops.rms_normalization(x, axis=-1),
    "one_hot": lambda x: ops.one_hot(ops.argmax(x, axis=-1), CHANNELS),
}
_ARITHMETIC: Table = {
    "x·x": lambda x: x * x,
    "x/(1 + x²)": lambda x: x / (1.0 + x * x),
    "(x − 1)²": lambda x: ops.square(x - 1.0),
    "x³": lambda x: ops.power(x, 3.0),
    "1/(x + 1)": lambda x: ops.reciprocal(ops.abs(x) + 1.0),
    "maximum": lambda x: ops.maximum(x, 0.7),
    "floor_divide": lambda x: ops.floor_divide(x, 0.3),
    "mod": lambda x: ops.mod(x, 0.5),
    "where": lambda x: ops.where(x > 0.5, x, -1.0),
    "where of others": lambda x: ops.where(x > 0.5, layers.Dense(CHANNELS)(x), x),
    "logaddexp": lambda x: ops.logaddexp(x, layers.Dense(CHANNELS)(x)),
    "arctan2": lambda x: ops.arctan2(x, layers.Dense(CHANNELS)(x)),
    "x + Wx": lambda x: layers.Add()([x, layers.Dense(CHANNELS)(x)]),
    "x − Wx": lambda x: layers.Subtract()([x, layers.Dense(CHANNELS)(x)]),
    "x·Wx": lambda x: layers.Multiply()([x, layers.Dense(CHANNELS)(x)]),
    "max(x, Wx)": lambda x: layers.Maximum()([x, layers.Dense(CHANNELS)(x)]),
    "min(x, Wx)": lambda x: layers.Minimum()([x, layers.Dense(CHANNELS)(x)]),
    "mean(x, x, Wx)": lambda x: layers.Average()([x, x, layers.Dense(CHANNELS)(x)]),
    "Wx·sigmoid(Vx)": lambda x: layers.Dense(8)(x) * layers.Dense(8, activation="sigmoid")(x),
    "x less its mean": lambda x: x - ops.mean(x, axis=-1, keepdims=True),
    "x over its norm": lambda x: x / (ops.norm(x, axis=-1, keepdims=True) + 1e-3),
    "layer normalization by hand": lambda x: (
        (x - ops.mean(x, -1, keepdims=True)) / ops.sqrt(ops.var(x, -1, keepdims=True) + 1e-3)
    ),
}
_ANYWHERE: dict[str, Operation] = {
    **_FUNCTIONS,
    **_OVER_CHANNELS,
    **_ARITHMETIC,
    "Activation": layers.Activation("mish"),
    "AlphaDropout": layers.AlphaDropout(0.3),
    "BatchNormalization": layers.BatchNormalization(),
    "Dense": layers.Dense(8, bias_initializer="normal"),
    "Dropout": layers.Dropout(0.3),
    "ELU": layers.ELU(),
    "Flatten": layers.Flatten(),
    "GaussianDropout": layers.GaussianDropout(0.3),
    "GaussianNoise": layers.GaussianNoise(0.5),
    "Identity": layers.Identity(),
    "LayerNormalization": layers.LayerNormalization(),
    "LeakyReLU": layers.LeakyReLU(),
    "Normalization": layers.Normalization(mean=0.3, variance=2.0),
    "PReLU": layers.PReLU(alpha_initializer="normal"),
    "RMSNormalization": layers.RMSNormalization(),
    "ReLU": layers.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.3),
    "Rescaling": layers.Rescaling(2.0, offset=-0.5),
    "Softmax": layers.Softmax(),
    "SpectralNormalization": layers.SpectralNormalization(layers.Dense(8)),
    "UnitNormalization": layers.UnitNormalization(),
}


def _by_steps() -> dict[str, Operation]:
    """What is made of sequences, after a rectified convolution or an LSTM."""
    return {
        **of_names(f"{_REDUCTIONS} {_PLACES}", axis=1),
        **of_names("cumsum cumprod diff flip normalize softmax sort", axis=1),
        "x[:, 0]": lambda x: x[:, 0],
        "x[:, 2:5]": lambda x: x[:, 2:5],
        "concatenate of steps": lambda x: ops.concatenate([x, layers.Dense(CHANNELS)(x)], axis=1),
        "transpose": lambda x: ops.transpose(x, (0, 2, 1)),
        "dense over steps": lambda x: layers.Dense(8)(ops.swapaxes(x, 1, 2)),
        "x less its mean over steps": lambda x: x - ops.mean(x, axis=1, keepdims=True),
        "x·xᵀ": lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))),
        "xᵀ·x": lambda x: ops.einsum("btc,btd->bcd", x, x),
        "x·(Wx)ᵀ": lambda x: ops.einsum("btc,bsc->bts", x, layers.Dense(CHANNELS)(x)),
        "shares of x, of x": lambda x: ops.matmul(
            ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), x
        ),
        "self-attention of parts": _attention_of_parts,
        "Dot": lambda x: layers.Dot(axes=2)([x, layers.Dense(CHANNELS)(x)]),
        "Dot with itself": lambda x: layers.Dot(axes=2)([x, x]),
        "Dot, normalized": lambda x: layers.Dot(axes=2, normalize=True)([x, layers.Dense(24)(x)]),
        "Attention": lambda x: layers.Attention()([x, x]),
        "Attention, concat": lambda x: layers.Attention(score_mode="concat")([x, x]),
        "Attention to others": lambda x: layers.Attention()([x, layers.Dense(CHANNELS)(x)]),
        "AdditiveAttention": lambda x: layers.AdditiveAttention()([x, x]),
        "MultiHeadAttention": lambda x: layers.MultiHeadAttention(4, 6)(x, x),
        "GroupQueryAttention": lambda x: layers.GroupQueryAttention(6, 4, 2)(x, x),
        "AveragePooling1D": layers.AveragePooling1D(3, 2, padding="same"),
        "MaxPooling1D": layers.MaxPooling1D(3, 2, padding="same"),
        "GlobalAveragePooling1D": layers.GlobalAveragePooling1D(),
        "GlobalMaxPooling1D": layers.GlobalMaxPooling1D(),
        "AdaptiveMaxPooling1D": layers.AdaptiveMaxPooling1D(4),
        "Conv1D": layers.Conv1D(8, 3, dilation_rate=2, padding="causal"),
        "Conv1DTranspose": layers.Conv1DTranspose(8, 3, strides=2),
        "DepthwiseConv1D": layers.DepthwiseConv1D(3),
        "SeparableConv1D": layers.SeparableConv1D(8, 3),
        "Cropping1D": layers.Cropping1D((1, 2)),
        "ZeroPadding1D": layers.ZeroPadding1D((2, 1)),
        "UpSampling1D": layers.UpSampling1D(3),
        "SpatialDropout1D": layers.SpatialDropout1D(0.4),
        "Permute": layers.Permute((2, 1)),
        "Reshape": layers.Reshape((5, 2 * CHANNELS)),
        "RepeatVector": lambda x: layers.RepeatVector(5)(layers.GlobalAveragePooling1D()(x)),
        "TimeDistributed": layers.TimeDistributed(layers.Dense(8)),
        "EinsumDense": layers.EinsumDense("abc,cd->abd", output_shape=(None, 8)),
        "EinsumDense over steps": layers.EinsumDense("abc,bd->adc", output_shape=(8, CHANNELS)),
        "SimpleRNN": layers.SimpleRNN(8),
        "GRU": layers.GRU(8, return_sequences=True),
        "LSTM": layers.LSTM(8, return_sequences=True),
        "Bidirectional": layers.Bidirectional(layers.LSTM(8), merge_mode="mul"),
    }


def _attention_of_parts(x: Any) -> Any:
    query, key, value = ops.split(layers.Dense(3 * CHANNELS)(x), 3, axis=-1)
    shares = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))) / CHANNELS**0.5)
    return ops.matmul(shares, value)


def _of_map() -> dict[str, Operation]:
    """What is made of maps."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, CHANNELS, 7)).astype("float32")

    def convolved(x: Any) -> Any:
        return layers.Conv2D(CHANNELS, 3, padding="same")(x)

    return {
        **of_names(_REDUCTIONS, axis=(1, 2)),
        **of_names("mean max sum var std", axis=1),
        "moments": lambda x: ops.moments(x, axes=[1, 2])[1],
        "x[:, 0]": lambda x: x[:, 0],
        "x[:, 1:4, ::2]": lambda x: x[:, 1:4, ::2],
        "concatenate of halves": lambda x: ops.concatenate([x[:, :3], convolved(x)[:, 3:]], axis=1),
        "concatenate of rows": lambda x: ops.concatenate([x, convolved(x)], axis=1),
        "pad": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0), (4, 0))),
        "pad, reflect": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0), (0, 0)), mode="reflect"),
        "pad with 2": lambda x: ops.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)), constant_values=2.0),
        "rows with each other": lambda x: ops.matmul(x, ops.swapaxes(x, 2, 3)),
        "channels with each other": lambda x: ops.einsum("bijc,bijd->bcd", x, x),
        "tril": lambda x: ops.tril(ops.transpose(x, (0, 3, 1, 2))),
        "conv": lambda x: ops.conv(x, kernel, padding="same"),
        "depthwise_conv": lambda x: ops.depthwise_conv(x, kernel[..., :1]),
        "resize": lambda x: ops.image.resize(x, (9, 4)),
        "extract_patches": lambda x: ops.image.extract_patches(x, 2),
        "depth_to_space": lambda x: ops.depth_to_space(x, 2),
        "x less its mean over positions": lambda x: x - ops.mean(x, (1, 2), keepdims=True),
        "x over its deviation": lambda x: x / (ops.std(x, (1, 2), keepdims=True) + 1e-3),
        "x·sigmoid of its mean": lambda x: x * ops.sigmoid(ops.mean(x, (1, 2), keepdims=True)),
        "x + average of neighbours": lambda x: layers.Add()(
            [x, layers.AveragePooling2D(3, 1, "same")(x)]
        ),
        "x + largest of neighbours": lambda x: layers.Add()(
            [x, layers.MaxPooling2D(3, 1, "same")(x)]
        ),
        "BatchNormalization of rows": layers.BatchNormalization(axis=1),
        "LayerNormalization of rows": layers.LayerNormalization(axis=1),
        "GroupNormalization": layers.GroupNormalization(4),
        "UnitNormalization of maps": layers.UnitNormalization(axis=[1, 2]),
        "Softmax of rows": layers.Softmax(axis=1),
        "Softmax of maps": layers.Softmax(axis=[1, 2]),
        "Conv2D": layers.Conv2D(16, 3, strides=2, padding="same"),
        "Conv2D, groups": layers.Conv2D(16, 3, groups=4, padding="same"),
        "Conv2DTranspose": layers.Conv2DTranspose(16, 4, strides=3, padding="same"),
        "DepthwiseConv2D": layers.DepthwiseConv2D(3, depth_multiplier=2),
        "SeparableConv2D": layers.SeparableConv2D(16, 3, depth_multiplier=2, padding="same"),
        "Dense behind Flatten": lambda x: layers.Dense(8)(layers.Flatten()(x)),
        "Dense over rows": lambda x: layers.Dense(8)(ops.transpose(x, (0, 3, 1, 2))),
        "AveragePooling2D": layers.AveragePooling2D(3, 2, padding="same"),
        "MaxPooling2D": layers.MaxPooling2D(3, 2, padding="same"),
        "GlobalAveragePooling2D": layers.GlobalAveragePooling2D(),
        "GlobalMaxPooling2D": layers.GlobalMaxPooling2D(keepdims=True),
        "AdaptiveAveragePooling2D": layers.AdaptiveAveragePooling2D(4),
        "AdaptiveMaxPooling2D": layers.AdaptiveMaxPooling2D((2, 3)),
        "Cropping2D": layers.Cropping2D(((1, 0), (2, 1))),
        "CenterCrop": layers.CenterCrop(3, 4),
        "ZeroPadding2D": layers.ZeroPadding2D(((1, 0), (2, 3))),
        "UpSampling2D": layers.UpSampling2D(2, interpolation="bilinear"),
        "UpSampling2D, bicubic": layers.UpSampling2D(2, interpolation="bicubic"),
        "Resizing": layers.Resizing(4, 9),
        "Permute": layers.Permute((3, 1, 2)),
        "Reshape": layers.Reshape((6, 3, 2 * CHANNELS)),
        "Reshape to rows": layers.Reshape((36 * CHANNELS // 8, 8)),
        "SpatialDropout2D": layers.SpatialDropout2D(0.3),
        "Dropout of channels": layers.Dropout(0.3, noise_shape=(None, 6, 6, 1)),
        "EinsumDense over rows": layers.EinsumDense("abcd,bce->ade", output_shape=(CHANNELS, 16)),
        "TimeDistributed": layers.TimeDistributed(layers.BatchNormalization()),
        "PReLU, shared": layers.PReLU(shared_axes=[1, 2], alpha_initializer="normal"),
        "ConvLSTM1D": layers.ConvLSTM1D(4, 3),
    }


def _of_vector() -> dict[str, Operation]:
    """What is made of vectors."""
    return {
        "x·yᵀ": lambda x: ops.einsum("bi,bj->bij", x, layers.Dense(5)(x)),
        "x·xᵀ": lambda x: ops.einsum("bi,bj->bij", x, x),
        "outer, broadcast": lambda x: x[:, None, :] * layers.Dense(CHANNELS)(x)[:, :, None],
        "x·W(x)": lambda x: ops.matmul(x[:, None], layers.Reshape((24, 2))(layers.Dense(48)(x))),
        "Dot": lambda x: layers.Dot(axes=1)([x, layers.Dense(CHANNELS)(x)]),
        "Dot with itself": lambda x: layers.Dot(axes=1)([x, x]),
        "pad": lambda x: ops.pad(x, ((0, 0), (0, 12))),
        "RepeatVector": layers.RepeatVector(4),
        "Reshape": layers.Reshape((4, 6)),
        "bilinear features": lambda x: ops.matmul(
            layers.Reshape((4, 6))(x), ops.transpose(layers.Reshape((4, 6))(x), (0, 2, 1))
        ),
    }


def tables() -> dict[str, Table]:
    """Operations by the network that they stand behind."""
    steps = _by_steps()
    return {
        "map": _ANYWHERE | _of_map(),
        "sequence": _ANYWHERE | steps,
        "vector": _ANYWHERE | _of_vector(),
        "states": _ANYWHERE | steps,
    }


def composed(number: int, seed: int = 0) -> Iterator[tuple[str, str, Operation]]:
    """Random pairs of operations, the second of which takes what the first gives."""
    every, generator = tables(), random.Random(seed)
    while number:
        network = generator.choice(list(every))
        (name, first), (other, second) = (
            generator.choice(list(table.items())) for table in (every[network], _ANYWHERE)
        )
        number -= 1
        yield network, f"{name}, then {other}", _one_after_the_other(first, second)


def _one_after_the_other(first: Operation, second: Operation) -> Operation:
    return lambda x: second(first(x))


def row(network: str, name: str, operation: Operation, draws: int = DRAWS) -> Row:
    """What is predicted of an operation's output, and what is measured."""
    keras.utils.set_random_seed(1)
    data, tensor = NETWORKS[network]()
    operation = _anew(operation)
    graph = read_model(keras.Model(data, operation(tensor)), training=True)
    options = Options(training=True, batch=SAMPLES)
    predicted, measured = [], []
    for draw in range(draws):
        draw_configured_weights(graph, draw, reseed=True)
        results = predict(graph, input_signals(graph), options).results
        signal, moments = results[-1].signals[0], probe_model(graph, SAMPLES, draw).moments[-1]
        assert isinstance(signal, Observed)
        assert moments is not None
        predicted.append((signal.expected_variance, signal.mean))
        measured.append((moments.variance, moments.mean))
    away = np.array(predicted) - np.array(measured)
    (variance, mean), (told, told_mean) = np.mean(measured, 0), np.mean(predicted, 0)
    scales = np.array([variance, (variance + mean**2) ** 0.5]) + _LEAST
    errors = away.std(0, ddof=1) / draws**0.5
    off = (np.abs(away.mean(0)) > BORDER * scales) & (np.abs(away.mean(0)) > ERRORS * errors)
    support = max((str(result.support) for result in results), key=SUPPORTS.index)
    return Row(
        network, name, support, float(told), float(variance),
        (float(told_mean), float(mean)), bool(off.any()),
    )  # fmt: skip


def _anew(operation: Operation) -> Operation:
    """A layer of its own for each network."""
    if not isinstance(operation, keras.Layer):
        return operation
    layer: Operation = type(operation).from_config(operation.get_config())
    return layer


def main(names: list[str], behind: list[str], pairs: int, draws: int) -> None:
    """Prints the rows that are off, and how many there are."""
    if pairs:
        every = list(composed(pairs))
    else:
        every = [
            (net, name, each) for net, table in tables().items() for name, each in table.items()
        ]
    print("| behind | operation | support | predicted | measured | mean, predicted | measured |")
    print("|---|---|---|---|---|---|---|")
    number = off = exact = 0
    for network, name, operation in every:
        if network not in behind or (names and not any(part in name for part in names)):
            continue
        try:
            found = row(network, name, operation, draws)
        except Exception as error:  # a pair of which the second does not take what the first gives
            if not pairs:
                print(f"| {network} | {name} | {type(error).__name__}: {str(error)[:80]!r} |")
            continue
        number += 1
        off += found.is_off
        exact += found.is_off and found.told_as_exact
        if found.is_off or names:
            print(found, flush=True)
    print(f"\n{number} rows; {off} are off, {exact} of them told as exact")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Every layer and operation, predicted.")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--behind", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--draws", type=int, default=DRAWS)
    arguments = parser.parse_args()
    main(arguments.names, arguments.behind, arguments.pairs, arguments.draws)
