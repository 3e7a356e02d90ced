"""Whether the structure makes sense: what a configuration alone shows, with nothing run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.analysis.diagnosis.fault import Consequence, Fault, found_by
from app.analysis.diagnosis.linter.architecture import (
    AUGMENTING,
    NORMALIZERS,
    PASSING,
    RECURRENT,
    Architecture,
    LayerStep,
    function_name,
)
from app.analysis.diagnosis.linter.initializers import initializer_of
from app.analysis.diagnosis.linter.input_scaling import BYTES
from app.text.formatting import number

# Σ 1/width along a path, over dense layers: what a product of random matrices loses in rank
# (Hanin 2018: the variance of the logarithm of its gradients grows with this sum).
RANK_LOSS, _NARROW_LAYERS = 5.0, 20
# What is left of bytes after one scaling has a mean square within these.
_SCALED = (1e-3, 100.0)
# A Rescaling by a factor between these is made for bytes.
_OF_BYTES = (1 / 300, 0.02)
# Classifiers of digits, one or two layers of 64 or 512 units, were right for 10 to 73 % after 300
# steps with rates of 0.95 and 0.99, and for 94 to 98 % with 0.5 and without.
MOST_DROPPED = 0.95
_DROPS_NUMBERS = 0.4
_IMAGE_DTYPES = ("uint8",)
# Besides kernels and activations; batch normalization is linear in inference.
_LINEAR = frozenset([
    "InputLayer", "Activation", "Embedding", "Add", "Subtract", "Average", "Concatenate", "Cast",
    "BatchNormalization", "Normalization", "Rescaling", *PASSING, *AUGMENTING,
])  # fmt: skip


def structural(architecture: Architecture) -> Iterator[Fault]:
    """All faults of structure."""
    rules = (
        _nothing_trainable,
        _softmax_over_one,
        _softmax_twice,
        _squashed_twice,
        _sigmoid_state,
        _missing_nonlinearity,
        _misplaced_activation,
        _bottleneck,
        _unscaled,
        _dropout_of_nearly_all,
        _dropout_of_answers,
    )
    yield from found_by(rules, architecture)


def _fault(code: str, step: LayerStep, message: str, remedy: str, **more: Any) -> Fault:
    return Fault(code, step.path, step.class_name, message, remedy, **more)


def _nothing_trainable(architecture: Architecture) -> Iterator[Fault]:
    """A model all of whose layers with weights are frozen, or all but its normalizations.

    With three convolutions before the head, frozen and at random, normalizations alone gained
    nothing.
    """
    kernels = [s for s in architecture.steps if s.is_kernel or s.class_name in RECURRENT]
    known = any(architecture.values(step) for step in kernels)
    learning = [step for step in architecture.steps if _may_learn(architecture, step, known)]
    if kernels and learning and all(step.class_name in NORMALIZERS for step in learning):
        yield _fault(
            "nothing_trainable",
            kernels[0],
            "Normalizations alone are trainable: all layers with kernels are frozen "
            "(trainable=False), and their weights are random.",
            "unfreeze",
        )
    if kernels and not learning:
        yield _fault(
            "nothing_trainable",
            kernels[0],
            "No layer is trainable: all that have weights are frozen (trainable=False), and "
            "training would change nothing.",
            "unfreeze",
            consequence=Consequence.FATAL,
        )


def _may_learn(architecture: Architecture, step: LayerStep, known: bool) -> bool:
    """Whether a step may have weights that training changes.

    Args:
        known: whether values are at hand; without them any layer may have some.
    """
    if step.class_name in {"InputLayer", *PASSING, *AUGMENTING} or not step.trainable:
        return False
    if any(architecture.steps[index].path == step.path for index in step.inputs):
        return False  # the activation of a layer, which has been asked
    return bool(architecture.values(step)) if known else step.class_name != "Activation"


def _softmax_over_one(architecture: Architecture) -> Iterator[Fault]:
    for step in architecture.steps:
        axis = step.config.get("axis", -1)
        if step.activation == "softmax" and step.channels_in == 1 and axis == -1:
            yield _fault(
                "constant_output",
                step,
                f"{step.path!r} is a softmax over a single entry: it gives 1 for every input, and "
                "no gradient comes back through it.",
                "change_last_activation",
                consequence=Consequence.FATAL,
            )


def _missing_nonlinearity(architecture: Architecture) -> Iterator[Fault]:
    """Two kernels, one after the other, that could be multiplied into one.

    Not where the layer between is narrower than what it joins, which is a factorisation on
    purpose, nor after a depthwise convolution, nor where a dense layer paints the image that a
    convolution reads, as generators do.
    """
    pairs = []
    for step in architecture.kernels():
        if step.is_depthwise:
            continue
        reshaped = False
        for after in architecture.following(step):
            reshaped = reshaped or after.class_name == "Reshape"
            if after.is_kernel:
                if reshaped and step.class_name == "Dense" and after.class_name != "Dense":
                    break
                ends = [size for size in (step.channels_in, after.channels) if size]
                factorized = len(ends) == 2 and step.channels and step.channels < min(ends)
                if not after.is_depthwise and not factorized:
                    pairs.append((step, after))
                break
            if after.class_name not in PASSING or len(after.inputs) != 1:
                break
    if pairs:
        first, after = pairs[0]
        more = f" So do {len(pairs) - 1:,} more pairs." if len(pairs) > 1 else ""
        yield _fault(
            "missing_nonlinearity",
            first,
            f"{first.path!r} and {after.path!r} follow each other with nothing nonlinear between: "
            f"together they can do no more than one layer could.{more}",
            "add_nonlinearity",
            bearable=any(_is_nonlinear(architecture, step) for step in architecture.steps),
        )


def _is_nonlinear(architecture: Architecture, step: LayerStep) -> bool:
    """Whether a step within a network makes it more than a linear function of its inputs."""
    if step.index in architecture.output_set:
        return False
    if step.activation is not None and step.activation != "linear":
        return True
    return not step.is_kernel and step.class_name not in _LINEAR


def _misplaced_activation(architecture: Architecture) -> Iterator[Fault]:
    """A softmax whose result a kernel reads as its data; one that weighs others is attention."""
    receives: dict[int, LayerStep] = {}  # the kernel that reads a step's result, whatever moves it
    for step in reversed(architecture.steps):
        for after in (architecture.steps[i] for i in architecture.readers[step.index]):
            if after.is_kernel or after.class_name in RECURRENT:
                receives[step.index] = after
            elif after.index in receives and (
                after.class_name in PASSING | NORMALIZERS
                or "Pooling" in after.class_name
                or (after.activation and after.activation != "softmax")
            ):
                receives.setdefault(step.index, receives[after.index])
    for step in architecture.steps:
        if step.activation != "softmax" or step.index in architecture.output_set:
            continue
        if step.index in receives:
            yield _fault(
                "misplaced_activation",
                step,
                f"{step.path!r} applies a softmax in a hidden layer: its outputs add up to 1, so "
                f"that {receives[step.index].path!r} receives hardly anything that differs between "
                "inputs.",
                "change_activation",
            )


def _softmax_twice(architecture: Architecture) -> Iterator[Fault]:
    """A softmax of shares, from 0 to 1: no class comes to more than e / (e + n − 1)."""
    shares: dict[int, LayerStep] = {}  # what made the shares that a step hands on
    for step in architecture.steps:
        before = next((shares[index] for index in step.inputs if index in shares), None)
        alone = not step.is_kernel and len(step.inputs) == 1
        if step.activation == "softmax" and alone and before is not None:
            yield _fault(
                "misplaced_activation",
                step,
                f"{step.path!r} applies a softmax to what is between 0 and 1 already, from "
                f"{before.path!r}: its outputs can hardly differ.",
                "change_last_activation",
            )
        elif step.activation in ("softmax", "sigmoid"):
            shares[step.index] = step
        elif before is not None and alone and step.class_name in PASSING:
            shares[step.index] = before


# Functions, and the states of recurrences, that are bounded by 1.
_WITHIN_ONE = frozenset({"tanh", "sigmoid", "hard_sigmoid", "softsign"})


def _squashed_twice(architecture: Architecture) -> Iterator[Fault]:
    """A sigmoid of what is between -1 and 1 gives 0.27 to 0.73, and a slope of a quarter.

    Two LSTMs over projections of digits gained 63 and 66 % of what a mean loses, with sigmoids
    behind them 26 and 34 %.
    """
    bounded: dict[int, LayerStep] = {}  # what bounded what a step hands on
    for step in architecture.steps:
        before = next((bounded[index] for index in step.inputs if index in bounded), None)
        alone = not step.is_kernel and len(step.inputs) == 1
        state = step.config.get("activation") if step.class_name in RECURRENT else None
        if before is not None and alone and step.activation in ("sigmoid", "hard_sigmoid"):
            yield _fault(
                "misplaced_activation",
                step,
                f"{step.path!r} applies a {step.activation} to what is between -1 and 1 already, "
                f"from {before.path!r}: it comes to 0.27 to 0.73 only, and inputs hardly differ.",
                "change_activation",
            )
            return
        if step.activation in _WITHIN_ONE or function_name(state) in _WITHIN_ONE:
            bounded[step.index] = step
        elif before is not None and alone and step.class_name in PASSING:
            bounded[step.index] = before


# Steps from which on little is left of what a sigmoid's state was told.
_FORGOTTEN = 16


def _sigmoid_state(architecture: Architecture) -> Iterator[Fault]:
    """A recurrence whose state is a sigmoid: its slope, of a quarter at most, forgets in few steps.

    SimpleRNNs of 32 units over digits, 400 steps of Adam, share of what is right beyond chance, by
    sigmoid and by tanh: in 4 steps 60 and 89 %, in 8 50 and 93 %, in 16 43 and 83 %, in 32 25 and
    77 %, in 64 7 and 80 %; LSTMs in 8 steps 57 and 87 %, in 64 13 and 61 %.
    """
    for step in architecture.steps:
        inner = step.config.get("layer") if step.class_name == "Bidirectional" else step.entry
        config = (inner.get("config") if isinstance(inner, Mapping) else None) or {}
        name = function_name(config.get("activation"))
        if step.class_name not in RECURRENT or name not in ("sigmoid", "hard_sigmoid"):
            continue
        built = step.entry.get("build_config")
        shape = built.get("input_shape") if isinstance(built, Mapping) else None
        length = shape[1] if isinstance(shape, list | tuple) and len(shape) > 2 else None
        yield _fault(
            "misplaced_activation",
            step,
            f"The state of {step.path!r} is a {name}: from step to step a quarter at most is left "
            "of what told inputs apart.",
            "bound_recurrence",
            bearable=length is not None and length < _FORGOTTEN,
        )
        return


def _bottleneck(architecture: Architecture) -> Iterator[Fault]:
    """Layers so narrow, and so many, that products of random kernels lose rank."""
    heads = _heads(architecture)
    losses: list[float] = []
    counts: list[int] = []
    narrowest: list[LayerStep | None] = []
    worst: tuple[float, LayerStep] | None = None
    for step in architecture.steps:
        before = [(losses[i], counts[i], narrowest[i]) for i in step.inputs]
        # A branch that goes round the layers keeps what they lose.
        loss, count, narrow = min(before, key=lambda b: b[0]) if before else (0.0, 0, None)
        last = step.index in heads  # has as many units as there are answers
        if step.class_name == "Dense" and step.channels and not last and not _is_orthogonal(step):
            loss, count = loss + 1 / step.channels, count + 1
            smallest = narrow is None or step.channels < (narrow.channels or 0)
            narrow = step if smallest else narrow
        losses.append(loss)
        counts.append(count)
        narrowest.append(narrow)
        if loss >= RANK_LOSS and count >= _NARROW_LAYERS and narrow is not None:
            worst = max(worst or (0.0, narrow), (loss, narrow), key=lambda pair: pair[0])
    if worst is not None:
        loss, step = worst
        yield _fault(
            "bottleneck_rank",
            step,
            f"Layers as narrow as {step.path!r} ({step.channels} units) follow each other so often "
            f"that a product of random kernels loses its rank: the sum of 1/width is {loss:.1f} "
            f"along the path, and gradients of single draws differ by factors of e to its root.",
            "orthogonal",
        )


def _heads(architecture: Architecture) -> set[int]:
    """The steps that the outputs come from, activations and what only moves entries passed over."""
    heads = set()
    for index in architecture.outputs:
        step = architecture.steps[index]
        while not step.is_kernel and len(step.inputs) == 1:
            step = architecture.steps[step.inputs[0]]
        heads.add(step.index)
    return heads


def _is_orthogonal(step: LayerStep) -> bool:
    return initializer_of(step)[0].startswith(("orthogonal", "identity"))


def _unscaled(architecture: Architecture) -> Iterator[Fault]:
    """Bytes that reach the first kernel as they are, or scaled twice, by what the file says."""
    for step in architecture.steps:
        if step.class_name != "InputLayer":
            continue
        chain = []
        last = step
        for after in architecture.following(step):
            last = after
            if after.class_name not in {
                "Rescaling",
                "Normalization",
                "Cast",
                *AUGMENTING,
                *PASSING,
            }:
                break
            chain.append(after)
        scalers = [each for each in chain if each.class_name in ("Rescaling", "Normalization")]
        if not last.is_kernel or last is step:
            continue
        bytes_in = step.config.get("dtype") in _IMAGE_DTYPES or (
            bool(scalers) and _made_for_bytes(architecture, scalers[0])
        )
        if not bytes_in:
            continue
        mean, variance = BYTES
        for each in scalers:
            found = _scaled(architecture, each, mean, variance)
            if found is None:
                break
            mean, variance = found
        else:
            square = mean * mean + variance
            if not _SCALED[0] <= square <= _SCALED[1]:
                where = scalers[1] if len(scalers) > 1 else scalers[0] if scalers else last
                what = (
                    f"bytes are scaled {len(scalers)} times, and reach {last.path!r} with a mean "
                    f"square of {number(square)}"
                    if len(scalers) > 1
                    else f"bytes reach {last.path!r} with a mean square of {square:,.3g}"
                )
                yield _fault(
                    "unscaled_input",
                    where,
                    f"By what the file says of its input, {what}.",
                    "scale_input",
                )


def _made_for_bytes(architecture: Architecture, step: LayerStep) -> bool:
    if step.class_name == "Rescaling":
        scale = step.config.get("scale")
        return isinstance(scale, int | float) and _OF_BYTES[0] <= abs(scale) <= _OF_BYTES[1]
    found = _statistics(architecture, step)
    return found is not None and found[1] > 400.0 and 0.0 < found[0] < 256.0


def _statistics(architecture: Architecture, step: LayerStep) -> tuple[float, float] | None:
    """Mean and variance that a Normalization layer takes away."""
    values = architecture.values(step)
    pair = [values.get(name, step.config.get(name)) for name in ("mean", "variance")]
    try:
        mean, variance = (float(sum(flat) / len(flat)) for flat in map(_flat, pair))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return mean, variance


def _flat(value: Any) -> list[float]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [number for each in value for number in _flat(each)]
    return [float(value)]


def _scaled(
    architecture: Architecture, step: LayerStep, mean: float, variance: float
) -> tuple[float, float] | None:
    if step.class_name == "Rescaling":
        try:
            scale = _flat(step.config["scale"])
            offset = _flat(step.config.get("offset", 0.0))
        except (KeyError, TypeError, ValueError):
            return None
        factor, moved = sum(scale) / len(scale), sum(offset) / len(offset)
        return factor * mean + moved, factor * factor * variance
    found = _statistics(architecture, step)
    if found is None or found[1] <= 0:
        return None
    return (mean - found[0]) / found[1] ** 0.5, variance / found[1]


def _dropout_of_nearly_all(architecture: Architecture) -> Iterator[Fault]:
    """A rate that leaves hardly a unit: often the share to keep, given as the share to drop."""
    for step in architecture.steps:
        rate = step.config.get("rate")
        if "Dropout" in step.class_name and isinstance(rate, int | float) and rate >= MOST_DROPPED:
            yield _fault(
                "dropout_rate",
                step,
                f"{step.path!r} drops {rate:.0%} of what it gets in training, and leaves "
                f"{1 - rate:.0%}: rate is the share to drop.",
                "lower_rate",
            )
            return


def _dropout_of_answers(architecture: Architecture) -> Iterator[Fault]:
    """Dropout between the last layer and the loss.

    By Adam, classifiers of digits were right for 97 to 99 % of them all the same; of numbers half
    of which were dropped 64 % was gained, of the same without it 94 %.
    """
    for index in architecture.outputs:
        step, dropped = architecture.steps[index], None
        while step.class_name in PASSING and step.inputs:
            rate = step.config.get("rate")
            if step.class_name == "Dropout" and isinstance(rate, int | float) and rate > 0:
                dropped = step
            step = architecture.steps[step.inputs[0]]
        shares = step.activation in ("softmax", "sigmoid")
        if dropped is not None:
            rate = dropped.config["rate"]
            yield _fault(
                "dropout_last",
                dropped,
                f"{dropped.path!r} drops {rate:.0%} of the answers in training: the loss cannot "
                "become small.",
                "move_dropout",
                consequence=Consequence.NOTE
                if shares or rate < _DROPS_NUMBERS
                else Consequence.SERIOUS,
            )
            return


def last_of(architecture: Architecture) -> dict[int, tuple[LayerStep, LayerStep | None]]:
    """For each output: the last step that counts, and its activation step (None for the identity).

    What only moves or drops entries is looked through.
    """
    found = {}
    for index in architecture.outputs:
        step = architecture.steps[index]
        while step.class_name in PASSING and step.inputs:
            step = architecture.steps[step.inputs[0]]
        found[index] = (step, step if step.activation not in (None, "linear") else None)
    return found
