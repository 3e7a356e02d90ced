"""The same model with another activation, or with normalizations: what changes and what stays."""

import keras
import numpy as np
import pytest
from keras import layers

from autoinit import AutoInit, variants
from autoinit.errors import GraphError
from autoinit.model_files import open_model_file
from probes import probe_model


def squeezed() -> keras.Model:
    """Every place of an activation: fused, alone, an operation, nested, shared, gate, output."""
    keras.utils.clear_session()  # an operation is called by its number
    image = keras.Input((6, 6, 3), name="image")
    inner = keras.Sequential(
        [keras.Input((6, 6, 4)), layers.Conv2D(4, 3, padding="same", activation="elu", name="in")],
        name="inner",
    )
    x = inner(layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(image))
    x = keras.ops.relu(x)
    gate = layers.Dense(4, "relu", name="squeeze")(layers.GlobalAveragePooling2D()(x))
    gate = layers.Reshape((1, 1, 4))(layers.Dense(4, "sigmoid", name="gate")(gate))
    x = layers.Flatten()(layers.Multiply()([x, gate]))
    shared = layers.Dense(8, name="shared")
    x = layers.LeakyReLU(name="leaky")(shared(layers.Dense(8, name="before")(x)))
    x = layers.PReLU(name="learnt")(shared(x))
    return keras.Model(image, layers.Dense(3, "softmax", name="out")(x), name="squeezed")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return squeezed()


def activations(model: keras.Model) -> dict[str, str]:
    """By name; those of nested models, too."""
    found: dict[str, str] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= activations(layer)
        elif hasattr(layer, "activation"):
            found[layer.name] = layer.activation.__name__
    return found


def test_hidden_activations_are_replaced_and_others_stay(model):
    changed = variants.with_activation(model, "tanh")
    assert activations(changed) == {
        "first": "tanh",
        "in": "tanh",
        "relu": "tanh",
        "squeeze": "tanh",
        "gate": "sigmoid",
        "before": "linear",
        "shared": "linear",
        "leaky": "tanh",
        "learnt": "tanh",
        "out": "softmax",
    }
    assert len(variants.hidden_activations(model)) == 6
    assert activations(model)["first"] == "relu", "the original stays"
    for name in ("first", "shared", "out"):
        assert np.array_equal(changed.get_layer(name).kernel, model.get_layer(name).kernel)


def test_a_factor_is_no_gate():
    inputs = keras.Input((4,))
    scaled = 0.1 * layers.Dense(8, "relu", name="hidden")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(scaled))
    assert variants.hidden_activations(model) == ["hidden/relu"]


def test_a_normalization_comes_between_kernel_and_activation(model):
    changed = variants.with_normalization(model, "batch")
    names = [layer.name for layer in changed.layers]
    place = names.index("first")
    assert names[place : place + 3] == ["first", "first_normalization", "first_activation"]
    assert [layer.name for layer in changed.get_layer("inner").layers] == [
        "in",
        "in_normalization",
        "in_activation",
    ]
    assert {"gate_normalization", "out_normalization"}.isdisjoint(names)
    assert names.count("shared_normalization") == 1
    assert activations(changed)["first_activation"] == "relu"
    # A normalization that does nothing yet: by its own statistics of mean 0 and variance 1.
    image = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    for layer in [*changed.layers, *changed.get_layer("inner").layers]:
        if layer.name.endswith("_normalization"):
            layer.epsilon = 0.0
    assert np.allclose(changed(image), model(image), atol=1e-6)
    with pytest.raises(GraphError, match="no kernel that a normalization could follow"):
        variants.with_normalization(changed)


