"""The linter on files alone: both Kerases, strange configurations, and large ones."""

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import keras
import pytest
import tf_keras
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.analysis.diagnosis.linter.architecture import architecture_of
from app.analysis.diagnosis.linter.lint import lint


def residual(kit: Any, ops: Any) -> Any:
    x = inputs = kit.Input((16,))
    y = kit.layers.Dense(16, name="first")(x)
    y = ops.relu(y) * 0.5
    y = kit.layers.Dense(16, activation="tanh", name="second")(y)
    x = ops.softmax(x + y)
    return kit.Model(inputs, kit.layers.Dense(3, name="last")(x))


def kinds(model: Any, version: int) -> list[tuple[str, str | None]]:
    steps = architecture_of(json.loads(model.to_json()), version).steps
    return [("", step.activation) if step.activation else (step.class_name, None) for step in steps]


def test_functions_of_keras_2_are_the_operations_of_keras_3() -> None:
    import tensorflow as tf

    old, new = residual(tf_keras, tf.nn), residual(keras, keras.ops)
    assert kinds(old, 2) == kinds(new, 3)
    for model, version in ((old, 2), (new, 3)):
        codes = [fault.code for fault in lint(json.loads(model.to_json()), version).faults]
        assert "misplaced_activation" in codes
        assert "missing_nonlinearity" not in codes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_configuration_makes_it_raise(data: st.DataObject) -> None:
    entry = json.loads(residual(keras, keras.ops).to_json())
    odd = st.one_of(
        st.none(),
        st.integers(),
        st.text(max_size=3),
        st.just([]),
        st.just({}),
        st.just(float("nan")),
        st.lists(st.integers(), max_size=2),
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place: Any = entry
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if not isinstance(place[key], (dict, list)) or data.draw(st.booleans()):
                place[key] = data.draw(odd)
                break
            place = place[key]
    for version in (2, 3):
        lint(entry, version, {"loss": data.draw(odd)})


def test_a_layer_of_ones_own_hides_what_it_does() -> None:
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(8, name="b")]
    )
    entry = json.loads(model.to_json())
    compiled = {"loss": "categorical_crossentropy"}
    codes = {fault.code for fault in lint(entry, 3, compiled).faults}
    assert {"missing_nonlinearity", "output_activation_vs_loss"} <= codes
    entry["config"]["layers"][-1] |= {"module": "mine", "registered_name": "mine>Dense"}
    assert not lint(entry, 3, compiled).faults


@pytest.mark.parametrize(
    "loss",
    [
        {"class_name": "function", "config": "mine>categorical_crossentropy_smooth"},
        {
            "module": "mine",
            "class_name": "CategoricalCrossentropy",
            "registered_name": "mine>CategoricalCrossentropy",
            "config": {},
        },
        {"elsewhere": "mse"},
        [None],
        None,
        [["mse"]],
    ],
)
def test_losses_of_ones_own_are_passed_over(loss: Any) -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, name="a")])
    assert not lint(json.loads(model.to_json()), 3, {"loss": loss}).faults


@pytest.mark.parametrize("activation", ["relu", "softmax", "linear"])
@pytest.mark.parametrize("initializer", ["HeNormal", "Zeros"])
def test_it_takes_work_in_proportion(activation: str, initializer: str) -> None:
    def work(count: int) -> int:
        layers = [{"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8]}}] + [
            {
                "class_name": "Dense",
                "config": {
                    "name": f"d{i}",
                    "units": 8,
                    "activation": activation,
                    "kernel_initializer": {"class_name": initializer, "config": {}},
                    "bias_initializer": {"class_name": "Ones" if i % 2 else "Zeros", "config": {}},
                },
            }
            for i in range(count)
        ]
        return lines_run(
            lambda: lint({"class_name": "Sequential", "config": {"name": "s", "layers": layers}}, 2)
        )

    short, long = work(100), work(400)
    assert long < 6 * short, (short, long)  # 4 for linear, 16 for quadratic


def lines_run(function: Callable[[], object]) -> int:
    """How many lines of Python a call takes: a measure that no other process can change."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def test_nested_too_deep_is_not_linted() -> None:
    entry: dict[str, Any] = {"class_name": "Dense", "config": {"name": "d", "units": 3}}
    for level in range(2000):
        entry = {"class_name": "Sequential", "config": {"name": f"s{level}", "layers": [entry]}}
    assert not lint(entry, 2).faults
