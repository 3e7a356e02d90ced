"""Models from what `initialize_model` accepts, and copies that leave the original alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from autoinit.errors import GraphError, keras2_advice
from autoinit.graph.keras_internals import (
    compile_settings,
    maker_of,
    set_own_trainable,
    stacks_built_once,
)
from autoinit.graph.model_graph import ModelGraph
from autoinit.reading import read_model
from autoinit.rules import RULES
from autoinit.rules.registry import Registry


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
            raise ValueError(f"The model's JSON cannot be read: {error}.") from error
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
            raise ValueError(
                "The dictionary is no model's configuration: it has neither 'layers' nor "
                f"'class_name'. Its keys are: {', '.join(map(str, list(model)[:8]))}."
            )
    if not isinstance(made, keras.Model):
        raise ValueError(f"The configuration describes a {type(made).__name__}, not a model.")
    return made


def clone_with_weights(
    model: Any,
    registry: Registry = RULES,
    custom_objects: dict[str, Any] | None = None,
    replaced: Callable[[Any], Any] = lambda layer: None,
    followed_by: Callable[[Any], Sequence[Any]] = lambda layer: (),
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
    cloning = _Cloning(replaced, followed_by)
    with keras.saving.custom_object_scope(scope):
        twin = cloning.clone(model)
    if model.compiled:
        compile_like(twin, model)
    pairs = cloning.pairs or zip(
        graph.layers(), read_model(twin, registry=registry).layers(), strict=True
    )
    for original, copy in pairs:
        values, variables = _variables(original), _variables(copy)
        if [value.shape for value in values] == [variable.shape for variable in variables]:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
    return twin


def _variables(layer: Any) -> list[Any]:
    return list(getattr(layer, "variables", ()))  # operations have none


def compile_like(twin: Any, model: Any) -> None:
    """Compile a model with another's settings; its optimizer starts afresh."""
    # Saving a model as HDF5 drops the optimizer from this record: it is taken from the model.
    settings = {**compile_settings(model), "optimizer": model.optimizer}
    settings = {name: _anew(value) for name, value in settings.items()}
    twin.compile(**settings)


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

    Attributes:
        pairs: of old and new layers; of nested models those in them.
    """

    def __init__(
        self, replaced: Callable[[Any], Any], followed_by: Callable[[Any], Sequence[Any]]
    ) -> None:
        self._replaced, self._followed_by = replaced, followed_by
        self._made: dict[int, Any] = {}
        self._added: dict[int, Sequence[Any]] = {}
        self.pairs: list[tuple[Any, Any]] = []

    def clone(self, model: Any) -> Any:
        """A model like another, without its weights' values."""
        if isinstance(model, keras.Sequential):
            parts = [each for layer in model.layers for each in self._with_added(self._part(layer))]
            twin = keras.Sequential([_input_like(model.inputs[0]), *parts], name=model.name)
        elif getattr(model, "inputs", None):
            # Left to itself, Keras names the new inputs of a functional model after tensors.
            inputs = keras.tree.map_structure(_input_like, model.input)
            twin = keras.models.clone_model(
                model, input_tensors=inputs, clone_function=self._part, call_function=self._called
            )
        else:
            return _remade(model)
        # Of a functional model Keras forgets it; the layers have theirs, which may be another.
        set_own_trainable(twin, model.trainable)
        return twin

    def _part(self, layer: Any) -> Any:
        if id(layer) not in self._made:
            if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
                fresh = self.clone(layer)
            else:
                fresh = self._replaced(layer) or type(layer).from_config(layer.get_config())
                self.pairs.append((layer, fresh))
            self._made[id(layer)] = fresh
            self._added[id(fresh)] = self._followed_by(layer)
        return self._made[id(layer)]

    def _with_added(self, fresh: Any) -> Iterator[Any]:
        yield fresh
        yield from self._added.get(id(fresh), ())

    def _called(self, fresh: Any, *args: Any, **kwargs: Any) -> Any:
        first, *added = self._with_added(fresh)
        result = first(*args, **kwargs)
        for layer in added:
            result = layer(result)
        return result


def _remade(model: Any) -> Any:
    """A subclassed model from its configuration, built for the same shapes."""
    try:
        twin = type(model).from_config(model.get_config())
        twin.build_from_config(model.get_build_config())
        twin.built = model.built
    except Exception as error:  # the model's own code, which may raise anything
        raise GraphError(
            f"Model {model.name!r} ({type(model).__name__}) cannot be made again from its "
            f"configuration, so that the original could be left as it is: {error}. Give the class "
            "a get_config() of its constructor's arguments."
        ) from error
    return twin


def _input_like(tensor: Any) -> Any:
    layer = maker_of(tensor)
    return keras.Input(
        batch_shape=tensor.shape, dtype=tensor.dtype, name=layer.name, sparse=tensor.sparse,
        optional=layer.optional,
    )  # fmt: skip


def _custom_objects(model: Any, graph: ModelGraph) -> dict[str, Any]:
    """Classes and functions of a live model that are not Keras's own, to make its parts again."""
    kinds = {type(layer) for layer in graph.layers()}
    found = {kind.__name__: kind for kind in kinds if not kind.__module__.startswith("keras.")}
    settings = compile_settings(model) if model.compiled else {}
    functions = [leaf for leaf in keras.tree.flatten(settings) if callable(leaf)]
    named = {getattr(f, "__name__", type(f).__name__): f for f in functions}
    return {**named, **found}
