"""The re-initialised model in the formats that a finished job offers, the original's first."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.analysis.headline import changed
from app.analysis.result import Result
from app.analysis.trials.result import TrialResult
from app.jobs.folders import REINITIALIZED_H5, REINITIALIZED_KERAS

# What a job leaves that does not list its downloads, as jobs once did not.
UNLISTED = ((REINITIALIZED_KERAS, "Re-initialised model, .keras"), (REINITIALIZED_H5, "As .h5"))
SUFFIXES = {".hdf5": ".h5"}  # which mean the same


@dataclass(frozen=True)
class OfferedFile:
    """A model file to take home.

    Args:
        path: where it lies.
        label: what it is, in a few words.
        note: what to know about it, or an empty string.
    """

    path: Path
    label: str
    note: str = ""

    @property
    def suffix(self) -> str:
        """Which format it is in, such as `.keras`."""
        return self.path.suffix


def downloads(result: Result | TrialResult, folder: Path) -> list[OfferedFile]:
    """The model files that lie in a finished job's folder."""
    if result.downloads is not None:
        listed = [
            OfferedFile(folder / Path(entry.file).name, entry.label, entry.note)
            for entry in result.downloads
        ]
    else:
        listed = [OfferedFile(folder / name, label) for name, label in UNLISTED]
    return [each for each in listed if each.path.is_file() and not each.path.is_symlink()]


def in_format(offered: Sequence[OfferedFile], suffix: str) -> OfferedFile | None:
    """The first one in the format that a suffix stands for."""
    wanted = SUFFIXES.get(suffix, suffix)
    return next((download for download in offered if download.suffix == wanted), None)


def file_stem(result: Result) -> str:
    """The model's name as the start of a file's name that is safe everywhere."""
    stem = re.sub(r"\.(keras|h5|hdf5|json)$", "", result.model.name, flags=re.IGNORECASE)
    stem = "-".join(
        [stem, *(each.removesuffix(" normalization") for each in changed(result.settings))]
    )
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:60]
    return (stem or "model") + "-autoinit"
