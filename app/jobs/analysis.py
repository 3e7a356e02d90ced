"""A whole job, in the worker: open the model, compare, save what people take home."""

from __future__ import annotations

import importlib
import inspect
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from app.jobs.comparison import Comparison, calls_as_data, compare
from app.jobs.specification import JobSpec
from autoinit.errors import ModelFileError
from autoinit.model_files import ModelFile, open_model_file, save_model_file
from autoinit.model_files.saving import compile_as_recorded
from autoinit.report import Finding
from probes.devices import find_device

Progress = Callable[[float, str], None]


def run(spec: JobSpec, folder: Path, progress: Progress) -> None:
    """Analyse a model; leave `result.json` and the re-initialised model in `folder`.

    Args:
        spec: which model, which settings.
        folder: where results go; it exists.
        progress: told the share done and what is being done.

    Raises:
        ModelFileError: for a file or sample that is refused.
        GraphError: for a model without a graph of layers.
        ValueError: for settings that this machine cannot follow, such as a GPU that is not there.
    """
    start = time.perf_counter()
    progress(0.0, "Reading the model")
    # Before anything runs there: memory growth is set while the device is still untouched.
    find_device(spec.settings.device)
    file = _open(spec)
    loaded = time.perf_counter()
    comparison = compare(
        file.model, spec.settings, uploaded=file.has_weights,
        progress=lambda share, stage: progress(0.05 + 0.88 * share, stage),
    )  # fmt: skip
    progress(0.93, "Saving the re-initialised model")
    findings = [*comparison.findings, *_save(file, folder)]
    timings = {"load": round(loaded - start, 4), **comparison.timings}
    timings["total"] = round(time.perf_counter() - start, 4)
    result = as_data(comparison, file, spec, findings, timings)
    (folder / "result.json").write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
    progress(1.0, "Done")


def as_data(
    comparison: Comparison,
    file: ModelFile,
    spec: JobSpec,
    findings: list[Finding],
    timings: dict[str, float],
) -> dict[str, Any]:
    """A result file's contents."""
    graph, model = comparison.graph, file.model
    return {
        "schema": 1,
        "model": {
            "name": spec.name,
            "format": file.format,
            "keras_version": file.keras_version,
            "layers": len(graph.layers()),
            "calls": len(graph.calls),
            "parameters": int(model.count_params()),
            "sha256": file.sha256,
            "inputs": [
                {
                    "name": call.path,
                    "shape": list(call.outputs[0].shape),
                    "dtype": call.outputs[0].dtype,
                }
                for call in graph.inputs
            ],
            "compiled": bool(model.compiled),
        },
        "settings": {**asdict(spec.settings), "batch_size": comparison.batch_size},
        "device": asdict(comparison.device),
        "series": [
            name for name in ("default", "autoinit", "uploaded") if name in comparison.probes
        ],
        "timings": timings,
        "calls": calls_as_data(comparison),
        "warnings": [finding.as_dict() for finding in findings],
    }


def _open(spec: JobSpec) -> ModelFile:
    custom = _custom_objects(spec.settings.custom_objects)
    if not spec.is_sample:
        return open_model_file(spec.model, custom, name=spec.name)
    from sample_models import build

    try:
        model = build(spec.model.partition(":")[2])
    except ValueError as error:
        raise ModelFileError("unknown_sample", str(error)) from error
    return ModelFile(model, "sample", keras.__version__, "", False, None)


def _custom_objects(module: str | None) -> dict[str, Any]:
    """The public classes and functions of the operator's module, by name."""
    if module is None:
        return {}
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"The custom objects' module {module!r} cannot be imported: {error}."
        ) from error
    return {
        name: member
        for name, member in vars(imported).items()
        if not name.startswith("_") and (inspect.isclass(member) or inspect.isfunction(member))
    }


def _save(file: ModelFile, folder: Path) -> list[Finding]:
    findings = [*compile_as_recorded(file.model, file)]
    findings += save_model_file(file.model, folder / "reinitialized.keras")
    if file.format == "h5":
        findings += save_model_file(file.model, folder / "reinitialized.h5")
    return findings
