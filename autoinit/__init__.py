"""AutoInit: signal-preserving weight initialisation for Keras models.

    from autoinit import AutoInit
    model = AutoInit().initialize_model(model)

The public names are imported when they are first used. `AutoInitializer`, `CenteredUnitNorm` and
`WeightedSum` are the exceptions: Keras finds them in a saved model only if they have been
registered, so that `import autoinit` must do it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
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
    "manifest": "autoinit.manifest",
    "variants": "autoinit.variants",
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
    "manifest",
    "probes",
    "variants",
    "wrap_addition",
]


def __getattr__(name: str) -> Any:
    if name == "probes":
        # A statement: the wheel's build writes the name into it that the package has there.
        import probes

        return probes
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_PUBLIC[name])
    return module if _PUBLIC[name] == f"{__name__}.{name}" else getattr(module, name)


class _FormerName(MetaPathFinder, Loader):
    """Finds `probes`, as the wheel called it once, where nobody else's package is called so."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name == "probes" and importlib.util.find_spec("autoinit_probes"):
            return importlib.util.spec_from_loader(name, self)
        return None

    def create_module(self, spec: Any) -> Any:
        return importlib.import_module("autoinit_probes")

    def exec_module(self, module: Any) -> None:
        """It has been run."""


sys.meta_path.append(_FormerName())
