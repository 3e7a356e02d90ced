"""The layers of a configuration, each in its place: what they are called, and what becomes of them.

A layer that cannot be rebuilt is replaced where the analysis has it as a call of its own, which is
in the outermost model or one nested in it. What is in a wrapper is run as a whole with it, so that
the wrapper is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from autoinit.errors import ModelFileError
from autoinit.findings import Finding
from autoinit.graph.paths import joined, shortened
from autoinit.model_files.check.connections import Connections, Entry
from autoinit.model_files.check.entry_kinds import printable
from autoinit.model_files.check.placeholders import placeholder_layer
from autoinit.model_files.check.shape_inference import (
    ModelScope,
    ShapeEvidence,
    StoredShapes,
    evidence_of,
)
from autoinit.model_files.read.hdf5 import quoted


@dataclass(eq=False)
class LayerEntry:
    """A layer's entry in a model.

    Attributes:
        entry: the entry.
        name: by which the model's other layers refer to it.
        model: that it is in; None for the outermost model.
        in_graph: whether it is a call of its own.
        fusing: the arguments among which its activation may be a placeholder.
        reason: why it cannot be rebuilt, as the end of a sentence; empty if it can.
        findings: of parts of it that were replaced.
        models: that it is or holds.
        call: the path of the call that it is, as an analysis has it.
    """

    entry: Entry
    name: str = ""
    model: Model | None = None
    in_graph: bool = True
    fusing: dict[str, Any] | None = None
    reason: str = ""
    findings: list[Finding] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    call: str = ""

    def __post_init__(self) -> None:
        if self.model is not None:
            self.call = joined(self.model.place.call, self.name)

    @property
    def class_name(self) -> str:
        """As recorded, or as much of it as can be shown."""
        return shortened(str(self.entry.get("class_name")))

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the models around it, without the outermost one's, and its own."""
        names = []
        place = self
        while place.model is not None:
            names.append(place.name)
            place = place.model.place
        return tuple(reversed(names))

    def __str__(self) -> str:
        """For a sentence: `'encoder/dense' (Dense)`."""
        return f"{quoted(self.call)} ({printable(self.class_name)})"

    def fail(self, reason: str) -> None:
        """Note that it cannot be rebuilt; the first reason counts.

        Args:
            reason: as the end of a sentence.
        """
        place = self
        while not place.in_graph and place.model is not None:
            reason = f"its layer {quoted(place.name)} cannot: {reason}"
            place = place.model.place
        place.reason = place.reason or reason

    def find(self, code: str, message: str) -> None:
        """Note that a part of it was replaced."""
        finding = Finding(code, self.call, self.class_name, message)
        place = self
        while not place.in_graph and place.model is not None:
            place = place.model.place
        place.findings.append(finding)


@dataclass(eq=False)
class Model:
    """A model: the outermost one, one nested in it, or one in a wrapper.

    Attributes:
        layers: the entries of its layers, where they stand in the configuration.
        returned: its `output_layers`; None for a Sequential model.
        place: that it is, or that holds it.
        places: of its layers.
    """

    layers: list[Any]
    returned: Any
    place: LayerEntry
    places: list[LayerEntry] = field(default_factory=list)


def in_order(outermost: LayerEntry) -> Iterator[LayerEntry]:
    """A place and those of all layers in it, each before what is in it."""
    waiting = [outermost]
    while waiting:
        place = waiting.pop()
        yield place
        for model in reversed(place.models):
            waiting += reversed(model.places)


def replace_by_placeholders(
    outermost: LayerEntry, stored: StoredShapes, keras: int
) -> tuple[Finding, ...]:
    """Put placeholders in the places of layers that cannot be rebuilt.

    Returns:
        All findings, those of a model before those of the models in it.

    Raises:
        ModelFileError: `cannot_rebuild`, where there is no place for a placeholder.
    """
    if outermost.reason:
        raise ModelFileError(
            "cannot_rebuild", f"The model itself cannot be rebuilt, because {outermost.reason}."
        )
    findings: list[Finding] = []
    scopes: dict[Model, ModelScope] = {}
    replaced: list[tuple[Model, int, Entry]] = []
    waiting = list(reversed(outermost.models))
    findings += outermost.findings
    while waiting:
        model = waiting.pop()
        for index, place in enumerate(model.places):
            if not place.reason:
                findings += place.findings
                # What a wrapper holds is no call.
                waiting += [inner for inner in place.models if _is_graph(inner)]
                continue
            if place.class_name == "InputLayer":
                raise ModelFileError(
                    "bad_configuration", f"Input {place} cannot be made, because {place.reason}."
                )
            scope = _scope(model, scopes, keras)
            evidence = evidence_of(place.name, scope, stored)
            entry = placeholder_layer(place.entry, place.reason, evidence, scope.connections)
            replaced.append((model, index, entry))
            findings.append(_placeholder_finding(place, evidence))
    for model, index, entry in replaced:
        model.layers[index] = entry
    return tuple(findings)


def _is_graph(model: Model) -> bool:
    return all(place.in_graph for place in model.places)


def _scope(model: Model, scopes: dict[Model, ModelScope], keras: int) -> ModelScope:
    """A model's scope, and those of the models around it."""
    around: list[Model] = []
    inner: Model | None = model
    while inner is not None and inner not in scopes:
        around.append(inner)
        inner = inner.place.model
    for inner in reversed(around):
        layers = [(place.name, place.entry) for place in inner.places]
        outer = scopes[inner.place.model] if inner.place.model else None
        connections = Connections(layers, inner.returned, keras)
        scopes[inner] = ModelScope(inner.place.path, connections, outer)
    return scopes[model]


def _placeholder_finding(place: LayerEntry, evidence: ShapeEvidence) -> Finding:
    if "declared" in evidence:
        shape = "its output has the shape that the file declares"
    elif evidence.get("size") is not None:
        shape = "its output is taken to have the shape that the next layers need"
    elif "weights" in evidence:
        shape = "its output is taken to have the channels that the weights stored here tell"
    else:
        shape = "its output is assumed to have its input's shape"
    return Finding(
        "opaque_layer",
        place.call,
        place.class_name,
        f"Layer {place} cannot be run, because {place.reason}; {shape}, and what comes after it "
        "is uncertain.",
    )
