"""Who reads whose tensors, told from a configuration alone, in the forms of either Keras.

Keras 3 records each tensor that a call reads, with its shape; Keras 2 names layer, call and output:
`["dense", 0, 0, {…}]`, with the call's other arguments in the braces.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from autoinit.errors import ModelFileError
from autoinit.model_files.read.hdf5 import quoted

Entry = dict[str, Any]

_MOST_OUTPUTS = 1000
_LARGEST_SIZE = 2**40


@dataclass(frozen=True)
class Reference:
    """A tensor that is read.

    Attributes:
        layer: name of the layer that returns it.
        node: which call of the layer returns it.
        tensor: its place among what the layer returns.
        shape: as recorded, the batch axis first; None where it is not.
        form: as it stands in the configuration.
    """

    layer: str
    node: int
    tensor: int
    shape: tuple[int | None, ...] | None
    form: Any


class Connections:
    """The layers of one model and who reads whom.

    Args:
        layers: entries of the model's layers, each with its name, in order.
        returned: the model's `output_layers`; None for a Sequential model.
        keras: 2 or 3.
    """

    def __init__(self, layers: list[tuple[str, Entry]], returned: Any, keras: int) -> None:
        self.keras = keras
        self.entries = dict(layers)
        self.sequential = returned is None
        self._tensors: dict[str, list[int]] = {}
        self._readers: dict[tuple[str, int], list[tuple[str, Reference, bool]]] = {}
        if self.sequential:
            self._chain([name for name, _ in layers])
            return
        for name, entry in layers:
            for node in nodes_of(entry):
                references = list(self.references(node))
                for reference in references:
                    readers = self._readers.setdefault((reference.layer, reference.tensor), [])
                    readers.append((name, reference, len(references) == 1))
        self._returned = list(_in_lists(returned, None))

    def references(self, value: Any) -> Iterator[Reference]:
        """Tensors that stand anywhere in the arguments of a call, in their order."""
        if self.keras == 3:
            return _recorded(value)
        return _in_lists(value, self.entries)

    def readers(self, name: str, tensor: int) -> Sequence[tuple[str, Reference, bool]]:
        """Who reads a tensor: a layer's name, the reference, and whether it reads nothing else."""
        return self._readers.get((name, tensor), ())

    def returned(self, name: str, tensor: int) -> list[int]:
        """Places among the model's outputs that a tensor has."""
        return [
            place
            for place, reference in enumerate(self._returned)
            if (reference.layer, reference.tensor) == (name, tensor)
        ]

    def read_tensors(self, name: str) -> list[int]:
        """Places of the tensors that are read, or returned, among those that a layer returns.

        Raises:
            ModelFileError: `bad_configuration`, for more than anyone returns.
        """
        if not self._tensors:
            returned = [(reference.layer, reference.tensor) for reference in self._returned]
            for layer, tensor in sorted({*self._readers, *returned}):
                self._tensors.setdefault(layer, []).append(tensor)
        tensors = self._tensors.get(name, [])
        if tensors and tensors[-1] >= _MOST_OUTPUTS:
            raise ModelFileError(
                "bad_configuration",
                f"Output {tensors[-1]:,} of layer {quoted(name)} is read, which no layer has.",
            )
        return tensors

    def calls(self) -> Iterator[tuple[str, int, list[tuple[str, int]]]]:
        """Each call: its layer, its place among that layer's calls, and the calls that it reads.

        Where a layer is read that the model has not, it is named all the same.
        """
        for name, entry in self.entries.items():
            for index, node in enumerate(nodes_of(entry)):
                read = _recorded(node) if self.keras == 3 else _in_lists(node, None)
                yield name, index, [(reference.layer, reference.node) for reference in read]

    def returned_calls(self) -> list[tuple[str, int]]:
        """The calls whose tensors the model returns."""
        return [(reference.layer, reference.node) for reference in self._returned]

    def _chain(self, names: list[str]) -> None:
        for name, reader in pairwise(names):
            reference = Reference(name, 0, 0, None, None)
            self._readers[name, 0] = [(reader, reference, True)]
        self._returned = [Reference(name, 0, 0, None, None) for name in names[-1:]]


def nodes_of(entry: Entry) -> list[Any]:
    """The recorded calls of a layer."""
    nodes = entry.get("inbound_nodes")
    return nodes if isinstance(nodes, list) else []


def tensors_only(references: Collection[Reference], keras: int) -> Any:
    """A call with some tensors as its only arguments, as it stands among `inbound_nodes`."""
    if keras == 3:
        return {"args": [reference.form for reference in references], "kwargs": {}}
    return [[*reference.form[:3], {}] for reference in references]


def sizes(shape: Any) -> tuple[int | None, ...] | None:
    """A shape that stands in a configuration; None for anything else, and sizes beyond reason."""
    if isinstance(shape, list) and all(size is None or _is_size(size) for size in shape):
        return tuple(shape)
    return None


def _recorded(value: Any) -> Iterator[Reference]:
    """Tensors as Keras 3 records them."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict):
            if value.get("class_name") != "__keras_tensor__":
                waiting += reversed(value.values())
                continue
            config = value.get("config")
            if isinstance(config, dict) and is_reference(config.get("keras_history")):
                layer, node, tensor = config["keras_history"][:3]
                yield Reference(layer, node, tensor, sizes(config.get("shape")), value)


def _in_lists(value: Any, layers: Collection[str] | None) -> Iterator[Reference]:
    """Tensors as Keras 2 records them, and both Kerases the outputs of a model.

    Args:
        value: where they are looked for.
        layers: names of layers. Without them, whatever looks like a tensor is one; but not among
            the other arguments of a call.
    """
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += reversed(value.values())
        elif isinstance(value, list):
            if is_reference(value) and (layers is None or value[0] in layers):
                yield Reference(value[0], value[1], value[2], None, value)
                waiting += value[3:] if layers is not None else []
            else:
                waiting += reversed(value)


def is_reference(value: Any) -> bool:
    """Whether a value names a tensor: layer, call and output, and in Keras 2 further arguments."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(map(_is_index, value[1:3]))
    )


def named_layers(value: Any) -> Iterator[str]:
    """The layers whose tensors a value names, in order: those of a model's `input_layers`, say."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if is_reference(value):
            yield value[0]
        elif isinstance(value, dict):
            waiting += reversed(value.values())
        elif isinstance(value, list):
            waiting += reversed(value)


def _is_size(value: Any) -> bool:
    return _is_index(value) and value <= _LARGEST_SIZE


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
