"""Every hostile file: the documented outcome, in time, within memory, with nothing left behind."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

from tests.hostile import archives, configurations, sizes_and_shapes, stored_weights
from tests.hostile.intake import Answer, Intake
from tests.hostile.parts import ANALYSED, Row

MODULES = (archives, stored_weights, configurations, sizes_and_shapes)
ROWS = [row for module in MODULES for row in module.ROWS]
SECONDS = 60.0  # of the processor, whose time is worth less where others use it, too
PEAK_BYTES = int(2.5 * 2**30)
CODES = {
    "file_not_found", "unreadable_file", "empty_file", "not_a_model_file", "broken_file",
    "no_model_config", "bad_configuration", "not_a_model", "no_graph", "unsafe_archive",
    "unsafe_weights", "weights_mismatch", "file_reference", "over_budget", "cannot_rebuild",
    "too_deep",
}  # fmt: skip


@pytest.fixture(scope="module")
def intake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    with Intake(tmp_path_factory.mktemp("temporary")) as intake:
        yield intake


def write(row: Row, folder: Path) -> Path:
    """The file on disk, under a name of ours as an upload's would be, or under its own."""
    path = folder / (os.fsdecode(row.on_disk) if row.on_disk else "upload.bin")
    path.write_bytes(row.make(folder / "marker"))
    return path


def check(row: Row, answer: Answer, folder: Path) -> None:
    """What holds for every file of the battery."""
    assert not (folder / "marker").exists(), "code of the file has run"
    assert answer.outcome in row.outcomes, f"{answer.outcome}: {answer.message}"
    assert answer.seconds < SECONDS
    assert answer.peak < PEAK_BYTES
    assert set(row.findings) <= set(answer.findings) or answer.outcome != ANALYSED
    if answer.outcome != ANALYSED:
        assert answer.outcome in CODES
        check_sentence(answer.message, folder)


def check_sentence(message: str, folder: Path) -> None:
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 1000
    assert message.isprintable()
    for told in ("Traceback", str(folder), "/site-packages/", 'File "/'):
        assert told not in message


# Seconds each: of what is too large in the same way, one is looked at every time.
LARGE = {
    "config-of-300-mb.keras", "weights-of-300-mb.keras", "50002-calls.json", "20001-layers.json",
    "20001-layers.keras2.json",
}  # fmt: skip


def cases(rows: list[Row]) -> list[Any]:
    """The rows as parameters; those that only vary where a part stands are left to the long run."""
    again = {
        f"{name}{ending}"
        for name, *_ in configurations.PARTS
        for ending in (".json", ".nested.keras")
    }
    return [
        pytest.param(
            row,
            id=ascii(row.name)[1:-1],
            marks=pytest.mark.slow if row.name in again | LARGE else (),
        )
        for row in rows
    ]


@pytest.mark.parametrize("row", cases(ROWS))
def test_the_documented_outcome(row: Row, intake: Intake, tmp_path: Path) -> None:
    path = write(row, tmp_path)
    answer = intake.ask(path, row.name)
    if answer.outcome == ANALYSED and ANALYSED not in row.outcomes:
        # Only when samples are to flow is it known how large what they flow through will be.
        answer = intake.ask(path, row.name, analyse=True)
    check(row, answer, tmp_path)
    assert not intake.left_behind()


@pytest.mark.slow
@pytest.mark.parametrize("row", cases([row for row in ROWS if ANALYSED in row.outcomes]))
def test_the_whole_analysis(row: Row, intake: Intake, tmp_path: Path) -> None:
    """What opens is also measured, drawn anew and saved."""
    check(row, intake.ask(write(row, tmp_path), row.name, analyse=True), tmp_path)
    assert not intake.left_behind()


def test_the_payload_is_live(tmp_path: Path) -> None:
    """Who trusts the file would have run it: the battery's marker is no dummy."""
    (row,) = [row for row in ROWS if row.name == "lambda.keras"]
    path = write(row, tmp_path).rename(tmp_path / "lambda.keras")
    assert not (tmp_path / "marker").exists()
    keras.saving.load_model(path, safe_mode=False)
    assert (tmp_path / "marker").exists()
