"""The part of the page that follows trainings, from folders that `SignalMonitor` writes."""

import os

import pytest
from streamlit.testing.v1 import AppTest

import app.jobs
from app.analysis.result import Finding
from app.analysis.runs.record import (
    FIGURES,
    SNAPSHOTS,
    Head,
    Layer,
    Snapshot,
    add_snapshot,
    write_head,
)
from app.dashboard.runs import VARIABLE
from tests.app.dashboard.test_dashboard import PAGE, checked

GOES_WRONG = Finding(code="loss_grows", path="", message="The loss is 40.", advice="Smaller.")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(app.jobs, "warm_up", lambda: None)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    for name, findings in (("good", ()), ("<b>bad", (GOES_WRONG,))):
        layers = tuple(Layer(path=path, class_name="Dense") for path in ("a", "b"))
        head = Head(
            name="net",
            started="2026-01-01",
            layers=layers,
            samples=8,
            data="training data",
            optimizer="SGD",
            rate=0.1,
            verdict=("uploaded  trains",),
        )
        write_head(tmp_path / name, head)
        for step, found in ((0, ()), (4, findings)):
            figures = dict.fromkeys(FIGURES, (1.0 + step, 2.0))
            add_snapshot(
                tmp_path / name,
                Snapshot(step=step, epoch=0, loss=1.0, figures=figures, findings=found),
            )
    return tmp_path


def page(*names):
    opened = AppTest.from_file(PAGE, default_timeout=300)
    opened.query_params["run"] = list(names)
    return checked(opened.run())


def test_a_training_is_a_click_away_and_stands_in_the_address(folder):
    opened = AppTest.from_file(PAGE, default_timeout=300)
    checked(opened.run())
    (button,) = [each for each in opened.button if each.label == "good"]
    checked(button.click().run())
    assert opened.query_params["run"] in ("good", ["good"])
    assert [each.value for each in opened.subheader if each.value == "good"]
    assert any("step 4" in each.value for each in opened.caption)
    assert opened.success


def test_what_went_wrong_stands_above_its_picture(folder):
    opened = page("<b>bad", "good")
    (warning,) = opened.warning
    assert warning.value.startswith("**Step 4.** The loss is 40")
    assert len(opened.get("plotly_chart")) == 4  # two maps, one moment, the loss
    for name in FIGURES:
        checked(opened.segmented_control(key="run_figure").set_value(name).run())
    checked(opened.slider(key="run_moment").set_value(0).run())


def test_a_training_that_has_ended_is_not_read_again(folder):
    opened = page("good")
    assert any("still training" in each.value for each in opened.caption)
    os.utime(folder / "good" / SNAPSHOTS, (0, 0))
    opened = page("good")
    assert any("; ended." in each.value for each in opened.caption)


def test_a_broken_folder_gets_a_sentence(folder):
    (folder / "good" / SNAPSHOTS).write_text("{}\n")
    assert "no whole result" in page("good").error[0].value


def test_names_lead_nowhere_else(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_head(elsewhere, Head(name="secret", started="", layers=(), samples=1, data=""))
    opened = page(f"../{elsewhere.name}", str(elsewhere))
    assert not opened.main.subheader
    assert opened.info


def test_without_a_folder_there_is_nothing_of_it(monkeypatch):
    monkeypatch.setattr(app.jobs, "warm_up", lambda: None)
    opened = page("good")
    assert opened.info
    assert not any(each.value == "Trainings" for each in opened.sidebar.subheader)
