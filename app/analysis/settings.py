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
INPUT_SOURCES = ("data", "noise")
SAMPLE_PREFIX = "sample:"
LARGEST_INPUT_SIZE = 65_536
MOMENTS_BYTES = 16_384  # as JSON; a job crosses to the worker on one line
RECEIVED_SHOWN = 200
LARGEST_MEAN = 1e15
SMALLEST_VARIANCE, LARGEST_VARIANCE = 1e-30, 1e30
CUSTOM_OBJECTS_VARIABLE = "AUTOINIT_CUSTOM_OBJECTS"


@dataclass(frozen=True)
class Settings:
    """The settings of an analysis; the defaults are the command line's.

    Args:
        samples: how many inputs are fed through the network.
        seed: of the weights and of the inputs.
        input_mean, input_variance: of the Gaussian inputs.
        input_moments: mean and variance of some inputs, by name; the others have those above.
        input_data: path of a `.npy`, `.npz` or `.csv` file of samples. Mean and variance of every
            input are then its own.
        input_data_name: what to call that file.
        input_source: with such a file, whether its samples are fed through the network (`data`)
            or Gaussian inputs with its mean and variance (`noise`).
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
    input_moments: dict[str, list[float]] | None = None
    input_data: str | None = None
    input_data_name: str | None = None
    input_source: str = "data"
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

    @property
    def data_name(self) -> str:
        """What to call the file of data: as its owner does, or else as it is called on disk."""
        return self.input_data_name or Path(self.input_data or "").name

    def __post_init__(self) -> None:
        self._require_whole("samples", 1, 65_536)
        self._require_whole("seed", 0, 2**32 - 1)
        self._require_whole("seeds", 1, 100)
        self._require_whole("jacobian", 0, 16)
        self._require_whole("input_size", 1, LARGEST_INPUT_SIZE)
        # Bounds that single precision can hold, squares included.
        self._require_number("input_mean", -LARGEST_MEAN, LARGEST_MEAN)
        self._require_number("input_variance", SMALLEST_VARIANCE, LARGEST_VARIANCE)
        self._require_number("signal_variance", SMALLEST_VARIANCE, LARGEST_VARIANCE)
        self._require_moments()
        self._require_one_of("input_source", INPUT_SOURCES)
        for name in ("input_data", "input_data_name"):
            if not isinstance(getattr(self, name), str | None):
                self._refuse(name, "text, or left out")
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
        if not _is_number(value, low, high):
            self._refuse(name, f"a number from {low:g} to {high:g}")
        # 1 and 1.0 are the same setting, and must give the same key.
        object.__setattr__(self, name, float(value))

    def _require_moments(self) -> None:
        given = self.input_moments
        if given is None:
            return
        if not isinstance(given, dict) or not all(map(_are_moments, given.items())):
            self._refuse(
                "input_moments",
                "by an input's name its mean and variance, two numbers as input_mean and "
                "input_variance take them",
            )
        if len(json.dumps(given)) > MOMENTS_BYTES:
            self._refuse("input_moments", "of fewer inputs")
        moments = {name: [float(number) for number in pair] for name, pair in given.items()}
        object.__setattr__(self, "input_moments", moments or None)

    def _require_one_of(self, name: str, values: tuple[str, ...]) -> None:
        if getattr(self, name) not in values:
            self._refuse(name, "one of " + ", ".join(values))

    def _refuse(self, name: str, expected: str) -> None:
        received = repr(getattr(self, name))
        if len(received) > RECEIVED_SHOWN:
            received = f"{received[:RECEIVED_SHOWN]}…"
        raise ValueError(f"{name} must be {expected}; received {received}.")


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

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the job reads: of the model, and of data for its inputs."""
        model = () if self.is_sample else (Path(self.model),)
        return (*model, Path(self.settings.input_data)) if self.settings.input_data else model

    def key(self) -> str:
        """Identifies the result: equal keys mean equal files, names, settings and program.

        Raises:
            OSError: a file cannot be read.
        """
        model = self.model if self.is_sample else sha256(self.model)
        settings = asdict(self.settings)
        if self.settings.input_data is not None:
            settings["input_data"] = sha256(self.settings.input_data)
        allowed = os.environ.get(CUSTOM_OBJECTS_VARIABLE, "")
        identity = [model, self.name, settings, allowed, program_version()]
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


def _is_number(value: object, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and low <= value <= high


def _are_moments(item: tuple[object, object]) -> bool:
    """Whether this is an input's name with its mean and variance."""
    name, pair = item
    return (
        isinstance(name, str)
        and isinstance(pair, list | tuple)
        and len(pair) == 2
        and _is_number(pair[0], -LARGEST_MEAN, LARGEST_MEAN)
        and _is_number(pair[1], SMALLEST_VARIANCE, LARGEST_VARIANCE)
    )


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
