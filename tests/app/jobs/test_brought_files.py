"""Files as people bring them, analysed whole: what was predicted is what is measured behind it."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers, ops

from app.analysis.job_spec import JobSpec
from app.analysis.settings import Settings
from app.jobs.execution import run


def analysed(model, tmp_path, suffix="keras", **settings):
    """The result for a model that goes through a file."""
    path = tmp_path / f"model.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps(model))
    else:
        model.save(path)
    spec = JobSpec(str(path), path.name, Settings(samples=64, device="cpu", **settings))
    run(spec, tmp_path, lambda *_: None, saves=False)
    return json.loads((tmp_path / "result.json").read_text())


def variances(result, name, series):
    """Predicted and measured, of the call of that path or class."""
    call = next(each for each in result["calls"] if name in (each["path"], each["class"]))
    return tuple(call[series][kind]["variance"] for kind in ("predicted", "measured"))


def trained_normalization():
    x = layers.Input((16, 16, 3))
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(12, 3, use_bias=False)(x))
    y = layers.DepthwiseConv2D(3, name="depthwise")(layers.ReLU(6.0, name="clip")(y))
    model = keras.Model(x, layers.Conv2D(8, 1, name="mix")(y))
    gamma, beta = np.repeat([0.4, 3.0], 6), np.repeat([2.5, -3.5], 6)
    model.get_layer("norm").set_weights([gamma, beta, np.zeros(12), np.ones(12)])
    return model


def trained_biases():
    x = layers.Input((16, 16, 3))
    y = layers.Rescaling(1 / 255)(x)
    for name in ("first", "second"):
        y = layers.Conv2D(16, 3, activation="relu", name=name)(y)
    model = keras.Model(x, layers.Conv2D(4, 1, name="mix")(y))
    generator = np.random.default_rng(3)
    for name in ("first", "second"):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([kernel - 0.02, generator.normal(0.0, 0.1, bias.shape)])
    return model


def heads_of_their_own():
    """Attention by reshape, transpose and matmul, over tokens that share a bias."""
    x = layers.Input((12, 48))
    y = layers.Dense(48, bias_initializer=keras.initializers.RandomNormal(stddev=1.0))(x)
    y = layers.LayerNormalization()(y)
    split = [
        ops.transpose(ops.reshape(layers.Dense(48)(y), (-1, 12, 3, 16)), (0, 2, 1, 3))
        for _ in range(3)
    ]
    scores = ops.softmax(ops.matmul(split[0], ops.transpose(split[1], (0, 1, 3, 2))) / 4.0)
    y = ops.reshape(ops.transpose(ops.matmul(scores, split[2]), (0, 2, 1, 3)), (-1, 12, 48))
    return keras.Model(x, layers.Dense(48, name="project")(y))


def decoder_of_one_code():
    x = layers.Input((12, 4))
    y = layers.RepeatVector(12)(layers.Dense(16, name="code")(layers.Flatten()(x)))
    return keras.Model(x, layers.GRU(24, return_sequences=True, name="decoder")(y))


def response_norm():
    x = tf_keras.Input((8, 8, 48))
    y = tf_keras.layers.Conv2D(96, 1)(x)
    norm = tf.sqrt(tf.reduce_mean(tf.pow(y, 2.0), axis=[1, 2], keepdims=True))
    scale = norm / (tf.reduce_mean(norm, axis=-1, keepdims=True) + 1e-6)
    y = tf_keras.layers.Conv2D(32, 1, name="narrow")(y * scale + y)
    return tf_keras.Model(x, y)


def unit_vectors():
    x = tf_keras.Input((6, 32))
    y = tf.math.l2_normalize(tf_keras.layers.Dense(32, name="before")(x), axis=-2)
    return tf_keras.Model(x, tf_keras.layers.Dense(24, name="after")(y))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize(
    ("build", "suffix", "series", "names"),
    [
        (trained_normalization, "keras", ["uploaded"], ["norm", "clip", "depthwise", "mix"]),
        (trained_biases, "keras", ["uploaded"], ["second", "mix"]),
        (heads_of_their_own, "keras", ["default", "uploaded"], ["Softmax", "project"]),
        (decoder_of_one_code, "keras", ["default", "uploaded"], ["decoder"]),
        (response_norm, "h5", ["default", "uploaded"], ["narrow"]),
        (unit_vectors, "h5", ["default"], ["tf.math.l2_normalize", "after"]),
    ],
)
def test_what_is_predicted_is_measured(build, suffix, series, names, tmp_path):
    keras.utils.set_random_seed(4)
    result = analysed(build(), tmp_path, suffix)
    for each in series:
        for name in names:
            predicted, measured = variances(result, name, each)
            assert predicted == pytest.approx(measured, rel=0.15), (each, name)
    assert not {"undefined_values", "opaque_layer"} & {each["code"] for each in result["warnings"]}


def test_behind_a_layer_that_is_not_run_all_is_measured_and_marked(tmp_path):
    x = y = tf_keras.Input((12, 12, 3))
    for number in range(3):
        y = tf_keras.layers.Conv2D(12, 3, name=f"conv{number}")(y)
        y = tf_keras.layers.Activation("relu", name=f"act{number}")(y)
    config = json.loads(tf_keras.Model(x, y).to_json())
    entry = config["config"]["layers"][2]
    entry["config"]["activation"] = {
        "class_name": "function",
        "config": "pkg>hard_swish",
        "registered_name": "function",
    }
    held = analysed(config, tmp_path, "json")
    behind = {call["path"]: call for call in held["calls"] if call["tainted"]}
    assert behind.keys() >= {"conv1", "conv2"}
    for name in ("conv1", "conv2"):
        predicted, measured = variances(held, name, "default")
        assert predicted == pytest.approx(measured, rel=0.15)
    run_as = analysed(config, tmp_path, "json", treat_as=("pkg>hard_swish=hard_swish",))
    assert not any(call["tainted"] for call in run_as["calls"])
    assert "opaque_activation" not in {each["code"] for each in run_as["warnings"]}


def test_a_tower_that_is_used_many_times_is_told_once(tmp_path):
    inner = layers.Input((6, 6, 2))
    y = layers.Conv2D(4, 3, name="second")(layers.Conv2D(4, 3, name="first")(inner))
    tower = keras.Model(inner, y, name="tower")
    inputs = [layers.Input((6, 6, 2)) for _ in range(5)]
    model = keras.Model(inputs, layers.Add()([tower(x) for x in inputs]))
    told = [w for w in analysed(model, tmp_path)["warnings"] if w["code"] == "shared_layer"]
    assert len(told) == 1
    assert "2 layers of 'tower' are used 5 times" in told[0]["message"]


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_a_lambda_of_coded_shape_fits_what_it_is_joined_with(tmp_path):
    x, beside = tf_keras.Input((8, 8, 2)), tf_keras.Input((4, 4, 8))
    made = tf_keras.layers.Lambda(
        lambda x: tf.nn.space_to_depth(x, 2), lambda shape: (shape[0], 4, 4, 8), name="reorg"
    )(x)
    y = tf_keras.layers.Concatenate()([made, beside])
    model = tf_keras.Model([x, beside], tf_keras.layers.Conv2D(4, 1, name="head")(y))
    result = analysed(model, tmp_path, "h5")
    shapes = {call["path"]: call["output_shape"] for call in result["calls"]}
    assert shapes["reorg"] == [None, 4, 4, 8]
    assert variances(result, "head", "default")[1] is not None
