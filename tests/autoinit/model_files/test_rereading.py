"""What is saved is read again before it is offered."""

import keras
import pytest
import tf_keras

from autoinit import AutoInit
from autoinit.initializers.drawing import apply_plans
from autoinit.model_files import open_model_file, read_again, save_model, save_reinitialized
from autoinit.model_files.budgets import Budgets
from tests.autoinit.model_files import networks

KERAS = {"keras": keras, "tf_keras": tf_keras}


@pytest.fixture(
    params=["keras .keras", "keras .json", "tf_keras .keras", "tf_keras .h5", "tf_keras .json"]
)
def saved(request, tmp_path):
    """A file of either Keras, opened, the plans of its kernels, and what was saved of it."""
    whose, suffix = request.param.split()
    layers = KERAS[whose].layers
    model = KERAS[whose].Sequential([
        layers.InputLayer((6, 6, 2)), layers.DepthwiseConv2D(3), layers.BatchNormalization(),
        layers.Flatten(), layers.Dense(3),
    ])  # fmt: skip
    path, folder = tmp_path / f"model{suffix}", tmp_path / "saved"
    folder.mkdir()
    if suffix == ".json":
        path.write_text(model.to_json())
    else:
        networks.saved(model, path)
    file = open_model_file(path)
    plans = AutoInit({"seed": 1}).plan(file.model).scales
    apply_plans(plans, "truncated_normal", 1)
    downloads, findings = save_reinitialized(file, plans, folder, Budgets())
    assert not findings
    return file, plans, folder, downloads


def test_every_format_holds_what_was_measured(saved):
    file, plans, folder, downloads = saved
    assert read_again(downloads, folder, file.model, file, plans, {}) == (downloads, ())
    assert all((folder / download.file).is_file() for download in downloads)


def test_a_weight_that_is_not_the_measured_one(saved):
    file, plans, folder, downloads = saved
    kernel = file.model.layers[-1].kernel
    kernel.assign(kernel.numpy() + 1e-6)
    offered, findings = read_again(downloads, folder, file.model, file, plans, {})
    stays = [each for each in downloads if each.file.endswith(".json")]  # it holds no weights
    assert list(offered) == stays
    assert {finding.code for finding in findings} <= {"not_patched"}
    assert all("is not the one that was measured" in finding.message for finding in findings)
    assert [path.name for path in folder.iterdir()] == [each.file for each in stays]


def test_a_file_that_does_not_open(saved):
    file, plans, folder, downloads = saved
    for download in downloads:
        path = folder / download.file
        path.write_bytes(path.read_bytes()[:100])
    offered, findings = read_again(downloads, folder, file.model, file, plans, {})
    assert offered == ()
    assert all("Keras cannot open it" in finding.message for finding in findings)


def test_another_architecture(tmp_path):
    model, other = (
        keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3) for _ in range(depth))])
        for depth in (2, 1)
    )
    offered, (finding,) = read_again((save_model(other, tmp_path),), tmp_path, model, None, (), {})
    assert offered == ()
    assert "2 weights, and the model 4" in finding.message
