"""The file that rows are kept in: Parquet, and beside it a journal of what is not in it yet.

A row is a line of the journal as soon as it is there, and on the disk. Lines go over into the
Parquet file all at once: it is written anew beside the old one, and takes its place. So whoever is
killed at any moment leaves one whole file and one journal, of which the last line may be cut.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.analysis.batch.row import Row, schema
from app.analysis.result import ResultError

JOURNAL_ROWS = 2_000  # after which they go over
ROWS_AT_A_TIME = 2_000
KEY = ("file", "settings_hash")
SUFFIXES = (".parquet", ".pq")


class Known(NamedTuple):
    """What is remembered of a row that is kept."""

    sha256: str
    program: str
    status: str
    verdict: str | None
    saved: str | None


class Store:
    """The rows of one file, to be added to.

    Args:
        path: of the Parquet file, which need not be there.

    Attributes:
        known: what is kept, by the rows' keys.

    Raises:
        ResultError: there is something else at that path, or it is no Parquet file's name.
        BlockingIOError: another process adds to it.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.suffix.lower() not in SUFFIXES:
            raise ResultError(f"is no Parquet file's name: end it in {SUFFIXES[0]}")
        self._journal = _locked(journal_of(path))
        self._rows = 0
        try:
            _cut_to_whole_lines(self._journal)
            self.known = {
                (row.pop("file"), row.pop("settings_hash")): Known(**row)
                for batch in _batches(path, [*KEY, *Known._fields])
                for row in batch.to_pylist()
            }
            for row in _lines(journal_of(path)):
                self._remember(row)
            if not path.exists():  # so that whoever looks for it meanwhile finds one
                self._go_over()
        except BaseException:
            self._journal.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def has(self, row: Row, done: bool = False, saved: bool = False) -> bool:
        """Whether what was made of the same content, with the same settings and program, is there.

        Args:
            row: as it was begun.
            done: whether only a row with figures counts.
            saved: whether one with figures counts only if its model was saved.
        """
        known = self.known.get(row.key)
        if known is None or (done and known.status != "done"):
            return False
        if saved and known.status == "done" and known.saved is None:
            return False
        return (known.sha256, known.program) == (row.sha256, row.program)

    def append(self, row: Row) -> None:
        """Keeps a row, in place of one with the same key; on the disk when it returns."""
        self._journal.write(json.dumps(asdict(row), allow_nan=False).encode() + b"\n")
        self._journal.flush()
        os.fdatasync(self._journal.fileno())
        self._remember(row)
        if self._rows >= JOURNAL_ROWS:
            self._go_over()

    def close(self) -> None:
        """All rows go over into the Parquet file; the journal goes away."""
        try:
            if self._rows:
                self._go_over()
            journal_of(self.path).unlink(missing_ok=True)
        finally:
            self._journal.close()

    def _remember(self, row: Row) -> None:
        self.known[row.key] = Known(*(getattr(row, name) for name in Known._fields))
        self._rows += 1

    def _go_over(self) -> None:
        new = self.path.with_name(f".{self.path.name}.new")
        with new.open("wb") as file:
            with pq.ParquetWriter(file, schema(), compression="zstd") as writer:
                for batch in _with_journal(self.path, schema().names):
                    writer.write_table(batch)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        self._journal.truncate(0)
        self._rows = 0


def read_rows(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows that are kept at a path, those of a batch that still runs among them.

    Args:
        path: of the Parquet file.
        columns: those to be read; all without it.

    Raises:
        ResultError: there is something else.
        OSError: it cannot be read.
    """
    if not path.exists() and not journal_of(path).exists():
        raise FileNotFoundError(2, "there is no such file", str(path))
    wanted = schema().names if columns is None else list(columns)
    found = list(_with_journal(path, wanted))
    chosen = pa.schema([schema().field(name) for name in wanted])
    return pa.concat_tables([chosen.empty_table(), *(each.select(wanted) for each in found)])


def as_rows(table: pa.Table) -> Iterator[Row]:
    """The rows of a table that has all columns."""
    return map(_row, table.to_pylist())


def journal_of(path: Path) -> Path:
    """Where the rows lie that are not in the Parquet file yet."""
    return path.with_name(f".{path.name}.journal")


def _with_journal(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of both, in pieces; what the journal has counts."""
    later = {row.key: asdict(row) for row in _lines(journal_of(path))}
    for batch in _batches(path, list(dict.fromkeys([*columns, *KEY]))):
        if later:
            keys = zip(*(batch[name].to_pylist() for name in KEY), strict=True)
            batch = batch.filter(pa.array([key not in later for key in keys], pa.bool_()))
        yield batch.select(list(columns))
    chosen = pa.schema([schema().field(name) for name in columns])
    yield pa.Table.from_pylist(
        [{name: row[name] for name in columns} for row in later.values()], chosen
    )


def _batches(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The Parquet file in pieces; columns that it has not got yet are empty."""
    if not path.exists():
        return
    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            if not there.issuperset(KEY):
                raise ResultError("holds other columns than `autoinit batch` writes.")
            read = [name for name in columns if name in there]
            for batch in file.iter_batches(ROWS_AT_A_TIME, columns=read):
                yield _fitted(pa.Table.from_batches([batch]), columns)
    except pa.ArrowInvalid as error:
        raise ResultError(f"is no Parquet file: {str(error).partition('.')[0]}.") from error


def _fitted(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    wanted = pa.schema([schema().field(name) for name in columns])
    found = [
        pc.cast(table[field.name], field.type)
        if field.name in table.column_names
        else _nothing(field.type, len(table))
        for field in wanted
    ]
    return pa.Table.from_arrays(found, schema=wanted)


def _nothing(kind: pa.DataType, count: int) -> pa.Array:
    return pa.array([[]] * count, kind) if pa.types.is_list(kind) else pa.nulls(count, kind)


def _lines(journal: Path) -> Iterator[Row]:
    """The rows of a journal; one that is being written is left out."""
    try:
        content = journal.open("rb")
    except FileNotFoundError:
        return
    names = set(schema().names)
    with content:
        for line in content:
            if line.endswith(b"\n"):
                yield _row({k: value for k, value in json.loads(line).items() if k in names})


def _row(data: Mapping[str, Any]) -> Row:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return Row(**fields)


def _locked(journal: Path) -> Any:
    """The journal, opened by this process alone."""
    while True:
        file = journal.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it before may have taken it away, after its rows had gone over.
            if journal.exists() and os.fstat(file.fileno()).st_ino == journal.stat().st_ino:
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _cut_to_whole_lines(file: Any) -> None:
    file.seek(0)
    content = file.read()
    file.truncate(content.rfind(b"\n") + 1)
