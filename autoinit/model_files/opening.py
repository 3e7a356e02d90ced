"""From a file to a model: read as data, checked, held against budgets, and only then rebuilt."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from autoinit.errors import ModelFileError
from autoinit.findings import Finding
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.check.checking import check
from autoinit.model_files.check.substitutes import substituted
from autoinit.model_files.code_faults import fault
from autoinit.model_files.keras2.vocabulary import ADDONS
from autoinit.model_files.read.hdf5 import ArraysFile, quoted
from autoinit.model_files.read.reading import FileRecord, read_model_file
from autoinit.model_files.read.signatures import SAVE_WHOLE
from autoinit.model_files.rebuilding import rebuild_keras3, refusals
from autoinit.model_files.trusted import drop_untaken, keras_of_part, lambda_of, modules_with
from autoinit.model_files.weights.loading import LoadedWeights, load_weights, open_weights
from autoinit.model_files.weights.stored_shapes import stored_shapes

Pair = tuple[Any, Any]


@dataclass(frozen=True)
class ModelFile:
    """A model and what its file says of it.

    Attributes:
        model: of Keras 3, rebuilt or translated, not compiled.
        record: what the file says.
        sha256: of the file's bytes.
        findings: what was replaced, translated or found in the weights.
        original: the model as the file's own Keras rebuilt it: `model` itself, or one of tf_keras.
        weights: where its weights lie in the file; None where none came with it.
        layer_pairs: for a file of Keras 2, its layers and those of `model` that stand for them.
        native: whether Keras 3 has all of the model's parts, so that it can be saved as `.keras`.
        foreign: whether the file names parts of its own that Keras's stand in for here.
    """

    model: Any
    record: FileRecord
    sha256: str
    findings: tuple[Finding, ...]
    original: Any
    weights: LoadedWeights | None = None
    layer_pairs: Sequence[Pair] = ()
    native: bool = True
    foreign: bool = False

    @property
    def has_weights(self) -> bool:
        """Whether weights came with the file."""
        return self.weights is not None


def open_model_file(
    path: str | Path,
    custom_objects: Mapping[str, Any] | None = None,
    name: str | None = None,
    budgets: Budgets | None = None,
    treat_as: Sequence[str] = (),
    weights: Path | None = None,
    trusted: bool = False,
    code: Sequence[Path] = (),
) -> ModelFile:
    """Rebuild the model of a `.keras`, `.h5`/`.hdf5` or JSON file; its extension does not matter.

    Args:
        path: of the file.
        custom_objects: classes and functions that the model needs, by name. Nothing in the file
            itself can make code run.
        name: what errors call the file; its name on disk by default.
        budgets: the limits; by default those of the environment.
        treat_as: `NAME=KERAS_NAME` for parts of the file that Keras's own are to stand in for.
        weights: a file of weights alone, that go with an architecture.
        trusted: whether the code in the file, and in `code`, is to be run.
        code: files of Python that came with it.

    Raises:
        ModelFileError: with a code and one sentence, for a file that is refused.
        ValueError: for a `treat_as` that Keras has nothing for.

    Example:
        >>> from autoinit.model_files.opening import open_model_file
        >>> from sample_models import FILES_FOLDER
        >>> file = open_model_file(FILES_FOLDER / "small-mlp.h5")
        >>> file.has_weights, len(file.model.weights)
        (True, 14)
    """
    path = Path(path)
    budgets = budgets or Budgets.from_environment()
    record = read_model_file(path, name or path.name, budgets, weights)
    if trusted:
        return _open_trusted(record, custom_objects or {}, budgets, treat_as, code)
    return _open(record, custom_objects or {}, budgets, treat_as)


def _open_trusted(
    record: FileRecord,
    custom_objects: Mapping[str, Any],
    budgets: Budgets,
    treat_as: Sequence[str],
    code: Sequence[Path],
) -> ModelFile:
    """The model with its own code; without that where it fails."""
    own, findings = modules_with(record.config_text, record.keras, code)
    has_lambda = '"Lambda"' in record.config_text
    known = {**custom_objects, **own}
    added = {"Lambda": lambda_of(record.keras, known)} if has_lambda else {}
    try:
        file = _open(record, {**known, **added}, budgets, treat_as)
    except ModelFileError as error:
        failed = [finding.message for finding in findings if finding.code == "code_not_run"]
        if own or added:
            cause = error.__cause__ if error.code == "cannot_rebuild" else None
            why = f"{error}" if cause is None else f"{fault(cause, code)}."
            failed.append(f"The code that came with the file could not be run: {why}")
        if not failed:
            raise
        told = Finding("code_not_run", "", "", failed[-1])
        return _open_without(error, told, record, custom_objects, budgets, treat_as)
    if added:
        message = "The code in the file's Lambda layers was run, as you asked."
        findings = (*findings, Finding("ran_code", "", "", message))
    return replace(file, findings=(*file.findings, *findings), foreign=bool(own or added))


def _open_without(
    error: ModelFileError, told: Finding, record: FileRecord, *given: Any
) -> ModelFile:
    """The model without its own code, and what is told of that; one that is code is refused."""
    try:
        file = _open(record, *given)
    except ModelFileError as other:
        if other.code != "no_graph":
            raise
        message = f"{told.message} Without it there is no model: it is of a class of its own."
        raise ModelFileError(error.code, message) from error
    return replace(file, findings=(*file.findings, told))


def _open(
    record: FileRecord, custom_objects: Mapping[str, Any], budgets: Budgets, treat_as: Sequence[str]
) -> ModelFile:
    custom, unused = _of_keras(record, custom_objects)
    treated = substituted(record, treat_as, custom)
    custom |= treated.custom
    taken = replace(record, config=treated.config)
    with contextlib.ExitStack() as stack:
        arrays = None
        if record.has_weights:
            held = record.weights or record.path
            found = open_weights(held, record.weights_format, record.name, budgets)
            arrays = stack.enter_context(found)
        shapes = stored_shapes(arrays.arrays if arrays else {}, taken.config, record.weights_format)
        addons = _of_addons(record, custom)
        checked = check(taken, budgets, {*custom, *addons}, shapes)
        drop_untaken(checked.config, custom)
        with refusals():
            if record.keras == 2:
                file = _open_keras2(record, checked.config, custom, budgets, arrays, addons)
            else:
                file = _open_keras3(record, checked.config, custom, budgets, arrays)
    stands_in = any(finding.code.startswith("opaque") for finding in checked.findings)
    return replace(
        file,
        sha256=_sha256(record.path),
        findings=_each_once(
            (*checked.findings, *file.findings, *unused, *treated.findings, *_told(addons))
        ),
        native=file.native and not stands_in,
        foreign=taken.config is not record.config or bool(addons),
    )


def _open_keras3(
    record: FileRecord,
    config: dict[str, Any],
    custom: dict[str, Any],
    budgets: Budgets,
    arrays: ArraysFile | None,
) -> ModelFile:
    undrawn: list[Pair] = []
    _record_functions(bool(custom))
    model = rebuild_keras3(config, custom, budgets, undrawn if arrays else None)
    if not isinstance(model, keras.Model):
        raise ModelFileError(
            "not_a_model", f"The file holds a {type(model).__name__}, not a model. {SAVE_WHOLE}"
        )
    weights = _load(model, record, budgets, arrays)
    for variable, initializer in undrawn:
        if weights is None or not weights.holds(variable):
            variable.assign(initializer(variable.shape, dtype=variable.dtype))
    return ModelFile(model, record, "", weights.findings if weights else (), model, weights)


def _record_functions(wanted: bool) -> None:
    """Whether code of the file's owner, when it is traced, may call TensorFlow's functions."""
    module = "autoinit.model_files.tensorflow_calls"
    if keras.backend.backend() != "tensorflow" or not (wanted or module in sys.modules):
        return
    # It imports tf_keras, which takes seconds; without that, such calls are not followed.
    with contextlib.suppress(ImportError):
        importlib.import_module(module).record_functions(wanted)


def _open_keras2(
    record: FileRecord,
    config: dict[str, Any],
    custom: dict[str, Any],
    budgets: Budgets,
    arrays: ArraysFile | None,
    addons: Sequence[str],
) -> ModelFile:
    _require_tf_keras(record.name)
    # tf_keras takes seconds to import, and most files do without it.
    from autoinit.model_files.keras2.building import build_keras2, fold_kernels, graph_of, of_addons
    from autoinit.model_files.keras2.translation import translate

    original = build_keras2(config, {**custom, **of_addons(addons)}, budgets)
    graph = graph_of(original, config.get("build_config"), budgets)
    weights = _load(original, record, budgets, arrays)
    fold_kernels(original)
    translation = translate(graph, draw=weights is None)
    findings = (*(weights.findings if weights else ()), *translation.findings)
    masks = {id(variable): mask for variable, mask in (weights.masks if weights else ())}
    for layer, other in translation.layers if masks else ():
        for own, new in zip(layer.weights, other.weights, strict=False):
            if id(own) in masks and masks[id(own)].shape == tuple(new.shape):
                new.pruning_mask = masks[id(own)]
    return ModelFile(
        translation.model,
        record,
        "",
        findings,
        original,
        weights,
        translation.layers,
        translation.native,
    )


def _of_addons(record: FileRecord, custom: Mapping[str, Any]) -> list[str]:
    """The parts of TensorFlow Addons in a file that have equals here, unless they are given."""
    known = sorted(ADDONS - custom.keys()) if record.keras == 2 else []
    return [name for name in known if json.dumps(name) in record.config_text]


def _told(addons: Sequence[str]) -> Iterator[Finding]:
    if addons:
        names = ", ".join(name.partition(">")[2] for name in addons)
        message = (
            f"Parts of TensorFlow Addons ({names}) are run here by what they are documented to "
            "compute; the copy of your file keeps them."
        )
        yield Finding("treated_as", "", "", message)


def _require_tf_keras(name: str) -> None:
    """What Keras 2 wrote is rebuilt by its successor, which knows TensorFlow alone."""
    backend = keras.backend.backend()
    written = f"{quoted(name)} was written by Keras 2, which tf_keras rebuilds on TensorFlow"
    if backend != "tensorflow":
        raise ModelFileError(
            "cannot_rebuild",
            f"{written}, and Keras runs on {backend} here: set KERAS_BACKEND=tensorflow, or save "
            "the model again with Keras 3.",
        )
    if importlib.util.find_spec("tf_keras") is None:
        raise ModelFileError(
            "cannot_rebuild",
            f"{written}, and tf_keras is not installed: install tf-keras, or save the model again "
            "with Keras 3.",
        )


def _load(
    model: Any, record: FileRecord, budgets: Budgets, arrays: ArraysFile | None
) -> LoadedWeights | None:
    if arrays is None:
        return None
    path = record.weights or record.path
    return load_weights(model, path, record.weights_format, record.name, budgets, arrays)


def _each_once(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """One reason is enough for there being no file for Keras 3."""
    keys = {(f.code, "" if f.code == "not_convertible" else f.path): f for f in reversed(findings)}
    return tuple(finding for finding in findings if finding in keys.values())


def _of_keras(
    record: FileRecord, custom: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """The operator's classes and functions that a file's Keras can run, by what it may call them.

    Returns:
        With a finding where the file names others.
    """
    fitting: dict[str, Any] = {}
    others: list[str] = []
    for name, part in custom.items():
        kind = keras_of_part(part, record.keras)
        registered = [keras.saving.get_registered_name(part)]
        if "tf_keras" in sys.modules:  # else it can have registered nothing there
            registered.append(sys.modules["tf_keras"].saving.get_registered_name(part))
        names = {name, *(each for each in registered if isinstance(each, str))}
        if kind == record.keras:
            fitting |= dict.fromkeys(names, part)
        elif any(json.dumps(each) in record.config_text for each in names):
            others.append(name)
    if not others:
        return fitting, ()
    written = "tf_keras, for files of Keras 2" if record.keras == 3 else "Keras 3"
    return fitting, (
        Finding(
            "custom_objects_unused",
            "",
            "",
            f"The file is of Keras {record.keras}, and {', '.join(map(repr, others[:3]))} of your "
            f"custom objects are made for {written}: they are not used.",
        ),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
