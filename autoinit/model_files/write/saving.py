"""What people take home: their own file with new kernels, and the model for Keras 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from autoinit.findings import Finding
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.opening import ModelFile
from autoinit.model_files.write.compiling import compile_as_recorded
from autoinit.model_files.write.patching import save_patched_copy
from autoinit.rules.registry import KernelScale

STEM = "reinitialized"
_SUFFIXES = {"keras": ".keras", "h5": ".h5", "json": ".json"}


@dataclass(frozen=True)
class Download:
    """A file to take home.

    Attributes:
        file: its name in the folder that it was saved to.
        label: what it is.
        note: what to know of it; may be empty.
    """

    file: str
    label: str
    note: str


def save_reinitialized(
    file: ModelFile,
    plans: Sequence[KernelScale],
    folder: Path,
    budgets: Budgets,
    kernels_only: bool = True,
) -> tuple[tuple[Download, ...], tuple[Finding, ...]]:
    """Save a re-initialised model: in the format that it came in, and as `.keras` for Keras 3.

    Args:
        file: whose model has the new weights.
        plans: the kernels that were drawn.
        folder: where to write; it exists.
        budgets: the limits.
        kernels_only: whether the other weights are as they were in the file.

    Returns:
        What was saved, the file's own format first, and findings where a format is not offered.
    """
    record = file.record
    # Keras opens no archive without weights, but what one holds is the text of a JSON file.
    form = record.format if file.has_weights or record.format != "keras" else "json"
    name = f"{STEM}{_SUFFIXES[form]}"
    findings: list[Finding] = []
    if form != "h5" or _lists_layers(record.config):  # others no Keras opens
        findings += save_patched_copy(
            record,
            file.original,
            file.weights,
            plans,
            folder / name,
            budgets,
            file.layer_pairs,
            kernels_only,
        )
    downloads = []
    copied = (folder / name).is_file()
    if copied:
        label = f"Your file, re-initialised, {Path(name).suffix}"
        downloads.append(Download(name, label, _own(file, kernels_only)))
    is_keras3_archive = record.keras == 3 and form == "keras"
    if copied and is_keras3_archive:
        return tuple(downloads), tuple(findings)
    if file.native:
        findings += compile_as_recorded(file.model, record.compile_settings)
        taken = name == f"{STEM}.keras"
        downloads.append(save_model(file.model, folder, f"{STEM}-keras3.keras" if taken else None))
    elif not any(finding.code == "not_convertible" for finding in file.findings):
        findings.append(_not_convertible())
    return tuple(downloads), tuple(findings)


def save_variant(
    file: ModelFile, model: Any, folder: Path
) -> tuple[tuple[Download, ...], tuple[Finding, ...]]:
    """Save what was made of a file's model, as `.keras` for Keras 3.

    Args:
        file: that it was made of.
        model: the variant.
        folder: where to write; it exists.

    Returns:
        As `save_reinitialized` does.
    """
    if not file.native:
        return (), (_not_convertible(),)
    findings = compile_as_recorded(model, file.record.compile_settings)
    return (save_model(model, folder),), findings


def save_model(model: Any, folder: Path, name: str | None = None) -> Download:
    """Save a model of Keras 3 as `.keras`."""
    name = name or f"{STEM}.keras"
    model.save(folder / name)
    return Download(
        name, "Re-initialised model, .keras", f"Opens with Keras {keras.__version__} or later."
    )


def _lists_layers(config: Mapping[str, Any]) -> bool:
    """Whether a model is one of layers, not of a class of its own."""
    inner = config.get("config")
    return isinstance(inner, list) or (isinstance(inner, dict) and "layers" in inner)


def _own(file: ModelFile, kernels_only: bool) -> str:
    record = file.record
    version = record.keras_version or str(record.keras)
    kept = "Only weights and kernels' initialisers were changed"
    if kernels_only:
        kept = "Only kernels and their initialisers were changed"
    if record.of_keras1:  # it names initialisers without their scales
        kept = "Only kernels were changed" if file.has_weights else "Nothing was changed"
    weights = "" if file.has_weights else "; it holds no weights, which are drawn when it is built"
    return f"For Keras {version}, as your file. {kept}{weights}."


def _not_convertible() -> Finding:
    return Finding(
        "not_convertible",
        "",
        "",
        "No .keras file for Keras 3 is offered: parts of the model were not rebuilt. The copy of "
        "your own file, where there is one, holds them unchanged.",
    )
