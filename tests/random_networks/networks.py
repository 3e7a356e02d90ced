"""Random small networks, as an architecture search would build them."""

import keras
from hypothesis import strategies as st
from keras import layers, ops

ACTIVATIONS = ("relu", "gelu", "tanh", "silu", "elu", "softmax", "leaky_relu", "selu")
_PADDING = ("same", "valid")


def _conv1d(draw, x):
    return layers.Conv1D(8, 3, padding=draw(_PADDING), dilation_rate=draw((1, 2)))(x)


def _conv2d(draw, x):
    return layers.Conv2D(8, 3, strides=draw((1, 2)), padding=draw(_PADDING))(x)


def _attention(draw, x):
    layer = layers.MultiHeadAttention(2, 4, dropout=draw([0.0, 0.1]))
    return layer(x, x, use_causal_mask=draw((False, True)))


def _recurrent(draw, x):
    kind = draw([layers.LSTM, layers.GRU, layers.SimpleRNN])
    layer = kind(6, return_sequences=draw((False, True)))
    return layers.Bidirectional(layer)(x) if draw((False, True)) else layer(x)


def _time_distributed(draw, x):
    return layers.TimeDistributed(layers.Dense(6, activation="relu"))(x)


def _transposed_tokens(draw, x):
    """The token mixing of MLP-Mixer."""
    y = layers.Permute((2, 1))(x)
    y = layers.Dense(x.shape[1], activation="gelu")(y)
    return layers.Permute((2, 1))(y) + x


def _gate(draw, x):
    """Squeeze and excite."""
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Dense(x.shape[-1], activation="sigmoid")(gate)
    return layers.Multiply()([x, gate])


def _swish(draw, x):
    return x * ops.sigmoid(draw([1.0, 2.0]) * x)


# By rank of the tensor, the batch axis counted; `None` for any.
UNARY = {
    None: [
        lambda draw, x: layers.Activation(draw(ACTIVATIONS))(x),
        lambda draw, x: layers.Dropout(0.2)(x),
        lambda draw, x: layers.BatchNormalization()(x),
        lambda draw, x: layers.LayerNormalization()(x),
        lambda draw, x: layers.GaussianNoise(0.1)(x),
        lambda draw, x: layers.PReLU()(x),
        lambda draw, x: 0.5 * x + 1.0,
        _swish,
        lambda draw, x: ops.concatenate([x, ops.relu(x)], axis=-1),
    ],
    2: [
        lambda draw, x: layers.Dense(8, activation=draw(ACTIVATIONS))(x),
        lambda draw, x: layers.Dense(12)(x),
        lambda draw, x: layers.RepeatVector(4)(x),
        lambda draw, x: layers.Reshape((x.shape[-1], 1))(x),
        lambda draw, x: layers.UnitNormalization()(x),
    ],
    3: [
        _conv1d,
        _attention,
        _recurrent,
        _time_distributed,
        _transposed_tokens,
        lambda draw, x: layers.Dense(8)(x),
        lambda draw, x: layers.Flatten()(x),
        lambda draw, x: layers.GlobalAveragePooling1D()(x),
        lambda draw, x: layers.GlobalMaxPooling1D()(x),
        lambda draw, x: layers.MaxPooling1D(2, padding="same")(x),
        lambda draw, x: layers.AveragePooling1D(2, padding="same")(x),
        lambda draw, x: layers.ZeroPadding1D(1)(x),
        lambda draw, x: layers.UpSampling1D(2)(x),
        lambda draw, x: layers.SeparableConv1D(6, 3, padding="same")(x),
        lambda draw, x: layers.Reshape((x.shape[1], x.shape[2], 1))(x),
        lambda draw, x: x[:, ::2],
        lambda draw, x: ops.mean(x, axis=1),
    ],
    4: [
        _conv2d,
        _gate,
        lambda draw, x: layers.DepthwiseConv2D(3, padding="same")(x),
        lambda draw, x: layers.Conv2DTranspose(4, 2, strides=2)(x),
        lambda draw, x: layers.MaxPooling2D(2, padding="same")(x),
        lambda draw, x: layers.AveragePooling2D(2, padding="same")(x),
        lambda draw, x: layers.GlobalAveragePooling2D()(x),
        lambda draw, x: layers.Flatten()(x),
        lambda draw, x: layers.Reshape((x.shape[1] * x.shape[2], x.shape[3]))(x),
        lambda draw, x: layers.Permute((2, 1, 3))(x),
        lambda draw, x: layers.SpatialDropout2D(0.2)(x),
        lambda draw, x: layers.GroupNormalization(1)(x),
        lambda draw, x: layers.Cropping2D(1)(x) if min(x.shape[1:3]) > 2 else x + 0.0,
    ],
}
MERGES = (
    layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum,
    layers.Concatenate,
)  # fmt: skip
_LARGEST = 4096  # entries of a sample


def _fits(x):
    sizes = x.shape[1:]
    entries = 1
    for size in sizes:
        entries *= size
    return min(sizes) > 0 and entries <= _LARGEST


def _steps(x, own):
    """What can be done with a tensor, of its own rank or of any."""
    found = UNARY[len(x.shape) if own else None]
    if len(x.shape) == 4 and min(x.shape[1:3]) < 3:
        found = [step for step in found if step is not _conv2d]
    if len(x.shape) == 3 and x.shape[1] < 5:
        found = [step for step in found if step is not _conv1d]
    return found


class Choices:
    """Picks by a list of numbers, which hypothesis draws and shrinks; 0 once they are used up.

    Keras draws seeds when it makes layers, so that networks cannot be made inside a strategy.
    """

    def __init__(self, numbers):
        self.numbers = iter(numbers)

    def __call__(self, options):
        return options[next(self.numbers, 0) % len(options)]


recipes = st.lists(st.integers(0, 10_000), min_size=20, max_size=60)


def network(recipe):
    """A functional model of about 3 to 12 layers."""
    keras.utils.set_random_seed(0)
    draw = Choices(recipe)
    shape = draw([(12,), (6, 8), (8, 8, 3), (5, 6, 2)])
    data = keras.Input(shape)
    tensors = [data]
    for _ in range(draw(range(3, 13))):
        x = tensors[-1] if draw((False, True)) else draw(tensors)
        partners = [y for y in tensors if y is not x and tuple(y.shape) == tuple(x.shape)]
        if partners and draw((False, True)):
            y = draw(partners)
            made = draw(MERGES)()([x, y])
        else:
            made = draw(_steps(x, own=draw((True, True, False))))(draw, x)
        if _fits(made):
            tensors.append(made)
    last = tensors[-1]
    if last is data:
        last = layers.Dense(4)(data)
    return keras.Model(data, last)
