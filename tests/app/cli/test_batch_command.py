"""`batch` on the command line, with rows that are made up in place of analyses."""

from concurrent.futures import Future
from dataclasses import replace

import pytest

from app.analysis.batch.store import as_rows, read_rows
from app.analysis.trials.settings import TrialSettings
from app.cli import batch as command
from app.cli.batch import models_in
from app.cli.main import main

FILES = ["a.keras", "b.h5", "c.json"]


class MadeUp:
    """Refuses what is called `bad`, is interrupted at `stop`, and struggles with the rest."""

    places = 1

    def __init__(self):
        self.begun, self.trials = [], []

    def submit(self, task):
        self.trials.append(task.trial)
        name = task.row.file.rpartition("/")[2].partition(".")[0]
        if name == "stop":
            raise KeyboardInterrupt
        self.begun.append(name)
        future = Future()
        future.set_result(
            task.row.failed("refused", "x", "why")
            if name == "bad"
            else replace(task.row, verdict="will struggle")
        )
        return future

    def close(self):
        pass


@pytest.fixture
def pool(monkeypatch):
    made = MadeUp()
    monkeypatch.setattr(command, "_pool", lambda workers, settings, ray: made)
    return made


@pytest.fixture
def folder(tmp_path):
    for name in ("a.keras", "deep/b.h5", "deep/c.json", "notes.json", ".hidden.keras", "d.txt"):
        path = tmp_path / "nets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"class_name": "Functional"}' if name.endswith("c.json") else "1")
    return tmp_path / "nets"


def run(folder, *more):
    return main(["batch", str(folder), "--output", str(folder.parent / "rows.parquet"), *more])


def files(folder):
    return [
        row.file.rpartition("/")[2] for row in as_rows(read_rows(folder.parent / "rows.parquet"))
    ]


def test_models_are_found_in_folders_patterns_and_lists(folder):
    whole = [str(folder / name) for name in ("a.keras", "deep/b.h5", "deep/c.json")]
    assert models_in([str(folder)]) == [[path] for path in whole]
    assert models_in([str(folder / "**/*.h5"), whole[1]]) == [[whole[1]]]
    (folder / "saved" / "variables").mkdir(parents=True)
    (folder / "saved" / "saved_model.pb").write_text("1")
    assert models_in([str(folder)])[-1] == models_in([str(folder / "saved")])[0]
    (folder / "d.txt").write_text("# mine\n\na.keras\nsample:all-cnn-c\n")
    assert models_in([str(folder / "d.txt")]) == [[whole[0]], ["sample:all-cnn-c"]]


def test_rows_are_added_and_the_second_time_nothing_is_done(pool, folder, capsys):
    assert run(folder) == 0
    assert files(folder) == FILES
    said = capsys.readouterr()
    assert said.out == f"3 models: 3 will struggle. Rows in {folder.parent / 'rows.parquet'}.\n"
    assert said.err.splitlines()[-1].startswith("3 of 3")
    assert run(folder) == 0
    assert len(pool.begun) == 3
    assert run(folder, "--samples", "9") == 0  # other settings are other rows
    assert (len(pool.begun), len(files(folder))) == (6, 6)


def test_a_trial_is_asked_for_by_its_own_settings(pool, folder):
    assert run(folder / "a.keras") == 0
    assert run(folder / "a.keras", "--try", "--try-steps", "20", "--try-schemes", "he,own") == 0
    trial = TrialSettings(steps=20, schemes=("he", "default"))
    assert pool.trials == [None, trial]
    rows = list(as_rows(read_rows(folder.parent / "nets" / "rows.parquet")))
    assert [row.trial for row in rows] == [None, '{"schemes": ["he", "default"], "steps": 20}']


def test_the_worst_counts_and_what_has_no_figures_is_named(pool, folder, capsys):
    assert run(folder, "--fail-on", "will-struggle") == 3
    assert run(folder, "--fail-on", "cannot-train") == 0
    (folder / "bad.keras").write_text("2")
    assert run(folder) == 2
    assert pool.begun.count("bad") == 1
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "bad.keras" in line]
    assert told.startswith(f"{folder / 'bad.keras'}: ")
    assert run(folder, "--again") == 2
    assert (pool.begun.count("bad"), pool.begun.count("a")) == (2, 1)


def test_an_interrupt_keeps_what_is_there(pool, folder, capsys):
    (folder / "deep" / "stop.keras").write_text("3")
    assert run(folder) == 130
    assert files(folder) == FILES
    assert "interrupted; 3 rows in " in capsys.readouterr().err


def test_what_cannot_be_done_is_said_before_the_work(pool, folder, tmp_path, capsys):
    (tmp_path / "other.parquet").write_text("no table")
    for arguments in (
        [str(tmp_path / "missing"), "--output", "x.parquet"],
        [str(folder), "--output", str(tmp_path / "none" / "x.parquet")],
        [str(folder), "--output", str(tmp_path / "other.parquet")],
        [str(folder), "--output", str(tmp_path / "y.parquet"), "--ray", "local"],
        [str(folder), "--output", str(tmp_path / "y.parquet"), "--try-steps", "20"],
        [str(folder), "--output", str(tmp_path / "y.parquet"), "--try", "--try-data", "no.npz"],
        [str(folder)],
    ):
        with pytest.raises(SystemExit) as error:
            main(["batch", *arguments])
        assert error.value.code == 64
    assert "is no Parquet file" in capsys.readouterr().err
    assert not pool.begun


def test_rows_are_put_into_a_file_that_is_named_for_what_it_is(pool, folder, capsys):
    with pytest.raises(SystemExit, match="64"):
        main(["batch", str(folder), "--output", str(folder.parent / "rows.csv")])
    assert "is no Parquet file's name: end it in .parquet" in capsys.readouterr().err
    assert not (folder.parent / "rows.csv").exists()
