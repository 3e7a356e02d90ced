"""A copy of a model file with new kernels: everything else in it stays as it was.

What the analysis could not rebuild, layers of other people and the settings of training, is still
there, for none of it was rebuilt: only the arrays of the planned kernels, the entries of their
initialisers in the text of the configuration, and the optimizer's moments are written anew.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from autoinit.arrays import as_array
from autoinit.constraints import CenteredUnitNorm
from autoinit.errors import ModelFileError
from autoinit.findings import Finding
from autoinit.graph.keras_internals import layers_in
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read import json_text
from autoinit.model_files.read.archives import open_archive, refusing_damaged_archive
from autoinit.model_files.read.hdf5 import StoredArray, quoted, refusing_damage
from autoinit.model_files.read.reading import FileRecord
from autoinit.model_files.rebuilding import shear_factors
from autoinit.model_files.weights.loading import MEMBER, LoadedWeights
from autoinit.model_files.weights.weight_owners import shape_of
from autoinit.model_files.write.entries import changed_arguments, entries_of
from autoinit.model_files.write.optimizer_state import reset_optimizers
from autoinit.model_files.write.writing import open_for_writing
from autoinit.rules.kernels import Kernel
from autoinit.rules.registry import KernelScale

CONFIG = "config.json"
_PIECE_BYTES = 2**20
# Members near 2 GiB have another kind of entry in an archive.
_LARGE_BYTES = 2**30
LayerPairs = Sequence[tuple[Any, Any]]


@dataclass(frozen=True)
class _Patch:
    """What changes in a file.

    Attributes:
        text: the whole configuration.
        arrays: the kernels' arrays and their new values.
        trainable: arrays of the model's trainable weights.
    """

    text: str
    arrays: Sequence[tuple[StoredArray, Any]]
    trainable: Sequence[StoredArray | None]


def save_patched_copy(
    record: FileRecord,
    model: Any,
    weights: LoadedWeights | None,
    plans: Sequence[KernelScale],
    path: Path,
    budgets: Budgets,
    layer_pairs: LayerPairs = (),
    kernels_only: bool = True,
) -> tuple[Finding, ...]:
    """Copy a model file with the kernels that were drawn, and their initialisers.

    Args:
        record: of the file.
        model: as the file's own Keras rebuilt it.
        weights: what was loaded into it; None where the file has none.
        plans: of the kernels, applied: their layers have the new initialisers, their variables the
            new values.
        path: where to write the copy, in a folder of this process's own.
        budgets: the limits.
        layer_pairs: for a model of Keras 2, its layers and those of Keras 3 that stand for them,
            which the plans are about.
        kernels_only: whether the other weights are as they were in the file.

    Returns:
        Findings. No copy is written where one of them has the code `not_patched`.
    """
    originals = {id(other): layer for pair in layer_pairs for layer, other in with_parts(*pair)}
    findings: list[Finding] = []
    try:
        entries = entries_of(model, record.config)
        inner = {
            id(plan.kernel.layer)
            for plan in plans
            if id(originals.get(id(plan.kernel.layer), plan.kernel.layer)) not in entries
        }
        patch = _planned(record, model, weights, plans, originals)
        if weights is not None and not kernels_only:
            patch = replace(
                patch, arrays=[*patch.arrays, *_others(model, weights, patch, layer_pairs)]
            )
    except _NotFoundError as error:
        return (_not_patched(record, error),)
    held = [plan.path for plan in plans if weights is None and id(plan.kernel.layer) in inner]
    if record.of_keras1 and weights is None:
        findings.append(_without_scales())
    elif held:
        findings.append(_not_recorded(held))
    if record.keras == 2 and any(_constraint(plan.kernel) for plan in plans):
        findings.append(_constraint_dropped())
    try:
        with _appearing(path) as partial:
            if record.format == "json":
                _write_json(record, patch, partial)
            elif record.format == "keras" and weights is None:
                partial.write_text(patch.text, "utf-8")
            elif record.format == "h5":
                shutil.copyfile(record.path, partial)
                _change_arrays(record, patch, partial, budgets)
                with refusing_damage(record.name):
                    _change_attribute(partial, patch.text)
            else:
                _write_archive(record, patch, partial, budgets)
    except ModelFileError as error:  # damage where nothing had to be read
        return (Finding("not_patched", "", "", f"No copy of your file is offered. {error}"),)
    return tuple(findings)


def with_parts(layer: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    """A layer and its other, and the parts of theirs that go by the same name."""
    yield layer, other
    parts = {part.name: part for part in layers_in(layer, itself=False)}
    for part in layers_in(other, itself=False):
        if part.name in parts:
            yield parts[part.name], part


class _NotFoundError(Exception):
    """A kernel has no place in the file that could be changed."""

    def __init__(self, plan: KernelScale, reason: str) -> None:
        super().__init__(reason)
        self.plan = plan


def _planned(
    record: FileRecord,
    model: Any,
    weights: LoadedWeights | None,
    plans: Sequence[KernelScale],
    originals: Mapping[int, Any],
) -> _Patch:
    entries = entries_of(model, record.config)
    arguments: dict[int, dict[str, Any]] = {}
    arrays: list[tuple[StoredArray, Any]] = []
    norms = _norms(model)
    for plan in plans:
        kernel = plan.kernel
        layer = originals.get(id(kernel.layer), kernel.layer)
        # Parts of a composite layer have no entry of their own: of these only the values change.
        if id(layer) in entries and not kernel.constant:
            changes = arguments.setdefault(id(layer), {})
            name = f"{kernel.configured}_initializer"
            changes[name] = getattr(kernel.layer, name)
            if record.keras == 3 and _constraint(kernel):
                changes[f"{kernel.configured}_constraint"] = _constraint(kernel)
        if weights is not None:
            array = weights.array_of(own_variable(layer, kernel))
            if array is None or array.shape != kernel.shape:
                raise _NotFoundError(plan, "it is stored in another form")
            arrays.append((array, kernel.variable))
            norm = weights.array_of(norms.get(id(own_variable(layer, kernel))))
            if norm is not None:
                arrays.append((norm, _norms_of(as_array(kernel.variable))))
    replacements: dict[json_text.Path, Any] = {}
    for identity, changes in arguments.items():
        replacements |= changed_arguments(record.config, entries[identity], changes, record.keras)
    if record.keras == 3:
        replacements |= shear_factors(record.config)
    # Keras 1 knows initialisers by name alone.
    replacements = {} if record.of_keras1 else replacements
    text = json_text.splice(record.config_text, replacements)
    trainable = model.trainable_variables if weights is not None else []
    return _Patch(text, arrays, [weights.array_of(own) if weights else None for own in trainable])


def _norms(model: Any) -> dict[int, Any]:
    """The variables that scale kernels of a Keras 2 model, by the identities of these kernels."""
    pairs = [
        part.kernel_and_norms for part in layers_in(model) if hasattr(part, "kernel_and_norms")
    ]
    return {id(kernel): norms for kernel, norms in pairs}


def _norms_of(kernel: NDArray[Any]) -> NDArray[Any]:
    """Of each unit's weights."""
    columns = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    norms: NDArray[Any] = np.sqrt(np.square(columns).sum(axis=0))
    return norms


