"""Opening a composite layer: its `call`, run once on symbolic tensors, leaves its inner graph.

A layer whose `call` is made of Keras layers and operations becomes the calls that it makes, and so
do such layers inside it. It is opened with concrete sizes, the batch included, because much code
asks for them; a batch of another size is recorded anew (`LayerTrace.at`). The layer is left as it
was.
"""

from __future__ import annotations

import contextlib
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import KerasTensor

from autoinit.errors import GraphError, plain_reason
from autoinit.graph import keras_internals as internals
from autoinit.graph.keras_internals import Node, get_stateless_scope
from autoinit.graph.model_graph import Parameter, TensorRef, Value

# Keras's classes are told of every node while a layer is opened: one at a time.
_one_at_a_time = threading.RLock()
_SIZES_KEPT = 8  # of batches that a layer's calls are there for


class UntraceableError(GraphError):
    """Why a layer stays one call, as the end of a sentence."""


@dataclass(frozen=True, eq=False)
class Scope:
    """One use of a layer that was opened.

    Attributes:
        layer: which one.
        parent: the use around it, or None.
    """

    layer: Any
    parent: Scope | None


@dataclass(frozen=True, eq=False)
class TracedCall:
    """One call inside an opened layer.

    Attributes:
        node: of Keras.
        scope: the innermost opened layer around it.
        untraceable: why the called layer, which has no rule, could not be traced; or "".
    """

    node: Any
    scope: Scope
    untraceable: str = ""


@dataclass(frozen=True)
class Trace:
    """What one run of a layer's `call` on symbolic tensors recorded.

    Attributes:
        calls: those that the outputs depend on, each after those that it depends on.
        given: the symbolic tensors that stood for the layer's arguments, masks last.
        parameters: variables that the opened layers' own code reads, with the tensors that stood
            for them and the layer's use.
        outputs: of the layer.
        scopes: uses of opened layers with what they returned, the outermost first.
    """

    calls: tuple[TracedCall, ...]
    given: tuple[Any, ...]
    parameters: tuple[tuple[Parameter, Any, Scope], ...]
    outputs: tuple[Any, ...]
    scopes: tuple[tuple[Scope, tuple[Any, ...]], ...]


