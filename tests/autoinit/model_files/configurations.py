"""Configurations written by hand, in the forms of both Kerases."""

import json
from pathlib import Path

from autoinit.model_files.read.reading import FileRecord
from autoinit.model_files.read.version_detection import keras_of

FLOAT32 = {
    "module": "keras",
    "class_name": "DTypePolicy",
    "config": {"name": "float32"},
    "registered_name": None,
}


def tensor(layer, shape, node=0, index=0):
    """A tensor as Keras 3 records it."""
    config = {"shape": shape, "dtype": "float32", "keras_history": [layer, node, index]}
    return {"class_name": "__keras_tensor__", "config": config}


def _name(layer):
    return layer["name"] if isinstance(layer, dict) and "name" in layer else "x"


class Keras3:
    """Writes as Keras 3 does."""

    number = 3

    @staticmethod
    def layer(class_name, name, reads=(), shape=(None, 4), **config):
        return {
            "module": config.pop("module", "keras.layers"),
            "class_name": class_name,
            "config": {"name": name, "trainable": True, "dtype": dict(FLOAT32), **config},
            "registered_name": config.pop("registered_name", None),
            "build_config": {"input_shape": list(shape)},
            "name": name,
            "inbound_nodes": [
                {"args": [tensor(read, list(shape))], "kwargs": {}} for read in reads
            ],
        }

    @staticmethod
    def input(name="x", shape=(None, 4)):
        config = {"batch_shape": list(shape), "dtype": "float32", "name": name}
        return {
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": config,
            "registered_name": None,
            "name": name,
            "inbound_nodes": [],
        }

    @staticmethod
    def functional(*layers, name="model", outputs=None, **entry):
        config = {
            "name": name,
            "trainable": True,
            "layers": list(layers),
            "input_layers": [[_name(layer), 0, 0] for layer in layers[:1]],
            "output_layers": outputs or [[_name(layer), 0, 0] for layer in layers[-1:]],
        }
        return {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "config": config,
            "registered_name": "Functional",
            "build_config": {"input_shape": None},
            "name": name,
            "compile_config": {"loss": "mse", "optimizer": {"class_name": "Evil", "config": {}}},
            **entry,
        }

    @staticmethod
    def sequential(*layers, name="sequential", **entry):
        config = {"name": name, "trainable": True, "dtype": dict(FLOAT32), "layers": list(layers)}
        return {
            "module": "keras",
            "class_name": "Sequential",
            "config": config,
            "registered_name": None,
            "name": name,
            **entry,
        }


class Keras2:
    """Writes as Keras 2 does in an HDF5 file."""

    number = 2

    @staticmethod
    def layer(class_name, name, reads=(), shape=(None, 4), **config):
        del shape
        return {
            "class_name": class_name,
            "config": {"name": name, "trainable": True, "dtype": "float32", **config},
            "name": name,
            "inbound_nodes": [[[read, 0, 0, {}]] for read in reads],
        }

    @staticmethod
    def input(name="x", shape=(None, 4)):
        config = {"batch_input_shape": list(shape), "dtype": "float32", "name": name}
        return {"class_name": "InputLayer", "config": config, "name": name, "inbound_nodes": []}

    @staticmethod
    def functional(*layers, name="model", outputs=None, **entry):
        config = {
            "name": name,
            "layers": list(layers),
            "input_layers": [[_name(layer), 0, 0] for layer in layers[:1]],
            "output_layers": outputs or [[_name(layer), 0, 0] for layer in layers[-1:]],
        }
        return {"class_name": "Functional", "config": config, "name": name, **entry}

    @staticmethod
    def sequential(*layers, name="sequential", **entry):
        config = {"name": name, "layers": list(layers)}
        return {"class_name": "Sequential", "config": config, "name": name, **entry}


BOTH = (Keras2, Keras3)


def called(writer, model, *reads):
    """A model as a layer of another one that calls it on the output of each of some layers."""
    return {**model, "inbound_nodes": writer.layer("_", "_", reads or ["x"])["inbound_nodes"]}


def record_of(config, keras=None):
    """A record of a configuration, as if read from a file."""
    number = keras or keras_of("", config)
    return FileRecord(
        Path("model.json"),
        "model.json",
        "json",
        "",
        number,
        json.dumps(config),
        config,
        None,
        has_weights=False,
    )
