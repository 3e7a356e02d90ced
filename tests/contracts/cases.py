"""One table of tiny models, at least one for each registered class, with the arguments that count.

The battery in `rules/battery.py` runs every rule on them; the tests of each family compare the same
models with Monte Carlo through the real Keras layer.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, ops

# Exported by no public module:
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from autoinit import WeightedSum
from tests.contracts.case import BIAS, DEPTHWISE, MOVING, SCALE, SHIFTED, WEIGHTS, Case, Shape, case
from tests.contracts.data_cases import AUGMENTATION, ENCODING, PREPROCESSING, RESIZING


def _in_reverse(width: int = 12, **arguments: Any) -> Callable[[Any], Any]:
    table = {"embeddings_initializer": initializers.RandomNormal(0.1, 0.4, seed=1)}
    # Something stands before it that makes the input none of indices.
    return lambda x: layers.ReversibleEmbedding(128, width, **table, **arguments)(
        layers.Rescaling(1.0)(x), reverse=True
    )


DENSE = [
    case(layers.Dense, "kernel and bias", (12,), units=128, moments=SHIFTED, **WEIGHTS),
    case(layers.Dense, "three axes", (5, 12), units=128, moments=SHIFTED, **WEIGHTS),
    # A sum of many terms is Gaussian whatever the weights are; one of a few is not.
    case(layers.Dense, "fused relu", (800,), units=50, activation="relu", redrawn=True),
    case(
        layers.Dense, "fused activation layer", (800,), redrawn=True,
        build=lambda x: layers.Dense(50, activation=layers.LeakyReLU(negative_slope=0.3))(x),
    ),
    case(
        layers.EinsumDense, "to heads", (5, 12), moments=SHIFTED, **WEIGHTS,
        equation="abc,cde->abde", output_shape=(None, 8, 16), bias_axes="de",
    ),
    case(
        layers.EinsumDense, "from heads", (5, 3, 4), moments=SHIFTED, **WEIGHTS,
        equation="abcd,cde->abe", output_shape=(None, 128), bias_axes="e",
    ),
    case(
        layers.EinsumDense, "bias over the first axis", (12,), moments=SHIFTED, **WEIGHTS,
        equation="ab,bcd->acd", output_shape=(8, 16), bias_axes="c",
    ),
    case(
        layers.EinsumDense, "output axes exchanged", (12,), moments=SHIFTED, **WEIGHTS,
        equation="ab,bcd->adc", output_shape=(16, 8), bias_axes="dc",
    ),
    case(
        layers.EinsumDense, "bias over positions", (5, 12), moments=SHIFTED, **WEIGHTS,
        equation="abc,cd->abd", output_shape=(5, 128), bias_axes="bd",
    ),
    case(
        layers.EinsumDense, "a kernel for each position", (5, 12), moments=SHIFTED, **WEIGHTS,
        equation="abc,bcd->abd", output_shape=(5, 128), bias_axes="bd",
    ),
    case(
        layers.EinsumDense, "any leading axes", (5, 12), moments=SHIFTED, **WEIGHTS,
        equation="...x,xy->...y", output_shape=(128,), bias_axes="y",
    ),
    case(
        layers.EinsumDense, "any trailing axes", (12, 5), moments=SHIFTED, **WEIGHTS,
        equation="ab...,bc->ac...", output_shape=(128,), bias_axes="c",
    ),
    case(
        layers.EinsumDense, "positions summed as well", (5, 12), moments=SHIFTED, **WEIGHTS,
        equation="abc,cd->ad", output_shape=(256,), bias_axes="d",
    ),
    case(layers.Embedding, "default", (20,), input_dim=30, output_dim=8, input_dtype="int32"),
    case(
        layers.Embedding, "table with a mean", (20,), input_dim=30, output_dim=8,
        input_dtype="uint8", embeddings_initializer=initializers.RandomNormal(0.5, 0.3, seed=1),
    ),
    case(layers.ReversibleEmbedding, "looked up", (20,), input_dim=30, output_dim=8,
         input_dtype="int32"),
    case(layers.ReversibleEmbedding, "in reverse", (5, 12), build=_in_reverse(tie_weights=True),
         moments=SHIFTED),
    case(layers.ReversibleEmbedding, "in reverse, a table of its own", (5, 12),
         build=_in_reverse(tie_weights=False), moments=SHIFTED),
    case(layers.ReversibleEmbedding, "in reverse, softly capped", (5, 400), redrawn=True,
         build=_in_reverse(400, tie_weights=True, logit_soft_cap=1.0), slow=True),
]  # fmt: skip

CONVOLUTION = [
    case(layers.Conv1D, "valid, stride 2", (11, 3), filters=96, kernel_size=4, strides=2,
         moments=SHIFTED, **WEIGHTS),
    case(layers.Conv1D, "same, dilation 3", (9, 3), filters=96, kernel_size=3, dilation_rate=3,
         padding="same", moments=SHIFTED, **WEIGHTS),
    case(layers.Conv1D, "causal, dilation 2", (9, 3), filters=96, kernel_size=3, dilation_rate=2,
         padding="causal", moments=SHIFTED, slow=True, **WEIGHTS),
    case(layers.Conv1D, "two groups", (7, 4), slow=True, filters=96, kernel_size=3, groups=2,
         padding="same", moments=SHIFTED, **WEIGHTS),
    case(layers.Conv1D, "channels first", (3, 9), filters=96, kernel_size=3, padding="same",
         data_format="channels_first", moments=SHIFTED, **WEIGHTS),
    case(layers.Conv2D, "same, stride 2", (7, 6, 3), filters=96, kernel_size=(3, 5), strides=2,
         padding="same", moments=SHIFTED, **WEIGHTS),
    case(layers.Conv2D, "one position", (1, 1, 12), filters=256, kernel_size=3, padding="same",
         moments=SHIFTED, **WEIGHTS),
    case(layers.Conv2D, "valid, dilation 2 and 1", (8, 6, 3), filters=96, kernel_size=3,
         dilation_rate=(2, 1), moments=SHIFTED, **WEIGHTS),
    case(layers.Conv2D, "three groups", (5, 5, 6), filters=96, kernel_size=3, groups=3,
         padding="same", moments=SHIFTED, **WEIGHTS, slow=True),
    case(layers.Conv2D, "channels first", (3, 7, 6), filters=96, kernel_size=(3, 5), strides=2,
         padding="same", data_format="channels_first", moments=SHIFTED, **WEIGHTS),
    case(layers.Conv2D, "fused tanh", (3, 3, 90), filters=50, kernel_size=3, activation="tanh",
         redrawn=True),
    case(layers.Conv3D, "same, stride 2 along one axis", (3, 4, 3, 2), filters=96, kernel_size=3,
         strides=(1, 2, 1), padding="same", moments=SHIFTED, **WEIGHTS),
    case(layers.DepthwiseConv1D, "same, two units a channel", (9, 48), kernel_size=3,
         depth_multiplier=2, padding="same", moments=SHIFTED, **DEPTHWISE),
    case(layers.DepthwiseConv1D, "valid, stride 2", (9, 96), kernel_size=4, strides=2,
         moments=SHIFTED, **DEPTHWISE),
    case(layers.DepthwiseConv2D, "same, stride 2, three units a channel", (7, 7, 24), kernel_size=3,
         strides=2, depth_multiplier=3, padding="same", moments=SHIFTED, **DEPTHWISE, slow=True),
    case(layers.DepthwiseConv2D, "valid, dilation 2", (6, 7, 96), kernel_size=3, dilation_rate=2,
         moments=SHIFTED, **DEPTHWISE, slow=True),
    case(layers.DepthwiseConv2D, "channels first", (96, 5, 6), kernel_size=(2, 3), padding="same",
         data_format="channels_first", moments=SHIFTED, **DEPTHWISE, slow=True),
    case(layers.SeparableConv1D, "same, stride 2", (9, 32), filters=128, kernel_size=3, strides=2,
         depth_multiplier=2, padding="same", redrawn=True, **BIAS),
    case(layers.SeparableConv2D, "same, incoming mean", (5, 5, 64), filters=128, kernel_size=3,
         padding="same", moments=SHIFTED, redrawn=True, **BIAS, slow=True),
    case(layers.Conv1DTranspose, "same, stride 2", (6, 3), filters=96, kernel_size=3, strides=2,
         padding="same", moments=SHIFTED, **WEIGHTS),
    case(layers.Conv1DTranspose, "valid, gaps between taps", (6, 3), filters=96, kernel_size=2,
         strides=3, moments=SHIFTED, **WEIGHTS),
    case(layers.Conv2DTranspose, "same, stride 2, output padding", (4, 3, 3), filters=96,
         kernel_size=3, strides=2, padding="same", output_padding=1, moments=SHIFTED, **WEIGHTS),
    case(layers.Conv2DTranspose, "valid, dilation 2", (5, 4, 3), filters=96, kernel_size=3,
         dilation_rate=2, moments=SHIFTED, **WEIGHTS, slow=True),
    case(layers.Conv2DTranspose, "channels first", (3, 5, 4), filters=96, kernel_size=3, strides=2,
         data_format="channels_first", moments=SHIFTED, **WEIGHTS, slow=True),
    case(layers.Conv3DTranspose, "same, stride 2", (2, 2, 3, 2), filters=96, kernel_size=3,
         strides=2, padding="same", moments=SHIFTED, **WEIGHTS, slow=True),
]  # fmt: skip


@keras.saving.register_keras_serializable("cases")
def wave(x: Any) -> Any:
    return ops.sin(3.0 * x)


def _activation(function: Any, name: str = "", shape: Shape = (40,), **more: Any) -> Case:
    return case(
        layers.Activation, name or function, shape, activation=function, moments=SHIFTED, **more
    )


ALPHAS = {"alpha_initializer": initializers.RandomNormal(0.3, 0.4, seed=1)}
ACTIVATION = [
    *map(_activation, (
        "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus",
        "softsign", "squareplus", "sigmoid", "log_sigmoid", "hard_sigmoid", "hard_silu", "tanh",
        "hard_tanh", "tanh_shrink", "soft_shrink", "hard_shrink", "sparse_plus", "sparse_sigmoid",
        "linear", "softmax",
    )),
    case(layers.Activation, "exponential", (40,), activation="exponential", moments=((0.5, 0.3),)),
    _activation("log_softmax", shape=(10,)),
    _activation("sparsemax", shape=(6,), samples=2000, slow=True),
    _activation(wave, "a function of the user's"),
    case(layers.ReLU, "clipped, leaky, threshold", (40,), max_value=2.0, negative_slope=0.1,
         threshold=0.3, moments=SHIFTED),
    case(layers.LeakyReLU, "slope 0.3", (40,), negative_slope=0.3, moments=SHIFTED),
    case(layers.ELU, "alpha 0.7", (40,), alpha=0.7, moments=SHIFTED),
    case(layers.PReLU, "a slope for each entry", (6, 5), moments=SHIFTED, **ALPHAS),
    case(layers.PReLU, "slopes shared over positions", (6, 5), shared_axes=[1], moments=SHIFTED,
         **ALPHAS),
    case(layers.Softmax, "last axis", (3, 7), moments=SHIFTED),
    case(layers.Softmax, "first axis of a sample", (9, 2), axis=1, moments=((0.0, 4.0),)),
    case(layers.Softmax, "two axes", (3, 4, 2), axis=(1, 2), moments=((3.0, 0.2),)),
]  # fmt: skip

POOLING = [
    case(layers.MaxPooling1D, "same, stride 2", (9, 4), pool_size=3, strides=2, padding="same",
         moments=SHIFTED),
    case(layers.MaxPooling2D, "valid, rectangular", (7, 6, 4), pool_size=(3, 2), strides=2,
         moments=SHIFTED),
    case(layers.MaxPooling2D, "same", (7, 6, 4), pool_size=3, strides=2, padding="same"),
    case(layers.MaxPooling2D, "channels first", (4, 7, 6), pool_size=3, strides=2, padding="same",
         data_format="channels_first"),
    case(layers.MaxPooling3D, "same", (5, 4, 3, 2), pool_size=2, padding="same", moments=SHIFTED),
    case(layers.AveragePooling1D, "same, stride 2", (8, 4), pool_size=3, strides=2, padding="same",
         moments=SHIFTED),
    case(layers.AveragePooling2D, "same, stride 2", (7, 6, 4), pool_size=3, strides=2,
         padding="same", moments=SHIFTED),
    case(layers.AveragePooling2D, "channels first", (4, 7, 6), pool_size=(3, 2), strides=1,
         data_format="channels_first"),
    case(layers.AveragePooling3D, "valid", (5, 4, 3, 2), pool_size=2, moments=SHIFTED),
    case(layers.AdaptiveMaxPooling1D, "7 into 3", (7, 4), output_size=3, moments=SHIFTED),
    case(layers.AdaptiveMaxPooling2D, "channels first", (4, 7, 6), output_size=(3, 2),
         data_format="channels_first"),
    case(layers.AdaptiveMaxPooling3D, "default", (5, 4, 3, 2), output_size=2, moments=SHIFTED),
    case(layers.AdaptiveAveragePooling1D, "more than there are", (4, 4), output_size=6,
         moments=SHIFTED),
    case(layers.AdaptiveAveragePooling2D, "uneven", (7, 6, 4), output_size=(3, 4),
         moments=SHIFTED),
    case(layers.AdaptiveAveragePooling3D, "channels first", (2, 5, 4, 3), output_size=(2, 3, 1),
         data_format="channels_first", slow=True),
    case(layers.GlobalMaxPooling1D, "last axis", (9, 16), moments=SHIFTED),
    case(layers.GlobalMaxPooling2D, "keeps axes", (4, 5, 16), keepdims=True),
    case(layers.GlobalMaxPooling2D, "channels first", (16, 4, 5), data_format="channels_first"),
    case(layers.GlobalMaxPooling3D, "default", (3, 4, 2, 16), moments=SHIFTED),
    case(layers.GlobalAveragePooling1D, "default", (9, 16), moments=SHIFTED),
    case(layers.GlobalAveragePooling2D, "channels first", (16, 4, 5),
         data_format="channels_first", moments=SHIFTED),
    case(layers.GlobalAveragePooling3D, "default", (3, 4, 2, 16), moments=SHIFTED),
]  # fmt: skip


def _frozen(x: Any) -> Any:
    layer = layers.BatchNormalization(**SCALE, **MOVING)
    layer.trainable = False
    return layer(x)


# Statistics over a batch deviate from the distribution's by one part in (samples · positions).
NORMALIZATION = [
    case(layers.BatchNormalization, "training", (20, 6), samples=1000, moments=SHIFTED, **SCALE),
    case(layers.BatchNormalization, "training, small variance", (20, 6), samples=1000,
         moments=((1.0, 2e-3),), **SCALE),
    case(layers.BatchNormalization, "training, axis 1", (6, 20), axis=1, samples=1000, **SCALE),
    case(layers.BatchNormalization, "training, no scale, no offset", (20, 6), scale=False,
         center=False, samples=1000),
    case(layers.BatchNormalization, "inference", (20, 6), training=False, moments=SHIFTED, **SCALE,
         **MOVING),
    case(layers.BatchNormalization, "frozen", (20, 6), build=_frozen, moments=SHIFTED),
    case(layers.BatchNormalization, "renormalised", (20, 6), renorm=True, samples=1000,
         moments=SHIFTED, **SCALE),
    case(layers.BatchNormalization, "renormalised and clipped", (20, 6), renorm=True,
         renorm_clipping={"rmin": 0.5, "rmax": 1.1, "dmax": 0.2}, samples=1000, moments=SHIFTED,
         **SCALE),
    case(layers.LayerNormalization, "last axis", (4, 24), moments=SHIFTED, **SCALE),
    case(layers.LayerNormalization, "two axes", (4, 6, 5), axis=(1, 3), moments=SHIFTED, **SCALE),
    case(layers.LayerNormalization, "three entries, large epsilon", (8, 3), epsilon=0.5,
         moments=SHIFTED, **SCALE),
    case(layers.LayerNormalization, "no scale, no offset", (24,), scale=False, center=False),
    case(layers.GroupNormalization, "four groups", (3, 3, 8), groups=4, moments=SHIFTED, **SCALE),
    case(layers.GroupNormalization, "a group for each channel", (3, 3, 8), groups=-1,
         moments=SHIFTED, **SCALE),
    case(layers.GroupNormalization, "channels first", (8, 3, 3), groups=2, axis=1, epsilon=0.3,
         moments=SHIFTED, **SCALE),
    case(layers.RMSNormalization, "zero mean, large epsilon", (8, 12), epsilon=0.5),
    case(layers.RMSNormalization, "incoming mean", (8, 12), moments=SHIFTED),
    case(layers.RMSNormalization, "incoming mean, large epsilon", (8, 4), epsilon=0.5,
         moments=SHIFTED),
    case(layers.RMSNormalization, "two axes", (4, 6), axis=(1, 2), moments=SHIFTED),
    case(layers.UnitNormalization, "last axis", (8, 12), moments=SHIFTED),
    case(layers.UnitNormalization, "axis 1", (5, 8), axis=1),
]  # fmt: skip

PAIR = ((0.5, 1.5), (-1.0, 0.4))
TRIPLE = ((0.5, 1.5), (-1.0, 0.4), (0.2, 3.0))
MERGING = [
    case(WeightedSum, "two", (40,), (40,), moments=PAIR, weighted=True),
    case(WeightedSum, "of positions", (6, 10), (6, 10), (6, 10), moments=TRIPLE, weighted=True),
    case(layers.Add, "three", (40,), (40,), (40,), moments=TRIPLE),
    case(layers.Add, "one of them twice", (40,), (40,), moments=PAIR,
         build=lambda x, y: layers.Add()([x, y, x])),
    case(layers.Add, "broadcast over positions", (6, 10), (1, 10), moments=PAIR),
    case(layers.Average, "three", (40,), (40,), (40,), moments=TRIPLE),
    case(layers.Average, "one of them twice", (40,), (40,), moments=PAIR,
         build=lambda x, y: layers.Average()([x, y, x])),
    case(layers.Subtract, "two", (40,), (40,), moments=PAIR),
    case(layers.Subtract, "from itself", (40,), build=lambda x: layers.Subtract()([x, x])),
    case(layers.Multiply, "three", (40,), (40,), (40,), moments=TRIPLE),
    case(layers.Multiply, "one of them twice", (40,), (40,), moments=PAIR,
         build=lambda x, y: layers.Multiply()([x, y, x])),
    case(layers.Maximum, "two", (40,), (40,), moments=PAIR),
    case(layers.Maximum, "three, one of them twice", (40,), (40,), (40,), moments=TRIPLE,
         build=lambda x, y, z: layers.Maximum()([x, y, x, z])),
    case(layers.Minimum, "three", (40,), (40,), (40,), moments=TRIPLE),
    case(layers.Minimum, "with itself", (40,), moments=SHIFTED,
         build=lambda x: layers.Minimum()([x, x])),
    case(layers.Dot, "vectors", (12,), (12,), axes=1, moments=PAIR, samples=1600),
    case(layers.Dot, "matrices", (5, 12), (12, 4), axes=(2, 1), moments=PAIR),
    case(layers.Dot, "of unit vectors", (12,), (12,), axes=1, normalize=True, moments=PAIR,
         samples=1600),
    case(layers.Dot, "with itself", (12,), moments=SHIFTED, samples=1600,
         build=lambda x: layers.Dot(axes=1)([x, x])),
    case(layers.Concatenate, "parts of unequal size", (6, 10), (6, 30), moments=PAIR),
    case(layers.Concatenate, "axis 1", (2, 10), (6, 10), axis=1, moments=PAIR),
]  # fmt: skip


def _rescaled(x: Any) -> Any:
    """Channels scaled by other numbers than the one that they all start with."""
    layer = LayerScale(0.1, 8)
    result = layer(x)
    layer.gamma.assign(np.arange(8.0) / 4)
    return result


APPLICATIONS = [
    case(LayerScale, "one for all", (20, 8), init_values=0.3, projection_dim=8, moments=SHIFTED),
    case(LayerScale, "trained", (20, 8), build=_rescaled, moments=SHIFTED),
    case(CustomScaleLayer, "scaled branch", (6, 10), (6, 10), scale=0.3, moments=PAIR),
    case(CustomScaleLayer, "with itself", (40,), moments=SHIFTED,
         build=lambda x: CustomScaleLayer(0.3)([x, x])),
    case(StochasticDepth, "whole samples", (20, 8), drop_path_rate=0.3, samples=1000,
         moments=SHIFTED),
    case(StochasticDepth, "inference", (20, 8), drop_path_rate=0.3, training=False,
         moments=SHIFTED),
    case(StochasticDepth, "rate 0", (20, 8), drop_path_rate=0.0, moments=SHIFTED),
]  # fmt: skip

REGULARIZATION = [
    case(layers.Dropout, "incoming mean", (60,), rate=0.4, moments=SHIFTED),
    case(layers.Dropout, "noise shared over positions", (8, 20), rate=0.25,
         noise_shape=(None, 1, None), moments=SHIFTED),
    case(layers.Dropout, "inference", (60,), rate=0.4, training=False, moments=SHIFTED),
    case(layers.Dropout, "rate 0", (60,), rate=0.0, moments=SHIFTED),
    case(layers.Dropout, "rate 1", (60,), rate=1.0, moments=SHIFTED),
    case(layers.SpatialDropout1D, "incoming mean", (4, 30), rate=0.4, moments=SHIFTED),
    case(layers.SpatialDropout2D, "channels first", (30, 2, 2), rate=0.4,
         data_format="channels_first", moments=SHIFTED),
    case(layers.SpatialDropout3D, "incoming mean", (2, 1, 2, 30), rate=0.4, moments=SHIFTED),
    case(layers.AlphaDropout, "standardised", (60,), rate=0.3),
    case(layers.AlphaDropout, "incoming mean, shared", (4, 30), rate=0.3, moments=SHIFTED,
         noise_shape=(None, 1, None)),
    case(layers.GaussianNoise, "deviation 0.7", (60,), stddev=0.7, moments=SHIFTED),
    case(layers.GaussianNoise, "inference", (60,), stddev=0.7, training=False, moments=SHIFTED),
    case(layers.GaussianDropout, "incoming mean", (60,), rate=0.3, moments=SHIFTED),
    case(layers.ActivityRegularization, "on the loss alone", (60,), l2=0.1, moments=SHIFTED),
]  # fmt: skip

RESHAPING = [
    case(layers.InputLayer, "alone", (30,), build=lambda x: x, moments=SHIFTED),
    case(layers.Identity, "default", (30,), moments=SHIFTED),
    case(layers.Masking, "values that never occur", (6, 5), moments=SHIFTED),
    case(layers.Flatten, "default", (6, 5), moments=SHIFTED),
    case(layers.Permute, "transposed", (6, 5), dims=(2, 1), moments=SHIFTED),
    case(layers.Reshape, "one size open", (6, 5), target_shape=(3, -1), moments=SHIFTED),
    case(layers.RepeatVector, "four times", (30,), n=4, moments=SHIFTED),
    case(layers.Cropping1D, "both ends", (7, 5), cropping=(1, 2), moments=SHIFTED),
    case(layers.Cropping2D, "default", (5, 5, 3), moments=SHIFTED),
    case(layers.Cropping3D, "default", (4, 4, 4, 2), moments=SHIFTED),
    case(layers.UpSampling1D, "three times", (6, 5), size=3, moments=SHIFTED),
    case(layers.UpSampling2D, "nearest", (4, 3, 5), moments=SHIFTED),
    case(layers.UpSampling2D, "bilinear", (4, 3, 5), size=(2, 3), interpolation="bilinear",
         moments=SHIFTED),
    case(layers.UpSampling2D, "bicubic, channels first", (5, 4, 3), interpolation="bicubic",
         data_format="channels_first", moments=SHIFTED),
    case(layers.UpSampling3D, "default", (2, 3, 2, 5), moments=SHIFTED),
    case(layers.ZeroPadding1D, "unequal", (6, 5), padding=(1, 3), moments=SHIFTED),
    case(layers.ZeroPadding2D, "channels first", (5, 4, 3), padding=(1, 2),
         data_format="channels_first", moments=SHIFTED),
    case(layers.ZeroPadding3D, "default", (2, 3, 2, 5), moments=SHIFTED),
]  # fmt: skip

RECURRENT = [
    case(layers.SimpleRNN, "last state", (2, 4), units=12, moments=SHIFTED),
    case(layers.GRU, "every state", (2, 4), units=12, return_sequences=True),
    case(layers.LSTM, "output and states", (2, 4), units=12, return_state=True, moments=SHIFTED),
    case(layers.LSTM, "dropout", (2, 4), units=12, dropout=0.3, recurrent_dropout=0.2,
         samples=2000, slow=True),
    case(layers.RNN, "a cell", (2, 4),
         build=lambda x: layers.RNN(layers.GRUCell(12))(x), slow=True),
    case(layers.LSTM, "initial state given", (2, 4), (12,), (12,), moments=TRIPLE,
         build=lambda x, h, c: layers.LSTM(12)(x, initial_state=[h, c])),
    *(
        case(layers.Bidirectional, f"merged by {mode}", (2, 4), moments=SHIFTED,
             slow=mode != "concat",
             build=lambda x, mode=mode: layers.Bidirectional(
                 layers.SimpleRNN(12, return_sequences=True), merge_mode=mode)(x))
        for mode in ("concat", "sum", "mul", "ave", None)
    ),
    case(layers.ConvLSTM1D, "last state", (2, 4, 2), filters=4, kernel_size=2, moments=SHIFTED,
         slow=True),
    case(layers.ConvLSTM2D, "every state", (2, 4, 4, 2), filters=4, kernel_size=2, padding="same",
         return_sequences=True, slow=True),
    case(layers.ConvLSTM3D, "last state", (2, 2, 2, 2, 2), filters=4, kernel_size=2, slow=True),
    case(layers.SimpleRNNCell, "a step", (4,), (12,), moments=PAIR,
         build=lambda x, h: layers.SimpleRNNCell(12)(x, [h])),
    case(layers.GRUCell, "a step", (4,), (12,), moments=PAIR,
         build=lambda x, h: layers.GRUCell(12)(x, [h]), slow=True),
    case(layers.LSTMCell, "a step", (4,), (12,), (12,), moments=TRIPLE,
         build=lambda x, h, c: layers.LSTMCell(12)(x, [h, c])),
    case(layers.StackedRNNCells, "a step", (4,), (12,), (8,), moments=TRIPLE,
         build=lambda x, h, k: layers.StackedRNNCells(
             [layers.SimpleRNNCell(12), layers.GRUCell(8)])(x, [[h], [k]]), slow=True),
]  # fmt: skip


def _around(layer: Callable[[], Any]) -> Callable[[Any], Any]:
    return lambda x: layers.TimeDistributed(layer())(x)


WRAPPERS = [
    case(layers.TimeDistributed, "dense with fused relu", (3, 800), redrawn=True, weighted=True,
         build=_around(lambda: layers.Dense(50, activation="relu")), slow=True),
    case(layers.TimeDistributed, "twice around a fused relu", (2, 2, 800), redrawn=True,
         weighted=True,
         build=_around(lambda: layers.TimeDistributed(layers.Dense(50, activation="relu"))),
         slow=True),
    case(layers.TimeDistributed, "padded convolution", (3, 5, 5, 2), moments=SHIFTED, weighted=True,
         build=_around(lambda: layers.Conv2D(96, 3, padding="same", **WEIGHTS)), slow=True),
    case(layers.TimeDistributed, "batch normalisation", (3, 6), samples=2000, moments=SHIFTED,
         build=_around(lambda: layers.BatchNormalization(**SCALE))),
    case(layers.TimeDistributed, "softmax", (3, 6), moments=SHIFTED,
         build=_around(lambda: layers.Softmax())),
    case(layers.TimeDistributed, "global pooling", (3, 6, 4), moments=SHIFTED,
         build=_around(lambda: layers.GlobalMaxPooling1D())),
    case(layers.TimeDistributed, "dropout", (3, 40), moments=SHIFTED,
         build=_around(lambda: layers.Dropout(0.3))),
    case(layers.TimeDistributed, "embedding", (3, 6), input_dtype="int32", weighted=True,
         build=_around(lambda: layers.Embedding(30, 8))),
    case(layers.TimeDistributed, "recurrent", (2, 3, 4), moments=SHIFTED,
         build=_around(lambda: layers.GRU(8)), slow=True),
    case(layers.TimeDistributed, "random contrast", (2, 4, 4, 3), samples=2000,
         moments=((0.5, 0.04),), build=_around(
             lambda: layers.RandomContrast(0.3, value_range=(0.0, 1.0))), slow=True),
    case(layers.TimeDistributed, "a model", (3, 6), moments=SHIFTED,
         build=_around(lambda: keras.Sequential([layers.Input((6,)), layers.Dense(5, "tanh")]))),
]  # fmt: skip


def _normalised(layer: Callable[[], Any], **arguments: Any) -> Callable[[Any], Any]:
    return lambda x: layers.SpectralNormalization(layer(), **arguments)(x)


SPECTRAL = [
    case(layers.SpectralNormalization, "dense", (12,), moments=SHIFTED, redrawn=True,
         build=_normalised(lambda: layers.Dense(128, **WEIGHTS))),
    case(layers.SpectralNormalization, "padded convolution, 5 iterations", (5, 5, 2),
         moments=SHIFTED, redrawn=True, samples=200,
         build=_normalised(lambda: layers.Conv2D(96, 3, padding="same", **WEIGHTS),
                           power_iterations=5), slow=True),
    case(layers.SpectralNormalization, "fused relu", (400,), redrawn=True,
         build=_normalised(lambda: layers.Dense(200, activation="relu")), slow=True),
    case(layers.SpectralNormalization, "inference", (12,), moments=SHIFTED, training=False,
         build=_normalised(lambda: layers.Dense(96, **WEIGHTS))),
    case(layers.SpectralNormalization, "kernel of zeros", (12,), moments=SHIFTED,
         build=_normalised(lambda: layers.Dense(96, kernel_initializer="zeros", **BIAS))),
]  # fmt: skip


def _operation(name: str, build: Callable[..., Any], *shapes: Shape, **more: Any) -> Case:
    shapes = shapes or ((40,),)
    moments = PAIR if len(shapes) == 2 else SHIFTED
    return case(keras.Operation, name, *shapes, build=build, moments=moments, **more)


_GIVEN = np.random.default_rng(0).normal(0.1, 0.3, (3, 3, 8, 5)).astype("float32")

OPERATIONS = [
    _operation("x*2+1", lambda x: x * 2 + 1),
    _operation("1-x", lambda x: 1 - x),
    _operation("tanh", ops.tanh),
    _operation("x*x", lambda x: x * x),
    _operation("x+x", lambda x: x + x),
    _operation("square", ops.square),
    _operation("maximum with a number", lambda x: ops.maximum(x, 0.2)),
    _operation("per channel", lambda x: x / np.arange(1.0, 9.0), (20, 8)),
    _operation("clip", lambda x: ops.clip(x, -0.5, 1.5)),
    _operation("x+y", lambda x, y: x + y, (40,), (40,)),
    _operation("x-y", lambda x, y: x - y, (40,), (40,)),
    _operation("x*y", lambda x, y: x * y, (40,), (40,)),
    _operation("gate broadcast over positions", lambda x, y: x * y, (6, 10), (1, 10)),
    _operation("maximum", ops.maximum, (40,), (40,)),
    _operation("minimum", ops.minimum, (40,), (40,)),
    _operation("concatenate", lambda x, y: ops.concatenate([x, y], -1), (4, 5), (4, 15)),
    _operation("concatenate with itself", lambda x: ops.concatenate([x, x], -1)),
    _operation("stack", lambda x, y: ops.stack([x, y], 1), (40,), (40,)),
    _operation("mean over positions", lambda x: ops.mean(x, (1, 2)), (4, 3, 20)),
    _operation("mean over channels", lambda x: ops.mean(x, -1, keepdims=True), (20, 4)),
    _operation("mean over rows and channels", lambda x: ops.mean(x, (1, 3)), (4, 30, 3)),
    _operation("largest of a row", lambda x: ops.max(x, 2), (8, 3, 20)),
    _operation("largest channel", lambda x: ops.max(x, -1), (40, 3)),
    _operation("sum", lambda x: ops.sum(x, 1), (4, 20)),
    _operation("max", lambda x: ops.max(x, 1), (4, 20)),
    _operation("min", lambda x: ops.min(x, 1), (4, 20)),
    _operation("softmax", lambda x: ops.softmax(x, -1), (5, 8)),
    _operation("x@y", lambda x, y: x @ y, (5, 12), (12, 4)),
    _operation("transpose", lambda x: ops.transpose(x, (0, 2, 1)), (4, 5)),
    _operation("item", lambda x: x[:, 1:3], (4, 20)),
    _operation("split", lambda x: ops.split(x, 2, -1)),
    _operation("cast", lambda x: ops.cast(x, "float16")),
    # Functions of one tensor, in several calls.
    _operation("x*sigmoid(-x)", lambda x: x * ops.sigmoid(-x)),
    _operation("mish", lambda x: x * ops.tanh(ops.softplus(x))),
    _operation("x-softplus(1-2x)", lambda x: x - ops.softplus(1 - 2 * x)),
    _operation("largest of -x and a kink", lambda x: ops.maximum(-x, ops.relu(x) - 1)),
    _operation("x/(1+x²)", lambda x: x / (1 + x * x)),
    _operation("log of an absolute value", lambda x: ops.log(ops.abs(x))),
    # Functions of two.
    _operation("hypot", ops.hypot, (40,), (40,)),
    _operation("arctan2", ops.arctan2, (40,), (40,)),
    _operation("x/(1+y²)", lambda x, y: x / (1 + ops.square(y)), (40,), (40,)),
    _operation("a power", lambda x, y: ops.exp(0.2 * x) ** ops.tanh(y), (40,), (40,)),
    # Truth values.
    _operation("x>0.3", lambda x: x > 0.3),
    _operation("x>y", lambda x, y: x > y, (40,), (40,)),
    _operation("chosen by itself", lambda x: ops.where(x > 0.3, x, -1.0)),
    _operation("chosen by another", lambda x, y: ops.where(x > 0.3, x, y), (40,), (40,), slow=True),
    _operation("any", lambda x: ops.any(x > 1.5, -1), (20, 5)),
    _operation("all", lambda x: ops.all(x > 0, -1), (20, 3)),
    _operation("how many", lambda x: ops.cast(ops.count_nonzero(x > 0, -1), "float32"), (20, 5)),
    _operation("jumps", lambda x: ops.floor(x) + ops.sign(x - 0.7)),
    # Reductions.
    _operation("variance", lambda x: ops.var(x, -1), (20, 5)),
    _operation("variance of ReLU", lambda x: ops.var(ops.relu(x), -1), (20, 5)),
    _operation("deviation of positions", lambda x: ops.std(x, 1), (6, 20)),
    _operation("moments", lambda x: list(ops.moments(x, -1)), (20, 5)),
    _operation("product", lambda x: ops.prod(x, -1), (200, 2)),
    _operation("largest place", lambda x: ops.cast(ops.argmax(x, -1), "float32"), (20, 5)),
    _operation("one-hot", lambda x: ops.one_hot(ops.argmax(x, -1), 5), (6, 5)),
    _operation("logsumexp", lambda x: ops.logsumexp(x, -1), (6, 5)),
    _operation("median", lambda x: ops.median(x, -1), (6, 5), slow=True),
    _operation("mean of the batch", lambda x: ops.mean(x, 0, keepdims=True), (20, 40), slow=True),
    # Entries elsewhere.
    _operation("x+flipped", lambda x: x + ops.flip(x, 1), (6, 20)),
    _operation(
        "gated halves",
        lambda x: ops.split(x, 2, -1)[0] * ops.sigmoid(ops.split(x, 2, -1)[1]),
        (6, 20),
    ),
    _operation(
        "steps apart", lambda x: (lambda a, b: a * ops.sigmoid(b))(*ops.unstack(x, axis=1)), (2, 40)
    ),
    _operation("taken", lambda x: ops.take(x, [0, 2], axis=1), (6, 20)),
    _operation("reflected", lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0)), "reflect"), (6, 20)),
    _operation("zeros around", lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0))), (6, 20)),
    _operation("zero channels", lambda x: ops.pad(x, ((0, 0), (0, 0), (1, 2))), (6, 20)),
    _operation("triangle", ops.tril, (6, 6)),
    _operation("depth to space", lambda x: ops.depth_to_space(x, 2), (4, 6, 8)),
    _operation("patches", lambda x: ops.image.extract_patches(x, 2), (4, 6, 8)),
    _operation("joined axes", lambda x, y: ops.hstack([x, y]), (5,), (15,)),
    # Linear maps.
    _operation(
        "twos around", lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0)), constant_values=2.0), (6, 20)
    ),
    _operation("cumulated", lambda x: ops.cumsum(x, 1), (6, 20)),
    _operation("differences", lambda x: ops.diff(x, axis=1), (6, 20)),
    _operation("resized", lambda x: ops.image.resize(x, (7, 9)), (4, 5, 8)),
    _operation("average pool", lambda x: ops.average_pool(x, 2, 1, "same"), (4, 5, 8)),
    _operation("given kernel", lambda x: ops.conv(x, _GIVEN, padding="same"), (4, 6, 8)),
    _operation("grey", ops.image.rgb_to_grayscale, (6, 6, 3)),
    # As the layers.
    _operation("max pool", lambda x: ops.max_pool(x, 2, 2), (4, 6, 8)),
    _operation("layer normalisation", lambda x: ops.layer_normalization(x), (6, 16)),
    _operation("RMS normalisation", lambda x: ops.rms_normalization(x), (6, 16)),
    _operation("unit vectors", lambda x: ops.normalize(x), (6, 16)),
    # Sampled.
    _operation("log-softmax", lambda x: ops.log_softmax(x), (6, 16)),
    _operation("sorted", lambda x: ops.sort(x, 1), (6, 16), slow=True),
    _operation("spectrum", lambda x: ops.fft((x, ops.zeros_like(x)))[0], (6, 8)),
]

FAMILIES = {
    "dense": DENSE, "convolution": CONVOLUTION, "activation": ACTIVATION, "pooling": POOLING,
    "normalization": NORMALIZATION, "merging": MERGING, "regularization": REGULARIZATION,
    "reshaping": RESHAPING, "recurrent": RECURRENT, "wrappers": WRAPPERS,
    "preprocessing": PREPROCESSING, "spectral": SPECTRAL, "resizing": RESIZING,
    "augmentation": AUGMENTATION, "encoding": ENCODING, "operations": OPERATIONS,
    "applications": APPLICATIONS,
}  # fmt: skip
CASES = [case for family in FAMILIES.values() for case in family]
