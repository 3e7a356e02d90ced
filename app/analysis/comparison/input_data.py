"""Real data for a model's inputs, out of a `.npy`, `.npz` or `.csv` of anyone: for the worker only.

Bytes decide what a file is, never its name. Nothing is unpickled, and an array's size is known from
its header before room is made for it.
"""

from __future__ import annotations

import math
import struct
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.archives import open_archive
from autoinit.model_files.read.hdf5 import quoted

Array = NDArray[Any]
Shape = tuple[int, ...]
# From the names of stored arrays to those that are read, by what they are read for.
Keys = Callable[[Sequence[str]], dict[str, str]]

_ZIP_MAGIC = b"PK"
# As NumPy has it; what is longer describes records, not numbers.
_HEADER_BYTES = 10_000
_AXES = 32  # as NumPy had them at first
_LENGTHS = {(1, 0): "<H", (2, 0): "<I"}
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_LINE_BYTES = 2**24
_PIECE_BYTES = 2**20
_DELIMITERS = ",;\t"
_NAMES_TOLD = 20


def read_input_data(
    path: Path, name: str, shapes: Mapping[str, Shape], budgets: Budgets
) -> dict[str, Array]:
    """A data file's arrays, by the names of the inputs that they are for.

    Rows of numbers become samples of an input's shape where they have as many, and axes of size 1
    are put in or left out. Other shapes stay as they are, for `check_data` to refuse.

    Args:
        path: of the file.
        name: what errors call it.
        shapes: of a sample of each input, by name.
        budgets: the limits; `file_bytes` bounds the file and what it holds.

    Returns:
        An array for each input, the samples' axis first.

    Raises:
        ModelFileError: `bad_input_data` for a file that is not one of numbers for these inputs,
            `over_budget`, `unsafe_archive` or `broken_file`.
    """
    try:
        size = path.stat().st_size
        budgets.require("file_bytes", size, f"Data file {quoted(name)}")
        with path.open("rb") as file:
            start = file.read(len(npy.MAGIC_PREFIX))
    except OSError as error:
        raise _refused(name, f"cannot be read ({error.strerror})") from error
    if not start:
        raise _refused(name, "is empty")
    if start.startswith(_ZIP_MAGIC):
        arrays = _read_npz(path, name, partial(_keys, name, list(shapes)), budgets)
    else:
        (only,) = shapes if len(shapes) == 1 else (None,)
        if only is None:
            raise _refused(
                name,
                f"holds the data of one input, and the model has {len(shapes)}: give a .npz file "
                f"(numpy.savez) with the arrays {_listed(list(shapes))}",
            )
        if start == npy.MAGIC_PREFIX:
            with path.open("rb") as file:
                arrays = {only: _read_npy(file, size, name, budgets)}
        elif path.suffix.lower() == ".csv":
            arrays = {only: _read_csv(path, name, budgets)}
        else:
            raise _refused(
                name, "is neither a NumPy array (.npy, .npz) nor a table that is called .csv"
            )
    return {each: fitted(array, shapes[each]) for each, array in arrays.items()}


def read_training_data(
    path: Path, name: str, shapes: Mapping[str, Shape], outputs: Sequence[str], budgets: Budgets
) -> tuple[dict[str, Array], list[Array]]:
    """Inputs by their names, and a target for each output, from a `.npz` file.

    Its arrays are `x` and `y`, or named like the inputs and outputs.

    Args:
        path, name, shapes, budgets: as for `read_input_data`.
        outputs: their names, in the model's order.

    Raises:
        ModelFileError: as `read_input_data` does.
    """
    budgets.require("file_bytes", path.stat().st_size, f"Data file {quoted(name)}")
    with path.open("rb") as file:
        if not file.read(len(npy.MAGIC_PREFIX)).startswith(_ZIP_MAGIC):
            raise _refused(name, "is no .npz file: write x and y into one with numpy.savez")
    inputs = {each: f"input {each}" for each in shapes}
    targets = {each: f"output {each}" for each in outputs}

    def keys(stored: Sequence[str]) -> dict[str, str]:
        if len(inputs) == len(targets) == 1 and {"x", "y"} <= set(stored):
            return dict(zip((*inputs.values(), *targets.values()), "xy", strict=True))
        if missing := [each for each in (*inputs, *targets) if each not in stored]:
            raise _refused(
                name,
                f"has the arrays {_listed(stored)}, and lacks {_listed(missing)}: name the arrays "
                "like the inputs and outputs, or x and y where there is one of each",
            )
        return {label: each for each, label in (*inputs.items(), *targets.items())}

    arrays = _read_npz(path, name, keys, budgets)
    return (
        {each: fitted(arrays[label], shapes[each]) for each, label in inputs.items()},
        [arrays[label] for label in targets.values()],
    )


def fitted(array: Array, shape: Shape) -> Array:
    """Samples in an input's shape, where nothing but axes of size 1 or flat rows is in the way.

    Args:
        array: the samples' axis first.
        shape: of a sample.
    """
    found = array.shape[1:]
    same_but_ones = [n for n in found if n != 1] == [n for n in shape if n != 1]
    flat = len(found) == 1 and found[0] == math.prod(shape)
    if array.ndim and array.size and (same_but_ones or flat):
        return array.reshape(len(array), *shape)
    return array


