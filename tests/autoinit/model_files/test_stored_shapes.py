"""Shapes of stored weights by the layers that they belong to."""

import numpy as np
import pytest

from autoinit.model_files.read.hdf5 import StoredArray
from autoinit.model_files.weights.stored_shapes import stored_shapes
from tests.autoinit.model_files.configurations import Keras2, Keras3


def arrays(**shapes):
    return {path: StoredArray(path, shape, np.dtype("f4")) for path, shape in shapes.items()}


CONFIG = Keras3.functional(
    Keras3.input(),
    Keras3.layer("Dense", "a"),
    Keras3.layer("Conv2DTranspose", "b"),
    Keras3.layer("Dense", "c"),
    Keras3.sequential(Keras3.layer("ReLU", "r"), Keras3.layer("Dense", "d"), name="inner"),
    Keras3.layer("Bidirectional", "both"),
)


@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies"])
def test_archives_count_classes(container):
    stored = arrays(
        **{
            f"{container}/dense/vars/0": (4, 3),
            f"{container}/dense/vars/1": (3,),
            f"{container}/conv2d_transpose/vars/0": (2, 2, 5, 3),
            f"{container}/dense_1/vars/0": (3, 2),
            f"{container}/sequential/{container}/dense/vars/0": (2, 9),
            f"{container}/bidirectional/forward_layer/cell/vars/0": (9, 8),
            f"{container}/dense_2/vars/0": (1, 1),
            "optimizer/vars/0": (),
        }
    )
    assert stored_shapes(stored, CONFIG, "keras") == {
        ("a",): [(4, 3), (3,)],
        ("b",): [(2, 2, 5, 3)],
        ("c",): [(3, 2)],
        ("inner", "d"): [(2, 9)],
        ("both",): [(9, 8)],
    }


@pytest.mark.parametrize("end", ["", ":0"])
def test_legacy_files_go_by_names_kernels_first(end):
    config = Keras2.functional(
        Keras2.input(),
        Keras2.layer("Dense", "conv1/conv"),
        Keras2.layer("Dense", "a"),
        Keras2.functional(Keras2.input("y"), Keras2.layer("LSTM", "rnn"), name="inner"),
    )
    stored = arrays(
        **{
            f"model_weights/conv1/conv/conv1/conv/bias{end}": (3,),
            f"model_weights/conv1/conv/conv1/conv/kernel{end}": (4, 3),
            f"model_weights/a/a/kernel{end}": (3, 2),
            f"model_weights/inner/inner/rnn/lstm_cell/bias{end}": (8,),
            f"model_weights/inner/inner/rnn/lstm_cell/kernel{end}": (2, 8),
            f"optimizer_weights/a/kernel{end}": (1,),
            f"model_weights/other/kernel{end}": (1,),
        }
    )
    found = stored_shapes(stored, config, "h5")
    assert found["conv1/conv",] == [(4, 3), (3,)]
    assert found["a",] == [(3, 2)]
    assert found["inner", "rnn"] == [(2, 8), (8,)]
    assert not any("other" in path for path in found)


def test_files_whose_weights_are_at_the_top():
    config = Keras2.sequential(Keras2.layer("Dense", "a"))
    assert stored_shapes(arrays(**{"a/a_W:0": (3, 2)}), config, "h5")["a",] == [(3, 2)]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"config": None},
        {"config": 3},
        {"config": {"layers": 3}},
        {"config": [1, None, {}]},
        {"config": {"layers": [{"config": 3, "name": ["a"]}, {"class_name": {}}]}},
    ],
)
def test_configurations_that_make_no_sense_say_nothing(config):
    stored = arrays(**{"layers/dense/vars/0": (1,), "model_weights/a/kernel": (1,)})
    for format in ("keras", "h5"):
        assert stored_shapes(stored, config, format) == {}


def test_depth_takes_no_more_time_than_it_should():
    config = Keras3.sequential(Keras3.layer("Dense", "a"), name="m")
    for _ in range(90):
        config = Keras3.sequential(config, name="m")
    path = "layers/sequential/" * 90 + "layers/dense/vars/0"
    assert stored_shapes(arrays(**{path: (1,)}), config, "keras") == {("m",) * 90 + ("a",): [(1,)]}