@dataclass
class LayerTrace:
    """The trace of one use of a composite layer, and the same for batches of other sizes.

    Attributes:
        layer: which was opened.
        arguments: of its call, with refs for tensors.
        values: those that the refs name.
        masked: indices of the values that came with a mask.
        training: mode of the model.
        batch: size of the batch of `trace`.
        has_rule: tells the layers that are not opened.
        trace: the first one, which the graph was made of.
        refs: where the tensors of `trace` are found in the graph, by identity.
    """

    layer: Any
    arguments: Any
    values: dict[int, Value]
    masked: frozenset[int]
    training: bool
    batch: int
    has_rule: Callable[[Any], bool]
    trace: Trace = field(init=False, repr=False)
    refs: dict[int, TensorRef] = field(default_factory=dict, repr=False)
    _others: dict[int, list[tuple[Any, Any]]] = field(default_factory=dict, repr=False)
    # Parts that could not be opened; with a batch of another size one might by accident.
    _closed: frozenset[int] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        self.trace = self._traced(self.batch)
        self._closed = frozenset(id(_layer_of(c)) for c in self.trace.calls if c.untraceable)

    def at(self, batch: int, place: int) -> tuple[Any, Any]:
        """Operation and arguments of a call, for a batch of another size.

        Args:
            batch: its size.
            place: of the call in the trace.

        Raises:
            UntraceableError: where the layer makes other calls for that size.
        """
        if batch not in self._others:
            # Rules try a call on one sample and on two, then the next one, and probes have theirs.
            latest = list(self._others.items())[1 - _SIZES_KEPT :]
            self._others = {**dict(latest), batch: self._again(self._traced(batch))}
        return self._others[batch][place]

    def _again(self, fresh: Trace) -> list[tuple[Any, Any]]:
        kinds = [[type(c.node.operation) for c in trace.calls] for trace in (self.trace, fresh)]
        if kinds[0] != kinds[1]:
            raise UntraceableError(
                f"{self.layer.name!r} ({type(self.layer).__name__}) makes other calls for a batch "
                f"of another size than {self.batch}"
            )
        refs = {
            id(new): self.refs[id(old)]
            for old, new in zip(_tensors(self.trace), _tensors(fresh), strict=True)
            if id(old) in self.refs
        }

        def ref(leaf: Any) -> Any:
            return refs[id(leaf)] if isinstance(leaf, KerasTensor) else leaf

        return [
            (call.node.operation, keras.tree.map_structure(ref, arguments_of(call.node)))
            for call in fresh.calls
        ]

    def _traced(self, batch: int) -> Trace:
        given: dict[int, Any] = {}
        masks: list[Any] = []

        def symbol(leaf: Any) -> Any:
            if not isinstance(leaf, TensorRef):
                return leaf
            if leaf.value not in given:
                value = self.values[leaf.value]
                given[leaf.value] = KerasTensor(value.sizes(batch), value.dtype)
                if leaf.value in self.masked:
                    masks.append(KerasTensor(given[leaf.value].shape[:2], "bool"))
                    internals.set_keras_mask(given[leaf.value], masks[-1])
            return given[leaf.value]

        args, kwargs = keras.tree.map_structure(symbol, self.arguments)
        kwargs.pop("training", None)
        if internals.takes_training(self.layer):
            kwargs["training"] = self.training
        with _one_at_a_time:
            return _Tracer(self.layer, self._stays_whole).run(
                args, kwargs, (*given.values(), *masks)
            )

    def _stays_whole(self, part: Any) -> bool:
        return id(part) in self._closed or self.has_rule(part)


def is_tracing() -> bool:
    """Whether a layer's `call` is being run on symbolic tensors, to be opened."""
    return isinstance(get_stateless_scope(), _Watched)


def arguments_of(node: Any) -> Any:
    """Positional and keyword arguments of a node."""
    return node.arguments.args, node.arguments.kwargs


