"""Probes: what really happens to a signal, measured.

from probes import probe_model
measurement = probe_model(model, num_samples=128)
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "probe_model": "probes.forward",
    "Probe": "probes.forward",
    "probe_gradients": "probes.gradients",
    "Gradients": "probes.gradients",
    "probe_jacobian": "probes.jacobian",
    "probe_fisher": "probes.fisher",
    "FisherInformation": "probes.fisher",
    "probe_formats": "probes.formats",
    "FormatEffects": "probes.formats",
    "CompiledPasses": "probes.segments",
    "Moments": "probes.moments.figures",
    "Spread": "probes.moments.spread",
    "spread_of": "probes.moments.spread",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
