"""The Python that does an analysis again with the library."""

from typing import Any

from app.analysis.options import table
from app.analysis.result import Result
from app.analysis.settings import AS_IT_IS, Settings
from app.text.escaping import plain_text

# There is no package of it in a registry.
_INSTALL = "# Once, in the folder of this program's source: pip install ."


def snippet(result: Result, options: type[Settings] = Settings) -> str:
    """A program that draws the same kernels and measures the same figures.

    Names from the file stand in it as Python writes text, whatever they hold.

    Args:
        result: of the analysis.
        options: the table of settings, which says what `AutoInit` calls them.
    """
    settings = result.settings.by_name
    imports, opening = _opening(result)
    library = "from autoinit import AutoInit"
    for name, change in (
        ("activation", "with_activation"),
        ("normalization", "with_normalization"),
        ("offset", "with_offset"),
    ):
        value = settings.get(name, AS_IT_IS)
        if value != AS_IT_IS:
            library = "from autoinit import AutoInit, variants"
            opening += f"\nmodel = variants.{change}(model, {value!r})"
    training = settings["mode"] == "training"
    config: dict[str, Any] = {"seed": settings["seed"]} | ({} if training else {"training": False})
    for name, entry in table(options).items():
        option = entry.option
        usual = option.library_default or entry.default
        if option.library and settings.get(name, usual) != usual:
            config[option.library] = settings[name]
    # What a normalisation saw: the library takes 128 samples, if nobody says.
    batch = settings["batch_size" if "samples_asked" in settings else "samples"]
    config |= {} if batch == 128 else {"batch_size": batch}
    asked = settings.get("samples_asked", settings["samples"])
    in_batches = asked == "auto" or settings.get("batch") is not None
    together = f"\n    batch_size={batch!r}," if in_batches else ""
    samples = result.samples.get("autoinit", settings["samples"])
    named = settings.get("input_moments") or {}
    mean = {key: pair[0] for key, pair in named.items()} or settings["input_mean"]
    variance = {key: pair[1] for key, pair in named.items()} or settings["input_variance"]
    return f"""{_INSTALL}
{imports}

{library}
from probes import probe_model

{opening}{_caveat(settings)}
autoinit = AutoInit(
    {config!r},
    input_data_mean={mean!r},
    input_data_var={variance!r},
    signal_variance={settings["signal_variance"]!r},
)
better = autoinit.initialize_model(model{_in_place(result)})
figures = probe_model(
    better,
    num_samples={samples!r},{together}
    seed={settings["seed"]!r},
    input_mean={mean!r},
    input_variance={variance!r},
    training={training!r},
    unknown_size={settings["input_size"]!r},
)
for path, moments in figures.items():
    print(path, moments.variance)
better.save("reinitialized.keras")
"""


def _opening(result: Result) -> tuple[str, str]:
    """What to import, and how to come by the model."""
    model, not_run = result.model, {call.class_name for call in result.opaque_calls}
    name = model.name
    if model.format == "sample":
        return "from sample_models import build", f"model = build({name!r})"
    if model.format == "json" or model.keras == 2:
        return (
            "from autoinit.model_files import open_model_file",
            f"model = open_model_file({name!r}).model",
        )
    lines, arguments = [], repr(name)
    if "Lambda" in not_run:
        lines.append("# safe_mode=False runs the code in the file, which the page did not run.")
        arguments += ", safe_mode=False"
    own = sorted(plain_text(each) for each in not_run - {"Lambda"})
    if own:
        lines.append(f"# Classes of your own: custom_objects={{...}} with {', '.join(own)}.")
    return "import keras", "\n".join([*lines, f"model = keras.models.load_model({arguments})"])


def _in_place(result: Result) -> str:
    """A copy would need leave to run the code in the file once more."""
    return ", in_place=True" if any(c.class_name == "Lambda" for c in result.opaque_calls) else ""


def _caveat(settings: dict[str, Any]) -> str:
    """What the library does otherwise than the page, where it does."""
    sentences = []
    if settings["keep_frozen"]:
        sentences.append("The page draws for the signal that frozen layers were measured to give.")
    if settings.get("input_data"):
        sentences.append("The page fed samples of the data; this is noise with the same moments.")
    return "".join(f"\n# {sentence}" for sentence in sentences)
