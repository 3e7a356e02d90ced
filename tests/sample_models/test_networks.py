import keras
import numpy as np
import pytest
from keras import layers

from sample_models import MODELS
from sample_models.local_response_normalization import LocalResponseNormalization
from sample_models.residual import resnet


def count(model: keras.Model, kind: type) -> int:
    return sum(isinstance(layer, kind) for layer in model.layers)


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


# Layers and trainable parameters, counted by hand. All-CNN-C: nine convolutions, e.g. the second
# has 3*3*96*96 + 96. ResNets: 6n or 9n convolutions, the first one, and shortcuts where channels
# change (two with basic blocks, three with bottlenecks). 1.70 M is He et al.'s figure for
# ResNet-164, and 0.85 M that for ResNet-56.
@pytest.mark.parametrize(
    ("name", "convolutions", "normalizations", "additions", "parameters"),
    [
        ("all-cnn-c", 9, 0, 0, 1_369_738),
        ("resnet-56", 1 + 54 + 2, 55, 27, 855_578),
        ("resnet-56-nobn", 1 + 54 + 2, 0, 27, 853_642),
        pytest.param("resnet-164", 1 + 162 + 3, 163, 54, 1_703_258, marks=pytest.mark.slow),
        pytest.param("resnet-164-nobn", 1 + 162 + 3, 0, 54, 1_691_594, marks=pytest.mark.slow),
        pytest.param("resnet-812", 1 + 810 + 3, 811, 270, 8_380_250, marks=pytest.mark.slow),
        pytest.param("resnet-812-nobn", 1 + 810 + 3, 0, 270, 8_320_202, marks=pytest.mark.slow),
        ("vgg-like", 13, 0, 0, 3_814_314),
    ],
)
def test_layers_and_parameters(model_of, name, convolutions, normalizations, additions, parameters):
    model = model_of(name)
    assert count(model, layers.Conv2D) == convolutions
    assert count(model, layers.BatchNormalization) == normalizations
    assert count(model, layers.Add) == additions
    assert trainable(model) == parameters


FORWARD = [name for name in MODELS if "812" not in name and "164" not in name]


@pytest.mark.parametrize("name", FORWARD)
def test_a_forward_pass_ends_in_probabilities(model_of, name):
    model = model_of(name)
    random = np.random.default_rng(0)
    inputs = [
        random.integers(0, 64, (2, *x.shape[1:]))
        if x.dtype == "int32"
        else random.standard_normal((2, *x.shape[1:]), dtype="float32")
        for x in model.inputs
    ]
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    for output in outputs if isinstance(outputs, list) else [outputs]:
        values = np.asarray(output)
        assert np.all((values >= 0) & (values <= 1))
        if values.shape[-1] > 1:
            np.testing.assert_allclose(values.sum(axis=-1), 1, rtol=1e-5)


def test_all_cnn_c_has_an_activation_and_dropout_where_it_is_told(model_of):
    default = model_of("all-cnn-c")
    rates = [layer.rate for layer in default.layers if isinstance(layer, layers.Dropout)]
    assert rates == [0.2, 0.5, 0.5]
    changed = model_of("all-cnn-c?activation=elu&dropout=0.25")
    rates = [layer.rate for layer in changed.layers if isinstance(layer, layers.Dropout)]
    assert rates == [0.2, 0.25, 0.25]
    activations = [x for x in changed.layers if isinstance(x, layers.Activation)]
    assert [x.activation for x in activations] == [keras.activations.elu] * 9
    assert count(model_of("all-cnn-c?dropout=0"), layers.Dropout) == 0
    assert default.get_layer("conv9").output.shape == (None, 6, 6, 10)


@pytest.mark.parametrize("activation", MODELS["all-cnn-c"].arguments["activation"].choices)
def test_every_activation_that_is_offered_exists(model_of, activation):
    model = model_of(f"all-cnn-c?activation={activation}&dropout=0")
    function = model.get_layer(f"conv1_{activation}").activation
    assert function is keras.activations.get(activation)


def test_initializers_are_those_of_the_paper(model_of):
    for name, expected in [
        ("all-cnn-c", keras.initializers.GlorotUniform),
        ("resnet-56", keras.initializers.HeNormal),
        ("resnet-56-nobn", keras.initializers.HeNormal),
    ]:
        weighted = [x for x in model_of(name).layers if isinstance(x, layers.Conv2D | layers.Dense)]
        assert {type(layer.kernel_initializer) for layer in weighted} == {expected}


@pytest.mark.parametrize("name", ["resnet-56", "resnet-56-nobn", "resnet-164", "resnet-164-nobn"])
def test_resnets_add_the_shortcut_first_and_use_biases_only_without_normalization(model_of, name):
    model = model_of(name)
    for layer in model.layers:
        if isinstance(layer, layers.Add):
            shortcut, residual = (x._keras_history.operation.name for x in layer.input)
            unit = layer.name.removesuffix("_add")
            assert residual.startswith(f"{unit}_conv")
            assert shortcut == f"{unit}_shortcut" or not shortcut.startswith(unit)
        if isinstance(layer, layers.Conv2D):
            assert layer.use_bias == name.endswith("-nobn")


def test_resnet_of_a_depth_that_no_whole_blocks_make_is_refused():
    with pytest.raises(ValueError, match=r"bottleneck blocks has 9n \+ 2 layers.*depth=21"):
        resnet(21, "bottleneck", batch_normalization=True)


def test_arguments_reach_the_network(model_of):
    mlp = model_of("deep-tanh-mlp?depth=3&width=8")
    assert mlp.count_params() == 3 * (8 * 8 + 8) + (8 * 10 + 10)
    assert model_of("vgg-like?width=8&dropout=0.25").get_layer("stage5_conv3").filters == 64
    assert model_of("vgg-like?width=8&dropout=0.25").get_layer("dense1_dropout").rate == 0.25
    assert model_of("densenet-like?growth_rate=4").get_layer("block3_conv4").filters == 4


def test_multi_input_has_a_nested_model_and_a_layer_used_twice(model_of):
    model = model_of("multi-input")
    assert len(model.inputs) == 3
    assert len(model.outputs) == 2
    assert isinstance(model.get_layer("encoder"), keras.Model)
    assert len(model.get_layer("projection")._inbound_nodes) == 2


def test_text_networks_take_whole_numbers(model_of):
    for name in ("lstm-text", "transformer-encoder"):
        assert {x.dtype for x in model_of(name).inputs} == {"int32"}


def test_local_response_normalization_divides_by_the_energy_of_neighbours():
    x = np.random.default_rng(0).standard_normal((1, 2, 2, 7)).astype("float32")
    layer = LocalResponseNormalization(window=3, bias=1.5, alpha=0.5, beta=0.75)
    expected = np.empty_like(x)
    for channel in range(7):
        neighbours = x[..., max(channel - 1, 0) : channel + 2]
        energy = np.sum(neighbours**2, axis=-1)
        expected[..., channel] = x[..., channel] / (1.5 + 0.5 * energy) ** 0.75
    np.testing.assert_allclose(np.asarray(layer(x)), expected, rtol=1e-5)


def test_the_custom_layer_survives_a_file(model_of, tmp_path):
    model = model_of("custom-layer")
    model.save(tmp_path / "custom.keras")
    loaded = keras.models.load_model(tmp_path / "custom.keras")
    layer = loaded.get_layer("local_response")
    assert isinstance(layer, LocalResponseNormalization)
    assert layer.get_config() == model.get_layer("local_response").get_config()
