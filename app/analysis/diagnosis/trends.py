"""What the figures of a result say about its network, in sentences.

Pure functions of a result file's `calls`: every sentence names a call, and, of the weights that
came with the network, what AutoInit's change there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from app.text.formatting import number

Call = dict[str, Any]
Finding = dict[str, str]  # of a result file's `warnings`: code, path, class, message

# A signal that changes by more on its way explodes or vanishes: the factor that the paper's
# figure 3 takes as the limit of what is stable.
FACTOR = 100.0
_LEAST = 10.0  # a signal that was large or small from the start does not explode or vanish
_LARGEST_EXPONENT = 700.0  # of a float
# A gradient is spread over as many entries as pooling has averaged: its limits are wider.
GRADIENT_FACTOR = 1000.0
# Shares of dead channels and of saturated entries that a person should know of.
DEAD, SATURATED = 0.25, 0.5
ALIKE = 0.99  # correlation at which inputs are no longer told apart
# Of float16 (IEEE 754 binary16): the largest number, and the smallest above 0.
HALF_LARGEST, HALF_SMALLEST = 65504.0, 2.0**-24


WHOSE = {"autoinit": "AutoInit's"}


@dataclass(frozen=True)
class Way:
    """A stretch of calls over which a figure grows or falls more than over any other.

    Attributes:
        start, end: the calls.
        steps: weighted calls from one to the other.
        first, last: the figure there.
    """

    start: Call
    end: Call
    steps: int
    first: float
    last: float

    @property
    def factor(self) -> float:
        """By which the figure grows, or falls: at least 1."""
        return math.exp(min(abs(math.log(self.last) - math.log(self.first)), _LARGEST_EXPONENT))

    @property
    def rate(self) -> float:
        """The same for each step."""
        return float(self.factor ** (1 / max(self.steps, 1)))


def diagnose(calls: Sequence[Call], series: Sequence[str], target: float) -> Iterator[Finding]:
    """All that the figures say.

    Args:
        calls: of a result file.
        series: names of its series.
        target: the variance that AutoInit aims at.
    """
    for name in series:
        yield from _not_finite(calls, name)
        yield from _signal(calls, name, target)
        yield from _gradient(calls, name)
        yield from _relative_gradient(calls, name)
        yield from _collapse(calls, name)
        yield from _precision(calls, name)
        yield from _shares(calls, name)


def steepest(figures: Sequence[tuple[Call, float]], sign: int) -> Way | None:
    """The stretch over which positive figures grow most (sign 1), or fall most (sign -1)."""
    best, found, lowest = 0.0, None, 0
    heights = [sign * math.log(figure) for _, figure in figures]
    for place, height in enumerate(heights):
        if height < heights[lowest]:
            lowest = place
        if height - heights[lowest] > best:
            best, found = height - heights[lowest], (lowest, place)
    if found is None:
        return None
    (first, low), (last, high) = figures[found[0]], figures[found[1]]
    return Way(first, last, found[1] - found[0], low, high)


def _measured(call: Call, series: str, figure: str) -> float | None:
    value = ((call.get(series) or {}).get("measured") or {}).get(figure)
    return None if value is None else float(value)


def _square_norm(call: Call, series: str) -> float | None:
    value = ((call.get(series) or {}).get("gradient") or {}).get("square_norm")
    return None if value is None else float(value)


def _telling(calls: Sequence[Call], series: str) -> list[Call]:
    """The calls of which correlations between inputs tell something.

    What pooling leaves of noise over many positions is the same for all inputs, whatever the
    network: where there are positions, only calls that have some count.
    """
    with_positions = [
        call for call in calls if _measured(call, series, "position_correlation") is not None
    ]
    return with_positions or list(calls)


def _variances(calls: Sequence[Call], series: str) -> list[tuple[Call, float]]:
    """Weighted calls with their variances, as far as these are above 0 and finite."""
    found = [(c, _measured(c, series, "variance")) for c in calls if c["weighted"]]
    return [(call, value) for call, value in found if value]


def _not_finite(calls: Sequence[Call], series: str) -> Iterator[Finding]:
    for call in calls:
        share = _measured(call, series, "finite_fraction")
        if share is not None and share < 1.0:
            yield _finding(
                "not_finite", call, series,
                "the signal is NaN or beyond the range of floating point, first at "
                f"{call['path']!r}."
                + _with_autoinit(series, _measured(call, "autoinit", "variance"), "a variance of"),
            )  # fmt: skip
            return


def ways(calls: Sequence[Call], series: str, target: float) -> Iterator[tuple[int, Way]]:
    """Where the signal explodes (1), and where it vanishes (-1)."""
    figures = _variances(calls, series)
    variances = [figure for _, figure in figures]
    # What underflows to 0 has no logarithm: the last figure above it is the end of the way.
    for sign, beyond in (
        (1, max(variances, default=target) > target * FACTOR),
        (-1, min(variances, default=target) < target / FACTOR),
    ):
        way = steepest(figures, sign) if beyond else None
        if way is not None and way.factor >= _LEAST:
            yield sign, way


def _signal(calls: Sequence[Call], series: str, target: float) -> Iterator[Finding]:
    """Where the signal starts to explode or to vanish, how fast, and where it ends."""
    for sign, way in ways(calls, series, target):
        code, verb, grows = (
            ("signal_explodes", "explodes", "grows") if sign > 0
            else ("signal_vanishes", "vanishes", "falls")
        )  # fmt: skip
        yield _finding(
            code, way.start, series,
            f"the signal {verb}: from {way.start['path']!r} to {way.end['path']!r} its variance "
            f"{grows} from {number(way.first)} to {number(way.last)}, by a factor of "
            f"{_each_layer(way)}."
            + _with_autoinit(series, _measured(way.end, "autoinit", "variance"), "a variance of"),
        )  # fmt: skip


def _gradient(calls: Sequence[Call], series: str) -> Iterator[Finding]:
    """The same of the gradient, which goes from the last call to the first."""
    found = [(c, _square_norm(c, series)) for c in reversed(calls) if c["weighted"]]
    figures = [(call, value) for call, value in found if value]
    for sign, code, verb, grows in (
        (1, "gradient_explodes", "explodes", "grows"),
        (-1, "gradient_vanishes", "vanishes", "falls"),
    ):
        way = steepest(figures, sign)
        if way is None or way.factor < GRADIENT_FACTOR:
            continue
        whole = "" if way.steps == 1 else f"{number(way.factor)}, "
        told = (
            f"the gradient {verb} on its way back: from {way.start['path']!r} to "
            f"{way.end['path']!r} its mean square {grows} by a factor of {whole}"
            f"{_each_layer(way)}."
        )
        yield _finding(
            code, way.end, series,
            told + _with_autoinit(series, _change(way, "autoinit"), "a factor of"),
        )  # fmt: skip


def _each_layer(way: Way) -> str:
    """The rate, and over how many layers."""
    if way.steps == 1:
        return f"{number(way.rate)} at one layer with a kernel"
    return f"{way.rate:.2f} for each of {way.steps:,} layers with a kernel"


def _change(way: Way, series: str) -> float | None:
    """By what factor a series' gradient changes over the same stretch."""
    first, last = _square_norm(way.start, series), _square_norm(way.end, series)
    return max(last / first, first / last) if first and last else None


