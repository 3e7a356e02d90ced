"""Tutorials' networks are told to train, as they do, by way of a file."""

import json

import keras
import pytest

from app.analysis.job_spec import JobSpec
from app.analysis.settings import Settings
from app.jobs.execution import run
from tests.strangers.tutorials import TUTORIALS


@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorials_train(name, tmp_path):
    keras.utils.set_random_seed(1)
    path = tmp_path / f"{name}.keras"
    TUTORIALS[name]().save(path)
    run(JobSpec(str(path), name, Settings(samples=8)), tmp_path, lambda fraction, stage: None)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["verdicts"]["uploaded"]["verdict"] == "trains"
    assert all(call["uploaded"]["measured"] is not None for call in result["calls"])
    assert [each for each in tmp_path.glob("*.keras") if each != path]
