"""*Try it* on the page, by Streamlit's AppTest; the jobs are stand-ins."""

import html

import numpy as np
import pytest

from app.analysis.result import json_text
from app.analysis.trials.result import read_trials
from app.jobs import JobSpec, Settings
from tests.app.analysis.trials.made_up import made_up_and_answered
from tests.app.dashboard.test_dashboard import (  # noqa: F401
    Jobs,
    StandInJob,
    checked,
    jobs,
    press,
)

TRIAL_KEY = "b" * 64


class StandInTrial(StandInJob):
    def trials(self):
        return read_trials(self.folder / "result.json")


@pytest.fixture
def page(jobs, result, tmp_path):  # noqa: F811
    """A finished analysis, with the part for trials opened."""
    jobs.finish(result)
    jobs.job.spec = JobSpec("sample:all-cnn-c", "all-cnn-c", Settings())
    jobs.others[TRIAL_KEY] = StandInTrial(tmp_path / "trial")
    jobs.others[TRIAL_KEY].key = TRIAL_KEY
    return jobs


def with_trial(jobs, status, scores=None, file="result.json", **changes):  # noqa: F811
    """The page with a trial in its address."""
    trial = jobs.others[TRIAL_KEY]
    folder = trial.folder
    folder.mkdir(parents=True)
    scores = scores or {"default": [0.1, 0.12, None], "autoinit": [0.4, [0.9, 0.88], None]}
    (folder / file).write_text(json_text(made_up_and_answered(scores, **changes)))
    trial.status = status
    from streamlit.testing.v1 import AppTest

    from tests.app.dashboard.test_dashboard import KEY, PAGE

    test = AppTest.from_file(PAGE, default_timeout=300)
    test.query_params["job"], test.query_params["trial"] = KEY, TRIAL_KEY
    return checked(test.run())


def said(page):
    return "\n".join(each.proto.body for each in page.get("html"))


def test_the_button_trains_what_is_on_the_page(page, monkeypatch):
    submitted = []

    def submit(spec, owner, address):
        submitted.append(spec)
        return page.others[TRIAL_KEY]

    monkeypatch.setattr("app.jobs.submit", submit)
    shown = with_trial(page, "done")
    press(shown, "Train it")
    (spec,) = submitted
    assert spec.model == "sample:all-cnn-c"
    assert spec.trial.schemes == ("default", "autoinit", "centred")
    assert spec.trial.data is None


def test_the_answer_stands_above_the_grid(page):
    (page.others[TRIAL_KEY].folder).mkdir()
    (page.others[TRIAL_KEY].folder / "reinitialized.keras").write_bytes(b"model")
    page.others[TRIAL_KEY].folder = page.others[TRIAL_KEY].folder / "job"
    shown = with_trial(page, "done", downloads=[])
    assert "Take AutoInit, with a rate of 0.01" in said(shown)
    assert "All trainings, JSON" in [each.label for each in shown.get("download_button")]


def test_the_best_model_can_be_taken_home(page):
    listed = [{"file": "reinitialized.keras", "label": "as .keras", "note": ""}]
    folder = page.others[TRIAL_KEY].folder
    shown = None
    folder.parent.mkdir(exist_ok=True)
    shown = with_trial(page, "done", downloads=listed)
    assert "The model with AutoInit, .keras" not in [d.label for d in shown.get("download_button")]
    (folder / "reinitialized.keras").write_bytes(b"model")
    checked(shown.run())
    assert "The model with AutoInit, .keras" in [d.label for d in shown.get("download_button")]


@pytest.mark.slow
def test_a_trial_under_way_can_be_stopped_and_keeps_what_is_there(page):
    page.others[TRIAL_KEY].owners = {"me"}
    page.others[TRIAL_KEY].is_owned_by = lambda owner: True
    page.others[TRIAL_KEY].cancel = lambda owner: setattr(
        page.others[TRIAL_KEY], "status", "cancelled"
    )
    shown = with_trial(page, "running", file="preview.json")
    assert "Take AutoInit" in said(shown)
    press(shown, "Stop, and keep what is there")
    assert any("Stopped" in each.value for each in shown.info)
    assert "Take AutoInit" in said(shown)


def test_a_refusal_is_told(page):
    page.others[TRIAL_KEY].error = ("bad_input_data", "Data file 'x' has no arrays.")
    shown = with_trial(page, "refused")
    assert [html.unescape(each.value) for each in shown.error] == ["Data file 'x' has no arrays."]


def test_data_that_were_brought_are_learnt(page, monkeypatch, tmp_path):
    from app.dashboard import uploads

    np.savez(tmp_path / "train.npz", x=np.zeros(3), y=np.zeros(3))
    with (tmp_path / "train.npz").open("rb") as file:
        upload = uploads.store(file, "train.npz", (".npz",))
    submitted = []
    monkeypatch.setattr(
        "app.jobs.submit",
        lambda spec, owner, address: submitted.append(spec) or page.others[TRIAL_KEY],
    )
    shown = with_trial(page, "done")
    shown.session_state["trial_data"] = upload
    checked(shown.run())
    press(shown, "Train it")
    assert (submitted[0].trial.data, submitted[0].trial.data_name) == (
        str(upload.path),
        "train.npz",
    )
