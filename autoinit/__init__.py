"""AutoInit: signal-preserving weight initialisation for Keras models.

    from autoinit import AutoInit
    model = AutoInit().initialize_model(model)

The public names are imported when they are first used. `AutoInitializer`, `CenteredUnitNorm` and
`WeightedSum` are the exceptions: Keras finds them in a saved model only if they have been
registered, so that `import autoinit` must do it.
"""

from __future__ import annotations

import importlib
from typing import Any

from autoinit.constraints import CenteredUnitNorm
from autoinit.initializers.waiting import AutoInitializer
from autoinit.weighted_sum import WeightedSum

_PUBLIC = {
    "wrap_addition": "autoinit.initializers.additions",
    "AutoInit": "autoinit.initializers.autoinit",
    "AutoInitVisualizer": "autoinit.visualizer",
    "batch": "autoinit.batch",
    "callbacks": "autoinit.callbacks",
    "check": "autoinit.verdict",
    "LayerOutputDistributionEstimator": "autoinit.rules.estimators",
}

__all__ = [
    "AutoInit",
    "AutoInitVisualizer",
    "AutoInitializer",
    "CenteredUnitNorm",
    "LayerOutputDistributionEstimator",
    "WeightedSum",
    "batch",
    "callbacks",
    "check",
    "wrap_addition",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_PUBLIC[name])
    return module if _PUBLIC[name] == f"{__name__}.{name}" else getattr(module, name)
