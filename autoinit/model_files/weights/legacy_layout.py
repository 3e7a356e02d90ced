"""Where legacy HDF5 files have a model's weights.

Such a file lists a model's layers and, for each, its weights: `model_weights/dense/dense/kernel:0`.
Those of a nested model stand in one list, the trainable ones first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoinit.graph import keras_internals as internals
from autoinit.model_files.read.hdf5 import ArraysFile, StoredArray
from autoinit.model_files.weights.weight_owners import (
    Pairs,
    Read,
    WeightOwner,
    flattened,
    is_keras3,
    is_placeholder,
    mismatch,
    shape_of,
    trouble_between,
    unpacked,
)

# What the wrappers of TensorFlow's model optimization toolkit keep beside a layer's weights.
_OF_WRAPPERS = re.compile(
    r"(mask|threshold|(pruning|optimizer)_step|\w+_(min|max)|(cluster_centroids|pulling_indices)_\w+)"
    r"(_\d+)?:0"
)
_MASK = re.compile(r"mask(_\d+)?:0")
Entries = list[tuple[str, StoredArray | None]]

# Layers whose arrays tf_keras takes apart and puts together where they come from CuDNN or Keras 1.
_CONVERTED = frozenset(
    {"Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "ConvLSTM2D", "GRU", "LSTM"}
)


def owners_in_legacy_file(model: Any, file: ArraysFile) -> list[WeightOwner]:
    """All objects of a model that have weights, and where its legacy file has these.

    Placeholders have none: what is stored for their originals is left alone.

    Args:
        model: of Keras 3 or of tf_keras, not compiled.
        file: with its weights.

    Raises:
        ModelFileError: `weights_mismatch`, where arrays are missing or have other shapes.
    """
    base = "model_weights" if "model_weights" in file.groups else ""
    layers = [(layer, weights) for layer in model.layers if (weights := _legacy_weights(layer))]
    names = file.names(base, "layer_names")
    if names is None:
        if not layers:
            return []
        raise mismatch(model, "has weights, and the file has no list of layers")
    stored = [(name, entries) for name in names if (entries := _entries(file, _joined(base, name)))]
    version = file.text(base, "keras_version") or "1"
    source = "1" if version.startswith("1.") else version, file.text(base, "backend") or None
    owners = [
        _legacy_owner(layer, weights, entries, source)
        for (layer, weights), entries in zip(layers, _beside(model, layers, stored), strict=True)
    ]
    own = _own_weights(model)
    entries = _entries(file, _joined(base, "top_level_model_weights"))
    if own and entries:
        owners.append(_legacy_owner(model, own, entries, source))
    return owners


def finish(model: Any) -> None:
    """Let layers work out what follows from weights that were assigned to them."""
    for layer in flattened(model):
        if hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()


def _joined(*names: str) -> str:
    """A path as HDF5 understands it, which skips empty names and dots."""
    return "/".join(part for name in names for part in name.split("/") if part not in ("", "."))


def _entries(file: ArraysFile, group: str) -> Entries:
    names = file.names(group, "weight_names") or []
    return [(name, file.arrays.get(_joined(group, name))) for name in names]


def _legacy_weights(layer: Any) -> list[Any]:
    weights = [*layer.trainable_weights, *layer.non_trainable_weights]
    return [weight for weight in weights if hasattr(weight, "assign")]


def _own_weights(model: Any) -> list[Any]:
    if not is_keras3(model):
        return internals.own_variables2(model)
    weights = {id(weight) for weight in model.weights}
    own = internals.own_variables(model)
    return [variable for part in own for variable in part if id(variable) in weights]


def _beside(
    model: Any, layers: Sequence[tuple[Any, list[Any]]], stored: Sequence[tuple[str, Entries]]
) -> list[Entries]:
    """What is stored for each layer: by its name, or as Keras does by its place among the layers.

    Placeholders take no part: they have no weights, and their originals have.
    """
    by_name = dict(stored)
    names = [layer.name for layer, _ in layers]
    if len(by_name) == len(stored) and by_name.keys() >= set(names):
        return [by_name[name] for name in names]
    skipped = {layer.name for layer in model.layers if is_placeholder(layer)}
    left = [entries for name, entries in stored if name not in skipped]
    if len(left) == len(layers):
        return left
    absent = next((layer for layer, _ in layers if layer.name not in by_name), layers[0][0])
    raise mismatch(absent, "has weights, and the file has none for it")


def _legacy_owner(
    layer: Any, weights: list[Any], entries: Entries, source: tuple[str, str | None]
) -> WeightOwner:
    masks: list[tuple[Any, StoredArray]] = []
    if len(entries) != len(weights):
        entries, masks = _of_wrapped(weights, _without_placeholders(layer, entries))
    arrays = [array for _, array in entries if array is not None]
    if len(arrays) < len(entries):
        raise mismatch(layer, "lists weights that are not there")
    own = dict(zip(map(str, range(len(weights))), weights, strict=True))
    trouble = trouble_between(own, dict(zip(map(str, range(len(arrays))), arrays, strict=True)))
    if _may_need_conversion(layer, arrays, weights) and (trouble or source[0] == "1"):
        return WeightOwner(layer, (), lambda read: _converted(layer, weights, arrays, source, read))
    if trouble and (found := _packed(weights, dict(entries))):
        return WeightOwner(layer, (), lambda read: unpacked(layer, found, read), packed=True)
    if trouble:
        raise mismatch(layer, trouble)
    pairs = tuple(zip(weights, arrays, strict=True))

    def load(read: Read) -> Pairs:
        for weight, array in pairs:
            weight.assign(read(array, weight))
        return pairs

    return WeightOwner(layer, pairs, load, masks=tuple(masks))


def _packed(
    weights: Sequence[Any], stored: Mapping[str, StoredArray | None]
) -> list[tuple[Any, StoredArray | None, StoredArray | None]]:
    """Weights of Keras 3 with their arrays and scales, where `quantize` has packed some; or none.

    Arrays bear the paths of their variables, and a scale that of its kernel.
    """
    paths = [str(getattr(weight, "path", "")) for weight in weights]
    if not stored.keys() >= set(paths) or not any(f"{path}_scale" in stored for path in paths):
        return []
    return [
        (weight, stored[path], None if f"{path}_zero" in stored else stored.get(f"{path}_scale"))
        for weight, path in zip(weights, paths, strict=True)
    ]


def _without_placeholders(layer: Any, entries: Entries) -> Entries:
    """Entries of a nested model but those of its placeholders' originals, whose names they bear."""
    skipped = {inner.name for inner in flattened(layer) if is_placeholder(inner)}
    return [(name, array) for name, array in entries if not skipped & set(name.split("/"))]


