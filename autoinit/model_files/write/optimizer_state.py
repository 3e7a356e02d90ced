"""Optimizers' variables in a weights file, set back to where training begins.

Moments that were gathered with the old weights would spoil the new ones in the first steps. Float
scalars stay, for they are settings: the learning rate, the scale of a loss.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autoinit.errors import ModelFileError
from autoinit.model_files.read.hdf5 import ArraysFile, StoredArray
from autoinit.model_files.write.writing import ArraysWriter

_LEGACY = "optimizer_weights"
# The optimizer of a model, or of one nested in it; a layer could have that name, too.
_IN_ARCHIVE = re.compile(
    r"((?:|.+/)(?<!layers/)(?<!dependencies/)optimizer(?:/inner_optimizer)*)/vars/(\d{1,9})"
)

# What the variables that an optimizer keeps for each weight start from, where that is not zero.
_STARTS = {
    "Adagrad": ("accumulator",),
    "Ftrl": ("accumulator", "zeros"),
    "ScheduleFreeAdamW": ("weights", "zeros"),
}


def reset_optimizers(
    writer: ArraysWriter,
    settings: Mapping[str, Any] | None,
    trainable: Sequence[StoredArray | None],
    version: int,
) -> None:
    """Set all optimizers' counters and moments back.

    Args:
        writer: of a file with the new weights in it.
        settings: how the model was compiled, as recorded.
        trainable: arrays of the model's trainable weights, in its order.
        version: 2 or 3, of the Keras that wrote the file.
    """
    name, config = _optimizer(settings)
    for group, labeled in _groups(writer.file).items():
        outermost = group.startswith("optimizer")
        starts = (
            _starts(name, config, len(trainable), version)
            if outermost
            else itertools.repeat("zeros")
        )
        weights = itertools.cycle(trainable) if trainable else itertools.repeat(None)
        for label, array in labeled:
            if array.dtype.kind not in "fV":
                writer.fill(array, 0)
            elif array.shape:
                start = next(starts)
                source = next(weights) if start == "weights" else None
                if source is not None and source.shape == array.shape:
                    writer.write(array, writer.read(source))
                else:
                    writer.fill(array, _initial(config) if start == "accumulator" else 0)
            elif name == "Nadam" and _is_product(label, labeled):
                writer.fill(array, 1)


def _optimizer(settings: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any]]:
    """Class and arguments of the optimizer, the one inside where it scales a loss."""
    found: Any = settings or {}
    found = found.get("optimizer_config") or found.get("optimizer")
    while isinstance(found, dict):
        config = found.get("config")
        if not isinstance(config, dict):
            break
        if not isinstance(config.get("inner_optimizer"), dict):
            # Keras 2.11 to 2.15 wrote its own as if they were custom: "Custom>Adam".
            return str(found.get("class_name")).rpartition(">")[2], config
        found = config["inner_optimizer"]
    return "", {}


def _initial(config: Mapping[str, Any]) -> float:
    value = config.get("initial_accumulator_value")
    return value if isinstance(value, (int, float)) else 0.0


def _groups(file: ArraysFile) -> dict[str, list[tuple[str, StoredArray]]]:
    """The variables of each optimizer in its order, by label; whose name or number that is."""
    try:
        names = file.names(_LEGACY, "weight_names") or []
    except ModelFileError:  # then they are set back in any order
        names = []
    names = names or [p.removeprefix(f"{_LEGACY}/") for p in file.arrays if p.startswith(_LEGACY)]
    listed = [(name, array) for name in names if (array := file.arrays.get(f"{_LEGACY}/{name}"))]
    numbered: dict[str, list[tuple[str, StoredArray]]] = {}
    for array in file.arrays.values():
        match = _IN_ARCHIVE.fullmatch(array.path.replace("\\", "/"))
        if match:
            numbered.setdefault(match[1], []).append((match[2], array))
    for variables in numbered.values():
        variables.sort(key=lambda variable: int(variable[0]))
    return {_LEGACY: listed, **numbered} if listed else numbered


def _starts(name: str, config: Mapping[str, Any], weights: int, version: int) -> Iterator[str]:
    """Where each of an optimizer's arrays starts from, in their order."""
    if config.get("use_ema"):
        # Averages of the weights, which Keras 3 begins at the first step.
        yield from itertools.repeat("weights" if version == 2 else "zeros", weights)
    if config.get("gradient_accumulation_steps"):
        yield from itertools.repeat("zeros", weights)
    yield from itertools.cycle(_STARTS.get(name, ("zeros",)))


def _is_product(label: str, variables: Sequence[tuple[str, StoredArray]]) -> bool:
    """Whether a scalar of Nadam is the product of its momenta, which starts at one.

    Keras 3 makes it last, after the learning rate and the moments.
    """
    last = label == variables[-1][0] and len(variables) > 2
    return "momentum_cache" in label or (last and "learning_rate" not in label)
