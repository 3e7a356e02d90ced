"""`inspect`: what files hold, held against the models that they were made of; nothing is run."""

import contextlib
import copy
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import h5py
import keras
import pytest
import tf_keras
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.analysis.inspection import inspect_file
from app.cli.inspection_text import inspection_text
from app.cli.main import main
from app.text.escaping import INVISIBLE
from autoinit.errors import ModelFileError
from autoinit.model_files import open_model_file
from autoinit.model_files.budgets import Budgets
from sample_models import FILES_FOLDER
from tests.autoinit.model_files.configurations import BOTH, Keras3
from tests.autoinit.model_files.networks import rich, saved, trained
from tests.fuzz import mutations

RICH_INPUTS = [
    {"name": "sequence", "shape": [None, 6, 5], "dtype": "float32"},
    {"name": "image", "shape": [None, 6, 6, 3], "dtype": "float32"},
    {"name": "tokens", "shape": [None, 4], "dtype": "int32"},
]


def inspected(path: Path, name: str | None = None) -> dict[str, Any]:
    found = inspect_file(path, name or path.name, Budgets())
    json.dumps(found, allow_nan=False)
    assert inspection_text(found)
    return found


def replaced(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Findings of the intake: those of the linter have a severity."""
    return [each for each in found["findings"] if "severity" not in each]


def written(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "model.json"
    path.write_text(json.dumps(config))
    return path


def layers_of(model: Any) -> list[Any]:
    """All layers of a model and of those nested in it, which are layers as well."""
    found = []
    for layer in model.layers:
        found += [layer, *(layers_of(layer) if hasattr(layer, "layers") else ())]
    return found


# Held against models


@pytest.mark.parametrize(
    ("kind", "suffix"), [(keras, ".keras"), (keras, ".h5"), (tf_keras, ".h5"), (tf_keras, ".keras")]
)
def test_a_file_and_its_model(kind: Any, suffix: str, tmp_path: Path) -> None:
    model = rich(kind)
    found = inspected(saved(model, tmp_path / f"rich{suffix}"))
    assert found["file"]["format"] == suffix[1:]
    assert found["file"]["bytes"] == (tmp_path / f"rich{suffix}").stat().st_size
    assert found["keras_version"] == kind.__version__
    assert found["keras"] == (3 if kind is keras else 2)
    assert found["model"] == {"class": "Functional", "name": "rich"}
    assert found["inputs"] == RICH_INPUTS
    layers = layers_of(model)
    counts = {each["class"]: each["count"] for each in found["layers"]["classes"]}
    assert counts["Dense"] == sum(type(layer).__name__ == "Dense" for layer in layers)
    assert counts["MultiHeadAttention"] == 1
    assert counts["Sequential"] == 1
    assert found["layers"]["frozen"] == {"count": 2, "paths": ["frozen_conv", "head/second"]}
    assert found["weights"]["model"]["entries"] == model.count_params()
    assert found["weights"]["optimizer"]["entries"] == 0
    assert found["compile"] is None
    assert (replaced(found), found["refusal"]) == ([], None)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_state_of_an_optimizer_is_no_weight_of_the_model(suffix: str, tmp_path: Path) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(0.5)(inputs)))
    found = inspected(saved(trained(model, keras), tmp_path / f"model{suffix}"))
    assert found["weights"]["model"] == {"arrays": 2, "entries": 8, "types": {"float32": 32}}
    assert found["weights"]["optimizer"]["entries"] == 2 * 8 + 2, "Adam's moments, and its counts"
    assert found["compile"] == {"optimizer": ["Adam"], "loss": ["MeanSquaredError"], "metrics": []}
    assert "optimizer Adam; loss MeanSquaredError" in inspection_text(found)


@pytest.mark.parametrize("kind", [keras, tf_keras])
def test_a_configuration_without_weights(kind: Any, tmp_path: Path) -> None:
    layers = [kind.layers.InputLayer((4,), name="given"), kind.layers.Dense(3)]
    path = tmp_path / "model.json"
    path.write_text(kind.Sequential(layers, name="chain").to_json())
    found = inspected(path)
    assert found["weights"] is None
    assert found["model"] == {"class": "Sequential", "name": "chain"}
    assert [each["shape"] for each in found["inputs"]] == [[None, 4]]
    assert "weights   none" in inspection_text(found)


def test_a_frozen_model_freezes_what_is_in_it(tmp_path: Path) -> None:
    inner = keras.Sequential(
        [keras.layers.InputLayer((4,)), keras.layers.Dense(4, name="a")], name="body"
    )
    inner.trainable = False
    config = json.loads(keras.Sequential([keras.Input((4,)), inner]).to_json())
    found = inspected(written(tmp_path, config))
    assert {"body", "body/a"} <= set(found["layers"]["frozen"]["paths"])


# Nothing is run


LAMBDA = {
    "class_name": "__lambda__",
    "config": {"code": "4wEAAAA=", "defaults": None, "closure": None},
}


def opaque_model() -> dict[str, Any]:
    return Keras3.functional(
        Keras3.input(),
        Keras3.layer("Lambda", "cut", ["x"], function=LAMBDA),
        Keras3.layer("Swirl", "mine", ["cut"], module="my_package.layers"),
        Keras3.layer("Dense", "head", ["mine"], units=2, kernel_initializer="my_package>Odd"),
    )


def test_what_would_not_be_run_is_told(tmp_path: Path) -> None:
    found = inspected(written(tmp_path, opaque_model()))
    assert found["refusal"] is None
    codes = {finding["path"]: finding["code"] for finding in replaced(found)}
    assert codes == {"cut": "opaque_layer", "mine": "opaque_layer", "head": "replaced_initializer"}
    text = inspection_text(found)
    assert "analyze would leave out or replace 3 parts" in text
    assert re.search(r"opaque_layer mine: .*'Swirl' is not part of Keras", text)


def test_nothing_is_rebuilt_and_no_array_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = saved(rich(keras), tmp_path / "rich.keras")
    legacy = saved(rich(tf_keras), tmp_path / "rich.h5")

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("something was rebuilt or read")

    monkeypatch.setattr(keras.Layer, "__init__", forbidden)
    monkeypatch.setattr(tf_keras.layers.Layer, "__init__", forbidden)
    monkeypatch.setattr(keras.saving, "deserialize_keras_object", forbidden)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", forbidden)
    monkeypatch.setattr(h5py.Dataset, "__array__", forbidden)
    for path in (archive, legacy):
        assert inspected(path)["weights"]["model"]["entries"] > 1000


def test_no_framework_is_imported_before_the_confinement() -> None:
    program = (
        "import sys, app.jobs.inspector\n"
        "sys.exit(', '.join({'keras', 'tensorflow', 'h5py', 'numpy'} & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# What is refused


def test_a_refusal_comes_with_what_could_be_read(tmp_path: Path) -> None:
    config = Keras3.functional(
        Keras3.input(), Keras3.layer("StringLookup", "words", ["x"], vocabulary="/etc/passwd")
    )
    found = inspected(written(tmp_path, config))
    assert found["refusal"]["code"] == "file_reference"
    assert found["layers"]["count"] == 2
    assert "checks" not in inspection_text(found)
    with pytest.raises(ModelFileError) as caught:
        open_model_file(tmp_path / "model.json")
    assert found["refusal"]["message"] == str(caught.value), "an analysis says the same"


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "empty_file"), (b"\x89PNG\r\n", "not_a_model_file"), (b'{"a": 1}', "no_model_config")],
)
def test_what_is_no_model_file(content: bytes, code: str, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        inspected(path)
    assert caught.value.code == code


@pytest.mark.parametrize("writer", BOTH)
def test_parts_of_other_types_are_no_traceback(writer: Any, tmp_path: Path) -> None:
    whole = writer.functional(writer.input(), writer.layer("Dense", "a", ["x"], units=3))
    for path in mutations.paths(whole):
        for value in (None, 3, "text", [], {}, [None], {"class_name": 3}):
            config = copy.deepcopy(whole)
            place: Any = config
            for step in path[:-1]:
                place = place[step]
            if path:
                place[path[-1]] = value
            with contextlib.suppress(ModelFileError):
                inspected(written(tmp_path, config))


@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(content=mutations.mutated_models())
def test_mutated_files(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.json"
    path.write_bytes(content)
    with contextlib.suppress(ModelFileError):
        inspected(path)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(min_size=1, max_size=40).filter(lambda text: "/" not in text))
def test_names_cannot_steer_the_terminal(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = f"\x1b[2J\u202e{text}"
    config = Keras3.functional(
        Keras3.input(name), Keras3.layer(name, name, [name], trainable=False), name=name
    )
    config["compile_config"] = {"optimizer": {"class_name": name}, "loss": name, "metrics": [name]}
    shown = inspection_text(inspected(written(tmp_path_factory.getbasetemp(), config), name))
    assert not {unicodedata.category(c) for c in shown.replace("\n", "")} & INVISIBLE


def test_long_lists_are_cut(tmp_path: Path) -> None:
    layers = [Keras3.layer(f"Odd{i}", f"odd{i}", ["x"], trainable=False) for i in range(1500)]
    found = inspected(written(tmp_path, Keras3.functional(Keras3.input(), *layers)))
    assert found["layers"]["count"] == 1501
    assert found["layers"]["frozen"]["count"] == 1500
    assert len(found["layers"]["frozen"]["paths"]) == 1000
    text = inspection_text(found)
    assert "and 1,490 more" in text
    assert len(text.splitlines()) < 80


# The command


@pytest.mark.slow
def test_the_command_on_a_real_file(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(FILES_FOLDER / "small-cnn.keras"), "--json"]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    found = json.loads(captured.out)
    model = keras.models.load_model(FILES_FOLDER / "small-cnn.keras", compile=False)
    assert found["weights"]["model"]["entries"] == model.count_params()
    assert found["layers"]["count"] == len(model.layers) + 1, "Keras leaves out the InputLayer"


@pytest.mark.slow  # as the one above, which has a worker too
def test_the_command_on_a_file_that_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = Keras3.functional(
        Keras3.input(), Keras3.layer("StringLookup", "words", ["x"], vocabulary="/etc/passwd")
    )
    assert main(["inspect", str(written(tmp_path, config))]) == 2
    captured = capfd.readouterr()
    assert "1 StringLookup" in captured.out
    (line,) = captured.err.splitlines()
    assert line.startswith("file_reference: Layer 'words' (StringLookup) asks for a file")


@pytest.mark.parametrize(("name", "code"), [("missing.h5", "file_not_found"), ("", "not_a_model")])
def test_a_file_that_is_none(
    name: str, code: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tmp_path / name)]) == 2
    assert capfd.readouterr().err.startswith(code)


def test_a_sample_is_in_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["inspect", "sample:all-cnn-c"])
    assert exit_info.value.code == 64
    assert "use analyze sample:all-cnn-c" in capsys.readouterr().err


# What the linter says


@pytest.mark.parametrize(("kit", "ending"), [(keras, "keras"), (keras, "h5"), (tf_keras, "h5")])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
def test_what_the_file_shows_by_itself_is_told(tmp_path: Path, kit: Any, ending: str) -> None:
    layers = [kit.layers.Dense(8, name="hidden"), kit.layers.Dense(4, name="last")]
    model = kit.Sequential([kit.Input((6,)), *layers])
    model.compile("sgd", "categorical_crossentropy")
    path = tmp_path / f"model.{ending}"
    model.save(path)
    found = inspected(path)
    told = {each["code"]: each for each in found["findings"]}
    assert told["output_activation_vs_loss"]["severity"] == "fatal"
    assert told["output_activation_vs_loss"]["remedy"] == "change_last_activation"
    assert told["missing_nonlinearity"]["path"] == "hidden"
    text = inspection_text(found)
    assert "checks    passed; analyze would run all of it" in text
    assert f"linter    {len(told)} findings, with nothing run" in text
    assert "fatal output_activation_vs_loss last: " in text
