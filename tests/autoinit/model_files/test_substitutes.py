"""Keras's own parts in the place of those that a file only names."""

import json

import h5py
import keras
import numpy as np
import pytest
import tf_keras
from keras import layers, ops

from autoinit import AutoInit
from autoinit.initializers.drawing import apply_plans
from autoinit.model_files.check.substitutes import offer
from autoinit.model_files.opening import open_model_file
from autoinit.stand_ins import GaussianSampling
from tests.autoinit.model_files.configurations import BOTH, Keras2, Keras3

FOREIGN = {
    "module": "builtins",
    "class_name": "function",
    "config": "pkg>hard_swish",
    "registered_name": "function",
}


def opened(config, tmp_path, *treat_as):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(config))
    return open_model_file(path, treat_as=treat_as)


@pytest.mark.parametrize("writer", BOTH)
def test_an_activation_and_a_layer_are_run_as_keras_own(writer, tmp_path):
    config = writer.functional(
        writer.input(),
        writer.layer("Dense", "dense", ["x"], units=4, activation=FOREIGN),
        writer.layer(
            "FixedDropout", "drop", ["dense"], rate=0.25, noise_shape=None, seed=None, own=1
        ),
        writer.layer("Activation", "act", ["drop"], activation=FOREIGN),
    )
    assert opened(config, tmp_path).findings[0].code.startswith("opaque")
    file = opened(config, tmp_path, "pkg>hard_swish=hard_swish", "FixedDropout=dropout", "a=relu")
    _, dense, drop, act = file.model.layers
    x = ops.linspace(-4.0, 4.0, 9)
    expected = keras.activations.hard_silu(x)
    assert np.allclose(dense.activation(x), expected)
    assert np.allclose(act.activation(x), expected)
    assert isinstance(drop, layers.Dropout)
    assert drop.rate == 0.25
    assert file.native
    told = {each.path: each.message for each in file.findings if each.code == "treated_as"}
    assert "hard_swish in 2 places" in told["pkg>hard_swish"]
    assert "Nothing in the file" in told["a"]


@pytest.mark.parametrize("writer", BOTH)
def test_a_layer_that_code_stands_in_is_told_by_its_name(writer, tmp_path):
    two = writer.layer("Lambda", "z", ["a", "b"], function="code")
    if writer is Keras2:
        two["inbound_nodes"] = [[["a", 0, 0, {"mask": None}], ["b", 0, 0, {"mask": None}]]]
    else:
        tensors = [node["args"][0] for node in two["inbound_nodes"]]
        two["inbound_nodes"] = [{"args": [tensors], "kwargs": {"mask": None}}]
    dense = [writer.layer("Dense", name, ["x"], units=4) for name in "ab"]
    file = opened(writer.functional(writer.input(), *dense, two), tmp_path, "z=GaussianSampling")
    assert not [each for each in file.findings if each.code.startswith("opaque")]
    zeros = keras.tree.map_structure(lambda _: np.zeros((64, 4)), file.model.input)
    assert np.asarray(file.model(zeros)).std() == pytest.approx(1.0, abs=0.2)


