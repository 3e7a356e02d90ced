"""A training's folder, written and read, also while it grows; and what figures show."""

import json

import pytest

from app.analysis.diagnosis.fault import Fault
from app.analysis.result import Finding, ResultError
from app.analysis.runs.changes import faults_of_loss, faults_of_updates, new_findings
from app.analysis.runs.record import (
    FIGURES,
    HEAD,
    SNAPSHOTS,
    Head,
    Layer,
    Snapshot,
    add_snapshot,
    read_run,
    runs_in,
    write_head,
)

LAYERS = (
    Layer(path="a", class_name="Dense", weighted=True),
    Layer(path="b", class_name="Dense", weighted=True),
)


def head(name="net"):
    return Head(name=name, started="2026-01-01T00:00:00+00:00", layers=LAYERS, samples=8, data="x")


def snapshot(step, **figures):
    columns = {name: figures.get(name, (None, None)) for name in FIGURES}
    return Snapshot(step=step, epoch=0, loss=1.5, figures=columns)


def test_what_was_written_is_read(tmp_path):
    write_head(tmp_path / "run", head())
    first, second = snapshot(0, variance=(1.0, 2.0)), snapshot(4, variance=(3.0, None))
    for each in (first, second):
        add_snapshot(tmp_path / "run", each)
    run = read_run(tmp_path / "run")
    assert run.head == head()
    assert run.snapshots == (first, second)
    assert run.column("variance", 1) == [2.0, None]
    assert run.column("no such figure", 1) == [None, None]


def test_a_line_that_is_still_written_is_left_out(tmp_path):
    write_head(tmp_path, head())
    assert read_run(tmp_path).snapshots == ()
    add_snapshot(tmp_path, snapshot(0))
    with (tmp_path / SNAPSHOTS).open("a") as file:
        file.write('{"step": 4, "epo')
    assert [each.step for each in read_run(tmp_path).snapshots] == [0]


def test_a_newer_file_opens_and_a_broken_one_is_named(tmp_path):
    write_head(tmp_path, head())
    known = json.loads((tmp_path / HEAD).read_text())
    (tmp_path / HEAD).write_text(json.dumps({**known, "colour": "blue"}))
    assert read_run(tmp_path).head == head()
    (tmp_path / SNAPSHOTS).write_text('{"step": "soon"}\n')
    with pytest.raises(ResultError, match="step"):
        read_run(tmp_path)
    with pytest.raises(FileExistsError):
        write_head(tmp_path, head())


def test_the_trainings_of_a_folder(tmp_path):
    assert runs_in(tmp_path) == {}
    for name in ("first", "second"):
        write_head(tmp_path / name, head(name))
    (tmp_path / "notes").mkdir()
    assert set(runs_in(tmp_path)) == {"first", "second"}
    assert list(runs_in(tmp_path / "first").values()) == [tmp_path / "first"]


@pytest.mark.parametrize(
    ("updates", "loss", "first", "codes"),
    [
        ((0.01, 0.15), 2.0, 2.3, []),
        ((0.01, 0.4), 2.0, 2.3, ["updates_too_large"]),
        ((None, None), 22.0, 2.3, []),
        ((None, None), 24.0, 2.3, ["loss_grows"]),
        ((None, None), float("nan"), float("nan"), ["loss_not_finite"]),
        ((0.3, 0.4), float("inf"), 2.3, ["loss_not_finite", "updates_too_large"]),
        ((None, None), None, None, []),
        ((None, None), 3.0, 0.0, []),
    ],
)
def test_what_a_step_shows(updates, loss, first, codes):
    found = [*faults_of_loss(loss, first), *faults_of_updates(LAYERS, updates)]
    assert [fault.code for fault in found] == codes
    if "updates_too_large" in codes:
        assert found[-1].path == "b"


def test_a_loss_that_stays_small_beside_the_outputs_does_not_grow():
    assert not [*faults_of_loss(1e-5, 1e-6, 0.5)]
    for first in (1e-6, 0.0):
        assert [fault.code for fault in faults_of_loss(0.2, first, 0.5)] == ["loss_grows"]


def test_before_the_first_step_other_weights_help():
    dead = Fault("dead_channels", "a", "Dense", "Dead.", "autoinit_helps")
    first, later = (new_findings([dead], (), step)[0].advice for step in (0, 1))
    assert "AutoInit" in first
    assert "learning rate" in later


def test_what_was_told_is_not_told_again():
    faults = [*faults_of_loss(50.0, 1.0), *faults_of_updates(LAYERS, (0.4, 0.3))]
    (told,) = new_findings(faults, {"loss_grows"}, 2)
    assert told == Finding(
        code="updates_too_large",
        path="a",
        class_name="Dense",
        severity="serious",
        message="A step changes the kernel of 'a' by 40 % of its size: the learning rate is too "
        "large.",
        remedy="change_rate",
        advice="Take a smaller learning rate, or warm it up.",
    )