def _relative_gradient(calls: Sequence[Call], series: str) -> Iterator[Finding]:
    """Gradients that do not mirror the signal.

    A change of a call's output relative to that output moves the network's outputs by (square of
    the gradient) · (variance), which depth does not change where layers do to small differences
    what they do to the signal: as ReLU does, and tanh does not.
    """
    figures = []
    for call, variance in _variances(_telling(calls, series), series):
        norm = _square_norm(call, series)
        if norm and norm * variance > 0.0:
            figures.append((call, norm * variance))
    for sign, what in ((-1, "amplified"), (1, "damped")):
        way = steepest(figures, sign)
        if way is None or way.factor < FACTOR:
            continue
        first, last = (_relative(call, "autoinit") for call in (way.start, way.end))
        change = max(last / first, first / last) if first and last else None
        yield _finding(
            "gradient_differs", way.start, series,
            f"gradients do not mirror the signal: what two inputs differ by "
            f"is {what} beside the signal itself by a factor of {number(math.sqrt(way.factor))} "
            f"from {way.start['path']!r} to {way.end['path']!r}."
            + _with_autoinit(
                series, None if change is None else math.sqrt(change), "a factor of"
            ),
        )  # fmt: skip


def _relative(call: Call, series: str) -> float | None:
    norm, variance = _square_norm(call, series), _measured(call, series, "variance")
    return norm * variance if norm and variance else None


