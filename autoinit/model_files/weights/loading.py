"""Weights from a file: found for every variable, compared in shape, and only then read.

One array is read at a time, so that loading takes the model and its largest array. What belongs to
optimizers and random generators is left alone.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from autoinit.errors import ModelFileError
from autoinit.findings import Finding
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.archives import open_archive
from autoinit.model_files.read.hdf5 import ArraysFile, StoredArray, open_arrays, quoted
from autoinit.model_files.weights.archive_layout import owners_in_archive
from autoinit.model_files.weights.legacy_layout import finish, owners_in_legacy_file
from autoinit.model_files.weights.weight_owners import (
    Pairs,
    WeightOwner,
    mismatch,
    named_layers,
    shape_of,
)

MEMBER = "model.weights.h5"
_VOCABULARY = "vocabulary.txt"


@dataclass(frozen=True)
class LoadedWeights:
    """Where a model's weights came from.

    Attributes:
        pairs: variables, and the arrays that hold their values as they are; None for those whose
            values had to be unpacked. In a legacy file, what was converted has no pair.
        findings: weights that are not finite, or were packed.
        masks: variables that pruning has masked, and their masks of zeros and ones.
    """

    pairs: Pairs = ()
    findings: tuple[Finding, ...] = ()
    masks: tuple[tuple[Any, NDArray[Any]], ...] = ()

    def array_of(self, variable: Any) -> StoredArray | None:
        """The array that holds the values of a variable."""
        return self._arrays.get(id(variable))

    def holds(self, variable: Any) -> bool:
        """Whether a variable's values were in the file."""
        return id(variable) in self._arrays

    @cached_property
    def _arrays(self) -> dict[int, StoredArray | None]:
        return {id(variable): array for variable, array in self.pairs}


def walk(path: Path, format: str, name: str, budgets: Budgets) -> Mapping[str, StoredArray]:
    """The arrays of a model file by their paths, none of them read.

    Args:
        path: of a `.keras` or legacy HDF5 file.
        format: `keras`, `h5`, or `weights` for a `.weights.h5`.
        name: what errors call it.
        budgets: the limits.

    Raises:
        ModelFileError: `unsafe_weights`, `over_budget` or `broken_file`.
    """
    with open_weights(path, format, name, budgets) as file:
        return file.arrays


def load_weights(
    model: Any,
    path: Path,
    format: str,
    name: str,
    budgets: Budgets,
    opened: ArraysFile | None = None,
) -> LoadedWeights:
    """Give a rebuilt model the weights of its file.

    Args:
        model: of Keras 3 or of tf_keras, as the file's Keras rebuilds it; not compiled.
        path: of its `.keras` or legacy HDF5 file.
        format: `keras`, `h5`, or `weights` for a `.weights.h5`.
        name: what errors call it.
        budgets: the limits.
        opened: the arrays of that file, where they are open already.

    Raises:
        ModelFileError: `weights_mismatch`, where weights are missing or of another shape; further
            `unsafe_weights`, `over_budget` and `broken_file`. The model may have been changed then.
    """
    with contextlib.ExitStack() as stack:
        file = opened or stack.enter_context(open_weights(path, format, name, budgets))
        find = owners_in_legacy_file if format == "h5" else owners_in_archive
        owners = find(model, file)
        reader = _Reader(file)
        pairs = [pair for owner in owners for pair in reader.load(owner)]
        masks = [(v, file.read(array)) for owner in owners for v, array in owner.masks]
    if format == "h5":
        finish(model)
    elif format == "keras":
        _load_vocabularies(owners, path, name, budgets)
    packed = [owner.part for owner in owners if owner.packed]
    return LoadedWeights(tuple(pairs), (*reader.findings(model), *_unpacked(packed)), tuple(masks))


def _unpacked(layers: Sequence[Any]) -> Iterator[Finding]:
    if layers:
        name = quoted(layers[0].name)
        message = (
            f"The weights of {len(layers):,} layers, first {name}, were packed into fewer bits: "
            "here they are floats. Those of int8 and float8 are the file's, others are drawn."
        )
        yield Finding("unpacked_weights", "", "", message)