class _Tracer:
    """Runs a layer's `call` on symbolic tensors.

    Args:
        layer: a built layer.
        has_rule: tells the layers that are recorded as one call.
    """

    def __init__(self, layer: Any, has_rule: Callable[[Any], bool]) -> None:
        self.layer = layer
        self.has_rule = has_rule
        self.calls: list[TracedCall] = []
        self.scopes: list[tuple[Scope, tuple[Any, ...]]] = []
        self.parameters: dict[int, tuple[Parameter, Any, Scope]] = {}
        self.around: list[Scope] = []
        self.finished: list[Any] = []  # opened layers whose own node is still to be refused
        self.untraceable: dict[int, str] = {}

    def run(self, args: Any, kwargs: Any, given: Sequence[Any]) -> Trace:
        """Record one call.

        Args:
            args, kwargs: of the call, with symbolic tensors of concrete shapes.
            given: those tensors.

        Raises:
            UntraceableError: where that does not end with tensors that depend on those given.
        """
        trace = self._once(args, kwargs, given)
        late = {id(layer): call for call in trace.calls if _is_late(layer := _layer_of(call))}
        if not late:
            return trace
        for call in late.values():
            _build(call)
        return _Tracer(self.layer, self.has_rule)._once(args, kwargs, given)

    def _once(self, args: Any, kwargs: Any, given: Sequence[Any]) -> Trace:
        parts = internals.layers_in(self.layer)
        with (
            internals.put_back(parts),
            self._hearing_of_nodes(),
            _Watched(parts),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # they came when the model was made
            for part in parts:
                self._listen_to(part)
            try:
                results = self.layer(*args, **kwargs)
            except Exception as error:  # in Keras's words around those of the layer
                raise UntraceableError(
                    self.untraceable.get(id(self.layer)) or _message(error)
                ) from error
            if self.layer in map(_layer_of, self.calls):
                raise UntraceableError(self.untraceable[id(self.layer)])
            outputs = keras.tree.flatten(results)
            if not all(isinstance(output, KerasTensor) for output in outputs):
                raise UntraceableError("what it returns is no tensor that depends on its input")
        known = {id(tensor) for tensor in given}
        known |= {id(tensor) for _, tensor, _ in self.parameters.values()}
        calls, used = _behind(outputs, self.calls, known)
        return Trace(
            tuple(calls),
            tuple(given),
            tuple(pair for pair in self.parameters.values() if id(pair[1]) in used),
            tuple(outputs),
            tuple(reversed(self.scopes)),
        )

    def _listen_to(self, part: Any) -> None:
        """Layers with a rule stay whole; others are run, or are one call where that fails."""
        whole = part is not self.layer and (self.has_rule(part) or _is_functional(part))
        if whole:
            vars(part)["call"] = self._recording_constants(part)
            vars(part)["compute_output_spec"] = _spec_of(part)
            return
        symbolic_call = _spec_of(part)
        vars(part)["add_loss"] = _ignored  # it takes no symbolic tensors, and adds nothing to these

        def opened(*args: Any, **kwargs: Any) -> Any:
            scope = Scope(part, self.around[-1] if self.around else None)
            calls, scopes, parameters = len(self.calls), len(self.scopes), dict(self.parameters)
            self.around.append(scope)
            try:
                self._use_parameters(part, scope)
                results = part.call(*args, **kwargs)
                self.finished.append(part)
                tensors = [x for x in keras.tree.flatten(results) if isinstance(x, KerasTensor)]
                self.scopes.append((scope, tuple(tensors)))
                return results
            except Exception as error:  # any layer's code runs here, and raises what it likes
                self.untraceable[id(part)] = _message(error)
                if part is self.layer:
                    raise UntraceableError(self.untraceable[id(part)]) from error
                del self.calls[calls:], self.scopes[scopes:]
                self.parameters = parameters
                return symbolic_call(*args, **kwargs)
            finally:
                self.around.pop()

        vars(part)["symbolic_call"] = opened

    @contextlib.contextmanager
    def _hearing_of_nodes(self) -> Iterator[None]:
        """Keras makes a node of every symbolic call; those of opened layers are refused."""
        me = threading.get_ident()

        def recorded(operation: Any, **details: Any) -> Any:
            if threading.get_ident() != me or not is_tracing():
                return Node(operation=operation, **details)
            if self.finished and self.finished[-1] is operation:
                return self.finished.pop()
            node = Node(operation=operation, **details)
            if self.around:
                reason = self.untraceable.get(id(operation), "")
                self.calls.append(TracedCall(node, self.around[-1], reason))
            return node

        with internals.nodes_made_by(recorded):
            yield

    def _use_parameters(self, layer: Any, scope: Scope) -> None:
        """Put symbolic tensors in place of the variables that are attributes of a layer."""

        def symbol(name: str, value: Any) -> Any:
            if not isinstance(value, keras.Variable):
                return value
            if id(value) not in self.parameters:
                floating = str(value.dtype).startswith(("float", "bfloat"))
                dtype = layer.compute_dtype if floating and layer.autocast else value.dtype
                parameter = Parameter(layer, name, value, dtype)
                tensor = KerasTensor(value.shape, dtype)
                self.parameters[id(value)] = parameter, tensor, scope
            return self.parameters[id(value)][1]

        changed = {}
        for name, value in internals.readable_attributes(layer).items():
            if _holds_variables(value):
                changed[name] = keras.tree.map_structure(
                    lambda leaf, name=name: symbol(name, leaf), value
                )
        vars(layer).update(changed)

    def _recording_constants(self, part: Any) -> Callable[..., Any]:
        """A layer's `call` that records itself where it is given no symbolic tensor.

        Such as an embedding that looks up the positions 0, 1, 2, …
        """
        original = part.call

        def call(*args: Any, **kwargs: Any) -> Any:
            recording = is_tracing()
            if not recording or internals.any_symbolic_tensors(args, kwargs) or not part.weights:
                return original(*args, **kwargs)
            outputs = internals.compute_output_spec(original, *args, **kwargs)
            node = Node(operation=part, call_args=args, call_kwargs=kwargs, outputs=outputs)
            self.calls.append(TracedCall(node, self.around[-1]))
            return outputs

        return call


def _layer_of(call: TracedCall) -> Any:
    return call.node.operation


def _is_late(layer: Any) -> bool:
    """Whether a layer in a built one has no weights yet: one that its call alone would build."""
    return isinstance(layer, keras.Layer) and not layer.built


def _build(call: TracedCall) -> None:
    """As the layer's first call would."""
    layer, arguments = _layer_of(call), call.node.arguments
    try:
        layer(*arguments.args, **arguments.kwargs)
    except Exception as error:  # the layer's own code
        reason = f"its layer {layer.name!r} ({type(layer).__name__}) is not built"
        raise UntraceableError(f"{reason}: {_message(error)}") from error


def _is_functional(layer: Any) -> bool:
    return isinstance(layer, keras.Model) and bool(getattr(layer, "inputs", None))


def _behind(
    outputs: Sequence[Any], calls: Sequence[TracedCall], known: set[int]
) -> tuple[list[TracedCall], set[int]]:
    """The calls that some tensors depend on, and the tensors that these read."""
    needed = {id(tensor) for tensor in outputs}
    found = []
    for call in reversed(calls):  # in the order in which they were made
        if any(id(tensor) in needed for tensor in call.node.outputs):
            found.append(call)
            needed |= {id(tensor) for tensor in call.node.input_tensors}
    made = {id(tensor) for call in found for tensor in call.node.outputs}
    if needed - made - known:
        raise UntraceableError("it reads a tensor that is neither given to it nor computed by it")
    return found[::-1], needed


def _tensors(trace: Trace) -> Iterator[Any]:
    yield from trace.given
    for _, tensor, _ in trace.parameters:
        yield tensor
    for call in trace.calls:
        yield from call.node.outputs


def _holds_variables(value: Any) -> bool:
    if isinstance(value, keras.Variable):
        return True
    if not isinstance(value, (list, tuple, dict)):
        return False
    return any(isinstance(leaf, keras.Variable) for leaf in keras.tree.flatten(value))


class _Watched(keras.StatelessScope):
    """Refuses code that computes with the values of weights, which AutoInit is about to change.

    What is computed from them would be a constant of the inner graph.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        super().__init__()
        self._weights = {id(v): v for part in parts for v in internals.own_variables(part)[0]}

    def get_current_value(self, variable: Any) -> Any:
        if id(variable) in self._weights:
            raise UntraceableError(f"it computes with the values of {variable.path!r} directly")
        return super().get_current_value(variable)


def _ignored(loss: Any) -> None:
    """Stands for what a layer would add to the loss."""


def _spec_of(part: Any) -> Callable[..., Any]:
    """A layer's `compute_output_spec`, or that of its computation where it has none that fits.

    Some leave sizes open, and some were inherited from a layer with other arguments.
    """
    original = part.compute_output_spec
    call = part.call

    def specify(*args: Any, **kwargs: Any) -> Any:
        try:
            spec = original(*args, **kwargs)
            if all(None not in tensor.shape for tensor in keras.tree.flatten(spec)):
                return spec
        except Exception:  # any layer's code; what its computation raises is told
            spec = None
        return internals.compute_output_spec(call, *args, **kwargs)

    return specify


def _message(error: Exception) -> str:
    """What an error says, in one line; Keras wraps it in a report on the arguments."""
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception encountered when")]
    reason = told[0].split(". ")[0].rstrip(".")[:300] if told else ""
    if isinstance(error, UntraceableError):
        return reason
    return plain_reason(error) or reason or "its code stops there, and does not say why"
