"""From a checked configuration to a model, by the Keras that wrote it, within budgets.

Shapes come first: variables are declared without memory, counted, and only then allocated.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from autoinit.errors import ModelFileError, said_by_keras
from autoinit.graph.keras_internals import (
    compute_output_spec,
    initializer_of,
    layers_in,
    most_positions,
    stacks_built_once,
    started_at_zero,
    variables_without_values,
)
from autoinit.graph.keras_models import input_dtypes, input_shapes, symbolic_inputs
from autoinit.graph.model_graph import ModelGraph
from autoinit.graph.shapes import all_activations, largest_alive, work
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.json_text import Path


def rebuild_keras3(
    config: Mapping[str, Any],
    custom_objects: Mapping[str, Any],
    budgets: Budgets,
    undrawn: list[tuple[Any, Any]] | None = None,
) -> Any:
    """The object that a checked configuration of Keras 3 describes, not compiled.

    Args:
        config: of the object.
        custom_objects: by name.
        budgets: the limits.
        undrawn: gets the variables that begin at zero, as weights of a file take the place of what
            would be drawn, and the initialisers that would. Without it all are drawn.

    Raises:
        ModelFileError: the variables exceed a budget, or Keras refuses the configuration.
    """
    with keras.saving.custom_object_scope(dict(custom_objects)), refusals():
        # Each step that is unrolled is a call, and there may be a million.
        rolled, unrolled = without(config, "unroll")
        without_states, stateful = without(rolled, "stateful")
        with shapes_first() as allocate:
            made = _deserialize(without_states)
            require_variables(getattr(made, "variables", ()), budgets)
            unroll(made, unrolled, budgets)
            if not stateful:
                if undrawn is not None:
                    declared = ((v, started_at_zero(v)) for v in getattr(made, "variables", ()))
                    undrawn += [pair for pair in declared if pair[1] is not None]
                allocate()
                return made
        # The states of recurrent layers have values from the beginning: they cannot be declared.
        _require_states(made, stateful, budgets)
        made = _deserialize(rolled)
        unroll(made, unrolled, budgets)
        return made


def unroll(model: Any, names: set[str], budgets: Budgets) -> None:
    """Mark recurrent layers as unrolled again, whose steps are as few as the budget says.

    Raises:
        ModelFileError: `over_budget`.
    """
    if not names:
        return
    for layer in layers_in(model):
        # A layer around it is called in its place.
        if any(hasattr(layer, name) for name in ("unroll", "forward_layer", "layer")):
            budgets.require("repetitions", most_positions(layer), "An unrolled layer")
        if layer.name in names and hasattr(layer, "unroll"):
            layer.unroll = True


def _deserialize(config: dict[str, Any]) -> Any:
    taken = copy.deepcopy(config)  # Keras takes apart what it is given
    built_for = taken.pop("build_config", None)
    for path, factor in shear_factors(taken).items():
        inner: Any = taken
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = factor
    with stacks_built_once():
        made = keras.saving.deserialize_keras_object(taken, safe_mode=True)
    if built_for and isinstance(made, keras.Model) and not made.built:
        _build(made, built_for)
    return made


def _build(model: Any, recorded: Mapping[str, Any]) -> None:
    """Build a model of a class of its own by the call that its file was saved after.

    Keras does so, too, and keeps to itself what went wrong.

    Args:
        model: whose layers have no weights yet.
        recorded: the file's `build_config`.
    """
    if type(model).build_from_config is not keras.Model.build_from_config:
        model.build_from_config(recorded)
        return
    by_recorded_shapes(model, recorded, lambda **given: compute_output_spec(model, **given))


def by_recorded_shapes(
    model: Any,
    recorded: Mapping[str, Any],
    call: Callable[..., Any],
    symbol: Callable[..., Any] = keras.KerasTensor,
) -> Any:
    """What a call of a model of a class of its own gives; None where no shape is recorded for it.

    Args:
        model: of either Keras.
        recorded: the `build_config` of its file.
        call: of it, with symbolic tensors as the arguments of its `call`.
        symbol: what makes one of a shape, a type and a name.
    """
    shapes = input_shapes(model, recorded.get("shapes_dict", recorded))
    failed = []
    for dtype in input_dtypes(model) if shapes else ():
        try:
            return call(**symbolic_inputs(shapes, dtype, symbol))
        except Exception as error:  # the model's own code
            failed.append(error)
    if failed:
        raise failed[0]
    return None


def shear_factors(config: Any) -> dict[Path, float]:
    """Factors of `RandomShear`, by the keys that lead to them, as it takes them.

    It records the range that it has made of a number, and does not take that again.
    """
    found: dict[Path, float] = {}
    for path, entry in objects_in(config):
        inner = entry.get("config")
        if entry.get("class_name") == "RandomShear" and isinstance(inner, dict):
            for name in ("x_factor", "y_factor"):
                ends = inner.get(name)
                if isinstance(ends, list) and len(ends) == 2 and ends[0] == -ends[1]:
                    found[*path, "config", name] = ends[1]
    return found


def objects_in(config: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every dictionary in a configuration, and the keys that lead to it."""
    waiting: list[tuple[Path, Any]] = [((), config)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            yield path, value
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        waiting += [((*path, key), part) for key, part in parts if isinstance(part, (dict, list))]


def without(config: Mapping[str, Any], flag: str) -> tuple[dict[str, Any], set[str]]:
    """A copy in which no layer is `stateful`, or has `unroll`, and the names of those that were."""
    copied = copy.deepcopy(dict(config))
    names: set[str] = set()
    for _, value in objects_in(copied):
        if value.get(flag) is True:
            value[flag] = False
            names.add(str(value.get("name")))
    return copied, names


def _require_states(model: Any, names: set[str], budgets: Budgets) -> None:
    """Hold the states, at most some arrays of an output's size each, to the parameters' budget."""
    models, states = [model], 0
    while models:
        for layer in getattr(models.pop(), "layers", ()):
            models.append(layer)
            if layer.name in names:
                # Of an LSTM: two.
                outputs = keras.tree.flatten(layer.output)
                states += 2 * sum(math.prod(s or 1 for s in tensor.shape) for tensor in outputs)
    budgets.require("parameters", states, "The states of recurrent layers")


@contextmanager
def shapes_first() -> Iterator[Any]:
    """Variables made in the block get their memory at its end, if the function it gives is called.

    Otherwise, or on an error, they are forgotten.
    """
    scope = keras.StatelessScope(initialize_variables=False)

    def allocate() -> None:
        scope.initialize_variables = True

    try:
        with scope:
            yield allocate
    finally:
        # Keras would allocate what was forgotten at the end of the next such block.
        variables_without_values()


def require_variables(variables: Any, budgets: Budgets) -> None:
    """Hold declared variables against the budgets for parameters and for orthogonal draws.

    Raises:
        ModelFileError: one is exceeded.
    """
    total = sum(math.prod(variable.shape) for variable in variables)
    budgets.require("parameters", total, "The model")
    for variable in variables:
        if isinstance(initializer_of(variable), keras.initializers.Orthogonal):
            require_orthogonal(tuple(variable.shape), budgets)


def require_orthogonal(shape: tuple[int, ...], budgets: Budgets) -> None:
    """Hold one orthogonal draw, which takes rows·columns·min(rows, columns) steps, to its budget.

    Raises:
        ModelFileError: it is exceeded.
    """
    rows, columns = math.prod(shape[:-1]), shape[-1]
    budgets.require(
        "orthogonal_operations",
        rows * columns * min(rows, columns),
        f"The orthogonal draw of a matrix of {rows} × {columns}",
    )


def require_activations(graph: ModelGraph, samples: int, budgets: Budgets) -> None:
    """Hold what a pass takes, in memory and time, against the budgets before there is one.

    Args:
        graph: with the shapes that will flow.
        samples: how many inputs will be fed through.
        budgets: the limits.

    Raises:
        ModelFileError: one is exceeded.
    """
    budgets.require("calls", len(graph.calls), "The model")
    budgets.require("live_bytes", largest_alive(graph, 1), "The activations of one sample")
    budgets.require(
        "activation_bytes", all_activations(graph, samples), f"The activations of {samples} samples"
    )
    multiplications, steps = work(graph)
    budgets.require("steps", steps, "The model's recurrent layers")
    budgets.require("multiplications", samples * multiplications, f"A pass of {samples} samples")


@contextmanager
def refusals() -> Iterator[None]:
    """Turns whatever Keras raises while it rebuilds into one sentence."""
    try:
        yield
    except (ModelFileError, MemoryError):
        raise
    except RecursionError as error:
        raise ModelFileError(
            "too_deep",
            "The model is nested or chained so deeply that Keras cannot rebuild it in this "
            "process; the command line's and the dashboard's workers have the room for it.",
        ) from error
    except Exception as error:  # any layer's code runs here, and may raise anything
        refusal = _wrapped(error)
        if refusal is not None:
            raise refusal from error
        raise ModelFileError("cannot_rebuild", _sentence(error)) from error


def _wrapped(error: BaseException) -> ModelFileError | None:
    """A refusal of ours that Keras has wrapped in an error of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModelFileError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _sentence(error: Exception) -> str:
    """What went wrong; Keras's own text goes on for pages, with the configuration in it."""
    text = said_by_keras(error)
    inner = re.findall(r"Exception encountered: (.*?)(?= Exception encountered:|$)", text)
    causes = [*inner, text]
    detail = next((part for part in reversed(causes[:-1]) if part), causes[-1])
    detail = re.split(r" (?:config|Received config|Full object config)\s?[=:]", detail)[0]
    detail = detail[:200].rstrip(". ") or type(error).__name__
    return f"Keras cannot rebuild this model: {detail}."
