"""Small models and what the linter reads of them."""

import json

import keras
from keras import layers

from app.analysis.diagnosis.linter.architecture import architecture_of


def chain(shape, *parts, **options):
    return keras.Sequential([keras.Input(shape, **options), *parts])


def config_of(model):
    """As it stands in a file."""
    return json.loads(json.dumps(keras.saving.serialize_keras_object(model)))


def values_of(model):
    """Variables by the path of their layer."""
    found = {}

    def collect(model, prefix):
        for layer in model.layers:
            path = f"{prefix}{layer.name}"
            if isinstance(layer, keras.Model):
                collect(layer, f"{path}/")
            found[path] = {
                variable.name: keras.ops.convert_to_numpy(variable) for variable in layer.weights
            }

    collect(model, "")
    return lambda path: found.get(path, {})


def read(model, values=True):
    given = {"weights": values_of(model)} if values else {}
    return architecture_of(config_of(model), 3, **given)


def dense(units=4, activation=None, **options):
    return layers.Dense(units, activation, **options)
