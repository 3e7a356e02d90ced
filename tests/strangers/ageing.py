"""Makes the configuration that `tf_keras` writes today look as older versions wrote it.

Each function changes a configuration in place, at every depth; `VERSIONS` says which of them a
version needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py

Config = dict[str, Any]
Ageing = Callable[[Config], None]


def layers_in(entry: Any) -> Iterator[Config]:
    """Every dictionary with a class and a configuration."""
    if isinstance(entry, dict):
        if "class_name" in entry and "config" in entry:
            yield entry
        for value in entry.values():
            yield from layers_in(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from layers_in(value)


def without(*keys: str) -> Ageing:
    """Before these arguments existed."""

    def age(config: Config) -> None:
        for entry in layers_in(config):
            if isinstance(entry["config"], dict):
                for key in keys:
                    entry["config"].pop(key, None)

    return age


def without_modules(config: Config) -> None:
    """Before 2.13 a class was known by its bare name."""
    for entry in layers_in(config):
        for key in ("module", "registered_name", "build_config", "compile_config"):
            entry.pop(key, None)


def model_class(config: Config) -> None:
    """Before TensorFlow 2.3 a functional model was a `Model`."""
    for entry in layers_in(config):
        if entry["class_name"] == "Functional":
            entry["class_name"] = "Model"


def variance_scaling(config: Config) -> None:
    """Stand-alone Keras wrote what `glorot_uniform` stands for."""
    scaling = {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None}
    for entry in layers_in(config):
        if entry["class_name"] == "GlorotUniform":
            entry |= {"class_name": "VarianceScaling", "config": dict(scaling)}


def integer_axes(config: Config) -> None:
    for entry in layers_in(config):
        axis = entry["config"].get("axis") if isinstance(entry["config"], dict) else None
        if entry["class_name"] == "BatchNormalization" and isinstance(axis, list):
            entry["config"]["axis"] = axis[0]


def sequential_without_inputs(config: Config) -> None:
    """Before TensorFlow 2.2 the input's shape stood in the first layer's configuration."""
    for entry in layers_in(config):
        if entry["class_name"] != "Sequential":
            continue
        members = entry["config"]["layers"]
        if len(members) > 1 and members[0]["class_name"] == "InputLayer":
            shape = members.pop(0)["config"]["batch_input_shape"]
            first = members[0]["config"]
            if "layers" not in first:
                first["batch_input_shape"] = shape
        entry["config"].pop("build_input_shape", None)


def sequential_as_list(config: Config) -> None:
    """Keras 2.0 and 2.1: the configuration of a Sequential is the list of its layers."""
    for entry in list(layers_in(config)):
        if entry["class_name"] == "Sequential":
            entry["config"] = entry["config"]["layers"]


def lambda_as_activation(config: Config) -> None:
    """What a custom function without a name is called in a file."""
    for entry in layers_in(config):
        if isinstance(entry["config"], dict) and entry["config"].get("activation") == "relu":
            entry["config"]["activation"] = "<lambda>"


NEW_ARGUMENTS = without("groups", "ragged", "keepdims", "time_major", "autocast", "synchronized")
OLDEST = (
    without_modules,
    NEW_ARGUMENTS,
    model_class,
    variance_scaling,
    integer_axes,
    sequential_without_inputs,
)

VERSIONS: dict[str, tuple[Ageing, ...]] = {
    "2.0.5": (*OLDEST, without("dtype", "interpolation"), sequential_as_list),
    "2.1.6": (*OLDEST, without("dtype"), sequential_as_list),
    "2.2.4": OLDEST,
    "2.2.4-tf": (without_modules, without("groups", "keepdims", "synchronized"), model_class,
                 sequential_without_inputs),
    "2.3.1": (without_modules, without("ragged", "groups", "time_major", "synchronized"),
              model_class, variance_scaling),
    "2.4.0": (without_modules, without("keepdims", "synchronized")),
    "2.8.0": (without_modules, without("synchronized")),
    "2.11.0": (without_modules,),
    "2.15.0": (),
}  # fmt: skip


def age_config(config: Config, version: str) -> Config:
    """The configuration as this version wrote it."""
    for age in VERSIONS[version]:
        age(config)
    return config


def age_h5(path: Path, version: str, *further: Ageing) -> None:
    """Changes a file in place."""
    with h5py.File(path, "r+") as file:
        config = age_config(json.loads(file.attrs["model_config"]), version)
        for age in further:
            age(config)
        file.attrs["model_config"] = json.dumps(config).encode()
        for holder in (file, file["model_weights"]):
            holder.attrs["keras_version"] = version.encode()


def aged_json(text: str, version: str) -> str:
    return json.dumps(age_config(json.loads(text), version) | {"keras_version": version})
