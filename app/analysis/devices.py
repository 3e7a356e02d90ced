"""Which kind of device a job is for, as far as one can tell without a framework."""

from __future__ import annotations

import os
from pathlib import Path


def device_kind(device: str) -> str:
    """`cpu` or `gpu`, each with its own queue: `auto` means the GPU where there is one.

    Args:
        device: as in the settings: `auto`, `cpu` or `gpu`.
    """
    if device != "auto":
        return device
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return "gpu" if not hidden and any(Path("/dev").glob("nvidia[0-9]*")) else "cpu"
