"""Models from what `initialize_model` accepts, and copies that leave the original alone."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import keras

from autoinit.errors import GraphError, SettingsError, keras2_advice
from autoinit.graph.changing import put_values_back, values_of
from autoinit.graph.keras_internals import (
    Functional,
    compile_settings,
    layers_in,
    maker_of,
    set_own_trainable,
    stacks_built_once,
)
from autoinit.graph.model_graph import ModelGraph, innermost, own_activation
from autoinit.graph.paths import shortened
from autoinit.initializers.drawing import recorded_initializers, restore_initializers
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.registry import Registry

_STOCK = (Functional, keras.Sequential)
Pairs = list[tuple[Any, Any]]


def as_model(model: Any, custom_objects: dict[str, Any] | None) -> Any:
    """A Keras model from a model, a configuration dictionary or a JSON string.

    A dictionary may be a model's `get_config()`, a serialised model, or a decoded `to_json()`.

    Raises:
        TypeError: for anything else.
        ValueError: where a dictionary or string describes no model.
    """
    if isinstance(model, keras.Model):
        return model
    if isinstance(model, (str, bytes)):
        try:
            model = json.loads(model)
        except json.JSONDecodeError as error:
            raise SettingsError(
                f"The model's JSON cannot be read: {error}. Open a file with "
                "keras.models.load_model(path), and give what it returns."
            ) from error
    if not isinstance(model, dict):
        raise TypeError(
            keras2_advice(model)
            or "model must be a keras.Model, a configuration dictionary or a JSON string. "
            f"Received type: {type(model).__name__}"
        )
    with keras.saving.custom_object_scope(custom_objects or {}), stacks_built_once():
        if "class_name" in model and "config" in model:
            made = keras.saving.deserialize_keras_object(model)
        elif "layers" in model:
            kind = keras.Model if "output_layers" in model else keras.Sequential
            made = kind.from_config(model)
        else:
            raise SettingsError(
                "The dictionary is no model's configuration: it has neither 'layers' nor "
                f"'class_name'. Its keys are: {', '.join(map(str, list(model)[:8]))}."
            )
    if not isinstance(made, keras.Model):
        raise SettingsError(f"The configuration describes a {type(made).__name__}, not a model.")
    return made


def clone_with_weights(
    model: Any,
    registry: Registry = RULES,
    custom_objects: dict[str, Any] | None = None,
    replaced: Callable[[Any], Any] | None = None,
    followed_by: Callable[[Any], Sequence[Any]] | None = None,
) -> Any:
    """A copy of a model with the same variables' values, compiled the same way.

    The original is left as it was. The copy's optimizer is a new one: its slots are empty.

    Args:
        model: functional, sequential, or a subclass that can be opened.
        registry: rules to use.
        custom_objects: classes that a configuration needs, by name.
        replaced: gives the layer that takes the place of another, or None to copy that. It has
            the other's weights where those are of the same shapes.
        followed_by: gives new layers that follow one wherever it is used, one after another.

    Raises:
        GraphError: where a layer cannot be made again from its configuration.
    """
    graph = read_model(model, registry=registry)
    scope = {**_custom_objects(model, graph), **(custom_objects or {})}
    cloning = _Cloning(model, replaced or (lambda layer: None), followed_by or (lambda layer: ()))
    with keras.saving.custom_object_scope(scope):
        copied = None
        if type(model) not in _STOCK and replaced is followed_by is None:
            with contextlib.suppress(GraphError):  # else it has Keras's own class
                copied = cloning.whole(model)
        copied = copied or cloning.clone(model)
    if model.compiled:
        compile_like(copied, model)
    for original, copy in cloning.pairs:
        values, variables = _variables(original), _variables(copy)
        if [value.shape for value in values] == [variable.shape for variable in variables]:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
            if values and hasattr(copy, "finalize_state"):
                copy.finalize_state()  # a Normalization computes with what it makes of these
    return copied


@contextlib.contextmanager
def working_copy(
    model: Any, registry: Registry = RULES, custom_objects: dict[str, Any] | None = None
) -> Iterator[Any]:
    """A copy to draw into; of what cannot be copied the model itself, put back afterwards."""
    try:
        copied = clone_with_weights(model, registry, custom_objects)
    except GraphError:
        graph = read_model(model, registry=registry)  # without one, that is what is wrong
        values = values_of(model.variables)
        recorded = recorded_initializers(graph)
        try:
            yield model
        finally:
            restore_initializers(recorded)
            put_values_back(values)
    else:
        yield copied


def _variables(layer: Any) -> list[Any]:
    return list(getattr(layer, "variables", ()))  # operations have none


def compile_like(copied: Any, model: Any) -> None:
    """Compile a model with another's settings; its optimizer starts afresh."""
    # Saving a model as HDF5 drops the optimizer from this record: it is taken from the model.
    settings = {**compile_settings(model), "optimizer": model.optimizer}
    settings = {name: _anew(value) for name, value in settings.items()}
    copied.compile(**settings)