def _load_vocabularies(
    owners: Sequence[WeightOwner], path: Path, name: str, budgets: Budgets
) -> None:
    """Give lookup layers the vocabularies that they were adapted to, which are texts in a folder.

    They read them from files: those have names of ours.
    """
    learners = [owner for owner in owners if hasattr(owner.part, "load_assets")]
    if not learners:
        return
    with open_archive(path, name, budgets) as archive, tempfile.TemporaryDirectory() as folder:
        for owner in learners:
            member = f"assets/{owner.path}/{_VOCABULARY}"
            if member not in archive.names:
                continue
            (Path(folder) / _VOCABULARY).write_bytes(archive.read(member))
            try:
                owner.part.load_assets(folder)
            except Exception as error:  # words that are no integers, or come twice
                raise mismatch(owner.part, "has a vocabulary that it cannot take") from error


@contextlib.contextmanager
def open_weights(path: Path, format: str, name: str, budgets: Budgets) -> Iterator[ArraysFile]:
    """Open the HDF5 file that a model file is, or that is a member of it.

    Raises:
        ModelFileError: `unsafe_weights`, `over_budget` or `broken_file`.
    """
    if format != "keras":
        with open_arrays(path, name, budgets) as file:
            yield file
        return
    # Read from inside the archive, it would not be held against the archive's checksum.
    with tempfile.NamedTemporaryFile(suffix=".h5") as copy:
        with open_archive(path, name, budgets) as archive:
            if MEMBER not in archive.names:
                raise ModelFileError(
                    "weights_mismatch", f"The archive {quoted(name)} holds no {MEMBER}."
                )
            archive.copy(MEMBER, copy)
        with open_arrays(Path(copy.name), name, budgets) as file:
            yield file


class _Reader:
    """Reads arrays for variables, and counts the entries that are not finite."""

    def __init__(self, file: ArraysFile) -> None:
        self._file = file
        self._part: Any = None
        self._counts: dict[int, int] = {}
        self._kept: list[Any] = []

    def load(self, owner: WeightOwner) -> Pairs:
        """Load an object's variables."""
        self._part = owner.part
        return owner.load(self.read)

    def read(self, array: StoredArray, variable: Any) -> NDArray[Any]:
        """The values of an array, in the type of a variable; in their own type for None."""
        values = self._file.read(array)
        dtype = values.dtype if variable is None else dtype_of(variable)
        if values.dtype.type is np.void:
            if variable is None or values.dtype.itemsize != dtype.itemsize:
                raise self._file.refused(f"does not tell the type of {quoted(array.path)}")
            values = values.view(dtype)
        elif values.dtype.kind != "f" and _is_float(dtype):
            raise ModelFileError(
                "weights_mismatch",
                f"The weights file {quoted(self._file.name)} holds {values.dtype} at "
                f"{quoted(array.path)}, where the model has {dtype}: save the model again.",
            )
        if values.dtype.kind in "fV":
            bad = values.size - int(np.count_nonzero(np.isfinite(values)))
            if bad:
                owner = self._part if variable is None else variable
                self._kept.append(owner)  # its identity is the key
                self._counts[id(owner)] = self._counts.get(id(owner), 0) + bad
        return values.astype(dtype, copy=False)

    def findings(self, model: Any) -> Iterator[Finding]:
        """One for each layer that came with entries that are not finite."""
        if not self._counts:
            return
        for path, layer in [*named_layers(model), ("", model)]:
            owners = {id(part) for part in (layer, *layer.weights)}
            bad = sum(self._counts.pop(owner, 0) for owner in owners)
            if bad:
                name = type(layer).__name__
                yield Finding(
                    "weights_not_finite",
                    path,
                    name,
                    f"Layer {quoted(path or layer.name)} ({name}) came with weights that are not "
                    f"finite: {bad:,} of {sum(map(_entries, layer.weights)):,} are NaN or "
                    "infinite.",
                )


def dtype_of(variable: Any) -> np.dtype[Any]:
    """NumPy's type for the values of a variable of either Keras, or of an array."""
    dtype = getattr(variable.dtype, "as_numpy_dtype", variable.dtype)
    return np.dtype(getattr(ml_dtypes, dtype, dtype) if isinstance(dtype, str) else dtype)


def _is_float(dtype: np.dtype[Any]) -> bool:
    """Whether it holds floating-point numbers, NumPy's or those of `ml_dtypes`."""
    return dtype.kind == "f" or dtype.name.startswith(("bfloat", "float"))


def _entries(variable: Any) -> int:
    return math.prod(shape_of(variable))
