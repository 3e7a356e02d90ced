"""What is asked of a job: a model and settings, plain data that crosses to the worker as JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import app
from app.analysis.options import OptionsTable
from app.analysis.settings import Settings
from app.analysis.trials.settings import TrialSettings
from app.errors import WrongSettingError

SAMPLE_PREFIX = "sample:"
CUSTOM_OBJECTS_VARIABLE = "AUTOINIT_CUSTOM_OBJECTS"


@dataclass(frozen=True)
class JobSpec:
    """One job: which model, what to call it, and how to look at it.

    Args:
        model: the path of a model file, or `sample:NAME`, with arguments if need be
            (`sample:all-cnn-c?activation=elu&dropout=0.25`).
        name: what to call the model, such as the name of the file that was uploaded.
        settings: the settings of the analysis.
        trial: those of a trial, where the network is to be trained in place of an analysis.
    """

    model: str
    name: str
    settings: Settings
    trial: TrialSettings | None = None

    @classmethod
    def of(cls, model: str, settings: Settings, trial: TrialSettings | None = None) -> JobSpec:
        """A job on a file, by its own name, or on `sample:NAME`."""
        if model.startswith(SAMPLE_PREFIX):
            return cls(model, model.removeprefix(SAMPLE_PREFIX), settings, trial)
        return cls(str(Path(model).absolute()), Path(model).name, settings, trial)

    @property
    def is_sample(self) -> bool:
        """Whether the model is a sample's name, not a file's."""
        return self.model.startswith(SAMPLE_PREFIX)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the job reads: of the model, and of data."""
        data = (self.settings.input_data, self.trial.data if self.trial else None)
        return tuple(Path(each) for each in (None if self.is_sample else self.model, *data) if each)

    def moved(self, move: Callable[[Path, str], Path]) -> JobSpec:
        """The same job on files elsewhere: `move` takes a path and a plain name, and says where."""
        model, settings = self.model, self.settings
        if not self.is_sample:
            model = str(move(Path(model), "model" + Path(model).suffix))
        if settings.input_data is not None:
            data = Path(settings.input_data)
            settings = settings.replace(
                input_data=str(move(data, "data" + data.suffix)), input_data_name=settings.data_name
            )
        trial = self.trial
        if trial is not None and trial.data is not None:
            learned = move(Path(trial.data), "train" + Path(trial.data).suffix)
            trial = trial.replace(data=str(learned), data_name=trial.shown_name)
        return JobSpec(model, self.name, settings, trial)

    def key(self) -> str:
        """Identifies the result: equal keys mean equal files, names, settings and program.

        Raises:
            OSError: a file cannot be read.
        """
        model = self.model if self.is_sample else sha256(self.model)
        chosen = [identity(each) for each in (self.settings, self.trial) if each is not None]
        allowed = os.environ.get(CUSTOM_OBJECTS_VARIABLE, "")
        parts = [model, self.name, *chosen, allowed, program_version()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The specification as plain data, for `json.dumps`."""
        data = {"model": self.model, "name": self.name, "settings": self.settings.model_dump()}
        return data | ({"trial": self.trial.model_dump()} if self.trial is not None else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JobSpec:
        """The specification from what `to_json` gave.

        Raises:
            ValueError: a key is unknown or missing, or a setting is wrong.
        """
        keys = {"model", "name", "settings"}
        _require_keys("job", data, keys | {"trial"}, keys)
        _require_keys("settings", data["settings"], set(Settings.model_fields), set())
        trial = data.get("trial")
        if trial is not None:
            _require_keys("trial", trial, set(TrialSettings.model_fields), set())
        if not isinstance(data["model"], str) or not isinstance(data["name"], str):
            raise WrongSettingError("The model and the name of a job must be text.")
        trial = None if trial is None else TrialSettings(**trial)
        return cls(data["model"], data["name"], Settings(**data["settings"]), trial)


def identity(settings: OptionsTable) -> dict[str, Any]:
    """Settings, with what their files hold in place of the files' names."""
    found = settings.model_dump()
    return found | {name: sha256(found[name]) for name in _DATA_FILES if found.get(name)}


_DATA_FILES = ("input_data", "data")


def sha256(path: str) -> str:
    """The digest of a file's contents.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def program_version() -> str:
    """The release and a digest of its source: an edited rule must not show yesterday's figures."""
    root = Path(app.__file__).parent.parent
    digest = hashlib.sha256()
    for package in ("autoinit", "probes", "sample_models", "app/analysis", "app/jobs"):
        for source in sorted((root / package).rglob("*.py")):
            digest.update(source.read_bytes())
    return f"{app.__version__}+{digest.hexdigest()}"


def _require_keys(what: str, data: object, allowed: set[str], required: set[str]) -> None:
    if not isinstance(data, Mapping):
        raise WrongSettingError(f"The {what} must be an object; received {type(data).__name__}.")
    wrong = sorted(set(data) - allowed) + sorted(required - set(data))
    if wrong:
        raise WrongSettingError(
            f"The {what} must have the keys {', '.join(sorted(allowed))}; "
            f"unknown or missing: {', '.join(wrong)}."
        )