def _of_wrapped(
    weights: Sequence[Any], entries: Entries
) -> tuple[Entries, list[tuple[Any, StoredArray]]]:
    """A layer's own entries, by their names, among those of a wrapper that was looked through.

    Returns:
        With the masks of those that it has pruned.
    """
    names = [str(weight.name).rpartition("/")[2] for weight in weights]
    by_name = {name.rpartition("/")[2]: (name, array) for name, array in entries}
    others = by_name.keys() - set(names)
    if (
        len(names) == len(set(names))
        and by_name.keys() >= set(names)
        and all(map(_OF_WRAPPERS.fullmatch, others))
    ):
        left, masks = list(weights), []
        for name, array in entries:
            if array is None or not _MASK.fullmatch(name.rpartition("/")[2]):
                continue
            masked = next((weight for weight in left if shape_of(weight) == array.shape), None)
            if masked is not None:
                masks.append((masked, array))
                left = [weight for weight in left if weight is not masked]
        return [by_name[name] for name in names], masks
    return entries, []


def _may_need_conversion(layer: Any, arrays: Sequence[StoredArray], weights: Sequence[Any]) -> bool:
    """Whether tf_keras may make a layer's weights out of arrays of other shapes.

    CuDNN stores two biases for one, and nothing takes more than that.
    """
    if is_keras3(layer):
        return False
    entries = sum(int(np.prod(shape_of(weight))) for weight in weights)
    return sum(array.entries for array in arrays) <= 2 * entries and any(
        type(inner).__name__ in _CONVERTED for inner in flattened(layer)
    )


def _converted(
    layer: Any,
    weights: Sequence[Any],
    arrays: Sequence[StoredArray],
    source: tuple[str, str | None],
    read: Read,
) -> Pairs:
    """Load weights through tf_keras's conversion; what it hands on as it was is still a pair."""
    values = [read(array, None) for array in arrays]
    origin = {id(value): array for value, array in zip(values, arrays, strict=True)}
    try:
        made = internals.preprocess_weights_for_loading(layer, list(values), *source)
    except Exception as error:  # it takes shapes and numbers of arrays for granted
        raise mismatch(layer, "has weights that cannot be made of what is stored") from error
    keys = map(str, range(len(weights)))
    trouble = trouble_between(
        dict(zip(keys, weights, strict=True)), {str(i): value for i, value in enumerate(made)}
    )
    if trouble:
        raise mismatch(layer, trouble)
    for weight, value in zip(weights, made, strict=True):
        weight.assign(np.asarray(value).astype(weight.dtype.as_numpy_dtype, copy=False))
    return tuple(
        (weight, origin[id(value)])
        for weight, value in zip(weights, made, strict=True)
        if id(value) in origin
    )
