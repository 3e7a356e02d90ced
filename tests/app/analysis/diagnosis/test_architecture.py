"""The linter's view of a configuration."""

import keras
from keras import layers, ops

from app.analysis.diagnosis.linter.architecture import architecture_of, kernel_shape
from tests.app.analysis.diagnosis.models import chain, config_of, dense, read


def test_a_fused_activation_is_a_step_of_its_own():
    steps = read(chain((3,), dense(4, "relu", name="hidden"), dense(2, name="out"))).steps
    assert [(s.path, s.class_name, s.activation) for s in steps] == [
        (steps[0].path, "InputLayer", None),
        ("hidden", "Dense", None),
        ("hidden", "Activation", "relu"),
        ("out", "Dense", None),
    ]
    assert [s.channels for s in steps] == [3, 4, 4, 2]


def test_nested_and_shared_layers_are_followed_along_the_graph():
    inner = chain((4,), dense(4, "tanh", name="inner"))
    inner.name = "block"
    given = keras.Input((4,), name="given")
    once, twice = inner(given), inner(inner(given))
    model = keras.Model(given, layers.Add(name="sum")([once, twice]))
    found = read(model)
    assert [s.path for s in found.kernels()] == ["block/inner"] * 3
    (output,) = found.outputs
    assert found.steps[output].path == "sum"
    assert len(found.steps[output].inputs) == 2


def test_operations_and_their_numbers():
    given = keras.Input((4,), name="given")
    model = keras.Model(given, ops.sin(30.0 * dense(5, name="wave")(given)))
    found = read(model)
    assert [s.activation for s in found.steps][-1] == "sin"
    assert found.steps[found.steps[-1].inputs[0]].class_name == "Multiply"


def test_shapes_of_kernels_follow_from_the_configuration():
    model = chain(
        (8, 8, 3),
        layers.Conv2D(6, 3, name="conv"),
        layers.DepthwiseConv2D(5, name="depthwise"),
        layers.Flatten(),
        dense(2, name="dense"),
    )
    without, found = read(model, values=False), read(model)
    for step in found.kernels():
        assert kernel_shape(found, step) == kernel_shape(without, without.steps[step.index])


def test_what_is_no_graph_has_no_steps():
    assert not architecture_of({"class_name": "Mine", "config": {"units": 3}}).steps
    assert not architecture_of({"class_name": "Functional", "config": {"layers": 3}}).steps


def test_a_circle_ends():
    entry = config_of(keras.Model(*[keras.Input((2,), name="x")] * 2))
    config = {"shape": [None, 2], "dtype": "float32", "keras_history": ["loop", 0, 0]}
    tensor = {"class_name": "__keras_tensor__", "config": config}
    node = {"args": [tensor], "kwargs": {}}
    entry["config"]["layers"].append(
        {"class_name": "Dense", "name": "loop", "config": {"units": 2}, "inbound_nodes": [node]}
    )
    assert not architecture_of(entry).steps
