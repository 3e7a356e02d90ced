"""One word for a model with some weights, and why; and for each fault, the remedy that fits.

The word follows from the faults: a fatal one and the network cannot train, a serious one and it
will struggle. Where much of it could not be measured and nothing was found, nothing is concluded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

from app.analysis.diagnosis.fault import REMEDIES, Consequence, Fault
from app.text.formatting import number

# In the order in which causes are told: what is wrong with the file before what follows from it.
ORDER = (
    "nothing_trainable",
    "no_gradient",
    "output_activation_vs_loss",
    "loss_without_targets",
    "zero_kernel",
    "symmetric_kernel",
    "shared_seed",
    "missing_nonlinearity",
    "recurrent_growth",
    "misplaced_activation",
    "dropout_last",
    "regularizer",
    "constraint",
    "zero_gamma",
    "unscaled_input",
    "train_inference_mismatch",
    "kernel_mean",
    "init_vs_activation",
    "dropout_rate",
    "not_finite",
    "signal_explodes",
    "signal_vanishes",
    "slow_branch",
    "correlation_collapse",
    "gradient_vanishes",
    "gradient_explodes",
    "bottleneck_rank",
    "gradient_differs",
    "saturated",
    "dead_channels",
    "constant_output",
    "learning_rate",
)
# Faults of the weights that a file starts from: a new draw by AutoInit has none of them.
OF_INITIAL_WEIGHTS = frozenset(
    [
        "init_vs_activation",
        "kernel_mean",
        "zero_kernel",
        "symmetric_kernel",
        "shared_seed",
        "train_inference_mismatch",
    ]
)
# Series whose weights are the file's, or drawn by its initializers.
OF_FILE = frozenset({"default", "uploaded", "own"})
# What a measurement shows, and a cause above it explains.
SYMPTOMS = frozenset(
    [
        "not_finite",
        "signal_explodes",
        "signal_vanishes",
        "gradient_vanishes",
        "gradient_explodes",
        "gradient_differs",
        "correlation_collapse",
        "saturated",
        "dead_channels",
        "constant_output",
    ]
)


class Word(StrEnum):
    """The verdict on a series."""

    TRAINS = "trains"
    STRUGGLES = "will struggle"
    CANNOT = "cannot train"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True)
class Verdict:
    """What is concluded of a model with one series' weights.

    Attributes:
        verdict: the word.
        reason: a sentence: the first cause, or why nothing was found.
        causes: codes of the faults that decided, the first one first.
        remedy: what to do: a word of `REMEDIES`.
        trained: whether the weights were trained: a checkup, then, and no verdict on a start.
    """

    verdict: Word
    reason: str
    causes: tuple[str, ...] = ()
    remedy: str = "none_needed"
    trained: bool = False


def ranked(faults: Iterable[Fault]) -> list[Fault]:
    """The most severe first, causes before what follows from them.

    What no weights can make good, such as a softmax over one unit, comes before what they can.
    """
    order = {code: place for place, code in enumerate(ORDER)}
    consequences = list(Consequence)
    return sorted(
        faults,
        key=lambda f: (
            f.consequence is Consequence.NOTE,
            f.series is not None or f.consequence is not Consequence.FATAL,
            order.get(f.code, len(order)),
            consequences.index(f.consequence),
        ),
    )


def verdict_of(
    series: str,
    faults: Sequence[Fault],
    measured: float,
    trained: bool = False,
    updates: Sequence[float | None] = (),
    self_normalizing: bool = False,
    adaptive: bool | None = None,
    changes: tuple[float, float] = (0.0, 0.0),
) -> Verdict:
    """The verdict on one series.

    Args:
        series: its name.
        faults: all that were found, of all series and of the file.
        measured: share of the layers with a kernel that could be measured.
        trained: whether its weights were trained.
        updates: update ratio of each call's kernel, of its largest singular value; empty where it
            is not known.
        self_normalizing: whether its activations keep mean 0 and variance 1 with the file's own
            initializers, as SELU does with LeCun's: another draw improves nothing.
        adaptive: whether the steps of the stored optimizer do not go by the size of gradients;
            None where none is stored.
        changes: by how much signals and gradients change at the most, as logarithms.
    """
    mine = ranked(
        f for f in faults if concerns(f, series) and f.consequence is not Consequence.NOTE
    )
    unscaled = next(
        (f for f in ranked(faults) if f.code == "unscaled_input" and concerns(f, series)), None
    )
    # Kernels that are too large make a signal grow: where the one is borne, so is the other.
    grows = any(fault.code == "signal_explodes" and fault.bearable for fault in mine)
    borne = {"init_vs_activation"} if grows else set()
    borne |= {"correlation_collapse"} if _move(updates, *_BY_FAR) else set()
    grave = [fault for fault in mine if not fault.bearable and fault.code not in borne]
    fatal = any(fault.consequence is Consequence.FATAL for fault in grave)
    small = _only_small(grave)
    moves = small and not fatal and any(_move(updates, *each) for each in (_BY_DESCENT, _EVENLY))
    steps = small and adaptive is True and _move(updates, *_BY_STEPS)
    if mine and measured == 1.0 and (not grave or moves or steps):
        first = next((fault for fault in grave if fault.code in _SHOWN), mine[0])
        learns = _BORNE if not grave else _MOVES if moves else _STEPS
        return _trains(f"{first.message} {learns}", first.remedy, unscaled)
    if mine:
        slowly = small and _move(updates, *(_HARDLY if adaptive else _SLOWLY))
        hopeless = fatal and not (slowly and adaptive is not False)
        first = mine[0]
        return Verdict(
            Word.CANNOT if hopeless else Word.STRUGGLES,
            first.message + (_BY_ADAM if slowly and not hopeless else ""),
            tuple(dict.fromkeys(fault.code for fault in mine)),
            first.remedy,
            trained,
        )
    if measured < 1.0:
        return Verdict(
            Word.UNKNOWN,
            f"{1 - measured:.0%} of the layers with a kernel could not be measured, and nothing "
            "was found in the others.",
            trained=trained,
        )
    if trained:
        return Verdict(
            Word.TRAINS,
            "These weights have been trained, and the checkup found nothing.",
            remedy="keep_init",
            trained=True,
        )
    codes = {fault.code for fault in faults}
    spoils = any(
        fault.series == "autoinit"
        and fault.consequence is not Consequence.NOTE
        and fault.code != "learning_rate"
        for fault in faults
    )
    keeps = spoils or self_normalizing
    on_purpose = "keep_zero_init" if "zero_on_purpose" in codes else "none_needed"
    return _trains(
        f"Signals and gradients arrive in a size that trains{_told(*changes)}, and inputs stay "
        "apart.",
        "keep_init" if keeps and series in OF_FILE else on_purpose,
        unscaled,
    )


# What changes by less, in all, is not worth a word.
_KEPT = math.log(10.0)


def _told(signal: float, gradient: float) -> str:
    """By how much sizes change on the main paths at the most, given as logarithms."""
    if max(signal, gradient) < _KEPT:
        return ""
    factors = number(math.exp(signal)), number(math.exp(gradient))
    return " (the mean square changes by up to {}, the gradient's squared norm by {})".format(
        *factors
    )


def _trains(reason: str, remedy: str, unscaled: Fault | None) -> Verdict:
    """It trains; by data that are not scaled less well than it could."""
    if unscaled is not None:
        reason, remedy = f"{reason} {unscaled.message} {_SCALED}", unscaled.remedy
    return Verdict(Word.TRAINS, reason, remedy=remedy)


_SCALED = "Scaled data would be learnt faster."


# Kernels that make signals and gradients small, and nothing else that is wrong.
SMALL = frozenset({"signal_vanishes", "gradient_vanishes", "init_vs_activation"})
_SHOWN = ("signal_vanishes", "init_vs_activation")
# By how much of themselves the largest singular values move at a learning rate of 1: the median
# over kernels, and the least. 220 networks with such kernels were trained on digits for 300 steps,
# by SGD with momentum at the best of three rates, and by Adam at 0.001: chains of one to thirty
# layers of ReLU or tanh, 32 to 512 wide, by Glorot, N(0, 0.01) to N(0, 0.05) and U(-0.05, 0.05),
# for ten classes or one number, and convolutions before a dense layer or under global pooling.
# Descent: from 0.3 on classifiers gained 64 to 99 %, and what gives one number as much as by Adam;
# from 0.03 to 0.3 some gained nothing and some 85 %; below that none gained.
_BY_DESCENT = (0.3, 0.003)
# Where all kernels move alike, less will do: ten convolutions before a dense layer (0.17 at the
# least) gained 95 and 96 %, fourteen dense layers of 256 ReLUs by Glorot (0.16) 82 %; eight and ten
# convolutions under global pooling (0.07 and 0.04) 15 and 0 %.
_EVENLY = (0.12, 0.12)
# What tells inputs apart by little is learnt from where gradients are that large: four residual
# blocks of softplus with batch normalization, alike by 0.9999, were right for 97 % (31 in the
# median, 6 at the least); with 0.1 and less nine of eleven networks gained nothing.
_BY_FAR = (3.0, 0.3)
# Adam: from 0.02 on 46 to 97 % (two of three convolutions of N(0, 0.02) under global pooling 30 %).
_BY_STEPS = (0.02, 0.001)
# From 0.001 to 0.02 50 to 66 % (two of six nothing), below that 18 to 35 %.
_SLOWLY = (0.001, 0.0)
# Compiled with it, chains of dense, plain and separable convolutions from 0.00002 to 0.001: 17 of
# 19 gained 14 to 96 % (two of convolutions nothing); from 0.000001 on five of ten, 25 to 93 %.
_HARDLY = (0.000001, 0.0)
_BORNE = "Networks learn all the same where nothing else is wrong."
_MOVES = "Gradients still move its kernels by enough to learn."
_STEPS = "The steps of its optimizer do not go by the size of gradients: it learns all the same."
_BY_ADAM = " Adam, which does not go by the size of gradients, may learn all the same."


def _only_small(faults: Sequence[Fault]) -> bool:
    """Whether signals or kernels are too small, and nothing else is wrong."""
    codes = {fault.code for fault in faults}
    return not codes.isdisjoint(_SHOWN) and codes <= SMALL


def _move(updates: Sequence[float | None], middle: float, least: float) -> bool:
    """Whether gradients move all kernels: by so much in the median, and at the least."""
    known = [each for each in updates if each is not None]
    return bool(known) and median(known) >= middle and min(known) >= least


def concerns(fault: Fault, series: str) -> bool:
    """Whether a fault counts for a series."""
    if fault.series is None:
        return series in OF_FILE or fault.code not in OF_INITIAL_WEIGHTS
    return fault.series == series


# Remedies that AutoInit's weights are, or stand for.
_BY_AUTOINIT = frozenset({"autoinit_helps", "redraw_random"})
_SQUASHING = frozenset({"sigmoid", "hard_sigmoid", "softmax", "exponential", "exp", "softplus"})


def with_remedies(
    faults: Sequence[Fault], functions: Mapping[str, int], normalized: bool
) -> list[Fault]:
    """Each fault with a remedy that fits: AutoInit only where its own series shows that it helps.

    Where others' weights have faults, and the file's own have none, its own are to be kept.

    Args:
        faults: of all series.
        functions: how many hidden layers have which activation.
        normalized: whether there is a normalization anywhere.
    """
    seen = any(fault.code in SYMPTOMS for fault in faults)
    still = {fault.code for fault in faults if fault.series == "autoinit"}
    squashes = sum(count for name, count in functions.items() if name in _SQUASHING)
    most = squashes * 2 > sum(functions.values())
    # Where it shows, the scale of a kernel is the least that is wrong with functions that squash.
    squashed = SYMPTOMS | ({"init_vs_activation"} if seen else set())
    severe = {fault.series for fault in faults if fault.consequence is not Consequence.NOTE}
    healthy = None not in severe and OF_FILE.isdisjoint(severe)
    result = []
    for fault in faults:
        remedy = fault.remedy
        if healthy:
            remedy = remedy if fault.consequence is Consequence.NOTE else "keep_init"
        elif most and fault.code in squashed and remedy in _BY_AUTOINIT | {"change_activation"}:
            remedy = "change_activation"
        elif remedy in _BY_AUTOINIT and still & SYMPTOMS and fault.code in SYMPTOMS:
            remedy = "orthogonal" if functions.get("tanh") else "add_normalisation"
            remedy = "change_activation" if normalized else remedy
        result.append(replace(fault, remedy=remedy))
    return result


def advice(fault: Fault) -> str:
    """The remedy in a sentence."""
    return REMEDIES[fault.remedy]


_OF_NO_WEIGHTS = frozenset({"learning_rate", "unscaled_input"})


def gathered(faults: Sequence[Fault]) -> list[Fault]:
    """One cause, one finding: what two series share is told once.

    Where the weights of a file and its initializers show the same, the file's are named; those of
    other schemes stay, since they say that these do not help; where it is the data's or the
    optimizer's, no scheme could.
    """
    kept: dict[tuple[str, str | None], Fault] = {}
    for fault in faults:
        own = fault.series is None or fault.series in OF_FILE
        key = fault.code, None if own or fault.code in _OF_NO_WEIGHTS else fault.series
        before = kept.get(key)
        if before is None or (before.series == "default" and fault.series == "uploaded"):
            kept[key] = fault
    return ranked(kept.values())
