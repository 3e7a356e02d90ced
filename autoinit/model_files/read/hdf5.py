"""HDF5 files from anyone: walked and checked object by object before any array is read.

The format can do far more than hold arrays of numbers: links to other files, arrays that lie in
other files or are put together from them, filters that load plug-ins, a few bytes that unpack to
terabytes. Keras writes none of that, and a file that has any of it is refused.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5i, h5l, h5o, h5s, h5t, h5z
from numpy.typing import NDArray

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.hdf5_texts import TextsTooLongError, attribute_texts

_LAYOUTS = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)
_FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32)
# Brain and eighth-precision floats are stored without their type, which Keras knows.
_UNTYPED_BYTES = 2
# Zeros packed by gzip take a thousandth of their room, and nothing takes less.
_PACKING = 1100
# Below this, a declared size needs no proof.
_SMALL = 2**20
# Groups, arrays and moments; the walk takes some seconds for as many as there may be.
_OBJECTS_PER_LAYER = 5
_PATH_CHARACTERS = 2**26
_NAMES_BYTES = 2**26
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class StoredArray:
    """A dataset that may be read.

    Attributes:
        path: in the file, `layers/dense/vars/0`.
        shape: as declared.
        dtype: of its entries; kind `V` where the file does not say.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def entries(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


class ArraysFile:
    """An HDF5 file that was walked: all of its objects are groups and plain arrays.

    Args:
        file: open.
        name: what errors call it.
        budgets: the limits.

    Raises:
        ModelFileError: `unsafe_weights`, `over_budget` or `broken_file`.

    Attributes:
        arrays: by path.
        groups: paths of the groups; the root's is empty.
    """

    def __init__(self, file: h5py.File, name: str, budgets: Budgets) -> None:
        self.file = file
        self.name = name
        self.arrays: dict[str, StoredArray] = {}
        self.groups: set[str] = set()
        self._budgets = budgets
        self._limit = _OBJECTS_PER_LAYER * budgets.layers
        with refusing_damage(name):
            self._walk()

    def read(self, array: StoredArray) -> NDArray[Any]:
        """The values of one array."""
        with refusing_damage(self.name):
            return np.asarray(self.dataset(array)[()])

    def dataset(self, array: StoredArray) -> h5py.Dataset:
        """The dataset of one array, to be written to where the file is open for that."""
        return h5py.Dataset(h5d.open(self.file.id, _bytes(array.path)))

    def offset(self, array: StoredArray) -> int | None:
        """Where in the file an array's entries stand one after the other, as NumPy has them.

        Returns:
            None where they do not: they are in chunks, in the header, or not there at all.
        """
        with refusing_damage(self.name):
            dataset, size = self.dataset(array).id, array.entries * array.dtype.itemsize
            offset = dataset.get_offset()
            if offset is None or self.file.userblock_size or dataset.get_storage_size() != size:
                return None
            return int(offset) if offset + size <= self.file.id.get_filesize() else None

    def text(self, group: str, attribute: str) -> str:
        """An attribute that is one string; an empty one where there is none."""
        values = self._strings(group, attribute)
        return values[0] if values else ""

    def names(self, group: str, attribute: str) -> list[str] | None:
        """An attribute that lists names, which Keras splits into `names0`, `names1`… if it is long.

        Returns:
            None where there is no such attribute.
        """
        whole = self._strings(group, attribute)
        if whole is not None:
            return whole
        pieces: list[str] = []
        part = 0
        while (piece := self._strings(group, f"{attribute}{part}")) is not None:
            pieces += piece
            part += 1
            if len(pieces) > self._limit:
                self._refuse_by_number("names")
        return pieces if part else None

    def _walk(self) -> None:
        pending: list[tuple[Any, str]] = [(h5g.open(self.file.id, b"/"), "")]
        seen = {h5o.get_info(self.file.id).addr}
        objects = characters = unpacked = 0
        while pending:
            group, prefix = pending.pop()
            self.groups.add(prefix)
            for link, address in self._links(group, prefix, self._limit - objects):
                path = f"{prefix}/{_text(link)}" if prefix else _text(link)
                objects += 1
                characters += len(path)
                if characters > _PATH_CHARACTERS:
                    raise self.refused("holds names or nesting without end")
                if address in seen:
                    raise self.refused(f"holds {quoted(path)} under two names")
                seen.add(address)
                opened = h5o.open(group, link)
                if isinstance(opened, h5g.GroupID):
                    pending.append((opened, path))
                elif isinstance(opened, h5d.DatasetID):
                    array = self._checked(opened, path)
                    if array is None:
                        continue
                    self.arrays[path] = array
                    unpacked += array.entries * array.dtype.itemsize
                    self._budgets.require("file_bytes", unpacked, f"{quoted(self.name)}, unpacked,")
                else:
                    raise self.refused(f"holds {quoted(path)}, which is neither group nor array")

    def _links(self, group: Any, prefix: str, limit: int) -> list[tuple[bytes, int]]:
        """Names and addresses of a group's objects, all of them in this very file."""
        found: list[tuple[bytes, int]] = []
        foreign: list[bytes] = []

        def visit(name: bytes, info: Any) -> bool | None:
            found.append((name, info.u))
            if info.type != h5l.TYPE_HARD:
                foreign.append(name)
            return True if foreign or len(found) > limit else None

        group.links.iterate(visit, info=True)
        if foreign:
            path = f"{prefix}/{_text(foreign[0])}" if prefix else _text(foreign[0])
            raise self.refused(f"holds a link to elsewhere, {quoted(path)}")
        if len(found) > limit:
            self._refuse_by_number("objects")
        return found

    def _refuse_by_number(self, what: str) -> None:
        self._budgets.require(
            "layers",
            math.inf,
            f"The weights file {quoted(self.name)}, by the number of its {what},",
        )

    def _checked(self, dataset: Any, path: str) -> StoredArray | None:
        """The array, or None for a dataset that was never given a shape."""
        properties = dataset.get_create_plist()
        # Before anything else is asked: a virtual dataset opens its sources to tell its shape.
        if properties.get_layout() not in _LAYOUTS or properties.get_external_count():
            raise self.refused(f"says that array {quoted(path)} lies in another file")
        filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
        if set(filters) - set(_FILTERS) or len(set(filters)) < len(filters):
            raise self.refused(f"packs array {quoted(path)} in a way that Keras does not")
        space = dataset.get_space()
        if space.get_simple_extent_type() == h5s.NULL:
            return None
        array = StoredArray(
            path, tuple(map(int, space.get_simple_extent_dims())), self._dtype(dataset, path)
        )
        size, stored = array.entries * array.dtype.itemsize, dataset.get_storage_size()
        packed = h5z.FILTER_DEFLATE in filters
        if stored > self.file.id.get_filesize() or (
            size > _SMALL and size > stored * (_PACKING if packed else 1)
        ):
            raise self.refused(f"declares {size:,} bytes at {quoted(path)}, which are not there")
        if properties.get_layout() == h5d.CHUNKED:
            self._check_chunks(dataset, array, properties, filters)
        return array

    def _dtype(self, dataset: Any, path: str) -> np.dtype[Any]:
        stored = dataset.get_type()
        try:
            dtype: np.dtype[Any] = np.dtype(stored.dtype)
        except (TypeError, ValueError):
            dtype = np.dtype(object)
        if dtype.names or dtype.subdtype:
            plain = False
        elif dtype.kind in "biuf":
            # HDF5 has numbers of any number of bits, which it converts.
            plain = h5t.py_create(dtype).equal(stored)
        else:
            plain = dtype.kind == "S" or (dtype.kind == "V" and dtype.itemsize <= _UNTYPED_BYTES)
        if not plain:
            raise self.refused(f"holds something else than numbers at {quoted(path)}")
        return dtype

    def _check_chunks(
        self, dataset: Any, array: StoredArray, properties: Any, filters: list[int]
    ) -> None:
        """Hold a chunk's size to the array's, and what gzip makes of it to the chunk's.

        HDF5 itself unpacks whatever a chunk holds, however long, before it looks at the sizes.
        """
        room = math.prod(properties.get_chunk()) * array.dtype.itemsize
        if room > max(_SMALL, array.entries * array.dtype.itemsize):
            raise self.refused(f"stores array {quoted(array.path)} in chunks larger than itself")
        if not filters:
            return
        # Checksums and packing what cannot be packed take a little more.
        most = room + room // 100 + 1024
        packs = h5z.FILTER_DEFLATE in filters
        skipping = 1 << filters.index(h5z.FILTER_DEFLATE) if packs else 0
        too_long: list[bool] = []

        def visit(chunk: Any) -> bool | None:
            good = chunk.size <= most
            if good and packs and not chunk.filter_mask & skipping:
                _, packed = dataset.read_direct_chunk(chunk.chunk_offset)
                reader = zlib.decompressobj()
                good = len(reader.decompress(packed, most + 1)) <= most and reader.eof
            if not good:
                too_long.append(True)
            return None if good else True

        dataset.chunk_iter(visit)
        if too_long:
            raise self.refused(f"holds more than it declares at {quoted(array.path)}")

    def _strings(self, group: str, attribute: str) -> list[str] | None:
        """A string or a list of strings in an attribute, or None where there is none."""
        if group not in self.groups:
            return None
        with refusing_damage(self.name):
            place = h5g.open(self.file.id, _bytes(group) or b"/")
            where = quoted(f"{group}/{attribute}")
            try:
                texts = texts_of(place, attribute, _NAMES_BYTES)
            except TypeError as error:
                raise self.refused(f"has no names in its attribute {where}") from error
            except TextsTooLongError as error:
                raise self.refused(f"has a list without end in its attribute {where}") from error
            return None if texts is None else [_text(text) for text in texts]

    def refused(self, what: str) -> ModelFileError:
        """A refusal.

        Args:
            what: the file does, as the middle of a sentence.
        """
        return ModelFileError(
            "unsafe_weights",
            f"The weights file {quoted(self.name)} {what}: Keras writes no such file, and it is "
            "not read.",
        )


def texts_of(place: Any, attribute: str, most: int) -> list[bytes] | None:
    """The text, or the list of texts, in an attribute of a group.

    Args:
        place: the group.
        attribute: its attribute.
        most: bytes that all texts may have together.

    Returns:
        None where there is no such attribute.

    Raises:
        TypeError: it holds something else.
        TextsTooLongError: there are more bytes.
        ValueError: it is damaged.
    """
    name = attribute.encode()
    if not h5a.exists(place, name):
        return None
    opened = h5a.open(place, name)
    shape, kind = opened.get_space().shape, opened.get_type()
    if shape is None or 0 in shape:  # Keras writes no names as a list of no numbers
        return []
    if not isinstance(kind, h5t.TypeStringID) or len(shape) > 1:
        raise TypeError("not a text")
    count = math.prod(shape)
    if not kind.is_variable_str():
        if opened.get_storage_size() > most:
            raise TextsTooLongError("texts without end")
        values = np.empty(shape, opened.dtype)
        opened.read(values)
        fixed: list[bytes] = values.ravel().tolist()
        return fixed
    file = h5i.get_file_id(place)
    handle, properties = file.get_vfd_handle(), file.get_create_plist()
    if properties.get_sizes() != (8, 8):
        raise ValueError("addresses of another size")
    base = properties.get_userblock()
    texts = attribute_texts(
        lambda at, size: os.pread(handle, size, base + at), h5o.get_info(place).addr, name, most
    )
    if len(texts) < count:
        raise ValueError("texts that are not there")
    return texts[:count]


@contextlib.contextmanager
def open_arrays(path: Path, name: str, budgets: Budgets, mode: str = "r") -> Iterator[ArraysFile]:
    """Open an HDF5 file, and walk it.

    Args:
        path: of the file.
        name: what errors call it.
        budgets: the limits.
        mode: `r` to read it, `r+` to change it.

    Raises:
        ModelFileError: `unsafe_weights`, `over_budget` or `broken_file`.
    """
    with refusing_damage(name):
        file = h5py.File(path, mode)
    with file:
        yield ArraysFile(file, name, budgets)


@contextlib.contextmanager
def refusing_damage(name: str) -> Iterator[None]:
    """Turns what the HDF5 library says of a damaged file into a sentence."""
    try:
        yield
    except (ModelFileError, MemoryError):
        raise
    except Exception as error:  # HDF5 reports damage through a dozen classes
        if getattr(error, "errno", None) in _NO_ROOM:
            raise
        detail = " ".join(str(error).split())[:160].rstrip(". ") or type(error).__name__
        raise ModelFileError(
            "broken_file",
            f"The weights file {quoted(name)} is damaged or cut short ({detail}). Copy it again.",
        ) from error


def quoted(name: str, most: int = 80) -> str:
    """A name from a file as text for a sentence: quoted, printable, cut short in the middle."""
    name = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
    half = most // 2
    return repr(name if len(name) <= most else f"{name[:half]}…{name[-half:]}")


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