def _others(
    model: Any, weights: LoadedWeights, patch: _Patch, layer_pairs: LayerPairs
) -> Iterator[tuple[StoredArray, Any]]:
    """The arrays of all other numbers that a scheme may have changed, and the new ones."""
    written = {id(array) for array, _ in patch.arrays}
    pairs: Iterable[tuple[Any, Any]] = zip(model.weights, model.weights, strict=True)
    if layer_pairs:
        pairs = (
            variables
            for pair in layer_pairs
            for layer, other in with_parts(*pair)
            for variables in zip(layer.weights, other.weights, strict=False)
        )
    for own, new in pairs:
        array = weights.array_of(own)
        if array is None or id(array) in written or as_array(new).dtype.kind != "f":
            continue
        if array.shape == tuple(new.shape):
            written.add(id(array))
            yield array, new


def own_variable(layer: Any, kernel: Kernel) -> Any:
    """The kernel's variable in the layer that the file's own Keras made.

    Keras 3 and Keras 2 have two names for that of a depthwise convolution.
    """
    if layer is kernel.layer:
        return kernel.variable
    for name in (kernel.attribute, f"{kernel.configured}_kernel"):
        variable = getattr(layer, name, None)
        if variable is not None and shape_of(variable) == kernel.shape:
            return variable
    return None


