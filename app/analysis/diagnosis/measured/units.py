"""Units through which nothing passes: dead and saturated ones."""

from __future__ import annotations

import math
from collections.abc import Iterator

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.measured.series import Measured, fault_of
from app.analysis.diagnosis.roles import Role, activation_of
from autoinit.graph.model_graph import Call

# Share of dead units; on noise, maximum pooling alone makes up to a third of them dead.
DEAD, DEAD_WITH_AUTOINIT = 0.4, 0.75
# Of what correlates so much because pooling has averaged noise, half are, and trainings learn.
_POOLED, _DEAD_OF_ALIKE = 0.9, 0.75
_MANY = 64  # units of which a share is no chance
SATURATED = 0.5  # share of saturated entries
_SHARES = frozenset({"softmax", "sigmoid", "sparsemax"})


def dead_units(measured: Measured) -> Iterator[Fault]:
    """Units that give zero for every input.

    Narrow layers of ReLU are judged by the draw, and not by their width: of 32 draws each of 1 to
    20 layers of 1 to 4 units that learnt digits, those with a layer that was dead at the start
    gained nothing (53 % of ten layers of three, where 1 - (1 - 2^-width)^depth is 74 %; Lu et al.
    2019), and 0 to 25 % of all died later; 41 % where it was a single unit by He.
    """
    yield from _share(
        measured,
        "dead_channels",
        "dead_fraction",
        DEAD_WITH_AUTOINIT if measured.series == "autoinit" else DEAD,
        "Of the units of {path!r} {share:.0%} give zero for every input{more}: nothing passes, and "
        "no gradient returns, through these.",
        "autoinit_helps",
        {Role.ACTIVATION, Role.BOUNDED},
    )


def _pooled(measured: Measured, call: Call) -> bool:
    """Whether a call receives what pooling leaves of noise: nearly the same for every input.

    Half of the units behind it give zero then, for noise alone: images differ by more.
    """
    before = measured.forward[measured.producers[call.inputs[0].index]]
    return (
        before is not None
        and before.position_correlation is None
        and (before.sample_correlation or 0.0) >= _POOLED
        and any(m is not None and m.position_correlation is not None for m in measured.forward)
    )


def saturated_units(measured: Measured) -> Iterator[Fault]:
    """Entries at which a bounded function is flat.

    Not in a residual branch, beside which inputs and gradients pass: with two to eight branches of
    sigmoids saturated at 64 and 87 % of their entries, digits gained 93 to 99 %, and products of
    two numbers, which nothing linear tells, 92 to 98 % by Adam (98 % without saturation).
    """
    yield from _share(
        measured,
        "saturated",
        "saturated_fraction",
        SATURATED,
        "Of the entries of {path!r} {share:.0%} are saturated{more}: gradients hardly pass there.",
        "autoinit_helps",
        {Role.BOUNDED, Role.ACTIVATION},
    )


def _share(
    measured: Measured, code: str, name: str, least: float, told: str, remedy: str, roles: set[Role]
) -> Iterator[Fault]:
    found = []
    for call, moments in zip(measured.graph.calls, measured.forward, strict=True):
        share = None if moments is None else getattr(moments.shape, name)
        if share is None or share < least or measured.roles[call.index] not in roles:
            continue
        if name == "dead_fraction" and share < min(least + _by_chance(call), 1.0):
            continue
        if call.index in measured.gates:
            continue
        if name == "saturated_fraction" and (
            call.index in measured.accompanied or _is_prior(measured, call)
        ):
            continue
        if name == "dead_fraction" and activation_of(call) in _SHARES:
            continue  # a share of nearly 0 is an answer
        if name == "saturated_fraction" and activation_of(call) == "relu6":
            continue  # half of a ReLU's entries lie at its lower bound, where it is 0
        if name == "dead_fraction" and share < _DEAD_OF_ALIKE and _pooled(measured, call):
            continue
        before = [measured.producers.get(value.index) for value in call.inputs]
        behind_zero = any(index in measured.zero for index in before if index is not None)
        if behind_zero and not _stuck(measured, call):
            continue
        found.append((share, call))
    if found:
        share, call = found[0]
        more = f", and more than {least:.0%} in {len(found) - 1:,} others" if found[1:] else ""
        # Where whole layers are, and nothing passes beside them, training has nothing to go by.
        gone = name == "dead_fraction" and any(each == 1.0 for each, _ in found)
        biased = name == "dead_fraction" and _by_bias(measured, call)
        yield fault_of(
            measured,
            code,
            call,
            told.format(path=call.path, share=share, more=more),
            "bias_at_zero" if biased else remedy,
            Consequence.FATAL if gone and _outputs_are_still(measured) else Consequence.SERIOUS,
        )


def _by_chance(call: Call) -> float:
    """Two standard errors of a share of few units; 0 for many.

    Classifiers of rings by five layers of five ReLUs, two to four of which were dead in one layer,
    were right for 97 to 99 %. The second layer of a coupling of one number, 41 % of whose 32 units
    were dead (a quarter are on average), gained 99.9 %.
    """
    units = call.outputs[0].channels
    return 2.0 * math.sqrt(DEAD * (1.0 - DEAD) / units) if units < _MANY else 0.0


def _by_bias(measured: Measured, call: Call) -> bool:
    """Whether it is a bias below zero that leaves nothing: all units, and far from what varies.

    Random kernels give some units a negative mean, and others a positive one.
    """
    index = measured.producers[call.inputs[0].index]
    before, layer = measured.forward[index], measured.graph.calls[index].layer
    return (
        getattr(layer, "bias", None) is not None
        and before is not None
        and before.mean < -2.0 * math.sqrt(before.variance)
    )


def _is_prior(measured: Measured, call: Call) -> bool:
    """Whether an output is saturated by its bias, which says how rare a class is (Lin et al. 2017).

    Classifiers of digits by ten sigmoids whose biases begin at -12 to 5 gained 77 to 78 %, as with
    a bias of -2 that saturates nothing.
    """
    outputs = {value.index for value in measured.graph.outputs}
    before = measured.forward[measured.producers[call.inputs[0].index]]
    return (
        any(value.index in outputs for value in call.outputs)
        and before is not None
        and before.mean**2 > before.variance
    )


def _outputs_are_still(measured: Measured) -> bool:
    """Whether all outputs are one number, whatever the input."""
    graph = measured.graph
    producers = graph.producers()
    found = (measured.forward[producers[value.index].index] for value in graph.outputs)
    return all(moments is not None and moments.variance == 0.0 for moments in found)


def _stuck(measured: Measured, call: Call) -> bool:
    """Whether no gradient comes back to a call behind a zero kernel: it is dead for good."""
    moments = measured.backward[call.index]
    return moments is None or moments.mean_square == 0.0
