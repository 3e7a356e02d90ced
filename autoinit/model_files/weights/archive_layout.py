"""Where archives (`.keras`) have a model's weights.

An archive stores the variables of each object under the attributes that lead to it,
`layers/dense/vars/0`. Older versions of Keras walked attributes and containers in other orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
from numpy.typing import NDArray

from autoinit.graph import keras_internals as internals
from autoinit.model_files.read.hdf5 import ArraysFile, StoredArray
from autoinit.model_files.weights.weight_owners import (
    Pairs,
    Read,
    WeightOwner,
    is_keras3,
    is_placeholder,
    mismatch,
    shape_of,
    trouble_between,
    unpacked,
)

# Scales and their histories, of inputs, kernel and gradients.
_FLOAT8_STATES = 6


def owners_in_archive(model: Any, file: ArraysFile) -> list[WeightOwner]:
    """All objects of a model that have weights, and where an archive's file has these.

    Placeholders have none: what is stored for their originals is left alone.

    Args:
        model: of Keras 3 or of tf_keras, not compiled.
        file: out of the archive.

    Raises:
        ModelFileError: `weights_mismatch`, where arrays are missing or have other shapes.
    """
    stored = _by_object(file)
    attempts = []
    for walk in (_KERAS3_WALK,) if is_keras3(model) else _tf_keras_walks():
        attempt = _Attempt(stored, walk)
        attempt.visit(model, "")
        attempts.append(attempt)
        if not attempt.missing:
            break
    best = min(attempts, key=lambda attempt: len(attempt.missing))
    for part, trouble in best.missing.values():
        raise mismatch(part, trouble)
    return list(best.found.values())


@dataclass(frozen=True)
class _Walk:
    """How a version of Keras walks over a model.

    Attributes:
        children: attributes and their values, in its order.
        is_part: whether a value is an object that it stores by itself.
        has_weights: whether such an object may hold weights: optimizers and the like do not.
        own: the values that an object stores by itself, by key.
        snake_case: its names for classes.
        counts_again: whether objects in a container are counted though they were met before.
        tries_again: whether an object is looked for under every attribute that leads to it.
    """

    children: Callable[[Any], Iterator[tuple[str, Any]]]
    is_part: Callable[[Any], bool]
    has_weights: Callable[[Any], bool]
    own: Callable[[Any], dict[str, Any]]
    snake_case: Callable[[str], str]
    counts_again: bool
    tries_again: bool


def _by_object(file: ArraysFile) -> dict[str, dict[str, StoredArray]]:
    """The arrays by the path of their object, which Windows wrote with backslashes, and by key."""
    stored: dict[str, dict[str, StoredArray]] = {}
    for array in file.arrays.values():
        path, _, key = array.path.replace("\\", "/").rpartition("/")
        owner, _, group = path.rpartition("/")
        if group == "vars":
            stored.setdefault(owner, {})[key] = array
    return stored


@dataclass
class _Attempt:
    """One walk over a model beside the file."""

    stored: Mapping[str, Mapping[str, StoredArray]]
    walk: _Walk
    found: dict[int, WeightOwner] = field(default_factory=dict)
    missing: dict[int, tuple[Any, str]] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    entered: set[int] = field(default_factory=set)

    def visit(self, part: Any, path: str) -> bool:
        """Look for an object and everything in it; whether all of it was found."""
        if id(part) in self.finished or id(part) in self.entered:
            return True
        self.entered.add(id(part))
        complete = self._find(part, path)
        for attribute, value in self.walk.children(part):
            place = f"{path}/{attribute}" if path else attribute
            if self.walk.is_part(value):
                complete &= not self.walk.has_weights(value) or self.visit(value, place)
            elif isinstance(value, (list, dict, tuple, set)):
                complete &= self._visit_all(value, place, set())
        self.entered.discard(id(part))
        if complete or not self.walk.tries_again:
            self.finished.add(id(part))
        return complete

    def _visit_all(self, container: Any, path: str, containers: set[int]) -> bool:
        if id(container) in containers:
            return True
        containers.add(id(container))
        complete = True
        counts: dict[str, int] = {}

        def place(name: str) -> str:
            counts[name] = counts.get(name, -1) + 1
            return f"{path}/{name}_{counts[name]}" if counts[name] else f"{path}/{name}"

        for value in list(container.values()) if isinstance(container, dict) else container:
            if self.walk.is_part(value):
                if not self.walk.counts_again and id(value) in self.finished:
                    continue
                inner = place(self.walk.snake_case(_class_name(value)))
                complete &= not self.walk.has_weights(value) or self.visit(value, inner)
            elif self.walk.tries_again and isinstance(value, (list, dict, tuple)):
                complete &= self._visit_all(value, place("container"), containers)
        return complete

    def _find(self, part: Any, path: str) -> bool:
        if id(part) in self.found:
            return True
        arrays = self.stored.get(path, {})
        try:
            own = self.walk.own(part)
        except AttributeError:  # a lookup layer that has not learned its words
            own = dict(arrays)
        if "idf_weights" in own:  # there are as many as it will have words
            own = dict(arrays)
        if not own and not hasattr(part, "load_assets"):
            return True
        trouble = trouble_between(own, arrays) if own else ""
        if trouble and _is_packed(part, own, arrays):
            self.found[id(part)] = _packed(part, own, arrays, path)
            return True
        if trouble:
            self.missing.setdefault(id(part), (part, trouble))
            return False
        self.missing.pop(id(part), None)
        self.found[id(part)] = _archived(part, own, arrays, path)
        return True


def _archived(
    part: Any, own: Mapping[str, Any], arrays: Mapping[str, StoredArray], path: str
) -> WeightOwner:
    pairs = tuple(
        (variable, arrays[key])
        for key, value in own.items()
        if (variable := _variable(part, key, value)) is not None
    )

    def load(read: Read) -> Pairs:
        if own:
            part.load_own_variables(_Store(own, arrays, read))
        return pairs

    return WeightOwner(part, pairs, load, path)


def _is_packed(part: Any, own: Mapping[str, Any], arrays: Mapping[str, StoredArray]) -> bool:
    """Whether arrays are those of a layer whose weights `quantize` has packed into fewer bits."""
    if not hasattr(part, "quantize") or not arrays:
        return False
    integers = any(array.dtype.kind in "iu" for array in arrays.values())
    return integers or len(arrays) == len(own) + _FLOAT8_STATES


def _packed(
    part: Any, own: Mapping[str, Any], arrays: Mapping[str, StoredArray], path: str
) -> WeightOwner:
    """The floats behind packed weights: of int8 a scale is the last array, of float8 all are there.

    What is packed in another way is left to be drawn.
    """
    variables = {key: _variable(part, key, value) for key, value in own.items()}
    scale = arrays.get(str(len(own))) if len(arrays) == len(own) + 1 else None
    found = [(variable, arrays.get(key), scale) for key, variable in variables.items()]
    return WeightOwner(part, (), lambda read: unpacked(part, found, read), path, packed=True)


def _variable(part: Any, key: str, value: Any) -> Any:
    """The variable behind a stored value, if there is one.

    With low-rank adapters, the first value is the sum of a kernel and theirs, and is loaded into
    the kernel.
    """
    if hasattr(value, "assign"):
        return value
    behind = [getattr(part, name, None) for name in internals.HELD_WEIGHTS if key == "0"]
    return next((v for v in behind if v is not None and shape_of(v) == shape_of(value)), None)


class _Store(Mapping[str, Any]):
    """What an object loads its variables from; an array is read when it is asked for."""

    def __init__(
        self, own: Mapping[str, Any], arrays: Mapping[str, StoredArray], read: Read
    ) -> None:
        self._own, self._arrays, self._read = own, arrays, read

    def __getitem__(self, key: str) -> NDArray[Any]:
        return self._read(self._arrays[key], self._own[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def _class_name(part: Any) -> str:
    """The name that placeholders' originals went by."""
    if is_placeholder(part):
        return str(part.original).rpartition(">")[2].rpartition(".")[2]
    return type(part).__name__


