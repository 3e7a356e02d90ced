"""Inputs that are too large, or no longer told apart, and outputs that are the same for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from keras import layers

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.measured.flow import PASSING
from app.analysis.diagnosis.measured.series import Measured, fault_of
from app.analysis.diagnosis.measured.units import SATURATED
from app.analysis.diagnosis.roles import Role, activation_of
from app.text.formatting import number
from autoinit.graph.model_graph import Call, innermost
from probes.moments.figures import Moments

ALIKE, COLLAPSED = 0.99, 0.999
# A mean square of what the first kernel receives that is told, and from which on gates saturate: an
# LSTM over rows of digits was right for 93 % of them by Adam, for 74 % with inputs 30 times as
# large, and for 48 to 66 % from 100 times on.
UNSCALED, UNSCALED_FOR_GATES = 100.0, 1000.0
# Variance that a Rescaling or a Normalization leaves; of bytes Rescaling(1/255) leaves 0.05 to 0.1,
# of numbers from 0 to 1 it leaves 10⁻⁶: classifiers of digits on that scale learnt nothing by
# gradient descent, and 88 to 93 % in place of 96 to 98 by Adam.
SCALED_TWICE = 1e-4


@dataclass(frozen=True)
class Entrance:
    """Where data meet the first weights.

    Attributes:
        call: with these weights.
        square: mean square of what it receives.
        scaled: the layer before it that scales data, and their variance behind it; if there is one.
        slope: squared norm of a sample's gradient for the weights, at the least: of few weights and
            few samples the gradient itself may be small by chance. 0 where it is not known.
        readers: indices of the calls that read what it gives.
    """

    call: Call
    square: float
    slope: float
    readers: tuple[int, ...]
    scaled: tuple[Call, float] | None = None


def entrances(measured: Measured) -> Iterator[Entrance]:
    """The first kernels and recurrences, with nothing but fixed factors before them.

    Not those that a normalization follows: it makes up for any size.
    """
    flow = measured.flow
    steps = PASSING | {Role.POOL}
    scalers: dict[int, Call] = {}  # what has scaled the output of a call
    waiting = [call.index for call in measured.graph.calls if call.is_input]
    while waiting:
        source = waiting.pop()
        before = measured.graph.calls[source]
        if isinstance(before.layer, layers.Rescaling | layers.Normalization):
            scalers[source] = before
        moments = measured.forward[source]
        for reader in flow.readers[source]:
            role = measured.roles[reader]
            if role in steps:
                waiting.append(reader)
                scalers |= {reader: scalers[source]} if source in scalers else {}
            elif role in (Role.KERNEL, Role.RECURRENT) and moments is not None:
                behind = tuple(flow.readers[reader])
                reset = behind and all(measured.roles[i] is Role.NORMALIZER for i in behind)
                if not reset:
                    call, back = measured.graph.calls[reader], measured.backward[reader]
                    square = moments.mean_square
                    slope = 0.0 if back is None else back.mean_square * call.outputs[0].entries
                    slope *= square * call.inputs[0].channels
                    scaled = (scalers[source], moments.variance) if source in scalers else None
                    yield Entrance(call, square, slope, behind, scaled)


def unscaled_inputs(measured: Measured) -> Iterator[Fault]:
    """Data so large that the first functions are saturated, or are told to be large at least.

    Classifiers of digits whose inputs had a mean square of up to 10⁸: by Adam those of ReLU were
    right for 92 to 97 % (98 % with scaled inputs). By gradient descent none learnt from some 10³
    on: there the stored rate tells (`linter/compiled/optimizers.py`). Behind a Normalization
    adapted to other data (of other units, scaled before, columns in other places) a regression that
    gains 98 % gained nothing.
    """
    every = list(entrances(measured))
    for scaler, variance in (each.scaled for each in every if each.scaled is not None):
        if 0.0 < variance < SCALED_TWICE:
            yield fault_of(
                measured,
                "unscaled_input",
                scaler,
                f"{scaler.path!r} leaves a variance of {number(variance)} of the data: they were "
                "scaled before, and are hardly to be told from one another.",
                "scale_input",
            )
            return
    yield from _large_lookups(measured)
    found = [each for each in every if each.square >= UNSCALED]
    for entrance in sorted(found, key=lambda each: -each.square):
        call, square = entrance.call, entrance.square
        recurrent = measured.roles[call.index] is Role.RECURRENT
        saturated = [
            moments
            for index in entrance.readers
            if (moments := measured.forward[index]) is not None
            and (moments.shape.saturated_fraction or 0.0) >= SATURATED
        ]
        before = None if entrance.scaled is None else entrance.scaled[0]
        if before is not None and isinstance(before.layer, layers.Normalization):
            what = f", though {before.path!r} is before it: its statistics are those of other data"
        elif recurrent and square >= UNSCALED_FOR_GATES:
            what = ", at which gates are saturated from the first step on"
        elif saturated:
            what = ", at which what follows is saturated"
        elif any(_turns(measured, index) for index in entrance.readers):
            what = ", at which a sine turns many times between any two"
        else:
            what = ""
        yield fault_of(
            measured,
            "unscaled_input",
            call,
            f"{call.path!r} receives data with a mean square of {number(square)}{what}: kernels "
            "are drawn for inputs with one of about 1.",
            "scale_input",
            Consequence.SERIOUS if what else Consequence.NOTE,
        )
        return


# Radians, as a root mean square, that a sine gets. SIRENs of pictures gained 76 % with 7, which is
# what they are drawn for, and 4 % and less from 21 on.
_TURNS = 20.0


def _turns(measured: Measured, index: int) -> bool:
    """Whether sines read a call, or fixed multiples of it, and get many turns."""
    calls, flow = measured.graph.calls, measured.flow
    before = calls[index].inputs[0].index
    while measured.roles[index] in PASSING and len(flow.readers[index]) == 1:
        before, index = calls[index].outputs[0].index, flow.readers[index][0]
    moments = measured.forward[measured.producers[before]]
    return (
        activation_of(calls[index]) in ("sin", "cos")
        and moments is not None
        and moments.mean_square >= _TURNS**2
    )


def _large_lookups(measured: Measured) -> Iterator[Fault]:
    """Embeddings so large that the gates of what reads them are saturated.

    LSTMs of 32 units over digits as 64 words, share of what is right beyond chance after 400 steps
    of Adam: 77 and 78 % with embeddings of Keras' default and N(0, 1), 41 % with N(0, 5), 13 % with
    N(0, 30).
    """
    for call in measured.graph.calls:
        if measured.roles[call.index] is not Role.RECURRENT:
            continue
        source = measured.producers[call.inputs[0].index]
        moments, lookup = measured.forward[source], measured.graph.calls[source]
        named = type(innermost(lookup.layer)).__name__
        if named == "Embedding" and moments is not None and moments.mean_square >= UNSCALED:
            yield fault_of(
                measured,
                "init_vs_activation",
                lookup,
                f"{lookup.path!r} is drawn so large (a mean square of "
                f"{number(moments.mean_square)}) that the gates of {call.path!r} are saturated "
                "from the first step on.",
                "redraw_random",
            )
            return


def collapse(measured: Measured) -> Iterator[Fault]:
    """Inputs that are no longer told apart, from a call on to the end.

    What pooling leaves of noise over many positions is the same for all inputs, whatever the
    network: where there are positions, only calls that have some count. What inputs have in common
    where the first figure is, such as the mean of pixels, they were fed with: the rest counts.

    What is alike by little at the last call alone is none: five highways of sigmoids that give
    0.9901 gained 92 and 93 %. Nor is a softmax alone that prefers the same class for all inputs,
    while logits tell inputs apart: residual networks that begin so gained 95 to 97 % in 10 layers,
    87 and 91 % in 50.
    """
    pairs = [
        (call, moments)
        for call, moments in zip(measured.graph.calls, measured.forward, strict=True)
        if moments is not None and not call.is_internal and call.index not in measured.gates
    ]
    placed = [pair for pair in pairs if pair[1].position_correlation is not None]
    known = [
        (call, float(moments.sample_correlation))
        for call, moments in placed or pairs
        if moments.sample_correlation is not None
    ]
    fed = _in_common(
        next((m for _, m in placed or pairs if m.sample_correlation is not None), None)
    )
    alike = [1.0 - (1.0 - value) / (1.0 - fed) if fed < ALIKE else value for _, value in known]
    start, begun = None, 0.0
    for (before, after), (call, value) in zip(pairwise(alike), known[1:], strict=True):
        if after >= ALIKE > before:
            start, begun = call, value
        elif after < ALIKE:
            start = None
    kernels = (Role.KERNEL, Role.RECURRENT)
    behind = [] if start is None else [r for r in measured.roles[start.index :] if r in kernels]
    if start is not None and behind and (len(behind) > 1 or begun >= COLLAPSED):
        end, value = known[-1]
        first = next(
            (
                c
                for c in reversed(measured.graph.calls[: start.index + 1])
                if measured.roles[c.index] is Role.KERNEL
            ),
            start,
        )
        yield fault_of(
            measured,
            "correlation_collapse",
            first,
            f"Inputs are no longer told apart: from {start.path!r} on two of them correlate by "
            f"more than {ALIKE}, and at {end.path!r} by {value:.4g}.",
            "change_activation",
            Consequence.FATAL if value >= COLLAPSED else Consequence.SERIOUS,
        )


def _in_common(moments: Moments | None) -> float:
    """The share of a signal's mean square that is the same in two samples, its mean included."""
    if moments is None or not moments.mean_square > 0.0:
        return 0.0
    common = (moments.sample_correlation or 0.0) * moments.variance + moments.mean * moments.mean
    return max(common / moments.mean_square, 0.0)


