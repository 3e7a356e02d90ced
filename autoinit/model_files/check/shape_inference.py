"""What a file says of the output shape of a layer that cannot be asked.

First what it declares: a Lambda's own `output_shape`, the shapes that Keras 3 records with each
tensor, those that the layers which read it were built for, the input of a nested model that reads
it. Otherwise what the weights of the layers that read it need. Layers in between that keep shapes,
or at least the number of channels, are looked through. Where unknown layers follow each other,
what is left is the shapes of their own weights.
`autoinit.graph.placeholders.inferred_shape` reads the result.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autoinit.model_files.check.connections import Connections, Entry, sizes
from autoinit.model_files.check.vocabulary import KERAS2, KERAS3, LAYER, MODEL
from autoinit.model_files.keras2.joins import joined, keeps_shape

Shape = tuple[int | None, ...]
LayerPath = tuple[str, ...]
StoredShapes = Mapping[LayerPath, Sequence[tuple[int, ...]]]
ShapeEvidence = dict[str, Any]
# What the first of a layer's weights says of its input: size, axis, rank.
Need = tuple[int, int, int | None]

_MOST_AXES = 16
# Classes that are run: what they return is not what they read.
_KNOWN = {
    name
    for known in (KERAS2, KERAS3)
    for names in (known.classes[LAYER], known.classes[MODEL], known.operations)
    for name in names
}
# Layers that are looked at for one tensor: evidence further off is not worth the time.
_MOST_LOOKS = 50


@dataclass(frozen=True)
class ModelScope:
    """A model whose layers are calls of the analysis: the outermost one, or one nested in it.

    Attributes:
        path: names of the models around its layers, without the outermost one's.
        connections: of its layers.
        outer: the model that it is a layer of; None for the outermost one.
    """

    path: LayerPath
    connections: Connections
    outer: ModelScope | None


@dataclass(frozen=True)
class _Place:
    """A tensor that has the shape in question, or at least its channels.

    `rank` is set where it is only the channels; they are then the question's axis `axis`.
    """

    scope: ModelScope
    layer: str
    tensor: int = 0
    rank: int | None = None
    axis: int = -1
    flattened: bool = False


def evidence_of(name: str, scope: ModelScope, stored: StoredShapes) -> ShapeEvidence:
    """What the file says of a layer's output shapes; empty where it says nothing.

    Args:
        name: of the layer.
        scope: the model that it is in.
        stored: shapes of the stored weights of each layer, by the names that lead to it.

    Returns:
        What `inferred_shape` reads, for the first output; `others` has the same for each
        further one.
    """
    declared = _own(scope.connections.entries[name])
    read = scope.connections.read_tensors(name)
    first = {"declared": list(declared)} if declared else _of_tensor(name, 0, scope, stored)
    first = first or {**_of_joins(name, scope, stored), **_of_unknown(name, scope, stored)}
    if not read or read[-1] == 0:
        return first
    others: list[ShapeEvidence] = [{} for _ in range(read[-1])]
    for tensor in read:
        if tensor > 0:
            others[tensor - 1] = _of_tensor(name, tensor, scope, stored)
    return {**first, "others": others}


def _of_tensor(name: str, tensor: int, scope: ModelScope, stored: StoredShapes) -> ShapeEvidence:
    places = deque([_Place(scope, name, tensor)])
    seen = {(scope.path, name)}
    looks = 0
    while places:
        place = places.popleft()
        for found in _from_readers(place, stored):
            looks += 1
            if isinstance(found, dict):
                return found
            if looks > _MOST_LOOKS:
                return {}
            if found and (found.scope.path, found.layer) not in seen:
                seen.add((found.scope.path, found.layer))
                places.append(found)
    return {}


def _of_joins(name: str, scope: ModelScope, stored: StoredShapes) -> ShapeEvidence:
    """What is known of the outputs of the layers that join a tensor with others, by their names."""
    entries, readers = scope.connections.entries, scope.connections.readers
    names, joins = [name], {}
    for each in names:
        for reader, _, alone in readers(each, 0):
            if keeps_shape(entries[reader]) and reader not in names and len(names) < _MOST_LOOKS:
                names.append(reader)
            elif not alone and joined(entries[reader]) == "Concatenate":
                joins[reader] = _of_tensor(reader, 0, scope, stored)
    joins = {reader: evidence for reader, evidence in joins.items() if evidence}
    return {"joins": joins} if joins else {}


def _of_unknown(name: str, scope: ModelScope, stored: StoredShapes) -> ShapeEvidence:
    """The shapes of a layer's own weights, and of those of the unknown layers that are next."""
    entries, readers = scope.connections.entries, scope.connections.readers
    own = _weights((*scope.path, name), stored)
    following: list[tuple[int, ...]] = []
    names = [name]
    for each in names:
        for reader, _, alone in readers(each, 0):
            weights = _weights((*scope.path, reader), stored)
            if not alone or reader in names or len(names) > _MOST_LOOKS:
                continue
            known = _class(entries[reader]) in _KNOWN
            if keeps_shape(entries[reader]) or not (known or weights):
                names.append(reader)
            elif not known:
                following += weights
    found = {"own": [*map(list, own)], "next": [*map(list, following)]}
    return {"weights": found} if own or following else {}


