"""Weights drawn afresh by a model's own initialisers."""

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.initializers import drawing
from autoinit.reading import read_model

IMAGE, SEQUENCE, VOLUME = (8, 8, 4), (8, 4), (6, 6, 6, 2)
PLAIN = {
    "dense": (SEQUENCE, lambda: layers.Dense(5, kernel_initializer="orthogonal")),
    "dense without bias": (SEQUENCE, lambda: layers.Dense(5, use_bias=False)),
    "dense with a seed": (
        SEQUENCE, lambda: layers.Dense(5, kernel_initializer=keras.initializers.HeNormal(seed=3)),
    ),
    "conv1d": (SEQUENCE, lambda: layers.Conv1D(3, 3, bias_initializer="random_normal")),
    "conv2d": (IMAGE, lambda: layers.Conv2D(4, 3, groups=2, bias_initializer="random_uniform")),
    "conv3d": (VOLUME, lambda: layers.Conv3D(3, 2)),
    "conv1d transpose": (SEQUENCE, lambda: layers.Conv1DTranspose(3, 3)),
    "conv2d transpose": (IMAGE, lambda: layers.Conv2DTranspose(3, 3)),
    "conv3d transpose": (VOLUME, lambda: layers.Conv3DTranspose(3, 2)),
    "depthwise1d": (SEQUENCE, lambda: layers.DepthwiseConv1D(3, depth_multiplier=2)),
    "depthwise2d": (IMAGE, lambda: layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "batch": (IMAGE, lambda: layers.BatchNormalization(gamma_initializer="random_normal")),
    "layer": (IMAGE, lambda: layers.LayerNormalization(beta_initializer="random_normal")),
    "group": (IMAGE, lambda: layers.GroupNormalization(2, gamma_initializer="random_normal")),
}  # fmt: skip


def drawn(model, seed):
    assert not drawing.draw_configured_weights(read_model(model), seed)
    return [np.array(keras.ops.convert_to_numpy(v)) for v in model.weights]


@pytest.mark.parametrize("case", PLAIN)
def test_plain_layers_are_drawn_as_if_they_were_made_again(case, monkeypatch):
    shape, make = PLAIN[case]
    inputs = keras.Input(shape)
    layer = make()
    model = keras.Model(inputs, layer(inputs))
    assert drawing._initializers(layer) is not None
    quick, again = drawn(model, 5), drawn(model, 5)
    monkeypatch.setattr(drawing, "_PLAIN", ())
    for one, other, made in zip(quick, again, drawn(model, 5), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, made)


def test_another_seed_gives_other_weights_but_for_initialisers_with_a_seed():
    inputs = keras.Input((6,))
    x = layers.Dense(6, kernel_initializer=keras.initializers.HeNormal(seed=3))(inputs)
    model = keras.Model(inputs, layers.Dense(6)(x))
    one, other = drawn(model, 1), drawn(model, 2)
    np.testing.assert_array_equal(one[0], other[0])
    assert not np.array_equal(one[2], other[2])


def test_layers_whose_weights_are_more_than_their_initialisers_are_made_again():
    class Scaled(layers.Dense):
        def build(self, shape):
            super().build(shape)
            self.kernel.assign(3.0 * np.ones(self.kernel.shape))

    inputs = keras.Input((6,))
    adapted = layers.Dense(6, lora_rank=2)
    model = keras.Model(inputs, adapted(Scaled(6)(inputs)))
    assert all(drawing._initializers(layer) is None for layer in model.layers)
    assert (drawn(model, 1)[0] == 3.0).all()


def test_an_embeddings_table_is_drawn():
    inputs = keras.Input((3,), dtype="int32")
    model = keras.Model(inputs, layers.Embedding(50, 8)(inputs))
    (table,) = drawn(model, 4)
    assert table.std() == pytest.approx(0.1 / 12**0.5, rel=0.1)  # uniform between ±0.05


def test_a_reseeded_draw_is_another_for_each_layer_and_each_seed():
    one = keras.initializers.HeNormal(seed=42)
    inputs = keras.Input((8,))
    x = layers.Dense(8, kernel_initializer=one)(inputs)
    x = layers.Dense(8, kernel_initializer=one)(x)
    rows = layers.Reshape((2, 4))(x)
    rows = layers.TimeDistributed(layers.Dense(8, kernel_initializer=one))(rows)
    rows = layers.TimeDistributed(layers.Dense(8, kernel_initializer=one))(rows)
    model = keras.Model(inputs, layers.LSTM(4, kernel_initializer=one)(rows))
    graph = read_model(model)

    def kernels(seed, *, reseed):
        drawing.draw_configured_weights(graph, seed, reseed=reseed)
        found = [v for v in model.weights if v.name == "kernel"]
        return [np.array(keras.ops.convert_to_numpy(v)).tobytes() for v in found]

    said = kernels(1, reseed=False)
    assert said == kernels(2, reseed=False)
    assert said[0] == said[1]
    first, again, other = (kernels(seed, reseed=True) for seed in (1, 1, 2))
    assert first == again
    assert len({*said, *first, *other}) == 13  # one seed gives three of them the same numbers


def test_a_layer_whose_configuration_does_not_tell_its_shapes_keeps_its_weights():
    class Forgetful(layers.Layer):
        """As keras_hub's normalization in Qwen 3: its configuration lacks its own width."""

        def __init__(self, width=3, **options):
            super().__init__(**options)
            self.width = width

        def build(self, shape):
            self.scale = self.add_weight(shape=(self.width,), initializer="ones")

        def call(self, x):
            return x * keras.ops.mean(self.scale)

        def get_config(self):
            return super().get_config()

    model = keras.Sequential([keras.Input((4,)), Forgetful(5, name="forgets")])
    (finding,) = drawing.draw_configured_weights(read_model(model), 0)
    assert (finding.code, finding.path) == ("keeps_weights", "forgets")
    assert "Error" not in finding.message
    np.testing.assert_array_equal(model.layers[0].scale, np.ones(5))
