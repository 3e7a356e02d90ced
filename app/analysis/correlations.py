"""Whether a network still tells its inputs apart, in words."""

from collections.abc import Iterator
from typing import Any

from app.analysis.headline import is_number, measured, predicted, series_name
from app.text.formatting import number

Result = dict[str, Any]

KINDS = {"sample_correlation": "Between samples", "position_correlation": "Between positions"}


def has_correlations(result: Result) -> bool:
    """Whether there are any figures; a result of one sample has none."""
    return any(
        is_number((figures(call, series) or {}).get(kind))
        for call in result["calls"]
        for series in result["series"]
        for figures in (measured, predicted)
        for kind in KINDS
    )


MEANINGS = {
    "ordered": "inputs that are nearly alike become more alike, and gradients vanish",
    "critical": "inputs that are nearly alike stay as alike as they are",
    "chaotic": "inputs that are nearly alike come apart, and gradients explode",
}


def phases(result: Result) -> Iterator[str]:
    """For each series the phase that its layers are in, where one can be told."""
    for series in result["series"]:
        found = (result.get("phases") or {}).get(series)
        if found:
            name = found["phase"]
            yield (
                f"{series_name(series)} weights: {name} phase, {MEANINGS[name]} from layer to "
                f"layer (slope of the correlation at 1: {number(found['slope'])})."
            )
