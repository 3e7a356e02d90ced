"""The manifest beside a re-initialised model: what was done to each variable, and with what."""

from __future__ import annotations

import importlib
import platform
from typing import Any

import keras
import numpy as np

from app.analysis.comparison.found import Comparison
from app.analysis.job_spec import program_version
from app.analysis.result import Result
from autoinit.manifest import variables_as_data


def manifest(comparison: Comparison, model: Any, result: Result) -> dict[str, Any]:
    """Plain data: `autoinit.manifest.differing` checks a model against it.

    The same program does it again from the model named here with the settings that stand here: the
    kernels' seeds follow from the one seed, in the order of the plans.

    Args:
        comparison: what was found; its model has AutoInit's weights of the first draw.
        model: that model.
        result: of the job, as it will be written.
    """
    backend = keras.backend.backend()
    return {
        "schema": 1,
        "program": program_version(),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "backend": backend,
            backend: importlib.import_module(backend).__version__,
            "numpy": np.__version__,
        },
        "model": result.model.model_dump(mode="json", exclude_unset=True),
        "settings": result.settings.by_name,
        "variables": variables_as_data(
            model, comparison.scales, comparison.distribution, result.settings.seed, comparison.kept
        ),
    }
