"""What takes the place of a part that is not rebuilt, in a configuration of either Keras."""

from __future__ import annotations

from typing import Any

from autoinit.graph.paths import shortened
from autoinit.model_files.check.connections import Connections, Entry, nodes_of, sizes, tensors_only
from autoinit.model_files.check.shape_inference import ShapeEvidence
from autoinit.model_files.check.values import MOST_AXES
from autoinit.model_files.check.vocabulary import DTYPES

_MODULE, _PACKAGE = "autoinit.graph.placeholders", "autoinit"
_MIXED_POLICIES = ("mixed_float16", "mixed_bfloat16")


def placeholder_layer(
    entry: Entry, reason: str, evidence: ShapeEvidence, connections: Connections
) -> Entry:
    """The entry of a layer that holds another's place, and reads and returns as many tensors.

    Args:
        entry: the other's; nothing of it is kept but names, dtype, and which tensors it reads.
        reason: why it is not rebuilt, as the end of a sentence.
        evidence: of its output shape.
        connections: of the model that it is in.
    """
    config = entry.get("config")
    arguments = config if isinstance(config, dict) else {}
    name = entry.get("name") or arguments.get("name")
    made: dict[str, Any] = {
        "original": shortened(str(entry.get("class_name"))),
        "reason": reason,
        "outputs": 1 + len(evidence.get("others", ())),
        "evidence": evidence,
        "trainable": arguments.get("trainable") is not False,
    }
    if isinstance(name, str):
        made["name"] = name
    dtype = _dtype(arguments.get("dtype"))
    if dtype:
        made["dtype"] = dtype
    shape = sizes(arguments.get("batch_input_shape"))
    if connections.keras == 2 and shape and len(shape) <= MOST_AXES:  # it may be a model's input
        made["batch_input_shape"] = list(shape)
    opaque = _placeholder("Opaque", made, connections.keras)
    if not connections.sequential:
        opaque["name"] = entry["name"]
        opaque["inbound_nodes"] = [
            tensors_only(list(connections.references(node)), connections.keras)
            for node in nodes_of(entry)
        ]
    return opaque


def placeholder_activation(name: str, reason: str, keras: int) -> Entry:
    """An activation that holds the place of a function of another name."""
    return _placeholder("OpaqueActivation", {"name": shortened(name), "reason": reason}, keras)


def _placeholder(kind: str, config: dict[str, Any], keras: int) -> Entry:
    address = {"module": _MODULE, "registered_name": f"{_PACKAGE}>{kind}"} if keras == 3 else {}
    return {**address, "class_name": kind, "config": config}


def _dtype(dtype: Any) -> str | None:
    """Name of a dtype or of a plain policy."""
    if isinstance(dtype, dict) and isinstance(dtype.get("config"), dict):
        dtype = dtype["config"].get("name")
    known = isinstance(dtype, str) and (dtype in DTYPES or dtype in _MIXED_POLICIES)
    return dtype if known else None
