import keras
import numpy as np
import pytest

from sample_models import FILES_FOLDER
from sample_models.make_files import make_files

NAMES = ["small-cnn.keras", "small-mlp.h5", "small-resnet.keras"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("files"))


def test_the_folder_holds_the_files_that_the_script_makes(made):
    assert sorted(path.name for path in FILES_FOLDER.iterdir()) == NAMES
    assert sorted(path.name for path in made) == NAMES


@pytest.mark.slow
def test_making_them_again_gives_the_same_bytes(made, tmp_path):
    for first, second in zip(made, make_files(tmp_path), strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_small_and_opens_compiled(name):
    path = FILES_FOLDER / name
    assert path.stat().st_size < 500_000
    model = keras.models.load_model(path)
    assert model.compiled
    assert model.optimizer.name in ("adam", "sgd")
    random = np.random.default_rng(0)
    x = random.standard_normal((4, *model.input_shape[1:]), dtype="float32")
    loss = model.evaluate(x, np.zeros(4), return_dict=True, verbose=0)["loss"]
    assert np.isfinite(loss)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_those_that_the_script_makes_today(name, made):
    fresh = next(path for path in made if path.name == name)
    shipped, rebuilt = (keras.models.load_model(p) for p in (FILES_FOLDER / name, fresh))
    assert shipped.get_config() == rebuilt.get_config()
    for one, other in zip(shipped.get_weights(), rebuilt.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
