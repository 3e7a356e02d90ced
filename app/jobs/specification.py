"""What is asked of a job: a model and settings, plain data that crosses to the worker as JSON."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import app

MODES = ("training", "inference")
SIGNAL_MODELS = ("correlated", "independent")
UNSUPPORTED = ("sample", "pass_through", "error")
DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform", "orthogonal")
DEVICES = ("auto", "cpu", "gpu")
SAMPLE_PREFIX = "sample:"
LARGEST_INPUT_SIZE = 65_536
CUSTOM_OBJECTS_VARIABLE = "AUTOINIT_CUSTOM_OBJECTS"


@dataclass(frozen=True)
class Settings:
    """The settings of an analysis; the defaults are the command line's.

    Args:
        samples: how many inputs are fed through the network.
        seed: of the weights and of the inputs.
        input_mean, input_variance: of the Gaussian inputs.
        mode: whether layers such as Dropout and BatchNormalization behave as in `training` or
            as in `inference`.
        distribution: that AutoInit draws weights from.
        signal_model: what the predictions carry: `correlated`, distributions and covariances, or
            `independent`, the paper's mean and variance.
        unsupported: what becomes of a layer that has no rule and cannot be opened into its parts:
            `sample`, its output is estimated by Monte Carlo through the layer itself;
            `pass_through`, its signal is taken as unchanged; `error`, the model is refused.
        signal_variance: what AutoInit gives each weighted call's pre-activation.
        device: where the measurements run; `auto` takes a GPU where there is one.
        seeds: how many draws of weights and inputs to average over.
        gradients: whether to measure what flows back, too, of a random function of the outputs.
        jacobian: at how many inputs to take the singular values of the input–output Jacobian.
        constrain_weights: whether to keep the kernels centred and scaled throughout training.
        keep_frozen: whether layers with `trainable=False` keep the weights that came with the file.
        custom_objects: a `PACKAGE.MODULE` to import first; for the operator, never from a page.
        input_size: stands in for unknown dimensions of the input shape.

    Raises:
        ValueError: names the setting, the values that it takes and the one received.
    """

    samples: int = 128
    seed: int = 0
    input_mean: float = 0.0
    input_variance: float = 1.0
    mode: str = "training"
    distribution: str = "truncated_normal"
    signal_model: str = "correlated"
    unsupported: str = "sample"
    signal_variance: float = 1.0
    device: str = "auto"
    seeds: int = 1
    gradients: bool = False
    jacobian: int = 0
    constrain_weights: bool = False
    keep_frozen: bool = False
    custom_objects: str | None = None
    input_size: int = 32

    def __post_init__(self) -> None:
        self._require_whole("samples", 1, 65_536)
        self._require_whole("seed", 0, 2**32 - 1)
        self._require_whole("seeds", 1, 100)
        self._require_whole("jacobian", 0, 16)
        self._require_whole("input_size", 1, LARGEST_INPUT_SIZE)
        # Bounds that single precision can hold, squares included.
        self._require_number("input_mean", -1e15, 1e15)
        self._require_number("input_variance", 1e-30, 1e30)
        self._require_number("signal_variance", 1e-30, 1e30)
        self._require_one_of("mode", MODES)
        self._require_one_of("distribution", DISTRIBUTIONS)
        self._require_one_of("device", DEVICES)
        self._require_one_of("signal_model", SIGNAL_MODELS)
        self._require_one_of("unsupported", UNSUPPORTED)
        for name in ("gradients", "constrain_weights", "keep_frozen"):
            if not isinstance(getattr(self, name), bool):
                self._refuse(name, "true or false")
        if self.custom_objects is not None and not _is_module_name(self.custom_objects):
            self._refuse("custom_objects", "the dotted name of a module, such as package.layers")

    def _require_whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._refuse(name, f"a whole number from {low} to {high}")

    def _require_number(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not low <= value <= high:
            self._refuse(name, f"a number from {low:g} to {high:g}")
        # 1 and 1.0 are the same setting, and must give the same key.
        object.__setattr__(self, name, float(value))

    def _require_one_of(self, name: str, values: tuple[str, ...]) -> None:
        if getattr(self, name) not in values:
            self._refuse(name, "one of " + ", ".join(values))

    def _refuse(self, name: str, expected: str) -> None:
        raise ValueError(f"{name} must be {expected}; received {getattr(self, name)!r}.")


@dataclass(frozen=True)
class JobSpec:
    """One job: which model, what to call it, and how to look at it.

    Args:
        model: the path of a model file, or `sample:NAME`, with arguments if need be
            (`sample:all-cnn-c?activation=elu&dropout=0.25`).
        name: what to call the model, such as the name of the file that was uploaded.
        settings: the settings of the analysis.
    """

    model: str
    name: str
    settings: Settings

    @property
    def is_sample(self) -> bool:
        """Whether the model is a sample's name, not a file's."""
        return self.model.startswith(SAMPLE_PREFIX)

    def key(self) -> str:
        """Identifies the result: equal keys mean equal files, names, settings and program.

        Raises:
            OSError: the model file cannot be read.
        """
        if self.is_sample:
            model = self.model
        else:
            with open(self.model, "rb") as file:
                model = hashlib.file_digest(file, "sha256").hexdigest()
        allowed = os.environ.get(CUSTOM_OBJECTS_VARIABLE, "")
        identity = [model, self.name, asdict(self.settings), allowed, program_version()]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The specification as plain data, for `json.dumps`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JobSpec:
        """The specification from what `to_json` gave.

        Raises:
            ValueError: a key is unknown or missing, or a setting is wrong.
        """
        _require_keys("job", data, {"model", "name", "settings"}, {"model", "name", "settings"})
        names = {field.name for field in fields(Settings)}
        _require_keys("settings", data["settings"], names, set())
        if not isinstance(data["model"], str) or not isinstance(data["name"], str):
            raise ValueError("The model and the name of a job must be text.")
        return cls(data["model"], data["name"], Settings(**data["settings"]))


@cache
def program_version() -> str:
    """The release and a digest of its source: an edited rule must not show yesterday's figures."""
    root = Path(app.__file__).parent.parent
    digest = hashlib.sha256()
    for package in ("autoinit", "probes", "sample_models", "app/jobs"):
        for source in sorted((root / package).rglob("*.py")):
            digest.update(source.read_bytes())
    digest.update((root / "app/diagnosis.py").read_bytes())
    return f"{app.__version__}+{digest.hexdigest()}"


def _is_module_name(value: object) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _require_keys(what: str, data: object, allowed: set[str], required: set[str]) -> None:
    if not isinstance(data, Mapping):
        raise ValueError(f"The {what} must be an object; received {type(data).__name__}.")
    wrong = sorted(set(data) - allowed) + sorted(required - set(data))
    if wrong:
        raise ValueError(
            f"The {what} must have the keys {', '.join(sorted(allowed))}; "
            f"unknown or missing: {', '.join(wrong)}."
        )