def test_the_axis_is_that_of_the_channels():
    model = keras.Sequential(
        [
            keras.Input((3, 6, 6)),
            layers.Conv2D(4, 3, data_format="channels_first", name="c"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    changed = variants.with_normalization(model, "layer")
    assert changed.get_layer("c_normalization").gamma.shape == (4,)


def test_a_variant_opens_anywhere_and_is_compiled_as_the_model_was(model, tmp_path):
    model.compile("sgd", "mse")
    changed = variants.with_normalization(variants.with_activation(model, "gelu"), "layer")
    path = tmp_path / "variant.keras"
    changed.save(path)
    opened = keras.models.load_model(path)
    assert isinstance(opened.optimizer, keras.optimizers.SGD)
    assert opened.loss == "mse"
    assert {type(layer).__module__.split(".")[0] for layer in opened.layers} == {"keras"}
    assert activations(open_model_file(path).model) == activations(changed)


def test_a_layer_distributed_over_time_is_changed_inside():
    model = keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.TimeDistributed(layers.Dense(6, "relu"), name="steps"),
            layers.LSTM(3, name="reader"),
            layers.Dense(2),
        ]
    )
    changed = variants.with_activation(model, "silu")
    assert changed.get_layer("steps").layer.activation is keras.activations.silu
    assert changed.get_layer("reader").activation is keras.activations.tanh


class Own(keras.Model):
    """A model whose code is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(4, "relu")

    def call(self, x):
        return self.hidden(x)


def test_where_it_cannot_be_done_a_sentence_says_so():
    linear = keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax")], name="linear")
    with pytest.raises(GraphError, match="'linear' has no hidden activation that could be another"):
        variants.with_activation(linear, "tanh")
    with pytest.raises(GraphError, match="'linear' has no kernel that a normalization could"):
        variants.with_normalization(linear)
    own = Own()
    own(np.zeros((1, 4)))
    with pytest.raises(GraphError, match=r"\(Own\) runs code of its own: only functional"):
        variants.with_activation(own, "tanh")
    with pytest.raises(ValueError, match=r"one of relu, leaky_relu.*; received 'sin'"):
        variants.with_activation(linear, "sin")
    with pytest.raises(ValueError, match="one of batch, layer; received 'group'"):
        variants.with_normalization(linear, "group")


def test_offsets_take_the_mean_of_a_normal_input_away():
    dense = keras.layers.Dense
    model = keras.Sequential(
        [
            keras.Input((64,)),
            dense(64, "relu", name="a"),
            dense(64, name="b"),
            keras.layers.LeakyReLU(0.1, name="leaky"),
            dense(64, "sigmoid", name="c"),
            dense(3, "softmax", name="head"),
        ]
    )
    variant = variants.with_offset(model)
    names = [layer.name for layer in variant.layers]
    assert names == ["a", "a_offset", "b", "leaky", "leaky_offset", "c", "c_offset", "head"]
    # E max(z, 0) = 1/sqrt(2 pi), that of LeakyReLU (1 - 0.1) times it, that of a sigmoid 1/2.
    offsets = [variant.get_layer(f"{name}_offset").offset for name in ("a", "leaky", "c")]
    assert offsets == pytest.approx([-0.398942, -0.9 * 0.398942, -0.5], abs=1e-5)
    z = np.random.default_rng(0).standard_normal(200_000).astype("float32")
    assert float(np.mean(keras.ops.relu(z) + offsets[0])) == pytest.approx(0, abs=0.01)
    assert np.array_equal(variant.get_layer("c").kernel, model.get_layer("c").kernel)


def test_offsets_keep_inputs_apart():
    stack = [keras.layers.Dense(100, "relu") for _ in range(20)]
    model = keras.Sequential([keras.Input((100,)), *stack, keras.layers.Dense(10)])
    alike = []
    for each in (model, variants.with_offset(model)):
        drawn = AutoInit({"seed": 0}).initialize_model(each)
        found = list(probe_model(drawn, 64).values())
        alike.append(found[-1].sample_correlation)
    assert alike[0] > 0.8
    assert alike[1] < 0.3


def test_an_offset_that_there_is_none_of(model):
    with pytest.raises(ValueError, match="gaussian_mean"):
        variants.with_offset(model, "median")


def test_a_function_of_ones_own_gets_an_offset_where_it_has_a_mean():
    def bump(x):
        return keras.ops.square(x) + 1.0

    def normalized(x):
        return x / keras.ops.sum(x, -1, keepdims=True)

    def pole(x):
        return 1.0 / keras.ops.square(x)

    hidden = [keras.layers.Dense(4, each, name=each.__name__) for each in (bump, normalized, pole)]
    model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(2, bump)])
    variant = variants.with_offset(model)
    offsets = {layer.name: layer.offset for layer in variant.layers if hasattr(layer, "offset")}
    assert offsets == {"bump_offset": pytest.approx(-2.0)}  # E z² + 1
    assert variant.get_layer("bump").activation is bump
    # Others are not what `with_activation` takes the place of.
    assert variants.hidden_activations(model) == []