def _anew(value: Any) -> Any:
    """A stateless copy of an optimizer or metric; other settings serve both models."""
    if isinstance(value, (keras.optimizers.Optimizer, keras.metrics.Metric)):
        return type(value).from_config(value.get_config())
    if isinstance(value, dict):
        return {key: _anew(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_anew(part) for part in value]
    return value


class _Cloning:
    """Models of new layers, each of which is made once.

    Args:
        outermost: the model that is to be copied.
        replaced, followed_by: as `clone_with_weights` takes them.

    Attributes:
        pairs: of old and new layers; of nested models those in them.
    """

    def __init__(
        self,
        outermost: Any,
        replaced: Callable[[Any], Any],
        followed_by: Callable[[Any], Sequence[Any]],
    ) -> None:
        self._outermost, self._replaced, self._followed_by = outermost, replaced, followed_by
        self._made: dict[int, Any] = {}
        self._added: dict[int, Sequence[Any]] = {}
        self.pairs: Pairs = []

    def clone(self, model: Any) -> Any:
        """A model like another, without its weights' values."""
        if isinstance(model, keras.Sequential):
            parts = [each for layer in model.layers for each in self._with_added(self._part(layer))]
            copied = keras.Sequential([_input_like(model.inputs[0]), *parts], name=model.name)
        elif getattr(model, "inputs", None):
            # Left to itself, Keras names the new inputs of a functional model after tensors.
            inputs = keras.tree.map_structure(_input_like, model.input)
            copied = keras.models.clone_model(
                model, input_tensors=inputs, clone_function=self._part, call_function=self._called
            )
        else:
            return self.whole(model)
        # Of a functional model Keras forgets it; the layers have theirs, which may be another.
        set_own_trainable(copied, model.trainable)
        return copied

    def whole(self, model: Any) -> Any:
        """The same of a model's own class, by the configuration of all of it."""
        pairs = _whole(model)
        self.pairs += pairs
        return pairs[0][1]

    def _part(self, layer: Any) -> Any:
        if id(layer) not in self._made:
            if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
                fresh = self.clone(layer)
            else:
                fresh = self._replaced(layer) or self._remade(layer)
                self.pairs.append((layer, fresh))
            self._made[id(layer)] = fresh
            self._added[id(fresh)] = self._followed_by(layer)
        return self._made[id(layer)]

    def _remade(self, layer: Any) -> Any:
        """A new layer from a layer's configuration, or else from that of the model around it."""
        try:
            return remade(layer)
        except GraphError:
            if id(layer) in self._spares:
                return self._spares[id(layer)]
            raise

    @cached_property
    def _spares(self) -> dict[int, Any]:
        """Layers of a model that was made as a whole, for those that cannot be made alone."""
        try:
            pairs = _whole(self._outermost)
        except GraphError:
            return {}
        return {id(original): copy for original, copy in pairs}

    def _with_added(self, fresh: Any) -> Iterator[Any]:
        yield fresh
        yield from self._added.get(id(fresh), ())

    def _called(self, fresh: Any, *args: Any, **kwargs: Any) -> Any:
        first, *added = self._with_added(fresh)
        result = first(*args, **kwargs)
        for layer in added:
            result = layer(result)
        return result


def remade(layer: Any, config: dict[str, Any] | None = None) -> Any:
    """A new layer from a configuration, its own by default.

    Raises:
        GraphError: names the layer, and says why it cannot be made.
    """
    try:
        return type(layer).from_config(layer.get_config() if config is None else config)
    except Exception as error:  # the layer's own code, which may raise anything
        raise GraphError(_cannot(layer, error)) from error


def _whole(model: Any) -> Pairs:
    """A model from its own configuration, or as a file would have it: its layers, and the new.

    The first pair is of the models themselves.
    """

    def from_config() -> Any:
        copied = type(model).from_config(model.get_config())
        if not getattr(model, "inputs", None):
            copied.build_from_config(model.get_build_config())
            copied.built = model.built
        return copied

    def from_file() -> Any:
        saved = keras.saving.serialize_keras_object(model)
        return keras.saving.deserialize_keras_object(saved, safe_mode=False)

    reasons = []
    for make in (from_config, from_file):
        try:
            pairs = _paired(model, make())
        except Exception as error:  # the model's own code, which may raise anything
            reasons.append(error)
        else:
            for original, copy in pairs:  # as a configuration does not have them all
                set_own_trainable(copy, original.trainable)
            return pairs
    raise GraphError(_cannot(model, reasons[0])) from reasons[0]


def _paired(model: Any, copied: Any) -> Pairs:
    """The layers of two models that were made alike; raises GraphError where they were not."""
    parts = layers_in(model), layers_in(copied)
    shapes = [
        [(type(layer), [variable.shape for variable in layer.variables]) for layer in each]
        for each in parts
    ]
    if shapes[0] != shapes[1]:
        raise GraphError(_cannot(model, ValueError("it has other layers or weights then")))
    return list(zip(*parts, strict=True))


def _cannot(part: Any, error: Exception) -> str:
    what = "Model" if isinstance(part, keras.Model) else "Layer"
    detail = (str(error).strip().splitlines() or [""])[-1].removeprefix("Exception encountered: ")
    return (
        f"{what} {part.name!r} ({type(part).__name__}) cannot be made again from its "
        f"configuration ({shortened(detail or type(error).__name__)}), so that the original could "
        "be left as it is. Give the class a get_config() of its constructor's arguments, or have "
        "the model itself initialised: initialize_model(model, in_place=True)."
    )


def _input_like(tensor: Any) -> Any:
    layer = maker_of(tensor)
    return keras.Input(
        batch_shape=tensor.shape,
        dtype=tensor.dtype,
        name=layer.name,
        sparse=tensor.sparse,
        optional=layer.optional,
    )


def _custom_objects(model: Any, graph: ModelGraph) -> dict[str, Any]:
    """Classes and functions of a live model that are not Keras's own, to make its parts again."""
    kinds = {type(layer) for layer in graph.layers()}
    found = {kind.__name__: kind for kind in kinds if not kind.__module__.startswith("keras.")}
    settings = compile_settings(model) if model.compiled else {}
    functions = [leaf for leaf in keras.tree.flatten(settings) if callable(leaf)]
    own = {own_activation(innermost(layer)) for layer in graph.layers()} - {None}
    # Of two of one name it could be either: then Keras says what it lacks.
    counts = Counter(function.__name__ for function in own)
    functions += [function for function in own if counts[function.__name__] == 1]
    named = {getattr(f, "__name__", type(f).__name__): f for f in functions}
    return {**named, **found}
