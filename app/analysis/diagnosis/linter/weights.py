"""What a person should know about the weights that came with a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from autoinit.arrays import as_array
from autoinit.findings import Finding
from autoinit.graph.frozen import frozen_calls
from autoinit.graph.model_graph import Call, ModelGraph, weights_of

_NAMED = 5


def weights_not_finite(graph: ModelGraph, drawn: Collection[int]) -> Iterator[Finding]:
    """A finding for each layer that has NaN or infinite weights at this moment.

    Args:
        graph: of the model, with the weights that came with it.
        drawn: identities of the variables that AutoInit draws anew.
    """
    seen: set[int] = set()
    for call in graph.calls:
        found = []
        for variable in weights_of(call.layer):
            wrong = 0 if id(variable) in seen else _not_finite(variable)
            seen.add(id(variable))
            if wrong:
                found.append((variable, wrong))
        if found:
            yield _spoiled(call, found, drawn)


def _not_finite(variable: Any) -> int:
    if not keras.backend.is_float_dtype(variable.dtype):
        return 0
    values = as_array(variable)
    # A finite sum, which takes no memory of its own, comes of finite entries only.
    with np.errstate(all="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):
            return 0
    return int(values.size - np.count_nonzero(np.isfinite(values)))


def _spoiled(call: Call, found: Sequence[tuple[Any, int]], drawn: Collection[int]) -> Finding:
    counts = ", ".join(
        f"{wrong:,} of {int(np.prod(variable.shape)):,} in {variable.name!r}"
        for variable, wrong in found
    )
    anew = [variable for variable, _ in found if id(variable) in drawn]
    if len(anew) == len(found):
        fate = "AutoInit draws them anew."
    else:
        rest = "the others" if anew else "them"
        names = " and ".join(repr(variable.name) for variable in anew)
        fate = (f"AutoInit draws {names} anew and" if anew else "AutoInit") + (
            f" leaves {rest} as they came: to be rid of them, analyse the architecture alone, "
            "without weights (model.to_json())."
        )
    return Finding(
        "weights_not_finite",
        call.path,
        call.class_name,
        f"Layer {call.path!r} ({call.class_name}) came with weights that are NaN or infinite: "
        f"{counts}. {fate}",
    )


def frozen_weights(graph: ModelGraph, *, came: bool, keep: bool) -> Finding | None:
    """What became of the weights of frozen layers.

    Args:
        graph: of the model.
        came: whether weights came with the model.
        keep: whether those of frozen layers were to be kept.
    """
    # Nobody draws a Normalization layer's statistics.
    frozen = [c for c in frozen_calls(graph) if not isinstance(c.layer, layers.Normalization)]
    count = f"{len(frozen):,} {'layer is' if len(frozen) == 1 else 'layers are'} frozen"
    keeps = "keeps" if len(frozen) == 1 else "keep"
    names = ", ".join(repr(call.path) for call in frozen[:_NAMED])
    if len(frozen) > _NAMED:
        names += f" and {len(frozen) - _NAMED:,} more"
    if keep and not came:
        return Finding(
            "nothing_to_keep",
            "",
            "",
            "No weights came with the model: there are none to keep, and frozen layers are drawn "
            "like the others.",
        )
    if keep and not frozen:
        return Finding(
            "nothing_to_keep",
            "",
            "",
            "No layer of the model is frozen (trainable=False): to keep frozen layers' weights "
            "changes nothing.",
        )
    if keep:
        return Finding(
            "frozen_kept",
            "",
            "",
            f"{count} (trainable=False) and {keeps} the weights that came with the file: {names}. "
            "AutoInit draws the others for the signal that these really give, as measured.",
        )
    if came and frozen:
        return Finding(
            "frozen_redrawn",
            "",
            "",
            f"{count} (trainable=False) and drawn anew like the others: {names}. If they are "
            "pretrained, keep frozen layers' weights (--keep-frozen).",
        )
    return None