def _constraint(kernel: Kernel) -> CenteredUnitNorm | None:
    constraint = getattr(kernel.layer, f"{kernel.configured}_constraint", None)
    return constraint if isinstance(constraint, CenteredUnitNorm) else None


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its name at the end, if all went well.

    In the same folder: from one to another a confined process may not move files.
    """
    partial = path.with_stem(f".{path.stem}-partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_json(record: FileRecord, patch: _Patch, path: Path) -> None:
    content = record.path.read_bytes()
    encoding = json.detect_encoding(content)
    text = patch.text
    if content.decode(encoding).lstrip().startswith('"'):  # JSON in a string of JSON
        text = json.dumps(text)
    path.write_bytes(text.encode(encoding))


def _change_arrays(record: FileRecord, patch: _Patch, path: Path, budgets: Budgets) -> None:
    if not patch.arrays:
        return
    with open_for_writing(path, record.name, budgets) as writer:
        for array, variable in patch.arrays:
            writer.write(array, as_array(variable))
        reset_optimizers(writer, record.compile_settings, patch.trainable, record.keras)


def _change_attribute(path: Path, text: str) -> None:
    """Store the configuration in the way in which it was stored."""
    with h5py.File(path, "r+") as file:
        old = file.attrs.get_id("model_config")
        kind, content = h5py.check_string_dtype(old.dtype), text.encode()

        def create(length: int | None) -> None:
            value = np.full(old.shape, content, object if length is None else f"S{length}")
            dtype = h5py.string_dtype(kind.encoding, length)
            file.attrs.create("model_config", value, dtype=dtype)

        try:
            create(None if kind.length is None else len(content))
        except OSError:  # an object's header has room for 64 KiB, and for references to more
            create(None)


def _write_archive(record: FileRecord, patch: _Patch, path: Path, budgets: Budgets) -> None:
    """Write the archive's members in their order, packed as they were."""
    with (
        tempfile.NamedTemporaryFile(dir=path.parent) as weights,
        zipfile.ZipFile(record.path) as old,
        zipfile.ZipFile(path, "w") as new,
    ):
        encoding = json.detect_encoding(old.read(CONFIG))
        changed: dict[str, IO[bytes]] = {CONFIG: io.BytesIO(patch.text.encode(encoding))}
        if patch.arrays:
            with open_archive(record.path, record.name, budgets) as archive:
                archive.copy(MEMBER, weights)
            _change_arrays(record, patch, Path(weights.name), budgets)
            weights.seek(0)
            changed[MEMBER] = weights
        new.comment = old.comment
        for info in old.infolist():
            with (
                refusing_damaged_archive(record.name),
                changed.get(info.filename) or old.open(info) as content,
            ):
                _write_member(new, info, content)


def _write_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, content: IO[bytes]) -> None:
    fresh = zipfile.ZipInfo(info.filename, info.date_time)
    for attribute in ("compress_type", "comment", "create_system", "external_attr"):
        setattr(fresh, attribute, getattr(info, attribute))
    if info.is_dir():
        archive.writestr(fresh, b"")
        return
    with archive.open(fresh, "w", force_zip64=info.file_size >= _LARGE_BYTES) as target:
        shutil.copyfileobj(content, target, _PIECE_BYTES)


def _not_recorded(paths: Sequence[str]) -> Finding:
    return Finding(
        "initializer_not_recorded",
        paths[0],
        "",
        f"The configuration has no place for the initialisers of {len(paths)} kernels inside "
        f"composite layers ({paths[0]!r} is the first): whoever builds it gets Keras's own there.",
    )


def _without_scales() -> Finding:
    return Finding(
        "initializer_not_recorded",
        "",
        "",
        "Keras 1 records initialisers by name, without their scales: the copy of your file draws "
        "as it did. Take the .keras file for Keras 3, where it is offered.",
    )


def _not_patched(record: FileRecord, error: _NotFoundError) -> Finding:
    layer = error.plan.kernel.layer
    return Finding(
        "not_patched",
        error.plan.path,
        type(layer).__name__,
        f"{quoted(record.name)} cannot be offered with new weights: of the "
        f"{error.plan.kernel.configured} of layer {quoted(error.plan.path)}, {error}.",
    )


def _constraint_dropped() -> Finding:
    return Finding(
        "constraint_dropped",
        "",
        "",
        "The copy for Keras 2 has weights that satisfy AutoInit's constraint, but not the "
        "constraint, which is for Keras 3: training will not keep them so.",
    )
