"""Write the ready-made model files again: `python -m sample_models.make_files`.

The same versions of Keras and HDF5 write the same bytes, so that a file changes in the repository
only when its model does.
"""

import json
import re
import zipfile
from pathlib import Path

import keras
from keras import layers

from sample_models import FILES_FOLDER
from sample_models.fully_connected import deep_tanh_mlp
from sample_models.residual import resnet

DATE = (2021, 9, 18, 0, 0, 0)  # any fixed date will do: that of the paper


def small_cnn() -> keras.Model:
    """Build a CNN as a beginner's tutorial has it: Sequential, activations fused."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(2, name="pool1"),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(2, name="pool2"),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="conv3"),
            layers.GlobalAveragePooling2D(name="average"),
            layers.Dropout(0.3, name="dropout"),
            layers.Dense(10, activation="softmax", name="classes"),
        ],
        name="small_cnn",
    )


def make_files(folder: Path = FILES_FOLDER) -> list[Path]:
    """Build, compile and save the files; return their paths."""
    builders = {
        "small-cnn.keras": (small_cnn, "adam"),
        "small-mlp.h5": (lambda: deep_tanh_mlp(depth=6, width=64), "adam"),
        "small-resnet.keras": (lambda: resnet(8, "basic", batch_normalization=True), "sgd"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (builder, optimizer) in builders.items():
        keras.utils.clear_session()  # Keras numbers the names of optimizers within a process
        keras.utils.set_random_seed(2021)
        model = builder()
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        # A file saved with an optimizer that was never built draws a warning when it is loaded.
        model.optimizer.build(model.trainable_variables)
        model.save(folder / name)
        if name.endswith(".keras"):
            _make_reproducible(folder / name)
    return [folder / name for name in builders]


def _make_reproducible(path: Path) -> None:
    """Replace what differs from run to run: the time of saving and Python's object numbers."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(contents["metadata.json"])
    metadata["date_saved"] = "{}-{:02}-{:02}@{:02}:{:02}:{:02}".format(*DATE)
    contents["metadata.json"] = json.dumps(metadata).encode()
    contents["config.json"] = _renumber(contents["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name, DATE), content)


def _renumber(config: str) -> str:
    """Number shared objects 1, 2, ... in the order of their first mention."""
    numbers: dict[str, int] = {}
    return re.sub(
        r'(?<="shared_object_id": )\d+',
        lambda match: str(numbers.setdefault(match[0], len(numbers) + 1)),
        config,
    )


if __name__ == "__main__":
    for written in make_files():
        print(written)