def test_the_weights_of_an_archive_are_found_under_their_own_class(tmp_path):
    class Named(layers.Dense):
        pass

    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(Named(3, name="named")(x)))
    model.save(tmp_path / "model.keras")
    file = open_model_file(tmp_path / "model.keras", treat_as=["Named=Dense"])
    assert isinstance(file.model.get_layer("named"), layers.Dense)
    for one, other in zip(model.get_weights(), file.model.get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("treat_as", "says"),
    [
        ("Own=Dens", "did you mean Dense"),
        ("Own=Dense", "Dense needs units, which 'own' does not state"),
        ("swirl=Dropout", "'swirl' is a function"),
        ("Own=Lambda", "no activation or layer 'Lambda'"),
        ("Own=TFSMLayer", "no activation or layer"),
    ],
)
def test_what_cannot_stand_in_is_a_sentence(treat_as, says, tmp_path):
    own = Keras3.layer("Own", "own", ["x"], activation="swirl")
    with pytest.raises(ValueError, match=says):
        opened(Keras3.functional(Keras3.input(), own), tmp_path, treat_as)


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("pkg>hard_swish", "hard_swish"),
        ("kecam>hard_sigmoid_torch", "hard_sigmoid"),
        ("GELU", "gelu"),
        ("FixedDropout", "Dropout"),
        ("BinaryDense", "Dense"),
        ("my>Sampling", "GaussianSampling"),
        ("TransformerBlock", ""),
        ("DenseNetStem", ""),
    ],
)
def test_what_a_name_says_is_offered(name, offered):
    assert offer(name) == (f"{name}={offered}" if offered else "")


def test_a_lambda_is_offered_by_the_name_of_its_layer():
    assert offer("Lambda", "sampling") == "sampling=GaussianSampling"
    assert offer("Lambda", "lambda_3") == ""


def test_a_draw_has_the_mean_and_the_variance_that_it_is_given():
    mean, log_variance = ops.full((4096, 2), 3.0), ops.full((4096, 2), 2.0 * np.log(0.5))
    drawn = np.asarray(GaussianSampling()([mean, log_variance]))
    assert drawn.mean() == pytest.approx(3.0, abs=0.03)
    assert drawn.std() == pytest.approx(0.5, abs=0.02)


def test_wrappers_that_prune_are_looked_through_and_their_weights_found(tmp_path):
    model = tf_keras.Sequential([tf_keras.Input((64,)), tf_keras.layers.Dense(50, name="dense")])
    path = tmp_path / "pruned.h5"
    mask = np.random.default_rng(1).binomial(1, 0.2, (64, 50)).astype("float32")
    with pytest.warns(UserWarning, match="legacy"):
        model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        inner = config["config"]["layers"][1]
        inner["config"]["name"] = "inner"
        config["config"]["layers"][1] = {
            "class_name": "PruneLowMagnitude",
            "config": {"name": "dense", "layer": inner},
        }
        file.attrs["model_config"] = json.dumps(config)
        group = file["model_weights/dense"]
        names = list(group.attrs["weight_names"])
        group["dense/mask:0"] = mask
        group["dense/pruning_step:0"] = np.int64(7)
        group.attrs["weight_names"] = [*names, "dense/mask:0", "dense/pruning_step:0"]
    file = open_model_file(path)
    assert [each.code for each in file.findings] == ["looked_through"]
    assert isinstance(file.model.get_layer("dense"), layers.Dense)
    for one, other in zip(model.get_weights(), file.model.get_weights(), strict=True):
        assert np.array_equal(one, other)
    # AutoInit's kernel keeps the mask, and the size that its units are drawn for.
    plans = AutoInit({"seed": 1}).plan(file.model).scales
    apply_plans(plans, "untruncated_normal", 1)
    kernel = np.asarray(file.model.get_layer("dense").kernel)
    assert not kernel[mask == 0].any()
    assert np.mean(kernel**2) == pytest.approx(plans[0].standard_deviation ** 2, rel=0.1)


def test_what_quantises_while_training_is_looked_through(tmp_path):
    held = {"class_name": "QuantizeAwareActivation", "config": {"activation": "relu"}}
    inner = Keras2.layer("Dense", "inner", units=4, activation=held)
    wrapper = Keras2.layer("QuantizeWrapperV2", "quant", ["first"], layer=inner)
    first = Keras2.layer("QuantizeLayer", "first", ["x"], quantizer={"class_name": "Q"})
    file = opened(Keras2.functional(Keras2.input(), first, wrapper), tmp_path)
    assert [each.code for each in file.findings] == ["looked_through"]
    assert file.model.get_layer("quant").activation is keras.activations.relu
