"""Files of Keras 1, in the words that Keras 1.2 wrote."""

import json

import h5py
import numpy as np
import pytest

from autoinit import AutoInit
from autoinit.errors import ModelFileError
from autoinit.initializers.drawing import apply_plans
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.opening import open_model_file
from autoinit.model_files.read.keras1 import translated
from autoinit.model_files.write.saving import save_reinitialized

WEIGHTS = {
    "W_regularizer": None,
    "b_regularizer": None,
    "activity_regularizer": None,
    "W_constraint": None,
    "b_constraint": None,
}
PENALTY = {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.5}


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, "trainable": True, **config}}


def dense(name, units, **config):
    return layer(
        "Dense",
        name,
        **{
            "output_dim": units,
            "init": "glorot_uniform",
            "activation": "linear",
            "bias": True,
            "input_dim": None,
            **WEIGHTS,
            **config,
        },
    )


def convolution(name="conv", ordering="tf", **config):
    return layer(
        "Convolution2D",
        name,
        **{
            "nb_filter": 5,
            "nb_row": 3,
            "nb_col": 2,
            "init": "he_normal",
            "activation": "relu",
            "border_mode": "same",
            "subsample": [2, 1],
            "dim_ordering": ordering,
            "bias": True,
            **WEIGHTS,
            **config,
        },
    )


def recurrent(kind, name, **config):
    gates = {"inner_activation": "hard_sigmoid"} if kind != "SimpleRNN" else {}
    gates |= {"forget_bias_init": "one"} if kind == "LSTM" else {}
    return layer(
        kind,
        name,
        **{
            "output_dim": 4,
            "init": "glorot_uniform",
            "inner_init": "orthogonal",
            "activation": "tanh",
            **gates,
            "return_sequences": False,
            "go_backwards": False,
            "stateful": False,
            "unroll": False,
            "consume_less": "cpu",
            "input_dim": 3,
            "input_length": 7,
            "W_regularizer": None,
            "U_regularizer": None,
            "b_regularizer": None,
            "dropout_W": 0.25,
            "dropout_U": 0.0,
            **config,
        },
    )


def sequential(*layers):
    return {"class_name": "Sequential", "keras_version": "1.2.2", "config": list(layers)}


def graph(*layers, inputs=("a",)):
    sources = [
        (
            {
                "class_name": "InputLayer",
                "config": {
                    "name": name,
                    "batch_input_shape": [None, 6],
                    "input_dtype": "float32",
                    "sparse": False,
                },
            },
            [],
        )
        for name in inputs
    ]
    entries = [
        {**entry, "name": entry["config"]["name"], "inbound_nodes": [reads] if reads else []}
        for entry, reads in (*sources, *layers)
    ]
    last = entries[-1]["name"]
    config = {
        "name": "m",
        "layers": entries,
        "input_layers": [[name, 0, 0] for name in inputs],
        "output_layers": [[last, 0, 0]],
    }
    return {"class_name": "Model", "keras_version": "1.2.2", "config": config}


def opened(path, model):
    path.write_text(json.dumps(model))
    return open_model_file(path).model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.json"


IMAGE = {"batch_input_shape": [None, 8, 8, 3], "input_dtype": "float32"}