def _recorded(part: Any) -> dict[str, Any]:
    """What an object stores by itself."""
    own: dict[str, Any] = {}
    if hasattr(part, "save_own_variables"):
        part.save_own_variables(own)
    return own


_WITHOUT_WEIGHTS = (
    keras.Optimizer, keras.metrics.Metric, keras.losses.Loss, keras.random.SeedGenerator,
)  # fmt: skip

_KERAS3_WALK = _Walk(
    children=internals.children,
    is_part=lambda value: isinstance(value, internals.KerasSaveable),
    has_weights=lambda value: not isinstance(value, _WITHOUT_WEIGHTS),
    own=_recorded,
    snake_case=internals.to_snake_case,
    counts_again=True,
    tries_again=True,
)


def _tf_keras_walks() -> Iterator[_Walk]:
    """Those of Keras 2.15, 2.14, and 2.13 and 2.12."""
    import tf_keras

    layer_class = tf_keras.layers.Layer

    def own(part: Any) -> dict[str, Any]:
        if type(part).save_own_variables is not layer_class.save_own_variables:
            return _recorded(part)
        # It would give copies of its values.
        return {str(index): own for index, own in enumerate(internals.own_variables2(part))}

    def in_alphabetical_order(part: Any) -> Iterator[tuple[str, Any]]:
        attributes = dict(internals.walk_trackable2(part))
        yield from sorted((attributes | internals.checkpoint_layers2(part)).items())

    def walk(children: Any, counts_again: bool) -> _Walk:
        return _Walk(
            children,
            internals.is_keras_trackable2,
            lambda value: isinstance(value, layer_class),
            own,
            internals.to_snake_case2,
            counts_again,
            tries_again=False,
        )

    yield walk(internals.walk_trackable2, False)
    yield walk(in_alphabetical_order, False)
    yield walk(in_alphabetical_order, True)
