"""Parts of TensorFlow Addons in files, held against what they are documented to compute."""

import h5py
import keras
import numpy as np
import pytest
import tf_keras

from autoinit import AutoInit
from autoinit.initializers.drawing import apply_plans
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.keras2 import own_layers
from autoinit.model_files.keras2.building import of_addons
from autoinit.model_files.keras2.vocabulary import ADDONS
from autoinit.model_files.opening import open_model_file
from autoinit.model_files.write.patching import save_patched_copy

# As Keras 2 says it.
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

X = np.random.default_rng(0).normal(size=(3, 6, 6, 4)).astype("float32")


def saved(path, *layers, shape=(6, 6, 4)):
    """The HDF5 file of a chain whose layers are those of Addons."""
    model = tf_keras.Sequential([tf_keras.Input(shape), *layers])
    model.save(path, save_format="h5")
    with h5py.File(path, "r+") as file:
        text = file.attrs["model_config"]
        for name in own_layers.ADDONS:
            text = text.replace(f'"class_name": "{name}"', f'"class_name": "Addons>{name}"')
        file.attrs["model_config"] = text
    return path


def opened(tmp_path, *layers, **options):
    return open_model_file(saved(tmp_path / "m.h5", *layers, **options))


def test_each_name_that_is_let_through_has_its_part():
    assert set(of_addons(ADDONS)) == ADDONS


@pytest.mark.parametrize(
    ("kind", "reduce"), [("Average", np.mean), ("Max", np.max)], ids=["mean", "max"]
)
def test_adaptive_pooling_takes_equal_parts(kind, reduce, tmp_path):
    layer = own_layers.ADDONS[f"Adaptive{kind}Pooling2D"]((3, 2))
    file = opened(tmp_path, layer)
    parts = X.reshape(3, 3, 2, 2, 3, 4)
    np.testing.assert_allclose(file.model(X), reduce(parts, axis=(2, 4)), rtol=1e-6)
    assert file.native


def test_adaptive_pooling_into_one_part(tmp_path):
    """Of which Keras 3's own makes windows that are larger than the input."""
    file = opened(tmp_path, own_layers.ADDONS["AdaptiveMaxPooling2D"](1))
    np.testing.assert_array_equal(file.model(X), X.max(axis=(1, 2), keepdims=True))


def test_instance_normalization_is_over_each_channel_of_each_sample(tmp_path):
    file = opened(tmp_path, own_layers.InstanceNormalization(epsilon=1e-3))
    deviations = X - X.mean(axis=(1, 2), keepdims=True)
    expected = deviations / np.sqrt(X.var(axis=(1, 2), keepdims=True) + 1e-3)
    np.testing.assert_allclose(file.model(X), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("gelu", 1.0, 0.841192),  # by the tanh; exactly it is 0.841345
        ("hardshrink", 0.4, 0.0),
        ("lisht", -1.0, np.tanh(1.0)),
        ("mish", 1.0, np.tanh(np.log1p(np.e))),
        ("rrelu", -1.0, -(1 / 8 + 1 / 3) / 2),
        ("snake", 1.0, 1.0 + np.sin(1.0) ** 2),
        ("softshrink", 1.0, 0.5),
        ("tanhshrink", 1.0, 1.0 - np.tanh(1.0)),
    ],
)
def test_activations_have_the_defaults_of_addons(name, x, y, tmp_path):
    path = saved(tmp_path / "m.h5", tf_keras.layers.Activation("tanh"), shape=(1,))
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace(
            '"tanh"', f'"Addons>{name}"'
        )
    file = open_model_file(path)
    np.testing.assert_allclose(file.model(np.full((1, 1), x, "float32")), [[y]], rtol=1e-5)
    assert any("Addons" in finding.message for finding in file.findings)


def test_weight_normalization_is_the_layer_with_the_kernel_that_it_makes(tmp_path):
    random = np.random.default_rng(1)
    dense = tf_keras.layers.Dense(3, name="inner")
    wrapper = own_layers.WeightNormalization(dense, data_init=False, name="outer")
    path = saved(tmp_path / "m.h5", wrapper, shape=(5,))
    v, g, bias = random.normal(size=(5, 3)), random.normal(size=3), random.normal(size=3)
    with h5py.File(path, "r+") as file:
        stored = {name: file["model_weights/outer"][name] for name in _names(file)}
        for name, value in (("g", g), ("kernel", v), ("bias", bias), ("initialized", True)):
            next(each for key, each in stored.items() if key.endswith(f"{name}:0"))[...] = value
    file = open_model_file(path)
    (dense,) = file.model.layers
    kernel = g * v / np.linalg.norm(v, axis=0)
    assert (type(dense), dense.name) == (keras.layers.Dense, "outer")
    np.testing.assert_allclose(dense.kernel, kernel, rtol=1e-6)
    np.testing.assert_allclose(dense.bias, bias, rtol=1e-6)

    # Its own file gets the new kernel, and the norms that make it again.
    plans = AutoInit().plan(file.model).scales
    apply_plans(plans, "truncated_normal", 3)
    new = dense.kernel.numpy()
    assert not np.allclose(new, kernel)
    target = tmp_path / "new.h5"
    save_patched_copy(
        file.record, file.original, file.weights, plans, target, Budgets(), file.layer_pairs
    )
    again = open_model_file(target)
    np.testing.assert_allclose(again.model.layers[0].kernel, new, rtol=1e-6)


def test_weight_normalization_that_was_never_called_has_the_kernel_itself(tmp_path):
    wrapper = own_layers.WeightNormalization(tf_keras.layers.Dense(3), data_init=False)
    file = opened(tmp_path, wrapper, shape=(5,))
    np.testing.assert_array_equal(file.model.layers[0].kernel, wrapper.v)


def _names(file):
    return [
        name.decode() if isinstance(name, bytes) else name
        for name in file["model_weights/outer"].attrs["weight_names"]
    ]