@pytest.mark.parametrize(
    ("layers", "shape", "parameters"),
    [
        (
            [
                convolution(**IMAGE),
                layer("Dropout", "d", p=0.25),
                layer("Flatten", "f"),
                dense("last", 10),
            ],
            (10,),
            5 * 18 + 5 + 160 * 10 + 10,
        ),
        (
            [
                {
                    **convolution(
                        **IMAGE, subsample=[1, 1], border_mode="valid", atrous_rate=[2, 2]
                    ),
                    "class_name": "AtrousConvolution2D",
                }
            ],
            (4, 6, 5),
            5 * 18 + 5,
        ),
        (
            [
                layer("ZeroPadding2D", "z", padding=[1, 0, 2, 2], dim_ordering="tf", **IMAGE),
                layer(
                    "MaxPooling2D",
                    "p",
                    pool_size=[3, 3],
                    strides=[3, 3],
                    border_mode="valid",
                    dim_ordering="tf",
                ),
                layer("UpSampling2D", "u", size=[2, 2], dim_ordering="tf"),
                layer(
                    "BatchNormalization",
                    "b",
                    mode=0,
                    axis=-1,
                    epsilon=1e-3,
                    momentum=0.9,
                    gamma_regularizer=None,
                    beta_regularizer=PENALTY,
                ),
            ],
            (6, 8, 3),
            12,
        ),
        (
            [
                layer(
                    "Convolution1D",
                    "c",
                    nb_filter=4,
                    filter_length=3,
                    subsample_length=2,
                    border_mode="valid",
                    init="normal",
                    activation="linear",
                    bias=False,
                    input_dim=5,
                    input_length=9,
                    **WEIGHTS,
                ),
                layer("AveragePooling1D", "p", pool_length=2, stride=2, border_mode="valid"),
                layer("UpSampling1D", "u", length=3),
            ],
            (6, 4),
            60,
        ),
        (
            [
                layer(
                    "Embedding",
                    "e",
                    input_dim=20,
                    output_dim=3,
                    input_length=7,
                    init="uniform",
                    mask_zero=False,
                    W_regularizer=PENALTY,
                    W_constraint={"name": "NonNeg"},
                    activity_regularizer=None,
                    dropout=0.0,
                    batch_input_shape=[None, 7],
                ),
                recurrent("LSTM", "l"),
            ],
            (4,),
            60 + 4 * 4 * (3 + 4 + 1),
        ),
        (
            [
                recurrent("GRU", "g", return_sequences=True, batch_input_shape=[None, 7, 3]),
                layer("TimeDistributed", "t", layer=dense("inner", 2)),
                layer("Bidirectional", "b", merge_mode="concat", layer=recurrent("SimpleRNN", "s")),
                layer("RepeatVector", "r", n=2),
                layer("GaussianNoise", "n", sigma=0.1),
            ],
            (2, 8),
            3 * 4 * 8 + 10 + 2 * 4 * (2 + 4 + 1),
        ),
        (
            [
                dense(
                    "d",
                    3,
                    W_regularizer=PENALTY,
                    input_dim=6,
                    W_constraint={"name": "MaxNorm", "m": 2, "axis": 0},
                )
            ],
            (3,),
            21,
        ),
    ],
    ids=["convolution", "atrous", "images", "steps", "text", "recurrent", "input_dim"],
)
def test_layers_have_the_shapes_and_weights_that_they_had(path, layers, shape, parameters):
    model = opened(path, sequential(*layers))
    assert model.output_shape == (None, *shape)
    assert model.count_params() == parameters


def test_arguments_are_those_of_keras_2():
    made = translated(recurrent("LSTM", "l"))["config"]
    assert made["units"] == 4
    assert made["batch_input_shape"] == [None, 7, 3]
    assert (made["dropout"], made["recurrent_activation"]) == (0.25, "hard_sigmoid")
    assert made["unit_forget_bias"] is True
    assert not {"consume_less", "inner_init", "output_dim", "input_dim"} & made.keys()
    penalty = translated(dense("d", 3, W_regularizer=PENALTY))["config"]["kernel_regularizer"]
    assert penalty == {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}}
    assert translated(layer("Dropout", "d", p=0.5))["config"]["rate"] == 0.5


