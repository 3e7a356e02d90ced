"""Arrays of an HDF5 file overwritten in place, shape and type kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.hdf5 import ArraysFile, StoredArray, open_arrays

# Types that HDF5 has no name for, by their bytes.
_UNTYPED = {1: ml_dtypes.float8_e4m3fn, 2: ml_dtypes.bfloat16}
_PIECE_BYTES = 2**24


class ArraysWriter:
    """Overwrites arrays: the bytes of plain ones, past the HDF5 library.

    So every other byte of the file stays, and the library, which crashes on some damaged files when
    it writes to them, has nothing to write.

    Args:
        file: walked; open for writing where it has arrays that are not plain.
        bytes_of_file: the same file, open for writing.
    """

    def __init__(self, file: ArraysFile, bytes_of_file: IO[bytes]) -> None:
        self.file = file
        self._bytes = bytes_of_file

    def write(self, array: StoredArray, values: NDArray[Any]) -> None:
        """Overwrite an array with values of its shape."""
        self._write(array, slice(None), values)

    def fill(self, array: StoredArray, value: float) -> None:
        """Overwrite an array with one value, some rows at a time."""
        rows, size = array.shape[:1] or (1,), array.entries * array.dtype.itemsize
        step = max(_PIECE_BYTES * rows[0] // max(size, 1), 1)
        for start in range(0, rows[0], step):
            stop = min(start + step, rows[0])
            shape = (stop - start, *array.shape[1:]) if array.shape else ()
            self._write(array, slice(start, stop), np.full(shape, value, np.float32))

    def read(self, array: StoredArray) -> NDArray[Any]:
        """The values of an array, as they are now."""
        self._bytes.flush()
        return self.file.read(array)

    def _write(self, array: StoredArray, rows: slice, values: NDArray[Any]) -> None:
        values = _as_stored(values, array)
        offset = self.file.offset(array)
        if offset is None:
            self.file.dataset(array)[rows if array.shape else ()] = values
            return
        row = array.entries // max(array.shape[0], 1) if array.shape else 0
        self._bytes.seek(offset + (rows.start or 0) * row * array.dtype.itemsize)
        self._bytes.write(np.ascontiguousarray(values).view(np.uint8).data)


@contextlib.contextmanager
def open_for_writing(path: Path, name: str, budgets: Budgets) -> Iterator[ArraysWriter]:
    """Open an HDF5 file, walk it, and give what overwrites its arrays.

    Args:
        path: of the file.
        name: what errors call it.
        budgets: the limits.

    Raises:
        ModelFileError: `unsafe_weights`, `over_budget` or `broken_file`.
    """
    with open_arrays(path, name, budgets) as file:
        plain = all(file.offset(array) is not None for array in file.arrays.values())
    with (
        path.open("r+b") as bytes_of_file,
        open_arrays(path, name, budgets, "r" if plain else "r+") as file,
    ):
        yield ArraysWriter(file, bytes_of_file)


def _as_stored(values: NDArray[Any], array: StoredArray) -> NDArray[Any]:
    """Values in the type of a stored array."""
    if array.dtype.kind != "V":
        return values.astype(array.dtype, copy=False)
    if values.dtype.itemsize != array.dtype.itemsize:
        values = values.astype(_UNTYPED[array.dtype.itemsize])
    return values.view(array.dtype)