def _read_npz(path: Path, name: str, keys: Keys, budgets: Budgets) -> dict[str, Array]:
    with open_archive(path, name, budgets, writer="NumPy") as archive:
        stored = {
            member.removesuffix(".npy"): member
            for member in archive.names
            if member.endswith(".npy")
        }
        arrays = {}
        for each, key in keys(list(stored)).items():
            # NumPy reads arrays from files.
            with tempfile.TemporaryFile() as file:
                archive.copy(stored[key], file)
                size = file.tell()
                file.seek(0)
                arrays[each] = _read_npy(file, size, f"{name}: {key}", budgets)
        return arrays


def _keys(name: str, inputs: Sequence[str], stored: Sequence[str]) -> dict[str, str]:
    """Which array is for which input.

    One array for one input may have any name; of several `x` is for it, as in data to train on.
    """
    if not stored:
        raise _refused(name, "holds no arrays (.npy): write it with numpy.savez")
    if len(inputs) == len(stored) == 1:
        return {inputs[0]: stored[0]}
    if all(each in stored for each in inputs):
        return {each: each for each in inputs}
    if len(inputs) == 1 and "x" in stored:
        return {inputs[0]: "x"}
    raise _refused(
        name,
        f"has the arrays {_listed(stored)}, and the inputs are {_listed(inputs)}: name the arrays "
        "like the inputs",
    )


def _read_npy(file: IO[bytes], size: int, name: str, budgets: Budgets) -> Array:
    """The array of an open file of this many bytes."""
    shape, fortran, dtype = _read_header(file, name)
    if dtype.hasobject:
        raise _refused(name, "holds Python objects (a pickle), which are code and never read")
    if dtype.kind not in "biuf":
        raise _refused(name, f"holds no plain numbers, but {quoted(str(dtype))}")
    if len(shape) > _AXES or any(isinstance(size, bool) for size in shape):
        raise _refused(name, f"holds no samples: its array has the shape {quoted(str(shape))}")
    count = math.prod(shape)
    if not count or min(shape, default=1) < 0:
        raise _refused(name, f"holds no numbers: its array has the shape {quoted(str(shape))}")
    budgets.require("file_bytes", count * dtype.itemsize, f"The array in {quoted(name)}")
    if size - file.tell() < count * dtype.itemsize:
        raise _refused(name, "is cut short: its array is larger than the file. Copy it again")
    array: Array = np.fromfile(file, dtype, count)
    return array.reshape(shape, order="F" if fortran else "C")


def _read_header(file: IO[bytes], name: str) -> tuple[Shape, bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(file)
        start = file.tell()
        (length,) = struct.unpack(_LENGTHS[version], file.read(struct.calcsize(_LENGTHS[version])))
        if length > _HEADER_BYTES:
            raise ValueError("a header too long")
        file.seek(start)
        shape, fortran, dtype = _READERS[version](file, _HEADER_BYTES)
    except Exception as error:  # it is evaluated as Python's literals, which fail in many ways
        raise _refused(name, "is no NumPy array of numbers, or is damaged") from error
    return shape, fortran, dtype


def _read_csv(path: Path, name: str, budgets: Budgets) -> Array:
    """Rows are samples; a first line of names is left out."""
    with path.open("rb") as file:
        first = file.readline(_LINE_BYTES + 1)
        if len(first) > _LINE_BYTES:
            raise _refused(name, "has too long a first line for a table")
        text = first.decode("utf-8-sig", "replace")
        delimiter = max(_DELIMITERS, key=text.count)
        cells = [cell.strip().strip('"') for cell in text.split(delimiter)]
        lines = 1
        while piece := file.read(_PIECE_BYTES):
            lines += piece.count(b"\n")
    entries = len(cells) * (lines + 1)
    budgets.require("file_bytes", entries * 8, f"The table in {quoted(name)}, as numbers,")
    try:
        with warnings.catch_warnings(), path.open(encoding="utf-8-sig") as rows:
            warnings.simplefilter("ignore")  # of a table without rows
            table: Array = np.loadtxt(
                rows,
                np.float64,
                comments=None,
                delimiter=delimiter,
                skiprows=int(_is_header(cells)),
                ndmin=2,
                quotechar='"',
            )
    except UnicodeDecodeError as error:
        raise _refused(name, "is not a table of text in UTF-8") from error
    except ValueError as error:
        detail = quoted(" ".join(str(error).partition(";")[0].split()).rstrip("."), 160)[1:-1]
        raise _refused(name, f"is not a table of numbers: {detail}") from error
    if not table.size:
        raise _refused(name, "has no rows of numbers")
    return table


def _is_header(cells: Sequence[str]) -> bool:
    """Whether the first line has names: no number among them, or a data frame's 0, 1, 2."""
    counted = len(cells) > 1 and list(cells) == [str(place) for place in range(len(cells))]
    return counted or not any(map(_is_number, cells))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else ""
    return ", ".join(quoted(name) for name in names[:_NAMES_TOLD]) + more


def _refused(name: str, what: str) -> ModelFileError:
    return ModelFileError("bad_input_data", f"Data file {quoted(name)} {what}.")