def constant_outputs(measured: Measured) -> Iterator[Fault]:
    """An output that does not depend on the input.

    A softmax that begins at one class for all inputs is none while its logits tell them apart, as
    for `collapse`: twelve residual convolutions that do gained 92 to 98 %. Nor is the half that
    rounding leaves of a sigmoid of tiny ones: two layers of products gained 95 % by Adam.
    """
    graph = measured.graph
    producers = graph.producers()
    for value in graph.outputs:
        call = producers[value.index]
        moments = measured.forward[call.index]
        if moments is None or moments.finite_fraction < 1.0 or not call.inputs:
            continue
        alike = moments.variance == 0.0
        # Several equal shares may be all that rounding leaves of a small signal; not of none.
        before = measured.forward[producers[call.inputs[0].index].index]
        nothing = moments.mean == 0.0 or (before is not None and before.mean_square == 0.0)
        correlated = moments.sample_correlation
        apart = before is not None and (before.sample_correlation or 0.0) < COLLAPSED
        function = activation_of(call)
        decided = function == "softmax" and apart
        rounded = function == "sigmoid" and apart and not nothing and 0.25 < moments.mean < 0.75
        constant = alike and (value.entries == 1 or nothing) and not rounded
        if constant or (correlated == 1.0 and not decided and not rounded):
            yield fault_of(
                measured,
                "constant_output",
                call,
                f"The output {call.path!r} is the same for every input.",
                "redraw_random",
                Consequence.FATAL,
            )
