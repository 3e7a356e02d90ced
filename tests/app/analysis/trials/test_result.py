"""A trial's file, which any worker may have written."""

import json

import pytest

from app.analysis.result import ResultError, json_text
from app.analysis.trials.result import read_trials
from tests.app.analysis.trials.made_up import made_up_and_answered


@pytest.fixture
def written():
    return json.loads(json_text(made_up_and_answered({"autoinit": [0.1, 0.9, None]})))


def test_what_is_written_is_read(written):
    found = read_trials(json.dumps(written).encode())
    assert found.answer.scheme == "autoinit"
    assert found.of("autoinit", 0.1).outcome == "diverged"


@pytest.mark.parametrize(
    "change",
    [
        {"schemes": ["<img src=x>"]},
        {"schemes": ["autoinit"] * 50},
        {"rates": [0.1] * 41},
        {"measure": "beauty"},
        {"expected": {"magic": {"verdict": "trains", "reason": ""}}},
        {"trainings": [{"scheme": "autoinit", "rate": "NaN", "outcome": "finished"}]},
        {"trainings": [{"scheme": "he", "rate": 1, "outcome": "finished", "losses": [1] * 101}]},
    ],
)
def test_what_is_none_is_refused(written, change):
    with pytest.raises(ResultError):
        read_trials(json.dumps(written | change).encode())
