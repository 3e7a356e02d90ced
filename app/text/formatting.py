"""Figures as people read them: three digits, powers of ten beyond that, durations, sizes."""

import math
from collections.abc import Sequence

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, missing: str = "–") -> str:
    """1.03, 0.0121, 3.2×10⁸; a figure that is not to be had is a dash."""
    if value is None or not math.isfinite(value):
        return missing
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 9995:
        digits = 2 - math.floor(math.log10(abs(value)))
        text = f"{round(value, digits):.{max(0, digits)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return text.replace("-", "−")
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.replace('-', '−')}×{power_of_ten(int(exponent))}"


def power_of_ten(exponent: int) -> str:
    """10⁸; the first two as they are, 1 and 10."""
    if exponent in (0, 1):
        return str(10**exponent)
    return "10" + str(exponent).translate(SUPERSCRIPTS)


def percentage(fraction: float | None) -> str:
    """49.8 %; what is hardly anything is below 0.01 %; a dash where there is none."""
    if fraction is None:
        return "–"
    if fraction >= 10.0:
        return f"{100 * fraction:,.0f} %"
    return "< 0.01 %" if 0 < fraction < 1e-4 else f"{100 * fraction:.3g} %"


def shape(sizes: Sequence[object] | None) -> str:
    """?×32×32×16: unknown sizes as a question mark, as is a shape that is not known."""
    if sizes is None:
        return "?"
    if any(isinstance(size, list | tuple) for size in sizes):
        return ", ".join(shape(size) for size in sizes if isinstance(size, list | tuple))
    return "×".join("?" if size is None else str(size) for size in sizes) or "scalar"


def duration(seconds: float | None) -> str:
    """0.8 s, 42 s, 3 min 20 s."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def time_left(seconds: float | None) -> str:
    """Such as "about 20 s left", no finer than it can be known; empty where it is not."""
    if seconds is None:
        return ""
    if seconds < 5:
        return "a few seconds left"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s left"
    return f"about {round(seconds / 60)} min left"


def size(count: int) -> str:
    """831 B, 24 KB, 528 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"


def plural(count: int, singular: str, several: str | None = None) -> str:
    """1 call, 2 calls, 4,000 calls."""
    return f"{count:,} {singular if count == 1 else several or singular + 's'}"
