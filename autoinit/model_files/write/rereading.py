"""Whether what was saved is what was measured: read again as whoever takes it home will read it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.arrays import as_array
from autoinit.errors import said_by_keras
from autoinit.findings import Finding
from autoinit.graph.keras_internals import (
    nothing_drawn,
    stacks_built_once,
    variables_without_values,
)
from autoinit.model_files.opening import ModelFile
from autoinit.model_files.read.hdf5 import quoted
from autoinit.model_files.write.patching import own_variable, with_parts
from autoinit.model_files.write.saving import Download
from autoinit.rules.registry import KernelScale


def read_again(
    downloads: Sequence[Download],
    folder: Path,
    model: Any,
    file: ModelFile | None,
    plans: Sequence[KernelScale],
    custom_objects: Mapping[str, Any],
    kernels_only: bool = True,
) -> tuple[tuple[Download, ...], tuple[Finding, ...]]:
    """Open each download by the plain loader of its own Keras, and compare each weight's bits.

    What holds parts that are not run here or as others, and files of Keras 1, open elsewhere only:
    they pass.

    Args:
        downloads: that were saved.
        folder: where they lie. Those that are not what they should be are removed.
        model: that was measured, of Keras 3.
        file: that it came from; None for a sample.
        plans: of the kernels, applied.
        custom_objects: that the operator allows, by name.
        kernels_only: whether the other weights are as they were in the file.

    Returns:
        The downloads that hold, and a finding for each other.
    """
    if file is not None and (not file.native or file.record.of_keras1):
        return tuple(downloads), ()
    kept: list[Download] = []
    findings: list[Finding] = []
    for download in downloads:
        if file is not None and file.foreign and download is downloads[0]:
            kept.append(download)
            continue
        path = folder / download.file
        expected: list[Any] = list(model.weights)
        of_keras2 = False
        if file is not None and file.record.keras == 2 and download is downloads[0]:
            of_keras2 = True
            expected = _in_keras2(file, plans, kernels_only)
        try:
            trouble = _difference(_weights(path, of_keras2, custom_objects), expected, path)
        except MemoryError:
            raise
        except Exception as error:  # a loader may raise anything
            trouble = f"Keras cannot open it ({said_by_keras(error)[:200]})"
        if trouble is None:
            kept.append(download)
        else:
            path.unlink(missing_ok=True)
            findings.append(_not_offered(path, trouble))
    return tuple(kept), tuple(findings)


def _weights(path: Path, of_keras2: bool, custom_objects: Mapping[str, Any]) -> list[NDArray[Any]]:
    """What a file holds, as its own Keras reads it."""
    if not of_keras2 and path.suffix != ".json":
        # Variables that are only declared get what is read as if it were to be assigned later: a
        # third of the time is their making. Some layers read them, and some files lack values.
        with contextlib.suppress(Exception):
            return _declared(path, custom_objects)
    weights = _loaded(path, of_keras2, custom_objects).weights
    return [as_array(weight) for weight in weights if _is_array(weight)]


def _declared(path: Path, custom_objects: Mapping[str, Any]) -> list[NDArray[Any]]:
    try:
        with keras.StatelessScope(initialize_variables=False) as scope:
            weights = _loaded(path, False, custom_objects).weights
            return [as_array(scope.get_current_value(weight)) for weight in weights]
    finally:
        variables_without_values()  # Keras would make them at the end of the next such block


def _loaded(path: Path, of_keras2: bool, custom_objects: Mapping[str, Any]) -> Any:
    if of_keras2:
        import tf_keras

        loader: Any = tf_keras.models
    else:
        loader = keras.models
    with stacks_built_once(), nothing_drawn():
        if path.suffix != ".json":
            return loader.load_model(path, custom_objects=dict(custom_objects), compile=False)
        stored = path.read_bytes()
        content = json.loads(stored)
        text = content if isinstance(content, str) else json.dumps(content)
        return loader.model_from_json(text, custom_objects=dict(custom_objects))


def _in_keras2(file: ModelFile, plans: Sequence[KernelScale], kernels_only: bool) -> list[Any]:
    """The weights that the copy of a file of Keras 2 should have: the kernels' are the new ones."""
    pairs = [parts for pair in file.layer_pairs for parts in with_parts(*pair)]
    others = {id(other): layer for layer, other in pairs}
    new = {}
    if not kernels_only:
        new = {
            id(own): changed
            for layer, other in pairs
            for own, changed in zip(layer.weights, other.weights, strict=False)
            if tuple(own.shape) == tuple(changed.shape)
        }
    for plan in plans:
        layer = others.get(id(plan.kernel.layer), plan.kernel.layer)
        new[id(own_variable(layer, plan.kernel))] = plan.kernel.variable
    weights = filter(_is_array, file.original.weights)
    return [new.get(id(weight), weight) for weight in weights]


def _is_array(weight: Any) -> bool:
    """Among the weights of Keras 2 are the vocabularies of lookup layers."""
    return hasattr(weight, "shape")


def _difference(found: Sequence[Any], expected: Sequence[Any], path: Path) -> str | None:
    """What is not as it was measured, as a sentence without its end; None where all is."""
    if len(found) != len(expected):
        return f"it has {len(found)} weights, and the model {len(expected)}"
    for one, other in zip(found, expected, strict=True):
        if tuple(one.shape) != tuple(other.shape):
            return f"weight {quoted(other.name)} has another shape"
        # A low-rank adapter, whose other half is zero, is drawn when a file is opened; so are the
        # weights of a file without any.
        if other.name.startswith("lora_") and other.name.endswith("_a"):
            continue
        if path.suffix != ".json" and not _same_bits(as_array(one), as_array(other)):
            return f"weight {quoted(other.name)} is not the one that was measured"
    return None


def _same_bits(one: Any, other: Any) -> bool:
    bits = np.dtype(f"V{one.dtype.itemsize}") if one.dtype.itemsize else one.dtype
    return bool(one.dtype == other.dtype and (one.view(bits) == other.view(bits)).all())


def _not_offered(path: Path, trouble: str) -> Finding:
    return Finding(
        "not_patched",
        "",
        "",
        f"The re-initialised model is not offered as {path.suffix}: read again, {trouble}.",
    )