def _own(entry: Entry) -> Shape | None:
    """The output shape that a Lambda declares, without the batch axis; not one that is code."""
    config = entry.get("config")
    if entry.get("class_name") != "Lambda" or not isinstance(config, dict):
        return None
    if config.get("output_shape_type", "raw") != "raw":
        return None
    shape = config.get("output_shape")
    if isinstance(shape, dict) and shape.get("class_name") == "__tuple__":
        shape = shape.get("items")
    return _sensible(sizes(shape))


def _sensible(shape: Shape | None) -> Shape | None:
    return shape if shape and len(shape) < _MOST_AXES else None


def _from_readers(place: _Place, stored: StoredShapes) -> Iterator[ShapeEvidence | _Place | None]:
    """Of each that reads a tensor: evidence, or a tensor that tells the same, or nothing."""
    connections = place.scope.connections
    for name, reference, alone in connections.readers(place.layer, place.tensor):
        entry = connections.entries[name]
        shape = reference.shape or (_built_for(entry) if alone else None)
        needed = None
        if alone:
            needed = _needed(_unwrapped(entry), _weights((*place.scope.path, name), stored))
        known = _from_weights(needed, entry, place) if needed else None
        yield _declared(_sensible(shape), place) or known or _through(place, name, entry)
    outer = place.scope.outer
    if outer is not None:
        for tensor in connections.returned(place.layer, place.tensor):
            yield _Place(outer, place.scope.path[-1], tensor, place.rank, place.axis)


def _built_for(entry: Entry) -> Shape | None:
    """The whole shape, the batch axis first, of a layer's only input, by its own record."""
    build, config = entry.get("build_config"), entry.get("config")
    if isinstance(build, dict) and sizes(build.get("input_shape")):
        return sizes(build["input_shape"])
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list):
        return None
    first = [layer for layer in layers if _class(layer) == "InputLayer"] or layers[:1]
    if len(first) != 1 or not isinstance(first[0], dict):
        return None
    arguments = _config(first[0])
    return sizes(arguments.get("batch_shape", arguments.get("batch_input_shape")))


def _declared(shape: Shape | None, place: _Place) -> ShapeEvidence:
    if shape is None:
        return {}
    if place.rank is None:
        return {"declared": list(shape[1:])}
    size = shape[place.axis] if len(shape) == place.rank else shape[-1]
    return {} if size is None else {"size": size, "axis": place.axis, "rank": place.rank}


def _from_weights(need: Need, entry: Entry, place: _Place) -> ShapeEvidence:
    size, axis, rank = need
    if place.rank is not None:
        flat = {"flattened": True} if place.flattened else {}
        return {"size": size, "axis": place.axis, "rank": place.rank, **flat}
    if _class(entry) == "TimeDistributed" and rank is not None:
        axis, rank = axis + 1 if axis > 0 else axis, rank + 1
    return {"size": size, "axis": axis, "rank": rank}