def _collapse(calls: Sequence[Call], series: str) -> Iterator[Finding]:
    """Inputs that are no longer told apart, from a call on to the end.

    Those that are alike where the first figure is were fed so: real data, or words unknown to it.
    """
    telling = _telling(calls, series)
    found = [(c, _measured(c, series, "sample_correlation")) for c in telling]
    known = [(call, value) for call, value in found if value is not None]
    start = None
    for (_, before), (call, value) in pairwise(known):
        if value >= ALIKE > before:
            start = call
        elif value < ALIKE:
            start = None
    if start is not None:
        end, value = known[-1]
        yield _finding(
            "correlation_collapse", start, series,
            f"the network no longer tells inputs apart: from "
            f"{start['path']!r} on, two of them correlate by more than {ALIKE}, and at "
            f"{end['path']!r} by {value:.4g}."
            + _with_autoinit(
                series, _measured(end, "autoinit", "sample_correlation"), "a correlation of"
            ),
        )  # fmt: skip


def _precision(calls: Sequence[Call], series: str) -> Iterator[Finding]:
    """Where half precision would not hold the signal, though single precision does."""
    over, under = [], []
    for call in calls:
        size = _size(call, series)
        if size is None or _measured(call, series, "finite_fraction") != 1.0:
            continue
        if size > HALF_LARGEST:
            over.append((call, size))
        elif 0.0 < size < HALF_SMALLEST:
            under.append((call, size))
    for code, places, told in (
        ("beyond_float16", over, f"is beyond {HALF_LARGEST:,.0f}, the largest number of float16"),
        ("below_float16", under, "is below 6e-8, and 0 in float16"),
    ):
        if places:
            call, size = places[0]
            yield _finding(
                code, call, series,
                f"the largest entry of {_calls(len(places))} {told}, first "
                f"at {call['path']!r} ({number(size)}): mixed precision would lose the signal "
                "there."
                + _with_autoinit(series, _size(call, "autoinit"), "a largest entry of"),
            )  # fmt: skip


def _size(call: Call, series: str) -> float | None:
    """The largest absolute value."""
    ends = [_measured(call, series, name) for name in ("minimum", "maximum")]
    return max((abs(end) for end in ends if end is not None), default=None)


def _shares(calls: Sequence[Call], series: str) -> Iterator[Finding]:
    """One sentence for dead channels and one for saturated activations."""
    for code, name, least, told in (
        ("dead_channels", "dead_fraction", DEAD,
         "zero for every sample in {} of the channels: nothing passes, and no gradient returns, "
         "through these. It is"),
        ("saturated", "saturated_fraction", SATURATED,
         "saturated in {} of the entries: gradients hardly pass there. It is"),
    ):  # fmt: skip
        found = [
            (share, call)
            for call in calls
            if (share := _measured(call, series, name)) is not None and share >= least
        ]
        if not found:
            continue
        most, call = max(found, key=lambda pair: pair[0])
        yield _finding(
            code, call, series,
            f"the output of {_calls(len(found))} is "
            + told.format(f"{least:.0%} or more")
            + f" {most:.0%} at {call['path']!r}."
            + _with_autoinit(series, _measured(call, "autoinit", name), "a share of"),
        )  # fmt: skip


def _finding(code: str, call: Call, series: str, told: str) -> Finding:
    message = f"With {WHOSE.get(series, series)} weights {told}"
    return {"code": code, "path": call["path"], "class": call["class"], "message": message}


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def _with_autoinit(series: str, figure: float | None, what: str) -> str:
    """What AutoInit's weights change there; nothing to add of themselves."""
    if series == "autoinit" or figure is None:
        return ""
    return f" AutoInit's weights give {what} {number(figure)} there."
