"""Zip archives from anyone: nothing is unpacked by name, nor read beyond a limit."""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.hdf5 import quoted

# Of the archive's directory, for each member that is allowed.
_DIRECTORY_BYTES = 1024
# The other methods unpack a few bytes to gigabytes at once.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
# Before each member's name.
_HEADER_BYTES = 30
_PIECE_BYTES = 2**20


class Archive:
    """A zip archive whose directory was checked.

    Args:
        archive: open for reading.
        name: what errors call it.
        budgets: the limits.
        writer: what writes such archives, for errors.

    Raises:
        ModelFileError: `unsafe_archive` or `over_budget`.
    """

    def __init__(
        self, archive: zipfile.ZipFile, name: str, budgets: Budgets, writer: str = "Keras"
    ) -> None:
        self._archive = archive
        self._name = name
        self._writer = writer
        self._budgets = budgets
        members = archive.infolist()
        budgets.require("members", len(members), f"The archive {quoted(name)}")
        for member, count in Counter(info.filename for info in members).items():
            if count > 1:
                raise self._refused(f"holds {quoted(member)} {count} times")
        budgets.require(
            "file_bytes",
            sum(info.file_size for info in members),
            f"The archive {quoted(name)}, unpacked,",
        )
        for info in members:
            self._check(info)
        self._check_places(members)
        self._members = {info.filename: info for info in members}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members."""
        return tuple(self._members)

    def read(self, member: str) -> bytes:
        """A member that is a short text.

        Raises:
            ModelFileError: `over_budget` or `broken_file`.
        """
        limit = self._budgets.config_bytes
        info = self._members[member]
        what = f"{quoted(member)} in {quoted(self._name)}"
        self._budgets.require("config_bytes", info.file_size, what)
        with refusing_damaged_archive(self._name), self._archive.open(info) as file:
            content = file.read(limit + 1)
        # A header may say less than there is.
        self._budgets.require("config_bytes", math.inf if len(content) > limit else 0, what)
        return content

    def copy(self, member: str, target: IO[bytes]) -> None:
        """Copy a member into a file, however large it turns out to be within the budget.

        Raises:
            ModelFileError: `over_budget` or `broken_file`.
        """
        what = f"{quoted(member)} in {quoted(self._name)}"
        self._budgets.require("file_bytes", self._members[member].file_size, what)
        copied = 0
        with refusing_damaged_archive(self._name), self._archive.open(member) as file:
            while piece := file.read(_PIECE_BYTES):
                copied += len(piece)
                self._budgets.require("file_bytes", copied, what)
                target.write(piece)
        target.flush()

    def _check(self, info: zipfile.ZipInfo) -> None:
        member = info.filename
        parts = member.split("/")
        if member.startswith("/") or ".." in parts or "\\" in member or ":" in parts[0]:
            raise self._refused(f"names a place outside itself, {quoted(member)}")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise self._refused(f"holds a link, {quoted(member)}")
        if info.flag_bits & _ENCRYPTED:
            raise self._refused(f"is encrypted ({quoted(member)})")
        if info.compress_type not in _METHODS:
            raise self._refused(f"packs {quoted(member)} in a way that {self._writer} does not")

    def _check_places(self, members: list[zipfile.ZipInfo]) -> None:
        """No two members may share a stretch of the file, which each would unpack anew."""
        placed = sorted(members, key=lambda info: info.header_offset)
        for before, after in itertools.pairwise(placed):
            end = before.header_offset + _HEADER_BYTES + before.compress_size
            if end > after.header_offset:
                names = f"{quoted(before.filename)} and {quoted(after.filename)}"
                raise self._refused(f"holds {names} in one place")

    def _refused(self, what: str) -> ModelFileError:
        return ModelFileError(
            "unsafe_archive",
            f"The archive {quoted(self._name)} {what}: {self._writer} writes no such file, and it "
            "is not read.",
        )


@contextlib.contextmanager
def open_archive(
    path: Path, name: str, budgets: Budgets, writer: str = "Keras"
) -> Iterator[Archive]:
    """Open a zip archive for reading, and check its directory.

    Args:
        path: of the file.
        name: what errors call it.
        budgets: the limits.
        writer: what writes such archives, for errors.

    Raises:
        ModelFileError: `unsafe_archive`, `over_budget` or `broken_file`.
    """
    with path.open("rb") as file:
        bounded = _Bounded(file, name, budgets)
        with refusing_damaged_archive(name):
            archive = zipfile.ZipFile(bounded)
        bounded.limit = None
        with archive:
            yield Archive(archive, name, budgets, writer)


@contextlib.contextmanager
def refusing_damaged_archive(name: str) -> Iterator[None]:
    """Turns what Python says of a damaged archive into a sentence."""
    try:
        yield
    except (ModelFileError, MemoryError):
        raise
    except Exception as error:  # damage is reported through a dozen classes
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise  # where it was to be copied to
        detail = " ".join(str(error).split())[:160].rstrip(". ") or type(error).__name__
        raise ModelFileError(
            "broken_file", f"File {quoted(name)} is damaged or cut short ({detail}). Copy it again."
        ) from error


class _Bounded:
    """A file that hands out no more than a limit at once.

    The archive's directory is read in one piece, however long it is said to be, and each entry of
    it takes ten times its room in memory.
    """

    def __init__(self, file: IO[bytes], name: str, budgets: Budgets) -> None:
        self._file = file
        self._name = name
        self._budgets = budgets
        self.limit: int | None = budgets.members * _DIRECTORY_BYTES

    def read(self, size: int = -1) -> bytes:
        if self.limit is not None and size > max(self.limit, 2**16):
            self._budgets.require("members", math.inf, f"The archive {quoted(self._name)}")
        return self._file.read(size)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._file, attribute)
