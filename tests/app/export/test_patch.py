"""The patch: Keras code that gives a model of the same configuration what AutoInit gives it."""

from typing import Any

import keras
import pytest
from keras import layers

from app.analysis.job_spec import JobSpec
from app.analysis.result import Result, read_result
from app.analysis.settings import Settings
from app.export.patch import patch
from app.jobs.execution import run
from app.jobs.folders import RESULT
from probes.forward import probe_model
from tests.app.parsing import parsed


@pytest.fixture(autouse=True)
def scopes():
    """A name that TensorFlow allows no scope leaves one open in Keras."""
    yield
    keras.utils.clear_session()


def every_kind() -> Any:
    """Weights under each name that layers have for them, in models, wrappers and attention."""
    encoder = keras.Sequential(
        [
            keras.Input((10, 10, 4)),
            layers.Conv2D(64, 3, activation="relu", name="c"),
            layers.DepthwiseConv2D(3, name="d"),
            layers.SeparableConv2D(64, 3, name="s"),
        ],
        name="encoder",
    )
    image, words = keras.Input((10, 10, 4), name="image"), keras.Input((6,), dtype="int32")
    seen = layers.Conv2DTranspose(64, 3, padding="same", name="t")(encoder(image))
    seen = layers.Reshape((16, 64), name="rows")(seen)
    seen = layers.TimeDistributed(layers.Dense(64, activation="tanh", name="inner"), name="td")(
        seen
    )
    read = layers.Embedding(50, 64, name="table")(words)
    mixed = layers.MultiHeadAttention(4, 32, name="attention")(read, seen)
    out = layers.Dense(64, activation="relu", name="odd'name")(layers.Flatten(name="flat")(mixed))
    return keras.Model([image, words], layers.Dense(64, activation="sigmoid", name="last")(out))


def analysed(model: Any, folder: Any, **settings: Any) -> Result:
    model.save(folder / "model.keras")
    (folder / "job").mkdir()
    spec = JobSpec(
        model=str(folder / "model.keras"),
        name="model.keras",
        settings=Settings(samples=8, device="cpu", **settings),
    )
    run(spec, folder / "job", lambda share, stage: None)
    return read_result(folder / "job" / RESULT)


@pytest.mark.parametrize(
    "distribution",
    [
        "truncated_normal",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("uniform", "orthogonal")),
    ],
)
def test_a_patched_model_keeps_its_signal(distribution, tmp_path):
    model = every_kind()
    result = analysed(model, tmp_path, distribution=distribution)
    program: dict[str, Any] = {}
    exec(patch(result), program)
    fresh = keras.models.model_from_json(model.to_json())
    keras.utils.set_random_seed(0)
    program["initialize"](fresh)
    figures = probe_model(fresh, num_samples=64, seed=1)
    weighted = [call.path for call in result.weighted_calls if call.at_target]
    assert len(weighted) == 12
    for path in weighted:
        assert 0.5 <= figures[path].variance <= 2, path
    # What is recorded draws them again: a model that is made anew has the same scales.
    (dense,) = [layer for layer in fresh.layers if layer.name == "last"]
    again = keras.models.model_from_json(fresh.to_json()).get_layer("last")
    assert type(again.kernel_initializer) is type(dense.kernel_initializer)
    assert float(keras.ops.std(again.kernel)) == pytest.approx(
        float(keras.ops.std(dense.kernel)), rel=0.5
    )


def test_equal_layers_stand_together_and_advice_at_its_layer(tmp_path):
    model = keras.Sequential([keras.Input((20,))])
    for place in range(6):
        model.add(layers.Dense(20, activation="relu", name=f"d{place}"))
    model.add(layers.Dense(3, activation="relu", name="last"))
    model.compile(loss="categorical_crossentropy")
    text = patch(analysed(model, tmp_path, signal_model="independent"))
    paths = "        'd1', 'd2', 'd3', 'd4',\n        'd5', 'last',\n"
    assert f"    for path in (\n{paths}    ):\n" in text
    advice = [line for line in text.splitlines() if line.lstrip().startswith("# 'last': ")]
    assert "(output_activation_vs_loss)" in advice[0]
    assert text.index(advice[0]) < text.index("'d1'")


def test_what_a_result_holds_is_never_run(build_result):
    assert patch(parsed(build_result(20))) == ""
    data = build_result(20)
    data["model"]["name"] = 'x"""\nraise SystemExit'
    harmless, odd = data["calls"][0], data["calls"][5]
    for call, argument in ((harmless, "kernel_initializer"), (odd, "x = 1; raise SystemExit #")):
        call["path"] = "'],\nraise SystemExit"
        call["kernels"] = [
            {
                "variable": "a/kernel",
                "shape": [2, 2],
                "fan_in": 2,
                "effective_fan_in": 2,
                "argument": argument,
                "initializer": {"class_name": "RandomNormal", "arguments": {"stddev": 0.5}},
            }
        ]
    data["warnings"] = [
        {
            "code": "odd",
            "message": "",
            "remedy": "widen",
            "path": "\nraise",
            "advice": "\r\nraise SystemExit",
        }
    ]
    text = patch(parsed(data))
    exec(text, {})
    assert "x = 1" not in text
    assert "RandomNormal(stddev=0.5)" in text
