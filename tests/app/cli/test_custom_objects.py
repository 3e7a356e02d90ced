"""The operator's own classes: from the modules that the operator names, and from nowhere else."""

import sys
from pathlib import Path

import pytest

from app.analysis.job_spec import CUSTOM_OBJECTS_VARIABLE
from app.jobs import JobSpec, Settings
from app.jobs.execution import _custom_objects

LAYERS = """
import subprocess
from subprocess import run

class Doubling: ...
class _Helper: ...
def swirl(x): return x
constant = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to start in, which is not on the path."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(CUSTOM_OBJECTS_VARIABLE, raising=False)
    for name in ("operators_layers", "operators_list", "operators_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "operators_layers.py").write_text(LAYERS)
    (tmp_path / "operators_list.py").write_text("from math import tau\n__all__ = ['tau']\n")
    (tmp_path / "operators_broken.py").write_text("raise RuntimeError('no licence')\n")
    return tmp_path


def test_without_a_module_nothing_is_allowed(folder: Path) -> None:
    before = list(sys.path)
    assert _custom_objects(None) == {}
    assert sys.path == before


def test_the_environment_names_modules_and_the_command_line_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CUSTOM_OBJECTS_VARIABLE, "operators_layers, operators_list,")
    assert set(_custom_objects(None)) == {"Doubling", "swirl", "tau"}
    assert set(_custom_objects("operators_list")) == {"tau"}


def test_what_a_module_only_imports_is_not_for_files() -> None:
    assert set(_custom_objects("operators_layers")) == {"Doubling", "swirl"}


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("operators_nowhere", "ModuleNotFoundError"),
        ("operators_broken", "RuntimeError: no licence"),
        ("..", "TypeError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(module: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"'{module}' cannot be imported: {reason}"):
        _custom_objects(module)


def test_other_modules_make_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = JobSpec("sample:all-cnn-c", "a", Settings())
    before = spec.key()
    monkeypatch.setenv(CUSTOM_OBJECTS_VARIABLE, "operators_layers")
    assert spec.key() != before
