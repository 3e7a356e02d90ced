"""Every layer of tf_keras beside its twin: the same numbers, in inference and in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras
from tf_keras.src.applications import convnext, inception_resnet_v2
from tf_keras.src.engine.base_layer import AddLoss, AddMetric

from autoinit.model_files.keras2.own_layers import SpectralNormalization
from autoinit.model_files.keras2.translation import translate
from autoinit.model_files.keras2.vocabulary import LAYER_CLASSES
from tests.autoinit.model_files.keras2.models import (
    around,
    assert_same,
    classes,
    data_for,
    is_of_keras_only,
    randomise,
    reread,
)

layers = tf_keras.layers
initializers = tf_keras.initializers


@dataclass(frozen=True)
class Case:
    """A layer in a model.

    Attributes:
        name: of the class.
        arguments: of its constructor.
        shapes: of the inputs, without the batch.
        twin: class of what stands for it in Keras 3; its own by default.
        dtype: of the inputs.
        integers: inputs are indices below this.
        build: makes the model, where that is more than the layer.
        random: the layer draws in training.
        slow: it takes seconds, and what is special of it is seen in other cases, too.
    """

    name: str
    arguments: dict[str, Any]
    shapes: tuple[Any, ...]
    twin: str = ""
    dtype: str = "float32"
    integers: int = 0
    build: Callable[[], Any] | None = None
    random: bool = False
    slow: bool = False

    def __str__(self) -> str:
        given = ",".join(f"{name}={named(value)}" for name, value in self.arguments.items())
        return f"{self.name}({given})"[:80].replace("/", "|")

    def model(self) -> Any:
        if self.build is not None:
            return self.build()
        return around(getattr(layers, self.name)(**self.arguments), self.shapes, self.dtype)


def named(value: Any) -> Any:
    """Without addresses: every process that shares the tests must call them the same."""
    return (
        [named(each) for each in value]
        if isinstance(value, list)
        else getattr(value, "name", value)
    )


def case(name: str, *shapes: Any, **options: Any) -> Case:
    fields = ("twin", "dtype", "integers", "build", "random", "slow")
    own = {field: options.pop(field) for field in fields if field in options}
    return Case(name, options, shapes or ((6,),), **own)


SEQUENCE, IMAGE, VOLUME = (5, 4), (6, 6, 4), (4, 4, 4, 2)
PLANE = (6, 6, 3)


def conv(name: str, shape: Any, **options: Any) -> Case:
    return case(name, shape, filters=4, kernel_size=3, **options)


def cells(*kinds: str) -> Any:
    made = [getattr(layers, f"{kind}Cell")(3) for kind in kinds]
    return made[0] if len(made) == 1 else made


def with_state() -> Any:
    sequence, *state = (tf_keras.Input(shape) for shape in (SEQUENCE, (3,), (3,)))
    return tf_keras.Model([sequence, *state], layers.LSTM(3)(sequence, initial_state=state))


def both_ways_with_state() -> Any:
    sequence, *state = (tf_keras.Input(shape) for shape in (SEQUENCE, (3,), (3,)))
    return tf_keras.Model(
        [sequence, *state], layers.Bidirectional(layers.GRU(3))(sequence, initial_state=state)
    )


def encoder_decoder() -> Any:
    source, target = tf_keras.Input(SEQUENCE), tf_keras.Input(SEQUENCE)
    _, *state = layers.LSTM(3, return_state=True)(source)
    decoded = layers.LSTM(3, return_sequences=True)(target, initial_state=state)
    return tf_keras.Model([source, target], layers.Dense(2)(decoded))


def fourier_features() -> Any:
    return around(layers.experimental.RandomFourierFeatures(4, "laplacian", scale=2.0), [(6,)])


def stateful() -> Any:
    sequence = tf_keras.Input(batch_shape=(3, *SEQUENCE))
    return tf_keras.Model(sequence, layers.GRU(3, stateful=True)(sequence))


def attention_of(**call: Any) -> Callable[[], Any]:
    def build() -> Any:
        query, value = tf_keras.Input((4, 6)), tf_keras.Input((5, 6))
        layer = layers.MultiHeadAttention(2, 3, value_dim=4)
        return tf_keras.Model([query, value], layer(query, value, **call))

    return build


def attention_by_keywords() -> Any:
    query, key, value = (tf_keras.Input((4, 6)) for _ in range(3))
    mask = tf_keras.Input((4, 4), dtype="bool")
    result = layers.MultiHeadAttention(2, 3)(query, value=value, key=key, attention_mask=mask)
    return tf_keras.Model([query, key, value, mask], result)


def masked_attention() -> Any:
    query, value = tf_keras.Input((4,), dtype="int32"), tf_keras.Input((5,), dtype="int32")
    embedding = layers.Embedding(4, 3, mask_zero=True)
    pooled = layers.GlobalAveragePooling1D()(
        layers.Attention(use_scale=True)([embedding(query), embedding(value)])
    )
    return tf_keras.Model([query, value], pooled)


def masked(kind: str, /, **options: Any) -> Callable[[], Any]:
    """What follows an embedding that masks zeros."""

    def build() -> Any:
        words = tf_keras.Input((7,), dtype="int32")
        embedded = layers.Embedding(4, 3, mask_zero=True)(words)
        made = getattr(layers, kind)(**options)
        result = made(embedded)
        after = layers.GlobalAveragePooling1D()(result) if len(result.shape) == 3 else result
        return tf_keras.Model(words, [result, after])

    return build


def pooled(sequence: Any) -> Any:
    """The mean of what a mask leaves: it shows a lost one as an LSTM would, in less time."""
    return layers.GlobalAveragePooling1D()(sequence)


def masked_sums() -> Any:
    one, other = (tf_keras.Input((7,), dtype="int32") for _ in range(2))
    embedding = layers.Embedding(4, 3, mask_zero=True)
    parts = [embedding(one), embedding(other)]
    sums = [layers.Add()(parts), layers.Concatenate()(parts), layers.Concatenate(1)(parts)]
    return tf_keras.Model([one, other], [pooled(layers.Dense(3)(part)) for part in sums])


def masked_steps() -> Any:
    data = tf_keras.Input(SEQUENCE)
    kept = layers.Masking(0.0)(layers.ReLU()(data))
    parts = [
        layers.TimeDistributed(layers.Dense(3))(kept),
        layers.BatchNormalization()(kept),
        layers.Rescaling(2.0)(kept),
    ]
    return tf_keras.Model(data, [pooled(part) for part in parts])


def activation_layer() -> Any:
    data = tf_keras.Input((6,))
    return tf_keras.Model(data, layers.Dense(4, activation=layers.LeakyReLU(alpha=0.2))(data))


def time_distributed_model() -> Any:
    inner = tf_keras.Sequential(
        [
            layers.Conv2D(2, 3, input_shape=PLANE),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    frames = tf_keras.Input((4, *PLANE))
    return tf_keras.Model(frames, pooled(layers.TimeDistributed(inner)(frames)))


def adapted(layer: Any, shape: Any, data: Any) -> Callable[[], Any]:
    def build() -> Any:
        layer.adapt(data)
        return around(layer, [shape])

    return build


def words(layer: Any) -> Callable[[], Any]:
    return lambda: around(layer, [(3,)], "string")


def with_losses() -> Any:
    data = tf_keras.Input((6,))
    hidden = layers.Dense(4)(data)
    model = tf_keras.Model(data, layers.Dense(2)(hidden))
    model.add_loss(tf_keras.backend.mean(hidden))
    return model


CASES = [
    *(case("Activation", activation=name) for name in (
        "elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "log_softmax", "mish",
        "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish",
        "tanh",
    )),
    case("ActivityRegularization", l1=0.1, l2=0.2),
    case("AddLoss", build=lambda: around(AddLoss(unconditional=False), [(6,)])),
    case("AddMetric", build=lambda: around(AddMetric("mean", "size"), [(6,)])),
    *(case(name, (4,), (4,)) for name in (
        "Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract",
    )),
    case("Add", (4,), (4,), (1,)),
    case("AdditiveAttention", (4, 6), (5, 6)),
    case("AlphaDropout", rate=0.3, random=True),
    case("Attention", (4, 6), (5, 6)),
    case("Attention", (4, 6), (5, 6), (5, 6), use_scale=True),
    case("Attention", (4, 6), (5, 6), score_mode="concat"),
    case("Attention", (4, 6), (4, 6), dropout=0.3, random=True),
    case("Attention", build=masked_attention),
    *(case(f"{kind}Pooling{rank}D", shape, pool_size=2, padding=padding, strides=strides)
      for kind in ("Average", "Max")
      for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
      for padding, strides in (("valid", None), ("same", 3))),
    *(case(f"Global{kind}Pooling{rank}D", shape, keepdims=keepdims)
      for kind in ("Average", "Max")
      for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME)) for keepdims in (False, True)),
    case("BatchNormalization"),
    case("BatchNormalization", IMAGE),
    case("BatchNormalization", IMAGE, axis=1),
    case("BatchNormalization", IMAGE, epsilon=1e-7),
    case("BatchNormalization", IMAGE, axis=[-1], scale=False, epsilon=1e-5),
    case("BatchNormalization", IMAGE, center=False, momentum=0.5),
    case("BatchNormalization", IMAGE, axis=[1, 2], twin="Keras2Layer"),
    case("Bidirectional", SEQUENCE, layer=layers.LSTM(3)),
    case("Bidirectional", SEQUENCE, layer=layers.GRU(3, return_sequences=True), merge_mode="sum",
         slow=True),
    case("Bidirectional", SEQUENCE, layer=layers.SimpleRNN(3), merge_mode="ave"),
    case("Bidirectional", SEQUENCE, layer=layers.LSTM(3, return_state=True), merge_mode="mul",
         slow=True),
    case("Bidirectional", SEQUENCE, layer=layers.LSTM(3), merge_mode=None, slow=True),
    case("Bidirectional", SEQUENCE, layer=layers.SimpleRNN(3),
         backward_layer=layers.SimpleRNN(3, go_backwards=True, activation="relu")),
    case("Bidirectional", SEQUENCE, layer=layers.RNN(layers.GRUCell(3)), slow=True),
    case("Bidirectional", build=both_ways_with_state, slow=True),
    case("Bidirectional", build=masked(
        "Bidirectional", layer=layers.LSTM(2, return_sequences=True)), slow=True),
    case("CategoryEncoding", (3,), num_tokens=4, dtype="int32"),
    case("CategoryEncoding", (3,), num_tokens=4, output_mode="count", dtype="int32"),
    case("CategoryEncoding", (1,), num_tokens=4, output_mode="one_hot", dtype="int32"),
    case("CenterCrop", (8, 7, 3), height=4, width=3),
    case("CenterCrop", (4, 7, 3), height=6, width=3),
    case("Concatenate", (4, 2), (4, 3)),
    case("Concatenate", (4, 2), (3, 2), axis=1),
    conv("Conv1D", SEQUENCE),
    conv("Conv1D", SEQUENCE, padding="causal", dilation_rate=2, activation="relu"),
    conv("Conv2D", IMAGE),
    conv("Conv2D", IMAGE, strides=2, padding="same", use_bias=False, groups=2),
    conv("Conv2D", IMAGE, dilation_rate=(2, 1), activation="elu", kernel_constraint="max_norm"),
    conv("Conv3D", VOLUME, strides=(1, 2, 1), padding="same"),
    conv("Conv1DTranspose", SEQUENCE, strides=2, padding="same"),
    conv("Conv1DTranspose", SEQUENCE, strides=3, output_padding=1),
    conv("Conv2DTranspose", IMAGE, strides=2, padding="same"),
    conv("Conv2DTranspose", IMAGE, strides=3),
    conv("Conv2DTranspose", IMAGE, strides=2, output_padding=1, activation="tanh"),
    conv("Conv3DTranspose", VOLUME, strides=2),
    case("ConvLSTM1D", (3, 5, 2), filters=2, kernel_size=3),
    case("ConvLSTM2D", (3, 6, 6, 2), filters=2, kernel_size=3, return_sequences=True,
         padding="same"),
    case("ConvLSTM2D", (3, 6, 6, 2), filters=2, kernel_size=3, recurrent_activation="sigmoid",
         return_state=True, go_backwards=True),
    case("ConvLSTM3D", (2, 4, 4, 4, 1), filters=2, kernel_size=2),
    case("Cropping1D", SEQUENCE, cropping=(1, 2)),
    case("Cropping2D", IMAGE, cropping=((1, 0), (2, 1))),
    case("Cropping3D", VOLUME, cropping=1),
    case("CustomScaleLayer", build=lambda: around(
        inception_resnet_v2.CustomScaleLayer(0.3), [(6,), (6,)])),
    case("Dense", units=4),
    case("Dense", (5, 6), units=4, activation="selu", use_bias=False, kernel_regularizer="l1_l2"),
    case("Dense", units=4, kernel_initializer=initializers.VarianceScaling(2.0, "fan_out")),
    case("Dense", units=4, kernel_initializer=initializers.Orthogonal(0.7),
         bias_constraint="non_neg"),
    case("Dense", build=activation_layer),
    case("DepthwiseConv1D", SEQUENCE, kernel_size=3, depth_multiplier=2),
    case("DepthwiseConv2D", IMAGE, kernel_size=3, strides=2, padding="same"),
    case("DepthwiseConv2D", IMAGE, kernel_size=3, depth_multiplier=2, activation="relu"),
    case("Discretization", bin_boundaries=[-0.5, 0.0, 0.7]),
    case("Discretization", bin_boundaries=[-0.5, 0.0, 0.7], output_mode="multi_hot"),
    case("Dot", (4, 3), (5, 3), axes=2),
    case("Dot", (3,), (3,), axes=-1, normalize=True),
    case("Dropout", rate=0.3, random=True),
    case("Dropout", IMAGE, rate=0.3, noise_shape=(None, 1, 1, 4), seed=3, random=True),
    case("ELU", alpha=0.7),
    case("EinsumDense", (5, 6), equation="abc,cde->abde", output_shape=(5, 2, 3), bias_axes="de"),
    case("Embedding", (7,), input_dim=4, output_dim=3, dtype="int32"),
    case("Embedding", (7,), input_dim=4, output_dim=3, input_length=7, integers=4),
    case("Embedding", build=masked("Dense", units=2)),
    case("Flatten", IMAGE),
    case("Flatten", IMAGE, data_format="channels_first"),
    case("RandomFourierFeatures", build=fourier_features, twin="Keras2Layer"),
    case("GRU", SEQUENCE, units=3),
    case("GRU", SEQUENCE, units=3, reset_after=False, recurrent_activation="hard_sigmoid"),
    case("GRU", SEQUENCE, units=3, return_sequences=True, return_state=True, go_backwards=True),
    case("GRU", SEQUENCE, units=3, use_bias=False, implementation=1, dropout=0.2, random=True),
    case("GRU", build=masked("GRU", units=3, return_sequences=True)),
    case("GRU", build=stateful),
    case("GRU", (4, 5), units=3, time_major=True, twin="Keras2Layer"),
    case("GaussianDropout", rate=0.3, random=True),
    case("GaussianNoise", stddev=0.3, random=True),
    case("GroupNormalization", IMAGE, groups=2),
    case("GroupNormalization", IMAGE, groups=-1, axis=1, center=False),
    case("HashedCrossing", (1,), (1,), num_bins=5, dtype="int32"),
    case("Hashing", (3,), num_bins=5, dtype="int32"),
    case("Hashing", (3,), num_bins=5, salt=7, output_mode="multi_hot", dtype="string"),
    case("Identity"),
    case("IntegerLookup", (3,), vocabulary=[1, 3, 2], dtype="int64"),
    case("IntegerLookup", (3,), vocabulary=[1, 3], num_oov_indices=2, output_mode="count",
         dtype="int64"),
    case("LSTM", SEQUENCE, units=3),
    case("LSTM", SEQUENCE, units=3, recurrent_activation="hard_sigmoid", unit_forget_bias=False),
    case("LSTM", SEQUENCE, units=3, return_sequences=True, return_state=True, unroll=True),
    case("LSTM", SEQUENCE, units=3, recurrent_dropout=0.2, random=True, slow=True),
    case("LSTM", build=with_state),
    case("LSTM", build=encoder_decoder, slow=True),
    case("LSTM", build=masked("LSTM", units=3, return_sequences=True, go_backwards=True),
         slow=True),
    case("Layer", twin="Identity"),
    case("LayerNormalization"),
    case("LayerNormalization", IMAGE, axis=[1, 2], epsilon=1e-5),
    case("LayerNormalization", IMAGE, axis=[-1, 1], scale=False, twin="Keras2Layer"),
    case("LayerScale", build=lambda: around(convnext.LayerScale(0.5, 6), [(6,)])),
    case("LeakyReLU"),
    case("LeakyReLU", alpha=0.1),
    conv("LocallyConnected1D", SEQUENCE, twin="Keras2Layer"),
    conv("LocallyConnected2D", IMAGE, implementation=2, twin="Keras2Layer"),
    case("Masking", build=masked_steps),
    case("Add", build=masked_sums),
    case("MultiHeadAttention", build=attention_of()),
    case("MultiHeadAttention", build=attention_of(return_attention_scores=True)),
    case("MultiHeadAttention", build=attention_of(use_causal_mask=True)),
    case("MultiHeadAttention", build=attention_by_keywords),
    case("Normalization", mean=0.3, variance=2.0),
    case("Normalization", (4, 3), mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 0.5]),
    case("Normalization", build=adapted(
        layers.Normalization(), (3,), np.arange(12.0).reshape(4, 3))),
    case("Normalization", mean=0.3, variance=2.0, invert=True),
    case("PReLU", IMAGE, shared_axes=[1, 2]),
    case("PReLU"),
    case("Permute", IMAGE, dims=(3, 1, 2)),
    case("RNN", SEQUENCE, cell=cells("LSTM")),
    case("RNN", SEQUENCE, cell=cells("SimpleRNN", "GRU", "LSTM"), return_sequences=True, slow=True),
    case("RNN", SEQUENCE, cell=cells("GRU"), return_state=True, go_backwards=True, unroll=True),
    case("RNN", build=masked("RNN", cell=layers.LSTMCell(2), return_sequences=True,
                             zero_output_for_mask=True)),
    case("RandomBrightness", IMAGE, factor=0.2, random=True),
    case("RandomContrast", IMAGE, factor=0.2, random=True),
    case("RandomCrop", (8, 7, 3), height=4, width=3, random=True, twin="Keras2Layer"),
    case("RandomFlip", IMAGE, random=True),
    case("RandomHeight", IMAGE, factor=0.2, random=True, twin="Keras2Layer"),
    case("RandomRotation", IMAGE, factor=0.2, random=True),
    case("RandomTranslation", IMAGE, height_factor=0.2, width_factor=0.1, random=True),
    case("RandomWidth", IMAGE, factor=0.2, random=True, twin="Keras2Layer"),
    case("RandomZoom", IMAGE, height_factor=0.2, random=True),
    case("ReLU"),
    case("ReLU", max_value=1.5, negative_slope=0.1, threshold=0.4),
    case("RepeatVector", n=3),
    case("Rescaling", scale=0.5, offset=-1.0),
    case("Reshape", target_shape=(3, -1)),
    *(case("Resizing", IMAGE, height=9, width=4, interpolation=name) for name in (
        "bilinear", "nearest", "bicubic", "lanczos3", "lanczos5",
    )),
    case("Resizing", IMAGE, height=9, width=4, interpolation="area", twin="Keras2Layer"),
    case("Resizing", (8, 5, 3), height=4, width=4, crop_to_aspect_ratio=True),
    case("SeparableConv1D", SEQUENCE, filters=3, kernel_size=3),
    case("SeparableConv2D", IMAGE, filters=3, kernel_size=3, depth_multiplier=2, padding="same"),
    case("SimpleRNN", SEQUENCE, units=3),
    case("SimpleRNN", SEQUENCE, units=3, activation="relu", return_sequences=True),
    case("Softmax"),
    case("Softmax", IMAGE, axis=[1, 2]),
    *(case(f"SpatialDropout{rank}D", shape, rate=0.3, random=True)
      for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))),
    case("SpectralNormalization", build=lambda: around(
        SpectralNormalization(layers.Dense(3), power_iterations=2), [(6,)])),
    case("StochasticDepth", build=lambda: around(convnext.StochasticDepth(0.2), [(6,)]),
         random=True),
    case("StringLookup", build=words(layers.StringLookup(vocabulary=["a", "b"]))),
    case("StringLookup", build=words(
        layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot", mask_token="e"))),
    case("TextVectorization", build=lambda: around(
        layers.TextVectorization(vocabulary=["a", "c"], output_sequence_length=3), [()], "string")),
    case("ThresholdedReLU", theta=0.4, twin="ReLU"),
    case("TimeDistributed", (3, 6), layer=layers.Dense(2, activation="tanh")),
    case("TimeDistributed", (3, *PLANE), layer=layers.Conv2D(2, 3)),
    case("TimeDistributed", build=time_distributed_model),
    case("UnitNormalization"),
    case("UnitNormalization", IMAGE, axis=[1, 2]),
    case("UpSampling1D", SEQUENCE, size=3),
    *(case("UpSampling2D", IMAGE, size=(2, 3), interpolation=name) for name in (
        "bilinear", "nearest", "bicubic", "lanczos3", "lanczos5",
    )),
    case("UpSampling2D", IMAGE, interpolation="gaussian", twin="Keras2Layer"),
    case("UpSampling3D", VOLUME, size=2),
    case("ZeroPadding1D", SEQUENCE, padding=2),
    case("ZeroPadding2D", IMAGE, padding=((1, 0), (2, 3))),
    case("ZeroPadding3D", VOLUME, padding=1),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_twin_computes_the_same(case: Case) -> None:
    model = reread(randomise(case.model()))
    result = translate(model)
    assert case.build or (case.twin or case.name) in classes(result.model)
    assert_same(model, result.model, data_for(model, integers=case.integers))
    assert result.native == is_of_keras_only(result.model)
    if result.native:
        anew = keras.models.model_from_json(result.model.to_json())
        anew.set_weights(result.model.get_weights())
        for layer in anew.layers:
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()
        assert_same(model, anew, data_for(model, integers=case.integers))
    if not case.random:
        assert_same(model, result.model, data_for(model, integers=case.integers), training=True)


# Other names of classes that are tested, and what stands for nothing in a graph of Keras 3.
OTHER_NAMES = {
    "AvgPool1D", "AvgPool2D", "AvgPool3D", "BatchNormalizationV1", "BatchNormalizationV2",
    "Convolution1D", "Convolution1DTranspose", "Convolution2D", "Convolution2DTranspose",
    "Convolution3D", "Convolution3DTranspose", "CuDNNGRU", "CuDNNLSTM", "Deconvolution2D",
    "Deconvolution3D", "GRUCell", "GRUCellV1", "GRUCellV2", "GRUV1", "GRUV2", "GlobalAvgPool1D",
    "GlobalAvgPool2D", "GlobalAvgPool3D", "GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPool3D",
    "InputLayer", "LSTMCell", "LSTMCellV1", "LSTMCellV2", "LSTMV1", "LSTMV2", "MaxPool1D",
    "MaxPool2D", "MaxPool3D", "SeparableConvolution1D", "SeparableConvolution2D", "SimpleRNNCell",
    "StackedRNNCells", "SyncBatchNormalization",
}  # fmt: skip


def test_every_layer_of_the_vocabulary_has_a_case() -> None:
    assert {case.name for case in CASES} == LAYER_CLASSES - OTHER_NAMES


def test_every_layer_of_tf_keras_is_in_the_vocabulary_or_left_out_for_a_reason() -> None:
    left_out = {
        "AbstractRNNCell",
        "Wrapper",  # abstract
        "DenseFeatures",  # reads feature columns
        "Lambda",  # holds code
    }
    found = {
        name
        for name, member in vars(layers).items()
        if isinstance(member, type) and issubclass(member, layers.Layer)
    }
    assert found - LAYER_CLASSES == left_out
