"""What a mask leaves of the entries of a softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoinit.graph.model_graph import Call, TensorRef
from autoinit.rules.registry import Context
from autoinit.signals.signal import Masking, Signal


def masking_of(
    mask: Any,
    call: Call,
    inputs: Sequence[Signal],
    context: Context,
    count: int,
    also: NDArray[np.bool_] | None = None,
) -> Masking | None:
    """What a mask leaves of the entries of a softmax.

    Args:
        mask: a slot, an array that is true where an entry counts, or None.
        call: that reads it.
        inputs: the call's signals; of a mask that no samples are known of, the mean is used.
        context: of the pass.
        count: entries that the softmax is taken over.
        also: a further mask, (positions, entries): what counts does so by both.
    """
    if mask is None:
        return None if also is None else masking_of_rows(also[None], count)
    if isinstance(mask, TensorRef):
        place = [value.index for value in call.inputs].index(mask.value)
        if mask.value not in context.known:
            share = min(max(inputs[place].mean, 0.0), 1.0)
            return Masking.at_random(count, share * (1.0 if also is None else float(also.mean())))
        samples = context.known[mask.value] > 0
        rows = samples if not call.inputs[place].constant else samples[None]
    else:
        rows = (np.asarray(mask) > 0)[None]
        rows = rows[0] if rows.ndim > 3 else rows  # a constant mask has an axis for samples
    return masking_of_rows(rows if also is None else rows & also, count)


def masking_of_rows(rows: Any, count: int) -> Masking:
    """Of an array (samples, …, entries) that is true where an entry counts."""
    if rows.ndim < 2 or rows.shape[-1] != count:  # over several axes, or one that is repeated
        return Masking.at_random(count, float(rows.mean()))
    return Masking.of_samples(rows.reshape(len(rows), -1, count))
