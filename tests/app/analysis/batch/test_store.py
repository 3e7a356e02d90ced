"""Rows on the disk: nothing is lost but a line that is cut, and nothing is there twice."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.analysis.batch import store as module
from app.analysis.batch.row import Row, schema
from app.analysis.batch.store import Store, as_rows, journal_of, read_rows
from app.analysis.result import ResultError


def row(number, **further):
    given = {"verdict": "trains", "variances": (1.0, None), "causes": ("a", "b"), "depth": number}
    return Row(**{"file": f"/{number}", "sha256": "s", "program": "p", **given, **further})


def names(path):
    return read_rows(path, ["file"])["file"].to_pylist()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.parquet"


def test_rows_come_back_as_they_were(path):
    rows = [row(1), row(2, status="failed", reason="why", variances=(), depth=None)]
    with Store(path) as store:
        assert names(path) == []
        for each in rows:
            store.append(each)
        assert list(as_rows(read_rows(path))) == rows  # from the journal
    assert not journal_of(path).exists()
    assert list(as_rows(read_rows(path))) == rows
    assert pq.read_schema(path).equals(schema())
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("cut", [1, 40])
def test_who_is_killed_loses_the_line_that_was_being_written(path, cut):
    store = Store(path)
    for number in (1, 2):
        store.append(row(number))
    store._journal.close()  # as when the process is gone
    whole = journal_of(path).read_bytes()
    journal_of(path).write_bytes(whole[:-cut])
    assert names(path) == ["/1"]
    with Store(path) as again:
        assert (again.has(row(1)), again.has(row(2))) == (True, False)
        again.append(row(2))
    assert names(path) == ["/1", "/2"]


def test_who_is_killed_between_both_files_has_no_row_twice(path):
    store = Store(path)
    store.append(row(1))
    journal = journal_of(path).read_bytes()
    store.close()
    journal_of(path).write_bytes(journal)  # it had gone over, and was not emptied yet
    assert names(path) == ["/1"]
    with Store(path) as again:
        again.append(row(2))
    assert names(path) == ["/1", "/2"]


def test_rows_go_over_now_and_then(path, monkeypatch):
    monkeypatch.setattr(module, "JOURNAL_ROWS", 3)
    monkeypatch.setattr(module, "ROWS_AT_A_TIME", 2)
    with Store(path) as store:
        for number in range(8):
            store.append(row(number))
        assert (len(names(path)), pq.ParquetFile(path).metadata.num_rows) == (8, 6)
        store.append(row(0, verdict="cannot train"))
    rows = {each.file: each.verdict for each in as_rows(read_rows(path))}
    assert (len(names(path)), len(rows), rows["/0"]) == (8, 8, "cannot train")


def test_what_counts_as_known(path):
    with Store(path) as store:
        store.append(row(1))
        store.append(row(2, status="refused"))
        assert store.has(row(1))
        for changes in ({"sha256": "t"}, {"program": "q"}, {"settings_hash": "x"}):
            assert not store.has(replace(row(1), **changes))
        assert store.has(row(2))
        assert not store.has(row(2), done=True)
        assert store.has(row(2), saved=True)
        assert not store.has(row(1), saved=True)
        store.append(row(1, saved="/x"))
        assert store.has(row(1), saved=True)


def test_one_writes_at_a_time(path):
    with Store(path), pytest.raises(BlockingIOError):
        Store(path)
    Store(path).close()


def test_something_else_is_left_alone(path):
    path.write_bytes(b"no table")
    with pytest.raises(ResultError, match="no Parquet"):
        Store(path)
    assert path.read_bytes() == b"no table"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(ResultError, match="other columns"):
        Store(path)
    with pytest.raises(FileNotFoundError):
        read_rows(path.with_name("missing.parquet"))


def test_columns_that_came_later_are_empty(path):
    with Store(path) as store:
        store.append(row(1))
    pq.write_table(pq.read_table(path).drop_columns(["depth", "variances"]), path)
    (found,) = as_rows(read_rows(path))
    assert (found.file, found.depth, found.variances) == ("/1", None, ())
