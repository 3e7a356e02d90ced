"""Several files of one model: an architecture and its weights, in one archive."""

import keras
import numpy as np
import pytest
import tf_keras

from app.cli.common import put_together
from app.jobs.folders import pack
from autoinit.errors import ModelFileError
from autoinit.model_files import Budgets, open_model_file
from autoinit.model_files.read.bundles import parts_of


def network(library):
    """The same small network by either Keras."""
    layers = library.layers
    x = library.Input((6, 6, 2))
    y = layers.BatchNormalization()(layers.Conv2D(3, 3, name="conv")(x))
    return library.Model(x, layers.Dense(2, name="dense")(layers.Flatten()(y)))


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """A folder with architectures, weights and a whole model."""
    folder = tmp_path_factory.mktemp("brought")
    old, new = network(tf_keras), network(keras)
    (folder / "old.json").write_text(old.to_json())
    (folder / "new.json").write_text(new.to_json())
    old.save_weights(folder / "old.h5")
    old.save_weights(folder / "old.weights.h5")
    new.save_weights(folder / "new.weights.h5")
    with pytest.warns(UserWarning, match="legacy"):
        old.save(folder / "whole.h5")
    return folder, {"old": old, "new": new}


def opened(folder, names, tmp_path):
    archive = tmp_path / "model.zip"
    pack({name: folder / name for name in names}, archive)
    parts = parts_of(archive, "model.zip", Budgets(), tmp_path)
    return parts, open_model_file(parts.model, name=parts.name, weights=parts.weights)


@pytest.mark.parametrize(
    ("model", "weights"), [("old", "old.h5"), ("old", "old.weights.h5"), ("new", "new.weights.h5")]
)
def test_an_architecture_takes_the_weights_beside_it(model, weights, brought, tmp_path):
    folder, models = brought
    parts, file = opened(folder, [f"{model}.json", weights], tmp_path)
    assert parts.name == f"{model}.json"
    assert file.has_weights
    for one, other in zip(models[model].get_weights(), file.original.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_a_whole_model_goes_before_the_architecture_beside_it(brought, tmp_path):
    parts, file = opened(brought[0], ["old.json", "whole.h5"], tmp_path)
    assert (parts.name, parts.weights) == ("whole.h5", None)
    assert file.has_weights


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["old.json", "new.json"], "holds 2 models"),
        (["old.json", "old.h5", "new.weights.h5"], "holds 2 files of weights"),
        (["old.h5"], "weights only"),
    ],
)
def test_what_is_no_one_model_is_a_sentence(names, says, brought, tmp_path):
    with pytest.raises(ModelFileError, match=says):
        opened(brought[0], names, tmp_path)


def test_the_command_line_puts_weights_to_the_architecture_next_to_them(brought):
    folder = brought[0]
    new, weights, whole = (str(folder / n) for n in ("new.json", "new.weights.h5", "whole.h5"))
    assert put_together([weights, new, whole]) == [[new, weights], [whole]]
    assert put_together([new, whole]) == [[new], [whole]]
    assert put_together(["sample:all-cnn-c", weights]) == [["sample:all-cnn-c"], [weights]]