MODES = {
    "sum": ((6,), 4.0), "mul": ((6,), 3.0), "ave": ((6,), 2.0), "max": ((6,), 3.0),
    "concat": ((12,), 2.0), "dot": ((1,), 18.0), "cos": ((1,), 1.0),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_a_merge_is_the_layer_of_its_mode(path, mode):
    shape, mean = MODES[mode]
    join = layer(
        "Merge",
        "join",
        mode=mode,
        mode_type="raw",
        concat_axis=-1,
        dot_axes=[[1], [1]],
        output_shape=None,
        output_shape_type="raw",
        arguments={},
    )
    model = opened(path, graph((join, [["a", 0, 0], ["b", 0, 0]]), inputs=("a", "b")))
    assert model.output_shape == (None, *shape)
    result = np.asarray(model([np.full((2, 6), 1.0), np.full((2, 6), 3.0)]))
    assert result.mean() == pytest.approx(mean, rel=1e-5)


def test_a_merge_of_code_holds_a_place(path):
    join = layer("Merge", "join", mode="code", mode_type="lambda")
    path.write_text(json.dumps(graph((join, [["a", 0, 0], ["b", 0, 0]]), inputs=("a", "b"))))
    assert "opaque_layer" in {finding.code for finding in open_model_file(path).findings}


def test_a_sequential_model_may_begin_with_several(path):
    branches = [
        {
            "class_name": "Sequential",
            "config": [
                dense(f"d{size}", 4, batch_input_shape=[None, size]),
                layer("Dropout", "x", p=0.5),
            ],
        }
        for size in (3, 5)
    ]
    merge = layer("Merge", "join", mode="concat", mode_type="raw", concat_axis=-1, layers=branches)
    model = opened(path, sequential(merge, dense("last", 2)))
    assert model.input_shape == [(None, 3), (None, 5)]
    assert model.output_shape == (None, 2)
    assert model.count_params() == (3 + 1) * 4 + (5 + 1) * 4 + (8 + 1) * 2


def test_a_file_without_a_version_is_told_by_its_words(path):
    model = sequential(convolution(**IMAGE))
    del model["keras_version"]
    assert opened(path, model).output_shape == (None, 4, 8, 5)


def stored(path, model, **weights):
    """The HDF5 file that Keras 1.2 wrote: weights' names say what they are, gates are apart."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model).encode()
        file.attrs["keras_version"] = b"1.2.2"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            inner = group.create_group(name)
            names = [f"{name}_{place}_W" for place in range(len(arrays))]
            inner.attrs["weight_names"] = [each.encode() for each in names]
            for each, array in zip(names, arrays, strict=True):
                inner[each] = array
    return path


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def test_weights_of_keras_1_are_loaded_and_patched(tmp_path):
    model = sequential(dense("first", 3, batch_input_shape=[None, 6]), dense("last", 2))
    arrays = {"first": [random(6, 3), random(3)], "last": [random(3, 2), random(2)]}
    path = stored(tmp_path / "model.h5", model, **arrays)
    file = open_model_file(path)
    x = random(4, 6)
    expected = (x @ arrays["first"][0] + arrays["first"][1]) @ arrays["last"][0] + arrays["last"][1]
    np.testing.assert_allclose(file.model(x), expected, rtol=1e-4)
    plans = AutoInit().plan(file.model).scales
    apply_plans(plans, "truncated_normal", 0)
    folder = tmp_path / "out"
    folder.mkdir()
    downloads, _ = save_reinitialized(file, plans, folder, Budgets())
    assert [download.file for download in downloads] == ["reinitialized.h5", "reinitialized.keras"]
    with h5py.File(folder / "reinitialized.h5") as saved:
        assert json.loads(saved.attrs["model_config"]) == model
        kernel = saved["model_weights/first/first_0_W"][()]
    np.testing.assert_allclose(kernel, np.asarray(plans[0].kernel.variable), rtol=1e-6)


def test_gates_and_orderings_of_keras_1_are_put_together(tmp_path):
    shape = [None, 3, 6, 6]
    layers = [
        convolution(ordering="th", batch_input_shape=shape, subsample=[1, 1]),
        layer("Reshape", "r", target_shape=[5, 36]),
        recurrent("LSTM", "l"),
    ]
    gates = [array for _ in range(4) for array in (random(36, 4), random(4, 4), random(4))]
    kernel = random(5, 3, 3, 2)
    path = stored(tmp_path / "m.h5", sequential(*layers), conv=[kernel, random(5)], l=gates)
    model = open_model_file(path).model
    np.testing.assert_array_equal(model.get_layer("conv").kernel, kernel.transpose(2, 3, 1, 0))
    assert model.get_layer("l").cell.kernel.shape == (36, 16)


@pytest.mark.parametrize(
    "config",
    [
        [layer("Merge", "m", layers=[{}])],
        [layer("Merge", "m", layers=[1]), 3],
        [{"class_name": "Merge", "config": 3}],
        [layer("Merge", "m", mode="concat", layers=[{"class_name": "Sequential", "config": []}])],
        [3],
        [layer("Merge", "m", mode=["x"], layers=[sequential(dense("d", 2))])],
        [dense("d", {"class_name": 7}, batch_input_shape=3)],
        [layer("ZeroPadding2D", "z", padding=[[], 1, 2, {}], batch_input_shape=[None, 2, 2, 2])],
    ],
)
def test_nonsense_is_refused(path, config):
    path.write_text(json.dumps(sequential(*config)))
    with pytest.raises(ModelFileError):
        open_model_file(path)