def _weights(path: LayerPath, stored: StoredShapes) -> Sequence[tuple[int, ...]]:
    # Legacy files do not tell how deep in a nested model a layer is.
    return stored.get(path) or stored.get((path[0], path[-1])) or ()


def _class(entry: Any) -> str:
    return str(entry.get("class_name", "")) if isinstance(entry, dict) else ""


def _unwrapped(entry: Entry) -> Entry:
    """The layer in a wrapper that has the weights."""
    inner = _config(entry).get("layer")
    if _class(entry) in ("Bidirectional", "TimeDistributed") and isinstance(inner, dict):
        return inner
    return entry


def _config(entry: Entry) -> dict[str, Any]:
    config = entry.get("config")
    return config if isinstance(config, dict) else {}


def _channels(entry: Entry) -> int:
    return 1 if _config(entry).get("data_format") == "channels_first" else -1


def _convolved(place: int) -> Callable[[tuple[int, ...], Entry], Need]:
    """A kernel whose axis `place` is as long as the input has channels."""

    def need(shape: tuple[int, ...], entry: Entry) -> Need:
        groups = _config(entry).get("groups", 1)
        groups = groups if isinstance(groups, int) and place == -2 else 1
        return shape[place] * groups, _channels(entry), len(shape)

    return need


def _normalized(shape: tuple[int, ...], entry: Entry) -> Need:
    axis = _config(entry).get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis == 1:
        return shape[0], 1, None
    return shape[0], -1, axis + 1 if isinstance(axis, int) and axis > 1 else None


_NEEDS: Sequence[tuple[str, Sequence[int], Callable[[tuple[int, ...], Entry], Need]]] = (
    # class names; how many axes the first weight has; what it says
    (r"Dense", (2,), lambda shape, entry: (shape[0], -1, None)),
    (r"(Separable)?Conv(olution)?[123]D|DepthwiseConv[12]D", (3, 4, 5), _convolved(-2)),
    (r"Conv(olution)?[123]DTranspose|Deconvolution[23]D", (3, 4, 5), _convolved(-1)),
    (r"(CuDNN)?(LSTM|GRU)(V[12])?|SimpleRNN", (2,), lambda shape, entry: (shape[0], -1, 3)),
    (
        r"ConvLSTM[123]D", (3, 4, 5),
        lambda shape, entry: (shape[-2], 2 if _channels(entry) == 1 else -1, len(shape) + 1),
    ),
    (
        r"(Sync)?BatchNormalization(V[12])?|(Group|Layer|RMS)Normalization", (1,), _normalized,
    ),
)  # fmt: skip


def _needed(entry: Entry, weights: Sequence[tuple[int, ...]]) -> Need | None:
    shape = weights[0] if weights else ()
    if shape:
        for names, axes, need in _NEEDS:
            if len(shape) in axes and re.fullmatch(names, _class(entry)):
                return need(shape, entry)
    return None


# Layers that keep the number of channels, and the rank that they take.
_SAME_CHANNELS = re.compile(
    r"(?:Adaptive|Global)?(?:Max|Avg|Average)Pool(?:ing)?([123])D|(?:ZeroPadding|Cropping"
    r"|UpSampling)([123])D"
)


def _through(place: _Place, name: str, entry: Entry) -> _Place | None:
    """The output of a reader, where it tells something of the shape in question."""
    same = keeps_shape(entry)
    pooled = _SAME_CHANNELS.fullmatch(_class(entry))
    if same or (pooled and place.rank is not None):
        return replace(place, layer=name, tensor=0)
    if pooled:
        rank = int(pooled.group(1) or pooled.group(2)) + 2
        return _Place(place.scope, name, 0, rank, _channels(entry))
    if _class(entry) == "Flatten" and place.rank is None:
        return _Place(place.scope, name, 0, 2, flattened=True)
    return None
