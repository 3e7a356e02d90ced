"""Dropout upon dropout, which leaves too little of a signal in training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from app.analysis.diagnosis.fault import Fault
from app.analysis.diagnosis.measured.series import Measured, fault_of
from app.analysis.diagnosis.roles import Role
from app.text.formatting import number
from autoinit.graph.model_graph import innermost

# Shares that dropout keeps, multiplied along a path, times the entries of its smallest layer. By
# Adam in 400 steps, classifiers of digits were right for 1 and 19 % beyond chance at 0.5 and 1
# (three layers of 64 units with a rate of 0.8, six with 0.5), for 37 % at 1.7, for 66 to 78 % at
# 2.6 to 6.4; with 512 units for 88 to 98 % at 4 to 14 (0.8, 0.7 and 0.9 in two and three layers,
# 0.5 in six). Convolutions with batch normalization, 8 × 8 positions, gained 82 % at 64, 61 and
# 86 % at 16, 26 and 24 % at 4 and 8, 21 % at 1, 38, 2 and 0 % below.
_TOO_FEW_KEPT = 1.5


class _Kept(NamedTuple):
    """What dropout leaves up to a call: a share, of so many entries at the fewest, in how many."""

    share: float = 1.0
    entries: float = math.inf
    layers: int = 0


def dropout_upon_dropout(measured: Measured) -> Iterator[Fault]:
    """Rates that leave nothing together: noise that each layer adds is multiplied by the next."""
    found: list[_Kept] = []
    behind_kernel: list[bool] = []  # whether a call hands on what a kernel gave
    for call in measured.graph.calls:
        sources = [measured.producers[value.index] for value in call.inputs]
        kept = max((found[source] for source in sources), default=_Kept())
        is_kernel = measured.roles[call.index] is Role.KERNEL
        hands_on = len(sources) == 1 and not is_kernel and behind_kernel[sources[0]]
        layer = innermost(call.layer)
        rate = getattr(layer, "rate", None)
        dropped = hands_on and "Dropout" in type(layer).__name__ and isinstance(rate, int | float)
        if dropped and rate is not None:
            value = call.outputs[0]
            whole = type(layer).__name__.startswith("Spatial")  # channels, or nothing of them
            entries = value.channels if whole else value.entries
            kept = _Kept(kept.share * (1.0 - rate), min(kept.entries, entries), kept.layers + 1)
        found.append(kept)
        behind_kernel.append(is_kernel or hands_on)
        if dropped and kept.layers > 1 and kept.share * kept.entries < _TOO_FEW_KEPT:
            # Whatever the weights: it is the file's, and no series'.
            fault = fault_of(
                measured,
                "dropout_rate",
                call,
                f"Up to {call.path!r} dropout leaves {number(kept.share)} of the signal in "
                f"training, layer upon layer: of {kept.entries:,} numbers for a sample, which are "
                "too few to average its noise.",
                "lower_rate",
            )
            yield replace(fault, series=None)
            return
