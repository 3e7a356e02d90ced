"""The Python that does an analysis again with the library."""

from typing import Any

Result = dict[str, Any]

# Settings of `AutoInit` that a result has by the same name, and what they are if nobody says.
_CONFIGURED = {
    "distribution": "truncated_normal",
    "signal_model": "correlated",
    "unsupported": "pass_through",
    "constrain_weights": False,
    "keep_frozen": False,
}


def snippet(result: Result) -> str:
    """A program that draws the same kernels and measures the same figures.

    Names from the file stand in it as Python writes text, whatever they hold.
    """
    settings, model = result["settings"], result["model"]
    name = model["name"]
    if model["format"] == "sample":
        imports, opening = "from sample_models import build", f"model = build({name!r})"
    else:
        imports, opening = "import keras", f"model = keras.models.load_model({name!r})"
    config = {"seed": settings["seed"]}
    config |= {key: settings[key] for key, usual in _CONFIGURED.items() if settings[key] != usual}
    named = settings.get("input_moments") or {}
    mean = {key: pair[0] for key, pair in named.items()} or settings["input_mean"]
    variance = {key: pair[1] for key, pair in named.items()} or settings["input_variance"]
    return f"""{imports}

from autoinit import AutoInit
from probes import probe_model

{opening}
autoinit = AutoInit(
    {config!r},
    input_data_mean={mean!r},
    input_data_var={variance!r},
    signal_variance={settings["signal_variance"]!r},
)
better = autoinit.initialize_model(model)
figures = probe_model(
    better,
    num_samples={settings["samples"]!r},
    seed={settings["seed"]!r},
    input_mean={mean!r},
    input_variance={variance!r},
    training={(settings["mode"] == "training")!r},
    unknown_size={settings["input_size"]!r},
)
for path, moments in figures.items():
    print(path, moments.variance)
better.save("reinitialized.keras")
"""
