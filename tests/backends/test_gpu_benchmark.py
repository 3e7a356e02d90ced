"""The GPU's benchmark, as far as a CPU takes it."""

import math
import os
import subprocess
import sys

import keras
import pytest
from keras import layers

from autoinit.reading import read_model
from benchmarks import gpu


def test_operations_of_known_layers_by_hand():
    """Two for each weight at each position: 3·3·3·8 at 16, 3·3·8/2·4 at 16, 2·2·6·4 at 16, 96·5."""
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(4, 3, padding="same", groups=2)(x)
    x = layers.Conv2DTranspose(6, 2, strides=2)(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dense(5)(layers.Flatten()(x))
    graph = read_model(keras.Model(inputs, x))
    by_hand = 216 * 16 + 144 * 16 + 96 * 16 + 96 * 5
    assert gpu.operations(graph, 1) == 2 * by_hand
    assert gpu.operations(graph, 10) == 20 * by_hand


@pytest.mark.parametrize(
    ("there", "worst"),
    [
        ({"a": 1.0, "b": 2.0}, ("a", 0.0)),
        ({"a": 1.0, "b": 2.02}, ("b", 0.01)),
        ({"a": math.nan, "b": 2.0}, ("a", math.inf)),
        ({"a": 0.9, "b": math.inf}, ("b", math.inf)),
    ],
)
def test_the_worst_call_is_named(there, worst):
    path, difference = gpu.worst_difference(there, {"a": 1.0, "b": 2.0})
    assert path == worst[0]
    assert difference == pytest.approx(worst[1])


def test_what_is_not_finite_on_both_agrees():
    both = {"a": math.nan, "b": math.inf, "c": 0.0}
    assert gpu.worst_difference(both, both)[1] == 0.0
    assert gpu.worst_difference({"a": 1e-9}, {"a": 0.0}) == ("a", math.inf)


def test_a_row_has_all_its_figures():
    figures = gpu.measure("deep-tanh-mlp?depth=4&width=16", 8, device="cpu", rounds=2)
    assert figures.plain > 0
    assert figures.probe > 0
    assert figures.difference == 0.0
    assert figures.operations > 0
    assert figures.alive > figures.activations / 8
    assert len(figures.row()) >= len(gpu.HEADER)
    assert "CPU" in gpu.HEADER
    assert keras.__version__ in gpu.machine("cpu")


def test_what_is_not_known_is_a_dash():
    row = gpu.Figures("x", None, 0.5, None, 1, 10**9, 10**12, 2e-4, "conv").row()
    assert row.split() == ["x", "–", "500.0", "ms", "–", "–", "–", "2.0", "–", "2.000", "2.0e-04"]


def test_networks_are_without_dropout():
    model = gpu.build("all-cnn-c?dropout=0.5")
    rates = [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)]
    assert rates
    assert not any(rates)


@pytest.mark.slow
def test_without_a_gpu_it_says_so():
    hidden = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"],
        env={**os.environ, **hidden},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("No GPU is visible to ")


def test_a_disagreement_ends_with_status_1(monkeypatch, capsys):
    figures = gpu.Figures("x", 0.1, 0.2, 10, 10, 10, 10, 2e-3, "block/conv")
    monkeypatch.setattr(gpu, "measure", lambda name, samples: figures)
    monkeypatch.setattr(sys, "argv", ["gpu", "--only", "x"])
    assert gpu.main() == 1
    assert "differ by 2.0e-03 in the variance of 'block/conv'" in capsys.readouterr().out
