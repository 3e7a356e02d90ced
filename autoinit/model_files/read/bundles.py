"""Several files in one zip archive: architecture and weights, model and layers, a folder."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
from h5py import h5a, h5g

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.archives import Archive, open_archive
from autoinit.model_files.read.hdf5 import quoted, refusing_damage
from autoinit.model_files.read.tensorflow_files import (
    from_saved_model,
    from_tensorflow_js,
    saved_models,
)

_ZIP = b"PK\x03\x04"
_CONFIG, _METADATA = "config.json", "metadata.json"
# What Keras writes into an archive.
_OF_KERAS = re.compile(rf"{_CONFIG}|{_METADATA}|model\.weights\.h5|assets/.+", re.DOTALL)
_HDF5 = (".h5", ".hdf5", ".hdf")
# Archives that are something else, unless we packed them.
_OTHER = re.compile(r"(.*/)?(data\.pkl|word/.*|xl/.*)|.*\.npy|config\.json")
PACKED = "parts/"
_HIDDEN = re.compile(r"(.*/)?(\.|__MACOSX).*|.*/")
_MODULE = re.compile(r"(.*/)?([A-Za-z_]\w{0,99})\.py")
_ARCHITECTURE = re.compile(rb'"(class_name|modelTopology)"|\\"class_name\\"')


@dataclass(frozen=True)
class Parts:
    """The files that a model comes in.

    Attributes:
        model: the architecture, or all of it.
        name: what errors call that.
        weights: a file of weights alone, that go with it.
        code: modules that came with it, which nobody runs unasked.
    """

    model: Path
    name: str
    weights: Path | None = None
    code: tuple[Path, ...] = ()


def parts_of(path: Path, name: str, budgets: Budgets, folder: Path) -> Parts:
    """The files of a zip archive of several, unpacked under names of ours; else the file itself.

    Args:
        path: of the archive, or of any other file.
        name: what errors call it.
        budgets: the limits.
        folder: where to unpack.

    Raises:
        ModelFileError: for an archive that is refused, or holds several models.
    """
    if not path.is_file() or not _begins(path, _ZIP):
        return Parts(path, name)
    with open_archive(path, name, budgets, "a packing program") as archive:
        members = [member for member in archive.names if not _HIDDEN.fullmatch(member)]
        ours = all(member.startswith(PACKED) for member in members)
        unpacked = [] if _CONFIG in members else _unpacked_archives(archive, members)
        if unpacked:
            _require_one([(path, base) for base in unpacked], "models", name)
            code = tuple(_modules(archive, members, folder))
            return Parts(_packed_again(archive, unpacked[0], members, folder), name, code=code)
        # One layer of a Keras archive may be a SavedModel.
        saved = [] if _CONFIG in members else saved_models(members)
        if not ours and not saved and any(map(_OTHER.fullmatch, members)):
            return Parts(path, name)
        code = tuple(_modules(archive, members, folder))
        if saved:
            _require_one([(path, base or "/") for base in saved], "SavedModels", name)
            model = from_saved_model(archive, saved[0], name, budgets, folder)
            return Parts(model, name, code=code)
        found = [*_models(archive, members, name, budgets, folder)]
    whole = [(file, member) for file, member, kind in found if kind == "whole"]
    models = whole or [(file, member) for file, member, kind in found if kind == "architecture"]
    weights = [(file, member) for file, member, kind in found if kind == "weights"]
    models = models or weights[:1]
    if not models:
        return Parts(path, name)
    _require_one(models, "models", name)
    if whole or models == weights[:1]:
        weights = []
    _require_one(weights, "files of weights", name)
    file, member = models[0]
    return Parts(file, member.rpartition("/")[2], weights[0][0] if weights else None, code)


def _unpacked_archives(archive: Archive, members: Sequence[str]) -> list[str]:
    """The folders, each with its slash, in which a `.keras` archive was unpacked."""
    bases = [member.removesuffix(_CONFIG) for member in members if member.endswith(f"/{_CONFIG}")]
    whole = [base for base in bases if f"{base}{_METADATA}" in members]
    return [base for base in whole if _ARCHITECTURE.search(archive.read(f"{base}{_CONFIG}"))]


def _packed_again(archive: Archive, base: str, members: Sequence[str], folder: Path) -> Path:
    """The archive that a folder in another was unpacked from: what Keras writes, and no more."""
    target = folder / "unpacked.keras"
    with zipfile.ZipFile(target, "w") as packed:
        for member in members:
            name = member.removeprefix(base)
            if name != member and _OF_KERAS.fullmatch(name):
                with packed.open(name, "w", force_zip64=True) as copy:
                    archive.copy(member, copy)
    return target


def _begins(path: Path, signature: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(signature)) == signature


def is_legacy(path: Path, name: str) -> bool:
    """Whether a file of weights alone has them by layers, as `save_weights` of Keras 2 wrote it."""
    return _has(path, name, b"layer_names")


def _require_one(found: Sequence[tuple[Path, str]], what: str, name: str) -> None:
    if len(found) > 1:
        listed = ", ".join(quoted(member) for _, member in found[:3])
        raise ModelFileError(
            "bad_configuration", f"{quoted(name)} holds {len(found)} {what}, {listed}: give one."
        )


def _modules(archive: Archive, members: Sequence[str], folder: Path) -> Iterator[Path]:
    for member in members:
        if module := _MODULE.fullmatch(member):
            target = folder / f"{module[2]}.py"
            target.write_bytes(archive.read(member))
            yield target


def _models(
    archive: Archive, members: Sequence[str], name: str, budgets: Budgets, folder: Path
) -> Iterator[tuple[Path, str, str]]:
    """The files that hold a model or a part of one: where they are now, their names, and what."""
    for number, member in enumerate(members):
        suffix = Path(member).suffix.lower()
        if suffix not in (".json", ".keras", *_HDF5):
            continue
        target = folder / f"part-{number}{suffix}"
        with target.open("wb") as copy:
            archive.copy(member, copy)
        if suffix == ".json":
            if not _ARCHITECTURE.search(target.read_bytes()):
                continue
            made = target.with_suffix(".h5")
            browser = from_tensorflow_js(archive, member, name, budgets, made)
            yield (made, member, "whole") if browser else (target, member, "architecture")
        elif suffix == ".keras":
            yield target, member, "whole"
        else:
            whole = _has(target, member, b"model_config")
            yield target, member, "whole" if whole else "weights"


def _has(path: Path, name: str, attribute: bytes) -> bool:
    with refusing_damage(name), h5py.File(path, "r") as file:
        return bool(h5a.exists(h5g.open(file.id, b"/"), attribute))
